/* What each SMTP command does: the handlers of smtp_commands.def. They check syntax and order, answer what needs no
 * decision, and otherwise hand an event to the owner. */
#include "proto/foreign.h"
#include "proto/smtp_engine.h"
#include "proto/smtp_params.h"

static bool mechanism_offered(const struct smtp_server *s, str name, str *out)
{
    str rest = s->mechanisms;
    for (str word = str_word(&rest); word.n > 0; word = str_word(&rest)) {
        if (str_ieq(word, name)) {
            *out = word;
            return true;
        }
    }
    return false;
}

/* Commands. Each returns true when ev holds an event, false when the command is dealt with. */

static bool greeted(struct smtp_server *s, str args, enum smtp_wait wait, struct smtp_event *ev)
{
    ev->text = str_word(&args);
    ev->esmtp = wait == WAIT_EHLO;
    if (ev->text.n == 0 || ev->text.n > HELO_MAX)
        return smtp_answer(s, s->config->lmtp ? SMTP_REPLY_BAD_LHLO : SMTP_REPLY_BAD_HELO);
    return smtp_ask(s, wait, SMTP_HELO, ev);
}

static bool on_helo(struct smtp_server *s, str args, struct smtp_event *ev)
{
    return greeted(s, args, WAIT_HELO, ev);
}

static bool on_ehlo(struct smtp_server *s, str args, struct smtp_event *ev)
{
    return greeted(s, args, WAIT_EHLO, ev);
}

static bool on_lhlo(struct smtp_server *s, str args, struct smtp_event *ev)
{
    return greeted(s, args, WAIT_EHLO, ev); /* RFC 2033 4.1: the semantics of EHLO */
}

/* The path behind FROM: or TO:. False when it was refused. */
static bool read_path(struct smtp_server *s, str args, enum smtp_reply_id bad, struct smtp_event *ev, str *out_params)
{
    const char *why = NULL;
    ev->text = str_trim(args);
    if (ev->text.n == 0) {
        smtp_say(s, bad);
        return false;
    }
    if (address_parse_path(ev->text, true, s->config->smtputf8, &ev->path, out_params, &why) < 0) {
        smtp_write_reply(s, 501, bad == SMTP_REPLY_BAD_MAIL ? S("5.1.7") : S("5.1.3"), str_z(why));
        return false;
    }
    if (out_params->n > 0 && !ascii_blank(out_params->p[0])) {
        smtp_say(s, bad);
        return false;
    }
    return true;
}

static bool on_mail(struct smtp_server *s, str args, struct smtp_event *ev)
{
    const struct smtp_server_config *config = s->config;
    str params;
    if (config->msa && config->auth && !s->authenticated) /* RFC 6409 4.3 */
        return smtp_answer(s, !s->tls && config->starttls ? SMTP_REPLY_STARTTLS_REQUIRED : SMTP_REPLY_AUTH_REQUIRED);
    if (!str_istarts(args, S("FROM:")))
        return smtp_answer(s, SMTP_REPLY_BAD_MAIL);
    if (!read_path(s, str_from(args, 5), SMTP_REPLY_BAD_MAIL, ev, &params))
        return false;
    enum smtp_reply_id bad = smtp_mail_params_parse(config, params, &s->scratch, &ev->mail);
    if (bad)
        return smtp_answer(s, bad);
    if (ev->path.utf8 && !ev->mail.smtputf8)
        return smtp_answer(s, SMTP_REPLY_SENDER_NEEDS_UTF8);
    if (!config->msa && ev->path.local.n > 0 && ev->path.domain.n == 0)
        return smtp_answer(s, SMTP_REPLY_NO_SENDER_DOMAIN);
    s->tx.smtputf8 = ev->mail.smtputf8;
    return smtp_ask(s, WAIT_MAIL, SMTP_MAIL, ev);
}

