#!/usr/bin/env python3
"""LMTP: over TCP and a Unix socket, for local mailboxes, with a reply for each recipient after one sync."""
import os
import smtplib
import socket
import stat
import threading

import harness
from harness import Instance, Lines, equal, match, message_of

STRANGER = "127.0.0.2"  # in no list where a test leaves it out


class Unix(Lines):
    """A connection to a Unix socket."""

    def __init__(self, path, timeout=10):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.rest = b""


def greeted(wire):
    match(wire.reply(), "^220 .* LMTP Posthouse$", "greeting")
    return wire.expect("LHLO gateway.example", 250)


def envelope(wire, *recipients, sender="chris@elsewhere.example"):
    wire.expect(f"MAIL FROM:<{sender}>", 250)
    return [wire.say(f"RCPT TO:<{to}>") for to in recipients]


def content(wire, text, replies):
    wire.expect("DATA", 354)
    wire.raw(message_of(text) + b".\r\n")
    return [wire.reply() for _ in range(replies)]


def test_a_reply_for_each_recipient():
    with Instance() as house, house.lines("lmtp") as wire:
        said = greeted(wire)
        for word in ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SIZE", "SMTPUTF8", "CHUNKING", "LIMITS RCPTMAX=1000"):
            match(said, word, "reply to LHLO")
        assert "AUTH" not in said and "XCLIENT" not in said, said
        codes = [r[:9] for r in envelope(wire, "alice@posthouse.test", "nobody@posthouse.test", "bob@posthouse.test",
                                         "alice@posthouse.test")]
        equal(codes, ["250 2.1.5", "550 5.1.1", "250 2.1.5", "250 2.1.5"])
        replies = content(wire, "for two", 3)
        for reply in replies:
            match(reply, r"^250 2\.0\.0 Message accepted as \S+$", "reply to the content")
        equal(len(set(replies)), 1, "different replies")
        wire.expect("NOOP", 250)  # and nothing more was said
        for user in ("alice", "bob"):
            box = house.wait_for(1, user)
            equal(len(box), 1, f"messages of {user}")
            match(box[0], r"Received: from gateway\.example \(unknown \[127\.0\.0\.1\]\)", "Received line")
            match(box[0], r"with LMTP\r\n", "Received line")


def test_one_sync_for_all_recipients():
    names = [f"user{i}" for i in range(20)]
    with Instance(aliases="\n".join(f"{n}@posthouse.test: alice@posthouse.test" for n in names)) as house, house.lines("lmtp") as wire:
        greeted(wire)
        envelope(wire, *(f"{n}@posthouse.test" for n in names))
        before = house.status()["roles"]["smtp-in"]["syncs"]
        equal({r[:9] for r in content(wire, "for twenty", 20)}, {"250 2.0.0"})
        equal(house.status()["roles"]["smtp-in"]["syncs"], before + 1, "syncs")


def test_local_recipients_only():
    lists = "smtpd_relay_restrictions permit_mynetworks, reject_unauth_destination\nmynetworks 127.0.0.0/8"
    with Instance(append=lists, settings={"mynetworks": None}) as house, house.lines("lmtp") as wire:
        greeted(wire)
        match(envelope(wire, "victim@elsewhere.example")[0], "^554 5.7.1")
        match(wire.say("DATA"), "^503 5.5.1")
    aliases = "away@posthouse.test: x@elsewhere.example"
    rules = {"lmtp": "smtpd_relay_restrictions permit_mynetworks reject"}
    with Instance(settings={"mynetworks": "127.0.0.0/8"}, listeners=rules, aliases=aliases) as house, house.lines("lmtp") as wire:
        greeted(wire)
        replies = envelope(wire, "victim@elsewhere.example", "away@posthouse.test")
        match(replies[0], "^550 5.7.1 <victim@elsewhere.example>: LMTP delivers to mailboxes of this host alone")
        match(replies[1], "^250 2.1.5")  # an address of this host, whose mail goes on to another


def test_protocols_are_told_apart():
    with Instance() as house:
        with house.lines("lmtp") as wire:
            wire.reply()
            wire.expect("EHLO client.example", "500 5.5.2")
            wire.expect("HELO client.example", "500 5.5.2")
            wire.expect("AUTH PLAIN AAAA", "502")
            wire.expect("LHLO client.example", 250)
        with house.lines("smtp") as wire:
            wire.reply()
            wire.expect("LHLO client.example", "500 5.5.2")


def test_networks():
    with Instance(settings={"lmtp_networks": "127.0.0.1/32"}) as house:
        with house.lines("lmtp", source=STRANGER) as wire:
            match(wire.reply(), "^554 5.7.1 LMTP is not for you here")
            wire.expect("LHLO x.example", 503)
            wire.expect("QUIT", 221)
        session = match(house.log(), r"event=connect .*session=(\w+) client=127\.0\.0\.2")[1]
        match(house.check("explain", session), "add the client's network to `lmtp_networks`")
        with house.lines("lmtp", source="127.0.0.1") as wire:
            greeted(wire)
    with Instance(settings={"lmtp_networks": None}) as house, house.lines("lmtp") as wire:
        match(wire.reply(), "^554 5.7.1")


