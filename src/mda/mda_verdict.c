/* What the end of a command means: see mda_command.h. Pure. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include "mda/mda_command.h"

static const struct verdict { int status; enum mda_outcome outcome; uint16_t code; const char *enhanced, *says;
} verdicts[] = {
#define EXIT(status, outcome, code, enhanced, says) { status, MDA_##outcome, code, enhanced, says },
#include "mda/mda_verdict.def"
#undef EXIT
};

static const struct verdict *verdict_of(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++)
        if (verdicts[i].status == status)
            return &verdicts[i];
    return NULL;
}

static bool digits(str s, size_t most)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_digit(s.p[i]))
            return false;
    return s.n > 0 && s.n <= most && (s.n == 1 || s.p[0] != '0');
}

/* An enhanced status code (RFC 3463 2) at the start, with a blank or the end behind it. */
static str enhanced_code(str output)
{
    str line = output;
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '\n' || line.p[i] == '\r' || ascii_blank(line.p[i]))
            line.n = i;
    str rest = line, class = str_cut(&rest, '.'), subject = str_cut(&rest, '.');
    bool right = digits(class, 1) && digits(subject, 3) && digits(rest, 3);
    return right && (class.p[0] == '2' || class.p[0] == '4' || class.p[0] == '5') ? line : STR_NONE;
}

/* One line: runs of blanks and control bytes are one space. In the caller's room, which is as large as the output. */
static str one_line(char *to, str output)
{
    size_t n = 0;
    for (size_t i = 0; i < output.n; i++) {
        unsigned char c = (unsigned char)output.p[i];
        if (c > ' ' && c != 0x7f)
            to[n++] = (char)c;
        else if (n && to[n - 1] != ' ')
            to[n++] = ' ';
    }
    return str_trim(str_of(to, n));
}

/* A character that was cut at the end goes. */
static str whole_characters(str s)
{
    size_t tail = 0;
    while (tail < 4 && tail < s.n && ((unsigned char)s.p[s.n - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (tail < s.n && tail < 4 && (unsigned char)s.p[s.n - 1 - tail] >= 0xc0) {
        unsigned char lead = (unsigned char)s.p[s.n - 1 - tail];
        size_t need = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        return tail < need ? str_first(s, s.n - 1 - tail) : s;
    }
    return s;
}

static void say(struct mda_result *out, const struct verdict *v, str code, str says, str printed)
{
    char enhanced[sizeof(out->status)];
    snprintf(enhanced, sizeof(enhanced), "%.*s", STR_ARG(code));
    mda_result_set(out, v->outcome, v->code, enhanced, "%.*s%s%.*s", STR_ARG(says), printed.n ? ": " : "",
                   STR_ARG(printed));
}

void mda_command_verdict(struct mda_result *out, int wait_status, str output)
{
    char room[sizeof(out->text)], said[80];
    struct verdict v = { .outcome = MDA_FAILED, .code = 550, .enhanced = "5.3.0" };
    str printed = one_line(room, str_first(output, sizeof(room))), code = enhanced_code(printed);
    printed = whole_characters(str_first(printed, sizeof(out->text) - sizeof(said) - 8));
    if (!WIFEXITED(wait_status)) {
        int by = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
        snprintf(said, sizeof(said), "the command was ended by signal %d", by);
        v = (struct verdict){ .outcome = MDA_DEFERRED, .code = 451 };
        say(out, &v, S("4.3.0"), str_z(said), printed);
        return;
    }
    const struct verdict *row = verdict_of(WEXITSTATUS(wait_status));
    if (row)
        v = *row;
    else
        snprintf(said, sizeof(said), "the command failed with status %d", WEXITSTATUS(wait_status));
    if (code.n && (code.p[0] == '2') == (v.outcome == MDA_DELIVERED)) {
        if (code.p[0] != '2')
            v = (struct verdict){ .outcome = code.p[0] == '4' ? MDA_DEFERRED : MDA_FAILED,
                                  .code = code.p[0] == '4' ? 451 : 550, .says = v.says };
        say(out, &v, code, v.outcome == MDA_DELIVERED ? S("delivered to the command") : S("the command says"),
            str_trim(str_from(printed, code.n)));
        return;
    }
    say(out, &v, str_z(v.enhanced), row ? str_z(row->says) : str_z(said), printed);
}
