#!/usr/bin/env bash
# The Debian package installs, upgrades, runs, and is removed cleanly. Needs root and a machine where posthouse is not installed.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
passed=0 failed=0
ok() { if "${@:2}" > /tmp/deb_test.out 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; tail -5 /tmp/deb_test.out; fi; }
finish() { rm -f /tmp/deb_test.out; echo "$passed passed, $failed failed"; [ "$failed" = 0 ]; exit; }
absent() { ! dpkg-query -W -f '${db:Status-Status}' posthouse 2> /dev/null | grep -q .; }

if [ "$(id -u)" != 0 ] || ! absent; then
    echo "skip deb_test: needs root, and no installed posthouse"
    finish
fi
had_user=$(getent passwd posthouse || true)
version=$(sed -n 's/.*POSTHOUSE_VERSION "\(.*\)"/\1/p' src/admin/main.c)
ok "make deb" make -s deb
deb=$(echo "$B"/posthouse_"$version"_*.deb)
newer=$B/newer.deb
ok "a newer version" sh -c "rm -rf $B/deb.newer && cp -r $B/deb $B/deb.newer && sed -i 's/^Version: .*/Version: $version+1/' $B/deb.newer/DEBIAN/control &&
    dpkg-deb --root-owner-group --build $B/deb.newer $newer"
ok "install" dpkg -i "$deb"
ok "the program runs" /usr/bin/posthouse version
ok "its libraries are there" sh -c '! ldd /usr/bin/posthouse | grep -q "not found"'
ok "the manual is there" sh -c 'zcat /usr/share/man/man1/posthouse.1.gz | grep -q quickstart &&
    zcat /usr/share/man/man5/posthouse.conf.5.gz | grep -q smtpd_relay_restrictions'
ok "completion works" bash -c '. /usr/share/bash-completion/completions/posthouse
    COMP_WORDS=(posthouse qui) COMP_CWORD=1; _posthouse; [ "${COMPREPLY[0]}" = quickstart ]'
ok "the user of the roles" getent passwd posthouse
ok "upgrade" dpkg -i "$newer"
ok "the upgraded version" sh -c "dpkg-query -W -f '\${Version}' posthouse | grep -qx '$version+1'"
ok "remove" dpkg -r posthouse
ok "no program is left" test ! -e /usr/bin/posthouse
ok "purge" dpkg -P posthouse
ok "no files are left" sh -c '[ ! -e /etc/posthouse ] && [ ! -e /var/lib/posthouse ] && [ ! -e /lib/systemd/system/posthouse.service ]'
ok "no package is left" absent
if [ -n "$had_user" ]; then
    ok "a user that was there before stays" getent passwd posthouse
else
    ok "the user is gone" sh -c '! getent passwd posthouse'
fi
finish
