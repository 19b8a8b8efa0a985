"""Mail that is sent on: in by SMTP, out to a sink (smtp_sink) on the loopback interface; and what a long queue costs."""
import contextlib
import json
import os
import select
import socket
import subprocess
import time

import meter
from servers import DEAD, LIMIT, RELAYED, SILENT, SLOW, eventually, fail, listens, loader

SETTLE = 0.3       # seconds after the last message in which trailing work is still counted
FILLERS = 100      # connections that fill a queue
MEMORY_SETTLE = 2  # seconds after a restart
SLOW_MS = 10000


class Sink:
    """Takes what a server sends on, for as long as it is measured: some servers are slow to see that a sink is gone."""

    def __init__(self, tools, server, port, *options):
        port = server.port[port]
        self.process = subprocess.Popen([os.path.join(tools, "smtp_sink"), "-p", str(port), *map(str, options)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline():
            fail(f"smtp_sink does not listen at {port}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def expect(self, count):
        print(count, file=self.process.stdin, flush=True)

    def result(self):
        """When all that was expected has come."""
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            self.expect(0)
        return json.loads(self.process.stdout.readline())


def relay(tools, server, sink, cell, count):
    """`count` messages, all to one destination, until the sink has the last one."""
    label, connections, size = cell
    sink.expect(count)
    cpu, machine = meter.cpu(server.pids), meter.machine_cpu()
    got = loader(tools, "smtp_load", server, "smtp", "-c", connections, "-m", count, "-s", size, "-d", RELAYED)
    out = sink.result()
    time.sleep(SETTLE)
    own = meter.cpu(server.pids) - cpu
    other = meter.others(machine, meter.machine_cpu(), own + got["cpu_s"] + out["cpu_s"])
    if out["messages"] < count:
        fail(f"{server.name} sent {out['messages']} of {count} messages in {LIMIT} s")
    return {"server": server.name, "label": label, "connections": connections, "size": size, "n": count,
            "accept": count / (got["end"] - got["start"]), "relayed": count / (out["last"] - got["start"]),
            "p50": got["p50_ms"], "p99": got["p99_ms"], "cpu": own * 1e3 / count, "sink": out["cpu_s"] * 1e3 / count,
            "out": out["connections"] * 1e3 / count, "other": other}


def fill(tools, server, domain, count):
    """Queues messages for a destination that takes none."""
    before = server.queued()
    loader(tools, "smtp_load", server, "smtp", "-c", FILLERS, "-m", count, "-s", 2048, "-d", domain)
    eventually(lambda: server.queued() >= before + count, LIMIT, 0.2, f"queueing mail by {server.name}")


def restart(tools, server, sink):
    """Seconds from the start of the program until a message that comes then is at the sink."""
    server.stop()
    sink.expect(1)
    begun = time.monotonic()
    server.start()
    loader(tools, "smtp_load", server, "smtp", "-c", 1, "-m", 1, "-d", RELAYED)
    return sink.result()["last"] - begun


def backlog(tools, empty, full, reps, count, live):
    """Two of the same server, one with a long queue for hosts that take nothing (one refuses connections, one says nothing)
    or too little (one answers after 10 s): the rate to a living host, and a restart. Yields results."""
    with contextlib.ExitStack() as stack:
        empty_sink, full_sink = (stack.enter_context(Sink(tools, server, "sink")) for server in (empty, full))
        stack.enter_context(Sink(tools, full, "slow", "-d", SLOW_MS))
        silent = stack.enter_context(socket.socket())
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", full.port["silent"]))
        silent.listen(1000)
        if listens(full.port["dead"]):
            fail("something listens where nothing should")
        cpu = meter.cpu(full.pids)
        for domain, share in ((DEAD, count // 2), (SILENT, count * 3 // 10), (SLOW, count // 5)):
            fill(tools, full, domain, share)
        filling = (meter.cpu(full.pids) - cpu) * 1e3 / count
        which = (("nothing queued", empty, empty_sink), (f"{count} queued", full, full_sink))
        for rep in range(reps + 1):  # the first is the warm-up
            for label, server, sink in which:
                r = relay(tools, server, sink, (label, 16, 2048), live if rep else live // 4)
                if rep:
                    yield {**r, **({"fill": filling} if server is full else {})}
        for _ in range(reps):
            for label, server, sink in which:
                seconds = restart(tools, server, sink)
                time.sleep(MEMORY_SETTLE)
                yield {"server": server.name, "label": f"restart, {label}", "seconds": seconds, "memory": meter.pss(server.pids)}
