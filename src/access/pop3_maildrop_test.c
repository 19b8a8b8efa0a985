/* A maildrop through the store: opened, read, changed; and a store that misbehaves or goes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = {
    { "Return-Path: <x@far.example>\r\n", "Subject: one\r\n\r\n.dot\r\nlast\r\n" },
    { "", "Subject: two\r\n\r\nsecond\r\n" },
    { "Return-Path: <>\r\n", "Subject: three\r\n\r\nthird\r\n" },
};

static void test_messages_are_read_from_the_segment(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_opened(&p, &c, mail, 3);
    client_talk(&c, "STAT\r\n", "+OK 3 ");
    client_talk(&c, "UIDL 1\r\n", "+OK 1 1234.11");
    client_send(&c, S("RETR 1\r\n"));
    play_give_segment(&p, play_segment(mail, 3));
    client_expect(&c, "+OK");
    client_expect(&c, "Return-Path: <x@far.example>");
    client_expect(&c, "Subject: one");
    assert_int_equal(client_line(&c).n, 0);
    client_expect(&c, "..dot");
    client_expect(&c, "last");
    client_expect(&c, ".");
    client_talk(&c, "TOP 2 0\r\n", "+OK"); /* the segment is at hand: nobody is asked */
    client_expect(&c, "Subject: two");
    assert_int_equal(client_line(&c).n, 0);
    client_expect(&c, ".");
    play_quiet(&p, p.peer[ROLE_STORE], 10);
    assert_int_equal(play_status(&p, "retrieved"), 2);
    client_talk(&c, "QUIT\r\n", "+OK");
    client_expect_end(&c);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE);
    play_stop(&p);
}

static void test_deletions_are_told_with_quit(void **state)
{
    (void)state;
    for (int ok = 0; ok < 2; ok++) {
        _cleanup_play_ struct role_play p;
        _cleanup_client_ struct play_client c = { .fd = -1 };
        struct buf b = BUF(64);
        play_access(&p, "");
        play_opened(&p, &c, mail, 3);
        client_talk(&c, "DELE 1\r\n", "+OK");
        client_talk(&c, "DELE 3\r\n", "+OK");
        play_quiet(&p, p.peer[ROLE_STORE], 10);
        client_send(&c, S("QUIT\r\n"));
        play_expect(&p, p.peer[ROLE_STORE], IPC_EXPUNGE);
        uint64_t request = unpack_u64(&p.in);
        assert_int_equal(unpack_str(&p.in).n, 26);
        assert_int_equal(unpack_u32(&p.in), 2);
        assert_int_equal(unpack_u32(&p.in), 11);
        assert_int_equal(unpack_u32(&p.in), 13);
        assert_true(unpack_end(&p.in));
        pack_u64(&b, request);
        pack_u8(&b, (uint8_t)ok);
        play_send(p.peer[ROLE_STORE], IPC_EXPUNGED, &b, -1);
        client_expect(&c, ok ? "+OK" : "-ERR");
        client_expect_end(&c);
        play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE);
        play_stop(&p);
    }
}

static void test_without_quit_nothing_is_deleted(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_opened(&p, &c, mail, 3);
    client_talk(&c, "DELE 1\r\n", "+OK");
    client_close(&c);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE);
    play_stop(&p);
}

static void test_a_maildrop_that_cannot_be_opened(void **state)
{
    (void)state;
    static const char *const want[] = { NULL, "-ERR [IN-USE]", "-ERR [SYS/TEMP]", "-ERR [SYS/TEMP]" };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_connect(&p, &c);
    for (uint8_t how = 1; how < 4; how++) {
        play_result(&p, play_say_password(&p, &c), 1);
        play_maildrop(&p, how, -1);
        client_expect(&c, want[how]);
    }
    play_result(&p, play_say_password(&p, &c), 1);
    play_maildrop(&p, 0, memfd_create("no snapshot", MFD_CLOEXEC));
    client_expect(&c, "-ERR [SYS/TEMP]");
    play_stop(&p);
}

static void test_a_segment_that_is_gone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_opened(&p, &c, mail, 3);
    client_send(&c, S("RETR 1\r\n"));
    play_give_segment(&p, -1);
    client_expect(&c, "-ERR [SYS/TEMP]");
    client_send(&c, S("RETR 3\r\n"));
    play_give_segment(&p, play_segment(mail, 1)); /* no record is there */
    client_expect(&c, "-ERR [SYS/PERM]");
    client_talk(&c, "NOOP\r\n", "+OK");
    assert_int_equal(play_status(&p, "damaged"), 1);
    play_stop(&p);
}

/* Content that is cut off or has changed must not look complete. */
static void test_damaged_content(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        _cleanup_play_ struct role_play p;
        _cleanup_client_ struct play_client c = { .fd = -1 };
        play_access(&p, "");
        play_opened(&p, &c, mail, 3);
        int segment = play_segment(mail, 1);
        off_t last = lseek(segment, 0, SEEK_END) - 4;
        assert_int_equal(cut ? ftruncate(segment, last) : pwrite(segment, "!", 1, last) - 1, 0);
        client_send(&c, S("RETR 1\r\n"));
        play_give_segment(&p, segment);
        str line = client_line(&c);
        assert_true(str_starts(line, S("+OK")) || str_starts(line, S("-ERR [SYS/PERM]")));
        for (bool sent = line.p[0] == '+'; sent && line.p; line = client_line(&c))
            assert_false(str_eq(line, S(".")));
        play_stop(&p);
    }
}

