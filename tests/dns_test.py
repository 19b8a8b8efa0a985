"""Role dns in a running server, asked with `posthouse dns`: what zones say, signatures, a resolver that is away, one that is hostile."""
import concurrent.futures
import json
import os
import random
import struct
import time

import dns
import harness

ZONE = """
@      MX    20 backup.example.test.
@      MX    10 MX1
@      A     192.0.2.80
@      TXT   "v=spf1 " "mx -all"
mx1    A     192.0.2.25
mx1    AAAA  2001:db8::25
backup A     192.0.2.26
www    CNAME mx1
empty  TXT   "only this"
null   MX    0 .
_25._tcp.mx1 TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
odd    MX    10 under_score.example.test.
bad    MX    10 not\\032a\\032host.example.test.
far    CNAME target.other.test.
"""
ZONES = {"example.test": ZONE, "2.0.192.in-addr.arpa": "25 PTR mx1.example.test.", "other.test": "target A 192.0.2.99"}


def ask(house, name, kind=None):
    """The answer of `posthouse dns … --json`, its exit code, the seconds it took."""
    begun = time.monotonic()
    code, out, err = house.cli("dns", name, *([kind] if kind else []), "--json")
    assert out, f"posthouse dns {name} {kind}: exit code {code}: {err}"
    return json.loads(out), code, time.monotonic() - begun


def records(house, name, kind=None):
    answer, code, _ = ask(house, name, kind)
    assert (answer["state"], code) == ("ok", 0), answer
    return answer["records"]


def dns_status(house):
    return house.status()["roles"]["dns"]


def test_what_the_zone_says():
    with dns.Nsd(ZONES) as server, harness.Instance(settings={"resolver": server.resolver, "trust_anchor": '""'}) as house:
        harness.equal(records(house, "example.test", "MX"),
                      [{"preference": 10, "host": "mx1.example.test"}, {"preference": 20, "host": "backup.example.test"}])
        harness.equal(records(house, "example.test", "A"), [{"address": "192.0.2.80"}])
        harness.equal(records(house, "mx1.example.test", "AAAA"), [{"address": "2001:db8::25"}])
        harness.equal(records(house, "example.test", "txt"), [{"text": "v=spf1 mx -all"}])
        harness.equal(records(house, "192.0.2.25"), [{"host": "mx1.example.test"}])
        harness.equal(records(house, "null.example.test"), [{"preference": 0, "host": "."}])
        harness.equal(records(house, "odd.example.test"), [{"preference": 10, "host": "under_score.example.test"}])
        harness.equal(records(house, "_25._tcp.mx1.example.test", "TLSA"), [{"tlsa": "3 1 1 " + "0123456789abcdef" * 4}])
        answer, _, _ = ask(house, "www.example.test", "A")
        harness.equal((answer["canonical"], answer["records"]), ("mx1.example.test", [{"address": "192.0.2.25"}]))
        answer, _, _ = ask(house, "FAR.example.test.", "A")
        harness.equal((answer["canonical"], answer["records"]), ("target.other.test", [{"address": "192.0.2.99"}]))
        assert not answer["secure"] and 0 < answer["ttl"] <= 300, answer
        answer, code, _ = ask(house, "bad.example.test")
        harness.equal((answer["state"], answer["records"], code), ("ok", [], 0))
        assert "none that can be used" in answer["why"]
        text = house.check("dns", "example.test")
        harness.match(text, r"example\.test MX: 2 records, not signed; good for \d+ s\n  10 mx1")
        assert dns_status(house)["answers_ok"] >= 11


def test_no_such_name_and_no_such_record():
    with dns.Nsd(ZONES) as server, harness.Instance(settings={"resolver": server.resolver, "trust_anchor": '""'}) as house:
        answer, code, _ = ask(house, "empty.example.test", "MX")
        harness.equal((answer["state"], code), ("nodata", 1))
        answer, code, _ = ask(house, "nobody.example.test", "MX")
        harness.equal((answer["state"], code), ("nxdomain", 1))
        answer, code, _ = ask(house, "example.unserved", "MX")  # NSD says REFUSED
        harness.equal((answer["state"], code), ("temporary", 75))
        status = dns_status(house)
        harness.equal((status["answers_nodata"], status["answers_nxdomain"]), (1, 1))
        for name in ("a..b", "a b.test", "x" * 64 + ".test"):
            harness.equal(house.cli("dns", name)[0], 65, name)
        harness.equal(house.cli("dns", "example.test", "SRV")[0], 64)


