/* The index in SQLite: see index.h. Every SQL statement of the store stands in this file. Numbers are 64-bit
 * integers, text is blobs (compared byte by byte). Nothing read back is trusted to be well-formed beyond its SQL
 * type. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>
#include "store/index_internal.h"

#define FORMAT 2
#define DIFFERENCES_SAID 20
#define LOGS_MAX 1024

static const char setup[] =
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=NORMAL;"
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA cache_size=-65536;"
    "PRAGMA wal_autocheckpoint=4000;"
    "PRAGMA journal_size_limit=67108864;"
    "PRAGMA trusted_schema=OFF;";

static const char schema[] =
    "BEGIN;"
    "CREATE TABLE meta(id INTEGER PRIMARY KEY, lsn INTEGER, messages INTEGER, mailboxes INTEGER, gaps INTEGER,"
    " placed INTEGER, expunged INTEGER, unplaced INTEGER, last_mailbox INTEGER, last_uidvalidity INTEGER);"
    "INSERT INTO meta VALUES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0);"
    "CREATE TABLE log(id INTEGER PRIMARY KEY, name BLOB UNIQUE);"
    "CREATE TABLE mailbox(id INTEGER PRIMARY KEY, account BLOB, name BLOB, uidvalidity INTEGER, uidnext INTEGER,"
    " messages INTEGER, UNIQUE(account, name));"
    "CREATE TABLE message(mailbox INTEGER, uid INTEGER, lsn INTEGER, log INTEGER, segment INTEGER, offset INTEGER,"
    " content_len INTEGER, meta_len INTEGER, received_us INTEGER, session BLOB, number INTEGER, prefix BLOB,"
    " PRIMARY KEY(mailbox, uid)) WITHOUT ROWID;"
    "CREATE INDEX message_place ON message(log, segment, offset);"
    "CREATE TABLE applied(log INTEGER, segment INTEGER, offset INTEGER, sealed INTEGER,"
    " dead INTEGER DEFAULT 0, dead_us INTEGER DEFAULT 0, held INTEGER DEFAULT 0,"
    " PRIMARY KEY(log, segment)) WITHOUT ROWID;"
    "CREATE TABLE gap(log INTEGER, segment INTEGER, start INTEGER, stop INTEGER,"
    " PRIMARY KEY(log, segment, start)) WITHOUT ROWID;"
    "PRAGMA user_version=2;"
    "COMMIT;";

enum statement {
    BEGIN, COMMIT, ROLLBACK, VERSION, META_GET, META_SET, LOG_ID, LOG_ADD, LOG_NAME,
    MAILBOX_ADD, MAILBOX_NAMED, MAILBOX_GET, MAILBOX_PLACED, MAILBOX_DROPPED, MAILBOX_JUMP,
    MESSAGE_ADD, MESSAGE_DROP, MESSAGE_EXISTS, MESSAGE_PLACED, MESSAGE_WALK, MESSAGE_WALK_ALL,
    APPLIED_GET, APPLIED_SET, APPLIED_DEAD, APPLIED_HELD, APPLIED_LAST, APPLIED_NEXT,
    MESSAGE_MOVE, PLACE_USED, SEGMENT_USED, SEGMENT_WALK, GAP_ADD, GAP_EXTEND, GAP_FIND, GAP_DROP, GAP_FIRST,
    STATEMENTS,
};

#define MESSAGE_COLUMNS \
    "mailbox, uid, lsn, log, segment, offset, content_len, meta_len, received_us, session, number, prefix"

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [VERSION] = "PRAGMA user_version",
    [META_GET] = "SELECT lsn, messages, mailboxes, gaps, placed, expunged, unplaced, last_mailbox, last_uidvalidity"
                 " FROM meta WHERE id = 1",
    [META_SET] = "UPDATE meta SET lsn = ?1, messages = ?2, mailboxes = ?3, gaps = ?4, placed = ?5, expunged = ?6,"
                 " unplaced = ?7, last_mailbox = ?8, last_uidvalidity = ?9 WHERE id = 1",
    [LOG_ID] = "SELECT id FROM log WHERE name = ?1",
    [LOG_ADD] = "INSERT INTO log(name) VALUES(?1)",
    [LOG_NAME] = "SELECT name FROM log WHERE id = ?1",
    [MAILBOX_ADD] = "INSERT OR IGNORE INTO mailbox VALUES(?1, ?2, ?3, ?4, 1, 0)",
    [MAILBOX_NAMED] = "SELECT id, uidvalidity, uidnext, messages FROM mailbox WHERE account = ?1 AND name = ?2",
    [MAILBOX_GET] = "SELECT id, uidvalidity, uidnext, messages FROM mailbox WHERE id = ?1",
    [MAILBOX_PLACED] = "UPDATE mailbox SET uidnext = max(uidnext, ?2 + 1), messages = messages + 1 WHERE id = ?1",
    [MAILBOX_DROPPED] = "UPDATE mailbox SET messages = messages - ?2 WHERE id = ?1",
    [MAILBOX_JUMP] = "UPDATE mailbox SET uidnext = min(uidnext + ?1, 4294967294)",
    [MESSAGE_ADD] = "INSERT OR IGNORE INTO message VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [MESSAGE_DROP] = "DELETE FROM message WHERE mailbox = ?1 AND uid = ?2"
                     " RETURNING log, segment, offset, content_len, meta_len",
    [MESSAGE_EXISTS] = "SELECT 1 FROM message WHERE mailbox = ?1 AND uid = ?2",
    [MESSAGE_PLACED] = "SELECT 1 FROM message WHERE mailbox = ?1 AND log = ?2 AND segment = ?3 AND offset = ?4 LIMIT 1",
    [MESSAGE_WALK] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE mailbox = ?1 ORDER BY uid",
    [MESSAGE_WALK_ALL] = "SELECT " MESSAGE_COLUMNS " FROM message ORDER BY mailbox, uid",
    [APPLIED_GET] = "SELECT offset, sealed FROM applied WHERE log = ?1 AND segment = ?2",
    [APPLIED_SET] = "INSERT INTO applied(log, segment, offset, sealed) VALUES(?1, ?2, ?3, ?4)"
                    " ON CONFLICT DO UPDATE SET offset = excluded.offset, sealed = excluded.sealed",
    [APPLIED_DEAD] = "INSERT INTO applied(log, segment, offset, sealed, dead, dead_us) VALUES(?1, ?2, 64, 0, ?3, ?4)"
                     " ON CONFLICT DO UPDATE SET dead = dead + ?3, dead_us = max(dead_us, ?4)",
    [APPLIED_HELD] = "INSERT INTO applied(log, segment, offset, sealed, held) VALUES(?1, ?2, 64, 0, 1)"
                     " ON CONFLICT DO UPDATE SET held = 1",
    [APPLIED_LAST] = "SELECT max(segment) FROM applied WHERE log = ?1",
    [APPLIED_NEXT] = "SELECT log, segment, offset, sealed, dead, dead_us FROM applied"
                     " WHERE (log, segment) > (?1, ?2) AND dead > 0 AND held = 0 ORDER BY log, segment LIMIT 1",
    [MESSAGE_MOVE] = "UPDATE message SET log = ?3, segment = ?4, offset = ?5"
                     " WHERE mailbox = ?1 AND uid = ?2 AND log = ?6 AND segment = ?7 AND offset = ?8",
    [PLACE_USED] = "SELECT 1 FROM message WHERE log = ?1 AND segment = ?2 AND offset = ?3 LIMIT 1",
    [SEGMENT_USED] = "SELECT 1 FROM message WHERE log = ?1 AND segment = ?2 LIMIT 1",
    [SEGMENT_WALK] = "SELECT offset, mailbox, uid, content_len, meta_len FROM message"
                     " WHERE log = ?1 AND segment = ?2 AND (offset, mailbox, uid) > (?3, ?4, ?5)"
                     " ORDER BY offset, mailbox, uid LIMIT ?6",
    [GAP_ADD] = "INSERT OR REPLACE INTO gap VALUES(?1, ?2, ?3, ?4)",
    [GAP_EXTEND] = "UPDATE gap SET stop = ?4 WHERE log = ?1 AND segment = ?2 AND stop = ?3",
    [GAP_FIND] = "SELECT start, stop FROM gap WHERE log = ?1 AND segment = ?2 AND start <= ?3 AND stop >= ?4 LIMIT 1",
    [GAP_DROP] = "DELETE FROM gap WHERE log = ?1 AND segment = ?2 AND start = ?3",
    [GAP_FIRST] = "SELECT log, segment, start, stop FROM gap ORDER BY log, segment, start LIMIT 1",
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
};

struct value {
    enum { INTEGER, BLOB } type;
    int64_t integer;
    str blob;
};
#define I(v) ((struct value){ .type = INTEGER, .integer = (int64_t)(v) })
#define B(s) ((struct value){ .type = BLOB, .blob = (s) })
#define VALUES(...) (const struct value[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct value[]){ __VA_ARGS__ }))

static int error_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK: case SQLITE_ROW: case SQLITE_DONE:
        return 0;
    case SQLITE_CORRUPT: case SQLITE_NOTADB: case SQLITE_CONSTRAINT: case SQLITE_SCHEMA: case SQLITE_ERROR:
    case SQLITE_MISMATCH:
        return -EBADMSG; /* statements that were prepared fail so only on a database that is not what we made */
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* Binds and steps once. 1 a row (reset by the caller), 0 done and reset, negative errno and reset. */
static int run(struct index *ix, enum statement which, const struct value *values, size_t n)
{
    sqlite3_stmt *s = ix->stmt[which];
    int rc = SQLITE_OK;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        int at = (int)i + 1;
        str b = values[i].blob;
        if (values[i].type == INTEGER)
            rc = sqlite3_bind_int64(s, at, values[i].integer);
        else
            rc = b.n ? sqlite3_bind_blob64(s, at, b.p, b.n, SQLITE_STATIC) : sqlite3_bind_zeroblob(s, at, 0);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        return 1;
    sqlite3_reset(s);
    return error_of(rc);
}

