/* The secrets file in memory: see secrets.h. */
#include "auth/secrets.h"
#include <errno.h>
#include "io/whole_file.h"

enum { SECRETS_MAX = 1 << 30, ACCOUNTS_MAX = 10000000, LINE_MEMORY = 8192 };

struct line { size_t at, n; };

static int add_line(struct secrets *s, str text, size_t *damaged)
{
    _cleanup_arena_ struct arena a = ARENA(LINE_MEMORY);
    struct account_secret secret;
    if (text.n > LINE_MEMORY / 2) {
        (*damaged)++;
        return 0;
    }
    int r = account_secret_parse(&a, text, &secret);
    if (r < 0) {
        (*damaged)++;
        return r == -EBADMSG ? 0 : r;
    }
    if (!secret.address.n)
        return 0;
    struct line *line = malloc(sizeof(*line));
    str key = arena_lower(&a, secret.address);
    void *old = NULL;
    if (!line || !key.p || map_set(&s->lines, key, line, &old) < 0) {
        free(line);
        return -ENOMEM;
    }
    free(old);
    *line = (struct line){ .at = (size_t)(text.p - s->text.p), .n = text.n };
    return 0;
}

int secrets_read(struct secrets *s, int fd, const uint8_t key[16], size_t *out_damaged)
{
    *s = (struct secrets){ .text = BUF(SECRETS_MAX) };
    *out_damaged = 0;
    map_init(&s->lines, ACCOUNTS_MAX, key);
    int r = whole_file_read(fd, &s->text);
    str rest = buf_str(&s->text);
    while (r == 0 && rest.n)
        r = add_line(s, str_cut(&rest, '\n'), out_damaged);
    if (r < 0)
        secrets_done(s);
    return r;
}

void secrets_done(struct secrets *s)
{
    void *line;
    for (size_t at = 0; (line = map_next(&s->lines, &at, NULL));)
        free(line);
    map_done(&s->lines);
    if (s->text.p)
        explicit_bzero(s->text.p, s->text.n);
    buf_done(&s->text);
}

int secrets_get(const struct secrets *s, struct arena *a, str address, struct account_secret *out)
{
    str key = arena_lower(a, address);
    const struct line *line = key.p ? map_get(&s->lines, key) : NULL;
    if (!key.p)
        return -ENOMEM;
    if (!line)
        return 0;
    str copy =
        arena_dup(a, str_of(s->text.p + line->at, line->n)); /* the text may be replaced while a hash is computed */
    int r = copy.p ? account_secret_parse(a, copy, out) : -ENOMEM;
    return r < 0 ? r : 1;
}
