/* `posthouse quickstart you@example.org`: the first real domain. Asks what it cannot know, checks (quickstart_check.c),
 * then writes one folder with everything in it, or nothing (quickstart.c), and says what to publish in the DNS. */
#include "admin/quickstart_domain.h"
#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include "base/env.h"
#include "base/event.h"
#include "message/address.h"
#include "session/drop.h"

#define PLACE "/srv/posthouse"
#define PROBE "gmail-smtp-in.l.google.com:25"
#define LINE_MAX_BYTES 512

static const struct { const char *name, *use; unsigned port; } services[] = {
    { "smtp", "mail from other servers", 25 },     { "submission", "sending, STARTTLS", 587 },
    { "submissions", "sending, TLS", 465 },        { "pop3", "reading, STLS", 110 },
    { "pop3s", "reading, TLS", 995 },            { "imap", "reading, STARTTLS", 143 },
    { "imaps", "reading, TLS", 993 },
};

static struct quickstart_site *site_of(struct quickstart *q) { return CONTAINER_OF(q, struct quickstart_site, q); }

static void site_done(struct quickstart_site *s)
{
    for (size_t i = 0; i < QUICKSTART_KEYS; i++)
        dkim_key_free(s->keys[i].key);
    quickstart_done(&s->q);
}

/* A line of standard input in the arena; without one (its end) p is NULL. */
static str read_answer(struct quickstart_site *s)
{
    char line[LINE_MAX_BYTES];
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        return STR_NONE;
    return arena_dup(&s->q.arena, str_trim(str_z(line)));
}

/* The answer, or `usual` for none. */
static str ask(struct quickstart_site *s, const char *question, str usual)
{
    if (s->yes)
        return usual;
    printf("%s [%.*s]: ", question, STR_ARG(usual));
    str got = read_answer(s);
    if (!got.p)
        putchar('\n');
    return got.n ? got : usual;
}

/* What is to be made */

static int read_account(struct quickstart_site *s, const char *text)
{
    struct quickstart *q = &s->q;
    struct address a;
    const char *why = "its local part has other characters than letters, digits, dots, hyphens and underscores";
    int r = address_parse(str_z(text), false, false, &a, &why);
    bool plain = r == 0;
    for (size_t i = 0; plain && i < a.local.n; i++)
        plain = ascii_alnum(a.local.p[i]) || str_chr(S("._-"), a.local.p[i]) >= 0;
    if (!plain) {
        admin_complain("quickstart: %s is no address for an account: %s", text, why);
        return EXIT_USAGE;
    }
    const char *domain = arena_dup(&q->arena, a.domain).p;
    r = domain ? quickstart_read_domain(q, "the address", domain) : EXIT_IO;
    if (r == 0 && str_chr(q->domain, '.') < 0) {
        admin_complain("quickstart: %s: the domain must be one that can be registered, like example.org", text);
        return EXIT_USAGE;
    }
    if (r == 0)
        q->accounts[q->n_accounts++] = arena_printf(&q->arena, "%.*s@%.*s", STR_ARG(a.local), STR_ARG(q->domain));
    return r;
}

static int read_addresses(struct quickstart_site *s, str list)
{
    s->n_addresses = 0;
    while (list.n) {
        const char *text = arena_dup(&s->q.arena, str_trim(str_cut(&list, ','))).p;
        if (!text || !quickstart_is_ip(text) || s->n_addresses == ARRAY_LEN(s->addresses)) {
            admin_complain(
                "quickstart: --address wants IPv4 or IPv6 addresses with commas between them, at most %d; not %s",
                QUICKSTART_ADDRESSES_MAX, text ? text : "?");
            return EXIT_USAGE;
        }
        s->addresses[s->n_addresses++] = text;
    }
    return 0;
}

static int read_host(struct quickstart_site *s, str name)
{
    if (!domain_valid(name, 2) || name.n > 253 || quickstart_is_ip(name.p)) {
        admin_complain("quickstart: \"%.*s\" is not the full name of a host, like mail.%.*s", STR_ARG(name),
                       STR_ARG(s->q.domain));
        return EXIT_USAGE;
    }
    s->q.host = arena_lower(&s->q.arena, name);
    return s->q.host.p ? 0 : EXIT_IO;
}

static bool has_v6(void)
{
    _cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
    return fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0;
}

static int read_listen(struct quickstart_site *s)
{
    if (s->q.listen && !quickstart_is_ip(s->q.listen)) {
        admin_complain("quickstart: --listen wants an IPv4 or IPv6 address, not %s", s->q.listen);
        return EXIT_USAGE;
    }
    s->listens[s->n_listens++] = s->q.listen ? s->q.listen : "0.0.0.0";
    if (!s->q.listen && has_v6())
        s->listens[s->n_listens++] = "::";
    return 0;
}

