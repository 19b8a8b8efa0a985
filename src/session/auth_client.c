/* Log-in through the auth role: see auth_client.h. */
#include "session/auth_client.h"
#include <errno.h>

static void forget_request(struct auth_run *run)
{
    if (!run->request)
        return;
    run->request = 0;
    if (run->prev)
        run->prev->next = run->next;
    else
        run->client->waiting = run->next;
    if (run->next)
        run->next->prev = run->prev;
    run->prev = run->next = NULL;
}

struct auth_late {
    struct auth_late *next;
    uint64_t request;
    char session[64];
    size_t n;
};

/* Its session goes, the question is still out. Without memory the store keeps the session until access restarts. */
static void remember_late(struct auth_run *run)
{
    struct auth_client *c = run->client;
    struct auth_late *late = run->request && c->late ? malloc(sizeof(*late)) : NULL;
    if (!late)
        return;
    *late = (struct auth_late){ .next = c->gone,
                                .request = run->request,
                                .n = MIN(run->session_id.n, sizeof(late->session)) };
    memcpy(late->session, run->session_id.p, late->n);
    c->gone = late;
}

static void end_late(struct auth_client *c, uint64_t request, bool ok)
{
    for (struct auth_late **at = &c->gone; *at; at = &(*at)->next)
        if ((*at)->request == request) {
            struct auth_late *late = *at;
            *at = late->next;
            if (ok)
                c->late(c, str_of(late->session, late->n));
            free(late);
            return;
        }
}

void auth_run_cancel(struct auth_run *run)
{
    remember_late(run);
    forget_request(run);
    sasl_server_free(TAKE(run->sasl));
}

static void end(struct auth_run *run, enum auth_end how, str account)
{
    struct sasl_server *sasl = TAKE(run->sasl); /* done() may begin the next log-in */
    forget_request(run);
    run->done(run, how, account);
    sasl_server_free(sasl);
}

static void remember_user(struct auth_run *run, str user)
{
    run->user_len = MIN(user.n, sizeof(run->user));
    if (run->user_len)
        memcpy(run->user, user.p, run->user_len);
}

/* Sends one question; the answer's request number leads back to the run. */
static void ask(struct auth_run *run, enum ipc_type type, str user, str a, str b)
{
    struct auth_client *c = run->client;
    struct buf frame = BUF(IPC_FRAME_MAX);
    remember_user(run, user);
    if (!c->last_request) /* so that an answer to a process of before fits no question of this one */
        c->role->env->random(&c->last_request, 6);
    pack_u64(&frame, ++c->last_request);
    pack_u8(&frame, run->trusted);
    pack_str(&frame, str_z(run->peer_addr));
    pack_str(&frame, run->session_id);
    pack_str(&frame, user);
    if (type != IPC_GET_SALT)
        pack_str(&frame, a);
    if (type == IPC_CHECK_PROOF)
        pack_str(&frame, b);
    int r = ipc_send(role_peer(c->role, ROLE_AUTH), type, &frame, -1);
    if (frame.p)
        explicit_bzero(frame.p, frame.n);
    buf_done(&frame);
    if (r < 0) {
        end(run, AUTH_UNAVAILABLE, STR_NONE);
        return;
    }
    run->request = c->last_request;
    run->prev = NULL;
    run->next = c->waiting;
    if (c->waiting)
        c->waiting->prev = run;
    c->waiting = run;
}

static void take_step(struct auth_run *run, enum sasl_step step, const struct sasl_out *out)
{
    switch (step) {
    case SASL_CHALLENGE:
        run->challenge(run, out->text);
        return;
    case SASL_ASK_PASSWORD:
        ask(run, IPC_CHECK_PASSWORD, out->user, out->password, STR_NONE);
        return;
    case SASL_ASK_SALT:
        ask(run, IPC_GET_SALT, out->user, STR_NONE, STR_NONE);
        return;
    case SASL_ASK_PROOF:
        ask(run, IPC_CHECK_PROOF, out->user, out->auth_message, out->proof);
        return;
    case SASL_OK:
        end(run, AUTH_OK, str_of(run->user, run->user_len));
        return;
    case SASL_FAIL:
        end(run, AUTH_WRONG, STR_NONE);
        return;
    case SASL_BINDING:
        remember_user(run, out->user);
        run->why = out->text;
        end(run, AUTH_BINDING, STR_NONE);
        return;
    case SASL_MALFORMED:
        end(run, AUTH_MALFORMED, STR_NONE);
        return;
    }
}

