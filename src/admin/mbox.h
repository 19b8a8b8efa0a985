/* Mailboxes as mbox files (RFC 4155 appendix A tells of the family): a reader that takes any pieces, and a writer.
 *
 * Read: mboxrd and mboxo (a '>' before "From " at the start of a line goes, one of several), mboxcl (the same with
 * Content-Length, which is not needed), and, when asked for, mboxcl2, where Content-Length alone says where a message
 * ends and nothing is quoted. It is not believed unasked: it is text of whoever sent the message, and could swallow the
 * messages behind it. A message begins at a line "From …" with a date in it, at the start or behind an empty line.
 * Line ends become CRLF; the empty line before the next message is not part of one.
 * Written: mboxrd with LF, as all programs read it; CRLF becomes LF, and a last line without an end gets one.
 *
 * Flags and keywords are three fields that the writer puts before all others and the reader takes out, the first of
 * each name: X-Keywords (words with blanks between), Status (R seen, O not recent), X-Status (A answered, F flagged,
 * T draft, D deleted). So a message that has such fields of its own keeps them. Pure. */
#pragma once
#include "base/buf.h"
#include "mda/output.h"

struct mbox_message {
    str content;                /* with CRLF; valid until the next call */
    bool has_date;
    int64_t date_s;             /* of the From_ line: UTC unless it names a zone in figures */
    uint32_t flags;             /* IMAP_SEEN … */
    str keywords;               /* the words of X-Keywords as they stand there; at most MBOX_KEYWORDS_MAX */
    bool too_large;             /* more than max bytes: content is empty */
};
#define MBOX_KEYWORDS_MAX 8192

#define MBOX_LINE_MAX 4096 /* a From_ line is not longer */

struct mbox_reader {
    bool content_length;        /* mboxcl2 */
    enum { MBOX_BEFORE, MBOX_INSIDE, MBOX_BETWEEN, MBOX_OVER, MBOX_WRONG } state; /* BETWEEN: one was handed out */
    bool blank, header;         /* the last line was empty; the header is not over */
    bool too_large;             /* the message is passed over */
    bool counted; uint64_t left; size_t counted_end; /* mboxcl2: bytes of the body to come; where it ended */
    char head[MBOX_LINE_MAX]; size_t line_n; /* the line that comes in: how it begins, its length */
    size_t line;                /* where it begins in content */
    struct buf content, keywords;
    struct mbox_message message, next; /* what their From_ lines say */
};

void mbox_reader_init(struct mbox_reader *r, size_t max_message, bool content_length);
void mbox_reader_done(struct mbox_reader *r);
/* Takes what it needs of *in. 1: a message is complete; 0: all of *in is taken (end: and there is no more); -EBADMSG:
 * the text does not begin as an mbox; -ENOMEM. With `end`, *in is the rest of the file. */
int mbox_read(struct mbox_reader *r, str *in, bool end, struct mbox_message *out);

struct mbox_writer { struct buf *out; struct output text; };

/* The From_ line and the three fields. sender: as an address, empty for <>. */
void mbox_write_begin(struct mbox_writer *w, struct buf *out, str sender, int64_t date_s, uint32_t flags, str keywords);
void mbox_write(struct mbox_writer *w, str piece);
void mbox_write_end(struct mbox_writer *w); /* with the empty line */
