/* Accounts that are over their quota, as role store tells (frame OVER_QUOTA): RCPT does not take mail for them. What
 * was taken before is delivered all the same (DESIGN 2). */
#include <errno.h>
#include "session/smtp_session.h"

/* An account that no longer fits is as one that is not over its quota. */
static void mark(struct smtp_in *in, str account, bool over)
{
    static char here;
    if (over)
        map_set(&in->over_quota, account, &here, NULL);
    else
        map_take(&in->over_quota, account);
}

void smtp_quota_forget(struct smtp_in *in)
{
    str account;
    for (size_t at = 0; map_next(&in->over_quota, &at, &account);)
        map_take(&in->over_quota, account);
}

int smtp_quota_frame(struct smtp_in *in, struct ipc_frame *f)
{
    bool first = unpack_u8(&f->in);
    uint32_t n = unpack_u32(&f->in);
    str account;
    if (f->in.bad)
        return -EBADMSG;
    if (first)
        smtp_quota_forget(in);
    for (uint32_t i = 0; i < n && !f->in.bad; i++) {
        account = unpack_str(&f->in);
        bool over = unpack_u8(&f->in);
        if (!f->in.bad)
            mark(in, account, over);
    }
    return unpack_end(&f->in) ? 0 : -EBADMSG;
}

bool smtp_quota_full(const struct smtp_in *in, const struct directory_result *where)
{
    if (!in->over_quota.n || where->class != DIRECTORY_LOCAL || !where->targets)
        return false;
    for (const struct directory_target *t = where->targets; t; t = t->next)
        if (t->foreign || !map_get(&in->over_quota, t->address))
            return false;
    return true;
}
