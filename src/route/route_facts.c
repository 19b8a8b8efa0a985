/* The questions of a plan and their answers. See route.h. */
#include "base/cleanup.h"
#include "route/route_plan.h"
#include <errno.h>

struct route_fact *route_fact_open(const struct route_facts *f, const struct route_fact *at)
{
    struct route_fact *fact = at ? at->next : f->first;
    while (fact && fact->answered)
        fact = fact->next;
    return fact;
}

static const struct dns_answer no_memory = { .state = DNS_TEMPORARY, .why = { "out of memory", 13 } };

static int copy(struct arena *a, const struct dns_answer *in, struct dns_answer *out)
{
    struct dns_answer own = *in;
    struct dns_record *records = in->n ? ARENA_ARRAY(a, struct dns_record, in->n) : NULL;
    own.canonical = arena_dup(a, in->canonical);
    own.why = arena_dup(a, in->why);
    bool good = (records || !in->n) && own.canonical.p && own.why.p;
    for (size_t i = 0; good && i < in->n; i++) {
        records[i] = (struct dns_record){ in->records[i].number, arena_dup(a, in->records[i].data) };
        good = records[i].data.p != NULL;
    }
    own.records = records;
    if (good)
        *out = own;
    return good ? 0 : -ENOMEM;
}

int route_fact_answer(struct route_facts *f, struct route_fact *fact, const struct dns_answer *a)
{
    int r = copy(f->arena, a, &fact->answer);
    if (r < 0)
        fact->answer = no_memory;
    fact->answered = true;
    return r;
}

const struct route_fact *route_need(struct route_facts *f, enum dns_type type, str name)
{
    static const struct route_fact too_many = {
        .answered = true, .answer = { .state = DNS_TEMPORARY, .why = { "too many questions for one message", 34 } }
    };
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    for (struct route_fact *fact = f->first; fact; fact = fact->next)
        if (fact->type == type && str_ieq(fact->name, name))
            return fact;
    struct route_fact *fact = f->n < ROUTE_FACTS_MAX ? ARENA_NEW(f->arena, struct route_fact) : NULL;
    str own = arena_lower(f->arena, name);
    if (!fact || !own.p)
        return &too_many;
    *fact = (struct route_fact){ .type = type, .name = own };
    if (f->last)
        f->last->next = fact;
    else
        f->first = fact;
    f->last = fact;
    f->n++;
    return fact;
}
