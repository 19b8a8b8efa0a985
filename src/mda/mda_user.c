/* Users of this host that mail is delivered as: see mda_user.h. */
#include "mda/mda_user.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PASSWD_MAX = 32768, GROUPS_MAX = 1024 };

static int capabilities(struct __user_cap_data_struct data[2], bool set)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    return syscall(set ? SYS_capset : SYS_capget, &head, data) < 0 ? -errno : 0;
}

void mda_rights_read(struct mda_rights *out)
{
    struct __user_cap_data_struct data[2] = { 0 };
    uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID;
    *out = (struct mda_rights){ .own = (uint32_t)geteuid() };
    out->switches = capabilities(data, false) == 0 && (data[0].effective & needed) == needed;
    data[0].inheritable = data[1].inheritable = 0; /* and with them the ambient ones */
    capabilities(data, true);
}

/* A sentence around the user's name. */
static int wrong(struct mda_result *why, const char *before, str name, const char *behind)
{
    mda_result_set(why, MDA_DEFERRED, 451, "4.3.5", "%s %.*s%s", before, (int)MIN(name.n, (size_t)80),
                   name.p ? name.p : "", behind);
    return -1;
}

static int keep(struct mda_account *out, const struct passwd *p)
{
    out->user = (struct mda_user){ .name = arena_dup(&out->arena, str_z(p->pw_name)),
                                   .home = arena_dup(&out->arena, str_z(p->pw_dir)),
                                   .shell = arena_dup(&out->arena, str_z(p->pw_shell)),
                                   .uid = p->pw_uid, .gid = p->pw_gid };
    return out->user.name.p && out->user.home.p && out->user.shell.p ? 0 : -ENOMEM;
}

/* 0, 1 there is none, or negative errno. */
static int look_up(str name, uint32_t uid, struct mda_account *out)
{
    char room[PASSWD_MAX];
    struct passwd p, *found = NULL;
    _cleanup_free_ char *z = name.n ? str_dupz(name) : NULL;
    if (name.n && !z)
        return 1;
    int r = name.n ? getpwnam_r(z, &p, room, sizeof(room), &found) : getpwuid_r(uid, &p, room, sizeof(room), &found);
    if (!found) /* what glibc's documentation calls "not found", from the many ways to say it */
        return r == 0 || r == ENOENT || r == ESRCH || r == EBADF || r == EPERM ? 1 : -r;
    return keep(out, found);
}

/* The uid that counts although it may be below mda_min_uid. */
static uint32_t standard_uid(const struct mda_rights *rights)
{
    struct mda_account a = { .arena = ARENA(MDA_ACCOUNT_MEMORY) };
    uint32_t uid = rights->own;
    if (rights->standard.n && look_up(rights->standard, 0, &a) == 0)
        uid = a.user.uid;
    mda_account_done(&a);
    return uid;
}

static int judge(const struct mda_rights *rights, const struct mda_account *a, bool standard, struct mda_result *why)
{
    if (a->user.uid == 0)
        return wrong(why, "mail is never delivered as", a->user.name, ", who is root");
    if (a->user.uid < rights->min_uid && !standard && a->user.uid != standard_uid(rights))
        return wrong(why, "mail is not delivered as", a->user.name, ": its user number is below mda_min_uid");
    if (a->user.uid != rights->own && !rights->switches)
        return wrong(why, "role mda may not become the user", a->user.name,
                     ": the server must be started by root, or with the systemd drop-in local-delivery.conf");
    return 0;
}

int mda_account_find(const struct mda_rights *rights, str name, struct mda_account *out, struct mda_result *why)
{
    bool standard = name.n == 0;
    if (standard)
        name = rights->standard;
    *out = (struct mda_account){ .arena = ARENA(MDA_ACCOUNT_MEMORY) };
    int r = look_up(name, rights->own, out);
    if (r == 1 && !name.n) { /* a container may have no row for its only user */
        struct passwd own = { .pw_name = (char *)"posthouse", .pw_dir = (char *)"/", .pw_shell = (char *)"/bin/sh",
                              .pw_uid = rights->own, .pw_gid = getegid() };
        r = keep(out, &own);
    }
    if (r == 1)
        r = wrong(why, "there is no system user", name, " on this host");
    else if (r < 0) {
        mda_result_set(why, MDA_DEFERRED, 451, "4.3.0", "system users cannot be looked up: %s", strerror(-r));
        r = -1;
    } else {
        r = judge(rights, out, standard, why);
    }
    if (r < 0)
        mda_account_done(out);
    return r;
}

void mda_account_done(struct mda_account *a)
{
    arena_done(&a->arena);
    *a = (struct mda_account){ 0 };
}

static int set_groups(const struct mda_user *u)
{
    gid_t groups[GROUPS_MAX];
    int n = GROUPS_MAX;
    if (getgrouplist(u->name.p, u->gid, groups, &n) < 0)
        return -E2BIG;
    return setgroups((size_t)n, groups) < 0 ? -errno : 0;
}

int mda_account_become(const struct mda_rights *rights, const struct mda_account *a)
{
    struct __user_cap_data_struct none[2] = { 0 };
    uid_t uid = a->user.uid, real, effective, saved;
    gid_t gid = a->user.gid;
    int r = 0;
    if (uid == 0)
        return -EPERM;
    if (rights->switches) {
        r = set_groups(&a->user);
        if (r == 0 && (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
            r = -errno;
    }
    if (r == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        r = -errno;
    if (r == 0)
        r = capabilities(none, true);
    if (r == 0 && (getresuid(&real, &effective, &saved) < 0 || real != uid || effective != uid || saved != uid))
        r = -EPERM;
    return r;
}
