/* `posthouse dkim`: makes keys, shows the DNS records of keys, signs a message by hand. */
#include "admin/dkim.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "admin/admin.h"
#include "admin/instance.h"
#include "base/env.h"
#include "message/address.h"
#include "io/whole_file.h"

#define MESSAGE_MAX ((size_t)256 << 20)
#define RECORD_MAX 8192
#define TXT_MAX 200 /* of one string; 255 would do (RFC 1035 3.3) */

struct request {
    const char *verb;
    const char *config, *key, *domain, *selector, *type, *out, *time, *canon;
};

static void free_message(struct dkim_message **m) { dkim_message_free(*m); }

int dkim_zone_line(struct buf *out, str domain, str selector, const struct dkim_key *key)
{
    _cleanup_buf_ struct buf value = BUF(RECORD_MAX);
    int r = dkim_key_record(key, &value);
    buf_addf(out, "%.*s._domainkey.%.*s. IN TXT (", STR_ARG(selector), STR_ARG(domain));
    for (str rest = buf_str(&value); rest.n; rest = str_from(rest, TXT_MAX))
        buf_addf(out, " \"%.*s\"", STR_ARG(str_first(rest, TXT_MAX)));
    buf_add(out, S(" )\n"));
    return r < 0 ? r : out->failed;
}

int dkim_key_load(const char *command, const char *path, struct dkim_key **out)
{
    struct buf pem = BUF(DKIM_KEY_FILE_MAX);
    const char *why = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r = fd < 0 ? -errno : whole_file_read(fd, &pem);
    if (fd >= 0)
        close(fd);
    if (r == 0)
        r = dkim_key_read(buf_str(&pem), &why, out);
    if (pem.p)
        explicit_bzero(pem.p, pem.cap);
    buf_done(&pem);
    if (r == 0)
        return 0;
    admin_complain("%s: %s: %s", command, path, why ? why : strerror(-r));
    return why ? EXIT_DATA : r == -EACCES ? EXIT_NOPERM : EXIT_IO;
}

static int check_names(const struct request *q)
{
    bool domain = q->domain && domain_valid(str_z(q->domain), 2),
         selector = q->selector && domain_valid(str_z(q->selector), 1);
    if (domain && selector)
        return 0;
    if (!q->domain || !q->selector)
        admin_complain("dkim %s needs --domain and --selector; see posthouse help dkim", q->verb);
    else
        admin_complain("dkim %s: --%s %s is not a name of letters, digits, hyphens and dots", q->verb,
                       domain ? "selector" : "domain", domain ? q->selector : q->domain);
    return EXIT_USAGE;
}

static int print_record(str domain, str selector, const struct dkim_key *key)
{
    _cleanup_buf_ struct buf line = BUF(RECORD_MAX);
    if (dkim_zone_line(&line, domain, selector, key) < 0)
        return EXIT_IO;
    printf("%.*s", STR_ARG(buf_str(&line)));
    return 0;
}

static int write_key(const struct request *q, const struct dkim_key *key)
{
    struct buf pem = BUF(DKIM_KEY_FILE_MAX);
    int r = dkim_key_write(key, &pem);
    _cleanup_close_ int fd = r < 0 ? -1 : open(q->out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, pem.p, pem.n) == (ssize_t)pem.n && fsync(fd) == 0;
    int e = errno;
    if (pem.p)
        explicit_bzero(pem.p, pem.cap);
    buf_done(&pem);
    if (ok)
        return 0;
    if (fd >= 0)
        unlink(q->out);
    admin_complain("dkim generate: cannot write %s: %s", q->out, e == EEXIST ? "it is there already, and a key that is "
                   "in use must not be lost; name another file" : strerror(e));
    return e == EACCES || e == EPERM ? EXIT_NOPERM : EXIT_CANTCREATE;
}

static int generate(const struct request *q)
{
    _cleanup_dkim_key_ struct dkim_key *key = NULL;
    str type = str_z(q->type);
    bool rsa = str_eq(type, S("rsa"));
    int r = check_names(q);
    if (r)
        return r;
    if (!q->out || (!rsa && !str_eq(type, S("ed25519")))) {
        admin_complain(!q->out ? "dkim generate needs --out FILE, where the private key goes"
                               : "dkim generate: --type is rsa or ed25519");
        return EXIT_USAGE;
    }
    if (dkim_key_make(rsa ? DKIM_RSA_SHA256 : DKIM_ED25519_SHA256, &key) < 0) {
        admin_complain("dkim generate: OpenSSL cannot make a key");
        return EXIT_IO;
    }
    r = write_key(q, key);
    if (r)
        return r;
    printf("; Publish this record, then write into posthouse.conf:  dkim %s %s %s\n", q->domain, q->selector, q->out);
    return print_record(str_z(q->domain), str_z(q->selector), key);
}

/* Of one file, or of all that the configuration names. */
static int record(const struct request *q)
{
    struct instance i;
    int result = 0;
    if (q->key) {
        _cleanup_dkim_key_ struct dkim_key *key = NULL;
        int r = check_names(q);
        r = r ? r : dkim_key_load("dkim record", q->key, &key);
        return r ? r : print_record(str_z(q->domain), str_z(q->selector), key);
    }
    int r = instance_load(q->config, &i);
    if (r)
        return r;
    if (!i.conf->n_dkim)
        admin_complain("dkim record: the configuration names no DKIM key; posthouse dkim generate makes one");
    for (size_t k = 0; k < i.conf->n_dkim; k++) {
        const struct conf_dkim *d = &i.conf->dkim[k];
        _cleanup_dkim_key_ struct dkim_key *key = NULL;
        const char *path = instance_path(&i, d->key);
        r = path ? dkim_key_load("dkim record", path, &key) : EXIT_IO;
        r = r ? r : print_record(d->domain, d->selector, key);
        result = result ? result : r;
    }
    result = result || i.conf->n_dkim ? result : 1;
    instance_done(&i);
    return result;
}

