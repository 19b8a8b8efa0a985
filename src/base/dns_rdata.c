/* Records of the DNS as values: see dns_rdata.h. */
#include "base/dns_rdata.h"
#include <errno.h>

static const struct {
    enum dns_type type;
    const char *name;
} types[] = {
    { DNS_TYPE_A, "A" },     { DNS_TYPE_NS, "NS" },   { DNS_TYPE_CNAME, "CNAME" }, { DNS_TYPE_PTR, "PTR" },
    { DNS_TYPE_MX, "MX" },   { DNS_TYPE_TXT, "TXT" }, { DNS_TYPE_AAAA, "AAAA" },   { DNS_TYPE_TLSA, "TLSA" },
};

enum { LABEL_MAX = 63, WIRE_MAX = 255, TLSA_MIN = 4 };

const char *dns_type_name(enum dns_type type)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].type == type)
            return types[i].name;
    return NULL;
}

bool dns_type_parse(str name, enum dns_type *out)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_ieq(name, str_z(types[i].name))) {
            *out = types[i].type;
            return true;
        }
    return false;
}

str dns_state_word(enum dns_state state)
{
    static const str words[] = { [DNS_OK] = { "ok", 2 },
                                 [DNS_NODATA] = { "nodata", 6 },
                                 [DNS_NXDOMAIN] = { "nxdomain", 8 },
                                 [DNS_TEMPORARY] = { "temporary", 9 },
                                 [DNS_BOGUS] = { "bogus", 5 } };
    return words[state];
}

static bool label_valid(str label)
{
    if (!label.n || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
            return false;
    return true;
}

bool dns_name_valid(str name)
{
    if (str_ends(name, S(".")))
        name.n--;
    if (!name.n || name.n > DNS_NAME_MAX || name.p[name.n - 1] == '.')
        return false;
    while (name.n)
        if (!label_valid(str_cut(&name, '.')))
            return false;
    return true;
}

int dns_name_decode(str *rdata, struct buf *out)
{
    char text[WIRE_MAX];
    size_t at = 0, n = 0;
    bool host = true;
    for (;;) {
        size_t len = at < rdata->n ? (uint8_t)rdata->p[at] : SIZE_MAX;
        if (len > LABEL_MAX || at + 1 + len > rdata->n || at + 1 + len > WIRE_MAX)
            return -EBADMSG;
        at++;
        if (!len)
            break;
        str label = str_of(rdata->p + at, len);
        host = host && label_valid(label);
        if (n)
            text[n++] = '.';
        for (size_t i = 0; i < len; i++)
            text[n++] = ascii_lower(label.p[i]);
        at += len;
    }
    *rdata = str_from(*rdata, at);
    return host ? buf_add(out, n ? str_of(text, n) : S(".")) : -EINVAL;
}

/* The strings of a TXT record (RFC 1035 3.3.14); at least one. */
static int txt_decode(str rdata, struct buf *out)
{
    if (!rdata.n)
        return -EBADMSG;
    while (rdata.n) {
        size_t len = (uint8_t)rdata.p[0];
        if (len + 1 > rdata.n)
            return -EBADMSG;
        buf_add(out, str_of(rdata.p + 1, len));
        rdata = str_from(rdata, len + 1);
    }
    return out->failed;
}

/* A name and nothing behind it. Only a mail exchanger may be the root (RFC 7505). */
static int host_decode(enum dns_type type, str rdata, struct buf *out)
{
    size_t start = out->n;
    int e = dns_name_decode(&rdata, out);
    if (rdata.n && (e == 0 || e == -EINVAL))
        return -EBADMSG;
    if (e == 0 && type != DNS_TYPE_MX && str_eq(str_from(buf_str(out), start), S(".")))
        return -EINVAL;
    return e;
}

static int decode(enum dns_type type, str rdata, uint16_t *number, struct buf *out)
{
    switch (type) {
    case DNS_TYPE_A:
        return rdata.n == 4 ? buf_add(out, rdata) : -EBADMSG;
    case DNS_TYPE_AAAA:
        return rdata.n == 16 ? buf_add(out, rdata) : -EBADMSG;
    case DNS_TYPE_TLSA:
        return rdata.n >= TLSA_MIN ? buf_add(out, rdata) : -EBADMSG;
    case DNS_TYPE_TXT:
        return txt_decode(rdata, out);
    case DNS_TYPE_MX:
        if (rdata.n < 3)
            return -EBADMSG;
        *number = (uint16_t)((uint8_t)rdata.p[0] << 8 | (uint8_t)rdata.p[1]);
        return host_decode(type, str_from(rdata, 2), out);
    case DNS_TYPE_NS:
    case DNS_TYPE_CNAME:
    case DNS_TYPE_PTR:
        return host_decode(type, rdata, out);
    }
    return -EINVAL;
}

int dns_rdata_decode(enum dns_type type, str rdata, uint16_t *out_number, struct buf *out)
{
    uint16_t number = 0;
    size_t start = out->n;
    int e = decode(type, rdata, &number, out);
    if (e < 0)
        out->n = start;
    else
        *out_number = number;
    return e;
}

static bool host_ok(str host)
{
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] != ascii_lower(host.p[i]))
            return false;
    return dns_name_valid(host) && !str_ends(host, S("."));
}

