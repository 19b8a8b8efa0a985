#!/usr/bin/env python3
"""Role mda: mail into mbox files, Maildirs and commands, as the users they belong to."""
import datetime
import glob
import mailbox
import os
import pwd
import re

import harness
from harness import Instance, equal, eventually, match, skip

ROOT = os.geteuid() == 0
FIRST, SECOND = "games", "backup"  # system users of every Debian, with mda_min_uid lowered


class House(Instance):
    """An instance with folders for mail: .mail belongs to the user of the roles, .homes(NAME) to another user."""

    def __init__(self, settings=None, **more):
        super().__init__(settings={"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "mda_min_uid": "1",
                                   "delay_warning_time": "0s", **(settings or {})}, **more)

    def make(self):
        super().make()
        match_ = re.search(r"(?m)^run_as (\S+)", self.read("posthouse.conf"))
        self.user = match_[1] if ROOT and match_ else pwd.getpwuid(os.geteuid()).pw_name
        self.mail = self.folder("mail", self.user)
        self.write("aliases", self.read("aliases").replace("MAIL", self.mail))
        self.write("posthouse.conf", self.read("posthouse.conf").replace("MAIL", self.mail))

    def folder(self, name, user):
        path = os.path.join(self.parent, name)
        os.mkdir(path, 0o700)
        if ROOT:
            entry = pwd.getpwnam(user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def mda(self):
        return self.status()["roles"]["mda"]

    def queued(self):
        return self.status()["roles"]["store"]["queue_recipients"]


def maildir(path):
    return [open(name, "rb").read() for name in sorted(glob.glob(os.path.join(path, "new", "*")))]


def mbox(path):
    return [m for m in mailbox.mbox(path)] if os.path.exists(path) else []


def test_each_mechanism():
    aliases = ("box: mbox:MAIL/box\ndir: MAIL/dir/\ncommand: \"|cp /dev/stdin MAIL/copy\"\n"
               "all: mbox:MAIL/all, MAIL/alldir/, \"|sh -c 'cat > MAIL/allcopy'\", alice\n")
    with House(aliases=aliases) as house:
        for name in ("box", "dir", "command", "all"):
            house.send(name, f"for {name}", subject=name)
        eventually(lambda: house.queued() == 0 and house.mda()["delivered"] == 6, 10, "all delivered")
        equal([m["Subject"] for m in mbox(house.mail + "/box")], ["box"])
        equal([m["Subject"] for m in mbox(house.mail + "/all")], ["all"])
        equal(len(maildir(house.mail + "/dir")), 1)
        text = maildir(house.mail + "/alldir")[0].decode()
        match(text, r"^Return-Path: <someone@elsewhere\.example>\n.*Delivered-To: .*\n.*Received: .*\n\nfor all\n$")
        with open(house.mail + "/copy") as f:
            match(f.read(), r"^From someone@elsewhere\.example .*\nReturn-Path: .*Subject: command\n.*\n\nfor command\n$")
        assert os.path.getsize(house.mail + "/allcopy") > 100
        match(house.wait_for(1)[0], "Subject: all")
        equal(oct(os.stat(house.mail + "/box").st_mode & 0o777), "0o600", "mode")


def deferred_then(house, mend, what):
    """The mail waits until mend() was called, then it is delivered."""
    eventually(lambda: house.mda()["deferred"] >= 1, 10, f"{what}: deferred")
    equal(house.queued(), 1, "queued")
    mend()
    eventually(lambda: house.queued() == 0, 10, f"{what}: delivered after it was mended")


def test_what_is_mended_is_delivered():
    """A folder that is not there, or that may not be written to: mail waits, and nobody gets a bounce."""
    with House(aliases="dir: MAIL/sub/dir/\nbox: mbox:MAIL/closed/box\n") as house:
        house.send("dir")
        def make():
            path = house.mail + "/sub"
            os.mkdir(path, 0o700)
            if ROOT:
                os.chown(path, pwd.getpwnam(house.user).pw_uid, -1)
        deferred_then(house, make, "no folder")
        equal(len(maildir(house.mail + "/sub/dir")), 1)
        match(house.log(), r"event=deferred .*mechanism=\S*/sub/dir/")


def test_users():
    """Mail for two users is written by them; unknown and forbidden users make it wait."""
    if not ROOT:
        skip("only root delivers as other users")
    with House(accounts=("first", "second", "low", "root", "typo"), start=False) as house:
        text = house.read("accounts")
        for name in ("first", "second", "low", "root", "typo"):
            line = next(n for n in text.splitlines() if n.startswith(name + "@"))
            user = {"first": FIRST, "second": SECOND, "low": "daemon", "root": "root", "typo": "nosuchuser"}[name]
            folder = house.folder("home-" + name, user if user not in ("nosuchuser",) else "nobody")
            text = text.replace(line, f"{line} user={user} deliver=maildir:{folder}/Maildir")
        house.write("accounts", text)
        house.start()
        for name in ("first", "second"):
            house.send(name)
        eventually(lambda: house.mda()["delivered"] == 2, 10, "delivered")
        for name, user in (("first", FIRST), ("second", SECOND)):
            file = glob.glob(os.path.join(house.parent, "home-" + name, "Maildir", "new", "*"))
            equal(len(file), 1, name)
            equal(os.stat(file[0]).st_uid, pwd.getpwnam(user).pw_uid, "owner")
        equal(house.mda()["other_users"], 1)
        for name, why in (("root", "who is root"), ("typo", "there is no system user nosuchuser")):
            house.send(name)
            eventually(lambda: why in house.log(), 10, why)
        equal(house.mda()["failed"], 0, "failed")


def worker(house, name):
    """Process ids of the children of role mda with this name."""
    found = []
    for pid in harness.children(house.pids()["mda"]):
        with open(f"/proc/{pid}/status") as f:
            if match(f.read(), r"Name:\s(\S+)")[1] == name:
                found.append(pid)
    return found


def test_sandbox_of_a_worker():
    with House(aliases="dir: MAIL/dir/\n") as house:
        house.send("dir")
        eventually(lambda: house.mda()["delivered"] == 1, 10, "delivered")
        (pid,) = worker(house, "ph-mda-file")
        with open(f"/proc/{pid}/status") as f:
            text = f.read()
        for line in (r"Seccomp:\s2", r"NoNewPrivs:\s1", r"CapEff:\s0{16}\n", r"CapPrm:\s0{16}\n"):
            match(text, line)
        open_files = os.listdir(f"/proc/{pid}/fd")
        equal(len(os.listdir(f"/proc/{pid}/task")), 1, "threads")
        assert len(open_files) <= 8, open_files


def test_exit_status_and_output():
    """The sender's bounce says what the command printed; a temporary status makes mail wait; the environment is the recipient's."""
    script = "echo 5.7.1 no thanks, $RECIPIENT; exit 69"
    aliases = (f"no: \"|sh -c '{script}'\"\nlater: \"|sh -c 'test -e MAIL/now || exit 75; env > MAIL/env; pwd >> MAIL/env'\"\n"
               "slow: \"|sleep 60\"\ngone: \"|/no/such/program\"\nlazy: \"|true\"\n")
    with House(aliases=aliases, settings={"mda_command_timeout": "1s"}) as house:
        house.send("no", sender=house.address("alice"), user="alice", service="submission")
        text = house.wait_for(1, "alice", 10)[0].decode()
        match(text, r"Status: 5\.7\.1")
        match(text, r"no thanks, no@posthouse\.test")
        house.send("lazy", "x" * 70 + "\n" + "y\n" * 100000)
        eventually(lambda: house.mda()["delivered"] == 1, 10, "a command that reads nothing")
        house.send("later")
        eventually(lambda: house.mda()["deferred"] >= 1, 10, "75")
        with open(house.mail + "/now", "w"):
            pass
        eventually(lambda: house.mda()["delivered"] == 2, 10, "delivered")
        with open(house.mail + "/env") as f:
            env = f.read()
        for line in ("SENDER=someone@elsewhere.example", "RECIPIENT=later@posthouse.test", "LOCAL=later", "DOMAIN=posthouse.test",
                     f"USER={house.user}", f"LOGNAME={house.user}", "PATH=/usr/local/bin:/usr/bin:/bin", "CLIENT_ADDRESS=127.0.0.1"):
            assert line + "\n" in env, f"{line} is not in {env}"
        assert "POSTHOUSE" not in env and "SSH" not in env, env
        for name, why in (("slow", "did not end within 1 s"), ("gone", "/no/such/program cannot be run: No such file")):
            house.send(name)
            eventually(lambda: why in house.log(), 10, why)


def test_forward():
    """What counts without a ~/.forward; without the home the mail waits."""
    if not ROOT:
        skip("only root delivers as other users")
    with House(accounts=("first",), start=False) as house:
        # a home that passwd names is needed for the file itself: this looks at what counts without one
        text = house.read("accounts")
        line = next(n for n in text.splitlines() if n.startswith("first@"))
        folder = house.folder("home-first", FIRST)
        house.write("accounts", text.replace(line, f"{line} user={FIRST} deliver=forward deliver=mbox:{folder}/box"))
        house.start()
        house.send("first")
        eventually(lambda: house.mda()["delivered"] == 1 or house.mda()["deferred"], 10, "done")
        if os.path.isdir(pwd.getpwnam(FIRST).pw_dir):
            equal(len(mbox(folder + "/box")), 1)
        else:
            equal(house.mda()["delivered"], 0)


def in_flight(house, kills, total):
    """For each message, by number: how many of the kills fell between its receipt and the event that says it is delivered."""
    log = house.log()
    received = re.findall(r"time=(\S+) level=info event=received role=smtp-in session=(\S+) ", log)
    done = {session: when for when, session in re.findall(r"time=(\S+) level=info event=delivered role=store session=(\S+) ", log)}
    equal(len(received), total, "received")
    return [sum(begun <= kill <= done.get(session, "~") for kill in kills) for begun, session in received]


def test_killed_in_the_middle():
    """kill -9 of workers, of role mda, of the store: nothing is lost, and nothing is there twice but what was on its way when one was killed."""
    with House(aliases="dir: MAIL/dir/\n") as house:
        total, kills = 120, []
        for number in range(total):
            house.send("dir", f"number {number}", subject=f"n{number}")
            if number % 15 == 7:
                pids = worker(house, "ph-mda-file")
                if pids and number % 2:
                    os.kill(pids[0], 9)
                else:
                    house.kill(("mda", "store", "mda")[number // 15 % 3])
                kills.append(datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
                eventually(lambda: "mda" in house.status()["roles"] and "store" in house.status()["roles"], 10, "back")

        def copies():
            found = re.findall(r"\nSubject: n(\d+)\n", "".join(m.decode() for m in maildir(house.mail + "/dir")))
            return [found.count(str(n)) for n in range(total)]
        eventually(lambda: house.queued() == 0 and 0 not in copies(), 20, "all there")
        eventually(lambda: len(re.findall("event=delivered ", house.log())) >= total - len(kills), 10, "all told")
        for number, (there, killed) in enumerate(zip(copies(), in_flight(house, kills, total))):
            assert there <= 1 + killed, f"message {number} is there {there} times, but was on its way at {killed} kills"


def test_a_recipient_who_loses_his_rights():
    with House(aliases="dir: MAIL/dir/\n") as house:
        house.send("dir")
        eventually(lambda: house.mda()["delivered"] == 1, 10, "the first")
        os.chmod(house.mail + "/dir/new", 0o777)
        house.send("dir")
        deferred_then(house, lambda: os.chmod(house.mail + "/dir/new", 0o700), "others may write there")
        equal(len(maildir(house.mail + "/dir")), 2)


def test_stopping_ends_commands():
    """Stop while a command runs: the command is ended, and its message is delivered after the next start."""
    time = f"61.{os.getpid()}"  # no other run of this test has a command like it
    with House(aliases=f"slow: \"|sh -c 'cat > MAIL/got; test -e MAIL/now || sleep {time}'\"\n") as house:
        house.send("slow")
        eventually(lambda: house.mda()["delivery_commands"] == 1 and os.path.exists(house.mail + "/got"), 10, "it runs")
        house.stop()
        equal([p for p in glob.glob("/proc/[0-9]*/cmdline") if f"sleep\0{time}".encode() in read(p)], [], "left behind")
        with open(house.mail + "/now", "w"):
            pass
        house.start()
        eventually(lambda: house.queued() == 0, 10, "delivered")


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


if __name__ == "__main__":
    harness.main()
