/* Where a message has its card from: its record, or, if the role that took it made none, the index, once role cards has
 * made one (card_maker.c); and what the files of cards (cards_file.h) are told. */
#include <errno.h>
#include <unistd.h>
#include "base/hash.h"
#include "store/cards_file.h"
#include "store/index_watch.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"

#define META_MAX ((uint32_t)1 << 26)
#define RECORD_MEMORY ((size_t)1 << 28)
enum { LIVE_A_STEP = 256 };

int store_cardless(struct store *s, struct store_cardless *out)
{
    struct index_cardless row;
    int r = index_card_wanted(s->index, &row);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = index_card_wanted(s->index, &row);
    if (r != 1)
        return r == -EBADMSG ? -EIO : r;
    *out = (struct store_cardless){ .position = row.at, .content_len = row.content_len, .number = row.number };
    memcpy(out->session, row.session, sizeof(out->session));
    if (!log_name_valid(row.log))
        return -EIO;
    memcpy(out->log, row.log.p, row.log.n);
    return 1;
}

static int set(struct store *s, str log, struct log_position at, str card)
{
    int r = store_settle(s);
    if (r == 0)
        r = index_begin(s->index);
    if (r == 0)
        r = index_card_set(s->index, log, at, card);
    int e = r < 0 ? r : index_commit(s->index);
    if (e < 0)
        index_rollback(s->index);
    return e < 0 ? e : r;
}

struct late_card {
    struct cards_files *files;
    str card;
};

static int add_late(void *arg, uint64_t mailbox, uint32_t uid)
{
    const struct late_card *l = arg;
    cards_files_add(l->files, mailbox, uid, l->card);
    return 0;
}

int store_card_set(struct store *s, str log, struct log_position at, str card)
{
    int r = s->failed ? s->failed : set(s, log, at, card);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = set(s, log, at, card);
    struct late_card late = { .files = s->cards, .card = card };
    if (r == 1 && s->cards)
        index_card_places(s->index, log, at, add_late, &late);
    return r == -EBADMSG ? -EIO : r;
}

static int live_uids(void *arg, uint64_t mailbox, void (*each)(void *arg, uint32_t uid), void *each_arg)
{
    struct store *s = arg;
    struct index_record rows[LIVE_A_STEP];
    uint32_t next = 1;
    int n = LIVE_A_STEP;
    while (n == LIVE_A_STEP && next) {
        n = index_records_in(s->index, mailbox, next, rows, LIVE_A_STEP);
        for (int i = 0; i < n; i++)
            each(each_arg, rows[i].uid);
        next = n > 0 ? rows[n - 1].uid + 1 : next;
    }
    return MIN(n, 0);
}

void store_cards_open(struct store *s)
{
    if (s->lost && cards_files_discard(s->data_fd) < 0)
        return;
    if (cards_files_open(s->data_fd, &s->cards) == 0)
        cards_files_set_live(s->cards, live_uids, s);
    else
        store_note(s, "the folder of cards cannot be used");
}

void store_cards_placed(struct store *s, const struct store_placement *p)
{
    /* who reads the mailbox now gets it at once, others when they ask (store_cards_get) */
    if (s->cards && p->uid && p->message->card.n && index_watched(s->index, p->mailbox_id))
        cards_files_add(s->cards, p->mailbox_id, p->uid, p->message->card);
}

static void copied(struct store *s, const struct journal_copied *c)
{
    for (size_t i = 0; i < c->n_runs; i++)
        for (uint32_t k = 0; k < c->runs[i].count; k++)
            cards_files_copy(s->cards, c->from, c->runs[i].source + k, c->to, c->runs[i].made + k);
}

void store_cards_copied(struct store *s, str frames)
{
    uint64_t lsn;
    str payload;
    while (s->cards && journal_frame_next(&frames, &lsn, &payload)) {
        _cleanup_arena_ struct arena a = ARENA(RECORD_MEMORY);
        struct journal_record r;
        uint8_t kind = payload.n ? (uint8_t)payload.p[0] : 0;
        if ((kind != JOURNAL_copied && kind != JOURNAL_mailbox_deleted) ||
            journal_record_decode(&a, payload, lsn, &r) < 0)
            continue;
        if (r.kind == JOURNAL_copied)
            copied(s, &r.copied);
        else
            cards_files_drop(s->cards, r.mailbox_deleted.id);
    }
}


int store_card_of_record(int fd, struct log_position at, struct buf *out)
{
    _cleanup_arena_ struct arena a = ARENA(RECORD_MEMORY);
    _cleanup_buf_ struct buf meta = BUF(META_MAX);
    struct segment_reader reader;
    struct record_header h;
    struct message_record m;
    bool damage;
    int r = segment_reader_open(fd, &reader);
    if (r < 0)
        return r == -ENODATA ? -EBADMSG : r;
    reader.at = at.offset;
    r = segment_reader_next(&reader, false, &h, &damage);
    if (r < 0)
        return r;
    if (r == 0 || h.offset != at.offset || h.type != RECORD_MESSAGE || h.meta_len > META_MAX)
        return -EBADMSG;
    char *p = buf_space(&meta, h.meta_len);
    if (!p)
        return -ENOMEM;
    ssize_t n = segment_pread(fd, p, h.meta_len, h.offset + RECORD_HEADER_SIZE + h.content_len);
    if (n < 0)
        return (int)n;
    bool good = (size_t)n == h.meta_len && crc32c(0, buf_str(&meta)) == h.meta_crc;
    r = good ? message_record_decode(&a, buf_str(&meta), &m) : -EBADMSG;
    if (r < 0)
        return r;
    r = buf_add(out, m.card);
    return r < 0 ? r : m.card.n > 0;
}

int store_card(struct store *s, str log, struct log_position at, struct buf *out)
{
    bool wanted;
    int r = index_card_get(s->index, log, at, &wanted, out);
    if (r != 0 || wanted)
        return r;
    _cleanup_close_ int fd = -1;
    r = store_segment_open(s, log, at.segment, &fd);
    return r < 0 ? r : store_card_of_record(fd, at, out);
}
