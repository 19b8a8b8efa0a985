/* The inside of the IMAP server engine: what imap_server*.c and imap_capability.c share.
 *
 * Invariants
 * 1. While `wait` is not WAIT_NONE no input is looked at; only the answer that fits clears it.
 * 2. Every reply to a fault of the client goes through imap_engine_fail(), which counts BAD, and before log-in NO too.
 * 3. `cmd` holds the command as it came, its literals inside; `command` and the slices of events point into it and the
 *    arena. Both are kept until the first next() after the command is over.
 * 4. A tagged reply ends a command: after it the rest of its lines and literals is skipped, never run. */
#pragma once
#include "proto/imap_parse.h"
#include "proto/imap_server.h"

#define IMAP_EARLY_MAX     ((size_t)16 * 1024)   /* of a command before log-in, and of its lines */
#define IMAP_ARENA_MAX     ((size_t)2 * 1024 * 1024)
#define IMAP_TAG_MAX       ((size_t)256)
#define IMAP_MINUS_MAX     ((uint64_t)4096)      /* RFC 7888 5 */
#define IMAP_SKIP_MAX      ((uint64_t)1024 * 1024) /* a refused literal of more, and over the limit of APPEND: BYE */
#define IMAP_SKIP_EARLY    ((uint64_t)64 * 1024)
#define IMAP_TAIL          ((size_t)64)          /* of a skipped line, enough to see the size of a literal at its end */

enum imap_reading { READ_COMMAND, READ_LITERAL, READ_SASL, READ_IDLE, READ_APPEND, READ_APPEND_NEXT, SKIP_LINE,
                    SKIP_LITERAL };
enum imap_wait { WAIT_NONE, WAIT_GREET, WAIT_TLS, WAIT_COMPRESS, WAIT_LOGIN, WAIT_AUTH, WAIT_COMMAND, WAIT_IDLE_END,
                 WAIT_APPEND, WAIT_APPEND_END };

struct imap_server {
    const struct imap_server_config *config;
    str mechanisms;
    struct buf out;
    enum imap_state state;
    enum imap_wait wait;
    enum imap_reading reading;
    bool started, tls, compressed, closing;
    bool over;          /* the command is answered: forget it before more is read */
    bool idle_broken;   /* something other than DONE ended IDLE */
    bool append_cancel; /* IMAP_EV_APPEND_CANCEL is due */
    bool literal_sync;  /* of APPEND: wants "+" */
    uint32_t enabled;   /* IMAP_ENABLE_… */
    uint32_t errors;
    size_t line_at;     /* where the line that is read begins in cmd */
    size_t checked;     /* cmd.n when the command was last parsed before all of it was there */
    uint32_t literals;  /* of the command so far */
    uint64_t literal_left;
    uint64_t skipped;   /* bytes skipped before log-in */
    uint64_t messages;  /* of APPEND that were given out */
    size_t ok_n;        /* length of the OK to COMPRESS */
    struct buf cmd, tag, secret, mailbox;
    struct arena arena;
    struct imap_command *command; /* in the arena */
};

/* The size of a literal at the end of a line (RFC 7888 3), whatever stands before it. */
struct imap_literal { bool sync; uint64_t n; };
bool imap_engine_literal_at_end(str line, struct imap_literal *out);

/* Reads on from in, from *used on. False: nothing can be done before more comes. */
bool imap_engine_read(struct imap_server *s, str in, size_t *used, struct imap_event *ev);
/* What a line leads to: a whole command; its start, up to a literal; a line of its own kind. */
void imap_engine_command(struct imap_server *s, str text, struct imap_event *ev);
void imap_engine_partial(struct imap_server *s, str text, const struct imap_literal *literal, struct imap_event *ev);
void imap_engine_sasl_line(struct imap_server *s, str line, struct imap_event *ev);
void imap_engine_idle_line(struct imap_server *s, str line, struct imap_event *ev);
void imap_engine_append_line(struct imap_server *s, str line, const struct imap_literal *literal,
                             struct imap_event *ev);
/* A line or command that is longer than it may be. */
void imap_engine_too_long(struct imap_server *s, struct imap_event *ev);

/* One message of APPEND is announced in s->command->append. */
void imap_engine_append_message(struct imap_server *s, const struct imap_literal *literal, struct imap_event *ev);
/* The bytes of the message are complete. */
void imap_engine_append_full(struct imap_server *s, struct imap_event *ev);
/* The messages given out so far are to be dropped. */
void imap_engine_append_drop(struct imap_server *s);

/* Tagged replies; each ends the command. */
void imap_engine_reply(struct imap_server *s, enum imap_result result, str code, str text);
void imap_engine_fail(struct imap_server *s, enum imap_result result, str code, str text);
/* After a tagged reply to a command whose line ended in a literal that the client sends unasked. */
void imap_engine_skip(struct imap_server *s, const struct imap_literal *literal);
void imap_engine_bye(struct imap_server *s, str code, str text);
/* The tag of the command that is read, for its reply. */
void imap_engine_keep_tag(struct imap_server *s, str tag);
/* Forgets the command once it is over. */
void imap_engine_forget(struct imap_server *s);
/* NO or BAD if it cannot be given now, and true. */
bool imap_engine_out_of_place(struct imap_server *s, enum imap_verb verb);
bool imap_engine_may_log_in(const struct imap_server *s);

/* The words after "CAPABILITY ". */
void imap_engine_capabilities(const struct imap_server *s, struct buf *out);
