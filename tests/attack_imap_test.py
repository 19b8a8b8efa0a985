#!/usr/bin/env python3
"""What a client of IMAP can make the server hold, compute or block, logged in or not: the memory of role access stays small, other sessions
are answered at once, and nothing ends a role. Times are those of another session that asks NOOP meanwhile."""
import base64
import contextlib
import os
import random
import signal
import socket
import threading
import time
import zlib

import harness
import imapc
from harness import Instance, eventually, equal

MIB = 1 << 20
PATIENT = {"smtpd_hard_error_limit": "100000", "smtpd_client_connection_count_limit": "1000"}
AT_ONCE_S, TRIES = 0.05, 3  # a busy machine is given another try
SMALL = b"From: a@b.example\r\nSubject: hello\r\n\r\nhi\r\n"


def client(house, user="alice", timeout=30):
    c = imapc.Imap(house.port("imaps"), tls=house.tls(), timeout=timeout)
    c.login(house.address(user), house.passwords[user])
    return c


def fill(c, count, message=SMALL, mailbox="INBOX"):
    """So many copies of a message; the mailbox is selected."""
    c.append(mailbox, message)
    c.ok(f"SELECT {mailbox}")
    have = 1
    while have < count:
        c.ok(f"COPY 1:{min(have, count - have)} {mailbox}")
        have *= 2
    equal(c.ok(f"SELECT {mailbox}").numbered("EXISTS")[-1][0], count, "messages")


def memory(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field + ":"))


@contextlib.contextmanager
def bounded(pid, limit, what):
    """The peak of a role's memory does not grow by more than that meanwhile."""
    with open(f"/proc/{pid}/clear_refs", "w") as f:
        f.write("5")
    before = memory(pid)
    yield
    grown = memory(pid, "VmHWM") - before
    assert grown < limit, f"{what}: {grown / MIB:.1f} MiB more"


class Other:
    """Another user's session, which asks NOOP again and again; .worst is the longest answer in seconds."""

    def __init__(self, house):
        self.client, self.worst, self.on = client(house, "bob"), 0, True
        self.thread = threading.Thread(target=self.ask)

    def ask(self):
        while self.on:
            begun = time.monotonic()
            self.client.ok("NOOP")
            self.worst = max(self.worst, time.monotonic() - begun)
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        self.thread.join()
        self.client.close()


def not_starved(house, what, attack):
    worst = []
    while len(worst) < TRIES:
        with Other(house) as other:
            time.sleep(0.02)
            attack()
        worst.append(other.worst)
        if other.worst < AT_ONCE_S:
            break
    print(f"    {what}: another session waited {min(worst) * 1000:.0f} ms", flush=True)
    assert min(worst) < AT_ONCE_S, f"{what}: another session waited {[f'{w * 1000:.0f} ms' for w in worst]}"


def big_message(size):
    text = base64.encodebytes(random.Random(1).randbytes(size)).replace(b"\n", b"\r\n")
    return (b"Subject: big\r\nX-Long: " + b"word " * 20000 + b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + text)


