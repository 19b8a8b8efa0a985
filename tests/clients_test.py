#!/usr/bin/env python3
"""The programs that people use, end to end: each sends and reads through a running server, and what is read is what was sent."""
import os
import smtplib
import ssl
import tempfile

import harness
from harness import Instance, equal, eventually, match, need, program

MIB = 1 << 20
HEADER = ("From: Alice <alice@posthouse.test>\r\nTo: bob@posthouse.test\r\nSubject: {subject}\r\n"
          "Date: Tue, 05 Nov 2030 10:00:00 +0000\r\nMessage-ID: <{subject}@client.example>\r\nMIME-Version: 1.0\r\n"
          "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
BODY = "first\r\n.\r\n..\r\n.dot in front\r\n" + "long " * 180 + "\r\nGrüße, 你好\r\n \ttrailing blanks \t\r\n\r\nFrom here\r\nlast\r\n"


def letter(subject, body=BODY):
    return (HEADER.format(subject=subject) + body).encode()


def without_trace(message):
    """The message behind the lines that the server put in front."""
    return message[match(message, r"^(Return-Path: [^\r]*\r\n)(Delivered-To: [^\r]*\r\n)(Received: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*)").end():]


def received(house, subject, user="bob", seconds=10):
    """The one message of that subject, as bytes without trace lines."""
    mark = f"Subject: {subject}\r\n".encode()
    found = eventually(lambda: [m for m in house.mailbox(user) if mark in m], seconds, f"{subject} in the mailbox of {user}")
    equal(len(found), 1, f"messages {subject}")
    return without_trace(found[0])


def run(*args, accept=(0,), **more):
    code, out, err = program(*args, **more)
    assert code in accept, f"{args[0]} ended with {code}: {str(out)[-1500:]} {str(err)[-1500:]}"
    return out


def test_python():
    with Instance() as house:
        for service in ("smtp", "submission", "submissions"):
            with house.smtp(service, user=None if service == "smtp" else "alice") as client:
                client.sendmail("alice@posthouse.test", ["bob@posthouse.test"], letter(service), ["BODY=8BITMIME"])
            equal(received(house, service), letter(service), f"the message through {service}")
        for mechanism in ("PLAIN", "LOGIN"):
            with house.smtp("submission") as client:
                client.user, client.password = house.address("alice"), house.passwords["alice"]
                equal(client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))[0], 235, mechanism)
        with house.smtp("submission") as client:
            try:
                client.login("alice@posthouse.test", "wrong")
                raise SystemError("logged in with a wrong password")
            except smtplib.SMTPAuthenticationError as e:
                equal(e.smtp_code, 535, "reply code")


def test_several_recipients_and_bcc():
    with Instance() as house:
        names = ("alice", "bob", "carol")
        secret = letter("several").replace(b"Subject:", b"Bcc: carol@posthouse.test\r\nSubject:")
        with house.smtp("submission", user="alice") as client:
            client.sendmail("alice@posthouse.test", [house.address(n) for n in names], secret)
        for name in names:
            equal(received(house, "several", name), letter("several"), f"the message of {name}")
            whole = house.mailbox(name)[0]
            match(whole, f"^Return-Path: <alice@posthouse.test>\r\nDelivered-To: {name}@posthouse.test\r\n")
            others = [n for n in names if n != name and f"{n}@".encode() in whole.split(b"From: Alice")[0].replace(b"<alice@", b"")]
            equal(others, [], f"other recipients named in the trace lines of {name}")


def test_header_of_a_poor_client():
    """What a submission lacks is added: Date, Message-ID; a From without a domain is completed."""
    with Instance() as house:
        with house.smtp("submission", user="alice") as client:
            client.sendmail("alice@posthouse.test", ["bob@posthouse.test"], b"From: alice\r\nTo: bob\r\nSubject: poor\r\n\r\nx\r\n")
        text = received(house, "poor")
        for pattern in (r"(?m)^Date: \w{3}, ", r"(?m)^Message-ID: <[^>]+@mail\.posthouse\.test>", r"(?m)^From: alice@posthouse\.test",
                        r"\r\n\r\nx\r\n$"):
            match(text, pattern)


