/* Content-Type and Content-Disposition values (RFC 2045 5.1, RFC 2183) with the parameters of RFC 2231. Lenient in
 * what it reads, linear, without memory: slices of the value, which may still be folded. */
#pragma once
#include "base/buf.h"

#define MIME_PARAMS_MAX 128 /* more are ignored */

struct mime_param {
    str name;    /* as written, with its "*0*" if it has one */
    str value;   /* inside of the quotes, backslashes still in it */
    bool quoted;
};

struct mime_params {
    str main; /* what stands before the first semicolon: "text/plain", "attachment" */
    size_t n;
    bool limited; /* there were more than MIME_PARAMS_MAX */
    struct mime_param list[MIME_PARAMS_MAX];
};

void mime_params_parse(str value, struct mime_params *out);

/* Appends the parameter `name` to out: without quotes, continuations (RFC 2231 3) joined, percent octets (4)
 * decoded, in the charset it was sent in. With both the plain and the RFC 2231 form present `extended_first` tells
 * which is meant. Of a parameter given twice the first counts; continuations end at the first gap. False if absent.
 * A value that does not fit is cut and out->failed set. */
bool mime_params_get(const struct mime_params *p, str name, bool extended_first, struct buf *out);

/* The parameters one by one as IMAP lists them (RFC 9051 7.5.2): each name once, the first counts; continuations
 * joined; a value of RFC 2231 4 under the name with its "*" and as it was sent, "charset'language'percent-octets",
 * since that is what mail programs decode. Start with *at = 0. Clears `name` and `value` and fills them; false at the
 * end. */
bool mime_params_next(const struct mime_params *p, size_t *at, struct buf *name, struct buf *value);
