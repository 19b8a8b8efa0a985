/* Mailboxes against a model: many random operations, some without waiting for the disk; what the store then says of
 * every mailbox is what a few plain arrays say. Between them the store is closed, its index compared with a replay of
 * the journal, sometimes thrown away, and compaction moves messages. STORE_MODEL_SEED and STORE_MODEL_STEPS choose. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "store/store_mailboxes_world.h"

#define BOXES 64
#define MESSAGES 512
#define WORDS 6
#define NAMES 15

enum { SET, ADD, REMOVE };

struct message {
    uint32_t uid, number, flags, words;
    uint64_t modseq, arrived;
};

struct gone {
    uint32_t uid;
    uint64_t modseq;
};

struct mailbox {
    char name[32];
    uint64_t id, modseq;
    uint32_t uidvalidity, uidnext, recent; /* uidvalidity 0: not asked yet */
    uint8_t use;
    struct message list[MESSAGES];
    size_t n;
    struct gone gone[16 * MESSAGES];
    size_t n_gone;
};

struct model {
    struct world w;
    struct mailbox *box[BOXES]; /* NULL: free */
    char subscribed[BOXES][32];
    size_t n_subscribed;
    uint32_t number;
    unsigned counts[16];
};

static const char *const words[WORDS] = { "$Junk", "work", "later", "a", "b", "$Forwarded" };
static const char *const names[NAMES] = { "INBOX", "a", "b", "c", "a/b", "a/c", "b/a", "c/c", "a/b/c", "b/a/b", "c/c/c",
                                          "a/b/c/a", "Sent", "Sent/2026", "x" };
static uint64_t seed;

static uint32_t pick(uint32_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % below;
}

static struct mailbox *named(struct model *m, const char *name)
{
    for (size_t i = 0; i < BOXES; i++)
        if (m->box[i] && strcmp(m->box[i]->name, name) == 0)
            return m->box[i];
    return NULL;
}

static uint64_t last_lsn(struct model *m)
{
    struct store_stats s;
    store_stats(m->w.store, &s);
    return s.lsn;
}

static struct mailbox *add_box(struct model *m, const char *name, uint64_t id, uint64_t modseq)
{
    for (size_t i = 0; i < BOXES; i++)
        if (!m->box[i]) {
            struct mailbox *b = m->box[i] = calloc(1, sizeof(*b));
            assert_non_null(b);
            snprintf(b->name, sizeof(b->name), "%s", name);
            *b = (struct mailbox){ .id = id, .modseq = modseq, .uidnext = 1, .recent = 1 };
            snprintf(b->name, sizeof(b->name), "%s", name);
            return b;
        }
    fail();
    return NULL;
}

static void drop_box(struct model *m, struct mailbox *b)
{
    for (size_t i = 0; i < BOXES; i++)
        if (m->box[i] == b)
            m->box[i] = NULL;
    free(b);
}

static void leave(struct mailbox *b, size_t at, uint64_t modseq)
{
    assert_true(b->n_gone < 16 * MESSAGES);
    b->gone[b->n_gone++] = (struct gone){ b->list[at].uid, modseq };
    memmove(&b->list[at], &b->list[at + 1], (--b->n - at) * sizeof(b->list[0]));
    b->modseq = modseq;
}

static void arrive(struct mailbox *b, struct message msg, uint64_t modseq)
{
    assert_true(b->n < MESSAGES);
    msg.uid = b->uidnext++;
    msg.modseq = msg.arrived = b->modseq = modseq;
    b->list[b->n++] = msg;
}

static struct mailbox *any_box(struct model *m)
{
    for (;;) {
        struct mailbox *b = m->box[pick(BOXES)];
        if (b)
            return b;
    }
}

