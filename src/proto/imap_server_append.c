/* APPEND in the IMAP engine: messages are not gathered but given out as they come (RFC 9051 6.3.12, RFC 3502). */
#include "proto/imap_engine.h"
#include <errno.h>

void imap_engine_append_drop(struct imap_server *s)
{
    s->append_cancel = s->append_cancel || s->messages > 0;
    s->messages = 0;
}

static void refuse(struct imap_server *s, enum imap_result result, str code, str text,
                   const struct imap_literal *literal)
{
    imap_engine_append_drop(s);
    imap_engine_fail(s, result, code, text);
    imap_engine_skip(s, literal);
}

void imap_engine_append_message(struct imap_server *s, const struct imap_literal *literal, struct imap_event *ev)
{
    uint64_t limit = s->config->append_limit;
    if (s->config->literal_minus && !literal->sync && literal->n > IMAP_MINUS_MAX)
        return refuse(s, IMAP_BAD, S("TOOBIG"), S("A literal of more than 4096 octets must wait for +"), literal);
    if (limit && literal->n > limit)
        return refuse(s, IMAP_NO, S("TOOBIG"), S("The message is larger than a message may be"), literal);
    if (literal->n == 0) /* RFC 3502 6.3.11 */
        return refuse(s, IMAP_NO, STR_NONE, S("A message of no octets cancels APPEND"), literal);
    s->literal_left = literal->n;
    s->literal_sync = literal->sync;
    s->wait = WAIT_APPEND;
    ev->kind = IMAP_EV_APPEND;
    ev->command = s->command;
    ev->append = &s->command->append;
}

void imap_server_append_go(struct imap_server *s)
{
    if (s->wait != WAIT_APPEND)
        return;
    s->wait = WAIT_NONE;
    if (s->messages++ == 0)
        buf_add(&s->mailbox, s->command->append.mailbox);
    s->reading = READ_APPEND;
    if (s->literal_sync)
        buf_add(&s->out, S("+ Ready\r\n"));
}

void imap_server_append_refuse(struct imap_server *s, str code, str text)
{
    if (s->wait != WAIT_APPEND)
        return;
    struct imap_literal literal = { .sync = s->literal_sync, .n = s->literal_left };
    s->wait = WAIT_NONE;
    imap_engine_append_drop(s);
    imap_engine_reply(s, IMAP_NO, code, text);
    imap_engine_skip(s, &literal);
}

void imap_engine_append_full(struct imap_server *s, struct imap_event *ev)
{
    ev->kind = IMAP_EV_APPEND_MESSAGE_END;
    s->reading = READ_APPEND_NEXT;
    buf_clear(&s->cmd);
    s->line_at = 0;
}

/* The line behind a message: the end of the command, or what announces the next. Only the mailbox of what came before
 * is still needed. */
void imap_engine_append_line(struct imap_server *s, str line, const struct imap_literal *literal,
                             struct imap_event *ev)
{
    static const struct imap_literal none = { .sync = true };
    struct imap_parse_error error = { .text = S("Out of memory"), .no = true, .code = "LIMIT" };
    struct imap_append next = { 0 };
    bool more = false, was_utf8 = s->command->append.utf8;
    arena_clear(&s->arena);
    s->command = ARENA_NEW(&s->arena, struct imap_command);
    int r = s->command ? imap_parse_append_next(&s->arena, line, was_utf8, &more, &next, &error) : -ENOMEM;
    if (r == 0 && more && !literal)
        r = -EBADMSG;
    if (r < 0)
        return refuse(s, error.no ? IMAP_NO : IMAP_BAD, str_z(error.code), error.text, literal ? literal : &none);
    s->command->verb = IMAP_APPEND;
    s->command->tag = buf_str(&s->tag);
    next.mailbox = buf_str(&s->mailbox);
    s->command->append = next;
    if (more)
        return imap_engine_append_message(s, literal, ev);
    s->wait = WAIT_APPEND_END;
    ev->kind = IMAP_EV_APPEND_END;
    ev->command = s->command;
}
