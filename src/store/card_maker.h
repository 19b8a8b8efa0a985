/* Sees to it that every message gets its card (DESIGN 5.7): asks role cards for those that have none, one at a time, in
 * the order of their place. A message that ends role cards twice, or for which it finds nothing twice, gets a minimal
 * card. Nobody waits for a card. Belongs to role store. */
#pragma once
#include "io/role.h"
#include "store/store.h"

#define CARD_ATTEMPTS 2

struct card_maker { /* zeroed: nothing to do */
    struct role *role;
    struct store *store;
    struct loop_timer again;     /* after a moment without room or descriptors */
    bool due;                    /* look for a message without card */
    bool open;                   /* `request` has no answer yet */
    uint64_t request;
    struct store_cardless at;    /* the message at hand */
    unsigned failures;           /* of it */
    int broken;                  /* error of the store */
    struct buf card;             /* what has come of it */
    uint64_t made, minimal, deaths;
};

void card_maker_init(struct card_maker *m, struct role *role, struct store *store);
void card_maker_done(struct card_maker *m);
/* At the end of a turn: 0, or an error of the store, which has to start again. */
int card_maker_turn(struct card_maker *m);
int card_maker_frame(struct card_maker *m, struct ipc_frame *f); /* IPC_CARD */
void card_maker_down(struct card_maker *m); /* the link to role cards */
