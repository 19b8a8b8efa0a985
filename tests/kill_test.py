#!/usr/bin/env python3
"""Roles die by SIGKILL at a system call of their own, under load, and no acknowledged message is lost (DESIGN 1).

    SEED=N        repeats a run (each run prints its seed)      ROUNDS=N     rounds of test_kill (default 12)
    kill_test.py --expect-loss    turns test_kill round: it passes if a loss is found ($POSTHOUSE is a broken build)

A SIGKILL takes nothing from the page cache: it shows an acknowledgement before the write, not one before the sync.
That one is shown by the order of system calls (test_sync_before_250) and by power cuts (durability_test.py).
"""
import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import harness
import ledger
from harness import BINARY, ROOT

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
ROUNDS = int(os.environ.get("ROUNDS", 12))
USERS = ["alice", "bob", "carol"]
BIG = 10000 * ledger.KB
SYSCALLS = {  # role: (seen all the time, seen now and then)
    "smtp-in": (["pwrite64", "fdatasync", "sendto", "recvfrom", "epoll_wait", "write", "sendmsg", "futex", "accept4"],
                ["openat", "ftruncate", "fsync", "fallocate"]),
    "store": (["pwrite64", "pread64", "fdatasync", "sendmsg", "recvmsg", "epoll_wait", "write", "futex"],
              ["openat", "close", "fsync", "unlinkat"]),
}
# (file, old, new): builds that acknowledge too early, right before and right after the write of the log
INTAKE, ROLE = "src/session/smtp_intake.c", "src/session/smtp_in.c"
EARLY = (INTAKE, "uint64_t synced = receive_log_synced(in->log.log);", "uint64_t synced = UINT64_MAX;")
BEFORE_WRITE = [EARLY, (ROLE, "    log_writer_flush(&in->log);", "    smtp_intake_synced(in); log_writer_flush(&in->log);")]
BEFORE_SYNC = [EARLY, (ROLE, "    while (in->closed) {", "    smtp_intake_synced(in); while (in->closed) {")]
expect_loss = False


# tracing


def traced(pid):
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status") as f:
                if re.search(r"TracerPid:\t0\n", f.read()):
                    return False
        return True
    except OSError:
        return True  # dead already


def strace(pid, *args):
    """strace attached to all threads of a process, or None where that is not to be had."""
    if not shutil.which("strace"):
        return None
    null = subprocess.DEVNULL
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(pid), *args], stdin=null, stdout=null, stderr=null)
    end = time.monotonic() + 3
    while not traced(pid):
        if tracer.poll() is not None or time.monotonic() > end:
            leave(tracer)
            return None
        time.sleep(0.005)
    return tracer


def leave(tracer):
    """Ends a strace, by force if it does not notice that what it traced is dead."""
    if not tracer:
        return
    tracer.terminate()
    try:
        tracer.wait(0.3)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait()


@contextlib.contextmanager
def trace(pid, *args):
    """Yields a function that ends the tracing and returns the lines of the trace."""
    harness.need("strace")
    with tempfile.NamedTemporaryFile(prefix="posthouse-trace-") as f:
        tracer = strace(pid, "-y", "-s", "60", "-o", f.name, *args)
        if not tracer:
            harness.skip("strace may not attach here")

        def lines():
            leave(tracer)
            return open(f.name, errors="replace").read().splitlines()
        try:
            yield lines
        finally:
            leave(tracer)


def events(lines):
    """[(event, line)] in order: "write", "sync" (begins), "synced", "250"."""
    out = []
    for line in lines:
        if "pwrite64(" in line and "/log/smtp-in/" in line:
            out.append("write")
        if "fdatasync(" in line:
            out.append("sync")
        if re.search(r"fdatasync(\(.*| resumed.*)\) += 0", line):
            out.append("synced")
        if re.search(r"(sendto|write|writev|sendmsg)\(.*250 2\.0\.0 Message accepted", line):
            out.append("250")
    return out


