/* Any text: what is taken holds what the header promises, words of a command join to no more than was there. */
#include <stdlib.h>
#include "base/buf.h"
#include "route/mechanism.h"

static void check(bool right)
{
    if (!right)
        abort();
}

static void commands(str text)
{
    struct arena a = ARENA(1 << 20);
    const char *why;
    size_t n = 0, bytes = 0;
    char **words = mechanism_words(&a, text, &n, &why);
    for (size_t i = 0; words && i < n; i++)
        bytes += strlen(words[i]);
    check(!words || (n > 0 && !words[n] && words[0][0] && bytes <= text.n));
    str at_home = mechanism_expand(&a, S("/srv/%d/%n/"), text, &why);
    struct mechanism m;
    if (at_home.n && mechanism_parse(at_home, &m, &why)) /* the name stays one part of the path */
        check(m.path.n && str_starts(m.path, S("/srv/")) && str_find(m.path, S("/../")) < 0);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = str_of(data, size);
    struct mechanism m;
    const char *why = NULL;
    bool good = mechanism_parse(text, &m, &why);
    check(good || why);
    if (good) {
        bool path = m.kind == MECHANISM_MBOX || m.kind == MECHANISM_MAILDIR;
        check(!path || str_starts(m.path, S("/")) || str_starts(m.path, S("~/")));
        check(!path || m.path.n == 1 || !str_ends(m.path, S("/")));
        check((m.kind == MECHANISM_COMMAND) == (m.command.n > 0));
        check(m.kind != MECHANISM_SMTP || m.host.n);
    }
    if (size && !memchr(data, 0, size))
        commands(text);
    return 0;
}
