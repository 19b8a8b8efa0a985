/* Standard input of `posthouse deliver`: see deliver_input.h. */
#include "admin/deliver_input.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include "message/loop_mark.h"

enum { READ_AT_ONCE = 65536, IN_MEMORY = 4 << 20, LINE_MAX_KEPT = 4096 };

struct spool {
    struct deliver_input *in;
    const uint8_t *key;
    const str *addresses;
    size_t n;
    bool cr, begun, header, skip;  /* header: not over; skip: the first line goes */
    bool open;                     /* the line has begun */
    bool on_disk;
    struct buf line, out;          /* line: of the header, its beginning */
};

static int open_in_memory(void)
{
    int fd = memfd_create("message", MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_on_disk(void)
{
    static const char *const folders[] = { "/var/tmp", "/tmp" };
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        int fd = open(folders[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
            return fd;
    }
    return open_in_memory();
}

static int write_all(int fd, str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            s = str_from(s, (size_t)n);
    }
    return 0;
}

/* What becomes too large for memory goes to a disk. */
static int move_to_disk(struct spool *s)
{
    int fd = open_on_disk(), r = fd < 0 ? fd : 0;
    char block[READ_AT_ONCE];
    for (uint64_t at = 0; r == 0 && at < s->in->length;) {
        ssize_t n = pread(s->in->fd, block, sizeof(block), (off_t)at);
        r = n <= 0 ? (n < 0 ? -errno : -EIO) : write_all(fd, str_of(block, (size_t)n));
        at += n > 0 ? (uint64_t)n : 0;
    }
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    close(s->in->fd);
    s->in->fd = fd;
    s->on_disk = true;
    return 0;
}

static int flush(struct spool *s)
{
    int r = s->out.failed;
    if (r == 0 && !s->on_disk && s->in->length + s->out.n > IN_MEMORY)
        r = move_to_disk(s);
    if (r == 0)
        r = write_all(s->in->fd, buf_str(&s->out));
    s->in->length += s->out.n;
    buf_clear(&s->out);
    return r;
}

/* A line of the header is complete. */
static void look_at(struct spool *s)
{
    str line = buf_str(&s->line), value = line, address;
    s->header = line.n > 0;
    if (str_istarts(line, S("Received:")))
        s->in->received++;
    if (!s->key || !str_istarts(line, S("Delivered-To:")))
        return;
    str_cut(&value, ':');
    if (!loop_mark_read(s->key, str_trim(value), &address))
        return;
    for (size_t i = 0; i < s->n; i++)
        s->in->loops = s->in->loops || str_ieq(s->addresses[i], address);
}

static void end_line(struct spool *s)
{
    if (s->header && !s->skip)
        look_at(s);
    buf_clear(&s->line);
    if (!s->skip)
        buf_add(&s->out, S("\r\n"));
    s->skip = s->open = false;
}

/* The beginning of the first line says whether it is one of an mbox: once five or six bytes of it are there. */
static bool is_from_line(str text)
{
    return str_starts(text, S("From ")) || str_starts(text, S(">From "));
}

static void add_run(struct spool *s, str run)
{
    s->open = s->open || run.n > 0;
    if (s->header && s->line.n < LINE_MAX_KEPT)
        buf_add(&s->line, str_first(run, LINE_MAX_KEPT - s->line.n));
    if (!s->skip)
        buf_add(&s->out, run);
}

static void take(struct spool *s, str piece)
{
    while (piece.n) {
        ptrdiff_t lf = str_chr(piece, '\n');
        str run = lf < 0 ? piece : str_first(piece, (size_t)lf);
        if (s->cr && (run.n || lf < 0))
            add_run(s, S("\r"));
        s->cr = run.n && run.p[run.n - 1] == '\r';
        run.n -= s->cr;
        add_run(s, run);
        if (lf >= 0) {
            s->cr = false;
            end_line(s);
        }
        piece = lf < 0 ? STR_NONE : str_from(piece, (size_t)lf + 1);
    }
}

/* Reads until the buffer is full or the end: the first piece is long enough to tell a From_ line. */
static ssize_t read_full(int fd, char *to, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(fd, to + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

static int end(struct spool *s)
{
    if (s->cr)
        add_run(s, S("\r"));
    if (s->open)
        end_line(s);
    return flush(s);
}

int deliver_read(int from, uint64_t max, const uint8_t *key, const str *addresses, size_t n, struct deliver_input *out)
{
    char block[READ_AT_ONCE];
    struct spool s = { .in = out, .key = key, .addresses = addresses, .n = n, .header = true,
                       .line = BUF(LINE_MAX_KEPT), .out = BUF(4 * READ_AT_ONCE) };
    int r;
    *out = (struct deliver_input){ .fd = open_in_memory() };
    r = out->fd < 0 ? out->fd : 0;
    while (r == 0) {
        ssize_t got = read_full(from, block, sizeof(block));
        if (got <= 0) {
            r = got < 0 ? (int)got : end(&s);
            break;
        }
        str piece = str_of(block, (size_t)got);
        if (!s.begun)
            s.skip = is_from_line(piece);
        s.begun = true;
        take(&s, piece);
        r = out->length + s.out.n > max ? -E2BIG : flush(&s);
    }
    buf_done(&s.line);
    buf_done(&s.out);
    return r;
}
