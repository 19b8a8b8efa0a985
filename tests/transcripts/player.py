"""Plays one transcript (README.md beside this file) over sockets and TLS: SMTP, LMTP and POP3; imap_player.py makes IMAP of it."""
import base64
import poplib
import re
import smtplib
import socket
import ssl

TIMEOUT = 15
DOMAIN = "posthouse.test"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


class Wire:
    """A connection that hands out lines."""
    silence_seconds = 0.05

    def __init__(self, host, port, context, tls):
        self.context = context
        self.sock = socket.create_connection((host, port), TIMEOUT)
        self.rest = b""
        if tls:
            self.start_tls()

    def start_tls(self):
        if self.rest:
            raise Failed(f"the server sent {self.rest!r} before TLS")
        self.sock = self.context.wrap_socket(self.sock, server_hostname=None)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the server closed: what it said before is still to be read

    def receive(self):
        try:
            return self.sock.recv(65536)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        except (socket.timeout, TimeoutError):
            raise Failed("timeout: the server says nothing more") from None

    def line(self):
        while b"\r\n" not in self.rest:
            data = self.receive()
            if not data:
                raise Failed(f"the server closed; unfinished: {self.rest!r}")
            self.rest += data
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line.decode("utf-8", "surrogateescape")

    def expect_close(self):
        data = self.rest or self.receive()
        if data:
            raise Failed(f"the server does not close but says {data!r}")

    def expect_silence(self):
        self.sock.settimeout(self.silence_seconds)
        try:
            data = self.rest or self.receive()
        except Failed:
            return
        if data:
            raise Failed(f"the server also says {data!r}")

    def close(self):
        self.sock.close()


def pattern(text):
    parts = re.split(r"(\\\*|\*)", text)
    return re.compile("".join(".*" if p == "*" else re.escape("*" if p == "\\*" else p) for p in parts) + r"\Z", re.S)


def as_bytes(text):
    """Text as one character for each of its octets in UTF-8."""
    return text.encode("utf-8").decode("latin-1")


def unescape(text):
    simple = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}

    def one(m):
        if m[1]:
            return unescape(m[2]) * int(m[1])
        return chr(int(m[3], 16)) if m[3] else simple[m[4]]

    return re.sub(r"\\(?:\{(\d+),([^}]*)\}|x([0-9A-Fa-f]{2})|([rnt0\\]))", one, text)


