#!/bin/bash
# What `make run` does after the build, in a folder and at ports of its own: a letter goes from alice to bob, the second run keeps the
# instance and its mail, a taken port is named, and `make uninstall` leaves nothing behind.
#   POSTHOUSE   the program (default build/posthouse)    BASE_PORT   default 27000
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
chmod 755 "$work"
export POSTHOUSE_LOCAL=$work/instance BASE_PORT=${BASE_PORT:-27000} ONCE=1 POSTHOUSE=${POSTHOUSE:-build/posthouse}
out=$work/out
holder=
trap '[ -z "$holder" ] || kill "$holder" 2>/dev/null || :; tools/uninstall > /dev/null 2>&1 || :; rm -rf "$work"' EXIT
checks=0

fail() { echo "run_demo_test: $*" >&2; sed 's/^/    /' "$out" >&2; exit 1; }
expect() { grep -qF -- "$1" "$out" || fail "expected in the output: $1"; checks=$((checks + 1)); }
nobody_serves() {
    [ -z "$(. tools/local.sh && server_of "$POSTHOUSE_LOCAL")" ] || fail "a process is left behind"
    checks=$((checks + 1))
}

tools/run > "$out" 2>&1 || fail "the first run failed"
expect 'A local instance of Posthouse is in'
expect 'bob reads it (POP3 over TLS)'
expect '    Subject: The first letter'
expect "$(head -n 1 "$POSTHOUSE_LOCAL/accounts.txt")"
nobody_serves
[ "$(grep -c '^    Message-ID:' "$out")" = 1 ] || fail 'not one letter was shown'
cp "$POSTHOUSE_LOCAL/accounts.txt" "$work/before"

tools/run > "$out" 2>&1 || fail "the second run failed"
grep -q 'A local instance of Posthouse is in' "$out" && fail 'the second run made the instance anew'
cmp -s "$POSTHOUSE_LOCAL/accounts.txt" "$work/before" || fail 'the second run changed the accounts'
expect 'bob reads it (POP3 over TLS)'
nobody_serves

python3 -c '
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()
print("listening", flush=True)
time.sleep(60)' $((BASE_PORT + 110)) > "$work/holder" &
holder=$!
until [ -s "$work/holder" ]; do sleep 0.1; done
tools/run > "$out" 2>&1 && fail 'it ran with a taken port'
expect "port $((BASE_PORT + 110)) (pop3"
expect "is taken by process $holder"
kill "$holder"
wait "$holder" 2>/dev/null || :
holder=

tools/uninstall > "$out" 2>&1 || fail 'uninstall failed'
expect "removing $POSTHOUSE_LOCAL"
[ ! -e "$POSTHOUSE_LOCAL" ] || fail 'uninstall left the instance'
checks=$((checks + 5))
echo "run_demo_test: $checks passed, 0 failed"
