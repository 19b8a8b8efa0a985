/* `dkim DOMAIN SELECTOR FILE`: a key that signs what accounts of the domain send (docs/dkim.md). The file is not in the
 * bundle: the master hands it to role keys alone. */
#include "conf/conf_parser.h"
#include "message/address.h"
#include <errno.h>

#define KEYS_MAX 100000

/* Labels of letters, digits and hyphens (RFC 6376 3.1), short enough for a name below the domain. */
static bool selector_valid(str s, str domain)
{
    bool ok = domain_valid(s, 1) && s.n + domain.n + sizeof("._domainkey.") - 1 <= 253;
    for (size_t i = 0; i < s.n; i++)
        ok = ok && (ascii_alnum(s.p[i]) || s.p[i] == '-' || s.p[i] == '.');
    return ok;
}

int conf_dkim_statement(struct conf_parser *p, const struct conf_statement *s)
{
    const struct conf_word *name = &s->words[0];
    struct conf_dkim k = { .file = name->file, .line = name->line };
    if (s->n != 4 || s->kind != CONF_STATEMENT_PLAIN || !s->words[3].text.n)
        return FAIL(p, name, "expected dkim DOMAIN SELECTOR FILE, like dkim example.org mail2026 dkim/example.org.pem");
    int r = domain_valid(s->words[1].text, 1) ? conf_domain_ascii(p->a, s->words[1].text, &k.domain) : -EINVAL;
    if (r == -EINVAL)
        return FAIL(p, &s->words[1], "dkim: \"%.*s\" is not a domain name", SHOW(s->words[1].text));
    if (r < 0)
        return r;
    k.selector = arena_lower(p->a, s->words[2].text);
    k.key = s->words[3].text;
    if (!k.selector.p)
        return -ENOMEM;
    if (!selector_valid(k.selector, k.domain))
        return FAIL(p, &s->words[2], "dkim: \"%.*s\" is not a selector; expected letters, digits and hyphens",
                    SHOW(s->words[2].text));
    if (p->n_dkim == KEYS_MAX)
        return FAIL(p, name, "more than %d DKIM keys", KEYS_MAX);
    struct conf_dkim *grown = conf_grow(p->a, p->dkim, p->n_dkim, &p->cap_dkim, sizeof(k));
    if (!grown)
        return -ENOMEM;
    p->dkim = grown;
    p->dkim[p->n_dkim++] = k;
    return 0;
}

static int key_cmp(const void *a, const void *b)
{
    const struct conf_dkim *x = a, *y = b;
    int d = str_cmp(x->domain, y->domain);
    return d ? d : str_cmp(x->selector, y->selector);
}

static bool is_domain(const struct conf_parser *p, str domain)
{
    for (size_t i = 0; i < p->n_domains; i++)
        if (str_eq(p->domains[i].name.text, domain))
            return true;
    return false;
}

int conf_dkim_finish(struct conf_parser *p)
{
    struct conf_dkim *k = p->dkim;
    size_t of_domain = 0;
    if (p->n_dkim)
        qsort(k, p->n_dkim, sizeof(*k), key_cmp);
    for (size_t i = 0; i < p->n_dkim; i++) {
        const struct conf_word at = { .file = k[i].file, .line = k[i].line };
        bool same = i > 0 && str_eq(k[i - 1].domain, k[i].domain);
        of_domain = same ? of_domain + 1 : 1;
        if (same && str_eq(k[i - 1].selector, k[i].selector))
            return FAIL(p, &at, "dkim: the selector %.*s of %.*s is named twice; first at %.*s:%u", SHOW(k[i].selector),
                        SHOW(k[i].domain), SHOW(k[i - 1].file), k[i - 1].line);
        if (of_domain > CONF_DKIM_KEYS_MAX)
            return FAIL(p, &at, "dkim: %.*s has more than %d keys", SHOW(k[i].domain), CONF_DKIM_KEYS_MAX);
        if (!same && !is_domain(p, k[i].domain))
            return FAIL(p, &at, "dkim: %.*s is no domain of this host; a statement `domain %.*s` makes it one",
                        SHOW(k[i].domain), SHOW(k[i].domain));
    }
    p->conf->c.dkim = k;
    p->conf->c.n_dkim = p->n_dkim;
    return 0;
}

const struct conf_dkim *conf_dkim_find(const struct conf *c, str domain, size_t *out_n)
{
    size_t low = 0, high = c->n_dkim;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(c->dkim[middle].domain, domain) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_n = 0;
    while (low + *out_n < c->n_dkim && str_eq(c->dkim[low + *out_n].domain, domain))
        ++*out_n;
    return *out_n ? &c->dkim[low] : NULL;
}
