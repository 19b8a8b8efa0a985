/* One outgoing connection being made, by TCP or to a Unix socket: non-blocking, from a chosen source address, with a
 * deadline. */
#pragma once
#include <netinet/in.h>
#include <sys/un.h>
#include "io/loop.h"

union connect_address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};
/* Numeric IPv4 or IPv6 (a zone of an interface is not read), or the path of a Unix socket, which begins with a slash
 * and has no port. 0 or -EINVAL. */
int connect_address_parse(str text, uint16_t port, union connect_address *out);

struct connect { /* embedded in its owner; zeroed is idle */
    struct loop_io io;
    struct loop_timer timer;
    struct loop *loop; /* NULL: idle */
    /* Once, from the loop: fd is connected and the callee's, or -1 and error a negative errno (-ETIMEDOUT: the deadline
     * or the kernel's). The object is idle by then. */
    void (*done)(struct connect *c, int fd, int error);
};

/* `done` must be set. source n == 0: any. 0, or a negative errno and done() does not come. */
int connect_begin(struct connect *c, struct loop *l, const union connect_address *to, str source, uint64_t ms);
/* Gives up without a callback; safe when idle. */
void connect_cancel(struct connect *c);
