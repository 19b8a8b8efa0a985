/* For the tests of this room: a bundle from texts, and an error as its printed line. */
#pragma once
#include "conf/conf.h"

/* Files after the main one come as name, content, …, NULL. */
static inline str test_bundle(struct arena *a, const char *main_text, const char *const *files)
{
    struct buf b = BUF(CONF_BUNDLE_MAX);
    conf_bundle_begin(&b, S("posthouse.conf"));
    conf_bundle_add(&b, S("posthouse.conf"), str_z(main_text));
    for (; files && files[0]; files += 2)
        conf_bundle_add(&b, str_z(files[0]), str_z(files[1]));
    str copy = arena_dup(a, buf_str(&b));
    buf_done(&b);
    return copy;
}

static inline const char *test_error(struct arena *a, const struct conf_error *e)
{
    struct buf b = BUF(65536);
    conf_error_print(&b, e);
    str copy = arena_dup(a, buf_str(&b));
    buf_done(&b);
    return copy.p;
}
