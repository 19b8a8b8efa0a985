/* What IMAP needs of a message without opening it (DESIGN 5.7), made once when the message comes in and kept in its
 * card: ENVELOPE and BODYSTRUCTURE as text ready to be sent, the header lines that mail programs list, keys for SORT
 * and THREAD, and the headers that SEARCH looks into. Pure, but for charset conversion, which uses iconv converters
 * that charset_prepare() opened (message/charset.h). */
#pragma once
#include "message/mime.h"

/* All slices of a decoded card point into it. Folded text is UTF-8: encoded words decoded (RFC 2047), white space runs
 * made one blank, Unicode case folding; for comparison only. */
struct card_text {
    bool present;        /* cards of format 1 and minimal cards have none */
    str envelope;        /* "(date subject from sender reply-to to cc bcc in-reply-to message-id)", RFC 9051 7.5.2 */
    str structure;       /* BODYSTRUCTURE with its extension data, "(…)" */
    str headers;         /* raw lines (folding and CRLF kept, in the message's order) of the fields below */
    bool headers_cut;    /* some of those lines are not in `headers`, or subject, from, to, cc or bcc are not whole
                          * (too long): read the message */
    bool has_date; int64_t date_s; /* of the Date field, in UTC */
    str subject; uint32_t base_off, base_len; /* folded; its base subject, RFC 5256 2.1 */
    bool reply;          /* the base was reached by taking away "Re:", "Fwd:" … (RFC 5256 2.1) */
    str from, to, cc, bcc;             /* folded: the whole field, all occurrences */
    str from_key, to_key, cc_key;      /* folded local part of the first mailbox (SORT, RFC 5256 3) */
    str message_id;      /* normalized (RFC 5256 2.2 a), without < >; empty if none is valid */
    str references;      /* the ids of References, or else the first of In-Reply-To, each followed by LF */
};

/* Fields whose lines are kept: those that mail programs ask for to list messages (CARD_HEADER rows in card_headers.def,
 * lower case: from to cc bcc subject date message-id priority x-priority importance references newsgroups in-reply-to
 * content-type reply-to sender list-id list-post delivered-to … at your discretion; together at most
 * CARD_HEADERS_MAX bytes, one line at most CARD_HEADER_LINE_MAX). */
#define CARD_HEADERS_MAX 16384
#define CARD_HEADER_LINE_MAX 4096
bool card_header_kept(str name);

/* Renders from the finished parser, which keeps what is needed of every part's header within its limits. Bounded: the
 * texts are at most CARD_TEXT_MAX together, else the envelope or structure becomes that of a plain message. The slices
 * point into *hold. 0 or the buf's error. */
#define CARD_TEXT_MAX 131072
int card_text_make(struct buf *hold, const struct mime_parser *m, struct card_text *out);

/* The same pieces from a header at hand (a message without card texts). */
int imap_envelope_put(struct buf *out, str header);
/* BODY (RFC 9051 7.5.2): the structure without its extension data. -EBADMSG: it is none (nothing appended). */
int imap_structure_strip(struct buf *out, str structure);
/* BODYSTRUCTURE of a part table without texts: types, sizes, encodings and file names as far as the table knows them;
 * envelopes of messages inside are empty. Without parts: an empty text. */
int imap_structure_plain(struct buf *out, const struct mime_part *parts, size_t n);

/* The texts of an encoded card (message/card.h), which stand before its tables: no arena, no walk. 0 (not present: a
 * card of format 1 or a minimal one), or -EBADMSG. */
int card_text_read(str card, struct card_text *out);
