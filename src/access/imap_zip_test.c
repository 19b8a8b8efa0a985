/* DEFLATE both ways: any pieces, rests between them, bounds. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <zlib.h>
#include "access/imap_session.h"

enum { TEXT = 200000 };

struct peer { z_stream out, in; }; /* the client's side */

static void peer_begin(struct peer *c)
{
    *c = (struct peer){ 0 };
    assert_int_equal(deflateInit2(&c->out, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(inflateInit2(&c->in, -15), Z_OK);
}

static void peer_end(struct peer *c)
{
    deflateEnd(&c->out);
    inflateEnd(&c->in);
}

static void peer_write(struct peer *c, str text, struct buf *wire)
{
    static char room[TEXT + 4096];
    c->out.next_in = (z_const Bytef *)text.p;
    c->out.avail_in = (uInt)text.n;
    c->out.next_out = (Bytef *)room;
    c->out.avail_out = sizeof(room);
    assert_int_equal(deflate(&c->out, Z_SYNC_FLUSH), Z_OK);
    buf_add(wire, str_of(room, sizeof(room) - c->out.avail_out));
}

static void peer_read(struct peer *c, struct buf *wire, struct buf *text)
{
    static char room[TEXT * 2];
    c->in.next_in = (Bytef *)wire->p;
    c->in.avail_in = (uInt)wire->n;
    c->in.next_out = (Bytef *)room;
    c->in.avail_out = sizeof(room);
    int r = inflate(&c->in, Z_SYNC_FLUSH);
    assert_true(r == Z_OK || r == Z_BUF_ERROR);
    assert_int_equal(c->in.avail_in, 0);
    buf_add(text, str_of(room, sizeof(room) - c->in.avail_out));
    buf_clear(wire);
}

static void make_text(struct buf *b, unsigned seed)
{
    for (unsigned i = 0; b->n < TEXT; i++)
        buf_addf(b, "a%u FETCH %u (FLAGS BODY[%u])\r\n", i, i * seed % 977, seed % 7);
}

/* All of the wire in pieces of that size; what is not used comes again. */
static void feed(struct imap_zip *z, str wire, size_t piece, bool rest, struct buf *plain)
{
    struct buf held = BUF(TEXT * 4);
    for (size_t at = 0; at < wire.n || held.n; at += piece) {
        size_t used = 0;
        buf_add(&held, str_first(str_from(wire, at), piece));
        int r = imap_zip_read(z, buf_str(&held), &used);
        assert_true(r >= 0);
        assert_true(imap_zip_input(z)->n <= IMAP_ZIP_INPUT_HIGH + 16384);
        buf_drop(&held, used);
        buf_add(plain, buf_str(imap_zip_input(z)));
        buf_clear(imap_zip_input(z));
        if (rest)
            imap_zip_rest(z);
    }
    size_t used;
    while (imap_zip_read(z, STR_NONE, &used) > 0) {
        buf_add(plain, buf_str(imap_zip_input(z)));
        buf_clear(imap_zip_input(z));
    }
    buf_done(&held);
}

static void test_reading_in_any_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = { 1, 7, 1000, 1 << 20 };
    for (size_t i = 0; i < 2 * ARRAY_LEN(pieces); i++) {
        _cleanup_buf_ struct buf text = BUF(TEXT * 2), wire = BUF(TEXT * 2), plain = BUF(TEXT * 4);
        struct peer c;
        struct imap_zip *z = imap_zip_new();
        peer_begin(&c);
        make_text(&text, (unsigned)i + 3);
        for (str left = buf_str(&text); left.n; left = str_from(left, 30000))
            peer_write(&c, str_first(left, 30000), &wire);
        feed(z, buf_str(&wire), pieces[i / 2], i & 1, &plain);
        assert_true(str_eq(buf_str(&plain), buf_str(&text)));
        imap_zip_free(z);
        peer_end(&c);
    }
}

static void test_writing_with_rests(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf got = BUF(TEXT * 16), want = BUF(TEXT * 16), wire = BUF(TEXT * 4);
    struct peer c;
    struct imap_zip *z = imap_zip_new();
    peer_begin(&c);
    for (unsigned i = 0; i < 8; i++) {
        _cleanup_buf_ struct buf text = BUF(TEXT * 2);
        make_text(&text, i + 1);
        buf_add(&want, buf_str(&text));
        assert_int_equal(imap_zip_write(z, &text), 0);
        assert_int_equal(text.n, 0);
        buf_add(&wire, buf_str(imap_zip_output(z)));
        assert_true(imap_zip_output(z)->n < TEXT / 4);
        buf_clear(imap_zip_output(z));
        peer_read(&c, &wire, &got); /* each burst can be read at once */
        assert_true(str_eq(buf_str(&got), buf_str(&want)));
        if (i % 2)
            imap_zip_rest(z);
    }
    imap_zip_free(z);
    peer_end(&c);
}

static void test_what_is_no_deflate(void **state)
{
    (void)state;
    struct imap_zip *z = imap_zip_new();
    size_t used;
    assert_int_equal(imap_zip_read(z, S("\xff\xff\xff\xff\xff"), &used), -EBADMSG);
    imap_zip_free(z);
    z = imap_zip_new();
    assert_int_equal(imap_zip_read(z, S("\x03\x00"), &used), -EBADMSG); /* the end of the stream */
    imap_zip_free(z);
}

static void test_a_bomb_comes_in_bounded_pieces(void **state)
{
    (void)state;
    static char zeros[TEXT];
    _cleanup_buf_ struct buf wire = BUF(TEXT);
    struct peer c;
    struct imap_zip *z = imap_zip_new();
    uint64_t total = 0;
    peer_begin(&c);
    for (int i = 0; i < 50; i++)
        peer_write(&c, str_of(zeros, sizeof(zeros)), &wire);
    assert_true(wire.n < 20000);
    for (int r = 1; r > 0;) {
        size_t used;
        r = imap_zip_read(z, buf_str(&wire), &used);
        assert_true(r >= 0);
        buf_drop(&wire, used);
        assert_true(imap_zip_input(z)->n <= IMAP_ZIP_INPUT_HIGH + 16384);
        total += imap_zip_input(z)->n;
        buf_clear(imap_zip_input(z));
    }
    assert_int_equal(total, 50 * TEXT);
    imap_zip_free(z);
    peer_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_in_any_pieces),
        cmocka_unit_test(test_writing_with_rests),
        cmocka_unit_test(test_what_is_no_deflate),
        cmocka_unit_test(test_a_bomb_comes_in_bounded_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
