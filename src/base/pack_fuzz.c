/* Reads a frame as a script of the input's own choosing: nothing read lies outside the input, and a frame that was
 * read to its end without damage is, written again, the same bytes. */
#include "base/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void copy_field(struct unpack *u, struct buf *out, uint8_t kind, str frame)
{
    str s;
    switch (kind % 5) {
    case 0:
        pack_u8(out, unpack_u8(u));
        break;
    case 1:
        pack_u16(out, unpack_u16(u));
        break;
    case 2:
        pack_u32(out, unpack_u32(u));
        break;
    case 3:
        pack_u64(out, unpack_u64(u));
        break;
    default:
        s = unpack_str(u);
        check(s.n == 0 || (s.p >= frame.p && s.p + s.n <= frame.p + frame.n));
        pack_str(out, s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size < 1u + data[0])
        return 0;
    str script = str_of(data + 1, data[0]), frame = str_of(data + 1 + data[0], size - 1 - data[0]);
    struct unpack u = UNPACK(frame);
    _cleanup_buf_ struct buf out = BUF(1 << 22);
    for (size_t i = 0; i < script.n; i++) {
        bool was_bad = u.bad;
        copy_field(&u, &out, (uint8_t)script.p[i], frame);
        check(!was_bad || u.bad);
    }
    check(out.failed == 0);
    if (!u.bad)
        check(str_eq(buf_str(&out), str_first(frame, frame.n - u.in.n)) && unpack_end(&u) == (u.in.n == 0));
    else
        check(!unpack_end(&u));
    return 0;
}
