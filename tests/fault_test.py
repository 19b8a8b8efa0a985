#!/usr/bin/env python3
"""Little things that fail on a real machine: no inodes, no descriptors, no memory, a disk that refuses a sync, a clock that jumps. Nobody is
told 250 for what may be lost, no role spins, and when the cause is gone everything works. (Full disks and failing calls under load:
durability_test.py.)

    SEED=N    repeats a run of the tests with load
"""
import contextlib
import glob
import os
import random
import re
import sys
import time

import durability_test as disk
import harness
import kill_test
import ledger

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
LARGE = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 4000  # over 128 KiB: a segment of its own
SPIN_SECONDS = 1
SPIN_SHARE = 0.2


# inodes


def test_no_inodes():
    """No file can be made: a message that needs one gets 452, the others go on while their segment has room."""
    settings = {"log_segment_size": "64K", "min_free": "1M"}
    with disk.mounted("-t", "tmpfs", "-o", "size=32m,nr_inodes=60", "tmpfs") as where:
        settings["data_directory"] = os.path.join(where, "data")
        with harness.Instance(settings=settings, start=False) as house:
            disk.move_data(house, where)
            house.start()
            house.send("alice", "before")
            house.wait_for(1)
            pids = house.pids()
            holes = hold_inodes(where)
            told = [disk.one_message(house, LARGE if n % 10 == 9 else b"Subject: small\r\n\r\n" + b"z" * 900 + b"\r\n") for n in range(150)]
            replies = [reply for reply, _ in told]
            assert all(usable for _, usable in told), "a connection did not survive"
            assert all(r.startswith(("250 2.0.0", "452 4.3.1")) for r in replies), set(replies)
            harness.match(replies[-1], r"^452 4\.3\.1", "the reply when the segments are used up and none can be made")
            accepted = sum(r.startswith("250") for r in replies)
            assert accepted > 20, f"only {accepted} messages were taken although the segment had room"
            for hole in holes:
                os.unlink(hole)
            harness.eventually(lambda: disk.one_message(house, LARGE)[0].startswith("250"), 5, "inodes are there again")
            harness.equal(len(house.wait_for(accepted + 2)), accepted + 2, "messages")
            harness.equal(house.pids(), pids, "the roles: a lack of inodes ends none of them")
            house.stop()
            kill_test.check_store(house)


def hold_inodes(where):
    """Empty files until no more can be made."""
    names = []
    while True:
        name = os.path.join(where, f"hole{len(names)}")
        try:
            open(name, "x").close()
        except OSError:
            return names
        names.append(name)


# a sync that fails


def test_log_sync_fails():
    """451, never 250; the process ends, for what a failed sync left in the page cache may never reach the disk."""
    with harness.Instance() as house:
        house.send("alice", "before")
        old = house.pids()["smtp-in"]
        with house.smtp() as client:
            tracer = disk.inject(house, "smtp-in", "fdatasync", "EIO", "1")
            reply = send_or_lose(client, house)
            kill_test.leave(tracer)
            harness.match(reply, r"^451 4\.3\.0|^421 |^lost$", "the reply after a failed sync")
        renewed(house, "smtp-in", old)
        house.send("alice", "after")
        texts = [m for m in house.wait_for(2) if b"unsure" not in m]
        harness.equal(len(texts), 2, "acknowledged messages")
        assert len(house.mailbox()) <= 3, "the message that was refused is there more than once"
        house.stop()
        kill_test.check_store(house)


def test_journal_sync_fails():
    """The receive log has the message: 250 is right, the store comes back and places it, once."""
    with harness.Instance() as house:
        house.send("alice", "before")
        house.wait_for(1)
        old = house.pids()["store"]
        tracer = disk.inject(house, "store", "fdatasync", "EIO", "1")
        house.send("alice", "meanwhile")
        renewed(house, "store", old)
        kill_test.leave(tracer)
        house.send("alice", "after")
        harness.equal(len(house.wait_for(3)), 3, "messages")
        time.sleep(0.1)
        harness.equal(len(house.mailbox()), 3, "messages after a while")
        house.stop()
        kill_test.check_store(house)


