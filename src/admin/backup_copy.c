/* Files and the manifest of a backup: see backup.h. */
#include "admin/backup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"

#define PIECE ((size_t)262144)

static ssize_t read_piece(int fd, char *piece, uint64_t at)
{
    size_t n = 0;
    while (n < PIECE) {
        ssize_t r = pread(fd, piece + n, PIECE - n, (off_t)(at + n));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        n += (size_t)r;
    }
    return (ssize_t)n;
}

static int write_piece(int fd, const char *p, size_t n, uint64_t at)
{
    while (n) {
        ssize_t r = pwrite(fd, p, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        p += r;
        n -= (size_t)r;
        at += (uint64_t)r;
    }
    return 0;
}

static bool all_zeros(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* out_fd -1: only the sum. */
static int pass(int fd, int out_fd, bool trim, struct backup_sum *out)
{
    static char piece[PIECE];
    static const char zeros[PIECE];
    struct backup_sum sum = { 0 };
    uint64_t at = 0;
    for (;;) {
        ssize_t n = read_piece(fd, piece, at);
        if (n <= 0) {
            *out = sum;
            return (int)n;
        }
        uint64_t here = at;
        at += (uint64_t)n;
        if (trim && all_zeros(piece, (size_t)n))
            continue;
        int r = 0;
        while (sum.size < here && r == 0) { /* zeros that do not stand at the end */
            size_t gap = (size_t)MIN(here - sum.size, (uint64_t)PIECE);
            sum.crc = crc32c(sum.crc, str_of(zeros, gap));
            r = out_fd < 0 ? 0 : write_piece(out_fd, zeros, gap, sum.size);
            sum.size += gap;
        }
        sum.crc = crc32c(sum.crc, str_of(piece, (size_t)n));
        sum.size = at;
        if (r == 0 && out_fd >= 0)
            r = write_piece(out_fd, piece, (size_t)n, here);
        if (r < 0)
            return r;
    }
}

int backup_sum(int fd, struct backup_sum *out)
{
    return pass(fd, -1, false, out);
}

int backup_make_way(int dir_fd, const char *path)
{
    char part[BACKUP_PATH_MAX];
    for (size_t i = 0; path[i]; i++) {
        if (i + 1 >= sizeof(part))
            return -ENAMETOOLONG;
        if (path[i] == '/' && i > 0) {
            part[i] = '\0';
            if (mkdirat(dir_fd, part, 0755) < 0 && errno != EEXIST)
                return -errno;
        }
        part[i] = path[i];
    }
    return 0;
}

int backup_like(int model_fd, int dir_fd, const char *path)
{
    struct stat st;
    _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(model_fd, &st) < 0)
        return -errno;
    if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        return -errno;
    return fchmod(fd, st.st_mode & 0777) < 0 ? -errno : 0;
}

int backup_copy(int from_fd, int to_dir, const char *path, bool trim, struct backup_sum *out)
{
    int r = backup_make_way(to_dir, path);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = openat(to_dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = pass(from_fd, fd, trim, out);
    if (r == 0)
        r = backup_like(from_fd, to_dir, path);
    return r == 0 && fsync(fd) < 0 ? -errno : r;
}

bool backup_path_valid(str path)
{
    if (!path.n || path.n >= BACKUP_PATH_MAX || str_chr(path, '\0') >= 0 || str_chr(path, '\n') >= 0)
        return false;
    for (size_t from = 0; from <= path.n;) {
        str rest = str_from(path, from);
        ptrdiff_t slash = str_chr(rest, '/');
        str part = slash < 0 ? rest : str_first(rest, (size_t)slash);
        if (!part.n || str_eq(part, S(".")) || str_eq(part, S("..")))
            return false;
        from += part.n + 1;
    }
    return true;
}

static int is_empty(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        if (copy >= 0)
            close(copy);
        return -EIO;
    }
    int r = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(d));)
        if (!str_eq(str_z(e->d_name), S(".")) && !str_eq(str_z(e->d_name), S("..")))
            r = -ENOTEMPTY;
    closedir(d);
    return r;
}

int backup_open_empty(const char *path, int *out_fd)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = is_empty(fd);
    if (r == 0)
        *out_fd = TAKE_FD(fd);
    return r;
}

static bool take_number(str *rest, unsigned base, char end, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < rest->n && i < 20 && rest->p[i] != end; i++) {
        char c = rest->p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= base || v > (UINT64_MAX - digit) / base)
            return false;
        v = v * base + digit;
    }
    if (i == 0 || i == 20 || (i == rest->n) != (end == '\n'))
        return false;
    *rest = str_from(*rest, MIN(i + 1, rest->n));
    *out = v;
    return true;
}

static int read_line(str line, struct backup_line *out)
{
    uint64_t crc;
    *out = (struct backup_line){ .kind = BACKUP_FILE };
    if (str_starts(line, S("data "))) {
        out->kind = BACKUP_DATA;
        out->path = str_from(line, 5);
        return out->path.n ? 1 : -EBADMSG;
    }
    if (str_starts(line, S("end "))) {
        out->kind = BACKUP_END;
        line = str_from(line, 4);
        return take_number(&line, 10, '\n', &out->count) ? 1 : -EBADMSG;
    }
    if (!str_starts(line, S("file ")))
        return -EBADMSG;
    line = str_from(line, 5);
    if (!take_number(&line, 16, ' ', &crc) || crc > UINT32_MAX || !take_number(&line, 10, ' ', &out->sum.size) ||
        !backup_path_valid(line))
        return -EBADMSG;
    out->sum.crc = (uint32_t)crc;
    out->path = line;
    return 1;
}

int backup_manifest_next(str *rest, struct backup_line *out)
{
    if (!rest->n)
        return 0;
    ptrdiff_t end = str_chr(*rest, '\n');
    if (end < 0)
        return -EBADMSG; /* the last line ends too */
    str line = str_first(*rest, (size_t)end);
    *rest = str_from(*rest, (size_t)end + 1);
    return read_line(line, out);
}
