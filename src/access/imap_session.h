/* Inside of role access: an IMAP session, the engine's events joined to socket, log-in, store and mailbox. Freed only
 * at the end of a turn. A command is answered at once, or by a task that goes on in steps.
 *
 * imap_session.c   connection, log-in, limits, ends             imap_pump.c     events, tasks, news, output
 * imap_zip.c       COMPRESS                                     imap_select.c   SELECT, EXAMINE, CLOSE, UNSELECT
 * imap_folders.c   LIST, LSUB, STATUS, CREATE …, QUOTA          imap_append.c   APPEND through the role's receive log
 * imap_change.c    STORE, EXPUNGE, COPY, MOVE                   imap_idle.c     IDLE, NOOP, news
 * imap_fetch.c     FETCH     imap_search.c, imap_sort.c, imap_thread.c   SEARCH, SORT, THREAD
 * message_reader.c cards and content */
#pragma once
#include "access/box.h"
#include "access/pop3_session.h"
#include "access/store_call.h"
#include "proto/imap_server.h"
#include "proto/imap_write.h"

struct imap_session;
struct imap_append_state;
struct imap_zip;

enum imap_step {
    IMAP_STEP_DONE, /* imap_server_done() was called */
    IMAP_STEP_MORE, /* the output is high, or others should have a turn: call again when it is written */
    IMAP_STEP_WAIT  /* for the store: whoever gets the answer calls imap_session_pump() */
};
struct imap_task { /* zeroed: none. It is forgotten after IMAP_STEP_DONE, before which the step frees its state */
    enum imap_step (*step)(struct imap_session *s);
    void (*cancel)(struct imap_session *s); /* frees state: the session ends */
    void *state;
    uint64_t began_ms, told_ms; /* for INPROGRESS; set by the pump */
};
struct imap_reply { /* a tagged reply that waits until s->late has gone out */
    bool due;
    enum imap_result result;
    struct buf text; size_t code_n; /* response code and text, one behind the other */
};

struct imap_session {
    struct conn conn;
    struct access_role *access;
    struct imap_server *engine;
    struct role_config *config;
    const struct conf_listener *listener;
    struct loop_timer timer;
    struct trace_id id;
    struct auth_run auth;
    char *account;
    struct store_call call;
    struct box_view view; bool selected;
    struct imap_task task;
    struct buf saved;            /* UIDs saved by SEARCH RETURN (SAVE), u32 each, ascending (RFC 5182) */
    struct imap_append_state *append; /* APPEND under way (imap_append.c) */
    uint32_t messages;           /* n of the message appended last: its trace id is S.n */
    struct imap_zip *zip;        /* COMPRESS is on, or about to be (zip_pending) */
    enum imap_verb verb; bool verb_uid; /* the command under way, or the last one */
    struct buf late; size_t late_at;    /* untagged text on its way to the output, piece by piece */
    struct imap_reply reply;
    size_t keywords_told;        /* of the selected mailbox, by FLAGS */
    uint32_t recent_told;        /* RECENT_SEEN to the store */
    bool tls_pending, zip_pending, closing, counted, trusted, pumping, pump_again, logged_in, event_left_out;
    bool own_delete;             /* it is deleting the mailbox that it has selected */
    bool leaving;                /* BYE was said */
    bool telling, telling_expunges; /* more news follow when s->late is out */
    uint64_t commands, fetched, bytes_out;
    uint64_t opened;             /* loop_now() */
    uint64_t turn_end;           /* mono_ms() when others should have a turn */
    struct imap_session *prev, *next, *next_closed;
};

/* imap_zip.c: DEFLATE (RFC 4978, RFC 1951), raw, both ways. */
#define IMAP_ZIP_INPUT_HIGH ((size_t)64 * 1024)
struct imap_zip *imap_zip_new(void); /* NULL without memory */
void imap_zip_free(struct imap_zip *z);
/* Inflates from the front of in, until the input below holds IMAP_ZIP_INPUT_HIGH bytes. 1 there is more plain text,
 * 0 none, -EBADMSG not DEFLATE, -ENOMEM. */
