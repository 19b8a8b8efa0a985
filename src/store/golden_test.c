/* Data folders that earlier programs wrote (tests/golden, made by tests/golden/make.sh): today's store reads each
 * without an index, finds every message where it was, and goes on writing where they ended. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <inttypes.h>
#include "base/hash.h"
#include "message/card.h"
#include "store/queue_query.h"
#include "store/store_queue.h"
#include "store/store_test_world.h"

static const char *golden_folder(void)
{
    const char *folder = getenv("GOLDEN");
    return folder ? folder : "tests/golden";
}

static void copy_file(const char *from, int to_dir, const char *name)
{
    static char text[1 << 20];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    ssize_t n = read(in, text, sizeof(text));
    assert_in_range(n, 1, sizeof(text) - 1);
    assert_int_equal(write(out, text, (size_t)n), n);
    close(in);
    close(out);
}

static void copy_folder(struct world *w, const char *version, const char *folder)
{
    char from[512], path[1024];
    snprintf(from, sizeof(from), "%s/%s/%s", golden_folder(), version, folder);
    assert_int_equal(mkdirat(w->fd, folder, 0700), 0);
    int to = open_file(w, folder, O_RDONLY | O_DIRECTORY);
    DIR *d = opendir(from);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", from, e->d_name);
        copy_file(path, to, e->d_name);
    }
    closedir(d);
    close(to);
}

static void copy_golden(struct world *w, const char *version)
{
    assert_int_equal(mkdirat(w->fd, "log", 0700), 0);
    copy_folder(w, version, "log/smtp-in");
    copy_folder(w, version, "journal");
}

/* CRC of a message as its reader gets it: the lines of the placement, then the content. */
static uint32_t crc_of(struct world *w, const struct mailbox_entry *e)
{
    return crc32c(crc32c(0, e->prefix), content_of(w, e));
}

/* Compares entry `i` with its row of expected.txt. */
static void compare_message(struct world *w, const struct snapshot *box, size_t i, const char *row)
{
    uint32_t uid, crc, number;
    uint64_t size, received;
    char session[40], hex[40];
    struct mailbox_entry e;
    assert_int_equal(sscanf(row, "message %" SCNu32 " %" SCNu64 " %" SCNx32 " %32s %" SCNu32 " %" SCNu64, &uid, &size,
                            &crc, session, &number, &received), 6);
    assert_int_equal(snapshot_entry(box, i, &e), 0);
    assert_int_equal(e.uid, uid);
    assert_int_equal(e.size, size);
    assert_int_equal(crc_of(w, &e), crc);
    assert_int_equal(e.number, number);
    assert_int_equal(e.date_s, received / 1000000);
    for (size_t k = 0; k < sizeof(e.session); k++)
        snprintf(hex + 2 * k, 3, "%02x", e.session[k]);
    assert_string_equal(hex, session);
}

struct expected {
    unsigned mailboxes, messages, queued;
    bool grown; /* each mailbox has since got one more message, which is not in the list */
};

/* Opens the mailbox of a row and checks its numbers; returns how many messages the list has of it. */
static size_t compare_mailbox(struct world *w, const struct expected *x, const char *row, struct snapshot *box)
{
    char account[100], name[100];
    uint32_t validity, uidnext;
    size_t n;
    struct store_mailbox m;
    int fd = -1;
    assert_int_equal(sscanf(row, "mailbox %99s %99s %" SCNu32 " %" SCNu32 " %zu", account, name, &validity, &uidnext,
                            &n), 5);
    assert_int_equal(store_mailbox(w->store, str_z(account), str_z(name), &m), 0);
    assert_int_equal(m.uidvalidity, validity);
    assert_int_equal(m.uidnext, uidnext + x->grown);
    assert_int_equal(store_snapshot(w->store, m.id, &fd), 0);
    assert_int_equal(snapshot_open(fd, box), 0);
    assert_int_equal(box->uidvalidity, validity);
    assert_int_equal(box->uidnext, uidnext + x->grown);
    assert_int_equal(box->n, n + x->grown);
    if (x->grown) {
        struct mailbox_entry e;
        assert_int_equal(snapshot_entry(box, n, &e), 0);
        assert_int_equal(e.uid, uidnext);
    }
    return n;
}

/* A row about the queue: a recipient that waits, as the store lists it. */
static void compare_queued(struct world *w, const char *row)
{
    char recipient[100], state[20], outcome[20], mechanism[100] = "", want[300];
    unsigned attempts;
    struct buf out = BUF(QUEUE_ANSWER_MAX);
    bool ok;
    assert_in_range(sscanf(row, "queue %99s %19s %19s %u %99s", recipient, state, outcome, &attempts, mechanism), 4, 5);
    assert_int_equal(store_queue_configure(w->store, w->conf), 0);
    assert_int_equal(queue_query(w->store, S("do=list"), &out, &ok), 0);
    snprintf(want, sizeof(want), "\"recipient\":\"%s\",", recipient);
    ssize_t at = str_find(buf_str(&out), str_z(want));
    assert_true(at >= 0);
    str line = str_from(buf_str(&out), (size_t)at);
    ssize_t end = str_chr(line, '\n');
    assert_true(end > 0);
    line = str_first(line, (size_t)end);
    snprintf(want, sizeof(want), "\"state\":\"%s\",\"outcome\":\"%s\",\"attempts\":%u,", state, outcome, attempts);
    assert_true(str_find(line, str_z(want)) > 0);
    snprintf(want, sizeof(want), "\"mechanism\":\"%s\",", mechanism);
    assert_true((str_find(line, *mechanism ? str_z(want) : S("\"mechanism\"")) > 0) == (*mechanism != 0));
    buf_done(&out);
}

