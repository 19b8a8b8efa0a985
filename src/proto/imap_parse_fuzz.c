/* Any bytes as a command: no crash, the same tree twice, trees as imap_command.h promises them; and of a command that
 * is well formed every part up to the size of a literal is found well formed so far, so the literal would be asked
 * for. */
#include "proto/imap_dump.h"
#include "proto/imap_engine.h"
#include <errno.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_set(const struct imap_set *set)
{
    check(set->saved == (set->n == 0));
}

static void check_fetch(const struct imap_command *c)
{
    size_t uids = 0;
    check_set(&c->fetch.set);
    check(c->fetch.n_items > 0);
    for (size_t i = 0; i < c->fetch.n_items; i++) {
        const struct imap_fetch_item *item = &c->fetch.items[i];
        uids += item->kind == IMAP_FETCH_UID;
        check(!item->partial || item->length > 0);
        check((item->n_fields > 0) ==
              (item->section == IMAP_SECTION_FIELDS || item->section == IMAP_SECTION_FIELDS_NOT));
    }
    check(!c->uid || (uids == 1 && c->fetch.items[0].kind == IMAP_FETCH_UID));
}

static void check_key(const struct imap_search_key *k, unsigned depth)
{
    size_t n = 0;
    check(depth <= 200);
    for (const struct imap_search_key *c = k->children; c; c = c->next, n++)
        check_key(c, depth + 1);
    check(k->kind == IMAP_SEARCH_AND ? n > 0 : n == (k->kind == IMAP_SEARCH_OR ? 2 : k->kind == IMAP_SEARCH_NOT));
    if (k->kind == IMAP_SEARCH_SET || k->kind == IMAP_SEARCH_UID)
        check_set(&k->set);
}

static void check_tree(const struct imap_command *c)
{
    check(c->tag.n > 0);
    if (c->verb == IMAP_FETCH)
        check_fetch(c);
    else if (c->verb == IMAP_SEARCH || c->verb == IMAP_SORT || c->verb == IMAP_THREAD)
        check_key(c->search.key, 0);
    else if (c->verb == IMAP_STORE)
        check_set(&c->store.set);
    else if (c->verb == IMAP_ID)
        check(c->id.n % 2 == 0);
}

static void check_prefixes(str line, bool utf8)
{
    struct imap_literal literal;
    size_t at = 0;
    for (unsigned n = 0; n < 20; n++) {
        ptrdiff_t lf = str_chr(str_from(line, at), '\n');
        str prefix = str_first(line, at + (size_t)(lf < 0 ? 0 : lf));
        if (str_ends(prefix, S("\r")))
            prefix.n--;
        if (lf < 0 || !imap_engine_literal_at_end(str_from(prefix, at), &literal))
            return;
        _cleanup_arena_ struct arena a = ARENA(1 << 24);
        struct imap_command c;
        struct imap_parse_error error;
        int r = imap_parse_so_far(&a, prefix, utf8, &c, &error);
        check(r == (c.verb == IMAP_APPEND ? r : -EAGAIN) && (r == 0 || r == -EAGAIN));
        at += (size_t)lf + 1 + literal.n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str line = size ? str_of(data + 1, size - 1) : STR_NONE;
    bool utf8 = size && (data[0] & 1);
    _cleanup_arena_ struct arena a = ARENA(1 << 24), b = ARENA(1 << 24);
    _cleanup_buf_ struct buf x = BUF(1 << 26), y = BUF(1 << 26);
    struct imap_command c, d;
    struct imap_parse_error error = { 0 };
    int r = imap_parse(&a, line, utf8, &c, &error);
    check(r == 0 || r == -EBADMSG || r == -ENOMEM);
    check(imap_parse(&b, line, utf8, &d, &error) == r);
    check(r != -EBADMSG || error.text.n > 0);
    if (r < 0)
        return 0;
    check_tree(&c);
    dump_command(&x, &c);
    dump_command(&y, &d);
    check(str_eq(buf_str(&x), buf_str(&y)));
    check_prefixes(line, utf8);
    return 0;
}
