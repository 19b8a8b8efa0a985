#!/usr/bin/env python3
"""Several IMAP sessions of one account do random things; after each command what they were told is compared with a model of the mailboxes that is
smaller than any server. Seeded; a sequence that fails is made shorter before it is shown."""
import os
import random
import traceback

import harness
import imapc
from harness import Instance, equal

SEEDS = [int(s) for s in os.environ.get("SEEDS", "1 2 3").split()]
STEPS = int(os.environ.get("STEPS", "400"))
SESSIONS = 3
BOXES = ("INBOX", "Work", "Work/Deep", "Play")
FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Label1", "Receipt")
SHRINKS = 40


class Message:
    def __init__(self, uid, flags, number):
        self.uid, self.flags, self.number = uid, set(flags), number


class Box:
    def __init__(self):
        self.messages, self.next = [], 1

    def add(self, flags, number):
        self.messages.append(Message(self.next, flags, number))
        self.next += 1
        return self.next - 1


class Session:
    """What one mail program knows."""

    def __init__(self, house):
        self.client = imapc.Imap(house.port("imaps"), tls=house.tls())
        self.client.login(house.address("alice"), house.passwords["alice"])
        self.leave()

    def leave(self):
        self.name, self.read_only, self.uids, self.flags = None, False, [], {}


