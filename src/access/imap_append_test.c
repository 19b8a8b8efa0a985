/* APPEND: what the store is asked, what the receive log gets, when the client is answered. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"
#include "message/card.h"
#include "store/message_record.h"

static char session[16]; /* of the record read last */

/* Answers APPEND_ASK, which must be for that. */
static void may(struct role_play *p, const char *mailbox, uint64_t bytes, uint32_t messages, uint8_t verdict)
{
    struct buf b = play_answer(play_request(p, IPC_APPEND_ASK), verdict);
    assert_true(str_eq(unpack_str(&p->in), str_z(mailbox)));
    assert_int_equal(unpack_u64(&p->in), bytes);
    assert_int_equal(unpack_u32(&p->in), messages);
    assert_true(unpack_end(&p->in));
    pack_u64(&b, PLAY_MAILBOX);
    pack_u32(&b, 1234);
    play_reply(p, IPC_APPEND_MAY, &b);
}

/* The record at that place of a segment: its content and what is stored beside it (in the arena). Its end. */
static uint64_t read_record(struct role_play *p, uint64_t segment, uint64_t at, struct arena *a, str *out_content,
                            struct message_record *out)
{
    char path[192], head[SEGMENT_HEADER_SIZE], record[RECORD_HEADER_SIZE];
    struct segment_header h;
    struct record_header r;
    snprintf(path, sizeof(path), "%s/log/%016llx.log", p->dir, (unsigned long long)segment);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
    assert_int_equal(segment_header_decode(str_of(head, sizeof(head)), &h), 0);
    assert_int_equal(pread(fd, record, sizeof(record), (off_t)at), sizeof(record));
    assert_int_equal(record_header_decode(str_of(record, sizeof(record)), h.key, at, &r), 1);
    char *text = arena_alloc(a, r.content_len + r.meta_len + 1);
    size_t n = r.content_len + r.meta_len;
    assert_int_equal(pread(fd, text, n, (off_t)(at + RECORD_HEADER_SIZE)), (ssize_t)n);
    *out_content = str_of(text, r.content_len);
    assert_int_equal(message_record_decode(a, str_of(text + r.content_len, r.meta_len), out), 0);
    memcpy(session, out->session, sizeof(session));
    return at + ((RECORD_HEADER_SIZE + n + 7) & ~(uint64_t)7);
}

/* Waits until so many bytes are announced. The last place that became durable. */
static struct log_position synced(struct role_play *p)
{
    struct log_position at = { 0 };
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_SYNCED);
    assert_true(str_eq(unpack_str(&p->in), S("access")));
    unpack_u64(&p->in);
    for (uint32_t n = unpack_u32(&p->in); n > 0; n--) {
        at.segment = unpack_u64(&p->in);
        at.offset = unpack_u64(&p->in);
    }
    return at;
}

static void placed(struct role_play *p, uint32_t number, uint32_t uid)
{
    struct buf b = BUF(128);
    pack_u64(&b, PLAY_MAILBOX);
    pack_u32(&b, uid);
    pack_str(&b, str_of(session, sizeof(session)));
    pack_u32(&b, number);
    play_reply(p, IPC_APPENDED, &b);
}

static void test_one_message(void **state)
{
    (void)state;
    static const char text[] = "Subject: x\r\n\r\nbody\nwith a bare LF\r\n";
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct message_record m;
    struct card card;
    str content;
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("a APPEND Work (\\Seen $Label1) \"17-Jul-1996 02:44:25 -0700\" {35}\r\n"));
    may(&p, "Work", 35, 1, STORE_DONE);
    client_expect(&c, "+ ");
    client_send(&c, str_z(text));
    client_send(&c, S("\r\n"));
    struct log_position at = synced(&p);
    read_record(&p, at.segment, SEGMENT_HEADER_SIZE, &a, &content, &m);
    assert_true(str_eq(content, str_z(text)));
    assert_int_equal(m.number, 1);
    assert_true(str_eq(m.account, S("anna@example.org")));
    assert_int_equal(m.n_recipients, 0);
    assert_int_equal(m.append_mailbox, PLAY_MAILBOX);
    assert_int_equal(m.append_flags, IMAP_SEEN);
    assert_int_equal(m.n_append_keywords, 1);
    assert_true(str_eq(m.append_keywords[0], S("$Label1")));
    assert_int_equal(m.append_date_s, 837596665);
    assert_int_equal(m.append_zone_min, -420);
    assert_int_equal(card_decode(&a, m.card, &card), 0);
    assert_int_equal(card.n_fields, 1);
    placed(&p, 1, 77);
    client_expect(&c, "a OK [APPENDUID 1234 77]");
    assert_int_equal(play_status(&p, "appended"), 1);
    play_stop(&p);
}

