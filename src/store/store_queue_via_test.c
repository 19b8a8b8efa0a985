/* Recipients that are delivered by a mechanism: who gets their jobs, what they say, how they end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_queue_play.h"
#include "store/store_queue_internal.h"

static const char via_accounts[] =
    "anna@example.org\n"
    "bob@example.org\n"
    "carl@example.org\n"
    "dora@b.example\n"
    "files@example.org deliver=mbox:/m/files user=fred\n"
    "both@example.org deliver=mailbox deliver=maildir:/m/both/\n"
    "fwd@example.org deliver=forward deliver=mailbox deliver=mbox:/m/fwd user=fred\n"
    "only@example.org deliver=forward user=fred\n"
    "gate@example.org deliver=smtp:Gate.example:2525\n"
    "sock@example.org deliver=lmtp:/run/lmtp\n";
static const char via_aliases[] =
    "cmd@example.org: \"|/bin/cat -n\"\n"
    "many@example.org: \"|/bin/cat\", mbox:/m/many, mbox:/m/many, anna@example.org\n"
    "files@b.example: files@example.org\n";

static const uint8_t key[16] = { 7 };

static struct play *via_begin(void)
{
    struct play *p = play_begin();
    test_directory(&p->w, via_accounts, via_aliases);
    store_set_directory(p->w.store, &p->w.directory);
    store_set_key(p->w.store, key);
    return p;
}

static void attach_mda(struct play *p)
{
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_DELIVERS, NULL, 0, true), 0);
    run(p);
}

static void mail(struct play *p, const char *to, uint8_t notify)
{
    send_to(p, (const char *const[]){ to, NULL }, notify, "anna@example.org");
    run(p);
}

static const struct job_copy *job_to(struct play *p, const char *via)
{
    for (size_t i = p->n_jobs; i > 0; i--)
        if (strcmp(p->jobs[i - 1].via, via) == 0)
            return &p->jobs[i - 1];
    fail_msg("no job goes to %s", via);
    return NULL;
}

static void test_a_file(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    mail(p, "files@b.example", QUEUE_NOTIFY_SUCCESS);
    assert_int_equal(p->n_jobs, 0); /* nobody is there to deliver */
    assert_int_equal(count_in(&p->w, "files@example.org"), 0);
    mail(p, "x@far.example", 0);
    assert_int_equal(p->n_jobs, 1);
    assert_int_equal(p->jobs[0].worker, QUEUE_SENDS);
    attach_mda(p);
    assert_int_equal(p->n_jobs, 2);
    const struct job_copy *j = &p->jobs[1];
    assert_int_equal(j->worker, QUEUE_DELIVERS);
    assert_string_equal(j->via, "mbox:/m/files");
    assert_string_equal(j->user, "fred");
    assert_string_equal(j->to, "files@example.org");
    assert_string_equal(j->original, "files@b.example");
    assert_string_equal(j->sender, "anna@example.org");
    assert_string_equal(j->destination, "mda fred mbox:/m/files");
    assert_true(has(j->prefix, "Delivered-To: files@example.org (posthouse "));
    assert_true(has(j->content, "Subject: x"));
    assert_string_equal(ask(p, "do=redirect recipient=files@example.org to=[127.0.0.9]"),
                        "{\"changed\":0,\"skipped\":1}\n{\"end\":true}\n");
    assert_true(has(ask(p, "do=list recipient=files@example.org"), "\"mechanism\":\"mbox:/m/files\""));
    report(p, j, QUEUE_RELAYED, 250, "2.0.0", "delivered");
    run(p);
    assert_true(has(p->events, "delivered files@example.org;"));
    assert_int_equal(p->done_to[QUEUE_DELIVERS], 1);
    assert_int_equal(p->done_to[QUEUE_SENDS], 0);
    assert_int_equal(p->n_dsn, 1);
    assert_int_equal(p->dsn[0].kind, QUEUE_DSN_DELIVERED);
    report(p, &p->jobs[0], QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    assert_int_equal(p->done_to[QUEUE_SENDS], 1);
    assert_int_equal(world_check(&p->w), 0);
}

