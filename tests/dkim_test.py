#!/usr/bin/env python3
"""DKIM: keys, records, signatures by hand and by the server, verified by dkimpy and opendkim of Debian, without a network."""
import base64
import json
import os
import re
import signal
import tempfile

import harness
from harness import BINARY, Instance, equal, eventually, match, program
from sink import EXTENSIONS, Sink

VERIFY = """
import base64, dkim, json, sys
want = json.load(sys.stdin)
records = {name: value.encode() for name, value in want["records"].items()}
out = []
for message, count in want["messages"]:
    d, results = dkim.DKIM(base64.b64decode(message)), []
    for i in range(count):
        try:
            results.append(d.verify(idx=i, dnsfunc=lambda name, timeout=5: records.get(name.decode())))
        except dkim.DKIMException as e:
            results.append(str(e))
    out.append(results)
print(json.dumps(out))
"""


def verify_all(messages, records):
    """What dkimpy says of the first signatures of each (message, count): lists of True, False or a text."""
    harness.need("dkimverify")
    given = json.dumps({"records": records, "messages": [(base64.b64encode(m).decode(), count) for m, count in messages]})
    code, out, err = program("/usr/bin/python3", "-c", VERIFY, input=given)  # Debian's, which has Debian's modules
    assert code == 0, err
    return json.loads(out)


def verify(message, records, count=1):
    return verify_all([(message, count)], records)[0]


def record_of(zone_lines):
    """{name: value} from lines of a zone file."""
    found = re.findall(r"(?m)^(\S+) IN TXT \( (.*) \)$", zone_lines)
    assert found, f"no record in {zone_lines!r}"
    return {name: "".join(re.findall(r'"([^"]*)"', text)) for name, text in found}


def sign(message, folder, selector, *more, domain="posthouse.test"):
    code, out, err = program(BINARY, "dkim", "sign", "--key", f"{folder}/{selector}.pem", "--domain", domain, "--selector", selector, *more,
                             input=message, text=False)
    assert code == 0, err
    return out


class Keys(tempfile.TemporaryDirectory):
    """A folder with r.pem (RSA) and e.pem (Ed25519), and .records."""

    def __enter__(self):
        folder = super().__enter__()
        self.records = {}
        for selector, kind in (("r", "rsa"), ("e", "ed25519")):
            code, out, err = program(BINARY, "dkim", "generate", "--domain", "posthouse.test", "--selector", selector, "--type", kind, "--out",
                                     f"{folder}/{selector}.pem")
            assert code == 0, err
            self.records.update(record_of(out))
        return self


LETTER = (b"From: Alice <alice@posthouse.test>\r\nTo: bob@far.test\r\nSubject: some\r\n  thing  folded\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n"
          b"Message-ID: <1@posthouse.test>\r\n\r\nHello \t world \r\n.\r\n \r\n\r\n")


