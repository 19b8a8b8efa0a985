/* `posthouse mailbox import`: messages of an mbox file or a Maildir come into a mailbox. They are written to a receive
 * log of this command's own, DATA/log/import, with flags and dates as APPEND has them; role store is told how far it is
 * durable and places them. A run that was interrupted is run again: what it wrote is placed first, then every message
 * that is in the mailbox already is passed over (mailbox_known.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "admin/mailbox_known.h"
#include "admin/maildir.h"
#include "admin/mbox.h"
#include "base/event.h"
#include "message/card.h"
#include "message/mime.h"
#include "proto/imap_command.h"
#include "proto/imap_write.h"
#include "store/mailboxes.h"
#include "store/message_record.h"
#include "store/receive_log.h"

enum { QUESTION_MAX = 30000, BATCH_MESSAGES = 1000, POSITIONS = 256, PIECE = 1 << 20, BAR = 30, DRAW_MS = 200 };
#define BATCH_BYTES   ((uint64_t)64 << 20)
#define SEGMENT_BYTES ((uint64_t)64 << 20)
#define META_MAX      ((size_t)1 << 20)
#define LIST_MEMORY   ((size_t)4 << 30) /* names of a Maildir's files */

struct import {
    struct mailbox_command *command;
    const char *name;        /* of the mailbox */
    char *account;           /* as the store writes it */
    uint64_t mailbox;
    int source;              /* the mbox, or the Maildir */
    int dir;                 /* DATA/log/import */
    struct stat owner;       /* of DATA/log */
    struct receive_log *log;
    uint64_t ticket, batch_bytes; unsigned batch_n;
    uint8_t session[16]; uint32_t number;
    struct mime_parser *mime;
    struct buf card, meta;
    struct mailbox_known known;
    uint64_t imported, there, failed; /* messages */
    uint64_t done, all;      /* of the source: bytes or files */
    uint64_t drawn_ms; bool drawn;
};

struct coming { str content, keywords; uint32_t flags; int64_t date_s; };

/* Progress */

static void draw(struct import *m, bool last)
{
    uint64_t now = env_system.mono_ms();
    if (!isatty(STDERR_FILENO) || (!last && now - m->drawn_ms < DRAW_MS))
        return;
    m->drawn_ms = now;
    m->drawn = true;
    uint64_t part = m->all ? MIN(m->done * BAR / m->all, (uint64_t)BAR) : BAR;
    char bar[BAR];
    memset(bar, '.', sizeof(bar));
    memset(bar, '#', part);
    fprintf(stderr, "\r[%.*s] %3llu %%  %llu imported, %llu there already", BAR, bar,
            (unsigned long long)(m->all ? MIN(m->done * 100 / m->all, (uint64_t)100) : 100),
            (unsigned long long)m->imported, (unsigned long long)m->there);
    if (last)
        fputc('\n', stderr);
}

/* A complaint gets a line of its own. */
static void line_end(struct import *m)
{
    if (m->drawn)
        fputc('\n', stderr);
    m->drawn = false;
}

/* The log */

static int log_trouble(struct import *m, int r)
{
    line_end(m);
    admin_complain("mailbox import: the log in the folder log/import of %s cannot be written: %s%s",
                   m->command->data.path, strerror(-r),
                   r == -EACCES ? ". Run the command as root or as the user of the instance"
                                : ". What was imported so far stays; run the command again to go on");
    return r == -EACCES ? EXIT_NOPERM : EXIT_IO;
}

/* What root makes is the store's. Only regular files that root made and that have no other name: the folder belongs to
 * somebody else. */
