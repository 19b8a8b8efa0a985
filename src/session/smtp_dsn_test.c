/* Notices to senders: what the store asks for stands in the receive log, once, and nothing it passes on breaks out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "message/dsn.h"
#include "message/mime.h"
#include "session/smtp_play.h"

#define HEADER "Message-ID: <old@far.example>\r\nSubject: About\r\n tea\r\nX-Last: y\r\n"

struct notice { /* what DSN_MAKE says; zero: something usual */
    uint64_t event;
    uint8_t kind, ret, smtputf8, last_resort;
    const char *to, *envid, *address, *original, *orcpt, *status, *mta, *text;
    uint16_t code;
    str content;
    uint64_t offset, length; /* of the frame; 0: as it is */
    uint32_t n;
    size_t session;
};

static const char *or(const char *text, const char *usual) { return text ? text : usual; }

static void pack_notice(struct buf *b, const struct notice *n)
{
    static const char session[17] = "0123456789abcdef";
    uint32_t count = n->n ? n->n : 1;
    *b = BUF(IPC_FRAME_MAX);
    pack_u64(b, 4711);
    pack_u64(b, n->event ? n->event : 4712);
    pack_u8(b, n->kind);
    pack_str(b, str_z(or(n->to, "me@far.example")));
    pack_str(b, str_z(or(n->envid, "")));
    pack_u8(b, n->ret);
    pack_u8(b, n->smtputf8);
    pack_u8(b, n->last_resort);
    pack_str(b, str_of(session, n->session ? n->session : 16));
    pack_u32(b, 3);
    pack_u64(b, 1700000000u * 1000000ull);
    pack_str(b, str_z(or(n->to, "me@far.example")));
    pack_u64(b, n->offset ? n->offset : 4);
    pack_u64(b, n->length ? n->length : n->content.n);
    pack_u32(b, count);
    for (uint32_t i = 0; i < MIN(count, 1000u); i++) {
        pack_str(b, str_z(or(n->address, "bob@near.example")));
        pack_str(b, str_z(or(n->original, "")));
        pack_str(b, str_z(or(n->orcpt, "")));
        pack_u8(b, 3);
        pack_str(b, str_z(or(n->status, "5.1.1")));
        pack_str(b, str_z(or(n->mta, "mx.near.example [192.0.2.1]:25")));
        pack_u16(b, n->code ? n->code : 550);
        pack_str(b, str_z(or(n->text, "550 5.1.1 no such user")));
        pack_u64(b, 1700000100u * 1000000ull);
        pack_u64(b, 0);
    }
}

static int content_file(str content)
{
    int fd = memfd_create("original", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, "junk", 4) == 4);
    assert_int_equal(write(fd, content.p, content.n), (ssize_t)content.n);
    return fd;
}

static void ask(struct role_play *p, const struct notice *n)
{
    struct buf b;
    _cleanup_close_ int fd = content_file(n->content);
    pack_notice(&b, n);
    play_send(p->peer[ROLE_STORE], IPC_DSN_MAKE, &b, fd);
}

/* Asks, and reads what came into the log. */
static void make(struct role_play *p, const struct notice *n, struct play_message *out)
{
    ask(p, n);
    play_message_done(out);
    play_read(p, play_synced(p), out);
}

static bool has(const struct play_message *m, const char *text)
{
    return str_find(buf_str(&m->content), str_z(text)) >= 0;
}

static void must_have(const struct play_message *m, const char *text)
{
    if (!has(m, text))
        fail_msg("\"%s\" is not in:\n%.*s", text, STR_ARG(buf_str(&m->content)));
}

/* Every line ends with CRLF and has at most 998 octets; no other control byte but the tab. */
static void clean(const struct play_message *m)
{
    str rest = buf_str(&m->content);
    while (rest.n) {
        ptrdiff_t end = str_find(rest, S("\r\n"));
        assert_in_range(end, 0, 998);
        for (ptrdiff_t i = 0; i < end; i++)
            assert_true((unsigned char)rest.p[i] >= ' ' || rest.p[i] == '\t');
        rest = str_from(rest, (size_t)end + 2);
    }
}

