/* A job that may run programs, in a process that is its user: see mda_worker.h. What a ~/.forward names is done in this
 * order: commands, files, and then addresses, which go into the drop. The first that cannot be done now ends it, and
 * all of it is tried again later, so what fails most often comes first. */
#include <errno.h>
#include <stdio.h>
#include "mda/batch.h"
#include "mda/forward_file.h"
#include "mda/mda_command.h"
#include "mda/mda_worker.h"
#include "session/drop.h"

enum { STDOUT_FD = 1, LOCK_WAIT_MS = 30000, FORWARD_MEMORY = 1 << 20 };

struct walk {
    const struct mda_child_config *config;
    const struct mda_message *message;
    int cancel;
    str fallback;                /* what counts instead of a ~/.forward, or for the own name in it */
    struct arena arena;
    struct mechanism *mechanisms; size_t n_mechanisms;
    struct drop_recipient *addresses, *natives; size_t n_addresses, n_natives;
    size_t done;
    struct mda_result worst, last;
};

static void deliver(const struct walk *w, const struct mechanism *mechanism, struct mda_result *out)
{
    const struct mda_user *user = &w->config->account->user;
    if (mechanism->kind == MECHANISM_COMMAND) {
        struct mda_command_config command = { .user = user, .timeout_ms = w->config->command_timeout_ms,
                                              .output_max = w->config->output_max, .delimiter = w->config->delimiter,
                                              .cancel_fd = w->cancel };
        mda_command_run(&command, w->message, mechanism->command, out);
        return;
    }
    struct mda_batch_config batch = { .user = user, .lock_wait_ms = LOCK_WAIT_MS, .stdout_fd = STDOUT_FD };
    mda_batch_deliver(&batch, w->message, mechanism, out);
}

/* False: it is over, another time. */
static bool note(struct walk *w, const struct mda_result *r)
{
    w->last = *r;
    w->done++;
    if (r->outcome == MDA_DELIVERED)
        return true;
    if (r->outcome == MDA_DEFERRED || w->worst.outcome == MDA_DELIVERED)
        w->worst = *r;
    return r->outcome == MDA_FAILED;
}

static bool add_mechanism(struct walk *w, const struct mechanism *m)
{
    w->mechanisms[w->n_mechanisms++] = *m;
    return true;
}

/* The own mailbox: by the mechanisms that count without a ~/.forward; none of them is the mailbox of this house. */
static bool add_own(struct walk *w, const char **out_why)
{
    str list = w->fallback, text;
    bool mailbox = list.n == 0;
    struct mechanism m;
    while ((text = mechanism_next(&list)).n) {
        if (!mechanism_parse(text, &m, out_why))
            return false;
        if (m.kind == MECHANISM_MAILBOX)
            mailbox = true;
        else if (mechanism_is_local(m.kind) && m.kind != MECHANISM_FORWARD)
            add_mechanism(w, &m);
    }
    if (mailbox)
        w->natives[w->n_natives++] = (struct drop_recipient){ .address = w->message->recipient };
    return true;
}

static str domain_of(str address)
{
    ptrdiff_t at = str_rchr(address, '@');
    return at < 0 ? STR_NONE : str_from(address, (size_t)at + 1);
}

/* The name of a target, with the domain of the account unless it has one. */
static str whole_address(struct walk *w, str name)
{
    if (str_rchr(name, '@') >= 0)
        return name;
    return arena_printf(&w->arena, "%.*s@%.*s", STR_ARG(name), STR_ARG(domain_of(w->message->recipient)));
}

static bool add_target(struct walk *w, const struct forward_target *t, bool *own, const char **out_why)
{
    if (t->kind == FORWARD_MECHANISM)
        return add_mechanism(w, &t->mechanism);
    str address = whole_address(w, t->text);
    bool is_own = str_ieq(address, w->message->recipient) ||
                  (t->kind == FORWARD_LOCAL && str_eq(t->text, w->config->account->user.name));
    *out_why = "";
    if (!address.p)
        return false;
    if (is_own && *own)
        return true;
    if (is_own) {
        *own = true;
        return add_own(w, out_why);
    }
    bool local = t->kind == FORWARD_LOCAL;
    struct drop_recipient *to = local ? &w->natives[w->n_natives++] : &w->addresses[w->n_addresses++];
    *to = (struct drop_recipient){ .address = address };
    return true;
}

