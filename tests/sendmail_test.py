"""The sendmail command: what cron, mail programs and scripts give it, the drop, its helper, and what others may plant there."""
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import harness
from harness import eventually, match, program

NOBODY = 65534
LETTER = "To: alice@posthouse.test\nSubject: test\n\nhello\n"


def sendmail(house, *args, text=LETTER, name="sendmail", user=None, env=None, **more):
    """(exit code, stdout, stderr) of the command, called by its own name as scripts do."""
    link = os.path.join(house.parent, name)
    if not os.path.exists(link):
        os.symlink(house.binary, link)
    environment = {**os.environ, "POSTHOUSE_CONFIG": house.conf, **(env or {})}
    if user is not None:
        more.update(user=user, group=user, extra_groups=[])
    return program(link, *args, input=text, env=environment, **more)


def accepted(house, *args, **more):
    code, out, err = sendmail(house, *args, **more)
    assert code == 0, f"sendmail {args}: {code} {out}{err}"
    assert not out, out


def drop(house):
    return sorted(os.listdir(house.path("data/drop")))


def emptied(house, seconds=8):
    eventually(lambda: not drop(house), seconds, "the drop is empty")


def header_of(message):
    return message.split(b"\r\n\r\n")[0].decode()


def test_recipients_of_the_header():
    with harness.Instance() as house:
        accepted(house, "-t", "-i", text="From: Web <web@posthouse.test>\nTo: alice@posthouse.test\nBcc: bob@posthouse.test,\n carol\n"
                                         "Subject: php\n\none\n.\ntwo\n")
        box = house.wait_for(1)
        for user in ("bob", "carol"):
            assert house.wait_for(1, user)[0].split(b"Received:")[1] == box[0].split(b"Received:")[1]
        head = header_of(box[0])
        assert "Bcc" not in head and "carol" not in head, head
        match(head, rf"Received: by \S+ \(Posthouse, from userid {os.getuid()}\)\r\n\tid \S+;")
        match(head, r"\nMessage-ID: <\S+>")
        match(head, r"\nDate: ")
        match(head, r"From: Web <web@posthouse.test>")
        assert box[0].endswith(b"one\r\n.\r\ntwo\r\n"), box[0]
        emptied(house)


