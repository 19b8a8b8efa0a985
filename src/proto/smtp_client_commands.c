/* MAIL and RCPT of an SMTP client: see smtp_client_commands.h. */
#include "proto/smtp_client_commands.h"

int smtp_xtext_encode(struct buf *out, str in)
{
    for (size_t i = 0; i < in.n; ++i) {
        unsigned char u = (unsigned char)in.p[i];
        if (u > 32 && u < 127 && u != '+' && u != '=')
            buf_addc(out, in.p[i]);
        else
            buf_addf(out, "+%02X", u);
    }
    return out->failed;
}

/* One character of UTF-8 and its length, 0 if it is none. */
static size_t utf8_next(str s, uint32_t *out)
{
    unsigned char u = (unsigned char)s.p[0];
    size_t n = u < 0x80 ? 1 : u >= 0xc2 && u < 0xe0 ? 2 : u >= 0xe0 && u < 0xf0 ? 3 : u >= 0xf0 && u < 0xf5 ? 4 : 0;
    if (n == 0 || n > s.n)
        return 0;
    uint32_t v = n == 1 ? u : u & (0x7fu >> n);
    for (size_t i = 1; i < n; ++i) {
        if (((unsigned char)s.p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | ((unsigned char)s.p[i] & 0x3f);
    }
    *out = v;
    return n;
}

/* RFC 6533 3: utf-8-addr-unitext where SMTPUTF8 goes with it, utf-8-addr-xtext otherwise. */
static bool add_utf8_address(struct buf *out, str address, bool unitext)
{
    size_t start = out->n;
    for (size_t at = 0, n; at < address.n; at += n) {
        uint32_t v = 0;
        n = utf8_next(str_from(address, at), &v);
        if (n == 0) {
            out->n = start;
            return false;
        }
        bool plain = v > 32 && v < 127 && v != '+' && v != '=' && v != '\\';
        if (plain || (unitext && v > 127))
            buf_add(out, str_first(str_from(address, at), n));
        else
            buf_addf(out, "\\x{%02X}", v);
    }
    return true;
}

bool smtp_orcpt_encode(struct buf *out, str orcpt, bool utf8)
{
    size_t start = out->n;
    str address = orcpt, type = str_cut(&address, ';');
    if (type.n == 0 || address.n == 0)
        return false;
    for (size_t i = 0; i < type.n; ++i)
        if (!ascii_alnum(type.p[i]) && type.p[i] != '-')
            return false;
    buf_add(out, type);
    buf_addc(out, ';');
    if (str_ascii(address)) {
        smtp_xtext_encode(out, address);
        return true;
    }
    if (str_ieq(type, S("utf-8")) && add_utf8_address(out, address, utf8))
        return true;
    out->n = start;
    return false;
}

void smtp_client_say_mail(struct buf *out, const struct smtp_client_caps *caps, const struct smtp_client_mail *m,
                          bool utf8)
{
    buf_add(out, S("MAIL FROM:<"));
    buf_add(out, m->sender);
    buf_addc(out, '>');
    if (caps->size && m->size > 0) {
        buf_add(out, S(" SIZE="));
        buf_addu(out, m->size);
    }
    if (caps->eightbitmime && m->body_8bit)
        buf_add(out, S(" BODY=8BITMIME"));
    if (caps->smtputf8 && utf8)
        buf_add(out, S(" SMTPUTF8"));
    if (caps->requiretls && m->requiretls)
        buf_add(out, S(" REQUIRETLS"));
    if (caps->dsn && m->ret)
        buf_add(out, m->ret == SMTP_RET_FULL ? S(" RET=FULL") : S(" RET=HDRS"));
    if (caps->dsn && m->envid.n > 0) {
        buf_add(out, S(" ENVID="));
        smtp_xtext_encode(out, m->envid);
    }
    buf_add(out, S("\r\n"));
}

static void add_notify(struct buf *out, uint8_t notify)
{
    static const struct { uint8_t bit; str word; } words[] = {
        { SMTP_NOTIFY_SUCCESS, S("SUCCESS") },
        { SMTP_NOTIFY_FAILURE, S("FAILURE") },
        { SMTP_NOTIFY_DELAY, S("DELAY") },
    };
    str before = S(" NOTIFY=");
    if (notify & SMTP_NOTIFY_NEVER) { /* stands alone, RFC 3461 4.1 */
        buf_add(out, S(" NOTIFY=NEVER"));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); ++i) {
        if (!(notify & words[i].bit))
            continue;
        buf_add(out, before);
        buf_add(out, words[i].word);
        before = S(",");
    }
}

void smtp_client_say_rcpt(struct buf *out, const struct smtp_client_caps *caps, const struct smtp_client_rcpt *r,
                          bool utf8)
{
    buf_add(out, S("RCPT TO:<"));
    buf_add(out, r->address);
    buf_addc(out, '>');
    if (caps->dsn) {
        add_notify(out, r->notify);
        size_t start = out->n;
        buf_add(out, S(" ORCPT="));
        if (r->orcpt.n == 0 || !smtp_orcpt_encode(out, r->orcpt, utf8))
            out->n = start;
    }
    buf_add(out, S("\r\n"));
}
