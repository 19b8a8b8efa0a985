/* Questions about mailboxes and their answers: what `posthouse mailbox` asks role store (ASK of io/messages.def).
 *
 * A question is fields as in an event line (base/event.h), first `mailbox=WORD`, then account=A; an answer is lines,
 * each a JSON object, the last of them {"end":true} with "after":"TEXT" if there is more: ask again with after=TEXT
 * added. What went wrong is {"error":"a sentence"}.
 *
 *   mailbox=list           a line a mailbox or subscribed name: name id subscribed use uidvalidity uidnext messages
 *                          unseen deleted recent bytes deleted_bytes modseq (without a mailbox only the first three)
 *   mailbox=status name=N  that line, and account used_bytes used_messages quota_bytes quota_messages (0: no limit)
 *   mailbox=messages name=N a line a message in the order of UIDs: uid flags (IMAP_SEEN …) keywords (with blanks
 *                          between) date zone (seconds, minutes) log segment offset content_len meta_len, prefix in
 *                          base64
 *   mailbox=open name=N    the mailbox is made if it is missing, with the levels above it: account id created (0, 1)
 *   mailbox=create name=N, delete name=N, rename name=N to=M
 *   mailbox=attach first=SEGMENT [at=SEGMENT:END]…  of the log "import", which the command wrote: what lies in segments
 *                          below `first` and what is durable of the others is placed. Answered when it is */
#pragma once
#include "io/role.h"
#include "store/store.h"

#define IMPORT_LOG S("import") /* written by the command, one process at a time; see there */

/* 0 with the lines in *out and *out_ok, or an error of the store. Changes are durable when it returns. */
int mailbox_query(struct store *s, str question, struct buf *out, bool *out_ok);
/* Is it for mailbox_query(), or for queue_query()? */
bool mailbox_query_is(str question);