# a broken build


def build_variant(folder, patches):
    """The program with some lines replaced, built from copies; nothing of it stays."""
    build = os.path.dirname(BINARY)
    if not os.path.exists(os.path.join(build, "release", "admin", "main.o")):
        harness.skip(f"the object files are not beside {BINARY}")
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    made = [f"-W{name}" for name in dict.fromkeys(p[0] for p in patches)]
    build = os.path.relpath(build, ROOT)
    code, plan, err = harness.program("make", "-n", f"B={build}", "SHOW=1", *made, "all", cwd=ROOT, env=env)
    assert code == 0, f"make -n: {err}"
    commands = [shlex.split(line) for line in plan.replace("\\\n", "").splitlines() if " -o " in line]
    objects = []
    for name in dict.fromkeys(p[0] for p in patches):
        text = open(os.path.join(ROOT, name)).read()
        for _, old, new in (p for p in patches if p[0] == name):
            assert text.count(old) == 1, f"{name} has not just one {old!r}: this test has to follow the source"
            text = text.replace(old, new)
        copy = os.path.join(folder, os.path.basename(name))
        open(copy, "w").write(text)
        objects.append(copy[:-1] + "o")
        run_command(next(c for c in commands if c[-1] == name), {name: copy}, objects[-1])
    link = next(c for c in commands if c[c.index("-o") + 1].endswith("/posthouse") and "-c" not in c)
    main = next(w for w in link if w.endswith("/main.o"))
    program = os.path.join(folder, "posthouse")
    run_command(link, {main: [main] + objects}, program)
    return program


def run_command(command, replace, output):
    words = []
    for word in command:
        new = replace.get(word, word)
        words += new if isinstance(new, list) else [new]
    words[words.index("-o") + 1] = output
    words = [w for w in words if w not in ("-MMD", "-MP")]
    code, _, err = harness.program(*words, cwd=ROOT)
    assert code == 0, f"{output}: {err[-1500:]}"


@contextlib.contextmanager
def variant(patches):
    with tempfile.TemporaryDirectory(prefix="posthouse-variant-") as folder:
        os.chmod(folder, 0o755)
        yield build_variant(folder, patches)


# a round


class Plan:
    """Who dies where."""

    def __init__(self, number, rng):
        self.number = number
        kind = ("smtp-in", "store", "both", "all")[number % 4]
        self.all = kind == "all"
        self.roles = ["smtp-in", "store"] if kind == "both" else [rng.choice(list(SYSCALLS))] if self.all else [kind]
        self.victim = f"all, by {self.roles[0]}" if self.all else kind
        self.points = [self.point(role, rng) for role in self.roles]
        self.drop_index = number % 3 == 2
        self.big = 2 if number % 4 in (0, 3) else 0
        self.before = rng.uniform(0.05, 0.2)
        self.after = rng.uniform(0.15, 0.3)
        self.patience = 0.7
        self.end_by_kill = rng.random() < 0.3
        self.compact = number % 8 >= 4
        self.keep = rng.choice((8, 60, 200))

    @staticmethod
    def point(role, rng):
        often, seldom = SYSCALLS[role]
        if rng.random() < 0.25:
            return rng.choice(seldom), rng.randint(1, 3)
        return rng.choice(often), int(2 ** rng.uniform(0, 6.5))


def strike(house, plan):
    """The victims die; returns how, as text."""
    pids = house.pids()
    traps = [(role, pids[role], call, n, strace(pids[role], "-o", "/dev/null", "-e", f"trace={call}",
                                                  "-e", f"inject={call}:signal=SIGKILL:when={n}"))
             for role, (call, n) in zip(plan.roles, plan.points)]
    end = time.monotonic() + plan.patience
    how = []
    while any(harness.alive(trap[1]) for trap in traps) and time.monotonic() < end:
        time.sleep(0.002)
    for role, pid, call, n, tracer in traps:
        if harness.alive(pid):
            os.kill(pid, signal.SIGKILL)
            how.append(f"a random moment ({call}#{n} was not reached)" if tracer else "a random moment")
        else:
            how.append(f"{call}#{n}")
    if plan.all:
        house.kill_all()
    for trap in traps:
        leave(trap[-1])
    return ", ".join(how)


