/* A POP3 session's maildrop: opened, read and changed through the store. Content is read with pread from segments that
 * the store handed out and goes straight into the engine's output. */
#include <errno.h>
#include <fcntl.h>
#include "access/pop3_session.h"
#include "base/codec.h"

static char chunk[65536];
enum { CHUNK = sizeof(chunk), UIDS_A_FRAME = 10000 };

static struct ipc_link *store_of(struct pop3_session *s) { return role_peer(s->access->role, ROLE_STORE); }

static uint64_t begin_request(struct pop3_session *s, struct buf *b, enum pop3_wait wait)
{
    *b = BUF(IPC_FRAME_MAX);
    s->wait = wait;
    s->request = ++s->access->last_request;
    pack_u64(b, s->request);
    pack_str(b, trace_id_str(&s->id));
    return s->request;
}

static int send_request(struct pop3_session *s, enum ipc_type type, struct buf *b)
{
    int r = ipc_send(store_of(s), type, b, -1);
    buf_done(b);
    if (r < 0)
        s->wait = POP3_WAIT_NONE;
    return r;
}

void pop3_maildrop_open(struct pop3_session *s)
{
    struct buf b;
    begin_request(s, &b, POP3_WAIT_MAILDROP);
    if (send_request(s, IPC_MAILDROP_OPEN, &b) < 0)
        pop3_server_auth_failed(s->engine, S("SYS/TEMP"), S("The mailbox cannot be opened at the moment"));
}

void pop3_maildrop_close(struct pop3_session *s)
{
    struct buf b = BUF(256);
    pack_str(&b, trace_id_str(&s->id));
    if (s->logged_in)
        ipc_send(store_of(s), IPC_MAILDROP_CLOSE, &b, -1);
    buf_done(&b);
    if (s->open)
        snapshot_close(&s->drop);
    s->open = false;
    free(TAKE(s->messages));
    segment_wait_cancel(&s->segment);
}

static int read_table(struct pop3_session *s)
{
    struct mailbox_entry e;
    s->messages = calloc(s->drop.n + 1, sizeof(*s->messages));
    if (!s->messages)
        return -ENOMEM;
    for (size_t i = 0; i < s->drop.n; i++) {
        int r = snapshot_entry(&s->drop, i, &e);
        if (r < 0)
            return r;
        s->messages[i] = (struct pop3_message){ .size = e.size, .uid = e.uid };
    }
    return 0;
}

static void opened(struct pop3_session *s, struct ipc_frame *f)
{
    s->open = snapshot_open(TAKE_FD(f->fd), &s->drop) == 0;
    if (!s->open || read_table(s) < 0) {
        pop3_server_auth_failed(s->engine, S("SYS/TEMP"), S("The mailbox cannot be read at the moment"));
        return;
    }
    struct buf *e = pop3_session_event(s, "maildrop");
    event_str(e, "account", str_z(s->account));
    event_u64(e, "messages", s->drop.n);
    pop3_session_event_end(s);
    pop3_server_opened(s->engine, s->drop.uidvalidity, s->messages, s->drop.n);
}

static struct pop3_session *waiting(struct access_role *a, uint64_t request, enum pop3_wait wait)
{
    for (struct pop3_session *s = a->all; s; s = s->next)
        if (s->wait == wait && s->request == request && !s->closing)
            return s;
    return NULL;
}

static int on_maildrop(struct access_role *a, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    uint8_t how = unpack_u8(&f->in);
    unpack_u64(&f->in);
    struct pop3_session *s = waiting(a, request, POP3_WAIT_MAILDROP);
    if (!unpack_end(&f->in) || (how == 0 && f->fd < 0 && !f->fd_lost))
        return -EBADMSG;
    if (!s)
        return 0;
    s->wait = POP3_WAIT_NONE;
    if (how == 0)
        opened(s, f);
    else if (how == 1)
        pop3_server_auth_failed(s->engine, S("IN-USE"), S("Another POP3 session has this mailbox open"));
    else
        pop3_server_auth_failed(s->engine, S("SYS/TEMP"), S("The mailbox cannot be opened at the moment"));
    pop3_session_pump(s);
    return 0;
}

static void damaged(struct pop3_session *s, str what)
{
    struct buf *e = pop3_session_event(s, "damaged");
    event_str(e, "account", str_z(s->account));
    event_u64(e, "uid", s->sending.uid);
    event_str(e, "log", s->sending.log);
    event_u64(e, "segment", s->sending.position.segment);
    event_u64(e, "offset", s->sending.position.offset);
    event_str(e, "what", what);
    pop3_session_event_end(s);
    s->access->count.damaged++;
}

/* The record with as much of its content as fits one read. It must be there before "+OK" is said, and what fits must
 * have its CRC; that of a longer message is compared when the last byte has been read. */
