/* The SMTP client engine, its transactions: see smtp_client.h.
 *
 * MAIL, RCPT and DATA are counted by two cursors, of commands written and of replies read; what lies between is under
 * way. Without PIPELINING they are never more than one apart. */
#include <errno.h>
#include "message/address.h"
#include "proto/smtp_client_commands.h"
#include "proto/smtp_client_engine.h"

void smtp_client_tx_done(struct smtp_client_tx *tx)
{
    free(tx->rcpt);
    *tx = (struct smtp_client_tx){ 0 };
}

/* Verdicts */

void smtp_client_decide(struct smtp_client *c, const struct smtp_client_reply *reply, uint32_t first, uint32_t end,
                        uint8_t states)
{
    c->verdict.reply = *reply;
    c->verdict.at = first;
    c->verdict.end = end;
    c->verdict.states = states;
    c->verdict.too_many = false;
}

static enum smtp_outcome outcome(const struct smtp_client *c)
{
    const struct smtp_client_reply *r = &c->verdict.reply;
    int class = r->code ? r->code / 100 : r->status.n > 0 ? r->status.p[0] - '0' : 4;
    if (class == 2)
        return c->caps.dsn ? SMTP_RELAYED : SMTP_RELAYED_NO_DSN;
    return class == 5 && !c->verdict.too_many ? SMTP_FAILED : SMTP_DEFERRED;
}

/* What is decided here, before the peer is asked. */
static void refuse_next(struct smtp_client *c)
{
    static const struct smtp_client_reply utf8 = {
        .status = S("5.6.7"),
        .text = S("the other server cannot take addresses that are not plain ASCII (no SMTPUTF8)"),
        .stage = SMTP_STAGE_RCPT,
    };
    static const struct smtp_client_reply bad = {
        .status = S("5.1.3"),
        .text = S("this is no valid address"),
        .stage = SMTP_STAGE_RCPT,
    };
    uint8_t bit = c->tx.refuse & RCPT_NEEDS_UTF8 ? RCPT_NEEDS_UTF8 : RCPT_BAD_ADDRESS;
    c->tx.refuse &= (uint8_t)~bit;
    smtp_client_decide(c, bit == RCPT_NEEDS_UTF8 ? &utf8 : &bad, 0, c->tx.mail->n, bit);
}

bool smtp_client_result(struct smtp_client *c, struct smtp_client_event *out)
{
    for (;;) {
        for (; c->verdict.at < c->verdict.end; ++c->verdict.at) {
            uint8_t *state = &c->tx.rcpt[c->verdict.at];
            if (!(*state & c->verdict.states))
                continue;
            *state = RCPT_DECIDED | (*state & RCPT_LEFT_OUT);
            out->kind = SMTP_CLIENT_RESULT;
            out->result = (struct smtp_client_result){
                .index = c->verdict.at,
                .outcome = outcome(c),
                .too_many = c->verdict.too_many,
                .reply = c->verdict.reply,
            };
            ++c->verdict.at;
            return true;
        }
        if (!c->tx.refuse)
            return false;
        refuse_next(c);
    }
}

/* Beginning */

static int refuse_all(struct smtp_client *c, str status, str text)
{
    struct smtp_client_reply reply = { .status = status, .text = text, .stage = SMTP_STAGE_MAIL };
    c->tx.over = true;
    smtp_client_decide(c, &reply, 0, c->tx.mail->n, RCPT_OPEN);
    return 0;
}

/* The next recipient whose turn it is, or DATA. */
static uint32_t next_of(const struct smtp_client_tx *tx, uint32_t at)
{
    do {
        ++at;
    } while (at <= tx->mail->n && tx->rcpt[at - 1] & RCPT_LEFT_OUT);
    return at;
}

static void judge_recipients(struct smtp_client *c)
{
    struct smtp_client_tx *tx = &c->tx;
    for (uint32_t i = 0; i < tx->mail->n; ++i) {
        struct address a = { 0 };
        const char *why;
        str text = tx->mail->rcpts[i].address;
        tx->rcpt[i] = RCPT_OPEN;
        if (address_parse(text, true, true, &a, &why) < 0)
            tx->rcpt[i] = RCPT_BAD_ADDRESS | RCPT_LEFT_OUT;
        else if (a.utf8 && !c->caps.smtputf8)
            tx->rcpt[i] = RCPT_NEEDS_UTF8 | RCPT_LEFT_OUT;
        else
            tx->utf8 |= a.utf8;
        tx->refuse |= tx->rcpt[i] & (RCPT_NEEDS_UTF8 | RCPT_BAD_ADDRESS);
    }
}

int smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail)
{
    struct smtp_client_tx *tx = &c->tx;
    struct address sender = { 0 };
    const char *why;
    if (c->stage != SMTP_STAGE_IDLE || c->ended || tx->mail || mail->n == 0 || mail->n > RCPTS_MAX)
        return -EINVAL;
    uint8_t *rcpt = malloc(mail->n);
    if (!rcpt)
        return -ENOMEM;
    memset(rcpt, RCPT_OPEN, mail->n);
    *tx = (struct smtp_client_tx){ .mail = mail, .rcpt = rcpt, .at_start = true };
    smtp_client_await(c, SMTP_STAGE_MAIL);
    if (mail->sender.n > 0 && address_parse(mail->sender, true, true, &sender, &why) < 0)
        return refuse_all(c, S("5.1.7"), S("the sender's address is not valid"));
    if ((mail->smtputf8 || sender.utf8) && !c->caps.smtputf8)
        return refuse_all(c, S("5.6.7"), S("the message needs SMTPUTF8 (addresses or header fields that are not plain "
                                           "ASCII), which the other server does not offer"));
    if (mail->requiretls && !(c->caps.requiretls && c->tls))
        return refuse_all(c, S("5.7.30"), S("the sender demands TLS all the way (REQUIRETLS), which the other server "
                                            "does not offer"));
    if (c->caps.size_max > 0 && mail->size > c->caps.size_max)
        return refuse_all(c, S("5.3.4"), S("the message is larger than the other server takes"));
    judge_recipients(c);
    tx->utf8 |= mail->smtputf8 || sender.utf8;
    tx->over = next_of(tx, 0) > mail->n;
    return 0;
}

static str domain_of(str address)
{
    ptrdiff_t at = str_rchr(address, '@');
    return at < 0 ? STR_NONE : str_from(address, (size_t)at + 1);
}

static bool domain_is_new(const struct smtp_client_rcpt *rcpts, uint32_t i)
{
    str domain = domain_of(rcpts[i].address);
    for (uint32_t k = i; k > 0; --k)
        if (str_ieq(domain_of(rcpts[k - 1].address), domain))
            return false;
    return true;
}

uint32_t smtp_client_fit(const struct smtp_client *c, const struct smtp_client_rcpt *rcpts, uint32_t n)
{
    uint32_t max = c->caps.rcpt_max ? MIN(c->caps.rcpt_max, RCPTS_MAX) : RCPTS_MAX;
    uint32_t domains_max = c->caps.rcpt_domain_max, domains = 0;
    n = MIN(n, max);
    if (domains_max == 0 || domains_max >= n)
        return n;
    for (uint32_t i = 0; i < n; ++i) {
        domains += domain_is_new(rcpts, i);
        if (domains > domains_max)
            return i;
    }
    return n;
}

/* Commands */

static void begin_chunk(struct smtp_client *c)
{
    struct smtp_client_tx *tx = &c->tx;
    tx->bdat = true;
    buf_add(&c->out, S("BDAT "));
    buf_addu(&c->out, tx->mail->size);
    buf_add(&c->out, S(" LAST\r\n"));
    tx->command = tx->reply = tx->mail->n + 2;
    smtp_client_await(c, SMTP_STAGE_CONTENT);
}

static bool uses_bdat(const struct smtp_client *c)
{
    return c->caps.chunking && !c->config.no_chunking && c->tx.mail->exact;
}

static bool may_say(const struct smtp_client *c)
{
    const struct smtp_client_tx *tx = &c->tx;
    bool idle = tx->command == tx->reply;
    if (c->out.n > COMMANDS_WAITING_MAX || (!idle && !c->caps.pipelining))
        return false;
    return tx->command <= tx->mail->n || (idle && tx->accepted > 0) || (!idle && !uses_bdat(c));
}

void smtp_client_pump(struct smtp_client *c)
{
    struct smtp_client_tx *tx = &c->tx;
    if (!tx->mail || tx->over || c->ended)
        return;
    while (tx->command <= tx->mail->n + 1 && !tx->mail_refused && may_say(c)) {
        if (tx->command == 0)
            smtp_client_say_mail(&c->out, &c->caps, tx->mail, tx->utf8);
        else if (tx->command <= tx->mail->n)
            smtp_client_say_rcpt(&c->out, &c->caps, &tx->mail->rcpts[tx->command - 1], tx->utf8);
        else if (uses_bdat(c)) {
            begin_chunk(c);
            return;
        } else {
            buf_add(&c->out, S("DATA\r\n"));
        }
        tx->command = tx->command > tx->mail->n ? tx->command + 1 : next_of(tx, tx->command);
    }
}

