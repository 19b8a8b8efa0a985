/* Floods by one client are collapsed in log and trace (DESIGN 1.5): a client may cause EVENT_FLOOD_MAX lines a minute,
 * what is over that is counted, and at the end of the minute one line says how many there were. What must always be
 * traceable (a message that was accepted) is not asked for here. */
#pragma once
#include "base/map.h"
#include "io/events.h"

#define EVENT_FLOOD_MAX 600
#define EVENT_FLOOD_WINDOW_MS 60000

struct event_flood { struct map clients; uint64_t window_end; };

void event_flood_init(struct event_flood *f, const uint8_t key[16]);
void event_flood_done(struct event_flood *f);
/* May one more line be written for this client? Writes the summaries of a minute that is over first, so it must be
 * asked before a line is begun. */
bool event_flood_allow(struct event_flood *f, struct events *e, str client, uint64_t now_ms);