/* Levels above name that are missing: made with the numbers before id. */
static void add_levels(struct model *m, const char *name, uint64_t id, uint64_t lsn)
{
    char level[32];
    size_t missing = 0;
    for (size_t i = 0; name[i]; i++) {
        snprintf(level, sizeof(level), "%.*s", (int)i, name);
        missing += name[i] == '/' && !named(m, level);
    }
    for (size_t i = 0; name[i]; i++) {
        snprintf(level, sizeof(level), "%.*s", (int)i, name);
        if (name[i] == '/' && !named(m, level)) {
            add_box(m, level, id - missing, lsn - missing);
            missing--;
        }
    }
}

static void do_deliver(struct model *m)
{
    struct mailbox *inbox = named(m, "INBOX");
    if (inbox->n > 100)
        return;
    uint64_t ticket = append(&m->w, ++m->number, S("Subject: x\r\n\r\ntext\r\n"), "anna@example.org");
    assert_int_equal(receive_log_flush(m->w.log), 0);
    wait_synced(m->w.log, ticket);
    struct log_position p[8];
    int n = receive_log_progress(m->w.log, p, 8);
    for (int i = 0; i < n; i++)
        assert_int_equal(store_log_synced(m->w.store, S("in"), p[i]), 0);
    arrive(inbox, (struct message){ .number = m->number }, last_lsn(m));
}

static void do_create(struct model *m)
{
    const char *name = names[pick(NAMES)];
    uint8_t use = (uint8_t)(pick(6) ? 0 : pick(9));
    bool taken = false;
    uint64_t id = 0, ticket = 0;
    for (size_t i = 0; i < BOXES; i++)
        taken = taken || (use && m->box[i] && m->box[i]->use == use);
    int want = named(m, name) ? STORE_EXISTS : taken ? STORE_USE_TAKEN : STORE_DONE;
    assert_int_equal(store_create(m->w.store, ANNA, str_z(name), use, &id, &ticket), want);
    if (want != STORE_DONE)
        return;
    uint64_t lsn = ticket - (use != 0);
    add_levels(m, name, id, lsn);
    add_box(m, name, id, lsn)->use = use;
}

static void do_delete(struct model *m)
{
    const char *name = names[pick(NAMES)];
    struct mailbox *b = named(m, name);
    uint64_t ticket;
    int want = strcmp(name, "INBOX") == 0 ? STORE_CANNOT : b ? STORE_DONE : STORE_NONEXISTENT;
    assert_int_equal(store_delete(m->w.store, ANNA, str_z(name), &ticket), want);
    if (want == STORE_DONE)
        drop_box(m, b);
}

static bool within(const char *name, const char *of)
{
    size_t n = strlen(of);
    return strncmp(name, of, n) == 0 && (name[n] == '/' || !name[n]);
}

static int rename_verdict(struct model *m, const char *from, const char *to)
{
    char name[64];
    if (strcmp(from, to) == 0)
        return STORE_EXISTS;
    if (strcmp(from, "INBOX") == 0)
        return named(m, to) ? STORE_EXISTS : STORE_DONE;
    if (within(to, from))
        return STORE_CANNOT;
    if (!named(m, from))
        return STORE_NONEXISTENT;
    for (size_t i = 0; i < BOXES; i++) {
        if (!m->box[i] || !within(m->box[i]->name, from))
            continue;
        snprintf(name, sizeof(name), "%s%s", to, m->box[i]->name + strlen(from));
        if (named(m, name) && !within(name, from))
            return STORE_EXISTS;
    }
    return STORE_DONE;
}

static void rename_all(struct model *m, const char *from, const char *to)
{
    char name[64];
    for (size_t i = 0; i < BOXES; i++)
        if (m->box[i] && within(m->box[i]->name, from)) {
            snprintf(name, sizeof(name), "%s%s", to, m->box[i]->name + strlen(from));
            assert_true(strlen(name) < sizeof(m->box[i]->name));
            memcpy(m->box[i]->name, name, strlen(name) + 1);
        }
}

static size_t missing_levels(struct model *m, const char *name)
{
    char level[32];
    size_t missing = 0;
    for (size_t i = 0; name[i]; i++) {
        snprintf(level, sizeof(level), "%.*s", (int)i, name);
        missing += name[i] == '/' && !named(m, level);
    }
    return missing;
}

