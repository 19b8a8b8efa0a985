/* Sender rewriting (SRS): mail that an address of ours forwards leaves with a sender in a domain of ours, or else the
 * next host's SPF check (RFC 7208) would see our address sending in somebody else's name. A bounce to that sender comes
 * here, is recognised by its hash and its age, and goes on to the sender of before.
 *
 *   user@example.net                        SRS0=HASH=DAY=example.net=user@ours
 *   SRS0=hhhh=tt=example.net=user@first     SRS1=HASH=first==hhhh=tt=example.net=user@ours   (rewritten elsewhere)
 *   SRS1=hhhh=first==rest@second            SRS1=HASH=first==rest@ours
 *
 * http://www.libsrs2.net/srs/srs.pdf. The hash is keyed, over the rest in lower case; a day is one of 1024. */
#pragma once
#include "base/buf.h"

#define SRS_DAYS 21 /* a rewritten address is good so long */

/* Appends the rewritten address. sender: local@domain, not empty. 0; -E2BIG: the local part would be longer than 64
 * octets, which many hosts refuse (RFC 5321 4.5.3.1.1): leave it as it is; -EINVAL: no address; the buf's error. */
int srs_forward(struct buf *out, const uint8_t key[16], str sender, str domain, int64_t unix_s);
/* Does it look like one of ours would? */
bool srs_is(str address);
/* Appends what a rewritten address stands for. 0; -ENOENT: not one; -EKEYREJECTED: not of this host; -ETIME: too old;
 * the buf's error. Nothing is appended on failure. */
int srs_reverse(struct buf *out, const uint8_t key[16], str address, int64_t unix_s);
