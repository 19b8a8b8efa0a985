/* PROXY headers read from connections: see proxy_in.h. */
#include "session/proxy_in.h"

static size_t extent(str seen)
{
    struct proxy_header header;
    const char *why;
    size_t used = seen.n;
    proxy_parse(seen, &header, &used, &why);
    return used;
}

void proxy_in_begin(struct conn *c)
{
    c->header = extent;
}

enum proxy_in proxy_in_read(struct conn *c, struct proxy_header *out, const char **out_why)
{
    size_t used = 0;
    switch (proxy_parse(buf_str(&c->in), out, &used, out_why)) {
    case PROXY_MORE:
        if (!c->eof && !c->failed)
            return PROXY_IN_WAIT;
        *out_why = "the connection ended before its PROXY header";
        return PROXY_IN_BAD;
    case PROXY_BAD:
        return PROXY_IN_BAD;
    default:
        break;
    }
    if (out->known)
        conn_set_client(c, str_z(out->client.address), out->client.port);
    c->header = NULL;
    conn_input_used(c, used);
    return PROXY_IN_DONE;
}
