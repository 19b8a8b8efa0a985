/* The configuration from a bundle: statements into struct conf through the rows of settings.def. Nothing is opened
 * here. */
#include "conf/conf_parser.h"
#include "message/address.h"
#include <errno.h>

#define LISTENERS_MAX 1024

static const char *const services[CONF_SERVICES][CONF_LISTS] = {
    [CONF_SMTP] = { [CONF_RELAY] = "reject_unauth_destination", [CONF_RECIPIENT] = "reject_unlisted_recipient" },
    [CONF_SUBMISSION] = { [CONF_SENDER] = "reject_authenticated_sender_login_mismatch",
                          [CONF_RELAY] = "permit_sasl_authenticated, reject",
                          [CONF_RECIPIENT] = "reject_unlisted_recipient" },
    [CONF_SUBMISSIONS] = { [CONF_SENDER] = "reject_authenticated_sender_login_mismatch",
                           [CONF_RELAY] = "permit_sasl_authenticated, reject",
                           [CONF_RECIPIENT] = "reject_unlisted_recipient" },
    [CONF_LMTP] = { [CONF_RELAY] = "reject_unauth_destination", [CONF_RECIPIENT] = "reject_unlisted_recipient" },
};

const char *conf_default_list(enum conf_service service, int list)
{
    const char *text = services[service][list];
    return text ? text : "";
}

int conf_unknown(struct conf_parser *p, const struct conf_word *w, const char *what, str nearest)
{
    return FAIL(p, w, "unknown %s \"%.*s\"%s%.*s%s", what, SHOW(w->text), nearest.n ? "; did you mean " : "",
                STR_ARG(nearest), nearest.n ? "?" : "");
}

void *conf_grow(struct arena *a, void *old, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return old;
    size_t new_cap = *cap ? *cap * 2 : 4;
    char *grown = arena_alloc(a, new_cap * size);
    if (grown && n)
        memcpy(grown, old, n * size);
    if (grown)
        *cap = new_cap;
    return grown;
}

int conf_list_value(struct conf_parser *p, const struct conf_statement *s, struct conf_words *out)
{
    *out = (struct conf_words){ .word = s->words + 1, .n = s->n - 1, .set = true };
    if (out->n == 1 && out->word[0].text.n == 0)
        out->n = 0;
    for (size_t i = 0; i < out->n; i++)
        if (out->word[i].text.n == 0)
            return FAIL(p, &out->word[i], "%.*s: an empty word in a list", SHOW(s->words[0].text));
    return 0;
}

static int networks_value(struct conf_parser *p, const struct conf_statement *s, struct conf_words *out)
{
    int r = conf_list_value(p, s, out);
    for (size_t i = 0; r == 0 && i < out->n; i++) {
        const char *want;
        if (!conf_network_valid(out->word[i].text, &want))
            r = FAIL(p, &out->word[i], "%.*s: \"%.*s\" is not %s", SHOW(s->words[0].text), SHOW(out->word[i].text),
                     want);
    }
    return r;
}

/* Settings of which not every value of their type makes sense. */
static const struct limit { enum conf_row row; uint64_t min; const char *want; } limits[] = {
    { CONF_ROW_message_size_limit, 1024, "at least 1K" },
    { CONF_ROW_smtpd_recipient_limit, 1, "at least 1" },
    { CONF_ROW_smtpd_hard_error_limit, 1, "at least 1" },
    { CONF_ROW_smtpd_junk_command_limit, 1, "at least 1" },
    { CONF_ROW_smtpd_client_connection_count_limit, 1, "at least 1" },
    { CONF_ROW_default_process_limit, 1, "at least 1" },
    { CONF_ROW_smtpd_timeout, 1000, "at least 1s" },
    { CONF_ROW_smtpd_data_timeout, 1000, "at least 1s" },
    { CONF_ROW_pop3_timeout, 1000, "at least 1s" },
    { CONF_ROW_imap_timeout, 1000, "at least 1s" },
    { CONF_ROW_smtp_destination_concurrency_limit, 1, "at least 1" },
    { CONF_ROW_smtp_connect_timeout, 1000, "at least 1s" },
    { CONF_ROW_minimal_backoff_time, 1000, "at least 1s" },
    { CONF_ROW_maximal_backoff_time, 1000, "at least 1s" },
    { CONF_ROW_dns_timeout, 100, "at least 100ms" },
    { CONF_ROW_mda_min_uid, 1, "at least 1" },
    { CONF_ROW_mda_command_timeout, 1000, "at least 1s" },
    { CONF_ROW_mda_commands_max, 1, "at least 1" },
    { CONF_ROW_mda_workers_max, 1, "at least 1" },
    { CONF_ROW_log_segment_size, 64 * 1024, "at least 64K" },
};

