#!/usr/bin/env python3
"""What a disk may do to mail: power cuts, failing calls, damage, no room, messages larger than memory (DESIGN 5).

    SEED=N       repeats a run (test_power_cut prints it)      CUTS=N     power cuts of test_power_cut (default 1; powercut_test.py has more)

Loop devices and tmpfs need root; without it those tests say that they are skipped.
"""
import contextlib
import fcntl
import os
import random
import re
import struct
import sys
import threading
import time

import harness
import kill_test
import ledger

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
CUTS = int(os.environ.get("CUTS", 1))
USERS = ["alice", "bob", "carol"]
MB = 1 << 20
HEADER = 64                       # of a segment, and of a record
FS_IOC_SHUTDOWN = 0x8004587D      # ext4 and xfs; what xfstests calls "godown"
NOLOGFLUSH = 2
ROOM_ASKED_SECONDS = 1.2          # smtp-in asks for the free space once a second


# what is on the disk


def segments(house, folder):
    """[(number, path)] of a log, ascending."""
    where = os.path.join(house.data, folder)
    names = sorted(name for name in os.listdir(where) if name.endswith(".log"))
    return [(int(name[:16], 16), os.path.join(where, name)) for name in names]


def record_of(house, text):
    """(segment, path, offset of the record, offset of text) of the message that has this text in its content."""
    for number, path in segments(house, "log/smtp-in"):
        data = open(path, "rb").read()
        at = data.find(text)
        if at >= 0:
            return number, path, data.rfind(struct.pack("<I", 0x31724850), 0, at), at
    raise AssertionError(f"{text!r} is in no segment")


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x40]))


def used_end(path):
    """Where the preallocated zeros at the end begin."""
    return len(open(path, "rb").read().rstrip(b"\0"))


def listing(house, user="alice"):
    with ledger.Maildrop(house, user) as drop:
        return drop.uidl()


def bodies(house, user="alice"):
    """{UIDL: body}; nothing is deleted."""
    with ledger.Maildrop(house, user) as drop:
        uids = drop.uidl()
        return {uids[n - 1]: text.split(b"\r\n\r\n", 1)[1] for n, text in drop.retrieve(range(1, len(uids) + 1))}


def check_store(house, expect_findings=False):
    code, out, err = house.cli("store", "check")
    assert code == (1 if expect_findings else 0), f"store check: exit code {code}: {out[-2000:]}{err}"
    return [line for line in out.splitlines() if line.startswith("FOUND")]


def peak_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])


# messages larger than memory


def test_large_message_is_never_in_memory():
    """50 MB through smtp-in, store and access; none of them grows by as much as 8 MB."""
    body = ledger.body_text(MB, random.Random(1)) * 50
    with harness.Instance(settings={"message_size_limit": "60M"}) as house:
        house.send("alice", "first")
        house.wait_for(1)
        pids = house.pids()
        before = {role: peak_kb(pid) for role, pid in pids.items()}
        reply, _ = one_message(house, b"Subject: large\r\n\r\n" + body)
        harness.match(reply, "^250 ", "the reply")
        harness.eventually(lambda: len(listing(house)) == 2)
        got = list(bodies(house).values())[1]
        assert got == body, f"{len(got)} bytes came back, other than the {len(body)} sent"
        grown = {role: (peak_kb(pid) - before[role]) / 1024 for role, pid in pids.items()}
        print("    grown by MB: " + ", ".join(f"{role} {mb:.1f}" for role, mb in sorted(grown.items())))
        assert house.pids() == pids, "a role was started anew"
        assert max(grown.values()) < 8, f"MB grown: {grown}"
        house.stop()
        check_store(house)


# mail that looks like a log


def clean(piece):
    """May it stand in a message (RFC 5321 2.3.8, 4.5.2)? A bare CR or LF may not."""
    return not re.search(rb"\r(?!\n)|(?<!\r)\n", piece) and not piece.endswith(b"\r")


def stolen_headers(house):
    """Real segment and record headers out of the running log, as many as may be sent as text."""
    found = [open(path, "rb").read(HEADER) for _, path in segments(house, "log/smtp-in")]
    path = segments(house, "log/smtp-in")[0][1]
    data = open(path, "rb").read()
    magic = struct.pack("<I", 0x31724850)
    found += [data[m.start():m.start() + HEADER] for m in re.finditer(re.escape(magic), data)]
    return [piece for piece in found if clean(piece)]


