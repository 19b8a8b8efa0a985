#!/usr/bin/env python3
"""Servers that misbehave in every way of RFC 5321 4.2 and 4.5: each message ends in the right state, nothing is sent twice but where the final
reply was never seen, the role goes on, and other mail does not wait. All of a group run at the same time, each at a site of its own."""
import contextlib
import re
import time

import harness
import sink
from harness import equal, eventually, match
from sink import DROP, RESET, first
from sites import FREE, World, report

LONG = b"250-" + b"x" * 70 + b"\r\n"
TLS = "tls"  # stands for files of a certificate


class Case:
    """A site that misbehaves. then: how it ends: "sent" or the status of the notice; seen: how often the whole message may come; text: a pattern that
    the notice has; rcpts: names of the recipients; offers: its keywords; check: called with the sink at the end."""

    def __init__(self, script, then="sent", seen=1, text=None, rcpts=("someone",), offers=sink.EXTENSIONS, tls=None, check=None):
        self.script, self.then, self.seen, self.text, self.rcpts = script, then, seen, text, rcpts
        self.offers, self.tls, self.check = offers, tls, check


def bad_once(stage, action, **more):
    return Case({stage: first(1, action)}, **more)


class Street:
    """One house, started once, and sites that are taken one after the other by the groups of cases."""
    world = used = None


@contextlib.contextmanager
def street():
    zone = "\n".join(f"{name} A {{{name}}}" for name in FREE)
    with World("a.test", zones={"hostile.test": zone}) as world:
        Street.world, Street.used = world, iter(FREE)
        yield


def run(cases, seconds=20):
    """Sends one message to each site, all at once, and looks at how each ended."""
    world = Street.world
    a = world.houses[0]
    pid, known = a.pids()["smtp-out"], len(a.mailbox())
    names = {case: next(Street.used) for case in cases}
    other = next(Street.used)
    with contextlib.ExitStack() as stack:
        sinks = {}
        for case, name in names.items():
            tls = world.certificate() if cases[case].tls else None
            sinks[case] = stack.enter_context(world.sink(name, cases[case].script, extensions=cases[case].offers, tls=tls))
        good = stack.enter_context(world.sink(other))
        with a.smtp("submission", user="alice") as client:
            for case, name in names.items():
                to = [f"{who}@{name}.hostile.test" for who in cases[case].rcpts]
                client.sendmail("alice@a.test", to, harness.message_of(f"for {case}", case, "alice@a.test", to[0]))
        a.submit(f"someone@{other}.hostile.test")
        eventually(good.taken, 2, "other mail is not delayed")
        end = time.monotonic() + seconds
        while a.queue() and time.monotonic() < end:
            time.sleep(0.1)
        left = a.queue()
        a.check("queue", "drop", "--domain", "hostile.test") if left else None
        notices = {}
        for notice in a.mailbox()[known:]:
            _, text, _, people = report(notice)
            for one in people:
                notices.setdefault(one["Final-Recipient"].split("@")[1].split(".")[0], []).append((one["Action"], one["Status"], text))
        wrong = []
        for case, name in names.items():
            try:
                judge(cases[case], sinks[case], notices.get(name, []), [q for q in left if f"@{name}." in q["recipient"]])
            except AssertionError as e:
                wrong.append(f"{case}: {e}")
        equal(a.pids()["smtp-out"], pid, "the process of smtp-out")
        assert not wrong, "\n    " + "\n    ".join(wrong)


def judge(case, server, notices, left):
    assert not left, f"still in the queue: {left}"
    assert not server.errors, server.errors
    said = [(action, status) for action, status, _ in notices]
    seen = {}
    for message in server.messages:
        for who in message.to:
            seen[who] = seen.get(who, 0) + 1
    taken = [who for m in server.taken() for who in m.to]
    if case.then == "sent":
        assert not notices, f"a notice came: {notices}"
        equal(sorted(w.split("@")[0] for w in set(taken)), sorted(case.rcpts), "recipients served")
    else:
        equal(said, [("failed", case.then)], "notices")
        if case.text:
            match(notices[0][2], case.text, "the notice")
    most = max(seen.values(), default=0)
    assert most <= case.seen, f"it was sent {most} times: {[(m.to, m.replied, m.connection) for m in server.messages]}"
    if case.seen < 2:
        equal(len(taken), len(set(taken)), "recipients served, at most once each")
    if case.check:
        case.check(server)


