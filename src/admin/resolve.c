/* `posthouse resolve ADDRESS`: the path from an address to mailboxes, by the resolver that everybody uses. */
#include <jansson.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/instance.h"
#include "admin/targets.h"
#include "base/event.h"
#include "message/address.h"

static const char *const step_name[] = { "alias", "account", "tag", "catch-all", "postmaster", "foreign", "none" };
static const char *const step_text[] = {
    [DIRECTORY_STEP_ALIAS] = "is an alias of",
    [DIRECTORY_STEP_ACCOUNT] = "is the account",
    [DIRECTORY_STEP_TAG] = "without its tag is",
    [DIRECTORY_STEP_CATCH_ALL] = "is caught by",
    [DIRECTORY_STEP_POSTMASTER] = "is the postmaster, which is",
    [DIRECTORY_STEP_FOREIGN] = "is of another host",
    [DIRECTORY_STEP_NONE] = "leads nowhere",
};
static const char *const class_name[] = { "foreign", "unknown", "local" };

static void print_steps(const struct directory_result *r)
{
    for (const struct directory_step *s = r->steps; s; s = s->next) {
        _cleanup_buf_ struct buf line = BUF(8192);
        print_safe(&line, s->from);
        buf_addf(&line, " %s ", step_text[s->kind]);
        if (s->kind != DIRECTORY_STEP_FOREIGN && s->kind != DIRECTORY_STEP_NONE)
            print_safe(&line, s->to);
        if (s->file.n)
            buf_addf(&line, "   (%.*s:%u)", STR_ARG(s->file), s->line);
        printf("  %.*s\n", STR_ARG(buf_str(&line)));
    }
}

static void print_text(str address, const struct directory_result *r)
{
    _cleanup_buf_ struct buf shown = BUF(8192);
    print_safe(&shown, address);
    printf("%.*s: %s\n", STR_ARG(buf_str(&shown)),
           r->class == DIRECTORY_LOCAL     ? "is delivered"
           : r->class == DIRECTORY_UNKNOWN ? "no such mailbox in a domain of this host (550 5.1.1)"
                                           : "not a domain of this host");
    print_steps(r);
    targets_print(r);
}

static void print_json(str address, const struct directory_result *r)
{
    json_t *steps = json_array();
    for (const struct directory_step *s = r->steps; s; s = s->next)
        json_array_append_new(steps,
                              json_pack("{s:s, s:s%, s:s%, s:s%, s:i}", "kind", step_name[s->kind], "from",
                                        s->from.p ? s->from.p : "", s->from.n, "to", s->to.p ? s->to.p : "", s->to.n,
                                        "file", s->file.p ? s->file.p : "", s->file.n, "line", (int)s->line));
    json_t *all = json_pack("{s:s%, s:s, s:o, s:o}", "address", address.p, address.n, "class", class_name[r->class],
                            "steps", steps, "targets", targets_json(r));
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(all);
}

int cmd_resolve(int argc, char **argv)
{
    const char *config = NULL;
    bool json = false;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--json", NULL, &json } };
    struct instance i;
    struct directory_result r;
    struct address a;
    const char *why;
    int e = admin_options("resolve", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    if (argc != 1) {
        admin_complain("resolve takes one address; see posthouse help resolve");
        return EXIT_USAGE;
    }
    if (address_parse(str_z(argv[0]), false, true, &a, &why) < 0) {
        admin_complain("\"%s\" is not an address: %s", argv[0], why);
        return EXIT_DATA;
    }
    e = instance_load(config, &i);
    if (e)
        return e;
    str address = address_canonical(&i.arena, &a);
    if (directory_resolve(&i.directory, &i.arena, address, &r) < 0)
        e = EXIT_IO;
    else if (json)
        print_json(address, &r);
    else
        print_text(address, &r);
    if (!e && r.class != DIRECTORY_LOCAL)
        e = 1;
    instance_done(&i);
    return e;
}
