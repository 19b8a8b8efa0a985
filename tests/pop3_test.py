#!/usr/bin/env python3
"""Reading with POP3 from a running server: one session at a time, deletion at QUIT alone, names that stay, every octet as it came."""
import os
import poplib
import random
import socket
import time

import harness
from harness import Instance, equal, eventually, match

MIB = 1 << 20


def fill(house, count, user="alice", start=0):
    """Sends many small messages in one session."""
    with house.smtp() as client:
        for n in range(start, start + count):
            client.sendmail("x@elsewhere.example", [house.address(user)],
                            f"From: x@elsewhere.example\r\nSubject: number {n}\r\n\r\nthis is {n}\r\n".encode())
    eventually(lambda: count_of(house, user) >= start + count, 20, f"{start + count} messages")


def count_of(house, user):
    client = house.pop(user)
    count = client.stat()[0]
    client.quit()
    return count


def uidl(house, user="alice"):
    client = house.pop(user)
    lines = client.uidl()[1]
    client.quit()
    return lines


def refused(function):
    try:
        function()
    except poplib.error_proto as e:
        return e.args[0].decode()
    raise AssertionError("was not refused")


def test_one_session_at_a_time():
    with Instance() as house:
        fill(house, 1)
        first = house.pop()
        match(refused(lambda: house.pop()), r"^-ERR \[IN-USE\]")
        house.pop("bob").quit()
        first.quit()
        house.pop().quit()  # free at once after QUIT
        second = house.pop()
        second.sock.close()
        second.file.close()
        eventually(lambda: opens(house), 5, "the mailbox is free after the client has gone")
        third = house.pop()
        house.kill("access")
        eventually(lambda: opens(house), 10, "the mailbox is free after role access died")
        third.sock.close()


def opens(house):
    try:
        house.pop().quit()
        return True
    except (poplib.error_proto, OSError, EOFError):
        return False


