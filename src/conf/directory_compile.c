/* Accounts, aliases and domains of a bundle into the directory's blob (layout: directory_private.h). One pass writes
 * the entries straight into the blob, a second puts their offsets into the hash table and so finds names that stand
 * twice. */
#include "base/env.h"
#include "base/map.h"
#include "base/pack.h"
#include "conf/directory_private.h"
#include "message/address.h"
#include "route/mechanism.h"
#include <errno.h>

#define SHOW(s) STR_ARG(str_first((s), 200))

struct compiler {
    struct arena *a;      /* for errors */
    struct arena scratch; /* forgotten after each line */
    str bundle;
    const struct conf_full *c;
    struct conf_error *error;
    struct buf *out;
    struct buf entries, accounts, domains; /* offsets, u32 each */
    struct map ours;
};

/* Where what is being written stands. */
struct place {
    str file;
    uint32_t line;
    uint32_t file_off; /* of the file's name in the blob */
};

#define FAIL(c, w, ...) conf_fail((c)->a, (c)->error, (w)->file, (w)->line, __VA_ARGS__)

static uint32_t add_name(struct compiler *c, str file)
{
    uint32_t off = (uint32_t)c->out->n;
    file = str_first(file, UINT16_MAX);
    pack_u16(c->out, (uint16_t)file.n);
    buf_add(c->out, file);
    return off;
}

static uint32_t add_entry(struct compiler *c, enum directory_kind kind, str key, const struct place *at)
{
    uint32_t off = (uint32_t)c->out->n;
    pack_u8(c->out, (uint8_t)kind);
    pack_u8(c->out, 0);
    pack_u16(c->out, (uint16_t)key.n);
    pack_u32(c->out, at->line);
    pack_u32(c->out, at->file_off);
    pack_u32(c->out, 0);
    buf_add(c->out, key);
    pack_u32(&c->entries, off);
    if (kind == DIRECTORY_ACCOUNT)
        pack_u32(&c->accounts, off);
    if (kind == DIRECTORY_DOMAIN)
        pack_u32(&c->domains, off);
    if (kind == DIRECTORY_BARE && !c->out->failed)
        put_u32(c->out->p + DIRECTORY_AT_BARE, get_u32(c->out->p + DIRECTORY_AT_BARE) + 1);
    return off;
}

static void add_item(struct compiler *c, uint32_t entry, str item)
{
    pack_u16(c->out, (uint16_t)item.n);
    buf_add(c->out, item);
    if (!c->out->failed)
        put_u32(c->out->p + entry + 12, get_u32(c->out->p + entry + 12) + 1);
}

static uint32_t items_of(const struct compiler *c, uint32_t entry)
{
    return c->out->failed ? 0 : get_u32(c->out->p + entry + 12);
}

/* Reads an address into the scratch arena: for one of our domains the key, for another the canonical form as
 * written. One without a domain gets `domain`, or stays bare if there is none to give. */
static int read_address(struct compiler *c, const struct place *at, str text, str domain, str *out)
{
    struct address parsed;
    const char *why = "";
    if (address_parse(text, true, true, &parsed, &why) < 0)
        return FAIL(c, at, "\"%.*s\" is not an address: %s", SHOW(text), why);
    str ascii = domain;
    int r = parsed.domain.n ? conf_domain_ascii(&c->scratch, parsed.domain, &ascii) : 0;
    if (r == -EINVAL)
        return FAIL(c, at, "\"%.*s\": %.*s is not a domain name", SHOW(text), SHOW(parsed.domain));
    if (r < 0)
        return r;
    bool ours = ascii.n == 0 || map_get(&c->ours, ascii);
    bool bare = ascii.n == 0;
    parsed.domain = bare ? S("x") : ours || parsed.domain.n == 0 ? ascii : parsed.domain;
    str whole = address_canonical(&c->scratch, &parsed);
    if (whole.p && ours)
        whole = arena_lower(&c->scratch, whole);
    if (!whole.p)
        return -ENOMEM;
    *out = bare ? str_first(whole, whole.n - 2) : whole;
    if (out->n > DIRECTORY_KEY_MAX - 1)
        return FAIL(c, at, "\"%.*s\": the address is too long", SHOW(text));
    if (bare && str_chr(*out, '@') >= 0)
        return FAIL(c, at, "\"%.*s\": a name with @ in quotes needs its domain here", SHOW(text));
    return 0;
}

static bool is_ours(const struct compiler *c, str address, str *out_domain)
{
    ptrdiff_t at = str_rchr(address, '@');
    *out_domain = at < 0 ? STR_NONE : str_from(address, (size_t)at + 1);
    return at >= 0 && map_get(&c->ours, *out_domain);
}

