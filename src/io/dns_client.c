/* Questions to role dns: see dns_client.h. A question is open while somebody waits for it; who asks the same joins. */
#include "io/dns_client.h"
#include <errno.h>

enum { KEY_MAX = 2 + DNS_NAME_MAX };

struct dns_question {
    uint64_t request;
    enum dns_type type;
    struct dns_wait *waits;
    bool closed;         /* in no table any more: its waits are being answered */
    struct dns_question *next;
    size_t key_n;
    char key[KEY_MAX];   /* type, then the name in lower case without a last dot */
};

static str key_of(const struct dns_question *q) { return str_of(q->key, q->key_n); }
static str request_key(const uint64_t *request) { return str_of(request, sizeof(*request)); }

static void add_wait(struct dns_question *q, struct dns_wait *w)
{
    w->question = q;
    w->next = q->waits;
    if (q->waits)
        q->waits->prev = w;
    q->waits = w;
}

static void drop_wait(struct dns_question *q, struct dns_wait *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        q->waits = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

static void close_question(struct dns_client *c, struct dns_question *q)
{
    q->closed = true;
    map_take(&c->open, key_of(q));
    map_take(&c->by_request, request_key(&q->request));
}

void dns_cancel(struct dns_wait *w)
{
    struct dns_client *c = w->client;
    struct dns_question *q = w->question;
    if (!c)
        return;
    loop_cancel(c->role->loop, &w->limit);
    if (q)
        drop_wait(q, w);
    if (q && !q->waits && !q->closed) {
        close_question(c, q);
        free(q);
    }
    *w = (struct dns_wait){ .done = w->done };
}

static void answer(struct dns_wait *w, const struct dns_answer *a)
{
    dns_cancel(w);
    w->done(w, a);
}

/* Answers all that wait for it, and frees it. done() may ask and cancel as it likes. */
static void answer_all(struct dns_question *q, const struct dns_answer *a)
{
    while (q->waits)
        answer(q->waits, a);
    free(q);
}

static void limit_over(struct loop_timer *t)
{
    struct dns_wait *w = CONTAINER_OF(t, struct dns_wait, limit);
    struct dns_answer a = { .state = DNS_TEMPORARY, .why = S("no answer from the DNS in time") };
    w->client->timeouts++;
    answer(w, &a);
}

static void refused(struct loop_timer *t)
{
    struct dns_wait *w = CONTAINER_OF(t, struct dns_wait, limit);
    struct dns_answer a = { .state = w->state, .why = w->why };
    answer(w, &a);
}

/* Answered in the next turn, as nobody is called from inside of dns_ask(). */
static void refuse(struct dns_wait *w, enum dns_state state, str why)
{
    w->state = state;
    w->why = why;
    w->limit.fire = refused;
    w->client->refusals++;
    loop_after(w->client->role->loop, &w->limit, 1); /* not 0: who asks again at once must not spin in one turn */
}

static size_t make_key(enum dns_type type, str name, char out[KEY_MAX])
{
    if (str_ends(name, S(".")))
        name.n--;
    out[0] = (char)(type >> 8);
    out[1] = (char)type;
    for (size_t i = 0; i < name.n; i++)
        out[2 + i] = ascii_lower(name.p[i]);
    return 2 + name.n;
}

static int send_question(struct dns_client *c, const struct dns_question *q)
{
    struct buf b = BUF(1024);
    pack_u64(&b, q->request);
    pack_str(&b, str_from(key_of(q), 2));
    pack_u16(&b, (uint16_t)q->type);
    int e = ipc_send(role_peer(c->role, ROLE_DNS), IPC_DNS_ASK, &b, -1);
    buf_done(&b);
    return e;
}

/* A question that nobody has asked yet. 0 or negative errno. */
static int open_question(struct dns_client *c, enum dns_type type, str key, struct dns_question **out)
{
    if (c->open.n >= DNS_CLIENT_OPEN_MAX)
        return -ENOSPC;
    if (!c->last_request) /* so that an answer to a process of before fits no question of this one */
        c->role->env->random(&c->last_request, 6);
    struct dns_question *q = malloc(sizeof(*q));
    if (!q)
        return -ENOMEM;
    *q = (struct dns_question){ .request = ++c->last_request, .type = type, .key_n = key.n };
    memcpy(q->key, key.p, key.n);
    int e = map_set(&c->open, key, q, NULL);
    if (e == 0)
        e = map_set(&c->by_request, request_key(&q->request), q, NULL);
    if (e == 0)
        e = send_question(c, q);
    if (e < 0) {
        close_question(c, q);
        free(q);
        return e;
    }
    *out = q;
    return 0;
}

void dns_ask(struct dns_client *c, struct dns_wait *w, str name, enum dns_type type, uint32_t timeout_ms)
{
    char key[KEY_MAX];
    dns_cancel(w);
    w->client = c;
    c->asked++;
    if (!dns_name_valid(name)) {
        refuse(w, DNS_NXDOMAIN, S("this cannot be a name in the DNS"));
        return;
    }
    size_t n = make_key(type, name, key);
    struct dns_question *q = map_get(&c->open, str_of(key, n));
    int e = 0;
    if (q)
        c->shared++;
    else
        e = open_question(c, type, str_of(key, n), &q);
    if (e < 0) {
        refuse(w, DNS_TEMPORARY, e == -ENOSPC ? S("too many questions to the DNS at the same time")
                                              : S("the process that asks the DNS is not there now"));
        return;
    }
    add_wait(q, w);
    w->limit.fire = limit_over;
    timeout_ms = timeout_ms ? MIN(timeout_ms, (uint32_t)DNS_CLIENT_TIME_MAX) : DNS_CLIENT_TIME_MAX;
    loop_after(c->role->loop, &w->limit, timeout_ms);
}

int dns_client_frame(struct dns_client *c, struct ipc_frame *f)
{
    struct dns_record records[DNS_RECORDS_MAX];
    struct dns_answer a;
    uint64_t request = unpack_u64(&f->in);
    struct dns_question *q = map_get(&c->by_request, request_key(&request));
    if (f->type != IPC_DNS_ANSWER)
        return -EBADMSG;
    if (!q)
        return 0;
    int e = dns_answer_unpack(&f->in, q->type, records, &a);
    if (e < 0)
        return e;
    close_question(c, q);
    answer_all(q, &a);
    return 0;
}

void dns_client_down(struct dns_client *c)
{
    static const struct dns_answer a = { .state = DNS_TEMPORARY,
                                         .why = { "the process that asks the DNS has ended", 39 } };
    struct dns_question *all = NULL, *q;
    size_t at = 0;
    str key;
    while ((q = map_next(&c->open, &at, &key))) {
        close_question(c, q);
        q->next = all;
        all = q;
    }
    while (all) {
        q = all;
        all = q->next;
        answer_all(q, &a);
    }
}

void dns_client_init(struct dns_client *c, struct role *role)
{
    uint8_t key[16];
    role->env->random(key, sizeof(key));
    *c = (struct dns_client){ .role = role };
    map_init(&c->open, DNS_CLIENT_OPEN_MAX, key);
    map_init(&c->by_request, DNS_CLIENT_OPEN_MAX, key);
}

void dns_client_done(struct dns_client *c)
{
    struct dns_question *q;
    size_t at = 0;
    str key;
    while ((q = map_next(&c->open, &at, &key)))
        for (;;) {
            bool last = !q->waits->next;
            dns_cancel(q->waits);
            if (last)
                break;
        }
    map_done(&c->open);
    map_done(&c->by_request);
}
