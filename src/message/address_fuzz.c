/* Fuzzes the addresses of the envelope. What is accepted has no control character, is within the limits of RFC 5321
 * 4.5.3.1, and its canonical form is an address that is its own canonical form. */
#include "message/address.h"
#include "message/address_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct address *in)
{
    _cleanup_arena_ struct arena a = ARENA(1 << 16);
    struct address again;
    const char *why = NULL;
    if (address_has_control(in->local) || address_has_control(in->domain) || in->local.n > 64 || in->domain.n > 255)
        __builtin_trap();
    str canonical = address_canonical(&a, in);
    if (address_parse(canonical, true, true, &again, &why) < 0 || !str_eq(address_canonical(&a, &again), canonical))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str s = str_of(data, size), rest;
    struct address a;
    const char *why = NULL;
    if (address_parse(s, true, true, &a, &why) == 0)
        check(&a);
    else if (!why)
        __builtin_trap();
    if (address_parse_path(s, true, true, &a, &rest, &why) == 0) {
        if (a.local.n)
            check(&a);
        if (rest.n > size)
            __builtin_trap();
    }
    domain_valid(s, 2);
    domain_is_literal(s);
    return 0;
}
