/* Parameters of MAIL, RCPT and XCLIENT: see smtp_params.h. */
#include "proto/smtp_params.h"
#include "base/codec.h"
#include "base/event.h"
#include <errno.h>

enum { ENVID_MAX = 100, ORCPT_MAX = 500 }; /* RFC 3461 4.4, 4.2: octets as they are encoded */

int smtp_xtext_decode(struct buf *out, str in)
{
    for (size_t i = 0; i < in.n; ++i) {
        unsigned char c = (unsigned char)in.p[i];
        if (c < 33 || c > 126 || c == '=')
            return -EBADMSG;
        if (c != '+')
            continue;
        if (in.n - i < 3 || hex_value(in.p[i + 1]) < 0 || hex_value(in.p[i + 2]) < 0)
            return -EBADMSG;
        i += 2;
    }
    int r = buf_reserve(out, in.n);
    for (size_t i = 0; r == 0 && i < in.n; ++i) {
        if (in.p[i] == '+') {
            r = buf_addc(out, (char)(hex_value(in.p[i + 1]) * 16 + hex_value(in.p[i + 2])));
            i += 2;
        } else {
            r = buf_addc(out, in.p[i]);
        }
    }
    return r;
}

struct reading {
    const struct smtp_server_config *config;
    struct buf *scratch;
    bool utf8;
    struct smtp_mail_params *mail;
    struct smtp_rcpt_params *rcpt;
};

static enum smtp_reply_id read_size(struct reading *r, str value, bool has_value)
{
    if (!has_value)
        return SMTP_REPLY_BAD_PARAMETER;
    int err = value.n > 20 ? -EINVAL : str_u64(value, UINT64_MAX, &r->mail->size); /* 1870 4: 1*20DIGIT */
    if (err == -ERANGE)
        return SMTP_REPLY_TOO_LARGE;
    if (err < 0)
        return SMTP_REPLY_BAD_PARAMETER;
    return r->mail->size > r->config->limits.size_max ? SMTP_REPLY_TOO_LARGE : SMTP_REPLY_NONE;
}

static enum smtp_reply_id read_body(struct reading *r, str value, bool has_value)
{
    (void)has_value;
    r->mail->body_8bit = str_ieq(value, S("8BITMIME"));
    return r->mail->body_8bit || str_ieq(value, S("7BIT")) ? SMTP_REPLY_NONE : SMTP_REPLY_BAD_PARAMETER;
}

static enum smtp_reply_id read_utf8(struct reading *r, str value, bool has_value)
{
    (void)value;
    if (!r->config->smtputf8)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    r->mail->smtputf8 = true;
    return has_value ? SMTP_REPLY_BAD_PARAMETER : SMTP_REPLY_NONE; /* 6531 3.4: no value */
}

/* xtext into the scratch buffer, which has the room and does not move. */
static enum smtp_reply_id decode(struct reading *r, str value, str *out)
{
    size_t from = r->scratch->n;
    int err = value.n == 0 ? -EBADMSG : smtp_xtext_decode(r->scratch, value);
    if (err < 0)
        return err == -EBADMSG ? SMTP_REPLY_BAD_PARAMETER : SMTP_REPLY_NO_MEMORY;
    *out = str_from(buf_str(r->scratch), from);
    return SMTP_REPLY_NONE;
}

static enum smtp_reply_id read_auth(struct reading *r, str value, bool has_value)
{
    (void)has_value;
    return r->config->auth ? decode(r, value, &r->mail->auth) : SMTP_REPLY_UNKNOWN_PARAMETER;
}

static enum smtp_reply_id read_ret(struct reading *r, str value, bool has_value)
{
    (void)has_value;
    if (!r->config->dsn)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    r->mail->ret = str_ieq(value, S("FULL")) ? 1 : str_ieq(value, S("HDRS")) ? 2 : 0;
    return r->mail->ret ? SMTP_REPLY_NONE : SMTP_REPLY_BAD_PARAMETER;
}

/* RFC 3461 4.2, 4.4: what is encoded is printable ASCII, space included. */
static bool printable(str s)
{
    for (size_t i = 0; i < s.n; ++i)
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    return true;
}