def test_no_penalties():
    """A mail system in front passes on what strangers do wrong."""
    settings = {"smtpd_hard_error_limit": "3", "smtpd_client_connection_count_limit": "1", "trusted_clients": None}
    with Instance(settings=settings) as house, house.lines("lmtp") as wire, house.lines("lmtp") as second:
        greeted(wire)
        greeted(second)
        envelope(wire, *(f"nobody{i}@posthouse.test" for i in range(10)))
        match(envelope(wire.expect("RSET", 250) and wire, "alice@posthouse.test")[0], "^250")


def test_refused_content():
    with Instance() as house, house.lines("lmtp") as wire:
        greeted(wire)
        envelope(wire, "alice@posthouse.test", "bob@posthouse.test")
        wire.expect("DATA", 354)
        wire.raw(b" continuation first\r\n\r\nx\r\n.\r\n")
        equal([wire.reply()[:9], wire.reply()[:9]], ["550 5.6.0"] * 2)
        envelope(wire, "alice@posthouse.test", "bob@posthouse.test")
        wire.raw(b"BDAT 12 LAST\r\nSubject: b\r\n")
        equal([wire.reply()[:9], wire.reply()[:9]], ["250 2.0.0"] * 2)
        equal(len(house.wait_for(1)), 1)


def test_starttls():
    with Instance() as house, house.lines("lmtp") as wire:
        match(greeted(wire), "STARTTLS")
        wire.expect("STARTTLS", 220)
        wire.starttls(house.tls())
        assert "STARTTLS" not in wire.expect("LHLO gateway.example", 250)
        envelope(wire, "alice@posthouse.test")
        match(content(wire, "over TLS", 1)[0], "^250")
        match(house.wait_for(1)[0], r"with LMTPS \(", "Received line")


def test_smtplib_client():
    with Instance() as house, smtplib.LMTP("127.0.0.1", house.port("lmtp"), local_hostname="gateway.example") as client:
        client.sendmail("x@elsewhere.example", ["alice@posthouse.test"], message_of("by smtplib"))
        equal(len(house.wait_for(1)), 1)


def socket_instance(path="run/lmtp", **more):
    house = Instance(append=f"listen lmtp unix:{path}", start=False, settings={"lmtp_networks": None}, **more)
    return house


def test_unix_socket():
    with socket_instance() as house:
        os.mkdir(house.path("run"))
        house.start()
        match(house.ready, "lmtp unix:run/lmtp", "ready line")
        st = os.stat(house.path("run/lmtp"))
        equal(oct(stat.S_IMODE(st.st_mode)), "0o660", "mode")
        equal(st.st_uid, os.stat(house.path("data")).st_uid, "owner")
        with Unix(house.path("run/lmtp")) as wire:
            greeted(wire)
            envelope(wire, "alice@posthouse.test", "bob@posthouse.test")
            equal([r[:3] for r in content(wire, "through a socket", 2)], ["250", "250"])
        box = house.wait_for(1)
        match(box[0], r"Received: from gateway\.example\r\n\tby ", "Received line")
        match(house.check("status", "--json"), "lmtp unix:run/lmtp")
        house.check("reload")
        house.restart()  # the socket is there from before
        with Unix(house.path("run/lmtp")) as wire:
            greeted(wire)
        house.kill_all()
        house.start()
        with Unix(house.path("run/lmtp")) as wire:
            greeted(wire)


def test_unix_socket_of_the_data_folder():
    with socket_instance("data/lmtp") as house:
        house.start()
        with Unix(house.path("data/lmtp")) as wire:
            greeted(wire)


def test_socket_mode():
    with socket_instance("sock") as house:
        house.write("posthouse.conf", house.read("posthouse.conf") + "lmtp_socket_mode 0600\n")
        house.start()
        equal(oct(stat.S_IMODE(os.stat(house.path("sock")).st_mode)), "0o600", "mode")


def test_socket_in_use_or_no_socket():
    with socket_instance("sock") as house:
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        other.bind(house.path("sock"))
        other.listen()
        for why in ("A server that runs has this socket", "What is there is no socket"):
            try:
                house.start()
                raise RuntimeError("it starts")
            except harness.StartFailed as e:
                match(str(e), why)
            other.close()
            if os.path.exists(house.path("sock")):
                os.unlink(house.path("sock"))
            house.write("sock", "precious")
        equal(house.read("sock"), "precious")


def test_many_recipients_at_once():
    """Replies of many recipients while the client reads slowly."""
    with Instance(settings={"smtpd_recipient_limit": "5000"}) as house, house.lines("lmtp", timeout=30) as wire:
        greeted(wire)
        group = b"MAIL FROM:<x@elsewhere.example>\r\n" + b"RCPT TO:<alice@posthouse.test>\r\n" * 4000 + b"DATA\r\n"
        thread = threading.Thread(target=wire.raw, args=(group,))
        thread.start()
        codes = [wire.reply()[:3] for _ in range(4002)]
        thread.join()
        equal(codes, ["250"] * 4001 + ["354"])
        wire.raw(message_of("for many") + b".\r\n")
        equal({wire.reply()[:9] for _ in range(4000)}, {"250 2.0.0"})
        wire.expect("QUIT", 221)


if __name__ == "__main__":
    harness.main()
