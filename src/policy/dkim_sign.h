/* Signing with DKIM (RFC 6376, 8301, 8463), without the key: a message goes in, in pieces of any size; a digest comes
 * out, which whoever has the key signs; the signature makes the header field.
 *
 *     dkim_message_new() ... dkim_message_feed() ... dkim_message_end() ...
 *     dkim_digest() ... (the key) ... dkim_field()
 *
 * Signed are the fields of dkim_signed_fields[], all of a name that are there; most of them once more, so that nobody
 * can add another ("oversigned", RFC 6376 8.15). Never l=, no i=. Memory: the header, at most DKIM_HEADER_MAX. */
#pragma once
#include "policy/dkim_canon.h"

#define DKIM_HEADER_MAX ((size_t)1 << 20)
#define DKIM_NAMES_MAX 500         /* in h= */
#define DKIM_DIGEST 32             /* SHA-256 */
#define DKIM_SIGNATURE_MAX 1024    /* RSA with 8192 bits */
#define DKIM_LIFETIME_S 604800     /* x= after t=: longer than a message waits in a queue */

enum dkim_algorithm { DKIM_RSA_SHA256 = 1, DKIM_ED25519_SHA256 = 2 };
extern const char *const dkim_algorithm_name[3]; /* as in a= */

struct dkim_field_rule { const char *name; bool once_more; };
extern const struct dkim_field_rule dkim_signed_fields[];

struct dkim_tags {
    enum dkim_algorithm algorithm;
    str domain, selector;          /* A-labels */
    int64_t time_s;                /* t= */
    int64_t expire_s;              /* x=, 0: none */
};

struct dkim_message;
/* NULL without memory. */
struct dkim_message *dkim_message_new(enum dkim_canon header, enum dkim_canon body);
void dkim_message_free(struct dkim_message *m);
void dkim_message_feed(struct dkim_message *m, str piece);
/* The header so far; whole when *out_whole: the empty line has been seen, or the end. Lines end with CRLF. */
str dkim_message_header(const struct dkim_message *m, bool *out_whole);
/* 0, -E2BIG (header, or too many fields to name), -ENOENT (no From: RFC 6376 5.4 demands it), -ENOMEM, -EIO. */
int dkim_message_end(struct dkim_message *m);

/* What is to be signed. After dkim_message_end() gave 0. 0, -ENOMEM, -EIO, -E2BIG. */
int dkim_digest(const struct dkim_message *m, const struct dkim_tags *t, uint8_t out[DKIM_DIGEST]);
/* Appends the field, with CRLF, folded below 78 columns where the names allow it. 0 or an error of the same kind. */
int dkim_field(const struct dkim_message *m, const struct dkim_tags *t, str signature, struct buf *out);

/* The digest for a field of somebody's making: `names` as in h=, `field` a whole DKIM-Signature with nothing behind
 * its "b=". */
int dkim_digest_of(const struct dkim_message *m, str names, str field, uint8_t out[DKIM_DIGEST]);
void dkim_body_digest(const struct dkim_message *m, uint8_t out[DKIM_DIGEST]);
