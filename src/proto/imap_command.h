/* A command of IMAP as a tree in an arena: what a client said, checked against the grammar of RFC 3501 9, RFC 9051 9
 * and the extensions. Pure. Mailbox names are UTF-8 (decoded from modified UTF-7 unless UTF8=ACCEPT or IMAP4rev2 is
 * on; UTF-8 as it is passes always, RFC 6855 3), INBOX in any case is "INBOX" and "inbox/x" is "INBOX/x", a trailing
 * "/" is gone. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

enum imap_verb {
#define IMAP_VERB(id, where, arguments) IMAP_##id,
#include "proto/imap_verbs.def"
#undef IMAP_VERB
    IMAP_VERBS
};

/* Sets of numbers (sequence numbers or UIDs); 0 stands for "*". Not sorted, not merged, as written. */
struct imap_range { uint32_t first, last; };
struct imap_set {
    const struct imap_range *ranges; size_t n;
    bool saved; /* "$": the result saved by SEARCH RETURN (SAVE), RFC 5182 */
};

/* System flags (RFC 9051 2.3.2) as bits; keywords are kept as text, ASCII case ignored when they are compared. */
enum {
    IMAP_SEEN = 1, IMAP_ANSWERED = 2, IMAP_FLAGGED = 4, IMAP_DELETED = 8, IMAP_DRAFT = 16,
    IMAP_RECENT = 32 /* never stored: a session's view (RFC 3501 2.3.2) */
};
struct imap_flags { uint32_t system; const str *keywords; size_t n_keywords; };

/* LIST and STATUS */
enum { IMAP_LIST_SUBSCRIBED = 1, IMAP_LIST_REMOTE = 2, IMAP_LIST_RECURSIVEMATCH = 4, IMAP_LIST_SPECIAL_USE = 8,
       IMAP_LIST_CHILDREN = 16, IMAP_LIST_STATUS = 32 };
enum { IMAP_STATUS_MESSAGES = 1, IMAP_STATUS_UIDNEXT = 2, IMAP_STATUS_UIDVALIDITY = 4, IMAP_STATUS_UNSEEN = 8,
       IMAP_STATUS_DELETED = 16, IMAP_STATUS_SIZE = 32, IMAP_STATUS_RECENT = 64, IMAP_STATUS_HIGHESTMODSEQ = 128,
       IMAP_STATUS_APPENDLIMIT = 256, IMAP_STATUS_MAILBOXID = 512, IMAP_STATUS_DELETED_STORAGE = 1024 };
/* Roles of mailboxes (RFC 6154), as one value. */
enum imap_use { IMAP_USE_NONE, IMAP_USE_ALL, IMAP_USE_ARCHIVE, IMAP_USE_DRAFTS, IMAP_USE_FLAGGED, IMAP_USE_JUNK,
                IMAP_USE_SENT, IMAP_USE_TRASH, IMAP_USE_IMPORTANT, IMAP_USES };

/* FETCH */
enum imap_fetch_kind {
    IMAP_FETCH_UID, IMAP_FETCH_FLAGS, IMAP_FETCH_INTERNALDATE, IMAP_FETCH_SIZE, IMAP_FETCH_ENVELOPE,
    IMAP_FETCH_STRUCTURE,     /* BODYSTRUCTURE */
    IMAP_FETCH_STRUCTURE_OLD, /* BODY without a section */
    IMAP_FETCH_SECTION,       /* BODY[…], BODY.PEEK[…] */
    IMAP_FETCH_BINARY, IMAP_FETCH_BINARY_SIZE, /* RFC 3516 */
    IMAP_FETCH_RFC822, IMAP_FETCH_RFC822_HEADER, IMAP_FETCH_RFC822_TEXT, /* answered under their own names */
    IMAP_FETCH_MODSEQ, IMAP_FETCH_EMAILID, IMAP_FETCH_THREADID
};
enum imap_section { IMAP_SECTION_ALL, IMAP_SECTION_HEADER, IMAP_SECTION_FIELDS, IMAP_SECTION_FIELDS_NOT,
                    IMAP_SECTION_TEXT, IMAP_SECTION_MIME };