# one after the other, the stages of a session


def test_refusals():
    later, never = "450 4.3.0 not now", "550 5.7.0 never\n550 5.7.0 <and> more words\n550 5.7.0 end"
    cases = {f"{stage} 4xx": bad_once(stage, later, seen=2 if stage == "content" else 1) for stage in ("connect", "ehlo", "mail", "rcpt", "data", "content")}
    cases.update({f"{stage} 5xx": Case({stage: never}, "5.7.0", text=r"550-5\.7\.0 never\r?\n.*550-5\.7\.0 <and> more words\r?\n.*550 5\.7\.0 end")
                  for stage in ("mail", "rcpt", "data", "content")})
    cases.update({f"{stage} 421": bad_once(stage, ["421 4.3.2 closing", DROP], seen=2 if stage == "content" else 1)
                  for stage in ("connect", "ehlo", "mail", "rcpt", "data", "content")})
    cases.update({f"{stage} 421 and open": bad_once(stage, "421 4.3.2 closing", seen=2 if stage == "content" else 1)
                  for stage in ("connect", "ehlo", "mail", "rcpt", "data", "content")})
    cases["greeting 554"] = bad_once("connect", "554 5.3.2 no mail here")
    cases["helo only"] = Case({"ehlo": "502 5.5.1 what is that"})
    cases["helo only, after the end"] = Case({"ehlo": first(1, ["500 5.5.1 what is that", DROP])})
    cases["no reply to quit"] = Case({"quit": 30})
    cases["552 to mail"] = Case({"mail": "552 5.3.4 too big"}, "5.3.4", text="larger")
    cases["no status in the reply"] = Case({"rcpt": "550 who is that"}, "5.0.0", text="550 who is that")
    cases["another status than the code"] = Case({"rcpt": first(1, "450 5.1.1 who is that")})
    cases["251"] = Case({"rcpt": "251 2.1.5 will forward"})
    cases["252"] = Case({"rcpt": "250 2.1.5 whatever"}, offers=())
    run(cases)


def test_connections_that_end():
    cases = {}
    for how, action in (("drop", DROP), ("reset", RESET)):
        for stage in ("connect", "ehlo", "mail", "rcpt", "data", "content"):
            cases[f"{how} at {stage}"] = bad_once(stage, action, seen=2 if stage == "content" else 1)
    cases["drop in the final reply"] = bad_once("content", [b"250 2.0", DROP], seen=2)
    cases["drop after part of many lines"] = bad_once("content", [b"250-2.0.0 yes\r\n", DROP], seen=2)
    cases["drop after the final reply"] = Case({"content": ["250 2.0.0 taken", DROP]})
    cases["reset after the final reply"] = Case({"content": ["250 2.0.0 taken", RESET]})
    cases["drop at quit"] = Case({"quit": DROP})
    cases["reset behind 354"] = bad_once("data", ["354 go on", RESET])
    cases["refused, and it closes"] = Case({"rcpt": ["550 5.7.1 go away", DROP]}, "5.7.1")
    run(cases)


def test_slow_ones():
    drip = [part for byte in b"250 2.0.0 taken\r\n" for part in (bytes([byte]), 0.1)]
    cases = {"banner after 2 s": Case({"connect": [2.0, "220 at last"]}),
             "final reply drips": Case({"content": drip}),
             "greeting drips": Case({"connect": [part for byte in b"220 sink.test\r\n" for part in (bytes([byte]), 0.1)]}),
             "every reply after 0.5 s": Case({s: [0.5, r] for s, r in (("ehlo", "250 sink.test"), ("mail", "250 ok"), ("data", "354 go"))})}
    run(cases)


# what is no SMTP


