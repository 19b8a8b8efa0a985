/* LIST and its relatives, STATUS, changes of mailboxes, quota, against a store that the test plays. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

struct row { uint64_t id; const char *name; uint8_t use, subscribed; };

static const struct row rows[] = {
    { 1, "INBOX", 0, 1 }, { 2, "Sent", IMAP_USE_SENT, 1 }, { 3, "a/b", 0, 0 }, { 4, "a/b/c", 0, 1 },
    { 0, "gone", 0, 1 },  { 5, "x", IMAP_USE_TRASH, 0 },
};

/* Answers FOLDERS with one row a frame; what was asked for must be `name`. */
static void answer_rows(struct role_play *p, const char *name, const struct row *r, size_t n)
{
    uint64_t request = play_request(p, IPC_FOLDERS);
    assert_true(str_eq(unpack_str(&p->in), str_z(name)));
    for (size_t i = 0; i < MAX(n, (size_t)1); i++) {
        struct buf b = play_answer(request, STORE_DONE);
        pack_u8(&b, i + 1 >= n);
        pack_u32(&b, n ? 1 : 0);
        if (n) {
            pack_u64(&b, r[i].id);
            pack_str(&b, str_z(r[i].name));
            pack_u8(&b, r[i].use);
            pack_u8(&b, r[i].subscribed);
            for (uint32_t k = 1; k <= 6; k++)
                pack_u32(&b, k * 10); /* uidvalidity, uidnext, messages, unseen, deleted, recent */
            for (uint64_t k = 7; k <= 9; k++)
                pack_u64(&b, k * 10); /* bytes, deleted bytes, modseq */
        }
        play_reply(p, IPC_FOLDERS_PAGE, &b);
    }
}

/* Sends the command and expects these lines; "T" stands for "TAG OK". */
static void talk(struct role_play *p, struct play_client *c, const char *command, const char *const *want)
{
    _cleanup_buf_ struct buf line = BUF(4096);
    buf_addf(&line, "T %s\r\n", command);
    client_send(c, buf_str(&line));
    answer_rows(p, "", rows, ARRAY_LEN(rows));
    for (; *want; want++) {
        str got = client_line(c);
        if (!str_eq(got, str_z(*want)))
            fail_msg("%s: \"%s\" was expected, not \"%.*s\"", command, *want, STR_ARG(got));
    }
    client_expect(c, "T OK");
}
#define LINES(...) (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL }

static void test_list(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    talk(&p, &c, "LIST \"\" *",
         LINES("* LIST (\\HasNoChildren) \"/\" INBOX", "* LIST (\\HasNoChildren \\Sent) \"/\" Sent",
               "* LIST (\\Noselect \\HasChildren) \"/\" a", "* LIST (\\HasChildren) \"/\" a/b",
               "* LIST (\\HasNoChildren) \"/\" a/b/c", "* LIST (\\HasNoChildren \\Trash) \"/\" x"));
    talk(&p, &c, "LIST a/ %", LINES("* LIST (\\HasChildren) \"/\" a/b"));
    talk(&p, &c, "LIST \"\" inbox", LINES("* LIST (\\HasNoChildren) \"/\" INBOX"));
    talk(&p, &c, "LIST \"\" inboxes", LINES());
    talk(&p, &c, "XLIST \"\" I%", LINES("* XLIST (\\HasNoChildren \\Inbox) \"/\" Inbox"));
    talk(&p, &c, "LSUB \"\" *",
         LINES("* LSUB (\\HasNoChildren) \"/\" INBOX", "* LSUB (\\HasNoChildren \\Sent) \"/\" Sent",
               "* LSUB (\\HasNoChildren) \"/\" a/b/c", "* LSUB (\\Noselect \\HasNoChildren) \"/\" gone"));
    talk(&p, &c, "LSUB \"\" a%", LINES("* LSUB (\\Noselect \\HasChildren) \"/\" a"));
    client_talk(&c, "T LIST \"\" \"\"\r\n", "* LIST (\\Noselect) \"/\" \"\"");
    client_expect(&c, "T OK");
    play_stop(&p);
}

