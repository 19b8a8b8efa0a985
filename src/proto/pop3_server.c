/* The server's side of POP3: see pop3_server.h. Commands are rows of pop3_commands.def.
 *
 * Invariants
 * 1. While `wait` is not WAIT_NONE no input is looked at; only the answer that fits clears it.
 * 2. Every -ERR that a client caused goes through fail(), which counts it.
 * 3. `count` and `octets` are those of the messages not marked as deleted.
 * 4. `secret` holds a password or SASL response only while its event waits.
 * 5. A listing is written only while less than POP3_OUTPUT_HIGH waits in the output; it never stands open together with
 *    `wait`. */
#include "proto/pop3_server.h"
#include "base/codec.h"
#include "base/event.h"
#include "proto/foreign.h"
#include <errno.h>
#include <stdlib.h>

#define SASL_LINE_MAX 12288   /* RFC 5034 4 */
#define SKIP_MAX      65536   /* a line longer than this ends the session */
#define REPLY_MAX     512     /* RFC 1939 3, with CRLF */

enum state { IN_AUTHORIZATION = 1, IN_TRANSACTION = 2 };
enum wait { WAIT_NONE, WAIT_GREET, WAIT_TLS, WAIT_PASSWORD, WAIT_AUTH, WAIT_CONTENT, WAIT_UPDATE };
enum listing { LISTING_NONE, LISTING_SIZES, LISTING_UIDS };

/* What was sent of the message in transfer. */
struct content {
    size_t index;
    bool top, begun, full; /* full: TOP has all its lines */
    bool in_body;
    bool any, crlf;    /* something was sent; its last two bytes are CRLF */
    char last;         /* the last byte */
    char line_first;   /* of the unfinished line */
    size_t line_n;
    uint64_t lines;    /* of the body, still to come */
};

struct pop3_server {
    const struct pop3_server_config *config;
    str mechanisms; /* of AUTH */
    struct buf out;
    enum state state;
    enum wait wait;
    bool started, tls, utf8, sasl, closing;
    uint32_t errors;
    size_t skipped;      /* bytes dropped of a line that is too long */
    struct buf user, secret;

    uint32_t uidvalidity;
    const struct pop3_message *messages;
    size_t n, count;
    uint64_t octets;
    uint8_t *deleted;    /* a bit for each message; NULL while none is marked */
    size_t last;         /* highest number retrieved or deleted */
    enum listing listing;
    size_t listing_at;
    struct content content;
};

struct args {
    size_t n;
    str at[2];
};

static void wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_clear(b);
}

/* Text that came from outside must not start a line of its own, nor look like a response code (RFC 2449 6.4). */
static void add_text(struct pop3_server *s, size_t line_start, str text)
{
    for (size_t i = 0; i < text.n && s->out.n - line_start < REPLY_MAX - 2; i++) {
        char c = text.p[i];
        bool control = (uint8_t)c < 0x20 || c == 0x7f;
        buf_addc(&s->out, control ? '?' : i == 0 && c == '[' ? '(' : c);
    }
    buf_add(&s->out, S("\r\n"));
}

static void reply_error(struct pop3_server *s, str code, str text)
{
    size_t start = s->out.n;
    buf_add(&s->out, S("-ERR "));
    if (code.n) {
        buf_addc(&s->out, '[');
        buf_add(&s->out, str_first(code, 64));
        buf_add(&s->out, S("] "));
    }
    add_text(s, start, text);
}

static void fail_with(struct pop3_server *s, str code, str text)
{
    reply_error(s, code, text);
    s->errors++;
    if (s->config->errors_max && s->errors >= s->config->errors_max)
        s->closing = true;
}

static void fail(struct pop3_server *s, str text)
{
    fail_with(s, STR_NONE, text);
}

static void reply_ok(struct pop3_server *s, str text)
{
    size_t start = s->out.n;
    buf_add(&s->out, S("+OK "));
    add_text(s, start, text);
}

static void reply_maildrop(struct pop3_server *s, str lead)
{
    buf_addf(&s->out, "+OK %.*s%zu message%s (%llu octets)\r\n", STR_ARG(lead), s->count, s->count == 1 ? "" : "s",
             (unsigned long long)s->octets);
}

static void reply_signing_off(struct pop3_server *s)
{
    size_t start = s->out.n;
    buf_add(&s->out, S("+OK "));
    buf_add(&s->out, str_first(s->config->hostname, 255));
    add_text(s, start, S(" POP3 server signing off"));
    s->closing = true;
}

