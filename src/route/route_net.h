/* Addresses as mail meets them: 16 bytes each, IPv4 as ::ffff:a.b.c.d, and the special-purpose networks of RFC 6890,
 * where no MX of a stranger may point. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#define ROUTE_ADDRESS_TEXT 46

struct route_net { uint8_t addr[16]; uint8_t bits; }; /* IPv4: bits + 96 */
struct route_nets { const struct route_net *nets; size_t n; };

/* Numeric IPv4 or IPv6 without brackets, read strictly (RFC 5321 4.1.3 for IPv4). 0 or -EINVAL. */
int route_address_parse(str s, uint8_t out[16]);
/* From the bytes of an A (4) or AAAA (16) record. 0 or -EINVAL. */
int route_address_from(str bytes, uint8_t out[16]);
bool route_address_v4(const uint8_t addr[16]);
/* The text of inet_ntop; an address mapped into IPv6 is IPv4. */
str route_address_print(const uint8_t addr[16], char out[ROUTE_ADDRESS_TEXT]);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). 0 or -EINVAL. */
int route_literal_parse(str s, uint8_t out[16]);

/* "192.0.2.0/24", "2001:db8::/32", an address alone. 0 or -EINVAL, also for host bits that are not 0. */
int route_net_parse(str s, struct route_net *out);
bool route_nets_hold(const struct route_nets *nets, const uint8_t addr[16]);

/* What is special about an address ("a loopback address", "a private address", …), looking through IPv4 addresses that
 * are mapped, compatible, or carried by NAT64 and 6to4; NULL: it is one of the Internet. */
const char *route_address_special(const uint8_t addr[16]);