static bool one_of(str s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(s, str_z(words[i])))
            return true;
    return false;
}

/* Each byte of it separates, so none may be one that addresses need otherwise. */
static bool delimiter_valid(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (ascii_alnum(s.p[i]) || (unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] > 126 ||
            strchr("@\"\\.", s.p[i]))
            return false;
    return s.n <= 8;
}

static bool mode_valid(str s)
{
    bool octal = s.n == 4 && s.p[0] == '0';
    for (size_t i = 0; i < s.n; i++)
        octal = octal && s.p[i] >= '0' && s.p[i] <= '7';
    return octal;
}

/* What is expected of a text setting, if it is not met; else NULL. */
static const char *text_wanted(enum conf_row row, str text)
{
    static const char *const newline[] = { "reject", "normalize" };
    static const char *const level[] = { "debug", "info", "warn", "error" };
    static const char *const sandbox[] = { "required", "best-effort" };
    switch (row) {
    case CONF_ROW_hostname:
        return domain_valid(text, 1) ? NULL : "a host name";
    case CONF_ROW_recipient_delimiter:
        return delimiter_valid(text) ? NULL : "empty or some of ! # $ % & ' * + - / = ? ^ _ ` { | } ~";
    case CONF_ROW_smtpd_forbid_bare_newline:
        return one_of(text, newline, ARRAY_LEN(newline)) ? NULL : "reject or normalize";
    case CONF_ROW_lmtp_socket_mode:
        return mode_valid(text) ? NULL : "four octal digits, like 0660";
    case CONF_ROW_log_level:
        return one_of(text, level, ARRAY_LEN(level)) ? NULL : "debug, info, warn or error";
    case CONF_ROW_smtp_tls_security_level:
    case CONF_ROW_smtp_bind_address:
    case CONF_ROW_smtp_bind_address6:
        return conf_route_text_wanted(row, text);
    case CONF_ROW_sandbox:
        return one_of(text, sandbox, ARRAY_LEN(sandbox)) ? NULL : "required or best-effort";
    case CONF_ROW_data_directory:
    case CONF_ROW_accounts:
    case CONF_ROW_secrets:
        return text.n ? NULL : "a path";
    default:
        return NULL;
    }
}

/* Reads the single word of a scalar into the field. */
static int scalar_value(struct conf_parser *p, int row, const struct conf_word *w, void *field)
{
    const struct conf_setting *set = &conf_settings[row];
    const char *want;
    uint64_t v = 0;
    if (set->type == CONF_TYPE_STRING || set->type == CONF_TYPE_PATH) {
        want = text_wanted((enum conf_row)row, w->text);
        if (want)
            return FAIL(p, w, "%s: \"%.*s\" cannot be; expected %s", set->name, SHOW(w->text), want);
        *(str *)field = w->text;
        return 0;
    }
    if (!conf_value_number(set->type, w->text, &v, &want))
        return FAIL(p, w, "%s: \"%.*s\" is not %s", set->name, SHOW(w->text), want);
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        if ((int)limits[i].row == row && v < limits[i].min)
            return FAIL(p, w, "%s: \"%.*s\" is too small; expected %s", set->name, SHOW(w->text), limits[i].want);
    if (set->type == CONF_TYPE_BOOL)
        *(bool *)field = v != 0;
    else
        *(uint64_t *)field = v;
    return 0;
}

static int resolvers_value(struct conf_parser *p, const struct conf_statement *s, struct conf_words *out)
{
    int r = conf_list_value(p, s, out);
    for (size_t i = 0; r == 0 && i < out->n; i++) {
        char address[CONF_ADDRESS_MAX];
        uint16_t port = 53;
        if (!conf_server_parse(out->word[i].text, address, &port))
            r = FAIL(p, &out->word[i],
                     "resolver: \"%.*s\" is not a server; expected an address with or without a "
                     "port, like 192.0.2.53, 127.0.0.1:5353 or [2001:db8::53]:5353",
                     SHOW(out->word[i].text));
    }
    return r;
}

