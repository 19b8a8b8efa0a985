/* The server's side of IMAP: see imap_server.h, and imap_engine.h for the invariants. Here are the events, the answers
 * to them, and the commands that the engine does by itself. */
#include "proto/imap_engine.h"
#include "base/codec.h"
#include "proto/foreign.h"
#include <errno.h>
#include <stdlib.h>

#define TEXT_MAX 512

static void wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_clear(b);
}

static void wipe_str(str s)
{
    if (s.n)
        explicit_bzero((char *)s.p, s.n); /* ours: in cmd or the arena */
}

/* Text that came from outside must not start a line of its own, nor look like a response code. */
static void add_text(struct imap_server *s, str text)
{
    text = str_first(text, TEXT_MAX);
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool control = (uint8_t)c < 0x20 || c == 0x7f;
        buf_addc(&s->out, control ? '?' : i == 0 && c == '[' ? '(' : c);
    }
    buf_add(&s->out, S("\r\n"));
}

static void add_code(struct imap_server *s, str code)
{
    if (code.n == 0)
        return;
    buf_addc(&s->out, '[');
    for (size_t i = 0; i < code.n; i++)
        buf_addc(&s->out, (uint8_t)code.p[i] < 0x20 || code.p[i] == 0x7f || code.p[i] == ']' ? '?' : code.p[i]);
    buf_add(&s->out, S("] "));
}

static void reply_line(struct imap_server *s, str tag, str word, str code, str text)
{
    buf_add(&s->out, tag.n ? tag : S("*"));
    buf_addc(&s->out, ' ');
    buf_add(&s->out, word);
    buf_addc(&s->out, ' ');
    add_code(s, code);
    add_text(s, text.n ? text : S("Done"));
}

void imap_engine_bye(struct imap_server *s, str code, str text)
{
    if (!s->closing)
        reply_line(s, STR_NONE, S("BYE"), code, text);
    s->closing = true;
}

void imap_engine_reply(struct imap_server *s, enum imap_result result, str code, str text)
{
    static const str words[] = { [IMAP_OK] = S("OK"), [IMAP_NO] = S("NO"), [IMAP_BAD] = S("BAD") };
    reply_line(s, buf_str(&s->tag), words[result], code, text);
    s->over = true;
    s->reading = READ_COMMAND;
}

void imap_engine_fail(struct imap_server *s, enum imap_result result, str code, str text)
{
    imap_engine_reply(s, result, code, text);
    if (result == IMAP_BAD || s->state == IMAP_NOT_AUTHENTICATED)
        s->errors++;
    if (s->config->errors_max && s->errors >= s->config->errors_max)
        imap_engine_bye(s, STR_NONE, S("Too many errors"));
}

void imap_engine_skip(struct imap_server *s, const struct imap_literal *literal)
{
    bool early = s->state == IMAP_NOT_AUTHENTICATED;
    uint64_t max = early ? IMAP_SKIP_EARLY : MAX(IMAP_SKIP_MAX, s->config->append_limit);
    if (literal->sync) /* not asked for, so it will not come */
        return;
    if (literal->n > max || (early && s->skipped > IMAP_SKIP_MAX))
        return imap_engine_bye(s, S("TOOBIG"), S("A literal is too large"));
    s->over = false;
    s->literal_left = literal->n;
    s->reading = SKIP_LITERAL;
}

void imap_engine_keep_tag(struct imap_server *s, str tag)
{
    buf_clear(&s->tag);
    if (tag.n <= IMAP_TAG_MAX)
        buf_add(&s->tag, tag);
}

static void shrink(struct buf *b)
{
    buf_clear(b);
    if (b->cap > 4096)
        buf_release(b);
}

void imap_engine_forget(struct imap_server *s)
{
    shrink(&s->cmd);
    shrink(&s->mailbox);
    buf_clear(&s->tag);
    arena_clear(&s->arena);
    s->command = NULL;
    s->over = s->idle_broken = false;
    s->line_at = s->checked = 0;
    s->literals = 0;
    s->messages = 0;
}

