/* The sync thread: tickets over several files, segments made ahead, giving files up. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_test_world.h"
#include "store/syncer.h"

static struct syncer *start(struct world *w, uint64_t first)
{
    struct syncer *s;
    struct syncer_config c = { .dir_fd = w->fd, .kind = 1, .segment_size = 65536, .first_number = first, .pool = 2,
                               .env = &env_system };
    assert_int_equal(syncer_new(&c, &s), 0);
    return s;
}

static void wait_for(struct syncer *s, uint64_t ticket)
{
    for (int i = 0; i < 10000 && syncer_reached(s) < ticket; i++)
        usleep(500);
    assert_int_equal(syncer_reached(s), ticket);
}

static size_t files(struct world *w, uint64_t *out_highest)
{
    uint64_t *list;
    size_t n;
    assert_int_equal(segment_list(w->fd, &list, &n), 0);
    *out_highest = n ? list[n - 1] : 0;
    free(list);
    return n;
}

static void test_segments_are_ready(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct segment_file *f[5];
    uint64_t highest;
    world_init(&w);
    struct syncer *s = start(&w, 7);
    for (size_t i = 0; i < 5; i++) {
        struct segment_header h;
        char head[SEGMENT_HEADER_SIZE];
        struct stat st;
        assert_int_equal(syncer_take(s, &f[i]), 0);
        assert_int_equal(f[i]->number, 7 + i);
        assert_int_equal(segment_pread(f[i]->fd, head, sizeof(head), 0), sizeof(head));
        assert_int_equal(segment_header_decode(str_of(head, sizeof(head)), &h), 0);
        assert_true(h.number == 7 + i && h.kind == 1);
        assert_memory_equal(h.key, f[i]->key, 16);
        assert_true(i == 0 || memcmp(f[i]->key, f[i - 1]->key, 16) != 0);
        assert_int_equal(fstat(f[i]->fd, &st), 0);
        assert_true(st.st_size == 65536 && st.st_blocks * 512 >= 65536 && (st.st_mode & 0007) == 0);
    }
    syncer_drop(s, f[1]);
    syncer_drop(s, f[4]);
    syncer_free(s);
    assert_true(files(&w, &highest) <= 5);
    assert_true(highest >= 11); /* no number will be given out twice */
}

static void test_tickets(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct segment_file *f[40];
    struct log_position p;
    world_init(&w);
    struct syncer *s = start(&w, 1);
    assert_false(syncer_ready(s, &p));
    for (size_t i = 0; i < ARRAY_LEN(f); i++)
        assert_int_equal(syncer_take(s, &f[i]), 0);
    for (uint64_t round = 1; round <= 20; round++)
        for (size_t i = 0; i < ARRAY_LEN(f); i++)
            syncer_mark(s, f[i], 64 + round * 8, round == 20 && i % 2, (round - 1) * ARRAY_LEN(f) + i + 1);
    wait_for(s, 20 * ARRAY_LEN(f));
    assert_true(syncer_batches(s) >= 1 && syncer_batches(s) <= 20 * ARRAY_LEN(f));
    size_t n = 0, sealed = 0;
    while (syncer_ready(s, &p)) {
        assert_int_equal(p.offset, 64 + 160);
        n++;
    }
    assert_int_equal(n, ARRAY_LEN(f));
    for (n = 0; syncer_state(s, n, &p); n++) {
        char name[32];
        struct stat st;
        segment_name(p.segment, name);
        assert_int_equal(fstatat(w.fd, name, &st, 0), 0);
        sealed += st.st_size == 64 + 160;
    }
    assert_int_equal(n, ARRAY_LEN(f));
    assert_int_equal(sealed, ARRAY_LEN(f) / 2);
    syncer_clear(s);
    syncer_free(s);
    syncer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_are_ready),
        cmocka_unit_test(test_tickets),
    };
    return cmocka_run_group_tests_name("syncer", tests, NULL, NULL);
}
