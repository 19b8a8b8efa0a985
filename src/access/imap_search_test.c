/* SEARCH, SORT and THREAD on messages without cards, so that all comes from their headers and content. The test is the
 * store. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "access/access_play.h"

static const struct play_mail mail[] = {
    { "Delivered-To: me\r\n", "Subject: Re: zebra\r\nFrom: =?utf-8?Q?J=C3=BCrgen?= <j@x>\r\n"
                              "X-Odd: a\r\n b\r\nDate: Tue, 3 Nov 2026 23:30:00 -0800\r\nMessage-ID: <2@x>\r\n"
                              "References: <1@x>\r\n\r\nStra\xc3\x9f" "e one\r\n" },
    { "", "Subject: apple\r\nFrom: anna@x\r\nDate: Wed, 4 Nov 2026 01:00:00 +0100\r\nMessage-ID: <3@x>\r\n"
          "\r\ntwo\r\n" },
    { "", "Subject: zebra\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@x>\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\nTkVFRExF\r\n" },
};

static void begin(struct role_play *p, struct play_client *c)
{
    play_access(p, "");
    play_imap(p, c);
    play_selected(p, c, mail, ARRAY_LEN(mail));
    client_send(c, S("r SEARCH SUBJECT nothing\r\n"));
    struct buf b = play_answer(play_request(p, IPC_CARDS_GET), STORE_NONEXISTENT);
    pack_u8(&b, 0);
    play_reply(p, IPC_CARDS_FILE, &b);
    play_give_segment(p, play_segment(mail, ARRAY_LEN(mail)));
    client_expect(c, "* SEARCH");
    client_expect(c, "r OK");
}

static void ask(struct play_client *c, const char *command, const char *want)
{
    _cleanup_buf_ struct buf b = BUF(1024);
    buf_addf(&b, "a %s\r\n", command);
    client_send(c, buf_str(&b));
    str line = client_line(c);
    if (!str_eq(line, str_z(want)))
        fail_msg("%s: \"%.*s\" is not \"%s\"", command, STR_ARG(line), want);
    client_expect(c, "a OK");
}

/* What the store said before has been heard: the answer to a question behind it has come. */
static void settle(struct role_play *p, struct play_client *c)
{
    client_send(c, S("q GETQUOTA \"\"\r\n"));
    struct buf b = play_answer(play_request(p, IPC_QUOTA_GET), MAILBOX_TROUBLE);
    for (int i = 0; i < 4; i++)
        pack_u64(&b, 0);
    play_reply(p, IPC_QUOTA, &b);
    client_until(c, "q NO");
}

static void test_keys(void **state)
{
    (void)state;
    static const struct { const char *keys, *want; } table[] = {
        { "ALL", " 1 2 3" },
        { "SUBJECT ZEBRA", " 1 3" },
        { "FROM anna", " 2" },
        { "NOT FROM anna", " 1 3" },
        { "OR FROM anna SUBJECT re:", " 1 2" },
        { "OR (SUBJECT zebra 1) (NOT SUBJECT zebra)", " 1 2" },
        { "SUBJECT zebra NOT (2:3)", " 1" },
        { "UID 12:13 SUBJECT zebra", " 3" },
        { "UID 1:10", "" },
        { "SENTON 3-Nov-2026", " 1" }, /* in its own zone; in UTC it is the 4th */
        { "SENTON 4-Nov-2026", " 2" }, /* in UTC it is the 3rd */
        { "SENTBEFORE 3-Nov-2026", " 3" },
        { "SENTSINCE 3-Nov-2026", " 1 2" },
        { "HEADER X-Odd \"\"", " 1" },
        { "HEADER X-Odd \"a b\"", " 1" },
        { "HEADER Delivered-To ME", " 1" },
        { "HEADER Delivered-To you", "" },
        { "HEADER Message-ID 3@x", " 2" },
        { "BODY tkvf", " 3" }, /* without a card nothing is known of its encoding */
        { "BODY zebra", "" },
        { "TEXT zebra", " 1 3" },
        { "TEXT delivered-to", " 1" },
        { "BODY \"\"", " 1 2 3" },
        { "LARGER 100 SMALLER 1000", " 1 3" },
        { "CHARSET UTF-8 FROM {7+}\r\nJ\xc3\x9cRGEN", " 1" },
        { "CHARSET UTF-8 BODY {7+}\r\nstrasse", " 1" },
    };
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        _cleanup_buf_ struct buf b = BUF(1024), w = BUF(1024);
        buf_addf(&b, "SEARCH %s", table[i].keys);
        buf_addf(&w, "* SEARCH%s", table[i].want);
        buf_addc(&b, 0);
        buf_addc(&w, 0);
        ask(&c, b.p, w.p);
    }
    play_stop(&p);
}