static void test_a_notice_in_the_log(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    make(&p, &(struct notice){ .content = S(HEADER "\r\nthe body\r\n"), .envid = "my-id",
                               .original = "bob@alias.example", .orcpt = "rfc822;bob@alias.example" }, &m);
    const struct message_record *r = &m.record;
    assert_int_equal(r->dsn_of, 4711);
    assert_int_equal(r->dsn_event, 4712);
    assert_int_equal(r->sender.n, 0);
    assert_true(str_eq(r->listener, S("notice")));
    assert_int_equal(r->number, 1);
    assert_memory_not_equal(r->session, "0123456789abcdef", 16); /* it is a message of its own */
    assert_int_equal(r->n_recipients, 1);
    assert_true(str_eq(r->recipients[0].address, S("me@far.example")));
    assert_int_equal(r->recipients[0].notify, 1); /* nobody is told of what becomes of it */
    assert_int_equal(r->body, 0);
    assert_int_equal(r->generation, 1);
    assert_true(r->card.n > 0);
    must_have(&m, "From: Mail Delivery System <MAILER-DAEMON@example.org>\r\nTo: <me@far.example>\r\n");
    must_have(&m, "Content-Type: multipart/report; report-type=delivery-status;");
    must_have(&m, "Auto-Submitted: auto-");
    must_have(&m, "In-Reply-To: <old@far.example>\r\n");
    must_have(&m, "About tea");
    must_have(&m, "Reporting-MTA: dns; mx.example.org\r\n");
    must_have(&m, "Original-Envelope-Id: my-id\r\n");
    must_have(&m, "Original-Recipient: rfc822;");
    must_have(&m, "Final-Recipient: rfc822;");
    must_have(&m, "Action: failed\r\n");
    must_have(&m, "Status: 5.1.1\r\n");
    must_have(&m, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n");
    must_have(&m, "Content-Type: message/rfc822\r\n");
    must_have(&m, HEADER "\r\nthe body\r\n");
    clean(&m);
    assert_int_equal(play_status(&p, "syncs"), 1);
    play_stop(&p);
}

/* RFC 3461 4.3: RET is for failures; without it what is short comes back whole. */
static void test_how_much_comes_back(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    _cleanup_buf_ struct buf content = BUF(4 << 20);
    static const struct { uint8_t kind, ret; size_t size; bool whole; } rows[] = {
        { DSN_FAILED, 0, 1000, true },       { DSN_FAILED, 0, 60000, false },  { DSN_FAILED, 1, 60000, true },
        { DSN_FAILED, 1, 1 << 20, true },    { DSN_FAILED, 1, (1 << 20) + 1, false },
        { DSN_FAILED, 2, 1000, false },      { DSN_DELAYED, 1, 1000, false },  { DSN_DELAYED, 0, 1000, false },
        { DSN_DELIVERED, 1, 1000, false },   { DSN_RELAYED, 1, 1000, false },  { DSN_EXPANDED, 1, 1000, false },
    };
    play_smtp(&p, "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_clear(&content);
        buf_add(&content, S(HEADER "\r\nfirst of the body\r\n"));
        while (content.n < rows[i].size)
            buf_add(&content, str_first(S("0123456789012345678901234567890123456789\r\n"), rows[i].size - content.n));
        make(&p, &(struct notice){ .kind = rows[i].kind, .ret = rows[i].ret, .content = buf_str(&content) }, &m);
        must_have(&m, HEADER);
        assert_int_equal(has(&m, "first of the body"), rows[i].whole);
        assert_int_equal(has(&m, "Content-Type: message/rfc822\r\n"), rows[i].whole);
        assert_int_equal(has(&m, "Content-Type: text/rfc822-headers\r\n"), !rows[i].whole);
        if (rows[i].whole)
            assert_true(str_find(buf_str(&m.content), buf_str(&content)) > 0);
        else
            assert_in_range(m.content.n, 500, 10000);
    }
    play_stop(&p);
}

static void test_eight_bits_of_the_original(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    make(&p, &(struct notice){ .content = S("Subject: x\r\n\r\nGr\303\274\303\237e\r\n") }, &m);
    assert_int_equal(m.record.body, 1);
    assert_int_equal(m.record.priority, RECORD_PRIORITY_LOW);
    assert_false(m.record.smtputf8);
    must_have(&m, "Gr\303\274\303\237e\r\n");
    make(&p, &(struct notice){ .content = S("Subject: x\r\n\r\nGr\303\274\303\237e\r\n"), .ret = 2 }, &m);
    assert_int_equal(m.record.body, 0); /* nothing of that is in it */
    make(&p, &(struct notice){ .content = S("Subject: \303\274\r\n\r\nx\r\n"), .smtputf8 = 1, .ret = 2,
                               .address = "b\303\274b@near.example", .to = "m\303\274@far.example" }, &m);
    assert_true(m.record.smtputf8 && m.record.body);
    must_have(&m, "To: <m\303\274@far.example>");
    must_have(&m, "Content-Type: message/global-delivery-status");
    play_stop(&p);
}

/* What other hosts and clients said stays text. */
static void test_hostile_texts(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    static char lines[15000];
    static const char evil[] =
        "550 x\r\nEvil: yes\r\n\r\nEvil: yes\n\033]0;title\007\rEvil: yes\n.\n\n--boundary--\n\377\376";
    play_smtp(&p, "");
    memset(lines, 'a', sizeof(lines) - 1);
    const struct notice rows[] = {
        { .text = evil }, { .text = lines }, { .address = evil }, { .original = evil }, { .orcpt = evil },
        { .orcpt = "rfc822;a\r\nEvil: yes" }, { .mta = evil }, { .status = evil }, { .status = "" }, { .envid = evil },
        { .to = evil }, { .to = lines, .address = lines }, { .text = "" }, { .text = "\n\n\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct notice n = rows[i];
        n.content = S("Message-ID: <a@b>\r\n\r\nx\r\n");
        n.event = 100 + i;
        make(&p, &n, &m);
        clean(&m);
        if (has(&m, "\r\nEvil"))
            fail_msg("row %zu: %.*s", i, STR_ARG(buf_str(&m.content)));
        assert_int_equal(m.record.dsn_event, 100 + i);
        assert_true(m.content.n < 200000);
    }
    static const char *const originals[] = { "Subject: \033[31m\r\n\tEvil: yes\r\n\r\nx\r\n",
                                             "Message-ID: <a\rEvil: yes>\r\n\r\nx\r\n",
                                             "Message-ID: <a\0b>\r\n\r\nx\r\n" };
    for (size_t i = 0; i < ARRAY_LEN(originals); i++) {
        make(&p, &(struct notice){ .content = str_z(originals[i]), .ret = 2 }, &m);
        ptrdiff_t end = str_find(buf_str(&m.content), S("\r\n\r\n"));
        str header = str_first(buf_str(&m.content), (size_t)MAX(end, (ptrdiff_t)0));
        assert_true(header.n > 100 && str_find(header, S("\nEvil")) < 0 && str_find(header, S("\rEvil")) < 0);
        assert_true(str_chr(header, '\033') < 0);
    }
    play_stop(&p);
}

/* A message is a multipart whose end its own boundary alone can make. */
static void test_the_original_cannot_end_the_notice(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message first = { 0 }, m = { 0 };
    char boundary[100] = { 0 };
    play_smtp(&p, "");
    make(&p, &(struct notice){ .content = S("a: b\r\n\r\nx\r\n") }, &first);
    ptrdiff_t at = str_find(buf_str(&first.content), S("boundary=\""));
    assert_true(at > 0);
    str rest = str_from(buf_str(&first.content), (size_t)at + 10);
    memcpy(boundary, rest.p, (size_t)MIN(str_chr(rest, '"'), (ptrdiff_t)sizeof(boundary) - 1));
    make(&p, &(struct notice){ .content = S("a: b\r\n\r\nx\r\n"), .event = 9 }, &m);
    assert_false(has(&m, boundary)); /* another one each time */
    play_stop(&p);
}

static void test_originals_of_odd_shapes(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    _cleanup_buf_ struct buf large = BUF(4 << 20);
    play_smtp(&p, "");
    make(&p, &(struct notice){ .content = S("Subject: x\r\nno end of the header"), .ret = 2 }, &m);
    must_have(&m, "Subject: x\r\nno end of the header\r\n");
    make(&p, &(struct notice){ .content = S("\r\nonly a body\r\n"), .ret = 2 }, &m);
    assert_false(has(&m, "only a body"));
    make(&p, &(struct notice){ .content = S("x"), .ret = 2 }, &m);
    clean(&m);
    while (large.n < 3 << 20)
        buf_add(&large, S("X-Long: 0123456789012345678901234567890123456789\r\n"));
    make(&p, &(struct notice){ .content = buf_str(&large), .ret = 2 }, &m);
    assert_in_range(m.content.n, 100000, 200000); /* of a header without end, the first 128 KiB */
    clean(&m);
    play_stop(&p);
}

/* What cannot be read now is no reason to die, nor to write half a notice: the store asks again. */
/* The sender hears of it all the same, without his message. */
static void test_an_original_that_cannot_be_read(void **state)
{
    (void)state;
    static const struct notice unreadable[] = {
        { .content = { "a: b\r\n\r\n", 8 }, .offset = 1 << 20 },
        { .content = { "a: b\r\n\r\n", 8 }, .length = 50000 },
        { .content = { "a: b\r\n\r\n", 8 }, .offset = UINT64_MAX - 1 },
        { .content = { "a: b\r\n\r\n", 8 }, .length = UINT64_MAX },
    };
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    struct buf b;
    play_smtp(&p, "");
    for (size_t i = 0; i < ARRAY_LEN(unreadable); i++) {
        make(&p, &unreadable[i], &m);
        assert_int_equal(m.record.dsn_event, 4712);
        must_have(&m, "\r\n\r\nComments: this host cannot read the message from its disk any more\r\n");
        assert_false(has(&m, "a: b"));
    }
    pack_notice(&b, &(struct notice){ .content = S("a: b\r\n\r\n") });
    play_send(p.peer[ROLE_STORE], IPC_DSN_MAKE, &b, -1);
    play_message_done(&m);
    play_read(&p, play_synced(&p), &m);
    must_have(&m, "Comments: this host cannot read");
    play_stop(&p);
}

static void spoiled(struct role_play *p, struct buf *b)
{
    _cleanup_close_ int fd = content_file(S("a: b\r\n\r\n"));
    play_send(p->peer[ROLE_STORE], IPC_DSN_MAKE, b, fd);
    play_closed(p, p->peer[ROLE_STORE]);
    play_peer(p, ROLE_STORE);
    play_expect(p, p->peer[ROLE_STORE], IPC_LOG_ATTACH);
}

static void test_frames_that_are_none(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    struct buf whole, b;
    play_smtp(&p, "");
    pack_notice(&whole, &(struct notice){ .content = S("a: b\r\n\r\n") });
    for (size_t n = 0; n < whole.n; n += 5) {
        b = BUF(IPC_FRAME_MAX);
        buf_add(&b, str_of(whole.p, n));
        spoiled(&p, &b);
    }
    buf_addc(&whole, 0);
    spoiled(&p, &whole);
    pack_notice(&b, &(struct notice){ .kind = DSN_KINDS });
    spoiled(&p, &b);
    pack_notice(&b, &(struct notice){ .session = 15 });
    spoiled(&p, &b);
    pack_notice(&b, &(struct notice){ .n = 1001 });
    spoiled(&p, &b);
    pack_notice(&b, &(struct notice){ .n = UINT32_MAX, .text = "x" });
    spoiled(&p, &b);
    pack_notice(&b, &(struct notice){ 0 });
    put_u32(b.p + b.n - 8 - 8 - 26 - 2 - 34 - 9 - 1 - 4 - 4 - 20 - 4, 0); /* nobody, and then somebody */
    spoiled(&p, &b);
    make(&p, &(struct notice){ .content = S("a: b\r\n\r\n") }, &m);
    play_stop(&p);
}

static void test_a_thousand_recipients(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    size_t n = 0;
    play_smtp(&p, "");
    make(&p, &(struct notice){ .content = S("a: b\r\n\r\n"), .n = 900, .address = "b@x.y", .mta = "m",
                               .text = "t" }, &m);
    for (str rest = buf_str(&m.content), line; rest.n;) {
        line = str_cut(&rest, '\n');
        n += str_starts(line, S("Final-Recipient:"));
    }
    assert_int_equal(n, 900);
    play_stop(&p);
}

/* A role that is careful parses nothing, its own notices with parts of others' mail neither. */
static void test_careful(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    struct buf b = BUF(16);
    play_smtp(&p, "");
    pack_u64(&b, 600000);
    play_send(p.master, IPC_CAREFUL, &b, -1);
    assert_int_equal(play_status(&p, "careful_s"), 600);
    make(&p, &(struct notice){ .content = S(HEADER "\r\nbody\r\n") }, &m);
    assert_int_equal(m.record.card.n, 0);
    assert_int_equal(m.record.dsn_event, 4712);
    must_have(&m, "Action: failed\r\n");
    play_stop(&p);
}

static void test_the_postmaster_hears_of_what_nobody_sent(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_message_ struct play_message m = { 0 };
    play_smtp(&p, "");
    make(&p, &(struct notice){ .content = S(HEADER "\r\nbody\r\n"), .to = "postmaster@example.org",
                               .last_resort = 1 }, &m);
    must_have(&m, "To: <postmaster@example.org>\r\n");
    must_have(&m, "without a sender");
    assert_int_equal(m.record.sender.n, 0);
    play_stop(&p);
}

/* Notices and clients share a log: a client that waits for its sync gets its answer all the same. */
static void test_beside_a_client(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_client_ struct play_client c = { .fd = -1 };
    play_smtp(&p, "");
    play_greeted(&p, &c, PLAY_SMTP);
    for (uint64_t i = 1; i <= 20; i++) {
        ask(&p, &(struct notice){ .content = S(HEADER "\r\nbody\r\n"), .event = i });
        client_talk(&c, "MAIL FROM:<x@far.example>\r\n", "250");
        client_talk(&c, "RCPT TO:<anna@example.org>\r\n", "250");
        client_talk(&c, "DATA\r\n", "354");
        client_talk(&c, "a: b\r\n\r\nx\r\n.\r\n", "250");
    }
    assert_int_equal(play_status(&p, "messages"), 20);
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_notice_in_the_log),
        cmocka_unit_test(test_how_much_comes_back),
        cmocka_unit_test(test_eight_bits_of_the_original),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_the_original_cannot_end_the_notice),
        cmocka_unit_test(test_originals_of_odd_shapes),
        cmocka_unit_test(test_an_original_that_cannot_be_read),
        cmocka_unit_test(test_frames_that_are_none),
        cmocka_unit_test(test_a_thousand_recipients),
        cmocka_unit_test(test_careful),
        cmocka_unit_test(test_the_postmaster_hears_of_what_nobody_sent),
        cmocka_unit_test(test_beside_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
