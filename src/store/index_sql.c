/* The database under the index: see index_sql.h. Every SQL statement of the store stands in this file, but those that
 * compare two indexes (index_compare.c). Numbers are 64-bit integers, text is blobs (compared byte by byte). */
#include "store/index_sql.h"
#include <errno.h>

#define FORMAT 6

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
    " placed INTEGER, expunged INTEGER, unplaced INTEGER, last_mailbox INTEGER, last_uidvalidity INTEGER,"
    " modseq_jump INTEGER);"
    "INSERT INTO meta VALUES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);"
    "CREATE TABLE log(id INTEGER PRIMARY KEY, name BLOB UNIQUE);"
    "CREATE TABLE mailbox(id INTEGER PRIMARY KEY, account BLOB, name BLOB, uidvalidity INTEGER,"
    " uidnext INTEGER DEFAULT 1, messages INTEGER DEFAULT 0, modseq INTEGER, unseen INTEGER DEFAULT 0,"
    " deleted INTEGER DEFAULT 0, bytes INTEGER DEFAULT 0, deleted_bytes INTEGER DEFAULT 0, use INTEGER DEFAULT 0,"
    " recent INTEGER DEFAULT 1, n_recent INTEGER DEFAULT 0, modseq_floor INTEGER DEFAULT 0,"
    " vanished_floor INTEGER DEFAULT 0, vanished INTEGER DEFAULT 0, UNIQUE(account, name));"
    "CREATE TABLE keyword(mailbox INTEGER, bit INTEGER, name BLOB, PRIMARY KEY(mailbox, bit)) WITHOUT ROWID;"
    "CREATE TABLE vanished(mailbox INTEGER, modseq INTEGER, first INTEGER, last INTEGER,"
    " PRIMARY KEY(mailbox, modseq, first)) WITHOUT ROWID;"
    "CREATE TABLE subscription(account BLOB, name BLOB, PRIMARY KEY(account, name)) WITHOUT ROWID;"
    "CREATE TABLE account(name BLOB PRIMARY KEY) WITHOUT ROWID;" /* those that were prepared */
    "CREATE TABLE message(mailbox INTEGER, uid INTEGER, lsn INTEGER, log INTEGER, segment INTEGER, offset INTEGER,"
    " content_len INTEGER, meta_len INTEGER, received_us INTEGER, session BLOB, number INTEGER, prefix BLOB,"
    " flags INTEGER, keywords INTEGER, modseq INTEGER, date_s INTEGER, zone INTEGER,"
    " PRIMARY KEY(mailbox, uid)) WITHOUT ROWID;"
    "CREATE INDEX message_place ON message(log, segment, offset);"
    "CREATE TABLE applied(log INTEGER, segment INTEGER, offset INTEGER, sealed INTEGER,"
    " dead INTEGER DEFAULT 0, dead_us INTEGER DEFAULT 0, held INTEGER DEFAULT 0,"
    " PRIMARY KEY(log, segment)) WITHOUT ROWID;"
    "CREATE TABLE gap(log INTEGER, segment INTEGER, start INTEGER, stop INTEGER,"
    " PRIMARY KEY(log, segment, start)) WITHOUT ROWID;"
    "CREATE TABLE card(log INTEGER, segment INTEGER, offset INTEGER, content_len INTEGER, card BLOB,"
    " PRIMARY KEY(log, segment, offset)) WITHOUT ROWID;"
    "CREATE INDEX card_wanted ON card(log, segment, offset) WHERE card IS NULL;"
    "CREATE TABLE queue(lsn INTEGER PRIMARY KEY, log INTEGER, segment INTEGER, offset INTEGER, content_len INTEGER,"
    " meta_len INTEGER, received_us INTEGER, session BLOB, number INTEGER, sender BLOB, envid BLOB, ret INTEGER,"
    " body INTEGER, priority INTEGER, flags INTEGER);"
    "CREATE INDEX queue_place ON queue(log, segment, offset);"
    "CREATE TABLE queued(message INTEGER, idx INTEGER, grp INTEGER, state INTEGER, outcome INTEGER, notify INTEGER,"
    " owed INTEGER, event INTEGER, address BLOB, original BLOB, orcpt BLOB, sender BLOB, alias BLOB, due INTEGER,"
    " attempts INTEGER, code INTEGER, status BLOB, text BLOB, mta BLOB, tls BLOB, at_us INTEGER, redirect BLOB,"
    " delay_told INTEGER, via BLOB, user BLOB, PRIMARY KEY(message, idx)) WITHOUT ROWID;"
    "CREATE INDEX queued_due ON queued(due, message, idx) WHERE state = 0;"
    "CREATE INDEX queued_owed ON queued(event, message) WHERE event > 0;"
    "CREATE TABLE attempt(message INTEGER, idx INTEGER, attempts INTEGER, at_us INTEGER, outcome INTEGER,"
    " code INTEGER, status BLOB, text BLOB, mta BLOB, tls BLOB, PRIMARY KEY(message, idx, attempts)) WITHOUT ROWID;"
    "CREATE TABLE paused(id INTEGER PRIMARY KEY, destination BLOB UNIQUE);"
    "PRAGMA user_version=6;"
    "COMMIT;";

