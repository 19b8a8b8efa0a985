"""The load generators of `make bench` against a running server: they come to their end and count right."""
import json
import os
import socket
import subprocess
import tempfile

import harness

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def build(folder, name):
    path = os.path.join(folder, "bench", name)
    made = subprocess.run(["make", "-s", "-C", ROOT, f"B={folder}", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    harness.equal(made.returncode, 0, made.stdout)
    return path


def test_idle_connections_are_held_until_told():
    with harness.Instance() as house:
        for tls in ([], ["-t", "starttls"]):
            load = subprocess.Popen([build(house.path("b"), "smtp_load"), "-H", "-p", str(house.base + 25), "-c", "5", *tls],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            harness.equal(json.loads(load.stdout.readline())["ready"], 5)
            rest, _ = load.communicate(timeout=10)
            harness.equal((json.loads(rest), load.returncode), ({"open": 5}, 0))


def test_a_mailbox_is_downloaded_whole():
    with harness.Instance() as house:
        for _ in range(3):
            house.send("bob@posthouse.test")
        octets = sum(len(m) for m in house.wait_for(3, "bob"))
        load = [build(house.path("b"), "pop3_load"), "-a", f"bob@posthouse.test:{house.passwords['bob']}", "-p"]
        for more in ([str(house.base + 110), "-t", "stls"], [str(house.base + 995), "-t", "implicit", "-d", "16"]):
            got = json.loads(subprocess.run([*load, *more], stdout=subprocess.PIPE, text=True, check=True).stdout)
            harness.equal(got["messages"], 3)
            assert octets <= got["bytes"] < octets + 300, (octets, got)
            assert got["end"] > got["start"]


def test_the_sink_counts_rounds():
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        sink = subprocess.Popen([build(folder, "smtp_sink"), "-p", port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        harness.equal(json.loads(sink.stdout.readline()), {"ready": int(port)})
        for connections, messages in ((3, 50), (1, 2)):
            print(messages, file=sink.stdin, flush=True)
            subprocess.run([build(folder, "smtp_load"), "-p", port, "-c", str(connections), "-m", str(messages), "-d", "far.test"],
                           stdout=subprocess.DEVNULL, check=True)
            got = json.loads(sink.stdout.readline())
            harness.equal((got["messages"], got["connections"]), (messages, connections))
            assert 1900 * messages < got["bytes"] < 2200 * messages and got["last"] >= got["first"] > 0, got
        print("5\n0", file=sink.stdin, flush=True)  # a round is ended by the next
        harness.equal(json.loads(sink.stdout.readline())["messages"], 0)
        sink.stdin.close()
        harness.equal(sink.wait(10), 0)
        sink.stdout.close()


def test_imap_commands_are_counted():
    with harness.Instance() as house:
        load = [build(house.path("b"), "imap_load"), "-a", f"bob@posthouse.test:{house.passwords['bob']}", "-l", "20"]
        plain, tls = ["-p", str(house.port("imap")), "-t", "starttls"], ["-p", str(house.port("imaps")), "-t", "implicit"]

        def loaded(*args):
            return json.loads(subprocess.run([*load, *args], stdout=subprocess.PIPE, text=True, check=True).stdout)
        got = loaded(*tls, "-A", "3000", "-c", "2", "-n", "5")
        harness.equal((got["answered"], got["failed"]), (10, 0))
        got = loaded(*plain, "-n", "2", "FETCH 1:* BODY.PEEK[]")
        harness.equal((got["answered"], got["untagged"]), (2, 21))  # BYE is one
        assert 2 * 10 * 2800 < got["bytes"] < 2 * 10 * 3300, got
        harness.equal(loaded(*plain, "-n", "4", "STORE %i +FLAGS (\\Flagged)")["answered"], 4)
        harness.equal(loaded(*tls, "-c", "2", "-s", "3")["answered"], 6)
        refused = subprocess.run([*load, *tls, "NONSENSE"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        harness.equal((refused.returncode, json.loads(refused.stdout)["failed"]), (1, 1))
        idle = subprocess.Popen([*load, *tls, "-H", "-c", "5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        harness.equal(json.loads(idle.stdout.readline())["ready"], 5)
        rest, _ = idle.communicate(timeout=10)
        harness.equal((json.loads(rest), idle.returncode), ({"open": 5}, 0))


if __name__ == "__main__":
    harness.main()
