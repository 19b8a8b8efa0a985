/* `posthouse deliver` to a mailbox of the instance: by LMTP to its Unix socket, else through its drop. See
 * deliver.h. */
#include <errno.h>
#include <stdio.h>
#include "admin/deliver.h"
#include "admin/deliver_send.h"
#include "admin/drop_folder.h"
#include "session/drop.h"

/* The Unix socket of the instance's LMTP listener, if it has one that answers us. */
static str find_socket(struct deliver *d)
{
    str config = str_z(d->config_path), path;
    ptrdiff_t slash = str_rchr(config, '/');
    for (size_t i = 0; d->conf && i < d->conf->n_listeners; i++) {
        const struct conf_listener *l = &d->conf->listeners[i];
        if (l->service != CONF_LMTP || !conf_listener_path(l, &path))
            continue;
        str folder = str_starts(path, S("/")) ? STR_NONE : slash < 0 ? S("./") : str_first(config, (size_t)slash + 1);
        _cleanup_free_ char *relative = str_dupz(arena_printf(&d->arena, "%.*s%.*s", STR_ARG(folder), STR_ARG(path)));
        _cleanup_free_ char *absolute = relative ? realpath(relative, NULL) : NULL;
        if (absolute && deliver_socket_answers(absolute))
            return arena_dup(&d->arena, str_z(absolute));
    }
    return STR_NONE;
}

static bool all_have_domains(const struct deliver *d)
{
    for (size_t i = 0; i < d->n_recipients; i++)
        if (str_chr(d->recipients[i], '@') < 0)
            return false;
    return true;
}

void deliver_to_server(struct deliver *d)
{
    str socket = all_have_domains(d) ? find_socket(d) : STR_NONE;
    if (!socket.n) {
        deliver_to_drop(d, d->recipients, d->n_recipients, true, STR_NONE);
        return;
    }
    struct mechanism to = { .kind = MECHANISM_LMTP, .path = socket };
    struct mda_result *r = ARENA_ARRAY(&d->arena, struct mda_result, d->n_recipients);
    if (!r) {
        deliver_no_memory(d, S("mailbox"));
        return;
    }
    deliver_let_signals(true);
    deliver_send(&d->message, &to, d->host_name, d->recipients, d->n_recipients, r);
    deliver_let_signals(false);
    for (size_t i = 0; i < d->n_recipients; i++)
        deliver_note(d, d->recipients[i], S("mailbox"), &r[i]);
}

static void drop_failed(struct mda_result *r, int e)
{
    if (e == -EACCES || e == -ENOENT)
        mda_result_set(r, MDA_DEFERRED, 451, "4.3.5",
                       "the server does not answer on a Unix socket of LMTP, and its drop is not to be had: %s. Name "
                       "the instance's file with -c", strerror(-e));
    else if (e == -EINVAL)
        mda_result_set(r, MDA_FAILED, 550, "5.1.3", "an address is too long or holds control characters");
    else
        mda_result_set(r, MDA_DEFERRED, e == -ENOSPC ? 452 : 451, e == -ENOSPC ? "4.3.1" : "4.3.0",
                       "the drop of the server takes nothing: %s", strerror(-e));
}

void deliver_to_drop(struct deliver *d, const str *recipients, size_t n, bool native, str forwarded_by)
{
    struct mda_result r;
    struct drop_recipient *list = ARENA_ARRAY(&d->arena, struct drop_recipient, n);
    if (!list) {
        deliver_no_memory(d, S("queue"));
        return;
    }
    for (size_t i = 0; i < n; i++)
        list[i].address = recipients[i];
    struct drop_envelope envelope = { .sender = d->sender, .recipients = list, .n_recipients = n, .native = native,
                                      .body_8bit = true, .forwarded_by = forwarded_by, .login = d->user.name };
    int folder = admin_drop_folder_of(d->config_path, NULL);
    int e = drop_write(folder, &envelope, STR_NONE, d->message.fd, d->message.offset, d->message.length);
    if (folder >= 0)
        close(folder);
    if (e < 0)
        drop_failed(&r, e);
    else
        mda_result_set(&r, MDA_DELIVERED, 250, "2.0.0", "handed to the server's drop");
    for (size_t i = 0; i < n; i++)
        deliver_note(d, recipients[i], native ? S("mailbox") : S("queue"), &r);
}