static void do_rename(struct model *m)
{
    const char *from = names[pick(NAMES)], *to = names[pick(NAMES)];
    int want = rename_verdict(m, from, to);
    struct mailbox *inbox = named(m, "INBOX");
    uint64_t ticket = 0, last = 0;
    for (size_t i = 0; i < BOXES; i++)
        last = m->box[i] ? MAX(last, m->box[i]->id) : last;
    size_t depth = 0;
    for (const char *s = from; *s; s++)
        depth += *s == '/';
    if (depth == 0 && strlen(to) > 5) /* keeps names short */
        return;
    int got = store_rename(m->w.store, ANNA, str_z(from), str_z(to), &ticket);
    if (got != want)
        print_error("rename %s to %s\n", from, to);
    assert_int_equal(got, want);
    if (want != STORE_DONE)
        return;
    size_t missing = missing_levels(m, to);
    if (strcmp(from, "INBOX") != 0) {
        struct store_folder f;
        add_levels(m, to, 0, ticket);
        for (size_t i = 0; i < BOXES; i++) /* their numbers are not told here */
            if (missing && m->box[i] && m->box[i]->id > last) {
                assert_int_equal(store_folder(m->w.store, ANNA, str_z(m->box[i]->name), &f), 1);
                m->box[i]->id = f.id;
            }
        rename_all(m, from, to);
        return;
    }
    uint64_t id = id_of(&m->w, to), lsn = inbox->n ? ticket - 1 : ticket;
    add_levels(m, to, id, lsn);
    struct mailbox *b = add_box(m, to, id, lsn);
    for (; inbox->n; leave(inbox, 0, ticket))
        arrive(b, inbox->list[0], ticket);
}

static void do_subscribe(struct model *m)
{
    const char *name = names[pick(NAMES)];
    bool on = pick(2);
    uint64_t ticket;
    size_t at = 0;
    assert_int_equal(store_subscribe(m->w.store, ANNA, str_z(name), on, &ticket), STORE_DONE);
    while (at < m->n_subscribed && strcmp(m->subscribed[at], name) != 0)
        at++;
    if (on && at == m->n_subscribed)
        snprintf(m->subscribed[m->n_subscribed++], 32, "%s", name);
    else if (!on && at < m->n_subscribed)
        memmove(m->subscribed[at], m->subscribed[at + 1], (--m->n_subscribed - at) * 32);
}

/* A few ranges, ascending, some beyond the end. */
static size_t pick_ranges(const struct mailbox *b, struct store_uids *out)
{
    size_t n = 1 + pick(3);
    uint32_t at = 1;
    for (size_t i = 0; i < n; i++) {
        out[i].first = at + pick(b->uidnext / 2 + 2);
        out[i].last = out[i].first + pick(4);
        at = out[i].last + 1;
    }
    if (pick(5) == 0)
        out[n - 1].last = UINT32_MAX;
    return n;
}

static bool in_ranges(uint32_t uid, const struct store_uids *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (uid >= list[i].first && uid <= list[i].last)
            return true;
    return false;
}

