/* Tests of mime.c and mime_bounds.c: where parts lie. A test writes the expected table as lines
 *     parent depth type/subtype flags "header" "body" lines
 * with the slices themselves, so that a wrong offset shows as wrong text. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "message/growth_test.h"
#include "message/header.h"
#include "message/mime.h"

static struct mime_parser *parser;

static void feed(str content, size_t piece)
{
    mime_reset(parser);
    for (size_t i = 0; i < content.n; i += piece)
        mime_feed(parser, str_first(str_from(content, i), piece));
    mime_end(parser);
}

static void put_text(struct buf *out, str s)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n')
            buf_addc(out, '/');
        else if (s.p[i] != '\r')
            buf_addc(out, s.p[i]);
    }
    buf_addc(out, '"');
}

static void show(struct buf *out, str content)
{
    const struct mime_part *parts;
    size_t n = mime_parts(parser, &parts);
    for (size_t i = 0; i < n; i++) {
        const struct mime_part *p = &parts[i];
        buf_addf(out, "%u %u %.*s/%.*s%s%s ", p->parent, p->depth, STR_ARG(p->type), STR_ARG(p->subtype),
                 p->multipart ? " m" : "", p->message ? " r" : "");
        put_text(out, str_of(content.p + p->header_off, p->body_off - p->header_off));
        buf_addc(out, ' ');
        put_text(out, str_of(content.p + p->body_off, p->end_off - p->body_off));
        buf_addf(out, " %lu\n", (unsigned long)p->lines);
    }
}

/* The same table whatever the pieces. */
static void check(str content, const char *want)
{
    static const size_t pieces[] = { SIZE_MAX / 2, 1, 2, 3, 7, 61 };
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        _cleanup_buf_ struct buf got = BUF(1 << 20);
        feed(content, pieces[i]);
        show(&got, content);
        buf_addc(&got, '\0');
        assert_string_equal(got.p, want);
        assert_false(mime_limited(parser));
        assert_int_equal(mime_size(parser), content.n);
    }
}

static const struct mime_part *part(size_t i)
{
    const struct mime_part *parts;
    assert_true(mime_parts(parser, &parts) > i);
    return &parts[i];
}

static size_t parts_n(void)
{
    const struct mime_part *parts;
    return mime_parts(parser, &parts);
}

static void test_simple(void **state)
{
    (void)state;
    check(S(""), "0 0 text/plain \"\" \"\" 0\n");
    check(S("A: b\r\n\r\n"), "0 0 text/plain \"A: b//\" \"\" 0\n");
    check(S("A: b\r\n\r\nx\r\ny\r\n"), "0 0 text/plain \"A: b//\" \"x/y/\" 2\n");
    check(S("A: b\r\n\r\nx\r\ny"), "0 0 text/plain \"A: b//\" \"x/y\" 2\n");
    check(S("A: b\r\n"), "0 0 text/plain \"A: b/\" \"\" 0\n");
    check(S("A: b"), "0 0 text/plain \"A: b\" \"\" 0\n");
    check(S("\r\nx"), "0 0 text/plain \"/\" \"x\" 1\n");
    check(S("A: b\n\nx\n"), "0 0 text/plain \"A: b//\" \"x/\" 1\n");
    check(S("junk\r\n more\r\nContent-Type: TEXT/HTML\r\n\r\nx\r\r\n"),
          "0 0 text/html \"junk/ more/Content-Type: TEXT/HTML//\" \"x/\" 1\n");
}

#define MIXED "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"

