"""`posthouse route` on a running server with a name server of its own: each rule of RFC 5321 5.1 and RFC 7505 as the plan shows it. Nothing is
sent, so the addresses may be anybody's."""
import json

import dns
import harness

ZONE = """
@        MX 20 mx2
@        MX 10 mx1
mx1      A 5.1.1.1
mx1      AAAA 2a00::1
mx2      A 5.1.1.2
null     MX 0 .
plain    A 5.1.1.3
alias    CNAME plain
nothing  TXT "no mail"
inside   MX 10 lan
inside   MX 20 mx1
lan      A 192.168.1.1
onlylan  MX 10 lan
local    MX 10 loop
loop     A 127.0.0.1
backup   MX 10 mx1
backup   MX 20 here.posthouse.test.
backup   MX 30 mx2
us       MX 10 here.posthouse.test.
dead     MX 10 nowhere
xn--bcher-kva MX 10 mx1
a.sub    MX 10 mx2
"""
ZONES = {"example.test": ZONE, "posthouse.test": "here A 5.9.9.9\nrelay A 10.0.0.7", "signed.test": "@ MX 10 mx\nmx A 5.2.2.2\nbad MX 10 mx",
         "local.test": "@ MX 10 loop.example.test."}
ROUTES = """
relay_credentials keys
route relay {
    sender     @posthouse.test
    recipient  @far.test .sub.example.test
    next       smtp [relay.posthouse.test]:587  mx example.test
    auth       relay
    source     127.0.0.1
    concurrency 3; rate 100/m
}
route spool { recipient @spool.test; next lmtp [127.0.0.1]:2400 }
route no    { recipient @refused.test; fail "5.7.1 We do not deliver there" }
"""


def house_of(server, **settings):
    return harness.Instance(append=ROUTES, settings={"resolver": server.resolver, "hostname": "here.posthouse.test", **settings},
                            files={"keys": "relay user password\n"})


def ask(house, address, sender=None):
    """The plan, its targets as (group, host, address:port), the exit code."""
    code, out, err = house.cli("route", address, "--json", *(["--from", sender] if sender is not None else []))
    assert out, f"posthouse route {address}: exit code {code}: {err}"
    plan = json.loads(out)
    harness.equal(code, 0 if plan["action"] == "go" else 1, out)
    return plan, [(t["group"], t["host"], f'{t["address"]}:{t["port"]}') for t in plan["targets"]], code


def refused(house, address, action, status, words):
    plan, targets, _ = ask(house, address)
    harness.equal((plan["action"], plan["status"], targets), (action, status, []), plan)
    harness.match(plan["text"], words)


def test_by_mx():
    with dns.Nsd(ZONES, signed=["signed.test"]) as server, house_of(server, trust_anchor=server.trust_anchor) as house:
        first = [(1, "mx1.example.test", "2a00::1:25"), (1, "mx1.example.test", "5.1.1.1:25")]
        plan, targets, _ = ask(house, "someone@Example.test", "alice@posthouse.test")
        harness.equal(targets, first + [(2, "mx2.example.test", "5.1.1.2:25")])
        harness.equal((plan["route"]["name"], plan["sender"]), ("mx", "alice@posthouse.test"))
        harness.equal(plan["facts"][0]["records"], ["10 mx1.example.test", "20 mx2.example.test"])
        assert not plan["facts"][0]["secure"] and plan["facts"][0]["ttl"] > 0, plan["facts"]
        harness.equal(ask(house, "x@b\u00fccher.example.test")[1], first)
        harness.equal(ask(house, "x@plain.example.test")[1], [(1, "plain.example.test", "5.1.1.3:25")])
        harness.equal(ask(house, "x@alias.example.test")[1], [(1, "alias.example.test", "5.1.1.3:25")])
        harness.equal(ask(house, "x@[5.1.1.1]")[1], [(1, "[5.1.1.1]", "5.1.1.1:25")])
        harness.equal(ask(house, "x@[IPv6:2a00::5]")[1], [(1, "[IPv6:2a00::5]", "2a00::5:25")])
        plan, _, _ = ask(house, "x@signed.test")
        assert plan["targets"][0]["secure"], plan
        refused(house, "x@null.example.test", "fail", "5.1.10", "does not accept mail")
        refused(house, "x@nobody.example.test", "fail", "5.1.2", "no domain")
        refused(house, "x@nothing.example.test", "fail", "5.4.4", "neither MX records nor an address")
        refused(house, "x@dead.example.test", "fail", "5.4.4", "does not exist")
        refused(house, "x@example.unserved", "defer", "4.4.3", "does not say the MX")


