/* Reading the traces: see trace_read.h. Invariants:
 * 1. A segment is its whole lines: what follows the last newline is being written and is left out.
 * 2. Each line is parsed at most once a search, and only when it holds the bytes looked for: a search is linear.
 * 3. Bytes found are only a hint (a peer can write an id or a field into its HELO name); the parsed fields decide. */
#include "admin/trace_read.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "base/date.h"
#include "base/event.h"
#include "base/map.h"

enum { SEGMENTS_MAX = 1 << 20, LINE_MAX = 1 << 17, NAME_BYTES = 96 };
#define DAY_US (86400 * UINT64_C(1000000))

/* ROLE.NUMBER.trace */
static bool read_name(const char *file, struct trace_segment *out)
{
    str s = str_z(file);
    if (!str_ends(s, S(".trace")))
        return false;
    s = str_first(s, s.n - 6);
    ptrdiff_t dot = str_rchr(s, '.');
    if (dot <= 0 || (size_t)dot >= sizeof(out->role) ||
        str_u64(str_from(s, (size_t)dot + 1), UINT64_MAX, &out->number) < 0)
        return false;
    memcpy(out->role, s.p, (size_t)dot);
    out->role[dot] = '\0';
    return true;
}

static uint64_t line_time(str line)
{
    uint64_t us = 0;
    if (str_starts(line, S("time="))) {
        line = str_first(str_from(line, 5), 64);
        (void)date_parse_3339(str_cut(&line, ' '), &us);
    }
    return us;
}

/* The line of the segment that byte `at` belongs to, with its newline. */
static str line_at(const struct trace_segment *s, const char *at)
{
    const char *before = memrchr(s->p, '\n', (size_t)(at - s->p));
    const char *start = before ? before + 1 : s->p, *end = s->p + s->n;
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return str_of(start, (size_t)((newline ? newline + 1 : end) - start));
}

/* 0 if mapped, 1 if there is nothing in it (or it has just been removed), negative errno. */
static int map_segment(int dir_fd, const char *file, struct trace_segment *s)
{
    struct stat st;
    _cleanup_close_ int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP ? 1 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return 1;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    s->p = p;
    s->mapped = (size_t)st.st_size;
    const char *last = memrchr(p, '\n', s->mapped);
    s->n = last ? (size_t)(last + 1 - s->p) : 0;
    if (s->n) {
        s->begin_us = line_time(line_at(s, s->p));
        s->end_us = line_time(line_at(s, last));
    }
    return 0;
}

static int add_segment(struct trace *t, const struct trace_segment *s)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        struct trace_segment *p = cap > SEGMENTS_MAX ? NULL : reallocarray(t->segment, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        t->segment = p;
        t->cap = cap;
    }
    t->segment[t->n++] = *s;
    t->bytes += s->n;
    if (s->begin_us && (!t->begin_us || s->begin_us < t->begin_us))
        t->begin_us = s->begin_us;
    t->end_us = MAX(t->end_us, s->end_us);
    return 0;
}

static int latest_first(const void *a, const void *b)
{
    const struct trace_segment *x = a, *y = b;
    if (x->end_us != y->end_us)
        return x->end_us > y->end_us ? -1 : 1;
    return x->number > y->number ? -1 : x->number < y->number;
}

int trace_open(int dir_fd, struct trace *out)
{
    *out = (struct trace){ 0 };
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    for (struct dirent *f; r >= 0 && (f = readdir(d));) {
        struct trace_segment s = { 0 };
        if (!read_name(f->d_name, &s))
            continue;
        r = map_segment(dir_fd, f->d_name, &s);
        if (r == 0 && (r = add_segment(out, &s)) < 0)
            munmap((void *)s.p, s.mapped);
    }
    closedir(d);
    if (r < 0) {
        trace_done(out);
        return r;
    }
    if (out->n)
        qsort(out->segment, out->n, sizeof(*out->segment), latest_first);
    return 0;
}

void trace_done(struct trace *t)
{
    for (size_t i = 0; i < t->n; i++)
        munmap((void *)t->segment[i].p, t->segment[i].mapped);
    free(t->segment);
    *t = (struct trace){ 0 };
}