/* The same for statements that change rows: how many. */
static int change(struct index *ix, enum statement which, const struct value *values, size_t n)
{
    int r = run(ix, which, values, n);
    if (r == 1)
        sqlite3_reset(ix->stmt[which]);
    return r < 0 ? r : sqlite3_changes(ix->db);
}

static uint64_t column(sqlite3_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s, i);
}

static str column_blob(sqlite3_stmt *s, int i)
{
    const void *p = sqlite3_column_blob(s, i);
    return str_of(p, p ? (size_t)sqlite3_column_bytes(s, i) : 0);
}

static void done(struct index *ix, enum statement which)
{
    sqlite3_reset(ix->stmt[which]);
}

static int load_state(struct index *ix)
{
    int r = run(ix, META_GET, NULL, 0);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    sqlite3_stmt *s = ix->stmt[META_GET];
    ix->committed = (struct index_state){
        .lsn = column(s, 0), .messages = column(s, 1), .mailboxes = column(s, 2), .gaps = column(s, 3),
        .placed = column(s, 4), .expunged = column(s, 5), .unplaced = column(s, 6), .last_mailbox = column(s, 7),
        .last_uidvalidity = (uint32_t)column(s, 8),
    };
    done(ix, META_GET);
    ix->working = ix->committed;
    return 0;
}

