/* What an MSA may repair in a submitted header (RFC 6409 section 8): adds a missing Date, Message-ID, From (behind
 * the other fields); completes addresses without a domain in From, Sender, Reply-To, To, Cc by inserting "@domain"
 * behind the local part; removes Bcc and Resent-Bcc (all), Return-Path. Everything else is byte for byte as sent; no
 * line becomes longer than 998 bytes (RFC 5322 2.1.1) that was not. Then who the message claims to be from is
 * returned for the check of sender rights (DESIGN 8.3). Linear; the output is at most the input, and default_domain
 * for every second byte of it. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct fixup_input {
    str header;          /* raw header block without the empty line, lines end in CRLF */
    str sender;          /* envelope sender, may be empty (<>) */
    str account;         /* address of the logged-in account: a missing From if sender is empty or no address */
    str default_domain;  /* for addresses without one; n == 0 (or over 255): they stay as they are */
    str message_id;      /* local@domain to use if Message-ID is missing, without brackets; n == 0: none is added */
    int64_t unix_s;
    int offset_min;
};

struct fixup_result {
    const struct mailbox *from, *sender; /* every mailbox of all From / Sender fields, completed, in the arena */
    const struct mailbox *resent;        /* the same of all Resent-From and Resent-Sender fields */
    bool from_broken;                    /* a From is present that names nobody, or of which something was unreadable
                                          * or could be read in two ways (address_list_parse): do not rely on `from` */
    bool resent_broken;                  /* the same of a Resent-From or Resent-Sender */
    bool many_from_fields;               /* more than one From field (RFC 5322 3.6) */
    bool added_date, added_message_id, added_from, completed, removed_bcc;
};

/* Appends the repaired header (without the empty line) to out. 0 or an error of the buf. */
int fixup_header(struct arena *a, const struct fixup_input *in, struct buf *out, struct fixup_result *out_result);