static int read_message(struct buf *out)
{
    for (;;) {
        if (buf_reserve(out, 65536) < 0)
            return out->failed;
        ssize_t n = read(STDIN_FILENO, out->p + out->n, out->cap - out->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        out->n += (size_t)n;
    }
}

static const char *const canon_name[] = { [DKIM_RELAXED] = "relaxed", [DKIM_SIMPLE] = "simple" };

static bool read_canon(const char *text, enum dkim_canon out[2])
{
    str rest = str_z(text);
    for (int i = 0; i < 2; i++) {
        str word = str_cut(&rest, '/');
        out[i] = DKIM_RELAXED;
        while (out[i] <= DKIM_SIMPLE && !str_eq(word, str_z(canon_name[out[i]])))
            out[i]++;
        if (out[i] > DKIM_SIMPLE)
            return false;
    }
    return rest.n == 0;
}

/* The field, with the line ends that the message has. */
static int make_field(struct dkim_message *m, const struct dkim_tags *t, const struct dkim_key *key, str message,
                      struct buf *out)
{
    _cleanup_buf_ struct buf signature = BUF(DKIM_SIGNATURE_MAX), field = BUF(1u << 17);
    uint8_t digest[DKIM_DIGEST];
    dkim_message_feed(m, message);
    int r = dkim_message_end(m);
    if (r == 0)
        r = dkim_digest(m, t, digest);
    if (r == 0)
        r = dkim_key_sign(key, digest, &signature);
    if (r == 0)
        r = dkim_field(m, t, buf_str(&signature), &field);
    ptrdiff_t lf = str_chr(message, '\n');
    bool crlf = lf > 0 && message.p[lf - 1] == '\r';
    for (size_t i = 0; i < field.n; i++)
        if (crlf || field.p[i] != '\r')
            buf_addc(out, field.p[i]);
    return r < 0 ? r : out->failed;
}

static int sign_message(const struct dkim_key *key, const struct dkim_tags *t, const enum dkim_canon canon[2])
{
    _cleanup_buf_ struct buf message = BUF(MESSAGE_MAX), field = BUF(1u << 17);
    _cleanup_(free_message) struct dkim_message *m = dkim_message_new(canon[0], canon[1]);
    int r = m ? read_message(&message) : -ENOMEM;
    if (r < 0) {
        admin_complain("dkim sign: the message on standard input: %s",
                       r == -ENOBUFS ? "it is longer than 256 MiB" : strerror(-r));
        return EXIT_IO;
    }
    r = make_field(m, t, key, buf_str(&message), &field);
    if (r < 0) {
        admin_complain("dkim sign: %s", r == -ENOENT ? "the message has no From field, which must be signed"
                       : r == -E2BIG ? "its header is too long, or has too many fields" : "OpenSSL cannot sign it");
        return r == -ENOENT || r == -E2BIG ? EXIT_DATA : EXIT_IO;
    }
    bool ok = fwrite(field.p, 1, field.n, stdout) == field.n && fwrite(message.p, 1, message.n, stdout) == message.n;
    if (ok && fflush(stdout) == 0)
        return 0;
    admin_complain("dkim sign: cannot write: %s", strerror(errno));
    return EXIT_IO;
}

static int sign(const struct request *q)
{
    _cleanup_dkim_key_ struct dkim_key *key = NULL;
    enum dkim_canon canon[2];
    uint64_t now = env_system.wall_us() / 1000000;
    int r = check_names(q);
    if (r)
        return r;
    if (!q->key || !read_canon(q->canon, canon) || (q->time && str_u64(str_z(q->time), UINT32_MAX, &now) < 0)) {
        admin_complain(
            !q->key ? "dkim sign needs --key FILE"
            : !read_canon(q->canon, canon)
                ? "dkim sign: --canonicalization is relaxed/relaxed, relaxed/simple, simple/relaxed or simple/simple"
                : "dkim sign: --time wants seconds since 1970");
        return EXIT_USAGE;
    }
    r = dkim_key_load("dkim sign", q->key, &key);
    if (r)
        return r;
    struct dkim_tags t = { .algorithm = dkim_key_algorithm(key),
                           .domain = str_z(q->domain),
                           .selector = str_z(q->selector),
                           .time_s = (int64_t)now,
                           .expire_s = (int64_t)now + DKIM_LIFETIME_S };
    return sign_message(key, &t, canon);
}

int cmd_dkim(int argc, char **argv)
{
    static const struct { const char *verb; int (*run)(const struct request *q); } verbs[] = {
        { "generate", generate }, { "record", record }, { "sign", sign },
    };
    struct request q = { .type = "rsa", .canon = "relaxed/relaxed" };
    const struct admin_option options[] = {
        { "-c", &q.config, NULL },        { "--key", &q.key, NULL }, { "--domain", &q.domain, NULL },
        { "--selector", &q.selector, NULL }, { "--type", &q.type, NULL }, { "--out", &q.out, NULL },
        { "--time", &q.time, NULL },      { "--canonicalization", &q.canon, NULL },
    };
    int r = admin_options("dkim", &argc, argv, options, ARRAY_LEN(options));
    if (r)
        return r;
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(verbs); i++)
        if (str_eq(str_z(argv[0]), str_z(verbs[i].verb))) {
            q.verb = verbs[i].verb;
            return verbs[i].run(&q);
        }
    admin_complain("dkim takes generate, record or sign; see posthouse help dkim");
    return EXIT_USAGE;
}