def test_costly_commands():
    """One command that is dear: thousands of keys, items or patterns, each of which reads much."""
    with Instance(settings=PATIENT) as house, client(house) as c:
        pid = house.pids()["access"]
        fill(c, 4, big_message(6 * MIB))
        for i in range(40):
            c.ok(f"CREATE {'a' * 200}{i}")
        c.ok("SEARCH RETURN (SAVE) ALL")
        with bounded(pid, 24 * MIB, "costly commands"):
            for what, command in (
                    ("sizes of decoded parts", f"FETCH 1:4 ({' '.join(['BINARY.SIZE[1]'] * 4)})"),
                    ("small pieces of decoded parts", f"FETCH 1 ({' '.join(['BINARY.PEEK[1]<6000000.1>'] * 16)})"),
                    ("a thousand sections", f"FETCH 1 ({' '.join(f'BODY.PEEK[HEADER.FIELDS (X-{i})]' for i in range(1000))})"),
                    ("keys that memory answers", f"SEARCH {' '.join(['NOT KEYWORD x'] * 4500)}"),
                    ("keys that read the header", f"SEARCH {' '.join(['NOT HEADER X-Long q'] * 300)}"),
                    ("keys that read the content", f"SEARCH 1 {' '.join(['NOT BODY zq'] * 5)}"),
                    ("thousands of keys for content", f"SEARCH {' '.join(['BODY zq'] * 5000)}"),
                    ("patterns of LIST", f'LIST "" ({" ".join(["*z*a"] * 5000)})'),
                    ("a pattern with many stars", f'LIST "" "{"*a" * 190}*z"')):
                not_starved(house, what, lambda command=command: c.ok(command))
        equal(house.pids()["access"], pid, "role access")


def test_many_commands_at_once():
    with Instance(settings=PATIENT) as house, client(house) as c:
        fill(c, 20000)

        def pipelined():
            c.send(b"".join(b"p%d SEARCH SUBJECT zz\r\n" % i for i in range(100)))
            while not c.raw().startswith(b"p99 "):
                pass
        not_starved(house, "a hundred searches in a packet", pipelined)
        not_starved(house, "SORT", lambda: c.ok("SORT (SUBJECT FROM DATE) UTF-8 ALL"))
        not_starved(house, "THREAD", lambda: c.ok("THREAD REFERENCES UTF-8 ALL"))
        not_starved(house, "all flags", lambda: c.ok("STORE 1:* +FLAGS (\\Seen)"))
        c.ok("SEARCH RETURN (SAVE) ALL")
        with bounded(house.pids()["access"], 16 * MIB, "the saved result five thousand times"):
            c.ok(f"SEARCH {'$ ' * 5000}SUBJECT zz")
        with bounded(house.pids()["access"], 16 * MIB, "thousands of commands"):
            c.send(b"".join(b"n%d NOOP\r\n" % i for i in range(20000)))
            while not c.raw().startswith(b"n19999 "):
                pass
        equal(len(c.ok("SEARCH ALL").of("SEARCH")[0]), 20000, "messages")


def test_news_for_the_deaf():
    """Sessions in IDLE that read nothing, while each change of flags makes lines of 16 KiB."""
    with Instance(settings=PATIENT) as house, client(house) as c, contextlib.ExitStack() as stack:
        pid = house.pids()["access"]
        fill(c, 4000)
        deaf = [stack.enter_context(client(house)) for _ in range(6)]
        for d in deaf:
            d.ok("SELECT INBOX")
            d.send("i IDLE\r\n")
            equal(d.response()[0], "+")
        words = " ".join(f"k{i:02}{'x' * 240}" for i in range(64))
        with bounded(pid, 48 * MIB, "news that nobody reads"), Other(house) as other:
            c.ok(f"STORE 1:* +FLAGS.SILENT ({words})")
            for i in range(6):
                c.ok(f"STORE 1:* {'+-'[i % 2]}FLAGS.SILENT (\\Seen)")
        assert other.worst < 0.5, f"another session waited {other.worst:.2f} s"
        seen = {}
        deaf[0].send("DONE\r\n")
        while not (line := deaf[0].raw()).startswith(b"i OK"):
            if b" FETCH (FLAGS (" in line:
                seen[line.split()[1]] = b"\\Seen" in line
        equal((len(seen), any(seen.values())), (4000, False), "flags in the end")


