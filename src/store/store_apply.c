/* Expanding a message's recipients and staging the record that places it: see store.h and DESIGN 2. */
#include <errno.h>
#include <stdlib.h>
#include "store/mailbox_query.h"
#include "store/store_foreign.h"

/* More final recipients than this one message does not get; the rest goes to postmaster. */
#define TARGETS_MAX 200000
/* Up to here a list is searched, beyond it a table. */
#define FEW 16
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
    bool native;     /* into mailboxes alone */
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

static bool is_native(const struct directory_target *t) { return !t->foreign && !t->mechanism.n; }

/* The recipient's own mailboxes: its account, or those that an alias leads to; mechanisms and other hosts are passed
 * over. */
static void keep_native(struct expansion *e, str recipient, struct directory_result *result)
{
    const struct directory *d = &e->store->directory;
    struct directory_target *first = NULL, **end = &first;
    result->n_targets = 0;
    if (directory_has_account(d, recipient)) {
        struct directory_target *own = ARENA_NEW(e->arena, struct directory_target);
        e->no_memory = e->no_memory || !own;
        if (own)
            *own = (struct directory_target){ .address = arena_lower(e->arena, recipient) };
        result->targets = own;
    }
    for (struct directory_target *t = result->targets; t; t = t->next) {
        if (t->foreign || !directory_has_account(d, t->address))
            continue;
        t->mechanism = STR_NONE;
        *end = t;
        end = &t->next;
        result->n_targets++;
    }
    *end = NULL;
    result->targets = first;
}

static int resolve(struct expansion *e, str recipient, struct directory_result *out)
{
    int r = directory_resolve(&e->store->directory, e->arena, recipient, out);
    if (r == 0 && e->native)
        keep_native(e, recipient, out);
    return r == 0 ? foreign_settle(&e->foreign, out) : r;
}

/* To postmaster of the recipient's domain, who is told why; unplaced if there is none. */
static void add_postmaster(struct expansion *e, const struct record_recipient *to, str reason)
{
    str recipient = to->address;
    ptrdiff_t at = str_rchr(recipient, '@');
    str domain = at < 0 ? STR_NONE : str_from(recipient, (size_t)at + 1);
    str postmaster = arena_printf(e->arena, "postmaster@%.*s", STR_ARG(domain));
    struct directory_result result = { 0 };
    if (!postmaster.p || !reason.p || resolve(e, postmaster, &result) < 0) {
        e->no_memory = true;
        return;
    }
    bool any = false;
    for (const struct directory_target *t = result.targets; t; t = t->next) {
        if (is_native(t))
            any = add_target(e, t->address, recipient, reason) || any;
        else if (t->mechanism.n)
            any = foreign_postmaster(&e->foreign, to, t) == 0 || any;
    }
    if (!any)
        add_refused(e, recipient, reason);
}

