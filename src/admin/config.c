/* `posthouse config check` and `posthouse config explain NAME`: everything about a setting or a restriction word, and
 * where it is set. */
#include <errno.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/instance.h"

static int check(const char *config)
{
    struct instance i;
    int e = instance_load(config, &i);
    if (e)
        return e;
    size_t accounts = 0;
    str address;
    while (directory_account(&i.directory, accounts, &address))
        accounts++;
    printf("%s is in order: %zu listeners, %zu domains, %zu accounts; nobody can relay without a right to.\n", i.path,
           i.conf->n_listeners, i.conf->n_domains, accounts);
    instance_done(&i);
    return 0;
}

static int explain_setting(struct instance *i, str name)
{
    _cleanup_buf_ struct buf value = BUF(65536);
    struct conf_setting_info info = { 0 };
    str file;
    uint32_t line;
    for (size_t at = 0; conf_setting_info(at, &info) && !str_eq(str_z(info.name), name); at++)
        ;
    if (!conf_setting_value(i->conf, name, &value, &file, &line))
        return -ENOENT;
    printf("%s\n  %s\n  type     %s\n  default  %s\n  now      %.*s\n", info.name, info.doc, info.type,
           info.deflt[0] ? info.deflt : "(empty)", STR_ARG(value.n ? buf_str(&value) : S("(empty)")));
    if (str_eq(file, S("default")))
        printf("  set      nowhere: the default is in force\n");
    else
        printf("  set      %.*s:%u\n", STR_ARG(file), line);
    return 0;
}

static int list_of(str name)
{
    for (int k = 0; k < CONF_LISTS; k++)
        if (str_eq(name, str_z(policy_stage_setting[k])))
            return k;
    return -1;
}

/* A restriction list is set for each listener: show what is in force where. */
static void explain_lists(const struct instance *i, int list)
{
    for (size_t n = 0; n < i->conf->n_listeners; n++) {
        const struct conf_listener *l = &i->conf->listeners[n];
        const struct conf_words *w = &l->restrictions[list];
        if (conf_service_reads(l->service))
            continue;
        _cleanup_buf_ struct buf endpoint = BUF(256);
        conf_listener_print(&endpoint, l);
        printf("  %s %.*s  ", conf_service_name[l->service], STR_ARG(buf_str(&endpoint)));
        for (size_t k = 0; k < w->n; k++)
            printf("%s%.*s", k ? " " : "", STR_ARG(w->word[k].text));
        if (!w->n)
            printf("(empty: permits)");
        else if (w->word[0].line)
            printf("   (%.*s:%u)", STR_ARG(w->word[0].file), w->word[0].line);
        else
            printf("   (default of this service)");
        putchar('\n');
    }
}

static int explain_word(str name)
{
    struct policy_word_info w;
    for (size_t at = 0; policy_word_info(at, &w); at++)
        if (str_eq(name, str_z(w.name))) {
            printf("%s%s\n  %s\n  %s\n", w.name, w.takes_table ? " file:TABLE" : "", w.doc, w.remedy);
            return 0;
        }
    return -ENOENT;
}

static int explain_route(const struct instance *i, str name)
{
    struct conf_route_word_info w;
    if (!str_eq(name, S("route")))
        return -ENOENT;
    printf(
        "route NAME { ... }\n  Where mail to other hosts goes next. The first route whose recipient and sender match "
        "counts;\n  without any, the MX of the recipient's domain. posthouse route ADDRESS shows the plan.\n");
    for (size_t at = 0; conf_route_word_info(at, &w); at++)
        printf("  %s %s\n      %s\n", w.name, w.value, w.doc);
    for (size_t k = 0; k < i->conf->routes.n; k++) {
        const struct route *r = &i->conf->routes.routes[k];
        printf("  %zu. %.*s   (%.*s:%u)\n", k + 1, STR_ARG(r->name), STR_ARG(r->file), r->line);
    }
    if (!i->conf->routes.n)
        printf("  set      nowhere: all mail to other hosts goes by MX\n");
    return 0;
}

static int explain(const char *config, const char *name)
{
    struct instance i;
    str n = str_z(name);
    if (explain_word(n) == 0)
        return 0;
    int e = instance_load(config, &i);
    if (e)
        return e;
    int r = explain_route(&i, n) == 0 ? 0 : explain_setting(&i, n);
    if (r == 0 && list_of(n) >= 0)
        explain_lists(&i, list_of(n));
    if (r < 0) {
        str near = conf_nearest(n);
        admin_complain(near.n ? "there is no setting or rule \"%s\"; did you mean %.*s?"
                              : "there is no setting or rule \"%s\"%.*s",
                       name, STR_ARG(near));
        e = 1;
    }
    instance_done(&i);
    return e;
}

int cmd_config(int argc, char **argv)
{
    const char *config = NULL;
    const struct admin_option options[] = { { "-c", &config, NULL } };
    int e = admin_options("config", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    if (argc == 1 && str_eq(str_z(argv[0]), S("check")))
        return check(config);
    if (argc == 2 && str_eq(str_z(argv[0]), S("explain")))
        return explain(config, argv[1]);
    admin_complain("config takes check, or explain and a name; see posthouse help config");
    return EXIT_USAGE;
}
