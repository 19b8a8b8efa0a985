/* How a message is handed to whom it is for: the mechanisms of the MDA as they are written in aliases, accounts, domain
 * blocks and on the command line.
 *
 *     mailbox                            a mailbox of this host
 *     smtp:HOST[:PORT]                   via an MTA; HOST is a name, an IPv4 address or [IPv6]; no MX is asked
 *     lmtp:HOST[:PORT]  lmtp:/SOCKET     via another MDA that speaks LMTP
 *     |COMMAND ARGUMENT…                 via another MDA, a program: no shell; words in "…" or '…' hold blanks
 *     mbox:PATH         /PATH            append to an mbox file
 *     maildir:PATH      /PATH/           into a Maildir (a last slash is not needed with the word)
 *     stdout                             print it
 *     forward                            as the system user's ~/.forward says
 *
 * A PATH is absolute or begins with ~/, the home of the system user. In `deliver` of an account or a domain %u stands
 * for the account's address, %n for what is before its @, %d for its domain, %% for a %. Nothing that a message says is
 * ever part of a mechanism. */
#pragma once
#include "base/arena.h"

enum mechanism_kind {
    MECHANISM_MAILBOX,
    MECHANISM_SMTP,
    MECHANISM_LMTP,
    MECHANISM_COMMAND,
    MECHANISM_MBOX,
    MECHANISM_MAILDIR,
    MECHANISM_STDOUT,
    MECHANISM_FORWARD,
    MECHANISM_KINDS
};
extern const char *const mechanism_name[MECHANISM_KINDS]; /* "mailbox" "smtp" … "command" … */

#define MECHANISM_MAX 4000   /* bytes of the text of one */

struct mechanism {
    enum mechanism_kind kind;
    str path;       /* mbox, maildir (without the last slash), lmtp by a Unix socket */
    str host;       /* smtp, lmtp: as written, without brackets; n == 0: by `path` */
    uint16_t port;  /* 0: the default, 25 and 24 */
    str command;    /* behind the bar, without blanks around it */
};

/* Reads one. Points into text. False with *out_why, a static sentence fragment ("the path must begin with / or ~/"). */
bool mechanism_parse(str text, struct mechanism *out, const char **out_why);
/* Does text look like one (and not like an address)? It may be broken all the same. */
bool mechanism_is(str text);
/* Is it done by role mda (true), or by role smtp-out or the store (false)? */
bool mechanism_is_local(enum mechanism_kind kind);
/* The first of a list in which a newline stands between two ("forward\nmbox:/var/mail/bob"); *list goes behind it.
 * n == 0: there is none. */
str mechanism_next(str *list);

/* The words of a command as execve wants them, NULL at the end, in the arena. NULL with *out_why "": no memory, or else
 * why not: a quote that is not closed, no word at all. Blanks part words; "…" and '…' hold them; a backslash outside of
 * '…' takes the next byte as it is. */
char **mechanism_words(struct arena *a, str command, size_t *out_n, const char **out_why);

/* Puts the account's address into %u, %n and %d. An address with a slash, a control byte or a dot in
 * front makes no path, and one with a byte that a shell could see no command: STR_NONE with *out_why ("" for no
 * memory). */
str mechanism_expand(struct arena *a, str text, str address, const char **out_why);