static bool is_list(const struct conf_setting *s)
{
    return s->type == CONF_TYPE_WORDS || s->type == CONF_TYPE_NETWORKS;
}

static int read_value(struct conf_parser *p, int row, const struct conf_statement *s)
{
    const struct conf_setting *set = &conf_settings[row];
    void *field = (char *)&p->conf->c + set->offset;
    const struct conf_word *name = &s->words[0];
    if (s->n < 2)
        return FAIL(p, name, "%s needs a value%s", set->name, is_list(set) ? " (\"\" is the empty list)" : "");
    if (str_eq(s->words[1].text, S("=")))
        return FAIL(p, name, "a setting is written without =: %s %s", set->name,
                    is_list(set) ? "word, word…" : "value");
    if (row == CONF_ROW_resolver)
        return resolvers_value(p, s, field);
    if (set->type == CONF_TYPE_WORDS)
        return conf_list_value(p, s, field);
    if (set->type == CONF_TYPE_NETWORKS)
        return networks_value(p, s, field);
    if (s->n > 2)
        return FAIL(p, &s->words[2], "%s takes one value; \"%.*s\" is one too many", set->name, SHOW(s->words[2].text));
    return scalar_value(p, row, &s->words[1], field);
}

static int setting(struct conf_parser *p, int row, const struct conf_statement *s)
{
    struct conf_place *place = &p->conf->place[row];
    const struct conf_word *name = &s->words[0];
    if (s->kind != CONF_STATEMENT_PLAIN)
        return FAIL(p, name, "%s is a setting and has no { } block", conf_settings[row].name);
    if (place->file.n)
        return FAIL(p, name, "%s is set twice; first at %.*s:%u", conf_settings[row].name, SHOW(place->file),
                    place->line);
    *place = (struct conf_place){ .file = name->file, .line = name->line, .words = s->words + 1, .n = s->n - 1 };
    return read_value(p, row, s);
}

/* Every setting at the default of its row, read by the same code as a written value. */
static int set_defaults(struct conf_parser *p)
{
    for (int row = 0; row < CONF_ROWS; row++) {
        const struct conf_setting *set = &conf_settings[row];
        if (is_list(set))
            continue;
        struct conf_word w = { .text = str_z(set->deflt), .file = S("default") };
        int r = scalar_value(p, row, &w, (char *)&p->conf->c + set->offset);
        if (r < 0)
            return r;
    }
    return 0;
}

int conf_read_block(struct conf_parser *p, struct conf_lexer *l, const struct conf_word *opener, conf_inner_fn inner,
                    void *arg)
{
    for (;;) {
        struct conf_statement s;
        int r = conf_lexer_next(l, p->a, &s, p->error);
        if (r < 0)
            return r;
        if (s.kind == CONF_STATEMENT_CLOSE)
            return 0;
        if (s.kind == CONF_STATEMENT_END)
            return FAIL(p, opener, "the block of %.*s has no }", SHOW(opener->text));
        if (s.kind == CONF_STATEMENT_OPEN)
            return FAIL(p, &s.words[0], "no block may stand here");
        r = inner(p, &s, arg);
        if (r < 0)
            return r;
    }
}

static int domain_inner(struct conf_parser *p, const struct conf_statement *s, void *arg)
{
    static const char *const names[] = { "catch_all", "postmaster", "deliver", "user" };
    struct conf_domain *d = arg;
    const struct conf_word *name = &s->words[0];
    struct conf_words *const lists[] = { &d->catch_all, &d->postmaster, &d->deliver, &d->user }, *list = NULL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name->text, str_z(names[i])))
            list = lists[i];
    if (!list)
        return conf_unknown(p, name, "word in a domain block:", conf_nearest_of(names, ARRAY_LEN(names), name->text));
    if (list->set)
        return FAIL(p, name, "%.*s is set twice; first at %.*s:%u", SHOW(name->text), SHOW(list->word[0].file),
                    list->word[0].line);
    if (s->n < 2)
        return list == &d->deliver || list == &d->user
                   ? FAIL(p, name, "%.*s needs a value; see docs/delivery.md", SHOW(name->text))
                   : FAIL(p, name, "%.*s needs a target, like user@%.*s", SHOW(name->text), SHOW(d->name.text));
    if (list == &d->user && s->n > 2)
        return FAIL(p, &s->words[2], "user takes one name of a system user");
    return conf_list_value(p, s, list);
}

