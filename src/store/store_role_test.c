/* Role store: what its neighbours may learn and change, and that nothing they send ends it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/snapshot.h"
#include "store/store_role_play.h"

/* The store's answer to MAILDROP_OPEN; with 0 the snapshot is in *out. */
static uint8_t open_maildrop(struct stage *s, const char *session, struct snapshot *out)
{
    struct buf b = BUF(1024);
    pack_u64(&b, 6);
    pack_str(&b, str_z(session));
    play_send(s->p.peer[ROLE_ACCESS], IPC_MAILDROP_OPEN, &b, -1);
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], IPC_MAILDROP);
    assert_int_equal(unpack_u64(&s->p.in), 6);
    uint8_t how = unpack_u8(&s->p.in);
    uint64_t mailbox = unpack_u64(&s->p.in);
    assert_true(unpack_end(&s->p.in));
    assert_true((s->p.fd >= 0) == (how == 0) && (mailbox != 0) == (how == 0));
    if (how == 0)
        assert_int_equal(snapshot_open(TAKE_FD(s->p.fd), out), 0);
    return how;
}

static void close_maildrop(struct stage *s, const char *session)
{
    struct buf b = BUF(1024);
    pack_str(&b, str_z(session));
    play_send(s->p.peer[ROLE_ACCESS], IPC_MAILDROP_CLOSE, &b, -1);
}

static bool expunge(struct stage *s, const char *session, uint32_t uid)
{
    struct buf b = BUF(1024);
    pack_u64(&b, 7);
    pack_str(&b, str_z(session));
    pack_u32(&b, 1);
    pack_u32(&b, uid);
    play_send(s->p.peer[ROLE_ACCESS], IPC_EXPUNGE, &b, -1);
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], IPC_EXPUNGED);
    assert_int_equal(unpack_u64(&s->p.in), 7);
    return unpack_u8(&s->p.in);
}

static bool get_segment(struct stage *s, const char *session, const char *log, uint64_t number)
{
    struct buf b = BUF(1024);
    pack_u64(&b, 8);
    pack_str(&b, str_z(session));
    pack_str(&b, str_z(log));
    pack_u64(&b, number);
    play_send(s->p.peer[ROLE_ACCESS], IPC_SEGMENT_GET, &b, -1);
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], IPC_SEGMENT);
    assert_int_equal(unpack_u64(&s->p.in), 8);
    bool ok = unpack_u8(&s->p.in);
    assert_true(ok == (s->p.fd >= 0));
    return ok;
}

