/* Texts of cards in memory, so that what is asked of a mailbox time and again reads no file: a column is what one kind
 * of question needs of each message (the structures, the subjects …). Cards never change, so a text that was once read
 * and found intact stays true for its mailbox and UID. Shared by all sessions; single-threaded.
 *
 * Bounded: CARD_COLUMNS_MAX bytes in all. A message takes 27 to 39 bytes in a column besides its texts. When they are
 * spent, what was not used for CARD_COLUMNS_KEPT_MS makes room; what is in use stays, and the rest is read from the
 * files as if there were no columns, so that a walk through more than fits does not drive all of it out. */
#pragma once
#include "message/card_text.h"

enum {
    COLUMN_ENVELOPE = 1,  /* envelope */
    COLUMN_STRUCTURE = 2, /* structure */
    COLUMN_HEADERS = 4,   /* headers */
    COLUMN_SUBJECT = 8,   /* subject, base_off, base_len */
    COLUMN_THREAD = 16,   /* message_id, references */
    COLUMN_PEOPLE = 32    /* from, to, cc, bcc */
}; /* and present, headers_cut, has_date, date_s and reply in each */
enum { CARD_COLUMNS = 6 };

#define CARD_COLUMNS_MAX ((size_t)64 * 1024 * 1024)
#define CARD_COLUMNS_KEPT_MS 30000
#define CARD_COLUMNS_UNUSED_MS 600000 /* what was not used for so long is freed when more comes */
#define CARD_COLUMNS_TEXT_MAX 32768   /* of a message in a column; larger ones are not kept */

struct card_chunk;
struct card_columns { /* zeroed: nothing in it */
    struct card_chunk *slots[4096], *newest, *oldest, *last[CARD_COLUMNS];
    size_t bytes;
};
/* Are all these columns (a mask) of the message here? *out gets their fields, the others are empty. Valid until the
 * next card_columns_put() or card_columns_forget(). now: in milliseconds. */
bool card_columns_get(struct card_columns *c, uint64_t box, uint32_t uid, unsigned columns, uint64_t now,
                      struct card_text *out);
/* Copies these columns of a message, as far as there is room; t must not point into the columns. */
void card_columns_put(struct card_columns *c, uint64_t box, uint32_t uid, unsigned columns, uint64_t now,
                      const struct card_text *t);
/* The number may mean another mailbox from now on. */
void card_columns_forget(struct card_columns *c, uint64_t box);
void card_columns_done(struct card_columns *c); /* empty afterwards */
