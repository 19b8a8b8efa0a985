/* A client's connection: a non-blocking socket, TLS or not, with an input buffer that is given back while idle. Writing
 * takes from the protocol engine's own output buffer. The owner gets one callback for everything that happened. */
#pragma once
#include <sys/socket.h>
#include "io/loop.h"
#include "io/tls.h"

#define CONN_INPUT_MAX 131072 /* unread input is never held beyond this: reading pauses */
#define CONN_COMMANDS_MAX 16384 /* the same, where only commands are expected: more than the longest line of AUTH */
#define CONN_HEADER_MAX 1024  /* of a header before the protocol */
#define CONN_TLS_IDLE_MAX 20480 /* octets of TLS without data, such as new keys; more than a record has */

enum conn_state { CONN_OPEN, CONN_HANDSHAKE, CONN_CLOSED };

struct conn { /* embedded; zeroed is closed */
    struct loop_io io;
    struct loop_timer again; /* TLS holds bytes that no event will announce */
    struct loop *loop;
    SSL *ssl;
    enum conn_state state;
    struct buf in;          /* received, not yet used: drop what was used */
    bool eof;               /* the client has closed its side */
    bool failed;            /* connection error: close it */
    bool blocked;           /* the last conn_write did not take everything; on() comes when it may go on */
    bool paused;            /* not reading */
    bool drained;           /* TLS has said all it can until the socket has more: a part of a record may be left */
    struct tls_socket tls;
    str tls_scope;          /* static; a ticket is good only where the scope is the same (set before conn_start_tls) */
    size_t input_max;       /* how much unused input makes reading wait; conn_open() sets CONN_INPUT_MAX, and the owner
                               may set less. At most 16 KiB more are held */
    uint64_t tls_read;      /* octets of TLS taken from the socket when data came last */
    uint64_t last_read;     /* loop_now() of the last byte received or sent */
    char address[64];       /* text of the client's address, IPv4-mapped shown as IPv4; "local": a Unix socket. Who the
                               client is said to be, once conn_set_client() was called: the one place that counts */
    uint16_t port;
    bool local;             /* it came through a Unix socket */
    /* Set: nothing is read but what this says belongs to a header before the protocol. It sees what has arrived (at
     * most CONN_HEADER_MAX bytes) and returns how much of that may be taken, which is more than it saw before; the rest
     * stays in the socket. */
    size_t (*header)(str seen);
    void (*on)(struct conn *c);          /* input, end, error, or writable again */
    void (*on_handshake)(struct conn *c, bool ok);
};

/* Takes fd over. */
int conn_open(struct conn *c, struct loop *l, int fd, const struct sockaddr *peer);
void conn_close(struct conn *c);
/* The client is another than the socket says (PROXY, XCLIENT): numeric IPv4 or IPv6. 0 or -EINVAL, nothing changed. */
int conn_set_client(struct conn *c, str address, uint16_t port);
/* Server side handshake; unused input is dropped first (RFC 3207 4.2). on_handshake() tells how it ended. */
int conn_start_tls(struct conn *c, SSL_CTX *ctx);
/* The client's side of it, with a context of tls_client_context(); name and errors as of tls_client_name(). */
int conn_start_tls_client(struct conn *c, SSL_CTX *ctx, str name);
/* Sends from the front of `from` and drops what went. 0 all sent, 1 blocked (on() follows), negative: failed. */
int conn_write(struct conn *c, struct buf *from);
/* Stops or resumes reading. */
void conn_pause(struct conn *c, bool pause);
/* Calls on() once more in the next turn of the loop: there is work left, and others come first. */
void conn_again(struct conn *c);
/* After the owner has dropped used input: gives an empty buffer's memory back. */
void conn_input_used(struct conn *c, size_t n);