static bool on_rcpt(struct smtp_server *s, str args, struct smtp_event *ev)
{
    str params;
    if (!str_istarts(args, S("TO:")))
        return smtp_answer(s, SMTP_REPLY_BAD_RCPT);
    if (!read_path(s, str_from(args, 3), SMTP_REPLY_BAD_RCPT, ev, &params))
        return false;
    enum smtp_reply_id bad = smtp_rcpt_params_parse(s->config, s->tx.smtputf8, params, &s->scratch, &ev->rcpt);
    if (bad)
        return smtp_answer(s, bad);
    if (ev->path.local.n == 0)
        return smtp_answer(s, SMTP_REPLY_NO_NULL_RECIPIENT);
    if (!s->config->msa && ev->path.domain.n == 0 && !str_ieq(ev->path.local, S("postmaster"))) /* RFC 5321 4.5.1 */
        return smtp_answer(s, SMTP_REPLY_NO_RECIPIENT_DOMAIN);
    if (ev->path.utf8 && !s->tx.smtputf8)
        return smtp_answer(s, SMTP_REPLY_RECIPIENT_NEEDS_UTF8);
    if (s->config->limits.recipients_max && s->tx.recipients >= s->config->limits.recipients_max) {
        smtp_say(s, SMTP_REPLY_RECIPIENTS_FULL);
        if (++s->tx.overshoot <= OVERSHOOT_MAX)
            --s->errors;
        return false;
    }
    return smtp_ask(s, WAIT_RCPT, SMTP_RCPT, ev);
}

static enum smtp_reply_id no_recipients(const struct smtp_server *s)
{
    return s->config->lmtp ? SMTP_REPLY_NO_RECIPIENTS_LMTP : SMTP_REPLY_NO_RECIPIENTS; /* RFC 2033 4.2 */
}

static enum smtp_reply_id no_helo(const struct smtp_server *s)
{
    return s->config->lmtp ? SMTP_REPLY_NO_LHLO : SMTP_REPLY_NO_HELO;
}

static bool on_data(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)args;
    if (s->tx.recipients == 0)
        return smtp_answer(s, no_recipients(s));
    return smtp_ask(s, WAIT_DATA, SMTP_DATA, ev);
}

static enum smtp_reply_id bdat_refusal(const struct smtp_server *s, bool syntax_ok)
{
    if (!s->config->chunking)
        return SMTP_REPLY_NOT_IMPLEMENTED;
    if (!syntax_ok)
        return SMTP_REPLY_BAD_BDAT;
    if (!s->helo)
        return no_helo(s);
    if (!s->tx.open)
        return SMTP_REPLY_NO_MAIL;
    if (s->tx.recipients == 0)
        return no_recipients(s);
    if (s->chunk > s->config->limits.size_max - s->tx.received)
        return SMTP_REPLY_TOO_LARGE;
    return SMTP_REPLY_NONE;
}

static bool on_bdat(struct smtp_server *s, str args, struct smtp_event *ev)
{
    str size = str_word(&args), last = str_word(&args);
    if (str_u64(size, UINT64_MAX, &s->chunk) < 0) {
        smtp_say(s, SMTP_REPLY_BAD_BDAT);
        s->mode = CLOSED; /* where the chunk ends is not known: nothing behind it can be a command */
        return false;
    }
    s->chunk_size = s->chunk;
    s->chunk_last = last.n > 0;
    enum smtp_reply_id bad = bdat_refusal(s, last.n == 0 || (str_ieq(last, S("LAST")) && str_word(&args).n == 0));
    bool whole = bad == SMTP_REPLY_TOO_LARGE || bad == SMTP_REPLY_NO_RECIPIENTS_LMTP; /* judges a message, no command */
    s->skip_replies = smtp_replies_at_end(s, whole && s->chunk_last);
    if (!bad && s->tx.bdat) {
        s->mode = BDAT;
        return false;
    }
    if (!bad) {
        ev->bdat = true;
        return smtp_ask(s, WAIT_BDAT, SMTP_DATA, ev);
    }
    if (s->tx.bdat || bad == SMTP_REPLY_TOO_LARGE || (whole && s->chunk_last))
        smtp_transaction_end(s, true); /* RFC 3030 2: a message that lacks a chunk is no message */
    s->mode = BDAT_SKIP;
    s->skip_reply = bad;
    if (s->chunk > smtp_discard_max(s)) {
        smtp_say(s, bad);
        smtp_say(s, SMTP_REPLY_TOO_MUCH_DISCARDED);
    }
    return false;
}

