/* Reading the directory's blob: see directory.h for what it promises, directory_private.h for the layout.
 * Invariant: every offset and length is compared with the blob's size before it is followed, each time. */
#include "base/hash.h"
#include "base/pack.h"
#include "conf/directory_private.h"
#include "message/address.h"
#include <errno.h>

static bool inside(str blob, uint64_t off, uint64_t n)
{
    return off <= blob.n && n <= blob.n - off;
}

/* count and offset of a table in the header */
static bool table_inside(str blob, size_t at, uint64_t width)
{
    return inside(blob, get_u32(blob.p + at + 4), get_u32(blob.p + at) * width);
}

int directory_open(str blob, struct directory *out)
{
    if (blob.n < DIRECTORY_HEADER || blob.n > DIRECTORY_MAX || !str_starts(blob, S(DIRECTORY_MAGIC)))
        return -EBADMSG;
    uint32_t slots = get_u32(blob.p + DIRECTORY_AT_SLOTS);
    if (get_u32(blob.p + DIRECTORY_AT_SIZE) != blob.n || slots == 0 || (slots & (slots - 1)) ||
        !table_inside(blob, DIRECTORY_AT_SLOTS, DIRECTORY_SLOT) || !table_inside(blob, DIRECTORY_AT_ACCOUNTS, 4) ||
        !table_inside(blob, DIRECTORY_AT_DOMAINS, 4) || !table_inside(blob, DIRECTORY_AT_SOLE, DIRECTORY_SOLE) ||
        !table_inside(blob, DIRECTORY_AT_DELIMITER, 1))
        return -EBADMSG;
    *out = (struct directory){ .blob = blob, .generation = get_u64(blob.p + DIRECTORY_AT_GENERATION) };
    return 0;
}

static uint32_t get_u16(const char *p)
{
    return (uint32_t)(unsigned char)p[0] | (uint32_t)(unsigned char)p[1] << 8;
}

bool directory_item(str *items, str *out)
{
    if (items->n < 2 || items->n - 2 < get_u16(items->p))
        return false;
    *out = str_of(items->p + 2, get_u16(items->p));
    *items = str_from(*items, 2 + out->n);
    return true;
}

bool directory_entry_at(const struct directory *d, uint32_t off, struct directory_entry *out)
{
    if (off == 0 || !inside(d->blob, off, DIRECTORY_ENTRY))
        return false;
    const char *p = d->blob.p + off;
    uint32_t key = get_u16(p + 2), file = get_u32(p + 8);
    if (!inside(d->blob, (uint64_t)off + DIRECTORY_ENTRY, key))
        return false;
    *out = (struct directory_entry){ .off = off, .kind = (uint8_t)p[0], .flags = (uint8_t)p[1], .line = get_u32(p + 4),
                                     .n = get_u32(p + 12), .key = str_of(p + DIRECTORY_ENTRY, key),
                                     .items = str_from(d->blob, off + DIRECTORY_ENTRY + (size_t)key) };
    str name = file ? str_from(d->blob, file) : STR_NONE;
    directory_item(&name, &out->file);
    return true;
}

/* Walks the entries of that key, whatever their kind: *at starts at the key's hash. False when there is no more. */
static bool next_of_key(const struct directory *d, str key, uint64_t hash, uint32_t *at, struct directory_entry *out)
{
    uint32_t count = get_u32(d->blob.p + DIRECTORY_AT_SLOTS);
    const char *slots = d->blob.p + get_u32(d->blob.p + DIRECTORY_AT_SLOTS + 4);
    for (; *at - (uint32_t)hash < count; (*at)++) {
        const char *slot = slots + (size_t)(*at & (count - 1)) * DIRECTORY_SLOT;
        uint32_t off = get_u32(slot + 4);
        if (off == 0)
            return false;
        if (get_u32(slot) == hash >> 32 && directory_entry_at(d, off, out) && str_eq(out->key, key)) {
            (*at)++;
            return true;
        }
    }
    return false;
}

