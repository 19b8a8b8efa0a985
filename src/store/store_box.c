/* Mailboxes as they will be when all that is staged is applied: which names lead where, and the next UID of each. What
 * was found once is kept until there are many, and longer while a change of it is staged: then the index does not know
 * it yet. A name may lead to a box that is gone: the index still has the mailbox of that name. */
#include <errno.h>
#include <stdlib.h>
#include "store/store_internal.h"

#define BOXES_KEPT 32768
#define BOXES_MAX ((size_t)1 << 20)
#define ACCOUNT_MAX 512
#define TITLE_MEMORY ((size_t)1 << 16)

struct box_key {
    char text[ACCOUNT_MAX + 1 + BOX_NAME_MAX];
    str key;
};

static int name_key(str account, str name, struct box_key *out)
{
    if (!account.n || account.n > ACCOUNT_MAX || name.n > BOX_NAME_MAX || str_chr(account, '\0') >= 0)
        return -EINVAL;
    memcpy(out->text, account.p, account.n);
    out->text[account.n] = '\0';
    if (name.n)
        memcpy(out->text + account.n + 1, name.p, name.n);
    out->key = str_of(out->text, account.n + 1 + name.n);
    return 0;
}

static str id_key(const uint64_t *id)
{
    return str_of(id, sizeof(*id));
}

void store_boxes_init(struct store *s, const uint8_t key[16])
{
    map_init(&s->boxes, BOXES_MAX, key);
    map_init(&s->box_names, BOXES_MAX, key);
}

void store_boxes_free(struct store *s)
{
    struct box *b;
    for (size_t at = 0; (b = map_next(&s->boxes, &at, NULL));)
        free(b);
    map_done(&s->boxes);
    map_done(&s->box_names);
}

static bool is_settled(const struct store *s, const struct box *b)
{
    return MAX(b->lsn, b->changed) <= store_committed(s);
}

void store_boxes_trim(struct store *s)
{
    str key;
    struct box *b;
    if (MAX(s->boxes.n, s->box_names.n) < BOXES_KEPT)
        return;
    for (size_t at = 0; (b = map_next(&s->box_names, &at, &key));)
        if (is_settled(s, b))
            map_take(&s->box_names, key);
    for (size_t at = 0; (b = map_next(&s->boxes, &at, &key));)
        if (is_settled(s, b))
            free(map_take(&s->boxes, key));
}

/* Keeps a copy. */
static int keep_box(struct store *s, const struct box *made, struct box **out)
{
    struct box *fresh = malloc(sizeof(*fresh) + made->account.n);
    if (!fresh)
        return -ENOMEM;
    *fresh = *made;
    fresh->account = str_of(fresh + 1, made->account.n);
    if (made->account.n)
        memcpy(fresh + 1, made->account.p, made->account.n);
    int r = map_set(&s->boxes, id_key(&made->id), fresh, NULL);
    if (r < 0) {
        free(fresh);
        return -ENOMEM;
    }
    *out = fresh;
    return 0;
}

static int keep_row(struct store *s, const struct index_mailbox *row, str account, struct box **out)
{
    struct box made = { .id = row->id, .account = account, .uidnext = row->uidnext, .uidvalidity = row->uidvalidity };
    return keep_box(s, &made, out);
}

static int load_box(struct store *s, uint64_t mailbox, struct box **out)
{
    _cleanup_arena_ struct arena a = ARENA(TITLE_MEMORY);
    struct index_mailbox row;
    str account, name;
    int r = index_mailbox_get(s->index, mailbox, &row);
    if (r == 1)
        r = index_mailbox_title(s->index, &a, mailbox, &account, &name);
    if (r == 1)
        r = keep_row(s, &row, account, out) < 0 ? -ENOMEM : 1;
    return r;
}

int store_box_get(struct store *s, uint64_t mailbox, struct box **out)
{
    struct box *box = map_get(&s->boxes, id_key(&mailbox));
    int r = box ? 1 : load_box(s, mailbox, &box);
    if (r != 1)
        return r;
    *out = box;
    return !box->gone;
}

static int find_named(struct store *s, str account, str name, str key, struct box **out)
{
    struct box *box = map_get(&s->box_names, key);
    if (!box) {
        struct index_mailbox row;
        int r = index_mailbox_named(s->index, account, name, &row);
        if (r != 1)
            return r;
        box = map_get(&s->boxes, id_key(&row.id)); /* neither gone nor renamed: else the name would be known */
        r = box ? 1 : keep_row(s, &row, account, &box) < 0 ? -ENOMEM : 1;
        if (r == 1)
            r = map_set(&s->box_names, key, box, NULL) < 0 ? -ENOMEM : 1;
        if (r != 1)
            return r;
    }
    *out = box;
    return !box->gone;
}

int store_box_named(struct store *s, str account, str name, struct box **out)
{
    struct box_key k;
    int r = name_key(account, name, &k);
    return r < 0 ? r : find_named(s, account, name, k.key, out);
}

int store_box_name(struct store *s, str account, str name, struct box *box)
{
    struct box_key k;
    int r = name_key(account, name, &k);
    if (r == 0)
        r = map_set(&s->box_names, k.key, box, NULL);
    return r == -ENOSPC ? -ENOMEM : r;
}

int store_box_nameless(struct store *s, str account, str name, uint64_t lsn)
{
    struct box *none = map_get(&s->boxes, id_key(&(uint64_t){ 0 }));
    int r = none ? 0 : keep_box(s, &(struct box){ .gone = true }, &none);
    if (r < 0)
        return r;
    none->lsn = lsn;
    return store_box_name(s, account, name, none);
}

static int make_box(struct store *s, str account, str name, struct box **out)
{
    uint64_t now = s->config.env->wall_us() / 1000000;
    uint32_t uidvalidity = MAX((uint32_t)now, s->last_uidvalidity + 1);
    struct journal_record record = { .kind = JOURNAL_mailbox_created, .mailbox_created = {
        .id = s->last_mailbox + 1, .account = account, .name = name, .uidvalidity = uidvalidity } };
    int r = store_stage(s, &record);
    if (r < 0)
        return r;
    s->last_mailbox++;
    s->last_uidvalidity = uidvalidity;
    struct box made = {
        .id = record.mailbox_created.id, .account = account, .uidnext = 1, .uidvalidity = uidvalidity, .lsn = record.lsn
    };
    return keep_box(s, &made, out);
}

int store_box(struct store *s, str account, str name, struct box **out)
{
    struct box_key k;
    int r = name_key(account, name, &k);
    if (r == 0)
        r = find_named(s, account, name, k.key, out);
    if (r != 0)
        return MIN(r, 0);
    r = make_box(s, account, name, out);
    if (r == 0)
        r = map_set(&s->box_names, k.key, *out, NULL);
    return r == -ENOSPC ? -ENOMEM : r;
}