static void test_multipart(void **state)
{
    (void)state;
    check(S(MIXED "pre\r\n--b\r\nA: 1\r\n\r\none\r\n--b\r\n\r\ntwo\r\nlines\r\n\r\n--b--\r\nepi\r\n"),
          "0 0 multipart/mixed m \"Content-Type: multipart/mixed; boundary=\"b\"//\" "
          "\"pre/--b/A: 1//one/--b//two/lines//--b--/epi/\" 12\n"
          "0 1 text/plain \"A: 1//\" \"one\" 1\n"
          "0 1 text/plain \"/\" \"two/lines/\" 2\n");
    check(S(MIXED "--b\r\n\r\n--b\r\n--b\r\nA: 1\r\n--b--"),
          "0 0 multipart/mixed m \"Content-Type: multipart/mixed; boundary=\"b\"//\" \"--b//--b/--b/A: 1/--b--\" 6\n"
          "0 1 text/plain \"/\" \"\" 0\n"
          "0 1 text/plain \"\" \"\" 0\n"
          "0 1 text/plain \"A: 1/\" \"\" 0\n");
    /* no end boundary; bare line feeds; blanks behind the boundary */
    check(S(MIXED "--b \t\n\nx\n--b\n\ny"),
          "0 0 multipart/mixed m \"Content-Type: multipart/mixed; boundary=\"b\"//\" \"--b \t//x/--b//y\" 6\n"
          "0 1 text/plain \"/\" \"x\" 1\n"
          "0 1 text/plain \"/\" \"y\" 1\n");
    /* behind the end boundary the boundary means nothing */
    check(S(MIXED "--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n"),
          "0 0 multipart/mixed m \"Content-Type: multipart/mixed; boundary=\"b\"//\" \"--b//x/--b--/--b//y/\" 7\n"
          "0 1 text/plain \"/\" \"x\" 1\n");
}

static void test_no_delimiter(void **state)
{
    (void)state;
    check(S(MIXED "--b\r\n\r\n--bc\r\n-- b\r\n --b\r\n--b x\r\n--b--x\r\nx--b\r\n--\r\n--b-\r\n--B\r\n--b--"),
          "0 0 multipart/mixed m \"Content-Type: multipart/mixed; boundary=\"b\"//\" "
          "\"--b//--bc/-- b/ --b/--b x/--b--x/x--b/--/--b-/--B/--b--\" 12\n"
          "0 1 text/plain \"/\" \"--bc/-- b/ --b/--b x/--b--x/x--b/--/--b-/--B\" 9\n");
    check(S(MIXED "nothing\r\n"),
          "0 0 text/plain \"Content-Type: multipart/mixed; boundary=\"b\"//\" \"nothing/\" 1\n");
    check(S("Content-Type: multipart/mixed\r\n\r\n--\r\nx"),
          "0 0 text/plain \"Content-Type: multipart/mixed//\" \"--/x\" 2\n");
    check(S("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\nx"),
          "0 0 text/plain \"Content-Type: multipart/mixed; boundary=\"\"//\" \"--/x\" 2\n");
}

static void test_nested(void **state)
{
    (void)state;
    /* a boundary that is a prefix of another, inside and outside */
    check(S("Content-Type: multipart/a; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/b; boundary=xy\r\n\r\n"
            "--xy\r\n\r\n1\r\n--xy--\r\n--x\r\n\r\n2\r\n--x--\r\n"),
          "0 0 multipart/a m \"Content-Type: multipart/a; boundary=x//\" "
          "\"--x/Content-Type: multipart/b; boundary=xy//--xy//1/--xy--/--x//2/--x--/\" 11\n"
          "0 1 multipart/b m \"Content-Type: multipart/b; boundary=xy//\" \"--xy//1/--xy--\" 4\n"
          "1 2 text/plain \"/\" \"1\" 1\n"
          "0 1 text/plain \"/\" \"2\" 1\n");
    /* the outer delimiter ends an inner multipart that was never closed, in the body and in a header */
    check(
        S("Content-Type: multipart/a; boundary=xy\r\n\r\n--xy\r\nContent-Type: multipart/b; boundary=x\r\n\r\n"
          "--x\r\n\r\n1\r\n--xy\r\nContent-Type: multipart/b; boundary=x\r\n\r\n--x\r\nA: 1\r\n--xy--"),
        "0 0 multipart/a m \"Content-Type: multipart/a; boundary=xy//\" "
        "\"--xy/Content-Type: multipart/b; boundary=x//--x//1/--xy/Content-Type: multipart/b; boundary=x//--x/A: 1/"
         "--xy--\" 12\n"
        "0 1 multipart/b m \"Content-Type: multipart/b; boundary=x//\" \"--x//1\" 3\n"
        "1 2 text/plain \"/\" \"1\" 1\n"
        "0 1 multipart/b m \"Content-Type: multipart/b; boundary=x//\" \"--x/A: 1/\" 2\n"
        "3 2 text/plain \"A: 1/\" \"\" 0\n");
    /* "--x--" is the end of x, but a delimiter of "x--", which is further in */
    check(
        S("Content-Type: multipart/a; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/b; boundary=\"x--\"\r\n\r\n"
          "--x--\r\n\r\n1"),
        "0 0 multipart/a m \"Content-Type: multipart/a; boundary=x//\" "
        "\"--x/Content-Type: multipart/b; boundary=\"x--\"//--x--//1\" 6\n"
        "0 1 multipart/b m \"Content-Type: multipart/b; boundary=\"x--\"//\" \"--x--//1\" 3\n"
        "1 2 text/plain \"/\" \"1\" 1\n");
    /* the same boundary twice: the inner one goes first, then it is used up */
    check(S("Content-Type: multipart/a; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/b; boundary=x\r\n\r\n"
            "--x\r\n\r\n1\r\n--x--\r\n--x\r\n\r\n2\r\n--x--"),
          "0 0 multipart/a m \"Content-Type: multipart/a; boundary=x//\" "
          "\"--x/Content-Type: multipart/b; boundary=x//--x//1/--x--/--x//2/--x--\" 11\n"
          "0 1 multipart/b m \"Content-Type: multipart/b; boundary=x//\" \"--x//1/--x--\" 4\n"
          "1 2 text/plain \"/\" \"1\" 1\n"
          "0 1 text/plain \"/\" \"2\" 1\n");
}

