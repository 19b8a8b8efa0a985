/* What a record or an address literal says, and the table of special networks. See route_net.h. */
#include "route/route_net.h"
#include <errno.h>
#include "base/cleanup.h"

int route_address_from(str bytes, uint8_t out[16])
{
    if (bytes.n == 16 && !net_addr_v4((const uint8_t *)bytes.p)) {
        memcpy(out, bytes.p, 16);
        return 0;
    }
    if (bytes.n != 4)
        return -EINVAL;
    net_addr_from_v4(bytes.p, out);
    return 0;
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
    if (v6 != (str_chr(inner, ':') >= 0) || net_addr_parse(inner, addr) < 0)
        return -EINVAL;
    memcpy(out, addr, sizeof(addr));
    return 0;
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
        if (net_same_bits(specials[i].addr, addr, specials[i].bits))
            return specials[i].what;
    for (size_t i = 0; i < ARRAY_LEN(carriers); i++) {
        if (!net_same_bits(carriers[i].prefix, addr, carriers[i].bits))
            continue;
        net_addr_from_v4(addr + carriers[i].at, inner);
        return route_address_special(inner);
    }
    return NULL;
}
