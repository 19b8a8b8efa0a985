/* ~/.forward of a system user, as sendmail and Postfix read it: targets with commas or newlines between; '#' at the
 * start of a line makes it a comment, (…) is one within a line, a line that begins with a blank goes on.
 *
 *     |command args   "|command args"     a program
 *     /file  "~/Mail/box"  mbox:~/box     an mbox
 *     /folder/  maildir:~/Maildir         a Maildir
 *     \name                               the mailbox of that local user, whose own .forward is not looked at
 *     bob  bob@example.org  Bob <bob@…>   an address
 *
 * :include: is refused. One broken target makes the whole file broken: mail waits until it is mended. */
#pragma once
#include "mda/mda.h"

#define FORWARD_FILE_MAX 65536 /* bytes */
#define FORWARD_TARGETS_MAX 500

enum forward_kind { FORWARD_ADDRESS, FORWARD_LOCAL, FORWARD_MECHANISM };
struct forward_target {
    enum forward_kind kind;
    unsigned line;              /* where it begins, from 1 */
    str text;                   /* the address, with or without a domain (ADDRESS); the name behind the backslash, which
                                   may have a domain too (LOCAL); the mechanism as mechanism_parse reads it */
    struct mechanism mechanism; /* kind command, mbox or maildir */
};

struct forward_error { unsigned line; const char *why; }; /* why: static; NULL: no memory */

/* Pure. The targets in the arena, in order, each once. 0 (none at all too: as if there were no file), -EBADMSG or
 * -ENOMEM with *out_error. */
int forward_parse(struct arena *a, str text, struct forward_target **out, size_t *out_n,
                  struct forward_error *out_error);

/* Reads and parses `user->home`/.forward: a regular file, not a symlink, of ours or root, not writable by others, in a
 * home that only we or root may write to. 1: *out has at least one target; 0: there is no file, or nothing in it; -1:
 * *result is set, deferred, and names file and line. */
int forward_read(struct arena *a, const struct mda_user *user, struct forward_target **out, size_t *out_n,
                 struct mda_result *result);