class World:
    def __init__(self, house):
        self.house = house

    def begin(self):
        """All that an earlier run left is taken away."""
        self.boxes = {}
        self.number = 0
        first = Session(self.house)
        for name in [u[3] for u in first.client.ok('LIST "" "*"').untagged]:
            if name != "INBOX":
                first.client.ok(f'DELETE "{name}"')
        first.client.ok("SELECT INBOX")
        first.client.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        first.client.ok("EXPUNGE")
        first.client.ok("UNSELECT")
        for name in BOXES:
            if name != "INBOX":
                first.client.command(f'CREATE "{name}"') # levels above it come with it
            self.boxes[name] = Box()
            status = self.status(first, name)
            self.boxes[name].next = int(status["UIDNEXT"])
        self.sessions = [first] + [Session(self.house) for _ in range(SESSIONS - 1)]

    def end(self):
        for session in self.sessions:
            session.client.close()

    @staticmethod
    def names(session):
        return [u[3] for u in session.client.ok('LIST "" "*"').untagged]

    @staticmethod
    def status(session, name):
        answer = session.client.ok(f'STATUS "{name}" (MESSAGES UIDNEXT UNSEEN)')
        return imapc.pairs(answer.of("STATUS")[0][1])

    # what a session was told, believed
    def believe(self, session, answer, fetch_flags=True):
        box = self.boxes.get(session.name)
        for u in answer.untagged:
            if len(u) > 1 and u[1] == "EXPUNGE":
                del session.uids[int(u[0]) - 1]
            elif len(u) > 1 and u[1] == "EXISTS":
                count = int(u[0])
                if count < len(session.uids):
                    raise AssertionError(f"EXISTS {count} but {len(session.uids)} messages are known")
                session.uids += [None] * (count - len(session.uids))
            elif len(u) > 1 and u[1] == "FETCH" and fetch_flags:
                values = imapc.pairs(u[2])
                at = int(u[0]) - 1
                if "UID" in values:
                    if session.uids[at] not in (None, int(values["UID"])):
                        raise AssertionError(f"message {u[0]} was UID {session.uids[at]}, now {values['UID']}")
                    session.uids[at] = int(values["UID"])
                if "FLAGS" in values and session.uids[at] is not None:
                    session.flags[session.uids[at]] = set(values["FLAGS"]) - {"\\Recent"}
        return box

    def learn(self, session):
        """Asks for what it does not know yet."""
        if None in session.uids:
            self.believe(session, session.client.ok(f"FETCH {session.uids.index(None) + 1}:* (UID FLAGS)"))

    def agree(self, session):
        """After NOOP a session knows what is there."""
        box = self.believe(session, session.client.ok("NOOP"))
        if not session.name:
            return
        self.learn(session)
        equal(session.uids, [m.uid for m in box.messages], f"UIDs in {session.name}")
        for m in box.messages:
            equal(session.flags[m.uid], m.flags, f"flags of UID {m.uid} in {session.name}")

    def pick(self, session, dice):
        """Some UIDs that the session knows and that are still there, in words of IMAP, and the messages."""
        known = [m for m in self.boxes[session.name].messages if m.uid in session.uids]
        if not known:
            return None, []
        some = dice.sample(known, min(len(known), 1 + dice.randrange(3)))
        return ",".join(str(m.uid) for m in some), sorted(some, key=lambda m: m.uid)

    # the steps: each does something to server and model
    def append(self, session, dice):
        name = dice.choice(BOXES)
        flags = dice.sample(FLAGS, dice.randrange(3))
        self.number += 1
        message = f"From: a@b.example\r\nSubject: number {self.number}\r\n\r\nThis is {self.number}\r\n".encode()
        answer = session.client.append(name, message, " ".join(flags))
        equal(answer.status, "OK", answer.text)
        uid = self.boxes[name].add(flags, self.number)
        equal(answer.code[0], "APPENDUID")
        equal(answer.code[2], str(uid), "APPENDUID")
        self.believe(session, answer)

    def select(self, session, dice):
        name, word = dice.choice(BOXES), dice.choice(("SELECT", "SELECT", "EXAMINE"))
        session.leave()
        answer = session.client.ok(f'{word} "{name}"')
        equal(answer.numbered("EXISTS")[0][0], len(self.boxes[name].messages), f"EXISTS of {name}")
        session.name, session.read_only = name, word == "EXAMINE"
        self.believe(session, answer)
        self.learn(session)
        self.agree(session)

    def store(self, session, dice):
        if not session.name or session.read_only:
            return
        uids, some = self.pick(session, dice)
        if not some:
            return
        how, flags = dice.choice(("+", "-", "")), dice.sample(FLAGS, 1 + dice.randrange(2))
        silent = dice.choice(("", ".SILENT"))
        self.believe(session, session.client.ok(f"UID STORE {uids} {how}FLAGS{silent} ({' '.join(flags)})"))
        for m in some:
            m.flags = m.flags | set(flags) if how == "+" else m.flags - set(flags) if how == "-" else set(flags)
            if silent and m.uid in session.uids:
                session.flags[m.uid] = set(m.flags)

    def take_out(self, name, gone):
        self.boxes[name].messages = [m for m in self.boxes[name].messages if m not in gone]

    def expunge(self, session, dice):
        if not session.name or session.read_only:
            return
        uids, some = self.pick(session, dice)
        by_uid = some and dice.randrange(2)
        answer = session.client.ok(f"UID EXPUNGE {uids}" if by_uid else "EXPUNGE")
        gone = [m for m in (some if by_uid else self.boxes[session.name].messages) if "\\Deleted" in m.flags]
        self.take_out(session.name, gone)
        self.believe(session, answer)

    def copy(self, session, dice):
        if not session.name:
            return
        uids, some = self.pick(session, dice)
        target = dice.choice(BOXES)
        if not some:
            return
        answer = session.client.ok(f'UID COPY {uids} "{target}"')
        new = [self.boxes[target].add(m.flags, m.number) for m in some]
        self.check_copyuid(answer.code, some, new)
        self.believe(session, answer)

    def move(self, session, dice):
        if not session.name or session.read_only:
            return
        uids, some = self.pick(session, dice)
        target = dice.choice(BOXES)
        if not some:
            return
        answer = session.client.ok(f'UID MOVE {uids} "{target}"')
        source = session.name
        new = [self.boxes[target].add(m.flags, m.number) for m in some]
        self.take_out(source, some)
        codes = answer.codes("COPYUID")
        self.check_copyuid(codes[0] if codes else answer.code, some, new)
        self.believe(session, answer)

    def check_copyuid(self, code, some, new):
        equal(code[0], "COPYUID")
        equal(spread(code[2]), [m.uid for m in some], "source UIDs of COPYUID")
        equal(spread(code[3]), new, "new UIDs of COPYUID")

    def leave(self, session, dice):
        if not session.name:
            return
        word = dice.choice(("CLOSE", "UNSELECT"))
        session.client.ok(word)
        if word == "CLOSE" and not session.read_only:
            self.take_out(session.name, [m for m in self.boxes[session.name].messages if "\\Deleted" in m.flags])
        session.leave()

    def search(self, session, dice):
        if not session.name:
            return
        self.agree(session)
        flag = dice.choice(FLAGS)
        word = flag[1:].upper() if flag[0] == "\\" else f"KEYWORD {flag}"
        not_word = dice.choice(("", "NOT "))
        answer = session.client.ok(f"UID SEARCH {not_word}{word}")
        found = [int(u) for values in answer.of("SEARCH") for u in values]
        expected = [m.uid for m in self.boxes[session.name].messages if (flag in m.flags) != bool(not_word)]
        equal(sorted(found), expected, f"SEARCH {not_word}{word}")

    def read(self, session, dice):
        if not session.name:
            return
        self.agree(session)
        uids, some = self.pick(session, dice)
        if not some:
            return
        answer = session.client.ok(f"UID FETCH {uids} (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY[TEXT])")
        got = {}
        for _, values in answer.fetched():
            if "BODY[TEXT]" in values:
                got[int(values["UID"])] = values
        equal(sorted(got), [m.uid for m in some], "UIDs fetched")
        for m in some:
            equal(got[m.uid]["BODY[TEXT]"], f"This is {m.number}\r\n")
            equal(got[m.uid]["BODY[HEADER.FIELDS (SUBJECT)]"], f"Subject: number {m.number}\r\n\r\n")
            if not session.read_only:
                m.flags.add("\\Seen")
        self.believe(session, answer)

    def counts(self, session, dice):
        name = dice.choice(BOXES)
        answer = session.client.ok(f'STATUS "{name}" (MESSAGES UIDNEXT UNSEEN)')
        status = imapc.pairs(answer.of("STATUS")[0][1])
        self.believe(session, answer)
        box = self.boxes[name]
        equal((status["MESSAGES"], status["UIDNEXT"], status["UNSEEN"]),
              (str(len(box.messages)), str(box.next), str(sum("\\Seen" not in m.flags for m in box.messages))), f"STATUS of {name}")

    def noop(self, session, _):
        self.agree(session)

    STEPS = (append, append, append, select, store, store, store, expunge, copy, move, leave, search, read, counts, noop, noop)

    def step(self, plan):
        dice = random.Random(plan)
        session = dice.choice(self.sessions)
        dice.choice(World.STEPS)(self, session, dice)

    def run(self, plans):
        self.begin()
        try:
            for plan in plans:
                self.step(plan)
            for session in self.sessions:
                self.agree(session)
        finally:
            self.end()


