/* mbox reader: any bytes, the same in one piece and octet by octet; what is written of them is read back. */
#include <stdlib.h>
#include "admin/mbox.h"
#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LARGE ((size_t)1 << 20)

struct sum { size_t n; uint32_t crc; int end; };

static void add(struct sum *s, const struct mbox_message *m)
{
    s->n++;
    s->crc = crc32c(s->crc, m->content);
    s->crc = crc32c(s->crc, m->keywords);
    s->crc = crc32c(s->crc, str_of(&m->flags, sizeof(m->flags)));
    s->crc = crc32c(s->crc, str_of(&m->date_s, sizeof(m->date_s)));
}

static struct sum read_file(str file, size_t piece, size_t max, bool content_length, struct buf *again)
{
    struct mbox_reader r;
    struct mbox_message m;
    struct sum s = { 0 };
    mbox_reader_init(&r, max, content_length);
    for (bool end = false; !end && s.end >= 0;) {
        str in = str_first(file, piece);
        file = str_from(file, piece);
        end = file.n == 0;
        while ((s.end = mbox_read(&r, &in, end, &m)) == 1) {
            struct mbox_writer w;
            add(&s, &m);
            if (!again)
                continue;
            mbox_write_begin(&w, again, S("x"), 0, m.flags, m.keywords);
            mbox_write(&w, m.content);
            mbox_write_end(&w);
        }
    }
    mbox_reader_done(&r);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool counted = size && data[0] & 1;
    size_t max = size && data[0] & 2 ? 512 : LARGE;
    str file = size ? str_of(data + 1, size - 1) : STR_NONE;
    struct buf again = BUF(LARGE * 8), third = BUF(LARGE * 8);
    if (size > LARGE / 4)
        return 0;
    struct sum whole = read_file(file, LARGE, max, counted, &again), single = read_file(file, 1, max, counted, NULL);
    if (whole.n != single.n || whole.crc != single.crc || whole.end != single.end)
        abort();
    struct sum first = read_file(buf_str(&again), LARGE, LARGE, false, &third);
    if (first.n != whole.n || first.end != 0 || (whole.n && again.failed))
        abort();
    bool exact = str_chr(buf_str(&again), '\r') < 0; /* a bare CR at the end of a line cannot be told from CRLF */
    size_t before = again.n; /* read and written once more: nothing changes */
    buf_clear(&again);
    read_file(buf_str(&third), 7, LARGE, false, &again);
    if (exact && (third.n != again.n || (third.n && memcmp(third.p, again.p, third.n)) || third.n > before))
        abort();
    buf_done(&again);
    buf_done(&third);
    return 0;
}
