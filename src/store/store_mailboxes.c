/* The tree of an account's mailboxes: see mailboxes.h. What changes names first waits until everything staged is in the
 * index: such changes are rare, and then the index tells the truth about the whole tree. What they stage is known by
 * store_box.c at once, so a message that comes right behind finds the right mailbox. */
#include "store/mailboxes.h"
#include <errno.h>
#include <stdlib.h>
#include "store/store_internal.h"

#define TREE_MEMORY ((size_t)64 << 20)
#define INBOX S("INBOX")

static int run(struct store *s, int (*op)(struct store *s, void *arg), void *arg)
{
    store_boxes_trim(s);
    int r = store_batch_full(s) ? store_make_way(s) : 0;
    return r < 0 ? r : op(s, arg);
}

int store_guard(struct store *s, int (*op)(struct store *s, void *arg), void *arg)
{
    int r = s->failed ? s->failed : run(s, op, arg);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = run(s, op, arg);
    return r == -EBADMSG ? -EIO : r;
}

/* The level above name, empty if there is none. */
static str level_above(str name)
{
    ptrdiff_t at = str_rchr(name, '/');
    return at > 0 ? str_first(name, (size_t)at) : STR_NONE;
}

/* How many of the levels above name are no mailboxes. */
static int missing_above(struct store *s, str account, str name, size_t *out)
{
    struct box *box;
    *out = 0;
    for (str level = level_above(name); level.n; level = level_above(level)) {
        int r = store_box_named(s, account, level, &box);
        if (r < 0)
            return r;
        *out += r == 0;
    }
    return 0;
}

/* STORE_DONE if the account may get so many mailboxes and the missing levels above name. */
static int has_room(struct store *s, str account, str name, size_t n)
{
    size_t missing;
    uint64_t have;
    int r = missing_above(s, account, name, &missing);
    if (r == 0)
        r = index_mailbox_count(s->index, account, &have);
    return r < 0 ? r : have + missing + n > MAILBOXES_MAX ? STORE_LIMIT : STORE_DONE;
}

static int make_above(struct store *s, str account, str name)
{
    struct box *box;
    int r = 0;
    for (size_t i = 1; i < name.n && r == 0; i++)
        if (name.p[i] == '/')
            r = store_box(s, account, str_first(name, i), &box);
    return r;
}

/* The mailbox and what is missing above it. */
static int make_path(struct store *s, str account, str name, struct box **out)
{
    int r = make_above(s, account, name);
    return r < 0 ? r : store_box(s, account, name, out);
}

static int stage_use(struct store *s, struct box *box, uint8_t use)
{
    struct journal_record record = { .kind = JOURNAL_mailbox_use, .mailbox_use = { .id = box->id, .use = use } };
    return use ? store_stage(s, &record) : 0;
}

static int stage_subscribed(struct store *s, str account, str name, bool on)
{
    struct journal_record record = { .kind = JOURNAL_subscribed,
                                     .subscribed = { .account = account, .name = name, .on = on } };
    return store_stage(s, &record);
}

struct call { /* the arguments of a function of the tree */
    str account, name, to;
    uint8_t use;
    bool on;
    uint64_t id;
    struct store_folder *folder;
};

/* What was staged from `before` on is durable at this ticket. */
static uint64_t ticket_since(const struct store *s, uint64_t before)
{
    return s->next_lsn > before ? s->next_lsn - 1 : store_committed(s);
}

static int create(struct store *s, void *arg)
{
    struct call *c = arg;
    struct box *box;
    int r = store_flush(s);
    if (r == 0)
        r = store_box_named(s, c->account, c->name, &box);
    if (r != 0)
        return r < 0 ? r : STORE_EXISTS;
    r = has_room(s, c->account, c->name, 1);
    if (r == STORE_DONE && c->use && (r = index_use_taken(s->index, c->account, c->use)) == 1)
        return STORE_USE_TAKEN;
    if (r == STORE_DONE)
        r = make_path(s, c->account, c->name, &box);
    if (r == STORE_DONE)
        r = stage_use(s, box, c->use);
    if (r == STORE_DONE)
        c->id = box->id;
    return r;
}

