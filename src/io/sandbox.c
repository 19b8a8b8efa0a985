/* Closing a role's sandbox: see sandbox.h. The rules are in sandbox_rules.def. */
#include "io/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include "base/cleanup.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif

/* Newer than the headers of Debian 12 (linux/landlock.h of 6.7, 6.10, 6.12). */
struct ruleset {
    uint64_t files, net, scopes;
};
#define TRUNCATE (1ull << 14)
#define IOCTL_DEV (1ull << 15)
#define NET_BIND_TCP (1ull << 0)
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1)
enum { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_NET = 4, ABI_IOCTL = 5, ABI_SCOPES = 6 };
#define ALL_FILE_RIGHTS ((1ull << 13) - 1)

#define LIST LANDLOCK_ACCESS_FS_READ_DIR
#define READ (LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_READ_FILE)
#define WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)
#define CREATE LANDLOCK_ACCESS_FS_MAKE_REG
#define REMOVE LANDLOCK_ACCESS_FS_REMOVE_FILE

#define SMTP_IN (1u << ROLE_SMTP_IN)
#define STORE (1u << ROLE_STORE)
#define ACCESS (1u << ROLE_ACCESS)
#define AUTH (1u << ROLE_AUTH)
#define SMTP_OUT (1u << ROLE_SMTP_OUT)
#define DNS (1u << ROLE_DNS)
#define KEYS (1u << ROLE_KEYS)
#define CARDS (1u << ROLE_CARDS)
#define MDA (1u << ROLE_MDA)
#define NET (SMTP_IN | ACCESS)
#define OUT (SMTP_OUT | DNS)
#define NOBODY 0u
#define LOG (SMTP_IN | ACCESS | STORE)
#define THREADS (LOG | AUTH | DNS)
#define FILES (~(CARDS | KEYS))
#define ALL (~0u)

#define NAMESPACES \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static void free_filter(scmp_filter_ctx *f)
{
    if (*f)
        seccomp_release(*f);
}

static int add_unconditional(scmp_filter_ctx f, uint32_t role)
{
    static const struct {
        int call;
        uint32_t roles;
    } allowed[] = {
#define CALL(name, roles, why) { SCMP_SYS(name), roles },
#include "io/sandbox_rules.def"
    };
    static const struct {
        int call;
        uint32_t spared;
    } deadly[] = {
#define DEADLY(name, spared, why) { SCMP_SYS(name), spared },
#include "io/sandbox_rules.def"
    };
    int e = 0;
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(allowed); i++)
        if (allowed[i].roles & role)
            e = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i].call, 0);
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(deadly); i++)
        if (!(deadly[i].spared & role))
            e = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, deadly[i].call, 0);
    return e;
}

/* socket(): of these families and kinds. */
static int add_sockets(scmp_filter_ctx f, uint32_t role)
{
    static const struct { uint32_t roles; uint64_t family, kind; } allowed[] = {
#define SOCKET(roles, family, kind, why) { roles, family, kind },
#include "io/sandbox_rules.def"
    };
    int e = 0;
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(allowed); i++)
        if (allowed[i].roles & role) {
            const struct scmp_arg_cmp both[] = {
                SCMP_CMP64(0, SCMP_CMP_EQ, allowed[i].family),
                SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC), allowed[i].kind),
            };
            e = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), ARRAY_LEN(both), both);
        }
    return e;
}

static int add_conditional(scmp_filter_ctx f, uint32_t role)
{
    const struct {
        int call;
        uint32_t roles;
        unsigned arg;
        uint64_t mask, value;
    } allowed[] = {
#define CALL_IF(name, roles, arg, mask, value, why) { SCMP_SYS(name), roles, arg, mask, value },
#include "io/sandbox_rules.def"
    };
    int e = 0;
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(allowed); i++)
        if (allowed[i].roles & role) {
            struct scmp_arg_cmp only =
                SCMP_CMP64(allowed[i].arg, SCMP_CMP_MASKED_EQ, allowed[i].mask, allowed[i].value);
            e = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, allowed[i].call, 1, &only);
        }
    return e;
}

