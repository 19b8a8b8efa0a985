/* Threads: see threader.h. Invariants:
 * 1. A node is a message, or a dummy: an id that was named but is not there, or the head of threads that were joined.
 * 2. Following `parent` ends: a link that would close a loop is not made.
 * 3. While messages are added there are only parents; lists of children are made when they are complete.
 * The numbers in comments are the steps of RFC 5256's algorithm. */
#include "access/threader.h"
#include <errno.h>
#include "base/arena.h"
#include "base/hash.h"

#define NONE UINT32_MAX
enum {
    LOOP_STEPS = 64
}; /* for each link, on average: whoever builds mails for it cannot make the search for loops long */

struct node {
    uint32_t parent;
    uint32_t number;      /* 0: a dummy */
    uint32_t order;       /* of the message in the mailbox */
    uint32_t child, n_children; /* in `sorted`, when that was made */
    bool has_children;    /* at some time: it may have them still */
    bool reply, dropped;
    int64_t date_s;
    str id, base;
};

struct thread_maker {
    enum imap_thread_kind kind;
    uint8_t key[16];
    struct arena arena;
    struct node *nodes; size_t n, cap;
    uint32_t messages;
    uint32_t *slots; size_t n_slots, n_ids;  /* of ids: node, or NONE; later of subjects */
    uint32_t *sorted;                        /* nodes by parent, date, order */
    uint64_t links, loop_steps;
};

struct thread_maker *thread_maker_new(enum imap_thread_kind kind, const uint8_t key[16])
{
    struct thread_maker *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->kind = kind;
    t->arena = ARENA(THREADER_MAX);
    memcpy(t->key, key, sizeof(t->key));
    return t;
}

void thread_maker_free(struct thread_maker *t)
{
    if (!t)
        return;
    arena_done(&t->arena);
    free(t->nodes);
    free(t->slots);
    free(t->sorted);
    free(t);
}

static int new_node(struct thread_maker *t, uint32_t *out)
{
    if (t->n == t->cap) {
        size_t cap = MAX(t->cap * 2, (size_t)64);
        if (cap > THREADER_MAX / sizeof(*t->nodes))
            return -ENOMEM;
        struct node *nodes = realloc(t->nodes, cap * sizeof(*nodes));
        if (!nodes)
            return -ENOMEM;
        t->nodes = nodes;
        t->cap = cap;
    }
    t->nodes[t->n] = (struct node){ .parent = NONE, .order = NONE };
    *out = (uint32_t)t->n++;
    return 0;
}

/* The texts by which nodes are found: their ids, and in step 5 their subjects. */
static str id_of(const struct node *n) { return n->id; }
static str base_of(const struct node *n) { return n->base; }
typedef str name_fn(const struct node *n);

static uint32_t *find_slot(const struct thread_maker *t, str name, name_fn *of)
{
    size_t at = siphash24(t->key, name) & (t->n_slots - 1);
    while (t->slots[at] != NONE && !str_eq(of(&t->nodes[t->slots[at]]), name))
        at = (at + 1) & (t->n_slots - 1);
    return &t->slots[at];
}

