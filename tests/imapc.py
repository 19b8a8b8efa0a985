"""A small IMAP client for tests: it sends what it is told and reads every response into Python values, strictly by the grammar.

    with imapc.Imap(house.port("imaps"), tls=house.tls()) as c:
        c.login(user, password)
        answer = c.ok("SELECT INBOX")        # raises unless OK
        answer.untagged                      # [["3", "EXISTS"], ["FLAGS", [...]], ["OK", ("UIDVALIDITY", "5"), "text"], …]
        answer.code, answer.text             # of the tagged line
"""
import re
import socket

ATOM_END = re.compile(rb'[\x00-\x20()"{\]\[]|\x7f')


class Answer:
    def __init__(self, status, code, text, untagged):
        self.status, self.code, self.text, self.untagged = status, code, text, untagged

    def of(self, word):
        """The untagged responses of that name: their values behind it."""
        return [u[1:] for u in self.untagged if u[0] == word]

    def numbered(self, word):
        """[(number, values…)] of `* n WORD …`."""
        return [(int(u[0]), *u[2:]) for u in self.untagged if len(u) > 1 and u[1] == word]

    def fetched(self):
        """[(sequence number, {item: value})] of FETCH."""
        return [(n, pairs(values)) for n, values in self.numbered("FETCH")]

    def codes(self, name):
        return [u[1] for u in self.untagged if u[0] in ("OK", "NO", "BAD", "BYE") and u[1] and u[1][0] == name]


def pairs(values):
    if len(values) % 2:
        raise AssertionError(f"not pairs: {values!r}")
    return {values[i]: values[i + 1] for i in range(0, len(values), 2)}


class Literal(str):
    """A value that came as a literal."""


