/* One session's picture of a mailbox: see box.h. */
#include "access/box.h"
#include <errno.h>
#include <stdlib.h>
#include "access/sort_ranks.h"
#include "base/codec.h"

#define TELL_HIGH ((size_t)64 * 1024)

static uint64_t change_end(const struct box *b) { return b->first_change + b->n_changes; }

/* How many of the holes are at an index below it. */
static size_t holes_below(const struct box_view *v, size_t index)
{
    size_t low = 0, high = v->n_holes;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v->holes[mid] < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_hole(const struct box_view *v, size_t index)
{
    size_t at = holes_below(v, index);
    return at < v->n_holes && v->holes[at] == index;
}

static int room_for_holes(struct box_view *v, size_t more)
{
    if (v->n_holes + more <= v->cap_holes)
        return 0;
    size_t cap = MAX(v->n_holes + more, v->cap_holes + v->cap_holes / 2);
    uint32_t *h = realloc(v->holes, cap * sizeof(*h));
    if (!h)
        return -ENOMEM;
    v->holes = h;
    v->cap_holes = cap;
    return 0;
}

/* Makes [shown, n) known; what is gone of it becomes holes. How many messages that are there came, or -ENOMEM. */
static ptrdiff_t show(struct box_view *v)
{
    const struct box *b = v->box;
    size_t came = 0;
    if (b->n_gone && room_for_holes(v, MIN(b->n_gone, b->n - v->shown)) < 0)
        return -ENOMEM;
    if (!b->n_gone) {
        came = b->n - v->shown;
        v->shown = b->n;
        return (ptrdiff_t)came;
    }
    for (; v->shown < b->n; v->shown++)
        if (b->messages[v->shown].gone)
            v->holes[v->n_holes++] = (uint32_t)v->shown;
        else
            came++;
    return (ptrdiff_t)came;
}

/* Takes out what is gone. Only where no view has untold expunges: each of them sees the same messages afterwards. */
static void tidy(struct box *b)
{
    size_t n = 0;
    for (struct box_view *v = b->views; v; v = v->next) {
        v->shown -= v->n_holes;
        v->n_holes = 0;
        v->next_change = v->next_expunge = change_end(b);
    }
    for (size_t i = 0; i < b->n; i++)
        if (!b->messages[i].gone)
            b->messages[n++] = b->messages[i];
    b->all->n_messages -= b->n - n;
    b->n = n;
    b->n_gone = 0;
    b->unseen_from = 0;
    sort_ranks_release(TAKE(b->ranks)); /* indices change */
    b->first_change = change_end(b);
    b->n_changes = 0;
}

int box_view_open(struct box_view *v, struct box *b, bool read_only)
{
    void (*changed)(struct box_view *) = v->changed;
    if (b->n_gone && !b->views)
        tidy(b);
    b->last_view = (uint16_t)(b->last_view % UINT16_MAX + 1);
    *v = (struct box_view){ .box = b, .number = b->last_view, .read_only = read_only, .changed = changed,
                             .recent_from = b->recent };
    if (show(v) < 0) {
        free(TAKE(v->holes));
        v->box = NULL;
        return -ENOMEM;
    }
    v->next_change = v->next_expunge = change_end(b);
    if (!read_only)
        b->recent = b->uidnext;
    v->next = b->views;
    if (v->next)
        v->next->prev = v;
    b->views = v;
    return 0;
}

void box_view_close(struct box_view *v, uint64_t now)
{
    struct box *b = v->box;
    if (!b)
        return;
    if (v->prev)
        v->prev->next = v->next;
    else
        b->views = v->next;
    if (v->next)
        v->next->prev = v->prev;
    free(TAKE(v->holes));
    free(TAKE(v->due));
    v->box = NULL;
    b->unused_since = now;
    if (b->views)
        return;
    b->first_change = change_end(b);
    b->n_changes = b->cap_changes = 0;
    free(TAKE(b->changes));
}

/* The smallest index with that many messages of the session below it that is no hole: holes[k] - k messages stand
 * before hole k, which grows with k. */
size_t box_view_index(const struct box_view *v, uint32_t seq)
{
    size_t low = 0, high = v->n_holes;
    if (seq == 0 || seq > box_view_exists(v))
        return SIZE_MAX;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v->holes[mid] - mid < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return seq - 1 + low;
}

bool box_view_has(const struct box_view *v, size_t index)
{
    return index < v->shown && !is_hole(v, index);
}

uint32_t box_view_seq(const struct box_view *v, size_t index)
{
    return box_view_has(v, index) ? (uint32_t)(index - holes_below(v, index) + 1) : 0;
}

static int by_first(const void *a, const void *b)
{
    const struct box_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static size_t merge(struct box_range *r, size_t n)
{
    size_t out = 0;
    qsort(r, n, sizeof(*r), by_first);
    for (size_t i = 0; i < n; i++) {
        if (out && r[i].first <= r[out - 1].last + 1)
            r[out - 1].last = MAX(r[out - 1].last, r[i].last);
        else
            r[out++] = r[i];
    }
    return out;
}

static uint32_t last_uid(const struct box_view *v)
{
    size_t exists = box_view_exists(v);
    return exists ? v->box->messages[box_view_index(v, (uint32_t)exists)].uid : 0;
}

/* 1 a range, 0 nothing of it is there, -ERANGE. */
static int resolve_one(const struct box_view *v, struct imap_range in, bool uid, struct box_range *out)
{
    uint32_t star = uid ? last_uid(v) : (uint32_t)box_view_exists(v);
    uint32_t a = in.first ? in.first : star, z = in.last ? in.last : star;
    uint32_t first = MIN(a, z), last = MAX(a, z);
    if (!uid) {
        if (last > star || first == 0)
            return star == 0 && (in.first == 0 || in.last == 0) ? 0 : -ERANGE; /* "1:*" of an empty mailbox */
        *out = (struct box_range){ box_view_index(v, first), box_view_index(v, last) };
        return 1;
    }
    size_t from = box_find(v->box, first), end = last == UINT32_MAX ? v->box->n : box_find(v->box, last + 1);
    end = MIN(end, v->shown);
    *out = (struct box_range){ from, end - 1 };
    return from < end;
}

int box_view_resolve(const struct box_view *v, const struct imap_set *set, bool uid, struct box_range **out,
                     size_t *out_n)
{
    struct box_range *r = malloc((set->n + 1) * sizeof(*r));
    size_t n = 0;
    if (!r)
        return -ENOMEM;
    for (size_t i = 0; i < set->n; i++) {
        int e = resolve_one(v, set->ranges[i], uid, &r[n]);
        if (e < 0) {
            free(r);
            return e;
        }
        n += (size_t)e;
    }
    *out_n = merge(r, n);
    *out = r;
    return 0;
}

static void enter_range(struct box_walk *w)
{
    w->index = w->ranges[w->at].first;
    w->hole = holes_below(w->view, w->index);
}

bool box_walk_next(struct box_walk *w, size_t *out_index, uint32_t *out_seq)
{
    const struct box_view *v = w->view;
    if (w->at < w->n && !w->begun)
        enter_range(w);
    w->begun = true;
    while (w->at < w->n) {
        if (w->index > w->ranges[w->at].last || w->index >= v->shown) {
            if (++w->at < w->n)
                enter_range(w);
        } else if (w->hole < v->n_holes && v->holes[w->hole] == w->index) {
            w->hole++;
            w->index++;
        } else {
            *out_index = w->index;
            *out_seq = (uint32_t)(w->index - w->hole + 1);
            w->index++;
            return true;
        }
    }
    return false;
}

bool box_view_news(const struct box_view *v)
{
    uint64_t end = change_end(v->box);
    return v->lost || v->box->gone || v->shown < v->box->n || v->due || v->next_change < end || v->next_expunge < end;
}

bool box_view_more(const struct box_view *v)
{
    return !v->lost && (v->due || v->next_change < change_end(v->box));
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The changes from `from` on, sorted by the messages, each of them once: their indices, doubled, and one more if the
 * change was a silent one (of the session's own). NULL without memory. */
static uint32_t *changed(const struct box_view *v, uint64_t from, bool expunged, size_t *out_n)
{
    const struct box *b = v->box;
    size_t begin = (size_t)(from - b->first_change), n = 0, kept = 0;
    uint32_t *list = malloc((b->n_changes - begin + 1) * sizeof(*list));
    bool sorted = true;
    if (!list)
        return NULL;
    for (size_t i = begin; i < b->n_changes; i++) {
        const struct box_change *c = &b->changes[i];
        if (c->expunged != expunged)
            continue;
        bool own = (v->silent_lsn && c->lsn == v->silent_lsn) || c->by == v->number;
        list[n++] = 2 * c->index + (!expunged && own);
        sorted = sorted && (n == 1 || list[n - 2] <= list[n - 1]);
    }
    if (!sorted)
        qsort(list, n, sizeof(*list), by_number);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || list[kept - 1] / 2 != list[i] / 2)
            list[kept++] = list[i];
    *out_n = kept;
    return list;
}

/* Both ascending; the holes get the new ones. */
static void add_holes(struct box_view *v, const uint32_t *list, size_t n)
{
    size_t i = v->n_holes, k = n, at = v->n_holes + n;
    while (k) {
        if (i && v->holes[i - 1] > list[k - 1])
            v->holes[--at] = v->holes[--i];
        else
            v->holes[--at] = list[--k];
    }
    v->n_holes += n;
}

static void put_vanished(const struct box_view *v, const uint32_t *list, size_t n, struct buf *out)
{
    buf_add(out, S("* VANISHED "));
    for (size_t i = 0, end; i < n; i = end) {
        uint32_t first = v->box->messages[list[i]].uid, last = first;
        for (end = i + 1; end < n && v->box->messages[list[end]].uid == last + 1; end++)
            last++;
        if (i)
            buf_addc(out, ',');
        buf_addu(out, first);
        if (last > first) {
            buf_addc(out, ':');
            buf_addu(out, last);
        }
    }
    buf_add(out, S("\r\n"));
}

/* From the last to the first, so that each number is the one the session still has. */
static void put_expunges(const struct box_view *v, const uint32_t *list, size_t n, struct buf *out)
{
    for (size_t i = n; i-- > 0;) {
        buf_add(out, S("* "));
        buf_addu(out, box_view_seq(v, list[i]));
        buf_add(out, S(" EXPUNGE\r\n"));
    }
}

static int tell_expunges(struct box_view *v, bool vanished, struct buf *out)
{
    size_t n, known = 0;
    uint32_t *list = changed(v, v->next_expunge, true, &n);
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (box_view_has(v, list[i] / 2)) /* of the others it never heard */
            list[known++] = list[i] / 2;
    int r = room_for_holes(v, known);
    if (r == 0 && known) {
        if (vanished)
            put_vanished(v, list, known, out);
        else
            put_expunges(v, list, known, out);
        add_holes(v, list, known);
    }
    free(list);
    if (r == 0)
        v->next_expunge = change_end(v->box);
    return r;
}

static void put_number(struct buf *out, size_t n, str word)
{
    buf_add(out, S("* "));
    buf_addu(out, n);
    buf_add(out, word);
}

static int tell_new(struct box_view *v, bool rev2, struct buf *out)
{
    size_t exists = box_view_exists(v);
    if (v->shown == v->box->n)
        return 0;
    ptrdiff_t came = show(v);
    if (came <= 0)
        return came < 0 ? -ENOMEM : 0;
    exists += (size_t)came;
    put_number(out, exists, S(" EXISTS\r\n"));
    if (!v->read_only)
        v->box->recent = v->box->uidnext;
    if (rev2)
        return 0;
    size_t from = MIN(box_find(v->box, v->recent_from), v->shown);
    put_number(out, exists - (from - holes_below(v, from)), S(" RECENT\r\n"));
    return 0;
}

static void put_news(const struct box_view *v, size_t index, const struct box_tell *how, bool flags, struct buf *out)
{
    const struct box_message *m = &v->box->messages[index];
    uint32_t seq = box_view_seq(v, index);
    if (!seq || m->gone || (!flags && !how->modseq))
        return;
    put_number(out, seq, S(" FETCH ("));
    if (how->uid) {
        buf_add(out, S("UID "));
        buf_addu(out, m->uid);
        buf_addc(out, ' ');
    }
    if (flags) {
        buf_add(out, S("FLAGS "));
        box_put_flags(out, v->box, m, !how->rev2 && box_view_recent(v, m));
    }
    if (how->modseq) {
        buf_add(out, flags ? S(" MODSEQ (") : S("MODSEQ ("));
        buf_addu(out, m->modseq);
        buf_addc(out, ')');
    }
    buf_add(out, S(")\r\n"));
}

/* A line may be as long as all keywords together, so they are written as the output takes them. old: messages that the
 * session knew before; of others it has not asked for the flags yet. */
static int tell_flags(struct box_view *v, size_t old, const struct box_tell *how, struct buf *out)
{
    if (!v->due && v->next_change < change_end(v->box)) {
        v->due = changed(v, v->next_change, false, &v->n_due);
        if (!v->due)
            return -ENOMEM;
        while (v->n_due && v->due[v->n_due - 1] / 2 >= old)
            v->n_due--;
        v->due_at = 0;
        v->next_change = change_end(v->box);
        v->silent_lsn = 0;
    }
    for (; v->due_at < v->n_due && out->n < TELL_HIGH; v->due_at++)
        put_news(v, v->due[v->due_at] / 2, how, !(v->due[v->due_at] & 1), out);
    if (v->due_at == v->n_due) {
        free(TAKE(v->due));
        v->n_due = v->due_at = 0;
    }
    return 0;
}

static bool may_tidy(const struct box_view *v)
{
    const struct box *b = v->box;
    return b->n_gone >= 32 && b->views == v && !v->next && v->shown == b->n && v->n_holes == b->n_gone &&
           !box_view_more(v);
}

int box_view_tell(struct box_view *v, const struct box_tell *how, struct buf *out)
{
    size_t old = v->shown;
    uint64_t end = change_end(v->box);
    int r = v->lost ? -ESTALE : 0;
    if (r == 0 && how->expunges && v->next_expunge < end)
        r = tell_expunges(v, how->vanished, out);
    if (r == 0)
        r = tell_new(v, how->rev2, out);
    if (r == 0)
        r = tell_flags(v, old, how, out);
    if (r == 0 && how->expunges && may_tidy(v))
        tidy(v->box);
    return r < 0 ? r : out->failed;
}