static int domain(struct conf_parser *p, struct conf_lexer *l, const struct conf_statement *s)
{
    const struct conf_word *name = &s->words[0];
    if (s->n != 2)
        return FAIL(p, name, "expected one name: domain NAME, or domain NAME { … }");
    struct conf_domain d = { .name = s->words[1] };
    int r = domain_valid(d.name.text, 1) ? conf_domain_ascii(p->a, d.name.text, &d.name.text) : -EINVAL;
    if (r == -EINVAL || (r == 0 && !domain_valid(d.name.text, 1)))
        return FAIL(p, &s->words[1], "domain: \"%.*s\" is not a domain name", SHOW(s->words[1].text));
    if (r == 0 && s->kind == CONF_STATEMENT_OPEN)
        r = conf_read_block(p, l, name, domain_inner, &d);
    struct conf_domain *grown = r < 0 ? NULL : conf_grow(p->a, p->domains, p->n_domains, &p->cap_domains, sizeof(d));
    if (r < 0 || !grown)
        return r < 0 ? r : -ENOMEM;
    p->domains = grown;
    p->domains[p->n_domains++] = d;
    return 0;
}

static int list_index(str name)
{
    for (int i = 0; i < CONF_LISTS; i++)
        if (str_eq(name, str_z(conf_list_name[i])))
            return i;
    return -1;
}

static int listener_inner(struct conf_parser *p, const struct conf_statement *s, void *arg)
{
    struct conf_listener *l = arg;
    const struct conf_word *name = &s->words[0];
    if (conf_service_reads(l->service))
        return FAIL(p, name, "a %s listener has no settings of its own", conf_service_name[l->service]);
    int i = list_index(name->text);
    if (i < 0)
        return conf_unknown(p, name, "listener setting", conf_nearest_of(conf_list_name, CONF_LISTS, name->text));
    if (l->restrictions[i].set)
        return FAIL(p, name, "%s is set twice in this listener", conf_list_name[i]);
    if (s->n < 2)
        return FAIL(p, name, "%s needs a value (\"\" is the empty list)", conf_list_name[i]);
    return conf_list_value(p, s, &l->restrictions[i]);
}

/* What a service may not listen on, if it is that; else NULL. */
static const char *endpoint_unfit(const struct conf_listener *l)
{
    str path;
    if (l->service == CONF_LMTP && l->port == 25) /* RFC 2033 5 */
        return "LMTP must not use port 25, which is SMTP's; expected another port, like 24";
    if (l->service != CONF_LMTP && conf_listener_path(l, &path))
        return "only lmtp listens on a Unix socket; expected ADDRESS:PORT";
    return NULL;
}

/* Two listeners meet if they have the port in common and the address, or one of them takes every address of the
 * family. */
static bool listeners_meet(const struct conf_listener *a, const struct conf_listener *b)
{
    bool a6 = str_chr(a->address, ':') >= 0, b6 = str_chr(b->address, ':') >= 0;
    str any = a6 ? S("::") : S("0.0.0.0");
    return a->port == b->port && a6 == b6 &&
           (str_eq(a->address, b->address) || str_eq(a->address, any) || str_eq(b->address, any));
}

static int add_listener(struct conf_parser *p, const struct conf_word *w, const struct conf_listener *l)
{
    if (p->n_listeners == LISTENERS_MAX)
        return FAIL(p, w, "more than %d listeners", LISTENERS_MAX);
    for (size_t i = 0; i < p->n_listeners; i++) {
        const struct conf_listener *other = &p->listeners[i];
        if (listeners_meet(l, other) && !l->port)
            return FAIL(p, w, "listen: %.*s is already taken by the %s listener at %.*s:%u", SHOW(l->address),
                        conf_service_name[other->service], SHOW(other->file), other->line);
        if (listeners_meet(l, other))
            return FAIL(p, w, "listen: port %u of %.*s is already taken by the %s listener at %.*s:%u", l->port,
                        SHOW(l->address), conf_service_name[other->service], SHOW(other->file), other->line);
    }
    struct conf_listener *grown = conf_grow(p->a, p->listeners, p->n_listeners, &p->cap_listeners, sizeof(*l));
    if (!grown)
        return -ENOMEM;
    p->listeners = grown;
    p->listeners[p->n_listeners++] = *l;
    return 0;
}

