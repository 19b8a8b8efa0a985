/* `posthouse sendmail`: a message on standard input goes into the drop, the server running or not. See sendmail.h. */
#include "admin/sendmail.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/drop_folder.h"
#include "admin/sendmail_text.h"

enum { PIECE = 65536, LOGIN_MAX = 64, NAME_MAX_ = 200 };
#define MEMORY_MAX ((size_t)64 << 20)

/* The first part of the GECOS field, where & stands for the login name. */
static str name_of(struct arena *a, const struct passwd *p)
{
    _cleanup_buf_ struct buf b = BUF(4096);
    str gecos = str_z(p->pw_gecos), name = str_z(p->pw_name);
    str part = str_cut(&gecos, ',');
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] != '&') {
            buf_addc(&b, part.p[i]);
        } else if (name.n) {
            buf_addc(&b, ascii_upper(name.p[0]));
            buf_add(&b, str_from(name, 1));
        }
    }
    return arena_dup(a, buf_str(&b));
}

/* Text for the envelope: what it may not hold is left out. */
static str tidy(struct arena *a, str s, size_t max)
{
    str copy = arena_dup(a, str_first(s, max));
    char *p = (char *)copy.p;
    size_t n = 0;
    for (size_t i = 0; p && i < copy.n; i++)
        if ((unsigned char)p[i] >= 0x20 && p[i] != 0x7f)
            p[n++] = p[i];
    return str_of(p, n);
}

static void who_am_i(struct sendmail *s)
{
    const struct passwd *p = getpwuid(getuid());
    const char *name = getenv("NAME");
    s->login = p ? tidy(&s->arena, str_z(p->pw_name), LOGIN_MAX) : arena_printf(&s->arena, "uid%u", (unsigned)getuid());
    str full = s->args.full_name ? str_z(s->args.full_name)
               : name            ? str_z(name)
               : p               ? name_of(&s->arena, p)
                                 : STR_NONE;
    s->full_name = tidy(&s->arena, full, NAME_MAX_);
}

/* The instance that is named, or else the one of this host: through the helper, which knows where its drop is. */
static void find_drop(struct sendmail *s)
{
    const char *given = s->args.config ? s->args.config : getenv("POSTHOUSE_CONFIG");
    s->folder = -1;
    if (given || access(drop_helper(), X_OK) < 0)
        s->folder = admin_drop_folder_of(admin_config_path(s->args.config), &s->size_max);
}

int sendmail_drop_failed(const struct drop_writer *w, int error)
{
    admin_complain("sendmail: %s", w->why[0] ? w->why : strerror(-error));
    return error == -EFBIG ? EXIT_UNAVAILABLE : error == -EINVAL ? EXIT_DATA : EXIT_TEMPFAIL;
}

static int bad_address(int r, str bad)
{
    if (r == -EINVAL)
        admin_complain("sendmail: \"%.*s\" is no address", STR_ARG(str_first(bad, 200)));
    else
        admin_complain("sendmail: the recipients: %s", r == -E2BIG ? "there are too many" : strerror(-r));
    return r == -ENOMEM ? EXIT_TEMPFAIL : EXIT_DATA;
}

static int recipients(struct sendmail *s, const struct sendmail_text *t, struct sendmail_list *l)
{
    str bad = STR_NONE;
    int r = 0;
    for (int i = 0; i < s->args.n_recipients && r == 0; i++)
        r = sendmail_list_add(l, str_z(s->args.recipients[i]), &bad);
    if (r == 0 && s->args.from_header)
        r = sendmail_list_header(l, buf_str(&t->header), &bad);
    if (r < 0)
        return bad_address(r, bad);
    for (size_t i = 0; i < l->n; i++)
        l->list[i].notify = s->args.notify;
    if (l->n)
        return 0;
    admin_complain("sendmail: %s", s->args.from_header
                                       ? "neither the header (To, Cc, Bcc) nor the command line names a recipient"
                                       : "no recipient is named; -t takes them from the header");
    return EXIT_USAGE;
}

