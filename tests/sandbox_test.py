#!/usr/bin/env python3
"""Every role of a running server is inside its sandbox, the whole walk of a message works there, and without seccomp the server does not start."""
import base64
import ctypes.util
import hashlib
import glob
import hmac
import os
import pwd
import sys
import tempfile

import harness
from harness import ROOT, Instance, StartFailed, children, equal, eventually, match, message_of, program

ROLES = ("smtp-in", "store", "access", "auth", "smtp-out", "dns", "keys", "cards", "mda")
LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture

# Takes system calls away, as an older kernel would not have them, and becomes the program: wrapper BINARY ARGUMENTS…
WITHOUT = """#!%s
import ctypes, os, sys
lib = ctypes.CDLL(%r)
lib.seccomp_init.restype = ctypes.c_void_p
enosys = 0x00050000 | 38
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
f = ctypes.c_void_p(lib.seccomp_init(0x7fff0000))
lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
for name in %r:
    number = name if isinstance(name, int) else lib.seccomp_syscall_resolve_name(name)
    assert lib.seccomp_rule_add_array(f, enosys, number, 0, None) == 0
if b"seccomp" in %r:
    only = Compare(0, 4, 22, 0)  # equal to PR_SET_SECCOMP
    assert lib.seccomp_rule_add_array(f, enosys, lib.seccomp_syscall_resolve_name(b"prctl"), 1, ctypes.byref(only)) == 0
lib.seccomp_load.argtypes = [ctypes.c_void_p]
assert lib.seccomp_load(f) == 0
os.execv(%r, sys.argv)
"""


def process_status(path):
    with open(path) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def roles(house):
    """{name of the role: process id}"""
    found = {}
    for pid in children(house.process.pid):
        try:
            found[process_status(f"/proc/{pid}/status")["Name"].removeprefix("ph-")] = pid
        except OSError:
            pass  # it ends just now
    return found


def without(house, *calls):
    """Makes the house start without these system calls."""
    path = os.path.join(house.parent, "wrapper")
    with open(path, "w") as f:
        library = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
        f.write(WITHOUT % (sys.executable, library, calls, calls, house.binary))
    os.chmod(path, 0o755)
    house.binary = path


def only_capabilities(pid):
    """The dispatcher of role mda has no sandbox, as a user's command would inherit it (src/mda/mda_role.h). It has three capabilities instead,
    if the master could give them, no folder but the drop's door, and no socket but those to the master and the store."""
    status = process_status(f"/proc/{pid}/status")
    wanted = 1 << 5 | 1 << 6 | 1 << 7 if os.geteuid() == 0 and status["NoNewPrivs"].strip() == "0" else 0  # CAP_KILL, CAP_SETGID, CAP_SETUID
    for key in ("CapEff", "CapPrm"):
        equal(int(status[key], 16), wanted, f"{key} of mda")
    for key in ("CapInh", "CapAmb"):
        equal(int(status[key], 16), 0, f"{key} of mda")
    if wanted:
        equal(int(status["CapBnd"], 16), wanted, "CapBnd of mda")
    equal((status["Seccomp"].strip(), len(os.listdir(f"/proc/{pid}/task"))), ("0", 1), "seccomp and threads of mda")
    assert "0" not in status["Uid"].split(), "mda runs as root"
    sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    folders = [path for path in sockets if os.path.isdir(path)]
    assert all(os.path.basename(path) == "drop" for path in folders), folders
    numbers = {path[8:-1] for path in sockets if path.startswith("socket:")}
    for family in ("tcp", "tcp6", "udp", "udp6", "raw", "packet"):
        if os.path.exists(f"/proc/net/{family}"):
            with open(f"/proc/net/{family}") as f:
                assert not numbers & {word for line in f for word in line.split()}, f"mda has a socket of {family}"


def test_every_thread_is_inside():
    with Instance() as house:
        running = roles(house)
        equal(sorted(running), sorted(ROLES), "roles")
        only_capabilities(running.pop("mda"))
        for name, pid in running.items():
            threads = os.listdir(f"/proc/{pid}/task")
            for thread in threads:
                status = process_status(f"/proc/{pid}/task/{thread}/status")
                got = {key: status[key].strip() for key in ("Seccomp", "NoNewPrivs", "CapEff", "CapPrm")}
                equal(got, {"Seccomp": "2", "NoNewPrivs": "1", "CapEff": "0" * 16, "CapPrm": "0" * 16}, f"status of {name}")
                assert "0" not in status["Uid"].split(), f"{name} runs as root"
            with open(f"/proc/{pid}/limits") as f:
                match(f.read(), r"Max core file size +0 +0 ", f"limits of {name}")
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0, f"{name} can be read by its user"
        shown = house.status()["roles"]
        equal(shown.pop("mda")["seccomp"], "off", "seccomp of mda")
        for name in shown:
            equal(shown[name]["seccomp"], "on", f"seccomp of {name}")
            assert shown[name]["landlock"] >= 2, f"landlock of {name}: {shown[name]['landlock']}"