bool dns_record_valid(enum dns_type type, const struct dns_record *r)
{
    if (r->number && type != DNS_TYPE_MX)
        return false;
    switch (type) {
    case DNS_TYPE_A:
        return r->data.n == 4;
    case DNS_TYPE_AAAA:
        return r->data.n == 16;
    case DNS_TYPE_TLSA:
        return r->data.n >= TLSA_MIN && r->data.n <= UINT16_MAX;
    case DNS_TYPE_TXT:
        return r->data.n <= UINT16_MAX;
    case DNS_TYPE_MX:
        return str_eq(r->data, S(".")) || host_ok(r->data);
    case DNS_TYPE_NS:
    case DNS_TYPE_CNAME:
    case DNS_TYPE_PTR:
        return host_ok(r->data);
    }
    return false;
}

int dns_reverse_name(str address, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    if (address.n != 4 && address.n != 16)
        return -EINVAL;
    for (size_t i = address.n; i-- > 0;) {
        uint8_t byte = (uint8_t)address.p[i];
        if (address.n == 4)
            buf_addf(out, "%u.", byte);
        else
            buf_addf(out, "%c.%c.", hex[byte & 15], hex[byte >> 4]);
    }
    return buf_add(out, address.n == 4 ? S("in-addr.arpa") : S("ip6.arpa"));
}

void dns_answer_pack(struct buf *b, const struct dns_answer *a)
{
    pack_u8(b, (uint8_t)a->state);
    pack_u8(b, a->secure);
    pack_u32(b, a->ttl);
    pack_str(b, a->canonical);
    pack_str(b, a->why);
    pack_u32(b, (uint32_t)a->n);
    for (size_t i = 0; i < a->n; i++) {
        pack_u16(b, a->records[i].number);
        pack_str(b, a->records[i].data);
    }
}

int dns_answer_unpack(struct unpack *u, enum dns_type type, struct dns_record records[DNS_RECORDS_MAX],
                      struct dns_answer *out)
{
    struct dns_answer a = { 0 };
    uint8_t state = unpack_u8(u), secure = unpack_u8(u);
    a.ttl = unpack_u32(u);
    a.canonical = unpack_str(u);
    a.why = unpack_str(u);
    a.n = unpack_u32(u);
    a.state = (enum dns_state)state;
    a.secure = secure;
    a.records = records;
    if (u->bad || state > DNS_BOGUS || secure > 1 || a.n > DNS_RECORDS_MAX || (a.n && state != DNS_OK) ||
        (a.canonical.n && !host_ok(a.canonical)))
        return -EBADMSG;
    for (size_t i = 0; i < a.n; i++) {
        records[i].number = unpack_u16(u);
        records[i].data = unpack_str(u);
        if (!dns_record_valid(type, &records[i]))
            return -EBADMSG;
    }
    if (!unpack_end(u))
        return -EBADMSG;
    *out = a;
    return 0;
}
