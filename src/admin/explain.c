/* `posthouse explain`: the last refusal of a session, message or address, in plain words: what was refused, by which
 * rule, where that rule stands, what was known, and what would change it. All of it was written into the event when the
 * decision was made. */
#include <errno.h>
#include "admin/admin.h"
#include "admin/trace_query.h"
#include "admin/trace_text.h"
#include "base/event.h"
#include "policy/policy.h"

enum { OTHERS_MAX = 5, INDENT = 13 };
#define EVENT_MEMORY_MAX (16u << 20)

int cmd_explain(int argc, char **argv)
{
    return trace_command("explain", false, explain_print, argc, argv);
}

/* The latest refusals, the latest first, and how many there were; the latest acceptance. */
struct findings {
    struct trace_line refusal[OTHERS_MAX + 1];
    size_t n, refusals, accepted;
    struct trace_line acceptance; /* if accepted */
};

static bool has_value(str line, const char *key, str wanted)
{
    _cleanup_buf_ struct buf value = BUF(256);
    return event_get(line, key, &value) && str_eq(buf_str(&value), wanted);
}

static bool is_refusal(str line, str event)
{
    static const str judged[] = { S("rcpt"), S("mail"), S("helo"), S("client"), S("data") };
    if (str_eq(event, S("refused")))
        return true;
    if (str_eq(event, S("auth")))
        return !has_value(line, "result", S("ok"));
    for (size_t i = 0; i < ARRAY_LEN(judged); i++)
        if (str_eq(event, judged[i]))
            return has_value(line, "verdict", S("reject")) || has_value(line, "verdict", S("defer"));
    return false;
}

static bool is_of_interest(void *arg, str line, str event)
{
    (void)arg;
    return str_eq(event, S("received")) || is_refusal(line, event);
}

static void note(void *arg, const struct trace_line *line, str event)
{
    struct findings *f = arg;
    if (str_eq(event, S("received"))) {
        f->accepted++;
        if (f->accepted == 1 || line->time_us > f->acceptance.time_us)
            f->acceptance = *line;
        return;
    }
    f->refusals++;
    size_t i = f->n;
    if (f->n < ARRAY_LEN(f->refusal))
        f->n++;
    else if (f->refusal[--i].time_us > line->time_us)
        return;
    for (; i > 0 && f->refusal[i - 1].time_us <= line->time_us; i--)
        f->refusal[i] = f->refusal[i - 1];
    f->refusal[i] = *line;
}

static void put_label(struct buf *out, const char *label)
{
    buf_addf(out, "%-*s", INDENT, label);
}

static void put_item(struct buf *out, str text)
{
    buf_addf(out, "  - ");
    print_safe(out, text);
    buf_addc(out, '\n');
}

static void put_what(struct buf *out, const struct trace_event *e)
{
    static const struct { const char *event, *pattern; } rows[] = {
        { "rcpt", "the recipient <{recipient}> of a message from <{sender}>" },
        { "mail", "the sender <{sender}>" },
        { "helo", "the greeting {helo}" },
        { "client", "the connection of {client}" },
        { "data", "the message of <{sender}>, before its content" },
        { "refused", "the message of <{sender}>[ to {recipient*}], after its content ({size#} bytes)" },
        { "auth", "the log-in as {user}" },
    };
    put_label(out, "Refused");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(e->name, str_z(rows[i].event)))
            trace_fill(out, rows[i].pattern, e, NULL);
    buf_addc(out, '\n');
    if (!trace_get(e, "client").n && !trace_get(e, "account").n)
        return;
    put_label(out, "Client");
    trace_fill(out, "{client}[, which greeted as {helo}]", e, NULL);
    if (!str_eq(e->name, S("auth")))
        trace_fill(out, trace_get(e, "account").n ? ", logged in as {account}" : ", not logged in", e, NULL);
    buf_addc(out, '\n');
}

