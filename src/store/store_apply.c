/* Expanding a message's recipients and staging the record that places it: see store.h and DESIGN 2. */
#include <errno.h>
#include <stdlib.h>
#include "store/store_foreign.h"

/* More final recipients than this one message does not get; the rest goes to postmaster. */
#define TARGETS_MAX 200000
/* Up to here a list is searched, beyond it a table. */
#define FEW 16
#define BOXES_KEPT 32768
#define BOXES_MAX (2 * TARGETS_MAX + BOXES_KEPT)
#define ACCOUNT_MAX 512
#define BOX_NAME_MAX 1024
#define UID_MAX UINT32_MAX

struct target {
    str account, recipient, reason;
    struct target *next;
};

struct refused {
    str recipient, reason;
    struct refused *next;
};

struct expansion {
    struct store *store;
    struct arena *arena;
    struct target *targets, **targets_end;
    struct refused *refused, **refused_end;
    size_t n_targets, n_refused;
    struct map seen; /* accounts, once there are more than FEW */
    struct foreign foreign;
    bool no_memory;
};

static bool is_seen(struct expansion *e, str account)
{
    if (e->n_targets > FEW)
        return map_get(&e->seen, account) != NULL;
    for (const struct target *t = e->targets; t; t = t->next)
        if (str_eq(t->account, account))
            return true;
    return false;
}

static void mark_seen(struct expansion *e, struct target *added)
{
    if (e->n_targets <= FEW)
        return;
    struct target *t = e->n_targets == FEW + 1 ? e->targets : added;
    for (; t; t = t->next)
        if (map_set(&e->seen, t->account, t, NULL) < 0)
            e->no_memory = true;
}

/* False if there are too many already. */
static bool add_target(struct expansion *e, str account, str recipient, str reason)
{
    if (is_seen(e, account))
        return true;
    if (e->n_targets >= TARGETS_MAX)
        return false;
    struct target *t = ARENA_NEW(e->arena, struct target);
    if (!t) {
        e->no_memory = true;
        return true;
    }
    *t = (struct target){ .account = account, .recipient = recipient, .reason = reason };
    *e->targets_end = t;
    e->targets_end = &t->next;
    e->n_targets++;
    mark_seen(e, t);
    return true;
}

static void add_refused(struct expansion *e, str recipient, str reason)
{
    struct refused *r = ARENA_NEW(e->arena, struct refused);
    if (!r) {
        e->no_memory = true;
        return;
    }
    *r = (struct refused){ .recipient = recipient, .reason = reason };
    *e->refused_end = r;
    e->refused_end = &r->next;
    e->n_refused++;
}

/* To postmaster of the recipient's domain, who is told why; unplaced if there is none. */
static void add_postmaster(struct expansion *e, str recipient, str reason)
{
    ptrdiff_t at = str_rchr(recipient, '@');
    str domain = at < 0 ? STR_NONE : str_from(recipient, (size_t)at + 1);
    str postmaster = arena_printf(e->arena, "postmaster@%.*s", STR_ARG(domain));
    struct directory_result result = { 0 };
    if (!postmaster.p || !reason.p || directory_resolve(&e->store->directory, e->arena, postmaster, &result) < 0) {
        e->no_memory = true;
        return;
    }
    bool any = false;
    for (const struct directory_target *t = result.targets; t; t = t->next)
        if (!t->foreign)
            any = add_target(e, t->address, recipient, reason) || any;
    if (!any)
        add_refused(e, recipient, reason);
}

static void expand_recipient(struct expansion *e, const struct record_recipient *to)
{
    struct directory_result result = { 0 };
    str recipient = to->address;
    if (directory_resolve(&e->store->directory, e->arena, recipient, &result) < 0) {
        e->no_memory = true;
        return;
    }
    bool returned = false;
    int r = result.n_targets ? 0 : foreign_return(&e->foreign, to, &returned);
    if (!result.n_targets && !returned && r == 0)
        add_postmaster(e, recipient, arena_printf(e->arena, "%.*s is not an address of this host (any more)",
                                                  STR_ARG(recipient)));
    bool too_many = false;
    for (const struct directory_target *t = result.targets; t && !e->no_memory; t = t->next)
        if (!t->foreign && !add_target(e, t->address, recipient, STR_NONE))
            too_many = true;
    if (r == 0 && !returned)
        r = foreign_add(&e->foreign, to, &result);
    e->no_memory = e->no_memory || r == -ENOMEM;
    if (too_many || r == -E2BIG)
        add_refused(e, recipient, S("one message has too many final recipients"));
}

static void forget_old_boxes(struct store *s)
{
    uint64_t committed = store_committed(s);
    str key;
    struct box *b;
    for (size_t at = 0; s->boxes.n > BOXES_KEPT / 2 && (b = map_next(&s->boxes, &at, &key));)
        if (b->lsn <= committed)
            free(map_take(&s->boxes, key));
}

