/* The MSA as a row of the SMTP road: header repairs (RFC 6409 8) and sender rights (DESIGN 8.3). */
#include "msa/msa.h"
#include <errno.h>
#include "base/date.h"
#include "message/address.h"
#include "message/fixup.h"

static str address_of(struct arena *a, const struct mailbox *m)
{
    struct address at = { .local = m->local, .domain = m->domain };
    return address_canonical(a, &at);
}

static int refuse(struct smtp_refusal *out, str enhanced, str text)
{
    *out = (struct smtp_refusal){ 550, enhanced, text };
    return -EACCES;
}

/* Every address in `list` must be one the account may use. */
static int check_list(const struct smtp_message_view *v, const char *field, const struct mailbox *list,
                      struct smtp_refusal *out)
{
    for (const struct mailbox *m = list; m; m = m->next) {
        if (m->kind != MAILBOX_ADDRESS)
            continue;
        str address = address_of(v->arena, m);
        if (!address.p)
            return -ENOMEM;
        if (directory_may_send(v->directory, v->arena, v->account, address))
            continue;
        return refuse(out, S("5.7.1"),
                      arena_printf(v->arena, "%s: <%.*s> does not belong to %.*s, which may use %.*s", field,
                                   STR_ARG(address), STR_ARG(v->account),
                                   STR_ARG(directory_allowed_senders(v->directory, v->arena, v->account))));
    }
    return 0;
}

static int check_author(const struct smtp_message_view *v, const struct fixup_result *r, struct smtp_refusal *out)
{
    if (r->many_from_fields)
        return refuse(out, S("5.6.0"), S("The header has more than one From field; RFC 5322 allows one"));
    if (r->from_broken || !r->from)
        return refuse(out, S("5.6.0"), S("The From field holds no address that can be read"));
    if (r->resent_broken)
        return refuse(out, S("5.6.0"), S("A Resent-From or Resent-Sender field holds no address that can be read"));
    int e = check_list(v, "From", r->from, out);
    if (e == 0)
        e = check_list(v, "Sender", r->sender, out);
    return e < 0 ? e : check_list(v, "Resent-From", r->resent, out);
}

static int header(struct smtp_session *s, str raw, struct buf *out, struct smtp_refusal *out_refusal)
{
    struct smtp_message_view v;
    struct fixup_result r;
    smtp_session_view(s, &v);
    struct fixup_input in = {
        .header = raw,
        .sender = v.sender,
        .account = v.account,
        .default_domain = v.conf->n_domains ? v.conf->domains[0].text : v.conf->hostname,
        .message_id = arena_printf(v.arena, "%.*s@%.*s", STR_ARG(v.id), STR_ARG(v.conf->hostname)),
        .unix_s = v.unix_s,
        .offset_min = date_local_offset_min(v.unix_s),
    };
    int e = fixup_header(v.arena, &in, out, &r);
    if (e < 0)
        return e;
    e = check_author(&v, &r, out_refusal);
    struct buf *b = smtp_session_event(s, EVENT_INFO, "header");
    event_u64(b, "added_date", r.added_date);
    event_u64(b, "added_message_id", r.added_message_id);
    event_u64(b, "added_from", r.added_from);
    event_u64(b, "completed_addresses", r.completed);
    event_u64(b, "removed_bcc", r.removed_bcc);
    smtp_session_event_end(s);
    return e;
}

const struct smtp_agent msa_agent = { .name = "msa", .msa = true, .header = header };
