#!/usr/bin/env python3
"""A hundred thousand recipients queued for a host that is dead: living mail goes as fast as before, memory stays small, a restart is quick."""
import time

import harness
from harness import Instance, equal, eventually
from sink import Sink

SETTINGS = """
mynetworks 127.0.0.0/8
smtpd_relay_restrictions permit_mynetworks reject
allow_private_destinations yes
route dead {{ recipient @dead.test; next smtp [127.0.0.1]:{dead}; tls none }}
route other {{ next smtp [127.0.0.3]:{port}; tls none }}
"""
MESSAGES, RECIPIENTS, LIVE = 100, 1000, 300


def queue_many(house):
    with house.lines(timeout=60) as wire:
        wire.reply()
        wire.expect("EHLO client.example", 250)
        for n in range(MESSAGES):
            wire.expect("MAIL FROM:<alice@posthouse.test>", 250)
            wire.raw(b"".join(b"RCPT TO:<u%d@dead.test>\r\n" % (n * RECIPIENTS + k) for k in range(RECIPIENTS)))
            for _ in range(RECIPIENTS):
                assert wire.reply().startswith("250 ")
            wire.expect("DATA", 354)
            wire.raw(b"Subject: %d\r\n\r\nx\r\n.\r\n" % n)
            assert wire.reply().startswith("250 ")


def live(house, sink):
    """Seconds for that many messages to a host that lives, one connection in."""
    begun, before = time.monotonic(), len(sink.taken())
    with house.smtp() as client:
        for n in range(LIVE):
            client.sendmail("alice@posthouse.test", [f"l{n}@else.test"], "Subject: live\r\n\r\nx\r\n")
    eventually(lambda: len(sink.taken()) == before + LIVE, 30, what="live mail")
    return time.monotonic() - begun


def stored(house, key):
    return house.status()["roles"]["store"][key]


def resident(house):
    with open(f"/proc/{house.pids()['store']}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) * 1024


def test_many():
    base = harness.free_base()
    with Instance(append=SETTINGS.format(port=base, dead=base + 1)) as house, Sink("127.0.0.3", base) as sink:
        quiet = min(live(house, sink) for _ in range(3))
        empty = resident(house)
        queue_many(house)
        total = MESSAGES * RECIPIENTS
        eventually(lambda: stored(house, "queue_recipients") == total, 30, what="queued")
        time.sleep(1)
        assert stored(house, "queue_deferred") <= 20 * 100, "the rest waits without being tried"
        busy = min(live(house, sink) for _ in range(3))
        assert busy < quiet * 1.5, (quiet, busy)
        assert resident(house) - empty < total * 300 + (64 << 20), (empty, resident(house))
        house.stop()
        begun = time.monotonic()
        house.start()
        eventually(lambda: stored(house, "queue_recipients") >= total, 10, what="read from the index")
        took = time.monotonic() - begun
        assert took < 4, took  # with the start of all roles; see docs/performance.md for numbers
        assert resident(house) < total * 300 + (64 << 20), resident(house)
        live(house, sink)
        print(f"    live {LIVE} messages: {quiet:.2f} s, with the queue {busy:.2f} s; start {took:.2f} s; store {resident(house) >> 20} MiB")
        done = house.check("queue", "drop", "--domain", "dead.test")
        assert f"{total} recipients" in done.replace(",", ""), done
        equal(stored(house, "queue_recipients"), 0, "recipients")


if __name__ == "__main__":
    harness.main()
