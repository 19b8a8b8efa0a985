/* Role auth: see auth_role.h. The life of a question: read, looked up, (hashed in the pool), told to the store if it is
 * right and comes from access, answered after its delay. */
#include "auth/auth_role.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include "auth/hash_pool.h"
#include "auth/password.h"
#include "auth/penalty.h"
#include "auth/secrets.h"
#include "io/role.h"
#include "io/tls.h"

enum { QUESTION_MEMORY = 32768, QUESTIONS_MAX = 20000, HASHES_WAITING_MAX = 2000, HASH_THREADS = 2,
       SESSION_TEXT_MAX = 64 /* what the store takes */ };

enum { WRONG, RIGHT, NOT_NOW };

struct question {
    struct auth_role *auth;
    enum role_id peer;
    enum ipc_type type;
    uint64_t request;       /* the peer's number */
    uint64_t bind;          /* our number towards the store */
    struct arena arena;
    str client, session, user, password, message, proof;
    bool trusted, known, orphan; /* orphan: who asked is gone, and the next process numbers its questions anew */
    uint8_t ip[16]; size_t ip_len;
    struct account_secret secret;
    struct hash_job job;
    struct loop_timer timer;
    uint8_t result, signature[SCRAM_KEY_LEN];
    struct question *prev, *next;
};

struct auth_role {
    struct role *role;
    struct secrets secrets, next_secrets;
    bool have_secrets, have_next;
    struct penalty *penalty;
    struct auth_cache *cache;
    struct hash_pool *pool;
    uint8_t map_key[16], dummy_key[32];
    struct question *all; size_t n;
    uint64_t last_bind;
    uint64_t right, wrong, cached, refused;
};

static struct auth_role *self(struct role *r) { return r->self; }

static void free_question(struct question *q)
{
    struct auth_role *a = q->auth;
    if (q->prev)
        q->prev->next = q->next;
    else
        a->all = q->next;
    if (q->next)
        q->next->prev = q->prev;
    a->n--;
    loop_cancel(a->role->loop, &q->timer);
    if (q->password.n)
        explicit_bzero((char *)q->password.p, q->password.n);
    arena_done(&q->arena);
    free(q);
}

static void answer(struct question *q)
{
    if (q->orphan) {
        free_question(q);
        return;
    }
    struct buf b = BUF(1024);
    pack_u64(&b, q->request);
    pack_u8(&b, q->result);
    pack_str(&b, q->result == RIGHT ? q->secret.address : STR_NONE);
    pack_str(&b, q->result == RIGHT && q->type == IPC_CHECK_PROOF ? str_of(q->signature, SCRAM_KEY_LEN) : STR_NONE);
    ipc_send(role_peer(q->auth->role, q->peer), IPC_AUTH_RESULT, &b, -1);
    buf_done(&b);
    free_question(q);
}

/* Access may act for the account only once the store knows whose session it is. */
static void bind_then_answer(struct question *q)
{
    struct auth_role *a = q->auth;
    if (q->result != RIGHT || q->peer != ROLE_ACCESS || q->orphan) {
        answer(q);
        return;
    }
    struct buf b = BUF(1024);
    uint64_t bind = ++a->last_bind;
    pack_u64(&b, bind);
    pack_u8(&b, q->peer);
    pack_str(&b, q->session);
    pack_str(&b, q->secret.address);
    int r = ipc_send(role_peer(a->role, ROLE_STORE), IPC_SESSION_BIND, &b, -1);
    buf_done(&b);
    if (r < 0) {
        q->result = NOT_NOW;
        answer(q);
        return;
    }
    q->bind = bind; /* not before: a send that fails runs peer_down() */
}

static void delay_over(struct loop_timer *t) { bind_then_answer(CONTAINER_OF(t, struct question, timer)); }

static struct penalty_client client_of(const struct question *q)
{
    return (struct penalty_client){ .ip = str_of(q->ip, q->ip_len), .trusted = q->trusted };
}

static void decided(struct question *q, bool ok)
{
    struct auth_role *a = q->auth;
    struct penalty_client client = client_of(q);
    uint64_t now = loop_now(a->role->loop);
    q->result = ok ? RIGHT : WRONG;
    uint32_t delay =
        ok ? penalty_delay(a->penalty, &client, q->user, now) : penalty_fail(a->penalty, &client, q->user, now);
    if (ok) {
        a->right++;
        penalty_ok(a->penalty, &client, q->user);
    } else {
        a->wrong++;
    }
    if (!delay || loop_after(a->role->loop, &q->timer, delay) < 0)
        bind_then_answer(q);
}

