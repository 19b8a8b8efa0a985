/* Message ids as threads compare them (RFC 5256, section 3: THREAD=REFERENCES). */
#pragma once
#include "base/buf.h"

#define MESSAGE_ID_MAX 998

/* The next id in the value of Message-ID, References or In-Reply-To, folded or not, appended to `out` (once cleared by
 * the caller): without "<" and ">", blanks, and the quotes of its local part. *value moves on. False: there is no
 * further valid one (something on both sides of an "@", no control character, at most MESSAGE_ID_MAX), or the buf
 * failed; nothing is appended then. */
bool message_id_next(str *value, struct buf *out);
