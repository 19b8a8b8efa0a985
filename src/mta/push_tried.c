/* Which host put a message off, so that it is asked first the next time: greylisting (RFC 6647) waits for the same
 * client at the same host. What is forgotten, by an end of the role or by a newer message in its place, only costs an
 * attempt. And which host offered CHUNKING without knowing BDAT. */
#include "base/hash.h"
#include "mta/push.h"

static struct push_tried *place(struct push *p, uint64_t message)
{
    return &p->tried[siphash24(p->tried_key, str_of(&message, sizeof(message))) % PUSH_TRIED];
}

uint64_t push_tried_number(const struct push *p, const struct route_target *t)
{
    char text[NET_ADDR_TEXT + 8];
    int n = snprintf(text, sizeof(text), "%.*s %u", STR_ARG(t->address), t->port);
    return siphash24(p->tried_key, str_of(text, MIN((size_t)n, sizeof(text) - 1))) | 1;
}

void push_tried_note(struct push *p, uint64_t message, const struct route_target *t)
{
    *place(p, message) = (struct push_tried){ .message = message, .target = push_tried_number(p, t) };
}

uint64_t push_tried_by(struct push *p, uint64_t message)
{
    const struct push_tried *t = place(p, message);
    return t->message == message ? t->target : 0;
}

void push_no_chunking_note(struct push *p, const struct route_target *t)
{
    uint64_t target = push_tried_number(p, t);
    p->no_chunking[target % PUSH_NO_CHUNKING] = target;
}

bool push_no_chunking(const struct push *p, const struct route_target *t)
{
    uint64_t target = push_tried_number(p, t);
    return p->no_chunking[target % PUSH_NO_CHUNKING] == target;
}

void push_tried_first(struct push *p, uint64_t target, struct arena *a, struct route_plan *plan)
{
    for (size_t i = 1; target && i < plan->n_targets; i++) {
        size_t first = i;
        if (push_tried_number(p, &plan->targets[i]) != target)
            continue;
        while (first > 0 && plan->targets[first - 1].group == plan->targets[i].group)
            first--;
        struct route_target *list = ARENA_ARRAY(a, struct route_target, plan->n_targets);
        if (!list)
            return;
        memcpy(list, plan->targets, plan->n_targets * sizeof(*list));
        for (size_t k = i; k > first; k--)
            list[k] = plan->targets[k - 1];
        list[first] = plan->targets[i];
        plan->targets = list;
        return;
    }
}
