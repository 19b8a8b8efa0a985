/* The server's side of SMTP: see smtp_server.h.
 *
 * Invariants:
 * 1. A mail transaction is one object, `tx`; it ends in smtp_transaction_end() alone, which zeroes it whole.
 * 2. While `wait` is set nothing of the input is used; only smtp_server_reply and its like clear it.
 * 3. Every octet that a BDAT command announced is used up as content, accepted or not, or the session is closed:
 * content is never read as commands (RFC 3030 2).
 * 4. What the engine throws away (long lines, refused content) is counted and has a ceiling. */
#include "proto/smtp_engine.h"
#include "base/codec.h"

struct smtp_server *smtp_server_new(const struct smtp_server_config *config)
{
    struct smtp_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->config = config;
    s->mechanisms = config->auth_mechanisms;
    s->out = BUF(config->lmtp ? OUTPUT_LMTP_MAX : OUTPUT_MAX);
    s->scratch = BUF(AUTH_LINE_MAX);
    s->farewell = BUF(4096);
    return s;
}

/* AUTH responses hold passwords. */
static void scratch_wipe(struct smtp_server *s)
{
    if (s->scratch.p)
        explicit_bzero(s->scratch.p, s->scratch.cap);
    buf_release(&s->scratch);
}

void smtp_server_free(struct smtp_server *s)
{
    if (!s)
        return;
    scratch_wipe(s);
    buf_done(&s->out);
    buf_done(&s->farewell);
    free(s);
}

void smtp_write_reply(struct smtp_server *s, int code, str enhanced, str text)
{
    _cleanup_buf_ struct buf line = BUF(OUTPUT_MAX);
    if (code == 421 && !str_starts(text, s->config->hostname)) { /* RFC 5321 4.2.3: 421 <domain> ... */
        buf_addf(&line, "%.*s %.*s", STR_ARG(s->config->hostname), STR_ARG(text));
        text = buf_str(&line);
    }
    smtp_reply_write(&s->out, code, enhanced, text, s->tx.smtputf8);
    if (code >= 400)
        ++s->errors;
    if (code == 421 || code == 521)
        s->mode = CLOSED;
}

void smtp_say(struct smtp_server *s, enum smtp_reply_id id)
{
    smtp_write_reply(s, smtp_canned[id].code, smtp_canned[id].enhanced, smtp_canned[id].text);
}

void smtp_say_times(struct smtp_server *s, enum smtp_reply_id id, uint32_t times)
{
    uint32_t errors = s->errors;
    for (; times > 0 && s->mode != CLOSED; --times)
        smtp_say(s, id);
    s->errors = MIN(s->errors, errors + 1);
}

uint32_t smtp_replies_at_end(const struct smtp_server *s, bool last)
{
    return s->config->lmtp && last ? s->tx.recipients : 1;
}

void smtp_transaction_end(struct smtp_server *s, bool tell)
{
    s->reset_due = tell && s->tx.open;
    s->tx = (struct smtp_transaction){ 0 };
}

bool smtp_ask(struct smtp_server *s, enum smtp_wait wait, enum smtp_event_kind kind, struct smtp_event *ev)
{
    s->wait = wait;
    ev->kind = kind;
    ev->early = s->early;
    return true;
}

bool smtp_answer(struct smtp_server *s, enum smtp_reply_id id)
{
    smtp_say(s, id);
    return false;
}

uint64_t smtp_discard_max(const struct smtp_server *s)
{
    uint64_t size_max = s->config->limits.size_max;
    return size_max < UINT64_MAX - DISCARD_EXTRA_MAX ? size_max + DISCARD_EXTRA_MAX : UINT64_MAX;
}

/* base64 into the scratch buffer, of full size at once: no copy of a password is left behind by realloc. */
enum smtp_reply_id smtp_decode_response(struct smtp_server *s, str text)
{
    int r = buf_reserve(&s->scratch, text.n);
    r = r < 0 ? r : base64_decode(&s->scratch, text);
    return r == 0 ? SMTP_REPLY_NONE : s->scratch.failed ? SMTP_REPLY_NO_MEMORY : SMTP_REPLY_BAD_BASE64;
}

static bool need_input(struct smtp_event *ev)
{
    ev->kind = SMTP_NEED_INPUT;
    return true;
}

/* Lines */

enum taken { LINE_READY, LINE_MORE, LINE_LONG };