static void do_flag(struct model *m)
{
    struct mailbox *b = any_box(m);
    struct store_uids list[4];
    size_t n = pick_ranges(b, list), n_words = pick(3), n_failed = 0;
    str text[2];
    uint32_t mask = 0;
    for (size_t i = 0; i < n_words; i++) {
        uint32_t k = pick(WORDS);
        text[i] = str_z(words[k]);
        mask |= 1u << k;
    }
    struct buf failed = BUF(1 << 16);
    uint64_t ticket = 0, lsn = last_lsn(m);
    struct store_flagging f = { .mailbox = b->id, .uids = list, .n_uids = n, .op = (uint8_t)pick(3),
                                .system = pick(32), .keywords = text, .n_keywords = n_words,
                                .unchanged_since = pick(3) ? UINT64_MAX : b->modseq - pick(8) };
    assert_int_equal(store_flag(m->w.store, &f, &failed, &ticket), STORE_DONE);
    uint64_t visible = store_durable(m->w.store);
    for (size_t i = 0; i < b->n; i++) {
        struct message *x = &b->list[i];
        if (!in_ranges(x->uid, list, n) || (f.unchanged_since != UINT64_MAX && x->arrived > visible))
            continue;
        if (x->modseq > f.unchanged_since) {
            assert_true(failed.n >= 4 * n_failed + 4);
            assert_int_equal(get_u32(failed.p + 4 * n_failed++), x->uid);
            continue;
        }
        uint32_t flags = f.op == SET ? f.system : f.op == ADD ? x->flags | f.system : x->flags & ~f.system;
        uint32_t bits = f.op == SET ? mask : f.op == ADD ? x->words | mask : x->words & ~mask;
        if (flags != x->flags || bits != x->words)
            x->modseq = b->modseq = ticket;
        x->flags = flags;
        x->words = bits;
    }
    assert_int_equal(failed.n, 4 * n_failed);
    assert_true(ticket <= lsn + 1);
    buf_done(&failed);
}

static void do_expunge(struct model *m)
{
    struct mailbox *b = any_box(m);
    struct store_uids list[4];
    size_t n = pick(2) ? pick_ranges(b, list) : 0;
    uint64_t ticket;
    assert_int_equal(store_expunge_deleted(m->w.store, b->id, list, n, &ticket), STORE_DONE);
    for (size_t i = b->n; i-- > 0;)
        if (b->list[i].flags & 8 && (!n || in_ranges(b->list[i].uid, list, n)))
            leave(b, i, ticket);
}

static void do_pop(struct model *m)
{
    struct mailbox *b = named(m, "INBOX");
    uint32_t uids[8];
    uint64_t ticket;
    for (size_t i = 0; i < ARRAY_LEN(uids); i++)
        uids[i] = 1 + pick(b->uidnext);
    assert_int_equal(store_expunge(m->w.store, b->id, uids, ARRAY_LEN(uids), &ticket), 0);
    uint64_t visible = store_durable(m->w.store);
    for (size_t k = 0; k < ARRAY_LEN(uids); k++)
        for (size_t i = b->n; i-- > 0;)
            if (b->list[i].uid == uids[k] && b->list[i].arrived <= visible)
                leave(b, i, ticket);
}

static void do_copy(struct model *m)
{
    struct mailbox *from = any_box(m), *to = any_box(m);
    struct store_uids list[4];
    struct message taken[MESSAGES];
    size_t n = pick_ranges(from, list), n_taken = 0;
    bool move = to->n > 100 || pick(2);
    struct buf pairs = BUF(1 << 16);
    struct store_copied made = { 0 };
    struct store_copying how = { .account = ANNA, .from = from->id, .uids = list, .n_uids = n, .to = str_z(to->name),
                                 .move = move };
    assert_int_equal(store_copy(m->w.store, &how, &pairs, &made), STORE_DONE);
    /* a message that is only staged is nobody's yet, unless the call had to wait */
    uint64_t visible = store_durable(m->w.store);
    assert_int_equal(made.to, to->id);
    assert_true(!to->uidvalidity || to->uidvalidity == made.uidvalidity);
    for (size_t i = 0; i < from->n; i++)
        if (in_ranges(from->list[i].uid, list, n) && from->list[i].arrived <= visible) {
            assert_true(pairs.n >= 8 * n_taken + 8);
            assert_int_equal(get_u32(pairs.p + 8 * n_taken), from->list[i].uid);
            assert_int_equal(get_u32(pairs.p + 8 * n_taken + 4), to->uidnext + n_taken);
            taken[n_taken++] = from->list[i];
        }
    assert_int_equal(pairs.n, 8 * n_taken);
    for (size_t k = 0; k < n_taken; k++) {
        for (size_t i = from->n; move && i-- > 0;)
            if (from->list[i].uid == taken[k].uid)
                leave(from, i, made.ticket);
        arrive(to, taken[k], made.ticket);
    }
    buf_done(&pairs);
}

