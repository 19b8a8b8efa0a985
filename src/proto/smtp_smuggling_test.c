/* SMTP smuggling (CVE-2023-51764 to 51766): whatever stands where an end of data might be taken for one, in one piece
 * or cut anywhere, with DATA or BDAT, refused or normalized: what was sent as one message is never seen as two. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_test_driver.h"

#define SMUGGLED "MAIL FROM:<evil@b.test>\r\nRCPT TO:<alice@posthouse.test>\r\nDATA\r\nsmuggled\r\n"

static const str variants[] = {
    S("\n.\n"),      S("\n.\r\n"),      S("\r\n.\n"),     S("\r.\r"),         S("\r.\r\n"),
    S("\r\n.\r"),    S("\n.\r"),        S("\r\n.\r\r\n"), S("\r\n\0.\r\n"),   S("\r\n.\0\r\n"),
    S("\r\n .\r\n"), S("\r\n. \r\n"),   S("\r\n..\r\n"),  S("\r\r\n.\n"),     S("\n\r.\r\n"),
    S("\n\n.\r\n"),  S("\r\n.\r.\r\n"), S("\r\n\r.\r\n"), S("\r\n\x85.\r\n"), S("\r\n.\x85\r\n"),
};

static void compose(struct buf *in, str variant, bool bdat)
{
    _cleanup_buf_ struct buf content = BUF(1000);
    buf_add(&content, S("Subject: first\r\n\r\nbody"));
    buf_add(&content, variant);
    buf_add(&content, S(SMUGGLED));
    buf_add(in, S("EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@posthouse.test>\r\n"));
    if (bdat)
        buf_addf(in, "BDAT %zu LAST\r\n", content.n);
    else
        buf_add(in, S("DATA\r\n"));
    buf_add(in, buf_str(&content));
    buf_add(in, bdat ? S("QUIT\r\n") : S(".\r\nQUIT\r\n"));
}

/* Fed in two pieces, cut before byte `cut`; 0: whole; SIZE_MAX: every byte alone. */
static void play_cut(str in, size_t cut, const struct smtp_server_config *config)
{
    struct play p;
    play_init(&p, config);
    play_feed(&p, STR_NONE);
    if (cut == SIZE_MAX) {
        play_feed_bytewise(&p, in);
    } else {
        play_feed(&p, str_first(in, cut));
        play_feed(&p, str_from(in, cut));
    }
    assert_int_equal(p.mails, 1);
    assert_int_equal(p.messages + p.resets, 1);
    assert_true(p.messages == 1 || str_find(buf_str(&p.out), S("\r\n550 5.6.11 ")) >= 0);
    assert_true(str_ends(buf_str(&p.out), S("221 2.0.0 Bye\r\n")));
    play_done(&p);
}

static void test_never_two_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(variants) * 4; ++i) {
        _cleanup_buf_ struct buf in = BUF(1000);
        struct smtp_server_config config = play_config;
        config.normalize_newlines = i & 2;
        compose(&in, variants[i / 4], i & 1);
        for (size_t cut = 0; cut < in.n; ++cut)
            play_cut(buf_str(&in), cut, &config);
        play_cut(buf_str(&in), SIZE_MAX, &config);
    }
}

/* The test above can fail: the one true end of data does end the message. */
static void test_true_end_is_seen(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf in = BUF(1000);
    struct play p;
    compose(&in, S("\r\n.\r\n"), false);
    play_init(&p, &play_config);
    play_feed(&p, buf_str(&in));
    assert_int_equal(p.messages, 2);
    play_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_two_messages),
        cmocka_unit_test(test_true_end_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