def test_smtputf8():
    with Instance(aliases="grüße@posthouse.test: bob@posthouse.test") as house:
        message = letter("utf8").replace("Alice".encode(), "Älice".encode())
        with house.smtp("smtp") as client:
            assert client.has_extn("smtputf8")
            equal(client.mail("jürgen@bücher.example", ["SMTPUTF8", "BODY=8BITMIME"])[0], 250, "MAIL")
            equal(client.rcpt("grüße@posthouse.test")[0], 250, "RCPT")
            equal(client.data(message)[0], 250, "DATA")
            client.command_encoding = "utf-8"  # without SMTPUTF8
            client.putcmd("MAIL FROM:<jürgen@bücher.example>")
            assert client.getreply()[0] in (550, 553, 501)
        client = house.pop("bob", login=False)
        client.utf8()
        client.user(house.address("bob"))
        client.pass_(house.passwords["bob"])
        whole = b"".join(line + b"\r\n" for line in client.retr(1)[1])
        client.quit()
        assert whole.endswith(message), "the message changed"
        match(whole, r"^Return-Path: <jürgen@bücher\.example>|^Return-Path: <jürgen@xn--bcher-kva\.example>")
        match(whole, r"with UTF8SMTP")


def test_large_message():
    with Instance() as house:
        big = letter("large", "".join(f"{n:07d} {'x' * 60}\r\n" for n in range(5 * MIB // 70)))
        with house.smtp("submissions", user="alice") as client:
            client.sendmail("alice@posthouse.test", ["bob@posthouse.test"], big)
        equal(received(house, "large"), big, "the large message")


def test_tls_versions():
    with Instance() as house:
        for highest, works in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_1, False)):
            context = house.tls()
            with harness.warnings_off():
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = highest
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            for service in ("submissions", "pop3s"):
                try:
                    harness.Lines(house.port(service), tls=context).close()
                    done = True
                except (ssl.SSLError, ConnectionError):
                    done = False
                equal(done, works, f"{highest.name} at {service}")


def write(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path, 0o600)
    return path


def test_swaks():
    need("swaks")
    if "=== TLS supported" not in "".join(program("swaks", "--support")[1:]):
        harness.skip("swaks has no TLS (package libnet-ssleay-perl)")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        login = ["-au", "alice@posthouse.test", "-ap", house.passwords["alice"]]
        tls = ["--tls-verify", "--tls-ca-path", house.ca]
        for subject, more in (("swaks25", ["-p", house.port("smtp")]), ("swaks25tls", ["-p", house.port("smtp"), "-tls", *tls]),
                              ("swaks587plain", ["-p", house.port("submission"), "-tls", *tls, "-a", "PLAIN", *login]),
                              ("swaks587login", ["-p", house.port("submission"), "-tls", *tls, "-a", "LOGIN", *login]),
                              ("swaks465", ["-p", house.port("submissions"), "-tlsc", *tls, "-a", "PLAIN", *login])):
            data = letter(subject, BODY.replace("\r\n.\r\n", "\r\n"))
            out = run("swaks", "-s", "localhost", *more, "-f", "alice@posthouse.test", "-t", "bob@posthouse.test", "-d",
                      "@" + write(folder, subject, data.replace(b"\r\n", b"\n")))
            match(out, r"250 2\.0\.0 ")
            assert received(house, subject).startswith(data), f"the message of {subject} changed: {received(house, subject)!r}"
        code, out, _ = program("swaks", "-s", "localhost", "-p", house.port("smtp"), "-f", "x@third.example", "-t", "x@elsewhere.example")
        equal(code, 24, "exit code of swaks (RCPT refused)")
        match(out, r"554 5\.7\.1")


def test_curl():
    need("curl")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        common = ["curl", "-sS", "--max-time", "20", "--cacert", house.ca]
        sender = ["--mail-from", "alice@posthouse.test", "--mail-rcpt", "bob@posthouse.test"]
        login = ["-u", f"alice@posthouse.test:{house.passwords['alice']}"]
        for subject, url, more in (("curl25", f"smtp://localhost:{house.port('smtp')}", []),
                                   ("curl587", f"smtp://localhost:{house.port('submission')}", ["--ssl-reqd", *login]),
                                   ("curl465", f"smtps://localhost:{house.port('submissions')}", login),
                                   ("curl465login", f"smtps://localhost:{house.port('submissions')}", [*login, "--login-options", "AUTH=LOGIN"])):
            run(*common, *more, "--url", url, *sender, "-T", write(folder, subject, letter(subject)))
            equal(received(house, subject), letter(subject), f"the message of {subject}")
        read = ["-u", f"bob@posthouse.test:{house.passwords['bob']}"]
        for url, more in ((f"pop3://localhost:{house.port('pop3')}", ["--ssl-reqd"]), (f"pop3s://localhost:{house.port('pop3s')}", [])):
            for auth in ([], ["--login-options", "AUTH=PLAIN"], ["--login-options", "AUTH=LOGIN"]):
                listing = run(*common, *read, *more, *auth, url + "/")
                equal(len(listing.split("\n")) - 1, 4, "messages in curl's list")
            got = run(*common, *read, *more, url + "/1", text=False)
            assert got.endswith(letter("curl25")), f"curl reads {got!r}"
        code, _, err = program(*common, "-u", "bob@posthouse.test:wrong", f"pop3s://localhost:{house.port('pop3s')}/")
        equal(code, 67, f"exit code of curl with a wrong password ({err})")
        code, _, err = program("curl", "-sS", *read, f"pop3s://localhost:{house.port('pop3s')}/")
        equal(code, 60, f"exit code of curl that does not know our CA ({err})")


def test_msmtp():
    need("msmtp")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        secret = write(folder, "secret", house.passwords["alice"] + "\n")
        for service in ("submission", "submissions"):
            for auth in ("plain", "login", "scram-sha-256", "on"):
                subject = f"msmtp-{service}-{auth}"
                run("msmtp", "--file=/dev/null", "--host=localhost", f"--port={house.port(service)}", "--tls=on",
                    f"--tls-starttls={'on' if service == 'submission' else 'off'}", f"--tls-trust-file={house.ca}", f"--auth={auth}",
                    "--user=alice@posthouse.test", f"--passwordeval=cat {secret}", "--from=alice@posthouse.test", "bob@posthouse.test",
                    input=letter(subject).replace(b"\r\n", b"\n"), text=False)
                equal(received(house, subject), letter(subject), f"the message of {subject}")
        code, _, err = program("msmtp", "--file=/dev/null", "--host=localhost", f"--port={house.port('submissions')}", "--tls=on",
                               "--tls-starttls=off", f"--tls-trust-file={house.ca}", "--auth=scram-sha-256", "--user=alice@posthouse.test",
                               "--passwordeval=echo wrong", "--from=alice@posthouse.test", "bob@posthouse.test", input="Subject: x\n\nx\n")
        equal(code, 77, f"exit code of msmtp with a wrong password ({err})")
        match(err, r"5\.7\.8")


def test_mpop():
    need("mpop")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        for n in range(3):
            house.send("bob", letter(f"mpop{n}"))
        house.wait_for(3, "bob")
        secret = write(folder, "secret", house.passwords["bob"] + "\n")
        for service, auth in (("pop3", "user"), ("pop3", "scram-sha-256"), ("pop3s", "plain"), ("pop3s", "scram-sha-256"), ("pop3s", "login")):
            box = os.path.join(folder, f"{service}-{auth}")
            out = run("mpop", "--file=/dev/null", "--host=localhost", f"--port={house.port(service)}", "--tls=on",
                      f"--tls-starttls={'on' if service == 'pop3' else 'off'}", f"--tls-trust-file={house.ca}", f"--auth={auth}",
                      "--user=bob@posthouse.test", f"--passwordeval=cat {secret}", "--keep=on", "--received-header=off",
                      f"--uidls-file={box}.uidls", f"--delivery=mbox,{box}")
            with open(box, "rb") as f:
                text = f.read()
            equal(text.count(b"Subject: mpop"), 3, f"messages by {service} {auth} ({out})")
            assert "Grüße, 你好".encode() in text and b"\n..\n.dot in front\n" in text, "the text changed"
        box = os.path.join(folder, "deleted")
        args = ["mpop", "--file=/dev/null", "--host=localhost", f"--port={house.port('pop3s')}", "--tls=on", "--tls-starttls=off",
                f"--tls-trust-file={house.ca}", "--auth=user", "--user=bob@posthouse.test", f"--passwordeval=cat {secret}", "--keep=off",
                f"--uidls-file={box}.uidls", f"--delivery=mbox,{box}"]
        run(*args)
        equal(house.mailbox("bob"), [], "messages after mpop took them")


def test_fetchmail():
    need("fetchmail")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        for service, more in (("pop3", "sslproto 'TLS1.2+'"), ("pop3s", "ssl")):
            house.send("bob", letter(f"fetchmail-{service}"))
            house.wait_for(1, "bob")
            rc = write(folder, "rc", f"""poll localhost protocol pop3 port {house.port(service)} uidl
  user "bob@posthouse.test" password "{house.passwords['bob']}" {more} sslcertck sslcertfile "{house.ca}"
  mda "cat" no rewrite fetchall
""")
            # 0: there was mail; 1: there was none
            out = run("fetchmail", "-f", rc, "--invisible", "--nosyslog", "-d0", env=dict(os.environ, HOME=folder, FETCHMAILHOME=folder, LC_ALL="C"))
            match(out, f"Subject: fetchmail-{service}")
            match(out, r"Grüße, 你好")
            match(out, r"\n\.\n\.\.\n\.dot in front\n", "the dots in what fetchmail read")
            equal(house.mailbox("bob"), [], "messages after fetchmail took them")


def test_s_nail():
    need("s-nail")
    with Instance() as house, tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, HOME=folder, MAILRC="/dev/null", LC_ALL="C.UTF-8", TMPDIR=folder)
        base = ["s-nail", "-:/", "-Sv15-compat", "-Stls-verify=strict", f"-Stls-ca-file={house.ca}", "-Stls-ca-no-defaults"]
        for service, scheme in (("submission", "smtp"), ("submissions", "smtps")):
            url = f"{scheme}://alice%40posthouse.test:{house.passwords['alice']}@localhost:{house.port(service)}"
            run(*base, f"-Smta={url}", "-Ssmtp-use-starttls", "-Ssmtp-auth=plain", "-Sfrom=alice@posthouse.test", "-Ssendwait", "-s",
                f"s-nail {service}", "bob@posthouse.test", input=".\nGrüße\n..\nend\n", env=env)
            text = received(house, f"s-nail {service}")
            match(text, r"From: alice@posthouse\.test")
            match(text, r"end")
        for service, scheme in (("pop3", "pop3"), ("pop3s", "pop3s")):
            url = f"{scheme}://bob%40posthouse.test:{house.passwords['bob']}@localhost:{house.port(service)}"
            out = run(*base, "-Spop3-use-starttls", "-Spop3-auth=plain", "-R", "-f", url, input="type 1 2\nexit\n", env=env)
            match(out, r"s-nail submission")
            match(out, r"Grüße")


if __name__ == "__main__":
    harness.main()
