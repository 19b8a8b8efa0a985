/* For tests of role access: the role in a child process, the test as master, store, auth and clients. Included after
 * cmocka.h. */
#pragma once
#include "access/access_role.h"
#include "base/hash.h"
#include "base/pack.h"
#include "io/role_play.h"
#include "proto/imap_command.h"
#include "store/feed.h"
#include "store/mailbox_role.h"
#include "store/segment.h"
#include "store/snapshot_format.h"

enum { PLAY_POP3, PLAY_POP3S, PLAY_IMAP, PLAY_IMAPS };
enum { PLAY_MAILBOX = 5 };

/* A store that is there, anew perhaps: it hears of the log first. */
static inline void play_store(struct role_play *p)
{
    play_peer(p, ROLE_STORE);
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_ATTACH);
    assert_true(str_eq(unpack_str(&p->in), S("access")));
}

static inline void play_access(struct role_play *p, const char *more)
{
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    play_init(p);
    play_listen(p, "pop3");
    play_listen(p, "pop3s");
    play_listen(p, "imap");
    play_listen(p, "imaps");
    buf_add(&p->settings, str_z(more));
    play_fork(p, access_role_run);
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    play_file(p, "tls_certificate", buf_str(&cert));
    play_file(p, "tls_key", buf_str(&key));
    play_begin(p, "log");
    play_peer(p, ROLE_AUTH);
    play_start(p);
    play_store(p);
}

static inline void play_result(struct role_play *p, uint64_t request, uint8_t result)
{
    struct buf b = BUF(1024);
    pack_u64(&b, request);
    pack_u8(&b, result);
    pack_str(&b, result == 1 ? S("anna@example.org") : STR_NONE);
    pack_str(&b, STR_NONE);
    play_send(p->peer[ROLE_AUTH], IPC_AUTH_RESULT, &b, -1);
}

/* A mailbox of messages that stand one behind the other in segment 7 of log "smtp-in". */
struct play_mail { const char *prefix, *content; };

static inline uint64_t play_place(const struct play_mail *m, size_t i)
{
    uint64_t at = SEGMENT_HEADER_SIZE;
    for (size_t k = 0; k < i; k++)
        at += RECORD_HEADER_SIZE + ((strlen(m[k].content) + 7) & ~7ull);
    return at;
}

static inline int play_snapshot(const struct play_mail *m, size_t n)
{
    _cleanup_buf_ struct buf b = BUF(1 << 20);
    size_t texts = SNAPSHOT_HEADER + n * SNAPSHOT_ENTRY;
    buf_space(&b, texts);
    uint64_t log_at = texts, at = texts + 7;
    buf_add(&b, S("smtp-in"));
    for (size_t i = 0; i < n; i++) {
        char *e = b.p + SNAPSHOT_HEADER + i * SNAPSHOT_ENTRY;
        size_t prefix = strlen(m[i].prefix), content = strlen(m[i].content);
        put_u32(e, (uint32_t)i + 11);
        put_u32(e + 4, 1);
        put_u64(e + 8, prefix + content);
        put_u64(e + 16, 7);
        put_u64(e + 24, play_place(m, i));
        put_u64(e + 32, content);
        put_u32(e + 68, (uint32_t)prefix);
        put_u64(e + 72, at);
        put_u64(e + 80, log_at);
        put_u32(e + 88, 7);
        buf_add(&b, str_z(m[i].prefix));
        at += prefix;
    }
    char *p = b.p;
    memcpy(p, SNAPSHOT_MAGIC.p, 8);
    put_u64(p + 8, 5);
    put_u32(p + 24, 1234);
    put_u32(p + 28, (uint32_t)n + 11);
    put_u64(p + 32, n);
    put_u64(p + 40, b.n);
    int fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, b.p, b.n), (ssize_t)b.n);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    return fd;
}

static inline int play_segment(const struct play_mail *m, size_t n)
{
    struct segment_header segment = { .number = 7, .kind = 1 };
    char head[SEGMENT_HEADER_SIZE], record[RECORD_HEADER_SIZE];
    int fd = memfd_create("segment", MFD_CLOEXEC);
    segment_header_encode(&segment, head);
    assert_int_equal(segment_pwrite(fd, str_of(head, sizeof(head)), 0), 0);
    for (size_t i = 0; i < n; i++) {
        str content = str_z(m[i].content);
        struct record_header h = { .type = RECORD_MESSAGE, .offset = play_place(m, i), .content_len = content.n,
                                   .content_crc = crc32c(0, content) };
        record_header_encode(&h, segment.key, record);
        assert_int_equal(segment_pwrite(fd, str_of(record, sizeof(record)), h.offset), 0);
        assert_int_equal(segment_pwrite(fd, content, h.offset + RECORD_HEADER_SIZE), 0);
    }
    return fd;
}

/* Answers MAILDROP_OPEN; snapshot (closed here) -1: result alone. */
static inline void play_maildrop(struct role_play *p, uint8_t result, int snapshot)
{
    struct buf b = BUF(64);
    play_expect(p, p->peer[ROLE_STORE], IPC_MAILDROP_OPEN);
    pack_u64(&b, unpack_u64(&p->in));
    assert_int_equal(unpack_str(&p->in).n, 26);
    assert_true(unpack_end(&p->in));
    pack_u8(&b, result);
    pack_u64(&b, 5);
    play_send(p->peer[ROLE_STORE], IPC_MAILDROP, &b, snapshot);
    if (snapshot >= 0)
        close(snapshot);
}