uint64_t directory_hash(const struct directory *d, str key)
{
    return siphash24((const uint8_t *)d->blob.p + DIRECTORY_AT_KEY, key);
}

bool directory_lookup(const struct directory *d, enum directory_kind kind, str key, struct directory_entry *out)
{
    uint64_t hash = directory_hash(d, key);
    uint32_t at = (uint32_t)hash;
    while (next_of_key(d, key, hash, &at, out))
        if (out->kind == kind)
            return true;
    return false;
}

bool directory_list(const struct directory *d, uint32_t at, size_t i, struct directory_entry *out)
{
    if (i >= get_u32(d->blob.p + at))
        return false;
    return directory_entry_at(d, get_u32(d->blob.p + get_u32(d->blob.p + at + 4) + i * 4), out);
}

/* Puts local@domain together; the local part in ASCII lower case. */
static bool join(struct directory_key *k, str local, str domain)
{
    if (local.n + 1 + domain.n > sizeof(k->p))
        return false;
    for (size_t i = 0; i < local.n; i++)
        k->p[i] = ascii_lower(local.p[i]);
    k->at = local.n;
    k->p[k->at] = '@';
    if (domain.n)
        memcpy(k->p + k->at + 1, domain.p, domain.n);
    k->n = local.n + 1 + domain.n;
    return true;
}

/* Quotes and UTF-8 need the parser of addresses and some memory. */
static bool rare_key(str address, str own_domain, struct directory_key *out)
{
    _cleanup_arena_ struct arena a = ARENA(16384);
    struct address parsed;
    const char *why;
    str domain = own_domain;
    if (address_parse(address, true, true, &parsed, &why) < 0 ||
        (parsed.domain.n && conf_domain_ascii(&a, parsed.domain, &domain) < 0))
        return false;
    parsed.domain = domain;
    str whole = address_canonical(&a, &parsed);
    ptrdiff_t at = str_rchr(whole, '@');
    return at > 0 && join(out, str_first(whole, (size_t)at), domain);
}

bool directory_key(const struct directory *d, str address, struct directory_key *out)
{
    bool rare = false;
    for (size_t i = 0; i < address.n; i++)
        rare |= (unsigned char)address.p[i] >= 128 || address.p[i] == '"';
    ptrdiff_t at = str_rchr(address, '@');
    struct directory_entry first = { 0 };
    if (at < 0)
        directory_list(d, DIRECTORY_AT_DOMAINS, 0, &first);
    if (rare)
        return rare_key(address, first.key, out);
    if (at == 0 || address.n == 0 || address.n > sizeof(out->p))
        return false;
    str domain = at < 0 ? first.key : str_from(address, (size_t)at + 1);
    if (domain.n == 0 || !join(out, at < 0 ? address : str_first(address, (size_t)at), domain))
        return false;
    for (size_t i = out->at; i < out->n; i++)
        out->p[i] = ascii_lower(out->p[i]);
    return true;
}

bool directory_untag(const struct directory *d, const struct directory_key *k, struct directory_key *out)
{
    str delimiters = str_of(d->blob.p + get_u32(d->blob.p + DIRECTORY_AT_DELIMITER + 4),
                            get_u32(d->blob.p + DIRECTORY_AT_DELIMITER));
    for (size_t i = 1; i < k->at; i++)
        if (str_chr(delimiters, k->p[i]) >= 0)
            return k->p[0] != '"' && join(out, str_of(k->p, i), directory_key_domain(k));
    return false;
}

/* An alias of that very name, or an account: what an address is called, before any fall-back. Both have the same
 * key, so one walk finds both. */
