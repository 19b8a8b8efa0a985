/* The parsers of arguments that imap_verbs.def names, and what the engine needs beyond imap_parse(). Inside
 * src/proto. */
#pragma once
#include "proto/imap_lex.h"

/* As imap_parse(), of a command whose literals have not all come: `so_far` may end in the size of one ("{5}", without
 * the line end). -EAGAIN if nothing is wrong so far and its bytes are needed. APPEND is complete (0) at the size of its
 * message. out->verb is set as soon as it was read, before that it is IMAP_VERBS. */
int imap_parse_so_far(struct arena *a, str so_far, bool utf8, struct imap_command *out,
                      struct imap_parse_error *out_error);

/* What follows a message of APPEND: ")" first if that was given as UTF8, then nothing or the next message, up to the
 * size of its literal. *out_more: there is one, and *out has its fields but for the mailbox. */
int imap_parse_append_next(struct arena *a, str line, bool was_utf8, bool *out_more, struct imap_append *out,
                           struct imap_parse_error *out_error);

/* Each reads the arguments of a command, the space before them included, up to the end, and does not look at what
 * follows. */
#define IMAP_VERB(id, where, arguments) bool imap_parse_##arguments(struct imap_lex *l, struct imap_command *c);
#include "proto/imap_verbs.def"
#undef IMAP_VERB

/* " (MESSAGES UIDNEXT)" */
bool imap_parse_status_items(struct imap_lex *l, uint32_t *out);
