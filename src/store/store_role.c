/* Role store: see store_role.h. */
#include "store/store_role.h"
#include <errno.h>
#include <sqlite3.h>
#include <sys/epoll.h>
#include "base/codec.h"
#include "base/map.h"
#include "io/role.h"
#include "store/card_maker.h"
#include "store/mailbox_query.h"
#include "store/mailbox_role.h"
#include "store/quota_role.h"
#include "store/store.h"
#include "store/store_queue_role.h"

enum { SESSIONS_MAX = 200000, MARKS_MAX = 4096, GATHER_MS = 5, STUCK_MS = 500 };
enum { COMPACT_TICK_MS = 60000, COMPACT_TICKS = 60, COMPACT_STEP_MS = 10, COMPACT_WAIT_MS = 1000 };

/* How far the records of a receive log are staged when so many of its bytes are placed. */
struct marks { struct { uint64_t lsn, bytes; } mark[MARKS_MAX]; size_t first, n; };

/* The logs, each with the one role that writes it. */
static const struct log_of { enum role_id role; const char *name; } logs[] = {
    { ROLE_SMTP_IN, "smtp-in" }, { ROLE_ACCESS, "access" }
};

struct expunge_wait { uint64_t ticket, request; struct expunge_wait *next; };

struct store_role {
    struct role *role;
    struct store *store;
    bool has_key; uint8_t key[16]; /* of this host */
    struct loop_io sync_io;
    struct loop_turn turn;
    struct loop_timer gather;
    bool due;             /* what is staged is not to wait any longer */
    bool synced;          /* a sync of the journal has ended */
    struct loop_timer compact, compact_step;
    uint64_t compact_request; /* of the master, who waits for the end of a pass; 0 none */
    bool compacting_now;
    uint64_t compact_ticks;
    struct map sessions;  /* session text -> struct bound */
    struct map leases;    /* account -> struct bound that holds its maildrop */
    bool access_left;     /* what was its is to be forgotten: not where it is found out, in the middle of an answer */
    struct marks marks[ARRAY_LEN(logs)];
    struct expunge_wait *expunges, **expunges_end;
    struct card_maker cards;
    struct store_queue_role queue;
    struct mailbox_role mailboxes;
    struct quota_role quota;
    struct role_config *config; /* whose directory the store uses */
};

static struct store_role *self(struct role *r) { return r->self; }

static void placed(void *arg, const struct store_placement *p)
{
    struct store_role *sr = arg;
    char id[B32_ID_LEN];
    char name[B32_ID_LEN + 12];
    struct buf text = { .p = name, .cap = sizeof(name), .max = sizeof(name) };
    b32_id_encode(p->message->session, id);
    buf_add(&text, str_of(id, sizeof(id)));
    buf_addc(&text, '.');
    buf_addu(&text, p->message->number);
    struct buf *e = events_begin(&sr->role->events, EVENT_INFO, p->uid ? "placed" : "unplaced");
    event_str(e, "session", buf_str(&text));
    event_str(e, "recipient", p->recipient);
    event_str(e, "account", p->account);
    event_str(e, "mailbox", p->mailbox);
    event_u64(e, "uid", p->uid);
    event_u64(e, "lsn", p->lsn);
    event_str(e, "log", p->log);
    event_u64(e, "segment", p->position.segment);
    event_u64(e, "offset", p->position.offset);
    event_u64(e, "size", p->size);
    if (p->reason.n)
        event_str(e, "reason", p->reason);
    events_end(&sr->role->events);
    sr->cards.due = sr->cards.due || !p->message->card.n;
    if (str_eq(p->log, S("access")))
        mailbox_role_placed(&sr->mailboxes, p);
    if (p->uid)
        quota_role_changed(&sr->quota, p->account);
}

static void note(void *arg, str what)
{
    struct store_role *sr = arg;
    events_say(&sr->role->events, EVENT_WARN, "store", what);
}

static void free_bound(struct bound *b)
{
    if (!b)
        return;
    free(b->session);
    free(b->account);
    free(b);
}

static void forget(struct store_role *sr, str session)
{
    struct bound *b = map_take(&sr->sessions, session);
    if (b && map_get(&sr->leases, str_z(b->account)) == b)
        map_take(&sr->leases, str_z(b->account));
    free_bound(b);
}

static void forget_all(struct store_role *sr)
{
    struct bound *b;
    for (size_t at = 0; (b = map_next(&sr->sessions, &at, NULL));)
        forget(sr, str_z(b->session));
}

