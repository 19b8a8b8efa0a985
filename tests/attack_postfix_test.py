#!/usr/bin/env python3
"""What audits found in Postfix in 2026, tried here: what is left of a transaction that went wrong, and parameters nobody thought of."""
import harness
from harness import Instance, equal

SETTINGS = {"smtpd_hard_error_limit": "1000", "message_size_limit": "100K"}
MAIL, RCPT = "MAIL FROM:<a@b.example>", "RCPT TO:<alice@posthouse.test>"


def greeted(house, service="smtp"):
    wire = house.lines(service)
    wire.reply()
    wire.expect("EHLO client.example" if service != "lmtp" else "LHLO client.example", 250)
    return wire


def nothing_is_left(wire):
    """No sender, no recipient, no chunk of before counts any more."""
    wire.expect("DATA", 503)
    wire.expect("BDAT 3 LAST\r\nx", 503)
    wire.expect(RCPT, 503)
    wire.expect(MAIL, 250)
    wire.expect("DATA", (503, 554))
    wire.expect("RSET", 250)


def test_a_refused_chunk_leaves_nothing():
    wrong = ["BDAT 200000 LAST\r\n" + "x" * 199998, "BDAT 10 LAST\r\nab\ncd\ref\r\n"[:-2], "BDAT 3 LAST LAST\r\nx", "BDAT 3 SOON\r\nx"]
    with Instance(settings=SETTINGS) as house, greeted(house) as wire:
        for chunk in wrong:
            wire.expect(MAIL, 250)
            wire.expect(RCPT, 250)
            wire.expect("BDAT 12\r\nSubject: x", 250)
            got = wire.say(chunk)
            assert got.startswith(("5", "4")), f"{chunk[:20]!r}: {got!r}"
            nothing_is_left(wire)
        equal(len(house.mailbox()), 0, "messages")


def test_a_message_refused_at_its_end_leaves_nothing():
    hops = "Received: x\r\n" * 200
    wrong = ["x" * 70 + "\r\n", None, " y: begins with a fold\r\n\r\nx"]
    with Instance(settings=SETTINGS) as house:
        for service in ("smtp", "lmtp"):
            with greeted(house, service) as wire:
                for content in wrong + [hops + "\r\nx"]:
                    wire.expect(MAIL, 250)
                    wire.expect(RCPT, 250)
                    wire.expect("DATA", 354)
                    if content == wrong[0]:
                        content = content * 2000  # too large
                    wire.expect((content or "Subject: x\r\n\r\na\nb") + "\r\n.", ("5", "4"))
                    nothing_is_left(wire)
        equal(len(house.mailbox()), 0, "messages")


def test_addresses_beyond_ascii_want_smtputf8():
    with Instance(settings=SETTINGS, aliases="grüße@posthouse.test: alice@posthouse.test") as house, greeted(house) as wire:
        wire.expect("MAIL FROM:<ü@b.example>", ("550 5.6.7", "553 5.6.7"))
        wire.expect("MAIL FROM:<a@bü.example>", ("5", ))
        wire.expect(MAIL, 250)
        wire.expect("RCPT TO:<grüße@posthouse.test>", ("550 5.6.7", "553 5.6.7"))
        wire.expect("RSET", 250)
        wire.expect("MAIL FROM:<ü@b.example> SMTPUTF8", 250)
        wire.expect("RCPT TO:<grüße@posthouse.test>", 250)
        wire.expect("RSET", 250)
        wire.expect(MAIL, 250)  # the word of the transaction before is forgotten
        wire.expect("RCPT TO:<grüße@posthouse.test>", ("550 5.6.7", "553 5.6.7"))


def test_bytes_hidden_in_parameters():
    """Whatever xtext hides, it is refused or never comes out."""
    mail = ["ENVID=a+00b", "ENVID=+0D+0A", "RET=FULL+00", "AUTH=<>+00", "SIZE=1+00", "BODY=8BITMIME+00", "ENVID=" + "x" * 900, "X+00=1", "=", "SIZE==1"]
    rcpt = ["ORCPT=rfc822;a+00b@c.example", "ORCPT=+00;x", "NOTIFY=NEVER+00", "NOTIFY=,,,", "ORCPT=rfc822;" + "+0A" * 200, "="]
    with Instance(settings=SETTINGS) as house, greeted(house) as wire:
        for word in mail:
            got = wire.say(f"{MAIL} {word}")
            assert got.startswith(("501", "555", "500", "552")), f"{word[:40]}: {got!r}"
        wire.expect(MAIL, 250)
        for word in rcpt:
            got = wire.say(f"{RCPT} {word}")
            assert got.startswith(("501", "555", "500")), f"{word[:40]}: {got!r}"
        wire.expect(RCPT, 250)


def test_from_lines_count_and_stay():
    """A line that begins with From and a blank is content like any other: counted, and unchanged."""
    with Instance(settings=SETTINGS) as house, greeted(house) as wire:
        for lines, code in ((7000, "552 5.3.4"), (100, "250")):
            wire.expect(MAIL, 250)
            wire.expect(RCPT, 250)
            wire.expect("DATA", 354)
            wire.expect("Subject: x\r\n\r\n" + "From x Tue Nov\r\n" * lines + ".", code)
        wire.expect(MAIL, 250)
        wire.expect(RCPT, 250)
        wire.expect("DATA", 354)
        wire.expect("From x Tue Nov  5 10:00:00 2030\r\nSubject: y\r\n\r\nx\r\n.", (250, 550))
        assert house.wait_for(1)[0].endswith(b"\r\n\r\n" + b"From x Tue Nov\r\n" * 100)


if __name__ == "__main__":
    harness.main()
