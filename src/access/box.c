/* Mailboxes shared by sessions: see box.h. */
#include "access/box.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "access/sort_ranks.h"
#include "base/codec.h"
#include "base/pack.h"

enum { BOXES_MAX = 100000, CHANGES_MAX = 1000000 };
#define TEXTS_MAX ((size_t)1 << 32)

/* A change of flags that the box has and of which the store may not know yet. */
struct box_ahead {
    uint64_t number, lsn;    /* lsn 0: it has not said */
    struct box_flagging how;
    uint16_t by;
    struct box_ahead *next;
    size_t n;
    struct { uint32_t first, last; } uids[];
};

static str key_of(const uint64_t *id) { return str_of(id, sizeof(*id)); }

void boxes_init(struct boxes *b, const uint8_t key[16], void (*forget)(void *arg, uint64_t id), void *arg)
{
    *b = (struct boxes){ .forget = forget, .arg = arg };
    map_init(&b->by_id, BOXES_MAX, key);
    map_init(&b->by_name, BOXES_MAX, key);
}

static void close_file(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Under its name, or no longer. Without memory it is found by its id alone. */
static void set_name(struct box *b, bool there)
{
    _cleanup_buf_ struct buf key = BUF(8192);
    struct map *names = &b->all->by_name;
    if (!b->account || !b->name)
        return;
    buf_add(&key, str_z(b->account));
    buf_addc(&key, 0);
    buf_add(&key, str_z(b->name));
    if (key.failed)
        return;
    if (there)
        map_set(names, buf_str(&key), b, NULL);
    else if (map_get(names, buf_str(&key)) == b)
        map_take(names, buf_str(&key));
}

static void set_gone(struct box *b)
{
    set_name(b, false);
    b->gone = true;
}

/* Changes of flags that the store has staged up to there (UINT64_MAX: all): the feed speaks for them now. */
static void drop_ahead(struct box *b, uint64_t lsn)
{
    struct box_ahead *a;
    while ((a = b->ahead) && (lsn == UINT64_MAX || (a->lsn && a->lsn <= lsn))) {
        b->came.lsn = a->lsn;
        b->came.by = a->by;
        b->ahead = a->next;
        b->n_ahead -= a->n;
        free(a);
    }
    if (!b->ahead)
        b->ahead_end = &b->ahead;
}

static void box_free(struct box *b)
{
    struct boxes *all = b->all;
    set_name(b, false);
    map_take(&all->by_id, key_of(&b->id));
    if (b->prev)
        b->prev->next = b->next;
    else
        all->first = b->next;
    if (b->next)
        b->next->prev = b->prev;
    all->n_messages -= b->n;
    for (size_t i = 0; i < b->n_keywords; i++)
        free(b->keywords[i]);
    drop_ahead(b, UINT64_MAX);
    arena_done(&b->texts);
    sort_ranks_release(b->ranks);
    close_file(&b->map_fd);
    close_file(&b->cards_fd);
    free(b->messages);
    free(b->changes);
    free(b->account);
    free(b->name);
    free(b);
}

void boxes_done(struct boxes *b)
{
    while (b->first)
        box_free(b->first);
    map_done(&b->by_id);
    map_done(&b->by_name);
}

static void tell_views(struct box *b)
{
    for (struct box_view *v = b->views, *next; v; v = next) {
        next = v->next;
        if (v->changed)
            v->changed(v);
    }
}

void boxes_store_down(struct boxes *b)
{
    for (struct box *x = b->first, *next; x; x = next) {
        next = x->next;
        set_gone(x);
        if (!x->views)
            box_free(x);
    }
    for (struct box *x = b->first; x; x = x->next)
        tell_views(x);
}

struct box *boxes_find(struct boxes *b, uint64_t id)
{
    return map_get(&b->by_id, key_of(&id));
}

struct box *boxes_named(struct boxes *b, str account, str name)
{
    _cleanup_buf_ struct buf key = BUF(8192);
    buf_add(&key, account);
    buf_addc(&key, 0);
    buf_add(&key, name);
    return key.failed ? NULL : map_get(&b->by_name, buf_str(&key));
}

static int log_number(struct boxes *all, str name)
{
    for (size_t i = 0; i < all->n_logs; i++)
        if (str_eq(str_z(all->logs[i]), name))
            return (int)i;
    if (all->n_logs == ARRAY_LEN(all->logs) || name.n >= sizeof(all->logs[0]))
        return -1;
    memcpy(all->logs[all->n_logs], name.p, name.n);
    return (int)all->n_logs++;
}

str box_log_name(const struct box *b, const struct box_message *m)
{
    return str_z(b->all->logs[m->log]);
}

static int grow(struct box *b, size_t more)
{
    if (b->n + more <= b->cap)
        return 0;
    size_t cap = MAX(b->n + more, b->cap + b->cap / 2);
    struct box_message *m = realloc(b->messages, cap * sizeof(*m));
    if (!m)
        return -ENOMEM;
    b->messages = m;
    b->cap = cap;
    return 0;
}

static int add_message(struct box *b, const struct mailbox_entry *e)
{
    int log = log_number(b->all, e->log);
    str prefix = arena_dup(&b->texts, e->prefix);
    if (log < 0 || e->uid == 0 || (b->n && b->messages[b->n - 1].uid >= e->uid))
        return -EBADMSG;
    if (!prefix.p || grow(b, 1) < 0)
        return -ENOMEM;
    struct box_message *m = &b->messages[b->n++];
    *m = (struct box_message){ .uid = e->uid, .flags = (uint8_t)e->flags, .log = (uint16_t)log,
                               .meta_len = e->meta_len, .number = e->number, .prefix_len = (uint32_t)prefix.n,
                               .zone_min = e->date_zone_min, .keywords = e->keywords, .modseq = e->modseq,
                               .segment = e->position.segment, .offset = e->position.offset,
                               .content_len = e->content_len, .date_s = e->date_s, .prefix = prefix.p };
    memcpy(m->session, e->session, sizeof(m->session));
    b->uidnext = MAX(b->uidnext, e->uid + 1);
    b->modseq = MAX(b->modseq, e->modseq);
    b->all->n_messages++;
    return 0;
}

static int set_keyword(struct box *b, size_t bit, str name)
{
    if (bit < b->n_keywords)
        return 0;
    if (bit != b->n_keywords || bit >= BOX_KEYWORDS_MAX)
        return -EBADMSG;
    b->keywords[bit] = str_dupz(name);
    if (!b->keywords[bit])
        return -ENOMEM;
    b->n_keywords++;
    return 0;
}

static int fill(struct box *b, const struct snapshot *s)
{
    int r = grow(b, s->n + 16);
    for (size_t i = 0; r == 0 && i < s->n_keywords; i++)
        r = set_keyword(b, i, s->keywords[i]);
    for (size_t i = 0; r == 0 && i < s->n; i++) {
        struct mailbox_entry e;
        r = snapshot_entry(s, i, &e);
        if (r == 0)
            r = add_message(b, &e);
    }
    b->lsn = s->lsn;
    b->uidvalidity = s->uidvalidity;
    b->uidnext = s->uidnext;
    b->recent = s->recent;
    b->modseq = MAX(s->modseq, b->modseq);
    b->loaded = r == 0;
    return r;
}

static struct box *box_new(struct boxes *all, uint64_t id, str account, str name)
{
    struct box *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->all = all;
    b->id = id;
    b->texts = ARENA(TEXTS_MAX);
    b->map_fd = b->cards_fd = -1;
    b->ahead_end = &b->ahead;
    b->account = str_dupz(account);
    b->name = str_dupz(name);
    b->next = all->first;
    if (b->next)
        b->next->prev = b;
    all->first = b;
    if (!b->account || !b->name || map_set(&all->by_id, key_of(&b->id), b, NULL) < 0) {
        box_free(b);
        return NULL;
    }
    set_name(b, true);
    return b;
}

static struct box *oldest_unused(struct boxes *all)
{
    struct box *oldest = NULL;
    for (struct box *b = all->first; b; b = b->next)
        if (!b->views && (!oldest || b->unused_since < oldest->unused_since))
            oldest = b;
    return oldest;
}

static void let_go(struct boxes *all, struct box *b)
{
    if (!b->gone)
        all->forget(all->arg, b->id);
    box_free(b);
}

/* Each box may have two descriptors: whoever selects thousands of mailboxes must not use them up. */
static void make_room(struct boxes *all)
{
    struct box *b;
    while (all->by_id.n >= BOXES_KEPT_MAX && (b = oldest_unused(all)))
        let_go(all, b);
}

struct box *boxes_load(struct boxes *all, uint64_t id, str account, str name, int fd)
{
    struct snapshot s;
    struct box *b = boxes_find(all, id);
    if (snapshot_open(fd, &s) < 0)
        return NULL;
    if (b && b->views) { /* it is current already */
        snapshot_close(&s);
        return b;
    }
    if (b)
        box_free(b);
    make_room(all);
    b = box_new(all, id, account, name);
    if (b && fill(b, &s) < 0) {
        box_free(b);
        b = NULL;
    }
    snapshot_close(&s);
    return b;
}

size_t box_find(const struct box *b, uint32_t uid)
{
    size_t low = 0, high = b->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (b->messages[mid].uid < uid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct box_message *message_of(struct box *b, uint32_t uid)
{
    size_t i = box_find(b, uid);
    return i < b->n && b->messages[i].uid == uid ? &b->messages[i] : NULL;
}

size_t box_first_unseen(struct box *b)
{
    while (b->unseen_from < b->n) {
        const struct box_message *m = &b->messages[b->unseen_from];
        if (!m->gone && !(m->flags & IMAP_SEEN))
            return b->unseen_from;
        b->unseen_from++;
    }
    return SIZE_MAX;
}

int box_keyword(const struct box *b, str name)
{
    for (size_t i = 0; i < b->n_keywords; i++)
        if (str_ieq(str_z(b->keywords[i]), name))
            return (int)i;
    return -1;
}

int box_put_flags(struct buf *out, const struct box *b, const struct box_message *m, bool recent)
{
    static const struct { uint8_t bit; str name; } names[] = {
        { IMAP_ANSWERED, S("\\Answered ") }, { IMAP_FLAGGED, S("\\Flagged ") }, { IMAP_DELETED, S("\\Deleted ") },
        { IMAP_SEEN, S("\\Seen ") },         { IMAP_DRAFT, S("\\Draft ") },
    };
    buf_addc(out, '(');
    size_t start = out->n;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (m->flags & names[i].bit)
            buf_add(out, names[i].name);
    if (recent)
        buf_add(out, S("\\Recent "));
    for (uint64_t bits = m->keywords; bits; bits &= bits - 1) {
        size_t bit = (size_t)__builtin_ctzll(bits);
        if (bit >= b->n_keywords)
            break;
        buf_add(out, str_z(b->keywords[bit]));
        buf_addc(out, ' ');
    }
    if (out->n > start)
        out->n--; /* the last blank */
    return buf_addc(out, ')');
}

/* Views that are too far behind are given up, so that one who does not read cannot make the list grow for ever. */
static void forget_changes(struct box *b)
{
    uint64_t keep = b->first_change + b->n_changes;
    for (struct box_view *v = b->views; v; v = v->next)
        if (!v->lost)
            keep = MIN(keep, MIN(v->next_change, v->next_expunge));
    if (keep == b->first_change && b->n_changes >= CHANGES_MAX) {
        keep += b->n_changes / 2;
        for (struct box_view *v = b->views; v; v = v->next)
            v->lost = v->lost || v->next_change < keep || v->next_expunge < keep;
    }
    size_t gone = (size_t)(keep - b->first_change);
    if (gone == b->n_changes || gone >= b->cap_changes / 2) {
        memmove(b->changes, b->changes + gone, (b->n_changes - gone) * sizeof(*b->changes));
        b->n_changes -= gone;
        b->first_change = keep;
    }
}

static int note_change(struct box *b, const struct box_message *m, bool expunged, uint64_t lsn, uint16_t by)
{
    if (!b->views)
        return 0;
    if (b->n_changes == b->cap_changes) {
        if (b->n_changes)
            forget_changes(b);
        if (b->n_changes * 2 >= b->cap_changes) {
            size_t cap = MAX(b->cap_changes * 2, (size_t)16);
            struct box_change *c = realloc(b->changes, cap * sizeof(*c));
            if (!c)
                return -ENOMEM;
            b->changes = c;
            b->cap_changes = cap;
        }
    }
    b->changes[b->n_changes++] = (struct box_change){ .index = (uint32_t)(m - b->messages), .expunged = expunged,
                                                      .by = by, .lsn = lsn };
    return 0;
}

static int on_arrived(struct box *b, struct feed_item *f)
{
    struct mailbox_entry e;
    int r = 0;
    for (uint32_t i = 0; i < f->n && r == 0; i++)
        r = feed_entry(f, &e) ? add_message(b, &e) : -EBADMSG;
    return r;
}

struct flags { uint8_t system; uint64_t keywords; };

static struct flags flags_of(const struct box_message *m) { return (struct flags){ m->flags, m->keywords }; }

static bool same_flags(struct flags a, struct flags b) { return a.system == b.system && a.keywords == b.keywords; }

static struct flags changed_flags(struct flags old, const struct box_flagging *f)
{
    switch (f->op) {
    case IMAP_STORE_SET: return (struct flags){ f->flags, f->keywords };
    case IMAP_STORE_ADD: return (struct flags){ old.system | f->flags, old.keywords | f->keywords };
    default: return (struct flags){ old.system & (uint8_t)~f->flags, old.keywords & ~f->keywords };
    }
}

static void set_flags(struct box *b, struct box_message *m, struct flags flags)
{
    m->flags = flags.system;
    m->keywords = flags.keywords;
    if (!(flags.system & IMAP_SEEN))
        b->unseen_from = MIN(b->unseen_from, (size_t)(m - b->messages));
}

/* What a message has by the changes that are still ahead of the store. */
static struct flags flags_ahead(const struct box *b, uint32_t uid, struct flags flags)
{
    for (const struct box_ahead *a = b->ahead; a; a = a->next)
        for (size_t i = 0; i < a->n; i++)
            if (uid >= a->uids[i].first && uid <= a->uids[i].last)
                flags = changed_flags(flags, &a->how);
    return flags;
}

static int on_flags(struct box *b, struct feed_item *f)
{
    uint32_t uid, system;
    uint64_t keywords;
    int r = 0;
    for (uint32_t i = 0; i < f->n && r == 0; i++) {
        if (!feed_flags(f, &uid, &system, &keywords))
            return -EBADMSG;
        struct box_message *m = message_of(b, uid);
        if (!m || m->gone || m->modseq > f->modseq) /* it was changed again since: box_flag() */
            continue;
        struct flags flags = flags_ahead(b, uid, (struct flags){ (uint8_t)system, keywords });
        bool known = same_flags(flags, flags_of(m));
        if (m->modseq == f->modseq && known)
            continue;
        set_flags(b, m, flags);
        m->modseq = f->modseq;
        r = note_change(b, m, false, f->lsn, known && b->came.lsn == f->lsn ? b->came.by : 0);
    }
    return r;
}

void box_flag(struct box *b, const struct box_range *ranges, size_t n, const struct box_flagging *f)
{
    for (size_t i = 0; i < n; i++)
        for (size_t at = ranges[i].first; at <= ranges[i].last && at < b->n; at++) {
            struct box_message *m = &b->messages[at];
            struct flags flags = changed_flags(flags_of(m), f);
            if (m->gone || same_flags(flags, flags_of(m)))
                continue;
            set_flags(b, m, flags);
            m->modseq = f->modseq;
            note_change(b, m, false, f->lsn, 0); /* without memory the feed tells it */
        }
    b->modseq = MAX(b->modseq, f->modseq);
    tell_views(b);
}

/* Sets the flags of the messages in a range. How many changed. */
static size_t flag_range_ahead(struct box *b, struct box_range range, const struct box_flagging *f)
{
    size_t n = 0;
    for (size_t at = range.first; at <= range.last && at < b->n; at++) {
        struct box_message *m = &b->messages[at];
        struct flags flags = changed_flags(flags_of(m), f);
        if (m->gone || same_flags(flags, flags_of(m)))
            continue;
        set_flags(b, m, flags);
        n++;
    }
    return n;
}

int box_flag_ahead(struct box_view *v, const struct box_range *ranges, size_t n, const struct box_flagging *f,
                   uint64_t *out_number)
{
    struct box *b = v->box;
    size_t changed = 0;
    if (b->gone || b->n_ahead + n > BOX_AHEAD_MAX)
        return -ENOBUFS;
    struct box_ahead *a = calloc(1, sizeof(*a) + n * sizeof(a->uids[0]));
    if (!a)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        changed += flag_range_ahead(b, ranges[i], f);
        a->uids[i].first = b->messages[ranges[i].first].uid;
        a->uids[i].last = b->messages[MIN(ranges[i].last, b->n - 1)].uid;
    }
    if (!changed) {
        free(a);
        return 0;
    }
    a->number = *out_number = ++b->all->last_ahead;
    a->how = *f;
    a->by = v->number;
    a->n = n;
    *b->ahead_end = a;
    b->ahead_end = &a->next;
    b->n_ahead += n;
    return 1;
}

/* What is here is not what the store has: who looks at it is to come again. */
static void spoil(struct box *b)
{
    set_gone(b);
    if (b->views) {
        tell_views(b);
        return;
    }
    b->all->forget(b->all->arg, b->id);
    box_free(b);
}

void box_ahead_taken(struct boxes *all, uint64_t id, uint64_t number, uint64_t lsn)
{
    struct box *b = boxes_find(all, id);
    struct box_ahead *a = b ? b->ahead : NULL;
    while (a && a->number != number)
        a = a->next;
    if (a && lsn)
        a->lsn = lsn;
    else if (a && !b->gone)
        spoil(b);
}

static int on_expunged(struct box *b, struct feed_item *f)
{
    uint32_t uid;
    int r = 0;
    for (uint32_t i = 0; i < f->n && r == 0; i++) {
        if (!feed_uid(f, &uid))
            return -EBADMSG;
        struct box_message *m = message_of(b, uid);
        if (!m || m->gone)
            continue;
        m->gone = true;
        b->n_gone++;
        r = note_change(b, m, true, f->lsn, 0);
    }
    return r;
}

static int on_places(struct box *b, struct feed_item *f)
{
    uint32_t uid;
    uint64_t offset;
    int log = log_number(b->all, f->log);
    if (log < 0)
        return -EBADMSG;
    for (uint32_t i = 0; i < f->n; i++) {
        if (!feed_place(f, &uid, &offset))
            return -EBADMSG;
        struct box_message *m = message_of(b, uid);
        if (!m)
            continue;
        m->log = (uint16_t)log;
        m->segment = f->segment;
        m->offset = offset;
    }
    return 0;
}

static int on_renamed(struct box *b, str name)
{
    char *copy = str_dupz(name);
    if (!copy)
        return -ENOMEM;
    set_name(b, false);
    free(b->name);
    b->name = copy;
    set_name(b, true);
    return 0;
}

static int apply(struct box *b, struct feed_item *f)
{
    switch (f->kind) {
    case FEED_ARRIVED: return on_arrived(b, f);
    case FEED_FLAGS: return on_flags(b, f);
    case FEED_EXPUNGED: return on_expunged(b, f);
    case FEED_PLACES: return on_places(b, f);
    case FEED_KEYWORD: return set_keyword(b, f->bit, f->name);
    case FEED_RENAMED: return on_renamed(b, f->name);
    case FEED_GONE: set_gone(b); return 0;
    }
    return -EBADMSG;
}

int boxes_feed(struct boxes *all, uint64_t id, str item)
{
    struct feed_item f;
    struct box *b = boxes_find(all, id);
    int r = feed_decode(item, &f);
    if (r < 0 || !b || b->gone || f.lsn <= b->lsn)
        return r;
    drop_ahead(b, f.lsn);
    r = apply(b, &f);
    b->modseq = MAX(b->modseq, f.modseq);
    if (r < 0) /* what is here is not what the store has */
        set_gone(b);
    if (b->views) {
        tell_views(b);
        return r == -ENOMEM ? 0 : r;
    }
    if (b->gone) {
        all->forget(all->arg, b->id);
        box_free(b);
    }
    return r == -ENOMEM ? 0 : r;
}

void boxes_sweep(struct boxes *all, uint64_t now)
{
    for (;;) {
        struct box *oldest = oldest_unused(all);
        if (!oldest || (now - oldest->unused_since < BOX_UNUSED_MS && all->n_messages <= BOXES_MESSAGES_MAX))
            return;
        let_go(all, oldest);
    }
}
