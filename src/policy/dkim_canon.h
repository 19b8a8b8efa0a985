/* The canonical forms of DKIM (RFC 6376 3.4), as bytes for a hash. Lines may end with CRLF or with LF alone, which
 * counts as CRLF: that is how every receiver reads them. A CR before anything else is content. */
#pragma once
#include "base/buf.h"

enum dkim_canon { DKIM_RELAXED, DKIM_SIMPLE };

/* Where canonical bytes go, in pieces of any size. */
struct dkim_sink {
    void (*write)(struct dkim_sink *s, str piece);
};

/* A body, piece after piece; zeroed but for `how` is the start. */
struct dkim_body {
    enum dkim_canon how;
    uint64_t crlfs;     /* line ends seen that are not written: only what follows shows whether they count */
    bool blank, cr;     /* the same of white space, and of a CR */
    bool any;           /* something was written */
};
void dkim_body_feed(struct dkim_body *b, str piece, struct dkim_sink *out);
void dkim_body_end(struct dkim_body *b, struct dkim_sink *out);

/* One header field, `raw` with its line end and folds. Appends it with CRLF at the end. 0 or the buf's error. */
int dkim_header_canon(enum dkim_canon how, str raw, struct buf *out);
