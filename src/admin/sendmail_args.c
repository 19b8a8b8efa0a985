/* Options of the sendmail command: see sendmail_args.h. */
#include "admin/sendmail_args.h"
#include <errno.h>
#include <stdio.h>
#include "base/cleanup.h"

struct reader { struct sendmail_args *out; int argc, at; char **argv; };

static int wrong(struct sendmail_args *a, const char *format, const char *what)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(a->why, sizeof(a->why), format, what);
#pragma GCC diagnostic pop
    return -EINVAL;
}

static bool is(const char *value, const char *word) { return str_ieq(str_z(value), str_z(word)); }

static int set_mode(struct sendmail_args *a, const char *value)
{
    static const struct { char letter; enum sendmail_mode mode; } modes[] = {
        { 'm', SENDMAIL_SEND },   { 's', SENDMAIL_SMTP },  { 'v', SENDMAIL_VERIFY }, { 'p', SENDMAIL_LIST },
        { 'P', SENDMAIL_LIST },   { 'i', SENDMAIL_ALIASES },
    };
    for (size_t i = 0; value[0] && i < ARRAY_LEN(modes); i++)
        if (value[0] == modes[i].letter) {
            a->mode = modes[i].mode;
            return 0;
        }
    if (value[0] == 'd' || value[0] == 'D' || value[0] == 'l')
        return wrong(a, "-b%s: the server is not started with this command but with `posthouse serve`, or by "
                        "`systemctl start posthouse`", value);
    return wrong(a, "-b%s is not known: -bm sends, -bs speaks SMTP, -bv shows where an address leads, -bp lists the "
                    "queue, -bi reads the aliases anew", value);
}

static int set_notify(struct sendmail_args *a, const char *value)
{
    static const struct { const char *word; uint8_t bit; } words[] = {
        { "never", 1 }, { "success", 2 }, { "failure", 4 }, { "delay", 8 }
    };
    str rest = str_z(value);
    uint8_t notify = 0;
    while (rest.n) {
        str word = str_trim(str_cut(&rest, ','));
        uint8_t bit = 0;
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            bit = str_ieq(word, str_z(words[i].word)) ? words[i].bit : bit;
        if (!bit)
            return wrong(a, "-N %s: never, or a list of success, failure and delay, was expected", value);
        notify |= bit;
    }
    if (!notify || (notify & 1 && notify != 1))
        return wrong(a, "-N %s: never stands alone; otherwise a list of success, failure and delay", value);
    a->notify = notify;
    a->has_notify = true;
    return 0;
}

static int set_return(struct sendmail_args *a, const char *value)
{
    a->ret = is(value, "full") ? 1 : is(value, "hdrs") ? 2 : 0;
    return a->ret ? 0 : wrong(a, "-R %s: full or hdrs was expected", value);
}

static int set_envid(struct sendmail_args *a, const char *value)
{
    str s = str_z(value);
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return wrong(a, "-V: %s is not printable ASCII without blanks", "an envelope id");
    if (!s.n || s.n > 100)
        return wrong(a, "-V: %s has 1 to 100 characters", "an envelope id");
    a->envid = value;
    return 0;
}

static int set_body(struct sendmail_args *a, const char *value)
{
    a->body_8bit = is(value, "8BITMIME");
    return a->body_8bit || is(value, "7BIT") ? 0 : wrong(a, "-B %s: 7BIT or 8BITMIME was expected", value);
}

/* Of sendmail's own configuration there is one option that a message depends on. */
static int set_option(struct sendmail_args *a, const char *value)
{
    str rest = str_z(value), name = str_cut(&rest, '=');
    if (str_ieq(str_trim(name), S("IgnoreDots")))
        a->keep_dots = !rest.n || str_ieq(str_first(rest, 1), S("t")) || str_ieq(str_first(rest, 1), S("y"));
    return 0;
}

static int set_short_option(struct sendmail_args *a, const char *value)
{
    a->keep_dots = a->keep_dots || value[0] == 'i';
    return 0;
}

/* Scripts that give a file of sendmail's own give it to every sendmail. */
static int set_config(struct sendmail_args *a, const char *value)
{
    if (!str_ends(str_z(value), S(".cf")))
        a->config = value;
    return 0;
}

static int set_sender(struct sendmail_args *a, const char *value)
{
    a->sender = value;
    return 0;
}

static int set_name(struct sendmail_args *a, const char *value)
{
    a->full_name = value;
    return 0;
}

static int set_header(struct sendmail_args *a, const char *value)
{
    (void)value;
    a->from_header = true;
    return 0;
}

static int set_dots(struct sendmail_args *a, const char *value)
{
    (void)value;
    a->keep_dots = true;
    return 0;
}

static int set_verbose(struct sendmail_args *a, const char *value)
{
    (void)value;
    a->verbose = true;
    return 0;
}

static int set_aliases(struct sendmail_args *a, const char *value)
{
    (void)value;
    a->mode = SENDMAIL_ALIASES;
    return 0;
}

