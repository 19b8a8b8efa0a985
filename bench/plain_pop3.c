/* Posthouse lets nobody log in to POP3 without TLS, and no setting changes that. To measure downloads without TLS, the
 * linker puts this in the place of the engine's constructor (`--wrap`) in a second program that only the bench uses. */
#include "proto/pop3_server.h"

struct pop3_server *__real_pop3_server_new(const struct pop3_server_config *config);
struct pop3_server *__wrap_pop3_server_new(const struct pop3_server_config *config);

struct pop3_server *__wrap_pop3_server_new(const struct pop3_server_config *config)
{
    static struct pop3_server_config plain;
    plain = *config;
    plain.auth_plain_ok = true;
    return __real_pop3_server_new(&plain);
}