static int not_ours(struct compiler *c, const struct place *at, str what, str name, str domain)
{
    return FAIL(c, at, "%.*s %.*s: %.*s is not a domain of this host; add `domain %.*s` to %.*s", STR_ARG(what),
                SHOW(name), SHOW(domain), SHOW(domain), SHOW(c->c->c.main_file));
}

static int add_target(struct compiler *c, const struct place *at, uint32_t entry, str text, str domain)
{
    str target;
    if (items_of(c, entry) >= DIRECTORY_TARGETS_MAX)
        return FAIL(c, at, "more than %d targets", DIRECTORY_TARGETS_MAX);
    int r = read_address(c, at, text, domain, &target);
    if (r == 0)
        add_item(c, entry, target);
    return r;
}

/* A mechanism, of an alias, an account or a domain. */
static int add_mechanism(struct compiler *c, const struct place *at, uint32_t entry, str text)
{
    struct mechanism m;
    const char *why;
    if (!mechanism_parse(text, &m, &why))
        return FAIL(c, at, "\"%.*s\": %s", SHOW(text), why);
    size_t n;
    if (m.kind == MECHANISM_COMMAND && !mechanism_words(&c->scratch, m.command, &n, &why))
        return why[0] ? FAIL(c, at, "\"%.*s\": %s", SHOW(text), why) : -ENOMEM;
    str item = arena_printf(&c->scratch, "%c%.*s", DIRECTORY_MECHANISM, STR_ARG(text));
    if (!item.p)
        return -ENOMEM;
    add_item(c, entry, item);
    return 0;
}

/* The system user an account's mail is delivered as. */
static int add_user(struct compiler *c, const struct place *at, uint32_t entry, str name)
{
    bool good = name.n > 0 && name.n <= 64 && !ascii_digit(name.p[0]) && name.p[0] != '-';
    for (size_t i = 0; i < name.n; i++)
        good = good && (ascii_alnum(name.p[i]) || str_chr(S("._-"), name.p[i]) >= 0);
    if (!good)
        return FAIL(c, at, "\"%.*s\" is not a name of a system user", SHOW(name));
    str item = arena_printf(&c->scratch, "%c%.*s", DIRECTORY_USER, STR_ARG(name));
    if (!item.p)
        return -ENOMEM;
    add_item(c, entry, item);
    return 0;
}

static int add_domain_delivery(struct compiler *c, const struct conf_domain *d, uint32_t entry)
{
    int r = 0;
    if (d->deliver.n > DIRECTORY_MECHANISMS_MAX)
        return conf_fail(c->a, c->error, d->name.file, d->name.line, "domain %.*s: more than %d mechanisms",
                         SHOW(d->name.text), DIRECTORY_MECHANISMS_MAX);
    for (size_t i = 0; r == 0 && i < d->deliver.n; i++) {
        const struct conf_word *w = &d->deliver.word[i];
        r = add_mechanism(c, &(struct place){ w->file, w->line, 0 }, entry, w->text);
    }
    if (r == 0 && d->user.n)
        r = add_user(c, &(struct place){ d->user.word[0].file, d->user.word[0].line, 0 }, entry, d->user.word[0].text);
    arena_clear(&c->scratch);
    return r;
}

/* `domain` statements and what their blocks say. */
static int add_domains(struct compiler *c)
{
    static char here;
    str last = STR_NONE;
    uint32_t file_off = 0;
    for (size_t i = 0; i < c->c->c.n_domains; i++) {
        const struct conf_word *w = &c->c->domains[i].name;
        if (!str_eq(w->file, last))
            file_off = add_name(c, w->file);
        last = w->file;
        uint32_t entry = add_entry(c, DIRECTORY_DOMAIN, w->text, &(struct place){ w->file, w->line, file_off });
        int r = add_domain_delivery(c, &c->c->domains[i], entry);
        if (r < 0 || map_set(&c->ours, w->text, &here, NULL) < 0)
            return r < 0 ? r : -ENOMEM;
    }
    return 0;
}

