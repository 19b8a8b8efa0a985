/* The SMTP client engine, its session: see smtp_client.h. Transactions are in smtp_client_mail.c.
 *
 * Invariants
 * 1. `stage` says whose answer the next reply is; in a pipelined group smtp_client_mail.c counts along.
 * 2. Results, DONE and END come in this order, each once: next() gives what is due before it reads on.
 * 3. The text of a verdict points into the reader, which reads nothing while one is due. */
#include "proto/smtp_client.h"
#include <errno.h>
#include "base/codec.h"
#include "proto/smtp_client_engine.h"

str smtp_client_stage_text(enum smtp_client_stage stage)
{
    static const str text[SMTP_STAGES] = {
        [SMTP_STAGE_CONNECT] = S("connecting"),
        [SMTP_STAGE_GREETING] = S("connection"),
        [SMTP_STAGE_HELO] = S("EHLO"),
        [SMTP_STAGE_STARTTLS] = S("STARTTLS"),
        [SMTP_STAGE_TLS] = S("TLS handshake"),
        [SMTP_STAGE_AUTH] = S("AUTH"),
        [SMTP_STAGE_IDLE] = S("waiting"),
        [SMTP_STAGE_MAIL] = S("MAIL FROM"),
        [SMTP_STAGE_RCPT] = S("RCPT TO"),
        [SMTP_STAGE_DATA] = S("DATA"),
        [SMTP_STAGE_CONTENT] = S("message content"),
        [SMTP_STAGE_FINAL] = S("end of message"),
        [SMTP_STAGE_RSET] = S("RSET"),
        [SMTP_STAGE_QUIT] = S("QUIT"),
    };
    return stage < SMTP_STAGES ? text[stage] : STR_NONE;
}

void smtp_client_await(struct smtp_client *c, enum smtp_client_stage stage)
{
    c->stage = stage;
    c->progress++;
}

struct smtp_client_reply smtp_client_reply_read(const struct smtp_client *c)
{
    return (struct smtp_client_reply){
        .code = c->reader.code,
        .status = smtp_reply_reader_status(&c->reader),
        .text = buf_str(&c->reader.text),
        .stage = c->stage,
    };
}

static void end(struct smtp_client *c, enum smtp_client_why why, struct smtp_client_reply reply)
{
    if (c->ended)
        return;
    c->ended = true;
    c->end = (struct smtp_client_end){ .why = why, .reply = reply };
    bool can_talk = why == SMTP_END_REPLY || why == SMTP_END_TLS || why == SMTP_END_AUTH;
    if (can_talk && reply.code != 421 && c->stage != SMTP_STAGE_CONTENT && c->stage != SMTP_STAGE_QUIT)
        buf_add(&c->out, S("QUIT\r\n"));
}

void smtp_client_end_reply(struct smtp_client *c, enum smtp_client_why why)
{
    end(c, why, smtp_client_reply_read(c));
}

void smtp_client_end_words(struct smtp_client *c, enum smtp_client_why why, str status, str text)
{
    end(c, why, (struct smtp_client_reply){ .status = status, .text = text, .stage = smtp_client_phase(c) });
}

static void protocol_error(struct smtp_client *c)
{
    smtp_client_end_words(c, SMTP_END_PROTOCOL, S("4.5.0"), S("the other server's reply is not one of SMTP"));
}

struct smtp_client *smtp_client_new(const struct smtp_client_config *config)
{
    struct smtp_client *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->config = *config;
    c->reader = smtp_reply_reader_begin();
    c->out = BUF(OUTPUT_MAX);
    c->scratch = BUF(AUTH_REPLY_MAX);
    c->stage = SMTP_STAGE_GREETING;
    c->tls = config->tls;
    return c;
}

void smtp_client_free(struct smtp_client *c)
{
    if (!c)
        return;
    smtp_reply_reader_done(&c->reader);
    if (c->scratch.p)
        explicit_bzero(c->scratch.p, c->scratch.cap);
    buf_done(&c->out);
    buf_done(&c->scratch);
    sasl_client_free(c->sasl);
    smtp_client_tx_done(&c->tx);
    free(c);
}

/* Session */

