/* The files `accounts` and `secrets`: one line of secrets read and written, and a change of both.
 * Invariants:
 *  1. Each file is replaced as a whole (new file beside it, fsync, rename, fsync of the folder), so a reader sees the
 *     old or the new.
 *  2. A secret without an account is ignored by everybody. An addition writes the secret first and a removal takes the
 *     account first, so what a crash between the two leaves is such a secret, and the same command given again ends the
 *     work. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "base/cleanup.h"
#include "base/codec.h"
#include "conf/accounts.h"
#include <errno.h>

#define FILE_SIZE_MAX (1u << 30)
#define SCRAM_PREFIX "scram-sha-256:"
#define ITERATIONS_MIN 4096 /* RFC 7677 4 */
#define ITERATIONS_MAX 10000000
#define SALT_MAX 1024

static bool plain(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 127)
            return false;
    return s.n > 0 && s.p[0] != '#';
}

static int field(struct arena *a, str text, size_t least, size_t most, str *out)
{
    _cleanup_buf_ struct buf b = BUF(SALT_MAX + 3);
    int r = base64_decode(&b, text);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (b.n < least || b.n > most)
        return -EBADMSG;
    *out = arena_dup(a, buf_str(&b));
    return out->p ? 0 : -ENOMEM;
}

/* "scram-sha-256:ITERATIONS:SALT:STORED:SERVER" */
static int parse_scram(struct arena *a, str word, struct account_secret *s)
{
    if (!str_starts(word, S(SCRAM_PREFIX)))
        return -EBADMSG;
    str rest = str_from(word, sizeof(SCRAM_PREFIX) - 1);
    uint64_t n;
    if (str_u64(str_cut(&rest, ':'), ITERATIONS_MAX, &n) < 0 || n < ITERATIONS_MIN)
        return -EBADMSG;
    s->iterations = (uint32_t)n;
    int r = field(a, str_cut(&rest, ':'), 1, SALT_MAX, &s->salt);
    if (r == 0)
        r = field(a, str_cut(&rest, ':'), 32, 32, &s->stored_key);
    if (r == 0)
        r = field(a, rest, 32, 32, &s->server_key);
    return r;
}

int account_secret_parse(struct arena *a, str line, struct account_secret *out)
{
    struct account_secret s = { 0 };
    line = str_trim(line);
    if (line.n == 0 || line.p[0] == '#') {
        *out = s;
        return 0;
    }
    str address = str_word(&line), hash = str_word(&line), scram = str_word(&line);
    if (!plain(address) || !plain(hash) || str_trim(line).n)
        return -EBADMSG;
    s.address = arena_dup(a, address);
    s.hash = arena_dup(a, hash);
    if (!s.address.p || !s.hash.p)
        return -ENOMEM;
    int r = scram.n ? parse_scram(a, scram, &s) : 0;
    if (r == 0)
        *out = s;
    return r;
}

int account_secret_format(struct buf *out, const struct account_secret *s)
{
    if (!plain(s->address) || !plain(s->hash))
        return -EINVAL;
    buf_add(out, s->address);
    buf_addc(out, ' ');
    buf_add(out, s->hash);
    if (s->iterations) {
        buf_addf(out, " " SCRAM_PREFIX "%u:", s->iterations);
        base64_encode(out, s->salt);
        buf_addc(out, ':');
        base64_encode(out, s->stored_key);
        buf_addc(out, ':');
        base64_encode(out, s->server_key);
    }
    return buf_addc(out, '\n');
}

/* One of the two files: as it is, and as it will be. */
struct side {
    const char *path;  /* as given */
    char *real;        /* symbolic links followed */
    mode_t mode;       /* of a new file, or of the old */
    bool exists;
    struct stat st;
    struct buf old, new;
    bool found;        /* the address has a line */
};

static void side_done(struct side *s)
{
    free(s->real);
    buf_done(&s->old);
    buf_done(&s->new);
}

static int read_fd(int fd, struct buf *out)
{
    for (;;) {
        int r = buf_reserve(out, 65536);
        if (r < 0)
            return r == -ENOBUFS ? -EFBIG : r;
        ssize_t n = read(fd, out->p + out->n, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        out->n += (size_t)n;
    }
}

/* Reads the file; one that is not there is empty. */
static int side_read(struct side *s)
{
    s->old = s->new = BUF(FILE_SIZE_MAX);
    s->real = realpath(s->path, NULL);
    if (!s->real && errno != ENOENT)
        return -errno;
    if (!s->real) {
        s->real = str_dupz(str_z(s->path));
        return s->real ? 0 : -ENOMEM;
    }
    _cleanup_close_ int fd = open(s->real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &s->st) < 0)
        return -errno;
    if (!S_ISREG(s->st.st_mode))
        return -EINVAL;
    s->exists = true;
    return read_fd(fd, &s->old);
}

/* The new content: every line as it was, but the one of the address replaced by `line` (n == 0: taken out) where it
 * stands first. A line that is not there yet goes to the end. */
