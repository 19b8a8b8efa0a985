/* Lookup tables `file:PATH`: the text form of Postfix's access(5), "key value" on a logical line. Kept as rows
 * sorted by key. */
#include "conf/conf_private.h"
#include <errno.h>

static int row_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct conf_table_row *)a)->key, ((const struct conf_table_row *)b)->key);
}

static bool all_digits(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_digit(s.p[i]))
            return false;
    return s.n > 0;
}

/* Words after which access(5) has free text, so that a "permit" in it is no action. */
static bool takes_text(str word)
{
    static const char *const name[] = { "reject", "defer", "defer_if_reject", "defer_if_permit", "warn", "info", "hold",
                                        "discard", "dunno", "prepend", "redirect", "bcc", "filter" };
    for (size_t i = 0; i < ARRAY_LEN(name); i++)
        if (str_ieq(word, str_z(name[i])))
            return true;
    return word.n == 3 && all_digits(word) && (word.p[0] == '4' || word.p[0] == '5');
}

/* access(5): OK, RELAY, an all-numerical right side, or a list of restrictions of which one permits. */
static bool permits(str value)
{
    str rest = value, word = str_word(&rest);
    if (str_ieq(word, S("ok")) || str_ieq(word, S("relay")))
        return true;
    if (takes_text(word))
        return false;
    if (all_digits(value))
        return true;
    for (rest = value; rest.n;) {
        str list = str_cut(&rest, ',');
        while ((word = str_word(&list)).n)
            if (str_istarts(word, S("permit")) || str_ieq(word, S("ok")))
                return true;
    }
    return false;
}

/* A value of RELAY or OK matches without regard to case (access(5)); keys are folded here, at reading. */
static int read_row(struct arena *a, struct conf_lines *l, str line, struct conf_table_row *out, struct conf_error *e)
{
    str rest = line, key = str_word(&rest);
    *out = (struct conf_table_row){ .key = arena_lower(a, key), .value = str_trim(rest), .line = l->at };
    if (!out->key.p)
        return -ENOMEM;
    if (out->value.n == 0)
        return conf_fail(a, e, l->file, l->at,
                         "expected a key and a value, like `192.0.2.1 REJECT`; found only \"%.*s\"",
                         STR_ARG(str_first(key, 100)));
    return 0;
}

int conf_table_parse(struct arena *a, str path, str text, struct conf_table **out, struct conf_error *out_error)
{
    struct conf_table *t = ARENA_NEW(a, struct conf_table);
    struct conf_table_row *rows = NULL;
    size_t n = 0, cap = 0;
    struct conf_lines l = conf_lines_init(path, text, true);
    str line;
    int r = 0;
    while (t && (r = conf_lines_next(&l, a, &line, out_error)) > 0) {
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            struct conf_table_row *grown = ARENA_ARRAY(a, struct conf_table_row, cap);
            if (!grown)
                return -ENOMEM;
            if (n)
                memcpy(grown, rows, n * sizeof(*rows));
            rows = grown;
        }
        r = read_row(a, &l, line, &rows[n], out_error);
        if (r < 0)
            return r;
        n++;
    }
    if (!t || r < 0)
        return t ? r : -ENOMEM;
    if (n)
        qsort(rows, n, sizeof(*rows), row_cmp);
    *t = (struct conf_table){ .path = path, .rows = rows, .n = n };
    for (size_t i = 0; i < n; i++) {
        t->has_ok = t->has_ok || permits(rows[i].value);
        if (i && str_eq(rows[i].key, rows[i - 1].key))
            return conf_fail(a, out_error, path, MAX(rows[i].line, rows[i - 1].line),
                             "\"%.*s\" is listed twice; also in line %u", STR_ARG(str_first(rows[i].key, 100)),
                             MIN(rows[i].line, rows[i - 1].line));
    }
    *out = t;
    return 0;
}

int conf_table_get(const struct conf_table *t, str key, str *out_value)
{
    char lower[512]; /* no key that a session asks for is longer: addresses, names, networks */
    if (key.n > sizeof(lower))
        return 0;
    for (size_t i = 0; i < key.n; i++)
        lower[i] = ascii_lower(key.p[i]);
    size_t from = 0, to = t->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int d = str_cmp(str_of(lower, key.n), t->rows[mid].key);
        if (d == 0) {
            *out_value = t->rows[mid].value;
            return 1;
        }
        if (d < 0)
            to = mid;
        else
            from = mid + 1;
    }
    return 0;
}

bool conf_table_row(const struct conf_table *t, size_t i, str *out_value, str *out_file, uint32_t *out_line)
{
    if (i >= t->n)
        return false;
    *out_value = t->rows[i].value;
    *out_file = t->path;
    *out_line = t->rows[i].line;
    return true;
}

bool conf_table_has_ok(const struct conf_table *t)
{
    return t->has_ok;
}
