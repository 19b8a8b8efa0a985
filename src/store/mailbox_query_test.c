/* Questions about mailboxes, answered by a store. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/index.h"
#include "store/mailbox_query.h"
#include "store/store_mailboxes_world.h"

/* Asks; the answer must (not) be an error and have `has` in it. */
static void ask(struct world *w, const char *question, bool wanted, const char *has)
{
    _cleanup_buf_ struct buf out = BUF(ROLE_ANSWER_MAX);
    bool ok = !wanted;
    assert_int_equal(mailbox_query(w->store, str_z(question), &out, &ok), 0);
    if (ok != wanted || str_find(buf_str(&out), str_z(has)) < 0)
        fail_msg("%s: %.*s", question, STR_ARG(buf_str(&out)));
    assert_true(str_starts(buf_str(&out), ok ? S("{") : S("{\"error\":\"")));
}

static void test_words(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    deliver(&w, 1);
    ask(&w, " mailbox=list account=ANNA@example.org", true, "{\"name\":\"INBOX\",\"id\":1,\"subscribed\":0,\"use\":0,");
    ask(&w, " mailbox=status account=anna@example.org name=inbox", true, "\"messages\":1,\"unseen\":1,");
    ask(&w, " mailbox=status account=anna@example.org name=inbox", true, "\"used_messages\":1,\"quota_bytes\":0,");
    ask(&w, " mailbox=messages account=anna@example.org name=INBOX", true, "{\"uid\":1,\"flags\":0,\"keywords\":\"\",");
    ask(&w, " mailbox=messages account=anna@example.org name=INBOX", true, "\"log\":\"in\",");
    ask(&w, " mailbox=messages account=anna@example.org name=INBOX after=1", true, "{\"end\":true}");
    ask(&w, " mailbox=messages account=anna@example.org name=INBOX after=4294967295", true, "{\"end\":true}");
    ask(&w, " mailbox=open account=anna@example.org name=a/b", true, "\"created\":1}");
    ask(&w, " mailbox=open account=anna@example.org name=a/b", true, "\"created\":0}");
    ask(&w, " mailbox=create account=anna@example.org name=a", false, "of that name already");
    ask(&w, " mailbox=create account=anna@example.org name=c", true, "end");
    ask(&w, " mailbox=rename account=anna@example.org name=c to=d", true, "end");
    assert_true(id_of(&w, "d") && id_of(&w, "a/b") && !id_of(&w, "c"));
    ask(&w, " mailbox=delete account=anna@example.org name=d", true, "end");
    ask(&w, " mailbox=delete account=anna@example.org name=INBOX", false, "cannot be done");
    assert_int_equal(id_of(&w, "d"), 0);
}

