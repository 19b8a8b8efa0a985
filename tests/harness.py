"""What the scenario tests share: a throw-away Posthouse instance, and a runner for functions named test_*.

    import harness

    def test_greeting():
        with harness.Instance() as house:
            assert house.smtp().noop()[0] == 250

    if __name__ == "__main__":
        harness.main()

A test passes when it returns, is skipped by harness.skip(reason), and fails by any exception. The program under test is
$POSTHOUSE (default: build/posthouse). Everything listens on 127.0.0.1 only.
"""
import atexit
import contextlib
import ctypes
import functools
import inspect
import json
import os
import poplib
import random
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.abspath(os.environ.get("POSTHOUSE") or os.path.join(ROOT, "build", "posthouse"))
SERVICES = {"lmtp": 24, "smtp": 25, "submission": 587, "submissions": 465, "pop3": 110, "pop3s": 995, "imap": 143, "imaps": 993}
DOMAIN = "posthouse.test"
poplib._MAXLINE = 1 << 20  # its own limit is 2048, messages have longer lines
START_SECONDS = 5
LOG_TAIL = 20


class Skip(Exception):
    """The test cannot run here; its text says why."""


class StartFailed(AssertionError):
    """The server did not become ready; .returncode is its exit code, or None if it had to be killed."""

    def __init__(self, text, returncode):
        super().__init__(text)
        self.returncode = returncode


def skip(reason):
    raise Skip(reason)


def need(*programs):
    """Skips the test unless all these programs are installed."""
    for program in programs:
        if not shutil.which(program):
            skip(f"{program} is not installed")


def eventually(condition, seconds=5, what=None, step=0.02):
    """The first true value of condition() within that time; fails otherwise."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or inspect.getsource(condition).strip()}")
        time.sleep(step)


def equal(got, expected, what="value"):
    """Fails with both values, long ones cut around the first difference."""
    if got == expected:
        return
    if isinstance(got, (bytes, str)) and type(got) is type(expected) and max(len(got), len(expected)) > 200:
        pairs = enumerate(zip(got, expected))
        at = next((i for i, (a, b) in pairs if a != b), min(len(got), len(expected)))
        near = slice(max(0, at - 40), at + 80)
        raise AssertionError(f"{what} differs at {at} (length {len(got)}, expected {len(expected)}): "
                             f"{got[near]!r}, expected {expected[near]!r}")
    raise AssertionError(f"{what} is {got!r}, expected {expected!r}")


def match(text, pattern, what="text"):
    """The re.Match of pattern somewhere in text."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    found = re.search(pattern, text, re.S)
    if not found:
        raise AssertionError(f"{what} has no /{pattern}/: {text[:600]!r}")
    return found


