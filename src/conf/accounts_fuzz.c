/* Lines of `secrets`: what is read is written so that it reads the same. */
#include "conf/accounts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    _cleanup_buf_ struct buf b = BUF(1u << 20);
    struct account_secret s, again;
    if (account_secret_parse(&a, str_of(data, size), &s) < 0 || s.address.n == 0)
        return 0;
    if (account_secret_format(&b, &s) < 0 || account_secret_parse(&a, buf_str(&b), &again) < 0)
        __builtin_trap();
    if (!str_eq(s.address, again.address) || !str_eq(s.hash, again.hash) || !str_eq(s.salt, again.salt) ||
        s.iterations != again.iterations || !str_eq(s.stored_key, again.stored_key) ||
        !str_eq(s.server_key, again.server_key))
        __builtin_trap();
    return 0;
}