static void test_messages(void **state)
{
    (void)state;
    check(S("Content-Type: message/rfc822\r\n\r\nA: 1\r\n\r\nx\r\n"),
          "0 0 message/rfc822 r \"Content-Type: message/rfc822//\" \"A: 1//x/\" 3\n"
          "0 1 text/plain \"A: 1//\" \"x/\" 1\n");
    check(
        S("Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nA: 1\r\n\r\nx\r\n--d\r\n"
          "Content-Type: text/html\r\n\r\ny\r\n--d--\r\n"),
        "0 0 multipart/digest m \"Content-Type: multipart/digest; boundary=d//\" "
        "\"--d//A: 1//x/--d/Content-Type: text/html//y/--d--/\" 10\n"
        "0 1 message/rfc822 r \"/\" \"A: 1//x\" 3\n"
        "1 2 text/plain \"A: 1//\" \"x\" 1\n"
        "0 1 text/html \"Content-Type: text/html//\" \"y\" 1\n");
    check(S("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: BASE64\r\n\r\nQTogMQ==\r\n"),
          "0 0 message/rfc822 \"Content-Type: message/rfc822/Content-Transfer-Encoding: BASE64//\" \"QTogMQ==/\" 1\n");
    check(
        S("Content-Type: multipart/a; boundary=d\r\n\r\n--d\r\nContent-Type: message/rfc822\r\n\r\nA: 1\r\n--d--\r\n"),
        "0 0 multipart/a m \"Content-Type: multipart/a; boundary=d//\" "
          "\"--d/Content-Type: message/rfc822//A: 1/--d--/\" 5\n"
        "0 1 message/rfc822 r \"Content-Type: message/rfc822//\" \"A: 1/\" 1\n"
        "1 2 text/plain \"A: 1/\" \"\" 0\n");
    check(S("Content-Type: message/delivery-status\r\n\r\nA: 1\r\n"),
          "0 0 message/delivery-status \"Content-Type: message/delivery-status//\" \"A: 1/\" 1\n");
}

static void check_str(str got, const char *want)
{
    assert_true(str_eq(got, str_z(want)));
}

