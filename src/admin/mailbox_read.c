/* Questions of `posthouse mailbox`, and reading messages from the logs: see mailbox.h. */
#include <errno.h>
#include <fcntl.h>
#include "admin/control.h"
#include "admin/mailbox.h"
#include "base/codec.h"
#include "base/event.h"
#include "store/mailboxes.h"

enum { PATIENCE_S = 70, QUESTION_MAX = 16384, PIECE = 65536, TRIES = 3, PREFIX_MAX = 8192 };

const char *mailbox_text(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text ? text : "";
}

json_int_t mailbox_number(const json_t *line, const char *key)
{
    return json_integer_value(json_object_get(line, key));
}

void mailbox_question(struct buf *out, const char *word, const char *account, const char *name)
{
    event_str(out, "mailbox", str_z(word));
    if (account)
        event_str(out, "account", str_z(account));
    if (name)
        event_str(out, "name", str_z(name));
}

/* One page; *more: behind what the next one begins, empty: there is none. */
static int read_page(str answer, mailbox_line *each, void *arg, struct buf *more)
{
    int e = 0;
    while (answer.n && e == 0) {
        str text = str_cut(&answer, '\n');
        json_t *line = text.n ? json_loadb(text.p, text.n, 0, NULL) : NULL;
        if (!line)
            continue;
        if (json_object_get(line, "end")) {
            buf_add(more, str_z(mailbox_text(line, "after")));
        } else if (json_object_get(line, "error")) {
            admin_complain("mailbox: %s", mailbox_text(line, "error"));
            e = EXIT_DATA;
        } else if (each) {
            e = each(arg, line);
        }
        json_decref(line);
    }
    return e;
}

static int unanswered(const struct mailbox_command *c, int r)
{
    if (r == -EACCES || r == -EPERM) {
        admin_complain("mailbox: only root and the user of the instance may ask the server of %s", c->data.path);
        return EXIT_NOPERM;
    }
    bool absent = r == -ENOENT || r == -ECONNREFUSED;
    admin_complain(absent ? "mailbox: no server runs on %s, and it keeps the mailboxes; start it with posthouse serve"
                          : "mailbox: the server of %s did not answer", c->data.path);
    return EXIT_UNAVAILABLE;
}

int mailbox_ask(struct mailbox_command *c, str question, mailbox_line *each, void *arg)
{
    _cleanup_buf_ struct buf page = BUF(QUESTION_MAX), answer = BUF(CONTROL_ANSWER_MAX), more = BUF(QUESTION_MAX);
    int e = 0;
    do {
        bool ok = false;
        buf_clear(&page);
        buf_clear(&answer);
        buf_add(&page, question);
        if (more.n)
            event_str(&page, "after", buf_str(&more));
        buf_clear(&more);
        int r = page.failed ? page.failed
                            : control_ask_role(c->data.fd, ROLE_STORE, buf_str(&page), PATIENCE_S, &ok, &answer);
        if (r < 0 || (!ok && !answer.n))
            return unanswered(c, r);
        e = read_page(buf_str(&answer), each, arg, &more);
    } while (e == 0 && more.n);
    return e;
}

bool mailbox_keyword_valid(str word)
{
    bool ok = word.n > 0 && word.n <= KEYWORD_LEN_MAX;
    for (size_t i = 0; i < word.n && ok; i++)
        ok = (unsigned char)word.p[i] > ' ' && (unsigned char)word.p[i] < 0x7f &&
             str_chr(S("(){%*\"\\]"), word.p[i]) < 0;
    return ok;
}

/* Messages */

static int open_logs(struct mailbox_command *c)
{
    return c->log_fd >= 0 ? 0 : admin_data_subdir(&c->data, "mailbox", "log", &c->log_fd);
}

static void close_segment(struct mailbox_command *c)
{
    if (c->segment.fd >= 0)
        close(TAKE_FD(c->segment.fd));
}