/* Every row of expected.txt holds. */
static void compare_all(struct world *w, const char *version, struct expected *x)
{
    char path[512], row[512];
    struct snapshot box = { 0 };
    size_t left = 0, at = 0;
    snprintf(path, sizeof(path), "%s/%s/expected.txt", golden_folder(), version);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    x->mailboxes = x->messages = x->queued = 0;
    while (fgets(row, sizeof(row), f)) {
        if (row[0] == '#')
            continue;
        if (str_starts(str_z(row), S("queue "))) {
            compare_queued(w, row);
            x->queued++;
            continue;
        }
        if (str_starts(str_z(row), S("message "))) {
            assert_true(left > 0);
            compare_message(w, &box, at++, row);
            left--;
            x->messages++;
            continue;
        }
        assert_int_equal(left, 0);
        snapshot_close(&box);
        left = compare_mailbox(w, x, row, &box);
        at = 0;
        x->mailboxes++;
    }
    assert_int_equal(left, 0);
    snapshot_close(&box);
    fclose(f);
}

static void compare_stats(struct world *w, const struct expected *x)
{
    struct store_stats s;
    store_stats(w->store, &s); /* nothing was created by asking */
    assert_int_equal(s.mailboxes, x->mailboxes);
    assert_int_equal(s.messages, x->messages);
}

/* anna is the postmaster of the test configuration */
static const char golden_accounts[] = "anna@example.org\nalice@example.org\nbob@example.org\ncarol@example.org\n";

/* From v4 on every message has a card with the texts of its header; returns their number. */
static unsigned compare_cards(struct world *w, const char *account)
{
    _cleanup_buf_ struct buf b = BUF(CARD_MAX);
    struct arena a = ARENA(16 * CARD_MAX);
    struct snapshot box;
    struct mailbox_entry e;
    struct card c;
    open_snapshot(w, account, &box);
    unsigned n = (unsigned)box.n - 1; /* the newest is this program's */
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(snapshot_entry(&box, i, &e), 0);
        buf_clear(&b);
        assert_int_equal(store_card(w->store, e.log, e.position, &b), 1);
        assert_int_equal(card_decode(&a, buf_str(&b), &c), 0);
        assert_int_equal(c.size, e.content_len);
        assert_false(c.minimal || c.limited);
        assert_true(c.text.present);
    }
    snapshot_close(&box);
    arena_done(&a);
    return n;
}

static void check_version(const char *version, unsigned messages, unsigned queued, bool cards)
{
    _cleanup_world_ struct world w;
    struct expected x = { 0 };
    struct store_stats before, after;
    world_init(&w);
    test_directory(&w, golden_accounts, "all@example.org: alice@example.org, bob@example.org, carol@example.org\n");
    copy_golden(&w, version);
    assert_int_equal(world_check(&w), 0);
    unlinkat(w.fd, "index.db", 0);

    world_store(&w);
    compare_all(&w, version, &x);
    assert_int_equal(x.mailboxes, 3);
    assert_int_equal(x.messages, messages);
    assert_int_equal(x.queued, queued);
    compare_stats(&w, &x);

    /* the old log is read to its end and brings nothing anew */
    store_stats(w.store, &before);
    assert_int_equal(store_log_attach(w.store, S("smtp-in"), 1000), 0);
    assert_int_equal(store_flush(w.store), 0);
    store_stats(w.store, &after);
    assert_int_equal(after.placed, before.placed);
    compare_all(&w, version, &x);

    /* and the store goes on: new UIDs follow the old ones, the expunged one too */
    world_log(&w);
    world_attach(&w);
    deliver_all(&w, append(&w, 1, S("new\r\n"), "all@example.org"));
    x.grown = true;
    compare_all(&w, version, &x);
    world_close(&w);
    assert_int_equal(world_check(&w), 0);
    unlinkat(w.fd, "index.db", 0);
    world_store(&w);
    compare_all(&w, version, &x);
    if (cards)
        assert_int_equal(compare_cards(&w, "alice@example.org") + compare_cards(&w, "bob@example.org"), messages);
}

static void v1_is_read(void **state)
{
    (void)state;
    check_version("v1", 5, 0, false);
}

/* With a queue: sent, failed and told, waiting, held and redirected, a destination that is paused. */
static void v2_is_read(void **state)
{
    (void)state;
    check_version("v2", 6, 2, false);
}

/* Recipients of mechanisms wait too; one message came by the drop for the mailbox alone. */
static void v4_is_read(void **state)
{
    (void)state;
    check_version("v4", 7, 4, true);
}

/* One octet of a golden message changed: the comparison above notices. */
static void a_changed_octet_is_noticed(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    char path[64];
    struct snapshot s;
    struct mailbox_entry e;
    world_init(&w);
    test_directory(&w, golden_accounts, "");
    copy_golden(&w, "v1");
    world_store(&w);
    open_snapshot(&w, "alice@example.org", &s);
    assert_int_equal(snapshot_entry(&s, 0, &e), 0);
    uint32_t good = crc_of(&w, &e);
    nth_segment(&w, "log/smtp-in", 0, path);
    flip(&w, path, e.position.offset + RECORD_HEADER_SIZE + 5);
    assert_int_not_equal(crc_of(&w, &e), good);
    snapshot_close(&s);
    world_close(&w);
    assert_true(world_check(&w) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v1_is_read),
        cmocka_unit_test(v2_is_read),
        cmocka_unit_test(v4_is_read),
        cmocka_unit_test(a_changed_octet_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
