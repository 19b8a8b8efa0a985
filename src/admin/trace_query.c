/* The common half of trace and explain: see trace_query.h. */
#include "admin/trace_query.h"
#include <errno.h>
#include <stdio.h>
#include "admin/admin.h"
#include "admin/trace_text.h"
#include "base/event.h"

enum { CANDIDATES_MAX = 20, LAST_MAX = 1000 };
#define OUT_MAX (1u << 30)

bool trace_is_address(str what)
{
    return str_chr(what, '@') >= 0;
}

static void put_duration(struct buf *out, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = { { 86400000, "day" }, { 3600000, "hour" }, { 60000, "minute" } };
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (ms >= units[i].ms && ms % units[i].ms == 0) {
            buf_addf(out, "%llu %s%s", (unsigned long long)(ms / units[i].ms), units[i].name,
                     ms == units[i].ms ? "" : "s");
            return;
        }
    buf_addf(out, "%llu seconds", (unsigned long long)(ms / 1000));
}

static void put_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB" };
    size_t i = 0;
    while (bytes && bytes % 1024 == 0 && i + 1 < ARRAY_LEN(units)) {
        bytes /= 1024;
        i++;
    }
    trace_put_number(out, bytes);
    buf_addf(out, " %s", units[i]);
}

void trace_put_searched(const struct trace_query *q, struct buf *out)
{
    const struct trace *t = q->trace;
    buf_add(out, S("the traces ("));
    trace_put_number(out, t->bytes);
    buf_addf(out, " bytes in %zu file%s", t->n, t->n == 1 ? "" : "s");
    if (t->begin_us) {
        buf_add(out, S(", from "));
        trace_put_moment(out, t->begin_us);
        buf_add(out, S(" to "));
        trace_put_moment(out, t->end_us);
    }
    buf_add(out, S("); they are kept for "));
    put_duration(out, q->data->conf->trace_age);
    buf_add(out, S(" (trace_age) and up to "));
    put_size(out, q->data->conf->trace_size);
    buf_add(out, S(" (trace_size)"));
}

static int read_name(const struct trace_query *q, struct trace_name *out, struct buf *complaint)
{
    int r = trace_name_parse(q->what, out);
    if (r == 0)
        return 0;
    buf_addf(complaint, "%s: ", q->command);
    print_safe(complaint, str_first(q->what, 200));
    if (r == -ERANGE)
        buf_addf(complaint, ": an id has %d letters, and the first %d or more of them are enough", B32_ID_LEN,
                 TRACE_PREFIX_MIN);
    else
        buf_addf(complaint, " is neither an address (there is no @ in it) nor an id: ids have letters without u, and "
                            "digits, and may end "
                            "in a dot and the number of a message, like 5h2v9k.1");
    return EXIT_USAGE;
}

/* Lists the sessions that begin with the letters; returns how many there are. */
static size_t list_candidates(const struct trace_lines *l, const struct trace_name *name, struct buf *out)
{
    const struct trace_line *known[CANDIDATES_MAX];
    size_t n = 0, listed = 0;
    for (size_t i = 0; i < l->n; i++) {
        bool seen = name->has_number && l->line[i].tagged != name->number;
        for (size_t j = 0; j < listed && !seen; j++)
            seen = memcmp(known[j]->session, l->line[i].session, B32_ID_LEN) == 0;
        if (seen)
            continue;
        n++;
        if (listed == CANDIDATES_MAX)
            continue;
        known[listed++] = &l->line[i];
        buf_add(out, str_of(l->line[i].session, B32_ID_LEN));
        buf_add(out, S("  "));
        trace_put_moment(out, l->line[i].time_us);
        buf_addc(out, ' ');
        print_safe(out, trace_line_event(l->line[i].text));
        buf_addc(out, '\n');
        if (listed == CANDIDATES_MAX)
            break;
    }
    return n;
}

