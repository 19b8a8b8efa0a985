/* FETCH of sections: BODY[…], BINARY[…] (RFC 3516) and the old names for them (RFC 9051 6.4.5). Offsets of a message
 * count from the lines that this host put before its content (the prefix), which belong to the header that clients see.
 */
#include "access/imap_fetch.h"
#include <errno.h>
#include "message/header.h"

enum { PIECE = 64 * 1024 };
#define SCRATCH_MAX (2 * READER_HEADER_MAX)

static size_t name_hash(str s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)ascii_lower(s.p[i])) * 16777619u;
    return h;
}

static bool has_name(const struct field_names *f, str name)
{
    for (size_t at = name_hash(name) & f->mask; f->slots[at].n; at = (at + 1) & f->mask)
        if (str_ieq(f->slots[at], name))
            return true;
    return false;
}

static int prepare_names(struct arena *a, const struct imap_fetch_item *said, struct field_names *out)
{
    size_t size = 4;
    while (size < said->n_fields * 2)
        size *= 2;
    *out = (struct field_names){ .slots = ARENA_ARRAY(a, str, size), .mask = size - 1 };
    out->kept = said->section == IMAP_SECTION_FIELDS && said->n_part == 0;
    if (!out->slots)
        return -ENOMEM;
    for (size_t i = 0; i < said->n_fields; i++) {
        str name = arena_lower(a, said->fields[i]);
        if (!name.p)
            return -ENOMEM;
        out->kept &= card_header_kept(name) && !str_eq(name, S("delivered-to")) && !str_eq(name, S("return-path"));
        if (name.n == 0 || has_name(out, name))
            continue;
        size_t at = name_hash(name) & out->mask;
        while (out->slots[at].n)
            at = (at + 1) & out->mask;
        out->slots[at] = name;
    }
    return 0;
}

static void put_part(struct buf *b, const struct imap_fetch_item *said)
{
    for (size_t i = 0; i < said->n_part; i++) {
        if (i)
            buf_addc(b, '.');
        buf_addu(b, said->part[i]);
    }
}

static void put_section_name(struct buf *b, const struct imap_fetch_item *said, bool utf8)
{
    static const str names[] = { [IMAP_SECTION_ALL] = S(""),
                                 [IMAP_SECTION_HEADER] = S("HEADER"),
                                 [IMAP_SECTION_FIELDS] = S("HEADER.FIELDS"),
                                 [IMAP_SECTION_FIELDS_NOT] = S("HEADER.FIELDS.NOT"),
                                 [IMAP_SECTION_TEXT] = S("TEXT"),
                                 [IMAP_SECTION_MIME] = S("MIME") };
    buf_addc(b, '[');
    put_part(b, said);
    if (said->n_part && said->section != IMAP_SECTION_ALL)
        buf_addc(b, '.');
    buf_add(b, names[said->section]);
    if (said->section == IMAP_SECTION_FIELDS || said->section == IMAP_SECTION_FIELDS_NOT) {
        for (size_t i = 0; i < said->n_fields; i++) {
            buf_add(b, i ? S(" ") : S(" ("));
            imap_put_astring(b, said->fields[i], utf8);
        }
        buf_addc(b, ')');
    }
    buf_addc(b, ']');
}

/* Of the items that are sections. */
static int prepare_label(struct fetch *f, struct fetch_item *i)
{
    static const str names[] = {
        [IMAP_FETCH_SECTION] = S("BODY"),       [IMAP_FETCH_BINARY] = S("BINARY"),
        [IMAP_FETCH_BINARY_SIZE] = S("BINARY.SIZE"), [IMAP_FETCH_RFC822] = S("RFC822"),
        [IMAP_FETCH_RFC822_HEADER] = S("RFC822.HEADER"), [IMAP_FETCH_RFC822_TEXT] = S("RFC822.TEXT"),
    };
    _cleanup_buf_ struct buf b = BUF(IMAP_COMMAND_MAX * 2);
    enum imap_fetch_kind kind = i->said->kind;
    if (kind >= ARRAY_LEN(names) || !names[kind].n)
        return 0;
    buf_add(&b, names[kind]);
    if (kind == IMAP_FETCH_SECTION || kind == IMAP_FETCH_BINARY || kind == IMAP_FETCH_BINARY_SIZE)
        put_section_name(&b, i->said, imap_server_utf8(f->session->engine));
    if (i->said->partial) {
        buf_addc(&b, '<');
        buf_addu(&b, i->said->offset);
        buf_addc(&b, '>');
    }
    buf_addc(&b, ' ');
    i->label = arena_dup(&f->arena, buf_str(&b));
    return b.failed ? b.failed : i->label.p ? 0 : -ENOMEM;
}

