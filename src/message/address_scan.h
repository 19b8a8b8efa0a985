/* The pieces of an address list (RFC 5322 3.4 and 4.4) as slices of the text, without memory: what address_list.c
 * decodes and what fixup.c edits in place. One pass, whatever the input; nested comments cost a counter. */
#pragma once
#include "base/str.h"

struct address_item {
    enum { ADDRESS_ITEM, ADDRESS_GROUP_START, ADDRESS_GROUP_END } kind;
    str phrase;        /* display or group name as written, may hold comments and quotes; n == 0 none */
    str comment;       /* last comment of the item with its brackets: the name in "jane@example.org (Jane)" */
    str local, domain; /* as written, with quotes, comments and blanks inside but not around; domain.n == 0: missing */
};

struct address_scan {
    str in;
    size_t at;
    bool in_group;
    bool broken; /* something was skipped or could be read in two ways */
    str comment;
};

#define ADDRESS_SCAN(value) ((struct address_scan){ .in = (value) })

/* Next readable item; false at the end. A group that was started is always ended. Neither the local part nor the
 * domain holds a control character, except that of folding. */
bool address_scan_next(struct address_scan *s, struct address_item *out);

/* True for the bytes of an atom (RFC 5322 3.2.3) and for all above 127 (RFC 6532 3.2). */
bool address_atext(char c);
/* True if a control character is in s (at s.p[i]): 0 to 31, 127, or the first byte of U+0080 to U+009F in UTF-8. */
bool address_has_control(str s);
bool address_control_at(str s, size_t i);

/* Where the quoted string or comment that starts at s.p[i] ends; s.n and *out_closed (may be NULL) false if it never
 * does. */
size_t address_skip_quoted(str s, size_t i, bool *out_closed);
size_t address_skip_comment(str s, size_t i, bool *out_closed);
/* Past blanks, line ends and comments. */
size_t address_skip_cfws(str s, size_t i);
