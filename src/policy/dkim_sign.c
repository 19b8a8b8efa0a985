/* DKIM signatures without the key: see dkim_sign.h. */
#include "policy/dkim_sign.h"
#include <errno.h>
#include <openssl/evp.h>
#include "base/codec.h"
#include "message/header.h"

#define COLUMNS 77       /* the last that is used */
#define FIELD_MAX 65536
#define FOLD "\r\n\t"
#define FOLD_WIDTH 8     /* a tab, at its widest */

const char *const dkim_algorithm_name[3] = { "", "rsa-sha256", "ed25519-sha256" };

/* RFC 6376 5.4.1. Lists add their own fields to what they pass on; these may come once where they are not. */
const struct dkim_field_rule dkim_signed_fields[] = {
    { "From", true }, { "To", true }, { "Subject", true }, { "Date", true }, { "Reply-To", true }, { "Cc", true },
    { "Sender", false }, { "Message-ID", true }, { "In-Reply-To", true }, { "References", true },
    { "MIME-Version", true }, { "Content-Type", true }, { "Content-Transfer-Encoding", true },
    { "List-Id", false }, { "List-Unsubscribe", false }, { "List-Unsubscribe-Post", false }, { "List-Post", false },
    { "List-Help", false }, { "List-Subscribe", false }, { "List-Owner", false }, { "List-Archive", false },
    { NULL, false },
};

struct dkim_message {
    struct dkim_sink sink;
    enum dkim_canon how;      /* of the header */
    struct buf header;        /* with CRLF */
    size_t line;              /* where its last line begins */
    bool in_body;
    struct dkim_body body;
    EVP_MD_CTX *hash;
    int error;
    uint8_t body_digest[DKIM_DIGEST];
    struct buf names;         /* of h= */
};

static void hash_piece(struct dkim_sink *s, str piece)
{
    struct dkim_message *m = CONTAINER_OF(s, struct dkim_message, sink);
    if (EVP_DigestUpdate(m->hash, piece.p, piece.n) != 1)
        m->error = -EIO;
}

struct dkim_message *dkim_message_new(enum dkim_canon header, enum dkim_canon body)
{
    struct dkim_message *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->sink.write = hash_piece;
    m->how = header;
    m->body.how = body;
    m->header = BUF(DKIM_HEADER_MAX);
    m->names = BUF(FIELD_MAX);
    m->hash = EVP_MD_CTX_new();
    if (m->hash && EVP_DigestInit_ex(m->hash, EVP_sha256(), NULL) == 1)
        return m;
    dkim_message_free(m);
    return NULL;
}

void dkim_message_free(struct dkim_message *m)
{
    if (!m)
        return;
    EVP_MD_CTX_free(m->hash);
    buf_done(&m->header);
    buf_done(&m->names);
    free(m);
}

/* Takes a line, or what has come of it, of the header. The empty line is not kept. */
static void header_piece(struct dkim_message *m, str piece)
{
    bool ends = piece.p[piece.n - 1] == '\n';
    buf_add(&m->header, ends ? str_first(piece, piece.n - 1) : piece);
    if (!ends || m->header.failed)
        return;
    if (m->header.n > m->line && m->header.p[m->header.n - 1] == '\r')
        m->header.n--;
    m->in_body = m->header.n == m->line;
    if (!m->in_body)
        buf_add(&m->header, S("\r\n"));
    m->line = m->header.n;
}

void dkim_message_feed(struct dkim_message *m, str piece)
{
    while (piece.n && !m->in_body && !m->header.failed) {
        ptrdiff_t lf = str_chr(piece, '\n');
        str part = lf < 0 ? piece : str_first(piece, (size_t)lf + 1);
        header_piece(m, part);
        piece = str_from(piece, part.n);
    }
    if (piece.n && m->in_body)
        dkim_body_feed(&m->body, piece, &m->sink);
}

str dkim_message_header(const struct dkim_message *m, bool *out_whole)
{
    *out_whole = m->in_body;
    return buf_str(&m->header);
}

