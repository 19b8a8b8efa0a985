/* Messages too large to hold: bounded memory, the order of tickets, giving up. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/hash.h"
#include "store/store_test_world.h"

/* Reads back the record at that place and compares. */
static void must_hold(struct world *w, struct log_position at, str content, str meta)
{
    char path[64], name[32], head[RECORD_HEADER_SIZE];
    segment_name(at.segment, name);
    snprintf(path, sizeof(path), "log/in/%s", name);
    int fd = open_file(w, path, O_RDONLY);
    struct segment_reader r;
    struct record_header h;
    assert_int_equal(segment_reader_open(fd, &r), 0);
    assert_int_equal(segment_pread(fd, head, sizeof(head), at.offset), sizeof(head));
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), r.header.key, at.offset, &h), 1);
    assert_int_equal(h.content_len, content.n);
    assert_int_equal(h.meta_len, meta.n);
    assert_int_equal(h.content_crc, crc32c(0, content));
    assert_int_equal(segment_record_intact(fd, &h), 1);
    close(fd);
}

static size_t resident(void)
{
    size_t total, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &total, &pages), 2);
    fclose(f);
    return pages * 4096;
}

static void test_stream(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    char piece[10007];
    uint32_t crc = 0;
    uint64_t length = 0, t, before;
    struct log_stream *s;
    struct log_position at, other;
    for (size_t i = 0; i < sizeof(piece); i++)
        piece[i] = (char)(i * 7);
    assert_int_equal(receive_log_stream_begin(w.log, &s), 0);
    size_t memory = resident();
    while (length < 50000000) {
        assert_int_equal(receive_log_stream_write(s, str_of(piece, sizeof(piece))), 0);
        crc = crc32c(crc, str_of(piece, sizeof(piece)));
        length += sizeof(piece);
    }
    assert_true(resident() < memory + (8 << 20));
    str meanwhile = S("meanwhile"); /* staged, with the lower ticket */
    assert_int_equal(receive_log_append(w.log, &meanwhile, 1, S("m"), &before, &other), 0);
    assert_int_equal(receive_log_stream_finish(s, S("meta of it"), &t, &at), 0);
    assert_true(t > before && at.segment != other.segment);
    wait_synced(w.log, t);
    must_hold(&w, other, S("meanwhile"), S("m"));
    char path[64], name[32], head[RECORD_HEADER_SIZE];
    segment_name(at.segment, name);
    snprintf(path, sizeof(path), "log/in/%s", name);
    int fd = open_file(&w, path, O_RDONLY);
    struct segment_reader r;
    struct record_header h;
    assert_int_equal(segment_reader_open(fd, &r), 0);
    assert_int_equal(segment_pread(fd, head, sizeof(head), at.offset), sizeof(head));
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), r.header.key, at.offset, &h), 1);
    assert_int_equal(h.content_len, length);
    assert_int_equal(h.content_crc, crc);
    assert_int_equal(segment_record_intact(fd, &h), 1);
    assert_int_equal(r.size, record_end(&h)); /* the room asked for ahead is given back */
    close(fd);
}

static void test_stream_abort(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    receive_log_stream_abort(NULL);
    for (int i = 0; i < 20; i++) {
        struct log_stream *s;
        assert_int_equal(receive_log_stream_begin(w.log, &s), 0);
        assert_int_equal(receive_log_stream_write(s, S("some content")), 0);
        receive_log_stream_abort(s);
    }
    uint64_t *list;
    size_t n;
    assert_int_equal(segment_list(w.log_fd, &list, &n), 0);
    assert_true(n <= 5);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_abort),
    };
    return cmocka_run_group_tests_name("log_stream", tests, NULL, NULL);
}