/* The next line without its end. CR LF ends it; a bare LF too, as typed by hand, but no mail client sends that. */
static enum taken take_line(struct smtp_server *s, str in, size_t *used, str *out)
{
    uint32_t line_max = s->config->limits.line_max ? s->config->limits.line_max : 2048;
    bool auth = s->mode == AUTH_LINE || str_istarts(in, S("AUTH "));
    size_t limit = auth ? MAX(AUTH_LINE_MAX, line_max) : line_max;
    ptrdiff_t lf = str_chr(str_first(in, limit), '\n');
    if (lf < 0 && in.n < limit)
        return LINE_MORE;
    if (lf < 0) {
        s->auth_long = auth;
        s->line_discarded = 0;
        return LINE_LONG;
    }
    *used = (size_t)lf + 1;
    *out = str_first(in, (size_t)lf);
    if (str_ends(*out, S("\r")))
        --out->n;
    else
        s->early = true;
    return LINE_READY;
}

static bool step_connect(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    (void)used;
    s->early = in.n > 0;
    return smtp_ask(s, WAIT_CONNECT, SMTP_CONNECT, ev);
}

static bool step_command(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    str line = STR_NONE;
    if (!s->spoke && !s->tls && in.n > 0 && in.p[0] == 0x16) /* a TLS record of type handshake */
        return smtp_answer(s, SMTP_REPLY_TLS_HELLO);
    switch (take_line(s, in, used, &line)) {
    case LINE_MORE:
        return need_input(ev);
    case LINE_LONG:
        s->mode = LONG_LINE;
        return false;
    default:
        s->spoke = true;
        return smtp_command(s, line, in.n > *used, ev);
    }
}

/* The exchange is over and answered; the owner only has to forget it. */
static bool auth_over(struct smtp_server *s, enum smtp_reply_id id, struct smtp_event *ev)
{
    s->mode = COMMAND;
    smtp_say(s, id);
    ev->kind = SMTP_AUTH_RESPONSE;
    ev->cancelled = true;
    return true;
}

static bool step_auth_line(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    str line = STR_NONE;
    switch (take_line(s, in, used, &line)) {
    case LINE_MORE:
        return need_input(ev);
    case LINE_LONG:
        s->mode = LONG_LINE;
        s->auth_exchange = true;
        return false;
    default:
        break;
    }
    if (in.n > *used)
        s->early = true;
    if (str_eq(line, S("*")))
        return auth_over(s, SMTP_REPLY_AUTH_CANCELLED, ev);
    enum smtp_reply_id bad = smtp_decode_response(s, line);
    if (bad)
        return auth_over(s, bad, ev);
    s->mode = COMMAND;
    ev->data = buf_str(&s->scratch);
    ev->has_data = true;
    return smtp_ask(s, WAIT_AUTH, SMTP_AUTH_RESPONSE, ev);
}

static bool step_long_line(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    if (in.n == 0)
        return need_input(ev);
    ptrdiff_t lf = str_chr(in, '\n');
    *used = lf < 0 ? in.n : (size_t)lf + 1;
    if (*used > DISCARD_LINE_MAX - s->line_discarded)
        return smtp_answer(s, SMTP_REPLY_TOO_MUCH_DISCARDED);
    s->line_discarded += (uint32_t)*used;
    if (lf < 0)
        return false;
    s->mode = COMMAND;
    if (s->auth_exchange) {
        s->auth_exchange = false;
        return auth_over(s, SMTP_REPLY_AUTH_TOO_LONG, ev);
    }
    return smtp_answer(s, s->auth_long ? SMTP_REPLY_AUTH_TOO_LONG : SMTP_REPLY_LINE_TOO_LONG);
}

/* Content */

static bool content_over(struct smtp_server *s, struct smtp_event *ev)
{
    s->replies = smtp_replies_at_end(s, s->mode == DATA || s->chunk_last);
    s->mode = COMMAND;
    if (!s->tx.refused)
        return smtp_ask(s, WAIT_CONTENT, SMTP_CONTENT_END, ev);
    smtp_say_times(s, s->tx.refused, s->replies);
    smtp_transaction_end(s, false);
    return false;
}

static void content_refuse(struct smtp_server *s, enum smtp_reply_id id)
{
    if (s->tx.refused)
        return;
    s->tx.refused = id;
    s->reset_due = true;
}

