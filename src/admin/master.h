/* The master: binds sockets, compiles the configuration in a child, starts the roles with what they may have as
 * descriptors, restarts one that dies, carries reload and status. It reads nothing from the network. Shared by master.c
 * (roles), master_setup.c (sockets and folders) and master_control.c (reload, status). */
#pragma once
#include <sys/types.h>
#include "admin/compile.h"
#include "io/role.h"

struct master;

#define HOST_KEY "host.key" /* in the data folder */

enum master_state { MASTER_ROLE_DOWN, MASTER_ROLE_STARTING, MASTER_ROLE_READY, MASTER_ROLE_STOPPED };

struct master_role {
    struct master *master;
    enum role_id id;
    pid_t pid;
    enum master_state state;
    struct ipc_link link;
    struct loop_timer restart, grace;
    uint64_t started_at, applied;
    uint64_t asked, answered;       /* the newest status request it got, and answered */
    uint32_t restarts, bugs;        /* bugs: deaths by a signal that says so */
};

struct master_socket { int fd; uint32_t listener; };

struct control_client { /* waits for its answer */
    struct loop_io io;
    struct master *master;
    struct loop_timer timer;
    uint64_t generation;     /* reload: until all roles have it */
    uint64_t request;        /* status */
    bool compacting;         /* waits for the store alone */
    enum role_id asks;       /* a question for this role alone; ROLE_MASTER: none */
    uint32_t outstanding;
    struct buf text;
    struct control_client *next;
};

struct master {
    const char *config_path;
    struct loop *loop;
    struct events events;
    int data_fd, blob_fd, base_fd;    /* base_fd: folder of the configuration file */
    int drop_fd;                      /* the drop (session/drop.h), open with O_PATH */
    struct compiled config;
    uint64_t generation;
    uid_t uid; gid_t gid;             /* the one user of all roles, or the master's own */
    bool drop;                        /* roles change their user: started by root, or one user for each role */
    struct { uid_t uid; gid_t gid; } as[ROLE_COUNT];
    char user[64];
    struct master_socket sockets[ROLE_LISTENERS_MAX]; size_t n_sockets;
    struct master_role roles[ROLE_COUNT];
    struct loop_io signal_io, control_io, watch_io;
    struct control_client *clients;
    struct loop_timer stop_timer, watch_timer;
    uint64_t started_us, last_request;
    uint64_t careful_until;           /* loop_now(): so long smtp-in makes no cards; 0 it does */
    bool ready_said, stopping;
    int status;                       /* exit status */
};

/* master_setup.c. All: 0, or negative after a complaint on standard error. */
int master_user(struct master *m);     /* whom roles run as */
int master_folders(struct master *m);  /* data folder and those below it */
int master_bind(struct master *m);     /* listening sockets */
/* master_drop.c. The drop, made and given to role smtp-in; without it the server runs all the same, after a
 * complaint. */
void master_drop_folder(struct master *m);
/* Folder of a role below the data folder, opened; -1: it has none. */
int master_role_folder(struct master *m, enum role_id id);
int master_open_file(struct master *m, str path); /* relative to the configuration's folder */

/* master.c */
int master_start(struct master *m);    /* all roles */
/* Sends the current generation (files first, then blob, then "apply") to a role. */
void master_send_config(struct master *m, struct master_role *r);
/* Certificate and key alone, to a role that speaks TLS (nothing for others). */
void master_send_tls(struct master *m, struct master_role *r);
uint64_t master_careful_ms(const struct master *m); /* so long smtp-in makes no cards */
void master_stop(struct master *m);
void master_reap(struct master *m);    /* SIGCHLD */

/* master_control.c */
int master_control_open(struct master *m);
void master_control_applied(struct master *m);              /* a role has taken a generation */
/* A role goes on with the generation before this one. Whoever waits for it is told why. */
void master_control_refused(struct master *m, enum role_id role, uint64_t generation, str why);
void master_control_status(struct master *m, uint64_t request, str fields);
void master_control_answer(struct master *m, enum role_id from, uint64_t request, bool ok, str text);
/* A role has ended: whoever waits for its status goes without. */
void master_control_gone(struct master *m, const struct master_role *r);
void master_reload(struct master *m, struct control_client *who); /* who NULL: SIGHUP */

/* master_watch.c */
int master_watch_open(struct master *m); /* watches the TLS files */
