/* Random conversations against a model of RFC 5321 that fits on a page: both must give the same codes and accept the
 * same number of messages, with the bytes cut at random. SMTP_MODEL_RUNS in the environment sets how many conversations
 * (default 100000). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "proto/smtp_test_driver.h"

#define COMMANDS_MAX 24

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t dice(uint32_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % sides;
}

struct model {
    bool helo, esmtp, tls, authenticated, mail, bdat, closed;
    unsigned recipients, messages;
    int codes[COMMANDS_MAX * 3];
    size_t n;
    struct buf input;
};

static void expect_code(struct model *m, int code)
{
    m->codes[m->n++] = code;
}

static void no_transaction(struct model *m)
{
    m->mail = m->bdat = false;
    m->recipients = 0;
}

static void send_line(struct model *m, const char *line)
{
    buf_add(&m->input, str_z(line));
    buf_add(&m->input, S("\r\n"));
}

static void do_helo(struct model *m)
{
    m->esmtp = dice(2);
    send_line(m, m->esmtp ? "EHLO c" : "HELO c");
    m->helo = true;
    no_transaction(m);
    expect_code(m, 250);
}

static void do_bad_helo(struct model *m)
{
    send_line(m, dice(2) ? "EHLO" : "HELO ");
    expect_code(m, 501);
}

static void do_mail(struct model *m)
{
    static const struct {
        const char *line;
        int code;
    } mails[] = {
        { "MAIL FROM:<a@b.test>", 250 },
        { "mail from:<> BODY=8BITMIME", 250 },
        { "MAIL FROM:<a@b.test> SIZE=30", 250 },
        { "MAIL FROM:<a@b.test> SIZE=31", 552 },
        { "MAIL FROM:<a@b.test> FOO=1", 555 },
        { "MAIL FROM:<a@@b.test>", 501 },
        { "MAIL a@b.test", 501 },
        { "MAIL FROM:<\xc3\xbc@b.test>", 550 },
    };
    size_t i = dice(3) ? dice(2) : dice(ARRAY_LEN(mails));
    send_line(m, mails[i].line);
    if (!m->helo || m->mail) {
        expect_code(m, 503);
        return;
    }
    m->mail = mails[i].code == 250;
    expect_code(m, mails[i].code);
}

static void do_rcpt(struct model *m)
{
    static const struct {
        const char *line;
        int code;
    } rcpts[] = {
        { "RCPT TO:<bob@posthouse.test>", 250 },
        { "rcpt to: <alice@posthouse.test> ", 250 },
        { "RCPT TO:<nobody@posthouse.test>", 550 },
        { "RCPT TO:<a@elsewhere.test>", 554 },
        { "RCPT TO:<>", 501 },
        { "RCPT TO:<bob@posthouse.test> NOTIFY=NEVER", 555 },
    };
    size_t i = dice(3) ? dice(2) : dice(ARRAY_LEN(rcpts));
    int code = rcpts[i].code == 554 && m->authenticated ? 250 : rcpts[i].code;
    send_line(m, rcpts[i].line);
    if (!m->helo || !m->mail || m->bdat) {
        expect_code(m, 503);
        return;
    }
    if (m->recipients == 3 && code != 501 && code != 555)
        code = 452; /* before the owner is asked */
    m->recipients += code == 250;
    expect_code(m, code);
}

static void do_data(struct model *m)
{
    static const struct {
        const char *content;
        int code;
    } contents[] = {
        { "Subject: a\r\n\r\nb\r\n.\r\n", 250 },
        { ".\r\n", 250 },
        { "..\r\nQUIT\r\n.\r\n", 250 },
        { "a\nb\r\n.\r\n", 550 },
        { "0123456789 0123456789 012345678\r\n.\r\n", 552 },
    };
    send_line(m, "DATA");
    if (!m->helo || !m->mail || m->bdat) {
        expect_code(m, 503);
        return;
    }
    if (m->recipients == 0) {
        expect_code(m, 554);
        return;
    }
    size_t i = dice(ARRAY_LEN(contents));
    expect_code(m, 354);
    buf_add(&m->input, str_z(contents[i].content));
    expect_code(m, contents[i].code);
    m->messages += contents[i].code == 250;
    no_transaction(m);
}

/* size_max is 30 and a chunk 9, so the fourth is too large. */
static void do_bdat(struct model *m)
{
    bool last = dice(2), empty = dice(4) == 0;
    static unsigned sent;
    send_line(m, last ? empty ? "BDAT 0 LAST" : "BDAT 9 last" : "BDAT 9");
    unsigned size = last && empty ? 0 : 9;
    if (size)
        buf_add(&m->input, S("RSET\r\n\r\n."));
    if (!m->helo || !m->mail) {
        expect_code(m, 503);
        return;
    }
    if (m->recipients == 0) {
        expect_code(m, 554);
        return;
    }
    sent = (m->bdat ? sent : 0) + size;
    m->bdat = true;
    expect_code(m, sent > 30 ? 552 : 250);
    m->messages += last && sent <= 30;
    if (last || sent > 30)
        no_transaction(m);
}