/* The session goes while the log-in is being checked: the store, which will hear of it from auth, is told to forget it.
 */
static void test_a_log_in_that_comes_too_late_is_given_back(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    play_access(&p, "");
    for (uint8_t how = 0; how < 2; how++) {
        _cleanup_client_ struct play_client c = { .fd = -1 };
        play_connect(&p, &c);
        uint64_t request = play_say_password(&p, &c);
        client_close(&c);
        for (int i = 0; i < 200 && play_status(&p, "sessions"); i++)
            usleep(10000);
        play_result(&p, request, how);
        if (how == 1)
            play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_CLOSE);
        else
            play_quiet(&p, p.peer[ROLE_STORE], 50);
    }
    play_stop(&p);
}

static void test_a_store_that_goes(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client idle = { .fd = -1 }, opening = { .fd = -1 }, open = { .fd = -1 },
                                        quitting = { .fd = -1 };
    play_access(&p, "");
    play_connect(&p, &idle);
    play_opened(&p, &open, mail, 3);
    play_opened(&p, &quitting, mail, 3);
    client_talk(&quitting, "DELE 1\r\n", "+OK");
    client_send(&quitting, S("QUIT\r\n"));
    play_expect(&p, p.peer[ROLE_STORE], IPC_EXPUNGE);
    play_connect(&p, &opening);
    play_result(&p, play_say_password(&p, &opening), 1);
    play_expect(&p, p.peer[ROLE_STORE], IPC_MAILDROP_OPEN);
    close(TAKE_FD(p.peer[ROLE_STORE]));
    client_expect(&opening, "-ERR [SYS/TEMP]");
    client_expect(&quitting, "-ERR");
    client_expect_end(&open);
    play_result(&p, play_say_password(&p, &idle), 1); /* while there is no store */
    client_expect(&idle, "-ERR [SYS/TEMP]");
    play_store(&p);
    play_status(&p, "sessions");
    play_result(&p, play_say_password(&p, &idle), 1);
    play_maildrop(&p, 0, play_snapshot(mail, 3));
    client_expect(&idle, "+OK");
    play_stop(&p);
}

/* The store's end is closed, but the role hears of it only by its own writing. */
static void test_a_store_that_has_just_gone(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 }, d = { .fd = -1 };
    play_access(&p, "");
    play_opened(&p, &c, mail, 3);
    play_opened(&p, &d, mail, 3);
    client_talk(&d, "DELE 2\r\n", "+OK");
    kill(p.pid, SIGSTOP);
    client_send(&d, S("QUIT\r\n"));
    client_send(&c, S("RETR 1\r\n"));
    usleep(50000);
    close(TAKE_FD(p.peer[ROLE_STORE]));
    kill(p.pid, SIGCONT);
    while (client_line(&c).p)
        ;
    while (client_line(&d).p)
        ;
    assert_int_equal(play_status(&p, "sessions"), 0);
    play_stop(&p);
}

static void test_hostile_store(void **state)
{
    (void)state;
    static const struct { enum ipc_type type; const char *bytes; size_t n;
    } bad[] = {
        { IPC_MAILDROP, "", 0 },
        { IPC_MAILDROP, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17 }, /* open, but no descriptor */
        { IPC_SEGMENT, "\1\0\0\0", 4 },
        { IPC_EXPUNGED, "x", 1 },
        { IPC_EXPUNGED, "\1\0\0\0\0\0\0\0\1more", 13 },
        { IPC_AUTH_RESULT, "", 0 },
    };
    _cleanup_play_ struct role_play p;
    play_access(&p, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        play_try_send(p.peer[ROLE_STORE], bad[i].type, str_of(bad[i].bytes, bad[i].n), NULL, 0);
        play_closed(&p, p.peer[ROLE_STORE]);
        play_store(&p);
        play_status(&p, "sessions");
    }
    for (unsigned request = 0; request < 100; request++) { /* answers to nobody */
        struct buf b = BUF(64);
        pack_u64(&b, request);
        pack_u8(&b, 1);
        play_send(p.peer[ROLE_STORE], request & 1 ? IPC_EXPUNGED : IPC_SEGMENT, &b, p.dir_fd);
    }
    play_status(&p, "sessions");
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_are_read_from_the_segment),
        cmocka_unit_test(test_deletions_are_told_with_quit),
        cmocka_unit_test(test_without_quit_nothing_is_deleted),
        cmocka_unit_test(test_a_maildrop_that_cannot_be_opened),
        cmocka_unit_test(test_a_segment_that_is_gone),
        cmocka_unit_test(test_damaged_content),
        cmocka_unit_test(test_a_log_in_that_comes_too_late_is_given_back),
        cmocka_unit_test(test_a_store_that_goes),
        cmocka_unit_test(test_a_store_that_has_just_gone),
        cmocka_unit_test(test_hostile_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
