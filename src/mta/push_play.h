/* For tests of role smtp-out: the role in a child process; the test is its master, the store, role dns, and the mail
 * servers of the world, which listen on 127.0.0.2 and up at one port. Included after cmocka.h. */
#pragma once
#include "base/dns_rdata.h"
#include "io/role_play.h"
#include "io/tls.h"
#include "mta/push_role.h"

#define HOSTS 5
#define PUSH_PLAY_RESULTS 1000

struct zone_row { const char *name; enum dns_type type; uint16_t number; const char *data; }; /* A: dotted quad */

struct result_row { uint32_t index; uint8_t outcome; uint16_t code; str status, text; };

struct stage_result { /* texts good until the next frame */
    uint64_t job;
    bool site_failed, reused;
    str mta, tls;
    uint32_t n;
    struct result_row r[PUSH_PLAY_RESULTS];
};

struct stage {
    struct role_play p;
    uint16_t port;
    int host[HOSTS];              /* listening sockets of 127.0.0.2 … */
    const struct zone_row *zone;  /* ends with name NULL; NULL: role dns does not answer */
    unsigned asked;
    int content;
    struct buf cert, key;
    SSL_CTX *ctx;
    struct stage_result result;
};

struct job_spec {
    uint64_t id, message;
    const char *route, *destination, *redirect, *prefix, *sender, *via;
    uint8_t seed;                 /* chooses among equal addresses */
    uint8_t smtputf8, requiretls;
    uint32_t n;                   /* recipients u0@, u1@ …; 0: one */
    bool no_fd;
};

static inline int host_listen(uint8_t last, uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK + last - 1) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A port that is free on all of them. */
static inline void hosts_listen(struct stage *s)
{
    for (int tries = 0; tries < 50; tries++) {
        struct sockaddr_in a;
        socklen_t len = sizeof(a);
        int n = 1;
        s->host[0] = host_listen(2, 0);
        assert_int_equal(getsockname(s->host[0], (struct sockaddr *)&a, &len), 0);
        s->port = ntohs(a.sin_port);
        while (n < HOSTS && (s->host[n] = host_listen((uint8_t)(2 + n), s->port)) >= 0)
            n++;
        if (n == HOSTS)
            return;
        while (n-- > 0)
            close(s->host[n]);
    }
    fail_msg("no port is free on all hosts");
}

static inline void host_close(struct stage *s, int i)
{
    if (s->host[i] >= 0)
        close(TAKE_FD(s->host[i]));
}

/* The role is started and has said that it has no job. more: further configuration. */
static inline void stage_init(struct stage *s, const struct zone_row *zone, const char *more)
{
    const char *why = NULL;
    *s = (struct stage){ .zone = zone, .content = memfd_create("content", MFD_CLOEXEC) };
    assert_int_equal(write(s->content, "junkSubject: x\r\n\r\n.hello\r\njunk", 30), 30);
    hosts_listen(s);
    play_init(&s->p);
    tls_play_pair("mx.far.example", NULL, &s->cert, &s->key);
    assert_int_equal(tls_server_context(buf_str(&s->cert), buf_str(&s->key), &why, &s->ctx), 0);
    buf_addf(&s->p.settings, "smtp_tcp_port %u\nallow_private_destinations 127.0.0.0/8\n%s", s->port, more);
}

static inline void stage_run(struct stage *s)
{
    play_fork(&s->p, push_role_run);
    play_begin(&s->p, NULL);
}

static inline void stage_start(struct stage *s)
{
    play_peer(&s->p, ROLE_STORE);
    play_peer(&s->p, ROLE_DNS);
    play_start(&s->p);
    play_expect(&s->p, s->p.peer[ROLE_STORE], IPC_JOB_ATTACH);
    assert_int_equal(unpack_u8(&s->p.in), 1);
    assert_int_equal(unpack_u32(&s->p.in), 0);
    assert_true(unpack_end(&s->p.in));
}

static inline void stage_up(struct stage *s, const struct zone_row *zone, const char *more)
{
    stage_init(s, zone, more);
    stage_run(s);
    stage_start(s);
}

static inline void stage_done(struct stage *s)
{
    for (int i = 0; i < HOSTS; i++)
        host_close(s, i);
    if (s->content >= 0)
        close(s->content);
    SSL_CTX_free(s->ctx);
    buf_done(&s->cert);
    buf_done(&s->key);
    play_done(&s->p);
}
#define _cleanup_stage_ _cleanup_(stage_done)

