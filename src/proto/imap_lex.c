/* The words of IMAP: see imap_lex.h. */
#include "proto/imap_lex.h"
#include "base/date.h"
#include "base/event.h"
#include "proto/imap_write.h"
#include <errno.h>
#include <stdio.h>

enum { ATOM = 1, ASTRING = 2, LIST = 4, WORD = 8 };
#define A (ATOM | ASTRING | LIST)
#define W (A | WORD)

/* RFC 9051 9: ATOM-CHAR, ASTRING-CHAR (with "]"), list-char (with the wildcards too). */
static const uint8_t classes[256] = {
    ['!'] = A, ['#'] = A, ['$'] = A, ['&'] = A, ['\''] = A, ['+'] = W, [','] = A, ['-'] = W, ['.'] = W, ['/'] = A,
    ['0' ... '9'] = W, [':'] = A, [';'] = A, ['<'] = A, ['='] = W, ['>'] = A, ['?'] = A, ['@'] = A,
    ['A' ... 'Z'] = W, ['['] = A, ['^'] = A, ['_'] = W, ['`'] = A, ['a' ... 'z'] = W, ['|'] = A, ['}'] = A, ['~'] = A,
    [']'] = ASTRING | LIST, ['%'] = LIST, ['*'] = LIST,
};

struct imap_lex imap_lex_of(struct arena *arena, str in, bool utf8)
{
    const char *p = in.n ? in.p : "";
    return (struct imap_lex){ .arena = arena, .p = p, .end = p + in.n, .utf8 = utf8 };
}

bool imap_lex_fail(struct imap_lex *l, str text)
{
    if (!l->trouble) {
        l->trouble = -EBADMSG;
        l->error = (struct imap_parse_error){ .text = text };
    }
    return false;
}

bool imap_lex_refuse(struct imap_lex *l, const char *code, str text)
{
    if (!l->trouble) {
        l->trouble = -EBADMSG;
        l->error = (struct imap_parse_error){ .code = code, .text = text, .no = true };
    }
    return false;
}

bool imap_lex_no_memory(struct imap_lex *l)
{
    if (!l->trouble)
        l->trouble = -ENOMEM;
    return false;
}

bool imap_lex_expect(struct imap_lex *l, char c, str text)
{
    return imap_lex_eat(l, c) || imap_lex_fail(l, text);
}

bool imap_lex_space(struct imap_lex *l)
{
    if (!imap_lex_eat(l, ' '))
        return imap_lex_fail(l, l->p == l->end ? S("An argument is missing") : S("Expected a space between arguments"));
    while (imap_lex_eat(l, ' '))
        ;
    return true;
}

bool imap_lex_end(struct imap_lex *l)
{
    while (imap_lex_eat(l, ' '))
        ;
    return l->p == l->end || imap_lex_fail(l, S("Unexpected text after the command"));
}

bool imap_lex_more(struct imap_lex *l)
{
    bool space = imap_lex_peek(l) == ' ';
    while (imap_lex_eat(l, ' '))
        ;
    return space && l->p < l->end;
}

bool imap_lex_list_more(struct imap_lex *l)
{
    while (imap_lex_peek(l) == ' ') {
        l->p++;
        if (imap_lex_peek(l) != ' ' && imap_lex_peek(l) != ')')
            return l->p < l->end || imap_lex_fail(l, S("A list is not closed with )"));
    }
    return !imap_lex_eat(l, ')') && imap_lex_fail(l, l->p == l->end ? S("A list is not closed with )")
                                                                    : S("Expected a space or ) in a list"));
}

static str run(struct imap_lex *l, uint8_t class)
{
    const char *from = l->p;
    while (l->p < l->end && (classes[(uint8_t)*l->p] & class))
        l->p++;
    return str_of(from, (size_t)(l->p - from));
}

str imap_lex_word(struct imap_lex *l)
{
    return run(l, WORD);
}

bool imap_lex_eat_word(struct imap_lex *l, str word)
{
    const char *from = l->p;
    if (str_ieq(run(l, WORD), word))
        return true;
    l->p = from;
    return false;
}

/* RFC 9051 9: any ASTRING-CHAR except "+". */
str imap_lex_tag(struct imap_lex *l)
{
    const char *from = l->p;
    while (l->p < l->end && (classes[(uint8_t)*l->p] & ASTRING) && *l->p != '+')
        l->p++;
    return str_of(from, (size_t)(l->p - from));
}

bool imap_is_atom(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!(classes[(uint8_t)s.p[i]] & ATOM))
            return false;
    return s.n > 0;
}

