/* Events as sentences and as JSON: see trace_text.h. */
#include "admin/trace_text.h"
#include <errno.h>
#include "base/date.h"
#include "base/event.h"

enum { VALUES_MAX = 5, JSON_INDENTED = JSON_INDENT(2) | JSON_ENSURE_ASCII };

#define REFUSED "{code}[ {enhanced}] {text}[; rule {rule}][ in {list}][ ({file}:{line})]"
#define ATTEMPT "[, attempt {attempt}][ by {mta}][: {reply}]"
#define POP3 " by POP3 from {client}: UID {uid} of {account}[, {size#} bytes] (session {session})"

/* The first row whose event fits, and whose key has the value, wins. */
static const struct sentence { const char *event, *key, *value, *pattern;
} sentences[] = {
    { "connect", NULL, NULL, "connection from {client}[ port {port}][ on listener {listener}]" },
    { "tls", "result", "failed", "TLS handshake failed[: {why}]" },
    { "tls", "result", "refused", "STARTTLS refused[: {why}]" },
    { "tls", NULL, NULL, "encrypted with {result}" },
    { "auth", "result", "ok", "logged in as {user}" },
    { "auth", "result", "wrong", "log-in as {user} failed: wrong user name or password" },
    { "auth", "result", "malformed", "log-in failed: what the client sent is not a message of its mechanism" },
    { "auth", "result", "unavailable", "log-in as {user} failed: passwords could not be checked at that moment" },
    { "client", "verdict", "permit", "client permitted[; {checks}]" },
    { "client", NULL, NULL, "client refused with " REFUSED },
    { "helo", "verdict", "permit", "greeting permitted[; {checks}]" },
    { "helo", NULL, NULL, "greeting {helo} refused with " REFUSED },
    { "mail", "verdict", "permit", "MAIL <{sender}>: permitted[; {checks}]" },
    { "mail", NULL, NULL, "MAIL <{sender}>: refused with " REFUSED },
    { "rcpt", "verdict", "permit", "RCPT <{recipient}>: permitted[; {checks}]" },
    { "rcpt", NULL, NULL, "RCPT <{recipient}>: refused with " REFUSED },
    { "data", "verdict", "permit", "DATA: permitted[; {checks}]" },
    { "data", NULL, NULL, "DATA: refused with " REFUSED },
    { "header", NULL, NULL,
      "header checked[, Date added{added_date?}][, Message-ID added{added_message_id?}][, From added{added_from?}]"
      "[, {completed_addresses} addresses completed][, Bcc removed{removed_bcc?}]" },
    { "received", NULL, NULL, "250 after the sync: log {log}, segment {segment}, offset {offset}, {size#} bytes" },
    { "refused", NULL, NULL, "message of {size#} bytes refused with {code}[ {enhanced}] {text}" },
    { "placed", NULL, NULL, "placed it in {account}/{mailbox} as UID {uid}[, for {recipient!account}][ ({reason})]" },
    { "queued", NULL, NULL, "queued for {recipient}[, to which {alias!recipient} forwards][, by {mechanism}] "
                            "as {queue_id} of the queue" },
    { "sent", NULL, NULL, "sent to {recipient}[ by {mechanism}]" ATTEMPT },
    { "delivered", NULL, NULL, "delivered to {mechanism} for {recipient}" ATTEMPT },
    { "deferred", NULL, NULL, "deferred for {recipient}[ by {mechanism}]" ATTEMPT "[; next attempt {next}]" },
    { "failed", NULL, NULL, "failed for {recipient}[ by {mechanism}]" ATTEMPT "[; by {by}]" },
    { "expired", NULL, NULL, "given up for {recipient}: its time is over" ATTEMPT },
    { "held", NULL, NULL, "held for {recipient}[ by {by}]" },
    { "released", NULL, NULL, "released for {recipient}[ by {by}]" },
    { "retried", NULL, NULL, "due at once for {recipient}[ by {by}]" },
    { "redirected", NULL, NULL, "for {recipient} redirected[ to {reply}][ by {by}]" },
    { "dropped", NULL, NULL, "dropped for {recipient}[ by {by}]" },
    { "dsn_owed", NULL, NULL, "a notice to {recipient} is owed: {kind}" },
    { "card", NULL, NULL, "card made" },
    { "card_failed", NULL, NULL, "no card, attempt {failures}[: {text}]" },
    { "card_minimal", NULL, NULL, "minimal card after {failures} attempts[: {text}]" },
    { "maildrop", NULL, NULL, "mailbox of {account} opened, messages in it: {messages}" },
    { "pop3_retrieved", NULL, NULL, "retrieved" POP3 },
    { "pop3_top", NULL, NULL, "beginning read" POP3 },
    { "pop3_deleted", NULL, NULL, "what the client deleted in the mailbox of {account} was removed" },
    { "disconnect", NULL, NULL,
      "connection ended: {reason}[; messages accepted: {messages}][; messages retrieved: {retrieved}]" },
};