static enum smtp_reply_id read_envid(struct reading *r, str value, bool has_value)
{
    (void)has_value;
    if (!r->config->dsn)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    if (value.n > ENVID_MAX)
        return SMTP_REPLY_BAD_PARAMETER;
    enum smtp_reply_id bad = decode(r, value, &r->mail->envid);
    return bad ? bad : printable(r->mail->envid) ? SMTP_REPLY_NONE : SMTP_REPLY_BAD_PARAMETER;
}

static enum smtp_reply_id read_notify(struct reading *r, str value, bool has_value)
{
    static const struct { str word; uint8_t bit; } words[] = {
        { S("NEVER"), SMTP_DSN_NEVER }, { S("SUCCESS"), SMTP_DSN_SUCCESS }, { S("FAILURE"), SMTP_DSN_FAILURE },
        { S("DELAY"), SMTP_DSN_DELAY },
    };
    uint8_t bits = 0;
    (void)has_value;
    if (!r->config->dsn)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    do {
        str word = str_cut(&value, ',');
        size_t i = 0;
        while (i < ARRAY_LEN(words) && !str_ieq(word, words[i].word))
            ++i;
        if (i == ARRAY_LEN(words) || bits & words[i].bit)
            return SMTP_REPLY_BAD_PARAMETER;
        bits |= words[i].bit;
    } while (value.n > 0);
    r->rcpt->notify = bits;
    return bits & SMTP_DSN_NEVER && bits != SMTP_DSN_NEVER ? SMTP_REPLY_BAD_PARAMETER : SMTP_REPLY_NONE;
}

/* An address of type utf-8 may come as it is, \x{…} for what is not ASCII or not printable, or as UTF-8 where SMTPUTF8
 * allows it: it is kept so (RFC 6533 3). */
static enum smtp_reply_id read_utf8_address(const struct reading *r, str address)
{
    for (size_t i = 0; i < address.n; ++i) {
        unsigned char c = (unsigned char)address.p[i];
        if (c <= ' ' || c == 0x7f || (c > 0x7f && !r->utf8))
            return SMTP_REPLY_BAD_PARAMETER;
    }
    return address.n > 0 && utf8_valid(address) ? SMTP_REPLY_NONE : SMTP_REPLY_BAD_PARAMETER;
}

static enum smtp_reply_id read_orcpt(struct reading *r, str value, bool has_value)
{
    (void)has_value;
    if (!r->config->dsn)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    str whole = value, address = value, type = str_cut(&address, ';'), decoded;
    if (value.n > ORCPT_MAX || type.n == 0)
        return SMTP_REPLY_BAD_PARAMETER;
    for (size_t i = 0; i < type.n; ++i)
        if (!ascii_alnum(type.p[i]) && type.p[i] != '-')
            return SMTP_REPLY_BAD_PARAMETER;
    if (str_ieq(type, S("utf-8"))) {
        r->rcpt->orcpt = whole;
        return read_utf8_address(r, address);
    }
    size_t from = r->scratch->n;
    buf_add(r->scratch, str_first(whole, type.n + 1));
    enum smtp_reply_id bad = decode(r, address, &decoded);
    r->rcpt->orcpt = str_from(buf_str(r->scratch), from);
    return bad ? bad : printable(decoded) ? SMTP_REPLY_NONE : SMTP_REPLY_BAD_PARAMETER;
}

struct parameter {
    str name;
    enum smtp_reply_id (*read)(struct reading *r, str value, bool has_value);
};

static const struct parameter of_mail[] = {
    { S("SIZE"), read_size }, { S("BODY"), read_body },   { S("SMTPUTF8"), read_utf8 },
    { S("AUTH"), read_auth }, { S("RET"), read_ret },     { S("ENVID"), read_envid },
};
static const struct parameter of_rcpt[] = { { S("NOTIFY"), read_notify }, { S("ORCPT"), read_orcpt } };

static enum smtp_reply_id read_all(struct reading *r, const struct parameter *table, size_t n, str args)
{
    unsigned seen = 0;
    if (buf_reserve(r->scratch, args.n) < 0)
        return SMTP_REPLY_NO_MEMORY;
    for (str word = str_word(&args); word.n > 0; word = str_word(&args)) {
        bool has_value = str_chr(word, '=') >= 0;
        str name = str_cut(&word, '=');
        size_t i = 0;
        while (i < n && !str_ieq(name, table[i].name))
            ++i;
        if (i == n)
            return SMTP_REPLY_UNKNOWN_PARAMETER;
        if (seen & 1u << i)
            return SMTP_REPLY_BAD_PARAMETER;
        seen |= 1u << i;
        enum smtp_reply_id bad = table[i].read(r, word, has_value);
        if (bad)
            return bad;
    }
    return SMTP_REPLY_NONE;
}

