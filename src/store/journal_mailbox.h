/* What the journal says about mailboxes beyond their messages' arrival and end: names, uses, subscriptions, flags,
 * copies. Part of journal_record.h. */
#pragma once
#include "base/str.h"

struct journal_uids { uint32_t first, last; }; /* last >= first; 0xffffffff: to the end */

struct journal_rename {
    uint64_t id;
    str name; /* the new one */
};

/* A mailbox and those below it. */
struct journal_mailbox_renamed {
    const struct journal_rename *renames;
    size_t n;
};

/* With its messages. */
struct journal_mailbox_deleted {
    uint64_t id;
    uint64_t at_us; /* wall clock */
};

struct journal_subscribed {
    str account, name;
    bool on;
};

struct journal_mailbox_use {
    uint64_t id;
    uint8_t use; /* enum imap_use as a number */
};

enum journal_flag_op { FLAG_SET, FLAG_ADD, FLAG_REMOVE, FLAG_OPS };

/* Of the messages in the ranges that are there when it is applied. */
struct journal_flagged {
    uint64_t mailbox;
    uint8_t op;
    uint32_t system;
    const str *keywords; size_t n_keywords;
    const struct journal_uids *uids; size_t n_uids;
};

struct journal_run { /* source, source + 1, … became made, made + 1, … */
    uint32_t source, made, count;
};

/* Messages of one mailbox in another, with their flags as they are when it is applied. */
struct journal_copied {
    uint64_t from, to;
    bool move;      /* they leave `from` */
    uint64_t at_us; /* wall clock */
    const struct journal_run *runs; size_t n_runs;
};

/* The mailboxes that every account begins with were made. */
struct journal_account_prepared {
    str account;
};

/* Messages below that UID are \Recent no more. */
struct journal_recent {
    uint64_t mailbox;
    uint32_t uid;
};

/* Part of `delivered`: a message that a client appended, with the flags and the date it named. */
struct journal_append {
    bool present;
    uint32_t system;
    const str *keywords; size_t n_keywords;
    int64_t date_s; /* INTERNALDATE */
    int16_t zone_min;
};
