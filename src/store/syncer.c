/* The sync thread: see syncer.h.
 *
 * Invariants
 * 1. A ticket is reached only after every file marked with it, or with a lower one, was synced by a call that began
 *    after the mark.
 * 2. `failed` is never taken back, and once it is set `reached` stays where it was.
 * 3. Only the thread makes files, numbered upwards; the file with the highest number is never removed.
 * 4. What both threads touch is under `lock`, but `reached` and `failed`, which are atomic so that asking costs
 *    nothing. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "store/syncer.h"

int (*syncer_fdatasync)(int fd) = fdatasync;

struct file {
    struct segment_file pub;
    struct file *next_live, *next_dirty, *next_taking, *next_ready, *next_pool;
    uint64_t want, taking, durable;
    bool seal, taking_seal, sealed;
    bool dirty, ready; /* stands in that list */
};

struct syncer {
    struct syncer_config config;
    int event_fd;
    pthread_t thread;
    bool running;

    pthread_mutex_t lock;
    pthread_cond_t wake, prepared;
    bool stop;
    struct file *dirty, *ready, *pool;
    unsigned pool_n;
    int pool_error;          /* why the last segment could not be made; cleared when one is asked for */
    bool wanted;             /* the owner waits for a segment */
    uint64_t next_number, want_ticket, batches;
    _Atomic uint64_t reached;
    _Atomic int failed;

    /* the owner's alone */
    struct file *live;
    struct log_position *sealed;
    size_t n_sealed, cap_sealed;
};

static struct file *file_of(struct segment_file *f)
{
    return CONTAINER_OF(f, struct file, pub);
}

static void file_free(struct file *f)
{
    if (!f)
        return;
    if (f->pub.fd >= 0)
        close(f->pub.fd);
    free(f);
}

static void cleanup_file(struct file **f)
{
    file_free(*f);
}

