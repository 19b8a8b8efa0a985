#!/usr/bin/env python3
"""Sites that send one another mail by the MX records of real zones: what arrives, and what a sender hears when it does not."""
import base64
import email
import re
import time

import harness
import sink
import sites
from harness import equal, eventually, match
from sites import SINK, World, fence, report, wait_report

POSTMASTER = "postmaster@a.test: alice@a.test"  # as quickstart writes it
NETWORK = {"mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks permit_sasl_authenticated reject_unauth_destination"}
DSN = (*sink.EXTENSIONS, "DSN")


def return_path(message):
    return match(message, r"^Return-Path: <([^>\r\n]*)>")[1]


def body(message):
    """Its text as it was meant: without transfer encoding."""
    mail = email.message_from_bytes(message)
    return mail.get_payload(decode=True)


# sites with each other


def test_by_mx():
    plain = {"settings": {"tls_certificate": None, "tls_key": None}, "append": ""}
    zones = {"deep.test": "far CNAME near\nnear MX 5 mail.b.test."}
    with World("a.test", "b.test", "c.test", zones=zones, signed=["b.test"], each={"c.test": plain}) as world:
        a, b, c = world.houses
        for number, text in ((1, "over TLS"), (2, "and again")):
            a.submit("bob@b.test", text)
            got = b.wait_for(number, "bob")[number - 1]
            match(got, rf"Received: from mail\.a\.test \(\S+ \[{world.addresses['a.test']}\]\)\r\n\tby mail\.b\.test with ESMTPS \(TLS1\.3")
            match(got, rf"\r\n\r\n{text}\r\n$")
            equal(return_path(got), "alice@a.test")
        match(a.check("route", "bob@b.test"), "vouched for by DNSSEC")
        world.houses[2].stop()
        conf = re.sub(r"(?m)^(tls_|listen (submissions|pop3s)).*\n", "", c.read("posthouse.conf"))
        c.write("posthouse.conf", conf)
        c.start()
        a.submit("carol@c.test", "in clear")
        a.empty()
        equal(a.pushed()["relayed"], 3)
        people = ["alice@b.test", "bob@b.test", "carol@b.test", "alice@c.test", "bob@c.test", "bob@a.test"]
        a.submit(people, "to all")
        a.empty()
        for who in ("alice", "bob", "carol"):
            match(b.wait_for(3 if who == "bob" else 1, who)[-1], "to all")
        match(a.wait_for(1, "bob")[0], "to all")
        equal(a.pushed()["relayed"], 8)
        b.submit("alice@a.test", "an answer", user="bob")
        match(a.wait_for(1)[0], "an answer")


def test_many_recipients():
    """A message for 250 at one site: jobs of a hundred, each recipient once, over few connections."""
    with World("a.test", zones=SINK) as world, world.sink("s1", extensions=DSN) as other:
        a = world.houses[0]
        people = [f"p{i}@sink.test" for i in range(250)]
        a.submit(people)
        eventually(lambda: sum(len(m.to) for m in other.taken()) >= len(people), 10, "everybody has it")
        a.empty()
        equal(sorted(to for m in other.taken() for to in m.to), sorted(people))
        equal(len(other.taken()), 3, "copies")
        assert len(other.sessions) <= 3, len(other.sessions)


ROUTES = """
route strict { recipient @b.test @wrong.test; next mx; tls verified }
route must   { recipient @must.test @sink.test; next mx; tls mandatory }
route never  { recipient @never.test; next mx; tls none }
route no     { recipient @no.test; fail "5.7.1 We do not write to them" }
route smart  { recipient @smart.test; next smtp [127.0.0.1]:1 smtp [{s2}]:{port} }
"""


