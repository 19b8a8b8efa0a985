#!/usr/bin/env python3
"""Roles die by SIGKILL while IMAP sessions change their mailboxes. Afterwards each mailbox is what its session was told, with UIDs, flags and UIDVALIDITY;
a command that was never answered has happened as a whole or not at all. An index made anew from the journal says the same.

    SEED=N  repeats a run (each run prints its seed)      SECONDS=N  how long (12)
"""
import os
import random
import signal
import threading
import time

import harness
import imapc
from harness import Instance, equal, eventually

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
SECONDS = float(os.environ.get("SECONDS", 12))
WRITERS = 6
ROLES = ("access", "store", "access", "store", "all")
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "$Label1", "Work")
GONE = (EOFError, OSError, AssertionError)


class Unanswered(Exception):
    pass


class Writer(threading.Thread):
    """Owns one mailbox; what is there is known but for the one command under way."""

    def __init__(self, house, name, stop):
        super().__init__(daemon=True)
        self.house, self.name, self.stop = house, name, stop
        self.dice = random.Random(f"{SEED}{name}")
        self.messages = {}       # UID -> (number, flags)
        self.next, self.number = 1, 0
        self.client = self.validity = self.error = None
        self.answered = self.unanswered = 0

    def open(self):
        client = imapc.Imap(self.house.port("imaps"), tls=self.house.tls(), timeout=8)
        try:
            client.login(self.house.address("alice"), self.house.passwords["alice"])
            client.command(f"CREATE {self.name}")
            answer = client.ok(f"SELECT {self.name}")
            validity = answer.codes("UIDVALIDITY")[0][1]
            assert self.validity in (None, validity), f"UIDVALIDITY of {self.name} was {self.validity}, now {validity}"
            self.validity = validity
            exists = answer.numbered("EXISTS")[0][0]
            there = {}
            if exists:
                for _, v in client.ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").fetched():
                    number = int(v["BODY[HEADER.FIELDS (SUBJECT)]"].split()[-1])
                    there[int(v["UID"])] = (number, frozenset(v["FLAGS"]) - {"\\Recent"})
            self.uidnext = int(answer.codes("UIDNEXT")[0][1])
        except BaseException:
            client.close()
            raise
        return client, there

    def connect(self):
        """The session again, with what is there; None when the test ends first."""
        while True:
            try:
                return self.open()
            except GONE as e:
                if "UIDVALIDITY of" in str(e):
                    raise
                time.sleep(0.05)

    def settle(self, possible):
        """What is there is one of these."""
        self.client, there = self.connect()
        for state in possible:
            if self.same(there, state):
                self.messages = there
                assert not there or self.uidnext > max(there), f"UIDNEXT {self.uidnext} in {self.name} is not above {max(there)}"
                self.next = self.uidnext
                return
        raise AssertionError(f"{self.name} has {sorted(there.items())}, possible was {[sorted(p.items()) for p in possible]}")

    @staticmethod
    def same(there, state):
        """UIDs are numbers; those of a copy nobody heard of are not known: -1, -2, …"""
        known = {u: m for u, m in state.items() if u > 0}
        new = sorted(m for u, m in state.items() if u < 0)
        rest = sorted(m for u, m in there.items() if u not in known)
        return all(there.get(u) == m for u, m in known.items()) and rest == new

    def say(self, text, after):
        """Sends a command; `after` is the state if it happens. Unanswered: either."""
        try:
            answer = self.client.command(text)
        except GONE:
            answer = None
        if answer is None or answer.status != "OK":
            self.unanswered += 1
            self.client.close()
            self.settle([self.messages, after])
            return None
        self.answered += 1
        return answer

    def step(self):
        kind = self.dice.choice(("append", "append", "append", "flag", "flag", "copy", "expunge"))
        uids = sorted(self.messages)
        if kind == "append" or not uids:
            self.number += 1
            flags = frozenset(self.dice.sample(FLAGS, self.dice.randrange(3)))
            message = f"Subject: {self.number}\r\n\r\nbody\r\n".encode()
            after = dict(self.messages)
            after[-1] = (self.number, flags)
            answer = self.say(f"APPEND {self.name} ({' '.join(flags)}) {{{len(message)}+}}\r\n{message.decode()}", after)
            if answer and answer.code:
                self.messages[int(answer.code[2])] = (self.number, flags)
            elif answer:  # it is kept, but the store died before it said under which UID
                self.client.close()
                self.settle([after])
            return
        some = self.dice.sample(uids, min(len(uids), 1 + self.dice.randrange(4)))
        words = ",".join(map(str, some))
        after = dict(self.messages)
        if kind == "flag":
            add, flag = self.dice.randrange(2), self.dice.choice(FLAGS)
            for u in some:
                number, flags = after[u]
                after[u] = (number, flags | {flag} if add else flags - {flag})
            if self.say(f"UID STORE {words} {'+' if add else '-'}FLAGS.SILENT ({flag})", after):
                self.messages = after
        elif kind == "copy":
            for i, u in enumerate(sorted(some)):
                after[-1 - i] = after[u]
            answer = self.say(f"UID COPY {words} {self.name}", after)
            if answer:
                for old, new in zip(spread(answer.code[2]), spread(answer.code[3])):
                    self.messages[new] = self.messages[old]
        else:
            for u in some:
                after[u] = (after[u][0], after[u][1] | {"\\Deleted"})
            if self.say(f"UID STORE {words} +FLAGS.SILENT (\\Deleted)", after):
                self.messages = after
            gone = {u: m for u, m in self.messages.items() if "\\Deleted" not in m[1]}
            if self.say("EXPUNGE", gone):
                self.messages = gone

    def run(self):
        try:
            self.client, self.messages = self.connect()
            while not self.stop.is_set():
                self.step()
            self.client.close()
        except BaseException as e:
            self.error = e


def spread(text):
    out = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        out += range(int(first), int(last or first) + 1)
    return out


def everything(writers):
    """What all mailboxes hold now."""
    out = {}
    for w in writers:
        client, there = w.connect()
        client.close()
        out[w.name] = (w.validity, w.uidnext, there)
    return out


def kill(house, role):
    if role == "all":
        house.kill_all()
        house.start()
        return
    pid = house.pids().get(role)
    if pid:
        os.kill(pid, signal.SIGKILL)


def test_kill():
    print(f"SEED={SEED}")
    dice = random.Random(SEED)
    stop = threading.Event()
    with Instance(settings={"smtpd_client_connection_count_limit": "1000"}) as house:
        writers = [Writer(house, f"box{i}", stop) for i in range(WRITERS)]
        for w in writers:
            w.start()
        kills, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end and not any(w.error for w in writers):
            time.sleep(0.3 + dice.random())
            kill(house, dice.choice(ROLES))
            kills += 1
        time.sleep(0.5)
        stop.set()
        for w in writers:
            w.join(60)
            assert not w.is_alive(), f"{w.name} does not end"
            if w.error:
                raise w.error
        answered, unanswered = sum(w.answered for w in writers), sum(w.unanswered for w in writers)
        print(f"{answered} commands answered, {unanswered} not, {kills} kills, {sum(len(w.messages) for w in writers)} messages")
        assert answered > 50 and unanswered, "the test did nothing"
        eventually(lambda: house.status(), 10)
        before = everything(writers)
        for w in writers:
            equal(before[w.name][2], w.messages, f"messages of {w.name}")
        house.stop()
        house.check("store", "check")
        house.check("store", "rebuild")
        house.start()
        equal(everything(writers), before, "the mailboxes of an index made anew")


if __name__ == "__main__":
    harness.main()