bool imap_engine_out_of_place(struct imap_server *s, enum imap_verb verb)
{
    if (verb == IMAP_VERBS)
        return false;
    if (!imap_verb_allowed(verb, s->state)) {
        bool early = s->state == IMAP_NOT_AUTHENTICATED;
        bool selected = imap_verb_allowed(verb, IMAP_SELECTED);
        imap_engine_fail(s, IMAP_BAD, STR_NONE, !selected ? S("Already logged in") : early ? S("Log in first")
                                                                              : S("Select a mailbox first"));
        return true;
    }
    if ((verb != IMAP_LOGIN && verb != IMAP_AUTHENTICATE) || imap_engine_may_log_in(s))
        return false;
    imap_engine_fail(s, IMAP_NO, S("PRIVACYREQUIRED"), s->config->starttls ? S("Use STARTTLS first")
                                                                           : S("Not permitted without TLS"));
    return true;
}

static void capability_line(struct imap_server *s)
{
    buf_add(&s->out, S("* CAPABILITY "));
    imap_engine_capabilities(s, &s->out);
    buf_add(&s->out, S("\r\n"));
}

static void do_capability(struct imap_server *s, struct imap_event *ev)
{
    (void)ev;
    capability_line(s);
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("CAPABILITY completed"));
}

static void do_logout(struct imap_server *s, struct imap_event *ev)
{
    (void)ev;
    reply_line(s, STR_NONE, S("BYE"), STR_NONE, S("Logging out"));
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("LOGOUT completed"));
    s->closing = true;
}

static void do_id(struct imap_server *s, struct imap_event *ev)
{
    buf_add(&s->out, S("* ID (\"name\" \"Posthouse\")\r\n"));
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("ID completed"));
    ev->kind = IMAP_EV_ID;
    ev->command = s->command;
}

static void do_namespace(struct imap_server *s, struct imap_event *ev)
{
    (void)ev;
    buf_add(&s->out, S("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"));
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("NAMESPACE completed"));
}

/* RFC 5161 3.2: what was off before; QRESYNC turns CONDSTORE on too (RFC 7162 3.2.3). */
static void do_enable(struct imap_server *s, struct imap_event *ev)
{
    static const struct imap_word words[] = {
        { S(" CONDSTORE"), IMAP_ENABLE_CONDSTORE },
        { S(" QRESYNC"), IMAP_ENABLE_QRESYNC },
        { S(" UTF8=ACCEPT"), IMAP_ENABLE_UTF8 },
        { S(" IMAP4rev2"), IMAP_ENABLE_REV2 },
    };
    uint32_t fresh = s->command->enable & ~s->enabled;
    (void)ev;
    buf_add(&s->out, S("* ENABLED"));
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (fresh & words[i].value)
            buf_add(&s->out, words[i].word);
    buf_add(&s->out, S("\r\n"));
    s->enabled |= fresh;
    if (s->enabled & IMAP_ENABLE_QRESYNC)
        s->enabled |= IMAP_ENABLE_CONDSTORE;
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("ENABLE completed"));
}

static void do_starttls(struct imap_server *s, struct imap_event *ev)
{
    if (s->tls || !s->config->starttls)
        return imap_engine_fail(s, IMAP_BAD, STR_NONE, s->tls ? S("TLS is active") : S("TLS is not available"));
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("Begin TLS negotiation"));
    s->wait = WAIT_TLS;
    ev->kind = IMAP_EV_STARTTLS;
}

static void do_compress(struct imap_server *s, struct imap_event *ev)
{
    if (s->compressed)
        return imap_engine_reply(s, IMAP_NO, S("COMPRESSIONACTIVE"), S("Compression is active"));
    if (!s->config->compress)
        return imap_engine_reply(s, IMAP_NO, STR_NONE, S("Compression is not available"));
    size_t before = s->out.n;
    imap_engine_reply(s, IMAP_OK, STR_NONE, S("DEFLATE active"));
    s->ok_n = s->out.n - before;
    s->over = false;
    s->wait = WAIT_COMPRESS;
    ev->kind = IMAP_EV_COMPRESS;
}

static void do_login(struct imap_server *s, struct imap_event *ev)
{
    s->wait = WAIT_LOGIN;
    ev->kind = IMAP_EV_LOGIN;
    ev->user = s->command->login.user;
    ev->data = s->command->login.password;
    ev->has_data = true;
}

static bool decode_secret(struct imap_server *s, str base64)
{
    wipe(&s->secret);
    return base64_decode(&s->secret, base64) == 0;
}

