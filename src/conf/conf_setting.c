/* The rows of settings.def: by name, as text, and the nearest known name for a word that is not one. */
#include "conf/conf_private.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define SETTING(name_, type_, deflt_, doc_) \
    { .name = #name_, .type = CONF_TYPE_##type_, .offset = offsetof(struct conf, name_), .deflt = deflt_, .doc = doc_ },
const struct conf_setting conf_settings[CONF_ROWS] = {
#include "conf/settings.def"
};
#undef SETTING

static const char *const type_name[] = {
    [CONF_TYPE_BOOL] = "yes or no", [CONF_TYPE_NUMBER] = "number", [CONF_TYPE_SIZE] = "size",
    [CONF_TYPE_DURATION] = "duration", [CONF_TYPE_STRING] = "text", [CONF_TYPE_PATH] = "path",
    [CONF_TYPE_WORDS] = "list", [CONF_TYPE_NETWORKS] = "networks",
};

const char *const conf_list_name[CONF_LISTS] = {
    [CONF_CLIENT] = "smtpd_client_restrictions", [CONF_HELO] = "smtpd_helo_restrictions",
    [CONF_SENDER] = "smtpd_sender_restrictions", [CONF_RELAY] = "smtpd_relay_restrictions",
    [CONF_RECIPIENT] = "smtpd_recipient_restrictions", [CONF_DATA] = "smtpd_data_restrictions",
};

const char *const conf_service_name[CONF_SERVICES] = {
    [CONF_SMTP] = "smtp", [CONF_SUBMISSION] = "submission", [CONF_SUBMISSIONS] = "submissions",
    [CONF_LMTP] = "lmtp", [CONF_POP3] = "pop3", [CONF_POP3S] = "pop3s", [CONF_IMAP] = "imap",
    [CONF_IMAPS] = "imaps",
};

bool conf_listener_path(const struct conf_listener *l, str *out_path)
{
    if (!str_starts(l->address, S("unix:")))
        return false;
    *out_path = str_from(l->address, 5);
    return true;
}

void conf_listener_print(struct buf *out, const struct conf_listener *l)
{
    str path;
    if (conf_listener_path(l, &path))
        buf_add(out, l->address);
    else if (str_chr(l->address, ':') >= 0)
        buf_addf(out, "[%.*s]:%u", STR_ARG(l->address), l->port);
    else
        buf_addf(out, "%.*s:%u", STR_ARG(l->address), l->port);
}

/* Words that begin a statement and are no settings. */
static const char *const statement_name[] = { "domain", "listen", "route", "dkim", "include" };

int conf_setting_find(str name)
{
    for (size_t i = 0; i < CONF_ROWS; i++)
        if (str_eq(name, str_z(conf_settings[i].name)))
            return (int)i;
    return -1;
}

bool conf_setting_info(size_t i, struct conf_setting_info *out)
{
    if (i >= CONF_ROWS)
        return false;
    const struct conf_setting *s = &conf_settings[i];
    *out = (struct conf_setting_info){ .name = s->name, .type = type_name[s->type], .deflt = s->deflt, .doc = s->doc };
    return true;
}

bool conf_setting_value(const struct conf *c, str name, struct buf *out_text, str *out_file, uint32_t *out_line)
{
    int row = conf_setting_find(name);
    if (row < 0)
        return false;
    const struct conf_place *p = &((const struct conf_full *)c)->place[row];
    if (p->file.n)
        conf_words_print(out_text, p->words, p->n);
    else
        buf_add(out_text, str_z(conf_settings[row].deflt));
    *out_file = p->file.n ? p->file : S("default");
    *out_line = p->line;
    return true;
}

/* Longer words are never near a name of ours; this also bounds the work. */
#define NEAR_MAX 63

/* Edit distance with swaps of neighbours (optimal string alignment), stopping to care above `most`. */
static size_t distance(str a, str b)
{
    uint8_t rows[3][NEAR_MAX + 1];
    uint8_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        last[j] = (uint8_t)j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = (uint8_t)i;
        for (size_t j = 1; j <= b.n; j++) {
            char x = ascii_lower(a.p[i - 1]), y = ascii_lower(b.p[j - 1]);
            unsigned d = MIN(last[j] + 1u, now[j - 1] + 1u);
            d = MIN(d, last[j - 1] + (x != y ? 1u : 0u));
            if (i > 1 && j > 1 && x == ascii_lower(b.p[j - 2]) && y == ascii_lower(a.p[i - 2]))
                d = MIN(d, before[j - 2] + 1u);
            now[j] = (uint8_t)d;
        }
        uint8_t *reuse = before;
        before = last;
        last = now;
        now = reuse;
    }
    return last[b.n];
}

static void consider(str s, const char *name, size_t *best, str *nearest)
{
    str candidate = str_z(name);
    if (candidate.n > NEAR_MAX || s.n > NEAR_MAX || s.n == 0)
        return;
    size_t d = distance(s, candidate);
    if (d < *best && d <= MAX(candidate.n / 4, (size_t)1)) {
        *best = d;
        *nearest = candidate;
    }
}

str conf_nearest_of(const char *const *names, size_t n, str s)
{
    size_t best = SIZE_MAX;
    str nearest = STR_NONE;
    for (size_t i = 0; i < n; i++)
        consider(s, names[i], &best, &nearest);
    return nearest;
}

str conf_nearest(str s)
{
    size_t best = SIZE_MAX;
    str nearest = STR_NONE;
    for (size_t i = 0; i < CONF_ROWS; i++)
        consider(s, conf_settings[i].name, &best, &nearest);
    for (size_t i = 0; i < ARRAY_LEN(statement_name); i++)
        consider(s, statement_name[i], &best, &nearest);
    return nearest;
}

int conf_fail(struct arena *a, struct conf_error *out, str file, uint32_t line, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);
    *out = (struct conf_error){ .file = file, .line = line, .text = arena_dup(a, str_of(text, len)) };
    return out->text.p ? -EINVAL : -ENOMEM;
}

void conf_error_print(struct buf *out, const struct conf_error *e)
{
    if (e->file.n)
        buf_add(out, e->file);
    if (e->file.n && e->line)
        buf_addf(out, ":%u", e->line);
    if (e->file.n)
        buf_add(out, S(": "));
    buf_add(out, e->text);
}
