/* Parameters of MAIL, RCPT and XCLIENT: see smtp_params.h. */
#include "proto/smtp_params.h"
#include "base/codec.h"
#include <errno.h>

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
    struct smtp_mail_params *out;
};

static enum smtp_reply_id read_size(struct reading *r, str value, bool has_value)
{
    if (!has_value)
        return SMTP_REPLY_BAD_PARAMETER;
    int err = value.n > 20 ? -EINVAL : str_u64(value, UINT64_MAX, &r->out->size); /* 1870 4: 1*20DIGIT */
    if (err == -ERANGE)
        return SMTP_REPLY_TOO_LARGE;
    if (err < 0)
        return SMTP_REPLY_BAD_PARAMETER;
    return r->out->size > r->config->limits.size_max ? SMTP_REPLY_TOO_LARGE : SMTP_REPLY_NONE;
}

static enum smtp_reply_id read_body(struct reading *r, str value, bool has_value)
{
    (void)has_value;
    r->out->body_8bit = str_ieq(value, S("8BITMIME"));
    return r->out->body_8bit || str_ieq(value, S("7BIT")) ? SMTP_REPLY_NONE : SMTP_REPLY_BAD_PARAMETER;
}

static enum smtp_reply_id read_utf8(struct reading *r, str value, bool has_value)
{
    (void)value;
    if (!r->config->smtputf8)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    r->out->smtputf8 = true;
    return has_value ? SMTP_REPLY_BAD_PARAMETER : SMTP_REPLY_NONE; /* 6531 3.4: no value */
}

static enum smtp_reply_id read_auth(struct reading *r, str value, bool has_value)
{
    if (!r->config->auth)
        return SMTP_REPLY_UNKNOWN_PARAMETER;
    if (!has_value || value.n == 0)
        return SMTP_REPLY_BAD_PARAMETER;
    int err = smtp_xtext_decode(r->scratch, value);
    if (err < 0)
        return err == -EBADMSG ? SMTP_REPLY_BAD_PARAMETER : SMTP_REPLY_NO_MEMORY;
    r->out->auth = buf_str(r->scratch);
    return SMTP_REPLY_NONE;
}

static const struct parameter {
    str name;
    enum smtp_reply_id (*read)(struct reading *r, str value, bool has_value);
} parameters[] = {
    { S("SIZE"), read_size },
    { S("BODY"), read_body },
    { S("SMTPUTF8"), read_utf8 },
    { S("AUTH"), read_auth },
};

enum smtp_reply_id smtp_mail_params_parse(const struct smtp_server_config *config, str args, struct buf *scratch,
                                          struct smtp_mail_params *out)
{
    struct reading reading = { config, scratch, out };
    unsigned seen = 0;
    *out = (struct smtp_mail_params){ 0 };
    for (str word = str_word(&args); word.n > 0; word = str_word(&args)) {
        bool has_value = str_chr(word, '=') >= 0;
        str name = str_cut(&word, '=');
        size_t i = 0;
        while (i < ARRAY_LEN(parameters) && !str_ieq(name, parameters[i].name))
            ++i;
        if (i == ARRAY_LEN(parameters))
            return SMTP_REPLY_UNKNOWN_PARAMETER;
        if (seen & 1u << i)
            return SMTP_REPLY_BAD_PARAMETER;
        seen |= 1u << i;
        enum smtp_reply_id bad = parameters[i].read(&reading, word, has_value);
        if (bad)
            return bad;
    }
    return SMTP_REPLY_NONE;
}

enum smtp_reply_id smtp_rcpt_params_parse(str args)
{
    return str_word(&args).n > 0 ? SMTP_REPLY_UNKNOWN_PARAMETER : SMTP_REPLY_NONE;
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
