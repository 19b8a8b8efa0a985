/* The bundle: the configuration and every file it names in one blob, so that whoever gets it opens no path.
 * Layout (base/pack.h): magic, name of the main file, then name and content of each file. */
#include <fcntl.h>
#include <sys/stat.h>
#include "base/hash.h"
#include "base/map.h"
#include "base/pack.h"
#include "conf/conf_private.h"
#include <errno.h>

#define MAGIC "PHconf1"
#define FILES_MAX 65536

enum kind { KIND_CONF, KIND_PLAIN, KIND_ALIASES };

/* A file that is named and not read yet. */
struct pending {
    str name, from; /* from, line: who names it */
    uint32_t line;
    enum kind kind;
    bool optional;
    struct pending *next;
};

struct reader {
    struct arena *a;
    struct buf *out;
    struct conf_error *error;
    str main;
    struct map seen; /* names */
    struct pending *first, **last;
    bool accounts_named;
};

void conf_bundle_begin(struct buf *b, str main_file)
{
    buf_add(b, S(MAGIC));
    pack_str(b, main_file);
}

void conf_bundle_add(struct buf *b, str name, str content)
{
    pack_str(b, name);
    pack_str(b, content);
}

static bool begin(str bundle, struct unpack *u, str *out_main)
{
    if (!str_starts(bundle, S(MAGIC)))
        return false;
    *u = UNPACK(str_from(bundle, sizeof(MAGIC) - 1));
    *out_main = unpack_str(u);
    return !u->bad;
}

str conf_bundle_main(str bundle)
{
    struct unpack u;
    str name;
    return begin(bundle, &u, &name) ? name : STR_NONE;
}

int conf_bundle_file(str bundle, str name, str *out_content)
{
    struct unpack u;
    str main;
    if (!begin(bundle, &u, &main))
        return 0;
    while (u.in.n) {
        str file = unpack_str(&u), content = unpack_str(&u);
        if (u.bad)
            return 0;
        if (str_eq(file, name)) {
            *out_content = content;
            return 1;
        }
    }
    return 0;
}

static int name_file(struct reader *r, str name, const struct pending *what)
{
    static char here;
    if (map_get(&r->seen, name))
        return 0;
    struct pending *p = ARENA_NEW(r->a, struct pending);
    if (!p)
        return -ENOMEM;
    *p = *what;
    p->name = arena_dup(r->a, name);
    if (!p->name.p)
        return -ENOMEM;
    int rc = map_set(&r->seen, p->name, &here, NULL);
    if (rc == -ENOSPC)
        return conf_fail(r->a, r->error, what->from, what->line, "more than %d files are named", FILES_MAX);
    *r->last = p;
    r->last = &p->next;
    return rc;
}

