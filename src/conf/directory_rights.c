/* Which addresses an account may write as sender (DESIGN 8.3), and how much it may keep. */
#include "base/pack.h"
#include "conf/directory_private.h"
#include <errno.h>

#define NAMED_MAX 10

/* The name itself, or with a tag unless somebody else has that very name. */
static bool own_address(const struct directory *d, const struct directory_entry *account, const struct directory_key *k)
{
    struct directory_key base;
    struct directory_found found;
    if (str_eq(directory_key_str(k), account->key))
        return true;
    if (!directory_untag(d, k, &base) || !str_eq(directory_key_str(&base), account->key))
        return false;
    directory_find(d, k, 0, &found);
    return found.tagged;
}

/* An item of `senders=`: an address, or @domain for every address there. */
static bool listed_extra(const struct directory_entry *account, const struct directory_key *k)
{
    str items = account->items, item;
    for (uint32_t i = 0; i < account->n && directory_item(&items, &item); i++)
        if (str_eq(item, directory_key_str(k)) || str_eq(item, str_of(k->p + k->at, k->n - k->at)))
            return true;
    return false;
}

static bool sole_alias(const struct directory *d, struct arena *a, const struct directory_entry *account,
                       const struct directory_key *k)
{
    struct directory_found found;
    struct directory_entry domain;
    struct directory_result result;
    if (!directory_lookup(d, DIRECTORY_DOMAIN, directory_key_domain(k), &domain))
        return false;
    directory_find(d, k, 0, &found);
    if (found.kind != DIRECTORY_STEP_ALIAS && found.kind != DIRECTORY_STEP_POSTMASTER)
        return false;
    if (directory_expand(d, a, &found.e, directory_key_domain(k), &result) < 0)
        return false;
    return directory_is_sole(&result) && str_eq(result.targets->address, account->key);
}

static bool find_account(const struct directory *d, str account, struct directory_entry *out)
{
    struct directory_key k;
    return directory_key(d, account, &k) && directory_lookup(d, DIRECTORY_ACCOUNT, directory_key_str(&k), out);
}

bool directory_may_send(const struct directory *d, struct arena *a, str account, str address)
{
    struct directory_key k;
    struct directory_entry e;
    if (!find_account(d, account, &e))
        return false;
    if (address.n == 0)
        return true;
    return directory_key(d, address, &k) &&
           (own_address(d, &e, &k) || listed_extra(&e, &k) || sole_alias(d, a, &e, &k));
}

/* The first pair of `sole` that belongs to the account, or one past the last. */
static size_t first_sole(const struct directory *d, uint32_t account)
{
    const char *sole = d->blob.p + get_u32(d->blob.p + DIRECTORY_AT_SOLE + 4);
    size_t from = 0, to = get_u32(d->blob.p + DIRECTORY_AT_SOLE);
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (get_u32(sole + mid * DIRECTORY_SOLE) < account)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

struct names {
    struct buf text;
    size_t n;
};

static void name(struct names *names, str address, str domain)
{
    names->n++;
    if (names->n > NAMED_MAX + 1)
        return;
    if (names->n > 1)
        buf_add(&names->text, S(", "));
    buf_add(&names->text, names->n > NAMED_MAX ? S("…") : address);
    if (domain.n && names->n <= NAMED_MAX) {
        buf_addc(&names->text, '@');
        buf_add(&names->text, domain);
    }
}

str directory_allowed_senders(const struct directory *d, struct arena *a, str account)
{
    struct directory_entry e, alias;
    if (!find_account(d, account, &e))
        return STR_NONE;
    struct names names = { .text = BUF(16384) };
    name(&names, e.key, STR_NONE);
    const char *sole = d->blob.p + get_u32(d->blob.p + DIRECTORY_AT_SOLE + 4);
    size_t n = get_u32(d->blob.p + DIRECTORY_AT_SOLE);
    for (size_t i = first_sole(d, e.off); i < n && names.n <= NAMED_MAX; i++) {
        const char *pair = sole + i * DIRECTORY_SOLE;
        struct directory_entry domain = { 0 };
        if (get_u32(pair) != e.off)
            break;
        directory_entry_at(d, get_u32(pair + 8), &domain);
        if (directory_entry_at(d, get_u32(pair + 4), &alias))
            name(&names, alias.key, domain.key);
    }
    str items = e.items, item;
    for (uint32_t i = 0; i < e.n && names.n <= NAMED_MAX && directory_item(&items, &item); i++)
        if (str_chr(item, '@') >= 0 && item.p[0] >= ' ')
            name(&names, item, STR_NONE);
    str text = arena_dup(a, buf_str(&names.text));
    buf_done(&names.text);
    return text;
}

void directory_quota(const struct directory *d, str account, uint64_t *bytes, uint64_t *messages)
{
    static const str name = { DIRECTORY_QUOTA, sizeof(DIRECTORY_QUOTA) - 1 };
    static const str name_messages = { DIRECTORY_QUOTA_MESSAGES, sizeof(DIRECTORY_QUOTA_MESSAGES) - 1 };
    struct directory_entry e;
    if (!find_account(d, account, &e))
        return;
    str items = e.items, item;
    for (uint32_t i = 0; i < e.n && directory_item(&items, &item); i++)
        if (str_starts(item, name))
            str_u64(str_from(item, name.n), UINT64_MAX, bytes);
        else if (str_starts(item, name_messages))
            str_u64(str_from(item, name_messages.n), UINT64_MAX, messages);
}
