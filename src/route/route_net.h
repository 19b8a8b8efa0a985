/* Addresses as mail meets them: in records, in literals, and the special-purpose networks of RFC 6890, where no MX of a
 * stranger may point. */
#pragma once
#include "base/net.h"

/* From the bytes of an A (4) or AAAA (16) record. 0 or -EINVAL. */
int route_address_from(str bytes, uint8_t out[16]);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). 0 or -EINVAL. */
int route_literal_parse(str s, uint8_t out[16]);
/* What is special about an address ("a loopback address", "a private address", …), looking through IPv4 addresses that
 * are mapped, compatible, or carried by NAT64 and 6to4; NULL: it is one of the Internet. */
const char *route_address_special(const uint8_t addr[16]);
