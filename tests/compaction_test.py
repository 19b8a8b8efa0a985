#!/usr/bin/env python3
"""Expunged mail gives its room on the disk back while the server runs, and what stays is where readers find it."""
import os
import random

import harness

KB = 1024


def small_segments(house):
    """Segments of 1 MiB, so that a few messages fill several."""
    with open(house.conf, "a") as f:
        f.write("\nlog_segment_size 1M\n")


def letter(number):
    text = random.Random(number).randbytes(30 * KB).hex()
    lines = "\n".join(text[i:i + 76] for i in range(0, len(text), 76))
    return harness.message_of(lines, f"letter {number}")


def fill(house, count, users=("alice",)):
    with house.smtp() as client:
        for number in range(count):
            client.sendmail("someone@elsewhere.example", [house.address(u) for u in users], letter(number))


def delete(house, user, keep_every):
    client = house.pop(user)
    for n in range(client.stat()[0]):
        if n % keep_every:
            client.dele(n + 1)
    client.quit()


def used(house):
    """Bytes that the segments of mail take."""
    total = 0
    for folder, _, names in os.walk(os.path.join(house.dir, "data", "log")):
        total += sum(os.stat(os.path.join(folder, n)).st_blocks * 512 for n in names)
    return total


def store_says_all_is_well(house):
    house.stop()
    harness.equal(house.check("store", "check").strip().endswith("0 findings."), True, "store check is content")
    house.check("store", "rebuild")
    harness.match(house.check("store", "check"), "agrees with the journal")
    house.start()


def test_room_comes_back():
    with harness.Instance(start=False) as house:
        small_segments(house)
        house.start()
        fill(house, 120, ("alice", "bob"))
        before = house.wait_for(120, seconds=10)
        full = used(house)
        reader = house.pop("alice")  # its maildrop holds the old places
        delete(house, "bob", 8)
        house.check("store", "compact", "--now")
        harness.equal(house.status()["roles"]["store"]["compaction_removed_segments"], 0)
        for n in range(120):
            if n % 8:
                reader.dele(n + 1)
        reader.quit()
        house.check("store", "compact", "--now")
        harness.equal(house.mailbox("alice"), before[::8], "what alice kept")
        status = house.status()["roles"]["store"]
        assert status["compaction_removed_segments"] >= 3, status
        assert used(house) < full * 0.65, f"{used(house)} of {full} bytes are still used"
        store_says_all_is_well(house)
        harness.equal(house.mailbox("alice"), before[::8], "what alice kept, after a restart")
        harness.equal(len(house.mailbox("bob")), 15, "messages of bob")


def test_readers_keep_their_places():
    with harness.Instance(start=False) as house:
        small_segments(house)
        house.start()
        fill(house, 60, ("alice", "bob"))
        before = house.wait_for(60, "bob", seconds=10)
        delete(house, "alice", 6)
        bob = house.pop("bob")
        harness.equal(bob.stat()[0], 60)
        client = house.pop("alice")
        client.quit()
        delete_bob = [n for n in range(60) if n % 6]
        house.check("store", "compact", "--now")
        for n in range(60):
            harness.equal(b"".join(line + b"\r\n" for line in bob.retr(n + 1)[1]), before[n], f"message {n}")
        for n in delete_bob:
            bob.dele(n + 1)
        bob.quit()
        house.check("store", "compact", "--now")
        harness.equal(house.mailbox("bob"), before[::6], "what bob kept")


def test_retention_is_kept():
    with harness.Instance(start=False) as house:
        small_segments(house)
        house.start()
        fill(house, 60)
        house.wait_for(60, seconds=10)
        delete(house, "alice", 61)
        house.check("store", "compact")
        status = house.status()["roles"]["store"]
        harness.equal(status["compaction_removed_segments"], 0, "segments removed within expunged_retention")
        house.check("store", "compact", "--now")
        assert house.status()["roles"]["store"]["compaction_removed_segments"] >= 1


if __name__ == "__main__":
    harness.main()