/* RFC 4959: "=" is a response of no bytes. That of LOGIN, which has none, is let pass: Outlook sends it. */
static void do_authenticate(struct imap_server *s, struct imap_event *ev)
{
    str rest = s->mechanisms, mechanism, response = s->command->authenticate.response;
    while ((mechanism = str_word(&rest)).n && !str_ieq(mechanism, s->command->authenticate.mechanism))
        ;
    if (mechanism.n == 0)
        return imap_engine_fail(s, IMAP_NO, STR_NONE, S("Unsupported authentication mechanism"));
    wipe(&s->secret);
    if (response.n && !str_eq(response, S("=")) && !decode_secret(s, response))
        return imap_engine_fail(s, IMAP_BAD, STR_NONE, S("Initial response is not base64"));
    s->wait = WAIT_AUTH;
    ev->kind = IMAP_EV_AUTH;
    ev->user = mechanism;
    ev->has_data = s->command->authenticate.has_response;
    ev->data = buf_str(&s->secret);
}

static void do_idle(struct imap_server *s, struct imap_event *ev)
{
    buf_add(&s->out, S("+ idling\r\n"));
    s->reading = READ_IDLE;
    buf_clear(&s->cmd);
    s->line_at = 0;
    ev->kind = IMAP_EV_IDLE;
}

static void (*const own[IMAP_VERBS])(struct imap_server *s, struct imap_event *ev) = {
    [IMAP_CAPABILITY] = do_capability, [IMAP_LOGOUT] = do_logout,
    [IMAP_ID] = do_id,                 [IMAP_NAMESPACE] = do_namespace,
    [IMAP_ENABLE] = do_enable,         [IMAP_STARTTLS] = do_starttls,
    [IMAP_COMPRESS] = do_compress,     [IMAP_LOGIN] = do_login,
    [IMAP_AUTHENTICATE] = do_authenticate, [IMAP_IDLE] = do_idle,
};

static bool fetches_modseq(const struct imap_fetch *f)
{
    for (size_t i = 0; i < f->n_items; i++)
        if (f->items[i].kind == IMAP_FETCH_MODSEQ)
            return true;
    return false;
}

/* RFC 7162 3.1: commands that turn CONDSTORE on. */
static bool enables_condstore(const struct imap_command *c)
{
    switch (c->verb) {
    case IMAP_SELECT:
    case IMAP_EXAMINE:
        return c->select.condstore;
    case IMAP_STATUS:
        return c->status.items & IMAP_STATUS_HIGHESTMODSEQ;
    case IMAP_LIST:
        return c->list.status & IMAP_STATUS_HIGHESTMODSEQ;
    case IMAP_FETCH:
        return fetches_modseq(&c->fetch);
    case IMAP_STORE:
        return c->store.has_unchangedsince;
    case IMAP_SEARCH:
    case IMAP_SORT:
    case IMAP_THREAD:
        return c->search.has_modseq;
    default:
        return false;
    }
}

/* RFC 7162 3.2.5, 3.2.6: only for those who enabled it. */
static bool lacks_qresync(const struct imap_server *s, const struct imap_command *c)
{
    if (s->enabled & IMAP_ENABLE_QRESYNC)
        return false;
    return ((c->verb == IMAP_SELECT || c->verb == IMAP_EXAMINE) && c->select.qresync) ||
           (c->verb == IMAP_FETCH && c->fetch.vanished);
}

static void run(struct imap_server *s, struct imap_event *ev)
{
    struct imap_command *c = s->command;
    if (lacks_qresync(s, c))
        return imap_engine_fail(s, IMAP_BAD, STR_NONE, S("ENABLE QRESYNC first"));
    if (enables_condstore(c))
        s->enabled |= IMAP_ENABLE_CONDSTORE;
    if (own[c->verb])
        return own[c->verb](s, ev);
    s->wait = WAIT_COMMAND;
    ev->kind = IMAP_COMMAND;
    ev->command = c;
}

/* Says what is wrong with a command. Another protocol's first word ends the session. */
static void complain(struct imap_server *s, int r, const struct imap_parse_error *error, struct imap_event *ev)
{
    const struct imap_command *c = s->command;
    if (r == -ENOMEM)
        imap_engine_fail(s, IMAP_NO, S("LIMIT"), S("The command is too large"));
    else if (c->verb == IMAP_VERBS && foreign_word(c->tag))
        imap_engine_bye(s, STR_NONE, S("This is a mail server"));
    else
        imap_engine_fail(s, error->no ? IMAP_NO : IMAP_BAD, str_z(error->code), error->text);
    if (error->no && c->verb == IMAP_SEARCH && c->search.returns & IMAP_RETURN_SAVE && !s->closing)
        ev->kind = IMAP_EV_SEARCH_REFUSED;
}

