/* CRC-32C (Castagnoli, RFC 3720 B.4; SSE4.2 where the processor has it) for content, SipHash-2-4 (64 bit out) for keyed
 * record MACs and for every table that a peer can feed. */
#pragma once
#include "base/str.h"

/* Continue with the last result; start with 0. */
uint32_t crc32c(uint32_t crc, str s);
uint32_t crc32c_portable(uint32_t crc, str s); /* the same by table, what other processors get */
uint64_t siphash24(const uint8_t key[16], str s);
/* True if equal; takes the same time whatever differs (lengths are not secret). */
bool const_time_eq(str a, str b);
