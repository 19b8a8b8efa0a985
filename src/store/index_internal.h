/* The rows of the index, for index_apply.c: what SQL says is known to index_sql.c alone. Counts of changed rows, or
 * negative errno. */
#pragma once
#include "store/index.h"

/* Offset up to which a segment is applied, as the open transaction has it; written when another segment's turn
 * comes. */
struct index_cursor {
    bool valid, changed, sealed;
    uint64_t log, segment, offset;
};

struct index_state *index_working(struct index *ix); /* of the open transaction */
struct index_cursor *index_cursor(struct index *ix);
int index_row_cursor_load(struct index *ix, str log, uint64_t segment);

int index_row_mailbox_add(struct index *ix, const struct journal_mailbox_created *m);
int index_row_mailbox_placed(struct index *ix, uint64_t mailbox, uint32_t uid);
int index_row_mailbox_dropped(struct index *ix, uint64_t mailbox, uint64_t n);
int index_row_mailboxes_jump(struct index *ix, uint32_t by);
int index_row_message_add(struct index *ix, uint64_t lsn, const struct journal_delivered *d,
                          const struct journal_placement *p);
/* Also counts its bytes as dead if no other mailbox has it. */
int index_row_message_drop(struct index *ix, uint64_t mailbox, uint32_t uid, uint64_t now_us);
/* The cursor's segment holds what no mailbox has and somebody may still want. */
int index_row_held(struct index *ix);
/* The cursor stands on the segment they moved to. A message that is gone meanwhile is passed over. */
int index_row_relocate(struct index *ix, const struct journal_relocated *m);
/* The cursor stands on its segment: dead at once, if no mailbox and no queued message has it. */
int index_row_bury(struct index *ix, const struct journal_delivered *d);
int index_row_gap_add(struct index *ix, uint64_t from, uint64_t to);
/* Gaps are those of the cursor's segment. The gap that holds [offset, end): removed and told. 1 found, 0 none. */
int index_row_gap_take(struct index *ix, uint64_t offset, uint64_t end, uint64_t *out_from, uint64_t *out_to);

/* index_cards.c. The cursor stands on the message's segment; its record has no card. */
int index_row_card_want(struct index *ix, const struct journal_delivered *d);
/* With the message, whether it has one or not; 1 or negative errno. */
int index_row_card_move(struct index *ix, uint64_t log, struct log_position from, uint64_t to_log,
                        struct log_position to);
int index_row_card_drop(struct index *ix, uint64_t log, struct log_position at);
