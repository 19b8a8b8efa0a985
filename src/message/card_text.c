/* The texts of a card: see card_text.h. Every text has its own share of CARD_TEXT_MAX, so that no part of a message can
 * take the room of another; the structure, which comes last, has what is left. */
#include "message/card_text.h"
#include <errno.h>
#include "base/date.h"
#include "message/address.h"
#include "message/address_scan.h"
#include "message/fold.h"
#include "message/imap_text.h"
#include "message/message_id.h"

enum {
    FOLDED_MAX = 4096, /* of each: subject, from, to, cc, bcc */
    FOLDING_MAX = 16384,
    KEY_MAX = 256,
    REFERENCES_MAX = 6144,
    ENVELOPE_MAX = 40960,
    SCRATCH_BYTES = 2048, /* few pieces are larger */
};

/* The texts, in the order in which they are made. */
enum piece {
    HEADERS, SUBJECT, FROM, TO, CC, BCC, FROM_KEY, TO_KEY, CC_KEY, MESSAGE_ID, REFERENCES, ENVELOPE, STRUCTURE, PIECES,
};

/* The address fields, in the order of their pieces. */
static const enum envelope_member people[] = { ENVELOPE_FROM, ENVELOPE_TO, ENVELOPE_CC, ENVELOPE_BCC };

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
    struct envelope_fields known; /* what else is read is among them, but for References */
    str references;
    bool has_references;
};

bool card_header_kept(str name)
{
    static const str kept[] = {
#define CARD_HEADER(name) S(name),
#include "message/card_headers.def"
#undef CARD_HEADER
    };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (name.n == kept[i].n && ascii_lower(name.p[0]) == kept[i].p[0] && str_ieq(name, kept[i]))
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

static void note_field(struct maker *k, const struct header_field *f)
{
    enum envelope_member member = imap_envelope_member(f->name);
    if (member < ENVELOPE_MEMBERS && k->known.times[member]++ == 0)
        k->known.value[member] = f->value;
    if (member == ENVELOPE_MEMBERS && !k->has_references && str_ieq(f->name, S("References"))) {
        k->references = f->value;
        k->has_references = true;
    }
}

/* The lines that are kept, and where the fields are that the others need. */
static int read_fields(struct maker *k)
{
    struct header_field f;
    scratch_begin(k, CARD_HEADERS_MAX);
    for (size_t i = 0; i < k->n_fields; i++) {
        if (!imap_text_field(k->header, &k->fields[i], &f) || !card_header_kept(f.name))
            continue;
        bool fits = f.raw.n <= CARD_HEADER_LINE_MAX && f.raw.n <= CARD_HEADERS_MAX - k->scratch.n;
        k->out->headers_cut |= !fits;
        if (fits)
            buf_add(&k->scratch, f.raw);
        note_field(k, &f);
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
static int fold_fields(struct maker *k, enum piece piece, enum envelope_member member)
{
    struct header_field f;
    scratch_begin(k, FOLDING_MAX);
    if (k->known.times[member] == 1)
        fold_header(&k->scratch, k->known.value[member]);
    for (size_t i = 0; i < k->n_fields && k->known.times[member] > 1; i++) {
        if (!imap_text_field(k->header, &k->fields[i], &f) || imap_envelope_member(f.name) != member)
            continue;
        if (k->scratch.n)
            buf_addc(&k->scratch, ' ');
        fold_header(&k->scratch, f.value);
    }
    return add_folded(k, piece, FOLDED_MAX, &k->out->headers_cut);
}

static int fold_subject(struct maker *k)
{
    scratch_begin(k, FOLDING_MAX);
    fold_header(&k->scratch, k->known.value[ENVELOPE_SUBJECT]);
    int r = add_folded(k, SUBJECT, FOLDED_MAX, &k->out->headers_cut);
    if (r == 0)
        base_subject(str_of(k->hold->p + k->made[SUBJECT].at, k->made[SUBJECT].n), &k->out->base_off, &k->out->base_len,
                     &k->out->reply);
    return r;
}

/* The mailbox name of the first address (RFC 5256 3); of a list of groups without addresses, that of the group. */
static int add_key(struct maker *k, enum piece piece, enum envelope_member member)
{
    struct address_scan scan = ADDRESS_SCAN(k->known.value[member]);
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
    if (!k->known.times[ENVELOPE_DATE])
        return 0;
    arena_clear(&k->arena);
    str date = imap_text_unfold(&k->arena, k->known.value[ENVELOPE_DATE]);
    k->out->has_date = date.p && date_parse_5322(date, &k->out->date_s, &offset) == 0;
    return date.p ? 0 : -ENOMEM;
}

static int add_message_id(struct maker *k)
{
    str value = k->known.value[ENVELOPE_MESSAGE_ID];
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
    str value = k->references, reply = k->known.value[ENVELOPE_IN_REPLY_TO];
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

static int put_envelope(struct maker *k, bool brief)
{
    return imap_text_fields_known(k->m) ? imap_envelope_known(&k->scratch, k->header, &k->known, brief)
                                        : imap_envelope_text(&k->scratch, k->header, brief);
}

static int add_envelope(struct maker *k)
{
    scratch_begin(k, ENVELOPE_MAX);
    int r = put_envelope(k, false);
    if (r == -ENOBUFS) {
        buf_clear(&k->scratch);
        r = put_envelope(k, true);
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
        r = fold_fields(k, FROM + i, people[i]);
    for (int i = 0; i < 3 && r == 0; i++)
        r = add_key(k, FROM_KEY + i, people[i]);
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
    struct card_text t = { .present = true, .headers_cut = !imap_text_fields_known(m) };
    struct maker k = { .m = m, .hold = hold, .begin = hold->n, .out = &t, .header = mime_header_text(m) };
    k.scratch = BUF(CARD_TEXT_MAX);
    k.arena = ARENA(2 * MIME_HEADER_TEXT_MAX);
    k.n_fields = mime_fields(m, &k.fields);
    buf_reserve(&k.scratch, SCRATCH_BYTES);
    int r = hold->failed ? hold->failed : make(&k);
    buf_done(&k.scratch);
    arena_done(&k.arena);
    if (r < 0)
        return r;
    point(&k, &t);
    *out = t;
    return 0;
}
