/* Posthouse lets nobody log in to POP3 or IMAP without TLS, and no setting changes that. To measure without TLS, the
 * linker puts these in the place of the engines' constructors (`--wrap`) in a second program that only the bench uses.
 * An engine keeps the pointer to its configuration, so each role's listeners share one copy. */
#include "proto/imap_server.h"
#include "proto/pop3_server.h"

struct pop3_server *__real_pop3_server_new(const struct pop3_server_config *config);
struct pop3_server *__wrap_pop3_server_new(const struct pop3_server_config *config);
struct imap_server *__real_imap_server_new(const struct imap_server_config *config);
struct imap_server *__wrap_imap_server_new(const struct imap_server_config *config);

struct pop3_server *__wrap_pop3_server_new(const struct pop3_server_config *config)
{
    static struct pop3_server_config plain;
    plain = *config;
    plain.auth_plain_ok = true;
    return __real_pop3_server_new(&plain);
}

struct imap_server *__wrap_imap_server_new(const struct imap_server_config *config)
{
    static struct imap_server_config plain;
    plain = *config;
    plain.auth_plain_ok = true;
    return __real_imap_server_new(&plain);
}
