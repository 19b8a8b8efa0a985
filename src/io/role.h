/* What every role has in common: the link to the master, configuration and directory of a generation, folders and files
 * passed as descriptors, listening sockets, links to the other roles. A role supplies a table of functions and is run
 * by role_run(). */
#pragma once
#include "conf/conf.h"
#include "conf/directory.h"
#include <sys/socket.h>
#include "io/events.h"
#include "io/ipc.h"
#include "io/sandbox.h"

#define ROLE_LISTENERS_MAX 64

struct role;

/* One generation of configuration and directory; transactions that began with it keep it alive. */
struct role_config {
    uint64_t generation;
    char *map; size_t map_size;
    struct arena arena;
    const struct conf *conf;
    struct directory directory;
    uint32_t refs;
};
struct role_config *role_config_ref(struct role_config *c);
void role_config_unref(struct role_config *c);

struct role_listener {
    struct loop_io io;
    struct loop_timer rest;  /* runs while no descriptor or memory is left for a connection */
    struct role *role;
    enum conf_service service; char address[CONF_ENDPOINT_MAX]; uint16_t port;
    uint32_t index;          /* of conf->listeners in the current generation */
    const struct conf_listener *conf; /* NULL: no longer in the configuration, connections are refused */
};

struct role_ops {
    enum role_id id;
    bool unconfined;       /* role mda alone: no sandbox and no no_new_privs, as what it starts would have them too */
    void (*prepare)(void); /* what libraries load at their first use: called before the sandbox closes; may be NULL */
    /* All that was announced has arrived: open what is needed, say ready. Negative errno ends the role. */
    int (*start)(struct role *r);
    /* A new generation is in r->config (also called before start). Negative: refuse it, the old one stays, and the
     * master is told so at once, with the reason if role_refuse() gave one. */
    int (*configure)(struct role *r);
    int (*file)(struct role *r, str name, int fd); /* fd is closed afterwards unless taken by dup; may be NULL */
    void (*accept)(struct role *r, struct role_listener *l, int fd,
                   const struct sockaddr *peer); /* fd is the role's; may be NULL */
    int (*frame)(struct role *r, enum role_id peer, struct ipc_frame *f);
    void (*peer_up)(struct role *r, enum role_id peer);        /* may be NULL */
    void (*peer_down)(struct role *r, enum role_id peer);      /* may be NULL */
    void (*status)(struct role *r, struct buf *out);           /* event fields */
    void (*stop)(struct role *r);                              /* finish soon, then loop_stop(); may be NULL */
};

struct role {
    const struct role_ops *ops;
    const struct env *env;
    struct loop *loop;
    struct events events;
    struct ipc_link master;
    struct ipc_link peer[ROLE_COUNT];
    struct loop_timer lonely; /* runs while a neighbour is missing */
    struct role_config *config, *next_config;
    int data_dir;            /* the role's own folder, -1 none */
    int drop_dir;            /* the drop (session/drop.h), -1 none */
    struct sandbox sandbox;
    struct role_listener listeners[ROLE_LISTENERS_MAX]; size_t n_listeners;
    struct buf refusal;      /* why configure() refuses */
    bool started, stopping, accept_paused;
    void *self;              /* the role's own state */
};

#define ROLE_CONTROL_FD 3

/* Runs a role on the master's link (descriptor ROLE_CONTROL_FD) until it is told to stop or the master is
 * gone. self is kept in role->self. Exit status. */
int role_run(const struct role_ops *ops, void *self);
/* For configure(), which is going to refuse: the reason, as `posthouse reload` prints it. */
void role_refuse(struct role *r, str why);
/* The place of the listener with this service, address and port in another generation. -1: it has none. */
ptrdiff_t role_find_listener(const struct conf *c, enum conf_service service, const char *address, uint16_t port);
static inline struct ipc_link *role_peer(struct role *r, enum role_id id) { return &r->peer[id]; }
/* Answers ASK of the master. Of a longer text the beginning is sent: lists come in pages. */
#define ROLE_ANSWER_MAX 56000
void role_answer(struct role *r, uint64_t request, bool ok, str text);
/* Stops and resumes accepting (too many connections, no descriptors). */
void role_pause_accept(struct role *r, bool pause);