/* Replies */

/* Nothing is under way: is there still something to say? */
static void look_on(struct smtp_client *c)
{
    struct smtp_client_tx *tx = &c->tx;
    uint32_t n = tx->mail->n;
    if (tx->reply == tx->command && (tx->mail_refused || (tx->command == n + 1 && tx->accepted == 0))) {
        tx->over = true;
        c->rset_due = tx->mail_ok;
        return;
    }
    smtp_client_await(c, tx->reply <= n ? SMTP_STAGE_RCPT : SMTP_STAGE_DATA);
}

static void mail_replied(struct smtp_client *c, int class)
{
    struct smtp_client_tx *tx = &c->tx;
    struct smtp_client_reply reply = smtp_client_reply_read(c);
    tx->mail_ok = class == 2;
    tx->mail_refused = !tx->mail_ok;
    if (tx->mail_refused)
        smtp_client_decide(c, &reply, 0, tx->mail->n, RCPT_OPEN);
    tx->reply = next_of(tx, 0);
    look_on(c);
}

/* 452 and the old 552: the transaction is full, not the mailbox (RFC 5321 4.5.3.1.10). */
static bool says_too_many(const struct smtp_client *c)
{
    const struct smtp_reply_reader *r = &c->reader;
    str status = str_of(r->status_text, r->status_n);
    bool detail = str_eq(str_from(status, 1), S(".5.3"));
    return c->tx.accepted > 0 && (r->code == 452 || r->code == 552) && (status.n == 0 || detail);
}

static void rcpt_replied(struct smtp_client *c, int class)
{
    struct smtp_client_tx *tx = &c->tx;
    uint32_t i = tx->reply - 1;
    if (class == 2 && !tx->mail_refused) {
        tx->rcpt[i] = RCPT_ACCEPTED;
        tx->accepted++;
    } else if (!tx->mail_refused) {
        struct smtp_client_reply reply = smtp_client_reply_read(c);
        smtp_client_decide(c, &reply, i, i + 1, RCPT_OPEN);
        c->verdict.too_many = says_too_many(c);
    }
    tx->reply = next_of(tx, tx->reply);
    look_on(c);
}

static void not_smtp(struct smtp_client *c)
{
    smtp_client_end_words(c, SMTP_END_PROTOCOL, S("4.5.0"), S("the other server's reply does not fit what was said"));
}

static void decide_accepted(struct smtp_client *c, bool rset)
{
    struct smtp_client_reply reply = smtp_client_reply_read(c);
    smtp_client_decide(c, &reply, 0, c->tx.mail->n, RCPT_ACCEPTED);
    c->tx.over = true;
    c->rset_due = rset;
}

static void data_replied(struct smtp_client *c, int class)
{
    struct smtp_client_tx *tx = &c->tx;
    tx->reply++;
    if (class == 3 && tx->accepted > 0) {
        smtp_client_await(c, SMTP_STAGE_CONTENT);
    } else if (class == 3 && !c->config.lmtp) {
        tx->swallow = true;
        buf_add(&c->out, S(".\r\n"));
        smtp_client_await(c, SMTP_STAGE_FINAL);
    } else if (class == 2 || class == 3) { /* LMTP: nobody could say how many replies would follow */
        not_smtp(c);
    } else {
        decide_accepted(c, tx->mail_ok);
    }
}

static void final_replied(struct smtp_client *c, int class)
{
    struct smtp_client_tx *tx = &c->tx;
    if (class == 3) {
        not_smtp(c);
    } else if (!c->config.lmtp || tx->swallow) {
        decide_accepted(c, false);
    } else { /* RFC 2033 4.2 */
        struct smtp_client_reply reply = smtp_client_reply_read(c);
        while (!(tx->rcpt[tx->final_at] & RCPT_ACCEPTED))
            tx->final_at++;
        smtp_client_decide(c, &reply, tx->final_at, tx->final_at + 1, RCPT_ACCEPTED);
        tx->final_at++;
        tx->over = --tx->accepted == 0;
        smtp_client_await(c, SMTP_STAGE_FINAL);
    }
}

