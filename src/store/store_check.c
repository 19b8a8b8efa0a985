/* The offline tools: `store check` and `store rebuild`. See store.h. Nothing is repaired here, only looked at and
 * said. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "message/card.h"
#include "store/index_queue.h"
#include "store/store_internal.h"

#define META_MAX ((size_t)1 << 26)
#define ARENA_BYTES ((size_t)1 << 27)

struct check {
    int data_fd;
    const struct env *env;
    void (*say)(void *arg, bool finding, str sentence);
    void *arg;
    int findings;
    uint64_t messages, bytes;
    struct index *index;   /* of the replay */
    struct buf meta;
    struct arena arena;
    struct { str log; uint64_t segment; int fd; struct segment_reader reader; } last; /* of the last message */
    char last_log[LOG_NAME_MAX];
};

static void __attribute__((format(printf, 3, 4))) say(struct check *c, bool finding, const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF(4096);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    c->findings += finding;
    c->say(c->arg, finding, buf_str(&text));
}

static void say_finding(void *arg, str sentence)
{
    say(arg, true, "%.*s", STR_ARG(sentence));
}

static const char *wrong_with_meta(struct check *c, const struct record_header *h, int fd)
{
    if (h->meta_len > META_MAX)
        return "its meta part is too long";
    buf_clear(&c->meta);
    arena_clear(&c->arena);
    char *p = buf_space(&c->meta, h->meta_len);
    ssize_t n = p ? segment_pread(fd, p, h->meta_len, h->offset + RECORD_HEADER_SIZE + h->content_len) : -ENOMEM;
    if (n != (ssize_t)h->meta_len)
        return "its meta part cannot be read";
    struct message_record m;
    if (message_record_decode(&c->arena, str_of(p, h->meta_len), &m) < 0)
        return "its meta part cannot be decoded";
    struct card card;
    if (m.card.n && card_decode(&c->arena, m.card, &card) < 0)
        return "its card cannot be decoded";
    if (m.card.n && card.size != h->content_len)
        return "its card speaks of another length";
    return NULL;
}

static void check_record(struct check *c, str log, const struct segment_reader *r, const struct record_header *h)
{
    const char *wrong = NULL;
    if (h->type == RECORD_MESSAGE)
        wrong = wrong_with_meta(c, h, r->fd);
    else if (h->type & RECORD_MUST_UNDERSTAND)
        wrong = "its type is not known to this version";
    c->messages += h->type == RECORD_MESSAGE;
    c->bytes += record_end(h) - h->offset;
    if (wrong)
        say(c, true, "log %.*s segment %llu offset %llu: %s", STR_ARG(log), (unsigned long long)r->header.number,
            (unsigned long long)h->offset, wrong);
}

static int check_segment(struct check *c, str log, int dir_fd, uint64_t number)
{
    char name[32];
    segment_name(number, name);
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct segment_reader r;
    int k = segment_reader_open(fd, &r);
    if (k == -ENODATA)
        return 0;
    if (k == -EBADMSG || k == -EPROTO) {
        say(c, true, "log %.*s segment %llu: the header is %s", STR_ARG(log), (unsigned long long)number,
            k == -EPROTO ? "of a newer version" : "damaged");
        return 0;
    }
    if (k < 0)
        return k;
    if (r.header.number != number || r.header.kind != 1)
        say(c, true, "log %.*s segment %llu: the header belongs to another segment", STR_ARG(log),
            (unsigned long long)number);
    struct record_header h;
    bool damage;
    uint64_t from = r.at;
    while ((k = segment_reader_next(&r, true, &h, &damage)) == 1) {
        if (damage)
            say(c, true, "log %.*s segment %llu: damage from offset %llu to %llu", STR_ARG(log),
                (unsigned long long)number,
                (unsigned long long)from, (unsigned long long)h.offset);
        check_record(c, log, &r, &h);
        from = r.at;
    }
    if (k == 0)
        k = segment_reader_tail(&r);
    if (k == SEGMENT_TAIL_DAMAGED)
        say(c, true, "log %.*s segment %llu: damage behind the last record, from offset %llu", STR_ARG(log),
            (unsigned long long)number, (unsigned long long)r.at);
    return MIN(k, 0);
}

