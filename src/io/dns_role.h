/* Role dns: the one process that talks to resolvers. It validates what they say (RFC 4033) and keeps the one DNS cache;
 * the others ask it through io/dns_client.h. */
#pragma once

/* Runs it until the master tells it to stop. Exit status. */
int dns_role_run(void);
