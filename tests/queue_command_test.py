#!/usr/bin/env python3
"""Every word of `posthouse queue`, for people and as JSON, with mail for a site that lives, one that is dead and one that says no."""
import json
import re
import signal
import subprocess
import time

import harness
from harness import Instance, equal, eventually, match
from sink import Sink

SETTINGS = """
mynetworks 127.0.0.0/8
smtpd_relay_restrictions permit_mynetworks reject_unauth_destination
allow_private_destinations yes
minimal_backoff_time 20m
route dead {{ recipient @dead.test; next smtp [127.0.0.1]:{dead}; tls none }}
route later {{ recipient @later.test; next smtp [127.0.0.2]:{port}; tls none }}
route other {{ next smtp [127.0.0.3]:{port}; tls none }}
"""
LATER = {"rcpt": "451 4.7.1 not so fast"}
HOSTILE = b"451-4.3.0 \x1b]0;owned\x07\x1b[31mred\r\n451 4.3.0 \x9b2J\x08\x7f\xc3\x28 end\r\n"


class House:
    """An instance, a site that puts everything off and one that takes everything."""

    def __init__(self, later=None, **more):
        self.base = harness.free_base()
        self.house = Instance(append=SETTINGS.format(port=self.base, dead=self.base + 1), **more)
        self.later, self.other = Sink("127.0.0.2", self.base, script=LATER if later is None else later), Sink("127.0.0.3", self.base)

    def __enter__(self):
        for each in (self.house, self.later, self.other):
            each.__enter__()
        return self

    def __exit__(self, *why):
        for each in (self.later, self.other, self.house):
            each.__exit__(*why)

    def send(self, *to, sender="alice@posthouse.test", subject="about tea"):
        with self.house.smtp() as client:
            client.sendmail(sender, to, f"Subject: {subject}\r\nFrom: {sender}\r\n\r\nhello\r\n")

    def queue(self, *words):
        return self.house.check("queue", *words)

    def json(self, *words):
        return [json.loads(line) for line in self.queue(*words, "--json").splitlines()]

    def waits(self, *filters):
        return sorted(line["recipient"] for line in self.json("list", *filters))

    def tried(self, count):
        """Waits until so many wait, each tried once, and no attempt is under way."""
        def settled():
            lines = self.json("list")
            return len(lines) == count and all(line["attempts"] == 1 and line["state"] == "waiting" for line in lines) and lines
        return eventually(settled, 10, f"{count} recipients that were tried")

    def refused(self, code, text, *words):
        got, out, error = self.house.cli("queue", *words)
        equal((got, out), (code, ""), f"queue {' '.join(words)}: {error}")
        match(error, text)


def test_list_and_filters():
    with House() as x:
        equal(x.queue(), "Nothing waits.\n")
        equal(x.queue("--json"), "")
        x.send("a@later.test", "b@later.test")
        x.send("c@dead.test", sender="bob@posthouse.test")
        x.send("d@dead.test", sender="")
        lines = x.tried(4)
        first = next(line for line in lines if line["recipient"] == "a@later.test")
        equal((first["code"], first["status"], first["reply"], first["sender"]), (451, "4.7.1", "451 4.7.1 not so fast", "alice@posthouse.test"))
        match(first["mta"], r"127\.0\.0\.2")
        assert first["next"] > first["last"] >= first["received"], first
        text = x.queue()
        equal(x.queue("list"), text, "list is what it does without a word")
        match(text, rf"(?m)^{first['queue_id']}  waiting  20\d\d-.* bytes  {first['session']}$")
        match(text, r"<alice@posthouse\.test> to <a@later\.test>, for route later")
        match(text, r"1 attempts, the next 20\d\d-")
        match(text, r"(?m)^        451 4\.7\.1 not so fast$")
        match(text, r"<> to <d@dead\.test>")
        everybody = ["a@later.test", "b@later.test", "c@dead.test", "d@dead.test"]
        for filters, want in [
                (["--sender", "alice@posthouse.test"], everybody[:2]), (["--sender", "ALICE@Posthouse.test"], everybody[:2]),
                (["--sender", "<>"], everybody[3:]), (["--sender", ""], everybody[3:]), (["--sender", "@posthouse.test"], everybody[:3]),
                (["--recipient", "c@dead.test"], everybody[2:3]), (["--recipient", "@dead.test"], everybody[2:]),
                (["--domain", "later.test"], everybody[:2]), (["--domain", "ter.test"], []), (["--destination", "route dead"], everybody[2:]),
                (["--state", "waiting"], everybody), (["--state", "held"], []), (["--older", "1d"], []), (["--younger", "1h"], everybody),
                (["--older", "0s", "--domain", "dead.test", "--sender", "<>"], everybody[3:]), ([str(first["queue_id"])], everybody[:2]),
                ([first["session"]], everybody[:2]), ([first["session"][:12].upper()], everybody[:2])]:
            equal(x.waits(*filters), want, str(filters))


