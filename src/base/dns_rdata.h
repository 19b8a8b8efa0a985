/* What the DNS says, as values: types, answers, and the bytes of a record (rdata, RFC 1035 3.3) made into them. Pure:
 * no byte is read beyond the slice, compressed names are not followed (a resolver hands out whole ones), and a host
 * name that is none (RFC 1123 2.1, and underscores) never comes out. */
#pragma once
#include "base/pack.h"

enum dns_type {
    DNS_TYPE_A = 1,      /* 4 bytes */
    DNS_TYPE_NS = 2,     /* host */
    DNS_TYPE_CNAME = 5,  /* host */
    DNS_TYPE_PTR = 12,   /* host */
    DNS_TYPE_MX = 15,    /* number: preference; data: host, "." for the null MX (RFC 7505) */
    DNS_TYPE_TXT = 16,   /* all strings joined (RFC 7208 3.3), any bytes */
    DNS_TYPE_AAAA = 28,  /* 16 bytes */
    DNS_TYPE_TLSA = 52,  /* usage, selector, matching type, data as they stand (RFC 6698 2.1): at least 4 bytes */
};

enum dns_state {
    DNS_OK,        /* there are records. n == 0: there are some, and none can be used; not the same as DNS_NODATA */
    DNS_NODATA,    /* the name exists, without records of this type */
    DNS_NXDOMAIN,  /* there is no such name */
    DNS_TEMPORARY, /* nobody knows now: no answer in time, SERVFAIL, role dns away. Never a reason to bounce */
    DNS_BOGUS,     /* what came fails validation (RFC 4033 5): treat as temporary; `why` has the reason */
};

#define DNS_NAME_MAX 253     /* of a name as text, without the last dot */
#define DNS_RECORDS_MAX 128  /* of an answer: of more, those with the lowest MX preference, or the first */
#define DNS_DATA_MAX 40000   /* bytes of all records of an answer; what does not fit is left out */

struct dns_record {
    uint16_t number; /* MX preference */
    str data;        /* hosts: lower case, no last dot (the root alone is ".") */
};

struct dns_answer {
    enum dns_state state;
    bool secure;     /* signed, and validated up to a trust anchor; for NODATA and NXDOMAIN too */
    uint32_t ttl;    /* seconds */
    str canonical;   /* where CNAMEs led; the name asked for without any; empty if that is no host name */
    str why;         /* text for people when state is not DNS_OK, or when records were left out; else empty */
    size_t n;
    const struct dns_record *records; /* MX by preference */
};

/* "A", "MX", … NULL: none of ours. */
const char *dns_type_name(enum dns_type type);
/* Reads such a name, in either case. */
bool dns_type_parse(str name, enum dns_type *out);
/* "ok", "nodata", "nxdomain", "temporary", "bogus". */
str dns_state_word(enum dns_state state);

/* True for a name that may be asked for, or that a host may have: labels of 1 to 63 letters, digits, hyphens and
 * underscores, none beginning or ending with a hyphen, at most DNS_NAME_MAX, with or without the last dot. Not ".". */
bool dns_name_valid(str name);
/* A name in wire form (RFC 1035 3.1) at the front of *rdata, appended to `out` in lower case; *rdata moves on. 0;
 * -EBADMSG: damaged, compressed or too long; -EINVAL: in order, but no host name (*rdata has moved on). */
int dns_name_decode(str *rdata, struct buf *out);
/* The data of one record, appended to `out`; its number. 0, -EBADMSG, -EINVAL as above (of another type: -EINVAL), or
 * the buf's error. Nothing stays appended on failure. */
int dns_rdata_decode(enum dns_type type, str rdata, uint16_t *out_number, struct buf *out);
/* True if a record could have come from dns_rdata_decode: what another process says is checked with it. */
bool dns_record_valid(enum dns_type type, const struct dns_record *r);
/* The name whose PTR tells the name of an address of 4 or 16 bytes (RFC 1035 3.5, RFC 3596 2.5). 0, -EINVAL, or the
 * buf's error. */
int dns_reverse_name(str address, struct buf *out);

/* An answer between processes. Strings of the unpacked one point into the input. 0, or -EBADMSG: not an answer that
 * could be one, to a question of this type. */
void dns_answer_pack(struct buf *b, const struct dns_answer *a);
int dns_answer_unpack(struct unpack *u, enum dns_type type, struct dns_record records[DNS_RECORDS_MAX],
                      struct dns_answer *out);
