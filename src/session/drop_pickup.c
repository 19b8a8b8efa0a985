/* The folder of the drop: see drop_pickup.h. */
#include "session/drop_pickup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

enum { LOOK_MS = 10000, IN_FLIGHT_MAX = 64, ENTRIES_A_STEP = 64, BAD_MAX = 10000 };
enum { EMPTY_S = 3600, UNFINISHED_S = 86400, BAD_S = 5 * 86400 }; /* so long after its last change such a file stays */

static void run_free(struct drop_run *run)
{
    if (run->fd >= 0)
        close(run->fd);
    buf_done(&run->piece);
    arena_done(&run->arena);
    free(run);
}

static struct buf *say(struct drop_pickup *p, enum event_level level, const char *event, const char *name)
{
    struct buf *e = events_begin(&p->in->role->events, level, event);
    event_str(e, "file", str_z(name));
    return e;
}

static void say_end(struct drop_pickup *p) { events_end(&p->in->role->events); }

static bool older(struct drop_pickup *p, const struct stat *st, int64_t seconds)
{
    return (int64_t)(p->in->role->env->wall_us() / 1000000) - st->st_ctime > seconds;
}

static void remove_old(struct drop_pickup *p, const char *name, const struct stat *st, const char *why)
{
    if (unlinkat(p->folder, name, 0) < 0)
        return;
    free(map_take(&p->bad, str_z(name)));
    struct buf *e = say(p, EVENT_WARN, "drop_removed", name);
    event_u64(e, "uid", st->st_uid);
    event_str(e, "why", str_z(why));
    say_end(p);
}

/* Told of once; the map holds something of ours because it cannot hold nothing. */
static void bad(struct drop_pickup *p, const char *name, const struct stat *st, const char *why)
{
    if (older(p, st, BAD_S)) {
        remove_old(p, name, st, why);
        return;
    }
    char *mark = map_get(&p->bad, str_z(name)) ? NULL : malloc(1);
    if (!mark)
        return;
    if (map_set(&p->bad, str_z(name), mark, NULL) < 0) {
        free(mark);
        return;
    }
    struct buf *e = say(p, EVENT_WARN, "drop_bad", name);
    event_u64(e, "uid", st->st_uid);
    event_str(e, "why", str_z(why));
    event_str(e, "text", S("it stays in the drop for five days"));
    say_end(p);
}

/* What the file must be, said by the file system. NULL: it is that. */
static const char *objection(const struct stat *st)
{
    return !S_ISREG(st->st_mode) ? "it is no regular file" : st->st_nlink != 1 ? "it has more than one name" : NULL;
}

static bool under_way(const struct drop_pickup *p, const char *name)
{
    for (const struct drop_run *r = p->waiting; r; r = r->next)
        if (str_eq(str_z(r->name), str_z(name)))
            return true;
    return false;
}

