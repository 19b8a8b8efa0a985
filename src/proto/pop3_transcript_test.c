/* Plays tests/transcripts/pop3 (format: tests/transcripts/README.md) against the bare engine, whole and byte by byte.
 * */
#include <dirent.h>
#include <stdio.h>
#include "base/codec.h"
#include "proto/pop3_play.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define FOLDER "tests/transcripts/pop3"
#define MAILS_MAX 16
#define LINES_MAX 32

struct script {
    str name, text;
    struct pop3_server_config config;
    struct play play;
    size_t step;            /* bytes sent at once; 0: a group in one piece */
    size_t line;
    bool tls, implicit_tls, skip;
    str user;               /* @auth */
    struct buf mails[MAILS_MAX];
    size_t mails_n;
    struct buf group;       /* client lines not yet sent */
    str unread;             /* of the server's output */
    str with[LINES_MAX], without[LINES_MAX];
    size_t with_n, without_n;
};

static void wrong(const struct script *s, const char *why, str what)
{
    fail_msg("%.*s line %zu%s: %s: %.*s\nserver: %.*s", STR_ARG(s->name), s->line,
             s->step ? " (byte by byte)" : "", why, STR_ARG(what), STR_ARG(str_first(s->unread, 300)));
}

/* `*` in the pattern stands for any run of characters, `\*` for a star. */
static bool matches(str pattern, str text)
{
    str star_pattern = STR_NONE, star_text = STR_NONE;
    bool starred = false;
    while (text.n || pattern.n) {
        bool escaped = str_starts(pattern, S("\\*"));
        if (pattern.n && pattern.p[0] == '*') {
            starred = true;
            pattern = str_from(pattern, 1);
            star_pattern = pattern;
            star_text = text;
        } else if (text.n && pattern.n && text.p[0] == pattern.p[escaped]) {
            pattern = str_from(pattern, 1 + escaped);
            text = str_from(text, 1);
        } else if (starred && star_text.n) {
            star_text = str_from(star_text, 1);
            pattern = star_pattern;
            text = star_text;
        } else {
            return false;
        }
    }
    return true;
}

/* The escapes of `C!:`; true if one was there (and is taken from *rest). */
static bool unescape(struct script *s, str *rest, struct buf *out)
{
    static const char names[] = "rnt0\\", values[] = "\r\n\t\0\\";
    if (rest->n < 2 || rest->p[0] != '\\')
        return false;
    str at = str_from(*rest, 1);
    ptrdiff_t plain = str_chr(str_of(names, 5), at.p[0]);
    if (plain >= 0) {
        buf_addc(out, values[plain]);
        *rest = str_from(at, 1);
        return true;
    }
    if (at.p[0] == 'x') {
        if (hex_decode(out, str_first(str_from(at, 1), 2)) < 0)
            wrong(s, "bad escape", at);
        *rest = str_from(at, 3);
        return true;
    }
    str body = str_from(at, 1);
    str text = str_cut(&body, '}'), count = str_cut(&text, ',');
    uint64_t n = 0;
    if (at.p[0] != '{' || str_u64(count, 1 << 20, &n) < 0)
        wrong(s, "bad escape", at);
    for (uint64_t i = 0; i < n; i++)
        buf_add(out, text);
    *rest = body;
    return true;
}

static void add_variable(struct script *s, str variable, struct buf *out)
{
    _cleanup_buf_ struct buf plain = BUF(1 << 20);
    str who = variable, what = str_cut(&who, ':');
    if (str_eq(what, S("password"))) {
        buf_addf(out, "secret-%.*s", STR_ARG(who));
        return;
    }
    if (str_eq(what, S("plain"))) {
        buf_addc(&plain, '\0');
        buf_addf(&plain, "%.*s@posthouse.test", STR_ARG(who));
        buf_addc(&plain, '\0');
        buf_addf(&plain, "secret-%.*s", STR_ARG(who));
    } else if (str_eq(what, S("user"))) {
        buf_addf(&plain, "%.*s@posthouse.test", STR_ARG(who));
    } else if (str_eq(what, S("pass"))) {
        buf_addf(&plain, "secret-%.*s", STR_ARG(who));
    } else if (str_eq(what, S("b64"))) {
        while (who.n)
            if (!unescape(s, &who, &plain)) {
                buf_addc(&plain, who.p[0]);
                who = str_from(who, 1);
            }
    } else {
        wrong(s, "unknown variable", variable);
    }
    base64_encode(out, buf_str(&plain));
}

