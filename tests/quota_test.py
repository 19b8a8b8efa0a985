#!/usr/bin/env python3
"""Quotas in a running server: RCPT is answered 452 as soon as a mailbox is full, what was taken before arrives, and room that was
made by POP3 counts at once, also across restarts and reloads."""

import harness
from harness import eventually, match

FULL = "452 4.2.2"


def rcpt(house, to="alice", service="smtp"):
    """What RCPT for that account is answered."""
    with house.lines(service) as wire:
        wire.reply()
        wire.expect("EHLO client.example", 250)
        wire.expect("MAIL FROM:<someone@elsewhere.example>", 250)
        return wire.say(f"RCPT TO:<{house.address(to)}>")


def full(house, to="alice", seconds=5):
    eventually(lambda: rcpt(house, to).startswith(FULL), seconds, f"the mailbox of {to} is full")


def room(house, to="alice", seconds=5):
    eventually(lambda: rcpt(house, to).startswith("250"), seconds, f"the mailbox of {to} takes mail")


def delete_all(house, user="alice"):
    client = house.pop(user)
    for n in range(client.stat()[0]):
        client.dele(n + 1)
    client.quit()


def count(house, user="alice"):
    return len(house.mailbox(user))


def test_full_and_freed_by_pop3():
    with harness.Instance(settings={"quota": "20K"}, aliases="info@posthouse.test: alice@posthouse.test\n"
                          "both@posthouse.test: alice@posthouse.test, bob@posthouse.test") as house:
        assert rcpt(house).startswith("250")
        for _ in range(2):
            house.send("alice", "x" * 60 + "\n" + ("y" * 70 + "\n") * 150)
        full(house)
        match(rcpt(house), r"<alice@posthouse\.test>: the mailbox is full")
        for name in ("Alice", "alice+tag", "info"):
            assert rcpt(house, name).startswith(FULL), name
        assert rcpt(house, "bob").startswith("250")
        assert rcpt(house, "both").startswith("250")  # somebody of them has room
        assert count(house) == 2, "what was taken before is there"
        assert house.status()["roles"]["store"]["over_quota"] == 1
        why = house.check("explain", "alice@posthouse.test")
        match(why, "the mailbox is full")
        delete_all(house)
        room(house)
        house.send("alice")
        eventually(lambda: count(house) == 1, 5, "mail arrives again")


def test_what_was_taken_arrives():
    """RCPT came before the mailbox was full: the message is delivered, however large."""
    with harness.Instance(settings={"quota": "10K"}) as house, house.lines() as wire:
        wire.reply()
        wire.expect("EHLO client.example", 250)
        wire.expect("MAIL FROM:<someone@elsewhere.example>", 250)
        wire.expect("RCPT TO:<alice@posthouse.test>", 250)
        house.send("alice", ("z" * 70 + "\n") * 300)
        full(house)
        wire.expect("DATA", 354)
        wire.expect("Subject: late\r\n\r\nlate\r\n.", 250)
        eventually(lambda: count(house) == 2, 5, "both are there")
        match(house.mailbox()[1], "Subject: late")


def test_restart_and_reload():
    with harness.Instance(settings={"quota_messages": "2"}) as house:
        house.send("alice")
        house.send("alice")
        full(house)
        house.restart()
        full(house)
        for role in ("smtp-in", "store"):
            old = house.kill(role)
            eventually(lambda: house.status()["roles"].get(role, {}).get("pid", old) != old, 5, f"{role} is back")
            full(house)
        accounts = house.read("accounts")
        house.write("accounts", accounts.replace("alice@posthouse.test", "alice@posthouse.test quota_messages=3"))
        house.check("reload")
        room(house)
        house.send("alice")
        full(house)
        house.write("accounts", accounts.replace("alice@posthouse.test", "alice@posthouse.test quota_messages=0"))
        house.check("reload")
        room(house)
        house.write("posthouse.conf", house.read("posthouse.conf").replace("quota_messages 2", "quota_messages 1"))
        house.write("accounts", accounts)
        house.check("reload")
        full(house)


def test_account_add_with_a_quota():
    with harness.Instance() as house:
        house.check("account", "add", "dora@posthouse.test", "--quota", "5K", "--password-stdin", input="secret pass word\n")
        match(house.read("accounts"), r"(?m)^dora@posthouse\.test quota=5K$")
        house.passwords["dora"] = "secret pass word"
        assert rcpt(house, "dora").startswith("250")
        house.send("dora", ("z" * 70 + "\n") * 100)
        full(house, "dora")
        assert rcpt(house, "alice").startswith("250")
        delete_all(house, "dora")
        room(house, "dora")
        code, _, err = house.cli("account", "add", "emil@posthouse.test", "--quota", "much", "--password-stdin", input="secret\n")
        assert code == 64, code
        match(err, "--quota much: this is not a size")
        assert "emil" not in house.read("accounts")
        code, _, err = house.cli("account", "passwd", "dora@posthouse.test", "--quota", "1K", "--password-stdin", input="secret\n")
        assert code == 64, code


if __name__ == "__main__":
    harness.main()
