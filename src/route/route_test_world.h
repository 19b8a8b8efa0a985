/* A little DNS for the tests of this room: lines "NAME TYPE answer", where an answer is a state (nodata, nxdomain,
 * temporary, bogus) or records ("10 mx.example.org 20 …", "5.1.1.1 5.1.1.2"), with the words `secure` and
 * `canonical=NAME`. A name that no line has does not exist; one that has lines of other types has no data. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/cleanup.h"
#include "route/route.h"

#define WORLD_LINES 256

static bool world_state(str word, enum dns_state *out)
{
    for (int s = DNS_NODATA; s <= DNS_BOGUS; s++)
        if (str_eq(word, dns_state_word((enum dns_state)s))) {
            *out = (enum dns_state)s;
            return true;
        }
    return false;
}

static str world_bytes(struct arena *a, str text)
{
    uint8_t addr[16];
    if (net_addr_parse(text, addr) < 0)
        fail_msg("not an address: %.*s", STR_ARG(text));
    bool v6 = str_chr(text, ':') >= 0;
    return arena_dup(a, str_of(addr + (v6 ? 0 : 12), v6 ? 16 : 4));
}

static void world_read(struct arena *a, enum dns_type type, str line, struct dns_answer *out)
{
    struct dns_record *records = ARENA_ARRAY(a, struct dns_record, DNS_RECORDS_MAX);
    assert_non_null(records);
    out->records = records;
    for (str w; (w = str_word(&line)).n;) {
        enum dns_state state;
        uint64_t number;
        if (str_eq(w, S("secure")))
            out->secure = true;
        else if (str_starts(w, S("canonical=")))
            out->canonical = str_from(w, 10);
        else if (world_state(w, &state))
            out->state = state;
        else if (type == DNS_TYPE_MX && str_u64(w, 65535, &number) == 0)
            records[out->n++] = (struct dns_record){ (uint16_t)number, str_word(&line) };
        else if (!str_eq(w, S("empty")))
            records[out->n++] = (struct dns_record){ 0, world_bytes(a, w) };
    }
}

static void world_answer(struct arena *a, const char *const *world, const struct route_fact *f, struct dns_answer *out)
{
    *out = (struct dns_answer){ .state = DNS_NXDOMAIN, .ttl = 300, .canonical = f->name };
    for (const char *const *l = world; *l; l++) {
        str line = str_z(*l), name = str_word(&line), type = str_word(&line);
        if (!str_eq(name, f->name))
            continue;
        if (!str_eq(type, str_z(dns_type_name(f->type)))) {
            if (out->state == DNS_NXDOMAIN)
                out->state = DNS_NODATA;
            continue;
        }
        out->state = DNS_OK;
        world_read(a, f->type, line, out);
        if (out->state == DNS_TEMPORARY || out->state == DNS_BOGUS)
            out->why = S("the reason");
        return;
    }
}

/* Plans until no question is open. Returns how many rounds of questions there were. */
static inline int world_plan(const struct route *r, const char *domain, struct route_facts *f,
                             const struct route_options *o, const char *const *world, struct route_plan *out)
{
    for (int rounds = 0;; rounds++) {
        route_plan(r, str_z(domain), f, o, out);
        if (out->action != ROUTE_WAIT)
            return rounds;
        assert_non_null(route_fact_open(f, NULL));
        for (struct route_fact *fact; (fact = route_fact_open(f, NULL));) {
            struct dns_answer a;
            world_answer(f->arena, world, fact, &a);
            assert_int_equal(route_fact_answer(f, fact, &a), 0);
        }
        assert_true(rounds < 30);
    }
}

/* "0 mx1.example.org 5.1.1.1:25; 1 …", or "451 4.4.3 text". */
static inline void world_print(struct buf *out, const struct route_plan *p)
{
    if (p->action != ROUTE_GO)
        buf_addf(out, "%d %.*s %.*s", p->code, STR_ARG(p->status), STR_ARG(p->text));
    for (size_t i = 0; i < p->n_targets; i++) {
        const struct route_target *t = &p->targets[i];
        buf_addf(out, "%s%u %.*s %.*s:%u", i ? "; " : "", t->group, STR_ARG(t->host), STR_ARG(t->address), t->port);
    }
}