static void add_client_text(struct script *s, str text, bool escapes)
{
    while (text.n) {
        if (str_starts(text, S("${"))) {
            str rest = str_from(text, 2);
            add_variable(s, str_cut(&rest, '}'), &s->group);
            text = rest;
        } else if (!escapes || !unescape(s, &text, &s->group)) {
            buf_addc(&s->group, text.p[0]);
            text = str_from(text, 1);
        }
    }
}

static void flush_group(struct script *s)
{
    size_t before = (size_t)(s->play.out.n - s->unread.n);
    play_send(&s->play, buf_str(&s->group), s->step);
    buf_clear(&s->group);
    s->unread = str_from(buf_str(&s->play.out), before);
}

static str server_line(struct script *s, str want)
{
    if (str_find(s->unread, S("\r\n")) < 0)
        wrong(s, "the server sent nothing for", want);
    str line = str_cut(&s->unread, '\n');
    line.n--;
    return line;
}

static void expect_block(struct script *s, str want)
{
    bool found[LINES_MAX] = { false };
    str line;
    do {
        line = server_line(s, want);
        for (size_t i = 0; i < s->with_n; i++)
            found[i] = found[i] || matches(s->with[i], line);
        for (size_t i = 0; i < s->without_n; i++)
            if (matches(s->without[i], line))
                wrong(s, "unwanted line", line);
    } while (!str_eq(line, S(".")));
    for (size_t i = 0; i < s->with_n; i++)
        if (!found[i])
            wrong(s, "missing line", s->with[i]);
    s->with_n = s->without_n = 0;
}

static void expect(struct script *s, str want)
{
    flush_group(s);
    if (str_eq(want, S("**"))) {
        expect_block(s, want);
        return;
    }
    str line = server_line(s, want);
    if (!matches(want, line)) {
        s->unread = line;
        wrong(s, "another line than", want);
    }
}

static void start_tls(struct script *s)
{
    flush_group(s);
    if (!s->play.tls_waits || s->unread.n)
        wrong(s, "no handshake now", STR_NONE);
    buf_clear(&s->play.in); /* RFC 2595 4: what came in the clear is not used */
    play_tls(&s->play);
}

static void run_line(struct script *s, str line)
{
    str rest = line, mark = str_cut(&rest, ':');
    rest = str_starts(rest, S(" ")) ? str_from(rest, 1) : rest;
    if (str_eq(mark, S("C")) || str_eq(mark, S("C!"))) {
        add_client_text(s, rest, mark.n > 1);
        if (mark.n == 1)
            buf_add(&s->group, S("\r\n"));
    } else if (str_eq(mark, S("S"))) {
        expect(s, rest);
    } else if (str_eq(mark, S("S+")) && s->with_n < LINES_MAX) {
        s->with[s->with_n++] = rest;
    } else if (str_eq(mark, S("S-")) && s->without_n < LINES_MAX) {
        s->without[s->without_n++] = rest;
    } else if (str_eq(mark, S("TLS"))) {
        start_tls(s);
    } else if (str_eq(mark, S("CLOSE"))) {
        flush_group(s);
        if (!s->play.closed || s->unread.n)
            wrong(s, "not closed", STR_NONE);
    } else {
        wrong(s, "unknown line", line);
    }
}

static void set_value(struct script *s, str name, uint64_t value)
{
    struct pop3_server_config *c = &s->config;
    const struct { str name; uint32_t *number; bool *flag; } fields[] = {
        { S("errors_max"), &c->errors_max, NULL },     { S("line_max"), &c->line_max, NULL },
        { S("expire_never"), &c->expire_never, NULL }, { S("stls"), NULL, &c->stls },
        { S("auth_plain_ok"), NULL, &c->auth_plain_ok }, { S("utf8"), NULL, &c->utf8 },
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!str_eq(name, fields[i].name))
            continue;
        if (fields[i].number)
            *fields[i].number = (uint32_t)value;
        else
            *fields[i].flag = value != 0;
        return;
    }
    wrong(s, "unknown setting", name);
}

