/* A plan with what led to it, as text and as JSON. See route.h. */
#include "base/cleanup.h"
#include "base/event.h"
#include "route/route.h"
#include <errno.h>
#include <jansson.h>

#define PLAN_TEXT "plan (those of one number are raced, the next one is for when all have failed):\n"
#define PLAN_JSON "\n  \"action\": \"go\",\n"

static const char *const action_name[] = { [ROUTE_GO] = "go", [ROUTE_WAIT] = "wait", [ROUTE_DEFER] = "defer",
                                           [ROUTE_FAIL] = "fail" };

/* The record as people write it. */
static void add_record(struct buf *out, enum dns_type type, const struct dns_record *r)
{
    uint8_t addr[16];
    char text[NET_ADDR_TEXT];
    if (type == DNS_TYPE_MX)
        buf_addf(out, "%u ", r->number);
    if (type != DNS_TYPE_MX && route_address_from(r->data, addr) == 0)
        buf_add(out, net_addr_print(addr, text));
    else
        print_safe(out, r->data);
}

static void add_fact(struct buf *out, const struct route_fact *f)
{
    const struct dns_answer *a = &f->answer;
    buf_addf(out, "  %-4s %.*s: ", dns_type_name(f->type), STR_ARG(f->name));
    if (!f->answered)
        buf_add(out, S("not answered"));
    else if (a->state != DNS_OK)
        buf_add(out, dns_state_word(a->state));
    for (size_t i = 0; f->answered && a->state == DNS_OK && i < a->n; i++) {
        if (i)
            buf_add(out, S(", "));
        add_record(out, f->type, &a->records[i]);
    }
    if (f->answered && a->state == DNS_OK && !a->n)
        buf_add(out, S("records that cannot be used"));
    if (f->answered && a->canonical.n && !str_ieq(a->canonical, f->name)) {
        buf_add(out, S(", CNAME "));
        print_safe(out, a->canonical);
    }
    if (f->answered && a->why.n) {
        buf_add(out, S(": "));
        print_safe(out, a->why);
    }
    if (f->answered && a->state != DNS_TEMPORARY)
        buf_addf(out, " (%s, ttl %us)", a->secure ? "secure" : "not signed", a->ttl);
    buf_addc(out, '\n');
}

static void add_route(struct buf *out, const struct route *r)
{
    char text[NET_ADDR_TEXT];
    buf_addf(out, "route %.*s", STR_ARG(r->name));
    if (r->line)
        buf_addf(out, " (%.*s:%u)", STR_ARG(r->file), r->line);
    else
        buf_add(out, S(" (built in: by the MX of the recipient's domain)"));
    if (r->n_hops) {
        buf_addf(out, ": TLS %s, at most %u connections to a destination", route_tls_name[r->tls], r->concurrency);
        if (r->rate)
            buf_addf(out, ", at most %u messages in %llums", r->rate, (unsigned long long)r->rate_ms);
        if (r->auth.n)
            buf_addf(out, ", logs in as %.*s", STR_ARG(r->auth));
    }
    if (r->has_source4)
        buf_addf(out, ", from %.*s", STR_ARG(net_addr_print(r->source4, text)));
    if (r->has_source6)
        buf_addf(out, ", from %.*s", STR_ARG(net_addr_print(r->source6, text)));
    buf_addc(out, '\n');
}

static void add_target(struct buf *out, const struct route_target *t)
{
    buf_addf(out, "  %u. ", t->group + 1u);
    if (t->local) {
        buf_addf(out, "unix:%.*s, %s\n", STR_ARG(t->address), route_how_name[t->how]);
        return;
    }
    if (!t->literal)
        buf_addf(out, "%.*s ", STR_ARG(t->host));
    buf_addf(out, "[%.*s]:%u, %s, TLS %s", STR_ARG(t->address), t->port, route_how_name[t->how],
             route_tls_name[t->tls]);
    if (t->hop->mx && !t->literal)
        buf_addf(out, ", preference %u", t->preference);
    buf_add(out, t->secure ? S(", vouched for by DNSSEC\n") : S("\n"));
}

static void explain_text(struct buf *out, const struct route_explained *x)
{
    const struct route_plan *p = x->plan;
    print_safe(out, x->recipient);
    buf_add(out, S(" from <"));
    print_safe(out, x->sender);
    buf_add(out, S(">\n"));
    add_route(out, x->route);
    if (x->facts->first)
        buf_add(out, S("facts:\n"));
    for (const struct route_fact *f = x->facts->first; f; f = f->next)
        add_fact(out, f);
    if (p->n_notes)
        buf_add(out, S("left out:\n"));
    for (size_t i = 0; i < p->n_notes; i++)
        buf_addf(out, "  %.*s\n", STR_ARG(p->notes[i]));
    if (p->action == ROUTE_GO)
        buf_add(out, S(PLAN_TEXT));
    for (size_t i = 0; i < p->n_targets; i++)
        add_target(out, &p->targets[i]);
    if (p->action == ROUTE_WAIT)
        buf_add(out, S("no plan yet: questions are open\n"));
    else if (p->action != ROUTE_GO)
        buf_addf(out, "%s: %d %.*s %.*s\n",
                 p->action == ROUTE_FAIL ? "goes back to its sender" : "waits, and is tried again", p->code,
                 STR_ARG(p->status), STR_ARG(p->text));
}