static bool read_record(struct pop3_session *s, struct access_segment *g)
{
    struct record_header header;
    uint64_t offset = s->sending.position.offset;
    size_t n = RECORD_HEADER_SIZE + (size_t)MIN(s->sending.content_len, (uint64_t)CHUNK - RECORD_HEADER_SIZE);
    if (pread(g->fd, chunk, n, (off_t)offset) != (ssize_t)n ||
        !segment_record_at(g, str_of(chunk, n), offset, &header) || header.content_len != s->sending.content_len)
        return false;
    s->sent = n - RECORD_HEADER_SIZE;
    s->expected_crc = header.content_crc;
    s->crc = crc32c(0, str_of(chunk + RECORD_HEADER_SIZE, s->sent));
    return s->sent < s->sending.content_len || s->crc == s->expected_crc;
}

static void end_content(struct pop3_session *s);

static void begin_content(struct pop3_session *s, struct access_segment *g)
{
    if (!read_record(s, g)) {
        damaged(s, S("the record is not the one that was stored"));
        pop3_server_content_refuse(s->engine, S("SYS/PERM"),
                                   S("The message is damaged; the postmaster can run posthouse store check"));
        return;
    }
    bool more = s->sent < s->sending.content_len;
    if (more && (s->sending_fd = fcntl(g->fd, F_DUPFD_CLOEXEC, 3)) < 0) { /* for this response alone (DESIGN 5.10) */
        pop3_server_content_refuse(s->engine, S("SYS/TEMP"), S("The message cannot be opened at the moment"));
        return;
    }
    pop3_server_content_begin(s->engine);
    s->content = (!s->sending.prefix.n || pop3_server_content_feed(s->engine, s->sending.prefix)) &&
                 (!s->sent || pop3_server_content_feed(s->engine, str_of(chunk + RECORD_HEADER_SIZE, s->sent)));
    if (more)
        pop3_maildrop_send(s);
    else
        end_content(s);
}

static void got_segment(struct segment_wait *w, struct access_segment *g)
{
    struct pop3_session *s = CONTAINER_OF(w, struct pop3_session, segment);
    s->wait = POP3_WAIT_NONE;
    if (g)
        begin_content(s, g);
    else
        pop3_server_content_refuse(s->engine, S("SYS/TEMP"), S("The message cannot be opened at the moment"));
    segments_release(g);
    pop3_session_pump(s);
}

void pop3_maildrop_retrieve(struct pop3_session *s, const struct pop3_event *ev)
{
    s->sending_index = ev->index;
    s->top = ev->top;
    if (snapshot_entry(&s->drop, ev->index, &s->sending) < 0) {
        pop3_server_content_refuse(s->engine, S("SYS/PERM"),
                                   S("The message's place is damaged; the postmaster can run posthouse store check"));
        return;
    }
    str log = s->sending.log;
    uint64_t number = s->sending.position.segment;
    struct access_segment *g = segments_hold(&s->access->segments, log, number);
    if (g) {
        begin_content(s, g);
        segments_release(g);
        return;
    }
    s->wait = POP3_WAIT_SEGMENT;
    s->segment.got = got_segment;
    if (segments_ask(&s->access->segments, &s->segment, trace_id_str(&s->id), log, number) < 0) {
        s->wait = POP3_WAIT_NONE;
        pop3_server_content_refuse(s->engine, S("SYS/TEMP"), S("The message cannot be opened at the moment"));
    }
}

static void end_content(struct pop3_session *s)
{
    char id[B32_ID_LEN], name[B32_ID_LEN + 12];
    struct buf text = { .p = name, .cap = sizeof(name), .max = sizeof(name) };
    if (s->sending_fd >= 0)
        close(TAKE_FD(s->sending_fd));
    pop3_server_content_end(s->engine);
    b32_id_encode(s->sending.session, id);
    buf_add(&text, str_of(id, sizeof(id)));
    buf_addc(&text, '.');
    buf_addu(&text, s->sending.number);
    struct buf *e = pop3_session_event(s, s->top ? "pop3_top" : "pop3_retrieved");
    event_str(e, "message", buf_str(&text));
    event_str(e, "account", str_z(s->account));
    event_u64(e, "uid", s->sending.uid);
    event_u64(e, "size", s->sending.size);
    pop3_session_event_end(s);
    s->access->count.retrieved++;
    s->access->count.bytes += s->sent;
    s->retrieved++;
}

