"""A ledger of messages at both ends: what was sent and acknowledged by SMTP, and what is found by POP3.

Each message has an id of its own in its header and the CRC of its body in the ledger. An acknowledged message (its 250
after the end of data was read) must be in every recipient's mailbox exactly once with that CRC; one whose reply did not
come, or was 451 (it may be written and only the sync failed), at most once, for no client here sends a message twice; a
refused one never. UIDs must be unique, stable, growing, and never given out again.

    ledger = Ledger(rng, users)
    load = Load(ledger, house.port("smtp"), sessions=50)
    load.start(); time.sleep(1); load.stop()
    ledger.audit(house)          # raises Loss
"""
import asyncio
import base64
import concurrent.futures
import contextlib
import random
import re
import smtplib
import socket
import ssl
import threading
import time
import zlib

KB = 1024
SENT, ACKED, REFUSED = "sent", "acked", "refused"
ID = re.compile(rb"^X-Ledger: (\S+)\r$", re.M)


class Loss(AssertionError):
    """The mailboxes do not hold what was acknowledged; .lost are the ids of acknowledged messages that are missing."""

    def __init__(self, text, lost):
        super().__init__(text)
        self.lost = lost


def body_text(size, rng):
    """Lines of text, some beginning with a dot, `size` bytes long."""
    text = base64.b64encode(rng.randbytes(size * 3 // 4 + 3))[:size - size // 39]
    lines = [text[i:i + 76] for i in range(0, len(text), 76)]
    lines[::17] = [b"." + line[1:] for line in lines[::17]]
    return b"\r\n".join(lines) + b"\r\n"


class Message:
    __slots__ = ("id", "to", "crc", "size", "body", "state", "late")

    def content(self):
        header = b"From: <ledger@client.example>\r\nX-Ledger: %s\r\nSubject: %d bytes\r\n\r\n" % (self.id, self.size)
        return header + self.body


class Ledger:
    """`users` are names of accounts. sizes: list of (weight, bytes)."""

    def __init__(self, rng, users, sizes=((92, KB), (8, 100 * KB)), big=0):
        self.rng, self.users = rng, users
        self.pool = [(w, [body_text(n, rng) for _ in range(4)]) for w, n in sizes]
        self.big_body, self.big_left = None, 0
        self.big = big
        self.run = rng.getrandbits(32)
        self.messages = {}
        self.seen = {u: {} for u in users}      # UIDL -> message id, of all that was ever listed
        self.deleted = {u: set() for u in users}
        self.highest = {u: (0, 0) for u in users}

    def allow_big(self, count):
        """So many of the next messages have `big` bytes."""
        if self.big and not self.big_body:
            self.big_body = body_text(self.big, self.rng)
        self.big_left = count if self.big else 0

    def write(self):
        """A new message, noted as not yet sent."""
        m = Message()
        rng = self.rng
        m.id = b"%08x.%d" % (self.run, len(self.messages))
        m.to = rng.sample(self.users, 1 if rng.random() < 0.9 else 2)
        if self.big_left:
            self.big_left -= 1
            m.body = self.big_body
        else:
            m.body = rng.choice(rng.choices([b for _, b in self.pool], [w for w, _ in self.pool])[0])
        m.body = m.id + b"\r\n" + m.body
        m.crc, m.size, m.state, m.late = zlib.crc32(m.body), len(m.body), None, False
        self.messages[m.id] = m
        return m

    def settle(self, m, state):
        m.state = state
        if state != SENT:
            m.body = None

    def count(self, state):
        return sum(m.state == state for m in self.messages.values())

    def forget_bodies(self):
        for m in self.messages.values():
            m.body = None

    # the other end

    def check_listing(self, user, listing):
        """UIDs: unique in the listing, not of a deleted message, new ones above all that were ever listed."""
        assert len(set(listing)) == len(listing), f"{user}: a UID is listed twice"
        back = self.deleted[user] & set(listing)
        assert not back, f"{user}: deleted UIDs are back: {sorted(back)[:5]}"
        gone = set(self.seen[user]) - self.deleted[user] - set(listing)
        if gone:
            raise Loss(f"{user}: {len(gone)} messages that were listed before are gone: {sorted(gone)[:5]}",
                       [self.seen[user][u] for u in gone])
        numbers = [uid_number(u) for u in listing]
        assert numbers == sorted(numbers), f"{user}: UIDs are not in order"
        new = [n for u, n in zip(listing, numbers) if u not in self.seen[user]]
        assert not new or min(new) > self.highest[user], f"{user}: UID {min(new)} may have been given out before"
        self.highest[user] = max([self.highest[user]] + numbers)

    def read_user(self, drop, again):
        """Reads what is new, and `again` of the old, to see that they stay what they were."""
        user, seen = drop.user, self.seen[drop.user]
        drop.listing = drop.uidl()
        self.check_listing(user, drop.listing)
        old = [n for n, u in enumerate(drop.listing, 1) if u in seen]
        new = [n for n, u in enumerate(drop.listing, 1) if u not in seen]
        for n, content in drop.retrieve(new + random.Random(len(new)).sample(old, min(again, len(old)))):
            self.note(user, drop.listing[n - 1], content)

    def delete_user(self, drop, keep):
        doomed = list(range(keep + 1, len(drop.listing) + 1))
        drop.delete(doomed)
        drop.quit()
        self.deleted[drop.user].update(drop.listing[n - 1] for n in doomed)

    def note(self, user, uidl, content):
        found = ID.search(content[:4096])
        assert found, f"{user}: UID {uidl} is no message of ours: {content[:200]!r}"
        m = self.messages.get(found[1])
        assert m and m.state, f"{user}: UID {uidl} has the id {found[1]}, which was never sent"
        known = self.seen[user].get(uidl, m.id)
        assert known == m.id, f"{user}: UID {uidl} was {known}, now it is {m.id}"
        body = content[content.index(b"\r\n\r\n") + 4:]
        crc = zlib.crc32(body)
        assert crc == m.crc, f"{user}: the body of {m.id} has {len(body)} bytes and another CRC than the {m.size} sent"
        assert user in m.to, f"{user}: {m.id} is not for this mailbox"
        assert m.state != REFUSED, f"{user}: {m.id} was refused and is there all the same"
        self.seen[user][uidl] = m.id

    def missing(self):
        """(id, user) of what was acknowledged and was not found. Duplicates fail."""
        have = set()
        for user, seen in self.seen.items():
            for uidl, i in seen.items():
                assert (i, user) not in have, f"{user}: {i} is there twice, the second time as {uidl}"
                have.add((i, user))
        return [(m.id, u) for m in self.messages.values() if m.state == ACKED for u in m.to if (m.id, u) not in have]

    def audit(self, house, seconds=5, keep=8, delete=True):
        """Waits until every acknowledged message is there, then deletes all but the first `keep` of each user. Returns
        how many were found whose acknowledgement nobody saw."""
        before = self.unacked_found()
        end = time.monotonic() + seconds
        drops = [Maildrop(house, u) for u in self.users]
        with concurrent.futures.ThreadPoolExecutor(len(drops)) as pool, contextlib.ExitStack() as closing:
            for drop in drops:
                closing.callback(drop.close)
            while True:
                list(pool.map(Maildrop.open, drops))
                list(pool.map(self.read_user, drops, [3] * len(drops)))
                missing = self.missing()
                if not missing or time.monotonic() > end:
                    break
                list(pool.map(Maildrop.quit, drops))
                time.sleep(0.1)
            if missing:
                text = f"{len(missing)} copies of {self.count(ACKED)} acknowledged messages are lost: {missing[:3]}"
                raise Loss(text, [i for i, _ in missing])
            if delete:
                list(pool.map(self.delete_user, drops, [keep] * len(drops)))
        self.forget_bodies()
        return self.unacked_found() - before

    def unacked_found(self):
        return sum(self.messages[i].state != ACKED for seen in self.seen.values() for i in seen.values())


def uid_number(uidl):
    """A UIDL as something that grows: its numbers, the UIDVALIDITY first."""
    return tuple(int(n) for n in re.findall(rb"[0-9]+", uidl))


class Busy(Exception):
    """The maildrop is still held by the session before."""


class Maildrop:
    """A POP3 session over TLS that pipelines (RFC 2449 6.6)."""

    def __init__(self, house, user, timeout=20):
        self.house, self.user, self.timeout = house, user, timeout
        self.sock = None
        self.listing = []

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.quit()
        self.close()

    def open(self):
        """Logs in; waits a little for a session before it to end, or for a role to come back."""
        end = time.monotonic() + 5
        while True:
            try:
                self.log_in()
                return
            except (ConnectionError, Busy, ssl.SSLError):
                self.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def quit(self):
        """Deletes what was marked, or fails."""
        self.say(b"QUIT")
        self.close()

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def log_in(self):
        plain = self.sock = socket.create_connection(("localhost", self.house.port("pop3s")), self.timeout)
        self.sock = self.house.tls().wrap_socket(plain, server_hostname="localhost")
        self.rest = b""
        self.line()
        user, password = self.house.address(self.user).encode(), self.house.passwords[self.user].encode()
        self.sock.sendall(b"USER %s\r\nPASS %s\r\n" % (user, password))
        self.line()
        answer = self.line(ok=False)
        if b"IN-USE" in answer or b"SYS/TEMP" in answer:
            raise Busy(answer)
        assert answer.startswith(b"+OK"), f"{self.user}: {answer}"

    def more(self):
        got = self.sock.recv(262144)
        if not got:
            raise ConnectionResetError("the POP3 server closed the connection")
        return got

    def line(self, ok=True):
        while b"\r\n" not in self.rest:
            self.rest += self.more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        assert not ok or line.startswith(b"+OK"), f"{self.user}: {line[:200]}"
        return line

    def say(self, line):
        self.sock.sendall(line + b"\r\n")
        return self.line()

    def text(self):
        """The lines after a +OK, un-dot-stuffed, without the final dot."""
        if self.rest.startswith(b".\r\n"):
            self.rest = self.rest[3:]
            return b""
        parts, tail = [self.rest], self.rest
        while (at := tail.find(b"\r\n.\r\n")) < 0:
            got = self.more()
            parts.append(got)
            tail = tail[-4:] + got
        whole = b"".join(parts)
        at += len(whole) - len(tail)
        self.rest = whole[at + 5:]
        whole = whole[:at + 2].replace(b"\r\n..", b"\r\n.")
        return whole[1:] if whole.startswith(b"..") else whole

    def uidl(self):
        self.say(b"UIDL")
        return [line.split(b" ", 1)[1] for line in self.text().split(b"\r\n") if line]

    def retrieve(self, numbers):
        for i in range(0, len(numbers), 100):
            batch = numbers[i:i + 100]
            self.sock.sendall(b"".join(b"RETR %d\r\n" % n for n in batch))
            for n in batch:
                self.line()
                yield n, self.text()

    def delete(self, numbers):
        for i in range(0, len(numbers), 100):
            batch = numbers[i:i + 100]
            self.sock.sendall(b"".join(b"DELE %d\r\n" % n for n in batch))
            for _ in batch:
                self.line()


def send_one(house, book):
    """Sends one message of the ledger by the plainest client; true if it was acknowledged."""
    m = book.write()
    try:
        with house.smtp() as client:
            book.settle(m, SENT)
            client.sendmail("ledger@client.example", [house.address(u) for u in m.to], m.content())
            book.settle(m, ACKED)
            return True
    except (OSError, EOFError, smtplib.SMTPException):
        return False


class Load:
    """Sessions that send as fast as they are served, in a thread of its own, in three manners: command groups (RFC
    2920), the next group sent together with the end of data, and BDAT with several messages at once (RFC 3030)."""

    def __init__(self, ledger, port, sessions=50):
        self.ledger, self.port, self.sessions = ledger, port, sessions
        self.stopping = False
        self.thread = None
        self.refusals = 0       # of MAIL, RCPT and DATA

    def start(self):
        self.stopping = False
        self.error = None
        self.thread = threading.Thread(target=self.run_all, daemon=True)
        self.thread.start()

    def run_all(self):
        try:
            asyncio.run(self.run())
        except Exception as e:
            self.error = e

    def stop(self, seconds=10):
        """Each session ends its transaction and leaves."""
        self.stopping = True
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"sessions still wait for an answer after {seconds} s"
        if self.error:
            raise self.error

    async def run(self):
        seeds = [self.ledger.rng.getrandbits(32) for _ in range(self.sessions)]
        await asyncio.gather(*(self.session(n, random.Random(seed)) for n, seed in enumerate(seeds)))

    async def session(self, number, rng):
        while not self.stopping:
            writer = None
            try:
                here = f"127.0.0.{2 + number}", 0
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=here)
                writer.transport.set_write_buffer_limits(1 << 16)
                await self.talk(reader, writer, rng)
            except (OSError, EOFError):
                await asyncio.sleep(0.03)
            finally:
                if writer:
                    writer.transport.abort()

    async def talk(self, reader, writer, rng):
        if not (await reply(reader)).startswith(b"220"):
            return
        writer.write(b"EHLO client.example\r\n")
        await reply(reader)
        manner = rng.choice((self.groups, self.ahead, self.chunks))
        for _ in range(rng.randint(1, 12)):
            if self.stopping or not await manner(reader, writer, rng):
                break
        writer.write(b"QUIT\r\n")
        await reply(reader)

    def envelope(self, m):
        rcpt = b"".join(b"RCPT TO:<%s@posthouse.test>\r\n" % u.encode() for u in m.to)
        return b"MAIL FROM:<ledger@client.example> BODY=8BITMIME\r\n" + rcpt

    async def accepted(self, reader, m, last=b"3"):
        """Replies to MAIL, RCPT and DATA, which were sent in one group."""
        good = True
        for wanted in [b"2"] + [b"2"] * len(m.to) + ([last] if last else []):
            got = await reply(reader)
            if got.startswith(b"421"):
                raise EOFError
            good = got.startswith(wanted) and good
        self.refusals += not good
        return good

    async def send(self, writer, m, more=b""):
        content = m.content().replace(b"\r\n.", b"\r\n..")
        self.ledger.settle(m, SENT)
        writer.write(content)
        writer.write(b".\r\n" + more)
        await writer.drain()

    async def verdict(self, reader, m):
        got = await reply(reader)
        self.ledger.settle(m, ACKED if got.startswith(b"250") else SENT if got.startswith(b"451") else REFUSED)
        if got.startswith(b"421"):
            raise EOFError

    async def groups(self, reader, writer, rng):
        m = self.ledger.write()
        writer.write(self.envelope(m) + b"DATA\r\n")
        if not await self.accepted(reader, m):
            return False
        await self.send(writer, m)
        await self.verdict(reader, m)
        return True

    async def ahead(self, reader, writer, rng):
        m = self.ledger.write()
        writer.write(self.envelope(m) + b"DATA\r\n")
        for left in range(rng.randint(1, 4), -1, -1):
            if not await self.accepted(reader, m):
                return False
            after = self.ledger.write() if left and not self.stopping else None
            await self.send(writer, m, self.envelope(after) + b"DATA\r\n" if after else b"")
            await self.verdict(reader, m)
            if not after:
                break
            m = after
        return True

    async def chunks(self, reader, writer, rng):
        batch = [self.ledger.write() for _ in range(rng.randint(1, 4))]
        for m in batch:
            content = m.content()
            self.ledger.settle(m, SENT)
            writer.write(self.envelope(m) + b"BDAT %d LAST\r\n" % len(content) + content)
        for m in batch:
            good = await self.accepted(reader, m, last=None)
            await self.verdict(reader, m)
            if not good:
                return False
        return True


async def reply(reader):
    """The last line of a reply."""
    while True:
        line = await reader.readuntil(b"\r\n")
        if line[3:4] != b"-":
            return line