static bool on_rset(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)args, (void)ev;
    smtp_transaction_end(s, true);
    return smtp_answer(s, SMTP_REPLY_OK);
}

static bool on_vrfy(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)ev;
    return smtp_answer(s, args.n > 0 ? SMTP_REPLY_CANNOT_VRFY : SMTP_REPLY_BAD_VRFY);
}

static bool on_noop(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)args, (void)ev;
    return smtp_answer(s, SMTP_REPLY_OK);
}

static bool on_refuse(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)args, (void)ev;
    return smtp_answer(s, SMTP_REPLY_NOT_IMPLEMENTED);
}

static bool on_quit(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)args, (void)ev;
    s->mode = CLOSED;
    return smtp_answer(s, SMTP_REPLY_BYE);
}

static bool on_starttls(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)args;
    if (s->tls || !s->config->starttls)
        return smtp_answer(s, s->tls ? SMTP_REPLY_TLS_ON : SMTP_REPLY_NOT_IMPLEMENTED);
    smtp_say(s, SMTP_REPLY_READY_FOR_TLS);
    return smtp_ask(s, WAIT_TLS, SMTP_STARTTLS, ev);
}

static enum smtp_reply_id auth_refusal(const struct smtp_server *s)
{
    if (!s->config->auth)
        return SMTP_REPLY_NOT_IMPLEMENTED;
    if (!s->tls)
        return SMTP_REPLY_TLS_REQUIRED;
    if (!s->esmtp)
        return SMTP_REPLY_NO_EHLO;
    return s->authenticated ? SMTP_REPLY_AUTH_TWICE : SMTP_REPLY_NONE;
}

static bool on_auth(struct smtp_server *s, str args, struct smtp_event *ev)
{
    str mechanism = str_word(&args), initial = str_word(&args);
    enum smtp_reply_id bad = auth_refusal(s);
    if (bad)
        return smtp_answer(s, bad);
    if (mechanism.n == 0 || str_word(&args).n > 0)
        return smtp_answer(s, SMTP_REPLY_BAD_AUTH);
    if (!mechanism_offered(s, mechanism, &ev->text))
        return smtp_answer(s, SMTP_REPLY_NO_MECHANISM);
    bad = str_eq(initial, S("=")) ? SMTP_REPLY_NONE
                                  : smtp_decode_response(s, initial); /* RFC 4954 4: "=" is an empty one */
    if (bad)
        return smtp_answer(s, bad);
    ev->has_data = initial.n > 0;
    ev->data = buf_str(&s->scratch);
    return smtp_ask(s, WAIT_AUTH, SMTP_AUTH, ev);
}

static bool on_xclient(struct smtp_server *s, str args, struct smtp_event *ev)
{
    if (!s->xclient)
        return smtp_answer(s, SMTP_REPLY_NO_XCLIENT);
    if (smtp_xclient_parse(s->config->lmtp, args, &s->scratch, &ev->xclient))
        return smtp_answer(s, SMTP_REPLY_BAD_XCLIENT);
    str helo = ev->xclient.value[SMTP_XCLIENT_HELO], proto = ev->xclient.value[SMTP_XCLIENT_PROTO];
    s->xclient_helo = helo.n > 0;
    s->xclient_esmtp = proto.n > 0 && !str_ieq(proto, S("SMTP"));
    return smtp_ask(s, WAIT_XCLIENT, SMTP_XCLIENT, ev);
}

static bool on_help(struct smtp_server *s, str args, struct smtp_event *ev);

enum {
    LAST = 1,
    JUNK = 2,
    BARE = 4,
    HELO = 8,
    NO_TX = 16,
    NO_BDAT = 32,
    TX = 64,
    BYTES = 128,
    SMTP = 256,
    LMTP = 512,
};

