#!/usr/bin/env python3
"""posthouse deliver: every mechanism, exit codes as an MTA reads them, and what is left when it is killed or the disk is full."""
import mailbox
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time

import harness
from harness import BINARY, Instance, equal, eventually, match, program
from sink import Sink

OK, USAGE, DATA, NOUSER, UNAVAILABLE, TEMPFAIL, NOPERM = 0, 64, 65, 67, 69, 75, 77
MESSAGE = b"From: Ann <ann@a.example>\nStatus: RO\nX-UID: 4294967295\nSubject: hello\n\nFrom me\n.\nlast line\n"
TRACED = ("openat", "newfstatat", "fcntl", "write", "pwrite64", "pread64", "fsync", "linkat", "unlink", "unlinkat", "rename", "renameat",
          "mkdirat", "ftruncate", "utimensat", "readlinkat", "sync_file_range", "close")
CHANGING = ("openat", "write", "pwrite64", "fsync", "linkat", "unlinkat", "renameat", "mkdirat", "ftruncate", "utimensat")


class Home:
    """A home for one test; deliver() runs the command in it, without any instance unless one is named."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="posthouse-deliver-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        return pathlib.Path(self.path(name)).read_bytes()

    def deliver(self, *args, message=MESSAGE, conf="/nonexistent/posthouse.conf", before=(), **more):
        code, out, err = program(*before, BINARY, "deliver", "-c", conf, "-f", "ann@a.example", "-a", "bob@b.example", *args, input=message,
                                 text=False, **more)
        return code, out, err.decode()


def to(kind, home, name):
    return ("--to", f"{kind}:{home.path(name)}")


def messages(path):
    """The messages of an mbox, as bytes with their From_ line; each must begin and end as one should."""
    data = pathlib.Path(path).read_bytes()
    assert data == b"" or data.startswith(b"From "), data[:80]
    assert data == b"" or data.endswith(b"\n\n"), data[-80:]
    return re.split(rb"(?<=\n\n)(?=From )", data) if data else []


def test_every_mechanism():
    with Home() as home, Sink("127.0.0.1", 0) as sink:
        code, out, err = home.deliver(*to("mbox", home, "box"), *to("maildir", home, "Maildir"), "--to", "stdout", "--to", "|tee " + home.path("piped"),
                                      "--to", f"smtp:127.0.0.1:{sink.port}", "--to", f"/{home.path('second')}")
        equal((code, err), (OK, ""), "deliver")
        plain = b"Return-Path: <ann@a.example>\nFrom: Ann <ann@a.example>\nSubject: hello\n\nFrom me\n.\nlast line\n"
        boxed = plain.replace(b"\nFrom me", b"\n>From me") + b"\n"
        for text in (home.read("box"), home.read("second"), out):
            match(text.decode(), r"^From ann@a\.example \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n")
            equal(text.split(b"\n", 1)[1], boxed, "what an mbox has")
        name, = os.listdir(home.path("Maildir/new"))
        match(name, rf"^\d+\.M\d+P\d+Q\d+\.[^,]+,S={len(plain)}$")
        equal(home.read("Maildir/new/" + name), plain, "what a Maildir has")
        equal(home.read("piped").split(b"\n", 1)[1], plain, "what a command reads")
        equal(sink.messages[0].sender, "ann@a.example", "sender")
        equal(sink.messages[0].to, ["bob@b.example"], "recipients")
        assert b"\r\n..\r\nlast line\r\n" in sink.messages[0].data or b"\r\n.\r\nlast line\r\n" in sink.messages[0].data, sink.messages[0].data


def test_input():
    with Home() as home:
        for text, wanted in ((b"From x Tue Nov 24 08:00:00 2026\nA: b\n\nx\n", b"A: b\n\nx\n"), (b"A: b\r\n\r\nx\r\n", b"A: b\n\nx\n"),
                             (b"A: b\n\nno end", b"A: b\n\nno end\n"), (b"", b""), (b">From x\nA: b\n\nx\n", b"A: b\n\nx\n"),
                             (b"A: b\n\n" + b"0123456789\r\n" * 800000, b"A: b\n\n" + b"0123456789\n" * 800000)):
            shutil.rmtree(home.path("M"), ignore_errors=True)
            equal(home.deliver(*to("maildir", home, "M"), message=text)[0], OK, "deliver")
            name, = os.listdir(home.path("M/new"))
            equal(home.read("M/new/" + name), b"Return-Path: <ann@a.example>\n" + wanted, "the message")


def test_exit_codes():
    with Home() as home:
        for args, code, says in ((("--to", "nonsense:x"), USAGE, r"^5\.5\.4 .*expected mailbox"), (("--too", "stdout"), USAGE, r"^5\.5\.4 "),
                                 (("-f", "no address at all", "--to", "stdout"), USAGE, r"^5\.5\.4 .*the sender"), (("bob",), USAGE, r"^5\.5\.4 "),
                                 (("-a", "<>", "--to", "stdout"), USAGE, r"^5\.5\.4 .*a recipient"), (("--to",), USAGE, r"^5\.5\.4 .*a value"),
                                 (("--to", "mbox:/nonexistent/box"), TEMPFAIL, r"^4\.2\.0 .*/nonexistent/box cannot be reached"),
                                 (("--to", "smtp:127.0.0.1:1"), TEMPFAIL, r"^4\.4\.1 "), (("--to", "lmtp:/nonexistent"), TEMPFAIL, r"^4\.4\.1 "),
                                 (("--to", "mbox:/dev/zero"), TEMPFAIL, r"^4\.2\.0 .*no regular file"), ((), TEMPFAIL, r"^4\.3\.5 "),
                                 (("--to", "/dev/null"), OK, "^$"), (("--to", "/dev/null", "--to", "|false"), UNAVAILABLE, r"^5\.3\.0 ")):
            got, _, err = home.deliver(*args)
            equal(got, code, f"{args}: {err}")
            match(err, says, str(args))
            assert err.count("\n") <= 1, err
        code, _, err = home.deliver("--to", "stdout", message=b"Received: x\n" * 100 + b"\nx\n")
        equal(code, UNAVAILABLE, err)
        match(err, r"^5\.4\.6 ")
        equal(home.deliver("--to", "stdout", message=b"Received: x\n" * 99 + b"\nx\n" + b"Received: x\n" * 99)[0], OK, "99 hops")


def test_every_status_of_a_command():
    """As Postfix's pipe(8) reads them, but for what a disk, a configuration or a signal causes."""
    hard = {65: (DATA, "5.6.0"), 67: (NOUSER, "5.1.1"), 68: (68, "5.1.2"), 76: (76, "5.5.0"), 77: (NOPERM, "5.7.0")}
    soft = {71, 73, 74, 75, 78, 111, 126, 127}
    with Home() as home:
        for status in (*range(3), *range(63, 80), 98, 99, 100, 101, 111, 112, 126, 127, 255):
            code, _, err = home.deliver("--to", f"|sh -c 'exit {status}'")
            wanted = (OK, "") if status in (0, 99) else (TEMPFAIL, "4.") if status in soft else hard.get(status, (UNAVAILABLE, "5.3.0"))
            equal((code, err[:len(wanted[1])]), wanted, f"exit {status}: {err}")
        for words, wanted in (("kill -9 $$", (TEMPFAIL, "4.3.0")), ("echo 5.7.1 go; exit 75", (NOPERM, "5.7.1")),
                              ("echo 4.2.2 full; exit 67", (TEMPFAIL, "4.2.2")),
                              ("echo why; exit 67", (NOUSER, "5.1.1")), ("exit 0", (OK, ""))):
            code, _, err = home.deliver("--to", f"|sh -c '{words}'")
            equal((code, err[:5].strip()), wanted, f"{words}: {err}")
        match(home.deliver("--to", "|sh -c 'echo because of this; exit 69'")[2], "because of this")


