#!/usr/bin/env python3
"""Nobody waits for a slow or dead site but who sends to it: how long mail for another takes while thousands wait."""
import contextlib
import statistics
import threading
import time

import harness
from harness import eventually
from sink import DROP
from sites import World

SETTINGS = {"mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks reject_unauth_destination", "minimal_backoff_time": "30s",
            "maximal_backoff_time": "60s"}
ZONE = "slow MX 10 mx.slow\nmx.slow A {s1}\ngood MX 10 mx.good\nmx.good A {s2}\ndead MX 10 mx.dead\nmx.dead A {s3}\n" + \
       "*.dead A {s3}\n" + "\n".join(f"d{i} A {{s3}}" for i in range(300))


def pour(house, domains, count):
    """Hands in that many messages, over a few connections."""
    message = harness.message_of("one of many").rstrip(b"\r\n") + b"\r\n."

    def one(numbers):
        with house.lines("smtp", timeout=60) as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            for n in numbers:
                wire.raw(f"MAIL FROM:<alice@a.test>\r\nRCPT TO:<p{n}@{domains[n % len(domains)]}>\r\nDATA\r\n")
                assert [wire.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
                wire.expect(message, 250)
    threads = [threading.Thread(target=one, args=(range(i, count, 4),)) for i in range(4)]
    for t in threads:
        t.start()
    return threads


def latencies(house, good, count):
    """Seconds from the acknowledgement of a letter to its arrival at the good site, one after the other."""
    times = []
    with house.smtp("smtp") as client:
        for _ in range(count):
            before = len(good.messages)
            client.sendmail("alice@a.test", ["someone@good.many.test"], harness.message_of("quick"))
            acknowledged = time.monotonic()
            eventually(lambda: len(good.messages) > before, 10, "the quick one arrives", step=0.001)
            times.append(max(0, good.messages[-1].at - acknowledged))
            time.sleep(0.05)
    return times


def show(what, times):
    print(f"    {what}: median {statistics.median(times) * 1000:.0f} ms, worst {max(times) * 1000:.0f} ms")
    return times


def test_slow_site():
    """2000 messages for a site that answers after 3 s."""
    slow = {"content": [3.0, "250 2.0.0 at last"]}
    with World("a.test", zones={"many.test": ZONE}, settings=SETTINGS) as world, world.sink("s1", slow) as busy, world.sink("s2") as good:
        house = world.houses[0]
        before = show("before", latencies(house, good, 20))
        pouring = pour(house, ["slow.many.test"], 2000)
        during = show("while they are handed in", latencies(house, good, 10))
        for t in pouring:
            t.join()
        eventually(lambda: busy.most >= 3, 5, "several connections to the slow site")
        waiting = show("while they wait", latencies(house, good, 20))
        assert len(busy.taken()) < 500
        assert max(waiting) < 0.5 and statistics.median(waiting) < statistics.median(before) + 0.1, (before, waiting)
        assert max(during) < 2, during
        assert busy.most <= 20, busy.most
        assert not busy.errors and not good.errors
        house.check("queue", "drop", "--domain", "slow.many.test")


def test_dead_sites():
    """2000 messages for 300 domains whose host does not answer, or refuses."""
    with World("a.test", zones={"many.test": ZONE}, settings=SETTINGS) as world, world.sink("s2") as good, contextlib.ExitStack() as stack:
        house = world.houses[0]
        before = show("before", latencies(house, good, 20))
        dead = stack.enter_context(world.sink("s3", {"connect": lambda session, _: DROP if session.number % 2 else 60}))
        for t in pour(house, [f"d{i}.many.test" for i in range(300)], 2000):
            t.join()
        waiting = show("while they wait", latencies(house, good, 20))
        assert dead.sessions and max(waiting) < 1 and statistics.median(waiting) < statistics.median(before) + 0.2, (before, waiting)
        house.check("queue", "drop", "--domain", "many.test")


def test_many_sites_that_hang():
    """3000 domains, a message for each, whose host accepts and says nothing."""
    with World("a.test", zones={"many.test": ZONE}, settings=SETTINGS) as world, world.sink("s2") as good, world.sink("s3", {"connect": 60}) as dead:
        house = world.houses[0]
        before = show("before", latencies(house, good, 20))
        for t in pour(house, [f"d{i}.dead.many.test" for i in range(3000)], 3000):
            t.join()
        eventually(lambda: len(dead.sessions) > 500, 10, "hundreds of connections hang")
        waiting = show("while they wait", latencies(house, good, 20))
        print("   ", len(dead.sessions), "connections hang")
        assert max(waiting) < 1 and statistics.median(waiting) < statistics.median(before) + 0.2, (before, waiting)
        house.check("queue", "drop", "--domain", "many.test")


if __name__ == "__main__":
    harness.main()
