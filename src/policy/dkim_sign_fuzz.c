/* Any message: the digest is the same whole and in pieces, and a signature field made of it does not change what it
 * was made of. */
#include <assert.h>
#include "policy/dkim_sign.h"

static int digest(str in, size_t step, enum dkim_canon how, uint8_t out[DKIM_DIGEST], struct buf *field)
{
    static const struct dkim_tags tags = { .algorithm = DKIM_RSA_SHA256, .domain = S("example.org"), .selector = S("s"),
                                           .time_s = 1700000000, .expire_s = 1700604800 };
    struct dkim_message *m = dkim_message_new(how, how);
    assert(m);
    for (; in.n; in = str_from(in, step))
        dkim_message_feed(m, str_first(in, step));
    int r = dkim_message_end(m);
    if (r == 0)
        r = dkim_digest(m, &tags, out);
    if (r == 0)
        r = dkim_field(m, &tags, S("signature"), field);
    dkim_message_free(m);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int how = DKIM_RELAXED; how <= DKIM_SIMPLE; how++) {
        uint8_t whole[DKIM_DIGEST], pieces[DKIM_DIGEST], again[DKIM_DIGEST];
        struct buf a = BUF(1 << 20), b = BUF(1 << 20), c = BUF(1 << 20), both = BUF(1 << 22);
        int r = digest(str_of(data, n), n + 1, (enum dkim_canon)how, whole, &a);
        assert(digest(str_of(data, n), 1 + n % 3, (enum dkim_canon)how, pieces, &b) == r);
        if (r == 0) {
            assert(memcmp(whole, pieces, sizeof(whole)) == 0 && str_eq(buf_str(&a), buf_str(&b)));
            buf_add(&both, buf_str(&a));
            buf_add(&both, str_of(data, n));
            if (data[0] != ' ' && data[0] != '\t') { /* else it goes on with our field */
                assert(digest(buf_str(&both), both.n, (enum dkim_canon)how, again, &c) == 0);
                assert(memcmp(whole, again, sizeof(whole)) == 0);
            }
        }
        buf_done(&a);
        buf_done(&b);
        buf_done(&c);
        buf_done(&both);
    }
    return 0;
}