static void test_several_at_once(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct message_record m;
    str content;
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("a APPEND Work {4}\r\n"));
    may(&p, "Work", 4, 1, STORE_DONE);
    client_expect(&c, "+ ");
    client_send(&c, S("x:y\n (\\Draft) {6+}\r\nz:1\r\n\n\r\n"));
    play_quiet(&p, p.peer[ROLE_AUTH], 100);
    may(&p, "Work", 10, 2, STORE_DONE);
    struct log_position at = synced(&p);
    uint64_t next = read_record(&p, at.segment, SEGMENT_HEADER_SIZE, &a, &content, &m);
    assert_true(str_eq(content, S("x:y\n")));
    assert_int_equal(m.append_flags, 0);
    read_record(&p, at.segment, next, &a, &content, &m);
    assert_true(str_eq(content, S("z:1\r\n\n")));
    assert_int_equal(m.append_flags, IMAP_DRAFT);
    assert_int_equal(m.number, 2);
    placed(&p, 2, 9);
    placed(&p, 1, 8);
    client_expect(&c, "a OK [APPENDUID 1234 8:9]");
    play_stop(&p);
}

static void test_refusals(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "message_size_limit 1K\n");
    play_imap(&p, &c);
    client_send(&c, S("a APPEND nowhere {4}\r\n"));
    may(&p, "nowhere", 4, 1, STORE_NONEXISTENT);
    client_expect(&c, "a NO [TRYCREATE]");
    client_send(&c, S("b APPEND Work {4+}\r\nx:y\n\r\n"));
    may(&p, "Work", 4, 1, STORE_OVER_QUOTA);
    client_expect(&c, "b NO [OVERQUOTA]");
    client_talk(&c, "c APPEND Work {1025}\r\n", "c NO [TOOBIG]");
    client_send(&c, str_of("d APPEND Work {4+}\r\nx\0y\n\r\n", 26));
    may(&p, "Work", 4, 1, STORE_DONE);
    client_expect(&c, "d NO [CANNOT]");
    client_send(&c, S("e APPEND Work {4+}\r\nx:y\n {4+}\r\nz:1\n\r\n")); /* the second is refused: none is taken */
    may(&p, "Work", 4, 1, STORE_DONE);
    may(&p, "Work", 8, 2, STORE_OVER_QUOTA);
    client_expect(&c, "e NO [OVERQUOTA]");
    client_send(&c, S("f APPEND Work {4+}\r\nx:y\n rubbish\r\n"));
    may(&p, "Work", 4, 1, STORE_DONE);
    client_expect(&c, "f BAD");
    play_quiet(&p, p.peer[ROLE_STORE], 200); /* nothing was written */
    client_send(&c, str_of("g APPEND Work ~{4+}\r\nx\0y\n\r\n", 27)); /* nobody could read it (RFC 3516 4.4) */
    may(&p, "Work", 4, 1, STORE_DONE);
    client_expect(&c, "g NO [UNKNOWN-CTE]");
    client_send(&c, S("h APPEND Work ~{4+}\r\nx-y\n\r\n")); /* literal8 without it */
    may(&p, "Work", 4, 1, STORE_DONE);
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    struct message_record m;
    str content;
    struct log_position at = synced(&p);
    read_record(&p, at.segment, SEGMENT_HEADER_SIZE, &a, &content, &m);
    assert_true(str_eq(content, S("x-y\n")));
    placed(&p, m.number, 0); /* the mailbox has gone meanwhile */
    client_expect(&c, "h NO [TRYCREATE]");
    play_stop(&p);
}

static void test_a_large_one_is_streamed(void **state)
{
    (void)state;
    enum { LARGE = 1000000 };
    static char text[LARGE];
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    _cleanup_arena_ struct arena a = ARENA(4 << 20);
    struct message_record m;
    str content;
    play_access(&p, "");
    play_imap(&p, &c);
    memset(text, 'x', sizeof(text));
    memcpy(text, "a:b\r\n\r\n", 7);
    client_send(&c, S("a APPEND Work {1000000+}\r\n"));
    may(&p, "Work", LARGE, 1, STORE_DONE);
    client_send(&c, str_of(text, LARGE / 2));
    usleep(200000);
    client_send(&c, str_of(text + LARGE / 2, LARGE / 2));
    client_send(&c, S("\r\n"));
    struct log_position at = synced(&p);
    read_record(&p, at.segment, SEGMENT_HEADER_SIZE, &a, &content, &m);
    assert_true(str_eq(content, str_of(text, LARGE)));
    placed(&p, 1, 3);
    client_expect(&c, "a OK [APPENDUID 1234 3]");
    /* one that leaves in the middle leaves nothing behind */
    client_send(&c, S("b APPEND Work {1000000+}\r\n"));
    may(&p, "Work", LARGE, 1, STORE_DONE);
    client_send(&c, str_of(text, LARGE / 2));
    usleep(200000);
    client_close(&c);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE);
    play_quiet(&p, p.peer[ROLE_STORE], 200);
    play_stop(&p);
}

/* What is durable stays so: the client hears of it though the store cannot name UIDs any more. */
static void test_the_store_goes_meanwhile(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("a APPEND Work {4+}\r\nx:y\n\r\n"));
    may(&p, "Work", 4, 1, STORE_DONE);
    synced(&p);
    close(TAKE_FD(p.peer[ROLE_STORE]));
    client_expect(&c, "a OK APPEND completed");
    client_expect(&c, "* BYE [UNAVAILABLE]");
    play_store(&p);
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_message),
        cmocka_unit_test(test_several_at_once),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_large_one_is_streamed),
        cmocka_unit_test(test_the_store_goes_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
