/* Who may send what here: Postfix's restriction words as rows of a table, evaluated by a pure engine (DESIGN 1.4).
 * The same call with the same session and facts gives the same verdict. A rule that lacks a fact leaves a question
 * and the verdict is WAIT; the caller answers what it can, and calls again from the top. What was asked, answered
 * and decided is the explanation. */
#pragma once
#include "base/arena.h"
#include "base/net.h"

enum policy_stage {
    POLICY_CLIENT,
    POLICY_HELO,
    POLICY_SENDER,
    POLICY_RELAY,
    POLICY_RECIPIENT,
    POLICY_DATA,
    POLICY_STAGES
};
extern const char *const policy_stage_setting[POLICY_STAGES]; /* "smtpd_client_restrictions" … */

/* A word of a list as the configuration has it, with its place. */
struct policy_word {
    str text;
    str file;
    uint32_t line;
};

struct policy_rule {
    uint16_t word;      /* row of policy_words.def */
    bool warn_only;     /* preceded by warn_if_reject */
    str name;           /* as written */
    str arg;            /* table of check_*_access, else empty */
    str file;           /* where the list stands; "default" for a built-in list */
    uint32_t line;
};

struct policy_list { const struct policy_rule *rules; size_t n; };

struct policy_rules {
    struct policy_list list[POLICY_STAGES];
    struct nets mynetworks;
    bool delay_reject;  /* smtpd_delay_reject: client, HELO and sender lists are judged at RCPT (default yes) */
    str recipient_delimiter; /* letters that may start a tag (user+tag@domain is user@domain in tables); n == 0: "+" */
};

struct policy_error {
    str file;
    uint32_t line;
    str text; /* in the arena: what, what was expected, nearest known word */
};

/* Compiles the words of one list into the arena. 0, -EINVAL with *out_error (unknown word, missing table, word not
 * allowed in this list), -ENOMEM. */
int policy_compile(struct arena *a, enum policy_stage stage, const struct policy_word *words, size_t n,
                   struct policy_list *out, struct policy_error *out_error);
bool policy_nets_match(const struct nets *nets, str addr); /* textual IPv4 or IPv6 */

/* What is known of the session when a decision is asked for. */
struct policy_session {
    str client_addr;    /* text */
    str client_name;    /* "unknown" until DNS comes */
    str helo;
    bool tls;
    str sasl_user;      /* account address, n == 0: not authenticated */
    str sender;         /* canonical address; n == 0 with sender_null: <> */
    bool sender_null;
    str recipient;      /* canonical; empty at client/HELO/MAIL/DATA stage */
    uint32_t recipients; /* accepted so far in this transaction, with this one */
    bool early;         /* unauthorised pipelining was seen */
};

enum policy_fact_kind {
    POLICY_FACT_TABLE,   /* subject: table, key: lookup key. found: text = right side; or absent */
    POLICY_FACT_ADDRESS, /* key: address. value: enum policy_address */
    POLICY_FACT_OWNER,   /* subject: account, key: address. value 1: may use it; 0: may not, text: addresses allowed */
    POLICY_FACT_KINDS
};
enum policy_address {
    POLICY_ADDRESS_FOREIGN, /* domain not ours */
    POLICY_ADDRESS_UNKNOWN, /* ours, no such recipient */
    POLICY_ADDRESS_LOCAL    /* resolves here */
};
enum policy_fact_state { POLICY_FACT_OPEN, POLICY_FACT_ABSENT, POLICY_FACT_FOUND, POLICY_FACT_FAILED /* temporary */ };

struct policy_fact {
    enum policy_fact_kind kind;
    enum policy_fact_state state;
    str subject, key;
    int64_t value;
    str text;
    struct policy_fact *next;   /* in the order asked */
    struct policy_fact *same;   /* the engine's own: chain of the hash */
    struct policy_list nested;  /* the engine's own: a right side that is a list of rules, compiled once */
};

/* The facts of one decision (one recipient, or DATA) and its repetitions, at most POLICY_FACTS_MAX; memory from the
 * arena. They may be kept for the next recipient; a full table defers with 451, so start anew (`{ .arena = a }`)
 * well before. */
#define POLICY_FACTS_MAX 512
#define POLICY_FACTS_HASH 64
struct policy_facts {
    struct arena *arena;
    struct policy_fact *first, *last;
    size_t n;
    struct policy_fact *hash[POLICY_FACTS_HASH];
};
/* NULL: not there. */
struct policy_fact *policy_fact_get(struct policy_facts *f, enum policy_fact_kind kind, str subject, str key);
/* Opens a question if it is not there yet. NULL: too many or no memory. */
struct policy_fact *policy_fact_ask(struct policy_facts *f, enum policy_fact_kind kind, str subject, str key);

