# Read by tools/run, tools/demo and tools/uninstall: where local instances are, and what their configuration says.

BASE_PORT=${BASE_PORT:-20000}

complain() { printf 'posthouse: %s\n' "$*" >&2; }
fail() { complain "$@"; exit 1; }

# The path without base port of all local instances of this user.
instances() {
    if [ "$(id -u)" = 0 ]; then
        echo /var/lib/posthouse-local
    elif [ -n "${XDG_STATE_HOME:-}${HOME:-}" ]; then
        echo "${XDG_STATE_HOME:-$HOME/.local/state}/posthouse-local"
    else
        fail 'neither HOME nor XDG_STATE_HOME is set: say where the instance shall be with POSTHOUSE_LOCAL=DIR'
    fi
}

# The folder of the instance meant: POSTHOUSE_LOCAL, or one for each base port.
instance() {
    if [ -n "${POSTHOUSE_LOCAL:-}" ]; then
        echo "$POSTHOUSE_LOCAL"
    else
        base=$(instances) || exit
        [ "$BASE_PORT" = 20000 ] || base=$base-$BASE_PORT
        echo "$base"
    fi
}

# listeners FILE: lines "SERVICE ADDRESS PORT".
listeners() {
    awk '$1 == "listen" { at = match($3, /:[0-9]+$/); print $2, substr($3, 1, at - 1), substr($3, at + 1) }' "$1"
}

# listener FILE SERVICE: "ADDRESS PORT" to connect to.
listener() {
    listeners "$1" | awk -v want="$2" '$1 == want { sub(/^(\*|0\.0\.0\.0)$/, "127.0.0.1", $2); sub(/^\[::\]$/, "[::1]", $2); print $2, $3; exit }'
}

# setting FILE NAME: the first word of its value.
setting() { awk -v want="$2" '$1 == want { print $2; exit }' "$1"; }

# server_of DIR: the process that serves this instance, if any.
server_of() {
    for command in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' < "$command" 2>/dev/null | grep -qF " serve -c $1/posthouse.conf "; then
            process=${command#/proc/}
            echo "${process%/cmdline}"
        fi
    done 2>/dev/null
}
