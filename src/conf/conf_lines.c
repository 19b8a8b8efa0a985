/* Logical lines of lookup tables (the layout of Postfix's access(5)), of accounts and of aliases. */
#include "base/event.h"
#include "conf/conf_private.h"
#include <errno.h>

struct conf_lines conf_lines_init(str file, str text, bool continues)
{
    if (str_starts(text, S("\xef\xbb\xbf")))
        text = str_from(text, 3);
    return (struct conf_lines){ .file = file, .text = text, .line = 1, .continues = continues };
}

/* The next physical line without its end; NULL p at the end of the text. */
static str physical(struct conf_lines *l)
{
    if (l->text.n == 0)
        return STR_NONE;
    l->line++;
    return str_cut(&l->text, '\n');
}

static bool blank_or_comment(str line)
{
    str s = str_trim(line);
    return s.n == 0 || s.p[0] == '#';
}

static int check(struct conf_lines *l, struct arena *a, str line, struct conf_error *e)
{
    for (size_t i = 0; i < line.n; i++)
        if (((unsigned char)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 127)
            return conf_fail(a, e, l->file, l->line - 1, "a control byte in the line");
    if (!utf8_valid(line))
        return conf_fail(a, e, l->file, l->line - 1, "the line is not UTF-8");
    return 0;
}

/* The text of the lines that continue, each after one space. Two passes over them: measure, then copy. */
static int join(struct conf_lines *l, struct arena *a, str *line, struct conf_error *e)
{
    struct conf_lines look = *l;
    size_t total = line->n;
    bool more = false;
    while (look.text.n && (ascii_blank(look.text.p[0]) || blank_or_comment(str_first(look.text, 1)))) {
        str next = physical(&look);
        if (blank_or_comment(next))
            continue;
        if (!ascii_blank(next.p[0]))
            break;
        next = str_trim(next);
        int r = check(&look, a, next, e);
        if (r < 0)
            return r;
        total += 1 + next.n;
        more = true;
    }
    if (!more)
        return 0;
    char *p = arena_alloc(a, total);
    if (!p)
        return -ENOMEM;
    memcpy(p, line->p, line->n);
    size_t n = line->n;
    while (n < total) {
        str next = physical(l);
        if (blank_or_comment(next))
            continue;
        next = str_trim(next);
        p[n++] = ' ';
        memcpy(p + n, next.p, next.n);
        n += next.n;
    }
    *line = str_of(p, n);
    return 0;
}

int conf_lines_next(struct conf_lines *l, struct arena *a, str *out_line, struct conf_error *out_error)
{
    while (l->text.n) {
        str line = physical(l);
        if (blank_or_comment(line))
            continue;
        l->at = l->line - 1;
        if (l->continues && ascii_blank(line.p[0]))
            return conf_fail(a, out_error, l->file, l->at, "a line that starts with a blank continues the one before, "
                             "and there is none");
        line = str_trim(line);
        int r = check(l, a, line, out_error);
        if (r == 0 && l->continues)
            r = join(l, a, &line, out_error);
        if (r < 0)
            return r;
        *out_line = line;
        return 1;
    }
    return 0;
}

/* Index of the first c outside "…" (with \ escapes inside), or -1. */
static ptrdiff_t find_unquoted(str s, char c)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (quoted && s.p[i] == '\\')
            i++;
        else if (!quoted && s.p[i] == c)
            return (ptrdiff_t)i;
    }
    return -1;
}

str conf_target_next(str *rest)
{
    str target = STR_NONE;
    while (target.n == 0 && rest->n) {
        ptrdiff_t at = find_unquoted(*rest, ',');
        target = str_trim(at < 0 ? *rest : str_first(*rest, (size_t)at));
        *rest = at < 0 ? STR_NONE : str_from(*rest, (size_t)at + 1);
    }
    return target;
}

str conf_unquote(struct arena *a, str text)
{
    if (text.n < 2 || text.p[0] != '"' || text.p[text.n - 1] != '"')
        return text;
    char *p = ARENA_ARRAY(a, char, text.n);
    size_t n = 0;
    for (size_t i = 1; p && i + 1 < text.n; i++) {
        if (text.p[i] == '\\' && i + 2 < text.n)
            i++;
        p[n++] = text.p[i];
    }
    return str_of(p, n);
}

str conf_option_next(str *rest)
{
    str s = str_trim(*rest);
    size_t end = 0;
    for (bool quoted = false; end < s.n && (quoted || !ascii_blank(s.p[end])); end++) {
        if (s.p[end] == '"')
            quoted = !quoted;
        else if (quoted && s.p[end] == '\\' && end + 1 < s.n)
            end++;
    }
    *rest = str_from(s, end);
    return str_first(s, end);
}

bool conf_target_include(str target, str *out_path)
{
    if (!str_starts(target, S(":include:")))
        return false;
    *out_path = str_trim(str_from(target, 9));
    return true;
}

bool conf_alias_split(str line, str *out_alias, str *out_targets)
{
    ptrdiff_t at = find_unquoted(line, ':');
    if (at <= 0)
        return false;
    *out_alias = str_trim(str_first(line, (size_t)at));
    *out_targets = str_trim(str_from(line, (size_t)at + 1));
    return true;
}
