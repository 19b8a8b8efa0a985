/* A folder of trace segments for tests, and a configuration that goes with it. */
#pragma once
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include "admin/trace_query.h"
#include "base/event.h"

#define S1 "5h2v9kq8m4t7w1x3y6z0abcdef"
#define S2 "5h2v9kzzzzzzzzzzzzzzzzzzzz"
#define POP "1aaaaaaaaaaaaaaaaaaaaaaaaa"
#define T0 UINT64_C(1795506903123000) /* 2026-11-24 07:55:03.123 */

#define CONF_TEXT "hostname mail.posthouse.test\n" \
                  "domain posthouse.test\n" \
                  "smtpd_relay_restrictions permit_mynetworks,\n" \
                  "    reject_unauth_destination\n" \
                  "listen smtp 127.0.0.1:20025\n"

struct trace_room {
    char path[64];
    int dir;
    struct trace trace;
    struct arena arena;
    struct buf bundle;
    struct admin_data data;
    struct buf out, complaint;
};

/* Writes lines into ROLE.NUMBER.trace: each row is event, then key and value by turns, NULL ends it; times rise by a
 * millisecond. */
static inline void room_write(struct trace_room *r, const char *role, unsigned number, uint64_t us,
                              const char *const *const *rows)
{
    struct buf b = BUF(1 << 24);
    char name[64];
    for (; *rows; rows++, us += 1000) {
        const char *const *p = *rows;
        event_begin(&b, us, EVENT_INFO, *p++);
        event_str(&b, "role", str_z(role));
        for (; *p; p += 2)
            event_str(&b, p[0], str_z(p[1]));
        event_end(&b);
    }
    snprintf(name, sizeof(name), "%s.%08u.trace", role, number);
    int fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
    close(fd);
    buf_done(&b);
}
#define ROW(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define ROWS(...) ((const char *const *const[]){ __VA_ARGS__, NULL })

static inline int room_set_up(void **state)
{
    static struct trace_room r;
    struct conf_error e;
    r = (struct trace_room){ .path = "/tmp/posthouse-trace-XXXXXX", .arena = ARENA(1u << 20), .bundle = BUF(1u << 20),
                             .out = BUF(1u << 24), .complaint = BUF(1u << 20) };
    assert_non_null(mkdtemp(r.path));
    r.dir = open(r.path, O_RDONLY | O_DIRECTORY);
    conf_bundle_begin(&r.bundle, S("/etc/posthouse/posthouse.conf"));
    conf_bundle_add(&r.bundle, S("/etc/posthouse/posthouse.conf"), S(CONF_TEXT));
    conf_bundle_add(&r.bundle, S("accounts"), S(""));
    r.data = (struct admin_data){ .path = "/etc/posthouse/posthouse.conf", .bundle = r.bundle, .fd = -1 };
    assert_int_equal(conf_parse(&r.arena, buf_str(&r.bundle), &r.data.conf, &e), 0);
    *state = &r;
    return 0;
}

static inline int room_remove(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static inline int room_tear_down(void **state)
{
    struct trace_room *r = *state;
    trace_done(&r->trace);
    arena_done(&r->arena);
    buf_done(&r->bundle);
    buf_done(&r->out);
    buf_done(&r->complaint);
    close(r->dir);
    return nftw(r->path, room_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int room_ask(struct trace_room *r, const char *command, trace_answer *answer, const char *what,
                           size_t last, bool json)
{
    trace_done(&r->trace);
    assert_int_equal(trace_open(r->dir, &r->trace), 0);
    buf_clear(&r->out);
    buf_clear(&r->complaint);
    struct trace_query q = {
        .command = command, .trace = &r->trace, .data = &r->data, .what = str_z(what), .last = last, .json = json
    };
    int code = answer(&q, &r->out, &r->complaint);
    buf_addc(&r->out, '\0');
    buf_addc(&r->complaint, '\0');
    return code;
}

/* A whole submission to two recipients, one of them refused, placed and retrieved. */
static inline void room_write_submission(struct trace_room *r)
{
    room_write(
        r, "smtp-in", 1, T0,
        ROWS(ROW("connect", "session", S1, "client", "127.0.0.1", "port", "45678", "listener", "submission"),
             ROW("tls", "session", S1, "result", "TLS1.3 TLS_AES_256_GCM_SHA384"),
             ROW("auth", "session", S1, "user", "alice@posthouse.test", "client", "127.0.0.1", "result", "ok"),
             ROW("rcpt", "session", S1 ".1", "verdict", "permit", "sender", "alice@posthouse.test", "recipient",
                 "bob@posthouse.test", "checks", "smtpd_relay_restrictions: permit_sasl_authenticated=ok"),
             ROW("rcpt", "session", S1 ".1", "verdict", "reject", "sender", "alice@posthouse.test", "recipient",
                 "nobody@posthouse.test", "code", "550", "enhanced", "5.1.1", "text",
                 "<nobody@posthouse.test>: no such mailbox here", "client", "127.0.0.1", "account",
                 "alice@posthouse.test", "rule", "(built in)", "change", "make the account (posthouse account add)"),
             ROW("header", "session", S1 ".1", "added_date", "1", "added_message_id", "0", "added_from", "0",
                 "completed_addresses", "2", "removed_bcc", "0"),
             ROW("received", "session", S1 ".1", "sender", "alice@posthouse.test", "recipient", "bob@posthouse.test",
                 "size", "2153", "log", "smtp-in", "segment", "3", "offset", "4096"),
             ROW("disconnect", "session", S1, "client", "127.0.0.1", "reason", "quit", "messages", "1")));
    room_write(r, "store", 1, T0 + 6500,
               ROWS(ROW("placed", "session", S1 ".1", "recipient", "bob@posthouse.test", "account",
                        "bob@posthouse.test", "mailbox", "INBOX", "uid", "7", "lsn", "12", "log", "smtp-in", "segment",
                        "3", "offset", "4096", "size", "2153")));
    room_write(r, "access", 1, T0 + 60000000,
               ROWS(ROW("connect", "session", POP, "client", "127.0.0.9", "port", "1", "listener", "pop3"),
                    ROW("pop3_retrieved", "session", POP, "client", "127.0.0.9", "message", S1 ".1", "account",
                        "bob@posthouse.test", "uid", "7", "size", "2153")));
}
