/* Dates: RFC 5322 3.3 (with the obsolete forms of 4.3 when reading), RFC 3339 for logs. */
#pragma once
#include "base/buf.h"

/* "Tue, 24 Nov 2026 07:55:03 +0000" from seconds since 1970 and the zone's offset in minutes. 0,
 * -ERANGE (not in years 1 to 9999, or an offset of 100 hours or more: nothing appended), or the buf's error. */
int date_format_5322(struct buf *out, int64_t unix_s, int offset_min);
/* Reads any date of RFC 5322 3.3/4.3. 0 or -EBADMSG. Unknown zone names count as -0000, and so
 * does no zone at all; a wrong day name is let pass. Outputs are untouched on failure. */
int date_parse_5322(str s, int64_t *out_unix_s, int *out_offset_min);
/* "2026-11-24T07:55:03.123456Z" */
int date_format_3339(struct buf *out, uint64_t wall_us);
/* The same without a buf; moments after year 9999 count as its end. */
#define DATE_3339_LEN 27
void date_put_3339(char out[DATE_3339_LEN], uint64_t wall_us);
/* Any RFC 3339 date-time from 1970 on, with Z or an offset. 0 or -EBADMSG. */
int date_parse_3339(str s, uint64_t *out_wall_us);
/* Offset of the local zone at that moment in minutes, from the C library's zone data. */
int date_local_offset_min(int64_t unix_s);
