#!/usr/bin/env python3
"""Mechanisms in the queue: mail of an account or an alias handed on via an MTA and via another MDA that speaks LMTP, by TCP and through a Unix socket, several
at once; tried again after the other was down, told to the sender, stopped where it goes round, and delivered by role mda as a job of the queue."""
import json
import os
import re
import socket
import tempfile
import threading

import harness
from harness import Instance, equal, eventually
from sink import Sink


def queue(house, *words):
    code, out, error = house.cli("queue", *words, "--json")
    assert code == 0, (words, code, error)
    return [json.loads(line) for line in out.splitlines() if line.strip()]


def waiting(house):
    return [line for line in queue(house, "list") if "recipient" in line]


class LmtpSocket:
    """An MDA that speaks LMTP on a Unix socket and takes everything; refuse: what it says to that recipient's content."""

    def __init__(self, path, refuse=None):
        self.path, self.refuse, self.got = path, refuse or {}, []

    def __enter__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.socket.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()
        os.unlink(self.path)

    def accept(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    def talk(self, peer):
        rcpts, lines = [], peer.makefile("rb")

        def say(text):
            peer.sendall(text.encode() + b"\r\n")
        say("220 mda.test LMTP")
        for line in lines:
            word = line[:4].upper()
            if word == b"LHLO":
                say("250-mda.test\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")
            elif word == b"RCPT":
                rcpts.append(re.search(rb"<(.*)>", line).group(1).decode())
                say("250 2.1.5 ok")
            elif word == b"DATA":
                say("354 go on")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    data += lines.readline()
                for to in rcpts:
                    self.got.append((to, data[:-5]))
                    say(self.refuse.get(to, "250 2.0.0 taken"))
                rcpts = []
            elif word == b"QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 ok")


def test_via_hosts():
    base = harness.free_base()
    folder = tempfile.mkdtemp(prefix="posthouse-lmtp-")
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "mda")
    house = Instance(aliases=f"gate: smtp:127.0.0.5:{base}\n"
                             f"named: smtp:localhost:{base}\n"
                             f"lists: lmtp:{path}\n"
                             f"all: smtp:127.0.0.5:{base}, lmtp:{path}, alice\n")
    with house, Sink("127.0.0.5", base) as sink, Sink("127.0.0.1", base) as local, LmtpSocket(path) as mda:
        house.send("gate@posthouse.test", sender="someone@elsewhere.example")
        house.send("named@posthouse.test")
        house.send("lists@posthouse.test")
        eventually(lambda: len(sink.taken()) == 1 and len(local.taken()) == 1 and len(mda.got) == 1, 10, "each has one")
        message = sink.taken()[0]
        equal(message.sender, "someone@elsewhere.example", "the sender as it was")
        equal(message.to, ["gate@posthouse.test"], "the account's address")
        assert re.match(rb"Delivered-To: gate@posthouse\.test \(posthouse ", message.data), message.data[:200]
        equal(mda.got[0][0], "lists@posthouse.test", "to")
        # several at once, with a mailbox of this host
        house.send("all@posthouse.test")
        eventually(lambda: len(sink.taken()) == 2 and len(mda.got) == 2, 10, "both")
        house.wait_for(1)
        eventually(lambda: not waiting(house), what="nothing waits")
        lines = [line for line in house.log().splitlines() if "event=sent" in line]
        assert any(f"mechanism=lmtp:{path}" in line and f"mta=unix:{path}" in line for line in lines), lines
        destinations = {line["destination"] for line in queue(house, "destinations") if "destination" in line}
        assert {f"via smtp:127.0.0.5:{base}", f"via lmtp:{path}"} <= destinations, destinations


def test_down_then_up():
    base = harness.free_base()
    house = Instance(settings={"minimal_backoff_time": "1s"}, aliases=f"gate: smtp:127.0.0.5:{base}, smtp:127.0.0.6:{base}\n")
    with house, Sink("127.0.0.6", base) as other:
        house.send("gate@posthouse.test")
        eventually(lambda: len(other.taken()) == 1, what="the other has it: nobody waits for the dead one")
        eventually(lambda: [line["attempts"] for line in waiting(house)] == [1], what="one waits")
        line = waiting(house)[0]
        equal(line["mechanism"], f"smtp:127.0.0.5:{base}", "mechanism")
        equal(queue(house, "redirect", "--recipient", "gate@posthouse.test", "--to", "[127.0.0.9]")[0], {"changed": 0, "skipped": 1},
              "a mechanism is not redirected")
        with Sink("127.0.0.5", base) as sink:
            queue(house, "retry", "--recipient", "gate@posthouse.test")
            eventually(lambda: len(sink.taken()) == 1, 15, "sent when it is up again")
            eventually(lambda: not waiting(house), what="nothing waits")
        equal(len(other.taken()), 1, "the other got it once")