def imitation(house):
    """A body full of genuine headers at all alignments, and of whole records."""
    headers = stolen_headers(house)
    records = [h for h in headers if not h.startswith(b"PHsegm")]
    assert len(records) >= 5, f"only {len(records)} record headers can be sent as text"
    pieces = []
    for i, h in enumerate(headers * 8):
        pieces.append(b"." * (i % 9) + h + b"\r\n")
    whole = open(segments(house, "log/smtp-in")[0][1], "rb").read(4096)
    if clean(whole[:2048]):
        pieces.append(whole[:2048] + b"\r\n")
    return b"".join(pieces)


def send_raw(house, to, content):
    with house.smtp() as client:
        assert client.mail("a@client.example", ["BODY=8BITMIME"])[0] == 250
        assert client.rcpt(house.address(to))[0] == 250
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        code, text = client.getreply()
        assert code == 250, f"{code} {text}"


def test_mail_that_imitates_log_records():
    with harness.Instance() as house:
        for n in range(12):
            house.send("alice", f"number {n}")
        before = house.wait_for(12)
        body = imitation(house)
        send_raw(house, "alice", b"Subject: imitation\r\n\r\n" + body)
        send_raw(house, "alice", b"Subject: after\r\n\r\nafter\r\n")
        house.wait_for(14)
        seen = bodies(house)
        harness.equal(list(seen.values())[12], body, "the imitation")
        house.stop()
        check_store(house)
        kill_test.drop_index(house)
        house.start()
        harness.equal(bodies(house), seen, "the mailbox after the index was made anew")

        # now the reader has to look for the next record inside of that content
        house.stop()
        _, path, record, _ = record_of(house, b"Subject: imitation")
        flip(path, record)
        found = check_store(house, expect_findings=True)
        harness.match("\n".join(found), rf"damage from offset {record} to \d+", "store check")
        kill_test.drop_index(house)
        house.start()
        uids = list(seen)
        harness.equal(listing(house), uids, "UIDs with a damaged record")
        with ledger.Maildrop(house, "alice") as drop:
            got = [text.split(b"\r\n\r\n", 1)[1] for _, text in drop.retrieve(list(range(1, 13)) + [14])]
        harness.equal(got, [seen[u] for u in uids[:12] + uids[13:]], "the other messages")
        assert len(before) == 12


# damage


def test_damage_in_a_sealed_segment():
    with harness.Instance() as house:
        for n in range(9):
            house.send("alice", f"number {n} " + "x" * 3000)
        house.wait_for(9)
        seen = bodies(house)
        house.stop()
        segment, path, record, at = record_of(house, b"number 4 ")
        flip(path, at + 1500)
        found = check_store(house, expect_findings=True)
        assert len(found) == 1, f"findings: {found}"
        harness.match(found[0], rf"segment {segment}: damage from offset {record} to \d+", "store check")
        house.start()
        uids = listing(house)
        harness.equal(uids, list(seen), "UIDs")
        with ledger.Maildrop(house, "alice") as drop:
            numbers = [n for n in range(1, 10) if n != 5]
            for n, text in drop.retrieve(numbers):
                harness.equal(text.split(b"\r\n\r\n", 1)[1], seen[uids[n - 1]], f"message {n}")
        house.send("alice", "after the damage")
        harness.eventually(lambda: len(listing(house)) == 10)


def test_truncated_journal():
    """The last record of the journal is cut: the server says so, loses no message, gives no UID a second time."""
    with harness.Instance() as house:
        for n in range(6):
            house.send("alice", f"number {n}")
        house.wait_for(6)
        seen = bodies(house)
        house.stop()
        _, path = [s for s in segments(house, "journal") if used_end(s[1]) > HEADER][-1]
        os.truncate(path, used_end(path) - 10)
        house.start()
        harness.match(house.log(), "journal", "the log of the server")
        harness.eventually(lambda: len(listing(house)) >= 6)
        now = bodies(house)
        assert sorted(set(now.values())) == sorted(set(seen.values())), "messages are missing or others"
        stable = [u for u in seen if now.get(u) == seen[u]]
        assert len(stable) >= 5, f"only {len(stable)} messages kept their UIDs"
        assert not [u for u in seen if u in now and now[u] != seen[u]], "a UID was given out again"
        house.send("alice", "after")
        harness.eventually(lambda: len(listing(house)) == len(now) + 1)
        last = ledger.uid_number(listing(house)[-1])
        assert last[-1] > 1 << 20, f"the next UID is {last[-1]}: it did not jump"
        house.stop()
        check_store(house)


