/* TLS files of a role: see tls_files.h. */
#include "session/tls_files.h"
#include "io/whole_file.h"

enum { PEM_MAX = 1 << 20 };

static int use_pair(struct tls_files *t, struct role *r, int key_fd)
{
    _cleanup_buf_ struct buf key = BUF(PEM_MAX);
    const char *why = "tls_key cannot be read";
    SSL_CTX *ctx = NULL;
    int e = whole_file_read(key_fd, &key);
    if (e == 0)
        e = tls_server_context(buf_str(&t->cert), buf_str(&key), &why, &ctx);
    if (key.p)
        explicit_bzero(key.p, key.cap);
    if (e < 0) {
        events_say(&r->events, EVENT_ERROR, "tls_refused", str_z(why));
        return 0;
    }
    if (t->alpn)
        tls_accept_alpn(ctx, t->alpn);
    SSL_CTX_free(t->context);
    t->context = ctx;
    return 0;
}

int tls_files_take(struct tls_files *t, struct role *r, str name, int fd)
{
    if (str_eq(name, S("tls_key")))
        return use_pair(t, r, fd);
    t->cert.max = PEM_MAX;
    if (str_eq(name, S("tls_certificate")) && whole_file_read(fd, &t->cert) < 0)
        events_say(&r->events, EVENT_ERROR, "tls_refused", S("tls_certificate cannot be read"));
    return 0;
}