static int make_box(struct store *s, str account, str name, struct box *box)
{
    struct index_mailbox row;
    int r = index_mailbox_named(s->index, account, name, &row);
    if (r < 0)
        return r;
    if (r == 1) {
        *box = (struct box){ .id = row.id, .uidnext = row.uidnext };
        return 0;
    }
    uint64_t now = s->config.env->wall_us() / 1000000;
    uint32_t uidvalidity = MAX((uint32_t)now, s->last_uidvalidity + 1);
    struct journal_record record = { .kind = JOURNAL_mailbox_created, .mailbox_created = {
        .id = s->last_mailbox + 1, .account = account, .name = name, .uidvalidity = uidvalidity } };
    r = store_stage(s, &record);
    if (r < 0)
        return r;
    s->last_mailbox++;
    s->last_uidvalidity = uidvalidity;
    *box = (struct box){ .id = record.mailbox_created.id, .uidnext = 1, .lsn = record.lsn };
    return 0;
}

int store_box(struct store *s, str account, str name, struct box **out)
{
    char text[ACCOUNT_MAX + 1 + BOX_NAME_MAX];
    if (!account.n || account.n > ACCOUNT_MAX || name.n > BOX_NAME_MAX || str_chr(account, '\0') >= 0)
        return -EINVAL;
    memcpy(text, account.p, account.n);
    text[account.n] = '\0';
    memcpy(text + account.n + 1, name.p, name.n);
    str key = str_of(text, account.n + 1 + name.n);
    struct box *box = map_get(&s->boxes, key);
    if (!box) {
        if (s->boxes.n >= BOXES_KEPT)
            forget_old_boxes(s);
        _cleanup_free_ struct box *fresh = malloc(sizeof(*fresh));
        if (!fresh)
            return -ENOMEM;
        int r = make_box(s, account, name, fresh);
        if (r == 0)
            r = map_set(&s->boxes, key, fresh, NULL);
        if (r < 0)
            return r == -ENOSPC ? -ENOMEM : r;
        box = TAKE(fresh);
    }
    *out = box;
    return 0;
}