#define MESSAGE_COLUMNS \
    "mailbox, uid, lsn, log, segment, offset, content_len, meta_len, received_us, session, number, prefix," \
    " flags, keywords, modseq, date_s, zone"
#define MAILBOX_COLUMNS \
    "id, uidvalidity, uidnext, messages, modseq, unseen, deleted, bytes, deleted_bytes, use, recent, n_recent," \
    " modseq_floor, vanished_floor"

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [VERSION] = "PRAGMA user_version",
    [META_GET] = "SELECT lsn, messages, mailboxes, gaps, placed, expunged, unplaced, last_mailbox, last_uidvalidity,"
                 " modseq_jump FROM meta WHERE id = 1",
    [META_SET] = "UPDATE meta SET lsn = ?1, messages = ?2, mailboxes = ?3, gaps = ?4, placed = ?5, expunged = ?6,"
                 " unplaced = ?7, last_mailbox = ?8, last_uidvalidity = ?9, modseq_jump = ?10 WHERE id = 1",
    [LOG_ID] = "SELECT id FROM log WHERE name = ?1",
    [LOG_ADD] = "INSERT INTO log(name) VALUES(?1)",
    [LOG_NAME] = "SELECT name FROM log WHERE id = ?1",
    [MAILBOX_ADD] = "INSERT OR IGNORE INTO mailbox(id, account, name, uidvalidity, modseq) VALUES(?1, ?2, ?3, ?4, ?5)",
    [MAILBOX_NAMED] = "SELECT " MAILBOX_COLUMNS " FROM mailbox WHERE account = ?1 AND name = ?2",
    [MAILBOX_GET] = "SELECT " MAILBOX_COLUMNS " FROM mailbox WHERE id = ?1",
    [MAILBOX_TITLE] = "SELECT account, name FROM mailbox WHERE id = ?1",
    [MAILBOX_CHANGE] = "UPDATE mailbox SET modseq = max(modseq, ?2), uidnext = max(uidnext, ?3),"
                       " messages = messages + ?4, unseen = unseen + ?5, deleted = deleted + ?6, bytes = bytes + ?7,"
                       " deleted_bytes = deleted_bytes + ?8, n_recent = n_recent + ?9 WHERE id = ?1",
    [MAILBOX_JUMP] = "UPDATE mailbox SET uidnext = min(uidnext + ?1, 4294967294), modseq = ?2, modseq_floor = ?2,"
                     " vanished_floor = ?2, vanished = 0",
    [MAILBOX_BELOW] = "SELECT id, name FROM mailbox WHERE account = ?1 AND name >= ?2 AND name < ?3 ORDER BY name",
    [MAILBOX_RENAME] = "UPDATE mailbox SET name = ?2 WHERE id = ?1",
    [MAILBOX_DROP] = "DELETE FROM mailbox WHERE id = ?1",
    [MAILBOX_USE] = "UPDATE mailbox SET use = ?2 WHERE id = ?1",
    [MAILBOX_USED] = "SELECT 1 FROM mailbox WHERE account = ?1 AND use = ?2 LIMIT 1",
    [MAILBOX_COUNT] = "SELECT count(*) FROM mailbox WHERE account = ?1",
    [MAILBOX_RECENT] = "UPDATE mailbox SET recent = ?2, n_recent = ?3 WHERE id = ?1",
    [MAILBOX_VANISHED] = "UPDATE mailbox SET vanished = vanished + ?2 WHERE id = ?1 RETURNING vanished",
    [MAILBOX_FLOOR] = "UPDATE mailbox SET vanished = vanished - ?2, vanished_floor = ?3 WHERE id = ?1",
    [USAGE] = "SELECT sum(bytes), sum(messages) FROM mailbox WHERE account = ?1",
    [FOLDER_WALK] = "SELECT m.name, m.id, m.uidvalidity, m.uidnext, m.messages, m.modseq, m.unseen, m.deleted, m.bytes,"
                    " m.deleted_bytes, m.use, m.n_recent, EXISTS(SELECT 1 FROM subscription s"
                    " WHERE s.account = ?1 AND s.name = m.name) FROM mailbox m WHERE m.account = ?1 AND m.name > ?2"
                    " UNION ALL SELECT s.name, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM subscription s"
                    " WHERE s.account = ?1 AND s.name > ?2 AND NOT EXISTS(SELECT 1 FROM mailbox m"
                    " WHERE m.account = ?1 AND m.name = s.name) ORDER BY 1 LIMIT ?3",
    [KEYWORD_ADD] = "INSERT INTO keyword VALUES(?1, ?2, ?3)",
    [KEYWORD_WALK] = "SELECT name FROM keyword WHERE mailbox = ?1 ORDER BY bit",
    [KEYWORD_DROP] = "DELETE FROM keyword WHERE mailbox = ?1",
    [VANISHED_ADD] = "INSERT OR REPLACE INTO vanished VALUES(?1, ?2, ?3, ?4)",
    [VANISHED_WALK] =
        "SELECT first, last FROM vanished WHERE mailbox = ?1 AND modseq > ?2 AND last > ?3 ORDER BY first",
    [VANISHED_OLD] = "SELECT modseq FROM vanished WHERE mailbox = ?1 ORDER BY modseq LIMIT 1 OFFSET ?2",
    [VANISHED_PRUNE] = "DELETE FROM vanished WHERE mailbox = ?1 AND modseq <= ?2",
    [VANISHED_CLEAR] = "DELETE FROM vanished",
    [SUBSCRIPTION_ADD] = "INSERT OR IGNORE INTO subscription VALUES(?1, ?2)",
    [SUBSCRIPTION_DROP] = "DELETE FROM subscription WHERE account = ?1 AND name = ?2",
    [SUBSCRIPTION_GET] = "SELECT 1 FROM subscription WHERE account = ?1 AND name = ?2",
    [SUBSCRIPTION_COUNT] = "SELECT count(*) FROM subscription WHERE account = ?1",
    [ACCOUNT_ADD] = "INSERT OR IGNORE INTO account VALUES(?1)",
    [ACCOUNT_GET] = "SELECT 1 FROM account WHERE name = ?1",
    [MESSAGE_ADD] = "INSERT OR IGNORE INTO message VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
                    " ?15, ?16, ?17)",
    [MESSAGE_GET] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE mailbox = ?1 AND uid = ?2",
    [MESSAGE_RANGE] = "SELECT uid, flags, keywords, modseq, content_len + length(prefix) FROM message"
                      " WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4",
    [MESSAGE_COUNT] = "SELECT count(*) FROM message WHERE mailbox = ?1 AND uid >= ?2",
    [MESSAGE_FLAG] = "UPDATE message SET flags = ?3, keywords = ?4, modseq = ?5 WHERE mailbox = ?1 AND uid = ?2",
    [MESSAGE_DROP] = "DELETE FROM message WHERE mailbox = ?1 AND uid = ?2"
                     " RETURNING log, segment, offset, content_len, meta_len, flags, length(prefix)",
    [MESSAGE_EXISTS] = "SELECT 1 FROM message WHERE mailbox = ?1 AND uid = ?2",
    [MESSAGE_PLACED] = "SELECT 1 FROM message WHERE mailbox = ?1 AND log = ?2 AND segment = ?3 AND offset = ?4 LIMIT 1",
    [MESSAGE_RECORDS] = "SELECT uid, log, segment, offset, content_len, meta_len FROM message"
                        " WHERE mailbox = ?1 AND uid >= ?2 ORDER BY uid LIMIT ?3",
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
    [PLACE_USED] = "SELECT 1 FROM message WHERE log = ?1 AND segment = ?2 AND offset = ?3"
                   " UNION ALL SELECT 1 FROM queue WHERE log = ?1 AND segment = ?2 AND offset = ?3 LIMIT 1",
    [SEGMENT_USED] = "SELECT 1 FROM message WHERE log = ?1 AND segment = ?2"
                     " UNION ALL SELECT 1 FROM queue WHERE log = ?1 AND segment = ?2 LIMIT 1",
    [SEGMENT_WALK] = "SELECT offset, mailbox, uid, content_len, meta_len FROM message"
                     " WHERE log = ?1 AND segment = ?2 AND (offset, mailbox, uid) > (?3, ?4, ?5)"
                     " UNION ALL SELECT offset, 0, 0, content_len, meta_len FROM queue" /* no mailbox has number 0 */
                     " WHERE log = ?1 AND segment = ?2 AND offset > ?3 ORDER BY 1, 2, 3 LIMIT ?6",
    [GAP_ADD] = "INSERT OR REPLACE INTO gap VALUES(?1, ?2, ?3, ?4)",
    [GAP_EXTEND] = "UPDATE gap SET stop = ?4 WHERE log = ?1 AND segment = ?2 AND stop = ?3",
    [GAP_FIND] = "SELECT start, stop FROM gap WHERE log = ?1 AND segment = ?2 AND start <= ?3 AND stop >= ?4 LIMIT 1",
    [GAP_DROP] = "DELETE FROM gap WHERE log = ?1 AND segment = ?2 AND start = ?3",
    [GAP_FIRST] = "SELECT log, segment, start, stop FROM gap ORDER BY log, segment, start LIMIT 1",
    [QUEUE_ADD] = "INSERT OR REPLACE INTO queue VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
                  " ?15)",
    [QUEUE_GET] = "SELECT log, segment, offset, content_len, meta_len, received_us, session, number, sender, envid,"
                  " ret, body, priority, flags FROM queue WHERE lsn = ?1",
    [QUEUE_NEXT] = "SELECT lsn FROM queue WHERE lsn > ?1 ORDER BY lsn LIMIT 1",
    [QUEUE_HAS] = "SELECT 1 FROM queued WHERE message = ?1 LIMIT 1",
    [QUEUE_DROP] = "DELETE FROM queue WHERE lsn = ?1 RETURNING log, segment, offset, content_len, meta_len, flags",
    [QUEUE_MOVE] = "UPDATE queue SET log = ?1, segment = ?2, offset = ?3 WHERE log = ?4 AND segment = ?5"
                   " AND offset = ?6",
    [QUEUED_ADD] = "INSERT OR REPLACE INTO queued VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
                   " 0, 0, ?15, ?16, x'', x'', 0, x'', 0, ?17, ?18)",
    [QUEUED_COUNT] = "SELECT count(*) FROM queued WHERE message = ?1",
    [QUEUED_GET] = "SELECT idx, grp, state, outcome, notify, owed, event, address, original, orcpt, sender, alias, due,"
                   " attempts, code, status, text, mta, tls, at_us, redirect, delay_told, via, user FROM queued"
                   " WHERE message = ?1 ORDER BY idx",
    [QUEUED_DUE] = "SELECT d.due, d.message, d.idx, d.grp, d.attempts, d.notify, d.delay_told, d.address, d.redirect,"
                   " q.received_us, q.priority, q.sender, d.via, d.user FROM queued d JOIN queue q ON q.lsn = d.message"
                   " WHERE d.state = 0 AND (d.due, d.message, d.idx) > (?1, ?2, ?3) AND d.due <= ?4"
                   " ORDER BY d.due, d.message, d.idx LIMIT ?5",
    [QUEUED_SET] = "UPDATE queued SET outcome = ?3, attempts = ?4, due = ?5, code = ?6, status = ?7, text = ?8,"
                   " mta = ?9, tls = ?10, at_us = ?11 WHERE message = ?1 AND idx = ?2 AND state < 2",
    [QUEUED_END] = "UPDATE queued SET state = 2, owed = ?3, event = ?4 WHERE message = ?1 AND idx = ?2",
    [QUEUED_OWE] = "UPDATE queued SET owed = ?3, event = ?4, delay_told = 1 WHERE message = ?1 AND idx = ?2"
                   " AND state < 2",
    [QUEUED_DROP] = "DELETE FROM queued WHERE message = ?1 AND idx = ?2",
    [QUEUED_DROP_FINAL] = "DELETE FROM queued WHERE message = ?1 AND state = 2 AND event = 0",
    [QUEUED_HOLD] = "UPDATE queued SET state = 1 WHERE message = ?1 AND (?2 < 0 OR idx = ?2) AND state = 0",
    [QUEUED_RELEASE] = "UPDATE queued SET state = 0, due = ?3 WHERE message = ?1 AND (?2 < 0 OR idx = ?2)"
                       " AND state = 1",
    [QUEUED_RETRY] = "UPDATE queued SET due = ?3 WHERE message = ?1 AND (?2 < 0 OR idx = ?2) AND state = 0",
    [QUEUED_REDIRECT] = "UPDATE queued SET redirect = ?4, due = ?3 WHERE message = ?1 AND (?2 < 0 OR idx = ?2)"
                        " AND state < 2",
    [ATTEMPT_ADD] = "INSERT OR REPLACE INTO attempt VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [ATTEMPT_OLD] = "DELETE FROM attempt WHERE message = ?1 AND idx = ?2 AND attempts <= ?3",
    [ATTEMPT_DROP] = "DELETE FROM attempt WHERE message = ?1 AND idx = ?2",
    [ATTEMPT_DROP_LOST] = "DELETE FROM attempt WHERE message = ?1"
                          " AND idx NOT IN (SELECT idx FROM queued WHERE message = ?1)",
    [ATTEMPT_WALK] = "SELECT idx, attempts, at_us, outcome, code, status, text, mta, tls FROM attempt"
                     " WHERE message = ?1 ORDER BY idx, attempts",
    [OWED_CLEAR] = "UPDATE queued SET owed = 0, event = 0 WHERE message = ?1 AND event = ?2",
    [OWED_NEXT] = "SELECT event, message, owed FROM queued WHERE event > 0 AND event > ?1 ORDER BY event LIMIT 1",
    [PAUSED_ADD] = "INSERT OR IGNORE INTO paused(destination) VALUES(?1)",
    [PAUSED_DROP] = "DELETE FROM paused WHERE destination = ?1",
    [PAUSED_WALK] = "SELECT destination FROM paused ORDER BY id",
    [CARD_WANT] = "INSERT OR IGNORE INTO card VALUES(?1, ?2, ?3, ?4, NULL)",
    [CARD_NEXT] = "SELECT c.log, c.segment, c.offset, c.content_len, m.session, m.number FROM card c"
                  " LEFT JOIN message m ON m.log = c.log AND m.segment = c.segment AND m.offset = c.offset"
                  " WHERE c.card IS NULL ORDER BY c.log, c.segment, c.offset LIMIT 1",
    [CARD_SET] = "UPDATE card SET card = ?4 WHERE log = ?1 AND segment = ?2 AND offset = ?3 AND card IS NULL",
    [CARD_GET] = "SELECT card FROM card WHERE log = ?1 AND segment = ?2 AND offset = ?3",
    [CARD_MOVE] = "UPDATE OR REPLACE card SET log = ?1, segment = ?2, offset = ?3"
                  " WHERE log = ?4 AND segment = ?5 AND offset = ?6",
    [CARD_DROP] = "DELETE FROM card WHERE log = ?1 AND segment = ?2 AND offset = ?3",
};

