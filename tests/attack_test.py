#!/usr/bin/env python3
"""What strangers may try with many connections: memory held before log-in is bounded, and slow clients slow nobody else down."""
import contextlib
import resource
import socket
import threading
import time

import harness
from harness import eventually

CLIENTS = 300
KIB = 1024
# the worst that fits each service before a log-in
UNITS = {
    "smtp": [b"A" * 200000, b"EHLO x\r\n" + b"NOOP " + b"(" * 100000, b"EHLO x\r\n" * 90, b"MAIL FROM:<a@b.example>" + b" X=" * 60000,
             b"\r\n" * 50000, b"BDAT 2147483647\r\n" + b"x" * 100000],
    "submission": [b"EHLO x\r\nAUTH PLAIN " + b"A" * 200000, b"EHLO x\r\nAUTH LOGIN\r\n" + b"A" * 100000],
    "pop3": [b"USER " + b"u" * 200000, b"AUTH PLAIN " + b"A" * 200000, b"\r\n" * 50000],
}


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) * KIB


def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))


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
            before = memory(pids[role])
            with contextlib.ExitStack() as stack:
                wires = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port(service)))) for _ in range(CLIENTS)]
                for n, wire in enumerate(wires):
                    push(wire, UNITS[service][n % len(UNITS[service])])
                time.sleep(1)
                grown = memory(pids[role]) - before
                print(f"    {service}: {grown / CLIENTS / KIB:.1f} KiB a connection")
                assert grown / CLIENTS < 64 * KIB, f"{service}: {grown / CLIENTS / KIB:.0f} KiB for each of {CLIENTS} connections"
                with house.smtp() as client:
                    assert client.noop()[0] == 250
        assert house.pids() == pids


def latencies(house, count):
    taken = []
    with house.smtp() as client:
        for _ in range(count):
            start = time.monotonic()
            client.sendmail("a@elsewhere.example", ["alice@posthouse.test"], b"Subject: x\r\n\r\nx\r\n")
            taken.append(time.monotonic() - start)
    return sorted(taken)


def test_slow_clients_slow_nobody():
    descriptors()
    with harness.Instance() as house:
        quiet = latencies(house, 60)
        done = threading.Event()
        with contextlib.ExitStack() as stack:
            drips = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port("smtp")))) for _ in range(CLIENTS)]
            readers = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port("smtp")))) for _ in range(50)]
            for wire in readers:  # asks for much and never reads
                push(wire, b"EHLO x\r\n" + b"HELP\r\n" * 20000)

            def drip():
                for byte in b"EHLO slow.example\r\nMAIL FROM:<a@b.example>\r\n" * 20:
                    for wire in drips:
                        with contextlib.suppress(OSError):
                            wire.send(bytes([byte]))
                    if done.wait(0.2):
                        return

            thread = threading.Thread(target=drip)
            thread.start()
            busy = latencies(house, 60)
            done.set()
            thread.join()
        print(f"    median quiet {quiet[30] * 1000:.1f} ms, beside {CLIENTS} slow clients {busy[30] * 1000:.1f} ms")
        assert busy[30] < max(5 * quiet[30], 0.05), f"{busy[30]:.3f} s beside slow clients, {quiet[30]:.3f} s without"
        eventually(lambda: house.status()["roles"]["smtp-in"]["sessions"] == 0, 5, "all sessions end")


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
