/* The mailboxes and subscriptions of an account as LIST shows them (RFC 9051 6.3.9): rows of the store, the levels
 * above them that are no mailboxes, and what is below each. */
#pragma once
#include "base/arena.h"
#include "store/mailboxes.h"

struct folder {
    struct store_folder row;   /* row.id 0: only a name, of a subscription or of a level */
    bool exists_below, subscribed_below, used_below; /* some mailbox, subscription, mailbox with a use */
};

struct folder_tree {
    struct arena arena;
    struct folder *folders; size_t n, cap; /* in the order of names, children behind their parent */
    int failed;                /* 0, -ENOMEM; sticks */
};
void folder_tree_init(struct folder_tree *t);
void folder_tree_done(struct folder_tree *t);
/* Copies the name. */
void folder_tree_add(struct folder_tree *t, const struct store_folder *row);
/* After the last row: adds levels, finds out what is below. 0 or -ENOMEM (too many levels too). */
int folder_tree_finish(struct folder_tree *t);
