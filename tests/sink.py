"""An SMTP server for scenario tests that does what a script says, in threads, and remembers what it was told.

    with Sink(address, port, script={"rcpt": "550 5.1.1 nobody here", "content": first(1, "451 4.3.0 later")}) as sink:
        ...; sink.messages[0].data

Stages: connect ehlo helo starttls auth mail rcpt data content bdat rset noop quit (content: after the final dot or the last BDAT). An action is

    None             what a polite server says
    "250 text"       that line (several: with \\n between them)
    b"..."           these bytes as they are
    2.5              seconds to wait
    DROP             the connection is closed; RESET: with a TCP reset
    [..., ...]       one after the other
    f(session, line) gives one of these
"""
import re
import socket
import ssl
import struct
import threading
import time

DROP, RESET = object(), object()
EXTENSIONS = ("PIPELINING", "SIZE 50000000", "8BITMIME", "ENHANCEDSTATUSCODES")


class Gone(Exception):
    """The connection is over."""


def first(count, action, then=None):
    """That action the first `count` times over all connections, another one later."""
    seen = []

    def choose(*_):
        seen.append(1)
        return action if len(seen) <= count else then
    return choose


class Message:
    """sender, mail (parameters of MAIL), rcpts (list of (address, parameters)) that were accepted, data (without dot-stuffing), replied (the
    final reply was written), taken (it was 250), confirmed (a command came after that reply: it was seen), connection (its number), at
    (time.monotonic() of its end)."""

    def __init__(self, session, line):
        self.sender, self.mail = path(line)
        self.rcpts, self.data, self.replied, self.taken, self.confirmed = [], b"", False, False, False
        self.connection, self.tls, self.bdat, self.at, self.begun = session.number, bool(session.tls), False, 0, time.monotonic()

    @property
    def to(self):
        return [address for address, _ in self.rcpts]


def lines_of(text):
    """A reply of one or more lines: "250 a\\n250 b"."""
    lines = text.split("\n")
    return "".join(f"{line[:3]}{'-' if i < len(lines) - 1 else ' '}{line[4:]}\r\n" for i, line in enumerate(lines)).encode()


def path(line):
    """The address and the parameters of a MAIL or RCPT line."""
    begin, end = line.index("<"), line.rindex(">")
    return line[begin + 1:end], line[end + 1:].split()