static bool content_found(struct smtp_server *s, enum smtp_content_found found, str piece, struct smtp_event *ev)
{
    if (found == SMTP_CONTENT_DONE)
        return content_over(s, ev);
    if (found == SMTP_CONTENT_BARE)
        content_refuse(s, SMTP_REPLY_BARE_NEWLINE);
    if (s->tx.refused)
        s->tx.discarded += found == SMTP_CONTENT_BARE ? 1 : piece.n;
    if (found != SMTP_CONTENT_PIECE || s->tx.refused)
        return false;
    uint64_t room = s->config->limits.size_max - s->tx.received;
    if (piece.n > room) {
        content_refuse(s, SMTP_REPLY_TOO_LARGE);
        s->tx.discarded += piece.n - room;
        piece.n = (size_t)room;
    }
    s->tx.received += piece.n;
    ev->kind = SMTP_CONTENT;
    ev->data = piece;
    return piece.n > 0;
}

static bool chunk_over(struct smtp_server *s, struct smtp_event *ev)
{
    if (s->tx.refused)
        return content_over(s, ev);
    if (!s->chunk_last) {
        _cleanup_buf_ struct buf text = BUF(64);
        s->mode = COMMAND;
        buf_addu(&text, s->chunk_size);
        buf_add(&text, S(" octets received"));
        smtp_write_reply(s, 250, S("2.0.0"), buf_str(&text));
        return false;
    }
    str piece;
    enum smtp_content_found found = smtp_content_finish(&s->tx.content, &piece);
    return found == SMTP_CONTENT_MORE ? content_over(s, ev) : content_found(s, found, piece, ev);
}

static bool step_content(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    str piece;
    if (s->tx.discarded >= smtp_discard_max(s)) {
        smtp_say(s, s->tx.refused);
        return smtp_answer(s, SMTP_REPLY_TOO_MUCH_DISCARDED);
    }
    if (s->mode == BDAT && s->chunk == 0)
        return chunk_over(s, ev);
    if (s->mode == BDAT && in.n > s->chunk)
        in.n = (size_t)s->chunk;
    if (in.n == 0)
        return need_input(ev);
    enum smtp_content_found found = smtp_content_next(&s->tx.content, in, used, &piece);
    if (s->mode == BDAT)
        s->chunk -= *used;
    return content_found(s, found, piece, ev);
}

static bool step_bdat_skip(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    *used = in.n < s->chunk ? in.n : (size_t)s->chunk;
    s->chunk -= *used;
    if (s->chunk > 0)
        return need_input(ev);
    s->mode = COMMAND;
    if (s->skip_reply)
        smtp_say_times(s, s->skip_reply, s->skip_replies);
    return false;
}

static bool step_closed(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    (void)s, (void)in, (void)used;
    ev->kind = SMTP_CLOSE;
    return true;
}

static bool (*const steps[MODES])(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev) = {
    [CONNECT] = step_connect, [COMMAND] = step_command, [LONG_LINE] = step_long_line, [AUTH_LINE] = step_auth_line,
    [DATA] = step_content,    [BDAT] = step_content,    [BDAT_SKIP] = step_bdat_skip, [CLOSED] = step_closed,
};

/* The waits during which an honest client sends nothing (RFC 2920 3.1). */
static bool waits_alone(enum smtp_wait wait)
{
    return wait == WAIT_CONNECT || wait == WAIT_HELO || wait == WAIT_EHLO || wait == WAIT_DATA;
}

static bool step(struct smtp_server *s, str in, size_t *used, struct smtp_event *ev)
{
    if (s->reset_due) {
        s->reset_due = false;
        ev->kind = SMTP_RESET;
        return true;
    }
    if (s->wait) {
        s->early |= in.n > 0 && waits_alone(s->wait);
        ev->kind = SMTP_NEED_REPLY;
        return true;
    }
    if (s->mode != CLOSED && s->out.n >= SMTP_OUTPUT_HIGH && !s->out.failed) {
        ev->kind = SMTP_NEED_DRAIN;
        return true;
    }
    uint32_t errors_max = s->config->limits.errors_max;
    if (s->mode != CLOSED && s->farewell.n > 0) {
        buf_add(&s->out, buf_str(&s->farewell));
        s->mode = CLOSED;
    } else if (s->mode != CLOSED && errors_max && !s->trusted && s->errors >= errors_max) {
        smtp_say(s, SMTP_REPLY_TOO_MANY_ERRORS);
    }
    if (s->out.failed)
        s->mode = CLOSED;
    return steps[s->mode](s, in, used, ev);
}

