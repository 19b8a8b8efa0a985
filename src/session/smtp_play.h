/* For tests of role smtp-in: the role in a child process with the three kinds of listeners, the test as master, store,
 * auth and clients. Included after cmocka.h. */
#pragma once
#include "io/role_play.h"
#include "session/smtp_serve.h"
#include "store/message_record.h"
#include "store/segment.h"

enum { PLAY_SMTP, PLAY_SUBMISSION, PLAY_SUBMISSIONS };

/* Stands for the MSA: adds a line, and refuses what says so after it has written its part. */
static inline int play_header(struct smtp_session *s, str header, struct buf *out, struct smtp_refusal *out_refusal)
{
    struct smtp_message_view v;
    smtp_session_view(s, &v);
    buf_addf(out, "X-Account: %.*s\r\n", STR_ARG(v.account));
    buf_add(out, header);
    if (str_find(header, S("From: evil")) < 0)
        return out->failed;
    *out_refusal = (struct smtp_refusal){ 550, S("5.7.1"), S("Not yours") };
    return -EACCES;
}

static inline int play_smtp_run(void)
{
    static const struct smtp_agent mta = { .name = "mta" }, msa = { .name = "msa", .msa = true, .header = play_header };
    return smtp_in_run(&mta, &msa);
}

/* more: further settings. Store and auth are joined; the store has had its LOG_ATTACH. */
static inline void play_smtp(struct role_play *p, const char *more)
{
    _cleanup_buf_ struct buf cert = { 0 }, key = { 0 };
    play_init(p);
    play_listen(p, "smtp");
    play_listen(p, "submission");
    play_listen(p, "submissions");
    buf_add(&p->settings, str_z(more));
    play_fork(p, play_smtp_run);
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    play_file(p, "tls_certificate", buf_str(&cert));
    play_file(p, "tls_key", buf_str(&key));
    play_begin(p, "log");
    play_peer(p, ROLE_STORE);
    play_peer(p, ROLE_AUTH);
    play_start(p);
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_ATTACH);
}

static inline void play_greeted(struct role_play *p, struct play_client *c, int listener)
{
    client_open(c, p->port[listener]);
    if (listener == PLAY_SUBMISSIONS)
        client_tls(c);
    client_expect(c, "220 mx.example.org");
    client_talk(c, "EHLO client.example\r\n", "250");
}

/* Answers a question of a log-in: result 0 wrong, 1 right (as that account), 2 not now. */
static inline void play_answer(struct role_play *p, uint64_t request, uint8_t result, const char *account)
{
    struct buf b = BUF(1024);
    pack_u64(&b, request);
    pack_u8(&b, result);
    pack_str(&b, str_z(account));
    pack_str(&b, STR_NONE);
    play_send(p->peer[ROLE_AUTH], IPC_AUTH_RESULT, &b, -1);
}

static inline void play_log_in(struct role_play *p, struct play_client *c)
{
    client_send(c, S("AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0\r\n")); /* anna@example.org, secret */
    play_expect(p, p->peer[ROLE_AUTH], IPC_CHECK_PASSWORD);
    play_answer(p, unpack_u64(&p->in), 1, "anna@example.org");
    client_expect(c, "235 2.7.0");
}

/* The place of the newest durable record, from the next LOG_SYNCED: end of what is durable. */
static inline struct log_position play_synced(struct role_play *p)
{
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_SYNCED);
    assert_true(str_eq(unpack_str(&p->in), S("smtp-in")));
    unpack_u64(&p->in);
    uint32_t n = unpack_u32(&p->in);
    struct log_position at = { 0 };
    while (n--)
        at = (struct log_position){ .segment = unpack_u64(&p->in), .offset = unpack_u64(&p->in) };
    assert_true(unpack_end(&p->in));
    return at;
}

/* Content and record of the last message in a segment. */
struct play_message { struct buf content, meta; struct arena arena; struct message_record record; };

static inline void play_message_done(struct play_message *m)
{
    buf_done(&m->content);
    buf_done(&m->meta);
    arena_done(&m->arena);
}
#define _cleanup_message_ _cleanup_(play_message_done)

static inline void play_read(struct role_play *p, struct log_position at, struct play_message *out)
{
    char name[32], path[64];
    struct segment_reader r;
    struct record_header h, last = { 0 };
    bool damage;
    segment_name(at.segment, name);
    snprintf(path, sizeof(path), "log/%s", name);
    _cleanup_close_ int fd = openat(p->dir_fd, path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(segment_reader_open(fd, &r), 0);
    while (segment_reader_next(&r, true, &h, &damage) == 1 && h.offset < at.offset)
        last = h;
    assert_true(last.content_len > 0);
    *out = (struct play_message){ .content = BUF(64 << 20), .meta = BUF(64 << 20), .arena = ARENA(64 << 20) };
    off_t begin = (off_t)(last.offset + RECORD_HEADER_SIZE);
    char *content = buf_space(&out->content, last.content_len), *meta = buf_space(&out->meta, last.meta_len);
    assert_int_equal(pread(fd, content, last.content_len, begin), (ssize_t)last.content_len);
    assert_int_equal(pread(fd, meta, last.meta_len, begin + (off_t)last.content_len), (ssize_t)last.meta_len);
    assert_int_equal(message_record_decode(&out->arena, buf_str(&out->meta), &out->record), 0);
}
