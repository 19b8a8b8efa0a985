#!/usr/bin/env python3
"""A backup is made while mail comes in; restored at other ports it has every message that had its 250 before it began."""
import contextlib
import os
import re
import shutil
import tempfile
import threading

import harness


@contextlib.contextmanager
def scratch():
    folder = tempfile.mkdtemp(prefix="posthouse-backup-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def load(house, taken):
    """Mail comes in until the block ends; the subjects that had their 250 are appended to `taken`."""
    over = threading.Event()

    def send(worker):
        with house.smtp() as client:
            number = 0
            while not over.is_set():
                subject = f"letter {worker}.{number}"
                text = "x" * (200000 if number % 20 == 7 else 700)
                text = "\n".join(text[i:i + 70] for i in range(0, len(text), 70))
                to = [house.address("alice")] + ([house.address("bob")] if number % 2 else [])
                client.sendmail("someone@elsewhere.example", to, harness.message_of(text, subject))
                taken.append((subject, len(to)))
                number += 1

    threads = [threading.Thread(target=send, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    try:
        yield
    finally:
        over.set()
        for t in threads:
            t.join()


def subject(message):
    return re.search(rb"(?m)^Subject: (.*?)\r$", message)[1].decode()


def by_subject(messages):
    found = {subject(m): m for m in messages}
    harness.equal(len(found), len(messages), "messages, each once")
    return found


def move_ports(folder, old, new):
    path = os.path.join(folder, "posthouse.conf")
    with open(path) as f:
        text = f.read()
    for offset in harness.SERVICES.values():
        text = text.replace(f":{old + offset}", f":{new + offset}")
    with open(path, "w") as f:
        f.write(text)


def uidls(house, user):
    client = house.pop(user)
    lines = client.uidl()[1]
    client.quit()
    return [line.split()[1] for line in lines]


def test_backup_under_load():
    with harness.Instance() as house, harness.Instance(start=False) as other, scratch() as folder:
        backup, instance = os.path.join(folder, "backup"), os.path.join(folder, "instance")
        taken = []
        with load(house, taken):
            harness.eventually(lambda: len(taken) > 150, 20, "some mail")
            before = list(taken)
            out = house.check("backup", backup)
        harness.match(out, r"\d+ files, \d+ bytes")
        harness.equal(house.cli("backup", backup)[0], 73, "exit code for a folder that is not empty")
        original = {user: by_subject(house.mailbox(user)) for user in ("alice", "bob")}
        ids = uidls(house, "alice")
        assert house.mailbox("alice"), "mail is there"
        code, out, err = harness.program(harness.BINARY, "restore", backup, "--to", instance)
        harness.equal(code, 0, f"exit code ({out}{err})")
        code = harness.program(harness.BINARY, "restore", backup, "--to", instance)[0]
        harness.equal(code, 73, "exit code for an instance that is there already")

        move_ports(instance, house.base, other.base)
        for name in os.listdir(other.dir):
            path = os.path.join(other.dir, name)
            if name != os.path.basename(other.log_path):
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        for name in os.listdir(instance):
            os.rename(os.path.join(instance, name), os.path.join(other.dir, name))
        other.passwords, other.ca = house.passwords, house.ca
        other.start()
        for user in ("alice", "bob"):
            restored = by_subject(other.mailbox(user))
            wanted = [s for s, n in before if user == "alice" or n == 2]
            missing = [s for s in wanted if s not in restored]
            harness.equal(missing, [], f"missing messages of {user}")
            for s, message in restored.items():
                harness.equal(message, original[user][s], s)
        assert not os.path.exists(os.path.join(other.dir, "data", "restored")), "the mark of a restore is gone"
        known = uidls(other, "alice")
        other.send("alice", subject="new")
        harness.eventually(lambda: len(uidls(other, "alice")) == len(known) + 1, 5, "the new message")
        new = (set(uidls(other, "alice")) - set(known)).pop()
        assert new not in ids, "a UID was given out twice"
        other.stop()
        harness.match(other.check("store", "check"), r"\n0 findings")


def test_damage_is_found():
    with harness.Instance() as house, scratch() as folder:
        backup = os.path.join(folder, "backup")
        house.send("alice")
        house.wait_for(1)
        house.check("backup", backup)
        secrets = os.path.join(backup, "config", "secrets")
        with open(secrets, "r+b") as f:
            f.write(b"X")
        code, out, err = harness.program(harness.BINARY, "restore", backup, "--to", os.path.join(folder, "new"))
        harness.equal(code, 65, "exit code")
        harness.match(err, "config/secrets is not what the manifest says")
        assert not os.path.exists(os.path.join(folder, "new")), "nothing was written"
        os.remove(os.path.join(backup, "manifest"))
        harness.equal(harness.program(harness.BINARY, "restore", backup, "--to", os.path.join(folder, "new"))[0], 65)


def test_restore_into_a_configuration():
    with harness.Instance() as house, scratch() as folder:
        backup = os.path.join(folder, "backup")
        house.send("bob", subject="kept")
        house.wait_for(1, "bob")
        house.check("backup", backup)
        house.send("bob", subject="later")
        house.wait_for(2, "bob")
        house.stop()
        harness.equal(harness.program(harness.BINARY, "restore", backup, "-c", house.conf)[0], 73, "mail is there")
        os.rename(os.path.join(house.dir, "data"), os.path.join(folder, "old"))
        code, out, err = harness.program(harness.BINARY, "restore", backup, "-c", house.conf)
        harness.equal(code, 0, f"exit code ({out}{err})")
        house.start()
        harness.equal([subject(m) for m in house.mailbox("bob")], ["kept"])


if __name__ == "__main__":
    harness.main()