static bool knows_no_bdat(const struct smtp_client *c)
{
    bool content = c->stage == SMTP_STAGE_FINAL || c->stage == SMTP_STAGE_CONTENT;
    return content && c->tx.bdat && (c->reader.code == 500 || c->reader.code == 502);
}

void smtp_client_mail_reply(struct smtp_client *c)
{
    struct smtp_client_tx *tx = &c->tx;
    int class = c->reader.code / 100;
    if (knows_no_bdat(c)) {
        smtp_client_end_words(c, SMTP_END_BDAT, S("4.5.1"), S("the other server offers CHUNKING but knows no BDAT"));
    } else if (c->stage == SMTP_STAGE_FINAL) {
        final_replied(c, class);
    } else if (c->stage == SMTP_STAGE_CONTENT) { /* before we have said all: the content is not taken */
        if (class >= 4)
            smtp_client_end_reply(c, SMTP_END_REPLY);
        else
            not_smtp(c);
    } else if (tx->reply == tx->command) {
        not_smtp(c); /* nothing was asked */
    } else if (tx->reply == tx->mail->n + 1) {
        data_replied(c, class);
    } else if (class == 3) {
        not_smtp(c);
    } else if (tx->reply == 0) {
        mail_replied(c, class);
    } else {
        rcpt_replied(c, class);
    }
}

enum smtp_client_stage smtp_client_phase(const struct smtp_client *c)
{
    return c->stage;
}

/* Content */

#define WINDOW 2048 /* memchr looks no farther at a time, so that many bare line ends do not each cost a long walk */

/* Adds what stands from `from` up to the next place where a byte must be added or dropped; returns where to go on. */
static size_t add_run(struct smtp_client *c, str piece, size_t from)
{
    struct smtp_client_tx *tx = &c->tx;
    size_t i = from;
    while (i < piece.n) {
        size_t window = MIN(piece.n - i, (size_t)WINDOW);
        const char *cr = memchr(piece.p + i, '\r', window);
        size_t end = cr ? (size_t)(cr - piece.p) : i + window;
        const char *lf = memchr(piece.p + i, '\n', end - i);
        if (lf)
            end = (size_t)(lf - piece.p);
        else if (!cr) {
            i = end;
            continue;
        } else if (end + 1 < piece.n && piece.p[end + 1] == '\n' && (end + 2 == piece.n || piece.p[end + 2] != '.')) {
            i = end + 2;
            continue;
        }
        buf_add(&c->out, str_of(piece.p + from, end - from));
        tx->cr = !lf;
        if (lf)
            buf_add(&c->out, S("\r\n"));
        tx->at_start = lf != NULL;
        return end + 1;
    }
    buf_add(&c->out, str_from(piece, from));
    tx->at_start = piece.p[piece.n - 1] == '\n';
    return piece.n;
}

static void add_lines(struct smtp_client *c, str piece)
{
    struct smtp_client_tx *tx = &c->tx;
    size_t i = 0;
    while (i < piece.n) {
        if (tx->cr) { /* whether its LF follows or not: CRLF */
            i += piece.p[i] == '\n';
            buf_add(&c->out, S("\r\n"));
            tx->cr = false;
            tx->at_start = true;
            continue;
        }
        if (tx->at_start && piece.p[i] == '.') /* RFC 5321 4.5.2 */
            buf_addc(&c->out, '.');
        i = add_run(c, piece, i);
    }
}

static void add_chunk(struct smtp_client *c, str piece, bool last)
{
    struct smtp_client_tx *tx = &c->tx;
    if (piece.n > tx->mail->size - tx->bytes || (last && tx->bytes + piece.n != tx->mail->size)) {
        smtp_client_abort(c, "the content has another length than it should");
        return;
    }
    buf_add(&c->out, piece);
    tx->bytes += piece.n;
}

void smtp_client_content(struct smtp_client *c, str piece, bool last)
{
    struct smtp_client_tx *tx = &c->tx;
    if (c->stage != SMTP_STAGE_CONTENT || c->ended)
        return;
    if (tx->bdat) {
        add_chunk(c, piece, last);
    } else {
        add_lines(c, piece);
        if (last && (tx->cr || !tx->at_start))
            buf_add(&c->out, S("\r\n"));
        if (last)
            buf_add(&c->out, S(".\r\n"));
    }
    if (!c->ended)
        smtp_client_await(c, last ? SMTP_STAGE_FINAL : SMTP_STAGE_CONTENT);
}