bool pop3_server_deleted(const struct pop3_server *s, size_t index)
{
    return s->deleted && index < s->n && (s->deleted[index / 8] >> (index % 8) & 1);
}

static void count_all(struct pop3_server *s)
{
    s->count = s->n;
    s->octets = 0;
    for (size_t i = 0; i < s->n; i++)
        s->octets += s->messages[i].size;
}

/* The message a command names; says itself what is wrong. */
static bool find_message(struct pop3_server *s, str arg, size_t *out_index)
{
    uint64_t number = 0;
    int r = str_u64(arg, UINT64_MAX, &number);
    if (r == -EINVAL) {
        fail(s, S("Not a message number"));
        return false;
    }
    if (r < 0 || number == 0 || number > s->n) {
        fail(s, S("No such message"));
        return false;
    }
    if (pop3_server_deleted(s, (size_t)number - 1)) {
        fail(s, S("Message is deleted"));
        return false;
    }
    *out_index = (size_t)number - 1;
    return true;
}

static void add_listing_line(struct pop3_server *s, enum listing kind, size_t index)
{
    const struct pop3_message *m = &s->messages[index];
    buf_addu(&s->out, index + 1);
    buf_addc(&s->out, ' ');
    if (kind == LISTING_UIDS) {
        buf_addu(&s->out, s->uidvalidity);
        buf_addc(&s->out, '.');
    }
    buf_addu(&s->out, kind == LISTING_UIDS ? m->uid : m->size);
    buf_add(&s->out, S("\r\n"));
}

static void go_on_listing(struct pop3_server *s)
{
    for (; s->listing_at < s->n && s->out.n < POP3_OUTPUT_HIGH; s->listing_at++)
        if (!pop3_server_deleted(s, s->listing_at))
            add_listing_line(s, s->listing, s->listing_at);
    if (s->listing_at < s->n)
        return;
    buf_add(&s->out, S(".\r\n"));
    s->listing = LISTING_NONE;
}

static void list(struct pop3_server *s, const struct args *a, enum listing kind)
{
    size_t index;
    if (a->n == 0) {
        reply_maildrop(s, STR_NONE);
        s->listing = kind;
        s->listing_at = 0;
    } else if (find_message(s, a->at[0], &index)) {
        buf_add(&s->out, S("+OK "));
        add_listing_line(s, kind, index);
    }
}

static bool may_log_in(const struct pop3_server *s)
{
    return s->tls || s->config->auth_plain_ok;
}

static void refuse_login(struct pop3_server *s)
{
    fail(s, s->config->stls ? S("Use STLS first") : S("Not permitted without TLS"));
}

static void cmd_capa(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    (void)ev;
    buf_add(&s->out, S("+OK Capability list follows\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"));
    if (may_log_in(s))
        buf_add(&s->out, S("USER\r\n"));
    if (may_log_in(s) && s->mechanisms.n)
        buf_addf(&s->out, "SASL %.*s\r\n", STR_ARG(s->mechanisms));
    if (s->config->stls && !s->tls && s->state == IN_AUTHORIZATION)
        buf_add(&s->out, S("STLS\r\n"));
    if (s->config->utf8)
        buf_add(&s->out, S("UTF8\r\n"));
    if (s->config->expire_never)
        buf_add(&s->out, S("EXPIRE NEVER\r\n"));
    buf_add(&s->out, S("IMPLEMENTATION Posthouse\r\n.\r\n"));
}

static void cmd_stls(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    if (s->tls || !s->config->stls)
        return fail(s, s->tls ? S("Command not permitted when TLS active") : S("TLS not available"));
    if (s->utf8)
        return fail(s, S("Command not permitted after UTF8")); /* RFC 6856 2.1 */
    reply_ok(s, S("Begin TLS negotiation"));
    s->wait = WAIT_TLS;
    ev->kind = POP3_STLS;
}

static void cmd_utf8(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    (void)ev;
    if (!s->config->utf8)
        return fail(s, S("UTF8 not available"));
    s->utf8 = true;
    reply_ok(s, S("UTF8 enabled"));
}

/* Always +OK for a name that could be one: -ERR would tell which names exist (RFC 1939 13). */
static void cmd_user(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)ev;
    if (!may_log_in(s))
        return refuse_login(s);
    if (!utf8_valid(a->at[0]))
        return fail(s, S("Not a name"));
    if (buf_add(&s->user, a->at[0]) < 0)
        return fail_with(s, S("SYS/TEMP"), S("Out of memory"));
    reply_ok(s, S("Name received"));
}

