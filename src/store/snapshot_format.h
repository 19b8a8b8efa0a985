/* Layout of a mailbox snapshot, shared by the store, which writes it, and snapshot.c. Numbers are little-endian.
 *
 *   0 magic "PHsnap\r\n"   8 mailbox u64   16 lsn u64   24 uidvalidity u32   28 uidnext u32   32 n u64
 *  40 size u64   48 zeros
 *  64 n entries of 96 bytes: 0 uid u32, 4 number u32, 8 size u64, 16 segment u64, 24 offset u64, 32 content_len u64,
 *     40 received_us u64, 48 session 16, 64 meta_len u32, 68 prefix length u32, 72 prefix place u64,
 *     80 log place u64, 88 log length u32, 92 zeros
 *  then the bytes that prefix and log places point to, counted from the start of the file. */
#pragma once
#include "base/str.h"

#define SNAPSHOT_MAGIC S("PHsnap\r\n")
#define SNAPSHOT_HEADER 64
#define SNAPSHOT_ENTRY 96
