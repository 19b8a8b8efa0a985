#!/usr/bin/env python3
"""Nobody sends through this host, or in somebody's name, without a right to; and the restriction words do what they say."""
import json
import re

import harness
from harness import Instance, equal, eventually, match

ALIASES = """
only-alice@posthouse.test: alice@posthouse.test
chain@posthouse.test: only-alice@posthouse.test
team@posthouse.test: alice@posthouse.test, bob@posthouse.test
away@posthouse.test: someone@elsewhere.example
mixed@posthouse.test: alice@posthouse.test, someone@elsewhere.example
"""


def dialogue(house, *lines, service="smtp", helo="EHLO client.example"):
    """Replies to lines said one by one after greeting and EHLO."""
    with house.lines(service) as wire:
        assert wire.reply().startswith("220 ")
        wire.expect(helo, 250)
        return [wire.say(line) for line in lines]


def test_foreign_recipients_on_25():
    foreign = ["victim@elsewhere.example", "@a.example,@b.example:victim@elsewhere.example",
               "@posthouse.test:victim@elsewhere.example", "@mail.posthouse.test,@posthouse.test:victim@elsewhere.example",
               "victim@[192.0.2.1]", "victim@[IPv6:2001:db8::1]", "victim@posthouse.test.example", "victim@sub.posthouse.test",
               "victim@localhost", "\"victim@posthouse.test\"@elsewhere.example", "victim%posthouse.test@elsewhere.example",
               "elsewhere.example!alice@other.example", "alice@elsewhere.example."]
    with Instance() as house, house.lines() as wire:
        wire.reply()
        wire.expect("EHLO client.example", 250)
        for sender in ("<stranger@third.example>", "<>", "<alice@posthouse.test>"):
            wire.expect(f"MAIL FROM:{sender}", 250)
            for to in foreign:
                got = wire.say(f"RCPT TO:<{to}>")
                assert got.startswith(("554 5.7.1", "501 ")), f"from {sender} to {to}: {got!r}"
                if ".example>" in f"{to}>" and to[0] != '"':
                    assert got.startswith("554 5.7.1"), f"from {sender} to {to}: {got!r}"
            wire.expect("DATA", (503, 554))
            wire.expect("RSET", 250)
        counts = house.status()["roles"]["smtp-in"]
        equal(counts["messages"], 0, "messages accepted")


def test_local_parts_that_hide_another_host():
    """Ours by domain: they may be refused as unknown, never be passed on."""
    hidden = ["victim%elsewhere.example@posthouse.test", "\"victim@elsewhere.example\"@posthouse.test",
              "elsewhere.example!victim@posthouse.test", "\"victim%elsewhere.example\"@posthouse.test",
              "\"@elsewhere.example:victim\"@posthouse.test", "victim%elsewhere.example%third.example@posthouse.test"]
    broken = ["victim@elsewhere.example@posthouse.test", "victim@posthouse.test@elsewhere.example", "@posthouse.test",
              "<victim@elsewhere.example>", "victim@elsewhere.example,alice@posthouse.test", "alice@posthouse.test\0@x.example"]
    with Instance() as house, house.lines() as wire:
        wire.reply()
        wire.expect("EHLO client.example", 250)
        wire.expect("MAIL FROM:<stranger@third.example>", 250)
        for to in hidden:
            wire.expect(f"RCPT TO:<{to}>", "550 5.1.1")
        for to in broken:
            wire.expect(f"RCPT TO:<{to}>", (501, 500, 553))
        # a source route to one of ours is read as the address behind it (RFC 5321 F.2)
        wire.expect("RCPT TO:<@a.example,@b.example:alice@posthouse.test>", 250)


def test_submission_needs_login():
    for service in ("submission", "submissions"):
        with Instance() as house, house.lines(service) as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            wire.expect("MAIL FROM:<alice@posthouse.test>", "530 5.7.0")
            wire.expect("RCPT TO:<bob@posthouse.test>", 503)
            wire.expect("DATA", 503)
            if service == "submission":
                wire.expect("AUTH PLAIN AGEAYg==", "538 5.7.11")
                wire.expect("STARTTLS", 220)
                wire.starttls(house.tls())
                wire.expect("EHLO client.example", 250)
                wire.expect("MAIL FROM:<alice@posthouse.test>", "530 5.7.0")


def waiting(house):
    """Who is in the queue, in order."""
    return sorted(json.loads(line)["recipient"] for line in house.check("queue", "--json").splitlines())