def spread(text):
    out = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        out += range(int(first), int(last or first) + 1)
    return out


def fails(world, plans):
    try:
        world.run(plans)
        return None
    except Exception as e:
        return "".join(traceback.format_exception(e)[-3:])


def shrink(world, plans):
    """Leaves out pieces as long as it fails."""
    piece, runs = len(plans) // 2, 0
    while piece and runs < SHRINKS:
        at = 0
        while at < len(plans) and runs < SHRINKS:
            shorter = plans[:at] + plans[at + piece:]
            runs += 1
            if fails(world, shorter):
                plans = shorter
            else:
                at += piece
        piece //= 2
    return plans


def run_seed(seed, **settings):
    dice = random.Random(seed)
    plans = [dice.getrandbits(48) for _ in range(STEPS)]
    with Instance(settings={"smtpd_client_connection_count_limit": "1000", **settings}) as house:
        world = World(house)
        error = fails(world, plans)
        if not error:
            return
        print(f"seed {seed}: {error}; making it shorter")
        short = shrink(world, plans)
        for plan in short:
            d = random.Random(plan)
            session = d.randrange(SESSIONS)
            print(f"plan {plan}: session {session} {d.choice(World.STEPS).__name__}")
        raise AssertionError(f"seed {seed}, {len(short)} steps: {fails(world, short) or error}")


def test_random_sessions():
    for seed in SEEDS:
        run_seed(seed)


def test_random_sessions_that_do_not_wait_for_flags():
    for seed in SEEDS[:1]:
        run_seed(seed, imap_flag_sync="no")


if __name__ == "__main__":
    harness.main()