def test_signatures():
    zones = {"signed.test": "@ MX 10 mx\nmx A 192.0.2.1\nfake A 192.0.2.66\n", "example.test": ZONE}
    with dns.Nsd(zones, signed=["signed.test"], spoil={"signed.test": ("192.0.2.66", "192.0.2.67")}) as server:
        with harness.Instance(settings={"resolver": server.resolver, "trust_anchor": server.trust_anchor}) as house:
            answer, code, _ = ask(house, "signed.test", "MX")
            harness.equal((answer["state"], answer["secure"], code), ("ok", True, 0))
            harness.match(house.check("dns", "mx.signed.test", "A"), "signed and validated")
            answer, _, _ = ask(house, "nobody.signed.test", "MX")
            harness.equal((answer["state"], answer["secure"]), ("nxdomain", True))
            answer, _, _ = ask(house, "mx.signed.test", "MX")
            harness.equal((answer["state"], answer["secure"]), ("nodata", True))
            answer, code, _ = ask(house, "fake.signed.test", "A")
            harness.equal((answer["state"], answer["secure"], answer["records"], code), ("bogus", False, [], 75))
            assert answer["why"], answer
            answer, _, _ = ask(house, "example.test", "MX")
            harness.equal((answer["state"], answer["secure"]), ("ok", False))
            status = dns_status(house)
            harness.equal((status["validates"], status["answers_bogus"]), ("yes", 1))
            harness.match(house.log(), "event=dns_bogus role=dns name=fake.signed.test")


def test_a_trust_anchor_that_is_not_there():
    with harness.Instance(settings={"resolver": "127.0.0.1:9", "trust_anchor": "nowhere"}, start=False) as house:
        try:
            house.start()
            raise AssertionError("it started")
        except harness.StartFailed as e:
            harness.equal(e.returncode, 78)
        harness.match(house.log(all_starts=True), "trust_anchor cannot be read")


def test_a_dead_resolver_is_temporary():
    """Within the limit; and the resolver is asked again when it is back."""
    with dns.Nsd(ZONES) as server:
        settings = {"resolver": server.resolver, "trust_anchor": '""', "dns_timeout": "2s"}
        with harness.Instance(settings=settings) as house:
            server.stop()
            for name in ("example.test", "nobody.example.test"):
                answer, code, took = ask(house, name, "MX")
                harness.equal((answer["state"], code), ("temporary", 75))
                assert took < 8, f"it took {took:.1f} s"
            server.start()
            harness.eventually(lambda: ask(house, "example.test", "MX")[0]["state"] == "ok", 25, "the resolver is used again", 0.5)


def test_the_role_dies():
    with dns.Nsd(ZONES) as server, harness.Instance(settings={"resolver": server.resolver, "trust_anchor": '""'}) as house:
        records(house, "example.test")
        old = house.kill("dns")
        harness.eventually(lambda: house.pids().get("dns", old) != old, 5, "a new role dns")
        harness.eventually(lambda: house.cli("dns", "example.test")[0] == 0, 5, "an answer of the new role")


def test_reload_changes_the_resolver():
    with dns.Nsd({"example.test": "@ MX 10 first"}) as first, dns.Nsd({"example.test": "@ MX 10 second"}) as second:
        with harness.Instance(settings={"resolver": first.resolver, "trust_anchor": '""'}) as house:
            harness.equal(records(house, "example.test"), [{"preference": 10, "host": "first.example.test"}])
            pid = house.pids()["dns"]
            conf = house.read("posthouse.conf")
            house.write("posthouse.conf", conf.replace(first.resolver, second.resolver))
            house.check("reload")
            harness.equal(records(house, "example.test"), [{"preference": 10, "host": "second.example.test"}])
            harness.equal(house.pids()["dns"], pid)
            house.write("posthouse.conf", conf.replace(first.resolver, "localhost:53"))
            code, _, err = house.cli("reload")
            harness.equal(code, 78)
            harness.match(err, "is not a server; expected an address")


