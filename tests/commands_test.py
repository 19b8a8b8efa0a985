#!/usr/bin/env python3
"""The command line: quickstart, config, account, reload, resolve, status, store; its exit codes and what it says."""
import base64
import json
import os
import pathlib
import poplib
import re
import shutil
import signal
import stat
import subprocess
import tempfile

import harness
from harness import BINARY, Instance, equal, eventually, match, program

USAGE, DATA, UNAVAILABLE, CANTCREATE, NOPERM, CONFIG = 64, 65, 69, 73, 77, 78


def fails(house, code, *args, says=None, **more):
    """The command must end with that code, say why on standard error and nothing on standard output."""
    got, out, err = house.cli(*args, **more)
    equal(got, code, f"exit code of {' '.join(args)} ({out}{err})")
    assert err.startswith("posthouse: "), f"{args}: {err!r}"
    if says:
        match(err, says, f"the complaint of {' '.join(args)}")
    return err


def test_quickstart():
    with Instance(start=False) as house:
        before = snapshot(house.dir)
        code, _, err = program(BINARY, "quickstart", "--local", house.dir, "--base-port", house.base)
        equal(code, CANTCREATE, "quickstart twice")
        match(err, "there already")
        equal(snapshot(house.dir), before, "the first instance")
        for name, mode in (("posthouse.conf", 0o644), ("secrets", 0o600), ("accounts.txt", 0o600), ("tls/server.key", 0o600),
                           ("data", 0o700)):
            equal(stat.S_IMODE(os.stat(house.path(name)).st_mode), mode, f"mode of {name}")
        equal([n for n in os.listdir(house.parent) if "tmp" in n], [], "what is left beside it")
        for args, code in ((["quickstart"], USAGE), (["quickstart", "--local", house.dir + "/a/b/c"], CANTCREATE),
                           (["quickstart", "--local", house.dir + "2", "--base-port", "70000"], USAGE),
                           (["quickstart", "--local", house.dir + "2", "--domain", "not a domain"], USAGE),
                           (["quickstart", "--local", house.dir + "2", "--listen", "everywhere"], USAGE),
                           (["quickstart", "--local", house.dir + "2", "--bse-port", "1"], USAGE)):
            got, out, err = program(BINARY, *args)
            equal(got, code, f"{args}: {out}{err}")
        assert not os.path.exists(house.dir + "2"), "a refused quickstart left something"
        text = pathlib.Path(house.path("accounts.txt")).read_text()
        equal(len(set(text.split()[1::2])), 3, "passwords")
        assert not any(p in house.read("secrets") for p in text.split()[1::2]), "a password in clear in secrets"


def snapshot(folder):
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in pathlib.Path(folder).rglob("*")}


BROKEN = [
    ("smtpd_timout 5m", r"posthouse\.conf:\d+: .*smtpd_timout.*smtpd_timeout"),
    ("message_size_limit lots", r"posthouse\.conf:\d+: .*lots"),
    ("smtpd_timeout 5 parsecs", r"posthouse\.conf:\d+: "),
    ("smtpd_delay_reject perhaps", r"posthouse\.conf:\d+: .*perhaps"),
    ("mynetworks 300.1.2.3/8", r"posthouse\.conf:\d+: .*300\.1\.2\.3"),
    ("smtpd_sender_restrictions reject_unlisted_sendr", r"posthouse\.conf:\d+: .*reject_unlisted_sender"),
    ("smtpd_sender_restrictions reject_unknown_sender_domain", r"posthouse\.conf:\d+: .*not available"),
    ("smtpd_client_restrictions reject_maps_rbl", r"posthouse\.conf:\d+: .*reject_rbl_client"),
    ("smtpd_sender_restrictions check_sender_access file:nowhere", r"posthouse\.conf:\d+: .*nowhere"),
    ("listen smpt 127.0.0.1:2000", r"posthouse\.conf:\d+: .*smtp"),
    ("listen smtp 127.0.0.1", r"posthouse\.conf:\d+: .*[Pp]ort|posthouse\.conf:\d+: .*:PORT"),
    ("include nowhere.conf", r"posthouse\.conf:\d+: .*nowhere\.conf"),
    ("domain posthouse.test {", r"posthouse\.conf:\d+: "),
    ("hostname \"half", r"posthouse\.conf:\d+: "),
    ("smtpd_forbid_bare_newline maybe", r"posthouse\.conf:\d+: .*(normalize|reject)"),
    ("domain second.test", r"postmaster"),
    ("hostname two words", r"posthouse\.conf:\d+: "),
]


