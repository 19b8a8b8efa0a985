/* The SMTP client against a model of a server that answers by dice: whatever it answers, each recipient has the outcome
 * that follows from the replies, transactions never overlap, and the content that arrives is the one that was sent. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include "proto/smtp_client_play.h"

enum { RCPTS = 6, SESSIONS = 4000 };

static const struct smtp_client_rcpt rcpts[RCPTS] = {
    { .address = { "0@example.org", 13 } }, { .address = { "1@example.org", 13 } },
    { .address = { "2@example.org", 13 } }, { .address = { "3@example.org", 13 } },
    { .address = { "4@example.org", 13 } }, { .address = { "5@example.org", 13 } },
};
static const str content = { "Subject: x\r\n\r\n.\r\n..two\r\nend\r\n", 29 };

static uint32_t seed;
static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 16) % sides;
}

struct model {
    bool pipelining, chunking, lmtp, dsn;
    bool greeted;
    /* the transaction */
    bool open, in_data;
    size_t chunk;
    unsigned rcpts, accepted;
    int mail, rcpt[RCPTS], data, final[RCPTS];
    unsigned too_many_from[RCPTS]; /* accepted before this recipient */
    struct buf body;
    bool refuse_late; /* DATA without a recipient: 354 all the same */
    struct buf in, out;
};

static void reply(struct model *m, int code)
{
    if (dice(3) == 0)
        buf_addf(&m->out, "%d-more\r\n", code);
    buf_addf(&m->out, "%d text\r\n", code);
}

static int choose(int good, int later, int never)
{
    uint32_t d = dice(6);
    return d < 4 ? good : d == 4 ? later : never;
}

static void roll(struct model *m)
{
    m->mail = choose(250, 451, 550);
    m->data = choose(354, 451, 554);
    for (int i = 0; i < RCPTS; ++i) {
        static const int codes[] = { 250, 250, 251, 450, 550, 452, 552 };
        m->rcpt[i] = codes[dice(7)];
        m->final[i] = choose(250, 452, 554);
        if (!m->lmtp)
            m->final[i] = m->final[0];
    }
    m->rcpts = m->accepted = 0;
    m->refuse_late = !m->lmtp && dice(2);
    buf_clear(&m->body);
}

static void content_over(struct model *m)
{
    m->open = m->in_data = false;
    for (unsigned i = 0, n = 0; i < RCPTS && n < m->accepted; ++i)
        if (m->rcpt[i] / 100 == 2) {
            reply(m, m->final[i]);
            n = m->lmtp ? n + 1 : m->accepted;
        }
    if (m->accepted == 0)
        reply(m, 554);
}

static void command(struct model *m, str line)
{
    if (str_starts(line, S("EHLO ")) || str_starts(line, S("LHLO "))) {
        buf_addf(&m->out, "250-mx\r\n%s%s%s250 SIZE\r\n", m->pipelining ? "250-PIPELINING\r\n" : "",
                 m->chunking ? "250-CHUNKING\r\n" : "", m->dsn ? "250-DSN\r\n" : "");
    } else if (str_starts(line, S("MAIL FROM:<me@example.net> SIZE="))) {
        assert_false(m->open);
        m->open = m->mail == 250;
        reply(m, m->mail);
    } else if (str_starts(line, S("RCPT TO:<"))) {
        assert_int_equal(line.p[9], '0' + (int)m->rcpts);
        m->too_many_from[m->rcpts] = m->accepted;
        m->accepted += m->open && m->rcpt[m->rcpts] / 100 == 2;
        reply(m, m->open ? m->rcpt[m->rcpts] : 503);
        m->rcpts++;
    } else if (str_eq(line, S("DATA"))) {
        bool go = m->accepted ? m->data == 354 : m->refuse_late;
        m->in_data = go;
        reply(m, go ? 354 : m->accepted ? m->data : 503);
    } else if (str_starts(line, S("BDAT "))) {
        assert_true(m->chunking && m->accepted > 0);
        assert_true(str_eq(line, S("BDAT 29 LAST")));
        m->chunk = content.n;
    } else if (str_eq(line, S("RSET"))) {
        m->open = false;
        reply(m, 250);
    } else {
        assert_true(str_eq(line, S("QUIT")));
        reply(m, 221);
    }
}

static void content_line(struct model *m, str line)
{
    if (str_eq(line, S("."))) {
        content_over(m);
        return;
    }
    buf_add(&m->body, str_from(line, line.n > 0 && line.p[0] == '.'));
    buf_add(&m->body, S("\r\n"));
}

