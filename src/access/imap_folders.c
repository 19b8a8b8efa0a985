/* Commands about mailboxes as a whole: LIST (RFC 9051 6.3.9, RFC 5258, 5819, 6154), LSUB, XLIST, STATUS, CREATE,
 * DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, and QUOTA (RFC 9208). */
#include <errno.h>
#include "access/folder_tree.h"
#include "access/imap_session.h"
#include "store/mailbox_role.h"

struct pattern { str text; bool level; /* ends with %: levels count too (RFC 3501 6.3.9) */ };

struct folders_state {
    const struct imap_command *command;
    struct folder_tree tree;
    struct pattern *patterns; size_t n_patterns; /* in the tree's arena */
    size_t at;
    size_t tried; bool match, level; /* of the folder under way: patterns looked at, what they said */
};

static struct folders_state *state_of(struct imap_session *s) { return s->task.state; }

static void free_state(struct imap_session *s)
{
    struct folders_state *st = TAKE(s->task.state);
    if (!st)
        return;
    folder_tree_done(&st->tree);
    free(st);
}

static enum imap_step wait(struct imap_session *s)
{
    (void)s;
    return IMAP_STEP_WAIT;
}

static struct folders_state *begin(struct imap_session *s, const struct imap_command *c)
{
    struct folders_state *st = calloc(1, sizeof(*st));
    if (!st) {
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Out of memory; try again later"));
        return NULL;
    }
    st->command = c;
    folder_tree_init(&st->tree);
    s->task = (struct imap_task){ .step = wait, .cancel = free_state, .state = st };
    return st;
}

static void end(struct imap_session *s)
{
    free_state(s);
    s->task = (struct imap_task){ 0 };
}

/* STATUS */

static void put_status(struct imap_session *s, const struct store_folder *f, str name, uint32_t items)
{
    const struct { uint32_t item; str name; uint64_t value; } numbers[] = {
        { IMAP_STATUS_MESSAGES, S("MESSAGES"), f->messages },
        { IMAP_STATUS_UIDNEXT, S("UIDNEXT"), f->uidnext },
        { IMAP_STATUS_UIDVALIDITY, S("UIDVALIDITY"), f->uidvalidity },
        { IMAP_STATUS_UNSEEN, S("UNSEEN"), f->unseen },
        { IMAP_STATUS_DELETED, S("DELETED"), f->deleted },
        { IMAP_STATUS_SIZE, S("SIZE"), f->bytes },
        { IMAP_STATUS_RECENT, S("RECENT"), f->recent },
        { IMAP_STATUS_HIGHESTMODSEQ, S("HIGHESTMODSEQ"), MAX(f->modseq, (uint64_t)1) },
        { IMAP_STATUS_APPENDLIMIT, S("APPENDLIMIT"), s->config->conf->message_size_limit },
        { IMAP_STATUS_DELETED_STORAGE, S("DELETED-STORAGE"), f->deleted_bytes },
    };
    struct buf *out = imap_out(s);
    const char *gap = "";
    buf_add(out, S("* STATUS "));
    imap_put_mailbox(out, name, imap_server_utf8(s->engine));
    buf_add(out, S(" ("));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (!(items & numbers[i].item))
            continue;
        buf_add(out, str_z(gap));
        buf_add(out, numbers[i].name);
        buf_addc(out, ' ');
        buf_addu(out, numbers[i].value);
        gap = " ";
    }
    if (items & IMAP_STATUS_MAILBOXID)
        buf_addf(out, "%sMAILBOXID (M%016llx)", gap, (unsigned long long)f->id);
    buf_add(out, S(")\r\n"));
}

/* LIST, LSUB, XLIST */