def scram(wire, user, password):
    """SCRAM-SHA-256 (RFC 7677) by hand."""
    def encode(text):
        return base64.b64encode(text.encode()).decode()
    first = f"n={user},r=fyko"
    reply = wire.expect("AUTH SCRAM-SHA-256 " + encode("n,," + first), 334)
    challenge = base64.b64decode(reply[4:]).decode()
    nonce, salt, rounds = match(challenge, r"^r=(.*),s=(.*),i=(\d+)$").groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c=biws,r={nonce}"
    signature = hmac.digest(hashlib.sha256(key).digest(), f"{first},{challenge},{last}".encode(), "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
    reply = wire.say(base64.b64encode(f"{last},p={proof}".encode()).decode())
    if reply.startswith("334"):
        reply = wire.say("")
    assert reply.startswith("235"), reply


def test_the_whole_walk():
    with Instance() as house:
        before = roles(house)
        with house.lines("submission") as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            wire.expect("STARTTLS", 220)
            wire.starttls(house.tls())
            wire.expect("EHLO client.example", 250)
            scram(wire, house.address("alice"), house.passwords["alice"])
            wire.expect("NOOP", 250)
        alice = house.address("alice")
        house.send("bob", message_of("line of a long message\n" * 50000, sender=alice), user="alice", service="submissions", sender=alice)
        house.send(["bob", "alice"], "small", service="smtp", starttls=True)
        box = house.wait_for(2, "bob")
        assert any(len(m) > 1000000 for m in box)
        client = house.pop("bob", "pop3")
        client.dele(1)
        client.quit()
        house.wait_for(1, "bob")
        equal(len(house.mailbox("bob")), 1, "messages after DELE")
        house.add_account("dave")  # a reload, with its configuration, TLS files and secrets
        house.send("dave", "for the new account")
        house.wait_for(1, "dave")
        equal(roles(house), before, "processes of the roles")


def test_nothing_is_refused():
    """What the walk asks of the kernel is allowed; only clone3 is not, and clone takes its place."""
    if os.geteuid() != 0:
        harness.skip("only root can trace the roles")
    harness.need("strace")
    with Instance(start=False) as house:
        wrapper, calls = os.path.join(house.parent, "wrapper"), os.path.join(house.parent, "calls")
        with open(wrapper, "w") as f:
            f.write(f'#!/bin/sh\nexport ASAN_OPTIONS=detect_leaks=0\nexec strace -D -f -qq -e status=failed -o {calls} {house.binary} "$@"\n')
        os.chmod(wrapper, 0o755)
        house.binary, plain = wrapper, house.binary
        house.start(30)
        house.binary = plain
        house.send("bob", "hello", service="smtp", starttls=True)
        with house.lines("submissions") as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            scram(wire, house.address("alice"), house.passwords["alice"])
        house.wait_for(1, "bob", 20)
        client = house.pop("bob")
        client.dele(1)
        client.quit()
        house.check("reload")
        house.kill("smtp-in", 6)  # a bug: role cards makes the next card
        eventually(lambda: house.status()["roles"].get("smtp-in", {}).get("careful_s"), 10, "a careful smtp-in")
        house.send("bob", "without a card")
        eventually(lambda: house.status()["roles"]["store"]["cards_made"] == 1, 20, "a card")
        house.stop(30)
        with open(calls) as f:
            refused = [line for line in f if any(e in line for e in ("ENOSYS", "EPERM", "EACCES", "SIGSYS")) and " clone3(" not in line]
        assert not refused, "".join(refused)


def test_again_after_a_restart():
    """The store replays and the roles come back inside the sandbox."""
    with Instance() as house:
        house.send("alice", "before")
        house.wait_for(1)
        house.kill_all()
        house.start()
        equal(len(house.wait_for(1)), 1, "messages")
        before = roles(house)
        for name in ROLES:
            os.kill(before[name], 9)
        eventually(lambda: set(roles(house)) == set(ROLES) and not set(roles(house).values()) & set(before.values()), 10, "new roles")
        eventually(lambda: all(r.get("seccomp") == ("off" if name == "mda" else "on") for name, r in house.status()["roles"].items()), 10, "sandbox of the new roles")
        house.send("alice", "after")
        house.wait_for(2)


def test_without_seccomp_it_does_not_start():
    with Instance(start=False) as house:
        without(house, b"seccomp")
        try:
            house.start()
        except StartFailed as e:
            equal(e.returncode, 78, "exit code")
            match(str(e), "event=sandbox_incomplete .*no seccomp filters.*sandbox best-effort")
        else:
            raise AssertionError("it started")


def test_without_seccomp_by_best_effort():
    with Instance(settings={"sandbox": "best-effort"}, start=False) as house:
        without(house, b"seccomp")
        house.start()
        for name, role in house.status()["roles"].items():
            equal(role["seccomp"], "off", f"seccomp of {name}")
            assert name == "mda" or role["landlock"] >= 2, f"landlock of {name}"
        match(house.log(), "level=warn event=sandbox_incomplete .*no seccomp filters")
        house.send("alice")
        house.wait_for(1)


def test_without_landlock():
    with Instance(start=False) as house:
        without(house, LANDLOCK_CREATE_RULESET)
        house.start()
        for name, role in house.status()["roles"].items():
            equal((role["seccomp"], role["landlock"]), ("off" if name == "mda" else "on", 0), f"sandbox of {name}")
        match(house.log(), "level=warn event=sandbox_incomplete .*no Landlock")
        house.send("alice")
        house.wait_for(1)


def test_setting():
    with Instance(settings={"sandbox": "no"}, start=False) as house:
        code, _, err = house.cli("config", "check")
        assert code != 0
        match(err, r'sandbox: "no" cannot be; expected required or best-effort')


def test_a_user_for_each_role():
    """run_as NAME-*: the roles cannot reach each other's files, and the mail walks."""
    if os.geteuid() != 0:
        harness.skip("only root can make users")
    harness.need("useradd", "userdel")
    prefix = f"pht{os.getpid()}"
    users = [f"{prefix}-{name}" for name in ROLES]
    try:
        for user in users:
            equal(program("useradd", "--system", "--no-create-home", user)[0], 0, "useradd")
        with Instance(settings={"run_as": f"{prefix}-*"}) as house:
            uids = {name: int(process_status(f"/proc/{pid}/status")["Uid"].split()[0]) for name, pid in roles(house).items()}
            equal(uids, {name: pwd.getpwnam(f"{prefix}-{name}").pw_uid for name in ROLES}, "users of the roles")
            house.send("alice", "for the first time")
            house.wait_for(1)
            segment = glob.glob(house.data + "/log/smtp-in/*.log")[0]
            for name, path, allowed in (("store", segment, True), ("access", segment, False), ("auth", segment, False),
                                        ("smtp-in", house.data + "/index.db", False), ("auth", house.data + "/index.db", False),
                                        ("store", house.data + "/auth/unknown-users.key", False),
                                        ("smtp-in", house.path("secrets"), False), ("smtp-in", house.data + "/journal", False)):
                passwd = pwd.getpwnam(f"{prefix}-{name}")
                gid = pwd.getpwnam(f"{prefix}-store").pw_gid if name == "smtp-in" else passwd.pw_gid
                test = program("test", "-r", path, user=passwd.pw_uid, group=gid, extra_groups=[])
                equal(test[0] == 0, allowed, f"{name} reads {path}")
            house.kill_all()
            house.check("store", "check")
            house.check("store", "rebuild")
            house.start()  # the store repairs and goes on reading what smtp-in wrote
            house.send("alice", "again")
            house.wait_for(2)
    finally:
        for user in users:
            program("userdel", user)


def test_rules_of_the_release():
    """The unit test of the sandbox once more, with the rules of what is installed: the sanitizers' build has some of its own."""
    harness.need("make", "gcc")
    build = os.path.dirname(harness.BINARY)
    build = os.path.dirname(build) if os.path.basename(build) == "asan" else build
    test = os.path.join(build, "release", "io", "sandbox_test")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    code, out, err = program("make", "-C", ROOT, f"B={build}", "VARIANT=release", test, env=environment, timeout=250)
    assert code == 0, out + err
    code, out, err = program(test)
    assert code == 0 and "PASSED" in out + err, out + err


def test_systemd_unit():
    """What systemd gives the service is rated below 2.0 of 10."""
    harness.need("systemd-analyze")
    with open(os.path.join(ROOT, "contrib", "systemd", "posthouse.service")) as f:
        text = f.read().replace("@PREFIX@", "/usr")
    with tempfile.TemporaryDirectory() as folder:
        unit = os.path.join(folder, "posthouse.service")
        with open(unit, "w") as f:
            f.write(text)
        code, out, err = program("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    exposure = float(match(out, r"exposure level for posthouse\.service: ([0-9.]+)", out + err)[1])
    assert code == 0 and exposure < 2.0, f"{exposure}\n{out}"


if __name__ == "__main__":
    harness.main()
