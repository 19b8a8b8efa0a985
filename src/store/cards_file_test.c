/* The files of cards: what is added is read back by place, copies, new files without what is gone, damage. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/stat.h>
#include "base/hash.h"
#include "store/cards_file.h"
#include "store/store_test_world.h"

static char text[70000];

static str card_of(uint64_t mailbox, uint32_t uid)
{
    return str_of(text + (mailbox * 131 + uid * 7) % 5000, 1 + (uid * 37 + mailbox) % 900);
}

static void begin(struct world *w, struct cards_files **c)
{
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 2654435761u >> 13);
    world_init(w);
    assert_int_equal(cards_files_open(w->fd, c), 0);
}

/* The card of that place as a reader sees it: none, or one with its CRC. */
static bool read_one(int map_fd, int cards_fd, uint32_t uid, struct buf *out)
{
    struct card_place p;
    buf_clear(out);
    assert_int_equal(card_places_read(map_fd, uid, 1, &p), 0);
    if (!p.length || p.length > 100000)
        return false;
    char *bytes = buf_space(out, p.length);
    return segment_pread(cards_fd, bytes, p.length, p.offset) == p.length && crc32c(0, buf_str(out)) == p.crc;
}

/* The mailbox has the card of (of, of_uid) at uid; of 0: none. */
static void expect(struct cards_files *c, uint64_t mailbox, uint32_t uid, uint64_t of, uint32_t of_uid)
{
    _cleanup_buf_ struct buf b = BUF(100000);
    _cleanup_close_ int map_fd = -1, cards_fd = -1;
    int r = cards_files_get(c, mailbox, &map_fd, &cards_fd);
    if (r < 0)
        assert_true(r == -ENOENT && !of);
    bool there = r == 0 && read_one(map_fd, cards_fd, uid, &b);
    assert_int_equal(there, of != 0);
    if (of)
        assert_true(str_eq(buf_str(&b), card_of(of, of_uid)));
}

static void test_many_mailboxes(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct cards_files *c;
    begin(&w, &c);
    cards_files_add(c, 1, 1, card_of(1, 1)); /* nobody asked for it */
    expect(c, 1, 1, 0, 0);
    for (uint64_t m = 1; m <= 300; m++)
        assert_int_equal(cards_files_make(c, m), 0);
    for (uint32_t uid = 1; uid <= 20; uid++) /* more mailboxes than files are kept open */
        for (uint64_t m = 1; m <= 300; m++)
            if ((uid + m) % 5)
                cards_files_add(c, m, uid, card_of(m, uid));
    for (uint64_t m = 1; m <= 300; m += 23)
        for (uint32_t uid = 1; uid <= 22; uid++)
            expect(c, m, uid, uid <= 20 && (uid + m) % 5 ? m : 0, uid);
    expect(c, 301, 1, 0, 0);
    expect(c, 1, UINT32_MAX, 0, 0);
    cards_files_add(c, 7, 4000000000u, card_of(9, 9)); /* the map is sparse */
    cards_files_add(c, 7, 1, card_of(9, 1));           /* the later one counts */
    expect(c, 7, 4000000000u, 9, 9);
    expect(c, 7, 1, 9, 1);
    cards_files_close(c);
    assert_int_equal(cards_files_open(w.fd, &c), 0);
    cards_files_add(c, 7, 2, card_of(9, 2)); /* behind what is there */
    expect(c, 7, 1, 9, 1);
    expect(c, 7, 2, 9, 2);
    cards_files_close(c);
}

static void test_copies(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct cards_files *c;
    begin(&w, &c);
    for (uint64_t m = 1; m <= 4; m++)
        assert_int_equal(cards_files_make(c, m), 0);
    for (uint32_t uid = 1; uid <= 5000; uid++)
        if (uid % 100)
            cards_files_add(c, 1, uid, card_of(1, uid));
    for (uint32_t uid = 1; uid <= 5000; uid++) /* in one run, with holes */
        cards_files_copy(c, 1, uid, 2, uid + 50);
    for (uint32_t uid = 1; uid <= 100; uid += 3) /* of copies; from a place that is not contiguous */
        cards_files_copy(c, 2, uid + 50, 3, uid);
    cards_files_copy(c, 1, 6000, 4, 1); /* there is none */
    cards_files_copy(c, 99, 1, 4, 2);
    cards_files_copy(c, 1, 1, 99, 2); /* nobody asked for it */
    expect(c, 99, 2, 0, 0);
    cards_files_add(c, 3, 2, card_of(8, 8));
    for (uint32_t uid = 1; uid <= 5000; uid += 49)
        expect(c, 2, uid + 50, uid % 100 ? 1 : 0, uid);
    expect(c, 2, 150, 0, 0);
    expect(c, 3, 1, 1, 1);
    expect(c, 3, 4, 1, 4);
    expect(c, 3, 2, 8, 8);
    expect(c, 4, 1, 0, 0);
    expect(c, 4, 2, 0, 0);
    cards_files_add(c, 4, 7, card_of(4, 7)); /* staged together with its copy */
    cards_files_copy(c, 4, 7, 4, 8);
    expect(c, 4, 8, 4, 7);
    cards_files_close(c);
}