static void test_complaints(void **state)
{
    (void)state;
    static const char *const bad[] = {
        " mailbox=list account=nobody@example.org", " mailbox=status account=anna@example.org name=none",
        " mailbox=list",
        " mailbox=dance account=anna@example.org", " mailbox=list account=anna@example.org x=y",
        " mailbox=create account=anna@example.org name=a//b", " mailbox=create account=anna@example.org", " mailbox",
        " mailbox=rename account=anna@example.org name=INBOX", " mailbox=attach", " mailbox=attach first=x",
        " mailbox=attach first=1 at=5", " mailbox=messages account=anna@example.org name=INBOX after=x", "",
    };
    _cleanup_world_ struct world w;
    world_init(&w);
    world_begin(&w);
    deliver(&w, 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ask(&w, bad[i], false, "error");
    assert_true(mailbox_query_is(S(" mailbox=x")) && !mailbox_query_is(S(" do=list")) && !mailbox_query_is(STR_NONE));
}

/* A list that needs several pages has every message once, in the order of UIDs. */
static void test_pages(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    enum { MESSAGES = 700 };
    uint32_t seen = 0, pages = 0;
    world_init(&w);
    world_begin(&w);
    for (uint32_t i = 1; i < MESSAGES; i++)
        append(&w, i, S("x"), "anna@example.org");
    deliver(&w, MESSAGES);
    for (bool more = true; more; pages++) {
        _cleanup_buf_ struct buf out = BUF(ROLE_ANSWER_MAX), question = BUF(1000);
        bool ok;
        buf_addf(&question, " mailbox=messages account=anna@example.org name=INBOX after=%u", seen);
        assert_int_equal(mailbox_query(w.store, buf_str(&question), &out, &ok), 0);
        assert_true(ok && !out.failed);
        for (str rest = buf_str(&out); rest.n;) {
            str line = str_cut(&rest, '\n');
            char wanted[40];
            snprintf(wanted, sizeof(wanted), "{\"uid\":%u,", seen + 1);
            if (str_starts(line, S("{\"end\""))) {
                more = str_find(line, S("after")) > 0;
                assert_int_equal(rest.n, 0);
            } else {
                assert_true(str_starts(line, str_z(wanted)));
                seen++;
            }
        }
    }
    assert_int_equal(seen, MESSAGES);
    assert_true(pages > 2);
}

static void import(struct world *w, struct receive_log *l, uint64_t mailbox, uint32_t number)
{
    static const str keywords[] = { { "blue", 4 } };
    _cleanup_buf_ struct buf meta = BUF(65536);
    struct message_record m = { .number = number, .account = ANNA, .append_mailbox = mailbox,
                                .append_flags = MESSAGE_SEEN,
                                .append_keywords = keywords, .n_append_keywords = 1, .append_date_s = 77 };
    str content = S("imported");
    uint64_t ticket;
    struct log_position at;
    (void)w;
    assert_int_equal(message_record_encode(&meta, &m), 0);
    assert_int_equal(receive_log_append(l, &content, 1, buf_str(&meta), &ticket, &at), 0);
    assert_int_equal(receive_log_flush(l), 0);
    wait_synced(l, ticket);
}

/* What is in the log "import" is placed where it says: of a writer that lives, and of one that died. */
static void test_attach(void **state)
{
    (void)state;
    _cleanup_world_ struct world w;
    _cleanup_buf_ struct buf question = BUF(1000);
    struct receive_log *l;
    world_init(&w);
    world_begin(&w);
    assert_int_equal(make(&w, "Old", 0), STORE_DONE);
    assert_true(mkdirat(w.fd, "log/import", 0700) == 0);
    int dir = open_file(&w, "log/import", O_RDONLY | O_DIRECTORY);
    struct receive_log_config c = { .dir_fd = dir, .segment_size = 65536, .env = &env_system, .memory_max = 65536 };
    assert_int_equal(receive_log_open(&c, &l), 0);
    ask(&w, " mailbox=attach first=1", true, "end");
    import(&w, l, id_of(&w, "Old"), 1);
    struct log_position at;
    assert_int_equal(receive_log_progress(l, &at, 1), 1);
    buf_addf(&question, " mailbox=attach first=1 at=%llu:%llu%c", (unsigned long long)at.segment,
             (unsigned long long)at.offset, 0);
    ask(&w, question.p, true, "end");
    ask(&w, question.p, true, "end"); /* twice does no harm */
    assert_int_equal(folder_named(&w, "Old").messages, 1);
    import(&w, l, id_of(&w, "Old"), 2);
    receive_log_close(l);
    assert_int_equal(folder_named(&w, "Old").messages, 1);
    ask(&w, " mailbox=attach first=1000", true, "end");
    struct store_folder f = folder_named(&w, "Old");
    assert_true(f.messages == 2 && f.unseen == 0);
    ask(&w, " mailbox=messages account=anna@example.org name=Old", true,
        "{\"uid\":2,\"flags\":1,\"keywords\":\"blue\",\"date\":77,");
    close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_complaints),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_attach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
