#!/usr/bin/env python3
"""Every `file.c:function` and every `src/…` path that the documents name exists."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENTS = ["ARCHITECTURE.md", "README.md", "README.zh-CN.md", "CONTRIBUTING.md", "SECURITY.md"]
NAME = re.compile(r"`((?:src|tests|tools|docs|bench|contrib)/[\w./-]+)(?::(\w+))?`")


def defined(path, name):
    text = open(os.path.join(ROOT, path), encoding="utf-8").read()
    return re.search(r"^[\w \t*]*\b%s\(|\bdef %s\(|^#define %s\b" % (name, name, name), text, re.M) is not None


def main():
    good, bad = 0, []
    for document in DOCUMENTS:
        if not os.path.exists(os.path.join(ROOT, document)):
            bad.append(f"{document}: missing")
            continue
        for number, line in enumerate(open(os.path.join(ROOT, document), encoding="utf-8"), 1):
            for path, name in NAME.findall(line):
                if not os.path.exists(os.path.join(ROOT, path)):
                    bad.append(f"{document}:{number}: there is no {path}")
                elif name and not defined(path, name):
                    bad.append(f"{document}:{number}: {path} has no function {name}")
                else:
                    good += 1
    for finding in bad:
        print("FAIL", finding)
    print(f"{good} passed, {len(bad)} failed")
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())