static const struct dkim_field_rule *rule_of(str name)
{
    for (const struct dkim_field_rule *r = dkim_signed_fields; r->name; r++)
        if (str_ieq(name, str_z(r->name)))
            return r;
    return NULL;
}

static int choose_names(struct dkim_message *m)
{
    size_t count[32] = { 0 }, all = 0;
    struct header_field f;
    for (str rest = buf_str(&m->header); header_next(&rest, &f);) {
        const struct dkim_field_rule *r = rule_of(f.name);
        if (r)
            count[r - dkim_signed_fields]++;
    }
    if (!count[0])
        return -ENOENT;
    for (const struct dkim_field_rule *r = dkim_signed_fields; r->name; r++) {
        size_t n = count[r - dkim_signed_fields] + r->once_more;
        all += n;
        if (all > DKIM_NAMES_MAX)
            return -E2BIG;
        for (size_t i = 0; i < n; i++) {
            buf_add(&m->names, m->names.n ? S(":") : STR_NONE);
            for (const char *p = r->name; *p; p++)
                buf_addc(&m->names, ascii_lower(*p));
        }
    }
    return m->names.failed;
}

int dkim_message_end(struct dkim_message *m)
{
    if (!m->in_body && m->header.n > m->line)
        buf_add(&m->header, S("\r\n"));
    m->in_body = true;
    if (m->header.failed)
        return m->header.failed == -ENOBUFS ? -E2BIG : m->header.failed;
    dkim_body_end(&m->body, &m->sink);
    if (m->error == 0 && EVP_DigestFinal_ex(m->hash, m->body_digest, NULL) != 1)
        m->error = -EIO;
    return m->error ? m->error : choose_names(m);
}

void dkim_body_digest(const struct dkim_message *m, uint8_t out[DKIM_DIGEST])
{
    memcpy(out, m->body_digest, DKIM_DIGEST);
}

/* A field being written: what does not fit into a line begins the next. */
struct folder {
    struct buf *out;
    size_t column;
};

static void fold_if(struct folder *f, size_t width)
{
    if (f->column + width <= COLUMNS)
        return;
    buf_add(f->out, S(FOLD));
    f->column = FOLD_WIDTH;
}

static void tag(struct folder *f, const char *name, str value)
{
    size_t n = strlen(name) + 1 + value.n + 1;
    if (f->column + 1 + n <= COLUMNS) {
        buf_addc(f->out, ' ');
        f->column++;
    } else {
        fold_if(f, COLUMNS);
    }
    buf_addf(f->out, "%s=%.*s;", name, STR_ARG(value));
    f->column += n;
}

/* h= may be folded at its colons (RFC 6376 3.5). */
static void names_tag(struct folder *f, str names)
{
    fold_if(f, COLUMNS);
    buf_add(f->out, S("h="));
    f->column += 2;
    while (names.n) {
        str name = str_cut(&names, ':');
        fold_if(f, name.n + 1);
        buf_add(f->out, name);
        buf_addc(f->out, names.n ? ':' : ';');
        f->column += name.n + 1;
    }
}

/* Everything up to and with "b=". */
static int begin_field(const struct dkim_message *m, const struct dkim_tags *t, struct folder *f)
{
    _cleanup_buf_ struct buf bh = BUF(256), number = BUF(64);
    static const char *const how[] = { "relaxed", "simple" };
    str start = S("DKIM-Signature: v=1;");
    base64_encode(&bh, str_of(m->body_digest, DKIM_DIGEST));
    buf_add(f->out, start);
    f->column = start.n;
    tag(f, "a", str_z(dkim_algorithm_name[t->algorithm]));
    buf_addf(&number, "%s/%s", how[m->how], how[m->body.how]);
    tag(f, "c", buf_str(&number));
    tag(f, "d", t->domain);
    tag(f, "s", t->selector);
    buf_clear(&number);
    buf_addf(&number, "%lld", (long long)t->time_s);
    tag(f, "t", buf_str(&number));
    buf_clear(&number);
    buf_addf(&number, "%lld", (long long)t->expire_s);
    if (t->expire_s)
        tag(f, "x", buf_str(&number));
    names_tag(f, buf_str(&m->names));
    tag(f, "bh", buf_str(&bh));
    fold_if(f, COLUMNS);
    buf_add(f->out, S("b="));
    f->column += 2;
    return bh.failed ? bh.failed : number.failed ? number.failed : f->out->failed;
}