def test_compressed_bomb():
    with Instance(settings=PATIENT) as house, client(house) as c:
        pid = house.pids()["access"]
        c.ok("COMPRESS DEFLATE")
        z = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = z.compress(b"b NOOP " + b"x" * (100 * MIB) + b"\r\n") + z.flush(zlib.Z_SYNC_FLUSH)

        def send():
            with client(house) as d:
                d.ok("COMPRESS DEFLATE")
                d.send(bomb)
                inflate = zlib.decompressobj(-15)
                got = b""
                while b"\r\n" not in got:
                    got += inflate.decompress(d.socket.recv(65536))
                assert got.startswith(b"b BAD"), got
        with bounded(pid, 16 * MIB, "a bomb"):
            not_starved(house, f"100 MiB in {len(bomb) >> 10} KiB", send)


def test_held_for_ever():
    """Literals that never come, answers that are never read: small for each connection."""
    with Instance(settings=PATIENT) as house, client(house) as c, contextlib.ExitStack() as stack:
        pid = house.pids()["access"]
        fill(c, 5000)
        whole = " ".join(["ENVELOPE BODYSTRUCTURE"] * 20)
        for what, data in (("an announced literal", b"x SEARCH TEXT {200000}\r\n"),
                           ("a message that does not come", b"x APPEND INBOX {40000000}\r\n"),
                           ("half a command", b"x SEARCH " + b"ALL " * 15000),
                           ("answers", b"x FETCH 1:* (%s)\r\n" % whole.encode()),
                           ("results", b"x SEARCH ALL\r\n" * 4000),
                           ("mailboxes", b'x LIST "" *\r\n' * 4000)):
            clients = [stack.enter_context(client(house)) for _ in range(12)]
            for d in clients:
                d.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                d.ok("EXAMINE INBOX")
            with bounded(pid, 12 * MIB, f"{what}, twelve times"):
                for d in clients:
                    d.socket.settimeout(0.1)
                    with contextlib.suppress(OSError):
                        d.send(data)
                time.sleep(0.1)
                c.ok("NOOP")
            for d in clients:
                d.close()


def test_append_without_end():
    """A thousand messages in one APPEND, and the connection goes before the end: none of them is there."""
    with Instance(settings=PATIENT) as house, client(house) as c:
        pid = house.pids()["access"]
        first = b"INBOX {%d+}\r\n" % len(SMALL) + SMALL
        more = b" {%d+}\r\n" % len(SMALL) + SMALL
        with bounded(pid, 16 * MIB, "APPEND"):
            for count in (400, 999):
                d = client(house)
                d.send(b"x APPEND " + first + more * count)
                d.close()
            d = client(house)
            d.send(b"x APPEND " + first + more * 1000 + b"\r\n")
            answer = d.finish("x")
            equal((answer.status, answer.code), ("NO", ("LIMIT",)), "1001 messages")
            d.close()
        equal(c.ok("STATUS INBOX (MESSAGES)").of("STATUS")[0][1], ["MESSAGES", "0"])
        d = client(house)
        d.send(b"x APPEND " + first + more * 999 + b"\r\n")
        equal(d.finish("x").status, "OK")
        d.close()
        equal(c.ok("STATUS INBOX (MESSAGES)").of("STATUS")[0][1], ["MESSAGES", "1000"])
        big = b"x APPEND INBOX" + (b" {300000+}\r\n" + b"y" * 300000) * 60 + b"\r\n"  # each is streamed to a file of its own
        d = client(house)
        files = len(os.listdir(f"/proc/{pid}/fd"))
        with bounded(pid, 16 * MIB, "APPEND of large ones"):
            d.send(big)
            equal(d.finish("x").status, "NO")
        d.close()
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= files + 2, what="the files of a refused APPEND are closed")