class Reader:
    """Reads values from one response, literals included. Text is latin-1, so every octet is one character."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def peek(self):
        return self.data[self.at:self.at + 1]

    def fail(self, what):
        raise AssertionError(f"{what} at octet {self.at} of {self.data!r}")

    def take(self, octet):
        if self.peek() != octet:
            self.fail(f"expected {octet!r}")
        self.at += 1

    def end(self):
        return self.at >= len(self.data)

    def quoted(self):
        self.take(b'"')
        out = bytearray()
        while True:
            c = self.peek()
            self.at += 1
            if c == b'"':
                return out.decode("latin-1")
            if c == b"\\":
                c = self.peek()
                if c not in (b'"', b"\\"):
                    self.fail("bad escape")
                self.at += 1
            if c in (b"", b"\r", b"\n", b"\0"):
                self.fail("bad octet in a quoted string")
            out += c

    def literal(self):
        found = re.compile(rb"~?\{(\d+)\}\r\n").match(self.data, self.at)
        if not found:
            self.fail("expected a literal")
        start = found.end()
        self.at = start + int(found.group(1))
        if self.at > len(self.data):
            self.fail("literal is cut")
        return Literal(self.data[start:self.at].decode("latin-1"))

    def atom(self):
        start = self.at
        depth = 0
        while not self.end():
            c = self.peek()
            if c == b"[" and depth == 0 and self.at > start:  # BODY[…]
                depth = 1
            elif c == b"]" and depth:
                depth = 0
            elif depth:
                if c == b'"':
                    self.quoted()
                    continue
                if c == b"{":
                    self.literal()
                    continue
            elif ATOM_END.match(c):
                break
            self.at += 1
        if self.at == start:
            self.fail("expected an atom")
        return self.data[start:self.at].decode("latin-1")

    def value(self):
        c = self.peek()
        if c == b"(":
            self.at += 1
            out = []
            while self.peek() != b")":
                if out and self.peek() == b" ":
                    self.at += 1
                out.append(self.value())
            self.at += 1
            return out
        if c == b'"':
            return self.quoted()
        if c == b"{" or self.data[self.at:self.at + 2] == b"~{":
            return self.literal()
        word = self.atom()
        return None if word == "NIL" else word

    def values(self):
        out = []
        while not self.end():
            out.append(self.value())
            if self.end():
                break
            self.take(b" ")
        return out

    def code_and_text(self):
        if self.peek() != b"[":
            return None, self.data[self.at:].decode("latin-1")
        end = self.data.index(b"]", self.at) if b"(" not in self.data[self.at:] else self.code_end()
        inner = Reader(self.data[self.at + 1:end])
        self.at = end + 1
        if self.peek() == b" ":
            self.at += 1
        return tuple(inner.values()), self.data[self.at:].decode("latin-1")

    def code_end(self):
        depth, quoted, at = 0, False, self.at + 1
        while depth or quoted or self.data[at:at + 1] != b"]":
            c = self.data[at:at + 1]
            if c == b'"':
                quoted = not quoted
            elif not quoted:
                depth += {b"(": 1, b")": -1}.get(c, 0)
            at += 1
            if at > len(self.data):
                self.fail("response code without end")
        return at


class Imap:
    def __init__(self, port, tls=None, timeout=20, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer, self.tags = b"", 0
        self.greeting = self.response()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def more(self):
        data = self.socket.recv(262144)
        if not data:
            raise EOFError(f"the server closed the connection; unread: {self.buffer!r}")
        self.buffer += data

    def raw(self):
        """One response with its literals, without the last CRLF."""
        at = 0
        while True:
            while (end := self.buffer.find(b"\r\n", at)) < 0:
                self.more()
            found = re.search(rb"\{(\d+)\}$", self.buffer[at:end])
            if not found:
                data, self.buffer = self.buffer[:end], self.buffer[end + 2:]
                return data
            at = end + 2 + int(found.group(1))
            while len(self.buffer) < at:
                self.more()

    def response(self):
        return self.parse(self.raw())

    @staticmethod
    def parse(data):
        if data.startswith(b"+"):
            return ["+", data[2:].decode("latin-1")]
        if not data.startswith(b"* "):
            raise AssertionError(f"neither untagged nor a continuation: {data!r}")
        reader = Reader(data[2:])
        word = reader.atom()
        if word in ("OK", "NO", "BAD", "BYE", "PREAUTH"):
            reader.take(b" ")
            return [word, *reader.code_and_text()]
        if reader.end():
            return [word]
        reader.take(b" ")
        return [word, *reader.values()]

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("utf-8"))

    def start(self, text):
        self.tags += 1
        tag = f"a{self.tags}"
        self.send(f"{tag} {text}\r\n")
        return tag

    def finish(self, tag):
        untagged = []
        start = tag.encode() + b" "
        while True:
            data = self.raw()
            if not data.startswith(start):
                untagged.append(self.parse(data))
                continue
            reader = Reader(data[len(start):])
            status = reader.atom()
            reader.take(b" ")
            return Answer(status, *reader.code_and_text(), untagged)

    def command(self, text):
        """Synchronizing literals: parts of a list are sent one after another, each but the last ending in {n}."""
        if isinstance(text, str):
            return self.finish(self.start(text))
        tag = self.start(text[0])
        for part in text[1:]:
            first = self.response()
            if first[0] != "+":
                raise AssertionError(f"no continuation but {first!r}")
            self.send(part + (b"\r\n" if isinstance(part, bytes) else "\r\n"))
        return self.finish(tag)

    def ok(self, text):
        answer = self.command(text)
        if answer.status != "OK":
            raise AssertionError(f"{text!r}: {answer.status} {answer.code} {answer.text}")
        return answer

    def no(self, text, code=None):
        answer = self.command(text)
        if answer.status != "NO" or (code and (not answer.code or answer.code[0] != code)):
            raise AssertionError(f"{text!r}: expected NO {code or ''}, got {answer.status} {answer.code} {answer.text}")
        return answer

    def bad(self, text):
        answer = self.command(text)
        if answer.status != "BAD":
            raise AssertionError(f"{text!r}: expected BAD, got {answer.status} {answer.code} {answer.text}")
        return answer

    def login(self, user, password):
        return self.ok(f'LOGIN "{user}" "{password}"')

    def append(self, mailbox, message, flags="", date=""):
        options = (f" ({flags})" if flags else "") + (f' "{date}"' if date else "")
        return self.command([f'APPEND "{mailbox}"{options} {{{len(message)}}}', message])