def test_cron():
    """As Debian's cron calls it, with local names and a message that has no Date."""
    with harness.Instance(aliases="root: alice@posthouse.test") as house:
        text = ("From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> run-parts\nMIME-Version: 1.0\n"
                "Content-Type: text/plain; charset=UTF-8\nX-Cron-Env: <LOGNAME=root>\n\nDas Übliche\n")
        accepted(house, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", text=text)
        box = house.wait_for(1)
        head = header_of(box[0])
        match(head, r"From: root@posthouse.test \(Cron Daemon\)")
        match(head, r"To: root@posthouse.test")
        assert "Das Übliche".encode() in box[0]


def test_a_letter_without_header():
    with harness.Instance() as house:
        accepted(house, "-F", "Ann \"A\" Other", "-f", "bob", "alice", text="just text\n")
        head = header_of(house.wait_for(1)[0])
        match(head, r'Return-Path: <bob@posthouse.test>')
        match(head, r'From: "Ann \\"A\\" Other"\r\n <bob@posthouse.test>')
        accepted(house, "-FJürgen", "alice", text="From somebody Tue Nov 24 18:00:00 2026\nSubject: mbox\n\ntext\n")
        head = header_of(house.wait_for(2)[1])
        match(head, r"From: =\?utf-8\?B\?SsO8cmdlbg==\?=")
        assert "somebody" not in head and "Subject: mbox" in head


def test_dot_ends_the_message():
    with harness.Instance() as house:
        accepted(house, "alice", text="Subject: dot\n\none\n.\nnot any more\n")
        assert house.wait_for(1)[0].endswith(b"\r\n\r\none\r\n")


def test_resent_recipients_win():
    with harness.Instance() as house:
        accepted(house, "-t", text="Resent-To: bob\nResent-Bcc: alice\nTo: nobody-here@posthouse.test\nSubject: again\n\ntext\n")
        head = header_of(house.wait_for(1)[0])
        assert "Resent-Bcc" not in head
        house.wait_for(1, "bob")


def test_command_line_and_header_together():
    with harness.Instance() as house:
        accepted(house, "-t", "bob@posthouse.test")
        house.wait_for(1)
        house.wait_for(1, "bob")


def test_while_the_server_is_down():
    with harness.Instance(start=False) as house:
        house.start()
        house.stop()
        accepted(house, "-t")
        assert len(drop(house)) == 1
        code, out, _ = sendmail(house, name="mailq")
        assert drop(house)[0] in out, out
        house.start()
        house.wait_for(1)
        emptied(house)


def test_exit_codes():
    with harness.Instance() as house:
        cases = [
            (64, ("-t",), "Subject: nobody\n\ntext\n"),
            (64, (), LETTER),
            (64, ("-Z", "alice"), LETTER),
            (64, ("-bd",), ""),
            (64, ("-bz",), ""),
            (64, ("-N", "sometimes", "alice"), LETTER),
            (64, ("alice", "-t"), LETTER),
            (65, ("al ice@@",), LETTER),
            (65, ("-f", "a@@b", "alice"), LETTER),
            (65, ("-t",), "To: alice\n" + "X-Long: " + "x" * 70000 + "\n" + "".join(f"X-{i}: {'y' * 900}\n" for i in range(300)) + "\n"),
        ]
        for want, args, text in cases:
            code, _, err = sendmail(house, *args, text=text)
            assert code == want, (want, args, code, err)
            assert err.startswith("posthouse: sendmail: "), err
        assert not drop(house)
        os.rename(house.path("data/drop"), house.path("data/away"))
        code, _, err = sendmail(house, "-t", env={"POSTHOUSE_DROP_HELPER": "/nonexistent"})
        assert code == 75, (code, err)
        os.rename(house.path("data/away"), house.path("data/drop"))


def test_too_large():
    with harness.Instance(settings={"message_size_limit": "100K"}) as house:
        code, _, err = sendmail(house, "-t", text=LETTER + "x" * 70 + "\n" * 200000)
        assert code == 69 and "message_size_limit" in err, (code, err)
        assert not drop(house)
        house.write("posthouse.conf", re.sub("(?m)^message_size_limit.*$", "message_size_limit 10K", house.read("posthouse.conf")))
        accepted(house, "-f", "bob", "alice", text="Subject: small\n\nx\n")
        house.wait_for(1)


def test_addresses_that_lead_nowhere_come_back():
    with harness.Instance() as house:
        accepted(house, "-f", "alice", "bob", "nobody-here", text="Subject: two\n\ntext\n")
        house.wait_for(1, "bob")
        notice = house.wait_for(1)[0]
        match(notice, r"nobody-here@posthouse\.test")
        match(notice, r"Status: 5\.1\.1")
        match(notice, r"Subject: two")
        emptied(house)
        accepted(house, "-f", "alice", "-N", "never", "nobody-here", text="Subject: quiet\n\ntext\n")
        emptied(house)
        accepted(house, "-f", "alice", "nobody-here", text="".join("Received: from x\n" for _ in range(120)) + "\ntext\n")
        emptied(house)
        assert len(house.wait_for(2)) == 2


def test_notify_and_envid_are_kept():
    with harness.Instance() as house:
        accepted(house, "-f", "bob", "-N", "success", "-V", "order-7", "-R", "hdrs", "alice")
        notice = house.wait_for(1, "bob")[0]
        match(notice, r"Original-Envelope-Id: order-7")
        match(notice, r"Action: delivered")


def test_smtp_on_standard_input():
    with harness.Instance() as house:
        talk = ("EHLO me\r\nMAIL FROM:<bob>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: bs\r\n\r\n..dot\r\n.\r\n"
                "MAIL FROM:<bob>\r\nRCPT TO:<alice>\r\nRSET\r\nQUIT\r\n")
        code, out, err = sendmail(house, "-bs", text=talk)
        assert code == 0, err
        assert [line[:3] for line in out.splitlines() if line[3] == " "] == \
            ["220", "250", "250", "250", "354", "250", "250", "250", "250", "221"], out
        assert house.wait_for(1)[0].endswith(b"\r\n\r\n.dot\r\n")
        emptied(house)


def test_verify_and_queue_words():
    with harness.Instance() as house:
        code, out, _ = sendmail(house, "-bv", "alice@posthouse.test")
        assert code == 0 and "is delivered" in out, out
        code, out, _ = sendmail(house, "-bv", "nobody-here@posthouse.test")
        assert code == 67, (code, out)
        code, out, _ = sendmail(house, "-bp")
        assert code == 0 and "empty" in out, out
        for args in (("-q",), ("-qRexample",)):
            code, out, err = sendmail(house, *args)
            assert code == 0, (args, out, err)
        code, _, err = sendmail(house, "-q30m")
        assert code == 64, err
        assert sendmail(house, name="newaliases")[0] == 0
        assert sendmail(house, "-bi")[0] == 0


def test_mail_program():
    """mailx of bsd-mailx and s-nail, mutt and git, if they are there; each is told where sendmail is."""
    found = 0
    with harness.Instance() as house:
        accepted(house, "-t")  # makes the link
        path = os.path.join(house.parent, "sendmail")
        env = {**os.environ, "POSTHOUSE_CONFIG": house.conf, "HOME": house.parent, "MAILRC": "/dev/null", "EMAIL": "bob@posthouse.test"}
        if shutil.which("s-nail"):
            found += 1
            code, out, err = program("s-nail", "-:/", "-Ssendmail=" + path, "-Smta=" + path, "-s", "s-nail", "alice@posthouse.test",
                                     input="from s-nail\n", env=env)
            assert code == 0, (out, err)
        if shutil.which("bsd-mailx"):
            found += 1
            code, out, err = program("bsd-mailx", "-s", "mailx", "alice@posthouse.test", input="from mailx\n",
                                     env={**env, "MAILRC": rc_file(house, f"set sendmail={path}\n")})
            assert code == 0, (out, err)
        if shutil.which("mutt"):
            found += 1
            code, out, err = program("mutt", "-n", "-F", rc_file(house, f"set sendmail='{path} -oem -oi'\nset copy=no\nset from=bob@posthouse.test\n"),
                                     "-s", "mutt", "alice@posthouse.test", input="from mutt\n", env=env)
            assert code == 0, (out, err)
        if shutil.which("git") and os.path.exists("/usr/lib/git-core/git-send-email"):
            found += 1
            patch = os.path.join(house.parent, "patch")
            with open(patch, "w") as f:
                f.write("From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: Bob <bob@posthouse.test>\n"
                        "Date: Tue, 24 Nov 2026 12:00:00 +0000\nSubject: [PATCH] git\n\nfrom git\n---\n")
            code, out, err = program("git", "send-email", "--smtp-server", path, "--to", "alice@posthouse.test", "--from", "bob@posthouse.test",
                                     "--confirm=never", "--suppress-cc=all", patch, env=env, cwd=house.parent)
            assert code == 0, (out, err)
        # what git does with its own arguments, whether it is here or not
        accepted(house, "-i", "-f", "bob@posthouse.test", "alice@posthouse.test")
        assert len(house.wait_for(found + 2)) == found + 2
        assert not [m for m in house.mailbox() if b"\r\nMessage-ID:" not in m and b"\r\nMessage-Id:" not in m]


def rc_file(house, text):
    path = os.path.join(house.parent, "rc")
    with open(path, "w") as f:
        f.write(text)
    return path


def complete_file(house, name, data):
    path = house.path("data/drop/" + name)
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fchmod(f.fileno(), 0o744)
    return path


def whole(house):
    """The bytes of a file of the drop, taken while the server is down."""
    accepted(house, "-t")
    path = house.path("data/drop/" + drop(house)[0])
    with open(path, "rb") as f:
        data = f.read()
    os.unlink(path)
    return data


def test_planted_files():
    with harness.Instance(start=False) as house:
        house.start()
        house.stop()
        good = whole(house)
        secret = os.path.join(house.parent, "secret")
        with open(secret, "wb") as f:
            f.write(good)
        os.chmod(secret, 0o744)
        folder = house.path("data/drop")
        os.symlink(secret, folder + "/symlink")
        os.link(secret, folder + "/hardlink")
        os.mkfifo(folder + "/fifo", 0o744)
        os.mkdir(folder + "/folder", 0o755)
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(folder + "/socket"))
        complete_file(house, "empty", b"")
        complete_file(house, "junk", os.urandom(5000))
        complete_file(house, "cut", good[:20])
        complete_file(house, "long", b"PHDROP1\n" + b"\xff" * 4 + b"x" * 100)
        complete_file(house, "x" * 100, good)
        with open(folder + "/unfinished", "wb") as f:
            f.write(good)
        os.chmod(folder + "/unfinished", 0o600)
        with open(complete_file(house, "huge", good), "ab") as f:
            f.truncate(200 << 20)
        house.start()
        complete_file(house, "good", good)
        house.wait_for(2)
        eventually(lambda: trace(house).count("event=drop_bad") >= 10, 10, "each is told of")
        time.sleep(0.5)
        box = house.mailbox()  # the good one, and a notice of the huge one to its sender (root, who is the postmaster here)
        assert len(box) == 2 and sum(b"5.3.4" in m for m in box) == 1, "what was planted was delivered"
        assert trace(house).count("event=drop_bad") == 10, trace(house)
        left = drop(house)
        assert "good" not in left and "huge" not in left, left
        assert {"symlink", "hardlink", "fifo", "folder", "junk", "cut", "long", "unfinished"} <= set(left), left


