"""Name servers for scenario tests, on loopback: NSD with real zones (signed ones too), and one that misbehaves by script.

    with dns.Nsd({"example.test": "@ MX 10 mx\\nmx A 192.0.2.1"}, signed=["example.test"]) as server:
        with harness.Instance(settings={"resolver": server.resolver, "trust_anchor": server.trust_anchor}) as house: ...

A zone's text needs no SOA and no NS: they are added. `server.trust_anchor` is a file. Only the server's own process is ever ended.
"""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

import harness

NSD = shutil.which("nsd") or "/usr/sbin/nsd"
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "OPT": 41, "TLSA": 52}
NAMES = {number: name for name, number in TYPES.items()}


def free_port(address="127.0.0.1"):
    """A port that is free for UDP and for TCP, with both sockets open on it: (port, udp, tcp)."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, 0))
        tcp = socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(udp.getsockname())
            return udp.getsockname()[1], udp, tcp
        except OSError:
            udp.close()
            tcp.close()
    raise AssertionError("no port that is free for UDP and TCP")


class Nsd:
    """NSD with these zones: {name: text}. signed: names of those to be signed. spoil: {name: (old, new)}, done to a zone's text after it
    was signed. port: 0 for any free one."""

    def __init__(self, zones, signed=(), spoil=None, address="127.0.0.1", port=0):
        if not os.path.exists(NSD):
            harness.skip("nsd is not installed")
        if signed:
            harness.need("ldns-signzone", "ldns-keygen")
        self.zones, self.signed, self.spoil, self.address, self.port = zones, signed, spoil or {}, address, port
        self.process = None

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="posthouse-nsd-")
        os.chmod(self.dir, 0o755)
        self.trust_anchor = os.path.join(self.dir, "anchors")
        try:
            open(self.trust_anchor, "w").close()
            files = {name: self.write_zone(name, text) for name, text in self.zones.items()}
            if not self.port:
                self.port, udp, tcp = free_port(self.address)
                udp.close()
                tcp.close()
            self.write_conf(files)
            self.start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.process:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def resolver(self):
        return f"{self.address}:{self.port}"

    def write_zone(self, name, text):
        path = os.path.join(self.dir, name.strip(".").replace("/", "_") or "root")
        origin = name.rstrip(".") + "."
        with open(path, "w") as f:
            f.write(f"$ORIGIN {origin}\n$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ NS ns.test.\n{text}\n")
        if name in self.signed:
            self.sign(origin, path)
            path += ".signed"
        if name in self.spoil:
            with open(path) as f:
                whole = f.read()
            assert self.spoil[name][0] in whole, f"{self.spoil[name][0]!r} is not in the zone {name}"
            with open(path, "w") as f:
                f.write(whole.replace(*self.spoil[name]))
        return path

    def sign(self, origin, path):
        def run(*args):
            code, out, err = harness.program(*args, cwd=self.dir)
            assert code == 0, f"{args[0]}: {err}"
            return out.strip()
        key = run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", origin)
        run("ldns-signzone", "-n", "-o", origin, "-f", path + ".signed", path, key)
        with open(os.path.join(self.dir, key + ".ds")) as ds, open(self.trust_anchor, "a") as anchors:
            anchors.write(ds.read())

    def write_conf(self, files):
        lines = ["server:", f'  ip-address: "{self.address}@{self.port}"', '  username: ""', '  chroot: ""', f'  zonesdir: "{self.dir}"',
                 '  database: ""', "  server-count: 1", f'  pidfile: "{self.dir}/pid"', f'  xfrdfile: "{self.dir}/xfrd"',
                 f'  xfrdir: "{self.dir}"', f'  zonelistfile: "{self.dir}/zones"', f'  logfile: "{self.dir}/log"', "  rrl-ratelimit: 0",
                 "remote-control:", "  control-enable: no"]
        for name, path in files.items():
            lines += ["zone:", f'  name: "{name}"', f'  zonefile: "{path}"']
        with open(os.path.join(self.dir, "conf"), "w") as f:
            f.write("\n".join(lines) + "\n")

    def start(self):
        self.process = subprocess.Popen([NSD, "-d", "-c", os.path.join(self.dir, "conf")], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=harness.die_with_parent)
        harness.eventually(self.answers, 10, "nsd answers")

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.dir, "log")) as f:
                raise AssertionError(f"nsd has ended: {f.read()[-2000:]}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            try:
                s.connect((self.address, self.port))
                s.send(struct.pack("!6H", 7, 0, 1, 0, 0, 0) + name_bytes(next(iter(self.zones))) + struct.pack("!2H", 6, 1))
                return s.recv(4096)[:2] == b"\0\7"
            except OSError:
                return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process = None


def name_bytes(name):
    """A name in wire form. Labels are separated by dots; each may be bytes of any kind."""
    labels = [label for label in (name.encode() if isinstance(name, str) else name).split(b".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(name, kind, rdata, ttl=60):
    """A resource record; name may be wire bytes already (b"\\xc0\\x0c": the name asked for)."""
    wire = name if isinstance(name, bytes) else name_bytes(name)
    return wire + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(rdata)) + rdata


class Query:
    """A question as it came: .name (lower case), .kind ("MX"), .label (the first one), and answers to it."""

    def __init__(self, data):
        self.id, self.data = data[:2], data
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]])
            at += data[at] + 1
        self.end = at + 5
        self.name = b".".join(labels).decode("latin-1").lower()
        self.label = self.name.split(".")[0]
        self.kind = NAMES.get(struct.unpack("!H", data[at + 1:at + 3])[0], "?")

    def reply(self, answers=(), authority=(), additional=(), rcode=0, flags=0x8180, number=None, question=None):
        counts = struct.pack("!4H", 1, len(answers), len(authority), len(additional))
        return ((self.id if number is None else number) + struct.pack("!H", flags | rcode) + counts +
                (self.data[12:self.end] if question is None else question) + b"".join([*answers, *authority, *additional]))

    def soa(self):
        return record(self.name, "SOA", name_bytes("ns.test") + name_bytes("h.test") + struct.pack("!5I", 1, 3600, 600, 86400, 60))

    def nodata(self):
        return self.reply(authority=[self.soa()])


class Scripted:
    """A name server that answers as answer(query, tcp) says: bytes to send, None for silence, or a list: datagrams, or over TCP bytes as they
    stand and seconds to wait between them, then the end of the connection. It is used as a resolver, so it is asked about every name."""

    def __init__(self, answer, address="127.0.0.1"):
        self.answer, self.address, self.seen, self.ended = answer, address, [], False

    def __enter__(self):
        self.port, self.udp, self.tcp = free_port(self.address)
        self.tcp.listen(64)
        for work in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended = True
        for s in (self.udp, self.tcp):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    @property
    def resolver(self):
        return f"{self.address}:{self.port}"

    def ask(self, data, tcp):
        query = Query(data)
        self.seen.append((query.name, query.kind, tcp))
        return self.answer(query, tcp)

    def serve_udp(self):
        while not self.ended:
            try:
                data, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            got = self.ask(data, False) if len(data) > 16 else None
            for part in [got] if isinstance(got, bytes) else got or []:
                self.udp.sendto(part, peer)

    def serve_tcp(self):
        while not self.ended:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_connection, args=(connection,), daemon=True).start()

    def serve_connection(self, connection):
        connection.settimeout(20)
        with connection:
            try:
                while not self.ended:
                    size = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
                    got = self.ask(connection.recv(size, socket.MSG_WAITALL), True)
                    if isinstance(got, bytes):
                        connection.sendall(struct.pack("!H", len(got)) + got)
                    for part in got if isinstance(got, list) else []:
                        if isinstance(part, bytes):
                            connection.sendall(part)
                        else:
                            time.sleep(part)
                    if isinstance(got, list):
                        return
            except (OSError, struct.error):
                pass
