/* `posthouse mailbox export`: the messages of a mailbox as an mbox file or a Maildir. Both are new: nothing that is
 * there is written to. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "admin/backup.h"
#include "admin/mailbox.h"
#include "admin/maildir.h"
#include "admin/mbox.h"

enum { WRITTEN_AT_ONCE = 262144, NAME_MAX_BYTES = 512 };
#define ROOM ((size_t)WRITTEN_AT_ONCE * 8)

struct export {
    const char *path;
    int fd;                  /* of the mbox, or of the message */
    uint64_t at;
    struct buf out;
    struct mbox_writer mbox;
    bool cr;
    int dir, tmp, cur;       /* Maildir */
    struct maildir_keywords keywords;
    uint64_t messages, unreadable, keywords_lost;
    int error;               /* of a write */
};

static int write_out(struct export *x, size_t at_least)
{
    if (x->out.failed)
        return x->error = x->out.failed;
    if (x->out.n <= at_least)
        return 0;
    int r = segment_pwrite(x->fd, buf_str(&x->out), x->at);
    x->at += x->out.n;
    buf_clear(&x->out);
    return x->error = r;
}

static int mbox_piece(void *arg, str bytes)
{
    struct export *x = arg;
    mbox_write(&x->mbox, bytes);
    return write_out(x, WRITTEN_AT_ONCE);
}

static int file_piece(void *arg, str bytes)
{
    struct export *x = arg;
    maildir_to_lf(&x->out, bytes, &x->cr);
    return write_out(x, WRITTEN_AT_ONCE);
}

/* "Return-Path: <sender>\r\n…" as the store writes it before what it delivered. */
static str sender_of(str prefix)
{
    str line = str_cut(&prefix, '\n'), before = S("Return-Path: <");
    ptrdiff_t end = str_rchr(line, '>');
    return str_starts(line, before) && end >= (ptrdiff_t)before.n
               ? str_of(line.p + before.n, (size_t)end - before.n) : STR_NONE;
}

/* A message that cannot be read is named and left out; one that breaks off in the middle is kept as far as it goes. */
static int unreadable(struct export *x, const struct mailbox_message *m, const char *why)
{
    admin_complain("mailbox export: UID %u: %s", m->uid, why);
    x->unreadable++;
    return 0;
}

static int failed(const struct export *x)
{
    admin_complain("mailbox export: %s cannot be written: %s", x->path, strerror(-x->error));
    return EXIT_IO;
}

static int to_mbox(void *arg, const struct mailbox_message *m)
{
    struct export *x = arg;
    if (m->fd < 0)
        return unreadable(x, m, m->trouble);
    mbox_write_begin(&x->mbox, &x->out, sender_of(m->prefix), m->date_s, m->flags, m->keywords);
    mbox_write(&x->mbox, m->prefix);
    int r = mailbox_content(m, mbox_piece, x);
    mbox_write_end(&x->mbox);
    if (write_out(x, WRITTEN_AT_ONCE) < 0)
        return failed(x);
    if (r < 0)
        return unreadable(x, m, "its content cannot be read");
    x->messages++;
    return 0;
}

static int write_file(struct export *x, const struct mailbox_message *m)
{
    const struct timespec times[2] = { { .tv_sec = m->date_s }, { .tv_sec = m->date_s } };
    x->at = 0;
    x->cr = false;
    maildir_to_lf(&x->out, m->prefix, &x->cr);
    int r = mailbox_content(m, file_piece, x);
    if (x->cr)
        buf_addc(&x->out, '\r');
    if (write_out(x, 0) < 0)
        return x->error;
    if (futimens(x->fd, times) < 0)
        x->error = -errno;
    return x->error ? x->error : r;
}