static void cmd_pass(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    if (!may_log_in(s))
        return refuse_login(s);
    if (s->user.n == 0)
        return fail(s, S("USER first"));
    if (buf_add(&s->secret, a->at[0]) < 0)
        return fail_with(s, S("SYS/TEMP"), S("Out of memory"));
    s->wait = WAIT_PASSWORD;
    ev->kind = POP3_PASSWORD;
    ev->user = buf_str(&s->user);
    ev->data = buf_str(&s->secret);
}

static bool decode_secret(struct pop3_server *s, str text)
{
    if (base64_decode(&s->secret, text) == 0)
        return true;
    wipe(&s->secret);
    return false;
}

/* AUTH alone lists the mechanisms, as clients from before CAPA ask for them. */
static void list_mechanisms(struct pop3_server *s)
{
    str rest = s->mechanisms, word;
    buf_add(&s->out, S("+OK Mechanisms follow\r\n"));
    while ((word = str_word(&rest)).n)
        buf_addf(&s->out, "%.*s\r\n", STR_ARG(word));
    buf_add(&s->out, S(".\r\n"));
}

static void cmd_auth(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    if (!may_log_in(s))
        return refuse_login(s);
    if (a->n == 0)
        return list_mechanisms(s);
    str rest = s->mechanisms, mechanism;
    while ((mechanism = str_word(&rest)).n && !str_ieq(mechanism, a->at[0]))
        ;
    if (mechanism.n == 0)
        return fail(s, S("Unknown authentication mechanism"));
    /* "=" is a response of no bytes (RFC 5034 4) */
    bool empty = a->n < 2 || str_eq(a->at[1], S("="));
    if (!empty && !decode_secret(s, a->at[1]))
        return fail(s, S("Initial response is not base64"));
    s->wait = WAIT_AUTH;
    ev->kind = POP3_AUTH;
    ev->user = mechanism;
    ev->has_data = a->n > 1;
    ev->data = buf_str(&s->secret);
}

static void cmd_stat(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a, (void)ev;
    buf_addf(&s->out, "+OK %zu %llu\r\n", s->count, (unsigned long long)s->octets);
}

static void cmd_list(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)ev;
    list(s, a, LISTING_SIZES);
}

static void cmd_uidl(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)ev;
    list(s, a, LISTING_UIDS);
}

static void ask_content(struct pop3_server *s, size_t index, bool top, uint64_t lines, struct pop3_event *ev)
{
    s->content = (struct content){ .index = index, .top = top, .lines = lines };
    s->wait = WAIT_CONTENT;
    ev->kind = POP3_RETRIEVE;
    ev->index = index;
    ev->top = top;
    ev->lines = lines;
    ev->utf8 = s->utf8;
}

static void cmd_retr(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    size_t index;
    if (find_message(s, a->at[0], &index))
        ask_content(s, index, false, 0, ev);
}

static void cmd_top(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    uint64_t lines = UINT64_MAX; /* a number too large for us is larger than any message */
    size_t index;
    if (str_u64(a->at[1], UINT64_MAX, &lines) == -EINVAL)
        return fail(s, S("Not a number of lines"));
    if (find_message(s, a->at[0], &index))
        ask_content(s, index, true, lines, ev);
}

static void cmd_dele(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)ev;
    size_t index;
    if (!find_message(s, a->at[0], &index))
        return;
    if (!s->deleted)
        s->deleted = calloc(s->n / 8 + 1, 1);
    if (!s->deleted)
        return fail_with(s, S("SYS/TEMP"), S("Out of memory"));
    s->deleted[index / 8] |= (uint8_t)(1 << (index % 8));
    s->count--;
    s->octets -= s->messages[index].size;
    s->last = MAX(s->last, index + 1);
    reply_ok(s, S("Message deleted"));
}

static void cmd_rset(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    (void)ev;
    free(TAKE(s->deleted));
    s->last = 0;
    count_all(s);
    reply_maildrop(s, S("Maildrop has "));
}

static void cmd_noop(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    (void)ev;
    buf_add(&s->out, S("+OK\r\n"));
}

static void cmd_last(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    (void)ev;
    buf_addf(&s->out, "+OK %zu\r\n", s->last);
}

