/* The PROXY header with which a connection from a listed proxy (smtpd_upstream_proxy_hosts) begins, in clear text also
 * where TLS follows. One road for every protocol; whose proxies are listed is the caller's to know. */
#pragma once
#include "io/conn.h"
#include "proto/proxy.h"

#define PROXY_IN_TIMEOUT_MS 5000 /* since the connection */

enum proxy_in { PROXY_IN_WAIT, PROXY_IN_DONE, PROXY_IN_BAD };

/* From here on the connection takes nothing but the header; proxy_in_waits() until it is whole. */
void proxy_in_begin(struct conn *c);
static inline bool proxy_in_waits(const struct conn *c) { return c->header; }
/* For on(). DONE: the header is gone from c->in, and c->address is that of the client it named, if it named one
 * (out->known). BAD, with a static text: close the connection. */
enum proxy_in proxy_in_read(struct conn *c, struct proxy_header *out, const char **out_why);
