/* Placing what a client appended (RFC 9051 6.3.12): a record of role access names the mailbox, the flags and the date.
 * There is nothing to expand, and no line is put before the content. */
#include <errno.h>
#include "store/store_internal.h"

#define UID_MAX UINT32_MAX
#define KEYWORD_MAX 255

/* The mailbox as it is when all that is staged is applied; without it, the account's INBOX. That it is not about to
 * be renamed or deleted, store_stage_message() has seen to. */
static int find_box(struct store *s, struct arena *a, const struct message_record *message, str *out_name,
                    struct box **out)
{
    str account, name;
    int r = index_mailbox_title(s->index, a, message->append_mailbox, &account, &name);
    if (r == 1 && str_eq(account, message->account)) {
        r = store_box(s, account, name, out);
        if (r < 0)
            return r;
        *out_name = name;
        if ((*out)->id == message->append_mailbox)
            return 0;
    }
    *out_name = S("INBOX");
    return r < 0 ? r : store_box(s, message->account, *out_name, out);
}

static int add_keywords(struct arena *a, const struct message_record *message, struct journal_append *out)
{
    str *list = ARENA_ARRAY(a, str, INDEX_KEYWORDS);
    if (!list)
        return -ENOMEM;
    out->keywords = list;
    for (size_t i = 0; i < message->n_append_keywords && out->n_keywords < INDEX_KEYWORDS; i++)
        if (message->append_keywords[i].n && message->append_keywords[i].n <= KEYWORD_MAX)
            list[out->n_keywords++] = message->append_keywords[i];
    return 0;
}

/* One placement, or one that is refused. *out_name: of the mailbox. */
static int place(struct store *s, const struct log_message *m, const struct message_record *message,
                 struct journal_delivered *d, str *out_name)
{
    struct arena *a = &s->open->arena;
    struct journal_placement *p = ARENA_NEW(a, struct journal_placement);
    struct journal_unplaced *u = ARENA_NEW(a, struct journal_unplaced);
    struct box *box = NULL;
    if (!p || !u)
        return -ENOMEM;
    *u = (struct journal_unplaced){ .recipient = message->account, .reason = S("there is no such account") };
    *out_name = S("INBOX");
    d->unplaced = u;
    d->placed = p;
    int r = find_box(s, a, message, out_name, &box);
    if (r == -EINVAL) /* not a name of an account */
        d->n_unplaced = 1;
    if (r < 0)
        return r == -EINVAL ? 0 : r;
    if (box->uidnext == UID_MAX) {
        u->reason = S("the mailbox has used up its UIDs");
        d->n_unplaced = 1;
        return 0;
    }
    r = store_is_placed(s, m, box);
    if (r != 0)
        return MIN(r, 0);
    box->lsn = box->changed = s->next_lsn; /* keeps the box from being forgotten; keywords may be new */
    *p = (struct journal_placement){ .mailbox = box->id, .uid = box->uidnext++, .account = message->account };
    d->n_placed = 1;
    return 0;
}

int store_stage_append(struct store *s, const struct log_message *m, const struct message_record *message)
{
    struct journal_record record = { .kind = JOURNAL_delivered, .delivered = store_delivered(m, message) };
    struct journal_delivered *d = &record.delivered;
    str name;
    d->append = (struct journal_append){ .present = true, .system = message->append_flags & MESSAGE_FLAGS,
                                         .date_s = message->append_date_s, .zone_min = message->append_zone_min };
    int r = add_keywords(&s->open->arena, message, &d->append);
    if (r == 0)
        r = place(s, m, message, d, &name);
    if (r == 0 && d->n_unplaced)
        store_note(s, "an appended message is kept without a mailbox: %.*s: %.*s", STR_ARG(message->account),
                   STR_ARG(d->unplaced[0].reason));
    if (r == 0)
        r = store_note_placed(s, message, d, name);
    if (r == 0)
        r = store_stage(s, &record);
    if (r == 0)
        s->open->log_bytes += d->end - d->offset;
    return r;
}