def send_or_lose(client, house):
    """The reply to a message, or "lost" with the connection."""
    try:
        for command in ("MAIL FROM:<a@client.example>", f"RCPT TO:<{house.address('alice')}>", "DATA"):
            code, text = client.docmd(command)
            if code >= 400:
                return f"{code} {text.decode()}"
        client.send(b"Subject: unsure\r\n\r\nx\r\n.\r\n")
        code, text = client.getreply()
        return f"{code} {text.decode()}"
    except (OSError, harness.smtplib.SMTPServerDisconnected):
        return "lost"


def renewed(house, role, old):
    harness.eventually(lambda: house.pids().get(role) not in (None, old), 5, f"a new {role}")


# descriptors


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


LIMITS = {"nofile": "Max open files", "as": "Max address space"}


def limit(pid, what, soft=None):
    """Sets a soft limit of a role, None: as high as the hard one. By a process of the role's own user, who needs no privilege for it."""
    harness.need("prlimit")
    with open(f"/proc/{pid}/status") as f, open(f"/proc/{pid}/limits") as limits:
        owner = [int(n) for n in re.findall(r"(?m)^[UG]id:\t(\d+)", f.read())]
        hard = re.search(rf"(?m)^{LIMITS[what]}\s+\S+\s+(\S+)", limits.read())[1]
    as_owner = dict(user=owner[0], group=owner[1], extra_groups=[]) if os.geteuid() == 0 else {}
    status, _, err = harness.program("prlimit", f"--pid={pid}", f"--{what}={hard if soft is None else soft}:", cwd="/", **as_owner)
    assert status == 0, err


def limit_descriptors(pid, free):
    """So many can be opened, beside those it has now."""
    held = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    soft = 0
    while free or soft in held:
        free -= soft not in held
        soft += 1
    limit(pid, "nofile", soft)


def assert_calm(pid, what, when="it has no descriptors left"):
    before, begun = cpu_seconds(pid), time.monotonic()
    time.sleep(SPIN_SECONDS)
    share = (cpu_seconds(pid) - before) / (time.monotonic() - begun)
    assert share < SPIN_SHARE, f"{what} uses {share:.0%} of a processor while {when}"


def greeting(wire, seconds):
    """The first line within that time, or None."""
    wire.sock.settimeout(seconds)
    try:
        return wire.line()
    except (OSError, TimeoutError):
        return None


def no_descriptors(service, role):
    """Connections wait, those that are there work, nothing spins; with descriptors back the waiting ones are served."""
    with harness.Instance() as house, contextlib.ExitStack() as wires:
        house.send("alice", "before")
        house.wait_for(1)
        pid = house.pids()[role]
        first = wires.enter_context(house.lines(service))
        greeting(first, 5)
        limit_descriptors(pid, 3)
        many = [wires.enter_context(house.lines(service)) for _ in range(12)]
        assert_calm(pid, role)
        served = [w for w in many if greeting(w, 0.05)]
        assert len(served) < len(many), "the limit was not reached: this run shows nothing"
        harness.match(first.say("NOOP"), r"^(250|-ERR|\+OK)", "an old connection, with no descriptors left")
        for wire in served:
            wire.close()
        waiting = [w for w in many if w not in served]
        greeted = [greeting(w, 3) for w in waiting[:len(served)]]
        assert all(greeted), f"connections closed, but of those waiting only {sum(map(bool, greeted))} were served"
        for wire in waiting:
            wire.close()
        harness.eventually(lambda: greeting(wires.enter_context(house.lines(service)), 1), 5, "new connections")
        assert house.pids()[role] == pid, f"{role} ended"
        limit(pid, "nofile")
        house.send("alice", "after")
        house.wait_for(2)


def test_no_descriptors_smtp():
    no_descriptors("smtp", "smtp-in")


def test_no_descriptors_pop3():
    no_descriptors("pop3", "access")


def ask(wire, *lines):
    """The first line of the answer to the last."""
    answer = None
    for line in lines:
        wire.raw(line + "\r\n")
        answer = wire.line()
    return answer


