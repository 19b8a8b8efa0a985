/* Expanding the recipients of one message, the part that leads off this host or to a mechanism: what is queued, and
 * what a DSN is owed for at once. See DESIGN 2, RFC 3461 5.2.7. */
#pragma once
#include "store/store_internal.h"

struct foreign {
    struct store *store;
    struct arena *arena;
    const struct message_record *message;
    struct journal_queued *list;
    size_t n, cap;
    struct map seen;      /* addresses, and mechanisms with them */
    uint32_t groups;
    bool duplicate;       /* a DSN that was made already: nobody gets it */
};

/* 0 or negative errno; foreign_done() in any case. *message may be given no recipients. */
int foreign_begin(struct foreign *f, struct store *s, struct arena *a, struct message_record *message);
void foreign_done(struct foreign *f);
/* A message that carries the mark of an address was forwarded by its ~/.forward before, which is not asked again: what
 * counts without it takes its place. 0 or -ENOMEM. */
int foreign_settle(struct foreign *f, struct directory_result *result);
/* One recipient of the envelope, and what the directory made of it. 0, -ENOMEM, -E2BIG: too many. */
int foreign_add(struct foreign *f, const struct record_recipient *to, const struct directory_result *result);
/* A recipient that the directory does not know: is it the rewritten sender of something that was forwarded from here?
 * Then the bounce goes on to him. 0 or as above. */
int foreign_return(struct foreign *f, const struct record_recipient *to, bool *out_known);
/* A mechanism of the postmaster, to whom the message goes instead: nobody is told of it. 0 or as above. */
int foreign_postmaster(struct foreign *f, const struct record_recipient *to, const struct directory_target *t);
int foreign_end(struct foreign *f, struct journal_queue *out);
/* The record is staged: told when it is durable. */
int foreign_staged(struct store *s, const struct journal_record *r);
