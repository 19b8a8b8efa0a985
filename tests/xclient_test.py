#!/usr/bin/env python3
"""Who speaks for whom: XCLIENT and the PROXY protocol, from listed networks only; what depends on the client follows."""
import base64
import re
import socket
import ssl
import struct
import time

import harness
from harness import Instance, Lines, equal, eventually, match, message_of

GATEWAY, PROXY, OTHER = "127.0.0.3", "127.0.0.4", "127.0.0.5"
SETTINGS = {"smtpd_authorized_xclient_hosts": GATEWAY, "smtpd_upstream_proxy_hosts": PROXY}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ATTRIBUTES = "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"


def connected(house, service="smtp", source=GATEWAY):
    wire = house.lines(service, source=source)
    match(wire.reply(), "^220 ")
    return wire


def v1(client, port=4025, server="127.0.0.1"):
    family = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {family} {client} {'::1' if ':' in client else server} {port} 25\r\n".encode()


def v2(client=None, port=4025, command=1, family=None, tlvs=b"", body=None):
    if body is None:
        v6 = client and ":" in client
        raw = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, client) if client else b""
        body = raw + raw + struct.pack(">HH", port, 25) if client else b""
        family = family if family is not None else (0x21 if v6 else 0x11) if client else 0
    body += tlvs
    return SIGNATURE + bytes([0x20 | command, family or 0]) + struct.pack(">H", len(body)) + body


def proxied(house, header, service="smtp", source=PROXY, timeout=10):
    """A connection from a proxy, its header sent, greeting not read; TLS behind the header where the service has it."""
    wire = Lines(house.port(service), source, None, timeout)
    tls = service in ("submissions", "pop3s")
    wire.raw(header)
    if tls:
        wire.starttls(house.tls())
    return wire


def deliver(wire, helo="EHLO sender.example"):
    if helo:
        wire.expect(helo, 250)
    wire.expect("MAIL FROM:<x@elsewhere.example>", 250)
    wire.expect("RCPT TO:<alice@posthouse.test>", 250)
    wire.expect("DATA", 354)
    wire.raw(message_of("hello") + b".\r\n")
    match(wire.reply(), "^250 2.0.0")


# XCLIENT


def test_not_offered_to_others():
    with Instance(settings=SETTINGS) as house:
        with connected(house, source=OTHER) as wire:
            assert "XCLIENT" not in wire.expect("EHLO x.example", 250)
            wire.expect("XCLIENT ADDR=192.0.2.7", "550 5.7.0")
            deliver(wire, None)
        match(house.wait_for(1)[0], r"\(unknown \[127\.0\.0\.5\]\)", "Received line")
    with Instance() as house, connected(house) as wire:  # by default to nobody
        assert "XCLIENT" not in wire.expect("EHLO x.example", 250)


def test_client_of_xclient():
    with Instance(settings=SETTINGS) as house, connected(house) as wire:
        match(wire.expect("EHLO gateway.example", 250), ATTRIBUTES)
        match(wire.say("XCLIENT NAME=spike.example.org ADDR=192.0.2.7 PORT=4711 DESTADDR=192.0.2.1 DESTPORT=25"), "^220 ")
        wire.expect("MAIL FROM:<x@elsewhere.example>", 503)
        deliver(wire, "EHLO spike.example.org")
        match(wire.say("XCLIENT ADDR=IPV6:2001:DB8:0::1"), "^220 ")
        deliver(wire, "EHLO six.example.org")
        match(wire.say("XCLIENT ADDR=IPV6:::ffff:192.0.2.8 HELO=mapped.example PROTO=SMTP"), "^220 ")
        deliver(wire, None)
        match(wire.say("XCLIENT ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE] HELO=[unavailable]"), "^220 ")
        deliver(wire)
        box = house.wait_for(4)
        match(box[0], r"\nReceived: from spike\.example\.org \(spike\.example\.org \[192\.0\.2\.7\]\)", "Received line")
        match(box[1], r"\nReceived: from six\.example\.org \(unknown \[IPv6:2001:db8::1\]\)", "Received line")
        match(box[2], r"\nReceived: from mapped\.example \(unknown \[192\.0\.2\.8\]\)\r\n\tby \S+ with SMTP\r\n", "Received line")
        match(box[3], r"\nReceived: from sender\.example\r\n\tby \S+ with ESMTP\r\n", "Received line")
        match(house.log(), r"event=xclient [^\n]*client=192\.0\.2\.7 port=4711 name=spike\.example\.org [^\n]*peer=127\.0\.0\.3 peer_port=\d+")


