#!/usr/bin/env python3
"""SCRAM-SHA-256 and its -PLUS form over SMTP submission and POP3, with a client of its own: what is bound to the TLS connection is
computed here from the certificate (RFC 5929), from the first Finished, and from the secrets of TLS 1.3 in the key log (RFC 8446
7.5, 9266), not asked from a library that the server uses too. gsasl speaks as well where it is installed."""
import base64
import hashlib
import hmac
import os
import secrets
import ssl
import struct
import tempfile

import harness
from harness import Instance, Lines, equal, match

SERVICES = ("submission", "submissions", "pop3", "pop3s")
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
TYPES = {TLS13: ("tls-exporter", "tls-server-end-point"), TLS12: ("tls-unique", "tls-server-end-point")}
PLUS = "SCRAM-SHA-256-PLUS"


class Refused(Exception):
    """The server's line that ended the exchange."""


def expand_label(hash_name, secret, label, context, length):
    """HKDF-Expand-Label of RFC 8446 7.1, for at most one block."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context
    return hmac.new(secret, info + b"\1", hash_name).digest()[:length]


def exporter(hash_name, secret):
    empty = hashlib.new(hash_name).digest()
    derived = expand_label(hash_name, secret, b"EXPORTER-Channel-Binding", empty, len(empty))
    return expand_label(hash_name, derived, b"exporter", empty, 32)


class Client:
    """A connection of a service over TLS, before the log-in."""

    def __init__(self, house, service, version=TLS13):
        self.pop = service.startswith("pop3")
        self.folder = tempfile.TemporaryDirectory()
        context = house.tls()
        context.minimum_version = context.maximum_version = version
        context.keylog_filename = os.path.join(self.folder.name, "keys")
        implicit = service in ("submissions", "pop3s")
        self.wire = Lines(house.port(service), tls=context if implicit else None)
        assert self.wire.line().startswith("+OK" if self.pop else "220")
        if not implicit:
            self.clear = self.capabilities()
            self.wire.expect("STLS" if self.pop else "STARTTLS", ("+OK", "220"))
            self.wire.starttls(context)
        self.tls = self.capabilities()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()
        self.folder.cleanup()

    def capabilities(self):
        """The words of the line that lists mechanisms, without its keyword."""
        lines = self.wire.say("CAPA" if self.pop else "EHLO client.example").split("\n")
        while self.pop and lines[-1] != ".":
            lines.append(self.wire.line())
        keyword = "SASL " if self.pop else "AUTH "
        found = [line[0 if self.pop else 4:][len(keyword):].split() for line in lines if keyword in line]
        return found[0] if found else []

    def binding(self, name):
        sock = self.wire.sock
        if name == "tls-server-end-point":
            return hashlib.sha256(sock.getpeercert(True)).digest()
        if name == "tls-unique":
            return sock.get_channel_binding(name)
        with open(os.path.join(self.folder.name, "keys")) as f:
            secret = next(line.split()[2] for line in f if line.startswith("EXPORTER_SECRET"))
        return exporter("sha384" if "SHA384" in sock.cipher()[0] else "sha256", bytes.fromhex(secret))

    def send(self, line):
        """The challenge that answers a line, decoded; None when the log-in has succeeded."""
        got = self.wire.say(line)
        if got.startswith(("235", "+OK")):
            return None
        if got.startswith(("334 ", "+ ")):
            return base64.b64decode(got.split(" ", 1)[1])
        raise Refused(got)

    def scram(self, user, password, mechanism="SCRAM-SHA-256", flag="n", data=b"", header=None):
        """A whole exchange; `header` is what c= begins with if not what was sent."""
        nonce = secrets.token_urlsafe(18)
        bare = f"n={user},r={nonce}"
        first = f"{flag},,{bare}"
        challenge = self.send(f"AUTH {mechanism} {base64.b64encode(first.encode()).decode()}").decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        assert fields["r"].startswith(nonce) and len(fields["r"]) >= len(nonce) + 18, challenge
        bound = base64.b64encode((header or f"{flag},,").encode() + data).decode()
        without_proof = f"c={bound},r={fields['r']}"
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        message = f"{bare},{challenge},{without_proof}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        final = f"{without_proof},p={base64.b64encode(proof).decode()}"
        answer = self.send(base64.b64encode(final.encode()).decode())
        signed = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        equal(answer, b"v=" + base64.b64encode(signed), "the server's signature")
        equal(self.send(""), None, "the end of the exchange")

    def works(self):
        assert self.wire.say("STAT" if self.pop else "MAIL FROM:<alice@posthouse.test>").startswith("+OK" if self.pop else "250")


def plus(client, house, name, data=None, password=None, **more):
    client.scram(house.address("alice"), password or house.passwords["alice"], PLUS, f"p={name}",
                 client.binding(name) if data is None else data, **more)


def refused(function, *args, **more):
    try:
        function(*args, **more)
    except Refused as e:
        return str(e)
    raise AssertionError("was not refused")


def wrong(pop, text):
    return rf"^-ERR \[AUTH\] {text}" if pop else rf"^535 5\.7\.8 {text}"


def test_offered_over_tls_alone():
    with Instance() as house:
        for service in SERVICES:
            with Client(house, service) as client:
                equal(client.tls, ["PLAIN", "LOGIN", "SCRAM-SHA-256", PLUS], f"mechanisms of {service}")
                equal(getattr(client, "clear", []), [], f"mechanisms of {service} in clear text")


def test_without_binding():
    with Instance() as house:
        for service in SERVICES:
            with Client(house, service) as client:
                client.scram(house.address("alice"), house.passwords["alice"])
                client.works()


def test_every_type():
    with Instance() as house:
        for service in SERVICES:
            for version, types in TYPES.items():
                for name in types:
                    with Client(house, service, version) as client:
                        plus(client, house, name)
                        client.works()


def test_wrong_password():
    with Instance() as house:
        for service in ("submissions", "pop3s"):
            with Client(house, service) as client:
                match(refused(plus, client, house, "tls-exporter", password="wrong"), wrong(client.pop, "Wrong user"))


def test_the_binding_of_another_connection():
    """Whoever sits in the middle has a connection with each side: the client's is not the server's."""
    with Instance() as house:
        for service in ("submissions", "pop3s"):
            for version, name in ((TLS13, "tls-exporter"), (TLS12, "tls-unique")):
                with Client(house, service, version) as one, Client(house, service, version) as two:
                    assert one.binding(name) != two.binding(name), name
                    got = refused(plus, one, house, name, two.binding(name))
                    match(got, wrong(one.pop, "Channel binding failed: channel-bindings-dont-match"))
                    plus(one, house, name)  # the connection is as good as before
                    one.works()
        match(house.log(), r'event=auth [^\n]*user=alice@posthouse\.test [^\n]*result=binding '
                           r'why="Channel binding failed: channel-bindings-dont-match"')


def test_other_certificate():
    with Instance() as house, Client(house, "submissions") as client:
        for data in (hashlib.sha256(b"another certificate").digest(), b"", client.binding("tls-exporter")):
            match(refused(plus, client, house, "tls-server-end-point", data), r"535 .*channel-bindings-dont-match")
        match(refused(plus, client, house, "tls-server-end-point", header="p=tls-exporter,,"), r"535 .*dont-match")


def test_downgrade():
    """"y" says that the client saw no -PLUS in the list, but it is in ours."""
    with Instance() as house:
        for service in SERVICES:
            with Client(house, service) as client:
                got = refused(client.scram, house.address("alice"), house.passwords["alice"], flag="y")
                match(got, wrong(client.pop, "Channel binding failed: server-does-support-channel-binding"))
        with Client(house, "submissions") as client:  # said "n", and changed on the way
            match(refused(client.scram, house.address("alice"), house.passwords["alice"], header="y,,"), r"535 .*dont-match")


def test_unsupported():
    with Instance() as house:
        for service in ("submissions", "pop3s"):
            with Client(house, service) as client:
                for name in ("tls-unique", "tls-unique-for-telnet", "TLS-EXPORTER", "x"):
                    got = refused(plus, client, house, name, b"bytes")
                    match(got, wrong(client.pop, "Channel binding failed: unsupported-channel-binding-type"))


def test_malformed():
    with Instance() as house:
        for mechanism, flag in ((PLUS, "n"), (PLUS, "y"), (PLUS, "p="), (PLUS, "p=a b"), ("SCRAM-SHA-256", "p=tls-exporter"),
                                ("SCRAM-SHA-256", "x")):
            with Client(house, "submissions") as client:
                got = refused(client.scram, house.address("alice"), house.passwords["alice"], mechanism, flag)
                match(got, r"^501 5\.5\.2 ")


def test_resumed_session():
    """A ticket keeps keys, not bindings: each connection has its own."""
    with Instance() as house:
        for version, name in ((TLS13, "tls-exporter"), (TLS12, "tls-unique")):
            with Client(house, "pop3s", version) as client:
                plus(client, house, name)
                session, context = client.wire.sock.session, client.wire.sock.context
                before = client.binding(name)
            with Client(house, "pop3s", version) as client:
                client.wire.close()
                os.unlink(os.path.join(client.folder.name, "keys"))
                context.keylog_filename = os.path.join(client.folder.name, "keys")
                plain = Lines(house.port("pop3s"))
                plain.sock = context.wrap_socket(plain.sock, server_hostname="localhost", session=session)
                client.wire = plain
                client.wire.line()
                assert client.wire.sock.session_reused, f"{version.name}: the session was not resumed"
                assert client.binding(name) != before, f"{name} is the same in two connections"
                plus(client, house, name)
                client.works()


def test_gsasl():
    harness.need("gsasl")
    with Instance() as house:
        for name, priority in (("tls-exporter", "NORMAL"), ("tls-unique", "NORMAL:-VERS-TLS1.3")):
            _, out, err = harness.program(
                "gsasl", "--smtp", "--verbose", f"--connect=localhost:{house.port('submission')}", f"--mechanism={PLUS}",
                f"--authentication-id={house.address('alice')}", f"--password={house.passwords['alice']}", f"--x509-ca-file={house.ca}",
                f"--priority={priority}", "--quality-of-protection=qop-auth", "--hostname=localhost", input="\n", timeout=30)
            match(out, rf"\n{base64.b64encode(f'p={name},,n='.encode()).decode()[:16]}", f"gsasl says {err}; the exchange")
            match(out, r"\n235 2\.7\.0 ", f"gsasl says {err}; the exchange")


if __name__ == "__main__":
    harness.main()
