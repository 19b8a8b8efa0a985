/* The tree of an account's mailboxes: see folder_tree.h. */
#include "access/folder_tree.h"
#include <errno.h>

enum { FOLDERS_MAX = 200000, DEPTH_MAX = 512 /* more than a name of 1000 bytes can have */ };
#define NAMES_MAX ((size_t)64 << 20)

void folder_tree_init(struct folder_tree *t)
{
    *t = (struct folder_tree){ .arena = ARENA(NAMES_MAX) };
}

void folder_tree_done(struct folder_tree *t)
{
    arena_done(&t->arena);
    free(TAKE(t->folders));
}

static void add(struct folder_tree *t, const struct folder *f)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 16;
        struct folder *p = cap > FOLDERS_MAX * 2 ? NULL : realloc(t->folders, cap * sizeof(*p));
        if (!p) {
            t->failed = -ENOMEM;
            return;
        }
        t->folders = p;
        t->cap = cap;
    }
    t->folders[t->n++] = *f;
}

void folder_tree_add(struct folder_tree *t, const struct store_folder *row)
{
    struct folder f = { .row = *row };
    f.row.name = arena_dup(&t->arena, row->name);
    if (!f.row.name.p)
        t->failed = -ENOMEM;
    if (!t->failed)
        add(t, &f);
}

/* With '/' before all other bytes, so that what is below a name directly follows it. */
static int by_name(const void *a, const void *b)
{
    str x = ((const struct folder *)a)->row.name, y = ((const struct folder *)b)->row.name;
    for (size_t i = 0; i < x.n && i < y.n; i++)
        if (x.p[i] != y.p[i])
            return x.p[i] == '/' ? -1 : y.p[i] == '/' ? 1 : (uint8_t)x.p[i] < (uint8_t)y.p[i] ? -1 : 1;
    return x.n < y.n ? -1 : x.n > y.n;
}

static bool is_below(str name, str parent)
{
    return name.n > parent.n && name.p[parent.n] == '/' && str_starts(name, parent);
}

struct path { size_t at[DEPTH_MAX]; size_t n; }; /* indices of the folder under way and those above it */

static void push(struct folder_tree *t, struct path *p, const struct folder *f)
{
    add(t, f);
    if (!t->failed && p->n < DEPTH_MAX)
        p->at[p->n++] = t->n - 1;
}

static void add_levels(struct folder_tree *t, struct path *p, str name)
{
    size_t from = p->n ? t->folders[p->at[p->n - 1]].row.name.n + 1 : 0;
    for (size_t i = from; i < name.n; i++)
        if (name.p[i] == '/' && i > 0)
            push(t, p, &(struct folder){ .row.name = str_first(name, i) });
}

int folder_tree_finish(struct folder_tree *t)
{
    struct folder *rows = TAKE(t->folders);
    size_t n = t->n;
    struct path path = { .n = 0 };
    t->n = t->cap = 0;
    if (rows)
        qsort(rows, n, sizeof(*rows), by_name);
    for (size_t i = 0; i < n && !t->failed; i++) {
        str name = rows[i].row.name;
        while (path.n && !is_below(name, t->folders[path.at[path.n - 1]].row.name))
            path.n--;
        add_levels(t, &path, name);
        for (size_t k = 0; k < path.n; k++) {
            struct folder *above = &t->folders[path.at[k]];
            above->exists_below |= rows[i].row.id != 0;
            above->subscribed_below |= rows[i].row.subscribed;
            above->used_below |= rows[i].row.use != 0;
        }
        if (!t->failed)
            push(t, &path, &rows[i]);
    }
    free(rows);
    return t->failed;
}
