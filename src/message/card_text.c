/* The texts of a card: see card_text.h. Every text has its own share of CARD_TEXT_MAX, so that no part of a message can
 * take the room of another; the structure, which comes last, has what is left. */
#include "message/card_text.h"
#include <errno.h>
#include "base/date.h"
#include "message/address.h"
#include "message/address_scan.h"
#include "message/fold.h"
#include "message/header.h"
#include "message/imap_text.h"
#include "message/message_id.h"

enum {
    FOLDED_MAX = 4096, /* of each: subject, from, to, cc, bcc */
    FOLDING_MAX = 16384,
    KEY_MAX = 256,
    REFERENCES_MAX = 6144,
    ENVELOPE_MAX = 40960,
};

/* The texts, in the order in which they are made. */
enum piece {
    HEADERS, SUBJECT, FROM, TO, CC, BCC, FROM_KEY, TO_KEY, CC_KEY, MESSAGE_ID, REFERENCES, ENVELOPE, STRUCTURE, PIECES,
};

/* The fields that are read. */
enum field { F_SUBJECT, F_FROM, F_TO, F_CC, F_BCC, F_DATE, F_MESSAGE_ID, F_REFERENCES, F_IN_REPLY_TO, FIELDS };

static const str field_names[FIELDS] = {
    [F_SUBJECT] = S("subject"),       [F_FROM] = S("from"),
    [F_TO] = S("to"),                 [F_CC] = S("cc"),
    [F_BCC] = S("bcc"),               [F_DATE] = S("date"),
    [F_MESSAGE_ID] = S("message-id"), [F_REFERENCES] = S("references"),
    [F_IN_REPLY_TO] = S("in-reply-to"),
};

struct maker {
    const struct mime_parser *m;
    struct buf *hold;
    size_t begin; /* of the texts in hold */
    struct {
        size_t at, n;
    } made[PIECES];
    struct buf scratch;
    struct arena arena;
    struct card_text *out;
    str header;
    size_t n_fields;
    const struct mime_field *fields;
    str value[FIELDS]; /* of the first field of that name */
    size_t times[FIELDS];
};

bool card_header_kept(str name)
{
    static const str kept[] = {
#define CARD_HEADER(name) S(name),
#include "message/card_headers.def"
#undef CARD_HEADER
    };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (str_ieq(name, kept[i]))
            return true;
    return false;
}

static int add(struct maker *k, enum piece piece, str text)
{
    k->made[piece].at = k->hold->n;
    k->made[piece].n = text.n;
    return buf_add(k->hold, text);
}

static void scratch_begin(struct maker *k, size_t max)
{
    if (k->scratch.cap > max) /* a ceiling does not make smaller what is there */
        buf_release(&k->scratch);
    buf_clear(&k->scratch);
    k->scratch.max = max;
}

static str field_line(const struct maker *k, size_t i)
{
    return str_first(str_from(k->header, k->fields[i].off), k->fields[i].len);
}

/* Name and value of field i, which header_split() has seen before. */
static str field_split(const struct maker *k, size_t i, str *out_name)
{
    str line = field_line(k, i), value = STR_NONE;
    *out_name = STR_NONE;
    struct header_field f;
    if (header_next(&line, &f)) {
        *out_name = f.name;
        value = f.value;
    }
    return value;
}

/* The lines that are kept, and where the fields are that the others need. */
static int read_fields(struct maker *k)
{
    scratch_begin(k, CARD_HEADERS_MAX);
    for (size_t i = 0; i < k->n_fields; i++) {
        str name, value = field_split(k, i, &name), line = field_line(k, i);
        if (!card_header_kept(name))
            continue;
        bool fits = line.n <= CARD_HEADER_LINE_MAX && line.n <= CARD_HEADERS_MAX - k->scratch.n;
        k->out->headers_cut |= !fits;
        if (fits)
            buf_add(&k->scratch, line);
        for (enum field f = 0; f < FIELDS; f++)
            if (str_ieq(name, field_names[f]) && k->times[f]++ == 0)
                k->value[f] = value;
    }
    return k->scratch.failed ? k->scratch.failed : add(k, HEADERS, buf_str(&k->scratch));
}