/* The last mark whose records are durable goes back to the receiving role, which thus knows how far behind we are. */
static void report_applied(struct store_role *sr)
{
    uint64_t durable = store_durable(sr->store);
    for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
        struct marks *m = &sr->marks[i];
        uint64_t bytes = 0;
        bool any = false;
        for (; m->n && m->mark[m->first].lsn <= durable; m->n--) {
            bytes = m->mark[m->first].bytes;
            m->first = (m->first + 1) % MARKS_MAX;
            any = true;
        }
        if (!any)
            continue;
        struct buf b = BUF(64);
        pack_u64(&b, bytes);
        ipc_send(role_peer(sr->role, logs[i].role), IPC_LOG_APPLIED, &b, -1);
        buf_done(&b);
    }
}

static void answer_expunge(struct store_role *sr, uint64_t request, bool ok)
{
    struct buf b = BUF(64);
    pack_u64(&b, request);
    pack_u8(&b, ok);
    ipc_send(role_peer(sr->role, ROLE_ACCESS), IPC_EXPUNGED, &b, -1);
    buf_done(&b);
}

static void forget_expunges(struct store_role *sr)
{
    for (struct expunge_wait *w = TAKE(sr->expunges), *next; w; w = next) {
        next = w->next;
        free(w);
    }
    sr->expunges_end = &sr->expunges;
}

static void answer_expunges(struct store_role *sr)
{
    while (sr->expunges && sr->expunges->ticket <= store_durable(sr->store)) {
        struct expunge_wait *w = sr->expunges;
        sr->expunges = w->next;
        if (!sr->expunges)
            sr->expunges_end = &sr->expunges;
        answer_expunge(sr, w->request, true);
        free(w);
    }
}

static void after_turn(struct store_role *sr, int r)
{
    if (r < 0) {
        events_say(&sr->role->events, EVENT_ERROR, "store_failed",
                   S("the journal or index could not be written: the role restarts and replays"));
        loop_stop(sr->role->loop);
        return;
    }
    report_applied(sr);
    answer_expunges(sr);
}

static void access_left(struct store_role *sr)
{
    if (!sr->access_left)
        return;
    sr->access_left = false;
    forget_all(sr);
    forget_expunges(sr); /* the next process numbers its requests anew */
    mailbox_role_access_down(&sr->mailboxes);
}

/* Placing waits for nobody but the reader of a mailbox, who flushes the store, so messages gather for GATHER_MS and
 * share a journal sync and an index commit. */
static void turn_end(struct loop_turn *t)
{
    struct store_role *sr = CONTAINER_OF(t, struct store_role, turn);
    if (!sr->store)
        return;
    access_left(sr);
    if (sr->synced)
        after_turn(sr, store_publish(sr->store));
    sr->synced = false;
    int r = card_maker_turn(&sr->cards);
    if (r == 0)
        r = store_queue_role_turn(&sr->queue);
    if (r < 0)
        after_turn(sr, r);
    else
        report_applied(sr);
    mailbox_role_turn(&sr->mailboxes);
    sr->due = sr->due || sr->mailboxes.due || store_queue_hurry(sr->store); /* a connection waits for it */
    if (!sr->due && !sr->gather.slot && !store_idle(sr->store))
        sr->due = loop_after(sr->role->loop, &sr->gather, store_stuck(sr->store) ? STUCK_MS : GATHER_MS) < 0;
    if (!sr->due || store_syncing(sr->store))
        return;
    sr->due = sr->mailboxes.due = false;
    loop_cancel(sr->role->loop, &sr->gather);
    after_turn(sr, store_turn(sr->store));
    mailbox_role_turn(&sr->mailboxes);
}

static void gathered(struct loop_timer *t) { CONTAINER_OF(t, struct store_role, gather)->due = true; }

static void sync_ready(struct loop_io *io, uint32_t events)
{
    (void)events;
    CONTAINER_OF(io, struct store_role, sync_io)->synced = true;
}

static int unpack_positions(struct store_role *sr, struct unpack *in, str log)
{
    uint32_t n = unpack_u32(in);
    for (uint32_t i = 0; i < n && !in->bad; i++) {
        struct log_position p = { .segment = unpack_u64(in), .offset = unpack_u64(in) };
        int r = in->bad ? 0 : store_log_synced(sr->store, log, p);
        if (r < 0)
            return r;
    }
    return unpack_end(in) ? 0 : -EBADMSG;
}

