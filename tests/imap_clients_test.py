#!/usr/bin/env python3
"""The mail programs that people use, reading and writing through IMAP: what they see is what is there, and what they do is done."""
import base64
import glob
import imaplib
import os
import re
import tempfile
import time

import harness
import imapc
from harness import Instance, equal, match, need, program

LETTERS = [f"From: Bob <bob@elsewhere.example>\r\nTo: alice@posthouse.test\r\nSubject: letter {n} =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
           f"Date: Tue, 0{n + 1} Nov 2022 10:00:00 +0000\r\nMessage-ID: <{n}@elsewhere.example>\r\nMIME-Version: 1.0\r\n"
           "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
           f"Letter {n}: Grüße, 你好\r\nFrom here on\r\n.\r\n".encode() for n in range(5)]


def run(*args, accept=(0,), **more):
    code, out, err = program(*args, **more)
    assert code in accept, f"{args[0]} ended with {code}: {str(out)[-3000:]} {str(err)[-3000:]}"
    return out + err if isinstance(out, str) else out


def write(folder, name, text, mode=0o600):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def client_of(house):
    c = imapc.Imap(house.port("imaps"), tls=house.tls())
    c.login(house.address("alice"), house.passwords["alice"])
    return c


def fill(house, letters=LETTERS, mailbox="INBOX"):
    with client_of(house) as c:
        for letter in letters:
            equal(c.append(mailbox, letter).status, "OK")


def flags_of(house, mailbox="INBOX"):
    with client_of(house) as c:
        c.ok(f"EXAMINE {mailbox}")
        return {int(v["UID"]): sorted(set(v["FLAGS"]) - {"\\Recent"}) for _, v in c.ok("UID FETCH 1:* (FLAGS)").fetched()} \
            if c.ok(f"STATUS {mailbox} (MESSAGES)").of("STATUS")[0][1] != ["MESSAGES", "0"] else {}


def contents(house, mailbox="INBOX"):
    with client_of(house) as c:
        c.ok(f"EXAMINE {mailbox}")
        if c.ok(f"STATUS {mailbox} (MESSAGES)").of("STATUS")[0][1] == ["MESSAGES", "0"]:
            return []
        return [v["BODY[]"].encode("latin-1") for _, v in c.ok("FETCH 1:* BODY.PEEK[]").fetched()]


def test_imaplib():
    with Instance() as house:
        fill(house)
        c = imaplib.IMAP4_SSL("localhost", house.port("imaps"), ssl_context=house.tls())
        c.login("alice@posthouse.test", house.passwords["alice"])
        equal(c.list()[0], "OK")
        equal(c.select("INBOX"), ("OK", [b"5"]))
        equal(c.search(None, "SUBJECT", '"letter 3"'), ("OK", [b"4"]))
        equal(c.fetch("2", "(RFC822)")[1][0][1], LETTERS[1])
        equal(c.uid("STORE", "2", "+FLAGS", "(\\Deleted)")[0], "OK")
        equal(c.expunge(), ("OK", [b"2"]))
        equal(c.append("Sent", "\\Seen", imaplib.Time2Internaldate(0), LETTERS[0])[0], "OK")
        equal(c.thread("REFERENCES", "UTF-8", "ALL")[0], "OK")
        equal(c.logout()[0], "BYE")
        plain = imaplib.IMAP4("localhost", house.port("imap"))
        plain.starttls(house.tls())
        equal(plain.authenticate("PLAIN", lambda _: f"\0alice@posthouse.test\0{house.passwords['alice']}".encode())[0], "OK")
        equal(plain.enable("UTF8=ACCEPT")[0], "OK")
        plain.logout()


def test_curl():
    need("curl")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        fill(house)
        base = ["curl", "-sS", "--cacert", house.ca, "-u", f"alice@posthouse.test:{house.passwords['alice']}"]
        url = f"imaps://localhost:{house.port('imaps')}"
        match(run(*base, url), r'LIST \(.*\\Sent.*\) "?/"? "?Sent"?')
        got = run(*base, f"{url}/INBOX;MAILINDEX=1").encode().replace(b"\r\n", b"\n")
        equal(got, LETTERS[0].replace(b"\r\n", b"\n"), "what curl read")
        letter = write(folder, "letter", "Subject: by curl\r\n\r\nhello\r\n")
        run(*base, "-T", letter, f"{url}/Sent")
        equal(len(contents(house, "Sent")), 1)
        match(run(*base, f"{url}/INBOX?SUBJECT%20letter"), r"SEARCH 1 2 3 4 5")
        run(*base, "-X", "STORE 2 +Flags \\Flagged", f"{url}/INBOX")
        equal(flags_of(house)[2], ["\\Flagged"])
        plain = ["curl", "-sS", "--ssl-reqd", "--cacert", house.ca, "-u", f"alice@posthouse.test:{house.passwords['alice']}"]
        match(run(*plain, f"imap://localhost:{house.port('imap')}/INBOX", "-X", "FETCH 1 FLAGS"), "FLAGS")