int store_create(struct store *s, str account, str name, uint8_t use, uint64_t *out_id, uint64_t *out_ticket)
{
    struct call c = { .account = account, .name = name, .use = use };
    int r = name.n ? store_guard(s, create, &c) : -EINVAL;
    if (r == STORE_DONE) {
        *out_id = c.id;
        *out_ticket = s->next_lsn - 1;
    }
    return r;
}

static int delete(struct store *s, void *arg)
{
    const struct call *c = arg;
    struct box *box;
    int r = store_flush(s);
    if (r == 0)
        r = store_box_named(s, c->account, c->name, &box);
    if (r != 1)
        return r < 0 ? r : STORE_NONEXISTENT;
    struct journal_record record = { .kind = JOURNAL_mailbox_deleted, .mailbox_deleted = {
        .id = box->id, .at_us = s->config.env->wall_us() } };
    r = store_stage(s, &record);
    if (r < 0)
        return r;
    box->gone = true;
    box->lsn = record.lsn;
    return STORE_DONE;
}

int store_delete(struct store *s, str account, str name, uint64_t *out_ticket)
{
    struct call c = { .account = account, .name = name };
    if (str_eq(name, INBOX))
        return STORE_CANNOT;
    int r = store_guard(s, delete, &c);
    if (r == STORE_DONE)
        *out_ticket = s->next_lsn - 1;
    return r;
}

struct moving { /* a mailbox that gets a new name */
    uint64_t id;
    str old, name;
};

struct renaming {
    struct store *s;
    const struct call *c;
    struct arena arena;
    struct moving *list;
    size_t n, cap;
    bool too_long;
};

static int add_moving(void *arg, uint64_t id, str name)
{
    struct renaming *g = arg;
    if (g->n == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 8;
        struct moving *more = ARENA_ARRAY(&g->arena, struct moving, cap);
        if (!more)
            return -ENOMEM;
        if (g->n)
            memcpy(more, g->list, g->n * sizeof(*more));
        g->list = more;
        g->cap = cap;
    }
    str below = str_from(name, g->c->name.n);
    g->too_long = g->too_long || g->c->to.n + below.n > BOX_NAME_MAX;
    struct moving m = { .id = id, .old = arena_dup(&g->arena, name),
                        .name = arena_printf(&g->arena, "%.*s%.*s", STR_ARG(g->c->to), STR_ARG(below)) };
    if (!m.old.p || !m.name.p)
        return -ENOMEM;
    g->list[g->n++] = m;
    return 0;
}

static int by_length(const void *a, const void *b)
{
    size_t x = ((const struct moving *)a)->old.n, y = ((const struct moving *)b)->old.n;
    return (x > y) - (x < y);
}

/* Is name that of the mailbox, or below it? */
static bool is_within(str name, str of)
{
    return str_starts(name, of) && (name.n == of.n || name.p[of.n] == '/');
}

/* All that is to be renamed. When a mailbox goes up the tree a new name may be one that another of them still has:
 * that is always a shorter one. */
static int list_moving(struct renaming *g)
{
    const struct call *c = g->c;
    struct box *box;
    str from = arena_printf(&g->arena, "%.*s/", STR_ARG(c->name));
    str end = arena_printf(&g->arena, "%.*s0", STR_ARG(c->name)); /* '0' comes behind '/' */
    int r = from.p && end.p ? store_box_named(g->s, c->account, c->name, &box) : -ENOMEM;
    if (r != 1)
        return r < 0 ? r : STORE_NONEXISTENT;
    r = add_moving(g, box->id, c->name);
    if (r == 0)
        r = index_mailboxes_between(g->s->index, c->account, from, end, add_moving, g);
    if (r < 0 || g->too_long)
        return r < 0 ? r : STORE_CANNOT;
    qsort(g->list, g->n, sizeof(*g->list), by_length);
    for (size_t i = 0; i < g->n; i++) {
        r = is_within(g->list[i].name, c->name) ? 0 : store_box_named(g->s, c->account, g->list[i].name, &box);
        if (r != 0)
            return r < 0 ? r : STORE_EXISTS;
    }
    return STORE_DONE;
}

