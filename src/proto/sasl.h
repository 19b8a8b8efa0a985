/* SASL server mechanisms (RFC 4422) as pure machines: PLAIN (4616), LOGIN (draft-murchison-sasl-login), SCRAM-SHA-256
 * and SCRAM-SHA-256-PLUS (5802, 7677) with the channel bindings tls-exporter (9266), tls-unique and
 * tls-server-end-point (5929). The network role parses here and asks the auth role typed questions; it never sees a
 * hash (DESIGN 8.6). Messages are raw bytes: base64 belongs to the protocol around it. */
#pragma once
#include "base/str.h"

#define SASL_MECHANISMS       "PLAIN LOGIN SCRAM-SHA-256"
#define SASL_MECHANISMS_BOUND SASL_MECHANISMS " SCRAM-SHA-256-PLUS" /* where there is something to bind to */
#define SASL_MESSAGE_MAX 4096
#define SASL_SALT_MAX 255
#define SASL_PROOF_LEN 32
#define SASL_BINDING_MAX 64 /* bytes of one channel binding */

enum sasl_step {
    SASL_CHALLENGE,    /* send out.text to the client, then sasl_server_respond() */
    SASL_ASK_PASSWORD, /* is out.user / out.password right? then sasl_server_verdict() */
    SASL_ASK_SALT,     /* SCRAM: salt and iterations of out.user? then sasl_server_salt() */
    SASL_ASK_PROOF,    /* SCRAM: is out.proof right for out.user and out.auth_message? then sasl_server_verdict() */
    SASL_OK,           /* authenticated as out.user */
    SASL_FAIL,         /* wrong credentials: 535 5.7.8 */
    SASL_BINDING,      /* SCRAM: the client is not bound to our channel (RFC 5802 6): 535 5.7.8. out.text says how it
                          shows, out.user is who it wanted to be */
    SASL_MALFORMED,    /* not a message of this mechanism: 501 5.5.2 */
};

struct sasl_out {
    str text;          /* challenge; with SASL_BINDING a static text for the client and the log, which ends in the
                          server-error-value of RFC 5802 7 */
    str user, password;
    str authzid;       /* "" or equal to user; anything else was refused (5.7.8) */
    str auth_message, proof; /* SCRAM; proof is 32 bytes */
};

/* What identifies the TLS connection to both of its ends. Each at most SASL_BINDING_MAX bytes, "" if it has none. */
struct sasl_bindings {
    str exporter;      /* tls-exporter */
    str unique;        /* tls-unique */
    str end_point;     /* tls-server-end-point */
    bool plus_offered; /* SCRAM-SHA-256-PLUS stood in the list: a client that saw none there ("y") saw another list */
};

struct sasl_server;
/* mech upper case; NULL when unknown or without memory. nonce: for SCRAM 18 or more unpredictable bytes from the caller
 * (fewer: NULL). Bytes that could not stand in a message are encoded in base64; printable text without a comma is used
 * as it is, which is how a test repeats the example of RFC 7677 3. */
struct sasl_server *sasl_server_new(str mech, str nonce);
void sasl_server_free(struct sasl_server *s); /* wipes secrets */
/* Copies the bindings; before sasl_server_start(). Without it there are none and -PLUS was not offered. */
void sasl_server_bind(struct sasl_server *s, const struct sasl_bindings *b);

/* The slices of *out belong to the machine and are good until its next call. *out is empty but for what the step names;
 * user is also there with SASL_OK and SASL_BINDING. A call that does not fit the step before gives SASL_MALFORMED, and
 * so does every call after the end.
 *
 * Names must be UTF-8 without control characters; they are not mapped by SASLprep (the directory compares them).
 * Passwords are any bytes without NUL. Nothing longer than SASL_MESSAGE_MAX is looked at. */

/* Begins with the initial response, if the client sent one (has_initial). */
enum sasl_step sasl_server_start(struct sasl_server *s, bool has_initial, str initial, struct sasl_out *out);
enum sasl_step sasl_server_respond(struct sasl_server *s, str response, struct sasl_out *out);
/* salt: 1 to SASL_SALT_MAX bytes; iterations at least 1. */
enum sasl_step sasl_server_salt(struct sasl_server *s, str salt, uint32_t iterations, struct sasl_out *out);
/* ok with the ServerSignature (32 bytes) for SCRAM, "" otherwise. SCRAM then sends it as one more challenge, which the
 * client answers with an empty response (RFC 4422 5, 4954 4, 5034 4: no additional data with success). */
enum sasl_step sasl_server_verdict(struct sasl_server *s, bool ok, str server_signature, struct sasl_out *out);
