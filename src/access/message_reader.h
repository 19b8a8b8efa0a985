/* More of the reader that imap_session.h names: for FETCH and SEARCH. */
#pragma once
#include "access/card_columns.h"
#include "access/imap_session.h"
#include "message/card.h"

#define READER_HEADER_MAX ((size_t)1024 * 1024) /* of a header that is read into memory */

/* The texts of the message's card. columns: those that are needed, the others may be empty; READER_ALL_TEXTS: all.
 * made: the card has none, these were made from the message's header (of them `structure` is of no use). READER_GONE,
 * READER_DAMAGED as message_reader_open(). Valid until the next call that may read cards or content of another
 * message. */
#define READER_ALL_TEXTS UINT32_MAX
enum reader_result message_reader_text(struct message_reader *r, const struct box *b, size_t index, uint32_t columns,
                                       struct card_text *out, bool *out_made);
/* The last message_reader_text() read no file: the clock need not be looked at after each message. */
bool message_reader_quick(const struct message_reader *r);
/* Of the opened message: has the content its checksum? Looks only at contents that fit the window; longer ones are
 * compared when the last byte is read in order, see message_reader_broken(). */
bool message_reader_intact(struct message_reader *r);
/* The last of it was read and did not have its checksum; told once to the log, and by READER_DAMAGED from now on. */
bool message_reader_broken(const struct message_reader *r);
/* The header of the opened message [from, to) of the content, added to *out; to 0: up to and with its empty line. At
 * most READER_HEADER_MAX bytes. 0, or negative: damaged, no memory. */
int message_reader_header(struct message_reader *r, uint64_t from, uint64_t to, struct buf *out);
