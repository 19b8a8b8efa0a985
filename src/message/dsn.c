/* Delivery status notifications: see dsn.h. */
#include "message/dsn.h"
#include "base/date.h"
#include "base/event.h"

enum { FIELD_TEXT_MAX = 900, LINE_TEXT_MAX = 400 };

static const struct {
    const char *action, *subject, *opening;
} words[DSN_KINDS] = {
    [DSN_FAILED] = { "failed", "Your message could not be delivered",
                     "Your message could not be delivered to the recipients below. It will not be tried again." },
    [DSN_DELAYED] = { "delayed", "Your message is delayed",
                      "Your message has not been delivered yet to the recipients below. This host goes on trying: you "
                      "need\r\nnot do anything, and need not send it again." },
    [DSN_RELAYED] = { "relayed", "Your message was passed on",
                      "Your message was passed on to the host of the recipients below. That host does not tell what "
                      "becomes of\r\nit, so this is the last word about it." },
    [DSN_DELIVERED] = { "delivered", "Your message was delivered",
                        "Your message was delivered to the recipients below." },
    [DSN_EXPANDED] = { "expanded", "Your message was passed on to a list",
                       "Your message was passed on to everybody who stands behind the addresses below. You will hear "
                       "no more\r\nabout success." },
};

str dsn_advice(str status)
{
    static const struct { const char *status, *words; } rows[] = {
#define ADVICE(status, words) { status, words },
#include "message/dsn_advice.def"
#undef ADVICE
    };
    for (size_t i = 0; status.n > 1 && i < ARRAY_LEN(rows); i++)
        if (str_eq(str_from(status, 1), str_from(str_z(rows[i].status), 1)))
            return str_z(rows[i].words);
    return STR_NONE;
}

/* In a field: printable ASCII, or UTF-8 where that is allowed; the rest as '?'. Nothing starts a line. */
static void put_field(struct buf *out, str s, bool utf8)
{
    s = str_first(s, FIELD_TEXT_MAX);
    utf8 = utf8 && utf8_valid(s);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        buf_addc(out, c < ' ' || c == 0x7f || (c > 0x7f && !utf8) ? '?' : (char)c);
    }
}

/* For people: what is not printable is shown as \xNN. */
static void put_words(struct buf *out, str s)
{
    print_safe(out, str_first(s, LINE_TEXT_MAX));
}

static void put_date(struct buf *out, const char *name, int64_t unix_s, int offset_min)
{
    if (unix_s <= 0)
        return;
    buf_addf(out, "%s: ", name);
    date_format_5322(out, unix_s, offset_min);
    buf_add(out, S("\r\n"));
}

static void put_header(struct buf *out, const struct dsn *d)
{
    put_date(out, "Date", d->now_s, d->offset_min);
    buf_add(out, S("From: Mail Delivery System <"));
    put_field(out, d->from, d->smtputf8);
    buf_add(out, S(">\r\nTo: <"));
    put_field(out, d->to, d->smtputf8);
    buf_addf(out, ">\r\nSubject: %s\r\nMessage-ID: <",
             d->last_resort ? "A message without a sender could not be delivered" : words[d->kind].subject);
    put_field(out, d->message_id, false);
    buf_add(out, S(">\r\n"));
    if (d->original_id.n && d->original_id.n < FIELD_TEXT_MAX && str_ascii(d->original_id)) {
        buf_add(out, S("In-Reply-To: "));
        put_field(out, d->original_id, false);
        buf_add(out, S("\r\nReferences: "));
        put_field(out, d->original_id, false);
        buf_add(out, S("\r\n"));
    }
    buf_addf(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                  "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%.*s\"\r\n"
                  "Content-Transfer-Encoding: 8bit\r\n\r\n",
             STR_ARG(d->boundary));
}

static void put_part(struct buf *out, const struct dsn *d, const char *type, const char *encoding)
{
    buf_addf(out, "--%.*s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", STR_ARG(d->boundary), type,
             encoding);
}

static void put_reply(struct buf *out, str text)
{
    while (text.n) {
        str line = str_cut(&text, '\n');
        buf_add(out, S("        "));
        put_words(out, line);
        buf_add(out, S("\r\n"));
    }
}

/* The address that the sender used: where an alias leads is not told (RFC 3461 6.3 e, RFC 3464 2.3.2). */
static str known_as(const struct dsn_recipient *r) { return r->original.n ? r->original : r->address; }

static void put_person(struct buf *out, const struct dsn *d, const struct dsn_recipient *r)
{
    str advice = d->kind == DSN_FAILED || d->kind == DSN_DELAYED ? dsn_advice(r->status) : STR_NONE;
    buf_add(out, S("\r\n  <"));
    put_words(out, known_as(r));
    buf_add(out, S(">\r\n"));
    if (r->mta.n) {
        buf_add(out, r->code ? S("    The host ") : S("    About the host "));
        put_words(out, r->mta);
        buf_add(out, r->code ? S(" said:\r\n") : S(":\r\n"));
    } else if (r->text.n) {
        buf_add(out, S("    This host says:\r\n"));
    }
    put_reply(out, r->text);
    if (advice.n)
        buf_addf(out, "    %.*s\r\n", STR_ARG(advice));
    if (d->kind == DSN_DELAYED && r->until_s > 0)
        put_date(out, "    It is tried until", r->until_s, d->offset_min);
}

