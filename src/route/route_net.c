/* Addresses in text and bytes, networks, and the table of special ones. See route_net.h. */
#include <arpa/inet.h>
#include "base/cleanup.h"
#include "route/route_net.h"
#include <errno.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool route_address_v4(const uint8_t addr[16])
{
    return memcmp(addr, mapped, sizeof(mapped)) == 0;
}

/* inet_pton wants a NUL; it reads strictly: four decimal numbers without leading zeros. */
static bool numeric(int family, str s, uint8_t *out)
{
    char z[ROUTE_ADDRESS_TEXT];
    if (s.n == 0 || s.n >= sizeof(z) || str_chr(s, '\0') >= 0)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return inet_pton(family, z, out) == 1;
}

int route_address_parse(str s, uint8_t out[16])
{
    uint8_t addr[16];
    memcpy(addr, mapped, sizeof(mapped));
    if (!numeric(AF_INET, s, addr + 12) && !numeric(AF_INET6, s, addr))
        return -EINVAL;
    memcpy(out, addr, sizeof(addr));
    return 0;
}

int route_address_from(str bytes, uint8_t out[16])
{
    if (bytes.n == 16 && !route_address_v4((const uint8_t *)bytes.p)) {
        memcpy(out, bytes.p, 16);
        return 0;
    }
    if (bytes.n != 4)
        return -EINVAL;
    memcpy(out, mapped, sizeof(mapped));
    memcpy(out + 12, bytes.p, 4);
    return 0;
}

str route_address_print(const uint8_t addr[16], char out[ROUTE_ADDRESS_TEXT])
{
    bool v4 = route_address_v4(addr);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + 12 : addr, out, ROUTE_ADDRESS_TEXT);
    return str_z(out);
}

int route_literal_parse(str s, uint8_t out[16])
{
    uint8_t addr[16];
    if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return -EINVAL;
    str inner = str_of(s.p + 1, s.n - 2);
    bool v6 = str_istarts(inner, S("IPv6:"));
    if (v6)
        inner = str_from(inner, 5);
    if (v6 != (str_chr(inner, ':') >= 0) || route_address_parse(inner, addr) < 0)
        return -EINVAL;
    memcpy(out, addr, sizeof(addr));
    return 0;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    return memcmp(a, b, bytes) == 0 && (!rest || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0);
}

int route_net_parse(str s, struct route_net *out)
{
    struct route_net net = { 0 };
    uint64_t bits = 0;
    bool has_bits = str_chr(s, '/') >= 0;
    str text = str_cut(&s, '/');
    if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = str_of(text.p + 1, text.n - 2);
    if (route_address_parse(text, net.addr) < 0)
        return -EINVAL;
    bool v4 = str_chr(text, ':') < 0;
    unsigned width = v4 ? 32 : 128;
    if (has_bits && (s.n > 3 || str_u64(s, width, &bits) < 0))
        return -EINVAL;
    net.bits = (uint8_t)((has_bits ? bits : width) + (v4 ? 96 : 0));
    for (unsigned i = net.bits; i < 128; i++)
        if (net.addr[i / 8] & (0x80 >> i % 8))
            return -EINVAL;
    *out = net;
    return 0;
}

bool route_nets_hold(const struct route_nets *nets, const uint8_t addr[16])
{
    /* An IPv6 network that reaches over the mapped addresses, such as ::/0, says nothing of IPv4. */
    unsigned least = route_address_v4(addr) ? 96 : 0;
    for (size_t i = 0; i < nets->n; i++)
        if (nets->nets[i].bits >= least && same_bits(nets->nets[i].addr, addr, nets->nets[i].bits))
            return true;
    return false;
}

/* RFC 6890 2.2.2 and 2.2.3 with what its registries got later, most special first; IPv4 as mapped. */
struct special {
    uint8_t addr[16];
    uint8_t bits;
    const char *what;
};
#define V4(a, b, c, d, n, what) { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }, 96 + (n), what }
static const struct special specials[] = {
    V4(0, 0, 0, 0, 32, "the unspecified address"),
    V4(0, 0, 0, 0, 8, "an address of \"this network\""),
    V4(10, 0, 0, 0, 8, "a private address"),
    V4(100, 64, 0, 0, 10, "an address shared by a provider's customers"),
    V4(127, 0, 0, 0, 8, "a loopback address"),
    V4(169, 254, 0, 0, 16, "a link-local address"),
    V4(172, 16, 0, 0, 12, "a private address"),
    V4(192, 0, 0, 0, 24, "an address of protocol assignments"),
    V4(192, 0, 2, 0, 24, "an address for documentation"),
    V4(192, 88, 99, 0, 24, "an address of 6to4 relays"),
    V4(192, 168, 0, 0, 16, "a private address"),
    V4(198, 18, 0, 0, 15, "an address for benchmarks"),
    V4(198, 51, 100, 0, 24, "an address for documentation"),
    V4(203, 0, 113, 0, 24, "an address for documentation"),
    V4(224, 0, 0, 0, 4, "a multicast address"),
    V4(255, 255, 255, 255, 32, "the broadcast address"),
    V4(240, 0, 0, 0, 4, "a reserved address"),
    { { 0 }, 128, "the unspecified address" },
    { { [15] = 1 }, 128, "a loopback address" },
    { { 0 }, 96, "an IPv4 address in disguise" }, /* RFC 4291 2.5.5.1, deprecated */
    { { [1] = 0x64, 0xff, 0x9b, 0, 1 }, 48, "an address of local translation" },
    { { 1 }, 64, "an address that is discarded" },
    { { 0x20, 1, 0xd, 0xb8 }, 32, "an address for documentation" },
    { { 0x20, 1 }, 23, "an address of protocol assignments" },
    { { 0x3f, 0xff }, 20, "an address for documentation" },
    { { 0x5f }, 16, "an address of segment routing" },
    { { 0xfc }, 7, "a private address" },
    { { 0xfe, 0x80 }, 10, "a link-local address" },
    { { 0xfe, 0xc0 }, 10, "a site-local address" },
    { { 0xff }, 8, "a multicast address" },
};

/* IPv4 addresses inside others: NAT64 (RFC 6052 2.1) and 6to4 (RFC 3056 2). */
static const struct carrier { uint8_t prefix[12], bits, at; } carriers[] = {
    { { [1] = 0x64, 0xff, 0x9b }, 96, 12 },
    { { 0x20, 2 }, 16, 2 },
};

const char *route_address_special(const uint8_t addr[16])
{
    uint8_t inner[16];
    for (size_t i = 0; i < ARRAY_LEN(specials); i++)
        if (same_bits(specials[i].addr, addr, specials[i].bits))
            return specials[i].what;
    for (size_t i = 0; i < ARRAY_LEN(carriers); i++) {
        if (!same_bits(carriers[i].prefix, addr, carriers[i].bits))
            continue;
        memcpy(inner, mapped, sizeof(mapped));
        memcpy(inner + 12, addr + carriers[i].at, 4);
        return route_address_special(inner);
    }
    return NULL;
}