static void cmd_quit(struct pop3_server *s, const struct args *a, struct pop3_event *ev)
{
    (void)a;
    if (s->count == s->n)
        return reply_signing_off(s);
    s->wait = WAIT_UPDATE;
    ev->kind = POP3_UPDATE;
}

#define ARGS_REST 255 /* one argument, to the end of the line */

static const struct command {
    str verb;
    void (*run)(struct pop3_server *s, const struct args *a, struct pop3_event *ev);
    unsigned states;
    uint8_t args_min, args_max;
} commands[] = {
#define POP3_COMMAND(verb_, run_, states_, min_, max_, section_) \
    { { verb_, sizeof(verb_) - 1 }, cmd_##run_, states_, min_, max_ },
#include "proto/pop3_commands.def"
#undef POP3_COMMAND
};

static const struct command *find_command(str verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_ieq(verb, commands[i].verb))
            return &commands[i];
    return NULL;
}

static bool has_control(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
    return false;
}

/* One space between arguments; spaces at the end are overlooked, Outlook sends them. */
static bool split_args(const struct command *c, str rest, struct args *out)
{
    if (c->args_max == ARGS_REST) {
        *out = (struct args){ .n = 1, .at = { rest } };
        return rest.n > 0 && str_chr(rest, '\0') < 0;
    }
    while (rest.n && rest.p[rest.n - 1] == ' ')
        rest.n--;
    for (out->n = 0; rest.n; out->n++) {
        if (out->n == c->args_max || rest.p[0] == ' ')
            return false;
        out->at[out->n] = str_cut(&rest, ' ');
    }
    return out->n >= c->args_min;
}

static void run_command(struct pop3_server *s, str line, struct pop3_event *ev)
{
    str rest = line, verb = str_cut(&rest, ' ');
    const struct command *c = find_command(verb);
    struct args args = { 0 };
    if (!c || c->run != cmd_pass)
        buf_clear(&s->user); /* PASS only directly after USER (RFC 1939 7) */
    s->closing |= !c && foreign_word(verb);
    if (!c)
        fail(s, s->closing ? S("This is a mail server") : S("Unknown command"));
    else if (!(c->states & s->state))
        fail(s, s->state == IN_TRANSACTION ? S("Already logged in") : S("Log in first"));
    else if ((c->args_max != ARGS_REST && has_control(line)) || !split_args(c, rest, &args))
        fail(s, S("Syntax error"));
    else
        c->run(s, &args, ev);
    if (s->wait != WAIT_PASSWORD && c && c->run == cmd_pass)
        buf_clear(&s->user);
}

enum taken { TAKEN_NONE, TAKEN_LINE, TAKEN_TOO_LONG };

/* A line of a SASL exchange, also the one that begins it, may be longer than a command. */
static size_t line_limit(const struct pop3_server *s, str in)
{
    return s->sasl || str_istarts(in, S("AUTH ")) ? SASL_LINE_MAX : s->config->line_max;
}

static enum taken take_line(struct pop3_server *s, str in, size_t *out_used, str *out_line)
{
    size_t limit = line_limit(s, in);
    ptrdiff_t lf = str_chr(s->skipped ? in : str_first(in, limit), '\n');
    if (lf >= 0 && !s->skipped) {
        *out_used += (size_t)lf + 1;
        *out_line = str_first(in, (size_t)lf);
        if (str_ends(*out_line, S("\r")))
            out_line->n--;
        return TAKEN_LINE;
    }
    if (!s->skipped && in.n < limit)
        return TAKEN_NONE;
    lf = str_chr(in, '\n');
    size_t n = lf < 0 ? in.n : (size_t)lf + 1;
    *out_used += n;
    s->skipped += n;
    if (s->skipped > SKIP_MAX)
        s->closing = true;
    else if (lf < 0)
        return TAKEN_NONE;
    s->skipped = 0;
    return TAKEN_TOO_LONG;
}

/* A line inside an AUTH exchange. */
static void run_response(struct pop3_server *s, str line, bool too_long, struct pop3_event *ev)
{
    s->sasl = false;
    ev->kind = POP3_AUTH_RESPONSE;
    ev->cancelled = true;
    if (too_long)
        return fail(s, S("Line too long"));
    if (str_eq(line, S("*")))
        return fail(s, S("Authentication cancelled"));
    if (!decode_secret(s, line))
        return fail(s, S("Response is not base64"));
    s->wait = WAIT_AUTH;
    ev->cancelled = false;
    ev->has_data = true;
    ev->data = buf_str(&s->secret);
}