/* Answers SEGMENT_GET; segment (closed here) -1: refused. */
static inline void play_give_segment(struct role_play *p, int segment)
{
    struct buf b = BUF(64);
    play_expect(p, p->peer[ROLE_STORE], IPC_SEGMENT_GET);
    pack_u64(&b, unpack_u64(&p->in));
    unpack_str(&p->in);
    assert_true(str_eq(unpack_str(&p->in), S("smtp-in")));
    assert_int_equal(unpack_u64(&p->in), 7);
    assert_true(unpack_end(&p->in));
    pack_u8(&b, segment >= 0);
    play_send(p->peer[ROLE_STORE], IPC_SEGMENT, &b, segment);
    if (segment >= 0)
        close(segment);
}

/* USER and PASS were said: the password's question, with its request number. */
static inline uint64_t play_say_password(struct role_play *p, struct play_client *c)
{
    client_talk(c, "USER anna@example.org\r\n", "+OK");
    client_send(c, S("PASS secret\r\n"));
    play_expect(p, p->peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    return unpack_u64(&p->in);
}

static inline void play_connect(struct role_play *p, struct play_client *c)
{
    client_open(c, p->port[PLAY_POP3S]);
    client_tls(c);
    client_expect(c, "+OK");
}

static inline void play_opened(struct role_play *p, struct play_client *c, const struct play_mail *m, size_t n)
{
    play_connect(p, c);
    play_result(p, play_say_password(p, c), 1);
    play_maildrop(p, 0, play_snapshot(m, n));
    client_expect(c, "+OK");
}

/* IMAP */

/* The line that begins with the tag; what came before it is dropped. */
static inline str client_until(struct play_client *c, const char *want)
{
    for (;;) {
        str line = client_line(c);
        if (!line.p)
            fail_msg("\"%s\" was expected, but the connection ended", want);
        if (str_starts(line, str_z(want)))
            return line;
    }
}

static inline void play_imap_greeted(struct role_play *p, struct play_client *c)
{
    client_open(c, p->port[PLAY_IMAPS]);
    client_tls(c);
    client_expect(c, "* OK [CAPABILITY ");
}

/* A session that has logged in. */
static inline void play_imap(struct role_play *p, struct play_client *c)
{
    play_imap_greeted(p, c);
    client_send(c, S("l LOGIN anna@example.org secret\r\n"));
    play_expect(p, p->peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    play_result(p, unpack_u64(&p->in), 1);
    client_expect(c, "l OK [CAPABILITY ");
}

/* The next request to the store must be of this type: its number. What follows the session is in p->in. */
static inline uint64_t play_request(struct role_play *p, enum ipc_type type)
{
    play_expect(p, p->peer[ROLE_STORE], type);
    uint64_t request = unpack_u64(&p->in);
    assert_int_equal(unpack_str(&p->in).n, 26);
    return request;
}

static inline struct buf play_answer(uint64_t request, uint8_t verdict)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, request);
    pack_u8(&b, verdict);
    return b;
}

static inline void play_reply(struct role_play *p, enum ipc_type type, struct buf *b)
{
    play_send(p->peer[ROLE_STORE], type, b, -1);
}

/* Answers MAILBOX_OPEN; snapshot (closed here) -1: held. */
static inline void play_opens(struct role_play *p, uint8_t verdict, int snapshot)
{
    struct buf b = play_answer(play_request(p, IPC_MAILBOX_OPEN), verdict);
    pack_u64(&b, verdict ? 0 : PLAY_MAILBOX);
    pack_u64(&b, 0);
    pack_u8(&b, verdict == 0 && snapshot < 0);
    play_send(p->peer[ROLE_STORE], IPC_MAILBOX_OPENED, &b, snapshot);
    if (snapshot >= 0)
        close(snapshot);
}

/* A feed item of the mailbox: begun with feed_begin(), n things put into it. */
static inline void play_feed(struct role_play *p, struct buf *item, uint32_t n)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    feed_end(item, 0, n);
    pack_u64(&b, PLAY_MAILBOX);
    pack_str(&b, buf_str(item));
    play_reply(p, IPC_FEED, &b);
    buf_done(item);
}

static inline void play_feed_flags(struct role_play *p, uint64_t lsn, uint32_t uid, uint32_t flags)
{
    struct buf item = BUF(FEED_ITEM_MAX);
    feed_begin(&item, FEED_FLAGS, lsn, lsn);
    feed_put_flags(&item, uid, flags, 0);
    play_feed(p, &item, 1);
}

static inline void play_feed_expunged(struct role_play *p, uint64_t lsn, uint32_t uid)
{
    struct buf item = BUF(FEED_ITEM_MAX);
    feed_begin(&item, FEED_EXPUNGED, lsn, lsn);
    pack_u32(&item, uid);
    play_feed(p, &item, 1);
}

static inline void play_feed_arrived(struct role_play *p, uint64_t lsn, uint32_t uid)
{
    struct buf item = BUF(FEED_ITEM_MAX);
    struct mailbox_entry e = { .uid = uid, .modseq = lsn, .log = S("smtp-in"), .position = { 7, 64 }, .content_len = 3,
                               .size = 3 };
    feed_begin(&item, FEED_ARRIVED, lsn, lsn);
    feed_put_entry(&item, &e);
    play_feed(p, &item, 1);
}

/* Selects INBOX with these messages (UIDs from 11 on, all recent). */
static inline void play_selected(struct role_play *p, struct play_client *c, const struct play_mail *m, size_t n)
{
    client_send(c, S("s SELECT INBOX\r\n"));
    play_opens(p, STORE_DONE, play_snapshot(m, n));
    client_until(c, "s OK [READ-WRITE]");
    play_expect(p, p->peer[ROLE_STORE], IPC_RECENT_SEEN);
}