def trace(house):
    text = ""
    for name in os.listdir(house.path("data/trace")):
        if name.startswith("smtp-in"):
            text += house.read("data/trace/" + name)
    return text


def test_an_unfinished_file_is_taken_when_it_is_complete():
    with harness.Instance(start=False) as house:
        house.start()
        house.stop()
        good = whole(house)
        house.start()
        path = house.path("data/drop/slow")
        f = open(path, "wb")
        for i in range(0, len(good), 40):
            f.write(good[i:i + 40])
            f.flush()
        time.sleep(0.3)
        assert not house.mailbox()
        os.fchmod(f.fileno(), 0o744)
        f.close()
        house.wait_for(1, seconds=3)


def test_a_killed_sender_sends_nothing():
    with harness.Instance() as house:
        accepted(house, "-t")
        house.wait_for(1)
        p = subprocess.Popen([os.path.join(house.parent, "sendmail"), "alice"], stdin=subprocess.PIPE,
                             env={**os.environ, "POSTHOUSE_CONFIG": house.conf})
        p.stdin.write(b"Subject: half\n\n" + b"half a letter\n" * 20000)
        p.stdin.flush()
        eventually(lambda: drop(house), 5, "it is being written")
        p.kill()
        p.wait()
        time.sleep(0.5)
        assert len(house.mailbox()) == 1
        assert len(drop(house)) == 1


