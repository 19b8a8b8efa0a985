/* Addresses: the mailbox of an SMTP command (RFC 5321 4.1.2, RFC 6531 3.3), the address lists of a header (RFC 5322
 * 3.4, with the obsolete forms of 4.4 when reading). All linear in the input. */
#pragma once
#include "base/arena.h"

/* Both parts point into the text parsed; `local` is as written (quoted or not), `domain` may be an address literal. */
struct address {
    str local, domain;
    bool utf8; /* holds bytes above 127 */
};

#define ADDRESS_MAX 320 /* local part 64, @, domain 255 (RFC 5321 4.5.3.1) */

/* A whole "local@domain" of RFC 5321 (Mailbox). Allows a missing domain if `bare_ok` (domain.n == 0 then).
 * 0 or -EBADMSG; *out_why (static text) says what is wrong. Octet limits of 4.5.3.1 are checked. */
int address_parse(str s, bool bare_ok, bool utf8_ok, struct address *out, const char **out_why);

/* A Path: "<" [ A-d-l ":" ] Mailbox ">" at the start of s, source route dropped (RFC 5321 appendix C), "<>" gives n
 * == 0 for both parts. Without brackets the address up to the next space is taken (lenient as Postfix). *rest is
 * what follows. `<postmaster>` is allowed as bare when bare_ok. */
int address_parse_path(str s, bool bare_ok, bool utf8_ok, struct address *out, str *rest, const char **out_why);

/* local@domain with domain in lower case and needless quotes of the local part removed; in the arena. */
str address_canonical(struct arena *a, const struct address *in);

/* One mailbox or group marker of a header's address list. */
struct mailbox {
    str name;    /* display name, decoded of quotes and comments, in the arena; n == 0 none */
    str local, domain; /* local part without quotes, domain as written, in the arena; domain n == 0 if missing */
    enum { MAILBOX_ADDRESS, MAILBOX_GROUP_START, MAILBOX_GROUP_END } kind;
    struct mailbox *next;
};

/* Reads a header value (unfolded or not). Broken pieces are skipped, never fatal; at most `max` entries, groups
 * always ended. NULL when empty. The name may be the comment of the old form "jane@example.org (Jane)"; encoded
 * words (RFC 2047) stay as they are; neither name nor address holds a control character. *out_broken (may be NULL)
 * tells whether something was skipped (for want of memory too) or could be read in two ways, such as
 * "boss@example.com <me@example.org>": who checks rights refuses. */
struct mailbox *address_list_parse(struct arena *a, str value, size_t max, bool *out_broken);

/* The same of one piece of a list (message/address_scan.h). NULL without memory. */
struct address_item;
struct mailbox *address_item_mailbox(struct arena *a, const struct address_item *item);

/* True for a syntactically valid domain of letters, digits, hyphens (or UTF-8) with at least `labels` labels, no
 * empty ones. */
bool domain_valid(str s, unsigned labels);
bool domain_is_literal(str s); /* [1.2.3.4] or [IPv6:...] of right syntax */