static int stage_renamed(struct renaming *g)
{
    struct store *s = g->s;
    str account = g->c->account;
    struct journal_rename *list = ARENA_ARRAY(&g->arena, struct journal_rename, g->n);
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < g->n; i++)
        list[i] = (struct journal_rename){ .id = g->list[i].id, .name = g->list[i].name };
    struct journal_record record = { .kind = JOURNAL_mailbox_renamed, .mailbox_renamed = { .renames = list,
                                                                                          .n = g->n } };
    int r = store_stage(s, &record);
    for (size_t i = 0; i < g->n && r >= 0; i++) {
        struct box *box;
        r = store_box_get(s, g->list[i].id, &box);
        if (r == 1)
            r = store_box_nameless(s, account, g->list[i].old, record.lsn);
        if (r == 0) {
            box->lsn = record.lsn;
            r = store_box_name(s, account, g->list[i].name, box);
        }
    }
    return MIN(r, 0);
}

static int rename_tree(struct renaming *g)
{
    int r = list_moving(g);
    if (r == STORE_DONE)
        r = has_room(g->s, g->c->account, g->c->to, 0);
    if (r == STORE_DONE)
        r = make_above(g->s, g->c->account, g->c->to);
    return r == STORE_DONE ? stage_renamed(g) : r;
}

/* INBOX stays and gives its messages to the new mailbox (RFC 9051 6.3.6). */
static int rename_inbox(struct store *s, const struct call *c)
{
    struct box *from, *to;
    int r = store_box_named(s, c->account, c->to, &to);
    if (r != 0)
        return r < 0 ? r : STORE_EXISTS;
    r = has_room(s, c->account, c->to, 1);
    if (r == STORE_DONE)
        r = make_path(s, c->account, c->to, &to);
    if (r == STORE_DONE)
        r = store_box(s, c->account, INBOX, &from);
    return r == STORE_DONE ? store_move_all(s, from, to) : r;
}

static int rename_(struct store *s, void *arg)
{
    const struct call *c = arg;
    int r = store_flush(s);
    if (r < 0)
        return r;
    if (str_eq(c->name, c->to))
        return STORE_EXISTS;
    if (str_eq(c->name, INBOX))
        return rename_inbox(s, c);
    if (is_within(c->to, c->name))
        return STORE_CANNOT;
    struct renaming g = { .s = s, .c = c, .arena = ARENA(TREE_MEMORY) };
    r = rename_tree(&g);
    arena_done(&g.arena);
    return r;
}

int store_rename(struct store *s, str account, str from, str to, uint64_t *out_ticket)
{
    struct call c = { .account = account, .name = from, .to = to };
    int r = to.n ? store_guard(s, rename_, &c) : -EINVAL;
    if (r == STORE_DONE)
        *out_ticket = s->next_lsn - 1;
    return r;
}

static int subscribe(struct store *s, void *arg)
{
    const struct call *c = arg;
    uint64_t have = 0;
    int r = store_flush(s);
    if (r == 0)
        r = index_subscribed(s->index, c->account, c->name);
    if (r < 0 || (r == 1) == c->on)
        return MIN(r, STORE_DONE);
    r = c->on ? index_subscription_count(s->index, c->account, &have) : 0;
    if (r < 0 || have >= MAILBOXES_MAX)
        return r < 0 ? r : STORE_LIMIT;
    return stage_subscribed(s, c->account, c->name, c->on);
}

int store_subscribe(struct store *s, str account, str name, bool on, uint64_t *out_ticket)
{
    struct call c = { .account = account, .name = name, .on = on };
    uint64_t before = s->next_lsn;
    if (!account.n || !name.n || name.n > BOX_NAME_MAX)
        return -EINVAL;
    int r = store_guard(s, subscribe, &c);
    if (r == STORE_DONE)
        *out_ticket = ticket_since(s, before);
    return r;
}

/* With uses as proto/imap_command.h numbers them. */
static const struct { const char *name; uint8_t use; } first_mailboxes[] = {
    { "INBOX", 0 }, { "Drafts", 3 }, { "Sent", 6 }, { "Trash", 7 }, { "Junk", 5 }, { "Archive", 2 },
};

static int prepare_mailbox(struct store *s, str account, str name, uint8_t use)
{
    struct box *box;
    int r = use ? index_use_taken(s->index, account, use) : 0;
    if (r == 0 && use)
        r = store_box_named(s, account, name, &box);
    if (r != 0)
        return MIN(r, 0);
    r = store_box(s, account, name, &box);
    if (r == 0)
        r = stage_use(s, box, use);
    return r < 0 ? r : stage_subscribed(s, account, name, true);
}