static void hashed(struct hash_job *job)
{
    struct question *q = CONTAINER_OF(job, struct question, job);
    struct auth_role *a = q->auth;
    bool ok = job->ok && q->known;
    if (ok)
        auth_cache_add(a->cache, a->role->config->generation, q->user, q->password, loop_now(a->role->loop));
    decided(q, ok);
}

static void not_now(struct question *q)
{
    q->auth->refused++;
    q->result = NOT_NOW;
    answer(q);
}

static void check_password_of(struct question *q)
{
    struct auth_role *a = q->auth;
    if (q->known &&
        auth_cache_has(a->cache, a->role->config->generation, q->user, q->password, loop_now(a->role->loop))) {
        a->cached++;
        decided(q, true);
        return;
    }
    q->job = (struct hash_job){ .secret = &q->secret, .password = q->password };
    if (hash_pool_add(a->pool, &q->job) < 0)
        not_now(q);
}

static void give_salt(struct question *q)
{
    struct buf b = BUF(1024);
    pack_u64(&b, q->request);
    pack_str(&b, q->secret.salt);
    pack_u32(&b, q->secret.iterations);
    ipc_send(role_peer(q->auth->role, q->peer), IPC_AUTH_SALT, &b, -1);
    buf_done(&b);
    free_question(q);
}

/* The account's secret, or one that nobody can match but that costs and looks the same (DESIGN 8.6). */
static int look_up(struct question *q)
{
    struct auth_role *a = q->auth;
    int r = a->have_secrets ? secrets_get(&a->secrets, &q->arena, q->user, &q->secret) : 0;
    q->known = r == 1 && directory_has_account(&a->role->config->directory, q->user);
    if (r == 1 && q->known) {
        q->secret.address = arena_lower(&q->arena, q->secret.address);
        return 0;
    }
    return r < 0 ? r : password_dummy(a->dummy_key, q->user, &q->secret, &q->arena);
}

static void parse_ip(struct question *q)
{
    char text[64] = { 0 };
    memcpy(text, q->client.p, MIN(q->client.n, sizeof(text) - 1));
    if (inet_pton(AF_INET, text, q->ip) == 1)
        q->ip_len = 4;
    else if (inet_pton(AF_INET6, text, q->ip) == 1)
        q->ip_len = 16;
}

static int unpack_question(struct question *q, struct ipc_frame *f)
{
    q->request = unpack_u64(&f->in);
    q->trusted = unpack_u8(&f->in);
    q->client = arena_dup(&q->arena, unpack_str(&f->in));
    q->session = arena_dup(&q->arena, unpack_str(&f->in));
    q->user = arena_dup(&q->arena, unpack_str(&f->in));
    if (q->type == IPC_CHECK_PASSWORD)
        q->password = arena_dup(&q->arena, unpack_str(&f->in));
    if (q->type == IPC_CHECK_PROOF) {
        q->message = arena_dup(&q->arena, unpack_str(&f->in));
        q->proof = arena_dup(&q->arena, unpack_str(&f->in));
    }
    parse_ip(q);
    return unpack_end(&f->in) && q->session.n && q->session.n <= SESSION_TEXT_MAX ? 0 : -EBADMSG;
}

static struct question *new_question(struct auth_role *a, enum role_id peer, enum ipc_type type)
{
    struct question *q = a->n < QUESTIONS_MAX ? calloc(1, sizeof(*q)) : NULL;
    if (!q)
        return NULL;
    *q = (struct question){
        .auth = a, .peer = peer, .type = type, .arena = ARENA(QUESTION_MEMORY), .timer.fire = delay_over, .next = a->all
    };
    if (a->all)
        a->all->prev = q;
    a->all = q;
    a->n++;
    return q;
}

static int ask(struct auth_role *a, enum role_id peer, struct ipc_frame *f)
{
    struct question *q = new_question(a, peer, f->type);
    if (!q)
        return 0; /* the client's session will run into its own time-out: we are far over any sane load */
    if (unpack_question(q, f) < 0) {
        free_question(q);
        return -EBADMSG;
    }
    if (look_up(q) < 0) {
        not_now(q);
        return 0;
    }
    if (q->type == IPC_CHECK_PASSWORD)
        check_password_of(q);
    else if (q->type == IPC_GET_SALT)
        give_salt(q);
    else
        decided(q, scram_verify(&q->secret, q->message, q->proof, q->signature) && q->known);
    return 0;
}

