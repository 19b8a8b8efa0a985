/* The drop, as the master prepares it: session/drop.h says what it is. With a group `posthouse-drop` on this host the
 * setgid helper may write in it: mode 1730, so that those of the group can make files but not see those of others.
 * Without that group it is the outbox of the server's own user. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include "admin/admin.h"
#include "admin/master.h"
#include "session/drop.h"


/* Owner and mode, where this master may set them. A folder that is right already needs no right to change it. */
static int give(struct master *m, int fd)
{
    const struct group *g = m->drop ? getgrnam(DROP_GROUP) : NULL;
    uid_t uid = m->as[ROLE_SMTP_IN].uid;
    gid_t gid = g ? g->gr_gid : m->as[ROLE_SMTP_IN].gid;
    mode_t mode = g ? 01730 : 0700;
    char path[32];
    struct stat st;
    if (!m->drop)
        return 0;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((st.st_uid != uid || st.st_gid != gid) && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return (st.st_mode & 07777) == mode || chmod(path, mode) == 0 ? 0 : -errno;
}

void master_drop_folder(struct master *m)
{
    str set = m->config.conf->drop_directory;
    _cleanup_free_ char *path = set.n ? str_dupz(set) : NULL;
    int at = set.n ? m->base_fd : m->data_fd;
    const char *name = set.n ? path : DROP_FOLDER;
    int r = !name ? -ENOMEM : mkdirat(at, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
    _cleanup_close_ int fd = r == 0 ? openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (r == 0)
        r = fd < 0 ? -errno : give(m, fd);
    if (r < 0)
        admin_complain("drop_directory %s: %s. The server runs, but mail from the sendmail command waits",
                       name ? name : "", strerror(-r));
    m->drop_fd = r < 0 ? -1 : TAKE_FD(fd);
}