static void do_rset(struct model *m)
{
    send_line(m, "RSET");
    no_transaction(m);
    expect_code(m, 250);
}

static void do_simple(struct model *m)
{
    static const struct {
        const char *line;
        int code;
    } lines[] = {
        { "NOOP", 250 }, { "VRFY bob", 252 }, { "EXPN list", 502 },  { "HELP", 214 }, { "WHAT", 500 },
        { "", 500 },     { "DATA now", 501 }, { "STARTTLS x", 501 }, { "VRFY", 501 }, { "NOOP \x01", 501 },
    };
    size_t i = dice(ARRAY_LEN(lines));
    send_line(m, lines[i].line);
    expect_code(m, lines[i].code);
}

static void do_starttls(struct model *m)
{
    send_line(m, "STARTTLS");
    if (m->mail || m->tls) {
        expect_code(m, 503);
        return;
    }
    expect_code(m, 220);
    m->tls = true;
    m->helo = m->esmtp = m->authenticated = false;
}

static void do_auth(struct model *m)
{
    bool good = dice(2);
    send_line(m, good ? "AUTH PLAIN AGFsaWNlQHBvc3Rob3VzZS50ZXN0AHNlY3JldC1hbGljZQ==" : "AUTH PLAIN AGEAYg==");
    if (m->mail) {
        expect_code(m, 503);
    } else if (!m->tls) {
        expect_code(m, 538);
    } else if (!m->esmtp || m->authenticated) {
        expect_code(m, 503);
    } else {
        expect_code(m, good ? 235 : 535);
        m->authenticated = good;
    }
}

static void do_quit(struct model *m)
{
    send_line(m, "QUIT");
    expect_code(m, 221);
    m->closed = true;
}

static void compose(struct model *m)
{
    static void (*const moves[])(struct model *) = {
        do_helo, do_helo, do_bad_helo, do_mail, do_mail, do_mail, do_rcpt,   do_rcpt,     do_rcpt, do_rcpt,
        do_data, do_data, do_bdat,     do_bdat, do_bdat, do_rset, do_simple, do_starttls, do_auth, do_auth,
    };
    size_t n = 1 + dice(COMMANDS_MAX - 1);
    expect_code(m, 220);
    for (size_t i = 0; i < n; ++i)
        moves[dice(ARRAY_LEN(moves))](m);
    if (dice(2))
        do_quit(m);
}

static void compare(const struct model *m, const struct play *p, size_t run)
{
    str out = buf_str(&p->out);
    size_t n = 0;
    while (out.n > 0) {
        str line = str_cut(&out, '\n');
        uint64_t code = 0;
        if (line.n < 4 || str_u64(str_first(line, 3), 999, &code) < 0)
            fail_msg("run %zu: reply '%.*s'", run, STR_ARG(line));
        if (line.p[3] == '-')
            continue;
        if (n == m->n || (int)code != m->codes[n])
            fail_msg("run %zu, reply %zu: %d, the model says %d\ninput:\n%.*s\noutput:\n%.*s", run, n, (int)code,
                     n < m->n ? m->codes[n] : 0, STR_ARG(buf_str(&m->input)), STR_ARG(buf_str(&p->out)));
        ++n;
    }
    if (n != m->n || p->messages != m->messages || p->closed != m->closed)
        fail_msg("run %zu: %zu replies of %zu, %zu messages of %u\n%.*s", run, n, m->n, p->messages, m->messages,
                 STR_ARG(buf_str(&m->input)));
}

static void test_engine_is_the_model(void **state)
{
    (void)state;
    struct smtp_server_config config = play_config;
    uint64_t runs = 100000;
    str_u64(str_z(getenv("SMTP_MODEL_RUNS")), UINT32_MAX, &runs);
    config.auth = true;
    config.limits = (struct smtp_limits){ .line_max = 512, .recipients_max = 3, .size_max = 30 };
    for (size_t run = 0; run < runs; ++run) {
        struct model m = { .input = BUF(10000) };
        struct play p;
        compose(&m);
        play_init(&p, &config);
        p.tls_at_once = true;
        play_feed(&p, STR_NONE);
        uint32_t step = dice(3) ? 1 + dice(40) : 10000;
        for (size_t i = 0; i < m.input.n; i += step)
            play_feed(&p, str_first(str_from(buf_str(&m.input), i), step));
        compare(&m, &p, run);
        play_done(&p);
        buf_done(&m.input);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_engine_is_the_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