static void add_mark(struct store_role *sr, struct marks *m, uint64_t bytes)
{
    struct store_stats stats;
    store_stats(sr->store, &stats);
    if (m->n < MARKS_MAX) /* else merge with the newest */
        m->n++;
    size_t at = (m->first + m->n - 1) % MARKS_MAX;
    m->mark[at].lsn = stats.lsn;
    m->mark[at].bytes = bytes;
}

/* The marks of that log, if it is that peer's. */
static struct marks *log_marks(struct store_role *sr, enum role_id peer, str log)
{
    for (size_t i = 0; i < ARRAY_LEN(logs); i++)
        if (logs[i].role == peer && str_eq(log, str_z(logs[i].name)))
            return &sr->marks[i];
    return NULL;
}

/* A store that cannot read a log does not drop its peer: it ends itself, and replays when it comes back. */
static int log_trouble(struct store_role *sr, int r)
{
    if (r >= 0 || r == -EBADMSG)
        return r;
    events_say(&sr->role->events, EVENT_ERROR, "store_failed",
               S("a receive log could not be read or the journal written: the role restarts"));
    loop_stop(sr->role->loop);
    return 0;
}

static int log_attach(struct store_role *sr, enum role_id peer, struct ipc_frame *f)
{
    str log = unpack_str(&f->in);
    uint64_t bytes = unpack_u64(&f->in), first = unpack_u64(&f->in);
    struct marks *marks = log_marks(sr, peer, log);
    if (f->in.bad || !marks)
        return -EBADMSG;
    int r = store_log_attach(sr->store, log, first);
    if (r == 0)
        r = unpack_positions(sr, &f->in, log);
    add_mark(sr, marks, bytes);
    sr->due = true;
    return log_trouble(sr, r);
}

static int log_synced(struct store_role *sr, enum role_id peer, struct ipc_frame *f)
{
    str log = unpack_str(&f->in);
    uint64_t bytes = unpack_u64(&f->in);
    struct marks *marks = log_marks(sr, peer, log);
    if (f->in.bad || !marks)
        return -EBADMSG;
    int r = unpack_positions(sr, &f->in, log);
    add_mark(sr, marks, bytes);
    sr->due = sr->due || peer == ROLE_ACCESS; /* a client waits for its APPEND */
    return log_trouble(sr, r);
}

static int bind_session(struct store_role *sr, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    uint8_t peer = unpack_u8(&f->in);
    str session = unpack_str(&f->in), account = unpack_str(&f->in);
    if (!unpack_end(&f->in) || peer != ROLE_ACCESS || !session.n || session.n > 64)
        return -EBADMSG;
    struct bound *b = calloc(1, sizeof(*b));
    forget(sr, session);
    if (b) {
        b->session = str_dupz(session);
        b->account = str_dupz(account);
    }
    if (!b || !b->session || !b->account || map_set(&sr->sessions, session, b, NULL) < 0)
        free_bound(b); /* access will be told "not bound" */
    struct buf out = BUF(64);
    pack_u64(&out, request);
    ipc_send(role_peer(sr->role, ROLE_AUTH), IPC_SESSION_BOUND, &out, -1);
    buf_done(&out);
    return 0;
}

enum maildrop { MAILDROP_OPENED, MAILDROP_IN_USE, MAILDROP_TROUBLE, MAILDROP_NOT_BOUND };

static enum maildrop open_maildrop(struct store_role *sr, struct bound *b, int *out_fd)
{
    struct store_mailbox box;
    if (!b)
        return MAILDROP_NOT_BOUND;
    const struct bound *holder = map_get(&sr->leases, str_z(b->account));
    if (holder && holder != b)
        return MAILDROP_IN_USE;
    int r = store_flush(sr->store);
    if (r == -ENOSPC)
        r = 0; /* what waits for room is not in the mailbox yet; the rest can be read and deleted */
    if (r < 0 || store_mailbox(sr->store, str_z(b->account), S("INBOX"), &box) < 0 ||
        store_snapshot(sr->store, box.id, out_fd) < 0)
        return MAILDROP_TROUBLE;
    if (!holder && map_set(&sr->leases, str_z(b->account), b, NULL) < 0) {
        close(TAKE_FD(*out_fd));
        return MAILDROP_TROUBLE;
    }
    b->mailbox = box.id;
    b->opened_lsn = store_durable(sr->store);
    return MAILDROP_OPENED;
}