def test_several_recipients():
    with Home() as home:
        code, _, err = home.deliver("-a", "jane@b.example", *to("mbox", home, "%n"), *to("mbox", home, "all"),
                                    "--to", f"|sh -c 'echo $RECIPIENT $SENDER >> {home.path('who')}'")
        equal((code, err), (OK, ""), "deliver")
        equal([len(messages(home.path(n))) for n in ("bob", "jane", "all")], [1, 1, 1], "messages")
        equal(home.read("who"), b"bob@b.example ann@a.example\njane@b.example ann@a.example\n", "the command's environment")


def test_as_pipe_calls_it():
    """Postfix: flags=Rq user=… argv=posthouse deliver -f ${sender} -a ${recipient} --to …: with a bounce's empty sender, its own Return-Path."""
    with Home() as home:
        code, _, err = program(BINARY, "deliver", "-f", "", "-a", "bob@b.example", "--to", "mbox:" + home.path("box"), text=False,
                               input=b"Return-Path: <>\nDelivered-To: bob@b.example\nSubject: x\n\ny\n", env={"PATH": "/usr/bin:/bin"})
        equal((code, err), (OK, b""), "deliver")
        text = home.read("box").decode()
        match(text, r"^From MAILER-DAEMON ")
        equal(text.count("Return-Path:"), 1, "Return-Path fields")
        assert "Delivered-To: bob@b.example\n" in text