def test_no_descriptor_for_a_maildrop():
    """A list or a message for which there is no descriptor is refused; the same session gets it once there is one."""
    with harness.Instance() as house, house.lines("pop3s") as wire:
        house.send("alice", "before")
        harness.eventually(lambda: house.status()["roles"]["store"]["placed"] == 1, 5, "the message is placed")
        log_in = f"USER {house.address('alice')}", f"PASS {house.passwords['alice']}"
        pid = house.pids()["access"]
        wire.line()
        limit_descriptors(pid, 0)
        harness.match(ask(wire, *log_in), r"^-ERR \[SYS/TEMP\]", "the answer to a log-in without descriptors")
        limit(pid, "nofile")
        harness.match(ask(wire, *log_in), r"^\+OK", "the answer to the next log-in")
        limit_descriptors(pid, 0)
        harness.match(ask(wire, "RETR 1"), r"^-ERR \[SYS/TEMP\]", "the answer to RETR without descriptors")
        limit(pid, "nofile")
        harness.match(ask(wire, "RETR 1"), r"^\+OK", "the answer to the next RETR")
        harness.equal(house.pids()["access"], pid, "the process of role access")


# memory


def size_of(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_no_memory():
    """smtp-in and then store get no more memory under load: clients are told to wait, or the role starts anew; nothing is lost."""
    print(f"    seed {SEED}: SEED={SEED} tests/fault_test.py test_no_memory", flush=True)
    with harness.Instance(settings={"log_segment_size": "1M"}) as house:
        book = ledger.Ledger(random.Random(SEED), ["alice", "bob", "carol"], sizes=((3, 1024), (1, 120 * 1024)))
        trouble = 0
        for role, more in (("smtp-in", 1 << 20), ("smtp-in", 0), ("store", 0), ("access", 0)):
            pid = house.pids()[role]
            limit(pid, "as", size_of(pid) + more)
            acked = book.count(ledger.ACKED)
            load = ledger.Load(book, house.port("smtp"), sessions=40)
            load.start()
            time.sleep(0.4)
            load.stop()
            same = house.pids().get(role) == pid
            if same:
                limit(pid, "as")
            harness.eventually(lambda: ledger.send_one(house, book), 10, "the server takes mail again")
            book.audit(house)
            trouble += load.refusals + (not same)
            print(f"    {role} with {more >> 10} KB more: acked {book.count(ledger.ACKED) - acked}, refused {load.refusals}, "
                  f"{'goes on' if same else 'started anew'}", flush=True)
        assert trouble, "nobody missed any memory: this run shows nothing"
        house.stop()
        kill_test.check_store(house)


# clocks


@contextlib.contextmanager
def clock(shift):
    """Programs started meanwhile see the wall clock shifted."""
    if not FAKETIME:
        harness.skip("faketime is not installed")
    os.environ.update(LD_PRELOAD=FAKETIME[0], FAKETIME=shift, FAKETIME_DONT_FAKE_MONOTONIC="1")
    try:
        yield
    finally:
        for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"):
            os.environ.pop(name)


def start_at(house, shift):
    with clock(shift):
        house.start()


def test_clock_jumps():
    """Ten years on, then a day before today: mail flows, and the UIDVALIDITY of a new mailbox is above every earlier one."""
    with harness.Instance() as house:
        house.send("alice", "now")
        house.wait_for(1)
        names = {"alice": disk.listing(house, "alice")}
        for shift, user in (("+10y", "bob"), ("-1d", "carol"), ("+0", None)):
            house.stop()
            start_at(house, shift)
            assert_calm(house.pids()["smtp-in"], "smtp-in", "the clock has jumped")
            for to in filter(None, ("alice", user)):
                house.send(to, f"sent at {shift}")
            house.wait_for(len(names["alice"]) + 1)
            if user:
                house.wait_for(1, user)
                names[user] = disk.listing(house, user)
            now = disk.listing(house, "alice")
            harness.equal(now[:len(names["alice"])], names["alice"], f"the names of alice's messages at {shift}")
            names["alice"] = now
            if shift == "+10y":
                year = int(harness.match(house.mailbox()[-1], r"Received:.*?\w+, \d+ \w+ (\d{4})")[1])
                assert year >= time.gmtime().tm_year + 9, f"the server believes that it is {year}: its clock was not shifted"
        validity = [ledger.uid_number(names[user][0])[0] for user in ("alice", "bob", "carol")]
        assert validity[0] < validity[1] < validity[2], f"UIDVALIDITY in order of creation: {validity}"
        house.stop()
        kill_test.check_store(house)


if __name__ == "__main__":
    harness.signal.signal(harness.signal.SIGTERM, lambda *_: sys.exit(1))
    harness.main()
