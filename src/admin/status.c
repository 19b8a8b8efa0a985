/* `posthouse reload` and `posthouse status`: what the running server is told and asked. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/control.h"
#include "admin/data_dir.h"
#include "admin/instance.h"
#include "base/event.h"

enum { STATUS_PATIENCE_S = 10 };

int cmd_reload(int argc, char **argv)
{
    const char *config = NULL;
    const struct admin_option options[] = { { "-c", &config, NULL } };
    struct instance i;
    int e = admin_options("reload", &argc, argv, options, ARRAY_LEN(options));
    if (!e)
        e = instance_load(config, &i);
    if (e)
        return e;
    e = instance_reload(&i);
    if (e == 1) {
        admin_complain("no server runs on %s; start it with: posthouse serve -c %s", i.path, i.path);
        e = EXIT_UNAVAILABLE;
    } else if (e == 0) {
        printf("Every role uses the configuration of now.\n");
    }
    instance_done(&i);
    return e;
}

static bool is_number(str s)
{
    uint64_t n;
    return str_u64(s, INT64_MAX, &n) == 0;
}

static json_t *value_of(str s)
{
    uint64_t n = 0;
    if (is_number(s) && str_u64(s, INT64_MAX, &n) == 0)
        return json_integer((json_int_t)n);
    return json_stringn(s.p, s.n);
}

/* One role's line as an object; a key that comes twice becomes an array. */
static json_t *line_object(str line, str *out_role, struct arena *a)
{
    _cleanup_buf_ struct buf value = BUF(65536);
    json_t *o = json_object();
    str key;
    for (buf_clear(&value); event_field(&line, &key, &value); buf_clear(&value)) {
        const char *k = arena_dup(a, key).p;
        if (!k)
            break;
        if (str_eq(key, S("role"))) {
            *out_role = arena_dup(a, buf_str(&value));
        } else if (str_eq(key, S("listener"))) {
            if (!json_object_get(o, k))
                json_object_set_new(o, k, json_array());
            json_array_append_new(json_object_get(o, k), value_of(buf_str(&value)));
        } else {
            json_object_set_new(o, k, value_of(buf_str(&value)));
        }
    }
    return o;
}

static int print_json(str text)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    json_t *all = json_object(), *roles = json_object();
    while (text.n) {
        str role = S("?");
        json_t *o = line_object(str_cut(&text, '\n'), &role, &a);
        if (str_eq(role, S("master")))
            json_object_update(all, o);
        else
            json_object_set(roles, role.p, o);
        json_decref(o);
    }
    json_object_set_new(all, "roles", roles);
    int r = json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(all);
    return r < 0 ? EXIT_IO : 0;
}

static void print_line(str line)
{
    _cleanup_buf_ struct buf value = BUF(65536), shown = BUF(65536);
    str key;
    for (buf_clear(&value); event_field(&line, &key, &value); buf_clear(&value)) {
        buf_clear(&shown);
        print_safe(&shown, buf_str(&value));
        if (str_eq(key, S("role")))
            printf("%.*s\n", STR_ARG(buf_str(&shown)));
        else
            printf("  %-22.*s %.*s\n", STR_ARG(key), STR_ARG(buf_str(&shown)));
    }
}

int cmd_status(int argc, char **argv)
{
    const char *config = NULL;
    bool json = false, ok = false;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--json", NULL, &json } };
    _cleanup_buf_ struct buf text = BUF(CONTROL_ANSWER_MAX);
    _cleanup_admin_data_ struct admin_data d = { .fd = -1 };
    int e = admin_options("status", &argc, argv, options, ARRAY_LEN(options));
    if (!e)
        e = admin_data_dir_of_server("status", admin_config_path(config), &d);
    if (e)
        return e;
    int r = control_ask(d.fd, CONTROL_STATUS, STATUS_PATIENCE_S, &ok, &text);
    if (r < 0) {
        bool absent = r == -ENOENT || r == -ECONNREFUSED;
        admin_complain(absent ? "no server runs on %s" : "the server of %s did not answer", d.path);
        e = EXIT_UNAVAILABLE;
    } else if (json) {
        e = print_json(buf_str(&text));
    } else {
        for (str rest = buf_str(&text); rest.n;)
            print_line(str_cut(&rest, '\n'));
    }
    return e;
}
