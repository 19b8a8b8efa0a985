/* The secrets of all accounts, read once a generation from the descriptor that the master passes. */
#pragma once
#include "base/map.h"
#include "conf/accounts.h"

struct secrets { struct buf text; struct map lines; }; /* address -> its line in text */

/* Reads the file. 0; -EBADMSG, -ENOMEM, -ENOBUFS (over 1 GiB). Damaged lines are skipped and counted. */
int secrets_read(struct secrets *s, int fd, const uint8_t key[16], size_t *out_damaged);
void secrets_done(struct secrets *s);
/* The secret of an account (any case), parsed into the arena. 1 found, 0 not there, negative errno. */
int secrets_get(const struct secrets *s, struct arena *a, str address, struct account_secret *out);
