/* `posthouse deliver`: a message on standard input is handed on by the mechanisms named, or the account's own way. Exit
 * codes are sysexits as an MTA reads them; the reason goes to standard error in one line that begins with an enhanced
 * status code. What a disk, a right, a configuration, a lock or a signal causes is temporary (75). */
#include "admin/deliver.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "admin/admin.h"
#include "admin/deliver_input.h"
#include "admin/deliver_send.h"
#include "message/address.h"
#include "message/loop_mark.h"

enum { EXIT_NO_USER = 67, EXIT_NO_HOST = 68, EXIT_PROTOCOL = 76 };
#define SIZE_UNKNOWN_MAX ((uint64_t)1 << 30) /* when no configuration says how large a message may be */

/* Results */

static int exit_code(const struct mda_result *r)
{
    static const struct { const char *begins; int code; } rows[] = { /* the first that fits */
        { "5.1.1", EXIT_NO_USER },  { "5.1.2", EXIT_NO_HOST },  { "5.1", EXIT_NO_USER },  { "5.6", EXIT_DATA },
        { "5.2.3", EXIT_DATA },     { "5.3.4", EXIT_DATA },     { "5.7", EXIT_NOPERM },   { "5.5.4", EXIT_USAGE },
        { "5.5", EXIT_PROTOCOL },
    };
    if (r->outcome == MDA_DELIVERED)
        return 0;
    if (r->outcome != MDA_FAILED)
        return EXIT_TEMPFAIL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_starts(str_z(r->status), str_z(rows[i].begins)))
            return rows[i].code;
    return EXIT_UNAVAILABLE;
}

void deliver_note(struct deliver *d, str recipient, str mechanism, const struct mda_result *r)
{
    if (d->verbose)
        fprintf(stderr, "%s %.*s: %.*s: %s\n", r->status, STR_ARG(recipient), STR_ARG(mechanism), r->text);
    if (!d->any || r->outcome > d->worst.outcome)
        d->worst = *r;
    d->any = true;
}

void deliver_no_memory(struct deliver *d, str mechanism)
{
    struct mda_result r = { 0 };
    mda_result_set(&r, MDA_DEFERRED, 451, "4.3.0", "no memory");
    deliver_note(d, STR_NONE, mechanism, &r);
}

static int finish(const struct mda_result *r)
{
    if (r->outcome != MDA_DELIVERED)
        fprintf(stderr, "%s %s\n", r->status, r->text);
    return exit_code(r);
}

struct mda_message deliver_message(struct deliver *d, str recipient)
{
    struct mda_message m = d->message;
    char room[512];
    struct buf mark = { .p = room, .cap = sizeof(room), .max = sizeof(room) };
    m.recipient = recipient;
    if (d->has_key && loop_mark_write(&mark, d->key, recipient) == 0)
        m.prefix = arena_dup(&d->arena, buf_str(&mark));
    return m;
}

/* The command line */

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "5.5.4 posthouse deliver: %s%s%s; posthouse help deliver shows how it is used\n", what,
            value ? ": " : "", value ? value : "");
    return EXIT_USAGE;
}

/* An address without its <>; one without a domain may be. */
static bool take_address(str text, bool empty_ok, str *out)
{
    struct address a;
    const char *why;
    if (text.n >= 2 && text.p[0] == '<' && text.p[text.n - 1] == '>')
        text = str_of(text.p + 1, text.n - 2);
    *out = text;
    return text.n == 0 ? empty_ok : address_parse(text, true, true, &a, &why) == 0;
}

static int take_option(struct deliver *d, char kind, const char *value)
{
    switch (kind) {
    case 'f':
        return take_address(str_z(value), true, &d->sender) ? 0 : usage("the sender is no address", value);
    case 'a':
        if (d->n_recipients == DELIVER_RECIPIENTS_MAX)
            return usage("there are too many recipients", NULL);
        return take_address(str_z(value), false, &d->recipients[d->n_recipients++])
                   ? 0 : usage("a recipient is no address", value);
    case 't':
        if (d->n_mechanisms == DELIVER_MECHANISMS_MAX)
            return usage("there are too many mechanisms", NULL);
        d->mechanisms[d->n_mechanisms++] = str_z(value);
        return 0;
    default:
        d->config_path = value;
        return 0;
    }
}

