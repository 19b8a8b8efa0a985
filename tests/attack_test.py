#!/usr/bin/env python3
"""What strangers may try with many connections: memory held before log-in is bounded, and slow clients slow nobody else down."""
import contextlib
import resource
import socket
import threading
import time

import harness
from harness import eventually

CLIENTS, SLOW = 100, 2000  # connections at once
KIB = 1024
TO_ALICE = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@posthouse.test>\r\n"
# the worst that fits each service before a log-in; nobody reads the answers
UNITS = {
    "smtp": [b"A" * 200000, b"EHLO x\r\n" + b"NOOP " + b"(" * 100000, b"EHLO x\r\n" * 90, b"MAIL FROM:<a@b.example>" + b" X=" * 60000,
             b"\r\n" * 50000, b"BDAT 2147483647\r\n" + b"x" * 100000, TO_ALICE + b"BDAT 0\r\n" * 50000],
    "submission": [b"EHLO x\r\nAUTH PLAIN " + b"A" * 200000, b"EHLO x\r\nAUTH LOGIN\r\n" + b"A" * 100000],
    "pop3": [b"USER " + b"u" * 200000, b"AUTH PLAIN " + b"A" * 200000, b"\r\n" * 50000],
}


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) * KIB


def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def push(wire, data):
    """As much as the server takes without being read from."""
    wire.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while data:
            data = data[wire.send(data):]


def test_memory_before_log_in():
    descriptors()
    with harness.Instance() as house:
        pids = house.pids()
        for service, role in (("smtp", "smtp-in"), ("submission", "smtp-in"), ("pop3", "access")):
            worst = max(memory_of_many(house, service, pids[role], unit) for unit in UNITS[service])
            print(f"    {service}: {worst / KIB:.1f} KiB a connection at worst")
        # a message that is not yet whole: up to 128 KiB of it, then it goes to the disk
        content = memory_of_many(house, "smtp", pids["smtp-in"], TO_ALICE + b"DATA\r\nSubject: x\r\n\r\n" + b"x" * 70 * 1500, 320 * KIB)
        envelope = memory_of_many(house, "smtp", pids["smtp-in"], TO_ALICE + b"RCPT TO:<alice@posthouse.test>\r\n" * 4000, 256 * KIB)
        print(f"    an unfinished message: {content / KIB:.1f} KiB; an envelope with all recipients it may have: {envelope / KIB:.1f} KiB")
        assert house.pids() == pids


def deaf(port):
    """A connection that takes little of what the server says."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.connect(("127.0.0.1", port))
    return wire


def memory_of_many(house, service, pid, unit, limit=64 * KIB):
    """What each of many connections costs that have sent this and read nothing."""
    before = memory(pid)
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            push(stack.enter_context(deaf(house.port(service))), unit)
        with house.smtp() as client:
            assert client.noop()[0] == 250
        time.sleep(0.3)
        each = (memory(pid) - before) / CLIENTS
    assert each < limit, f"{service}: {each / KIB:.0f} KiB for each of {CLIENTS} connections that sent {unit[:100]!r}…"
    eventually(lambda: house.status()["roles"]["smtp-in"]["sessions"] == 0, 5, "all sessions end")
    return each


def latencies(house, sessions=20, messages=25):
    """Seconds that each message took from MAIL to 250, of honest sessions side by side, sorted."""
    taken = []

    def honest():
        with house.smtp() as client:
            for _ in range(messages):
                start = time.monotonic()
                client.sendmail("a@elsewhere.example", ["alice@posthouse.test"], b"Subject: x\r\n\r\nx\r\n")
                taken.append(time.monotonic() - start)
                time.sleep(0.02)

    threads = [threading.Thread(target=honest) for _ in range(sessions)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(taken) == sessions * messages
    return sorted(taken)


def p99(times):
    return times[len(times) * 99 // 100]


def at_rest(pid):
    """Nearly no processor time in half a second."""
    def used():
        with open(f"/proc/{pid}/schedstat") as f:
            return int(f.read().split()[0]) / 1e9
    before = used()
    time.sleep(0.5)
    return used() - before < 0.02


def test_slow_clients_slow_nobody():
    """2000 clients that send a byte every 5 s and 2000 that ask for much and never read: honest mail takes less than twice as long."""
    descriptors()
    with harness.Instance(settings={"smtpd_hard_error_limit": "100000", "smtpd_junk_command_limit": "100000"}) as house:
        with contextlib.ExitStack() as stack:
            pid = house.pids()["smtp-in"]
            quiet = min((latencies(house) for _ in range(2)), key=p99)
            drips = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port("smtp")))) for _ in range(SLOW)]
            for wire in [stack.enter_context(deaf(house.port("smtp"))) for _ in range(SLOW)]:
                push(wire, b"EHLO x\r\n" + b"HELP\r\n" * 1000)
            eventually(lambda: at_rest(pid), 40, "the server has answered as much as is taken")
            done = threading.Event()

            def drip():
                for byte in b"EHLO slow.example\r\nMAIL FROM:<a@b.example>\r\n" * 20:
                    for n, wire in enumerate(drips):
                        with contextlib.suppress(OSError):
                            wire.send(bytes([byte]))
                        if n % 20 == 19 and done.wait(5 * 20 / SLOW):
                            return

            thread = threading.Thread(target=drip)
            thread.start()
            try:
                busy = min((latencies(house) for _ in range(3)), key=p99)  # the machine does other things too
                sessions = house.status()["roles"]["smtp-in"]["sessions"]
            finally:
                done.set()
                thread.join()
        print(f"    99 of 100 messages within {p99(quiet) * 1000:.1f} ms, beside {sessions} slow clients within {p99(busy) * 1000:.1f} ms")
        assert sessions >= 2 * SLOW, f"{sessions} sessions"
        assert p99(busy) < 2 * p99(quiet) + 0.02, f"{p99(busy):.3f} s beside slow clients, {p99(quiet):.3f} s without"
        eventually(lambda: house.status()["roles"]["smtp-in"]["sessions"] == 0, 10, "all sessions end")


def test_dictionary_of_passwords():
    """Guessing from one address becomes slow; a user elsewhere is not kept waiting."""
    with harness.Instance(settings={"trusted_clients": None}) as house:
        waited = []
        for n in range(4):
            with house.smtp("submissions", source="127.0.0.7") as client:
                start = time.monotonic()
                code = client.docmd("AUTH", "PLAIN " + "AGFsaWNlQHBvc3Rob3VzZS50ZXN0AHdyb25n")[0]  # alice, "wrong"
                waited.append(time.monotonic() - start)
                assert code == 535, code
        assert waited[3] > waited[1] + 0.4 and waited[3] > 2, waited
        start = time.monotonic()
        with house.smtp("submissions", source="127.0.0.8") as client:
            client.login(house.address("alice"), house.passwords["alice"])
        assert time.monotonic() - start < 1.5


if __name__ == "__main__":
    harness.main()
