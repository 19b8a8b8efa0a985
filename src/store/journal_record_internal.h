/* What the files journal_record*.c share: the encoders of what concerns queued messages (journal_record_queue.c) and
 * mailboxes (journal_record_mailbox.c). Decoders give 0, -EBADMSG or -ENOMEM; a short read also sticks in the
 * unpack. */
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

void encode_append(struct buf *out, const struct journal_append *p); /* the optional part of `delivered` */
int decode_append(struct arena *a, struct unpack *u, struct journal_append *p);
void encode_mailbox_renamed(struct buf *out, const struct journal_mailbox_renamed *m);
int decode_mailbox_renamed(struct arena *a, struct unpack *u, struct journal_mailbox_renamed *m);
void encode_mailbox_deleted(struct buf *out, const struct journal_mailbox_deleted *m);
int decode_mailbox_deleted(struct arena *a, struct unpack *u, struct journal_mailbox_deleted *m);
void encode_subscribed(struct buf *out, const struct journal_subscribed *s);
int decode_subscribed(struct arena *a, struct unpack *u, struct journal_subscribed *s);
void encode_mailbox_use(struct buf *out, const struct journal_mailbox_use *m);
int decode_mailbox_use(struct arena *a, struct unpack *u, struct journal_mailbox_use *m);
void encode_flagged(struct buf *out, const struct journal_flagged *f);
int decode_flagged(struct arena *a, struct unpack *u, struct journal_flagged *f);
void encode_copied(struct buf *out, const struct journal_copied *c);
int decode_copied(struct arena *a, struct unpack *u, struct journal_copied *c);
void encode_account_prepared(struct buf *out, const struct journal_account_prepared *p);
int decode_account_prepared(struct arena *a, struct unpack *u, struct journal_account_prepared *p);
void encode_recent(struct buf *out, const struct journal_recent *r);
int decode_recent(struct arena *a, struct unpack *u, struct journal_recent *r);
