/* A message's card and content: see imap_session.h and message_reader.h. Windows of file bytes are shared by all
 * readers, since nobody keeps a slice beyond a step: reading a mailbox from front to end takes one pread for many
 * messages, and a thousand sessions take no more memory than one.
 *
 * A window may be older than the file it is of. That does no harm: records and cards never change once they are
 * written, and what is read before it was written does not pass its checks, which look again with fresh bytes. */
#include "access/message_reader.h"
#include <errno.h>
#include "base/arena.h"
#include "store/cards_file.h"
#include "store/message_record.h"

enum { WINDOW = 256 * 1024, FIRST_READ = 16 * 1024, DIRECT = 64 * 1024, PLACES = 256, ASKS = 3, BROKEN = 16 };
#define META_MAX ((size_t)8 * 1024 * 1024)

struct window { uint64_t of, at; size_t n; char *p; };
static char content_bytes[WINDOW], card_bytes[WINDOW];
static struct window contents = { .p = content_bytes }, cards = { .p = card_bytes };

static struct { uint64_t box; uint32_t first; bool known; struct card_place at[PLACES]; } places;

/* Texts of cards that passed their checks. Of a mailbox they begin when its cards are asked for, so that they end with
 * what access knows of it (struct box). */
static struct card_columns columns;

/* Long contents that turned out damaged when they had been sent: the next reader must know before. */
static struct { uint64_t segment, offset, len; } broken[BROKEN];
static size_t n_broken;

struct message_reader {
    struct imap_session *session;
    struct store_call cards_call; int map_fd;  /* CARDS_GET is out; the first of its files */
    struct segment_wait wait;
    struct access_segment *segment;            /* held */
    bool refused; uint64_t refused_segment; unsigned asks;
    bool quick;
    bool open, checked, broken;                /* of the record that is open */
    uint64_t box; uint32_t uid;
    uint64_t offset; uint32_t meta_len;
    struct record_header header;
    uint64_t crc_at; uint32_t crc;
    uint64_t meta_box; uint32_t meta_uid; bool has_meta; /* the record whose card this is */
    struct buf meta, minimal, made;
    struct arena arena;
    str card;
    struct mime_parser *mime;
};

struct message_reader *message_reader_new(struct imap_session *s)
{
    struct message_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->session = s;
    r->map_fd = -1;
    r->meta = BUF(META_MAX);
    r->minimal = BUF(CARD_MAX);
    r->made = BUF(CARD_MAX);
    r->arena = ARENA(4 * META_MAX);
    return r;
}

static void close_segment(struct message_reader *r)
{
    segments_release(TAKE(r->segment));
    r->open = false;
}

void message_reader_free(struct message_reader *r)
{
    if (!r)
        return;
    store_call_cancel(&r->cards_call);
    segment_wait_cancel(&r->wait);
    if (r->map_fd >= 0)
        close(r->map_fd);
    close_segment(r);
    buf_done(&r->meta);
    buf_done(&r->minimal);
    buf_done(&r->made);
    arena_done(&r->arena);
    mime_free(r->mime);
    free(r);
}

/* At least `want` bytes (at most WINDOW) from `at` on, or what the file has of them. Reads ahead when it is asked for
 * what lies behind the last window. */
static str window_get(struct window *w, uint64_t of, int fd, uint64_t at, size_t want)
{
    bool same = w->of == of && w->n;
    if (same && at >= w->at && at + want <= w->at + w->n)
        return str_of(w->p + (at - w->at), w->n - (size_t)(at - w->at));
    bool ahead = same && at >= w->at && at <= w->at + w->n + FIRST_READ;
    ssize_t n = segment_pread(fd, w->p, ahead ? WINDOW : MAX(want, (size_t)FIRST_READ), at);
    *w = (struct window){ .of = of, .at = at, .n = n > 0 ? (size_t)n : 0, .p = w->p };
    return str_of(w->p, w->n);
}

