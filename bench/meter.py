"""What the system says about a server: processor time, memory, the disk."""
import os
import statistics
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def processes():
    """pid -> (pid of the parent, ticks of CPU, children already reaped included)."""
    seen = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            seen[int(pid)] = int(fields[1]), sum(map(int, fields[11:15]))
        except OSError:
            pass
    return seen


def trees(roots):
    """Those processes and all below them: pid -> ticks."""
    seen = processes()

    def belongs(pid):
        while pid in seen:
            if pid in roots:
                return True
            pid = seen[pid][0]
        return False
    return {pid: ticks for pid, (_, ticks) in seen.items() if belongs(pid)}


def cpu(roots):
    """Seconds of CPU, user and system, that these processes and all below them have used."""
    return sum(trees(roots).values()) / TICK


def machine_cpu():
    """Seconds of CPU of the whole machine: (used, all)."""
    with open("/proc/stat") as f:
        ticks = [int(t) for t in f.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICK, sum(ticks) / TICK


def others(before, after, own):
    """Percentage of the machine that was used, between two machine_cpu(), for other things than `own` seconds."""
    used, whole = (b - a for a, b in zip(before, after))
    return max(0, 100 * (used - own) / whole)


def pss_by_process(roots):
    """KiB of memory, shared pages divided among those who share them: pid -> KiB."""
    found = {}
    for pid in trees(roots):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                found[pid] = sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return found


def pss(roots):
    return sum(pss_by_process(roots).values())


def kernel_memory():
    """KiB that the kernel of the whole machine holds: slabs, stacks of processes, page tables, buffers of sockets."""
    with open("/proc/meminfo") as f:
        info = {line.split(":")[0]: int(line.split()[1]) for line in f}
    with open("/proc/net/sockstat") as f:
        words = next(line.split() for line in f if line.startswith("TCP:"))
    return info["SUnreclaim"] + info["KernelStack"] + info["PageTables"] + int(words[words.index("mem") + 1]) * PAGE_KIB


def disk_rate(folder):
    """What one durable write of 2.5 KB costs there: milliseconds, median and 99th percentile."""
    path, took = os.path.join(folder, "probe"), []
    with open(path, "wb", buffering=0) as f:
        f.write(bytes(2 << 20))
        os.fsync(f.fileno())
        for n in range(400):
            begun = time.monotonic()
            os.pwrite(f.fileno(), b"x" * 2560, n * 2560)
            os.fdatasync(f.fileno())
            took.append((time.monotonic() - begun) * 1e3)
    os.unlink(path)
    return statistics.median(took), sorted(took)[int(len(took) * .99)]


def filesystem(path):
    """(type, device) of what the path is on."""
    return subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", path], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.split()
