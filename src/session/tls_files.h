/* Certificate and key as the master passes them: certificate first, then key. With both at hand a context is made and
 * new handshakes use it; a pair that cannot be used keeps the old one. */
#pragma once
#include "io/role.h"
#include "io/tls.h"

struct tls_files { SSL_CTX *context; struct buf cert; const char *alpn; }; /* alpn: the role's protocol, static */

/* For role_ops.file: names other than tls_certificate and tls_key are ignored. Always 0: a bad pair is reported as an
 * event. */
int tls_files_take(struct tls_files *t, struct role *r, str name, int fd);
