#!/usr/bin/env python3
"""~/.forward of system users, from SMTP to where the mail ends: users with real homes, in a server whose /etc/passwd and /etc/group are its own (a mount
namespace), with the setgid helper that their mail goes into the drop by."""
import contextlib
import os
import re
import shutil
import subprocess
import tempfile

import harness
from harness import equal, eventually, match, skip
from mda_test import ROOT, House, maildir, mbox
from sink import Sink

DROP_GROUP = 61000
USERS = {"anna": 61001, "ben": 61002, "carl": 61003}
WRAPPER = """#!/bin/sh
export POSTHOUSE_DROP_HELPER={0}/posthouse-drop
exec unshare -m sh -c 'mount --make-rprivate / && mount --bind {0}/passwd /etc/passwd && mount --bind {0}/group /etc/group && exec "$0" "$@"' {1} "$@"
"""


def homes(folder):
    """passwd, group and the homes of USERS in that folder, and the helper of the drop in it."""
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", folder)
        with open(os.path.join(folder, name), "a") as f:
            for user, number in USERS.items():
                f.write(f"{user}:x:{number}:{number}::{folder}/{user}:/bin/sh\n" if name == "passwd" else f"{user}:x:{number}:\n")
    with open(os.path.join(folder, "group"), "a") as f:
        f.write(f"posthouse-drop:x:{DROP_GROUP}:\n")
    helper = os.path.join(folder, "posthouse-drop")
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", f'-DDROP_FOLDER_PATH="{folder}/drop"', '-DDROP_FOLDER_FILE="/nonexistent"', "-o", helper,
                    os.path.join(harness.ROOT, "src/drop/posthouse-drop.c")], check=True)
    os.chown(helper, 0, DROP_GROUP)
    os.chmod(helper, 0o2755)
    for user, number in USERS.items():
        os.mkdir(os.path.join(folder, user), 0o700)
        os.chown(os.path.join(folder, user), number, number)


