/* Private keys of DKIM: RSA of 1024 bits or more (RFC 8301 3.2) and Ed25519 (RFC 8463), in PEM without a passphrase. */
#pragma once
#include "policy/dkim_sign.h"

#define DKIM_KEY_FILE_MAX 65536

struct dkim_key; /* wiped when freed */

/* 0, or -EINVAL with *out_why (static text), -ENOMEM. */
int dkim_key_read(str pem, const char **out_why, struct dkim_key **out);
/* RSA with 2048 bits, or Ed25519. */
int dkim_key_make(enum dkim_algorithm a, struct dkim_key **out);
void dkim_key_free(struct dkim_key *k);

enum dkim_algorithm dkim_key_algorithm(const struct dkim_key *k);
/* Signs a digest: 0 or the buf's error, -EIO. */
int dkim_key_sign(const struct dkim_key *k, const uint8_t digest[DKIM_DIGEST], struct buf *out);
/* PKCS #8 in PEM: secret, its owner wipes it. */
int dkim_key_write(const struct dkim_key *k, struct buf *out);
/* Value of the TXT record at SELECTOR._domainkey.DOMAIN (RFC 6376 3.6.1): "v=DKIM1; k=rsa; p=…". */
int dkim_key_record(const struct dkim_key *k, struct buf *out);
/* What OpenSSL loads at its first use, before the sandbox closes. */
void dkim_key_prepare(void);
