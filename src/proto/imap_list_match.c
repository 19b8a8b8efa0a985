/* Patterns of LIST (RFC 9051 6.3.9): '*' stands for any bytes, '%' for any but the separator '/'. INBOX in any case is
 * the same name, also as the first level of others. */
#include "proto/imap_write.h"

/* at[i]: what was read of the pattern can stand for the first i bytes of the name. All of them lie from lo to hi, so a
 * pattern without wildcards costs one step a byte; none is left as soon as the pattern has more literal bytes than the
 * name. */
struct match {
    str name;
    size_t inbox; /* so many first bytes are compared without case */
    size_t lo, hi;
    bool at[IMAP_NAME_MAX + 1];
};

static bool step_literal(struct match *m, char c)
{
    size_t hi = m->hi;
    bool any = false;
    for (size_t i = MIN(m->hi, m->name.n - 1) + 1; i-- > m->lo;) {
        bool same = i < m->inbox ? ascii_upper(m->name.p[i]) == ascii_upper(c) : m->name.p[i] == c;
        m->at[i + 1] = m->at[i] && same;
        if (m->at[i + 1] && !any) {
            hi = i + 1;
            any = true;
        }
    }
    m->lo++;
    m->hi = hi;
    while (any && !m->at[m->lo])
        m->lo++;
    return any;
}

static void step_percent(struct match *m)
{
    size_t i = m->lo;
    for (; i < m->name.n; i++) {
        if (i >= m->hi && !m->at[i])
            break;
        bool reach = m->at[i] && m->name.p[i] != '/';
        m->at[i + 1] = reach || (i + 1 <= m->hi && m->at[i + 1]);
        if (i + 1 > m->hi && !m->at[i + 1])
            break;
        m->hi = MAX(m->hi, i + 1);
    }
}

static void step_star(struct match *m)
{
    for (size_t i = m->lo; i <= m->name.n; i++)
        m->at[i] = true;
    m->hi = m->name.n;
}

bool imap_list_match(str pattern, str name)
{
    struct match m;
    if (name.n > IMAP_NAME_MAX)
        return false;
    m.name = name;
    m.inbox = str_eq(name, S("INBOX")) || str_starts(name, S("INBOX/")) ? 5 : 0;
    m.lo = m.hi = 0;
    m.at[0] = true;
    for (size_t i = 0; i < pattern.n; i++) {
        bool star = false, percent = false;
        for (; i < pattern.n && (pattern.p[i] == '*' || pattern.p[i] == '%'); i++) {
            star = star || pattern.p[i] == '*';
            percent = true;
        }
        if (star)
            step_star(&m);
        else if (percent)
            step_percent(&m);
        if (i == pattern.n)
            break;
        if (name.n == 0 || m.lo >= name.n || !step_literal(&m, pattern.p[i]))
            return false;
    }
    return m.hi == name.n && m.at[name.n];
}
