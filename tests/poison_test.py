#!/usr/bin/env python3
"""A message that kills whatever parses it. A library that the test builds stands before memcmp of the C library and aborts roles smtp-in and
cards when they compare a certain MIME boundary, as a bug in the parser would. The message arrives all the same, the others with it.
"""
import contextlib
import os
import sqlite3
import subprocess

import harness
import kill_test
from harness import eventually, equal, match, message_of

BOUNDARY = "poison-4711-poison"
LIBRARY = """
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
static int armed; /* smtp-in or cards */
__attribute__((constructor)) static void look(void)
{
    char line[256] = "";
    FILE *f = fopen("/proc/self/cmdline", "r");
    size_t n = f ? fread(line, 1, sizeof(line) - 1, f) : 0;
    for (size_t i = 0; i < n; i++)
        line[i] = line[i] ? line[i] : ' ';
    armed = strstr(line, " role smtp-in ") || strstr(line, " role cards ");
    if (f)
        fclose(f);
}
int memcmp(const void *a, const void *b, size_t n)
{
    static const char poison[] = "%s";
    const unsigned char *x = a, *y = b;
    size_t same = 0;
    while (same < n && x[same] == y[same])
        same++;
    if (armed && n == sizeof(poison) - 1 && same == n) {
        size_t i = 0;
        while (i < n && x[i] == (unsigned char)poison[i])
            i++;
        if (i == n)
            abort();
    }
    return same < n ? x[same] - y[same] : 0;
}
"""


def poison(subject="poison"):
    parts = f"--{BOUNDARY}\n\none\n--{BOUNDARY}\nContent-Type: text/html\n\n<p>two\n--{BOUNDARY}--\n"
    head = message_of("", subject).decode().replace("\r\n\r\n", f'\r\nContent-Type: multipart/mixed; boundary="{BOUNDARY}"\r\n\r\n', 1)
    return head.rstrip("\r\n").encode() + b"\r\n\r\n" + parts.replace("\n", "\r\n").encode()