def test_a_hundred_at_once():
    with harness.Instance() as house:
        accepted(house, "alice", text="Subject: 0\n\nx\n")
        codes = []

        def one(n):
            codes.append(sendmail(house, "alice", text=f"Subject: number {n}\n\n{'x' * 50}\n")[0])

        threads = [threading.Thread(target=one, args=(n,)) for n in range(100)]
        for group in (threads[i:i + 20] for i in range(0, 100, 20)):
            for t in group:
                t.start()
            for t in group:
                t.join()
        assert codes == [0] * 100, codes
        box = house.wait_for(101, seconds=20)
        assert len(box) == 101
        assert len({match(m, r"Subject: [^\r]*")[0] for m in box}) == 101
        emptied(house)
        assert house.status()["roles"]["smtp-in"]["picked_up"] == 101


def test_smtp_in_killed_while_it_picks_up():
    """Nothing is lost; a message may come twice where the crash lay between its sync and its file's removal."""
    with harness.Instance() as house:
        accepted(house, "alice", text="Subject: n0.\n\nx\n")
        sent = 1
        for _ in range(6):
            for _ in range(8):
                accepted(house, "alice", text=f"Subject: n{sent}.\n\n{'line of text' * 2000}\n")
                sent += 1
            eventually(lambda: "smtp-in" in house.pids(), 10)
            house.kill("smtp-in")
        emptied(house, 25)
        want = {f"n{i}." for i in range(sent)}
        eventually(lambda: {match(m, r"Subject: (n\d+\.)")[1] for m in house.mailbox()} == want, 20, "all are there")


def test_a_large_message():
    with harness.Instance() as house:
        body = "".join(f"{n:06d} {'z' * 60}\n" for n in range(150000))
        accepted(house, "alice", text="Subject: large\n\n" + body)
        box = house.wait_for(1, seconds=15)
        assert box[0].endswith(body[-2000:].replace("\n", "\r\n").encode())
        assert box[0].count(b"zzz\r\n") == 150000


def test_disk_full():
    harness.need("mount")
    if os.getuid() != 0:
        harness.skip("needs root for a small file system")
    with harness.Instance(start=False) as house:
        house.start()
        house.stop()
        small = house.path("data/drop")
        if program("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", small)[0] != 0:
            harness.skip("cannot mount a tmpfs")
        try:
            code, _, err = sendmail(house, "alice", text="Subject: full\n\n" + "x\n" * 200000)
            assert code == 75 and "No space" in err, (code, err)
            assert not drop(house)
            accepted(house, "alice", text="Subject: fits\n\nx\n")
        finally:
            program("umount", small)