void pop3_maildrop_send(struct pop3_session *s)
{
    struct buf *out = pop3_server_output(s->engine);
    while (s->sending_fd >= 0 && s->content && s->sent < s->sending.content_len) {
        if (out->n >= POP3_OUTPUT_HIGH)
            return;
        uint64_t left = s->sending.content_len - s->sent;
        off_t at = (off_t)(s->sending.position.offset + RECORD_HEADER_SIZE + s->sent);
        ssize_t n = pread(s->sending_fd, chunk, MIN(left, (uint64_t)CHUNK), at);
        if (n <= 0) {
            close(TAKE_FD(s->sending_fd));
            pop3_server_content_abort(s->engine);
            return;
        }
        s->sent += (uint64_t)n;
        s->crc = crc32c(s->crc, str_of(chunk, (size_t)n));
        if (s->sent == s->sending.content_len && s->crc != s->expected_crc) {
            damaged(s, S("the content does not have the checksum it was stored with"));
            close(TAKE_FD(s->sending_fd));
            pop3_server_content_abort(s->engine); /* before its last bytes: it must not look complete */
            return;
        }
        s->content = pop3_server_content_feed(s->engine, str_of(chunk, (size_t)n));
    }
    if (s->sending_fd >= 0)
        end_content(s);
}

static size_t collect_deleted(struct pop3_session *s, size_t *at, struct buf *b)
{
    size_t n = 0;
    for (; *at < s->drop.n && n < UIDS_A_FRAME; (*at)++)
        if (pop3_server_deleted(s->engine, *at)) {
            pack_u32(b, s->messages[*at].uid);
            n++;
        }
    return n;
}

void pop3_maildrop_update(struct pop3_session *s)
{
    _cleanup_buf_ struct buf uids = BUF(UIDS_A_FRAME * 4);
    size_t n;
    s->expunges_out = 0;
    s->expunge_failed = false;
    for (size_t at = 0; (n = collect_deleted(s, &at, &uids)); buf_clear(&uids)) {
        struct buf b;
        begin_request(s, &b, POP3_WAIT_EXPUNGE);
        pack_u32(&b, (uint32_t)n);
        buf_add(&b, buf_str(&uids));
        if (send_request(s, IPC_EXPUNGE, &b) < 0)
            s->expunge_failed = true;
        else
            s->expunges_out++;
        s->access->count.deleted += n;
    }
    struct buf *e = pop3_session_event(s, "pop3_deleted");
    event_str(e, "account", str_z(s->account));
    pop3_session_event_end(s);
    if (!s->expunges_out)
        pop3_server_update_done(s->engine, !s->expunge_failed);
    else
        s->wait = POP3_WAIT_EXPUNGE;
}

/* Requests of one QUIT have consecutive numbers; the last one is s->request. */
static int on_expunged(struct access_role *a, struct ipc_frame *f)
{
    uint64_t request = unpack_u64(&f->in);
    bool ok = unpack_u8(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    for (struct pop3_session *s = a->all; s; s = s->next) {
        if (s->wait != POP3_WAIT_EXPUNGE || s->closing || request > s->request ||
            request + s->expunges_out <= s->request)
            continue;
        s->expunge_failed |= !ok;
        if (request == s->request) { /* answered in order: this was the last */
            s->wait = POP3_WAIT_NONE;
            pop3_server_update_done(s->engine, !s->expunge_failed);
            pop3_session_pump(s);
        }
        return 0;
    }
    return 0;
}

int pop3_maildrop_frame(struct access_role *a, struct ipc_frame *f)
{
    switch (f->type) {
    case IPC_MAILDROP: return on_maildrop(a, f);
    case IPC_SEGMENT: return store_calls_frame(&a->calls, f);
    case IPC_EXPUNGED: return on_expunged(a, f);
    default: return -EBADMSG;
    }
}

static void fail_wait(struct pop3_session *s)
{
    enum pop3_wait wait = s->wait;
    s->wait = POP3_WAIT_NONE;
    segment_wait_cancel(&s->segment);
    if (wait == POP3_WAIT_MAILDROP)
        pop3_server_auth_failed(s->engine, S("SYS/TEMP"), S("The mailbox cannot be opened at the moment"));
    else if (wait == POP3_WAIT_SEGMENT)
        pop3_server_content_refuse(s->engine, S("SYS/TEMP"), S("The message cannot be opened at the moment"));
    else if (wait == POP3_WAIT_EXPUNGE)
        pop3_server_update_done(s->engine, false);
    if (wait != POP3_WAIT_NONE)
        pop3_session_pump(s);
}

/* A lease lives with the store's memory: sessions that had one must log in again, or two could hold the same maildrop.
 */
void pop3_maildrop_store_down(struct access_role *a)
{
    for (struct pop3_session *s = a->all, *next; s; s = next) {
        next = s->next;
        if (s->closing)
            continue;
        fail_wait(s);
        if (s->logged_in && !s->closing)
            pop3_session_close(s, "the store has restarted");
    }
}