static void say_hello(struct smtp_client *c)
{
    str verb = c->config.lmtp ? S("LHLO ") : c->helo ? S("HELO ") : S("EHLO ");
    buf_add(&c->out, verb);
    buf_add(&c->out, c->config.hostname);
    buf_add(&c->out, S("\r\n"));
    c->caps = (struct smtp_client_caps){ .esmtp = !c->helo };
    smtp_client_await(c, SMTP_STAGE_HELO);
}

static void say_line(struct smtp_client *c, str verb, str message, bool has)
{
    buf_clear(&c->scratch);
    base64_encode(&c->scratch, message);
    buf_add(&c->out, verb);
    if (verb.n > 0 && has)
        buf_addc(&c->out, ' ');
    if (verb.n > 0 && has && message.n == 0)
        buf_addc(&c->out, '=');
    buf_add(&c->out, buf_str(&c->scratch));
    buf_add(&c->out, S("\r\n"));
    if (c->scratch.failed)
        c->out.failed = c->scratch.failed;
    smtp_client_await(c, SMTP_STAGE_AUTH);
}

static enum sasl_client_mechanism choose(const struct smtp_client_caps *caps)
{
    return caps->auth_scram256 ? SASL_CLIENT_SCRAM_SHA_256
           : caps->auth_plain  ? SASL_CLIENT_PLAIN
           : caps->auth_login  ? SASL_CLIENT_LOGIN
                               : SASL_CLIENT_NONE;
}

static void begin_auth(struct smtp_client *c)
{
    enum sasl_client_mechanism m = choose(&c->caps);
    str first = STR_NONE;
    if (!c->tls && !c->config.auth_in_clear) {
        smtp_client_end_words(c, SMTP_END_AUTH, S("4.7.11"), S("a password is not sent without TLS"));
        return;
    }
    if (m == SASL_CLIENT_NONE) {
        smtp_client_end_words(c, SMTP_END_AUTH, S("4.7.4"),
                              S("the other server offers no way to log in that is known here"));
        return;
    }
    c->sasl = sasl_client_new(m, c->config.user, c->config.secret, c->config.nonce);
    if (!c->sasl) {
        smtp_client_end_words(c, SMTP_END_AUTH, S("4.7.4"), S("these credentials cannot be used to log in"));
        return;
    }
    bool has = sasl_client_first(c->sasl, &first);
    buf_add(&c->out, S("AUTH "));
    say_line(c, sasl_client_name(m), first, has);
}

static void hello_done(struct smtp_client *c)
{
    bool want_tls = !c->tls && (c->config.starttls || c->config.starttls_required);
    if (want_tls && c->caps.starttls) {
        buf_add(&c->out, S("STARTTLS\r\n"));
        smtp_client_await(c, SMTP_STAGE_STARTTLS);
    } else if (want_tls && c->config.starttls_required) {
        smtp_client_end_words(c, SMTP_END_TLS, S("4.7.4"), S("TLS is required here, and the other server offers none"));
    } else if (c->config.user.n > 0 && !c->authenticated) {
        begin_auth(c);
    } else {
        smtp_client_await(c, SMTP_STAGE_IDLE);
    }
}

static void hello_reply(struct smtp_client *c)
{
    unsigned class = c->reader.code / 100;
    if (class == 2) {
        if (!c->helo && c->reader.lines > 1)
            smtp_client_caps_line(&c->caps, smtp_reply_reader_line(&c->reader));
        hello_done(c);
    } else if (class == 5 && !c->helo && !c->config.lmtp) {
        c->helo = true; /* RFC 5321 3.2 */
        say_hello(c);
    } else {
        smtp_client_end_reply(c, SMTP_END_REPLY);
    }
}

static void auth_challenge(struct smtp_client *c)
{
    str answer = STR_NONE;
    _cleanup_buf_ struct buf challenge = BUF(SASL_CLIENT_MESSAGE_MAX);
    bool read = base64_decode(&challenge, str_trim(smtp_reply_reader_line(&c->reader))) == 0;
    if (!c->auth_cancelled && read && sasl_client_next(c->sasl, buf_str(&challenge), &answer)) {
        say_line(c, STR_NONE, answer, true);
        return;
    }
    if (c->auth_cancelled) {
        protocol_error(c);
        return;
    }
    c->auth_cancelled = true;
    buf_add(&c->out, S("*\r\n")); /* RFC 4954 4 */
    smtp_client_await(c, SMTP_STAGE_AUTH);
}

