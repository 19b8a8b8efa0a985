#!/usr/bin/env python3
"""Posthouse delivers into an mbox and a Maildir in which procmail, mutt's dotlock and Dovecot are at work: nothing is lost, doubled or torn.

Each message has a number and a text that follows from it. Some write, others read and delete; whoever deletes writes down the numbers. At the
end all of them are there once: in the folder or among those deleted. $RACE_MESSAGES: how many each writer sends (8).
"""
import contextlib
import errno
import fcntl
import glob
import imaplib
import os
import pwd
import random
import re
import subprocess
import sys
import threading
import time

import harness
from harness import BINARY, Instance, equal, eventually, need, skip

ROOT = os.geteuid() == 0
EACH = int(os.environ.get("RACE_MESSAGES", "8"))
LDA, IMAP = "/usr/lib/dovecot/dovecot-lda", "/usr/lib/dovecot/imap"
PATIENCE_S = 60 + EACH
INTERNAL = b"FOLDER INTERNAL DATA"  # a message of Dovecot's own in an mbox that it has emptied
WRITERS = {"role": 1, "deliver": 100000, "procmail": 200000, "dovecot": 300000}


def body(number):
    """Its lines; some look like the start of a message."""
    lines = [f"{'From ' if k % 5 == 1 else ''}line {k} of {number}" for k in range(3 + number * 7 % 60)]
    lines += ["x" * (number * 9173 % 90000 // 70 + 1)] * 70 if number % 4 == 0 else []
    return lines + ["", f"end of {number}"]


def message(number):
    return (f"From: <ann@a.example>\nTo: bob@b.example\nSubject: {number}\nX-Number: {number}\n"
            f"Message-ID: <{number}@a.example>\n\n" + "\n".join(body(number)) + "\n").encode()


def number_of(text):
    """Of one message, without its From_ line, after it was compared; fails if it is torn."""
    text = text.decode("ascii", "backslashreplace")
    head, _, rest = text.partition("\n\n")
    found = re.search(r"(?mi)^X-Number: (\d+)$", head)
    assert found, f"a message without number: {text[:300]!r} … {text[-200:]!r}"
    number = int(found[1])
    got = [line.removeprefix(">") if line.startswith(">From ") else line for line in rest.rstrip("\n").split("\n")]
    if got != body(number):
        raise AssertionError(f"message {number} is torn: {len(got)} lines, not {len(body(number))}: {text[:400]!r} … {text[-200:]!r}")
    return number


def parse(data):
    """[(number, bytes)] of an mbox; fails unless it is one, whole."""
    if not data:
        return []
    assert data.startswith(b"From "), f"begins with {data[:100]!r}"
    assert data.endswith(b"\n\n"), f"ends with {data[-100:]!r}"
    starts = [0] + [found.end() for found in re.finditer(rb"\n(?=From \S+ +\w{3} \w{3} +\d+ [\d:]+ \d{4}\n)", data)]  # dovecot-lda quotes no "From "
    for at in starts[1:]:
        assert data[at - 2:at] == b"\n\n", f"no blank line before {data[at:at + 60]!r}"
    parts = [data[a:b] for a, b in zip(starts, starts[1:] + [len(data)])]
    found = [(0 if INTERNAL in part[:400] else number_of(part.split(b"\n", 1)[1]), part) for part in parts]
    numbers = [number for number, _ in found if number]
    assert len(numbers) == len(set(numbers)), f"doubled in one file: {sorted(n for n in numbers if numbers.count(n) > 1)}"
    return found


# A mail reader, as a process of its own because locks of fcntl are of processes.

def try_fcntl(fd):
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as e:
        if e.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False


def dotlock(path, *how):
    return subprocess.run(["mutt_dotlock", *how, path], stderr=subprocess.DEVNULL).returncode == 0


@contextlib.contextmanager
def locked(path, fd, order):
    """Both locks, in that order. The second is waited for with the first in hand, as readers do, for a while."""
    while True:
        if order == "fcntl":
            fcntl.lockf(fd, fcntl.LOCK_EX)
            if dotlock(path, "-r", "1"):
                break
            fcntl.lockf(fd, fcntl.LOCK_UN)
        elif dotlock(path, "-r", "3"):
            for _ in range(50):
                if try_fcntl(fd):
                    break
                time.sleep(0.01)
            else:
                dotlock(path, "-u")
                continue
            break
        time.sleep(0.01 + random.random() / 50)
    try:
        yield
    finally:
        dotlock(path, "-u")
        fcntl.lockf(fd, fcntl.LOCK_UN)


def rewrite(fd, log, chance):
    """Under lock: deletes some, marks the rest as read, and writes the file anew from the first change on."""
    data = b""
    while piece := os.pread(fd, 1 << 20, len(data)):
        data += piece
    out, gone, half = b"", [], len(data) // 2
    for number, part in parse(data):
        if number and random.random() < chance:
            gone.append(number)
        else:
            head, rest = part.split(b"\n\n", 1)
            head = re.sub(rb"(?m)^Status: .*\n", b"", head + b"\n") + b"Status: RO\n"
            out += head + b"\n" + rest
    same = len(os.path.commonprefix([data[:half], out]))
    for at in range(same, len(out), 8192):  # in pieces: who reads or writes without a lock now is found out
        os.pwrite(fd, out[at:at + 8192], at)
        time.sleep(0.0005)
    os.ftruncate(fd, len(out))
    for number in gone:
        log.write(f"{number}\n")
    log.flush()


def reader(path, order, log_path, stop_path):
    last = False
    with open(log_path, "a", encoding="ascii") as log:
        while not last:
            last = os.path.exists(stop_path)
            try:
                fd = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                time.sleep(0.01)
                continue
            try:
                with locked(path, fd, order):
                    rewrite(fd, log, 0.4)
            finally:
                os.close(fd)
            time.sleep(random.random() / 20)


def maildir_reader(path, log_path, stop_path):
    """Moves from new/ to cur/, and deletes some of those in cur/."""
    last = False
    with open(log_path, "a", encoding="ascii") as log:
        while not last:
            last = os.path.exists(stop_path)
            for name in glob.glob(f"{path}/new/*"):
                with contextlib.suppress(FileNotFoundError):  # Dovecot was first
                    with open(name, "rb") as f:
                        number_of(f.read())
                    os.rename(name, f"{path}/cur/{os.path.basename(name)}:2,")
            for name in random.sample(found := glob.glob(f"{path}/cur/*:2,"), len(found) // 3):
                with contextlib.suppress(FileNotFoundError):
                    with open(name, "rb") as f:
                        number = number_of(f.read())
                    os.unlink(name)
                    log.write(f"{number}\n")
            log.flush()
            time.sleep(0.01)


class Race(Instance):
    """An instance, a folder that belongs to the user who delivers, and the others, who are that user too."""

    def __init__(self, target):
        super().__init__(aliases=f"box: {target}\n", settings={"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "mda_min_uid": "1",
                                                              "delay_warning_time": "0s"})
        self.failed, self.stopped, self.sent, self.threads = [], False, set(), []

    def make(self):
        super().make()
        found = re.search(r"(?m)^run_as (\S+)", self.read("posthouse.conf"))
        self.user = pwd.getpwnam(found[1]) if ROOT and found else pwd.getpwuid(os.geteuid())
        self.mail = os.path.join(self.parent, "mail")
        os.mkdir(self.mail, 0o700)
        self.give(self.mail)
        self.write("aliases", self.read("aliases").replace("MAIL", self.mail))
        self.log_of = {}

    def give(self, path):
        if ROOT:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def in_mail(self, name, text):
        path = os.path.join(self.mail, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        self.give(path)
        return path

    def as_user(self, *args):
        """The command line that runs this as the one who delivers."""
        who = ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups"] if ROOT else []
        return ["env", f"HOME={self.mail}", f"USER={self.user.pw_name}", *who, *map(str, args)]

    def deletions(self, name):
        self.log_of[name] = self.in_mail(f"deleted-{name}", "")
        return self.log_of[name]

    def spawn(self, what, name):
        """A thread whose failure fails the test."""
        def run():
            try:
                what()
            except BaseException as e:  # told by race()
                self.failed.append(f"{name}: {type(e).__name__}: {e}")
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def spawn_reader(self, *args):
        name = "-".join(a for a in args if "/" not in a)
        command = self.as_user(sys.executable, os.path.abspath(__file__), "--as", *args, self.deletions(name), self.mail + "/stop")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=harness.die_with_parent)
        def wait():
            out, _ = process.communicate(timeout=2 * PATIENCE_S)
            assert process.returncode == 0, out.decode()[-1500:]
        return self.spawn(wait, f"reader {name}")

    # those who write

    def numbers(self, writer):
        numbers = range(WRITERS[writer], WRITERS[writer] + EACH)
        self.sent.update(numbers)
        return numbers

    def write_role(self):
        numbers = list(self.numbers("role"))
        for at in range(0, EACH, 10):
            with self.smtp() as client:
                for number in numbers[at:at + 10]:
                    refused = client.sendmail("ann@a.example", ["box@" + self.domain], message(number).replace(b"\n", b"\r\n"))
                    assert not refused, refused
            time.sleep(0.1)
        eventually(lambda: self.status()["roles"]["store"]["queue_recipients"] == 0, PATIENCE_S, "the queue is empty", 0.2)

    def write_with(self, writer, *command):
        for number in self.numbers(writer):
            deadline = time.monotonic() + PATIENCE_S
            while True:
                done = subprocess.run(self.as_user(*command), input=message(number), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S)
                if done.returncode == 0:
                    break
                assert done.returncode == 75 and time.monotonic() < deadline, f"{writer}: exit {done.returncode}: {done.stdout.decode()[-500:]}"

    def race(self, others):
        """All at once until all is written; then the readers come to their end."""
        for thread in [self.spawn(work, name) for name, work in others]:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "a writer hangs"
        self.stopped = True
        self.in_mail("stop", "")
        for thread in self.threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "a reader hangs"
        assert not self.failed, "\n".join(self.failed)

    def compare(self, left):
        """left: numbers in the folder. What Dovecot says is gone may have been deleted by the other reader meanwhile."""
        gone = {}
        for name, path in self.log_of.items():
            with open(path, encoding="ascii") as f:
                gone[name] = [int(n) for n in f.read().split()]
            assert gone[name], f"{name} deleted nothing"
        by_dovecot = set(gone.pop("dovecot"))
        left = [number for number in left if number]
        have = left + [number for numbers in gone.values() for number in numbers]
        equal(sorted({n for n in have if have.count(n) > 1} | by_dovecot & set(left)), [], "doubled")
        equal(sorted(self.sent - set(have) - by_dovecot), [], "lost")
        equal(sorted(set(have) - self.sent), [], "from nowhere")
        equal(len(self.sent), 4 * EACH, "sent")


def dovecot_conf(house, location, order):
    return house.in_mail("dovecot.conf", f"mail_location = {location}\nmbox_write_locks = {order}\nmbox_read_locks = fcntl\nmbox_dirty_syncs = no\n"
                                         f"log_path = {house.mail}/dovecot.log\nbase_dir = {house.mail}/dovecot-base\nssl = no\n"
                                         f"mbox_lock_timeout = {PATIENCE_S} secs\nfirst_valid_uid = 1\nmail_home = {house.mail}\n"
                                         f"postmaster_address = postmaster@b.example\nhostname = b.example\nlock_method = fcntl\n"
                                         "mail_privileged_group =\nstats_writer_socket_path =\n")


def dovecot_session(house, conf, log):
    """One IMAP session: reads, sets flags, deletes a third."""
    command = " ".join(house.as_user(IMAP, "-c", conf))
    imap = imaplib.IMAP4_stream(command)
    try:
        imap.select("INBOX")
        kind, data = imap.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (X-Number)])")
        assert kind == "OK", data
        found = {}
        for item in data:
            if isinstance(item, tuple):
                uid = re.search(rb"UID (\d+)", item[0])
                number = re.search(rb"(?i)X-Number: (\d+)", item[1])
                if uid and number:
                    found[uid[1].decode()] = int(number[1])
        if found:
            imap.uid("STORE", ",".join(found), "+FLAGS.SILENT", "(\\Seen)")
            doomed = random.sample(sorted(found), len(found) // 3)
            if doomed:
                kind, data = imap.uid("STORE", ",".join(doomed), "+FLAGS.SILENT", "(\\Deleted)")
                assert kind == "OK", data
                kind, data = imap.uid("EXPUNGE", ",".join(doomed))
                assert kind == "OK", data
                left = {n for n in re.findall(r"UID (\d+)", str(imap.uid("FETCH", "1:*", "(UID)")[1]))}
                for uid in doomed:
                    if uid not in left:
                        log.write(f"{found[uid]}\n")
                log.flush()
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            imap.logout()
        imap.process.wait(30)


def dovecot_reads(house, conf):
    def work():
        last = False
        while not last:
            last = house.stopped
            with open(house.log_of["dovecot"], "a", encoding="ascii") as log:
                dovecot_session(house, conf, log)
            time.sleep(0.05)
    house.deletions("dovecot")
    house.spawn(work, "dovecot reads")


def need_all():
    need("procmail", "mutt_dotlock", "setpriv")
    for path in (LDA, IMAP):
        if not os.access(path, os.X_OK):
            skip(f"{path} is not installed")
    if ROOT and not os.access(os.path.abspath(__file__), os.R_OK):
        skip("others cannot read the tests")


def on_mbox(order):
    need_all()
    with Race("mbox:MAIL/box") as house:
        box = house.mail + "/box"
        # procmail waits for fcntl with its dotlock in hand, so beside a Dovecot of the other order it must take fcntl alone
        lock = ":" if order.startswith("dotlock") else ""
        rc = house.in_mail("procmailrc", f"MAILDIR={house.mail}\nDEFAULT=/dev/null\nLOCKSLEEP=1\nLOCKTIMEOUT=0\nUMASK=077\n:0{lock}\n{box}\n")
        conf = dovecot_conf(house, f"mbox:{house.mail}/folders:INBOX={box}", order)
        os.mkdir(house.mail + "/folders")
        house.give(house.mail + "/folders")
        house.in_mail("box", "")
        os.chmod(box, 0o600)
        dovecot_reads(house, conf)
        house.spawn_reader("mbox", order.split()[0], box)
        house.race([("role", house.write_role),
                    ("deliver", lambda: house.write_with("deliver", BINARY, "deliver", "-c", "/nonexistent", "-f", "ann@a.example", "-a", "bob@b.example",
                                                         "--to", "mbox:" + box)),
                    ("procmail", lambda: house.write_with("procmail", "procmail", "-f", "ann@a.example", "-t", "-m", rc)),
                    ("dovecot", lambda: house.write_with("dovecot", LDA, "-c", conf, "-m", "INBOX", "-e"))])
        with open(box, "rb") as f:
            house.compare([number for number, _ in parse(f.read())])
        equal(glob.glob(box + ".lock"), [], "locks left")


def test_mbox_dotlock_first():
    on_mbox("dotlock fcntl")


def test_mbox_fcntl_first():
    on_mbox("fcntl dotlock")


def test_maildir():
    need_all()
    with Race("maildir:MAIL/dir/") as house:
        folder = house.mail + "/dir"
        rc = house.in_mail("procmailrc", f"MAILDIR={house.mail}\nDEFAULT=/dev/null\nUMASK=077\n:0\n{folder}/\n")
        conf = dovecot_conf(house, f"maildir:{folder}", "dotlock fcntl")
        subprocess.run(house.as_user("mkdir", "-p", "-m", "700", folder, folder + "/tmp", folder + "/new", folder + "/cur"), check=True)
        dovecot_reads(house, conf)
        house.spawn_reader("maildir", folder)
        house.race([("role", house.write_role),
                    ("deliver", lambda: house.write_with("deliver", BINARY, "deliver", "-c", "/nonexistent", "-f", "ann@a.example", "-a", "bob@b.example",
                                                         "--to", f"maildir:{folder}/")),
                    ("procmail", lambda: house.write_with("procmail", "procmail", "-f", "ann@a.example", "-t", "-m", rc)),
                    ("dovecot", lambda: house.write_with("dovecot", LDA, "-c", conf, "-m", "INBOX", "-e"))])
        left = []
        for name in glob.glob(folder + "/new/*") + glob.glob(folder + "/cur/*"):
            with open(name, "rb") as f:
                left.append(number_of(f.read()))
        house.compare(left)
        equal(os.listdir(folder + "/tmp"), [], "left in tmp/")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as"]:
        if sys.argv[2] == "mbox":
            _, _, _, order_, path_, log_, stop_ = sys.argv
            reader(path_, order_, log_, stop_)
        else:
            maildir_reader(*sys.argv[3:])
        sys.exit(0)
    harness.main()
