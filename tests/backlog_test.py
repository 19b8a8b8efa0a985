#!/usr/bin/env python3
"""A store that does not keep up (DESIGN 2): with more than 256 MiB not yet applied by it, MAIL gets 452 4.3.1, until it has caught up or
has died and come back. What was acknowledged meanwhile is there, once.

    SEED=N    repeats a run (each prints its seed)
"""
import contextlib
import os
import random
import signal
import sys

import harness
import kill_test
import ledger

SEED = int(os.environ.get("SEED", random.getrandbits(32)))
USERS = ["alice", "bob", "carol"]
MB = 1 << 20
LIMIT = 256 * MB
SIZE = 16 * MB
AT_LEAST = 1024                   # a record is more than its content, by less than this


@contextlib.contextmanager
def house_and_client():
    """An instance, its ledger, and a connection that stays; the check of the store at the end."""
    print(f"    seed {SEED}: SEED={SEED} tests/backlog_test.py", flush=True)
    with harness.Instance(settings={"log_segment_size": "8M"}) as house:
        book = ledger.Ledger(random.Random(SEED), USERS, sizes=((1, SIZE),))
        with house.smtp() as client:
            yield house, book, client
        house.stop()
        kill_test.check_store(house)


def fill(client, house, book):
    """Messages until one is refused; returns the bytes of those that were acknowledged and that reply."""
    taken = 0
    while taken < 2 * LIMIT:
        code, text = client.mail("ledger@client.example")
        if code != 250:
            return taken, f"{code} {text.decode()}"
        m = book.write()
        for user in m.to:
            harness.equal(client.rcpt(house.address(user))[0], 250, "the reply to RCPT")
        book.settle(m, ledger.SENT)
        content = m.content()
        harness.equal(client.docmd("DATA")[0], 354, "the reply to DATA")
        client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        harness.equal(client.getreply()[0], 250, "the reply to the end of data")
        book.settle(m, ledger.ACKED)
        taken += len(content)
    raise AssertionError(f"{taken >> 20} MiB were taken although the store stands still")


def fill_beside_stopped_store(client, house, book):
    """The process id of the store, which stands still, with more than the limit behind it."""
    store = house.pids()["store"]
    os.kill(store, signal.SIGSTOP)
    taken, reply = fill(client, house, book)
    harness.match(reply, r"^452 4\.3\.1 .*busy placing mail", "the reply to MAIL")
    assert LIMIT - AT_LEAST * (taken // SIZE) < taken <= LIMIT + SIZE + AT_LEAST, f"refused after {taken} bytes, the limit is {LIMIT}"
    harness.equal(client.mail("ledger@client.example")[0], 452, "the reply to the next MAIL")
    harness.equal(client.noop()[0], 250, "the reply to NOOP")
    return store


def mail_flows(client, house, book):
    harness.eventually(lambda: client.mail("ledger@client.example")[0] == 250, 10, "MAIL is accepted again on the same connection")
    harness.equal(client.rset()[0], 250, "the reply to RSET")
    assert ledger.send_one(house, book), "a new message"
    book.audit(house, 10)
    harness.eventually(lambda: house.status()["roles"]["smtp-in"]["backlog_bytes"] == 0, 5, "nothing is left behind")


def test_stopped_store():
    """The store stands still and goes on."""
    with house_and_client() as (house, book, client):
        store = fill_beside_stopped_store(client, house, book)
        os.kill(store, signal.SIGCONT)
        mail_flows(client, house, book)
        harness.equal(house.pids()["store"], store, "the process of the store")


def test_store_killed_while_behind():
    """It dies with all that before it: the next one replays from the receive log."""
    with house_and_client() as (house, book, client):
        store = fill_beside_stopped_store(client, house, book)
        os.kill(store, signal.SIGKILL)
        mail_flows(client, house, book)
        assert house.pids()["store"] != store


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    harness.main()
