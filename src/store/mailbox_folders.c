/* Requests of role access about the names of mailboxes, and about what may come in: see mailbox_role.h. */
#include <errno.h>
#include "store/mailbox_role.h"

/* A long list goes out in pages, as the link takes them: it does not fill the link's queue. */
enum { PAGE_BYTES = 48000, ROW_BYTES = 96, QUEUED_MAX = 4 << 20, LOOK_AGAIN_MS = 5, FOLDERS_MAX = 1000000 };

struct mailbox_listing { /* FOLDERS under way */
    uint64_t request;
    struct buf account, after; /* after: the last name sent */
    struct mailbox_listing *next;
};

struct page { struct buf out, last; uint32_t n; };

bool mailbox_name_valid(str name)
{
    char before = '/';
    bool ok = name.n > 0 && name.n <= MAILBOX_NAME_MAX && utf8_valid(name);
    for (size_t i = 0; ok && i < name.n; i++) {
        ok = (unsigned char)name.p[i] >= ' ' && name.p[i] != 127 && !(name.p[i] == '/' && before == '/');
        before = name.p[i];
    }
    return ok && before != '/';
}

void mailbox_prepare(struct mailbox_role *m, struct bound *b)
{
    if (!b->imap && store_account_prepare(m->store, str_z(b->account)) < 0)
        return; /* no room on the disk: what is there can be read */
    b->imap = true;
}

struct wanted { str name; struct store_folder *out; bool found; };

static int is_wanted(void *arg, const struct store_folder *f)
{
    struct wanted *w = arg;
    if (!str_eq(f->name, w->name))
        return 0;
    *w->out = *f;
    w->out->name = w->name;
    w->found = true;
    return -ECANCELED;
}

int mailbox_find(struct mailbox_role *m, str account, str name, struct store_folder *out)
{
    struct wanted w = { .name = name, .out = out };
    if (!mailbox_name_valid(name))
        return 0;
    int r = store_folder(m->store, account, name, out);
    if (r != -ENOSPC)
        return r;
    r = store_folders(m->store, account, STR_NONE, FOLDERS_MAX, is_wanted, &w);
    return w.found ? 1 : r < 0 ? r : 0;
}

static void pack_folder(struct buf *b, const struct store_folder *f)
{
    pack_u64(b, f->id);
    pack_str(b, f->name);
    pack_u8(b, f->use);
    pack_u8(b, f->subscribed);
    pack_u32(b, f->uidvalidity);
    pack_u32(b, f->uidnext);
    pack_u32(b, f->messages);
    pack_u32(b, f->unseen);
    pack_u32(b, f->deleted);
    pack_u32(b, f->recent);
    pack_u64(b, f->bytes);
    pack_u64(b, f->deleted_bytes);
    pack_u64(b, f->modseq);
}

static int add_row(void *arg, const struct store_folder *f)
{
    struct page *p = arg;
    if (p->n && p->out.n + f->name.n + ROW_BYTES > PAGE_BYTES)
        return -ECANCELED;
    pack_folder(&p->out, f);
    p->n++;
    buf_clear(&p->last);
    return buf_add(&p->last, f->name);
}

static void send_page(struct mailbox_role *m, uint64_t request, uint8_t verdict, bool last, const struct page *p)
{
    struct buf b;
    mailbox_answer_begin(&b, request, verdict);
    pack_u8(&b, last);
    pack_u32(&b, p ? p->n : 0);
    if (p)
        buf_add(&b, buf_str(&p->out));
    mailbox_answer(m, 0, IPC_FOLDERS_PAGE, &b);
}

/* Sends one page. True: it was the last. */
static bool next_page(struct mailbox_role *m, struct mailbox_listing *l)
{
    struct page p = { .out = BUF(IPC_FRAME_MAX), .last = BUF(IPC_FRAME_MAX) };
    int r = store_folders(m->store, buf_str(&l->account), buf_str(&l->after), FOLDERS_MAX, add_row, &p);
    bool more = r == -ECANCELED;
    bool good = r >= 0 || more;
    if (more) {
        buf_clear(&l->after);
        good = buf_add(&l->after, buf_str(&p.last)) == 0;
    }
    send_page(m, l->request, good ? STORE_DONE : MAILBOX_TROUBLE, !more || !good, good ? &p : NULL);
    buf_done(&p.out);
    buf_done(&p.last);
    return !more || !good;
}

static void listing_free(struct mailbox_listing *l)
{
    buf_done(&l->account);
    buf_done(&l->after);
    free(l);
}

static void look_again(struct loop_timer *t) { mailbox_list_more(CONTAINER_OF(t, struct mailbox_role, more)); }

void mailbox_list_more(struct mailbox_role *m)
{
    const struct ipc_link *link = role_peer(m->role, ROLE_ACCESS);
    while (m->listings && link->open && link->queued < QUEUED_MAX) {
        struct mailbox_listing *l = m->listings;
        if (!next_page(m, l))
            continue;
        m->listings = l->next;
        if (!m->listings)
            m->listings_end = &m->listings;
        listing_free(l);
    }
    m->more.fire = look_again;
    if (m->listings && link->open)
        loop_after(m->role->loop, &m->more, LOOK_AGAIN_MS);
}

void mailbox_list_stop(struct mailbox_role *m)
{
    loop_cancel(m->role->loop, &m->more);
    for (struct mailbox_listing *l = TAKE(m->listings), *next; l; l = next) {
        next = l->next;
        listing_free(l);
    }
    m->listings_end = &m->listings;
}