static void put_human(struct buf *out, const struct dsn *d)
{
    put_part(out, d, "text/plain; charset=utf-8", "8bit");
    buf_add(out, S("This is the mail system of "));
    put_words(out, d->hostname);
    if (d->last_resort)
        buf_add(out,
                S(".\r\n\r\nA message without a sender, most likely a notice like this one, could not be delivered. "
                  "Nobody else\r\nhears of it, so it comes to you, the postmaster.\r\n"));
    else
        buf_addf(out, ".\r\n\r\n%s\r\n", words[d->kind].opening);
    if (d->original_subject.n) {
        buf_add(out, S("\r\nIts subject: "));
        put_words(out, d->original_subject);
        buf_add(out, S("\r\n"));
    }
    for (size_t i = 0; i < d->n; i++)
        put_person(out, d, &d->recipients[i]);
    buf_add(out, S("\r\nNobody reads answers to this notice."));
    if (d->postmaster.n) {
        buf_add(out, S(" A person who can help is reached at\r\n<"));
        put_words(out, d->postmaster);
        buf_add(out, S(">."));
    }
    buf_add(out, S(" This number finds the message in the records of this host:\r\n"));
    put_words(out, d->trace_id);
    buf_add(out, S("\r\n\r\n"));
}

/* RFC 3464 2.2 */
static void put_message_fields(struct buf *out, const struct dsn *d)
{
    if (d->envid.n) {
        buf_add(out, S("Original-Envelope-Id: "));
        put_field(out, d->envid, false);
        buf_add(out, S("\r\n"));
    }
    buf_add(out, S("Reporting-MTA: dns; "));
    put_field(out, d->hostname, false);
    buf_add(out, S("\r\nX-Posthouse-Trace: "));
    put_field(out, d->trace_id, false);
    buf_add(out, S("\r\n"));
    put_date(out, "Arrival-Date", d->arrival_s, d->offset_min);
}

/* "type; address"; an address beyond ASCII is of type utf-8 (RFC 6533 3), and where UTF-8 must not stand it is written
 * with \x{…}. */
static void put_address(struct buf *out, const char *name, str type, str address, bool smtputf8)
{
    bool plain = str_ascii(address);
    buf_addf(out, "%s: %.*s; ", name, STR_ARG(plain ? type : S("utf-8")));
    if (plain || smtputf8 || !utf8_valid(address)) {
        put_field(out, address, smtputf8);
    } else {
        const unsigned char *p = (const unsigned char *)address.p;
        for (size_t i = 0; i < address.n;) {
            unsigned more = p[i] < 0x80 ? 0 : p[i] < 0xe0 ? 1 : p[i] < 0xf0 ? 2 : 3;
            uint32_t code = more ? p[i] & (0x3fu >> more) : p[i];
            for (unsigned k = 1; k <= more; k++)
                code = code << 6 | (p[i + k] & 0x3fu);
            i += more + 1;
            if (more)
                buf_addf(out, "\\x{%X}", code);
            else
                put_field(out, str_of(p + i - 1, 1), false);
        }
    }
    buf_add(out, S("\r\n"));
}

/* The reply, its lines as continuation lines (RFC 3464 2.3.6, 2.1.1). */
static void put_diagnostic(struct buf *out, const struct dsn_recipient *r)
{
    str text = r->text;
    if (!text.n)
        return;
    buf_add(out, r->code ? S("Diagnostic-Code: smtp;") : S("Diagnostic-Code: x-posthouse;"));
    for (bool first = true; text.n; first = false) {
        str line = str_cut(&text, '\n');
        buf_add(out, first ? S(" ") : S("\r\n\t"));
        put_field(out, line.n ? line : S("-"), false);
    }
    buf_add(out, S("\r\n"));
}

/* The name in "mx.example.net [192.0.2.1]:25", or the address. */
static str mta_name(str mta)
{
    str name = str_cut(&mta, ' ');
    return name.n ? name : mta;
}

/* RFC 3464 2.3 */
static void put_recipient_fields(struct buf *out, const struct dsn *d, const struct dsn_recipient *r)
{
    buf_add(out, S("\r\n"));
    if (r->orcpt.n) { /* without ORCPT there is none (RFC 3461 6.3 d) */
        str address = r->orcpt, type = str_cut(&address, ';');
        put_address(out, "Original-Recipient", type, address, d->smtputf8);
    }
    put_address(out, "Final-Recipient", S("rfc822"), known_as(r), d->smtputf8);
    buf_addf(out, "Action: %s\r\nStatus: ", words[d->kind].action);
    put_field(out, r->status.n ? r->status : S("5.0.0"), false);
    buf_add(out, S("\r\n"));
    if (r->mta.n) {
        buf_add(out, S("Remote-MTA: dns; "));
        put_field(out, mta_name(r->mta), false);
        buf_add(out, S("\r\n"));
    }
    put_diagnostic(out, r);
    put_date(out, "Last-Attempt-Date", r->at_s, d->offset_min);
    if (d->kind == DSN_DELAYED)
        put_date(out, "Will-Retry-Until", r->until_s, d->offset_min);
}

int dsn_begin(struct buf *out, const struct dsn *d)
{
    put_header(out, d);
    put_human(out, d);
    put_part(out, d, d->smtputf8 ? "message/global-delivery-status" : "message/delivery-status",
             d->smtputf8 ? "8bit" : "7bit"); /* RFC 3464 2: 7bit, always */
    put_message_fields(out, d);
    for (size_t i = 0; i < d->n; i++)
        put_recipient_fields(out, d, &d->recipients[i]);
    buf_add(out, S("\r\n"));
    put_part(out, d,
             d->whole      ? d->smtputf8 ? "message/global" : "message/rfc822"
             : d->smtputf8 ? "message/global-headers"
                           : "text/rfc822-headers",
             "8bit");
    return out->failed;
}

int dsn_end(struct buf *out, const struct dsn *d)
{
    return buf_addf(out, "\r\n--%.*s--\r\n", STR_ARG(d->boundary));
}
