/* The boundaries of the multiparts that are open (RFC 2046 5.1.1), outermost first. Looking up a line costs the same
 * whatever their number, unless somebody has chosen boundaries with equal hashes: then a comparison of lengths for
 * each. */
#pragma once
#include "message/mime.h"

struct mime_bound {
    uint32_t part;  /* index of the multipart */
    uint32_t hash;
    uint32_t below; /* next outer bound of the same bucket, counted from 1; 0 none */
    uint32_t off, len; /* in text */
};

struct mime_bounds {
    size_t n;
    struct mime_bound list[MIME_DEPTH_MAX + 1];
    uint32_t bucket[64]; /* innermost bound, counted from 1 */
    char text[(MIME_DEPTH_MAX + 1) * MIME_BOUNDARY_MAX];
};

void mime_bounds_clear(struct mime_bounds *b);
/* boundary.n from 1 to MIME_BOUNDARY_MAX; at most MIME_DEPTH_MAX + 1 at a time. */
void mime_bounds_push(struct mime_bounds *b, str boundary, uint32_t part);
/* Keeps the outer n. */
void mime_bounds_cut(struct mime_bounds *b, size_t n);
/* Index of the innermost boundary of which the line (without its end) is a delimiter, -1 if none. *out_last: the
 * closing one. */
int mime_bounds_match(const struct mime_bounds *b, str line, bool *out_last);
