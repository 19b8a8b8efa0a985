/* Fuzzes the repairs of a submitted header: repaired once, there is nothing left to repair, the senders are the
 * same, and no line has become too long. */
#include "message/address.h"
#include "message/fixup.h"
#include "message/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t longest_line(str s)
{
    size_t longest = 0;
    while (s.n) {
        str line = str_cut(&s, '\n');
        longest = MAX(longest, line.n);
    }
    return longest;
}

static bool same_senders(const struct mailbox *a, const struct mailbox *b)
{
    for (; a && b; a = a->next, b = b->next)
        if (a->kind != b->kind || !str_eq(a->local, b->local) || !str_eq(a->domain, b->domain))
            return false;
    return !a && !b;
}

/* The header without what follows its empty line. */
static str header_of(str s)
{
    struct header_field f;
    str rest = s;
    while (header_next(&rest, &f)) {
    }
    return str_first(s, s.n - rest.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 26);
    _cleanup_buf_ struct buf once = BUF(1 << 26), twice = BUF(1 << 26);
    struct fixup_input in = {
        .header = header_of(str_of(data, size)),
        .sender = S("jane@example.org"),
        .account = S("account@example.org"),
        .default_domain = S("example.org"),
        .message_id = S("id@example.org"),
    };
    struct fixup_result first, second;
    if (fixup_header(&a, &in, &once, &first) < 0)
        __builtin_trap();
    size_t before = longest_line(in.header);
    if (longest_line(buf_str(&once)) > MAX(before + 1, (size_t)999))
        __builtin_trap();
    in.header = buf_str(&once);
    if (fixup_header(&a, &in, &twice, &second) < 0 || !str_eq(buf_str(&once), buf_str(&twice)))
        __builtin_trap();
    if (second.completed || second.added_from || second.added_date || second.added_message_id || second.removed_bcc)
        __builtin_trap();
    if (!same_senders(first.from, second.from) || !same_senders(first.sender, second.sender))
        __builtin_trap();
    if (!same_senders(first.resent, second.resent) || first.resent_broken != second.resent_broken)
        __builtin_trap();
    return 0;
}