static int make_slots(struct thread_maker *t, size_t n)
{
    size_t size = 256;
    while (size < 2 * n)
        size *= 2;
    uint32_t *slots = malloc(size * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    memset(slots, 0xff, size * sizeof(*slots));
    free(t->slots);
    t->slots = slots;
    t->n_slots = size;
    return 0;
}

static int room_for_id(struct thread_maker *t)
{
    if (t->slots && 2 * (t->n_ids + 1) <= t->n_slots)
        return 0;
    if (make_slots(t, 2 * (t->n_ids + 1)) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < t->n; i++)
        if (t->nodes[i].id.n)
            *find_slot(t, t->nodes[i].id, id_of) = (uint32_t)i;
    return 0;
}

/* The node of an id, a dummy if there is none yet. */
static int node_of_id(struct thread_maker *t, str id, uint32_t *out)
{
    if (room_for_id(t) < 0)
        return -ENOMEM;
    uint32_t *slot = find_slot(t, id, id_of);
    if (*slot != NONE) {
        *out = *slot;
        return 0;
    }
    str copy = arena_dup(&t->arena, id);
    if (!copy.p || new_node(t, out) < 0)
        return -ENOMEM;
    t->nodes[*out].id = copy;
    *slot = *out;
    t->n_ids++;
    return 0;
}

/* Would the link close a loop? If that takes too long to say, yes. */
static bool would_loop(struct thread_maker *t, uint32_t parent, uint32_t child)
{
    if (parent == child)
        return true;
    if (!t->nodes[child].has_children)
        return false;
    for (uint32_t at = parent; at != NONE; at = t->nodes[at].parent) {
        if (at == child || t->loop_steps >= LOOP_STEPS * (t->links + 1024))
            return true;
        t->loop_steps++;
    }
    return false;
}

static void link_nodes(struct thread_maker *t, uint32_t parent, uint32_t child)
{
    t->links++;
    if (would_loop(t, parent, child))
        return;
    t->nodes[child].parent = parent;
    t->nodes[parent].has_children = true;
}

/* 1 A and B: the message's references, each the parent of the next, the last one that of the message. */
static int add_references(struct thread_maker *t, str references, uint32_t self)
{
    uint32_t before = NONE;
    while (references.n) {
        uint32_t at;
        str id = str_cut(&references, '\n');
        if (!id.n)
            continue;
        if (node_of_id(t, id, &at) < 0)
            return -ENOMEM;
        if (before != NONE && t->nodes[at].parent == NONE)
            link_nodes(t, before, at);
        before = at;
    }
    t->nodes[self].parent = NONE;
    if (before != NONE)
        link_nodes(t, before, self);
    return 0;
}

int thread_maker_add(struct thread_maker *t, uint32_t number, int64_t date_s, const struct card_text *text)
{
    static const struct card_text none = { 0 };
    const struct card_text *x = text ? text : &none;
    bool by_references = t->kind == IMAP_THREAD_REFERENCES;
    uint32_t self = NONE;
    str base = str_first(str_from(x->subject, x->base_off), x->base_len);
    if (by_references && x->message_id.n) {
        if (node_of_id(t, x->message_id, &self) < 0)
            return -ENOMEM;
        if (t->nodes[self].number) /* another message has it: this one counts as having none */
            self = NONE;
    }
    if (self == NONE && new_node(t, &self) < 0)
        return -ENOMEM;
    if (base.n && !(base = arena_dup(&t->arena, base)).p)
        return -ENOMEM;
    struct node *n = &t->nodes[self];
    n->number = number;
    n->order = t->messages++;
    n->date_s = date_s;
    n->base = base;
    n->reply = x->reply;
    return by_references ? add_references(t, x->references, self) : 0;
}

static bool is_dummy(const struct node *n) { return n->number == 0; }

/* 3: the nearest message above, or the dummy at the top of the thread. Walks over dummies once: what it finds is
 * written down. */
static void skip_dummies(struct thread_maker *t, uint32_t i)
{
    struct node *n = t->nodes;
    uint32_t top = n[i].parent;
    while (top != NONE && is_dummy(&n[top]) && n[top].parent != NONE)
        top = n[top].parent;
    for (uint32_t at = i, next; at != top && n[at].parent != top && n[at].parent != NONE; at = next) {
        next = n[at].parent;
        n[at].parent = top;
    }
}

/* 3: dummies go; one at the top stays if it holds several together. */
static void prune(struct thread_maker *t)
{
    struct node *n = t->nodes;
    for (size_t i = 0; i < t->n; i++)
        n[i].n_children = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (!is_dummy(&n[i]))
            skip_dummies(t, i);
    for (size_t i = 0; i < t->n; i++)
        if (!is_dummy(&n[i]) && n[i].parent != NONE)
            n[n[i].parent].n_children++;
    for (size_t i = 0; i < t->n; i++)
        if (!is_dummy(&n[i]) && n[i].parent != NONE && is_dummy(&n[n[i].parent]) && n[n[i].parent].n_children == 1)
            n[i].parent = NONE;
    for (size_t i = 0; i < t->n; i++)
        if (is_dummy(&n[i])) {
            n[i].dropped = n[i].parent != NONE || n[i].n_children < 2;
            n[i].parent = NONE;
        }
}

/* By parent (those of the root last), then by sent date, then as the mailbox has them. */
static int by_place(const void *a, const void *b, void *arg)
{
    const struct node *nodes = arg, *x = &nodes[*(const uint32_t *)a], *y = &nodes[*(const uint32_t *)b];
    if (x->dropped != y->dropped)
        return x->dropped ? 1 : -1;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    if (x->date_s != y->date_s)
        return x->date_s < y->date_s ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* A dummy counts as its first child (4, 6), and has its subject (5 B i). */
static void dress_dummies(struct thread_maker *t)
{
    struct node *n = t->nodes;
    for (size_t i = 0; i < t->n; i++)
        if (is_dummy(&n[i]))
            n[i].order = NONE;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t parent = n[i].parent;
        if (is_dummy(&n[i]) || parent == NONE || !is_dummy(&n[parent]))
            continue;
        struct node *d = &n[parent];
        if (d->order != NONE && (n[i].date_s > d->date_s || (n[i].date_s == d->date_s && n[i].order > d->order)))
            continue;
        d->date_s = n[i].date_s;
        d->order = n[i].order;
        d->base = n[i].base;
    }
}

/* Sorts all nodes and gives each its children: 4 and 6. *out_roots: where those of the root begin; *out_end: how many
 * nodes are left. */
static int sort_all(struct thread_maker *t, size_t *out_roots, size_t *out_end)
{
    struct node *n = t->nodes;
    size_t roots = 0, end = 0;
    uint32_t *sorted = realloc(t->sorted, (t->n + 1) * sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    t->sorted = sorted;
    dress_dummies(t);
    for (uint32_t i = 0; i < t->n; i++) {
        sorted[i] = i;
        n[i].n_children = 0;
        end += !n[i].dropped;
    }
    if (t->n)
        qsort_r(sorted, t->n, sizeof(*sorted), by_place, n);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t parent = n[sorted[i]].parent;
        if (parent == NONE)
            break;
        if (n[parent].n_children++ == 0)
            n[parent].child = i;
        roots = i + 1;
    }
    *out_roots = roots;
    *out_end = end;
    return 0;
}

/* 5 B: one thread for each subject. */
static void fill_subjects(struct thread_maker *t, size_t roots, size_t end)
{
    for (size_t i = roots; i < end; i++) {
        uint32_t at = t->sorted[i];
        struct node *n = &t->nodes[at];
        if (!n->base.n)
            continue;
        uint32_t *slot = find_slot(t, n->base, base_of);
        struct node *old = *slot == NONE ? NULL : &t->nodes[*slot];
        if (!old || (!is_dummy(old) && (is_dummy(n) || (old->reply && !n->reply))))
            *slot = at;
    }
}

/* 5 C: joins a thread with the one that its subject's table has. */
static int join(struct thread_maker *t, uint32_t *slot, uint32_t at)
{
    struct node *n = &t->nodes[at], *table = &t->nodes[*slot];
    uint32_t head;
    if (is_dummy(n) && is_dummy(table)) {
        for (uint32_t i = 0; i < n->n_children; i++)
            t->nodes[t->sorted[n->child + i]].parent = *slot;
        n->dropped = true;
    } else if (is_dummy(table) || (n->reply && !table->reply)) {
        n->parent = *slot;
    } else {
        str base = n->base;
        if (new_node(t, &head) < 0)
            return -ENOMEM;
        t->nodes[head].base = base;
        t->nodes[at].parent = t->nodes[*slot].parent = head;
        *slot = head;
    }
    return 0;
}

static int join_subjects(struct thread_maker *t, size_t roots, size_t end)
{
    if (make_slots(t, end - roots) < 0)
        return -ENOMEM;
    fill_subjects(t, roots, end);
    for (size_t i = roots; i < end; i++) {
        uint32_t at = t->sorted[i];
        if (!t->nodes[at].base.n)
            continue;
        uint32_t *slot = find_slot(t, t->nodes[at].base, base_of);
        if (*slot != at && t->nodes[at].parent == NONE && join(t, slot, at) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* ORDEREDSUBJECT: the first message of a subject is the parent of all others. */
static int by_subject(const void *a, const void *b, void *arg)
{
    const struct node *nodes = arg, *x = &nodes[*(const uint32_t *)a], *y = &nodes[*(const uint32_t *)b];
    int r = str_cmp(x->base, y->base);
    if (r)
        return r;
    if (x->date_s != y->date_s)
        return x->date_s < y->date_s ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int group_subjects(struct thread_maker *t)
{
    uint32_t first = NONE, *sorted = t->sorted = malloc((t->n + 1) * sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n; i++)
        sorted[i] = i;
    if (t->n)
        qsort_r(sorted, t->n, sizeof(*sorted), by_subject, t->nodes);
    for (size_t i = 0; i < t->n; i++) {
        struct node *n = &t->nodes[sorted[i]];
        if (first != NONE && str_eq(t->nodes[first].base, n->base))
            n->parent = first;
        else
            first = sorted[i];
    }
    return 0;
}

struct level { uint32_t next, end; }; /* siblings that are still to be written */

/* A message and those below it, as far as each has one child. Where it branches, or ends. */
static uint32_t put_line(const struct thread_maker *t, struct buf *out, uint32_t at)
{
    for (;; at = t->sorted[t->nodes[at].child]) {
        const struct node *n = &t->nodes[at];
        if (n->number)
            buf_addu(out, n->number);
        if (n->n_children && n->number)
            buf_addc(out, ' ');
        if (n->n_children != 1)
            return at;
    }
}

/* RFC 5256 4: each of several siblings is in parentheses. Those of the root always. */
static int put_threads(const struct thread_maker *t, struct buf *out, size_t roots, size_t end)
{
    size_t n = 1, cap = 64;
    _cleanup_free_ struct level *levels = malloc(cap * sizeof(*levels));
    if (!levels)
        return -ENOMEM;
    levels[0] = (struct level){ (uint32_t)roots, (uint32_t)end };
    while (n) {
        struct level *top = &levels[n - 1];
        if (top->next == top->end) {
            if (--n)
                buf_addc(out, ')');
            continue;
        }
        buf_addc(out, '(');
        const struct node *at = &t->nodes[put_line(t, out, t->sorted[top->next++])];
        if (!at->n_children) {
            buf_addc(out, ')');
            continue;
        }
        if (n == cap) {
            struct level *more = realloc(levels, 2 * cap * sizeof(*levels));
            if (!more)
                return -ENOMEM;
            levels = more;
            cap *= 2;
        }
        levels[n++] = (struct level){ at->child, at->child + at->n_children };
    }
    return out->failed;
}

int thread_maker_end(struct thread_maker *t, struct buf *out)
{
    size_t roots, end;
    int r;
    if (t->kind == IMAP_THREAD_REFERENCES) {
        prune(t);
        r = sort_all(t, &roots, &end);
        if (r == 0)
            r = join_subjects(t, roots, end);
    } else {
        r = group_subjects(t);
    }
    if (r == 0)
        r = sort_all(t, &roots, &end);
    return r < 0 ? r : put_threads(t, out, roots, end);
}