int trace_name_parse(str s, struct trace_name *out)
{
    static const str letters = S("0123456789abcdefghjkmnpqrstvwxyz"); /* Crockford's base32 */
    struct trace_name name = { 0 };
    uint64_t number;
    ptrdiff_t dot = str_chr(s, '.');
    str word = dot < 0 ? s : str_first(s, (size_t)dot);
    if (dot >= 0) {
        if (str_u64(str_from(s, (size_t)dot + 1), UINT32_MAX, &number) < 0)
            return -EINVAL;
        name.has_number = true;
        name.number = (uint32_t)number;
    }
    for (size_t i = 0; i < word.n; i++) {
        char c = ascii_lower(word.p[i]);
        c = c == 'i' || c == 'l' ? '1' : c == 'o' ? '0' : c;
        if (str_chr(letters, c) < 0)
            return -EINVAL;
        if (i < B32_ID_LEN)
            name.text[i] = c;
    }
    if (word.n < TRACE_PREFIX_MIN || word.n > B32_ID_LEN)
        return -ERANGE;
    name.n = word.n;
    *out = name;
    return 0;
}

/* Events of a connection: the roles tag them with the message last begun, if there was one. */
static bool is_session_wide(str event)
{
    static const str names[] = { S("connect"), S("tls"),      S("auth"),      S("client"),
                                 S("helo"),    S("maildrop"), S("disconnect") };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(event, names[i]))
            return true;
    return false;
}

/* "S" or "S.n" as a role writes it. */
static bool read_id(str s, struct trace_line *out)
{
    uint64_t number = 0;
    if (s.n < B32_ID_LEN)
        return false;
    for (size_t i = 0; i < B32_ID_LEN; i++)
        if (!ascii_alnum(s.p[i]))
            return false;
    if (s.n > B32_ID_LEN && (s.p[B32_ID_LEN] != '.' || str_u64(str_from(s, B32_ID_LEN + 1), UINT32_MAX, &number) < 0))
        return false;
    memcpy(out->session, s.p, B32_ID_LEN);
    out->tagged = (uint32_t)number;
    return true;
}

static void finish_line(struct trace_line *line)
{
    line->time_us = line_time(line->text);
    line->number = is_session_wide(trace_line_event(line->text)) ? 0 : line->tagged;
}

void trace_lines_done(struct trace_lines *l)
{
    free(l->line);
    *l = (struct trace_lines){ 0 };
}

int trace_lines_add(struct trace_lines *l, const struct trace_line *line)
{
    if (l->n == TRACE_LINES_MAX) {
        l->truncated = true;
        return 0;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct trace_line *p = reallocarray(l->line, cap, sizeof(*p));
        if (!p)
            return -ENOMEM;
        l->line = p;
        l->cap = cap;
    }
    l->line[l->n++] = *line;
    return 0;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_line *x = a, *y = b;
    if (x->time_us != y->time_us)
        return x->time_us < y->time_us ? -1 : 1;
    return x->text.p < y->text.p ? -1 : x->text.p > y->text.p;
}

static void sort_lines(struct trace_lines *l)
{
    if (l->n)
        qsort(l->line, l->n, sizeof(*l->line), by_time);
}

/* Which ids are looked for: one beginning, or a set of "S" and "S.n". */
struct wanted { const struct trace_name *name; const struct map *set; };

static bool is_wanted(const struct wanted *w, str id)
{
    return w->set ? map_get(w->set, id) != NULL : str_starts(id, str_of(w->name->text, w->name->n));
}

/* True if the line's session or message is wanted; *out says by which id. */
static bool identify(const struct wanted *w, str line, struct buf *value, struct trace_line *out)
{
    static const char *const keys[] = { "session", "message" };
    *out = (struct trace_line){ .text = line };
    for (size_t i = 0; i < ARRAY_LEN(keys) && line.n <= LINE_MAX; i++)
        if (event_get(line, keys[i], value) && is_wanted(w, buf_str(value)) && read_id(buf_str(value), out)) {
            finish_line(out);
            return true;
        }
    return false;
}

static bool has_number(const struct trace_name *name, const struct trace_line *line)
{
    return !name->has_number || line->number == 0 || line->number == name->number;
}

