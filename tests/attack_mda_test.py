#!/usr/bin/env python3
"""What strangers, local users and their own programs can do to the delivery into files and by commands, and to the drop."""
import contextlib
import glob
import os
import pathlib
import pwd
import re
import resource
import shutil
import socket
import tempfile
import time

import harness
from harness import BINARY, Instance, equal, eventually, match, program, skip

ROOT = os.geteuid() == 0
OK, TEMPFAIL = 0, 75
USER = "games"  # whom `posthouse deliver` is run as, and whom role mda becomes
SMALL = b"From: <ann@a.example>\nSubject: hello\n\nbody\n"


def crlf(text):
    return text.replace(b"\n", b"\r\n")


def ids(name=USER):
    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


class Home:
    """A folder of USER (with root; else of ours); deliver() runs the command as that user."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="posthouse-attack-")
        self.own(self.dir)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def own(self, path):
        if ROOT:
            os.chown(path, *ids(), follow_symlinks=False)
        return path

    def path(self, name):
        return os.path.join(self.dir, name)

    def file(self, name, text=b"", mode=0o600):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(text)
        os.chmod(path, mode)
        return self.own(path)

    def folder(self, name, mode=0o700):
        path = self.path(name)
        os.mkdir(path)
        os.chmod(path, mode)
        return self.own(path)

    def maildir(self, name):
        for part in ("", "/tmp", "/new", "/cur"):
            self.folder(name + part)
        return self.path(name)

    def deliver(self, *to, message=SMALL, rcpt="bob@b.example", **more):
        if ROOT:
            more.update(user=ids()[0], group=ids()[1], extra_groups=[])
        args = [word for mechanism in to for word in ("--to", mechanism)]
        more.setdefault("timeout", 40)
        code, out, err = program(BINARY, "deliver", "-c", "/nonexistent", "-f", "ann@a.example", "-a", rcpt, *args, input=message, text=False,
                                 cwd="/", **more)
        return code, out, err.decode("utf-8", "backslashreplace")

    def refused(self, to, why, **more):
        code, _, err = self.deliver(to, **more)
        assert code == TEMPFAIL, f"{to}: exit code {code}: {err}"
        match(err, why, f"the reason for {to}")


class House(Instance):
    """A server that delivers as its own user, or as USER, into .mail."""

    def __init__(self, **more):
        more["settings"] = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "mda_min_uid": "1", "delay_warning_time": "0s",
                            **more.pop("settings", {})}
        super().__init__(**more)

    def make(self):
        super().make()
        found = re.search(r"(?m)^run_as (\S+)", self.read("posthouse.conf"))
        self.user = found[1] if ROOT and found else pwd.getpwuid(os.geteuid()).pw_name
        self.mail = os.path.join(self.parent, "mail")
        os.mkdir(self.mail, 0o700)
        self.own(self.mail)
        self.write("aliases", self.read("aliases").replace("MAIL", self.mail))

    def own(self, path):
        if ROOT:
            os.chown(path, *ids(self.user))
        return path

    def mda(self):
        return self.status()["roles"]["mda"]

    def queued(self):
        return self.status()["roles"]["store"]["queue_recipients"]

    def delivered(self, n, seconds=15):
        eventually(lambda: self.mda()["delivered"] >= n, seconds, f"{n} delivered")

    def got(self, name):
        return pathlib.Path(self.mail, name).read_bytes()


# Files

def test_planted_at_an_mbox():
    with Home() as home:
        target = home.file("target", b"precious")
        os.symlink(target, home.path("link"))
        os.symlink(home.path("nothing"), home.path("dangling"))
        os.symlink("/etc/passwd", home.path("passwd"))
        os.link(target, home.path("second"))
        os.mkfifo(home.path("fifo"))
        home.folder("folder")
        home.own(home.path("fifo"))
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
            s.bind(home.path("socket"))
        home.own(home.path("socket"))
        for name, why in (("link", "is a symlink"), ("dangling", "is a symlink"), ("passwd", "is a symlink"), ("second", "more than one name"),
                          ("fifo", "no regular file"), ("folder", ""), ("socket", ""), ("target", "more than one name")):
            home.refused("mbox:" + home.path(name), why)
        for path in ("/dev/full", "/dev/zero", "/proc/self/mem", "/dev/stdin"):
            home.refused("mbox:" + path, "")
        os.unlink(home.path("second"))
        home.refused("mbox:" + target, "does not begin with")
        equal(pathlib.Path(target).read_bytes(), b"precious", "the target")
        assert not os.path.exists(home.path("nothing"))
        equal(glob.glob(home.path("*.lock")), [], "locks left")


def test_rights_of_an_mbox():
    with Home() as home:
        for mode, why in ((0o620, "its group may write"), (0o602, "everybody may write"), (0o666, "may write")):
            home.refused("mbox:" + home.file(f"m{mode:o}", mode=mode), why)
        home.folder("open", 0o777)
        home.refused("mbox:" + home.path("open/box"), "may be written to by everybody")
        home.refused("maildir:" + home.path("open/dir/"), "may be written to by everybody")
        equal(os.listdir(home.path("open")), [], "made there")
        # on the way, not only at the end
        home.folder("open/inner")
        home.refused("mbox:" + home.path("open/inner/box"), "may be written to by everybody")
        if not ROOT:
            return
        other = home.folder("other")
        os.chmod(other, 0o755)
        os.chown(other, *ids("backup"))
        home.refused("mbox:" + home.path("other/box"), "belongs to somebody else")
        foreign = home.file("foreign", mode=0o644)
        os.chown(foreign, *ids("backup"))
        home.refused("mbox:" + foreign, "")
        os.symlink(home.folder("real"), home.path("via"))
        os.chown(home.path("via"), *ids("backup"), follow_symlinks=False)
        home.refused("mbox:" + home.path("via/box"), "symlink of somebody else")
        os.chown(home.path("via"), *ids(), follow_symlinks=False)
        equal(home.deliver("mbox:" + home.path("via/box"))[0], OK, "a folder's symlink of one's own")
        equal(os.listdir(home.path("real")), ["box"])


def test_paths_that_climb():
    with Home() as home:
        home.folder("in")
        for path in ("in/../../etc/x", "in/..", "in/.", "in/../box"):
            code, _, err = home.deliver("mbox:" + home.dir + "/" + path)
            assert code != OK, (path, err)
        os.symlink("loop", home.path("loop"))
        home.own(home.path("loop"))
        home.refused("mbox:" + home.path("loop/box"), "")
        code, _, err = home.deliver("mbox:/" + "a/" * 3000 + "box")
        assert code != OK, err
        code, _, err = home.deliver("mbox:/" + "a" * 300)
        assert code != OK, err


def test_planted_in_a_maildir():
    with Home() as home:
        elsewhere = home.folder("elsewhere")
        for part in ("tmp", "new"):
            folder = home.maildir("D" + part)
            os.rmdir(f"{folder}/{part}")
            os.symlink(elsewhere, home.own(folder) + "/" + part)
            home.refused(f"maildir:{folder}/", "")
            os.unlink(f"{folder}/{part}")
            os.mkfifo(f"{folder}/{part}")
            home.refused(f"maildir:{folder}/", "")
            os.unlink(f"{folder}/{part}")
            os.mkdir(f"{folder}/{part}")
            home.own(f"{folder}/{part}")
            os.chmod(f"{folder}/{part}", 0o777)
            home.refused(f"maildir:{folder}/", "")
        folder = home.maildir("real")
        os.symlink(folder, home.path("link"))
        home.refused("maildir:" + home.path("link") + "/", "")
        os.chmod(folder, 0o777)
        home.refused(f"maildir:{folder}/", "")
        os.chmod(folder, 0o700)
        os.symlink(home.file("victim", b"1000S\n"), folder + "/maildirsize")
        home.deliver(f"maildir:{folder}/")
        equal(pathlib.Path(home.path("victim")).read_bytes(), b"1000S\n", "what maildirsize points to")
        os.unlink(folder + "/maildirsize")
        os.mkfifo(folder + "/maildirsize")
        home.own(folder + "/maildirsize")
        equal(home.deliver(f"maildir:{folder}/")[0], OK, "a FIFO as maildirsize")
        os.unlink(folder + "/maildirsize")
        for text in (b"\0" * 6000, b"9" * 5000, b"-5S\n" + b"-9223372036854775808 -9223372036854775808\n" * 80, b"S,C\n", b"18446744073709551616S\n"):
            home.file("real/maildirsize", text)
            code, _, err = home.deliver(f"maildir:{folder}/")
            assert code in (OK, TEMPFAIL), (text[:20], code, err)
        equal(os.listdir(elsewhere), [], "written elsewhere")


def test_folders_swapped_between_deliveries():
    """tmp/ becomes a symlink, then the whole Maildir, then the home is closed: nothing is written elsewhere, all arrives when mended."""
    with House(aliases="dir: MAIL/dir/\n") as house:
        secret = os.path.join(house.parent, "secret")
        os.mkdir(secret, 0o700)
        house.own(secret)
        house.send("dir")
        house.delivered(1)
        folder, n = house.mail + "/dir", 1
        for path in (folder + "/tmp", folder + "/new", folder):
            os.rename(path, path + ".was")
            os.symlink(secret, path)
            deferred = house.mda()["deferred"]
            house.send("dir")
            eventually(lambda: house.mda()["deferred"] > deferred, 10, f"{path} is a symlink: deferred")
            os.unlink(path)
            os.rename(path + ".was", path)
            n += 1
            house.delivered(n)
        os.chmod(house.mail, 0)
        deferred = house.mda()["deferred"]
        house.send("dir")
        eventually(lambda: house.mda()["deferred"] > deferred, 10, "closed home")
        os.chmod(house.mail, 0o700)
        house.delivered(n + 1)
        equal(os.listdir(secret), [], "written elsewhere")
        equal(len(os.listdir(folder + "/new")), n + 1, "messages")
        equal(os.listdir(folder + "/tmp"), [], "left in tmp/")


def test_full_disk():
    """A small file system: what does not fit is deferred and leaves nothing; what fits goes on; all arrives when there is room."""
    if not ROOT:
        skip("needs root for a small file system")
    with House(aliases="dir: MAIL/full/dir/\nbox: mbox:MAIL/full/box\n") as house:
        small = house.mail + "/full"
        os.mkdir(small)
        if program("mount", "-t", "tmpfs", "-o", f"size=256k,mode=700,uid={ids(house.user)[0]},gid={ids(house.user)[1]}", "none", small)[0] != 0:
            skip("cannot mount a tmpfs")
        try:
            house.send("box", "x" * 60 + "\n")
            house.delivered(1)
            size = os.path.getsize(small + "/box")
            for name in ("box", "dir"):
                house.send(name, ("x" * 70 + "\n") * 6000)
            eventually(lambda: house.mda()["deferred"] >= 2, 10, "both deferred")
            equal(os.path.getsize(small + "/box"), size, "the mbox")
            equal(glob.glob(small + "/dir/*/*"), [], "in the Maildir")
            match(house.log(), "No space left")
            equal(program("mount", "-o", "remount,size=8m", small)[0], 0)
            house.delivered(3)
            equal(len(glob.glob(small + "/dir/new/*")), 1)
        finally:
            program("umount", small)


def test_hostile_forward():
    """~/.forward as a stranger would write it: whatever it says, mail waits, or goes where its owner may write. Root and a passwd of its own."""
    if not ROOT:
        skip("needs root for a passwd file of its own")
    harness.need("unshare", "setpriv", "mount")
    with Home() as home:
        os.chmod(home.dir, 0o755)
        uid, gid = ids()
        passwd = pathlib.Path("/etc/passwd").read_text()
        with open(home.path("passwd"), "w", encoding="utf-8") as f:
            f.write(re.sub(rf"(?m)^{USER}:.*$", f"{USER}:x:{uid}:{gid}:{USER}:{home.dir}:/bin/sh", passwd))
        if program("unshare", "-m", "mount", "--bind", home.path("passwd"), "/etc/passwd")[0] != 0:
            skip("cannot mount here")

        def run():
            return program("unshare", "-m", "sh", "-c", f"mount --bind {home.path('passwd')} /etc/passwd && exec setpriv --reuid={uid} --regid={gid} "
                           f"--clear-groups {BINARY} deliver -c /nonexistent -f ann@a.example -a bob@b.example --to forward", input=SMALL, text=False, cwd="/",
                           timeout=30)
        home.file(".forward", home.path("box").encode() + b"\n")
        code, _, err = run()
        equal((code, err), (OK, b""), "a good one")
        for text in (b"x" * (10 << 20), b"a@b.example,\n" * 200000, b"/tmp/a\0b\n", b"\0", b":include:/etc/passwd\n", b"mail/box\n", b"../box\n", b"|\n", b"\"|\n",
                     b"/etc/../etc/x\n", b"\"|touch " + home.path("ran").encode() + b"\n; id\"\n", b"(" * 60000, b'"' * 60001, b"\\" * 60000, b"smtp:[::1]:25\n",
                     b"/dev/mem\n", b"/etc/passwd\n", b"/proc/self/mem\n", b"~root/box\n"):
            home.file(".forward", text)
            code, _, err = run()
            equal(code, TEMPFAIL, f".forward {text[:40]!r}: {err[:200]}")
            assert len(err) < 3000 and b"Sanitizer" not in err, err[:500]
        assert not os.path.exists(home.path("ran"))
        for mode in (0o620, 0o602):
            home.file(".forward", home.path("box").encode(), mode)
            equal(run()[0], TEMPFAIL, f"mode {mode:o}")
        os.unlink(home.path(".forward"))
        os.symlink(home.file("other", home.path("box").encode()), home.path(".forward"))
        equal(run()[0], TEMPFAIL, "a symlink")
        os.unlink(home.path(".forward"))
        os.mkfifo(home.path(".forward"))
        equal(run()[0], TEMPFAIL, "a FIFO")
        os.unlink(home.path(".forward"))
        os.chown(home.file(".forward", home.path("box").encode(), 0o644), *ids("backup"))
        equal(run()[0], TEMPFAIL, "of somebody else")
        equal(pathlib.Path(home.path("box")).read_bytes().count(b"Subject:"), 1, "messages")


# Messages

def test_from_lines_everywhere():
    """In an mbox a line of the message never begins another one."""
    with Home() as home:
        text = b"From x Thu Jan  1 00:00:00 1970\nSubject: a\nFrom y Thu Jan  1 00:00:00 1970\nX: b\n\nFrom z Thu Jan  1 00:00:00 1970\n\n" \
               b"From: fake\n\n>From quoted\n\r\nFrom cr\r\n\rFrom lone\n\n\nFrom last Thu Jan  1 00:00:00 1970"
        for message in (text, b"\n" + text, b"\n\n" + text, b"From \n", b"From", b"", b"\n", b"\0From x\n", b"A: b\n\n" + b"x" * 65529 + b"\nFrom y\n",
                        b"A: b\n\n" + b"".join(b"x" * n + b"\nFrom at %d\n" % n for n in range(4070, 4100)), b"A: b\n From c\n\tFrom d\n\nx"):
            home.file("box")
            equal(home.deliver("mbox:" + home.path("box"), message=message)[0], OK, "deliver")
            equal(home.deliver("mbox:" + home.path("box"), message=SMALL)[0], OK, "deliver")
            box = pathlib.Path(home.path("box")).read_bytes()
            found = [m.start() for m in re.finditer(rb"(?m)^From ", box)]
            equal(len(found), 2, f"From_ lines of {message[:60]!r}")
            assert box[found[1] - 2:found[1]] == b"\n\n", box[found[1] - 80:found[1]]
            assert box.endswith(b"\n\n"), box[-50:]


def test_fields_of_mailbox_programs():
    fields = ["X-UID: 4294967295", "x-uid: 1", "X-uId : 2", "Status: RO", "STATUS: RO", "Status:\n RO", "X-Status: D\n folded\n more", "x-keywords: a",
              "X-IMAPbase: 1 4294967295", "X-IMAP: 1 2", "Content-Length: 1", "content-length:99999999999", "CONTENT-LENGTH\t: 5", "Return-Path: <evil@x>",
              "return-path:\n\t<evil@x>"]
    text = ("Subject: kept\n" + "\n".join(fields) + "\nX-Status-Not: kept\nX-UID-Not: kept\n\nStatus: body\nX-UID: body\n").encode()
    with Home() as home:
        equal(home.deliver("mbox:" + home.path("box"), "maildir:" + home.path("dir/"), message=text)[0], OK, "deliver")
        for path in (home.path("box"), *glob.glob(home.path("dir/new/*"))):
            head, body = pathlib.Path(path).read_text().split("\n\n", 1)
            for line in head.splitlines():
                assert not re.match(r"(?i)(x-uid|status|x-status|x-keywords|x-imap|x-imapbase|content-length)[ \t]*:", line), line
                assert "folded" not in line and "evil" not in line and line.strip() != "RO", line
            equal(len(re.findall("(?mi)^return-path:", head)), 1, "Return-Path")
            match(head, r"(?m)^Return-Path: <ann@a\.example>$.*^X-Status-Not: kept$.*^X-UID-Not: kept$")
            match(body, "Status: body\nX-UID: body\n")


def test_lines_of_ten_megabytes():
    with Home() as home:
        line = b"y" * (10 << 20)
        for message in (b"A: b\n\n" + line + b"\nend\n", b"X: " + line + b"\nStatus: RO\n\nbody\n", line, b"Status: " + line + b"\nA: kept\n\nbody\n"):
            home.file("box")
            equal(home.deliver("mbox:" + home.path("box"), message=message)[0], OK, "deliver")
            box = pathlib.Path(home.path("box")).read_bytes()
            if message.startswith(b"Status"):
                assert len(box) < 1000 and b"A: kept" in box, len(box)
            else:
                assert line in box and b"\nStatus: RO" not in box, len(box)


def test_forged_marks():
    """Delivered-To of strangers neither stops mail nor is believed; Return-Path of the message is not kept."""
    with House(aliases="dir: MAIL/dir/\n") as house:
        forged = "".join(f"Delivered-To: {a}\n" for a in ("dir@posthouse.test", "dir@posthouse.test (posthouse 0000000000000000)", "<dir@posthouse.test>",
                                                          "DIR@posthouse.test (posthouse ffffffffffffffff)"))
        house.send("dir", crlf(f"Return-Path: <evil@x.example>\n{forged}Subject: forged\n\nx\n".encode()))
        house.delivered(1)
        name, = glob.glob(house.mail + "/dir/new/*")
        text = pathlib.Path(name).read_text()
        assert "evil" not in text and text.count("Return-Path:") == 1, text
        real = re.search(r"(?m)^Delivered-To: .*posthouse [0-9a-f]{16}.*$", text)
        assert real and "0000000000000000" not in real[0], text


# Names

def test_names_of_recipients():
    """A command sees what came from outside as harmless text; a file named by an account stays in its folder."""
    with Home() as home:
        for rcpt in ("../../x@b.example", "-f@b.example", "$(id)@b.example", "`id`@b.example", "%n%s@b.example", "bob+../../x@b.example", "a;b|c&d@b.example",
                     '"a b\\"c"@b.example', "x" * 300 + "@b.example", "{local}@b.example", "ü@b.example", "'@b.example"):
            code, _, _ = home.deliver(f"|sh -c 'env >{home.path('env')}'", rcpt=rcpt)
            if code != OK:
                continue  # refused as an address
            for line in pathlib.Path(home.path("env")).read_text().splitlines():
                key, _, value = line.partition("=")
                if key in ("RECIPIENT", "ORIGINAL_RECIPIENT", "LOCAL", "EXTENSION", "DOMAIN", "SENDER"):
                    assert not re.search(r"[$`;|&<>(){}\[\]'\"\\*?~# \t]", value), line


def test_accounts_that_climb():
    """Names of accounts in the path of their domain: no message leaves the folder."""
    with House() as house:
        made = [name for name in ("../up", "..", ".", "a/b", "-f", "$(id)", "`id`", "%s%n", "|sh", "a%nb", ".ssh", "a'b")
                if house.cli("account", "add", f"{name}@posthouse.test", "--password-stdin", input="tarim-nosuf-4711\n")[0] == 0]
        house.stop()
        text, n = re.subn(r"(?m)^domain posthouse\.test \{$", f"domain posthouse.test {{\n    deliver maildir:{house.mail}/in/%n", house.read("posthouse.conf"))
        if not n:
            text, n = re.subn(r"(?m)^domain posthouse\.test$", f"domain posthouse.test {{\n    deliver maildir:{house.mail}/in/%n\n}}", text)
        equal(n, 1, "domains")
        house.write("posthouse.conf", text)
        os.mkdir(house.mail + "/in", 0o700)
        house.own(house.mail + "/in")
        before = set(os.listdir(house.parent))
        house.start()
        sent = 0
        for local in made + ["alice"]:
            with house.smtp() as client:
                client.mail("a@b.example")
                if 250 in (client.docmd("RCPT", f"TO:<{local}@posthouse.test>")[0], client.docmd("RCPT", f'TO:<"{local}"@posthouse.test>')[0]):
                    equal(client.data("Subject: x\r\n\r\nx\r\n")[0], 250, "DATA")
                    sent += 1
        assert sent
        eventually(lambda: house.mda()["delivered"] + house.mda()["deferred"] + house.mda()["failed"] >= 1, 10, "one at least")
        house.delivered(1)
        time.sleep(1)
        equal(set(os.listdir(house.parent)) - before, set(), "made outside of the folder")
        equal(os.listdir(house.mail), ["in"], "beside the folder")
        for entry in os.listdir(house.mail + "/in"):
            if entry not in ("cur", "new", "tmp"):
                assert os.path.isdir(f"{house.mail}/in/{entry}/new"), entry


# Commands

def command(script, home, **more):
    with open(home.path("script"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + script)
    os.chmod(home.path("script"), 0o755)
    home.own(home.path("script"))
    begun = time.monotonic()
    code, out, err = home.deliver("|" + home.path("script"), **more)
    return code, err, time.monotonic() - begun


def test_commands_that_misbehave():
    big = b"A: b\n\n" + b"0123456789\n" * 400000
    with Home() as home:
        for name, script, wanted in (("prints 100 MB", "head -c 100000000 /dev/zero; exit 0", OK), ("prints and fails", "head -c 9999999 /dev/urandom; exit 69", 69),
                                     ("never reads", "exit 0", OK), ("closes its output", "exec >&- 2>&-; cat >/dev/null; exit 0", OK),
                                     ("closes all", "exec <&- >&- 2>&-; sleep 1; exit 0", OK), ("leaves a child", "sleep 30 & exit 0", OK),
                                     ("leaves one that prints", "yes & sleep 0.2; exit 0", OK),
                                     ("leaves one of its own session", "setsid timeout 5 sh -c 'while :; do echo x; done' & sleep 0.2; exit 0", OK),
                                     ("kills itself", "kill -9 $$", TEMPFAIL), ("stops its child", "sleep 60 & kill -STOP $!; (sleep 2; kill -9 $!) & exit 0", OK)):
            code, err, took = command(script, home, message=big)
            equal(code, wanted, f"{name}: {err[:200]}: exit code")
            assert took < 25, f"{name} took {took:.1f} s"
            assert len(err) < 5000, f"{name}: {len(err)} bytes"


def test_time_limit():
    """Output without end, signals ignored, children left: after the limit it is over, and the mail waits."""
    scripts = {"yes": "yes", "ignores": "trap '' TERM HUP INT; while :; do sleep 0.1; done", "stopped": "kill -STOP $$",
               "forks": "trap '' TERM; (trap '' TERM; sleep 61.5) & sleep 61.5"}
    aliases = "".join(f"{name}: \"|sh MAIL/{name}\"\n" for name in scripts)
    with House(aliases=aliases, settings={"mda_command_timeout": "1s", "minimal_backoff_time": "100s", "maximal_backoff_time": "100s"}) as house:
        for name, script in scripts.items():
            with open(f"{house.mail}/{name}", "w", encoding="utf-8") as f:
                f.write(script + "\n")
            os.chmod(f"{house.mail}/{name}", 0o644)
        for name in scripts:
            house.send(name)
        eventually(lambda: house.mda()["deferred"] >= len(scripts), 20, f"all stopped: {house.log()[-1500:]}")
        equal(house.mda()["delivery_commands"], 0, "running")
        left = [p for p in glob.glob("/proc/[0-9]*/cmdline") if b"sleep\x0061.5" in read(p) or house.mail.encode() in read(p)]
        equal(left, [], "left behind")


def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def test_what_a_command_has():
    """Not root, no capability, no descriptor of the role, a new session; the worker of files: no sockets."""
    script = "cat /proc/self/status > MAIL/status; ls -l /proc/self/fd > MAIL/fd; env > MAIL/env; ulimit -a > MAIL/limits; id > MAIL/id"
    with House(aliases=f"see: \"|sh -c '{script}'\"\nkill: \"|sh -c 'kill -9 $PPID; sleep 5; touch MAIL/survived'\"\n"
                       "spy: \"|sh -c 'ls /proc/$PPID/fd > MAIL/spy 2>&1; cat /proc/$PPID/environ > MAIL/spy2 2>&1; exit 0'\"\ndir: MAIL/dir/\n") as house:
        house.send("see")
        house.delivered(1)
        status = house.got("status").decode()
        uid = ids(house.user)[0] if ROOT else os.geteuid()
        equal(match(status, r"Uid:\s+([\d\s]+)\n")[1].split(), [str(uid)] * 4, "user")
        for line in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            if ROOT:
                match(status, line + r":\s0{16}\n")
        if ROOT:
            bound = int(match(status, r"CapBnd:\s([0-9a-f]{16})")[1], 16)
            assert bound & ~0b11100000 == 0, f"bounding set {bound:x}"
        open_files = [line for line in house.got("fd").decode().splitlines() if "->" in line]
        equal(len([line for line in open_files if "socket:" in line]), 0, "sockets")
        assert len(open_files) <= 5 and house.dir not in "".join(open_files), open_files
        environment = house.got("env").decode()
        assert "POSTHOUSE" not in environment and "LISTEN_FDS" not in environment and "NOTIFY" not in environment, environment
        house.send("spy")
        house.delivered(2)
        if ROOT and house.user != "root":
            match(house.got("spy").decode(), "Permission denied")
            match(house.got("spy2").decode(), "Permission denied")
        house.send("kill")
        eventually(lambda: house.mda()["workers_died"] >= 1 or house.mda()["deferred"] >= 1, 10, "its parent died")
        house.send("dir")
        house.delivered(3)
        pid = next(p for p in harness.children(house.pids()["mda"]) if b"ph-mda-file" in read(f"/proc/{p}/comm"))
        match(read(f"/proc/{pid}/status"), r"Seccomp:\s2")
        assert not os.path.exists(house.mail + "/survived"), "it outlived its parent"


def test_descriptors_and_processes_exhausted():
    with Home() as home:
        code, err, took = command("exec python3 -c 'import os\nwhile True:\n try: os.open(\"/dev/null\", 0)\n except OSError: os._exit(0)'\n", home)
        assert code == OK and took < 20, (code, err, took)

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
        code, _, err = home.deliver("mbox:" + home.path("box"), preexec_fn=few)
        assert code in (OK, TEMPFAIL), (code, err)

        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        for to in ("mbox:" + home.path("sized"), "maildir:" + home.path("dir/")):
            code, _, err = home.deliver(to, message=b"A: b\n\n" + b"x\n" * 5000, preexec_fn=small)
            equal(code, TEMPFAIL, f"{to}: {err}")
        equal(glob.glob(home.path("dir/*/*")), [], "left in the Maildir")
        assert not os.path.exists(home.path("sized")) or os.path.getsize(home.path("sized")) == 0


# The drop

def sendmail(house, *args, text=b"To: alice@posthouse.test\nSubject: test\n\nhello\n"):
    link = os.path.join(house.parent, "sendmail")
    if not os.path.exists(link):
        os.symlink(house.binary, link)
    return program(link, *args, input=text, text=False, env={**os.environ, "POSTHOUSE_CONFIG": house.conf}, timeout=120)


def good_file(house):
    """The bytes of a file of the drop; the server is down."""
    equal(sendmail(house, "-t")[0], OK, "sendmail")
    name, = os.listdir(house.path("data/drop"))
    path = house.path("data/drop/" + name)
    data = pathlib.Path(path).read_bytes()
    os.unlink(path)
    return data


def plant(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, 0o744)


def test_names_and_numbers_in_the_drop():
    with House(start=False) as house:
        house.start()
        house.stop()
        folder, good = house.path("data/drop"), good_file(house)
        for name in ("new\nline event=forged", "\x1b[2J", "%s%n%x", "-rf", "$(id)", "a" * 255, "\xff\xfe", ".hidden", "..x", "ä ö"):
            plant(os.fsencode(folder).decode("utf-8", "surrogateescape"), name, good)
        for number in range(1000):
            plant(folder, f"m{number}", good)
        house.start()
        eventually(lambda: house.status()["roles"]["store"].get("messages", 0) >= 0 and len(os.listdir(folder)) <= 12, 60, "picked up", 0.2)
        eventually(lambda: len(house.mailbox()) >= 1000, 60, "a thousand in the mailbox", 0.5)
        n = len(house.mailbox())
        assert n <= 1010, n
        assert not re.search(r"(?m)^line event=forged|^event=forged", house.log()), "a name made a line of the log"
        assert "\x1b[2J" not in house.log()
        assert house.pids()["smtp-in"]


def test_drop_changed_meanwhile():
    """A file that grows, shrinks, is replaced or loses its owner while it is read: the server lives, other mail goes on."""
    with House(start=False) as house:
        house.start()
        house.stop()
        folder = house.path("data/drop")
        text = b"To: bob@posthouse.test\nSubject: big\n\n" + b"0123456789" * 7 + b"\n" * 2
        equal(sendmail(house, "-t", text=text + (b"z" * 70 + b"\n") * 40000)[0], OK, "sendmail")
        name, = os.listdir(folder)
        big = pathlib.Path(folder, name).read_bytes()
        os.unlink(os.path.join(folder, name))
        house.start()
        stop = time.monotonic() + 1.5
        number = 0
        while time.monotonic() < stop:
            number += 1
            path = os.path.join(folder, f"c{number}")
            plant(folder, f"c{number}", big)
            with contextlib.suppress(OSError):
                if number % 4 == 0:
                    os.truncate(path, len(big) // 3)
                elif number % 4 == 1:
                    with open(path, "ab") as f:
                        f.write(b"more" * 1000)
                elif number % 4 == 2:
                    os.unlink(path)
                    os.symlink("/etc/passwd", path)
                elif ROOT:
                    os.chown(path, *ids())
            time.sleep(0.02)
        pid = house.pids()["smtp-in"]
        equal(sendmail(house, "-t")[0], OK, "sendmail")
        house.wait_for(1, seconds=30)
        equal(house.pids()["smtp-in"], pid, "smtp-in")
        for message in house.mailbox("bob"):
            assert b"root:x:" not in message


def test_many_recipients():
    with House() as house:
        many = ", ".join(f"x{n}@posthouse.test" for n in range(200000)).encode()
        begun = time.monotonic()
        code, _, err = sendmail(house, "-t", text=b"To: " + many + b"\nSubject: x\n\nx\n")
        assert code in (64, 65, 69, 75, 67), (code, err[:300])
        code, _, err = sendmail(house, *[f"x{n}@posthouse.test" for n in range(20000)])
        assert code in (OK, 64, 65, 69, 75, 67), (code, err[:300])
        assert time.monotonic() - begun < 60
        for word in ("../../x", "-f", "$(id)@posthouse.test", "%n%s", "a\nb@posthouse.test", "a\r\nRCPT TO:<x>@posthouse.test", "|id", "/etc/passwd",
                     "\\bob", ":include:/etc/passwd"):
            code, _, err = sendmail(house, "-i", "--", word)
            assert code in (OK, 64, 65, 67, 68), (word, code, err)
            assert b"Sanitizer" not in err
        equal(sendmail(house, "-t")[0], OK, "sendmail")
        house.wait_for(1, seconds=20)


if __name__ == "__main__":
    harness.main()