def test_numbers_at_their_ends():
    with Instance(settings=PATIENT) as house, client(house) as c, client(house) as d:
        fill(c, 10)
        most = 2 ** 63 - 1
        answer = c.ok(f"FETCH 1 (BODY.PEEK[]<{most}.{most}> BODY.PEEK[]<0.{most}> BODY.PEEK[TEXT]<{most - 1}.1>)").fetched()[0][1]
        equal((answer[f"BODY[]<{most}>"], len(answer["BODY[]<0>"]) >= len(SMALL)), ("", True))
        c.bad(f"FETCH 1 BODY.PEEK[]<{most + 1}.1>")
        for text in ("FETCH 4294967295 FLAGS", "FETCH 4294967296 FLAGS", "FETCH 0 FLAGS", "UID FETCH 4294967296 FLAGS", "STORE 11 FLAGS ()"):
            c.bad(text)
        equal(c.ok("UID FETCH 4294967295 FLAGS").fetched(), [])
        equal([n for n, _ in c.ok("UID FETCH 4294967295:* UID").fetched()], [10])
        equal([n for n, _ in c.ok("UID FETCH *:4294967295,4294967294 UID").fetched()], [10])
        equal(len(c.ok("UID FETCH 4294967295:1 UID").fetched()), 10)
        c.ok(f"UID SEARCH UID 1:4294967295 MODSEQ {most}")
        c.ok("ENABLE QRESYNC")
        validity = int(c.ok("SELECT INBOX").codes("UIDVALIDITY")[0][1])
        for known in ("1:4294967295", "1:4294967295 (1:4294967295 1:4294967295)", ",".join(str(2 * i + 1) for i in range(9000)),
                      ",".join(["4294967295"] * 5000), "1:4294967295 (5:1 4294967295:1)"):
            for modseq in (0, 1, most):
                c.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq} {known}))")
        c.ok(f"UID FETCH {','.join(['1:4294967295'] * 2000)} FLAGS (CHANGEDSINCE {most} VANISHED)")
        equal(c.ok("UID MOVE 1:* INBOX").status, "OK")  # to where they are
        equal(len(c.ok("UID SEARCH RETURN (ALL COUNT) ALL").of("ESEARCH")), 1)
        equal(c.ok("SELECT INBOX").numbered("EXISTS"), [(10,)])
        equal(d.ok("SELECT INBOX").numbered("EXISTS"), [(10,)])
        deep = c.command("SEARCH " + "(" * 70 + "ALL" + ")" * 70)
        equal((deep.status, deep.code), ("NO", ("LIMIT",)))
        c.no(f"STORE 1 +FLAGS ({' '.join(f'k{i}' for i in range(10000))})", "LIMIT")


def test_gone_meanwhile():
    """Messages and mailboxes that another session takes away in the middle of a command."""
    with Instance(settings=PATIENT) as house, client(house) as c, client(house) as d:
        pids = house.pids()
        body = b"Subject: x\r\n\r\n" + b"line of text\r\n" * 100000
        fill(c, 6, body)
        d.ok("SELECT INBOX")
        tag = c.start("FETCH 1:* (FLAGS BODY.PEEK[])")  # more than the sockets hold
        time.sleep(0.05)
        d.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        d.ok("EXPUNGE")
        for i in range(40):  # box_tidy() has something to do
            d.append("INBOX", SMALL)
        answer = c.finish(tag)
        assert answer.status in ("OK", "NO"), answer.status
        for _, items in answer.fetched():
            assert "BODY[]" not in items or items["BODY[]"].endswith(body.decode()[-1000:]), "a message was cut"
        c.ok("NOOP")
        equal(c.ok("SELECT INBOX").numbered("EXISTS"), [(40,)])
        for i in range(25):
            c.ok(f"CREATE x{i}")
            with client(house) as e:
                e.send(f"a SELECT x{i}\r\nb IDLE\r\n")
                d.send(f"c DELETE x{i}\r\n")
                d.finish("c")
                e.socket.settimeout(5)
                with contextlib.suppress(EOFError):
                    while e.raw()[:5] not in (b"b BAD", b"* BYE"):
                        pass
        equal(house.pids(), pids, "roles")


