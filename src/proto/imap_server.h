/* The server's side of IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) as a pure machine, used like pop3_server: the
 * owner keeps the input, pulls events, writes the output.
 *
 *     imap_server_next(s, input, &used, &ev);   drop `used` bytes from the front of the input
 *
 * until IMAP_NEED_INPUT, IMAP_NEED_REPLY, IMAP_NEED_DRAIN or IMAP_EV_CLOSE. The engine reads lines and literals, asks
 * for literals ("+ "), parses (imap_command.h), knows the state, and does by itself CAPABILITY, LOGOUT, ID, ENABLE,
 * NAMESPACE, STARTTLS, the continuations of AUTHENTICATE, IDLE and APPEND, and every error of syntax or state. What
 * concerns mailboxes is IMAP_COMMAND: the owner writes untagged responses into imap_server_output() and ends it with
 * imap_server_done(). Feeding whole or byte by byte gives the same events and output. Pipelined input waits while a
 * command runs (RFC 9051 5.5: in order). */
#pragma once
#include "proto/imap_command.h"

#define IMAP_OUTPUT_HIGH ((size_t)64 * 1024)  /* the engine stops there; so should the owner */
#define IMAP_OUTPUT_MAX ((size_t)4 * 1024 * 1024) /* beyond it the session is broken and closes */
#define IMAP_LINE_MAX ((size_t)64 * 1024)     /* of one line of a command */
#define IMAP_COMMAND_MAX ((size_t)256 * 1024) /* of a command with its literals; before log-in 16 KiB */

struct imap_server_config {
    str hostname;
    bool starttls;       /* offer STARTTLS while TLS is off */
    bool auth_plain_ok;  /* LOGIN and AUTHENTICATE without TLS (else LOGINDISABLED) */
    bool literal_minus;  /* LITERAL- instead of LITERAL+ (RFC 7888) */
    bool compress;       /* offer COMPRESS=DEFLATE */
    uint64_t append_limit; /* APPENDLIMIT, RFC 7889; over it NO [TOOBIG], without reading a synchronizing literal */
    uint32_t errors_max; /* BAD replies and failed log-ins before the session is closed with BYE, counted anew at
                            log-in; 0: no limit */
};

enum imap_event_kind {
    IMAP_NEED_INPUT, IMAP_NEED_REPLY, IMAP_NEED_DRAIN,
    IMAP_CONNECT,       /* (reply) imap_server_greet(), or _shutdown() */
    IMAP_EV_STARTTLS,   /* (reply) "OK" is in the output: flush, drop unused input, handshake, _tls_started() */
    IMAP_EV_COMPRESS,   /* (reply) "OK" is in the output: flush it, then both directions are deflated; _compressed(),
                           or _compress_failed() before anything was flushed to take the OK back */
    IMAP_EV_LOGIN,      /* (auth) ev.user, ev.data password */
    IMAP_EV_AUTH,       /* (auth) ev.user mechanism, ev.data initial response decoded, ev.has_data */
    IMAP_EV_AUTH_RESPONSE, /* (auth) ev.data decoded; ev.cancelled: forget the exchange */
    IMAP_COMMAND,       /* (reply) ev.command: imap_server_done(). NOOP and CHECK come as commands too */
    IMAP_EV_IDLE,       /* IDLE began, "+ idling" is written: the owner may write updates any time between events */
    IMAP_EV_IDLE_END,   /* (reply) DONE came: imap_server_done(). Something else may have come: the engine then makes
                           the reply BAD whatever it is told */
    IMAP_EV_APPEND,     /* (reply) one message of APPEND: ev.append. imap_server_append_go(), which asks for the
                           literal, or imap_server_append_refuse(), after which the rest of the command is swallowed */
    IMAP_EV_APPEND_DATA, /* ev.data: the next piece of it; it lies in the input, use it before that is dropped */
    IMAP_EV_APPEND_MESSAGE_END, /* that literal is complete; another IMAP_EV_APPEND may follow */
    IMAP_EV_APPEND_END, /* (reply) the command is complete, with all its messages: imap_server_done() */
    IMAP_EV_APPEND_CANCEL, /* syntax error or refusal after some came: drop all of them; the engine has answered */
    IMAP_EV_SEARCH_REFUSED, /* SEARCH RETURN (SAVE) was answered NO: the saved result is empty now (RFC 5182 2.1) */
    IMAP_EV_ID,         /* ev.command->id: who the client says it is, for the log; already answered */
    IMAP_EV_CLOSE,      /* write output, close */
};

/* Slices and ev.command belong to the engine and are good until the event is answered (those without an answer: until
 * the next call). */
struct imap_event {
    enum imap_event_kind kind;
    str user, data;
    bool has_data, cancelled;
    const struct imap_command *command;
    const struct imap_append *append;
};

struct imap_server;
struct imap_server *imap_server_new(const struct imap_server_config *config); /* must outlive it; NULL without memory */
void imap_server_free(struct imap_server *s);
void imap_server_next(struct imap_server *s, str in, size_t *out_used, struct imap_event *out);
struct buf *imap_server_output(struct imap_server *s);
/* Gives the buffers and the arena back if the session is between commands or in IDLE, and does nothing otherwise: an
 * idle session then holds less than 1 KiB. Slices of the last event end with it. */
void imap_server_rest(struct imap_server *s);

void imap_server_greet(struct imap_server *s);
void imap_server_tls_started(struct imap_server *s); /* all is as after the greeting; also for implicit TLS */
void imap_server_compressed(struct imap_server *s);
void imap_server_compress_failed(struct imap_server *s);
void imap_server_set_mechanisms(struct imap_server *s, str mechanisms); /* "PLAIN LOGIN SCRAM-SHA-256"; lives as long */
void imap_server_auth_challenge(struct imap_server *s, str challenge);
/* code: "AUTHENTICATIONFAILED", "UNAVAILABLE", "PRIVACYREQUIRED", "LIMIT", … */
void imap_server_auth_failed(struct imap_server *s, str code, str text);
void imap_server_logged_in(struct imap_server *s); /* OK [CAPABILITY …] */

enum imap_result { IMAP_OK, IMAP_NO, IMAP_BAD };
/* The tagged reply. code without brackets ("READ-WRITE", "APPENDUID 1 2"), or empty. */
void imap_server_done(struct imap_server *s, enum imap_result result, str code, str text);
/* SELECT and CLOSE change it; the owner says so before imap_server_done(). */
void imap_server_set_selected(struct imap_server *s, bool selected);
/* The saved result of SEARCH is the owner's. */
void imap_server_append_go(struct imap_server *s);
void imap_server_append_refuse(struct imap_server *s, str code, str text);
/* BYE, then close. text "": close without a word. code may be empty ("UNAVAILABLE", …). */
void imap_server_shutdown(struct imap_server *s, str code, str text);

/* What the client has turned on (RFC 5161): CONDSTORE also by a command that enables it (RFC 7162 3.1). */
bool imap_server_rev2(const struct imap_server *s);
bool imap_server_utf8(const struct imap_server *s);      /* UTF8=ACCEPT or IMAP4rev2: names and strings in UTF-8 */
bool imap_server_condstore(const struct imap_server *s);
bool imap_server_qresync(const struct imap_server *s);
bool imap_server_idling(const struct imap_server *s);
/* The tag and verb of the command under way, for INPROGRESS; empty if none. */
str imap_server_tag(const struct imap_server *s);