/* Does one of the patterns match, and one that ends with %? There may be thousands of them. False: the turn is over. */
static bool try_patterns(struct imap_session *s, str name)
{
    struct folders_state *st = state_of(s);
    if (!st->tried)
        st->match = st->level = false;
    while (st->tried < st->n_patterns && !(st->match && (st->level || s->verb != IMAP_LSUB))) {
        const struct pattern *p = &st->patterns[st->tried++];
        bool match = (!st->match || p->level) && imap_list_match(p->text, name);
        st->match |= match;
        st->level |= match && p->level;
        if (imap_session_turn_over(s))
            return false;
    }
    st->tried = 0;
    return true;
}

struct choice { bool show, selected, childinfo; };

static struct choice choose(const struct folders_state *st, const struct folder *f)
{
    const struct imap_list *q = &st->command->list;
    bool lsub = st->command->verb == IMAP_LSUB;
    struct choice c = { .show = false };
    if (!st->match)
        return c;
    if (lsub) {
        c.selected = f->row.subscribed;
        c.show = c.selected || (f->subscribed_below && st->level);
        return c;
    }
    bool subscribed = q->select & IMAP_LIST_SUBSCRIBED, use = q->select & IMAP_LIST_SPECIAL_USE;
    c.selected = (subscribed || use) ? (!subscribed || f->row.subscribed) && (!use || f->row.use)
                                     : f->row.id || f->exists_below;
    if (q->select & IMAP_LIST_RECURSIVEMATCH)
        c.childinfo = (!subscribed || f->subscribed_below) && (!use || f->used_below) && (subscribed || use);
    c.show = c.selected || c.childinfo;
    return c;
}

static void put_attributes(struct imap_session *s, const struct folder *f, const struct choice *c, struct buf *out)
{
    const struct imap_command *cmd = state_of(s)->command;
    bool lsub = cmd->verb == IMAP_LSUB, xlist = cmd->verb == IMAP_XLIST, modern = cmd->list.extended;
    size_t start = out->n;
    if (lsub ? !c->selected || !f->row.id : !f->row.id)
        buf_add(out, !lsub && (modern || imap_server_rev2(s->engine)) ? S("\\NonExistent ") : S("\\Noselect "));
    if (!lsub && f->row.subscribed &&
        (cmd->list.select & IMAP_LIST_SUBSCRIBED || cmd->list.returns & IMAP_LIST_SUBSCRIBED))
        buf_add(out, S("\\Subscribed "));
    buf_add(out, f->exists_below ? S("\\HasChildren ") : S("\\HasNoChildren "));
    if (xlist && str_eq(f->row.name, S("INBOX")))
        buf_add(out, S("\\Inbox "));
    if (f->row.use) {
        buf_add(out, imap_use_name(f->row.use));
        buf_addc(out, ' ');
    }
    if (out->n > start)
        out->n--; /* the last blank */
}

static void put_childinfo(const struct imap_list *q, struct buf *out)
{
    bool both = (q->select & IMAP_LIST_SUBSCRIBED) && (q->select & IMAP_LIST_SPECIAL_USE);
    buf_add(out, S(" (\"CHILDINFO\" ("));
    if (q->select & IMAP_LIST_SUBSCRIBED)
        buf_add(out, S("\"SUBSCRIBED\""));
    if (both)
        buf_addc(out, ' ');
    if (q->select & IMAP_LIST_SPECIAL_USE)
        buf_add(out, S("\"SPECIAL-USE\""));
    buf_add(out, S("))"));
}

static void put_folder(struct imap_session *s, const struct folder *f, const struct choice *c)
{
    const struct imap_command *cmd = state_of(s)->command;
    struct buf *out = imap_out(s);
    bool xlist = cmd->verb == IMAP_XLIST;
    str name = xlist && str_eq(f->row.name, S("INBOX")) ? S("Inbox") : f->row.name;
    buf_add(out, S("* "));
    buf_add(out, imap_verb_name(cmd->verb));
    buf_add(out, S(" ("));
    put_attributes(s, f, c, out);
    buf_add(out, S(") \"/\" "));
    imap_put_mailbox(out, name, imap_server_utf8(s->engine));
    if (c->childinfo)
        put_childinfo(&cmd->list, out);
    buf_add(out, S("\r\n"));
    if (cmd->list.returns & IMAP_LIST_STATUS && f->row.id && c->selected && cmd->verb == IMAP_LIST)
        put_status(s, &f->row, name, cmd->list.status);
}

