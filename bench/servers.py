"""The servers that are measured, each in a folder of its own, with what the measurements ask of it."""
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

import corpus

HERE = os.path.dirname(os.path.abspath(__file__))
DOMAIN, SENDER, READER = "bench.test", "alice@bench.test", "bob@bench.test"
# Domains of others: of smtp_sink, of nobody, of one who says nothing, of a smtp_sink that takes its time.
RELAYED, DEAD, SILENT, SLOW = "relay.test", "dead.test", "silent.test", "slow.test"
MAILDIR, MBOX = "maildir.test", "mbox.test"  # domains whose mail is delivered into Maildirs and mbox files
USERS = 1000
LIMIT = 60  # seconds that anything may take
OFFSETS = {"lmtp": 24, "smtp": 25, "idle": 26, "sink": 27, "dead": 28, "silent": 29, "slow": 30, "pop3": 110, "imap": 143, "submission": 587,
           "imaps": 993, "pop3s": 995}


def fail(text):
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(1)


def run(*args):
    done = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
    if done.returncode:
        fail(f"{args[0]} failed:\n{done.stdout}")
    return done.stdout


def free_base(taken=()):
    """A number such that nothing on the loopback interface listens at it plus one of the ports of mail."""
    offsets = sorted({465, *OFFSETS.values()})
    for base in range(21000, 60000, 1000):
        sockets = [socket.socket() for _ in offsets]
        try:
            for s, offset in zip(sockets, offsets):
                s.bind(("127.0.0.1", base + offset))
            if base not in taken:
                return base
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    fail("no free ports")


