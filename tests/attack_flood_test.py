#!/usr/bin/env python3
"""Floods and bombs: much of the cheapest unit, and messages that make parsers slow. Twice as much may cost 2.4 times as much processor
time, not more, and memory stays what it was. Times are those of the role's threads, so a busy machine does not matter."""
import os
import threading
import time

import harness
from harness import Instance, equal

TRUSTED = {"smtpd_hard_error_limit": "100000", "smtpd_junk_command_limit": "100000", "message_size_limit": "64M"}
RATIO, NOISE_S = 2.4, 0.02  # what one of two measurements may be off by
MIB = 1 << 20


def cpu(pid):
    """Seconds of processor time of all its threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def status_of(pid, field):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field + ":"))


class Measured:
    """Processor seconds, and growth of the peak of memory, of a role meanwhile."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as f:
            f.write("5")
        self.before, self.memory = cpu(self.pid), status_of(self.pid, "VmRSS")
        return self

    def __exit__(self, *_):
        self.seconds = cpu(self.pid) - self.before
        self.grown = max(0, status_of(self.pid, "VmHWM") - self.memory)


def greeted(house, service="smtp"):
    wire = house.lines(service, timeout=60)
    wire.reply()
    wire.expect("EHLO client.example", 250)
    return wire


def converse(wire, data, is_last):
    """Sends all while reading all; returns the number of replies up to the first for which is_last() holds."""
    sender = threading.Thread(target=lambda: wire.raw(data))
    sender.start()
    count = 1
    while True:
        line = wire.line()
        if line is None or is_last(line, count):
            break
        count += 1
    sender.join()
    return count


def linear(what, role, sizes, run):
    """run(n) does n of it: time grows with n, memory does not. The kernel counts time in ticks, so each size has its turn three times."""
    seconds = [0.0] * len(sizes)
    for _ in range(3):
        for i, n in enumerate(sizes):
            with Measured(role) as m:
                run(n)
            seconds[i] += m.seconds / 3
            print(f"    {what} {n}: {m.seconds:.2f} s, memory +{m.grown / MIB:.1f} MiB", flush=True)
            assert m.grown < 8 * MIB, f"{what}: {m.grown / MIB:.1f} MiB more for {n}"
    assert seconds[1] < RATIO * seconds[0] + NOISE_S, f"{what}: {seconds[0]:.2f} s for {sizes[0]}, {seconds[1]:.2f} s for {sizes[1]}"


def test_a_million_empty_lines():
    with Instance(settings=TRUSTED) as house:
        def lines(n):
            with greeted(house) as wire:
                equal(converse(wire, b"\r\n" * n, lambda line, count: count == n or not line.startswith("500")), n, "replies")
                wire.expect("NOOP", 250)
        linear("empty lines", house.pids()["smtp-in"], (500000, 1000000), lines)
    with Instance(settings={"trusted_clients": None}) as house:  # a stranger is shown the door
        with greeted(house) as wire:
            assert converse(wire, b"\r\n" * 1000, lambda line, count: line.startswith("421")) < 200
            assert wire.ended()


def test_a_million_chunks_of_one_octet():
    with Instance(settings=TRUSTED) as house:
        def chunks(n):
            with greeted(house) as wire:
                wire.expect("MAIL FROM:<a@b.example>", 250)
                wire.expect("RCPT TO:<alice@posthouse.test>", 250)
                wire.expect(b"BDAT 14\r\nSubject: x\r\n", 250)
                equal(converse(wire, b"BDAT 1\r\nx" * n, lambda line, count: count == n or not line.startswith("250")), n, "replies")
                wire.expect("BDAT 0 LAST", 250)
        linear("chunks", house.pids()["smtp-in"], (500000, 1000000), chunks)
        box = house.wait_for(6)
        equal([m.split(b"\r\n\r\n", 1)[1].count(b"x") for m in box], 3 * [500000, 1000000], "octets received")


def header(lines):
    return b"From: a@b.example\r\n" + lines + b"\r\n\r\nx\r\n"


def multipart(n, boundary="b"):
    """n multiparts, each in the one before."""
    parts = [b"Content-Type: multipart/mixed; boundary=%s%d\r\n\r\n--%s%d\r\n" % (boundary.encode(), i, boundary.encode(), i) for i in range(n)]
    return b"MIME-Version: 1.0\r\n" + b"".join(parts) + b"\r\nx\r\n"