static void put_reply(struct buf *out, const struct trace_event *e)
{
    static const struct { const char *result, *text; } logins[] = {
        { "wrong", "the user name or the password is wrong (SMTP: 535 5.7.8, POP3: -ERR [AUTH])" },
        { "malformed", "what the client sent is not a message of its SASL mechanism (SMTP: 501 5.5.2)" },
        { "unavailable", "passwords could not be checked at that moment; the client may try again (SMTP: 454 4.7.0)" },
    };
    put_label(out, "Reply");
    if (trace_get(e, "code").n)
        trace_fill(out, "{code}[ {enhanced}] {text}", e, NULL);
    for (size_t i = 0; i < ARRAY_LEN(logins); i++)
        if (str_eq(e->name, S("auth")) && trace_is(e, "result", str_z(logins[i].result)))
            buf_add(out, str_z(logins[i].text));
    if (str_starts(trace_get(e, "code"), S("4")))
        buf_add(out, S("\n             (4xx: for now; the sending server tries again by itself)"));
    buf_addc(out, '\n');
}

static bool word_info(str name, struct policy_word_info *out)
{
    for (size_t i = 0; policy_word_info(i, out); i++)
        if (str_eq(name, str_z(out->name)))
            return true;
    return false;
}

static str last_part(str path)
{
    return str_from(path, (size_t)(str_rchr(path, '/') + 1));
}

/* The line that an event names, as the configuration has it today. Only files that the configuration itself names are
 * looked at. */
static bool config_line(const struct trace_query *q, const struct trace_event *e, str *out)
{
    str bundle = buf_str(&q->data->bundle), content, file = trace_get(e, "file"), main = conf_bundle_main(bundle);
    uint64_t line;
    if (str_u64(trace_get(e, "line"), UINT32_MAX, &line) < 0 || line == 0)
        return false;
    bool found = conf_bundle_file(bundle, file, &content);
    if (!found && str_eq(last_part(file), last_part(main))) /* the server was started with another path to it */
        found = conf_bundle_file(bundle, main, &content);
    while (found && --line && content.n)
        str_cut(&content, '\n');
    if (!found || !content.n)
        return false;
    *out = str_trim(str_cut(&content, '\n'));
    return true;
}

static void put_place(const struct trace_query *q, struct buf *out, const struct trace_event *e)
{
    str line, rule = trace_get(e, "rule");
    put_label(out, "Written at");
    if (trace_is(e, "file", S("default"))) {
        buf_add(out, S("nowhere: it is the default of this listener, and the configuration does not set the list\n"));
        return;
    }
    trace_fill(out, "{file}, line {line}", e, NULL);
    if (!config_line(q, e, &line)) {
        buf_add(out, S(" (the configuration of today has no such line)\n"));
        return;
    }
    buf_add(out, str_find(line, rule) < 0 ? S(" (changed since then), today:\n") : S(":\n"));
    buf_addf(out, "%*s", INDENT + 2, "");
    print_safe(out, line);
    buf_addc(out, '\n');
}

static void put_rule(const struct trace_query *q, struct buf *out, const struct trace_event *e)
{
    struct policy_word_info info;
    str rule = trace_get(e, "rule");
    if (!rule.n)
        return;
    put_label(out, "Rule");
    if (rule.p[0] == '(') {
        buf_add(out, S("none of a list: the server itself checks this\n"));
        return;
    }
    trace_fill(out, "{rule}[ in {list}]\n", e, NULL);
    if (word_info(rule, &info))
        buf_addf(out, "%*s%s\n", INDENT, "", info.doc);
    if (trace_get(e, "file").n)
        put_place(q, out, e);
}

/* Does a fact begin here: "; KIND … : "? */
static bool fact_begins(str s)
{
    static const str kinds[] = { S("; table "), S("; address "), S("; owner ") };
    bool kind = false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        kind |= str_starts(s, kinds[i]);
    if (!kind)
        return false;
    s = str_from(s, 2);
    ptrdiff_t end = str_find(s, S("; "));
    return str_find(end < 0 ? s : str_first(s, (size_t)end), S(": ")) >= 0;
}