static int open_file(struct drop_pickup *p, const char *name, struct stat *st, const char **out_why)
{
    struct stat now;
    if (fstatat(p->folder, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return -ENOENT;
    *out_why = strlen(name) >= DROP_NAME_MAX ? "its name is too long" : objection(st);
    if (*out_why)
        return -EBADMSG;
    if (!(st->st_mode & S_IXUSR)) { /* it is being written */
        if (older(p, st, st->st_size ? UNFINISHED_S : EMPTY_S))
            remove_old(p, name, st, "nobody has completed it");
        return -ENOENT;
    }
    int fd = openat(p->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    *out_why = "it cannot be opened";
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE ? -EAGAIN : errno == ENOENT ? -ENOENT : -EBADMSG;
    *out_why = fstat(fd, &now) < 0 || now.st_ino != st->st_ino ? "it was exchanged" : objection(&now);
    if (*out_why) {
        close(fd);
        return -EBADMSG;
    }
    *st = now;
    return fd;
}

static void say_wait(struct drop_pickup *p)
{
    if (!p->told_of_wait)
        events_say(&p->in->role->events, EVENT_WARN, "drop_waits", S("mail in the drop cannot be taken now"));
    p->told_of_wait = true;
}

/* A file becomes the one that is read. 0 it does, -EAGAIN not now, else it does not. */
static int take(struct drop_pickup *p, const char *name)
{
    struct stat st;
    const char *why = NULL;
    if (name[0] == '.' || under_way(p, name))
        return -ENOENT;
    if (map_get(&p->bad, str_z(name))) {
        if (fstatat(p->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && older(p, &st, BAD_S))
            remove_old(p, name, &st, "it was no message");
        return -ENOENT;
    }
    int fd = open_file(p, name, &st, &why);
    if (fd < 0) {
        if (fd == -EBADMSG)
            bad(p, name, &st, why);
        return fd;
    }
    struct drop_run *run = calloc(1, sizeof(*run));
    if (!run) {
        close(fd);
        return -EAGAIN;
    }
    *run = (struct drop_run){ .pickup = p, .fd = fd, .uid = st.st_uid, .end = (uint64_t)st.st_size,
                              .arena = ARENA(2 * DROP_HEAD_MAX), .piece = BUF(1 << 20), .newline = true };
    memcpy(run->name, name, strnlen(name, DROP_NAME_MAX - 1)); /* open_file() has seen that it fits */
    int r = drop_intake_begin(run, &why);
    if (r < 0) {
        if (r == -EBADMSG)
            bad(p, name, &st, why);
        else if (r == -EAGAIN) /* there is no room for this one; a smaller one may find some */
            say_wait(p);
        run_free(run);
        return r == -ENOMEM ? -EAGAIN : -EBADMSG;
    }
    p->reading = run;
    return 0;
}

/* Nothing can be taken now, for want of memory or descriptors: the timer of the next look is on. */
static void wait(struct drop_pickup *p)
{
    if (p->list)
        closedir(TAKE(p->list));
    p->again = false;
    say_wait(p);
}

/* Goes on with the list, or begins one if something may be new. False: there is nothing more to do now. */
static bool next_file(struct drop_pickup *p)
{
    if (p->n_waiting >= IN_FLIGHT_MAX)
        return false;
    if (!p->list) {
        if (!p->again)
            return false;
        p->again = false;
        int fd = openat(p->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        p->list = fd < 0 ? NULL : fdopendir(fd);
        if (!p->list) {
            if (fd >= 0)
                close(fd);
            wait(p);
            return false;
        }
    }
    for (int i = 0; i < ENTRIES_A_STEP; i++) {
        const struct dirent *d = readdir(p->list);
        if (!d) {
            closedir(TAKE(p->list));
            return p->again;
        }
        int r = take(p, d->d_name);
        if (r == -EAGAIN) {
            wait(p);
            return false;
        }
        if (r == 0)
            break;
    }
    return true;
}

/* The file waits for its sync, or is settled at once. */
static void ended(struct drop_pickup *p, struct drop_run *run, int r, const char *why)
{
    struct stat st;
    if (r == -EBADMSG && fstat(run->fd, &st) == 0)
        bad(p, run->name, &st, why);
    if (r < 0) {
        if (r == -EAGAIN)
            wait(p);
        run_free(run);
        return;
    }
    p->messages++;
    p->told_of_wait = false;
    close(TAKE_FD(run->fd));
    buf_done(&run->piece);
    arena_done(&run->arena);
    run->next = p->waiting;
    p->waiting = run;
    p->n_waiting++;
    if (!run->ticket) /* nobody is to hear of it */
        drop_pickup_synced(p);
}

static void step_fire(struct loop_timer *t)
{
    struct drop_pickup *p = CONTAINER_OF(t, struct drop_pickup, step);
    const char *why = NULL;
    bool more = true;
    if (p->in->role->stopping)
        return;
    if (!p->reading)
        more = next_file(p);
    if (p->reading) {
        int r = drop_intake_more(p->reading, &why);
        if (r <= 0)
            ended(p, TAKE(p->reading), r, why);
    }
    if (more)
        loop_after(p->in->role->loop, &p->step, 0);
}

static void go(struct drop_pickup *p)
{
    if (!p->step.slot && !p->in->role->stopping)
        loop_after(p->in->role->loop, &p->step, 0);
}

static void look_fire(struct loop_timer *t)
{
    struct drop_pickup *p = CONTAINER_OF(t, struct drop_pickup, look);
    p->again = true;
    loop_after(p->in->role->loop, &p->look, LOOK_MS);
    go(p);
}

static void watch_ready(struct loop_io *io, uint32_t events)
{
    struct drop_pickup *p = CONTAINER_OF(io, struct drop_pickup, watch);
    char changes[4096] __attribute__((aligned(8)));
    ssize_t n = read(io->fd, changes, sizeof(changes)); /* what it says does not matter: the folder is looked through */
    (void)events;
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        loop_unwatch(p->in->role->loop, io);
        return;
    }
    p->again = true;
    go(p);
}

static void watch(struct drop_pickup *p)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p->folder);
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0)
        return;
    p->watch = (struct loop_io){ .fd = fd, .ready = watch_ready };
    if (inotify_add_watch(fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0 ||
        loop_watch(p->in->role->loop, &p->watch, EPOLLIN) < 0)
        close(TAKE_FD(p->watch.fd));
}

void drop_pickup_open(struct drop_pickup *p, struct smtp_in *in, int folder)
{
    uint8_t key[16];
    *p = (struct drop_pickup){ .in = in, .folder = folder, .watch = { .fd = -1 } };
    p->look.fire = look_fire;
    p->step.fire = step_fire;
    in->role->env->random(key, sizeof(key));
    map_init(&p->bad, BAD_MAX, key);
    if (folder < 0)
        return;
    watch(p);
    look_fire(&p->look);
}

void drop_pickup_synced(struct drop_pickup *p)
{
    if (p->in && p->in->log.dead) /* this process ends, and the next one takes the files again */
        return;
    uint64_t synced = p->waiting ? receive_log_synced(p->in->log.log) : 0;
    bool any = false;
    for (struct drop_run **at = &p->waiting; *at;) {
        struct drop_run *run = *at;
        if (run->ticket > synced) {
            at = &run->next;
            continue;
        }
        *at = run->next;
        p->n_waiting--;
        unlinkat(p->folder, run->name, 0);
        run_free(run);
        any = true;
    }
    if (any)
        go(p);
}

bool drop_pickup_busy(const struct drop_pickup *p) { return p->waiting != NULL; }

void drop_pickup_close(struct drop_pickup *p)
{
    size_t at = 0;
    char *mark;
    if (!p->in)
        return;
    loop_cancel(p->in->role->loop, &p->look);
    loop_cancel(p->in->role->loop, &p->step);
    if (p->watch.fd >= 0) {
        loop_unwatch(p->in->role->loop, &p->watch);
        close(TAKE_FD(p->watch.fd));
    }
    if (p->list)
        closedir(TAKE(p->list));
    if (p->reading)
        run_free(TAKE(p->reading));
    while (p->waiting) {
        struct drop_run *run = p->waiting;
        p->waiting = run->next;
        run_free(run);
    }
    while ((mark = map_next(&p->bad, &at, NULL)))
        free(mark);
    map_done(&p->bad);
    if (p->folder >= 0)
        close(p->folder);
    *p = (struct drop_pickup){ .folder = -1 };
}
