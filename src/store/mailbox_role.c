/* Requests of role access about open mailboxes: see mailbox_role.h. */
#include "store/mailbox_role.h"
#include <errno.h>

enum { WATCHED_MAX = 200000, SYSTEM_FLAGS = 31, OPS = 3, VERDICT_AT = 8 };
enum { CARDS_WAIT_MS = 500 };
enum { UIDS_A_FRAME = 12000, RUNS_A_FRAME = 4500, RANGES_A_FRAME = 6000 };

struct watched_mailbox { uint64_t id; char account[]; };

struct mailbox_answer {
    uint64_t ticket;
    enum ipc_type type;
    struct buf payload;
    struct mailbox_answer *next;
};

static struct ipc_link *access_link(struct mailbox_role *m) { return role_peer(m->role, ROLE_ACCESS); }

uint8_t mailbox_verdict(int r) { return r < 0 ? MAILBOX_TROUBLE : (uint8_t)r; }

void mailbox_answer_begin(struct buf *b, uint64_t request, uint8_t verdict)
{
    *b = BUF(IPC_FRAME_MAX);
    pack_u64(b, request);
    pack_u8(b, verdict);
}

void mailbox_answer(struct mailbox_role *m, uint64_t ticket, enum ipc_type type, struct buf *payload)
{
    struct mailbox_answer *a = ticket > store_durable(m->store) ? malloc(sizeof(*a)) : NULL;
    if (!a) {
        if (ticket > store_durable(m->store) && payload->n > VERDICT_AT) /* no memory to wait in: promise nothing */
            payload->p[VERDICT_AT] = MAILBOX_TROUBLE;
        ipc_send(access_link(m), type, payload, -1);
        buf_done(payload);
        return;
    }
    *a = (struct mailbox_answer){ .ticket = ticket, .type = type, .payload = *payload };
    *payload = BUF(0);
    *m->answers_end = a;
    m->answers_end = &a->next;
    m->due = true;
}

static void answer_durable(struct mailbox_role *m)
{
    while (m->answers && m->answers->ticket <= store_durable(m->store)) {
        struct mailbox_answer *a = m->answers;
        m->answers = a->next;
        if (!m->answers)
            m->answers_end = &m->answers;
        ipc_send(access_link(m), a->type, &a->payload, -1);
        buf_done(&a->payload);
        free(a);
    }
}

static str id_key(const uint64_t *id) { return str_of(id, sizeof(*id)); }

/* The mailbox may be used by that session. */
static bool is_open(const struct mailbox_role *m, const struct bound *b, uint64_t mailbox)
{
    const struct watched_mailbox *w = map_get(&m->watched, id_key(&mailbox));
    return b && w && str_eq(str_z(w->account), str_z(b->account));
}

bool mailbox_role_open_for(const struct mailbox_role *m, str account)
{
    const struct watched_mailbox *w;
    for (size_t at = 0; (w = map_next(&m->watched, &at, NULL));)
        if (str_eq(str_z(w->account), account))
            return true;
    return false;
}

static void forget(struct mailbox_role *m, uint64_t mailbox)
{
    struct watched_mailbox *w = map_take(&m->watched, id_key(&mailbox));
    if (w)
        store_unwatch(m->store, mailbox);
    free(w);
}

static int watch(struct mailbox_role *m, uint64_t mailbox, str account)
{
    struct watched_mailbox *w = malloc(sizeof(*w) + account.n + 1);
    if (!w)
        return -ENOMEM;
    w->id = mailbox;
    memcpy(w->account, account.p, account.n);
    w->account[account.n] = 0;
    int r = map_set(&m->watched, id_key(&mailbox), w, NULL);
    if (r < 0) {
        free(w);
        return r;
    }
    r = store_watch(m->store, mailbox);
    if (r < 0)
        forget(m, mailbox);
    return r;
}

static void feed(void *arg, uint64_t mailbox, str item)
{
    struct mailbox_role *m = arg;
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, mailbox);
    pack_str(&b, item);
    ipc_send(access_link(m), IPC_FEED, &b, -1);
    buf_done(&b);
    m->fed++;
}

struct opening { uint64_t mailbox; bool held; int fd; };

