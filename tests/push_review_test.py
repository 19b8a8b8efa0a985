#!/usr/bin/env python3
"""What could go wrong on the way out: queued mail in a backup, notices while their maker dies, and words of strangers that want to be more than
words in notices, commands and logs."""
import collections
import os
import re
import shutil
import time

import harness
from harness import equal, eventually, match
from sites import SINK, World, wait_report

SLOW = {"minimal_backoff_time": "1s", "maximal_backoff_time": "3s"}


def test_queued_mail_in_a_backup():
    """What waited when the backup was made waits after the restore, and goes out; a hold is still one. What left after the backup leaves again."""
    with World("a.test", zones={**SINK, "held.test": "@ MX 10 mx\nmx A {s2}"}, settings=SLOW) as world:
        a = world.houses[0]
        with world.sink("s1", {"rcpt": "450 4.2.1 not yet"}) as before:
            a.submit(["one@sink.test", "two@sink.test"], subject="it waits")
            a.submit("three@held.test", subject="it is held")
            eventually(lambda: len(a.queue()) == 3 and before.sessions, 10)
            a.check("queue", "hold", "--domain", "held.test")
            backup = os.path.join(a.dir, "backup")
            a.check("backup", backup)
        with world.sink("s1") as left:
            eventually(left.taken, 10, "it left after the backup")
            equal(sorted(left.taken()[0].to), ["one@sink.test", "two@sink.test"])
        eventually(lambda: len(a.queue()) == 1, 5)
        a.stop()
        shutil.rmtree(a.path("data"))
        code, out, err = harness.program(harness.BINARY, "restore", backup, "-c", a.conf)
        equal(code, 0, f"exit code ({out}{err})")
        with world.sink("s1") as after, world.sink("s2") as held:
            a.start()
            eventually(after.taken, 10, "it leaves the restored server")
            equal([sorted(m.to) for m in after.taken()], [["one@sink.test", "two@sink.test"]])
            time.sleep(1)
            equal([(q["recipient"], q["state"]) for q in a.queue()], [("three@held.test", "held")])
            equal(held.sessions, [], "sessions with the host of held mail")
            a.check("queue", "release", "--domain", "held.test")
            eventually(held.taken, 10)
        a.empty()
        a.stop()
        match(a.check("store", "check"), r"\n0 findings")


def test_smtp_in_dies_while_it_makes_notices():
    """Every refusal has one notice, whatever becomes of the process that writes it."""
    with World("a.test", zones=SINK, settings=SLOW) as world, world.sink("s1", {"rcpt": "550 5.1.1 nobody of that name"}):
        a = world.houses[0]
        a.check("queue", "pause", "sink.test")
        sent = [f"nobody{n}@sink.test" for n in range(60)]
        with a.smtp("submission", user="alice") as client:
            for to in sent:
                client.sendmail("alice@a.test", [to], harness.message_of("hello", "test", "alice@a.test", to))
        eventually(lambda: len(a.queue()) == len(sent), 10)
        a.check("queue", "resume", "sink.test")
        for wait in (0, 0.02, 0.05, 0.1, 0.2, 0.3):
            time.sleep(wait)
            old = a.kill("smtp-in")
            eventually(lambda: a.pids().get("smtp-in", old) != old, 20, "smtp-in is back")
        a.empty(20)

        def told():
            return collections.Counter(re.search(rb"Final-Recipient: rfc822; (\S+)", m)[1].decode() for m in a.mailbox())
        eventually(lambda: set(told()) == set(sent), 30, "every refusal has its notice", step=0.2)
        time.sleep(1)
        equal(set(told().values()), {1}, "notices of each")


def test_words_stay_words():
    """Replies, ORCPT, ENVID, subject and sender want to end a line, a part or a notice."""
    forged = (b"550-5.1.1 \x1b[2J\x07 no\r\x00 such \xff\xfe user\r\n550-5.1.1 .\r\n550-5.1.1 --=_\r\n550-5.1.1 Final-Recipient: rfc822; forged@a.test\r\n"
              b"550-5.1.1 \r\n550 5.1.1 %s%n${run{touch /tmp/x}} <script>\r\n")
    with World("a.test", zones=SINK) as world, world.sink("s1", {"rcpt": forged}, extensions=("DSN", "ENHANCEDSTATUSCODES", "SMTPUTF8", "8BITMIME")) as other:
        a = world.houses[0]
        text = b"From: <alice@a.test>\r\nSubject: =?utf-8?q?x=0D=0ABcc:_forged@a.test?=\r\n\tFinal-Recipient: rfc822; forged@a.test\r\n\r\nhello\r\n"
        with a.smtp("submission", user="alice") as client:
            equal(client.docmd("MAIL", "FROM:<alice@a.test> ENVID=e+0D+0AAction:+20delivered")[0], 501, "line ends in ENVID")
            equal(client.docmd("MAIL", "FROM:<alice@a.test>")[0], 250)
            equal(client.docmd("RCPT", "TO:<x@sink.test> ORCPT=rfc822;x+0D+0AFinal-Recipient:+20rfc822;+20forged@a.test")[0], 501, "and in ORCPT")
        a.submit("x@sink.test", text, mail=["ENVID=e+2B--_x"], rcpt=["ORCPT=rfc822;--x+2B+22,+3C@sink.test"])
        mail, words, fields, people = wait_report(a)
        equal(len(people), 1, "recipients of the notice")
        equal(people[0]["Final-Recipient"], "rfc822; x@sink.test")
        equal((people[0]["Action"], people[0]["Original-Recipient"]), ("failed", 'rfc822; --x+",<@sink.test'))
        assert "Action" not in fields, fields
        equal([(name, len(mail.get_all(name, []))) for name in ("Subject", "From", "To", "Bcc", "Content-Type")],
              [("Subject", 1), ("From", 1), ("To", 1), ("Bcc", 0), ("Content-Type", 1)])
        equal(mail["To"], "<alice@a.test>")
        whole = a.mailbox()[0]
        status = whole[whole.index(b"message/delivery-status"):whole.rindex(b"message/rfc822")]
        for where, part in (("text", words.encode()), ("fields", status)):
            assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)", part), (where, part)
        assert not re.search(rb"(?m)^Final-Recipient: rfc822; forged", status), status
        for session in other.sessions:
            for line in session.lines:
                assert not re.search(r"[\x00-\x1f\x7f]", line.rstrip("\r\n")), f"a command of two lines: {line!r}"
        for line in a.log().splitlines():
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line), f"the log has {line!r}"
        shown = a.check("trace", fields["X-Posthouse-Trace"])
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", shown), shown


if __name__ == "__main__":
    harness.main()