/* Is the message's segment at hand? READER_WAIT: the store was asked. After a refusal the place is looked at again:
 * compaction may have moved the message, and the feed of that came before the refusal. */
static void got_segment(struct segment_wait *w, struct access_segment *g)
{
    struct message_reader *r = CONTAINER_OF(w, struct message_reader, wait);
    r->segment = g;
    r->refused = !g;
    r->refused_segment = w->number;
    imap_session_pump(r->session);
}

static bool segment_is(const struct access_segment *g, str log, uint64_t number)
{
    return g && g->number == number && str_eq(str_z(g->log), log);
}

static enum reader_result hold_segment(struct message_reader *r, const struct box *b, const struct box_message *m)
{
    struct segments *all = &r->session->access->segments;
    str log = box_log_name(b, m);
    if (segment_is(r->segment, log, m->segment))
        return READER_READY;
    if (segment_waits(&r->wait))
        return READER_WAIT;
    close_segment(r);
    r->segment = segments_hold(all, log, m->segment);
    if (r->segment)
        return READER_READY;
    if (r->refused && ((r->refused_segment == m->segment && r->asks > 1) || r->asks >= ASKS))
        return READER_GONE;
    r->asks++;
    r->refused = false;
    r->wait.got = got_segment;
    return segments_ask(all, &r->wait, trace_id_str(&r->session->id), log, m->segment) < 0 ? READER_GONE : READER_WAIT;
}

static void damaged(struct message_reader *r, const struct box *b, const struct box_message *m, str what)
{
    struct buf *e = imap_session_event(r->session, "damaged");
    event_str(e, "account", str_z(b->account));
    event_str(e, "mailbox", str_z(b->name));
    event_u64(e, "uid", m->uid);
    event_str(e, "log", box_log_name(b, m));
    event_u64(e, "segment", m->segment);
    event_u64(e, "offset", m->offset);
    event_str(e, "what", what);
    imap_session_event_end(r->session);
    r->session->access->count.damaged++;
}

static bool known_broken(const struct box_message *m)
{
    for (size_t i = 0; i < MIN(n_broken, (size_t)BROKEN); i++)
        if (broken[i].segment == m->segment && broken[i].offset == m->offset && broken[i].len == m->content_len)
            return true;
    return false;
}

/* The record header at the message's place; looked at twice, for the window may be older than the record. */
static bool read_header(struct message_reader *r, const struct box_message *m)
{
    for (int tries = 0; tries < 2; tries++) {
        str head = window_get(&contents, r->segment->serial, r->segment->fd, m->offset, RECORD_HEADER_SIZE);
        if (segment_record_at(r->segment, head, m->offset, &r->header) && r->header.content_len == m->content_len)
            return true;
        contents.n = 0;
    }
    return false;
}

enum reader_result message_reader_open(struct message_reader *r, const struct box *b, size_t index)
{
    const struct box_message *m = &b->messages[index];
    if (r->open && r->box == b->id && r->uid == m->uid)
        return r->broken ? READER_DAMAGED : READER_READY;
    if (r->box != b->id || r->uid != m->uid) {
        r->asks = 0;
        r->refused = false;
    }
    r->open = false;
    r->box = b->id;
    r->uid = m->uid;
    enum reader_result e = hold_segment(r, b, m);
    if (e != READER_READY)
        return e;
    bool good = read_header(r, m), known = known_broken(m);
    if (!good)
        damaged(r, b, m, S("the record is not the one that was stored"));
    r->open = good && !known;
    r->checked = r->broken = false;
    r->offset = m->offset;
    r->meta_len = m->meta_len;
    r->crc_at = r->crc = 0;
    return r->open ? READER_READY : READER_DAMAGED;
}

static uint64_t content_at(const struct message_reader *r, uint64_t offset)
{
    return r->offset + RECORD_HEADER_SIZE + offset;
}

