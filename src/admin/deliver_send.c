/* Delivery by SMTP and LMTP from the command line: see deliver_send.h. */
#include "admin/deliver_send.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "io/connect.h"
#include "io/tls.h"
#include "session/smtp_send.h"

enum { PORT_SMTP = 25, PORT_LMTP = 24, ADDRESSES_MAX = 16 };

struct sending {
    struct smtp_send send;
    struct loop *loop;
    struct smtp_send_message message;
    struct mda_result *results;
    size_t n;
    bool was_up, try_clear;
};

/* A reply in one line, behind what it answers. */
static void set(struct mda_result *r, enum mda_outcome outcome, const struct smtp_client_reply *reply)
{
    char text[sizeof(r->text)];
    char status[sizeof(r->status)];
    snprintf(text, sizeof(text), "%.*s", STR_ARG(reply->text));
    for (char *p = text; *p; p++)
        *p = *p == '\n' ? ' ' : *p;
    snprintf(status, sizeof(status), "%.*s", STR_ARG(reply->status));
    uint16_t code = reply->code ? reply->code : outcome == MDA_DELIVERED ? 250 : outcome == MDA_FAILED ? 550 : 451;
    str stage = reply->code ? smtp_client_stage_text(reply->stage) : STR_NONE;
    mda_result_set(r, outcome, code, status[0] ? status : outcome == MDA_FAILED ? "5.0.0" : "4.0.0", "%s%.*s%s%s",
                   stage.n ? "in reply to " : "", STR_ARG(stage), stage.n ? ": " : "", text);
}

static void on_up(struct smtp_send *x)
{
    struct sending *s = CONTAINER_OF(x, struct sending, send);
    s->was_up = true;
    if (smtp_send_message(x, &s->message) < 0)
        smtp_send_quit(x);
}

static void on_result(struct smtp_send *x, const struct smtp_client_result *r)
{
    struct sending *s = CONTAINER_OF(x, struct sending, send);
    static const enum mda_outcome outcomes[] = { MDA_DELIVERED, MDA_DELIVERED, MDA_DEFERRED, MDA_FAILED };
    if (r->index < s->n) {
        set(&s->results[r->index], outcomes[r->outcome], &r->reply);
        s->results[r->index].bytes = s->message.length;
    }
}

static void on_done(struct smtp_send *x)
{
    smtp_send_quit(x);
}

static void on_down(struct smtp_send *x, const struct smtp_send_end *end)
{
    struct sending *s = CONTAINER_OF(x, struct sending, send);
    s->try_clear = end->try_clear;
    for (size_t i = 0; !s->was_up && i < s->n; i++)
        set(&s->results[i], end->reply.code >= 500 ? MDA_FAILED : MDA_DEFERRED, &end->reply);
    loop_stop(s->loop);
}

static const struct smtp_send_events events = { on_up, on_result, on_done, on_down };

/* To one address. True: a session came about, and the results are final. */
static bool send_to(struct sending *s, struct smtp_send_config *config, struct smtp_send_target target)
{
    const char *why;
    for (;;) {
        s->try_clear = false;
        if (loop_new(&env_system, &s->loop) < 0)
            return false;
        if (target.tls != SMTP_SEND_TLS_NONE && !config->tls)
            tls_client_context(STR_NONE, &why, &config->tls);
        if (smtp_send_open(&s->send, s->loop, config, &target, &events) == 0)
            loop_run(s->loop);
        smtp_send_close(&s->send);
        loop_free(s->loop);
        if (s->was_up || !s->try_clear || target.tls == SMTP_SEND_TLS_NONE)
            return s->was_up;
        target.tls = SMTP_SEND_TLS_NONE;
    }
}

static void all(struct mda_result *results, size_t n, const char *status, const char *text, str what)
{
    for (size_t i = 0; i < n; i++)
        mda_result_set(&results[i], MDA_DEFERRED, 451, status, "%.*s: %s", STR_ARG(what), text);
}

static void by_name(struct sending *s, struct smtp_send_config *config, struct smtp_send_target target)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    _cleanup_free_ char *name = str_dupz(target.host);
    int e = name ? getaddrinfo(name, NULL, &hints, &list) : EAI_MEMORY;
    if (e) {
        all(s->results, s->n, "4.4.3", gai_strerror(e), target.host);
        return;
    }
    int tried = 0;
    for (const struct addrinfo *a = list; a && tried < ADDRESSES_MAX; a = a->ai_next, tried++) {
        char text[INET6_ADDRSTRLEN];
        const void *at = a->ai_family == AF_INET    ? (const void *)&((const struct sockaddr_in *)a->ai_addr)->sin_addr
                         : a->ai_family == AF_INET6 ? &((const struct sockaddr_in6 *)a->ai_addr)->sin6_addr
                                                    : NULL;
        if (!at || !inet_ntop(a->ai_family, at, text, sizeof(text)))
            continue;
        target.address = str_z(text);
        if (send_to(s, config, target))
            break;
    }
    freeaddrinfo(list);
}

void deliver_send(const struct mda_message *m, const struct mechanism *to, str host_name, const str *recipients,
                  size_t n, struct mda_result *results)
{
    union connect_address numeric;
    struct smtp_send_config config = { .hostname = host_name };
    bool lmtp = to->kind == MECHANISM_LMTP;
    struct smtp_send_target target = { .port = to->port ? to->port : lmtp ? PORT_LMTP : PORT_SMTP, .host = to->host,
                                       .lmtp = lmtp, .tls = SMTP_SEND_TLS_OPPORTUNISTIC };
    str what = to->host.n ? to->host : to->path;
    _cleanup_free_ struct smtp_client_rcpt *rcpts = calloc(n, sizeof(*rcpts));
    _cleanup_free_ struct sending *s = calloc(1, sizeof(*s));
    all(results, n, "4.4.1", "no connection came about", what);
    if (!rcpts || !s) {
        all(results, n, "4.3.0", strerror(ENOMEM), what);
        return;
    }
    for (size_t i = 0; i < n; i++)
        rcpts[i].address = recipients[i];
    s->results = results;
    s->n = n;
    s->message = (struct smtp_send_message){
        .sender = m->sender, .envid = m->envid, .prefix = m->prefix, .fd = m->fd, .offset = m->offset,
        .length = m->length, .rcpts = rcpts, .n = (uint32_t)n,
    };
    if (!to->host.n) {
        target.address = to->path;
        target.tls = SMTP_SEND_TLS_NONE;
        send_to(s, &config, target);
    } else if (connect_address_parse(to->host, 1, &numeric) == 0) {
        target.address = to->host;
        send_to(s, &config, target);
    } else {
        by_name(s, &config, target);
    }
    SSL_CTX_free(config.tls);
}

bool deliver_socket_answers(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    str p = str_z(path);
    if (p.n >= sizeof(a.sun_path))
        return false;
    memcpy(a.sun_path, p.p, p.n);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0;
}
