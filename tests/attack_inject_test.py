#!/usr/bin/env python3
"""Text of strangers stays text: in the log, traces, explanations, tables, the index, Received lines, and on a terminal that shows them."""
import base64
import glob
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time

import harness
from harness import Instance, equal, eventually, match

# what a terminal would obey or be misled by: colours, cursor, title, clipboard, links, bell, 8-bit controls, direction, broken UTF-8
TERMINAL = [b"\x1b[31m\x1b[2J", b"\x1b]0;title\x07", b"\x1b]52;c;aWQ=\x07", b"\x1b]8;;http://x\x1b\\x", b"\x07\x08\x7f\x0b\x0c", b"\x90q\x9c\x9b2J",
            "\u009b2J\u0085\u0090".encode(), "\u202eevil\u202c\u2066x\u2069\u200f".encode(), "\u2028\u2029\U000e0041".encode(),
            b"\xff\xfe\x80\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", b"a\tb\rc", b'" event=accepted level=error x="', b"\\x1b\\n\\\\"]
# what some mail system has taken for a command, a variable, a format, a path, an option or SQL
CODE = ["${run{/usr/bin/touch CANARY}}", "`touch${IFS}CANARY`", "$(touch${IFS}CANARY)", ";touch${IFS}CANARY;", "|/usr/bin/touch${IFS}CANARY",
        "%n%s%x%999999d", "%1$*1$d", "-oX/CANARY", "--config=CANARY", "../../../../CANARY", "/CANARY", ":include:/etc/passwd", "file:/etc/passwd",
        "${lookup{x}lsearch{/etc/passwd}}", "x'/**/UNION/**/SELECT/**/1,2,X'00'--", "x';DROP TABLE messages;--", '\\"x\\");DROP TABLE mailboxes;--',
        "a)(uid=*", "a%00", "a'||(SELECT 1)||'", "{{7*7}}", "<?php x?>", "${jndi:ldap://x/a}", "*", "?", "#", "!x", "root", "nobody"]
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def safe(what, data):
    """No byte of it does anything to a terminal."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise AssertionError(f"{what} is no UTF-8 at {e.start}: {data[max(0, e.start - 60):e.start + 20]!r}")
    found = UNSAFE.search(text)
    assert not found, f"{what} holds {text[found.start()]!r}: {text[max(0, found.start() - 80):found.end() + 20]!r}"


def say_all(house, service, lines, greeting=True):
    """Says hostile lines one by one; a session that was closed is begun again. Replies must be harmless lines too."""
    wire = None
    for line in lines:
        if wire is None:
            wire = house.lines(service)
            wire.line() if service.startswith("pop3") else wire.reply()
            if greeting and not service.startswith("pop3"):
                wire.expect("EHLO client.example", 250)
        wire.raw(line + b"\r\n")
        got = wire.line() if service.startswith("pop3") else wire.reply()
        assert got, f"{line!r} ended the session of {service} without a word"
        if got.startswith(("421", "521")):
            wire.close()
            wire = None
    if wire:
        wire.close()


def hostile_sessions(house):
    text = [t.replace(b"\r", b" ") for t in TERMINAL]
    plain = [base64.b64encode(b"\0" + t + b"\0secret") for t in text]
    say_all(house, "smtp", [b"EHLO " + t for t in text] + [b"HELO " + t for t in text], greeting=False)
    quoted = [b'"' + t.replace(b'"', b'\\"') + b'"' for t in text]
    mail = [b"MAIL FROM:<" + q + b"@a.example>" for q in quoted] + [b"MAIL FROM:<" + q + b"@a.example> SMTPUTF8" for q in quoted]
    mail += [b"MAIL FROM:<x@" + t + b".example> SMTPUTF8" for t in text] + [b"MAIL FROM:<x@a.example> X=" + t for t in text]
    say_all(house, "smtp", [line for m in mail for line in (m, b"RSET")])
    say_all(house, "smtp", [b"MAIL FROM:<x@a.example> SMTPUTF8"] + [b"RCPT TO:<" + q + b"@posthouse.test>" for q in quoted])
    say_all(house, "smtp", [b"MAIL FROM:<x@a.example>"] + [b"RCPT TO:<x@" + t + b">" for t in text] + [t for t in text] + [b"VRFY " + t for t in text])
    say_all(house, "submissions", [b"AUTH PLAIN " + p for p in plain] + [b"AUTH " + t for t in text])
    say_all(house, "pop3s", [b"AUTH PLAIN " + p for p in plain] + text)
    say_all(house, "pop3s", [line for t in text for line in (b"USER " + t, b"PASS " + t)])


def outputs(house):
    """(name, bytes) of everything that an operator may look at."""
    with open(house.log_path, "rb") as f:
        yield "the log", f.read()
    traces = glob.glob(os.path.join(house.data, "trace", "*.trace"))
    assert len(traces) >= 3, traces
    for path in traces:
        with open(path, "rb") as f:
            yield path, f.read()
    def command(*args):
        code, out, err = house.cli(*args, text=False)
        assert code in (0, 1), f"{args}: {code} {err!r}"
        if "--json" in args and out:
            json.loads(out)
        return " ".join(args), out + err
    yield command("status")
    yield command("status", "--json")
    yield command("metrics")
    sessions = sorted(set(re.findall(r"session=([0-9a-z]{26})", house.log(all_starts=True))))
    assert len(sessions) > 5, f"{len(sessions)} sessions in the log"
    for session in sessions[:12]:
        for name in ("trace", "explain"):
            yield command(name, session)
            yield command(name, session, "--json")
    yield command("trace", "alice@posthouse.test", "--last", "20")


def test_nothing_moves_the_terminal():
    limits = {"smtpd_hard_error_limit": "1000", "log_level": "debug"}
    message = b"".join(b"X-Hostile-%d: " % n + t.replace(b"\r", b" ") + b"\r\n" for n, t in enumerate(TERMINAL)) + b"Subject: " + TERMINAL[0] + b"\r\n\r\nx\r\n"
    with Instance(settings=limits) as house:
        hostile_sessions(house)
        house.send("alice", message)
        received = house.wait_for(1)[0]
        assert received.endswith(message), "the message was changed"
        safe("what was put before the message", received[:-len(message)].replace(b"\r\n", b"\n").replace(b"\t", b" "))
        seen = 0
        for what, data in outputs(house):
            safe(what, data)
            seen += len(data)
        assert b"\\x1b" in dict(outputs(house))["the log"], "the hostile text did not reach the log"
        print(f"    {seen >> 10} KiB looked at")


def rows(house):
    """{table: rows} of the index; of a copy, for the store holds it alone."""
    with tempfile.TemporaryDirectory() as folder:
        for path in glob.glob(os.path.join(house.data, "index.db*")):
            shutil.copy(path, folder)
        db = sqlite3.connect(os.path.join(folder, "index.db"))
        names = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'")]
        return {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def as_local(text):
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def code_corpus(canary):
    return [c.replace("CANARY", canary.lstrip("/") if "/CANARY" in c else canary) for c in CODE]


def try_code(house, corpus):
    """As name, sender, recipient, user. Nothing of it is accepted but the mail to alice."""
    accepted = 0
    for text in corpus:
        with house.lines() as wire:
            wire.reply()
            wire.say("EHLO " + text)
            wire.expect("EHLO client.example", 250)
            sender = f"{as_local(text)}@elsewhere.example"
            wire.expect(f"MAIL FROM:<{sender}>", 250)
            wire.expect(f"RCPT TO:<{as_local(text)}@posthouse.test>", ("550 5.1.1", "501 5.1.3"))
            wire.expect(f"RCPT TO:<{as_local('alice+' + text)}@posthouse.test>", (250, "550 5.1.1", "501"))
            wire.expect("RCPT TO:<alice@posthouse.test>", 250)
            wire.expect("DATA", 354)
            wire.expect(f"From: <{sender}>\r\nSubject: {text}\r\nX-File: {text}\r\nContent-Type: text/plain; name=\"{text}\"\r\n\r\n{text}\r\n.", 250)
            accepted += 1
        with house.lines("submissions") as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            wire.expect("AUTH PLAIN " + base64.b64encode(f"\0{text}\0{text}".encode()).decode(), 535)
    return accepted


def settled_rows(house):
    """The store commits what it has shown within 200 ms."""
    time.sleep(0.6)
    return rows(house)


def test_data_never_becomes_code():
    tables = {"senders": "friend@elsewhere.example OK\n", "helo": "friend.example OK\n"}
    rules = {"smtp": "smtpd_sender_restrictions check_sender_access file:senders\nsmtpd_helo_restrictions check_helo_access file:helo"}
    hostile_account = "x'/**/UNION/**/SELECT/**/1--@posthouse.test"
    with Instance(files=tables, listeners=rules, aliases="o'brien@posthouse.test: alice@posthouse.test", accounts=[hostile_account],
                  settings={"smtpd_hard_error_limit": "1000"}) as house:
        canary = os.path.join(house.parent, "canary")
        corpus = code_corpus(canary)
        house.send("alice")
        house.wait_for(1)
        before = settled_rows(house)
        accepted = try_code(house, corpus)
        house.send(hostile_account)
        house.send("o'brien@posthouse.test")
        box = house.wait_for(accepted + 2)
        equal(len(box), accepted + 2, "messages of alice")
        equal(len(house.wait_for(1, hostile_account)), 1, "messages of the account with SQL for a name")
        for text in corpus:
            house.cli("resolve", f"{as_local(text)}@posthouse.test")
            for command in ("trace", "explain"):
                code, _, err = house.cli(command, "--", f"{as_local(text)}@elsewhere.example")
                assert code in (0, 1, 64), f"{command} {text}: {code} {err}"
            assert sum(f"Subject: {text}\r\n".encode() in m for m in box) == 1, f"not in the mailbox as it was sent: {text}"
        after = settled_rows(house)
        equal(set(after), set(before), "tables of the index")
        for table in after:
            grown = after[table] - before[table]
            assert grown in (0, 1, accepted + 2), f"{table} has grown by {grown} rows"
        assert not re.search(r"(?i)syntax error|unrecognized token|no such (table|column)", house.log()), "SQL went wrong"
        assert not os.path.exists(canary) and not glob.glob(os.path.join(house.parent, "**", "canary*"), recursive=True), "something was executed"
        house.stop()
        house.check("store", "check")


def test_commands_in_aliases():
    """What only looks like a command is an address, of nobody. Commands and files are what the administrator writes, in the table of aliases
    itself, but not in a list that it includes."""
    for target in ("`id`", "-oX"):
        with Instance(start=False, aliases=f"evil@posthouse.test: {target}") as house:
            code, out, _ = house.cli("resolve", "evil@posthouse.test")
            equal(code, 1, "exit code of resolve")
            match(out, "leads nowhere")
    for target in ('"|/bin/sh -c id"', "/var/mail/x", "|x"):
        with Instance(start=False, aliases=f"evil@posthouse.test: {target}") as house:
            code, out, _ = house.cli("resolve", "evil@posthouse.test")
            equal(code, 0, "exit code of resolve")
            match(out, r"-> evil@posthouse\.test [|/]")
        with Instance(start=False, aliases="evil@posthouse.test: :include:list", files={"list": f"{target}\n"}) as house:
            code, out, err = house.cli("config", "check")
            assert code != 0 and "only addresses may stand in an included file" in out + err, (code, out, err)
    for target in ('"|/usr/bin/touch \'x"', ":include:/etc/passwd", "alice; id"):
        with Instance(start=False, aliases=f"evil@posthouse.test: {target}") as house:
            code, out, err = house.cli("config", "check")
            assert code != 0, f"an alias to {target} is accepted: {out}"
            safe("the complaint", (out + err).encode())


def proxy_answer(house, data):
    """What the server says to a PROXY header that may be cut short: "" if it only closes."""
    with house.lines() as wire:
        wire.raw(data)
        wire.sock.shutdown(1)
        return wire.reply()


def test_proxy_headers_of_every_short_length():
    """A header is whole, or the connection ends without a word: never an address made of what happened to lie in memory."""
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    addresses = {0x11: 12, 0x21: 36}
    with Instance(settings={"smtpd_upstream_proxy_hosts": "127.0.0.0/8", "trusted_clients": None}) as house:
        whole = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 25\r\n"
        for n in range(len(whole) + 1):
            got = proxy_answer(house, whole[:n])
            assert got.startswith("220 ") == (n == len(whole)) and (got == "" or n == len(whole)), f"{n} bytes of version 1: {got!r}"
        for family, need in addresses.items():
            full = signature + bytes([0x21, family, 0, need]) + bytes(range(192, 192 + need))
            for n in range(len(full) + 1):
                got = proxy_answer(house, full[:n])
                assert (got[:4] == "220 ") == (n == len(full)) and (got == "" or n == len(full)), f"{n} bytes of version 2: {got!r}"
            for declared in range(need):  # the frame says itself that it is too short
                got = proxy_answer(house, signature + bytes([0x21, family, 0, declared]) + b"\1" * declared)
                equal(got, "", f"answer to {declared} bytes of addresses, family {family:#x}")
        seen = set(re.findall(r"client=(\S+)", house.log()))
        assert seen <= {"192.0.2.7", "192.193.194.195", "c0c1:c2c3:c4c5:c6c7:c8c9:cacb:cccd:cecf", "127.0.0.1"}, f"clients {seen}"


if __name__ == "__main__":
    harness.main()
