/* Role dns with a DNS server that the test plays: answers, what no answer means, a resolver that dies, a reload. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "io/dns_role.h"
#include "io/role_play.h"
#include "base/dns_rdata.h"

enum { NOERROR = 0, SERVFAIL = 2, NXDOMAIN = 3 };

struct fake { pid_t pid; uint16_t port; int fd; char mark; };

static void put16(struct buf *b, unsigned v)
{
    buf_addc(b, (char)(v >> 8));
    buf_addc(b, (char)v);
}

/* A record of the name asked for. */
static void add_record(struct buf *b, unsigned type, str rdata)
{
    put16(b, 0xc00c);
    put16(b, type);
    put16(b, 1);
    buf_add(b, S("\0\0\0\x3c"));
    put16(b, (unsigned)rdata.n);
    buf_add(b, rdata);
}

/* What the server says of the first label: its records, or a return code. */
static int reply_of(const struct fake *f, str label, unsigned type, struct buf *b, unsigned *n)
{
    char a[4] = { 127, 0, 0, f->mark };
    if (str_eq(label, S("no")))
        return NXDOMAIN;
    if (str_eq(label, S("fail")))
        return SERVFAIL;
    if (str_eq(label, S("many"))) {
        for (*n = 0; *n < 200 && type == DNS_TYPE_MX; (*n)++) {
            char rdata[8] = { 0, (char)(199 - *n), 2, 'm', (char)('a' + *n % 26), 0 };
            add_record(b, type, str_of(rdata, 6));
        }
        return NOERROR;
    }
    if (str_eq(label, S("bad"))) {
        add_record(b, type, S("\0\x05\x03" "a b\0"));
        *n = 1;
    } else if (type == DNS_TYPE_A) {
        add_record(b, type, str_of(a, 4));
        *n = 1;
    } else if (type == DNS_TYPE_TXT) {
        add_record(b, type, S("\x03one\x04 two"));
        *n = 1;
    }
    return NOERROR;
}

static void serve_one(const struct fake *f)
{
    char in[2048];
    struct sockaddr_storage from;
    socklen_t from_n = sizeof(from);
    ssize_t n = recvfrom(f->fd, in, sizeof(in), 0, (struct sockaddr *)&from, &from_n);
    if (n < 17)
        return;
    size_t end = 12;
    while (in[end])
        end += (uint8_t)in[end] + 1u;
    end += 5;
    str label = str_of(in + 13, (uint8_t)in[12]);
    if (str_eq(label, S("silent")))
        return;
    _cleanup_buf_ struct buf b = BUF(65536), records = BUF(65536);
    unsigned count = 0;
    int rcode = reply_of(f, label, (uint8_t)in[end - 3], &records, &count);
    buf_add(&b, str_of(in, 2));
    put16(&b, 0x8180u | (unsigned)rcode);
    put16(&b, 1);
    put16(&b, count);
    put16(&b, 0);
    put16(&b, 0);
    buf_add(&b, str_of(in + 12, end - 12));
    buf_add(&b, buf_str(&records));
    sendto(f->fd, b.p, b.n, 0, (struct sockaddr *)&from, from_n);
}

/* mark: last byte of every A record it hands out. */
static void fake_start(struct fake *f, char mark)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    *f = (struct fake){ .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .mark = mark };
    assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &n), 0);
    f->port = ntohs(a.sin_port);
    fflush(NULL);
    f->pid = fork();
    assert_true(f->pid >= 0);
    while (f->pid == 0)
        serve_one(f);
}

static void fake_stop(struct fake *f)
{
    if (f->pid > 0) {
        kill(f->pid, SIGKILL);
        waitpid(f->pid, NULL, 0);
    }
    if (f->fd >= 0)
        close(f->fd);
    *f = (struct fake){ .fd = -1 };
}
#define _cleanup_fake_ _cleanup_(fake_stop)

static void begin(struct role_play *p, const struct fake *f, const char *settings)
{
    play_init(p);
    buf_addf(&p->settings, "resolver 127.0.0.1:%u\n%s", f->port, settings);
    play_fork(p, dns_role_run);
    play_begin(p, NULL);
    play_peer(p, ROLE_SMTP_OUT);
    play_start(p);
}

