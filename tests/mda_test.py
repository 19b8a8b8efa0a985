#!/usr/bin/env python3
"""Role mda: mail into mbox files, Maildirs and commands, as the users they belong to."""
import glob
import mailbox
import os
import pwd
import re
import shlex
import shutil
import stat
import tempfile
import time

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


if __name__ == "__main__":
    harness.main()