static bool is_fields(const struct imap_fetch_item *said)
{
    return said->kind == IMAP_FETCH_SECTION &&
           (said->section == IMAP_SECTION_FIELDS || said->section == IMAP_SECTION_FIELDS_NOT);
}

/* What a section needs of its message. */
static unsigned section_needs(const struct fetch_item *i)
{
    const struct imap_fetch_item *said = i->said;
    if (is_fields(said) && i->names.kept)
        return FETCH_TEXT | FETCH_FIELDS;
    if (is_fields(said) && !said->n_part)
        return FETCH_CONTENT;
    if (said->kind == IMAP_FETCH_RFC822_HEADER || (!said->n_part && said->section == IMAP_SECTION_HEADER))
        return FETCH_CARD | FETCH_CONTENT;
    return FETCH_CARD | FETCH_CONTENT | FETCH_WHOLE;
}

static unsigned item_needs(const struct fetch_item *i)
{
    switch (i->said->kind) {
    case IMAP_FETCH_ENVELOPE: case IMAP_FETCH_THREADID: return FETCH_TEXT;
    case IMAP_FETCH_STRUCTURE: case IMAP_FETCH_STRUCTURE_OLD: return FETCH_TEXT | FETCH_PARTS;
    case IMAP_FETCH_SECTION: case IMAP_FETCH_BINARY: case IMAP_FETCH_BINARY_SIZE: case IMAP_FETCH_RFC822:
    case IMAP_FETCH_RFC822_HEADER: case IMAP_FETCH_RFC822_TEXT: return section_needs(i);
    default: return 0;
    }
}

/* Of the texts of the card. */
static uint32_t item_columns(const struct fetch_item *i)
{
    switch (i->said->kind) {
    case IMAP_FETCH_ENVELOPE: return COLUMN_ENVELOPE;
    case IMAP_FETCH_THREADID: return COLUMN_THREAD;
    case IMAP_FETCH_STRUCTURE: case IMAP_FETCH_STRUCTURE_OLD: return COLUMN_STRUCTURE;
    case IMAP_FETCH_SECTION: return is_fields(i->said) ? COLUMN_HEADERS : 0;
    default: return 0;
    }
}

static bool sets_seen(const struct imap_fetch_item *said)
{
    switch (said->kind) {
    case IMAP_FETCH_SECTION: case IMAP_FETCH_BINARY: case IMAP_FETCH_RFC822: case IMAP_FETCH_RFC822_TEXT:
        return !said->peek;
    default: return false;
    }
}

int fetch_prepare(struct fetch *f)
{
    const struct imap_fetch *said = &f->command->fetch;
    bool wants_modseq = said->has_changedsince; /* RFC 7162 3.1.4.1: MODSEQ is in each answer */
    f->items = ARENA_ARRAY(&f->arena, struct fetch_item, said->n_items + 1);
    f->scratch = BUF(SCRATCH_MAX);
    if (!f->items)
        return -ENOMEM;
    for (f->n_items = 0; f->n_items < said->n_items; f->n_items++) {
        struct fetch_item *i = &f->items[f->n_items];
        i->said = &said->items[f->n_items];
        if (prepare_label(f, i) < 0 || (is_fields(i->said) && prepare_names(&f->arena, i->said, &i->names) < 0))
            return -ENOMEM;
        f->needs |= item_needs(i);
        f->columns |= item_columns(i);
        f->sets_seen |= sets_seen(i->said);
        wants_modseq &= i->said->kind != IMAP_FETCH_MODSEQ;
    }
    static const struct imap_fetch_item modseq = { .kind = IMAP_FETCH_MODSEQ };
    if (wants_modseq)
        f->items[f->n_items++].said = &modseq;
    return 0;
}