static int maildrop_open(struct store_role *sr, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    str session = unpack_str(&f->in);
    _cleanup_close_ int fd = -1;
    if (!unpack_end(&f->in))
        return -EBADMSG;
    struct bound *b = map_get(&sr->sessions, session);
    enum maildrop how = open_maildrop(sr, b, &fd);
    struct buf out = BUF(64);
    pack_u64(&out, request);
    pack_u8(&out, (uint8_t)how);
    pack_u64(&out, how == MAILDROP_OPENED ? b->mailbox : 0);
    ipc_send(role_peer(sr->role, ROLE_ACCESS), IPC_MAILDROP, &out, fd);
    buf_done(&out);
    return 0;
}

static int maildrop_close(struct store_role *sr, struct ipc_frame *f)
{
    str session = unpack_str(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    forget(sr, session);
    return 0;
}

static int wait_expunge(struct store_role *sr, uint64_t request, uint64_t ticket)
{
    struct expunge_wait *w = malloc(sizeof(*w));
    if (!w)
        return -ENOMEM;
    *w = (struct expunge_wait){ .ticket = ticket, .request = request };
    *sr->expunges_end = w;
    sr->expunges_end = &w->next;
    sr->due = true;
    return 0;
}

static int expunge(struct store_role *sr, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in), ticket;
    const struct bound *b = map_get(&sr->sessions, unpack_str(&f->in));
    uint32_t n = unpack_u32(&f->in);
    if (f->in.bad || n > IPC_FRAME_MAX / 4)
        return -EBADMSG;
    uint32_t *uids = malloc(sizeof(*uids) * (n + 1));
    if (!uids)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        uids[i] = unpack_u32(&f->in);
    bool ok = unpack_end(&f->in) && b && b->mailbox &&
              store_expunge(sr->store, b->mailbox, uids, n, &ticket) == 0 && wait_expunge(sr, request, ticket) == 0;
    free(uids);
    if (ok)
        quota_role_changed(&sr->quota, str_z(b->account));
    else
        answer_expunge(sr, request, false);
    return 0;
}

static int segment_get(struct store_role *sr, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    str session = unpack_str(&f->in), log = unpack_str(&f->in);
    uint64_t segment = unpack_u64(&f->in);
    _cleanup_close_ int fd = -1;
    if (!unpack_end(&f->in))
        return -EBADMSG;
    const struct bound *b = map_get(&sr->sessions, session);
    bool ok = b && (b->mailbox || b->imap || mailbox_role_open_for(&sr->mailboxes, str_z(b->account))) &&
              store_segment_open(sr->store, log, segment, &fd) == 0;
    struct buf out = BUF(64);
    pack_u64(&out, request);
    pack_u8(&out, ok);
    ipc_send(role_peer(sr->role, ROLE_ACCESS), IPC_SEGMENT, &out, fd);
    buf_done(&out);
    return 0;
}

static uint64_t oldest_reader(struct store_role *sr)
{
    uint64_t oldest = UINT64_MAX;
    const struct bound *b;
    for (size_t at = 0; (b = map_next(&sr->leases, &at, NULL));)
        oldest = MIN(oldest, b->opened_lsn);
    return oldest;
}

static void compact(struct store_role *sr, bool now)
{
    sr->compacting_now = now;
    if (store_compact(sr->store, now, sr->role->config->conf->expunged_retention * 1000) == 0)
        loop_after(sr->role->loop, &sr->compact_step, 0);
}

/* A pass that found no room is tried again each minute, others each hour. */
static void compact_due(struct loop_timer *t)
{
    struct store_role *sr = CONTAINER_OF(t, struct store_role, compact);
    struct store_compaction c;
    store_compaction(sr->store, &c);
    loop_after(sr->role->loop, t, COMPACT_TICK_MS);
    if (sr->compact_ticks++ % COMPACT_TICKS == 0 || c.postponed)
        compact(sr, false);
}

static void compaction_fields(struct store_role *sr, struct buf *out)
{
    struct store_compaction c;
    store_compaction(sr->store, &c);
    event_u64(out, "compaction_passes", c.passes);
    event_u64(out, "compaction_moved", c.moved);
    event_u64(out, "compaction_copied_bytes", c.copied_bytes);
    event_u64(out, "compaction_removed_segments", c.removed);
    event_u64(out, "compaction_waiting_segments", c.pending);
    event_u64(out, "compaction_postponed_segments", c.postponed);
}

static void answer_compact(struct store_role *sr)
{
    struct buf fields = BUF(4096), b = BUF(8192);
    compaction_fields(sr, &fields);
    pack_u64(&b, sr->compact_request);
    pack_str(&b, buf_str(&fields));
    ipc_send(&sr->role->master, IPC_STATUS_REPLY, &b, -1);
    buf_done(&b);
    buf_done(&fields);
    sr->compact_request = 0;
}