BOMBS = {  # name: (n, function of n)
    "multiparts in each other": (20000, multipart),
    "boundaries that begin with each other": (1500, lambda n: multipart(n, "b" * 60)),
    "messages in each other": (30000, lambda n: b"Content-Type: message/rfc822\r\n\r\n" * n + b"x\r\n"),
    "parts": (200000, lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * n + b"--b--\r\n"),
    "parts that nearly begin": (100000, lambda n: b"Content-Type: multipart/mixed; boundary=bbbbbbbb\r\n\r\n" + b"--bbbbbbbx\r\n" * n),
    "fields": (60000, lambda n: header(b"\r\n".join(b"X-%d: y" % i for i in range(n)))),
    "fields of one name": (60000, lambda n: header(b"\r\n".join([b"To: a@b.example"] * n))),
    "folds": (200000, lambda n: header(b"Subject: x" + b"\r\n y" * n)),
    "addresses": (60000, lambda n: header(b"To: " + b",\r\n ".join(b"u%d@b.example" % i for i in range(n)))),
    "groups in each other": (200000, lambda n: header(b"To: " + b"g:\r\n " * n + b";" * n)),
    "one long address": (1000000, lambda n: header(b"To: " + b"a" * n + b"@b.example")),
    "comments in each other": (500000, lambda n: header(b"To: " + b"(\r\n " * (n // 4) + b")" * (n // 4) + b" a@b.example\r\nDate: " + b"(" * (n // 4))),
    "quotes without end": (300000, lambda n: header(b'To: "' + b'\\"\r\n ' * (n // 5))),
    "references": (30000, lambda n: header(b"References: " + b"\r\n ".join(b"<%d@b.example>" % i for i in range(n)))),
    "parameters in pieces": (60000, lambda n: header(b"Content-Type: text/plain" + b"".join(b";\r\n name*%d*=x" % i for i in range(n)))),
    "one piece again and again": (60000, lambda n: header(b"Content-Disposition: attachment" + b";\r\n filename*0=x" * n)),
    "encoded words": (60000, lambda n: header(b"Subject:" + b"\r\n =?utf-8?q?=61?=" * n)),
    "a header without end": (3000000, lambda n: b"Subject: " + b"x" * n),
    "a header line, cut everywhere": (300000, lambda n: b"\r\n".join([b"X"] * n)),
}


def test_messages_that_make_parsers_slow():
    """On port 25 and, with the header's repairs, on 465: taken or refused, but in time that grows with the message."""
    with Instance(settings=TRUSTED) as house:
        role = house.pids()["smtp-in"]
        for service in ("smtp", "submissions"):
            worst = (0, "")
            for name, (n, make) in BOMBS.items():
                if service == "submissions" and b"\r\n\r\n" not in make(n)[:200000]:
                    n = n * 100000 // len(make(n))  # twice that is still within what the MSA takes for a header
                seconds = []
                for times in (1, 2):
                    message = make(n * times)
                    seconds.append(min(bomb(house, service, role, message) for _ in range(3)))
                ratio = seconds[1] / max(seconds[0], NOISE_S)
                assert seconds[1] < RATIO * seconds[0] + NOISE_S, f"{service}, {name}: {seconds[0]:.3f} s, twice as much {seconds[1]:.3f} s"
                assert seconds[1] < 1, f"{service}, {name}: {seconds[1]:.2f} s for {len(message)} octets"
                worst = max(worst, (ratio, f"{name}: {seconds[0]:.3f} and {seconds[1]:.3f} s"))
            print(f"    {service}: the worst is {worst[1]}", flush=True)
        equal(house.pids()["smtp-in"], role, "process of smtp-in")


def bomb(house, service, role, message):
    """Processor seconds that one message took."""
    with Measured(role) as m:
        with house.smtp(service, user="alice" if service == "submissions" else None, timeout=60) as client:
            client.mail("alice@posthouse.test" if service == "submissions" else "a@b.example")
            client.rcpt("bob@posthouse.test")
            code = client.data(message)[0]
            assert code in (250, 550, 552, 554), code
    assert m.grown < 3 * len(message) + 2 * MIB, f"{m.grown / MIB:.1f} MiB for a message of {len(message) / MIB:.1f} MiB"
    return m.seconds


def test_nobody_else_waits():
    """While one floods, another's commands are answered at once."""
    with Instance(settings=TRUSTED) as house:
        with greeted(house) as flood, greeted(house) as honest:
            done = threading.Event()
            threads = [threading.Thread(target=lambda: flood_until(flood, done)), threading.Thread(target=lambda: read_until(flood, done))]
            for t in threads:
                t.start()
            waits = []
            for _ in range(200):
                begun = time.monotonic()
                honest.expect("NOOP", 250)
                waits.append(time.monotonic() - begun)
            done.set()
            for t in threads:
                t.join()
        waits.sort()
        print(f"    NOOP beside a flood: median {waits[100] * 1000:.1f} ms, 99 of 100 within {waits[197] * 1000:.1f} ms")
        assert waits[197] < 0.1, f"{waits[197]:.3f} s for a NOOP"


def flood_until(wire, done):
    try:
        while not done.is_set():
            wire.sock.send(b"\r\n" * 20000)
    except OSError:
        pass


def read_until(wire, done):
    wire.sock.settimeout(0.5)
    try:
        while not done.is_set() and wire.sock.recv(1 << 20):
            pass
    except OSError:
        pass


if __name__ == "__main__":
    harness.main()
