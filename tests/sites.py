"""Several Posthouse instances on loopback that find one another through the DNS, and addresses for scripted servers beside them.

    with sites.World("a.test", "b.test", zones={"sink.test": "@ MX 10 mx\\nmx A {s1}"}) as world:
        a, b = world.houses
        with world.sink("s1", {"rcpt": "550 5.1.1 no"}) as sink:
            a.submit("bob@b.test")
            harness.match(b.wait_for(1, "bob")[0], "hello")

Each world has a network of its own, 127.x.y.0/24, and one port that all its SMTP servers listen on (smtp_tcp_port). The domain of a site has
its MX in the DNS; {name} in a zone is the address of the site of that domain or of one of s1 to s199, where nothing listens unless a
sink does. Times are short: a second try comes after one second.
"""
import contextlib
import json
import random
import re
import socket

import dns
import harness
import sink

FAST = {"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "dns_timeout": "2s", "smtp_connect_timeout": "3s",
        "allow_private_destinations": "127.0.0.0/8", "trust_anchor": '""'}
SINK = {"sink.test": "@ MX 10 mx\nmx A {s1}"}
FREE = [f"s{i}" for i in range(1, 200)]


class Site(harness.Instance):
    """An instance with an SMTP listener at `address` that others reach through the DNS."""

    def __init__(self, world, domain, settings=None, append="", **more):
        self.address_here, self.world = world.addresses[domain], world
        settings = {**FAST, "smtp_tcp_port": str(world.port), "smtp_bind_address": self.address_here, **world.settings, **(settings or {})}
        super().__init__(settings=settings, domain=domain, append=f"listen smtp {self.address_here}:{world.port}\n{append}", **more)

    def submit(self, to, text="hello", subject="test", user="alice", mail=(), rcpt=()):
        """Sends as that user, who has logged in. mail, rcpt: parameters. Gives the message."""
        to = [to] if isinstance(to, str) else to
        sender = self.address(user)
        message = text if isinstance(text, bytes) else harness.message_of(text, subject, sender, ", ".join(to))
        with self.smtp("submission", user=user) as client:
            refused = client.sendmail(sender, to, message, mail_options=mail, rcpt_options=rcpt)
            assert not refused, f"refused: {refused}"
        return message

    def queue(self, *words):
        """What `posthouse queue list` says, as objects."""
        return [json.loads(line) for line in self.check("queue", "list", *words, "--json").splitlines()]

    def empty(self, seconds=10):
        """Waits until what came in is applied and nobody waits in the queue."""
        harness.eventually(lambda: self.status()["roles"]["smtp-in"]["backlog_bytes"] == 0 and not self.queue(), seconds,
                           f"the queue of {self.domain} is empty", step=0.1)

    def pushed(self):
        """The counters of role smtp-out."""
        return self.status()["roles"]["smtp-out"]


class World:
    """domains: of the sites, in the order of .houses. zones: {name: text}. settings: for all sites; each: {domain: arguments of harness.Instance}.
    resolver: another name server than NSD with these zones."""

    def __init__(self, *domains, zones=None, signed=(), settings=None, each=None, resolver=None):
        self.domains, self.signed, self.settings, self.each = domains, signed, dict(settings or {}), each or {}
        self.resolver = resolver
        net = f"127.{random.randrange(1, 255)}.{random.randrange(256)}"
        self.addresses = {name: f"{net}.{i + 10}" for i, name in enumerate([*domains, *FREE])}
        self.port = self.find_port()
        self.zones = {d: "@ MX 10 mail\nmail A {%s}" % d for d in domains}
        self.zones.update(zones or {})
        self.stack = contextlib.ExitStack()

    def find_port(self):
        for _ in range(200):
            port = random.randrange(10000, 20000)
            with contextlib.ExitStack() as held:
                try:
                    for address in self.addresses.values():
                        s = held.enter_context(socket.socket())
                        s.bind((address, port))
                    return port
                except OSError:
                    pass
        raise AssertionError("no port that is free at all addresses")

    def fill(self, text):
        """The text with addresses for {name}, and {port}."""
        return re.sub(r"\{([\w.]+)\}", lambda m: str(self.port) if m[1] == "port" else self.addresses[m[1]], text)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            if not self.resolver:
                server = stack.enter_context(dns.Nsd({name: self.fill(text) for name, text in self.zones.items()}, signed=self.signed))
                self.nsd, self.resolver = server, server.resolver
                if self.signed:
                    self.settings.setdefault("trust_anchor", server.trust_anchor)
            self.settings.setdefault("resolver", self.resolver)
            self.houses = []
            for domain in self.domains:
                more = dict(self.each.get(domain, {}))
                if "append" in more:
                    more["append"] = self.fill(more["append"])
                self.houses.append(stack.enter_context(Site(self, domain, **more)))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def sink(self, name, script=None, **more):
        """A scripted server at the address of that name."""
        return sink.Sink(self.addresses[name], self.port, script, **more)

    def certificate(self):
        """Files of a certificate and its key, for a sink that offers STARTTLS."""
        return self.houses[0].path("tls/server.pem"), self.houses[0].path("tls/server.key")


def report(message):
    """A notice taken apart: its text for people, and its fields as (message fields, list of recipients' fields); fails if it is none."""
    from email import message_from_bytes
    mail = message_from_bytes(message)
    harness.equal(mail.get_content_type(), "multipart/report")
    harness.equal(mail.get_param("report-type"), "delivery-status")
    parts = mail.get_payload()
    harness.equal(len(parts), 3, "parts of the report")
    assert parts[1].get_content_type() in ("message/delivery-status", "message/global-delivery-status"), parts[1].get_content_type()
    status = parts[1].get_payload()
    if isinstance(status, str):
        groups = [dict(re.findall(r"(?m)^([\w-]+): ((?:.|\n[ \t])*)$", group)) for group in status.strip().split("\n\n")]
    else:
        groups = [dict(group.items()) for group in status if len(group)]
    text = parts[0].get_payload(decode=True).decode()
    return mail, text, groups[0], groups[1:]


def wait_report(house, user="alice", count=1, seconds=10):
    """The newest of `count` messages in that mailbox, as a report."""
    return report(house.wait_for(count, user, seconds)[count - 1])


def fence(house, user="alice", known=0):
    """A letter of the user to himself, behind everything that was on its way: what came before it, without it."""
    house.submit(user, subject="the fence", user=user)
    box = harness.eventually(lambda: (lambda b: b if any(b"the fence" in m for m in b) else None)(house.mailbox(user)), 5, "the fence is there")
    return box[known:-1]
