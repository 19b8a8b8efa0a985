/* Filling the files of cards (cards_file.h) of a mailbox that somebody reads: from the records of its messages, a few
 * milliseconds at a time. The first reader waits for it, so it is made to cost little: the index gives the places of
 * many records at once, records that stand near each other in a log are read together, and a record is looked at once.
 * Damage is passed over: a card that is not in the files is no loss. */
#include <errno.h>
#include <unistd.h>
#include "base/hash.h"
#include "store/cards_file.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"

enum {
    ROWS = 256, GET_MS = 15, STEP_MS = 5, CARD_BYTES = 1 << 20,
    SMALL = 8192,      /* content and meta of a record that is read whole */
    GAP_MAX = 8192,    /* between two of them, cheaper to read than to skip */
    WINDOW = 98304,
    META_MAX = 1 << 26,
};

struct filling {
    struct store *s;
    uint64_t mailbox;
    int fd; /* the segment that was read last */
    uint64_t log, segment;
    uint8_t key[16];
    struct buf window, meta; /* bytes of it from window_at on; those of a large record */
    uint64_t window_at;
    struct arena arena;
    struct buf card;
};

static int segment_of(struct filling *f, const struct index_record *r)
{
    struct segment_reader reader;
    str log;
    if (f->fd >= 0 && f->log == r->log && f->segment == r->position.segment)
        return 0;
    if (f->fd >= 0)
        close(TAKE_FD(f->fd));
    buf_clear(&f->window);
    int e = index_log_name(f->s->index, r->log, &log);
    if (e == 0)
        e = store_segment_open(f->s, log, r->position.segment, &f->fd);
    if (e == 0 && (e = segment_reader_open(f->fd, &reader)) < 0)
        close(TAKE_FD(f->fd));
    if (e < 0)
        return e;
    f->log = r->log;
    f->segment = r->position.segment;
    memcpy(f->key, reader.header.key, sizeof(f->key));
    return 0;
}

static bool is_small(const struct index_record *r)
{
    return r->content_len <= SMALL && r->meta_len <= SMALL;
}

static uint64_t end_of(const struct index_record *r)
{
    return r->position.offset + RECORD_HEADER_SIZE + r->content_len + r->meta_len;
}

/* n bytes from `at` on; false if there are not so many. */
static bool read_into(struct buf *b, int fd, uint64_t at, size_t n)
{
    buf_clear(b);
    if (buf_reserve(b, n) < 0 || segment_pread(fd, b->p, n, at) != (ssize_t)n)
        return false;
    b->n = n;
    return true;
}

static bool in_window(const struct filling *f, const struct index_record *r)
{
    return f->window.n && r->position.offset >= f->window_at && end_of(r) <= f->window_at + f->window.n;
}

/* Reads a small record with those behind it that are near. */
static bool read_window(struct filling *f, const struct index_record *r, size_t n)
{
    uint64_t from = r->position.offset, end = end_of(r);
    for (size_t i = 1; i < n && r[i].log == r->log && r[i].position.segment == r->position.segment; i++) {
        uint64_t at = r[i].position.offset;
        if (!is_small(&r[i]) || at < end || at - end > GAP_MAX || end_of(&r[i]) - from > WINDOW)
            break;
        end = end_of(&r[i]);
    }
    f->window_at = from;
    return read_into(&f->window, f->fd, from, end - from);
}

/* Header and meta of the first of n records. */
static bool read_record(struct filling *f, const struct index_record *r, size_t n, struct record_header *out,
                        str *out_meta)
{
    char head[RECORD_HEADER_SIZE];
    str header = str_of(head, sizeof(head));
    uint64_t at = r->position.offset, meta_at = at + RECORD_HEADER_SIZE + r->content_len;
    if (is_small(r)) {
        if (!in_window(f, r) && !read_window(f, r, n))
            return false;
        header = str_of(f->window.p + (at - f->window_at), sizeof(head));
        *out_meta = str_of(f->window.p + (meta_at - f->window_at), r->meta_len);
    } else {
        if (r->meta_len > META_MAX || segment_pread(f->fd, head, sizeof(head), at) != sizeof(head) ||
            !read_into(&f->meta, f->fd, meta_at, r->meta_len))
            return false;
        *out_meta = buf_str(&f->meta);
    }
    return record_header_decode(header, f->key, at, out) == 1;
}

