/* The way out of this host begins here: see store_foreign.h. */
#include "store/store_foreign.h"
#include <errno.h>
#include "message/srs.h"
#include "route/mechanism.h"
#include "store/store_queue_internal.h"

#define FOREIGN_MAX ((size_t)100000)

int foreign_begin(struct foreign *f, struct store *s, struct arena *a, struct message_record *message)
{
    *f = (struct foreign){ .store = s, .arena = a, .message = message };
    map_init(&f->seen, FOREIGN_MAX, s->boxes.key);
    if (!message->dsn_event)
        return 0;
    bool owed;
    int r = queue_dsn_look(s, message->dsn_of, message->dsn_event, &owed);
    if (r == 0 && !owed) {
        f->duplicate = true;
        message->n_recipients = 0;
    }
    return r;
}

void foreign_done(struct foreign *f)
{
    map_done(&f->seen);
}

static struct journal_queued *add(struct foreign *f)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 4;
        struct journal_queued *more = ARENA_ARRAY(f->arena, struct journal_queued, cap);
        if (!more)
            return NULL;
        if (f->n)
            memcpy(more, f->list, f->n * sizeof(*more));
        f->list = more;
        f->cap = cap;
    }
    f->list[f->n] = (struct journal_queued){ 0 };
    return &f->list[f->n++];
}

/* The same mailbox: case matters in the local part alone. */
static str key_of(struct arena *a, str address)
{
    ptrdiff_t at = str_rchr(address, '@');
    str key = arena_dup(a, address);
    for (size_t i = at < 0 ? 0 : (size_t)at; i < key.n; i++)
        ((char *)key.p)[i] = ascii_lower(key.p[i]);
    return key;
}

/* 1: it has it already. By a mechanism an address gets it once for each. */
static int see(struct foreign *f, str address, str via, str user)
{
    str key = key_of(f->arena, address);
    if (key.p && via.n)
        key = arena_printf(f->arena, "%.*s\n%.*s\n%.*s", STR_ARG(key), STR_ARG(user), STR_ARG(via));
    if (!key.p)
        return -ENOMEM;
    if (map_get(&f->seen, key))
        return 1;
    int r = map_set(&f->seen, key, f, NULL);
    return r == -ENOSPC ? -E2BIG : r;
}

/* Where replies of the next host go when `alias` forwards: the sender, rewritten if it is foreign, or else that host's
 * SPF check would see our address sending in another domain's name. Empty: as it is. */
static str forward_sender(struct foreign *f, str alias)
{
    const struct message_record *m = f->message;
    struct store *s = f->store;
    ptrdiff_t at = str_rchr(m->sender, '@'), alias_at = str_rchr(alias, '@');
    _cleanup_buf_ struct buf text = BUF(1024);
    if (!s->has_key || at < 0 || alias_at < 0 ||
        directory_is_local_domain(&s->directory, str_from(m->sender, (size_t)at + 1)) ||
        srs_forward(&text, s->key, m->sender, str_from(alias, (size_t)alias_at + 1),
                    (int64_t)(m->received_us / 1000000)) < 0)
        return STR_NONE;
    return arena_dup(f->arena, buf_str(&text));
}

/* RFC 3461 5.2.7.3 c: of an alias with several targets nobody hears of success but that it was expanded. */
static uint8_t without_success(uint8_t notify)
{
    uint8_t rest = notify & (uint8_t)~QUEUE_NOTIFY_SUCCESS;
    return notify && !rest ? QUEUE_NOTIFY_NEVER : rest;
}

struct forward { str alias, sender, via, user; uint32_t group; uint8_t notify; };

static int queue_one(struct foreign *f, const struct record_recipient *to, const struct forward *w, str address)
{
    int r = see(f, address, w->via, w->user);
    if (r != 0)
        return MIN(r, 0);
    struct journal_queued *q = add(f);
    if (!q)
        return -ENOMEM;
    *q = (struct journal_queued){ .outcome = QUEUE_WAITING, .notify = w->notify, .group = w->group, .address = address,
                                  .orcpt = to->orcpt, .alias = w->alias, .sender = w->sender, .via = w->via,
                                  .user = w->user };
    if (!str_eq(address, to->address))
        q->original = to->address;
    return 0;
}

