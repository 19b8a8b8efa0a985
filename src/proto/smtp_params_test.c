/* Parameters of MAIL and RCPT, and xtext. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "proto/smtp_params.h"

static const struct smtp_server_config config = { .smtputf8 = true, .auth = true, .limits = { .size_max = 1000 } };

static void test_xtext(void **state)
{
    (void)state;
    static const struct {
        str in, out;
        int result;
    } cases[] = {
        { S("abc"), S("abc"), 0 },       { S("e+3Dmc2@example.com"), S("e=mc2@example.com"), 0 },
        { S("+2B+2b"), S("++"), 0 },     { S(""), S(""), 0 },
        { S("a=b"), S(""), -EBADMSG },   { S("a b"), S(""), -EBADMSG },
        { S("a+4"), S(""), -EBADMSG },   { S("a+"), S(""), -EBADMSG },
        { S("a+4x"), S(""), -EBADMSG },  { S("\xc3\xbc"), S(""), -EBADMSG },
        { S("a\x7f"), S(""), -EBADMSG }, { S("+00"), S("\0"), 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        _cleanup_buf_ struct buf out = BUF(100);
        assert_int_equal(smtp_xtext_decode(&out, cases[i].in), cases[i].result);
        assert_true(str_eq(buf_str(&out), cases[i].out));
    }
    _cleanup_buf_ struct buf small = BUF(2);
    assert_int_equal(smtp_xtext_decode(&small, S("abc")), -ENOBUFS);
}

static void test_replies(void **state)
{
    (void)state;
    static const struct {
        str args;
        enum smtp_reply_id reply;
    } cases[] = {
        { S(""), SMTP_REPLY_NONE },
        { S("  "), SMTP_REPLY_NONE },
        { S(" SIZE=1000"), SMTP_REPLY_NONE },
        { S(" size=0 body=7bit"), SMTP_REPLY_NONE },
        { S(" SIZE=1001"), SMTP_REPLY_TOO_LARGE },
        { S(" SIZE=99999999999999999999"), SMTP_REPLY_TOO_LARGE },
        { S(" SIZE=999999999999999999999"), SMTP_REPLY_BAD_PARAMETER },
        { S(" SIZE=-1"), SMTP_REPLY_BAD_PARAMETER },
        { S(" SIZE=1 SIZE=1"), SMTP_REPLY_BAD_PARAMETER },
        { S(" BODY"), SMTP_REPLY_BAD_PARAMETER },
        { S(" BODY=BINARYMIME"), SMTP_REPLY_BAD_PARAMETER },
        { S(" SMTPUTF8="), SMTP_REPLY_BAD_PARAMETER },
        { S(" AUTH"), SMTP_REPLY_BAD_PARAMETER },
        { S(" AUTH=a=b"), SMTP_REPLY_BAD_PARAMETER },
        { S(" RET=FULL"), SMTP_REPLY_UNKNOWN_PARAMETER },
        { S(" ="), SMTP_REPLY_UNKNOWN_PARAMETER },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        _cleanup_buf_ struct buf scratch = BUF(100);
        struct smtp_mail_params params;
        if (smtp_mail_params_parse(&config, cases[i].args, &scratch, &params) != cases[i].reply)
            fail_msg("'%.*s'", STR_ARG(cases[i].args));
    }
}

static void test_values(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf scratch = BUF(100);
    struct smtp_mail_params params;
    str args = S(" SIZE=42 BODY=8BITMIME SMTPUTF8 AUTH=a+2Bb");
    assert_int_equal(smtp_mail_params_parse(&config, args, &scratch, &params), SMTP_REPLY_NONE);
    assert_int_equal(params.size, 42);
    assert_true(params.body_8bit);
    assert_true(params.smtputf8);
    assert_true(str_eq(params.auth, S("a+b")));
}

static void test_what_is_off_is_unknown(void **state)
{
    (void)state;
    static const struct smtp_server_config off = { .limits = { .size_max = 1000 } };
    _cleanup_buf_ struct buf scratch = BUF(100);
    struct smtp_mail_params params;
    assert_int_equal(smtp_mail_params_parse(&off, S(" SMTPUTF8"), &scratch, &params), SMTP_REPLY_UNKNOWN_PARAMETER);
    assert_int_equal(smtp_mail_params_parse(&off, S(" AUTH=<>"), &scratch, &params), SMTP_REPLY_UNKNOWN_PARAMETER);
}

static const struct smtp_server_config with_dsn = { .dsn = true, .limits = { .size_max = 1000 } };

static void test_dsn_of_mail(void **state)
{
    (void)state;
    static const struct { str args; enum smtp_reply_id reply; uint8_t ret; str envid; } cases[] = {
        { S(" RET=full ENVID=QQ+2B314"), SMTP_REPLY_NONE, 1, S("QQ+314") },
        { S(" ret=HDRS"), SMTP_REPLY_NONE, 2, S("") },
        { S(" RET=BOTH"), SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" RET"), SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ENVID="), SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ENVID=a+00b"), SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ENVID=a+0D+0AX:y"), SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ENVID=a=b"), SMTP_REPLY_BAD_PARAMETER, 0, S("") },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        _cleanup_buf_ struct buf scratch = BUF(400);
        struct smtp_mail_params p;
        if (smtp_mail_params_parse(&with_dsn, cases[i].args, &scratch, &p) != cases[i].reply)
            fail_msg("'%.*s'", STR_ARG(cases[i].args));
        if (cases[i].reply == SMTP_REPLY_NONE) {
            assert_int_equal(p.ret, cases[i].ret);
            assert_true(str_eq(p.envid, cases[i].envid));
        }
    }
}

static void test_dsn_of_rcpt(void **state)
{
    (void)state;
    static const struct { str args; bool utf8; enum smtp_reply_id reply; uint8_t notify; str orcpt; } cases[] = {
        { S(""), false, SMTP_REPLY_NONE, 0, S("") },
        { S(" NOTIFY=NEVER"), false, SMTP_REPLY_NONE, 1, S("") },
        { S(" notify=success,Delay,FAILURE ORCPT=rfc822;a+2Bb@x"), false, SMTP_REPLY_NONE, 14, S("rfc822;a+b@x") },
        { S(" NOTIFY=NEVER,DELAY"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" NOTIFY=DELAY,DELAY"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" NOTIFY="), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" NOTIFY=FAILURE NOTIFY=FAILURE"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ORCPT=bob@x"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ORCPT=rfc822;"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ORCPT=rfc822;a+0Ab"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ORCPT=a b;c"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ORCPT=utf-8;\\x{E9}va@x"), false, SMTP_REPLY_NONE, 0, S("utf-8;\\x{E9}va@x") },
        { S(" ORCPT=utf-8;\xc3\xa9@x"), true, SMTP_REPLY_NONE, 0, S("utf-8;\xc3\xa9@x") },
        { S(" ORCPT=utf-8;\xc3\xa9@x"), false, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" ORCPT=utf-8;\xc3@x"), true, SMTP_REPLY_BAD_PARAMETER, 0, S("") },
        { S(" SIZE=1"), false, SMTP_REPLY_UNKNOWN_PARAMETER, 0, S("") },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); ++i) {
        _cleanup_buf_ struct buf scratch = BUF(400);
        struct smtp_rcpt_params p;
        if (smtp_rcpt_params_parse(&with_dsn, cases[i].utf8, cases[i].args, &scratch, &p) != cases[i].reply)
            fail_msg("'%.*s'", STR_ARG(cases[i].args));
        if (cases[i].reply == SMTP_REPLY_NONE) {
            assert_int_equal(p.notify, cases[i].notify);
            assert_true(str_eq(p.orcpt, cases[i].orcpt));
        }
    }
    _cleanup_buf_ struct buf scratch = BUF(400);
    struct smtp_rcpt_params p;
    assert_int_equal(smtp_rcpt_params_parse(&config, false, S(" NOTIFY=NEVER"), &scratch, &p),
                     SMTP_REPLY_UNKNOWN_PARAMETER);
}

static int xclient(str args, struct smtp_xclient *out, struct buf *scratch)
{
    buf_clear(scratch);
    return smtp_xclient_parse(false, args, scratch, out);
}

static void test_xclient(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf scratch = BUF(4096);
    struct smtp_xclient x;
    str args = S("NAME=a+2Eb ADDR=IPV6:2001:db8::1 PORT=4025 PROTO=esmtp helo=[192.0.2.1] destport=25");
    assert_int_equal(xclient(args, &x, &scratch), 0);
    assert_true(str_eq(x.value[SMTP_XCLIENT_NAME], S("a.b")));
    assert_true(str_eq(x.value[SMTP_XCLIENT_ADDR], S("2001:db8::1")));
    assert_true(str_eq(x.value[SMTP_XCLIENT_HELO], S("[192.0.2.1]")));
    assert_int_equal(x.port, 4025); /* not that of DESTPORT */
    assert_true(x.given[SMTP_XCLIENT_DESTPORT]);
    assert_false(x.given[SMTP_XCLIENT_DESTADDR]);
    assert_int_equal(xclient(S("NAME=[UNAVAILABLE] ADDR=[unavailable] HELO=[TempUnavail]"), &x, &scratch), 0);
    assert_true(x.given[SMTP_XCLIENT_NAME] && x.given[SMTP_XCLIENT_ADDR] && x.given[SMTP_XCLIENT_HELO]);
    assert_int_equal(x.value[SMTP_XCLIENT_NAME].n + x.value[SMTP_XCLIENT_ADDR].n + x.value[SMTP_XCLIENT_HELO].n, 0);
}