static int set_ignored(struct sendmail_args *a, const char *value)
{
    (void)a;
    (void)value;
    return 0;
}

/* -q alone, -qf; -qI, -qR, -qS with what follows. An interval is for a daemon. */
static int set_retry(struct sendmail_args *a, const char *value)
{
    a->mode = SENDMAIL_RETRY;
    if (!value[0] || (value[0] == 'f' && !value[1]))
        return 0;
    if ((value[0] == 'I' || value[0] == 'R' || value[0] == 'S') && value[1]) {
        a->retry_by = value[0];
        a->retry_what = value + 1;
        return 0;
    }
    return wrong(a, "-q%s: the server tries by itself, and settings such as minimal_backoff_time say when; -q alone "
                    "tries all now", value);
}

enum value { NONE, REST /* of the word, if any */, NEEDED /* the rest of the word, else the next */ };
typedef int set_function(struct sendmail_args *a, const char *value);

static const struct option { char letter; enum value value; set_function *set; } options[] = {
    { 'A', REST, set_ignored },    /* which of two configurations */
    { 'B', NEEDED, set_body },
    { 'C', NEEDED, set_config },
    { 'F', NEEDED, set_name },
    { 'G', NONE, set_ignored },    /* a gateway submits */
    { 'I', NONE, set_aliases },
    { 'L', NEEDED, set_ignored },  /* a name for the system log */
    { 'N', NEEDED, set_notify },
    { 'O', NEEDED, set_option },
    { 'R', NEEDED, set_return },
    { 'U', NONE, set_ignored },    /* a user submits */
    { 'V', NEEDED, set_envid },
    { 'X', NEEDED, set_ignored },  /* a log of the conversation */
    { 'b', NEEDED, set_mode },
    { 'c', NONE, set_ignored },    /* dear mailers later */
    { 'd', REST, set_ignored },    /* debugging */
    { 'e', REST, set_ignored },    /* how errors are told */
    { 'f', NEEDED, set_sender },
    { 'h', NEEDED, set_ignored },  /* hops so far: they are counted */
    { 'i', NONE, set_dots },
    { 'm', NONE, set_ignored },    /* the sender too, if an alias holds him */
    { 'n', NONE, set_ignored },    /* no aliases */
    { 'o', NEEDED, set_short_option },
    { 'p', NEEDED, set_ignored },  /* the protocol it came by */
    { 'q', REST, set_retry },
    { 'r', NEEDED, set_sender },
    { 's', NONE, set_ignored },
    { 't', NONE, set_header },
    { 'v', NONE, set_verbose },
    { 'x', NONE, set_ignored },
};

static const struct option *find(char letter)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (options[i].letter == letter)
            return &options[i];
    return NULL;
}

/* One word of options. */
static int read_word(struct reader *r, const char *word)
{
    for (const char *p = word + 1; *p; p++) {
        const char letter[2] = { *p, '\0' };
        const struct option *o = find(*p);
        if (!o)
            return wrong(r->out, "-%s is no option that is known here; docs/sendmail.md lists them", letter);
        if (o->value == NONE) {
            o->set(r->out, "");
            continue;
        }
        const char *value = p + 1;
        if (!*value && o->value == NEEDED) {
            if (r->at >= r->argc)
                return wrong(r->out, "-%s needs a value", letter);
            value = r->argv[r->at++];
        }
        return o->set(r->out, value);
    }
    return 0;
}

/* What it was called as. */
static void by_name(struct sendmail_args *a, const char *name)
{
    str s = str_z(name);
    ptrdiff_t slash = str_rchr(s, '/');
    s = str_from(s, (size_t)(slash + 1));
    a->mode = str_eq(s, S("mailq")) ? SENDMAIL_LIST : str_eq(s, S("newaliases")) ? SENDMAIL_ALIASES : SENDMAIL_SEND;
}

int sendmail_args_parse(int argc, char **argv, struct sendmail_args *out)
{
    struct reader r = { .out = out, .argc = argc, .at = 1, .argv = argv };
    *out = (struct sendmail_args){ 0 };
    if (argc > 0)
        by_name(out, argv[0]);
    while (r.at < argc && argv[r.at][0] == '-') {
        const char *word = argv[r.at++];
        if (str_eq(str_z(word), S("--")))
            break;
        int e = word[1] ? read_word(&r, word) : wrong(out, "%s alone is no option", "-");
        if (e < 0)
            return e;
    }
    for (int i = r.at; i < argc; i++)
        if (argv[i][0] == '-' && !(r.at > 1 && str_eq(str_z(argv[r.at - 1]), S("--"))))
            return wrong(out, "%s: options stand before the recipients; an address that begins with a dash stands "
                              "behind --", argv[i]);
    out->recipients = argv + MIN(r.at, argc);
    out->n_recipients = argc - MIN(r.at, argc);
    return 0;
}