/* A card that is minimal knows nothing of its message: one part behind the header. */
static bool lone_part(struct fetch *f)
{
    struct mime_part *p = ARENA_NEW(&f->parts, struct mime_part);
    if (!p)
        return false;
    *p = (struct mime_part){ .body_off = f->parsed.header_len, .end_off = fetch_message(f)->content_len,
                             .type = S("text"), .subtype = S("plain") };
    if (!p->body_off && f->needs & FETCH_CONTENT && !f->damaged) {
        buf_clear(&f->scratch);
        if (message_reader_header(f->reader, 0, 0, &f->scratch) < 0)
            return false;
        p->body_off = f->scratch.n;
    }
    f->parsed.parts = p;
    f->parsed.n_parts = 1;
    return true;
}

bool fetch_parse(struct fetch *f)
{
    uint64_t len = fetch_message(f)->content_len;
    if (f->has_parsed)
        return true;
    arena_clear(&f->parts);
    f->parsed = (struct card){ 0 };
    bool good = card_decode(&f->parts, f->card, &f->parsed) == 0 && f->parsed.size == len;
    size_t n = f->parsed.n_parts;
    if (!good || n == 0 || (n == 1 && f->parsed.limited && !f->parsed.parts[0].body_off))
        good = lone_part(f);
    return f->has_parsed = good;
}

/* The k-th child of a part, from 1; SIZE_MAX: there is none. */
static size_t child_of(const struct card *c, size_t parent, uint32_t k)
{
    for (size_t i = parent + 1; k && i < c->n_parts && c->parts[i].depth > c->parts[parent].depth; i++)
        if (c->parts[i].parent == parent && --k == 0)
            return i;
    return SIZE_MAX;
}

/* The part with that number (RFC 9051 6.4.5.1): a message that is no multipart has part 1, its body; the numbers go on
 * inside a message/rfc822 with the parts of the message in it. */
static size_t find_part(const struct card *c, const uint32_t *numbers, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && c->parts[at].message)
            at = child_of(c, at, 1);
        else if (i && !c->parts[at].multipart)
            return SIZE_MAX;
        if (at == SIZE_MAX)
            return at;
        if (c->parts[at].multipart)
            at = child_of(c, at, numbers[i]);
        else if (numbers[i] != 1)
            return SIZE_MAX;
        if (at == SIZE_MAX)
            return at;
    }
    return at;
}

/* Where a section lies; false: the message has no such section. to 0 of a header: as far as its empty line. */
static bool locate(struct fetch *f, const struct imap_fetch_item *said, uint64_t *out_from, uint64_t *out_to)
{
    uint64_t prefix = fetch_message(f)->prefix_len;
    size_t at = find_part(&f->parsed, said->part, said->n_part);
    if (at == SIZE_MAX)
        return false;
    const struct mime_part *p = &f->parsed.parts[at];
    bool of_message = said->section != IMAP_SECTION_ALL && said->section != IMAP_SECTION_MIME;
    if (said->n_part && of_message) { /* HEADER and TEXT of a part are those of the message in it */
        if (!p->message || (at = child_of(&f->parsed, at, 1)) == SIZE_MAX)
            return false;
        p = &f->parsed.parts[at];
    }
    uint64_t from = p->body_off, to = p->end_off;
    if (!said->n_part && said->section == IMAP_SECTION_ALL)
        from = 0;
    if (of_message && said->section != IMAP_SECTION_TEXT) {
        from = p->header_off;
        to = p->body_off;
    }
    if (said->section == IMAP_SECTION_MIME) {
        from = p->header_off;
        to = p->body_off;
    }
    bool whole = !said->n_part && from == 0 && said->section != IMAP_SECTION_TEXT;
    *out_from = whole ? 0 : from + prefix;
    *out_to = to + prefix;
    return *out_from <= *out_to && *out_to <= box_message_size(fetch_message(f));
}