static inline uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What the zone says of a name; nothing of another type: NODATA, of no type: NXDOMAIN, data "?": not now. */
static inline void zone_answer(const struct zone_row *zone, str name, enum dns_type type, struct buf *out)
{
    struct dns_record records[16];
    uint8_t addr[16][4];
    struct dns_answer a = { .state = DNS_NXDOMAIN, .ttl = 60, .canonical = name, .records = records };
    for (const struct zone_row *z = zone; z->name; z++) {
        if (!str_eq(name, str_z(z->name)))
            continue;
        if (a.state == DNS_NXDOMAIN)
            a.state = DNS_NODATA;
        if (z->type != type)
            continue;
        a.state = strcmp(z->data, "?") == 0 ? DNS_TEMPORARY : DNS_OK;
        records[a.n].number = z->number;
        records[a.n].data = str_z(z->data);
        if (type == DNS_TYPE_A && a.state == DNS_OK) {
            assert_int_equal(inet_pton(AF_INET, z->data, addr[a.n]), 1);
            records[a.n].data = str_of(addr[a.n], 4);
        }
        a.n += a.state == DNS_OK;
    }
    a.why = a.state == DNS_OK ? STR_NONE : S("so says the test");
    dns_answer_pack(out, &a);
}

static inline void dns_answer_one(struct stage *s)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    play_expect(&s->p, s->p.peer[ROLE_DNS], IPC_DNS_ASK);
    uint64_t request = unpack_u64(&s->p.in);
    str name = unpack_str(&s->p.in);
    enum dns_type type = (enum dns_type)unpack_u16(&s->p.in);
    assert_true(unpack_end(&s->p.in));
    s->asked++;
    if (!s->zone)
        return;
    pack_u64(&b, request);
    zone_answer(s->zone, name, type, &b);
    play_send(s->p.peer[ROLE_DNS], IPC_DNS_ANSWER, &b, -1);
}

/* Plays role dns until fd is readable; false: it was not within that time. */
static inline bool stage_wait(struct stage *s, int fd, int ms)
{
    uint64_t until = now_ms() + (uint64_t)ms;
    for (;;) {
        struct pollfd wait[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->p.peer[ROLE_DNS], .events = POLLIN } };
        uint64_t now = now_ms();
        int r = poll(wait, 2, now < until ? (int)(until - now) : 0);
        if (wait[0].revents)
            return true;
        if (r <= 0 || (wait[1].revents & (POLLHUP | POLLERR)))
            return false;
        dns_answer_one(s);
    }
}

/* Sends JOB. Recipients without a name of their own are u0@DOMAIN … */
static inline void job_send(struct stage *s, const struct job_spec *j)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    uint8_t session[16] = { j->seed, 1, 2, 3 };
    const char *domain = strrchr(j->destination, ' ');
    domain = domain ? domain + 1 : j->destination;
    uint32_t n = j->n ? j->n : 1;
    pack_u64(&b, j->id);
    pack_u64(&b, j->message ? j->message : j->id + 1000);
    pack_str(&b, str_of(session, 16));
    pack_u32(&b, 1);
    pack_u32(&b, 1);
    pack_str(&b, str_z(j->route ? j->route : "mx"));
    pack_str(&b, str_z(j->destination));
    pack_str(&b, str_z(j->redirect ? j->redirect : ""));
    pack_u64(&b, 4);
    pack_u64(&b, 22);
    pack_str(&b, str_z(j->prefix ? j->prefix : ""));
    pack_str(&b, str_z(j->sender ? j->sender : "me@example.org"));
    pack_str(&b, STR_NONE);
    pack_u8(&b, 0);
    pack_u8(&b, 0);
    pack_u8(&b, j->smtputf8);
    pack_u8(&b, j->requiretls);
    pack_str(&b, str_z(j->via ? j->via : ""));
    pack_str(&b, STR_NONE);
    pack_u64(&b, 0);
    for (int i = 0; i < 5; i++) /* the client */
        pack_str(&b, STR_NONE);
    pack_u32(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        char address[300];
        snprintf(address, sizeof(address), "u%u@%s", i, domain);
        pack_u32(&b, i + 7);
        pack_str(&b, str_z(address));
        pack_str(&b, STR_NONE);
        pack_u8(&b, 0);
        pack_str(&b, STR_NONE);
    }
    play_send(s->p.peer[ROLE_STORE], IPC_JOB, &b, j->no_fd ? -1 : s->content);
}

static inline void job_simple(struct stage *s, uint64_t id, const char *destination)
{
    job_send(s, &(struct job_spec){ .id = id, .destination = destination });
}

static inline void job_confirm(struct stage *s, uint64_t id)
{
    struct buf b = BUF(16);
    pack_u64(&b, id);
    play_send(s->p.peer[ROLE_STORE], IPC_JOB_DONE, &b, -1);
}

/* A counter of the role: what came over one link may be handled before what came over another. */
static inline void status_becomes(struct stage *s, const char *key, uint64_t value)
{
    uint64_t is = 0;
    for (int i = 0; i < PLAY_PATIENCE_MS / 5; i++, usleep(5000))
        if ((is = play_status(&s->p, key)) == value)
            return;
    fail_msg("%s is %llu", key, (unsigned long long)is);
}