static bool plan(struct walk *w, const struct forward_target *targets, size_t n, const char **out_why)
{
    size_t room = n + w->fallback.n / 2 + 1; /* one takes two bytes at least, with its newline */
    bool own = false, fine;
    *out_why = "";
    w->mechanisms = ARENA_ARRAY(&w->arena, struct mechanism, room);
    w->addresses = ARENA_ARRAY(&w->arena, struct drop_recipient, n + 1);
    w->natives = ARENA_ARRAY(&w->arena, struct drop_recipient, n + 1);
    if (!w->mechanisms || !w->addresses || !w->natives)
        return false;
    fine = n > 0 || add_own(w, out_why);
    for (size_t i = 0; fine && i < n; i++)
        fine = add_target(w, &targets[i], &own, out_why);
    return fine;
}

static bool drop(struct walk *w, const struct drop_recipient *to, size_t n, bool native)
{
    const struct mda_message *m = w->message;
    bool ascii = str_ascii(m->sender);
    for (size_t i = 0; i < n; i++)
        ascii = ascii && str_ascii(to[i].address);
    struct drop_envelope e = { .sender = m->sender, .recipients = to, .n_recipients = n, .envid = m->envid,
                               .body_8bit = true, .smtputf8 = !ascii, .native = native,
                               .forwarded_by = native ? STR_NONE : m->recipient };
    struct mda_result r = { 0 };
    if (!n)
        return true;
    int failed = drop_write(w->config->drop, &e, m->prefix, m->fd, m->offset, m->length);
    if (failed < 0)
        mda_result_set(&r, MDA_DEFERRED, 451, "4.3.0", "the message cannot be put into the drop for %.*s: %s",
                       (int)MIN(to[0].address.n, (size_t)200), to[0].address.p,
                       failed == -ENOENT ? "the helper posthouse-drop is not installed" : strerror(-failed));
    else
        mda_result_set(&r, MDA_DELIVERED, 250, "2.0.0", "forwarded to %.*s%s", (int)MIN(to[0].address.n, (size_t)200),
                       to[0].address.p, n > 1 ? " and others" : "");
    return note(w, &r);
}

static void walk(struct walk *w)
{
    bool goes_on = true;
    for (int files = 0; files < 2; files++)
        for (size_t i = 0; goes_on && i < w->n_mechanisms; i++)
            if ((w->mechanisms[i].kind != MECHANISM_COMMAND) == files) {
                struct mda_result r = { 0 };
                deliver(w, &w->mechanisms[i], &r);
                goes_on = note(w, &r);
            }
    if (goes_on && drop(w, w->natives, w->n_natives, true))
        drop(w, w->addresses, w->n_addresses, false);
}

static void forward(struct walk *w, struct mda_result *out)
{
    struct forward_target *targets = NULL;
    const char *why = "";
    size_t n = 0;
    int there = forward_read(&w->arena, &w->config->account->user, &targets, &n, out);
    if (there < 0)
        return;
    if (!plan(w, targets, there ? n : 0, &why)) {
        mda_result_set(out, MDA_DEFERRED, 451, *why ? "4.3.5" : "4.3.0", "%s", *why ? why : "no memory");
        return;
    }
    walk(w);
    *out = w->worst.outcome == MDA_DELIVERED ? w->last : w->worst;
    if (w->worst.outcome == MDA_DELIVERED && w->done > 1)
        mda_result_set(out, MDA_DELIVERED, 250, "2.0.0", "%s, %zu targets; the last: %s",
                       there ? "as ~/.forward says" : "there is no ~/.forward", w->done, w->last.text);
    else if (!w->done)
        mda_result_set(out, MDA_DEFERRED, 451, "4.3.5", "there is no ~/.forward, and nothing that counts instead");
}

void mda_run_order(const struct mda_child_config *c, const struct mda_message *m, str via, int cancel,
                   struct mda_result *out)
{
    struct mechanism mechanism;
    const char *why = "";
    str text = mechanism_next(&via);
    struct walk w = { .config = c, .message = m, .cancel = cancel, .fallback = via, .arena = ARENA(FORWARD_MEMORY) };
    *out = (struct mda_result){ 0 };
    if (!mechanism_parse(text, &mechanism, &why))
        mda_result_set(out, MDA_DEFERRED, 451, "4.3.5", "the mechanism is not right: %s", why);
    else if (mechanism.kind == MECHANISM_FORWARD)
        forward(&w, out);
    else
        deliver(&w, &mechanism, out);
    arena_done(&w.arena);
}
