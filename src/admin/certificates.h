/* A certificate authority for one local instance and the one server certificate it signs (RFC 5280). The authority's
 * private key is thrown away as soon as it has signed: whoever trusts it trusts this one server and nobody after it. */
#pragma once
#include "base/buf.h"

struct certificates_request {
    const char *const *dns; size_t n_dns; /* host names for the server: plain ASCII, already checked */
    const char *const *ip; size_t n_ip;   /* numeric IPv4, or IPv6 without brackets */
    int64_t now_s;                        /* validity starts one hour before */
};

/* PEM texts. Caller's memory; certificates_done wipes the key. */
struct certificates { struct buf ca, server, key; };

#define CERTIFICATES_CA_DAYS 3650
#define CERTIFICATES_SERVER_DAYS 730 /* Apple's programs refuse a server certificate of more than 825 days */

/* 0; -EINVAL: an address of `ip` is none; -EIO: OpenSSL failed; -ENOMEM. On failure *out is as it was. */
int certificates_make(const struct certificates_request *r, struct certificates *out);
void certificates_done(struct certificates *c);