def test_routes_and_tls():
    """Verified, mandatory and no TLS; a route that fails with its text; fallback to the next hop."""
    zones = {**SINK, "must.test": "@ MX 10 mail.b.test.", "never.test": "@ MX 10 mx\nmx A {s1}", "wrong.test": "@ MX 10 other\nother A {b.test}"}
    each = {"b.test": {"append": "domain must.test\n", "aliases": "bob@must.test: bob@b.test\npostmaster@must.test: bob@b.test"},
            "a.test": {"append": ROUTES}}
    with World("b.test", "a.test", zones=zones, each=each) as world:
        b, a = world.houses
        a.submit(["bob@b.test", "x@wrong.test"], "only to whom it is for")
        eventually(lambda: len([q for q in a.queue() if q["attempts"]]) == 2)
        equal({q["status"] for q in a.queue()}, {"4.7.5"})
        a.write("posthouse.conf", a.read("posthouse.conf") + f"smtp_tls_CAfile {b.ca}\n")
        a.check("reload")
        match(b.wait_for(1, "bob")[0], "only to whom")
        eventually(lambda: len(a.queue()) == 1)
        eventually(lambda: a.queue()[0]["attempts"] > 2)
        equal((a.queue()[0]["recipient"], a.queue()[0]["status"]), ("x@wrong.test", "4.7.5"))
        a.submit("bob@must.test", "encrypted")
        match(b.wait_for(2, "bob")[1], "ESMTPS")
        a.submit("z@no.test")
        _, text, _, people = wait_report(a)
        equal(people[0]["Status"], "5.7.1")
        match(text, "We do not write to them")
        with world.sink("s1") as clear, world.sink("s2", tls=world.certificate()) as smart:
            a.submit("x@sink.test", "never in clear")
            a.submit("x@never.test", "in clear")
            match(eventually(clear.taken)[0].data, "\r\nin clear")
            eventually(lambda: [q for q in a.queue() if q["recipient"] == "x@sink.test" and q["attempts"]])
            equal(len(clear.messages), 1)
            a.submit("x@smart.test", "by the second hop")
            assert eventually(smart.taken)[0].tls
        a.check("queue", "drop", "--sender", "alice@a.test")


def test_literal():
    with World("a.test", "b.test") as world:
        a, b = world.houses
        with world.sink("s1") as other:
            a.submit(f"someone@[{world.addresses['s1']}]")
            eventually(other.taken)
            equal(other.messages[0].to, [f"someone@[{world.addresses['s1']}]"])


def test_alias_and_back():
    each = {"b.test": {"aliases": "away@b.test: carol@c.test\ngone@b.test: nobody@c.test"}}
    with World("a.test", "b.test", "c.test", each=each) as world:
        a, b, c = world.houses
        a.submit("away@b.test", "follow me")
        got = c.wait_for(1, "carol")[0]
        match(got, "follow me")
        match(return_path(got), r"^SRS0=[^@]*=a\.test=alice@b\.test$")
        match(got, r"(?m)^Delivered-To: away@b\.test")
        back = return_path(got)
        with b.lines("smtp") as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            wire.expect("MAIL FROM:<carol@c.test>", 250)
            wire.expect(f"RCPT TO:<{back}>", "550 5.1.1")
            wire.expect("RSET", 250)
            wire.expect("MAIL FROM:<>", 250)
            wire.expect(f"RCPT TO:<{back.replace('=a.test=alice', '=a.test=bob')}>", "550 5.1.1")
            wire.expect(f"RCPT TO:<{back}>", 250)
            wire.expect("DATA", 354)
            wire.expect("Subject: a notice\r\n\r\nit goes back by hand\r\n.", 250)
        match(a.wait_for(1)[0], "Return-Path: <>.*it goes back by hand")
        a.submit("gone@b.test", "nobody is there")
        mail, text, fields, people = wait_report(a, count=2)
        equal((people[0]["Final-Recipient"], people[0]["Status"]), ("rfc822; gone@b.test", "5.1.1"))
        equal(fields["Reporting-MTA"], "dns; mail.b.test")
        equal(len(fence(a)), 2, "what alice heard")


def test_own_senders_are_not_rewritten():
    with World("b.test", "c.test", each={"b.test": {"aliases": "away@b.test: carol@c.test"}}) as world:
        b, c = world.houses
        b.submit("away@b.test")
        equal(return_path(c.wait_for(1, "carol")[0]), "alice@b.test")


def test_loop_of_two_forwards():
    each = {"a.test": {"aliases": "loop@a.test: loop@b.test"}, "b.test": {"aliases": "loop@b.test: loop@a.test"}}
    with World("a.test", "b.test", each=each) as world:
        a, b = world.houses
        a.submit("loop@a.test")
        _, text, _, people = wait_report(a)
        equal(people[0]["Status"], "5.4.6")
        match(text, "circle")
        a.empty()
        b.empty()
        equal(len(fence(a)), 1, "notices of the loop")
        assert a.pushed()["relayed"] + b.pushed()["relayed"] <= 5, (a.pushed(), b.pushed())