static int session_bound(struct auth_role *a, struct ipc_frame *f)
{
    uint64_t bind = unpack_u64(&f->in);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    for (struct question *q = a->all; q; q = q->next)
        if (q->bind == bind) {
            answer(q);
            return 0;
        }
    return 0;
}

static int frame(struct role *r, enum role_id peer, struct ipc_frame *f)
{
    struct auth_role *a = self(r);
    switch (f->type) {
    case IPC_CHECK_PASSWORD:
    case IPC_GET_SALT:
    case IPC_CHECK_PROOF:
        return peer == ROLE_SMTP_IN || peer == ROLE_ACCESS ? ask(a, peer, f) : -EBADMSG;
    case IPC_SESSION_BOUND:
        return session_bound(a, f);
    default:
        return -EBADMSG;
    }
}

static void orphan_questions(struct auth_role *a, enum role_id peer)
{
    for (struct question *q = a->all; q; q = q->next)
        q->orphan |= q->peer == peer;
}

/* The store has gone while a binding was under way: the client may try again. */
static void peer_down(struct role *r, enum role_id peer)
{
    struct auth_role *a = self(r);
    orphan_questions(a, peer);
    for (struct question *q = a->all, *next; peer == ROLE_STORE && q; q = next) {
        next = q->next;
        if (q->bind)
            not_now(q);
    }
}

static int file(struct role *r, str name, int fd)
{
    struct auth_role *a = self(r);
    size_t damaged = 0;
    if (!str_eq(name, S("secrets")))
        return 0;
    if (a->have_next)
        secrets_done(&a->next_secrets);
    a->have_next = secrets_read(&a->next_secrets, fd, a->map_key, &damaged) == 0;
    if (!a->have_next)
        events_say(&r->events, EVENT_ERROR, "secrets",
                   S("the secrets file cannot be read; the secrets of before stay in force"));
    else if (damaged)
        events_say(&r->events, EVENT_WARN, "secrets",
                   S("the secrets file has damaged lines; their accounts cannot log in"));
    return 0;
}

static int configure(struct role *r)
{
    struct auth_role *a = self(r);
    a->role = r;
    if (!a->have_next)
        return 0;
    if (a->have_secrets)
        secrets_done(&a->secrets);
    a->secrets = a->next_secrets;
    a->have_secrets = true;
    a->have_next = false;
    return 0;
}

/* Salts of unknown users must not change with a restart: their key is kept in the role's own folder. */
static int read_dummy_key(struct auth_role *a, struct role *r)
{
    _cleanup_close_ int fd = openat(r->data_dir, "unknown-users.key", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && pread(fd, a->dummy_key, sizeof(a->dummy_key), 0) == sizeof(a->dummy_key))
        return 0;
    r->env->random(a->dummy_key, sizeof(a->dummy_key));
    _cleanup_close_ int out = openat(r->data_dir, "unknown-users.key", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0 || write(out, a->dummy_key, sizeof(a->dummy_key)) != sizeof(a->dummy_key))
        return -EIO;
    return 0;
}

static int start(struct role *r)
{
    struct auth_role *a = self(r);
    a->penalty = penalty_new(a->map_key);
    a->cache = auth_cache_new(r->env);
    a->pool = hash_pool_new(r->loop, HASH_THREADS, HASHES_WAITING_MAX, hashed);
    if (!a->penalty || !a->cache || !a->pool)
        return -ENOMEM;
    return read_dummy_key(a, r);
}

static void status(struct role *r, struct buf *out)
{
    struct auth_role *a = self(r);
    event_u64(out, "accounts", a->have_secrets ? a->secrets.lines.n : 0);
    event_u64(out, "right", a->right);
    event_u64(out, "wrong", a->wrong);
    event_u64(out, "from_cache", a->cached);
    event_u64(out, "not_possible", a->refused);
    event_u64(out, "hashes_waiting", hash_pool_waiting(a->pool));
}

static const struct role_ops ops = { .id = ROLE_AUTH,
                                     .prepare = tls_prepare,
                                     .start = start,
                                     .configure = configure,
                                     .file = file,
                                     .frame = frame,
                                     .peer_down = peer_down,
                                     .status = status };

int auth_role_run(void)
{
    static struct auth_role a;
    env_system.random(a.map_key, sizeof(a.map_key));
    return role_run(&ops, &a);
}
