/* Segments that the store handed out: see segments.h. */
#include "access/segments.h"
#include <sys/resource.h>
#include <sys/stat.h>

enum { SWEEP_MS = 1000, SWEPT = 256, FEWEST = 16 };

void segments_init(struct segments *all, struct role *role, struct store_calls *calls)
{
    struct rlimit r;
    size_t allowed = getrlimit(RLIMIT_NOFILE, &r) == 0 ? (size_t)MIN(r.rlim_cur, (rlim_t)1 << 20) : 0;
    *all = (struct segments){ .role = role, .calls = calls };
    all->max = MAX(MIN(allowed / 4, (size_t)SEGMENTS_OPEN_MAX), (size_t)FEWEST);
}

void segments_release(struct access_segment *g)
{
    if (!g || --g->holds > 0)
        return;
    close(g->fd);
    free(g);
}

void segments_done(struct segments *all)
{
    if (all->sweep.slot)
        loop_cancel(all->role->loop, &all->sweep);
    for (size_t i = 0; i < all->n; i++)
        segments_release(all->kept[i]);
    all->n = 0;
}

static struct access_segment *find(struct segments *all, str log, uint64_t number)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->kept[i]->number == number && str_eq(str_z(all->kept[i]->log), log))
            return all->kept[i];
    return NULL;
}

static struct access_segment *hold(struct segments *all, struct access_segment *g)
{
    g->used = loop_now(all->role->loop);
    g->holds++;
    return g;
}

struct access_segment *segments_hold(struct segments *all, str log, uint64_t number)
{
    struct access_segment *g = find(all, log, number);
    return g ? hold(all, g) : NULL;
}

/* Those that compaction removed are let go; some are looked at each time. */
static void sweep(struct loop_timer *t)
{
    struct segments *all = CONTAINER_OF(t, struct segments, sweep);
    for (size_t looked = 0; looked < SWEPT && all->n; looked++) {
        struct stat st;
        all->sweep_at = all->sweep_at ? MIN(all->sweep_at, all->n) - 1 : all->n - 1;
        struct access_segment **at = &all->kept[all->sweep_at];
        if (fstat((*at)->fd, &st) < 0 || st.st_nlink == 0) {
            segments_release(*at);
            *at = all->kept[--all->n];
        }
        if (all->sweep_at == 0)
            break;
    }
    if (all->n)
        loop_after(all->role->loop, t, SWEEP_MS);
}

/* Where the next one goes: the end, or the place of the one that was not used for the longest. */
static size_t free_place(struct segments *all)
{
    size_t at = 0;
    if (all->n < all->max)
        return all->n++;
    for (size_t i = 1; i < all->n; i++)
        if (all->kept[i]->used < all->kept[at]->used)
            at = i;
    segments_release(all->kept[at]);
    return at;
}

static struct access_segment *keep(struct segments *all, str log, uint64_t number, int fd)
{
    struct access_segment *g = find(all, log, number);
    if (g) { /* somebody else's answer came first */
        close(fd);
        return g;
    }
    if (!(g = calloc(1, sizeof(*g)))) {
        close(fd);
        return NULL;
    }
    *g = (struct access_segment){ .number = number, .fd = fd, .holds = 1, .serial = ++all->last_serial };
    memcpy(g->log, log.p, MIN(log.n, sizeof(g->log) - 1));
    all->kept[free_place(all)] = g;
    if (!all->sweep.slot) {
        all->sweep.fire = sweep;
        loop_after(all->role->loop, &all->sweep, SWEEP_MS);
    }
    return g;
}

static bool answer(struct store_call *c, struct ipc_frame *f)
{
    struct segment_wait *w = CONTAINER_OF(c, struct segment_wait, call);
    struct access_segment *g = NULL;
    if (f && unpack_u8(&f->in) && unpack_end(&f->in) && f->fd >= 0 && !f->fd_lost)
        g = keep(w->all, str_z(w->log), w->number, TAKE_FD(f->fd));
    w->got(w, g ? hold(w->all, g) : NULL);
    return false;
}

int segments_ask(struct segments *all, struct segment_wait *w, str session, str log, uint64_t number)
{
    struct buf b;
    w->all = all;
    w->number = number;
    memset(w->log, 0, sizeof(w->log));
    memcpy(w->log, log.p, MIN(log.n, sizeof(w->log) - 1));
    w->call.answer = answer;
    store_call_begin(all->calls, &w->call, &b, session);
    pack_str(&b, log);
    pack_u64(&b, number);
    return store_call_send(&w->call, IPC_SEGMENT_GET, &b);
}

/* The key that the segment's records are checked with. */
static bool read_key(struct access_segment *g)
{
    char bytes[SEGMENT_HEADER_SIZE];
    struct segment_header header;
    if (g->has_key)
        return true;
    if (segment_pread(g->fd, bytes, sizeof(bytes), 0) != sizeof(bytes) ||
        segment_header_decode(str_of(bytes, sizeof(bytes)), &header) < 0)
        return false;
    memcpy(g->key, header.key, sizeof(g->key));
    return g->has_key = true;
}

bool segment_record_at(struct access_segment *g, str head, uint64_t offset, struct record_header *out)
{
    return head.n >= RECORD_HEADER_SIZE && read_key(g) &&
           record_header_decode(str_first(head, RECORD_HEADER_SIZE), g->key, offset, out) == 1;
}