static void test_wrong_xclient(void **state)
{
    (void)state;
    static const str wrong[] = {
        S(""), S(" "), S("NAME"), S("NAME="), S("=x"), S("LOGIN=alice"), S("NAME=a LOGIN=alice"), S("NAME=a name=b"),
        S("NAME=a+"), S("NAME=a+0g"), S("NAME=a+00b"), S("NAME=a+20b"), S("NAME=a+7Fb"), S("NAME=a+E9b"), S("NAME=a=b"),
        S("PORT=0"), S("PORT=x"), S("PORT=65536"), S("DESTPORT=-1"), S("PROTO=LMTP"), S("PROTO="), S("ADDR=IPV6:"),
    };
    _cleanup_buf_ struct buf scratch = BUF(4096);
    struct smtp_xclient x;
    for (size_t i = 0; i < ARRAY_LEN(wrong); ++i)
        if (xclient(wrong[i], &x, &scratch) != -EBADMSG)
            fail_msg("'%.*s'", STR_ARG(wrong[i]));
    char longest[300] = "HELO=";
    memset(longest + 5, 'x', 256);
    assert_int_equal(xclient(str_of(longest, 5 + 255), &x, &scratch), 0);
    assert_int_equal(x.value[SMTP_XCLIENT_HELO].n, 255);
    assert_int_equal(xclient(str_of(longest, 5 + 256), &x, &scratch), -EBADMSG);
    buf_clear(&scratch);
    assert_int_equal(smtp_xclient_parse(true, S("PROTO=LMTP"), &scratch, &x), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xtext),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_what_is_off_is_unknown),
        cmocka_unit_test(test_dsn_of_mail), cmocka_unit_test(test_dsn_of_rcpt),
        cmocka_unit_test(test_xclient),
        cmocka_unit_test(test_wrong_xclient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
