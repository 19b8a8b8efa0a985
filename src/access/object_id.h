/* Identifiers of RFC 8474, which stay the same wherever and whenever a client sees the message. */
#pragma once
#include "access/box.h"
#include "message/card_text.h"

/* EMAILID: of the content; copies have it too. */
void email_id_put(struct buf *out, const struct box_message *m);
/* THREADID: made of the oldest message id that the message names. False: there is none (NIL). */
bool thread_id_put(struct buf *out, const struct card_text *t);
