/* Filling the files of cards (cards_file.h) of a mailbox that somebody reads: from the records of its messages, a few
 * milliseconds at a time. Damage is passed over: a card that is not in the files is no loss. */
#include <errno.h>
#include <unistd.h>
#include "store/cards_file.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"

enum { ROWS = 64, GET_MS = 15, STEP_MS = 5, CARD_BYTES = 1 << 20 };

struct filling {
    struct store *s;
    uint64_t mailbox;
    int fd;                /* of the segment that was read last */
    struct log_position at;
    char log[LOG_NAME_MAX];
    size_t log_n;
    struct buf card;
};

static int segment_of(struct filling *f, str log, struct log_position at)
{
    if (f->fd >= 0 && f->at.segment == at.segment && str_eq(log, str_of(f->log, f->log_n)))
        return f->fd;
    if (f->fd >= 0)
        close(TAKE_FD(f->fd));
    if (log.n > sizeof(f->log))
        return -EBADMSG;
    int r = store_segment_open(f->s, log, at.segment, &f->fd);
    if (r < 0)
        return r;
    memcpy(f->log, log.p, log.n);
    f->log_n = log.n;
    f->at = at;
    return f->fd;
}

static int fill_one(struct filling *f, uint32_t uid)
{
    struct index_message m;
    bool wanted;
    if (cards_files_has(f->s->cards, f->mailbox, uid))
        return 0;
    int r = index_message_get(f->s->index, f->mailbox, uid, &m);
    if (r <= 0)
        return r;
    buf_clear(&f->card);
    r = index_card_get(f->s->index, m.log, m.position, &wanted, &f->card);
    if (r == 0 && !wanted) {
        int fd = segment_of(f, m.log, m.position);
        r = fd < 0 ? 0 : store_card_of_record(fd, m.position, &f->card);
    }
    if (r == 1)
        cards_files_add(f->s->cards, f->mailbox, uid, buf_str(&f->card));
    return 0;
}

/* 1: there is more; 0: filled; negative errno. */
static int fill_page(struct filling *f)
{
    struct index_flags rows[ROWS];
    uint32_t next = cards_files_filled(f->s->cards, f->mailbox);
    int n = index_flags_in(f->s->index, f->mailbox, next, UINT32_MAX, rows, ROWS), r = 0;
    for (int i = 0; i < n && r == 0; i++)
        r = fill_one(f, rows[i].uid);
    if (n <= 0 || r < 0)
        return r < 0 ? r : n;
    cards_files_flush(f->s->cards);
    cards_files_set_filled(f->s->cards, f->mailbox, rows[n - 1].uid + 1);
    return n == ROWS;
}

static int fill(struct store *s, uint64_t mailbox, uint64_t ms)
{
    struct filling f = { .s = s, .mailbox = mailbox, .fd = -1, .card = BUF(CARD_BYTES) };
    uint64_t until = s->config.env->mono_ms() + ms;
    int r = 1;
    while (r == 1 && s->config.env->mono_ms() < until)
        r = fill_page(&f);
    if (f.fd >= 0)
        close(f.fd);
    buf_done(&f.card);
    return r;
}

static void go_on_later(struct store *s, uint64_t mailbox)
{
    for (size_t i = 0; i < s->n_fill; i++)
        if (s->fill[i] == mailbox)
            return;
    if (s->n_fill < FILL_MAX)
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