static void test_drop(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct cards_files *c;
    begin(&w, &c);
    assert_int_equal(cards_files_make(c, 1), 0);
    assert_int_equal(cards_files_make(c, 257), 0);
    cards_files_add(c, 1, 1, card_of(1, 1));
    cards_files_add(c, 257, 1, card_of(257, 1));
    cards_files_drop(c, 1);
    expect(c, 1, 1, 0, 0);
    expect(c, 257, 1, 257, 1);
    assert_int_equal(cards_files_make(c, 1), 0);
    cards_files_add(c, 1, 2, card_of(1, 2));
    expect(c, 1, 1, 0, 0);
    expect(c, 1, 2, 1, 2);
    cards_files_close(c);
    assert_int_equal(cards_files_discard(w.fd), 0);
    assert_int_equal(cards_files_open(w.fd, &c), 0);
    expect(c, 257, 1, 0, 0);
    cards_files_close(c);
}

static uint32_t first_live;

static int live_from(void *arg, uint64_t mailbox, void (*each)(void *each_arg, uint32_t uid), void *each_arg)
{
    (void)arg;
    assert_int_equal(mailbox, 5);
    for (uint32_t uid = first_live; uid < first_live + 40; uid++)
        if (uid != first_live + 7)
            each(each_arg, uid);
    return 0;
}

/* Messages come and go: the file stays bounded, what is live stays readable, an open reader keeps what it has. */
static void test_trim(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    _cleanup_buf_ struct buf b = BUF(100000);
    struct cards_files *c;
    struct stat st;
    struct card_place place;
    int map_fd, cards_fd, now_map, now_cards;
    begin(&w, &c);
    cards_files_set_live(c, live_from, NULL);
    assert_int_equal(cards_files_make(c, 5), 0);
    assert_int_equal(cards_files_filled(c, 5), 1);
    cards_files_set_filled(c, 5, 4000);
    for (first_live = 1; first_live <= 3000; first_live++) {
        str big = str_of(text + first_live % 500, 30000 + first_live);
        cards_files_add(c, 5, first_live + 39, big);
        if (first_live == 1)
            assert_int_equal(cards_files_get(c, 5, &map_fd, &cards_fd), 0);
    }
    first_live--;
    assert_int_equal(cards_files_get(c, 5, &now_map, &now_cards), 0);
    assert_int_equal(fstat(now_cards, &st), 0);
    assert_in_range(st.st_size, 39 * 30000, 4 * 40 * 33000 + (5 << 20)); /* 90 MB were added */
    for (uint32_t uid = first_live; uid < first_live + 40; uid++)
        if (uid != first_live + 7) {
            uint32_t k = uid - 39;
            assert_true(read_one(now_map, now_cards, uid, &b));
            assert_true(str_eq(buf_str(&b), str_of(text + k % 500, 30000 + k)));
        }
    cards_files_places(c, 5, 3039, 1, &place);
    assert_int_equal(place.length, 33000);
    cards_files_places(c, 5, 40, 1, &place);
    assert_int_equal(place.length, 0);
    assert_int_equal(cards_files_filled(c, 5), 4000);
    assert_true(read_one(map_fd, cards_fd, 40, &b)); /* of the first files */
    assert_false(read_one(now_map, now_cards, 40, &b));
    close(map_fd);
    close(cards_fd);
    close(now_map);
    close(now_cards);
    cards_files_close(c);
}

static void test_damage(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct cards_files *c;
    begin(&w, &c);
    assert_int_equal(cards_files_make(c, 3), 0);
    cards_files_add(c, 3, 1, card_of(3, 1));
    cards_files_add(c, 3, 2, card_of(3, 2));
    expect(c, 3, 1, 3, 1);
    flip(&w, "cards/03/3.cards", 0);
    expect(c, 3, 1, 0, 0);
    expect(c, 3, 2, 3, 2);
    flip(&w, "cards/03/3.map", 2 * 16 + 11); /* a length of hundreds of megabytes is not believed */
    cards_files_copy(c, 3, 2, 3, 3);
    expect(c, 3, 3, 0, 0);
    int fd = open_file(&w, "cards/03/3.cards", O_RDWR);
    assert_int_equal(ftruncate(fd, 1), 0); /* cut by a crash */
    close(fd);
    cards_files_copy(c, 3, 1, 3, 4);
    expect(c, 3, 4, 0, 0);
    cards_files_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_mailboxes), cmocka_unit_test(test_copies), cmocka_unit_test(test_drop),
        cmocka_unit_test(test_trim), cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests_name("cards_file", tests, NULL, NULL);
}
