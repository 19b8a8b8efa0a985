/* See compactor.h.
 *
 * Invariants
 * 1. While `job` is set it belongs to the thread, else to the loop.
 * 2. A new segment that a finished job speaks of is durable, file and folder, and ends with its last record. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/hash.h"
#include "store/compactor.h"

#define CHUNK ((size_t)262144)
#define REST_FACTOR 4 /* so much longer than it worked does the thread rest */
#define REST_BYTES ((uint64_t)1 << 20)

struct compactor {
    const struct env *env;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    struct compactor_job *job;
    char chunk[CHUNK];       /* the thread's */
};

struct copy {
    struct compactor *c;
    struct compactor_job *job;
    struct segment_reader in;
    int out_fd;
    uint8_t key[16];
    uint64_t at, since_rest, began_ms;
};

/* What was written goes to the disk at once: many small syncs stand less in the way of those of the journal than one
 * of a whole segment, and the time of a slow disk counts as work. */
static int rest(struct copy *p)
{
    if (fdatasync(p->out_fd) < 0)
        return -errno;
    struct compactor *c = p->c;
    uint64_t now = c->env->mono_ms(), wait = MIN((now - p->began_ms) * REST_FACTOR, 2000u);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(wait / 1000);
    until.tv_nsec += (long)(wait % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&c->lock);
    while (!c->stop && !p->job->hurry && pthread_cond_timedwait(&c->wake, &c->lock, &until) == 0)
        ;
    bool stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    p->since_rest = 0;
    p->began_ms = c->env->mono_ms();
    return stop ? -ECANCELED : 0;
}

static int copy_bytes(struct copy *p, uint64_t from, uint64_t to, uint64_t n, uint32_t *out_crc)
{
    int r = 0;
    *out_crc = 0;
    while (n && r == 0) {
        size_t want = MIN(n, (uint64_t)CHUNK);
        ssize_t got = segment_pread(p->in.fd, p->c->chunk, want, from);
        if (got != (ssize_t)want)
            return got < 0 ? (int)got : -EBADMSG;
        str s = str_of(p->c->chunk, want);
        *out_crc = crc32c(*out_crc, s);
        r = segment_pwrite(p->out_fd, s, to);
        from += want;
        to += want;
        n -= want;
        p->since_rest += want;
        if (r == 0 && p->since_rest >= REST_BYTES)
            r = rest(p);
    }
    return r;
}

/* As it is, but for the header, which carries place and key. */
static int copy_record(struct copy *p, uint64_t from)
{
    char head[RECORD_HEADER_SIZE];
    struct record_header h;
    ssize_t n = segment_pread(p->in.fd, head, sizeof(head), from);
    if (n != (ssize_t)sizeof(head))
        return n < 0 ? (int)n : -EBADMSG;
    if (record_header_decode(str_of(head, sizeof(head)), p->in.header.key, from, &h) != 1 || h.type != RECORD_MESSAGE)
        return -EBADMSG;
    uint32_t content_crc, meta_crc;
    uint64_t body = p->at + RECORD_HEADER_SIZE;
    int r = copy_bytes(p, from + RECORD_HEADER_SIZE, body, h.content_len, &content_crc);
    if (r == 0)
        r = copy_bytes(p, from + RECORD_HEADER_SIZE + h.content_len, body + h.content_len, h.meta_len, &meta_crc);
    if (r < 0)
        return r;
    if (content_crc != h.content_crc || meta_crc != h.meta_crc)
        return -EBADMSG;
    h.offset = p->at;
    record_header_encode(&h, p->key, head);
    r = segment_pwrite(p->out_fd, str_of(head, sizeof(head)), p->at);
    p->at = record_end(&h);
    return r;
}

static int copy_all(struct copy *p)
{
    struct compactor_job *job = p->job;
    struct segment_header h = { .number = job->to_number, .kind = 1 };
    char head[SEGMENT_HEADER_SIZE];
    p->c->env->random(h.key, sizeof(h.key));
    memcpy(p->key, h.key, sizeof(p->key));
    segment_header_encode(&h, head);
    int r = segment_pwrite(p->out_fd, str_of(head, sizeof(head)), 0);
    p->at = SEGMENT_HEADER_SIZE;
    for (size_t i = 0; i < job->n && r == 0; i++) {
        struct journal_move *m = &job->moves[i];
        bool same = i > 0 && m->from == m[-1].from;
        m->to = same ? m[-1].to : p->at;
        if (!same)
            r = copy_record(p, m->from);
    }
    if (r == 0 && (ftruncate(p->out_fd, (off_t)p->at) < 0 || fsync(p->out_fd) < 0 || fsync(job->to_fd) < 0))
        r = -errno;
    job->end = p->at;
    return r;
}

static int open_in(int dir_fd, uint64_t number, int flags)
{
    char name[32];
    segment_name(number, name);
    int fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC, 0660);
    return fd < 0 ? -errno : fd;
}

static int unlink_in(int dir_fd, uint64_t number)
{
    char name[32];
    segment_name(number, name);
    return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int copy(struct compactor *c, struct compactor_job *job)
{
    _cleanup_close_ int in = open_in(job->dir_fd, job->number, O_RDONLY);
    struct copy p = { .c = c, .job = job, .began_ms = c->env->mono_ms() };
    if (in < 0)
        return in;
    int r = segment_reader_open(in, &p.in);
    if (r < 0)
        return r;
    _cleanup_close_ int out = open_in(job->to_fd, job->to_number, O_WRONLY | O_CREAT | O_EXCL);
    if (out < 0)
        return out;
    p.out_fd = out;
    r = copy_all(&p);
    if (r < 0)
        unlink_in(job->to_fd, job->to_number);
    return r == -EDQUOT ? -ENOSPC : r;
}

static int remove_segment(struct compactor_job *job)
{
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    int r = segment_list(job->dir_fd, &list, &n);
    if (r == 0 && !job->may_be_last && (n == 0 || list[n - 1] <= job->number))
        return -EBUSY; /* the next number is found from the highest */
    if (r == 0)
        r = unlink_in(job->dir_fd, job->number);
    return r == 0 && fsync(job->dir_fd) < 0 ? -errno : r;
}

static void *thread_main(void *arg)
{
    struct compactor *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        struct compactor_job *job = c->job;
        if (!job) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        job->result = job->moves ? copy(c, job) : remove_segment(job);
        pthread_mutex_lock(&c->lock);
        c->job = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int compactor_new(const struct env *env, struct compactor **out)
{
    struct compactor *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->env = env;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    *out = c;
    return 0;
}

void compactor_free(struct compactor *c)
{
    if (!c)
        return;
    if (c->running) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
    }
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->wake);
    free(c);
}

static int start_thread(struct compactor *c)
{
    sigset_t all, old;
    sigfillset(&all); /* signals are for the loop */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&c->thread, NULL, thread_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    c->running = error == 0;
    return -error;
}

int compactor_start(struct compactor *c, struct compactor_job *job)
{
    int r = c->running ? 0 : start_thread(c);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    c->job = job;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

bool compactor_busy(struct compactor *c)
{
    pthread_mutex_lock(&c->lock);
    bool busy = c->job != NULL;
    pthread_mutex_unlock(&c->lock);
    return busy;
}
