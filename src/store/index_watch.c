/* The watch of an index: see index_watch.h. Items stand in one buf as they came, each behind its mailbox and length.
 * The last one may still grow. */
#include "store/index_watch.h"
#include <errno.h>
#include <stdlib.h>
#include "base/map.h"
#include "store/index_sql.h"

#define ITEMS_MAX ((size_t)1 << 30)
#define WATCHED_MAX 1000000
#define KEEP ((size_t)1 << 20) /* of memory, between two transactions */
enum { ITEM_HEAD = 8 + 4 };

struct index_watch {
    struct map mailboxes;
    uint64_t told;
    struct buf items;
    struct { /* the last item */
        uint64_t mailbox, lsn, modseq;
        enum feed_kind kind;
        size_t begin; /* of the item, behind its head */
        uint32_t n;   /* 0: there is none that could grow */
    } last;
};

int index_watch_new(struct index_watch **out)
{
    struct index_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    static const uint8_t key[16]; /* the keys are our own numbers */
    map_init(&w->mailboxes, WATCHED_MAX, key);
    w->items = BUF(ITEMS_MAX);
    *out = w;
    return 0;
}

void index_watch_free(struct index_watch *w)
{
    if (!w)
        return;
    map_done(&w->mailboxes);
    buf_done(&w->items);
    free(w);
}

void index_set_watch(struct index *ix, struct index_watch *w, uint64_t told)
{
    ix->watch = w;
    if (w)
        w->told = told;
    index_watch_forget(ix);
}

int index_watch_add(struct index_watch *w, uint64_t mailbox)
{
    int r = map_set(&w->mailboxes, str_of(&mailbox, sizeof(mailbox)), w, NULL);
    return r < 0 ? -ENOMEM : 0;
}

void index_watch_drop(struct index_watch *w, uint64_t mailbox)
{
    map_take(&w->mailboxes, str_of(&mailbox, sizeof(mailbox)));
}

bool index_watched(const struct index *ix, uint64_t mailbox)
{
    const struct index_watch *w = ix->watch;
    return w && w->mailboxes.n && map_get(&w->mailboxes, str_of(&mailbox, sizeof(mailbox)));
}

static void end_item(struct index_watch *w)
{
    if (!w->last.n || w->items.failed)
        return;
    put_u32(w->items.p + w->last.begin - 4, (uint32_t)(w->items.n - w->last.begin));
    feed_end(&w->items, w->last.begin, w->last.kind < FEED_KEYWORD ? w->last.n : 0);
    w->last.n = 0;
}

static bool may_grow(const struct index_watch *w, enum feed_kind kind, uint64_t mailbox, uint64_t lsn, uint64_t modseq,
                     size_t more)
{
    return w->last.n && w->last.kind == kind && w->last.mailbox == mailbox && w->last.lsn == lsn &&
           w->last.modseq == modseq && kind < FEED_KEYWORD && w->items.n - w->last.begin + more <= FEED_ITEM_MAX;
}

/* The buf to put the next part of an item into, which takes `more` bytes; NULL: nobody wants it. */
static struct buf *item(struct index *ix, enum feed_kind kind, uint64_t mailbox, uint64_t lsn, uint64_t modseq,
                        size_t more)
{
    struct index_watch *w = ix->watch;
    if (!index_watched(ix, mailbox) || lsn <= w->told)
        return NULL;
    if (!may_grow(w, kind, mailbox, lsn, modseq, more)) {
        end_item(w);
        pack_u64(&w->items, mailbox);
        pack_u32(&w->items, 0);
        w->last.begin = w->items.n;
        feed_begin(&w->items, kind, lsn, modseq);
        w->last.mailbox = mailbox;
        w->last.kind = kind;
        w->last.lsn = lsn;
        w->last.modseq = modseq;
    }
    w->last.n++;
    return &w->items;
}

static int result(const struct buf *b)
{
    return b && b->failed ? -ENOMEM : 0;
}

int index_watch_arrived(struct index *ix, uint64_t mailbox, uint64_t lsn, const struct mailbox_entry *e)
{
    struct buf *b = item(ix, FEED_ARRIVED, mailbox, lsn, e->modseq, e->log.n + e->prefix.n + 128);
    if (b)
        feed_put_entry(b, e);
    return result(b);
}

int index_watch_flags(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, const struct mailbox_entry *e)
{
    struct buf *b = item(ix, FEED_FLAGS, mailbox, lsn, modseq, 16);
    if (b)
        feed_put_flags(b, e->uid, e->flags, e->keywords);
    return result(b);
}

int index_watch_expunged(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, uint32_t uid)
{
    struct buf *b = item(ix, FEED_EXPUNGED, mailbox, lsn, modseq, 4);
    if (b)
        feed_put_uid(b, uid);
    return result(b);
}

/* A relocated record has one place where all goes, so the name and number are those of the record's first. */
int index_watch_place(struct index *ix, uint64_t mailbox, uint64_t lsn, uint32_t uid, str log, struct log_position to)
{
    struct buf *b = item(ix, FEED_PLACES, mailbox, lsn, 0, 12);
    if (!b)
        return 0;
    if (ix->watch->last.n == 1)
        feed_put_segment(b, log, to.segment);
    feed_put_place(b, uid, to.offset);
    return result(b);
}

int index_watch_keyword(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, uint8_t bit, str name)
{
    struct buf *b = item(ix, FEED_KEYWORD, mailbox, lsn, modseq, 0);
    if (b)
        feed_put_keyword(b, bit, name);
    return result(b);
}

int index_watch_renamed(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq, str name)
{
    struct buf *b = item(ix, FEED_RENAMED, mailbox, lsn, modseq, 0);
    if (b)
        feed_put_name(b, name);
    return result(b);
}

int index_watch_gone(struct index *ix, uint64_t mailbox, uint64_t lsn, uint64_t modseq)
{
    return result(item(ix, FEED_GONE, mailbox, lsn, modseq, 0));
}

static void forget(struct index_watch *w)
{
    if (w->items.cap > KEEP)
        buf_release(&w->items);
    buf_clear(&w->items);
    w->last.n = 0;
}

void index_watch_forget(struct index *ix)
{
    if (ix->watch)
        forget(ix->watch);
}

void index_watch_tell(struct index_watch *w, void (*feed)(void *arg, uint64_t mailbox, str item), void *arg)
{
    if (!w->items.n)
        return;
    end_item(w);
    struct unpack u = UNPACK(buf_str(&w->items));
    while (u.in.n && !u.bad && feed) {
        uint64_t mailbox = unpack_u64(&u);
        str one = unpack_str(&u);
        if (!u.bad)
            feed(arg, mailbox, one);
    }
    forget(w);
}