def mbsyncrc(house, folder):
    return write(folder, "mbsyncrc", f"""
IMAPAccount posthouse
Host localhost
Port {house.port('imaps')}
User alice@posthouse.test
Pass {house.passwords['alice']}
SSLType IMAPS
CertificateFile {house.ca}

IMAPStore far
Account posthouse

MaildirStore near
Path {folder}/mail/
Inbox {folder}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""")


def maildir(folder, name):
    return sorted(glob.glob(f"{folder}/mail/{name}/cur/*") + glob.glob(f"{folder}/mail/{name}/new/*"))


def test_mbsync():
    """Both directions: what comes, what is read, answered and deleted here and there."""
    need("mbsync")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        fill(house)
        os.mkdir(f"{folder}/mail")
        rc = mbsyncrc(house, folder)
        sync = lambda: run("mbsync", "-c", rc, "-a", env=dict(os.environ, HOME=folder))  # noqa: E731
        sync()
        files = maildir(folder, "INBOX")
        equal(len(files), 5, "messages that came")
        bodies = {re.sub(rb"X-TUID: .*\n", b"", open(f, "rb").read().replace(b"\r\n", b"\n")) for f in files}
        equal(bodies, {letter.replace(b"\r\n", b"\n") for letter in LETTERS}, "what mbsync wrote")
        for name in ("Sent", "Drafts", "Trash", "Junk", "Archive"):
            assert os.path.isdir(f"{folder}/mail/{name}"), f"{name} was not made"
        os.rename(files[0], re.sub(r"/(new|cur)/([^:]*).*", r"/cur/\2:2,S", files[0]))   # read here
        os.rename(files[1], re.sub(r"/(new|cur)/([^:]*).*", r"/cur/\2:2,T", files[1]))   # deleted here
        write(f"{folder}/mail/INBOX/new", "1.local.test", "Subject: made here\n\nnew\n")
        with client_of(house) as c:
            c.ok("SELECT INBOX")
            c.ok("UID STORE 3 +FLAGS (\\Flagged)")
            c.ok("UID STORE 4 +FLAGS (\\Deleted)")
            c.ok("UID EXPUNGE 4")
        sync()
        there = flags_of(house)
        equal(len(there), 4, f"messages there: {there}")
        equal(sum("\\Seen" in f for f in there.values()), 1, "read ones there")
        equal(len(maildir(folder, "INBOX")), 4, "messages here")
        equal(sum(f.endswith(":2,F") for f in maildir(folder, "INBOX")), 1, "flagged ones here")
        sync()
        equal(len(flags_of(house)), 4, "messages after a sync with nothing to do")


def test_offlineimap():
    need("offlineimap")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        fill(house)
        rc = write(folder, "rc", f"""
[general]
accounts = a
metadata = {folder}/meta
ui = quiet
[Account a]
localrepository = l
remoterepository = r
[Repository l]
type = Maildir
localfolders = {folder}/mail
[Repository r]
type = IMAP
remotehost = localhost
remoteport = {house.port('imaps')}
remoteuser = alice@posthouse.test
remotepass = {house.passwords['alice']}
ssl = yes
sslcacertfile = {house.ca}
""")
        for _ in range(2):
            run("offlineimap", "-c", rc, "-o", env=dict(os.environ, HOME=folder))
            equal(len(maildir(folder, "INBOX")), 5, "messages")
        one = maildir(folder, "INBOX")[0]
        os.rename(one, re.sub(r"/(new|cur)/(.*:2,).*", r"/cur/\2FS", one))
        time.sleep(1.1)
        run("offlineimap", "-c", rc, "-o", env=dict(os.environ, HOME=folder))
        equal(sum("\\Flagged" in f for f in flags_of(house).values()), 1, "flagged ones")


def test_getmail():
    need("getmail")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        fill(house)
        mda = write(folder, "mda", f"#!/bin/sh\ncat > {folder}/letter.$$\n", 0o700)
        write(folder, "getmailrc", f"""
[retriever]
type = SimpleIMAPSSLRetriever
server = localhost
port = {house.port('imaps')}
username = alice@posthouse.test
password = {house.passwords['alice']}
mailboxes = ("INBOX",)
[destination]
type = MDA_external
path = {mda}
allow_root_commands = true
[options]
delete = true
delivered_to = false
received = false
""")
        run("getmail", f"--getmaildir={folder}", env=dict(os.environ, HOME=folder))
        equal(len(glob.glob(f"{folder}/letter.*")), 5, "messages that came")
        equal(flags_of(house), {}, "messages that are left")