static void test_several(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    mail(p, "many@example.org", QUEUE_NOTIFY_SUCCESS);
    assert_int_equal(p->n_jobs, 2); /* the mbox that is named twice gets it once */
    assert_int_equal(count_in(&p->w, "anna@example.org"), 1);
    assert_int_equal(p->n_dsn, 1);
    assert_int_equal(p->dsn[0].kind, QUEUE_DSN_EXPANDED);
    report(p, job_to(p, "|/bin/cat"), QUEUE_FAILED, 550, "5.3.0", "no cat");
    report(p, job_to(p, "mbox:/m/many"), QUEUE_RELAYED, 250, "2.0.0", "delivered");
    run(p);
    assert_int_equal(p->n_dsn, 1); /* NOTIFY=SUCCESS: nobody is told of failures */
    mail(p, "many@example.org", 0);
    report(p, job_to(p, "|/bin/cat"), QUEUE_FAILED, 550, "5.3.0", "no cat");
    run(p);
    assert_int_equal(p->n_dsn, 2);
    assert_int_equal(p->dsn[1].kind, QUEUE_DSN_FAILED);
    assert_string_equal(p->dsn[1].text, "no cat");
    mail(p, "both@example.org", 0);
    assert_int_equal(count_in(&p->w, "both@example.org"), 1);
    assert_string_equal(job_to(p, "maildir:/m/both/")->to, "both@example.org");
}

/* Two envelope recipients that lead to one account's mechanism: once. */
static void test_once(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    send_to(p, (const char *const[]){ "files@b.example", "files@example.org", "both@example.org", NULL }, 0,
            "anna@example.org");
    run(p);
    assert_int_equal(p->n_jobs, 2);
}

static void test_hosts(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    send_to(p, (const char *const[]){ "gate@example.org", "sock@example.org", NULL }, QUEUE_NOTIFY_SUCCESS,
            "s@strange.example");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    const struct job_copy *gate = job_to(p, "smtp:Gate.example:2525"), *sock = job_to(p, "lmtp:/run/lmtp");
    assert_int_equal(gate->worker, QUEUE_SENDS);
    assert_string_equal(gate->destination, "via smtp:Gate.example:2525");
    assert_string_equal(gate->sender, "s@strange.example"); /* as it is */
    assert_string_equal(gate->to, "gate@example.org");
    assert_string_equal(sock->destination, "via lmtp:/run/lmtp");
    report(p, gate, QUEUE_RELAYED_NO_DSN, 250, "2.0.0", "ok");
    report(p, sock, QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    assert_true(has(p->events, "sent gate@example.org;"));
    assert_int_equal(p->n_dsn, 1);
    assert_int_equal(p->dsn[0].kind, QUEUE_DSN_RELAYED);
}

/* A dead worker leaves the other's jobs alone, and cannot answer for it. */
static void test_two_workers(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    mail(p, "files@example.org", 0);
    mail(p, "x@far.example", 0);
    assert_int_equal(p->n_jobs, 2);
    struct job_copy mine = *job_to(p, "mbox:/m/files"), other = *job_to(p, "");
    mine.worker = QUEUE_SENDS;
    report(p, &mine, QUEUE_RELAYED, 250, "2.0.0", "a lie");
    run(p);
    assert_false(has(p->events, "delivered"));
    const struct queue_attached lie = { .job = 12345, .message = mine.message, .indexes = mine.indexes, .n = 1 };
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_SENDS, &lie, 1, false), 0);
    store_queue_detach(p->w.store, QUEUE_DELIVERS);
    jump_ms += 2000;
    run(p);
    assert_int_equal(p->n_jobs, 2); /* that of smtp-out is not given again, that of mda waits for it */
    report(p, &other, QUEUE_RELAYED, 250, "2.0.0", "ok");
    run(p);
    assert_int_equal(p->done_to[QUEUE_SENDS], 1);
    attach_mda(p);
    jump_ms += 2000;
    run(p);
    assert_int_equal(p->n_jobs, 3);
    assert_string_equal(p->jobs[2].via, "mbox:/m/files");
    /* the store goes; the worker has it still */
    const struct job_copy kept = p->jobs[2];
    restart(p);
    run(p);
    assert_int_equal(p->n_jobs, 0);
    const struct queue_attached a = { .job = kept.id, .message = kept.message, .indexes = kept.indexes, .n = 1 };
    assert_int_equal(store_queue_attach(p->w.store, QUEUE_DELIVERS, &a, 1, true), 0);
    run(p);
    assert_int_equal(p->n_jobs, 0);
    p->events[0] = '\0';
    report(p, &kept, QUEUE_RELAYED, 250, "2.0.0", "delivered");
    run(p);
    assert_true(has(p->events, "delivered files@example.org;"));
    assert_false(has(ask(p, "do=list"), "queue_id"));
}

