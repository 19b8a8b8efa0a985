/* Questions about mailboxes: see mailbox_query.h. */
#include "store/mailbox_query.h"
#include <errno.h>
#include "base/codec.h"
#include "base/event.h"
#include "store/mailbox_role.h"
#include "store/store_queue_query.h"

#define LINE_MAX_BYTES 8192 /* of a line: keywords and prefix are the long ones */
#define PAGE_BYTES (ROLE_ANSWER_MAX - LINE_MAX_BYTES)
#define MEMORY ((size_t)1 << 20)
#define MESSAGES_LOOKED_AT 256 /* at a time */
#define KEYWORDS_SHOWN 6000    /* bytes of a message's keywords */
#define POSITIONS 1024

struct query {
    struct store *store;
    struct arena *arena;
    struct buf *out;
    str what, account, name, after, to;
    uint64_t first;
    struct log_position at[POSITIONS]; size_t n_at;
    bool known;   /* the account is in the directory */
};

static int put_error(struct query *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int put_error(struct query *q, const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF(LINE_MAX_BYTES);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_clear(q->out);
    json_begin(q->out);
    json_str(q->out, "error", buf_str(&text));
    json_end(q->out);
    return -ECANCELED; /* answered */
}

static int put_end(struct query *q, str after)
{
    json_begin(q->out);
    buf_add(q->out, S("\"end\":true"));
    if (after.n)
        json_str(q->out, "after", after);
    json_end(q->out);
    return q->out->failed;
}

/* The question */

static bool add_position(struct query *q, str value)
{
    str segment = str_cut(&value, ':');
    struct log_position *p = &q->at[q->n_at];
    bool ok = q->n_at < POSITIONS && str_u64(segment, INT64_MAX, &p->segment) == 0 &&
              str_u64(value, INT64_MAX, &p->offset) == 0;
    q->n_at += ok;
    return ok;
}

static bool add_field(struct query *q, str key, str value)
{
    const struct { const char *key; str *at; } texts[] = {
        { "mailbox", &q->what }, { "account", &q->account }, { "name", &q->name }, { "after", &q->after },
        { "to", &q->to },
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (str_eq(key, str_z(texts[i].key))) {
            bool inbox = (texts[i].at == &q->name || texts[i].at == &q->to) && str_ieq(value, S("INBOX"));
            *texts[i].at = inbox ? S("INBOX") : arena_dup(q->arena, value); /* its case does not count */
            return texts[i].at->p != NULL;
        }
    if (str_eq(key, S("first")))
        return str_u64(value, INT64_MAX, &q->first) == 0;
    return str_eq(key, S("at")) && add_position(q, value);
}

static bool read_question(struct query *q, str line)
{
    _cleanup_buf_ struct buf value = BUF(LINE_MAX_BYTES);
    str key;
    while (event_field(&line, &key, &value)) {
        if (!add_field(q, key, buf_str(&value)))
            return false;
        buf_clear(&value);
    }
    return line.n == 0;
}

bool mailbox_query_is(str question)
{
    _cleanup_buf_ struct buf value = BUF(LINE_MAX_BYTES);
    str key;
    return event_field(&question, &key, &value) && str_eq(key, S("mailbox"));
}

/* An account that was removed from the accounts file can still be looked at. */
static int find_account(struct query *q)
{
    uint64_t n = 0;
    q->account = arena_lower(q->arena, q->account);
    if (!q->account.p)
        return -ENOMEM;
    q->known = directory_has_account(&q->store->directory, q->account);
    int r = q->known ? 0 : index_mailbox_count(q->store->index, q->account, &n);
    if (r < 0 || q->known || n)
        return r;
    return put_error(q, "there is no account %.*s; posthouse account list shows them", STR_ARG(q->account));
}

/* What a folder or message says of itself */

static void put_folder(struct query *q, const struct store_folder *f)
{
    struct buf *b = q->out;
    json_str(b, "name", f->name);
    json_u64(b, "id", f->id);
    json_u64(b, "subscribed", f->subscribed);
    if (!f->id)
        return;
    json_u64(b, "use", f->use);
    json_u64(b, "uidvalidity", f->uidvalidity);
    json_u64(b, "uidnext", f->uidnext);
    json_u64(b, "messages", f->messages);
    json_u64(b, "unseen", f->unseen);
    json_u64(b, "deleted", f->deleted);
    json_u64(b, "recent", f->recent);
    json_u64(b, "bytes", f->bytes);
    json_u64(b, "deleted_bytes", f->deleted_bytes);
    json_u64(b, "modseq", f->modseq);
}

static int list_one(void *arg, const struct store_folder *f)
{
    struct query *q = arg;
    if (q->out->n > PAGE_BYTES)
        return -EOVERFLOW;
    json_begin(q->out);
    put_folder(q, f);
    json_end(q->out);
    q->after = arena_dup(q->arena, f->name);
    return q->after.p ? q->out->failed : -ENOMEM;
}

static int do_list(struct query *q)
{
    int r = store_folders(q->store, q->account, q->after, MAILBOXES_MAX * 2, list_one, q);
    bool more = r == -EOVERFLOW;
    return r < 0 && !more ? r : put_end(q, more ? q->after : STR_NONE);
}

static int find_folder(struct query *q, struct store_folder *out)
{
    int r = mailbox_name_valid(q->name) ? store_folder(q->store, q->account, q->name, out) : 0;
    if (r < 0 || (r == 1 && out->id))
        return MIN(r, 0);
    return put_error(q, "%.*s has no mailbox %.*s; posthouse mailbox list shows them", STR_ARG(q->account),
                     STR_ARG(q->name));
}

static int do_status(struct query *q)
{
    struct store_folder f;
    struct store_usage used = { 0 }, limit = { 0 };
    int r = find_folder(q, &f);
    if (r == 0)
        r = store_usage(q->store, q->account, &used);
    if (r < 0)
        return r;
    if (q->store->quota)
        q->store->quota(q->store->quota_arg, q->account, &limit);
    json_begin(q->out);
    json_str(q->out, "account", q->account);
    put_folder(q, &f);
    json_u64(q->out, "used_bytes", used.bytes);
    json_u64(q->out, "used_messages", used.messages);
    json_u64(q->out, "quota_bytes", limit.bytes);
    json_u64(q->out, "quota_messages", limit.messages);
    json_end(q->out);
    return put_end(q, STR_NONE);
}

struct messages {
    struct query *query;
    struct buf text;         /* a field that is put together */
    str keywords[INDEX_KEYWORDS]; size_t n_keywords;
};

static void put_number(struct buf *b, const char *key, int64_t value)
{
    buf_addf(b, ",\"%s\":%lld", key, (long long)value);
}

static void put_message(struct messages *m, const struct index_message *i)
{
    struct buf *b = m->query->out;
    json_begin(b);
    json_u64(b, "uid", i->uid);
    json_u64(b, "flags", i->flags);
    buf_clear(&m->text);
    for (size_t k = 0; k < m->n_keywords; k++)
        if (i->keywords >> k & 1 && m->text.n + m->keywords[k].n < KEYWORDS_SHOWN) {
            buf_add(&m->text, m->text.n ? S(" ") : STR_NONE);
            buf_add(&m->text, m->keywords[k]);
        }
    json_str(b, "keywords", buf_str(&m->text));
    put_number(b, "date", i->date_s);
    put_number(b, "zone", i->zone_min);
    json_str(b, "log", i->log);
    json_u64(b, "segment", i->position.segment);
    json_u64(b, "offset", i->position.offset);
    json_u64(b, "content_len", i->content_len);
    json_u64(b, "meta_len", i->meta_len);
    buf_clear(&m->text);
    base64_encode(&m->text, i->prefix);
    json_str(b, "prefix", buf_str(&m->text));
    json_end(b);
}

/* A page: its messages behind `after`. 1: there may be more. */
static int put_messages(struct messages *m, uint64_t mailbox, uint32_t *after)
{
    struct store *s = m->query->store;
    struct index_flags list[MESSAGES_LOOKED_AT];
    int n = *after == UINT32_MAX ? 0
                                 : index_flags_in(s->index, mailbox, *after + 1, UINT32_MAX, list, MESSAGES_LOOKED_AT);
    int r = MIN(n, 0);
    for (int i = 0; i < n && r == 0; i++) {
        struct index_message found;
        if (m->query->out->n > PAGE_BYTES)
            return 1;
        r = index_message_get(s->index, mailbox, list[i].uid, &found);
        if (r == 1)
            put_message(m, &found);
        index_message_done(s->index);
        *after = list[i].uid;
        r = MIN(r, 0);
    }
    return r < 0 ? r : n == MESSAGES_LOOKED_AT;
}

static int do_messages(struct query *q)
{
    struct store_folder f;
    struct messages m = { .query = q, .text = BUF(LINE_MAX_BYTES) };
    uint64_t from = 0;
    char after[24];
    struct buf text = { .p = after, .cap = sizeof(after), .max = sizeof(after) };
    int r = q->after.n && str_u64(q->after, UINT32_MAX, &from) < 0 ? put_error(q, "after= is no UID") : 0;
    uint32_t uid = (uint32_t)from;
    if (r == 0)
        r = find_folder(q, &f);
    if (r == 0)
        r = index_keywords(q->store->index, q->arena, f.id, m.keywords);
    m.n_keywords = (size_t)MAX(r, 0);
    if (r >= 0)
        r = put_messages(&m, f.id, &uid);
    buf_done(&m.text);
    if (r < 0)
        return r;
    if (r == 1)
        buf_addu(&text, uid);
    return put_end(q, buf_str(&text));
}

/* Changes */

static int put_verdict(struct query *q, int verdict)
{
    static const char *const why[] = {
        [STORE_NONEXISTENT] = "there is no such mailbox",
        [STORE_EXISTS] = "there is a mailbox of that name already",
        [STORE_HAS_CHILDREN] = "there are mailboxes below it",
        [STORE_CANNOT] = "that cannot be done with this mailbox",
        [STORE_LIMIT] = "the account has too many mailboxes",
        [STORE_OVER_QUOTA] = "the account is over its quota",
        [STORE_USE_TAKEN] = "another mailbox has that use",
    };
    if (verdict < 0)
        return verdict;
    if (verdict == STORE_DONE) {
        int r = store_flush(q->store);
        return r < 0 ? r : put_end(q, STR_NONE);
    }
    return put_error(q, "%.*s: %s", STR_ARG(q->name),
                     verdict < (int)ARRAY_LEN(why) && why[verdict] ? why[verdict] : "the store said no");
}

static int check_names(struct query *q)
{
    if (!q->known)
        return put_error(q, "there is no account %.*s", STR_ARG(q->account));
    if (!mailbox_name_valid(q->name) || (q->to.n && !mailbox_name_valid(q->to)))
        return put_error(q, "that is no name of a mailbox");
    return 0;
}

static int do_create(struct query *q)
{
    uint64_t id, ticket;
    int r = check_names(q);
    return r < 0 ? r : put_verdict(q, store_create(q->store, q->account, q->name, 0, &id, &ticket));
}

static int do_delete(struct query *q)
{
    uint64_t ticket;
    struct store_folder f;
    int r = find_folder(q, &f);
    return r < 0 ? r : put_verdict(q, store_delete(q->store, q->account, q->name, &ticket));
}

static int do_rename(struct query *q)
{
    uint64_t ticket;
    int r = q->to.n ? check_names(q) : put_error(q, "to= is missing");
    return r < 0 ? r : put_verdict(q, store_rename(q->store, q->account, q->name, q->to, &ticket));
}

static int do_open(struct query *q)
{
    uint64_t ticket;
    struct store_folder f = { 0 };
    int r = check_names(q);
    if (r == 0)
        r = store_folder(q->store, q->account, q->name, &f);
    bool create = r == 0 || (r == 1 && !f.id);
    if (r >= 0 && create) {
        r = store_create(q->store, q->account, q->name, 0, &f.id, &ticket);
        if (r == STORE_DONE)
            r = store_flush(q->store);
        else if (r > 0)
            return put_verdict(q, r);
    }
    if (r < 0)
        return r;
    json_begin(q->out);
    json_str(q->out, "account", q->account);
    json_u64(q->out, "id", f.id);
    json_u64(q->out, "created", create);
    json_end(q->out);
    return put_end(q, STR_NONE);
}

/* Attached anew each time: since the last one this process may have come back. */
static int do_attach(struct query *q)
{
    if (!q->first)
        return put_error(q, "first= is missing");
    int r = store_log_attach(q->store, IMPORT_LOG, q->first);
    for (size_t i = 0; i < q->n_at && r == 0; i++)
        r = store_log_synced(q->store, IMPORT_LOG, q->at[i]);
    if (r == 0)
        r = store_flush(q->store);
    return r < 0 ? r : put_end(q, STR_NONE);
}

static const struct {
    const char *word;
    int (*run)(struct query *q);
} words[] = {
    { "list", do_list },     { "status", do_status }, { "messages", do_messages }, { "create", do_create },
    { "delete", do_delete }, { "rename", do_rename }, { "open", do_open },
};

static int answer(struct query *q)
{
    if (str_eq(q->what, S("attach")))
        return do_attach(q);
    int r = find_account(q);
    for (size_t i = 0; i < ARRAY_LEN(words) && r == 0; i++)
        if (str_eq(q->what, str_z(words[i].word)))
            return words[i].run(q);
    return r < 0 ? r : put_error(q, "the question is not understood");
}

/* Of questions; a damaged index is made anew, and the question can be asked again. */
static int trouble(struct query *q, int r)
{
    if (r == -EBADMSG && (r = store_reindex(q->store)) == 0)
        put_error(q, "the index was damaged and is made anew; try again");
    else if (r == -EINVAL)
        put_error(q, "that is no name of an account or a mailbox");
    else if (r == -ENOSPC)
        put_error(q, "there is no room on the disk");
    else if (r == -ENOMEM || r == -ENOBUFS)
        put_error(q, "there is not enough memory");
    else
        return r;
    return 0;
}

int mailbox_query(struct store *s, str question, struct buf *out, bool *out_ok)
{
    _cleanup_arena_ struct arena a = ARENA(MEMORY);
    struct query q = { .store = s, .arena = &a, .out = out };
    int r = s->failed;
    if (r == 0)
        r = read_question(&q, question) ? answer(&q) : put_error(&q, "the question is not understood");
    *out_ok = r == 0;
    if (r < 0 && r != -ECANCELED)
        return trouble(&q, r);
    return 0;
}