def test_wrong_right_side_of_a_table():
    with harness.Instance(start=False, files={"access": "good.example OK\nbad.example REJCT go away\n"},
                          settings={"smtpd_sender_restrictions": "check_sender_access file:access"}) as house:
        code, _, err = house.cli("config", "check")
        equal(code, 78, "exit code")
        match(err, r"access:2: .*REJCT")


def test_broken_configurations():
    with Instance(start=False) as house:
        good = house.read("posthouse.conf")
        house.check("config", "check")
        wrong = []
        for line, says in BROKEN:
            house.write("posthouse.conf", good + line + "\n")
            code, out, err = house.cli("config", "check")
            if code != CONFIG or not re.search(says, err):
                wrong.append(f"{line!r}: {code} {out}{err.strip()}")
            number = len(good.splitlines()) + 1
            if "posthouse" in says and f"posthouse.conf:{number}:" not in err:
                wrong.append(f"{line!r} is line {number}: {err.strip()}")
        assert not wrong, "\n".join(wrong)
        house.write("posthouse.conf", good + BROKEN[0][0] + "\n")
        code, _, err = house.cli("serve")
        equal(code, CONFIG, f"exit code of serve ({err})")
    with Instance(start=False) as house:
        for name, text, says in (("aliases", "postmaster@posthouse.test: alice@posthouse.test\nno colon here\n", r"aliases:2: "),
                                 ("accounts", "alice@posthouse.test\nnot an address\n", r"accounts:2: "),
                                 ("aliases", "# nobody\n", "postmaster")):
            old = house.read(name)
            house.write(name, text)
            fails(house, CONFIG, "config", "check", says=says)
            house.write(name, old)
        house.check("config", "check")


def test_config_explain():
    with Instance(settings={"smtpd_timeout": "2m"}, start=False) as house:
        text = house.check("config", "explain", "smtpd_timeout")
        for says in (r"5m", r"2m", r"posthouse\.conf:\d+", "5321"):
            match(text, says, "config explain smtpd_timeout")
        match(house.check("config", "explain", "message_size_limit"), r"50M.*default|default.*50M")
        match(house.check("config", "explain", "reject_unlisted_sender"), "550 5.1.0")
        text = house.check("config", "explain", "smtpd_relay_restrictions")
        match(text, "reject_unauth_destination")
        match(text, r"submission .*permit_sasl_authenticated")
        fails(house, 1, "config", "explain", "smtpd_timout", says="did you mean smtpd_timeout")
        with open(harness.ROOT + "/src/conf/settings.def") as f:
            names = re.findall(r"(?m)^SETTING\((\w+)", f.read())
        for name in names:
            assert len(house.check("config", "explain", name).splitlines()) >= 4, name


def logs_in(house, user, password):
    """At SMTP and POP3: True, False, or None when they do not agree."""
    token = base64.b64encode(f"\0{house.address(user)}\0{password}".encode()).decode()
    with house.smtp("submissions") as client:
        code = client.docmd("AUTH", "PLAIN " + token)[0]
        assert code in (235, 535), f"AUTH PLAIN: {code}"
    client = house.pop(user, login=False)
    client.encoding = "UTF-8"
    try:
        client.user(house.address(user))
        client.pass_(password)
        pop = True
    except poplib.error_proto:
        pop = False
    client.quit()
    return pop if pop == (code == 235) else None