@contextlib.contextmanager
def warnings_off():
    """For what Python calls deprecated and a test needs all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def ports_free(base):
    held = []
    try:
        for offset in SERVICES.values():
            s = socket.socket()
            held.append(s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", base + offset))
        return True
    except OSError:
        return False
    finally:
        for s in held:
            s.close()


def free_base():
    """A base port whose ports of all services are free. Another instance may still be quicker: then `with` tries anew."""
    for _ in range(500):
        base = random.randrange(20000, 60000 - 995)
        if ports_free(base):
            return base
    raise AssertionError("no free ports from 20000 to 60000")


def program(*args, **more):
    """Runs a program to its end: (exit code, stdout, stderr), as text unless text=False."""
    more.setdefault("text", True)
    more.setdefault("timeout", 60)
    if "input" not in more:
        more.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    return done.returncode, done.stdout, done.stderr


def die_with_parent():
    """In the child: a server never outlives the test that started it, even one that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def children(pid):
    """Process ids of the children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def alive(pid):
    """Is it a running process (a zombie is not)?"""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Lines:
    """A connection on which lines are written and read by hand, for what a polite library would not send."""

    def __init__(self, port, source=None, tls=None, timeout=10, host="127.0.0.1"):
        s = socket.create_connection((host, port), timeout, (source, 0) if source else None)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrap_socket(s, server_hostname="localhost") if tls else s
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def starttls(self, context):
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def raw(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def line(self):
        """The next line without its CRLF, or None at the end of the stream."""
        while b"\n" not in self.rest:
            try:
                got = self.sock.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                got = b""
            if not got:
                return None
            self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "backslashreplace")

    def reply(self):
        """A whole SMTP reply as one string, its lines joined by newlines; "" at the end of the stream."""
        lines = []
        while True:
            line = self.line()
            if line is None:
                return "\n".join(lines)
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def say(self, line):
        """Sends a line, returns the reply."""
        self.raw((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def expect(self, line, code):
        """say(), which must answer with that code (or start of a reply, or a tuple of them)."""
        got = self.say(line)
        wanted = code if isinstance(code, tuple) else (code,)
        if not got.startswith(tuple(str(c) for c in wanted)):
            raise AssertionError(f"{line[:100]!r} was answered {got!r}, expected {code}")
        return got

    def ended(self, seconds=5):
        """Has the server closed the connection (after sending what may still come)?"""
        self.sock.settimeout(seconds)
        try:
            while True:
                got = self.sock.recv(65536)
                if not got:
                    return True
                self.rest += got
        except (ConnectionResetError, ssl.SSLError):
            return True
        except (socket.timeout, TimeoutError):
            return False


# {(program, domain): (folder, base port)}: what quickstart made for the first instance; the next ones get a copy, keys and passwords too
templates = {}


@functools.cache
def template_folder():
    folder = tempfile.mkdtemp(prefix="posthouse-templates-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Instance:
    """A fresh instance in a folder of its own, started by `with` (or start()), gone afterwards.

    append     lines added to posthouse.conf
    settings   {name: value}: replaces the line of that setting, or adds it; value None removes it
    listeners  {service: "restriction lines"}: gives that listener a block
    aliases    lines added to the file of aliases
    accounts   names (or full addresses) of further accounts; passwords are in .passwords
    files      {relative path: text} written into the instance's folder
    start      False: only make it
    binary     another program than $POSTHOUSE
    """

    def __init__(self, append="", settings=None, listeners=None, aliases="", accounts=(), files=None, start=True,
                 domain=DOMAIN, binary=BINARY):
        self.binary, self.domain = binary, domain
        self.append, self.settings, self.listeners = append, settings or {}, listeners or {}
        self.aliases, self.files, self.extra, self.wanted = aliases, files or {}, accounts, start
        self.process = self.parent = self.log_file = None

    # making it

    def __enter__(self):
        for attempt in range(3):
            try:
                self.make()
                if self.wanted:
                    self.start()
                return self
            except StartFailed as e:
                self.cleanup()
                if "Address already in use" not in str(e) or attempt == 2:
                    raise
            except BaseException:
                self.cleanup()
                raise

    def __exit__(self, kind, value, trace):
        failed = kind is not None and issubclass(kind, Exception) and not issubclass(kind, Skip)
        try:
            if self.process and not failed:
                self.stop()
        except AssertionError:
            failed = True
            raise
        finally:
            if failed:
                self.print_log()
            self.cleanup()

    def make(self):
        self.parent = tempfile.mkdtemp(prefix="posthouse-test-")
        os.chmod(self.parent, 0o755)
        self.dir = os.path.join(self.parent, "house")
        self.conf = os.path.join(self.dir, "posthouse.conf")
        self.log_path = os.path.join(self.parent, "log")
        self.quickstart()
        self.ca = os.path.join(self.dir, "tls", "ca.pem")
        self.data = os.path.join(self.dir, "data")
        self.edit()
        for name in self.extra:
            self.add_account(name)

    def quickstart(self):
        self.base = free_base()
        made = templates.get((self.binary, self.domain))
        if made:
            self.copy_template(*made)
        else:
            code, out, err = program(self.binary, "quickstart", "--local", self.dir, "--base-port", self.base, "--domain",
                                     self.domain)
            assert code == 0, f"quickstart: {code} {out}{err}"
            folder = os.path.join(template_folder(), str(len(templates)))
            subprocess.run(["cp", "-a", self.dir, folder], check=True)
            templates[self.binary, self.domain] = folder, self.base
        self.passwords = {}
        with open(os.path.join(self.dir, "accounts.txt")) as f:
            for line in f:
                address, password = line.split()
                self.passwords[address] = self.passwords[address.split("@")[0]] = password

    def copy_template(self, folder, base):
        subprocess.run(["cp", "-a", folder, self.dir], check=True)
        text, n = re.subn(r"(?m)^(listen \S+ \S+:)(\d+)", lambda m: f"{m[1]}{int(m[2]) - base + self.base}", self.read("posthouse.conf"))
        assert n == len(SERVICES), f"{n} listeners in the file that quickstart wrote"
        self.write("posthouse.conf", text)

    def edit(self):
        for name, text in self.files.items():
            self.write(name, text)
        text = self.read("posthouse.conf")
        for name, value in self.settings.items():
            text = re.sub(rf"(?m)^{name} .*\n", "", text)
            if value is not None:
                text += f"{name} {value}\n"
        for service, block in self.listeners.items():
            text, n = re.subn(rf"(?m)^(listen {service} \S+).*$", lambda m: f"{m[1]} {{\n{block}\n}}", text)
            assert n == 1, f"no listener {service}"
        self.write("posthouse.conf", text + self.append + "\n")
        if self.aliases:
            self.write("aliases", self.read("aliases") + self.aliases + "\n")

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name)) as f:
            return f.read()

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)

    def add_account(self, name, password=None):
        address = name if "@" in name else f"{name}@{self.domain}"
        password = password or f"tarim-nosuf-{random.randrange(10 ** 8)}"
        self.check("account", "add", address, "--password-stdin", input=password + "\n")
        self.passwords[name] = self.passwords[address] = password
        return address

    # running it

    def start(self, seconds=START_SECONDS):
        """Starts the server, waits for its ready line. Raises StartFailed with the log."""
        self.log_file = open(self.log_path, "ab")
        self.log_from = self.log_file.tell()
        begun = time.monotonic()
        self.process = subprocess.Popen([self.binary, "serve", "-c", self.conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log_file, cwd=self.parent,
                                        preexec_fn=die_with_parent)
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        self.ready = self.process.stdout.readline().decode()
        timer.cancel()
        self.start_seconds = time.monotonic() - begun
        if not self.ready:
            code = self.process.wait()
            self.process.stdout.close()
            self.process = None
            why = f"not ready within {seconds} s" if code == -signal.SIGKILL else f"ended with {code}"
            raise StartFailed(f"serve {why}: {self.log()[-3000:]}", None if code == -signal.SIGKILL else code)
        # what it says later must not fill the pipe
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        return self

    def stop(self, seconds=10, signal_number=signal.SIGTERM):
        """Ends the server in good order; it must exit with 0 and leave no role behind. Returns the seconds it took."""
        roles = children(self.process.pid)
        begun = time.monotonic()
        self.process.send_signal(signal_number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"still running {seconds} s after signal {signal_number}")
        took = time.monotonic() - begun
        self.process = None
        left = [p for p in roles if alive(p)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert code == 0, f"serve ended with {code}"
        assert not left, f"{len(left)} roles outlived the master"
        self.check_log()
        return took

    def check_log(self):
        """A report of the sanitizers is a failure."""
        found = re.search(r"(?m)^.*(AddressSanitizer|LeakSanitizer|runtime error:).*$", self.log(all_starts=True))
        assert not found, f"the sanitizers say: {found[0]}"

    def restart(self):
        self.stop()
        return self.start()

    def kill_all(self):
        """The whole server dies at once, as in a power cut of everything but the disk."""
        pids = [self.process.pid] + children(self.process.pid)
        for pid in pids[:1]:
            os.kill(pid, signal.SIGSTOP)  # so that it starts no role anew meanwhile
        pids += [p for p in children(self.process.pid) if p not in pids]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None
        eventually(lambda: not any(alive(p) for p in pids), 5, "all killed processes are gone")

    def cleanup(self):
        if self.process:
            self.kill_all()
        if self.log_file:
            self.log_file.close()
        if self.parent:
            shutil.rmtree(self.parent, ignore_errors=True)

    def status(self):
        return json.loads(self.check("status", "--json"))

    def pids(self):
        """{role: process id}."""
        return {name: fields["pid"] for name, fields in self.status()["roles"].items() if "pid" in fields}

    def kill(self, role, number=signal.SIGKILL):
        """Kills one role's process; returns its process id."""
        pid = self.pids()[role]
        os.kill(pid, number)
        return pid

    def log(self, all_starts=False):
        with open(self.log_path, "rb") as f:
            f.seek(0 if all_starts else self.log_from)
            return f.read().decode("utf-8", "backslashreplace")

    def print_log(self):
        if os.path.exists(self.log_path):
            lines = self.log(all_starts=True).splitlines()
            print(f"    log of {self.dir} (last {LOG_TAIL} of {len(lines)} lines):")
            for line in lines[-LOG_TAIL:]:
                print("    | " + line[:250])

    # talking to it

    def cli(self, *args, **more):
        """posthouse ARGS -c posthouse.conf: (exit code, stdout, stderr)."""
        return program(self.binary, *args, "-c", self.conf, **more)

    def check(self, *args, **more):
        """cli() that must succeed; returns its standard output."""
        code, out, err = self.cli(*args, **more)
        assert code == 0, f"posthouse {' '.join(args)}: exit code {code}: {out}{err}"
        return out

    def port(self, service):
        return self.base + SERVICES[service]

    def address(self, name):
        return name if "@" in name else f"{name}@{self.domain}"

    def tls(self):
        return ssl.create_default_context(cafile=self.ca)

    def lines(self, service="smtp", source=None, timeout=10):
        """A raw connection (TLS where the service begins with it), its greeting not yet read."""
        tls = self.tls() if service in ("submissions", "pop3s", "imaps") else None
        return Lines(self.port(service), source, tls, timeout)

    def smtp(self, service="smtp", user=None, starttls=None, source=None, timeout=20):
        """A connected smtplib client; with `user` logged in, over TLS (STARTTLS on 25 only when asked)."""
        where = dict(timeout=timeout, local_hostname="client.example", source_address=(source, 0) if source else None)
        if service == "submissions":
            client = smtplib.SMTP_SSL("localhost", self.port(service), context=self.tls(), **where)
        else:
            client = smtplib.SMTP("localhost", self.port(service), **where)
            if service == "submission" if starttls is None else starttls:
                client.starttls(context=self.tls())
        client.ehlo()
        if user:
            client.login(self.address(user), self.passwords[user])
        return client

    def send(self, to, text="hello", subject="test", sender="someone@elsewhere.example", **more):
        """Sends a message (bytes as they are, or a text to be given a header); the reply to DATA must be 250."""
        to = [self.address(t) for t in ([to] if isinstance(to, str) else to)]
        message = text if isinstance(text, bytes) else message_of(text, subject, sender, ", ".join(to))
        with self.smtp(**more) as client:
            refused = client.sendmail(sender, to, message)
            assert not refused, f"refused: {refused}"
        return message

    def pop(self, user="alice", service="pop3s", timeout=20, login=True):
        """A logged-in poplib client."""
        if service == "pop3s":
            client = poplib.POP3_SSL("localhost", self.port(service), context=self.tls(), timeout=timeout)
        else:
            client = poplib.POP3("localhost", self.port(service), timeout=timeout)
            client.stls(context=self.tls())
        if login:
            client.user(self.address(user))
            client.pass_(self.passwords[user])
        return client

    def mailbox(self, user="alice"):
        """All messages as bytes with CRLF, in order; nothing is deleted."""
        client = self.pop(user)
        try:
            count = client.stat()[0]
            return [b"".join(line + b"\r\n" for line in client.retr(n + 1)[1]) for n in range(count)]
        finally:
            client.quit()

    def wait_for(self, count, user="alice", seconds=5):
        """The mailbox, once it has at least that many messages."""
        return eventually(lambda: (lambda box: len(box) >= count and box)(self.mailbox(user)), seconds,
                          f"{count} messages in the mailbox of {user}")