def test_keys():
    with Keys() as keys:
        equal(os.stat(f"{keys.name}/r.pem").st_mode & 0o777, 0o600)
        for selector, kind in (("r", "rsa"), ("e", "ed25519")):
            value = keys.records[f"{selector}._domainkey.posthouse.test."]
            match(value, rf"^v=DKIM1; k={kind}; p=[A-Za-z0-9+/=]+$")
            code, out, err = program(BINARY, "dkim", "record", "--key", f"{keys.name}/{selector}.pem", "--domain", "posthouse.test",
                                     "--selector", selector)
            equal((code, record_of(out)), (0, {f"{selector}._domainkey.posthouse.test.": value}))
            code, out, err = program(BINARY, "dkim", "generate", "--domain", "posthouse.test", "--selector", selector, "--out",
                                     f"{keys.name}/{selector}.pem")
            equal(code, 73)
            match(err, "there already")
        with open(f"{keys.name}/bad.pem", "w") as f:
            f.write("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        code, out, err = program(BINARY, "dkim", "sign", "--key", f"{keys.name}/bad.pem", "--domain", "d.test", "--selector", "s", input="From: a@d.test\n\n")
        equal((code, out), (65, ""))
        match(err, "no private key in PEM")
        code, out, err = program(BINARY, "dkim", "sign", "--key", f"{keys.name}/r.pem", "--domain", "d.test", "--selector", "s", input="To: a@d.test\n\n")
        equal((code, out), (65, ""))
        match(err, "no From field")


def test_by_hand():
    bodies = (b"", b"\r\n", b"\r\n\r\n", b"x", b"x \r\n\r\n", b" \r\n\t\r\n", b" a\rb\r\n \r\nc  d\r\n", b"\r\n\r\nx\r\n", LETTER)
    with Keys() as keys:
        good, bad = [], []
        for selector in ("r", "e"):
            for canon in ("relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed"):
                signed = sign(LETTER, keys.name, selector, "--canonicalization", canon)
                good.append(signed)
                bad += [signed.replace(b"Hello", b"Hallo"), signed.replace(b"folded", b"moulded"), b"Subject: another\r\n" + signed]
        for body in bodies:
            for canon in ("relaxed/relaxed", "simple/simple"):
                good.append(sign(b"From: a@posthouse.test\r\n\r\n" + body, keys.name, "e", "--canonicalization", canon))
        for message, result in zip(good, verify_all([(m, 1) for m in good], keys.records)):
            equal(result, [True], message)
        for message, result in zip(bad, verify_all([(m, 1) for m in bad], keys.records)):
            assert result != [True], message
        both = sign(sign(LETTER, keys.name, "r"), keys.name, "e")
        equal(verify(both, keys.records, 2), [True, True])
        twice = [sign(LETTER, keys.name, s, "--time", "1700000000") for s in ("r", "e", "r", "e")]
        equal(twice[:2], twice[2:])
        match(twice[0], r"; t=1700000000; x=1700604800;|\tt=1700000000; x=1700604800;")
        assert all(len(line.expandtabs()) < 79 for line in twice[0].split(b"\r\n\r\n")[0].decode().split("\r\n")), twice[0]
        with_lf = sign(LETTER.replace(b"\r\n", b"\n"), keys.name, "r", "--time", "1700000000")
        equal(with_lf, twice[0].replace(b"\r\n", b"\n"))


class House(Instance):
    """Its foreign mail goes to a sink; alice@posthouse.test has both kinds of keys."""

    def __init__(self, sink, keys, more="", selectors=("r", "e"), **rest):
        append = f"route all {{ recipient .test @far.test; next smtp [127.0.0.1]:{sink.port} }}\n" + more
        append += "".join(f"dkim posthouse.test {s} {keys.name}/{s}.pem\n" for s in selectors)
        settings = {"allow_private_destinations": "yes", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s", **rest.pop("settings", {})}
        super().__init__(append=append, settings=settings, **rest)

    def submit(self, message=LETTER, to="bob@far.test", user="alice", **more):
        with self.smtp("submission", user=user) as client:
            refused = client.sendmail(self.address(user), [to], message, **more)
            assert not refused, refused


def sink_of(**more):
    return Sink("127.0.0.1", 0, **more)


def arrived(sink, number=1):
    eventually(lambda: len(sink.taken()) >= number, 10, f"{number} messages have arrived")
    return sink.taken()[number - 1].data


def signatures(data):
    header = data.split(b"\r\n\r\n")[0] + b"\r\n"
    return re.findall(rb"(?mi)^DKIM-Signature:", header)


def test_server_signs():
    with Keys() as keys, sink_of() as sink, House(sink, keys, aliases="out@posthouse.test: someone@far.test") as house:
        house.submit()
        data = arrived(sink)
        equal(len(signatures(data)), 2)
        equal(verify(data, keys.records, 2), [True, True])
        match(data, rb"^DKIM-Signature: v=1; a=".decode())
        big = LETTER + b"0123456789 \t a line of a long letter\r\n" * 100000 + b"\r\n" * 1000
        house.submit(big)
        data = arrived(sink, 2)
        equal((len(signatures(data)), verify(data, keys.records, 2)), (2, [True, True]))
        # a stranger's letter that claims to be ours, forwarded by an alias: not in our name; by one who has logged in: it is
        house.send("out@posthouse.test", LETTER, sender="alice@posthouse.test")
        data = arrived(sink, 3)
        equal(len(signatures(data)), 0)
        match(data, "(?m)^Delivered-To: ")
        house.submit(to="out@posthouse.test")
        data = arrived(sink, 4)
        match(data, "(?m)^Delivered-To: ")
        equal((len(signatures(data)), verify(data, keys.records, 2)), (2, [True, True]))
        status = house.status()["roles"]
        equal((status["keys"]["dkim_keys"], status["keys"]["dkim_signed"], status["smtp-out"]["dkim_signed"]), (2, 3, 3))


def test_mynetworks():
    """A machine of our own that does not log in: signed, if it writes in the name of a domain with keys."""
    with Keys() as keys, sink_of() as sink, House(sink, keys, settings={"mynetworks": "127.0.0.0/8"},
                                                  listeners={"smtp": "smtpd_relay_restrictions permit_mynetworks, reject"}) as house:
        house.send("bob@far.test", LETTER, sender="robot@posthouse.test")
        data = arrived(sink)
        equal((len(signatures(data)), verify(data, keys.records, 2)), (2, [True, True]))
        house.send("bob@far.test", LETTER.replace(b"posthouse.test", b"elsewhere.test"), sender="robot@posthouse.test")
        equal(len(signatures(arrived(sink, 2))), 0)


def test_what_is_really_sent():
    """A peer without 8BITMIME gets another content, and the signature is of that."""
    letter = ("From: alice@posthouse.test\r\nTo: bob@far.test\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
              "Content-Transfer-Encoding: 8bit\r\n\r\n" + "Grüße aus Köln\r\n" * 5000).encode()
    with Keys() as keys, sink_of(extensions=("PIPELINING",)) as sink, House(sink, keys) as house:
        house.submit(letter, mail_options=["BODY=8BITMIME"])
        data = arrived(sink)
        assert all(byte < 128 for byte in data)
        equal((len(signatures(data)), verify(data, keys.records, 2)), (2, [True, True]))


def test_keys_role_away():
    """Never unsigned: without role keys a message waits."""
    with Keys() as keys, sink_of() as sink, House(sink, keys, selectors=("e",)) as house:
        keys_pid = find(house, "keys")
        os.kill(keys_pid, signal.SIGSTOP)
        try:
            house.submit()
            eventually(lambda: "did not sign it in time" in house.check("queue", "list", "--json"), 10)
            equal(sink.taken(), [])
        finally:
            os.kill(keys_pid, signal.SIGCONT)
        equal(verify(arrived(sink), keys.records), [True])
        house.kill("keys")
        house.submit()
        equal(verify(arrived(sink, 2), keys.records), [True])


def find(house, role):
    """The process of a role that may not answer."""
    for pid in harness.children(house.process.pid):
        with open(f"/proc/{pid}/comm") as f:
            if f.read().strip() == f"ph-{role}":
                return pid
    raise AssertionError(f"no process of role {role}")


def test_bad_key_and_reload():
    with Keys() as keys, sink_of() as sink:
        with open(f"{keys.name}/bad.pem", "w") as f:
            f.write("no key\n")
        with House(sink, keys, selectors=("e", "bad")) as house:
            house.submit()
            eventually(lambda: "no usable DKIM key" in house.check("queue", "list", "--json"), 10)
            equal(sink.messages, [])
            match(house.log(), r'event=dkim_key role=keys name="posthouse.test bad" reason="it holds no private key')
            os.replace(f"{keys.name}/r.pem", f"{keys.name}/bad.pem")
            house.check("reload")
            data = arrived(sink)
            records = {**keys.records, "bad._domainkey.posthouse.test.": keys.records["r._domainkey.posthouse.test."]}
            equal((len(signatures(data)), verify(data, records, 2)), (2, [True, True]))
            house.write("posthouse.conf", re.sub(r"(?m)^dkim .*\n", "", house.read("posthouse.conf")))
            house.check("reload")
            house.submit()
            equal(len(signatures(arrived(sink, 2))), 0)


if __name__ == "__main__":
    harness.main()