def test_fetchmail():
    need("fetchmail")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        fill(house)
        rc = write(folder, "rc", f"""poll localhost protocol imap port {house.port('imaps')}
  user "alice@posthouse.test" password "{house.passwords['alice']}" ssl sslcertck sslcertfile "{house.ca}"
  mda "cat" no rewrite fetchall
""")
        out = run("fetchmail", "-f", rc, "--invisible", "--nosyslog", "-d0", env=dict(os.environ, HOME=folder, FETCHMAILHOME=folder, LC_ALL="C"))
        for n in range(5):
            match(out, f"Letter {n}: Grüße, 你好")
        equal(flags_of(house), {}, "messages that are left")


MUTTRC = """set folder="imaps://localhost:{port}/"
set spoolfile="imaps://localhost:{port}/INBOX"
set imap_user="alice@posthouse.test"
set imap_pass="{password}"
set certificate_file="{ca}"
set ssl_verify_host=yes
set header_cache=
set mbox_type=Maildir
set confirmappend=no
set delete=yes
set quit=yes
set move=no
set wait_key=no
set sort=mailbox-order
set use_from=no
"""


def test_mutt_and_neomutt():
    """Tags all, copies them to a Maildir here, flags the second, deletes the third, leaves."""
    need("mutt", "neomutt", "script")
    for name in ("mutt", "neomutt"):
        with Instance() as house, tempfile.TemporaryDirectory() as folder:
            fill(house)
            rc = write(folder, "rc", MUTTRC.format(port=house.port("imaps"), password=house.passwords["alice"], ca=house.ca))
            push = (f"push '<tag-pattern>~A<enter><tag-prefix><copy-message>{folder}/copied<enter>"
                    "<untag-pattern>~A<enter><jump>2<enter><flag-message><jump>3<enter><delete-message><sync-mailbox><quit>'")
            run("script", "-qec", f"{name} -n -F {rc} -e \"{push}\"", "/dev/null", accept=(0, 1), timeout=60,
                env=dict(os.environ, HOME=folder, TERM="xterm", LC_ALL="C.UTF-8", COLUMNS="100", LINES="40"))
            copied = glob.glob(f"{folder}/copied/*/*")
            equal(len(copied), 5, f"messages that {name} copied")
            there = flags_of(house)
            equal(sorted(there), [1, 2, 4, 5], f"UIDs after {name}")
            equal(sum("\\Flagged" in f for f in there.values()), 1, f"messages that {name} flagged")


PERL = r"""
use strict; use Mail::IMAPClient; use IO::Socket::SSL;
my ($port, $password, $ca) = @ARGV;
my $c = Mail::IMAPClient->new(Server => "localhost", Port => $port, User => 'alice@posthouse.test', Password => $password,
    Ssl => [SSL_ca_file => $ca, SSL_verifycn_name => "localhost"], Uid => 1) or die "connect: $@";
my @f = $c->folders; print "folders ", scalar(@f), "\n";
$c->select("INBOX") or die $c->LastError;
my @all = $c->search("ALL"); print "all @all\n";
print "subject ", $c->subject($all[0]), "\n";
print "size ", $c->size($all[0]), "\n";
my $h = $c->parse_headers($all[1], "Subject", "Date"); print "date $h->{Date}[0]\n";
my $e = $c->get_envelope($all[2]); print "from ", $e->from_addresses, "\n";
my $b = $c->get_bodystructure($all[0]); print "type ", lc $b->bodytype, "/", lc $b->bodysubtype, "\n";
$c->set_flag("Seen", $all[0]) or die $c->LastError;
print "seen @{[$c->seen]}\n"; print "unseen ", $c->unseen_count, "\n";
$c->create("Perl") or die $c->LastError;
my $n = $c->copy("Perl", @all[0, 1]) or die $c->LastError; print "copied $n\n";
$c->move("Perl", $all[4]) or die $c->LastError; $c->expunge;
print "left @{[$c->search('ALL')]}\n"; print "in Perl ", $c->message_count("Perl"), "\n";
$c->delete("Perl") or die $c->LastError;
my $i = $c->idle or die $c->LastError; $c->done($i); $c->logout;
"""