@contextlib.contextmanager
def poisoned(house):
    """The house starts with the library before memcmp."""
    harness.need("cc")
    source, library = os.path.join(house.parent, "poison.c"), os.path.join(house.parent, "poison.so")
    with open(source, "w") as f:
        f.write(LIBRARY % BOUNDARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", library, source], check=True)
    os.chmod(library, 0o755)
    os.environ["LD_PRELOAD"] = library
    try:
        house.start()
    finally:
        del os.environ["LD_PRELOAD"]
    yield house


def try_to_send(house, message, to="alice"):
    """The reply to the end of the message, or "lost" with the connection."""
    try:
        with house.smtp() as client:
            for command in ("MAIL FROM:<a@client.example>", f"RCPT TO:<{house.address(to)}>", "DATA"):
                code, text = client.docmd(command)
                assert code < 400, text
            client.send(message + b".\r\n")
            code, text = client.getreply()
            return f"{code} {text.decode()}"
    except (OSError, harness.smtplib.SMTPServerDisconnected):
        return "lost"


def numbers(data):
    """The numbers of a card (card.c): size, length of the header, and behind the texts, if it has them, how many header fields it has."""
    at = 2

    def number():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                return value

    size, header = number(), number()
    if data[0] == 2:
        flags = number()
        for _ in range(3 if flags & 2 else 2):  # a date, the base of the subject
            number()
        for _ in range(13):
            length = number()
            at += length
    return size, header, number() if at < len(data) else 0


def cards(house):
    """[(content length, flags, header length, header fields)] of the cards that were made later; the server is stopped."""
    with contextlib.closing(sqlite3.connect(f"file:{house.data}/index.db?mode=ro&immutable=0", uri=True)) as db:
        rows = db.execute("SELECT content_len, card FROM card ORDER BY log, segment, offset").fetchall()
    assert all(card for _, card in rows), f"messages without card: {[length for length, card in rows if not card]}"
    found = []
    for length, card in rows:
        size, header, fields = numbers(card)
        equal(size, length, "the length in the card")
        found.append((length, card[1], header, fields))
    return found


def store(house):
    return house.status()["roles"].get("store", {})


def the_poison_arrives(house, subject):
    """It kills smtp-in once at most, and is taken when it comes again."""
    message, old = poison(subject), house.pids()["smtp-in"]
    equal(try_to_send(house, message), "lost", "the reply to the first attempt")
    eventually(lambda: house.pids().get("smtp-in") not in (None, old), 5, "a new smtp-in")
    match(eventually(lambda: (lambda r: r != "lost" and r)(try_to_send(house, message)), 5, "a second attempt"), "^250 2.0.0")
    return message


def test_a_message_that_kills_its_parser():
    with harness.Instance(start=False) as house, poisoned(house):
        house.send("bob", "before")
        house.wait_for(1, "bob")
        message = the_poison_arrives(house, "poison")
        sent = [house.send("bob", f"meanwhile {n}") for n in range(5)]
        box = house.wait_for(1)
        equal(len(box), 1, "copies of the poison")
        equal(box[0][-len(message):], message, "the poison as alice reads it")
        eventually(lambda: store(house).get("cards_minimal") == 1, 10, "the poison has a minimal card")
        eventually(lambda: store(house).get("cards_made") == len(sent), 5, "the others have cards")
        sent.append(house.send("bob", "afterwards"))
        house.wait_for(len(sent) + 1, "bob")
        eventually(lambda: store(house).get("cards_made") == len(sent), 5, "those that come later have cards")
        status = house.status()
        equal((status["restarts_smtp-in"], status["bugs_smtp-in"], status["restarts_cards"]), (1, 1, 2), "deaths of smtp-in and cards")
        equal(status["roles"]["store"]["cards_deaths"], 2, "deaths that the store saw")
        assert 0 < status["careful_s"] <= 1800 and 0 < status["roles"]["smtp-in"]["careful_s"] <= 1800, status
        match(house.check("status"), r"careful_s +\d{3,}")
        for line in (r"event=careful role=master name=smtp-in", r"event=role_ended role=master name=cards pid=\d+ signal=6",
                     r"event=card_minimal role=store session=\S+\.\d+ "):
            match(house.log(), line, "log")
        house.kill("store")  # counts no death anew: the minimal card is kept
        eventually(lambda: "cards_minimal" in store(house), 10, "a new store")
        house.send("bob", "after the store")
        eventually(lambda: store(house).get("cards_made") == 1, 10, "a card after the store came back")
        equal(store(house)["cards_deaths"], 0, "deaths in the new store")
        house.stop()
        made = cards(house)
        poor = [c for c in made if c[1:] == (2, 0, 0)]
        equal(len(poor), 1, "minimal cards")
        equal([(flags, header > 0, fields > 4) for _, flags, header, fields in made if flags != 2], [(0, True, True)] * (len(sent) + 1),
              "cards of the other messages")
        match(kill_test.check_store(house), "0 findings")


def test_cards_outlive_nothing_but_come_back():
    """Without its index the store finds the messages that have no card in their record, and has their cards made again. One that was moved by
    compaction takes its card along; one that is deleted leaves none behind."""
    with harness.Instance(start=False, settings={"expunged_retention": "0s"}) as house, poisoned(house):
        the_poison_arrives(house, "poison")
        for n in range(4):
            house.send("alice", f"number {n}")
        eventually(lambda: store(house).get("cards_minimal") == 1 and store(house).get("cards_made") == 4, 10, "all cards")
        client = house.pop("alice")
        client.dele(2)
        client.dele(3)
        client.dele(4)
        client.quit()
        house.stop()
        before = cards(house)
        equal(len(before), 2, "cards after three messages were deleted")
        for name in os.listdir(house.data):
            if name.startswith("index.db"):
                os.unlink(os.path.join(house.data, name))
        house.start()  # and the parser is well again
        eventually(lambda: store(house).get("cards_made") == 2, 10, "cards made again")
        house.check("store", "compact", "--now")
        eventually(lambda: store(house).get("compaction_moved") == 2, 10, "compaction")
        house.stop()
        after = cards(house)
        equal([c[0] for c in after], [c[0] for c in before], "lengths")
        assert all(flags == 0 and fields > 4 for _, flags, _, fields in after), after
        match(kill_test.check_store(house), "0 findings")


if __name__ == "__main__":
    harness.main()
