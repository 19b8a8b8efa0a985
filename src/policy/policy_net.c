/* Networks and addresses in text: RFC 4291 2.2 read strictly, RFC 5952 written. See policy.h. */
#include "policy/policy.h"
#include "base/codec.h"
#include <errno.h>
#include <stdio.h>

/* RFC 5321 4.1.3 Snum: no leading zeros, which some read as octal. */
static int parse_v4(str s, uint8_t out[4])
{
    for (int i = 0; i < 4; i++) {
        uint64_t v;
        bool more = str_chr(s, '.') >= 0;
        str part = str_cut(&s, '.');
        if (more != (i < 3) || part.n > 3 || (part.n > 1 && part.p[0] == '0') || str_u64(part, 255, &v) < 0)
            return -EINVAL;
        out[i] = (uint8_t)v;
    }
    return 0;
}

static int parse_group(str s, uint8_t out[2])
{
    unsigned v = 0;
    if (s.n == 0 || s.n > 4)
        return -EINVAL;
    for (size_t i = 0; i < s.n; i++) {
        int digit = hex_value(s.p[i]);
        if (digit < 0)
            return -EINVAL;
        v = v << 4 | (unsigned)digit;
    }
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
    return 0;
}

/* Groups between colons into out, at most `max` bytes; the last may be a dotted IPv4. Bytes written, or -EINVAL. */
static int parse_groups(str s, uint8_t *out, size_t max)
{
    size_t n = 0;
    while (s.n) {
        bool more = str_chr(s, ':') >= 0;
        str group = str_cut(&s, ':');
        bool dotted = !more && str_chr(group, '.') >= 0;
        if (n + (dotted ? 4 : 2) > max || (more && !s.n) ||
            (dotted ? parse_v4(group, out + n) : parse_group(group, out + n)) < 0)
            return -EINVAL;
        n += dotted ? 4 : 2;
    }
    return (int)n;
}

static int parse_v6(str s, uint8_t out[16])
{
    uint8_t head[16] = { 0 }, tail[16];
    ptrdiff_t gap = str_find(s, S("::"));
    int n_head = parse_groups(gap < 0 ? s : str_first(s, (size_t)gap), head, 16);
    if (n_head < 0 || (gap < 0 && n_head != 16))
        return -EINVAL;
    if (gap >= 0) {
        /* "::" stands for at least one group; a dotted part may only come last, so not before the gap. */
        int n_tail = parse_groups(str_from(s, (size_t)gap + 2), tail, 14 - MIN((size_t)n_head, (size_t)14));
        if (n_tail < 0 || n_head > 14 || str_chr(str_first(s, (size_t)gap), '.') >= 0)
            return -EINVAL;
        memcpy(head + 16 - n_tail, tail, (size_t)n_tail);
    }
    memcpy(out, head, 16);
    return 0;
}

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool is_v4(const uint8_t addr[16])
{
    return memcmp(addr, mapped, sizeof(mapped)) == 0;
}

int policy_addr_parse(str s, uint8_t out[16])
{
    uint8_t addr[16];
    if (s.n > 64)
        return -EINVAL;
    if (str_chr(s, ':') < 0) {
        memcpy(addr, mapped, sizeof(mapped));
        if (parse_v4(s, addr + 12) < 0)
            return -EINVAL;
    } else if (parse_v6(str_cut(&s, '%'), addr) < 0) {
        return -EINVAL;
    }
    memcpy(out, addr, 16);
    return 0;
}

/* Compares the first bits. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    if (memcmp(a, b, bytes))
        return false;
    return !rest || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

static bool host_bits_clear(const uint8_t addr[16], unsigned bits)
{
    static const uint8_t zero[16];
    unsigned bytes = bits / 8;
    if (bits % 8 && (uint8_t)(addr[bytes] << bits % 8))
        return false;
    bytes += bits % 8 != 0;
    return memcmp(addr + bytes, zero, 16 - bytes) == 0;
}

int policy_net_parse(str s, struct policy_net *out)
{
    struct policy_net net;
    uint64_t bits;
    bool has_bits = str_chr(s, '/') >= 0;
    str addr = str_cut(&s, '/');
    if (addr.n > 2 && addr.p[0] == '[' && addr.p[addr.n - 1] == ']') {
        addr = str_of(addr.p + 1, addr.n - 2);
        if (str_chr(addr, ':') < 0)
            return -EINVAL;
    }
    if (str_chr(addr, '%') >= 0 || policy_addr_parse(addr, net.addr) < 0)
        return -EINVAL;
    bool v4 = str_chr(addr, ':') < 0;
    unsigned most = v4 ? 32 : 128;
    if (!has_bits)
        bits = most;
    else if (s.n > 3 || str_u64(s, most, &bits) < 0)
        return -EINVAL;
    net.bits = (uint8_t)(bits + (v4 ? 96 : 0));
    if (!host_bits_clear(net.addr, net.bits))
        return -EINVAL;
    *out = net;
    return 0;
}

bool policy_nets_match(const struct policy_nets *nets, str text)
{
    uint8_t addr[16];
    if (!nets->n || policy_addr_parse(text, addr) < 0)
        return false;
    /* An IPv6 network that reaches over the mapped addresses, such as ::/0, was not meant to trust IPv4 clients. */
    unsigned least = is_v4(addr) ? 96 : 0;
    for (size_t i = 0; i < nets->n; i++)
        if (nets->nets[i].bits >= least && same_bits(nets->nets[i].addr, addr, nets->nets[i].bits))
            return true;
    return false;
}

/* The first four groups with "::" for the rest: zero groups at their end melt into it (RFC 5952 4.2.1). */
static size_t format_v6_net(const uint8_t addr[16], char *out)
{
    int groups = 4;
    size_t n = 0;
    while (groups && !addr[groups * 2 - 2] && !addr[groups * 2 - 1])
        groups--;
    for (int i = 0; i < groups; i++)
        n += (size_t)snprintf(out + n, POLICY_NET_TEXT - n, "%s%x", i ? ":" : "", addr[i * 2] << 8 | addr[i * 2 + 1]);
    return n + (size_t)snprintf(out + n, POLICY_NET_TEXT - n, "::/64");
}

int policy_client_net(str addr, char out[POLICY_NET_TEXT], str *out_text)
{
    uint8_t bytes[16];
    if (policy_addr_parse(addr, bytes) < 0)
        return -EINVAL;
    size_t n = is_v4(bytes)
                   ? (size_t)snprintf(out, POLICY_NET_TEXT, "%u.%u.%u.%u", bytes[12], bytes[13], bytes[14], bytes[15])
                   : format_v6_net(bytes, out);
    *out_text = str_of(out, n);
    return 0;
}