@contextlib.contextmanager
def compacting(house, wanted=True):
    """A compaction goes on meanwhile, if it is not hindered."""
    null = subprocess.DEVNULL
    command = subprocess.Popen([house.binary, "store", "compact", "--now", "-c", house.conf], stdin=null, stdout=null,
                               stderr=null) if wanted else None
    try:
        yield
    finally:
        if command:
            command.kill()
            command.wait()


def drop_index(house):
    for name in os.listdir(house.data):
        if name.startswith("index.db"):
            os.unlink(os.path.join(house.data, name))


def play_round(house, book, plan, **audit):
    """One round on a stopped instance; returns the line to print."""
    acked, sent = book.count(ledger.ACKED), len(book.messages)
    begun = time.monotonic()
    book.allow_big(plan.big)
    house.start()
    load = ledger.Load(book, house.port("smtp"))
    load.start()
    with compacting(house, plan.compact):
        time.sleep(plan.before)
        how = strike(house, plan)
        if not plan.all:
            time.sleep(plan.after)
        load.stop()
    if plan.drop_index:
        if house.process:
            house.stop()
        drop_index(house)
    if not house.process:
        house.start()
        load.start()
        time.sleep(plan.after / 2)
        load.stop()
    harness.eventually(lambda: ledger.send_one(house, book), 10, "the server takes mail again")
    unacked = book.audit(house, **{"keep": plan.keep, **audit})
    house.kill_all() if plan.end_by_kill else house.stop()
    what = f"victim {plan.victim} at {how}" + (" while compacting" if plan.compact else "") + (
        ", index deleted" if plan.drop_index else "")
    acked, sent = book.count(ledger.ACKED) - acked, len(book.messages) - sent
    counts = f"sent {sent}, acked {acked}, all found, unacked found {unacked}"
    return f"round {plan.number}: {what}: {counts} ({time.monotonic() - begun:.1f} s)"


def check_store(house):
    """The offline check of a stopped instance has nothing to say."""
    code, out, err = house.cli("store", "check")
    assert code == 0 and "0 findings" in out, f"store check: exit code {code}: {out[-1500:]}{err}"
    return out


def make_house(binary=None, segment="1M"):
    house = harness.Instance(settings={"log_segment_size": segment}, start=False)
    house.binary = binary or house.binary
    return house


def test_kill():
    print(f"    seed {SEED}: SEED={SEED} tests/kill_test.py test_kill", flush=True)
    with make_house() as house:
        book = ledger.Ledger(random.Random(SEED), USERS, big=BIG)
        try:
            for number in range(ROUNDS):
                plan = Plan(number, random.Random(f"{SEED} {number}"))
                print("    " + play_round(house, book, plan), flush=True)
        except ledger.Loss as e:
            if not expect_loss:
                raise
            print(f"    found, as was expected: {e}")
            return
        assert not expect_loss, "no loss was found"
        assert book.count(ledger.ACKED) > 20 * ROUNDS, "hardly any load: this run shows nothing"
        if house.process:
            house.stop()
        check_store(house)
        house.check("store", "rebuild")
        check_store(house)
        house.start()
        book.audit(house, delete=False)


