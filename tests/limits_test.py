#!/usr/bin/env python3
"""What a client may do, and for how long: limits on errors, commands, recipients, sizes, time, connections and guesses, and bytes
that are sent to mislead. STRANGER is an address that is not among trusted_clients."""
import base64
import socket
import statistics
import time

import harness
from harness import Instance, equal, eventually, match

STRANGER = "127.0.0.9"
TRUSTED = "127.0.0.1/32"


def settings(**more):
    return dict({"trusted_clients": TRUSTED}, **more)


def greeted(house, service="smtp", source=STRANGER, helo="EHLO client.example"):
    wire = house.lines(service, source)
    if service.startswith("pop3"):
        assert wire.line().startswith("+OK")
        return wire
    assert wire.reply().startswith("220 ")
    if helo:
        wire.expect(helo, 250)
    return wire


def plain(house, user, password=None):
    address = house.address(user)
    token = f"\0{address}\0{house.passwords[user] if password is None else password}"
    return base64.b64encode(token.encode()).decode()


def test_too_many_errors():
    with Instance(settings=settings(smtpd_hard_error_limit="5")) as house:
        with greeted(house) as wire:
            for n in range(20):
                got = wire.say(f"WRONG{n}")
                if got.startswith("421"):
                    break
            match(got, r"^421 4\.7\.0 .*[Tt]oo many errors")
            assert 4 <= n <= 6, f"closed after {n + 1} errors, the limit is 5"
            assert wire.ended()
        with greeted(house, source=None) as wire:
            for n in range(50):
                wire.expect("WRONG", 500)
            wire.expect("QUIT", 221)
        with greeted(house) as wire:  # refused recipients count as well: nobody tries addresses without end
            wire.expect("MAIL FROM:<a@b.example>", 250)
            replies = []
            while not replies or not replies[-1].startswith("421") and len(replies) < 20:
                replies.append(wire.say(f"RCPT TO:<guess{len(replies)}@posthouse.test>"))
            assert replies[-1].startswith("421"), replies


def test_too_many_commands_without_mail():
    with Instance(settings=settings(smtpd_junk_command_limit="10")) as house:
        for command in ("NOOP", "RSET", "VRFY alice", "HELP", "EHLO client.example"):
            with greeted(house) as wire:
                replies = [wire.say(command)]
                while not replies[-1].startswith("421") and len(replies) < 30:
                    replies.append(wire.say(command))
                assert 8 <= len(replies) <= 11, f"{command}: {len(replies)} replies, the last {replies[-1]!r}"
                assert wire.ended()
        with greeted(house, source=None) as wire:
            for _ in range(100):
                wire.expect("NOOP", 250)


def test_recipient_limit():
    with Instance(settings=settings(smtpd_recipient_limit="3"), accounts=["dave", "erin"]) as house, greeted(house) as wire:
        wire.expect("MAIL FROM:<a@b.example>", 250)
        for name in ("alice", "bob", "carol"):
            wire.expect(f"RCPT TO:<{name}@posthouse.test>", 250)
        for name in ("dave", "erin"):
            wire.expect(f"RCPT TO:<{name}@posthouse.test>", "452 4.5.3")
        wire.expect("DATA", 354)
        wire.expect("Subject: x\r\n\r\nx\r\n.", 250)
        house.wait_for(1, "carol")
        equal(len(house.mailbox("dave")), 0, "messages of the fourth")