static void auth_reply(struct smtp_client *c)
{
    str why = sasl_client_why(c->sasl);
    if (c->reader.code == 334) {
        auth_challenge(c);
    } else if (c->auth_cancelled) {
        smtp_client_end_words(c, SMTP_END_AUTH, S("4.7.0"),
                              why.n > 0 ? why : S("the server's challenge is not base64"));
    } else if (c->reader.code / 100 != 2) {
        smtp_client_end_reply(c, SMTP_END_AUTH);
    } else if (!sasl_client_ok(c->sasl)) {
        smtp_client_end_words(c, SMTP_END_AUTH, S("4.7.0"),
                              S("the server could not prove that it knows the password"));
    } else {
        c->authenticated = true;
        sasl_client_free(TAKE(c->sasl));
        smtp_client_await(c, SMTP_STAGE_IDLE);
    }
}

static void greeting(struct smtp_client *c)
{
    if (c->reader.code / 100 == 2)
        say_hello(c);
    else
        smtp_client_end_reply(c, SMTP_END_REPLY);
}

static void starttls_reply(struct smtp_client *c)
{
    if (c->reader.code == 220)
        smtp_client_await(c, SMTP_STAGE_TLS);
    else
        smtp_client_end_reply(c, SMTP_END_TLS);
}

static void rset_reply(struct smtp_client *c)
{
    c->rset_due = false;
    if (c->reader.code / 100 == 2)
        smtp_client_await(c, SMTP_STAGE_IDLE);
    else
        smtp_client_end_reply(c, SMTP_END_REPLY);
}

/* A whole reply was read. */
static void take_reply(struct smtp_client *c)
{
    c->progress++;
    if (c->reader.code == 421 && c->stage != SMTP_STAGE_QUIT) {
        struct smtp_client_reply reply = smtp_client_reply_read(c);
        reply.stage = smtp_client_phase(c);
        end(c, SMTP_END_REPLY, reply);
        return;
    }
    switch (c->stage) {
    case SMTP_STAGE_GREETING: greeting(c); return;
    case SMTP_STAGE_HELO: hello_reply(c); return;
    case SMTP_STAGE_STARTTLS: starttls_reply(c); return;
    case SMTP_STAGE_AUTH: auth_reply(c); return;
    case SMTP_STAGE_RSET: rset_reply(c); return;
    case SMTP_STAGE_QUIT: smtp_client_end_reply(c, SMTP_END_QUIT); return;
    case SMTP_STAGE_MAIL:
    case SMTP_STAGE_RCPT:
    case SMTP_STAGE_DATA:
    case SMTP_STAGE_CONTENT:
    case SMTP_STAGE_FINAL: smtp_client_mail_reply(c); return;
    default: /* it speaks unasked: "451 timed out" is heard before a connection is closed */
        if (c->reader.code >= 400)
            smtp_client_end_reply(c, SMTP_END_REPLY);
        else
            protocol_error(c);
        return;
    }
}

/* What is due before anything more is read. */
static bool due(struct smtp_client *c, struct smtp_client_event *out)
{
    if (smtp_client_result(c, out))
        return true;
    if (c->tx.mail && c->ended && !c->tx.over) {
        c->tx.over = true;
        smtp_client_decide(c, &c->end.reply, 0, c->tx.mail->n, RCPT_OPEN | RCPT_ACCEPTED);
        return smtp_client_result(c, out) || due(c, out);
    }
    if (c->tx.mail && c->tx.over) {
        smtp_client_tx_done(&c->tx);
        c->transactions++;
        out->kind = SMTP_CLIENT_DONE;
        if (c->rset_due && !c->ended) {
            buf_add(&c->out, S("RSET\r\n"));
            smtp_client_await(c, SMTP_STAGE_RSET);
        } else {
            smtp_client_await(c, SMTP_STAGE_IDLE);
        }
        return true;
    }
    if (!c->ended)
        return false;
    out->kind = SMTP_CLIENT_END;
    out->end = c->end;
    return true;
}