/* The next frame to the store is this job's result. */
static inline struct stage_result *stage_result(struct stage *s, uint64_t id)
{
    struct stage_result *x = &s->result;
    struct unpack *in = &s->p.in;
    if (!stage_wait(s, s->p.peer[ROLE_STORE], PLAY_PATIENCE_MS))
        fail_msg("no result came for job %llu", (unsigned long long)id);
    play_expect(&s->p, s->p.peer[ROLE_STORE], IPC_JOB_RESULT);
    x->job = unpack_u64(in);
    x->site_failed = unpack_u8(in);
    x->mta = unpack_str(in);
    x->tls = unpack_str(in);
    for (int i = 0; i < 3; i++)
        assert_true(unpack_u32(in) < PLAY_PATIENCE_MS);
    x->reused = unpack_u8(in);
    x->n = unpack_u32(in);
    assert_true(x->n <= PUSH_PLAY_RESULTS);
    for (uint32_t i = 0; i < x->n; i++) {
        x->r[i].index = unpack_u32(in);
        x->r[i].outcome = unpack_u8(in);
        x->r[i].code = unpack_u16(in);
        x->r[i].status = unpack_str(in);
        x->r[i].text = unpack_str(in);
    }
    assert_true(unpack_end(in));
    assert_int_equal(x->job, id);
    return x;
}

/* Its one recipient: what became of it. */
static inline struct stage_result *job_became(struct stage *s, uint64_t id, int outcome, int code, const char *status)
{
    struct stage_result *x = stage_result(s, id);
    assert_int_equal(x->r[0].index, 7);
    if (x->r[0].outcome != outcome || x->r[0].code != code || !str_eq(x->r[0].status, str_z(status)))
        fail_msg("outcome %u, %u %.*s %.*s", x->r[0].outcome, x->r[0].code, STR_ARG(x->r[0].status),
                 STR_ARG(x->r[0].text));
    return x;
}

static inline void text_has(str text, const char *what)
{
    if (str_find(text, str_z(what)) < 0)
        fail_msg("\"%s\" is not in \"%.*s\"", what, STR_ARG(text));
}

static inline void text_is(str text, const char *what)
{
    if (!str_eq(text, str_z(what)))
        fail_msg("\"%s\" was expected, but it is \"%.*s\"", what, STR_ARG(text));
}

/* A mail server's side of a connection, blocking; play_client of role_play.h does the lines. */
static inline void peer_accept(struct stage *s, struct play_client *c, int host)
{
    struct timeval limit = { .tv_sec = PLAY_PATIENCE_MS / 1000 };
    if (!stage_wait(s, s->host[host], PLAY_PATIENCE_MS))
        fail_msg("nobody connects to 127.0.0.%d", 2 + host);
    *c = (struct play_client){ .fd = accept4(s->host[host], NULL, NULL, SOCK_CLOEXEC) };
    assert_true(c->fd >= 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static inline void peer_say(struct play_client *c, const char *text) { client_send(c, str_z(text)); }

/* Hears a line that begins so, and answers it. */
static inline void peer_talk(struct play_client *c, const char *hear, const char *say)
{
    str line = client_line(c);
    if (!line.p || !str_starts(line, str_z(hear)))
        fail_msg("\"%s\" was expected, but the role said \"%.*s\"", hear, STR_ARG(line));
    peer_say(c, say);
}

static inline void peer_hello(struct play_client *c, const char *answer)
{
    peer_say(c, "220 far.example\r\n");
    peer_talk(c, "EHLO mx.example.org", answer);
}

static inline void peer_tls(struct stage *s, struct play_client *c)
{
    c->ssl = SSL_new(s->ctx);
    SSL_set_fd(c->ssl, c->fd);
    assert_int_equal(SSL_accept(c->ssl), 1);
}

/* Takes one message of n recipients, up to and with its last dot; the content as the role sent it. */
static inline str peer_content(struct play_client *c, uint32_t n)
{
    static char content[65536];
    size_t at = 0;
    peer_talk(c, "MAIL FROM:<", "250 2.1.0 ok\r\n");
    for (uint32_t i = 0; i < n; i++)
        peer_talk(c, "RCPT TO:<u", "250 2.1.5 ok\r\n");
    peer_talk(c, "DATA", "354 go\r\n");
    for (;;) {
        str line = client_line(c);
        assert_true(line.p && at + line.n + 2 < sizeof(content));
        if (str_eq(line, S(".")))
            return str_of(content, at);
        memcpy(content + at, line.p, line.n);
        at += line.n;
        content[at++] = '\n';
    }
}

static inline void peer_take(struct play_client *c)
{
    peer_content(c, 1);
    peer_say(c, "250 2.0.0 queued\r\n");
}

static inline bool host_called(struct stage *s, int host, int ms) { return stage_wait(s, s->host[host], ms); }
