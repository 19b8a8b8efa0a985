/* The drop: a folder in which mail of this host's own users and commands waits for smtp-in (session/drop_pickup.h), the
 * server running or not. One file is one message: an envelope, then the content with CRLF lines. Any local user writes
 * such files, so nothing in them is believed but what the file system says: the owner is the caller.
 *
 *   "PHDROP1\n", u32 length of the envelope, the envelope as tagged fields (drop_file.c), content up to the end
 *
 * A file is complete when its owner may execute it (mode 0744); before that it is none of the pickup's business.
 *
 * A message is written with
 *     drop_begin(&w, folder, &envelope); drop_add(&w, piece) …; drop_end(&w)
 * which goes straight into the folder where the caller may write there, and else through the setgid helper
 * `posthouse-drop`. */
#pragma once
#include <sys/types.h>
#include "base/arena.h"
#include "base/buf.h"

#define DROP_GROUP "posthouse-drop" /* of this host: may write into the drop, through the helper */

/* The folder is named by the setting drop_directory; unless that is set it is this one in the data folder. The master
 * passes it to roles smtp-in and mda as FOLDER "drop"; commands open it with admin/drop_folder.h. */
#define DROP_FOLDER "drop"
#define DROP_HEAD_MAX ((size_t)4 << 20)        /* magic and envelope */
#define DROP_RECIPIENTS_MAX 10000
#define DROP_FIELD_MAX ((size_t)1000)          /* an address, an ENVID, a name */
/* The helper: of $POSTHOUSE_DROP_HELPER, of the package, or of `make install`. It need not be there. */
const char *drop_helper(void);

struct drop_recipient {
    str address;          /* local@domain, or a local part alone: the pickup adds the domain */
    str orcpt;            /* "type;address", decoded; empty: none */
    uint8_t notify;       /* as in store/message_record.h; 0: not given */
};

struct drop_envelope {
    str sender;           /* empty: <>; may lack its domain */
    const struct drop_recipient *recipients;
    size_t n_recipients;
    str envid;
    uint8_t ret;          /* 1 FULL, 2 HDRS, 0 not given */
    bool body_8bit, smtputf8;
    bool submitted;       /* a new letter: its header is repaired (Date, From, Bcc …); else it stays as it is */
    bool native;          /* into the recipients' own mailboxes here, by no mechanism */
    str forwarded_by;     /* address whose .forward sent it: a foreign sender is rewritten (message/srs.h); or empty */
    str login, full_name; /* of the caller, as he says: for a From that is missing */
};

/* Appends head and envelope of a file; the content comes behind. 0, -EINVAL (no recipient, too many, a field too long,
 * a control character in an address), or the buf's error. */
int drop_encode(struct buf *out, const struct drop_envelope *e);
/* How long head and envelope are, which takes the first DROP_START bytes of a file. 0, -EBADMSG, -EFBIG. */
#define DROP_START ((size_t)12)
int drop_head_length(str start, size_t *out_length);
/* Reads head and envelope, whole and nothing behind. Slices point into `in`, recipients are in the arena. 0, -EBADMSG,
 * -ENOMEM. */
int drop_decode(struct arena *a, str in, struct drop_envelope *out);

/* Line ends as SMTP has them: LF and a CR alone become CRLF, CRLF stays. Fed whole or in pieces, the same comes out,
 * and again of what came out. */
struct drop_lines { bool cr; /* the last byte was one, its line has ended; an LF behind it belongs to it */ };
int drop_lines_feed(struct drop_lines *l, str piece, struct buf *out); /* appends; 0 or the buf's error */

struct drop_writer {
    struct drop_lines lines;
    struct buf out;
    int folder, fd;       /* of the file, or the helper's standard input */
    pid_t helper;         /* 0: straight into the folder */
    int answer;           /* the helper's standard output */
    char name[64];        /* of the file, after drop_end() */
    char why[200];        /* after a failure: a sentence, as text of ours */
    int failed;
};

/* folder: the drop, open as a folder (O_PATH will do), or -1: unknown. Where the caller may not write in it, or it is
 * unknown, the helper takes it. Descriptors are close-on-exec. 0; -EINVAL as drop_encode(); -EACCES, -ENOENT: neither
 * folder nor helper will have it; -ENOSPC, -EDQUOT, or another negative errno. Ends by itself on failure. */
int drop_begin(struct drop_writer *w, int folder, const struct drop_envelope *e);
/* The next piece of the content, lines ending in LF or CRLF. 0, or the first failure, which sticks. */
int drop_add(struct drop_writer *w, str piece);
/* Complete and durable (file and folder are synced), or gone. 0 or negative errno. */
int drop_end(struct drop_writer *w);
void drop_cancel(struct drop_writer *w); /* the file is not to be; done or never begun is fine for a zeroed writer */
/* A whole message: `prefix`, then `length` bytes of fd from `offset` (pread; where fd stands does not matter). */
int drop_write(int folder, const struct drop_envelope *e, str prefix, int fd, uint64_t offset, uint64_t length);
