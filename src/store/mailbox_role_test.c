/* Role store as role access knows it for IMAP: what each request is answered, that nothing is promised before it is
 * durable, that the feed comes before the answer, and that no frame gives what is another's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/cards_file.h"
#include "store/mailbox_role_play.h"

static void test_a_mailbox_is_watched(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct mailbox_entry e;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    struct seen o = open_mailbox(&s, "S1", "INBOX");
    assert_int_equal(o.verdict, STORE_DONE);
    assert_int_equal(o.box.n, 1);
    assert_int_equal(o.box.mailbox, o.mailbox);
    snapshot_close(&o.box);
    deliver(&s, "anna@example.org", S("two\r\n"));
    struct feed_item f = fed(&s, o.mailbox, FEED_ARRIVED);
    assert_true(f.lsn > o.lsn && f.n == 1 && feed_entry(&f, &e));
    assert_int_equal(e.uid, 2);
    bind_session(&s, "S3", "anna@example.org"); /* another session: access has it already */
    struct seen again = open_mailbox(&s, "S3", "INBOX");
    assert_true(again.held && again.mailbox == o.mailbox && again.lsn >= f.lsn);
    assert_int_equal(play_status(&s.p, "watched_mailboxes"), 1);
    deliver(&s, "bob@example.org", S("not of this mailbox\r\n"));
    forget(&s, o.mailbox);
    deliver(&s, "anna@example.org", S("three\r\n"));
    again = open_mailbox(&s, "S3", "INBOX"); /* nothing was told in between */
    assert_false(again.held);
    assert_int_equal(again.box.n, 3);
    snapshot_close(&again.box);
    assert_int_equal(open_mailbox(&s, "S1", "no").verdict, STORE_NONEXISTENT);
    play_stop(&s.p);
}

