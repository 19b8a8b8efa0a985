/* Typed values: numbers with units, networks, addresses of listeners, domain names. */
#include <arpa/inet.h>
#include "base/cleanup.h"
#include "conf/conf_private.h"
#include <errno.h>
#include <idn2.h>
#include <stdio.h>

struct unit { const char *suffix; uint64_t factor; };

static const struct unit no_units[] = { { "", 1 }, { NULL } };
static const struct unit size_units[] = {
    { "", 1 }, { "K", 1u << 10 }, { "k", 1u << 10 }, { "M", 1u << 20 }, { "m", 1u << 20 }, { "G", 1u << 30 },
    { "g", 1u << 30 }, { NULL }
};
/* In milliseconds; a bare number is seconds, as in Postfix. */
static const struct unit duration_units[] = {
    { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { "w", 604800000 },
    { NULL }
};

static const struct numeric {
    const struct unit *units;
    const char *want;
    uint64_t max;
} numerics[] = {
    [CONF_TYPE_NUMBER] = { no_units, "a number; expected digits, at most 4294967295", UINT32_MAX },
    [CONF_TYPE_SIZE] = { size_units, "a size; expected a number with K, M or G", 1ull << 50 },
    [CONF_TYPE_DURATION] = { duration_units, "a duration; expected a number with s, m, h, d or w, at most 520w",
                             520ull * 604800000 },
};

static bool numeric(const struct numeric *as, str text, uint64_t *out)
{
    size_t digits = 0;
    while (digits < text.n && ascii_digit(text.p[digits]))
        digits++;
    uint64_t v;
    if (str_u64(str_first(text, digits), as->max, &v) < 0)
        return false;
    for (const struct unit *u = as->units; u->suffix; u++) {
        if (!str_eq(str_from(text, digits), str_z(u->suffix)))
            continue;
        if (v > as->max / u->factor)
            return false;
        *out = v * u->factor;
        return true;
    }
    return false;
}

bool conf_value_number(enum conf_type type, str text, uint64_t *out, const char **out_want)
{
    if (type == CONF_TYPE_BOOL) {
        *out_want = "a yes or no; expected yes or no";
        *out = str_eq(text, S("yes"));
        return *out || str_eq(text, S("no"));
    }
    *out_want = numerics[type].want;
    return numeric(&numerics[type], text, out);
}

bool conf_size(str text, uint64_t *out, const char **out_want)
{
    return conf_value_number(CONF_TYPE_SIZE, text, out, out_want);
}

/* inet_pton wants a NUL; the longest text of an address has 45 bytes. */
static int numeric_address(int family, str s, uint8_t out[16])
{
    char z[INET6_ADDRSTRLEN + 1];
    if (s.n == 0 || s.n >= sizeof(z) || str_chr(s, '\0') >= 0)
        return 0;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return inet_pton(family, z, out);
}

/* [v6] without its brackets; false if only one of them is there. */
static bool unbracket(str *s)
{
    if (!str_starts(*s, S("[")))
        return str_chr(*s, ']') < 0;
    if (!str_ends(*s, S("]")))
        return false;
    *s = str_of(s->p + 1, s->n - 2);
    return true;
}

bool conf_network_valid(str text, const char **out_want)
{
    *out_want = "a network; expected an address like 192.0.2.0/24, 192.0.2.1, 2001:db8::/32 or [2001:db8::]/32";
    uint8_t addr[16] = { 0 };
    str bits_text = text, host = str_cut(&bits_text, '/');
    bool has_bits = host.n < text.n, brackets = str_starts(host, S("["));
    if (!unbracket(&host))
        return false;
    bool v4 = !brackets && numeric_address(AF_INET, host, addr) == 1;
    if (!v4 && numeric_address(AF_INET6, host, addr) != 1)
        return false;
    uint64_t width = v4 ? 32 : 128, bits = width;
    if (has_bits && str_u64(bits_text, width, &bits) < 0)
        return false;
    for (uint64_t i = bits; i < width; i++) {
        if (addr[i / 8] & (0x80 >> i % 8)) {
            *out_want = "a network: there are host bits beyond its prefix; expected them to be 0";
            return false;
        }
    }
    return true;
}

static const char *socket_path(struct arena *a, str text, str *out_address, uint16_t *out_port)
{
    str path = str_from(text, 5);
    if (path.n == 0 || path.n > CONF_SOCKET_PATH_MAX || str_ends(path, S("/")) || str_chr(path, '\0') >= 0)
        return "expected the path of a Unix socket behind unix:, at most 80 bytes";
    *out_address = arena_dup(a, text);
    *out_port = 0;
    return NULL;
}

const char *conf_endpoint_parse(struct arena *a, str text, str *out_address, uint16_t *out_port)
{
    if (str_starts(text, S("unix:")))
        return socket_path(a, text, out_address, out_port);
    ptrdiff_t colon = str_rchr(text, ':');
    if (colon <= 0)
        return "expected ADDRESS:PORT like 127.0.0.1:25, [::1]:25 or *:25";
    str host = str_first(text, (size_t)colon);
    uint64_t port;
    if (str_u64(str_from(text, (size_t)colon + 1), 65535, &port) < 0 || port == 0)
        return "expected a port from 1 to 65535 after the last colon";
    bool brackets = host.p[0] == '[';
    uint8_t addr[16];
    if (str_eq(host, S("*")))
        host = S("0.0.0.0");
    if (!unbracket(&host))
        return "expected both brackets round an IPv6 address";
    if (!brackets && str_chr(host, ':') >= 0)
        return "expected brackets round an IPv6 address, like [::1]:25";
    int family = brackets ? AF_INET6 : AF_INET;
    if (numeric_address(family, host, addr) != 1)
        return "expected a numeric address, or * for every IPv4 address";
    char z[INET6_ADDRSTRLEN];
    inet_ntop(family, addr, z, sizeof(z));
    *out_address = arena_dup(a, str_z(z));
    *out_port = (uint16_t)port;
    return NULL;
}

bool conf_server_parse(str text, char out_address[CONF_ADDRESS_MAX], uint16_t *out_port)
{
    uint8_t addr[16];
    uint64_t port = *out_port;
    ptrdiff_t colon = str_rchr(text, ':'), at = str_rchr(text, '@');
    bool one_colon = colon >= 0 && str_chr(text, ':') == colon;
    if (at < 0 && (one_colon || (str_starts(text, S("[")) && !str_ends(text, S("]")))))
        at = colon;
    if (at >= 0 && (str_u64(str_from(text, (size_t)at + 1), 65535, &port) < 0 || port == 0))
        return false;
    str host = at < 0 ? text : str_first(text, (size_t)at);
    bool brackets = str_starts(host, S("["));
    if (!unbracket(&host))
        return false;
    int family = brackets || str_chr(host, ':') >= 0 ? AF_INET6 : AF_INET;
    if (numeric_address(family, host, addr) != 1)
        return false;
    inet_ntop(family, addr, out_address, CONF_ADDRESS_MAX);
    *out_port = (uint16_t)port;
    return true;
}

static void free_idn(char **p)
{
    idn2_free(*p);
}

int conf_domain_ascii(struct arena *a, str domain, str *out)
{
    bool ascii = true;
    for (size_t i = 0; i < domain.n; i++)
        ascii = ascii && (unsigned char)domain.p[i] < 128;
    if (ascii) {
        *out = arena_lower(a, domain);
        return out->p ? 0 : -ENOMEM;
    }
    if (domain.n > 1024)
        return -EINVAL;
    _cleanup_free_ char *z = str_dupz(domain);
    if (!z)
        return str_chr(domain, '\0') >= 0 ? -EINVAL : -ENOMEM;
    _cleanup_(free_idn) char *label = NULL;
    int r = idn2_to_ascii_8z(z, &label, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    if (r != IDN2_OK)
        return r == IDN2_MALLOC ? -ENOMEM : -EINVAL;
    *out = arena_lower(a, str_z(label));
    return out->p ? 0 : -ENOMEM;
}

int conf_address_ascii(struct arena *a, str address, str *out)
{
    ptrdiff_t at = str_rchr(address, '@');
    str domain;
    int r = conf_domain_ascii(a, str_from(address, (size_t)(at + 1)), &domain);
    if (r < 0)
        return r;
    *out = at < 0 ? domain : arena_printf(a, "%.*s@%.*s", (int)at, address.p, STR_ARG(domain));
    return out->p ? 0 : -ENOMEM;
}
