/* Parameters of MAIL FROM and RCPT TO (RFC 5321 4.1.2, 1870, 3461 4, 6152, 6531, 6533 3, 4954 5). */
#pragma once
#include "proto/smtp_reply.h"
#include "proto/smtp_server.h"

/* Reads what stands behind the path of MAIL. SMTP_REPLY_NONE, or the reply that refuses. Values that
 * were decoded are in `scratch`. */
enum smtp_reply_id smtp_mail_params_parse(const struct smtp_server_config *config, str args, struct buf *scratch,
                                          struct smtp_mail_params *out);
/* The same for RCPT. utf8: the transaction has SMTPUTF8, and ORCPT may hold an address beyond ASCII (RFC 6533 3). */
enum smtp_reply_id smtp_rcpt_params_parse(const struct smtp_server_config *config, bool utf8, str args,
                                          struct buf *scratch, struct smtp_rcpt_params *out);

/* Reads the attributes of XCLIENT, at least one, none twice, decoded into `scratch`. 0, or -EBADMSG (unknown attribute,
 * LOGIN among them: only a log-in names an account), or the buf's error. */
int smtp_xclient_parse(bool lmtp, str args, struct buf *scratch, struct smtp_xclient *out);

/* xtext of RFC 3461 4: 0, or -EBADMSG (nothing appended), or the buf's error. */
int smtp_xtext_decode(struct buf *out, str in);
