/* Sessions of the SMTP client: greeting, EHLO, STARTTLS, AUTH, ends. Every scenario is played with the input whole and
 * byte by byte, and must give the same. Transactions are in smtp_client_mail_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include "base/codec.h"
#include "proto/smtp_client_play.h"

#define T(f) cmocka_unit_test(f)
#define SAYS(p, text) client_play_feed(p, str_z(text))

static struct smtp_client_config config;

typedef void scenario_fn(struct client_play *p);

static void twice(scenario_fn *f)
{
    struct client_play whole, bytewise;
    client_play_init(&whole, &config, 1u << 20);
    f(&whole);
    client_play_init(&bytewise, &config, 1);
    f(&bytewise);
    assert_true(str_eq(buf_str(&whole.log), buf_str(&bytewise.log)));
    assert_true(str_eq(buf_str(&whole.said), buf_str(&bytewise.said)));
    client_play_done(&whole);
    client_play_done(&bytewise);
}

static int plain_config(void **state)
{
    (void)state;
    config = (struct smtp_client_config){ .hostname = S("out.posthouse.test") };
    return 0;
}

static void same(str is, const char *should_be)
{
    if (str_eq(is, str_z(should_be)))
        return;
    print_error("is: %.*s\nshould be: %s\n", STR_ARG(is), should_be);
    fail();
}

static void said(struct client_play *p, const char *text)
{
    same(client_said(p), text);
}

static void logged(struct client_play *p, const char *text)
{
    same(buf_str(&p->log), text);
}

static void hello(struct client_play *p)
{
    SAYS(p, "");
    said(p, "");
    SAYS(p, "220 mx.example.org ESMTP\r\n");
    said(p, "EHLO out.posthouse.test\r\n");
}

static void all_capabilities(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-PIPELINING is the name of this host\r\n"
            "250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
            "250-dsn\r\n250-ENHANCEDSTATUSCODES\r\n250-LIMITS RCPTMAX=20 MAILMAX=3 RCPTDOMAINMAX=1 X=y RCPTMAX=x\r\n"
            "250-REQUIRETLS\r\n250-AUTH LOGIN plain CRAM-MD5\r\n250 AUTH=SCRAM-SHA-256\r\n");
    const struct smtp_client_caps *caps = smtp_client_caps(p->c);
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    assert_true(caps->esmtp && caps->size && caps->eightbitmime && caps->smtputf8 && caps->chunking && caps->dsn);
    assert_true(caps->enhanced_codes && caps->requiretls);
    assert_true(caps->auth_login && caps->auth_plain && caps->auth_scram256);
    assert_false(caps->pipelining || caps->starttls);
    assert_int_equal(caps->size_max, 1000);
    assert_int_equal(caps->rcpt_max, 20);
    assert_int_equal(caps->mail_max, 3);
    assert_int_equal(caps->rcpt_domain_max, 1);
    smtp_client_quit(p->c);
    SAYS(p, "");
    said(p, "QUIT\r\n");
    assert_int_equal(smtp_client_phase(p->c), SMTP_STAGE_QUIT);
    SAYS(p, "221 bye\r\n");
    logged(p, "END quit 221 2.0.0 [QUIT] 221 bye\n");
}
static void test_capabilities(void **state) { (void)state; twice(all_capabilities); }

static void one_line(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 SIZE\r\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    assert_false(smtp_client_caps(p->c)->size);
}
static void test_first_line_is_no_capability(void **state) { (void)state; twice(one_line); }

static void helo(struct client_play *p)
{
    hello(p);
    SAYS(p, "500 what?\r\n");
    said(p, "HELO out.posthouse.test\r\n");
    SAYS(p, "250-old\r\n250 SIZE 10\r\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    assert_false(smtp_client_caps(p->c)->esmtp || smtp_client_caps(p->c)->size);
}
static void test_helo_when_ehlo_is_refused(void **state) { (void)state; twice(helo); }

static void helo_refused(struct client_play *p)
{
    hello(p);
    SAYS(p, "502 what?\r\n");
    said(p, "HELO out.posthouse.test\r\n");
    SAYS(p, "550-5.7.1 not\r\n550 5.7.1 you\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END reply 550 5.7.1 [EHLO] 550-5.7.1 not\n550 5.7.1 you\n");
}
static void test_helo_refused(void **state) { (void)state; twice(helo_refused); }

static void lhlo(struct client_play *p)
{
    SAYS(p, "220 lmtp\r\n");
    said(p, "LHLO out.posthouse.test\r\n");
    SAYS(p, "500 5.5.1 no\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END reply 500 5.5.1 [EHLO] 500 5.5.1 no\n");
}
static void test_lmtp_knows_no_helo(void **state)
{
    (void)state;
    config.lmtp = true;
    twice(lhlo);
}

static void ehlo_later(struct client_play *p)
{
    hello(p);
    SAYS(p, "450 later\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END reply 450 4.2.0 [EHLO] 450 later\n");
}
static void test_ehlo_deferred(void **state) { (void)state; twice(ehlo_later); }

static void greeting_refused(struct client_play *p)
{
    SAYS(p, "554-go\r\n554\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END reply 554 5.0.0 [connection] 554-go\n554\n");
}
static void test_greeting_refused(void **state) { (void)state; twice(greeting_refused); }

static void closing(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 ok\r\n");
    said(p, "");
    SAYS(p, "421 4.3.2 closing\r\n");
    said(p, "");
    logged(p, "END reply 421 4.3.2 [waiting] 421 4.3.2 closing\n");
    assert_int_equal(smtp_client_send(p->c, &(struct smtp_client_mail){ .n = 1 }), -EINVAL);
}
static void test_421_while_idle(void **state) { (void)state; twice(closing); }

static void no_smtp(struct client_play *p)
{
    SAYS(p, "SSH-2.0-OpenSSH_9.2\r\n");
    said(p, "");
    logged(p, "END protocol 0 4.5.0 [connection] the other server's reply is not one of SMTP\n");
}
static void test_not_smtp(void **state) { (void)state; twice(no_smtp); }

static void unasked(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 ok\r\n250 once more\r\n");
    logged(p, "END protocol 0 4.5.0 [waiting] the other server's reply is not one of SMTP\n");
}
static void test_speaks_unasked(void **state) { (void)state; twice(unasked); }

static void idle_timeout(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 ok\r\n");
    SAYS(p, "451 4.4.2 timed out\r\n");
    logged(p, "END reply 451 4.4.2 [waiting] 451 4.4.2 timed out\n");
}
static void test_451_while_idle(void **state) { (void)state; twice(idle_timeout); }

static void control_characters(struct client_play *p)
{
    client_play_feed(p, S("554-a\0b\rc\t\x1b[1m\xc3\xa9\n554 5.7.1\n"));
    const char *text = "END reply 554 5.7.1 [connection] 554-a?b?c\t?[1m\xc3\xa9\n554 5.7.1\n";
    logged(p, text);
}
static void test_text_is_made_harmless(void **state) { (void)state; twice(control_characters); }

static void last_code(struct client_play *p)
{
    SAYS(p, "220-4.4.4 a\r\n554-4.4.4 b\r\n554 c\r\n");
    logged(p, "END reply 554 5.0.0 [connection] 220-4.4.4 a\n554-4.4.4 b\n554 c\n");
}
static void test_last_line_counts(void **state) { (void)state; twice(last_code); }

static void endless_line(struct client_play *p)
{
    SAYS(p, "554 ");
    for (int i = 0; i < 70; ++i)
        SAYS(p, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    SAYS(p, "\r\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_END);
    assert_int_equal(p->last.end.why, SMTP_END_REPLY);
    assert_int_equal(p->log.n, sizeof("END reply 554 5.0.0 [connection] \n") - 1 + 1024);
}
static void test_long_line_is_cut(void **state) { (void)state; twice(endless_line); }

static void endless_reply(struct client_play *p)
{
    for (int i = 0; i < 7000 && p->last.kind != SMTP_CLIENT_END; ++i)
        SAYS(p, "554-more\r\n");
    logged(p, "END protocol 0 4.5.0 [connection] the other server's reply is not one of SMTP\n");
}
static void test_endless_reply(void **state) { (void)state; twice(endless_reply); }

static void many_lines(struct client_play *p)
{
    for (int i = 0; i < 300; ++i)
        SAYS(p, "554-0123456789abcdef\r\n");
    SAYS(p, "554 5.1.2 end\r\n");
    assert_int_equal(p->last.end.why, SMTP_END_REPLY);
    str text = str_from(buf_str(&p->log), sizeof("END reply 554 5.1.2 [connection] ") - 1);
    assert_true(str_starts(buf_str(&p->log), S("END reply 554 5.1.2 [connection] 554-0123456789abcdef\n554-01")));
    assert_int_equal(text.n, SMTP_CLIENT_TEXT_MAX + 1);
}
static void test_text_is_bounded(void **state) { (void)state; twice(many_lines); }

static void lost(struct client_play *p)
{
    hello(p);
    buf_add(&p->in, S("554 no\r\n"));
    smtp_client_lost(p->c, "connection lost");
    SAYS(p, "");
    SAYS(p, "550 you\r\n550 ");
    SAYS(p, "");
    logged(p, "END lost 0 4.4.2 [EHLO] connection lost\n");
}
static void test_lost_connection_reads_what_is_there(void **state) { (void)state; twice(lost); }

static void quit_and_lost(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 ok\r\n");
    smtp_client_quit(p->c);
    smtp_client_lost(p->c, "closed");
    SAYS(p, "");
    logged(p, "END quit 0 4.4.2 [QUIT] closed\n");
}
static void test_quit_needs_no_answer(void **state) { (void)state; twice(quit_and_lost); }

/* STARTTLS */