int sql_error(int rc)
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

int sql_run(struct index *ix, enum statement which, const struct value *values, size_t n)
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
    return sql_error(rc);
}

int sql_change(struct index *ix, enum statement which, const struct value *values, size_t n)
{
    int r = sql_run(ix, which, values, n);
    if (r == 1)
        sqlite3_reset(ix->stmt[which]);
    return r < 0 ? r : sqlite3_changes(ix->db);
}

uint64_t sql_column(sqlite3_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s, i);
}

str sql_blob(sqlite3_stmt *s, int i)
{
    const void *p = sqlite3_column_blob(s, i);
    return str_of(p, p ? (size_t)sqlite3_column_bytes(s, i) : 0);
}

void sql_done(struct index *ix, enum statement which)
{
    sqlite3_reset(ix->stmt[which]);
}

int sql_exists(struct index *ix, enum statement which, int r)
{
    if (r == 1)
        sql_done(ix, which);
    return r;
}

static int prepare(struct index *ix, enum statement which)
{
    return sql_error(sqlite3_prepare_v3(ix->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &ix->stmt[which], NULL));
}

/* 1 if the database is empty, 0 if it is of our format. */
static int look_at_format(struct index *ix)
{
    int r = prepare(ix, VERSION);
    if (r == 0)
        r = sql_run(ix, VERSION, NULL, 0);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    uint64_t version = sql_column(ix->stmt[VERSION], 0);
    sql_done(ix, VERSION);
    return version == 0 ? 1 : version == FORMAT ? 0 : -EBADMSG;
}

int sql_set_up(struct index *ix)
{
    int r = sql_error(sqlite3_exec(ix->db, setup, NULL, NULL, NULL));
    if (r == 0)
        r = look_at_format(ix);
    if (r == 1)
        r = sql_error(sqlite3_exec(ix->db, schema, NULL, NULL, NULL));
    for (int i = 0; i < STATEMENTS && r == 0; i++)
        r = i == VERSION ? 0 : prepare(ix, (enum statement)i);
    return r;
}
