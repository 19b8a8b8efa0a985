/* What the master prepares before it starts roles: the user, folders, sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "admin/admin.h"
#include "admin/master.h"

/* A slice of the configuration as a NUL-terminated string; "" without memory. */
static const char *text(struct master *m, str s)
{
    const char *z = arena_dup(&m->config.arena, s).p;
    return z ? z : "";
}

/* A user of this host that is not root. 0, or negative after a complaint. */
static int find_user(str name, uid_t *out_uid, gid_t *out_gid)
{
    _cleanup_free_ char *z = str_dupz(name);
    const struct passwd *p = z ? getpwnam(z) : NULL;
    if (!p) {
        admin_complain(
            "run_as: there is no user \"%.*s\" on this host. Make it with: useradd --system --no-create-home %.*s",
            STR_ARG(name), STR_ARG(name));
        return -EINVAL;
    }
    if (p->pw_uid == 0) {
        admin_complain("run_as: roles do not run as root; name an unprivileged user");
        return -EINVAL;
    }
    *out_uid = p->pw_uid;
    *out_gid = p->pw_gid;
    return 0;
}

/* `run_as NAME-*`: each role has the user NAME-ROLE. A role that writes a log has the store's group, as the store
 * reads, repairs and removes what it wrote. */
static int user_of_each(struct master *m, str prefix)
{
    for (int id = ROLE_MASTER + 1; id < ROLE_COUNT; id++) {
        struct buf name = BUF(256);
        buf_addf(&name, "%.*s%s", STR_ARG(prefix), role_name[id]);
        int r = find_user(buf_str(&name), &m->as[id].uid, &m->as[id].gid);
        buf_done(&name);
        if (r < 0)
            return r;
    }
    m->as[ROLE_SMTP_IN].gid = m->as[ROLE_ACCESS].gid = m->as[ROLE_STORE].gid;
    m->drop = true;
    return 0;
}

int master_user(struct master *m)
{
    str name = m->config.conf->run_as;
    m->uid = geteuid();
    m->gid = getegid();
    if (str_ends(name, S("-*"))) {
        snprintf(m->user, sizeof(m->user), "%.*s", STR_ARG(str_first(name, sizeof(m->user) - 1)));
        return user_of_each(m, str_first(name, name.n - 1));
    }
    m->drop = m->uid == 0;
    if (m->drop && !name.n) {
        admin_complain("run_as is not set: started by root, the roles need a system user of their own to run as. "
                       "Make one (useradd --system --no-create-home posthouse) and write `run_as posthouse` into %s",
                       m->config_path);
        return -EINVAL;
    }
    int r = m->drop ? find_user(name, &m->uid, &m->gid) : 0;
    const struct passwd *p = getpwuid(m->uid);
    snprintf(m->user, sizeof(m->user), "%s", p ? p->pw_name : "?");
    for (int id = 0; id < ROLE_COUNT; id++) {
        m->as[id].uid = m->uid;
        m->as[id].gid = m->gid;
    }
    return r;
}

/* Folders of the data folder. With a user for each role others than the owner reach them only through the data folder,
 * which is closed; so `mode` may be open where roles or the master meet. */
static const struct { const char *name; enum role_id owner; mode_t mode; } folders[] = {
    { "log", ROLE_STORE, 0750 },   { "log/smtp-in", ROLE_SMTP_IN, 0775 }, { "log/access", ROLE_ACCESS, 0775 },
    { "journal", ROLE_STORE, 0750 }, { "trace", ROLE_STORE, 01777 },        { "auth", ROLE_AUTH, 0750 },
};

static bool one_user(const struct master *m) { return m->as[ROLE_STORE].uid == m->as[ROLE_AUTH].uid; }

