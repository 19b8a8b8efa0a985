/* Fuzzes folding: valid UTF-8 comes out, folding again changes nothing, pieces make the same; and base subjects lie in
 * their subject and are their own base. */
#include "base/event.h"
#include "message/encoded_word.h"
#include "message/fold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_base(str subject)
{
    uint32_t off, len, off2, len2;
    bool reply;
    base_subject(subject, &off, &len, &reply);
    if (off > subject.n || len > subject.n - off)
        __builtin_trap();
    base_subject(str_first(str_from(subject, off), len), &off2, &len2, &reply);
    if (off2 != 0 || len2 != len || reply)
        __builtin_trap();
}

static void check_pieces(str text, str folded)
{
    for (size_t step = 4; step < 40; step += 7) {
        _cleanup_buf_ struct buf out = BUF(FOLD_ROOM(text.n));
        for (size_t at = 0; at < text.n;) {
            char piece[FOLD_ROOM(40)];
            size_t used, n = fold_piece(piece, str_first(str_from(text, at), step), text.n - at <= step, &used);
            buf_add(&out, str_of(piece, n));
            at += used;
        }
        if (!str_eq(buf_str(&out), folded))
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = str_of(data, size);
    _cleanup_buf_ struct buf once = BUF(3 * size), twice = BUF(9 * size), field = BUF(9 * size);
    if (fold_utf8(&once, text) < 0 || fold_utf8(&twice, buf_str(&once)) < 0 || !utf8_valid(buf_str(&once)))
        __builtin_trap();
    if (!str_eq(buf_str(&once), buf_str(&twice)))
        __builtin_trap();
    check_pieces(text, buf_str(&once));
    if (fold_header(&field, text) < 0 || !utf8_valid(buf_str(&field)) || str_find(buf_str(&field), S("  ")) >= 0)
        __builtin_trap();
    check_base(buf_str(&once));
    check_base(buf_str(&field));
    return 0;
}
