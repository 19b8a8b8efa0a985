"""The load generators of `make bench` against a running server: they come to their end and count right."""
import json
import os
import subprocess

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


if __name__ == "__main__":
    harness.main()