/* Names the files of one statement: `include FILE`, `accounts FILE`, `aliases FILE`, check_…_access file:PATH. */
static int name_files(struct reader *r, const struct pending *in, const struct conf_statement *s)
{
    str first = s->n ? s->words[0].text : STR_NONE;
    struct pending what = { .from = in->name, .line = s->line, .kind = KIND_PLAIN };
    if (s->n == 2 && s->words[1].text.n) {
        bool include = str_eq(first, S("include")), aliases = str_eq(first, S("aliases"));
        bool accounts = str_eq(first, S("accounts"));
        r->accounts_named = r->accounts_named || accounts;
        what.kind = include ? KIND_CONF : aliases ? KIND_ALIASES : KIND_PLAIN;
        if (include || aliases || accounts)
            return name_file(r, s->words[1].text, &what);
    }
    for (size_t i = 1; i < s->n; i++) {
        str path;
        if (!conf_word_takes_table(s->words[i - 1].text) || !conf_word_table_path(s->words[i].text, &path))
            continue;
        what.line = s->words[i].line;
        int rc = name_file(r, path, &what);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int walk_conf(struct reader *r, const struct pending *in, str content)
{
    struct conf_lexer l = conf_lexer_init(in->name, content);
    struct conf_statement s;
    do {
        int rc = conf_lexer_next(&l, r->a, &s, r->error);
        if (rc == 0)
            rc = name_files(r, in, &s);
        if (rc < 0)
            return rc;
    } while (s.kind != CONF_STATEMENT_END);
    return 0;
}

static int walk_aliases(struct reader *r, const struct pending *in, str content)
{
    struct conf_lines l = conf_lines_init(in->name, content, true);
    str line, alias, targets, path;
    int rc;
    while ((rc = conf_lines_next(&l, r->a, &line, r->error)) > 0) {
        if (!conf_alias_split(line, &alias, &targets))
            continue;
        while (rc >= 0 && targets.n) {
            if (!conf_target_include(conf_target_next(&targets), &path) || path.n == 0)
                continue;
            struct pending what = { .from = in->name, .line = l.at, .kind = KIND_PLAIN };
            rc = name_file(r, path, &what);
        }
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* A file that cannot be had: the error stands at the place that names it. */
static int fail_file(struct reader *r, const struct pending *p, int err, const char *why)
{
    bool main = p->from.n == 0;
    str name = main ? STR_NONE : str_first(p->name, 512);
    int rc = conf_fail(r->a, r->error, main ? p->name : p->from, p->line, "cannot read%s%.*s: %s", main ? "" : " ",
                       STR_ARG(name), why ? why : strerrordesc_np(err));
    return rc == -ENOMEM ? rc : -err;
}

/* The path of a name: as it is if absolute or the main file, else in the main file's folder. */
static char *path_of(const struct reader *r, const struct pending *p)
{
    ptrdiff_t slash = str_rchr(r->main, '/');
    if (p->from.n == 0 || p->name.p[0] == '/' || slash < 0)
        return str_dupz(p->name);
    str folder = str_first(r->main, (size_t)slash + 1);
    _cleanup_buf_ struct buf b = BUF(folder.n + p->name.n);
    buf_add(&b, folder);
    buf_add(&b, p->name);
    return b.failed ? NULL : str_dupz(buf_str(&b));
}

static int read_all(int fd, char *p, size_t n, size_t *out_n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = read(fd, p + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        at += (size_t)got;
    }
    *out_n = at;
    return 0;
}

/* Appends the file's name and content. O_NONBLOCK so that a FIFO of that name cannot hold the start up. */
static int read_file(struct reader *r, const struct pending *p, size_t *out_at, size_t *out_n)
{
    _cleanup_free_ char *path = path_of(r, p);
    if (!path)
        return -ENOMEM;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && p->optional) {
        *out_n = 0;
        return 0;
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_file(r, p, errno, NULL);
    if (!S_ISREG(st.st_mode))
        return fail_file(r, p, EINVAL, "not a regular file");
    if ((uint64_t)st.st_size > UINT32_MAX || buf_reserve(r->out, p->name.n + 8 + (size_t)st.st_size) == -ENOBUFS)
        return fail_file(r, p, EFBIG, "the configuration and its files are too large together");
    pack_str(r->out, p->name);
    size_t at = r->out->n;
    pack_u32(r->out, 0);
    if (!buf_space(r->out, (size_t)st.st_size) && st.st_size)
        return r->out->failed;
    size_t n = 0;
    int rc = read_all(fd, r->out->p + at + 4, (size_t)st.st_size, &n);
    if (rc < 0)
        return fail_file(r, p, -rc, NULL);
    put_u32(r->out->p + at, (uint32_t)n);
    r->out->n = at + 4 + n;
    *out_at = at + 4;
    *out_n = n;
    return r->out->failed;
}

/* Reads what is pending, which may name more. While a file is walked nothing is appended, so its content stays where
 * it is. */
static int drain(struct reader *r)
{
    for (; r->first; r->first = r->first->next) {
        const struct pending *p = r->first;
        size_t at = 0, n = 0;
        int rc = read_file(r, p, &at, &n);
        str content = str_of(r->out->p + at, n);
        if (rc == 0 && n && p->kind == KIND_CONF)
            rc = walk_conf(r, p, content);
        else if (rc == 0 && n && p->kind == KIND_ALIASES)
            rc = walk_aliases(r, p, content);
        if (rc < 0)
            return rc;
    }
    r->last = &r->first;
    return 0;
}

static int read_bundle(struct reader *r)
{
    struct pending main = { .kind = KIND_CONF };
    int rc = name_file(r, r->main, &main);
    if (rc == 0)
        rc = drain(r);
    if (rc == 0 && !r->accounts_named) {
        struct pending accounts = { .from = r->main, .kind = KIND_PLAIN, .optional = true };
        rc = name_file(r, str_z(conf_settings[CONF_ROW_accounts].deflt), &accounts);
        if (rc == 0)
            rc = drain(r);
    }
    return rc;
}

int conf_bundle_read(struct arena *a, const char *path, struct buf *out_bundle, struct conf_error *out_error)
{
    static const uint8_t key[16] = "names of files"; /* what is counted here is the administrator's own */
    struct reader r = { .a = a, .out = out_bundle, .error = out_error, .main = arena_dup(a, str_z(path)) };
    r.last = &r.first;
    if (!r.main.p)
        return -ENOMEM;
    *out_error = (struct conf_error){ .file = r.main };
    conf_bundle_begin(out_bundle, r.main);
    map_init(&r.seen, FILES_MAX, key);
    int rc = read_bundle(&r);
    map_done(&r.seen);
    return rc;
}
