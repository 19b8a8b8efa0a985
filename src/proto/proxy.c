/* The PROXY protocol: see proxy.h. Sections are those of haproxy's doc/proxy-protocol.txt. */
#include "proto/proxy.h"
#include "base/cleanup.h"
#include <arpa/inet.h>

#define V1_MAX 107u /* 2.1, with CR LF */
#define V2_FIXED 16u

enum { COMMAND_LOCAL = 0, COMMAND_PROXY = 1 };
enum { FAMILY_UNSPEC, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILIES };
enum { TRANSPORT_UNSPEC, TRANSPORT_STREAM, TRANSPORT_DGRAM };

static const size_t address_length[FAMILIES] = { [FAMILY_INET] = 12, [FAMILY_INET6] = 36, [FAMILY_UNIX] = 216 };

static const str v1_start = { "PROXY ", 6 };
static const str v2_start = { "\r\n\r\n\0\r\nQUIT\n", 12 };

static enum proxy_found bad(const char **out_why, const char *why)
{
    *out_why = why;
    return PROXY_BAD;
}

/* Version 1 */

static bool read_address(str text, int family, struct proxy_endpoint *out)
{
    unsigned char raw[16];
    char z[PROXY_ADDRESS_MAX] = { 0 };
    if (text.n == 0 || text.n >= sizeof(z) || str_chr(text, '\0') >= 0)
        return false;
    memcpy(z, text.p, text.n);
    return inet_pton(family, z, raw) == 1 && inet_ntop(family, raw, out->address, sizeof(out->address));
}

static bool read_port(str text, struct proxy_endpoint *out)
{
    uint64_t port;
    if (str_u64(text, UINT16_MAX, &port) < 0 || (text.n > 1 && text.p[0] == '0'))
        return false;
    out->port = (uint16_t)port;
    return true;
}

/* What stands behind "PROXY ", without CR LF: fields with exactly one space between them. */
static bool read_v1(str line, struct proxy_header *out)
{
    str protocol = str_cut(&line, ' ');
    bool v4 = str_eq(protocol, S("TCP4"));
    if (str_eq(protocol, S("UNKNOWN"))) /* 2.1: whatever follows is ignored */
        return true;
    if (!v4 && !str_eq(protocol, S("TCP6")))
        return false;
    str field[4];
    for (size_t i = 0; i < 3; ++i) {
        if (str_chr(line, ' ') < 0)
            return false;
        field[i] = str_cut(&line, ' ');
    }
    field[3] = line;
    int family = v4 ? AF_INET : AF_INET6;
    out->known = true;
    return read_address(field[0], family, &out->client) && read_address(field[1], family, &out->server) &&
           read_port(field[2], &out->client) && read_port(field[3], &out->server);
}

static enum proxy_found parse_v1(str in, struct proxy_header *out, size_t *out_used, const char **out_why)
{
    str seen = str_first(in, V1_MAX);
    ptrdiff_t lf = str_chr(seen, '\n');
    if (lf < 0)
        return seen.n < V1_MAX ? PROXY_MORE : bad(out_why, "a PROXY line without an end");
    str line = str_from(str_first(seen, (size_t)lf), v1_start.n);
    if (!str_ends(line, S("\r")))
        return bad(out_why, "a PROXY line that does not end in CR LF");
    --line.n;
    if (!read_v1(line, out))
        return bad(out_why, "a PROXY line with a wrong protocol, address or port");
    *out_used = (size_t)lf + 1;
    return PROXY_DONE;
}

/* Version 2 */

static uint16_t big_endian(str in, size_t at)
{
    const unsigned char *p = (const unsigned char *)in.p + at;
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* 2.2.7: type, length, value until the end. */
static bool vectors_fit(str in)
{
    while (in.n >= 3 && in.n - 3 >= big_endian(in, 1))
        in = str_from(in, 3u + big_endian(in, 1));
    return in.n == 0;
}

static enum proxy_found read_v2(str fixed, str block, struct proxy_header *out, const char **out_why)
{
    int family = (unsigned char)fixed.p[13] >> 4, transport = fixed.p[13] & 15;
    if ((fixed.p[12] & 15) == COMMAND_LOCAL) /* 2.2: all of it is ignored */
        return PROXY_DONE;
    bool unspecified = family == FAMILY_UNSPEC;
    if (family >= FAMILIES || transport > TRANSPORT_DGRAM || unspecified != (transport == TRANSPORT_UNSPEC))
        return bad(out_why, "a PROXY header of an unknown family or transport");
    if (transport == TRANSPORT_DGRAM)
        return bad(out_why, "a PROXY header for datagrams");
    if (unspecified)
        return PROXY_DONE;
    if (block.n < address_length[family])
        return bad(out_why, "a PROXY header too short for its addresses");
    if (!vectors_fit(str_from(block, address_length[family])))
        return bad(out_why, "a PROXY header whose TLVs do not fit");
    if (family == FAMILY_UNIX)
        return PROXY_DONE;
    size_t width = family == FAMILY_INET ? 4 : 16;
    int af = family == FAMILY_INET ? AF_INET : AF_INET6;
    inet_ntop(af, block.p, out->client.address, sizeof(out->client.address));
    inet_ntop(af, block.p + width, out->server.address, sizeof(out->server.address));
    out->client.port = big_endian(block, 2 * width);
    out->server.port = big_endian(block, 2 * width + 2);
    out->known = true;
    return PROXY_DONE;
}

static enum proxy_found parse_v2(str in, struct proxy_header *out, size_t *out_used, const char **out_why)
{
    if (in.n > 12 && (unsigned char)in.p[12] >> 4 != 2)
        return bad(out_why, "a PROXY header of another version than 1 and 2");
    if (in.n > 12 && (in.p[12] & 15) > COMMAND_PROXY)
        return bad(out_why, "a PROXY header with an unknown command");
    if (in.n < V2_FIXED)
        return PROXY_MORE;
    size_t length = big_endian(in, 14);
    if (V2_FIXED + length > PROXY_HEADER_MAX)
        return bad(out_why, "a PROXY header that is too long");
    if (in.n < V2_FIXED + length)
        return PROXY_MORE;
    *out_used = V2_FIXED + length;
    return read_v2(in, str_first(str_from(in, V2_FIXED), length), out, out_why);
}

static bool same_start(str in, str start)
{
    size_t n = MIN(in.n, start.n);
    return str_eq(str_first(in, n), str_first(start, n));
}

enum proxy_found proxy_parse(str in, struct proxy_header *out, size_t *out_used, const char **out_why)
{
    struct proxy_header header = { 0 };
    enum proxy_found found;
    bool v1 = same_start(in, v1_start), v2 = same_start(in, v2_start);
    size_t used = 0;
    if (in.n == 0)
        return PROXY_MORE;
    if (!v1 && !v2)
        return bad(out_why, "no PROXY header");
    if (in.n < (v1 ? v1_start.n : v2_start.n))
        return PROXY_MORE;
    found = v1 ? parse_v1(in, &header, &used, out_why) : parse_v2(in, &header, &used, out_why);
    if (found == PROXY_DONE) {
        *out = header;
        *out_used = used;
    }
    return found;
}
