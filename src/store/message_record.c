/* The meta part of a message record: see message_record.h. A run of fields, each a tag byte and a length-prefixed
 * value; the last is END, so a cut record is never taken for a whole one. The fixed numbers travel in one field; what
 * later versions add gets tags of its own. */
#include <errno.h>
#include "store/message_record.h"
#include "base/pack.h"

#define MUST_UNDERSTAND 0x80

enum field_tag {
    FIELD_FIXED = 1 | MUST_UNDERSTAND,
    FIELD_RECIPIENTS = 2 | MUST_UNDERSTAND,
    FIELD_SENDER = 3 | MUST_UNDERSTAND,
    FIELD_APPEND = 4 | MUST_UNDERSTAND,
    FIELD_CLIENT_ADDR = 0x10,
    FIELD_CLIENT_NAME,
    FIELD_HELO,
    FIELD_TLS,
    FIELD_ACCOUNT,
    FIELD_LISTENER,
    FIELD_PROTOCOL,
    FIELD_ENVID,
    FIELD_CARD,
    FIELD_DSN,
    FIELD_DELIVERED_TO,
    FIELD_END = 0xff,
};

/* The fields that are plain text: tag and place in the struct. An empty one is not written. */
static const struct text_field {
    uint8_t tag;
    size_t at;
} text_fields[] = {
    { FIELD_SENDER, offsetof(struct message_record, sender) },
    { FIELD_CLIENT_ADDR, offsetof(struct message_record, client_addr) },
    { FIELD_CLIENT_NAME, offsetof(struct message_record, client_name) },
    { FIELD_HELO, offsetof(struct message_record, helo) },
    { FIELD_TLS, offsetof(struct message_record, tls) },
    { FIELD_ACCOUNT, offsetof(struct message_record, account) },
    { FIELD_LISTENER, offsetof(struct message_record, listener) },
    { FIELD_PROTOCOL, offsetof(struct message_record, protocol) },
    { FIELD_ENVID, offsetof(struct message_record, envid) },
    { FIELD_CARD, offsetof(struct message_record, card) },
};

enum { FLAG_SMTPUTF8 = 1, FLAG_REQUIRETLS = 2, FLAG_NATIVE = 4, FLAG_ALL = 7 };
#define FIXED_LEN (16 + 4 + 8 + 1 + 1 + 1 + 1 + 8)
#define DSN_LEN (8 + 8)
#define APPEND_MIN (8 + 4 + 8 + 2 + 4)
#define RECIPIENT_MIN (4 + 4 + 1 + 1) /* encoded, with both strings empty */

static void encode_fixed(struct buf *out, const struct message_record *m)
{
    pack_u8(out, FIELD_FIXED);
    pack_u32(out, FIXED_LEN);
    buf_add(out, str_of(m->session, sizeof(m->session)));
    pack_u32(out, m->number);
    pack_u64(out, m->received_us);
    pack_u8(out, m->ret);
    pack_u8(out, m->body);
    pack_u8(out, m->priority);
    pack_u8(out, (uint8_t)((m->smtputf8 ? FLAG_SMTPUTF8 : 0) | (m->requiretls ? FLAG_REQUIRETLS : 0) |
                           (m->native ? FLAG_NATIVE : 0)));
    pack_u64(out, m->generation);
}

static void encode_recipients(struct buf *out, const struct message_record *m)
{
    uint64_t n = 4;
    for (size_t i = 0; i < m->n_recipients; i++)
        n += RECIPIENT_MIN + m->recipients[i].address.n + m->recipients[i].orcpt.n;
    if (n > UINT32_MAX || m->n_recipients > UINT32_MAX) {
        out->failed = out->failed ? out->failed : -ENOBUFS;
        return;
    }
    pack_u8(out, FIELD_RECIPIENTS);
    pack_u32(out, (uint32_t)n);
    pack_u32(out, (uint32_t)m->n_recipients);
    for (size_t i = 0; i < m->n_recipients; i++) {
        const struct record_recipient *r = &m->recipients[i];
        pack_str(out, r->address);
        pack_str(out, r->orcpt);
        pack_u8(out, r->notify);
        pack_u8(out, r->verdict);
    }
}

static void encode_delivered_to(struct buf *out, const struct message_record *m)
{
    uint64_t n = 4;
    for (size_t i = 0; i < m->n_delivered_to; i++)
        n += 4 + m->delivered_to[i].n;
    if (n > UINT32_MAX) {
        out->failed = out->failed ? out->failed : -ENOBUFS;
        return;
    }
    pack_u8(out, FIELD_DELIVERED_TO);
    pack_u32(out, (uint32_t)n);
    pack_u32(out, (uint32_t)m->n_delivered_to);
    for (size_t i = 0; i < m->n_delivered_to; i++)
        pack_str(out, m->delivered_to[i]);
}

static void encode_append(struct buf *out, const struct message_record *m)
{
    uint64_t n = APPEND_MIN;
    for (size_t i = 0; i < m->n_append_keywords; i++)
        n += 4 + m->append_keywords[i].n;
    if (n > UINT32_MAX) {
        out->failed = out->failed ? out->failed : -ENOBUFS;
        return;
    }
    pack_u8(out, FIELD_APPEND);
    pack_u32(out, (uint32_t)n);
    pack_u64(out, m->append_mailbox);
    pack_u32(out, m->append_flags);
    pack_u64(out, (uint64_t)m->append_date_s);
    pack_u16(out, (uint16_t)m->append_zone_min);
    pack_u32(out, (uint32_t)m->n_append_keywords);
    for (size_t i = 0; i < m->n_append_keywords; i++)
        pack_str(out, m->append_keywords[i]);
}