class Helper:
    """The helper, setgid of a group that exists anywhere, with a folder of its own. Needs root and a compiler."""

    def __enter__(self):
        if os.getuid() != 0:
            harness.skip("needs root to install a setgid program")
        harness.need("cc")
        self.dir = tempfile.mkdtemp(prefix="posthouse-drop-", dir="/var/tmp")
        os.chmod(self.dir, 0o755)
        self.drop = os.path.join(self.dir, "drop")
        os.mkdir(self.drop)
        os.chown(self.drop, 0, 8)
        os.chmod(self.drop, 0o1730)
        self.path = os.path.join(self.dir, "posthouse-drop")
        code, out, err = program("cc", "-std=gnu17", "-D_GNU_SOURCE", f'-DDROP_FOLDER_PATH="{self.drop}"', '-DDROP_FOLDER_FILE="/nonexistent"',
                                 "-o", self.path, os.path.join(harness.ROOT, "src/drop/posthouse-drop.c"))
        assert code == 0, out + err
        os.chown(self.path, 0, 8)
        os.chmod(self.path, 0o2755)
        shutil.copy(harness.BINARY, os.path.join(self.dir, "sendmail"))
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def sendmail(self, *args, text=LETTER, **more):
        return program(os.path.join(self.dir, "sendmail"), *args, input=text, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
                       env={"PATH": os.environ["PATH"], "POSTHOUSE_DROP_HELPER": self.path, "POSTHOUSE_CONFIG": "/nonexistent"}, **more)

    def run(self, *args, text=b"", **more):
        return program(self.path, *args, input=text, text=False, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", **more)


def test_helper():
    with Helper() as helper, harness.Instance(append=f"drop_directory {helper.drop}") as house:
        os.chown(helper.drop, -1, 8)  # the master has made it the outbox of the server's user, as this host may lack the group
        os.chmod(helper.drop, 0o1730)
        if os.stat(helper.drop).st_uid == 0:
            harness.skip("the server runs as root")
        code, out, err = helper.sendmail("-t", "-f", "bob@posthouse.test")
        assert code == 0, (code, out, err)
        head = header_of(house.wait_for(1)[0])
        match(head, rf"from userid {NOBODY}\)")
        eventually(lambda: not os.listdir(helper.drop), 5, "the drop is empty")


def test_helper_trusts_nobody():
    with Helper() as helper:
        assert helper.sendmail("-t")[0] == 0
        name, = os.listdir(helper.drop)
        st = os.stat(os.path.join(helper.drop, name))
        assert st.st_uid == NOBODY and stat.S_IMODE(st.st_mode) == 0o744 and st.st_nlink == 1
        for command in (("ls", helper.drop), ("cat", os.path.join(helper.drop, name)), ("touch", helper.drop + "/mine"),
                        ("rm", "-f", os.path.join(helper.drop, name))):
            code = program(*command, user=NOBODY, group=NOBODY, extra_groups=[])[0]
            assert code != 0, command
        assert os.listdir(helper.drop) == [name]
        assert helper.run(helper.dir)[0] == 64
        assert helper.run(text=b"")[0] == 65
        assert helper.run(text=b"\x05\0\0\0hello\0\0\0\0")[0] == 65
        assert helper.run(text=b"\xff\xff\xff\xff" + b"x" * 100)[0] == 65
        assert helper.run(text=b"\x08\0\0\0PHDROP1\n")[0] == 65  # no end
        # what failed is empty and not complete
        for other in os.listdir(helper.drop):
            if other != name:
                st = os.stat(os.path.join(helper.drop, other))
                assert st.st_size == 0 and not st.st_mode & 0o100, other
        code = helper.run(text=b"\x08\0\0\0PHDROP1\n\0\0\0\0", env={"LD_PRELOAD": "/nonexistent.so", "IFS": "/"})[0]
        assert code == 0
        # a limit on file sizes fails, and does not kill or leave a half
        p = subprocess.run(["sh", "-c", f"ulimit -f 8; exec {helper.path}"], input=b"\x08\0\0\0PHDROP1\n" + (b"\0\x80\0\0" + b"x" * 32768) * 4 + b"\0\0\0\0",
                           user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert p.returncode == 74, p
        # signals from its caller's terminal do not stop it
        p = subprocess.Popen([helper.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
        p.stdin.write(b"\x08\0\0\0PHDROP1\n")
        p.stdin.flush()
        time.sleep(0.2)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            p.send_signal(number)
        out, _ = p.communicate(b"\0\0\0\0", timeout=10)
        assert p.returncode == 0 and len(out) == 27, (p.returncode, out)


def test_helper_a_hundred_at_once():
    with Helper() as helper:
        codes = []
        threads = [threading.Thread(target=lambda: codes.append(helper.sendmail("-t")[0])) for _ in range(100)]
        for group in (threads[i:i + 10] for i in range(0, 100, 10)):
            for t in group:
                t.start()
            for t in group:
                t.join()
        assert codes == [0] * 100
        assert len(os.listdir(helper.drop)) == 100


if __name__ == "__main__":
    harness.main()