def chain(query, length):
    """An answer that is a chain of aliases, each to the next."""
    names = [query.name] + [f"c{i}.{query.name}" for i in range(length)]
    return query.reply([dns.record(a, "CNAME", dns.name_bytes(b)) for a, b in zip(names, names[1:])])


def mx(preference, host):
    return struct.pack("!H", preference) + dns.name_bytes(host)


def drip(data):
    whole = struct.pack("!H", len(data)) + data
    return [part for byte in whole for part in (bytes([byte]), 0.3)]


ME = b"\xc0\x0c"
GOOD = dns.record(ME, "A", bytes([192, 0, 2, 1]))
TRUNCATED = 0x8380
# first label: (type to ask for, states that may come, what the server does with (query, tcp))
HOSTILE = {
    "never": ("A", "temporary", lambda q, tcp: None),
    "wrongid": ("A", "temporary", lambda q, tcp: q.reply([GOOD], number=bytes([q.id[0] ^ 1, q.id[1]]))),
    "guesses": ("A", "temporary ok", lambda q, tcp: [q.reply([GOOD], number=os.urandom(2)) for _ in range(300)]),
    "wrongname": ("A", "temporary", lambda q, tcp: q.reply([GOOD], question=dns.name_bytes("x.test") + b"\0\1\0\1")),
    "truncated": ("A", "ok", lambda q, tcp: q.reply([GOOD]) if tcp else q.reply(flags=TRUNCATED)),
    "truncatedtoo": ("A", "temporary ok nodata", lambda q, tcp: q.reply(flags=TRUNCATED)),
    "closes": ("A", "temporary", lambda q, tcp: [b""] if tcp else q.reply(flags=TRUNCATED)),
    "half": ("A", "temporary", lambda q, tcp: [b"\xff\xff" + q.reply([GOOD])] if tcp else q.reply(flags=TRUNCATED)),
    "drip": ("A", "temporary ok", lambda q, tcp: drip(q.reply([GOOD])) if tcp else q.reply(flags=TRUNCATED)),
    "loop": ("A", "temporary", lambda q, tcp: q.reply([dns.record(ME, "CNAME", dns.name_bytes(q.name))])),
    "pingpong": ("A", "temporary", lambda q, tcp: q.reply([dns.record(ME, "CNAME", dns.name_bytes(
        ("pingpong.b" if ".a." in q.name else "pingpong.a") + ".test"))])),
    "chain": ("A", "temporary nxdomain", lambda q, tcp: chain(q, 40)),
    "endless": ("A", "temporary", lambda q, tcp: q.reply([dns.record(ME, "CNAME", dns.name_bytes(
        f"endless.{random.getrandbits(60):x}.test"))])),
    "manymx": ("MX", "ok", lambda q, tcp: q.reply([dns.record(ME, "MX", mx(i, f"m{i}")) for i in reversed(range(1000))]) if tcp
               else q.reply(flags=TRUNCATED)),
    "bigtxt": ("TXT", "ok", lambda q, tcp: q.reply([dns.record(ME, "TXT", (b"\xff" + b"x" * 255) * 255)]) if tcp
               else q.reply(flags=TRUNCATED)),
    "manytxt": ("TXT", "ok", lambda q, tcp: q.reply([dns.record(ME, "TXT", b"\xff" + b"%03d" % i + b"x" * 252) for i in range(230)])
                if tcp else q.reply(flags=TRUNCATED)),
    "shorta": ("A", "ok temporary nodata", lambda q, tcp: q.reply([dns.record(ME, "A", b"\x01\x02")])),
    "longa": ("A", "ok temporary nodata", lambda q, tcp: q.reply([dns.record(ME, "A", b"\x01" * 9)])),
    "shortmx": ("MX", "ok temporary nodata", lambda q, tcp: q.reply([dns.record(ME, "MX", b"\0")])),
    "emptytxt": ("TXT", "ok temporary nodata", lambda q, tcp: q.reply([dns.record(ME, "TXT", b"")])),
    "liestxt": ("TXT", "ok temporary nodata", lambda q, tcp: q.reply([dns.record(ME, "TXT", b"\xffshort")])),
    "beyond": ("A", "temporary nodata", lambda q, tcp: q.reply([ME + struct.pack("!HHIH", 1, 1, 60, 60000) + b"\x01\x02\x03\x04"])),
    "pointers": ("MX", "temporary nodata ok", lambda q, tcp: q.reply([dns.record(ME, "MX", b"\0\5\xc0" + bytes([q.end + 14]))])),
    "forward": ("MX", "temporary nodata ok", lambda q, tcp: q.reply([dns.record(ME, "MX", b"\0\5\xff\xff")])),
    "nul": ("MX", "ok", lambda q, tcp: q.reply([dns.record(ME, "MX", b"\0\5\3a\0b\4test\0")])),
    "crlf": ("MX", "ok", lambda q, tcp: q.reply([dns.record(ME, "MX", b"\0\5\4a\r\nb\4test\0")])),
    "control": ("TXT", "ok", lambda q, tcp: q.reply([dns.record(ME, "TXT", b"\x08\x1b[2J\r\n\0\xff")])),
    "servfail": ("A", "temporary", lambda q, tcp: q.reply(rcode=2)),
    "refused": ("A", "temporary", lambda q, tcp: q.reply(rcode=5)),
    "formerr": ("A", "temporary", lambda q, tcp: q.reply(rcode=1)),
    "notimp": ("A", "temporary", lambda q, tcp: q.reply(rcode=4)),
    "lame": ("A", "temporary nodata", lambda q, tcp: q.reply(authority=[dns.record("", "NS", dns.name_bytes("a.root.test"))], flags=0x8000)),
    "garbage": ("A", "temporary", lambda q, tcp: q.id + os.urandom(40)),
    "tiny": ("A", "temporary", lambda q, tcp: q.id),
    "nothing": ("A", "temporary", lambda q, tcp: b""),
    "counts": ("A", "temporary nodata ok", lambda q, tcp: q.id + struct.pack("!5H", 0x8180, 1, 65535, 65535, 65535) + q.data[12:q.end] + GOOD),
    "poison": ("A", "ok", lambda q, tcp: q.reply([GOOD, dns.record("victim.test", "A", b"\x06\x06\x06\x06")],
                                                 [dns.record("test", "NS", dns.name_bytes("victim.test"))],
                                                 [dns.record("victim.test", "A", b"\x06\x06\x06\x06")])),
}
SPOILS_TCP = ("truncatedtoo", "closes", "half", "drip")  # libunbound sends several questions over one connection