/* jansson takes nothing but UTF-8. */
static json_t *text_json(str s)
{
    _cleanup_buf_ struct buf safe = BUF(1 << 18);
    print_safe(&safe, s);
    return json_stringn(safe.p ? safe.p : "", safe.n);
}

static void set(json_t *o, const char *key, str s)
{
    json_object_set_new(o, key, text_json(s));
}

static json_t *fact_json(const struct route_fact *f)
{
    const struct dns_answer *a = &f->answer;
    json_t *o = json_object(), *records = json_array();
    set(o, "type", str_z(dns_type_name(f->type)));
    set(o, "name", f->name);
    set(o, "state", f->answered ? dns_state_word(a->state) : S("open"));
    json_object_set_new(o, "secure", json_boolean(a->secure));
    json_object_set_new(o, "ttl", json_integer(a->ttl));
    set(o, "canonical", a->canonical);
    set(o, "why", a->why);
    for (size_t i = 0; i < a->n; i++) {
        _cleanup_buf_ struct buf b = BUF(1 << 18);
        add_record(&b, f->type, &a->records[i]);
        json_array_append_new(records, text_json(buf_str(&b)));
    }
    json_object_set_new(o, "records", records);
    return o;
}

static json_t *target_json(const struct route_target *t)
{
    json_t *o = json_object();
    json_object_set_new(o, "group", json_integer(t->group + 1));
    json_object_set_new(o, "preference", json_integer(t->preference));
    set(o, "host", t->host);
    set(o, "address", t->address);
    json_object_set_new(o, "port", json_integer(t->port));
    set(o, "how", str_z(route_how_name[t->how]));
    set(o, "tls", str_z(route_tls_name[t->tls]));
    json_object_set_new(o, "secure", json_boolean(t->secure));
    return o;
}

static json_t *route_json(const struct route *r)
{
    char text[NET_ADDR_TEXT];
    json_t *o = json_object(), *sources = json_array();
    set(o, "name", r->name);
    set(o, "file", r->file);
    json_object_set_new(o, "line", json_integer(r->line));
    set(o, "tls", str_z(route_tls_name[r->tls]));
    set(o, "auth", r->auth);
    json_object_set_new(o, "concurrency", json_integer(r->concurrency));
    json_object_set_new(o, "rate", json_integer(r->rate));
    json_object_set_new(o, "rate_ms", json_integer((json_int_t)r->rate_ms));
    if (r->has_source4)
        json_array_append_new(sources, text_json(net_addr_print(r->source4, text)));
    if (r->has_source6)
        json_array_append_new(sources, text_json(net_addr_print(r->source6, text)));
    json_object_set_new(o, "source", sources);
    return o;
}

static int dumped(const char *p, size_t n, void *arg)
{
    return buf_add(arg, str_of(p, n)) < 0 ? -1 : 0;
}

static void explain_json(struct buf *out, const struct route_explained *x)
{
    const struct route_plan *p = x->plan;
    json_t *o = json_object(), *facts = json_array(), *notes = json_array(), *targets = json_array();
    for (const struct route_fact *f = x->facts->first; f; f = f->next)
        json_array_append_new(facts, fact_json(f));
    for (size_t i = 0; i < p->n_notes; i++)
        json_array_append_new(notes, text_json(p->notes[i]));
    for (size_t i = 0; i < p->n_targets; i++)
        json_array_append_new(targets, target_json(&p->targets[i]));
    set(o, "recipient", x->recipient);
    set(o, "sender", x->sender);
    json_object_set_new(o, "route", route_json(x->route));
    json_object_set_new(o, "facts", facts);
    json_object_set_new(o, "left_out", notes);
    set(o, "action", str_z(action_name[p->action]));
    json_object_set_new(o, "code", json_integer(p->code));
    set(o, "status", p->status);
    set(o, "text", p->text);
    json_object_set_new(o, "targets", targets);
    if (json_dump_callback(o, dumped, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER) < 0 && !out->failed)
        out->failed = -ENOMEM;
    json_decref(o);
    buf_addc(out, '\n');
}

int route_explain(struct buf *out, const struct route_explained *x, bool json)
{
    if (json)
        explain_json(out, x);
    else
        explain_text(out, x);
    return out->failed;
}

/* No text of a stranger has a line end. */
bool route_explanation_goes(str text)
{
    return str_find(text, S("\n" PLAN_TEXT)) >= 0 || str_find(text, S(PLAN_JSON)) >= 0;
}
