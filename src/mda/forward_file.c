/* ~/.forward: see forward_file.h. */
#include "mda/forward_file.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "io/whole_file.h"
#include "mda/safe_path.h"
#include "message/address.h"

struct reader {
    struct arena *arena;
    str text;                /* the whole file */
    size_t at;
    unsigned line;
    struct forward_target *targets;
    size_t n;
    struct forward_error *error;
};

static int wrong(struct reader *r, unsigned line, const char *why)
{
    *r->error = (struct forward_error){ .line = line, .why = why };
    return why ? -EBADMSG : -ENOMEM;
}

/* Bytes */

static bool at_end(const struct reader *r)
{
    return r->at >= r->text.n;
}

static char here(const struct reader *r)
{
    return r->text.p[r->at];
}

static void go_on(struct reader *r)
{
    r->line += here(r) == '\n';
    r->at++;
}

/* A newline ends an item, unless the next line begins with a blank and has something behind it. */
static bool ends_here(const struct reader *r)
{
    if (here(r) != '\n')
        return false;
    size_t next = r->at + 1;
    if (next >= r->text.n || !ascii_blank(r->text.p[next]))
        return true;
    while (next < r->text.n && (ascii_blank(r->text.p[next]) || r->text.p[next] == '\r'))
        next++;
    return next >= r->text.n || r->text.p[next] == '\n';
}

/* Behind what stands between two items: blanks, commas, ends of lines, comment lines. */
static void skip_between(struct reader *r)
{
    while (!at_end(r)) {
        char c = here(r);
        bool first = r->at == 0 || r->text.p[r->at - 1] == '\n';
        if (c == '#' && first)
            while (!at_end(r) && here(r) != '\n')
                go_on(r);
        else if (ascii_blank(c) || c == '\r' || c == '\n' || c == ',')
            go_on(r);
        else
            return;
    }
}

/* Items */

/* One item as it is read. A part in quotes keeps its quotes in `raw` and loses them in `plain`. */
struct item {
    struct buf raw, plain, angle; /* angle: what stood in <…> */
    bool quoted;             /* the whole of it is one quoted string, or one behind a bar */
    bool has_angle;
    size_t loose;            /* bytes outside of quotes, blanks aside */
};

static void item_done(struct item *i)
{
    buf_done(&i->raw);
    buf_done(&i->plain);
    buf_done(&i->angle);
}

/* "…" with its quotes; a backslash takes the next byte as it is. */
static int read_quoted(struct reader *r, struct item *i)
{
    unsigned line = r->line;
    for (buf_addc(&i->raw, here(r)), go_on(r); !at_end(r); go_on(r)) {
        char c = here(r);
        if (c == '\n')
            break;
        buf_addc(&i->raw, c);
        if (c == '"') {
            go_on(r);
            return 0;
        }
        if (c == '\\' && r->at + 1 < r->text.n && r->text.p[r->at + 1] != '\n') {
            go_on(r);
            /* "\bob" is the name with its backslash: only what must be quoted is unquoted */
            if (here(r) != '"' && here(r) != '\\')
                buf_addc(&i->plain, '\\');
            buf_addc(&i->raw, here(r));
        }
        buf_addc(&i->plain, here(r));
    }
    return wrong(r, line, "a quotation mark is not closed");
}

static int skip_comment(struct reader *r)
{
    unsigned line = r->line;
    size_t depth = 0;
    for (; !at_end(r); go_on(r)) {
        char c = here(r);
        if (c == '\n' && ends_here(r))
            break;
        if (c == '\\' && r->at + 1 < r->text.n && r->text.p[r->at + 1] != '\n')
            go_on(r);
        else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0) {
            go_on(r);
            return 0;
        }
    }
    return wrong(r, line, "a comment is not closed");
}

static int read_angle(struct reader *r, struct item *i)
{
    unsigned line = r->line;
    bool again = i->has_angle;
    i->has_angle = true;
    for (go_on(r); !at_end(r) && here(r) != '\n'; go_on(r)) {
        if (here(r) == '>') {
            go_on(r);
            return again ? wrong(r, line, "an address has two pairs of <>") : 0;
        }
        buf_addc(&i->angle, here(r));
    }
    return wrong(r, line, "an address in <> is not closed");
}

/* A command reaches to the next comma or end of line that is not in quotes; comments and <> mean nothing in it. */
static int read_item(struct reader *r, struct item *i)
{
    bool command = here(r) == '|';
    while (!at_end(r) && !ends_here(r)) {
        char c = here(r);
        int e = 0;
        if (c == ',')
            break;
        if (c == '"') {
            i->quoted = i->loose == (size_t)command && !i->quoted;
            i->loose += !i->quoted;
            e = read_quoted(r, i);
        } else if (c == '(' && !command) {
            e = skip_comment(r);
        } else if (c == '<' && !command) {
            e = read_angle(r, i);
        } else {
            char to = c == '\n' || c == '\r' ? ' ' : c;
            i->loose += !ascii_blank(to);
            buf_addc(&i->raw, to);
            buf_addc(&i->plain, to);
            go_on(r);
        }
        if (e < 0)
            return e;
    }
    if (i->loose > (size_t)command)
        i->quoted = false;
    return i->raw.failed || i->plain.failed || i->angle.failed ? wrong(r, r->line, NULL) : 0;
}

static bool has_control(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' ? s.p[i] != '\t' : s.p[i] == 0x7f)
            return true;
    return false;
}

static const char *check_address(str text)
{
    struct address address;
    const char *why = NULL;
    return address_parse(text, true, true, &address, &why) == 0 ? NULL : why && *why ? why : "this is no address";
}