/* Options may come often, in any order, with their value in the same word or the next. */
static int take_options(struct deliver *d, int argc, char **argv)
{
    static const struct { const char *name; char kind; } names[] = { { "--to", 't' }, { "-f", 'f' }, { "-a", 'a' },
                                                                     { "-c", 'c' } };
    for (int i = 1; i < argc; i++) {
        str word = str_z(argv[i]);
        size_t k = 0;
        if (str_eq(word, S("-v"))) {
            d->verbose = true;
            continue;
        }
        while (k < ARRAY_LEN(names) && !str_starts(word, str_z(names[k].name)))
            k++;
        str rest = k < ARRAY_LEN(names) ? str_from(word, str_z(names[k].name).n) : STR_NONE;
        bool is_long = k == 0;
        if (k == ARRAY_LEN(names) || (is_long && rest.n && rest.p[0] != '='))
            return usage("there is no such option or argument", argv[i]);
        if (!rest.n && i + 1 == argc)
            return usage("a value is missing behind", argv[i]);
        const char *value = rest.n ? argv[i] + word.n - rest.n + is_long : argv[++i];
        int r = take_option(d, names[k].kind, value);
        if (r)
            return r;
    }
    return 0;
}

static int check_mechanisms(struct deliver *d)
{
    for (size_t i = 0; i < d->n_mechanisms; i++) {
        struct mechanism m;
        const char *why = "";
        if (!str_eq(d->mechanisms[i], S("queue")) && !mechanism_parse(d->mechanisms[i], &m, &why))
            return usage(why, d->mechanisms[i].p);
    }
    return 0;
}

/* Who and where we are */

static void read_configuration(struct deliver *d)
{
    struct conf_error e = { 0 };
    const struct conf *c;
    d->conf_arena = ARENA(CONF_MEMORY_MAX);
    d->bundle = BUF(CONF_BUNDLE_MAX);
    d->config_path = admin_config_path(d->config_path);
    if (conf_bundle_read(&d->conf_arena, d->config_path, &d->bundle, &e) == 0 &&
        conf_parse(&d->conf_arena, buf_str(&d->bundle), &c, &e) == 0)
        d->conf = c;
}

