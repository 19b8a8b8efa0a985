/* DKIM: what leaves a connection is signed when it is known what the other server can take, since a message that must
 * be converted to 7 bits is another message. Hashes are made here, signatures in role keys. Signed is what this host
 * answers for, as the message's own record says: mail of an account, of a client in mynetworks, or a DSN, whose From
 * names a domain with keys. What strangers send is not, also when an alias passes it on: it is their word. */
#include <errno.h>
#include "message/address.h"
#include "message/downgrade.h"
#include "message/header.h"
#include "mta/push.h"
#include "policy/dkim_sign.h"
#include "policy/policy.h"
#include "store/message_record.h"
#include "store/segment.h"

enum { BLOCK = 65536, BLOCKS_A_STEP = 16, CONVERT_BLOCK = 3072, CONVERT_STEPS = 256, META_MAX = 16 << 20 };
enum { PATIENCE_MS = 5000, RETRY_MS = 500, RETRIES = 2, FIELDS_MAX = 256 << 10 };

void push_sign_end(struct push_sign *s)
{
    if (!s->push)
        return;
    loop_cancel(s->push->role->loop, &s->timer);
    loop_cancel(s->push->role->loop, &s->limit);
    if (s->prev)
        s->prev->next = s->next;
    else
        s->push->signing = s->next;
    if (s->next)
        s->next->prev = s->prev;
    role_config_unref(s->config);
    dkim_message_free(s->message);
    downgrade_free(s->downgrade);
    buf_done(&s->converted);
    arena_done(&s->arena);
    *s = (struct push_sign){ .done = s->done };
}

static void over(struct push_sign *s, const struct push_sign_problem *problem)
{
    push_sign_end(s);
    s->done(s, problem);
}

static void fail(struct push_sign *s, uint8_t outcome, str status, str text)
{
    struct push_sign_problem p = { .outcome = outcome, .status = status, .text = text };
    over(s, &p);
}

static void fail_error(struct push_sign *s, int error)
{
    if (error == -E2BIG)
        fail(s, SMTP_FAILED, S("5.3.4"), S("its header is too long, or has too many fields, to be signed (DKIM)"));
    else if (error == -ENOMEM)
        fail(s, SMTP_DEFERRED, S("4.3.0"), S("no memory left here to sign it (DKIM)"));
    else
        fail(s, SMTP_DEFERRED, S("4.3.0"), S("the content of the message cannot be read here to sign it (DKIM)"));
}

/* Who brought it */

/* The record of the message stands round its content. 1 ours, 0 not, or negative. */
static int is_ours(struct push_sign *s)
{
    const struct push_job *j = s->job;
    char head[SEGMENT_HEADER_SIZE], raw[RECORD_HEADER_SIZE];
    struct segment_header segment;
    struct record_header record;
    struct message_record m;
    if (j->job.offset < SEGMENT_HEADER_SIZE + RECORD_HEADER_SIZE)
        return -EBADMSG;
    uint64_t at = j->job.offset - RECORD_HEADER_SIZE;
    if (segment_pread(j->job.fd, head, sizeof(head), 0) != sizeof(head) ||
        segment_pread(j->job.fd, raw, sizeof(raw), at) != sizeof(raw))
        return -EIO;
    int r = segment_header_decode(str_of(head, sizeof(head)), &segment);
    if (r == 0 && record_header_decode(str_of(raw, sizeof(raw)), segment.key, at, &record) != 1)
        r = -EBADMSG;
    if (r < 0 || record.content_len != j->job.length || record.meta_len > META_MAX)
        return -EBADMSG;
    _cleanup_buf_ struct buf meta = BUF(META_MAX);
    char *p = buf_space(&meta, record.meta_len);
    if (!p)
        return -ENOMEM;
    if (segment_pread(j->job.fd, p, record.meta_len, j->job.offset + j->job.length) != (ssize_t)record.meta_len)
        return -EIO;
    r = message_record_decode(&s->arena, buf_str(&meta), &m);
    return r < 0 ? r : m.account.n || m.dsn_event || str_eq(m.listener, S("drop")) ||
                             policy_nets_match(&s->push->mynetworks, m.client_addr);
}

/* The domain of the first address in From, if it has keys. */
static bool find_keys(struct push_sign *s)
{
    struct header_field f;
    bool whole;
    if (!header_find(dkim_message_header(s->message, &whole), S("From"), &f))
        return false;
    const struct mailbox *m = address_list_parse(&s->arena, f.value, 64, NULL);
    while (m && m->kind != MAILBOX_ADDRESS)
        m = m->next;
    return m && conf_domain_ascii(&s->arena, m->domain, &s->domain) == 0 &&
           (s->keys = conf_dkim_find(s->config->conf, s->domain, &s->n_keys));
}

/* Asking */

