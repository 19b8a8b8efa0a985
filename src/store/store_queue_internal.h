/* What the files of the queue share.
 *
 * store_queue.c        start, configuration, schedule and index, leasing jobs
 * store_queue_via.c    mechanisms: who does them, their destinations, what a command is told of the client
 * store_queue_result.c results: what is journalled, and what follows once it is durable
 * store_queue_dsn.c    DSN that are owed
 * store_queue_message.c messages in memory
 * store_queue_change.c  what an administrator changes; store_queue_query.c: what he asks
 *
 * Invariants
 * 1. A recipient is in memory (in the schedule or in a job) exactly if it is not held, not final, and its row
 *    (due, message, index) at or before `loaded`, or, of messages that came since this reading of the index began
 *    (over `load_lsn`: they do not wait for its end), due until `load_until_us`; but for what `overflow` left out,
 *    which is found in the index later.
 * 2. A message whose record is not in the index yet (store_committed) is in `messages`. */
#pragma once
#include "store/index_queue.h"
#include "store/store_internal.h"
#include "store/store_queue.h"

#define QUEUE_TEXT_MAX 2000
#define QUEUE_STATUS_MAX 16
#define QUEUE_REPLIES 3
#define QUEUE_DSN_BYTES 40000 /* of one DSN's recipients: they fit in a frame */

struct queue_message { /* in memory while it is being sent, and after that as long as there is room */
    struct index_queue_message m;
    char log[LOG_NAME_MAX]; /* what m.log points to */
    struct index_queue_recipient *list;
    size_t n;
    size_t size;
    uint32_t jobs, left;   /* open jobs; recipients that are not final */
    struct queue_message *older, *newer;
};

struct queue_item { uint32_t index, attempts; bool warned, held, decided, again; uint64_t due; };

struct queue_open { /* a job */
    uint64_t id;
    uint32_t destination;
    uint64_t message, born;
    struct queue_message *detail; /* NULL: attached, not looked up yet */
    uint32_t group;
    uint8_t priority;
    enum queue_worker worker;
    bool bounce, attached;        /* attached: known to the worker */
    bool reread;                  /* its rows were not loaded yet when it was given out: see queue_release() */
    uint64_t ticket;              /* its result is durable with that LSN; 0: none yet */
    enum schedule_verdict verdict;
    struct queue_open *next_done;
    uint32_t n;
    struct queue_item items[];
};

struct queue_reply { str text; uint64_t at_us, count; char bytes[240]; };
struct queue_destination { /* what is remembered of one for its owner to see */
    uint64_t sent, deferred, failed, site_failures, connections, reused;
    uint64_t connect_ms, tls_ms, tls_n, transfer_ms, transfer_n;
    struct queue_reply replies[QUEUE_REPLIES];
    char last_error[240], last_mta[240];
    uint64_t last_us;
};

struct queue_owed { /* a DSN */
    uint64_t event, message, asked_ms, since_lsn; /* not asked for before that record is durable */
    uint8_t kind;
    bool made, told; /* made: the record that says so is staged */
};

struct queue {
    struct queue_hooks hooks;
    bool started, overflow;
    bool attached[QUEUE_WORKERS];
    const struct conf *conf;
    struct schedule *schedule;
    struct schedule_config times;
    uint64_t wall_base_us, mono_base_ms;
    uint64_t next_sweep_ms;
    struct index_queue_due loaded;    /* read from the index up to here, while `loading` until load_until_us */
    bool loading;
    uint64_t load_until_us, load_lsn;
    struct map messages;              /* LSN -> struct queue_message */
    struct queue_message *oldest, *newest;
    size_t messages_size;
    struct map jobs;                  /* id -> struct queue_open */
    struct queue_open *done, **done_end; /* with a ticket, in its order */
    struct map destinations;          /* key -> struct queue_destination */
    struct map owed;                  /* event -> struct queue_owed */
    unsigned dsn_asked;
    bool owed_overflow, owed_new, owed_waits; /* waits: for its record to be durable */
    uint64_t owed_next_ms;
    struct map ended;                 /* ids of jobs that ended while nobody was there to be told */
    struct map paused;                /* keys; values are not used */
    struct { char log[LOG_NAME_MAX]; size_t log_n; uint64_t segment, used; int fd; } files[8];
    uint64_t file_use;
    struct arena scratch;
    struct store_queue_stats stats;
};