/* From the index, after a restart and a deferral. */
static void test_again(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    mail(p, "cmd@example.org", 0);
    report(p, job_to(p, "|/bin/cat -n"), QUEUE_DEFERRED, 451, "4.3.0", "the disk is full");
    run(p);
    assert_true(has(p->events, "deferred cmd@example.org;"));
    restart(p);
    store_set_key(p->w.store, key);
    attach_mda(p);
    assert_int_equal(p->n_jobs, 0);
    jump_ms += 400000;
    run(p);
    assert_int_equal(p->n_jobs, 1);
    assert_string_equal(p->jobs[0].via, "|/bin/cat -n");
    assert_string_equal(p->jobs[0].destination, "mda - |/bin/cat -n");
    assert_int_equal(p->jobs[0].attempt, 2);
    report(p, &p->jobs[0], QUEUE_DEFERRED, 451, "4.3.0", "the disk is full");
    run(p);
    ask(p, "do=retry recipient=cmd@example.org");
    run(p);
    assert_int_equal(p->n_jobs, 2);
    assert_string_equal(p->jobs[1].via, "|/bin/cat -n");
    assert_int_equal(p->jobs[1].worker, QUEUE_DELIVERS);
    assert_true(has(p->jobs[1].prefix, "Delivered-To: cmd@example.org (posthouse "));
}

static void deliver_marked(struct play *p, const char *to, const char *mark, const char *helo)
{
    struct record_recipient list = { .address = str_z(to) };
    str passed = str_z(mark);
    struct message_record m = { .session = "0123456789abcde", .number = 2, .received_us = test_wall(),
                                .sender = S("anna@example.org"), .recipients = &list, .n_recipients = 1,
                                .delivered_to = &passed, .n_delivered_to = mark[0] != '\0', .helo = str_z(helo) };
    deliver(p, &m, "x\r\n");
    run(p);
}

static void test_loops(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    deliver_marked(p, "cmd@example.org", "cmd@example.org", "");
    deliver_marked(p, "gate@example.org", "gate@example.org", "");
    assert_int_equal(p->n_dsn, 2);
    assert_true(has(p->dsn[0].text, "loop") && has(p->dsn[1].text, "loop"));
    deliver_marked(p, "only@example.org", "only@example.org", ""); /* nothing behind `forward`: as without the file */
    assert_int_equal(p->n_jobs, 0);
    assert_int_equal(count_in(&p->w, "only@example.org"), 1);
    deliver_marked(p, "files@example.org", "files@example.org", ""); /* a file keeps it, and there it ends */
    assert_int_equal(p->n_jobs, 1);
    deliver_marked(p, "fwd@example.org", "", "");
    assert_int_equal(p->n_jobs, 2);
    assert_string_equal(p->jobs[1].via, "forward\nmailbox\nmbox:/m/fwd");
    assert_string_equal(p->jobs[1].destination, "mda fred forward,mailbox,mbox:/m/fwd");
    assert_int_equal(count_in(&p->w, "fwd@example.org"), 0);
    deliver_marked(p, "fwd@example.org", "FWD@example.org", ""); /* what its ~/.forward sent away came back */
    assert_int_equal(p->n_jobs, 3);
    assert_string_equal(p->jobs[2].via, "mbox:/m/fwd");
    assert_int_equal(count_in(&p->w, "fwd@example.org"), 1);
    assert_int_equal(p->n_dsn, 2);
}

