/* The PROXY protocol, versions 1 and 2, as haproxy's proxy-protocol.txt has it: what a proxy says of the client before
 * the first byte of the connection it hands on. Pure: the owner reads the bytes, and believes them only from proxies it
 * knows. Nothing else may be mixed with it: a proxy either always sends a header or never. */
#pragma once
#include "base/str.h"

#define PROXY_HEADER_MAX 536 /* of version 2; what is longer is refused. Version 1: 107 */
#define PROXY_ADDRESS_MAX 46 /* INET6_ADDRSTRLEN */

enum proxy_found {
    PROXY_MORE, /* the header goes on beyond all of `in` */
    PROXY_DONE, /* *out is set; *out_used octets of `in` are the header */
    PROXY_BAD,  /* no header: what stands there is static text in *out_why */
};

struct proxy_endpoint { char address[PROXY_ADDRESS_MAX]; uint16_t port; }; /* text of inet_ntop, as it was sent */

struct proxy_header {
    bool known; /* false: the proxy speaks for itself or does not say (LOCAL, UNKNOWN, UNSPEC, a Unix socket): the
                   addresses of the connection count */
    struct proxy_endpoint client, server;
};

/* Reads the header at the front of `in`. A prefix of a good header gives PROXY_MORE, so every octet of such input may
 * be taken from the socket; PROXY_BAD comes as soon as it is certain. TLVs are checked for their lengths and skipped.
 * Looks at no more than PROXY_HEADER_MAX octets. */
enum proxy_found proxy_parse(str in, struct proxy_header *out, size_t *out_used, const char **out_why);