def hostile_answer(query, tcp):
    if query.label in ("good", "victim"):
        return query.reply([GOOD]) if query.kind == "A" else query.nodata()
    kind, _, act = HOSTILE.get(query.label, ("", "", None))
    return act(query, tcp) if act else query.reply(rcode=3, authority=[query.soa()])


def test_a_hostile_server():
    """Whatever it sends: an answer within the limit, of a kind that may be, and the role lives."""
    with dns.Scripted(hostile_answer) as server:
        settings = {"resolver": server.resolver, "trust_anchor": '""', "dns_timeout": "3s"}
        with harness.Instance(settings=settings) as house:
            pid = house.pids()["dns"]
            wrong = []

            def one(label):
                kind, states, _ = HOSTILE[label]
                answer, _, took = ask(house, f"{label}.a.test", kind)
                if answer["state"] not in states.split() or took > 10:
                    wrong.append(f"{label}: {answer['state']} after {took:.1f} s, expected {states}")
                return label, answer

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                got = dict(pool.map(one, [label for label in HOSTILE if label not in SPOILS_TCP]))
            got.update(one(label) for label in SPOILS_TCP)
            assert not wrong, "; ".join(wrong)
            harness.equal([r["preference"] for r in got["manymx"]["records"]], list(range(128)))
            assert got["manymx"]["why"]
            harness.equal(got["bigtxt"]["records"], [])
            assert 100 <= len(got["manytxt"]["records"]) <= 128, len(got["manytxt"]["records"])
            harness.equal((got["nul"]["records"], got["crlf"]["records"]), ([], []))
            harness.equal(records(house, "victim.test", "A"), [{"address": "192.0.2.1"}])
            harness.equal(records(house, "good.test", "A"), [{"address": "192.0.2.1"}])
            assert "\x1b" not in house.check("dns", "control.a.test", "TXT")
            harness.equal(house.pids()["dns"], pid)


if __name__ == "__main__":
    harness.main()
