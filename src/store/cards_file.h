/* The cards of a mailbox, contiguous on disk (DESIGN 5.7): a view that can be thrown away, since every card is in its
 * message's record too. DATA/cards/XX/ID.map has 16 bytes for each UID (at uid * 16, sparse): u64 offset, u32 length,
 * u32 crc32c; DATA/cards/XX/ID.cards the cards, appended in the order of placing. Zero length: not here. Not synced: a
 * reader checks the CRC and falls back to the record. The place of UID 0 says up to which UID they were filled
 * (offset), its length is 0.
 *
 * Written by role store, read by role access through descriptors. Only a mailbox that somebody asked for has files:
 * delivery does not pay for what nobody reads, store_cards_get() fills them from the records. What comes later is in
 * the same files, until the store makes them anew without the cards of what was expunged; then a card that is not in
 * the old ones is in the record as always. */
#pragma once
#include "base/buf.h"

struct card_place { uint64_t offset; uint32_t length, crc; };

struct cards_files;                 /* the writer: keeps some files open */
int cards_files_open(int data_fd, struct cards_files **out);
void cards_files_close(struct cards_files *c); /* flushes */
/* The mailbox has files from now on. 0 or negative errno. */
int cards_files_make(struct cards_files *c, uint64_t mailbox);
/* Cards of UIDs below it have been looked for; 1 at first. */
uint32_t cards_files_filled(struct cards_files *c, uint64_t mailbox);
void cards_files_set_filled(struct cards_files *c, uint64_t mailbox, uint32_t uid);
/* n places from that UID on, of what was flushed; zeros if they cannot be read. */
void cards_files_places(struct cards_files *c, uint64_t mailbox, uint32_t uid, size_t n, struct card_place *out);
/* Staged; errors are forgotten (it is a view). Nothing if the mailbox has no files. A write happens at flush or when
 * much is staged. */
void cards_files_add(struct cards_files *c, uint64_t mailbox, uint32_t uid, str card);
/* The same card under another mailbox and UID (COPY, MOVE), if both have files. */
void cards_files_copy(struct cards_files *c, uint64_t from, uint32_t from_uid, uint64_t to, uint32_t to_uid);
void cards_files_flush(struct cards_files *c);
/* The same for cards of messages that are there for certain: files are not looked through for what is gone. */
void cards_files_flush_live(struct cards_files *c);
void cards_files_drop(struct cards_files *c, uint64_t mailbox); /* it is gone, or its files are to be made anew */
/* For a reader; both or none. -ENOENT. Flushes first. */
int cards_files_get(struct cards_files *c, uint64_t mailbox, int *out_map_fd, int *out_cards_fd);
/* Calls each with the UIDs of a mailbox in ascending order; 0 or negative errno. With it, files whose greater part is
 * of messages that are gone are made anew when they have doubled (from CARDS_FILE_TRIM bytes on). */
#define CARDS_FILE_TRIM 1048576
typedef int cards_live_fn(void *arg, uint64_t mailbox, void (*each)(void *each_arg, uint32_t uid), void *each_arg);
void cards_files_set_live(struct cards_files *c, cards_live_fn *live, void *arg);
/* Removes them all: the numbers of mailboxes and UIDs may mean others now. 0 or negative errno. */
int cards_files_discard(int data_fd);

/* Reading: n consecutive places of the map from uid on into out (16 bytes each). */
int card_places_read(int map_fd, uint32_t uid, size_t n, struct card_place *out);