def test_the_store_dies():
    """In the middle of each command: a log-in again is all it takes."""
    commands = ("FETCH 1:* BODY.PEEK[]", "SEARCH BODY zz", "SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "STORE 1:* +FLAGS (\\Seen)",
                "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()", "COPY 1:* Archive", "MOVE 1 Trash", "EXPUNGE", "UID EXPUNGE 1:*", "CLOSE", 'LIST "" *',
                "STATUS INBOX (MESSAGES)", "SELECT Archive", "CREATE new", "DELETE Junk", "RENAME Sent Went", "SUBSCRIBE zz", "GETQUOTAROOT INBOX",
                "APPEND INBOX {3+}\r\nx\r\n", "APPEND INBOX {3}\r\n", "IDLE", "NOOP", "UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)")
    with Instance(settings=PATIENT) as house, client(house) as c, contextlib.ExitStack() as stack:
        fill(c, 300)
        pids = house.pids()
        sessions = [(stack.enter_context(client(house)), text) for text in commands]
        for s, _ in sessions:
            s.ok("ENABLE QRESYNC")
            s.ok("SELECT INBOX")
        os.kill(pids["store"], signal.SIGSTOP)
        for s, text in sessions:
            s.send(f"z {text}\r\n")
        time.sleep(0.2)
        os.kill(pids["store"], signal.SIGKILL)
        for s, text in sessions:
            s.socket.settimeout(10)
            with contextlib.suppress(EOFError, ConnectionError):
                while True:
                    s.raw()
        eventually(lambda: house.pids().get("store") not in (None, pids["store"]), what="the store is there again")
        equal(house.pids()["access"], pids["access"], "role access")

        def again():
            with contextlib.suppress(AssertionError, EOFError), client(house) as d:
                return d.command("SELECT INBOX").status == "OK"
        eventually(again, 10, "a session after the store came back")


def test_before_log_in():
    with Instance(settings={**PATIENT, "imap_timeout": "1s"}) as house, contextlib.ExitStack() as stack:
        pid = house.pids()["access"]
        begun = time.monotonic()
        drip = stack.enter_context(house.lines("imap"))
        with bounded(pid, 12 * MIB, "a hundred strangers"):
            for data in (b"x" * 200000, b"a NOOP\r\n" * 10000, b"a LOGIN {16000+}\r\n" + b"u" * 15000, b"a ID (" + b'"a" "b" ' * 3000,
                         b"\r\n" * 20000):
                for _ in range(20):
                    wire = stack.enter_context(socket.create_connection(("127.0.0.1", house.port("imap"))))
                    wire.settimeout(0.02)
                    with contextlib.suppress(OSError):
                        wire.sendall(data)
        with contextlib.suppress(OSError):
            while time.monotonic() < begun + 8 and drip.line() is not None:
                time.sleep(0.3)
                drip.raw("a NOOP\r\n")  # never silent
        assert time.monotonic() < begun + 8, "a stranger can stay for ever"


def test_mailboxes_of_others():
    with Instance(settings=PATIENT) as house, client(house) as c, client(house, "bob") as other:
        c.ok("CREATE secret")
        c.append("secret", SMALL)
        code = c.ok("STATUS secret (MAILBOXID)").of("STATUS")[0][1][1][0]
        alice = house.address("alice")
        for name in ("secret", f"{alice}/secret", f"~{alice}/secret", f"../{alice}/secret", f"user/{alice}/secret", code, f"#{code}", "/secret",
                     "INBOX/../secret", "*", "%", "secret/"):
            for text in (f'SELECT "{name}"', f'EXAMINE "{name}"', f'STATUS "{name}" (MESSAGES)', f'DELETE "{name}"', f'RENAME "{name}" mine{len(name)}'):
                equal(other.command(text).status, "NO", text)
        names = {row[2] for row in other.ok('LIST "" *').of("LIST")}
        assert not any("secret" in n or "alice" in n for n in names), names
        equal(c.ok("STATUS secret (MESSAGES)").of("STATUS")[0][1], ["MESSAGES", "1"])


if __name__ == "__main__":
    harness.main()
