/* Sorts messages for SORT (RFC 5256 3): keys in the order of their weight, each upwards or downwards, ties by the order
 * of adding, which is that of the mailbox. Pure. */
#pragma once
#include "access/box.h"
#include "message/card_text.h"

struct sorter;
/* NULL without memory. Keys said twice count once. */
struct sorter *sorter_new(const struct imap_sort_key *keys, size_t n);
void sorter_free(struct sorter *s);
/* Do the keys need the card's texts? */
bool sorter_wants_text(const struct sorter *s);
/* seq: the message's number, as it comes back. t NULL: nothing is known of the message. 0, or -ENOMEM (it would take
 * more than SORTER_MAX bytes, or there is no memory). */
#define SORTER_MAX ((size_t)512 * 1024 * 1024)
int sorter_add(struct sorter *s, uint32_t index, uint32_t seq, const struct box_message *m, const struct card_text *t);
void sorter_sort(struct sorter *s);
size_t sorter_count(const struct sorter *s);
void sorter_get(const struct sorter *s, size_t i, uint32_t *out_index, uint32_t *out_seq);
/* The keys without those said twice. */
size_t sorter_keys(const struct sorter *s);
enum imap_sort_kind sorter_key(const struct sorter *s, size_t k);
/* ranks[index] of each message by key k alone, upwards from 0, equal ones alike. Changes the order of the sorter. */
void sorter_rank(struct sorter *s, size_t k, uint32_t *ranks);