/* The part of [*from, *to) that was asked for. */
static void cut_partial(const struct imap_fetch_item *said, uint64_t *from, uint64_t *to)
{
    if (!said->partial)
        return;
    *from += MIN(said->offset, *to - *from);
    *to = *from + MIN(said->length, *to - *from);
}

static void put_nil(struct fetch *f) { buf_add(imap_out(f->session), S("NIL")); }

/* "{n}" and the line end. Nothing is written as a string. */
static bool put_size(struct buf *out, uint64_t n, bool binary)
{
    if (n == 0) {
        buf_add(out, S("\"\""));
        return false;
    }
    buf_add(out, binary ? S("~{") : S("{"));
    buf_addu(out, n);
    buf_add(out, S("}\r\n"));
    return true;
}

static void begin_content(struct fetch *f, uint64_t from, uint64_t to, bool binary)
{
    f->from = from;
    f->to = to;
    if (put_size(imap_out(f->session), to - from, binary))
        f->literal = LITERAL_CONTENT;
}

/* Adds the lines of a header that are wanted. */
static void filter_header(struct buf *out, str header, const struct field_names *names, bool wanted)
{
    struct header_field field;
    while (header_next(&header, &field))
        if ((field.name.n && has_name(names, field.name)) == wanted) {
            buf_add(out, field.raw);
            if (!str_ends(field.raw, S("\n")))
                buf_add(out, S("\r\n"));
        }
}

/* The same for header lines at hand that are fields for certain, as a card keeps them: without looking at each byte. */
static void filter_kept(struct buf *out, str lines, const struct field_names *names)
{
    const char *p = lines.p, *end = lines.p + lines.n;
    while (p < end) {
        const char *next = p, *colon = memchr(p, ':', (size_t)(end - p));
        do {
            next = memchr(next, '\n', (size_t)(end - next));
            next = next ? next + 1 : end;
        } while (next < end && ascii_blank(*next));
        size_t n = colon ? (size_t)(colon - p) : 0;
        while (n && ascii_blank(p[n - 1]))
            n--;
        if (n && has_name(names, str_of(p, n)))
            buf_add(out, str_of(p, (size_t)(next - p)));
        p = next;
    }
}

static int fields_of_content(struct fetch *f, const struct fetch_item *i)
{
    const struct box_message *m = fetch_message(f);
    const struct imap_fetch_item *said = i->said;
    _cleanup_buf_ struct buf header = BUF(READER_HEADER_MAX + PIECE);
    bool wanted = said->section == IMAP_SECTION_FIELDS;
    uint64_t from = 0, to = 0;
    if (said->n_part && (!fetch_parse(f) || !locate(f, said, &from, &to)))
        return -ENOENT;
    if (said->n_part) {
        from -= m->prefix_len;
        to -= m->prefix_len;
    } else {
        filter_header(&f->scratch, str_of(m->prefix, m->prefix_len), &i->names, wanted);
    }
    int r = said->n_part && from == to ? 0 : message_reader_header(f->reader, from, to, &header);
    if (r == 0)
        filter_header(&f->scratch, buf_str(&header), &i->names, wanted);
    return r;
}

static void put_fields(struct fetch *f, const struct fetch_item *i)
{
    int r = 0;
    buf_clear(&f->scratch);
    if (i->names.kept && !f->made && !f->text.headers_cut)
        filter_kept(&f->scratch, f->text.headers, &i->names);
    else
        r = f->damaged ? -EIO : fields_of_content(f, i);
    buf_add(&f->scratch, S("\r\n"));
    if (r < 0 || f->scratch.failed) {
        f->some_damaged |= r != -ENOENT;
        put_nil(f);
        return;
    }
    uint64_t from = 0, to = f->scratch.n;
    struct buf *out = imap_out(f->session);
    cut_partial(i->said, &from, &to);
    if (!put_size(out, to - from, false))
        return;
    f->scratch.n = (size_t)to;
    f->scratch_at = (size_t)from;
    f->literal = LITERAL_TEXT;
}