static int side_rewrite(struct side *s, str address, str line, bool keep_found)
{
    str rest = buf_str(&s->old);
    while (rest.n) {
        str one = str_cut(&rest, '\n'), words = one;
        if (!str_ieq(str_word(&words), address)) {
            buf_add(&s->new, one);
            buf_addc(&s->new, '\n');
            continue;
        }
        if (!s->found && (line.n || keep_found)) {
            buf_add(&s->new, keep_found ? one : line);
            buf_addc(&s->new, '\n');
        }
        s->found = true;
    }
    if (!s->found && line.n) {
        buf_add(&s->new, line);
        buf_addc(&s->new, '\n');
    }
    return s->new.failed == -ENOBUFS ? -EFBIG : s->new.failed;
}

static int write_all(int fd, str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        s = str_from(s, (size_t)n);
    }
    return 0;
}

/* The rename is only certain once its folder is on the disk. */
static int sync_folder(const char *path)
{
    str s = str_z(path);
    ptrdiff_t slash = str_rchr(s, '/');
    _cleanup_free_ char *folder = slash < 0 ? str_dupz(S(".")) : str_dupz(str_first(s, slash ? (size_t)slash : 1));
    if (!folder)
        return -ENOMEM;
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Owner before mode: chown may take mode bits away. */
static int fill_new_file(int fd, const struct side *s)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (s->exists && (st.st_uid != s->st.st_uid || st.st_gid != s->st.st_gid) &&
        fchown(fd, s->st.st_uid, s->st.st_gid) < 0)
        return -errno;
    if (fchmod(fd, s->mode) < 0)
        return -errno;
    int r = write_all(fd, buf_str(&s->new));
    return r == 0 && fsync(fd) < 0 ? -errno : r;
}

/* Replaces the file. The lock is held, so a file of the new name can only be what a crash left. */
static int side_write(struct side *s)
{
    if (str_eq(buf_str(&s->old), buf_str(&s->new)))
        return 0;
    _cleanup_buf_ struct buf b = BUF(65536);
    buf_add(&b, str_z(s->real));
    buf_add(&b, S(".new"));
    _cleanup_free_ char *temporary = b.failed ? NULL : str_dupz(buf_str(&b));
    if (!temporary)
        return -ENOMEM;
    if (unlink(temporary) < 0 && errno != ENOENT)
        return -errno;
    _cleanup_close_ int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = fill_new_file(fd, s);
    if (r == 0 && rename(temporary, s->real) < 0)
        r = -errno;
    if (r < 0) {
        unlink(temporary);
        return r;
    }
    return sync_folder(s->real);
}

/* The lock is a file of its own beside the accounts, because the files themselves are replaced. Closing it gives it
 * back. */
static int lock(const char *accounts_path, int *out_fd)
{
    _cleanup_buf_ struct buf b = BUF(65536);
    buf_add(&b, str_z(accounts_path));
    buf_add(&b, S(".lock"));
    _cleanup_free_ char *path = b.failed ? NULL : str_dupz(buf_str(&b));
    if (!path)
        return -ENOMEM;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return -errno;
    *out_fd = TAKE_FD(fd);
    return 0;
}

/* What the change makes of both files, given what is there. */
static int apply(struct side *accounts, struct side *secrets, enum account_change change, str account, str secret)
{
    bool add = change == ACCOUNT_ADD;
    str words = account, address = str_word(&words);
    int r = side_rewrite(accounts, address, add ? account : STR_NONE, change == ACCOUNT_PASSWD);
    if (r == 0)
        r = side_rewrite(secrets, address, secret, false);
    if (r < 0)
        return r;
    if (add && accounts->found)
        return -EEXIST;
    if (change == ACCOUNT_PASSWD && !accounts->found)
        return -ENOENT;
    return change == ACCOUNT_REMOVE && !accounts->found && !secrets->found ? -ENOENT : 0;
}

static bool valid(enum account_change change, str account, str secret)
{
    _cleanup_arena_ struct arena a = ARENA(16384);
    struct account_secret s;
    str words = account, address = str_word(&words);
    if (!plain(address) || str_chr(account, '\n') >= 0 || (words.n && change != ACCOUNT_ADD))
        return false;
    if (change == ACCOUNT_REMOVE)
        return secret.n == 0;
    return str_chr(secret, '\n') < 0 && account_secret_parse(&a, secret, &s) == 0 && str_ieq(s.address, address);
}

int accounts_change(const char *accounts_path, const char *secrets_path, enum account_change change, str account,
                    str secret_line, const char **out_file)
{
    _cleanup_close_ int fd = -1;
    _cleanup_(side_done) struct side accounts = { .path = accounts_path, .mode = 0644 };
    _cleanup_(side_done) struct side secrets = { .path = secrets_path, .mode = 0600 };
    str secret = str_trim(secret_line);
    *out_file = accounts_path;
    if (!valid(change, account, secret))
        return -EINVAL;
    int r = lock(accounts_path, &fd);
    if (r == 0)
        r = side_read(&accounts);
    if (r < 0)
        return r;
    if (accounts.exists)
        accounts.mode = accounts.st.st_mode & 07777;
    *out_file = secrets_path;
    r = side_read(&secrets);
    if (r < 0)
        return r;
    *out_file = accounts_path;
    r = apply(&accounts, &secrets, change, account, secret);
    struct side *order[] = { change == ACCOUNT_REMOVE ? &accounts : &secrets,
                             change == ACCOUNT_REMOVE ? &secrets : &accounts };
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(order); i++) {
        *out_file = order[i]->path;
        r = side_write(order[i]);
    }
    return r;
}