static int read_options(struct quickstart_site *s, int argc, char **argv, const char **host, const char **address)
{
    const char *base = "0";
    const struct admin_option options[] = {
        { "--dir", &s->q.place, NULL },      { "--hostname", host, NULL },        { "--address", address, NULL },
        { "--listen", &s->q.listen, NULL },  { "--base-port", &base, NULL },      { "--user", &s->q.user, NULL },
        { "--probe", &s->probe, NULL },      { "--yes", NULL, &s->yes },          { "--offline", NULL, &s->offline },
        { "--strict", NULL, &s->strict },
    };
    int r = admin_options("quickstart", &argc, argv, options, ARRAY_LEN(options));
    if (r)
        return r;
    if (argc != 1) {
        admin_complain("quickstart: takes one address, that of the first account; see posthouse help quickstart");
        return EXIT_USAGE;
    }
    if ((r = read_account(s, argv[0])) || (r = quickstart_read_base(&s->q, base)))
        return r;
    return read_listen(s);
}

static void join_addresses(const struct quickstart_site *s, struct buf *out)
{
    for (size_t i = 0; i < s->n_addresses; i++)
        buf_addf(out, "%s%s", i ? "," : "", s->addresses[i]);
}

/* Name and addresses: given, or found and asked. */
static int read_world(struct quickstart_site *s, const char *host, const char *address)
{
    _cleanup_buf_ struct buf found = BUF(2048);
    str name = host ? str_z(host) : quickstart_find_name(s);
    if (!name.n)
        name = arena_printf(&s->q.arena, "mail.%.*s", STR_ARG(s->q.domain));
    if (!host)
        name = ask(s, "Full name of this machine in the DNS", name);
    int r = read_host(s, name);
    if (r)
        return r;
    if (address)
        return read_addresses(s, str_z(address));
    quickstart_find_addresses(s);
    join_addresses(s, &found);
    str kept = arena_dup(&s->q.arena, ask(s, "Its public addresses, with commas between them", buf_str(&found)));
    return kept.p ? read_addresses(s, kept) : EXIT_IO;
}

/* Writing */

static int make_keys(struct quickstart_site *s)
{
    static const struct { enum dkim_algorithm algorithm; char letter; } kinds[QUICKSTART_KEYS] = {
        { DKIM_RSA_SHA256, 'r' }, { DKIM_ED25519_SHA256, 'e' },
    };
    time_t now = (time_t)(env_system.wall_us() / 1000000);
    struct tm tm;
    gmtime_r(&now, &tm);
    for (size_t i = 0; i < QUICKSTART_KEYS; i++) {
        s->keys[i].selector =
            arena_printf(&s->q.arena, "%c%04d%02d", kinds[i].letter, tm.tm_year + 1900, tm.tm_mon + 1);
        if (!s->keys[i].selector.p || dkim_key_make(kinds[i].algorithm, &s->keys[i].key) < 0) {
            admin_complain("quickstart: OpenSSL cannot make a DKIM key");
            return EXIT_IO;
        }
    }
    return 0;
}

static int write_keys(struct quickstart_site *s)
{
    int r = quickstart_folder(&s->q, "dkim", QUICKSTART_CALLER, 0700);
    for (size_t i = 0; r == 0 && i < QUICKSTART_KEYS; i++) {
        struct buf pem = BUF(DKIM_KEY_FILE_MAX);
        str name = arena_printf(&s->q.arena, "dkim/%.*s.pem", STR_ARG(s->keys[i].selector));
        if (!name.p || dkim_key_write(s->keys[i].key, &pem) < 0)
            r = EXIT_IO;
        else
            r = quickstart_file(&s->q, name.p, &pem, QUICKSTART_CALLER, 0600);
        if (pem.p)
            explicit_bzero(pem.p, pem.cap);
        buf_done(&pem);
    }
    return r;
}