def test_who_has_logged_in_may_send_to_other_hosts():
    with Instance(aliases=ALIASES, settings={"resolver": "127.0.0.1@9"}) as house:
        with house.smtp("submission", user="alice") as client:
            client.mail("alice@posthouse.test")
            for to in ("someone@elsewhere.example", "away@posthouse.test", "mixed@posthouse.test", "team@posthouse.test"):
                equal(client.rcpt(to)[0], 250, to)
            equal(client.rcpt("nobody@posthouse.test")[0], 550, "unknown recipient")
            match(client.rcpt("nobody@posthouse.test")[1], r"^5\.1\.1")
            equal(client.data(b"From: alice@posthouse.test\r\nSubject: test\r\n\r\nhello\r\n")[0], 250, "taken")
        house.wait_for(1, "bob")  # what is local does not wait for the rest
        eventually(lambda: waiting(house), 5, "it is queued")
        equal(waiting(house), ["someone@elsewhere.example"], "once, whatever led there")


def test_recipients_on_25():
    with Instance(aliases=ALIASES) as house:
        replies = dialogue(house, "MAIL FROM:<stranger@third.example>", "RCPT TO:<nobody@posthouse.test>",
                           "RCPT TO:<away@posthouse.test>", "RCPT TO:<mixed@posthouse.test>", "RCPT TO:<ALICE@POSTHOUSE.TEST>",
                           "RCPT TO:<alice+tag@posthouse.test>", "RCPT TO:<Postmaster>", "RCPT TO:<bob>",
                           "RCPT TO:<chain@posthouse.test>")
        wanted = ["250", "550 5.1.1", "250", "250", "250", "250", "250", "501 5.1.3", "250"]
        for got, want in zip(replies, wanted):
            assert got.startswith(want), f"{replies}"


def submit(house, user, sender, header, to="bob@posthouse.test"):
    """(stage, code, text) of the first refusal, or ("accepted", 250, …)."""
    with house.smtp("submission", user=user) as client:
        code, text = client.mail(sender)
        if code != 250:
            return "mail", code, text.decode()
        code, text = client.rcpt(to)
        if code != 250:
            return "rcpt", code, text.decode()
        code, text = client.data(header.replace("\n", "\r\n").encode() + b"\r\n\r\nhello\r\n")
        return ("accepted" if code == 250 else "data"), code, text.decode()


def test_sender_rights():
    with Instance(aliases=ALIASES) as house:
        mine = "From: alice@posthouse.test"
        for sender, header in [
                ("alice@posthouse.test", mine), ("", mine), ("alice+tag@posthouse.test", "From: Alice <alice+x@posthouse.test>"),
                ("only-alice@posthouse.test", mine), ("chain@posthouse.test", "From: chain@posthouse.test"),
                ("ALICE@Posthouse.Test", "From: ALICE@posthouse.TEST"), ("alice@posthouse.test", "From: alice"),
                ("alice@posthouse.test", "Subject: no From at all"),
                ("alice@posthouse.test", mine + "\nResent-From: only-alice@posthouse.test\nResent-Sender: alice@posthouse.test"),
                ("alice@posthouse.test", "From: only-alice@posthouse.test, alice@posthouse.test\nSender: alice@posthouse.test"),
                ("postmaster@posthouse.test", mine)]:
            got = submit(house, "alice", sender, header)
            equal(got[0], "accepted", f"alice as {sender} with {header!r} ({got[2]})")
        for sender, header in [
                ("bob@posthouse.test", mine), ("team@posthouse.test", mine), ("alice@elsewhere.example", mine),
                ("bob+alice@posthouse.test", mine), ("nobody@posthouse.test", mine), ("away@posthouse.test", mine),
                ("alice@posthouse.test", "From: bob@posthouse.test"), ("alice@posthouse.test", "From: x <president@elsewhere.example>"),
                ("alice@posthouse.test", "From: team@posthouse.test"),
                ("alice@posthouse.test", "From: alice@posthouse.test, bob@posthouse.test"),
                ("alice@posthouse.test", "From: \"alice@posthouse.test\" <bob@posthouse.test>"),
                ("alice@posthouse.test", "From: a group: alice@posthouse.test, bob@posthouse.test;"),
                ("alice@posthouse.test", mine + "\nSender: bob@posthouse.test"),
                ("alice@posthouse.test", mine + "\nResent-From: bob@posthouse.test"),
                ("alice@posthouse.test", "Resent-From: alice\nResent-From: president@elsewhere.example\n" + mine),
                ("alice@posthouse.test", mine + "\nResent-From: alice@posthouse.test\nResent-Sender: bob@posthouse.test"),
                ("alice@posthouse.test", mine + "\nFrom: bob@posthouse.test"),
                ("alice@posthouse.test", "From : bob@posthouse.test\n" + mine),
                ("alice@posthouse.test", "From:\n bob@posthouse.test"),
                ("alice@posthouse.test", "From: =?utf-8?q?bob=40posthouse.test?="),
                ("", "From: bob@posthouse.test")]:
            stage, code, text = submit(house, "alice", sender, header)
            assert (stage, code) in (("mail", 550), ("rcpt", 550), ("data", 550)), \
                f"alice as {sender} with {header!r}: {stage} {code} {text}"
        _, _, text = submit(house, "alice", "bob@posthouse.test", mine)
        match(text, r"5\.7\.1 .*alice@posthouse\.test")
        match(text, r"only-alice@posthouse\.test", "the addresses that are allowed")


