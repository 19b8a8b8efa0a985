/* The Received field (RFC 5321 4.4): see header.h. */
#include "base/date.h"
#include "message/address.h"
#include "message/header.h"

#define WORD_MAX 255 /* no word of ours is longer; keeps the lines short whatever is passed */

static bool ascii_domain(str s)
{
    return str_ascii(s) && domain_valid(s, 1);
}

/* Extended-Domain: what the peer calls itself if it has the form, else a word that no host is called. */
static str safe_domain(str s)
{
    return ascii_domain(s) || domain_is_literal(s) ? s : S("unknown");
}

static void put_clean(struct buf *out, str s, bool blanks_ok)
{
    s = str_first(s, WORD_MAX);
    for (size_t i = 0; i < s.n; i++) {
        bool bad = s.p[i] < 32 || s.p[i] > 126 || str_chr(S("()<>\\\";"), s.p[i]) >= 0;
        if (!bad && (s.p[i] != ' ' || blanks_ok))
            buf_addc(out, s.p[i]);
    }
}

/* TCP-info: "name [address]" in brackets, nothing if the address is none. */
static void put_client(struct buf *out, str name, str addr)
{
    bool v6 = str_chr(addr, ':') >= 0;
    char text[64];
    struct buf literal = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
    if (addr.n > 45)
        return;
    buf_add(&literal, v6 ? S("[IPv6:") : S("["));
    buf_add(&literal, addr);
    buf_addc(&literal, ']');
    if (!domain_is_literal(buf_str(&literal)))
        return;
    buf_add(out, S(" ("));
    buf_add(out, ascii_domain(name) ? name : S("unknown"));
    buf_addc(out, ' ');
    buf_add(out, buf_str(&literal));
    buf_addc(out, ')');
}

static void put_for(struct buf *out, str addr)
{
    struct address parsed;
    const char *why;
    if (address_parse(addr, true, true, &parsed, &why) < 0)
        return;
    buf_add(out, S("\r\n\tfor <"));
    buf_add(out, addr);
    buf_addc(out, '>');
}

/* ID is an Atom or a msg-id (RFC 5321 4.4), and a trace id has a dot: <S.n@host>, as in a Message-ID of ours. */
static void put_id(struct buf *out, const struct received *r)
{
    buf_add(out, S("\r\n\tid <"));
    put_clean(out, r->id, false);
    buf_addc(out, '@');
    buf_add(out, safe_domain(r->by));
    buf_addc(out, '>');
}

int received_write(struct buf *out, const struct received *r)
{
    buf_add(out, S("Received: from "));
    buf_add(out, safe_domain(r->helo));
    put_client(out, r->client_name, r->client_addr);
    buf_add(out, S("\r\n\tby "));
    buf_add(out, safe_domain(r->by));
    buf_add(out, S(" with "));
    put_clean(out, r->protocol, false);
    if (r->tls.n) {
        buf_add(out, S(" ("));
        put_clean(out, r->tls, true);
        buf_addc(out, ')');
    }
    put_id(out, r);
    put_for(out, r->for_addr);
    buf_add(out, S(";\r\n\t"));
    date_format_5322(out, r->unix_s, r->offset_min);
    return buf_add(out, S("\r\n"));
}
