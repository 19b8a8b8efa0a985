/* The system users that role mda delivers as: found, judged, and become in a child. A wrong name or a missing right is
 * a mistake of an administrator: mail waits until it is mended, and the reason says how. */
#pragma once
#include "mda/mda.h"

struct mda_rights {
    uint32_t own;            /* uid of the role */
    bool switches;           /* it has CAP_SETUID and CAP_SETGID */
    uint64_t min_uid;        /* setting mda_min_uid */
    str standard;            /* setting mda_user; n == 0: `own` */
};

#define MDA_ACCOUNT_MEMORY 65536
struct mda_account {
    struct arena arena;      /* holds the texts of `user`, each with a NUL behind it */
    struct mda_user user;
};

/* What this process may: reads its uid and capabilities, and sees to it that no program it starts has one of them. */
void mda_rights_read(struct mda_rights *out);
/* Looks the user up (n == 0: the standard one) and says whether mail is delivered as it: not as root, not below min_uid
 * but for the standard one, and not as another user without the right. 0, or -1 with *why set, deferred. */
int mda_account_find(const struct mda_rights *rights, str name, struct mda_account *out, struct mda_result *why);
void mda_account_done(struct mda_account *a);
/* For a process of its own: becomes that user for good, with its groups and without any capability. 0 or negative
 * errno, after which the process must end. */
int mda_account_become(const struct mda_rights *rights, const struct mda_account *a);
