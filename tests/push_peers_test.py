#!/usr/bin/env python3
"""Mail to and from other servers, each way in clear and with STARTTLS: letters of all kinds, what is refused, notices of success.

By itself it talks to Postfix, if that is installed. With PEERS=FOLDER (`make interop`) to OpenSMTPD and Exim too, which are downloaded there.
"""
import base64
import email
import os
import random

import harness
import peers
from harness import equal, eventually, match
from sites import World, wait_report

ZONE = {"peer.test": "@ MX 10 mx\nmx A {s1}"}
EIGHT = ("From: <{}>\r\nTo: <{}>\r\nSubject: letters\r\nDate: Tue, 05 Nov 2030 10:00:00 +0000\r\nMessage-ID: <{}>\r\nMIME-Version: 1.0\r\n"
         "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
         "Grüße\r\n.\r\n..\r\n.dot\r\n\r\nFrom here on\r\n \r\nend\t\r\n")


def big():
    data = base64.encodebytes(random.Random(1).randbytes(1500000)).replace(b"\n", b"\r\n")
    return (b"From: <%s>\r\nTo: <%s>\r\nSubject: big\r\nDate: Tue, 05 Nov 2030 10:00:00 +0000\r\nMessage-ID: <%s>\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n") + data


def text_of(message):
    """The decoded text, with CRLF."""
    body = email.message_from_bytes(message).get_payload(decode=True)
    return body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def out(a, peer):
    """From Posthouse to the peer."""
    a.submit("pat@peer.test", "a first one")
    got = peer.wait_for(1)[0]
    match(got, "a first one")
    match(got, r"(?i)mail\.a\.test.*by mx\.peer\.test[^;]* with ESMTP" + (r"S\b" if peer.tls and peer.serves_tls else r"\b"))
    eight = EIGHT.format("alice@a.test", "pat@peer.test", "1@a.test").encode()
    a.submit("pat@peer.test", eight, mail=["BODY=8BITMIME"])
    equal(text_of(peer.wait_for(2)[1]), text_of(eight))
    large = big() % (b"alice@a.test", b"pat@peer.test", b"2@a.test")
    a.submit(["pat@peer.test", "sam@peer.test"], large)
    for box in (peer.wait_for(3)[2], peer.wait_for(1, "sam")[0]):
        equal(text_of(box), text_of(large))
    a.submit(["nobody@peer.test", "pat@peer.test"], "one of two")
    match(peer.wait_for(4)[3], "one of two")
    _, text, _, people = wait_report(a)
    equal([p["Final-Recipient"] for p in people], ["rfc822; nobody@peer.test"])
    match(people[0]["Status"], r"^5\.")
    match(text, "5[0-9][0-9] ")
    assert people[0]["Diagnostic-Code"].startswith("smtp; 5")
    a.empty()


def back(a, peer):
    """From the peer to Posthouse."""
    known = len(a.mailbox())
    peer.send("alice@a.test", "an answer")
    got = a.wait_for(known + 1, seconds=15)[known]
    match(got, "an answer")
    match(got, r"by mail\.a\.test with ESMTPS \(TLS" if peer.tls else r"by mail\.a\.test with ESMTP\r?\n")
    eight = EIGHT.format("pat@peer.test", "alice@a.test", "3@peer.test").encode()
    peer.send("alice@a.test", eight, mail=["BODY=8BITMIME"])
    equal(text_of(a.wait_for(known + 2, seconds=15)[known + 1]), text_of(eight))
    large = big() % (b"pat@peer.test", b"bob@a.test", b"4@peer.test")
    peer.send("bob@a.test", large)
    equal(text_of(a.wait_for(1, "bob", 15)[0]), text_of(large))
    count = len(peer.mail())
    peer.send("nobody@a.test", "to nobody")
    bounce = peer.wait_for(count + 1)[count]
    match(bounce, r"550 5\.1\.1 <nobody@a\.test>")


def success(a, peer):
    """Notices of success, made by the peer and made here."""
    known = len(a.mailbox())
    a.submit("pat@peer.test", "tell me", mail=["ENVID=from-a", "RET=HDRS"], rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;Pat@peer.test"])
    got = a.wait_for(known + 1, seconds=15)[known]
    if peer.names_envelope:
        match(got, r"(?i)Original-Envelope-Id: from-a")
        match(got, r"(?i)Original-Recipient: rfc822; ?Pat@peer\.test")
    match(got, r"(?i)Action: (delivered|relayed)")
    count = len(peer.mail())
    peer.send("alice@a.test", "tell me too", mail=["ENVID=from-peer"], rcpt=["NOTIFY=SUCCESS"])
    got = peer.wait_for(count + 1)[count]
    match(got, r"(Original-Envelope-Id: from-peer.*)?Action: (delivered|relayed)" if not peer.names_envelope else
          r"Original-Envelope-Id: from-peer.*Action: delivered")


def many(a, peer):
    """A hundred letters at once, over few connections."""
    before = a.pushed()["connections"]
    with a.smtp("submission", user="alice") as client:
        for number in range(100):
            client.sendmail("alice@a.test", ["sam@peer.test"], harness.message_of(f"number {number}", sender="alice@a.test"))
    eventually(lambda: len(peer.mail("sam")) >= 101, 30, "a hundred letters")
    a.empty()
    equal(len(peer.mail("sam")), 101)
    assert a.pushed()["connections"] - before <= 20, a.pushed()


def exchange(kind, *steps, tls=True):
    with World("a.test", zones=ZONE) as world, kind(world, "peer.test", "s1", "a.test", tls=tls) as peer:
        for step in steps:
            step(world.houses[0], peer)


def test_postfix():
    exchange(peers.Postfix, out, back, success, many)


if os.environ.get("PEERS"):
    def test_postfix_in_clear():
        exchange(peers.Postfix, out, back, tls=False)

    def test_opensmtpd():
        exchange(peers.OpenSMTPD, out, back, success, many)

    def test_opensmtpd_in_clear():
        exchange(peers.OpenSMTPD, out, back, tls=False)

    def test_exim():
        exchange(peers.Exim, out, back, success, many)

    def test_exim_in_clear():
        exchange(peers.Exim, out, back, tls=False)


if __name__ == "__main__":
    harness.main()
