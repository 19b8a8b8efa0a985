#!/usr/bin/env python3
"""What cannot be sent now: when it is tried again and where, and when its sender hears of it."""
import contextlib
import glob
import os
import time

import dns
import harness
from harness import equal, eventually, match
from sites import SINK, World, fence, report, wait_report


def test_dead_resolver():
    dead, udp, tcp = dns.free_port()
    try:
        with World("a.test", "b.test", each={"a.test": {"settings": {"resolver": f"127.0.0.1:{dead}"}}}) as world:
            a, b = world.houses
            a.submit("bob@b.test", "when the DNS is back")
            got = eventually(lambda: [q for q in a.queue() if q["attempts"] and q["state"] == "waiting"], 10)
            match(got[0]["status"], r"^4\.")
            assert not a.mailbox(), "bounced"
            a.write("posthouse.conf", a.read("posthouse.conf").replace(f"resolver 127.0.0.1:{dead}", f"resolver {world.resolver}"))
            a.check("reload")
            match(b.wait_for(1, "bob", 10)[0], "when the DNS is back")
    finally:
        udp.close()
        tcp.close()


def test_greylisting():
    """The second try comes from the same address to the same host, of two that are equal."""
    known, tries = set(), []

    def gate(session, line):
        key = (session.sink.address, session.sock.getpeername()[0], session.message.sender, line.split()[1])
        tries.append(session.sink.address)
        if key in known:
            return None
        known.add(key)
        return "450 4.2.0 greylisted, come again"
    zone = "@ MX 10 one\n@ MX 10 two\none A {s1}\ntwo A {s2}"
    with World("a.test", zones={"grey.test": zone}) as world, world.sink("s1", {"rcpt": gate}) as one, world.sink("s2", {"rcpt": gate}) as two:
        a = world.houses[0]
        for number in range(6):
            a.submit(f"p{number}@grey.test")
        eventually(lambda: len(one.taken() + two.taken()) == 6, 15)
        a.empty()
        equal(len(tries), 12, "tries")
        assert not a.mailbox()


def test_expiry_and_delay():
    settings = {"maximal_queue_lifetime": "4s", "delay_warning_time": "1s"}
    with World("a.test", zones=SINK, settings=settings) as world, world.sink("s1", {"rcpt": "450 4.2.2 full\n450 4.2.2 come again"}) as other:
        a = world.houses[0]
        begun = time.monotonic()
        a.submit("x@sink.test")
        a.submit("quiet@sink.test", rcpt=["NOTIFY=FAILURE"])
        a.submit("never@sink.test", rcpt=["NOTIFY=NEVER"])
        _, text, _, people = wait_report(a, count=1)
        equal((people[0]["Action"], people[0]["Status"]), ("delayed", "4.2.2"))
        match(people[0]["Final-Recipient"], "x@sink.test")
        match(text, "450-4.2.2 full.*450 4.2.2 come again")
        assert "Will-Retry-Until" in people[0]
        box = a.wait_for(3, seconds=25)
        took = time.monotonic() - begun
        said = sorted((p["Final-Recipient"], p["Action"], p["Status"]) for m in box[1:] for p in report(m)[3])
        equal([s[:2] for s in said], [("rfc822; quiet@sink.test", "failed"), ("rfc822; x@sink.test", "failed")])
        match(report(box[1])[1], "450-4.2.2 full")
        assert took >= 4, took
        a.empty()
        equal(len(fence(a)), 3, "notices")
        tries = [line for s in other.sessions for line in s.lines if line.startswith("RCPT TO:<x@")]
        assert 5 <= len(tries) <= 8, tries


def test_retry_times():
    """The pause doubles, with a tenth more or less."""
    at = []
    settings = {"minimal_backoff_time": "1s", "maximal_backoff_time": "4s"}

    def note(session, line):
        at.append(time.monotonic())
        return "450 4.3.0 later" if len(at) < 5 else None
    with World("a.test", zones=SINK, settings=settings) as world, world.sink("s1", {"rcpt": note}) as other:
        a = world.houses[0]
        a.submit("x@sink.test")
        eventually(other.taken, 20)
        pauses = [later - earlier for earlier, later in zip(at, at[1:])]
        for pause, wanted in zip(pauses, (1, 2, 4, 4)):
            assert 0.88 * wanted < pause < 1.1 * wanted + 0.5, pauses


# the clock


@contextlib.contextmanager
def clock(shift):
    """Programs started meanwhile see the wall clock shifted."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        harness.skip("faketime is not installed")
    os.environ.update(LD_PRELOAD=found[0], FAKETIME=shift, FAKETIME_DONT_FAKE_MONOTONIC="1")
    try:
        yield
    finally:
        for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"):
            os.environ.pop(name)


def test_clock_jumps():
    """Queued today, tried in 30 days: not given up unheard. Put off in ten years: today it can be asked for, and new mail does not wait."""
    with World("a.test", zones=SINK) as world, world.sink("s1", {"rcpt": "450 4.3.0 not now"}) as other:
        a = world.houses[0]
        a.submit("x@sink.test", "queued today")
        eventually(lambda: a.queue() and a.queue()[0]["attempts"])
        a.stop()
        other.script.clear()
        with clock("+30d"):
            a.start()
        eventually(other.taken, 10)
        a.empty()
        assert not a.mailbox(), "given up for its age before it was tried"
        a.stop()
        with clock("+10y"):
            a.start()
        other.script["rcpt"] = "450 4.3.0 not now"
        a.submit("y@sink.test", "queued in ten years")
        eventually(lambda: a.queue() and a.queue()[0]["attempts"])
        a.stop()
        other.script.clear()
        a.start()
        a.submit("z@sink.test", "a new one")
        eventually(lambda: len(other.taken()) == 2)
        a.check("queue", "retry", "--domain", "sink.test")
        eventually(lambda: len(other.taken()) == 3)
        a.empty()
        assert not a.mailbox(), "a notice of what was sent"


if __name__ == "__main__":
    harness.main()
