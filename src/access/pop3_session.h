/* Inside of role access: the service, and its POP3 sessions (those of IMAP: imap_session.h). */
#pragma once
#include "access/box.h"
#include "access/segments.h"
#include "access/store_call.h"
#include "base/map.h"
#include "io/conn.h"
#include "io/event_flood.h"
#include "io/role.h"
#include "proto/imap_server.h"
#include "proto/pop3_server.h"
#include "session/auth_client.h"
#include "session/log_writer.h"
#include "session/proxy_in.h"
#include "session/smtp_policy.h"
#include "session/tls_files.h"
#include "session/trace_id.h"
#include "store/snapshot.h"

struct access_counters {
    uint64_t connections, refused_connections, auth_ok, auth_failed, retrieved, bytes, deleted, timeouts, tls, damaged;
    uint64_t commands, appended, appended_bytes; /* of IMAP */
};

struct access_role {
    struct role *role;
    struct auth_client auth;
    struct tls_files tls, imap_tls; /* the same pair for POP3 and for IMAP: each accepts its own ALPN alone */
    struct arena arena;          /* of nets */
    struct smtp_nets nets;
    struct pop3_server_config engine[ROLE_LISTENERS_MAX];
    struct pop3_session *all, *closed;
    size_t n_sessions, n_imap;   /* of both; of IMAP */
    struct event_flood flood;
    struct map clients;          /* address -> count of connections */
    struct segments segments;
    struct loop_turn turn;
    uint64_t last_request;
    /* IMAP */
    struct imap_server_config imap_engine[ROLE_LISTENERS_MAX];
    struct imap_session *imap_all, *imap_closed;
    struct store_calls calls;    /* numbered apart from last_request: the kinds of answers differ */
    struct boxes boxes;
    struct log_writer log;       /* "access": what APPEND brings */
    struct imap_append_state *appends; /* that wait for the log or for the store to place them */
    size_t append_held;          /* bytes of them in memory */
    struct mime_parser *spare_mime;
    struct loop_timer box_sweep;
    struct access_counters count;
};

enum pop3_wait { POP3_WAIT_NONE, POP3_WAIT_MAILDROP, POP3_WAIT_SEGMENT, POP3_WAIT_EXPUNGE };

struct pop3_session {
    struct conn conn;
    struct access_role *access;
    struct pop3_server *engine;
    struct role_config *config;
    const struct conf_listener *listener;
    struct loop_timer timer;
    struct trace_id id;
    struct auth_run auth;
    char *account;
    struct snapshot drop; bool open;
    struct pop3_message *messages;
    enum pop3_wait wait; uint64_t request;   /* of the store */
    uint32_t expunges_out; bool expunge_failed;
    struct mailbox_entry sending;
    struct segment_wait segment;
    size_t sending_index;
    uint64_t sent;
    uint32_t crc, expected_crc;
    int sending_fd;
    bool content, top; /* RETR, TOP under way */
    bool tls_pending, closing, counted, trusted, pumping, logged_in, event_left_out;
    uint64_t retrieved;
    uint64_t opened; /* loop_now() */
    struct pop3_session *prev, *next, *next_closed;
};

/* Before log-in: milliseconds of silence (RFC 1939 and RFC 9051 5.4 ask for more only after it), and how many times
 * that in all, however much is said. */
enum { ACCESS_LOG_IN_MS = 60000, ACCESS_LOG_IN_TIMES = 3 };

/* access_role.c */
/* May one more client of that address be served? Then it is counted until access_leave(). The session itself is in
 * a->n_sessions already. */
bool access_admit(struct access_role *a, const struct conf *c, str address, bool trusted);
void access_leave(struct access_role *a, str address);
/* The store need not remember the session any more. */
void access_forget_session(struct access_role *a, str session);

/* pop3_session.c */
void pop3_session_open(struct access_role *a, struct role_listener *l, int fd, const struct sockaddr *peer);
void pop3_session_pump(struct pop3_session *s);
void pop3_session_close(struct pop3_session *s, const char *why);
void pop3_session_free(struct pop3_session *s);
struct buf *pop3_session_event(struct pop3_session *s, const char *name);
void pop3_session_event_end(struct pop3_session *s);

/* pop3_maildrop.c: what the store is asked for */
void pop3_maildrop_open(struct pop3_session *s);
void pop3_maildrop_retrieve(struct pop3_session *s, const struct pop3_event *ev);
/* Goes on sending content while the output has room. */
void pop3_maildrop_send(struct pop3_session *s);
void pop3_maildrop_update(struct pop3_session *s);
void pop3_maildrop_close(struct pop3_session *s);
int pop3_maildrop_frame(struct access_role *a, struct ipc_frame *f);
/* The store has gone: whoever waited for it gets an error. */
void pop3_maildrop_store_down(struct access_role *a);