static const struct command {
    str verb;
    bool (*handler)(struct smtp_server *s, str args, struct smtp_event *ev);
    unsigned flags;
    str usage;
} commands[] = {
#define SMTP_COMMAND(verb, handler, flags, usage, rfc) { S(verb), on_##handler, flags, S(usage) },
#include "proto/smtp_commands.def"
#undef SMTP_COMMAND
};

static bool command_exists(const struct smtp_server *s, const struct command *c)
{
    return !(c->flags & (s->config->lmtp ? SMTP : LMTP));
}

static const struct command *command_find(const struct smtp_server *s, str verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); ++i) {
        if (str_ieq(verb, commands[i].verb) && command_exists(s, &commands[i]))
            return &commands[i];
    }
    return NULL;
}

static bool on_help(struct smtp_server *s, str args, struct smtp_event *ev)
{
    (void)ev;
    _cleanup_buf_ struct buf text = BUF(2048);
    const struct command *topic = command_find(s, str_word(&args));
    if (topic && topic->usage.n > 0) {
        buf_add(&text, topic->usage);
    } else {
        buf_add(&text, S("Commands:"));
        for (size_t i = 0; i < ARRAY_LEN(commands); ++i) {
            if (commands[i].usage.n > 0 && command_exists(s, &commands[i]))
                buf_addf(&text, " %.*s", STR_ARG(commands[i].verb));
        }
    }
    smtp_write_reply(s, 214, S("2.0.0"), buf_str(&text));
    return false;
}

/* Why the row of the table forbids the command now. */
static enum smtp_reply_id command_refusal(const struct smtp_server *s, const struct command *c, str args)
{
    if (s->turned_away && c->handler != on_quit)
        return SMTP_REPLY_REFUSED_SESSION;
    if (c->flags & BARE && args.n > 0)
        return SMTP_REPLY_NO_ARGUMENTS;
    if (c->flags & HELO && !s->helo)
        return no_helo(s);
    if (c->flags & NO_TX && s->tx.open)
        return SMTP_REPLY_NESTED;
    if (c->flags & NO_BDAT && s->tx.bdat)
        return SMTP_REPLY_IN_BDAT;
    if (c->flags & TX && !s->tx.open)
        return SMTP_REPLY_NO_MAIL;
    return SMTP_REPLY_NONE;
}

static bool bytes_allowed(str line, bool high)
{
    for (size_t i = 0; i < line.n; ++i) {
        unsigned char c = (unsigned char)line.p[i];
        if ((c < ' ' && c != '\t') || c == 127 || (c > 127 && !high))
            return false;
    }
    return true;
}

/* RFC 4954 4: AUTH with an initial response may have commands behind it, for the mechanism may end with it. */
static bool one_round_trip(const struct command *c, str args)
{
    str_word(&args);
    return c->handler == on_auth && args.n > 0;
}

bool smtp_command(struct smtp_server *s, str line, bool more_behind, struct smtp_event *ev)
{
    str args = line, verb = str_word(&args);
    const struct command *c = command_find(s, verb);
    if (!c && foreign_word(verb))
        return smtp_answer(s, SMTP_REPLY_FOREIGN);
    args = str_trim(args);
    if (more_behind && (!s->esmtp || (c && c->flags & LAST && !one_round_trip(c, args))))
        s->early = true;
    if ((!c || c->flags & JUNK) && s->config->limits.commands_max && !s->trusted &&
        ++s->junk > s->config->limits.commands_max)
        return smtp_answer(s, SMTP_REPLY_TOO_MUCH_JUNK);
    if (!bytes_allowed(line, !c || c->flags & BYTES))
        return smtp_answer(s, SMTP_REPLY_BAD_BYTES);
    enum smtp_reply_id bad = c                ? command_refusal(s, c, args)
                             : s->turned_away ? SMTP_REPLY_REFUSED_SESSION
                                              : SMTP_REPLY_UNKNOWN;
    return bad ? smtp_answer(s, bad) : c->handler(s, args, ev);
}
