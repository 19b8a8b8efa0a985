/* The event loop: see loop.h. Invariants: 1. a ready event is handed out only if its io is still watched (events of one
 * turn are kept in `batch` and struck out by loop_unwatch); 2. heap[slot - 1] == timer for every running timer. */
#include "io/loop.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/cleanup.h"

enum { BATCH = 256 };

struct loop {
    const struct env *env;
    int epoll_fd;
    bool stop;
    uint64_t now;
    struct loop_timer **heap;
    size_t n_timers, cap_timers;
    struct epoll_event batch[BATCH];
    int n_batch;
    struct loop_turn *turns;
};

int loop_new(const struct env *env, struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->env = env;
    l->now = env->mono_ms();
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        int r = -errno;
        free(l);
        return r;
    }
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    close(l->epoll_fd);
    free(l->heap);
    free(l);
}

int loop_watch(struct loop *l, struct loop_io *io, uint32_t events)
{
    if (io->added && io->events == events)
        return 0;
    struct epoll_event e = { .events = events, .data.ptr = io };
    if (epoll_ctl(l->epoll_fd, io->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, io->fd, &e) < 0)
        return -errno;
    io->added = true;
    io->events = events;
    return 0;
}

void loop_unwatch(struct loop *l, struct loop_io *io)
{
    if (!io->added)
        return;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    io->added = false;
    for (int i = 0; i < l->n_batch; i++)
        if (l->batch[i].data.ptr == io)
            l->batch[i].data.ptr = NULL;
}

static void heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->slot = i + 1;
}

static void heap_up(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (; i > 0 && l->heap[(i - 1) / 2]->due > t->due; i = (i - 1) / 2)
        heap_put(l, i, l->heap[(i - 1) / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->n_timers)
            break;
        if (child + 1 < l->n_timers && l->heap[child + 1]->due < l->heap[child]->due)
            child++;
        if (l->heap[child]->due >= t->due)
            break;
        heap_put(l, i, l->heap[child]);
        i = child;
    }
    heap_put(l, i, t);
}

int loop_after(struct loop *l, struct loop_timer *t, uint64_t ms)
{
    if (!t->slot && l->n_timers == l->cap_timers) {
        size_t cap = l->cap_timers ? l->cap_timers * 2 : 64;
        struct loop_timer **heap = realloc(l->heap, cap * sizeof(struct loop_timer *));
        if (!heap)
            return -ENOMEM;
        l->heap = heap;
        l->cap_timers = cap;
    }
    t->due = l->env->mono_ms() + ms;
    if (!t->slot)
        heap_put(l, l->n_timers++, t);
    heap_up(l, t->slot - 1);
    heap_down(l, t->slot - 1);
    return 0;
}

void loop_cancel(struct loop *l, struct loop_timer *t)
{
    if (!t->slot)
        return;
    size_t i = t->slot - 1;
    t->slot = 0;
    struct loop_timer *last = l->heap[--l->n_timers];
    if (last == t)
        return;
    heap_put(l, i, last);
    heap_up(l, i);
    heap_down(l, last->slot - 1);
}

uint64_t loop_now(const struct loop *l) { return l->now; }
const struct env *loop_env(const struct loop *l) { return l->env; }

void loop_at_turn_end(struct loop *l, struct loop_turn *t)
{
    t->next = l->turns;
    l->turns = t;
}

static void fire_due(struct loop *l)
{
    while (l->n_timers && l->heap[0]->due <= l->now) {
        struct loop_timer *t = l->heap[0];
        loop_cancel(l, t);
        t->fire(t);
    }
}

static int wait_ms(const struct loop *l, int max)
{
    if (!l->n_timers)
        return max;
    uint64_t now = l->env->mono_ms(), due = l->heap[0]->due;
    uint64_t ms = due > now ? due - now : 0;
    return max >= 0 && ms > (uint64_t)max ? max : (int)MIN(ms, (uint64_t)60000);
}

int loop_once(struct loop *l, int max_wait_ms)
{
    int n = epoll_wait(l->epoll_fd, l->batch, BATCH, wait_ms(l, max_wait_ms));
    if (n < 0 && errno != EINTR)
        return -errno;
    l->n_batch = MAX(n, 0);
    l->now = l->env->mono_ms();
    for (int i = 0; i < l->n_batch; i++) {
        struct loop_io *io = l->batch[i].data.ptr;
        if (io)
            io->ready(io, l->batch[i].events);
    }
    l->n_batch = 0;
    fire_due(l);
    for (struct loop_turn *t = l->turns; t; t = t->next)
        t->end(t);
    return 0;
}

int loop_run(struct loop *l)
{
    while (!l->stop) {
        int r = loop_once(l, -1);
        if (r < 0)
            return r;
    }
    return 0;
}

void loop_stop(struct loop *l) { l->stop = true; }
