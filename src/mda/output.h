/* A message as files hold it: lines end with LF, the fields that mailbox programs keep for themselves are left out (see
 * mda.h), and for an mbox each line that begins with '>'s and "From " gets one '>' more (mboxrd). A CR that no LF
 * follows stays. Any pieces give the same result. Pure, linear; what is added is at most 6/5 of what came in, and 32
 * bytes. */
#pragma once
#include "base/buf.h"

#define OUTPUT_HEAD 32 /* so much of a line says whether it is a field to leave out, however many blanks follow */

struct output { /* set by output_begin */
    bool mboxrd, header;     /* the header is not over, and is stripped */
    enum { OUTPUT_START, OUTPUT_PLAIN, OUTPUT_SKIP } state; /* of the line */
    bool gt;                 /* the line began with '>'s, which went out */
    bool skipped;            /* the field before is left out, and so are its further lines */
    bool cr;                 /* held: an LF may follow */
    uint8_t head_n;
    char head[OUTPUT_HEAD];
};

/* strip: the text begins with a header whose metadata fields are left out (else all of it stays). */
void output_begin(struct output *o, bool mboxrd, bool strip);
/* Adds what comes of piece to *out. */
void output_write(struct output *o, str piece, struct buf *out);
/* The end: what was held back goes out, and a line that has none gets its end. */
void output_end(struct output *o, struct buf *out);

/* "Return-Path: <sender>\n", unless prefix has that field, and the prefix's lines. With mboxrd quoted as above. */
void output_prefix(struct buf *out, bool mboxrd, str sender, str prefix);
/* "From sender Tue Nov 24 07:55:03 2026\n" in UTC; "" is MAILER-DAEMON; blanks and control bytes become '-'. */
void output_from_line(struct buf *out, str sender, int64_t unix_s);
