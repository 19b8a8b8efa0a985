#!/usr/bin/env python3
"""Power cuts, many on one disk: what was acknowledged is there after each of them (DESIGN 1).

    CUTS=N    cuts (default 10)     FS=ext4|xfs    file system of the disk     SEED=N    repeats a run (each prints its seed)
    KEEP=1    a failing run leaves the image of its disk and says where
    powercut_test.py --expect-loss    a build whose syncs do nothing; passes if a loss is found

A round: the disk (an image on a loop device, mounted anew so that its journal is replayed) is checked as the cut left it, the server
starts on it, every message is read and compared with the ledger, 20 sessions send, a compaction begins. At a random moment everything is
stopped, the file system forgets what it has not written (FS_IOC_SHUTDOWN), the processes are gone.
"""
import contextlib
import os
import random
import re
import shutil
import sys
import tempfile
import time

import durability_test as disk
import harness
import kill_test
import ledger

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
CUTS = int(os.environ.get("CUTS", 10))
FS = os.environ.get("FS", "ext4")
SESSIONS = 20
SEGMENT = "4M"
SIZES = ((92, 2 * ledger.KB), (8, 200 * ledger.KB))
ROOM_OF_A_CUT = 24 * disk.MB      # more than a round writes
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
NO_SYNC = [("src/store/syncer.c", "int (*syncer_fdatasync)(int fd) = fdatasync;",
            "static int no_sync(int fd) { return fd < 0; }\nint (*syncer_fdatasync)(int fd) = no_sync;")]
expect_loss = False


@contextlib.contextmanager
def image():
    """A sparse file with a file system; kept after a failure if KEEP is set."""
    if os.geteuid() != 0:
        harness.skip("mounting needs root")
    harness.need(MAKE[FS][0], "mount", "umount")
    folder = tempfile.mkdtemp(prefix="posthouse-powercut-")
    path = os.path.join(folder, "disk.img")
    try:
        with open(path, "wb") as f:
            f.truncate(max(320 * disk.MB, CUTS * ROOM_OF_A_CUT))
        code, _, err = harness.program(*MAKE[FS], path)
        assert code == 0, err
        yield path
    except AssertionError:
        if os.environ.get("KEEP"):
            print(f"    the disk is kept: {path}", flush=True)
            folder = None
        raise
    finally:
        if folder:
            shutil.rmtree(folder)


def put_data(house, where):
    """The instance has its data on the disk mounted there."""
    if not os.path.exists(os.path.join(where, "data")):
        disk.move_data(house, where)
    house.data = os.path.join(where, "data")
    conf = re.sub(r"(?m)^data_directory .*\n", "", house.read("posthouse.conf"))
    house.write("posthouse.conf", conf + f"data_directory {house.data}\n")


def check_as_left(house):
    """What the cut left needs no repair: the check finds nothing that a start does not put right by itself."""
    begun = time.monotonic()
    code, out, err = house.cli("store", "check")
    assert code == 0, f"store check after the cut: exit code {code}: {out[-2000:]}{err}"
    return time.monotonic() - begun


def compare(house, book, seconds):
    """Starts the server and reads all mailboxes; returns (seconds of the start, unacknowledged found)."""
    house.start(30)  # what has gathered in many rounds is replayed
    return house.start_seconds, book.audit(house, seconds, keep=book.rng.choice((8, 60, 200)))


def play_round(house, book, where, number, seconds):
    """One round; the line to print."""
    before, written = book.count(ledger.ACKED), len(book.messages)
    put_data(house, where)
    checked = check_as_left(house) if number else 0
    started, unacked = compare(house, book, seconds)
    load = ledger.Load(book, house.port("smtp"), SESSIONS)
    load.start()
    with kill_test.compacting(house):
        time.sleep(book.rng.uniform(0.05, 0.7))
        store = house.status()["roles"].get("store", {})
        disk.cut_power(house, where)
    load.stop()
    acked, sent = book.count(ledger.ACKED) - before, len(book.messages) - written
    found = f"all {before} acked so far found, {unacked} unacked found, " if number else ""
    return f"{FS} cut {number + 1}: {found}check {checked:.2f} s, start {started:.2f} s; then sent {sent}, acked {acked}, " \
        f"moved {store.get('compaction_moved')}, removed {store.get('compaction_removed_segments')} segments"


def cut_rounds(cuts, binary=None, seconds=5):
    """Returns the ledger after the last audit; raises ledger.Loss."""
    book = ledger.Ledger(random.Random(SEED), ["alice", "bob", "carol"], SIZES)
    settings = {"log_segment_size": SEGMENT, "min_free": "1M"}
    with image() as path, harness.Instance(settings=settings, start=False) as house:
        house.binary = binary or house.binary
        for number in range(cuts):
            with disk.mounted("-o", "loop", path) as where:
                try:
                    line = play_round(house, book, where, number, seconds)
                finally:
                    if house.process:
                        house.kill_all()
            print("    " + line, flush=True)
        with disk.mounted("-o", "loop", path) as where:
            put_data(house, where)
            _, unacked = compare(house, book, seconds)
            house.stop()
            kill_test.check_store(house)
            house.check("store", "rebuild")
            kill_test.check_store(house)
        print(f"    {cuts} cuts: {book.count(ledger.ACKED)} acked, all found; {book.unacked_found()} unacked found", flush=True)
        return book


def test_power_cuts():
    print(f"    seed {SEED}: FS={FS} SEED={SEED} CUTS={CUTS} tests/powercut_test.py", flush=True)
    if expect_loss:
        lose_without_sync()
        return
    book = cut_rounds(CUTS)
    assert book.count(ledger.ACKED) > 50 * CUTS, "hardly any load: this run shows nothing"


def lose_without_sync():
    harness.need("make", "gcc")
    with kill_test.variant(NO_SYNC) as program:
        try:
            cut_rounds(CUTS, program, 0.5)
        except ledger.Loss as loss:
            print(f"    a build without syncs: {loss}")
            return
    raise AssertionError("no loss was found")


if __name__ == "__main__":
    harness.signal.signal(harness.signal.SIGTERM, lambda *_: sys.exit(1))
    if "--expect-loss" in sys.argv:
        sys.argv.remove("--expect-loss")
        expect_loss = True
    harness.main()