/* Final from the beginning; nothing if nobody is to hear of it. */
static int add_final(struct foreign *f, const struct record_recipient *to, uint8_t outcome, str status, str text)
{
    uint8_t owed = queue_owes(outcome, to->notify, f->message->sender.n == 0, f->message->dsn_event != 0);
    struct journal_queued *q = owed || outcome == QUEUE_FAILED ? add(f) : NULL;
    if (!q)
        return owed ? -ENOMEM : 0;
    *q = (struct journal_queued){ .outcome = outcome, .notify = to->notify, .owed = owed, .address = to->address,
                                  .orcpt = to->orcpt, .status = status, .text = text };
    return 0;
}

static bool has_passed(const struct message_record *m, str alias)
{
    for (size_t i = 0; i < m->n_delivered_to; i++)
        if (str_ieq(m->delivered_to[i], alias))
            return true;
    return false;
}

static int add_loop(struct foreign *f, const struct record_recipient *to, str address)
{
    return add_final(f, to, QUEUE_FAILED, S("5.4.6"),
                     arena_printf(f->arena, "%.*s forwards mail that it has forwarded before: a loop",
                                  STR_ARG(address)));
}

static int forward(struct foreign *f, const struct record_recipient *to, const struct directory_result *result,
                   uint8_t notify)
{
    struct forward w = { .alias = to->address, .sender = forward_sender(f, to->address), .group = ++f->groups,
                         .notify = notify };
    if (has_passed(f->message, to->address))
        return add_loop(f, to, to->address);
    int r = 0;
    for (const struct directory_target *t = result->targets; t && r == 0; t = t->next)
        if (t->foreign)
            r = queue_one(f, to, &w, t->address);
    return r;
}

/* May mail come back to us that is handed on by it? */
static bool leads_on(str via)
{
    struct mechanism m;
    const char *why;
    return !mechanism_parse(mechanism_next(&via), &m, &why) || m.kind == MECHANISM_SMTP || m.kind == MECHANISM_LMTP ||
           m.kind == MECHANISM_COMMAND || m.kind == MECHANISM_FORWARD;
}

/* Each mechanism of a message's recipient is a job of its own: the prefix names the account. */
static int queue_via(struct foreign *f, const struct record_recipient *to, const struct directory_target *t, str via,
                     uint8_t notify)
{
    const struct forward w = { .alias = t->address, .group = ++f->groups, .notify = notify, .via = via,
                               .user = t->user };
    return queue_one(f, to, &w, t->address);
}

/* A message that was here already is handed on no more; what keeps it keeps it. */
static int pass_on(struct foreign *f, const struct record_recipient *to, const struct directory_target *t,
                   uint8_t notify)
{
    if (has_passed(f->message, t->address) && leads_on(t->mechanism))
        return add_loop(f, to, t->address);
    return queue_via(f, to, t, t->mechanism, notify);
}

/* What counts without a ~/.forward, behind the target *t, whose place the first takes; the mailbox if nothing does. */
static int use_fallbacks(struct foreign *f, struct directory_target *t, str list, size_t *n)
{
    if (!list.n)
        list = str_z(mechanism_name[MECHANISM_MAILBOX]);
    struct directory_target *last = NULL;
    const struct directory_target forward = *t;
    for (str via; (via = mechanism_next(&list)).n;) {
        bool mailbox = str_eq(via, str_z(mechanism_name[MECHANISM_MAILBOX]));
        if (mailbox && !directory_has_account(&f->store->directory, forward.address))
            continue;
        struct directory_target *to = last ? ARENA_NEW(f->arena, struct directory_target) : t;
        if (!to)
            return -ENOMEM;
        *to = forward;
        to->mechanism = mailbox ? STR_NONE : via;
        if (last) {
            last->next = to;
            ++*n;
        }
        last = to;
    }
    return 0;
}

int foreign_settle(struct foreign *f, struct directory_result *result)
{
    int r = 0;
    for (struct directory_target *t = result->targets, *next; t && r == 0; t = next) {
        str list = t->mechanism;
        next = t->next;
        if (list.n && str_eq(mechanism_next(&list), str_z(mechanism_name[MECHANISM_FORWARD])) &&
            has_passed(f->message, t->address))
            r = use_fallbacks(f, t, list, &result->n_targets);
    }
    return r;
}