/* Parses what there is: the result of imap_parse_so_far(). True if it may go on; else it was answered. */
static bool parse(struct imap_server *s, str text, int *out_r, struct imap_event *ev)
{
    struct imap_parse_error error = { 0 };
    arena_clear(&s->arena);
    s->command = ARENA_NEW(&s->arena, struct imap_command);
    if (!s->command) {
        s->closing = true;
        return false;
    }
    int r = imap_parse_so_far(&s->arena, text, imap_server_utf8(s), s->command, &error);
    imap_engine_keep_tag(s, s->command->tag);
    *out_r = r;
    if (s->command->tag.n > IMAP_TAG_MAX)
        imap_engine_fail(s, IMAP_BAD, STR_NONE, S("The tag is too long"));
    else if (imap_engine_out_of_place(s, s->command->verb))
        return false;
    else if (r != 0 && r != -EAGAIN)
        complain(s, r, &error, ev);
    else
        return true;
    return false;
}

void imap_engine_command(struct imap_server *s, str text, struct imap_event *ev)
{
    int r;
    if (!parse(s, text, &r, ev))
        return;
    if (r == 0 && s->command->verb != IMAP_APPEND)
        return run(s, ev);
    imap_engine_fail(s, IMAP_BAD, STR_NONE, S("A literal is cut short"));
}

/* What was parsed before is parsed again with each literal: always while the command is small, then only whenever it
 * has doubled, so that the time stays linear. */
static bool worth_parsing(const struct imap_server *s)
{
    return s->literals <= 8 || s->cmd.n >= 2 * s->checked;
}

static bool fits(const struct imap_server *s, const struct imap_literal *literal)
{
    size_t max = s->state == IMAP_NOT_AUTHENTICATED ? IMAP_EARLY_MAX : IMAP_COMMAND_MAX;
    return s->cmd.n < max && literal->n < max - s->cmd.n;
}

void imap_engine_partial(struct imap_server *s, str text, const struct imap_literal *literal, struct imap_event *ev)
{
    int r = -EAGAIN;
    s->literals++;
    if (worth_parsing(s)) {
        s->checked = s->cmd.n;
        if (!parse(s, text, &r, ev))
            return imap_engine_skip(s, literal);
    }
    if (r == 0 && s->command->verb == IMAP_APPEND)
        return imap_engine_append_message(s, literal, ev);
    bool minus = s->config->literal_minus && !literal->sync && literal->n > IMAP_MINUS_MAX;
    if (r == 0)
        imap_engine_fail(s, IMAP_BAD, STR_NONE, S("Unexpected literal"));
    else if (minus)
        imap_engine_fail(s, IMAP_BAD, S("TOOBIG"), S("A literal of more than 4096 octets must wait for +"));
    else if (!fits(s, literal))
        imap_engine_fail(s, IMAP_NO, S("LIMIT"), S("The command is too large"));
    if (s->over)
        return imap_engine_skip(s, literal);
    if (literal->sync)
        buf_add(&s->out, S("+ Ready\r\n"));
    s->literal_left = literal->n;
    s->reading = READ_LITERAL;
}

/* Ends a SASL exchange that the client broke off or broke. */
static void break_off(struct imap_server *s, str text, struct imap_event *ev)
{
    imap_engine_fail(s, IMAP_BAD, STR_NONE, text);
    ev->kind = IMAP_EV_AUTH_RESPONSE;
    ev->cancelled = true;
}

void imap_engine_sasl_line(struct imap_server *s, str line, struct imap_event *ev)
{
    if (str_eq(line, S("*")))
        return break_off(s, S("Authentication cancelled"), ev);
    if (!decode_secret(s, line))
        return break_off(s, S("Response is not base64"), ev);
    s->wait = WAIT_AUTH;
    ev->kind = IMAP_EV_AUTH_RESPONSE;
    ev->has_data = true;
    ev->data = buf_str(&s->secret);
}

void imap_engine_idle_line(struct imap_server *s, str line, struct imap_event *ev)
{
    struct imap_literal literal;
    s->idle_broken = !str_ieq(str_trim(line), S("DONE"));
    s->wait = WAIT_IDLE_END;
    ev->kind = IMAP_EV_IDLE_END;
    if (s->idle_broken && imap_engine_literal_at_end(line, &literal) && !literal.sync)
        imap_engine_skip(s, &literal);
    else
        s->reading = READ_COMMAND;
}