class Session:
    def __init__(self, sink, sock, number):
        self.sink, self.sock, self.number = sink, sock, number
        self.rest, self.said, self.message, self.last, self.tls, self.lines = b"", b"", None, None, None, []
        self.client = None
        self.born = time.monotonic()

    def line(self):
        while b"\n" not in self.rest:
            got = self.sock.recv(65536)
            if not got:
                raise Gone
            self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r")

    def exactly(self, count):
        while len(self.rest) < count:
            got = self.sock.recv(65536)
            if not got:
                raise Gone
            self.rest += got
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def act(self, action, polite, line=""):
        """Does it; what is sent is added to self.said."""
        while callable(action):
            action = action(self, line)
        if action is None:
            action = polite
        if isinstance(action, (list, tuple)):
            for one in action:
                self.act(one, polite, line)
        elif action is DROP or action is RESET:
            if action is RESET:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Gone
        elif isinstance(action, (int, float)):
            self.sink.sleep(action)
        else:
            self.said += action if isinstance(action, bytes) else lines_of(action)
            self.sock.sendall(action if isinstance(action, bytes) else lines_of(action))

    def code(self):
        """Of the first whole reply that was said in this stage, 0 if there was none."""
        whole = re.search(rb"(?m)^(\d\d\d)(?: .*)?\r?\n", self.said)
        return int(whole[1]) if whole else 0

    def stage(self, name, polite, line=""):
        """The code of the reply."""
        self.said = b""
        self.act(self.sink.script.get(name), polite, line)
        return self.code()

    def ehlo(self, line):
        words = list(self.sink.extensions)
        if self.sink.context and not self.tls:
            words.append("STARTTLS")
        self.stage("ehlo", "\n".join(f"250 {w}" for w in ["sink.test", *words]), line)

    def starttls(self, line):
        code = self.stage("starttls", "220 2.0.0 go ahead" if self.sink.context else "502 5.5.1 no", line)
        if code == 220 and self.sink.context:
            self.sock = self.tls = self.sink.context.wrap_socket(self.sock, server_side=True)
            self.rest, self.message = b"", None
            self.sink.handshakes += 1

    def mail(self, line):
        message = Message(self, line)
        if self.stage("mail", "250 2.1.0 ok", line) == 250:
            self.message = message

    def rcpt(self, line):
        address, more = path(line)
        if self.stage("rcpt", "250 2.1.5 ok" if self.message else "503 5.5.1 MAIL first", line) in (250, 251) and self.message:
            self.message.rcpts.append((address, more))

    def finish(self):
        """The content is there: it counts as seen before the reply, and as replied after it."""
        message, self.message = self.message, None
        self.last = message
        message.at = time.monotonic()
        with self.sink.lock:
            self.sink.messages.append(message)
        try:
            self.stage("content", "250 2.0.0 taken")
        finally:
            message.replied, message.taken = self.code() > 0, self.code() == 250

    def data(self, line):
        polite = "354 go on" if self.message and self.message.rcpts else "503 5.5.1 RCPT first"
        if self.stage("data", polite, line) != 354 or not self.message:
            return
        lines = []
        while True:
            one = self.line()
            if one == b".":
                break
            lines.append(one[1:] if one[:1] == b"." else one)
        self.message.data = b"".join(one + b"\r\n" for one in lines)
        self.finish()

    def bdat(self, line):
        words = line.split()
        data = self.exactly(int(words[1]))
        if self.message:
            self.message.bdat = True
            self.message.data += data
        if not self.message or not self.message.rcpts:
            self.stage("bdat", "503 5.5.1 RCPT first", line)
        elif len(words) > 2:
            self.finish()
        else:
            self.stage("bdat", "250 2.0.0 ok", line)

    def serve(self):
        self.stage("connect", "220 sink.test ESMTP")
        while True:
            line = self.line().decode("utf-8", "backslashreplace")
            self.lines.append(line)
            if self.last:
                self.last.confirmed, self.last = self.last.replied, None
            verb = line.split(" ", 1)[0].lower()
            if verb in ("ehlo", "starttls", "mail", "rcpt", "data", "bdat"):
                getattr(self, verb)(line)
            elif verb == "quit":
                self.stage("quit", "221 2.0.0 bye", line)
                return
            elif verb == "rset":
                self.message = None
                self.stage("rset", "250 2.0.0 ok", line)
            else:
                self.stage(verb, "250 sink.test" if verb == "helo" else "250 2.0.0 ok" if verb == "noop" else "500 5.5.1 what?", line)


class Sink:
    """Listens from the moment it is made; port 0: the system chooses .port. extensions: keywords of EHLO. tls: (certificate, key) files: STARTTLS is offered."""

    def __init__(self, address, port, script=None, extensions=EXTENSIONS, tls=None):
        self.address, self.port, self.script, self.extensions = address, port, dict(script or {}), extensions
        self.messages, self.sessions, self.errors, self.handshakes, self.lock = [], [], [], 0, threading.Lock()
        self.open, self.most, self.over = 0, 0, threading.Event()
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.port = self.socket.getsockname()[1]
        self.socket.listen(200)
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.over.set()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for session in list(self.sessions):
            try:
                session.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def sleep(self, seconds):
        if self.over.wait(seconds):
            raise Gone

    def accept(self):
        while not self.over.is_set():
            try:
                sock, client = self.socket.accept()
            except OSError:
                return
            session = Session(self, sock, len(self.sessions))
            session.client = client
            self.sessions.append(session)
            threading.Thread(target=self.serve, args=(session,), daemon=True).start()

    def serve(self, session):
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            session.sock.settimeout(60)
            session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session.serve()
        except (Gone, OSError):
            pass
        except Exception as e:  # a defect of the sink or of what it was told: seen by errors
            self.errors.append(f"{type(e).__name__}: {e}")
        finally:
            with self.lock:
                self.open -= 1
            try:
                session.sock.close()
            except OSError:
                pass

    def taken(self):
        """Messages whose final reply was 250."""
        with self.lock:
            return [m for m in self.messages if m.taken]