static int preallocate(int fd, uint64_t size)
{
    if (fallocate(fd, 0, 0, (off_t)size) == 0)
        return 0;
    if (errno != EOPNOTSUPP)
        return -errno;
    static const char zeros[65536];
    for (uint64_t at = 0; at < size; at += sizeof(zeros)) {
        int r = segment_pwrite(fd, str_of(zeros, MIN(sizeof(zeros), size - at)), at);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill_segment(struct syncer *s, struct file *f)
{
    struct segment_header h = { .number = f->pub.number, .kind = s->config.kind };
    char head[SEGMENT_HEADER_SIZE];
    s->config.env->random(h.key, sizeof(h.key));
    memcpy(f->pub.key, h.key, sizeof(h.key));
    segment_header_encode(&h, head);
    int r = preallocate(f->pub.fd, f->pub.size);
    if (r < 0)
        return r;
    r = segment_pwrite(f->pub.fd, str_of(head, sizeof(head)), 0);
    if (r < 0)
        return r;
    return fsync(f->pub.fd) < 0 || fsync(s->config.dir_fd) < 0 ? -errno : 0;
}

/* Makes segment `number` ready. Called without the lock. */
static int make_segment(struct syncer *s, uint64_t number, struct file **out)
{
    _cleanup_(cleanup_file) struct file *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->pub = (struct segment_file){ .number = number, .size = MAX(s->config.segment_size, (uint64_t)4096), .fd = -1 };
    f->durable = SEGMENT_HEADER_SIZE;
    char name[32];
    segment_name(number, name);
    /* for the group: a store with a user of its own reads and repairs what other roles wrote */
    f->pub.fd = openat(s->config.dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0660);
    if (f->pub.fd < 0)
        return -errno;
    int r = fill_segment(s, f);
    if (r < 0) {
        unlinkat(s->config.dir_fd, name, 0); /* it was never ready, so nothing of it is missed */
        return r;
    }
    *out = TAKE(f);
    return 0;
}

static void add_segment(struct syncer *s)
{
    uint64_t number = s->next_number++;
    struct file *f = NULL;
    pthread_mutex_unlock(&s->lock);
    int r = make_segment(s, number, &f);
    pthread_mutex_lock(&s->lock);
    if (r < 0) {
        s->pool_error = r;
    } else {
        struct file **end = &s->pool;
        while (*end)
            end = &(*end)->next_pool;
        *end = f;
        s->pool_n++;
    }
    s->wanted = false;
    pthread_cond_signal(&s->prepared);
}

static int sync_file(struct file *f)
{
    if (f->taking_seal && ftruncate(f->pub.fd, (off_t)f->taking) < 0)
        return -errno;
    return syncer_fdatasync(f->pub.fd) < 0 ? -errno : 0;
}

static void sync_dirty(struct syncer *s)
{
    struct file *list = s->dirty;
    uint64_t ticket = s->want_ticket;
    s->dirty = NULL;
    for (struct file *f = list; f; f = f->next_dirty) {
        f->dirty = false;
        f->taking = f->want;
        f->taking_seal = f->seal;
        f->next_taking = f->next_dirty; /* while the lock is open the owner may put a file in the other list again */
    }
    pthread_mutex_unlock(&s->lock);
    int r = 0;
    for (struct file *f = list; f && r == 0; f = f->next_taking)
        r = sync_file(f);
    pthread_mutex_lock(&s->lock);
    if (r < 0) {
        atomic_store(&s->failed, -EIO);
    } else {
        for (struct file *f = list; f; f = f->next_taking) {
            f->durable = f->taking;
            if (f->taking_seal) {
                close(f->pub.fd);
                f->pub.fd = -1;
                f->sealed = true;
            }
            if (!f->ready) {
                f->ready = true;
                f->next_ready = s->ready;
                s->ready = f;
            }
        }
        s->batches++;
        atomic_store(&s->reached, ticket);
    }
    pthread_mutex_unlock(&s->lock); /* else whoever wakes up runs into it */
    uint64_t one = 1;
    if (write(s->event_fd, &one, sizeof(one)) < 0)
        one = 0; /* only when the counter is full, and then it is readable */
    pthread_mutex_lock(&s->lock);
}

static bool pool_short(const struct syncer *s)
{
    if (s->stop || s->pool_error || atomic_load(&s->failed))
        return false;
    return s->pool_n < s->config.pool || s->wanted;
}

static void *thread_main(void *arg)
{
    struct syncer *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        bool worked = false;
        if (s->dirty && !atomic_load(&s->failed)) {
            sync_dirty(s);
            worked = true;
        }
        /* A segment in hand may be made while nobody waits for a sync; the last one must be made in any case. */
        if (pool_short(s) && (!s->dirty || s->pool_n == 0)) {
            add_segment(s);
            worked = true;
        }
        if (worked)
            continue;
        if (s->stop)
            break;
        pthread_cond_signal(&s->prepared); /* whoever waits for a segment sees why none comes */
        pthread_cond_wait(&s->wake, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static int start_thread(struct syncer *s)
{
    sigset_t all, old;
    sigfillset(&all); /* signals are for the owner's loop */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&s->thread, NULL, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    s->running = error == 0;
    return -error;
}

int syncer_new(const struct syncer_config *config, struct syncer **out)
{
    struct syncer *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->config = *config;
    s->next_number = config->first_number;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->prepared, NULL);
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = s->event_fd < 0 ? -errno : start_thread(s);
    if (r < 0) {
        syncer_free(s);
        return r;
    }
    *out = s;
    return 0;
}

/* With the thread gone: what was made ready and never used. */
static void drop_pool(struct syncer *s)
{
    char name[32];
    for (struct file *f = s->pool, *next; f; f = next) {
        next = f->next_pool;
        segment_name(f->pub.number, name);
        if (f->pub.number + 1 < s->next_number)
            unlinkat(s->config.dir_fd, name, 0);
        else if (ftruncate(f->pub.fd, SEGMENT_HEADER_SIZE) < 0)
            continue; /* it keeps its preallocated room until the next start */
        file_free(f);
    }
}

void syncer_free(struct syncer *s)
{
    if (!s)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    drop_pool(s);
    for (struct file *f = s->live, *next; f; f = next) {
        next = f->next_live;
        file_free(f);
    }
    if (s->event_fd >= 0)
        close(s->event_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->prepared);
    free(s->sealed);
    free(s);
}

int syncer_fd(const struct syncer *s)
{
    return s->event_fd;
}

void syncer_clear(struct syncer *s)
{
    uint64_t count;
    while (read(s->event_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

/* Room to remember one more file after it is sealed, so that this cannot fail later. */
static int reserve_sealed(struct syncer *s)
{
    size_t live = 1;
    for (const struct file *f = s->live; f; f = f->next_live)
        live++;
    if (s->n_sealed + live <= s->cap_sealed)
        return 0;
    size_t cap = MAX(s->cap_sealed * 2, s->n_sealed + live + 16);
    struct log_position *more = realloc(s->sealed, cap * sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->sealed = more;
    s->cap_sealed = cap;
    return 0;
}

int syncer_take(struct syncer *s, struct segment_file **out)
{
    int r = reserve_sealed(s);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    s->pool_error = 0; /* the disk may have room again */
    while (!s->pool && !s->pool_error && !atomic_load(&s->failed)) {
        s->wanted = true;
        pthread_cond_signal(&s->wake);
        pthread_cond_wait(&s->prepared, &s->lock);
    }
    struct file *f = s->pool;
    if (atomic_load(&s->failed)) {
        r = -EIO;
    } else if (!f) {
        r = s->pool_error;
    } else {
        s->pool = f->next_pool;
        s->pool_n--;
        f->next_pool = NULL;
        f->next_live = s->live;
        s->live = f;
        *out = &f->pub;
    }
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return r;
}

void syncer_mark(struct syncer *s, struct segment_file *pub, uint64_t end, bool seal, uint64_t ticket)
{
    struct file *f = file_of(pub);
    pthread_mutex_lock(&s->lock);
    f->want = end;
    f->seal = f->seal || seal;
    s->want_ticket = MAX(s->want_ticket, ticket);
    if (!f->dirty) {
        f->dirty = true;
        f->next_dirty = s->dirty;
        s->dirty = f;
    }
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->wake); /* after the unlock: the thread would run into the lock */
}

static void forget_live(struct syncer *s, struct file *f)
{
    struct file **at = &s->live;
    while (*at != f)
        at = &(*at)->next_live;
    *at = f->next_live;
}

void syncer_drop(struct syncer *s, struct segment_file *pub)
{
    struct file *f = file_of(pub);
    char name[32];
    segment_name(pub->number, name);
    pthread_mutex_lock(&s->lock);
    bool highest = pub->number + 1 >= s->next_number;
    pthread_mutex_unlock(&s->lock);
    if (!highest)
        unlinkat(s->config.dir_fd, name, 0);
    else if (ftruncate(pub->fd, SEGMENT_HEADER_SIZE) < 0)
        pub->size = 0; /* it keeps its room; a reader finds nothing in it all the same */
    forget_live(s, f);
    file_free(f);
}

uint64_t syncer_reached(const struct syncer *s)
{
    return atomic_load(&s->reached);
}

int syncer_failed(const struct syncer *s)
{
    return atomic_load(&s->failed);
}

uint64_t syncer_batches(const struct syncer *s)
{
    struct syncer *own = (struct syncer *)s;
    pthread_mutex_lock(&own->lock);
    uint64_t n = own->batches;
    pthread_mutex_unlock(&own->lock);
    return n;
}

bool syncer_ready(struct syncer *s, struct log_position *out)
{
    pthread_mutex_lock(&s->lock);
    struct file *f = s->ready;
    bool sealed = f && f->sealed;
    if (f) {
        s->ready = f->next_ready;
        f->ready = false;
        *out = (struct log_position){ f->pub.number, f->durable };
    }
    pthread_mutex_unlock(&s->lock);
    if (sealed) {
        s->sealed[s->n_sealed++] = *out;
        forget_live(s, f);
        file_free(f);
    }
    return f != NULL;
}

bool syncer_state(struct syncer *s, size_t i, struct log_position *out)
{
    if (i < s->n_sealed) {
        *out = s->sealed[i];
        return true;
    }
    const struct file *f = s->live;
    for (i -= s->n_sealed; f && i; i--)
        f = f->next_live;
    if (!f)
        return false;
    pthread_mutex_lock(&s->lock);
    *out = (struct log_position){ f->pub.number, f->durable };
    pthread_mutex_unlock(&s->lock);
    return true;
}