@contextlib.contextmanager
def forwarding(deliver="deliver=forward", **more):
    """A running house whose accounts of USERS are these users, with .homes and .forward(user, text)."""
    if not ROOT:
        skip("only root delivers as other users")
    harness.need("unshare", "cc")
    with tempfile.TemporaryDirectory(prefix="posthouse-homes-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        homes(folder)
        wrapper = os.path.join(folder, "posthouse")
        with open(wrapper, "w") as f:
            f.write(WRAPPER.format(folder, harness.BINARY))
        os.chmod(wrapper, 0o755)
        if subprocess.run([wrapper, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            skip("no mount namespace can be made here")
        with House(accounts=tuple(USERS), start=False, binary=wrapper, settings={"drop_directory": folder + "/drop"}, **more) as house:
            text = house.read("accounts")
            for user in USERS:
                text = re.sub(rf"(?m)^({user}@.*)$", rf"\1 user={user} {deliver}", text)
            house.write("accounts", text)
            house.homes = folder

            def forward(user, text):
                path = os.path.join(folder, user, ".forward")
                with open(path, "w") as f:
                    f.write(text)
                os.chmod(path, 0o644)
                os.chown(path, USERS[user], USERS[user])
            house.forward = forward
            house.start()
            yield house


def settled(house, delivered=None):
    eventually(lambda: house.queued() == 0 and (delivered is None or house.mda()["delivered"] >= delivered), 10, "all is delivered")


def owned(path, user):
    equal(os.stat(path).st_uid, USERS[user], f"owner of {path}")


def test_no_file():
    """The mechanisms behind `forward` count, or the mailbox of this house; an empty file is as none."""
    with forwarding() as house:
        house.send("anna", subject="nofile")
        match(house.wait_for(1, "anna", 10)[0], "Subject: nofile")
        house.forward("anna", "# nothing but this\n\n")
        house.send("anna", subject="empty")
        match(house.wait_for(2, "anna", 10)[1], "Subject: empty")
    with forwarding("deliver=forward deliver=mbox:~/box") as house:
        house.send("anna", subject="fallback")
        settled(house, 1)
        equal([m["Subject"] for m in mbox(house.homes + "/anna/box")], ["fallback"])
        owned(house.homes + "/anna/box", "anna")
        equal(house.mailbox("anna"), [])


def test_every_target():
    """A command, an mbox, a Maildir, the own mailbox and another address here, in one file; each gets it once."""
    with forwarding() as house:
        home = house.homes + "/anna"
        house.forward("anna", f"# all at once\n\"|sh -c 'cat > out; id -u > uid'\", {home}/box\n~/Maildir/\n\\anna, alice\n")
        house.send("anna", "for five", subject="five")
        settled(house)
        match(house.wait_for(1, "anna", 10)[0], r"Subject: five\r\n")
        got = house.wait_for(1, "alice", 10)[0]
        match(got, r"Subject: five\r\n.*for five")
        match(got, r"Delivered-To: anna@posthouse\.test \(posthouse [0-9a-f]{16}\)")
        equal([m["Subject"] for m in mbox(home + "/box")], ["five"])
        equal(len(maildir(home + "/Maildir")), 1)
        with open(home + "/out") as f:
            match(f.read(), "for five")
        with open(home + "/uid") as f:
            equal(f.read().strip(), str(USERS["anna"]), "user of the command")
        for name in ("box", "Maildir", "out"):
            owned(f"{home}/{name}", "anna")
        equal([len(house.mailbox(name)) for name in ("anna", "alice")], [1, 1], "once each")


def test_another_user_and_a_backslash():
    """`ben` is looked up, with his own .forward; `\\ben` is his mailbox, whatever his .forward says."""
    with forwarding() as house:
        house.forward("ben", "~/box\n")
        house.forward("anna", "ben\n")
        house.send("anna", subject="name")
        eventually(lambda: mbox(house.homes + "/ben/box"), 10, "in the file of ben")
        owned(house.homes + "/ben/box", "ben")
        house.forward("anna", "\\ben\n")
        house.send("anna", subject="backslash")
        match(house.wait_for(1, "ben", 10)[0], "Subject: backslash")
        settled(house)
        equal([m["Subject"] for m in mbox(house.homes + "/ben/box")], ["name"])


def test_a_foreign_address():
    """It leaves with a sender of this house (SRS), whose bounce comes back; the header keeps its From."""
    with Sink("127.0.0.9", 0) as sink:
        route = f"route far {{ recipient @far.test; next smtp [127.0.0.9]:{sink.port} }}\n"
        with forwarding(append=route) as house:
            house.forward("anna", "friend@far.test, \\anna\n")
            house.send("anna", subject="far", sender="someone@elsewhere.example")
            (message,) = eventually(lambda: sink.messages and [m for m in sink.messages if m.taken], 10, "it arrived there")
            equal(message.to, ["friend@far.test"])
            match(message.sender, r"^SRS0=[^@]*=elsewhere\.example=someone@posthouse\.test$")
            match(message.data, r"From: <someone@elsewhere\.example>")
            match(house.wait_for(1, "anna", 10)[0], r"Return-Path: <someone@elsewhere\.example>")


def test_a_loop():
    """Two users who forward to each other: the mail goes round once and ends in a mailbox, no bounce, nothing that goes on for ever."""
    with forwarding() as house:
        house.forward("anna", "ben\n")
        house.forward("ben", "anna\n")
        house.send("anna", subject="round")
        match(house.wait_for(1, "anna", 10)[0], "Subject: round")
        settled(house)
        equal(len(house.mailbox("anna")), 1, "mails of anna")
        equal(house.mailbox("ben"), [], "mails of ben")
        equal(house.log().count("event=received "), 3, "times it was received")


def test_a_broken_file():
    """The mail waits, the log says which line; when it is mended the mail is delivered."""
    with forwarding() as house:
        house.forward("anna", "alice\n:include:/etc/passwd\n")
        house.send("anna", subject="broken")
        eventually(lambda: house.mda()["deferred"] >= 1, 10, "deferred")
        match(house.log(), rf"event=deferred .*{house.homes}/anna/\.forward:2: :include: is not allowed")
        equal(house.queued(), 1, "queued")
        equal(house.mailbox("alice"), [], "half of a broken file")
        house.forward("anna", "alice\n")
        match(house.wait_for(1, "alice", 10)[0], "Subject: broken")
        settled(house)


def test_files_that_are_not_trusted():
    """A symlink, a file of another user, one that others may write to: the mail waits."""
    with forwarding() as house:
        house.forward("ben", "\\ben\n")
        path = house.homes + "/anna/.forward"
        for make, why in ((lambda: os.symlink(house.homes + "/ben/.forward", path), "it is a symlink"),
                          (lambda: (house.forward("anna", "ben\n"), os.chown(path, USERS["ben"], -1)), "it belongs to somebody else"),
                          (lambda: (house.forward("anna", "ben\n"), os.chmod(path, 0o666)), "others may write to it")):
            make()
            house.send("anna")
            eventually(lambda: why in house.log(), 10, why)
            os.unlink(path)
            settled(house)
        equal(len(house.mailbox("anna")), 3, "delivered without the file")
        equal(house.mailbox("ben"), [])


def test_what_fails_first_is_repeated_alone():
    """A command comes before files and addresses: while it defers, nothing else has been delivered, so nothing is delivered twice."""
    with forwarding() as house:
        home = house.homes + "/anna"
        house.forward("anna", "alice, ~/box, \"|sh -c 'test -e now || exit 75'\"\n")
        house.send("anna", subject="later")
        eventually(lambda: house.mda()["deferred"] >= 2, 10, "deferred twice")
        equal((mbox(home + "/box"), house.mailbox("alice")), ([], []), "before it succeeds")
        with open(home + "/now", "w"):
            pass
        house.wait_for(1, "alice", 10)
        settled(house)
        equal((len(mbox(home + "/box")), len(house.mailbox("alice"))), (1, 1))


if __name__ == "__main__":
    harness.main()