static void test_list_extended(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    talk(&p, &c, "LIST (SUBSCRIBED) \"\" *",
         LINES("* LIST (\\Subscribed \\HasNoChildren) \"/\" INBOX",
               "* LIST (\\Subscribed \\HasNoChildren \\Sent) \"/\" Sent",
               "* LIST (\\Subscribed \\HasNoChildren) \"/\" a/b/c",
               "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" gone"));
    talk(&p, &c, "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a a/b)",
         LINES("* LIST (\\NonExistent \\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))",
               "* LIST (\\HasChildren) \"/\" a/b (\"CHILDINFO\" (\"SUBSCRIBED\"))"));
    talk(&p, &c, "LIST (SPECIAL-USE) \"\" *",
         LINES("* LIST (\\HasNoChildren \\Sent) \"/\" Sent", "* LIST (\\HasNoChildren \\Trash) \"/\" x"));
    talk(&p, &c, "LIST \"\" a* RETURN (SUBSCRIBED STATUS (MESSAGES UIDNEXT))",
         LINES("* LIST (\\NonExistent \\HasChildren) \"/\" a", "* LIST (\\HasChildren) \"/\" a/b",
               "* STATUS a/b (MESSAGES 30 UIDNEXT 20)", "* LIST (\\Subscribed \\HasNoChildren) \"/\" a/b/c",
               "* STATUS a/b/c (MESSAGES 30 UIDNEXT 20)"));
    play_stop(&p);
}

static void test_status(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("T STATUS a/b (UIDVALIDITY UNSEEN DELETED RECENT SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT)\r\n"));
    answer_rows(&p, "a/b", rows + 2, 1);
    client_expect(&c, "* STATUS a/b (UIDVALIDITY 10 UNSEEN 40 DELETED 50 SIZE 70 RECENT 60 HIGHESTMODSEQ 90 "
                      "APPENDLIMIT 52428800 MAILBOXID (M0000000000000003))");
    client_expect(&c, "T OK");
    client_send(&c, S("T STATUS gone (MESSAGES)\r\n")); /* a subscription is no mailbox */
    answer_rows(&p, "gone", rows + 4, 1);
    client_expect(&c, "T NO [NONEXISTENT]");
    client_send(&c, S("T STATUS none (MESSAGES)\r\n"));
    answer_rows(&p, "none", NULL, 0);
    client_expect(&c, "T NO [NONEXISTENT]");
    play_stop(&p);
}

static void change(struct role_play *p, struct play_client *c, const char *command, enum folder_change what,
                   const char *const names[2], uint8_t verdict)
{
    client_send(c, str_z(command));
    struct buf b = play_answer(play_request(p, IPC_FOLDER_CHANGE), verdict);
    assert_int_equal(unpack_u8(&p->in), what);
    assert_true(str_eq(unpack_str(&p->in), str_z(names[0])));
    assert_true(str_eq(unpack_str(&p->in), str_z(names[1])));
    unpack_u8(&p->in);
    assert_true(unpack_end(&p->in));
    pack_u64(&b, 255);
    play_reply(p, IPC_FOLDER_CHANGED, &b);
}

static void test_changes(void **state)
{
    (void)state;
    static const struct { uint8_t verdict; const char *answer; } verdicts[] = {
        { STORE_EXISTS, "T NO [ALREADYEXISTS]" }, { STORE_LIMIT, "T NO [LIMIT]" },
        { STORE_USE_TAKEN, "T NO [USEATTR]" },    { STORE_CANNOT, "T NO [CANNOT]" },
        { STORE_HAS_CHILDREN, "T NO [HASCHILDREN]" }, { MAILBOX_TROUBLE, "T NO [SERVERBUG]" },
        { MAILBOX_NOT_BOUND, "T NO [UNAVAILABLE]" },
    };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    change(&p, &c, "T CREATE new/\r\n", FOLDER_CREATE, (const char *const[]){ "new", "" }, STORE_DONE);
    client_expect(&c, "T OK [MAILBOXID (M00000000000000ff)]");
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
        change(&p, &c, "T CREATE new\r\n", FOLDER_CREATE, (const char *const[]){ "new", "" }, verdicts[i].verdict);
        client_expect(&c, verdicts[i].answer);
    }
    change(&p, &c, "T RENAME a b/c\r\n", FOLDER_RENAME, (const char *const[]){ "a", "b/c" }, STORE_DONE);
    client_expect(&c, "T OK");
    change(&p, &c, "T SUBSCRIBE a\r\n", FOLDER_SUBSCRIBE, (const char *const[]){ "a", "" }, STORE_DONE);
    client_expect(&c, "T OK");
    change(&p, &c, "T UNSUBSCRIBE a\r\n", FOLDER_UNSUBSCRIBE, (const char *const[]){ "a", "" }, STORE_DONE);
    client_expect(&c, "T OK");
    change(&p, &c, "T DELETE a\r\n", FOLDER_DELETE, (const char *const[]){ "a", "" }, STORE_NONEXISTENT);
    client_expect(&c, "T NO [NONEXISTENT]");
    client_talk(&c, "T CREATE \"a//b\"\r\n", "T NO [CANNOT]");
    client_talk(&c, "T RENAME a \"x*\"\r\n", "T NO [CANNOT]");
    play_stop(&p);
}

static void quota(struct role_play *p, uint64_t bytes, uint64_t limit, uint64_t messages_limit)
{
    struct buf b = play_answer(play_request(p, IPC_QUOTA_GET), STORE_DONE);
    pack_u64(&b, bytes);
    pack_u64(&b, limit);
    pack_u64(&b, 3);
    pack_u64(&b, messages_limit);
    play_reply(p, IPC_QUOTA, &b);
}

static void test_quota(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_access(&p, "");
    play_imap(&p, &c);
    client_send(&c, S("T GETQUOTA \"\"\r\n"));
    quota(&p, 1025, 10240, 99);
    assert_true(str_eq(client_line(&c), S("* QUOTA \"\" (STORAGE 2 10 MESSAGE 3 99)")));
    client_expect(&c, "T OK");
    client_send(&c, S("T GETQUOTAROOT a/b\r\n"));
    quota(&p, 1025, 0, 0);
    assert_true(str_eq(client_line(&c), S("* QUOTAROOT a/b \"\"")));
    assert_true(str_eq(client_line(&c), S("* QUOTA \"\" ()")));
    client_expect(&c, "T OK");
    client_talk(&c, "T SETQUOTA \"\" (STORAGE 5)\r\n", "T NO [NOPERM]");
    client_talk(&c, "T GETQUOTA other\r\n", "T NO [NONEXISTENT]");
    play_stop(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_extended),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