def test_size_limit():
    with Instance(settings=settings(message_size_limit="100K")) as house:
        with greeted(house) as wire:
            match(wire.say("EHLO client.example"), r"SIZE 102400")
            wire.expect("MAIL FROM:<a@b.example> SIZE=102401", "552 5.3.4")
            wire.expect("MAIL FROM:<a@b.example> SIZE=99999999999999999999999", ("552", "501"))
            wire.expect("MAIL FROM:<a@b.example> SIZE=102400", 250)
            wire.expect("RSET", 250)
            # a false promise
            wire.expect("MAIL FROM:<a@b.example> SIZE=10", 250)
            wire.expect("RCPT TO:<alice@posthouse.test>", 250)
            wire.expect("DATA", 354)
            wire.raw(b"Subject: big\r\n\r\n" + (b"x" * 98 + b"\r\n") * 1100)
            wire.expect(".", "552 5.3.4")
            # the session goes on
            wire.expect("MAIL FROM:<a@b.example>", 250)
            wire.expect("RCPT TO:<alice@posthouse.test>", 250)
            wire.expect("DATA", 354)
            wire.raw(b"Subject: fits\r\n\r\n" + (b"x" * 98 + b"\r\n") * 1000)
            wire.expect(".", 250)
        box = house.wait_for(1)
        equal(len(box), 1, "messages")
        match(box[0], r"Subject: fits")
        with greeted(house) as wire:  # without end: closed in the end
            wire.expect("MAIL FROM:<a@b.example>", 250)
            wire.expect("RCPT TO:<alice@posthouse.test>", 250)
            wire.expect("DATA", 354)
            try:
                for _ in range(3000):
                    wire.raw(b"x" * 998 + b"\r\n")
            except OSError:
                pass
            try:
                got = wire.reply()
            except OSError:
                got = "421 (reset)"
            assert got.startswith(("421", "552")), got


def test_long_lines():
    with Instance(settings=settings()) as house, greeted(house) as wire:
        wire.expect("NOOP " + "x" * 2000, 250)
        wire.expect("NOOP " + "x" * 3000, "500 5.5.2")
        wire.expect("NOOP " + "x" * 100000, "500 5.5.2")
        wire.expect("MAIL FROM:<" + "x" * 300 + "@b.example>", (501, 553, 500))
        wire.expect("NOOP", 250)
        # in a message they are content
        wire.expect("MAIL FROM:<a@b.example>", 250)
        wire.expect("RCPT TO:<alice@posthouse.test>", 250)
        wire.expect("DATA", 354)
        long = b"." + b"y" * 300000
        wire.raw(b"Subject: long\r\n\r\n." + long + b"\r\n")
        wire.expect(".", 250)
        assert house.wait_for(1)[0].endswith(b"\r\n\r\n" + long + b"\r\n"), "the long line came back changed"
        try:
            wire.raw(b"x" * 3000000)
            got = wire.say("")
        except OSError:
            got = "421 (reset)"
        assert got.startswith(("421", "500")), got[:100]


def test_timeouts():
    limits = dict(smtpd_timeout="1s", smtpd_data_timeout="2s", pop3_timeout="2s")
    with Instance(settings=settings(**limits)) as house:
        begun = time.monotonic()
        idle = greeted(house)
        silent = house.lines("submissions", STRANGER)  # TLS done, nothing said
        half = house.lines(source=STRANGER)
        half.raw("EHLO client.exa")
        bare = socket.create_connection(("127.0.0.1", house.port("submissions")), 10)  # not even a TLS hello
        match(idle.reply(), r"^421 4\.4\.2 ")
        took = time.monotonic() - begun
        assert 0.9 < took < 2.5, f"idle client closed after {took:.1f} s, the limit is 1 s"
        for wire in (idle, silent, half):
            assert wire.ended()
            wire.close()
        assert bare.recv(100) == b"", "an unfinished handshake"
        bare.close()
        with greeted(house) as wire:
            wire.expect("MAIL FROM:<a@b.example>", 250)
            wire.expect("RCPT TO:<alice@posthouse.test>", 250)
            wire.expect("DATA", 354)
            begun = time.monotonic()
            wire.raw("Subject: never ended\r\n\r\n")
            match(wire.reply(), r"^421 4\.4\.2 ")
            took = time.monotonic() - begun
            assert 1.9 < took < 3.5, f"closed after {took:.1f} s in DATA, the limit is 2 s"
        begun = time.monotonic()
        pop = greeted(house, "pop3")
        assert pop.ended(6), "pop3 is still open"
        assert 1.9 < time.monotonic() - begun < 4, "pop3 closed too early or too late"
        pop.close()
        equal(len(house.mailbox()), 0, "messages")


