/* Columns of card texts: see card_columns.h. A chunk has one column of the messages of 256 UIDs: where each begins, and
 * their texts one behind the other. Chunks are found by a table of chains, and stand in the order of their last use. */
#include "access/card_columns.h"
#include <stdlib.h>
#include "base/buf.h"

enum { CHUNK_UIDS = 256, FIELDS = 4 };

struct card_chunk {
    struct card_chunk *next, *newer, *older;
    uint64_t box, used;
    uint32_t block;       /* UID / CHUNK_UIDS */
    unsigned column;      /* its number */
    struct buf texts;
    uint32_t at[CHUNK_UIDS]; /* in texts, plus 1; 0: not here */
};

struct head { /* of a message; the fields follow, each with u32 length */
    int64_t date_s;
    uint32_t base_off, base_len;
    bool headers_cut, has_date, reply;
} __attribute__((packed));
enum { HEAD = sizeof(struct head) };

/* Where the strings of a column are; 0 ends them. */
static const uint16_t fields[CARD_COLUMNS][FIELDS] = {
    { offsetof(struct card_text, envelope) },
    { offsetof(struct card_text, structure) },
    { offsetof(struct card_text, headers) },
    { offsetof(struct card_text, subject) },
    { offsetof(struct card_text, message_id), offsetof(struct card_text, references) },
    { offsetof(struct card_text, from), offsetof(struct card_text, to), offsetof(struct card_text, cc),
      offsetof(struct card_text, bcc) },
};
_Static_assert(offsetof(struct card_text, envelope) != 0, "0 ends the fields");

static str *field(const struct card_text *t, uint16_t at) { return (str *)((char *)(uintptr_t)t + at); }

static struct card_chunk **slot_of(struct card_columns *c, uint64_t box, uint32_t block, unsigned column)
{
    uint64_t h = (box * CARD_COLUMNS + column) * 0x9e3779b97f4a7c15u + block * 0xc2b2ae3d27d4eb4fu;
    return &c->slots[(h ^ h >> 29) * 0x9e3779b97f4a7c15u >> 52];
}

static void unlink_use(struct card_columns *c, struct card_chunk *k)
{
    *(k->newer ? &k->newer->older : &c->newest) = k->older;
    *(k->older ? &k->older->newer : &c->oldest) = k->newer;
}

static void link_newest(struct card_columns *c, struct card_chunk *k)
{
    k->newer = NULL;
    k->older = c->newest;
    *(k->older ? &k->older->newer : &c->oldest) = k;
    c->newest = k;
}

static size_t size_of(const struct card_chunk *k) { return sizeof(*k) + k->texts.cap; }

static void chunk_free(struct card_columns *c, struct card_chunk *k)
{
    struct card_chunk **at = slot_of(c, k->box, k->block, k->column);
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    unlink_use(c, k);
    if (c->last[k->column] == k)
        c->last[k->column] = NULL;
    c->bytes -= size_of(k);
    buf_done(&k->texts);
    free(k);
}

static struct card_chunk *find(struct card_columns *c, uint64_t box, uint32_t block, unsigned column, uint64_t now)
{
    struct card_chunk *k = c->last[column];
    if (!k || k->box != box || k->block != block) {
        for (k = *slot_of(c, box, block, column); k; k = k->next)
            if (k->box == box && k->block == block && k->column == column)
                break;
        if (!k)
            return NULL;
        c->last[column] = k;
        unlink_use(c, k);
        link_newest(c, k);
    }
    k->used = now;
    return k;
}

static void get_texts(const char *p, unsigned column, struct card_text *out)
{
    struct head head;
    memcpy(&head, p, HEAD);
    out->date_s = head.date_s;
    out->headers_cut = head.headers_cut;
    out->has_date = head.has_date;
    out->reply = head.reply;
    if (1u << column == COLUMN_SUBJECT) {
        out->base_off = head.base_off;
        out->base_len = head.base_len;
    }
    p += HEAD;
    for (size_t i = 0; i < FIELDS && fields[column][i]; i++) {
        uint32_t n;
        memcpy(&n, p, 4);
        *field(out, fields[column][i]) = str_of(p + 4, n);
        p += 4 + n;
    }
}

