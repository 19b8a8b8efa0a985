/* Delivered-To lines with a mark of this host: mail that an address of ours forwards carries one, and when it comes
 * back the address knows that it has seen it (DESIGN 2; no standard field, but the name everybody uses). Lines without
 * the mark are somebody else's affair: nobody can make us believe in a loop but with a line that we wrote. */
#pragma once
#include "base/buf.h"

/* Appends the whole line with its CRLF. An address with control bytes gives nothing. The buf's error. */
int loop_mark_write(struct buf *out, const uint8_t key[16], str address);
/* The address in a field's value, if the mark is right. */
bool loop_mark_read(const uint8_t key[16], str value, str *out_address);
