/* A data folder with everything that IMAP makes a store write (tests/golden/v3): today's store reads it without an
 * index and finds each mailbox, flag, copy and what vanished. With GOLDEN_MAKE=FOLDER this program writes such a folder
 * instead; done once for each version of the format, see tests/golden/make.sh. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/hash.h"
#include "store/store_mailboxes_world.h"

#define TEXT_MAX ((size_t)1 << 20)

struct dump {
    struct world *w;
    struct buf *out;
};

static void dump_vanished(struct dump *d, uint64_t mailbox)
{
    _cleanup_buf_ struct buf gone = BUF(TEXT_MAX);
    assert_true(store_vanished(d->w->store, mailbox, 0, 0, 1000, &gone) >= 0);
    for (size_t i = 0; i < gone.n; i += 8)
        buf_addf(d->out, " vanished %u:%u\n", get_u32(gone.p + i), get_u32(gone.p + i + 4));
}

static void dump_messages(struct dump *d, uint64_t mailbox)
{
    struct snapshot s;
    struct mailbox_entry e;
    snapshot_of(d->w, mailbox, &s);
    for (size_t i = 0; i < s.n_keywords; i++)
        buf_addf(d->out, " keyword %zu %.*s\n", i, STR_ARG(s.keywords[i]));
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        buf_addf(d->out, " message %u flags %u keywords %llx modseq %llu size %llu crc %08x date %lld %d id %u\n",
                 e.uid, e.flags, (unsigned long long)e.keywords, (unsigned long long)e.modseq,
                 (unsigned long long)e.size, crc32c(crc32c(0, e.prefix), content_of(d->w, &e)),
                 (long long)e.date_s, e.date_zone_min, e.number);
    }
    snapshot_close(&s);
}

static int dump_folder(void *arg, const struct store_folder *f)
{
    struct dump *d = arg;
    buf_addf(d->out, "%.*s id %llu use %u subscribed %d validity %u next %u messages %u unseen %u deleted %u recent %u"
             " bytes %llu deleted %llu modseq %llu\n", STR_ARG(f->name), (unsigned long long)f->id, f->use,
             f->subscribed, f->uidvalidity, f->uidnext, f->messages, f->unseen, f->deleted, f->recent,
             (unsigned long long)f->bytes, (unsigned long long)f->deleted_bytes, (unsigned long long)f->modseq);
    if (f->id) {
        dump_vanished(d, f->id);
        dump_messages(d, f->id);
    }
    return 0;
}

/* All of anna's mailboxes as text. */
static void dump_all(struct world *w, struct buf *out)
{
    struct dump d = { w, out };
    assert_int_equal(store_flush(w->store), 0);
    assert_true(store_folders(w->store, ANNA, STR_NONE, 1000, dump_folder, &d) > 0);
    assert_int_equal(out->failed, 0);
}

static void read_text(const char *path, struct buf *out)
{
    char piece[4096];
    size_t n;
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        buf_add(out, str_of(piece, n));
    fclose(f);
}