static int listener(struct conf_parser *p, struct conf_lexer *lexer, const struct conf_statement *s)
{
    const struct conf_word *name = &s->words[0];
    if (s->n != 3)
        return FAIL(p, name, "expected listen SERVICE ADDRESS:PORT, like listen smtp 127.0.0.1:25");
    struct conf_listener l = { .service = CONF_SERVICES, .file = name->file, .line = name->line };
    for (int i = 0; i < CONF_SERVICES; i++)
        if (str_eq(s->words[1].text, str_z(conf_service_name[i])))
            l.service = (enum conf_service)i;
    if (l.service == CONF_SERVICES)
        return FAIL(p, &s->words[1],
                    "listen: unknown service \"%.*s\"; expected smtp, submission, submissions, lmtp, pop3, pop3s, "
                    "imap or imaps",
                    SHOW(s->words[1].text));
    const char *wrong = conf_endpoint_parse(p->a, s->words[2].text, &l.address, &l.port);
    if (!wrong)
        wrong = endpoint_unfit(&l);
    if (wrong)
        return FAIL(p, &s->words[2], "listen: \"%.*s\": %s", SHOW(s->words[2].text), wrong);
    int r = l.address.p ? 0 : -ENOMEM;
    if (r == 0 && s->kind == CONF_STATEMENT_OPEN)
        r = conf_read_block(p, lexer, name, listener_inner, &l);
    return r < 0 ? r : add_listener(p, &s->words[2], &l);
}

static int parse_file(struct conf_parser *p, const struct conf_word *from, str name);

static int statement(struct conf_parser *p, struct conf_lexer *l, const struct conf_statement *s)
{
    const struct conf_word *name = &s->words[0];
    int row = conf_setting_find(name->text);
    if (row >= 0)
        return setting(p, row, s);
    if (str_eq(name->text, S("domain")))
        return domain(p, l, s);
    if (str_eq(name->text, S("listen")))
        return listener(p, l, s);
    if (str_eq(name->text, S("route")))
        return conf_route(p, l, s);
    if (str_eq(name->text, S("dkim")))
        return conf_dkim_statement(p, s);
    if (!str_eq(name->text, S("include")))
        return conf_unknown(p, name, "setting", conf_nearest(name->text));
    if (s->n != 2 || s->words[1].text.n == 0 || s->kind != CONF_STATEMENT_PLAIN)
        return FAIL(p, name, "expected include FILE");
    return parse_file(p, &s->words[1], s->words[1].text);
}

static int parse_text(struct conf_parser *p, str name, str text)
{
    struct conf_lexer l = conf_lexer_init(name, text);
    for (;;) {
        struct conf_statement s;
        int r = conf_lexer_next(&l, p->a, &s, p->error);
        if (r < 0 || s.kind == CONF_STATEMENT_END)
            return r;
        if (s.kind == CONF_STATEMENT_CLOSE)
            return conf_fail(p->a, p->error, name, s.line, "a } without a { before it");
        r = statement(p, &l, &s);
        if (r < 0)
            return r;
    }
}

static int parse_file(struct conf_parser *p, const struct conf_word *from, str name)
{
    str text;
    for (size_t i = 0; i < p->depth; i++)
        if (str_eq(p->including[i], name))
            return FAIL(p, from, "%.*s includes itself", SHOW(name));
    if (p->depth > CONF_INCLUDE_DEPTH_MAX)
        return FAIL(p, from, "files are included more than %d deep", CONF_INCLUDE_DEPTH_MAX);
    if (!conf_bundle_file(p->bundle, name, &text))
        return FAIL(p, from, "cannot read %.*s: not in the bundle", SHOW(name));
    p->including[p->depth++] = name;
    int r = parse_text(p, name, text);
    p->depth--;
    return r;
}

static struct conf_table *find_table(const struct conf_full *c, str path)
{
    for (struct conf_table *t = c->tables; t; t = t->next)
        if (str_eq(t->path, path))
            return t;
    return NULL;
}

/* Reads the tables that a list names. */
static int read_tables(struct conf_parser *p, const struct conf_words *list)
{
    for (size_t i = 1; i < list->n; i++) {
        str path, text;
        if (!conf_word_takes_table(list->word[i - 1].text) || !conf_word_table_path(list->word[i].text, &path) ||
            find_table(p->conf, path))
            continue;
        if (!conf_bundle_file(p->bundle, path, &text))
            return FAIL(p, &list->word[i], "cannot read %.*s: not in the bundle", SHOW(path));
        struct conf_table *t;
        int r = conf_table_parse(p->a, path, text, &t, p->error);
        if (r < 0)
            return r;
        t->next = p->conf->tables;
        p->conf->tables = t;
    }
    return 0;
}

