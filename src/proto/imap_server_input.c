/* Reading for the IMAP engine: lines, literals that are gathered, given out (APPEND) or skipped. */
#include "proto/imap_engine.h"

/* "{5}", "{5+}", "~{5}" at the end; a size beyond 64 bits is one that is never reached. */
bool imap_engine_literal_at_end(str line, struct imap_literal *out)
{
    uint64_t n = 0;
    if (line.n < 3 || line.p[line.n - 1] != '}')
        return false;
    bool sync = line.p[line.n - 2] != '+';
    size_t end = line.n - (sync ? 1 : 2), at = end;
    while (at > 0 && end - at <= 20 && ascii_digit(line.p[at - 1]))
        at--;
    if (at == end || at == 0 || line.p[at - 1] != '{')
        return false;
    if (str_u64(str_of(line.p + at, end - at), UINT64_MAX, &n) < 0)
        n = UINT64_MAX;
    *out = (struct imap_literal){ .sync = sync, .n = n };
    return true;
}

static size_t line_max(const struct imap_server *s)
{
    size_t max = s->state == IMAP_NOT_AUTHENTICATED ? IMAP_EARLY_MAX : IMAP_LINE_MAX;
    size_t total = s->state == IMAP_NOT_AUTHENTICATED ? IMAP_EARLY_MAX : IMAP_COMMAND_MAX;
    return MIN(max, total - MIN(total, s->line_at));
}

static str without_line_end(str line)
{
    if (str_ends(line, S("\n")))
        line.n--;
    if (str_ends(line, S("\r")))
        line.n--;
    return line;
}

static void run_line(struct imap_server *s, struct imap_event *ev)
{
    str text = without_line_end(buf_str(&s->cmd)), line = str_from(text, s->line_at);
    struct imap_literal literal;
    bool has_literal = imap_engine_literal_at_end(line, &literal);
    if (s->cmd.failed)
        s->closing = true;
    else if (s->reading == READ_SASL)
        imap_engine_sasl_line(s, line, ev);
    else if (s->reading == READ_IDLE)
        imap_engine_idle_line(s, line, ev);
    else if (s->reading == READ_APPEND_NEXT)
        imap_engine_append_line(s, line, has_literal ? &literal : NULL, ev);
    else if (has_literal)
        imap_engine_partial(s, text, &literal, ev);
    else
        imap_engine_command(s, text, ev);
}

/* Up to the end of a line into cmd. */
static bool read_line(struct imap_server *s, str rest, size_t *used, struct imap_event *ev)
{
    size_t room = line_max(s) - MIN(line_max(s), s->cmd.n - s->line_at);
    const char *lf = rest.n ? memchr(rest.p, '\n', MIN(rest.n, room)) : NULL;
    size_t n = lf ? (size_t)(lf - rest.p) + 1 : MIN(rest.n, room);
    buf_add(&s->cmd, str_of(rest.p, n));
    *used += n;
    if (lf)
        run_line(s, ev);
    else if (n < rest.n)
        imap_engine_too_long(s, ev);
    else
        return false;
    return true;
}

/* Only the end of the line is kept in cmd. */
static bool skip_line(struct imap_server *s, str rest, size_t *used)
{
    if (rest.n == 0)
        return false;
    const char *lf = memchr(rest.p, '\n', rest.n);
    size_t n = lf ? (size_t)(lf - rest.p) + 1 : rest.n;
    size_t keep = MIN(n, IMAP_TAIL);
    buf_add(&s->cmd, str_of(rest.p + n - keep, keep));
    if (s->cmd.n > IMAP_TAIL)
        buf_drop(&s->cmd, s->cmd.n - IMAP_TAIL);
    *used += n;
    s->skipped += n;
    if (s->state == IMAP_NOT_AUTHENTICATED && s->skipped > IMAP_SKIP_MAX)
        imap_engine_bye(s, STR_NONE, S("Line is too long"));
    if (s->closing)
        return true;
    if (!lf)
        return false;
    struct imap_literal literal;
    if (imap_engine_literal_at_end(without_line_end(buf_str(&s->cmd)), &literal) && !literal.sync) {
        imap_engine_skip(s, &literal);
    } else {
        s->reading = READ_COMMAND;
        s->over = true;
    }
    return true;
}

/* Takes of a literal what there is. */
static str take(struct imap_server *s, str rest, size_t *used)
{
    str piece = str_first(rest, (size_t)MIN(s->literal_left, (uint64_t)rest.n));
    s->literal_left -= piece.n;
    *used += piece.n;
    return piece;
}

static bool read_literal(struct imap_server *s, str rest, size_t *used)
{
    buf_add(&s->cmd, take(s, rest, used));
    if (s->literal_left)
        return false;
    s->reading = READ_COMMAND;
    s->line_at = s->cmd.n;
    return true;
}

static bool skip_literal(struct imap_server *s, str rest, size_t *used)
{
    s->skipped += take(s, rest, used).n;
    if (s->literal_left)
        return false;
    s->reading = SKIP_LINE;
    buf_clear(&s->cmd);
    return true;
}

static bool give_literal(struct imap_server *s, str rest, size_t *used, struct imap_event *ev)
{
    if (s->literal_left == 0) {
        imap_engine_append_full(s, ev);
        return true;
    }
    ev->data = take(s, rest, used);
    ev->has_data = ev->data.n > 0;
    if (ev->data.n)
        ev->kind = IMAP_EV_APPEND_DATA;
    return ev->data.n > 0;
}

bool imap_engine_read(struct imap_server *s, str in, size_t *used, struct imap_event *ev)
{
    str rest = str_from(in, *used);
    switch (s->reading) {
    case READ_LITERAL:
        return read_literal(s, rest, used);
    case READ_APPEND:
        return give_literal(s, rest, used, ev);
    case SKIP_LITERAL:
        return skip_literal(s, rest, used);
    case SKIP_LINE:
        return skip_line(s, rest, used);
    default:
        return rest.n > 0 && read_line(s, rest, used, ev);
    }
}
