/* What the files of `posthouse mailbox` share: questions to role store (store/mailbox_query.h), and messages read from
 * the logs themselves.
 *   mailbox.c          the words of the command; list, status, create, delete, rename
 *   mailbox_read.c     pages of answers; walking over the messages of a mailbox
 *   mailbox_check.c    check
 *   mailbox_export.c   export
 *   mailbox_import.c   import; mailbox_known.c: which messages are there already
 *   mbox.c, maildir.c  the two formats */
#pragma once
#include <jansson.h>
#include "admin/admin.h"
#include "admin/data_dir.h"
#include "store/segment.h"
#include "store/store.h"

#define MAILBOX_MESSAGE_MAX ((size_t)1 << 30) /* a message that is read into memory */

struct mailbox_command {
    struct admin_data data;
    const char *config, *mbox, *maildir;
    bool json, content_length, no_cards;
    int log_fd;              /* DATA/log, -1: not opened yet */
    struct {                 /* the segment that was read last */
        char log[LOG_NAME_MAX + 1];
        uint64_t number;
        int fd;
        struct segment_reader reader;
    } segment;
};

/* One question, all its pages; `each` gets every line (not the last of a page) and may end it with an exit code. 0 or
 * an exit code after a complaint. question: event fields. */
typedef int mailbox_line(void *arg, const json_t *line);
int mailbox_ask(struct mailbox_command *c, str question, mailbox_line *each, void *arg);
/* The fields that most questions begin with. */
void mailbox_question(struct buf *out, const char *word, const char *account, const char *name);
const char *mailbox_text(const json_t *line, const char *key);
json_int_t mailbox_number(const json_t *line, const char *key);

struct mailbox_message {
    uint32_t uid, flags;
    str keywords;            /* with blanks between */
    int64_t date_s;
    const char *log; uint64_t segment, offset, content_len, meta_len;
    str prefix;
    /* The segment, open, and the header of the record; -1: `trouble` says what is wrong with it. */
    int fd; struct record_header header;
    const char *trouble;
};
/* Calls `each` for every message in the order of UIDs; slices are valid during the call. Of what compaction moves
 * meanwhile, the new place is asked for. */
typedef int mailbox_each(void *arg, const struct mailbox_message *m);
int mailbox_walk(struct mailbox_command *c, const char *account, const char *name, mailbox_each *each, void *arg);
/* The same for one message (none: 0, `each` is not called). */
int mailbox_one(struct mailbox_command *c, const char *account, const char *name, uint32_t uid, mailbox_each *each,
                void *arg);
/* Gives the content of its record in pieces, without the prefix. 0, negative errno, or what `piece` returned. */
int mailbox_content(const struct mailbox_message *m, int (*piece)(void *arg, str bytes), void *arg);

/* A keyword as IMAP has them (RFC 9051 atom), no longer than the store takes. */
bool mailbox_keyword_valid(str word);

int mailbox_check(struct mailbox_command *c, int argc, char **argv);
int mailbox_export(struct mailbox_command *c, int argc, char **argv);
int mailbox_import(struct mailbox_command *c, int argc, char **argv);