def test_to_ourselves():
    with dns.Nsd(ZONES) as server, house_of(server, trust_anchor='""') as house:
        plan, targets, _ = ask(house, "x@backup.example.test")
        harness.equal({t[1] for t in targets}, {"mx1.example.test"})
        harness.match(plan["left_out"][0], "here.posthouse.test is this host: MX records of preference 20 and above are left out")
        refused(house, "x@us.example.test", "fail", "5.4.6", "would come back")


def test_private_addresses():
    with dns.Nsd(ZONES) as server:
        with house_of(server, trust_anchor='""') as house:
            plan, targets, _ = ask(house, "x@inside.example.test")
            harness.equal({t[1] for t in targets}, {"mx1.example.test"})
            harness.match(plan["left_out"][0], "lan.example.test has the address 192.168.1.1, a private address")
            refused(house, "x@onlylan.example.test", "fail", "5.4.4", "192.168.1.1, a private address")
            refused(house, "x@local.test", "fail", "5.4.4", "127.0.0.1, a loopback address")
            refused(house, "x@[10.0.0.1]", "fail", "5.4.4", "10.0.0.1 is a private address")
            house.write("posthouse.conf", house.read("posthouse.conf") + "allow_private_destinations 192.168.0.0/16\n")
            house.check("reload")
            harness.equal(ask(house, "x@onlylan.example.test")[1], [(1, "lan.example.test", "192.168.1.1:25")])
            refused(house, "x@local.test", "fail", "5.4.4", "127.0.0.1, a loopback address")
        with house_of(server, trust_anchor='""', allow_private_destinations="yes", smtp_tcp_port="2525") as house:
            harness.equal(ask(house, "x@local.test")[1], [(1, "loop.example.test", "127.0.0.1:2525")])


def test_routes():
    with dns.Nsd(ZONES) as server, house_of(server, trust_anchor='""') as house:
        for address in ("x@far.test", "x@a.sub.example.test"):
            plan, targets, _ = ask(house, address, "alice@posthouse.test")
            harness.equal(targets[:2], [(1, "relay.posthouse.test", "10.0.0.7:587"), (2, "mx1.example.test", "2a00::1:25")])
            harness.equal(plan["route"]["name"], "relay")
            assert plan["route"]["line"] > 1 and plan["route"]["file"].endswith("posthouse.conf"), plan["route"]
            harness.equal((plan["route"]["auth"], plan["targets"][0]["tls"]), ("relay", "verified"))
            harness.equal((plan["route"]["source"], plan["route"]["concurrency"], plan["route"]["rate"]), (["127.0.0.1"], 3, 100))
        harness.equal(ask(house, "x@a.sub.example.test", "")[1], [(1, "mx2.example.test", "5.1.1.2:25")])
        plan, targets, _ = ask(house, "x@spool.test")
        harness.equal((targets, plan["targets"][0]["how"]), ([(1, "[127.0.0.1]", "127.0.0.1:2400")], "lmtp"))
        refused(house, "x@refused.test", "fail", "5.7.1", "We do not deliver there")
        text = house.check("route", "x@far.test", "--from", "alice@posthouse.test")
        harness.match(text, r"route relay \(\S*posthouse\.conf:\d+\): TLS verified, at most 3 connections")
        harness.match(text, r"  1\. relay\.posthouse\.test \[10\.0\.0\.7\]:587, smtp, TLS verified")


def test_local_addresses_and_mistakes():
    with dns.Nsd(ZONES) as server, house_of(server, trust_anchor='""') as house:
        harness.match(house.check("route", "alice@posthouse.test"), "-> alice@posthouse.test INBOX")
        harness.equal(house.cli("route", "nobody@posthouse.test")[0], 1)
        harness.equal(house.cli("route", "not an address")[0], 65)
        harness.equal(house.cli("route")[0], 64)


def test_the_dns_is_away():
    """A dead resolver defers and never fails a message; without a server only what needs no DNS is known."""
    with house_of(type("Nobody", (), {"resolver": "127.0.0.1:9"}), trust_anchor='""', dns_timeout="1s") as house:
        refused(house, "x@example.test", "defer", "4.4.3", "does not say the MX of example.test now")
        house.stop()
        code, out, err = house.cli("route", "x@example.test")
        harness.equal(code, 69)
        harness.match(out, "MX   example.test: not answered")
        harness.match(err, "only a running one asks the DNS")
        harness.equal(house.cli("route", "x@spool.test")[0], 0)


if __name__ == "__main__":
    harness.main()