static void configuration_text(const struct quickstart_site *s, struct buf *b)
{
    const struct quickstart *q = &s->q;
    buf_addf(b, "# Posthouse for %s, made by `posthouse quickstart`.\n", q->domain.p);
    quickstart_common_settings(q, b);
    buf_add(b,
            S("# Mail of accounts is signed with these keys (posthouse dkim record -c FILE shows the DNS records).\n"));
    for (size_t i = 0; i < QUICKSTART_KEYS; i++)
        buf_addf(b, "dkim %s %s dkim/%s.pem\n", q->domain.p, s->keys[i].selector.p, s->keys[i].selector.p);
    buf_addc(b, '\n');
    if (geteuid() == 0 && getgrnam(DROP_GROUP))
        buf_add(b, S("# What users and programs of this machine give to the sendmail command (docs/sendmail.md).\n"
                     "drop_directory /var/lib/posthouse/drop\n\n"));
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        for (size_t k = 0; k < s->n_listens; k++) {
            bool v6 = str_chr(str_z(s->listens[k]), ':') >= 0;
            buf_addf(b, "listen %s %s%s%s:%u # %s\n", services[i].name, v6 ? "[" : "", s->listens[k], v6 ? "]" : "",
                     q->base + services[i].port, services[i].use);
        }
}

