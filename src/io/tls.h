/* TLS by OpenSSL: contexts from PEM text, settings of DESIGN 6 (TLS 1.2 and 1.3, no renegotiation, no compression,
 * buffers released while idle). */
#pragma once
#include <openssl/ssl.h>
#include "base/buf.h"

/* Makes a server context. 0, or -EBADMSG with *out_why (static
 * text). The caller frees it with SSL_CTX_free. */
int tls_server_context(str cert_pem, str key_pem, const char **out_why, SSL_CTX **out);
/* A client that names application protocols (RFC 7301) must name this one ("pop3", "smtp"), or the handshake ends with
 * no_application_protocol: a client of another protocol was sent here (ALPACA). name is static. Clients that name none are served. */
void tls_accept_alpn(SSL_CTX *ctx, const char *name);
/* "TLS1.3 TLS_AES_256_GCM_SHA384" into out. */
void tls_describe(const SSL *ssl, struct buf *out);
/* The first queued OpenSSL error as text; clears the queue. */
const char *tls_error_text(void);
