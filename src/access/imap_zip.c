/* COMPRESS=DEFLATE: see imap_session.h. Raw DEFLATE on both ways, ended by a sync flush after each burst, so that what
 * was written can be read at once (RFC 4978 3). While the session is quiet the compressor goes: a new one refers to
 * nothing that was before. Of the other way what the client may refer to stays, at most its last 32 KiB. */
#include <errno.h>
#include <zlib.h>
#include "access/imap_session.h"

enum { OUT_WINDOW = -13, OUT_MEMORY = 6, OUT_LEVEL = 3, IN_WINDOW = -15, PIECE = 16384, DICTIONARY_MAX = 32768 };
#define OUTPUT_MAX ((size_t)4 << 20)

struct imap_zip {
    z_stream out, in;
    bool has_out, has_in;
    bool in_pending;           /* inflate had no room left: it may have more without new input */
    bool in_whole;             /* inflate stands between two blocks, on a byte's boundary */
    struct buf plain, packed;
    struct buf dictionary;     /* of what inflates next, while there is no stream */
};

struct imap_zip *imap_zip_new(void)
{
    struct imap_zip *z = calloc(1, sizeof(*z));
    if (!z)
        return NULL;
    z->plain = BUF(IMAP_ZIP_INPUT_HIGH * 4);
    z->packed = BUF(OUTPUT_MAX);
    z->dictionary = BUF(DICTIONARY_MAX);
    z->in_whole = true;
    return z;
}

static void end_out(struct imap_zip *z)
{
    if (z->has_out)
        deflateEnd(&z->out);
    z->has_out = false;
}

static void end_in(struct imap_zip *z)
{
    if (z->has_in)
        inflateEnd(&z->in);
    z->has_in = false;
}

void imap_zip_free(struct imap_zip *z)
{
    if (!z)
        return;
    end_out(z);
    end_in(z);
    buf_done(&z->plain);
    buf_done(&z->packed);
    buf_done(&z->dictionary);
    free(z);
}

struct buf *imap_zip_input(struct imap_zip *z) { return &z->plain; }
struct buf *imap_zip_output(struct imap_zip *z) { return &z->packed; }

static int begin_in(struct imap_zip *z)
{
    if (z->has_in)
        return 0;
    z->in = (z_stream){ 0 };
    if (inflateInit2(&z->in, IN_WINDOW) != Z_OK)
        return -ENOMEM;
    z->has_in = true;
    if (z->dictionary.n &&
        inflateSetDictionary(&z->in, (const Bytef *)z->dictionary.p, (uInt)z->dictionary.n) != Z_OK)
        return -ENOMEM;
    buf_release(&z->dictionary);
    return 0;
}

/* One piece of at most PIECE bytes of plain text. 1 some came, 0 none, negative: error. */
static int inflate_piece(struct imap_zip *z)
{
    int r = buf_reserve(&z->plain, PIECE);
    if (r < 0)
        return r;
    z->in.next_out = (Bytef *)z->plain.p + z->plain.n;
    z->in.avail_out = PIECE;
    int e = inflate(&z->in, Z_SYNC_FLUSH);
    size_t got = PIECE - z->in.avail_out;
    z->plain.n += got;
    z->in_pending = z->in.avail_out == 0;
    z->in_whole = (z->in.data_type & 255) == 128;
    if (e == Z_MEM_ERROR)
        return -ENOMEM;
    if (e != Z_OK && e != Z_BUF_ERROR) /* Z_STREAM_END too: the stream has no end while the session lasts */
        return -EBADMSG;
    return got > 0;
}

int imap_zip_read(struct imap_zip *z, str in, size_t *out_used)
{
    *out_used = 0;
    if (!in.n && !z->in_pending)
        return 0;
    int r = begin_in(z), any = 0;
    z->in.next_in = (z_const Bytef *)in.p;
    z->in.avail_in = (uInt)in.n;
    while (r >= 0 && z->plain.n < IMAP_ZIP_INPUT_HIGH && (z->in.avail_in || z->in_pending)) {
        r = inflate_piece(z);
        any |= r > 0;
        if (r == 0 && !z->in_pending)
            break;
    }
    *out_used = in.n - z->in.avail_in;
    z->in.next_in = NULL;
    z->in.avail_in = 0;
    return r < 0 ? r : any;
}

static int deflate_some(struct imap_zip *z, struct buf *from, int flush)
{
    if (!z->has_out) {
        z->out = (z_stream){ 0 };
        if (deflateInit2(&z->out, OUT_LEVEL, Z_DEFLATED, OUT_WINDOW, OUT_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
            return -ENOMEM;
        z->has_out = true;
    }
    z->out.next_in = (z_const Bytef *)from->p;
    z->out.avail_in = (uInt)from->n;
    do {
        if (buf_reserve(&z->packed, PIECE / 4) < 0)
            return z->packed.failed;
        size_t room = z->packed.cap - z->packed.n;
        z->out.next_out = (Bytef *)z->packed.p + z->packed.n;
        z->out.avail_out = (uInt)room;
        int e = deflate(&z->out, flush);
        if (e != Z_OK && e != Z_BUF_ERROR)
            return -ENOMEM;
        z->packed.n += room - z->out.avail_out;
    } while (z->out.avail_out == 0);
    return 0;
}

int imap_zip_write(struct imap_zip *z, struct buf *from)
{
    if (!from->n)
        return 0;
    int r = deflate_some(z, from, Z_SYNC_FLUSH);
    buf_clear(from);
    return r;
}

static void rest_in(struct imap_zip *z)
{
    uInt n = DICTIONARY_MAX;
    if (!z->has_in || !z->in_whole || z->in_pending || buf_reserve(&z->dictionary, DICTIONARY_MAX) < 0)
        return;
    if (inflateGetDictionary(&z->in, (Bytef *)z->dictionary.p, &n) != Z_OK) {
        buf_release(&z->dictionary);
        return;
    }
    z->dictionary.n = n;
    char *small = realloc(z->dictionary.p, (size_t)n + 1);
    if (small) {
        z->dictionary.p = small;
        z->dictionary.cap = n;
    }
    end_in(z);
}

void imap_zip_rest(struct imap_zip *z)
{
    end_out(z);
    rest_in(z);
    if (!z->plain.n)
        buf_release(&z->plain);
    if (!z->packed.n)
        buf_release(&z->packed);
}
