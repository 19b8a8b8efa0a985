/* Threads for password checks: see hash_pool.h. */
#include "auth/hash_pool.h"
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "auth/password.h"
#include "base/cleanup.h"

struct hash_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct hash_job *todo, **todo_end, *finished;
    size_t waiting, waiting_max;
    struct loop_io io;
    void (*done)(struct hash_job *job);
};

static void *worker(void *arg)
{
    struct hash_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->todo)
            pthread_cond_wait(&p->work, &p->lock);
        struct hash_job *job = p->todo;
        p->todo = job->next;
        if (!p->todo)
            p->todo_end = &p->todo;
        p->waiting--;
        pthread_mutex_unlock(&p->lock);
        job->ok = password_check(job->secret, job->password);
        pthread_mutex_lock(&p->lock);
        job->next = p->finished;
        p->finished = job;
        eventfd_write(p->io.fd, 1);
    }
    return NULL;
}

static void ready(struct loop_io *io, uint32_t events)
{
    struct hash_pool *p = CONTAINER_OF(io, struct hash_pool, io);
    eventfd_t n;
    (void)events;
    eventfd_read(io->fd, &n);
    pthread_mutex_lock(&p->lock);
    struct hash_job *job = TAKE(p->finished);
    pthread_mutex_unlock(&p->lock);
    while (job) {
        struct hash_job *next = job->next;
        p->done(job);
        job = next;
    }
}

struct hash_pool *hash_pool_new(struct loop *l, unsigned threads, size_t waiting_max,
                                void (*done)(struct hash_job *job))
{
    struct hash_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->todo_end = &p->todo;
    p->waiting_max = waiting_max;
    p->done = done;
    p->io = (struct loop_io){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = ready };
    if (p->io.fd < 0 || loop_watch(l, &p->io, EPOLLIN) < 0) {
        free(p);
        return NULL;
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, worker, p) != 0)
            return i ? p : NULL; /* the pool lives as long as the process */
        pthread_detach(t);
    }
    return p;
}

int hash_pool_add(struct hash_pool *p, struct hash_job *job)
{
    int r = -EBUSY;
    pthread_mutex_lock(&p->lock);
    if (p->waiting < p->waiting_max) {
        job->next = NULL;
        *p->todo_end = job;
        p->todo_end = &job->next;
        p->waiting++;
        pthread_cond_signal(&p->work);
        r = 0;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

size_t hash_pool_waiting(struct hash_pool *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->waiting;
    pthread_mutex_unlock(&p->lock);
    return n;
}