void trace_put_number(struct buf *out, uint64_t n)
{
    if (n >= 1000) {
        trace_put_number(out, n / 1000);
        buf_addf(out, ",%03u", (unsigned)(n % 1000));
    } else {
        buf_addu(out, n);
    }
}

static void put_time(struct buf *out, uint64_t us, size_t from, size_t n)
{
    char text[DATE_3339_LEN];
    date_put_3339(text, us);
    buf_add(out, str_of(text + from, n));
}

void trace_put_clock(struct buf *out, uint64_t us) { put_time(out, us, 11, 12); }
void trace_put_date(struct buf *out, uint64_t us) { put_time(out, us, 0, 10); }

void trace_put_moment(struct buf *out, uint64_t us)
{
    trace_put_date(out, us);
    buf_addc(out, ' ');
    put_time(out, us, 11, 8);
    buf_add(out, S(" UTC"));
}

void trace_put_id(struct buf *out, const struct trace_line *line)
{
    buf_add(out, str_of(line->session, B32_ID_LEN));
    if (line->number)
        buf_addf(out, ".%u", line->number);
}

static str value_of(const struct trace_event *e, str key, str hidden)
{
    for (size_t i = 0; i < e->n; i++)
        if (str_eq(e->field[i].key, key))
            return str_eq(key, hidden) ? STR_NONE : e->field[i].value;
    return STR_NONE;
}

static void put_all(struct buf *out, const struct trace_event *e, str key)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n; i++) {
        if (!str_eq(e->field[i].key, key))
            continue;
        if (n++ >= VALUES_MAX)
            continue;
        buf_add(out, n > 1 ? S(", <") : S("<"));
        print_safe(out, e->field[i].value);
        buf_addc(out, '>');
    }
    if (n > VALUES_MAX)
        buf_addf(out, " and %zu more", n - VALUES_MAX);
}

/* One {…} of a template. False: in brackets it would drop them. */
static bool put_key(struct buf *out, str key, const struct trace_event *e, str hidden)
{
    uint64_t number;
    ptrdiff_t other = str_chr(key, '!');
    str unlike = other < 0 ? STR_NONE : value_of(e, str_from(key, (size_t)other + 1), STR_NONE);
    char kind = key.n && !ascii_alnum(key.p[key.n - 1]) ? key.p[key.n - 1] : '\0';
    key = other >= 0 ? str_first(key, (size_t)other) : kind ? str_first(key, key.n - 1) : key;
    str value = value_of(e, key, hidden);
    if (kind == '*')
        put_all(out, e, key);
    else if (kind == '#' && str_u64(value, UINT64_MAX, &number) == 0)
        trace_put_number(out, number);
    else if (kind != '?')
        print_safe(out, value);
    return value.n && !str_eq(value, S("0")) && !(other >= 0 && str_ieq(value, unlike));
}

void trace_fill(struct buf *out, const char *pattern, const struct trace_event *e, const char *hidden)
{
    str s = str_z(pattern);
    size_t bracket = 0; /* where the open one began */
    bool keep = true;
    while (s.n) {
        char c = s.p[0];
        s = str_from(s, 1);
        if (c == '[') {
            bracket = out->n;
            keep = true;
        } else if (c == ']') {
            out->n = keep ? out->n : bracket;
        } else if (c == '{') {
            keep &= put_key(out, str_cut(&s, '}'), e, str_z(hidden));
        } else {
            buf_addc(out, c);
        }
    }
}

