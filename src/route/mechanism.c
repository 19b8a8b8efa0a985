/* The mechanisms of the MDA as texts: see mechanism.h. */
#include "route/mechanism.h"
#include <errno.h>
#include "base/buf.h"

const char *const mechanism_name[MECHANISM_KINDS] = {
    [MECHANISM_MAILBOX] = "mailbox", [MECHANISM_SMTP] = "smtp",       [MECHANISM_LMTP] = "lmtp",
    [MECHANISM_COMMAND] = "command", [MECHANISM_MBOX] = "mbox",       [MECHANISM_MAILDIR] = "maildir",
    [MECHANISM_STDOUT] = "stdout",   [MECHANISM_FORWARD] = "forward",
};

enum takes { NOTHING, A_PATH, A_HOST };

/* Words that begin a mechanism. With a value they are followed by a colon. */
static const struct { enum mechanism_kind kind; enum takes takes; } words[] = {
    { MECHANISM_MAILBOX, NOTHING }, { MECHANISM_STDOUT, NOTHING }, { MECHANISM_FORWARD, NOTHING },
    { MECHANISM_MBOX, A_PATH },     { MECHANISM_MAILDIR, A_PATH }, { MECHANISM_SMTP, A_HOST },
    { MECHANISM_LMTP, A_HOST },
};

static bool bad(const char **out_why, const char *why)
{
    *out_why = why;
    return false;
}

static bool has_control(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

/* ".." would make of a name in %n another folder, and nobody needs it. */
static bool has_dots(str path)
{
    while (path.n)
        if (str_eq(str_cut(&path, '/'), S("..")))
            return true;
    return false;
}

static bool parse_path(struct mechanism *m, str text, const char **out_why)
{
    if (!str_starts(text, S("/")) && !str_starts(text, S("~/")))
        return bad(out_why, "the path must begin with / or ~/");
    if (has_dots(text))
        return bad(out_why, "the path must not have .. in it");
    if (m->kind == MECHANISM_MAILDIR)
        while (text.n && str_ends(text, S("/")))
            text.n--;
    if (!text.n || str_eq(text, S("~")))
        return bad(out_why, "the path must name a folder below / or ~/");
    if (str_ends(text, S("/")))
        return bad(out_why, m->kind == MECHANISM_MBOX ? "this path is of a folder; an mbox is a file" :
                                                        "the path must not be a folder's");
    m->path = text;
    return true;
}

static bool parse_port(str text, uint16_t *out, const char **out_why)
{
    uint64_t port;
    if (str_u64(text, UINT16_MAX, &port) < 0 || port == 0)
        return bad(out_why, "the port must be a number from 1 to 65535");
    *out = (uint16_t)port;
    return true;
}

static bool parse_host(struct mechanism *m, str text, const char **out_why)
{
    if (m->kind == MECHANISM_LMTP && str_starts(text, S("/")))
        return parse_path(m, text, out_why);
    ptrdiff_t close = str_chr(text, ']'), colon = str_rchr(text, ':');
    str port = STR_NONE;
    bool has_port = false;
    if (str_starts(text, S("[")) && close > 0) {
        str rest = str_from(text, (size_t)close + 1);
        has_port = str_starts(rest, S(":"));
        if (rest.n && !has_port)
            return bad(out_why, "only :PORT may follow the bracket");
        port = str_from(rest, 1);
        text = str_of(text.p + 1, (size_t)close - 1);
    } else if (colon >= 0) {
        has_port = true;
        port = str_from(text, (size_t)colon + 1);
        text = str_first(text, (size_t)colon);
        if (str_chr(text, ':') >= 0)
            return bad(out_why, "an IPv6 address needs brackets");
    }
    if (!text.n)
        return bad(out_why, "the host is missing");
    for (size_t i = 0; i < text.n; i++)
        if (!ascii_alnum(text.p[i]) && text.p[i] != '.' && text.p[i] != '-' && text.p[i] != '_' && text.p[i] != ':')
            return bad(out_why, "this is not a host name");
    m->host = text;
    return !has_port || parse_port(port, &m->port, out_why);
}

static bool parse_command(struct mechanism *m, str text, const char **out_why)
{
    m->kind = MECHANISM_COMMAND;
    m->command = str_trim(text);
    return m->command.n || bad(out_why, "a command is missing behind the bar");
}

bool mechanism_parse(str text, struct mechanism *out, const char **out_why)
{
    *out = (struct mechanism){ 0 };
    if (text.n > MECHANISM_MAX)
        return bad(out_why, "it is too long");
    if (has_control(text))
        return bad(out_why, "it has a control byte");
    if (str_starts(text, S("|")))
        return parse_command(out, str_from(text, 1), out_why);
    if (str_starts(text, S("/")) || str_starts(text, S("~/"))) {
        out->kind = str_ends(text, S("/")) ? MECHANISM_MAILDIR : MECHANISM_MBOX;
        return parse_path(out, text, out_why);
    }
    str value = text, word = str_cut(&value, ':');
    bool has_value = word.n < text.n;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!str_eq(word, str_z(mechanism_name[words[i].kind])))
            continue;
        out->kind = words[i].kind;
        if (has_value != (words[i].takes != NOTHING))
            return bad(out_why, has_value ? "this word takes no value" : "this word needs a colon and a value");
        return words[i].takes == A_PATH   ? parse_path(out, value, out_why)
               : words[i].takes == A_HOST ? parse_host(out, value, out_why) : true;
    }
    return bad(out_why, "expected mailbox, smtp:HOST, lmtp:HOST, lmtp:/SOCKET, |COMMAND, mbox:/PATH, maildir:/PATH, "
                        "stdout or forward");
}

