/* The journal: batches, LSNs, what a replay gives, segments, cutting, failed syncs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <poll.h>
#include "store/journal.h"
#include "store/store_test_world.h"
#include "store/syncer.h"

struct heard {
    uint64_t first, last;
    size_t n, bytes, damaged, notes;
};

static int entry(void *arg, const struct journal_entry *e)
{
    struct heard *h = arg;
    h->first = h->n ? h->first : e->lsn;
    h->last = e->lsn;
    h->n++;
    h->bytes += e->payload.n;
    h->damaged += e->damaged;
    return 0;
}

static void note(void *arg, str what)
{
    struct heard *h = arg;
    (void)what;
    h->notes++;
}

static struct journal *open_journal(struct world *w, uint64_t size)
{
    struct journal *j;
    mkdirat(w->fd, "journal", 0700);
    w->log_fd = w->log_fd < 0 ? open_file(w, "journal", O_RDONLY | O_DIRECTORY) : w->log_fd;
    struct journal_config c = { .dir_fd = w->log_fd, .segment_size = size, .env = &env_system };
    assert_int_equal(journal_open(&c, &j), 0);
    return j;
}

static struct heard replay(struct journal *j, uint64_t after, bool repair, struct journal_found *out)
{
    struct heard h = { 0 };
    struct journal_replay how = { .after = after, .repair = repair, .entry = entry, .note = note, .arg = &h };
    assert_int_equal(journal_replay(j, &how, out), 0);
    return h;
}

static void write_batch(struct journal *j, uint64_t from, uint64_t to, size_t size)
{
    static char zeros[100000];
    struct buf frames = BUF(1 << 24);
    for (uint64_t lsn = from; lsn <= to; lsn++)
        journal_frame(&frames, lsn, str_of(zeros, size));
    assert_int_equal(journal_write(j, buf_str(&frames)), 0);
    while (journal_durable(j) < to) {
        struct pollfd p = { .fd = journal_fd(j), .events = POLLIN };
        poll(&p, 1, 1000);
        journal_clear(j);
    }
    buf_done(&frames);
}

static void test_frames(void **state)
{
    (void)state;
    struct buf b = BUF(1 << 16);
    journal_frame(&b, 7, S("seven"));
    journal_frame(&b, UINT64_MAX, S(""));
    str rest = buf_str(&b), payload;
    uint64_t lsn;
    assert_true(journal_frame_next(&rest, &lsn, &payload));
    assert_true(lsn == 7 && str_eq(payload, S("seven")));
    assert_true(journal_frame_next(&rest, &lsn, &payload));
    assert_true(lsn == UINT64_MAX && payload.n == 0);
    assert_false(journal_frame_next(&rest, &lsn, &payload));
    buf_done(&b);
}

static void test_write_and_replay(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct journal_found found;
    world_init(&w);
    uint64_t lsn = 1;
    for (int process = 0; process < 4; process++) {
        struct journal *j = open_journal(&w, 8192);
        struct heard h = replay(j, 0, true, &found);
        assert_int_equal(found.last, lsn - 1);
        assert_int_equal(h.n, lsn - 1);
        assert_int_equal(h.notes, 0);
        assert_false(found.damaged);
        assert_int_equal(journal_start(j), 0);
        for (int i = 0; i < 10; i++, lsn += 3)
            write_batch(j, lsn, lsn + 2, 100 + 700 * (size_t)(i % 3));
        write_batch(j, lsn, lsn, 20000); /* longer than a segment */
        lsn++;
        assert_true(journal_syncs(j) >= 11);
        h = replay(j, lsn - 5, false, &found); /* while it is written */
        assert_int_equal(h.n, 4);
        assert_int_equal(h.last, lsn - 1);
        journal_free(j);
    }
    struct journal *j = open_journal(&w, 8192);
    for (uint64_t after = 0; after < lsn + 3; after += 7) {
        struct heard h = replay(j, after, false, &found);
        assert_int_equal(found.last, lsn - 1);
        assert_int_equal(h.n, after < lsn ? lsn - 1 - after : 0);
        assert_true(h.n == 0 || h.first == after + 1);
        assert_int_equal(h.notes, 0);
    }
    journal_free(j);
}

static void test_missing_segment(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct journal_found found;
    char path[64];
    world_init(&w);
    struct journal *j = open_journal(&w, 4096);
    replay(j, 0, true, &found);
    assert_int_equal(journal_start(j), 0);
    for (uint64_t lsn = 1; lsn < 100; lsn += 2)
        write_batch(j, lsn, lsn + 1, 500);
    journal_free(j);
    nth_segment(&w, "journal", 2, path);
    assert_int_equal(unlinkat(w.fd, path, 0), 0);
    j = open_journal(&w, 4096);
    struct heard h = replay(j, 0, true, &found);
    assert_true(h.n < 100 && h.notes == 1 && h.damaged == 1);
    assert_int_equal(found.last, 100);
    h = replay(j, 90, true, &found); /* what lies before does not matter to whoever has it */
    assert_true(h.n == 10 && h.notes == 0 && h.damaged == 0);
    journal_free(j);
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
    struct journal_found found;
    world_init(&w);
    struct journal *j = open_journal(&w, 65536);
    replay(j, 0, true, &found);
    assert_int_equal(journal_start(j), 0);
    write_batch(j, 1, 3, 10);
    struct buf frames = BUF(4096);
    journal_frame(&frames, 4, S("lost"));
    syncer_fdatasync = fail_sync;
    assert_int_equal(journal_write(j, buf_str(&frames)), 0);
    for (int i = 0; i < 1000 && !journal_failed(j); i++)
        usleep(1000);
    syncer_fdatasync = fdatasync;
    assert_int_equal(journal_failed(j), -EIO);
    assert_int_equal(journal_durable(j), 3);
    assert_int_equal(journal_write(j, buf_str(&frames)), -EIO);
    buf_done(&frames);
    journal_free(j);
}

/* The store on top of it: it stops, and after a restart has what was promised. */
static void test_store_stops(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    deliver_all(&w, append(&w, 1, S("one"), "anna@example.org"));
    uint64_t t = append(&w, 2, S("two"), "anna@example.org");
    assert_int_equal(receive_log_flush(w.log), 0);
    wait_synced(w.log, t);
    struct log_position p;
    assert_int_equal(receive_log_progress(w.log, &p, 1), 1);
    syncer_fdatasync = fail_sync;
    assert_int_equal(store_log_synced(w.store, S("in"), p), 0);
    assert_int_equal(store_flush(w.store), -EIO);
    syncer_fdatasync = fdatasync;
    assert_int_equal(w.placed, 1); /* not told */
    assert_int_equal(store_turn(w.store), -EIO);
    assert_int_equal(store_log_synced(w.store, S("in"), p), -EIO);
    world_close(&w);
    world_log(&w);
    world_store(&w);
    world_attach(&w);
    assert_int_equal(store_flush(w.store), 0);
    assert_int_equal(count_in(&w, "anna@example.org"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_write_and_replay),
        cmocka_unit_test(test_missing_segment),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_store_stops),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
