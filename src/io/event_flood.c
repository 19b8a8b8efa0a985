/* Collapsing floods: see event_flood.h. The table is emptied each minute, so nobody is remembered longer. */
#include "io/event_flood.h"

enum { CLIENTS_MAX = 100000 };

void event_flood_init(struct event_flood *f, const uint8_t key[16])
{
    map_init(&f->clients, CLIENTS_MAX, key);
    f->window_end = 0;
}

void event_flood_done(struct event_flood *f)
{
    map_done(&f->clients);
}

static uintptr_t lines_of(const struct event_flood *f, str client) { return (uintptr_t)map_get(&f->clients, client); }

static void end_window(struct event_flood *f, struct events *e)
{
    uintptr_t lines;
    str client;
    for (size_t at = 0; (lines = (uintptr_t)map_next(&f->clients, &at, &client));) {
        if (lines > EVENT_FLOOD_MAX) {
            struct buf *b = events_begin(e, EVENT_WARN, "flood");
            event_str(b, "client", client);
            event_u64(b, "lines_left_out", lines - EVENT_FLOOD_MAX);
            events_end(e);
        }
        map_take(&f->clients, client);
    }
}

bool event_flood_allow(struct event_flood *f, struct events *e, str client, uint64_t now_ms)
{
    if (now_ms >= f->window_end) {
        end_window(f, e);
        f->window_end = now_ms + EVENT_FLOOD_WINDOW_MS;
    }
    uintptr_t lines = lines_of(f, client) + 1;
    if (map_set(&f->clients, client, (void *)lines, NULL) < 0)
        return false; /* a hundred thousand clients in a minute: new ones are counted nowhere */
    return lines <= EVENT_FLOOD_MAX;
}
