/* Questions about the queue and their answers: what `posthouse queue` asks role store (ASK of io/messages.def).
 *
 * A question is fields as in an event line (base/event.h), first `do=WORD`; an answer is lines, each a JSON object, the
 * last of them {"end":true} with "more":NUMBER if there is more: ask again with from=NUMBER added. What went wrong is
 * {"error":"a sentence"}.
 *
 * Which messages: id=LSN (as `queue_id` in the trace), or filters, which must all fit: sender=A recipient=A domain=D
 * (of a recipient) destination=KEY state=waiting|sending|held|final older=SECONDS younger=SECONDS; `<>` is the empty
 * sender. An address is compared without regard to case; `@d` fits every address of d.
 *
 *   do=list          a line a recipient that fits: queue_id session sender recipient [alias] state outcome attempts
 *                    received [next] destination size [code status reply mta tls last] [redirect] [dsn]; times in
 *                    RFC 3339
 *   do=show id=      the message ("message": queue_id session sender envid received size log segment offset …), its
 *                    recipients as above, and their last attempts ("attempt": recipient number time outcome code status
 *                    reply mta tls)
 *   do=retry hold release bounce drop, redirect to=HOST[:PORT] (to= without: no longer)  [by=WHO] [text=WHY of bounce]
 *                    of the recipients that fit: a line {"changed":N,"skipped":M}; skipped: being sent at this moment
 *   do=destinations  [destination=KEY] a line a destination: destination state (alive, dead, paused) window limit
 *                    in_flight waiting ready sent deferred failed site_failures connections reused connect_ms tls_ms
 *                    transfer_ms (averages) probe_at replies (the last three that differ)
 *   do=pause resume  destination=KEY
 *   do=summary       one line: recipients in all by state, the oldest, and the number of destinations */
#pragma once
#include "io/role.h"
#include "store/store.h"

#define QUEUE_ANSWER_MAX ROLE_ANSWER_MAX

/* 0 with the lines in *out and *out_ok, or an error of the store. Changes are durable when it returns. */
int queue_query(struct store *s, str question, struct buf *out, bool *out_ok);
