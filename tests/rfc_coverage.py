#!/usr/bin/env python3
"""Checks the tables of docs/rfc: every requirement names a transcript or a unit test that exists, or says why it does
not apply.

A row is `| section | requirement | shown by |`. "Shown by" holds names in backquotes, separated by commas: a
transcript (`smtp/x.txt`, `pop3/x.txt`, below tests/transcripts), a unit test (`file:function`) or a fuzz target
(`x_fuzz.c`); notes in parentheses may follow. Or it begins with `n/a: ` and a reason. Prints file:line for each row
that is wrong and ends with status 1."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = re.compile(r"`([^`]+)`")


def proof_error(name):
    """Why a name in the last column proves nothing; None if it does."""
    path, _, test = name.partition(":")
    if path.endswith(".txt"):
        return None if (ROOT / "tests/transcripts" / path).is_file() else f"no transcript tests/transcripts/{path}"
    file = ROOT / path
    if not file.is_file():
        return f"no file {path}"
    if path.endswith("_fuzz.c"):
        return None
    if not test:
        return f"{path} without `:function`"
    if not re.search(rf"\bvoid {re.escape(test)}\(", file.read_text(encoding="utf-8")):
        return f"no test {test} in {path}"
    return None


def row_errors(cells):
    if len(cells) != 3 or not all(cells):
        return ["a row has three cells: section, requirement, shown by"]
    shown = cells[2]
    if shown.startswith("n/a:"):
        return [] if len(shown) > len("n/a: ") else ["n/a needs a reason"]
    names = NAME.findall(shown)
    if not names or re.sub(r"\([^)]*\)", "", NAME.sub("", shown)).strip(", "):
        return [f"neither proof nor n/a: {shown}"]
    return [e for e in map(proof_error, names) if e]


def check(path):
    rows = failures = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("|") or re.match(r"\|[\s:|-]+\|$", line) or line.startswith("| section |"):
            continue
        rows += 1
        for error in row_errors([cell.strip() for cell in line.strip().strip("|").split("|")]):
            print(f"{path.relative_to(ROOT)}:{number}: {error}")
            failures += 1
    if not rows:
        print(f"{path.relative_to(ROOT)}:1: no table of requirements")
        failures += 1
    return rows, failures


def main():
    files = sorted((ROOT / "docs/rfc").glob("*.md"))
    results = [check(path) for path in files]
    rows, failures = (sum(column) for column in zip(*results)) if results else (0, 1)
    print(f"rfc coverage: {rows} requirements in {len(files)} documents, {failures} unproven")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