/* Reads a part through its decoder: counts, and looks for a NUL. 1: measured; 0: it takes longer than this turn. */
static int measure(struct fetch *f, const struct mime_part *p, enum part_encoding encoding)
{
    if (!f->measuring) {
        part_decode_begin(&f->decoder, encoding);
        f->measured_at = p->body_off;
        f->measured = 0;
        f->measured_nul = false;
        f->measuring = true;
    }
    do {
        uint64_t at = f->measured_at, left = at < p->end_off ? p->end_off - at : 0;
        str s = left ? message_reader_view(f->reader, at, (size_t)MIN(left, (uint64_t)PIECE)) : STR_NONE;
        if (left && !s.n)
            return -EIO;
        buf_clear(&f->scratch);
        int r = s.n ? part_decode_feed(&f->decoder, &f->scratch, s) : part_decode_end(&f->decoder, &f->scratch);
        if (r < 0)
            return r;
        f->measured += f->scratch.n;
        f->measured_nul = f->measured_nul || (f->scratch.n && memchr(f->scratch.p, 0, f->scratch.n));
        f->measured_at += s.n;
        if (!s.n)
            return 1;
    } while (!imap_session_turn_over(f->session));
    return 0;
}

static void begin_decoded(struct fetch *f, const struct imap_fetch_item *said, const struct mime_part *p, uint64_t n,
                          bool nul)
{
    enum part_encoding encoding = part_encoding_of(p->encoding);
    uint64_t from = 0, to = n;
    cut_partial(said, &from, &to);
    f->skip = from;
    f->left = to - from;
    f->from = p->body_off;
    f->to = p->end_off;
    buf_clear(&f->scratch);
    f->scratch_at = 0;
    part_decode_begin(&f->decoder, encoding);
    if (put_size(imap_out(f->session), f->left, nul))
        f->literal = LITERAL_DECODED;
}

static bool is_container(const struct mime_part *p) { return p->multipart || p->message; }

/* BINARY.SIZE is a number whatever happens, BINARY may be NIL. */
static void put_no_binary(struct fetch *f, const struct imap_fetch_item *said)
{
    buf_add(imap_out(f->session), said->kind == IMAP_FETCH_BINARY ? S("NIL") : S("0"));
}

static void put_binary(struct fetch *f, const struct imap_fetch_item *said)
{
    bool size_only = said->kind == IMAP_FETCH_BINARY_SIZE;
    size_t at = find_part(&f->parsed, said->part, said->n_part);
    if (at == SIZE_MAX) {
        f->measuring = false;
        put_no_binary(f, said);
        return;
    }
    /* without a part number the whole message as it stands */
    struct mime_part p = f->parsed.parts[at];
    if (!said->n_part)
        p.body_off = 0;
    if (!said->n_part || is_container(&p))
        p.encoding = STR_NONE;
    enum part_encoding encoding = part_encoding_of(p.encoding);
    uint64_t prefix = fetch_message(f)->prefix_len, n = p.end_off - p.body_off;
    bool known = encoding == PART_IDENTITY && size_only;
    int r = encoding == PART_UNKNOWN ? -ENOTSUP : known ? 1 : measure(f, &p, encoding);
    if (r == 0)
        return;
    f->measuring = false;
    n = known ? n : f->measured;
    bool nul = !known && f->measured_nul;
    f->unknown_encoding |= r == -ENOTSUP;
    f->some_damaged |= r < 0 && r != -ENOTSUP;
    if (r < 0) {
        put_no_binary(f, said);
    } else if (size_only) {
        buf_addu(imap_out(f->session), said->n_part ? n : n + prefix);
    } else if (encoding == PART_IDENTITY) {
        uint64_t from = said->n_part ? p.body_off + prefix : 0, to = p.end_off + prefix;
        cut_partial(said, &from, &to);
        begin_content(f, from, to, nul);
    } else {
        begin_decoded(f, said, &p, n, nul);
    }
}

/* The sections that the old names stand for. */
static struct imap_fetch_item modern(const struct imap_fetch_item *said)
{
    struct imap_fetch_item m = *said;
    m.section = said->kind == IMAP_FETCH_RFC822_HEADER ? IMAP_SECTION_HEADER
                : said->kind == IMAP_FETCH_RFC822_TEXT ? IMAP_SECTION_TEXT
                : said->kind == IMAP_FETCH_RFC822      ? IMAP_SECTION_ALL
                                                       : said->section;
    return m;
}