/* An event that this version does not know: its fields. */
static void put_fields(struct buf *out, const struct trace_event *e)
{
    static const str head[] = { S("time"), S("level"), S("event"), S("role"), S("session") };
    print_safe(out, e->name);
    for (size_t i = 0; i < e->n; i++) {
        bool skip = false;
        for (size_t j = 0; j < ARRAY_LEN(head); j++)
            skip |= str_eq(e->field[i].key, head[j]);
        if (skip)
            continue;
        buf_addc(out, ' ');
        print_safe(out, e->field[i].key);
        buf_addc(out, '=');
        print_safe(out, e->field[i].value);
    }
}

void trace_sentence(struct buf *out, const struct trace_event *e, bool brief)
{
    for (size_t i = 0; i < ARRAY_LEN(sentences); i++) {
        const struct sentence *s = &sentences[i];
        if (!str_eq(e->name, str_z(s->event)) || (s->key && !trace_is(e, s->key, str_z(s->value))))
            continue;
        trace_fill(out, s->pattern, e, brief ? "checks" : NULL);
        return;
    }
    put_fields(out, e);
}

str trace_agent(const struct trace_event *e, str listener)
{
    static const struct { str listener, agent; } agents[] = {
        { S("smtp"), S("MTA") }, { S("lmtp"), S("MTA") }, { S("submission"), S("MSA") }, { S("submissions"), S("MSA") },
    };
    str role = trace_get(e, "role");
    if (str_eq(role, S("access")))
        return S("POP3");
    if (!str_eq(role, S("smtp-in")))
        return role;
    for (size_t i = 0; i < ARRAY_LEN(agents); i++)
        if (str_eq(listener, agents[i].listener))
            return agents[i].agent;
    return S("SMTP");
}

/* Keys whose values are numbers in every event: a peer's text never turns up as a JSON number. */
static bool is_number_key(str key)
{
    static const str keys[] = {
        S("port"),        S("code"),
        S("line"),        S("size"),
        S("segment"),     S("offset"),
        S("uid"),         S("lsn"),
        S("messages"),    S("retrieved"),
        S("added_date"),  S("added_message_id"),
        S("added_from"),  S("completed_addresses"),
        S("removed_bcc"),
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (str_eq(key, keys[i]))
            return true;
    return false;
}

static json_t *json_value(str key, str value)
{
    uint64_t number;
    if (is_number_key(key) && str_u64(value, INT64_MAX, &number) == 0)
        return json_integer((json_int_t)number);
    if (utf8_valid(value))
        return json_stringn(value.n ? value.p : "", value.n);
    _cleanup_buf_ struct buf safe = BUF(value.n * 4 + 1);
    return print_safe(&safe, value) < 0 ? NULL : json_stringn(safe.p, safe.n);
}

static int add_field(json_t *object, const struct trace_field *f)
{
    _cleanup_free_ char *key = str_dupz(f->key);
    json_t *value = json_value(f->key, f->value), *old = key ? json_object_get(object, key) : NULL;
    if (!key || !value) {
        json_decref(value);
        return -ENOMEM;
    }
    if (!old)
        return json_object_set_new(object, key, value);
    if (json_is_array(old))
        return json_array_append_new(old, value);
    json_t *array = json_array();
    if (!array || json_array_append(array, old) < 0 || json_array_append_new(array, value) < 0) {
        json_decref(array);
        return -ENOMEM;
    }
    return json_object_set_new(object, key, array);
}

json_t *trace_event_json(const struct trace_event *e)
{
    json_t *object = json_object();
    int r = object ? 0 : -ENOMEM;
    for (size_t i = 0; i < e->n && r == 0; i++)
        r = add_field(object, &e->field[i]);
    if (r == 0)
        return object;
    json_decref(object);
    return NULL;
}

int trace_put_json(struct buf *out, json_t *j)
{
    _cleanup_free_ char *text = j ? json_dumps(j, JSON_INDENTED) : NULL;
    json_decref(j);
    if (!text)
        return -ENOMEM;
    buf_add(out, str_z(text));
    return buf_addc(out, '\n');
}
