/* For tests of role store as role access knows it for IMAP: requests, and what comes back. Included after cmocka.h. */
#pragma once
#include "store/mailbox_role.h"
#include "store/snapshot.h"
#include "store/store_role_play.h"

enum { SEEN = 1, FLAGGED = 4, DELETED = 8 }; /* IMAP_SEEN … */

static uint64_t last_request;

static inline struct buf ask(const char *session)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, ++last_request);
    pack_str(&b, str_z(session));
    return b;
}

static inline void put(struct stage *s, enum ipc_type type, struct buf *b)
{
    play_send(s->p.peer[ROLE_ACCESS], type, b, -1);
}

/* The next frame for access, which answers the last request: its verdict; the rest is in s->p.in. */
static inline uint8_t answered(struct stage *s, enum ipc_type type)
{
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], type);
    assert_int_equal(unpack_u64(&s->p.in), last_request);
    return unpack_u8(&s->p.in);
}

static inline void at_end(struct stage *s) { assert_true(unpack_end(&s->p.in)); }

/* The next frame is an item of the feed of that mailbox. */
static inline struct feed_item fed(struct stage *s, uint64_t mailbox, enum feed_kind kind)
{
    struct feed_item f;
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], IPC_FEED);
    assert_int_equal(unpack_u64(&s->p.in), mailbox);
    str item = unpack_str(&s->p.in);
    at_end(s);
    assert_int_equal(feed_decode(item, &f), 0);
    assert_int_equal(f.kind, kind);
    return f;
}

static inline uint8_t change(struct stage *s, const char *session, enum folder_change what, const char *name,
                      const char *other)
{
    struct buf b = ask(session);
    pack_u8(&b, (uint8_t)what);
    pack_str(&b, str_z(name));
    pack_str(&b, str_z(other));
    pack_u8(&b, 0);
    put(s, IPC_FOLDER_CHANGE, &b);
    return answered(s, IPC_FOLDER_CHANGED);
}

static inline struct store_folder unpack_folder(struct unpack *in)
{
    struct store_folder f = { .id = unpack_u64(in) };
    f.name = unpack_str(in);
    f.use = unpack_u8(in);
    f.subscribed = unpack_u8(in);
    f.uidvalidity = unpack_u32(in);
    f.uidnext = unpack_u32(in);
    f.messages = unpack_u32(in);
    f.unseen = unpack_u32(in);
    f.deleted = unpack_u32(in);
    f.recent = unpack_u32(in);
    f.bytes = unpack_u64(in);
    f.deleted_bytes = unpack_u64(in);
    f.modseq = unpack_u64(in);
    return f;
}

/* STATUS: the verdict. */
static inline uint8_t folder(struct stage *s, const char *session, const char *name, struct store_folder *out)
{
    struct buf b = ask(session);
    pack_str(&b, str_z(name));
    put(s, IPC_FOLDERS, &b);
    uint8_t verdict = answered(s, IPC_FOLDERS_PAGE);
    assert_int_equal(unpack_u8(&s->p.in), 1);
    uint32_t n = unpack_u32(&s->p.in);
    assert_int_equal(n, verdict == STORE_DONE);
    if (n)
        *out = unpack_folder(&s->p.in);
    at_end(s);
    return verdict;
}

/* LIST: names, each followed by a blank. */
static inline size_t folders(struct stage *s, const char *session, struct buf *names)
{
    struct buf b = ask(session);
    size_t pages = 0;
    pack_str(&b, STR_NONE);
    put(s, IPC_FOLDERS, &b);
    for (bool last = false; !last; pages++) {
        assert_int_equal(answered(s, IPC_FOLDERS_PAGE), STORE_DONE);
        last = unpack_u8(&s->p.in);
        uint32_t n = unpack_u32(&s->p.in);
        while (n--) {
            struct store_folder f = unpack_folder(&s->p.in);
            buf_add(names, f.name);
            buf_addc(names, ' ');
        }
        at_end(s);
    }
    return pages;
}

struct seen { uint8_t verdict, held; uint64_t mailbox, lsn; struct snapshot box; };

