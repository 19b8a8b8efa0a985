/* The index's rows about mailboxes: their counters, keywords, names, and what vanished from them. See index.h and
 * index_internal.h.
 *
 * MODSEQs after lost records must be above all that may have been given out before. So a jump raises all later ones,
 * and stands in every mailbox as the floor of its messages' MODSEQs: a client that knows of changes that were lost
 * learns all flags anew. */
#include <errno.h>
#include "base/pack.h"
#include "store/index_sql.h"

/* Ranges of a mailbox that are remembered; the oldest quarter goes when there are more. */
#define VANISHED_MAX 32768

void index_delta_message(struct index_delta *d, int sign, uint32_t flags, uint64_t size)
{
    bool deleted = flags & MESSAGE_DELETED;
    d->messages += sign;
    d->unseen += flags & MESSAGE_SEEN ? 0 : sign;
    d->deleted += deleted ? sign : 0;
    d->bytes += sign * (int64_t)size;
    d->deleted_bytes += deleted ? sign * (int64_t)size : 0;
}

uint64_t index_modseq(struct index *ix, uint64_t lsn)
{
    return lsn + ix->working.modseq_jump;
}

int index_row_mailbox_add(struct index *ix, const struct journal_mailbox_created *m, uint64_t modseq)
{
    return sql_change(ix, MAILBOX_ADD, VALUES(I(m->id), B(m->account), B(m->name), I(m->uidvalidity), I(modseq)));
}

int index_row_mailbox_change(struct index *ix, uint64_t mailbox, const struct index_delta *d, uint64_t modseq,
                             uint32_t uidnext)
{
    return sql_change(ix, MAILBOX_CHANGE, VALUES(I(mailbox), I(modseq), I(uidnext), I(d->messages), I(d->unseen),
                                                 I(d->deleted), I(d->bytes), I(d->deleted_bytes), I(d->recent)));
}

int index_row_mailboxes_jump(struct index *ix, uint32_t by, uint64_t modseq)
{
    int r = sql_change(ix, VANISHED_CLEAR, NULL, 0);
    return r < 0 ? r : sql_change(ix, MAILBOX_JUMP, VALUES(I(by), I(modseq)));
}

int index_row_mailbox_rename(struct index *ix, uint64_t mailbox, str name)
{
    return sql_change(ix, MAILBOX_RENAME, VALUES(I(mailbox), B(name)));
}

int index_row_mailbox_use(struct index *ix, uint64_t mailbox, uint8_t use)
{
    return sql_change(ix, MAILBOX_USE, VALUES(I(mailbox), I(use)));
}

int index_row_mailbox_drop(struct index *ix, uint64_t mailbox)
{
    int r = sql_change(ix, KEYWORD_DROP, VALUES(I(mailbox)));
    if (r >= 0)
        r = sql_change(ix, VANISHED_PRUNE, VALUES(I(mailbox), I(INT64_MAX)));
    return r < 0 ? r : sql_change(ix, MAILBOX_DROP, VALUES(I(mailbox)));
}

int index_row_recent(struct index *ix, const struct index_mailbox *m, uint32_t uid)
{
    int r = sql_run(ix, MESSAGE_COUNT, VALUES(I(m->id), I(uid)));
    if (r != 1)
        return r < 0 ? r : -EBADMSG;
    uint64_t n = sql_column(ix->stmt[MESSAGE_COUNT], 0);
    sql_done(ix, MESSAGE_COUNT);
    return sql_change(ix, MAILBOX_RECENT, VALUES(I(m->id), I(uid), I(n)));
}

int index_row_subscribe(struct index *ix, str account, str name, bool on)
{
    return sql_change(ix, on ? SUBSCRIPTION_ADD : SUBSCRIPTION_DROP, VALUES(B(account), B(name)));
}

int index_row_prepare(struct index *ix, str account)
{
    return sql_change(ix, ACCOUNT_ADD, VALUES(B(account)));
}