def test_a_command_has_to_end():
    """Bytes that drip in, each within the time limit, do not hold a connection; slow commands do."""
    with Instance(settings=settings(smtpd_timeout="1s")) as house:
        with greeted(house) as drip, greeted(house) as slow:
            begun, took = time.monotonic(), None
            while took is None and time.monotonic() < begun + 8:
                time.sleep(0.4)
                slow.expect("NOOP", 250)
                try:
                    drip.raw("N")
                    drip.sock.settimeout(0.01)
                    match(drip.reply(), r"^421 4\.4\.2 ")
                    took = time.monotonic() - begun
                except TimeoutError:
                    pass
            assert took and 2.5 < took < 4.5, f"closed after {took} s"
            slow.expect("NOOP", 250)


def test_connections_of_one_client():
    with Instance(settings=settings(smtpd_client_connection_count_limit="3")) as house:
        for service in ("smtp", "pop3"):
            held = [greeted(house, service) for _ in range(3)]
            with house.lines(service, STRANGER) as wire:
                assert wire.line().startswith(("421 4.7.0", "421 mail", "-ERR")), "the fourth connection"
                assert wire.ended()
            with greeted(house, service, source="127.0.0.10") as other:  # others are not in the way
                other.say("QUIT") if service == "smtp" else None
            mine = [greeted(house, service, source=None) for _ in range(6)]
            held.pop().close()
            eventually(lambda: try_greeting(house, service), 5, f"a place of {service} is free again")
            for wire in held + mine:
                wire.close()


def try_greeting(house, service):
    with house.lines(service, STRANGER) as wire:
        return (wire.line() or "").startswith(("220", "+OK"))


def failing_login(house, source):
    with greeted(house, "submissions", source) as wire:
        begun = time.monotonic()
        wire.expect("AUTH PLAIN " + plain(house, "alice", "wrong"), "535 5.7.8")
        return time.monotonic() - begun


def test_guessing_gets_slow():
    with Instance(settings=settings()) as house:
        times = [failing_login(house, STRANGER) for _ in range(4)]
        for took, least in zip(times, (0.25, 0.5, 1.0, 2.0)):
            assert took > least * 0.95, f"answers after {times}"
        assert times[3] < 4, f"answers after {times}"
        elsewhere = failing_login(house, "127.0.0.10")
        assert elsewhere < 1, f"another client waits {elsewhere:.1f} s for what the first did"
        mine = [failing_login(house, None) for _ in range(4)]
        assert max(mine) < 1, f"a trusted client waits {mine}"
        begun = time.monotonic()
        with greeted(house, "pop3s", STRANGER) as wire:  # the penalty is one for all protocols
            wire.raw("USER alice@posthouse.test\r\n")
            wire.line()
            wire.raw("PASS wrong\r\n")
            match(wire.line(), r"^-ERR \[AUTH\]")
        assert time.monotonic() - begun > 2, "POP3 knows nothing of the failures at SMTP"


def refused_login(house, user, service):
    """Seconds until the refusal of a wrong password, and its text."""
    with greeted(house, service, source=None) as wire:
        if service == "pop3s":
            wire.raw(f"USER {user}\r\n")
            text = wire.line()
        begun = time.monotonic()
        if service == "pop3s":
            wire.raw("PASS wrong\r\n")
            text = (text, wire.line())
        else:
            text = wire.say("AUTH PLAIN " + plain(house, user, "wrong"))
        return time.monotonic() - begun, text


def alike(some, others):
    """Within 15 %: the medians, or, on a busy machine, the quickest."""
    return any(0.85 < f(some) / f(others) < 1.15 for f in (statistics.median, min))


def test_unknown_user_looks_like_wrong_password():
    with Instance(settings=settings()) as house:
        for service in ("submissions", "pop3s"):
            known, unknown, texts = [], [], set()
            for n in range(60):
                for times, user in ((known, "alice@posthouse.test"), (unknown, f"alicf{n}@posthouse.test")):
                    seconds, text = refused_login(house, user, service)
                    times.append(seconds)
                    texts.add(text)
                if n % 12 == 11 and alike(known, unknown):
                    break
            equal(len(texts), 1, f"kinds of answers of {service} {texts}")
            assert alike(known, unknown), f"{service}: unknown user {statistics.median(unknown) * 1000:.1f} ms, wrong password " \
                f"{statistics.median(known) * 1000:.1f} ms (at best {min(unknown) * 1000:.1f} and {min(known) * 1000:.1f})"


