/* The receive log: tickets and durability, segments, full disks, failed syncs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include "base/hash.h"
#include "store/store_test_world.h"
#include "store/syncer.h"

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

static struct log_position append_raw(struct world *w, str content, str meta, uint64_t *out_ticket)
{
    struct log_position at;
    str pieces[2] = { str_first(content, content.n / 3), str_from(content, content.n / 3) };
    assert_int_equal(receive_log_append(w->log, pieces, 2, meta, out_ticket, &at), 0);
    return at;
}

static void test_append(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    uint64_t one, two;
    struct log_position a = append_raw(&w, S("first message"), S("meta"), &one);
    struct log_position b = append_raw(&w, S(""), S("m"), &two);
    assert_true(two == one + 1 && a.offset == SEGMENT_HEADER_SIZE && b.segment == a.segment);
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, two);
    struct log_position p[2];
    assert_int_equal(receive_log_progress(w.log, p, 2), 1);
    assert_int_equal(p[0].segment, a.segment);
    assert_int_equal(p[0].offset, b.offset + RECORD_HEADER_SIZE + 8);
    assert_int_equal(receive_log_progress(w.log, p, 2), 0);
    assert_int_equal(receive_log_state(w.log, p, 2), 1);
    must_hold(&w, a, S("first message"), S("meta"));
    must_hold(&w, b, S(""), S("m"));
    struct receive_log_stats stats;
    receive_log_stats(w.log, &stats);
    assert_int_equal(stats.appended, 2);
    assert_int_equal(stats.synced_batches, 1);
}

static void test_nothing_is_synced_before_flush(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    uint64_t t;
    append_raw(&w, S("staged only"), S("m"), &t);
    usleep(20000);
    assert_true(receive_log_synced(w.log) < t);
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, t);
}

/* Many sizes around the segment size of 64 KiB: all there, in order, numbers rising, segments cut at their end. */
static void test_rolls(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    w.segment_size = 65536;
    world_log(&w);
    static char text[300000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    static const size_t sizes[] = { 10, 60000, 5000, 65536, 65344, 1, 300000, 70000, 40000, 40000, 100 };
    struct log_position at[ARRAY_LEN(sizes)];
    uint64_t t = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        at[i] = append_raw(&w, str_of(text, sizes[i]), S("meta"), &t);
        assert_true(i == 0 || at[i].segment > at[i - 1].segment ||
                    (at[i].segment == at[i - 1].segment && at[i].offset > at[i - 1].offset));
    }
    assert_true(at[10].segment >= at[0].segment + 6);
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, t);
    struct log_position p[32];
    int n = receive_log_progress(w.log, p, 32);
    assert_true(n >= 7);
    assert_int_equal(receive_log_state(w.log, p, 32), n);
    uint64_t last = at[10].segment;
    world_close(&w);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        must_hold(&w, at[i], str_of(text, sizes[i]), S("meta"));
    for (size_t i = 0; i < 7; i++) { /* sealed exactly at the end */
        char path[64];
        struct segment_reader r;
        struct record_header h;
        bool damage;
        nth_segment(&w, "log/in", i, path);
        int fd = open_file(&w, path, O_RDONLY);
        assert_int_equal(segment_reader_open(fd, &r), 0);
        while (segment_reader_next(&r, true, &h, &damage) == 1)
            assert_false(damage);
        assert_int_equal(r.at, r.size);
        close(fd);
    }
    world_log(&w);
    assert_true(receive_log_first_segment(w.log) > last);
}

static void test_numbers_are_not_reused(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    uint64_t before = 0;
    for (int i = 0; i < 5; i++) {
        world_log(&w);
        assert_true(receive_log_first_segment(w.log) > before);
        before = receive_log_first_segment(w.log);
        world_close(&w);
        uint64_t *list;
        size_t n;
        assert_int_equal(segment_list(w.log_fd, &list, &n), 0);
        assert_true(list[n - 1] >= before);
        before = list[n - 1];
        free(list);
    }
}

static int fail_sync(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void test_failed_sync(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    uint64_t good, bad, t;
    append_raw(&w, S("good"), S("m"), &good);
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, good);
    struct log_stream *s;
    assert_int_equal(receive_log_stream_begin(w.log, &s), 0);
    syncer_fdatasync = fail_sync;
    append_raw(&w, S("lost"), S("m"), &bad);
    assert_int_equal(receive_log_flush(w.log), 0);
    struct log_position p, at;
    for (int i = 0; i < 1000 && receive_log_progress(w.log, &p, 1) >= 0; i++)
        usleep(1000);
    syncer_fdatasync = fdatasync; /* works again: it must not be tried again */
    assert_int_equal(receive_log_progress(w.log, &p, 1), -EIO);
    str content = S("later");
    assert_int_equal(receive_log_append(w.log, &content, 1, S("m"), &t, &at), -EIO);
    assert_int_equal(receive_log_flush(w.log), -EIO);
    assert_int_equal(receive_log_stream_finish(s, S("m"), &t, &at), -EIO);
    assert_int_equal(receive_log_stream_begin(w.log, &s), -EIO);
    usleep(20000);
    assert_int_equal(receive_log_synced(w.log), good);
}

static int fill_disk(struct world *w)
{
    static char text[200000];
    str content = str_of(text, sizeof(text));
    uint64_t t = 0, last = 0;
    struct log_position at;
    struct log_stream *s;
    int r = 0;
    for (int i = 0; i < 200 && r == 0; i++) {
        r = receive_log_append(w->log, &content, 1, S("m"), &t, &at);
        last = r == 0 ? t : last;
    }
    if (r != -ENOSPC)
        return 1;
    if (receive_log_flush(w->log) < 0)
        return 2;
    wait_synced(w->log, last); /* what was taken is kept */
    r = receive_log_stream_begin(w->log, &s);
    for (int i = 0; i < 200 && r == 0; i++)
        r = receive_log_stream_write(s, content);
    if (r != -ENOSPC)
        return 3;
    return 0;
}

/* In a process and a mount of its own. */
static int full_disk_child(void)
{
    struct world w;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return 77;
    world_init(&w);
    char path[300];
    world_dir(&w, "x");
    snprintf(path, sizeof(path), "%s/log", w.path);
    if (mount("tmpfs", path, "tmpfs", 0, "size=6m") < 0)
        return 77;
    w.log_fd = world_dir(&w, "in");
    world_log(&w);
    int r = fill_disk(&w);
    receive_log_close(TAKE(w.log));
    close(TAKE_FD(w.log_fd));
    umount2(path, MNT_DETACH);
    world_done(&w);
    return r;
}

static void test_full_disk(void **state)
{
    (void)state;
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_disk_child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip(); /* needs the right to mount */
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_nothing_is_synced_before_flush),
        cmocka_unit_test(test_rolls),
        cmocka_unit_test(test_numbers_are_not_reused),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests_name("receive_log", tests, NULL, NULL);
}