/* Cuts the next fact off: they stand apart by "; ", which the text of a table's entry may hold too. */
static str next_fact(str *s)
{
    size_t i = 0;
    while (i < s->n && !(s->p[i] == ';' && fact_begins(str_from(*s, i))))
        i++;
    str fact = str_first(*s, i);
    *s = str_from(*s, i + 2);
    return fact;
}

/* "address bob@example.org: foreign" in plain words. Subject and key are filled in as {a} and {b}, the answer as
 * {c}. */
static void put_fact(struct buf *out, str fact)
{
    static const struct { str kind, answer; const char *pattern; } rows[] = {
        { S("address"), S("foreign"), "{a}{b} is in a domain that is not one of this host's" },
        { S("address"), S("unknown here"), "{a}{b} is in a domain of this host, but leads to no account and no alias" },
        { S("address"), S("local"), "{a}{b} leads to a mailbox here" },
        { S("owner"), S("may send"), "the account {a} may send as {b}" },
        { S("owner"), S("may not send"), "the account {a} may not send as {b}" },
        { S("table"), S("no entry"), "the table {a} has no entry for {b}" },
        { S("table"), S("failed"), "the table {a} could not be read for {b}" },
        { S("table"), STR_NONE, "the table {a} says of {b}: {c}" },
    };
    str rest = fact, kind = str_cut(&rest, ' ');
    ptrdiff_t colon = str_find(rest, S(": "));
    str question = colon < 0 ? rest : str_first(rest, (size_t)colon),
        answer = colon < 0 ? STR_NONE : str_from(rest, (size_t)colon + 2);
    ptrdiff_t blank = str_chr(question, ' ');
    struct trace_field field[] = { { S("a"), blank < 0 ? STR_NONE : str_first(question, (size_t)blank) },
                                   { S("b"), str_from(question, (size_t)(blank + 1)) }, { S("c"), answer } };
    struct trace_event e = { .field = field, .n = ARRAY_LEN(field) };
    for (size_t i = 0; colon >= 0 && i < ARRAY_LEN(rows); i++)
        if (str_eq(kind, rows[i].kind) && (!rows[i].answer.n || str_eq(answer, rows[i].answer))) {
            buf_add(out, S("  - "));
            trace_fill(out, rows[i].pattern, &e, NULL);
            buf_addc(out, '\n');
            return;
        }
    put_item(out, fact);
}

static void put_facts(struct buf *out, const struct trace_event *e)
{
    str facts = trace_get(e, "facts");
    if (!facts.n)
        return;
    buf_add(out, S("\nWhat was known\n"));
    while (facts.n)
        put_fact(out, next_fact(&facts));
}

/* "LIST: word=outcome word=outcome LIST: …" as a list below each name. */
static void put_checks(struct buf *out, const struct trace_event *e)
{
    static const struct { str outcome; const char *text;
    } outcomes[] = {
        { S("dunno"), "no opinion" },
        { S("ok"), "ok: the rest of this list was skipped" },
        { S("reject"), "refused" },
        { S("defer"), "refused for now" },
        { S("warn"), "would have refused, but only warns" },
        { S("asked"), "not answered" },
    };
    str checks = trace_get(e, "checks"), word;
    if (!checks.n)
        return;
    buf_add(out, S("\nRules looked at, in order\n"));
    while ((word = str_word(&checks)).n) {
        ptrdiff_t sign = str_rchr(word, '=');
        str name = sign < 0 ? word : str_first(word, (size_t)sign),
            outcome = sign < 0 ? STR_NONE : str_from(word, (size_t)sign + 1);
        size_t begin = out->n;
        buf_add(out, sign < 0 ? S("  ") : S("    "));
        print_safe(out, name);
        for (size_t n = out->n - begin; sign >= 0 && n < 38; n++)
            buf_addc(out, ' ');
        for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
            if (str_eq(outcome, outcomes[i].outcome))
                buf_addf(out, " %s", outcomes[i].text);
        buf_addc(out, '\n');
    }
}

