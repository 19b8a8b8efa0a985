/* Reading receive logs that are damaged or unfinished: what is whole is delivered, once, and the rest is said. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_test_world.h"

/* Five messages to anna appended and synced; the store has not heard of them. */
static void five_unheard(struct world *w)
{
    world_log(w);
    uint64_t t = 0;
    for (uint32_t i = 0; i < 5; i++)
        t = append(w, i, S("content that is some bytes long\r\n"), "anna@example.org");
    assert_int_equal(receive_log_flush(w->log), 0);
    wait_synced(w->log, t);
}

/* As after kill -9: the file keeps its preallocated zeros. */
static void copy_unsealed(struct world *w, char path[64])
{
    static char bytes[1 << 20];
    nth_segment(w, "log/in", 0, path);
    int fd = open_file(w, path, O_RDONLY);
    ssize_t n = segment_pread(fd, bytes, sizeof(bytes), 0);
    close(fd);
    receive_log_close(TAKE(w->log));
    fd = open_file(w, path, O_WRONLY);
    assert_int_equal(segment_pwrite(fd, str_of(bytes, (size_t)n), 0), 0);
    close(fd);
}

static void test_unfinished_tail(void **state)
{
    (void)state;
    for (uint64_t cut = 0; cut < 300; cut += 29) {
        for (int garbage = 0; garbage < 2; garbage++) {
            _cleanup_world_ struct world w;
            char path[64], junk[512];
            world_init(&w);
            five_unheard(&w);
            copy_unsealed(&w, path);
            struct record_header last = nth_record(&w, path, 4);
            uint64_t length = record_end(&last) - last.offset;
            memset(junk, garbage ? 0x99 : 0, sizeof(junk));
            int fd = open_file(&w, path, O_WRONLY);
            if (cut < length)
                assert_int_equal(segment_pwrite(fd, str_of(junk, length - cut), last.offset + cut), 0);
            close(fd);
            world_begin(&w);
            assert_int_equal(numbers_in(&w, "anna@example.org"), cut < length ? 15 : 31);
            assert_int_equal(w.notes, 0);
            deliver_all(&w, append(&w, 9, S("x"), "anna@example.org"));
            assert_int_equal(numbers_in(&w, "anna@example.org"), (cut < length ? 15 : 31) | 1 << 9);
            world_close(&w);
            assert_int_equal(world_check(&w), 0);
        }
    }
}

static void test_flip_before_delivery(void **state)
{
    (void)state;
    static const uint64_t places[] = { 3, 20, 60, 70, 110, 140 }; /* header, content, meta */
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        _cleanup_world_ struct world w;
        char path[64];
        world_init(&w);
        five_unheard(&w);
        receive_log_close(TAKE(w.log));
        nth_segment(&w, "log/in", 0, path);
        struct record_header h = nth_record(&w, path, 2);
        flip(&w, path, h.offset + places[i]);
        world_begin(&w);
        assert_int_equal(numbers_in(&w, "anna@example.org"), 31 & ~4);
        assert_int_equal(w.notes, 1);
        assert_non_null(strstr(w.last_note, "passed over"));
        /* neither told nor delivered again */
        world_close(&w);
        world_begin(&w);
        assert_int_equal(numbers_in(&w, "anna@example.org"), 31 & ~4);
        assert_int_equal(w.notes, 1);
        world_close(&w);
        assert_int_equal(world_check(&w), 1);
    }
}

/* The same while the server runs: header and meta are checked, the content later. */
static void test_flip_while_running(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    world_begin(&w);
    uint64_t t = 0;
    for (uint32_t i = 0; i < 5; i++)
        t = append(&w, i, S("content that is some bytes long\r\n"), "anna@example.org");
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, t);
    nth_segment(&w, "log/in", 0, path);
    struct record_header h1 = nth_record(&w, path, 1), h3 = nth_record(&w, path, 3);
    flip(&w, path, h1.offset + 20);
    flip(&w, path, h3.offset + RECORD_HEADER_SIZE + h3.content_len + 30);
    pass_on(&w);
    assert_int_equal(numbers_in(&w, "anna@example.org"), 1 | 4 | 16);
    assert_int_equal(w.notes, 2);
    deliver_all(&w, append(&w, 5, S("x"), "anna@example.org"));
    assert_int_equal(numbers_in(&w, "anna@example.org"), 1 | 4 | 16 | 32);
}

/* A mail that holds copies of real record headers, next to real damage. */
static void test_imitation(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64], evil[4096];
    world_init(&w);
    world_begin(&w);
    uint64_t t = append(&w, 0, S("innocent"), "anna@example.org");
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, t);
    nth_segment(&w, "log/in", 0, path);
    int fd = open_file(&w, path, O_RDONLY);
    for (size_t at = 0; at < sizeof(evil); at += 256)
        assert_int_equal(segment_pread(fd, evil + at, 256, at % 512 ? 0 : SEGMENT_HEADER_SIZE), 256);
    close(fd);
    append(&w, 1, str_of(evil, sizeof(evil)), "anna@example.org");
    t = append(&w, 2, S("after"), "anna@example.org");
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, t);
    struct record_header h = nth_record(&w, path, 1);
    flip(&w, path, h.offset + 17);
    pass_on(&w);
    assert_int_equal(numbers_in(&w, "anna@example.org"), 5);
    assert_int_equal(w.notes, 1);
}

static void test_header_of_segment(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    five_unheard(&w);
    receive_log_close(TAKE(w.log));
    nth_segment(&w, "log/in", 0, path);
    flip(&w, path, 30);
    world_begin(&w);
    assert_int_equal(w.notes, 1);
    struct stat st;
    assert_int_equal(fstatat(w.fd, path, &st, 0), 0); /* kept */
    world_close(&w);
    assert_int_equal(world_check(&w), 1);
}

static void test_two_logs(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    assert_int_equal(store_log_attach(w.store, S("../in"), 1), -EBADMSG);
    assert_int_equal(store_log_attach(w.store, S("second"), 1), 0);
    deliver_all(&w, append(&w, 1, S("one"), "anna@example.org"));
    struct receive_log *first = TAKE(w.log);
    int first_fd = w.log_fd;
    w.log_fd = world_dir(&w, "second");
    world_log(&w);
    assert_int_equal(store_log_attach(w.store, S("second"), receive_log_first_segment(w.log)), 0);
    uint64_t ticket = append(&w, 2, S("two"), "anna@example.org");
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, ticket);
    struct log_position p;
    assert_int_equal(receive_log_progress(w.log, &p, 1), 1);
    assert_int_equal(store_log_synced(w.store, S("unknown"), p), 0);
    assert_int_equal(store_log_synced(w.store, S("second"), (struct log_position){ p.segment + 999, 64 }), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(store_log_synced(w.store, S("second"), p), 0);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(count_in(&w, "anna@example.org"), 2);
    receive_log_close(first);
    close(first_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unfinished_tail),
        cmocka_unit_test(test_flip_before_delivery),
        cmocka_unit_test(test_flip_while_running),
        cmocka_unit_test(test_imitation),
        cmocka_unit_test(test_header_of_segment),
        cmocka_unit_test(test_two_logs),
    };
    return cmocka_run_group_tests_name("store_log", tests, NULL, NULL);
}
