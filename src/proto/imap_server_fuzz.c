/* Any client: what it gets, and what the owner is asked, must be the same whether its bytes come whole or one by one,
 * and every line of the server must be whole. */
#include "proto/imap_play.h"

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_lines(str out)
{
    while (out.n) {
        bool whole = str_chr(out, '\n') >= 0;
        str line = str_cut(&out, '\n');
        check(whole && str_ends(line, S("\r")) && line.n < 1024);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct play whole, bytes;
    struct play *both[] = { &whole, &bytes };
    for (size_t i = 0; i < 2; i++) {
        struct play *p = both[i];
        play_init(p);
        p->config.auth_plain_ok = data[0] & 1;
        p->config.errors_max = data[0] & 2 ? 3 : 0;
        p->config.literal_minus = data[0] & 4;
        p->config.append_limit = data[0] & 8 ? 50 : 0;
        play_send(p, data[0] & 16 ? S("a STARTTLS\r\nb LOGIN u secret\r\nc SELECT x\r\n") : STR_NONE, 0);
        play_send(p, data[0] & 32 ? S("d ENABLE UTF8=ACCEPT QRESYNC\r\n") : STR_NONE, 0);
        play_send(p, str_of(data + 1, size - 1), i);
        if (i && p->s)
            imap_server_rest(p->s);
    }
    check(str_eq(buf_str(&whole.out), buf_str(&bytes.out)));
    check(str_eq(buf_str(&whole.log), buf_str(&bytes.log)));
    check(str_eq(buf_str(&whole.data), buf_str(&bytes.data)));
    check(whole.closed == bytes.closed);
    check(whole.out_max < 2 * IMAP_OUTPUT_HIGH);
    check_lines(buf_str(&whole.out));
    play_done(&whole);
    play_done(&bytes);
    return 0;
}
