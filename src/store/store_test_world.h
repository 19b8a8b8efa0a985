/* For the tests of this room: a folder of its own that is removed afterwards, a small directory, messages, a log
 * and a store. */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/env.h"
#include "conf/directory.h"
#include "store/message_record.h"
#include "store/receive_log.h"
#include "store/snapshot.h"
#include "store/store.h"

struct world {
    char path[256];
    int fd;
    struct arena a;
    struct buf blob;
    struct directory directory;
    const struct conf *conf;
    struct store *store;
    struct receive_log *log;
    int log_fd;
    uint64_t segment_size;
    unsigned notes, placed;
    int findings;
    char last_note[512], last_finding[512];
};

static const char test_conf[] =
    "domain example.org { postmaster anna@example.org }\n"
    "domain b.example { postmaster bob@example.org }\n"
    "aliases aliases\n";
static const char test_accounts[] = "anna@example.org\nbob@example.org\ncarl@example.org\ndora@b.example\n";
static const char test_aliases[] =
    "both@example.org: anna@example.org, bob@example.org\n"
    "out@example.org: carl@example.org, x@far.example\n";

static inline void test_directory(struct world *w, const char *accounts, const char *aliases)
{
    struct conf_error error = { 0 };
    const struct conf *c = NULL;
    struct buf b = BUF(CONF_BUNDLE_MAX);
    conf_bundle_begin(&b, S("posthouse.conf"));
    conf_bundle_add(&b, S("posthouse.conf"), str_z(test_conf));
    conf_bundle_add(&b, S("accounts"), str_z(accounts));
    conf_bundle_add(&b, S("aliases"), str_z(aliases));
    str bundle = arena_dup(&w->a, buf_str(&b));
    buf_done(&b);
    buf_clear(&w->blob);
    if (conf_parse(&w->a, bundle, &c, &error) < 0 || directory_compile(&w->a, bundle, c, 1, &w->blob, &error) < 0 ||
        directory_open(buf_str(&w->blob), &w->directory) < 0)
        fail_msg("%.*s", STR_ARG(error.text));
    w->conf = c;
}

