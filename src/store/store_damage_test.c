/* What the store makes of damaged files: nothing acknowledged is lost, what can be served is served, and it is said. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"
#include "store/store_test_world.h"

static void begin(struct world *w)
{
    world_log(w);
    world_store(w);
    world_attach(w);
    assert_int_equal(store_flush(w->store), 0);
}

static int findings;
static void hear(void *arg, bool finding, str sentence)
{
    findings += finding;
    if (finding)
        snprintf(arg, 512, "%.*s", STR_ARG(sentence));
    if (getenv("STORE_TEST_NOTES"))
        fprintf(stderr, "%s: %.*s\n", finding ? "FINDING" : "check", STR_ARG(sentence));
}

static int check(struct world *w)
{
    findings = 0;
    int r = store_check(w->fd, &env_system, hear, w->last_note);
    assert_int_equal(r, findings);
    return r;
}

/* Numbers of the messages in an account's INBOX, each once and UIDs rising: as a bit set. */
static uint64_t numbers_in(struct world *w, const char *account)
{
    struct snapshot s;
    struct snapshot_entry e;
    uint64_t set = 0;
    uint32_t uid = 0;
    open_snapshot(w, account, &s);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_true(e.uid > uid && e.uid < s.uidnext && e.number < 64);
        assert_false(set >> e.number & 1);
        uid = e.uid;
        set |= 1ull << e.number;
    }
    snapshot_close(&s);
    return set;
}

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
            begin(&w);
            assert_int_equal(numbers_in(&w, "anna@example.org"), cut < length ? 15 : 31);
            assert_int_equal(w.notes, 0);
            deliver_all(&w, append(&w, 9, S("x"), "anna@example.org"));
            assert_int_equal(numbers_in(&w, "anna@example.org"), (cut < length ? 15 : 31) | 1 << 9);
            world_close(&w);
            assert_int_equal(check(&w), 0);
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
        begin(&w);
        assert_int_equal(numbers_in(&w, "anna@example.org"), 31 & ~4);
        assert_int_equal(w.notes, 1);
        assert_non_null(strstr(w.last_note, "passed over"));
        /* neither told nor delivered again */
        world_close(&w);
        begin(&w);
        assert_int_equal(numbers_in(&w, "anna@example.org"), 31 & ~4);
        assert_int_equal(w.notes, 1);
        world_close(&w);
        assert_int_equal(check(&w), 1);
    }
}

/* The same while the server runs: header and meta are checked, the content later. */
static void test_flip_while_running(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    begin(&w);
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
    begin(&w);
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

/* Twenty messages delivered, everything closed. Then the journal loses a record. */
static void delivered(struct world *w)
{
    begin(w);
    for (uint32_t i = 0; i < 20; i++)
        deliver_all(w, append(w, i, S("content\r\n"), i % 4 ? "anna@example.org" : "both@example.org"));
    world_close(w);
}

static void expect_all(struct world *w)
{
    assert_int_equal(store_turn(w->store), 0); /* gaps are filled when the store is idle */
    assert_int_equal(store_flush(w->store), 0);
    assert_int_equal(numbers_in(w, "anna@example.org"), (1 << 20) - 1);
    assert_int_equal(numbers_in(w, "bob@example.org"), 0x11111);
}

static void test_journal_flip(void **state)
{
    (void)state;
    static const size_t records[] = { 0, 1, 2, 3, 10, 19, 21 }; /* 0, 1: the mailboxes' creation */
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        _cleanup_world_ struct world w;
        char path[64];
        struct store_mailbox box, was;
        world_init(&w);
        delivered(&w);
        nth_segment(&w, "journal", 0, path);
        struct record_header h = nth_record(&w, path, records[i]);
        flip(&w, path, h.offset + RECORD_HEADER_SIZE + 9);
        assert_true(check(&w) > 0);
        /* with its index the store does not even need that record */
        begin(&w);
        expect_all(&w);
        assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &was), 0);
        world_close(&w);
        /* without, it delivers again what the journal lost, with UIDs that nobody had */
        assert_int_equal(index_discard(w.fd), 0);
        w.notes = 0;
        begin(&w);
        assert_true(w.notes > 0);
        expect_all(&w);
        assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &box), 0);
        assert_true(box.uidnext > 1 << 20 || box.uidvalidity > was.uidvalidity);
        assert_true(w.notes <= 10); /* one a gap, not one a message */
        world_close(&w);
        /* and from then on it is as any other */
        assert_int_equal(index_discard(w.fd), 0);
        begin(&w);
        expect_all(&w);
        uint32_t uidnext = box.uidnext;
        assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &box), 0);
        assert_int_equal(box.uidnext, uidnext);
        world_close(&w);
    }
}