def test_show():
    with House() as x:
        x.send("a@later.test", "b@other.test", subject="tea \x1b[31mred")
        eventually(lambda: len(x.other.taken()) == 1, what="one of two is sent")
        lines = x.tried(1)  # the other one is gone: the trace has him
        number = str(lines[0]["queue_id"])
        for name in (number, lines[0]["session"]):
            text = x.queue("show", name)
            match(text, rf"^Message {number}, trace id {lines[0]['session']}\n  from <alice@posthouse.test>, received 20")
            match(text, r"(?m)^  \| Received: from client\.example ")
            match(text, r"(?m)^  \| Subject: tea \\x1b\[31mred$")
            assert "\x1b" not in text and "hello" not in text, text
            match(text, r"(?m)^attempt 1  20.*  <a@later\.test>  deferred  4\.7\.1  .*127\.0\.0\.2")
        got = x.json("show", number)
        equal([key for line in got for key in ("message", "state", "attempt") if key in line], ["message", "state", "attempt"])
        equal(got[0]["message"]["queue_id"], int(number))
        equal((got[2]["attempt"]["number"], got[2]["attempt"]["recipient"], got[2]["attempt"]["code"]), (1, "a@later.test", 451))


def test_retry_hold_release():
    with House() as x:
        x.send("a@later.test", "b@later.test")
        x.tried(2)
        x.later.script = {}
        equal(x.queue("hold", "--recipient", "a@later.test"), "1 recipients changed.\n")
        equal(x.queue("hold", "--recipient", "a@later.test"), "0 recipients changed.\n", "twice")
        equal(x.waits("--state", "held"), ["a@later.test"])
        equal(x.json("retry", "--younger", "1000d"), [{"changed": 1, "skipped": 0}])
        eventually(lambda: len(x.later.taken()) == 1, what="b is sent at once")
        equal(x.later.messages[-1].to, ["b@later.test"])
        x.house.restart()
        equal(x.waits("--state", "held"), ["a@later.test"], "after a restart")
        number = str(x.json("--state", "held")[0]["queue_id"])
        equal(x.json("release", number)[0]["changed"], 1)
        eventually(lambda: len(x.later.taken()) == 2, what="a is sent")
        eventually(lambda: not x.json(), what="the queue is empty")


def test_bounce_and_drop():
    with House() as x:
        x.send("a@dead.test", "b@dead.test", "c@dead.test")
        x.tried(3)
        equal(x.json("bounce", "--recipient", "a@dead.test", "--text", "we do not \x1b[31mwrite there"), [{"changed": 1, "skipped": 0}])
        notice = x.house.wait_for(1, "alice")[0]
        match(notice, r"(?m)^Final-Recipient: rfc822; ?a@dead\.test\r$")
        match(notice, r"(?m)^Action: failed\r$")
        match(notice, r"we do not \S*write there")
        assert b"\x1b" not in notice and b"b@dead.test" not in notice.split(b"\r\nContent-Type: message/rfc822")[0], notice
        equal(x.queue("drop", "--recipient", "b@dead.test"), "1 recipients changed.\n")
        eventually(lambda: x.waits("--state", "waiting") == ["c@dead.test"], what="one is left")
        x.queue("bounce", "--domain", "dead.test")
        eventually(lambda: not x.json(), what="the queue is empty")
        notices = x.house.wait_for(2, "alice")
        equal(len(notices), 2, "nobody hears of what was dropped")
        match(notices[1], r"c@dead\.test")
        text = x.house.check("trace", "b@dead.test")
        match(text, r"dropped")


def test_redirect():
    with House() as x:
        x.send("a@dead.test", "b@dead.test")
        x.tried(2)
        equal(x.json("redirect", "--recipient", "a@dead.test", "--to", f"[127.0.0.3]:{x.base}")[0]["changed"], 1)
        eventually(lambda: [m.to for m in x.other.taken()] == [["a@dead.test"]], what="the other host has it")
        x.queue("pause", "route dead")
        equal(x.json("redirect", "--recipient", "b@dead.test", "--to", f"127.0.0.9:{x.base}")[0]["changed"], 1)
        match(x.queue(), rf"redirected to 127\.0\.0\.9:{x.base}")
        x.refused(65, "no name of a host", "redirect", "--recipient", "b@dead.test", "--to", "two words")
        equal(x.json("redirect", "--recipient", "b@dead.test", "--to", "")[0]["changed"], 1)
        assert "redirected" not in x.queue(), x.queue()