int trace_find_id(const struct trace *t, const struct trace_name *name, struct trace_lines *out)
{
    _cleanup_buf_ struct buf value = BUF(LINE_MAX);
    struct wanted w = { .name = name };
    struct trace_line line;
    int r = 0;
    *out = (struct trace_lines){ 0 };
    for (size_t i = 0; i < t->n && r == 0; i++) {
        const struct trace_segment *s = &t->segment[i];
        const char *at = s->p, *end = s->p + s->n, *hit;
        while (r == 0 && at < end && (hit = memmem(at, (size_t)(end - at), name->text, name->n))) {
            str text = line_at(s, hit);
            at = text.p + text.n;
            if (identify(&w, text, &value, &line) && has_number(name, &line))
                r = trace_lines_add(out, &line);
        }
    }
    if (r < 0)
        trace_lines_done(out);
    sort_lines(out);
    return r;
}

/* The id at p: what stands before the blank or the end of the line. */
static str id_at(const char *p, const char *end)
{
    size_t n = 0, most = MIN((size_t)(end - p), (size_t)B32_ID_LEN + 12);
    while (n < most && (ascii_alnum(p[n]) || p[n] == '.'))
        n++;
    return str_of(p, n);
}

/* Lines with a field `key` (" session=") whose id is in the set. A line that has both fields is found by its
 * session. */
static int scan_field(const struct trace_segment *s, str key, const struct wanted *w, struct trace_lines *out)
{
    _cleanup_buf_ struct buf value = BUF(LINE_MAX);
    bool by_session = str_eq(key, S(" session="));
    const char *at = s->p, *end = s->p + s->n, *hit;
    int r = 0;
    while (r == 0 && at < end && (hit = memmem(at, (size_t)(end - at), key.p, key.n))) {
        struct trace_line line;
        at = hit + key.n;
        if (!is_wanted(w, id_at(at, end)))
            continue;
        str text = line_at(s, hit);
        at = text.p + text.n;
        if (!identify(w, text, &value, &line))
            continue;
        if (by_session == (event_get(text, "session", &value) && is_wanted(w, buf_str(&value))))
            r = trace_lines_add(out, &line);
    }
    return r;
}

static int want(struct map *set, const struct trace_line *line, uint32_t number)
{
    static char here;
    _cleanup_buf_ struct buf id = BUF(B32_ID_LEN + 12);
    buf_add(&id, str_of(line->session, B32_ID_LEN));
    if (number)
        buf_addf(&id, ".%u", number);
    return id.failed ? id.failed : map_set(set, buf_str(&id), &here, NULL);
}

int trace_find_messages(const struct trace *t, const struct trace_lines *messages, uint64_t since_us,
                        struct trace_lines *out)
{
    static const uint8_t key[16]; /* chosen ids would cost this command its time and nobody else anything */
    struct map set;
    struct wanted w = { .set = &set };
    int r = 0;
    *out = (struct trace_lines){ 0 };
    map_init(&set, 2 * TRACE_LINES_MAX, key);
    for (size_t i = 0; i < messages->n && r == 0; i++) {
        r = want(&set, &messages->line[i], 0);
        if (r == 0)
            r = want(&set, &messages->line[i], messages->line[i].tagged);
    }
    for (size_t i = 0; i < t->n && r == 0; i++) {
        if (t->segment[i].end_us + DAY_US < since_us)
            continue;
        r = scan_field(&t->segment[i], S(" session="), &w, out);
        if (r == 0)
            r = scan_field(&t->segment[i], S(" message="), &w, out);
    }
    map_done(&set);
    if (r < 0)
        trace_lines_done(out);
    sort_lines(out);
    return r;
}

struct address_scan { str address, local, domain; bool local_plain; const struct trace_visitor *v; struct buf *value; };

/* Do the bytes round an @ look like `key=address`, with or without quotes? */
static bool looks_right(const struct address_scan *a, const struct trace_segment *s, const char *at)
{
    const char *end = s->p + s->n;
    if ((size_t)(end - at) < a->domain.n + 2 || !str_ieq(str_of(at + 1, a->domain.n), a->domain))
        return false;
    char after = at[1 + a->domain.n];
    if (after != ' ' && after != '\n' && after != '"')
        return false;
    if (!a->local_plain) /* written with escapes: parsing will tell */
        return true;
    if ((size_t)(at - s->p) < a->local.n + 1 || !str_ieq(str_of(at - a->local.n, a->local.n), a->local))
        return false;
    char before = at[-(ptrdiff_t)a->local.n - 1];
    return before == '=' || before == '"';
}