static void test_from_the_log_to_the_reader(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    struct mailbox_entry e;
    char text[5];
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    deliver(&s, "anna@example.org", S("hello\r\n"));
    deliver(&s, "info@example.org", S("again\r\n"));
    bind_session(&s, "S1", "anna@example.org");
    assert_int_equal(open_maildrop(&s, "S1", &box), 0);
    assert_int_equal(box.n, 2);
    assert_int_equal(snapshot_entry(&box, 1, &e), 0);
    assert_true(get_segment(&s, "S1", "smtp-in", e.position.segment));
    assert_int_equal(fcntl(s.p.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(pread(s.p.fd, text, 5, (off_t)(e.position.offset + RECORD_HEADER_SIZE)), 5);
    assert_memory_equal(text, "again", 5);
    assert_true(expunge(&s, "S1", e.uid));
    assert_true(expunge(&s, "S1", 9999)); /* what is gone is gone */
    snapshot_close(&box);
    assert_int_equal(open_maildrop(&s, "S1", &box), 0); /* one's own again */
    assert_int_equal(box.n, 1);
    snapshot_close(&box);
    assert_int_equal(play_status(&s.p, "placed"), 2);
    assert_int_equal(play_status(&s.p, "logged_in"), 1);
    play_stop(&s.p);
}

static void test_one_session_at_a_time(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    bind_session(&s, "S1", "anna@example.org");
    bind_session(&s, "S2", "anna@example.org");
    bind_session(&s, "S3", "bob@example.org");
    assert_int_equal(open_maildrop(&s, "S1", &box), 0);
    snapshot_close(&box);
    assert_int_equal(open_maildrop(&s, "S2", &box), 1);
    assert_int_equal(open_maildrop(&s, "S3", &box), 0);
    snapshot_close(&box);
    close_maildrop(&s, "S1");
    assert_int_equal(open_maildrop(&s, "S2", &box), 0);
    snapshot_close(&box);
    assert_int_equal(open_maildrop(&s, "S1", &box), 3);
    play_peer(&s.p, ROLE_ACCESS); /* access starts again: nobody is logged in */
    play_status(&s.p, "lsn");
    assert_int_equal(open_maildrop(&s, "S2", &box), 3);
    assert_int_equal(play_status(&s.p, "logged_in"), 0);
    bind_session(&s, "S9", "anna@example.org");
    assert_int_equal(open_maildrop(&s, "S9", &box), 0);
    snapshot_close(&box);
    play_stop(&s.p);
}

static void test_without_right_there_is_nothing(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    static const char *const logs[] = {
        "../journal", "..", ".", "", "/etc", "smtp-in/../smtp-in", "smtp-in/", "other"
    };
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    deliver(&s, "anna@example.org", S("for anna\r\n"));
    assert_false(expunge(&s, "S1", 1));
    assert_false(get_segment(&s, "S1", "smtp-in", 1));
    assert_int_equal(open_maildrop(&s, "S1", &box), 3);
    bind_session(&s, "S1", "bob@example.org");
    assert_false(expunge(&s, "S1", 1)); /* logged in, but no maildrop is open */
    assert_false(get_segment(&s, "S1", "smtp-in", 1));
    assert_int_equal(open_maildrop(&s, "S1", &box), 0);
    assert_int_equal(box.n, 0);
    snapshot_close(&box);
    assert_true(expunge(&s, "S1", 1)); /* of bob's own mailbox: nothing */
    for (size_t i = 0; i < ARRAY_LEN(logs); i++)
        for (uint64_t n = 0; n < 3; n++)
            assert_false(get_segment(&s, "S1", logs[i], n));
    assert_false(get_segment(&s, "S1", "smtp-in", UINT64_MAX));
    close_maildrop(&s, "S1");
    bind_session(&s, "S2", "anna@example.org");
    assert_int_equal(open_maildrop(&s, "S2", &box), 0);
    assert_int_equal(box.n, 1);
    snapshot_close(&box);
    play_stop(&s.p);
}

static void test_the_same_session_for_another_account(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    deliver(&s, "bob@example.org", S("for bob\r\n"));
    bind_session(&s, "S1", "bob@example.org");
    assert_int_equal(open_maildrop(&s, "S1", &box), 0);
    snapshot_close(&box);
    bind_session(&s, "S1", "anna@example.org"); /* what it had is over */
    assert_false(expunge(&s, "S1", 1));
    bind_session(&s, "S2", "bob@example.org");
    assert_int_equal(open_maildrop(&s, "S2", &box), 0);
    assert_int_equal(box.n, 1);
    snapshot_close(&box);
    play_stop(&s.p);
}

static void test_only_auth_says_who_is_who(void **state)
{
    (void)state;
    static const enum role_id other[] = { ROLE_ACCESS, ROLE_SMTP_IN };
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    stage_start(&s);
    for (size_t i = 0; i < 2; i++) {
        struct buf b = BUF(1024);
        pack_u64(&b, 1);
        pack_u8(&b, ROLE_ACCESS);
        pack_str(&b, S("S1"));
        pack_str(&b, S("anna@example.org"));
        play_send(s.p.peer[other[i]], IPC_SESSION_BIND, &b, -1);
        play_closed(&s.p, s.p.peer[other[i]]);
    }
    assert_int_equal(play_status(&s.p, "logged_in"), 0);
    play_stop(&s.p);
}

static void test_a_store_that_starts_again_goes_on(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    struct log_position at = append(&s, "anna@example.org", S("two\r\n")); /* durable, but it was never told */
    kill(s.p.pid, SIGKILL);
    assert_int_equal(play_wait(&s.p), 128 + SIGKILL);
    close(TAKE_FD(s.p.master));
    s.p.generation = 0;
    stage_start(&s);
    send_positions(&s, IPC_LOG_ATTACH, &at, 1);
    for (uint64_t mark = 0; mark < s.bytes;) {
        play_expect(&s.p, s.p.peer[ROLE_SMTP_IN], IPC_LOG_APPLIED);
        mark = unpack_u64(&s.p.in);
    }
    bind_session(&s, "S1", "anna@example.org");
    assert_int_equal(open_maildrop(&s, "S1", &box), 0);
    assert_int_equal(box.n, 2);
    snapshot_close(&box);
    play_stop(&s.p);
}

/* Two processes must not write one store. */
static void test_the_lock(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    stage_start(&s);
    pid_t first = s.p.pid;
    int master = s.p.master;
    s.p.generation = 0;
    play_fork(&s.p, store_role_run);
    play_begin(&s.p, "data");
    play_send(s.p.master, IPC_START, NULL, -1);
    assert_int_equal(play_wait(&s.p), 0);
    close(s.p.master);
    s.p.pid = first;
    s.p.master = master;
    play_stop(&s.p);
}

/* An answer that is still due to the process before must not come to the next one, which numbers its requests anew. */
static void test_expunges_of_an_access_that_has_gone(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    bind_session(&s, "S1", "anna@example.org");
    assert_int_equal(open_maildrop(&s, "S1", &box), 0);
    snapshot_close(&box);
    struct buf b = BUF(1024);
    pack_u64(&b, 1);
    pack_str(&b, S("S1"));
    pack_u32(&b, 1);
    pack_u32(&b, 1);
    play_send(s.p.peer[ROLE_ACCESS], IPC_EXPUNGE, &b, -1);
    play_peer(&s.p, ROLE_ACCESS);
    play_quiet(&s.p, s.p.peer[ROLE_ACCESS], 100);
    play_stop(&s.p);
}

static uint32_t seed = 20261124;
static uint32_t dice(uint32_t n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % n;
}

/* A frame of an allowed type with fields that are half right. */
static void hostile(struct buf *b)
{
    static const char *const words[] = { "smtp-in", "S1", "S2", "../x", "", "anna@example.org", "\xff\xfe" };
    for (uint32_t n = dice(6); n--;)
        switch (dice(6)) {
        case 0: pack_u64(b, dice(3) ? dice(4) : UINT64_MAX - dice(3)); break;
        case 1: pack_u32(b, dice(3) ? dice(4) : UINT32_MAX - dice(3)); break;
        case 2: pack_u8(b, (uint8_t)dice(256)); break;
        case 3: pack_u64(b, (uint64_t)dice(1 << 20) * 4096); break;
        default: pack_str(b, str_z(words[dice(ARRAY_LEN(words))])); break;
        }
}

struct asked { uint64_t request; char content[64]; size_t n; };

/* What the store asks of role cards; the content is read as that role reads it. */
static struct asked expect_question(struct stage *s)
{
    struct asked a = { 0 };
    play_expect(&s->p, s->p.peer[ROLE_CARDS], IPC_CARD_MAKE);
    a.request = unpack_u64(&s->p.in);
    uint64_t offset = unpack_u64(&s->p.in);
    a.n = unpack_u64(&s->p.in);
    assert_true(unpack_end(&s->p.in) && s->p.fd >= 0 && a.n <= sizeof(a.content));
    assert_int_equal(pread(s->p.fd, a.content, a.n, (off_t)offset), (ssize_t)a.n);
    assert_int_equal(fcntl(s->p.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    return a;
}

static void card(struct stage *s, uint64_t request, uint8_t what, str piece)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, request);
    pack_u8(&b, what);
    pack_str(&b, piece);
    play_send(s->p.peer[ROLE_CARDS], IPC_CARD, &b, -1);
    buf_done(&b);
}

static void test_cards_are_asked_for(void **state)
{
    (void)state;
    enum { NONE, PIECE, LAST };
    static const char big[50000];
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    deliver(&s, "anna@example.org", S("two\r\n"));
    play_peer(&s.p, ROLE_CARDS);
    struct asked a = expect_question(&s);
    assert_true(str_eq(str_of(a.content, a.n), S("one\r\n")));
    play_quiet(&s.p, s.p.peer[ROLE_CARDS], 20); /* one at a time */
    card(&s, a.request + 7, LAST, S("of another question"));
    card(&s, a.request, PIECE, S("ca"));
    card(&s, a.request, LAST, S("rd"));
    a = expect_question(&s);
    assert_true(str_eq(str_of(a.content, a.n), S("two\r\n")));
    assert_int_equal(play_status(&s.p, "cards_made"), 1);
    for (int i = 0; i < 6; i++) /* more than a card can be: as if there were none */
        card(&s, a.request, PIECE, str_of(big, sizeof(big)));
    a = expect_question(&s);
    assert_true(str_eq(str_of(a.content, a.n), S("two\r\n")));
    assert_int_equal(play_status(&s.p, "cards_minimal"), 0);
    play_peer(&s.p, ROLE_CARDS); /* it died of it */
    play_quiet(&s.p, s.p.peer[ROLE_CARDS], 20);
    assert_int_equal(play_status(&s.p, "cards_minimal"), 1);
    assert_int_equal(play_status(&s.p, "cards_deaths"), 1);
    deliver(&s, "anna@example.org", S("three\r\n"));
    a = expect_question(&s);
    card(&s, a.request, NONE, STR_NONE);
    a = expect_question(&s);
    assert_true(str_eq(str_of(a.content, a.n), S("three\r\n")));
    card(&s, a.request, LAST, STR_NONE); /* an empty one is none */
    play_quiet(&s.p, s.p.peer[ROLE_CARDS], 20);
    assert_int_equal(play_status(&s.p, "cards_minimal"), 2);
    deliver(&s, "bob@example.org", S("four\r\n"));
    a = expect_question(&s);
    play_stop(&s.p);
    close(TAKE_FD(s.p.peer[ROLE_CARDS]));
    stage_start(&s); /* the index knows who has none */
    play_peer(&s.p, ROLE_CARDS);
    a = expect_question(&s);
    assert_true(str_eq(str_of(a.content, a.n), S("four\r\n")));
    card(&s, a.request, LAST, S("card"));
    play_quiet(&s.p, s.p.peer[ROLE_CARDS], 20);
    assert_int_equal(play_status(&s.p, "cards_made"), 1);
    play_stop(&s.p);
}

/* Whatever neighbours say, others are still served. The role may restart only for what its own log tells it. */
static void test_hostile_frames(void **state)
{
    (void)state;
    static const struct { enum role_id from; enum ipc_type type; } ways[] = {
        { ROLE_ACCESS, IPC_MAILDROP_OPEN }, { ROLE_ACCESS, IPC_MAILDROP_CLOSE }, { ROLE_ACCESS, IPC_EXPUNGE },
        { ROLE_ACCESS, IPC_SEGMENT_GET },   { ROLE_AUTH, IPC_SESSION_BIND },     { ROLE_SMTP_IN, IPC_LOG_SYNCED },
        { ROLE_SMTP_IN, IPC_LOG_ATTACH },   { ROLE_CARDS, IPC_CARD },
    };
    _cleanup_stage_ struct stage s;
    struct snapshot box;
    stage_init(&s);
    stage_start(&s);
    play_peer(&s.p, ROLE_CARDS);
    attach(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    for (int i = 0; i < 1500; i++) {
        size_t w = dice(ARRAY_LEN(ways));
        enum role_id from = ways[w].from;
        struct buf b = BUF(4096);
        hostile(&b);
        if (play_try_send(s.p.peer[from], ways[w].type, buf_str(&b), NULL, 0) < 0 ||
            play_receive(&s.p, s.p.peer[from], 0) == 0)
            play_peer(&s.p, from);
        buf_done(&b);
        if (i % 100 == 0)
            play_status(&s.p, "lsn");
    }
    play_peer(&s.p, ROLE_ACCESS);
    play_peer(&s.p, ROLE_AUTH);
    play_status(&s.p, "lsn");
    bind_session(&s, "S7", "anna@example.org");
    assert_int_equal(open_maildrop(&s, "S7", &box), 0);
    assert_int_equal(box.n, 1);
    snapshot_close(&box);
    play_stop(&s.p);
}

static void test_long_and_cut_frames_drop_the_peer(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    stage_start(&s);
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, 1);
    pack_str(&b, S("S1"));
    pack_u32(&b, UINT32_MAX);
    play_send(s.p.peer[ROLE_ACCESS], IPC_EXPUNGE, &b, -1);
    play_closed(&s.p, s.p.peer[ROLE_ACCESS]);
    play_peer(&s.p, ROLE_ACCESS);
    play_try_send(s.p.peer[ROLE_ACCESS], IPC_MAILDROP_CLOSE, S("\377\377\377\377"), NULL, 0);
    play_closed(&s.p, s.p.peer[ROLE_ACCESS]);
    b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, 1);
    pack_u8(&b, ROLE_SMTP_IN); /* only access has sessions */
    pack_str(&b, S("S1"));
    pack_str(&b, S("anna@example.org"));
    play_send(s.p.peer[ROLE_AUTH], IPC_SESSION_BIND, &b, -1);
    play_closed(&s.p, s.p.peer[ROLE_AUTH]);
    play_stop(&s.p);
}

static void test_status_and_stop_together(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    stage_start(&s);
    attach(&s);
    struct log_position at = append(&s, "anna@example.org", S("one\r\n"));
    struct buf b = BUF(16);
    pack_u64(&b, 1);
    kill(s.p.pid, SIGSTOP);
    play_send(s.p.master, IPC_STOP, NULL, -1);
    play_send(s.p.master, IPC_STATUS, &b, -1);
    send_positions(&s, IPC_LOG_SYNCED, &at, 1);
    kill(s.p.pid, SIGCONT);
    assert_int_equal(play_wait(&s.p), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_the_log_to_the_reader),
        cmocka_unit_test(test_one_session_at_a_time),
        cmocka_unit_test(test_without_right_there_is_nothing),
        cmocka_unit_test(test_the_same_session_for_another_account),
        cmocka_unit_test(test_only_auth_says_who_is_who),
        cmocka_unit_test(test_a_store_that_starts_again_goes_on),
        cmocka_unit_test(test_the_lock),
        cmocka_unit_test(test_expunges_of_an_access_that_has_gone),
        cmocka_unit_test(test_cards_are_asked_for),
        cmocka_unit_test(test_hostile_frames),
        cmocka_unit_test(test_long_and_cut_frames_drop_the_peer),
        cmocka_unit_test(test_status_and_stop_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
