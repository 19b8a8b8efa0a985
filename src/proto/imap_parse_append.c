/* Arguments of APPEND (RFC 9051 6.3.12; several messages, RFC 3502; binary ones, RFC 3516 and 6855 4). */
#include "proto/imap_parse.h"
#include <errno.h>

/* Flags, date and the size of the literal: " (\Seen) " 1-Jan-2026 00:00:00 +0000" {5}", " {5+}", " UTF8 (~{5}". */
static bool message(struct imap_lex *l, struct imap_append *out)
{
    if (!imap_lex_space(l))
        return false;
    if (imap_lex_peek(l) == '(' && (!imap_lex_flags(l, false, &out->flags) || !imap_lex_space(l)))
        return false;
    if (imap_lex_peek(l) == '"') {
        if (!imap_lex_date_time(l, &out->date_s, &out->date_zone_min) || !imap_lex_space(l))
            return false;
        out->has_date = true;
    }
    out->utf8 = imap_lex_eat_word(l, S("UTF8"));
    if (out->utf8 && (!imap_lex_space(l) || !imap_lex_expect(l, '(', S("Expected ( after UTF8"))))
        return false;
    out->literal8 = imap_lex_eat(l, '~');
    if (out->utf8 && !out->literal8)
        return imap_lex_fail(l, S("Expected a literal such as ~{5} after UTF8"));
    if (imap_lex_peek(l) != '{')
        return imap_lex_fail(l, S("Expected flags, a date or a literal with the message"));
    return imap_lex_literal_size(l, &out->size);
}

/* Over the bytes of a literal, for those who have the whole command. */
static bool skip_message(struct imap_lex *l, const struct imap_append *m)
{
    imap_lex_eat(l, '\r');
    if (!imap_lex_expect(l, '\n', S("Expected the end of the line after the size of a literal")))
        return false;
    if (m->size > (uint64_t)(l->end - l->p)) {
        l->trouble = -EAGAIN;
        return false;
    }
    l->p += m->size;
    return !m->utf8 || imap_lex_expect(l, ')', S("Expected ) after the message"));
}

bool imap_parse_append(struct imap_lex *l, struct imap_command *c)
{
    if (!imap_lex_space(l) || !imap_lex_mailbox(l, &c->append.mailbox) || !message(l, &c->append))
        return false;
    struct imap_append m = c->append;
    while (l->p < l->end) {
        if (!skip_message(l, &m))
            return false;
        if (l->p == l->end)
            return true;
        m = (struct imap_append){ 0 };
        if (!message(l, &m))
            return false;
    }
    return true;
}

int imap_parse_append_next(struct arena *a, str line, bool was_utf8, bool *out_more, struct imap_append *out,
                           struct imap_parse_error *out_error)
{
    struct imap_lex l = imap_lex_of(a, line, false);
    struct imap_append next = { 0 };
    bool more = false;
    if (!was_utf8 || imap_lex_expect(&l, ')', S("Expected ) after the message"))) {
        more = l.p < l.end;
        if (more && message(&l, &next) && l.p < l.end)
            imap_lex_fail(&l, S("Unexpected text after the size of a literal"));
    }
    if (l.trouble == -EBADMSG)
        *out_error = l.error;
    if (l.trouble)
        return l.trouble;
    *out_more = more;
    *out = next;
    return 0;
}
