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

/* index_mailbox.c */
struct index_delta { /* what changes in a mailbox's counters */
    int64_t messages, unseen, deleted, bytes, deleted_bytes, recent;
};
/* One message with these flags more (sign 1) or less (-1). */
void index_delta_message(struct index_delta *d, int sign, uint32_t flags, uint64_t size);
uint64_t index_modseq(struct index *ix, uint64_t lsn); /* of a record of the open transaction */
int index_row_mailbox_add(struct index *ix, const struct journal_mailbox_created *m, uint64_t modseq);
/* UIDNEXT becomes at least uidnext. */
int index_row_mailbox_change(struct index *ix, uint64_t mailbox, const struct index_delta *d, uint64_t modseq,
                             uint32_t uidnext);
int index_row_mailboxes_jump(struct index *ix, uint32_t by, uint64_t modseq);
int index_row_mailbox_rename(struct index *ix, uint64_t mailbox, str name);
int index_row_mailbox_use(struct index *ix, uint64_t mailbox, uint8_t use);
/* With its keywords and what vanished from it; its messages are gone already. */
int index_row_mailbox_drop(struct index *ix, uint64_t mailbox);
int index_row_recent(struct index *ix, const struct index_mailbox *m, uint32_t uid);
int index_row_subscribe(struct index *ix, str account, str name, bool on);
int index_row_prepare(struct index *ix, str account);
int index_row_keyword_add(struct index *ix, uint64_t mailbox, uint8_t bit, str name);
int index_row_flag(struct index *ix, uint64_t mailbox, uint32_t uid, uint32_t flags, uint64_t keywords,
                   uint64_t modseq);
int index_row_vanished(struct index *ix, uint64_t mailbox, uint64_t modseq, uint32_t first, uint32_t last);
/* So many ranges were added. The oldest are forgotten when there are too many. 0 or negative errno. */
int index_row_vanished_counted(struct index *ix, uint64_t mailbox, uint64_t n);

int index_row_message_add(struct index *ix, const struct index_message *m, uint64_t log);
/* Also counts its bytes as dead if no other mailbox has it. */
int index_row_message_drop(struct index *ix, uint64_t mailbox, uint32_t uid, uint64_t now_us, struct index_delta *d);
/* The cursor's segment holds what no mailbox has and somebody may still want. */
int index_row_held(struct index *ix);
/* The cursor stands on the segment they moved to. A message that is gone meanwhile is passed over. */
int index_row_relocate(struct index *ix, uint64_t lsn, const struct journal_relocated *m);
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

/* index_apply_mailbox.c: what apply_NAME does to the index. */
int apply_mailbox_renamed(struct index *ix, const struct journal_record *r);
int apply_mailbox_deleted(struct index *ix, const struct journal_record *r);
int apply_subscribed(struct index *ix, const struct journal_record *r);
int apply_mailbox_use(struct index *ix, const struct journal_record *r);
int apply_flagged(struct index *ix, const struct journal_record *r);
int apply_copied(struct index *ix, const struct journal_record *r);
int apply_account_prepared(struct index *ix, const struct journal_record *r);
int apply_recent(struct index *ix, const struct journal_record *r);
int apply_expunged(struct index *ix, const struct journal_record *r);
/* A placement of a message whose log the cursor stands on. 1; 0: there is no such mailbox. */
int apply_placed(struct index *ix, const struct journal_record *r, const struct journal_placement *p);