void imap_engine_too_long(struct imap_server *s, struct imap_event *ev)
{
    enum imap_reading was = s->reading;
    if (was == READ_IDLE) {
        s->idle_broken = true;
        s->wait = WAIT_IDLE_END;
        ev->kind = IMAP_EV_IDLE_END;
    } else if (was == READ_SASL) {
        break_off(s, S("Line is too long"), ev);
    } else {
        struct imap_lex l = imap_lex_of(&s->arena, buf_str(&s->cmd), false);
        str tag = imap_lex_tag(&l);
        if (was == READ_COMMAND)
            imap_engine_keep_tag(s, imap_lex_peek(&l) == ' ' ? tag : STR_NONE);
        imap_engine_append_drop(s);
        imap_engine_fail(s, IMAP_BAD, STR_NONE, S("Line is too long"));
    }
    s->over = false;
    s->reading = SKIP_LINE;
    s->command = NULL;
    if (s->cmd.n > IMAP_TAIL)
        buf_drop(&s->cmd, s->cmd.n - IMAP_TAIL);
    s->line_at = 0;
}

/* What stands in the way of reading on; false: nothing does. */
static bool before_input(struct imap_server *s, struct imap_event *ev)
{
    if (s->append_cancel)
        ev->kind = IMAP_EV_APPEND_CANCEL;
    else if (s->closing || s->out.failed)
        ev->kind = IMAP_EV_CLOSE;
    else if (s->wait)
        ev->kind = IMAP_NEED_REPLY;
    else if (s->out.n >= IMAP_OUTPUT_HIGH)
        ev->kind = IMAP_NEED_DRAIN;
    else if (!s->started)
        ev->kind = IMAP_CONNECT;
    else
        return false;
    s->append_cancel = false;
    if (ev->kind == IMAP_CONNECT)
        s->wait = WAIT_GREET;
    s->started = true;
    return true;
}

void imap_server_next(struct imap_server *s, str in, size_t *out_used, struct imap_event *out)
{
    *out_used = 0;
    *out = (struct imap_event){ .kind = IMAP_NEED_INPUT };
    while (out->kind == IMAP_NEED_INPUT && !before_input(s, out)) {
        if (s->over)
            imap_engine_forget(s);
        if (!imap_engine_read(s, in, out_used, out))
            break;
    }
    if (s->out.n == 0 && s->out.cap > 4096)
        buf_release(&s->out);
}

static void greeting(struct imap_server *s)
{
    buf_add(&s->out, S("* OK [CAPABILITY "));
    imap_engine_capabilities(s, &s->out);
    buf_add(&s->out, S("] "));
    buf_add(&s->out, str_first(s->config->hostname, 255));
    buf_add(&s->out, S(" Posthouse IMAP ready\r\n"));
}

void imap_server_greet(struct imap_server *s)
{
    if (s->wait != WAIT_GREET)
        return;
    s->wait = WAIT_NONE;
    greeting(s);
}

void imap_server_tls_started(struct imap_server *s)
{
    if (s->wait == WAIT_TLS)
        s->wait = WAIT_NONE;
    s->tls = true;
    s->reading = READ_COMMAND;
    wipe(&s->secret);
    imap_engine_forget(s);
}

void imap_server_compressed(struct imap_server *s)
{
    if (s->wait != WAIT_COMPRESS)
        return;
    s->wait = WAIT_NONE;
    s->compressed = s->over = true;
}

void imap_server_compress_failed(struct imap_server *s)
{
    if (s->wait != WAIT_COMPRESS)
        return;
    s->wait = WAIT_NONE;
    s->out.n -= MIN(s->out.n, s->ok_n);
    imap_engine_reply(s, IMAP_NO, S("LIMIT"), S("Compression cannot be started"));
}

void imap_server_set_mechanisms(struct imap_server *s, str mechanisms)
{
    s->mechanisms = mechanisms;
}

/* Ends the wait for an answer to an (auth) event and wipes what it showed; false when none waits. */
static bool answer_auth(struct imap_server *s)
{
    if (s->wait == WAIT_LOGIN)
        wipe_str(s->command->login.password);
    else if (s->wait != WAIT_AUTH)
        return false;
    s->wait = WAIT_NONE;
    wipe(&s->secret);
    wipe(&s->cmd);
    s->line_at = 0;
    return true;
}

void imap_server_auth_challenge(struct imap_server *s, str challenge)
{
    if (s->wait != WAIT_AUTH || !answer_auth(s))
        return;
    s->reading = READ_SASL;
    buf_add(&s->out, S("+ "));
    base64_encode(&s->out, challenge);
    buf_add(&s->out, S("\r\n"));
}