static enum imap_step list_step(struct imap_session *s)
{
    struct folders_state *st = state_of(s);
    for (; st->at < st->tree.n; st->at++) {
        const struct folder *f = &st->tree.folders[st->at];
        if (imap_out(s)->n >= IMAP_OUTPUT_HIGH || !try_patterns(s, f->row.name))
            return IMAP_STEP_MORE;
        struct choice c = choose(st, f);
        if (c.show)
            put_folder(s, f, &c);
    }
    free_state(s);
    imap_session_done(s, IMAP_OK, STR_NONE, s->verb == IMAP_LSUB    ? S("LSUB completed")
                                            : s->verb == IMAP_XLIST ? S("XLIST completed")
                                                                    : S("LIST completed"));
    return IMAP_STEP_DONE;
}

/* INBOX in any case (RFC 9051 5.1), also as the first level of a pattern. */
static void inbox(char *p, size_t n)
{
    static const char word[] = "INBOX";
    for (size_t i = 0; i < 5; i++)
        if (i >= n || ascii_upper(p[i]) != word[i])
            return;
    if (n == 5 || p[5] == '/' || p[5] == '*' || p[5] == '%')
        memcpy(p, word, 5);
}

static int make_patterns(struct folders_state *st)
{
    const struct imap_list *q = &st->command->list;
    st->patterns = ARENA_ARRAY(&st->tree.arena, struct pattern, q->n_patterns + 1);
    for (size_t i = 0; st->patterns && i < q->n_patterns; i++) {
        str text = q->patterns[i];
        size_t n = q->reference.n + text.n;
        char *p = arena_alloc(&st->tree.arena, n + 1);
        if (!p)
            return -ENOMEM;
        if (q->reference.n)
            memcpy(p, q->reference.p, q->reference.n);
        if (text.n)
            memcpy(p + q->reference.n, text.p, text.n);
        inbox(p, n);
        st->patterns[st->n_patterns++] = (struct pattern){ str_of(p, n), n && p[n - 1] == '%' };
    }
    return st->patterns ? 0 : -ENOMEM;
}

static void read_row(struct folder_tree *t, struct unpack *in)
{
    struct store_folder f = { .id = unpack_u64(in) };
    f.name = unpack_str(in);
    f.use = unpack_u8(in);
    f.subscribed = unpack_u8(in);
    f.uidvalidity = unpack_u32(in);
    f.uidnext = unpack_u32(in);
    f.messages = unpack_u32(in);
    f.unseen = unpack_u32(in);
    f.deleted = unpack_u32(in);
    f.recent = unpack_u32(in);
    f.bytes = unpack_u64(in);
    f.deleted_bytes = unpack_u64(in);
    f.modseq = unpack_u64(in);
    if (!in->bad)
        folder_tree_add(t, &f);
}

static void have_rows(struct imap_session *s)
{
    struct folders_state *st = state_of(s);
    if (s->verb == IMAP_STATUS) {
        const struct store_folder *f = st->tree.n ? &st->tree.folders[0].row : NULL;
        bool there = f && f->id;
        if (there)
            put_status(s, f, st->command->status.mailbox, st->command->status.items);
        end(s);
        if (there)
            imap_session_done(s, IMAP_OK, STR_NONE, S("STATUS completed"));
        else
            imap_session_done(s, IMAP_NO, S("NONEXISTENT"), S("There is no such mailbox"));
    } else if (folder_tree_finish(&st->tree) < 0 || make_patterns(st) < 0) {
        end(s);
        imap_session_done(s, IMAP_NO, S("LIMIT"), S("Too many mailboxes"));
    } else {
        s->task.step = list_step;
    }
}

