/* Queued messages in memory: see store_queue_internal.h. Each is one block with all its texts. */
#include <errno.h>
#include <stdlib.h>
#include "store/store_queue_internal.h"

#define MESSAGES_BYTES ((size_t)16 << 20)
#define MESSAGES_MAX ((size_t)1 << 22)
#define TRIM_LOOKS 64

static str key_of(const uint64_t *lsn) { return str_of(lsn, sizeof(*lsn)); }


static size_t text_bytes(const struct index_queue_message *m, const struct index_queue_recipient *list, size_t n)
{
    size_t bytes = m->sender.n + m->envid.n;
    for (size_t i = 0; i < n; i++)
        bytes += list[i].address.n + list[i].original.n + list[i].orcpt.n + list[i].sender.n + list[i].alias.n +
                 list[i].redirect.n + list[i].via.n + list[i].user.n;
    return bytes;
}

static void keep(char **at, str *s)
{
    if (s->n)
        memcpy(*at, s->p, s->n);
    s->p = *at;
    *at += s->n;
}

static void keep_texts(char *at, struct queue_message *q)
{
    keep(&at, &q->m.sender);
    keep(&at, &q->m.envid);
    for (size_t i = 0; i < q->n; i++) {
        struct index_queue_recipient *r = &q->list[i];
        keep(&at, &r->address);
        keep(&at, &r->original);
        keep(&at, &r->orcpt);
        keep(&at, &r->sender);
        keep(&at, &r->alias);
        keep(&at, &r->redirect);
        keep(&at, &r->via);
        keep(&at, &r->user);
        r->status = r->text = r->mta = r->tls = STR_NONE; /* the index has them */
        q->left += r->state != QUEUE_STATE_FINAL;
    }
}

static void set_place(struct queue_message *q, const struct index_queue_message *m)
{
    size_t n = MIN(m->log.n, sizeof(q->log));
    memcpy(q->log, m->log.p, n);
    q->m.log = str_of(q->log, n);
    q->m.position = m->position;
}

int queue_message_moved(struct store *s, struct queue_message *q)
{
    struct arena a = ARENA(1 << 26);
    struct index_queue_message m;
    struct index_queue_recipient *list;
    size_t n;
    int r = store_commit_deferred(s);
    if (r == 0)
        r = index_queue_load(s->index, &a, q->m.lsn, &m, &list, &n);
    bool moved = r == 1 && (m.position.segment != q->m.position.segment || !str_eq(m.log, q->m.log));
    if (moved)
        set_place(q, &m);
    arena_done(&a);
    return r < 0 ? r : moved;
}

int queue_message_add(struct queue *q, const struct index_queue_message *m, const struct index_queue_recipient *list,
                      size_t n, struct queue_message **out)
{
    size_t size = sizeof(**out) + n * sizeof(*list) + text_bytes(m, list, n) + 1;
    struct queue_message *fresh = calloc(1, size);
    if (!fresh)
        return -ENOMEM;
    fresh->m = *m;
    set_place(fresh, m);
    fresh->list = (struct index_queue_recipient *)(fresh + 1);
    fresh->n = n;
    fresh->size = size;
    memcpy(fresh->list, list, n * sizeof(*list));
    keep_texts((char *)(fresh->list + n), fresh);
    void *old = NULL;
    int r = map_set(&q->messages, key_of(&fresh->m.lsn), fresh, &old);
    if (r < 0 || old) { /* it is never there twice */
        free(r < 0 ? fresh : NULL);
        return r == -ENOSPC ? -ENOMEM : r < 0 ? r : -EINVAL;
    }
    fresh->older = q->newest;
    if (q->newest)
        q->newest->newer = fresh;
    else
        q->oldest = fresh;
    q->newest = fresh;
    q->messages_size += size;
    *out = fresh;
    return 0;
}

void queue_message_drop(struct queue *q, struct queue_message *m)
{
    map_take(&q->messages, key_of(&m->m.lsn));
    if (m->older)
        m->older->newer = m->newer;
    else
        q->oldest = m->newer;
    if (m->newer)
        m->newer->older = m->older;
    else
        q->newest = m->older;
    q->messages_size -= m->size;
    free(m);
}

struct queue_message *queue_message_find(const struct queue *q, uint64_t lsn)
{
    return map_get(&q->messages, key_of(&lsn));
}

int queue_message_get(struct store *s, uint64_t lsn, struct queue_message **out)
{
    struct queue *q = s->queue;
    *out = queue_message_find(q, lsn);
    if (*out)
        return 1;
    struct index_queue_message m;
    struct index_queue_recipient *list;
    size_t n;
    arena_clear(&q->scratch);
    int r = index_queue_load(s->index, &q->scratch, lsn, &m, &list, &n);
    if (r == 1 && (r = queue_message_add(q, &m, list, n, out)) == 0)
        r = 1;
    arena_clear(&q->scratch);
    return r;
}

struct index_queue_recipient *queue_message_recipient(struct queue_message *m, uint32_t index)
{
    size_t low = 0, high = m->n;
    while (low < high) { /* in the order of their index */
        size_t mid = low + (high - low) / 2;
        if (m->list[mid].index < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->n && m->list[low].index == index ? &m->list[low] : NULL;
}

void queue_messages_trim(struct store *s)
{
    struct queue *q = s->queue;
    struct queue_message *m = q->oldest;
    for (int i = 0; m && i < TRIM_LOOKS && q->messages_size > MESSAGES_BYTES; i++) {
        struct queue_message *next = m->newer;
        if (m->jobs == 0 && m->m.lsn <= store_committed(s))
            queue_message_drop(q, m);
        m = next;
    }
}