static void tags_of(const struct push_sign *s, size_t i, enum dkim_algorithm a, struct dkim_tags *out)
{
    *out = (struct dkim_tags){ .algorithm = a, .domain = s->domain, .selector = s->keys[i].selector,
                               .time_s = s->time_s, .expire_s = s->time_s + DKIM_LIFETIME_S };
}

static int ask(struct push_sign *s)
{
    _cleanup_buf_ struct buf b = BUF(IPC_FRAME_MAX);
    int r = 0;
    s->time_s = (int64_t)(s->push->role->env->wall_us() / 1000000);
    s->request = ++s->push->last_sign;
    pack_u64(&b, s->request);
    pack_str(&b, s->domain);
    pack_u32(&b, (uint32_t)s->n_keys);
    for (size_t i = 0; i < s->n_keys && r == 0; i++) {
        pack_str(&b, s->keys[i].selector);
        for (int a = DKIM_RSA_SHA256; a <= DKIM_ED25519_SHA256 && r == 0; a++) {
            struct dkim_tags t;
            uint8_t digest[DKIM_DIGEST];
            tags_of(s, i, (enum dkim_algorithm)a, &t);
            r = dkim_digest(s->message, &t, digest);
            pack_str(&b, str_of(digest, sizeof(digest)));
        }
    }
    if (r == 0 && role_peer(s->push->role, ROLE_KEYS)->open)
        ipc_send(role_peer(s->push->role, ROLE_KEYS), IPC_SIGN, &b, -1);
    return r; /* sent or not: the limit runs, and a link that comes up asks again */
}

/* The keys may have changed with the configuration: those of now. */
static void ask_again(struct push_sign *s)
{
    role_config_unref(s->config);
    s->config = role_config_ref(s->push->role->config);
    s->keys = conf_dkim_find(s->config->conf, s->domain, &s->n_keys);
    if (!s->keys) {
        over(s, NULL);
        return;
    }
    int r = ask(s);
    if (r < 0)
        fail_error(s, r);
}

static void too_late(struct loop_timer *t)
{
    struct push_sign *s = CONTAINER_OF(t, struct push_sign, limit);
    fail(s, SMTP_DEFERRED, S("4.3.0"), S("role keys did not sign it in time (DKIM)"));
}

static void retry(struct loop_timer *t)
{
    ask_again(CONTAINER_OF(t, struct push_sign, timer));
}

static void begin_ask(struct push_sign *s)
{
    int r = dkim_message_end(s->message);
    if (r == 0)
        r = ask(s);
    if (r < 0) {
        fail_error(s, r);
        return;
    }
    s->timer.fire = retry;
    s->limit.fire = too_late;
    loop_after(s->push->role->loop, &s->limit, PATIENCE_MS);
}

static int read_signatures(struct push_sign *s, struct unpack *in, struct buf *out)
{
    for (size_t i = 0; i < s->n_keys; i++) {
        struct dkim_tags t;
        uint8_t a = unpack_u8(in);
        str signature = unpack_str(in);
        if (in->bad || a < DKIM_RSA_SHA256 || a > DKIM_ED25519_SHA256 || signature.n > DKIM_SIGNATURE_MAX)
            return -EBADMSG;
        tags_of(s, i, (enum dkim_algorithm)a, &t);
        int r = dkim_field(s->message, &t, signature, out);
        if (r < 0)
            return r;
    }
    return unpack_end(in) ? 0 : -EBADMSG;
}

static int take_signatures(struct push_sign *s, struct unpack *in)
{
    _cleanup_buf_ struct buf fields = BUF(FIELDS_MAX);
    struct push_job *j = s->job;
    int r = read_signatures(s, in, &fields);
    if (r == 0)
        r = buf_add(&fields, j->job.prefix); /* of fields that are not signed */
    str kept = r == 0 ? arena_dup(&j->job.arena, buf_str(&fields)) : STR_NONE;
    if (r == -EBADMSG)
        return r;
    if (!kept.p) {
        fail_error(s, r < 0 ? r : -ENOMEM);
        return 0;
    }
    j->signature = kept;
    s->push->dkim_signed++;
    over(s, NULL);
    return 0;
}

int push_sign_frame(struct push *p, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    str why = unpack_str(&f->in);
    uint32_t n = unpack_u32(&f->in);
    struct push_sign *s = p->signing;
    if (f->type != IPC_SIGNED || f->in.bad)
        return -EBADMSG;
    while (s && s->request != request)
        s = s->next;
    if (!s)
        return 0; /* it was asked anew, or is over */
    if (!why.n)
        return n == s->n_keys ? take_signatures(s, &f->in) : -EBADMSG;
    if (s->retries++ < RETRIES) { /* a key of a new configuration may not have come there yet */
        loop_after(p->role->loop, &s->timer, RETRY_MS);
        return 0;
    }
    struct buf text = BUF(1024);
    buf_addf(&text, "%.*s of %.*s; role keys says why in the log", STR_ARG(str_first(why, 200)), STR_ARG(s->domain));
    fail(s, SMTP_DEFERRED, S("4.3.0"), buf_str(&text));
    buf_done(&text);
    return 0;
}