bool imap_lex_atom(struct imap_lex *l, str *out)
{
    str s = run(l, ATOM);
    if (s.n == 0)
        return imap_lex_fail(l, S("Expected an atom"));
    *out = s;
    return true;
}

static bool unescape(struct imap_lex *l, str in, str *out)
{
    str copy = arena_dup(l->arena, in);
    if (!copy.p)
        return imap_lex_no_memory(l);
    char *to = (char *)copy.p;
    for (size_t i = 0; i < in.n; i++) {
        i += in.p[i] == '\\';
        *to++ = in.p[i];
    }
    *out = str_of(copy.p, (size_t)(to - copy.p));
    return true;
}

/* UTF-8 is let pass whether it was enabled or not (RFC 6855 3, RFC 9051 9 QUOTED-CHAR). */
static bool quoted(struct imap_lex *l, str *out)
{
    const char *from = ++l->p;
    bool escaped = false, high = false;
    for (; l->p < l->end && *l->p != '"'; l->p++) {
        if (*l->p == '\\') {
            escaped = true;
            if (++l->p == l->end || (*l->p != '"' && *l->p != '\\'))
                return imap_lex_fail(l, S("A backslash in a quoted string may only stand before \" and \\"));
        } else if (*l->p == '\r' || *l->p == '\n' || *l->p == '\0') {
            return imap_lex_fail(l, S("A quoted string holds CR, LF or NUL"));
        }
        high |= (uint8_t)*l->p > 0x7f;
    }
    if (l->p == l->end)
        return imap_lex_fail(l, S("A quoted string is not closed"));
    str s = str_of(from, (size_t)(l->p++ - from));
    if (high && !utf8_valid(s))
        return imap_lex_fail(l, S("A quoted string is not UTF-8"));
    if (escaped)
        return unescape(l, s, out);
    *out = s;
    return true;
}

bool imap_lex_number(struct imap_lex *l, uint64_t max, uint64_t *out)
{
    const char *from = l->p;
    uint64_t n = 0;
    bool over = false;
    for (; l->p < l->end && ascii_digit(*l->p); l->p++) {
        uint64_t digit = (uint64_t)(*l->p - '0');
        over = over || n > (max - MIN(digit, max)) / 10 || n * 10 + digit > max;
        n = over ? 0 : n * 10 + digit;
    }
    if (l->p == from)
        return imap_lex_fail(l, S("Expected a number"));
    if (over)
        return imap_lex_fail(l, S("A number is too large"));
    *out = n;
    return true;
}

bool imap_lex_literal_size(struct imap_lex *l, uint64_t *out)
{
    if (!imap_lex_expect(l, '{', S("Expected a literal")) || !imap_lex_number(l, INT64_MAX, out))
        return false;
    imap_lex_eat(l, '+');
    return imap_lex_expect(l, '}', S("Expected } after the size of a literal"));
}

static bool literal(struct imap_lex *l, str *out)
{
    uint64_t n;
    if (!imap_lex_literal_size(l, &n))
        return false;
    bool at_end = l->p == l->end;
    imap_lex_eat(l, '\r');
    if (!at_end && !imap_lex_expect(l, '\n', S("Expected the end of the line after the size of a literal")))
        return false;
    if (at_end || n > (uint64_t)(l->end - l->p)) {
        l->trouble = l->trouble ? l->trouble : -EAGAIN;
        return false;
    }
    str s = str_of(l->p, (size_t)n);
    l->p += n;
    if (str_chr(s, '\0') >= 0)
        return imap_lex_fail(l, S("A literal holds NUL"));
    *out = s;
    return true;
}

bool imap_lex_string(struct imap_lex *l, str *out)
{
    char c = imap_lex_peek(l);
    if (c == '"')
        return quoted(l, out);
    if (c == '{')
        return literal(l, out);
    return imap_lex_fail(l, S("Expected a string"));
}

static bool string_or_run(struct imap_lex *l, uint8_t class, str *out)
{
    char c = imap_lex_peek(l);
    if (c == '"' || c == '{')
        return imap_lex_string(l, out);
    str s = run(l, class);
    if (s.n == 0)
        return imap_lex_fail(l, l->p == l->end ? S("An argument is missing") : S("Expected an atom or a string"));
    *out = s;
    return true;
}

bool imap_lex_astring(struct imap_lex *l, str *out)
{
    return string_or_run(l, ASTRING, out);
}

bool imap_lex_nstring(struct imap_lex *l, str *out)
{
    if (imap_lex_eat_word(l, S("NIL"))) {
        *out = STR_NONE;
        return true;
    }
    return imap_lex_string(l, out);
}

