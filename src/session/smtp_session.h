/* Inside of the SMTP role: the service and its sessions. Shared by smtp_in.c (role), smtp_serve.c (a session's events),
 * smtp_envelope.c (envelope), smtp_intake.c (the message on its way to the log). */
#pragma once
#include "base/map.h"
#include "io/event_flood.h"
#include "message/card.h"
#include "message/dsn.h"
#include "proto/smtp_server.h"
#include "session/log_writer.h"
#include "session/smtp_serve.h"
#include "session/tls_files.h"
#include "store/message_record.h"

#define CONTENT_HELD_MAX 131072            /* a message is held up to here, then streamed (DESIGN 5.3) */
#define CONTENT_ROLE_MAX (64u << 20)
#define HEADER_HELD_MAX 262144             /* a submitted header is held whole (DESIGN 8.4) */
#define TRANSACTION_MEMORY_MAX (8u << 20)
#define BACKLOG_MAX (256u << 20)           /* not yet applied by the store (DESIGN 2) */
#define HOPCOUNT_MAX 100

struct smtp_counters {
    uint64_t connections, refused_connections, messages, bytes, rejected, deferred, auth_ok, auth_failed, tls, timeouts;
};

struct smtp_in {
    struct role *role;
    const struct smtp_agent *mta, *msa;
    struct smtp_policy *policy;
    struct smtp_server_config *engine; /* one a listener */
    struct log_writer log;
    struct loop_turn turn;
    struct tls_files tls;
    bool has_key; uint8_t key[16];         /* of this host: SRS, marks of loops */
    struct auth_client auth;
    struct event_flood flood;
    struct map clients;                    /* address -> struct smtp_client */
    struct map over_quota;                 /* accounts (smtp_quota.c) */
    struct smtp_session *waiting, **waiting_end; /* for a sync, in order of their tickets */
    struct smtp_session *closed;           /* to be freed at the end of the turn */
    struct smtp_session *all;
    size_t n_sessions;
    size_t held;                           /* bytes of content in memory */
    struct mime_parser *spare_mime[128]; size_t n_spare_mime;
    struct { bool known; uint64_t asked_at, bytes, received; } room; /* free on the disk */
    uint64_t careful_until;                /* loop_now(): no parser before; 0 never */
    struct arena scratch; /* of the command that is being judged: smtp_envelope.c forgets it after each */
    struct drop_pickup *drop;              /* mail of users of this host */
    struct smtp_counters count;
};

struct smtp_client { uint32_t connections; };

struct smtp_recipient { struct record_recipient record; struct smtp_recipient *next; };

struct smtp_hops { /* Received fields so far */
    uint32_t n;
    size_t matched; /* bytes of the field's name in this line */
    bool text, over; /* the line is not empty; the header has ended */
};

struct smtp_intake { /* the message under way */
    struct mime_parser *mime; /* NULL: careful */
    bool careful;
    struct smtp_hops hops;
    struct buf head, body;    /* what was not yet given to the log */
    struct log_stream *stream;
    uint64_t size;
    bool header_done;         /* MSA: the header was judged */
    size_t scanned;           /* MSA: no end of the header before here */
    struct smtp_refusal refusal; /* code 0: none */
};

struct smtp_transaction { /* one object; its end is smtp_envelope_end() */
    struct arena arena;
    struct smtp_policy *policy;
    uint32_t listener;        /* its rules in policy */
    str sender;
    bool sender_null, open;
    struct smtp_mail_params mail;
    struct smtp_recipient *recipients, **recipients_end; uint32_t n_recipients;
    bool early;
    struct smtp_intake content;
    uint64_t ticket;
    struct log_position position;
};

struct smtp_session {
    struct conn conn;
    struct smtp_in *in;
    const struct smtp_agent *agent;
    const struct conf_listener *listener; uint32_t listener_index;
    char listener_address[CONF_ENDPOINT_MAX];
    char peer[64]; uint16_t peer_port;     /* who really connected; conn.address is the client */
    struct smtp_policy *policy;            /* keeps `listener` alive */
    struct smtp_server *engine;
    struct loop_timer timer;
    uint64_t last_command;                 /* loop_now() when a whole command, or content, was last read */
    struct trace_id id;
    uint32_t message;                      /* n of the message under way or last begun */
    bool trusted, esmtp, tls, tls_pending, early, closing, is_waiting, pumping, event_left_out;
    bool counted;                          /* in the connections of conn.address */
    bool stranger;                         /* on an LMTP listener: not of lmtp_networks */
    str helo, account, client_name;        /* in arena; client_name n == 0: unknown */
    struct buf tls_text;
    struct arena arena;
    struct auth_run auth;
    struct smtp_transaction tx;
    struct drop_run *drop;                 /* it carries a file of the drop: no connection, no engine */
    struct smtp_session *next_waiting, *prev, *next, *next_closed;
    uint32_t messages;
};

