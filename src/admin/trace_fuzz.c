/* Any bytes as a trace file: trace and explain, for people and programs, print text that is safe for a terminal. */
#include "admin/trace_query.h"
#include "admin/trace_text.h"
#include "base/event.h"

#define SESSION "5h2v9kq8m4t7w1x3y6z0abcdef"

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void ask(trace_answer *answer, const struct trace *t, const struct admin_data *d, str what, bool json)
{
    _cleanup_buf_ struct buf out = BUF(1u << 26), complaint = BUF(1u << 20);
    struct trace_query q = { .command = "x", .trace = t, .data = d, .what = what, .json = json };
    int code = answer(&q, &out, &complaint);
    check(code == 0 || (code == 1 && complaint.n));
    for (size_t i = 0; i < out.n; i++)
        check(out.p[i] == '\n' || ((unsigned char)out.p[i] >= ' ' && out.p[i] != 0x7f));
    check(utf8_valid(buf_str(&out)));
    json_t *j = json && code == 0 ? json_loadb(out.p, out.n, 0, NULL) : NULL;
    check(!json || code == 1 || j);
    json_decref(j);
}

/* The lines of the input, each made to concern the session if it does not look like an event. */
static void make_text(str in, struct buf *text)
{
    static const str heads[] = {
        S("time=2026-11-24T07:55:03.000000Z level=info event=rcpt role=smtp-in session=" SESSION
          ".1 verdict=reject sender=a@b.c "),
        S("time=2026-11-24T07:55:04.000000Z level=info event=received role=smtp-in session=" SESSION
          ".2 sender=a@b.c "),
        S("time=2026-11-24T07:55:05.000000Z level=info event=auth role=access session=" SESSION " user=a@b.c "),
    };
    while (in.n) {
        size_t head = (uint8_t)in.p[0];
        if (head < ARRAY_LEN(heads)) {
            buf_add(text, heads[head]);
            in = str_from(in, 1);
        }
        buf_add(text, str_cut(&in, '\n'));
        buf_addc(text, '\n');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct arena arena = ARENA(1u << 20);
    static struct buf bundle = BUF(1u << 20);
    static struct admin_data d = { .path = "posthouse.conf", .fd = -1 };
    struct conf_error e;
    if (!d.conf) {
        conf_bundle_begin(&bundle, S("posthouse.conf"));
        conf_bundle_add(&bundle, S("posthouse.conf"), S("domain b.c\n\nlisten smtp 127.0.0.1:25\n"));
        conf_bundle_add(&bundle, S("accounts"), S(""));
        check(conf_parse(&arena, buf_str(&bundle), &d.conf, &e) == 0);
        d.bundle = bundle;
    }
    _cleanup_buf_ struct buf text = BUF(1u << 24);
    make_text(str_of(data, n), &text);
    if (!text.n || text.failed)
        return 0;
    char *copy = malloc(text.n);
    memcpy(copy, text.p, text.n);
    struct trace_segment s = {
        .role = "smtp-in", .number = 1, .p = copy, .n = text.n, .begin_us = 1, .end_us = UINT64_MAX / 2
    };
    struct trace t = { .segment = &s, .n = 1, .cap = 1, .bytes = s.n, .begin_us = 1, .end_us = s.end_us };
    for (int i = 0; i < 2; i++) {
        ask(trace_print, &t, &d, S(SESSION), i);
        ask(trace_print, &t, &d, S("5h2v9k.1"), i);
        ask(trace_print, &t, &d, S("a@b.c"), i);
        ask(explain_print, &t, &d, S(SESSION), i);
        ask(explain_print, &t, &d, S("a@b.c"), i);
    }
    free(copy);
    return 0;
}