# what a sender hears


def test_refused():
    with World("a.test", "b.test", zones=SINK) as world:
        a, b = world.houses
        a.submit(["nobody@b.test", "bob@b.test"], "for two")
        match(b.wait_for(1, "bob")[0], "for two")
        mail, text, fields, people = wait_report(a)
        equal(mail["Return-Path"], "<>")
        equal(mail["Auto-Submitted"], "auto-replied")
        equal([p["Final-Recipient"] for p in people], ["rfc822; nobody@b.test"])
        equal((people[0]["Action"], people[0]["Status"], people[0]["Remote-MTA"]), ("failed", "5.1.1", "dns; mail.b.test"))
        said = match(people[0]["Diagnostic-Code"], r"^smtp; (550 5\.1\.1 .+)$")[1]
        assert said in text, (said, text)
        match(text, "Look for a typing error in the address")
        trace = fields["X-Posthouse-Trace"]
        assert trace in text
        seen = a.check("trace", trace)
        match(seen, "nobody@b.test")
        with world.sink("s1", {"content": "554 5.7.1 first line\n554 5.7.1 <second> line\n554 5.7.1 third"}) as other:
            a.submit(["one@sink.test", "two@sink.test"])
            _, text, _, people = wait_report(a, count=2)
            equal(len(people), 2)
            for line in ("554-5.7.1 first line", "554-5.7.1 <second> line", "554 5.7.1 third"):
                equal(text.count(line), 2, line)
            equal(len(other.messages), 1)


def test_no_notice_of_a_notice():
    with World("a.test", zones=SINK, settings=NETWORK) as world:
        a = world.houses[0]
        with world.sink("s1", {"rcpt": "550 5.1.1 nobody"}) as other:
            a.send("someone@sink.test", sender="", text="from nobody")
            mail, text, _, people = wait_report(a)
            equal(people[0]["Final-Recipient"], "rfc822; someone@sink.test")
            match(text, "postmaster")
            a.send("someone@sink.test", sender="other@sink.test", text="its notice cannot go back")
            mail, text, _, people = wait_report(a, count=2)
            equal(people[0]["Final-Recipient"], "rfc822; other@sink.test")
            a.empty()
            equal(len(fence(a)), 2, "notices")
            equal(len(other.messages), 0)
        a.stop()
        a.write("aliases", a.read("aliases").replace(POSTMASTER, "postmaster@a.test: someone@sink.test"))
        a.start()
        with world.sink("s1", {"rcpt": "550 5.1.1 nobody"}) as other:
            a.send("someone@sink.test", sender="", text="even the postmaster is away")
            eventually(lambda: len(other.sessions) >= 1 and not a.queue(), 10)
            time.sleep(0.3)
            assert not a.queue() and len([s for o in other.sessions for s in o.lines if s.startswith("RCPT")]) <= 2, "a bounce of a bounce of a bounce"