static void do_recent(struct model *m)
{
    struct mailbox *b = any_box(m);
    uint32_t uid = pick(b->uidnext + 2);
    assert_int_equal(store_seen_recent(m->w.store, b->id, uid), STORE_DONE);
    b->recent = MAX(b->recent, MIN(uid, b->uidnext));
}

static void do_compact(struct model *m)
{
    if (pick(20))
        return;
    assert_int_equal(store_flush(m->w.store), 0);
    assert_int_equal(store_compact(m->w.store, true, 0), 0);
    for (int i = 0; i < 2000 && store_compact_step(m->w.store, UINT64_MAX) == 1; i++)
        assert_int_equal(store_turn(m->w.store), 0);
}

static uint32_t words_of(const struct snapshot *s, uint64_t bits)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < s->n_keywords; i++)
        for (uint32_t k = 0; bits >> i & 1 && k < WORDS; k++)
            mask |= str_ieq(s->keywords[i], str_z(words[k])) ? 1u << k : 0;
    return mask;
}

static void compare_messages(struct model *m, const struct mailbox *b)
{
    struct snapshot s;
    struct mailbox_entry e;
    snapshot_of(&m->w, b->id, &s);
    assert_int_equal(s.n, b->n);
    assert_int_equal(s.recent, b->recent);
    for (size_t i = 0; i < s.n; i++) {
        const struct message *x = &b->list[i];
        assert_int_equal(snapshot_entry(&s, i, &e), 0);
        assert_int_equal(e.uid, x->uid);
        assert_int_equal(e.number, x->number);
        assert_int_equal(e.flags, x->flags);
        assert_int_equal(words_of(&s, e.keywords), x->words);
        assert_int_equal(e.modseq, x->modseq);
        assert_int_equal(e.date_s, x->number);
    }
    snapshot_close(&s);
}

/* All that went since a moment, in pages, and nothing else. */
static void compare_vanished(struct model *m, const struct mailbox *b)
{
    static uint8_t want[1 << 16], got[1 << 16];
    uint64_t since = pick(2) ? 0 : b->modseq - MIN(b->modseq, (uint64_t)pick(64));
    uint32_t after = 0, max = 1 + pick(4);
    struct buf page = BUF(1 << 16);
    int n;
    memset(want, 0, sizeof(want));
    memset(got, 0, sizeof(got));
    for (size_t i = 0; i < b->n_gone; i++)
        want[b->gone[i].uid] |= b->gone[i].modseq > since;
    do {
        buf_clear(&page);
        n = store_vanished(m->w.store, b->id, since, after, max, &page);
        assert_true(n >= 0 && page.n == (size_t)n * 8);
        for (int i = 0; i < n; i++) {
            uint32_t first = get_u32(page.p + 8 * i), last = get_u32(page.p + 8 * i + 4);
            assert_true(first > after && last >= first && last < sizeof(got));
            memset(got + first, 1, last - first + 1);
            after = last;
        }
    } while ((uint32_t)n == max);
    assert_memory_equal(want, got, sizeof(got));
    buf_done(&page);
}

struct rows {
    struct model *m;
    char last[32];
    size_t boxes, names;
    uint64_t bytes, messages;
};

static bool is_subscribed(struct model *m, const char *name)
{
    for (size_t i = 0; i < m->n_subscribed; i++)
        if (strcmp(m->subscribed[i], name) == 0)
            return true;
    return false;
}

