/* Queued recipients that are delivered by a mechanism (route/mechanism.h): see store_queue_internal.h. */
#include "route/mechanism.h"
#include "store/message_record.h"
#include "store/store_queue_internal.h"

#define META_MAX ((size_t)1 << 24)

static const struct { enum queue_worker worker; uint32_t concurrency, window; } kinds[MECHANISM_KINDS] = {
    /* many at once: role mda writes them in batches, with one sync for all */
    [MECHANISM_MBOX] = { QUEUE_DELIVERS, 64, 16 },
    [MECHANISM_MAILDIR] = { QUEUE_DELIVERS, 64, 16 },
    [MECHANISM_STDOUT] = { QUEUE_DELIVERS, 8, 1 },
    [MECHANISM_COMMAND] = { QUEUE_DELIVERS, 2, 2 },
    [MECHANISM_FORWARD] = { QUEUE_DELIVERS, 4, 2 },
    [MECHANISM_MAILBOX] = { QUEUE_DELIVERS, 2, 2 },
    [MECHANISM_SMTP] = { QUEUE_SENDS, 20, 0 },
    [MECHANISM_LMTP] = { QUEUE_SENDS, 20, 0 },
};

/* The first of a list. What cannot be read is for role mda, which says so. */
static bool read_first(str via, struct mechanism *out)
{
    const char *why;
    *out = (struct mechanism){ .kind = MECHANISM_MAILBOX };
    return mechanism_parse(mechanism_next(&via), out, &why);
}

enum queue_worker queue_worker_of(str via)
{
    struct mechanism m;
    if (!via.n)
        return QUEUE_SENDS;
    return read_first(via, &m) ? kinds[m.kind].worker : QUEUE_DELIVERS;
}

/* No longer than a destination may be: of a longer one the end is a hash of the whole. */
static void cut_key(struct buf *key, size_t from)
{
    enum { HASH_TEXT = 17 };
    if (key->n - from <= ROUTE_DESTINATION_MAX)
        return;
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: the administrator wrote what is hashed */
    for (size_t i = from; i < key->n; i++)
        hash = (hash ^ (unsigned char)key->p[i]) * UINT64_C(0x100000001b3);
    key->n = from + ROUTE_DESTINATION_MAX - HASH_TEXT;
    buf_addf(key, "~%016llx", (unsigned long long)hash);
}

void queue_via_destination(const struct queue_to *to, struct buf *key, struct schedule_limits *out)
{
    struct mechanism m;
    bool known = read_first(to->via, &m);
    *out = (struct schedule_limits){ .concurrency = kinds[m.kind].concurrency, .window = kinds[m.kind].window,
                                     .worker = kinds[m.kind].worker };
    _cleanup_buf_ struct buf text = BUF((size_t)1 << 17);
    if (known && out->worker == QUEUE_SENDS && m.host.n)
        buf_addf(&text, "via %s:%.*s:%u", mechanism_name[m.kind], STR_ARG(m.host),
                 m.port ? m.port : m.kind == MECHANISM_LMTP ? ROUTE_LMTP_PORT : 25u);
    else if (known && out->worker == QUEUE_SENDS)
        buf_addf(&text, "via %s:%.*s", mechanism_name[m.kind], STR_ARG(m.path));
    else
        buf_addf(&text, "mda %.*s %.*s", STR_ARG(to->user.n ? to->user : S("-")), STR_ARG(to->via));
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            text.p[i] = ',';
    cut_key(&text, 0);
    buf_add(key, buf_str(&text));
}

void queue_via_client(struct arena *a, const struct index_queue_message *m, struct queue_job *j)
{
    struct mechanism first;
    struct message_record record;
    if (!read_first(j->via, &first) || (first.kind != MECHANISM_COMMAND && first.kind != MECHANISM_FORWARD) ||
        m->meta_len > META_MAX)
        return;
    char *meta = arena_alloc(a, m->meta_len);
    if (!meta || segment_pread(j->fd, meta, m->meta_len, j->offset + m->content_len) != (ssize_t)m->meta_len ||
        message_record_decode(a, str_of(meta, m->meta_len), &record) < 0)
        return;
    j->client_address = record.client_addr;
    j->client_name = record.client_name;
    j->client_helo = record.helo;
    j->client_protocol = record.protocol;
    j->sasl_user = record.account;
}