def test_dsn():
    base = harness.free_base()
    folder = tempfile.mkdtemp(prefix="posthouse-lmtp-")
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "mda")
    house = Instance(aliases=f"full: lmtp:{path}\ngone: smtp:127.0.0.5:{base}\n")
    with house, Sink("127.0.0.5", base, script={"rcpt": "550 5.1.1 nobody here"}), \
            LmtpSocket(path, {"full@posthouse.test": "552 5.2.2 the box is full"}):
        for to in ("full", "gone"):
            house.send(f"{to}@posthouse.test", sender="alice@posthouse.test")
        house.wait_for(2, seconds=15)
        text = b"".join(bytes(m) if isinstance(m, bytes) else str(m).encode() for m in house.mailbox("alice"))
        assert b"the box is full" in text and b"nobody here" in text, text
        assert b"rfc822;full@posthouse.test" in text.replace(b" ", b""), text


def test_loop():
    """What a mechanism handed on comes back: the marked Delivered-To is seen, the sender is told."""
    base = harness.free_base()
    house = Instance(aliases=f"gate: smtp:127.0.0.5:{base}\n")
    with house, Sink("127.0.0.5", base) as sink:
        house.send("gate@posthouse.test", sender="alice@posthouse.test")
        eventually(lambda: len(sink.taken()) == 1, what="sent")
        with house.smtp() as client:
            client.sendmail("alice@posthouse.test", ["gate@posthouse.test"], sink.taken()[0].data)
        house.wait_for(1)
        assert b"5.4.6" in repr(house.mailbox("alice")).encode(), house.mailbox("alice")
        equal(len(sink.taken()), 1, "not sent again")


def test_route_to_a_socket():
    folder = tempfile.mkdtemp(prefix="posthouse-lmtp-")
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "mda")
    house = Instance(append="mynetworks 127.0.0.0/8\nsmtpd_relay_restrictions permit_mynetworks reject\n"
                            f"route lists {{ recipient @lists.test; next lmtp unix:{path} }}\n")
    with house, LmtpSocket(path) as mda:
        house.send("announce@lists.test")
        eventually(lambda: len(mda.got) == 1, 10, "taken through the socket")
        equal(mda.got[0][0], "announce@lists.test", "to")
        code, out, error = house.cli("route", "announce@lists.test")
        assert code == 0 and f"unix:{path}, lmtp" in out, (out, error)


def test_mda():
    """A local mechanism is a job of role mda; both roles may die without the other's jobs being disturbed."""
    folder = tempfile.mkdtemp(prefix="posthouse-box-")
    os.chmod(folder, 0o777)
    base = harness.free_base()
    house = Instance(settings={"minimal_backoff_time": "1s"}, aliases=f"cat: \"|/bin/cat\"\nno: \"|/bin/sh -c 'echo 5.1.1 not here; exit 67'\"\n"
                     f"slow: \"|/bin/sleep 2\"\ngate: smtp:127.0.0.5:{base}\n")
    with house, Sink("127.0.0.5", base) as sink:
        house.send("cat@posthouse.test")
        house.send("no@posthouse.test", sender="alice@posthouse.test")
        house.wait_for(1, seconds=15)
        assert "not here" in repr(house.mailbox("alice")), house.mailbox("alice")
        eventually(lambda: any("event=delivered" in line and "mechanism=" in line for line in house.log().splitlines()), what="delivered in the log")
        house.send("slow@posthouse.test")
        eventually(lambda: any(line["state"] == "sending" for line in waiting(house)), what="being delivered")
        house.kill("smtp-out")
        house.send("gate@posthouse.test")
        eventually(lambda: len(sink.taken()) == 1, 15, "sent by the next smtp-out")
        eventually(lambda: not waiting(house), 15, "nothing waits")
        house.send("slow@posthouse.test")
        eventually(lambda: any(line["state"] == "sending" for line in waiting(house)), what="being delivered")
        house.kill("mda")
        eventually(lambda: not waiting(house), 20, "delivered by the next mda")


if __name__ == "__main__":
    harness.main()
