/* The rows of queued messages, for index_apply.c and index_apply_queue.c.
 *
 * A message that is in no mailbox and whose recipients become final before the transaction ends never gets a row: until
 * then it is kept as its record. index_queue_flush() makes rows of what is left. */
#pragma once
#include "store/index_queue.h"

/* `delivered` has a queue part; the cursor stands on its segment. */
int index_row_queue_add(struct index *ix, const struct journal_record *r);
int index_row_queue_attempted(struct index *ix, const struct journal_attempted *t, uint64_t lsn);
int index_row_queue_changed(struct index *ix, const struct journal_queue_changed *c);
int index_row_destination_paused(struct index *ix, const struct journal_destination_paused *p);
/* The DSN of that event is made. */
int index_row_dsn_made(struct index *ix, uint64_t message, uint64_t event);
/* Before the rows of messages are looked at by their place. */
int index_queue_flush(struct index *ix);
void index_queue_forget(struct index *ix); /* the transaction was rolled back, or the index is closed */

int apply_attempted(struct index *ix, const struct journal_record *r);
int apply_queue_changed(struct index *ix, const struct journal_record *r);
int apply_destination_paused(struct index *ix, const struct journal_record *r);
/* The queue part of `delivered`, once its stretch of the log is covered. */
int apply_queue(struct index *ix, const struct journal_record *r);
