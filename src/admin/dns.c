/* `posthouse dns`: asks the running server what the DNS says, as its roles see it, and whether that is signed. */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/control.h"
#include "admin/data_dir.h"
#include "base/codec.h"
#include "base/dns_rdata.h"
#include "base/event.h"

enum { DNS_PATIENCE_MS = 7000, CONTROL_PATIENCE_S = 10 };

struct dns_command {
    struct arena arena;
    str name;                /* that was asked for */
    enum dns_type type;
    struct buf text;         /* the answer, packed */
    struct dns_record records[DNS_RECORDS_MAX];
    struct dns_answer answer;
};

static void command_done(struct dns_command *c)
{
    arena_done(&c->arena);
    buf_done(&c->text);
}

/* What was asked for: an address becomes its PTR name. 0 or an exit code after a complaint. */
static int read_question(int argc, char **argv, struct dns_command *c)
{
    char address[16];
    _cleanup_buf_ struct buf reverse = BUF(128);
    size_t n = inet_pton(AF_INET, argv[0], address) == 1 ? 4 : inet_pton(AF_INET6, argv[0], address) == 1 ? 16 : 0;
    c->type = n ? DNS_TYPE_PTR : DNS_TYPE_MX;
    if (argc > 1 && !dns_type_parse(str_z(argv[1]), &c->type)) {
        admin_complain("\"%s\" is not a type of record that mail needs; expected A, AAAA, MX, TXT, PTR, CNAME, NS or "
                       "TLSA", argv[1]);
        return EXIT_USAGE;
    }
    if (n && dns_reverse_name(str_of(address, n), &reverse) == 0)
        c->name = arena_dup(&c->arena, buf_str(&reverse));
    else if (dns_name_valid(str_z(argv[0])))
        c->name = str_z(argv[0]);
    else if (conf_domain_ascii(&c->arena, str_z(argv[0]), &c->name) < 0 || !dns_name_valid(c->name)) {
        admin_complain("\"%s\" cannot be a name in the DNS", argv[0]);
        return EXIT_DATA;
    }
    return 0;
}

static int ask_server(const struct admin_data *d, struct dns_command *c)
{
    _cleanup_buf_ struct buf question = BUF(1024);
    bool ok = false;
    pack_u32(&question, DNS_PATIENCE_MS);
    pack_str(&question, c->name);
    pack_u16(&question, (uint16_t)c->type);
    int r = control_ask_role(d->fd, ROLE_DNS, buf_str(&question), CONTROL_PATIENCE_S, &ok, &c->text);
    struct unpack u = UNPACK(buf_str(&c->text));
    if (r == 0 && ok && dns_answer_unpack(&u, c->type, c->records, &c->answer) == 0)
        return 0;
    bool absent = r == -ENOENT || r == -ECONNREFUSED;
    admin_complain(absent ? "no server runs on %s, and it is what asks the DNS; start it with posthouse serve"
                          : "the server of %s did not answer", d->path);
    return EXIT_UNAVAILABLE;
}

static void print_record(struct buf *out, enum dns_type type, const struct dns_record *r)
{
    char address[INET6_ADDRSTRLEN];
    const uint8_t *b = (const uint8_t *)r->data.p;
    switch (type) {
    case DNS_TYPE_A:
    case DNS_TYPE_AAAA:
        inet_ntop(type == DNS_TYPE_A ? AF_INET : AF_INET6, b, address, sizeof(address));
        buf_add(out, str_z(address));
        return;
    case DNS_TYPE_TLSA:
        buf_addf(out, "%u %u %u ", b[0], b[1], b[2]);
        hex_encode(out, str_from(r->data, 3));
        return;
    case DNS_TYPE_MX:
        buf_addf(out, "%u ", r->number);
        print_safe(out, r->data);
        return;
    default:
        print_safe(out, r->data);
    }
}

