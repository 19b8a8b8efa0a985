#!/usr/bin/env python3
"""Plays all transcripts (tests/transcripts) against a running server; with $POSTHOUSE_ASAN also against its build with sanitizers."""
import glob
import os
import re
import sys

import harness

FOLDER = os.path.join(harness.ROOT, "tests", "transcripts")


def play(protocol, binary):
    files = sorted(glob.glob(os.path.join(FOLDER, protocol, "*.txt")))
    assert files, f"no transcripts of {protocol}"
    with harness.Instance(binary=binary) as house:
        args = [sys.executable, os.path.join(FOLDER, "run.py"), "--host", "127.0.0.1", "--ca", house.ca,
                "--accounts", house.path("accounts.txt")]
        for service in harness.SERVICES:
            args += [f"--{service}", house.port(service)]
        code, out, err = harness.program(*args, *files, timeout=200)
        failed = re.findall(r"(?m)^FAIL .*$", out)
        played = len(re.findall(r"(?m)^ok ", out))
        assert code == 0 and not failed, f"{len(failed)} of {len(files)} failed:\n" + "\n".join(failed) + err[-2000:]
        assert played > len(files) // 2, f"only {played} of {len(files)} were played: {out[-500:]}"
        for role, count in house.status().items():
            if role.startswith("restarts_"):
                harness.equal(count, 0, role)


def test_smtp():
    play("smtp", harness.BINARY)


def test_pop3():
    play("pop3", harness.BINARY)


def test_imap():
    play("imap", harness.BINARY)


def with_sanitizers(protocol):
    binary = os.environ.get("POSTHOUSE_ASAN")
    if not binary:
        harness.skip("POSTHOUSE_ASAN names no build with sanitizers")
    play(protocol, os.path.abspath(binary))


def test_smtp_with_sanitizers():
    with_sanitizers("smtp")


def test_pop3_with_sanitizers():
    with_sanitizers("pop3")


def test_imap_with_sanitizers():
    with_sanitizers("imap")


if __name__ == "__main__":
    harness.main()
