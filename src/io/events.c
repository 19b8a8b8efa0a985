/* Log and trace of a role: see events.h. A trace segment is closed at 16 MiB; the oldest go when size or age is
 * exceeded. */
#include "io/events.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { GATHER_MAX = 8 << 20, SEGMENT_BYTES = 16 << 20, SEGMENTS_AN_AGE = 14, LINE_MAX_BYTES = 1 << 20 };

bool event_level_parse(str s, enum event_level *out)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(s, str_z(names[i]))) {
            *out = (enum event_level)i;
            return true;
        }
    return false;
}

static void turn_end(struct loop_turn *t)
{
    events_flush(CONTAINER_OF(t, struct events, turn));
}

void events_init(struct events *e, struct loop *l, const char *role)
{
    *e = (struct events){ .env = loop_env(l),
                          .role = role,
                          .log_level = EVENT_INFO,
                          .trace_dir = -1,
                          .trace_fd = -1,
                          .line = BUF(LINE_MAX_BYTES),
                          .trace = BUF(GATHER_MAX),
                          .log = BUF(GATHER_MAX),
                          .turn.end = turn_end };
    loop_at_turn_end(l, &e->turn);
}

void events_done(struct events *e)
{
    events_flush(e);
    buf_done(&e->line);
    buf_done(&e->trace);
    buf_done(&e->log);
    if (e->trace_fd >= 0)
        close(e->trace_fd);
    if (e->trace_dir >= 0)
        close(e->trace_dir);
    e->trace_fd = e->trace_dir = -1;
}

/* Number of a segment of this role, 0 if the name is something else. */
static uint64_t segment_of(const struct events *e, const char *name)
{
    str rest = str_z(name), mine = str_z(e->role);
    uint64_t n = 0;
    if (!str_starts(rest, mine) || rest.n < mine.n + 2 || rest.p[mine.n] != '.' || !str_ends(rest, S(".trace")))
        return 0;
    rest = str_from(rest, mine.n + 1);
    return str_u64(str_first(rest, rest.n - 6), UINT64_MAX, &n) < 0 ? 0 : n;
}

struct trace_files { uint64_t oldest, newest, bytes; int64_t oldest_time; };

static int look(const struct events *e, struct trace_files *out)
{
    int fd = openat(e->trace_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    *out = (struct trace_files){ 0 };
    if (!d) {
        int r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    for (struct dirent *f; (f = readdir(d));) {
        struct stat st;
        uint64_t n = segment_of(e, f->d_name);
        if (!n || fstatat(e->trace_dir, f->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        out->bytes += (uint64_t)st.st_size;
        out->newest = MAX(out->newest, n);
        if (!out->oldest || n < out->oldest) {
            out->oldest = n;
            out->oldest_time = st.st_mtime;
        }
    }
    closedir(d);
    return 0;
}

static void segment_path(const struct events *e, uint64_t n, char out[64])
{
    snprintf(out, 64, "%s.%08llu.trace", e->role, (unsigned long long)n);
}

static void drop_old(const struct events *e, uint64_t keep)
{
    struct trace_files t;
    char name[64];
    int64_t now = (int64_t)(e->env->wall_us() / 1000000);
    while (look(e, &t) == 0 && t.oldest && t.oldest != keep &&
           (t.bytes > e->trace_size || now - t.oldest_time > (int64_t)(e->trace_age_ms / 1000))) {
        segment_path(e, t.oldest, name);
        if (unlinkat(e->trace_dir, name, 0) < 0)
            break;
    }
}

static void open_segment(struct events *e)
{
    struct trace_files t;
    char name[64];
    if (e->trace_fd >= 0)
        close(e->trace_fd);
    e->trace_fd = -1;
    if (look(e, &t) < 0)
        return;
    segment_path(e, t.newest + 1, name);
    e->trace_fd = openat(e->trace_dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_EXCL, 0640);
    e->trace_written = 0;
    e->trace_opened_us = e->env->wall_us();
    drop_old(e, t.newest + 1);
}

void events_set_trace(struct events *e, int dir_fd, uint64_t size, uint64_t age_ms)
{
    if (e->trace_dir >= 0)
        close(e->trace_dir);
    e->trace_dir = dir_fd;
    e->trace_size = size;
    e->trace_age_ms = age_ms;
    open_segment(e);
}

static bool write_all(int fd, const struct buf *b)
{
    for (size_t at = 0; at < b->n;) {
        ssize_t n = write(fd, b->p + at, b->n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

void events_flush(struct events *e)
{
    if (e->log.n) {
        if (!write_all(STDERR_FILENO, &e->log))
            e->dropped++;
        buf_clear(&e->log);
    }
    if (!e->trace.n || e->trace_dir < 0)
        return;
    bool old = e->env->wall_us() - e->trace_opened_us > e->trace_age_ms * 1000 / SEGMENTS_AN_AGE;
    if (e->trace_written > SEGMENT_BYTES || old || e->trace_fd < 0) /* a quiet role's traces must grow old too */
        open_segment(e);
    if (e->trace_fd < 0 || !write_all(e->trace_fd, &e->trace))
        e->dropped++;
    e->trace_written += e->trace.n;
    buf_clear(&e->trace);
}

struct buf *events_begin(struct events *e, enum event_level level, const char *name)
{
    buf_clear(&e->line);
    e->level = level;
    event_begin(&e->line, e->env->wall_us(), level, name);
    event_str(&e->line, "role", str_z(e->role));
    return &e->line;
}

void events_end(struct events *e)
{
    event_end(&e->line);
    if (e->line.failed) {
        e->dropped++;
        return;
    }
    bool full = buf_add(&e->trace, buf_str(&e->line)) < 0;
    if (e->level >= e->log_level)
        full |= buf_add(&e->log, buf_str(&e->line)) < 0;
    if (full) {
        events_flush(e);
        buf_clear(&e->trace);
        buf_clear(&e->log);
        e->dropped++;
    }
}

void events_drop(struct events *e)
{
    buf_clear(&e->line);
}

void events_say(struct events *e, enum event_level level, const char *name, str what)
{
    struct buf *b = events_begin(e, level, name);
    event_str(b, "text", what);
    events_end(e);
    events_flush(e);
}