/* Advice for refusals that come without any. */
static const char *advice(const struct trace_event *e)
{
    static const struct { const char *key, *value, *text;
    } rows[] = {
        { "result", "wrong",
          "the right password (`posthouse account passwd {user}` sets a new one), or an account of that name "
          "(`posthouse account add {user}`)" },
        { "result", "malformed",
          "a client that speaks its SASL mechanism correctly; try another mechanism in its settings" },
        { "result", "unavailable", "trying again; if it stays, see `posthouse status` for role auth" },
        { "enhanced", "5.3.4", "a smaller message or header, or a larger `message_size_limit`" },
        { "enhanced", "4.3.1", "more free space on the disk of data_directory, or a smaller `min_free`" },
        { "enhanced", "4.3.0", "trying again; if it stays, see the log of the server and `posthouse status`" },
        { "enhanced", "5.4.6", "breaking the circle: some server sends the message back here again and again" },
    };
    struct policy_word_info info;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (trace_is(e, rows[i].key, str_z(rows[i].value)))
            return rows[i].text;
    return word_info(trace_get(e, "rule"), &info) && info.remedy && *info.remedy ? info.remedy : NULL;
}

static void put_changes(struct buf *out, const struct trace_event *e)
{
    size_t at = 0, n = 0;
    str change;
    while (trace_next(e, "change", &at, &change)) {
        if (n++ == 0)
            buf_add(out, S("\nWhat would change it\n"));
        put_item(out, change);
    }
    const char *text = n ? NULL : advice(e);
    if (!text)
        return;
    buf_add(out, S("\nWhat would change it\n  - "));
    trace_fill(out, text, e, NULL);
    buf_addc(out, '\n');
}

static int put_others(struct buf *out, const struct findings *f, struct arena *a)
{
    if (f->refusals < 2)
        return 0;
    buf_addf(out, "\n%zu other refusal%s", f->refusals - 1, f->refusals == 2 ? "" : "s");
    if (f->n < f->refusals)
        buf_addf(out, ", the last %zu of them", f->n - 1);
    buf_add(out, S(" (each can be explained by its id or its recipient):\n"));
    for (size_t i = 1; i < f->n; i++) {
        struct trace_event e;
        int r = trace_event_read(a, &f->refusal[i], &e);
        if (r < 0)
            return r;
        buf_add(out, S("  "));
        trace_put_moment(out, f->refusal[i].time_us);
        buf_add(out, S("  "));
        trace_put_id(out, &f->refusal[i]);
        buf_add(out, S("  "));
        trace_sentence(out, &e, true);
        buf_addc(out, '\n');
    }
    return 0;
}

static void put_accepted(struct buf *out, const struct findings *f)
{
    if (!f->accepted)
        return;
    if (f->n)
        buf_addc(out, '\n');
    buf_addf(out, "%zu message%s accepted, the last at ", f->accepted, f->accepted == 1 ? " was" : "s were");
    trace_put_moment(out, f->acceptance.time_us);
    buf_add(out, S(": posthouse trace "));
    trace_put_id(out, &f->acceptance);
    buf_addc(out, '\n');
}

static int print_text(const struct trace_query *q, const struct findings *f, struct arena *a, struct buf *out)
{
    struct trace_event e;
    if (!f->n) {
        buf_add(out, S("Nothing was refused. "));
        put_accepted(out, f);
        return 0;
    }
    int r = trace_event_read(a, &f->refusal[0], &e);
    if (r < 0)
        return r;
    put_label(out, "When");
    trace_put_moment(out, e.time_us);
    buf_add(out, f->refusal[0].number ? S(", message ") : S(", session "));
    trace_put_id(out, &f->refusal[0]);
    buf_addc(out, '\n');
    put_what(out, &e);
    put_reply(out, &e);
    put_rule(q, out, &e);
    put_facts(out, &e);
    put_checks(out, &e);
    put_changes(out, &e);
    r = put_others(out, f, a);
    put_accepted(out, f);
    return r;
}

