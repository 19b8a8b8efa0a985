/* Role cards: see cards_role.h. */
#include "cards/cards_role.h"
#include <errno.h>
#include <sys/time.h>
#include <unistd.h>
#include "io/role.h"
#include "message/card.h"
#include "message/charset.h"

enum { CHUNK = 65536, PIECE = IPC_FRAME_MAX - 64 };
enum { CARD_NONE, CARD_PIECE, CARD_LAST };

struct cards {
    struct mime_parser *parser;
    uint64_t made, failed;
};

static struct cards *self(struct role *r) { return r->self; }

/* SIGPROF, which nobody handles, comes after so much time of the processor; 0: not at all. */
static int limit_cpu(unsigned seconds)
{
    struct itimerval t = { .it_value.tv_sec = seconds };
    return setitimer(ITIMER_PROF, &t, NULL) < 0 ? -errno : 0;
}

static int parse(struct mime_parser *m, int fd, uint64_t offset, uint64_t length)
{
    char chunk[CHUNK] __attribute__((uninitialized));
    mime_reset(m);
    while (length) {
        ssize_t n = pread(fd, chunk, MIN(length, sizeof(chunk)), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        mime_feed(m, str_of(chunk, (size_t)n));
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    mime_end(m);
    return 0;
}

static int make(struct cards *c, int fd, uint64_t offset, uint64_t length, struct buf *out)
{
    if (!c->parser)
        c->parser = mime_new();
    if (!c->parser)
        return -ENOMEM;
    int r = limit_cpu(CARD_CPU_S);
    if (r == 0)
        r = parse(c->parser, fd, offset, length);
    if (r == 0)
        r = card_encode(out, c->parser);
    limit_cpu(0);
    return r;
}

static void answer(struct role *r, uint64_t request, uint8_t what, str piece)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u64(&b, request);
    pack_u8(&b, what);
    pack_str(&b, piece);
    ipc_send(role_peer(r, ROLE_STORE), IPC_CARD, &b, -1);
    buf_done(&b);
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct cards *c = self(r);
    (void)peer; /* messages.def has seen to it that only the store asks */
    if (f->type != IPC_CARD_MAKE)
        return -EBADMSG;
    uint64_t request = unpack_u64(&f->in), offset = unpack_u64(&f->in), length = unpack_u64(&f->in);
    if (!unpack_end(&f->in) || offset > INT64_MAX || length > INT64_MAX - offset)
        return -EBADMSG;
    _cleanup_buf_ struct buf card = BUF(CARD_MAX);
    int e = f->fd < 0 ? -EBADF : make(c, f->fd, offset, length, &card);
    if (e < 0) {
        c->failed++;
        answer(r, request, CARD_NONE, STR_NONE);
        return 0;
    }
    c->made++;
    str rest = buf_str(&card);
    for (; rest.n > PIECE; rest = str_from(rest, PIECE))
        answer(r, request, CARD_PIECE, str_first(rest, PIECE));
    answer(r, request, CARD_LAST, rest);
    return 0;
}

static int start(struct role *r)
{
    (void)r;
    return 0;
}

static void status(struct role *r, struct buf *out)
{
    event_u64(out, "cards_made", self(r)->made);
    event_u64(out, "cards_failed", self(r)->failed);
}

static const struct role_ops ops = {
    .id = ROLE_CARDS, .prepare = charset_prepare, .start = start, .frame = frame, .status = status,
};

int cards_role_run(void)
{
    static struct cards cards;
    int r = role_run(&ops, &cards);
    mime_free(cards.parser);
    return r;
}