static void output_release(struct smtp_server *s)
{
    if (s->out.n == 0 && s->out.cap > OUTPUT_KEEP && !s->out.failed)
        buf_release(&s->out);
}

void smtp_server_next(struct smtp_server *s, str in, size_t *out_used, struct smtp_event *out)
{
    size_t total = 0;
    bool found = false;
    output_release(s);
    while (!found) {
        size_t used = 0;
        if (s->scratch.cap > 0 || s->scratch.failed)
            scratch_wipe(s);
        *out = (struct smtp_event){ 0 };
        found = step(s, str_from(in, total), &used, out);
        total += used;
    }
    *out_used = total;
}

struct buf *smtp_server_output(struct smtp_server *s)
{
    output_release(s);
    return &s->out;
}

/* Answers of the owner */

static void reply_connect(struct smtp_server *s, int code, str enhanced, str text)
{
    _cleanup_buf_ struct buf greeting = BUF(4096);
    s->mode = COMMAND;
    s->turned_away = code != 220;
    if (code == 220 && text.n == 0) {
        buf_addf(&greeting, "%.*s %sMTP Posthouse", STR_ARG(s->config->hostname), s->config->lmtp ? "L" : "ES");
        text = buf_str(&greeting);
    }
    smtp_write_reply(s, code, enhanced, text);
}

static void ehlo_list(const struct smtp_server *s, struct buf *text)
{
    const struct smtp_server_config *config = s->config;
    buf_add(text, config->hostname);
    buf_add(text, S("\nPIPELINING\nSIZE "));
    buf_addu(text, config->limits.size_max);
    buf_add(text, S("\n8BITMIME\nENHANCEDSTATUSCODES"));
    if (config->smtputf8)
        buf_add(text, S("\nSMTPUTF8"));
    if (config->chunking)
        buf_add(text, S("\nCHUNKING"));
    if (config->dsn)
        buf_add(text, S("\nDSN"));
    if (config->limits.recipients_max > 0 && config->limits.recipients_max <= RCPTMAX_MAX)
        buf_addf(text, "\nLIMITS RCPTMAX=%u", config->limits.recipients_max);
    if (config->starttls && !s->tls) /* RFC 3207 4.2: not again once it is on */
        buf_add(text, S("\nSTARTTLS"));
    if (config->auth && s->tls && s->mechanisms.n > 0) {
        buf_add(text, S("\nAUTH "));
        buf_add(text, s->mechanisms);
    }
    if (s->xclient)
        buf_add(text, S("\nXCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"));
    buf_add(text, S("\nHELP"));
}

static void reply_helo(struct smtp_server *s, bool esmtp, int code, str enhanced, str text)
{
    _cleanup_buf_ struct buf list = BUF(4096);
    if (code != 250) { /* RFC 5321 4.1.4: all stays as it was */
        smtp_write_reply(s, code, enhanced, text);
        return;
    }
    s->helo = true;
    s->esmtp = esmtp;
    smtp_transaction_end(s, true);
    if (esmtp)
        ehlo_list(s, &list);
    smtp_write_reply(s, 250, STR_NONE, esmtp ? buf_str(&list) : s->config->hostname);
}

static void reply_data(struct smtp_server *s, bool bdat, int code, str enhanced, str text)
{
    if (code != 354) {
        uint32_t times = smtp_replies_at_end(s, bdat && s->chunk_last), errors = s->errors + (code >= 400);
        if (bdat) {
            s->mode = BDAT_SKIP;
            s->skip_reply = SMTP_REPLY_NONE;
        }
        for (; times > 0 && s->mode != CLOSED; --times)
            smtp_write_reply(s, code, enhanced, text);
        s->errors = errors;
        smtp_transaction_end(s, true);
        return;
    }
    s->mode = bdat ? BDAT : DATA;
    s->tx.bdat = bdat;
    s->tx.content = smtp_content_begin(!bdat, s->config->normalize_newlines);
    if (!bdat)
        smtp_write_reply(s, 354, STR_NONE, text.n > 0 ? text : S("End data with <CR><LF>.<CR><LF>"));
}

/* Taken: as at the start, but for TLS, and for what the command itself says of HELO (as Postfix has it). */
static void reply_xclient(struct smtp_server *s, int code, str enhanced, str text)
{
    if (code != 220) {
        smtp_write_reply(s, code, enhanced, text);
        return;
    }
    s->mode = CONNECT;
    s->helo = s->xclient_helo;
    s->esmtp = s->xclient_esmtp;
    s->authenticated = s->early = false;
    s->errors = 0;
}