def test_local_senders_without_login_are_told_apart():
    """Port 25 takes mail from anybody by default; with the rule, not in the name of an account."""
    rules = {"smtp": "smtpd_sender_restrictions reject_unauthenticated_sender_login_mismatch"}
    with Instance(listeners=rules) as house:
        replies = dialogue(house, "MAIL FROM:<alice@posthouse.test>", "RCPT TO:<bob@posthouse.test>", "RSET",
                           "MAIL FROM:<x@elsewhere.example>", "RCPT TO:<bob@posthouse.test>")
        assert replies[1].startswith("550 5.7.1"), replies
        assert replies[4].startswith("250"), replies


OPEN = [
    ({"smtp": "smtpd_relay_restrictions permit"}, {}, {}),
    ({"smtp": "smtpd_relay_restrictions permit_mynetworks"}, {}, {}),
    ({}, {"smtpd_relay_restrictions": "permit_sasl_authenticated"}, {}),
    ({"smtp": "smtpd_relay_restrictions permit_mynetworks, reject_unauth_destination"}, {"mynetworks": "0.0.0.0/0"}, {}),
    ({"smtp": "smtpd_relay_restrictions permit_mynetworks, reject_unauth_destination"}, {"mynetworks": "::/0"}, {}),
    ({"submission": "smtpd_relay_restrictions permit"}, {}, {}),
    ({"smtp": "smtpd_relay_restrictions check_sender_access file:t, reject_unauth_destination"}, {}, {"t": "friend.example OK\n"}),
    ({"smtp": "smtpd_relay_restrictions check_helo_access file:t, reject_unauth_destination"}, {}, {"t": "friend.example RELAY\n"}),
    ({"smtp": "smtpd_relay_restrictions warn_if_reject reject_unauth_destination"}, {}, {}),
    ({"smtp": "smtpd_relay_restrictions reject_unlisted_recipient"}, {}, {}),
]


def test_open_relays_are_not_started():
    for listeners, settings, files in OPEN:
        with Instance(listeners=listeners, settings=settings, files=files, start=False) as house:
            what = f"{listeners} {settings} {files}"
            code, out, err = house.cli("config", "check")
            equal(code, 78, f"config check of {what} ({out}{err})")
            match(err, r"posthouse\.conf:\d+: ", f"the complaint about {what}")
            try:
                house.start()
                raise SystemError(f"started with {what}")
            except harness.StartFailed as e:
                equal(e.returncode, 78, f"exit code of serve with {what}")


def test_open_relay_by_reload_keeps_the_old():
    with Instance() as house:
        text = house.read("posthouse.conf")
        house.write("posthouse.conf", text + "smtpd_relay_restrictions permit\n")
        code, out, err = house.cli("reload")
        assert code != 0, f"{out}{err}"
        got = dialogue(house, "MAIL FROM:<a@b.example>", "RCPT TO:<victim@elsewhere.example>")
        assert got[1].startswith("554 5.7.1"), got


