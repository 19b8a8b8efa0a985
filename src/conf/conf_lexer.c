/* The words and statements of the configuration: grammar in conf.h. Works on slices of the text; only a quoted word
 * with an escape is copied. Every byte is looked at a bounded number of times. */
#include "base/event.h"
#include "conf/conf_private.h"
#include <errno.h>

/* Words of the statement being read; the array doubles in the arena, so what is left behind is at most its own size. */
struct words {
    struct conf_word *word;
    size_t n, cap;
};

struct conf_lexer conf_lexer_init(str file, str text)
{
    if (str_starts(text, S("\xef\xbb\xbf")))
        text = str_from(text, 3);
    return (struct conf_lexer){ .file = file, .text = text, .line = 1 };
}

static char peek(const struct conf_lexer *l, size_t at)
{
    return at < l->text.n ? l->text.p[at] : '\0';
}

static void skip(struct conf_lexer *l, size_t n)
{
    l->text = str_from(l->text, n);
}

/* Bytes of a line end at the start: 0, 1 (LF) or 2 (CR LF). */
static size_t line_end(const struct conf_lexer *l, size_t at)
{
    if (peek(l, at) == '\n')
        return 1;
    return peek(l, at) == '\r' && peek(l, at + 1) == '\n' ? 2 : 0;
}

/* Blanks, comments and continued lines; with `lines` also line ends. */
static void skip_space(struct conf_lexer *l, bool lines)
{
    while (l->text.n) {
        size_t n;
        if (ascii_blank(peek(l, 0))) {
            skip(l, 1);
        } else if (peek(l, 0) == '#') {
            ptrdiff_t end = str_chr(l->text, '\n');
            skip(l, end < 0 ? l->text.n : (size_t)end);
        } else if (peek(l, 0) == '\\' && (n = line_end(l, 1))) {
            skip(l, 1 + n);
            l->line++;
        } else if (lines && (n = line_end(l, 0))) {
            skip(l, n);
            l->line++;
        } else {
            return;
        }
    }
}

static bool ends_word(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ';' || c == '{' || c == '}';
}

/* Copies a quoted word without its backslashes. */
static str unescape(struct arena *a, str s)
{
    str copy = arena_dup(a, s);
    char *p = (char *)copy.p;
    size_t n = 0;
    for (size_t i = 0; i < copy.n; i++) {
        if (p[i] == '\\')
            i++;
        p[n++] = p[i];
    }
    copy.n = n;
    return copy;
}

static int quoted_word(struct conf_lexer *l, struct arena *a, str *out, struct conf_error *e)
{
    bool escapes = false;
    size_t i = 1;
    for (; i < l->text.n && peek(l, i) != '"'; i++) {
        if (peek(l, i) == '\n' || peek(l, i) == '\r')
            break;
        if (peek(l, i) == '\\') {
            escapes = true;
            i++;
            if (peek(l, i) != '"' && peek(l, i) != '\\')
                return conf_fail(a, e, l->file, l->line, "inside quotes a backslash stands only before \" or \\");
        }
    }
    if (peek(l, i) != '"')
        return conf_fail(a, e, l->file, l->line, "a quoted word does not end on its line");
    str inner = str_of(l->text.p + 1, i - 1);
    skip(l, i + 1);
    if (l->text.n && !ends_word(peek(l, 0)) && peek(l, 0) != '#')
        return conf_fail(a, e, l->file, l->line, "after a closing quote a blank is expected");
    *out = escapes ? unescape(a, inner) : inner;
    return escapes && !out->p ? -ENOMEM : 0;
}

static int plain_word(struct conf_lexer *l, struct arena *a, str *out, struct conf_error *e)
{
    size_t i = 0;
    while (i < l->text.n && !ends_word(peek(l, i))) {
        if (peek(l, i) == '"' || peek(l, i) == '\\')
            return conf_fail(a, e, l->file, l->line, "a word with %s must be quoted as a whole",
                             peek(l, i) == '"' ? "a quote" : "a backslash");
        i++;
    }
    *out = str_first(l->text, i);
    skip(l, i);
    return 0;
}

static bool printable(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return false;
    return utf8_valid(s);
}

