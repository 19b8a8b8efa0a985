/* A message as the text of a file: see text.h. */
#include "mda/text.h"
#include <errno.h>
#include "base/env.h"
#include "mda/output.h"

enum { READ_AT_ONCE = 131072, WRITE_AT_ONCE = 262144, OUT_MAX = 524288 + 65536 };
#define PREFIX_MAX ((size_t)1 << 20)

void text_init(struct text *t)
{
    *t = (struct text){ .in = BUF(READ_AT_ONCE), .out = BUF(OUT_MAX + PREFIX_MAX) };
}

void text_done(struct text *t)
{
    buf_done(&t->in);
    buf_done(&t->out);
}

static int flush(struct text *t, struct text_sink *s)
{
    if (t->out.failed)
        return t->out.failed;
    int r = s->write(s, buf_str(&t->out));
    s->failed = r < 0;
    if (r == 0)
        s->bytes += t->out.n;
    buf_clear(&t->out);
    return r;
}

/* Reads the next piece of the content. */
static ssize_t next_piece(struct text *t, const struct mda_message *m, uint64_t at)
{
    size_t want = (size_t)MIN(m->length - at, (uint64_t)READ_AT_ONCE);
    buf_clear(&t->in);
    int r = buf_reserve(&t->in, want);
    if (r < 0)
        return r;
    for (;;) {
        ssize_t n = pread(m->fd, t->in.p, want, (off_t)(m->offset + at));
        if (n > 0)
            t->in.n = (size_t)n;
        if (n >= 0 || errno != EINTR)
            return n < 0 ? -errno : n == 0 ? -ENODATA : n;
    }
}

int64_t text_time(const struct mda_message *m)
{
    return (int64_t)((m->received_us ? m->received_us : env_system.wall_us()) / 1000000);
}

int text_write(struct text *t, const struct mda_message *m, enum text_form form, str before, struct text_sink *s)
{
    struct output o;
    bool mbox = form == TEXT_MBOX;
    int r = 0;
    buf_clear(&t->out);
    buf_add(&t->out, before);
    if (form != TEXT_PLAIN)
        output_from_line(&t->out, m->sender, text_time(m));
    output_prefix(&t->out, mbox, m->sender, m->prefix);
    output_begin(&o, mbox, true);
    for (uint64_t at = 0; at < m->length;) {
        ssize_t n = next_piece(t, m, at);
        if (n < 0)
            return (int)n;
        output_write(&o, buf_str(&t->in), &t->out);
        at += (uint64_t)n;
        if (t->out.n >= WRITE_AT_ONCE && at < m->length && (r = flush(t, s)) < 0)
            return r;
    }
    output_end(&o, &t->out);
    if (mbox)
        buf_addc(&t->out, '\n');
    return flush(t, s);
}

int text_file_write(struct text_sink *s, str bytes)
{
    struct text_file *f = CONTAINER_OF(s, struct text_file, sink);
    while (bytes.n) {
        ssize_t n = write(f->fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        bytes = str_from(bytes, (size_t)n);
    }
    return 0;
}
