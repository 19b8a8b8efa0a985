/* `store check` and `store rebuild`: they find what is wrong and name it, and find nothing where nothing is. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_test_world.h"

static void fill(struct world *w)
{
    world_begin(w);
    uint64_t t = 0;
    for (uint32_t i = 0; i < 20; i++)
        t = append(w, i, S("content\r\n"), i % 4 ? "anna@example.org" : "both@example.org");
    deliver_all(w, t);
}

static void test_nothing_wrong(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    assert_int_equal(world_check(&w), 0); /* nothing at all */
    fill(&w);
    assert_int_equal(world_check(&w), 0); /* while the server runs */
    assert_int_equal(store_rebuild(w.fd, &env_system, world_hear, &w), -EBUSY);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
    assert_int_equal(store_rebuild(w.fd, &env_system, world_hear, &w), 0);
    assert_int_equal(world_check(&w), 0);
}

static void test_message_gone(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    int fd;
    world_init(&w);
    fill(&w);
    world_close(&w);
    nth_segment(&w, "log/in", 0, path);
    assert_int_equal(unlinkat(w.fd, path, 0), 0);
    assert_int_equal(world_check(&w), 25); /* each placement of it */
    assert_non_null(strstr(w.last_finding, "missing"));
    world_begin(&w);
    assert_int_equal(store_segment_open(w.store, S("in"), 1, &fd), -ENOENT);
    assert_int_equal(store_segment_open(w.store, S("../journal"), 1, &fd), -ENOENT);
}

static void test_content_flipped(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64], place[64];
    world_init(&w);
    fill(&w);
    world_close(&w);
    nth_segment(&w, "log/in", 0, path);
    struct record_header h = nth_record(&w, path, 5);
    flip(&w, path, h.offset + RECORD_HEADER_SIZE + 2);
    assert_int_equal(world_check(&w), 1);
    snprintf(place, sizeof(place), "from offset %llu to", (unsigned long long)h.offset);
    assert_non_null(strstr(w.last_finding, place));
    flip(&w, path, h.offset + RECORD_HEADER_SIZE + 2);
    assert_int_equal(world_check(&w), 0);
}

static void test_index_flipped(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char page[4096];
    world_init(&w);
    fill(&w);
    world_close(&w);
    int fd = open_file(&w, "index.db", O_RDWR);
    bool found = false;
    for (off_t at = 4096; !found && pread(fd, page, sizeof(page), at) == sizeof(page); at += 4096) {
        ptrdiff_t i = str_find(str_of(page, sizeof(page)), S("Delivered-To: anna"));
        if (i < 0)
            continue;
        page[i] ^= 1;
        assert_int_equal(pwrite(fd, page, sizeof(page), at), sizeof(page));
        found = true;
    }
    close(fd);
    assert_true(found);
    assert_int_equal(world_check(&w), 1);
    assert_non_null(strstr(w.last_finding, "differs from what the journal says"));
    assert_int_equal(store_rebuild(w.fd, &env_system, world_hear, &w), 0);
    assert_int_equal(world_check(&w), 0);
}

static void test_bad_card(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    const struct record_recipient to = { .address = S("anna@example.org") };
    struct message_record m = { .recipients = &to, .n_recipients = 1, .card = S("not a card") };
    struct buf meta = BUF(4096);
    uint64_t ticket;
    struct log_position at;
    str content = S("x");
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(w.log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    deliver_all(&w, ticket);
    assert_int_equal(w.notes, 0); /* delivered all the same */
    assert_int_equal(count_in(&w, "anna@example.org"), 1);
    buf_done(&meta);
    world_close(&w);
    assert_int_equal(world_check(&w), 1);
    assert_non_null(strstr(w.last_finding, "card"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_wrong),
        cmocka_unit_test(test_message_gone),
        cmocka_unit_test(test_content_flipped),
        cmocka_unit_test(test_index_flipped),
        cmocka_unit_test(test_bad_card),
    };
    return cmocka_run_group_tests_name("store_check", tests, NULL, NULL);
}
