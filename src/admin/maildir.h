/* Mailboxes as Maildirs (https://cr.yp.to/proto/maildir.html): folders cur, new and tmp, a file a message, flags behind
 * ":2," of its name: D draft, F flagged, P passed on (the keyword $Forwarded), R replied, S seen, T trashed; a to z are
 * the first 26 keywords as the file dovecot-keywords names them ("0 $Label"). The date of a message is its file's.
 * Files have LF when written; CRLF and LF are read. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#define MAILDIR_LETTERS 26
#define MAILDIR_KEYWORDS S("dovecot-keywords")

struct maildir_keywords { char *name[MAILDIR_LETTERS]; size_t n; };
void maildir_keywords_done(struct maildir_keywords *k);
/* The text of dovecot-keywords, into a zeroed one. Lines that are none count for nothing. 0 or -ENOMEM. */
int maildir_keywords_read(struct maildir_keywords *k, str text);
void maildir_keywords_write(const struct maildir_keywords *k, struct buf *out);

/* Adds ":2," and the letters; keywords: words with blanks between. New keywords get letters; how many got none, or
 * -ENOMEM. */
int maildir_info(struct buf *name, uint32_t flags, str keywords, struct maildir_keywords *k);
/* What a file's name says: flags, and keywords added to *keywords with blanks between. */
uint32_t maildir_flags(str name, const struct maildir_keywords *k, struct buf *keywords);

struct maildir_file { const char *name; bool is_new; };
/* The files of cur and new in the order of their arrival: by the number their names begin with. Names that begin with
 * a dot are passed over. In the arena. 0 or negative errno; -ENOENT: it has no folder cur. */
int maildir_list(struct arena *a, int dir_fd, struct maildir_file **out, size_t *out_n);

/* A message's lines ended in CRLF, added to *out (LF and CRLF are ends). The buf's error. */
int maildir_to_crlf(struct buf *out, str text);
/* And back, piece by piece; *cr begins false. At the end a CR that is left is added by the caller. */
void maildir_to_lf(struct buf *out, str piece, bool *cr);
