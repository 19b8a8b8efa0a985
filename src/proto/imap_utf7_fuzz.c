/* Any bytes as a mailbox name: what is read as modified UTF-7 is written the same, and what is written is read
 * again. */
#include "base/event.h"
#include "proto/imap_write.h"
#include <errno.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in = str_of(data, size);
    _cleanup_buf_ struct buf a = BUF(1 << 24), b = BUF(1 << 24);
    if (imap_utf7_decode(&a, in) == 0) {
        check(utf8_valid(buf_str(&a)));
        check(imap_utf7_encode(&b, buf_str(&a)) == 0);
        check(str_eq(buf_str(&b), in));
    }
    buf_clear(&a);
    buf_clear(&b);
    check(imap_utf7_encode(&a, in) == 0 && str_ascii(buf_str(&a)));
    check(imap_utf7_decode(&b, buf_str(&a)) == 0);
    check(!utf8_valid(in) || str_eq(buf_str(&b), in));
    imap_name_trouble(in);
    str name = in, pattern = str_cut(&name, '\n');
    imap_list_match(pattern, name);
    check(name.n > IMAP_NAME_MAX || imap_list_match(S("*"), name));
    return 0;
}