static void serve(struct model *m, str said)
{
    buf_add(&m->in, said);
    if (!m->greeted)
        buf_add(&m->out, S("220 mx\r\n"));
    m->greeted = true;
    for (;;) {
        if (m->chunk > 0) {
            str part = str_first(buf_str(&m->in), m->chunk);
            buf_add(&m->body, part);
            m->chunk -= part.n;
            buf_drop(&m->in, part.n);
            if (m->chunk > 0 || part.n == 0)
                return;
            content_over(m);
        }
        ptrdiff_t end = str_find(buf_str(&m->in), S("\r\n"));
        if (end < 0)
            return;
        str line = str_first(buf_str(&m->in), (size_t)end);
        if (m->in_data)
            content_line(m, line);
        else
            command(m, line);
        buf_drop(&m->in, (size_t)end + 2);
    }
}

static const char *outcome(const struct model *m, unsigned i)
{
    int code = m->mail;
    bool accepted = code == 250 && m->rcpt[i] / 100 == 2;
    if (code == 250)
        code = m->rcpt[i];
    if (accepted && !m->chunking)
        code = m->data == 354 ? m->final[i] : m->data;
    else if (accepted)
        code = m->final[i];
    if (m->mail == 250 && (code == 452 || code == 552) && !accepted && m->too_many_from[i] > 0)
        return "deferred too-many";
    return code / 100 == 2 ? (m->dsn ? "relayed " : "relayed-no-dsn ") : code / 100 == 4 ? "deferred " : "failed ";
}

static void run(struct client_play *p, struct model *m)
{
    do {
        client_play_run(p);
        serve(m, client_said(p));
        str out = buf_str(&m->out);
        size_t n = out.n > 0 ? 1 + dice((uint32_t)out.n) : 0;
        struct buf part = BUF(1 << 16);
        buf_add(&part, str_first(out, n));
        buf_drop(&m->out, n);
        client_play_feed(p, buf_str(&part));
        buf_done(&part);
        if (p->last.kind == SMTP_CLIENT_NEED_CONTENT) {
            size_t cut = dice((uint32_t)content.n);
            assert_true(m->accepted > 0 && m->out.n == 0);
            smtp_client_content(p->c, str_first(content, cut), false);
            smtp_client_content(p->c, str_from(content, cut), true);
            client_play_run(p);
        }
    } while (m->out.n > 0 || p->said.n > p->said_before);
}

static void check(struct client_play *p, struct model *m, unsigned n)
{
    unsigned results = 0;
    bool over = false, sent = false;
    for (str log = buf_str(&p->log); log.n > 0;) {
        str line = str_cut(&log, '\n');
        assert_false(over);
        over = str_eq(line, S("DONE"));
        if (!str_starts(line, S("RESULT ")))
            continue;
        unsigned i = (unsigned)(line.p[7] - '0');
        const char *should = outcome(m, i);
        if (!str_starts(str_from(line, 9), str_z(should)))
            print_error("seed %u: %.*s, should be %s\n", seed, STR_ARG(line), should);
        assert_true(str_starts(str_from(line, 9), str_z(should)));
        sent |= str_starts(str_z(should), S("relayed"));
        results++;
    }
    assert_true(over);
    assert_int_equal(results, n);
    assert_true(!sent || str_eq(buf_str(&m->body), content));
    buf_clear(&p->log);
}

static void session(void)
{
    struct model m = { .pipelining = dice(2), .chunking = dice(2), .lmtp = dice(2), .dsn = dice(2) };
    struct smtp_client_config config = { .hostname = S("out.test"), .lmtp = m.lmtp };
    struct client_play p;
    m.in = m.out = m.body = BUF(1 << 16);
    client_play_init(&p, &config, 1 + dice(40));
    run(&p, &m);
    for (int i = 0; i < 4; ++i) {
        struct smtp_client_mail mail = {
            .sender = S("me@example.net"), .size = content.n, .exact = true, .rcpts = rcpts, .n = 1 + dice(RCPTS),
        };
        roll(&m);
        assert_int_equal(p.last.kind, SMTP_CLIENT_READY);
        assert_int_equal(smtp_client_send(p.c, &mail), 0);
        run(&p, &m);
        check(&p, &m, mail.n);
    }
    smtp_client_quit(p.c);
    run(&p, &m);
    assert_int_equal(p.last.kind, SMTP_CLIENT_END);
    assert_int_equal(p.last.end.why, SMTP_END_QUIT);
    client_play_done(&p);
    buf_done(&m.in);
    buf_done(&m.out);
    buf_done(&m.body);
}

static void test_sessions(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SESSIONS; ++i) {
        seed = i;
        session();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_sessions) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