def test_garbage_for_an_index():
    with harness.Instance() as house:
        for n in range(20):
            house.send(["alice", "bob"], f"number {n}")
        house.wait_for(20)
        house.wait_for(20, "bob")
        with ledger.Maildrop(house, "alice") as drop:
            drop.uidl()
            drop.delete([3, 4])
        seen = bodies(house), bodies(house, "bob")
        for garbage in (random.Random(1).randbytes(100000), b"", b"SQLite format 3\0" + bytes(4080)):
            house.stop()
            kill_test.drop_index(house)
            house_index = os.path.join(house.data, "index.db")
            owner = os.stat(os.path.join(house.data, "journal"))
            with open(house_index, "wb") as f:
                f.write(garbage)
            os.chown(house_index, owner.st_uid, owner.st_gid)
            house.start()
            now = bodies(house), bodies(house, "bob")
            harness.equal(now, seen, f"the mailboxes with {garbage[:16]!r} for an index")
        house.send("alice", "after")
        harness.eventually(lambda: len(listing(house)) == 19)
        house.stop()
        check_store(house)


def test_offline_tools_leave_a_startable_store():
    """What check and rebuild make belongs to the user that the roles run as, also when root runs them."""
    with harness.Instance(start=False) as house:
        check_store(house)
        house.start()
        house.send("alice", "one")
        house.wait_for(1)
        check_store(house)
        code, _, err = house.cli("store", "rebuild")
        assert code != 0 and "running" in err, f"rebuild beside a running server: exit code {code}: {err}"
        seen = bodies(house)
        house.stop()
        house.check("store", "rebuild")
        check_store(house)
        house.start()
        harness.equal(bodies(house), seen, "the mailbox after the rebuild")
        house.send("alice", "two")
        harness.eventually(lambda: len(listing(house)) == 2)


# calls that fail


FAULTS = [
    ("smtp-in", "fdatasync", "EIO", 3), ("smtp-in", "pwrite64", "EIO", 3), ("smtp-in", "pwrite64", "ENOSPC", 4),
    ("smtp-in", "openat", "EMFILE", 1), ("smtp-in", "fallocate", "ENOSPC", 1), ("smtp-in", "fsync", "EIO", 1),
    ("store", "fdatasync", "EIO", 2), ("store", "pwrite64", "ENOSPC", 2), ("store", "pread64", "EIO", 3),
]


def inject(house, role, call, error, when):
    harness.need("strace")
    tracer = kill_test.strace(house.pids()[role], "-o", "/dev/null", "-e", f"trace={call}",
                              "-e", f"inject={call}:error={error}:when={when}")
    if not tracer:
        harness.skip("strace may not attach here")
    return tracer


def test_failing_calls():
    """A call that fails: nobody is told 250 for it, the role comes back, what was acknowledged is there, once."""
    rng = random.Random(SEED)
    with harness.Instance(settings={"log_segment_size": "1M"}) as house:
        book = ledger.Ledger(rng, USERS, sizes=((1, 1024), (1, 50 * 1024)))
        load = ledger.Load(book, house.port("smtp"), sessions=8)
        for role, call, error, when in FAULTS:
            acked, open_ = book.count(ledger.ACKED), book.count(ledger.SENT)
            tracer = inject(house, role, call, error, when)
            load.start()
            time.sleep(0.2)
            load.stop()
            kill_test.leave(tracer)
            harness.eventually(lambda: ledger.send_one(house, book), 10, "the server takes mail again")
            found = book.audit(house)
            acked, open_ = book.count(ledger.ACKED) - acked, book.count(ledger.SENT) - open_
            print(f"    {role} {call} {error}: acked {acked}, 451 or no reply {open_}, of these found {found}")
            house.restart()
        house.stop()
        check_store(house)


# power cuts and full disks


@contextlib.contextmanager
def mounted(*how):
    """A folder on a file system of its own, with a folder `data` in it."""
    if os.geteuid() != 0:
        harness.skip("mounting needs root")
    harness.need("mount", "umount")
    where = harness.tempfile.mkdtemp(prefix="posthouse-disk-")
    os.chmod(where, 0o755)
    code, _, err = harness.program("mount", *how, where)
    if code:
        os.rmdir(where)
        harness.skip(f"mount {' '.join(how)}: {err.strip()}")
    try:
        os.chmod(where, 0o755)
        yield where
    finally:
        harness.program("umount", "-l", where)
        os.rmdir(where)


def move_data(house, where):
    """The data folder of an instance that never ran goes to another file system."""
    data = os.path.join(where, "data")
    owner = os.stat(house.data)
    os.mkdir(data, 0o700)
    os.chown(data, owner.st_uid, owner.st_gid)
    house.data = data