/* What a command is told of the client; for a file nobody looks. */
static void test_client(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    deliver_marked(p, "cmd@example.org", "", "mail.client.example");
    deliver_marked(p, "files@example.org", "", "mail.client.example");
    assert_string_equal(job_to(p, "|/bin/cat -n")->helo, "mail.client.example");
    assert_string_equal(job_to(p, "mbox:/m/files")->helo, "");
}

static void deliver_native(struct play *p, const char *to)
{
    struct record_recipient list = { .address = str_z(to), .notify = QUEUE_NOTIFY_SUCCESS };
    struct message_record m = { .session = "0123456789abcde", .number = 3, .received_us = test_wall(), .native = true,
                                .sender = S("anna@example.org"), .recipients = &list, .n_recipients = 1 };
    deliver(p, &m, "x\r\n");
    run(p);
}

static void test_native(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    deliver_native(p, "Files@example.org");
    deliver_native(p, "files@b.example");
    assert_int_equal(count_in(&p->w, "files@example.org"), 2);
    assert_int_equal(p->n_dsn, 2);
    assert_int_equal(p->dsn[1].kind, QUEUE_DSN_DELIVERED);
    deliver_native(p, "many@example.org"); /* of an alias only the accounts behind it */
    assert_int_equal(count_in(&p->w, "anna@example.org"), 1);
    deliver_native(p, "cmd@example.org"); /* nobody: to postmaster */
    assert_int_equal(count_in(&p->w, "anna@example.org"), 2);
    assert_int_equal(p->n_jobs, 0);
    assert_int_equal(world_check(&p->w), 0);
}

/* Many messages to one Maildir at a time, two to one command. */
static void test_at_once(void **state)
{
    (void)state;
    _cleanup_play_ struct play *p = via_begin();
    attach_mda(p);
    for (int i = 0; i < 20; i++) {
        mail(p, "both@example.org", 0);
        mail(p, "cmd@example.org", 0);
    }
    size_t maildir = 0, command = 0;
    for (size_t i = 0; i < p->n_jobs; i++) {
        maildir += has(p->jobs[i].via, "maildir:");
        command += p->jobs[i].via[0] == '|';
    }
    assert_int_equal(maildir, 16);
    assert_int_equal(command, 2);
}

/* A key is bounded, and longer mechanisms keep theirs apart. */
static void test_keys(void **state)
{
    (void)state;
    char text[2][2000];
    struct buf keys[2] = { BUF(1000), BUF(1000) };
    struct schedule_limits limits;
    for (int i = 0; i < 2; i++) {
        snprintf(text[i], sizeof(text[i]), "mbox:/%01000d/%d", 7, i);
        const struct queue_to to = { .via = str_z(text[i]) };
        queue_via_destination(&to, &keys[i], &limits);
        assert_int_equal(keys[i].n, ROUTE_DESTINATION_MAX);
    }
    assert_false(str_eq(buf_str(&keys[0]), buf_str(&keys[1])));
    assert_int_equal(limits.worker, QUEUE_DELIVERS);
    const struct queue_to nonsense = { .via = S("no mechanism") }; /* role mda says so */
    buf_clear(&keys[0]);
    queue_via_destination(&nonsense, &keys[0], &limits);
    assert_int_equal(limits.worker, QUEUE_DELIVERS);
    assert_true(str_eq(buf_str(&keys[0]), S("mda - no mechanism")));
    for (int i = 0; i < 2; i++)
        buf_done(&keys[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file),    cmocka_unit_test(test_several), cmocka_unit_test(test_once),
        cmocka_unit_test(test_hosts),     cmocka_unit_test(test_two_workers), cmocka_unit_test(test_again),
        cmocka_unit_test(test_loops),     cmocka_unit_test(test_client),  cmocka_unit_test(test_native),
        cmocka_unit_test(test_at_once),   cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests_name("store_queue_via", tests, NULL, NULL);
}