static void ask(struct role_play *p, uint64_t request, const char *name, enum dns_type type)
{
    struct buf b = BUF(1024);
    pack_u64(&b, request);
    pack_str(&b, str_z(name));
    pack_u16(&b, (uint16_t)type);
    play_send(p->peer[ROLE_SMTP_OUT], IPC_DNS_ASK, &b, -1);
}

static struct dns_record records[DNS_RECORDS_MAX];

/* The next answer; returns the request it is for. */
static uint64_t answer(struct role_play *p, enum dns_type type, struct dns_answer *out)
{
    play_expect(p, p->peer[ROLE_SMTP_OUT], IPC_DNS_ANSWER);
    uint64_t request = unpack_u64(&p->in);
    assert_int_equal(dns_answer_unpack(&p->in, type, records, out), 0);
    return request;
}

static struct dns_answer resolve(struct role_play *p, const char *name, enum dns_type type)
{
    static uint64_t request = 1000;
    struct dns_answer a;
    ask(p, ++request, name, type);
    assert_int_equal(answer(p, type, &a), request);
    return a;
}

static void says_what_the_server_says(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    fake_start(&f, 9);
    begin(&p, &f, "");
    struct dns_answer a = resolve(&p, "host.example.test", DNS_TYPE_A);
    assert_int_equal(a.state, DNS_OK);
    assert_int_equal(a.n, 1);
    assert_memory_equal(a.records[0].data.p, "\x7f\0\0\x09", 4);
    assert_true(a.ttl > 0 && a.ttl <= 60);
    assert_true(str_eq(a.canonical, S("host.example.test")));
    assert_false(a.secure);
    a = resolve(&p, "host.example.test", DNS_TYPE_TXT);
    assert_true(a.n == 1 && str_eq(a.records[0].data, S("one two")));
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_AAAA).state, DNS_NODATA);
    assert_int_equal(resolve(&p, "no.example.test", DNS_TYPE_A).state, DNS_NXDOMAIN);
    a = resolve(&p, "fail.example.test", DNS_TYPE_A);
    assert_int_equal(a.state, DNS_TEMPORARY);
    assert_true(a.why.n > 0);
    assert_int_equal(play_status(&p, "answers_nxdomain"), 1);
    play_stop(&p);
}

static void takes_the_best_of_many(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    fake_start(&f, 9);
    begin(&p, &f, "");
    struct dns_answer a = resolve(&p, "many.example.test", DNS_TYPE_MX);
    assert_int_equal(a.state, DNS_OK);
    assert_int_equal(a.n, DNS_RECORDS_MAX);
    for (size_t i = 0; i < a.n; i++)
        assert_int_equal(a.records[i].number, i);
    assert_true(a.why.n > 0);
    a = resolve(&p, "bad.example.test", DNS_TYPE_MX);
    assert_int_equal(a.state, DNS_OK);
    assert_int_equal(a.n, 0);
    assert_true(a.why.n > 0);
    play_stop(&p);
}

static void silence_is_temporary(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    fake_start(&f, 9);
    begin(&p, &f, "dns_timeout 300ms\n");
    uint64_t before = env_system.mono_ms();
    assert_int_equal(resolve(&p, "silent.example.test", DNS_TYPE_A).state, DNS_TEMPORARY);
    uint64_t took = env_system.mono_ms() - before;
    assert_in_range(took, 290, 5000);
    assert_int_equal(play_status(&p, "timeouts"), 1);
    assert_int_equal(play_status(&p, "open_questions"), 0);
    assert_int_equal(play_status(&p, "late_questions"), 1);
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_A).state, DNS_OK);
    play_stop(&p);
}

