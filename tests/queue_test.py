#!/usr/bin/env python3
"""The queue: what an administrator sees and does, sites that are dead or slow and delay nobody else, and kill -9 while mail is being sent."""
import json
import os
import re
import signal
import threading
import time

import harness
from harness import Instance, equal, eventually
from sink import Sink

SETTINGS = """
mynetworks 127.0.0.0/8
smtpd_relay_restrictions permit_mynetworks reject
allow_private_destinations yes
route dead {{ recipient @dead.test; next smtp [127.0.0.1]:{dead}; tls none }}
route slow {{ recipient @slow.test; next smtp [127.0.0.2]:{port}; tls none }}
route other {{ next smtp [127.0.0.3]:{port}; tls none }}
"""


def site(**more):
    base = harness.free_base()
    house = Instance(append=SETTINGS.format(port=base, dead=base + 1), **more)
    return house, base


def queue(house, *words):
    """Lines of `posthouse queue … --json`."""
    code, out, error = house.cli("queue", *words, "--json")
    assert code == 0, (words, code, error)
    return [json.loads(line) for line in out.splitlines() if line.strip()]


def recipients(house, *filters):
    return {line["recipient"]: line for line in queue(house, "list", *filters) if "recipient" in line}


def submit(house, count, to, sender="alice@posthouse.test", connections=1):
    """Message n to to(n), its number in the Subject."""
    def run(first):
        with house.smtp() as client:
            for n in range(first, count, connections):
                client.sendmail(sender, [to(n)], f"Subject: {n}\r\n\r\nmessage {n}\r\n")
    threads = [threading.Thread(target=run, args=(first,)) for first in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def number(message):
    return int(re.search(rb"^Subject: (\d+)\r$", message.data, re.M).group(1))


def test_words():
    house, base = site()
    with house, Sink("127.0.0.3", base, script={}) as sink:
        def greylist(session, line):
            return "450 4.7.1 later" if "hold" in line else "550 5.1.1 nobody" if "gone" in line else None
        sink.script = {"rcpt": greylist}
        for to in ("hold1@else.test", "hold2@else.test", "dead@dead.test", "gone@else.test", "fine@else.test"):
            with house.smtp() as client:
                client.sendmail("alice@posthouse.test", [to], "Subject: 1\r\n\r\nx\r\n")
        eventually(lambda: len(sink.taken()) == 1 and len(recipients(house)) == 3, what="three wait")
        # the one that failed has come back to its sender
        eventually(lambda: len(house.mailbox("alice")) == 1, what="the DSN")
        seen = recipients(house)
        equal(seen["hold1@else.test"]["reply"], "450 4.7.1 later", "reply")
        equal(seen["hold1@else.test"]["attempts"], 1, "attempts")
        equal(set(recipients(house, "--domain", "dead.test")), {"dead@dead.test"}, "by domain")
        equal(recipients(house, "--older", "1h"), {}, "by age")
        equal(len(recipients(house, "--sender", "alice@posthouse.test", "--state", "waiting")), 3, "by sender and state")
        # hold survives a restart, release sends
        equal(queue(house, "hold", "--recipient", "hold1@else.test")[0]["changed"], 1, "held")
        sink.script = {}
        house.restart()
        queue(house, "retry", "--domain", "else.test")
        eventually(lambda: len(sink.taken()) == 2, what="hold2 is sent")
        equal(recipients(house)["hold1@else.test"]["state"], "held", "state")
        shown = queue(house, "show", str(recipients(house)["hold1@else.test"]["queue_id"]))
        assert any(line.get("attempt", {}).get("reply") == "450 4.7.1 later" for line in shown), shown
        queue(house, "release", "--recipient", "hold1@else.test")
        eventually(lambda: len(sink.taken()) == 3, what="hold1 is sent")
        # another host takes what the dead one does not
        queue(house, "redirect", "--domain", "dead.test", "--to", f"[127.0.0.3]:{base}")
        eventually(lambda: len(sink.taken()) == 4, what="redirected")
        eventually(lambda: not recipients(house), what="the queue is empty")
        sites = {line["destination"]: line for line in queue(house, "destinations") if "destination" in line}
        other = next(line for key, line in sites.items() if "other" in key)
        assert other["sent"] == 2 and other["replies"], sites
        # paused: waits; dropped: nobody hears of it; bounced: the sender does
        queue(house, "pause", other["destination"])
        submit(house, 3, lambda n: f"p{n}@else.test")
        time.sleep(1)
        equal(len(recipients(house)), 3, "waiting")
        equal(queue(house, "drop", "--recipient", "p0@else.test")[0]["changed"], 1, "dropped")
        equal(queue(house, "bounce", "--recipient", "p1@else.test", "--text", "not from here")[0]["changed"], 1, "bounced")
        eventually(lambda: len(house.mailbox("alice")) == 2, what="the second DSN")
        assert b"not from here" in house.mailbox("alice")[-1], house.mailbox("alice")[-1]
        queue(house, "resume", other["destination"])
        eventually(lambda: len(sink.taken()) == 5, what="resumed")
        eventually(lambda: not recipients(house), what="the queue is empty")
        house.stop()
        equal(house.cli("store", "check")[0], 0, "store check")


def test_dead_and_slow_sites_delay_nobody():
    house, base = site()
    with house, Sink("127.0.0.2", base, script={"connect": [10, "220 at last"]}), Sink("127.0.0.3", base) as fast:
        submit(house, 600, lambda n: f"u{n}@slow.test" if n % 2 else f"u{n}@dead.test", connections=4)
        waits = []
        for n in range(20):
            begun = time.monotonic()
            with house.smtp() as client:
                client.sendmail("alice@posthouse.test", [f"live{n}@else.test"], f"Subject: {n}\r\n\r\nx\r\n")
            eventually(lambda count=n + 1: len(fast.taken()) >= count, what="live mail")
            waits.append(time.monotonic() - begun)
        assert sorted(waits)[10] < 1 and max(waits) < 5, waits
        states = {line["destination"]: line for line in queue(house, "destinations") if "destination" in line}
        dead = next(line for key, line in states.items() if "dead" in key)
        equal(dead["state"], "dead", "the dead site")
        assert dead["deferred"] < 20, dead  # the rest waits without being tried


def answers(house, role, other_than=None):
    """The process of a role once it answers; after several deaths the master lets it wait (0.1, 0.2 … 5 s)."""
    return eventually(lambda: (lambda pid: pid != other_than and pid)(house.pids().get(role)), 20, f"role {role} answers")


def killed_while_sending(role):
    house, base = site()
    total, kills, killed = 400, 6, []
    with house, Sink("127.0.0.3", base, script={"content": [0.02, "250 2.0.0 taken"]}) as sink:
        def kill():
            for _ in range(kills):
                time.sleep(0.4)
                pid = answers(house, role, killed[-1] if killed else None)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        killer = threading.Thread(target=kill)
        killer.start()
        submit(house, total, lambda n: f"u{n}@else.test", connections=4)
        killer.join()
        equal(len(killed), kills, "deaths")
        answers(house, role, killed[-1])
        eventually(lambda: len({number(m) for m in sink.taken()}) == total, 60, what="every message")
        eventually(lambda: not recipients(house), 30, what="the queue is empty")
        twice = len(sink.taken()) - total
        house.stop()
        equal(house.cli("store", "check")[0], 0, "store check")
    return twice, kills


def test_kill_store():
    # who sends keeps its results until the store has them: nothing goes out twice
    twice, _ = killed_while_sending("store")
    equal(twice, 0, "messages sent twice")


def test_kill_sender():
    # at most what was on its connections at that moment
    twice, kills = killed_while_sending("smtp-out")
    assert twice <= kills * 20, twice


def test_trace():
    house, base = site()
    with house, Sink("127.0.0.3", base):
        submit(house, 1, lambda n: "someone@else.test")
        eventually(lambda: not recipients(house), what="sent")
        text = house.cli("trace", "someone@else.test")[1]
        assert "queued" in text and "sent" in text and "127.0.0.3" in text, text


if __name__ == "__main__":
    harness.main()