static int add_domain_targets(struct compiler *c)
{
    int r = 0;
    for (size_t i = 0; i < c->c->c.n_domains; i++) {
        const struct conf_domain *d = &c->c->domains[i];
        const struct conf_words *lists[] = { &d->catch_all, &d->postmaster };
        for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
            if (lists[l]->n == 0)
                continue;
            struct place at = { lists[l]->word[0].file, lists[l]->word[0].line, add_name(c, lists[l]->word[0].file) };
            str key = l ? d->name.text : arena_printf(&c->scratch, "@%.*s", STR_ARG(d->name.text));
            if (!key.p)
                return -ENOMEM;
            uint32_t entry = add_entry(c, l ? DIRECTORY_POSTMASTER : DIRECTORY_ALIAS, key, &at);
            for (size_t t = 0; r == 0 && t < lists[l]->n; t++)
                r = add_target(c, &at, entry, lists[l]->word[t].text, d->name.text);
            arena_clear(&c->scratch);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* One entry of senders=: an address of any domain, or @domain; kept in the form of keys. */
static int add_extra(struct compiler *c, const struct place *at, uint32_t entry, str text)
{
    static const struct directory none;
    struct directory_key k;
    str extra;
    int r;
    if (str_starts(text, S("@")) && domain_valid(str_from(text, 1), 1)) {
        r = conf_domain_ascii(&c->scratch, text, &extra);
    } else {
        r = read_address(c, at, text, STR_NONE, &extra);
        if (r < 0)
            return r;
        if (str_chr(extra, '@') < 0 || !directory_key(&none, text, &k))
            return FAIL(c, at, "senders= needs whole addresses or @domain; \"%.*s\" has no domain", SHOW(text));
        extra = directory_key_str(&k);
    }
    if (r == -EINVAL && c->error->text.n == 0)
        r = FAIL(c, at, "senders=: \"%.*s\" is not @ and a domain name", SHOW(text));
    if (r == 0)
        add_item(c, entry, extra);
    return r;
}

/* 1 it is a quota, 0 another option, or negative. */
static int add_quota(struct compiler *c, const struct place *at, uint32_t entry, str option)
{
    static const struct { const char *name; enum conf_type type; } quotas[] = {
        { DIRECTORY_QUOTA, CONF_TYPE_SIZE }, { DIRECTORY_QUOTA_MESSAGES, CONF_TYPE_NUMBER }
    };
    for (size_t i = 0; i < ARRAY_LEN(quotas); i++) {
        str name = str_z(quotas[i].name);
        const char *want;
        uint64_t value;
        if (!str_starts(option, name))
            continue;
        if (!conf_value_number(quotas[i].type, str_from(option, name.n), &value, &want))
            return FAIL(c, at, "\"%.*s\" is not %s", SHOW(option), want);
        str item = arena_printf(&c->scratch, "%s%llu", quotas[i].name, (unsigned long long)value);
        if (!item.p)
            return -ENOMEM;
        add_item(c, entry, item);
        return 1;
    }
    return 0;
}

/* The options after an account's address. */
static int add_options(struct compiler *c, const struct place *at, uint32_t entry, str options)
{
    str option;
    int r = 0;
    unsigned mechanisms = 0, users = 0;
    while (r >= 0 && (option = conf_option_next(&options)).n && option.p[0] != '#') {
        str value = option, name = str_cut(&value, '=');
        r = add_quota(c, at, entry, option);
        if (r)
            continue;
        bool deliver = str_eq(name, S("deliver")), user = str_eq(name, S("user"));
        if (deliver || user) {
            mechanisms += deliver;
            users += user;
            if (mechanisms > DIRECTORY_MECHANISMS_MAX || users > 1)
                return FAIL(c, at, users > 1 ? "user= stands twice" : "too many mechanisms");
            value = conf_unquote(&c->scratch, value);
            r = !value.p ? -ENOMEM : deliver ? add_mechanism(c, at, entry, value) : add_user(c, at, entry, value);
            continue;
        }
        if (!str_eq(name, S("senders")) || value.n == 0)
            return FAIL(c, at, "unknown option \"%.*s\" of an account; expected senders=address,address, quota=SIZE, "
                               "quota_messages=NUMBER, deliver=MECHANISM or user=NAME", SHOW(option));
        while (r == 0 && value.n)
            r = add_extra(c, at, entry, str_cut(&value, ','));
    }
    return MIN(r, 0);
}

static int add_account(struct compiler *c, const struct place *at, str line)
{
    str word = str_word(&line), address, domain;
    int r = read_address(c, at, word, STR_NONE, &address);
    if (r < 0)
        return r;
    if (str_chr(address, '@') < 0)
        return FAIL(c, at, "account \"%.*s\" has no domain; a log-in is the full address", SHOW(word));
    if (!is_ours(c, address, &domain))
        return not_ours(c, at, S("account"), address, domain);
    return add_options(c, at, add_entry(c, DIRECTORY_ACCOUNT, address, at), line);
}

typedef int (*line_fn)(struct compiler *c, const struct place *at, str line);

static int each_line(struct compiler *c, str file, bool continues, line_fn fn)
{
    str text, line;
    if (file.n == 0 || !conf_bundle_file(c->bundle, file, &text))
        return 0;
    struct place at = { .file = file, .file_off = add_name(c, file) };
    struct conf_lines l = conf_lines_init(file, text, continues);
    int r;
    while ((r = conf_lines_next(&l, &c->scratch, &line, c->error)) > 0) {
        at.line = l.at;
        r = fn(c, &at, line);
        if (r < 0 || c->out->failed)
            break;
        arena_clear(&c->scratch);
    }
    if (r == -EINVAL) /* the lines' own errors stand in the scratch arena */
        c->error->text = arena_dup(c->a, c->error->text);
    return r;
}

/* `:include:FILE`: one target a line. */
static int add_include(struct compiler *c, const struct place *at, uint32_t entry, str path, str domain)
{
    str text, line;
    if (path.n == 0 || !conf_bundle_file(c->bundle, path, &text))
        return FAIL(c, at, "cannot read %.*s: not in the bundle", SHOW(path));
    struct conf_lines l = conf_lines_init(path, text, false);
    int r;
    while ((r = conf_lines_next(&l, &c->scratch, &line, c->error)) > 0) {
        struct place inner = { .file = path, .line = l.at };
        if (mechanism_is(str_starts(line, S("\"")) ? str_from(line, 1) : line))
            r = FAIL(c, &inner, "only addresses may stand in an included file; write \"%.*s\" in the alias itself",
                     SHOW(line));
        else
            r = add_target(c, &inner, entry, line, domain);
        if (r < 0)
            break;
    }
    return r;
}

/* The key of an alias: local@domain, @domain, or local for every domain of ours. */
static int alias_key(struct compiler *c, const struct place *at, str alias, str *out_key, str *out_domain)
{
    int r;
    if (str_starts(alias, S("@"))) {
        r = domain_valid(str_from(alias, 1), 1) ? conf_domain_ascii(&c->scratch, alias, out_key) : -EINVAL;
        if (r == -EINVAL)
            return FAIL(c, at, "\"%.*s\" is not @ and a domain name", SHOW(alias));
    } else {
        r = read_address(c, at, alias, STR_NONE, out_key);
    }
    if (r < 0)
        return r;
    if (!is_ours(c, *out_key, out_domain) && out_domain->n)
        return not_ours(c, at, S("alias"), alias, *out_domain);
    return 0;
}

static int add_alias(struct compiler *c, const struct place *at, str line)
{
    str alias, targets, key = STR_NONE, domain = STR_NONE, path;
    if (!conf_alias_split(line, &alias, &targets))
        return FAIL(c, at, "expected `alias: target, target…`");
    int r = alias_key(c, at, alias, &key, &domain);
    if (r < 0)
        return r;
    uint32_t entry = add_entry(c, domain.n ? DIRECTORY_ALIAS : DIRECTORY_BARE, key, at);
    while (r == 0 && targets.n) {
        str target = conf_target_next(&targets);
        if (target.n == 0)
            break;
        str text = conf_unquote(&c->scratch, target);
        r = !text.p ? -ENOMEM
            : conf_target_include(target, &path) ? add_include(c, at, entry, path, domain)
            : mechanism_is(text) ? add_mechanism(c, at, entry, text)
                                 : add_target(c, at, entry, target, domain);
    }
    if (r == 0 && items_of(c, entry) == 0 && !c->out->failed && str_find(line, S(":include:")) < 0)
        r = FAIL(c, at, "alias %.*s has no target", SHOW(alias));
    return r;
}

static int twice(struct compiler *c, const struct directory_entry *first, const struct directory_entry *again)
{
    static const char *const name[] = { [DIRECTORY_DOMAIN] = "domain",
                                        [DIRECTORY_ACCOUNT] = "account",
                                        [DIRECTORY_ALIAS] = "alias",
                                        [DIRECTORY_BARE] = "alias",
                                        [DIRECTORY_POSTMASTER] = "postmaster of" };
    return conf_fail(c->a, c->error, arena_dup(c->a, again->file), again->line,
                     "%s %.*s appears twice; first at %.*s:%u", name[again->kind], SHOW(again->key), SHOW(first->file),
                     first->line);
}

/* Puts one entry into the table of `count` slots that starts at `slots`. */
static int put_slot(struct compiler *c, const struct directory *d, size_t slots, uint32_t count, uint32_t off)
{
    struct directory_entry e, other;
    if (!directory_entry_at(d, off, &e))
        return -EINVAL;
    uint64_t h = directory_hash(d, e.key);
    for (uint32_t i = (uint32_t)h;; i++) {
        char *slot = c->out->p + slots + (size_t)(i & (count - 1)) * DIRECTORY_SLOT;
        if (get_u32(slot + 4) == 0) {
            put_u32(slot, (uint32_t)(h >> 32));
            put_u32(slot + 4, off);
            return 0;
        }
        if (get_u32(slot) == h >> 32 && directory_entry_at(d, get_u32(slot + 4), &other) && other.kind == e.kind &&
            str_eq(other.key, e.key))
            return twice(c, &other, &e);
    }
}

static void put_table(struct compiler *c, size_t at, const struct buf *offsets)
{
    size_t off = c->out->n;
    buf_add(c->out, buf_str(offsets));
    if (c->out->failed)
        return;
    put_u32(c->out->p + at, (uint32_t)(offsets->n / 4));
    put_u32(c->out->p + at + 4, (uint32_t)off);
}

static int put_tables(struct compiler *c)
{
    uint32_t n = (uint32_t)(c->entries.n / 4), count = 1;
    while (count < 2 * n)
        count *= 2;
    put_table(c, DIRECTORY_AT_ACCOUNTS, &c->accounts);
    put_table(c, DIRECTORY_AT_DOMAINS, &c->domains);
    size_t slots = c->out->n;
    if (!buf_space(c->out, (size_t)count * DIRECTORY_SLOT))
        return c->out->failed;
    put_u32(c->out->p + DIRECTORY_AT_SLOTS, count);
    put_u32(c->out->p + DIRECTORY_AT_SLOTS + 4, (uint32_t)slots);
    put_u32(c->out->p + DIRECTORY_AT_SIZE, (uint32_t)c->out->n);
    struct directory d = { .blob = buf_str(c->out) };
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = put_slot(c, &d, slots, count, get_u32(c->entries.p + (size_t)i * 4));
    return r;
}

static int compile(struct compiler *c, uint64_t generation)
{
    char *header = buf_space(c->out, DIRECTORY_HEADER);
    if (!header)
        return c->out->failed;
    memcpy(header, DIRECTORY_MAGIC, sizeof(DIRECTORY_MAGIC) - 1);
    put_u64(header + DIRECTORY_AT_GENERATION, generation);
    env_system.random(header + DIRECTORY_AT_KEY, 16);
    str delimiter = c->c->c.recipient_delimiter;
    put_u32(header + DIRECTORY_AT_DELIMITER, (uint32_t)delimiter.n);
    put_u32(header + DIRECTORY_AT_DELIMITER + 4, DIRECTORY_HEADER);
    buf_add(c->out, delimiter);
    int r = add_domains(c);
    if (r == 0)
        r = add_domain_targets(c);
    if (r == 0)
        r = each_line(c, c->c->c.accounts, false, add_account);
    if (r == 0)
        r = each_line(c, c->c->c.aliases, true, add_alias);
    if (r == 0 && (c->out->failed || c->entries.failed))
        r = c->out->failed ? c->out->failed : c->entries.failed;
    if (r == 0)
        r = put_tables(c);
    return r < 0 ? r : c->out->failed;
}

int directory_compile(struct arena *a, str bundle, const struct conf *c, uint64_t generation, struct buf *out,
                      struct conf_error *out_error)
{
    struct compiler compiler = { .a = a,
                                 .bundle = bundle,
                                 .c = (const struct conf_full *)c,
                                 .error = out_error,
                                 .out = out,
                                 .scratch = ARENA(CONF_MEMORY_MAX),
                                 .entries = BUF(DIRECTORY_MAX),
                                 .accounts = BUF(DIRECTORY_MAX),
                                 .domains = BUF(DIRECTORY_MAX) };
    uint8_t key[16];
    env_system.random(key, sizeof(key));
    map_init(&compiler.ours, SIZE_MAX, key);
    *out_error = (struct conf_error){ .file = c->main_file };
    int r = compile(&compiler, generation);
    map_done(&compiler.ours);
    buf_done(&compiler.accounts);
    buf_done(&compiler.domains);
    arena_done(&compiler.scratch);
    if (r == 0)
        r = directory_check(a, compiler.c, buf_str(&compiler.entries), out, out_error);
    buf_done(&compiler.entries);
    if (r == -ENOBUFS)
        r = conf_fail(a, out_error, c->main_file, 0, "the directory is too large");
    return r;
}
