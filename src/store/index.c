/* The index in SQLite: see index.h. Nothing read back is trusted to be well-formed beyond its SQL type. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "store/index_queue_internal.h"
#include "store/index_sql.h"
#include "store/index_watch.h"

#define LOGS_MAX 1024

static int load_state(struct index *ix)
{
    int r = sql_run(ix, META_GET, NULL, 0);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    sqlite3_stmt *s = ix->stmt[META_GET];
    ix->committed = (struct index_state){
        .lsn = sql_column(s, 0), .messages = sql_column(s, 1), .mailboxes = sql_column(s, 2),
        .gaps = sql_column(s, 3), .placed = sql_column(s, 4), .expunged = sql_column(s, 5),
        .unplaced = sql_column(s, 6), .last_mailbox = sql_column(s, 7),
        .last_uidvalidity = (uint32_t)sql_column(s, 8), .modseq_jump = sql_column(s, 9),
    };
    sql_done(ix, META_GET);
    ix->saved = ix->working = ix->committed;
    return 0;
}

static int open_path(const char *path, struct index **out)
{
    struct index *ix = calloc(1, sizeof(*ix));
    if (!ix)
        return -ENOMEM;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int r = sql_error(sqlite3_open_v2(path, &ix->db, flags, NULL));
    if (r == 0)
        sqlite3_db_config(ix->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (r == 0)
        r = sql_set_up(ix);
    if (r == 0)
        r = load_state(ix);
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
    index_queue_forget(ix);
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
    int r = ix->held ? index_commit(ix) : 0;
    if (r < 0)
        return r;
    ix->working = ix->committed;
    ix->cursor = (struct index_cursor){ 0 };
    return sql_run(ix, BEGIN, NULL, 0);
}

static int cursor_store(struct index *ix)
{
    struct index_cursor *c = &ix->cursor;
    if (!c->valid || !c->changed)
        return 0;
    c->changed = false;
    return sql_change(ix, APPLIED_SET, VALUES(I(c->log), I(c->segment), I(c->offset), I(c->sealed)));
}

/* All that was applied as rows. */
static int make_rows(struct index *ix)
{
    int r = index_queue_flush(ix);
    return r < 0 ? r : cursor_store(ix);
}

int index_hold(struct index *ix)
{
    int r = make_rows(ix);
    if (r < 0)
        return r;
    ix->committed = ix->working;
    ix->held = true;
    return 0;
}

bool index_held(const struct index *ix)
{
    return ix->held;
}

int index_commit(struct index *ix)
{
    const struct index_state *w = &ix->working;
    int r = make_rows(ix);
    if (r >= 0)
        r = sql_change(ix, META_SET, VALUES(I(w->lsn), I(w->messages), I(w->mailboxes), I(w->gaps), I(w->placed),
                                        I(w->expunged), I(w->unplaced), I(w->last_mailbox), I(w->last_uidvalidity),
                                        I(w->modseq_jump)));
    if (r >= 0)
        r = sql_run(ix, COMMIT, NULL, 0);
    if (r < 0)
        return r;
    ix->saved = ix->committed = ix->working;
    ix->held = false;
    return 0;
}

