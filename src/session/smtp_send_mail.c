/* A message on a connection that sends mail: looks at its content where the peer cannot take everything, splits its
 * recipients into transactions, reads its content. See smtp_send.h. */
#include <errno.h>
#include <unistd.h>
#include "session/smtp_send_internal.h"

enum { BLOCKS_A_STEP = 16, CONVERT_BLOCK = 3072, TRANSACTION_MAX = 1000 };

#define DECIDED UINT32_MAX

void smtp_send_mail_free(struct smtp_send_private *p)
{
    free(TAKE(p->left));
    free(TAKE(p->rcpts));
    p->n_left = 0;
    downgrade_free(TAKE(p->downgrade));
    p->convert = false;
    buf_done(&p->block);
    buf_done(&p->converted);
}

static void over(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    s->transfer_ms = (uint32_t)(loop_now(s->loop) - p->since);
    p->step = MAIL_OVER;
    smtp_send_mail_free(p);
}

/* Every recipient that is left gets this. */
static void decide_left(struct smtp_send *s, enum smtp_outcome outcome, bool too_many,
                        const struct smtp_client_reply *reply)
{
    struct smtp_send_private *p = s->p;
    for (uint32_t i = 0; i < p->n_left; ++i) {
        struct smtp_client_result r = {
            .index = p->left[i],
            .outcome = outcome,
            .too_many = too_many,
            .reply = *reply,
        };
        if (r.index != DECIDED)
            s->events->result(s, &r);
    }
    p->n_left = 0;
}

static void refuse(struct smtp_send *s, str status, str text)
{
    struct smtp_client_reply reply = { .status = status, .text = text, .stage = SMTP_STAGE_MAIL };
    decide_left(s, status.p[0] == '5' ? SMTP_FAILED : SMTP_DEFERRED, false, &reply);
    over(s);
}

/* Content */

static uint64_t total(const struct smtp_send_message *m)
{
    return m->prefix.n + m->length;
}

/* The next bytes of prefix and content into p->block, at most `max`; the two are not mixed. 0 or negative errno. */
static int read_block(struct smtp_send_private *p, size_t max)
{
    const struct smtp_send_message *m = p->message;
    buf_clear(&p->block);
    p->block.max = BLOCK;
    if (p->at < m->prefix.n) {
        str part = str_first(str_from(m->prefix, p->at), max);
        p->at += part.n;
        return buf_add(&p->block, part);
    }
    uint64_t from = p->at - m->prefix.n;
    size_t n = (size_t)MIN(m->length - from, (uint64_t)max);
    int r = buf_reserve(&p->block, n);
    while (r == 0 && p->block.n < n) {
        ssize_t got = pread(m->fd, p->block.p + p->block.n, n - p->block.n, (off_t)(m->offset + from + p->block.n));
        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        p->block.n += got > 0 ? (size_t)got : 0;
    }
    p->at += n;
    return r;
}

static int convert(struct smtp_send_private *p, bool last)
{
    buf_clear(&p->converted);
    p->converted.max = BLOCK;
    int r = downgrade_feed(p->downgrade, buf_str(&p->block), &p->converted);
    if (r == 0 && last)
        r = downgrade_end(p->downgrade, &p->converted);
    return r;
}

void smtp_send_mail_content(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    bool in_prefix = p->at < p->message->prefix.n;
    int r = read_block(p, p->convert ? CONVERT_BLOCK : BLOCK);
    bool last = r == 0 && p->at == total(p->message);
    bool converting = p->convert && (!in_prefix || last);
    if (r < 0) {
        smtp_client_abort(s->engine, "the content of the message cannot be read here");
        return;
    }
    if (converting && in_prefix) { /* no content behind the prefix */
        smtp_client_content(s->engine, buf_str(&p->block), false);
        buf_clear(&p->block);
    }
    if (converting && convert(p, last) < 0) {
        smtp_client_abort(s->engine, "the content of the message cannot be converted here");
        return;
    }
    smtp_client_content(s->engine, buf_str(converting ? &p->converted : &p->block), last);
}

/* Looking at content */

static bool must_look(const struct smtp_send *s)
{
    const struct smtp_client_caps *caps = smtp_client_caps(s->engine);
    const struct smtp_send_message *m = s->p->message;
    return (m->body != SMTP_SEND_BODY_7BIT && !caps->eightbitmime) || (m->smtputf8 && !caps->smtputf8);
}

