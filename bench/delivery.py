"""Mail that is delivered outside of the store: into Maildirs and mbox files, beside Postfix's virtual(8); and LMTP beside Dovecot's."""
import collections
import os
import subprocess
import time

import meter
from servers import DOMAIN, HERE, LIMIT, MAILDIR, MBOX, OFFSETS, USERS, Dovecot, eventually, fail, free_base, listens, loader, pwd, write_configuration

SETTLE = 0.3  # seconds after the last delivery in which trailing work is still counted

# What smtp_load is told; of each server how many messages. must, aim: times as fast as the other.
Cell = collections.namedtuple("Cell", "label port options domains counts must aim")
FILES = [Cell("Maildir, 16 conn", "smtp", [], {"Posthouse": MAILDIR, "Postfix": DOMAIN}, {"Posthouse": 6000, "Postfix": 1500}, 3, 5),
         Cell("mbox, 16 conn", "smtp", [], {"Posthouse": MBOX, "Postfix": MBOX}, {"Posthouse": 6000, "Postfix": 1500}, 3, 5)]
LMTP = [Cell("LMTP, 16 conn", "lmtp", ["-L"], {"Posthouse": DOMAIN, "Dovecot LMTP": DOMAIN}, {"Posthouse": 6000, "Dovecot LMTP": 1500}, 1, 15)]


class DovecotLmtp(Dovecot):
    name = "Dovecot LMTP"

    def __init__(self, data, taken):
        self.dir, self.process = os.path.join(data, "dovecot-lmtp"), None
        self.conf = os.path.join(self.dir, "dovecot.conf")
        self.base = free_base(taken)
        self.port = {"lmtp": self.base + OFFSETS["lmtp"]}
        uid = pwd.getpwnam("nobody").pw_uid
        os.makedirs(os.path.join(self.dir, "run"))
        os.makedirs(os.path.join(self.dir, "mail"))
        os.chown(os.path.join(self.dir, "mail"), uid, uid)
        write_configuration(os.path.join(HERE, "dovecot", "lmtp.conf"), self.conf, {"DIR": self.dir, "UID": uid, "LMTP": self.port["lmtp"]})

    def start(self, plain_login=False):
        with open(os.path.join(self.dir, "output"), "ab") as output:
            self.process = subprocess.Popen(["dovecot", "-F", "-c", self.conf], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.pids = [self.process.pid]
        eventually(lambda: listens(self.port["lmtp"]), 10, 0.05, "start of Dovecot's LMTP")


def files(server):
    """Messages in the Maildirs, and From_ lines in the mbox files."""
    mail = os.path.dirname(os.path.dirname(server.new[0]))
    there = sum(len(os.listdir(d)) for d in server.new)
    for name in os.listdir(mail):
        if name.startswith("mbox"):
            with open(os.path.join(mail, name), "rb") as f:
                text = f.read()
            there += text.count(b"\n\nFrom ") + text.startswith(b"From ")
    return there


def wait(server, cell, before, count):
    if cell in LMTP:
        return 0  # delivered when it is answered
    if server.name == "Posthouse":
        eventually(lambda: server.delivered() >= before + count, LIMIT, 0.02, "delivery by Posthouse")
        return time.monotonic()
    return server.wait_empty()


def deliver(tools, server, cell, count):
    there = files(server) if cell in FILES else 0
    before = server.delivered() if server.name == "Posthouse" else 0
    cpu, machine = meter.cpu(server.pids), meter.machine_cpu()
    got = loader(tools, "smtp_load", server, cell.port, "-c", 16, "-m", count, "-s", 2048, "-u", USERS, "-d", cell.domains[server.name],
                 *cell.options)
    placed_at = max(wait(server, cell, before, count), got["end"])
    time.sleep(SETTLE)
    own = meter.cpu(server.pids) - cpu
    other = meter.others(machine, meter.machine_cpu(), own + got["cpu_s"])
    if cell in FILES and files(server) != there + count:
        fail(f"{server.name} delivered {files(server) - there} of {count} messages")
    return {"server": server.name, "label": cell.label, "accept": count / (got["end"] - got["start"]),
            "placed": count / (placed_at - got["start"]), "p50": got["p50_ms"], "p99": got["p99_ms"], "cpu": own * 1e3 / count, "other": other}


def measure(tools, servers, cells, reps, quick):
    results = []
    for cell in cells:
        for rep in range(reps + 1):  # the first is the warm-up
            for server in servers:
                count = cell.counts[server.name] // (2 if quick else 1)
                r = deliver(tools, server, cell, count if rep else count // 4)
                if rep:
                    results.append(r)
    return results