/* MAILBOX_OPEN; the snapshot is the caller's if the verdict is 0 and it is not held. */
static inline struct seen open_mailbox(struct stage *s, const char *session, const char *name)
{
    struct seen o = { 0 };
    struct buf b = ask(session);
    pack_str(&b, str_z(name));
    put(s, IPC_MAILBOX_OPEN, &b);
    o.verdict = answered(s, IPC_MAILBOX_OPENED);
    o.mailbox = unpack_u64(&s->p.in);
    o.lsn = unpack_u64(&s->p.in);
    o.held = unpack_u8(&s->p.in);
    at_end(s);
    assert_true((s->p.fd >= 0) == (o.verdict == STORE_DONE && !o.held));
    assert_true((o.mailbox != 0) == (o.verdict == STORE_DONE));
    if (s->p.fd >= 0) {
        assert_int_equal(snapshot_open(TAKE_FD(s->p.fd), &o.box), 0);
        assert_int_equal(o.box.lsn, o.lsn);
    }
    return o;
}

static inline uint64_t open_quietly(struct stage *s, const char *session, const char *name)
{
    struct seen o = open_mailbox(s, session, name);
    assert_int_equal(o.verdict, STORE_DONE);
    if (!o.held)
        snapshot_close(&o.box);
    return o.mailbox;
}

static inline void pack_range(struct buf *b, uint32_t first, uint32_t last)
{
    pack_u32(b, 1);
    pack_u32(b, first);
    pack_u32(b, last);
}

static inline void send_flag(struct stage *s, const char *session, uint64_t mailbox, uint32_t system, uint64_t since,
                      const char *keyword)
{
    struct buf b = ask(session);
    pack_u64(&b, mailbox);
    pack_u8(&b, s->early);
    pack_u8(&b, 1); /* add */
    pack_u32(&b, system);
    pack_u64(&b, since);
    pack_u32(&b, keyword ? 1 : 0);
    if (keyword)
        pack_str(&b, str_z(keyword));
    pack_range(&b, 1, UINT32_MAX);
    put(s, IPC_FLAG, &b);
}

struct flagged { uint8_t verdict; uint64_t lsn, modseq; uint32_t failed, first_failed; };

static inline struct flagged flagged(struct stage *s)
{
    struct flagged f = { .verdict = answered(s, IPC_FLAGGED) };
    assert_int_equal(unpack_u8(&s->p.in), 1);
    f.lsn = unpack_u64(&s->p.in);
    f.modseq = unpack_u64(&s->p.in);
    f.failed = unpack_u32(&s->p.in);
    f.first_failed = f.failed ? unpack_u32(&s->p.in) : 0;
    for (uint32_t i = 1; i < f.failed; i++)
        unpack_u32(&s->p.in);
    at_end(s);
    return f;
}

static inline void send_copy(struct stage *s, const char *session, uint64_t mailbox, bool move, const char *to)
{
    struct buf b = ask(session);
    pack_u64(&b, mailbox);
    pack_u8(&b, move);
    pack_str(&b, str_z(to));
    pack_range(&b, 1, UINT32_MAX);
    put(s, IPC_COPY, &b);
}

static inline void send_expunge(struct stage *s, const char *session, uint64_t mailbox)
{
    struct buf b = ask(session);
    pack_u64(&b, mailbox);
    pack_u32(&b, 0);
    put(s, IPC_EXPUNGE_DELETED, &b);
}

static inline void forget(struct stage *s, uint64_t mailbox)
{
    struct buf b = BUF(16);
    pack_u64(&b, mailbox);
    put(s, IPC_MAILBOX_FORGET, &b);
}

static inline void begin(struct stage *s)
{
    stage_init(s);
    stage_start(s);
    attach(s);
    bind_session(s, "S1", "anna@example.org");
    bind_session(s, "S2", "bob@example.org");
}

static inline void expect_copied(struct stage *s, uint8_t verdict, uint32_t source, uint32_t uid, uint32_t count)
{
    assert_int_equal(answered(s, IPC_COPIED), verdict);
    assert_int_equal(unpack_u8(&s->p.in), 1);
    assert_true((unpack_u32(&s->p.in) != 0) == (verdict == STORE_DONE));
    assert_int_equal(unpack_u32(&s->p.in), count ? 1 : 0);
    if (count) {
        assert_int_equal(unpack_u32(&s->p.in), source);
        assert_int_equal(unpack_u32(&s->p.in), uid);
        assert_int_equal(unpack_u32(&s->p.in), count);
    }
    at_end(s);
}