int imap_zip_read(struct imap_zip *z, str in, size_t *out_used);
struct buf *imap_zip_input(struct imap_zip *z);  /* plain text, not yet used */
/* Deflates all of `from` (emptied), so that the client can read it at once. 0 or -ENOMEM. */
int imap_zip_write(struct imap_zip *z, struct buf *from);
struct buf *imap_zip_output(struct imap_zip *z); /* for the socket */
/* The session is quiet: gives back what can be made again. */
void imap_zip_rest(struct imap_zip *z);

/* imap_session.c */
void imap_session_open(struct access_role *a, struct role_listener *l, int fd, const struct sockaddr *peer);
void imap_session_close(struct imap_session *s, const char *why);
void imap_session_free(struct imap_session *s);
struct buf *imap_session_event(struct imap_session *s, const char *name);
void imap_session_event_end(struct imap_session *s);
/* When the session is next looked at: time-outs, keepalive of IDLE, rest. */
void imap_session_set_timer(struct imap_session *s);
void imap_session_start_tls(struct imap_session *s);
/* Someone is working for the client, who may be silent meanwhile. */
bool imap_session_busy(const struct imap_session *s);
/* BYE [code] text, then the end. */
void imap_session_leave(struct imap_session *s, str code, str text);
/* The store has gone: it knows no session any more, so all that were logged in end. */
void imap_sessions_store_down(struct access_role *a);

/* imap_pump.c */
void imap_session_pump(struct imap_session *s);
/* The session has had its time for now. A step looks after each piece of work, not before the first. */
bool imap_session_turn_over(const struct imap_session *s);
static inline struct buf *imap_out(struct imap_session *s) { return imap_server_output(s->engine); }
/* Tells news as the command under way allows (no EXPUNGE in FETCH, STORE, SEARCH without UID: RFC 9051 7.5.1), then the
 * tagged reply. Every command of a logged-in session ends here. */
void imap_session_done(struct imap_session *s, enum imap_result result, str code, str text);
/* Tells news in the middle of a command. With expunges nobody may keep indices over it. */
void imap_session_tell(struct imap_session *s, bool expunges);
/* Resolves a set (and "$") in the session's view; on error the command has been answered and false is returned. */
bool imap_session_resolve(struct imap_session *s, const struct imap_set *set, bool uid, struct box_range **out,
                          size_t *n);
/* "* OK [INPROGRESS ("tag" done goal)]" at most every imap_progress_interval (RFC 9585). goal 0: not known. */
void imap_session_progress(struct imap_session *s, uint64_t done, uint64_t goal);

/* Tells the store up to which UID messages are \Recent no more, if that has changed. */
void imap_session_tell_recent(struct imap_session *s);
/* The client waits in IDLE: what is new goes out now. */
void imap_session_news(struct imap_session *s);
/* A question to the store. Begin a frame in *b and pack the rest; then send. s->call.answer gets the answer and ends
 * with imap_session_pump(). False: it could not be sent, and the command has been answered. */
void imap_ask(struct imap_session *s, struct buf *b);
bool imap_ask_send(struct imap_session *s, enum ipc_type type, struct buf *b,
                   bool (*answer)(struct store_call *c, struct ipc_frame *f));
static inline struct imap_session *imap_asker(struct store_call *c)
{
    return CONTAINER_OF(c, struct imap_session, call);
}
/* A FLAG but for its ranges (u32 n, n * (u32 first, u32 last)), which come behind. unchanged_since: UINT64_MAX, or the
 * condition. */
