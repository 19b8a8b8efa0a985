/* For tests and fuzz targets of this room: a strict reader of ENVELOPE, BODYSTRUCTURE and BODY by the grammar of RFC
 * 9051 9, which knows nothing of how they are made. */
#pragma once
#include "base/str.h"

struct imap_check {
    str in;
    size_t at;
    bool bad;
    bool extended;    /* BODYSTRUCTURE: all extension data must be there; else none may */
    size_t leaves;    /* bodies that are no multipart */
    uint64_t octets;  /* their sizes */
    str last;         /* the last string without quotes, escapes still in it */
};

static inline bool check_is(struct imap_check *c, char want)
{
    return !c->bad && c->at < c->in.n && c->in.p[c->at] == want;
}

static inline void check_char(struct imap_check *c, char want)
{
    c->bad |= !check_is(c, want);
    c->at += !c->bad;
}

static inline uint64_t check_number(struct imap_check *c, uint64_t max)
{
    size_t from = c->at;
    uint64_t n = 0;
    while (c->at < c->in.n && ascii_digit(c->in.p[c->at]))
        c->at++;
    c->bad |= c->bad || str_u64(str_of(c->in.p + from, c->at - from), max, &n) < 0;
    return n;
}

/* Text that can be quoted must be. */
static inline void check_literal(struct imap_check *c)
{
    bool needed = false;
    check_char(c, '{');
    uint64_t n = check_number(c, c->in.n);
    check_char(c, '}');
    check_char(c, '\r');
    check_char(c, '\n');
    c->bad |= c->bad || n > c->in.n - c->at;
    c->last = c->bad ? STR_NONE : str_of(c->in.p + c->at, n);
    for (size_t i = 0; i < c->last.n; i++) {
        c->bad |= c->last.p[i] == '\0';
        needed |= (unsigned char)c->last.p[i] > 126 || c->last.p[i] == '\r' || c->last.p[i] == '\n';
    }
    c->bad |= !needed;
    c->at += c->last.n;
}

static inline void check_string(struct imap_check *c)
{
    if (!check_is(c, '"')) {
        check_literal(c);
        return;
    }
    size_t from = ++c->at;
    while (!check_is(c, '"')) {
        if (check_is(c, '\\')) {
            c->at++;
            c->bad |= !check_is(c, '\\') && !check_is(c, '"');
        }
        char byte = c->at < c->in.n ? c->in.p[c->at] : '\0';
        c->bad |= byte == '\0' || byte == '\r' || byte == '\n' || (unsigned char)byte > 127;
        if (c->bad)
            return;
        c->at++;
    }
    c->last = str_of(c->in.p + from, c->at - from);
    c->at++;
}

/* True if it is NIL. */
static inline bool check_nil(struct imap_check *c)
{
    bool nil = !c->bad && str_starts(str_from(c->in, c->at), S("NIL"));
    c->at += nil ? 3 : 0;
    return nil;
}

static inline bool check_nstring(struct imap_check *c)
{
    bool nil = check_nil(c);
    if (!nil)
        check_string(c);
    return nil;
}

/* "(" name route mailbox host ")"; keeps track of groups, which do not nest. */
static inline void check_address(struct imap_check *c, bool *grouped)
{
    check_char(c, '(');
    bool name = !check_nstring(c);
    check_char(c, ' ');
    bool route = !check_nstring(c);
    check_char(c, ' ');
    bool mailbox = !check_nstring(c);
    check_char(c, ' ');
    bool host = !check_nstring(c);
    check_char(c, ')');
    if (host) {
        c->bad |= !mailbox || c->last.n == 0;
        return;
    }
    c->bad |= name || route || *grouped == mailbox;
    *grouped = mailbox;
}

static inline void check_envelope(struct imap_check *c)
{
    static const bool lists[10] = { [2 ... 7] = true };
    check_char(c, '(');
    for (size_t i = 0; i < 10 && !c->bad; i++) {
        bool grouped = false;
        if (i)
            check_char(c, ' ');
        if (!lists[i]) {
            check_nstring(c);
        } else if (!check_nil(c)) {
            check_char(c, '(');
            do
                check_address(c, &grouped);
            while (check_is(c, '('));
            check_char(c, ')');
        }
        c->bad |= grouped;
    }
    check_char(c, ')');
}

static inline void check_params(struct imap_check *c)
{
    if (check_nil(c))
        return;
    check_char(c, '(');
    for (bool first = true; !c->bad && (first || check_is(c, ' ')); first = false) {
        if (!first)
            check_char(c, ' ');
        check_string(c);
        c->bad |= c->last.n == 0;
        check_char(c, ' ');
        check_string(c);
    }
    check_char(c, ')');
}

/* Disposition, language, location. */
static inline void check_extension(struct imap_check *c)
{
    check_char(c, ' ');
    if (!check_nil(c)) {
        check_char(c, '(');
        check_string(c);
        check_char(c, ' ');
        check_params(c);
        check_char(c, ')');
    }
    check_char(c, ' ');
    if (!check_is(c, '(')) {
        check_nstring(c);
    } else {
        for (char before = '('; !c->bad && !check_is(c, ')'); before = ' ') {
            check_char(c, before);
            check_string(c);
        }
        check_char(c, ')');
    }
    check_char(c, ' ');
    check_nstring(c);
}

static inline void check_body(struct imap_check *c, unsigned depth);

static inline void check_single(struct imap_check *c, unsigned depth)
{
    check_string(c);
    str type = c->last;
    check_char(c, ' ');
    check_string(c);
    str subtype = c->last;
    check_char(c, ' ');
    check_params(c);
    check_char(c, ' ');
    check_nstring(c);
    check_char(c, ' ');
    check_nstring(c);
    check_char(c, ' ');
    check_string(c);
    check_char(c, ' ');
    c->leaves++;
    c->octets += check_number(c, UINT32_MAX);
    if (str_eq(type, S("message")) && (str_eq(subtype, S("rfc822")) || str_eq(subtype, S("global")))) {
        check_char(c, ' ');
        check_envelope(c);
        check_char(c, ' ');
        check_body(c, depth + 1);
        check_char(c, ' ');
        check_number(c, INT64_MAX);
    } else if (str_eq(type, S("text"))) {
        check_char(c, ' ');
        check_number(c, INT64_MAX);
    }
    c->bad |= str_eq(type, S("multipart"));
    if (!c->extended)
        return;
    check_char(c, ' ');
    check_nstring(c);
    check_extension(c);
}

static inline void check_body(struct imap_check *c, unsigned depth)
{
    c->bad |= depth > 102;
    check_char(c, '(');
    if (check_is(c, '(')) {
        while (check_is(c, '('))
            check_body(c, depth + 1);
        check_char(c, ' ');
        check_string(c);
        if (c->extended) {
            check_char(c, ' ');
            check_params(c);
            check_extension(c);
        }
    } else {
        check_single(c, depth);
    }
    check_char(c, ')');
}

static inline bool check_done(const struct imap_check *c)
{
    return !c->bad && c->at == c->in.n;
}

static inline bool imap_envelope_valid(str text)
{
    struct imap_check c = { .in = text };
    check_envelope(&c);
    return check_done(&c);
}

static inline bool imap_structure_valid(str text, bool extended)
{
    struct imap_check c = { .in = text, .extended = extended };
    check_body(&c, 0);
    return check_done(&c);
}