static void expand_recipient(struct expansion *e, const struct record_recipient *to)
{
    struct directory_result result = { 0 };
    str recipient = to->address;
    if (resolve(e, recipient, &result) < 0) {
        e->no_memory = true;
        return;
    }
    bool returned = false;
    int r = result.n_targets ? 0 : foreign_return(&e->foreign, to, &returned);
    if (!result.n_targets && !returned && r == 0)
        add_postmaster(e, to, arena_printf(e->arena, "%.*s is not an address of this host (any more)",
                                           STR_ARG(recipient)));
    bool too_many = false;
    for (const struct directory_target *t = result.targets; t && !e->no_memory; t = t->next)
        if (is_native(t) && !add_target(e, t->address, recipient, STR_NONE))
            too_many = true;
    if (r == 0 && !returned)
        r = foreign_add(&e->foreign, to, &result);
    e->no_memory = e->no_memory || r == -ENOMEM;
    if (too_many || r == -E2BIG)
        add_refused(e, recipient, S("one message has too many final recipients"));
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

int store_is_placed(struct store *s, const struct log_message *m, const struct box *box)
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
            r = store_is_placed(s, m, box);
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

static int add_note(struct batch *b, const struct store_placement *p)
{
    struct placed_note *n = ARENA_NEW(&b->arena, struct placed_note);
    if (!n)
        return -ENOMEM;
    n->placement = *p;
    *b->notes_end = n;
    b->notes_end = &n->next;
    return 0;
}

int store_note_placed(struct store *s, const struct message_record *message, const struct journal_delivered *d,
                      str mailbox)
{
    struct store_placement note = { .message = message, .mailbox = mailbox, .lsn = s->next_lsn, .log = d->log,
                                    .position = { d->segment, d->offset } };
    int r = 0;
    for (size_t i = 0; i < d->n_placed && r == 0; i++) {
        const struct journal_placement *p = &d->placed[i];
        note.account = p->account;
        note.mailbox_id = p->mailbox;
        note.uid = p->uid;
        note.size = p->prefix.n + d->content_len;
        note.recipient = p->recipient.n ? p->recipient : p->account;
        note.reason = p->reason;
        r = add_note(s->open, &note);
    }
    for (size_t i = 0; d->append.present && i < d->n_unplaced && r == 0; i++) {
        note.account = note.recipient = d->unplaced[i].recipient;
        note.reason = d->unplaced[i].reason;
        r = add_note(s->open, &note);
    }
    return r;
}

struct journal_delivered store_delivered(const struct log_message *m, const struct message_record *message)
{
    struct journal_delivered d = {
        .log = m->log, .segment = m->segment, .offset = m->header.offset, .end = record_end(&m->header),
        .content_len = m->header.content_len, .meta_len = m->header.meta_len, .received_us = message->received_us,
        .number = message->number, .again = m->again, .no_card = message->card.n == 0 };
    memcpy(d.session, message->session, sizeof(d.session));
    return d;
}

static int expand_and_stage(struct expansion *e, const struct log_message *m, const struct message_record *message)
{
    struct store *s = e->store;
    for (size_t i = 0; i < message->n_recipients && !e->no_memory; i++)
        expand_recipient(e, &message->recipients[i]);
    if (e->no_memory)
        return -ENOMEM;
    struct journal_record record = { .kind = JOURNAL_delivered, .delivered = store_delivered(m, message) };
    struct journal_delivered *d = &record.delivered;
    int r = place_targets(e, m, message->sender, d);
    if (r == 0)
        r = list_refused(e, d);
    if (r == 0)
        r = foreign_end(&e->foreign, &d->queue);
    if (r == 0)
        r = store_note_placed(s, message, d, S("INBOX"));
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

static int skip(struct store *s, const struct log_message *m, str reason)
{
    struct journal_skipped skipped = { .log = m->log, .segment = m->segment, .offset = m->header.offset,
                                       .end = record_end(&m->header), .again = m->again, .reason = reason };
    return store_stage_skipped(s, &skipped);
}

static int stage_mail(struct store *s, const struct log_message *m, struct message_record *message)
{
    struct arena *a = &s->open->arena;
    struct expansion e = { .store = s, .arena = a, .native = message->native };
    e.targets_end = &e.targets;
    e.refused_end = &e.refused;
    map_init(&e.seen, TARGETS_MAX, s->boxes.key);
    int r = foreign_begin(&e.foreign, s, a, message);
    if (r == 0)
        r = expand_and_stage(&e, m, message);
    map_done(&e.seen);
    foreign_done(&e.foreign);
    return r;
}

static bool of_appends(str log) { return str_eq(log, ACCESS_LOG) || str_eq(log, IMPORT_LOG); }

static int stage_once(struct store *s, const struct log_message *m)
{
    struct arena *a = &s->open->arena;
    struct message_record *message = ARENA_NEW(a, struct message_record);
    str meta = arena_dup(a, m->meta);
    if (!message || !meta.p)
        return -ENOMEM;
    int r = message_record_decode(a, meta, message);
    if (r == -EBADMSG)
        return skip(s, m, S("the record of a message cannot be decoded"));
    if (r < 0)
        return r;
    /* each log is for what its writer may do; what compaction moved was both */
    if (!str_eq(m->log, STORE_LOG) && of_appends(m->log) != (message->append_mailbox != 0))
        return skip(s, m, S("the record of a message is in the wrong log"));
    struct batch *b = s->open;
    struct placed_note **notes_end = b->notes_end;
    r = message->append_mailbox ? store_stage_append(s, m, message) : stage_mail(s, m, message);
    if (r < 0 && b == s->open) { /* nothing of it was staged but mailboxes, which do no harm */
        b->notes_end = notes_end;
        *notes_end = NULL;
    }
    return r;
}

/* An append asks the index for a mailbox that is staged to be renamed or deleted. With a full disk the message gets a
 * gap, which is filled later. */
static int settle_tree(struct store *s)
{
    int r = store_flush(s);
    return r == -ENOSPC ? 0 : r;
}

int store_stage_message(struct store *s, const struct log_message *m)
{
    store_boxes_trim(s);
    int r = store_batch_full(s) ? store_make_way(s) : 0;
    if (r == 0 && s->tree_lsn > store_committed(s) && of_appends(m->log))
        r = settle_tree(s);
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