def test_scram_of_an_unknown_user():
    """The first answer (salt and iterations) exists for everybody and stays the same for each."""
    with Instance(settings=settings()) as house:
        def first(user):
            with greeted(house, "submissions", None) as wire:
                wire.expect("AUTH SCRAM-SHA-256", 334)
                text = wire.expect(base64.b64encode(f"n,,n={user},r=abcdefghijkl".encode()).decode(), 334)
                fields = dict(p.split("=", 1) for p in base64.b64decode(text[4:]).decode().split(","))
                return fields["s"], fields["i"]
        real, ghost, again, other = first("alice@posthouse.test"), first("ghost@posthouse.test"), first("ghost@posthouse.test"), \
            first("ghosu@posthouse.test")
        equal(ghost, again, "salt of an unknown user")
        assert ghost[0] != other[0], "all unknown users have one salt"
        equal((len(ghost[0]), ghost[1]), (len(real[0]), real[1]), "form of salt and iterations")


def test_starttls_injection():
    with Instance(settings=settings()) as house:
        for service, command in (("smtp", "STARTTLS"), ("submission", "STARTTLS"), ("pop3", "STLS")):
            with greeted(house, service, None) as wire:
                wire.raw(f"{command}\r\nNOOP\r\nMAIL FROM:<evil@b.example>\r\n" if service != "pop3" else f"{command}\r\nCAPA\r\n")
                got = wire.line()
                if not (got or "").startswith(("220", "+OK")):
                    continue  # refused altogether: as good
                try:
                    wire.starttls(house.tls())
                    wire.sock.settimeout(0.5)
                    answered = wire.line()
                except (OSError, TimeoutError):
                    answered = None
                equal(answered, None, f"{service}: answer inside TLS to what came before it")


def test_starttls_forgets():
    with Instance(settings=settings()) as house, greeted(house) as wire:
        wire.expect("MAIL FROM:<a@b.example>", 250)
        wire.expect("STARTTLS", 503)  # not within a transaction
        wire.expect("RSET", 250)
        wire.expect("STARTTLS", 220)
        wire.starttls(house.tls())
        wire.expect("MAIL FROM:<a@b.example>", 503)
        assert "STARTTLS" not in wire.expect("EHLO client.example", 250)
        wire.expect("STARTTLS", 503)


def test_no_password_in_clear():
    with Instance(settings=settings()) as house:
        with greeted(house, "submission", None, helo=None) as wire:
            assert "AUTH" not in wire.expect("EHLO client.example", 250)
            wire.expect("AUTH PLAIN " + plain(house, "alice"), "538 5.7.11")
            wire.expect("AUTH LOGIN", "538 5.7.11")
        with greeted(house, "pop3", None) as wire:
            wire.raw("USER alice@posthouse.test\r\n")
            first = wire.line()
            wire.raw(f"PASS {house.passwords['alice']}\r\n")
            assert first.startswith("-ERR") and wire.line().startswith("-ERR"), "POP3 takes a password without TLS"
        equal(house.status()["roles"]["auth"]["right"], 0, "passwords that went to auth")


SMUGGLED = b"MAIL FROM:<smuggler@evil.example>\r\nRCPT TO:<bob@posthouse.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
ENDS = {"LF.LF": b"\n.\n", "LF.CRLF": b"\n.\r\n", "CRLF.LF": b"\r\n.\n", "CR.CR": b"\r.\r", "CR.CRLF": b"\r.\r\n", "CRLF.CR": b"\r\n.\r",
        "CR.LF": b"\r.\n", "LF.CR": b"\n.\r", "CRLF..CRLF": b"\r\n..\r\n", "CRLF.NUL CRLF": b"\r\n.\0\r\n", "CRLFNUL.CRLF": b"\r\n\0.\r\n",
        "CRLF. CRLF": b"\r\n. \r\n", "CRLF.CRCRLF": b"\r\n.\r\r\n", "LFLF.LFLF": b"\n\n.\n\n"}