static bool set_number(struct imap_lex *l, uint32_t *out)
{
    uint64_t n = 0;
    if (!imap_lex_eat(l, '*') && (!imap_lex_number(l, UINT32_MAX, &n) || n == 0))
        return imap_lex_fail(l, S("0 is not a message number"));
    *out = (uint32_t)n;
    return true;
}

static bool set_range(struct imap_lex *l, struct imap_range *out)
{
    if (!set_number(l, &out->first))
        return false;
    out->last = out->first;
    return !imap_lex_eat(l, ':') || set_number(l, &out->last);
}

bool imap_lex_set(struct imap_lex *l, struct imap_set *out)
{
    *out = (struct imap_set){ 0 };
    if (imap_lex_eat(l, '$')) {
        out->saved = true;
        return true;
    }
    if (!ascii_digit(imap_lex_peek(l)) && imap_lex_peek(l) != '*')
        return imap_lex_fail(l, S("Expected a set of message numbers"));
    size_t n = 1;
    for (const char *p = l->p; p < l->end && (ascii_digit(*p) || *p == '*' || *p == ':' || *p == ','); p++)
        n += *p == ',';
    struct imap_range *ranges = ARENA_ARRAY(l->arena, struct imap_range, n);
    if (!ranges)
        return imap_lex_no_memory(l);
    do {
        if (!set_range(l, &ranges[out->n]))
            return false;
        out->n++;
    } while (imap_lex_eat(l, ','));
    out->ranges = ranges;
    return true;
}

/* What is no modified UTF-7 but UTF-8 is taken as it is: clients may use that without enabling it (RFC 6855 3). */
static bool decode_name(struct imap_lex *l, str name, str *out)
{
    bool ascii = str_ascii(name);
    if (!ascii && !utf8_valid(name))
        return imap_lex_refuse(l, "CANNOT", S("A mailbox name is not UTF-8"));
    if (l->utf8 || !ascii || str_chr(name, '&') < 0) {
        *out = name;
        return true;
    }
    _cleanup_buf_ struct buf b = BUF(IMAP_NAME_MAX * 4);
    int r = imap_utf7_decode(&b, name);
    if (r == -EBADMSG)
        return imap_lex_refuse(l, "CANNOT", S("A mailbox name is not modified UTF-7"));
    if (r < 0)
        return imap_lex_refuse(l, "CANNOT", S("A mailbox name is too long"));
    str copy = arena_dup(l->arena, buf_str(&b));
    if (!copy.p)
        return imap_lex_no_memory(l);
    *out = copy;
    return true;
}

/* RFC 9051 5.1: INBOX is the same in any case; so that nobody gets an "inbox" beside it, its children too. */
static bool canonical(struct imap_lex *l, str *name)
{
    if (name->n > 1 && name->p[name->n - 1] == '/')
        name->n--;
    if (!str_istarts(*name, S("INBOX")) || (name->n > 5 && name->p[5] != '/') || str_starts(*name, S("INBOX")))
        return true;
    if (name->n == 5) {
        *name = S("INBOX");
        return true;
    }
    str copy = arena_dup(l->arena, *name);
    if (!copy.p)
        return imap_lex_no_memory(l);
    memcpy((char *)copy.p, "INBOX", 5);
    *name = copy;
    return true;
}

bool imap_lex_mailbox(struct imap_lex *l, str *out)
{
    str name;
    return imap_lex_astring(l, &name) && decode_name(l, name, out) && canonical(l, out);
}

bool imap_lex_reference(struct imap_lex *l, str *out)
{
    str name;
    return imap_lex_astring(l, &name) && decode_name(l, name, out);
}

bool imap_lex_pattern(struct imap_lex *l, str *out)
{
    str name;
    return string_or_run(l, LIST, &name) && decode_name(l, name, out);
}

static const struct imap_word system_flags[] = {
    { S("Seen"), IMAP_SEEN },   { S("Answered"), IMAP_ANSWERED }, { S("Flagged"), IMAP_FLAGGED },
    { S("Deleted"), IMAP_DELETED }, { S("Draft"), IMAP_DRAFT },   { S("Recent"), IMAP_RECENT },
};

/* \Recent is not a client's to set: overlooked (RFC 3501 2.3.2). */
static bool one_flag(struct imap_lex *l, struct imap_flags *out)
{
    if (imap_lex_eat(l, '\\')) {
        const struct imap_word *w =
            imap_lex_word_of(l, system_flags, ARRAY_LEN(system_flags), S("Unknown system flag"));
        out->system |= w && w->value != IMAP_RECENT ? w->value : 0;
        return w != NULL;
    }
    str keyword;
    if (!imap_lex_atom(l, &keyword))
        return false;
    str *keywords = imap_lex_grow(l, (void *)out->keywords, out->n_keywords, sizeof(str));
    if (!keywords)
        return false;
    keywords[out->n_keywords++] = keyword;
    out->keywords = keywords;
    return true;
}