def test_accounts_of_a_running_server():
    with Instance() as house:
        with house.lines() as wire:
            wire.reply()
            wire.expect("EHLO client.example", 250)
            wire.expect("MAIL FROM:<a@b.example>", 250)
            wire.expect("RCPT TO:<dave@posthouse.test>", "550 5.1.1")
        house.add_account("dave", "first word")
        equal(logs_in(house, "dave", "first word"), True, "log-in after add")
        house.send("dave")
        house.wait_for(1, "dave")
        house.check("account", "passwd", "dave@posthouse.test", "--password-stdin", input="second wörd\n")
        equal(logs_in(house, "dave", "first word"), False, "the old password")
        equal(logs_in(house, "dave", "second wörd"), True, "the new password")
        equal(json.loads(house.check("account", "list", "--json"))[-1]["address"], "dave@posthouse.test", "the list")
        house.check("account", "remove", "dave@posthouse.test")
        equal(logs_in(house, "dave", "second wörd"), False, "log-in after remove")
        assert "dave" not in house.check("account", "list")
        with house.smtp() as client:
            client.mail("a@b.example")
            equal(client.rcpt("dave@posthouse.test")[0], 550, "mail to a removed account")
        fails(house, DATA, "account", "add", "alice@posthouse.test", "--password-stdin", input="x\n", says="there already")
        fails(house, DATA, "account", "remove", "nobody@posthouse.test", says="no account")
        fails(house, DATA, "account", "add", "x@elsewhere.example", "--password-stdin", input="x\n", says="domain")
        fails(house, DATA, "account", "add", "x@posthouse.test", "--password-stdin", input="", says="password")
        fails(house, DATA, "account", "add", "x@posthouse.test", "--password-stdin", input="\n", says="password")
        fails(house, USAGE, "account", "frobnicate", "x@posthouse.test")
        equal(house.check("account", "list").split(), [f"{n}@posthouse.test" for n in ("alice", "bob", "carol")], "accounts")


def test_accounts_of_a_stopped_server():
    with Instance(start=False) as house:
        house.add_account("dave", "a word")
        house.start()
        equal(logs_in(house, "dave", "a word"), True, "log-in")
        house.stop()
        house.check("account", "remove", "dave@posthouse.test")
        house.start()
        equal(logs_in(house, "dave", "a word"), False, "log-in after remove")
        equal(stat.S_IMODE(os.stat(house.path("secrets")).st_mode), 0o600, "mode of secrets")


def test_many_accounts_at_once():
    """Each command holds the lock: none loses what another wrote."""
    with Instance() as house:
        running = [subprocess.Popen([BINARY, "account", "add", f"user{n}@posthouse.test", "--password-stdin", "-c", house.conf],
                                            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE) for n in range(8)]
        for process in running:
            process.stdin.write(b"word\n")
            process.stdin.close()
        for process in running:
            err = process.stderr.read()
            equal(process.wait(), 0, f"exit code of account add ({err})")
            process.stderr.close()
        equal(len(house.check("account", "list").split()), 11, "accounts")
        equal(logs_in(house, "user7", "word"), True, "log-in")


def test_passwords_are_bytes():
    with Instance() as house:
        for n, password in enumerate(("with spaces  ", "ünïcode", "x" * 200, "\"quoted\\ # :;", "-")):
            house.add_account(f"user{n}", password)
            equal(logs_in(house, f"user{n}", password), True, f"log-in with {password!r}")


def test_reload():
    with Instance() as house:
        good = house.read("posthouse.conf")
        before = house.status()["generation"]
        for line, says in BROKEN[:6]:
            house.write("posthouse.conf", good + line + "\n")
            fails(house, CONFIG, "reload", says=says)
        equal(house.status()["generation"], before, "generation after bad files")  # status works with a bad file as well
        house.process.send_signal(signal.SIGHUP)
        house.send("alice")
        house.wait_for(1)
        house.write("posthouse.conf", good + "message_size_limit 10000\n")
        house.check("reload")
        with house.smtp() as client:
            equal(client.esmtp_features["size"], "10000", "SIZE after reload")
        house.write("aliases", house.read("aliases") + "new@posthouse.test: bob@posthouse.test\n")
        equal(house.smtp().verify("x")[0], 252, "VRFY")
        with house.smtp() as client:
            client.mail("a@b.example")
            equal(client.rcpt("new@posthouse.test")[0], 550, "an alias before reload")
        house.check("reload")
        house.send("new@posthouse.test")
        house.wait_for(1, "bob")
        house.write("posthouse.conf", good)
        house.process.send_signal(signal.SIGHUP)
        eventually(lambda: house.smtp().esmtp_features["size"] != "10000", 5, "SIGHUP reloads")
        assert house.status()["generation"] > before