def test_in_use_while_reading_starves_nobody_else():
    """A client that does not read its message holds its own mailbox alone."""
    with Instance() as house:
        house.send("alice", b"Subject: big\r\n\r\n" + (b"x" * 76 + b"\r\n") * (8 * MIB // 78), starttls=False)
        house.wait_for(1)
        client = house.pop()
        client._putcmd("RETR 1")
        time.sleep(0.2)
        begun = time.monotonic()
        fill(house, 3, "bob")
        assert time.monotonic() - begun < 5, "others wait for a slow reader"
        client.sock.close()


def test_deletion_only_at_quit():
    with Instance() as house:
        fill(house, 4)
        before = uidl(house)
        client = house.pop()
        client.dele(1)
        client.dele(3)
        equal(client.stat()[0], 2, "messages left in the session")
        match(refused(lambda: client.retr(1)), r"^-ERR")
        match(refused(lambda: client.dele(1)), r"^-ERR")
        equal([line.split()[0] for line in client.list()[1]], [b"2", b"4"], "numbers do not move")
        client.sock.close()  # without QUIT
        client.file.close()
        eventually(lambda: opens(house))
        equal(uidl(house), before, "UIDL after a session that broke off")
        client = house.pop()
        client.dele(2)
        client.rset()
        client.quit()
        equal(uidl(house), before, "UIDL after RSET")
        client = house.pop()
        client.dele(1)
        client.dele(3)
        client.quit()
        after = uidl(house)
        equal([line.split()[1] for line in after], [before[1].split()[1], before[3].split()[1]], "names after QUIT")
        equal([line.split()[0] for line in after], [b"1", b"2"], "numbers after QUIT")
        fill(house, 1, start=4 - 2)
        newest = uidl(house)[-1].split()[1]
        assert newest not in [line.split()[1] for line in before], "a name was used twice"
        house.kill_all()
        house.start()
        equal([line.split()[1] for line in uidl(house)][:2], [line.split()[1] for line in after], "names after a crash")
        equal(len(uidl(house)), 3, "messages after a crash")


def test_names_stay():
    with Instance() as house:
        fill(house, 20)
        before = uidl(house)
        equal(len({line.split()[1] for line in before}), 20, "different names")
        house.restart()
        equal(uidl(house), before, "UIDL after a restart")
        house.kill("store")
        eventually(lambda: opens(house), 10)
        equal(uidl(house), before, "UIDL after store was killed")
        client = house.pop()
        equal(client.uidl(7), b"+OK " + before[6], "UIDL 7")
        for line in before:
            assert 1 <= len(line.split()[1]) <= 70 and all(0x21 <= b <= 0x7E for b in line.split()[1]), line
        client.quit()


def test_new_mail_does_not_enter_an_open_session():
    with Instance() as house:
        fill(house, 2)
        client = house.pop()
        house.send("alice")
        house.send("bob")
        house.wait_for(1, "bob")
        equal(client.stat()[0], 2, "messages in the open session")
        client.quit()
        equal(len(house.wait_for(3)), 3, "messages in the next")


def test_top():
    with Instance() as house:
        body = [f"line {n}" for n in range(10)] + [".", "..", ".x"]
        house.send("alice", "\r\n".join(body))
        whole = house.wait_for(1)[0].split(b"\r\n")
        client = house.pop()
        empty = whole.index(b"")
        for n in (0, 1, 5, 13, 100):
            got = client.top(1, n)[1]
            wanted = whole[:-1][:empty + 1 + n]
            equal(got, wanted, f"TOP 1 {n}")
        for line in ("TOP 1", "TOP 1 -1", "TOP 2 0", "TOP 0 0", "TOP x y"):
            match(refused(lambda: client._shortcmd(line)), r"^-ERR")
        client.quit()


def everything(seed, size):
    """A message of all kinds of octets but NUL, bare CR and bare LF."""
    r = random.Random(seed)
    lines = [b"Subject: octets", b""]
    while sum(map(len, lines)) < size:
        alphabet = bytes(b for b in range(1, 256) if b not in (10, 13))
        line = bytes(r.choices(alphabet, k=r.choice((0, 1, 2, 70, 998, 3000))))
        lines.append(r.choice((b"", b".", b"..", b". ", b"From ")) + line)
    return b"\r\n".join(lines) + b"\r\n"


def raw_retr(house, number, command="RETR"):
    """The octets between the reply and the ending dot, as they are on the wire, un-stuffed by hand."""
    with house.lines("pop3s", timeout=30) as wire:
        wire.line()
        for line in (f"USER {house.address('alice')}", f"PASS {house.passwords['alice']}"):
            wire.raw(line + "\r\n")
            assert wire.line().startswith("+OK")
        wire.raw(f"{command} {number}\r\n")
        announced = wire.line()
        data = bytearray(wire.rest)
        while not data.endswith(b"\r\n.\r\n"):
            data += wire.sock.recv(1 << 20)
        wire.raw("QUIT\r\n")
        return announced, bytes(data[:-3]).replace(b"\r\n..", b"\r\n.")


def test_every_octet():
    with Instance() as house:
        sizes = [0, 1000, 127 * 1024, 128 * 1024, 130 * 1024, 300 * 1024, 3 * MIB]
        sent = [everything(seed, size) for seed, size in enumerate(sizes)]
        sent += [b"no header at all\r\n", b"\r\nempty header\r\n", b"Subject: only a header\r\n", b".\r\n..\r\n...\r\n",
                 b"Subject: x\r\n\r\n" + b"\r\n" * 50, b"Subject: one line\r\n\r\n" + b"z" * 400000 + b"\r\n"]
        for message in sent:
            house.send("alice", message)
        eventually(lambda: count_of(house, "alice") == len(sent), 10)
        client = house.pop()
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        equal(client.stat(), (len(sent), sum(sizes)), "STAT")
        client.quit()
        for n, message in enumerate(sent):
            announced, got = raw_retr(house, n + 1)
            assert got.endswith(message), f"message {n + 1} of {len(message)} octets came back changed (got {len(got)}): " \
                f"{got[-len(message):][:80]!r}"
            equal(len(got), sizes[n], f"size of message {n + 1} in LIST")
            added = got[:len(got) - len(message)]
            match(added, r"^Return-Path: <someone@elsewhere\.example>\r\nDelivered-To: alice@posthouse\.test\r\nReceived: .*\r\n$")


def test_twenty_mebibytes():
    with Instance() as house:
        message = b"Subject: huge\r\n\r\n" + b"".join(b"%07d %s\r\n" % (n, b"x" * 90) for n in range(20 * MIB // 100))
        begun = time.monotonic()
        house.send("alice", message)
        eventually(lambda: count_of(house, "alice") == 1, 10)
        _, got = raw_retr(house, 1)
        assert got.endswith(message), "changed on the way"
        assert time.monotonic() - begun < 20, f"took {time.monotonic() - begun:.0f} s"
        memory = {role: rss_mib(pid) for role, pid in house.pids().items()}
        assert memory["smtp-in"] < 64 and memory["access"] < 64, f"resident MiB: {memory}"


def rss_mib(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def test_two_thousand_messages():
    with Instance(settings={"log_segment_size": "4M"}) as house:
        fill(house, 2000)
        names = uidl(house)
        equal(len({line.split()[1] for line in names}), 2000, "names")
        begun = time.monotonic()
        with house.lines("pop3s") as wire:
            wire.line()
            wire.raw(f"USER {house.address('alice')}\r\nPASS {house.passwords['alice']}\r\n")
            assert wire.line().startswith("+OK") and wire.line().startswith("+OK")
            wire.raw("".join(f"RETR {n}\r\n" for n in range(1901, 2001)))  # a hundred in one piece
            for n in range(1900, 2000):
                assert (first := wire.line()).startswith("+OK"), first
                lines = []
                while (line := wire.line()) != ".":
                    lines.append(line)
                equal(lines[-1], f"this is {n}", f"RETR {n + 1}")
            wire.raw("".join(f"DELE {n}\r\n" for n in range(1, 1001)) + "STAT\r\nQUIT\r\n")
            for n in range(1000):
                assert wire.line().startswith("+OK"), f"DELE {n + 1}"
            match(wire.line(), r"^\+OK 1000 \d+$")
            match(wire.line(), r"^\+OK")
        assert time.monotonic() - begun < 10, f"took {time.monotonic() - begun:.1f} s"
        equal([line.split()[1] for line in uidl(house)], [line.split()[1] for line in names[1000:]], "names of those left")
        house.restart()
        equal(len(uidl(house)), 1000, "messages after a restart")


def test_log_in_ways():
    with Instance() as house:
        for service in ("pop3", "pop3s"):
            house.pop(service=service).quit()
        match(refused(lambda: login(house, "alice@posthouse.test", "wrong")), r"^-ERR \[AUTH\]")
        match(refused(lambda: login(house, "nobody@posthouse.test", "wrong")), r"^-ERR \[AUTH\]")
        client = house.pop(login=False)
        capabilities = client.capa()
        for name in ("USER", "TOP", "UIDL", "SASL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE"):
            assert name in capabilities, f"no {name} in {capabilities}"
        assert "SCRAM-SHA-256" in capabilities["SASL"], capabilities["SASL"]
        client.quit()
        with socket.create_connection(("127.0.0.1", house.port("pop3"))) as s:
            s.settimeout(5)
            s.recv(1000)
            s.sendall(b"CAPA\r\n")
            text = b""
            while not text.endswith(b"\r\n.\r\n"):
                text += s.recv(1000)
            assert b"STLS" in text and b"USER" not in text and b"PLAIN" not in text, text


def test_a_stranger_cannot_stay():
    with Instance(settings={"pop3_timeout": "1s"}) as house:
        begun = time.monotonic()
        wire = house.lines("pop3")
        try:
            while time.monotonic() < begun + 8 and wire.line() is not None:
                time.sleep(0.3)
                wire.raw("CAPABILITY\r\n")  # an error each time, but never silent
        except OSError:
            pass
        took = time.monotonic() - begun
        assert 2.5 < took < 8, f"a stranger was served for {took:.1f} s"


def login(house, user, password):
    client = house.pop(login=False)
    client.user(user)
    client.pass_(password)


if __name__ == "__main__":
    harness.main()