def test_replies_that_are_none():
    bad = {"no code": b"hello there\r\n", "letters": b"2x0 ok\r\n", "two digits": b"25 ok\r\n", "binary": bytes(range(128, 256)) + b"\r\n",
           "empty line": b"\r\n", "code 999": b"999 what\r\n", "code 199": b"199 what\r\n", "http": b"HTTP/1.1 400 Bad Request\r\n\r\n"}
    cases = {f"{name} at {stage}": bad_once(stage, [action, DROP], seen=2 if stage == "content" else 1)
             for name, action in bad.items() for stage in ("connect", "rcpt", "content")}
    cases["codes that differ"] = bad_once("rcpt", [b"250-yes\r\n550 no\r\n", DROP], then="5.0.0")
    cases["354 at the end"] = bad_once("content", ["354 more", DROP], seen=2)
    cases["250 to DATA"] = bad_once("data", ["250 fine", DROP])
    cases["220 to MAIL"] = Case({"mail": first(1, ["354 go on", DROP])})
    run(cases)


def test_odd_replies():
    """Ugly, but they say what they say."""
    cases = {"nul": Case({"rcpt": b"250 2.1.5 o\0k\r\n", "content": b"250 2.0.0 \0\0\r\n"}),
             "bare CR": Case({"rcpt": b"250 2.1.5 a\rb\r\n"}),
             "bare LF": Case({"rcpt": b"250 2.1.5 ok\n", "content": b"250 2.0.0 ok\n"}),
             "code alone": Case({"mail": b"250\r\n", "rcpt": b"250\r\n", "data": b"354\r\n", "content": b"250\r\n"}),
             "many lines": Case({"content": b"250-a\r\n" * 50 + b"250 b\r\n", "connect": b"220-a\r\n" * 50 + b"220 b\r\n"}),
             "8-bit": Case({"rcpt": b"250 \xfc\xff\r\n"}),
             "a refusal with everything in it": Case({"rcpt": b"550-5.1.1 \0\x1b[31m\rred\r\n550 5.1.1 \xff\xfe end\r\n"}, "5.1.1",
                                                     text="550 5.1.1 .* end")}
    cases["nonsense in EHLO"] = Case({}, offers=("SIZE abc", "SIZE -1", "AUTH", "AUTH=", "X" * 400, "LIMITS RCPTMAX=0 MAILMAX=x =", "size", "DSN\0", "\x01\x02",
                                                 *[f"XX{i}" for i in range(300)]))
    run(cases)


def test_replies_without_end():
    """Whoever sends so much is not listened to; the final reply is then as good as lost."""
    cases = {}
    for stage in ("connect", "ehlo", "rcpt", "content"):
        seen = 2 if stage == "content" else 1
        cases[f"10,000 lines at {stage}"] = bad_once(stage, LONG * 10000 + b"250 end\r\n", seen=seen)
        cases[f"1 MB line at {stage}"] = bad_once(stage, b"250 " + b"x" * (1 << 20) + b"\r\n", seen=seen)
        cases[f"1 MB without an end at {stage}"] = bad_once(stage, [b"250 " + b"x" * (1 << 20), DROP], seen=seen)
    run(cases)


# lies


def test_replies_nobody_asked_for():
    """Replies in advance must not be taken for those to the content: who was told "sent" must have been taken."""
    flood = b"250 2.0.0 ok\r\n"
    cases = {"20 with the greeting": bad_once("connect", b"220 hello\r\n" + flood * 20),
             "20 with EHLO": bad_once("ehlo", b"250 sink.test\r\n" + flood * 20),
             "1 more with MAIL": bad_once("mail", flood * 2),
             "354 with RCPT": bad_once("rcpt", b"250 ok\r\n354 go on\r\n"),
             "250 with 354": bad_once("data", b"354 go on\r\n250 2.0.0 taken\r\n"),
             "250 with 354, and it ends": bad_once("data", [b"354 go on\r\n250 2.0.0 taken\r\n", DROP]),
             "3 more at the end": Case({"content": flood * 4}),
             "421 while idle": Case({"content": ["250 2.0.0 taken", 0.2, "421 4.4.2 idle", DROP]})}
    for case in cases.values():
        case.seen = 2
    run(cases)


