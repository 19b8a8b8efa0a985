/* Addresses and networks: see net.h. */
#include "base/net.h"
#include <arpa/inet.h>
#include <errno.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool net_addr_v4(const uint8_t addr[16]) { return memcmp(addr, mapped, sizeof(mapped)) == 0; }

void net_addr_from_v4(const void *four, uint8_t out[16])
{
    memcpy(out, mapped, sizeof(mapped));
    memcpy(out + sizeof(mapped), four, 4);
}

/* inet_pton wants a NUL. */
static bool numeric(int family, str s, uint8_t *out)
{
    char z[NET_ADDR_TEXT];
    if (s.n == 0 || s.n >= sizeof(z) || str_chr(s, '\0') >= 0)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return inet_pton(family, z, out) == 1;
}

int net_addr_parse(str s, uint8_t out[16])
{
    uint8_t four[4], addr[16];
    if (numeric(AF_INET, s, four))
        net_addr_from_v4(four, out);
    else if (numeric(AF_INET6, s, addr))
        memcpy(out, addr, sizeof(addr));
    else
        return -EINVAL;
    return 0;
}

str net_addr_print(const uint8_t addr[16], char out[NET_ADDR_TEXT])
{
    bool v4 = net_addr_v4(addr);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + sizeof(mapped) : addr, out, NET_ADDR_TEXT);
    return str_z(out);
}

bool net_same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    return memcmp(a, b, bytes) == 0 && (!rest || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0);
}

int net_parse(str s, struct net *out)
{
    struct net net = { 0 };
    uint64_t bits = 0;
    bool has_bits = str_chr(s, '/') >= 0;
    str text = str_cut(&s, '/');
    bool v4 = str_chr(text, ':') < 0;
    if (!v4 && text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = str_of(text.p + 1, text.n - 2);
    unsigned width = v4 ? 32 : 128;
    if (net_addr_parse(text, net.addr) < 0 || (has_bits && (s.n > 3 || str_u64(s, width, &bits) < 0)))
        return -EINVAL;
    net.bits = (uint8_t)((has_bits ? bits : width) + (v4 ? 96 : 0));
    for (unsigned i = net.bits; i < 128; i++)
        if (net.addr[i / 8] & (0x80 >> i % 8))
            return -EINVAL;
    *out = net;
    return 0;
}

bool nets_hold(const struct nets *nets, const uint8_t addr[16])
{
    unsigned least = net_addr_v4(addr) ? 96 : 0;
    for (size_t i = 0; i < nets->n; i++)
        if (nets->nets[i].bits >= least && net_same_bits(nets->nets[i].addr, addr, nets->nets[i].bits))
            return true;
    return false;
}