static void copy_files(struct world *w, const char *from, const char *folder)
{
    char path[1024];
    static char text[1 << 20];
    assert_int_equal(mkdirat(w->fd, folder, 0700), 0);
    snprintf(path, sizeof(path), "%s/%s", from, folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s/%s", from, folder, e->d_name);
        int in = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        int out = openat(w->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ssize_t n = read(in, text, sizeof(text));
        assert_in_range(n, 1, sizeof(text) - 1);
        assert_int_equal(write(out, text, (size_t)n), n);
        close(in);
        close(out);
    }
    closedir(d);
}

static void v3_is_read(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    _cleanup_buf_ struct buf want = BUF(TEXT_MAX), got = BUF(TEXT_MAX), grown = BUF(TEXT_MAX);
    const char *golden = getenv("GOLDEN");
    char folder[512], path[600];
    snprintf(folder, sizeof(folder), "%s/v3", golden ? golden : "tests/golden");
    snprintf(path, sizeof(path), "%s/expected.txt", folder);
    read_text(path, &want);
    world_init(&w);
    assert_int_equal(mkdirat(w.fd, "log", 0700), 0);
    copy_files(&w, folder, "log/in");
    copy_files(&w, folder, "log/access");
    copy_files(&w, folder, "journal");
    assert_int_equal(world_check(&w), 0);
    unlinkat(w.fd, "index.db", 0);
    world_begin(&w);
    dump_all(&w, &got);
    if (!str_eq(buf_str(&want), buf_str(&got)))
        print_error("%.*s\n", STR_ARG(buf_str(&got)));
    assert_true(str_eq(buf_str(&want), buf_str(&got)));
    /* and it goes on */
    struct store_folder f = folder_named(&w, "INBOX");
    deliver(&w, 60);
    assert_int_equal(entry_of(&w, f.id, f.uidnext).number, 60);
    assert_int_equal(make(&w, "new", 0), STORE_DONE);
    check_and_reopen(&w, true);
}

static void append_to_mailbox(struct world *w, uint64_t mailbox)
{
    static const str keywords[] = { { "$MDNSent", 8 }, { "work", 4 } };
    const str content = S("From: anna\r\n\r\nof my own\r\n");
    _cleanup_buf_ struct buf meta = BUF(65536);
    struct receive_log *log;
    struct log_position at;
    uint64_t ticket;
    int dir = world_dir(w, "access");
    struct receive_log_config c = { .dir_fd = dir, .segment_size = 65536, .env = &env_system, .memory_max = 1 << 20 };
    struct message_record m = { .session = "fedcba987654321", .number = 7, .received_us = 1764000000000000,
                                .account = ANNA, .append_mailbox = mailbox, .append_flags = 16,
                                .append_keywords = keywords, .n_append_keywords = 2, .append_date_s = 1000000000,
                                .append_zone_min = -90 };
    assert_int_equal(receive_log_open(&c, &log), 0);
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(store_log_attach(w->store, S("access"), receive_log_first_segment(log)), 0);
    assert_int_equal(receive_log_append(log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    assert_int_equal(receive_log_flush(log), 0);
    wait_synced(log, ticket);
    struct log_position p[8];
    int n = receive_log_progress(log, p, 8);
    for (int i = 0; i < n; i++)
        assert_int_equal(store_log_synced(w->store, S("access"), p[i]), 0);
    assert_int_equal(store_flush(w->store), 0);
    receive_log_close(log);
    close(dir);
}

/* One of every record. */
static void use_mailboxes(struct world *w)
{
    uint64_t ticket;
    struct store_copied made;
    struct store_uids two = { 1, 2 };
    struct buf pairs = BUF(1024);
    assert_int_equal(store_account_prepare(w->store, ANNA), STORE_DONE);
    for (uint32_t i = 1; i <= 6; i++)
        deliver(w, i);
    uint64_t inbox = id_of(w, "INBOX");
    assert_int_equal(make(w, "lists/c", 0), STORE_DONE);
    assert_int_equal(make(w, "gone", 0), STORE_DONE);
    assert_int_equal(flag_as(w, inbox, 1, 1 | 4, "work", two), STORE_DONE);
    assert_int_equal(flag_as(w, inbox, 1, 8, "later", (struct store_uids){ 5, UINT32_MAX }), STORE_DONE);
    assert_int_equal(flag_as(w, inbox, 2, 4, NULL, (struct store_uids){ 2, 2 }), STORE_DONE);
    assert_int_equal(flag_as(w, inbox, 0, 2, NULL, (struct store_uids){ 3, 3 }), STORE_DONE);
    struct store_copying how = { .from = inbox, .to = S("lists/c") };
    assert_int_equal(copy_range(w, how, two, &pairs, &made), STORE_DONE);
    how.to = S("gone");
    assert_int_equal(copy_range(w, how, two, &pairs, &made), STORE_DONE);
    how = (struct store_copying){ .from = inbox, .to = S("Archive"), .move = true };
    assert_int_equal(copy_range(w, how, (struct store_uids){ 4, 4 }, &pairs, &made), STORE_DONE);
    assert_int_equal(store_expunge_deleted(w->store, inbox, &(struct store_uids){ 5, 5 }, 1, &ticket), 0);
    assert_int_equal(move_name(w, "lists", "old/lists"), STORE_DONE);
    assert_int_equal(drop(w, "gone"), STORE_DONE);
    assert_int_equal(store_subscribe(w->store, ANNA, S("old"), true, &ticket), 0);
    assert_int_equal(store_subscribe(w->store, ANNA, S("Junk"), false, &ticket), 0);
    assert_int_equal(store_subscribe(w->store, ANNA, S("elsewhere"), true, &ticket), 0);
    assert_int_equal(store_seen_recent(w->store, inbox, 4), 0);
    assert_int_equal(store_flush(w->store), 0);
    append_to_mailbox(w, id_of(w, "Sent"));
    buf_done(&pairs);
}

static int golden_make(const char *folder)
{
    struct world w;
    struct buf text = BUF(TEXT_MAX);
    char command[1024];
    world_init(&w);
    w.segment_size = 65536;
    world_begin(&w);
    use_mailboxes(&w);
    check_and_reopen(&w, false);
    dump_all(&w, &text);
    world_close(&w);
    snprintf(command, sizeof(command), "%s/expected.txt", w.path);
    FILE *f = fopen(command, "we");
    fwrite(text.p, 1, text.n, f);
    fclose(f);
    snprintf(command, sizeof(command), "mkdir %s %s/log && cd %s && cp -r journal expected.txt %s && "
             "cp -r log/in log/access %s/log", folder, folder, w.path, folder, folder);
    int r = system(command);
    buf_done(&text);
    world_done(&w);
    return r != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(v3_is_read) };
    const char *folder = getenv("GOLDEN_MAKE");
    return folder ? golden_make(folder) : cmocka_run_group_tests(tests, NULL, NULL);
}