static void test_flags(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    uint32_t uid, flags;
    uint64_t keywords;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    deliver(&s, "anna@example.org", S("two\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    send_flag(&s, "S1", box, SEEN, UINT64_MAX, "$Label1");
    struct feed_item f = fed(&s, box, FEED_KEYWORD); /* the feed comes first */
    assert_true(str_eq(f.name, S("$Label1")));
    f = fed(&s, box, FEED_FLAGS);
    assert_int_equal(f.n, 2);
    assert_true(feed_flags(&f, &uid, &flags, &keywords));
    assert_true(uid == 1 && flags == SEEN && keywords == 1);
    struct flagged a = flagged(&s);
    assert_int_equal(a.verdict, STORE_DONE);
    assert_int_equal(a.lsn, f.lsn);
    assert_int_equal(a.failed, 0);
    send_flag(&s, "S1", box, SEEN, UINT64_MAX, NULL); /* they have it: nothing happens, nothing is told */
    assert_int_equal(flagged(&s).verdict, STORE_DONE);
    send_flag(&s, "S1", box, FLAGGED, 1, NULL); /* all have changed since */
    a = flagged(&s);
    assert_int_equal(a.verdict, STORE_DONE);
    assert_true(a.failed == 2 && a.first_failed == 1 && a.lsn == 0);
    assert_int_equal(play_status(&s.p, "flagged"), 3);
    play_stop(&s.p);
}

/* A session that does not wait: the answer, and the feed when it is durable. */
static void test_answered_before_durable(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    s.early = true;
    send_flag(&s, "S1", box, SEEN, UINT64_MAX, NULL);
    struct flagged a = flagged(&s);
    assert_true(a.verdict == STORE_DONE && a.lsn && a.modseq >= a.lsn);
    struct feed_item f = fed(&s, box, FEED_FLAGS);
    assert_int_equal(f.lsn, a.lsn);
    assert_int_equal(f.modseq, a.modseq);
    send_flag(&s, "S1", box, FLAGGED, a.modseq, NULL); /* a condition is judged on what is there */
    f = fed(&s, box, FEED_FLAGS);
    a = flagged(&s);
    assert_true(a.verdict == STORE_DONE && a.failed == 0 && a.modseq == 0);
    play_stop(&s.p);
}

static void test_expunge_and_what_vanished(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct store_folder folder_before, folder_after;
    uint32_t uid;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    deliver(&s, "anna@example.org", S("two\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    assert_int_equal(folder(&s, "S1", "INBOX", &folder_before), STORE_DONE);
    send_flag(&s, "S1", box, DELETED, UINT64_MAX, NULL);
    fed(&s, box, FEED_FLAGS);
    flagged(&s);
    send_expunge(&s, "S1", box);
    struct feed_item f = fed(&s, box, FEED_EXPUNGED);
    assert_true(f.n == 2 && feed_uid(&f, &uid) && uid == 1);
    assert_int_equal(answered(&s, IPC_EXPUNGE_DONE), STORE_DONE);
    assert_int_equal(unpack_u32(&s.p.in), 0);
    at_end(&s);
    assert_int_equal(folder(&s, "S1", "INBOX", &folder_after), STORE_DONE);
    assert_true(folder_after.messages == 0 && folder_after.modseq > folder_before.modseq);
    struct buf b = ask("S1");
    pack_u64(&b, box);
    pack_u64(&b, folder_before.modseq);
    pack_u32(&b, 0);
    put(&s, IPC_VANISHED_GET, &b);
    assert_int_equal(answered(&s, IPC_VANISHED), STORE_DONE);
    assert_int_equal(unpack_u8(&s.p.in), 1); /* last */
    assert_int_equal(unpack_u8(&s.p.in), 0);
    assert_int_equal(unpack_u32(&s.p.in), 1);
    assert_int_equal(unpack_u32(&s.p.in), 1);
    assert_int_equal(unpack_u32(&s.p.in), 2);
    at_end(&s);
    play_stop(&s.p);
}

static void test_copy_and_move(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    deliver(&s, "anna@example.org", S("two\r\n"));
    uint64_t inbox = open_quietly(&s, "S1", "INBOX"), trash = open_quietly(&s, "S1", "Trash");
    send_copy(&s, "S1", inbox, false, "Trash");
    assert_int_equal(fed(&s, trash, FEED_ARRIVED).n, 2);
    expect_copied(&s, STORE_DONE, 1, 1, 2);
    send_copy(&s, "S1", inbox, true, "Trash");
    for (uint32_t come = 0, gone = 0; come < 2 || gone < 2;) { /* in any order and grouping */
        struct feed_item f;
        play_expect(&s.p, s.p.peer[ROLE_ACCESS], IPC_FEED);
        uint64_t of = unpack_u64(&s.p.in);
        assert_int_equal(feed_decode(unpack_str(&s.p.in), &f), 0);
        assert_int_equal(f.kind, of == trash ? FEED_ARRIVED : FEED_EXPUNGED);
        come += of == trash ? f.n : 0;
        gone += of == inbox ? f.n : 0;
    }
    expect_copied(&s, STORE_DONE, 1, 3, 2);
    send_copy(&s, "S1", inbox, false, "Trash"); /* nothing is there any more */
    assert_int_equal(answered(&s, IPC_COPIED), STORE_DONE);
    send_copy(&s, "S1", trash, false, "nowhere");
    expect_copied(&s, STORE_NONEXISTENT, 0, 0, 0);
    play_stop(&s.p);
}

/* What is answered as done is there after a crash. */
static void test_durable_before_answered(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct mailbox_entry e;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    assert_int_equal(change(&s, "S1", FOLDER_CREATE, "kept", ""), STORE_DONE);
    send_flag(&s, "S1", box, FLAGGED, UINT64_MAX, NULL);
    fed(&s, box, FEED_FLAGS);
    assert_int_equal(flagged(&s).verdict, STORE_DONE);
    send_copy(&s, "S1", box, false, "kept");
    expect_copied(&s, STORE_DONE, 1, 1, 1);
    kill(s.p.pid, SIGKILL);
    assert_int_equal(play_wait(&s.p), 128 + SIGKILL);
    close(TAKE_FD(s.p.master));
    s.p.generation = 0;
    stage_start(&s);
    attach(&s);
    bind_session(&s, "S1", "anna@example.org");
    struct seen o = open_mailbox(&s, "S1", "INBOX");
    assert_int_equal(snapshot_entry(&o.box, 0, &e), 0);
    assert_int_equal(e.flags, FLAGGED);
    snapshot_close(&o.box);
    o = open_mailbox(&s, "S1", "kept");
    assert_int_equal(o.box.n, 1);
    snapshot_close(&o.box);
    play_stop(&s.p);
}

static void test_without_right_there_is_nothing(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct store_folder f;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    static const char *const others[] = { "S2", "S9", "" };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const char *other = others[i];
        send_flag(&s, other, box, SEEN, UINT64_MAX, NULL);
        assert_int_equal(flagged(&s).verdict, MAILBOX_NOT_BOUND);
        send_expunge(&s, other, box);
        assert_int_equal(answered(&s, IPC_EXPUNGE_DONE), MAILBOX_NOT_BOUND);
        send_copy(&s, other, box, false, "INBOX");
        expect_copied(&s, MAILBOX_NOT_BOUND, 0, 0, 0);
        struct buf b = ask(other);
        pack_u64(&b, box);
        put(&s, IPC_CARDS_GET, &b);
        assert_int_equal(answered(&s, IPC_CARDS_FILE), MAILBOX_NOT_BOUND);
        assert_true(s.p.fd < 0);
        b = ask(other);
        pack_u64(&b, box);
        pack_u64(&b, 0);
        pack_u32(&b, 0);
        put(&s, IPC_VANISHED_GET, &b);
        assert_int_equal(answered(&s, IPC_VANISHED), MAILBOX_NOT_BOUND);
    }
    assert_int_equal(change(&s, "S9", FOLDER_CREATE, "x", ""), MAILBOX_NOT_BOUND);
    assert_int_equal(folder(&s, "S9", "INBOX", &f), MAILBOX_NOT_BOUND);
    assert_int_equal(folder(&s, "S9", "", &f), MAILBOX_NOT_BOUND);
    assert_int_equal(open_mailbox(&s, "S9", "INBOX").verdict, MAILBOX_NOT_BOUND);
    forget(&s, box); /* no longer open: its own session may not either */
    send_flag(&s, "S1", box, SEEN, UINT64_MAX, NULL);
    assert_int_equal(flagged(&s).verdict, MAILBOX_NOT_BOUND);
    play_stop(&s.p);
}

static void test_an_access_that_has_gone(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    kill(s.p.pid, SIGSTOP);
    send_flag(&s, "S1", box, SEEN, UINT64_MAX, NULL); /* is owed an answer */
    play_peer(&s.p, ROLE_ACCESS);
    kill(s.p.pid, SIGCONT);
    play_quiet(&s.p, s.p.peer[ROLE_ACCESS], 100);
    assert_int_equal(play_status(&s.p, "watched_mailboxes"), 0);
    assert_int_equal(play_status(&s.p, "logged_in"), 0);
    deliver(&s, "anna@example.org", S("two\r\n"));
    play_quiet(&s.p, s.p.peer[ROLE_ACCESS], 50);
    play_stop(&s.p);
}

static void test_segments_and_recent(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct mailbox_entry e;
    struct store_folder f;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    struct seen o = open_mailbox(&s, "S1", "INBOX");
    assert_int_equal(snapshot_entry(&o.box, 0, &e), 0);
    for (int i = 0; i < 2; i++) { /* bob has opened nothing */
        struct buf b = ask(i ? "S2" : "S1");
        pack_str(&b, e.log);
        pack_u64(&b, e.position.segment);
        put(&s, IPC_SEGMENT_GET, &b);
        assert_int_equal(answered(&s, IPC_SEGMENT), !i);
        assert_true((s.p.fd >= 0) == !i);
    }
    snapshot_close(&o.box);
    assert_int_equal(folder(&s, "S1", "INBOX", &f), STORE_DONE);
    assert_int_equal(f.recent, 1);
    struct buf b = BUF(256);
    pack_str(&b, S("S1"));
    pack_u64(&b, o.mailbox);
    pack_u32(&b, 2);
    put(&s, IPC_RECENT_SEEN, &b);
    assert_int_equal(folder(&s, "S1", "INBOX", &f), STORE_DONE);
    assert_int_equal(f.recent, 0);
    play_stop(&s.p);
}

struct access_log { struct receive_log *log; int fd; uint64_t bytes; };

static void access_log_open(struct stage *s, struct access_log *a)
{
    assert_int_equal(mkdirat(s->p.dir_fd, "data/log/access", 0700), 0);
    a->bytes = 0;
    a->fd = openat(s->p.dir_fd, "data/log/access", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct receive_log_config c = {
        .dir_fd = a->fd, .segment_size = 1 << 20, .env = &env_system, .memory_max = 1 << 24
    };
    assert_int_equal(receive_log_open(&c, &a->log), 0);
}

static void access_positions(struct stage *s, struct access_log *a, enum ipc_type type, const char *name,
                             const struct log_position *at)
{
    struct buf b = BUF(1024);
    pack_str(&b, str_z(name));
    pack_u64(&b, ++a->bytes);
    if (type == IPC_LOG_ATTACH)
        pack_u64(&b, receive_log_first_segment(a->log));
    pack_u32(&b, at ? 1 : 0);
    if (at) {
        pack_u64(&b, at->segment);
        pack_u64(&b, at->offset);
    }
    put(s, type, &b);
}

static struct log_position access_append(struct access_log *a, uint64_t mailbox, const char *account)
{
    static const str keywords[] = { { "work", 4 } };
    struct buf meta = BUF(65536);
    struct message_record m = { .session = "fedcba987654321", .number = 3, .received_us = 1, .account = str_z(account),
                                .append_mailbox = mailbox, .append_flags = SEEN, .append_keywords = keywords,
                                .n_append_keywords = 1, .append_date_s = 86400, .append_zone_min = 60 };
    struct log_position at = { 0 }, done[16];
    str content = S("Subject: x\r\n\r\nappended\r\n");
    uint64_t ticket;
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(a->log, &content, 1, buf_str(&meta), &ticket, &at), 0);
    assert_int_equal(receive_log_flush(a->log), 0);
    buf_done(&meta);
    while (receive_log_synced(a->log) < ticket)
        usleep(500);
    for (int n; (n = receive_log_progress(a->log, done, 16)) > 0;)
        at = done[n - 1];
    return at;
}

/* The mailbox and UID of APPENDED, which comes with LOG_APPLIED behind the feed. */
static uint32_t appended(struct stage *s, uint64_t mailbox)
{
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], IPC_APPENDED);
    assert_int_equal(unpack_u64(&s->p.in), mailbox);
    uint32_t uid = unpack_u32(&s->p.in);
    assert_true(str_eq(unpack_str(&s->p.in), str_of("fedcba987654321", 16)));
    assert_int_equal(unpack_u32(&s->p.in), 3);
    at_end(s);
    play_expect(&s->p, s->p.peer[ROLE_ACCESS], IPC_LOG_APPLIED);
    return uid;
}

static void test_append(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct access_log a;
    struct mailbox_entry e;
    begin(&s);
    access_log_open(&s, &a);
    access_positions(&s, &a, IPC_LOG_ATTACH, "access", NULL);
    play_expect(&s.p, s.p.peer[ROLE_ACCESS], IPC_LOG_APPLIED);
    assert_int_equal(unpack_u64(&s.p.in), 1);
    uint64_t drafts = open_quietly(&s, "S1", "Drafts");
    struct log_position at = access_append(&a, drafts, "anna@example.org");
    access_positions(&s, &a, IPC_LOG_SYNCED, "access", &at);
    fed(&s, drafts, FEED_KEYWORD);
    struct feed_item f = fed(&s, drafts, FEED_ARRIVED);
    assert_true(feed_entry(&f, &e));
    assert_true(e.flags == SEEN && e.keywords == 1 && e.date_s == 86400 && e.date_zone_min == 60 && e.prefix.n == 0);
    assert_true(str_eq(e.log, S("access")));
    assert_int_equal(appended(&s, drafts), 1);
    at = access_append(&a, drafts, "bob@example.org"); /* not his: it comes into his INBOX */
    access_positions(&s, &a, IPC_LOG_SYNCED, "access", &at);
    play_expect(&s.p, s.p.peer[ROLE_ACCESS], IPC_APPENDED);
    assert_int_not_equal(unpack_u64(&s.p.in), drafts);
    assert_int_equal(unpack_u32(&s.p.in), 1);
    play_expect(&s.p, s.p.peer[ROLE_ACCESS], IPC_LOG_APPLIED);
    assert_int_equal(play_status(&s.p, "appended"), 2);
    access_positions(&s, &a, IPC_LOG_SYNCED, "smtp-in", NULL); /* a log that is not its own */
    play_closed(&s.p, s.p.peer[ROLE_ACCESS]);
    receive_log_close(a.log);
    close(a.fd);
    play_stop(&s.p);
}

static void test_logs_belong_to_roles(void **state)
{
    (void)state;
    static const char *const names[] = { "access", "store", "other", "" };
    _cleanup_stage_ struct stage s;
    begin(&s);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf b = BUF(1024);
        pack_str(&b, str_z(names[i]));
        pack_u64(&b, 1);
        pack_u64(&b, 1);
        pack_u32(&b, 0);
        play_send(s.p.peer[ROLE_SMTP_IN], IPC_LOG_ATTACH, &b, -1);
        for (ssize_t n; (n = play_receive(&s.p, s.p.peer[ROLE_SMTP_IN], PLAY_PATIENCE_MS)) != 0;)
            assert_true(n > 0 && (uint8_t)s.p.frame[0] == IPC_LOG_APPLIED); /* of begin() */
        play_peer(&s.p, ROLE_SMTP_IN);
    }
    play_stop(&s.p);
}

