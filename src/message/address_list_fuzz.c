/* Fuzzes address lists. Groups are balanced, nothing holds a control character, and every address that can be
 * written in the strict form is read back as the same single mailbox. */
#include "message/address.h"
#include "message/address_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reads_back(struct arena *a, const struct mailbox *m)
{
    bool broken;
    if (str_chr(m->local, '"') >= 0 || str_chr(m->local, '\\') >= 0)
        return;
    str text = arena_printf(a, "\"%.*s\"%s%.*s", STR_ARG(m->local), m->domain.n ? "@" : "", STR_ARG(m->domain));
    const struct mailbox *again = address_list_parse(a, text, 10, &broken);
    if (!again || broken || again->next || !str_eq(again->local, m->local) || !str_eq(again->domain, m->domain))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 24);
    bool broken, group = false;
    size_t n = 0;
    for (const struct mailbox *m = address_list_parse(&a, str_of(data, size), 100, &broken); m; m = m->next, n++) {
        if (address_has_control(m->name) || address_has_control(m->local) || address_has_control(m->domain))
            __builtin_trap();
        if (m->kind == MAILBOX_ADDRESS)
            check_reads_back(&a, m);
        else if (group == (m->kind == MAILBOX_GROUP_START))
            __builtin_trap();
        else
            group = !group;
    }
    if (group || n > 100)
        __builtin_trap();
    return 0;
}