/* The store's verdict, or negative errno. */
static int open_mailbox(struct mailbox_role *m, struct bound *b, str name, struct opening *o)
{
    struct store_folder f;
    str account = str_z(b->account);
    int r = mailbox_find(m, account, name, &f);
    if (r <= 0 || !f.id)
        return r < 0 ? r : STORE_NONEXISTENT;
    o->mailbox = f.id;
    o->held = is_open(m, b, f.id);
    r = o->held ? 0 : watch(m, f.id, account);
    if (r == 0 && !o->held) {
        r = store_snapshot(m->store, f.id, &o->fd);
        if (r < 0)
            forget(m, f.id);
    }
    return r == -ENOENT ? STORE_NONEXISTENT : r;
}

static int opened(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    struct opening o = { .fd = -1 };
    str name = unpack_str(in);
    uint8_t verdict = MAILBOX_NOT_BOUND;
    struct buf b;
    if (!unpack_end(in))
        return -EBADMSG;
    if (q->by) {
        mailbox_prepare(m, q->by);
        verdict = mailbox_verdict(open_mailbox(m, q->by, name, &o));
    }
    mailbox_answer_begin(&b, q->request, verdict);
    pack_u64(&b, verdict == STORE_DONE ? o.mailbox : 0);
    pack_u64(&b, store_durable(m->store));
    pack_u8(&b, o.held);
    ipc_send(access_link(m), IPC_MAILBOX_OPENED, &b, verdict == STORE_DONE ? o.fd : -1);
    buf_done(&b);
    if (o.fd >= 0)
        close(o.fd);
    return 0;
}

/* Ascending ranges that do not touch; memory by their number in the frame. */
static int unpack_uids(struct unpack *in, struct store_uids **out, size_t *out_n)
{
    uint32_t n = unpack_u32(in), before = 0;
    if (in->bad || n > in->in.n / 8)
        return -EBADMSG;
    struct store_uids *uids = malloc(sizeof(*uids) * (n + 1));
    if (!uids)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        uids[i].first = unpack_u32(in);
        uids[i].last = unpack_u32(in);
        if (uids[i].first <= before || uids[i].last < uids[i].first)
            in->bad = true;
        before = uids[i].last;
    }
    if (in->bad) {
        free(uids);
        return -EBADMSG;
    }
    *out = uids;
    *out_n = n;
    return 0;
}

static uint64_t staged_lsn(struct mailbox_role *m)
{
    struct store_stats s;
    store_stats(m->store, &s);
    return s.lsn;
}

static void used(struct mailbox_role *m, const struct bound *b)
{
    m->usage(m->arg, str_z(b->account));
}

struct flag_answer { uint64_t request, ticket, lsn, modseq; uint8_t verdict; str failed; };

static void answer_flag(struct mailbox_role *m, const struct flag_answer *f)
{
    str rest = f->failed;
    do {
        str some = str_first(rest, UIDS_A_FRAME * 4);
        struct buf b;
        rest = str_from(rest, some.n);
        mailbox_answer_begin(&b, f->request, f->verdict);
        pack_u8(&b, rest.n == 0);
        pack_u64(&b, f->lsn);
        pack_u64(&b, f->modseq);
        pack_u32(&b, (uint32_t)(some.n / 4));
        buf_add(&b, some);
        mailbox_answer(m, f->ticket, IPC_FLAGGED, &b);
    } while (rest.n);
}

/* What stands in a FLAG behind the mailbox; keywords has room for KEYWORDS_MAX. */
static int unpack_flagging(struct unpack *in, struct store_flagging *f, str *keywords, struct store_uids **out_uids)
{
    f->op = unpack_u8(in);
    f->system = unpack_u32(in);
    f->unchanged_since = unpack_u64(in);
    f->keywords = keywords;
    f->n_keywords = unpack_u32(in);
    if (in->bad || f->op >= OPS || f->system & ~(uint32_t)SYSTEM_FLAGS || f->n_keywords > KEYWORDS_MAX)
        return -EBADMSG;
    for (size_t i = 0; i < f->n_keywords; i++) {
        keywords[i] = unpack_str(in);
        if (!keywords[i].n || keywords[i].n > KEYWORD_LEN_MAX)
            return -EBADMSG;
    }
    int r = unpack_uids(in, out_uids, &f->n_uids);
    f->uids = *out_uids;
    return r == 0 && !unpack_end(in) ? -EBADMSG : r;
}

