/* Fuzzes what IMAP is told of a message: every ENVELOPE, BODYSTRUCTURE and BODY, of any input, is in the grammar (an
 * independent reader says so), has as many leaves as the part table, and the card gives it all back. */
#include "message/card.h"
#include "message/imap_check_test.h"
#include "message/imap_text.h"
#include "message/message_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void check_strip(str structure)
{
    _cleanup_buf_ struct buf body = BUF(1 << 24), again = BUF(1 << 24);
    require(imap_structure_strip(&body, structure) == 0 && imap_structure_valid(buf_str(&body), false));
    require(imap_structure_strip(&again, buf_str(&body)) == 0 && str_eq(buf_str(&body), buf_str(&again)));
}

/* Leaves of the structure against the table; a message/rfc822 that is a leaf has a made-up text in it. */
static void check_structure(str text, const struct mime_part *parts, size_t n)
{
    struct imap_check c = { .in = text, .extended = true };
    size_t leaves = 0;
    uint64_t octets = 0;
    check_body(&c, 0);
    require(check_done(&c));
    for (size_t i = 0; i < n; i++) {
        const struct mime_part *p = &parts[i];
        bool message =
            str_eq(p->type, S("message")) && (str_eq(p->subtype, S("rfc822")) || str_eq(p->subtype, S("global")));
        size_t counted = p->multipart ? 0 : message && !p->message ? 2 : 1;
        leaves += counted;
        octets += counted * (p->end_off - p->body_off);
    }
    require(c.leaves == leaves && c.octets == octets);
    check_strip(text);
}

/* What the parser noted of the fields is what a walk over the header finds; the same envelope comes of both. */
static void check_fields(const struct mime_parser *m, str envelope)
{
    _cleanup_buf_ struct buf walked = BUF(1 << 26);
    const struct mime_field *fields;
    struct header_field noted, found;
    size_t n = mime_fields(m, &fields);
    if (!imap_text_fields_known(m))
        return;
    for (size_t i = 0; i < n; i++) {
        require(imap_text_field(mime_header_text(m), &fields[i], &noted));
        str line = noted.raw;
        require(header_next(&line, &found) && line.n == 0);
        require(str_eq(noted.raw, found.raw) && str_eq(noted.name, found.name) && str_eq(noted.value, found.value));
    }
    require(imap_envelope_text(&walked, mime_header_text(m), false) == 0);
    if (walked.n < 32768)
        require(str_eq(buf_str(&walked), envelope));
}

static void check_message(struct mime_parser *m)
{
    _cleanup_buf_ struct buf hold = BUF(CARD_TEXT_MAX), card = BUF(CARD_MAX), plain = BUF(1 << 24);
    struct card_text made, read;
    const struct mime_part *parts;
    size_t n = mime_parts(m, &parts);
    require(card_text_make(&hold, m, &made) == 0 && made.present);
    require(imap_envelope_valid(made.envelope));
    check_fields(m, made.envelope);
    check_structure(made.structure, parts, n);
    require(imap_structure_plain(&plain, parts, n) == 0);
    check_structure(buf_str(&plain), parts, n);
    require(made.base_off <= made.subject.n && made.base_len <= made.subject.n - made.base_off);
    require(card_encode(&card, m) == 0 && card_text_read(buf_str(&card), &read) == 0);
    require(read.present && str_eq(read.envelope, made.envelope) && str_eq(read.structure, made.structure));
    require(str_eq(read.headers, made.headers) && str_eq(read.references, made.references));
    require(read.date_s == made.date_s && read.reply == made.reply);
}

static void check_ids(str s)
{
    _cleanup_buf_ struct buf id = BUF(MESSAGE_ID_MAX);
    while (message_id_next(&s, &id)) {
        require(id.n > 2 && str_rchr(buf_str(&id), '@') > 0 && str_chr(buf_str(&id), '\n') < 0);
        buf_clear(&id);
    }
    require(s.n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mime_parser *m;
    _cleanup_buf_ struct buf envelope = BUF(1 << 26), brief = BUF(1 << 26);
    str content = str_of(data, size);
    if (!m)
        m = mime_new();
    if (size > 65536)
        return 0;
    mime_reset(m);
    mime_feed(m, content);
    mime_end(m);
    check_message(m);
    require(imap_envelope_put(&envelope, content) == 0 && imap_envelope_valid(buf_str(&envelope)));
    require(imap_envelope_text(&brief, content, true) == 0 && imap_envelope_valid(buf_str(&brief)));
    check_strip(S("(\"text\" \"plain\" NIL NIL NIL \"7bit\" 1 1)"));
    imap_structure_strip(&brief, content); /* anything may come from a damaged card */
    check_ids(content);
    return 0;
}