struct chosen { str name, raw; bool taken; };

static bool named(const str *names, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(names[i], name))
            return true;
    return false;
}

/* The fields of the header that h= names, in their order. */
static int find_fields(const struct dkim_message *m, const str *names, size_t n, struct chosen *out, size_t *out_n)
{
    struct header_field f;
    for (str rest = buf_str(&m->header); header_next(&rest, &f);) {
        if (!named(names, n, f.name))
            continue;
        if (*out_n == DKIM_NAMES_MAX)
            return -E2BIG;
        out[(*out_n)++] = (struct chosen){ .name = f.name, .raw = f.raw };
    }
    return 0;
}

/* The lowest of that name that is left (RFC 6376 5.4.2); with none left it counts for nothing. */
static void add_lowest(enum dkim_canon how, str name, struct chosen *fields, size_t n, struct buf *out)
{
    while (n > 0 && (fields[n - 1].taken || !str_ieq(fields[n - 1].name, name)))
        n--;
    if (n == 0)
        return;
    fields[n - 1].taken = true;
    dkim_header_canon(how, fields[n - 1].raw, out);
}

static int canonical_header(const struct dkim_message *m, str list, struct buf *out)
{
    _cleanup_free_ struct chosen *fields = calloc(DKIM_NAMES_MAX, sizeof(*fields));
    _cleanup_free_ str *names = calloc(DKIM_NAMES_MAX, sizeof(*names)), *distinct = calloc(DKIM_NAMES_MAX, sizeof(str));
    size_t n = 0, n_distinct = 0, n_fields = 0;
    if (!fields || !names || !distinct)
        return -ENOMEM;
    while (list.n) {
        if (n == DKIM_NAMES_MAX)
            return -E2BIG;
        names[n] = str_trim(str_cut(&list, ':'));
        if (!named(distinct, n_distinct, names[n]))
            distinct[n_distinct++] = names[n];
        n++;
    }
    int r = find_fields(m, distinct, n_distinct, fields, &n_fields);
    for (size_t i = 0; r == 0 && i < n; i++)
        add_lowest(m->how, names[i], fields, n_fields, out);
    return r < 0 ? r : out->failed;
}

int dkim_digest_of(const struct dkim_message *m, str names, str field, uint8_t out[DKIM_DIGEST])
{
    _cleanup_buf_ struct buf all = BUF(DKIM_HEADER_MAX * 2 + 2 * FIELD_MAX);
    int r = canonical_header(m, names, &all);
    if (r == 0)
        r = dkim_header_canon(m->how, field, &all);
    if (r < 0)
        return r == -ENOBUFS ? -E2BIG : r;
    /* RFC 6376 3.7: without the CRLF at its end */
    return EVP_Digest(all.p, all.n - 2, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

int dkim_digest(const struct dkim_message *m, const struct dkim_tags *t, uint8_t out[DKIM_DIGEST])
{
    _cleanup_buf_ struct buf field = BUF(FIELD_MAX);
    int r = begin_field(m, t, &(struct folder){ .out = &field });
    return r < 0 ? r : dkim_digest_of(m, buf_str(&m->names), buf_str(&field), out);
}

int dkim_field(const struct dkim_message *m, const struct dkim_tags *t, str signature, struct buf *out)
{
    _cleanup_buf_ struct buf b = BUF(DKIM_SIGNATURE_MAX * 2);
    struct folder f = { .out = out };
    int r = begin_field(m, t, &f);
    base64_encode(&b, signature);
    for (str rest = buf_str(&b); rest.n;) {
        fold_if(&f, 4);
        str part = str_first(rest, MIN((size_t)COLUMNS - f.column, (size_t)64));
        buf_add(out, part);
        f.column += part.n;
        rest = str_from(rest, part.n);
    }
    buf_add(out, S("\r\n"));
    return r < 0 ? r : b.failed ? b.failed : out->failed;
}