/* The card in the record of the first of n messages; false: it has none, or is damaged. */
static bool card_of(struct filling *f, const struct index_record *r, size_t n, str *out)
{
    struct record_header h;
    struct message_record m;
    str meta;
    arena_clear(&f->arena);
    if (segment_of(f, r) < 0 || !read_record(f, r, n, &h, &meta))
        return false;
    if (h.type != RECORD_MESSAGE || h.content_len != r->content_len || h.meta_len != r->meta_len ||
        crc32c(0, meta) != h.meta_crc || message_record_decode(&f->arena, meta, &m) < 0)
        return false;
    *out = m.card;
    return m.card.n > 0;
}

static int fill_one(struct filling *f, const struct index_record *r, size_t n)
{
    str card, log;
    bool wanted;
    int e = 0;
    if (!card_of(f, r, n, &card)) {
        buf_clear(&f->card);
        e = index_log_name(f->s->index, r->log, &log);
        if (e == 0)
            e = index_card_get(f->s->index, log, r->position, &wanted, &f->card);
        card = buf_str(&f->card);
    }
    if (e >= 0)
        cards_files_add(f->s->cards, f->mailbox, r->uid, card);
    return MIN(e, 0);
}

/* 1: there is more; 0: filled; negative errno. */
static int fill_page(struct filling *f)
{
    struct index_record rows[ROWS];
    struct card_place places[ROWS];
    uint32_t next = cards_files_filled(f->s->cards, f->mailbox), first = 0; /* of the places */
    int n = index_records_in(f->s->index, f->mailbox, next, rows, ROWS), r = 0;
    for (int i = 0; i < n && r == 0; i++) {
        if (!first || rows[i].uid - first >= ROWS) {
            first = rows[i].uid;
            cards_files_places(f->s->cards, f->mailbox, first, ROWS, places);
        }
        if (!places[rows[i].uid - first].length)
            r = fill_one(f, &rows[i], (size_t)(n - i));
    }
    if (n <= 0 || r < 0)
        return r < 0 ? r : n;
    cards_files_flush_live(f->s->cards);
    cards_files_set_filled(f->s->cards, f->mailbox, rows[n - 1].uid + 1);
    return n == ROWS;
}

static int fill(struct store *s, uint64_t mailbox, uint64_t ms)
{
    struct filling f = { .s = s, .mailbox = mailbox, .fd = -1, .window = BUF(WINDOW), .meta = BUF(META_MAX),
                         .arena = ARENA(META_MAX), .card = BUF(CARD_BYTES) };
    uint64_t until = s->config.env->mono_ms() + ms;
    int r = 1;
    while (r == 1 && s->config.env->mono_ms() < until)
        r = fill_page(&f);
    if (f.fd >= 0)
        close(f.fd);
    buf_done(&f.window);
    buf_done(&f.meta);
    buf_done(&f.card);
    arena_done(&f.arena);
    return r;
}

bool store_cards_filling(const struct store *s, uint64_t mailbox)
{
    for (size_t i = 0; i < s->n_fill; i++)
        if (s->fill[i] == mailbox)
            return true;
    return false;
}

static void go_on_later(struct store *s, uint64_t mailbox)
{
    if (!store_cards_filling(s, mailbox) && s->n_fill < FILL_MAX)
        s->fill[s->n_fill++] = mailbox;
}

int store_cards_get(struct store *s, uint64_t mailbox, int *out_map_fd, int *out_cards_fd)
{
    struct index_mailbox row;
    if (!s->cards || index_mailbox_get(s->index, mailbox, &row) != 1 || cards_files_make(s->cards, mailbox) < 0)
        return -ENOENT;
    if (fill(s, mailbox, GET_MS) == 1)
        go_on_later(s, mailbox);
    return cards_files_get(s->cards, mailbox, out_map_fd, out_cards_fd);
}

int store_cards_step(struct store *s)
{
    if (!s->n_fill || s->failed)
        return 0;
    uint64_t mailbox = s->fill[0];
    if (fill(s, mailbox, STEP_MS) != 1) /* filled, or the mailbox or the index are not what they were */
        s->fill[0] = s->fill[--s->n_fill];
    return s->n_fill > 0;
}
