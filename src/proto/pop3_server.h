/* The server's side of POP3 as a pure machine (RFC 1939, 2449 CAPA, 2595 STLS, 3206 AUTH-RESP-CODE, 5034 SASL, 6856
 * UTF8). Used like smtp_server: owner keeps the input, pulls events, writes the output. The engine keeps the maildrop's
 * table that the owner hands over (sizes and unique ids), does STAT, LIST, UIDL, DELE, RSET, NOOP, LAST itself and asks
 * for content only.
 *
 *     pop3_server_next(s, input, &used, &ev);   drop `used` bytes from the front of the input
 *
 * until POP3_NEED_INPUT, POP3_NEED_REPLY, POP3_NEED_DRAIN or POP3_CLOSE; write out pop3_server_output(s) whenever it is
 * not empty. Feeding the input whole or byte by byte gives the same events and output (POP3_NEED_INPUT and
 * POP3_NEED_DRAIN left aside). Events marked (reply), (auth), (content) stop the engine until they are answered;
 * pipelined input waits meanwhile. An answer that fits no waiting event is ignored, so an answer may come late, after
 * pop3_server_shutdown(). */
#pragma once
#include "base/buf.h"

/* The engine stops at POP3_OUTPUT_HIGH bytes of unwritten output; by itself it never has more than 64 KiB. Only content
 * may take the output further: a piece grows by at most a half plus 8 bytes. Beyond POP3_OUTPUT_MAX the session is
 * broken and closes. */
#define POP3_OUTPUT_HIGH ((size_t)32 * 1024)
#define POP3_PIECE_MAX   ((size_t)128 * 1024) /* feed at most so much between two writes */
#define POP3_OUTPUT_MAX  ((size_t)256 * 1024)

struct pop3_server_config {
    str hostname;
    bool stls;           /* offer STLS while TLS is off */
    bool auth_plain_ok;  /* allow USER/PASS and AUTH without TLS (never set by default) */
    str auth_mechanisms; /* "PLAIN LOGIN SCRAM-SHA-256"; "": no AUTH */
    uint32_t line_max;   /* 255 octets with CRLF, RFC 2449 4; lines of AUTH have their own, 12288 (RFC 5034 4) */
    uint32_t errors_max; /* so many -ERR replies before login, or after it, then close; 0: no limit */
    bool utf8;           /* offer UTF8 (6856) */
    uint32_t expire_never; /* CAPA EXPIRE NEVER */
};

enum pop3_event_kind {
    POP3_NEED_INPUT,    /* everything in the input is used up or an incomplete line */
    POP3_NEED_REPLY,    /* waiting for an answer to the last event */
    POP3_NEED_DRAIN,    /* POP3_OUTPUT_HIGH bytes or more wait in the output: write some, then call again */
    POP3_CONNECT,       /* (reply) first event: pop3_server_greet(), or _shutdown() to turn the client away */
    POP3_STLS,          /* (reply) "+OK" is in the output: flush, drop unused input, handshake, _tls_started() */
    POP3_PASSWORD,      /* (auth) ev.user, ev.data password: USER/PASS were given */
    POP3_AUTH,          /* (auth) ev.user mechanism (as configured), ev.data initial response decoded, ev.has_data */
    POP3_AUTH_RESPONSE, /* (auth) ev.data decoded; with ev.cancelled ("*", or no base64: engine answered -ERR) there
                           is no answer to give, only the exchange to forget */
    POP3_RETRIEVE,      /* (content) ev.index; ev.top, ev.lines; ev.utf8 mode on: pop3_server_content_begin() */
    POP3_UPDATE,        /* (reply) QUIT with deletions to do: pop3_server_deleted() lists them; _update_done() */
    POP3_CLOSE,         /* write output, close */
};

/* Slices in an event belong to the engine and are good until the event is answered; ev.data (a password, a response) is
 * wiped then. (auth) events are answered by one of pop3_server_auth_challenge(), _auth_failed(), _opened(). */
struct pop3_event {
    enum pop3_event_kind kind;
    str user, data;
    bool has_data, cancelled, top, utf8;
    size_t index;        /* 0-based */
    uint64_t lines;
};

/* size in octets as sent: CRLF, before dot-stuffing, with the CRLF that the engine adds to content that does not end
 * with one */
struct pop3_message { uint64_t size; uint32_t uid; };

struct pop3_server;
/* config must outlive it; NULL without memory */
struct pop3_server *pop3_server_new(const struct pop3_server_config *config);
void pop3_server_free(struct pop3_server *s);
void pop3_server_next(struct pop3_server *s, str in, size_t *out_used, struct pop3_event *out);
/* Bytes not yet written; buf_drop() what was sent. */
struct buf *pop3_server_output(struct pop3_server *s);

void pop3_server_greet(struct pop3_server *s);
/* All state is as after the greeting (RFC 2595 4). Also for implicit TLS, before the first next(). */
void pop3_server_tls_started(struct pop3_server *s);
/* Offers these instead of those of the config: they may depend on the client's TLS. Live as long as the engine. */
void pop3_server_set_mechanisms(struct pop3_server *s, str mechanisms);
void pop3_server_auth_challenge(struct pop3_server *s, str challenge); /* "+ base64"; not for POP3_PASSWORD */
/* Wrong credentials or trouble: code is "AUTH", "SYS/TEMP", "SYS/PERM", "IN-USE", "LOGIN-DELAY" or "" (RFC 2449 8,
 * 3206). Control characters in text are replaced by '?', and it is cut so that the line has 512 octets at most. */
void pop3_server_auth_failed(struct pop3_server *s, str code, str text);
/* Logged in and the maildrop is open. The table must stay valid until free; uidvalidity makes UIDL "uidvalidity.uid".
 * */
void pop3_server_opened(struct pop3_server *s, uint32_t uidvalidity, const struct pop3_message *messages, size_t n);

/* RETR / TOP: begin writes "+OK"; feed any pieces of the message: dot-stuffed into the output; returns false when TOP
 * has all its lines (the rest need not be read); end writes the final ".". A message that cannot be read: refuse ("-ERR
 * [code] text"; code "UTF8" for a message that needs UTF8 mode, RFC 6856 5). */
void pop3_server_content_begin(struct pop3_server *s);
bool pop3_server_content_feed(struct pop3_server *s, str piece);
void pop3_server_content_end(struct pop3_server *s);
void pop3_server_content_refuse(struct pop3_server *s, str code, str text);
/* The message breaks off in the middle (read error): output must not look complete; the session closes. */
void pop3_server_content_abort(struct pop3_server *s);

bool pop3_server_deleted(const struct pop3_server *s, size_t index);
void pop3_server_update_done(struct pop3_server *s, bool ok);
/* Ends the session (timeout: text "", without answering, RFC 1939 3; shutdown: with "-ERR [SYS/TEMP] text", which is
 * left out in the middle of a multi-line response). Nothing is deleted. */
void pop3_server_shutdown(struct pop3_server *s, str text);