/* What stands in the way of reading the next line; false: nothing does. */
static bool before_input(struct pop3_server *s, struct pop3_event *ev)
{
    if (s->listing && !s->closing)
        go_on_listing(s);
    if (s->closing || s->out.failed)
        ev->kind = POP3_CLOSE;
    else if (s->wait)
        ev->kind = POP3_NEED_REPLY;
    else if (s->listing || s->out.n >= POP3_OUTPUT_HIGH)
        ev->kind = POP3_NEED_DRAIN;
    else if (!s->started)
        ev->kind = POP3_CONNECT;
    else
        return false;
    if (ev->kind == POP3_CONNECT)
        s->wait = WAIT_GREET;
    s->started = true;
    return true;
}

void pop3_server_next(struct pop3_server *s, str in, size_t *out_used, struct pop3_event *out)
{
    *out_used = 0;
    *out = (struct pop3_event){ .kind = POP3_NEED_INPUT };
    while (out->kind == POP3_NEED_INPUT) {
        str line = STR_NONE;
        if (before_input(s, out))
            return;
        enum taken taken = take_line(s, str_from(in, *out_used), out_used, &line);
        if (taken == TAKEN_NONE)
            break;
        if (s->sasl)
            run_response(s, line, taken == TAKEN_TOO_LONG, out);
        else if (taken == TAKEN_TOO_LONG)
            fail(s, S("Line too long"));
        else
            run_command(s, line, out);
    }
    if (s->out.n == 0 && s->out.cap > 4096)
        buf_release(&s->out); /* an idle session keeps nothing */
}

void pop3_server_greet(struct pop3_server *s)
{
    if (s->wait != WAIT_GREET)
        return;
    s->wait = WAIT_NONE;
    size_t start = s->out.n;
    buf_add(&s->out, S("+OK "));
    buf_add(&s->out, str_first(s->config->hostname, 255));
    add_text(s, start, S(" Posthouse POP3 ready"));
}

void pop3_server_tls_started(struct pop3_server *s)
{
    if (s->wait == WAIT_TLS)
        s->wait = WAIT_NONE;
    s->tls = true;
    s->utf8 = s->sasl = false;
    s->skipped = 0;
    buf_clear(&s->user);
}

void pop3_server_set_mechanisms(struct pop3_server *s, str mechanisms)
{
    s->mechanisms = mechanisms;
}

/* Ends the wait for an answer to an (auth) event; false when none waits. */
static bool answer_auth(struct pop3_server *s)
{
    if (s->wait != WAIT_AUTH && s->wait != WAIT_PASSWORD)
        return false;
    s->wait = WAIT_NONE;
    wipe(&s->secret);
    buf_clear(&s->user);
    return true;
}

void pop3_server_auth_challenge(struct pop3_server *s, str challenge)
{
    if (s->wait != WAIT_AUTH || !answer_auth(s))
        return;
    s->sasl = true;
    buf_add(&s->out, S("+ "));
    base64_encode(&s->out, challenge);
    buf_add(&s->out, S("\r\n"));
}

void pop3_server_auth_failed(struct pop3_server *s, str code, str text)
{
    if (answer_auth(s))
        fail_with(s, code, text);
}

void pop3_server_opened(struct pop3_server *s, uint32_t uidvalidity, const struct pop3_message *messages, size_t n)
{
    if (!answer_auth(s))
        return;
    s->state = IN_TRANSACTION;
    s->errors = 0;
    s->uidvalidity = uidvalidity;
    s->messages = messages;
    s->n = n;
    count_all(s);
    reply_maildrop(s, S("Maildrop has "));
}

void pop3_server_content_begin(struct pop3_server *s)
{
    struct content *c = &s->content;
    if (s->wait != WAIT_CONTENT || c->begun)
        return;
    c->begun = true;
    if (c->top) {
        buf_add(&s->out, S("+OK Top of message follows\r\n"));
    } else {
        buf_addf(&s->out, "+OK %llu octets\r\n", (unsigned long long)s->messages[c->index].size);
        s->last = MAX(s->last, c->index + 1);
    }
}

/* A line (or what is left of one) went out, up to and with its LF. */
static void line_ended(struct content *c)
{
    bool blank = c->line_n == 1 || (c->line_n == 2 && c->line_first == '\r');
    c->line_n = 0;
    if (c->in_body)
        c->lines--;
    c->in_body = c->in_body || blank;
    c->full = c->in_body && c->lines == 0;
}