def message_of(text, subject="test", sender="someone@elsewhere.example", to="alice@posthouse.test"):
    """A small whole message with CRLF."""
    text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return (f"From: <{sender}>\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Tue, 05 Nov 2030 10:00:00 +0000\r\n"
            f"Message-ID: <{random.getrandbits(64):x}@client.example>\r\n\r\n{text}\r\n").encode()


def run_test(name, function):
    """Runs one; prints its line; returns "passed", "failed" or "skipped"."""
    begun = time.monotonic()
    try:
        function()
    except Skip as e:
        print(f"skip {name}: {e}", flush=True)
        return "skipped"
    except Exception as e:
        frames = [f for f in traceback.extract_tb(e.__traceback__) if f.filename != __file__]
        where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "harness"
        print(f"FAIL {name}: {type(e).__name__} at {where}: {e}", flush=True)
        if os.environ.get("TRACEBACK"):
            traceback.print_exception(e)
        return "failed"
    print(f"ok {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return "passed"


def main():
    """Runs the test_* functions of the program in their order, or those named on the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    module = sys.modules["__main__"]
    tests = {n: f for n, f in vars(module).items() if n.startswith("test_") and callable(f)}
    names = sys.argv[1:] or list(tests)
    missing = [n for n in names if n not in tests]
    if missing:
        sys.exit(f"no test {', '.join(missing)}; there are: {', '.join(tests)}")
    if not os.access(BINARY, os.X_OK):
        sys.exit(f"{BINARY} is not there: build it with make, or name it in $POSTHOUSE")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name in names:
        counts[run_test(name, tests[name])] += 1
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    sys.exit(1 if counts["failed"] else 0)
