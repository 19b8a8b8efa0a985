/* See targets.h. */
#include "admin/targets.h"
#include <stdio.h>
#include "base/buf.h"
#include "base/cleanup.h"
#include "route/mechanism.h"

void targets_print(const struct directory_result *r)
{
    for (const struct directory_target *t = r->targets; t; t = t->next) {
        _cleanup_buf_ struct buf line = BUF(16384);
        str list = t->mechanism;
        for (str m = mechanism_next(&list); m.n; m = mechanism_next(&list))
            buf_addf(&line, "%s%.*s", line.n ? ", or without a .forward " : "", STR_ARG(m));
        if (t->user.n)
            buf_addf(&line, " as user %.*s", STR_ARG(t->user));
        printf("-> %.*s %.*s\n", STR_ARG(t->address),
               STR_ARG(t->foreign ? S("(on another host)") : line.n ? buf_str(&line) : S("INBOX")));
    }
}

json_t *targets_json(const struct directory_result *r)
{
    json_t *targets = json_array();
    for (const struct directory_target *t = r->targets; t; t = t->next) {
        json_t *one = json_pack("{s:s%, s:b}", "address", t->address.p, t->address.n, "foreign", (int)t->foreign);
        if (t->mechanism.n)
            json_object_set_new(one, "mechanism", json_stringn(t->mechanism.p, t->mechanism.n));
        if (t->user.n)
            json_object_set_new(one, "user", json_stringn(t->user.p, t->user.n));
        json_array_append_new(targets, one);
    }
    return targets;
}