enum policy_action { POLICY_PERMIT, POLICY_REJECT, POLICY_DEFER, POLICY_WAIT };

/* One rule that was looked at; the rules of a table's right side follow the rule that named the table. */
struct policy_step {
    enum policy_stage stage;
    const struct policy_rule *rule;
    enum { POLICY_DUNNO, POLICY_OK, POLICY_REFUSED, POLICY_DEFERRED, POLICY_WARNED, POLICY_ASKED } outcome;
    const struct policy_fact *fact; /* what settled it: entry of a table, class of an address; NULL: the session */
    str text;                       /* of a warning, or of the reply put off (defer_if_permit, defer_if_reject) */
};
#define POLICY_STEPS_MAX 200 /* beyond, the last place holds the latest step */

struct policy_verdict {
    enum policy_action action;
    int code;            /* reply: 554, 550, 450, 504 … */
    str enhanced, text;  /* "5.7.1", "<x@y>: Relay access denied"; text in the arena */
    bool hangup;         /* 421/521 of an access table */
    const struct policy_rule *rule; /* the one that decided; NULL: the lists ended without an opinion */
    enum policy_stage stage;
    const struct policy_step *steps; size_t n_steps;
};

/* Decides what is due when `at` has been reached: with delay_reject nothing before POLICY_RECIPIENT (then client,
 * helo, sender, relay, recipient in this order) and the data list at POLICY_DATA; without it each list at its own
 * stage (relay and recipient at RCPT; the earlier lists are then judged again with what was known at their stage, so
 * that their defer_if_permit is not lost). A list that ends without an opinion permits. Always ends with a verdict:
 * when the facts' arena or table is full or rules nest too deep, with POLICY_DEFER and 451. Reply texts are ASCII
 * without control bytes and fit the reply line of RFC 5321 4.5.3.1.5. */
void policy_decide(const struct policy_rules *rules, const struct policy_session *session, enum policy_stage at,
                   struct policy_facts *facts, struct policy_verdict *out);

/* The explanation's last line: the smallest single changes that would turn a refusal, found by deciding again with
 * one thing changed (authenticated, TLS, client in mynetworks, recipient exists here, domain local, sender owned,
 * rule removed, table entry). A text says "would be accepted" only where deciding again permits; where later rules
 * hang on facts nobody has asked for, it says "would pass this rule". At most n texts into out (arena), the former
 * first; returns how many. Asks nothing. */
size_t policy_what_if(const struct policy_rules *rules, const struct policy_session *session, enum policy_stage at,
                      struct policy_facts *facts, str *out, size_t n);

/* Runs the engine with a stranger's facts: unknown client, no authentication, foreign sender and recipient. A lookup
 * of a table keyed by something a stranger chooses (helo, sender) counts as OK if the table has any OK
 * (`table_has_ok`, NULL: none has). Also refused: networks of mynetworks that hold half the world (IPv4 shorter than
 * /8, IPv6 shorter than /16, but for fc00::/7 and fe80::/10, which nobody reaches from outside) where a client in
 * mynetworks may relay. 0, or -EPERM with what lets him relay in *out_error; its file is empty when both lists are. */
int policy_open_relay(struct arena *a, const struct policy_rules *rules, bool (*table_has_ok)(void *arg, str table),
                      void *arg, struct policy_error *out_error);

/* For documentation, `config explain` and completion: row i of the word table (warn_if_reject last), false past the
 * end. */
struct policy_word_info { const char *name, *doc, *remedy; bool takes_table; };
bool policy_word_info(size_t i, struct policy_word_info *out);

/* Row i of the first words of an access table's right side, false past the end (takes_table is false, remedy empty). */
bool policy_action_info(size_t i, struct policy_word_info *out);
/* Looks at a right side of an access table, for the check of a configuration. 0, or -EINVAL with a static text in
 * *out_why: an action of Postfix that this version does not have, an unknown word. */
int policy_check_action(str right_side, const char **out_why);

/* Textual IPv4 or IPv6 (no brackets; a zone after % is dropped) as 16 bytes, IPv4 as ::ffff:a.b.c.d. 0 or -EINVAL. */
int policy_addr_parse(str s, uint8_t out[16]);
/* Network of a client for limits: IPv4 "192.0.2.1", IPv6 "2001:db8:0:1::/64", as text in out. 0 or -EINVAL (not an
 * address). */
#define POLICY_NET_TEXT 46
int policy_client_net(str addr, char out[POLICY_NET_TEXT], str *out_text);