struct imap_fetch_item {
    enum imap_fetch_kind kind;
    bool peek; /* does not set \Seen */
    const uint32_t *part; size_t n_part; /* 1.2.3 */
    enum imap_section section;
    const str *fields; size_t n_fields; /* as written, to be echoed */
    bool partial; uint64_t offset, length; /* <offset.length> */
};
/* ALL, FULL and FAST are expanded. With UID FETCH the UID item is first and there once. With CHANGEDSINCE the MODSEQ
 * item, which it implies, is there. */
struct imap_fetch {
    struct imap_set set;
    const struct imap_fetch_item *items; size_t n_items;
    bool has_changedsince, vanished; uint64_t changedsince;
};

/* STORE: -FLAGS, +FLAGS, FLAGS */
enum imap_store_op { IMAP_STORE_SET, IMAP_STORE_ADD, IMAP_STORE_REMOVE };
struct imap_store {
    struct imap_set set;
    enum imap_store_op op; bool silent;
    struct imap_flags flags;
    bool has_unchangedsince; uint64_t unchangedsince;
};

/* SEARCH: a tree. Children of AND, OR and NOT are a list. */
enum imap_search_kind {
    IMAP_SEARCH_AND, IMAP_SEARCH_OR, IMAP_SEARCH_NOT, IMAP_SEARCH_EVERYTHING,
    IMAP_SEARCH_SET, IMAP_SEARCH_UID,            /* .set */
    IMAP_SEARCH_FLAGS,                           /* has all of .flags.system */
    IMAP_SEARCH_KEYWORD,                         /* .text */
    IMAP_SEARCH_LARGER, IMAP_SEARCH_SMALLER,     /* .number */
    IMAP_SEARCH_BEFORE, IMAP_SEARCH_ON, IMAP_SEARCH_SINCE,                /* INTERNALDATE; .day */
    IMAP_SEARCH_SENTBEFORE, IMAP_SEARCH_SENTON, IMAP_SEARCH_SENTSINCE,    /* Date field */
    IMAP_SEARCH_OLDER, IMAP_SEARCH_YOUNGER,      /* RFC 5032, .number seconds */
    IMAP_SEARCH_SUBJECT, IMAP_SEARCH_FROM, IMAP_SEARCH_TO, IMAP_SEARCH_CC, IMAP_SEARCH_BCC,
    IMAP_SEARCH_HEADER,                          /* .field, .text ("" : the field is there) */
    IMAP_SEARCH_BODY, IMAP_SEARCH_TEXT,
    IMAP_SEARCH_MODSEQ,                          /* .number */
    IMAP_SEARCH_EMAILID, IMAP_SEARCH_THREADID    /* .text */
};
struct imap_search_key {
    enum imap_search_kind kind;
    struct imap_search_key *children, *next;
    struct imap_set set;
    uint32_t flags; /* NEW is (\Recent and not \Seen), OLD not \Recent; written with AND and NOT */
    str field, text; /* text: UTF-8, converted from CHARSET by the parser (US-ASCII, UTF-8; others: BADCHARSET) */
    uint64_t number;
    int64_t day;     /* days since 1970-01-01 */
};
enum { IMAP_RETURN_MIN = 1, IMAP_RETURN_MAX = 2, IMAP_RETURN_ALL = 4, IMAP_RETURN_COUNT = 8, IMAP_RETURN_SAVE = 16 };
enum imap_sort_kind { IMAP_SORT_ARRIVAL, IMAP_SORT_CC, IMAP_SORT_DATE, IMAP_SORT_FROM, IMAP_SORT_SIZE,
                      IMAP_SORT_SUBJECT, IMAP_SORT_TO };
struct imap_sort_key { enum imap_sort_kind kind; bool reverse; };
enum imap_thread_kind { IMAP_THREAD_ORDEREDSUBJECT, IMAP_THREAD_REFERENCES };
struct imap_search { /* of SEARCH, SORT and THREAD */
    bool has_return; uint32_t returns; /* RETURN () is ALL */
    const struct imap_sort_key *sort; size_t n_sort;
    enum imap_thread_kind thread;
    struct imap_search_key *key;
    bool has_modseq; /* a MODSEQ criterion is in it: the answer carries the highest */
};