static bool find_name(const struct directory *d, const struct directory_key *k, uint32_t self,
                      struct directory_found *out)
{
    struct directory_entry e, alias = { 0 }, account = { 0 };
    uint64_t hash = directory_hash(d, directory_key_str(k));
    uint32_t at = (uint32_t)hash;
    while (next_of_key(d, directory_key_str(k), hash, &at, &e)) {
        if (e.kind == DIRECTORY_ALIAS && alias.off == 0)
            alias = e;
        else if (e.kind == DIRECTORY_ACCOUNT && account.off == 0)
            account = e;
    }
    if (alias.off == 0 && get_u32(d->blob.p + DIRECTORY_AT_BARE) &&
        directory_lookup(d, DIRECTORY_BARE, str_of(k->p, k->at), &e))
        alias = e;
    if (alias.off && alias.off != self) {
        out->kind = DIRECTORY_STEP_ALIAS;
        out->e = alias;
        return true;
    }
    if (account.off) {
        out->kind = DIRECTORY_STEP_ACCOUNT;
        out->e = account;
        return true;
    }
    out->loop = alias.off != 0;
    return out->loop;
}

void directory_find(const struct directory *d, const struct directory_key *k, uint32_t self,
                    struct directory_found *out)
{
    struct directory_key base;
    *out = (struct directory_found){ .kind = DIRECTORY_STEP_NONE };
    if (find_name(d, k, self, out))
        return;
    bool tagged = directory_untag(d, k, &base);
    if (tagged && find_name(d, &base, self, out)) {
        out->tagged = true;
        return;
    }
    str local = str_of(k->p, tagged ? base.at : k->at), domain = directory_key_domain(k);
    if (str_eq(local, S("postmaster")) && directory_lookup(d, DIRECTORY_POSTMASTER, domain, &out->e))
        out->kind = DIRECTORY_STEP_POSTMASTER;
    else if (directory_lookup(d, DIRECTORY_ALIAS, str_of(k->p + k->at, k->n - k->at), &out->e))
        out->kind = DIRECTORY_STEP_CATCH_ALL;
    if (out->kind != DIRECTORY_STEP_NONE && out->e.off == self)
        *out = (struct directory_found){ .kind = DIRECTORY_STEP_NONE, .loop = true };
}

enum directory_class directory_class(const struct directory *d, str address)
{
    struct directory_key k;
    struct directory_entry domain;
    struct directory_found found;
    if (!directory_key(d, address, &k) || !directory_lookup(d, DIRECTORY_DOMAIN, directory_key_domain(&k), &domain))
        return DIRECTORY_FOREIGN;
    directory_find(d, &k, 0, &found);
    if (found.kind == DIRECTORY_STEP_NONE)
        return DIRECTORY_UNKNOWN;
    if (found.kind == DIRECTORY_STEP_ACCOUNT)
        return DIRECTORY_LOCAL;
    if (found.e.kind != DIRECTORY_BARE)
        return found.e.flags & DIRECTORY_DEAD ? DIRECTORY_UNKNOWN : DIRECTORY_LOCAL;
    /* Where a bare alias leads depends on the domain; few addresses are of this kind. */
    _cleanup_arena_ struct arena a = ARENA(8u << 20);
    struct directory_result result;
    return directory_expand(d, &a, &found.e, directory_key_domain(&k), &result) < 0 || result.n_targets
               ? DIRECTORY_LOCAL
               : DIRECTORY_UNKNOWN;
}

bool directory_is_local_domain(const struct directory *d, str domain)
{
    struct directory_key k;
    struct directory_entry e;
    char address[2 + 256];
    if (domain.n == 0 || domain.n > sizeof(address) - 2)
        return false;
    memcpy(address, "x@", 2);
    memcpy(address + 2, domain.p, domain.n);
    return directory_key(d, str_of(address, domain.n + 2), &k) &&
           directory_lookup(d, DIRECTORY_DOMAIN, directory_key_domain(&k), &e);
}

bool directory_has_account(const struct directory *d, str address)
{
    struct directory_key k;
    struct directory_entry e;
    return directory_key(d, address, &k) && directory_lookup(d, DIRECTORY_ACCOUNT, directory_key_str(&k), &e);
}

bool directory_account(const struct directory *d, size_t i, str *out_address)
{
    struct directory_entry e;
    if (!directory_list(d, DIRECTORY_AT_ACCOUNTS, i, &e))
        return false;
    *out_address = e.key;
    return true;
}