def test_early_250_is_caught():
    """The same round finds the loss in a build that acknowledges before it writes."""
    harness.need("strace", "make", "gcc")
    rng = random.Random(SEED)
    with variant(BEFORE_WRITE) as program, make_house(program, "32M") as house:
        book = ledger.Ledger(rng, USERS, sizes=((1, ledger.KB),))  # each pwrite64 is then that of a turn of the loop
        plan = Plan(0, rng)
        plan.points, plan.patience = [("pwrite64", rng.randint(10, 40))], 10
        try:
            line = play_round(house, book, plan, seconds=0.5)
        except ledger.Loss as e:
            print(f"    a build that answers 250 before the write: {e}")
            lost = e.lost
        else:
            raise AssertionError(f"the loss was not seen: {line}")
        assert lost
        if house.process:
            house.kill_all()


# the order of write, sync and reply


def one_message(house):
    """Sends one message on one connection; returns the order of what smtp-in did."""
    with house.smtp() as client:
        with trace(house.pids()["smtp-in"], "-e", "trace=pwrite64,fdatasync,sendto,write,writev,sendmsg") as lines:
            client.sendmail("a@client.example", house.address("alice"), harness.message_of("one"))
            time.sleep(0.1)  # what comes after the 250, if anything does
            return events(lines())


def seconds_until_250(house, delay):
    with house.smtp() as client:
        slow = "-e", "trace=fdatasync", "-e", f"inject=fdatasync:delay_exit={delay}"
        with trace(house.pids()["smtp-in"], *slow) as lines:
            begun = time.monotonic()
            client.sendmail("a@client.example", house.address("alice"), harness.message_of("slow"))
            took = time.monotonic() - begun
            lines()
            return took


def test_sync_before_250():
    with harness.Instance() as house:
        harness.equal(one_message(house), ["write", "sync", "synced", "250"], "what smtp-in did for one message")
        took = seconds_until_250(house, 300000)
        assert took >= 0.3, f"250 came after {took:.3f} s although the sync took 0.3 s"


def test_250_before_sync_is_caught():
    """The test above fails for a build that acknowledges between write and sync."""
    harness.need("strace", "make", "gcc")
    with variant(BEFORE_SYNC) as program, harness.Instance(start=False) as house:
        house.binary = program
        house.start()
        order = one_message(house)
        assert order.index("250") < order.index("synced"), f"the order was {order}"
        took = seconds_until_250(house, 300000)
        assert took < 0.3, f"the reply took {took:.3f} s"


def test_one_sync_per_message():
    with harness.Instance() as house, house.smtp() as client:
        with trace(house.pids()["smtp-in"], "-e", "trace=fdatasync") as lines:
            for n in range(20):
                client.sendmail("a@client.example", house.address("alice"), harness.message_of(f"number {n}"))
            got = events(lines())
        harness.equal((got.count("sync"), got.count("synced")), (20, 20), "syncs of 20 messages on one connection")
        house.wait_for(20)


def syncs(house):
    return house.status()["roles"]["smtp-in"]["syncs"]


def send_many(house, client, count):
    for _ in range(count):
        client.sendmail("a@client.example", house.address("bob"), harness.message_of("many"))


def test_group_commit():
    """50 sessions share syncs: with a disk that takes 3 ms for one, whatever came meanwhile waits for the next."""
    with harness.Instance() as house:
        clients = [house.smtp(source=f"127.0.0.{n + 2}") for n in range(50)]
        before = syncs(house)
        slow = "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=3000"
        with trace(house.pids()["smtp-in"], *slow) as lines:
            threads = [threading.Thread(target=send_many, args=(house, c, 10)) for c in clients]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            calls = events(lines()).count("sync")
        batches = syncs(house) - before
        print(f"    500 messages of 50 sessions: {calls} fdatasync calls, {batches} batches")
        assert calls <= batches, f"{calls} fdatasync calls for {batches} batches"
        assert batches <= 500 / 5, f"{batches} batches for 500 messages"
        assert len(house.wait_for(500, "bob")) == 500


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    if "--expect-loss" in sys.argv:
        sys.argv.remove("--expect-loss")
        expect_loss = True
        sys.argv[1:] = sys.argv[1:] or ["test_kill"]
    harness.main()