bool imap_lex_flags(struct imap_lex *l, bool bare, struct imap_flags *out)
{
    *out = (struct imap_flags){ 0 };
    if (imap_lex_eat(l, '(')) {
        if (imap_lex_eat(l, ')'))
            return true;
        do {
            if (!one_flag(l, out))
                return false;
        } while (imap_lex_list_more(l));
        return !l->trouble;
    }
    if (!bare)
        return imap_lex_fail(l, S("Expected a list of flags"));
    do {
        if (!one_flag(l, out))
            return false;
    } while (imap_lex_more(l));
    return true;
}

/* As a date of RFC 5322, which knows how long the months are. rest: time and zone. */
static bool moment(struct imap_lex *l, const str date[3], str rest, int64_t *out_unix_s, int *out_zone)
{
    char text[64];
    snprintf(text, sizeof(text), "%.*s %.*s %.*s %.*s", STR_ARG(date[0]), STR_ARG(date[1]), STR_ARG(date[2]),
             STR_ARG(rest));
    if (date_parse_5322(str_z(text), out_unix_s, out_zone) < 0)
        return imap_lex_fail(l, S("There is no such date"));
    return true;
}

static str digits(struct imap_lex *l, size_t least, size_t most)
{
    const char *from = l->p;
    while (l->p < l->end && ascii_digit(*l->p))
        l->p++;
    size_t n = (size_t)(l->p - from);
    return n >= least && n <= most ? str_of(from, n) : STR_NONE;
}

/* "1-Jan-2026": day, month, year. */
static bool date_text(struct imap_lex *l, size_t day_digits, str out[3])
{
    out[0] = digits(l, 1, day_digits);
    if (out[0].n == 0 || l->end - l->p < 9 || l->p[0] != '-' || l->p[4] != '-')
        return false;
    out[1] = str_of(l->p + 1, 3);
    for (size_t i = 0; i < 3; i++)
        if (!ascii_alpha(out[1].p[i]))
            return false;
    l->p += 5;
    out[2] = digits(l, 4, 4);
    return out[2].n > 0;
}

bool imap_lex_date(struct imap_lex *l, int64_t *out_day)
{
    str date[3];
    int64_t unix_s;
    int zone;
    bool is_quoted = imap_lex_eat(l, '"');
    if (!date_text(l, 2, date) || (is_quoted && !imap_lex_eat(l, '"')))
        return imap_lex_fail(l, S("Expected a date such as 1-Jan-2026"));
    if (!moment(l, date, S("00:00:00 +0000"), &unix_s, &zone))
        return false;
    *out_day = unix_s / 86400;
    return true;
}

/* " 1-Jan-2026 00:00:00 +0100" */
bool imap_lex_date_time(struct imap_lex *l, int64_t *out_unix_s, int *out_zone_min)
{
    static const char shape[] = " 00:00:00 +0000";
    str date[3];
    bool ok = imap_lex_eat(l, '"');
    size_t spaces = imap_lex_eat(l, ' ');
    ok = ok && date_text(l, 2 - spaces, date) && l->end - l->p > 15;
    for (size_t i = 0; ok && i < 15; i++)
        ok = shape[i] == '0' ? ascii_digit(l->p[i]) : l->p[i] == shape[i] || (shape[i] == '+' && l->p[i] == '-');
    if (!ok || l->p[15] != '"')
        return imap_lex_fail(l, S("Expected a date and time such as \" 1-Jan-2026 00:00:00 +0000\""));
    str time_zone = str_of(l->p + 1, 14);
    l->p += 16;
    return moment(l, date, time_zone, out_unix_s, out_zone_min);
}

const struct imap_word *imap_word_find(const struct imap_word *words, size_t n, str word)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(words[i].word, word))
            return &words[i];
    return NULL;
}

const struct imap_word *imap_lex_word_of(struct imap_lex *l, const struct imap_word *words, size_t n, str text)
{
    const struct imap_word *w = imap_word_find(words, n, imap_lex_word(l));
    if (!w)
        imap_lex_fail(l, text);
    return w;
}

/* Room doubles whenever n is a power of two from 4 on, so n alone tells how much there is. */
void *imap_lex_grow(struct imap_lex *l, void *items, size_t n, size_t size)
{
    if (n > 0 && (n < 4 || (n & (n - 1))))
        return items;
    void *more = arena_alloc_array(l->arena, size, n ? n * 2 : 4);
    if (!more)
        imap_lex_no_memory(l);
    else if (n)
        memcpy(more, items, n * size);
    return more;
}
