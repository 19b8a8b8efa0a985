#!/bin/bash
# Feeds tools/lint a small tree with one violation of each kind and expects each finding at its line, and no other; then
# the same tree without them, which must pass.
set -euo pipefail
lint=$(cd "$(dirname "$0")/.." && pwd)/tools/lint
work=$(mktemp -d)
tree=$work/tree out=$work/out
trap 'rm -rf "$work"' EXIT
checks=0

fail() { echo "lint_test: $*" >&2; exit 1; }

# put PATH: the file from standard input, with @ for a tab
put() { mkdir -p "$tree/$(dirname "$1")"; tr '@' '\t' > "$tree/$1"; }

# repeat N TEXT
repeat() { for _ in $(seq "$1"); do printf '%s' "$2"; done; }

good_tree() {
    rm -rf "$tree"
    put layers.mk <<'END'
LAYERS := base io
USES_base :=
USES_io := base
PURE := base
END
    put src/base/banned.h <<'END'
/* Banned. */
#pragma once
#include <time.h>
#pragma GCC poison strcpy atoi
END
    put src/base/a.c <<'END'
/* Words that are only text: goto, strcpy(x), time.h. */
#include "base/banned.h"
static const char *const text = "goto strcpy(x) /* ";
struct env { int (*socket)(int); };
int open_it(struct env *e) { return e->socket(text[0] == '"' ? 1 : 2); }
END
    put src/base/a_test.c <<'END'
/* A test may ask the clock. */
#include <time.h>
#include "base/banned.h"
END
    put src/io/b.c <<'END'
/* A room with effects. */
#include <sys/socket.h>
#include "base/banned.h"
static int counter;
int count(void) { return socket(AF_INET, SOCK_STREAM, counter++); }
END
    put src/io/b_test.c <<'END'
/* A test. */
END
    put tools/ok.py <<'END'
print("ok")
END
}

# expect LINE: the last run of lint said so
expect() {
    grep -qxF -- "$1" "$out" || { cat "$out" >&2; fail "no finding: $1"; }
    checks=$((checks + 1))
}

# violation FILE LINE...: lint of the tree with FILE (standard input) gives just these findings
violation() {
    local file=$1
    shift
    good_tree
    put "$file"
    if "$lint" "$tree" > "$out"; then fail "passed: $1"; fi
    for line in "$@"; do expect "$line"; done
    expect "lint: $# findings"
}
good_tree
"$lint" "$tree" > "$out" || { cat "$out" >&2; fail "a clean tree fails"; }
expect "lint: 6 files, ok"
expect "functions: 2, over 40 lines: 0, over 60: 0"
rm "$tree/src/io/b_test.c"
"$lint" "$tree" > "$out" || fail "a missing test is only a warning"
expect "sources without a unit test: 1 (src/io/b.c)"

violation src/base/up.h 'src/base/up.h:3: base may not include "io/b.h" (layers)' <<'END'
/* An arrow that points up. */
#pragma once
#include "io/b.h"
END
violation src/base/bare.h 'src/base/bare.h:3: "banned.h" does not name a room (include)' <<'END'
/* An include without its folder. */
#pragma once
#include "banned.h"
END
violation src/attic/x.h 'src/attic/x.h:1: the room attic is not in layers.mk (layers)' <<'END'
/* A room of nobody. */
#pragma once
END
violation src/base/x.c \
    'src/base/x.c:2: a pure room includes <time.h> (pure)' \
    'src/base/x.c:3: a pure room includes <sys/socket.h> (pure)' \
    'src/base/x.c:4: a pure room has a variable of its own (pure)' \
    'src/base/x.c:5: a pure room calls fopen (pure)' <<'END'
/* Not pure. */
#include <time.h>
#include <sys/socket.h>
static int counter[4];
void *f(void) { return fopen("x", "r"); }
END
violation src/io/x.c \
    'src/io/x.c:2: banned call of strcpy (banned)' \
    'src/io/x.c:3: banned call of sscanf (banned)' \
    'src/io/x.c:5: goto (goto)' <<'END'
/* Calls and jumps. */
void f(char *p) { strcpy(p, "x"); }
int g(char *p) { return sscanf(p, "x"); }
int h(void) {
    goto out;
out:
    return 1;
}
END
violation src/io/x.c \
    'src/io/x.c:1: does not open with a comment (comment)' \
    'src/io/x.c:2: a tab (blanks)' \
    'src/io/x.c:3: blanks at the end of the line (blanks)' \
    'src/io/x.c:4: 121 columns, at most 120 (columns)' \
    'src/io/x.c:5: TO''DO left in (words)' \
    'src/io/x.c:6: a path of the build machine (words)' <<END
int a;
@int b;
int c;$(printf ' ')
/* $(repeat 115 x) */
/* TO$()DO */
/* /wor$()k/main */
END
violation src/io/x.h 'src/io/x.h:1: a header without #pragma once (once)' <<'END'
/* A header. */
END
violation src/io/x.c 'src/io/x.c:3: long_one has 101 lines, at most 100 (size)' <<END
/* A long function, with line breaks where a name may stand. */
int
long_one(void)
{
$(repeat 97 $'    ;\n')
    return 0;
}
END
violation src/io/x.c 'src/io/x.c:2: knot has complexity 26, at most 25 (complexity)' <<END
/* A knot, and one that is none because its branches are text. */
int knot(int n) { return $(repeat 10 'n || ')n
|| $(repeat 9 'n || ') n ? n && n : n; if (n) while (n) for (;;) return 1; }
int text(void) { return '?' + "$(repeat 20 '&&')"[0]; }
END
violation src/io/x.c 'src/io/x.c:2: wide has 7 parameters, at most 6 (parameters)' <<'END'
/* Parameters; the commas inside are not counted. */
int wide(int a, int b, int c, int d, int e, int f, int g) { return a + b + c + d + e + f + g; }
int narrow(int (*f)(int, int, int, int), int a, int b, int c, int d, int e) { return f(a, b, c, d) + e; }
END
violation src/io/x.c 'src/io/x.c:801: 801 lines, at most 800 (size)' <<END
/* A long file. */
$(seq -f '/* %g */' 800)
END
violation tests/x.sh 'tests/x.sh:2: sh: syntax error near unexpected token `fi'"'"' (syntax)' <<'END'
#!/bin/sh
fi
END
violation tools/x "tools/x:2: python: invalid syntax (syntax)" <<'END'
#!/usr/bin/env python3
x = = 1
END
violation src/io/x.h 'src/io/x.h:2: no newline at the end (blanks)' < <(printf '/* Cut short. */\n#pragma once')
violation layers.mk 'layers.mk:1: base uses io, which does not stand below it (layers)' <<'END'
LAYERS := base io
USES_base := io
USES_io := base
PURE := base
END

echo "lint_test: $checks checks, ok"