static bool on_page(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    struct folders_state *st = state_of(s);
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    bool last = !f || unpack_u8(&f->in) || verdict != STORE_DONE;
    if (!last || (f && verdict == STORE_DONE)) {
        uint32_t n = unpack_u32(&f->in);
        for (uint32_t i = 0; i < n && !f->in.bad; i++)
            read_row(&st->tree, &f->in);
        if (f->in.bad)
            verdict = MAILBOX_TROUBLE;
        last = last || f->in.bad;
    }
    if (!last)
        return true;
    if (imap_verdict(s, f, verdict, false))
        have_rows(s);
    else
        end(s);
    imap_session_pump(s);
    return false;
}

static void ask_rows(struct imap_session *s, str name)
{
    struct buf b;
    imap_ask(s, &b);
    pack_str(&b, name);
    if (!imap_ask_send(s, IPC_FOLDERS, &b, on_page))
        end(s);
}

static void list(struct imap_session *s, const struct imap_command *c)
{
    if (c->verb != IMAP_LSUB && !c->list.extended && c->list.n_patterns == 1 && !c->list.patterns[0].n) {
        buf_addf(imap_out(s), "* %s (\\Noselect) \"/\" \"\"\r\n", c->verb == IMAP_XLIST ? "XLIST" : "LIST");
        imap_session_done(s, IMAP_OK, STR_NONE, S("LIST completed"));
    } else if (begin(s, c)) {
        ask_rows(s, STR_NONE);
    }
}

/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE */

static void note_change(struct imap_session *s, str what, str mailbox, str to)
{
    struct buf *e = imap_session_event(s, "imap_folder");
    event_str(e, "what", what);
    event_str(e, "mailbox", mailbox);
    if (to.n)
        event_str(e, "to", to);
    imap_session_event_end(s);
}

static bool on_changed(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    _cleanup_buf_ struct buf code = BUF(64);
    static const str done[IMAP_VERBS] = {
        [IMAP_CREATE] = S("CREATE completed"), [IMAP_DELETE] = S("DELETE completed"),
        [IMAP_RENAME] = S("RENAME completed"), [IMAP_SUBSCRIBE] = S("SUBSCRIBE completed"),
        [IMAP_UNSUBSCRIBE] = S("UNSUBSCRIBE completed"),
    };
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    uint64_t id = f ? unpack_u64(&f->in) : 0;
    if (imap_verdict(s, f, verdict, false)) {
        if (s->verb == IMAP_CREATE)
            buf_addf(&code, "MAILBOXID (M%016llx)", (unsigned long long)id);
        if (s->own_delete)
            imap_deselect(s, true);
        imap_session_done(s, IMAP_OK, buf_str(&code), done[s->verb]);
    }
    s->own_delete = false;
    imap_session_pump(s);
    return false;
}

static void ask_change(struct imap_session *s, enum folder_change what, str name, str other, uint8_t use)
{
    struct buf b;
    imap_ask(s, &b);
    pack_u8(&b, (uint8_t)what);
    pack_str(&b, name);
    pack_str(&b, other);
    pack_u8(&b, use);
    if (!imap_ask_send(s, IPC_FOLDER_CHANGE, &b, on_changed))
        s->own_delete = false;
}

/* True: nothing is wrong with it. Else the command has been answered. */
static bool good_name(struct imap_session *s, str name)
{
    const char *trouble = imap_name_trouble(name);
    if (trouble)
        imap_session_done(s, IMAP_NO, S("CANNOT"), str_z(trouble));
    return !trouble;
}

