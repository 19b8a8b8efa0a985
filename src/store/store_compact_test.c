/* Compaction: room comes back, messages stay where readers find them, and kill -9 at any moment changes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include "store/store_test_world.h"

#define MESSAGES 60
#define KILLS 12

static char text[9000];

static str content_for(uint32_t number)
{
    return str_of(text + number, 5000 + number * 37 % 3000);
}

/* Small segments full of messages, sealed by a restart. */
static void fill(struct world *w)
{
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('!' + i * 31 % 90);
    world_init(w);
    w->segment_size = 65536;
    world_begin(w);
    uint64_t ticket = 0;
    for (uint32_t i = 0; i < MESSAGES; i++)
        ticket = append(w, i, content_for(i), i % 5 ? "anna@example.org" : "both@example.org");
    deliver_all(w, ticket);
}

static void expunge(struct world *w, const char *account, bool (*which)(uint32_t number))
{
    struct store_mailbox box;
    struct snapshot s;
    struct mailbox_entry e;
    uint32_t uids[2 * MESSAGES];
    size_t n = 0;
    uint64_t ticket;
    open_snapshot(w, account, &s);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        if (which(e.number))
            uids[n++] = e.uid;
    }
    snapshot_close(&s);
    assert_int_equal(store_mailbox(w->store, str_z(account), S("INBOX"), &box), 0);
    assert_int_equal(store_expunge(w->store, box.id, uids, n, &ticket), 0);
    assert_int_equal(store_flush(w->store), 0);
}

static bool most(uint32_t number) { return number % 4 != 0; }
static bool every(uint32_t number) { (void)number; return true; }
static bool kept(uint32_t number) { return number % 4 == 0; }

static void run_steps(struct world *w, uint64_t oldest_reader)
{
    int r = 1;
    while (r == 1) {
        r = store_compact_step(w->store, oldest_reader);
        assert_true(r >= 0);
        assert_int_equal(store_turn(w->store), 0);
        usleep(200);
    }
}

static void compact(struct world *w, bool now, uint64_t retention_us, uint64_t oldest_reader)
{
    assert_int_equal(store_compact(w->store, now, retention_us), 0);
    run_steps(w, oldest_reader);
}

static uint64_t room(struct world *w, const char *folder)
{
    struct stat st;
    uint64_t sum = 0, *list;
    size_t n;
    int dir = open_file(w, folder, O_RDONLY | O_DIRECTORY);
    assert_int_equal(segment_list(dir, &list, &n), 0);
    for (size_t i = 0; i + 3 < n || (strstr(folder, "store") && i < n); i++) { /* the newest are made ready ahead */
        char name[32];
        segment_name(list[i], name);
        assert_int_equal(fstatat(dir, name, &st, 0), 0);
        sum += (uint64_t)st.st_blocks * 512;
    }
    free(list);
    close(dir);
    return sum;
}

/* The kept messages and no others, each byte for byte. */
static void look(struct world *w, const char *account, bool (*which)(uint32_t number), uint32_t modulus)
{
    struct snapshot s;
    struct mailbox_entry e;
    uint64_t wanted = 0;
    for (uint32_t i = 0; i < MESSAGES; i++)
        if (which(i) && i % modulus == 0)
            wanted |= 1ull << i;
    assert_int_equal(numbers_in(w, account), wanted);
    open_snapshot(w, account, &s);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_true(str_eq(content_of(w, &e), content_for(e.number)));
    }
    snapshot_close(&s);
}

static void restart(struct world *w)
{
    world_close(w);
    world_begin(w);
}

static bool rebuilt_says_the_same(struct world *w)
{
    world_close(w);
    int findings = world_check(w);
    int r = store_rebuild(w->fd, &env_system, world_hear, w);
    findings += world_check(w);
    world_begin(w);
    return r == 0 && findings == 0;
}

static void test_room_comes_back(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    fill(&w);
    uint64_t before = room(&w, "log/in");
    expunge(&w, "anna@example.org", most);
    expunge(&w, "bob@example.org", most);
    compact(&w, true, 0, UINT64_MAX);
    struct store_compaction c;
    store_compaction(w.store, &c);
    assert_true(c.moved >= 12 && c.removed > 0 && c.pending == 0 && c.passes == 1);
    assert_true(room(&w, "log/in") + room(&w, "log/store") < before / 2);
    look(&w, "anna@example.org", kept, 1);
    look(&w, "bob@example.org", kept, 5);
    restart(&w);
    look(&w, "anna@example.org", kept, 1);
    assert_true(rebuilt_says_the_same(&w));
    look(&w, "anna@example.org", kept, 1);
    look(&w, "bob@example.org", kept, 5);
    /* what was moved can be moved again, and goes when nobody has it */
    expunge(&w, "anna@example.org", every);
    expunge(&w, "bob@example.org", every);
    compact(&w, true, 0, UINT64_MAX);
    assert_int_equal(room(&w, "log/store"), 0);
    uint64_t ticket = append(&w, 3, content_for(3), "anna@example.org");
    deliver_all(&w, ticket);
    assert_int_equal(numbers_in(&w, "anna@example.org"), 8);
    assert_true(rebuilt_says_the_same(&w));
    assert_int_equal(w.notes, 0);
}

