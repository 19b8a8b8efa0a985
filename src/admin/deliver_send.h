/* `posthouse deliver --to smtp:… | lmtp:…`: one message to one server, now, without a queue. TLS where it is offered,
 * whatever the certificate; to a Unix socket none. */
#pragma once
#include "mda/mda.h"

/* One result for each recipient. host_name: of EHLO. Without a connection all are deferred, 4.4.1. */
void deliver_send(const struct mda_message *m, const struct mechanism *to, str host_name, const str *recipients,
                  size_t n, struct mda_result *results);
/* Whether somebody listens at that Unix socket and lets us in. */
bool deliver_socket_answers(const char *path);