/* True: more replies to the same content are due. */
static bool reply_content(struct smtp_server *s, int code, str enhanced, str text)
{
    bool ok = code >= 200 && code < 300;
    smtp_write_reply(s, code, enhanced, text);
    if (ok)
        s->junk = 0;
    if (s->replies > 1 && s->mode != CLOSED) {
        --s->replies;
        s->errors -= code >= 400; /* one error a message is enough */
        return true;
    }
    smtp_transaction_end(s, false);
    return false;
}

uint32_t smtp_server_replies_due(const struct smtp_server *s)
{
    return s->wait == WAIT_CONTENT ? s->replies : s->wait != WAIT_NONE;
}

void smtp_server_reply(struct smtp_server *s, int code, str enhanced, str text)
{
    enum smtp_wait wait = s->wait;
    bool ok = code >= 200 && code < 300;
    if (wait == WAIT_NONE || wait == WAIT_TLS || wait == WAIT_AUTH)
        return;
    s->wait = WAIT_NONE;
    switch (wait) {
    case WAIT_CONNECT:
        reply_connect(s, code, enhanced, text);
        break;
    case WAIT_HELO:
    case WAIT_EHLO:
        reply_helo(s, wait == WAIT_EHLO, code, enhanced, text);
        break;
    case WAIT_DATA:
    case WAIT_BDAT:
        reply_data(s, wait == WAIT_BDAT, code, enhanced, text);
        break;
    case WAIT_MAIL:
        smtp_write_reply(s, code, enhanced, text);
        s->tx.open = ok;
        if (!ok)
            smtp_transaction_end(s, false);
        break;
    case WAIT_RCPT:
        smtp_write_reply(s, code, enhanced, text);
        s->tx.recipients += ok;
        break;
    case WAIT_XCLIENT:
        reply_xclient(s, code, enhanced, text);
        break;
    default: /* WAIT_CONTENT: the owner knows both outcomes */
        if (reply_content(s, code, enhanced, text))
            s->wait = WAIT_CONTENT;
    }
}

void smtp_server_auth_challenge(struct smtp_server *s, str challenge)
{
    if (s->wait != WAIT_AUTH)
        return;
    s->wait = WAIT_NONE;
    s->mode = AUTH_LINE;
    buf_add(&s->out, S("334 ")); /* RFC 4954 4: the blank stays when the challenge is empty */
    base64_encode(&s->out, challenge);
    buf_add(&s->out, S("\r\n"));
}

void smtp_server_auth_done(struct smtp_server *s, bool ok, int code, str enhanced, str text)
{
    if (s->wait != WAIT_AUTH)
        return;
    s->wait = WAIT_NONE;
    s->authenticated = ok;
    if (ok)
        smtp_write_reply(s, 235, S("2.7.0"), S("Authentication successful"));
    else
        smtp_write_reply(s, code, enhanced, text);
}

void smtp_server_tls_started(struct smtp_server *s)
{
    scratch_wipe(s);
    smtp_transaction_end(s, true);
    s->tls = true;
    s->helo = s->esmtp = s->authenticated = s->early = false; /* RFC 3207 4.2 */
    if (s->wait == WAIT_TLS)
        s->wait = WAIT_NONE;
}

void smtp_server_set_mechanisms(struct smtp_server *s, str mechanisms)
{
    s->mechanisms = mechanisms;
}

void smtp_server_set_trusted(struct smtp_server *s, bool trusted)
{
    s->trusted = trusted;
}

void smtp_server_set_xclient(struct smtp_server *s, bool allowed)
{
    s->xclient = allowed;
}

void smtp_server_shutdown(struct smtp_server *s, str enhanced, str text)
{
    _cleanup_buf_ struct buf line = BUF(4096);
    buf_addf(&line, "%.*s %.*s", STR_ARG(s->config->hostname), STR_ARG(text));
    buf_clear(&s->farewell);
    smtp_reply_write(&s->farewell, 421, enhanced, buf_str(&line), false);
}

enum smtp_phase smtp_server_phase(const struct smtp_server *s)
{
    if (s->wait || s->mode == CONNECT)
        return SMTP_PHASE_WORKING;
    return s->mode == DATA || s->mode == BDAT || s->mode == BDAT_SKIP ? SMTP_PHASE_CONTENT : SMTP_PHASE_COMMAND;
}