static void tls(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 DSN\r\n");
    said(p, "STARTTLS\r\n");
    SAYS(p, "220 go\r\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_NEED_TLS);
    smtp_client_tls_started(p->c);
    SAYS(p, "");
    said(p, "EHLO out.posthouse.test\r\n");
    SAYS(p, "250-mx\r\n250-STARTTLS\r\n250 DSN\r\n");
    said(p, "");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
    assert_true(smtp_client_caps(p->c)->dsn);
    assert_false(smtp_client_caps(p->c)->pipelining);
}
static void test_starttls_forgets_what_was_said_before(void **state)
{
    (void)state;
    config.starttls = true;
    twice(tls);
}

static void injected(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 STARTTLS\r\n");
    SAYS(p, "220 go\r\n250 ok\r\n");
    logged(p, "END tls 0 4.7.5 [TLS handshake] clear text followed the reply to STARTTLS\n");
}
static void test_clear_text_behind_starttls(void **state)
{
    (void)state;
    config.starttls = true;
    twice(injected);
}

static void tls_refused(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 STARTTLS\r\n");
    said(p, "STARTTLS\r\n");
    SAYS(p, "454 4.7.0 not now\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END tls 454 4.7.0 [STARTTLS] 454 4.7.0 not now\n");
}
static void test_starttls_refused(void **state)
{
    (void)state;
    config.starttls = true;
    twice(tls_refused);
}

static void tls_absent(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 mx\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END tls 0 4.7.4 [EHLO] TLS is required here, and the other server offers none\n");
}
static void test_required_tls_is_not_offered(void **state)
{
    (void)state;
    config.starttls_required = true;
    twice(tls_absent);
}

static void tls_optional(struct client_play *p)
{
    hello(p);
    SAYS(p, "250 mx\r\n");
    said(p, "");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_optional_tls_is_not_offered(void **state)
{
    (void)state;
    config.starttls = true;
    twice(tls_optional);
}

/* AUTH */

static int auth_config(void **state)
{
    plain_config(state);
    config.user = S("user");
    config.secret = S("pencil");
    config.nonce = S("rOprNGfwEbeRWgbNEkqO");
    config.tls = true;
    return 0;
}

static void auth_plain(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH LOGIN PLAIN\r\n");
    said(p, "AUTH PLAIN AHVzZXIAcGVuY2ls\r\n");
    SAYS(p, "235 2.7.0 in\r\n");
    said(p, "");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_auth_plain(void **state) { (void)state; twice(auth_plain); }

static void auth_login(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH LOGIN\r\n");
    said(p, "AUTH LOGIN\r\n");
    SAYS(p, "334 VXNlcm5hbWU6\r\n");
    said(p, "dXNlcg==\r\n");
    SAYS(p, "334 UGFzc3dvcmQ6\r\n");
    said(p, "cGVuY2ls\r\n");
    SAYS(p, "535 5.7.8 no\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END auth 535 5.7.8 [AUTH] 535 5.7.8 no\n");
}
static void test_auth_login_refused(void **state) { (void)state; twice(auth_login); }

static void say_base64(struct client_play *p, const char *code, const char *text, const char *raw)
{
    struct buf b = BUF(4096);
    buf_add(&b, str_z(code));
    buf_add(&b, str_z(text));
    base64_encode(&b, str_z(raw));
    buf_add(&b, S("\r\n"));
    client_play_feed(p, buf_str(&b));
    buf_done(&b);
}

static void expect_base64(struct client_play *p, const char *before, const char *raw)
{
    struct buf b = BUF(4096);
    buf_add(&b, str_z(before));
    base64_encode(&b, str_z(raw));
    buf_add(&b, S("\r\n"));
    assert_true(str_eq(client_said(p), buf_str(&b)));
    buf_done(&b);
}

/* The example of RFC 7677 3. */
static const char scram_first[] = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                  "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const char scram_final[] = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                  "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

static void scram(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n");
    expect_base64(p, "AUTH SCRAM-SHA-256 ", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    say_base64(p, "334 ", "", scram_first);
    expect_base64(p, "", scram_final);
    say_base64(p, "334 ", "", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    said(p, "\r\n");
    SAYS(p, "235 in\r\n");
    assert_int_equal(p->last.kind, SMTP_CLIENT_READY);
}
static void test_auth_scram(void **state) { (void)state; twice(scram); }

static void scram_unproved(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH SCRAM-SHA-256\r\n");
    say_base64(p, "334 ", "", scram_first);
    SAYS(p, "235 in\r\n");
    logged(p, "END auth 0 4.7.0 [AUTH] the server could not prove that it knows the password\n");
}
static void test_auth_scram_without_the_servers_proof(void **state) { (void)state; twice(scram_unproved); }

static void scram_wrong(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH SCRAM-SHA-256\r\n");
    say_base64(p, "334 ", "", scram_first);
    client_said(p);
    say_base64(p, "334 ", "", "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    said(p, "*\r\n");
    SAYS(p, "501 cancelled\r\n");
    logged(p, "END auth 0 4.7.0 [AUTH] the server could not prove that it knows the password\n");
}
static void test_auth_scram_with_a_wrong_proof(void **state) { (void)state; twice(scram_wrong); }

static void auth_clear(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH PLAIN\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END auth 0 4.7.11 [EHLO] a password is not sent without TLS\n");
}
static void test_no_auth_in_clear(void **state)
{
    (void)state;
    config.tls = false;
    twice(auth_clear);
}

static void auth_none(struct client_play *p)
{
    hello(p);
    SAYS(p, "250-mx\r\n250 AUTH CRAM-MD5\r\n");
    said(p, "QUIT\r\n");
    logged(p, "END auth 0 4.7.4 [EHLO] the other server offers no way to log in that is known here\n");
}
static void test_no_mechanism_in_common(void **state) { (void)state; twice(auth_none); }

int main(void)
{
    const struct CMUnitTest session[] = {
        T(test_capabilities),
        T(test_first_line_is_no_capability),
        T(test_helo_when_ehlo_is_refused),
        T(test_helo_refused),
        T(test_lmtp_knows_no_helo),
        T(test_ehlo_deferred),
        T(test_greeting_refused),
        T(test_421_while_idle),
        T(test_not_smtp),
        T(test_speaks_unasked),
        T(test_451_while_idle),
        T(test_text_is_made_harmless),
        T(test_last_line_counts),
        T(test_long_line_is_cut),
        T(test_endless_reply),
        T(test_text_is_bounded),
        T(test_lost_connection_reads_what_is_there),
        T(test_quit_needs_no_answer),
        T(test_starttls_forgets_what_was_said_before),
        T(test_clear_text_behind_starttls),
        T(test_starttls_refused),
        T(test_required_tls_is_not_offered),
        T(test_optional_tls_is_not_offered),
    };
    const struct CMUnitTest auth[] = {
        T(test_auth_plain),
        T(test_auth_login_refused),
        T(test_auth_scram),
        T(test_auth_scram_without_the_servers_proof),
        T(test_auth_scram_with_a_wrong_proof),
        T(test_no_auth_in_clear),
        T(test_no_mechanism_in_common),
    };
    struct CMUnitTest all[ARRAY_LEN(session) + ARRAY_LEN(auth)];
    for (size_t i = 0; i < ARRAY_LEN(all); ++i) {
        bool first = i < ARRAY_LEN(session);
        all[i] = first ? session[i] : auth[i - ARRAY_LEN(session)];
        all[i].setup_func = first ? plain_config : auth_config;
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