static void test_facts(void **state)
{
    (void)state;
    feed(
        S("content-type: Text/HTML; Charset=\"UTF-8\"; name=\"n.html\"\r\n"
           "Content-Transfer-Encoding:\r\n Quoted-Printable (c)\r\n"
          "Content-Disposition: Attachment;\r\n filename*0*=utf-8''%41;\r\n filename*1=\"b.html\"\r\n"
           "Content-ID: <a@b>\r\n"
          "Content-Description: some\r\n text \r\nContent-Type: text/x-second\r\n\r\n"),
        5);
    check_str(part(0)->type, "text");
    check_str(part(0)->subtype, "html");
    check_str(part(0)->charset, "utf-8");
    check_str(part(0)->encoding, "quoted-printable");
    check_str(part(0)->disposition, "attachment");
    check_str(part(0)->filename, "Ab.html");
    check_str(part(0)->id, "<a@b>");
    check_str(part(0)->description, "some text");
    feed(S("Content-Disposition: inline\r\nContent-Type: a/b; name=x\r\n\r\n"), 100);
    check_str(part(0)->filename, "x");
    feed(S("Content-Disposition: inline; filename=y\r\nContent-Type: a/b; name=x\r\n\r\n"), 100);
    check_str(part(0)->filename, "y");
    static const char *const bad[] = { "text", "text/", "/x", "a b/c", "text/pl\x01n", "t\xc3\xb6xt/plain", "" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_buf_ struct buf b = BUF(1000);
        buf_addf(&b, "Content-Type: %s\r\n\r\n", bad[i]);
        feed(buf_str(&b), 100);
        check_str(part(0)->type, "text");
        check_str(part(0)->subtype, "plain");
    }
}

static void test_fields(void **state)
{
    static const str content = S("From: a\r\n b\r\njunk\r\nTo : c\r\n\r\nNot: this\r\n");
    const struct mime_field *f;
    (void)state;
    for (size_t piece = 1; piece < 60; piece++) {
        feed(content, piece);
        assert_int_equal(mime_fields(parser, &f), 2);
        assert_true(str_eq(str_of(content.p + f[0].off, f[0].len), S("From: a\r\n b\r\n")));
        assert_true(str_eq(str_of(content.p + f[1].off, f[1].len), S("To : c\r\n")));
        assert_int_equal(f[0].name_len, 4);
        assert_int_equal(f[1].name_len, 2);
        assert_true(str_eq(mime_header_text(parser), str_first(content, part(0)->body_off)));
    }
}

static void check_header(size_t i, bool whole, str want)
{
    str got;
    assert_int_equal(mime_part_header(parser, i, &got), whole);
    if (!str_eq(got, want))
        print_message("got %.*s\n", STR_ARG(got));
    assert_true(str_eq(got, want));
}

static void test_part_headers(void **state)
{
    static const str content =
        S("From: a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n"
          "From: not kept\r\ncontent-type: Message/RFC822;\r\n x=y\r\nContent-ID: <not@kept>\r\nContent-Type: a/b\r\n"
          "Content-MD5: m\r\n\r\nfrom: c\r\n d\r\nFrom: e\r\nTo: f\r\nX-To: g\r\nTO: h\r\nContent-Location: "
          "i\r\n\r\ny\r\n"
          "--b\r\nContent-Disposition: last\r\n");
    (void)state;
    for (size_t piece = 1; piece <= content.n; piece++) {
        feed(content, piece);
        assert_int_equal(parts_n(), 5);
        check_header(0, true, str_first(content, part(0)->body_off));
        check_header(1, true, S(""));
        check_header(2, true, S("Content-Type: Message/RFC822; x=y\nContent-MD5: m\n"));
        check_header(3, true, S("From: c d\nTo: f\nTo: h\nContent-Location: i\n"));
        check_header(4, true, S("Content-Disposition: last\n"));
    }
    mime_reset(parser);
    mime_end(parser);
    check_header(0, true, S(""));
}

