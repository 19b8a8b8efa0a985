/* Message ids: see message_id.h. An id ends at the next bracket, whatever stands before it, so one pass is enough. */
#include "message/message_id.h"

/* The bytes of one id, collected. */
struct id {
    struct buf *out;
    size_t from; /* where it begins in out */
    size_t at;   /* where its last "@" is in out; SIZE_MAX: nowhere */
    bool quoted, bad;
};

static bool is_bracket(char c)
{
    return c == '<' || c == '>';
}

static void id_add(struct id *id, char c)
{
    if (c == '@' && !id->quoted)
        id->at = id->out->n;
    id->bad |= (unsigned char)c < 32 || c == 127 || id->out->n - id->from == MESSAGE_ID_MAX;
    if (!id->bad)
        buf_addc(id->out, c);
}

/* How many bytes from s.p[i] on are letters, digits, dots and the like, which stand for themselves. */
static size_t plain_run(str s, size_t i)
{
    size_t n = 0;
    while (i + n < s.n && (ascii_alnum(s.p[i + n]) || s.p[i + n] == '.' || s.p[i + n] == '-' || s.p[i + n] == '_'))
        n++;
    return n;
}

/* From *i up to the next bracket, where *i is left. */
static void id_read(struct id *id, str s, size_t *i)
{
    for (; *i < s.n && !is_bracket(s.p[*i]); (*i)++) {
        char c = s.p[*i];
        if (c == '\r' || c == '\n' || (ascii_blank(c) && !id->quoted))
            continue;
        if (c == '"') {
            id->quoted = !id->quoted;
            continue;
        }
        size_t run = id->bad ? 0 : plain_run(str_first(s, *i + MESSAGE_ID_MAX - (id->out->n - id->from)), *i);
        if (run) {
            buf_add(id->out, str_of(s.p + *i, run));
            *i += run - 1;
            continue;
        }
        bool escapes = id->quoted && c == '\\' && *i + 1 < s.n && !is_bracket(s.p[*i + 1]);
        id_add(id, escapes ? s.p[++*i] : c);
    }
    id->bad |= *i == s.n || s.p[*i] != '>' || id->quoted;
}

static bool id_valid(const struct id *id)
{
    return !id->bad && !id->out->failed && id->at != SIZE_MAX && id->at > id->from && id->at + 1 < id->out->n;
}

bool message_id_next(str *value, struct buf *out)
{
    str s = *value;
    bool found = false;
    size_t i = 0;
    while (i < s.n && !found)
        if (s.p[i++] == '<') {
            struct id id = { .out = out, .from = out->n, .at = SIZE_MAX };
            id_read(&id, s, &i);
            found = id_valid(&id);
            if (!found && !out->failed)
                out->n = id.from;
        }
    *value = str_from(s, i);
    return found;
}