static void compact_step(struct loop_timer *t)
{
    struct store_role *sr = CONTAINER_OF(t, struct store_role, compact_step);
    struct store_compaction c;
    int r = store_compact_step(sr->store, oldest_reader(sr));
    if (r < 0) {
        after_turn(sr, r);
        return;
    }
    store_compaction(sr->store, &c);
    if (r == 1)
        loop_after(sr->role->loop, t, sr->compacting_now ? 1 : COMPACT_STEP_MS);
    else if (c.pending || c.waits)
        loop_after(sr->role->loop, t, COMPACT_WAIT_MS);
    if (r == 0 && sr->compact_request)
        answer_compact(sr);
}

static int compact_asked(struct store_role *sr, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    bool now = unpack_u8(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    if (sr->compact_request)
        answer_compact(sr);
    sr->compact_request = request;
    compact(sr, now);
    return 0;
}

/* A question about mailboxes, or about the queue. */
static int asked(struct store_role *sr, struct ipc_frame *f)
{
    struct ipc_frame copy = *f;
    uint64_t request = unpack_u64(&copy.in);
    str question = unpack_str(&copy.in);
    if (copy.in.bad || !mailbox_query_is(question))
        return store_queue_role_frame(&sr->queue, ROLE_MASTER, f);
    _cleanup_buf_ struct buf text = BUF(ROLE_ANSWER_MAX), account = BUF(ROLE_ANSWER_MAX);
    bool ok = false;
    int e = mailbox_query(sr->store, question, &text, &ok);
    role_answer(sr->role, request, ok && e == 0, buf_str(&text));
    if (event_get(question, "account", &account))
        quota_role_changed(&sr->quota, buf_str(&account));
    sr->due = true;
    if (e < 0)
        after_turn(sr, e);
    return 0;
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct store_role *sr = self(r);
    access_left(sr);
    switch (f->type) { /* messages.def has seen to it that the type fits the peer */
    case IPC_LOG_ATTACH: return log_attach(sr, peer, f);
    case IPC_LOG_SYNCED: return log_synced(sr, peer, f);
    case IPC_SESSION_BIND: return bind_session(sr, f);
    case IPC_MAILDROP_OPEN: return maildrop_open(sr, f);
    case IPC_MAILDROP_CLOSE: return maildrop_close(sr, f);
    case IPC_EXPUNGE: return expunge(sr, f);
    case IPC_SEGMENT_GET: return segment_get(sr, f);
    case IPC_COMPACT: return compact_asked(sr, f);
    case IPC_CARD: return card_maker_frame(&sr->cards, f);
    case IPC_ASK: return asked(sr, f);
    case IPC_JOB_ATTACH: case IPC_JOB_RESULT: return store_queue_role_frame(&sr->queue, peer, f);
    default: return peer == ROLE_ACCESS ? mailbox_role_frame(&sr->mailboxes, f) : -EBADMSG;
    }
}

static void peer_down(struct role *r, enum role_id peer)
{
    struct store_role *sr = self(r);
    if (peer == ROLE_CARDS)
        card_maker_down(&sr->cards);
    store_queue_role_down(&sr->queue, peer);
    for (size_t i = 0; i < ARRAY_LEN(logs); i++)
        if (logs[i].role == peer)
            sr->marks[i].n = 0; /* the next process counts its bytes anew */
    sr->access_left = sr->access_left || peer == ROLE_ACCESS;
}

static void peer_up(struct role *r, enum role_id peer)
{
    struct store_role *sr = self(r);
    access_left(sr);
    if (peer == ROLE_CARDS)
        sr->cards.due = true;
    store_queue_role_up(&sr->queue, peer);
    if (peer == ROLE_SMTP_IN)
        quota_role_up(&sr->quota);
}

static int configure(struct role *r)
{
    struct store_role *sr = self(r);
    sr->role = r;
    if (!sr->store)
        return 0;
    store_set_directory(sr->store, &r->config->directory);
    if (sr->queue.role)
        store_queue_role_configure(&sr->queue, r->config->conf);
    role_config_unref(sr->config);
    sr->config = role_config_ref(r->config);
    if (sr->quota.role)
        quota_role_configure(&sr->quota);
    return 0;
}

/* SQLite opens /dev/urandom for its first random number. */
static void prepare(void)
{
    char byte;
    sqlite3_randomness(1, &byte);
}

static int file(struct role *r, str name, int fd)
{
    struct store_role *sr = self(r);
    if (str_eq(name, S("host_key")))
        sr->has_key = pread(fd, sr->key, sizeof(sr->key), 0) == sizeof(sr->key);
    if (sr->store && sr->has_key)
        store_set_key(sr->store, sr->key);
    return 0;
}

static void usage_changed(void *arg, str account) { quota_role_changed(arg, account); }

static int start(struct role *r)
{
    struct store_role *sr = self(r);
    uint8_t key[16];
    struct store_config config = { .data_fd = r->data_dir,
                                   .segment_size = r->config->conf->log_segment_size,
                                   .env = r->env,
                                   .placed = placed,
                                   .note = note,
                                   .arg = sr };
    int e = store_open(&config, &sr->store);
    if (e < 0) {
        events_say(&r->events, EVENT_ERROR, "store_failed",
                   e == -EBUSY
                       ? S("the store is in use by another process; is another server running on this data_directory?")
                       : S("the store cannot be opened; posthouse store check says more"));
        return e;
    }
    configure(r);
    if (sr->has_key)
        store_set_key(sr->store, sr->key);
    card_maker_init(&sr->cards, r, sr->store);
    mailbox_role_init(&sr->mailboxes, r, sr->store, &sr->sessions);
    quota_role_init(&sr->quota, r, sr->store);
    sr->mailboxes.usage = usage_changed;
    sr->mailboxes.limit = quota_role_limit;
    sr->mailboxes.arg = &sr->quota;
    e = store_queue_role_start(&sr->queue, r, sr->store);
    if (e < 0)
        return e;
    r->env->random(key, sizeof(key));
    map_init(&sr->sessions, SESSIONS_MAX, key);
    map_init(&sr->leases, SESSIONS_MAX, key);
    sr->expunges_end = &sr->expunges;
    sr->sync_io = (struct loop_io){ .fd = store_fd(sr->store), .ready = sync_ready };
    sr->turn.end = turn_end;
    sr->gather.fire = gathered;
    sr->compact.fire = compact_due;
    sr->compact_step.fire = compact_step;
    loop_after(r->loop, &sr->compact, COMPACT_TICK_MS);
    loop_at_turn_end(r->loop, &sr->turn);
    return loop_watch(r->loop, &sr->sync_io, EPOLLIN);
}

static void status(struct role *r, struct buf *out)
{
    struct store_role *sr = self(r);
    struct store_stats s;
    store_stats(sr->store, &s);
    event_u64(out, "placed", s.placed);
    event_u64(out, "expunged", s.expunged);
    event_u64(out, "unplaced", s.unplaced);
    event_u64(out, "stored_messages", s.messages);
    event_u64(out, "mailboxes", s.mailboxes);
    event_u64(out, "lsn", s.lsn);
    event_u64(out, "journal_syncs", s.journal_syncs);
    event_u64(out, "unapplied_bytes", s.backlog_bytes);
    event_u64(out, "logged_in", sr->sessions.n);
    event_u64(out, "cards_made", sr->cards.made);
    event_u64(out, "cards_minimal", sr->cards.minimal);
    event_u64(out, "cards_deaths", sr->cards.deaths);
    mailbox_role_status(&sr->mailboxes, out);
    event_u64(out, "over_quota", sr->quota.over.n);
    compaction_fields(sr, out);
    store_queue_role_status(&sr->queue, out);
}

static void stop(struct role *r)
{
    struct store_role *sr = self(r);
    ipc_drain(role_peer(r, ROLE_ACCESS)); /* flags that were told before we have heard of them */
    store_flush(sr->store);
    loop_cancel(r->loop, &sr->compact);
    loop_cancel(r->loop, &sr->compact_step);
    loop_unwatch(r->loop, &sr->sync_io);
    card_maker_done(&sr->cards);
    mailbox_role_done(&sr->mailboxes);
    quota_role_done(&sr->quota);
    store_queue_role_stop(&sr->queue);
    store_close(TAKE(sr->store));
    loop_stop(r->loop);
}

static const struct role_ops ops = { .id = ROLE_STORE,
                                     .prepare = prepare,
                                     .start = start,
                                     .configure = configure,
                                     .file = file,
                                     .frame = frame,
                                     .peer_up = peer_up,
                                     .peer_down = peer_down,
                                     .status = status,
                                     .stop = stop };

int store_role_run(void)
{
    static struct store_role sr;
    return role_run(&ops, &sr);
}
