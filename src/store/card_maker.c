/* Cards made later: see card_maker.h. */
#include "store/card_maker.h"
#include <errno.h>
#include "base/codec.h"
#include "message/card.h"

enum { PAUSE_MS = 1000 };
enum { CARD_NONE, CARD_PIECE, CARD_LAST };

static void pause_over(struct loop_timer *t) { CONTAINER_OF(t, struct card_maker, again)->due = true; }

void card_maker_init(struct card_maker *m, struct role *role, struct store *store)
{
    *m = (struct card_maker){ .role = role, .store = store, .due = true, .card = BUF(CARD_MAX) };
    m->again.fire = pause_over;
}

void card_maker_done(struct card_maker *m)
{
    if (m->role)
        loop_cancel(m->role->loop, &m->again);
    buf_done(&m->card);
    *m = (struct card_maker){ 0 };
}

static void say(struct card_maker *m, enum event_level level, const char *event, const char *text)
{
    static const uint8_t none[16];
    struct buf *e = events_begin(&m->role->events, level, event);
    if (memcmp(m->at.session, none, sizeof(none)) != 0) {
        char id[B32_ID_LEN];
        _cleanup_buf_ struct buf name = BUF(B32_ID_LEN + 12);
        b32_id_encode(m->at.session, id);
        buf_add(&name, str_of(id, sizeof(id)));
        buf_addc(&name, '.');
        buf_addu(&name, m->at.number);
        event_str(e, "session", buf_str(&name));
    }
    event_str(e, "log", str_z(m->at.log));
    event_u64(e, "segment", m->at.position.segment);
    event_u64(e, "offset", m->at.position.offset);
    event_u64(e, "failures", m->failures);
    if (*text)
        event_str(e, "text", str_z(text));
    events_end(&m->role->events);
}

/* Tries again in a moment: nothing is wrong with the message. */
static void wait_a_moment(struct card_maker *m)
{
    m->due = false;
    if (loop_after(m->role->loop, &m->again, PAUSE_MS) < 0)
        m->due = true;
}

static void failed(struct card_maker *m, const char *text)
{
    m->open = false;
    m->failures++;
    m->due = true;
    say(m, EVENT_WARN, "card_failed", text);
}

/* 1 kept, 0 not now or not any more, or an error of the store. */
static int keep(struct card_maker *m, str card)
{
    int r = store_card_set(m->store, str_z(m->at.log), m->at.position, card);
    if (r == -ENOSPC || r == -ENOMEM) {
        wait_a_moment(m);
        return 0;
    }
    m->due = true;
    return r;
}

static int give_minimal(struct card_maker *m)
{
    _cleanup_buf_ struct buf card = BUF(CARD_MAX);
    if (card_minimal(&card, m->at.content_len) < 0) {
        wait_a_moment(m);
        return 0;
    }
    int r = keep(m, buf_str(&card));
    if (r == 1) {
        m->minimal++;
        say(m, EVENT_WARN, "card_minimal", "the message is in its mailbox; what reads cards sees it as one text");
    }
    return MIN(r, 0);
}

static void ask(struct card_maker *m)
{
    _cleanup_close_ int fd = -1;
    int r = store_segment_open(m->store, str_z(m->at.log), m->at.position.segment, &fd);
    if (r == -EMFILE || r == -ENFILE || r == -ENOMEM) {
        wait_a_moment(m);
        return;
    }
    if (r < 0) {
        failed(m, "the segment of the message cannot be opened");
        return;
    }
    struct buf b = BUF(64);
    pack_u64(&b, ++m->request);
    pack_u64(&b, m->at.position.offset + RECORD_HEADER_SIZE);
    pack_u64(&b, m->at.content_len);
    buf_clear(&m->card);
    m->due = false;
    m->open = ipc_send(role_peer(m->role, ROLE_CARDS), IPC_CARD_MAKE, &b, fd) == 0;
    buf_done(&b);
}

static bool same(const struct store_cardless *a, const struct store_cardless *b)
{
    return a->position.segment == b->position.segment && a->position.offset == b->position.offset &&
           str_eq(str_z(a->log), str_z(b->log));
}

int card_maker_turn(struct card_maker *m)
{
    struct store_cardless next;
    while (m->role && m->due && !m->open && !m->broken) {
        int r = store_cardless(m->store, &next);
        if (r <= 0) {
            m->due = false;
            return m->broken = r;
        }
        if (!same(&next, &m->at))
            m->failures = 0;
        m->at = next;
        if (m->failures >= CARD_ATTEMPTS) {
            r = give_minimal(m);
            if (r < 0)
                return m->broken = r;
        } else if (role_peer(m->role, ROLE_CARDS)->open) {
            ask(m);
        } else {
            m->due = false; /* until it is back */
        }
    }
    return m->broken;
}

int card_maker_frame(struct card_maker *m, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    uint8_t what = unpack_u8(&f->in);
    str piece = unpack_str(&f->in);
    if (!unpack_end(&f->in) || what > CARD_LAST)
        return -EBADMSG;
    if (!m->open || request != m->request)
        return 0;
    if (what == CARD_NONE || buf_add(&m->card, piece) < 0 || (what == CARD_LAST && !m->card.n)) {
        failed(m, "role cards has none for it");
        return 0;
    }
    if (what == CARD_PIECE)
        return 0;
    m->open = false;
    int r = keep(m, buf_str(&m->card));
    if (r == 1) {
        m->made++;
        say(m, EVENT_INFO, "card", "");
    }
    if (r < 0)
        m->broken = r;
    return 0;
}

void card_maker_down(struct card_maker *m)
{
    if (!m->open)
        return;
    m->deaths++;
    failed(m, "role cards ended over it");
}
