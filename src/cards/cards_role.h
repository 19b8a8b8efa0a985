/* Role cards: makes the card of a message that has none, because the role that took it was careful (DESIGN 5.7).
 * Whatever a message does to the parser happens here, to a process that holds nothing: no folder, no socket but those
 * to master and store, and one segment at a time, open for reading. A message that kills it, or keeps it busy for
 * CARD_CPU_S, is known to the store by that. */
#pragma once

#define CARD_CPU_S 30 /* the largest message takes a second */

/* Runs it until the master tells it to stop. Exit status. */
int cards_role_run(void);
