/* Plays tests/transcripts/smtp against the bare engine, each file whole and byte by byte. The format is told in
 * tests/transcripts/README.md. TRANSCRIPTS in the environment names another folder. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include "base/codec.h"
#include "proto/smtp_test_driver.h"

#define FILES_MAX 400

struct script {
    const char *name;
    size_t line;
    bool bytewise;
    struct smtp_server_config config;
    bool tls, skipped, xclient;
    str auth;
    bool started;
    struct play p;
    struct buf pending;      /* client lines not yet sent */
    struct buf has, has_not; /* patterns of S+ and S-, a line each */
};

#define FAIL(s, ...)                                                                                                   \
    do {                                                                                                               \
        print_error("%s line %zu (%s): ", (s)->name, (s)->line, (s)->bytewise ? "byte by byte" : "whole");             \
        fail_msg(__VA_ARGS__);                                                                                         \
    } while (0)

/* `*` is any run of characters, `\*` a star. */
static bool matches(str pattern, str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    while (t < text.n) {
        bool escaped = p + 1 < pattern.n && pattern.p[p] == '\\' && pattern.p[p + 1] == '*';
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.n && pattern.p[p + escaped] == text.p[t]) {
            p += 1 + escaped;
            ++t;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        ++p;
    return p == pattern.n;
}

/* One escape at the front of text; how much of text it is. */
static size_t add_escape(struct buf *out, str text)
{
    static const char letters[] = "rnt0\\", bytes[] = "\r\n\t\0\\";
    char kind = text.n > 1 ? text.p[1] : 0;
    const char *letter = kind ? strchr(letters, kind) : NULL;
    if (letter) {
        buf_addc(out, bytes[letter - letters]);
        return 2;
    }
    if (kind == 'x' && text.n > 3) {
        buf_addc(out, (char)(hex_value(text.p[2]) * 16 + hex_value(text.p[3])));
        return 4;
    }
    buf_addc(out, '\\');
    return 1;
}

static void add_escaped(struct buf *out, str text)
{
    while (text.n > 0) {
        if (str_starts(text, S("\\{"))) {
            str rest = str_from(text, 2), inner = str_cut(&rest, '}');
            uint64_t n = 0;
            assert_int_equal(str_u64(str_cut(&inner, ','), 1 << 24, &n), 0);
            for (; n > 0; --n)
                add_escaped(out, inner);
            text = rest;
        } else if (text.p[0] == '\\') {
            text = str_from(text, add_escape(out, text));
        } else {
            buf_addc(out, text.p[0]);
            text = str_from(text, 1);
        }
    }
}

static void add_variable(struct buf *out, str name)
{
    str what = str_cut(&name, ':');
    _cleanup_buf_ struct buf plain = BUF(1 << 20);
    if (str_eq(what, S("b64"))) {
        add_escaped(&plain, name);
    } else if (str_eq(what, S("user"))) {
        buf_addf(&plain, "%.*s@posthouse.test", STR_ARG(name));
    } else if (str_eq(what, S("plain"))) {
        buf_addc(&plain, '\0');
        buf_addf(&plain, "%.*s@posthouse.test", STR_ARG(name));
        buf_addc(&plain, '\0');
        buf_addf(&plain, "secret-%.*s", STR_ARG(name));
    } else {
        buf_addf(&plain, "secret-%.*s", STR_ARG(name));
    }
    if (str_eq(what, S("password")))
        buf_add(out, buf_str(&plain));
    else
        base64_encode(out, buf_str(&plain));
}

/* A client line with its ${...} replaced. */
static void expand(struct buf *out, str text)
{
    for (ptrdiff_t at; (at = str_find(text, S("${"))) >= 0;) {
        buf_add(out, str_first(text, (size_t)at));
        text = str_from(text, (size_t)at + 2);
        add_variable(out, str_cut(&text, '}'));
    }
    buf_add(out, text);
}

static void flush(struct script *s)
{
    str bytes = buf_str(&s->pending);
    if (s->bytewise)
        play_feed_bytewise(&s->p, bytes);
    else
        play_feed(&s->p, bytes);
    buf_clear(&s->pending);
}

static void start(struct script *s)
{
    if (s->started)
        return;
    s->started = true;
    play_init_xclient(&s->p, &s->config, s->xclient);
    bool implicit = s->config.msa && !s->config.starttls;
    if (implicit)
        smtp_server_tls_started(s->p.s);
    play_feed(&s->p, STR_NONE);
    if (s->tls && !implicit) {
        play_feed(&s->p, s->config.lmtp ? S("LHLO client.test\r\n") : S("EHLO client.test\r\n"));
        play_feed(&s->p, S("STARTTLS\r\n"));
        play_tls(&s->p);
    }
    if (s->auth.n > 0) {
        _cleanup_buf_ struct buf line = BUF(1000);
        buf_addf(&line, "EHLO client.test\r\nAUTH PLAIN ${plain:%.*s}\r\n", STR_ARG(s->auth));
        expand(&s->pending, buf_str(&line));
        flush(s);
        assert_true(s->p.authenticated);
    }
    if (s->tls || s->auth.n > 0)
        buf_clear(&s->p.out);
}

static str server_line(struct script *s)
{
    str out = buf_str(&s->p.out);
    ptrdiff_t end = str_find(out, S("\r\n"));
    if (end < 0)
        FAIL(s, "the server says nothing more ('%.*s')", STR_ARG(out));
    return str_first(out, (size_t)end);
}

static bool list_has(str list, str text)
{
    while (list.n > 0) {
        if (matches(str_cut(&list, '\n'), text))
            return true;
    }
    return false;
}

static void forget(struct buf *list, str text)
{
    _cleanup_buf_ struct buf rest = BUF(10000);
    str all = buf_str(list);
    while (all.n > 0) {
        str pattern = str_cut(&all, '\n');
        if (matches(pattern, text))
            continue;
        buf_add(&rest, pattern);
        buf_addc(&rest, '\n');
    }
    buf_clear(list);
    buf_add(list, buf_str(&rest));
}

static void expect_reply(struct script *s, str code)
{
    for (bool last = false; !last;) {
        str line = server_line(s);
        if (!str_starts(line, code) || line.n < 4)
            FAIL(s, "'%.*s' in a reply %.*s", STR_ARG(line), STR_ARG(code));
        last = line.p[3] == ' ';
        str text = str_from(line, 4);
        if (list_has(buf_str(&s->has_not), text))
            FAIL(s, "the reply has '%.*s'", STR_ARG(text));
        forget(&s->has, text);
        buf_drop(&s->p.out, line.n + 2);
    }
    if (s->has.n > 0)
        FAIL(s, "the reply lacks %.*s", STR_ARG(buf_str(&s->has)));
    buf_clear(&s->has_not);
}

static void expect_line(struct script *s, str pattern)
{
    if (pattern.n == 6 && str_ends(pattern, S("-**"))) {
        expect_reply(s, str_first(pattern, 3));
        return;
    }
    str line = server_line(s);
    if (!matches(pattern, line))
        FAIL(s, "server: '%.*s', wanted '%.*s'", STR_ARG(line), STR_ARG(pattern));
    buf_drop(&s->p.out, line.n + 2);
}

static void set_limit(struct script *s, str name, str value)
{
    uint64_t v = 0;
    struct smtp_limits *l = &s->config.limits;
    const struct {
        str name;
        uint32_t *u32;
        bool *flag;
    } settings[] = {
        { S("recipients_max"), &l->recipients_max, NULL },
        { S("errors_max"), &l->errors_max, NULL },
        { S("commands_max"), &l->commands_max, NULL },
        { S("line_max"), &l->line_max, NULL },
        { S("smtputf8"), NULL, &s->config.smtputf8 },
        { S("chunking"), NULL, &s->config.chunking },
        { S("starttls"), NULL, &s->config.starttls },
        { S("auth"), NULL, &s->config.auth },
        { S("xclient"), NULL, &s->xclient },
        { S("normalize"), NULL, &s->config.normalize_newlines },
    };
    assert_int_equal(str_u64(value, UINT32_MAX, &v), 0);
    if (str_eq(name, S("size_max"))) {
        l->size_max = v;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(settings); ++i) {
        if (!str_eq(name, settings[i].name))
            continue;
        if (settings[i].u32)
            *settings[i].u32 = (uint32_t)v;
        else
            *settings[i].flag = v > 0;
        return;
    }
    FAIL(s, "no setting '%.*s'", STR_ARG(name));
}

static void directive(struct script *s, str line)
{
    str word = str_word(&line), value = str_word(&line);
    if (str_eq(word, S("@listener"))) {
        s->config.msa = s->config.auth = str_starts(value, S("submission"));
        s->config.starttls = !str_eq(value, S("submissions"));
        s->config.lmtp = str_eq(value, S("lmtp"));
    } else if (str_eq(word, S("@tls"))) {
        s->tls = true;
    } else if (str_eq(word, S("@auth"))) {
        s->tls = true;
        s->auth = value;
    } else if (str_eq(word, S("@set"))) {
        set_limit(s, value, str_trim(line));
    } else if (str_eq(word, S("@only"))) {
        s->skipped = str_eq(value, S("daemon"));
    } else {
        FAIL(s, "unknown directive");
    }
}

static void note(struct buf *list, str pattern)
{
    buf_add(list, pattern);
    buf_addc(list, '\n');
}

/* A mark without its colon and what stands behind it. */
static void play_line(struct script *s, str mark, str text)
{
    start(s);
    if (!str_eq(mark, S("C")) && !str_eq(mark, S("C!")))
        flush(s);
    if (str_eq(mark, S("C"))) {
        expand(&s->pending, text);
        buf_add(&s->pending, S("\r\n"));
    } else if (str_eq(mark, S("C!"))) {
        _cleanup_buf_ struct buf raw = BUF(1 << 25);
        expand(&raw, text);
        add_escaped(&s->pending, buf_str(&raw));
    } else if (str_eq(mark, S("S"))) {
        expect_line(s, text);
    } else if (str_eq(mark, S("S+"))) {
        note(&s->has, text);
    } else if (str_eq(mark, S("S-"))) {
        note(&s->has_not, text);
    } else if (str_eq(mark, S("TLS"))) {
        if (s->p.last != SMTP_NEED_REPLY)
            FAIL(s, "the server does not start TLS");
        play_tls(&s->p);
    } else if (str_eq(mark, S("CLOSE"))) {
        if (!s->p.closed)
            FAIL(s, "the server does not close");
    } else {
        FAIL(s, "unknown mark");
    }
}

static void play_file(const char *name, str text, bool bytewise)
{
    struct script s = { .name = name, .bytewise = bytewise, .config = play_config };
    s.pending = BUF(1 << 25);
    s.has = s.has_not = BUF(10000);
    while (text.n > 0 && !s.skipped) {
        str line = str_cut(&text, '\n');
        ++s.line;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (line.p[0] == '@') {
            directive(&s, line);
            continue;
        }
        str mark = str_cut(&line, ':');
        play_line(&s, mark, str_starts(line, S(" ")) ? str_from(line, 1) : line);
    }
    if (s.skipped)
        return;
    start(&s);
    flush(&s);
    if (s.p.out.n > 0)
        FAIL(&s, "the server also says '%.*s'", STR_ARG(buf_str(&s.p.out)));
    play_done(&s.p);
    buf_done(&s.pending);
    buf_done(&s.has);
    buf_done(&s.has_not);
}

static void test_transcript(void **state)
{
    const char *path = *state;
    _cleanup_buf_ struct buf text = BUF(1 << 20);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF;)
        buf_addc(&text, (char)c);
    fclose(f);
    assert_int_equal(text.failed, 0);
    play_file(path, buf_str(&text), false);
    play_file(path, buf_str(&text), true);
}

int main(void)
{
    static struct CMUnitTest tests[FILES_MAX];
    static char names[FILES_MAX][300];
    size_t n = 0;
    const char *folder = getenv("TRANSCRIPTS") ? getenv("TRANSCRIPTS") : "tests/transcripts/smtp";
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && n < FILES_MAX && (entry = readdir(dir));) {
        if (!str_ends(str_z(entry->d_name), S(".txt")))
            continue;
        snprintf(names[n], sizeof(names[n]), "%.40s/%.250s", folder, entry->d_name);
        tests[n] = (struct CMUnitTest){ names[n], test_transcript, NULL, NULL, names[n] };
        ++n;
    }
    if (dir)
        closedir(dir);
    if (n == 0) {
        print_error("no transcripts in %s\n", folder);
        return 1;
    }
    return _cmocka_run_group_tests("transcripts", tests, n, NULL, NULL);
}