def put_data(house, where):
    """An instance that never ran has its data there."""
    move_data(house, where)
    conf = re.sub(r"(?m)^data_directory .*\n", "", house.read("posthouse.conf"))
    house.write("posthouse.conf", conf + f"data_directory {house.data}\n")


def free_kb(where):
    fs = os.statvfs(where)
    return fs.f_bavail * fs.f_frsize // 1024


def fill(path, leave):
    """A file that takes all room but `leave` bytes."""
    room = os.statvfs(os.path.dirname(path))
    with open(path, "wb") as f:
        for size in (MB, 4096):
            while True:
                room = os.statvfs(os.path.dirname(path))
                if room.f_bavail * room.f_frsize - size < leave:
                    break
                f.write(b"x" * size)
                f.flush()


def one_message(house, content=b"Subject: x\r\n\r\nx\r\n"):
    """Sends it; the last reply, or the first that refuses, and whether the connection still works."""
    with house.smtp() as client:
        for command in ("MAIL FROM:<a@client.example>", f"RCPT TO:<{house.address('alice')}>", "DATA"):
            code, text = client.docmd(command)
            if code >= 400:
                return f"{code} {text.decode()}", client.noop()[0] == 250
        client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        code, text = client.getreply()
        return f"{code} {text.decode()}", client.noop()[0] == 250


def small_disk_house(where):
    """Segments of 1 MB, and little to be kept free."""
    settings = {"data_directory": os.path.join(where, "data"), "log_segment_size": "1M", "min_free": "2M"}
    return harness.Instance(settings=settings, start=False)


def test_full_disk():
    with mounted("-t", "tmpfs", "-o", "size=24m", "tmpfs") as where, small_disk_house(where) as house:
        move_data(house, where)
        house.start()
        house.send("alice", "before")
        house.wait_for(1)
        pids = house.pids()
        filler = os.path.join(where, "filler")

        # a message that does not fit: its size is not announced, the disk is full when it has half come
        fill(filler, 6 * MB)
        large = b"Subject: large\r\n\r\n" + ledger.body_text(MB, random.Random(2)) * 12
        reply, usable = one_message(house, large)
        harness.match(reply, r"^452 4\.3\.1", "the reply to a message larger than the disk")
        assert usable, "the connection did not survive"

        # under min_free nothing is begun; reading and deleting go on
        fill(filler, MB)
        time.sleep(ROOM_ASKED_SECONDS)
        reply, usable = one_message(house)
        harness.match(reply, r"^452 4\.3\.1", "the reply to MAIL under min_free")
        assert usable, "the connection did not survive"
        with ledger.Maildrop(house, "alice") as drop:
            harness.equal(len(drop.uidl()), 1, "messages with a full disk")

        fill(filler, 0)
        time.sleep(ROOM_ASKED_SECONDS)
        assert free_kb(where) < 64, f"{free_kb(where)} KB are free"
        reply, usable = one_message(house)
        harness.match(reply, r"^452 4\.3\.1", "the reply with no room at all")
        harness.equal(len(house.mailbox()), 1, "messages with no room at all")

        os.unlink(filler)
        time.sleep(ROOM_ASKED_SECONDS)
        house.send("alice", "after")
        house.wait_for(2)
        harness.equal(house.pids(), pids, "the roles: a full disk ends none of them")
        house.stop()
        check_store(house)


def test_disk_fills_under_load():
    """Mail until 452, with no more than min_free left for journal and index: what was acknowledged is there."""
    rng = random.Random(SEED)
    with mounted("-t", "tmpfs", "-o", "size=24m", "tmpfs") as where, small_disk_house(where) as house:
        move_data(house, where)
        house.start()
        book = ledger.Ledger(rng, USERS, sizes=((1, 1024), (1, 100 * 1024)))
        load = ledger.Load(book, house.port("smtp"), sessions=20)
        load.start()
        harness.eventually(lambda: load.refusals > 50, 10, "452 for want of room")
        load.stop()
        print(f"    acked {book.count(ledger.ACKED)}, then refused; {free_kb(where)} KB free")
        assert book.count(ledger.ACKED) > 20
        book.audit(house, delete=False)
        house.restart()
        book.audit(house, delete=False)
        house.stop()
        check_store(house)