/* A dot is doubled after a bare LF too: a client that takes that for the end of a line must not see the end of the
 * message, and for any other it is a dot too many in a message that broke RFC 5322. */
static void feed_message(struct pop3_server *s, str piece)
{
    struct content *c = &s->content;
    size_t out = 0, at = 0;
    buf_reserve(&s->out, piece.n);
    for (ptrdiff_t dot; (dot = str_chr(str_from(piece, at), '.')) >= 0; at++) {
        at += (size_t)dot;
        if (at > 0 ? piece.p[at - 1] != '\n' : c->line_n > 0)
            continue;
        buf_add(&s->out, str_of(piece.p + out, at - out));
        buf_addc(&s->out, '.');
        out = at;
    }
    buf_add(&s->out, str_from(piece, out));
    char before = piece.n > 1 ? piece.p[piece.n - 2] : c->last;
    c->last = piece.p[piece.n - 1];
    c->crlf = before == '\r' && c->last == '\n';
    c->any = true;
    c->line_n = c->last == '\n' ? 0 : 1;
}

static void feed_lines(struct pop3_server *s, str piece)
{
    struct content *c = &s->content;
    while (piece.n && !c->full) {
        ptrdiff_t lf = str_chr(piece, '\n');
        str part = lf < 0 ? piece : str_first(piece, (size_t)lf + 1);
        piece = str_from(piece, part.n);
        if (c->line_n == 0) {
            c->line_first = part.p[0];
            if (part.p[0] == '.')
                buf_addc(&s->out, '.');
        }
        buf_add(&s->out, part);
        char before = part.n > 1 ? part.p[part.n - 2] : c->last;
        c->last = part.p[part.n - 1];
        c->crlf = before == '\r' && c->last == '\n';
        c->any = true;
        c->line_n += part.n;
        if (lf >= 0)
            line_ended(c);
    }
}

bool pop3_server_content_feed(struct pop3_server *s, str piece)
{
    struct content *c = &s->content;
    if (s->wait != WAIT_CONTENT || !c->begun)
        return false;
    if (piece.n)
        (c->top ? feed_lines : feed_message)(s, piece);
    return !c->full && !s->out.failed;
}

void pop3_server_content_end(struct pop3_server *s)
{
    if (s->wait != WAIT_CONTENT || !s->content.begun)
        return;
    s->wait = WAIT_NONE;
    if (s->content.any && !s->content.crlf)
        buf_add(&s->out, S("\r\n"));
    buf_add(&s->out, S(".\r\n"));
}

void pop3_server_content_refuse(struct pop3_server *s, str code, str text)
{
    if (s->wait != WAIT_CONTENT || s->content.begun)
        return;
    s->wait = WAIT_NONE;
    reply_error(s, code, text);
}

void pop3_server_content_abort(struct pop3_server *s)
{
    if (s->wait != WAIT_CONTENT)
        return;
    s->wait = WAIT_NONE;
    s->closing = true;
}

void pop3_server_update_done(struct pop3_server *s, bool ok)
{
    if (s->wait != WAIT_UPDATE)
        return;
    s->wait = WAIT_NONE;
    if (ok)
        reply_signing_off(s);
    else
        reply_error(s, S("SYS/TEMP"), S("Some deleted messages not removed"));
    s->closing = true;
}

void pop3_server_shutdown(struct pop3_server *s, str text)
{
    bool in_response = s->listing || (s->wait == WAIT_CONTENT && s->content.begun);
    if (text.n && !in_response && !s->closing)
        reply_error(s, S("SYS/TEMP"), text);
    s->wait = WAIT_NONE;
    s->sasl = false;
    s->closing = true;
    wipe(&s->secret);
}

struct pop3_server *pop3_server_new(const struct pop3_server_config *config)
{
    struct pop3_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->config = config;
    s->mechanisms = config->auth_mechanisms;
    s->state = IN_AUTHORIZATION;
    s->out = BUF(POP3_OUTPUT_MAX);
    s->user = s->secret = BUF(SASL_LINE_MAX);
    return s;
}

void pop3_server_free(struct pop3_server *s)
{
    if (!s)
        return;
    wipe(&s->secret);
    buf_done(&s->secret);
    buf_done(&s->user);
    buf_done(&s->out);
    free(s->deleted);
    free(s);
}

struct buf *pop3_server_output(struct pop3_server *s)
{
    return &s->out;
}