static int compare_row(void *arg, const struct store_folder *f)
{
    struct rows *r = arg;
    char name[32];
    assert_true(f->name.n < sizeof(name));
    snprintf(name, sizeof(name), "%.*s", STR_ARG(f->name));
    assert_true(strcmp(name, r->last) > 0);
    memcpy(r->last, name, sizeof(name));
    assert_int_equal(f->subscribed, is_subscribed(r->m, name));
    struct mailbox *b = named(r->m, name);
    if (!f->id) {
        assert_true(!b && f->subscribed);
        r->names++;
        return 0;
    }
    assert_non_null(b);
    assert_int_equal(f->id, b->id);
    assert_int_equal(f->modseq, b->modseq);
    assert_int_equal(f->uidnext, b->uidnext);
    assert_int_equal(f->use, b->use);
    b->uidvalidity = b->uidvalidity ? b->uidvalidity : f->uidvalidity;
    assert_int_equal(f->uidvalidity, b->uidvalidity);
    r->boxes++;
    r->bytes += f->bytes;
    r->messages += f->messages;
    return 0;
}

static void compare_all(struct model *m)
{
    struct rows r = { .m = m };
    size_t boxes = 0, names_only = 0;
    struct store_usage u;
    assert_int_equal(store_flush(m->w.store), 0);
    assert_true(store_folders(m->w.store, ANNA, STR_NONE, 1000, compare_row, &r) >= 0);
    for (size_t i = 0; i < m->n_subscribed; i++)
        names_only += !named(m, m->subscribed[i]);
    for (size_t i = 0; i < BOXES; i++) {
        if (!m->box[i])
            continue;
        boxes++;
        struct store_folder f = folder_named(&m->w, m->box[i]->name);
        recount(&m->w, &f);
        compare_messages(m, m->box[i]);
        compare_vanished(m, m->box[i]);
    }
    assert_int_equal(r.boxes, boxes);
    assert_int_equal(r.names, names_only);
    assert_int_equal(store_usage(m->w.store, ANNA, &u), 0);
    assert_true(u.bytes == r.bytes && u.messages == r.messages);
}

static int learn(void *arg, const struct store_folder *f)
{
    struct model *m = arg;
    char name[32];
    snprintf(name, sizeof(name), "%.*s", STR_ARG(f->name));
    add_box(m, name, f->id, f->modseq)->use = f->use;
    snprintf(m->subscribed[m->n_subscribed++], 32, "%s", name);
    return 0;
}

static const struct { void (*run)(struct model *m); unsigned weight; } operations[] = {
    { do_deliver, 30 }, { do_create, 8 }, { do_delete, 3 }, { do_rename, 4 }, { do_subscribe, 3 }, { do_flag, 30 },
    { do_expunge, 8 }, { do_pop, 2 }, { do_copy, 20 }, { do_recent, 4 }, { do_compact, 1 },
};

static void step(struct model *m)
{
    unsigned all = 0;
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        all += operations[i].weight;
    unsigned at = pick(all);
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (at < operations[i].weight) {
            m->counts[i]++;
            operations[i].run(m);
            break;
        }
        at -= operations[i].weight;
    }
    if (pick(6) == 0)
        assert_int_equal(store_turn(m->w.store), 0);
}

static void test_model(void **state)
{
    (void)state;
    static struct model m;
    const char *s = getenv("STORE_MODEL_SEED"), *steps = getenv("STORE_MODEL_STEPS");
    seed = s ? strtoull(s, NULL, 10) : 20261124;
    m = (struct model){ 0 };
    world_init(&m.w);
    m.w.segment_size = 65536;
    world_begin(&m.w);
    assert_int_equal(store_account_prepare(m.w.store, ANNA), STORE_DONE);
    assert_int_equal(store_folders(m.w.store, ANNA, STR_NONE, 100, learn, &m), 6);
    long n = steps ? strtol(steps, NULL, 10) : 2000;
    for (long i = 1; i <= n; i++) {
        step(&m);
        if (i % 50 == 0)
            compare_all(&m);
        if (i % 400 == 0) {
            check_and_reopen(&m.w, i % 800 == 0);
            compare_all(&m);
        }
    }
    for (size_t i = 0; i < BOXES; i++)
        free(m.box[i]);
    world_done(&m.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
