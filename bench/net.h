/* What the load generators share: connections to 127.0.0.1 on one epoll set, with TLS or without, and their clock. */
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct net {
    int fd;
    SSL *ssl;
    bool handshaking;
    uint32_t watched;  /* epoll events */
    const char *out;   /* what is to be sent; net_push() moves it on. Must live until it is gone */
    size_t out_n;
    char *in;          /* the owner's; net_pull() appends */
    size_t in_n, in_cap;
    void *owner;
};

enum net_got { NET_NOTHING, NET_INPUT, NET_END };

/* Prints `PROGRAM: what: error` and ends the program with status 2. */
_Noreturn void net_fail(const char *what);
/* Once, before everything else: the epoll set, as many descriptors as are allowed. */
void net_init(void);
/* Begins to connect to 127.0.0.1:port. from 0: from 127.0.0.1; else each number has an address of its own. */
void net_open(struct net *c, unsigned port, unsigned from);
/* Begins a TLS handshake, without resumption and without looking at the certificate; net_pull() goes on with it. */
void net_start_tls(struct net *c);
void net_close(struct net *c);
/* Sends of `out` what the socket takes. False: the connection is lost. */
bool net_push(struct net *c);
/* Goes on with a handshake, or reads once. To be called until it says NET_NOTHING or NET_END. */
enum net_got net_pull(struct net *c);
/* Waits 100 ms at most for events; calls ready() with the owner of each connection that has some. */
void net_wait(void (*ready)(void *owner));

double net_now(void);      /* CLOCK_MONOTONIC in seconds */
double net_cpu(void);      /* seconds of CPU of this process */
