"""IMAP: mailboxes of Posthouse and of Dovecot, in its two formats, with the same messages, read and changed in the same ways."""
import collections
import functools
import itertools
import json
import os
import pwd
import shutil
import subprocess
import sys
import time

import corpus
import meter
from servers import DOMAIN, HERE, OFFSETS, READER, Dovecot, eventually, fail, free_base, listens, run, write_configuration

SETTLE, LIMIT, FILL_LIMIT = 0.3, 300, 1200  # seconds
MESSAGES, MANY, FEW = 10000, 100000, 100
LETTERS, LARGE_BOX, EVERYBODY = "letters", "many", "i%d"  # the users with those mailboxes; the 16 users of 16 connections, and more of IDLE
IDLE_USERS = 100
FIRST = "first "    # access after delivery
RESOLUTION = 30     # ms of CPU, which the system counts in hundredths of a second for each process
FIELDS = "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To"
# What is said: options of imap_load, the command, and how often in one run; how many times less CPU than the better of Dovecot's formats it
# must need, and how many times less of `what` is the aim; a line of configuration that Posthouse has meanwhile.
Cell = collections.namedtuple("Cell", "label options command times must aim what setting", defaults=("cpu", None))
EARLY = "imap_flag_sync no"  # STORE is answered when it is applied; Dovecot never syncs flags
READ = [Cell("ENVELOPE", [], "FETCH 1:* ENVELOPE", 10, 2, 4),
        Cell("headers, as Thunderbird", [], f"UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({FIELDS})])", 10, 2, 4),
        Cell("FLAGS", [], "FETCH 1:* FLAGS", 100, 1, 1),
        Cell("BODYSTRUCTURE", [], "FETCH 1:* BODYSTRUCTURE", 20, 2, 4),
        Cell("SORT (REVERSE DATE)", [], "SORT (REVERSE DATE) UTF-8 ALL", 20, 2, 4),
        Cell("SORT (SUBJECT)", [], "SORT (SUBJECT) UTF-8 ALL", 20, 2, 4),
        Cell("THREAD REFERENCES", [], "THREAD REFERENCES UTF-8 ALL", 20, 2, 4),
        Cell("SEARCH SUBJECT", [], 'SEARCH SUBJECT "zyzzyva"', 20, 1, 4),
        Cell("SEARCH BODY", [], 'SEARCH BODY "qwertzuiop"', 1, 1, 8),
        Cell("all bodies", [], "FETCH 1:* BODY.PEEK[]", 1, 1, 3, "wall"),
        Cell("all bodies, TLS", ["-t", "implicit"], "FETCH 1:* BODY.PEEK[]", 1, 1, 3, "wall"),
        Cell("SELECT", [], 'SELECT "INBOX"', 1000, 1, 1),
        Cell("STORE", [], "STORE %i {} (\\Flagged)", 1000, 1, 1),
        Cell(f"STORE, {EARLY}", [], "STORE %i {} (\\Flagged)", 1000, 1, 1, setting=EARLY)]
CHANGE = [Cell("APPEND 2 KB", ["-A", 2048, "-u", 1], None, 400, 1, 4, "wall"),
          Cell("APPEND 2 KB, 16 conn", ["-A", 2048, "-c", 16], None, 150, 1, 8, "wall"),
          Cell("STORE, 16 conn", ["-c", 16], "STORE %i {} (\\Flagged)", 150, 1, 1),
          Cell(f"STORE, 16 conn, {EARLY}", ["-c", 16], "STORE %i {} (\\Flagged)", 150, 1, 1, setting=EARLY),
          Cell("log-in, 16 conn", ["-c", 16], None, 100, 1, 6, "wall"),
          Cell("log-in, 16 conn, TLS", ["-c", 16, "-t", "implicit"], None, 40, 1, 3.5, "wall")]
COLD = "cold, "
LARGE = [Cell("100k SELECT", [], 'SELECT "INBOX"', 100, 1, 1), Cell("100k FLAGS", [], "FETCH 1:* FLAGS", 10, 1, 1),
         Cell("100k ENVELOPE", [], "FETCH 1:* ENVELOPE", 2, 2, 4), Cell("100k BODYSTRUCTURE", [], "FETCH 1:* BODYSTRUCTURE", 2, 2, 4)]