def test_wrong_xclient_changes_nothing():
    with Instance(settings=SETTINGS) as house, connected(house) as wire:
        wire.expect("EHLO gateway.example", 250)
        for line in ("LOGIN=alice@posthouse.test", "ADDR=192.0.2.7 LOGIN=alice", "ADDR=192.0.2.256", "ADDR=2001:db8::g", "ADDR=x.example",
                     "NAME=a..b", "NAME=a+0Ab", "PORT=0", "", "ADDR=192.0.2.7+00", "NAME=" + "a." * 200 + "example"):
            wire.expect(f"XCLIENT {line}", "501 5.5.4")
        deliver(wire, None)
        match(house.wait_for(1)[0], r"\nReceived: from gateway\.example \(unknown \[127\.0\.0\.3\]\)", "Received line")
        wire.expect("MAIL FROM:<x@elsewhere.example>", 250)
        wire.expect("XCLIENT ADDR=192.0.2.7", 503)


def test_policy_sees_the_announced_client():
    rules = "smtpd_client_restrictions check_client_access file:clients\nsmtpd_relay_restrictions permit_mynetworks, reject_unauth_destination"
    files = {"clients": "192.0.2.66 REJECT No entry\nspike.example.org REJECT No spikes\n"}
    more = {"mynetworks": f"{GATEWAY}/32", "smtpd_delay_reject": "no"}
    with Instance(settings={**SETTINGS, **more}, listeners={"smtp": rules}, files=files) as house, connected(house) as wire:
        wire.expect("EHLO gateway.example", 250)
        wire.expect("MAIL FROM:<x@elsewhere.example>", 250)
        match(wire.say("RCPT TO:<victim@elsewhere.example>"), "^250 2.1.5")  # a client of mynetworks may send to other hosts
        wire.expect("RSET", 250)
        match(wire.say("XCLIENT ADDR=192.0.2.7"), "^220 ")
        wire.expect("EHLO gateway.example", 250)
        wire.expect("MAIL FROM:<x@elsewhere.example>", 250)
        match(wire.say("RCPT TO:<victim@elsewhere.example>"), "^554 5.7.1")  # no longer of mynetworks
        wire.expect("RSET", 250)
        match(wire.say("XCLIENT ADDR=192.0.2.66"), "^554 5.7.1 .*No entry")  # the greeting refuses
        wire.expect("EHLO gateway.example", 503)
        wire.expect("QUIT", 221)
    with Instance(settings={**SETTINGS, **more}, listeners={"smtp": rules}, files=files) as house, connected(house) as wire:
        wire.expect("EHLO gateway.example", 250)
        match(wire.say("XCLIENT NAME=spike.example.org"), "^554 5.7.1 .*No spikes")


def test_limits_count_the_announced_client():
    settings = {**SETTINGS, "smtpd_client_connection_count_limit": "2", "smtpd_hard_error_limit": "3",
                "trusted_clients": f"{GATEWAY}/32"}
    with Instance(settings=settings) as house:
        wires = [connected(house) for _ in range(5)]  # the gateway itself is trusted
        said = [w.expect("EHLO x.example", 250) and w.say("XCLIENT ADDR=192.0.2.7") for w in wires[:3]]
        equal([s[:9] for s in said[:2]] + [said[2][:3]], [said[0][:9]] * 2 + ["421"])
        match(said[2], "^421 .*Too many connections")
        match(said[0], "^220")
        assert wires[2].ended()
        match(wires[3].expect("EHLO x.example", 250) and wires[3].say("XCLIENT ADDR=192.0.2.8"), "^220")
        wires[0].close()
        harness.eventually(lambda: (lambda w: w.expect("EHLO x.example", 250) and w.say("XCLIENT ADDR=192.0.2.7"))(
            connected(house)).startswith("220"), what="a place is free again")
        for _ in range(3):
            wires[1].expect("NONSENSE", 500)
        match(wires[1].reply(), "^421 .*Too many errors")  # not trusted any more
        for wire in wires:
            wire.close()
        harness.eventually(lambda: house.status()["roles"]["smtp-in"]["sessions"] == 0)


