/* SASL client mechanisms (RFC 4422) as a pure machine: SCRAM-SHA-256 (5802, 7677), PLAIN (4616), LOGIN. Messages are
 * raw bytes: base64 belongs to the protocol around it. No channel binding, no SASLprep: name and password go as they
 * are written. */
#pragma once
#include "base/buf.h"

enum sasl_client_mechanism { SASL_CLIENT_NONE, SASL_CLIENT_SCRAM_SHA_256, SASL_CLIENT_PLAIN, SASL_CLIENT_LOGIN };

#define SASL_CLIENT_MESSAGE_MAX 4096
/* PBKDF2 rounds that a server may ask for: more would let it stop us (a second of one processor is about 2 million). */
#define SASL_CLIENT_ROUNDS_MIN 4096
#define SASL_CLIENT_ROUNDS_MAX 500000

struct sasl_client;
/* Slices are copied. nonce: 18 or more unpredictable bytes for SCRAM (fewer: NULL); printable text without a comma is
 * used as it is, other bytes in base64. NULL also for an empty user or secret, a NUL in one of them, without memory. */
struct sasl_client *sasl_client_new(enum sasl_client_mechanism m, str user, str secret, str nonce);
void sasl_client_free(struct sasl_client *s); /* wipes secrets */
str sasl_client_name(enum sasl_client_mechanism m); /* "SCRAM-SHA-256" */
/* The initial response; false: the mechanism has none (LOGIN). Good until the next call. */
bool sasl_client_first(struct sasl_client *s, str *out);
/* Answer to a challenge: true with *out (may be empty), false: the exchange is to be cancelled, sasl_client_why(). */
bool sasl_client_next(struct sasl_client *s, str challenge, str *out);
/* The server says that we are in: true if that may be believed (SCRAM: it has proved that it knows the password). */
bool sasl_client_ok(const struct sasl_client *s);
str sasl_client_why(const struct sasl_client *s); /* static */
