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

struct region { /* bytes that go to the file from `at` on */
    struct buf bytes;
    uint64_t at;
};

struct writer {
    int fd;
    struct region entries, texts;
    uint64_t n, wanted;
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
    pack_u32(b, m->uid);
    pack_u32(b, m->number);
    pack_u64(b, m->prefix.n + m->content_len);
    pack_u64(b, m->position.segment);
    pack_u64(b, m->position.offset);
    pack_u64(b, m->content_len);
    pack_u64(b, m->received_us);
    buf_add(b, m->session);
    pack_u32(b, m->meta_len);
    pack_u32(b, (uint32_t)m->prefix.n);
    pack_u64(b, prefix_place(w, m->prefix));
    pack_u64(b, log_place(w, m->log));
    pack_u32(b, (uint32_t)m->log.n);
    pack_u32(b, 0);
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
    return segment_pwrite(w->fd, str_of(head, sizeof(head)), 0);
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