static const struct box_message *message_at_hand(const struct message_reader *r)
{
    const struct box *b = r->session->view.box;
    if (!b || b->id != r->box)
        return NULL;
    size_t i = box_find(b, r->uid);
    return i < b->n && b->messages[i].uid == r->uid ? &b->messages[i] : NULL;
}

static void found_broken(struct message_reader *r)
{
    const struct box_message *m = message_at_hand(r);
    r->broken = true;
    if (!m)
        return;
    damaged(r, r->session->view.box, m, S("the content does not have the checksum it was stored with"));
    size_t at = n_broken++ % BROKEN;
    broken[at].segment = m->segment;
    broken[at].offset = m->offset;
    broken[at].len = m->content_len;
}

bool message_reader_broken(const struct message_reader *r) { return r->broken; }

bool message_reader_intact(struct message_reader *r)
{
    size_t n = (size_t)MIN(r->header.content_len, (uint64_t)WINDOW + 1);
    if (r->checked || n > WINDOW)
        return !r->broken;
    for (int tries = 0; tries < 2; tries++) {
        str s = window_get(&contents, r->segment->serial, r->segment->fd, content_at(r, 0), n);
        if (s.n >= n && crc32c(0, str_first(s, n)) == r->header.content_crc)
            return r->checked = true;
        contents.n = 0;
    }
    found_broken(r);
    return false;
}

/* Bytes that came in order. */
static void running_check(struct message_reader *r, uint64_t offset, str s)
{
    if (r->checked || offset != r->crc_at)
        return;
    r->crc = crc32c(r->crc, s);
    r->crc_at += s.n;
    if (r->crc_at < r->header.content_len)
        return;
    r->checked = true;
    if (r->crc != r->header.content_crc)
        found_broken(r);
}

str message_reader_view(struct message_reader *r, uint64_t offset, size_t n)
{
    if (!r->open || offset >= r->header.content_len)
        return STR_NONE;
    n = (size_t)MIN((uint64_t)n, r->header.content_len - offset);
    str s = window_get(&contents, r->segment->serial, r->segment->fd, content_at(r, offset), MIN(n, (size_t)WINDOW));
    return str_first(s, n);
}

/* Much at once goes past the window. */
static ssize_t read_direct(struct message_reader *r, uint64_t offset, size_t n, struct buf *out)
{
    if (buf_reserve(out, n) < 0)
        return out->failed;
    ssize_t got = segment_pread(r->segment->fd, out->p + out->n, n, content_at(r, offset));
    if (got <= 0)
        return got < 0 ? got : -EIO;
    running_check(r, offset, str_of(out->p + out->n, (size_t)got));
    out->n += (size_t)got;
    return got;
}

