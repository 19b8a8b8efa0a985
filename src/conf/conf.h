/* The configuration: one strict block syntax (`name value…`, `{ }`, `#` comments, "quoted strings"), every setting a
 * row of settings.def (name, type, default, documentation). Nothing here expands remote data. Files are read once
 * into a *bundle* (the main file and everything it names: includes, lookup tables, accounts, aliases), and the
 * bundle is what roles get: they never open a path. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "route/route.h"

#define CONF_BUNDLE_MAX (1u << 30)
#define CONF_MEMORY_MAX (1u << 28)

struct conf_error {
    str file; uint32_t line; /* line 0: the whole file */
    str text; /* what is wrong, what was expected, the nearest known name; in the arena */
};

/* A value that is a list of words (restriction lists, domains), with the place of each. */
struct conf_word { str text, file; uint32_t line; bool comma; /* a comma followed; kept for printing alone */ };
struct conf_words { const struct conf_word *word; size_t n; bool set; }; /* set: written in the file, not a default */

enum conf_service {
    CONF_SMTP, CONF_SUBMISSION, CONF_SUBMISSIONS, CONF_LMTP, CONF_POP3, CONF_POP3S, CONF_IMAP, CONF_IMAPS, CONF_SERVICES
};
extern const char *const conf_service_name[CONF_SERVICES];
/* Mailboxes are read there: a service of role access. The others receive mail. */
static inline bool conf_service_reads(enum conf_service s) { return s >= CONF_POP3 && s < CONF_SERVICES; }

/* In the order of enum policy_stage. */
enum { CONF_CLIENT, CONF_HELO, CONF_SENDER, CONF_RELAY, CONF_RECIPIENT, CONF_DATA, CONF_LISTS };

struct conf_listener {
    enum conf_service service;
    str address;             /* numeric IPv4, or IPv6 without brackets, in the form of inet_ntop; `*` is 0.0.0.0. Or
                                "unix:" and the path of a Unix socket, relative to the main file's folder: LMTP alone */
    uint16_t port;           /* 0: a Unix socket */
    /* Own lists, else the setting of that name (not for LMTP), else the service's default (conf_default_list): its
     * words have the file "default" and line 0. `set` is false for a default alone. POP3 and IMAP listeners have
     * none. */
    struct conf_words restrictions[CONF_LISTS];
    str file; uint32_t line;
};

/* A key that signs for a domain; several for one are neighbours. */
#define CONF_DKIM_KEYS_MAX 4 /* of a domain */
struct conf_dkim { str domain, selector, key; /* key: its file */ str file; uint32_t line; };

#define CONF_SOCKET_PATH_MAX 80 /* of a Unix socket */
#define CONF_ENDPOINT_MAX 96    /* holds conf_listener.address and a NUL */
bool conf_listener_path(const struct conf_listener *l, str *out_path); /* false: an address and port */
/* "127.0.0.1:25", "[::1]:25", "unix:PATH". */
void conf_listener_print(struct buf *out, const struct conf_listener *l);

#define CONF_ADDRESS_MAX 48 /* holds a numeric address and a NUL */
/* A server to ask: 192.0.2.53, 2001:db8::53, [2001:db8::53], each with :PORT (IPv6 in brackets then) or @PORT. The
 * address comes in the form of inet_ntop; *out_port stays without a port in the text. False: not such a thing. */
bool conf_server_parse(str text, char out_address[CONF_ADDRESS_MAX], uint16_t *out_port);

/* Domain for matching: lower case, U-labels as A-labels (RFC 5891). 0, -EINVAL, -ENOMEM. Result in the arena. */
int conf_domain_ascii(struct arena *a, str domain, str *out);
/* An address with its domain so; the local part stays as it is. What has no @ comes back in lower case. */
int conf_address_ascii(struct arena *a, str address, str *out);

/* The list a listener of that service gets when nothing sets it, as it would be written. */
const char *conf_default_list(enum conf_service service, int list);

/* A lookup table `file:PATH`: "key value" lines; keys in lower case. */
struct conf_table;
/* 1 found (value points into the table), 0 absent. Keys are matched in ASCII lower case. */
int conf_table_get(const struct conf_table *t, str key, str *out_value);
/* Any right side that permits: OK, RELAY, a number that is all digits, permit… */
/* Row i in the order of keys, for the check of right sides; false past the end. */
bool conf_table_row(const struct conf_table *t, size_t i, str *out_value, str *out_file, uint32_t *out_line);
bool conf_table_has_ok(const struct conf_table *t);

