/* The change feed of the store: see mailboxes.h. What was applied to watched mailboxes is collected by the index
 * (index_watch.h) and told here, once it is committed. */
#include "store/index_watch.h"
#include "store/mailboxes.h"
#include "store/store_internal.h"

int store_watch(struct store *s, uint64_t mailbox)
{
    if (!s->watch) {
        int r = index_watch_new(&s->watch);
        if (r < 0)
            return r;
        index_set_watch(s->index, s->watch, store_committed(s));
    }
    return index_watch_add(s->watch, mailbox);
}

void store_unwatch(struct store *s, uint64_t mailbox)
{
    if (s->watch)
        index_watch_drop(s->watch, mailbox);
}

void store_set_feed(struct store *s, void (*feed)(void *arg, uint64_t mailbox, str item), void *arg)
{
    s->feed = feed;
    s->feed_arg = arg;
}

void store_feed_tell(struct store *s)
{
    if (s->watch)
        index_watch_tell(s->watch, s->feed, s->feed_arg);
}
