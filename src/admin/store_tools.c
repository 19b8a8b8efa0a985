/* `posthouse store check|rebuild|compact`: the store's tools. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "admin/admin.h"
#include "admin/control.h"
#include "admin/instance.h"
#include "base/env.h"
#include "base/event.h"
#include "store/store.h"

static void say(void *arg, bool finding, str sentence)
{
    _cleanup_buf_ struct buf shown = BUF(65536);
    (void)arg;
    print_safe(&shown, sentence);
    printf("%s%.*s\n", finding ? "FOUND: " : "", STR_ARG(buf_str(&shown)));
}

/* What root's tool makes must be usable by the roles: it works as the owner of the data folder. */
static int become_owner(int data_fd)
{
    struct stat st;
    if (geteuid() != 0)
        return 0;
    if (fstat(data_fd, &st) < 0)
        return -errno;
    if (st.st_uid == 0)
        return 0;
    const struct passwd *p = getpwuid(st.st_uid); /* logs of roles with their own users have this one's group */
    gid_t gid = p ? p->pw_gid : st.st_gid;
    bool ok = setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 &&
              setresuid(st.st_uid, st.st_uid, st.st_uid) == 0;
    return ok ? 0 : -errno;
}

static int run(struct instance *i, bool rebuild)
{
    if (i->data_fd < 0) {
        admin_complain("there is no data folder yet: the server has never run with %s", i->path);
        return EXIT_UNAVAILABLE;
    }
    if (become_owner(i->data_fd) < 0) {
        admin_complain("cannot become the owner of the data folder: %s", strerror(errno));
        return EXIT_NOPERM;
    }
    int r =
        rebuild ? store_rebuild(i->data_fd, &env_system, say, NULL) : store_check(i->data_fd, &env_system, say, NULL);
    if (r == -EBUSY) {
        admin_complain("the server is running; stop it first");
        return EXIT_UNAVAILABLE;
    }
    if (r < 0) {
        admin_complain("the store cannot be read: %s", strerror(-r));
        return EXIT_IO;
    }
    printf("%d finding%s.\n", r, r == 1 ? "" : "s");
    return r ? 1 : 0;
}

enum { COMPACT_PATIENCE_S = 86400 };

static int compact(struct instance *i, bool now)
{
    _cleanup_buf_ struct buf text = BUF(CONTROL_ANSWER_MAX);
    bool ok = false;
    enum control_command command = now ? CONTROL_COMPACT_NOW : CONTROL_COMPACT;
    int r = i->data_fd < 0 ? -ENOENT : control_ask(i->data_fd, command, COMPACT_PATIENCE_S, &ok, &text);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        admin_complain("no server runs with %s; compaction is its work", i->path);
        return EXIT_UNAVAILABLE;
    }
    if (r < 0 || !ok) {
        admin_complain("the server did not do it: %s", r < 0 ? strerror(-r) : "its role store is not there");
        return r == -EACCES || r == -EPERM ? EXIT_NOPERM : EXIT_UNAVAILABLE;
    }
    printf("%.*s", STR_ARG(buf_str(&text)));
    return 0;
}

int cmd_store(int argc, char **argv)
{
    const char *config = NULL;
    bool now = false;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--now", NULL, &now } };
    struct instance i;
    int e = admin_options("store", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    bool check = argc == 1 && str_eq(str_z(argv[0]), S("check")),
         rebuild = argc == 1 && str_eq(str_z(argv[0]), S("rebuild")),
         compaction = argc == 1 && str_eq(str_z(argv[0]), S("compact"));
    if ((!check && !rebuild && !compaction) || (now && !compaction)) {
        admin_complain("store takes check, rebuild or compact [--now]; see posthouse help store");
        return EXIT_USAGE;
    }
    e = instance_load(config, &i);
    if (e)
        return e;
    e = compaction ? compact(&i, now) : run(&i, rebuild);
    instance_done(&i);
    return e;
}
