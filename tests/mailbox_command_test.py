#!/usr/bin/env python3
"""`posthouse mailbox`: lists, checks, import and export of mbox files and Maildirs, interruptions; compared through IMAP."""
import glob
import json
import mailbox
import os
import re
import stat
import subprocess
import time

import harness
import imapc
from harness import Instance, equal, eventually, match

ALICE = "alice@posthouse.test"
FLAGS = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "D": "\\Deleted", "T": "\\Draft"}


def imap(house, user="alice"):
    client = imapc.Imap(house.port("imaps"), tls=house.tls())
    client.login(f"{user}@posthouse.test", house.passwords[user])
    return client


def seen_by_imap(house, name, user="alice"):
    """[(content, sorted flags, seconds since 1970)] of a mailbox."""
    out = []
    with imap(house, user) as client:
        client.ok(f"EXAMINE {name}")
        for _, items in client.ok("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])").fetched():
            date = time.strptime(items["INTERNALDATE"].strip(), "%d-%b-%Y %H:%M:%S %z")
            flags = sorted(f for f in items["FLAGS"] if f != "\\Recent")
            out.append((items["BODY[]"].encode("latin-1"), flags, int(time.mktime(date) - time.timezone - date.tm_gmtoff)))
    return out


def letter(n, size=0):
    body = f"line {n}\nFrom the start\n>From quoted once\n\nFrom here Tue Nov 24 07:55:03 2026\nend {n}\n" + "x" * 70 * (size > 0)
    return f"From: a{n}@far.example\nTo: {ALICE}\nSubject: letter {n}\nMessage-ID: <{n}@far.example>\n\n{body}\n" + ("y" * 76 + "\n") * (size // 77)


def quoted(text):
    return re.sub(r"(?m)^(>*From )", r">\1", text)


def mbox_of(count, size=0):
    """An mboxrd file; message n has flags by its number."""
    return "".join(f"From a{n}@far.example {time.asctime(time.gmtime(1000000000 + n))}\n"
                   f"Status: {'RO' if n % 2 else 'O'}\nX-Status: {'AF' if n % 3 == 0 else ''}\nX-Keywords: {'$Work blue' if n % 5 == 0 else ''}\n"
                   f"{quoted(letter(n, size))}\n" for n in range(count))


def wanted_of(count, size=0):
    out = []
    for n in range(count):
        flags = (["\\Seen"] if n % 2 else []) + (["\\Answered", "\\Flagged"] if n % 3 == 0 else []) + (["$Work", "blue"] if n % 5 == 0 else [])
        out.append((letter(n, size).replace("\n", "\r\n").encode(), sorted(flags), 1000000000 + n))
    return out


def write(house, name, text):
    path = os.path.join(house.parent, name)
    with open(path, "w", newline="") as f:
        f.write(text)
    return path


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_list_and_status():
    with Instance() as house:
        equal(house.check("mailbox", "list", "Alice@Posthouse.Test"), "No mailboxes: nothing has come in yet, and nobody has logged in.\n")
        house.send(ALICE)
        house.wait_for(1)
        with imap(house) as client:
            client.append("Sent", "Subject: s\r\n\r\nx\r\n", flags="\\Seen")
        rows = {row["name"]: row for row in lines(house.check("mailbox", "list", ALICE, "--json"))}
        equal((rows["INBOX"]["messages"], rows["INBOX"]["unseen"], rows["Sent"]["messages"], rows["Sent"]["unseen"]), (1, 1, 1, 0))
        match(house.check("mailbox", "list", ALICE), r"(?m)^ +1 +0 +\d+ +\d+ +2  \* Sent  \\Sent$")
        status = lines(house.check("mailbox", "status", ALICE, "inbox", "--json"))[0]
        equal((status["account"], status["messages"], status["used_messages"], status["quota_bytes"]), (ALICE, 1, 2, 0))
        match(house.check("mailbox", "status", ALICE, "INBOX"), r"quota_bytes     none\n")
        for words, code, text in ((("list", "nobody@posthouse.test"), 65, "no account nobody"), (("status", ALICE, "Nowhere"), 65, "no mailbox Nowhere"),
                                  (("list",), 64, "takes an account"), ((), 64, "wants a word"), (("dance",), 64, "no word of it"),
                                  (("export", ALICE, "INBOX"), 64, "--mbox"), (("create", ALICE, "a//b"), 64, "cannot be called"),
                                  (("export", ALICE, "Nowhere", "--mbox", house.parent + "/never"), 65, "no mailbox Nowhere")):
            got, out, error = house.cli("mailbox", *words)
            equal((got, out), (code, ""), f"{words}: {error}")
            match(error, text)
        assert not os.path.exists(house.parent + "/never")


def test_create_rename_delete():
    with Instance() as house:
        house.check("mailbox", "create", ALICE, "Work/2026")
        house.check("mailbox", "rename", ALICE, "Work/2026", "Old/2026")
        names = [row["name"] for row in lines(house.check("mailbox", "list", ALICE, "--json"))]
        equal(names, ["Old", "Old/2026", "Work"])
        equal(house.cli("mailbox", "create", ALICE, "Old")[0], 65)
        house.check("mailbox", "delete", ALICE, "Old/2026")
        equal(house.cli("mailbox", "delete", ALICE, "Old/2026")[0], 65)
        with imap(house) as client:  # and somebody who is logged in sees it
            client.ok("SELECT Work")
            house.check("mailbox", "create", ALICE, "Later")
            assert client.ok('LIST "" Later').of("LIST")


def test_many_mailboxes():
    with Instance() as house:
        with imap(house) as client:
            for n in range(700):
                client.ok(f"CREATE {'m' * 60}{n}")
        rows = lines(house.check("mailbox", "list", ALICE, "--json"))
        assert len({row["name"] for row in rows}) == len(rows) >= 700


def test_mbox_there_and_back():
    with Instance() as house:
        path, back = write(house, "in", mbox_of(2000)), os.path.join(house.parent, "out")
        equal(house.check("mailbox", "import", ALICE, "Old", "--mbox", path), "2000 messages imported, 0 were there already, 0 were left out.\n")
        equal(seen_by_imap(house, "Old"), wanted_of(2000))
        equal(house.check("mailbox", "import", ALICE, "Old", "--mbox", path), "0 messages imported, 2000 were there already, 0 were left out.\n")
        equal(house.check("mailbox", "check", ALICE, "Old"), "2000 messages, 0 findings.\n")
        equal(house.check("mailbox", "export", ALICE, "Old", "--mbox", back), f"2000 messages written to {back}.\n")
        equal(stat.S_IMODE(os.stat(back).st_mode), 0o600)
        got, _, error = house.cli("mailbox", "export", ALICE, "Old", "--mbox", back)
        equal(got, 73)
        match(error, "not overwritten")
        box = mailbox.mbox(back)
        equal(len(box), 2000)
        for n, message in enumerate(box):
            equal(message["Subject"], f"letter {n}")
            equal(set(message.get_flags()), set(("RO" if n % 2 else "O") + ("AF" if n % 3 == 0 else "")))
        with open(path, "rb") as a, open(back, "rb") as b:
            bare = [re.sub(rb"(?m)^(From \S+@far.example .*|From MAILER-DAEMON .*|Status:.*|X-Status:.*|X-Keywords:.*)\n", b"", f.read()) for f in (a, b)]
        equal(bare[0] == bare[1], True, "octets of the mbox and of its export")
        equal(house.check("mailbox", "import", ALICE, "Again", "--mbox", back), "2000 messages imported, 0 were there already, 0 were left out.\n")
        equal(seen_by_imap(house, "Again"), wanted_of(2000))
        house.restart()
        equal(seen_by_imap(house, "Old"), wanted_of(2000))


def test_maildir_there_and_back():
    with Instance() as house:
        path = write(house, "in", mbox_of(60, 300))
        house.check("mailbox", "import", ALICE, "Old", "--mbox", path)
        out = os.path.join(house.parent, "Maildir")
        house.check("mailbox", "export", ALICE, "Old", "--maildir", out)
        box = mailbox.Maildir(out, create=False)
        equal(len(box), 60)
        subjects = {m["Subject"]: (set(m.get_flags()) & set("SRF"), m.get_date()) for m in box}
        equal(subjects["letter 3"], (set("SRF"), 1000000003.0))
        equal(subjects["letter 2"], (set(), 1000000002.0))
        with open(glob.glob(out + "/cur/1000000003.*")[0], "rb") as f:
            equal(f.read(), letter(3, 300).encode())
        equal(house.check("mailbox", "import", "bob@posthouse.test", "Old", "--maildir", out), "60 messages imported, 0 were there already, 0 were left out.\n")
        equal(seen_by_imap(house, "Old", "bob"), wanted_of(60, 300))
        with open(out + "/new/2000000000.x,S=1", "w") as f:
            f.write("Subject: new\n\nnew")
        equal(house.check("mailbox", "import", "bob@posthouse.test", "Old", "--maildir", out), "1 messages imported, 60 were there already, 0 were left out.\n")
        equal(seen_by_imap(house, "Old", "bob")[-1][:2], (b"Subject: new\r\n\r\nnew", []))
        equal(house.cli("mailbox", "export", ALICE, "Old", "--maildir", out)[0], 73)
        os.symlink("/etc/passwd", out + "/new/2000000001.link")
        got, text, error = house.cli("mailbox", "import", "bob@posthouse.test", "Old", "--maildir", out)
        equal((got, text), (1, "0 messages imported, 61 were there already, 1 were left out.\n"))
        match(error, "2000000001.link was left out")
        equal(house.cli("mailbox", "import", ALICE, "Old", "--maildir", house.parent)[0], 65)


def test_same_messages_twice():
    with Instance() as house:
        one = "From a@b Tue Nov 24 07:55:03 2026\nSubject: same\n\nbody\n\n"
        path = write(house, "in", one * 3)
        equal(house.check("mailbox", "import", ALICE, "Old", "--mbox", path), "3 messages imported, 0 were there already, 0 were left out.\n")
        path = write(house, "in", one * 5)
        equal(house.check("mailbox", "import", ALICE, "Old", "--mbox", path), "2 messages imported, 3 were there already, 0 were left out.\n")


def test_delivered_mail_and_back():
    """What came by mail has its Return-Path before it; export and import keep that, and it counts as there."""
    with Instance() as house:
        house.send(ALICE, text="hello\r\nFrom me\r\n", sender="eve@far.example")
        before = house.wait_for(1)
        path = os.path.join(house.parent, "out")
        house.check("mailbox", "export", ALICE, "INBOX", "--mbox", path)
        with open(path) as f:
            match(f.read(), r"\AFrom eve@far.example \w{3} .*\nX-Keywords: \nStatus: O\nX-Status: \nReturn-Path: <eve@far.example>\n")
        equal(house.check("mailbox", "import", ALICE, "INBOX", "--mbox", path), "0 messages imported, 1 were there already, 0 were left out.\n")
        house.check("mailbox", "import", "bob@posthouse.test", "inbox", "--mbox", path)
        equal(house.mailbox("bob"), before)


def test_variants_of_mbox():
    with Instance() as house:
        body = "\nFrom x Tue Nov 24 07:55:03 2026\n>From y\n"
        path = write(house, "cl2", f"From a@b Tue Nov 24 07:55:03 2026\nSubject: s\nContent-Length: {len(body)}\n\n{body}\nFrom b@c Tue Nov 24 07:55:03 2026\n\nz\n")
        house.check("mailbox", "import", ALICE, "Two", "--mbox", path, "--content-length")
        equal([m[0] for m in seen_by_imap(house, "Two")], [b"Subject: s\r\n\r\n" + body.replace("\n", "\r\n").encode(), b"\r\nz\r\n"])
        house.check("mailbox", "import", ALICE, "Three", "--mbox", path)
        equal(len(seen_by_imap(house, "Three")), 3)
        got, out, error = house.cli("mailbox", "import", ALICE, "Four", "--mbox", write(house, "no", "Subject: x\n\ny\n"))
        equal(got, 65)
        match(error, "is no mbox")


def test_large_message_and_no_cards():
    with Instance(settings={"message_size_limit": "100M"}) as house:
        text = "From a@b Tue Nov 24 07:55:03 2026\nSubject: large\n\n" + ("z" * 75 + "\n") * 1300000
        path = write(house, "in", text)
        house.check("mailbox", "import", ALICE, "Old", "--mbox", path, "--no-cards")
        equal(lines(house.check("mailbox", "status", ALICE, "Old", "--json"))[0]["bytes"], len("Subject: large\r\n\r\n") + 77 * 1300000)
        equal(house.check("mailbox", "check", ALICE), "1 messages, 0 findings.\n")
        eventually(lambda: re.search(r'"cards_made": "?1\b', json.dumps(house.status())), 20, "the card is made later")


def begin_import(house, path):
    return subprocess.Popen([harness.BINARY, "mailbox", "import", ALICE, "Old", "--mbox", path, "-c", house.conf], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, preexec_fn=harness.die_with_parent)


def test_killed_in_the_middle():
    count, size = 3000, 20000
    with Instance() as house:
        path = write(house, "in", mbox_of(count, size))
        for delay in (0.05, 0.15, 0.3, 0.45):
            process = begin_import(house, path)
            time.sleep(delay)
            process.kill()
            process.communicate()
        house.restart()
        out = house.check("mailbox", "import", ALICE, "Old", "--mbox", path)
        found = re.match(r"(\d+) messages imported, (\d+) were there already, 0 were left out", out)
        equal(int(found[1]) + int(found[2]), count)
        status = lines(house.check("mailbox", "status", ALICE, "Old", "--json"))[0]
        equal(status["messages"], count)
        equal(sorted(seen_by_imap(house, "Old")), sorted(wanted_of(count, size)))
        equal(house.check("mailbox", "check", ALICE, "Old"), f"{count} messages, 0 findings.\n")
        house.stop()
        match(house.check("store", "check"), r"(?m)^0 findings\.$")


def test_store_killed_in_the_middle():
    count, size = 3000, 20000
    with Instance() as house:
        path = write(house, "in", mbox_of(count, size))
        process = begin_import(house, path)
        time.sleep(0.4)
        house.kill("store")
        _, error = process.communicate(timeout=60)
        if process.returncode:
            match(error.decode(), "run the command again")
        eventually(lambda: house.cli("mailbox", "list", ALICE)[0] == 0, 10, "the store is back")
        house.check("mailbox", "import", ALICE, "Old", "--mbox", path)
        equal(lines(house.check("mailbox", "status", ALICE, "Old", "--json"))[0]["messages"], count)
        equal(house.check("mailbox", "check", ALICE, "Old"), f"{count} messages, 0 findings.\n")


def test_one_at_a_time():
    with Instance() as house:
        process = begin_import(house, write(house, "in", mbox_of(3000, 20000)))
        other = write(house, "b", mbox_of(1))
        refused = eventually(lambda: [x for x in [house.cli("mailbox", "import", ALICE, "B", "--mbox", other)] if x[0] == 75], 5, "the second is refused")
        error = refused[0][2]
        match(error, "another import is under way")
        process.communicate(timeout=60)
        equal(process.returncode, 0)


def test_damage_is_found():
    with Instance() as house:
        house.check("mailbox", "import", ALICE, "Old", "--mbox", write(house, "in", mbox_of(5)))
        segment = sorted(glob.glob(house.data + "/log/import/*.log"))[0]
        with open(segment, "rb") as f:
            data = f.read()
        with open(segment, "r+b") as f:
            f.seek(data.index(b"line 3"))
            f.write(b"lime 3")
        code, out, _ = house.cli("mailbox", "check", ALICE)
        equal(code, 1)
        match(out, r"(?m)^Old UID 4: its content is not what was written \(log import segment \d+ offset \d+\)\n5 messages, 1 findings\.\n\Z")


def test_compaction_and_backup():
    """Logs of imports are compacted and backed up like others."""
    with Instance(settings={"expunged_retention": "0"}) as house:
        house.check("mailbox", "import", ALICE, "Old", "--mbox", write(house, "in", mbox_of(300, 2000)))
        with imap(house) as client:
            client.ok("SELECT Old")
            client.ok("STORE 1:200 +FLAGS.SILENT (\\Deleted)")
            client.ok("EXPUNGE")
        house.check("mailbox", "import", ALICE, "New", "--mbox", write(house, "b", mbox_of(1)))
        house.check("store", "compact", "--now")
        equal(seen_by_imap(house, "Old"), wanted_of(300, 2000)[200:])
        equal(house.check("mailbox", "check", ALICE), "101 messages, 0 findings.\n")
        out = os.path.join(house.parent, "out")
        house.check("mailbox", "export", ALICE, "Old", "--mbox", out)
        equal(len(mailbox.mbox(out)), 100)
        house.check("mailbox", "import", ALICE, "New", "--mbox", write(house, "c", mbox_of(3)))
        equal(len(seen_by_imap(house, "New")), 3)
        house.check("backup", house.parent + "/backup")


def test_server_is_needed():
    with Instance(start=False) as house:
        got, _, error = house.cli("mailbox", "list", ALICE)
        equal(got, 69)
        match(error, "no such|no server runs|cannot be opened")


def test_mutt_reads_it():
    harness.need("mutt", "script")
    with Instance() as house:
        house.check("mailbox", "import", ALICE, "Old", "--mbox", write(house, "in", mbox_of(7)))
        for kind in ("mbox", "maildir"):
            out, log, rc = (os.path.join(house.parent, name) for name in (kind, "found." + kind, "muttrc"))
            house.check("mailbox", "export", ALICE, "Old", f"--{kind}", out)
            words = "".join(f"<jump>{n}<enter><pipe-message>grep Subject: >>{log}<enter>" for n in range(1, 8))
            write(house, "muttrc", f"set pipe_decode=no wait_key=no quit=yes\npush '{words}<quit>'\n")
            subprocess.run(["script", "-qec", f"stty rows 40 cols 100; mutt -n -F {rc} -R -f {out}", "/dev/null"], stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=20, env={"TERM": "xterm", "PATH": os.environ["PATH"], "HOME": house.parent})
            with open(log) as f:
                equal(sorted(f.read().splitlines()), [f"Subject: letter {n}" for n in range(7)])


if __name__ == "__main__":
    harness.main()
