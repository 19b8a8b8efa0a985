/* The directory's blob. All numbers little-endian, offsets from its start; nothing in it is trusted when it is read.
 *
 *   header   magic 8, generation u64, SipHash key 16, total size u32,
 *            then five times count u32 and offset u32: slots, accounts, domains, sole aliases, delimiter bytes;
 *            number of bare aliases u32
 *   slots    a power of two of them: u32 high half of the hash, u32 offset of the entry (0: free); linear probing
 *   accounts, domains   u32 offsets of entries in the order of the files
 *   sole     u32 account entry, u32 alias entry, u32 domain entry (0 unless the alias is bare), sorted: aliases that
 *            lead to that account alone
 *   entry    u8 kind, u8 flags, u16 length of key, u32 line, u32 offset of the file's name (u16 length, bytes; 0:
 *            none), u32 number of items, key, items (u16 length, bytes): targets of an alias; of an account extra
 *            senders, which have an @, and DIRECTORY_QUOTA or DIRECTORY_QUOTA_MESSAGES with a decimal number. An item
 *            that begins with DIRECTORY_MECHANISM is a mechanism (of an alias, an account, or of all accounts of a
 *            domain), with DIRECTORY_USER the system user of an account or of a domain's accounts
 *
 * The hash is taken over the key alone: an account and an alias of one name are found by one walk. */
#pragma once
#include "conf/conf_private.h"
#include "conf/directory.h"

#define DIRECTORY_MAGIC "PHdir\0\0\1"
#define DIRECTORY_DEPTH_MAX 50

enum { /* places in the header */
       DIRECTORY_AT_GENERATION = 8,
       DIRECTORY_AT_KEY = 16,
       DIRECTORY_AT_SIZE = 32,
       DIRECTORY_AT_SLOTS = 36,
       DIRECTORY_AT_ACCOUNTS = 44,
       DIRECTORY_AT_DOMAINS = 52,
       DIRECTORY_AT_SOLE = 60,
       DIRECTORY_AT_DELIMITER = 68,
       DIRECTORY_AT_BARE = 76,
       DIRECTORY_HEADER = 80
};
#define DIRECTORY_SLOT 8
#define DIRECTORY_SOLE 12
#define DIRECTORY_ENTRY 16
#define DIRECTORY_MAX 0xf0000000u

enum directory_kind {
    DIRECTORY_DOMAIN = 1,  /* key: domain */
    DIRECTORY_ACCOUNT,     /* local@domain */
    DIRECTORY_ALIAS,       /* local@domain, or @domain for all that is unknown */
    DIRECTORY_BARE,        /* local: an alias in every domain */
    DIRECTORY_POSTMASTER,  /* domain: target of the domain block */
};

#define DIRECTORY_QUOTA          "quota="
#define DIRECTORY_QUOTA_MESSAGES "quota_messages="
#define DIRECTORY_MECHANISM      '\1'
#define DIRECTORY_USER           '\2'
#define DIRECTORY_FORWARD_MAX    16000 /* bytes of `forward` and what follows it */
#define DIRECTORY_MECHANISMS_MAX 16    /* of one account or domain */

enum { DIRECTORY_DEAD = 1 }; /* flag of an alias: none of its targets exists */

struct directory_entry {
    uint32_t off, line, n;
    uint8_t kind, flags;
    str key, file;
    str items; /* for directory_item */
};

/* False: there is no whole entry at that place. */
bool directory_entry_at(const struct directory *d, uint32_t off, struct directory_entry *out);
/* The next item; false when there is no more. */
bool directory_item(str *items, str *out);
uint64_t directory_hash(const struct directory *d, str key);
bool directory_lookup(const struct directory *d, enum directory_kind kind, str key, struct directory_entry *out);
/* Entry i of the accounts or domains. */
bool directory_list(const struct directory *d, uint32_t at, size_t i, struct directory_entry *out);

/* An address in the form in which keys are compared: ASCII lower case, domain as A-labels, no needless quotes. */
#define DIRECTORY_KEY_MAX 512
struct directory_key {
    char p[DIRECTORY_KEY_MAX];
    size_t n, at; /* at: index of the @ */
};
/* False: not an address. One without domain gets the directory's first domain. */
bool directory_key(const struct directory *d, str address, struct directory_key *out);
static inline str directory_key_str(const struct directory_key *k) { return str_of(k->p, k->n); }
static inline str directory_key_domain(const struct directory_key *k)
{
    return str_of(k->p + k->at + 1, k->n - k->at - 1);
}

/* Where an address of one of our domains leads in one step (DESIGN 8.2). */
struct directory_found {
    int kind;                /* DIRECTORY_STEP_ALIAS, ACCOUNT, POSTMASTER, CATCH_ALL, NONE */
    bool tagged;             /* found without its tag */
    bool loop;               /* NONE because the alias `self` names itself and there is no such account */
    struct directory_entry e;
};
/* self: offset of the alias whose target this is, 0 none. An alias that names itself means the account of that name. */
void directory_find(const struct directory *d, const struct directory_key *k, uint32_t self,
                    struct directory_found *out);
/* The key without its tag; false if it has none. */
bool directory_untag(const struct directory *d, const struct directory_key *k, struct directory_key *out);

/* True if the targets are one account and nothing else; its address is that of the first. */
bool directory_is_sole(const struct directory_result *r);

/* Resolves the targets of one alias, in that domain if it is a bare one. 0, -ENOMEM, -E2BIG (more than
 * DIRECTORY_TARGETS_MAX). */
int directory_expand(const struct directory *d, struct arena *a, const struct directory_entry *e, str domain,
                     struct directory_result *out);

/* A finished blob but for flags and `sole`: refuses loops, chains too long, and domains without postmaster; fills in
 * the rest. entries: the offset of each (u32), in the order of the files. */
int directory_check(struct arena *a, const struct conf_full *c, str entries, struct buf *blob,
                    struct conf_error *out_error);
