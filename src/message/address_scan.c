/* Cuts address lists into pieces: see address_scan.h. Invariant: `at` only grows, and every byte is looked at a
 * bounded number of times (once to find where its item ends, once to split the item). */
#include "message/address_scan.h"

static const bool atext[256] = {
    ['!'] = true, ['#' ... '\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['/' ... '9'] = true, ['='] = true,
    ['?'] = true, ['A' ... 'Z'] = true, ['^' ... '~'] = true, [128 ... 255] = true,
};

bool address_atext(char c)
{
    return atext[(unsigned char)c];
}

bool address_control_at(str s, size_t i)
{
    unsigned char c = (unsigned char)s.p[i];
    unsigned char next = i + 1 < s.n ? (unsigned char)s.p[i + 1] : 0;
    return c < 32 || c == 127 || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

bool address_has_control(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (address_control_at(s, i))
            return true;
    return false;
}

static bool is_space(char c)
{
    return ascii_blank(c) || c == '\r' || c == '\n';
}

size_t address_skip_quoted(str s, size_t i, bool *out_closed)
{
    bool closed = false;
    for (i++; i < s.n && !closed; i++) {
        closed = s.p[i] == '"';
        if (s.p[i] == '\\')
            i++;
    }
    if (out_closed)
        *out_closed = closed;
    return i < s.n ? i : s.n;
}

size_t address_skip_comment(str s, size_t i, bool *out_closed)
{
    size_t depth = 1;
    for (i++; i < s.n && depth > 0; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '(')
            depth++;
        else if (s.p[i] == ')')
            depth--;
    }
    if (out_closed)
        *out_closed = depth == 0;
    return i < s.n ? i : s.n;
}

size_t address_skip_cfws(str s, size_t i)
{
    while (i < s.n && (is_space(s.p[i]) || s.p[i] == '('))
        i = s.p[i] == '(' ? address_skip_comment(s, i, NULL) : i + 1;
    return i;
}

/* Past "[...]", whose colons mean nothing. An unclosed one ends before whatever it cannot hold. */
static size_t skip_literal(str s, size_t i)
{
    for (i++; i < s.n; i++) {
        if (s.p[i] == ']')
            return i + 1;
        if (is_space(s.p[i]) || str_chr(S(",;<>@\"([\\"), s.p[i]) >= 0)
            return i;
    }
    return i;
}

/* One step over a quoted string, a comment, a literal or a byte. */
static size_t step(struct address_scan *s, size_t i)
{
    bool closed = true;
    size_t end = i + 1;
    switch (s->in.p[i]) {
    case '"':
        end = address_skip_quoted(s->in, i, &closed);
        break;
    case '[':
        end = skip_literal(s->in, i);
        break;
    case '(':
        end = address_skip_comment(s->in, i, &closed);
        s->comment = str_of(s->in.p + i, end - i);
        break;
    default:
        break;
    }
    s->broken |= !closed;
    return end;
}

/* Bytes that end something, each with a bit, and those that begin what step() goes over. */
enum { LESS = 1, GREATER = 2, COMMA = 4, SEMICOLON = 8, COLON = 16, AT = 32, LONG = 64 };

static const uint8_t marks[256] = {
    ['<'] = LESS, ['>'] = GREATER, [','] = COMMA, [';'] = SEMICOLON, [':'] = COLON, ['@'] = AT,
    ['"'] = LONG, ['['] = LONG,    ['('] = LONG,
};

/* Index of the first of `stops` at or after i, outside of quotes, comments and literals. */
static size_t find(struct address_scan *s, size_t i, uint8_t stops)
{
    while (i < s->in.n) {
        uint8_t mark = marks[(unsigned char)s->in.p[i]];
        if (mark & stops)
            break;
        i = mark == LONG ? step(s, i) : i + 1;
    }
    return i;
}

/* A closed quoted string without control characters but those of folding (CRLF before a blank), also when its
 * backslashes, which may stand before whole characters only, are gone. */
static bool quoted_clean(str q)
{
    for (size_t i = 0; i < q.n; i++) {
        if (q.p[i] == '\\' && i + 1 < q.n && ((unsigned char)q.p[i + 1] & 0xc0) == 0x80)
            return false;
        if (q.p[i] == '\r' && i + 2 < q.n && q.p[i + 1] == '\n' && ascii_blank(q.p[i + 2]))
            i += 2;
        else if (address_control_at(q, i))
            return false;
    }
    return true;
}

/* One word (RFC 5322 3.2.5) at *i. */
static bool word(str in, size_t *i, bool quoted_ok)
{
    size_t from = *i, end = from;
    bool ok = false;
    if (quoted_ok && in.p[from] == '"') {
        end = address_skip_quoted(in, from, &ok);
        ok = ok && quoted_clean(str_of(in.p + from, end - from));
    } else {
        unsigned char all = 0;
        while (end < in.n && address_atext(in.p[end]))
            all |= (unsigned char)in.p[end++];
        ok = end > from && !(all > 127 && address_has_control(str_of(in.p + from, end - from)));
    }
    *i = end;
    return ok;
}

/* Words between dots, with comments and blanks anywhere (obs-local-part, obs-domain). Dots may be missing their
 * words, as in "a..b@", which exists in the wild; two words need a dot between them. Stops at the first other byte. */
static bool dotted(str in, size_t *i, bool quoted_ok, str *out)
{
    size_t from = address_skip_cfws(in, *i), end = from;
    bool after_word = false;
    for (size_t at = from; at < in.n && in.p[at] != '@'; at = address_skip_cfws(in, at)) {
        if (in.p[at] == '.') {
            after_word = false;
            at++;
        } else {
            if (after_word || !word(in, &at, quoted_ok))
                return false;
            after_word = true;
        }
        end = at;
    }
    *i = address_skip_cfws(in, end);
    *out = str_of(in.p + from, end - from);
    return end > from;
}

/* A domain-literal at *i, without blanks inside. */
static bool literal(str in, size_t *i, str *out)
{
    size_t from = *i, end = skip_literal(in, from);
    *out = str_of(in.p + from, end - from);
    *i = address_skip_cfws(in, end);
    return in.p[end - 1] == ']' && !address_has_control(*out);
}

/* addr-spec, or a local part alone. */
static bool split(str spec, struct address_item *out)
{
    size_t i = 0;
    str local, domain = STR_NONE;
    if (!dotted(spec, &i, true, &local))
        return false;
    if (i < spec.n) {
        i = address_skip_cfws(spec, i + 1);
        bool is_literal = i < spec.n && spec.p[i] == '[';
        if (!(is_literal ? literal(spec, &i, &domain) : dotted(spec, &i, false, &domain)) || i < spec.n)
            return false;
    }
    out->local = local;
    out->domain = domain;
    return true;
}

static str between(const struct address_scan *s, size_t from, size_t to)
{
    return str_trim(str_of(s->in.p + from, to - from));
}

/* The inside of "<...>" that opens at `open`; the route (RFC 5322 4.4) is skipped. Leaves `at` behind the item. */
static str angle(struct address_scan *s, size_t open)
{
    size_t from = address_skip_cfws(s->in, open + 1);
    if (from < s->in.n && (s->in.p[from] == '@' || s->in.p[from] == ',')) {
        size_t colon = find(s, from, COLON | LESS | GREATER | SEMICOLON);
        s->broken |= colon == s->in.n || s->in.p[colon] != ':';
        from = colon < s->in.n && s->in.p[colon] == ':' ? colon + 1 : colon;
    }
    size_t close = find(s, from, LESS | GREATER | COMMA | SEMICOLON);
    bool closed = close < s->in.n && s->in.p[close] == '>';
    size_t after = closed ? address_skip_cfws(s->in, close + 1) : close;
    s->at = find(s, closed ? close + 1 : close, COMMA | SEMICOLON);
    s->broken |= !closed || after < s->at;
    return between(s, from, close);
}

/* A phrase that looks like an address is only harmless when it is the address: "a@b <a@b>". */
static bool phrase_misleads(str phrase, str spec)
{
    struct address_scan inner = ADDRESS_SCAN(phrase);
    return find(&inner, 0, AT) < phrase.n && !str_eq(phrase, spec);
}

/* The item that starts at `from` and was found to end at `end`, where one of , ; : < > or the end of the text
 * stands. */
static bool item(struct address_scan *s, size_t from, size_t end, struct address_item *out)
{
    char stop = end < s->in.n ? s->in.p[end] : ',';
    str text = between(s, from, end);
    *out = (struct address_item){ .kind = ADDRESS_ITEM };
    s->at = end;
    if (stop == ':') {
        s->at = end + 1;
        s->broken |= phrase_misleads(text, STR_NONE);
        if (s->in_group || text.n == 0)
            return false;
        s->in_group = true;
        *out = (struct address_item){ .kind = ADDRESS_GROUP_START, .phrase = text };
        return true;
    }
    if (stop == '>') {
        s->at = end + 1;
        return false;
    }
    if (stop == '<') {
        str spec = angle(s, end);
        out->phrase = text;
        s->broken |= phrase_misleads(text, spec);
        text = spec;
    }
    out->comment = s->comment;
    return split(text, out);
}

/* A semicolon: the end of a group; elsewhere some agents write it for a comma. */
static bool semicolon(struct address_scan *s, struct address_item *out)
{
    bool ended = s->in_group;
    s->at++;
    s->in_group = false;
    s->broken |= !ended;
    *out = (struct address_item){ .kind = ADDRESS_GROUP_END };
    return ended;
}

bool address_scan_next(struct address_scan *s, struct address_item *out)
{
    for (;;) {
        s->comment = STR_NONE;
        while (s->at < s->in.n && (is_space(s->in.p[s->at]) || s->in.p[s->at] == ',' || s->in.p[s->at] == '('))
            s->at = step(s, s->at);
        if (s->at == s->in.n)
            break;
        if (s->in.p[s->at] == ';') {
            if (semicolon(s, out))
                return true;
            continue;
        }
        if (item(s, s->at, find(s, s->at, LESS | GREATER | COMMA | SEMICOLON | COLON), out))
            return true;
        s->broken = true;
    }
    if (!s->in_group)
        return false;
    s->in_group = false;
    s->broken = true;
    *out = (struct address_item){ .kind = ADDRESS_GROUP_END };
    return true;
}