/* All threads at once, or none: 0 or negative errno. */
static int close_seccomp(uint32_t role)
{
    _cleanup_(free_filter) scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!f)
        return -ENOMEM;
    int e = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (e == 0)
        e = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (e == 0) /* a binary tree: calls with conditions, as send is, run the filter each time */
        e = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (e == 0)
        e = add_unconditional(f, role);
    if (e == 0)
        e = add_conditional(f, role);
    if (e == 0)
        e = add_sockets(f, role);
    return e == 0 ? seccomp_load(f) : e;
}

static int create_ruleset(const struct ruleset *r, uint32_t flags)
{
    return (int)syscall(SYS_landlock_create_ruleset, r, r ? sizeof(*r) : 0, flags);
}

static int add_folder(int ruleset, int dir, uint64_t rights)
{
    struct landlock_path_beneath_attr below = { .allowed_access = rights, .parent_fd = dir };
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0 ? -errno : 0;
}

static int add_folders(int ruleset, const struct sandbox_want *want, uint64_t known)
{
    enum { data, trace, drop };
    static const struct {
        enum role_id role;
        int folder;
        uint64_t rights;
    } rules[] = {
#define FOLDER(role, folder, rights, why) { ROLE_##role, folder, rights },
#include "io/sandbox_rules.def"
    };
    int e = 0;
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(rules); i++) {
        int dir = rules[i].folder == data   ? want->data_dir
                  : rules[i].folder == drop ? want->drop_dir
                                            : want->trace_dir;
        if (rules[i].role == want->role && dir >= 0)
            e = add_folder(ruleset, dir, rules[i].rights & known);
    }
    return e;
}

#ifdef SANDBOX_SANITIZED
/* Reports of the sanitizers read maps and symbols; without them they only say less. */
static void add_reports(int ruleset)
{
    static const char *const paths[] = { "/proc", "/proc/self/exe", "/usr/lib" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        _cleanup_close_ int fd = open(paths[i], O_PATH | O_CLOEXEC);
        if (fd >= 0)
            add_folder(ruleset, fd, i == 1 ? LANDLOCK_ACCESS_FS_READ_FILE : READ);
    }
}
#else
static void add_reports(int ruleset) { (void)ruleset; }
#endif

/* The ABI that is now in force, 0 if this kernel has none, or negative errno. */
static int close_landlock(const struct sandbox_want *want)
{
    int abi = create_ruleset(NULL, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi <= 0 || (abi < ABI_REFER && want->role == ROLE_MDA)) /* which would keep mail from moving from tmp to new */
        return 0;
    struct ruleset r = { .files = ALL_FILE_RIGHTS };
    r.files |= abi >= ABI_REFER ? LANDLOCK_ACCESS_FS_REFER : 0;
    r.files |= abi >= ABI_TRUNCATE ? TRUNCATE : 0;
    r.files |= abi >= ABI_IOCTL ? IOCTL_DEV : 0;
    r.net = abi >= ABI_NET && !(1u << want->role & OUT) ? NET_BIND_TCP | NET_CONNECT_TCP : 0;
    r.scopes = abi >= ABI_SCOPES ? SCOPE_ABSTRACT | SCOPE_SIGNAL : 0;
    _cleanup_close_ int ruleset = create_ruleset(&r, 0);
    if (ruleset < 0)
        return -errno;
    int e = add_folders(ruleset, want, r.files);
    if (e < 0)
        return e;
    add_reports(ruleset);
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : abi;
}

/* The C library reads the time zone at its first use and keeps it. */
static void load_time_zone(void)
{
    time_t now = time(NULL);
    struct tm tm;
    tzset();
    localtime_r(&now, &tm);
}

int sandbox_enter(const struct sandbox_want *want, struct sandbox *out)
{
    static const struct rlimit none = { 0, 0 };
    *out = (struct sandbox){ .why = "the kernel refuses no_new_privs" };
    load_time_zone();
    setrlimit(RLIMIT_CORE, &none);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    int abi = close_landlock(want);
    out->why = "the rules of Landlock could not be set";
    if (abi < 0 && !want->best_effort)
        return abi;
    out->landlock = MAX(abi, 0);
    int e = close_seccomp(1u << want->role);
    out->seccomp = e == 0;
    out->closed = e == 0 || want->best_effort;
    if (e < 0)
        out->why = "this kernel has no seccomp filters";
    else if (abi >= 0)
        out->why = abi ? NULL : "this kernel has no Landlock";
    return out->closed ? 0 : e;
}
