#!/usr/bin/env python3
"""kill -9 of role smtp-out, of the store, of both and of the whole server while thousands of messages go out to sites that keep a ledger. Nothing that
was acknowledged is lost; a message comes twice only where its final reply was never seen; each refusal gives one notice.

    SEED=N     repeats a run (each prints its seed)      MESSAGES=N (default 1500), KILLS=N (default 10): of each group; `make soak` has more
"""
import collections
import contextlib
import os
import random
import re
import threading
import time

import harness
from harness import equal, eventually
from sites import World

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
MESSAGES = int(os.environ.get("MESSAGES", 1500))
KILLS = int(os.environ.get("KILLS", 10))
SITES = ["s1", "s2", "s3", "s4"]
SETTINGS = {"mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks reject_unauth_destination"}
WRITERS = 4
TEXT = "words of a letter\r\n" * 40


class Ledger:
    """What the sites are told, and what the house was given and acknowledged."""

    def __init__(self, rng):
        self.rng, self.lock = rng, threading.Lock()
        self.acked, self.unsure, self.came, self.refused, self.put_off = set(), set(), collections.defaultdict(list), set(), set()

    def note(self, session, line):
        """An RCPT at a site: of a hundred recipients some are refused and some put off once."""
        who = re.search(r"<([\w.-]+)@", line)[1]
        kind = who.split("-")[1]
        if kind == "never":
            self.refused.add(who)
            return "550 5.1.1 nobody of that name"
        if kind == "later" and who not in self.put_off:
            self.put_off.add(who)
            return "450 4.2.1 not now"
        return None

    def slow(self, session, line):
        """The final reply: now and then after a while, so that there is something to be killed in."""
        return [self.rng.choice((0, 0, 0, 0.01, 0.05))] + ["250 2.0.0 taken"]


def hand_in(wire, name):
    """True: acknowledged; None: nobody knows. OSError: surely not taken."""
    site = SITES[number_of(name) % len(SITES)]
    for line, code in (("MAIL FROM:<alice@a.test>", "250"), (f"RCPT TO:<{name}@{site}.kill.test>", "250"), ("DATA", "354")):
        got = wire.say(line)
        if not got.startswith(code):
            raise OSError(f"{line} was answered {got!r}")
    try:
        return wire.say(f"From: <alice@a.test>\r\nX-Ledger: {name}\r\nSubject: {name}\r\n\r\n{TEXT}.").startswith("250") or None
    except OSError:
        return None


def write(house, ledger, names, over):
    """Hands messages in, one after the other, and notes which were acknowledged."""
    wire = None
    for name in names:
        taken = False
        while taken is False and not over.is_set():
            try:
                if not wire:
                    wire = house.lines("smtp", timeout=20)
                    wire.reply()
                    wire.say("EHLO client.example")
                taken = hand_in(wire, name)
            except OSError:
                over.wait(0.05)
                wire = None
        if taken:
            ledger.acked.add(name)
        elif taken is None:
            ledger.unsure.add(name)
            wire = None


def number_of(name):
    return int(re.search(r"\d+", name)[0])


def names_of(rng, group):
    kinds = rng.choices(("plain", "later", "never"), (93, 4, 3), k=MESSAGES)
    return [f"{group}{number}-{kind}" for number, kind in enumerate(kinds)]


def copies(sinks):
    """{name: its copies that were taken, in the order of time}."""
    found = collections.defaultdict(list)
    for sink in sinks:
        for message in sink.taken():
            found[re.search(rb"X-Ledger: (\S+)", message.data)[1].decode()].append(message)
    return {name: sorted(list_, key=lambda m: m.at) for name, list_ in found.items()}


