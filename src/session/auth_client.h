/* Log-in of a client, shared by SMTP and POP3: runs a SASL mechanism (or a plain user and password) and asks the auth
 * role the typed questions (DESIGN 8.6). At most one log-in runs in a session at a time. */
#pragma once
#include "io/role.h"
#include "io/tls.h"
#include "proto/sasl.h"

/* With AUTH_BINDING run->why says what is wrong with the channel binding. */
enum auth_end { AUTH_OK, AUTH_WRONG, AUTH_MALFORMED, AUTH_UNAVAILABLE, AUTH_BINDING };

struct auth_run;
typedef void auth_challenge_fn(struct auth_run *run, str challenge);
typedef void auth_done_fn(struct auth_run *run, enum auth_end end, str account);

struct auth_run { /* embedded in the session; zeroed is idle */
    struct auth_client *client;
    struct sasl_server *sasl;
    uint64_t request;      /* 0: no question is out */
    str session_id;        /* text of S, lives as long as the session */
    const char *peer_addr;
    bool trusted;
    struct tls_bindings bindings; bool plus_offered; /* of the connection: auth_run_bind() */
    str why;               /* static */
    auth_challenge_fn *challenge;
    auth_done_fn *done;
    struct auth_run *prev, *next; /* runs with a question out */
    char user[256]; size_t user_len; /* whom the client said to be, for the log */
};

struct auth_late; /* a question whose session has gone */
struct auth_client {
    struct role *role;
    struct auth_run *waiting;
    uint64_t last_request;
    /* A log-in that succeeded after its session had gone; the store knows the session and must be told to forget it.
     * NULL: the role has nothing to give back. */
    void (*late)(struct auth_client *c, str session);
    struct auth_late *gone;
};

/* After the handshake: log-ins may be bound to this connection. Returns the mechanisms to be offered (static). */
str auth_run_bind(struct auth_run *run, SSL *ssl);
/* "ok", "wrong", "malformed", "unavailable", "binding": how a log-in ended, for its event. */
str auth_end_word(enum auth_end end);
/* has_initial: the client sent an initial response. */
void auth_run_start(struct auth_run *run, str mechanism, bool has_initial, str initial);
void auth_run_respond(struct auth_run *run, str response);
void auth_run_password(struct auth_run *run, str user, str password);
void auth_run_cancel(struct auth_run *run); /* the session ends or the client cancelled */

/* Frames AUTH_RESULT and AUTH_SALT belong here. 0, -EBADMSG. A request nobody waits for is fine (the session has gone).
 */
int auth_client_frame(struct auth_client *c, struct ipc_frame *f);
/* The auth role has gone: every run ends with AUTH_UNAVAILABLE. */
void auth_client_down(struct auth_client *c);