static int set_event(json_t *object, const char *key, struct arena *a, const struct trace_line *line,
                     struct trace_event *out_event)
{
    int r = line ? trace_event_read(a, line, out_event) : 0;
    if (r < 0)
        return r;
    return json_object_set_new(object, key, line ? trace_event_json(out_event) : json_null()) < 0 ? -ENOMEM : 0;
}

static int print_json(const struct trace_query *q, const struct findings *f, struct arena *a, struct buf *out)
{
    json_t *object = json_object();
    struct trace_event e = { 0 }, accepted;
    str line = STR_NONE;
    int r = object ? set_event(object, "refusal", a, f->n ? &f->refusal[0] : NULL, &e) : -ENOMEM;
    if (r == 0)
        r = set_event(object, "accepted", a, f->accepted ? &f->acceptance : NULL, &accepted);
    if (r == 0 && config_line(q, &e, &line) && utf8_valid(line))
        r = json_object_set_new(object, "configuration_line", json_stringn(line.n ? line.p : "", line.n));
    if (r == 0)
        r = json_object_set_new(object, "refusals", json_integer((json_int_t)f->refusals));
    if (r == 0)
        r = json_object_set_new(object, "acceptances", json_integer((json_int_t)f->accepted));
    if (r == 0)
        return trace_put_json(out, object);
    json_decref(object);
    return -ENOMEM;
}

static int print_nothing(const struct trace_query *q, size_t lines, struct buf *out, struct buf *complaint)
{
    if (q->json)
        buf_add(out, S("{}\n"));
    buf_add(complaint, S("explain: no refusal "));
    buf_add(complaint, lines ? S("and no accepted message of ") : S("of and no message with the address "));
    print_safe(complaint, q->what);
    buf_add(complaint, S(" is in "));
    trace_put_searched(q, complaint);
    if (lines) {
        buf_add(complaint, S(". What there is, shows `posthouse trace "));
        print_safe(complaint, q->what);
        buf_addc(complaint, '`');
    }
    return 1;
}

static void note_lines(struct findings *f, const struct trace_lines *l, bool message_only)
{
    for (size_t i = 0; i < l->n; i++) {
        str event = trace_line_event(l->line[i].text);
        if ((l->line[i].number || !message_only) && is_of_interest(NULL, l->line[i].text, event))
            note(f, &l->line[i], event);
    }
}

int explain_print(const struct trace_query *q, struct buf *out, struct buf *complaint)
{
    _cleanup_trace_lines_ struct trace_lines l = { 0 };
    _cleanup_arena_ struct arena a = ARENA(EVENT_MEMORY_MAX);
    struct findings f = { 0 };
    int r = 0;
    if (trace_is_address(q->what)) {
        struct trace_visitor v = { .wanted = is_of_interest, .found = note, .arg = &f };
        trace_find_address(q->trace, q->what, &v);
    } else {
        r = trace_query_lines(q, &l, out, complaint);
    }
    if (r)
        return r;
    bool message = str_chr(q->what, '.') >= 0;
    note_lines(&f, &l, message);
    if (message && !f.n && !f.accepted) /* it did not come to a message: a refused log-in, perhaps */
        note_lines(&f, &l, false);
    if (!f.n && !f.accepted)
        return print_nothing(q, l.n, out, complaint);
    r = q->json ? print_json(q, &f, &a, out) : print_text(q, &f, &a, out);
    if (r < 0) {
        buf_addf(complaint, "explain: the answer cannot be put together: %s", strerror(-r));
        return EXIT_IO;
    }
    return 0;
}