static void has_a_ceiling(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    struct dns_answer a;
    fake_start(&f, 9);
    begin(&p, &f, "dns_timeout 20s\n");
    for (unsigned i = 0; i < 2000; i++) {
        char name[64];
        snprintf(name, sizeof(name), "silent.n%u.test", i);
        ask(&p, i, name, DNS_TYPE_A);
    }
    ask(&p, 2000, "host.example.test", DNS_TYPE_A);
    assert_int_equal(answer(&p, DNS_TYPE_A, &a), 2000);
    assert_int_equal(a.state, DNS_TEMPORARY);
    assert_int_equal(play_status(&p, "refused"), 1);
    assert_int_equal(play_status(&p, "open_questions"), 2000);
    play_peer(&p, ROLE_SMTP_OUT);
    ask(&p, 7, "host.example.test", DNS_TYPE_A);
    assert_int_equal(answer(&p, DNS_TYPE_A, &a), 7);
    assert_int_equal(a.state, DNS_OK);
    play_stop(&p);
}

/* The other server is asked from then on; a question that was open goes to it too. */
static void reload_changes_the_resolver(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake first, second;
    struct dns_answer a;
    fake_start(&first, 1);
    fake_start(&second, 2);
    begin(&p, &first, "");
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_A).records[0].data.p[3], 1);
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    kill(first.pid, SIGKILL);
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_A).records[0].data.p[3], 1);
    ask(&p, 5, "other.example.test", DNS_TYPE_A);
    buf_clear(&p.settings);
    buf_addf(&p.settings, "hostname mx.example.org\naliases aliases\nresolver 127.0.0.1:%u\n"
             "domain example.org { postmaster anna@example.org }\n", second.port);
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    assert_int_equal(answer(&p, DNS_TYPE_A, &a), 5);
    assert_int_equal(a.records[0].data.p[3], 2);
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_A).records[0].data.p[3], 2);
    play_stop(&p);
}

static bool says_resolver(struct role_play *p, str want)
{
    struct buf b = BUF(16);
    _cleanup_buf_ struct buf value = BUF(256);
    pack_u64(&b, 1);
    play_send(p->master, IPC_STATUS, &b, -1);
    play_expect(p, p->master, IPC_STATUS_REPLY);
    unpack_u64(&p->in);
    assert_true(event_get(unpack_str(&p->in), "resolver", &value));
    return str_eq(buf_str(&value), want);
}

static void resolv_conf_names_the_resolver(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    fake_start(&f, 9);
    play_init(&p);
    play_fork(&p, dns_role_run);
    play_file(&p, "resolv_conf", S("# none\nsearch example.org\nnameserver 127.0.0.77\nnameserver nonsense\n"));
    play_begin(&p, NULL);
    play_start(&p);
    assert_true(says_resolver(&p, S("127.0.0.77@53")));
    play_stop(&p);
}

#define ROOT_ANCHOR ". IN DS 1 13 2 1111111111111111111111111111111111111111111111111111111111111111\n"

/* The played server has no signatures. Named in the configuration it is trusted to be what is wanted, and what it says
 * is bogus; found in resolv.conf it is not asked any more. */
static void without_signatures(void **state)
{
    (void)state;
    for (int chosen = 0; chosen < 2; chosen++) {
        _cleanup_play_ struct role_play p;
        _cleanup_fake_ struct fake f;
        char text[64];
        fake_start(&f, 9);
        snprintf(text, sizeof(text), chosen ? "resolver 127.0.0.1:%u\n" : "nameserver 127.0.0.1:%u\n", f.port);
        play_init(&p);
        if (chosen)
            buf_add(&p.settings, str_z(text));
        play_fork(&p, dns_role_run);
        play_file(&p, "trust_anchor", S(ROOT_ANCHOR));
        if (!chosen)
            play_file(&p, "resolv_conf", str_z(text));
        play_begin(&p, NULL);
        play_peer(&p, ROLE_SMTP_OUT);
        play_start(&p);
        struct dns_answer a = resolve(&p, "host.example.test", DNS_TYPE_A);
        assert_int_equal(a.state, DNS_BOGUS);
        assert_int_equal(a.n, 0);
        bool root = false;
        for (int i = 0; i < (chosen ? 20 : 500) && !root; i++) {
            usleep(10000);
            root = says_resolver(&p, S("the root of the DNS"));
        }
        assert_int_equal(root, !chosen);
        assert_int_equal(play_status(&p, "answers_bogus"), 1);
        assert_int_equal(play_status(&p, "questions"), 1);
        play_stop(&p);
    }
}

