/* `posthouse metrics`: the counters of all roles in the OpenMetrics text format, printed once, or served over HTTP on a
 * loopback port by this process, which may run as any user that can reach the control socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include "admin/admin.h"
#include "admin/control.h"
#include "admin/data_dir.h"
#include "admin/metrics.h"
#include "base/event.h"

enum { PATIENCE_S = 10, REQUEST_MAX = 8192, CLIENT_PATIENCE_S = 5 };

enum kind { UNKNOWN, COUNTER, GAUGE };

static const struct { const char *key; enum kind kind; } metrics[] = {
#define METRIC(key, kind) { key, kind },
#include "admin/metrics.def"
#undef METRIC
#define ROLE(id, name, what) { "restarts_" name, COUNTER },
#include "io/role.def"
#undef ROLE
};

static enum kind kind_of(str key)
{
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++)
        if (str_eq(key, str_z(metrics[i].key)))
            return metrics[i].kind;
    return UNKNOWN;
}

static void add_name(struct buf *b, str key)
{
    buf_add(b, S("posthouse_"));
    for (size_t i = 0; i < key.n; i++)
        buf_addc(b, ascii_alnum(key.p[i]) ? key.p[i] : '_');
}

/* One family: its type, then a sample for each role that has it. Lines of status are few, so looking for each key again
 * is cheap. */
static void add_family(struct buf *out, str status, str key)
{
    _cleanup_buf_ struct buf role = BUF(256), value = BUF(4096);
    static const char *const type[] = { [UNKNOWN] = "unknown", [COUNTER] = "counter", [GAUGE] = "gauge" };
    enum kind kind = kind_of(key);
    bool typed = false;
    char name[128];
    uint64_t n;
    snprintf(name, sizeof(name), "%.*s", STR_ARG(key));
    while (status.n) {
        str line = str_cut(&status, '\n');
        buf_clear(&value);
        buf_clear(&role);
        if (!event_get(line, name, &value) || str_u64(buf_str(&value), UINT64_MAX, &n) < 0 ||
            !event_get(line, "role", &role))
            continue;
        if (!typed) {
            buf_add(out, S("# TYPE "));
            add_name(out, key);
            buf_addf(out, " %s\n", type[kind]);
        }
        typed = true;
        add_name(out, key);
        buf_addf(out, "%s{role=\"%.*s\"} %llu\n", kind == COUNTER ? "_total" : "", STR_ARG(buf_str(&role)),
                 (unsigned long long)n);
    }
}

static bool seen(const struct buf *keys, str key)
{
    str all = buf_str(keys);
    while (all.n)
        if (str_eq(str_cut(&all, '\n'), key))
            return true;
    return false;
}

void metrics_of_status(str status, struct buf *out)
{
    _cleanup_buf_ struct buf keys = BUF(65536), value = BUF(65536);
    for (str rest = status; rest.n;) {
        str line = str_cut(&rest, '\n'), key;
        for (buf_clear(&value); event_field(&line, &key, &value); buf_clear(&value))
            if (!str_eq(key, S("role")) && !seen(&keys, key)) {
                add_family(out, status, key);
                buf_add(&keys, key);
                buf_addc(&keys, '\n');
            }
    }
    buf_add(out, S("# EOF\n"));
}

static int collect(const struct admin_data *d, struct buf *out)
{
    _cleanup_buf_ struct buf status = BUF(CONTROL_ANSWER_MAX);
    bool ok = false;
    int r = control_ask(d->fd, CONTROL_STATUS, PATIENCE_S, &ok, &status);
    if (r == 0)
        metrics_of_status(buf_str(&status), out);
    return r;
}

static void send_all(int fd, str s)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        s = str_from(s, (size_t)n);
    }
}

/* The request's first line, up to the empty line or REQUEST_MAX. False: not a request. */
static bool read_request(int fd, struct buf *b)
{
    while (str_find(buf_str(b), S("\r\n\r\n")) < 0) {
        if (buf_reserve(b, 512) < 0)
            return false;
        ssize_t n = recv(fd, b->p + b->n, MIN(b->cap - b->n, (size_t)512), 0);
        if (n <= 0)
            return false;
        b->n += (size_t)n;
    }
    return true;
}

static void answer(const struct admin_data *d, int fd)
{
    _cleanup_buf_ struct buf request = BUF(REQUEST_MAX), body = BUF(1 << 20), head = BUF(512);
    struct timeval patience = { .tv_sec = CLIENT_PATIENCE_S };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (!read_request(fd, &request))
        return;
    str line = buf_str(&request);
    const char *code = "200 OK";
    if (!str_starts(line, S("GET /metrics ")) && !str_starts(line, S("GET / ")))
        code = "404 Not Found";
    else if (collect(d, &body) < 0)
        code = "503 Service Unavailable";
    buf_addf(&head,
             "HTTP/1.1 %s\r\nContent-Type: application/openmetrics-text; version=1.0.0; "
             "charset=utf-8\r\nContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n",
             code, body.n);
    send_all(fd, buf_str(&head));
    send_all(fd, buf_str(&body));
}

static int serve(const struct admin_data *d, const char *where)
{
    str text = str_z(where);
    ptrdiff_t colon = str_rchr(text, ':');
    struct sockaddr_in a = { .sin_family = AF_INET };
    char host[32] = { 0 };
    uint64_t port = 0;
    int one = 1;
    if (colon > 0 && colon < (ptrdiff_t)sizeof(host))
        memcpy(host, text.p, (size_t)colon);
    if (colon <= 0 || str_u64(str_from(text, (size_t)colon + 1), 65535, &port) < 0 ||
        inet_pton(AF_INET, host, &a.sin_addr) != 1 || (ntohl(a.sin_addr.s_addr) >> 24) != 127) {
        admin_complain("--listen %s: an address of this machine alone is expected, as in 127.0.0.1:9100", where);
        return EXIT_USAGE;
    }
    a.sin_port = htons((uint16_t)port);
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0) {
        admin_complain("--listen %s: %s", where, strerror(errno));
        return EXIT_UNAVAILABLE;
    }
    printf("counters at http://%s/metrics\n", where);
    fflush(stdout);
    for (;;) {
        _cleanup_close_ int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0)
            answer(d, client);
    }
}

int cmd_metrics(int argc, char **argv)
{
    const char *config = NULL, *where = NULL;
    const struct admin_option options[] = { { "-c", &config, NULL }, { "--listen", &where, NULL } };
    _cleanup_buf_ struct buf text = BUF(1 << 20);
    _cleanup_admin_data_ struct admin_data d = { .fd = -1 };
    int e = admin_options("metrics", &argc, argv, options, ARRAY_LEN(options));
    if (!e)
        e = admin_data_dir_of_server("metrics", admin_config_path(config), &d);
    if (e)
        return e;
    if (where) {
        e = serve(&d, where);
    } else if (collect(&d, &text) < 0) {
        admin_complain("no server runs on %s", d.path);
        e = EXIT_UNAVAILABLE;
    } else {
        printf("%.*s", STR_ARG(buf_str(&text)));
    }
    return e;
}
