/* Whatever challenges a server sends, the client stays within bounds, and no server that does not know the password is
 * believed by SCRAM. Challenges are separated by newlines; a '*' at the start of one stands for what a server would
 * begin with. */
#include <stdlib.h>
#include "proto/sasl_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum sasl_client_mechanism m = data[0] % 3 + SASL_CLIENT_SCRAM_SHA_256;
    struct sasl_client *c = sasl_client_new(m, S("user"), S("pencil"), S("rOprNGfwEbeRWgbNEkqO"));
    str rest = str_of(data + 1, size - 1), out;
    bool going = true;
    sasl_client_first(c, &out);
    for (int i = 0; i < 4 && going; ++i) {
        struct buf b = BUF(1u << 20);
        str line = str_cut(&rest, '\n');
        if (line.n > 0 && line.p[0] == '*') {
            buf_add(&b, S("r=rOprNGfwEbeRWgbNEkqO"));
            line = str_from(line, 1);
        }
        buf_add(&b, line);
        going = sasl_client_next(c, buf_str(&b), &out);
        if (going && out.n > SASL_CLIENT_MESSAGE_MAX)
            abort();
        if (!going && (sasl_client_ok(c) || sasl_client_why(c).n == 0))
            abort();
        if (m == SASL_CLIENT_SCRAM_SHA_256 && sasl_client_ok(c))
            abort();
        buf_done(&b);
    }
    sasl_client_free(c);
    return 0;
}