def test_xclient_after_starttls_and_log_in():
    with Instance(settings=SETTINGS) as house, connected(house, "submission") as wire:
        wire.expect("EHLO gateway.example", 250)
        wire.expect("STARTTLS", 220)
        wire.starttls(house.tls())
        match(wire.expect("EHLO gateway.example", 250), ATTRIBUTES)
        plain = base64.b64encode(f"\0alice@posthouse.test\0{house.passwords['alice']}".encode()).decode()
        wire.expect(f"AUTH PLAIN {plain}", 235)
        match(wire.say("XCLIENT ADDR=192.0.2.7"), "^220 ")
        assert "STARTTLS" not in wire.expect("EHLO gateway.example", 250)
        wire.expect("MAIL FROM:<alice@posthouse.test>", 530)  # the log-in was another client's
        wire.expect(f"AUTH PLAIN {plain}", 235)
        wire.expect("MAIL FROM:<alice@posthouse.test>", 250)


def test_many_xclients_in_one_session():
    with Instance(settings={**SETTINGS, "smtpd_junk_command_limit": "100000"}) as house, connected(house, source=GATEWAY) as wire:
        for i in range(2000):
            match(wire.say(f"XCLIENT ADDR=10.0.{i // 256}.{i % 256} NAME=host{i}.{'x' * 60}.example HELO=h{i}.example PROTO=ESMTP"), "^220 ")
        deliver(wire, None)
        match(house.wait_for(1)[0], r"\nReceived: from h1999\.example \(host1999\.x+\.example \[10\.0\.7\.207\]\)", "Received line")


# PROXY


def test_versions_on_every_listener():
    with Instance(settings=SETTINGS) as house:
        headers = [v1("192.0.2.7"), v2("192.0.2.7"), v2("192.0.2.7", tlvs=b"\x04\0\x05hello\x01\0\x02h2"), v1("2001:db8::7"),
                   v2("2001:db8::7")]
        for header in headers:
            for service in ("smtp", "submission", "submissions", "pop3", "pop3s", "lmtp"):
                with proxied(house, header, service) as wire:
                    # the client is none of lmtp_networks
                    match(wire.line(), "^554 5.7.1" if service == "lmtp" else r"^\+OK" if service.startswith("pop") else "^220 ")
        log = house.log()
        for client in (r"192\.0\.2\.7", "2001:db8::7"):
            for service in ("smtp", "submissions", "pop3", "pop3s"):
                match(log, rf"event=connect [^\n]*client={client} port=4025 listener={service} peer=127\.0\.0\.4", "log")
        for service in ("smtp", "lmtp"):
            with proxied(house, v1("127.0.0.9"), service) as wire:
                match(wire.reply(), "^220 ")
                deliver(wire, "LHLO sender.example" if service == "lmtp" else "EHLO sender.example")
        for message in house.wait_for(2):
            match(message, r"\(unknown \[127\.0\.0\.9\]\)", "Received line")


def test_header_and_more_in_any_pieces():
    with Instance(settings=SETTINGS) as house:
        for header in (v1("192.0.2.7"), v2("192.0.2.7")):
            with Lines(house.port("smtp"), PROXY) as wire:
                for i in range(len(header)):
                    wire.raw(header[i:i + 1])
                    time.sleep(0.001)
                match(wire.reply(), "^220 ")
            with Lines(house.port("pop3"), PROXY) as wire:  # a client that does not wait for its greeting
                wire.raw(header + b"CAPA\r\nQUIT\r\n")
                match(wire.line(), r"^\+OK")
                match(wire.line(), r"^\+OK")
        for service in ("submissions", "pop3s"):  # header and TLS in one packet
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = house.tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with socket.create_connection(("127.0.0.1", house.port(service)), 10, (PROXY, 0)) as s:
                first = v2("192.0.2.7")
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        s.sendall(first + outgoing.read())
                        first = b""
                        incoming.write(s.recv(65536))
                s.sendall(outgoing.read())
                text = b""
                while b"\n" not in text:
                    try:
                        text += tls.read(1000)
                    except ssl.SSLWantReadError:
                        incoming.write(s.recv(65536))
                match(text, r"^220 |^\+OK")


def test_proxy_speaks_for_itself():
    with Instance(settings=SETTINGS) as house:
        unix = v2(family=0x31, body=b"/run/a".ljust(216, b"\0"))
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n", v2(command=0), v2("192.0.2.7", command=0), v2(), unix):
            with proxied(house, header) as wire:
                match(wire.reply(), "^220 ")
                deliver(wire)
        box = house.wait_for(6)
        for message in box:
            match(message, r"\(unknown \[127\.0\.0\.4\]\)", "Received line")