static void test_kept_limit(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 24);
    str header;
    (void)state;
    buf_add(&b, S(MIXED));
    for (int i = 0; i < 600; i++)
        buf_addf(&b, "--b\r\nContent-Location: %0500d\r\n\r\nx\r\n", i);
    buf_addf(&b, "--b\r\nContent-Location: %*d\r\n\r\nx\r\n", MIME_FIELD_MAX, 1);
    feed(buf_str(&b), 4096);
    assert_int_equal(parts_n(), 602);
    assert_true(mime_part_header(parser, 1, &header));
    assert_int_equal(header.n, 519);
    assert_true(mime_part_header(parser, MIME_KEPT_MAX / 519, &header));
    check_header(MIME_KEPT_MAX / 519 + 1, false, S(""));
    check_header(601, false, S(""));
    /* of one field that is too long the begin is kept */
    buf_clear(&b);
    buf_addf(&b, MIXED "--b\r\nContent-Location: %*d\r\n\r\nx\r\n", MIME_FIELD_MAX, 1);
    feed(buf_str(&b), 4096);
    assert_false(mime_part_header(parser, 1, &header));
    assert_true(str_starts(header, S("Content-Location:  ")) && header.n <= MIME_FIELD_MAX + 20);
    /* a header text that is not all there */
    buf_clear(&b);
    for (int i = 0; i < 20000; i++)
        buf_add(&b, S("X-Header: something\r\n"));
    feed(buf_str(&b), 4096);
    assert_false(mime_part_header(parser, 0, &header));
    assert_int_equal(header.n, MIME_HEADER_TEXT_MAX);
}

static void test_depth_limit(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 22);
    (void)state;
    for (int i = 0; i < 10000; i++)
        buf_addf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i);
    feed(buf_str(&b), 4096);
    assert_int_equal(parts_n(), MIME_DEPTH_MAX + 1);
    assert_int_equal(part(MIME_DEPTH_MAX)->depth, MIME_DEPTH_MAX);
    check_str(part(MIME_DEPTH_MAX)->type, "application");
    check_str(part(MIME_DEPTH_MAX)->subtype, "octet-stream");
    assert_true(mime_limited(parser));
    buf_clear(&b);
    for (int i = 0; i < 10000; i++)
        buf_add(&b, S("Content-Type: message/rfc822\r\n\r\n"));
    feed(buf_str(&b), 4096);
    assert_int_equal(parts_n(), MIME_DEPTH_MAX + 1);
    check_str(part(MIME_DEPTH_MAX)->subtype, "octet-stream");
    assert_true(mime_limited(parser));
}

static void test_parts_limit(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 22);
    (void)state;
    buf_add(&b, S(MIXED));
    for (int i = 0; i < MIME_PARTS_MAX - 1; i++)
        buf_add(&b, S("--b\r\n\r\nx\r\n"));
    feed(buf_str(&b), 4096);
    assert_int_equal(parts_n(), MIME_PARTS_MAX);
    assert_false(mime_limited(parser));
    buf_add(&b, S("--b\r\n\r\nx\r\n--b--\r\n"));
    feed(buf_str(&b), 4096);
    assert_int_equal(parts_n(), MIME_PARTS_MAX);
    assert_true(mime_limited(parser));
    const struct mime_part *last = part(MIME_PARTS_MAX - 1);
    check_str(last->subtype, "octet-stream");
    assert_true(str_eq(str_of(b.p + last->body_off, last->end_off - last->body_off), S("x\r\n--b\r\n\r\nx")));
    feed(S("A: b\r\n\r\n"), 100);
    assert_int_equal(parts_n(), 1);
    assert_false(mime_limited(parser));
}

static void test_header_limits(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 23);
    const struct mime_field *f;
    (void)state;
    for (int i = 0; i < 100000; i++)
        buf_add(&b, S("X-Header: something\r\n"));
    buf_add(&b, S("Content-Type: text/html\r\n\r\nx"));
    feed(buf_str(&b), 4096);
    assert_int_equal(mime_fields(parser, &f), MIME_HEADERS_MAX);
    assert_int_equal(mime_header_text(parser).n, MIME_HEADER_TEXT_MAX);
    check_str(part(0)->subtype, "html");
    assert_int_equal(part(0)->end_off, b.n);
    assert_true(mime_limited(parser));
    buf_clear(&b);
    buf_add(&b, S("Content-Description: "));
    for (int i = 0; i < 100000; i++)
        buf_add(&b, S("xxxxxxxxxx\r\n "));
    feed(buf_str(&b), 4096);
    assert_int_equal(part(0)->description.n, MIME_VALUE_MAX);
    assert_true(mime_limited(parser));
}

