/* ENVELOPE (RFC 9051 7.5.2, RFC 3501 7.4.2): see imap_text.h and card_text.h. Every address has a host, since NIL there
 * means a group: one without gets "missing_domain", and a list in which nothing can be read becomes one address whose
 * name is the whole text. */
#include <errno.h>
#include "message/address.h"
#include "message/address_scan.h"
#include "message/header.h"
#include "message/imap_text.h"

enum { BRIEF_ADDRESSES = 16, BRIEF_STRING = 200, MEMORY_MAX = 1 << 20 };

static const struct {
    str name;
    bool list;
    bool many; /* every field of that name counts, not only the first */
} members[ENVELOPE_MEMBERS] = {
    [ENVELOPE_DATE] = { S("Date") },
    [ENVELOPE_SUBJECT] = { S("Subject") },
    [ENVELOPE_FROM] = { S("From"), .list = true },
    [ENVELOPE_SENDER] = { S("Sender"), .list = true },
    [ENVELOPE_REPLY_TO] = { S("Reply-To"), .list = true },
    [ENVELOPE_TO] = { S("To"), .list = true, .many = true },
    [ENVELOPE_CC] = { S("Cc"), .list = true, .many = true },
    [ENVELOPE_BCC] = { S("Bcc"), .list = true, .many = true },
    [ENVELOPE_IN_REPLY_TO] = { S("In-Reply-To") },
    [ENVELOPE_MESSAGE_ID] = { S("Message-ID") },
};

struct envelope {
    struct buf *out;
    struct arena a;
    bool brief;
    str header;
    const struct envelope_fields *f;
    size_t list_at, n; /* where the list being written begins, and its addresses so far */
};