bool mechanism_is(str text)
{
    if (str_starts(text, S("|")) || str_starts(text, S("/")) || str_starts(text, S("~/")))
        return true;
    str value = text, word = str_cut(&value, ':');
    bool has_value = word.n < text.n;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (has_value && words[i].takes != NOTHING && str_eq(word, str_z(mechanism_name[words[i].kind])))
            return true;
    return false;
}

bool mechanism_is_local(enum mechanism_kind kind)
{
    return kind == MECHANISM_COMMAND || kind == MECHANISM_MBOX || kind == MECHANISM_MAILDIR ||
           kind == MECHANISM_STDOUT || kind == MECHANISM_FORWARD;
}

str mechanism_next(str *list)
{
    return str_cut(list, '\n');
}

/* Reads one word into out, which has room for it. False: a quote is open at the end. */
static bool read_word(str s, size_t *at, char *out)
{
    char quote = 0;
    size_t n = 0, i = *at;
    for (; i < s.n && (quote || !ascii_blank(s.p[i])); i++) {
        char c = s.p[i];
        if (c == '\\' && quote != '\'' && i + 1 < s.n)
            out[n++] = s.p[++i];
        else if (quote ? c == quote : c == '"' || c == '\'')
            quote = quote ? 0 : c;
        else
            out[n++] = c;
    }
    out[n] = '\0';
    *at = i;
    return !quote;
}

char **mechanism_words(struct arena *a, str command, size_t *out_n, const char **out_why)
{
    command = str_trim(command);
    char **list = ARENA_ARRAY(a, char *, command.n / 2 + 2);
    char *text = ARENA_ARRAY(a, char, command.n + 2);
    size_t n = 0;
    *out_why = "";
    if (!list || !text)
        return NULL;
    for (size_t at = 0; at < command.n;) {
        list[n++] = text;
        if (!read_word(command, &at, text)) {
            *out_why = "a quote is not closed";
            return NULL;
        }
        text += strlen(text) + 1;
        while (at < command.n && ascii_blank(command.p[at]))
            at++;
    }
    list[n] = NULL;
    *out_n = n;
    if (n && list[0][0])
        return list;
    *out_why = "there is no command";
    return NULL;
}

/* Of a path: no slash, no dot in front. Of a command nothing that a shell or mechanism_words() would see, no option. */
static bool may_be_part(str address, bool of_command)
{
    if (!address.n || str_starts(address, S(".")) || str_starts(address, S("@")) || has_control(address))
        return false;
    if (of_command && str_starts(address, S("-")))
        return false;
    for (size_t i = 0; i < address.n; i++) {
        char c = address.p[i];
        bool plain = ascii_alnum(c) || str_chr(S("@._+-=%"), c) >= 0;
        if (c == '/' || (of_command && !plain))
            return false;
    }
    return true;
}

str mechanism_expand(struct arena *a, str text, str address, const char **out_why)
{
    ptrdiff_t at = str_rchr(address, '@');
    str local = at < 0 ? address : str_first(address, (size_t)at);
    const struct { char letter; str value; } values[] = {
        { 'u', address },
        { 'n', local },
        { 'd', at < 0 ? STR_NONE : str_from(address, (size_t)at + 1) },
        { '%', S("%") },
    };
    struct buf b = BUF(MECHANISM_MAX);
    *out_why = "";
    bool used = false;
    for (size_t i = 0; i < text.n; i++) {
        size_t v = text.p[i] == '%' && i + 1 < text.n ? 0 : ARRAY_LEN(values);
        while (v < ARRAY_LEN(values) && values[v].letter != text.p[i + 1])
            v++;
        if (v == ARRAY_LEN(values)) {
            buf_addc(&b, text.p[i]);
            continue;
        }
        buf_add(&b, values[v].value);
        used = used || values[v].letter != '%';
        i++;
    }
    str result = STR_NONE;
    if (used && !may_be_part(address, str_starts(text, S("|"))))
        *out_why = "the account's name has bytes that cannot be part of a path or a command";
    else if (b.failed == -ENOBUFS)
        *out_why = "with the account's name in it, it is too long";
    else
        result = arena_dup(a, buf_str(&b));
    buf_done(&b);
    return result;
}