def test_forward():
    with Home() as home:
        run = lambda: home.deliver("--to", "forward", env={"PATH": "/usr/bin:/bin", "HOME": home.dir})
        code, _, err = run()
        assert code in (OK, TEMPFAIL), err  # the caller's real home is asked, whatever $HOME says
        assert home.dir not in err, err


def killed(home, args, message, begin, keep):
    """Runs the delivery once for each of its system calls and kills it there; begin() makes ready for the first, keep(call, number,
    exit code) looks at what is left. Without $EVERY_CALL (`make soak`) the reading ones are left out: they change nothing."""
    log = home.path("calls")
    code, _, err = home.deliver(*args, message=message, before=("strace", "-f", "-qq", "-o", log, "-e", "trace=" + ",".join(TRACED)))
    if code != OK or not os.path.exists(log):
        harness.skip("strace may not trace here")
    begin()
    counts = {}
    for call in re.findall(r"(?m)^\d+ +(\w+)\(", pathlib.Path(log).read_text()):
        counts[call] = counts.get(call, 0) + 1
    assert counts.get("fsync"), counts
    for call, n in counts.items():
        if call not in CHANGING and "EVERY_CALL" not in os.environ:
            continue
        # the program's start, which opens libraries and files of the system, is the same for all
        for when in range(max(1, n - (40 if "EVERY_CALL" in os.environ else 10)), n + 1):
            done = home.deliver(*args, message=message,
                                before=("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={when}"))
            keep(call, when, done[0])


def test_killed_while_appending():
    harness.need("strace")
    large = b"Subject: large\n\n" + b"a line of some text\n" * 45000 + b"the end\n"
    for message, last in ((MESSAGE, b"last line\n\n"), (large, b"the end\n\n")):
        with Home() as home:
            args = to("mbox", home, "box")
            first = b"From x Tue Nov 24 08:00:00 2026\nA: b\n\nold\n\n"

            def keep(call, when, code):
                after, _, err = home.deliver(*args, message=b"Subject: next\n\nnext\n")
                equal(after, OK, f"the delivery after a kill at {call} {when}: {err}")
                got = messages(home.path("box"))
                equal(got[0], first, f"the oldest message after {call} {when}")
                assert got[-1].endswith(b"\n\nnext\n\n"), got[-1]
                assert len(got) in ((3,) if code == 0 else (2, 3)), (call, when, code, [m[:40] for m in got])
                assert len(got) == 2 or got[1].endswith(last), f"torn after {call} {when}: {got[1][-60:]}"
                assert not os.path.exists(home.path("box.lock")), f"a lock is left after {call} {when}"
                pathlib.Path(home.path("box")).write_bytes(first)
            killed(home, args, message, lambda: pathlib.Path(home.path("box")).write_bytes(first), keep)


def test_killed_while_delivering_to_a_maildir():
    harness.need("strace")
    with Home() as home:
        args = to("maildir", home, "M")

        def keep(call, when, code):
            new = [home.read("M/new/" + n) for n in os.listdir(home.path("M/new"))] if os.path.isdir(home.path("M/new")) else []
            assert len(new) == 1 if code == 0 else len(new) <= 1, (call, when, code, len(new))
            assert all(m.endswith(b"last line\n") for m in new), (call, when)
            after, _, err = home.deliver(*args, message=b"Subject: next\n\nnext\n")
            equal(after, OK, f"the delivery after a kill at {call} {when}: {err}")
            equal(len(os.listdir(home.path("M/new"))), len(new) + 1, "messages")
            equal(sorted(os.listdir(home.path("M"))), ["cur", "new", "tmp"], "folders")
            shutil.rmtree(home.path("M"))
        killed(home, args, MESSAGE, lambda: shutil.rmtree(home.path("M")), keep)


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_full_disk():
    if os.geteuid() != 0:
        harness.skip("needs root to mount a small file system")
    with Home() as home:
        disk = home.path("disk")
        os.mkdir(disk)
        if program("mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", disk)[0]:
            harness.skip("a tmpfs cannot be mounted here")
        try:
            large = b"Subject: large\n\n" + b"a line of some text\n" * 10000
            equal(home.deliver(*to("mbox", home, "disk/box"))[0], OK, "a small one")
            before = home.read("disk/box")
            for args in (to("mbox", home, "disk/box"), to("maildir", home, "disk/M")):
                code, _, err = home.deliver(*args, message=large)
                equal(code, TEMPFAIL, err)
                match(err, r"^4\.3\.1 .*No space left")
            equal(home.read("disk/box"), before, "the mbox")
            equal([len(os.listdir(home.path("disk/M/" + n))) for n in ("new", "tmp")], [0, 0], "files of the Maildir")
            equal(home.deliver(*to("maildir", home, "disk/M"))[0], OK, "a small one")
        finally:
            program("umount", disk)