void index_rollback(struct index *ix)
{
    if (!sqlite3_get_autocommit(ix->db))
        sql_run(ix, ROLLBACK, NULL, 0);
    index_queue_forget(ix);
    index_watch_forget(ix);
    forget_logs(ix); /* a name may have been added */
    ix->held = false;
    ix->working = ix->committed = ix->saved;
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

int index_log_find(struct index *ix, str name, uint64_t *out)
{
    for (size_t i = 0; i < ix->n_logs; i++)
        if (str_eq(str_of(ix->logs[i].name, ix->logs[i].n), name)) {
            *out = ix->logs[i].id;
            return 1;
        }
    int r = sql_run(ix, LOG_ID, VALUES(B(name)));
    if (r != 1)
        return r;
    *out = sql_column(ix->stmt[LOG_ID], 0);
    sql_done(ix, LOG_ID);
    return remember_log(ix, *out, name);
}

int index_log_name(struct index *ix, uint64_t id, str *out)
{
    for (size_t i = 0; i < ix->n_logs; i++)
        if (ix->logs[i].id == id) {
            *out = str_of(ix->logs[i].name, ix->logs[i].n);
            return 0;
        }
    int r = sql_run(ix, LOG_NAME, VALUES(I(id)));
    if (r != 1)
        return r < 0 ? r : -EBADMSG;
    r = remember_log(ix, id, sql_blob(ix->stmt[LOG_NAME], 0));
    sql_done(ix, LOG_NAME);
    return r < 0 ? r : index_log_name(ix, id, out);
}

static int applied_get(struct index *ix, uint64_t log, uint64_t segment, uint64_t *out_offset, bool *out_sealed)
{
    *out_offset = SEGMENT_HEADER_SIZE;
    *out_sealed = false;
    int r = sql_run(ix, APPLIED_GET, VALUES(I(log), I(segment)));
    if (r != 1)
        return r;
    *out_offset = sql_column(ix->stmt[APPLIED_GET], 0);
    *out_sealed = sql_column(ix->stmt[APPLIED_GET], 1) != 0;
    sql_done(ix, APPLIED_GET);
    return 1;
}

int index_row_cursor_load(struct index *ix, str log, uint64_t segment)
{
    struct index_cursor *c = &ix->cursor;
    uint64_t id;
    int r = index_log_find(ix, log, &id);
    if (r == 0) {
        r = sql_change(ix, LOG_ADD, VALUES(B(log)));
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
    int r = index_log_find(ix, log, &id);
    return r == 1 ? applied_get(ix, id, segment, out_offset, out_sealed) : r;
}

int index_row_message_add(struct index *ix, const struct index_message *m, uint64_t log)
{
    return sql_change(ix, MESSAGE_ADD, VALUES(I(m->mailbox), I(m->uid), I(m->lsn), I(log), I(m->position.segment),
                                          I(m->position.offset), I(m->content_len), I(m->meta_len), I(m->received_us),
                                          B(m->session), I(m->number), B(m->prefix), I(m->flags), I(m->keywords),
                                          I(m->modseq), I(m->date_s), I(m->zone_min)));
}

static uint64_t record_length(uint64_t content_len, uint64_t meta_len)
{
    return record_end(&(struct record_header){ .content_len = content_len, .meta_len = (uint32_t)meta_len });
}

/* The bytes at that place count as dead, unless a message is still there. */
int index_bury(struct index *ix, uint64_t log, struct log_position at, uint64_t length, uint64_t now_us)
{
    int r = sql_exists(ix, PLACE_USED, sql_run(ix, PLACE_USED, VALUES(I(log), I(at.segment), I(at.offset))));
    if (r != 0)
        return MIN(r, 0);
    r = index_row_card_drop(ix, log, at);
    if (r >= 0)
        r = sql_change(ix, APPLIED_DEAD, VALUES(I(log), I(at.segment), I(length), I(MAX(now_us, 1u))));
    return MIN(r, 0);
}

int index_row_message_drop(struct index *ix, uint64_t mailbox, uint32_t uid, uint64_t now_us, struct index_delta *d)
{
    int r = sql_run(ix, MESSAGE_DROP, VALUES(I(mailbox), I(uid)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[MESSAGE_DROP];
    uint64_t log = sql_column(s, 0), length = record_length(sql_column(s, 3), sql_column(s, 4));
    struct log_position at = { sql_column(s, 1), sql_column(s, 2) };
    index_delta_message(d, -1, (uint32_t)sql_column(s, 5), sql_column(s, 3) + sql_column(s, 6));
    r = sql_error(sqlite3_step(s));
    sql_done(ix, MESSAGE_DROP);
    if (r == 0)
        r = index_bury(ix, log, at, length, now_us);
    return r < 0 ? r : 1;
}

int index_row_bury(struct index *ix, const struct journal_delivered *d)
{
    return index_bury(ix, ix->cursor.log, (struct log_position){ d->segment, d->offset }, d->end - d->offset, 0);
}

int index_row_held(struct index *ix)
{
    return sql_change(ix, APPLIED_HELD, VALUES(I(ix->cursor.log), I(ix->cursor.segment)));
}

static int move_message(struct index *ix, uint64_t lsn, uint64_t log, const struct journal_relocated *m,
                        const struct journal_move *v)
{
    uint64_t to = ix->cursor.log;
    struct log_position from = { m->segment, v->from }, there = { m->to_segment, v->to };
    int r = v->mailbox ? sql_change(ix, MESSAGE_MOVE, VALUES(I(v->mailbox), I(v->uid), I(to), I(m->to_segment),
                                                             I(v->to),
                                                             I(log), I(m->segment), I(v->from)))
                       : sql_change(ix, QUEUE_MOVE, VALUES(I(to), I(m->to_segment), I(v->to), I(log), I(m->segment),
                                                           I(v->from))); /* of a queued message */
    if (r > 0)
        r = index_row_card_move(ix, log, from, to, there);
    if (r > 0 && v->mailbox) {
        int k = index_watch_place(ix, v->mailbox, lsn, v->uid, m->to_log, there);
        r = k < 0 ? k : r;
    }
    return r < 0 ? r : r ? index_bury(ix, log, from, v->length, 0) : index_bury(ix, to, there, v->length, 0);
}

int index_row_relocate(struct index *ix, uint64_t lsn, const struct journal_relocated *m)
{
    uint64_t log;
    int r = index_queue_flush(ix);
    if (r == 0)
        r = index_log_find(ix, m->log, &log);
    if (r != 1)
        return r; /* nothing of an unknown log is in a mailbox */
    for (size_t i = 0; i < m->n && r >= 0; i++)
        r = move_message(ix, lsn, log, m, &m->moves[i]);
    return MIN(r, 0);
}

int index_segment_last(struct index *ix, str log, uint64_t *out)
{
    uint64_t id;
    *out = 0;
    int r = index_log_find(ix, log, &id);
    if (r == 1)
        r = sql_run(ix, APPLIED_LAST, VALUES(I(id)));
    if (r != 1)
        return r;
    *out = sql_column(ix->stmt[APPLIED_LAST], 0);
    sql_done(ix, APPLIED_LAST);
    return 0;
}

int index_segment_next(struct index *ix, struct index_segment *inout)
{
    int r = sql_run(ix, APPLIED_NEXT, VALUES(I(inout->log), I(inout->segment)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[APPLIED_NEXT];
    *inout = (struct index_segment){ .log = sql_column(s, 0), .segment = sql_column(s, 1), .end = sql_column(s, 2),
                                     .sealed = sql_column(s, 3) != 0, .dead = sql_column(s, 4),
                                     .dead_us = sql_column(s, 5) };
    sql_done(ix, APPLIED_NEXT);
    r = index_log_name(ix, inout->log, &inout->name);
    if (r == 0)
        r = sql_exists(ix, SEGMENT_USED, sql_run(ix, SEGMENT_USED, VALUES(I(inout->log), I(inout->segment))));
    inout->used = r == 1;
    return r < 0 ? r : 1;
}

int index_segment_walk(struct index *ix, const struct index_segment *g, struct journal_move *last, size_t max,
                       int (*each)(void *arg, const struct journal_move *m), void *arg)
{
    int n = 0, r = sql_run(ix, SEGMENT_WALK, VALUES(I(g->log), I(g->segment), I(last->from), I(last->mailbox),
                                                I(last->uid), I(max)));
    while (r == 1) {
        sqlite3_stmt *s = ix->stmt[SEGMENT_WALK];
        *last = (struct journal_move){ .from = sql_column(s, 0), .mailbox = sql_column(s, 1),
                                       .uid = (uint32_t)sql_column(s, 2),
                                       .length = record_length(sql_column(s, 3), sql_column(s, 4)) };
        r = each(arg, last);
        n++;
        if (r == 0) {
            int rc = sqlite3_step(s);
            r = rc == SQLITE_ROW ? 1 : sql_error(rc);
        }
    }
    sql_done(ix, SEGMENT_WALK);
    return r < 0 ? r : n;
}

int index_row_gap_add(struct index *ix, uint64_t from, uint64_t to)
{
    uint64_t log = ix->cursor.log, segment = ix->cursor.segment;
    int r = sql_change(ix, GAP_EXTEND, VALUES(I(log), I(segment), I(from), I(to)));
    if (r != 0)
        return r;
    r = sql_change(ix, GAP_ADD, VALUES(I(log), I(segment), I(from), I(to)));
    ix->working.gaps += r == 1;
    return r;
}

int index_row_gap_take(struct index *ix, uint64_t offset, uint64_t end, uint64_t *out_from, uint64_t *out_to)
{
    uint64_t log = ix->cursor.log, segment = ix->cursor.segment;
    int r = sql_run(ix, GAP_FIND, VALUES(I(log), I(segment), I(offset), I(end)));
    if (r != 1)
        return r;
    uint64_t from = sql_column(ix->stmt[GAP_FIND], 0), to = sql_column(ix->stmt[GAP_FIND], 1);
    sql_done(ix, GAP_FIND);
    r = sql_change(ix, GAP_DROP, VALUES(I(log), I(segment), I(from)));
    if (r < 0)
        return r;
    ix->working.gaps--;
    *out_from = from;
    *out_to = to;
    return 1;
}

int index_gap(struct index *ix, struct index_gap *out)
{
    int r = sql_run(ix, GAP_FIRST, NULL, 0);
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[GAP_FIRST];
    uint64_t log = sql_column(s, 0);
    struct index_gap gap = { .segment = sql_column(s, 1), .from = sql_column(s, 2), .to = sql_column(s, 3) };
    sql_done(ix, GAP_FIRST);
    r = index_log_name(ix, log, &gap.log);
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

int index_message_exists(struct index *ix, uint64_t mailbox, uint32_t uid)
{
    return sql_exists(ix, MESSAGE_EXISTS, sql_run(ix, MESSAGE_EXISTS, VALUES(I(mailbox), I(uid))));
}

int index_message_placed(struct index *ix, uint64_t mailbox, str log, struct log_position at)
{
    uint64_t id;
    int r = index_log_find(ix, log, &id);
    if (r != 1)
        return r;
    r = sql_run(ix, MESSAGE_PLACED, VALUES(I(mailbox), I(id), I(at.segment), I(at.offset)));
    return sql_exists(ix, MESSAGE_PLACED, r);
}

int index_message_row(struct index *ix, sqlite3_stmt *s, struct index_message *out)
{
    *out = (struct index_message){
        .mailbox = sql_column(s, 0), .uid = (uint32_t)sql_column(s, 1), .lsn = sql_column(s, 2),
        .log_id = sql_column(s, 3), .position = { .segment = sql_column(s, 4), .offset = sql_column(s, 5) },
        .content_len = sql_column(s, 6), .meta_len = (uint32_t)sql_column(s, 7), .received_us = sql_column(s, 8),
        .session = sql_blob(s, 9), .number = (uint32_t)sql_column(s, 10), .prefix = sql_blob(s, 11),
        .flags = (uint32_t)sql_column(s, 12), .keywords = sql_column(s, 13), .modseq = sql_column(s, 14),
        .date_s = (int64_t)sql_column(s, 15), .zone_min = (int16_t)sql_column(s, 16),
    };
    return out->session.n == 16 ? index_log_name(ix, out->log_id, &out->log) : -EBADMSG;
}

int index_walk(struct index *ix, uint64_t mailbox, int (*each)(void *arg, const struct index_message *m), void *arg)
{
    enum statement which = mailbox ? MESSAGE_WALK : MESSAGE_WALK_ALL;
    const struct value id = I(mailbox);
    struct index_mailbox box = { 0 };
    int r = mailbox ? index_mailbox_get(ix, mailbox, &box) : 0;
    if (r >= 0)
        r = sql_run(ix, which, &id, mailbox ? 1 : 0);
    while (r == 1) {
        struct index_message m;
        r = index_message_row(ix, ix->stmt[which], &m);
        m.modseq = MAX(m.modseq, box.floor);
        if (r == 0)
            r = each(arg, &m);
        if (r < 0)
            break;
        int rc = sqlite3_step(ix->stmt[which]);
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, which);
    return r;
}