/* 0 or negative errno. */
static int open_segment(struct mailbox_command *c, const struct mailbox_message *m)
{
    str log = str_z(m->log);
    char name[32];
    if (c->segment.fd >= 0 && c->segment.number == m->segment && str_eq(log, str_z(c->segment.log)))
        return 0;
    close_segment(c);
    if (log.n > LOG_NAME_MAX || str_chr(log, '/') >= 0 || str_starts(log, S(".")))
        return -EBADMSG;
    _cleanup_close_ int dir = openat(c->log_fd, m->log, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    segment_name(m->segment, name);
    _cleanup_close_ int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = segment_reader_open(fd, &c->segment.reader);
    if (r < 0)
        return r;
    memcpy(c->segment.log, log.p, log.n + 1);
    c->segment.number = m->segment;
    c->segment.fd = TAKE_FD(fd);
    return 0;
}

/* Fills in fd, header and trouble. -ENOENT: the segment is gone. */
static int find_record(struct mailbox_command *c, struct mailbox_message *m)
{
    char head[RECORD_HEADER_SIZE];
    int r = open_segment(c, m);
    m->fd = -1;
    m->trouble = NULL;
    if (r == -ENOENT)
        m->trouble = "its segment is gone";
    else if (r == -EACCES)
        m->trouble = "its segment may not be read by this user";
    else if (r < 0)
        m->trouble = "its segment cannot be read";
    if (r < 0)
        return r;
    if (segment_pread(c->segment.fd, head, sizeof(head), m->offset) != sizeof(head) ||
        record_header_decode(str_of(head, sizeof(head)), c->segment.reader.header.key, m->offset, &m->header) != 1)
        m->trouble = "its record is damaged";
    else if (m->header.type != RECORD_MESSAGE)
        m->trouble = "its record is not that of a message";
    else if (m->header.content_len != m->content_len || m->header.meta_len != m->meta_len)
        m->trouble = "its record has another size than the index says";
    else
        m->fd = c->segment.fd;
    return 0;
}

struct walk {
    struct mailbox_command *command;
    mailbox_each *each; void *arg;
    uint32_t last;           /* the message that was dealt with */
    uint32_t only;           /* 0: all of them */
    unsigned tries;          /* to find the next one */
    bool again;              /* a segment was gone */
};

enum { END_OF_WALK = 1000 }; /* no exit code */

static int walk_line(void *arg, const json_t *line)
{
    struct walk *w = arg;
    char prefix[PREFIX_MAX];
    struct buf b = { .p = prefix, .cap = sizeof(prefix), .max = sizeof(prefix) };
    struct mailbox_message m = {
        .uid = (uint32_t)mailbox_number(line, "uid"), .flags = (uint32_t)mailbox_number(line, "flags"),
        .keywords = str_z(mailbox_text(line, "keywords")), .date_s = mailbox_number(line, "date"),
        .log = mailbox_text(line, "log"), .segment = (uint64_t)mailbox_number(line, "segment"),
        .offset = (uint64_t)mailbox_number(line, "offset"),
        .content_len = (uint64_t)mailbox_number(line, "content_len"),
        .meta_len = (uint64_t)mailbox_number(line, "meta_len"),
    };
    if (m.uid <= w->last)
        return 0;
    if (w->only && m.uid != w->only)
        return END_OF_WALK;
    base64_decode(&b, str_z(mailbox_text(line, "prefix")));
    m.prefix = buf_str(&b);
    if (find_record(w->command, &m) == -ENOENT && ++w->tries < TRIES) {
        w->again = true;
        return END_OF_WALK;
    }
    if (m.fd < 0 && str_eq(str_z(m.trouble), S("its segment may not be read by this user"))) {
        admin_complain("mailbox: the files in the folder log of %s may not be read by this user: run the command as "
                       "root or as the user of the instance", w->command->data.path);
        return EXIT_NOPERM;
    }
    int e = w->each(w->arg, &m);
    w->last = m.uid;
    w->tries = 0;
    return e ? e : w->only ? END_OF_WALK : 0;
}

static int walk(struct walk *w, const char *account, const char *name)
{
    int e = open_logs(w->command);
    while (e == 0) {
        _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
        w->again = false;
        mailbox_question(&question, "messages", account, name);
        if (w->last)
            event_u64(&question, "after", w->last);
        e = mailbox_ask(w->command, buf_str(&question), walk_line, w);
        if (!w->again)
            break;
        e = 0;
    }
    return e == END_OF_WALK ? 0 : e;
}

int mailbox_walk(struct mailbox_command *c, const char *account, const char *name, mailbox_each *each, void *arg)
{
    struct walk w = { .command = c, .each = each, .arg = arg };
    return walk(&w, account, name);
}

int mailbox_one(struct mailbox_command *c, const char *account, const char *name, uint32_t uid, mailbox_each *each,
                void *arg)
{
    struct walk w = { .command = c, .each = each, .arg = arg, .last = uid - 1, .only = uid };
    return walk(&w, account, name);
}

int mailbox_content(const struct mailbox_message *m, int (*piece)(void *arg, str bytes), void *arg)
{
    static char bytes[PIECE];
    uint64_t at = m->header.offset + RECORD_HEADER_SIZE, left = m->header.content_len;
    int r = 0;
    while (left && r == 0) {
        ssize_t n = segment_pread(m->fd, bytes, (size_t)MIN(left, (uint64_t)PIECE), at);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        r = piece(arg, str_of(bytes, (size_t)n));
        at += (uint64_t)n;
        left -= (uint64_t)n;
    }
    return r;
}