static void change(struct imap_session *s, const struct imap_command *c)
{
    switch (c->verb) {
    case IMAP_CREATE:
        if (!good_name(s, c->create.mailbox))
            return;
        note_change(s, S("create"), c->create.mailbox, STR_NONE);
        ask_change(s, FOLDER_CREATE, c->create.mailbox, STR_NONE,
                   c->create.has_use ? (uint8_t)c->create.use : (uint8_t)IMAP_USE_NONE);
        return;
    case IMAP_DELETE:
        s->own_delete = s->selected && str_eq(str_z(s->view.box->name), c->mailbox);
        note_change(s, S("delete"), c->mailbox, STR_NONE);
        ask_change(s, FOLDER_DELETE, c->mailbox, STR_NONE, 0);
        return;
    case IMAP_RENAME:
        if (!good_name(s, c->rename.to))
            return;
        note_change(s, S("rename"), c->rename.from, c->rename.to);
        ask_change(s, FOLDER_RENAME, c->rename.from, c->rename.to, 0);
        return;
    case IMAP_SUBSCRIBE:
        if (good_name(s, c->mailbox))
            ask_change(s, FOLDER_SUBSCRIBE, c->mailbox, STR_NONE, 0);
        return;
    default: ask_change(s, FOLDER_UNSUBSCRIBE, c->mailbox, STR_NONE, 0); return;
    }
}

/* QUOTA: one root, "", for the whole account. */

static void put_quota(struct imap_session *s, uint64_t bytes, uint64_t bytes_max, uint64_t messages,
                      uint64_t messages_max)
{
    struct buf *out = imap_out(s);
    const char *gap = "";
    buf_add(out, S("* QUOTA \"\" ("));
    if (bytes_max) { /* units of 1024 octets, RFC 9208 5.1 */
        buf_addf(out, "STORAGE %llu %llu", (unsigned long long)((bytes + 1023) / 1024),
                 (unsigned long long)((bytes_max + 1023) / 1024));
        gap = " ";
    }
    if (messages_max)
        buf_addf(out, "%sMESSAGE %llu %llu", gap, (unsigned long long)messages, (unsigned long long)messages_max);
    buf_add(out, S(")\r\n"));
}

static bool on_quota(struct store_call *c, struct ipc_frame *f)
{
    struct imap_session *s = imap_asker(c);
    uint8_t verdict = f ? unpack_u8(&f->in) : 0;
    uint64_t n[4] = { 0 };
    for (size_t i = 0; f && i < 4; i++)
        n[i] = unpack_u64(&f->in);
    if (imap_verdict(s, f, verdict, false)) {
        if (s->verb == IMAP_GETQUOTAROOT) {
            buf_add(imap_out(s), S("* QUOTAROOT "));
            imap_put_mailbox(imap_out(s), state_of(s)->command->mailbox, imap_server_utf8(s->engine));
            buf_add(imap_out(s), S(" \"\"\r\n"));
        }
        put_quota(s, n[0], n[1], n[2], n[3]);
        imap_session_done(s, IMAP_OK, STR_NONE,
                          s->verb == IMAP_GETQUOTA ? S("GETQUOTA completed") : S("GETQUOTAROOT completed"));
    }
    end(s);
    imap_session_pump(s);
    return false;
}

static void quota(struct imap_session *s, const struct imap_command *c)
{
    struct buf b;
    if (c->verb == IMAP_SETQUOTA) {
        imap_session_done(s, IMAP_NO, S("NOPERM"), S("Quotas are set by the postmaster"));
        return;
    }
    if (c->verb == IMAP_GETQUOTA && c->quota.root.n) {
        imap_session_done(s, IMAP_NO, S("NONEXISTENT"), S("The one quota root is \"\""));
        return;
    }
    if (!begin(s, c))
        return;
    imap_ask(s, &b);
    if (!imap_ask_send(s, IPC_QUOTA_GET, &b, on_quota))
        end(s);
}

void imap_do_folders(struct imap_session *s, const struct imap_command *c)
{
    switch (c->verb) {
    case IMAP_LIST:
    case IMAP_LSUB:
    case IMAP_XLIST: list(s, c); return;
    case IMAP_STATUS:
        if (begin(s, c))
            ask_rows(s, c->status.mailbox);
        return;
    case IMAP_GETQUOTA:
    case IMAP_GETQUOTAROOT:
    case IMAP_SETQUOTA: quota(s, c); return;
    default: change(s, c); return;
    }
}