static int add_target(struct reader *r, unsigned line, enum forward_kind kind, str text)
{
    struct forward_target t = { .kind = kind, .line = line, .text = arena_dup(r->arena, text) };
    const char *why = "";
    if (!t.text.p)
        return wrong(r, line, NULL);
    for (size_t i = 0; i < r->n; i++)
        if (r->targets[i].kind == kind && str_eq(r->targets[i].text, text))
            return 0;
    if (r->n == FORWARD_TARGETS_MAX)
        return wrong(r, line, "there are too many targets");
    if (kind == FORWARD_MECHANISM && !mechanism_parse(t.text, &t.mechanism, &why))
        return wrong(r, line, why);
    if (kind == FORWARD_MECHANISM && !mechanism_is_local(t.mechanism.kind))
        return wrong(r, line, "this mechanism is none for a .forward");
    if (kind != FORWARD_MECHANISM && (why = check_address(t.text)))
        return wrong(r, line, why);
    r->targets[r->n++] = t;
    return 0;
}

static bool is_mechanism(str text)
{
    static const str begins[] = { S("|"), S("/"), S("~/"), S("mbox:"), S("maildir:") };
    for (size_t i = 0; i < ARRAY_LEN(begins); i++)
        if (str_istarts(text, begins[i]))
            return true;
    return false;
}

/* What the item says; the text without the quotes if all of it was in them. */
static int judge_item(struct reader *r, unsigned line, const struct item *i)
{
    str raw = str_trim(buf_str(&i->raw)), text = i->quoted ? str_trim(buf_str(&i->plain)) : raw;
    if (has_control(text) || has_control(buf_str(&i->angle)))
        return wrong(r, line, "there is a control byte in it");
    if (str_istarts(text, S(":include:")))
        return wrong(r, line, ":include: is not allowed");
    if (is_mechanism(text) && !i->has_angle)
        return add_target(r, line, FORWARD_MECHANISM, text);
    if (str_starts(text, S("\\")) && !i->has_angle)
        return add_target(r, line, FORWARD_LOCAL, str_from(text, 1));
    if (i->has_angle)
        return add_target(r, line, FORWARD_ADDRESS, str_trim(buf_str(&i->angle)));
    if (!text.n)
        return 0; /* nothing but a comment */
    /* a local part in quotes keeps them unless they were around the whole address */
    bool whole = i->quoted && !check_address(text);
    return add_target(r, line, FORWARD_ADDRESS, whole ? text : raw);
}

int forward_parse(struct arena *a, str text, struct forward_target **out, size_t *out_n,
                  struct forward_error *out_error)
{
    struct reader r = { .arena = a, .text = text, .line = 1, .error = out_error };
    if (text.n > FORWARD_FILE_MAX)
        return wrong(&r, 0, "the file is too large");
    if (str_chr(text, '\0') >= 0)
        return wrong(&r, 0, "the file holds a NUL");
    r.targets = ARENA_ARRAY(a, struct forward_target, FORWARD_TARGETS_MAX);
    if (!r.targets)
        return wrong(&r, 0, NULL);
    for (skip_between(&r); !at_end(&r); skip_between(&r)) {
        _cleanup_(item_done) struct item i = { BUF(FORWARD_FILE_MAX), BUF(FORWARD_FILE_MAX), BUF(FORWARD_FILE_MAX) };
        unsigned line = r.line;
        int e = read_item(&r, &i);
        if (e == 0)
            e = judge_item(&r, line, &i);
        if (e < 0)
            return e;
    }
    *out = r.targets;
    *out_n = r.n;
    return 0;
}

/* The file */

static int refuse(struct mda_result *result, const char *why)
{
    mda_result_set(result, MDA_DEFERRED, 451, "4.2.0", "~/.forward is refused: %s", why);
    return -1;
}

/* Its text. As forward_read. */
static int read_file(const struct mda_user *user, str path, struct buf *text, struct mda_result *result)
{
    struct stat dir, st;
    const char *name;
    _cleanup_close_ int parent = safe_path_parent(user, path, &name, &dir, result);
    if (parent < 0)
        return -1;
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && errno == ELOOP)
        return refuse(result, "it is a symlink");
    if (fd < 0 || fstat(fd, &st) < 0) {
        mda_result_errno(result, errno, "~/.forward cannot be read");
        return -1;
    }
    if (!S_ISREG(st.st_mode))
        return refuse(result, "it is no regular file");
    if (st.st_uid != user->uid && st.st_uid != 0)
        return refuse(result, "it belongs to somebody else");
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return refuse(result, "others may write to it");
    int e = whole_file_read(fd, text);
    if (e == -ENOBUFS)
        return refuse(result, "it is larger than 64 KiB");
    if (e < 0) {
        mda_result_errno(result, e, "~/.forward cannot be read");
        return -1;
    }
    return 1;
}

int forward_read(struct arena *a, const struct mda_user *user, struct forward_target **out, size_t *out_n,
                 struct mda_result *result)
{
    _cleanup_buf_ struct buf text = BUF(FORWARD_FILE_MAX);
    struct forward_error error = { 0 };
    str path = safe_path_expand(a, user, S("~/.forward"), result);
    int e = path.p ? read_file(user, path, &text, result) : -1;
    if (e <= 0)
        return e;
    e = forward_parse(a, buf_str(&text), out, out_n, &error);
    if (e == 0)
        return *out_n > 0;
    if (e == -ENOMEM)
        mda_result_errno(result, ENOMEM, "~/.forward");
    else
        mda_result_set(result, MDA_DEFERRED, 451, "4.3.5", "%.*s:%u: %s", STR_ARG(path), error.line, error.why);
    return -1;
}
