/* For the tests of mailboxes: short forms of the calls, all for one account, and a recount of a mailbox's counters. */
#pragma once
#include "base/pack.h"
#include "store/mailboxes.h"
#include "store/store_test_world.h"

#define ANNA S("anna@example.org")

/* Waits until the ticket is durable. */
static inline void settle(struct world *w, uint64_t ticket)
{
    assert_int_equal(store_flush(w->store), 0);
    assert_true(store_durable(w->store) >= ticket);
}

static inline int make(struct world *w, const char *name, uint8_t use)
{
    uint64_t id = 0, ticket = 0;
    int r = store_create(w->store, ANNA, str_z(name), use, &id, &ticket);
    if (r == STORE_DONE) {
        assert_true(id > 0 && ticket > store_durable(w->store));
        settle(w, ticket);
    }
    return r;
}

static inline int drop(struct world *w, const char *name)
{
    uint64_t ticket = 0;
    int r = store_delete(w->store, ANNA, str_z(name), &ticket);
    if (r == STORE_DONE)
        settle(w, ticket);
    return r;
}

static inline int move_name(struct world *w, const char *from, const char *to)
{
    uint64_t ticket = 0;
    int r = store_rename(w->store, ANNA, str_z(from), str_z(to), &ticket);
    if (r == STORE_DONE)
        settle(w, ticket);
    return r;
}

static inline uint64_t id_of(struct world *w, const char *name)
{
    struct store_folder f = { 0 };
    return store_folder(w->store, ANNA, str_z(name), &f) == 1 ? f.id : 0;
}

static inline struct store_folder folder_named(struct world *w, const char *name)
{
    struct store_folder f = { 0 };
    assert_int_equal(store_folder(w->store, ANNA, str_z(name), &f), 1);
    return f;
}

/* Delivers one message to anna and returns the LSN of its record. */
static inline uint64_t deliver(struct world *w, uint32_t number)
{
    struct store_stats stats;
    deliver_all(w, append(w, number, S("Subject: x\r\n\r\ntext\r\n"), "anna@example.org"));
    store_stats(w->store, &stats);
    return stats.lsn;
}

static inline void snapshot_of(struct world *w, uint64_t mailbox, struct snapshot *out)
{
    int fd = -1;
    assert_int_equal(store_snapshot(w->store, mailbox, &fd), 0);
    assert_int_equal(snapshot_open(fd, out), 0);
}

/* What STATUS says of the mailbox is what a count of its messages gives. */
static inline void recount(struct world *w, const struct store_folder *f)
{
    struct snapshot s;
    struct mailbox_entry e;
    struct store_folder want = { .id = f->id };
    snapshot_of(w, f->id, &s);
    uint32_t uid = 0;
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_true(e.uid > uid && e.uid < s.uidnext && e.modseq <= s.modseq && e.modseq > 0);
        uid = e.uid;
        want.unseen += !(e.flags & 1);
        want.deleted += (e.flags & 8) != 0;
        want.bytes += e.size;
        want.deleted_bytes += e.flags & 8 ? e.size : 0;
        want.recent += e.uid >= s.recent;
        assert_true(s.n_keywords == 64 || e.keywords >> s.n_keywords == 0);
    }
    assert_int_equal(f->messages, s.n);
    assert_int_equal(f->unseen, want.unseen);
    assert_int_equal(f->deleted, want.deleted);
    assert_int_equal(f->bytes, want.bytes);
    assert_int_equal(f->deleted_bytes, want.deleted_bytes);
    assert_int_equal(f->recent, want.recent);
    assert_int_equal(f->uidnext, s.uidnext);
    assert_int_equal(f->uidvalidity, s.uidvalidity);
    assert_int_equal(f->modseq, s.modseq);
    snapshot_close(&s);
}

struct names { /* of folders, in order, each with a space behind it; subscribed ones with a star before */
    struct world *w;
    char text[4096];
    size_t n;
    unsigned rows;
};

static inline int add_name(void *arg, const struct store_folder *f)
{
    struct names *n = arg;
    n->n += (size_t)snprintf(n->text + n->n, sizeof(n->text) - n->n, "%s%.*s%s ", f->subscribed ? "*" : "",
                             STR_ARG(f->name), f->id ? "" : "?");
    assert_true(n->n < sizeof(n->text));
    n->rows++;
    return 0;
}

static inline const char *folder_names(struct world *w, struct names *n)
{
    *n = (struct names){ .w = w };
    int rows = store_folders(w->store, ANNA, STR_NONE, 1000, add_name, n);
    assert_int_equal(rows, n->rows);
    return n->text;
}

static inline int flag_as(struct world *w, uint64_t mailbox, uint8_t op, uint32_t system, const char *keyword,
                          struct store_uids uids)
{
    str word = str_z(keyword);
    struct buf failed = BUF(1 << 20);
    uint64_t ticket = 0;
    struct store_flagging f = { .mailbox = mailbox, .uids = &uids, .n_uids = 1, .op = op, .system = system,
                                .keywords = &word, .n_keywords = keyword != NULL, .unchanged_since = UINT64_MAX };
    int r = store_flag(w->store, &f, &failed, &ticket);
    assert_int_equal(failed.n, 0);
    buf_done(&failed);
    return r;
}

/* COPY or MOVE of one range; pairs are added. */
static inline int copy_range(struct world *w, struct store_copying how, struct store_uids range, struct buf *pairs,
                             struct store_copied *out)
{
    how.account = how.account.n ? how.account : ANNA;
    how.uids = &range;
    how.n_uids = 1;
    return store_copy(w->store, &how, pairs, out);
}

static inline struct mailbox_entry entry_of(struct world *w, uint64_t mailbox, uint32_t uid)
{
    struct snapshot s;
    struct mailbox_entry e = { 0 };
    bool found = false;
    snapshot_of(w, mailbox, &s);
    for (size_t i = 0; i < s.n && !found; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        found = e.uid == uid;
    }
    snapshot_close(&s);
    assert_true(found);
    e.prefix = e.log = STR_NONE;
    return e;
}

/* The store and what a replay of its journal gives are the same. */
static inline void check_and_reopen(struct world *w, bool without_index)
{
    assert_int_equal(store_flush(w->store), 0);
    world_close(w);
    assert_int_equal(world_check(w), 0);
    if (without_index)
        unlinkat(w->fd, "index.db", 0);
    world_begin(w);
}
