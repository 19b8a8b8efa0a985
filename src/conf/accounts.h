/* The two account files (DESIGN 8.5): `accounts` (one line each: address and options) and `secrets` (address,
 * hashes). Changed by writing a new file beside the old, fsync, rename, under a lock file; works with the server
 * stopped. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

/* `address hash scram-sha-256:ITERATIONS:SALT:STORED_KEY:SERVER_KEY`, the last three in base64 (RFC 5802 3, RFC
 * 7677). The third word may be missing: that account can log in with its password alone. */
struct account_secret { /* one line of `secrets` */
    str address;
    str hash;        /* crypt(3): yescrypt */
    str salt;        /* SCRAM-SHA-256, raw bytes */
    uint32_t iterations;     /* 4096 to 10,000,000; 0: no SCRAM keys */
    str stored_key, server_key; /* 32 raw bytes each */
};

/* Reads a secrets line; texts are copies in the arena. 0, -EBADMSG, -ENOMEM; empty and comment lines give
 * address.n == 0. */
int account_secret_parse(struct arena *a, str line, struct account_secret *out);
/* The line with its newline. 0, -EINVAL (a blank or control byte in address or hash), or the buf's error. */
int account_secret_format(struct buf *out, const struct account_secret *s);

enum account_change { ACCOUNT_ADD, ACCOUNT_PASSWD, ACCOUNT_REMOVE };
/* Applies one change to both files under the lock ACCOUNTS.lock (waits for it). account: the address, for add with its
 * options behind it (conf/directory.h). secret_line: as from account_secret_format, of that address (n == 0 for
 * remove). Other lines stay as they are, byte for byte; owner and mode are kept, `secrets` is always 0600. 0; -EEXIST
 * (add), -ENOENT (passwd, remove), -EINVAL (address or line), other negative errno with *out_file naming the file. No
 * file is ever half written. After a crash in between there may be a secret without an account, which is harmless:
 * nobody can log in with it, and the same command given again ends the work. */
int accounts_change(const char *accounts_path, const char *secrets_path, enum account_change change, str account,
                    str secret_line, const char **out_file);
