#!/usr/bin/env python3
"""TLS and the wrong protocol: names in the client's hello that mean no good, renegotiation, browsers and SSH clients on mail ports."""
import os
import socket
import ssl
import struct
import subprocess
import time

import harness
from harness import equal, match


def client_hello(house):
    """(bytes of a client's first message without a name, where its extensions begin)."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wire = house.tls()
    wire.check_hostname = False
    try:
        wire.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()[5:]
    at = 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + struct.unpack_from(">H", hello, at)[0]
    at += 1 + hello[at]
    return hello, at


def with_name(hello, at, extension):
    """The record of that hello with an extension server_name of these bytes."""
    named = struct.pack(">HH", 0, len(extension)) + extension
    extensions = named + hello[at + 2:]
    body = hello[4:at] + struct.pack(">H", len(extensions)) + extensions
    message = hello[:1] + struct.pack(">I", len(body))[1:] + body
    records = [message[i:i + 16384] for i in range(0, len(message), 16384)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(r)) + r for r in records)


def name_list(*names, kind=0):
    entries = b"".join(bytes([kind]) + struct.pack(">H", len(n)) + n for n in names)
    return struct.pack(">H", len(entries)) + entries


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024


def answer(house, record):
    """The type of the first TLS record that comes back (22 handshake, 21 alert), None if nothing does."""
    with socket.create_connection(("127.0.0.1", house.port("submissions")), 5) as s:
        s.sendall(record)
        s.shutdown(socket.SHUT_WR)
        try:
            got = s.recv(1)
        except ConnectionResetError:
            got = b""
        return got[0] if got else None


def test_names_of_every_kind():
    """A backslash at the end (CVE-2019-15846), NUL, every length around 255, lists that lie about their lengths; then many names."""
    with harness.Instance() as house:
        pids = house.pids()
        hello, at = client_hello(house)
        names = [b"localhost", b"x\\", b"\\", b"a\0b", b"\0", b"", b".", b"../../etc/passwd", b"${run{id}}", b"%n%s", b"\xff" * 20, b"a" * 254, b"a" * 255,
                 b"a" * 256, b"a" * 15000, b"x.\n\x1b[2J", b"*"]
        for name in names:
            assert answer(house, with_name(hello, at, name_list(name))) in (21, 22), f"no TLS answer to the name {name[:30]!r}"
        lists = [b"", b"\0", b"\0\0", b"\0\1", b"\xff\xff", name_list(b"a", b"b"), name_list(*[b"a%d" % i for i in range(2000)]), name_list(b"a", kind=7),
                 name_list(b"a")[:-1], name_list(b"a") + b"x", struct.pack(">HBH", 5, 0, 65535) + b"ab"]
        for extension in lists:
            assert answer(house, with_name(hello, at, extension)) in (21, 22), f"no TLS answer to the list {extension[:30]!r}"
        for n in range(0, 60):  # cut everywhere
            answer(house, with_name(hello, at, name_list(b"localhost"))[:n])
        before = memory(pids["smtp-in"])
        begun = time.monotonic()
        for i in range(1000):
            answer(house, with_name(hello, at, name_list(b"host%d.example" % i)))
        grown = memory(pids["smtp-in"]) - before
        print(f"    1000 names in {time.monotonic() - begun:.1f} s, memory +{grown // 1024} KiB")
        assert grown < 1 << 20, f"{grown} bytes kept of 1000 names"
        equal(house.pids(), pids, "processes")
        with house.smtp("submissions") as client:
            equal(client.noop()[0], 250)


def test_renegotiation_is_refused():
    harness.need("openssl")
    with harness.Instance() as house:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{house.port('submissions')}", "-CAfile", house.path("tls/ca.pem"), "-tls1_2"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = b""
        while b"220 " not in out:
            out += os.read(process.stdout.fileno(), 65536)
        process.stdin.write(b"R\n")
        process.stdin.flush()
        out, _ = process.communicate(timeout=20)
        match(out.decode("utf-8", "replace"), "(?i)no.renegotiation|RENEGOTIATING.*(error|alert)")


def test_other_protocols_are_shown_the_door():
    """Browsers and SSH clients get one refusal, in clear or inside TLS; nothing behind their first line is read as a command."""
    smtp = b"EHLO client.example\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<alice@posthouse.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
    firsts = [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST /%0d%0a HTTP/1.0\r\nContent-Length: 500\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n",
              b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT localhost:25 HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", b"get / http/1.0\n\n"]
    with harness.Instance() as house:
        for service in ("smtp", "submission", "submissions", "lmtp", "pop3", "pop3s"):
            for first in firsts:
                with house.lines(service) as wire:
                    wire.line()
                    wire.raw(first + (b"USER alice\r\nCAPA\r\nQUIT\r\n" if "pop3" in service else smtp))
                    assert (wire.line() or "").startswith("-ERR" if "pop3" in service else "421 "), f"{service}: {first[:20]!r}"
                    equal(wire.line(), None, f"what {service} says after {first[:20]!r}")
        equal(house.status()["roles"]["smtp-in"]["messages"], 0, "messages")


if __name__ == "__main__":
    harness.main()
