/* For tests only, after cmocka: what becomes of a command, as imap_dump.h writes it, or of the error. */
#pragma once
#include <errno.h>
#include "proto/imap_dump.h"

static inline void parse_as(str line, bool utf8, str want)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 20);
    _cleanup_buf_ struct buf whole = BUF(1 << 20), got = BUF(1 << 20);
    struct imap_command c;
    struct imap_parse_error error = { .text = S("no error was given") };
    buf_add(&whole, S("a1 "));
    buf_add(&whole, line);
    int r = imap_parse(&a, buf_str(&whole), utf8, &c, &error);
    if (r == 0)
        dump_command(&got, &c);
    else if (r == -EBADMSG)
        buf_addf(&got, "%s%s%s%s%.*s", error.no ? "NO " : "BAD ", error.code ? "[" : "", error.code ? error.code : "",
                 error.code ? "] " : "", STR_ARG(error.text));
    else
        buf_addf(&got, "%d", r);
    if (!str_eq(buf_str(&got), want))
        fail_msg("%.*s\ngot  %.*s\nwant %.*s", STR_ARG(line), STR_ARG(buf_str(&got)), STR_ARG(want));
    assert_true(str_eq(c.tag, S("a1")));
}

#define PARSE(line, want) parse_as(S(line), false, S(want))