static int envelope(struct sendmail *s, const struct sendmail_text *t, struct drop_envelope *e)
{
    struct sendmail_list l = { .arena = &s->arena };
    *e = (struct drop_envelope){
        .sender = s->login, .envid = s->args.envid ? str_z(s->args.envid) : STR_NONE, .ret = s->args.ret,
        .body_8bit = s->args.body_8bit, .submitted = true, .login = s->login, .full_name = s->full_name,
    };
    if (s->args.sender && sendmail_address(&s->arena, str_z(s->args.sender), &e->sender) < 0) {
        admin_complain("sendmail: -f: \"%s\" is no address", s->args.sender);
        return EXIT_DATA;
    }
    int r = recipients(s, t, &l);
    e->recipients = l.list;
    e->n_recipients = l.n;
    return r;
}

/* What was read so far goes on into the drop; begins it once the header is whole. */
static int pass_on(struct sendmail *s, struct sendmail_text *t, struct drop_writer *w, bool *begun, struct buf *text)
{
    if (!t->header_done)
        return 0;
    int r = 0;
    if (!*begun) {
        struct drop_envelope e;
        int code = envelope(s, t, &e);
        if (code)
            return code;
        r = drop_begin(w, s->folder, &e);
        *begun = r == 0;
        if (r == 0)
            r = drop_add(w, buf_str(&t->header));
    }
    if (r == 0)
        r = drop_add(w, buf_str(text));
    buf_clear(text);
    return r < 0 ? sendmail_drop_failed(w, r) : 0;
}

static int text_failed(int r)
{
    admin_complain("sendmail: %s", r == -EFBIG ? "the header is larger than 256 KiB" : strerror(-r));
    return r == -EFBIG ? EXIT_DATA : EXIT_TEMPFAIL;
}

static int copy_text(struct sendmail *s, struct sendmail_text *t, struct drop_writer *w, bool *begun)
{
    static char piece[PIECE];
    _cleanup_buf_ struct buf text = BUF(4 << 20);
    uint64_t size = 0;
    int code = 0;
    while (!code && !t->ended) {
        ssize_t n = read(STDIN_FILENO, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            admin_complain("sendmail: the message cannot be read: %s", strerror(errno));
            return EXIT_IO;
        }
        size += (uint64_t)n;
        if (s->size_max && size > s->size_max) {
            admin_complain("sendmail: the message is larger than message_size_limit");
            return EXIT_UNAVAILABLE;
        }
        int r = n ? sendmail_text_feed(t, str_of(piece, (size_t)n), &text) : sendmail_text_end(t, &text);
        if (r == 0 && t->ended && n) /* a dot alone */
            r = sendmail_text_end(t, &text);
        code = r < 0 ? text_failed(r) : pass_on(s, t, w, begun, &text);
    }
    return code;
}

static int send_message(struct sendmail *s)
{
    struct sendmail_text t = SENDMAIL_TEXT(s->args.keep_dots);
    struct drop_writer w = { .folder = -1, .fd = -1, .answer = -1 };
    bool begun = false;
    int code = 0;
    if (!s->args.from_header && !s->args.n_recipients)
        code = recipients(s, &t, &(struct sendmail_list){ .arena = &s->arena }); /* says that there is none */
    if (!code)
        code = copy_text(s, &t, &w, &begun);
    if (code) {
        drop_cancel(&w);
    } else {
        int r = drop_end(&w);
        code = r < 0 ? sendmail_drop_failed(&w, r) : 0;
    }
    if (!code && s->args.verbose)
        fprintf(stderr, "posthouse: the message waits in the drop as %s\n", w.name);
    sendmail_text_done(&t);
    return code;
}

int cmd_sendmail(int argc, char **argv)
{
    static int (*const modes[])(struct sendmail *) = {
        [SENDMAIL_SEND] = send_message,     [SENDMAIL_SMTP] = sendmail_smtp,   [SENDMAIL_VERIFY] = sendmail_verify,
        [SENDMAIL_LIST] = sendmail_list,    [SENDMAIL_RETRY] = sendmail_retry, [SENDMAIL_ALIASES] = sendmail_aliases,
    };
    struct sendmail s = { .arena = ARENA(MEMORY_MAX), .folder = -1 };
    if (sendmail_args_parse(argc, argv, &s.args) < 0) {
        admin_complain("sendmail: %s", s.args.why);
        return EXIT_USAGE;
    }
    who_am_i(&s);
    if (s.args.mode == SENDMAIL_SEND || s.args.mode == SENDMAIL_SMTP)
        find_drop(&s);
    int code = modes[s.args.mode](&s);
    if (s.folder >= 0)
        close(s.folder);
    arena_done(&s.arena);
    return code;
}
