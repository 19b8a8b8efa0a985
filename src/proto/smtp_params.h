/* Parameters of MAIL FROM and RCPT TO (RFC 5321 4.1.2, 1870, 6152, 6531, 4954 5). */
#pragma once
#include "proto/smtp_reply.h"
#include "proto/smtp_server.h"

/* Reads what stands behind the path of MAIL. SMTP_REPLY_NONE, or the reply that refuses. The value of AUTH= is decoded
 * into `scratch`, to which out->auth then points. */
enum smtp_reply_id smtp_mail_params_parse(const struct smtp_server_config *config, str args, struct buf *scratch,
                                          struct smtp_mail_params *out);
/* The same for RCPT, which knows no parameters yet. */
enum smtp_reply_id smtp_rcpt_params_parse(str args);

/* Reads the attributes of XCLIENT, at least one, none twice, decoded into `scratch`. 0, or -EBADMSG (unknown attribute,
 * LOGIN among them: only a log-in names an account), or the buf's error. */
int smtp_xclient_parse(bool lmtp, str args, struct buf *scratch, struct smtp_xclient *out);

/* xtext of RFC 3461 4: 0, or -EBADMSG (nothing appended), or the buf's error. */
int smtp_xtext_decode(struct buf *out, str in);
