/* The messages that are there already: see mailbox_known.h. */
#include "admin/mailbox_known.h"
#include <stdlib.h>
#include "base/hash.h"

static int keep(void *arg, const struct mailbox_message *m)
{
    struct mailbox_known *k = arg;
    if (k->n == k->room) {
        size_t room = k->room ? k->room * 2 : 1024;
        struct known_message *list = realloc(k->list, room * sizeof(*list));
        if (!list) {
            admin_complain("mailbox import: there is not enough memory for the list of messages");
            return EXIT_TEMPFAIL;
        }
        k->list = list;
        k->room = room;
    }
    k->list[k->n++] = (struct known_message){
        .size = m->prefix.n + m->content_len, .uid = m->uid, .crc = m->header.content_crc,
        .has_crc = m->fd >= 0 && !m->prefix.n, .taken = m->fd < 0, /* what cannot be read is imported again */
    };
    return 0;
}

static int by_size(const void *pa, const void *pb)
{
    const struct known_message *a = pa, *b = pb;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    return a->uid < b->uid ? -1 : a->uid > b->uid;
}

int mailbox_known_read(struct mailbox_known *k, struct mailbox_command *c, const char *account, const char *name)
{
    *k = (struct mailbox_known){ .command = c, .account = account, .name = name };
    int e = mailbox_walk(c, account, name, keep, k);
    if (k->n)
        qsort(k->list, k->n, sizeof(*k->list), by_size);
    return e;
}

void mailbox_known_done(struct mailbox_known *k)
{
    free(k->list);
    *k = (struct mailbox_known){ .n = 0 };
}

static int add_crc(void *arg, str bytes)
{
    uint32_t *crc = arg;
    *crc = crc32c(*crc, bytes);
    return 0;
}

static int read_crc(void *arg, const struct mailbox_message *m)
{
    struct known_message *x = arg;
    uint32_t crc = crc32c(0, m->prefix);
    x->taken = m->fd < 0 || mailbox_content(m, add_crc, &crc) < 0;
    x->crc = crc;
    return 0;
}

/* The first of that size. */
static size_t first_of(const struct mailbox_known *k, uint64_t size)
{
    size_t low = 0, high = k->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (k->list[middle].size < size)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int mailbox_known_take(struct mailbox_known *k, str content, bool *out_is)
{
    uint32_t crc = 0;
    bool has_crc = false;
    *out_is = false;
    for (size_t i = first_of(k, content.n); i < k->n && k->list[i].size == content.n; i++) {
        struct known_message *x = &k->list[i];
        int e = 0;
        if (x->taken)
            continue;
        if (!has_crc)
            crc = crc32c(0, content);
        has_crc = true;
        if (!x->has_crc) {
            x->has_crc = x->taken = true; /* unless it is found */
            e = mailbox_one(k->command, k->account, k->name, x->uid, read_crc, x);
        }
        if (e)
            return e;
        if (x->taken || x->crc != crc)
            continue;
        x->taken = *out_is = true;
        return 0;
    }
    return 0;
}
