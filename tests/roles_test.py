#!/usr/bin/env python3
"""The master and its roles: starting, stopping, a role that dies comes back and loses nothing that was acknowledged."""
import os
import signal
import smtplib
import socket
import threading
import time

import harness
from harness import Instance, StartFailed, alive, children, equal, eventually, match

ROLES = ("smtp-in", "store", "access", "auth", "smtp-out", "dns", "keys", "cards", "mda")


class Load:
    """Sends numbered messages to bob, one connection each, until it is told to stop; .acknowledged are those that got their 250."""

    def __init__(self, house):
        self.house, self.acknowledged, self.ended = house, [], False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join(30)

    def run(self):
        number = 0
        while not self.ended:
            number += 1
            try:
                self.house.send("bob", f"number {number}", subject=f"load {number}", timeout=5)
                self.acknowledged.append(number)
            except (OSError, smtplib.SMTPException, AssertionError):
                time.sleep(0.02)
            time.sleep(0.005)


def works(house):
    try:
        with house.smtp("submission", user="alice", timeout=3) as client:
            client.noop()
        house.pop(timeout=3).quit()
        return True
    except Exception:
        return False


def arrived(house, user="bob"):
    numbers = []
    for message in house.mailbox(user):
        numbers.append(int(match(message, r"Subject: load (\d+)")[1]))
    return numbers


def test_each_role_comes_back():
    with Instance() as house:
        for role in ROLES:
            with Load(house) as load:
                eventually(lambda: len(load.acknowledged) > 5, 10, "the load runs")
                before = house.pids()
                house.kill(role)
                eventually(lambda: renewed(house, role, before[role]), 5, f"{role} has a new process")
                eventually(lambda: works(house), 5, f"new connections work after {role} died")
                seen = len(load.acknowledged)
                eventually(lambda: len(load.acknowledged) > seen + 5, 10, f"mail is taken after {role} died")
            after = house.pids()
            equal([r for r in ROLES if before[r] != after[r]], [role], f"roles with a new process after {role} died")
            equal(house.status()[f"restarts_{role}"], 1, f"restarts of {role}")
            eventually(lambda: set(load.acknowledged) <= set(arrived(house)), 10,
                       f"everything acknowledged is in the mailbox after {role} died")
            empty(house, "bob")
            match(house.log(), rf"event=role_ended \S*.*name={role} pid={before[role]} signal=9", "the log")


def empty(house, user):
    client = house.pop(user)
    for n in range(client.stat()[0]):
        client.dele(n + 1)
    client.quit()


def renewed(house, role, old):
    try:
        return house.pids().get(role, old) != old
    except AssertionError:
        return False


def test_all_roles_at_once():
    with Instance() as house:
        house.send("bob", subject="load 1")
        for pid in house.pids().values():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: works(house), 10)
        equal(arrived(house), [1], "messages")


def test_a_role_killed_again_and_again():
    """It comes back each time, later but not never."""
    with Instance() as house:
        for n in range(1, 4):
            pid = house.kill("smtp-in")
            eventually(lambda: renewed(house, "smtp-in", pid), 10, f"a new process after death {n}")
        eventually(lambda: works(house), 10)
        equal(house.status()["restarts_smtp-in"], 3, "restarts")


def test_acknowledged_survives_the_end_of_all():
    with Instance() as house:
        for n in range(3):
            with Load(house) as load:
                eventually(lambda: len(load.acknowledged) > 10 * (n + 1), 10)
                house.kill_all()
                load.ended = True
            house.start()
            wanted = set(load.acknowledged)
            eventually(lambda: wanted <= set(arrived(house)), 10, "everything acknowledged is there after kill -9 of all")
            numbers = arrived(house)
            equal(len([x for x in numbers if x in wanted]), len(wanted), "each message once")
            empty(house, "bob")
        house.stop()
        house.check("store", "check")


def test_stop():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Instance() as house:
            held = [house.lines("smtp"), house.lines("pop3"), house.lines("submissions")]  # open sessions do not hold it up
            for wire in held:
                wire.line()
            roles = list(house.pids().values())
            took = house.stop(signal_number=number)
            assert took < 2, f"signal {number}: stopped after {took:.1f} s"
            assert not any(alive(p) for p in roles), "a role is left"
            for wire in held:
                assert wire.ended()
                wire.close()
            equal(os.path.exists(house.data + "/control"), False, "the control socket is left")
            code, _, err = house.cli("status")
            equal(code, 69, f"status of a stopped server ({err})")


