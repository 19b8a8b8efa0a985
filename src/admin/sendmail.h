/* `posthouse sendmail`, also called sendmail, mailq and newaliases: see docs/sendmail.md. What its files share:
 *   sendmail_args.c   options
 *   sendmail_text.c   the message on standard input
 *   sendmail.c        the command, and a message into the drop
 *   sendmail_smtp.c   -bs
 *   sendmail_queue.c  -bp, -q, -bv, -bi */
#pragma once
#include "admin/sendmail_args.h"
#include "session/drop.h"

enum { EXIT_NOUSER = 67 };

struct sendmail {
    struct sendmail_args args;
    struct arena arena;
    int folder;              /* of the drop, -1: through the helper */
    uint64_t size_max;       /* 0: unknown */
    str login, full_name;
};

/* Exit code for a failure to write into the drop, after a complaint. */
int sendmail_drop_failed(const struct drop_writer *w, int error);

int sendmail_smtp(struct sendmail *s);
int sendmail_list(struct sendmail *s);
int sendmail_retry(struct sendmail *s);
int sendmail_verify(struct sendmail *s);
int sendmail_aliases(struct sendmail *s);
