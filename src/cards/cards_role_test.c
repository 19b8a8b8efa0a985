/* Role cards: the card it makes is that of the content it was shown; what cannot be read has none; a frame that does
 * not fit costs the link. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "cards/cards_role.h"
#include "io/role_play.h"
#include "message/card.h"

static void begin(struct role_play *p)
{
    play_init(p);
    play_fork(p, cards_role_run);
    play_configure(p);
    play_peer(p, ROLE_STORE);
    play_start(p);
}

static void ask(struct role_play *p, uint64_t request, str file, uint64_t offset, uint64_t length)
{
    struct buf b = BUF(64);
    _cleanup_close_ int fd = file.p ? memfd_create("segment", MFD_CLOEXEC) : -1;
    assert_true(!file.p || write(fd, file.p, file.n) == (ssize_t)file.n);
    pack_u64(&b, request);
    pack_u64(&b, offset);
    pack_u64(&b, length);
    play_send(p->peer[ROLE_STORE], IPC_CARD_MAKE, &b, fd);
    buf_done(&b);
}

/* The pieces put together: 1, or 0 if there is no card. */
static int answer(struct role_play *p, uint64_t request, struct buf *out)
{
    for (uint8_t what = 1; what == 1;) {
        play_expect(p, p->peer[ROLE_STORE], IPC_CARD);
        assert_int_equal(unpack_u64(&p->in), request);
        what = unpack_u8(&p->in);
        buf_add(out, unpack_str(&p->in));
        assert_true(unpack_end(&p->in) && what <= 2);
        if (what == 0)
            return 0;
    }
    return 1;
}

static void expect_card(struct role_play *p, str content)
{
    static uint64_t request;
    struct mime_parser *m = mime_new();
    _cleanup_buf_ struct buf want = BUF(CARD_MAX), got = BUF(2 * CARD_MAX), file = BUF(4 << 20);
    mime_feed(m, content);
    mime_end(m);
    assert_int_equal(card_encode(&want, m), 0);
    mime_free(m);
    buf_add(&file, S("before"));
    buf_add(&file, content);
    buf_add(&file, S("--b\r\nbehind"));
    ask(p, ++request, buf_str(&file), 6, content.n);
    assert_int_equal(answer(p, request, &got), 1);
    assert_true(str_eq(buf_str(&want), buf_str(&got)));
}

static void test_cards(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_buf_ struct buf large = BUF(4 << 20);
    begin(&p);
    expect_card(&p, S("From: a@b\r\n\r\nhello\r\n"));
    expect_card(&p, S(""));
    buf_add(&large, S("Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
    for (int i = 0; i < 2000; i++) /* a card of several frames, from a content of several reads */
        buf_addf(&large, "--b\r\nContent-Description: %080d\r\n\r\n%0500d\r\n", i, i);
    expect_card(&p, buf_str(&large));
    expect_card(&p, S("--b\r\n\r\nnothing is left of the one before"));
    assert_int_equal(play_status(&p, "cards_made"), 4);
    play_stop(&p);
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_buf_ struct buf got = BUF(CARD_MAX);
    begin(&p);
    ask(&p, 1, S("short"), 2, 4);
    assert_int_equal(answer(&p, 1, &got), 0);
    ask(&p, 2, STR_NONE, 0, 4);
    assert_int_equal(answer(&p, 2, &got), 0);
    expect_card(&p, S("From: a@b\r\n\r\nhello\r\n"));
    assert_int_equal(play_status(&p, "cards_failed"), 2);
    ask(&p, 3, S("x"), UINT64_MAX, 4); /* no frame of an honest store */
    play_closed(&p, p.peer[ROLE_STORE]);
    play_peer(&p, ROLE_STORE);
    expect_card(&p, S("From: a@b\r\n\r\nhello\r\n"));
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cards),
        cmocka_unit_test(test_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