def test_success():
    with World("a.test", "b.test", zones={**SINK, "dsn.test": "@ MX 10 mx\nmx A {s2}"}) as world:
        a, b = world.houses
        a.submit("bob@b.test", mail=["RET=HDRS", "ENVID=number+2B7"], rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;Robert@b.test"])
        mail, text, fields, people = wait_report(a)
        equal((fields["Original-Envelope-Id"], fields["Reporting-MTA"]), ("number+7", "dns; mail.b.test"))
        equal((people[0]["Action"], people[0]["Original-Recipient"]), ("delivered", "rfc822; Robert@b.test"))
        match(people[0]["Status"], r"^2\.")
        equal(mail.get_payload()[2].get_content_type(), "text/rfc822-headers")
        with world.sink("s1") as knows_nothing, world.sink("s2", extensions=DSN) as knows_dsn:
            a.submit("x@sink.test", mail=["ENVID=here"], rcpt=["NOTIFY=SUCCESS,FAILURE"])
            mail, text, fields, people = wait_report(a, count=2)
            equal((people[0]["Action"], fields["Reporting-MTA"], fields["Original-Envelope-Id"]), ("relayed", "dns; mail.a.test", "here"))
            a.submit("y@dsn.test", mail=["RET=FULL", "ENVID=there"], rcpt=["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Y@dsn.test"])
            got = eventually(knows_dsn.taken)[0]
            assert {"RET=FULL", "ENVID=there"} <= set(got.mail), got.mail
            assert {"ORCPT=rfc822;Y@dsn.test"} <= set(got.rcpts[0][1]) and any(
                sorted(w.split("=")[1].split(",")) == ["DELAY", "SUCCESS"] for w in got.rcpts[0][1] if w.startswith("NOTIFY=")), got.rcpts
            a.submit("y@dsn.test", rcpt=["NOTIFY=NEVER"])
            eventually(lambda: len(knows_dsn.taken()) == 2)
            assert "NOTIFY=NEVER" in knows_dsn.messages[1].rcpts[0][1]
            assert not any(w.startswith(("RET=", "ENVID=")) for w in knows_nothing.messages[0].mail)
            assert not knows_nothing.messages[0].rcpts[0][1], knows_nothing.messages[0].rcpts
        a.empty()
        equal(len(fence(a)), 2, "notices")


def test_never_and_returned_content():
    with World("a.test", zones=SINK) as world, world.sink("s1", {"rcpt": "550 5.1.1 nobody"}):
        a = world.houses[0]
        a.submit("x@sink.test", rcpt=["NOTIFY=NEVER"])
        a.submit("x@sink.test", rcpt=["NOTIFY=SUCCESS"])
        a.submit("x@sink.test", rcpt=["NOTIFY=DELAY"])
        a.empty()
        equal(fence(a), [], "notices nobody wanted")
        a.submit("x@sink.test", "the secret text", mail=["RET=HDRS"], rcpt=["NOTIFY=FAILURE"])
        got = a.wait_for(2)[1]
        mail, _, fields, _ = report(got)
        equal(mail.get_payload()[2].get_content_type(), "text/rfc822-headers")
        assert b"the secret text" not in got and "Original-Envelope-Id" not in fields
        a.submit("x@sink.test", "the secret text", mail=["RET=FULL"])
        got = a.wait_for(3)[2]
        equal(report(got)[0].get_payload()[2].get_content_type(), "message/rfc822")
        assert b"the secret text" in got


# the DNS


def test_what_the_dns_says():
    zone = "null MX 0 .\nplain A {s1}\nempty TXT nothing\npublic MX 10 lan\nlan A 10.9.8.7"
    with World("a.test", zones={"odd.test": zone}) as world, world.sink("s1") as other:
        a = world.houses[0]
        for number, (domain, status, words) in enumerate([("null.odd.test", "5.1.10", "does not accept mail"),
                                                          ("nowhere.odd.test", "5.1.2", "there is no domain"),
                                                          ("empty.odd.test", "5.4.4", "neither MX"),
                                                          ("public.odd.test", "5.4.4", "10.9.8.7, a private address"),
                                                          ("[10.9.8.7]", "5.4.4", "private")]):
            a.submit(f"x@{domain}")
            _, text, _, people = wait_report(a, count=number + 1)
            equal((people[0]["Final-Recipient"], people[0]["Status"]), (f"rfc822; x@{domain}", status))
            match(text, words)
        a.submit("x@plain.odd.test", "by its address")
        eventually(other.taken)


def test_preferences():
    zone = "".join(f"{d} MX 10 first\n{d} MX 20 second\n{d} MX 30 third\n" for d in ("one", "two", "three")) + "first A {s1}\nsecond A {s2}\nthird A {s3}"
    with World("a.test", zones={"many.test": zone}) as world, world.sink("s3") as third:
        a = world.houses[0]
        a.submit("x@one.many.test", "to the third")
        eventually(third.taken)
        with world.sink("s2") as second:
            a.submit("x@two.many.test", "to the second")
            eventually(second.taken)
            with world.sink("s1", {"connect": "554 5.3.2 no mail here"}) as first:
                a.submit("x@three.many.test", "the first refuses in its greeting")
                eventually(lambda: len(second.taken()) == 2)
                equal(len(first.sessions), 1)
        equal(len(third.taken()), 1)
        a.empty()
        assert not a.mailbox()


# what the other side cannot


UTF8 = (*sink.EXTENSIONS, "SMTPUTF8")
PLAIN = ("PIPELINING", "SIZE 10000000")


def test_smtputf8():
    zones = {**SINK, "utf8.test": "@ MX 10 mx\nmx A {s2}"}
    with World("a.test", zones=zones) as world, world.sink("s1") as old, world.sink("s2", extensions=UTF8) as new:
        a = world.houses[0]
        with a.smtp("submission", user="alice") as client:
            client.command_encoding = "utf-8"
            for people in (["jürgen@utf8.test"], ["jürgen@sink.test"], ["ascii@sink.test"]):
                client.ehlo_or_helo_if_needed()
                equal(client.docmd("MAIL", "FROM:<alice@a.test> SMTPUTF8 BODY=8BITMIME")[0], 250)
                for p in people:
                    equal(client.docmd("RCPT", f"TO:<{p}>")[0], 250)
                equal(client.data(harness.message_of("hello", sender="alice@a.test"))[0], 250)
        got = eventually(new.taken)[0]
        assert "SMTPUTF8" in got.mail and got.to == ["jürgen@utf8.test"], (got.mail, got.to)
        got = a.wait_for(1)[0]
        for words in (r"Action: failed\r\nStatus: 5\.6\.7", "utf-8; jürgen@sink.test", "English"):
            match(got, words)
        got = eventually(old.taken)[0]
        equal(got.to, ["ascii@sink.test"])
        assert "SMTPUTF8" not in got.mail, got.mail


def test_eight_bit():
    text = "Viele Grüße aus Köln, wo es heute wieder sehr nach Regen aussieht.\n" * 40 + "x" * 300 + " é\n"
    message = ("From: <alice@a.test>\r\nTo: <x@sink.test>\r\nSubject: eight bits\r\nMIME-Version: 1.0\r\n"
               "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
               + text.replace("\n", "\r\n")).encode()
    with World("a.test", zones={**SINK, "new.test": "@ MX 10 mx\nmx A {s2}"}) as world, \
            world.sink("s1", extensions=PLAIN) as old, world.sink("s2") as new:
        a = world.houses[0]
        a.submit(["x@sink.test", "y@new.test"], message, mail=["BODY=8BITMIME"])
        got = eventually(old.taken)[0]
        assert got.data.isascii() and "BODY=8BITMIME" not in got.mail, got.mail
        assert max(map(len, got.data.split(b"\r\n"))) <= 998
        match(got.data, r"(?mi)^Content-Transfer-Encoding: quoted-printable\r$")
        equal(body(got.data).replace(b"\r\n", b"\n"), text.encode())
        got = eventually(new.taken)[0]
        assert "BODY=8BITMIME" in got.mail, got.mail
        assert got.data.endswith(message.split(b"\r\n\r\n", 1)[1]), "changed for a peer that knows 8BITMIME"


def test_binary_parts_survive():
    """Base64 stays as it is for whatever peer; a big message is the same octet for octet."""
    data = base64.encodebytes(bytes(range(256)) * 4000).replace(b"\n", b"\r\n")
    message = (b"From: <alice@a.test>\r\nTo: <x@sink.test>\r\nSubject: big\r\nDate: Tue, 05 Nov 2030 10:00:00 +0000\r\n"
               b"Message-ID: <big@a.test>\r\nMIME-Version: 1.0\r\n"
               b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n") + data + b"..\r\n.\r\n.x\r\n"
    zones = {**SINK, "dots.test": "@ MX 10 mx\nmx A {s2}"}
    with World("a.test", "b.test", zones=zones) as world, world.sink("s1", extensions=(*PLAIN, "CHUNKING")) as counts, \
            world.sink("s2", extensions=PLAIN) as dots:
        a, b = world.houses
        a.submit(["x@sink.test", "y@dots.test", "bob@b.test"], message)
        for other in (counts, dots):
            got = eventually(other.taken, 10)[0]
            equal(got.bdat, other is counts)
            assert got.data.endswith(message), "changed on the way"
        assert b.wait_for(1, "bob")[0].endswith(message), "changed on the way"


if __name__ == "__main__":
    harness.main()