void push_sign_up(struct push *p)
{
    for (struct push_sign *s = p->signing, *next; s; s = next) {
        next = s->next;
        if (s->request)
            ask_again(s);
    }
}

/* Reading */

static int read_block(const struct push_sign *s, char *out, size_t max)
{
    const struct push_job *j = s->job;
    size_t n = (size_t)MIN(j->job.length - s->at, (uint64_t)max);
    ssize_t got = segment_pread(j->job.fd, out, n, j->job.offset + s->at);
    return got == (ssize_t)n ? (int)n : got < 0 ? (int)got : -ENODATA;
}

static int start_over(struct push_sign *s)
{
    s->at = 0;
    dkim_message_free(s->message);
    s->message = dkim_message_new(DKIM_RELAXED, DKIM_RELAXED);
    return s->message ? 0 : -ENOMEM;
}

/* The header is there: is it to be signed, and as it stands? 1: as it stands. */
static int header_known(struct push_sign *s)
{
    if (!find_keys(s)) {
        over(s, NULL);
        return 0;
    }
    s->reading = SIGN_BODY;
    if (s->eightbit)
        return 1;
    s->downgrade = downgrade_new();
    s->reading = SIGN_SCAN;
    int r = s->downgrade ? start_over(s) : -ENOMEM;
    if (r < 0)
        fail_error(s, r);
    return r < 0 ? 0 : 1;
}

/* As smtp_send decides it. */
static void scanned(struct push_sign *s)
{
    enum downgrade_need need = downgrade_scanned(s->downgrade);
    s->at = 0;
    if (need == DOWNGRADE_AGAIN)
        return;
    s->reading = need == DOWNGRADE_CONVERT ? SIGN_CONVERTED : SIGN_BODY;
    s->converted = BUF(BLOCK);
}

static int take_block(struct push_sign *s, str block)
{
    bool last = s->at == s->job->job.length;
    if (s->reading == SIGN_SCAN) {
        downgrade_scan(s->downgrade, block);
    } else if (s->reading == SIGN_CONVERTED) {
        buf_clear(&s->converted);
        int r = downgrade_feed(s->downgrade, block, &s->converted);
        if (r == 0 && last)
            r = downgrade_end(s->downgrade, &s->converted);
        if (r < 0)
            return r;
        dkim_message_feed(s->message, buf_str(&s->converted));
    } else {
        dkim_message_feed(s->message, block);
    }
    return 0;
}

/* A part of the way, then others have their turn. */
static void read_on(struct loop_timer *t)
{
    struct push_sign *s = CONTAINER_OF(t, struct push_sign, timer);
    char block[BLOCK] __attribute__((uninitialized));
    bool whole;
    for (int i = 0; i < (s->reading == SIGN_CONVERTED ? CONVERT_STEPS : BLOCKS_A_STEP); i++) {
        int n = read_block(s, block, s->reading == SIGN_CONVERTED ? CONVERT_BLOCK : BLOCK);
        if (n >= 0) {
            s->at += (uint64_t)n;
            n = take_block(s, str_of(block, (size_t)n));
        }
        if (n < 0) {
            fail_error(s, n);
            return;
        }
        dkim_message_header(s->message, &whole);
        if (s->reading == SIGN_HEADER && (whole || s->at == s->job->job.length) && !header_known(s))
            return;
        if (s->at < s->job->job.length)
            continue;
        if (s->reading != SIGN_SCAN) {
            begin_ask(s);
            return;
        }
        scanned(s);
    }
    loop_after(s->push->role->loop, &s->timer, 0);
}

void push_sign_begin(struct push_sign *s, struct push *p, struct push_job *j, bool eightbit)
{
    j->signature = STR_NONE;
    if (!p->role->config->conf->n_dkim || !j->job.length) {
        s->done(s, NULL);
        return;
    }
    *s = (struct push_sign){ .done = s->done, .push = p, .job = j, .eightbit = eightbit, .next = p->signing,
                             .arena = ARENA(META_MAX), .reading = SIGN_HEADER, .timer.fire = read_on };
    s->config = role_config_ref(p->role->config);
    if (p->signing)
        p->signing->prev = s;
    p->signing = s;
    int r = is_ours(s);
    if (r == 1)
        r = start_over(s) < 0 ? -ENOMEM : 1;
    if (r < 0)
        fail_error(s, r);
    else if (r == 0)
        over(s, NULL);
    else
        read_on(&s->timer);
}
