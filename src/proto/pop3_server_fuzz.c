/* Any client: what it gets must be the same whether its bytes come whole or one by one, and every reply must be well
 * formed. */
#include "proto/pop3_play.h"

static void check(bool ok)
{
    if (!ok)
        abort();
}

static const str contents[] = {
    { "Subject: 1\r\n\r\n.\r\n..\r\nbody\r\n", 28 },
    { "Subject: 2\n\n.\nno end", 20 }, { "", 0 }, { "\xc3\xa4\r\n", 4 },
};

/* Every line that the server begins is a status, a continuation, or belongs to a multi-line response that ends with
 * ".". */
static void check_lines(str out)
{
    while (out.n) {
        bool whole = str_chr(out, '\n') >= 0;
        str line = str_cut(&out, '\n');
        check(whole && str_ends(line, S("\r")) && line.n < 512);
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
        play_init(both[i], contents, ARRAY_LEN(contents));
        both[i]->config.auth_plain_ok = data[0] & 1;
        both[i]->config.errors_max = data[0] & 2 ? 3 : 0;
        both[i]->piece = i;
        play_send(both[i], data[0] & 4 ? S("STLS\r\nUSER alice\r\nPASS secret-alice\r\n") : STR_NONE, 0);
        play_send(both[i], str_of(data + 1, size - 1), i);
    }
    check(str_eq(buf_str(&whole.out), buf_str(&bytes.out)));
    check(str_eq(buf_str(&whole.log), buf_str(&bytes.log)));
    check(whole.closed == bytes.closed);
    check(whole.out_max <= 64 * 1024);
    if (str_find(buf_str(&whole.log), S("retrieve 1")) < 0)
        check_lines(buf_str(&whole.out)); /* message 1 has bare LFs of its own */
    play_done(&whole);
    play_done(&bytes);
    return 0;
}