int message_reader_read(struct message_reader *r, uint64_t offset, size_t n, struct buf *out)
{
    if (!r->open || n > r->header.content_len || offset > r->header.content_len - n)
        return -EINVAL;
    bool direct = n >= DIRECT && r->header.content_len > WINDOW;
    while (n) {
        ssize_t got;
        if (direct) {
            got = read_direct(r, offset, n, out);
        } else {
            str s = message_reader_view(r, offset, n);
            running_check(r, offset, s);
            buf_add(out, s);
            got = out->failed ? out->failed : s.n ? (ssize_t)s.n : -EIO;
        }
        if (got <= 0)
            return (int)got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* Where the header ends in s: behind its empty line; 0 if it does not end here. Looks from `from` on. */
static size_t header_end(str s, size_t from)
{
    if (from == 0 && str_starts(s, S("\r\n")))
        return 2;
    if (from == 0 && str_starts(s, S("\n")))
        return 1;
    for (size_t at = from; at < s.n; at++) {
        const char *lf = memchr(s.p + at, '\n', s.n - at);
        if (!lf)
            return 0;
        at = (size_t)(lf - s.p);
        if (at + 1 < s.n && s.p[at + 1] == '\n')
            return at + 2;
        if (at + 2 < s.n && s.p[at + 1] == '\r' && s.p[at + 2] == '\n')
            return at + 3;
    }
    return 0;
}

int message_reader_header(struct message_reader *r, uint64_t from, uint64_t to, struct buf *out)
{
    size_t start = out->n, looked = 0, end;
    uint64_t len = r->header.content_len, most = MIN(to ? to : len, from + READER_HEADER_MAX);
    for (uint64_t at = from; at < MIN(most, len);) {
        str s = message_reader_view(r, at, (size_t)MIN(MIN(most, len) - at, (uint64_t)FIRST_READ));
        if (!s.n)
            return -EIO;
        if (buf_add(out, s) < 0)
            return out->failed;
        at += s.n;
        if (!to && (end = header_end(str_of(out->p + start, out->n - start), looked))) {
            out->n = start + end;
            return 0;
        }
        looked = out->n - start > 3 ? out->n - start - 3 : 0;
    }
    return 0;
}

/* The mailbox's cards, asked for once. The answer is two frames with a file each; a refusal is one. */
static bool got_cards(struct store_call *c, struct ipc_frame *f)
{
    struct message_reader *r = CONTAINER_OF(c, struct message_reader, cards_call);
    struct box *b = r->session->view.box;
    uint8_t verdict = f ? unpack_u8(&f->in) : 1, which = f ? unpack_u8(&f->in) : 0;
    bool good = f && unpack_end(&f->in) && verdict == 0 && f->fd >= 0 && !f->fd_lost;
    if (good && which == 0) {
        if (r->map_fd >= 0)
            close(r->map_fd);
        r->map_fd = TAKE_FD(f->fd);
        return true;
    }
    if (b)
        b->cards_asked = true;
    if (good && b && b->map_fd < 0 && r->map_fd >= 0) {
        b->map_fd = TAKE_FD(r->map_fd);
        b->cards_fd = TAKE_FD(f->fd);
    }
    imap_session_pump(r->session);
    return false;
}

static enum reader_result ask_cards(struct message_reader *r, struct box *b)
{
    struct buf frame;
    if (store_call_waits(&r->cards_call))
        return READER_WAIT;
    card_columns_forget(&columns, b->id); /* what is there is of an earlier store's mailbox */
    places.known = false;
    cards.n = 0;
    r->cards_call.answer = got_cards;
    store_call_begin(&r->session->access->calls, &r->cards_call, &frame, trace_id_str(&r->session->id));
    pack_u64(&frame, b->id);
    if (store_call_send(&r->cards_call, IPC_CARDS_GET, &frame) == 0)
        return READER_WAIT;
    b->cards_asked = true;
    return READER_READY;
}

static bool read_places(const struct box *b, uint32_t first)
{
    places.known = card_places_read(b->map_fd, first, PLACES, places.at) >= 0;
    places.box = b->id;
    places.first = first;
    return places.known;
}

/* From the mailbox's cards; looked at twice, the second time with fresh bytes. */
static bool card_from_file(const struct box *b, uint32_t uid, str *out)
{
    uint32_t first = uid & ~(uint32_t)(PLACES - 1);
    bool fresh = !places.known || places.box != b->id || places.first != first;
    if (fresh && !read_places(b, first))
        return false;
    for (;;) {
        struct card_place at = places.at[uid - first];
        if (at.length && at.length <= MIN((size_t)CARD_MAX, (size_t)WINDOW)) {
            str s = window_get(&cards, b->id, b->cards_fd, at.offset, at.length);
            if (s.n >= at.length && crc32c(0, str_first(s, at.length)) == at.crc) {
                *out = str_first(s, at.length);
                return true;
            }
            cards.n = 0;
        }
        if (fresh || !read_places(b, first))
            return false;
        fresh = true;
    }
}

static enum reader_result minimal_card(struct message_reader *r, uint64_t size, str *out)
{
    buf_clear(&r->minimal);
    if (card_minimal(&r->minimal, size) < 0)
        return READER_DAMAGED;
    *out = buf_str(&r->minimal);
    return READER_READY;
}

/* From the record of the message. */
static bool read_meta(struct message_reader *r)
{
    struct message_record record;
    uint32_t n = r->header.meta_len;
    if (n > META_MAX)
        return false;
    buf_clear(&r->meta);
    arena_clear(&r->arena);
    if (buf_reserve(&r->meta, n) < 0 ||
        segment_pread(r->segment->fd, r->meta.p, n, content_at(r, r->header.content_len)) != (ssize_t)n)
        return false;
    r->meta.n = n;
    if (crc32c(0, buf_str(&r->meta)) != r->header.meta_crc ||
        message_record_decode(&r->arena, buf_str(&r->meta), &record) < 0)
        return false;
    r->card = record.card;
    return record.card.n > 0;
}

static enum reader_result card_from_record(struct message_reader *r, const struct box *b, size_t index, str *out)
{
    const struct box_message *m = &b->messages[index];
    if (!r->has_meta || r->meta_box != b->id || r->meta_uid != m->uid) {
        enum reader_result e = message_reader_open(r, b, index);
        if (e == READER_DAMAGED)
            return minimal_card(r, m->content_len, out);
        if (e != READER_READY)
            return e;
        r->has_meta = read_meta(r);
        r->meta_box = b->id;
        r->meta_uid = m->uid;
    }
    if (!r->has_meta)
        return minimal_card(r, m->content_len, out);
    *out = r->card;
    return READER_READY;
}

/* READER_READY: the cards were asked for. */
static enum reader_result need_cards(struct message_reader *r, const struct box *b)
{
    struct box *own = r->session->view.box;
    return b == own && b->map_fd < 0 && !b->cards_asked ? ask_cards(r, own) : READER_READY;
}

enum reader_result message_reader_card(struct message_reader *r, const struct box *b, size_t index, str *out)
{
    enum reader_result e = need_cards(r, b);
    if (e != READER_READY)
        return e;
    if (b->map_fd >= 0 && b->cards_fd >= 0 && card_from_file(b, b->messages[index].uid, out))
        return READER_READY;
    return card_from_record(r, b, index, out);
}

/* A message whose card has no texts: from its header alone. */
static enum reader_result make_text(struct message_reader *r, const struct box *b, size_t index, struct card_text *out)
{
    _cleanup_buf_ struct buf header = BUF(READER_HEADER_MAX + FIRST_READ);
    enum reader_result e = message_reader_open(r, b, index);
    if (e != READER_READY)
        return e;
    if (!r->mime && !(r->mime = mime_new()))
        return READER_DAMAGED;
    if (message_reader_header(r, 0, 0, &header) < 0)
        return READER_DAMAGED;
    mime_reset(r->mime);
    mime_feed(r->mime, buf_str(&header));
    mime_end(r->mime);
    buf_clear(&r->made);
    return card_text_make(&r->made, r->mime, out) < 0 ? READER_DAMAGED : READER_READY;
}

bool message_reader_quick(const struct message_reader *r) { return r->quick; }

enum reader_result message_reader_text(struct message_reader *r, const struct box *b, size_t index, uint32_t wanted,
                                       struct card_text *out, bool *out_made)
{
    str card;
    uint32_t uid = b->messages[index].uid;
    uint64_t now = loop_now(r->session->conn.loop);
    enum reader_result e = need_cards(r, b);
    *out_made = false;
    r->quick = e == READER_READY && wanted != READER_ALL_TEXTS &&
               card_columns_get(&columns, b->id, uid, wanted, now, out);
    if (e != READER_READY || r->quick)
        return e;
    if ((e = message_reader_card(r, b, index, &card)) != READER_READY)
        return e;
    *out_made = card_text_read(card, out) < 0 || !out->present;
    if (*out_made)
        return make_text(r, b, index, out);
    if (wanted != READER_ALL_TEXTS)
        card_columns_put(&columns, b->id, uid, wanted, now, out);
    return READER_READY;
}