static int check_log(struct check *c, str log, int dir_fd)
{
    _cleanup_free_ uint64_t *list = NULL;
    size_t n = 0;
    int r = segment_list(dir_fd, &list, &n);
    for (size_t i = 0; i < n && r == 0; i++)
        r = check_segment(c, log, dir_fd, list[i]);
    return r;
}

static void cleanup_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int check_logs(struct check *c)
{
    int fd = openat(c->data_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    _cleanup_(cleanup_dir) DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -ENOMEM;
    }
    int r = 0;
    struct dirent *e;
    while (r == 0 && (e = readdir(d))) {
        str name = str_z(e->d_name);
        _cleanup_close_ int log_fd = log_name_valid(name) ? openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            : -1;
        if (log_fd >= 0)
            r = check_log(c, name, log_fd);
    }
    say(c, false, "receive logs: %llu messages, %llu bytes", (unsigned long long)c->messages,
        (unsigned long long)c->bytes);
    return r;
}

/* Replays the journal up to `until` into a new index. */
static int replay(struct check *c, uint64_t until)
{
    _cleanup_close_ int fd = openat(c->data_fd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct journal_config config = { .dir_fd = fd, .segment_size = 4096, .env = c->env };
    struct journal *j;
    int r = journal_open(&config, &j);
    if (r < 0)
        return r;
    struct journal_found found;
    struct replay_target t = { .index = c->index, .until = until, .note = say_finding, .arg = c };
    r = store_replay_into(j, &t, false, &found);
    journal_free(j);
    if (r < 0)
        return r;
    const struct index_state *x = index_state(c->index);
    say(c, false, "journal: up to LSN %llu, %llu messages in %llu mailboxes", (unsigned long long)x->lsn,
        (unsigned long long)x->messages, (unsigned long long)x->mailboxes);
    if (x->gaps)
        say(c, true, "the journal lost what became of %llu stretches of receive logs: the server delivers them again",
            (unsigned long long)x->gaps);
    return 0;
}

static void close_last(struct check *c)
{
    if (c->last.fd >= 0)
        close(c->last.fd);
    c->last.fd = -1;
    c->last.log = STR_NONE;
}

static bool open_last(struct check *c, str log, uint64_t segment)
{
    if (str_eq(c->last.log, log) && c->last.segment == segment)
        return c->last.fd >= 0;
    close_last(c);
    if (!log_name_valid(log))
        return false;
    memcpy(c->last_log, log.p, log.n);
    c->last.log = str_of(c->last_log, log.n);
    c->last.segment = segment;
    char name[32];
    segment_name(segment, name);
    _cleanup_buf_ struct buf path = BUF(256);
    buf_addf(&path, "log/%.*s/%s", STR_ARG(log), name);
    buf_addc(&path, '\0');
    int fd = path.failed ? -1 : openat(c->data_fd, path.p, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && segment_reader_open(fd, &c->last.reader) < 0)
        close(TAKE_FD(fd));
    c->last.fd = fd;
    return fd >= 0;
}

static bool is_there(struct check *c, str log, struct log_position at, uint64_t content_len, uint32_t meta_len)
{
    char head[RECORD_HEADER_SIZE];
    struct record_header h;
    return open_last(c, log, at.segment) &&
           segment_pread(c->last.fd, head, sizeof(head), at.offset) == sizeof(head) &&
           record_header_decode(str_of(head, sizeof(head)), c->last.reader.header.key, at.offset, &h) == 1 &&
           h.content_len == content_len && h.meta_len == meta_len && record_end(&h) <= c->last.reader.size;
}

/* Is what waits to be sent there? */
static int check_queue(struct check *c)
{
    struct arena a = ARENA(ARENA_BYTES);
    uint64_t lsn = 0, n = 0;
    int r;
    while ((r = index_queue_next(c->index, lsn, &lsn)) == 1) {
        struct index_queue_message m;
        struct index_queue_recipient *list;
        size_t n_list;
        arena_clear(&a);
        r = index_queue_load(c->index, &a, lsn, &m, &list, &n_list);
        if (r < 0)
            break;
        n++;
        if (!is_there(c, m.log, m.position, m.content_len, m.meta_len))
            say(c, true, "queued message %llu is missing (log %.*s segment %llu offset %llu)", (unsigned long long)lsn,
                STR_ARG(m.log), (unsigned long long)m.position.segment, (unsigned long long)m.position.offset);
    }
    arena_done(&a);
    if (r == 0 && n)
        say(c, false, "queue: %llu messages", (unsigned long long)n);
    return MIN(r, 0);
}

/* Is what the journal placed there? */
static int check_message(void *arg, const struct index_message *m)
{
    struct check *c = arg;
    if (!is_there(c, m->log, m->position, m->content_len, m->meta_len))
        say(c, true, "mailbox %llu UID %u: its message is missing (log %.*s segment %llu offset %llu)",
            (unsigned long long)m->mailbox, m->uid, STR_ARG(m->log), (unsigned long long)m->position.segment,
            (unsigned long long)m->position.offset);
    return 0;
}

static int compare(struct check *c, struct index *live)
{
    int r = live ? index_compare(live, c->index, say_finding, c) : 0;
    if (r == -EBADMSG) {
        say(c, true, "the index is damaged; the server makes it anew, or posthouse store rebuild");
        return 0;
    }
    if (live && r == 0)
        say(c, false, "index: agrees with the journal");
    return MIN(r, 0);
}

/* The index as it is; NULL when there is none or it cannot be read, which is said. */
static int open_live(struct check *c, struct index **out)
{
    struct stat st;
    if (fstatat(c->data_fd, "index.db", &st, AT_SYMLINK_NOFOLLOW) < 0) {
        say(c, false, "there is no index; the server makes it at its start");
        return 0;
    }
    int r = index_open(c->data_fd, out);
    if (r == -EBADMSG)
        say(c, true, "the index cannot be read; the server makes it anew, or posthouse store rebuild");
    return r == -EBADMSG ? 0 : r;
}

static int check_all(struct check *c, bool locked)
{
    struct index *live = NULL;
    int r = check_logs(c);
    if (r == 0 && locked)
        r = open_live(c, &live);
    if (r == 0 && !locked)
        say(c, false, "the server runs, so the index was not compared with the journal");
    if (r == 0)
        r = index_open_temporary(&c->index);
    if (r == 0)
        r = replay(c, live ? index_state(live)->lsn : UINT64_MAX);
    if (r == 0)
        r = compare(c, live);
    if (r == 0 && live && index_state(live)->lsn > index_state(c->index)->lsn)
        say(c, true, "the index knows more than the journal: the end of the journal was lost");
    if (r == 0)
        r = index_walk(c->index, 0, check_message, c);
    if (r == 0)
        r = check_queue(c);
    index_close(live);
    index_close(c->index);
    return r;
}

int store_check(int data_fd, const struct env *env, void (*say_)(void *arg, bool finding, str sentence), void *arg)
{
    struct check c = { .data_fd = data_fd, .env = env, .say = say_, .arg = arg, .meta = BUF(META_MAX),
                       .arena = ARENA(ARENA_BYTES) };
    c.last.fd = -1;
    _cleanup_close_ int lock = -1;
    int r = store_lock(data_fd, &lock);
    if (r < 0 && r != -EBUSY)
        return r;
    bool locked = r == 0;
    _cleanup_close_ int hold = -1; /* what the journal speaks of must stay while it is looked at */
    r = store_hold_compaction(data_fd, &hold);
    if (r == 0)
        r = check_all(&c, locked);
    close_last(&c);
    buf_done(&c.meta);
    arena_done(&c.arena);
    return r < 0 ? r : c.findings;
}

int store_rebuild(int data_fd, const struct env *env, void (*say_)(void *arg, bool finding, str sentence), void *arg)
{
    struct check c = { .data_fd = data_fd, .env = env, .say = say_, .arg = arg };
    _cleanup_close_ int lock = -1;
    int r = store_lock(data_fd, &lock);
    if (r == 0)
        r = index_discard(data_fd);
    if (r == 0)
        r = index_open(data_fd, &c.index);
    if (r == 0)
        r = replay(&c, UINT64_MAX);
    index_close(c.index);
    return r < 0 ? r : c.findings;
}
