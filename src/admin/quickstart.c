/* `posthouse quickstart --local DIR`: a complete instance in one folder. Invariants:
 * 1. DIR appears whole or not at all: everything is written into DIR.tmp-XXXXXX and renamed; a failure or a signal
 *    removes it, and the system user too if it was made for it.
 * 2. Started by root, roles get what they must read or write and nothing more: whoever could write posthouse.conf could
 *    choose the user that the roles run as, so the folder and the configuration stay root's, and so does the list of
 *    passwords in clear. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "admin/admin.h"
#include "admin/certificates.h"
#include "admin/quickstart.h"
#include "auth/password.h"
#include "base/env.h"
#include "base/event.h"
#include "conf/accounts.h"
#include "message/address.h"

#define TEXT_MAX QUICKSTART_TEXT_MAX
#define SYSTEM_USER QUICKSTART_USER

static const char *const account_names[] = { "alice", "bob", "carol" };

static const struct service { const char *name, *protocol, *use; unsigned port; } services[] = {
    { "smtp", "smtp", "mail from other servers", 25 },
    { "submission", "smtp", "sending, STARTTLS", 587 },
    { "submissions", "smtps", "sending, TLS", 465 },
    { "lmtp", "lmtp", "mail from another mail system on this machine", 24 },
    { "pop3", "pop3", "reading, STLS", 110 },
    { "pop3s", "pop3s", "reading, TLS", 995 },
    { "imap", "imap", "reading, STARTTLS", 143 },
    { "imaps", "imaps", "reading, TLS", 993 },
};
const char *quickstart_role_user(const struct quickstart *q)
{
    return q->user ? q->user : SYSTEM_USER;
}

bool quickstart_is_ip(const char *text)
{
    unsigned char raw[16];
    return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

int quickstart_read_domain(struct quickstart *q, const char *what, const char *text)
{
    str s = str_z(text);
    ptrdiff_t dot = str_rchr(s, '.');
    uint64_t number;
    bool numeric = str_u64(str_from(s, (size_t)(dot + 1)), UINT64_MAX, &number) != -EINVAL; /* an address, no name */
    bool ok = domain_valid(s, 1) && s.n <= 248 && !numeric;
    for (size_t i = 0; i < s.n; i++)
        ok = ok && (unsigned char)s.p[i] < 128;
    if (!ok) {
        admin_complain("quickstart: %s wants a domain name of letters, digits, hyphens and dots, like "
                       "posthouse.test (an international name in its xn-- form), not %s", what, text);
        return EXIT_USAGE;
    }
    q->domain = arena_lower(&q->arena, s);
    return q->domain.p ? 0 : EXIT_IO;
}

int quickstart_read_base(struct quickstart *q, const char *text)
{
    uint64_t number;
    if (str_u64(str_z(text), UINT16_MAX - QUICKSTART_HIGHEST_PORT, &number) < 0) {
        admin_complain("quickstart: --base-port wants a number from 0 to %d, not %s: the listeners are at this number "
                       "plus 24, 25, 110, 143, 465, 587, 993 and 995", UINT16_MAX - QUICKSTART_HIGHEST_PORT, text);
        return EXIT_USAGE;
    }
    q->base = (uint16_t)number;
    return 0;
}

static int read_request(struct quickstart *q, int argc, char **argv)
{
    const char *domain = "posthouse.test", *base = "20000";
    const struct admin_option options[] = {
        { "--local", &q->place, NULL },  { "--base-port", &base, NULL }, { "--domain", &domain, NULL },
        { "--listen", &q->listen, NULL }, { "--user", &q->user, NULL },
    };
    int r = admin_options("quickstart", &argc, argv, options, ARRAY_LEN(options));
    if (r)
        return r;
    if (argc > 0) {
        admin_complain("quickstart: takes no argument without an option's name before it, but was given %s", argv[0]);
        return EXIT_USAGE;
    }
    if (!q->place || !*q->place) {
        admin_complain("quickstart: say where the instance shall be: posthouse quickstart --local DIR");
        return EXIT_USAGE;
    }
    r = quickstart_read_base(q, base);
    if (r)
        return r;
    if (!quickstart_is_ip(q->listen)) {
        admin_complain("quickstart: --listen wants an IPv4 or IPv6 address like 127.0.0.1, not %s", q->listen);
        return EXIT_USAGE;
    }
    r = quickstart_read_domain(q, "--domain", domain);
    q->host = r ? STR_NONE : arena_printf(&q->arena, "mail.%.*s", STR_ARG(q->domain));
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(account_names); i++)
        q->accounts[q->n_accounts++] = arena_printf(&q->arena, "%s@%.*s", account_names[i], STR_ARG(q->domain));
    return r;
}