static int prepare(struct store *s, void *arg)
{
    const struct call *c = arg;
    int r = index_prepared(s->index, c->account);
    if (r != 0)
        return MIN(r, STORE_DONE);
    r = store_flush(s);
    for (size_t i = 0; i < ARRAY_LEN(first_mailboxes) && r == 0; i++)
        r = prepare_mailbox(s, c->account, str_z(first_mailboxes[i].name), first_mailboxes[i].use);
    struct journal_record record = { .kind = JOURNAL_account_prepared, .account_prepared = { .account = c->account } };
    if (r == 0)
        r = store_stage(s, &record);
    return r < 0 ? r : store_flush(s);
}

int store_account_prepare(struct store *s, str account)
{
    struct call c = { .account = account };
    return store_guard(s, prepare, &c);
}

static struct store_folder folder_of(const struct index_mailbox *m, str name, bool subscribed)
{
    return (struct store_folder){
        .id = m->id, .name = name, .use = m->use, .subscribed = subscribed, .uidvalidity = m->uidvalidity,
        .uidnext = m->uidnext, .messages = (uint32_t)m->messages, .unseen = (uint32_t)m->unseen,
        .deleted = (uint32_t)m->deleted, .recent = (uint32_t)m->n_recent, .bytes = m->bytes,
        .deleted_bytes = m->deleted_bytes, .modseq = m->modseq,
    };
}

struct listing {
    int (*each)(void *arg, const struct store_folder *f);
    void *arg;
};

static int list_folder(void *arg, const struct index_folder *f)
{
    const struct listing *l = arg;
    struct store_folder folder = folder_of(&f->box, f->name, f->subscribed);
    return l->each(l->arg, &folder);
}

int store_folders(struct store *s, str account, str after, size_t max,
                  int (*each)(void *arg, const struct store_folder *f), void *arg)
{
    struct listing l = { each, arg };
    int r = s->failed ? s->failed : index_folders(s->index, account, after, max, list_folder, &l);
    if (r != -EBADMSG)
        return r;
    r = store_reindex(s); /* some may have been told: the next call is answered */
    return r < 0 && r != -EBADMSG ? r : -EIO;
}

static int folder(struct store *s, void *arg)
{
    const struct call *c = arg;
    struct index_mailbox m;
    int r = store_flush(s);
    if (r == 0)
        r = index_mailbox_named(s->index, c->account, c->name, &m);
    if (r != 1)
        return r;
    r = index_subscribed(s->index, c->account, c->name);
    if (r < 0)
        return r;
    *c->folder = folder_of(&m, c->name, r == 1);
    return 1;
}

int store_folder(struct store *s, str account, str name, struct store_folder *out)
{
    struct call c = { .account = account, .name = name, .folder = out };
    return store_guard(s, folder, &c);
}

struct usage_call {
    str account;
    struct store_usage *out;
};

static int usage(struct store *s, void *arg)
{
    const struct usage_call *c = arg;
    return index_usage(s->index, c->account, &c->out->bytes, &c->out->messages);
}

int store_usage(struct store *s, str account, struct store_usage *out)
{
    struct usage_call c = { account, out };
    return store_guard(s, usage, &c);
}

void store_set_quota(struct store *s, store_quota_fn *limit, void *arg)
{
    s->quota = limit;
    s->quota_arg = arg;
}

bool store_quota_allows(struct store *s, str account, uint64_t bytes, uint64_t messages)
{
    struct store_usage limit = { 0 }, used;
    if (s->quota)
        s->quota(s->quota_arg, account, &limit);
    if (!limit.bytes && !limit.messages)
        return true;
    /* copies that are staged are not counted yet; who has a quota waits for them */
    int r = s->copied_lsn > store_committed(s) ? store_flush(s) : 0;
    if (r == 0)
        r = index_usage(s->index, account, &used.bytes, &used.messages);
    return r == 0 && (!limit.bytes || (used.bytes <= limit.bytes && bytes <= limit.bytes - used.bytes)) &&
           (!limit.messages || (used.messages <= limit.messages && messages <= limit.messages - used.messages));
}