static void test_retention(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_compaction c;
    fill(&w);
    expunge(&w, "anna@example.org", every);
    expunge(&w, "bob@example.org", every);
    uint64_t before = room(&w, "log/in");
    compact(&w, false, 3600000000ull, UINT64_MAX);
    assert_int_equal(room(&w, "log/in"), before);
    usleep(2000);
    compact(&w, false, 1000, UINT64_MAX);
    store_compaction(w.store, &c);
    assert_true(c.removed > 0 && room(&w, "log/in") < before);
}

static void test_little_is_dead(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_compaction c;
    fill(&w);
    expunge(&w, "anna@example.org", kept); /* a quarter, of which bob has some */
    compact(&w, true, 0, UINT64_MAX);
    store_compaction(w.store, &c);
    assert_int_equal(c.moved + c.removed, 0);
}

static void test_readers_and_backups_wait(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct snapshot old;
    struct mailbox_entry e;
    struct store_compaction c;
    int hold;
    fill(&w);
    open_snapshot(&w, "anna@example.org", &old);
    uint64_t opened = store_durable(w.store);
    expunge(&w, "anna@example.org", most);
    expunge(&w, "bob@example.org", most);
    compact(&w, true, 0, opened);
    store_compaction(w.store, &c);
    assert_true(c.moved > 0 && c.removed == 0 && c.pending > 0);
    for (size_t i = 0; i < old.n; i++) { /* an open session reads where things were */
        assert_int_equal(snapshot_entry(&old, i, &e), 0);
        assert_true(str_eq(content_of(&w, &e), content_for(e.number)));
    }
    snapshot_close(&old);
    assert_int_equal(store_hold_compaction(w.fd, &hold), 0);
    run_steps(&w, UINT64_MAX);
    store_compaction(w.store, &c);
    assert_int_equal(c.removed, 0);
    close(hold);
    run_steps(&w, UINT64_MAX);
    store_compaction(w.store, &c);
    assert_true(c.removed > 0 && c.pending == 0);
    look(&w, "anna@example.org", kept, 1);
}

/* A segment with a message that no mailbox got stays. */
static void test_unplaced_is_kept(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_compaction c;
    fill(&w);
    for (uint32_t i = 0; i < 12; i++)
        append(&w, 40 + i % 20, content_for(i), "nobody@gone.example");
    uint64_t ticket = append(&w, 63, content_for(1), "anna@example.org");
    deliver_all(&w, ticket);
    restart(&w);
    expunge(&w, "anna@example.org", every);
    expunge(&w, "bob@example.org", every);
    compact(&w, true, 0, UINT64_MAX);
    store_compaction(w.store, &c);
    assert_true(c.removed > 0);
    w.findings = 0;
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
    struct record_header h;
    char path[64];
    nth_segment(&w, "log/in", 0, path); /* the first that is left holds them */
    h = nth_record(&w, path, 0);
    assert_true(h.content_len > 0);
    world_begin(&w);
}

static void child(struct world *w)
{
    world_begin(w);
    compact(w, true, 0, UINT64_MAX);
    for (;;)
        pause();
}

static void test_kill(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    fill(&w);
    expunge(&w, "anna@example.org", most);
    expunge(&w, "bob@example.org", most);
    world_close(&w);
    unsigned seed = 7;
    for (int round = 0; round < KILLS; round++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            child(&w);
        usleep((unsigned)rand_r(&seed) % 40000);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(world_check(&w), 0);
        world_begin(&w);
        look(&w, "anna@example.org", kept, 1);
        look(&w, "bob@example.org", kept, 5);
        if (round % 4 == 3) /* else a finished one leaves nothing to do */
            assert_true(rebuilt_says_the_same(&w));
        world_close(&w);
    }
    world_begin(&w);
    compact(&w, true, 0, UINT64_MAX);
    look(&w, "anna@example.org", kept, 1);
    assert_int_equal(w.notes, 0);
}

/* A store that comes from a backup gives out no UID twice. */
static void test_restored(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    struct store_mailbox before, after;
    fill(&w);
    assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &before), 0);
    world_close(&w);
    close(openat(w.fd, "restored", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    world_begin(&w);
    assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &after), 0);
    assert_int_equal(after.uidnext, before.uidnext + (1u << 20));
    assert_int_equal(after.uidvalidity, before.uidvalidity);
    restart(&w);
    assert_int_equal(store_mailbox(w.store, S("anna@example.org"), S("INBOX"), &after), 0);
    assert_int_equal(after.uidnext, before.uidnext + (1u << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_comes_back),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_little_is_dead),
        cmocka_unit_test(test_readers_and_backups_wait),
        cmocka_unit_test(test_unplaced_is_kept),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_restored),
    };
    return cmocka_run_group_tests_name("store_compact", tests, NULL, NULL);
}