static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return false;
    size_t entries = 0;
    while (readdir(d) && entries < 3)
        entries++;
    closedir(d);
    return entries == 2; /* . and .. */
}

/* The absolute path of a folder that may be made here: new, or there and empty. */
static int find_target(struct quickstart *q)
{
    str s = str_z(q->place);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    _cleanup_free_ char *there = realpath(q->place, NULL);
    if (there) {
        if (!is_empty(there)) {
            admin_complain("quickstart: %s is there already and is not an empty folder. Nothing was changed; name "
                           "another folder, or remove that one first", q->place);
            return EXIT_CANTCREATE;
        }
        q->target = arena_dup(&q->arena, str_z(there));
        return q->target.p ? 0 : EXIT_IO;
    }
    str parent = str_first(s, (size_t)(str_rchr(s, '/') + 1));
    str above = arena_dup(&q->arena, parent.n ? parent : S("."));
    _cleanup_free_ char *real = above.p ? realpath(above.p, NULL) : NULL;
    if (!real) {
        admin_complain("quickstart: cannot make %s: the folder above it: %s", q->place, strerror(errno));
        return EXIT_CANTCREATE;
    }
    str name = str_from(s, parent.n);
    q->target = arena_printf(&q->arena, "%s/%.*s", real[1] ? real : "", STR_ARG(name));
    return q->target.p ? 0 : EXIT_IO;
}

static bool may_enter(const struct stat *st, uid_t uid, const gid_t *groups, int n)
{
    if (st->st_uid == uid)
        return st->st_mode & S_IXUSR;
    for (int i = 0; i < n; i++)
        if (st->st_gid == groups[i])
            return st->st_mode & S_IXGRP;
    return st->st_mode & S_IXOTH;
}

/* Every folder above the target must let that user pass. uid -1: a user that is yet to be made and owns nothing. */
static int check_reach(struct quickstart *q, const char *user, uid_t uid, gid_t gid)
{
    gid_t groups[256];
    int n = ARRAY_LEN(groups);
    if (uid == (uid_t)-1)
        n = 0;
    else if (getgrouplist(user, gid, groups, &n) < 0)
        n = ARRAY_LEN(groups);
    for (size_t i = 0; i < q->target.n; i++) {
        if (q->target.p[i] != '/')
            continue;
        str above = arena_dup(&q->arena, str_first(q->target, i ? i : 1));
        struct stat st;
        if (!above.p || stat(above.p, &st) < 0) {
            admin_complain("quickstart: cannot look at %s: %s", above.p ? above.p : "a folder", strerror(errno));
            return EXIT_CANTCREATE;
        }
        if (!may_enter(&st, uid, groups, n)) {
            admin_complain("quickstart: the roles will run as the user %s, who may not enter %s (mode %04o). Put the "
                           "instance elsewhere, for example %s /var/lib/posthouse-local, or name another user "
                           "with --user", user, above.p, (unsigned)(st.st_mode & 07777), q->option);
            return EXIT_NOPERM;
        }
    }
    return 0;
}

