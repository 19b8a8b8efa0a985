/* MAIL and RCPT as an SMTP client writes them, with the parameters that the peer offers to take (RFC 5321 4.1.2, 1870,
 * 3461, 6152, 6531, 6533, 8689). */
#pragma once
#include "proto/smtp_client.h"

/* utf8: the transaction is one of SMTPUTF8. */
void smtp_client_say_mail(struct buf *out, const struct smtp_client_caps *caps, const struct smtp_client_mail *m,
                          bool utf8);
void smtp_client_say_rcpt(struct buf *out, const struct smtp_client_caps *caps, const struct smtp_client_rcpt *r,
                          bool utf8);

/* xtext of RFC 3461 4; the buf's error. */
int smtp_xtext_encode(struct buf *out, str in);
/* An ORCPT value "type;address" (address not encoded) as it stands behind "ORCPT=": xtext, or for type utf-8 and an
 * address that is not ASCII the forms of RFC 6533 3. Nothing is added, and false returned, if it is no such value. */
bool smtp_orcpt_encode(struct buf *out, str orcpt, bool utf8);
