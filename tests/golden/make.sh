#!/bin/sh
# tests/golden/make.sh VERSION: writes tests/golden/VERSION, a small data folder as the program at hand ($POSTHOUSE) writes it, and what
# src/store/golden_test.c must find in it. Made once for each version of the record format and never again: what lies there is what
# a store on somebody's disk looks like, and every later program must read it.
#
# Three accounts; five messages by SMTP, one of them to two mailboxes, one of no octet, one over the 128 KiB from which a message is streamed
# to a segment of its own, one whose lines begin with dots; the newest of bob's is expunged; carol's mailbox is created by a log-in.
# From v2 on also what the queue writes: one message that was sent, one that failed and whose sender was told, one that waits for a dead host,
# one that is held, one redirected, a destination that is paused. Between the messages the server is started anew, so that there is more than one segment. index.db is
# left out: it can be made again.
# v4: cards of the second format, recipients of mechanisms that wait (gate, box), a message for the mailbox alone (native), from the drop.
# v3 holds what IMAP makes the store write. It is made by src/store/golden_mailboxes_test.c (GOLDEN_MAKE=FOLDER), which also reads it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: $0 VERSION" >&2; exit 2; }
[ ! -e "$here/$1" ] || { echo "$here/$1 is there; a golden folder is never written again" >&2; exit 1; }
cd "$here/.."
exec python3 - "$here/$1" << 'PYTHON'
import os
import shutil
import sqlite3
import sys

import json

import harness
import ledger
import sink

target = sys.argv[1]
DOMAIN = "example.org"
text = b"".join(b"line %06d of a long message\r\n" % n for n in range(4700))  # 140 KB, over the threshold of a stream
header = b"From: <sender@far.example>\r\nSubject: %s\r\n\r\n"


def crc32c(data):
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def send(house, to, content):
    with house.smtp() as client:
        client.sendmail("sender@far.example", [house.address(t) for t in to], content)


def rows(house, query, *values):
    index = sqlite3.connect(os.path.join(house.data, "index.db"))
    try:
        return index.execute(query, values).fetchall()
    finally:
        index.close()


def describe(house, user):
    """The mailbox: numbers from the index of a stopped server, contents as POP3 read them before."""
    account = house.address(user).encode()
    [(box, validity, uidnext, count)] = rows(house, "SELECT id, uidvalidity, uidnext, messages FROM mailbox WHERE account = ?", account)
    yield f"mailbox {account.decode()} INBOX {validity} {uidnext} {count}"
    placed = rows(house, "SELECT uid, hex(session), number, received_us FROM message WHERE mailbox = ? ORDER BY uid", box)
    assert [(validity, row[0]) for row in placed] == list(read[user]), (placed, read[user])
    for uid, session, number, received in placed:
        content = read[user][validity, uid]
        yield f"message {uid} {len(content)} {crc32c(content):08x} {session.lower()} {number} {received}"


def contents(house, user):
    with ledger.Maildrop(house, user) as drop:
        names = [ledger.uid_number(uidl) for uidl in drop.uidl()]
        return {names[n - 1]: content for n, content in drop.retrieve(range(1, len(names) + 1))}


def queue(house, *words):
    return [json.loads(line) for line in house.check("queue", *words, "--json").splitlines()]


def use_queue(house, there):
    for to in ("sent", "failed", "waits", "held"):
        with house.smtp() as client:
            client.sendmail("alice@example.org", [f"{to}@{'dead' if to in ('waits', 'held') else 'far'}.example"], header % b"away" + b"x\r\n")
    house.wait_for(1, "alice")
    harness.eventually(lambda: len(there.taken()) == 1 and {line.get("attempts") for line in queue(house, "list")} == {1})
    queue(house, "hold", "--recipient", "held@dead.example")
    queue(house, "redirect", "--recipient", "held@dead.example", "--to", "[127.0.0.1]:1")
    queue(house, "pause", "route dead")


def use_mechanisms(house):
    for to in ("gate", "box"):
        send(house, [to], header % b"by a mechanism" + b"x\r\n")
    harness.eventually(lambda: [line.get("attempts") for line in queue(house, "list") if line.get("mechanism")] == [1, 1])
    harness.program(house.binary, "deliver", "-c", house.conf, "-f", "cron@far.example", "-a", house.address("alice"),
                    input="Subject: native\n\nFor the mailbox alone.\n")


def queued(house):
    for line in queue(house, "list"):
        yield f"queue {line['recipient']} {line['state']} {line['outcome']} {line['attempts']} {line.get('mechanism', '')}".rstrip()


ROUTES = """
mynetworks 127.0.0.0/8
smtpd_relay_restrictions permit_mynetworks reject
route dead {{ recipient @dead.example; next smtp [127.0.0.1]:{dead}; tls none }}
route far {{ next smtp [127.0.0.3]:{port}; tls none }}
"""
base = harness.free_base()
refuse = {"rcpt": lambda _, line: "550 5.1.1 no such user" if "failed" in line else None}
with harness.Instance(settings={"log_segment_size": "64K"}, domain=DOMAIN, append=ROUTES.format(port=base, dead=base + 1),
                      aliases="gate@example.org: smtp:127.0.0.5:9\nbox@example.org: mbox:/nowhere/at/all\n") as house, \
        sink.Sink("127.0.0.3", base, script=refuse) as there:
    use_queue(house, there)
    use_mechanisms(house)
    send(house, ["alice"], header % b"first" + b"Hello.\r\n")
    send(house, ["alice", "bob"], header % b"to two" + b".dot\r\n..dots\r\n.\r\n")
    house.wait_for(4)
    house.restart()
    send(house, ["bob"], b"")
    send(house, ["alice"], header % b"streamed" + text)
    send(house, ["bob"], header % b"expunged" + b"Nobody shall see this.\r\n")
    house.wait_for(5)
    house.wait_for(3, "bob")
    with ledger.Maildrop(house, "bob") as drop:
        drop.uidl()
        drop.delete([3])
    house.mailbox("carol")
    house.restart()
    read = {user: contents(house, user) for user in ("alice", "bob", "carol")}
    waiting = list(queued(house))
    assert sorted(line.split()[1] for line in waiting) == ["box@example.org", "gate@example.org", "held@dead.example", "waits@dead.example"], waiting
    house.stop()
    expected = [line for user in read for line in describe(house, user)] + waiting
    assert "0 findings" in house.check("store", "check")
    os.mkdir(target)
    for folder in ("log/smtp-in", "journal"):
        shutil.copytree(os.path.join(house.data, folder), os.path.join(target, folder))
    with open(os.path.join(target, "expected.txt"), "w") as f:
        f.write("# mailbox ACCOUNT NAME UIDVALIDITY UIDNEXT MESSAGES; message UID SIZE CRC-32C-OF-PREFIX-AND-CONTENT SESSION NUMBER RECEIVED-US\n"
                "# queue RECIPIENT STATE OUTCOME ATTEMPTS [MECHANISM]\n")
        f.write("\n".join(expected) + "\n")
    for folder, _, names in os.walk(target):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o644)
PYTHON