static int prepare(struct index *ix, enum statement which)
{
    return error_of(sqlite3_prepare_v3(ix->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &ix->stmt[which], NULL));
}

/* 1 if the database is empty, 0 if it is of our format. */
static int look_at_format(struct index *ix)
{
    int r = prepare(ix, VERSION);
    if (r == 0)
        r = run(ix, VERSION, NULL, 0);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    uint64_t version = column(ix->stmt[VERSION], 0);
    done(ix, VERSION);
    return version == 0 ? 1 : version == FORMAT ? 0 : -EBADMSG;
}

static int set_up(struct index *ix)
{
    int r = error_of(sqlite3_exec(ix->db, setup, NULL, NULL, NULL));
    if (r == 0)
        r = look_at_format(ix);
    if (r == 1)
        r = error_of(sqlite3_exec(ix->db, schema, NULL, NULL, NULL));
    for (int i = 0; i < STATEMENTS && r == 0; i++)
        r = i == VERSION ? 0 : prepare(ix, (enum statement)i);
    return r < 0 ? r : load_state(ix);
}

static int open_path(const char *path, struct index **out)
{
    struct index *ix = calloc(1, sizeof(*ix));
    if (!ix)
        return -ENOMEM;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int r = error_of(sqlite3_open_v2(path, &ix->db, flags, NULL));
    if (r == 0)
        sqlite3_db_config(ix->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (r == 0)
        r = set_up(ix);
    if (r < 0) {
        index_close(ix);
        return r;
    }
    *out = ix;
    return 0;
}

int index_open(int dir_fd, struct index **out)
{
    /* made here for its mode; SQLite gives its other files the same */
    int fd = openat(dir_fd, "index.db", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ELOOP || errno == EISDIR ? -EBADMSG : -errno;
    close(fd);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/index.db", dir_fd);
    return open_path(path, out);
}

int index_open_temporary(struct index **out)
{
    return open_path("", out);
}

static void forget_logs(struct index *ix)
{
    for (size_t i = 0; i < ix->n_logs; i++)
        free(ix->logs[i].name);
    free(ix->logs);
    ix->logs = NULL;
    ix->n_logs = 0;
}

void index_close(struct index *ix)
{
    if (!ix)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(ix->stmt[i]);
    sqlite3_close(ix->db);
    forget_logs(ix);
    free(ix->gap_log);
    free(ix);
}

int index_discard(int dir_fd)
{
    static const char *const names[] = { "index.db-wal", "index.db-shm", "index.db-journal", "index.db" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (unlinkat(dir_fd, names[i], 0) < 0 && errno != ENOENT)
            return -errno;
    return fsync(dir_fd) < 0 ? -errno : 0; /* else a power cut might bring the old one back */
}

const struct index_state *index_state(const struct index *ix)
{
    return &ix->committed;
}

struct index_state *index_working(struct index *ix)
{
    return &ix->working;
}

struct index_cursor *index_cursor(struct index *ix)
{
    return &ix->cursor;
}

int index_begin(struct index *ix)
{
    ix->working = ix->committed;
    ix->cursor = (struct index_cursor){ 0 };
    return run(ix, BEGIN, NULL, 0);
}

static int cursor_store(struct index *ix)
{
    struct index_cursor *c = &ix->cursor;
    if (!c->valid || !c->changed)
        return 0;
    c->changed = false;
    return change(ix, APPLIED_SET, VALUES(I(c->log), I(c->segment), I(c->offset), I(c->sealed)));
}

int index_commit(struct index *ix)
{
    const struct index_state *w = &ix->working;
    int r = cursor_store(ix);
    if (r >= 0)
        r = change(ix, META_SET, VALUES(I(w->lsn), I(w->messages), I(w->mailboxes), I(w->gaps), I(w->placed),
                                        I(w->expunged), I(w->unplaced), I(w->last_mailbox), I(w->last_uidvalidity)));
    if (r >= 0)
        r = run(ix, COMMIT, NULL, 0);
    if (r < 0)
        return r;
    ix->committed = ix->working;
    return 0;
}

void index_rollback(struct index *ix)
{
    if (!sqlite3_get_autocommit(ix->db))
        run(ix, ROLLBACK, NULL, 0);
    forget_logs(ix); /* a name may have been added */
    ix->working = ix->committed;
    ix->cursor = (struct index_cursor){ 0 };
}

static int remember_log(struct index *ix, uint64_t id, str name)
{
    if (ix->n_logs >= LOGS_MAX)
        return -EBADMSG;
    struct log_name *more = realloc(ix->logs, (ix->n_logs + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    ix->logs = more;
    char *copy = malloc(name.n + 1);
    if (!copy)
        return -ENOMEM;
    if (name.n)
        memcpy(copy, name.p, name.n);
    ix->logs[ix->n_logs++] = (struct log_name){ .id = id, .name = copy, .n = name.n };
    return 1;
}

/* 1 with the log's id, 0 if it is not known. */
static int log_find(struct index *ix, str name, uint64_t *out)
{
    for (size_t i = 0; i < ix->n_logs; i++)
        if (str_eq(str_of(ix->logs[i].name, ix->logs[i].n), name)) {
            *out = ix->logs[i].id;
            return 1;
        }
    int r = run(ix, LOG_ID, VALUES(B(name)));
    if (r != 1)
        return r;
    *out = column(ix->stmt[LOG_ID], 0);
    done(ix, LOG_ID);
    return remember_log(ix, *out, name);
}

static int log_name(struct index *ix, uint64_t id, str *out)
{
    for (size_t i = 0; i < ix->n_logs; i++)
        if (ix->logs[i].id == id) {
            *out = str_of(ix->logs[i].name, ix->logs[i].n);
            return 0;
        }
    int r = run(ix, LOG_NAME, VALUES(I(id)));
    if (r != 1)
        return r < 0 ? r : -EBADMSG;
    r = remember_log(ix, id, column_blob(ix->stmt[LOG_NAME], 0));
    done(ix, LOG_NAME);
    return r < 0 ? r : log_name(ix, id, out);
}

static int applied_get(struct index *ix, uint64_t log, uint64_t segment, uint64_t *out_offset, bool *out_sealed)
{
    *out_offset = SEGMENT_HEADER_SIZE;
    *out_sealed = false;
    int r = run(ix, APPLIED_GET, VALUES(I(log), I(segment)));
    if (r != 1)
        return r;
    *out_offset = column(ix->stmt[APPLIED_GET], 0);
    *out_sealed = column(ix->stmt[APPLIED_GET], 1) != 0;
    done(ix, APPLIED_GET);
    return 1;
}

int index_row_cursor_load(struct index *ix, str log, uint64_t segment)
{
    struct index_cursor *c = &ix->cursor;
    uint64_t id;
    int r = log_find(ix, log, &id);
    if (r == 0) {
        r = change(ix, LOG_ADD, VALUES(B(log)));
        id = (uint64_t)sqlite3_last_insert_rowid(ix->db);
        if (r >= 0)
            r = remember_log(ix, id, log);
    }
    if (r < 0)
        return r;
    if (c->valid && c->log == id && c->segment == segment)
        return 0;
    r = cursor_store(ix);
    if (r < 0)
        return r;
    *c = (struct index_cursor){ .valid = true, .log = id, .segment = segment };
    return MIN(applied_get(ix, id, segment, &c->offset, &c->sealed), 0);
}

int index_applied(struct index *ix, str log, uint64_t segment, uint64_t *out_offset, bool *out_sealed)
{
    uint64_t id;
    *out_offset = SEGMENT_HEADER_SIZE;
    *out_sealed = false;
    int r = log_find(ix, log, &id);
    return r == 1 ? applied_get(ix, id, segment, out_offset, out_sealed) : r;
}

int index_row_mailbox_add(struct index *ix, const struct journal_mailbox_created *m)
{
    return change(ix, MAILBOX_ADD, VALUES(I(m->id), B(m->account), B(m->name), I(m->uidvalidity)));
}

int index_row_mailbox_placed(struct index *ix, uint64_t mailbox, uint32_t uid)
{
    return change(ix, MAILBOX_PLACED, VALUES(I(mailbox), I(uid)));
}

int index_row_mailbox_dropped(struct index *ix, uint64_t mailbox, uint64_t n)
{
    return change(ix, MAILBOX_DROPPED, VALUES(I(mailbox), I(n)));
}

int index_row_mailboxes_jump(struct index *ix, uint32_t by)
{
    return change(ix, MAILBOX_JUMP, VALUES(I(by)));
}

int index_row_message_add(struct index *ix, uint64_t lsn, const struct journal_delivered *d,
                          const struct journal_placement *p)
{
    return change(ix, MESSAGE_ADD, VALUES(I(p->mailbox), I(p->uid), I(lsn), I(ix->cursor.log), I(d->segment),
                                          I(d->offset), I(d->content_len), I(d->meta_len), I(d->received_us),
                                          B(str_of(d->session, sizeof(d->session))), I(d->number), B(p->prefix)));
}

static int exists(struct index *ix, enum statement which, int r)
{
    if (r == 1)
        done(ix, which);
    return r;
}

static uint64_t record_length(uint64_t content_len, uint64_t meta_len)
{
    return record_end(&(struct record_header){ .content_len = content_len, .meta_len = (uint32_t)meta_len });
}

/* The bytes at that place count as dead, unless a message is still there. */
static int bury(struct index *ix, uint64_t log, struct log_position at, uint64_t length, uint64_t now_us)
{
    int r = exists(ix, PLACE_USED, run(ix, PLACE_USED, VALUES(I(log), I(at.segment), I(at.offset))));
    if (r != 0)
        return MIN(r, 0);
    return MIN(change(ix, APPLIED_DEAD, VALUES(I(log), I(at.segment), I(length), I(MAX(now_us, 1u)))), 0);
}

int index_row_message_drop(struct index *ix, uint64_t mailbox, uint32_t uid, uint64_t now_us)
{
    int r = run(ix, MESSAGE_DROP, VALUES(I(mailbox), I(uid)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[MESSAGE_DROP];
    uint64_t log = column(s, 0), length = record_length(column(s, 3), column(s, 4));
    struct log_position at = { column(s, 1), column(s, 2) };
    r = error_of(sqlite3_step(s));
    done(ix, MESSAGE_DROP);
    if (r == 0)
        r = bury(ix, log, at, length, now_us);
    return r < 0 ? r : 1;
}

int index_row_held(struct index *ix)
{
    return change(ix, APPLIED_HELD, VALUES(I(ix->cursor.log), I(ix->cursor.segment)));
}

static int move_message(struct index *ix, uint64_t log, const struct journal_relocated *m, const struct journal_move *v)
{
    uint64_t to = ix->cursor.log;
    struct log_position from = { m->segment, v->from }, there = { m->to_segment, v->to };
    int r = change(ix, MESSAGE_MOVE, VALUES(I(v->mailbox), I(v->uid), I(to), I(m->to_segment), I(v->to), I(log),
                                            I(m->segment), I(v->from)));
    return r < 0 ? r : r ? bury(ix, log, from, v->length, 0) : bury(ix, to, there, v->length, 0);
}

int index_row_relocate(struct index *ix, const struct journal_relocated *m)
{
    uint64_t log;
    int r = log_find(ix, m->log, &log);
    if (r != 1)
        return r; /* nothing of an unknown log is in a mailbox */
    for (size_t i = 0; i < m->n && r >= 0; i++)
        r = move_message(ix, log, m, &m->moves[i]);
    return MIN(r, 0);
}

int index_segment_last(struct index *ix, str log, uint64_t *out)
{
    uint64_t id;
    *out = 0;
    int r = log_find(ix, log, &id);
    if (r == 1)
        r = run(ix, APPLIED_LAST, VALUES(I(id)));
    if (r != 1)
        return r;
    *out = column(ix->stmt[APPLIED_LAST], 0);
    done(ix, APPLIED_LAST);
    return 0;
}

int index_segment_next(struct index *ix, struct index_segment *inout)
{
    int r = run(ix, APPLIED_NEXT, VALUES(I(inout->log), I(inout->segment)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[APPLIED_NEXT];
    *inout = (struct index_segment){ .log = column(s, 0), .segment = column(s, 1), .end = column(s, 2),
                                     .sealed = column(s, 3) != 0, .dead = column(s, 4), .dead_us = column(s, 5) };
    done(ix, APPLIED_NEXT);
    r = log_name(ix, inout->log, &inout->name);
    if (r == 0)
        r = exists(ix, SEGMENT_USED, run(ix, SEGMENT_USED, VALUES(I(inout->log), I(inout->segment))));
    inout->used = r == 1;
    return r < 0 ? r : 1;
}

int index_segment_walk(struct index *ix, const struct index_segment *g, struct journal_move *last, size_t max,
                       int (*each)(void *arg, const struct journal_move *m), void *arg)
{
    int n = 0, r = run(ix, SEGMENT_WALK, VALUES(I(g->log), I(g->segment), I(last->from), I(last->mailbox),
                                                I(last->uid), I(max)));
    while (r == 1) {
        sqlite3_stmt *s = ix->stmt[SEGMENT_WALK];
        *last = (struct journal_move){ .from = column(s, 0), .mailbox = column(s, 1), .uid = (uint32_t)column(s, 2),
                                       .length = record_length(column(s, 3), column(s, 4)) };
        r = each(arg, last);
        n++;
        if (r == 0) {
            int rc = sqlite3_step(s);
            r = rc == SQLITE_ROW ? 1 : error_of(rc);
        }
    }
    done(ix, SEGMENT_WALK);
    return r < 0 ? r : n;
}

int index_row_gap_add(struct index *ix, uint64_t from, uint64_t to)
{
    uint64_t log = ix->cursor.log, segment = ix->cursor.segment;
    int r = change(ix, GAP_EXTEND, VALUES(I(log), I(segment), I(from), I(to)));
    if (r != 0)
        return r;
    r = change(ix, GAP_ADD, VALUES(I(log), I(segment), I(from), I(to)));
    ix->working.gaps += r == 1;
    return r;
}

int index_row_gap_take(struct index *ix, uint64_t offset, uint64_t end, uint64_t *out_from, uint64_t *out_to)
{
    uint64_t log = ix->cursor.log, segment = ix->cursor.segment;
    int r = run(ix, GAP_FIND, VALUES(I(log), I(segment), I(offset), I(end)));
    if (r != 1)
        return r;
    uint64_t from = column(ix->stmt[GAP_FIND], 0), to = column(ix->stmt[GAP_FIND], 1);
    done(ix, GAP_FIND);
    r = change(ix, GAP_DROP, VALUES(I(log), I(segment), I(from)));
    if (r < 0)
        return r;
    ix->working.gaps--;
    *out_from = from;
    *out_to = to;
    return 1;
}

int index_gap(struct index *ix, struct index_gap *out)
{
    int r = run(ix, GAP_FIRST, NULL, 0);
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[GAP_FIRST];
    uint64_t log = column(s, 0);
    struct index_gap gap = { .segment = column(s, 1), .from = column(s, 2), .to = column(s, 3) };
    done(ix, GAP_FIRST);
    r = log_name(ix, log, &gap.log);
    if (r < 0)
        return r;
    free(ix->gap_log);
    ix->gap_log = malloc(gap.log.n + 1);
    if (!ix->gap_log)
        return -ENOMEM;
    memcpy(ix->gap_log, gap.log.p, gap.log.n);
    gap.log.p = ix->gap_log;
    *out = gap;
    return 1;
}

static int mailbox_row(struct index *ix, enum statement which, int r, struct index_mailbox *out)
{
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[which];
    *out = (struct index_mailbox){
        .id = column(s, 0), .uidvalidity = (uint32_t)column(s, 1), .uidnext = (uint32_t)column(s, 2),
        .messages = column(s, 3),
    };
    done(ix, which);
    return 1;
}

int index_mailbox_named(struct index *ix, str account, str name, struct index_mailbox *out)
{
    return mailbox_row(ix, MAILBOX_NAMED, run(ix, MAILBOX_NAMED, VALUES(B(account), B(name))), out);
}

int index_mailbox_get(struct index *ix, uint64_t id, struct index_mailbox *out)
{
    return mailbox_row(ix, MAILBOX_GET, run(ix, MAILBOX_GET, VALUES(I(id))), out);
}

int index_message_exists(struct index *ix, uint64_t mailbox, uint32_t uid)
{
    return exists(ix, MESSAGE_EXISTS, run(ix, MESSAGE_EXISTS, VALUES(I(mailbox), I(uid))));
}

int index_message_placed(struct index *ix, uint64_t mailbox, str log, struct log_position at)
{
    uint64_t id;
    int r = log_find(ix, log, &id);
    if (r != 1)
        return r;
    return exists(ix, MESSAGE_PLACED, run(ix, MESSAGE_PLACED, VALUES(I(mailbox), I(id), I(at.segment), I(at.offset))));
}

static int walk_row(struct index *ix, sqlite3_stmt *s, int (*each)(void *arg, const struct index_message *m), void *arg)
{
    struct index_message m = {
        .mailbox = column(s, 0), .uid = (uint32_t)column(s, 1), .lsn = column(s, 2),
        .position = { .segment = column(s, 4), .offset = column(s, 5) },
        .content_len = column(s, 6), .meta_len = (uint32_t)column(s, 7), .received_us = column(s, 8),
        .session = column_blob(s, 9), .number = (uint32_t)column(s, 10), .prefix = column_blob(s, 11),
    };
    if (m.session.n != 16)
        return -EBADMSG;
    int r = log_name(ix, column(s, 3), &m.log);
    return r < 0 ? r : each(arg, &m);
}

int index_walk(struct index *ix, uint64_t mailbox, int (*each)(void *arg, const struct index_message *m), void *arg)
{
    enum statement which = mailbox ? MESSAGE_WALK : MESSAGE_WALK_ALL;
    const struct value id = I(mailbox);
    int r = run(ix, which, &id, mailbox ? 1 : 0);
    while (r == 1) {
        r = walk_row(ix, ix->stmt[which], each, arg);
        if (r < 0) {
            done(ix, which);
            return r;
        }
        int rc = sqlite3_step(ix->stmt[which]);
        r = rc == SQLITE_ROW ? 1 : error_of(rc);
        if (r != 1)
            done(ix, which);
    }
    return r;
}

/* One table of two indexes, row by row in the order of its first `keys` columns. */
struct comparison {
    const char *table, *query;
    int keys;
};

static const struct comparison comparisons[] = {
    { "meta", "SELECT * FROM meta ORDER BY id", 1 },
    { "log", "SELECT * FROM log ORDER BY id", 1 },
    { "mailbox", "SELECT * FROM mailbox ORDER BY id", 1 },
    { "message", "SELECT * FROM message ORDER BY mailbox, uid", 2 },
    { "applied", "SELECT * FROM applied ORDER BY log, segment", 2 },
    { "gap", "SELECT * FROM gap ORDER BY log, segment, start", 3 },
};

static int compare_keys(sqlite3_stmt *a, sqlite3_stmt *b, int keys)
{
    for (int i = 0; i < keys; i++) {
        int64_t x = sqlite3_column_int64(a, i), y = sqlite3_column_int64(b, i);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return 0;
}

static bool same_row(sqlite3_stmt *a, sqlite3_stmt *b)
{
    int n = sqlite3_column_count(a);
    for (int i = 0; i < n; i++) {
        if (sqlite3_column_type(a, i) != sqlite3_column_type(b, i) ||
            sqlite3_column_int64(a, i) != sqlite3_column_int64(b, i) ||
            !str_eq(column_blob(a, i), column_blob(b, i)))
            return false;
    }
    return n == sqlite3_column_count(b);
}

static void say_row(const struct comparison *c, sqlite3_stmt *row, const char *what,
                    void (*say)(void *arg, str sentence), void *arg)
{
    _cleanup_buf_ struct buf text = BUF(256);
    buf_addf(&text, "index: table %s, row", c->table);
    for (int i = 0; i < c->keys; i++)
        buf_addf(&text, " %lld", (long long)sqlite3_column_int64(row, i));
    buf_addf(&text, " %s", what);
    say(arg, buf_str(&text));
}

static int compare_rows(const struct comparison *c, sqlite3_stmt *a, sqlite3_stmt *b,
                        void (*say)(void *arg, str sentence), void *arg)
{
    int said = 0, ra = sqlite3_step(a), rb = sqlite3_step(b);
    while ((ra == SQLITE_ROW || rb == SQLITE_ROW) && said < DIFFERENCES_SAID) {
        if ((ra != SQLITE_ROW && ra != SQLITE_DONE) || (rb != SQLITE_ROW && rb != SQLITE_DONE))
            break;
        int order = ra != SQLITE_ROW ? 1 : rb != SQLITE_ROW ? -1 : compare_keys(a, b, c->keys);
        const char *what = order < 0 ? "is not what the journal says: it should not be there"
                         : order > 0 ? "is missing" : same_row(a, b) ? NULL : "differs from what the journal says";
        if (what) {
            say_row(c, order > 0 ? b : a, what, say, arg);
            said++;
        }
        ra = order <= 0 ? sqlite3_step(a) : ra;
        rb = order >= 0 ? sqlite3_step(b) : rb;
    }
    int r = error_of(ra);
    return r < 0 ? r : error_of(rb) < 0 ? error_of(rb) : said;
}

int index_compare(struct index *a, struct index *b, void (*say)(void *arg, str sentence), void *arg)
{
    int said = 0;
    for (size_t i = 0; i < ARRAY_LEN(comparisons); i++) {
        const struct comparison *c = &comparisons[i];
        sqlite3_stmt *sa = NULL, *sb = NULL;
        int r = error_of(sqlite3_prepare_v2(a->db, c->query, -1, &sa, NULL));
        if (r == 0)
            r = error_of(sqlite3_prepare_v2(b->db, c->query, -1, &sb, NULL));
        if (r == 0)
            r = compare_rows(c, sa, sb, say, arg);
        sqlite3_finalize(sa);
        sqlite3_finalize(sb);
        if (r < 0)
            return r;
        said += r;
    }
    return said;
}
