/* The directory: domains, accounts (without secrets) and aliases compiled into one immutable blob of generation G
 * that every role maps and nobody parses again. One resolver used by everybody (DESIGN 8.2): exact alias, exact
 * account, both without +tag, catch-all; postmaster always. Matching ignores ASCII case; what was written is kept. A
 * lookup is O(1) in the number of entries. */
#pragma once
#include "conf/conf.h"

/* The files it is made of. Empty lines and lines that begin with # count for nothing.
 *   accounts   `address [senders=a@x,b@y,@z] [quota=SIZE] [quota_messages=NUMBER] [deliver=MECHANISM]… [user=NAME]`:
 *              one account a line; senders are further addresses (@z: every one of z) it may write as. A quota counts
 *              before the setting of that name; 0: none. deliver and user count before those of the domain; a value
 *              with blanks stands in "…".
 *   aliases    `alias: target, target…`; a line that starts with a blank continues the one before. alias is
 *              local@domain, local (in every domain of ours), or @domain (all that is unknown there). A target is an
 *              address (without a domain: of the alias's domain), a mechanism (|command, /file, /folder/, smtp:host …;
 *              in "…" if it has blanks or commas) or :include:FILE, a file with one address a line. An alias that names
 *              itself means the account of that name. Chains have at most 50 links.
 * A domain's block in the configuration may add `catch_all target…` (the same as @domain) and `postmaster target…`
 * (used when nothing else has that name), `deliver mechanism…` and `user NAME` (how and as whom mail for its accounts
 * is delivered, route/mechanism.h; an account whose name cannot be part of the path has its mailbox). Domains as
 * U-labels match their A-labels. An address without a domain belongs to the first domain. */

/* Compiles what the bundle holds. 0, or -EINVAL with *out_error: an alias loop, a domain without a postmaster
 * target, an account in a domain that is not ours, a name that appears twice, a broken line. A target that does not
 * exist is no error (an account may go while an alias names it); an alias all of whose targets are such is dead: its
 * address is unknown. A million accounts take about 1.5 s and 100 MB. The ceiling of `out` is the caller's. */
int directory_compile(struct arena *a, str bundle, const struct conf *c, uint64_t generation, struct buf *out,
                      struct conf_error *out_error);

struct directory { str blob; uint64_t generation; };
/* Checks the blob's header and tables. 0 or -EBADMSG. The blob must outlive *out; what lies between is checked when
 * it is read, so a damaged blob gives wrong answers at worst. */
int directory_open(str blob, struct directory *out);

enum directory_class { DIRECTORY_FOREIGN, DIRECTORY_UNKNOWN, DIRECTORY_LOCAL }; /* order of enum policy_address */

struct directory_target {
    str address;     /* account (canonical, lower case) or foreign address; of an alias's mechanism the alias */
    bool foreign;    /* leads off this host */
    str mechanism;   /* how it is delivered (route/mechanism.h); n == 0: into the account's mailbox, or it is foreign.
                        "forward" is followed by what counts without a ~/.forward, each after a newline */
    str user;        /* the system user it is delivered as; n == 0: the setting mda_user */
    struct directory_target *next;
};

struct directory_step { /* the path, for `posthouse resolve` */
    enum {
        DIRECTORY_STEP_ALIAS,
        DIRECTORY_STEP_ACCOUNT,
        DIRECTORY_STEP_TAG,
        DIRECTORY_STEP_CATCH_ALL,
        DIRECTORY_STEP_POSTMASTER,
        DIRECTORY_STEP_FOREIGN,
        DIRECTORY_STEP_NONE
    } kind;
    str from, to;
    str file; uint32_t line; /* where it is written; n == 0 unknown */
    struct directory_step *next;
};

struct directory_result {
    enum directory_class class;
    struct directory_target *targets; /* de-duplicated, order of the file */
    size_t n_targets;
    struct directory_step *steps;
};

/* At most DIRECTORY_TARGETS_MAX final targets (no compiled directory has an alias with more). 0 or -ENOMEM (arena; a
 * list of the greatest length takes some 8 MB with its steps). address is canonical or as written. A foreign address
 * is its own target. All texts are copies in the arena. */
#define DIRECTORY_TARGETS_MAX 10000
int directory_resolve(const struct directory *d, struct arena *a, str address, struct directory_result *out);
/* The class that directory_resolve would give; without allocation for the common cases. */
enum directory_class directory_class(const struct directory *d, str address);
bool directory_is_local_domain(const struct directory *d, str domain);
bool directory_has_account(const struct directory *d, str address);
/* Sender rights (DESIGN 8.3): own address, its sub-addresses (but for one that is somebody's own name), aliases that
 * lead to this account alone, listed extras, and the empty address. A catch-all gives no right: `senders=@domain`
 * does. */
bool directory_may_send(const struct directory *d, struct arena *a, str account, str address);
/* The addresses the account may use, as text "a@d, b@d" in the arena (at most 10 named, then "…"). */
str directory_allowed_senders(const struct directory *d, struct arena *a, str account);
/* Accounts in order, for lists: i from 0; false past the end. */
bool directory_account(const struct directory *d, size_t i, str *out_address);
/* What the account's line says of its quota; a number of which it says nothing stays as it is. */
void directory_quota(const struct directory *d, str account, uint64_t *bytes, uint64_t *messages);