static str without_half_character(str s)
{
    size_t n = s.n;
    while (n > 0 && s.n - n < 3 && ((unsigned char)s.p[n - 1] & 0xc0) == 0x80)
        n--;
    unsigned char lead = n > 0 ? (unsigned char)s.p[n - 1] : 0;
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return n > 0 && s.n - n + 1 < need ? str_first(s, n - 1) : s;
}

/* Adds the first `max` bytes of what was folded to the scratch buffer, which has room for more than that. */
static int add_folded(struct maker *k, enum piece piece, size_t max, bool *out_cut)
{
    str text = buf_str(&k->scratch);
    if (k->scratch.failed && k->scratch.failed != -ENOBUFS)
        return k->scratch.failed;
    *out_cut |= text.n > max || k->scratch.failed;
    return add(k, piece, text.n > max ? without_half_character(str_first(text, max)) : text);
}

/* All fields of that name, a blank between them. */
static int fold_fields(struct maker *k, enum piece piece, enum field f)
{
    scratch_begin(k, FOLDING_MAX);
    if (k->times[f] == 1)
        fold_header(&k->scratch, k->value[f]);
    for (size_t i = 0; i < k->n_fields && k->times[f] > 1; i++) {
        str name, value = field_split(k, i, &name);
        if (!str_ieq(name, field_names[f]))
            continue;
        if (k->scratch.n)
            buf_addc(&k->scratch, ' ');
        fold_header(&k->scratch, value);
    }
    return add_folded(k, piece, FOLDED_MAX, &k->out->headers_cut);
}

static int fold_subject(struct maker *k)
{
    scratch_begin(k, FOLDING_MAX);
    fold_header(&k->scratch, k->value[F_SUBJECT]);
    int r = add_folded(k, SUBJECT, FOLDED_MAX, &k->out->headers_cut);
    if (r == 0)
        base_subject(str_of(k->hold->p + k->made[SUBJECT].at, k->made[SUBJECT].n), &k->out->base_off, &k->out->base_len,
                     &k->out->reply);
    return r;
}

/* The mailbox name of the first address (RFC 5256 3); of a list of groups without addresses, that of the group. */
static int add_key(struct maker *k, enum piece piece, enum field f)
{
    struct address_scan scan = ADDRESS_SCAN(k->value[f]);
    struct address_item item, first = { 0 };
    bool found = false, cut = false;
    while (!found && address_scan_next(&scan, &item)) {
        found = item.kind == ADDRESS_ITEM;
        if (found || (item.kind == ADDRESS_GROUP_START && !first.phrase.p))
            first = item;
    }
    scratch_begin(k, FOLDING_MAX);
    if (first.phrase.p || first.local.p) {
        arena_clear(&k->arena);
        const struct mailbox *m = address_item_mailbox(&k->arena, &first);
        if (!m)
            return -ENOMEM;
        fold_utf8(&k->scratch, m->kind == MAILBOX_ADDRESS ? m->local : m->name);
    }
    return add_folded(k, piece, KEY_MAX, &cut);
}

static int read_date(struct maker *k)
{
    int offset;
    if (!k->times[F_DATE])
        return 0;
    arena_clear(&k->arena);
    str date = header_unfold(&k->arena, k->value[F_DATE]);
    k->out->has_date = date.p && date_parse_5322(date, &k->out->date_s, &offset) == 0;
    return date.p ? 0 : -ENOMEM;
}

static int add_message_id(struct maker *k)
{
    str value = k->value[F_MESSAGE_ID];
    scratch_begin(k, FOLDING_MAX);
    message_id_next(&value, &k->scratch);
    return k->scratch.failed ? k->scratch.failed : add(k, MESSAGE_ID, buf_str(&k->scratch));
}

/* Of a list that is too long the first id, which begins the thread, and the last ones, which are nearest. */
static int add_shortened(struct maker *k, str ids)
{
    str rest = ids, first = str_cut(&rest, '\n');
    while (first.n + 1 + rest.n > REFERENCES_MAX)
        str_cut(&rest, '\n');
    int r = add(k, REFERENCES, str_first(ids, first.n + 1));
    k->made[REFERENCES].n += rest.n;
    return r < 0 ? r : buf_add(k->hold, rest);
}

