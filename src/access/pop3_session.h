/* Inside of role access: the service and its POP3 sessions. */
#pragma once
#include "base/map.h"
#include "io/conn.h"
#include "io/event_flood.h"
#include "io/role.h"
#include "proto/pop3_server.h"
#include "session/auth_client.h"
#include "session/proxy_in.h"
#include "session/smtp_policy.h"
#include "session/tls_files.h"
#include "session/trace_id.h"
#include "store/snapshot.h"

#define SEGMENTS_OPEN_MAX 64

struct access_segment { /* that the store handed out */
    char log[32];
    uint64_t number, used;
    int fd;
    bool has_key;
    uint8_t key[16];
};

struct access_counters {
    uint64_t connections, refused_connections, auth_ok, auth_failed, retrieved, bytes, deleted, timeouts, tls, damaged;
};

struct access_role {
    struct role *role;
    struct auth_client auth;
    struct tls_files tls;
    struct arena arena;          /* of nets */
    struct smtp_nets nets;
    struct pop3_server_config engine[ROLE_LISTENERS_MAX];
    struct pop3_session *all, *closed;
    size_t n_sessions;
    struct event_flood flood;
    struct map clients;          /* address -> count of connections */
    struct access_segment segments[SEGMENTS_OPEN_MAX]; size_t n_segments;
    struct loop_timer sweep;     /* of the segments */
    struct loop_turn turn;
    uint64_t last_request;
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
    struct snapshot_entry sending;
    size_t sending_index;
    uint64_t sent;
    uint32_t crc, expected_crc;
    int sending_fd;
    bool content, top; /* RETR, TOP under way */
    bool tls_pending, closing, counted, trusted, pumping, logged_in, event_left_out;
    uint64_t retrieved;
    struct pop3_session *prev, *next, *next_closed;
};

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
