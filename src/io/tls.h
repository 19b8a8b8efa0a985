/* TLS by OpenSSL: contexts from PEM text, settings of DESIGN 6 (TLS 1.2 and 1.3, no renegotiation, no compression,
 * buffers released while idle). */
#pragma once
#include <openssl/ssl.h>
#include "base/buf.h"

/* Loads what OpenSSL reads at its first use (its configuration, algorithms, random numbers): nothing is opened after
 * it. */
void tls_prepare(void);
/* Makes a server context. 0, or -EBADMSG with *out_why (static
 * text). The caller frees it with SSL_CTX_free. */
int tls_server_context(str cert_pem, str key_pem, const char **out_why, SSL_CTX **out);
/* Makes a client context. Without certificates of authorities any server is taken, old and weak ones too: what is
 * encrypted for nobody in particular is better than clear text (RFC 7435). With them the server's certificate must lead
 * to one of them and name the host that tls_client_name() gives. 0, or -EBADMSG with *out_why (static text). */
int tls_client_context(str ca_pem, const char **out_why, SSL_CTX **out);
/* Whom the client's side of a connection wants to reach: for SNI (RFC 6066 3), and for the certificate (RFC 6125: a
 * subjectAltName, a wildcard only as a whole first label). name "" or an address literal: no SNI. 0, -EINVAL (a name is
 * needed for the certificate, or it is none), -ENOMEM. */
int tls_client_name(SSL *ssl, str name);
/* Why a handshake failed, in words: what is wrong with the certificate, else tls_error_text(). */
const char *tls_failure_text(const SSL *ssl);
/* A client that names application protocols (RFC 7301) must name this one ("pop3", "smtp"), or the handshake ends with
 * no_application_protocol: a client of another protocol was sent here (ALPACA). name is static. Clients that
 * name none are served. */
void tls_accept_alpn(SSL_CTX *ctx, const char *name);
/* Below a connection: a socket that stays the caller's. While `more` is set, the kernel holds back what is written
 * until a packet is full, so that the records of one answer go out together. */
struct tls_socket { int fd; bool more; };
/* Lives as long as ssl. 0 or -ENOMEM. */
int tls_use_socket(SSL *ssl, struct tls_socket *socket);
/* "TLS1.3 TLS_AES_256_GCM_SHA384" into out. */
void tls_describe(const SSL *ssl, struct buf *out);
/* What only the two ends of this connection know of it (RFC 5056), each of length 0 if it is undefined. */
#define TLS_EXPORTER_LEN 32
#define TLS_UNIQUE_MAX   64
struct tls_bindings {
    uint8_t exporter[TLS_EXPORTER_LEN]; /* tls-exporter, RFC 9266: TLS 1.3, or 1.2 with the extended master secret */
    size_t exporter_n;
    uint8_t unique[TLS_UNIQUE_MAX]; /* tls-unique, RFC 5929 3: the first Finished; TLS 1.2 with that secret alone */
    size_t unique_n;
    uint8_t end_point[EVP_MAX_MD_SIZE]; /* tls-server-end-point, RFC 5929 4.1: the hash of the server's certificate */
    size_t end_point_n;
};
/* ssl: server side, the handshake is over. */
void tls_bindings(SSL *ssl, struct tls_bindings *out);
/* The first queued OpenSSL error as text; clears the queue. */
const char *tls_error_text(void);