int index_row_keyword_add(struct index *ix, uint64_t mailbox, uint8_t bit, str name)
{
    return sql_change(ix, KEYWORD_ADD, VALUES(I(mailbox), I(bit), B(name)));
}

int index_row_flag(struct index *ix, uint64_t mailbox, uint32_t uid, uint32_t flags, uint64_t keywords,
                   uint64_t modseq)
{
    return sql_change(ix, MESSAGE_FLAG, VALUES(I(mailbox), I(uid), I(flags), I(keywords), I(modseq)));
}

int index_row_vanished(struct index *ix, uint64_t mailbox, uint64_t modseq, uint32_t first, uint32_t last)
{
    return sql_change(ix, VANISHED_ADD, VALUES(I(mailbox), I(modseq), I(first), I(last)));
}

static int vanished_prune(struct index *ix, uint64_t mailbox, uint64_t drop)
{
    int r = sql_run(ix, VANISHED_OLD, VALUES(I(mailbox), I(drop)));
    if (r != 1)
        return r;
    uint64_t floor = sql_column(ix->stmt[VANISHED_OLD], 0);
    sql_done(ix, VANISHED_OLD);
    r = sql_change(ix, VANISHED_PRUNE, VALUES(I(mailbox), I(floor)));
    return r < 0 ? r : sql_change(ix, MAILBOX_FLOOR, VALUES(I(mailbox), I(r), I(floor)));
}

int index_row_vanished_counted(struct index *ix, uint64_t mailbox, uint64_t n)
{
    int r = sql_run(ix, MAILBOX_VANISHED, VALUES(I(mailbox), I(n)));
    if (r != 1)
        return r;
    sqlite3_stmt *s = ix->stmt[MAILBOX_VANISHED];
    uint64_t all = sql_column(s, 0);
    r = sql_error(sqlite3_step(s));
    sql_done(ix, MAILBOX_VANISHED);
    if (r == 0 && all > VANISHED_MAX)
        r = vanished_prune(ix, mailbox, all - VANISHED_MAX / 4 * 3);
    return MIN(r, 0);
}

static void mailbox_columns(sqlite3_stmt *s, struct index_mailbox *out)
{
    *out = (struct index_mailbox){
        .id = sql_column(s, 0), .uidvalidity = (uint32_t)sql_column(s, 1), .uidnext = (uint32_t)sql_column(s, 2),
        .messages = sql_column(s, 3), .modseq = sql_column(s, 4), .unseen = sql_column(s, 5),
        .deleted = sql_column(s, 6), .bytes = sql_column(s, 7), .deleted_bytes = sql_column(s, 8),
        .use = (uint8_t)sql_column(s, 9), .recent = (uint32_t)sql_column(s, 10), .n_recent = sql_column(s, 11),
        .floor = sql_column(s, 12), .vanished_floor = sql_column(s, 13),
    };
}

static int mailbox_row(struct index *ix, enum statement which, int r, struct index_mailbox *out)
{
    if (r != 1)
        return r;
    mailbox_columns(ix->stmt[which], out);
    sql_done(ix, which);
    return 1;
}

int index_mailbox_named(struct index *ix, str account, str name, struct index_mailbox *out)
{
    return mailbox_row(ix, MAILBOX_NAMED, sql_run(ix, MAILBOX_NAMED, VALUES(B(account), B(name))), out);
}

int index_mailbox_get(struct index *ix, uint64_t id, struct index_mailbox *out)
{
    return mailbox_row(ix, MAILBOX_GET, sql_run(ix, MAILBOX_GET, VALUES(I(id))), out);
}

int index_mailbox_title(struct index *ix, struct arena *a, uint64_t id, str *out_account, str *out_name)
{
    int r = sql_run(ix, MAILBOX_TITLE, VALUES(I(id)));
    if (r != 1)
        return r;
    str account = arena_dup(a, sql_blob(ix->stmt[MAILBOX_TITLE], 0));
    str name = arena_dup(a, sql_blob(ix->stmt[MAILBOX_TITLE], 1));
    sql_done(ix, MAILBOX_TITLE);
    if (!account.p || !name.p)
        return -ENOMEM;
    *out_account = account;
    *out_name = name;
    return 1;
}