def test_stop_in_the_middle_of_a_message():
    with Instance() as house:
        with house.lines() as wire:
            wire.reply()
            for line, code in (("EHLO client.example", 250), ("MAIL FROM:<a@b.example>", 250), ("RCPT TO:<bob@posthouse.test>", 250),
                               ("DATA", 354)):
                wire.expect(line, code)
            wire.raw("Subject: half\r\n\r\nhal")
            took = house.stop()
            assert took < 2, f"stopped after {took:.1f} s"
        house.start()
        equal(house.mailbox("bob"), [], "half a message")


def test_start_is_quick():
    with Instance(start=False) as house:
        times = []
        for _ in range(5):
            house.start()
            times.append(house.start_seconds)
            with house.lines() as wire:  # ready means ready
                assert wire.reply().startswith("220 ")
            house.stop()
        assert sorted(times)[2] < 1, f"start takes {times}"


def test_two_instances():
    with Instance() as one, Instance(domain="other.test") as two:
        one.send("alice", subject="for one")
        two.send("alice", subject="for two")
        match(one.wait_for(1)[0], "for one")
        match(two.wait_for(1)[0], "for two")
        one.stop()
        two.send("alice")
        two.wait_for(2)
        equal(one.cli("status")[0], 69, "status of the stopped one")
        equal(two.cli("status")[0], 0, "status of the running one")


def test_busy_port():
    with Instance(start=False) as house:
        with socket.socket() as s:
            s.bind(("127.0.0.1", house.port("pop3")))
            s.listen()
            try:
                house.start()
                raise SystemError("started on a busy port")
            except StartFailed as e:
                assert e.returncode not in (0, None), e
                match(str(e), str(house.port("pop3")), "the complaint names the port")
                match(str(e), r"(?i)in use|taken|busy", "the complaint")
        house.start()


def test_second_server_on_the_same_data():
    """Whether its ports are those of the first or others, it does not start and does not disturb the first."""
    with Instance() as house:
        house.write("other.conf", "".join(line for line in house.read("posthouse.conf").splitlines(True) if "listen" not in line)
                    + f"listen smtp 127.0.0.1:{harness.free_base() + 25}\n")
        for name in ("posthouse.conf", "other.conf"):
            code, _, err = harness.program(house.binary, "serve", "-c", house.path(name), timeout=10)
            assert code != 0, f"two servers on one folder with {name}"
            match(err, r"(?i)in use|running|another", f"the complaint about {name}")
            house.status()
            house.send("alice", subject=name)
        equal(len(house.wait_for(2)), 2, "messages")


MDA_CAPABILITIES = 1 << 5 | 1 << 6 | 1 << 7  # CAP_KILL, CAP_SETGID, CAP_SETUID


def test_roles_are_not_root():
    with Instance() as house:
        if os.getuid() != 0:
            harness.skip("started as an ordinary user, all roles run as that user")
        for role, pid in house.pids().items():
            with open(f"/proc/{pid}/status") as f:
                text = f.read()
            uids = match(text, r"Uid:\s+(\d+)\s+(\d+)\s+(\d+)").groups()
            assert "0" not in uids, f"{role} runs as root"
            may = MDA_CAPABILITIES if role == "mda" else 0  # it becomes other users, whose commands may be setuid
            for kind in ("CapEff", "CapBnd") if may else ("CapEff",):
                assert int(match(text, rf"{kind}:\s+(\w+)")[1], 16) & ~may == 0, f"{role} has capabilities"
            assert match(text, r"NoNewPrivs:\s+(\d)")[1] == ("0" if may else "1"), f"{role} may get new privileges"


def test_roles_end_with_the_master():
    """Even a master that is killed leaves nobody behind."""
    with Instance() as house:
        roles = children(house.process.pid)
        equal(len(roles), len(ROLES), "roles")
        os.kill(house.process.pid, signal.SIGKILL)
        house.process.wait()
        house.process = None
        eventually(lambda: not any(alive(p) for p in roles), 5, "the roles end when the master has died")
        house.start()
        assert works(house)


def test_status():
    with Instance() as house:
        house.send("alice")
        house.wait_for(1)
        status = house.status()
        equal(set(status["roles"]), set(ROLES), "roles")
        equal(len(status["listener"]), len(harness.SERVICES), "listeners")
        for name, role in (("messages", "smtp-in"), ("placed", "store"), ("retrieved", "access"), ("right", "auth")):
            assert status["roles"][role][name] >= 1, f"{role} {name}: {status['roles'][role]}"
        for role in ROLES:
            equal(status[f"restarts_{role}"], 0, f"restarts of {role}")


if __name__ == "__main__":
    harness.main()