struct conf {
    /* one field a row of settings.def: bool, uint64_t (number, size in bytes, duration in ms), str, struct
     * conf_words */
#define SETTING(name, type, deflt, doc) CONF_C_##type name;
#define CONF_C_BOOL bool
#define CONF_C_NUMBER uint64_t
#define CONF_C_SIZE uint64_t
#define CONF_C_DURATION uint64_t
#define CONF_C_STRING str
#define CONF_C_PATH str
#define CONF_C_WORDS struct conf_words
#define CONF_C_NETWORKS struct conf_words
#include "conf/settings.def"
#undef SETTING
    const struct conf_listener *listeners; size_t n_listeners;
    const struct conf_word *domains; size_t n_domains; /* `domain NAME` statements, lower case (A-label form) */
    struct route_table routes;             /* `route NAME { … }` statements; at least the built-in one */
    struct nets private_allowed;      /* what allow_private_destinations says */
    const struct conf_dkim *dkim; size_t n_dkim; /* `dkim DOMAIN SELECTOR FILE` statements */
    str main_file;
};

/* Grammar of the main file and of what it includes:
 *     statement = word word… end | word word… "{" statement… "}"        end = newline or ";"
 * Words are separated by blanks, or by a comma with or without blanks (a comma needs a word on both sides). "…" quotes
 * a word; \" and \\ inside it. A line that ends with a comma or a backslash goes on with the next. `#` where a word
 * could start begins a comment.
 *     SETTING value…                            a row of settings.def
 *     domain NAME [{ catch_all target…; postmaster target…; deliver mechanism…; user NAME }]
 *     listen SERVICE ADDRESS:PORT [{ smtpd_…_restrictions word… }]     smtp submission submissions lmtp pop3 pop3s imap
 *     imaps listen lmtp unix:PATH [{ … }]
 *     route NAME { … }                          where mail goes next: docs/routing.md
 *     dkim DOMAIN SELECTOR FILE                 a key that signs for the domain: docs/dkim.md
 *     include FILE
 */

/* Reads PATH and all it names into one blob: included files, tables, accounts, aliases and their :include: files;
 * never the secrets. File names inside are as the configuration writes them, resolved against the main file's
 * folder; the main file is called PATH. An accounts file that is not there and that nothing names (the setting's
 * default) counts as empty. 0; -EINVAL with *out_error; another negative errno with the place that names the file in
 * *out_error. The ceiling of out_bundle is the caller's (CONF_BUNDLE_MAX). */
int conf_bundle_read(struct arena *a, const char *path, struct buf *out_bundle, struct conf_error *out_error);
/* The content of a file in a bundle. 1 found, 0 not there. */
int conf_bundle_file(str bundle, str name, str *out_content);

/* A bundle made by hand: the main file's name, then each file. The buf keeps the error. */
void conf_bundle_begin(struct buf *b, str main_file);
void conf_bundle_add(struct buf *b, str name, str content);
str conf_bundle_main(str bundle); /* the main file's name; n == 0: not a bundle */

/* "file:line: text" (without the line where it is 0). */
void conf_error_print(struct buf *out, const struct conf_error *e);

/* Parses a bundle. Everything lives in the arena and points into the bundle. 0, -EINVAL with *out_error, -ENOMEM. */
int conf_parse(struct arena *a, str bundle, const struct conf **out, struct conf_error *out_error);
/* The table named in check_*_access ("file:access/clients"; "access/clients" is the same). NULL: unknown (conf_parse
 * has refused such a configuration). */
const struct conf_table *conf_table(const struct conf *c, str name);

/* The keys of a domain (lower case, A-labels); NULL and 0: it has none. */
const struct conf_dkim *conf_dkim_find(const struct conf *c, str domain, size_t *out_n);

/* For `config explain NAME`, man page, completion: row i, false past the end. */
struct conf_setting_info { const char *name, *type, *deflt, *doc; };
bool conf_setting_info(size_t i, struct conf_setting_info *out);
/* The words of a `route` block: row i, false past the end. */
struct conf_route_word_info { const char *name, *value, *doc; };
bool conf_route_word_info(size_t i, struct conf_route_word_info *out);
/* The value of a setting as text (as it would be written), with the place it was set ("default" if it was not).
 * false: unknown. */
bool conf_setting_value(const struct conf *c, str name, struct buf *out_text, str *out_file, uint32_t *out_line);
/* A size as settings have them (10, 10K, 5M, 2G). False: it is not *out_want. */
bool conf_size(str text, uint64_t *out, const char **out_want);
/* The known name nearest to s by edit distance, "" if none is near. */
str conf_nearest(str s);