static int give_file(const struct import *m, uint64_t number)
{
    char name[32];
    struct stat st;
    segment_name(number, name);
    _cleanup_close_ int fd = openat(m->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
        return 0;
    return fchown(fd, m->owner.st_uid, m->owner.st_gid) < 0 ? -errno : 0;
}

static int give_files(const struct import *m)
{
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    if (geteuid() != 0 || m->owner.st_uid == 0)
        return 0;
    int r = segment_list(m->dir, &list, &n);
    for (size_t i = 0; i < n && r == 0; i++)
        r = give_file(m, list[i]);
    return r;
}

static int open_folder(struct import *m)
{
    int log = m->command->log_fd;
    if (fstat(log, &m->owner) < 0)
        return -errno;
    bool made = mkdirat(log, "import", 0700) == 0;
    if (!made && errno != EEXIST)
        return -errno;
    m->dir = openat(log, "import", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (m->dir < 0)
        return -errno;
    if (made && geteuid() == 0 && fchown(m->dir, m->owner.st_uid, m->owner.st_gid) < 0)
        return -errno;
    return flock(m->dir, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int open_log(struct import *m)
{
    struct receive_log_config config = { .segment_size = SEGMENT_BYTES, .env = &env_system, .memory_max = BATCH_BYTES };
    int e = m->command->log_fd >= 0 ? 0 : admin_data_subdir(&m->command->data, "mailbox", "log", &m->command->log_fd);
    if (e)
        return e;
    int r = open_folder(m);
    if (r == -EWOULDBLOCK) {
        admin_complain("mailbox import: another import is under way; one goes at a time");
        return EXIT_TEMPFAIL;
    }
    config.dir_fd = m->dir;
    umask(0077); /* of the log's thread too */
    if (r == 0)
        r = receive_log_open(&config, &m->log);
    return r < 0 ? log_trouble(m, r) : 0;
}

/* Tells the store what is durable, and waits until it is placed. */
static int attach(struct import *m, const struct log_position *at, size_t n)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    int r = give_files(m);
    if (r < 0)
        return log_trouble(m, r);
    mailbox_question(&question, "attach", NULL, NULL);
    event_u64(&question, "first", receive_log_first_segment(m->log));
    for (size_t i = 0; i < n; i++)
        buf_addf(&question, " at=%llu:%llu", (unsigned long long)at[i].segment, (unsigned long long)at[i].offset);
    int e = mailbox_ask(m->command, buf_str(&question), NULL, NULL);
    if (e)
        admin_complain("mailbox import: run the command again to go on; nothing will be taken twice");
    return e;
}

static int wait_synced(struct import *m)
{
    struct pollfd p = { .fd = receive_log_fd(m->log), .events = POLLIN };
    int r = receive_log_flush(m->log);
    while (r >= 0 && receive_log_synced(m->log) < m->ticket) {
        r = poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
        if (r == 0 && receive_log_synced(m->log) < m->ticket) {
            struct log_position none;
            r = receive_log_progress(m->log, &none, 0);
        }
    }
    return MIN(r, 0);
}

static int end_batch(struct import *m)
{
    struct log_position at[POSITIONS];
    if (!m->batch_n)
        return 0;
    int r = wait_synced(m), e = 0;
    if (r < 0)
        return log_trouble(m, r);
    do {
        r = receive_log_progress(m->log, at, POSITIONS);
        e = r < 0 ? log_trouble(m, r) : attach(m, at, (size_t)r);
    } while (e == 0 && r == POSITIONS);
    m->imported += e ? 0 : m->batch_n;
    m->batch_n = 0;
    m->batch_bytes = 0;
    return e;
}

static size_t split_keywords(str words, str *out)
{
    size_t n = 0;
    for (str w; n < KEYWORDS_MAX && (w = str_word(&words)).n;)
        if (mailbox_keyword_valid(w))
            out[n++] = w;
    return n;
}

static int make_card(struct import *m, str content)
{
    buf_clear(&m->card);
    if (m->command->no_cards)
        return 0; /* role cards makes it */
    mime_reset(m->mime);
    mime_feed(m->mime, content);
    mime_end(m->mime);
    return card_encode(&m->card, m->mime);
}

static int append(struct import *m, const struct coming *x)
{
    str keywords[KEYWORDS_MAX];
    struct log_position at;
    int r = make_card(m, x->content);
    struct message_record record = {
        .number = ++m->number, .received_us = env_system.wall_us(), .account = str_z(m->account),
        .protocol = S("import"), .card = buf_str(&m->card), .append_mailbox = m->mailbox, .append_flags = x->flags,
        .append_keywords = keywords, .n_append_keywords = split_keywords(x->keywords, keywords),
        .append_date_s = x->date_s,
    };
    memcpy(record.session, m->session, sizeof(record.session));
    buf_clear(&m->meta);
    if (r == 0)
        r = message_record_encode(&m->meta, &record);
    return r == 0 ? receive_log_append(m->log, &x->content, 1, buf_str(&m->meta), &m->ticket, &at) : r;
}

static int take(struct import *m, const struct coming *x)
{
    bool there;
    int e = mailbox_known_take(&m->known, x->content, &there);
    if (e)
        return e;
    if (there) {
        m->there++;
        return 0;
    }
    int r = append(m, x);
    if (r < 0)
        return log_trouble(m, r);
    m->batch_n++;
    m->batch_bytes += x->content.n;
    return m->batch_n >= BATCH_MESSAGES || m->batch_bytes >= BATCH_BYTES ? end_batch(m) : 0;
}

static int left_out(struct import *m, const char *what, const char *why)
{
    line_end(m);
    admin_complain("mailbox import: %s was left out: %s", what, why);
    m->failed++;
    return 0;
}

/* Sources */

static int take_mbox(struct import *m, const struct mbox_message *found)
{
    char what[64];
    snprintf(what, sizeof(what), "the message that ends at octet %llu", (unsigned long long)m->done);
    if (found->too_large)
        return left_out(m, what, "it is larger than 1 GiB");
    struct coming x = { .content = found->content, .keywords = found->keywords, .flags = found->flags,
                        .date_s = found->has_date ? found->date_s : (int64_t)(env_system.wall_us() / 1000000) };
    return take(m, &x);
}

/* One piece of the file: all messages that are complete with it. */
static int mbox_piece(struct import *m, struct mbox_reader *r, str piece, bool end)
{
    struct mbox_message found;
    int k, e = 0;
    while (e == 0 && (k = mbox_read(r, &piece, end, &found)) != 0) {
        if (k == 1) {
            e = take_mbox(m, &found);
            continue;
        }
        line_end(m);
        admin_complain(k == -EBADMSG ? "mailbox import: %s is no mbox: it does not begin with a line \"From \""
                                     : "mailbox import: there is not enough memory for a message of %s",
                       m->command->mbox);
        e = k == -EBADMSG ? EXIT_DATA : EXIT_TEMPFAIL;
    }
    return e;
}

static int from_mbox(struct import *m)
{
    static char bytes[PIECE];
    struct mbox_reader r;
    struct stat st;
    int e = 0;
    bool end = false;
    m->all = fstat(m->source, &st) == 0 ? (uint64_t)st.st_size : 0;
    mbox_reader_init(&r, MAILBOX_MESSAGE_MAX, m->command->content_length);
    while (e == 0 && !end) {
        ssize_t n = segment_pread(m->source, bytes, sizeof(bytes), m->done);
        if (n < 0) {
            line_end(m);
            admin_complain("mailbox import: %s cannot be read: %s", m->command->mbox, strerror((int)-n));
            e = EXIT_IO;
            break;
        }
        end = n < PIECE;
        m->done += (uint64_t)n;
        e = mbox_piece(m, &r, str_of(bytes, (size_t)n), end);
        draw(m, false);
    }
    mbox_reader_done(&r);
    return e;
}

/* 0, or negative errno: this file is left out. */
static int read_file(struct import *m, const struct maildir_file *f, struct buf *raw, struct buf *out, int64_t *date_s)
{
    struct stat st;
    _cleanup_close_ int dir = openat(m->source, f->is_new ? "new" : "cur", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = dir < 0 ? -1 : openat(dir, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    *date_s = st.st_mtime;
    buf_clear(raw);
    buf_clear(out);
    if ((uint64_t)st.st_size > MAILBOX_MESSAGE_MAX)
        return -EFBIG;
    char *p = buf_space(raw, (size_t)st.st_size);
    ssize_t n = p ? segment_pread(fd, p, (size_t)st.st_size, 0) : st.st_size ? -ENOMEM : 0;
    return n < 0 ? (int)n : maildir_to_crlf(out, str_of(p, (size_t)n));
}

static int read_keywords(struct import *m, struct maildir_keywords *k)
{
    char text[65536];
    _cleanup_close_ int fd = openat(m->source, "dovecot-keywords", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : segment_pread(fd, text, sizeof(text), 0);
    return n > 0 ? maildir_keywords_read(k, str_of(text, (size_t)n)) : 0;
}

static int from_files(struct import *m, const struct maildir_file *files, size_t n, const struct maildir_keywords *k)
{
    _cleanup_buf_ struct buf raw = BUF(MAILBOX_MESSAGE_MAX), content = BUF(MAILBOX_MESSAGE_MAX * 2),
                             words = BUF(MBOX_KEYWORDS_MAX);
    int e = 0;
    m->all = n;
    for (size_t i = 0; i < n && e == 0; i++) {
        struct coming x = { .flags = 0 };
        buf_clear(&words);
        int r = read_file(m, &files[i], &raw, &content, &x.date_s);
        m->done++;
        if (r < 0) {
            left_out(m, files[i].name, strerror(-r));
            continue;
        }
        x.content = buf_str(&content);
        x.flags = files[i].is_new ? 0 : maildir_flags(str_z(files[i].name), k, &words);
        x.keywords = buf_str(&words);
        e = take(m, &x);
        draw(m, false);
    }
    return e;
}

static int from_maildir(struct import *m)
{
    _cleanup_arena_ struct arena a = ARENA(LIST_MEMORY);
    struct maildir_keywords k = { .n = 0 };
    struct maildir_file *files = NULL;
    size_t n = 0;
    int r = maildir_list(&a, m->source, &files, &n), e = 0;
    if (r == 0)
        r = read_keywords(m, &k);
    if (r == 0) {
        e = from_files(m, files, n, &k);
    } else {
        admin_complain("mailbox import: %s is no Maildir that can be read: %s", m->command->maildir, strerror(-r));
        e = EXIT_DATA;
    }
    maildir_keywords_done(&k);
    return e;
}

static int open_source(struct import *m)
{
    const char *path = m->command->mbox ? m->command->mbox : m->command->maildir;
    m->source = open(path, (m->command->mbox ? O_RDONLY : O_RDONLY | O_DIRECTORY) | O_CLOEXEC);
    if (m->source >= 0)
        return 0;
    admin_complain("mailbox import: %s cannot be opened: %s", path, strerror(errno));
    return errno == ENOENT ? EXIT_DATA : errno == EACCES ? EXIT_NOPERM : EXIT_IO;
}

static int opened(void *arg, const json_t *line)
{
    struct import *m = arg;
    m->mailbox = (uint64_t)mailbox_number(line, "id");
    m->account = m->account ? m->account : str_dupz(str_z(mailbox_text(line, "account")));
    return m->account ? 0 : EXIT_TEMPFAIL;
}

static int open_mailbox(struct import *m, const char *account)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    const char *trouble = imap_name_trouble(str_z(m->name));
    if (trouble) {
        admin_complain("mailbox import: a mailbox cannot be called %s: %s", m->name, trouble);
        return EXIT_USAGE;
    }
    mailbox_question(&question, "open", account, m->name);
    int e = mailbox_ask(m->command, buf_str(&question), opened, m);
    return e || m->mailbox ? e : EXIT_TEMPFAIL;
}

static int run(struct import *m, const char *account)
{
    int e = open_source(m);
    if (!e)
        e = open_log(m);
    if (!e)
        e = open_mailbox(m, account);
    if (!e)
        e = attach(m, NULL, 0); /* what an interrupted run left */
    if (!e)
        e = mailbox_known_read(&m->known, m->command, m->account, m->name);
    if (!e)
        e = m->command->mbox ? from_mbox(m) : from_maildir(m);
    int k = e == 0 || e == EXIT_DATA ? end_batch(m) : 0;
    draw(m, true);
    m->drawn = false;
    return e ? e : k;
}

static void done(struct import *m)
{
    receive_log_close(m->log);
    if (m->dir >= 0) {
        give_files(m);
        close(m->dir);
    }
    if (m->source >= 0)
        close(m->source);
    mailbox_known_done(&m->known);
    mime_free(m->mime);
    buf_done(&m->card);
    buf_done(&m->meta);
    free(m->account);
}

int mailbox_import(struct mailbox_command *c, int argc, char **argv)
{
    struct import m = { .command = c, .source = -1, .dir = -1, .card = BUF(CARD_MAX), .meta = BUF(META_MAX),
                        .mime = mime_new() };
    if (argc != 2 || !c->mbox == !c->maildir) {
        mime_free(m.mime);
        admin_complain("mailbox import takes an account, a mailbox, and --mbox FILE or --maildir DIR");
        return EXIT_USAGE;
    }
    m.name = argv[1];
    env_system.random(m.session, sizeof(m.session));
    int e = m.mime ? run(&m, argv[0]) : EXIT_TEMPFAIL;
    if (m.imported || m.there || !e)
        printf("%llu messages imported, %llu were there already, %llu were left out.\n", (unsigned long long)m.imported,
               (unsigned long long)m.there, (unsigned long long)m.failed);
    done(&m);
    return e ? e : m.failed > 0;
}