/* At the start the role ends; at a reload what was before stays in force. */
static void a_bad_trust_anchor_is_refused(void **state)
{
    (void)state;
    static const str bad[] = { { "nonsense\n", 9 }, { "example.test. IN DS (\n", 22 }, { "", 0 } };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_play_ struct role_play p;
        play_init(&p);
        buf_add(&p.settings, S("trust_anchor keys\n"));
        play_fork(&p, dns_role_run);
        if (bad[i].n)
            play_file(&p, "trust_anchor", bad[i]);
        play_configure(&p);
        play_closed(&p, p.master);
        assert_int_not_equal(play_wait(&p), 128 + SIGSYS);
    }
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    fake_start(&f, 9);
    begin(&p, &f, "");
    play_file(&p, "trust_anchor", bad[0]);
    play_configure(&p);
    play_expect(&p, p.master, IPC_REFUSED);
    unpack_u64(&p.in);
    assert_true(str_starts(unpack_str(&p.in), S("libunbound does not take these servers or this trust anchor: ")));
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_A).state, DNS_OK);
    play_stop(&p);
}

static long try_unix(void) { return socket(AF_UNIX, SOCK_DGRAM, 0); }
static long try_netlink(void) { return socket(AF_NETLINK, SOCK_RAW, 0); }
static long try_pair(void) { int pair[2]; return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair); }
static long try_udp(void) { return socket(AF_INET6, SOCK_DGRAM, 0); }
static long try_tcp(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static long try_listen(void) { return listen(socket(AF_INET, SOCK_STREAM, 0), 1); }
static long try_passwd(void) { return open("/etc/passwd", O_RDONLY); }
static long try_exec(void) { return execve("/bin/true", (char *[]){ (char *)"true", NULL }, NULL); }

/* Sockets to other hosts, and nothing that other roles may not do either (sandbox_test.c). */
static void its_sandbox(void **state)
{
    (void)state;
    enum { GOES = 0, REFUSED = 1, KILLED = 128 + SIGSYS };
    static const struct { long (*try)(void); int want; } rows[] = {
        { try_udp, GOES },     { try_tcp, GOES },      { try_unix, REFUSED },   { try_netlink, REFUSED },
        { try_pair, REFUSED }, { try_listen, KILLED }, { try_passwd, REFUSED }, { try_exec, KILLED },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int status;
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct sandbox_want want = { .role = ROLE_DNS, .data_dir = -1, .trace_dir = -1 };
            struct sandbox out;
            signal(SIGSYS, SIG_DFL);
            _exit(sandbox_enter(&want, &out) < 0 ? 2 : rows[i].try() < 0 ? REFUSED : GOES);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        int got = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (got != rows[i].want)
            fail_msg("row %zu: %d, expected %d", i, got, rows[i].want);
    }
}

static void damaged_frames_drop_the_peer(void **state)
{
    (void)state;
    _cleanup_play_ struct role_play p;
    _cleanup_fake_ struct fake f;
    fake_start(&f, 9);
    begin(&p, &f, "");
    ask(&p, 1, "not a name", DNS_TYPE_A);
    play_closed(&p, p.peer[ROLE_SMTP_OUT]);
    play_peer(&p, ROLE_SMTP_OUT);
    ask(&p, 1, "host.example.test", (enum dns_type)255);
    play_closed(&p, p.peer[ROLE_SMTP_OUT]);
    play_peer(&p, ROLE_SMTP_OUT);
    assert_int_equal(resolve(&p, "host.example.test", DNS_TYPE_A).state, DNS_OK);
    play_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_the_server_says),
        cmocka_unit_test(takes_the_best_of_many),
        cmocka_unit_test(silence_is_temporary),
        cmocka_unit_test(has_a_ceiling),
        cmocka_unit_test(reload_changes_the_resolver),
        cmocka_unit_test(resolv_conf_names_the_resolver),
        cmocka_unit_test(without_signatures),
        cmocka_unit_test(a_bad_trust_anchor_is_refused),
        cmocka_unit_test(its_sandbox),
        cmocka_unit_test(damaged_frames_drop_the_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
