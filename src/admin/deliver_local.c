/* `posthouse deliver` into files, to commands and by ~/.forward, as the user who calls: see deliver.h. */
#include <stdio.h>
#include <unistd.h>
#include "admin/deliver.h"
#include "mda/forward_file.h"
#include "mda/mda_command.h"

/* The path for one recipient, with the address put in for %u, %n and %d. n == 0: noted why not. */
static str expand(struct deliver *d, str text, str recipient)
{
    const char *why = "";
    if (str_chr(text, '%') < 0)
        return text;
    str out = mechanism_expand(&d->arena, text, recipient, &why);
    if (!out.p) {
        struct mda_result r;
        mda_result_set(&r, *why ? MDA_FAILED : MDA_DEFERRED, *why ? 550 : 451, *why ? "5.1.3" : "4.3.0", "%s",
                       *why ? why : "no memory");
        deliver_note(d, recipient, text, &r);
    }
    return out;
}

static struct mda_batch_config batch_config(const struct deliver *d)
{
    return (struct mda_batch_config){ .user = &d->user, .stdout_fd = STDOUT_FILENO };
}

struct order { struct mda_message message; struct mda_result result; str text; };

void deliver_files(struct deliver *d, str text)
{
    struct mda_batch_config config = batch_config(d);
    struct mda_batch *b = NULL;
    struct order *orders = ARENA_ARRAY(&d->arena, struct order, d->n_recipients);
    if (!orders || mda_batch_new(&config, &b) < 0) {
        deliver_no_memory(d, text);
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < d->n_recipients; i++) {
        str expanded = expand(d, text, d->recipients[i]);
        bool known = !expanded.n;
        for (size_t k = 0; k < n && !known; k++)
            known = str_eq(orders[k].text, expanded);
        struct mechanism m;
        const char *why;
        if (known || !mechanism_parse(expanded, &m, &why))
            continue;
        struct order *o = &orders[n++];
        *o = (struct order){ .message = deliver_message(d, d->recipients[i]), .text = expanded };
        mda_batch_add(b, &o->message, &m, &o->result);
    }
    mda_batch_finish(b);
    mda_batch_free(b);
    for (size_t k = 0; k < n; k++)
        deliver_note(d, orders[k].message.recipient, orders[k].text, &orders[k].result);
}

static void run_command(struct deliver *d, str recipient, str command)
{
    struct mda_result r = { 0 };
    struct mda_command_config config = { .user = &d->user, .cancel_fd = d->signals };
    struct mda_message m = deliver_message(d, recipient);
    mda_command_run(&config, &m, command, &r);
    deliver_note(d, recipient, S("command"), &r);
}

void deliver_command(struct deliver *d, str text)
{
    for (size_t i = 0; i < d->n_recipients; i++) {
        struct mechanism m;
        const char *why;
        if (mechanism_parse(text, &m, &why))
            run_command(d, d->recipients[i], m.command);
    }
}

/* The user's .forward counts once, whatever addresses led to him. */
void deliver_forward(struct deliver *d)
{
    struct forward_target *targets;
    size_t n, n_away = 0;
    struct mda_result r = { 0 };
    str recipient = d->recipients[0];
    int found = forward_read(&d->arena, &d->user, &targets, &n, &r);
    if (found < 0) {
        deliver_note(d, recipient, S("forward"), &r);
        return;
    }
    if (found == 0) {
        deliver_to_server(d);
        return;
    }
    str *away = ARENA_ARRAY(&d->arena, str, n);
    if (!away) {
        deliver_no_memory(d, S("forward"));
        return;
    }
    struct mda_batch_config config = batch_config(d);
    for (size_t i = 0; i < n; i++) {
        const struct forward_target *t = &targets[i];
        struct mda_message m = deliver_message(d, recipient);
        if (t->kind == FORWARD_LOCAL || (t->kind == FORWARD_ADDRESS && str_eq(t->text, recipient))) {
            deliver_to_drop(d, &t->text, 1, true, STR_NONE);
        } else if (t->kind == FORWARD_ADDRESS) {
            away[n_away++] = t->text;
        } else if (t->mechanism.kind == MECHANISM_COMMAND) {
            run_command(d, recipient, t->mechanism.command);
        } else {
            mda_batch_deliver(&config, &m, &t->mechanism, &r);
            deliver_note(d, recipient, t->text, &r);
        }
    }
    if (n_away)
        deliver_to_drop(d, away, n_away, false, recipient);
}
