/* maildirsize: see maildir_size.h. */
#include "mda/maildir_size.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "io/whole_file.h"

enum { TRUSTED_FOR_S = 900 };
#define NAME "maildirsize"
#define NUMBER_MAX ((uint64_t)INT64_MAX / 2)

static bool read_number(str *line, bool sign, int64_t *out)
{
    uint64_t n;
    str word = str_word(line);
    bool minus = sign && str_starts(word, S("-"));
    if (str_u64(str_from(word, minus), NUMBER_MAX, &n) < 0)
        return false;
    *out = minus ? -(int64_t)n : (int64_t)n;
    return true;
}

bool maildir_size_parse(str text, struct maildir_size *out)
{
    struct maildir_size s = { .lines = 0 };
    str quota = str_trim(str_cut(&text, '\n'));
    while (quota.n) {
        str part = str_cut(&quota, ',');
        uint64_t n;
        if (!part.n || str_u64(str_first(part, part.n - 1), NUMBER_MAX, &n) < 0)
            return false;
        char kind = part.p[part.n - 1];
        if (kind == 'S')
            s.max_bytes = n;
        else if (kind == 'C')
            s.max_messages = n;
        else
            return false;
    }
    while (text.n) {
        str line = str_cut(&text, '\n');
        int64_t bytes, messages;
        if (!str_trim(line).n)
            continue;
        if (!read_number(&line, true, &bytes) || !read_number(&line, true, &messages) ||
            __builtin_add_overflow(s.bytes, bytes, &s.bytes) ||
            __builtin_add_overflow(s.messages, messages, &s.messages))
            return false;
        s.lines++;
    }
    *out = s;
    return true;
}

/* The size in a name's ",S=", else the file's. */
static uint64_t size_of(int dir, const char *name)
{
    struct stat st;
    uint64_t n;
    ptrdiff_t at = str_find(str_z(name), S(",S="));
    str digits = at < 0 ? STR_NONE : str_from(str_z(name), (size_t)at + 3);
    size_t end = 0;
    while (end < digits.n && ascii_digit(digits.p[end]))
        end++;
    if (end && str_u64(str_first(digits, end), NUMBER_MAX, &n) == 0)
        return n;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

static DIR *open_folder(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0)
        close(fd);
    return d;
}

/* Messages that are marked as trashed (",T" of ":2,") do not count, as the rule has it. */
static void count_folder(int dir, const char *name, struct maildir_size *s)
{
    DIR *d = open_folder(dir, name);
    for (const struct dirent *e; d && (e = readdir(d));) {
        ptrdiff_t info = str_find(str_z(e->d_name), S(":2,"));
        if (e->d_name[0] == '.' || (info >= 0 && str_chr(str_from(str_z(e->d_name), (size_t)info + 3), 'T') >= 0))
            continue;
        s->bytes += (int64_t)size_of(dirfd(d), e->d_name);
        s->messages++;
    }
    if (d)
        closedir(d);
}

static void count_all(int root, struct maildir_size *s)
{
    s->bytes = s->messages = 0;
    s->lines = 1;
    count_folder(root, "cur", s);
    count_folder(root, "new", s);
    DIR *d = open_folder(root, ".");
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] != '.' || str_eq(str_z(e->d_name), S(".")) || str_eq(str_z(e->d_name), S("..")) ||
            str_eq(str_z(e->d_name), S(".Trash")))
            continue;
        int sub = openat(root, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            continue;
        count_folder(sub, "cur", s);
        count_folder(sub, "new", s);
        close(sub);
    }
    if (d)
        closedir(d);
}

/* Puts a new file in the place of the old; -1: the old one stays. */
static int replace(int root, const struct maildir_size *s)
{
    char name[64], text[160];
    snprintf(name, sizeof(name), "tmp/" NAME ".%d", (int)getpid());
    struct buf b = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
    if (s->max_bytes)
        buf_addf(&b, "%lluS", (unsigned long long)s->max_bytes);
    if (s->max_messages)
        buf_addf(&b, "%s%lluC", s->max_bytes ? "," : "", (unsigned long long)s->max_messages);
    buf_addf(&b, "\n%lld %lld\n", (long long)s->bytes, (long long)s->messages);
    int fd = openat(root, name, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (write(fd, b.p, b.n) == (ssize_t)b.n && renameat(root, name, root, NAME) == 0)
        return fd;
    unlinkat(root, name, 0);
    close(fd);
    return -1;
}

static bool is_over(const struct maildir_size *s)
{
    return (s->max_bytes && s->bytes >= (int64_t)s->max_bytes) ||
           (s->max_messages && s->messages >= (int64_t)s->max_messages);
}

int maildir_size_open(int root, int64_t now_s, struct maildir_size *out)
{
    struct stat st;
    struct maildir_size s;
    _cleanup_buf_ struct buf text = BUF(4 * MAILDIR_SIZE_MAX);
    _cleanup_close_ int fd = openat(root, NAME, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return -1;
    int r = whole_file_read(fd, &text);
    if ((r < 0 && r != -ENOBUFS) || !maildir_size_parse(str_first(buf_str(&text), 4 * MAILDIR_SIZE_MAX), &s))
        return -1;
    bool doubtful = is_over(&s) && (s.lines > 1 || now_s - (int64_t)st.st_mtim.tv_sec > TRUSTED_FOR_S);
    if (st.st_size > MAILDIR_SIZE_MAX || doubtful) {
        count_all(root, &s);
        int anew = replace(root, &s);
        if (anew >= 0) {
            close(fd);
            fd = anew;
        }
    }
    *out = s;
    return TAKE_FD(fd);
}
