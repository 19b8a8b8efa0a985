/* `posthouse route ADDRESS`: where mail to it goes next. Role smtp-out plans as it does for a message, with the answers
 * of role dns; without a server the plan is made here, as far as that goes without the DNS. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/control.h"
#include "admin/instance.h"
#include "admin/targets.h"
#include "base/event.h"
#include "message/address.h"

enum { PATIENCE_S = 60 };

struct question {
    struct instance *i;
    str sender, recipient;
    bool json;
};

/* An address as the command line has it, canonical and with its domain as A-labels; "" and <> are the empty sender. */
static int read_address(struct instance *i, const char *text, bool empty_ok, str *out)
{
    struct address a;
    const char *why;
    if (empty_ok && (!text || !text[0] || str_eq(str_z(text), S("<>")))) {
        *out = S("");
        return 0;
    }
    if (address_parse(str_z(text), false, true, &a, &why) < 0) {
        admin_complain("\"%s\" is not an address: %s", text, why);
        return EXIT_DATA;
    }
    str address = address_canonical(&i->arena, &a);
    int r = conf_address_ascii(&i->arena, address, out);
    if (r < 0)
        admin_complain("\"%s\": its domain is none", text);
    return r < 0 ? EXIT_DATA : 0;
}

/* Without a server: what is known without asking. */
static int plan_here(const struct question *q)
{
    const struct conf *c = q->i->conf;
    struct route_facts facts = { .arena = &q->i->arena };
    struct route_options options = { .own = { &c->hostname, 1, NULL, 0 }, .private_allowed = c->private_allowed,
                                     .port = (uint16_t)c->smtp_tcp_port };
    const struct route *r = route_select(&c->routes, q->sender, q->recipient);
    struct route_plan plan;
    _cleanup_buf_ struct buf text = BUF(CONTROL_ANSWER_MAX);
    route_plan(r, str_from(q->recipient, (size_t)str_rchr(q->recipient, '@') + 1), &facts, &options, &plan);
    struct route_explained x = { q->sender, q->recipient, r, &facts, &plan };
    route_explain(&text, &x, q->json);
    printf("%.*s", STR_ARG(buf_str(&text)));
    if (plan.action == ROUTE_WAIT) {
        admin_complain(
            "no server runs on %s, and only a running one asks the DNS; start it with: posthouse serve -c %s",
            q->i->path, q->i->path);
        return EXIT_UNAVAILABLE;
    }
    return plan.action == ROUTE_GO ? 0 : 1;
}

static int ask_server(const struct question *q)
{
    _cleanup_buf_ struct buf b = BUF(CONTROL_QUESTION_MAX), text = BUF(CONTROL_ANSWER_MAX);
    bool ok = false;
    pack_str(&b, q->sender);
    pack_str(&b, q->recipient);
    pack_u8(&b, q->json);
    int r = q->i->data_fd < 0 ? -ENOENT
                              : control_ask_role(q->i->data_fd, ROLE_SMTP_OUT, buf_str(&b), PATIENCE_S, &ok, &text);
    if (r == -ENOENT || r == -ECONNREFUSED)
        return plan_here(q);
    if (r == -EACCES || r == -EPERM) {
        admin_complain("the server of %s answers its own user and root alone", q->i->path);
        return EXIT_NOPERM;
    }
    if (r < 0 || !ok) {
        admin_complain(
            "the server of %s did not answer: %.*s", q->i->path,
            STR_ARG(text.n ? buf_str(&text) : S("its role smtp-out is not there, or the DNS takes too long")));
        return EXIT_UNAVAILABLE;
    }
    printf("%.*s", STR_ARG(buf_str(&text)));
    return route_explanation_goes(buf_str(&text)) ? 0 : 1;
}

static void print_local_json(const struct question *q, const struct directory_result *r)
{
    json_t *all = json_pack("{s:s%, s:s, s:o}", "recipient", q->recipient.p, q->recipient.n, "action",
                            r->class == DIRECTORY_LOCAL ? "local" : "unknown", "targets", targets_json(r));
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(all);
}

/* An address of this host: where it leads, and where mail goes that leaves again by an alias. */
static int local(struct question *q, const struct directory_result *r)
{
    _cleanup_buf_ struct buf shown = BUF(8192);
    int e = r->class == DIRECTORY_LOCAL ? 0 : 1;
    if (q->json) {
        print_local_json(q, r);
        return e;
    }
    print_safe(&shown, q->recipient);
    printf("%.*s is an address of this host: it %s (posthouse resolve %.*s shows how)\n", STR_ARG(buf_str(&shown)),
           e ? "leads nowhere" : "stays here unless said otherwise", STR_ARG(buf_str(&shown)));
    targets_print(r);
    for (const struct directory_target *t = r->targets; t && !e; t = t->next) {
        if (!t->foreign || conf_address_ascii(&q->i->arena, t->address, &q->recipient) < 0)
            continue;
        putchar('\n');
        e = ask_server(q);
    }
    return e;
}

static int route(struct instance *i, const char *recipient, const char *sender, bool json)
{
    struct question q = { .i = i, .json = json };
    struct directory_result r;
    int e = read_address(i, recipient, false, &q.recipient);
    if (!e)
        e = read_address(i, sender, true, &q.sender);
    if (e)
        return e;
    if (directory_resolve(&i->directory, &i->arena, q.recipient, &r) < 0)
        return EXIT_IO;
    return r.class == DIRECTORY_FOREIGN ? ask_server(&q) : local(&q, &r);
}

int cmd_route(int argc, char **argv)
{
    const char *config = NULL, *sender = NULL;
    bool json = false;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--from", &sender, NULL },
                                            { "--json", NULL, &json } };
    struct instance i;
    int e = admin_options("route", &argc, argv, options, ARRAY_LEN(options));
    if (!e && argc != 1) {
        admin_complain("route takes one address; see posthouse help route");
        e = EXIT_USAGE;
    }
    if (!e)
        e = instance_load(config, &i);
    if (e)
        return e;
    e = route(&i, argv[0], sender, json);
    instance_done(&i);
    return e;
}