def test_size_limit_and_unwritable():
    with Home() as home:
        for args in (to("mbox", home, "box"), to("maildir", home, "M")):
            code, _, err = home.deliver(*args, message=b"Subject: x\n\n" + b"line\n" * 5000, preexec_fn=limited(4096))
            equal(code, TEMPFAIL, err)
            match(err, r"^4\.(2\.2|3\.0) ")
        assert not os.path.exists(home.path("box")) or home.read("box") == b""
        if os.geteuid() == 0:
            os.chmod(home.dir, 0o755)
            os.mkdir(home.path("mail"), 0o755)
            code, _, err = home.deliver(*to("mbox", home, "mail/box"), user=12345, group=12345, extra_groups=[])
            equal(code, TEMPFAIL, err)
            match(err, r"^4\.2\.0 .*Permission denied")


def test_locked():
    """By another host's dotlock: it waits, says who, and goes on when it is gone."""
    with Home() as home:
        lock = pathlib.Path(home.path("box.lock"))
        lock.write_text("4711:elsewhere.example\n")
        begun = time.monotonic()
        command = [BINARY, "deliver", "-c", "/nonexistent", "-f", "a@a.example", *to("mbox", home, "box")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
            waiting.stdin.write(MESSAGE)
            waiting.stdin.close()
            time.sleep(1)
            equal(waiting.poll(), None, "it waits")
            equal(home.read("box"), b"", "nothing was written")
            lock.unlink()
            equal(waiting.wait(20), OK, waiting.stderr.read())
        assert time.monotonic() - begun < 15
        equal(len(messages(home.path("box"))), 1, "messages")


def test_signal_is_temporary():
    with Home() as home:
        for args in (["--to", "stdout"], ["--to", f"|sh -c 'cat > /dev/null; touch {home.path('runs')}; sleep 60'"]):
            command = [BINARY, "deliver", "-c", "/nonexistent", *args]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as waiting:
                waiting.stdin.write(MESSAGE)
                waiting.stdin.flush()
                if args[1] != "stdout":
                    waiting.stdin.close()
                    eventually(lambda: os.path.exists(home.path("runs")), 10)
                else:
                    time.sleep(0.3)
                waiting.send_signal(signal.SIGTERM)
                equal(waiting.wait(20), TEMPFAIL, "exit code")
                match(waiting.stderr.read().decode(), r"^4\.3\.")


def test_peers_read_what_we_wrote():
    """Python's mailbox module, which many scripts use."""
    with Home() as home:
        for _ in range(3):
            equal(home.deliver(*to("mbox", home, "box"), *to("maildir", home, "M"))[0], OK, "deliver")
        equal([m["Subject"] for m in mailbox.mbox(home.path("box"), create=False)], ["hello"] * 3, "the mbox")
        equal([m["Subject"] for m in mailbox.Maildir(home.path("M"), create=False)], ["hello"] * 3, "the Maildir")


def test_through_the_server():
    """Without --to: LMTP to the running server's Unix socket, else its drop, which waits for the server."""
    with Instance(append="listen lmtp unix:run/lmtp", settings={"lmtp_networks": None}, start=False) as house, Home() as home:
        os.mkdir(house.path("run"))
        house.start()

        def send(subject, recipient):
            return program(BINARY, "deliver", "-v", "-c", house.conf, "-f", "ann@a.example", "-a", recipient,
                           input=f"Subject: {subject}\n\nx\n")
        code, _, err = send("by lmtp", "alice@posthouse.test")
        equal(code, OK, err)
        match(err, "in reply to")
        code, _, err = send("unknown", "nobody@posthouse.test")
        equal(code, NOUSER, err)
        match(err, r"(?m)^5\.1\.1 in reply to")
        house.stop()
        code, _, err = send("by drop", "alice@posthouse.test")
        equal(code, OK, err)
        match(err, "drop")
        house.start()
        box = house.wait_for(2, seconds=30)
        equal(sorted(s for m in box for s in re.findall(rb"(?m)^Subject: (.*?)\r?$", m)), [b"by drop", b"by lmtp"], "what came")


if __name__ == "__main__":
    harness.main()