/* The input is used up. False: something happened all the same. */
static bool waiting(struct smtp_client *c, struct smtp_client_event *out)
{
    if (c->lost) {
        bool quit = c->stage == SMTP_STAGE_QUIT;
        smtp_client_end_words(c, quit ? SMTP_END_QUIT : SMTP_END_LOST, S("4.4.2"), str_z(c->lost));
        return false;
    }
    if (c->stage == SMTP_STAGE_IDLE && c->out.n == 0)
        buf_release(&c->out); /* idle connections are many */
    bool content = c->stage == SMTP_STAGE_CONTENT && c->out.n <= SMTP_CLIENT_PIECE_MAX;
    out->kind = content                          ? SMTP_CLIENT_NEED_CONTENT
                : c->stage == SMTP_STAGE_TLS     ? SMTP_CLIENT_NEED_TLS
                : c->stage == SMTP_STAGE_IDLE    ? SMTP_CLIENT_READY
                                                 : SMTP_CLIENT_NEED_INPUT;
    return true;
}

/* Reads up to the end of one line. False: the input is used up, and *out says for what it waits. */
static bool read_line(struct smtp_client *c, str in, size_t *out_used, struct smtp_client_event *out)
{
    size_t n = 0;
    if (c->stage == SMTP_STAGE_TLS) { /* RFC 3207 4.2: nobody can know who put it there */
        if (in.n == *out_used)
            return !waiting(c, out);
        smtp_client_end_words(c, SMTP_END_TLS, S("4.7.5"), S("clear text followed the reply to STARTTLS"));
        return true;
    }
    enum smtp_reply_read read = smtp_reply_reader_feed(&c->reader, str_from(in, *out_used), &n);
    *out_used += n;
    switch (read) {
    case SMTP_REPLY_MORE: return !waiting(c, out);
    case SMTP_REPLY_WHOLE: take_reply(c); return true;
    case SMTP_REPLY_BAD: protocol_error(c); return true;
    case SMTP_REPLY_LINE:
        if (c->stage == SMTP_STAGE_HELO && !c->helo && c->reader.lines > 1)
            smtp_client_caps_line(&c->caps, smtp_reply_reader_line(&c->reader));
        return true;
    }
    return true;
}

void smtp_client_next(struct smtp_client *c, str in, size_t *out_used, struct smtp_client_event *out)
{
    *out_used = 0;
    *out = (struct smtp_client_event){ 0 };
    do {
        if (c->out.failed)
            smtp_client_end_words(c, SMTP_END_MEMORY, S("4.3.0"), S("no memory left here"));
        if (due(c, out))
            return;
        smtp_client_pump(c);
    } while (c->out.failed || read_line(c, in, out_used, out));
}

struct buf *smtp_client_output(struct smtp_client *c)
{
    return &c->out;
}

void smtp_client_tls_started(struct smtp_client *c)
{
    if (c->stage != SMTP_STAGE_TLS)
        return;
    c->tls = true;
    say_hello(c);
}

void smtp_client_quit(struct smtp_client *c)
{
    if (c->stage != SMTP_STAGE_IDLE || c->ended || c->tx.mail)
        return;
    buf_add(&c->out, S("QUIT\r\n"));
    smtp_client_await(c, SMTP_STAGE_QUIT);
}

void smtp_client_lost(struct smtp_client *c, const char *why)
{
    if (!c->lost)
        c->lost = why;
}

void smtp_client_abort(struct smtp_client *c, const char *why)
{
    smtp_client_end_words(c, SMTP_END_LOST, S("4.3.0"), str_z(why));
}

const struct smtp_client_caps *smtp_client_caps(const struct smtp_client *c)
{
    return &c->caps;
}

bool smtp_client_reusable(const struct smtp_client *c)
{
    return !c->ended && !c->lost && (c->caps.mail_max == 0 || c->transactions < c->caps.mail_max);
}

bool smtp_client_ended(const struct smtp_client *c)
{
    return c->ended;
}

uint32_t smtp_client_progress(const struct smtp_client *c)
{
    return c->progress;
}