/* RFC 2142: where the world writes to. */
static void aliases_text(const struct quickstart *q, struct buf *b)
{
    static const char *const names[] = { "postmaster", "abuse" };
    buf_add(b, S("# alias: target, target\n# A change counts after `posthouse reload`.\n"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_buf_ struct buf address = BUF(512);
        buf_addf(&address, "%s@%s", names[i], q->domain.p);
        if (!str_ieq(buf_str(&address), q->accounts[0]))
            buf_addf(b, "%.*s: %s\n", STR_ARG(buf_str(&address)), q->accounts[0].p);
    }
}

static int write_site(struct quickstart *q)
{
    struct quickstart_site *s = site_of(q);
    _cleanup_buf_ struct buf conf = BUF(QUICKSTART_TEXT_MAX), aliases = BUF(65536), zone = BUF(QUICKSTART_TEXT_MAX);
    int r = make_keys(s);
    if (r || (r = quickstart_user(q)) || (r = quickstart_tls(q, s->addresses, s->n_addresses)) ||
        (r = quickstart_accounts(q)) || (r = write_keys(s)))
        return r;
    configuration_text(s, &conf);
    aliases_text(q, &aliases);
    if (quickstart_zone(s, &zone) < 0)
        return EXIT_IO;
    if ((r = quickstart_file(q, "posthouse.conf", &conf, QUICKSTART_CALLER, 0644)) ||
        (r = quickstart_file(q, "aliases", &aliases, QUICKSTART_CALLER, 0644)) ||
        (r = quickstart_file(q, "dns-zone.txt", &zone, QUICKSTART_CALLER, 0644)))
        return r;
    return quickstart_folder(q, "data", QUICKSTART_ROLES, 0700);
}

/* Saying it */

/* "10.2.0.192.in-addr.arpa.", or nibbles. */
static void reverse_name(struct buf *out, const char *address)
{
    uint8_t raw[16];
    if (inet_pton(AF_INET, address, raw) == 1) {
        buf_addf(out, "%u.%u.%u.%u.in-addr.arpa.", raw[3], raw[2], raw[1], raw[0]);
        return;
    }
    inet_pton(AF_INET6, address, raw);
    for (int i = 15; i >= 0; i--)
        buf_addf(out, "%x.%x.", raw[i] & 15u, raw[i] >> 4);
    buf_add(out, S("ip6.arpa."));
}

static void zone_addresses(const struct quickstart_site *s, struct buf *out)
{
    const char *host = s->q.host.p;
    str host_s = s->q.host, domain = s->q.domain;
    bool below = host_s.n > domain.n && host_s.p[host_s.n - domain.n - 1] == '.' && str_ends(host_s, domain);
    buf_addf(out, "; The addresses of this machine%s\n",
             below || str_eq(host_s, domain) ? "." : " (they belong into the zone of its own domain).");
    for (size_t i = 0; i < s->n_addresses; i++)
        buf_addf(out, "%s. IN %s %s\n", host, str_chr(str_z(s->addresses[i]), ':') >= 0 ? "AAAA" : "A",
                 s->addresses[i]);
    if (!s->n_addresses)
        buf_addf(out, "; %s. IN A     (the public address of this machine: it was not known)\n", host);
    buf_add(out, S("\n; The way back: to be set by whoever gave you the addresses (often in the panel of the server), "
                   "not in your zone.\n"));
    for (size_t i = 0; i < s->n_addresses; i++) {
        buf_add(out, S("; "));
        reverse_name(out, s->addresses[i]);
        buf_addf(out, " IN PTR %s.\n", host);
    }
}

int quickstart_zone(const struct quickstart_site *s, struct buf *out)
{
    const char *domain = s->q.domain.p, *host = s->q.host.p;
    int r = 0;
    buf_addf(
        out,
        "; What to publish in the DNS for %s, made by `posthouse quickstart`. Lines after a semicolon are comments.\n\n"
        "$TTL 3600\n\n",
        domain);
    zone_addresses(s, out);
    buf_addf(out, "\n; Mail for the domain comes to this machine.\n%s. IN MX 10 %s.\n\n", domain, host);
    buf_addf(out,
             "; Who may send for the domain (SPF): the machines of its MX records. When all your mail goes through "
             "here, write -all.\n"
             "%s. IN TXT \"v=spf1 mx ~all\"\n",
             domain);
    if (!str_eq(s->q.host, s->q.domain))
        buf_addf(out, "%s. IN TXT \"v=spf1 a -all\"\n", host);
    buf_add(out, S("\n; The public halves of the keys that sign your mail (DKIM).\n"));
    for (size_t i = 0; r == 0 && i < QUICKSTART_KEYS; i++)
        r = dkim_zone_line(out, s->q.domain, s->keys[i].selector, s->keys[i].key);
    buf_addf(out,
             "\n; What others shall do with mail in your name that neither SPF nor DKIM vouches for (DMARC): nothing "
             "yet, but report.\n"
             "; After some weeks of good reports, write p=quarantine, then p=reject.\n"
             "_dmarc.%s. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@%s\"\n\n",
             domain, domain);
    buf_add(out, S("; TLSA (DANE): not yet. It needs a signed zone and a certificate that stays.\n"));
    return r < 0 ? r : out->failed;
}

static void say_what_is_there(const struct quickstart_site *s)
{
    _cleanup_buf_ struct buf dir = BUF(65536), zone = BUF(QUICKSTART_TEXT_MAX);
    print_safe(&dir, s->q.target);
    quickstart_zone(s, &zone);
    const char *d = dir.p;
    int n = (int)dir.n;
    printf("\n%.*s\n", STR_ARG(buf_str(&zone)));
    printf("Posthouse for %s is in %.*s. The records above are in %.*s/dns-zone.txt too.\n\n", s->q.domain.p, n, d, n,
           d);
    printf("1. Publish the records.\n"
           "2. Start it:       posthouse serve -c %.*s/posthouse.conf\n"
           "3. Look at it:     posthouse status -c %.*s/posthouse.conf\n"
           "4. Your password:  %.*s/accounts.txt (account %s); another: posthouse account passwd %s -c "
           "%.*s/posthouse.conf\n\n",
           n, d, n, d, n, d, s->q.accounts[0].p, s->q.accounts[0].p, n, d);
    printf(
        "TLS begins with a certificate of its own authority (%.*s/tls/ca.pem): other servers accept it, mail programs "
        "ask.\n"
        "For a real one, get a certificate for %s (Let's Encrypt, for example) and let tls_certificate and tls_key in\n"
        "posthouse.conf name its files, then `posthouse reload`; renewed files are taken up by themselves.\n",
        n, d, s->q.host.p);
    if (s->q.root)
        printf("It runs as the system user %s%s.\n", quickstart_role_user(&s->q),
               s->q.user_made ? ", which was made just now" : "");
}

/* 0: go on. */
static int confirm(struct quickstart_site *s)
{
    if (s->warnings && s->strict) {
        admin_complain("quickstart: %u of these checks failed, and --strict was given. Nothing was made", s->warnings);
        return 1;
    }
    if (s->yes)
        return 0;
    bool usual = s->warnings == 0;
    printf("\nMake %s in %s? [%s]: ", s->q.domain.p, s->q.target.p, usual ? "Y/n" : "y/N");
    str got = read_answer(s);
    bool go = got.n ? str_istarts(got, S("y")) : usual && got.p;
    if (go)
        return 0;
    if (!got.p)
        putchar('\n');
    admin_complain("quickstart: nothing was made%s",
                   s->warnings ? "; mend what is marked with WARN, or say y (--yes) to go on all the same" : "");
    return 1;
}

int quickstart_domain(int argc, char **argv)
{
    _cleanup_(site_done) struct quickstart_site s = {
        .q = { .place = PLACE, .option = "--dir", .arena = ARENA(QUICKSTART_TEXT_MAX), .dir = -1 }, .probe = PROBE,
    };
    const char *host = NULL, *address = NULL;
    int r = read_options(&s, argc, argv, &host, &address);
    if (r || (r = read_world(&s, host, address)) || (r = quickstart_look(&s.q)))
        return r;
    quickstart_check(&s);
    if ((r = confirm(&s)))
        return r;
    r = quickstart_make(&s.q, write_site);
    if (r == 0)
        say_what_is_there(&s);
    return r;
}
