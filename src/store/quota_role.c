/* Who is over his quota: see quota_role.h. */
#include "store/quota_role.h"

enum { ACCOUNTS_MAX = 1000000, LOOK_MS = 100, SCAN_STEP = 500, FRAME_BYTES = 50000 };

void quota_role_limit(void *arg, str account, struct store_usage *out_limit)
{
    const struct quota_role *q = arg;
    const struct role_config *c = q->role->config;
    struct store_usage limit = { .bytes = c->conf->quota, .messages = c->conf->quota_messages };
    directory_quota(&c->directory, account, &limit.bytes, &limit.messages);
    *out_limit = limit;
}

/* To smtp-in: the changes gathered, `first`: as a new list. */
static void send_news(struct quota_role *q, bool first)
{
    struct buf b = BUF(IPC_FRAME_MAX);
    pack_u8(&b, first);
    pack_u32(&b, q->n_news);
    buf_add(&b, buf_str(&q->news));
    ipc_send(role_peer(q->role, ROLE_SMTP_IN), IPC_OVER_QUOTA, &b, -1);
    buf_done(&b);
    buf_clear(&q->news);
    q->n_news = 0;
}

static void add_news(struct quota_role *q, str account, bool over)
{
    pack_str(&q->news, account);
    pack_u8(&q->news, over);
    q->n_news++;
}

static bool is_over(struct quota_role *q, str account)
{
    struct store_usage limit, used;
    quota_role_limit(q, account, &limit);
    if ((!limit.bytes && !limit.messages) || store_usage(q->store, account, &used) < 0)
        return false;
    return (limit.bytes && used.bytes >= limit.bytes) || (limit.messages && used.messages >= limit.messages);
}

static void judge(struct quota_role *q, str account)
{
    static char here;
    bool before = map_get(&q->over, account), now = is_over(q, account);
    if (before == now)
        return;
    if (now && map_set(&q->over, account, &here, NULL) < 0)
        return;
    add_news(q, account, now);
    events_say(&q->role->events, EVENT_INFO, now ? "over_quota" : "within_quota", account);
    if (!now)
        map_take(&q->over, account);
    if (q->news.n > FRAME_BYTES)
        send_news(q, false);
}

static void scan(struct quota_role *q)
{
    str account;
    for (size_t i = 0; i < SCAN_STEP && q->scanned != SIZE_MAX; i++, q->scanned++)
        if (!directory_account(&q->role->config->directory, q->scanned, &account)) {
            q->scanned = SIZE_MAX;
            break;
        } else {
            judge(q, account);
        }
}

/* What is not yet to be seen is looked at again. */
static void look_at_changed(struct quota_role *q)
{
    uint64_t durable = store_durable(q->store), *lsn;
    str account;
    for (size_t at = 0; (lsn = map_next(&q->changed, &at, &account));) {
        if (*lsn > durable)
            continue;
        judge(q, account);
        map_take(&q->changed, account);
        free(lsn);
    }
}

static void look(struct loop_timer *t)
{
    struct quota_role *q = CONTAINER_OF(t, struct quota_role, look);
    look_at_changed(q);
    scan(q);
    if (q->n_news)
        send_news(q, false);
    if (q->scanned != SIZE_MAX)
        loop_after(q->role->loop, t, 1);
    else if (q->changed.n)
        loop_after(q->role->loop, t, LOOK_MS);
}

void quota_role_changed(struct quota_role *q, str account)
{
    struct store_usage limit;
    struct store_stats stats;
    quota_role_limit(q, account, &limit);
    if (!limit.bytes && !limit.messages)
        return;
    uint64_t *lsn = map_get(&q->changed, account);
    store_stats(q->store, &stats);
    if (!lsn) {
        lsn = malloc(sizeof(*lsn));
        if (!lsn || map_set(&q->changed, account, lsn, NULL) < 0) {
            free(lsn);
            return;
        }
    }
    *lsn = stats.lsn;
    if (!q->look.slot)
        loop_after(q->role->loop, &q->look, LOOK_MS);
}

void quota_role_configure(struct quota_role *q)
{
    str account;
    q->scanned = 0;
    for (size_t at = 0; map_next(&q->over, &at, &account);) /* also those that are no accounts any more */
        judge(q, account);
    loop_after(q->role->loop, &q->look, 1);
}

void quota_role_up(struct quota_role *q)
{
    bool first = true;
    str account;
    buf_clear(&q->news); /* the list has it */
    q->n_news = 0;
    for (size_t at = 0; map_next(&q->over, &at, &account);) {
        add_news(q, account, true);
        if (q->news.n <= FRAME_BYTES)
            continue;
        send_news(q, first);
        first = false;
    }
    if (q->n_news)
        send_news(q, first);
}

void quota_role_init(struct quota_role *q, struct role *r, struct store *s)
{
    uint8_t key[16];
    r->env->random(key, sizeof(key));
    *q = (struct quota_role){ .role = r, .store = s, .look.fire = look, .news = BUF(IPC_FRAME_MAX) };
    map_init(&q->over, ACCOUNTS_MAX, key);
    map_init(&q->changed, ACCOUNTS_MAX, key);
    store_set_quota(s, quota_role_limit, q);
    quota_role_configure(q);
}

void quota_role_done(struct quota_role *q)
{
    uint64_t *lsn;
    loop_cancel(q->role->loop, &q->look);
    for (size_t at = 0; (lsn = map_next(&q->changed, &at, NULL));)
        free(lsn);
    map_done(&q->changed);
    map_done(&q->over);
    buf_done(&q->news);
}
