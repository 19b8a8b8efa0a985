#!/usr/bin/env python3
"""What the words of a route do on the wire: the address that mail comes from, how much in a time, and a relay that wants a log-in, for some senders."""
import os

import harness
from harness import equal, eventually, match
from sites import World

ZONES = {name: f"@ MX 10 mx\nmx A {{{sink}}}" for name, sink in (("from.test", "s1"), ("few.test", "s2"), ("out.test", "s3"))}
SOURCE = "route from { recipient @from.test; next mx; source 127.9.8.7 }\nroute few { recipient @few.test; next mx; rate 2/s }\n"


def test_source_and_rate():
    with World("a.test", zones=ZONES, each={"a.test": {"append": SOURCE}}) as world, world.sink("s1") as one, world.sink("s2") as few:
        a = world.houses[0]
        a.submit("x@from.test")
        eventually(one.taken)
        equal({session.client[0] for session in one.sessions}, {"127.9.8.7"})
        for _ in range(9):
            a.submit("x@few.test")
        eventually(lambda: len(few.taken()) == 9, 15)
        times = sorted(m.at for m in few.taken())
        assert times[-1] - times[0] > 3, f"nine messages at two in a second took {times[-1] - times[0]:.1f} s"
        assert {session.client[0] for session in few.sessions} != {"127.9.8.7"}


def log_in(a, b, password):
    """a relays the mail of alice through the submission service of b, as bob."""
    path = os.path.join(a.parent, "relay")
    with open(path, "w") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(f"smart bob@b.test {password}\n")
    if "relay_credentials" not in a.read("posthouse.conf"):
        a.write("posthouse.conf", a.read("posthouse.conf") + f"relay_credentials {path}\n"
                f"route smart {{ sender alice@a.test; recipient @out.test; next smtp [127.0.0.1]:{b.port('submission')}; auth smart; tls mandatory }}\n")
    a.check("reload")


def test_relay_with_log_in():
    """By sender: alice through a relay with TLS and a log-in, bob by MX. A password that is refused lets mail wait, and nothing leaves another way."""
    aliases = "alice@a.test: bob@b.test\npostmaster@a.test: bob@b.test"
    each = {"b.test": {"append": "domain a.test\n", "aliases": aliases}}
    with World("b.test", "a.test", zones=ZONES, each=each) as world, world.sink("s3") as out:
        b, a = world.houses
        log_in(a, b, "wrong")
        a.submit("x@out.test", "by the relay")
        eventually(lambda: [q for q in a.queue() if q["attempts"]])
        match(a.queue()[0]["status"], r"^4\.7\.|^5\.7\.8")
        a.submit("x@out.test", "by MX", user="bob")
        match(eventually(out.taken)[0].data, "by MX")
        log_in(a, b, b.passwords["bob"])
        eventually(lambda: len(out.taken()) == 2, 15)
        by_relay = out.taken()[1]
        equal(by_relay.sender, "alice@a.test")
        match(by_relay.data, r"by b\.test with ESMTPSA|by \S+ with ESMTPSA \(TLS")
        match(by_relay.data, "\r\nby the relay")
        a.empty()


if __name__ == "__main__":
    harness.main()
