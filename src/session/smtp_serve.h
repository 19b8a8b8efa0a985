/* SMTP served: the engine (proto/smtp_server) joined to sockets, policy, log-in and the receive log. The MTA (25) and
 * the MSA (587, 465) are two rows of struct smtp_agent; everything else is one road. This is role smtp-in. */
#pragma once
#include "io/conn.h"
#include "message/header.h"
#include "session/auth_client.h"
#include "session/smtp_policy.h"
#include "session/trace_id.h"
#include "store/receive_log.h"

struct smtp_session;

struct smtp_refusal { int code; str enhanced, text; };

/* What makes an agent: how it treats a message's header before its first byte is stored. */
struct smtp_agent {
    const char *name;        /* "mta", "msa" */
    bool msa;
    /* Judges and repairs the header (raw, without the empty line); appends what is to be stored to out. NULL: the
     * header passes as it came. 0; -EACCES with *out_refusal; -ENOBUFS, -ENOMEM. */
    int (*header)(struct smtp_session *s, str header, struct buf *out, struct smtp_refusal *out_refusal);
};

/* What an agent may know of the session whose header it judges. */
struct smtp_message_view {
    struct arena *arena;     /* of the transaction */
    const struct conf *conf;
    const struct directory *directory;
    str sender;              /* canonical, empty for <> */
    str account;
    str id;                  /* "S.n" */
    int64_t unix_s;
};
void smtp_session_view(struct smtp_session *s, struct smtp_message_view *out);
/* Adds a trace event of this session; NULL-safe fields follow on the returned buffer, end with smtp_session_event_end.
 */
struct buf *smtp_session_event(struct smtp_session *s, enum event_level level, const char *name);
void smtp_session_event_end(struct smtp_session *s);

/* Runs role smtp-in. agents: the MTA for listeners `smtp`, the MSA for `submission` and `submissions`. */
int smtp_in_run(const struct smtp_agent *mta, const struct smtp_agent *msa);