bool card_columns_get(struct card_columns *c, uint64_t box, uint32_t uid, unsigned columns, uint64_t now,
                      struct card_text *out)
{
    *out = (struct card_text){ .present = true };
    for (unsigned column = 0; columns >> column; column++) {
        if (!(columns >> column & 1))
            continue;
        const struct card_chunk *k = find(c, box, uid / CHUNK_UIDS, column, now);
        uint32_t at = k ? k->at[uid % CHUNK_UIDS] : 0;
        if (!at)
            return false;
        get_texts(k->texts.p + at - 1, column, out);
    }
    return true;
}

/* Is there room for so much more? */
static bool make_room(struct card_columns *c, size_t more, uint64_t now)
{
    while (c->oldest && now - c->oldest->used > CARD_COLUMNS_UNUSED_MS)
        chunk_free(c, c->oldest);
    while (c->bytes + more > CARD_COLUMNS_MAX) {
        if (!c->oldest || now - c->oldest->used < CARD_COLUMNS_KEPT_MS)
            return false;
        chunk_free(c, c->oldest);
    }
    return true;
}

static struct card_chunk *make(struct card_columns *c, uint64_t box, uint32_t block, unsigned column, uint64_t now)
{
    if (!make_room(c, sizeof(struct card_chunk), now))
        return NULL;
    struct card_chunk *k = calloc(1, sizeof(*k)), **slot = slot_of(c, box, block, column);
    if (!k)
        return NULL;
    k->box = box;
    k->block = block;
    k->column = column;
    k->used = now;
    k->texts = BUF((size_t)CHUNK_UIDS * (CARD_COLUMNS_TEXT_MAX + HEAD + 4 * FIELDS));
    k->next = *slot;
    *slot = k;
    c->last[column] = k;
    link_newest(c, k);
    c->bytes += size_of(k);
    return k;
}

static void put_texts(struct buf *b, unsigned column, const struct card_text *t)
{
    struct head head = { t->date_s, t->base_off, t->base_len, t->headers_cut, t->has_date, t->reply };
    buf_add(b, str_of(&head, HEAD));
    for (size_t i = 0; i < FIELDS && fields[column][i]; i++) {
        str s = *field(t, fields[column][i]);
        uint32_t n = (uint32_t)s.n;
        buf_add(b, str_of(&n, 4));
        buf_add(b, s);
    }
}

/* The last UID of the chunk came: it will hardly grow. */
static void fit(struct buf *b)
{
    char *p = realloc(b->p, b->n + 1);
    if (p) {
        b->p = p;
        b->cap = b->n;
    }
}

static void put(struct card_columns *c, struct card_chunk *k, uint32_t uid, uint64_t now, const struct card_text *t)
{
    size_t n = 0;
    for (size_t i = 0; i < FIELDS && fields[k->column][i]; i++)
        n += field(t, fields[k->column][i])->n + 4;
    if (n > CARD_COLUMNS_TEXT_MAX || k->at[uid % CHUNK_UIDS])
        return;
    n += HEAD;
    k->used = now; /* not to be freed now */
    bool grows = n > k->texts.cap - k->texts.n;
    if (grows && !make_room(c, MAX(k->texts.cap, n), now))
        return;
    size_t before = size_of(k), at = k->texts.n;
    if (buf_reserve(&k->texts, n) == 0) {
        put_texts(&k->texts, k->column, t);
        k->at[uid % CHUNK_UIDS] = (uint32_t)at + 1;
        if (uid % CHUNK_UIDS == CHUNK_UIDS - 1)
            fit(&k->texts);
    }
    k->texts.failed = 0;
    c->bytes = c->bytes - before + size_of(k);
}

void card_columns_put(struct card_columns *c, uint64_t box, uint32_t uid, unsigned columns, uint64_t now,
                      const struct card_text *t)
{
    for (unsigned column = 0; columns >> column; column++) {
        if (!(columns >> column & 1))
            continue;
        struct card_chunk *k = find(c, box, uid / CHUNK_UIDS, column, now);
        if (!k)
            k = make(c, box, uid / CHUNK_UIDS, column, now);
        if (k)
            put(c, k, uid, now, t);
    }
}

void card_columns_forget(struct card_columns *c, uint64_t box)
{
    for (struct card_chunk *k = c->oldest, *newer; k; k = newer) {
        newer = k->newer;
        if (k->box == box)
            chunk_free(c, k);
    }
}

void card_columns_done(struct card_columns *c)
{
    while (c->oldest)
        chunk_free(c, c->oldest);
}