class Player:
    def __init__(self, options, path):
        self.options = options
        self.path = path
        self.at = 0
        self.listener = None
        self.tls = False
        self.auth = None
        self.mails = []
        self.empty = []
        self.wire = None
        self.pending = b""
        self.has, self.has_not = [], []

    # what client lines may name

    def address(self, name):
        return f"{name}@{DOMAIN}"

    def password(self, name):
        try:
            return self.options.accounts[self.address(name)]
        except KeyError:
            raise Failed(f"no password of {name} in --accounts") from None

    def variable(self, m):
        what, name = m[1], m[2]
        if what == "password":
            return self.password(name)
        plain = {
            "b64": lambda: unescape(as_bytes(name)).encode("latin-1"),
            "user": lambda: self.address(name).encode(),
            "pass": lambda: self.password(name).encode(),
            "plain": lambda: f"\0{self.address(name)}\0{self.password(name)}".encode(),
        }[what]()
        return base64.b64encode(plain).decode()

    def expand(self, text):
        return re.sub(r"\$\{(\w+):([^}]*)\}", self.variable, text)

    # before the first line

    def port(self, name):
        port = getattr(self.options, name)
        if not port:
            raise Skipped(f"no --{name}")
        return port

    def prepare(self):
        """Fills and empties maildrops as the directives want."""
        host = self.options.host
        for name in self.empty:
            pop = poplib.POP3_SSL(host, self.port("pop3s"), timeout=TIMEOUT, context=self.options.context)
            pop.user(self.address(name))
            pop.pass_(self.password(name))
            for i in range(pop.stat()[0]):
                pop.dele(i + 1)
            pop.quit()
        for (name, *_), lines in self.mails:
            with smtplib.SMTP(host, self.port("smtp"), "client.test", TIMEOUT) as smtp:
                smtp.sendmail("sender@example.org", [self.address(name)], "\r\n".join(lines + [""]).encode())

    def talk(self, text):
        """One command of the runner's own, with a reply of either protocol."""
        self.wire.send(text.encode() + b"\r\n")
        line = self.wire.line()
        while re.match(r"\d{3}-", line):
            line = self.wire.line()
        if not re.match(r"[23]|\+OK", line):
            raise Failed(f"'{text.split()[0]}' got '{line}'")

    def connect(self):
        return Wire(self.options.host, self.port(self.listener), self.options.context, self.listener.endswith("s"))

    def start(self):
        if self.wire:
            return
        if not self.listener:
            raise Failed("no @listener")
        self.prepare()
        self.wire = self.connect()
        if self.tls:
            self.log_in()

    def log_in(self):
        pop = self.listener.startswith("pop3")
        self.greeting()
        if not self.listener.endswith("s"):
            if not pop:
                self.talk("LHLO client.test" if self.listener == "lmtp" else "EHLO client.test")
            self.talk("STLS" if pop else "STARTTLS")
            self.wire.start_tls()
        if self.auth and pop:
            self.talk("USER " + self.address(self.auth))
            self.talk("PASS " + self.password(self.auth))
        elif self.auth:
            self.talk("EHLO client.test")
            self.talk(self.expand("AUTH PLAIN ${plain:%s}" % self.auth))

    def greeting(self):
        line = self.wire.line()
        while re.match(r"\d{3}-", line):
            line = self.wire.line()

    # lines

    def directive(self, words):
        word, args = words[0], words[1:]
        if word == "@listener":
            self.listener = args[0]
        elif word == "@tls":
            self.tls = True
        elif word == "@auth":
            self.tls, self.auth = True, args[0]
        elif word == "@empty":
            self.empty.append(args[0])
        elif word == "@mail":
            self.mails.append((args, []))
        elif word == "@set":
            raise Skipped("needs @set")
        elif word == "@only":
            if args[0] == "engine":
                raise Skipped("engine only")
        else:
            raise Failed(f"unknown directive {word}")

    def flush(self):
        self.wire.send(self.pending)
        self.pending = b""

    def expect(self, text):
        if re.fullmatch(r"\d{3}-\*\*", text):
            lines = self.reply(text[:3])
        elif text == "**":
            lines = self.multiline()
        else:
            line = self.wire.line()
            if not pattern(text).match(line):
                raise Failed(f"server: '{line}', wanted '{text}'")
            return
        for p in self.has:
            if not any(pattern(p).match(line) for line in lines):
                raise Failed(f"the reply lacks '{p}': {lines}")
        for p in self.has_not:
            if any(pattern(p).match(line) for line in lines):
                raise Failed(f"the reply has '{p}': {lines}")
        self.has, self.has_not = [], []

    def reply(self, code):
        lines = []
        while True:
            line = self.wire.line()
            if not line.startswith((code + "-", code + " ")):
                raise Failed(f"'{line}' in a reply {code}")
            lines.append(line[4:])
            if line[3] == " ":
                return lines

    def multiline(self):
        lines = []
        while True:
            line = self.wire.line()
            if line == ".":
                return lines
            lines.append(line)

    def play_line(self, mark, text):
        if mark == "M":
            self.mails[-1][1].append(text)
            return
        self.start()
        if not mark.startswith("C") or mark == "CLOSE":
            self.flush()
        if mark == "C":
            self.pending += self.expand(text).encode("utf-8", "surrogateescape") + b"\r\n"
        elif mark == "C!":
            self.pending += unescape(as_bytes(self.expand(text))).encode("latin-1")
        elif mark == "S":
            self.expect(text)
        elif mark == "S+":
            self.has.append(text)
        elif mark == "S-":
            self.has_not.append(text)
        elif mark == "TLS":
            self.wire.start_tls()
        elif mark == "CLOSE":
            self.wire.expect_close()
            self.closed = True
        else:
            raise Failed(f"unknown mark '{mark}'")

    def play(self):
        self.closed = False
        try:
            with open(self.path, encoding="utf-8", newline="\n") as f:
                for self.at, line in enumerate(f, 1):
                    line = line.rstrip("\n")
                    if not line or line[0] == "#":
                        continue
                    if line[0] == "@":
                        self.directive(line.split())
                        continue
                    mark, _, text = line.partition(":")
                    self.play_line(mark, text[1:] if text.startswith(" ") else text)
            self.start()
            self.flush()
            if not self.closed:
                self.wire.expect_silence()
        finally:
            if self.wire:
                self.wire.close()
