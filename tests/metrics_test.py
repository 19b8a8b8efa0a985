#!/usr/bin/env python3
"""Counters as OpenMetrics, printed and served; manual and completion made from the tables."""
import re
import subprocess
import urllib.error
import urllib.request

import harness
from harness import equal, eventually, match

SAMPLE = re.compile(r'posthouse_[a-z0-9_]+\{role="[a-z-]+"\} \d+$')


def families(text):
    """The samples by name, after a look at the form: a type before its samples, counters that end in _total, `# EOF` last."""
    lines = text.splitlines()
    equal(lines[-1], "# EOF", "last line")
    found, family = {}, None
    for line in lines[:-1]:
        if line.startswith("# TYPE "):
            family, kind = line.split()[2:]
            assert kind in ("counter", "gauge"), f"{family} has no row in src/admin/metrics.def"
            assert family not in found, f"{family} twice"
            found[family] = {}
        else:
            assert SAMPLE.match(line), line
            name = line.split("{")[0]
            equal(name, family + ("_total" if kind == "counter" else ""), "name of a sample")
            found[family][line.split('"')[1]] = int(line.split()[-1])
    return found


def test_counters_count():
    with harness.Instance() as house:
        before = families(house.check("metrics"))
        house.send("alice")
        house.wait_for(1)
        after = families(house.check("metrics"))
        equal(after["posthouse_messages"]["smtp-in"] - before["posthouse_messages"]["smtp-in"], 1, "messages")
        equal(after["posthouse_placed"]["store"], 1, "placed")
        assert after["posthouse_auth_ok"]["access"] >= 1


def test_served_on_loopback_alone():
    with harness.Instance() as house:
        port = house.base + 900
        code, _, err = house.cli("metrics", "--listen", "0.0.0.0:%d" % port)
        equal(code, 64, "exit code for an address of others")
        match(err, "this machine alone")
        server = subprocess.Popen([house.binary, "metrics", "-c", house.conf, "--listen", f"127.0.0.1:{port}"], stdout=subprocess.PIPE)
        try:
            match(server.stdout.readline().decode(), f"http://127.0.0.1:{port}/metrics")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                match(answer.headers["Content-Type"], "^application/openmetrics-text")
                assert "posthouse_sessions" in families(answer.read().decode())
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/secrets", timeout=5)
                raise AssertionError("another path is answered")
            except urllib.error.HTTPError as e:
                equal(e.code, 404, "another path")
            house.stop()

            def unavailable():
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
                except urllib.error.HTTPError as e:
                    return e.code == 503

            eventually(unavailable, 5, "503 while the server is stopped")
        finally:
            server.terminate()
            server.wait(5)


def test_generated():
    made = {kind: subprocess.run([harness.BINARY, "generate", kind], capture_output=True, text=True, check=True).stdout
            for kind in ("man1", "man5", "bash", "zsh")}
    match(made["man1"], r"\.TH POSTHOUSE 1")
    match(made["man5"], r"smtpd_relay_restrictions")
    match(made["man5"], r"reject_unauth_destination")
    subprocess.run(["bash", "-n"], input=made["bash"], text=True, check=True)
    for line in made["man1"].splitlines() + made["man5"].splitlines():
        assert not re.match(r"'", line), f"roff takes this for a request: {line}"
    for command in ("quickstart", "serve", "backup", "explain"):
        assert command in made["bash"] and command in made["zsh"], command
    equal(subprocess.run([harness.BINARY, "generate", "roff"], capture_output=True).returncode, 64, "an unknown kind")


if __name__ == "__main__":
    harness.main()