/* smtp_in.c */
/* Is the address one that this host made of a foreign sender when it forwarded his mail, not too long ago? */
bool smtp_in_returns(const struct smtp_in *in, str address);

/* smtp_quota.c */
/* The store tells which accounts are over their quota. 0, -EBADMSG. */
int smtp_quota_frame(struct smtp_in *in, struct ipc_frame *f);
void smtp_quota_forget(struct smtp_in *in); /* a new store tells anew */
/* All that an address leads to is over its quota. */
bool smtp_quota_full(const struct smtp_in *in, const struct directory_result *where);

/* smtp_dsn.c */
/* The store wants a notice to a sender (frame DSN_MAKE). 0, -EBADMSG: not such a frame. */
int smtp_dsn_make(struct smtp_in *in, struct ipc_frame *f);

/* A notice about a message that was refused here after its sender had left. It counts with the log's ticket. */
struct smtp_dsn_local {
    str to, of, envid;                     /* of: "S.n" of the message */
    uint8_t ret;
    bool smtputf8;
    int64_t arrival_s;
    const struct dsn_recipient *recipients; size_t n;
    int fd; uint64_t offset, length;       /* its content */
};
/* 0, or negative errno: nothing is staged. */
int smtp_dsn_local(struct smtp_in *in, const struct smtp_dsn_local *d, uint64_t *out_ticket);

/* smtp_serve.c */
void smtp_session_open(struct smtp_in *in, struct role_listener *l, int fd, const struct sockaddr *peer);
void smtp_session_pump(struct smtp_session *s);
void smtp_session_close(struct smtp_session *s, const char *why);
void smtp_session_policy(struct smtp_session *s, struct policy_session *out);

/* When many greetings have filled the session's arena: a fresh one; account and client_name stay, helo goes. */
void smtp_session_room(struct smtp_session *s);

/* smtp_client.c */
/* The connection is there; if it comes from a listed proxy, its header is awaited (proxy_in_waits()) ... */
void smtp_client_open(struct smtp_session *s);
/* ... and read; true: it is whole, and the client known. A session with a wrong one is closed. */
bool smtp_client_header(struct smtp_session *s);
void smtp_client_begin(struct smtp_session *s); /* the client is known, greeting comes next */
void smtp_client_xclient(struct smtp_session *s, const struct smtp_event *ev);
void smtp_client_release(struct smtp_session *s); /* gives its place in the count of connections back */

/* smtp_in.c */
uint64_t smtp_in_careful_ms(const struct smtp_in *in); /* so long no parser reads messages; 0: they are read */

/* smtp_envelope.c */
void smtp_envelope_mail(struct smtp_session *s, const struct smtp_event *ev);
void smtp_envelope_rcpt(struct smtp_session *s, const struct smtp_event *ev);
void smtp_envelope_data(struct smtp_session *s, const struct smtp_event *ev);
void smtp_envelope_end(struct smtp_session *s);
/* Is there room for a message of that size, on the disk and in the store's backlog? Otherwise *out_why says why not,
 * and *out_change what would help. */
bool smtp_envelope_room(struct smtp_in *in, uint64_t size, struct smtp_refusal *out_why, str *out_change);
/* Runs the policy engine and writes its event; true: go on. Otherwise the reply has been given. */
bool smtp_envelope_judge(struct smtp_session *s, enum policy_stage at, const struct policy_session *ps,
                         const char *event);

/* A refusal that no rule of a list made, as reply and as the same kind of event, so that trace and explain show it. */
void smtp_envelope_refuse(struct smtp_session *s, const char *event, str recipient, const struct smtp_refusal *why,
                          str change);

/* drop_intake.c: what differs where the session carries a file of the drop. */
void drop_intake_refused(struct smtp_session *s, const struct smtp_refusal *why);
int drop_intake_received(struct smtp_session *s, struct buf *out, str id); /* 0 or the buf's error */
str drop_intake_listener(const struct smtp_session *s); /* for the record: where it came in */
bool drop_intake_native(const struct smtp_session *s);

/* smtp_intake.c */
void smtp_intake_begin(struct smtp_session *s);
void smtp_intake_add(struct smtp_session *s, str piece);
void smtp_intake_end(struct smtp_session *s);
void smtp_intake_drop(struct smtp_session *s);
/* The log is durable up to its ticket (or has died): answers every session that waited. */
void smtp_intake_synced(struct smtp_in *in);
