/* What commands do with DKIM keys. */
#pragma once
#include "auth/dkim_key.h"

/* Appends the record of a key as a line of a zone file: NAME. IN TXT ( "…" "…" ), strings of at most 255 bytes, with a
 * newline. 0 or a negative error. */
int dkim_zone_line(struct buf *out, str domain, str selector, const struct dkim_key *key);
/* Reads a key file: 0, or an exit code after a complaint. */
int dkim_key_load(const char *command, const char *path, struct dkim_key **out);
static inline void dkim_key_free_p(struct dkim_key **k) { dkim_key_free(*k); }
#define _cleanup_dkim_key_ _cleanup_(dkim_key_free_p)