ALIASES = """
info@posthouse.test: alice@posthouse.test
deep@posthouse.test: info@posthouse.test
team@posthouse.test: alice@posthouse.test, bob@posthouse.test, info@posthouse.test
away@posthouse.test: x@elsewhere.example
tagged+one@posthouse.test: bob@posthouse.test
carol@posthouse.test: carol@posthouse.test, bob@posthouse.test
"""


def targets(house, address):
    code, out, err = house.cli("resolve", address, "--json")
    answer = json.loads(out)
    equal(code, 0 if answer["class"] == "local" else 1, f"exit code of resolve {address}")
    return answer["class"], sorted(t["address"].split("@")[0] for t in answer["targets"])


def test_resolve():
    with Instance(aliases=ALIASES, start=False) as house:
        for address, kind, names in (
                ("alice", "local", ["alice"]), ("ALICE", "local", ["alice"]), ("alice+tag", "local", ["alice"]),
                ("info", "local", ["alice"]), ("deep", "local", ["alice"]), ("deep+x", "local", ["alice"]),
                ("team", "local", ["alice", "bob"]), ("away", "local", ["x"]), ("carol", "local", ["bob", "carol"]),
                ("tagged+one", "local", ["bob"]), ("tagged", "unknown", []), ("nobody", "unknown", []),
                ("postmaster", "local", ["alice"])):
            equal(targets(house, f"{address}@posthouse.test"), (kind, names), address)
        equal(targets(house, "x@elsewhere.example"), ("foreign", ["x"]), "elsewhere")
        text = house.check("resolve", "deep@posthouse.test")
        match(text, r"deep@posthouse\.test .*\(aliases:\d+\)\n.*info@posthouse\.test .*\(aliases:\d+\)\n.*\(accounts:1\)\n-> alice@")
        fails(house, DATA, "resolve", "not an address")
        for loop in ("a@posthouse.test: b@posthouse.test\nb@posthouse.test: a@posthouse.test", "a@posthouse.test: a@posthouse.test"):
            text = house.read("aliases")
            house.write("aliases", text + loop + "\n")
            fails(house, CONFIG, "config", "check", says=r"aliases:\d+: ")
            house.write("aliases", text)
        house.write("aliases", text + "dead@posthouse.test: nobody@posthouse.test\n")
        equal(targets(house, "dead@posthouse.test"), ("unknown", []), "an alias of nobody")
    domain = "domain posthouse.test {\n catch_all bob@posthouse.test\n}"
    with Instance() as house:
        house.write("posthouse.conf", house.read("posthouse.conf").replace("domain posthouse.test", domain))
        equal(targets(house, "anything@posthouse.test"), ("local", ["bob"]), "catch-all")
        equal(targets(house, "alice+x@posthouse.test"), ("local", ["alice"]), "an account before the catch-all")
        house.check("reload")
        house.send("anything@posthouse.test")
        house.wait_for(1, "bob")


def test_one_copy_each():
    """However many ways lead to a mailbox, it gets one message."""
    with Instance(aliases=ALIASES) as house:
        house.send(["team@posthouse.test", "alice", "info@posthouse.test", "alice+tag@posthouse.test", "ALICE@posthouse.test"])
        house.send("carol")
        house.wait_for(1, "carol")
        equal((len(house.wait_for(1, "alice")), len(house.wait_for(2, "bob"))), (1, 2), "messages of alice and bob")


def uidl(house, user):
    client = house.pop(user)
    lines = client.uidl()[1]
    client.quit()
    return lines