def eventually(condition, seconds, step, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            fail(f"{what}: not within {seconds} s")
        time.sleep(step)


def loader(tools, name, server, port, *options):
    done = subprocess.run([os.path.join(tools, name), "-p", str(server.port[port]), "-l", str(LIMIT), *map(str, options)],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode:
        fail(f"{name} and {server.name} did not get to the end: {done.stdout}")
    return json.loads(done.stdout)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def end(process):
    """Ends a server that was started in the foreground."""
    if process:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Posthouse:
    name = "Posthouse"

    def __init__(self, binary, plain_login, data, folder="posthouse", taken=()):
        self.dir, self.process = os.path.join(data, folder), None
        self.binary, self.plain_login = os.path.abspath(binary), os.path.abspath(plain_login)
        self.base = free_base(taken)
        self.port = {name: self.base + offset for name, offset in OFFSETS.items() if name != "idle"}
        self.port["idle"] = self.port["smtp"]
        run(self.binary, "quickstart", "--local", self.dir, "--base-port", self.base, "--domain", DOMAIN)
        self.conf = os.path.join(self.dir, "posthouse.conf")
        self.let_relay()
        self.let_deliver()
        with open(os.path.join(self.dir, "accounts"), "a") as f:
            f.writelines(f"u{n}@{domain}\n" for domain in (DOMAIN, MAILDIR, MBOX) for n in range(USERS))
        with open(os.path.join(self.dir, "accounts.txt")) as f:
            words = [line.split() for line in f]
        self.password = {w[0]: w[1] for w in words if len(w) == 2 and "@" in w[0]}
        self.let_read()
        self.tls = [os.path.join(self.dir, "tls", name) for name in ("server.pem", "server.key")]

    def let_relay(self):
        """Port 25 takes mail for others from this machine; the domains of others lead to ports of it."""
        with open(self.conf) as f:
            text = f.read()
        smtp = f"listen smtp 127.0.0.1:{self.port['smtp']}"
        text = text.replace(smtp, smtp + " { smtpd_relay_restrictions permit_mynetworks, reject_unauth_destination }", 1)
        text += "\nmynetworks 127.0.0.0/8\n"
        for domain, port in ((RELAYED, "sink"), (DEAD, "dead"), (SILENT, "silent"), (SLOW, "slow")):
            text += f"route {port} {{ recipient @{domain}; next smtp [127.0.0.1]:{self.port[port]} }}\n"
        with open(self.conf, "w") as f:
            f.write(text)

    def let_deliver(self):
        """Two domains are delivered outside of the store, as a user of the system; the folders are there before anything is measured."""
        owner = pwd.getpwnam("nobody")
        mail = os.path.join(self.dir, "delivered")
        self.new = [os.path.join(mail, f"u{n}", "new") for n in range(USERS)]
        for folder in (mail, *(os.path.join(mail, f"u{n}", *sub) for n in range(USERS) for sub in ((), ("tmp",), ("cur",), ("new",)))):
            os.mkdir(folder, 0o755 if folder == mail else 0o700)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with open(self.conf, "a") as f:
            f.write(f"\nmda_min_uid 1\ndomain {MAILDIR} {{ postmaster u0; deliver maildir:{mail}/%n; user nobody }}\n"
                    f"domain {MBOX} {{ postmaster u0; deliver mbox:{mail}/mbox-%n; user nobody }}\n")

    def let_read(self):
        """Those who read by IMAP (bench/imap.py) have the password of READER."""
        accounts, secrets = (os.path.join(self.dir, name) for name in ("accounts", "secrets"))
        names = ["letters", "many", *(f"i{n}" for n in range(100))]
        with open(secrets) as f:
            words = next(line for line in f if line.split()[:1] == [READER]).split(" ", 1)
        with open(accounts, "a") as f:
            f.writelines(f"{name}@{DOMAIN}\n" for name in names)
        with open(secrets, "a") as f:
            f.writelines(f"{name}@{DOMAIN} {words[1]}" for name in names)

    def version(self):
        return run(self.binary, "version").splitlines()[0]

    def start(self, plain_login=False):
        binary = self.plain_login if plain_login else self.binary
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([binary, "serve", "-c", self.conf], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log)
        if not self.process.stdout.readline():
            fail(f"posthouse did not start; see {self.dir}/log")
        self.pids = [self.process.pid]

    def stop(self):
        self.process = end(self.process)

    def configure(self, text):
        with open(self.conf, "w") as f:
            f.write(text)
        run(self.binary, "reload", "-c", self.conf)

    @contextlib.contextmanager
    def setting(self, line):
        """With that line in the configuration of the running server; None: as it is."""
        with open(self.conf) as f:
            text = f.read()
        if line:
            self.configure(f"{text}\n{line}\n")
        yield
        if line:
            self.configure(text)

    def counters(self):
        roles = json.loads(run(self.binary, "status", "--json", "-c", self.conf))["roles"]
        return {"placed": roles["store"]["placed"], "syncs": roles["smtp-in"]["syncs"],
                "journal_syncs": roles["store"]["journal_syncs"]}

    def wait_placed(self, before, count):
        eventually(lambda: self.counters()["placed"] >= before["placed"] + count, LIMIT, 0.02, "placing the mail")
        return time.monotonic()

    def delivered(self):
        """Messages handed to the MDA that were ever delivered, by this process."""
        return json.loads(run(self.binary, "status", "--json", "-c", self.conf))["roles"]["store"]["queue_sent"]

    def queued(self):
        """Messages for other hosts that were ever put into the queue, by this process."""
        return json.loads(run(self.binary, "status", "--json", "-c", self.conf))["roles"]["store"]["queue_queued"]

    def fill(self, count):
        self.deliver(READER, corpus.messages(count), count)

    def deliver(self, address, messages, count):
        """A mailbox is filled as mailboxes are."""
        before = self.counters()
        with socket.create_connection(("127.0.0.1", self.port["smtp"]), LIMIT) as s, s.makefile("rb") as lines:
            def say(data, replies):
                s.sendall(data)
                for _ in range(replies):
                    line = lines.readline()
                    while line[3:4] == b"-":
                        line = lines.readline()
                    if line[:1] not in b"23":
                        fail(f"posthouse did not take the mailbox: {line}")
            say(b"EHLO bench.example\r\n", 2)
            envelope = f"MAIL FROM:<g.clarke@example.org>\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode()
            for message in messages:
                say(envelope, 3)
                say(message.replace(b"\r\n.", b"\r\n..") + b".\r\n", 1)
            say(b"QUIT\r\n", 1)
        self.wait_placed(before, count)


class Dovecot:
    name = "Dovecot"

    def __init__(self, data, tls, taken):
        self.dir, self.process = os.path.join(data, "dovecot"), None
        self.conf, self.sasl = os.path.join(self.dir, "dovecot.conf"), os.path.join(self.dir, "sasl")
        base = free_base(taken)
        self.base, self.port = base, {name: base + OFFSETS[name] for name in ("pop3", "pop3s")}
        self.password = {READER: "a-password", SENDER: "a-password"}
        self.uid = pwd.getpwnam("nobody").pw_uid
        os.makedirs(os.path.join(self.dir, "run"))
        write_configuration(os.path.join(HERE, "dovecot", "dovecot.conf"), self.conf, {
            "DIR": self.dir, "CERTIFICATE": tls[0], "KEY": tls[1], "UID": self.uid, "PASSWORD": self.password[READER],
            "POP3": self.port["pop3"], "POP3S": self.port["pop3s"]})

    def version(self):
        return "Dovecot " + run("dovecot", "--version").split()[0]

    def start(self, plain_login=False):
        with open(os.path.join(self.dir, "output"), "ab") as output:
            self.process = subprocess.Popen(["dovecot", "-F", "-c", self.conf], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output)
        self.pids = [self.process.pid]
        eventually(lambda: listens(self.port["pop3"]) and os.path.exists(self.sasl), 10, 0.05, "start of Dovecot")

    def stop(self):
        self.process = end(self.process)

    def fill(self, count):
        """A Maildir as Postfix or Dovecot deliver: lines end with LF, sizes stand in the names."""
        home = os.path.join(self.dir, "mail", READER.split("@")[0])
        for sub in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(home, "Maildir", sub))
        for n, message in enumerate(corpus.messages(count)):
            text = message.replace(b"\r\n", b"\n")
            name = f"{1577934243 + n}.M{n}P1.bench,S={len(text)},W={len(message)}:2,S"
            with open(os.path.join(home, "Maildir", "cur", name), "wb") as f:
                f.write(text)
        run("chown", "-R", f"{self.uid}:{self.uid}", os.path.join(self.dir, "mail"))


class Postfix:
    name = "Postfix"

    def __init__(self, data, tls, dovecot, taken):
        self.dir, self.started, self.dovecot = os.path.join(data, "postfix"), False, dovecot
        self.base = base = free_base(taken)
        self.etc, self.port = os.path.join(self.dir, "etc"), {name: base + offset for name, offset in OFFSETS.items()}
        self.password = dovecot.password
        owner = pwd.getpwnam("nobody")
        for sub in ("etc", "spool", "data", "log", "mail"):
            os.makedirs(os.path.join(self.dir, sub))
        shutil.chown(os.path.join(self.dir, "data"), "postfix")
        values = {"DIR": self.dir, "UID": owner.pw_uid, "CERTIFICATE": tls[0], "KEY": tls[1], "SASL": dovecot.sasl,
                  **{name.upper(): port for name, port in self.port.items()}}
        for name in ("main.cf", "master.cf"):
            write_configuration(os.path.join(HERE, "postfix", name), os.path.join(self.etc, name), values)
        for name in ("dynamicmaps.cf", "postfix-files"):
            if os.path.exists(f"/etc/postfix/{name}"):
                shutil.copy(f"/etc/postfix/{name}", self.etc)
        with open(os.path.join(self.etc, "users"), "w") as f:
            f.writelines(f"u{n}@{DOMAIN} u{n}/\nu{n}@{MBOX} mbox{n}\n" for n in range(USERS))
        self.new = []
        for n in range(USERS):  # the Maildirs are there before anything is measured
            box = os.path.join(self.dir, "mail", f"u{n}")
            for sub in (box, *(os.path.join(box, s) for s in ("tmp", "cur", "new"))):
                os.mkdir(sub, 0o700)
                os.chown(sub, owner.pw_uid, owner.pw_uid)
            self.new.append(os.path.join(box, "new"))
        os.chown(os.path.join(self.dir, "mail"), owner.pw_uid, owner.pw_uid)

    def version(self):
        return "Postfix " + run("postconf", "-d", "-h", "mail_version").strip()

    def start(self, plain_login=False):
        self.started = True
        run("postfix", "-c", self.etc, "start")
        eventually(lambda: listens(self.port["smtp"]), 10, 0.05, "start of Postfix")
        with open(os.path.join(self.dir, "spool", "pid", "master.pid")) as f:
            self.pids = [int(f.read()), *self.dovecot.pids]  # Dovecot looks at the passwords for it

    def stop(self):
        if self.started:
            subprocess.run(["postfix", "-c", self.etc, "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.started = False

    def counters(self):
        return {"placed": sum(len(os.listdir(d)) for d in self.new)}

    def wait_empty(self):
        """A message stands in a queue folder from before its 250 until it is delivered."""
        queues = [os.path.join(self.dir, "spool", q) for q in ("incoming", "active", "deferred")]
        eventually(lambda: not any(files for q in queues for _, _, files in os.walk(q)), LIMIT, 0.02, "delivery by Postfix")
        return time.monotonic()

    def wait_placed(self, before, count):
        at = self.wait_empty()
        there = self.counters()["placed"] - before["placed"]
        if there < count:
            fail(f"Postfix delivered {there} of {count} messages; see {self.dir}/log/maillog")
        return at


class OpenSMTPD:
    """From the unpacked package, since it and Postfix exclude one another: in a mount namespace where the folders and users
    that it wants are its own. It has no part in the system outside."""
    name = "OpenSMTPD"
    # What it sees under the names that are built into it.
    MOUNTS = {"spool": "/var/spool", "run": "/run", "lib": "/var/lib", "package/usr/libexec": "/usr/libexec",
              "passwd": "/etc/passwd", "group": "/etc/group"}

    def __init__(self, data, package, taken):
        self.dir, self.process = os.path.join(data, "opensmtpd"), None
        base = free_base(taken)
        self.port = {name: base + offset for name, offset in OFFSETS.items()}
        for sub in ("spool/smtpd", "run", "lib/opensmtpd/empty", "etc"):
            os.makedirs(os.path.join(self.dir, sub))
        for sub in ("spool/smtpd", "lib/opensmtpd/empty"):
            os.chmod(os.path.join(self.dir, sub), 0o711)
        run("dpkg", "-x", package, os.path.join(self.dir, "package"))
        for name in ("passwd", "group"):
            shutil.copy(f"/etc/{name}", os.path.join(self.dir, name))
            with open(os.path.join(self.dir, name), "a") as f:
                for number, user in ((64901, "opensmtpd"), (64902, "opensmtpq")):
                    f.write(f"{user}:x:{number}:{number}::/var/lib/opensmtpd/empty:/usr/sbin/nologin\n" if name == "passwd"
                            else f"{user}:x:{number}:\n")
        self.conf = os.path.join(self.dir, "etc", "smtpd.conf")
        write_configuration(os.path.join(HERE, "opensmtpd", "smtpd.conf"), self.conf,
                            {"SMTP": self.port["smtp"], "SINK": self.port["sink"]})

    @staticmethod
    def package(data):
        """The file, or None: then it is not measured."""
        try:
            done = subprocess.run(["apt-get", "-qq", "download", "opensmtpd"], cwd=data, timeout=LIMIT,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = [name for name in os.listdir(data) if name.startswith("opensmtpd_") and name.endswith(".deb")]
        return os.path.join(data, found[0]) if found and done.returncode == 0 else None

    def version(self):
        done = subprocess.run([os.path.join(self.dir, "package/usr/sbin/smtpd"), "-h"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return next((line.replace("version: ", "") for line in done.stdout.splitlines() if "OpenSMTPD" in line), "OpenSMTPD")

    def start(self):
        mounts = " && ".join(f"mount --bind {self.dir}/{inside} {place}" for inside, place in self.MOUNTS.items())
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", f"mount --make-rprivate / && {mounts} && exec {self.dir}/package/usr/sbin/smtpd "
                 f"-F -f {self.conf}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pids = [self.process.pid]
        eventually(lambda: listens(self.port["smtp"]) or self.process.poll() is not None, 10, 0.05, "start of OpenSMTPD")
        if self.process.poll() is not None:
            fail(f"OpenSMTPD did not start; see {self.dir}/log")

    def stop(self):
        self.process = end(self.process)


def write_configuration(template, path, values):
    with open(template) as f:
        text = f.read()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    with open(path, "w") as f:
        f.write(text)
