/* `posthouse deliver`: see docs/delivery.md. What its files share:
 *   deliver.c         the command: options, one mechanism after the other, the exit code
 *   deliver_input.c   the message on standard input
 *   deliver_local.c   files, commands, ~/.forward
 *   deliver_server.c  the account's own way: through the running server, or its drop
 *   deliver_send.c    SMTP and LMTP */
#pragma once
#include "conf/conf.h"
#include "mda/batch.h"

#define DELIVER_RECIPIENTS_MAX 1000
#define DELIVER_MECHANISMS_MAX 100

struct deliver {
    struct arena arena;
    const char *config_path;
    const struct conf *conf;     /* NULL: cannot be read, which matters to the server's way alone */
    struct arena conf_arena;
    struct buf bundle;
    bool verbose;
    str sender, host_name;       /* host_name: of this host */
    str recipients[DELIVER_RECIPIENTS_MAX]; size_t n_recipients;
    str mechanisms[DELIVER_MECHANISMS_MAX]; size_t n_mechanisms;
    struct mda_user user;
    bool has_key; uint8_t key[16];
    struct mda_message message;  /* sender and content; recipient, prefix: of each delivery */
    int signals;                 /* signalfd of those that would end us, which are blocked then */
    struct mda_result worst;
    bool any;                    /* worst is set */
};

/* Takes the result of one delivery into account. */
void deliver_note(struct deliver *d, str recipient, str mechanism, const struct mda_result *r);
void deliver_no_memory(struct deliver *d, str mechanism);
/* Signals that would end us: whether they may now, with a temporary failure; else they wait. */
void deliver_let_signals(bool through);
/* The message for one recipient, with this host's mark if its key is known. */
struct mda_message deliver_message(struct deliver *d, str recipient);

/* One mechanism for all recipients; each notes its results. files: kind mbox, maildir, stdout, once for each different
 * text when the address is put into it. */
void deliver_files(struct deliver *d, str text);
void deliver_command(struct deliver *d, str text);
void deliver_forward(struct deliver *d);
void deliver_to_server(struct deliver *d); /* mailbox */
/* Into the drop; native: recipients' own mailboxes. forwarded_by: n == 0 none. */
void deliver_to_drop(struct deliver *d, const str *recipients, size_t n, bool native, str forwarded_by);
