#!/usr/bin/env python3
"""`posthouse quickstart you@example.org`: the first real domain, made whole or not at all, and the records to publish."""
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile

import harness
from harness import BINARY, Instance, equal, match, program

USAGE, CANTCREATE = 64, 73
ADDRESSES = "192.0.2.10,2001:db8::1"


class Real(Instance):
    """An instance made by the real quickstart, on loopback."""

    def quickstart(self):
        self.base = harness.free_base()
        code, self.said, err = program(BINARY, "quickstart", f"you@{self.domain}", "--dir", self.dir, "--hostname", f"mail.{self.domain}", "--address",
                                       ADDRESSES, "--listen", "127.0.0.1", "--base-port", self.base, "--offline", "--yes")
        equal((code, err), (0, ""), "quickstart")
        address, password = self.read("accounts.txt").split()
        self.passwords = {"you": password, address: password}


class Folder(tempfile.TemporaryDirectory):
    def __enter__(self):
        super().__enter__()
        os.chmod(self.name, 0o755)
        return self

    def run(self, *args, address="you@example.org", before=(), **more):
        return program(*before, BINARY, "quickstart", address, "--dir", f"{self.name}/house", "--listen", "127.0.0.1", *args, **more)

    def empty(self):
        equal(os.listdir(self.name), [], "what a quickstart that failed left")


def test_complete():
    with Real(domain="example.org") as house:
        for name, mode in (("posthouse.conf", 0o644), ("secrets", 0o600), ("accounts.txt", 0o600), ("tls/server.key", 0o600), ("dkim", 0o700),
                           ("dns-zone.txt", 0o644)):
            equal(stat.S_IMODE(os.stat(house.path(name)).st_mode), mode, f"mode of {name}")
        keys = os.listdir(house.path("dkim"))
        equal(len(keys), 2, "keys")
        for name in keys:
            equal(stat.S_IMODE(os.stat(house.path(f"dkim/{name}")).st_mode), 0o600, f"mode of {name}")
        equal(os.listdir(house.parent).count("house"), 1)
        equal([n for n in os.listdir(house.parent) if "tmp" in n], [], "what is left beside it")
        house.send("you@example.org", "a letter from outside")
        house.send("postmaster@example.org", "for the postmaster", user="you", service="submission", sender="you@example.org")
        house.send("abuse@example.org", "complaint")
        equal(len(house.wait_for(3, "you")), 3, "messages")
        equal(house.status()["roles"]["keys"]["dkim_keys"], 2, "keys in use")
        with house.lines() as wire:
            match(wire.reply(), "^220 mail.example.org ")
        zone = house.read("dns-zone.txt")
        for line in sorted(house.check("dkim", "record").splitlines()):
            assert line in zone.splitlines(), f"{line} is not in the zone"


def records(zone):
    """The zone without comments and blank lines."""
    return [line for line in zone.splitlines() if line.strip() and not line.startswith((";", "$"))]


def test_zone():
    with Real(domain="example.org", start=False) as house:
        zone = house.read("dns-zone.txt")
        assert zone in house.said, "the zone is not shown"
        got = [line for line in records(zone) if "_domainkey" not in line]
        equal(got, ["mail.example.org. IN A 192.0.2.10", "mail.example.org. IN AAAA 2001:db8::1", "example.org. IN MX 10 mail.example.org.",
                    'example.org. IN TXT "v=spf1 mx ~all"', 'mail.example.org. IN TXT "v=spf1 a -all"',
                    '_dmarc.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"'])
        match(zone, r"\n; 10\.2\.0\.192\.in-addr\.arpa\. IN PTR mail\.example\.org\.\n")
        match(zone, r"\n; 1(\.0){23}\.8\.b\.d\.0\.1\.0\.0\.2\.ip6\.arpa\. IN PTR mail\.example\.org\.\n")
        equal(len(re.findall(r"_domainkey\.example\.org\. IN TXT \( \"v=DKIM1; k=(?:rsa|ed25519); p=", zone)), 2, "keys")
        assert all(len(s) < 256 for s in re.findall(r'"([^"]*)"', zone)), "a string is too long"
        match(house.said, r"posthouse serve -c \S+/house/posthouse\.conf")
        harness.need("nsd-checkzone")
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("@ IN SOA ns h 1 3600 600 86400 60\n@ IN NS ns.example.net.\n" + zone)
            f.flush()
            equal(program("nsd-checkzone", "example.org", f.name)[0], 0, "nsd-checkzone")


def test_refused():
    wrong = [(["--hostname", "mail"], "not the full name"), (["--hostname", "192.0.2.1"], "not the full name"), (["--address", "nowhere"], "--address wants"),
             (["--base-port", "70000"], "--base-port wants"), (["--frobnicate"], "no option"), (["other@example.org"], "takes one address"),
             (["--listen", "everywhere"], "--listen wants")]
    with Folder() as folder:
        for args, says in wrong:
            code, out, err = folder.run("--offline", "--yes", *args)
            equal(code, USAGE, f"{args}: {out}{err}")
            match(err, says)
        for address in ("you@localhost", "you@exa mple.org", "@example.org", "you and me@example.org", '"a b"@example.org', "you@[192.0.2.1]", "a/../b@example.org"):
            code, out, err = folder.run("--offline", "--yes", address=address)
            equal(code, USAGE, f"{address}: {out}{err}")
        folder.empty()
        os.mkdir(f"{folder.name}/house")
        with open(f"{folder.name}/house/file", "w") as f:
            f.write("precious")
        code, out, err = folder.run("--offline", "--yes", "--address", "192.0.2.1", "--base-port", "30000")
        equal(code, CANTCREATE, err)
        match(err, "there already")
        equal(os.listdir(f"{folder.name}/house"), ["file"])


