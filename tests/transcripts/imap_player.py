"""Plays a transcript of IMAP. Its unit is the response: a line with the literals in it, whose CRLFs are written \\r\\n."""
import re
import zlib

import player
from player import Failed

DEFAULTS = {"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}
housekeepers = {}


class Deflated:
    """A socket behind COMPRESS DEFLATE."""

    def __init__(self, sock):
        self.sock = sock
        self.packer, self.unpacker = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)

    def sendall(self, data):
        self.sock.sendall(self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH))

    def recv(self, count):
        data = self.sock.recv(count)
        return self.unpacker.decompress(data) or self.recv(count) if data else data

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.sock.close()


class Wire(player.Wire):
    silence_seconds = 0.02

    def line(self):
        """One response, as text."""
        whole = ""
        while True:
            line = super().line()
            whole += line
            found = re.search(r"\{(\d+)\}$", line)
            if not found:
                return whole
            size = int(found[1])
            while len(self.rest) < size:
                data = self.receive()
                if not data:
                    raise Failed(f"the server closed within a literal of '{whole}'")
                self.rest += data
            literal, self.rest = self.rest[:size], self.rest[size:]
            whole += "\\r\\n" + literal.decode("utf-8", "surrogateescape").replace("\r\n", "\\r\\n")

    def answer(self, tag):
        """All responses up to the one with that tag."""
        lines = []
        while not lines or not lines[-1].startswith(tag + " "):
            lines.append(self.line())
        return lines

    def command(self, text):
        self.send(b"x " + text.encode() + b"\r\n")
        lines = self.answer("x")
        if not lines[-1].startswith("x OK"):
            raise Failed(f"'{text}' got '{lines[-1]}'")
        return lines


class Player(player.Player):
    def __init__(self, options, path):
        super().__init__(options, path)
        self.values = {}
        self.wires = {}
        self.current = ""
        self.started = False

    def variable(self, m):
        return self.values[m[1]] if m[1] in self.values else super().variable(m)

    def expand(self, text):
        return super().expand(re.sub(r"\$\{(\w+)\}", lambda m: self.values.get(m[1], m[0]), text))

    # before the first line

    def connect(self):
        return Wire(self.options.host, self.port(self.listener), self.options.context, self.listener.endswith("s"))

    def log_in(self):
        self.wire.line()
        if not self.listener.endswith("s"):
            self.wire.command("STARTTLS")
            self.wire.start_tls()
        if self.auth:
            self.wire.command(f"LOGIN {self.address(self.auth)} {self.password(self.auth)}")

    def housekeeper(self, name):
        """A session of the runner's own, kept for all transcripts."""
        if name not in housekeepers:
            wire = housekeepers[name] = Wire(self.options.host, self.port("imaps"), self.options.context, True)
            wire.line()
            wire.command(f"LOGIN {self.address(name)} {self.password(name)}")
        return housekeepers[name]

    def prepare(self):
        """All mailboxes are as at first; then the messages come."""
        for name in {self.auth, *(args[0] for args, _ in self.mails)} - {None}:
            wire = self.housekeeper(name)
            rows = [re.match(r'\* LIST \((.*?)\) "/" "?(.*?)"?$', line) for line in wire.command('LIST "" "*" RETURN (SUBSCRIBED STATUS (MESSAGES))')]
            for row in sorted(filter(None, rows), key=lambda row: row[2], reverse=True):
                if row[2] not in DEFAULTS and "\\Noselect" not in row[1] and "\\NonExistent" not in row[1]:
                    wire.command(f'DELETE "{row[2]}"')
            for line in wire.command('LIST (SUBSCRIBED) "" "*"'):
                row = re.match(r'\* LIST \(.*?\) "/" "?(.*?)"?$', line)
                if row and row[1] not in DEFAULTS:
                    wire.command(f'UNSUBSCRIBE "{row[1]}"')
            for box in DEFAULTS:
                if f"* STATUS {box} (MESSAGES 0)" not in wire.command(f"STATUS {box} (MESSAGES)"):
                    wire.command(f"SELECT {box}")
                    wire.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
                    wire.command("CLOSE")
        made = set()
        for (name, box, *flags), lines in self.mails:
            wire = self.housekeeper(name)
            if box not in made and box not in DEFAULTS:
                wire.command(f"CREATE {box}")
            made.add(box)
            message = "".join(line + "\r\n" for line in lines)
            size = len(message.encode("utf-8", "surrogateescape"))
            wire.send(f"x APPEND {box} ({' '.join(flags)}) {{{size}+}}\r\n".encode() + message.encode("utf-8", "surrogateescape") + b"\r\n")
            if not wire.answer("x")[-1].startswith("x OK"):
                raise Failed(f"APPEND {box} is refused")

    # lines

    def match(self, text, line):
        """Does the line match; values that `${=name}` names are kept."""
        def rule(part):
            if part.startswith("${="):
                return rf'(?P<{part[3:-1]}>"[^"]*"|[^ ()\[\]]+)'
            return {"*": ".*", "\\*": r"\*"}.get(part, re.escape(part))
        regex = "".join(map(rule, re.split(r"(\\\*|\*|\$\{=\w+\})", self.expand(text))))
        found = re.fullmatch(regex, line, re.S)
        if found:
            self.values.update(found.groupdict())
        return found

    def expect(self, text):
        if not text.endswith("**"):
            line = self.wire.line()
            if not self.match(text, line):
                raise Failed(f"server: '{line}', wanted '{self.expand(text)}'")
            return
        lines = self.wire.answer(text.split()[0])
        for p in self.has:
            if not any(self.match(p, line) for line in lines):
                raise Failed(f"the answer lacks '{self.expand(p)}': {lines}")
        for p in self.has_not:
            if any(self.match(p, line) for line in lines):
                raise Failed(f"the answer has '{p}': {lines}")
        self.has, self.has_not = [], []
        if not self.match(text[:-2] + "*", lines[-1]):
            raise Failed(f"server: '{lines[-1]}', wanted '{self.expand(text)}'")

    def play_line(self, mark, text):
        if mark == "M":
            return super().play_line(mark, text)
        self.start()
        which, mark = ("2", mark[1:]) if mark.startswith("2") else ("", mark)
        if which != self.current:
            self.switch(which)
        if mark == "DEFLATE":
            self.flush()
            self.wire.sock = Deflated(self.wire.sock)
            return None
        return super().play_line(mark, text)

    def switch(self, which):
        """The lines of the other session follow."""
        self.flush()
        self.wires[self.current] = self.wire
        self.current = which
        if which not in self.wires:
            self.wire = self.wires[which] = self.connect()
            self.log_in()
        self.wire = self.wires[which]

    def play(self):
        try:
            super().play()
        finally:
            for wire in self.wires.values():
                wire.close()