static inline void world_init(struct world *w)
{
    *w = (struct world){ .fd = -1, .log_fd = -1, .a = ARENA(CONF_MEMORY_MAX), .blob = BUF(CONF_BUNDLE_MAX) };
    w->segment_size = 1 << 20;
    const char *tmp = getenv("TMPDIR");
    snprintf(w->path, sizeof(w->path), "%s/posthouse-store-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(w->path));
    w->fd = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(w->fd >= 0);
    test_directory(w, test_accounts, test_aliases);
}

static inline int world_remove(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st;
    (void)flag;
    (void)f;
    return remove(path);
}

static inline void world_done(struct world *w)
{
    store_close(w->store);
    receive_log_close(w->log);
    if (w->log_fd >= 0)
        close(w->log_fd);
    close(w->fd);
    nftw(w->path, world_remove, 16, FTW_DEPTH | FTW_PHYS);
    arena_done(&w->a);
    buf_done(&w->blob);
}
#define _cleanup_world_ _cleanup_(world_done)

static inline void world_placed(void *arg, const struct store_placement *p)
{
    struct world *w = arg;
    assert_true(p->uid > 0 && p->account.n && p->message);
    w->placed++;
}

static inline void world_note(void *arg, str what)
{
    struct world *w = arg;
    w->notes++;
    snprintf(w->last_note, sizeof(w->last_note), "%.*s", STR_ARG(what));
    if (getenv("STORE_TEST_NOTES"))
        fprintf(stderr, "note: %s\n", w->last_note);
}

static inline int world_try_store(struct world *w)
{
    struct store_config c = { .data_fd = w->fd, .segment_size = w->segment_size, .env = &env_system,
                              .placed = world_placed,
                              .note = world_note, .arg = w };
    int r = store_open(&c, &w->store);
    if (r == 0)
        store_set_directory(w->store, &w->directory);
    return r;
}

static inline void world_store(struct world *w)
{
    assert_int_equal(world_try_store(w), 0);
}

static inline int world_dir(struct world *w, const char *name)
{
    char path[64];
    mkdirat(w->fd, "log", 0700);
    snprintf(path, sizeof(path), "log/%s", name);
    mkdirat(w->fd, path, 0700);
    int fd = openat(w->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static inline void world_log(struct world *w)
{
    if (w->log_fd < 0)
        w->log_fd = world_dir(w, "in");
    struct receive_log_config c = { .dir_fd = w->log_fd, .segment_size = w->segment_size, .env = &env_system,
                                    .memory_max = 1 << 26 };
    assert_int_equal(receive_log_open(&c, &w->log), 0);
}

static inline void world_close(struct world *w)
{
    store_close(TAKE(w->store));
    receive_log_close(TAKE(w->log));
}

/* What a crash leaves: files as they are on the disk now, in a folder of their own; the log's process goes on with
 * its own. */
static inline void world_attach(struct world *w)
{
    assert_int_equal(store_log_attach(w->store, S("in"), receive_log_first_segment(w->log)), 0);
}

static inline void encode_meta(struct buf *out, uint32_t number, const char *const *recipients)
{
    struct record_recipient list[8];
    size_t n = 0;
    for (; recipients[n]; n++)
        list[n] = (struct record_recipient){ .address = str_z(recipients[n]) };
    struct message_record m = { .session = "0123456789abcde", .number = number, .received_us = 1000000ull * number,
                                .sender = S("sender@far.example"), .client_addr = S("192.0.2.1"),
                                .helo = S("far.example"), .protocol = S("ESMTP"), .listener = S("smtp"),
                                .recipients = list, .n_recipients = n };
    assert_int_equal(message_record_encode(out, &m), 0);
}

static inline uint64_t append_to(struct world *w, uint32_t number, str content, const char *const *recipients)
{
    struct buf meta = BUF(65536);
    uint64_t ticket = 0;
    struct log_position at;
    encode_meta(&meta, number, recipients);
    assert_int_equal(receive_log_append(w->log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    buf_done(&meta);
    return ticket;
}

static inline uint64_t append(struct world *w, uint32_t number, str content, const char *recipient)
{
    const char *const list[] = { recipient, NULL };
    return append_to(w, number, content, list);
}

static inline void wait_synced(struct receive_log *l, uint64_t ticket)
{
    while (receive_log_synced(l) < ticket)
        usleep(200);
}

/* Hands the store what became durable and waits until it is in the index. */
static inline void pass_on(struct world *w)
{
    struct log_position p[8];
    int n;
    do {
        n = receive_log_progress(w->log, p, 8);
        assert_true(n >= 0);
        for (int i = 0; i < n; i++)
            assert_int_equal(store_log_synced(w->store, S("in"), p[i]), 0);
    } while (n == 8);
    assert_int_equal(store_flush(w->store), 0);
}

static inline void deliver_all(struct world *w, uint64_t ticket)
{
    assert_int_equal(receive_log_flush(w->log), 0);
    wait_synced(w->log, ticket);
    pass_on(w);
}

static inline void open_snapshot(struct world *w, const char *account, struct snapshot *out)
{
    struct store_mailbox box;
    int fd = -1;
    assert_int_equal(store_mailbox(w->store, str_z(account), S("INBOX"), &box), 0);
    assert_int_equal(store_snapshot(w->store, box.id, &fd), 0);
    assert_int_equal(snapshot_open(fd, out), 0);
}

static inline size_t count_in(struct world *w, const char *account)
{
    struct snapshot s;
    open_snapshot(w, account, &s);
    size_t n = s.n;
    snapshot_close(&s);
    return n;
}

/* The content of a message, in the world's arena. */
static inline str content_of(struct world *w, const struct mailbox_entry *e)
{
    int fd = -1;
    assert_int_equal(store_segment_open(w->store, e->log, e->position.segment, &fd), 0);
    char *p = arena_alloc(&w->a, e->content_len);
    assert_int_equal(segment_pread(fd, p, e->content_len, e->position.offset + RECORD_HEADER_SIZE), e->content_len);
    close(fd);
    return str_of(p, e->content_len);
}

static inline int open_file(struct world *w, const char *path, int flags)
{
    int fd = openat(w->fd, path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Path of the n-th segment (from 0) with at least one record in a folder such as "journal" or "log/in". */
static inline void nth_segment(struct world *w, const char *folder, size_t n, char out[64])
{
    int dir = open_file(w, folder, O_RDONLY | O_DIRECTORY);
    uint64_t *list;
    size_t count;
    assert_int_equal(segment_list(dir, &list, &count), 0);
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        char name[32];
        segment_name(list[i], name);
        snprintf(out, 64, "%s/%s", folder, name);
        int fd = open_file(w, out, O_RDONLY);
        struct segment_reader r;
        struct record_header h;
        bool damage;
        if (segment_reader_open(fd, &r) == 0 && segment_reader_next(&r, false, &h, &damage) == 1)
            found = n-- == 0;
        close(fd);
    }
    free(list);
    close(dir);
    assert_true(found);
}

/* Position of the n-th record (from 0) of a segment file. */
static inline struct record_header nth_record(struct world *w, const char *path, size_t n)
{
    int fd = open_file(w, path, O_RDONLY);
    struct segment_reader r;
    struct record_header h;
    bool damage;
    assert_int_equal(segment_reader_open(fd, &r), 0);
    for (size_t i = 0; i <= n; i++)
        assert_int_equal(segment_reader_next(&r, false, &h, &damage), 1);
    close(fd);
    return h;
}

static inline void flip(struct world *w, const char *path, uint64_t at)
{
    char c;
    int fd = open_file(w, path, O_RDWR);
    assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
    c = (char)(c ^ 0x10);
    assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
    close(fd);
}

static inline void world_begin(struct world *w)
{
    world_log(w);
    world_store(w);
    world_attach(w);
    assert_int_equal(store_flush(w->store), 0);
}

static inline void world_hear(void *arg, bool finding, str sentence)
{
    struct world *w = arg;
    w->findings += finding;
    if (finding)
        snprintf(w->last_finding, sizeof(w->last_finding), "%.*s", STR_ARG(sentence));
    if (getenv("STORE_TEST_NOTES"))
        fprintf(stderr, "%s: %.*s\n", finding ? "FINDING" : "check", STR_ARG(sentence));
}

/* `store check`: the number of findings. */
static inline int world_check(struct world *w)
{
    w->findings = 0;
    int r = store_check(w->fd, &env_system, world_hear, w);
    assert_int_equal(r, w->findings);
    return r;
}

/* Numbers of the messages in an account's INBOX, each once and UIDs rising: as a bit set. */
static inline uint64_t numbers_in(struct world *w, const char *account)
{
    struct snapshot s;
    struct mailbox_entry e;
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