/* Sessions that share the letters but have no such message go. */
static void keep_session(struct trace_lines *l, const struct trace_name *name)
{
    char session[B32_ID_LEN] = { 0 };
    size_t n = 0;
    for (size_t i = 0; i < l->n && !session[0]; i++)
        if (!name->has_number || l->line[i].tagged == name->number)
            memcpy(session, l->line[i].session, B32_ID_LEN);
    for (size_t i = 0; i < l->n; i++)
        if (memcmp(l->line[i].session, session, B32_ID_LEN) == 0)
            l->line[n++] = l->line[i];
    l->n = n;
}

int trace_query_lines(const struct trace_query *q, struct trace_lines *out_lines, struct buf *out,
                      struct buf *complaint)
{
    struct trace_name name;
    _cleanup_trace_lines_ struct trace_lines l = { 0 };
    _cleanup_buf_ struct buf list = BUF(65536);
    int r = read_name(q, &name, complaint);
    if (r)
        return r;
    r = trace_find_id(q->trace, &name, &l);
    if (r < 0) {
        buf_addf(complaint, "%s: the traces cannot be searched: %s", q->command, strerror(-r));
        return EXIT_IO;
    }
    size_t n = list_candidates(&l, &name, &list);
    if (n == 1) {
        keep_session(&l, &name);
        *out_lines = l;
        l = (struct trace_lines){ 0 };
        return 0;
    }
    if (n == 0) {
        buf_addf(complaint, "%s: there is nothing about ", q->command);
        print_safe(complaint, q->what);
        buf_add(complaint, S(" in "));
        trace_put_searched(q, complaint);
        return 1;
    }
    buf_addf(complaint, "%s: %s%zu sessions begin with ", q->command, n == CANDIDATES_MAX ? "at least " : "", n);
    print_safe(complaint, q->what);
    buf_add(complaint, S(" (listed above); give more letters"));
    buf_add(out, buf_str(&list));
    return 1;
}

static int run(struct trace_query *q, trace_answer *answer)
{
    _cleanup_buf_ struct buf out = BUF(OUT_MAX), complaint = BUF(65536);
    _cleanup_close_ int fd = -1;
    _cleanup_trace_ struct trace t = { 0 };
    int r = admin_data_subdir(q->data, q->command, "trace", &fd);
    if (r)
        return r;
    r = trace_open(fd, &t);
    if (r < 0) {
        admin_complain("%s: the traces cannot be read: %s%s", q->command, strerror(-r),
                       r == -EACCES ? ". Run the command as root or as the user of the instance" : "");
        return r == -EACCES ? EXIT_NOPERM : EXIT_IO;
    }
    q->trace = &t;
    r = answer(q, &out, &complaint);
    if (out.failed) {
        admin_complain("%s: the answer does not fit in memory", q->command);
        return EXIT_IO;
    }
    if (out.n && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0)) {
        admin_complain("%s: the answer cannot be written: %s", q->command, strerror(errno));
        return EXIT_IO;
    }
    if (complaint.n)
        admin_complain("%.*s", STR_ARG(buf_str(&complaint)));
    return r;
}

int trace_command(const char *command, bool last_allowed, trace_answer *answer, int argc, char **argv)
{
    const char *config = NULL, *last = NULL;
    struct trace_query q = { .command = command };
    const struct admin_option options[] = { { "-c", &config, NULL },
                                            { "--json", NULL, &q.json },
                                            { "--last", &last, NULL } };
    uint64_t n = 0;
    int r = admin_options(command, &argc, argv, options, last_allowed ? 3 : 2);
    if (r)
        return r;
    if (argc != 1) {
        admin_complain("%s: wants one ID or ADDRESS, but was given %d. See `posthouse help %s`", command, argc,
                       command);
        return EXIT_USAGE;
    }
    if (last && (str_u64(str_z(last), LAST_MAX, &n) < 0 || n == 0)) {
        admin_complain("%s: --last wants a number from 1 to %d, not %s", command, LAST_MAX, last);
        return EXIT_USAGE;
    }
    q.last = (size_t)n;
    q.what = str_z(argv[0]);
    _cleanup_admin_data_ struct admin_data data = { .fd = -1 };
    r = admin_data_dir(command, admin_config_path(config), &data);
    if (r)
        return r;
    q.data = &data;
    return run(&q, answer);
}