static bool has_address(const struct address_scan *a, str line)
{
    static const str keys[] = { S("sender"), S("recipient"), S("account"), S("user") };
    str key;
    for (buf_clear(a->value); event_field(&line, &key, a->value); buf_clear(a->value))
        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
            if (str_eq(key, keys[i]) && str_ieq(buf_str(a->value), a->address))
                return true;
    return false;
}

static void judge_line(const struct address_scan *a, str text)
{
    struct trace_line line = { .text = text };
    str event = trace_line_event(text);
    if (!a->v->wanted(a->v->arg, text, event) || text.n > LINE_MAX || !has_address(a, text))
        return;
    if (!event_get(text, "session", a->value) || !read_id(buf_str(a->value), &line))
        return;
    finish_line(&line);
    a->v->found(a->v->arg, &line, event);
}

static bool plain_local(str local)
{
    for (size_t i = 0; i < local.n; i++)
        if (local.p[i] <= ' ' || local.p[i] > '~' || local.p[i] == '"' || local.p[i] == '\\')
            return false;
    return true;
}

void trace_find_address(const struct trace *t, str address, const struct trace_visitor *v)
{
    _cleanup_buf_ struct buf value = BUF(LINE_MAX);
    ptrdiff_t sign = str_rchr(address, '@');
    if (sign < 0)
        return;
    struct address_scan a = { .address = address, .local = str_first(address, (size_t)sign),
                              .domain = str_from(address, (size_t)sign + 1), .v = v, .value = &value };
    a.local_plain = plain_local(a.local);
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_segment *s = &t->segment[i];
        const char *at = s->p, *end = s->p + s->n, *hit;
        if (v->enough && v->enough(v->arg, s->end_us))
            return;
        while (at < end && (hit = memchr(at, '@', (size_t)(end - at)))) {
            at = hit + 1;
            if (!looks_right(&a, s, hit))
                continue;
            str text = line_at(s, hit);
            at = text.p + text.n;
            judge_line(&a, text);
        }
    }
}

str trace_line_event(str line)
{
    str head = str_first(line, NAME_BYTES);
    ptrdiff_t at = str_find(head, S(" event="));
    if (at < 0)
        return STR_NONE;
    head = str_from(head, (size_t)at + 7);
    return str_cut(&head, ' ');
}

static size_t count_fields(str line, struct buf *value)
{
    size_t n = 0;
    str key;
    for (buf_clear(value); event_field(&line, &key, value); buf_clear(value))
        n++;
    return n;
}

int trace_event_read(struct arena *a, const struct trace_line *line, struct trace_event *out)
{
    _cleanup_buf_ struct buf value = BUF(LINE_MAX);
    str rest = line->text;
    size_t n = count_fields(rest, &value);
    struct trace_field *field = n ? ARENA_ARRAY(a, struct trace_field, n) : NULL;
    if (n && !field)
        return -ENOMEM;
    buf_clear(&value);
    for (size_t i = 0; i < n && event_field(&rest, &field[i].key, &value); i++, buf_clear(&value))
        if (!(field[i].value = arena_dup(a, buf_str(&value))).p)
            return -ENOMEM;
    *out = (struct trace_event){ .time_us = line->time_us, .field = field, .n = n };
    out->name = trace_get(out, "event");
    return 0;
}

bool trace_next(const struct trace_event *e, const char *key, size_t *at, str *out_value)
{
    str wanted = str_z(key);
    for (size_t i = *at; i < e->n; i++)
        if (str_eq(e->field[i].key, wanted)) {
            *out_value = e->field[i].value;
            *at = i + 1;
            return true;
        }
    *at = e->n;
    return false;
}

str trace_get(const struct trace_event *e, const char *key)
{
    size_t at = 0;
    str value = STR_NONE;
    trace_next(e, key, &at, &value);
    return value;
}

bool trace_is(const struct trace_event *e, const char *key, str value)
{
    return str_eq(trace_get(e, key), value);
}