/* Runs a program of the system without a shell. 0, or -errno of starting it, or its exit status. */
static int run_program(char *const argv[])
{
    char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    pid_t pid;
    int r = posix_spawn(&pid, argv[0], NULL, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    if (r)
        return -r;
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Looks the user up. Sets uid and gid, or leaves uid at -1: it is the default user and must be made. */
static int find_user(struct quickstart *q)
{
    q->root = geteuid() == 0;
    const char *name = quickstart_role_user(q);
    const struct passwd *pw = getpwnam(name);
    if (!q->root) {
        if (q->user && (!pw || pw->pw_uid != geteuid())) {
            admin_complain("quickstart: only root can make an instance for another user (%s); leave --user away and it "
                           "runs as you", q->user);
            return EXIT_NOPERM;
        }
        return 0;
    }
    if (pw && pw->pw_uid == 0) {
        admin_complain("quickstart: the roles must not run as %s, who may do everything; leave --user away and they "
                       "run as the user " SYSTEM_USER, name);
        return EXIT_USAGE;
    }
    if (!pw && q->user) {
        admin_complain("quickstart: this system has no user %s; make it first, or leave --user away and "
                       "the roles run as " SYSTEM_USER, q->user);
        return EXIT_USAGE;
    }
    q->uid = pw ? pw->pw_uid : (uid_t)-1;
    q->gid = pw ? pw->pw_gid : (gid_t)-1;
    return check_reach(q, name, q->uid, q->gid);
}

int quickstart_user(struct quickstart *q)
{
    if (!q->root || q->uid != (uid_t)-1)
        return 0;
    char *const argv[] = { "/usr/sbin/useradd", "--system", "--user-group", "--no-create-home", "--home-dir",
                           "/nonexistent", "--shell", "/usr/sbin/nologin", "--comment", "Posthouse mail system",
                           SYSTEM_USER, NULL };
    int r = run_program(argv);
    if (r != 0) {
        const char *how = r == -ENOENT ? "is not here (Debian package passwd)" : "failed";
        admin_complain("quickstart: cannot make the system user " SYSTEM_USER ": %s %s. Make the user yourself, or "
                       "name an existing one with --user", argv[0], how);
        return EXIT_NOPERM;
    }
    q->user_made = true;
    const struct passwd *pw = getpwnam(SYSTEM_USER);
    if (!pw) {
        admin_complain("quickstart: %s made the user " SYSTEM_USER ", but the system does not find it", argv[0]);
        return EXIT_NOPERM;
    }
    q->uid = pw->pw_uid;
    q->gid = pw->pw_gid;
    return 0;
}

/* One of 65,536 words of consonant-vowel-consonant-vowel-consonant a group: easy to read aloud, 64 bits in all. */
static void make_password(char out[QUICKSTART_PASSWORD_LEN + 1])
{
    static const char consonants[] = "bdfghjkmnprstvwz", vowels[] = "aiou";
    _Static_assert(sizeof(consonants) == 17 && sizeof(vowels) == 5, "letters are picked by 4 and 2 bits");
    uint16_t bits[QUICKSTART_PASSWORD_GROUPS];
    env_system.random(bits, sizeof(bits));
    char *p = out;
    for (size_t i = 0; i < QUICKSTART_PASSWORD_GROUPS; i++) {
        if (i)
            *p++ = '-';
        *p++ = consonants[bits[i] & 15];
        *p++ = vowels[bits[i] >> 4 & 3];
        *p++ = consonants[bits[i] >> 6 & 15];
        *p++ = vowels[bits[i] >> 10 & 3];
        *p++ = consonants[bits[i] >> 12 & 15];
    }
    *p = 0;
    explicit_bzero(bits, sizeof(bits));
}

void quickstart_common_settings(const struct quickstart *q, struct buf *b)
{
    buf_addf(b, "# What a setting means, and where it is set: posthouse config explain NAME -c FILE\n"
                "# File names are relative to this file.\n\n"
                "hostname %.*s\n", STR_ARG(q->host));
    buf_addf(b, "domain %.*s\n\n", STR_ARG(q->domain));
    if (q->root)
        buf_addf(b, "# All roles run as this user; root only starts them.\nrun_as %s\n\n", quickstart_role_user(q));
    buf_add(b, S("data_directory data\n"
                 "accounts accounts\n"
                 "secrets secrets\n"
                 "aliases aliases\n"
                 "tls_certificate tls/server.pem\n"
                 "tls_key tls/server.key\n\n"));
}

static void configuration_text(const struct quickstart *q, struct buf *b)
{
    bool v6 = str_chr(str_z(q->listen), ':') >= 0;
    buf_add(b, S("# A local instance, made by `posthouse quickstart`.\n"));
    quickstart_common_settings(q, b);
    buf_add(b, S("# This machine is spared the limits on errors and connections. That gives it no right to relay:\n"
                 "# mynetworks is empty, so whoever sends mail elsewhere must log in.\n"
                 "trusted_clients 127.0.0.0/8 ::1/128\n\n"
                 "# Who may hand mail over by LMTP, for the mailboxes here alone:\n"
                 "lmtp_networks 127.0.0.0/8 ::1/128\n\n"));
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        buf_addf(b, "listen %s %s%s%s:%u # %s\n", services[i].name, v6 ? "[" : "", q->listen, v6 ? "]" : "",
                 q->base + services[i].port, services[i].use);
}

static void aliases_text(const struct quickstart *q, struct buf *b)
{
    const char *d = q->domain.p; /* ends with a NUL, as everything of the arena */
    buf_addf(b, "# alias: target, target\n# A change counts after `posthouse reload`.\n"
                "postmaster@%s: alice@%s\n# team@%s: alice@%s, bob@%s\n", d, d, d, d, d);
}

struct accounts_text { struct buf accounts, secrets, passwords; };

static void accounts_text_done(struct accounts_text *t)
{
    if (t->passwords.p)
        explicit_bzero(t->passwords.p, t->passwords.cap);
    buf_done(&t->accounts);
    buf_done(&t->secrets);
    buf_done(&t->passwords);
}

static int accounts_text(struct quickstart *q, struct accounts_text *t)
{
    for (size_t i = 0; i < q->n_accounts; i++) {
        struct account_secret secret;
        str address = q->accounts[i];
        make_password(q->password[i]);
        if (!address.p || password_make(&q->arena, &env_system, address, str_z(q->password[i]), &secret) < 0 ||
            account_secret_format(&t->secrets, &secret) < 0) {
            admin_complain("quickstart: cannot make the password of %.*s", STR_ARG(address));
            return EXIT_IO;
        }
        buf_addf(&t->accounts, "%.*s\n", STR_ARG(address));
        buf_addf(&t->passwords, "%.*s %s\n", STR_ARG(address), q->password[i]);
    }
    return t->accounts.failed || t->passwords.failed ? EXIT_IO : 0;
}

static int cannot_write(const struct quickstart *q, const char *name)
{
    int e = errno;
    admin_complain("quickstart: cannot write %s in %.*s: %s", name, STR_ARG(q->folder), strerror(e));
    return e == EACCES || e == EPERM ? EXIT_NOPERM : EXIT_CANTCREATE;
}

static int give(const struct quickstart *q, int fd, enum quickstart_owner owner, mode_t mode)
{
    if (fchmod(fd, mode) < 0)
        return -1;
    return q->root && owner == QUICKSTART_ROLES ? fchown(fd, q->uid, q->gid) : 0;
}

static int write_all(int fd, str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return -1;
        s = str_from(s, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

int quickstart_file(const struct quickstart *q, const char *name, const struct buf *text, enum quickstart_owner owner,
                    mode_t mode)
{
    if (text->failed) {
        errno = -text->failed;
        return cannot_write(q, name);
    }
    _cleanup_close_ int fd = openat(q->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, buf_str(text)) < 0 || give(q, fd, owner, mode) < 0 || fsync(fd) < 0)
        return cannot_write(q, name);
    return 0;
}

int quickstart_folder(const struct quickstart *q, const char *name, enum quickstart_owner owner, mode_t mode)
{
    if (mkdirat(q->dir, name, 0700) < 0)
        return cannot_write(q, name);
    _cleanup_close_ int fd = openat(q->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || give(q, fd, owner, mode) < 0 ? cannot_write(q, name) : 0;
}

int quickstart_tls(struct quickstart *q, const char *const *addresses, size_t n)
{
    const char *dns[] = { "localhost", q->host.p };
    const char *ip[2 + QUICKSTART_ADDRESSES_MAX] = { "127.0.0.1", "::1" };
    static const char *const usual[] = { "127.0.0.1", "::1", "0.0.0.0", "::" };
    size_t n_ip = 2;
    for (size_t i = 0; i < n && n_ip < ARRAY_LEN(ip); i++) {
        bool other = true;
        for (size_t k = 0; k < ARRAY_LEN(usual); k++)
            other = other && !str_eq(str_z(addresses[i]), str_z(usual[k]));
        if (other)
            ip[n_ip++] = addresses[i];
    }
    struct certificates_request request = { .dns = dns, .n_dns = 2, .ip = ip, .n_ip = n_ip,
                                            .now_s = (int64_t)(env_system.wall_us() / 1000000) };
    _cleanup_(certificates_done) struct certificates made = { 0 };
    int r = q->host.p ? certificates_make(&request, &made) : -ENOMEM;
    if (r < 0) {
        admin_complain("quickstart: cannot make the certificates: %s", strerror(-r));
        return EXIT_IO;
    }
    if ((r = quickstart_folder(q, "tls", QUICKSTART_CALLER, 0755)) ||
        (r = quickstart_file(q, "tls/ca.pem", &made.ca, QUICKSTART_CALLER, 0644)) ||
        (r = quickstart_file(q, "tls/server.pem", &made.server, QUICKSTART_CALLER, 0644)) ||
        (r = quickstart_file(q, "tls/server.key", &made.key, QUICKSTART_ROLES, 0600)))
        return r;
    return 0;
}

int quickstart_accounts(struct quickstart *q)
{
    _cleanup_(accounts_text_done) struct accounts_text t = { BUF(TEXT_MAX), BUF(TEXT_MAX), BUF(TEXT_MAX) };
    int r = accounts_text(q, &t);
    if (r || (r = quickstart_file(q, "accounts", &t.accounts, QUICKSTART_ROLES, 0600)) ||
        (r = quickstart_file(q, "secrets", &t.secrets, QUICKSTART_ROLES, 0600)) ||
        (r = quickstart_file(q, "accounts.txt", &t.passwords, QUICKSTART_CALLER, 0600)))
        return r;
    return 0;
}

static int write_instance(struct quickstart *q)
{
    _cleanup_buf_ struct buf conf = BUF(TEXT_MAX), aliases = BUF(TEXT_MAX);
    configuration_text(q, &conf);
    aliases_text(q, &aliases);
    int r = quickstart_user(q);
    if (r || (r = quickstart_tls(q, &q->listen, 1)) || (r = quickstart_accounts(q)) ||
        (r = quickstart_file(q, "posthouse.conf", &conf, QUICKSTART_CALLER, 0644)) ||
        (r = quickstart_file(q, "aliases", &aliases, QUICKSTART_CALLER, 0644)) ||
        (r = quickstart_folder(q, "data", QUICKSTART_ROLES, 0700)))
        return r;
    return 0;
}

static bool interrupted(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) || sigismember(&pending, SIGHUP));
}

/* Tells `make uninstall` that the user came with this instance. */
static int note_user(struct quickstart *q)
{
    _cleanup_buf_ struct buf user = BUF(256);
    buf_add(&user, S(SYSTEM_USER "\n"));
    return q->user_made ? quickstart_file(q, ".system-user", &user, QUICKSTART_CALLER, 0644) : 0;
}

/* The folder takes its name, in one step. */
static int publish(struct quickstart *q)
{
    if (interrupted()) {
        admin_complain("quickstart: interrupted; nothing was made");
        return EXIT_CANTCREATE;
    }
    int r = note_user(q);
    if (r)
        return r;
    if (fchmod(q->dir, 0755) < 0 || fsync(q->dir) < 0)
        return cannot_write(q, "everything");
    if (rename(q->folder.p, q->target.p) < 0) {
        admin_complain("quickstart: cannot give %s its name: %s. Nothing was made", q->target.p, strerror(errno));
        return EXIT_CANTCREATE;
    }
    q->folder = STR_NONE;
    str above = arena_dup(&q->arena, str_first(q->target, (size_t)str_rchr(q->target, '/') + 1));
    _cleanup_close_ int fd = above.p ? open(above.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0)
        fsync(fd);
    return 0;
}

static int begin_folder(struct quickstart *q)
{
    str name = arena_printf(&q->arena, "%s.tmp-XXXXXX", q->target.p);
    char *path = (char *)name.p; /* the arena's memory is ours to write */
    if (!path || !mkdtemp(path)) {
        int e = errno;
        admin_complain("quickstart: cannot make a folder beside %s: %s", path ? q->target.p : q->place, strerror(e));
        return e == EACCES || e == EPERM || e == EROFS ? EXIT_NOPERM : EXIT_CANTCREATE;
    }
    q->folder = name;
    q->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return q->dir < 0 ? cannot_write(q, "anything") : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    remove(path);
    return 0;
}

/* Ends the work; what was not published goes. */
void quickstart_done(struct quickstart *q)
{
    if (q->folder.n) {
        nftw(q->folder.p, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        if (q->user_made)
            run_program((char *const[]){ "/usr/sbin/userdel", SYSTEM_USER, NULL });
    }
    if (q->dir >= 0)
        close(q->dir);
    q->dir = -1;
    q->folder = STR_NONE;
    explicit_bzero(q->password, sizeof(q->password));
    arena_done(&q->arena);
}

static void say_what_is_there(const struct quickstart *q)
{
    _cleanup_buf_ struct buf dir = BUF(PATH_MAX * 4);
    bool v6 = str_chr(str_z(q->listen), ':') >= 0;
    print_safe(&dir, q->target);
    printf("A local instance of Posthouse is in %.*s, for the domain %s.\n\n", STR_ARG(buf_str(&dir)), q->domain.p);
    printf("start it     posthouse serve -c %.*s/posthouse.conf\n", STR_ARG(buf_str(&dir)));
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        printf("%-12s %s://%s%s%s:%u (%s)\n", services[i].name, services[i].protocol, v6 ? "[" : "", q->listen,
               v6 ? "]" : "", q->base + services[i].port, services[i].use);
    printf("accounts     ");
    for (size_t i = 0; i < ARRAY_LEN(account_names); i++)
        printf("%s%s@%.*s", i ? ", " : "", account_names[i], STR_ARG(q->domain));
    printf("\npasswords    %.*s/accounts.txt\n", STR_ARG(buf_str(&dir)));
    printf("to trust     %.*s/tls/ca.pem\n", STR_ARG(buf_str(&dir)));
    if (q->root)
        printf("runs as      the system user %s%s\n", quickstart_role_user(q),
               q->user_made ? ", which was made just now" : "");
}

int quickstart_look(struct quickstart *q)
{
    int r = find_target(q);
    return r ? r : find_user(q);
}

/* A signal that comes meanwhile waits until what is not whole is gone. */
int quickstart_make(struct quickstart *q, int (*write_it)(struct quickstart *q))
{
    sigset_t stop, before;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGHUP);
    sigprocmask(SIG_BLOCK, &stop, &before);
    int r = begin_folder(q);
    if (r == 0)
        r = write_it(q);
    if (r == 0)
        r = publish(q);
    if (r)
        quickstart_done(q);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

/* The first real domain is asked for: an address, and no --local. */
static bool names_address(int argc, char **argv)
{
    bool address = false;
    for (int i = 1; i < argc; i++) {
        if (str_starts(str_z(argv[i]), S("--local")))
            return false;
        address = address || (argv[i][0] != '-' && str_chr(str_z(argv[i]), '@') >= 0);
    }
    return address;
}

int cmd_quickstart(int argc, char **argv)
{
    if (names_address(argc, argv))
        return quickstart_domain(argc, argv);
    _cleanup_(quickstart_done) struct quickstart q = { .option = "--local", .listen = "127.0.0.1",
                                                       .arena = ARENA(TEXT_MAX), .dir = -1 };
    int r = read_request(&q, argc, argv);
    if (r || (r = quickstart_look(&q)))
        return r;
    r = quickstart_make(&q, write_instance);
    if (r == 0)
        say_what_is_there(&q);
    return r;
}
