/* What `posthouse deliver` reads: a message with LF or CRLF, put into an unlinked file with CRLF. A first line as mbox
 * files have it ("From …") goes. */
#pragma once
#include "base/buf.h"

#define DELIVER_HOPS_MAX 100 /* Received fields: as many are a loop (RFC 5321 6.3) */

struct deliver_input {
    int fd;                  /* -1: not open */
    uint64_t length;
    unsigned received;       /* Received fields of the header */
    bool loops;              /* it carries this host's mark of an address that is asked for */
};

/* key: of this host, NULL unknown; addresses: of whom a mark means a loop. 0, -E2BIG (more than max bytes), or negative
 * errno. The caller closes fd, on failure too. */
int deliver_read(int from, uint64_t max, const uint8_t *key, const str *addresses, size_t n, struct deliver_input *out);