int index_keywords(struct index *ix, struct arena *a, uint64_t mailbox, str out[INDEX_KEYWORDS])
{
    int n = 0, r = sql_run(ix, KEYWORD_WALK, VALUES(I(mailbox)));
    sqlite3_stmt *s = ix->stmt[KEYWORD_WALK];
    while (r == 1 && n < INDEX_KEYWORDS) {
        out[n] = arena_dup(a, sql_blob(s, 0));
        int rc = out[n++].p ? sqlite3_step(s) : SQLITE_NOMEM;
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, KEYWORD_WALK);
    return r < 0 ? r : n;
}

/* A statement whose row is one number. */
static int number(struct index *ix, enum statement which, int r, uint64_t *out)
{
    if (r != 1)
        return r < 0 ? r : -EBADMSG;
    *out = sql_column(ix->stmt[which], 0);
    sql_done(ix, which);
    return 0;
}

int index_mailbox_count(struct index *ix, str account, uint64_t *out)
{
    return number(ix, MAILBOX_COUNT, sql_run(ix, MAILBOX_COUNT, VALUES(B(account))), out);
}

int index_subscription_count(struct index *ix, str account, uint64_t *out)
{
    return number(ix, SUBSCRIPTION_COUNT, sql_run(ix, SUBSCRIPTION_COUNT, VALUES(B(account))), out);
}

int index_use_taken(struct index *ix, str account, uint8_t use)
{
    return sql_exists(ix, MAILBOX_USED, sql_run(ix, MAILBOX_USED, VALUES(B(account), I(use))));
}

int index_subscribed(struct index *ix, str account, str name)
{
    return sql_exists(ix, SUBSCRIPTION_GET, sql_run(ix, SUBSCRIPTION_GET, VALUES(B(account), B(name))));
}

int index_prepared(struct index *ix, str account)
{
    return sql_exists(ix, ACCOUNT_GET, sql_run(ix, ACCOUNT_GET, VALUES(B(account))));
}

int index_usage(struct index *ix, str account, uint64_t *out_bytes, uint64_t *out_messages)
{
    int r = sql_run(ix, USAGE, VALUES(B(account)));
    if (r != 1)
        return r < 0 ? r : -EBADMSG;
    *out_bytes = sql_column(ix->stmt[USAGE], 0);
    *out_messages = sql_column(ix->stmt[USAGE], 1);
    sql_done(ix, USAGE);
    return 0;
}

int index_mailboxes_between(struct index *ix, str account, str from, str to,
                            int (*each)(void *arg, uint64_t id, str name), void *arg)
{
    int r = sql_run(ix, MAILBOX_BELOW, VALUES(B(account), B(from), B(to)));
    sqlite3_stmt *s = ix->stmt[MAILBOX_BELOW];
    while (r == 1) {
        r = each(arg, sql_column(s, 0), sql_blob(s, 1));
        if (r < 0)
            break;
        int rc = sqlite3_step(s);
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, MAILBOX_BELOW);
    return r;
}

static void folder_columns(sqlite3_stmt *s, struct index_folder *out)
{
    *out = (struct index_folder){
        .name = sql_blob(s, 0),
        .box = { .id = sql_column(s, 1), .uidvalidity = (uint32_t)sql_column(s, 2),
                 .uidnext = (uint32_t)sql_column(s, 3), .messages = sql_column(s, 4), .modseq = sql_column(s, 5),
                 .unseen = sql_column(s, 6), .deleted = sql_column(s, 7), .bytes = sql_column(s, 8),
                 .deleted_bytes = sql_column(s, 9), .use = (uint8_t)sql_column(s, 10), .n_recent = sql_column(s, 11) },
        .subscribed = sql_column(s, 12) != 0,
    };
}

