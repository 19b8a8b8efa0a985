/* For tests of the downgrade: all its passes over one message, and the way back. Included by tests only. */
#pragma once
#include "base/codec.h"
#include "message/downgrade.h"
#include "message/mime.h"

/* Feeds `step` bytes at a time; out is empty unless the answer is DOWNGRADE_CONVERT. Aborts on what may not happen. */
static inline enum downgrade_need downgrade_play(str message, size_t step, struct buf *out)
{
    struct downgrade *d = downgrade_new();
    enum downgrade_need need;
    do {
        for (str rest = message; rest.n > 0; rest = str_from(rest, step))
            downgrade_scan(d, str_first(rest, step));
        need = downgrade_scanned(d);
    } while (need == DOWNGRADE_AGAIN);
    if (need == DOWNGRADE_CONVERT) {
        for (str rest = message; rest.n > 0; rest = str_from(rest, step)) {
            size_t before = out->n;
            if (downgrade_feed(d, str_first(rest, step), out) < 0 || out->n - before > 16 * step + 4096)
                abort();
        }
        if (downgrade_end(d, out) < 0)
            abort();
    }
    downgrade_free(d);
    return need;
}

/* Quoted-printable without soft line breaks; false: it is none. */
static inline bool downgrade_play_unquote(str in, struct buf *out)
{
    size_t column = 0;
    for (size_t i = 0; i < in.n; ++i) {
        column = in.p[i] == '\n' ? 0 : column + 1;
        if (column > 77) /* 76 and a CR */
            return false;
        if (in.p[i] != '=') {
            buf_addc(out, in.p[i]);
            continue;
        }
        str code = str_first(str_from(in, i + 1), 2);
        if (!str_eq(code, S("\r\n")) && hex_decode(out, code) < 0)
            return false;
        i += 2;
        column = str_eq(code, S("\r\n")) ? 0 : column + 2;
    }
    return true;
}

static inline bool downgrade_play_unbase64(str in, struct buf *out)
{
    struct buf joined = BUF(1u << 24);
    for (size_t i = 0; i < in.n; ++i)
        if (in.p[i] != '\r' && in.p[i] != '\n')
            buf_addc(&joined, in.p[i]);
    bool ok = base64_decode(out, buf_str(&joined)) == 0;
    buf_done(&joined);
    return ok;
}
