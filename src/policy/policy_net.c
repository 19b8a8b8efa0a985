/* Addresses of clients in text, as rules and limits see them. See policy.h. */
#include "policy/policy.h"
#include <errno.h>
#include <stdio.h>

int policy_addr_parse(str s, uint8_t out[16])
{
    return net_addr_parse(str_chr(s, ':') < 0 ? s : str_cut(&s, '%'), out);
}

bool policy_nets_match(const struct nets *nets, str text)
{
    uint8_t addr[16];
    return nets->n && policy_addr_parse(text, addr) == 0 && nets_hold(nets, addr);
}

/* The first four groups with "::" for the rest: zero groups at their end melt into it (RFC 5952 4.2.1). */
static size_t format_v6_net(const uint8_t addr[16], char *out)
{
    int groups = 4;
    size_t n = 0;
    while (groups && !addr[groups * 2 - 2] && !addr[groups * 2 - 1])
        groups--;
    for (int i = 0; i < groups; i++)
        n += (size_t)snprintf(out + n, POLICY_NET_TEXT - n, "%s%x", i ? ":" : "", addr[i * 2] << 8 | addr[i * 2 + 1]);
    return n + (size_t)snprintf(out + n, POLICY_NET_TEXT - n, "::/64");
}

int policy_client_net(str addr, char out[POLICY_NET_TEXT], str *out_text)
{
    uint8_t bytes[16];
    if (policy_addr_parse(addr, bytes) < 0)
        return -EINVAL;
    size_t n = net_addr_v4(bytes)
                   ? (size_t)snprintf(out, POLICY_NET_TEXT, "%u.%u.%u.%u", bytes[12], bytes[13], bytes[14], bytes[15])
                   : format_v6_net(bytes, out);
    *out_text = str_of(out, n);
    return 0;
}