int index_folders(struct index *ix, str account, str after, size_t max,
                  int (*each)(void *arg, const struct index_folder *f), void *arg)
{
    int n = 0, r = sql_run(ix, FOLDER_WALK, VALUES(B(account), B(after), I(MIN(max, (size_t)INT32_MAX))));
    sqlite3_stmt *s = ix->stmt[FOLDER_WALK];
    while (r == 1) {
        struct index_folder f;
        folder_columns(s, &f);
        r = each(arg, &f);
        n++;
        if (r < 0)
            break;
        int rc = sqlite3_step(s);
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, FOLDER_WALK);
    return r < 0 ? r : n;
}

int index_flags_in(struct index *ix, uint64_t mailbox, uint32_t first, uint32_t last, struct index_flags *out,
                   size_t max)
{
    int n = 0, r = sql_run(ix, MESSAGE_RANGE, VALUES(I(mailbox), I(first), I(last), I(max)));
    sqlite3_stmt *s = ix->stmt[MESSAGE_RANGE];
    while (r == 1) {
        out[n++] = (struct index_flags){ .uid = (uint32_t)sql_column(s, 0), .flags = (uint32_t)sql_column(s, 1),
                                         .keywords = sql_column(s, 2), .modseq = sql_column(s, 3),
                                         .size = sql_column(s, 4) };
        int rc = sqlite3_step(s);
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, MESSAGE_RANGE);
    return r < 0 ? r : n;
}

int index_records_in(struct index *ix, uint64_t mailbox, uint32_t first, struct index_record *out, size_t max)
{
    int n = 0, r = sql_run(ix, MESSAGE_RECORDS, VALUES(I(mailbox), I(first), I(max)));
    sqlite3_stmt *s = ix->stmt[MESSAGE_RECORDS];
    while (r == 1) {
        out[n++] = (struct index_record){ .uid = (uint32_t)sql_column(s, 0), .log = sql_column(s, 1),
                                          .position = { sql_column(s, 2), sql_column(s, 3) },
                                          .content_len = sql_column(s, 4), .meta_len = (uint32_t)sql_column(s, 5) };
        int rc = sqlite3_step(s);
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, MESSAGE_RECORDS);
    return r < 0 ? r : n;
}

void index_message_done(struct index *ix)
{
    sql_done(ix, MESSAGE_GET);
}

int index_message_get(struct index *ix, uint64_t mailbox, uint32_t uid, struct index_message *out)
{
    index_message_done(ix);
    int r = sql_run(ix, MESSAGE_GET, VALUES(I(mailbox), I(uid)));
    if (r != 1)
        return r;
    r = index_message_row(ix, ix->stmt[MESSAGE_GET], out);
    return r < 0 ? r : 1;
}

int index_vanished(struct index *ix, uint64_t mailbox, uint64_t since, uint32_t after, size_t max, struct buf *out)
{
    size_t n = 0;
    uint64_t first = 0, last = 0; /* the range that may still grow */
    int r = sql_run(ix, VANISHED_WALK, VALUES(I(mailbox), I(MIN(since, (uint64_t)INT64_MAX)), I(after)));
    sqlite3_stmt *s = ix->stmt[VANISHED_WALK];
    while (r == 1 && n < max) {
        uint64_t from = MAX(sql_column(s, 0), (uint64_t)after + 1), to = sql_column(s, 1);
        if (last && from != last + 1) {
            pack_u32(out, (uint32_t)first);
            pack_u32(out, (uint32_t)last);
            n++;
            first = 0;
        }
        first = first ? first : from;
        last = to;
        int rc = sqlite3_step(s);
        r = rc == SQLITE_ROW ? 1 : sql_error(rc);
    }
    sql_done(ix, VANISHED_WALK);
    if (r >= 0 && last && n < max) {
        pack_u32(out, (uint32_t)first);
        pack_u32(out, (uint32_t)last);
        n++;
    }
    return r < 0 ? r : out->failed ? out->failed : (int)n;
}