def test_store():
    with Instance() as house:
        for n in range(5):
            house.send(["alice", "bob"], subject=f"number {n}")
        house.wait_for(5, "alice"), house.wait_for(5, "bob")
        client = house.pop("alice")
        client.dele(2)
        client.quit()
        before = {user: (uidl(house, user), house.mailbox(user)) for user in ("alice", "bob")}
        fails(house, UNAVAILABLE, "store", "rebuild", says="running")
        house.stop()
        house.check("store", "check")
        for how in ("rebuild", "delete"):
            for name in os.listdir(house.data):
                if name.startswith("index.db"):
                    os.unlink(os.path.join(house.data, name))
            if how == "rebuild":
                house.check("store", "rebuild")
                house.check("store", "check")
            house.start()
            for user, (names, box) in before.items():
                equal(uidl(house, user), names, f"UIDL of {user} after {how}")
                equal(house.mailbox(user), box, f"mailbox of {user} after {how}")
            house.send("alice", subject="one more")
            house.wait_for(len(before["alice"][1]) + 1)
            names = uidl(house, "alice")
            equal(len(set(names)), len(names), "names")
            client = house.pop("alice")
            client.dele(len(names))
            client.quit()
            house.stop()
        damage(house)
        code, out, _ = house.cli("store", "check")
        equal(code, 1, f"store check of a damaged log ({out})")
        match(out, "FOUND")


def damage(house):
    """Turns a byte over in the middle of the first message of the first segment."""
    folder = os.path.join(house.data, "log", "smtp-in")
    path = os.path.join(folder, sorted(os.listdir(folder))[0])
    with open(path, "r+b") as f:
        at = f.read().index(b"hello")
        f.seek(at)
        f.write(b"jello")


def test_damaged_message_does_not_stop_the_others():
    with Instance() as house:
        for n in range(3):
            house.send("alice", subject=f"number {n}")
        house.wait_for(3)
        house.stop()
        damage(house)
        house.start()
        client = house.pop()
        got = 0
        for n in range(client.stat()[0]):
            try:
                client.retr(n + 1)
                got += 1
            except poplib.error_proto:
                pass
        client.quit()
        assert got >= 2, f"{got} of 3 messages can be read"


def test_disk_that_cannot_be_written():
    with Instance(start=False) as house:
        shutil.rmtree(house.data)
        pathlib.Path(house.data).write_text("a file where the data folder should be\n")
        before = snapshot(house.dir)
        code, _, err = house.cli("serve", timeout=10)
        assert code in (CANTCREATE, UNAVAILABLE, NOPERM, 74), f"exit code {code}: {err}"
        match(err, r"^posthouse: .*data", "the complaint")
        equal(snapshot(house.dir), before, "what it left behind")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        pathlib.Path(folder, "x").write_text("")
        code, _, err = program(BINARY, "quickstart", "--local", os.path.join(folder, "x", "y"))
        equal(code, CANTCREATE, f"quickstart below a file ({err})")
        code, _, err = program(BINARY, "quickstart", "--local", os.path.join(folder, "x"))
        equal(code, CANTCREATE, f"quickstart at a file ({err})")
        equal(os.listdir(folder), ["x"], "what it left")


def test_account_files_that_cannot_be_written():
    """A folder stands where the new file would be written, or the folder cannot be written: the accounts stay whole."""
    with Instance(start=False) as house:
        before = house.read("accounts"), house.read("secrets")
        os.rename(house.path("secrets"), house.path("secrets.old"))
        os.mkdir(house.path("secrets"))
        code, _, err = house.cli("account", "add", "dave@posthouse.test", "--password-stdin", input="word\n")
        assert code not in (0, -11), f"account add with a folder for secrets: {code}"
        match(err, "secrets", "the complaint")
        os.rmdir(house.path("secrets"))
        os.rename(house.path("secrets.old"), house.path("secrets"))
        equal((house.read("accounts"), house.read("secrets")), before, "accounts and secrets")


def test_usage():
    for args, code in (([], USAGE), (["bogus"], USAGE), (["help"], 0), (["help", "serve"], 0), (["version"], 0), (["serve", "--bogus"], USAGE),
                       (["status", "-c", "/nonexistent/posthouse.conf"], None)):
        got, out, err = program(BINARY, *args)
        if code is None:
            assert got in (UNAVAILABLE, CONFIG, 66), f"{args}: {got} {err}"
            match(err, "/nonexistent/posthouse.conf")
        else:
            equal(got, code, f"exit code of {args} ({out}{err})")
        assert (out if got == 0 else err), f"{args} says nothing"


if __name__ == "__main__":
    harness.main()
