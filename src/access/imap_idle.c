/* IDLE (RFC 2177, RFC 9051 6.3.13), NOOP and CHECK. What is new in the selected mailbox reaches a session that idles
 * through view.changed (imap_select.c); with no mailbox selected IDLE only waits. */
#include "access/imap_session.h"

void imap_do_noop(struct imap_session *s, const struct imap_command *c)
{
    imap_session_done(s, IMAP_OK, STR_NONE, c->verb == IMAP_CHECK ? S("CHECK completed") : S("NOOP completed"));
}

void imap_idle_event(struct imap_session *s, const struct imap_event *ev)
{
    s->verb = IMAP_IDLE;
    s->verb_uid = false;
    if (ev->kind == IMAP_EV_IDLE_END) {
        imap_session_done(s, IMAP_OK, STR_NONE, S("IDLE terminated"));
        return;
    }
    s->commands++;
    imap_session_news(s);
    imap_session_set_timer(s);
}

uint64_t imap_idle_keepalive(const struct imap_session *s)
{
    return imap_server_idling(s->engine) ? s->config->conf->imap_keepalive : 0;
}

void imap_idle_alive(struct imap_session *s)
{
    buf_add(imap_out(s), S("* OK Still here\r\n"));
    imap_session_pump(s);
}
