/* What a new mail server needs from the world round it: a name that leads here, an address that leads back, ports. All
 * by the resolver of the system, before anything is written. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include "admin/quickstart_domain.h"
#include "message/address.h"
#include "route/route_net.h"

enum { PROBE_MS = 5000, NAME_MAX_BYTES = 256 };

static void good(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void warn(struct quickstart_site *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(const char *mark, const char *fmt, va_list ap)
{
    printf("%-6s", mark);
    vprintf(fmt, ap);
    putchar('\n');
}

static void good(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("ok", fmt, ap);
    va_end(ap);
}

static void hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void hint(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("hint", fmt, ap);
    va_end(ap);
}

static void warn(struct quickstart_site *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("WARN", fmt, ap);
    va_end(ap);
    s->warnings++;
}

static bool print_address(const struct sockaddr *a, char out[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
    const void *raw = a->sa_family == AF_INET ? (const void *)&v4->sin_addr : (const void *)&v6->sin6_addr;
    return (a->sa_family == AF_INET || a->sa_family == AF_INET6) && inet_ntop(a->sa_family, raw, out, INET6_ADDRSTRLEN);
}

void quickstart_find_addresses(struct quickstart_site *s)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i && s->n_addresses < ARRAY_LEN(s->addresses); i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        uint8_t addr[16];
        if (!i->ifa_addr || !print_address(i->ifa_addr, text) || net_addr_parse(str_z(text), addr) < 0 ||
            route_address_special(addr))
            continue;
        const char *kept = arena_dup(&s->q.arena, str_z(text)).p;
        if (kept)
            s->addresses[s->n_addresses++] = kept;
    }
    freeifaddrs(all);
}

str quickstart_find_name(struct quickstart_site *s)
{
    char name[NAME_MAX_BYTES] = "";
    struct addrinfo want = { .ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM }, *got = NULL;
    if (gethostname(name, sizeof(name) - 1) < 0)
        return STR_NONE;
    str found = str_z(name);
    if (str_chr(found, '.') < 0 && !s->offline && getaddrinfo(name, NULL, &want, &got) == 0 && got->ai_canonname)
        found = str_z(got->ai_canonname);
    str kept =
        domain_valid(found, 2) && !str_istarts(found, S("localhost.")) ? arena_lower(&s->q.arena, found) : STR_NONE;
    if (got)
        freeaddrinfo(got);
    return kept;
}

static bool is_ours(const struct quickstart_site *s, const char *address)
{
    uint8_t want[16], have[16];
    for (size_t i = 0; i < s->n_addresses; i++)
        if (net_addr_parse(str_z(address), want) == 0 && net_addr_parse(str_z(s->addresses[i]), have) == 0 &&
            memcmp(want, have, 16) == 0)
            return true;
    return false;
}

static void check_host(struct quickstart_site *s)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *got = NULL;
    const char *host = s->q.host.p;
    int e = getaddrinfo(host, NULL, &want, &got);
    if (e) {
        warn(s, "%s has no address in the DNS (%s): publish its A and AAAA records, which are below", host,
             gai_strerror(e));
        return;
    }
    bool ours = false;
    char text[INET6_ADDRSTRLEN] = "?";
    for (const struct addrinfo *a = got; a && !ours; a = a->ai_next)
        ours = print_address(a->ai_addr, text) && is_ours(s, text);
    freeaddrinfo(got);
    if (ours)
        good("%s leads to this machine (%s)", host, text);
    else
        warn(s,
             "%s leads to %s, which is no address of this machine: mend its A and AAAA records, or say --address %s if "
             "that address is passed on to here",
             host, text, text);
}

static void check_name_of(struct quickstart_site *s, const char *address)
{
    struct sockaddr_storage a = { 0 };
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
    char name[NI_MAXHOST];
    a.ss_family = inet_pton(AF_INET, address, &v4->sin_addr) == 1 ? AF_INET : AF_INET6;
    if (a.ss_family == AF_INET6 && inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
        return;
    socklen_t n = a.ss_family == AF_INET ? sizeof(*v4) : sizeof(*v6);
    int e = getnameinfo((struct sockaddr *)&a, n, name, sizeof(name), NULL, 0, NI_NAMEREQD);
    if (e)
        warn(s,
             "the address %s has no name in the DNS (PTR): let whoever gave you the address set it to %s; many servers "
             "take no mail without",
             address, s->q.host.p);
    else if (!str_ieq(str_z(name), s->q.host))
        warn(s,
             "the name of %s in the DNS (PTR) is %s: let whoever gave you the address change it to %s, or take that "
             "name "
             "as host name",
             address, name, s->q.host.p);
    else
        good("the name of %s is %s", address, name);
}

static int try_bind(const char *address, uint16_t port)
{
    struct sockaddr_storage a = { 0 };
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
    int one = 1;
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
    }
    _cleanup_close_ int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (a.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&a, a.ss_family == AF_INET ? sizeof(*v4) : sizeof(*v6)) < 0 || listen(fd, 1) < 0)
        return -errno;
    return 0;
}

static void check_port(struct quickstart_site *s, const char *address)
{
    unsigned port = s->q.base + 25u;
    int e = try_bind(address, (uint16_t)port);
    if (e == 0)
        good("port %u of %s is free", port, address);
    else
        warn(s, "port %u of %s: %s. %s", port, address, strerror(-e),
             e == -EADDRINUSE ? "Another program has it: find it with `ss -ltnp`, and stop it before the start"
             : e == -EACCES   ? "Start the server as root, who may have ports below 1024"
                              : "Choose another address with --listen");
}

/* 0, or negative: why not. */
static int try_connect(const char *host, const char *port)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *got = NULL;
    if (getaddrinfo(host, port, &want, &got))
        return -EHOSTUNREACH;
    _cleanup_close_ int fd = socket(got->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int e = fd < 0 || (connect(fd, got->ai_addr, got->ai_addrlen) < 0 && errno != EINPROGRESS) ? errno : 0;
    freeaddrinfo(got);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    socklen_t n = sizeof(e);
    if (e == 0 && poll(&p, 1, PROBE_MS) != 1)
        return -ETIMEDOUT;
    if (e == 0)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
    return -e;
}

static void check_way_out(struct quickstart_site *s)
{
    str rest = str_z(s->probe), host = str_cut(&rest, ':');
    const char *name = arena_dup(&s->q.arena, host).p, *port = rest.n ? rest.p : "25";
    int e = name ? try_connect(name, port) : -ENOMEM;
    if (e == 0)
        good("port %s of other hosts can be reached (tried with %s)", port, name);
    else
        hint("port %s of %s cannot be reached from here (%s). Many providers close port 25 for new customers: ask them "
             "to "
             "open it, or send through a smarthost (docs/routing.md)",
             port, name ? name : "?", strerror(-e));
}

void quickstart_check(struct quickstart_site *s)
{
    if (!s->n_addresses)
        warn(s, "this machine has no public address of its own: give the one that leads to it with --address");
    if (!s->offline) {
        check_host(s);
        for (size_t i = 0; i < s->n_addresses; i++)
            check_name_of(s, s->addresses[i]);
    }
    for (size_t i = 0; i < s->n_listens; i++)
        check_port(s, s->listens[i]);
    if (!s->offline && s->probe[0])
        check_way_out(s);
}