/* A master that is not root finds the folders made (contrib/systemd/tmpfiles.conf). */
static int give(struct master *m, int at, const char *name, enum role_id owner, mode_t mode)
{
    struct stat st;
    uid_t uid = m->as[owner].uid;
    gid_t gid = one_user(m) || owner == ROLE_SMTP_IN || owner == ROLE_ACCESS ? m->as[owner].gid : m->gid;
    if (!m->drop)
        return 0;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if ((st.st_uid != uid || st.st_gid != gid) && fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return one_user(m) || (st.st_mode & 07777) == mode || fchmodat(at, name, mode, 0) == 0 ? 0 : -errno;
}

/* Two servers on one data folder would take each other's control socket. Held until the process ends. */
static int lock_data(struct master *m)
{
    int fd = openat(m->data_fd, "serve.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno == EWOULDBLOCK ? -EBUSY : -errno;
}

/* 16 bytes that only this host knows: rewritten senders and marks of loops are signed with them. Made once. */
static int make_host_key(struct master *m)
{
    uint8_t key[16];
    struct stat st;
    if (fstatat(m->data_fd, HOST_KEY, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return st.st_size == sizeof(key) ? 0 : -EBADMSG;
    env_system.random(key, sizeof(key));
    _cleanup_close_ int fd =
        openat(m->data_fd, HOST_KEY ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, key, sizeof(key));
    if (n != (ssize_t)sizeof(key))
        return n < 0 ? -errno : -ENOSPC;
    return fsync(fd) < 0 || renameat(m->data_fd, HOST_KEY ".new", m->data_fd, HOST_KEY) < 0 || fsync(m->data_fd) < 0
               ? -errno
               : 0;
}

int master_folders(struct master *m)
{
    const char *path = text(m, m->config.conf->data_directory);
    int r = 0;
    if (mkdirat(m->base_fd, path, 0700) == 0 || !one_user(m))
        r = give(m, m->base_fd, path, ROLE_STORE, 0770);
    m->data_fd = r < 0 ? -1 : openat(m->base_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->data_fd < 0) {
        admin_complain("data_directory %s: %s", path, strerror(r < 0 ? -r : errno));
        return -EIO;
    }
    r = lock_data(m);
    if (r < 0) {
        admin_complain("data_directory %s: %s", path,
                       r == -EBUSY ? "another server runs on it; posthouse status shows it" : strerror(-r));
        return r;
    }
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        r = mkdirat(m->data_fd, folders[i].name, 0700) < 0 && errno != EEXIST ? -errno : 0;
        if (r == 0)
            r = give(m, m->data_fd, folders[i].name, folders[i].owner, folders[i].mode);
        if (r < 0) {
            admin_complain("data_directory %s: cannot make %s: %s", path, folders[i].name, strerror(-r));
            return r;
        }
    }
    r = make_host_key(m);
    if (r < 0)
        admin_complain("data_directory %s: %s: %s", path, HOST_KEY,
                       r == -EBADMSG ? "it is damaged: remove it, and a new one is made" : strerror(-r));
    return r;
}

int master_role_folder(struct master *m, enum role_id id)
{
    static const char *const names[ROLE_COUNT] = { [ROLE_SMTP_IN] = "log/smtp-in", [ROLE_ACCESS] = "log/access",
                                                   [ROLE_STORE] = ".", [ROLE_AUTH] = "auth" };
    const char *name = names[id];
    return name ? openat(m->data_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

int master_open_file(struct master *m, str path)
{
    return path.n ? openat(m->base_fd, text(m, path), O_RDONLY | O_CLOEXEC) : -1;
}

static socklen_t socket_address(const struct conf_listener *l, struct sockaddr_storage *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    char address[64] = { 0 };
    memcpy(address, l->address.p, MIN(l->address.n, sizeof(address) - 1));
    *out = (struct sockaddr_storage){ 0 };
    if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(l->port);
        return sizeof(*in);
    }
    if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(l->port);
        return sizeof(*in6);
    }
    return 0;
}

static int bind_one(const struct conf_listener *l, int *out_fd)
{
    struct sockaddr_storage a;
    socklen_t n = socket_address(l, &a);
    int one = 1;
    if (!n)
        return -EINVAL;
    _cleanup_close_ int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (a.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&a, n) < 0 || listen(fd, 1024) < 0)
        return -errno;
    *out_fd = TAKE_FD(fd);
    return 0;
}

/* A socket that nobody listens on any more is left from an earlier run. Anything else keeps its place. */
static int remove_stale(int folder, const char *name, const struct sockaddr_un *a)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno != ECONNREFUSED)
        return -EADDRINUSE;
    return unlinkat(folder, name, 0) < 0 ? -errno : 0;
}

static mode_t socket_mode(const struct conf *c)
{
    mode_t mode = 0;
    for (size_t i = 0; i < c->lmtp_socket_mode.n; i++)
        mode = mode << 3 | (mode_t)(c->lmtp_socket_mode.p[i] - '0');
    return mode & 0777;
}

/* A Unix socket of the role's user. The folder is opened once and all is done inside it, so that nobody who may write
 * there leads us elsewhere meanwhile. */
static int bind_path(struct master *m, str path, int *out_fd)
{
    ptrdiff_t slash = str_rchr(path, '/');
    const char *folder_name = slash < 0 ? "." : slash == 0 ? "/" : text(m, str_first(path, (size_t)slash));
    const char *name = text(m, slash < 0 ? path : str_from(path, (size_t)slash + 1));
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    _cleanup_close_ int folder = openat(m->base_fd, folder_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (folder < 0 || fd < 0)
        return -errno;
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", folder, name);
    int r = remove_stale(folder, name, &a);
    if (r < 0)
        return r;
    mode_t before = umask(0777 & ~socket_mode(m->config.conf)); /* right from the first moment */
    r = bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
    umask(before);
    if (r == 0 && m->drop && fchownat(folder, name, m->uid, m->gid, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r == 0 && listen(fd, 1024) < 0)
        r = -errno;
    if (r == 0)
        *out_fd = TAKE_FD(fd);
    return r;
}

static const char *advice(const struct conf_listener *l, int error)
{
    str path;
    if (conf_listener_path(l, &path))
        return error == -EADDRINUSE ? "A server that runs has this socket; stop it, or choose another path."
               : error == -EEXIST   ? "What is there is no socket; move it away, or choose another path."
                                    : "The folder of the socket must exist, and be open to whoever starts the server.";
    return error == -EADDRINUSE
               ? "Another program has this port. Find it with `ss -ltnp`, stop it, or choose another port."
           : error == -EACCES        ? "Ports below 1024 need root (or CAP_NET_BIND_SERVICE)."
           : error == -EADDRNOTAVAIL ? "This host does not have that address."
                                     : "";
}

int master_bind(struct master *m)
{
    const struct conf *c = m->config.conf;
    for (size_t i = 0; i < c->n_listeners && i < ROLE_LISTENERS_MAX; i++) {
        const struct conf_listener *l = &c->listeners[i];
        str path;
        int r = conf_listener_path(l, &path) ? bind_path(m, path, &m->sockets[i].fd) : bind_one(l, &m->sockets[i].fd);
        if (r < 0) {
            _cleanup_buf_ struct buf endpoint = BUF(256);
            conf_listener_print(&endpoint, l);
            admin_complain("%.*s:%u: listen %s %.*s: %s. %s", STR_ARG(l->file), l->line, conf_service_name[l->service],
                           STR_ARG(buf_str(&endpoint)), strerror(-r), advice(l, r));
            return r;
        }
        m->sockets[i].listener = (uint32_t)i;
        m->n_sockets = i + 1;
    }
    return 0;
}
