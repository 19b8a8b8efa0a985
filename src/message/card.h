/* The card of a message (DESIGN 5.7): what lists and readers need without opening it. Made once by the role that
 * appended the message, opaque to the store. First format: size, header length, the list of top-level header fields,
 * the part table. Second format: also the texts of message/card_text.h, before the tables. Both are read. */
#pragma once
#include "message/card_text.h"

#define CARD_MAX 262144

struct card {
    uint64_t size;       /* bytes of the content */
    uint64_t header_len; /* up to and with the empty line */
    bool minimal;        /* neither fields nor parts: the message is more than a card can hold */
    bool limited;        /* the parser met a limit (mime_limited) */
    size_t n_fields, n_parts;
    const struct mime_field *fields; /* of a decoded card: in the arena */
    const struct mime_part *parts;   /* the same; their strings point into the encoded card */
    struct card_text text;           /* format 2 */
};

/* Encodes the finished parser's result, with its texts. A card over CARD_MAX loses the texts; if that is not enough, it
 * is replaced by a minimal one (size and header length only). 0 or the buf's error. */
int card_encode(struct buf *out, const struct mime_parser *m);
/* The same from a card at hand; decoding gives it back, and a decoded card is encoded to the same bytes. */
int card_write(struct buf *out, const struct card *c);

/* The card of a message that no parser may look at again: no header, the whole content one text/plain part, `limited`
 * set. 0 or the buf's error. */
int card_minimal(struct buf *out, uint64_t size);

/* 0, or -EBADMSG for anything inconsistent (offsets outside the content, bad parents, trailing bytes), or -ENOMEM. */
int card_decode(struct arena *a, str in, struct card *out);