static int add_word(struct conf_lexer *l, struct arena *a, struct words *w, struct conf_error *e)
{
    struct conf_word word = { .file = l->file, .line = l->line };
    int r = peek(l, 0) == '"' ? quoted_word(l, a, &word.text, e) : plain_word(l, a, &word.text, e);
    if (r < 0)
        return r;
    if (!printable(word.text))
        return conf_fail(a, e, l->file, l->line, "a word holds a control byte or is not UTF-8");
    if (w->n == CONF_STATEMENT_WORDS_MAX)
        return conf_fail(a, e, l->file, l->line, "more than %d words in one statement", CONF_STATEMENT_WORDS_MAX);
    if (w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 4;
        struct conf_word *grown = ARENA_ARRAY(a, struct conf_word, cap);
        if (!grown)
            return -ENOMEM;
        if (w->n)
            memcpy(grown, w->word, w->n * sizeof(*grown));
        w->word = grown;
        w->cap = cap;
    }
    w->word[w->n++] = word;
    return 0;
}

/* A comma: belongs to the word before and promises one after, on this line or a later one. */
static int comma(struct conf_lexer *l, struct arena *a, struct words *w, struct conf_error *e)
{
    if (w->n == 0)
        return conf_fail(a, e, l->file, l->line, "a comma without a word before it");
    uint32_t line = l->line;
    skip(l, 1);
    skip_space(l, true);
    char c = peek(l, 0);
    if (l->text.n == 0 || c == ',' || ends_word(c))
        return conf_fail(a, e, l->file, line, "after a comma a word is expected");
    w->word[w->n - 1].comma = true;
    return 0;
}

/* Reads words up to what ends the statement and takes the end away, but for a `}` that belongs to the block. */
static int read_words(struct conf_lexer *l, struct arena *a, struct words *w, enum conf_statement_kind *out,
                      struct conf_error *e)
{
    for (;;) {
        skip_space(l, false);
        size_t n = line_end(l, 0);
        char c = peek(l, 0);
        if (l->text.n == 0 || n || c == ';' || c == '}') {
            *out = CONF_STATEMENT_PLAIN;
            l->line += n > 0;
            skip(l, n ? n : c == ';');
            return 0;
        }
        if (c == '{') {
            *out = CONF_STATEMENT_OPEN;
            skip(l, 1);
            return 0;
        }
        int r = c == ',' ? comma(l, a, w, e) : add_word(l, a, w, e);
        if (r == 0 && peek(l, 0) == '\r' && !line_end(l, 0))
            r = conf_fail(a, e, l->file, l->line, "a carriage return inside a line");
        if (r < 0)
            return r;
    }
}

int conf_lexer_next(struct conf_lexer *l, struct arena *a, struct conf_statement *out, struct conf_error *out_error)
{
    do
        skip_space(l, true);
    while (peek(l, 0) == ';' && (skip(l, 1), true));
    *out = (struct conf_statement){ .kind = CONF_STATEMENT_END, .line = l->line };
    if (l->text.n == 0)
        return 0;
    if (peek(l, 0) == '}') {
        out->kind = CONF_STATEMENT_CLOSE;
        skip(l, 1);
        return 0;
    }
    if (peek(l, 0) == '{')
        return conf_fail(a, out_error, l->file, l->line, "a { without a statement before it");
    if (peek(l, 0) == '\r')
        return conf_fail(a, out_error, l->file, l->line, "a carriage return inside a line");
    struct words w = { 0 };
    int r = read_words(l, a, &w, &out->kind, out_error);
    out->words = w.word;
    out->n = w.n;
    return r;
}

static bool needs_quotes(str s)
{
    if (s.n == 0 || s.p[0] == '#')
        return true;
    for (size_t i = 0; i < s.n; i++)
        if (ends_word(s.p[i]) || s.p[i] == '"' || s.p[i] == '\\')
            return true;
    return false;
}

void conf_words_print(struct buf *out, const struct conf_word *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        str s = words[i].text;
        bool quotes = needs_quotes(s);
        if (quotes)
            buf_addc(out, '"');
        for (size_t j = 0; j < s.n; j++) {
            if (s.p[j] == '"' || s.p[j] == '\\')
                buf_addc(out, '\\');
            buf_addc(out, s.p[j]);
        }
        if (quotes)
            buf_addc(out, '"');
        if (i + 1 < n)
            buf_add(out, words[i].comma ? S(", ") : S(" "));
    }
}

bool conf_word_takes_table(str word)
{
    return str_starts(word, S("check_")) && str_ends(word, S("_access"));
}

bool conf_word_table_path(str word, str *out_path)
{
    if (!str_starts(word, S("file:")) || word.n == 5)
        return false;
    *out_path = str_from(word, 5);
    return true;
}
