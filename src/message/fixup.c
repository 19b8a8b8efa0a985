/* Repairs of a submitted header: see fixup.h. The header is copied field by field; only the bytes named there
 * differ. */
#include "message/fixup.h"
#include "base/date.h"
#include "message/address.h"
#include "message/address_scan.h"
#include "message/header.h"

#define LINE_MAX_BYTES 998 /* RFC 5322 2.1.1, without CRLF */
#define DOMAIN_MAX 255
#define FROM_MAX 1000 /* mailboxes of one field; more count as broken */

/* What is done with a field of that name. */
enum task { KEEP, NOTE, ADDRESSES, DROP };

enum field { OTHER, FROM, SENDER, RESENT, DATE, MESSAGE_ID, BCC };

static const struct rule {
    str name;
    enum task task;
    enum field field;
} rules[] = {
    { S("From"), ADDRESSES, FROM },
    { S("Sender"), ADDRESSES, SENDER },
    { S("Reply-To"), ADDRESSES, OTHER },
    { S("To"), ADDRESSES, OTHER },
    { S("Cc"), ADDRESSES, OTHER },
    { S("Date"), NOTE, DATE },
    { S("Message-ID"), NOTE, MESSAGE_ID },
    { S("Resent-From"), NOTE, RESENT },
    { S("Resent-Sender"), NOTE, RESENT },
    { S("Bcc"), DROP, BCC },
    { S("Resent-Bcc"), DROP, BCC },
    { S("Return-Path"), DROP, OTHER },
};

struct fixup {
    struct arena *arena;
    const struct fixup_input *in;
    struct buf *out;
    struct fixup_result *result;
    size_t line;       /* bytes in the line being written */
    unsigned count[BCC + 1]; /* fields seen */
    struct mailbox **from_tail, **sender_tail, **resent_tail;
};

static const struct rule *rule_of(str name)
{
    static const struct rule keep = { .task = KEEP };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (str_ieq(name, rules[i].name))
            return &rules[i];
    return &keep;
}

static void put(struct fixup *f, str s)
{
    ptrdiff_t lf = str_rchr(s, '\n');
    f->line = lf < 0 ? f->line + s.n : s.n - (size_t)lf - 1;
    buf_add(f->out, s);
}

/* Writes "@domain" where `rest` more bytes of the line follow, folded off them if the line would become too long:
 * blanks are allowed on both sides of a domain (RFC 5322 3.2.3). */
static void put_domain(struct fixup *f, size_t rest)
{
    size_t n = 1 + f->in->default_domain.n;
    if (f->line + n + rest > LINE_MAX_BYTES)
        put(f, S("\r\n "));
    put(f, S("@"));
    put(f, f->in->default_domain);
    if (f->line + rest > LINE_MAX_BYTES)
        put(f, S("\r\n "));
    f->result->completed = true;
}

/* Bytes from `at` to the end of its line; *eol remembers where that is. */
static size_t rest_of_line(str raw, size_t at, size_t *eol)
{
    if (*eol <= at) {
        ptrdiff_t lf = str_chr(str_from(raw, at), '\n');
        *eol = lf < 0 ? raw.n : at + (size_t)lf;
    }
    return *eol - at;
}

static void put_completed(struct fixup *f, const struct header_field *field)
{
    struct address_scan scan = ADDRESS_SCAN(field->value);
    struct address_item item;
    size_t done = 0, eol = 0;
    bool can = f->in->default_domain.n > 0 && f->in->default_domain.n <= DOMAIN_MAX;
    while (can && address_scan_next(&scan, &item)) {
        if (item.kind != ADDRESS_ITEM || item.domain.n)
            continue;
        size_t at = (size_t)(item.local.p + item.local.n - field->raw.p);
        put(f, str_of(field->raw.p + done, at - done));
        put_domain(f, rest_of_line(field->raw, at, &eol));
        done = at;
    }
    put(f, str_from(field->raw, done));
}

/* Adds the mailboxes of a From or Sender to the list at *tail; true if all of it was readable. */
static bool collect(struct fixup *f, str value, struct mailbox ***tail)
{
    bool broken, some = false;
    struct mailbox *list = address_list_parse(f->arena, value, FROM_MAX, &broken);
    **tail = list;
    for (struct mailbox *m = list; m; m = m->next) {
        *tail = &m->next;
        some |= m->kind == MAILBOX_ADDRESS;
        if (m->kind == MAILBOX_ADDRESS && m->domain.n == 0 && f->in->default_domain.n <= DOMAIN_MAX)
            m->domain = f->in->default_domain;
    }
    return some && !broken;
}

static void repair(struct fixup *f, const struct header_field *field)
{
    const struct rule *rule = rule_of(field->name);
    f->count[rule->field]++;
    if (rule->field == FROM)
        f->result->from_broken |= !collect(f, field->value, &f->from_tail);
    if (rule->field == SENDER)
        collect(f, field->value, &f->sender_tail);
    if (rule->field == RESENT)
        f->result->resent_broken |= !collect(f, field->value, &f->resent_tail);
    if (rule->task == ADDRESSES)
        put_completed(f, field);
    else if (rule->task != DROP)
        put(f, field->raw);
}

static bool addr_usable(str addr)
{
    struct address parsed;
    const char *why;
    return address_parse(addr, true, true, &parsed, &why) == 0;
}

static void add_from(struct fixup *f)
{
    str addr = addr_usable(f->in->sender) ? f->in->sender : f->in->account;
    if (!addr_usable(addr))
        return;
    put(f, S("From: <"));
    put(f, addr);
    put(f, S(">\r\n"));
    f->result->added_from = true;
    collect(f, addr, &f->from_tail);
}

static void add_message_id(struct fixup *f)
{
    if (f->in->message_id.n == 0)
        return;
    put(f, S("Message-ID: <"));
    put(f, f->in->message_id);
    put(f, S(">\r\n"));
    f->result->added_message_id = true;
}

static void add_date(struct fixup *f)
{
    put(f, S("Date: "));
    date_format_5322(f->out, f->in->unix_s, f->in->offset_min);
    put(f, S("\r\n"));
    f->result->added_date = true;
}

int fixup_header(struct arena *a, const struct fixup_input *in, struct buf *out, struct fixup_result *out_result)
{
    struct mailbox *from = NULL, *sender = NULL, *resent = NULL;
    struct fixup_result result = { 0 };
    struct fixup f = {
        .arena = a, .in = in, .out = out, .result = &result, .from_tail = &from, .sender_tail = &sender,
        .resent_tail = &resent
    };
    str header = in->header;
    struct header_field field;
    while (header_next(&header, &field))
        repair(&f, &field);
    if (f.line > 0) /* the last line was cut off */
        put(&f, S("\r\n"));
    if (!f.count[DATE])
        add_date(&f);
    if (!f.count[MESSAGE_ID])
        add_message_id(&f);
    if (!f.count[FROM])
        add_from(&f);
    result.from = from;
    result.sender = sender;
    result.resent = resent;
    result.many_from_fields = f.count[FROM] > 1;
    result.removed_bcc = f.count[BCC] > 0;
    *out_result = result;
    return out->failed;
}