static str shorten(const struct envelope *e, str s)
{
    if (!e->brief || s.n <= BRIEF_STRING)
        return s;
    size_t n = BRIEF_STRING;
    while (n > BRIEF_STRING - 4 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return str_first(s, n);
}

static void put_nstring(struct envelope *e, str s)
{
    imap_text_nstring(e->out, shorten(e, s));
}

static int put_value(struct envelope *e, str value)
{
    arena_clear(&e->a);
    str s = imap_text_unfold(&e->a, value);
    return s.p ? imap_text_string(e->out, shorten(e, s)) : -ENOMEM;
}

static void address_begin(struct envelope *e)
{
    buf_add(e->out, e->n++ == 0 ? S("((") : S("("));
}

/* Route (obs-route, RFC 5322 4.4) of an address: "@a,@b" between the bracket and the colon before its local part, which
 * address_scan passes over. `from` is where its item began. */
static str route(str value, size_t from, const struct address_item *item)
{
    const char *p = item->phrase.n ? item->phrase.p + item->phrase.n : value.p + from;
    str s = str_of(p, (size_t)(item->local.p - p));
    size_t i = address_skip_cfws(s, 0);
    while (i < s.n && s.p[i] == ',')
        i = address_skip_cfws(s, i + 1);
    if (i == s.n || s.p[i] != '<')
        return STR_NONE;
    s = str_trim(str_from(s, i + 1));
    if (s.n < 2 || s.p[s.n - 1] != ':' || s.p[0] != '@')
        return STR_NONE;
    s = str_trim(str_first(s, s.n - 1));
    for (i = 0; i < s.n; i++)
        if (str_chr(S("<>;:\"()"), s.p[i]) >= 0 || address_control_at(s, i))
            return STR_NONE;
    return s;
}

static int put_item(struct envelope *e, str value, size_t from, const struct address_item *item)
{
    arena_clear(&e->a);
    const struct mailbox *m = address_item_mailbox(&e->a, item);
    if (!m)
        return -ENOMEM;
    address_begin(e);
    if (m->kind == MAILBOX_GROUP_START) {
        buf_add(e->out, S("NIL NIL "));
        imap_text_string(e->out, shorten(e, m->name));
        return buf_add(e->out, S(" NIL)"));
    }
    if (m->kind == MAILBOX_GROUP_END)
        return buf_add(e->out, S("NIL NIL NIL NIL)"));
    put_nstring(e, m->name);
    buf_addc(e->out, ' ');
    put_nstring(e, route(value, from, item));
    buf_addc(e->out, ' ');
    imap_text_string(e->out, shorten(e, m->local));
    buf_addc(e->out, ' ');
    imap_text_string(e->out, m->domain.n ? shorten(e, m->domain) : S("missing_domain"));
    return buf_addc(e->out, ')');
}

static int put_addresses(struct envelope *e, str value)
{
    struct address_scan scan = ADDRESS_SCAN(value);
    struct address_item item;
    bool grouped = false;
    size_t from = 0;
    while (address_scan_next(&scan, &item)) {
        bool end = item.kind == ADDRESS_GROUP_END;
        bool full = e->brief && e->n >= BRIEF_ADDRESSES - 1;
        if (full && !(end && grouped))
            continue;
        grouped = item.kind == ADDRESS_GROUP_START || (grouped && !end);
        int r = put_item(e, value, from, &item);
        if (r < 0)
            return r;
        from = scan.at;
    }
    return 0;
}

/* Says something to people, though not as an address. */
static bool has_text(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (ascii_alnum(s.p[i]) || (unsigned char)s.p[i] > 127)
            return true;
    return false;
}

static int put_text_as_address(struct envelope *e, str value)
{
    arena_clear(&e->a);
    str s = imap_text_unfold(&e->a, value);
    if (!s.p)
        return -ENOMEM;
    address_begin(e);
    put_nstring(e, s);
    return buf_add(e->out, S(" NIL \"missing_mailbox\" \"missing_domain\")"));
}

static int put_all_fields(struct envelope *e, enum envelope_member k)
{
    struct header_field f;
    str header = e->header;
    while (header_next(&header, &f)) {
        int r = str_ieq(f.name, members[k].name) ? put_addresses(e, f.value) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* One of the lists; nothing at all if there is no address in it. */
static int put_list(struct envelope *e, enum envelope_member k)
{
    e->list_at = e->out->n;
    e->n = 0;
    int r = members[k].many && e->f->times[k] > 1 ? put_all_fields(e, k) : put_addresses(e, e->f->value[k]);
    if (r == 0 && e->n == 0 && k != ENVELOPE_SENDER && k != ENVELOPE_REPLY_TO && has_text(e->f->value[k]))
        r = put_text_as_address(e, e->f->value[k]);
    if (e->n)
        buf_addc(e->out, ')');
    return r < 0 ? r : e->out->failed;
}

/* What was written at `at` once more. */
static void put_again(struct buf *out, size_t at, size_t n)
{
    if (buf_reserve(out, n) == 0)
        buf_add(out, str_of(out->p + at, n));
}

static int put_members(struct envelope *e)
{
    size_t from_at = 0, from_n = 0;
    int r = 0;
    for (enum envelope_member k = 0; k < ENVELOPE_MEMBERS && r == 0; k++) {
        buf_addc(e->out, k ? ' ' : '(');
        size_t at = e->out->n;
        if (e->f->times[k])
            r = members[k].list ? put_list(e, k) : put_value(e, e->f->value[k]);
        if (k == ENVELOPE_FROM) {
            from_at = at;
            from_n = e->out->n - at;
        }
        if (e->out->n == at && (k == ENVELOPE_SENDER || k == ENVELOPE_REPLY_TO))
            put_again(e->out, from_at, from_n);
        if (e->out->n == at)
            buf_add(e->out, S("NIL"));
    }
    buf_addc(e->out, ')');
    return r < 0 ? r : e->out->failed;
}

enum envelope_member imap_envelope_member(str name)
{
    enum envelope_member k = 0;
    while (k < ENVELOPE_MEMBERS && !(name.n == members[k].name.n && str_ieq(name, members[k].name)))
        k++;
    return k;
}

int imap_envelope_known(struct buf *out, str header, const struct envelope_fields *fields, bool brief)
{
    struct envelope e = { .out = out, .a = ARENA(header.n + MEMORY_MAX), .brief = brief, .header = header,
                          .f = fields };
    int r = out->failed ? out->failed : put_members(&e);
    arena_done(&e.a);
    return r;
}

int imap_envelope_text(struct buf *out, str header, bool brief)
{
    struct envelope_fields fields = { 0 };
    struct header_field f;
    str rest = header;
    while (header_next(&rest, &f)) {
        enum envelope_member k = imap_envelope_member(f.name);
        if (k < ENVELOPE_MEMBERS && fields.times[k]++ == 0)
            fields.value[k] = f.value;
    }
    return imap_envelope_known(out, header, &fields, brief);
}

int imap_envelope_put(struct buf *out, str header)
{
    return imap_envelope_text(out, header, false);
}