/* The host's key, in the data folder beside the configuration, if we may read it. */
static void read_key(struct deliver *d)
{
    if (!d->conf)
        return;
    str path = str_z(d->config_path), data = d->conf->data_directory;
    ptrdiff_t slash = str_rchr(path, '/');
    str folder = slash < 0 || str_starts(data, S("/")) ? STR_NONE : str_first(path, (size_t)slash + 1);
    str name = arena_printf(&d->arena, "%.*s%.*s/host.key", STR_ARG(folder), STR_ARG(data));
    _cleanup_close_ int fd = name.p ? open(name.p, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    d->has_key = fd >= 0 && read(fd, d->key, sizeof(d->key)) == (ssize_t)sizeof(d->key);
}

static int find_user(struct deliver *d)
{
    char host[256] = "localhost";
    const struct passwd *p = getpwuid(geteuid());
    if (gethostname(host, sizeof(host)) < 0 || !host[0])
        snprintf(host, sizeof(host), "localhost");
    host[sizeof(host) - 1] = '\0';
    d->host_name = d->conf ? d->conf->hostname : arena_dup(&d->arena, str_z(host));
    d->user = (struct mda_user){ .uid = geteuid(), .gid = getegid() };
    d->user.name = p ? arena_dup(&d->arena, str_z(p->pw_name)) : arena_printf(&d->arena, "uid%u", (unsigned)geteuid());
    d->user.home = arena_dup(&d->arena, p ? str_z(p->pw_dir) : S(""));
    d->user.shell = arena_dup(&d->arena, p && p->pw_shell && *p->pw_shell ? str_z(p->pw_shell) : S("/bin/sh"));
    if (!d->sender.p)
        d->sender = d->user.name;
    if (d->sender.n && str_chr(d->sender, '@') < 0)
        d->sender = arena_printf(&d->arena, "%.*s@%.*s", STR_ARG(d->sender), STR_ARG(d->host_name));
    if (!d->n_recipients)
        d->recipients[d->n_recipients++] = d->user.name;
    return d->user.name.p && d->user.home.p && d->user.shell.p && (d->sender.p || !d->sender.n) ? 0 : EXIT_TEMPFAIL;
}

/* Signals: while a message is written they wait; while we wait for others they end us with a temporary failure. */

static void on_signal(int number)
{
    static const char text[] = "4.3.0 interrupted by a signal\n";
    (void)number;
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n;
    _exit(EXIT_TEMPFAIL);
}

static const int ending[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGXCPU };

void deliver_let_signals(bool through)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        sigaddset(&set, ending[i]);
    sigprocmask(through ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

static void take_signals(struct deliver *d)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(ending); i++) {
        sigaddset(&set, ending[i]);
        signal(ending[i], on_signal);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* an error of write(), then */
    d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Doing it */

static void send_on(struct deliver *d, const struct mechanism *to, str text)
{
    _cleanup_free_ struct mda_result *r = calloc(d->n_recipients, sizeof(*r));
    struct mda_message m = deliver_message(d, d->n_recipients == 1 ? d->recipients[0] : STR_NONE);
    if (!r) {
        deliver_no_memory(d, text);
        return;
    }
    deliver_let_signals(true);
    deliver_send(&m, to, d->host_name, d->recipients, d->n_recipients, r);
    deliver_let_signals(false);
    for (size_t i = 0; i < d->n_recipients; i++)
        deliver_note(d, d->recipients[i], text, &r[i]);
}

static void deliver_by(struct deliver *d, str text)
{
    struct mechanism m;
    const char *why;
    if (str_eq(text, S("queue"))) {
        deliver_to_drop(d, d->recipients, d->n_recipients, false, STR_NONE);
        return;
    }
    if (!mechanism_parse(text, &m, &why))
        return; /* was checked */
    switch (m.kind) {
    case MECHANISM_MBOX:
    case MECHANISM_MAILDIR:
    case MECHANISM_STDOUT:
        deliver_files(d, text);
        return;
    case MECHANISM_COMMAND:
        deliver_command(d, text);
        return;
    case MECHANISM_FORWARD:
        deliver_forward(d);
        return;
    case MECHANISM_SMTP:
    case MECHANISM_LMTP:
        send_on(d, &m, text);
        return;
    default:
        deliver_to_server(d);
    }
}

static bool read_message(struct deliver *d, struct deliver_input *in, struct mda_result *r)
{
    uint64_t max = d->conf ? d->conf->message_size_limit : SIZE_UNKNOWN_MAX;
    deliver_let_signals(true);
    int e = deliver_read(STDIN_FILENO, max, d->has_key ? d->key : NULL, d->recipients, d->n_recipients, in);
    deliver_let_signals(false);
    if (e == -E2BIG)
        mda_result_set(r, MDA_FAILED, 552, "5.3.4", "the message is larger than %llu bytes", (unsigned long long)max);
    else if (e < 0)
        mda_result_set(r, MDA_DEFERRED, 451, e == -ENOSPC ? "4.3.1" : "4.3.0", "the message cannot be read: %s",
                       strerror(-e));
    else if (in->received >= DELIVER_HOPS_MAX || in->loops)
        mda_result_set(r, MDA_FAILED, 554, "5.4.6", "the message goes in a circle (%s)",
                       in->loops ? "it has been delivered to this address here" : "too many Received fields");
    d->message = (struct mda_message){ .fd = in->fd, .length = in->length, .sender = d->sender };
    return r->outcome == MDA_DELIVERED;
}

static void deliver_done(struct deliver *d)
{
    if (d->signals >= 0)
        close(d->signals);
    arena_done(&d->arena);
    arena_done(&d->conf_arena);
    buf_done(&d->bundle);
}

static int run(struct deliver *d)
{
    struct mda_result first = { 0 };
    struct deliver_input in = { .fd = -1 };
    if (find_user(d))
        return EXIT_TEMPFAIL;
    bool fine = read_message(d, &in, &first);
    _cleanup_close_ int fd = in.fd;
    (void)fd;
    if (!fine)
        return finish(&first);
    for (size_t i = 0; i < d->n_mechanisms; i++)
        deliver_by(d, d->mechanisms[i]);
    if (!d->n_mechanisms)
        deliver_to_server(d);
    return finish(&d->worst);
}

int cmd_deliver(int argc, char **argv)
{
    struct deliver *d = calloc(1, sizeof(*d));
    if (!d)
        return EXIT_TEMPFAIL;
    d->arena = ARENA(16u << 20);
    d->signals = -1;
    int r = take_options(d, argc, argv);
    if (r == 0)
        r = check_mechanisms(d);
    if (r == 0) {
        take_signals(d);
        read_configuration(d);
        read_key(d);
        r = run(d);
    }
    deliver_done(d);
    free(d);
    return r;
}
