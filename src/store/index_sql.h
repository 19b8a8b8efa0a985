/* The database under the index, for the files index*.c: its statements, and how they are run. */
#pragma once
#include <sqlite3.h>
#include "store/index_internal.h"

enum statement {
    BEGIN, COMMIT, ROLLBACK, VERSION, META_GET, META_SET, LOG_ID, LOG_ADD, LOG_NAME,
    MAILBOX_ADD, MAILBOX_NAMED, MAILBOX_GET, MAILBOX_TITLE, MAILBOX_CHANGE, MAILBOX_JUMP, MAILBOX_BELOW,
    MAILBOX_RENAME, MAILBOX_DROP, MAILBOX_USE, MAILBOX_USED, MAILBOX_COUNT, MAILBOX_RECENT, MAILBOX_VANISHED,
    MAILBOX_FLOOR, USAGE, FOLDER_WALK, KEYWORD_ADD, KEYWORD_WALK, KEYWORD_DROP,
    VANISHED_ADD, VANISHED_WALK, VANISHED_OLD, VANISHED_PRUNE, VANISHED_CLEAR,
    SUBSCRIPTION_ADD, SUBSCRIPTION_DROP, SUBSCRIPTION_GET, SUBSCRIPTION_COUNT, ACCOUNT_ADD, ACCOUNT_GET,
    MESSAGE_ADD, MESSAGE_GET, MESSAGE_RANGE, MESSAGE_COUNT, MESSAGE_FLAG,
    MESSAGE_DROP, MESSAGE_EXISTS, MESSAGE_PLACED, MESSAGE_RECORDS, MESSAGE_WALK, MESSAGE_WALK_ALL,
    APPLIED_GET, APPLIED_SET, APPLIED_DEAD, APPLIED_HELD, APPLIED_LAST, APPLIED_NEXT,
    MESSAGE_MOVE, PLACE_USED, SEGMENT_USED, SEGMENT_WALK, GAP_ADD, GAP_EXTEND, GAP_FIND, GAP_DROP, GAP_FIRST,
    QUEUE_ADD, QUEUE_GET, QUEUE_NEXT, QUEUE_HAS, QUEUE_DROP, QUEUE_MOVE, QUEUED_ADD, QUEUED_COUNT, QUEUED_GET,
    QUEUED_DUE, QUEUED_SET, QUEUED_END, QUEUED_OWE, QUEUED_DROP, QUEUED_DROP_FINAL, QUEUED_HOLD, QUEUED_RELEASE,
    QUEUED_RETRY, QUEUED_REDIRECT, ATTEMPT_ADD, ATTEMPT_OLD, ATTEMPT_DROP, ATTEMPT_DROP_LOST, ATTEMPT_WALK,
    OWED_CLEAR, OWED_NEXT, PAUSED_ADD, PAUSED_DROP, PAUSED_WALK,
    CARD_WANT, CARD_NEXT, CARD_SET, CARD_GET, CARD_MOVE, CARD_DROP,
    STATEMENTS,
};

struct log_name {
    uint64_t id;
    char *name;
    size_t n;
};

struct index {
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENTS];
    struct index_state committed, working;
    struct index_cursor cursor;
    struct log_name *logs; /* names as committed or in the open transaction */
    size_t n_logs;
    char *gap_log;
    struct index_fresh *fresh; /* queued messages without rows: index_queue.c */
    struct index_state saved;  /* as it would be after a rollback */
    bool held;                 /* the open transaction has changes that index_hold() has shown */
    struct index_watch *watch; /* of mailboxes, or NULL: index_watch.h */
};

struct value {
    enum { INTEGER, BLOB } type;
    int64_t integer;
    str blob;
};
#define I(v) ((struct value){ .type = INTEGER, .integer = (int64_t)(v) })
#define B(s) ((struct value){ .type = BLOB, .blob = (s) })
#define VALUES(...) (const struct value[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct value[]){ __VA_ARGS__ }))

/* Pragmas, the schema if the database is empty, all statements. -EBADMSG: of another format. */
int sql_set_up(struct index *ix);
int sql_error(int rc); /* of SQLite as negative errno, 0 if it is none */
/* Binds and steps once. 1 a row (reset by the caller), 0 done and reset, negative errno and reset. */
int sql_run(struct index *ix, enum statement which, const struct value *values, size_t n);
/* The same for statements that change rows: how many. */
int sql_change(struct index *ix, enum statement which, const struct value *values, size_t n);
/* The same for statements whose row says nothing but that it is there. */
int sql_exists(struct index *ix, enum statement which, int r);
void sql_done(struct index *ix, enum statement which); /* resets it */
uint64_t sql_column(sqlite3_stmt *s, int i);
str sql_blob(sqlite3_stmt *s, int i); /* valid until the next step or reset */

/* The number of a log in this index: 1 with it, 0 if it is not known. */
int index_log_find(struct index *ix, str name, uint64_t *out);
/* The bytes at that place count as dead, unless a message is still there. */
int index_bury(struct index *ix, uint64_t log, struct log_position at, uint64_t length, uint64_t now_us);

/* Reads a row of MESSAGE_COLUMNS; slices are valid until its statement's next step. 0 or negative errno. */
int index_message_row(struct index *ix, sqlite3_stmt *s, struct index_message *out);
