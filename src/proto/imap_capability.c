/* What the server says it can do (RFC 9051 7.2.2). */
#include "proto/imap_engine.h"

bool imap_engine_may_log_in(const struct imap_server *s)
{
    return s->tls || s->config->auth_plain_ok;
}

static void before_login(const struct imap_server *s, struct buf *out)
{
    str rest = s->mechanisms, mechanism;
    buf_add(out, S(" SASL-IR ID ENABLE"));
    if (s->config->starttls && !s->tls)
        buf_add(out, S(" STARTTLS"));
    if (!imap_engine_may_log_in(s)) {
        buf_add(out, S(" LOGINDISABLED"));
        return;
    }
    while ((mechanism = str_word(&rest)).n) {
        buf_add(out, S(" AUTH="));
        buf_add(out, mechanism);
    }
}

static void after_login(const struct imap_server *s, struct buf *out)
{
    buf_add(out, S(" ENABLE ID IDLE NAMESPACE UIDPLUS UNSELECT MOVE CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE"
                   " CREATE-SPECIAL-USE CONDSTORE QRESYNC ESEARCH SEARCHRES SORT THREAD=REFERENCES"
                   " THREAD=ORDEREDSUBJECT MULTIAPPEND BINARY STATUS=SIZE UTF8=ACCEPT OBJECTID QUOTA QUOTA=RES-STORAGE"
                   " QUOTA=RES-MESSAGE INPROGRESS WITHIN"));
    if (s->config->append_limit) {
        buf_add(out, S(" APPENDLIMIT="));
        buf_addu(out, s->config->append_limit);
    }
    if (s->config->compress && !s->compressed)
        buf_add(out, S(" COMPRESS=DEFLATE"));
}

void imap_engine_capabilities(const struct imap_server *s, struct buf *out)
{
    buf_add(out, S("IMAP4rev1 IMAP4rev2"));
    buf_add(out, s->config->literal_minus ? S(" LITERAL-") : S(" LITERAL+"));
    if (s->state == IMAP_NOT_AUTHENTICATED)
        before_login(s, out);
    else
        after_login(s, out);
}