/* Control bytes would be lines of their own in the message. */
static str line_safe(struct arena *a, str s)
{
    bool bad = false;
    for (size_t i = 0; i < s.n; i++)
        bad = bad || (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f;
    if (!bad)
        return s;
    str copy = arena_dup(a, s);
    for (size_t i = 0; i < copy.n; i++) {
        char *c = (char *)copy.p + i;
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    return copy;
}

static str make_prefix(struct arena *a, str sender, str account)
{
    sender = line_safe(a, sender);
    account = line_safe(a, account);
    return arena_printf(a, "Return-Path: <%.*s>\r\nDelivered-To: %.*s\r\n", STR_ARG(sender), STR_ARG(account));
}

/* A message that fills a gap may have reached this mailbox before the damage. */
static int is_placed_already(struct store *s, const struct log_message *m, const struct box *box)
{
    struct log_position at = { m->segment, m->header.offset };
    return m->again ? index_message_placed(s->index, box->id, m->log, at) : 0;
}

static int place_targets(struct expansion *e, const struct log_message *m, str sender, struct journal_delivered *d)
{
    struct store *s = e->store;
    struct journal_placement *list = ARENA_ARRAY(e->arena, struct journal_placement, e->n_targets);
    if (!list)
        return -ENOMEM;
    d->placed = list;
    for (const struct target *t = e->targets; t; t = t->next) {
        struct box *box;
        int r = store_box(s, t->account, S("INBOX"), &box);
        if (r == 0)
            r = is_placed_already(s, m, box);
        if (r < 0)
            return r;
        if (r == 1)
            continue;
        if (box->uidnext == UID_MAX) {
            add_refused(e, t->recipient, S("the mailbox has used up its UIDs"));
            continue;
        }
        box->lsn = s->next_lsn; /* the record of this message will not be lower; keeps the box from being forgotten */
        struct journal_placement *p = &list[d->n_placed++];
        *p = (struct journal_placement){ .mailbox = box->id, .uid = box->uidnext++, .account = t->account,
                                         .reason = t->reason };
        p->prefix = make_prefix(e->arena, sender, t->account);
        if (!p->prefix.p)
            return -ENOMEM;
        if (!str_eq(t->recipient, t->account))
            p->recipient = t->recipient;
    }
    return 0;
}

static int list_refused(struct expansion *e, struct journal_delivered *d)
{
    struct journal_unplaced *list = ARENA_ARRAY(e->arena, struct journal_unplaced, e->n_refused);
    if (!list)
        return -ENOMEM;
    d->unplaced = list;
    for (const struct refused *r = e->refused; r; r = r->next) {
        list[d->n_unplaced++] = (struct journal_unplaced){ .recipient = r->recipient, .reason = r->reason };
        store_note(e->store, "a message is kept without a mailbox: %.*s: %.*s", STR_ARG(r->recipient),
                   STR_ARG(r->reason));
    }
    return 0;
}

/* What the hook will be told when all this is in the index. */
static int note_placements(struct store *s, const struct message_record *message, const struct journal_delivered *d,
                           uint64_t lsn)
{
    struct batch *b = s->open;
    if (!s->config.placed)
        return 0;
    for (size_t i = 0; i < d->n_placed; i++) {
        const struct journal_placement *p = &d->placed[i];
        struct placed_note *n = ARENA_NEW(&b->arena, struct placed_note);
        if (!n)
            return -ENOMEM;
        n->placement = (struct store_placement){
            .message = message, .account = p->account, .mailbox = S("INBOX"), .uid = p->uid, .lsn = lsn, .log = d->log,
            .position = { d->segment, d->offset }, .size = p->prefix.n + d->content_len,
            .recipient = p->recipient.n ? p->recipient : p->account, .reason = p->reason,
        };
        *b->notes_end = n;
        b->notes_end = &n->next;
    }
    return 0;
}

static int expand_and_stage(struct expansion *e, const struct log_message *m, const struct message_record *message)
{
    struct store *s = e->store;
    for (size_t i = 0; i < message->n_recipients && !e->no_memory; i++)
        expand_recipient(e, &message->recipients[i]);
    if (e->no_memory)
        return -ENOMEM;
    struct journal_record record = { .kind = JOURNAL_delivered, .delivered = {
        .log = m->log, .segment = m->segment, .offset = m->header.offset, .end = record_end(&m->header),
        .content_len = m->header.content_len, .meta_len = m->header.meta_len, .received_us = message->received_us,
        .number = message->number, .again = m->again, .no_card = message->card.n == 0 } };
    struct journal_delivered *d = &record.delivered;
    memcpy(d->session, message->session, sizeof(d->session));
    int r = place_targets(e, m, message->sender, d);
    if (r == 0)
        r = list_refused(e, d);
    if (r == 0)
        r = foreign_end(&e->foreign, &d->queue);
    if (r == 0)
        r = note_placements(s, message, d, s->next_lsn);
    if (r == 0)
        r = store_stage(s, &record);
    if (r == 0 && d->queue.present)
        r = foreign_staged(s, &record);
    if (r == 0)
        s->open->log_bytes += d->end - d->offset;
    return r;
}

int store_stage_skipped(struct store *s, const struct journal_skipped *skipped)
{
    store_note(s, "log %.*s segment %llu: bytes %llu to %llu were passed over: %.*s", STR_ARG(skipped->log),
               (unsigned long long)skipped->segment, (unsigned long long)skipped->offset,
                   (unsigned long long)skipped->end,
               STR_ARG(skipped->reason));
    struct journal_record record = { .kind = JOURNAL_skipped, .skipped = *skipped };
    return store_stage(s, &record);
}

static int stage_once(struct store *s, const struct log_message *m)
{
    struct arena *a = &s->open->arena;
    struct message_record *message = ARENA_NEW(a, struct message_record);
    str meta = arena_dup(a, m->meta);
    if (!message || !meta.p)
        return -ENOMEM;
    int r = message_record_decode(a, meta, message);
    if (r == -EBADMSG) {
        struct journal_skipped skipped = { .log = m->log, .segment = m->segment, .offset = m->header.offset,
                                           .end = record_end(&m->header), .again = m->again,
                                           .reason = S("the record of a message cannot be decoded") };
        return store_stage_skipped(s, &skipped);
    }
    if (r < 0)
        return r;
    struct expansion e = { .store = s, .arena = a };
    e.targets_end = &e.targets;
    e.refused_end = &e.refused;
    map_init(&e.seen, TARGETS_MAX, s->boxes.key);
    r = foreign_begin(&e.foreign, s, a, message);
    struct placed_note **notes_end = s->open->notes_end;
    if (r == 0)
        r = expand_and_stage(&e, m, message);
    if (r < 0) { /* nothing of it was staged but mailboxes, which do no harm */
        s->open->notes_end = notes_end;
        *notes_end = NULL;
    }
    map_done(&e.seen);
    foreign_done(&e.foreign);
    return r;
}

int store_stage_message(struct store *s, const struct log_message *m)
{
    int r = store_batch_full(s) ? store_make_way(s) : 0;
    if (r == 0)
        r = stage_once(s, m);
    if (r == -EBADMSG) { /* the index, not the message */
        r = store_reindex(s);
        if (r == 0)
            r = stage_once(s, m);
        return r == -EBADMSG ? -EIO : r;
    }
    if (r != -ENOMEM)
        return r;
    r = store_make_way(s); /* with an empty batch there is room for one message, however many its recipients */
    return r < 0 ? r : stage_once(s, m);
}