def by_data(server):
    """What BDAT could not bring went by DATA, once."""
    equal([m.bdat for m in server.taken()], [False], "messages taken, and whether by BDAT")


def test_lies_in_ehlo():
    cases = {"pipelining, and it ends": Case({"mail": lambda s, _: DROP if s.rest and s.number < 2 else None}),
             "chunking, unknown": Case({"bdat": "502 5.5.1 what", "content": lambda s, _: "502 5.5.1 what" if s.sink.messages[-1].bdat else None},
                                       offers=("CHUNKING", "PIPELINING"), seen=2, check=by_data),
             "8BITMIME, unknown": Case({"mail": lambda _, line: "555 5.5.4 BODY" if "BODY=" in line else None}, then="5.5.4"),
             "SIZE, unknown": Case({"mail": lambda _, line: "555 5.5.4 SIZE" if "SIZE=" in line else None}, then="5.5.4"),
             "SIZE 10": Case({}, "5.3.4", offers=("SIZE 10",), seen=0),
             "SIZE 0": Case({}, offers=("SIZE 0",)),
             "552 in spite of SIZE": Case({"data": "552 5.3.4 too large after all"}, "5.3.4"),
             "354 though nobody is accepted": Case({"rcpt": "550 5.1.1 no", "data": "354 go on"}, "5.1.1", seen=0,
                                                   check=lambda s: equal([m.data for m in s.messages if m.data], [], "content for nobody"))}
    run(cases)


def test_starttls():
    cases = {"454": bad_once("starttls", "454 4.7.0 not now", tls=TLS),
             "502": Case({"starttls": "502 5.5.1 no"}, tls=TLS),
             "421": bad_once("starttls", ["421 4.3.2 closing", DROP], tls=TLS),
             "closes": bad_once("starttls", DROP, tls=TLS),
             "garbage": bad_once("starttls", [b"220 go ahead\r\n", 0.1, b"GARBAGE" * 100, DROP], tls=TLS),
             "bytes behind 220": bad_once("starttls", [b"220 go ahead\r\n250 injected\r\n", 0.3, DROP], tls=TLS,
                                          check=lambda s: equal([m.tls for m in s.taken() if b"injected" in m.data], [])),
             "closes in the handshake": bad_once("starttls", [b"220 go ahead\r\n", DROP], tls=TLS),
             "resets in the handshake": bad_once("starttls", [b"220 go ahead\r\n", 0.1, RESET], tls=TLS),
             "an alert": bad_once("starttls", [b"220 go ahead\r\n", 0.1, b"\x15\x03\x03\x00\x02\x02\x28", DROP], tls=TLS),
             "a plain one": Case({}, tls=TLS, check=lambda s: equal([m.tls for m in s.messages], [True]))}
    run(cases)


# many recipients


def test_mix_of_recipients():
    ways = {"yes": None, "later": "450 4.2.1 not now", "never": "550 5.1.1 no", "yes2": None}
    seen = {}

    def mix(session, line):
        who = re.search(r"<(\w+)@", line)[1]
        seen[who] = seen.get(who, 0) + 1
        return ways[who] if who != "later" or seen[who] == 1 else None

    def two(session, line):
        return "452 4.5.3 too many" if len(session.message.rcpts) >= 2 else None
    everybody = [f"p{i}" for i in range(7)]
    with_limits = ("PIPELINING", "LIMITS RCPTMAX=2")
    cases = {"two at a time": Case({"rcpt": two}, rcpts=everybody),
             "two at a time, 552": Case({"rcpt": lambda s, _: "552 too many recipients" if len(s.message.rcpts) >= 2 else None}, rcpts=everybody),
             "LIMITS": Case({"rcpt": two}, rcpts=everybody, offers=with_limits,
                            check=lambda s: equal(sum("452" in line for c in s.sessions for line in c.lines), 0)),
             "a mix": Case({"rcpt": mix}, "5.1.1", rcpts=list(ways),
                           check=lambda s: equal(sorted(w.split("@")[0] for m in s.taken() for w in m.to), ["later", "yes", "yes2"]))}
    run(cases)


if __name__ == "__main__":
    with street():
        harness.main()