void imap_server_auth_failed(struct imap_server *s, str code, str text)
{
    if (answer_auth(s))
        imap_engine_fail(s, IMAP_NO, code, text);
}

void imap_server_logged_in(struct imap_server *s)
{
    if (!answer_auth(s))
        return;
    s->state = IMAP_AUTHENTICATED;
    s->errors = 0;
    s->skipped = 0;
    buf_add(&s->out, buf_str(&s->tag));
    buf_add(&s->out, S(" OK [CAPABILITY "));
    imap_engine_capabilities(s, &s->out);
    buf_add(&s->out, S("] Logged in\r\n"));
    s->over = true;
    s->reading = READ_COMMAND;
}

void imap_server_done(struct imap_server *s, enum imap_result result, str code, str text)
{
    enum imap_reading reading = s->reading;
    if (s->wait != WAIT_COMMAND && s->wait != WAIT_IDLE_END && s->wait != WAIT_APPEND_END)
        return;
    s->wait = WAIT_NONE;
    if (s->idle_broken)
        imap_engine_fail(s, IMAP_BAD, STR_NONE, S("Expected DONE"));
    else
        (result == IMAP_BAD ? imap_engine_fail : imap_engine_reply)(s, result, code, text);
    if (reading != SKIP_LITERAL && reading != SKIP_LINE)
        return;
    s->reading = reading; /* what came instead of DONE goes on */
    s->over = false;
}

void imap_server_set_selected(struct imap_server *s, bool selected)
{
    if (s->state != IMAP_NOT_AUTHENTICATED)
        s->state = selected ? IMAP_SELECTED : IMAP_AUTHENTICATED;
}

void imap_server_shutdown(struct imap_server *s, str code, str text)
{
    if (text.n)
        imap_engine_bye(s, code, text);
    if (s->wait == WAIT_LOGIN || s->wait == WAIT_AUTH)
        answer_auth(s);
    s->wait = WAIT_NONE;
    s->closing = true;
}

/* Between commands nothing is needed; in IDLE only the tag. */
void imap_server_rest(struct imap_server *s)
{
    if (s->over && !s->wait)
        imap_engine_forget(s);
    if (s->wait || s->cmd.n || s->closing || (s->reading != READ_COMMAND && s->reading != READ_IDLE))
        return;
    s->command = NULL;
    arena_done(&s->arena);
    buf_release(&s->cmd);
    buf_release(&s->mailbox);
    buf_release(&s->secret);
    if (s->tag.n == 0)
        buf_release(&s->tag);
    if (s->out.n == 0)
        buf_release(&s->out);
}

struct imap_server *imap_server_new(const struct imap_server_config *config)
{
    struct imap_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->config = config;
    s->out = BUF(IMAP_OUTPUT_MAX);
    s->cmd = BUF(IMAP_COMMAND_MAX);
    s->tag = BUF(IMAP_TAG_MAX);
    s->secret = BUF(IMAP_EARLY_MAX);
    s->mailbox = BUF(IMAP_COMMAND_MAX);
    s->arena = ARENA(IMAP_ARENA_MAX);
    return s;
}

void imap_server_free(struct imap_server *s)
{
    if (!s)
        return;
    wipe(&s->secret);
    wipe(&s->cmd);
    buf_done(&s->secret);
    buf_done(&s->cmd);
    buf_done(&s->tag);
    buf_done(&s->mailbox);
    buf_done(&s->out);
    arena_done(&s->arena);
    free(s);
}

struct buf *imap_server_output(struct imap_server *s)
{
    return &s->out;
}

bool imap_server_rev2(const struct imap_server *s)
{
    return s->enabled & IMAP_ENABLE_REV2;
}

bool imap_server_utf8(const struct imap_server *s)
{
    return s->enabled & (IMAP_ENABLE_UTF8 | IMAP_ENABLE_REV2);
}

bool imap_server_condstore(const struct imap_server *s)
{
    return s->enabled & IMAP_ENABLE_CONDSTORE;
}

bool imap_server_qresync(const struct imap_server *s)
{
    return s->enabled & IMAP_ENABLE_QRESYNC;
}

bool imap_server_idling(const struct imap_server *s)
{
    return s->reading == READ_IDLE && !s->wait;
}

str imap_server_tag(const struct imap_server *s)
{
    return s->over ? STR_NONE : buf_str(&s->tag);
}