def outcome(house, service="smtp", sender="friend@good.example", to="alice@posthouse.test", helo="EHLO client.example"):
    """The first reply that is not 250 in one transaction up to DATA (then 354)."""
    with house.lines(service) as wire:
        got = wire.reply()
        for line in (None, helo, f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA"):
            got = wire.say(line) if line else got
            if not got.startswith(("250", "220")):
                return got
        return got


# word, list, restrictions, what then happens to which envelope
WORDS = [
    ("permit", "sender", "permit, reject", {}, "354"),
    ("reject", "sender", "reject", {}, "554 5.7.1"),
    ("defer", "recipient", "defer", {}, "450 4.7.1"),
    ("defer_if_permit", "recipient", "defer_if_permit", {}, "450 4.7.0"),
    ("defer_if_permit", "recipient", "defer_if_permit, reject", {}, "554 5.7.1"),
    ("defer_if_reject", "recipient", "defer_if_reject, reject", {}, "450 4.7.0"),
    ("defer_if_reject", "recipient", "defer_if_reject", {}, "354"),
    ("permit_mynetworks", "client", "permit_mynetworks, reject", {}, "354"),
    ("permit_sasl_authenticated", "client", "permit_sasl_authenticated, reject", {}, "554 5.7.1"),
    ("permit_auth_destination", "recipient", "permit_auth_destination, reject", {}, "354"),
    ("reject_unauth_destination", "client", "reject_unauth_destination", {"to": "x@elsewhere.example"}, "554 5.7.1"),
    ("defer_unauth_destination", "client", "defer_unauth_destination", {"to": "x@elsewhere.example"}, "454 4.7.1"),
    ("reject_unlisted_recipient", "sender", "reject_unlisted_recipient", {"to": "nobody@posthouse.test"}, "550 5.1.1"),
    ("reject_unlisted_sender", "sender", "reject_unlisted_sender", {"sender": "nobody@posthouse.test"}, "550 5.1.0"),
    ("reject_unlisted_sender", "sender", "reject_unlisted_sender", {"sender": "alice@posthouse.test"}, "354"),
    ("reject_non_fqdn_helo_hostname", "helo", "reject_non_fqdn_helo_hostname", {"helo": "EHLO client"}, "504 5.5.2"),
    ("reject_non_fqdn_helo_hostname", "helo", "reject_non_fqdn_helo_hostname", {"helo": "EHLO [192.0.2.1]"}, "354"),
    ("reject_non_fqdn_sender", "sender", "reject_non_fqdn_sender", {"sender": "friend@good"}, "504 5.5.2"),
    ("reject_non_fqdn_recipient", "client", "reject_non_fqdn_recipient", {"to": "x@elsewhere"}, "504 5.5.2"),
    ("reject_invalid_helo_hostname", "helo", "reject_invalid_helo_hostname", {"helo": "EHLO -client-.example"}, "501 5.5.2"),
    ("reject_unauthenticated_sender_login_mismatch", "sender", "reject_unauthenticated_sender_login_mismatch",
     {"sender": "alice@posthouse.test"}, "550 5.7.1"),
    ("reject_sender_login_mismatch", "sender", "reject_sender_login_mismatch", {"sender": "alice@posthouse.test"}, "550 5.7.1"),
    ("reject_known_sender_login_mismatch", "sender", "reject_known_sender_login_mismatch", {"sender": "bob@posthouse.test"},
     "550 5.7.1"),
    ("reject_known_sender_login_mismatch", "sender", "reject_known_sender_login_mismatch", {}, "354"),
    ("reject_unauth_pipelining", "data", "reject_unauth_pipelining", {}, "354"),
    ("reject_plaintext_session", "client", "reject_plaintext_session", {}, "450 4.7.1"),
    ("check_client_access", "client", "check_client_access file:t", {}, "521 5.3.2 <unknown[127.0.0.1]>: go away"),
    ("check_helo_access", "helo", "check_helo_access file:t", {"helo": "EHLO mx.bad.example"}, "554 5.7.1"),
    ("check_helo_access", "helo", "check_helo_access file:t", {}, "354"),
    ("check_sender_access", "sender", "check_sender_access file:t", {"sender": "a@sub.bad.example"}, "554 5.7.1"),
    ("check_sender_access", "sender", "check_sender_access file:t", {"sender": "friend@bad.example"}, "354"),
    ("check_sender_access", "sender", "check_sender_access file:t", {"sender": ""}, "450 4.7.1"),
    ("check_sender_access", "sender", "check_sender_access file:t", {"sender": "x@tls.example"}, "450 4.7.1"),
    ("check_sender_access", "sender", "check_sender_access file:t", {"sender": "x@text.example"},
     "550 5.7.9 <x@text.example>: not this one"),
    ("check_recipient_access", "recipient", "check_recipient_access file:t, reject", {"to": "alice+vip@posthouse.test"}, "354"),
    ("check_recipient_access", "recipient", "check_recipient_access file:t, reject", {}, "554 5.7.1"),
    ("warn_if_reject", "sender", "warn_if_reject reject", {}, "354"),
]
TABLE = """# a table of access
127.0.0.1           521 5.3.2 go away
bad.example         REJECT
friend@bad.example  DUNNO
<>                  DEFER
tls.example         reject_plaintext_session
text.example        550 5.7.9 not this one
alice+vip@posthouse.test OK
"""


def test_each_restriction_word():
    """All in one running server: each row is put in by a reload."""
    known = set(re.findall(r'^WORD\((\w+)', open(harness.ROOT + "/src/policy/policy_words.def").read(), re.M))
    tried = {row[0] for row in WORDS} | {"reject_authenticated_sender_login_mismatch", "reject_multi_recipient_bounce"}
    equal(sorted(known - tried), [], "words without a row here")
    with Instance(files={"t": TABLE}) as house:
        before = house.read("posthouse.conf")
        wrong = []
        for word, stage, restrictions, envelope, wanted in WORDS:
            mynetworks = "mynetworks 127.0.0.1/32\n" if "mynetworks" in restrictions else ""
            house.write("posthouse.conf", f"{before}{mynetworks}smtpd_{stage}_restrictions {restrictions}\n")
            house.check("reload")
            got = outcome(house, **envelope)
            if not got.startswith(wanted):
                wrong.append(f"{restrictions} in {stage} with {envelope}: {got!r}, expected {wanted}")
        assert not wrong, "\n".join(wrong)


def test_words_for_the_logged_in_and_for_data():
    rules = {"submission": "smtpd_sender_restrictions reject_authenticated_sender_login_mismatch",
             "smtp": "smtpd_data_restrictions reject_multi_recipient_bounce"}
    with Instance(listeners=rules) as house:
        with house.smtp("submission", user="alice") as client:
            client.mail("bob@posthouse.test")
            equal(client.rcpt("carol@posthouse.test")[0], 550, "alice as bob")
        two = dialogue(house, "MAIL FROM:<>", "RCPT TO:<alice@posthouse.test>", "RCPT TO:<bob@posthouse.test>", "DATA")
        assert two[3].startswith("550 5.5.3"), two
        one = dialogue(house, "MAIL FROM:<>", "RCPT TO:<alice@posthouse.test>", "DATA")
        assert one[2].startswith("354"), one


def test_pipelining_ahead_of_time():
    rules = {"smtp": "smtpd_data_restrictions reject_unauth_pipelining"}
    with Instance(listeners=rules, settings={"trusted_clients": None}) as house, house.lines() as wire:
        wire.reply()
        wire.raw("HELO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@posthouse.test>\r\nDATA\r\n")
        replies = [wire.reply() for _ in range(4)]
        assert replies[3].startswith("503 5.5.0"), replies


def test_delay_reject_off():
    with Instance(settings={"smtpd_delay_reject": "no", "smtpd_helo_restrictions": "reject_non_fqdn_helo_hostname"}) as house:
        with house.lines() as wire:
            wire.reply()
            wire.expect("EHLO client", "504 5.5.2")
            wire.expect("EHLO client.example", 250)
    with Instance(settings={"smtpd_delay_reject": "no", "smtpd_client_restrictions": "reject"}) as house:
        with house.lines() as wire:
            assert wire.reply().startswith(("554", "521")), "a refused client gets no greeting"


def test_explain_a_refusal():
    rules = {"smtp": "smtpd_sender_restrictions check_sender_access file:t"}
    with Instance(listeners=rules, files={"t": TABLE}) as house:
        dialogue(house, "MAIL FROM:<a@bad.example>", "RCPT TO:<alice@posthouse.test>", "RSET",
                 "MAIL FROM:<a@good.example>", "RCPT TO:<victim@elsewhere.example>")
        if house.cli("help", "explain")[0] != 0:
            harness.skip("no command explain yet")
        text = harness.eventually(lambda: (lambda r: r[0] == 0 and r[1])(house.cli("explain", "victim@elsewhere.example")))
        match(text, r"reject_unauth_destination")
        match(text, r"554")
        match(text, r"logged in", "what would change it")
        text = house.check("explain", "alice@posthouse.test")
        match(text, r"check_sender_access")
        match(text, r"posthouse\.conf:\d+", "where the rule is written")


if __name__ == "__main__":
    harness.main()
