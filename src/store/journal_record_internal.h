/* What journal_record.c and journal_record_queue.c share: the encoders of what concerns queued messages. Decoders give
 * 0, -EBADMSG or -ENOMEM; a short read also sticks in the unpack. */
#pragma once
#include "base/pack.h"
#include "store/journal_record.h"

void encode_queue(struct buf *out, const struct journal_queue *q); /* the optional part of `delivered` */
int decode_queue(struct arena *a, struct unpack *u, struct journal_queue *q);
void encode_attempted(struct buf *out, const struct journal_attempted *t);
int decode_attempted(struct arena *a, struct unpack *u, struct journal_attempted *t);
void encode_queue_changed(struct buf *out, const struct journal_queue_changed *c);
int decode_queue_changed(struct arena *a, struct unpack *u, struct journal_queue_changed *c);
void encode_destination_paused(struct buf *out, const struct journal_destination_paused *p);
int decode_destination_paused(struct arena *a, struct unpack *u, struct journal_destination_paused *p);