static int flag(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    _cleanup_free_ struct store_uids *uids = NULL;
    _cleanup_buf_ struct buf failed = BUF((size_t)64 << 20);
    str keywords[KEYWORDS_MAX];
    struct store_flagging f = { .mailbox = unpack_u64(in) };
    uint8_t early = unpack_u8(in);
    struct flag_answer a = { .request = q->request, .verdict = MAILBOX_NOT_BOUND };
    int r = unpack_flagging(in, &f, keywords, &uids);
    if (r < 0)
        return r;
    if (is_open(m, q->by, f.mailbox)) {
        uint64_t before = staged_lsn(m), ticket = 0;
        r = store_flag(m->store, &f, &failed, &ticket);
        a.verdict = mailbox_verdict(r < 0 ? r : failed.failed ? failed.failed : r);
        a.ticket = a.verdict == STORE_DONE ? ticket : 0;
        a.lsn = a.ticket && staged_lsn(m) > before ? ticket : 0;
        if (early == FLAG_AHEAD) {
            a.ticket = 0;
        } else if (early && a.lsn && f.unchanged_since == UINT64_MAX && store_tell_early(m->store) == 0) {
            a.modseq = store_modseq(m->store, a.lsn);
            a.ticket = 0;
        }
        a.failed = a.verdict == STORE_DONE ? buf_str(&failed) : STR_NONE;
        m->flagged += a.verdict == STORE_DONE;
    }
    answer_flag(m, &a);
    return 0;
}

static int expunge_deleted(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    _cleanup_free_ struct store_uids *uids = NULL;
    struct store_expunging e = { .mailbox = unpack_u64(in), .max = CHANGED_A_STEP };
    uint64_t ticket = 0;
    uint32_t next = 0;
    uint8_t verdict = MAILBOX_NOT_BOUND;
    struct buf b;
    int r = unpack_uids(in, &uids, &e.n_uids);
    if (r < 0 || !unpack_end(in))
        return r < 0 ? r : -EBADMSG;
    e.uids = uids;
    if (is_open(m, q->by, e.mailbox)) {
        verdict = mailbox_verdict(store_expunge_some(m->store, &e, &ticket, &next));
        m->expunged += verdict == STORE_DONE && !next;
        used(m, q->by);
    }
    mailbox_answer_begin(&b, q->request, verdict);
    pack_u32(&b, next);
    mailbox_answer(m, verdict == STORE_DONE ? ticket : 0, IPC_EXPUNGE_DONE, &b);
    return 0;
}

struct copy_answer { uint64_t request, ticket; uint8_t verdict; uint32_t uidvalidity; str pairs; };

/* The next run of UIDs that follow each other on both sides. */
static void pack_run(struct buf *b, str *pairs)
{
    uint32_t source = get_u32(pairs->p), uid = get_u32(pairs->p + 4), count = 0;
    while (pairs->n >= 8 && get_u32(pairs->p) == source + count && get_u32(pairs->p + 4) == uid + count) {
        count++;
        *pairs = str_from(*pairs, 8);
    }
    pack_u32(b, source);
    pack_u32(b, uid);
    pack_u32(b, count);
}

static void answer_copy(struct mailbox_role *m, const struct copy_answer *c)
{
    str rest = c->pairs;
    do {
        _cleanup_buf_ struct buf runs = BUF(IPC_FRAME_MAX);
        struct buf b;
        uint32_t n = 0;
        while (rest.n >= 8 && n < RUNS_A_FRAME) {
            pack_run(&runs, &rest);
            n++;
        }
        mailbox_answer_begin(&b, c->request, c->verdict);
        pack_u8(&b, rest.n < 8);
        pack_u32(&b, c->uidvalidity);
        pack_u32(&b, n);
        buf_add(&b, buf_str(&runs));
        mailbox_answer(m, c->ticket, IPC_COPIED, &b);
    } while (rest.n >= 8);
}

static int copy(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    _cleanup_free_ struct store_uids *uids = NULL;
    _cleanup_buf_ struct buf pairs = BUF((size_t)64 << 20);
    uint64_t mailbox = unpack_u64(in);
    uint8_t move = unpack_u8(in);
    str to = unpack_str(in);
    struct copy_answer c = { .request = q->request, .verdict = MAILBOX_NOT_BOUND };
    size_t n;
    int r = unpack_uids(in, &uids, &n);
    if (r < 0 || !unpack_end(in) || move > 1)
        return r < 0 ? r : -EBADMSG;
    if (is_open(m, q->by, mailbox)) {
        struct store_copying how = { .account = str_z(q->by->account), .from = mailbox, .uids = uids, .n_uids = n,
                                     .to = to, .move = move };
        struct store_copied made = { 0 };
        r = store_copy(m->store, &how, &pairs, &made);
        c.uidvalidity = made.uidvalidity;
        c.verdict = mailbox_verdict(r < 0 ? r : pairs.failed ? pairs.failed : r);
        c.ticket = c.verdict == STORE_DONE ? made.ticket : 0;
        c.pairs = c.verdict == STORE_DONE ? buf_str(&pairs) : STR_NONE;
        m->copied += c.verdict == STORE_DONE;
        used(m, q->by);
    }
    answer_copy(m, &c);
    return 0;
}