static int to_maildir(void *arg, const struct mailbox_message *m)
{
    struct export *x = arg;
    _cleanup_buf_ struct buf name = BUF(NAME_MAX_BYTES);
    if (m->fd < 0)
        return unreadable(x, m, m->trouble);
    buf_addf(&name, "%lld.U%u.posthouse", (long long)MAX(m->date_s, (int64_t)0), m->uid);
    int lost = maildir_info(&name, m->flags, m->keywords, &x->keywords);
    buf_addc(&name, '\0');
    x->keywords_lost += (uint64_t)MAX(lost, 0);
    x->fd = name.failed ? -1 : openat(x->tmp, name.p, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = x->fd < 0 ? (x->error = name.failed ? name.failed : -errno) : write_file(x, m);
    if (x->fd >= 0)
        close(TAKE_FD(x->fd));
    if (!x->error && renameat(x->tmp, name.p, x->cur, name.p) < 0)
        x->error = -errno;
    if (x->error)
        return failed(x);
    if (r < 0)
        return unreadable(x, m, "its content cannot be read");
    x->messages++;
    return 0;
}

static int open_maildir(struct export *x)
{
    static const char *const folders[] = { "new", "tmp", "cur" };
    int r = backup_open_empty(x->path, &x->dir);
    for (size_t i = 0; i < ARRAY_LEN(folders) && r == 0; i++)
        r = mkdirat(x->dir, folders[i], 0700) < 0 ? -errno : 0;
    if (r == 0) {
        x->tmp = openat(x->dir, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        x->cur = openat(x->dir, "cur", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = x->tmp < 0 || x->cur < 0 ? -errno : 0;
    }
    return r;
}

static int begin(struct export *x, bool maildir)
{
    int r;
    if (maildir) {
        r = open_maildir(x);
    } else {
        x->fd = open(x->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        r = x->fd < 0 ? -errno : 0;
    }
    if (r == 0)
        return 0;
    admin_complain("mailbox export: %s cannot be made: %s%s", x->path, strerror(-r),
                   r == -EEXIST || r == -ENOTEMPTY ? ". What is there already is not overwritten" : "");
    return EXIT_CANTCREATE;
}

static int end(struct export *x, bool maildir)
{
    if (maildir && x->keywords.n) {
        maildir_keywords_write(&x->keywords, &x->out);
        x->fd = openat(x->dir, "dovecot-keywords", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        x->at = 0;
        if (x->fd < 0)
            x->error = -errno;
    }
    if (!x->error && x->fd >= 0)
        write_out(x, 0);
    if (!x->error && (maildir ? syncfs(x->dir) : fsync(x->fd)) < 0)
        x->error = -errno;
    return x->error ? failed(x) : 0;
}

static void done(struct export *x)
{
    const int fds[] = { x->fd, x->dir, x->tmp, x->cur };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    buf_done(&x->out);
    maildir_keywords_done(&x->keywords);
}

static int nothing(void *arg, const struct mailbox_message *m)
{
    (void)arg;
    (void)m;
    return 0;
}

int mailbox_export(struct mailbox_command *c, int argc, char **argv)
{
    struct export x = { .path = c->mbox ? c->mbox : c->maildir, .fd = -1, .dir = -1, .tmp = -1, .cur = -1,
                        .out = BUF(ROOM) };
    bool maildir = c->maildir != NULL;
    if (argc != 2 || !c->mbox == !c->maildir) {
        admin_complain("mailbox export takes an account, a mailbox, and --mbox FILE or --maildir DIR");
        return EXIT_USAGE;
    }
    int e = mailbox_one(c, argv[0], argv[1], UINT32_MAX, nothing, NULL); /* is there such a mailbox? */
    if (!e)
        e = begin(&x, maildir);
    if (!e) {
        e = mailbox_walk(c, argv[0], argv[1], maildir ? to_maildir : to_mbox, &x);
        int k = end(&x, maildir);
        e = e ? e : k;
    }
    if (!e)
        printf("%llu messages written to %s.\n", (unsigned long long)x.messages, x.path);
    if (x.keywords_lost)
        admin_complain("mailbox export: a Maildir has room for %d keywords; %llu uses of others were left out",
                       MAILDIR_LETTERS, (unsigned long long)x.keywords_lost);
    done(&x);
    return e ? e : x.unreadable > 0;
}