def test_wrong_headers_end_the_connection():
    wrong = [b"EHLO x.example\r\n", b"PROXY\r\n", b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n",
             b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n", b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n", v2("192.0.2.7", body=b"short", family=0x11),
             v2("192.0.2.7", tlvs=b"\x04\xff\xff"), v2("192.0.2.7", tlvs=b"\x04\x02\x00" + b"x" * 512), v2("192.0.2.7", command=7),
             SIGNATURE + b"\x11\x11\0\0", SIGNATURE + b"\x21\x11\xff\xff", b"\x16\x03\x01\x02\x00\x01"]
    with Instance(settings=SETTINGS) as house:
        for header in wrong:
            for service in ("smtp", "pop3", "submissions"):
                with Lines(house.port(service), PROXY) as wire:
                    wire.raw(header)
                    assert wire.ended(3), header
                    equal(wire.rest, b"", "said")
        with Lines(house.port("smtp"), PROXY) as wire:  # half a header, then the end
            wire.raw(b"PROXY TCP4 192.0.2.7")
            wire.sock.shutdown(socket.SHUT_WR)
            assert wire.ended(3)
        match(house.log(), r"event=proxy [^\n]*peer=127\.0\.0\.4 why=")
        harness.eventually(lambda: house.status()["roles"]["smtp-in"]["sessions"] == 0)


def test_header_must_come_in_time():
    with Instance(settings=SETTINGS) as house:
        wires = [Lines(house.port(service), PROXY) for service in ("smtp", "lmtp", "submissions", "pop3", "pop3s")]
        begun = time.monotonic()
        wires[0].raw(b"PROXY TCP4 ")
        for wire in wires:
            assert wire.ended(8), "still open"
            took = time.monotonic() - begun
            assert 4.5 < took < 7, took
        equal([wire.rest for wire in wires], [b""] * 5, "said")


def test_others_get_a_syntax_error():
    with Instance(settings=SETTINGS) as house:
        with house.lines("smtp", source=OTHER) as wire:
            match(wire.reply(), "^220 ")
            wire.expect("PROXY TCP4 192.0.2.7 192.0.2.1 1 2", "500 5.5.2")
            deliver(wire)
        match(house.wait_for(1)[0], r"\(unknown \[127\.0\.0\.5\]\)", "Received line")
        with house.lines("pop3", source=OTHER) as wire:
            match(wire.line(), r"^\+OK")
            match(wire.raw("PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n").line(), "^-ERR")


def test_proxied_client_counts_and_may_use_xclient():
    settings = {"smtpd_upstream_proxy_hosts": PROXY, "smtpd_authorized_xclient_hosts": "192.0.2.9", "trusted_clients": None,
                "smtpd_client_connection_count_limit": "2"}
    with Instance(settings=settings) as house:
        for service, ok in (("smtp", "^220"), ("pop3", r"^\+OK")):
            wires = [proxied(house, v1(client), service) for client in ["192.0.2.7"] * 3 + ["192.0.2.8"] * 3]
            lines = [wire.line() for wire in wires]
            for i in (0, 1, 3, 4):
                match(lines[i], ok)
            for i in (2, 5):
                match(lines[i], "Too many connections")
                assert wires[i].ended()
            for wire in wires:
                wire.close()
        with proxied(house, v1("192.0.2.9")) as wire:
            match(wire.reply(), "^220")
            match(wire.expect("EHLO x.example", 250), ATTRIBUTES)
            match(wire.say("XCLIENT ADDR=192.0.2.10"), "^220")
        eventually(lambda: re.search(r"event=xclient [^\n]*client=192\.0\.2\.10 [^\n]*peer=127\.0\.0\.4 ", house.log()), what="its line in the log")


def test_log_in_penalty_is_the_clients():
    settings = {"smtpd_upstream_proxy_hosts": PROXY, "trusted_clients": None}
    with Instance(settings=settings) as house:
        def attempt(client, password):
            with proxied(house, v2(client), "pop3s", timeout=30) as wire:
                match(wire.line(), r"^\+OK")
                begun = time.monotonic()
                match(wire.raw("USER alice@posthouse.test\r\n").line(), r"^\+OK")
                said = wire.raw(f"PASS {password}\r\n").line()
                return said, time.monotonic() - begun
        for _ in range(3):
            match(attempt("192.0.2.7", "wrong")[0], "^-ERR")
        said, took = attempt("192.0.2.99", house.passwords["alice"])
        match(said, r"^\+OK")
        assert took < 0.5, f"another client of the proxy waited {took} s"
        assert attempt("192.0.2.7", house.passwords["alice"])[1] > 1.5


if __name__ == "__main__":
    harness.main()