struct imap_list {
    str reference;
    const str *patterns; size_t n_patterns; /* UTF-8 */
    uint32_t select, returns;  /* IMAP_LIST_… */
    uint32_t status;           /* IMAP_STATUS_… of RETURN (STATUS (…)) */
    bool extended;             /* LIST-EXTENDED syntax was used */
};

/* SELECT and EXAMINE (RFC 7162 3.2.5) */
struct imap_select {
    str mailbox;
    bool condstore, qresync;
    uint32_t uidvalidity; uint64_t modseq;
    bool has_known; struct imap_set known;             /* UIDs */
    bool has_match; struct imap_set match_seq, match_uid;
};

/* What APPEND says before each literal; several with MULTIAPPEND. */
struct imap_append {
    str mailbox;
    struct imap_flags flags;
    bool has_date; int64_t date_s; int date_zone_min; /* INTERNALDATE */
    uint64_t size;
    bool literal8, utf8; /* ~{…}; UTF8 (~{…}) */
};

/* ENABLE (RFC 5161); what we do not know is left out. */
enum { IMAP_ENABLE_CONDSTORE = 1, IMAP_ENABLE_QRESYNC = 2, IMAP_ENABLE_UTF8 = 4, IMAP_ENABLE_REV2 = 8 };

struct imap_command {
    enum imap_verb verb; /* IMAP_VERBS while it was not read (after an error) */
    bool uid; /* UID FETCH, UID STORE, … */
    str tag;
    union {
        str mailbox;                          /* DELETE, SUBSCRIBE, UNSUBSCRIBE, GETQUOTAROOT */
        struct { str mailbox; enum imap_use use; bool has_use; } create;
        struct { str from, to; } rename;
        struct imap_select select;
        struct imap_list list;
        struct { str mailbox; uint32_t items; } status;
        struct imap_fetch fetch;
        struct imap_store store;
        struct imap_search search;
        struct { struct imap_set set; str mailbox; } copy; /* COPY, MOVE */
        struct { bool has_set; struct imap_set set; } expunge; /* UID EXPUNGE */
        struct { const str *pairs; size_t n; } id; /* name, value, name, value; n is even */
        struct { str root; } quota;           /* GETQUOTA, SETQUOTA; the limits of the latter are not kept */
        struct { str user, password; } login;
        struct { str mechanism, response; bool has_response; } authenticate; /* response: base64 as it came, or "=" */
        uint32_t enable;                      /* IMAP_ENABLE_… */
        struct imap_append append;            /* the first message: given out by the engine's events */
    };
};

struct imap_parse_error {
    const char *code; /* response code without brackets, such as "BADCHARSET (UTF-8)", or NULL */
    str text;         /* what is wrong, static */
    bool no;          /* NO, else BAD */
};

/* Parses one whole command: `line` without its last CRLF, with the literals inside it ("{5}\r\nhello"). Everything is
 * in the arena or points into `line`. utf8: UTF8=ACCEPT or IMAP4rev2 is enabled. 0; -EBADMSG with *out_error (tag is
 * set in *out if one could be read, else empty); -ENOMEM. Linear; nesting at most 64 deep (RFC 9051 7 has no limit). */
int imap_parse(struct arena *a, str line, bool utf8, struct imap_command *out, struct imap_parse_error *out_error);

/* Is it allowed in that state? */
enum imap_state { IMAP_NOT_AUTHENTICATED, IMAP_AUTHENTICATED, IMAP_SELECTED };
bool imap_verb_allowed(enum imap_verb verb, enum imap_state state);
str imap_verb_name(enum imap_verb verb);
/* "\\Sent" … for a use; STR_NONE for IMAP_USE_NONE. And back (ASCII case ignored): IMAP_USE_NONE if unknown. */
str imap_use_name(enum imap_use use);
enum imap_use imap_use_of(str name);
/* What LIST says of a name by patterns with % and * (separator '/'); linear in the pattern and in the name. No name of
 * more than IMAP_NAME_MAX bytes matches. */
bool imap_list_match(str pattern, str name);
