/* Quotas in role store: who is over his, and what role smtp-in and role access are told. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/mailbox_role_play.h"

static uint8_t ask_append(struct stage *s, const char *name, uint64_t bytes)
{
    struct buf b = ask("S1");
    pack_str(&b, str_z(name));
    pack_u64(&b, bytes);
    pack_u32(&b, 1);
    put(s, IPC_APPEND_ASK, &b);
    return answered(s, IPC_APPEND_MAY);
}

static void expect_over(struct stage *s, bool first, bool over)
{
    play_expect(&s->p, s->p.peer[ROLE_SMTP_IN], IPC_OVER_QUOTA);
    assert_int_equal(unpack_u8(&s->p.in), first);
    assert_int_equal(unpack_u32(&s->p.in), 1);
    assert_true(str_eq(unpack_str(&s->p.in), S("anna@example.org")));
    assert_int_equal(unpack_u8(&s->p.in), over);
    at_end(s);
}

static void expect_quota(struct stage *s, const char *session, uint64_t limit, uint64_t messages,
                         uint64_t used_messages)
{
    struct buf b = ask(session);
    put(s, IPC_QUOTA_GET, &b);
    assert_int_equal(answered(s, IPC_QUOTA), STORE_DONE);
    unpack_u64(&s->p.in);
    assert_int_equal(unpack_u64(&s->p.in), limit);
    assert_int_equal(unpack_u64(&s->p.in), used_messages);
    assert_int_equal(unpack_u64(&s->p.in), messages);
    at_end(s);
}

static void test_quota(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    stage_init(&s);
    s.p.accounts = "anna@example.org quota_messages=2\nbob@example.org\n";
    buf_add(&s.p.settings, S("quota 1000\n"));
    stage_start(&s);
    attach(&s);
    bind_session(&s, "S1", "anna@example.org");
    bind_session(&s, "S2", "bob@example.org");
    deliver(&s, "anna@example.org", S("one\r\n"));
    expect_quota(&s, "S1", 1000, 2, 1);
    expect_quota(&s, "S2", 1000, 0, 0);
    assert_int_equal(ask_append(&s, "INBOX", 100), STORE_DONE);
    assert_true(unpack_u64(&s.p.in) && unpack_u32(&s.p.in));
    at_end(&s);
    assert_int_equal(ask_append(&s, "INBOX", 1001), STORE_OVER_QUOTA);
    assert_int_equal(ask_append(&s, "none", 1), STORE_NONEXISTENT);
    deliver(&s, "anna@example.org", S("two\r\n"));
    expect_over(&s, false, true);
    assert_int_equal(play_status(&s.p, "over_quota"), 1);
    assert_int_equal(ask_append(&s, "INBOX", 1), STORE_OVER_QUOTA);
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    send_copy(&s, "S1", box, false, "Trash");
    expect_copied(&s, STORE_OVER_QUOTA, 0, 0, 0);
    play_peer(&s.p, ROLE_SMTP_IN); /* a new one is told all */
    expect_over(&s, true, true);
    send_flag(&s, "S1", box, DELETED, UINT64_MAX, NULL);
    fed(&s, box, FEED_FLAGS);
    flagged(&s);
    send_expunge(&s, "S1", box);
    fed(&s, box, FEED_EXPUNGED);
    assert_int_equal(answered(&s, IPC_EXPUNGE_DONE), STORE_DONE);
    expect_over(&s, false, false);
    s.p.accounts = "anna@example.org quota=1\nbob@example.org\n";
    play_configure(&s.p);
    play_expect(&s.p, s.p.master, IPC_APPLIED);
    play_quiet(&s.p, s.p.peer[ROLE_SMTP_IN], 50); /* nothing is there */
    play_stop(&s.p);
}

/* A reload, and a start, look at all accounts. */
static void test_quota_of_what_is_there(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    s.p.accounts = "anna@example.org quota=1\nbob@example.org quota=1\n";
    play_configure(&s.p);
    play_expect(&s.p, s.p.master, IPC_APPLIED);
    expect_over(&s, false, true);
    play_stop(&s.p);
    close(TAKE_FD(s.p.master));
    s.p.generation = 0;
    stage_start(&s);
    expect_over(&s, false, true);
    s.p.accounts = "anna@example.org\nbob@example.org\n";
    play_configure(&s.p);
    play_expect(&s.p, s.p.master, IPC_APPLIED);
    expect_over(&s, false, false);
    play_stop(&s.p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_quota_of_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