struct imap_flag_frame {
    uint8_t early, op; uint32_t system; uint64_t unchanged_since; /* enum flag_early; enum imap_store_op */
    const str *keywords; size_t n_keywords;
};
void imap_pack_flag(struct imap_session *s, struct buf *b, const struct imap_flag_frame *f);
/* The ranges of an EXPUNGE_DELETED: all, or (first not 0) all from that UID on. */
void imap_pack_deleted(struct buf *b, uint32_t first);
/* A verdict of the store in words. True: STORE_DONE, outputs untouched. f NULL: there was no answer. `target`: the
 * mailbox is where a message was to go, so that one that is not there gets TRYCREATE. imap_verdict() answers the
 * command NO, unless it is STORE_DONE. */
bool imap_verdict_text(const struct ipc_frame *f, uint8_t verdict, bool target, str *out_code, str *out_text);
bool imap_verdict(struct imap_session *s, const struct ipc_frame *f, uint8_t verdict, bool target);

/* One function for each group of commands; each answers or sets s->task. */
void imap_do_select(struct imap_session *s, const struct imap_command *c);   /* SELECT, EXAMINE */
void imap_do_unselect(struct imap_session *s, const struct imap_command *c); /* CLOSE, UNSELECT */
void imap_do_folders(struct imap_session *s, const struct imap_command *c);  /* LIST … UNSUBSCRIBE, STATUS, QUOTA */
void imap_do_change(struct imap_session *s, const struct imap_command *c);   /* STORE, EXPUNGE, COPY, MOVE */
void imap_do_fetch(struct imap_session *s, const struct imap_command *c);
void imap_do_search(struct imap_session *s, const struct imap_command *c);   /* SEARCH, SORT, THREAD */
void imap_do_noop(struct imap_session *s, const struct imap_command *c);     /* NOOP, CHECK */
void imap_append_event(struct imap_session *s, const struct imap_event *ev); /* IMAP_EV_APPEND… */

/* imap_select.c */
/* Leaves the selected mailbox, if one is; closed: says "* OK [CLOSED]" (RFC 7162 3.2.11, RFC 9051 7.1). */
void imap_deselect(struct imap_session *s, bool closed);
/* "* FLAGS …", and with permanent "* OK [PERMANENTFLAGS …]", into out. */
void imap_put_flag_list(struct imap_session *s, struct buf *out);

/* imap_append.c */
/* Drops what came of an APPEND under way, or lets what is complete be placed without waiting for it. */
void imap_append_leave(struct imap_session *s);
void imap_append_synced(struct access_role *a);             /* the log is durable further, or has died */
int imap_append_placed(struct access_role *a, struct ipc_frame *f); /* APPENDED. 0 or -EBADMSG */
void imap_append_store_down(struct access_role *a);
bool imap_append_waits(const struct imap_session *s);       /* for log or store */

/* imap_idle.c */
void imap_idle_event(struct imap_session *s, const struct imap_event *ev); /* IMAP_EV_IDLE, IMAP_EV_IDLE_END */
/* Milliseconds of silence after which the client is told that the server is there; 0: it is not. */
uint64_t imap_idle_keepalive(const struct imap_session *s);
void imap_idle_alive(struct imap_session *s);

/* message_reader.c: a message's card and content. Readers belong to one session's task. */
struct message_reader; /* opaque */
struct message_reader *message_reader_new(struct imap_session *s); /* NULL without memory */
void message_reader_free(struct message_reader *r);
enum reader_result { READER_READY, READER_WAIT, READER_GONE, READER_DAMAGED }; /* WAIT: the session is pumped later */
/* The card (message/card.h), from the mailbox's cards or else the message's record; valid until the next call. A
 * message without a card: one that is minimal (READER_READY). */
enum reader_result message_reader_card(struct message_reader *r, const struct box *b, size_t index, str *out);
/* Opens the content for reading with message_reader_read(). */
enum reader_result message_reader_open(struct message_reader *r, const struct box *b, size_t index);
/* n bytes of the content (without prefix) from offset on, added to *out. 0, or negative: damaged. */
int message_reader_read(struct message_reader *r, uint64_t offset, size_t n, struct buf *out);
/* The same as a slice of mapped or buffered memory, for searching: at most what is there; valid until the next call. */
str message_reader_view(struct message_reader *r, uint64_t offset, size_t n);