static void test_cards_files(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    uint64_t box = open_quietly(&s, "S1", "INBOX");
    struct buf b = ask("S1");
    pack_u64(&b, box);
    put(&s, IPC_CARDS_GET, &b);
    uint8_t verdict = answered(&s, IPC_CARDS_FILE);
    assert_int_equal(unpack_u8(&s.p.in), 0);
    assert_true((verdict == STORE_DONE) == (s.p.fd >= 0));
    if (verdict == STORE_DONE) {
        assert_int_equal(answered(&s, IPC_CARDS_FILE), STORE_DONE);
        assert_int_equal(unpack_u8(&s.p.in), 1);
        assert_true(s.p.fd >= 0);
        assert_int_equal(fcntl(s.p.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    } else {
        assert_int_equal(verdict, STORE_NONEXISTENT); /* its message has no card */
    }
    play_stop(&s.p);
}

enum { MANY = 1 << 14 };

/* INBOX of S1, doubled until they are so many; no card of theirs is in a file. */
static uint64_t many_messages(struct stage *s)
{
    deliver(s, "anna@example.org", S("Subject: x\r\n\r\none\r\n"));
    uint64_t box = open_quietly(s, "S1", "INBOX");
    forget(s, box); /* no feed */
    for (int n = 1; n < MANY; n *= 2) {
        open_quietly(s, "S1", "INBOX");
        send_copy(s, "S1", box, false, "INBOX");
        do {
            assert_true(play_receive(&s->p, s->p.peer[ROLE_ACCESS], PLAY_PATIENCE_MS) > 0);
        } while ((uint8_t)s->p.frame[0] != IPC_COPIED);
        forget(s, box);
    }
    return open_quietly(s, "S1", "INBOX");
}

static void ask_cards(struct stage *s, uint64_t box)
{
    struct buf b = ask("S1");
    pack_u64(&b, box);
    put(s, IPC_CARDS_GET, &b);
}

/* Below which UID messages have been looked at, as the files say that the answer brings. */
static uint64_t filled(struct stage *s)
{
    struct card_place first = { 0 };
    for (uint8_t which = 0; which < 2; which++) {
        assert_int_equal(answered(s, IPC_CARDS_FILE), STORE_DONE);
        assert_int_equal(unpack_u8(&s->p.in), which);
        if (which == 0)
            assert_int_equal(card_places_read(s->p.fd, 0, 1, &first), 0);
    }
    return first.offset;
}

/* Files that take long to fill: the answer comes when they are, or after a while; who goes meanwhile is forgotten. */
static void test_cards_are_waited_for(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    struct store_folder f;
    begin(&s);
    uint64_t box = many_messages(&s), at = 0;
    ask_cards(&s, box);
    play_peer(&s.p, ROLE_ACCESS);
    bind_session(&s, "S1", "anna@example.org");
    assert_int_equal(open_quietly(&s, "S1", "INBOX"), box);
    for (int tries = 0; tries < 20 && at != MANY + 1; tries++) { /* half a second each at most */
        ask_cards(&s, box);
        uint64_t now = filled(&s);
        assert_true(now > at);
        at = now;
    }
    assert_int_equal(at, MANY + 1);
    assert_int_equal(folder(&s, "S1", "INBOX", &f), STORE_DONE);
    assert_int_equal(f.messages, MANY);
    play_stop(&s.p);
}

static uint32_t seed = 20261124;
static uint32_t dice(uint32_t n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % n;
}

/* Fields that are half right, behind a request that is. */
static struct buf hostile(bool request)
{
    static const char *const words[] = { "S1", "S2", "INBOX", "a/b", "../x", "", "Trash", "\xff\xfe", "$x" };
    struct buf b = request ? ask(dice(4) ? "S1" : words[dice(ARRAY_LEN(words))]) : BUF(4096);
    for (uint32_t n = dice(8); n--;)
        switch (dice(6)) {
        case 0: pack_u64(&b, dice(3) ? dice(6) : UINT64_MAX - dice(3)); break;
        case 1: pack_u32(&b, dice(3) ? dice(6) : UINT32_MAX - dice(3)); break;
        case 2: pack_u8(&b, (uint8_t)(dice(2) ? dice(6) : dice(256))); break;
        case 3: pack_range(&b, dice(4), dice(4)); break;
        default: pack_str(&b, str_z(words[dice(ARRAY_LEN(words))])); break;
        }
    return b;
}

static void test_hostile_frames(void **state)
{
    (void)state;
    static const enum ipc_type types[] = { IPC_FOLDERS,     IPC_FOLDER_CHANGE, IPC_MAILBOX_OPEN,    IPC_MAILBOX_FORGET,
                                           IPC_CARDS_GET,   IPC_FLAG,          IPC_EXPUNGE_DELETED, IPC_COPY,
                                           IPC_RECENT_SEEN, IPC_VANISHED_GET,  IPC_QUOTA_GET,       IPC_APPEND_ASK };
    _cleanup_stage_ struct stage s;
    struct store_folder f;
    begin(&s);
    deliver(&s, "anna@example.org", S("one\r\n"));
    for (int i = 0; i < 2000; i++) {
        enum ipc_type type = types[dice(ARRAY_LEN(types))];
        struct buf b = hostile(type != IPC_MAILBOX_FORGET && type != IPC_RECENT_SEEN);
        bool closed = play_try_send(s.p.peer[ROLE_ACCESS], type, buf_str(&b), NULL, 0) < 0;
        buf_done(&b);
        for (ssize_t n = 1; !closed && n > 0;) {
            n = play_receive(&s.p, s.p.peer[ROLE_ACCESS], 0);
            closed = n == 0;
        }
        if (!closed && i % 20)
            continue;
        play_peer(&s.p, ROLE_ACCESS);
        play_status(&s.p, "lsn");
        bind_session(&s, "S1", "anna@example.org");
    }
    play_peer(&s.p, ROLE_ACCESS);
    play_status(&s.p, "lsn");
    bind_session(&s, "S7", "bob@example.org");
    assert_int_equal(folder(&s, "S7", "INBOX", &f), STORE_DONE);
    assert_int_equal(f.messages, 0);
    play_stop(&s.p);
}

/* Each is wrong in one place. */
static void test_frames_that_are_not(void **state)
{
    (void)state;
    _cleanup_stage_ struct stage s;
    begin(&s);
    for (int i = 0; i < 9; i++) {
        struct buf b = ask("S1");
        enum ipc_type type = IPC_FLAG;
        if (i < 7) { /* mailbox, op, flags, since, keywords, ranges */
            pack_u64(&b, 1);
            pack_u8(&b, i == 0 ? 3 : 1);
            pack_u32(&b, i == 1 ? 32 : 1);
            pack_u64(&b, UINT64_MAX);
            pack_u32(&b, i == 2 ? KEYWORDS_MAX + 1 : i == 3 ? 1 : 0);
            if (i == 3)
                pack_str(&b, STR_NONE);
            pack_u32(&b, i == 4 ? UINT32_MAX : 2);
            pack_u32(&b, i == 5 ? 0 : 1);
            pack_u32(&b, 5);
            pack_u32(&b, i == 6 ? 5 : 6);
            pack_u32(&b, 7);
        } else if (i == 7) {
            type = IPC_FOLDER_CHANGE;
            pack_u8(&b, FOLDER_UNSUBSCRIBE + 1);
            pack_str(&b, S("x"));
            pack_str(&b, S("x"));
            pack_u8(&b, 0);
        } else {
            type = IPC_COPY;
            pack_u64(&b, 1);
            pack_u8(&b, 2);
            pack_str(&b, S("x"));
            pack_range(&b, 1, 1);
        }
        put(&s, type, &b);
        play_closed(&s.p, s.p.peer[ROLE_ACCESS]);
        play_peer(&s.p, ROLE_ACCESS);
    }
    play_stop(&s.p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_mailbox_is_watched),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_answered_before_durable),
        cmocka_unit_test(test_expunge_and_what_vanished),
        cmocka_unit_test(test_copy_and_move),
        cmocka_unit_test(test_durable_before_answered),
        cmocka_unit_test(test_without_right_there_is_nothing),
        cmocka_unit_test(test_an_access_that_has_gone),
        cmocka_unit_test(test_segments_and_recent),
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_logs_belong_to_roles),
        cmocka_unit_test(test_cards_files),
        cmocka_unit_test(test_cards_are_waited_for),
        cmocka_unit_test(test_hostile_frames),
        cmocka_unit_test(test_frames_that_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