int foreign_postmaster(struct foreign *f, const struct record_recipient *to, const struct directory_target *t)
{
    return pass_on(f, to, t, QUEUE_NOTIFY_NEVER);
}

int foreign_return(struct foreign *f, const struct record_recipient *to, bool *out_known)
{
    _cleanup_buf_ struct buf sender = BUF(1024);
    const struct store *s = f->store;
    const struct forward direct = { .notify = QUEUE_NOTIFY_NEVER };
    *out_known = s->has_key && f->message->sender.n == 0 &&
                 srs_reverse(&sender, s->key, to->address, (int64_t)(f->message->received_us / 1000000)) == 0;
    if (!*out_known)
        return 0;
    str address = arena_dup(f->arena, buf_str(&sender));
    return address.p ? queue_one(f, to, &direct, address) : -ENOMEM;
}

int foreign_add(struct foreign *f, const struct record_recipient *to, const struct directory_result *result)
{
    if (result->class == DIRECTORY_FOREIGN) {
        const struct forward direct = { .notify = to->notify };
        return queue_one(f, to, &direct, to->address);
    }
    size_t foreign = 0, placed = 0;
    uint8_t notify = result->n_targets > 1 ? without_success(to->notify) : to->notify;
    for (const struct directory_target *t = result->targets; t; t = t->next) {
        foreign += t->foreign;
        placed += !t->foreign && !t->mechanism.n;
    }
    int r = foreign ? forward(f, to, result, notify) : 0;
    for (const struct directory_target *t = result->targets; t && r == 0; t = t->next)
        if (t->mechanism.n)
            r = pass_on(f, to, t, notify);
    if (r == 0 && result->n_targets > 1)
        r = add_final(f, to, QUEUE_EXPANDED, S("2.0.0"), S("The message was passed on to every address of the alias."));
    else if (r == 0 && result->n_targets == 1 && placed)
        r = add_final(f, to, QUEUE_DELIVERED, S("2.0.0"), S("The message was put into the mailbox."));
    return r;
}

static void number_parts(struct foreign *f)
{
    struct queue_parts parts = { 0 };
    for (size_t i = 0; i < f->n; i++) {
        struct journal_queued *q = &f->list[i];
        if (q->owed)
            q->part = queue_part(&parts, q->owed - 1, q->address.n + q->orcpt.n + q->text.n + 100);
    }
}

int foreign_end(struct foreign *f, struct journal_queue *out)
{
    const struct message_record *m = f->message;
    if (!f->n && !m->dsn_event)
        return 0;
    number_parts(f);
    *out = (struct journal_queue){ .present = true, .sender = m->sender, .envid = m->envid, .ret = m->ret,
                                   .body = m->body,
                                   .priority = m->priority, .smtputf8 = m->smtputf8, .requiretls = m->requiretls,
                                   .recipients = f->list, .n = f->n };
    if (!m->dsn_event || f->duplicate)
        return 0;
    str postmaster = queue_postmaster(f->store, f->arena);
    out->dsn_of = m->dsn_of;
    out->dsn_event = m->dsn_event;
    out->last_resort = m->n_recipients == 1 && str_ieq(m->recipients[0].address, postmaster);
    return postmaster.p ? 0 : -ENOMEM;
}

int foreign_staged(struct store *s, const struct journal_record *r)
{
    struct batch *b = s->open;
    struct queued_note *n = ARENA_NEW(&b->arena, struct queued_note);
    struct journal_delivered *d = ARENA_NEW(&b->arena, struct journal_delivered);
    if (!n || !d)
        return -EIO; /* it is staged: without being told of it the queue would be wrong */
    *d = r->delivered;
    d->log = arena_dup(&b->arena, d->log);
    if (!d->log.p)
        return -EIO;
    *n = (struct queued_note){ .lsn = r->lsn, .delivered = d };
    *b->queued_end = n;
    b->queued_end = &n->next;
    if (d->queue.dsn_event)
        queue_dsn_staged(s, d->queue.dsn_event);
    return 0;
}