static void print_head(const struct dns_command *c, struct buf *out)
{
    const struct dns_answer *a = &c->answer;
    buf_addf(out, "%.*s %s: ", STR_ARG(c->name), dns_type_name(c->type));
    if (a->state == DNS_OK)
        buf_addf(out, "%zu record%s", a->n, a->n == 1 ? "" : "s");
    else
        buf_add(out, a->state == DNS_NODATA     ? S("the name exists, but has no such records")
                     : a->state == DNS_NXDOMAIN ? S("there is no such name")
                     : a->state == DNS_BOGUS    ? S("the answer fails DNSSEC validation and is not used")
                                                : S("nobody can say now; mail would wait"));
    if (a->state <= DNS_NXDOMAIN)
        buf_addf(out, ", %s; good for %u s", a->secure ? "signed and validated" : "not signed", a->ttl);
    buf_addc(out, '\n');
    if (a->state <= DNS_NXDOMAIN && a->canonical.n && !str_ieq(a->canonical, c->name))
        buf_addf(out, "  is an alias of %.*s\n", STR_ARG(a->canonical));
    if (a->why.n) {
        buf_add(out, S("  "));
        print_safe(out, a->why);
        buf_addc(out, '\n');
    }
}

static void print_text(const struct dns_command *c)
{
    _cleanup_buf_ struct buf out = BUF(1 << 20);
    print_head(c, &out);
    for (size_t i = 0; i < c->answer.n; i++) {
        buf_add(&out, S("  "));
        print_record(&out, c->type, &c->answer.records[i]);
        buf_addc(&out, '\n');
    }
    fwrite(out.p, 1, out.n, stdout);
}

static json_t *record_object(enum dns_type type, const struct dns_record *r)
{
    static const struct { enum dns_type type; const char *key; } keys[] = {
        { DNS_TYPE_A, "address" }, { DNS_TYPE_AAAA, "address" }, { DNS_TYPE_TXT, "text" }, { DNS_TYPE_TLSA, "tlsa" },
    };
    _cleanup_buf_ struct buf text = BUF(1 << 20);
    struct dns_record shown = *r;
    const char *key = "host";
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        key = keys[i].type == type ? keys[i].key : key;
    if (type == DNS_TYPE_MX) {
        json_object_set_new(o, "preference", json_integer(r->number));
        print_safe(&text, shown.data);
    } else {
        print_record(&text, type, &shown);
    }
    json_object_set_new(o, key, json_stringn(text.p ? text.p : "", text.n));
    return o;
}

static void print_json(const struct dns_command *c)
{
    const struct dns_answer *a = &c->answer;
    _cleanup_buf_ struct buf why = BUF(1 << 20);
    json_t *records = json_array();
    print_safe(&why, a->why);
    for (size_t i = 0; i < a->n; i++)
        json_array_append_new(records, record_object(c->type, &a->records[i]));
    json_t *all = json_pack("{s:s%, s:s, s:s%, s:b, s:i, s:s%, s:s%, s:o}", "name", c->name.p, c->name.n, "type",
                            dns_type_name(c->type), "state", dns_state_word(a->state).p, dns_state_word(a->state).n,
                            "secure", (int)a->secure, "ttl", (int)a->ttl, "canonical",
                            a->canonical.p ? a->canonical.p : "", a->canonical.n, "why", why.p ? why.p : "", why.n,
                            "records", records);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(all);
}

int cmd_dns(int argc, char **argv)
{
    static const int exit_code[] = { [DNS_OK] = 0, [DNS_NODATA] = 1, [DNS_NXDOMAIN] = 1,
                                     [DNS_TEMPORARY] = EXIT_TEMPFAIL, [DNS_BOGUS] = EXIT_TEMPFAIL };
    const char *config = NULL;
    bool json = false;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--json", NULL, &json } };
    _cleanup_(command_done) struct dns_command c = { .arena = ARENA(1 << 20), .text = BUF(CONTROL_ANSWER_MAX) };
    _cleanup_admin_data_ struct admin_data d = { .fd = -1 };
    int e = admin_options("dns", &argc, argv, options, ARRAY_LEN(options));
    if (e)
        return e;
    if (argc < 1 || argc > 2) {
        admin_complain("dns takes a name or address, and a type of record; see posthouse help dns");
        return EXIT_USAGE;
    }
    e = read_question(argc, argv, &c);
    if (!e)
        e = admin_data_dir_of_server("dns", admin_config_path(config), &d);
    if (!e)
        e = ask_server(&d, &c);
    if (e)
        return e;
    if (json)
        print_json(&c);
    else
        print_text(&c);
    return exit_code[c.answer.state];
}