def test_perl():
    need("perl")
    if program("perl", "-MMail::IMAPClient", "-MIO::Socket::SSL", "-e", "1")[0]:
        harness.skip("Mail::IMAPClient is not there")
    with Instance() as house:
        fill(house)
        out = run("perl", "-e", PERL, house.port("imaps"), house.passwords["alice"], house.ca)
        for line in ("folders 6", "all 1 2 3 4 5", r"subject letter 0 =\?utf-8\?q\?", f"size {len(LETTERS[0])}", "date Tue, 02 Nov 2022",
                     "from .*bob@elsewhere.example", "type text/plain", "seen 1", "unseen 4", "copied", "left 1 2 3 4", "in Perl 3"):
            match(out, line)


def test_thunderbird():
    """Its own requests, in its own order, pipelined as it does."""
    with Instance() as house:
        fill(house)
        with imapc.Imap(house.port("imaps"), tls=house.tls()) as c:
            c.ok("capability")
            equal(c.command(["authenticate PLAIN", plain(house)]).status, "OK")
            c.ok('ID ("name" "Thunderbird" "version" "128.3.1")')
            c.ok("capability")
            c.ok("namespace")
            c.ok("ENABLE UTF8=ACCEPT")
            listed = c.ok('list (subscribed) "" "*" return (special-use)')
            uses = {use for _, flags, _, _ in [["LIST", *v] for v in listed.of("LIST")] for use in flags}
            assert {"\\Sent", "\\Trash", "\\Drafts", "\\Junk", "\\Archive"} <= uses, uses
            c.ok('list "" "INBOX"')
            c.ok('select "INBOX"')
            flags = c.ok("UID fetch 1:* (FLAGS)").fetched()
            equal([v["UID"] for _, v in flags], ["1", "2", "3", "4", "5"])
            fields = ("From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To")
            got = c.ok(f"UID fetch 1:5 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({fields})])")
            for line in [u for u in got.untagged if u[1] == "FETCH"]:
                equal(line[2][0], "UID", "first item of a UID FETCH")
            for n, (_, values) in enumerate(got.fetched()):
                equal(values["RFC822.SIZE"], str(len(LETTERS[n])))
                match(values[f"BODY[HEADER.FIELDS ({fields})]"], f"Subject: letter {n}")
            chunks = ""
            for at in range(0, len(LETTERS[0]), 100):
                chunks += c.ok(f"UID fetch 1 (UID RFC822.SIZE BODY.PEEK[]<{at}.100>)").fetched()[0][1][f"BODY[]<{at}>"]
            equal(chunks.encode("latin-1"), LETTERS[0], "the message in pieces")
            c.ok("UID store 1 +Flags (\\Seen)")
            c.ok('UID move 2 "Trash"')
            idle = c.start("IDLE")
            equal(c.response()[0], "+")
            house.send("alice", "new")
            match(str(c.response()), "EXISTS")
            c.send("DONE\r\n")
            equal(c.finish(idle).status, "OK")
            c.ok('STATUS "Trash" (UIDNEXT MESSAGES UNSEEN RECENT)')
            c.ok("close")
            equal(c.ok("logout").status, "OK")


def plain(house):
    return base64.b64encode(f"\0alice@posthouse.test\0{house.passwords['alice']}".encode()).decode()


def test_outlook_and_apple():
    """RFC822.PEEK, XLIST, AUTHENTICATE LOGIN with an initial response, IDLE without a mailbox; two commands in one packet, big partial reads."""
    with Instance() as house:
        fill(house)
        with imapc.Imap(house.port("imaps"), tls=house.tls()) as c:
            first = base64.b64encode(b"alice@posthouse.test").decode()
            equal(c.command([f"AUTHENTICATE LOGIN {first}", base64.b64encode(house.passwords["alice"].encode()).decode()]).status, "OK")
            xlist = c.ok('XLIST "" "*"')
            match(str(xlist.of("XLIST")), r"\\\\Inbox")
            match(str(c.ok('LSUB "" "*"').of("LSUB")), r"\\\\Sent")
            idle = c.start("IDLE")
            equal(c.response()[0], "+")
            c.send("DONE\r\n")
            equal(c.finish(idle).status, "OK")
            c.ok("SELECT INBOX")
            got = c.ok("UID FETCH 1 (RFC822.PEEK)").fetched()[0][1]
            assert LETTERS[0].decode("latin-1") in got.values(), got
            equal(flags_of(house)[1], [], "flags after a peek")
            c.send('A5 NAMESPACE\r\nA6 LIST "" "*" RETURN (SPECIAL-USE)\r\n')
            equal(c.finish("A5").of("NAMESPACE"), [[[["", "/"]], None, None]])
            equal(c.finish("A6").status, "OK")
            equal(c.ok("UID FETCH 1 (BODY.PEEK[1]<0.393216>)").fetched()[0][1]["BODY[1]<0>"].encode("latin-1"), LETTERS[0].split(b"\r\n\r\n", 1)[1])
            c.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 0)")


if __name__ == "__main__":
    harness.main()
