"""IMAP: mailboxes of Posthouse and of Dovecot, in its two formats, with the same messages, read and changed in the same ways."""
import collections
import json
import os
import pwd
import resource
import subprocess
import sys
import time

import corpus
import meter
from servers import DOMAIN, HERE, OFFSETS, READER, Dovecot, eventually, fail, free_base, listens, write_configuration

SETTLE = 0.3
LIMIT = 300
FIELDS = ("From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To")
# label: options of imap_load, command, times (in one run), MUST and AIM: how many times less CPU than the better of Dovecot's two.
Cell = collections.namedtuple("Cell", "label options command times must aim")
HEADERS = f"UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({FIELDS})])"
READ = [Cell("ENVELOPE", [], "FETCH 1:* ENVELOPE", 10, 2, 4),
        Cell("headers, as Thunderbird", [], HEADERS, 10, 2, 4),
        Cell("FLAGS", [], "FETCH 1:* FLAGS", 30, 1, 1),
        Cell("BODYSTRUCTURE", [], "FETCH 1:* BODYSTRUCTURE", 10, 2, 4),
        Cell("SORT (REVERSE DATE)", [], "SORT (REVERSE DATE) UTF-8 ALL", 10, 2, 4),
        Cell("SORT (SUBJECT)", [], "SORT (SUBJECT) UTF-8 ALL", 10, 2, 4),
        Cell("THREAD REFERENCES", [], "THREAD REFERENCES UTF-8 ALL", 10, 2, 4),
        Cell("SEARCH SUBJECT", [], 'SEARCH SUBJECT "zyzzyva"', 10, 1, 4),
        Cell("SEARCH BODY", [], 'SEARCH BODY "qwertzuiop"', 1, 1, 8),
        Cell("all bodies", [], "FETCH 1:* BODY.PEEK[]", 1, 1, 3),
        Cell("all bodies, TLS", ["-t", "implicit"], "FETCH 1:* BODY.PEEK[]", 1, 1, 3),
        Cell("SELECT", [], 'SELECT "INBOX"', 300, 1, 1),
        Cell("STORE", [], "STORE %i {} (\\Flagged)", 1000, 1, 1)]
EVERYBODY = "u%d"  # the 16 users of 16 connections
CHANGE = [Cell("APPEND 2 KB", ["-A", "2048", "-u", "1"], None, 400, 1, 4),
          Cell("APPEND 2 KB, 16 conn", ["-A", "2048", "-c", "16"], None, 150, 1, 8),
          Cell("STORE, 16 conn", ["-c", "16"], "STORE %i {} (\\Flagged)", 150, 1, 1),
          Cell("log-in, 16 conn", ["-c", "16"], None, 100, 1, 6),
          Cell("log-in, 16 conn, TLS", ["-c", "16", "-t", "implicit"], None, 40, 1, 3.5)]
LARGE = [cell._replace(label=f"100,000: {cell.label}", times=times) for cell, times in
         ((READ[2], 5), (READ[11], 50), (READ[0], 2), (READ[3], 2))]


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

    def take_in(self, address, maildir):
        done = subprocess.run(["doveadm", "-c", self.conf, "import", "-u", address, f"maildir:{maildir}", "", "all"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
        if done.returncode:
            fail(f"doveadm import failed: {done.stdout}")


def write_maildir(path, messages, uid):
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(path, sub))
    for n, message in enumerate(messages):
        with open(os.path.join(path, "cur", f"{1577934243 + n}.M{n}P1.bench,W={len(message)}:2,"), "wb") as f:
            f.write(message.replace(b"\r\n", b"\n"))
    for folder, _, files in os.walk(path):
        for name in (folder, *(os.path.join(folder, f) for f in files)):
            os.chown(name, uid, uid)


def imap_load(tools, server, options, user):
    port = "imaps" if "implicit" in options else "imap"
    done = subprocess.run([os.path.join(tools, "imap_load"), "-p", str(server.port[port]), "-a", f"{user}:{server.password[READER]}",
                           "-l", str(LIMIT), *map(str, options)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        fail(f"imap_load {' '.join(map(str, options))} and {server.name} did not get to the end: {done.stdout}")
    return json.loads(done.stdout)


def once(tools, server, cell, times, sign="+", user=READER):
    options = [*cell.options, "-s" if not cell.command and "-A" not in cell.options else "-n", times]
    if cell.command:
        options.append(cell.command.replace("{}", f"{sign}FLAGS"))
    cpu, machine = meter.cpu(server.pids), meter.machine_cpu()
    got = imap_load(tools, server, options, user)
    time.sleep(SETTLE)
    own = meter.cpu(server.pids) - cpu
    other = meter.others(machine, meter.machine_cpu(), own + got["cpu_s"])
    seconds, n = got["end"] - got["start"], got["answered"]
    return {"server": server.name, "label": cell.label, "rate": n / seconds, "wall": 1e3 * seconds / n, "p50": got["p50_ms"],
            "cpu": 1e3 * own / n, "client": 1e3 * got["cpu_s"] / n, "mb": got["bytes"] / 1e6 / seconds, "bytes": got["bytes"] / n, "other": other}


def told(r):
    print(f"  {r['label']}, {r['server']}: {r['wall']:.2f} ms, CPU {r['cpu']:.2f} ms, client {r['client']:.2f} ms, {r['mb']:.0f} MB/s, {r['bytes']:.0f} bytes (others {r['other']:.0f} %)", file=sys.stderr, flush=True)
    return r


def measure(tools, servers, cells, reps, user=READER):
    results = []
    for cell in cells:
        for rep in range(reps + 1):  # the first is the warm-up, and turns flags off
            for server in servers:
                times = cell.times if rep or "{}" in (cell.command or "") else max(1, cell.times // 10)
                r = once(tools, server, cell, times, "-+"[rep % 2], user(server) if callable(user) else user)
                if rep:
                    results.append(told(r))
                elif cell in READ:
                    results.append(told({**r, "label": f"first {r['label']}"}))
    return results