static void test_answers(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    ask(&c, "UID SEARCH SUBJECT zebra", "* SEARCH 11 13");
    ask(&c, "SEARCH RETURN (MIN MAX COUNT ALL) SUBJECT zebra", "* ESEARCH (TAG \"a\") MIN 1 MAX 3 COUNT 2 ALL 1,3");
    ask(&c, "UID SEARCH RETURN () ALL", "* ESEARCH (TAG \"a\") UID ALL 11:13");
    ask(&c, "SEARCH RETURN (MIN) SUBJECT zebra", "* ESEARCH (TAG \"a\") MIN 1");
    ask(&c, "SEARCH RETURN (ALL) SUBJECT none", "* ESEARCH (TAG \"a\")");
    client_talk(&c, "s SEARCH RETURN (SAVE) SUBJECT zebra\r\n", "s OK");
    ask(&c, "SEARCH $", "* SEARCH 1 3");
    ask(&c, "SEARCH RETURN (SAVE MAX) $", "* ESEARCH (TAG \"a\") MAX 3");
    ask(&c, "UID SEARCH $", "* SEARCH 13");
    ask(&c, "SEARCH RETURN (SAVE COUNT MIN) SUBJECT zebra", "* ESEARCH (TAG \"a\") MIN 1 COUNT 2");
    ask(&c, "SEARCH $", "* SEARCH 1 3");
    client_talk(&c, "b SEARCH 1:4\r\n", "b BAD");
    play_feed_flags(&p, 20, 12, IMAP_FLAGGED);
    settle(&p, &c);
    ask(&c, "SEARCH FLAGGED MODSEQ 20", "* SEARCH 2 (MODSEQ 20)");
    ask(&c, "SEARCH MODSEQ 21", "* SEARCH");
    client_until(&c, (client_send(&c, S("e ENABLE IMAP4rev2\r\n")), "e OK"));
    ask(&c, "SEARCH SUBJECT zebra", "* ESEARCH (TAG \"a\") ALL 1,3");
    play_stop(&p);
}

static void test_sort_and_thread(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    begin(&p, &c);
    ask(&c, "SORT (SUBJECT) UTF-8 ALL", "* SORT 2 1 3");
    ask(&c, "SORT (SUBJECT DATE) UTF-8 ALL", "* SORT 2 3 1");
    ask(&c, "SORT (REVERSE DATE) UTF-8 ALL", "* SORT 1 2 3");
    ask(&c, "UID SORT (FROM) UTF-8 SUBJECT zebra", "* SORT 13 11");
    ask(&c, "SORT (FROM) UTF-8 SUBJECT none", "* SORT");
    ask(&c, "THREAD REFERENCES UTF-8 ALL", "* THREAD (3 1)(2)");
    ask(&c, "UID THREAD ORDEREDSUBJECT UTF-8 ALL", "* THREAD (13 11)(12)");
    ask(&c, "THREAD REFERENCES UTF-8 SUBJECT none", "* THREAD");
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_sort_and_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
