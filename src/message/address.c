/* Addresses of the envelope: see address.h. */
#include <arpa/inet.h>
#include "message/address.h"
#include <errno.h>
#include "base/event.h"
#include "message/address_scan.h"

#define LOCAL_MAX 64   /* RFC 5321 4.5.3.1.1 */
#define DOMAIN_MAX 255 /* 4.5.3.1.2 */
#define LABEL_MAX 63   /* RFC 1035 2.3.4 */

/* Let-dig [Ldh-str] (RFC 5321 4.1.2) or a U-label (RFC 6531 3.3), whose octets are limited in their ASCII form only. */
static bool label_valid(str label)
{
    if (label.n == 0 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_alnum(label.p[i]) && label.p[i] != '-' && (unsigned char)label.p[i] < 128)
            return false;
    return label.n <= LABEL_MAX || !str_ascii(label);
}

bool domain_valid(str s, unsigned labels)
{
    if (s.n == 0 || s.n > DOMAIN_MAX || s.p[s.n - 1] == '.' || address_has_control(s) || !utf8_valid(s))
        return false;
    unsigned n = 0;
    while (s.n) {
        if (!label_valid(str_cut(&s, '.')))
            return false;
        n++;
    }
    return n >= labels;
}

bool domain_is_literal(str s)
{
    char text[INET6_ADDRSTRLEN + 1] = "";
    unsigned char addr[16];
    if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    str inside = str_of(s.p + 1, s.n - 2);
    bool v6 = str_istarts(inside, S("IPv6:"));
    if (v6)
        inside = str_from(inside, 5);
    if (inside.n >= sizeof(text) || address_has_control(inside))
        return false;
    if (inside.n)
        memcpy(text, inside.p, inside.n);
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, addr) == 1;
}

/* Length of a Dot-string at the start of s, 0 if there is none. */
static size_t dot_string(str s)
{
    size_t i = 0;
    bool after_atom = false;
    for (; i < s.n && (address_atext(s.p[i]) || (s.p[i] == '.' && after_atom)); i++)
        after_atom = s.p[i] != '.';
    return after_atom ? i : 0;
}

/* Length of a Quoted-string at the start of s, 0 if it is not closed or holds what a quoted-pairSMTP may not. */
static size_t quoted_string(str s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '"')
            return i + 1;
        if (s.p[i] == '\\' && (++i == s.n || (unsigned char)s.p[i] > 126))
            return 0;
    }
    return 0;
}

static const char *domain_fault(str domain)
{
    if (domain.n > DOMAIN_MAX)
        return "domain over 255 octets";
    if (domain.n && domain.p[0] == '[')
        return domain_is_literal(domain) ? NULL : "bad address literal";
    return domain_valid(domain, 1) ? NULL : "bad domain";
}

/* What is wrong with the address, NULL if nothing; *out is filled in passing. */
static const char *fault(str s, bool bare_ok, bool utf8_ok, struct address *out)
{
    out->utf8 = !str_ascii(s);
    if (s.n == 0)
        return "missing address";
    if (address_has_control(s))
        return "control character in address";
    if (out->utf8 && !utf8_ok)
        return "address is not ASCII (SMTPUTF8 needed)";
    if (out->utf8 && !utf8_valid(s))
        return "address is not valid UTF-8";
    size_t n = s.p[0] == '"' ? quoted_string(s) : dot_string(s);
    out->local = str_first(s, n);
    out->domain = str_from(s, n + 1);
    if (s.p[0] == '@')
        return "missing local part";
    if (n == 0 || (n < s.n && s.p[n] != '@'))
        return s.p[0] == '"' ? "bad quoted local part" : "bad character or dot in local part";
    if (n > LOCAL_MAX)
        return "local part over 64 octets";
    if (n == s.n)
        return bare_ok ? NULL : "missing domain";
    return domain_fault(out->domain);
}

int address_parse(str s, bool bare_ok, bool utf8_ok, struct address *out, const char **out_why)
{
    struct address a = { 0 };
    const char *why = fault(s, bare_ok, utf8_ok, &a);
    if (why) {
        *out_why = why;
        return -EBADMSG;
    }
    *out = a;
    return 0;
}

/* Index of the first of the two bytes outside of quotes. */
static size_t until(str s, char a, char b)
{
    size_t i = 0;
    while (i < s.n && s.p[i] != a && s.p[i] != b)
        i = s.p[i] == '"' ? address_skip_quoted(s, i, NULL) : i + 1;
    return i;
}

/* Drops an A-d-l with its colon; false if what begins like one is none. */
static bool drop_route(str *s)
{
    if (s->n == 0 || s->p[0] != '@')
        return true;
    str route = str_cut(s, ':');
    while (route.n) {
        str hop = str_cut(&route, ',');
        if (hop.n == 0 || hop.p[0] != '@' || !domain_valid(str_from(hop, 1), 1))
            return false;
    }
    return true;
}

int address_parse_path(str s, bool bare_ok, bool utf8_ok, struct address *out, str *rest, const char **out_why)
{
    while (s.n && s.p[0] == ' ')
        s = str_from(s, 1);
    if (s.n == 0 || s.p[0] != '<') {
        size_t n = until(s, ' ', '\t');
        int r = address_parse(str_first(s, n), bare_ok, utf8_ok, out, out_why);
        if (r == 0)
            *rest = str_from(s, n);
        return r;
    }
    s = str_from(s, 1);
    size_t n = until(s, '>', '>');
    if (n == s.n) {
        *out_why = "missing >";
        return -EBADMSG;
    }
    str mailbox = str_first(s, n);
    struct address a = { 0 };
    if (!drop_route(&mailbox)) {
        *out_why = "bad source route";
        return -EBADMSG;
    }
    int r = n == 0 ? 0 : address_parse(mailbox, bare_ok, utf8_ok, &a, out_why);
    if (r < 0)
        return r;
    *out = a;
    *rest = str_from(s, n + 1);
    return 0;
}

/* Both return the bytes written. */
static size_t unquote(str quoted, char *to)
{
    size_t n = 0;
    for (size_t i = 1; i + 1 < quoted.n; i++) {
        if (quoted.p[i] == '\\')
            i++;
        to[n++] = quoted.p[i];
    }
    return n;
}

static size_t quote(str plain, char *to)
{
    size_t n = 0;
    to[n++] = '"';
    for (size_t i = 0; i < plain.n; i++) {
        if (plain.p[i] == '"' || plain.p[i] == '\\')
            to[n++] = '\\';
        to[n++] = plain.p[i];
    }
    to[n++] = '"';
    return n;
}

static size_t put_domain(char *to, str domain)
{
    if (domain.n == 0)
        return 0;
    to[0] = '@';
    for (size_t i = 0; i < domain.n; i++)
        to[i + 1] = ascii_lower(domain.p[i]);
    return domain.n + 1;
}

str address_canonical(struct arena *a, const struct address *in)
{
    bool quoted = in->local.n >= 2 && in->local.p[0] == '"';
    char *plain = quoted ? arena_alloc(a, in->local.n) : (char *)in->local.p;
    char *p = arena_alloc(a, 2 * in->local.n + 2 + 1 + in->domain.n);
    if (!p || (quoted && !plain))
        return STR_NONE;
    str local = str_of(plain, quoted ? unquote(in->local, plain) : in->local.n);
    size_t n = local.n;
    if (quoted && (n == 0 || dot_string(local) != n))
        n = quote(local, p);
    else if (n)
        memcpy(p, local.p, n);
    return str_of(p, n + put_domain(p + n, in->domain));
}
