/* The trace id of a session S and of its n-th message S.n as text (DESIGN 1.5, 8.7). */
#pragma once
#include "base/codec.h"
#include "base/env.h"

struct trace_id {
    uint8_t raw[16];
    char text[B32_ID_LEN]; /* not NUL-terminated */
};

static inline void trace_id_new(const struct env *env, struct trace_id *out)
{
    env->random(out->raw, sizeof(out->raw));
    b32_id_encode(out->raw, out->text);
}

static inline str trace_id_str(const struct trace_id *t) { return str_of(t->text, sizeof(t->text)); }

/* "S.n" into out (B32_ID_LEN + 12 bytes). */
static inline str trace_id_message(const struct trace_id *t, uint32_t n, char out[B32_ID_LEN + 12])
{
    struct buf b = { .p = out, .cap = B32_ID_LEN + 12, .max = B32_ID_LEN + 12 };
    buf_add(&b, trace_id_str(t));
    buf_addc(&b, '.');
    buf_addu(&b, n);
    return buf_str(&b);
}
