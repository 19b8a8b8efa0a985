/* Quotas in role store: what an account may keep (the settings quota and quota_messages, and its line in the
 * accounts file), and which accounts are over it, told to role smtp-in, whose RCPT then answers 452. An account is over
 * its quota when it uses as much or more. Looked at a moment after each change of what it uses, all accounts after
 * the start and after each reload, in steps. */
#pragma once
#include "base/map.h"
#include "io/role.h"
#include "store/mailboxes.h"

struct quota_role {
    struct role *role;
    struct store *store;
    struct map over;         /* accounts */
    struct map changed;      /* account -> LSN from which on the change can be seen (heap) */
    struct loop_timer look;
    size_t scanned;          /* accounts of the directory looked at; SIZE_MAX: all */
    struct buf news; uint32_t n_news; /* rows of the next OVER_QUOTA */
};

/* Becomes the judge of the store (store_set_quota). */
void quota_role_init(struct quota_role *q, struct role *r, struct store *s);
void quota_role_done(struct quota_role *q);
/* A new configuration or directory is in use. */
void quota_role_configure(struct quota_role *q);
/* What the account uses has changed, or will with what is staged. */
void quota_role_changed(struct quota_role *q, str account);
/* Role smtp-in is there. */
void quota_role_up(struct quota_role *q);
/* A store_quota_fn; arg is the quota_role. */
void quota_role_limit(void *arg, str account, struct store_usage *out_limit);