static int default_words(struct conf_parser *p, const char *text, struct conf_words *out)
{
    struct conf_lexer l = conf_lexer_init(S("default"), str_z(text));
    struct conf_statement s;
    int r = conf_lexer_next(&l, p->a, &s, p->error);
    for (size_t i = 0; r == 0 && i < s.n; i++)
        ((struct conf_word *)s.words)[i].line = 0;
    if (r == 0)
        *out = (struct conf_words){ .word = s.words, .n = s.n };
    return r;
}

/* What the setting of that list's name says. */
static const struct conf_words *global_list(const struct conf_parser *p, int list)
{
    size_t offset = conf_settings[conf_setting_find(str_z(conf_list_name[list]))].offset;
    return (const void *)((const char *)&p->conf->c + offset);
}

static int fill_listener(struct conf_parser *p, struct conf_listener *l)
{
    int r = 0;
    for (int i = 0; r == 0 && i < CONF_LISTS && !conf_service_reads(l->service); i++) {
        const struct conf_words *global = global_list(p, i);
        bool reaches = global->set && l->service != CONF_LMTP; /* lists for strangers would stop or spare a gateway */
        if (!l->restrictions[i].set && reaches)
            l->restrictions[i] = *global;
        else if (!l->restrictions[i].set)
            r = default_words(p, conf_default_list(l->service, i), &l->restrictions[i]);
        if (r == 0)
            r = read_tables(p, &l->restrictions[i]);
    }
    return r;
}

static int domain_cmp(const void *a, const void *b)
{
    const struct conf_domain *x = *(const struct conf_domain *const *)a, *y = *(const struct conf_domain *const *)b;
    int d = str_cmp(x->name.text, y->name.text);
    return d ? d : (x > y) - (x < y);
}

/* Domains in the order of the file; a name that stands twice is found by sorting. */
static int finish_domains(struct conf_parser *p)
{
    size_t n = p->n_domains;
    const struct conf_domain **sorted = ARENA_ARRAY(p->a, const struct conf_domain *, n);
    struct conf_word *words = ARENA_ARRAY(p->a, struct conf_word, n);
    if (!sorted || !words)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        sorted[i] = &p->domains[i];
        words[i] = p->domains[i].name;
    }
    if (n)
        qsort(sorted, n, sizeof(*sorted), domain_cmp);
    for (size_t i = 1; i < n; i++) {
        const struct conf_word *first = &sorted[i - 1]->name, *w = &sorted[i]->name;
        if (str_eq(first->text, w->text))
            return FAIL(p, w, "domain %.*s is named twice; first at %.*s:%u", SHOW(w->text), SHOW(first->file),
                        first->line);
    }
    p->conf->domains = p->domains;
    p->conf->c.domains = words;
    p->conf->c.n_domains = n;
    return 0;
}

static int finish(struct conf_parser *p)
{
    int r = finish_domains(p);
    if (r == 0)
        r = conf_route_finish(p);
    if (r == 0)
        r = conf_dkim_finish(p);
    for (int i = 0; r == 0 && i < CONF_LISTS; i++)
        r = read_tables(p, global_list(p, i));
    for (size_t i = 0; r == 0 && i < p->n_listeners; i++)
        r = fill_listener(p, &p->listeners[i]);
    p->conf->c.listeners = p->listeners;
    p->conf->c.n_listeners = p->n_listeners;
    return r;
}

int conf_parse(struct arena *a, str bundle, const struct conf **out, struct conf_error *out_error)
{
    struct conf_parser p = { .a = a, .bundle = bundle, .error = out_error, .conf = ARENA_NEW(a, struct conf_full) };
    if (!p.conf)
        return -ENOMEM;
    str main = conf_bundle_main(bundle);
    struct conf_word from = { .file = main };
    *out_error = (struct conf_error){ .file = main };
    p.conf->c.main_file = main;
    int r = set_defaults(&p);
    if (r == 0)
        r = parse_file(&p, &from, main);
    if (r == 0)
        r = finish(&p);
    if (r == 0)
        *out = &p.conf->c;
    return r;
}

const struct conf_table *conf_table(const struct conf *c, str name)
{
    str path = name;
    conf_word_table_path(name, &path);
    return find_table((const struct conf_full *)c, path);
}