void fetch_put_section(struct fetch *f, const struct fetch_item *i)
{
    struct imap_fetch_item said = modern(i->said);
    uint64_t from, to;
    bool binary = said.kind == IMAP_FETCH_BINARY || said.kind == IMAP_FETCH_BINARY_SIZE;
    if (!f->measuring)
        buf_add(imap_out(f->session), i->label);
    if (is_fields(&said)) {
        put_fields(f, i);
    } else if (f->damaged || !fetch_parse(f)) {
        f->some_damaged = true;
        f->measuring = false;
        put_no_binary(f, &(struct imap_fetch_item){ .kind = binary ? said.kind : IMAP_FETCH_BINARY });
    } else if (binary) {
        put_binary(f, &said);
    } else if (!locate(f, &said, &from, &to)) {
        put_nil(f);
    } else {
        cut_partial(&said, &from, &to);
        begin_content(f, from, to, false);
    }
}

static int put_content(struct fetch *f)
{
    const struct box_message *m = fetch_message(f);
    struct buf *out = imap_out(f->session);
    while (f->from < f->to) {
        if (out->n >= IMAP_OUTPUT_HIGH)
            return 0;
        if (f->from < m->prefix_len) {
            str s = str_from(str_of(m->prefix, m->prefix_len), (size_t)f->from);
            s = str_first(s, (size_t)(f->to - f->from));
            buf_add(out, s);
            f->from += s.n;
            continue;
        }
        size_t n = (size_t)MIN(f->to - f->from, (uint64_t)PIECE), before = out->n;
        int r = message_reader_read(f->reader, f->from - m->prefix_len, n, out);
        if (r < 0 || message_reader_broken(f->reader)) {
            out->n = before; /* the last of it must not come, lest it look complete */
            return r < 0 ? r : -EBADMSG;
        }
        f->from += n;
    }
    return 1;
}

static int put_text(struct fetch *f)
{
    struct buf *out = imap_out(f->session);
    while (f->scratch_at < f->scratch.n) {
        if (out->n >= IMAP_OUTPUT_HIGH)
            return 0;
        str s = str_first(str_from(buf_str(&f->scratch), f->scratch_at), PIECE);
        buf_add(out, s);
        f->scratch_at += s.n;
    }
    return 1;
}

/* The next piece of the part through its decoder, into the scratch buffer. */
static int decode_more(struct fetch *f)
{
    buf_clear(&f->scratch);
    f->scratch_at = 0;
    if (f->from == f->to) {
        f->to = 0; /* the end was fed */
        f->from = 1;
        return part_decode_end(&f->decoder, &f->scratch);
    }
    if (f->from > f->to)
        return -EIO;
    str s = message_reader_view(f->reader, f->from, (size_t)MIN(f->to - f->from, (uint64_t)PIECE));
    if (!s.n)
        return -EIO;
    f->from += s.n;
    return part_decode_feed(&f->decoder, &f->scratch, s);
}

static int put_decoded(struct fetch *f)
{
    struct buf *out = imap_out(f->session);
    while (f->left) {
        if (out->n >= IMAP_OUTPUT_HIGH)
            return 0;
        str s = str_from(buf_str(&f->scratch), f->scratch_at);
        size_t skipped = (size_t)MIN(f->skip, (uint64_t)s.n);
        s = str_from(s, skipped);
        f->skip -= skipped;
        s = str_first(s, (size_t)MIN(f->left, (uint64_t)PIECE));
        buf_add(out, s);
        f->left -= s.n;
        f->scratch_at += skipped + s.n;
        bool more = f->left && f->scratch_at >= f->scratch.n;
        if (more && decode_more(f) < 0)
            return -EIO;
        if (more && imap_session_turn_over(f->session))
            return 0;
    }
    return 1;
}

int fetch_put_literal(struct fetch *f)
{
    int r = f->literal == LITERAL_CONTENT   ? put_content(f)
            : f->literal == LITERAL_TEXT    ? put_text(f)
            : f->literal == LITERAL_DECODED ? put_decoded(f)
                                            : 1;
    if (r == 1)
        f->literal = LITERAL_NONE;
    return r;
}