def test_destinations():
    with House() as x:
        x.send("a@later.test")
        x.tried(1)
        x.send("fine@other.test")
        eventually(lambda: len(x.other.taken()) == 1)
        eventually(lambda: len(x.json()) == 1)
        lines = {line["destination"]: line for line in x.json("destinations")}
        equal(set(lines), {"route later", "route other"})
        equal((lines["route later"]["waiting"], lines["route later"]["deferred"], lines["route other"]["sent"]), (1, 1, 1))
        match(lines["route later"]["replies"][0]["text"], "451 4.7.1 not so fast")
        text = x.queue("destinations")
        match(text, r"(?m)^route later: alive$")
        match(text, r"(?m)^    waiting 1 \(due 0\), being sent 0 of ")
        match(text, r"(?m)^    1 times, last at 20.*:\n        451 4\.7\.1 not so fast$")
        match(text, r"(?m)^    sent 1, deferred 0, failed 0; connections 1, used again 0; ")
        equal([line["destination"] for line in x.json("destinations", "route other")], ["route other"])
        # paused: nothing is sent, until it is resumed, over a restart too
        equal(x.queue("pause", "route other"), "route other: paused\n")
        x.send("waits@other.test")
        eventually(lambda: x.waits() == ["a@later.test", "waits@other.test"])
        match(x.queue("destinations", "route other"), r"^route other: paused\n")
        x.house.restart()
        time.sleep(1)
        equal(len(x.other.taken()), 1, "sent while it is paused")
        equal(x.json("destinations", "route other")[0]["state"], "paused")
        equal(x.queue("resume", "route other", "--json"), "")
        eventually(lambda: len(x.other.taken()) == 2, what="sent")
        equal(x.json("destinations", "route other")[0]["state"], "alive")


def watched(x, *more):
    with subprocess.Popen([x.house.binary, "queue", "--watch", *more, "-c", x.house.conf], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        time.sleep(3)
        p.send_signal(signal.SIGINT)
        out, error = p.communicate(timeout=5)
    equal((p.returncode, error), (0, b""))
    return out.decode()


def test_watch():
    with House() as x:
        x.send("a@later.test")
        x.tried(1)
        text = watched(x)
        match(text, r"(?m)^waiting 1   sending 0   held 0   final 0   oldest 20")
        match(text, r"(?m)^destination +state +waiting +due +open/may +sent +deferred +failed$")
        match(text, r"(?m)^route later +alive +1 +0 +0/")
        equal(text.count("waiting 1 "), 2, "it shows again after two seconds")
        assert "\x1b" not in text, "this is no terminal"
        lines = [json.loads(line) for line in watched(x, "--json").splitlines()]
        equal([line.get("waiting") for line in lines], [1, 1, 1, 1])


def test_a_reply_never_reaches_the_terminal():
    with House(later={"rcpt": HOSTILE, "mail": HOSTILE, "content": HOSTILE}) as x:
        x.send("a@later.test")
        x.tried(1)
        for words in (["list"], ["show", str(x.json()[0]["queue_id"])], ["destinations"]):
            for text in (x.queue(*words), x.queue(*words, "--json")):
                odd = [c for c in text if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"]
                equal(odd, [], f"{words}: {text!r}")
                match(text, "owned")
        watched(x)


def test_errors():
    with House() as x:
        x.send("a@later.test")
        x.tried(1)
        unknown = "999999999"
        x.refused(65, "there is no message", "show", unknown)
        for word in ("retry", "hold", "release", "drop", "bounce"):
            x.refused(65, "there is no message", word, unknown)
            x.refused(64, f"queue {word} needs the number of a message, or a filter", word)
        x.refused(65, "there is no message", "list", unknown)
        x.refused(65, "there is no message", "redirect", unknown, "--to", "mx.example")
        x.refused(64, "needs --to", "redirect", "--domain", "later.test")
        x.refused(64, "of a trace id at least 6 letters", "show", "abc")
        x.refused(65, "no message in the queue begins with zzzzzzzz", "show", "zzzzzzzz")
        x.refused(64, "takes the number or trace id", "show")
        for time_word in ("", "x", "5y", "-5", "1.5h", "9999999999w", "h"):
            x.refused(64, "expected a time such as", "list", "--older", time_word)
            x.refused(64, "expected a time such as", "hold", "--younger", time_word)
        x.refused(64, "waiting, sending, held or final", "list", "--state", "waitign")
        x.refused(64, "waiting, sending, held or final", "drop", "--state", "")
        x.refused(64, "is no word of it", "flush")
        x.refused(64, "takes one destination", "pause")
        x.refused(64, "takes one destination", "resume", "a", "b")
        x.refused(64, "", "list", "--nonsense")
        equal(x.waits(), ["a@later.test"], "nothing of that has done anything")
        x.house.stop()
        for words in (["list"], ["show", "1"], ["hold", "--domain", "x"], ["destinations"], ["pause", "x"], ["--watch"]):
            x.refused(69, "no server runs on", *words)
        x.house.start()


def test_many_pages():
    with House() as x:
        x.queue("pause", "route other")
        count = 700
        with x.house.smtp() as client:
            for n in range(count):
                client.sendmail("alice@posthouse.test", [f"user{n:03}@other.test"], f"Subject: {n}\r\n\r\nx\r\n")
        eventually(lambda: len(x.waits()) == count, what="all of them are listed")
        equal(x.waits(), [f"user{n:03}@other.test" for n in range(count)])
        equal(sum(line["changed"] for line in x.json("hold", "--domain", "other.test")), count)
        equal(len(x.waits("--state", "held")), count)
        match(x.queue("drop", "--domain", "other.test"), rf"^{count} recipients changed\.\n$")
        eventually(lambda: not x.json(), what="the queue is empty")


if __name__ == "__main__":
    harness.main()