static void directive(struct script *s, str line)
{
    str rest = str_from(line, 1), word = str_word(&rest), first = str_word(&rest), second = str_word(&rest);
    uint64_t value = 0;
    if (str_eq(word, S("listener"))) {
        s->implicit_tls = str_eq(first, S("pop3s"));
        assert_true(s->implicit_tls || str_eq(first, S("pop3")));
    } else if (str_eq(word, S("tls"))) {
        s->tls = true;
    } else if (str_eq(word, S("auth"))) {
        s->tls = true;
        s->user = first;
    } else if (str_eq(word, S("mail"))) {
        assert_true(s->mails_n < MAILS_MAX);
        s->mails[s->mails_n++] = BUF(1 << 16);
    } else if (str_eq(word, S("only"))) {
        s->skip = str_eq(first, S("daemon"));
    } else if (str_eq(word, S("set"))) {
        if (str_u64(second, UINT32_MAX, &value) < 0)
            wrong(s, "no number", line);
        set_value(s, first, value);
    } else if (!str_eq(word, S("empty"))) {
        wrong(s, "unknown directive", line);
    }
}

/* The top of the file: directives and messages. Stops before the first line of the conversation. */
static void read_top(struct script *s)
{
    while (s->text.n) {
        str rest = s->text, line = str_cut(&rest, '\n');
        if (str_starts(line, S("@"))) {
            directive(s, line);
        } else if (str_starts(line, S("M:")) && s->mails_n) {
            struct buf *mail = &s->mails[s->mails_n - 1];
            buf_add(mail, str_from(line, 3));
            buf_add(mail, S("\r\n"));
        } else if (line.n && line.p[0] != '#') {
            return;
        }
        s->line++;
        s->text = rest;
    }
}

static void begin(struct script *s)
{
    if (s->implicit_tls)
        play_tls(&s->play);
    if (!s->tls) {
        flush_group(s);
        return;
    }
    if (!s->implicit_tls) {
        play_send(&s->play, S("STLS\r\n"), 0);
        play_tls(&s->play);
    }
    if (s->user.n) {
        char login[128];
        snprintf(login, sizeof(login), "USER %.*s\r\nPASS secret-%.*s\r\n", STR_ARG(s->user), STR_ARG(s->user));
        play_send(&s->play, str_z(login), 0);
        assert_true(str_find(buf_str(&s->play.out), S("+OK Maildrop has ")) > 0);
    }
}

static void play_script(str name, str text, size_t step)
{
    struct script s = { .name = name, .text = text, .config = play_config(), .step = step, .group = BUF(1 << 20) };
    str contents[MAILS_MAX];
    read_top(&s);
    for (size_t i = 0; i < s.mails_n; i++)
        contents[i] = buf_str(&s.mails[i]);
    play_init(&s.play, contents, s.mails_n);
    s.play.config = s.config;
    s.play.tls_by_hand = true;
    s.play.piece = step;
    if (!s.skip)
        begin(&s);
    while (s.text.n && !s.skip) {
        str line = str_cut(&s.text, '\n');
        s.line++;
        if (line.n && line.p[0] != '#')
            run_line(&s, line);
    }
    if (!s.skip)
        flush_group(&s);
    if (s.unread.n)
        wrong(&s, "the server has more to say", STR_NONE);
    play_done(&s.play);
    buf_done(&s.group);
    for (size_t i = 0; i < s.mails_n; i++)
        buf_done(&s.mails[i]);
}

static void play_file(const char *file)
{
    char path[512];
    static char text[1 << 16];
    snprintf(path, sizeof(path), FOLDER "/%s", file);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    assert_true(n > 0 && n < sizeof(text));
    play_script(str_z(file), str_of(text, n), 0);
    play_script(str_z(file), str_of(text, n), 1);
}

static void test_all(void **state)
{
    (void)state;
    size_t n = 0;
    DIR *d = opendir(FOLDER);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)); )
        if (str_ends(str_z(e->d_name), S(".txt"))) {
            play_file(e->d_name);
            n++;
        }
    closedir(d);
    assert_true(n > 30);
}

static void test_matching(void **state)
{
    (void)state;
    assert_true(matches(S("+OK*"), S("+OK")));
    assert_true(matches(S("+OK * x*"), S("+OK a b x")));
    assert_true(matches(S("a\\*"), S("a*")));
    assert_true(matches(S(""), S("")));
    assert_false(matches(S("a\\*"), S("ab")));
    assert_false(matches(S("+OK *"), S("+OK")));
    assert_false(matches(S("1 *"), S("10 5")));
    assert_false(matches(S("*x"), S("xy")));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_matching), cmocka_unit_test(test_all) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
