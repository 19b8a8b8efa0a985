/* What comes behind DATA or BDAT, in one pass: dot-stuffing removed, bare CR and LF found, the end of DATA recognised
 * (RFC 5321 2.3.8, 4.1.1.4, 4.5.2). Only CR LF "." CR LF ends DATA; the CR LF of the DATA command itself counts as the
 * first. Pieces are slices of the input, as large as they can be: a piece ends only at a dot that is removed, at a bare
 * CR or LF and where the input ends. */
#pragma once
#include "base/str.h"

struct smtp_content {
    uint8_t at;     /* where the next byte stands: private */
    bool stuffed;   /* DATA: dots are stuffed and the lone dot ends; BDAT: neither */
    bool normalize; /* bare CR or LF become CR LF; otherwise they are reported */
};

enum smtp_content_found {
    SMTP_CONTENT_MORE,  /* the input is used up */
    SMTP_CONTENT_PIECE, /* *out_piece: content, never empty */
    SMTP_CONTENT_BARE,  /* a bare CR or LF was met and dropped (not with normalize) */
    SMTP_CONTENT_DONE,  /* the final dot (never with BDAT) */
};

struct smtp_content smtp_content_begin(bool stuffed, bool normalize);

/* Takes from the front of `in`: *out_used bytes are done with. The piece is a slice of `in` or of static memory. */
enum smtp_content_found smtp_content_next(struct smtp_content *c, str in, size_t *out_used, str *out_piece);

/* The last BDAT chunk is in: a CR that still waits for its LF is a bare one (PIECE or BARE, once); otherwise MORE. */
enum smtp_content_found smtp_content_finish(struct smtp_content *c, str *out_piece);