def test_index_has_no_room():
    """Mail takes all room, of which far too little was to be kept: what is placed can be read, the rest waits, no role ends."""
    rng = random.Random(SEED)
    with image(64 * MB) as path, mounted("-o", "loop", path) as where, small_disk_house(where) as house:
        move_data(house, where)
        house.start()
        pids, ballast = house.pids(), os.path.join(where, "ballast")
        with open(ballast, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 6 * MB)
        book = ledger.Ledger(rng, USERS, sizes=((1, 30 * 1024),))
        load = ledger.Load(book, house.port("smtp"), sessions=10)
        load.start()
        harness.eventually(lambda: load.refusals > 50, 20, "452 for want of room")
        load.stop()
        waited = "messages wait" in house.log()
        print(f"    acked {book.count(ledger.ACKED)}, {free_kb(where)} KB free, messages {'wait' if waited else 'do not wait'}")
        for user in USERS:
            assert house.mailbox(user), f"nothing in the mailbox of {user}"
        os.unlink(ballast)
        book.audit(house, delete=False)
        harness.equal(house.pids(), pids, "the roles: a full disk ends none of them")
        time.sleep(ROOM_ASKED_SECONDS)
        assert ledger.send_one(house, book)
        book.audit(house)
        house.stop()
        check_store(house)


def cut_power(house, where):
    """Everything stands still, what the file system has not on disk is lost, and then the processes are gone too."""
    pids = [house.process.pid] + harness.children(house.process.pid)
    for pid in pids:
        os.kill(pid, harness.signal.SIGSTOP)
    for pid in pids:
        harness.eventually(lambda: stopped(pid), 2, "all processes are stopped")
    fd = os.open(where, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    finally:
        os.close(fd)
    house.kill_all()


def stopped(pid):
    states = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            states.append(f.read().rsplit(")", 1)[1].split()[0])
    return all(s in "TtZ" for s in states)


@contextlib.contextmanager
def image(size=512 * MB):
    """A sparse file with ext4 on it."""
    if os.geteuid() != 0:
        harness.skip("mounting needs root")
    harness.need("mkfs.ext4", "mount", "umount")
    with harness.tempfile.NamedTemporaryFile(prefix="posthouse-image-") as f:
        f.truncate(size)
        code, _, err = harness.program("mkfs.ext4", "-q", "-F", f.name)
        assert code == 0, err
        yield f.name


def cut_rounds(binary, cuts, seconds=5, expect_loss=False):
    """Load on a disk of its own, power cut, start, audit; `cuts` times. Returns the ledger, or the expected loss."""
    rng = random.Random(SEED)
    with image() as disk, harness.Instance(settings={"log_segment_size": "1M", "min_free": "1M"}, start=False) as house:
        house.binary = binary or house.binary
        place = None
        book = ledger.Ledger(rng, USERS)
        for n in range(cuts + 1):
            with mounted("-o", "loop", disk) as where:
                if not place:
                    move_data(house, where)
                place = os.path.join(where, "data")
                house.data = place
                conf = re.sub(r"(?m)^data_directory .*$", f"data_directory {place}", house.read("posthouse.conf"))
                house.write("posthouse.conf", conf)
                house.start()
                acked = book.count(ledger.ACKED)
                try:
                    unacked = book.audit(house, seconds)
                except ledger.Loss as loss:
                    if not expect_loss:
                        raise
                    house.kill_all()
                    return loss
                if n:
                    print(f"    cut {n}: {acked} acked so far, all found, unacked found {unacked}", flush=True)
                if n == cuts:
                    house.stop()
                    check_store(house)
                    break
                load = ledger.Load(book, house.port("smtp"))
                load.start()
                time.sleep(rng.uniform(0.4, 0.8))
                cut_power(house, where)
                load.stop()
        return book


def test_power_cut():
    """An ext4 of its own loses power under load: every acknowledged message is there, the check has no findings."""
    print(f"    seed {SEED}: SEED={SEED} tests/durability_test.py test_power_cut", flush=True)
    book = cut_rounds(None, CUTS)
    assert book.count(ledger.ACKED) > 20 * CUTS, "hardly any load: this run shows nothing"


def test_power_cut_catches_250_before_sync():
    """The same finds the loss in a build that acknowledges between write and sync, which no kill can show."""
    harness.need("make", "gcc")
    with kill_test.variant(kill_test.BEFORE_SYNC) as program:
        loss = cut_rounds(program, 3, seconds=0.5, expect_loss=True)
        assert isinstance(loss, ledger.Loss), "the loss was not seen"
        print(f"    a build that answers 250 before the sync: {loss}")


if __name__ == "__main__":
    harness.signal.signal(harness.signal.SIGTERM, lambda *_: sys.exit(1))
    harness.main()