static void test_boundary_limit(void **state)
{
    (void)state;
    for (size_t n = MIME_BOUNDARY_MAX; n <= MIME_BOUNDARY_MAX + 1; n++) {
        _cleanup_buf_ struct buf b = BUF(4096);
        char boundary[MIME_BOUNDARY_MAX + 1];
        memset(boundary, 'b', sizeof(boundary));
        buf_addf(&b, "Content-Type: multipart/mixed; boundary=%.*s\r\n\r\n--%.*s\r\n\r\nx", (int)n, boundary, (int)n,
                 boundary);
        feed(buf_str(&b), 100);
        assert_int_equal(mime_limited(parser), n > MIME_BOUNDARY_MAX);
        assert_int_equal(parts_n(), n > MIME_BOUNDARY_MAX ? 1 : 2);
        check_str(part(0)->type, n > MIME_BOUNDARY_MAX ? "application" : "multipart");
    }
}

static void test_text_limit(void **state)
{
    _cleanup_buf_ struct buf b = BUF(1 << 24);
    (void)state;
    buf_add(&b, S(MIXED));
    for (int i = 0; i < 9000; i++)
        buf_addf(&b, "--b\r\nContent-Type: text/html\r\nContent-Description: %0500d\r\n\r\nx\r\n", i);
    feed(buf_str(&b), 4096);
    assert_int_equal(parts_n(), 9001);
    assert_true(mime_limited(parser));
    assert_int_equal(part(1)->description.n, 500);
    assert_int_equal(part(9000)->description.n, 0);
}

static void run(str s)
{
    feed(s, 65536);
}

/* 100 open multiparts whose boundaries share a long begin. */
static void nested_head(struct buf *b, const char *prefix)
{
    for (int i = 0; i < MIME_DEPTH_MAX; i++)
        buf_addf(b, "Content-Type: multipart/mixed; boundary=%s%02d\r\n\r\n--%s%02d\r\n", prefix, i, prefix, i);
    buf_add(b, S("\r\n"));
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct growth parsing = { seconds, run };

static void test_linear(void **state)
{
    char prefix[240] = { 0 };
    memset(prefix, 'b', sizeof(prefix) - 1);
    _cleanup_buf_ struct buf deep = BUF(1 << 18), trap = BUF(1024);
    nested_head(&deep, prefix);
    buf_addf(&trap, "--%sxx\r\n", prefix);
    const struct {
        str head, unit;
        size_t n;
    } cases[] = {
        { S(""), S("X: y\r\n"), 100000 },
        { S("Content-Type: text/plain"), S(";\r\n n*1=x"), 50000 },
        { S("Content-Type: text/plain"), S("; n*0*=%41; n*1=b"), 50000 },
        { S("Content-Type: "), S("("), 100000 },
        { S("Content-Description:"), S("\r\n x"), 100000 },
        { S(""), S("x"), 1000000 },
        { S(MIXED), S("--b\r\n"), 100000 },
        { S(MIXED), S("--b"), 500000 },
        { S(MIXED "--b\r\n\r\n"), S("--\r\n"), 100000 },
        { S(MIXED), S("--b\r\nContent-Type: message/rfc822\r\n\r\n"), 20000 },
        { S(""), S("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"), 20000 },
        { S(""), S("Content-Type: message/rfc822\r\n\r\n"), 20000 },
        { buf_str(&deep), buf_str(&trap), 5000 },
        { buf_str(&deep), S("--x\r\n"), 50000 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double ratio = growth(&parsing, cases[i].head, cases[i].unit, S(""), cases[i].n);
        if (ratio >= 3.0)
            print_message("case %zu: ratio %.2f\n", i, ratio);
        assert_true(ratio < 3.0);
    }
}

static int make_parser(void **state)
{
    (void)state;
    parser = mime_new();
    return parser ? 0 : -1;
}

static int free_parser(void **state)
{
    (void)state;
    mime_free(parser);
    mime_free(NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_no_delimiter),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_part_headers),
        cmocka_unit_test(test_kept_limit),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_parts_limit),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_boundary_limit),
        cmocka_unit_test(test_text_limit),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, make_parser, free_parser);
}
