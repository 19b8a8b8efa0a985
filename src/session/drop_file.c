/* The format of a file in the drop (see drop.h): reading and writing its head, and line ends. Pure.
 *
 * Behind magic and length come fields: u8 tag, str value. A tag with the bit 0x80 must be understood, others may be
 * skipped; a tag that is not RECIPIENT comes once. */
#include <errno.h>
#include "base/pack.h"
#include "session/drop.h"

#define MAGIC S("PHDROP1\n")

enum tag {
    SENDER = 0x81, RECIPIENT = 0x82, FLAGS = 0x83, ENVID = 0x04, RET = 0x05, FORWARDED_BY = 0x86, LOGIN = 0x07,
    FULL_NAME = 0x08
};
enum { BODY_8BIT = 1, SMTPUTF8 = 2, SUBMITTED = 4, NATIVE = 8, KNOWN_FLAGS = 15, NOTIFY_MAX = 15, RET_MAX = 2 };

/* Text that may become part of a line: short, without control characters. */
static bool harmless(str s)
{
    if (s.n > DROP_FIELD_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool recipient_ok(const struct drop_recipient *r)
{
    return r->address.n && harmless(r->address) && harmless(r->orcpt) && r->notify <= NOTIFY_MAX;
}

static bool envelope_ok(const struct drop_envelope *e)
{
    const str texts[] = { e->sender, e->envid, e->forwarded_by, e->login, e->full_name };
    bool ok = e->n_recipients > 0 && e->n_recipients <= DROP_RECIPIENTS_MAX && e->ret <= RET_MAX;
    for (size_t i = 0; ok && i < ARRAY_LEN(texts); i++)
        ok = harmless(texts[i]);
    for (size_t i = 0; ok && i < e->n_recipients; i++)
        ok = recipient_ok(&e->recipients[i]);
    return ok;
}

static void add_text(struct buf *out, enum tag tag, str value)
{
    if (!value.n)
        return;
    pack_u8(out, (uint8_t)tag);
    pack_str(out, value);
}

static void add_byte(struct buf *out, enum tag tag, unsigned value)
{
    const char byte = (char)value;
    if (value)
        add_text(out, tag, str_of(&byte, 1));
}

static void add_recipient(struct buf *out, const struct drop_recipient *r)
{
    pack_u8(out, RECIPIENT);
    pack_u32(out, (uint32_t)(1 + 4 + r->address.n + 4 + r->orcpt.n));
    pack_u8(out, r->notify);
    pack_str(out, r->address);
    pack_str(out, r->orcpt);
}

int drop_encode(struct buf *out, const struct drop_envelope *e)
{
    if (!envelope_ok(e))
        return -EINVAL;
    buf_add(out, MAGIC);
    size_t at = out->n;
    pack_u32(out, 0);
    add_text(out, SENDER, e->sender);
    add_byte(out, FLAGS, (e->body_8bit ? BODY_8BIT : 0u) | (e->smtputf8 ? SMTPUTF8 : 0u) |
                             (e->submitted ? SUBMITTED : 0u) | (e->native ? NATIVE : 0u));
    add_text(out, ENVID, e->envid);
    add_byte(out, RET, e->ret);
    add_text(out, FORWARDED_BY, e->forwarded_by);
    add_text(out, LOGIN, e->login);
    add_text(out, FULL_NAME, e->full_name);
    for (size_t i = 0; i < e->n_recipients; i++)
        add_recipient(out, &e->recipients[i]);
    if (out->failed)
        return out->failed;
    if (out->n - at - 4 > DROP_HEAD_MAX - DROP_START)
        return -EINVAL;
    put_u32(out->p + at, (uint32_t)(out->n - at - 4));
    return 0;
}

int drop_head_length(str start, size_t *out_length)
{
    if (start.n < DROP_START || !str_starts(start, MAGIC))
        return -EBADMSG;
    uint32_t n = get_u32(start.p + MAGIC.n);
    if (n > DROP_HEAD_MAX - DROP_START)
        return -EFBIG;
    *out_length = DROP_START + n;
    return 0;
}

static bool read_recipient(str value, struct drop_recipient *out)
{
    struct unpack u = UNPACK(value);
    out->notify = unpack_u8(&u);
    out->address = unpack_str(&u);
    out->orcpt = unpack_str(&u);
    return unpack_end(&u);
}

static bool read_byte(str value, unsigned max, uint8_t *out)
{
    if (value.n != 1 || (uint8_t)value.p[0] > max)
        return false;
    *out = (uint8_t)value.p[0];
    return true;
}

static bool read_flags(str value, struct drop_envelope *out)
{
    uint8_t flags;
    if (!read_byte(value, KNOWN_FLAGS, &flags))
        return false;
    out->body_8bit = flags & BODY_8BIT;
    out->smtputf8 = flags & SMTPUTF8;
    out->submitted = flags & SUBMITTED;
    out->native = flags & NATIVE;
    return true;
}

/* A field that comes once. */
static bool read_field(uint8_t tag, str value, struct drop_envelope *out)
{
    switch (tag) {
    case SENDER: out->sender = value; return true;
    case FLAGS: return read_flags(value, out);
    case ENVID: out->envid = value; return true;
    case RET: return read_byte(value, RET_MAX, &out->ret);
    case FORWARDED_BY: out->forwarded_by = value; return true;
    case LOGIN: out->login = value; return true;
    case FULL_NAME: out->full_name = value; return true;
    default: return !(tag & 0x80);
    }
}

/* Counts the recipients, so that memory is taken once. */
static size_t count(str fields)
{
    size_t n = 0;
    for (struct unpack u = UNPACK(fields); u.in.n && !u.bad;) {
        n += unpack_u8(&u) == RECIPIENT;
        unpack_str(&u);
    }
    return n;
}

static int read_fields(str fields, struct drop_envelope *out, struct drop_recipient *list)
{
    bool seen[256] = { false };
    struct unpack u = UNPACK(fields);
    while (u.in.n) {
        uint8_t tag = unpack_u8(&u);
        str value = unpack_str(&u);
        if (u.bad || (tag != RECIPIENT && seen[tag]))
            return -EBADMSG;
        seen[tag] = true;
        if (!(tag == RECIPIENT ? read_recipient(value, &list[out->n_recipients++]) : read_field(tag, value, out)))
            return -EBADMSG;
    }
    return 0;
}

int drop_decode(struct arena *a, str in, struct drop_envelope *out)
{
    struct drop_envelope e = { 0 };
    size_t length;
    if (drop_head_length(in, &length) < 0 || length != in.n)
        return -EBADMSG;
    str fields = str_from(in, DROP_START);
    size_t n = count(fields);
    if (n == 0 || n > DROP_RECIPIENTS_MAX)
        return -EBADMSG;
    struct drop_recipient *list = ARENA_ARRAY(a, struct drop_recipient, n);
    if (!list)
        return -ENOMEM;
    e.recipients = list;
    int r = read_fields(fields, &e, list);
    if (r < 0 || !envelope_ok(&e))
        return -EBADMSG;
    *out = e;
    return 0;
}

int drop_lines_feed(struct drop_lines *l, str piece, struct buf *out)
{
    for (size_t i = 0; i < piece.n;) {
        if (l->cr && piece.p[i] == '\n') {
            l->cr = false;
            i++;
            continue;
        }
        l->cr = false;
        size_t from = i;
        while (i < piece.n && piece.p[i] != '\n' && piece.p[i] != '\r')
            i++;
        buf_add(out, str_of(piece.p + from, i - from));
        if (i == piece.n)
            break;
        buf_add(out, S("\r\n"));
        l->cr = piece.p[i++] == '\r';
    }
    return out->failed;
}