/* The content was looked at: what does this peer make of it? */
static void judge(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    const struct smtp_client_caps *caps = smtp_client_caps(s->engine);
    enum downgrade_need need = downgrade_scanned(p->downgrade);
    if (need == DOWNGRADE_AGAIN) {
        p->at = p->message->prefix.n;
        return;
    }
    bool header = downgrade_header_8bit(p->downgrade) || !str_ascii(p->message->prefix);
    p->mail.smtputf8 = p->message->smtputf8 && (caps->smtputf8 || header);
    p->step = MAIL_BEGIN;
    p->convert = need == DOWNGRADE_CONVERT && !caps->eightbitmime;
    if (caps->eightbitmime || need == DOWNGRADE_NOT_NEEDED || need == DOWNGRADE_CONVERT || p->mail.smtputf8)
        return; /* SMTPUTF8 that is needed and not offered, the engine refuses */
    if (need == DOWNGRADE_HEADER)
        refuse(s, S("5.6.3"), S("a header field has characters that are not plain ASCII, and the other server takes "
                                "only 7-bit mail (no 8BITMIME)"));
    else
        refuse(s, S("5.6.3"), S("the other server takes only 7-bit mail (no 8BITMIME), and this message cannot be "
                                "converted"));
}

static void look(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    const struct smtp_send_message *m = p->message;
    if (!p->downgrade) {
        p->downgrade = downgrade_new();
        p->at = m->prefix.n;
    }
    if (!p->downgrade) {
        refuse(s, S("4.3.0"), S("no memory left here"));
        return;
    }
    for (int i = 0; i < BLOCKS_A_STEP && p->at < total(m); ++i) {
        if (read_block(p, BLOCK) < 0) {
            refuse(s, S("4.3.0"), S("the content of the message cannot be read here"));
            return;
        }
        downgrade_scan(p->downgrade, buf_str(&p->block));
    }
    if (p->at == total(m))
        judge(s);
}

/* Transactions */

static void begin(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    const struct smtp_send_message *m = p->message;
    uint32_t n = MIN(p->n_left, (uint32_t)TRANSACTION_MAX);
    for (uint32_t i = 0; i < n; ++i)
        p->rcpts[i] = m->rcpts[p->left[i]];
    p->at = 0;
    p->mail.sender = m->sender;
    p->mail.envid = m->envid;
    p->mail.ret = m->ret;
    p->mail.size = total(m);
    p->mail.exact = !p->convert;
    p->mail.body_8bit = m->body != SMTP_SEND_BODY_7BIT;
    p->mail.requiretls = m->requiretls;
    p->mail.rcpts = p->rcpts;
    p->mail.n = smtp_client_fit(s->engine, p->rcpts, n);
    p->step = MAIL_SEND;
    if (smtp_client_send(s->engine, &p->mail) < 0)
        refuse(s, S("4.3.0"), S("no memory left here"));
}

void smtp_send_mail_step(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    if (p->step == MAIL_SCAN && !must_look(s)) {
        p->mail.smtputf8 = p->message->smtputf8;
        p->step = MAIL_BEGIN;
    }
    if (p->step == MAIL_SCAN)
        look(s);
    if (p->step == MAIL_BEGIN)
        begin(s);
}

void smtp_send_mail_result(struct smtp_send *s, const struct smtp_client_result *r)
{
    struct smtp_client_result result = *r;
    if (r->too_many) /* in the next transaction */
        return;
    result.index = s->p->left[r->index];
    s->p->left[r->index] = DECIDED;
    s->events->result(s, &result);
}

void smtp_send_mail_done(struct smtp_send *s)
{
    struct smtp_send_private *p = s->p;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->n_left; ++i)
        if (p->left[i] != DECIDED)
            p->left[kept++] = p->left[i];
    p->n_left = kept;
    p->step = MAIL_BEGIN;
    if (kept > 0 && !smtp_client_ended(s->engine) && !smtp_client_reusable(s->engine)) {
        static const struct smtp_client_reply full = {
            .status = S("4.5.3"),
            .text = S("the other server takes no more recipients over this connection"),
            .stage = SMTP_STAGE_RCPT,
        };
        decide_left(s, SMTP_DEFERRED, true, &full);
    }
    if (p->n_left == 0)
        over(s);
}

void smtp_send_mail_lost(struct smtp_send *s, const struct smtp_client_reply *reply)
{
    decide_left(s, SMTP_DEFERRED, false, reply); /* whatever the code: it was not said of them */
    over(s);
    s->p->step = MAIL_NONE;
}
