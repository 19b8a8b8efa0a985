/* Internet addresses and networks: 16 bytes each, IPv4 as ::ffff:a.b.c.d. Text is read strictly (RFC 4291 2.2; no
 * leading zeros in IPv4, RFC 5321 4.1.3) and written as RFC 5952 has it. */
#pragma once
#include "base/str.h"

#define NET_ADDR_TEXT 46

struct net { uint8_t addr[16]; uint8_t bits; }; /* IPv4: bits + 96 */
struct nets { const struct net *nets; size_t n; };

/* Numeric IPv4 or IPv6, without brackets or zone. 0 or -EINVAL. */
int net_addr_parse(str s, uint8_t out[16]);
/* An address mapped into IPv6 is IPv4. */
bool net_addr_v4(const uint8_t addr[16]);
str net_addr_print(const uint8_t addr[16], char out[NET_ADDR_TEXT]);
/* The four bytes of an IPv4 address. */
void net_addr_from_v4(const void *four, uint8_t out[16]);

/* "192.0.2.0/24", "2001:db8::/32", "[2001:db8::]/32", an address alone. 0 or -EINVAL, also for host bits that are not
 * 0. */
int net_parse(str s, struct net *out);
/* True if the first bits are the same. */
bool net_same_bits(const uint8_t *a, const uint8_t *b, unsigned bits);
/* An IPv6 network that reaches over the mapped addresses, such as ::/0, says nothing of IPv4. */
bool nets_hold(const struct nets *nets, const uint8_t addr[16]);