int message_record_encode(struct buf *out, const struct message_record *m)
{
    encode_fixed(out, m);
    encode_recipients(out, m);
    for (size_t i = 0; i < ARRAY_LEN(text_fields); i++) {
        str value = *(const str *)((const char *)m + text_fields[i].at);
        if (!value.n)
            continue;
        pack_u8(out, text_fields[i].tag);
        pack_str(out, value);
    }
    if (m->dsn_of || m->dsn_event) {
        pack_u8(out, FIELD_DSN);
        pack_u32(out, DSN_LEN);
        pack_u64(out, m->dsn_of);
        pack_u64(out, m->dsn_event);
    }
    if (m->n_delivered_to)
        encode_delivered_to(out, m);
    if (m->append_mailbox)
        encode_append(out, m);
    pack_u8(out, FIELD_END);
    pack_str(out, S("."));
    return out->failed;
}

static bool decode_fixed(str value, struct message_record *m)
{
    struct unpack u = UNPACK(value);
    if (value.n != FIXED_LEN)
        return false;
    memcpy(m->session, value.p, sizeof(m->session));
    u.in = str_from(value, sizeof(m->session));
    m->number = unpack_u32(&u);
    m->received_us = unpack_u64(&u);
    m->ret = unpack_u8(&u);
    m->body = unpack_u8(&u);
    m->priority = unpack_u8(&u);
    uint8_t flags = unpack_u8(&u);
    m->generation = unpack_u64(&u);
    m->smtputf8 = flags & FLAG_SMTPUTF8;
    m->requiretls = flags & FLAG_REQUIRETLS;
    m->native = flags & FLAG_NATIVE;
    return unpack_end(&u) && !(flags & ~FLAG_ALL);
}

static int decode_recipients(struct arena *a, str value, struct message_record *m)
{
    struct unpack u = UNPACK(value);
    uint32_t n = unpack_u32(&u);
    if (u.bad || n > u.in.n / RECIPIENT_MIN)
        return -EBADMSG;
    struct record_recipient *list = ARENA_ARRAY(a, struct record_recipient, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        list[i].address = unpack_str(&u);
        list[i].orcpt = unpack_str(&u);
        list[i].notify = unpack_u8(&u);
        list[i].verdict = unpack_u8(&u);
    }
    m->recipients = list;
    m->n_recipients = n;
    return unpack_end(&u) ? 0 : -EBADMSG;
}

static int decode_dsn(str value, struct message_record *m)
{
    struct unpack u = UNPACK(value);
    m->dsn_of = unpack_u64(&u);
    m->dsn_event = unpack_u64(&u);
    return unpack_end(&u) ? 0 : -EBADMSG;
}

/* A list of texts that is the rest of its field. */
static int decode_texts(struct arena *a, struct unpack *u, const str **out, size_t *out_n)
{
    uint32_t n = unpack_u32(u);
    if (u->bad || n > u->in.n / 4)
        return -EBADMSG;
    str *list = ARENA_ARRAY(a, str, n);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        list[i] = unpack_str(u);
    *out = list;
    *out_n = n;
    return unpack_end(u) ? 0 : -EBADMSG;
}

static int decode_delivered_to(struct arena *a, str value, struct message_record *m)
{
    struct unpack u = UNPACK(value);
    return decode_texts(a, &u, &m->delivered_to, &m->n_delivered_to);
}

static int decode_append(struct arena *a, str value, struct message_record *m)
{
    struct unpack u = UNPACK(value);
    m->append_mailbox = unpack_u64(&u);
    m->append_flags = unpack_u32(&u);
    m->append_date_s = (int64_t)unpack_u64(&u);
    m->append_zone_min = (int16_t)unpack_u16(&u);
    int r = decode_texts(a, &u, &m->append_keywords, &m->n_append_keywords);
    return r == 0 && !m->append_mailbox ? -EBADMSG : r;
}

static int decode_field(struct arena *a, uint8_t tag, str value, struct message_record *m)
{
    if (tag == FIELD_FIXED)
        return decode_fixed(value, m) ? 0 : -EBADMSG;
    if (tag == FIELD_RECIPIENTS)
        return decode_recipients(a, value, m);
    if (tag == FIELD_DSN)
        return decode_dsn(value, m);
    if (tag == FIELD_DELIVERED_TO)
        return decode_delivered_to(a, value, m);
    if (tag == FIELD_APPEND)
        return decode_append(a, value, m);
    for (size_t i = 0; i < ARRAY_LEN(text_fields); i++)
        if (text_fields[i].tag == tag) {
            *(str *)((char *)m + text_fields[i].at) = value;
            return 0;
        }
    return tag & MUST_UNDERSTAND ? -EBADMSG : 0;
}

int message_record_decode(struct arena *a, str in, struct message_record *out)
{
    struct message_record m = { 0 };
    bool seen[256] = { false };
    struct unpack u = UNPACK(in);
    while (!seen[FIELD_END]) {
        uint8_t tag = unpack_u8(&u);
        str value = unpack_str(&u);
        if (u.bad || seen[tag])
            return -EBADMSG;
        seen[tag] = true;
        int r = tag == FIELD_END ? 0 : decode_field(a, tag, value, &m);
        if (r < 0)
            return r;
    }
    if (!unpack_end(&u) || !seen[FIELD_FIXED] || !seen[FIELD_RECIPIENTS])
        return -EBADMSG;
    *out = m;
    return 0;
}