static int add_references(struct maker *k)
{
    str value = k->value[F_REFERENCES], reply = k->value[F_IN_REPLY_TO];
    scratch_begin(k, MIME_HEADER_TEXT_MAX);
    while (message_id_next(&value, &k->scratch))
        buf_addc(&k->scratch, '\n');
    if (k->scratch.n == 0 && message_id_next(&reply, &k->scratch))
        buf_addc(&k->scratch, '\n');
    if (k->scratch.failed)
        return k->scratch.failed;
    str ids = buf_str(&k->scratch);
    return ids.n <= REFERENCES_MAX ? add(k, REFERENCES, ids) : add_shortened(k, ids);
}

static int add_envelope(struct maker *k)
{
    scratch_begin(k, ENVELOPE_MAX);
    int r = imap_envelope_text(&k->scratch, k->header, false);
    if (r == -ENOBUFS) {
        buf_clear(&k->scratch);
        r = imap_envelope_text(&k->scratch, k->header, true);
    }
    if (r == -ENOBUFS)
        return add(k, ENVELOPE, IMAP_ENVELOPE_EMPTY);
    return r < 0 ? r : add(k, ENVELOPE, buf_str(&k->scratch));
}

static int add_structure(struct maker *k)
{
    const struct mime_part *parts;
    size_t n = mime_parts(k->m, &parts);
    scratch_begin(k, CARD_TEXT_MAX - (k->hold->n - k->begin));
    int r = imap_structure_text(&k->scratch, k->m);
    if (r == -ENOBUFS) {
        buf_clear(&k->scratch);
        r = imap_structure_plain(&k->scratch, parts, n);
    }
    if (r == -ENOBUFS) {
        const struct mime_part whole = {
            .body_off = parts[0].body_off, .end_off = parts[0].end_off, .lines = parts[0].lines,
            .type = S("text"), .subtype = S("plain"),
        };
        buf_clear(&k->scratch);
        r = imap_structure_plain(&k->scratch, &whole, 1);
    }
    return r < 0 ? r : add(k, STRUCTURE, buf_str(&k->scratch));
}

static int make(struct maker *k)
{
    int r = read_fields(k);
    if (r == 0)
        r = read_date(k);
    if (r == 0)
        r = fold_subject(k);
    for (int i = 0; i < 4 && r == 0; i++)
        r = fold_fields(k, FROM + i, F_FROM + i);
    for (int i = 0; i < 3 && r == 0; i++)
        r = add_key(k, FROM_KEY + i, F_FROM + i);
    if (r == 0)
        r = add_message_id(k);
    if (r == 0)
        r = add_references(k);
    if (r == 0)
        r = add_envelope(k);
    return r < 0 ? r : add_structure(k);
}

static void point(const struct maker *k, struct card_text *t)
{
    str *const to[PIECES] = {
        [HEADERS] = &t->headers,       [SUBJECT] = &t->subject,       [FROM] = &t->from,
        [TO] = &t->to,                 [CC] = &t->cc,                 [BCC] = &t->bcc,
        [FROM_KEY] = &t->from_key,     [TO_KEY] = &t->to_key,         [CC_KEY] = &t->cc_key,
        [MESSAGE_ID] = &t->message_id, [REFERENCES] = &t->references, [ENVELOPE] = &t->envelope,
        [STRUCTURE] = &t->structure,
    };
    for (enum piece i = 0; i < PIECES; i++)
        *to[i] = str_of(k->hold->p + k->made[i].at, k->made[i].n);
}

int card_text_make(struct buf *hold, const struct mime_parser *m, struct card_text *out)
{
    struct card_text t = { .present = true };
    struct maker k = { .m = m, .hold = hold, .begin = hold->n, .out = &t, .header = mime_header_text(m) };
    const struct mime_part *parts;
    k.scratch = BUF(CARD_TEXT_MAX);
    k.arena = ARENA(2 * MIME_HEADER_TEXT_MAX);
    k.n_fields = mime_fields(m, &k.fields);
    mime_parts(m, &parts);
    t.headers_cut = k.n_fields == MIME_HEADERS_MAX || parts[0].body_off > MIME_HEADER_TEXT_MAX;
    int r = hold->failed ? hold->failed : make(&k);
    buf_done(&k.scratch);
    arena_done(&k.arena);
    if (r < 0)
        return r;
    point(&k, &t);
    *out = t;
    return 0;
}