class DovecotImap(Dovecot):
    def __init__(self, data, tls, taken, form):
        self.name, self.form = f"Dovecot {form}", form
        self.dir, self.process = os.path.join(data, f"dovecot-{form}"), None
        self.conf = os.path.join(self.dir, "dovecot.conf")
        self.base = free_base(taken)
        self.port = {name: self.base + OFFSETS[name] for name in ("imap", "imaps")}
        self.password = {READER: "a-password"}
        self.uid = pwd.getpwnam("nobody").pw_uid
        os.makedirs(os.path.join(self.dir, "run"))
        os.makedirs(os.path.join(self.dir, "mail"))
        os.chown(os.path.join(self.dir, "mail"), self.uid, self.uid)
        write_configuration(os.path.join(HERE, "dovecot", "imap.conf"), self.conf, {
            "DIR": self.dir, "CERTIFICATE": tls[0], "KEY": tls[1], "UID": self.uid, "PASSWORD": self.password[READER],
            "FORMAT": form, "IMAP": self.port["imap"], "IMAPS": self.port["imaps"]})

    def start(self, plain_login=False):
        with open(os.path.join(self.dir, "output"), "ab") as output:
            self.process = subprocess.Popen(["dovecot", "-F", "-c", self.conf], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.pids = [self.process.pid]
        eventually(lambda: listens(self.port["imap"]), 10, 0.05, "start of Dovecot")

    def take_in(self, user, maildir):
        done = subprocess.run(["doveadm", "-c", self.conf, "import", "-u", user, f"maildir:{maildir}", "", "all"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=FILL_LIMIT)
        if done.returncode:
            fail(f"doveadm import failed: {done.stdout}")


def address(server, user):
    return f"{user}@{DOMAIN}" if server.name == "Posthouse" else user


def everybody(server):
    return address(server, EVERYBODY)


def write_maildir(path, messages, uid):
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(path, sub))
    for n, message in enumerate(messages):
        with open(os.path.join(path, "cur", f"{1577934243 + n}.M{n}P1.bench,W={len(message)}:2,"), "wb") as f:
            f.write(message.replace(b"\r\n", b"\n"))
    run("chown", "-R", f"{uid}:{uid}", path)


def deliver(servers, user, messages, count):
    """The same messages, made anew by messages(): to Posthouse by SMTP; for Dovecot a Maildir that it imports, which is faster than to deliver them to it."""
    servers[0].deliver(address(servers[0], user), messages(), count)
    if len(servers) > 1:
        maildir = os.path.join(os.path.dirname(servers[0].dir), "maildir")
        write_maildir(maildir, messages(), servers[1].uid)
        for server in servers[1:]:
            server.take_in(user, maildir)
        shutil.rmtree(maildir)


def fill(tools, servers, user, count, attachments):
    """Somebody has read the mailbox before most of it comes: each server then knows what is asked for."""
    def letters(first, last):
        return itertools.islice(corpus.letters(count, attachments), first, last)
    for server in servers:
        imap_load(tools, server, [], user)
    for first, last in ((0, FEW), (FEW, count)):
        deliver(servers, user, functools.partial(letters, first, last), last - first)
        if first == 0:
            for server in servers:
                for command in (READ[0].command, READ[1].command, READ[3].command):
                    imap_load(tools, server, [command], user)


def imap_load(tools, server, options, user):
    port = "imaps" if "implicit" in options else "imap"
    done = subprocess.run([os.path.join(tools, "imap_load"), "-p", str(server.port[port]), "-a", f"{address(server, user)}:{server.password[READER]}",
                           "-l", str(LIMIT), *map(str, options)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        fail(f"imap_load {' '.join(map(str, options))} and {server.name} did not get to the end: {done.stdout}")
    return json.loads(done.stdout)


def once(tools, server, cell, user, times, sign="+", label=""):
    options = [*cell.options, "-n" if cell.command or "-A" in cell.options else "-s", times]
    if cell.command:
        options.append(cell.command.replace("{}", f"{sign}FLAGS"))
    cpu, machine = meter.cpu(server.pids), meter.machine_cpu()
    got = imap_load(tools, server, options, user)
    time.sleep(SETTLE)
    own = meter.cpu(server.pids) - cpu
    other = meter.others(machine, meter.machine_cpu(), own + got["cpu_s"])
    seconds, n = got["end"] - got["start"], got["answered"]
    r = {"server": server.name, "label": label + cell.label, "rate": n / seconds, "wall": 1e3 * seconds / n, "cpu": 1e3 * own / n,
         "client": 1e3 * got["cpu_s"] / n, "kb": got["bytes"] / 1e3 / n, "other": other}
    print(f"  {r['label']}, {server.name}: {r['wall']:.3f} ms, {r['cpu']:.3f} ms CPU", file=sys.stderr, flush=True)
    return r


def measure(tools, servers, cells, reps, user):
    results = []
    for cell in cells:
        with servers[0].setting(cell.setting):
            for rep in range(reps + 1):  # the first is the warm-up, and takes flags away
                for server in servers:
                    r = once(tools, server, cell, user, cell.times if rep or not cell.command or "%i" in cell.command else 1, "-+"[rep % 2])
                    if rep:
                        results.append(r)
    return results


def restart(tools, server, user):
    server.stop()
    server.start(plain_login=True)
    imap_load(tools, server, [], user)  # the password is known from now on


def measure_all(tools, servers, reps):
    for server in servers:
        server.stop()
        server.start(plain_login=True)
    fill(tools, servers, LETTERS, MESSAGES, True)
    for server in servers:  # Posthouse knows the passwords from now on; what hashing them costs is measured elsewhere
        imap_load(tools, server, ["-c", 16], EVERYBODY)
    results = [once(tools, server, cell, LETTERS, 1, label=FIRST) for cell in READ[:-3] for server in servers]
    results += measure(tools, servers, READ, reps, LETTERS)
    return results + measure(tools, servers, CHANGE, reps, EVERYBODY)


def measure_large(tools, servers, reps):
    """Cold: the server was restarted, and nothing of its files is in memory."""
    results = []
    for server in servers:
        server.stop()
        server.start(plain_login=True)
    fill(tools, servers, LARGE_BOX, MANY, False)
    for cell in LARGE:
        for _ in range(reps):
            for server in servers:
                restart(tools, server, LARGE_BOX)
                if drop_caches():
                    results.append(once(tools, server, cell, LARGE_BOX, 1, label=COLD))
    return results + measure(tools, servers, LARGE, reps, LARGE_BOX)


def drop_caches():
    try:
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        return True
    except OSError:
        return False