static int vanished(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    _cleanup_buf_ struct buf ranges = BUF(IPC_FRAME_MAX);
    uint64_t mailbox = unpack_u64(in), since = unpack_u64(in);
    uint32_t after = unpack_u32(in);
    uint8_t verdict = MAILBOX_NOT_BOUND;
    struct buf b;
    int n = 0;
    if (!unpack_end(in))
        return -EBADMSG;
    if (is_open(m, q->by, mailbox)) {
        n = store_vanished(m->store, mailbox, since, after, RANGES_A_FRAME, &ranges);
        verdict = n < 0 && n != -ERANGE ? MAILBOX_TROUBLE : STORE_DONE;
    }
    mailbox_answer_begin(&b, q->request, verdict);
    pack_u8(&b, n < RANGES_A_FRAME);
    pack_u8(&b, n == -ERANGE);
    pack_u32(&b, n > 0 ? (uint32_t)n : 0);
    if (n > 0)
        buf_add(&b, buf_str(&ranges));
    mailbox_answer(m, 0, IPC_VANISHED, &b);
    return 0;
}

static void send_cards(struct mailbox_role *m, uint64_t request, uint8_t verdict, const int fds[2])
{
    for (uint8_t which = 0; which < (verdict == STORE_DONE ? 2 : 1); which++) {
        struct buf b;
        mailbox_answer_begin(&b, request, verdict);
        pack_u8(&b, which);
        ipc_send(access_link(m), IPC_CARDS_FILE, &b, verdict == STORE_DONE ? fds[which] : -1);
        buf_done(&b);
    }
}

