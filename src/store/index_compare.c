/* What differs between two indexes: see index.h. */
#include "store/index_sql.h"

#define DIFFERENCES_SAID 20

/* One table of two indexes, row by row in the order of its first `keys` columns. */
struct comparison {
    const char *table, *query;
    int keys;
};

static const struct comparison comparisons[] = {
    { "meta", "SELECT * FROM meta ORDER BY id", 1 },
    { "log", "SELECT * FROM log ORDER BY id", 1 },
    { "mailbox", "SELECT * FROM mailbox ORDER BY id", 1 },
    { "keyword", "SELECT * FROM keyword ORDER BY mailbox, bit", 2 },
    { "vanished", "SELECT * FROM vanished ORDER BY mailbox, modseq, first", 3 },
    { "subscription", "SELECT * FROM subscription ORDER BY account, name", 2 },
    { "account", "SELECT * FROM account ORDER BY name", 1 },
    { "message", "SELECT * FROM message ORDER BY mailbox, uid", 2 },
    { "applied", "SELECT * FROM applied ORDER BY log, segment", 2 },
    { "queue", "SELECT * FROM queue ORDER BY lsn", 1 },
    { "queued", "SELECT * FROM queued ORDER BY message, idx", 2 },
    { "attempt", "SELECT * FROM attempt ORDER BY message, idx, attempts", 3 },
    { "paused", "SELECT * FROM paused ORDER BY id", 1 },
    { "gap", "SELECT * FROM gap ORDER BY log, segment, start", 3 },
    { "card", "SELECT log, segment, offset, content_len FROM card ORDER BY log, segment, offset", 3 },
};

static bool is_text(sqlite3_stmt *row, int i)
{
    return sqlite3_column_type(row, i) == SQLITE_BLOB;
}

static int compare_keys(sqlite3_stmt *a, sqlite3_stmt *b, int keys)
{
    for (int i = 0; i < keys; i++) {
        int64_t x = sqlite3_column_int64(a, i), y = sqlite3_column_int64(b, i);
        int order = is_text(a, i) ? str_cmp(sql_blob(a, i), sql_blob(b, i)) : (x > y) - (x < y);
        if (order)
            return order;
    }
    return 0;
}

static bool same_row(sqlite3_stmt *a, sqlite3_stmt *b)
{
    int n = sqlite3_column_count(a);
    for (int i = 0; i < n; i++) {
        if (sqlite3_column_type(a, i) != sqlite3_column_type(b, i) ||
            sqlite3_column_int64(a, i) != sqlite3_column_int64(b, i) ||
            !str_eq(sql_blob(a, i), sql_blob(b, i)))
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
        if (is_text(row, i))
            buf_addf(&text, " %.*s", STR_ARG(sql_blob(row, i)));
        else
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
    int r = sql_error(ra);
    return r < 0 ? r : sql_error(rb) < 0 ? sql_error(rb) : said;
}

int index_compare(struct index *a, struct index *b, void (*say)(void *arg, str sentence), void *arg)
{
    int said = 0;
    for (size_t i = 0; i < ARRAY_LEN(comparisons); i++) {
        const struct comparison *c = &comparisons[i];
        sqlite3_stmt *sa = NULL, *sb = NULL;
        int r = sql_error(sqlite3_prepare_v2(a->db, c->query, -1, &sa, NULL));
        if (r == 0)
            r = sql_error(sqlite3_prepare_v2(b->db, c->query, -1, &sb, NULL));
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
