#!/usr/bin/env python3
"""Expunged mail gives its room on the disk back while the server runs, and what stays is where readers find it."""
import contextlib
import os
import random
import threading
import time

import durability_test as disk
import harness
import kill_test
import ledger

KB, MB = 1024, 1 << 20
USERS = ["alice", "bob", "carol"]
SEED = int(os.environ.get("SEED", random.getrandbits(32)))


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


# a disk that is nearly full


def thin(house, book):
    """Of three messages of each mailbox, two are deleted."""
    for user in book.users:
        with ledger.Maildrop(house, user) as drop:
            drop.listing = drop.uidl()
            doomed = [n for n in range(1, len(drop.listing) + 1) if n % 3]
            drop.delete(doomed)
        book.deleted[user].update(drop.listing[n - 1] for n in doomed)


@contextlib.contextmanager
def lowest_room(where):
    """A list whose last element is, afterwards, the least room in bytes that was ever free."""
    lowest, ended = [], threading.Event()

    def watch():
        least = disk.free_kb(where)
        while not ended.wait(0.001):
            least = min(least, disk.free_kb(where))
        lowest.append(least * KB)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lowest
    finally:
        ended.set()
        watcher.join()


def compact(house, where):
    """A pass; (what the status says, the least room meanwhile)."""
    with lowest_room(where) as lowest:
        house.check("store", "compact", "--now")
    status = house.status()["roles"]["store"]
    return {name[len("compaction_"):]: n for name, n in status.items() if name.startswith("compaction_")}, lowest[0]


def fill_until_refused(house, book):
    load = ledger.Load(book, house.port("smtp"), sessions=10)
    load.start()
    harness.eventually(lambda: load.refusals > 20, 20, "452 for want of room")
    load.stop()
    book.audit(house, delete=False)


def test_nearly_full_disk():
    """Without room for a copy the pass says so and takes none; with what min_free keeps it empties segment after segment."""
    print(f"    seed {SEED}: SEED={SEED} tests/compaction_test.py test_nearly_full_disk", flush=True)
    settings = {"log_segment_size": "1M", "min_free": "24M"}
    with disk.image(96 * MB) as image, disk.mounted("-o", "loop", image) as where, harness.Instance(settings=settings, start=False) as house:
        disk.put_data(house, where)
        house.start()
        book = ledger.Ledger(random.Random(SEED), USERS, sizes=((1, 30 * KB),))
        fill_until_refused(house, book)
        thin(house, book)
        pids, filler = house.pids(), os.path.join(where, "filler")

        disk.fill(filler, 600 * KB)
        before = disk.free_kb(where) * KB
        done, least = compact(house, where)
        harness.equal((done["moved"], done["removed_segments"]), (0, 0), "moved and removed without room")
        assert done["postponed_segments"] > 5, done
        assert least > before - 300 * KB, f"{least} bytes were free, before it {before}"
        harness.match(house.log(), "compaction waits for room: [0-9]+ bytes are free, [0-9]+ are needed", "the log")
        book.audit(house, delete=False)

        os.unlink(filler)
        disk.fill(filler, 20 * MB)  # under min_free: no mail comes in
        done, least = compact(house, where)
        print(f"    {done}; {least} bytes were free at least", flush=True)
        assert least >= MB - 300 * KB, f"the copies left only {least} bytes"
        harness.equal(done["postponed_segments"], 0, "segments not copied with room for one at a time")
        harness.eventually(lambda: disk.free_kb(where) > 40 * KB, 5, "deleted mail gives its room back, 20 MB")
        time.sleep(disk.ROOM_ASKED_SECONDS)
        assert ledger.send_one(house, book), "mail is not taken although there is room"
        book.audit(house, delete=False)
        harness.equal(house.pids(), pids, "the roles: a full disk ends none of them")
        house.stop()
        kill_test.check_store(house)
        house.check("store", "rebuild")
        kill_test.check_store(house)
        house.start()
        book.audit(house, delete=False)


if __name__ == "__main__":
    harness.main()