static int begin_list(struct mailbox_role *m, uint64_t request, str account)
{
    struct mailbox_listing *l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (struct mailbox_listing){ .request = request, .account = BUF(65536), .after = BUF(65536) };
    if (buf_add(&l->account, account) < 0) {
        listing_free(l);
        return -ENOMEM;
    }
    *m->listings_end = l;
    m->listings_end = &l->next;
    if (!m->more.slot)
        mailbox_list_more(m);
    return 0;
}

int mailbox_folders(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    str name = unpack_str(in);
    struct store_folder f;
    if (!unpack_end(in))
        return -EBADMSG;
    if (!q->by) {
        send_page(m, q->request, MAILBOX_NOT_BOUND, true, NULL);
        return 0;
    }
    mailbox_prepare(m, q->by);
    if (!name.n) {
        if (begin_list(m, q->request, str_z(q->by->account)) < 0)
            send_page(m, q->request, MAILBOX_TROUBLE, true, NULL);
        return 0;
    }
    struct page p = { .out = BUF(IPC_FRAME_MAX) };
    int r = mailbox_find(m, str_z(q->by->account), name, &f);
    if (r > 0) {
        f.name = name;
        pack_folder(&p.out, &f);
        p.n = 1;
    }
    send_page(m, q->request, r > 0 ? STORE_DONE : r == 0 ? STORE_NONEXISTENT : MAILBOX_TROUBLE, true, &p);
    buf_done(&p.out);
    return 0;
}

struct change { enum folder_change what; str name, other; uint8_t use; };

static int change_folder(struct store *s, str account, const struct change *c, uint64_t *out_id, uint64_t *out_ticket)
{
    bool unsubscribe = c->what == FOLDER_UNSUBSCRIBE; /* whatever name is subscribed */
    if (!unsubscribe && !mailbox_name_valid(c->name))
        return STORE_CANNOT;
    switch (c->what) {
    case FOLDER_CREATE: return store_create(s, account, c->name, c->use, out_id, out_ticket);
    case FOLDER_DELETE: return store_delete(s, account, c->name, out_ticket);
    case FOLDER_RENAME:
        return mailbox_name_valid(c->other) ? store_rename(s, account, c->name, c->other, out_ticket) : STORE_CANNOT;
    default: return store_subscribe(s, account, c->name, !unsubscribe, out_ticket);
    }
}

int mailbox_folder_change(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    uint8_t what = unpack_u8(in);
    struct change c = { .what = what };
    uint64_t id = 0, ticket = 0;
    uint8_t verdict = MAILBOX_NOT_BOUND;
    struct buf b;
    c.name = unpack_str(in);
    c.other = unpack_str(in);
    c.use = unpack_u8(in);
    if (!unpack_end(in) || what > FOLDER_UNSUBSCRIBE)
        return -EBADMSG;
    if (q->by) {
        mailbox_prepare(m, q->by);
        verdict = mailbox_verdict(change_folder(m->store, str_z(q->by->account), &c, &id, &ticket));
        if (what == FOLDER_DELETE)
            m->usage(m->arg, str_z(q->by->account));
    }
    mailbox_answer_begin(&b, q->request, verdict);
    pack_u64(&b, verdict == STORE_DONE ? id : 0);
    mailbox_answer(m, verdict == STORE_DONE ? ticket : 0, IPC_FOLDER_CHANGED, &b);
    return 0;
}

int mailbox_quota(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    struct store_usage used = { 0 }, limit = { 0 };
    uint8_t verdict = MAILBOX_NOT_BOUND;
    struct buf b;
    if (!unpack_end(in))
        return -EBADMSG;
    if (q->by) {
        verdict = mailbox_verdict(store_usage(m->store, str_z(q->by->account), &used));
        m->limit(m->arg, str_z(q->by->account), &limit);
    }
    mailbox_answer_begin(&b, q->request, verdict);
    pack_u64(&b, used.bytes);
    pack_u64(&b, limit.bytes);
    pack_u64(&b, used.messages);
    pack_u64(&b, limit.messages);
    mailbox_answer(m, 0, IPC_QUOTA, &b);
    return 0;
}

int mailbox_append_ask(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    str name = unpack_str(in);
    uint64_t bytes = unpack_u64(in);
    uint32_t messages = unpack_u32(in);
    struct store_folder f = { 0 };
    uint8_t verdict = MAILBOX_NOT_BOUND;
    struct buf b;
    if (!unpack_end(in))
        return -EBADMSG;
    if (q->by) {
        mailbox_prepare(m, q->by);
        int r = mailbox_find(m, str_z(q->by->account), name, &f);
        verdict = r < 0 ? MAILBOX_TROUBLE : r == 0 || !f.id ? STORE_NONEXISTENT : STORE_DONE;
        if (verdict == STORE_DONE && !store_quota_allows(m->store, str_z(q->by->account), bytes, messages))
            verdict = STORE_OVER_QUOTA;
    }
    mailbox_answer_begin(&b, q->request, verdict);
    pack_u64(&b, verdict == STORE_DONE ? f.id : 0);
    pack_u32(&b, verdict == STORE_DONE ? f.uidvalidity : 0);
    mailbox_answer(m, 0, IPC_APPEND_MAY, &b);
    return 0;
}
