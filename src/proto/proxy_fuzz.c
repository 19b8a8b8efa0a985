/* Any bytes: the verdict on the whole is the verdict on the first prefix that has one, a header is never longer than
 * allowed, and its addresses are text. */
#include "proto/proxy.h"
#include <arpa/inet.h>
#include <stdlib.h>

static void check(const struct proxy_header *h)
{
    unsigned char raw[16];
    if (!h->known)
        return;
    if (inet_pton(AF_INET, h->client.address, raw) != 1 && inet_pton(AF_INET6, h->client.address, raw) != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole = { 0 }, part = { 0 };
    size_t used = 0, part_used = 0, n = 0;
    const char *why = NULL;
    str in = str_of(data, size);
    enum proxy_found found = proxy_parse(in, &whole, &used, &why), early = PROXY_MORE;
    while (early == PROXY_MORE && n <= size)
        early = proxy_parse(str_first(in, n++), &part, &part_used, &why);
    if (early != found || used != part_used || used > PROXY_HEADER_MAX || used > size)
        abort();
    if (found == PROXY_MORE && size >= PROXY_HEADER_MAX)
        abort();
    if (found == PROXY_BAD && !why)
        abort();
    if (found == PROXY_DONE && memcmp(&whole, &part, sizeof(whole)) != 0)
        abort();
    check(&whole);
    return 0;
}