static void close_both(const int fds[2])
{
    for (size_t i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Answers those whose files are filled, or who have waited long enough. */
static void answer_cards(struct mailbox_role *m)
{
    size_t left = 0;
    for (size_t i = 0; i < m->n_cards; i++) {
        struct cards_wait *w = &m->cards[i];
        if (store_cards_filling(m->store, w->mailbox) && loop_now(m->role->loop) < w->until_ms) {
            m->cards[left++] = *w;
            continue;
        }
        send_cards(m, w->request, STORE_DONE, w->fds);
        close_both(w->fds);
    }
    m->n_cards = left;
}

static void fill_cards(struct loop_timer *t)
{
    struct mailbox_role *m = CONTAINER_OF(t, struct mailbox_role, fill);
    int r = store_cards_step(m->store);
    answer_cards(m);
    if (r == 1 || m->n_cards)
        loop_after(m->role->loop, t, 1);
}

static int cards_get(struct mailbox_role *m, const struct mailbox_request *q, struct unpack *in)
{
    uint64_t mailbox = unpack_u64(in);
    int fds[2] = { -1, -1 };
    if (!unpack_end(in))
        return -EBADMSG;
    uint8_t verdict = MAILBOX_NOT_BOUND;
    if (is_open(m, q->by, mailbox)) {
        int r = store_cards_get(m->store, mailbox, &fds[0], &fds[1]);
        verdict = r == -ENOENT ? STORE_NONEXISTENT : mailbox_verdict(r);
        if (!m->fill.slot)
            loop_after(m->role->loop, &m->fill, 1);
    }
    if (verdict == STORE_DONE && m->fill.slot && m->n_cards < ARRAY_LEN(m->cards) &&
        store_cards_filling(m->store, mailbox)) { /* reading records one by one costs more than to wait */
        m->cards[m->n_cards++] = (struct cards_wait){ .request = q->request, .mailbox = mailbox,
            .until_ms = loop_now(m->role->loop) + CARDS_WAIT_MS, .fds = { fds[0], fds[1] } };
        return 0;
    }
    send_cards(m, q->request, verdict, fds);
    close_both(fds);
    return 0;
}

static int recent_seen(struct mailbox_role *m, struct unpack *in)
{
    const struct bound *b = map_get(m->sessions, unpack_str(in));
    uint64_t mailbox = unpack_u64(in);
    uint32_t uid = unpack_u32(in);
    if (!unpack_end(in))
        return -EBADMSG;
    if (is_open(m, b, mailbox))
        store_seen_recent(m->store, mailbox, uid);
    return 0;
}

static int mailbox_forget(struct mailbox_role *m, struct unpack *in)
{
    uint64_t mailbox = unpack_u64(in);
    if (!unpack_end(in))
        return -EBADMSG;
    forget(m, mailbox);
    return 0;
}

int mailbox_role_frame(struct mailbox_role *m, struct ipc_frame *f)
{
    static int (*const answers[IPC_TYPES])(struct mailbox_role *, const struct mailbox_request *, struct unpack *) = {
        [IPC_FOLDERS] = mailbox_folders,       [IPC_FOLDER_CHANGE] = mailbox_folder_change,
        [IPC_MAILBOX_OPEN] = opened,           [IPC_CARDS_GET] = cards_get,
        [IPC_FLAG] = flag,                     [IPC_EXPUNGE_DELETED] = expunge_deleted,
        [IPC_COPY] = copy,                     [IPC_VANISHED_GET] = vanished,
        [IPC_QUOTA_GET] = mailbox_quota,       [IPC_APPEND_ASK] = mailbox_append_ask,
    };
    if (f->type == IPC_RECENT_SEEN)
        return recent_seen(m, &f->in);
    if (f->type == IPC_MAILBOX_FORGET)
        return mailbox_forget(m, &f->in);
    if (!answers[f->type])
        return -EBADMSG;
    struct mailbox_request q = { .request = unpack_u64(&f->in) };
    str session = unpack_str(&f->in);
    if (f->in.bad)
        return -EBADMSG;
    q.by = map_get(m->sessions, session);
    return answers[f->type](m, &q, &f->in);
}

void mailbox_role_turn(struct mailbox_role *m)
{
    answer_durable(m);
    if (!m->more.slot)
        mailbox_list_more(m);
}

void mailbox_role_placed(struct mailbox_role *m, const struct store_placement *p)
{
    struct buf b = BUF(128);
    pack_u64(&b, p->uid ? p->mailbox_id : p->message->append_mailbox); /* INBOX, if that one has gone meanwhile */
    pack_u32(&b, p->uid);
    pack_str(&b, str_of(p->message->session, sizeof(p->message->session)));
    pack_u32(&b, p->message->number);
    ipc_send(access_link(m), IPC_APPENDED, &b, -1);
    buf_done(&b);
    m->appended += p->uid != 0;
}

void mailbox_role_access_down(struct mailbox_role *m)
{
    struct watched_mailbox *w;
    for (struct mailbox_answer *a = TAKE(m->answers), *next; a; a = next) {
        next = a->next;
        buf_done(&a->payload);
        free(a);
    }
    m->answers_end = &m->answers;
    while (m->n_cards)
        close_both(m->cards[--m->n_cards].fds);
    mailbox_list_stop(m);
    for (size_t at = 0; (w = map_next(&m->watched, &at, NULL));)
        forget(m, w->id);
}

void mailbox_role_init(struct mailbox_role *m, struct role *r, struct store *s, const struct map *sessions)
{
    uint8_t key[16];
    r->env->random(key, sizeof(key));
    *m = (struct mailbox_role){ .role = r, .store = s, .sessions = sessions };
    map_init(&m->watched, WATCHED_MAX, key);
    m->answers_end = &m->answers;
    m->listings_end = &m->listings;
    m->fill.fire = fill_cards;
    store_set_feed(s, feed, m);
}

void mailbox_role_done(struct mailbox_role *m)
{
    mailbox_role_access_down(m);
    if (m->fill.slot)
        loop_cancel(m->role->loop, &m->fill);
    map_done(&m->watched);
}

void mailbox_role_status(const struct mailbox_role *m, struct buf *out)
{
    event_u64(out, "watched_mailboxes", m->watched.n);
    event_u64(out, "feed_items", m->fed);
    event_u64(out, "flagged", m->flagged);
    event_u64(out, "copied", m->copied);
    event_u64(out, "expunge_commands", m->expunged);
    event_u64(out, "appended", m->appended);
}