str auth_run_bind(struct auth_run *run, SSL *ssl)
{
    tls_bindings(ssl, &run->bindings);
    run->plus_offered = run->bindings.exporter_n || run->bindings.unique_n || run->bindings.end_point_n;
    return run->plus_offered ? S(SASL_MECHANISMS_BOUND) : S(SASL_MECHANISMS);
}

str auth_end_word(enum auth_end end)
{
    static const str words[] = { [AUTH_OK] = { "ok", 2 },
                                 [AUTH_WRONG] = { "wrong", 5 },
                                 [AUTH_MALFORMED] = { "malformed", 9 },
                                 [AUTH_UNAVAILABLE] = { "unavailable", 11 },
                                 [AUTH_BINDING] = { "binding", 7 } };
    return words[end];
}

static void give_bindings(struct auth_run *run)
{
    const struct tls_bindings *b = &run->bindings;
    struct sasl_bindings bindings = { .exporter = str_of(b->exporter, b->exporter_n),
                                      .unique = str_of(b->unique, b->unique_n),
                                      .end_point = str_of(b->end_point, b->end_point_n),
                                      .plus_offered = run->plus_offered };
    sasl_server_bind(run->sasl, &bindings);
}

void auth_run_start(struct auth_run *run, str mechanism, bool has_initial, str initial)
{
    uint8_t nonce[18];
    struct sasl_out out;
    auth_run_cancel(run);
    run->user_len = 0;
    run->client->role->env->random(nonce, sizeof(nonce));
    run->sasl = sasl_server_new(mechanism, str_of(nonce, sizeof(nonce)));
    if (!run->sasl) {
        end(run, AUTH_UNAVAILABLE, STR_NONE);
        return;
    }
    give_bindings(run);
    take_step(run, sasl_server_start(run->sasl, has_initial, initial, &out), &out);
}

void auth_run_respond(struct auth_run *run, str response)
{
    struct sasl_out out;
    if (!run->sasl || run->request)
        return;
    take_step(run, sasl_server_respond(run->sasl, response, &out), &out);
}

void auth_run_password(struct auth_run *run, str user, str password)
{
    auth_run_cancel(run);
    ask(run, IPC_CHECK_PASSWORD, user, password, STR_NONE);
}

static struct auth_run *find(struct auth_client *c, uint64_t request)
{
    struct auth_run *run = c->waiting;
    while (run && run->request != request)
        run = run->next;
    return run;
}

static int result(struct auth_client *c, struct ipc_frame *f)
{
    struct sasl_out out;
    uint64_t request = unpack_u64(&f->in);
    uint8_t how = unpack_u8(&f->in);
    bool ok = how == 1;
    str account = unpack_str(&f->in), signature = unpack_str(&f->in);
    struct auth_run *run = find(c, request);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    if (!run) {
        end_late(c, request, ok);
        return 0;
    }
    forget_request(run);
    if (ok)
        remember_user(run, account);
    if (how == 2)
        end(run, AUTH_UNAVAILABLE, STR_NONE);
    else if (!run->sasl)
        end(run, ok ? AUTH_OK : AUTH_WRONG, account);
    else
        take_step(run, sasl_server_verdict(run->sasl, ok, signature, &out), &out);
    return 0;
}

static int salt(struct auth_client *c, struct ipc_frame *f)
{
    struct sasl_out out;
    uint64_t request = unpack_u64(&f->in);
    str bytes = unpack_str(&f->in);
    uint32_t iterations = unpack_u32(&f->in);
    struct auth_run *run = find(c, request);
    if (!unpack_end(&f->in))
        return -EBADMSG;
    if (!run || !run->sasl)
        return 0;
    forget_request(run);
    take_step(run, sasl_server_salt(run->sasl, bytes, iterations, &out), &out);
    return 0;
}

int auth_client_frame(struct auth_client *c, struct ipc_frame *f)
{
    return f->type == IPC_AUTH_RESULT ? result(c, f) : f->type == IPC_AUTH_SALT ? salt(c, f) : -EBADMSG;
}

void auth_client_down(struct auth_client *c)
{
    while (c->waiting)
        end(c->waiting, AUTH_UNAVAILABLE, STR_NONE);
    while (c->gone)
        end_late(c, c->gone->request, false);
}