def audit(ledger, sinks):
    """Names of those that came more than once."""
    found = copies(sinks)
    due = {name for name in ledger.acked if not name.endswith("never")}
    lost = due - set(found)
    assert not lost, f"{len(lost)} of {len(due)} acknowledged messages are lost, like {sorted(lost)[:3]}"
    strange = set(found) - ledger.acked - ledger.unsure
    assert not strange, f"sent but never handed in: {sorted(strange)[:3]}"
    twice = {name: list_ for name, list_ in found.items() if len(list_) > 1}
    for name, list_ in twice.items():
        seen = [m.confirmed for m in list_[:-1]]
        assert not any(seen), f"{name} was sent again though its final reply had been seen: {seen}"
    return twice


def audit_notices(house, ledger, seconds):
    """One notice for each that was refused."""
    never = {name for name in ledger.acked if name.endswith("never")}
    maybe = {name for name in ledger.unsure if name.endswith("never")}

    def told():
        return collections.Counter(re.search(rb"Final-Recipient: rfc822; ([\w-]+)@", m)[1].decode() for m in house.mailbox())
    eventually(lambda: never <= set(told()), seconds, "every refusal has its notice", step=0.2)
    counts = told()
    assert set(counts) <= never | maybe, set(counts) - never - maybe
    assert set(counts.values()) <= {1}, f"told more than once: {[n for n, c in counts.items() if c > 1][:5]}"


def is_empty(house):
    """Nobody waits; a store that is just coming back does not say."""
    code, out, _ = house.cli("queue", "list", "--json")
    return code == 0 and not out


def kill_one(house, roles):
    """Kills these roles as they are now; True if they were there."""
    with contextlib.suppress(AssertionError, KeyError, ProcessLookupError):
        pids = house.pids()
        for role in roles:
            os.kill(pids[role], 9)
        return True
    return False


def scenario(group, disturb, may_double):
    rng = random.Random(SEED)
    print(f"    SEED={SEED}")
    ledger = Ledger(rng)
    zone = "\n".join(f"{s} MX 10 mx-{s}\nmx-{s} A {{{s}}}" for s in SITES)
    names, over = names_of(rng, group), threading.Event()
    with World("a.test", zones={"kill.test": zone}, settings=SETTINGS) as world, contextlib.ExitStack() as stack:
        house = world.houses[0]
        sinks = [stack.enter_context(world.sink(s, {"rcpt": ledger.note, "content": ledger.slow})) for s in SITES]
        writers = [threading.Thread(target=write, args=(house, ledger, names[i::WRITERS], over)) for i in range(WRITERS)]
        stack.callback(over.set)
        for w in writers:
            w.start()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.1, 0.6))
            disturb(house, rng)
        for w in writers:
            w.join(60)
        assert not any(w.is_alive() for w in writers), "the writers are not done"
        eventually(lambda: is_empty(house), 30, "the queue is empty", step=0.2)
        audit_notices(house, ledger, 10)
        time.sleep(0.5)
        assert not [e for s in sinks for e in s.errors], [s.errors for s in sinks]
        twice = audit(ledger, sinks)
        print(f"    {len(ledger.acked)} acknowledged, {len(ledger.unsure)} in doubt, {len(twice)} came twice")
        if not may_double:
            equal(sorted(twice), [], "messages that came twice")


def test_smtp_out_dies():
    scenario("out", lambda house, rng: kill_one(house, ["smtp-out"]), True)


def test_store_dies():
    """smtp-out lives and knows its results: nothing comes twice."""
    scenario("store", lambda house, rng: kill_one(house, ["store"]), False)


def test_both_die():
    ways = [["smtp-out"], ["store"], ["store", "smtp-out"], ["smtp-out", "store"], ["smtp-in"], ["dns"], ["smtp-in", "store", "smtp-out"]]
    scenario("both", lambda house, rng: kill_one(house, rng.choice(ways)), True)


def test_all_die():
    def all_of_it(house, rng):
        if rng.random() < 0.4:
            house.kill_all()
            house.start()
    scenario("all", all_of_it, True)


if __name__ == "__main__":
    harness.main()