def test_questions():
    base = str(harness.free_base())
    with Folder() as folder:
        code, out, err = folder.run("--offline", "--base-port", base, input="mx.example.org\n192.0.2.7\nn\n")
        equal(code, 1, err)
        match(out, r"Full name of this machine in the DNS \[.*\]: Its public addresses, .*\[.*\]: ok +port")
        match(err, "nothing was made")
        folder.empty()
        equal(folder.run("--offline", "--base-port", base, input="")[0], 1, "no answers")
        folder.empty()
        code, out, err = folder.run("--offline", "--base-port", base, input="mx.example.org\n192.0.2.7\ny\n")
        equal((code, err), (0, ""))
        with open(f"{folder.name}/house/posthouse.conf") as f:
            match(f.read(), r"(?m)^hostname mx\.example\.org$")


def test_port_taken():
    base = harness.free_base()
    with Folder() as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 25))
        taken.listen()
        more = ["--offline", "--yes", "--address", "192.0.2.1", "--hostname", "mail.example.org", "--base-port", str(base)]
        code, out, err = folder.run(*more, "--strict")
        equal(code, 1, out)
        match(out, rf"WARN +port {base + 25} of 127\.0\.0\.1: Address already in use.*ss -ltnp")
        match(err, "1 of these checks failed, and --strict")
        folder.empty()
        code, out, err = folder.run(*more)
        equal((code, err), (0, ""))


HOSTS = """127.0.0.1 localhost
127.0.0.7 mail.example.org
127.0.0.8 other.example.net elsewhere.example.org
"""


def in_a_world(folder, hosts):
    """A command before another that lets it see these hosts alone, and no name server."""
    if os.geteuid():
        harness.skip("needs root, to show a program another /etc/hosts")
    harness.need("unshare")
    for name, text in (("hosts", hosts), ("resolv.conf", "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n"), ("nsswitch.conf", "hosts: files\n")):
        with open(f"{folder}/{name}", "w") as f:
            f.write(text)
    mounts = " && ".join(f"mount --bind {folder}/{name} /etc/{name}" for name in ("hosts", "resolv.conf", "nsswitch.conf"))
    before = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    if program(*before, "true")[0]:
        harness.skip("no mount namespaces here")
    return before


def test_checks():
    base = harness.free_base()
    with tempfile.TemporaryDirectory() as world, Folder() as folder:
        before = in_a_world(world, HOSTS)
        listener = socket.create_server(("127.0.0.1", 0))
        probe = f"127.0.0.1:{listener.getsockname()[1]}"

        def run(*args, strict=True):
            return folder.run("--yes", "--base-port", str(base), *(["--strict"] if strict else []), *args, before=before)

        for args, says in ((["--hostname", "nowhere.example.org", "--address", "127.0.0.7"], r"WARN +nowhere\.example\.org has no address in the DNS"),
                           (["--hostname", "mail.example.org", "--address", "127.0.0.6"], r"WARN +mail\.example\.org leads to 127\.0\.0\.7, which is no address"),
                           (["--hostname", "mail.example.org", "--address", "127.0.0.7,127.0.0.6"], r"WARN +the address 127\.0\.0\.6 has no name in the DNS"),
                           (["--hostname", "elsewhere.example.org", "--address", "127.0.0.8"], r"WARN +the name of 127\.0\.0\.8 in the DNS \(PTR\) is other")):
            code, out, err = run(*args, "--probe", probe)
            equal(code, 1, f"{args}: {out}{err}")
            match(out, says)
            folder.empty()
        good = ["--hostname", "mail.example.org", "--address", "127.0.0.7"]
        listener.close()
        code, out, err = run(*good, "--probe", probe)  # the way out is a hint alone
        equal((code, err), (0, ""), out)
        match(out, r"ok +mail\.example\.org leads to this machine \(127\.0\.0\.7\)\nok +the name of 127\.0\.0\.7 is mail\.example\.org\n"
                   r"ok +port \d+ of 127\.0\.0\.1 is free\n"
                   r"hint +port \d+ of 127\.0\.0\.1 cannot be reached from here \(Connection refused\)")
        shutil.rmtree(f"{folder.name}/house")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            code, out, err = run(*good, "--probe", f"127.0.0.1:{listener.getsockname()[1]}")
            equal(code, 0, err)
            match(out, r"ok +port \d+ of other hosts can be reached")


def test_interrupted():
    """Killed at any moment by SIGTERM: nothing, or everything."""
    base = str(harness.free_base())
    for wait in (0.005, 0.02, 0.05, 0.1, 0.2):
        with Folder() as folder:
            p = subprocess.Popen([BINARY, "quickstart", "you@example.org", "--dir", f"{folder.name}/house", "--listen", "127.0.0.1", "--base-port", base,
                                  "--hostname", "mail.example.org", "--address", "192.0.2.1", "--offline", "--yes"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            try:
                p.wait(wait)
            except subprocess.TimeoutExpired:
                p.terminate()
                p.wait(20)
            left = os.listdir(folder.name)
            assert left in ([], ["house"]), left
            if left:
                assert os.path.exists(f"{folder.name}/house/dns-zone.txt") and os.path.exists(f"{folder.name}/house/posthouse.conf")


if __name__ == "__main__":
    harness.main()