enum smtp_reply_id smtp_mail_params_parse(const struct smtp_server_config *config, str args, struct buf *scratch,
                                          struct smtp_mail_params *out)
{
    struct reading r = { .config = config, .scratch = scratch, .mail = out };
    *out = (struct smtp_mail_params){ 0 };
    return read_all(&r, of_mail, ARRAY_LEN(of_mail), args);
}

enum smtp_reply_id smtp_rcpt_params_parse(const struct smtp_server_config *config, bool utf8, str args,
                                          struct buf *scratch, struct smtp_rcpt_params *out)
{
    struct reading r = { .config = config, .scratch = scratch, .utf8 = utf8, .rcpt = out };
    *out = (struct smtp_rcpt_params){ 0 };
    return read_all(&r, of_rcpt, ARRAY_LEN(of_rcpt), args);
}

/* Nothing that a log, a Received line or a lookup could stumble over. */
static bool value_ok(str value)
{
    for (size_t i = 0; i < value.n; ++i)
        if (value.p[i] <= ' ' || value.p[i] > '~')
            return false;
    return value.n > 0 && value.n <= 255;
}

static bool attribute_ok(enum smtp_xclient_name name, bool lmtp, str *value, uint16_t *out_port)
{
    bool dest = name == SMTP_XCLIENT_DESTPORT;
    uint64_t port = 0;
    switch (name) {
    case SMTP_XCLIENT_PORT:
    case SMTP_XCLIENT_DESTPORT:
        if (str_u64(*value, UINT16_MAX, &port) < 0 || port == 0)
            return false;
        *out_port = dest ? *out_port : (uint16_t)port;
        return true;
    case SMTP_XCLIENT_PROTO:
        return str_ieq(*value, S("SMTP")) || str_ieq(*value, S("ESMTP")) || (lmtp && str_ieq(*value, S("LMTP")));
    case SMTP_XCLIENT_ADDR:
    case SMTP_XCLIENT_DESTADDR:
        if (str_istarts(*value, S("IPV6:")))
            *value = str_from(*value, 5);
        return value->n > 0;
    default:
        return true;
    }
}

static int xclient_name(str name)
{
    static const str names[SMTP_XCLIENT_NAMES] = {
        [SMTP_XCLIENT_NAME] = S("NAME"), [SMTP_XCLIENT_ADDR] = S("ADDR"), [SMTP_XCLIENT_PORT] = S("PORT"),
        [SMTP_XCLIENT_PROTO] = S("PROTO"), [SMTP_XCLIENT_HELO] = S("HELO"),
        [SMTP_XCLIENT_DESTADDR] = S("DESTADDR"), [SMTP_XCLIENT_DESTPORT] = S("DESTPORT"),
    };
    for (int i = 0; i < SMTP_XCLIENT_NAMES; ++i)
        if (str_ieq(name, names[i]))
            return i;
    return -1;
}

static int read_attribute(bool lmtp, str name, str encoded, struct buf *scratch, struct smtp_xclient *out)
{
    int at = xclient_name(name);
    size_t from = scratch->n;
    if (at < 0 || out->given[at])
        return -EBADMSG;
    int r = smtp_xtext_decode(scratch, encoded);
    str value = str_from(buf_str(scratch), from);
    if (r < 0 || !value_ok(value))
        return r < 0 ? r : -EBADMSG;
    out->given[at] = true;
    if (str_ieq(value, S("[UNAVAILABLE]")) || str_ieq(value, S("[TEMPUNAVAIL]")))
        return 0;
    if (!attribute_ok((enum smtp_xclient_name)at, lmtp, &value, &out->port))
        return -EBADMSG;
    out->value[at] = value;
    return 0;
}

int smtp_xclient_parse(bool lmtp, str args, struct buf *scratch, struct smtp_xclient *out)
{
    *out = (struct smtp_xclient){ 0 };
    str word = str_word(&args);
    int r = word.n == 0 ? -EBADMSG : buf_reserve(scratch, args.n + word.n); /* so that values stay where they are */
    for (; r == 0 && word.n > 0; word = str_word(&args)) {
        str name = str_cut(&word, '=');
        r = read_attribute(lmtp, name, word, scratch, out);
    }
    return r;
}