def smuggle(house, end, pieces):
    """Replies to a message that holds `end` and then commands, sent whole or byte by byte."""
    with greeted(house, source=None) as wire:
        wire.expect("MAIL FROM:<a@b.example>", 250)
        wire.expect("RCPT TO:<alice@posthouse.test>", 250)
        wire.expect("DATA", 354)
        message = b"Subject: outer\r\n\r\nbefore" + end + SMUGGLED + b"after\r\n.\r\nNOOP\r\n"
        step = len(message) if pieces == 1 else max(1, len(message) // pieces)
        for at in range(0, len(message), step):
            wire.raw(message[at:at + step])
        replies = [wire.reply()]
        wire.sock.settimeout(3)
        while not replies[-1].startswith(("221", "421")) and len(replies) < 12 and replies[-1]:
            wire.raw("QUIT\r\n") if len(replies) == 1 else None
            replies.append(wire.reply())
        return replies


def test_smuggling():
    """Nothing but CRLF.CRLF ends a message. What follows another end is part of it, never commands."""
    for mode in ("reject", "normalize"):
        with Instance(settings=settings(smtpd_forbid_bare_newline=mode, smtpd_hard_error_limit="100")) as house:
            accepted = 0
            for name, end in ENDS.items():
                for pieces in (1, 40):
                    replies = smuggle(house, end, pieces)
                    text = f"{mode} {name} in {pieces}: {replies}"
                    # SMUGGLED holds an honest end of its own: up to there it is one message, then "after" is a bad command
                    codes = [r[:3] for r in replies]
                    equal(codes[1:], ["500", "500", "250", "221"], f"codes after the message ({text})")
                    bare = b"\n" in end.replace(b"\r\n", b"") or b"\r" in end.replace(b"\r\n", b"")
                    if bare and mode == "reject":
                        match(replies[0], r"^550 5\.6\.11 ", text)
                    else:
                        equal(codes[0], "250", text)
                        accepted += 1
            box = house.wait_for(accepted)
            equal(len(box), accepted, f"messages of alice ({mode})")
            equal(len(house.mailbox("bob")), 0, f"smuggled messages ({mode})")
            for message in box:
                match(message, "Subject: outer")
                assert message.replace(b"\r\n", b"").find(b"\n") < 0, "a bare LF is in the mailbox"
                assert message.replace(b"\r\n", b"").find(b"\r") < 0, "a bare CR is in the mailbox"


def test_normalize_keeps_the_lines():
    with Instance(settings=settings(smtpd_forbid_bare_newline="normalize")) as house, greeted(house, source=None) as wire:
        wire.expect("MAIL FROM:<a@b.example>", 250)
        wire.expect("RCPT TO:<alice@posthouse.test>", 250)
        wire.expect("DATA", 354)
        wire.expect(b"Subject: x\n\none\ntwo\r\n..dot\r\n.", 250)
        assert house.wait_for(1)[0].endswith(b"Subject: x\r\n\r\none\r\ntwo\r\n.dot\r\n")


def test_not_smtp_at_all():
    with Instance(settings=settings()) as house:
        for first, service in ((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "smtp"), (b"\x16\x03\x01\x02\x00\x01\x00", "smtp"),
                               (b"\x00\xff" * 500 + b"\r\n", "smtp"), (b"\x00\xff" * 500 + b"\r\n", "pop3"),
                               (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "pop3")):
            with greeted(house, service, STRANGER, helo=None) as wire:
                wire.raw(first)
                wire.sock.settimeout(2)
                got = wire.line()
                assert got is None or got.startswith(("421", "500", "501", "502", "503", "-ERR")), f"{first[:10]} at {service}: {got!r}"
        with socket.create_connection(("127.0.0.1", house.port("pop3s"))) as s:
            s.settimeout(3)
            s.sendall(b"CAPA\r\n" * 10)
            try:
                assert not s.recv(1000).startswith(b"+OK"), "POP3 in clear on the TLS port"
            except ConnectionResetError:
                pass
        house.send("alice")
        house.wait_for(1)


if __name__ == "__main__":
    harness.main()