static void test_journal_end_lost(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    delivered(&w);
    nth_segment(&w, "journal", 0, path);
    struct record_header h = nth_record(&w, path, 15);
    int fd = open_file(&w, path, O_WRONLY);
    assert_int_equal(ftruncate(fd, (off_t)h.offset + 20), 0);
    close(fd);
    assert_true(check(&w) > 0);
    begin(&w);
    assert_non_null(strstr(w.last_note, "UIDNEXT"));
    expect_all(&w);
    world_close(&w);
    assert_int_equal(check(&w), 0);
}

static void test_journal_tail_unfinished(void **state)
{
    (void)state;
    for (uint64_t cut = 0; cut < 250; cut += 31) {
        _cleanup_world_ struct world w;
        char path[64], zeros[4096] = { 0 };
        world_init(&w);
        begin(&w);
        deliver_all(&w, append(&w, 0, S("content\r\n"), "anna@example.org"));
        world_close(&w);
        /* a second record that the index never saw: written by hand into what looks like preallocated room */
        nth_segment(&w, "journal", 0, path);
        struct record_header h = nth_record(&w, path, 1);
        char record[4096];
        uint64_t length = record_end(&h) - h.offset;
        int fd = open_file(&w, path, O_RDWR);
        assert_int_equal(segment_pread(fd, record, length, h.offset), length);
        record[0] ^= 1;
        assert_int_equal(segment_pwrite(fd, str_of(record, MIN(cut, length)), record_end(&h)), 0);
        assert_int_equal(segment_pwrite(fd, str_of(zeros, sizeof(zeros)), record_end(&h) + MIN(cut, length)), 0);
        close(fd);
        begin(&w);
        assert_int_equal(w.notes, 0);
        deliver_all(&w, append(&w, 1, S("content\r\n"), "anna@example.org"));
        assert_int_equal(numbers_in(&w, "anna@example.org"), 3);
        world_close(&w);
        assert_int_equal(check(&w), 0);
    }
}

static void test_journal_gone(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    delivered(&w);
    for (;;) { /* all of it */
        nth_segment(&w, "journal", 0, path);
        struct stat st;
        assert_int_equal(unlinkat(w.fd, path, 0), 0);
        uint64_t *list;
        size_t n;
        int dir = open_file(&w, "journal", O_RDONLY | O_DIRECTORY);
        assert_int_equal(segment_list(dir, &list, &n), 0);
        close(dir);
        free(list);
        if (n < 2)
            break;
        assert_int_equal(fstatat(w.fd, "journal", &st, 0), 0);
    }
    begin(&w);
    expect_all(&w);
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
    begin(&w);
    assert_int_equal(w.notes, 1);
    struct stat st;
    assert_int_equal(fstatat(w.fd, path, &st, 0), 0); /* kept */
    world_close(&w);
    assert_int_equal(check(&w), 1);
}

static void test_message_gone(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    world_init(&w);
    delivered(&w);
    nth_segment(&w, "log/in", 0, path);
    assert_int_equal(unlinkat(w.fd, path, 0), 0);
    assert_int_equal(check(&w), 25); /* each placement of it */
    begin(&w);
    int fd;
    assert_int_equal(store_segment_open(w.store, S("in"), 1, &fd), -ENOENT);
    assert_int_equal(store_segment_open(w.store, S("../journal"), 1, &fd), -ENOENT);
}

/* Pages of the index go bad while it is open and in use. */
static void test_index_goes_bad(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    begin(&w);
    for (uint32_t i = 0; i < 60; i++)
        deliver_all(&w, append(&w, i, S("content\r\n"), "anna@example.org"));
    world_close(&w);
    struct stat st;
    char junk[4096];
    memset(junk, 0x5a, sizeof(junk));
    assert_int_equal(fstatat(w.fd, "index.db", &st, 0), 0);
    for (off_t at = 4 * 4096; at < st.st_size; at += 4096) { /* the front, with the schema, stays good */
        int fd = open_file(&w, "index.db", O_RDWR);
        assert_int_equal(pwrite(fd, junk, 4096, at), 4096);
        close(fd);
        begin(&w);
        deliver_all(&w, append(&w, 60, S("content\r\n"), "carl@example.org"));
        assert_int_equal(numbers_in(&w, "anna@example.org"), (1ull << 60) - 1);
        world_close(&w);
    }
    assert_true(w.notes > 0);
    assert_int_equal(check(&w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unfinished_tail),
        cmocka_unit_test(test_flip_before_delivery),
        cmocka_unit_test(test_flip_while_running),
        cmocka_unit_test(test_imitation),
        cmocka_unit_test(test_journal_flip),
        cmocka_unit_test(test_journal_end_lost),
        cmocka_unit_test(test_journal_tail_unfinished),
        cmocka_unit_test(test_journal_gone),
        cmocka_unit_test(test_header_of_segment),
        cmocka_unit_test(test_message_gone),
        cmocka_unit_test(test_index_goes_bad),
    };
    return cmocka_run_group_tests_name("store_damage", tests, NULL, NULL);
}