/* store_queue.c */
struct queue *queue_new(const struct env *env);
void queue_free(struct queue *q);
uint64_t queue_now_ms(const struct store *s);  /* wall clock without its jumps: of the schedule */
static inline uint64_t queue_us(uint64_t ms) { return ms * 1000; } /* such a moment as the journal has it */
bool queue_in_memory(const struct queue *q, uint64_t due_us, uint64_t message, uint32_t index); /* by `loaded` */
struct queue_to { str sender, address, redirect, via, user; }; /* a recipient; sender: of the message */
static inline struct queue_to queue_to(const struct index_queue_message *m, const struct index_queue_recipient *r)
{
    return (struct queue_to){ m->sender, r->address, r->redirect, r->via, r->user };
}
/* The destination of a recipient: key and limits in the schedule. 0 or -ENOMEM. */
int queue_destination_of(struct store *s, const struct queue_to *to, uint32_t *out);
/* the same as text */
int queue_destination_key(struct store *s, const struct queue_to *to, struct buf *out);
bool queue_any_attached(const struct queue *q);
int queue_schedule(struct store *s, const struct index_queue_item *i);
int queue_load_all(struct store *s); /* ends `loading` */
bool queue_is_open(const struct queue *q, uint64_t message, uint32_t index); /* in a job */
/* Takes everything that waits out of memory and reads it again, in steps. */
void queue_reload(struct store *s);
void queue_tell(struct store *s, const struct queue_message *m, const struct index_queue_recipient *r,
                struct queue_event *e);
struct queue_destination *queue_memory_of(struct queue *q, str key); /* made if missing; NULL without memory */
/* A segment for reading, kept open for a while; -1. */
int queue_file(struct store *s, str log, uint64_t segment);
void queue_file_forget(struct store *s, str log, uint64_t segment);

uint64_t queue_durable(const struct store *s); /* records up to here are durable and came into effect */

/* store_queue_via.c */
enum queue_worker queue_worker_of(str via); /* n == 0: QUEUE_SENDS */
/* Key and limits of the destination of a mechanism. */
void queue_via_destination(const struct queue_to *to, struct buf *key, struct schedule_limits *out);
/* Of a job that runs a command: what the message's record says of the client, in the arena. What cannot be read stays
 * empty. */
void queue_via_client(struct arena *a, const struct index_queue_message *m, struct queue_job *j);

/* store_queue_message.c */
int queue_message_add(struct queue *q, const struct index_queue_message *m, const struct index_queue_recipient *list,
                      size_t n, struct queue_message **out);
/* From memory or the index. 1, 0 (it is not there any more), negative errno. */
int queue_message_get(struct store *s, uint64_t lsn, struct queue_message **out);
struct queue_message *queue_message_find(const struct queue *q, uint64_t lsn);
struct index_queue_recipient *queue_message_recipient(struct queue_message *m, uint32_t index);
/* compaction may have: looks again. 1, 0, negative */
int queue_message_moved(struct store *s, struct queue_message *m);
void queue_message_drop(struct queue *q, struct queue_message *m);
void queue_messages_trim(struct store *s); /* what is in the index and not being sent makes room */

/* store_queue_result.c */
/* The batch of these records is durable: what was told with it comes into effect. */
struct queued_note {
    uint64_t lsn;
    const struct journal_delivered *delivered; /* in the batch's arena */
    struct queued_note *next;
};
int queue_published(struct store *s, const struct batch *b);
/* The part of the event that the next recipient's DSN of that kind goes to. */
struct queue_parts { uint8_t part[QUEUE_DSN_KINDS], next; size_t size[QUEUE_DSN_KINDS]; };
uint8_t queue_part(struct queue_parts *p, uint8_t kind, size_t bytes);
size_t queue_dsn_bytes(const struct index_queue_recipient *r, str text); /* about what it takes there */
/* The DSN that is owed for an outcome: enum queue_dsn_kind + 1, or 0. */
uint8_t queue_owes(uint8_t outcome, uint8_t notify, bool bounce, bool last_resort);
/* Puts the items of a job back, due then, and forgets it. */
void queue_release(struct store *s, struct queue_open *o, enum schedule_verdict verdict, uint64_t due);
void queue_again(struct store *s, struct queue_open *o, const struct queue_item *i, uint64_t due); /* one of them */
/* Of recipients of one message at one destination, at most that many: one record, so one notice. */
#define QUEUE_TOLD_MAX 256
int queue_stage_told(struct store *s, enum schedule_told what, const struct schedule_item *items, size_t n, str key);

/* store_queue_dsn.c */
int queue_owe(struct store *s, uint64_t event, uint64_t message, uint8_t owed);
void queue_owed_made(struct store *s, uint64_t event);
int queue_dsn_look(struct store *s, uint64_t message, uint64_t event, bool *out_owed); /* is it still to be made? */
void queue_dsn_staged(struct store *s, uint64_t event); /* the record that it is made */
int queue_dsn_run(struct store *s, uint64_t now);
uint64_t queue_dsn_wait(const struct store *s, uint64_t now);
int queue_owed_load(struct store *s);
/* The postmaster of this host. */
str queue_postmaster(struct store *s, struct arena *a);
