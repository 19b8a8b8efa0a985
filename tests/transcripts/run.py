#!/usr/bin/env python3
"""Plays transcripts (README.md beside this file) against a running server over sockets and TLS."""
import argparse
import poplib
import smtplib
import ssl
import sys

import imap_player
import player


def read_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    for name in ("smtp", "submission", "submissions", "lmtp", "pop3", "pop3s", "imap", "imaps"):
        parser.add_argument("--" + name, type=int, metavar="PORT")
    parser.add_argument("--ca", help="PEM file to check the certificate against; without it, it is not checked")
    parser.add_argument("--accounts", help="file with a line `address password` for each account")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    options.context = ssl.create_default_context(cafile=options.ca)
    options.context.check_hostname = False
    if not options.ca:
        options.context.verify_mode = ssl.CERT_NONE
    accounts = {}
    if options.accounts:
        with open(options.accounts, encoding="utf-8") as f:
            for line in f:
                address, _, password = line.strip().partition(" ")
                accounts[address] = password.strip()
    options.accounts = accounts
    return options


def main():
    options = read_options()
    failed = 0
    for path in options.files:
        one = (imap_player.Player if "/imap/" in path else player.Player)(options, path)
        try:
            one.play()
            print(f"ok {path}")
        except player.Skipped as why:
            print(f"skip {path}: {why}")
        except (player.Failed, OSError, poplib.error_proto, smtplib.SMTPException) as why:
            print(f"FAIL {path}: line {one.at}: {why}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
