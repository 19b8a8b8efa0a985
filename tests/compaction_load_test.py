#!/usr/bin/env python3
"""Mail and readers beside a compaction: how long a message takes from its 250 to its mailbox, and a reader for his answers.

    MESSAGES=N    that many fill the store before (default 6000; 40000 for figures worth keeping)      RATE=N   messages a second (200)

Prints the medians and 99th percentiles of three stretches: without compaction, beside one in the background, beside one with --now.
"""
import contextlib
import datetime
import os
import random
import re
import statistics
import threading
import time

import compaction_test
import harness
import kill_test
import ledger

MESSAGES = int(os.environ.get("MESSAGES", 6000))
RATE = int(os.environ.get("RATE", 200))
SEGMENT = os.environ.get("SEGMENT", "4M")
LARGE = int(os.environ.get("LARGE", 20))
SEED = int(os.environ.get("SEED", random.getrandbits(32)))
USERS = ["alice", "bob", "carol"]
QUIET_SECONDS = 3
STALL_MS = 500      # far more than measured: what waits for a whole segment, not for its turn on a busy machine
EVENT = re.compile(r"(?m)^time=(\S+) level=info event=(received|placed) role=\S+ session=(\S+) ")


def fill(house, book):
    """A store of which two thirds of every segment are dead."""
    load = ledger.Load(book, house.port("smtp"), sessions=30)
    load.start()
    harness.eventually(lambda: len(book.messages) >= MESSAGES, 300, "the store is filled", step=0.1)
    load.stop()
    book.audit(house, 30, delete=False)
    compaction_test.thin(house, book)


class Sender(threading.Thread):
    """Small messages, one at a time, RATE a second."""

    def __init__(self, house, book):
        super().__init__(daemon=True)
        self.house, self.book, self.stopping, self.error = house, book, False, None

    def run(self):
        try:
            with self.house.smtp() as client:
                due = time.monotonic()
                while not self.stopping:
                    self.send(client)
                    due += 1 / RATE
                    time.sleep(max(0, due - time.monotonic()))
        except Exception as e:
            self.error = e

    def send(self, client):
        m = self.book.write()
        self.book.settle(m, ledger.SENT)
        client.mail("ledger@client.example")
        for user in m.to:
            client.rcpt(self.house.address(user))
        code, _ = client.data(m.content())
        harness.equal(code, 250, "the reply to the end of data")
        self.book.settle(m, ledger.ACKED)


class Reader(threading.Thread):
    """Reads messages of one mailbox, session after session; `.took`: (when, seconds) of each session's begin and of each RETR."""

    def __init__(self, house, user):
        super().__init__(daemon=True)
        self.house, self.user, self.stopping, self.error = house, user, False, None
        self.opened, self.read = [], []

    def run(self):
        try:
            while not self.stopping:
                begun = time.time()
                with ledger.Maildrop(self.house, self.user) as drop:
                    drop.uidl()
                    self.opened.append((begun, time.time() - begun))
                    for n in range(1, 60):
                        begun = time.time()
                        drop.say(b"RETR %d" % n)
                        drop.text()
                        self.read.append((begun, time.time() - begun))
        except Exception as e:
            self.error = e


def placements(house):
    """[(time of the 250, seconds until it was placed)] of the whole log; the last placement counts."""
    received, placed = {}, {}
    for when, event, session in EVENT.findall(house.log()):
        seconds = datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()
        (received if event == "received" else placed)[session] = seconds
    return [(begun, placed[s] - begun) for s, begun in received.items() if s in placed]


def percentiles(samples, begun, ended):
    """(count, median, 99th, highest) in ms of what began in that time."""
    of = sorted(1000 * took for when, took in samples if begun <= when < ended)
    assert of, f"no samples in {ended - begun:.1f} s"
    return len(of), statistics.median(of), of[min(len(of) - 1, len(of) * 99 // 100)], of[-1]


@contextlib.contextmanager
def traffic(house, book):
    sender, readers = Sender(house, book), [Reader(house, u) for u in USERS[1:]]
    for t in [sender] + readers:
        t.start()
    yield readers
    for t in [sender] + readers:
        t.stopping = True
    for t in [sender] + readers:
        t.join(20)
        assert not t.is_alive(), "somebody still waits for an answer"
        if t.error:
            raise t.error


def stretch(what):
    begun = time.time()
    what()
    return begun, time.time()


def beside(how, *args):
    print(f"    seed {SEED}", flush=True)
    settings = {"expunged_retention": "0s", "log_segment_size": SEGMENT}
    with harness.Instance(settings=settings) as house:
        book = ledger.Ledger(random.Random(SEED), USERS, sizes=((LARGE, 60 * ledger.KB), (100 - LARGE, 2 * ledger.KB)))
        fill(house, book)
        with traffic(house, book) as readers:
            time.sleep(0.5)
            quiet = stretch(lambda: time.sleep(QUIET_SECONDS))
            busy = stretch(lambda: house.check("store", "compact", *args, timeout=300))
        status = house.status()["roles"]["store"]
        tell("no compaction", quiet, house, readers)
        highest = tell(how, busy, house, readers)
        print("    %d messages moved, %d segments removed" % (status["compaction_moved"], status["compaction_removed_segments"]), flush=True)
        assert status["compaction_moved"] > MESSAGES / 5, "hardly anything was moved: this run shows nothing"
        assert highest < STALL_MS, f"a message waited {highest:.0f} ms for its place"
        book.audit(house, 10, delete=False)
        house.stop()
        kill_test.check_store(house)


def tell(how, span, house, readers):
    """Prints the figures of a stretch; returns the 99th percentile of the placements."""
    opened, read = ([s for r in readers for s in getattr(r, name)] for name in ("opened", "read"))
    figures = {"placed after": percentiles(placements(house), *span), "maildrop open after": percentiles(opened, *span),
               "RETR answered after": percentiles(read, *span)}
    print(f"    {how}, {span[1] - span[0]:.1f} s:", flush=True)
    for what, of in figures.items():
        print("        %s: median %.1f ms, 99 %% within %.1f, highest %.1f (%d)" % (what, *of[1:], of[0]), flush=True)
    return figures["placed after"][2]


def test_beside_compaction():
    beside("compaction in the background")


def test_beside_compaction_now():
    beside("compaction --now", "--now")


if __name__ == "__main__":
    harness.main()
