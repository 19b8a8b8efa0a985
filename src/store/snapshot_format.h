/* Layout of a mailbox snapshot, shared by the store, which writes it, and snapshot.c. Numbers are little-endian.
 *
 *   0 magic "PHsnap2\n"   8 mailbox u64   16 lsn u64   24 uidvalidity u32   28 uidnext u32   32 n u64
 *  40 size u64   48 modseq u64   56 recent u32   60 number of keywords u32   64 place of their names u64
 *  72 their length u32   76 zeros
 *  96 n entries of 120 bytes: 0 uid u32, 4 number u32, 8 size u64, 16 segment u64, 24 offset u64, 32 content_len u64,
 *     40 date_s i64, 48 session 16, 64 meta_len u32, 68 prefix length u32, 72 prefix place u64, 80 log place u64,
 *     88 log length u32, 92 flags u32, 96 keywords u64, 104 modseq u64, 112 zone i16, 114 zeros
 *  then the bytes that prefix, log and keyword places point to, counted from the start of the file. Names of keywords
 *  stand there as pack_str() writes them, in the order of their bits. */
#pragma once
#include "base/str.h"

#define SNAPSHOT_MAGIC S("PHsnap2\n")
#define SNAPSHOT_HEADER 96
#define SNAPSHOT_ENTRY 120
