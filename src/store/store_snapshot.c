/* Writing snapshots: the rows of a mailbox stream out of the index into a memfd, entries and texts each through a
 * small buffer. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/pack.h"
#include "store/snapshot_format.h"
#include "store/store_internal.h"

#define PIECE 65536
#define LOGS 16
#define KEYWORDS_MEMORY ((size_t)1 << 20)

struct region { /* bytes that go to the file from `at` on */
    struct buf bytes;
    uint64_t at;
};

struct writer {
    int fd;
    struct region entries, texts;
    uint64_t n, wanted;
    uint64_t keywords_at; uint32_t keywords_len, n_keywords;
    str prefix; uint64_t prefix_at; /* the last one, often the same again */
    struct { char name[LOG_NAME_MAX]; uint32_t n; uint64_t at; } logs[LOGS];
    size_t n_logs;
    char last_prefix[1024];
};

static int region_flush(const struct writer *w, struct region *g)
{
    int r = g->bytes.failed ? -ENOMEM : segment_pwrite(w->fd, buf_str(&g->bytes), g->at);
    g->at += g->bytes.n;
    buf_clear(&g->bytes);
    return r;
}

static int region_room(const struct writer *w, struct region *g)
{
    return g->bytes.n >= PIECE ? region_flush(w, g) : 0;
}

static uint64_t add_text(struct writer *w, str text)
{
    uint64_t at = w->texts.at + w->texts.bytes.n;
    buf_add(&w->texts.bytes, text);
    return at;
}

static uint64_t prefix_place(struct writer *w, str prefix)
{
    if (w->prefix.n && str_eq(prefix, w->prefix))
        return w->prefix_at;
    uint64_t at = add_text(w, prefix);
    if (!prefix.n)
        return at;
    w->prefix = STR_NONE;
    if (prefix.n <= sizeof(w->last_prefix)) {
        memcpy(w->last_prefix, prefix.p, prefix.n);
        w->prefix = str_of(w->last_prefix, prefix.n);
        w->prefix_at = at;
    }
    return at;
}

static uint64_t log_place(struct writer *w, str name)
{
    for (size_t i = 0; i < w->n_logs; i++)
        if (str_eq(str_of(w->logs[i].name, w->logs[i].n), name))
            return w->logs[i].at;
    uint64_t at = add_text(w, name);
    if (w->n_logs < LOGS && name.n <= LOG_NAME_MAX) {
        memcpy(w->logs[w->n_logs].name, name.p, name.n);
        w->logs[w->n_logs].n = (uint32_t)name.n;
        w->logs[w->n_logs++].at = at;
    }
    return at;
}

static int write_entry(void *arg, const struct index_message *m)
{
    struct writer *w = arg;
    struct buf *b = &w->entries.bytes;
    if (w->n++ == w->wanted)
        return -EBADMSG; /* the mailbox counts fewer messages than it has */
    int r = region_room(w, &w->entries);
    if (r == 0)
        r = region_room(w, &w->texts);
    if (r < 0)
        return r;
    char *p = buf_space(b, SNAPSHOT_ENTRY);
    if (!p)
        return -ENOMEM;
    put_u32(p, m->uid);
    put_u32(p + 4, m->number);
    put_u64(p + 8, m->prefix.n + m->content_len);
    put_u64(p + 16, m->position.segment);
    put_u64(p + 24, m->position.offset);
    put_u64(p + 32, m->content_len);
    put_u64(p + 40, (uint64_t)m->date_s);
    memcpy(p + 48, m->session.p, MIN(m->session.n, (size_t)16));
    put_u32(p + 64, m->meta_len);
    put_u32(p + 68, (uint32_t)m->prefix.n);
    put_u64(p + 72, prefix_place(w, m->prefix));
    put_u64(p + 80, log_place(w, m->log));
    put_u32(p + 88, (uint32_t)m->log.n);
    put_u32(p + 92, m->flags);
    put_u64(p + 96, m->keywords);
    put_u64(p + 104, m->modseq);
    put_u32(p + 112, (uint16_t)m->zone_min);
    return 0;
}

static int write_header(const struct writer *w, const struct index_mailbox *m, uint64_t lsn)
{
    char head[SNAPSHOT_HEADER] = { 0 };
    memcpy(head, SNAPSHOT_MAGIC.p, SNAPSHOT_MAGIC.n);
    put_u64(head + 8, m->id);
    put_u64(head + 16, lsn);
    put_u32(head + 24, m->uidvalidity);
    put_u32(head + 28, m->uidnext);
    put_u64(head + 32, w->n);
    put_u64(head + 40, w->texts.at);
    put_u64(head + 48, m->modseq);
    put_u32(head + 56, m->recent);
    put_u32(head + 60, w->n_keywords);
    put_u64(head + 64, w->keywords_at);
    put_u32(head + 72, w->keywords_len);
    return segment_pwrite(w->fd, str_of(head, sizeof(head)), 0);
}

static int add_keywords(struct index *ix, struct writer *w, uint64_t mailbox)
{
    _cleanup_arena_ struct arena a = ARENA(KEYWORDS_MEMORY);
    _cleanup_buf_ struct buf names = BUF(KEYWORDS_MEMORY);
    str list[INDEX_KEYWORDS];
    int n = index_keywords(ix, &a, mailbox, list);
    for (int i = 0; i < n; i++)
        pack_str(&names, list[i]);
    w->n_keywords = (uint32_t)MAX(n, 0);
    w->keywords_len = (uint32_t)names.n;
    w->keywords_at = add_text(w, buf_str(&names));
    return MIN(n, 0);
}

static int write_all(struct index *ix, struct writer *w, uint64_t mailbox)
{
    struct index_mailbox m;
    int r = index_mailbox_get(ix, mailbox, &m);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    w->wanted = m.messages;
    w->entries.at = SNAPSHOT_HEADER;
    w->texts.at = SNAPSHOT_HEADER + m.messages * SNAPSHOT_ENTRY;
    r = add_keywords(ix, w, mailbox);
    if (r == 0)
        r = index_walk(ix, mailbox, write_entry, w);
    if (r == 0 && w->n != w->wanted)
        r = -EBADMSG;
    if (r == 0)
        r = region_flush(w, &w->entries);
    if (r == 0)
        r = region_flush(w, &w->texts);
    if (r == 0)
        r = write_header(w, &m, index_state(ix)->lsn);
    if (r == 0 && fcntl(w->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        r = -errno;
    return r;
}

int store_snapshot_of(struct index *ix, uint64_t mailbox, int *out_fd)
{
    _cleanup_close_ int fd = memfd_create("mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    struct writer w = { .fd = fd };
    w.entries.bytes = BUF(2 * PIECE);
    w.texts.bytes = BUF(SIZE_MAX >> 1);
    int r = write_all(ix, &w, mailbox);
    buf_done(&w.entries.bytes);
    buf_done(&w.texts.bytes);
    if (r < 0)
        return r;
    *out_fd = TAKE_FD(fd);
    return 0;
}

int store_snapshot(struct store *s, uint64_t mailbox, int *out_fd)
{
    int r = store_snapshot_of(s->index, mailbox, out_fd);
    if (r != -EBADMSG)
        return r;
    r = store_reindex(s);
    if (r == 0)
        r = store_snapshot_of(s->index, mailbox, out_fd);
    return r == -EBADMSG ? -EIO : r;
}
