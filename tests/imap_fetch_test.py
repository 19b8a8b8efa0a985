#!/usr/bin/env python3
"""FETCH, SEARCH, SORT and THREAD at a running server. A corpus of sound and broken messages is read in every way there is and compared with what Python's
email package makes of it; whatever the client asks for, pieces of a message add up to the message."""
import email
import email.policy
import os
import random
import re
import time

import harness
import imapc
from harness import Instance, equal, eventually

CRLF = b"\r\n"


def lines(text):
    return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")


PLAIN = lines("""From: Anna Smith <anna@x.example>
To: Bob <bob@y.example>, carol@z.example
Cc: dave@w.example
Subject: Plain and simple
Date: Tue, 24 Nov 2026 23:30:00 -0800
Message-ID: <plain@x.example>
X-Odd: folded
\tover two lines

Hello,
this is the body. Needle one.
""")
ENCODED = lines("""From: =?utf-8?B?SsO8cmdlbiBNw7xsbGVy?= <j@x.example>
To: anna@x.example
Subject: =?iso-8859-1?Q?Gr=FC=DFe?= aus =?utf-8?Q?K=C3=B6ln?=
Date: Wed, 25 Nov 2026 09:00:00 +0100
Message-ID: <encoded@x.example>
In-Reply-To: <plain@x.example>
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Stra=DFe und =C4pfel, lang=
gezogen. Umlaut needle.
""")
MIXED = lines("""From: list@x.example
To: anna@x.example
Subject: Re: Plain and simple
Date: Thu, 26 Nov 2026 10:00:00 +0000
Message-ID: <mixed@x.example>
References: <plain@x.example>
 <encoded@x.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

R3LDvMOfZSB2b24gZGVyIEJhc2lzLCBoaWRkZW4gd29yZAo=
--inner
Content-Type: text/html; charset=us-ascii

<p>html needle</p>
--inner--
--outer
Content-Type: application/octet-stream; name="a.bin"
Content-Disposition: attachment; filename="report.bin"
Content-Transfer-Encoding: base64
Content-Description: some bytes

AAECAwQFBgcICQ==
--outer
Content-Type: message/rfc822

From: inner@x.example
Subject: The letter inside
Date: Fri, 27 Nov 2026 10:00:00 +0000
Message-ID: <inside@x.example>
Content-Type: multipart/mixed; boundary=deep

--deep

deep text
--deep
Content-Type: text/x-odd
Content-Transfer-Encoding: x-unknown

odd
--deep--
--outer
Content-Type: message/rfc822

Subject: plain inside

only a body
--outer--
epilogue
""")
DIGEST = lines("""From: d@x.example
Subject: digest
Content-Type: multipart/digest; boundary=d

--d

Subject: one

first
--d

Subject: two

second
--d--
""")
ROOT_MESSAGE = lines("""From: r@x.example
Subject: forwarded whole
Content-Type: message/rfc822

Subject: whole inside
From: q@x.example

whole body
""")
BROKEN = [
    b"",
    b"\r\n",
    b"\r\nno header at all\r\n",
    b"Subject: no body\r\n",
    b"Subject: no end of line",
    b"not a header line\r\nSubject: after junk\r\n\r\nbody\r\n",
    b"From: a@b\r\nFrom: c@d\r\nSubject: twice\r\nSubject: again\r\n\r\nx\r\n",
    b"Content-Type: multipart/mixed; boundary=never\r\n\r\nthe boundary never comes\r\n",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nunfinished",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x--\r\n",
    b"Content-Type: multipart/mixed\r\n\r\n--x\r\nno boundary parameter\r\n",
    b"Subject: \xff\xfe\x80 raw octets\r\nContent-Type: text/plain; charset=\"\xff\"\r\n\r\n\xf0\x28\x8c\r\n",
    b"Subject: lone lf\nFrom: a@b\n\nbody\nmore\n",
    b"Subject: base64 junk\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!! not base64 ====\r\nAA\r\n",
    b"Subject: qp junk\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n==ZZ=4\r\n",
    b"To: " + b"a@b, " * 3000 + b"end@b\r\nSubject: many\r\n\r\nx\r\n",
    b"X-Long: " + b"y" * 9000 + b"\r\nSubject: long line\r\n\r\nx\r\n",
    b"".join(b"X-H%d: v\r\n" % i for i in range(1500)) + b"Subject: late\r\n\r\nx\r\n",
    b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" +
    b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (i, i + 1) for i in range(150)) + b"deep\r\n",
]
LARGE = b"Subject: large\r\nFrom: l@x.example\r\n\r\n" + b"".join(b"line %07d of a large message\r\n" % i for i in range(60000))
CORPUS = [PLAIN, ENCODED, MIXED, DIGEST, ROOT_MESSAGE, *[m for m in BROKEN if m], LARGE]


def random_message(rng):
    """Pieces of mail syntax in any order."""
    bits = [b"Subject: x\r\n", b"From: a@b\r\n", b"\r\n", b"--b\r\n", b"--b--\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n", b"text\r\n",
            b"Content-Type: message/rfc822\r\n", b"Content-Transfer-Encoding: base64\r\n", b"QUJD\r\n", b" folded\r\n", b":\r\n", b"\xc3\xa4", b"=?utf-8?Q?=C3?=",
            b"Content-Type: text/html; charset=koi8-r\r\n", b"References: <a@b> <c@d>\r\n", b"Message-ID: <a@b>\r\n", b"\t", b"(", b'"', b"\\", b"<", b"\n"]
    return b"".join(rng.choice(bits) for _ in range(rng.randint(1, 60))) or b"x"


def connect(house, select="INBOX", user="alice"):
    c = imapc.Imap(house.port("imaps"), tls=house.tls(), timeout=60)
    c.login(house.address(user), house.passwords[user])
    if select:
        c.ok(f"SELECT {select}")
    return c


def octets(value):
    return None if value is None else value.encode("latin-1")


def fetch(c, which, items):
    """{item: value} of one message."""
    got = c.ok(f"FETCH {which} ({items})").fetched()
    equal(len(got), 1)
    return got[0][1]


def shape(structure):
    """BODYSTRUCTURE as (type, children)."""
    if isinstance(structure[0], list):
        n = next(i for i, s in enumerate(structure) if not isinstance(s, list))
        return f"multipart/{structure[n].lower()}", [shape(s) for s in structure[:n]]
    kind = f"{structure[0]}/{structure[1]}".lower()
    if kind == "message/rfc822" and len(structure) > 8:
        return kind, [shape(structure[8])]
    return kind, []


def python_shape(part):
    kind = part.get_content_type()
    if part.is_multipart():
        return kind, [python_shape(p) for p in part.get_payload()]
    return kind, []


def numbered_leaves(tree, prefix=""):
    """(number, kind) of all parts, as RFC 9051 6.4.5.1 counts them."""
    kind, children = tree
    if kind.startswith("multipart/"):
        for i, child in enumerate(children, 1):
            yield f"{prefix}{i}", child[0]
            if child[0].startswith("multipart/"):
                yield from numbered_leaves(child, f"{prefix}{i}.")
            elif child[1]:
                yield from numbered_leaves(child[1][0], f"{prefix}{i}.")
    else:
        yield f"{prefix}1", kind
        if children:
            yield from numbered_leaves(children[0], f"{prefix}1.")


def python_parts(message, prefix=""):
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        for i, part in enumerate(message.get_payload(), 1):
            yield f"{prefix}{i}", part
            inner = part.get_payload()[0] if part.get_content_type() == "message/rfc822" and part.is_multipart() else part
            if part.is_multipart():
                yield from python_parts(inner, f"{prefix}{i}.")
    else:
        yield f"{prefix}1", message
        if message.is_multipart():
            yield from python_parts(message.get_payload()[0], f"{prefix}1.")


def check_whole(c, n, raw):
    got = fetch(c, n, "RFC822.SIZE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] RFC822.HEADER BODY.PEEK[]<0.10> BODY.PEEK[]<3.5> BODY.PEEK[]<99999999.5> "
                      "BINARY.PEEK[] BINARY.SIZE[] BODY.PEEK[99] BODY.PEEK[1.99.2] ENVELOPE BODYSTRUCTURE BODY")
    equal(octets(got["BODY[]"]), raw)
    equal(int(got["RFC822.SIZE"]), len(raw))
    equal(octets(got["BODY[HEADER]"]) + octets(got["BODY[TEXT]"]), raw)
    equal(got["RFC822.HEADER"], got["BODY[HEADER]"])
    equal(octets(got["BODY[]<0>"]), raw[:10])
    equal(octets(got["BODY[]<3>"]), raw[3:8])
    equal(octets(got["BODY[]<99999999>"]), b"")
    equal(octets(got["BINARY[]"]), raw)
    equal(int(got["BINARY.SIZE[]"]), len(raw))
    equal(got["BODY[99]"], None)
    equal(got["BODY[1.99.2]"], None)
    equal(len(got["ENVELOPE"]), 10)
    equal(shape(got["BODY"]), shape(got["BODYSTRUCTURE"]))
    return got


def check_parts(c, n, raw, tree):
    """Every part that the structure has can be fetched, its pieces stand in the message, and what is beside it is NIL."""
    closed = set()  # messages that are not looked into: in base64, or without anything inside
    for number, kind in list(numbered_leaves(tree))[:40]:
        items = f"BODY.PEEK[{number}] BODY.PEEK[{number}.MIME] BODY.PEEK[{number}]<2.7> BODY.PEEK[{number}.HEADER] BODY.PEEK[{number}.TEXT]"
        got = fetch(c, n, items)
        body, mime = octets(got[f"BODY[{number}]"]), octets(got[f"BODY[{number}.MIME]"])
        if any(number.startswith(c + ".") for c in closed):
            equal((body, mime), (None, None))
            continue
        assert body is not None and mime is not None, (number, kind, raw)
        if kind == "message/rfc822" and got[f"BODY[{number}.HEADER]"] is None:
            closed.add(number)
        assert mime + body in raw, (number, mime, body)
        equal(octets(got[f"BODY[{number}]<2>"]), body[2:9])
        header, text = octets(got[f"BODY[{number}.HEADER]"]), octets(got[f"BODY[{number}.TEXT]"])
        if kind == "message/rfc822" and header is not None:
            equal(header + text, body)
        else:
            equal((header, text), (None, None), f"HEADER and TEXT of {kind} {number}")


def check_fields(c, n, raw, header):
    names = {line.split(b":")[0].strip().decode("latin-1") for line in header.split(b"\n") if re.match(rb"[A-Za-z0-9-]+[ \t]*:", line)}
    wanted = ["Subject", "From", "X-Odd", "Nothing"]
    for ask in (wanted, sorted(names)[:5], ["SUBJECT", "date", "References", "Content-Type"]):
        if not ask:
            continue
        listed = " ".join(f'"{name}"' if not re.fullmatch(r"[A-Za-z0-9-]+", name) else name for name in ask)
        got = c.ok(f"FETCH {n} (BODY.PEEK[HEADER.FIELDS ({listed})] BODY.PEEK[HEADER.FIELDS.NOT ({listed})])").fetched()[0][1]
        chosen = next(octets(v) for k, v in got.items() if k.startswith("BODY[HEADER.FIELDS ("))
        others = next(octets(v) for k, v in got.items() if k.startswith("BODY[HEADER.FIELDS.NOT"))
        low = {name.lower().encode("latin-1") for name in ask}
        for line in chosen[:-2].split(b"\n"):
            if line and line[:1] not in b" \t\r":
                assert line.split(b":")[0].strip().lower() in low, (line, low)
        for field in low:
            count = len(re.findall(rb"(?im)^" + re.escape(field) + rb"[ \t]*:", header))
            equal(len(re.findall(rb"(?im)^" + re.escape(field) + rb"[ \t]*:", chosen)), count, f"{field} in {chosen!r}")
            equal(len(re.findall(rb"(?im)^" + re.escape(field) + rb"[ \t]*:", others)), 0)
        assert chosen.endswith(b"\r\n") and others.endswith(b"\r\n")


def fill(c, messages, mailbox="INBOX", apart=False):
    """apart: a day between their dates of arrival."""
    for n, m in enumerate(messages, 1):
        answer = c.append(mailbox, m, date=f"{n:02}-Jan-2026 10:00:00 +0000" if apart else "")
        equal(answer.status, "OK", f"APPEND of {m[:60]!r}: {answer.text}")


def test_corpus():
    with Instance() as house, connect(house) as c:
        fill(c, CORPUS)
        c.ok("NOOP")
        for n, raw in enumerate(CORPUS, 1):
            got = check_whole(c, n, raw)
            tree = shape(got["BODYSTRUCTURE"])
            check_parts(c, n, raw, tree)
            check_fields(c, n, raw, octets(got["BODY[HEADER]"]))
        # of the sound ones Python knows as much as we do
        for n, raw in enumerate(CORPUS[:5], 1):
            message = email.message_from_bytes(raw)
            equal(shape(fetch(c, n, "BODYSTRUCTURE")["BODYSTRUCTURE"]), python_shape(message))
            for number, part in python_parts(message):
                if part.is_multipart() or part.get("content-transfer-encoding") == "x-unknown":
                    continue
                got = fetch(c, n, f"BINARY.PEEK[{number}] BINARY.SIZE[{number}]")
                payload = part.get_payload(decode=True)
                binary = octets(got[f"BINARY[{number}]"])
                equal(int(got[f"BINARY.SIZE[{number}]"]), len(binary))
                equal(re.sub(rb"\r?\n", b"\n", binary).rstrip(), re.sub(rb"\r?\n", b"\n", payload).rstrip(), f"part {number} of {n}")
        equal(octets(fetch(c, 3, "BINARY.PEEK[2]")["BINARY[2]"]), bytes(range(10)))
        c.send("t FETCH 3 BINARY.PEEK[2]\r\n")
        assert b"~{10}" in c.raw(), "NUL without literal8"
        assert c.raw().startswith(b"t OK")
        equal(octets(fetch(c, 3, "BINARY.PEEK[2]<3.4>")["BINARY[2]<3>"]), bytes(range(3, 7)))
        c.no("FETCH 3 BINARY.PEEK[3.2]", "UNKNOWN-CTE")
        equal(octets(fetch(c, 3, "BODY.PEEK[3.HEADER.FIELDS (Subject)]")["BODY[3.HEADER.FIELDS (Subject)]"]), b"Subject: The letter inside\r\n\r\n")
        equal(octets(fetch(c, 3, "BODY.PEEK[3.1]")["BODY[3.1]"]), b"deep text")
        equal(octets(fetch(c, 3, "BODY.PEEK[4.1]")["BODY[4.1]"]), b"only a body")
        envelope = fetch(c, 1, "ENVELOPE")["ENVELOPE"]
        equal((envelope[1], envelope[2], envelope[9]), ("Plain and simple", [["Anna Smith", None, "anna", "x.example"]], "<plain@x.example>"))


def test_random_messages():
    rng = random.Random(int(os.environ.get("SEED", "5")))
    messages = [random_message(rng) for _ in range(150)]
    with Instance() as house, connect(house) as c:
        fill(c, messages)
        c.ok("NOOP")
        for n, raw in enumerate(messages, 1):
            got = check_whole(c, n, raw)
            check_parts(c, n, raw, shape(got["BODYSTRUCTURE"]))
            check_fields(c, n, raw, octets(got["BODY[HEADER]"]))


def test_prefix_belongs_to_the_header():
    with Instance() as house:
        house.send("alice@posthouse.test", text="delivered")
        c = connect(house)
        eventually(lambda: c.ok("NOOP") and c.ok("SEARCH ALL").of("SEARCH") != [[]], what="the mail")
        got = fetch(c, 1, "RFC822.SIZE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[HEADER.FIELDS (Return-Path Subject)]"
                          " BODY.PEEK[HEADER.FIELDS.NOT (Return-Path Delivered-To Received)]")
        whole = octets(got["BODY[]"])
        assert whole.startswith(b"Return-Path: <someone@elsewhere.example>\r\nDelivered-To: "), whole[:200]
        equal(int(got["RFC822.SIZE"]), len(whole))
        equal(octets(got["BODY[HEADER]"]) + octets(got["BODY[TEXT]"]), whole)
        equal(got["BODY[1]"], got["BODY[TEXT]"])
        equal(octets(got["BODY[HEADER.FIELDS (Return-Path Subject)]"]), b"Return-Path: <someone@elsewhere.example>\r\nSubject: test\r\n\r\n")
        assert b"Return-Path" not in octets(got["BODY[HEADER.FIELDS.NOT (Return-Path Delivered-To Received)]"])
        for offset in range(0, 150, 7):
            equal(octets(fetch(c, 1, f"BODY.PEEK[]<{offset}.40>")[f"BODY[]<{offset}>"]), whole[offset:offset + 40])
        equal(c.ok("SEARCH HEADER Return-Path elsewhere").of("SEARCH"), [["1"]])
        equal(c.ok("SEARCH HEADER Delivered-To nobody").of("SEARCH"), [[]])


def test_seen_is_set_by_reading():
    with Instance() as house, connect(house) as c, connect(house) as other:
        fill(c, [PLAIN] * 4)
        c.ok("NOOP")
        c.ok("FETCH 1:4 (BODY.PEEK[] RFC822.HEADER BODY.PEEK[HEADER] ENVELOPE)")
        equal([f["FLAGS"] for _, f in c.ok("FETCH 1:4 FLAGS").fetched() if "\\Seen" in f["FLAGS"]], [])
        told = [(n, f["FLAGS"]) for n, f in c.ok("FETCH 1:2 BODY[TEXT]").fetched() if "FLAGS" in f]
        equal([n for n, flags in told if "\\Seen" in flags], [1, 2])
        c.ok("FETCH 3 RFC822")
        equal(c.ok("SEARCH SEEN").of("SEARCH"), [["1", "2", "3"]])
        eventually(lambda: other.ok("NOOP") and other.ok("SEARCH UNSEEN").of("SEARCH") == [["4"]], what="the other session to know")
        c.ok("EXAMINE INBOX")
        c.ok("FETCH 4 BODY[]")
        equal(c.ok("SEARCH UNSEEN").of("SEARCH"), [["4"]])


def test_uid_comes_first_and_sets():
    with Instance() as house, connect(house) as c:
        fill(c, [PLAIN, ENCODED, MIXED])
        c.ok("NOOP")
        c.send("t UID FETCH 2:* (FLAGS RFC822.SIZE)\r\n")
        assert c.raw().startswith(b"* 2 FETCH (UID 2 FLAGS"), "UID is not first"
        assert c.raw().startswith(b"* 3 FETCH (UID 3 FLAGS")
        assert c.raw().startswith(b"t OK")
        equal(c.ok("UID FETCH 77 FLAGS").fetched(), [])
        c.bad("FETCH 4 FLAGS")
        got = fetch(c, 1, "INTERNALDATE EMAILID THREADID MODSEQ")
        assert re.fullmatch(r"[ \d]\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d [+-]\d{4}", got["INTERNALDATE"]), got
        assert re.fullmatch(r"[A-Za-z0-9_-]+", got["EMAILID"][0]), got
        # the thread has one identifier: made of the first reference
        equal(fetch(c, 3, "THREADID")["THREADID"], got["THREADID"])
        c.ok("COPY 1 Archive")
        c.ok("SELECT Archive")
        equal(fetch(c, 1, "EMAILID")["EMAILID"], got["EMAILID"])
        equal(c.ok(f"SEARCH EMAILID {got['EMAILID'][0]}").of("SEARCH"), [["1"]])


def test_changedsince():
    with Instance() as house, connect(house) as c:
        fill(c, [PLAIN] * 6)
        c.ok("ENABLE QRESYNC")
        c.ok("SELECT INBOX")
        before = max(int(f["MODSEQ"][0]) for _, f in c.ok("FETCH 1:* MODSEQ").fetched())
        equal(c.ok(f"UID FETCH 1:* FLAGS (CHANGEDSINCE {before})").fetched(), [])
        c.ok("STORE 2,4 +FLAGS (\\Flagged)")
        got = c.ok(f"UID FETCH 1:* FLAGS (CHANGEDSINCE {before})").fetched()
        equal([n for n, _ in got], [2, 4])
        assert all(int(f["MODSEQ"][0]) > before for _, f in got), got
        c.ok("STORE 1,5 +FLAGS (\\Deleted)")
        c.ok("EXPUNGE")
        answer = c.ok(f"UID FETCH 1:* FLAGS (CHANGEDSINCE {before} VANISHED)")
        equal(answer.of("VANISHED"), [[["EARLIER"], "1,5"]])
        equal(c.ok(f"UID FETCH 4:6 FLAGS (CHANGEDSINCE {before} VANISHED)").of("VANISHED"), [[["EARLIER"], "5"]])


def search(c, keys, **more):
    got = c.ok(f"SEARCH {keys}").of("SEARCH")
    equal(len(got), 1)
    return [int(n) for n in got[0]]


def test_search():
    with Instance() as house, connect(house) as c:
        for m, flags, date in ((PLAIN, "\\Flagged", "01-Nov-2026 23:30:00 -0800"), (ENCODED, "", "02-Nov-2026 10:00:00 +0100"),
                               (MIXED, "\\Seen Work", "03-Nov-2026 10:00:00 +0000")):
            equal(c.append("INBOX", m, flags, date).status, "OK")
        c.ok("NOOP")
        table = [
            ("ALL", [1, 2, 3]), ("FLAGGED", [1]), ("UNFLAGGED", [2, 3]), ("SEEN", [3]), ("KEYWORD work", [3]), ("UNKEYWORD Work", [1, 2]), ("KEYWORD other", []),
            ("2:3", [2, 3]), ("UID 1", [1]), ("NOT 2", [1, 3]), ("OR FLAGGED SEEN", [1, 3]), ("NOT (FLAGGED)", [2, 3]),
            ("ON 1-Nov-2026", [1]), ("SINCE 2-Nov-2026", [2, 3]), ("BEFORE 2-Nov-2026", [1]),
            ("SENTON 24-Nov-2026", [1]), ("SENTON 25-Nov-2026", [2]), ("SENTSINCE 25-Nov-2026", [2, 3]), ("SENTBEFORE 25-Nov-2026", [1]),
            (f"LARGER {len(MIXED) - 1}", [3]), (f"SMALLER {len(PLAIN)}", [n for n, m in enumerate((PLAIN, ENCODED, MIXED), 1) if len(m) < len(PLAIN)]),
            ("SUBJECT plain", [1, 3]), ("SUBJECT simple FLAGGED", [1]), ('SUBJECT "and  simple"', [1, 3]), ("FROM anna", [1]),
            ("TO ANNA", [2, 3]), ("CC dave", [1]), ("BCC x", []),
            ('HEADER X-Odd ""', [1]), ('HEADER X-Odd "folded over"', [1]), ("HEADER Message-ID encoded", [2]), ('HEADER References ""', [3]),
            ("HEADER subject PLAIN", [1, 3]),
            ("BODY needle", [1, 2, 3]), ('BODY "hidden word"', [3]), ("BODY plain", [3]), ("TEXT plain", [1, 2, 3]), ("BODY langgezogen", [2]),
            ('BODY "letter inside"', [3]), ("BODY deep", [3]), ("BODY AAECAwQ", []), ("TEXT report.bin", [3]), ("BODY nothing", []), ("NOT BODY needle", []),
            ("YOUNGER 10", []), ("OLDER 10", [1, 2, 3]), ("NEW", [1, 2]), ("OLD", []),
        ]
        for keys, want in table:
            equal(search(c, keys), want, f"SEARCH {keys}")
        equal(search(c, 'CHARSET UTF-8 SUBJECT "grüße aus köln"'), [2])
        equal(search(c, 'CHARSET UTF-8 SUBJECT "GRÜSSE"'), [2])
        equal(search(c, 'CHARSET UTF-8 FROM "JÜRGEN"'), [2])
        equal(search(c, 'CHARSET UTF-8 BODY "STRASSE und äpfel"'), [2])
        equal(search(c, 'CHARSET UTF-8 BODY "GRÜSSE VON"'), [3])
        c.no('SEARCH CHARSET x-none SUBJECT "a"', "BADCHARSET")
        c.bad("SEARCH 9")
        equal(c.ok("UID SEARCH SUBJECT plain").of("SEARCH"), [["1", "3"]])


def extended(answer):
    rows = answer.of("ESEARCH")
    equal(len(rows), 1)
    row = rows[0]
    equal(row[0][0], "TAG")
    row = row[1:]
    if row and row[0] == "UID":
        row = row[1:]
    return {row[i]: row[i + 1] for i in range(0, len(row), 2)}


def test_extended_search():
    with Instance() as house, connect(house) as c:
        fill(c, [PLAIN, ENCODED, PLAIN, PLAIN, MIXED])
        c.ok("NOOP")
        equal(extended(c.ok("SEARCH RETURN (MIN MAX COUNT ALL) SUBJECT plain")), {"MIN": "1", "MAX": "5", "COUNT": "4", "ALL": "1,3:5"})
        equal(extended(c.ok("SEARCH RETURN () SUBJECT plain")), {"ALL": "1,3:5"})
        equal(extended(c.ok("SEARCH RETURN (MIN) SUBJECT plain")), {"MIN": "1"})
        equal(extended(c.ok("SEARCH RETURN (MIN MAX COUNT) SUBJECT none")), {"COUNT": "0"})
        equal(c.ok("SEARCH RETURN (SAVE) SUBJECT plain").of("ESEARCH"), [])
        equal([n for n, _ in c.ok("FETCH $ UID").fetched()], [1, 3, 4, 5])
        equal(extended(c.ok("SEARCH RETURN (COUNT) NOT $")), {"COUNT": "1"})
        equal(extended(c.ok("UID SEARCH RETURN (SAVE MAX) SUBJECT plain")), {"MAX": "5"})
        equal([n for n, _ in c.ok("FETCH $ UID").fetched()], [5])
        c.ok("STORE 2 +FLAGS (\\Flagged)")
        top = max(int(f["MODSEQ"][0]) for _, f in c.ok("FETCH 1:* MODSEQ").fetched())
        got = c.ok(f"SEARCH MODSEQ {top}").of("SEARCH")
        equal(got, [["2", ["MODSEQ", str(top)]]])
        equal(extended(c.ok(f"SEARCH RETURN (ALL) MODSEQ {top}")), {"ALL": "2", "MODSEQ": str(top)})
        c.ok("ENABLE IMAP4rev2")
        equal(extended(c.ok("SEARCH SUBJECT plain")), {"ALL": "1,3:5"})
        equal(extended(c.ok("SEARCH SUBJECT none")), {})


def letter(subject, sender, to, date, more=""):
    return lines(f"Subject: {subject}\nFrom: {sender}\nTo: {to}\nDate: {date}\n{more}\nbody\n")


def test_sort():
    with Instance() as house, connect(house) as c:
        fill(c, [letter("Re: banana", "zoe@x", "a@x", "Tue, 3 Nov 2026 10:00:00 +0000"), letter("Apple", "Mike <mike@x>", "C <c@x>", "Tue, 3 Nov 2026 09:00:00 -0500"),
                 letter("banana", "adam@x", "b@x", "Mon, 2 Nov 2026 10:00:00 +0000"),
                 b"X: no fields\r\n\r\nthis one has nothing to sort it by, and is long\r\n" * 4], apart=True)
        c.ok("NOOP")
        table = [("ARRIVAL", "1 2 3 4"), ("REVERSE ARRIVAL", "4 3 2 1"), ("SUBJECT", "4 2 1 3"), ("REVERSE SUBJECT", "1 3 2 4"), ("SUBJECT REVERSE DATE", "4 2 1 3"),
                 ("SUBJECT DATE", "4 2 3 1"), ("FROM", "4 3 2 1"), ("TO", "4 1 3 2"), ("CC", "1 2 3 4"), ("SIZE", "3 1 2 4")]
        for keys, want in table:
            equal(c.ok(f"SORT ({keys}) UTF-8 ALL").of("SORT"), [want.split()], f"SORT ({keys})")
        equal(c.ok("SORT (DATE) UTF-8 1:3").of("SORT"), [["3", "1", "2"]])
        equal(c.ok("UID SORT (SUBJECT) US-ASCII SUBJECT banana").of("SORT"), [["1", "3"]])
        equal(c.ok("SORT (SUBJECT) UTF-8 TEXT nowhere").of("SORT"), [[]])


def test_thread():
    with Instance() as house, connect(house) as c:
        day = "{} Nov 2026 10:00:00 +0000".format
        fill(c, [letter("topic", "a@x", "b@x", day(1), "Message-ID: <1@x>\n"), letter("Re: topic", "b@x", "a@x", day(3), "Message-ID: <2@x>\nReferences: <1@x>\n"),
                 letter("Re: topic", "c@x", "a@x", day(2), "Message-ID: <3@x>\nIn-Reply-To: <1@x>\n"), letter("other", "c@x", "a@x", day(4), "Message-ID: <4@x>\n"),
                 letter("deeper", "c@x", "a@x", day(5), "Message-ID: <5@x>\nReferences: <1@x> <2@x>\n"), letter("Fwd: other", "d@x", "a@x", day(6))])
        c.ok("NOOP")
        c.send("t THREAD REFERENCES UTF-8 ALL\r\n")
        equal(c.raw(), b"* THREAD (1 (3)(2 5))(4 6)")
        c.raw()
        c.send("t THREAD ORDEREDSUBJECT UTF-8 ALL\r\n")
        equal(c.raw(), b"* THREAD (1 (3)(2))(4 6)(5)")
        c.raw()
        c.send("t UID THREAD REFERENCES UTF-8 SUBJECT nothing\r\n")
        equal(c.raw(), b"* THREAD")
        c.raw()


def test_damage_is_told_not_sent():
    with Instance() as house:
        c = connect(house)
        fill(c, [PLAIN, ENCODED, MIXED, LARGE])
        c.close()
        house.stop()
        hurt = 0
        for folder, _, names in os.walk(house.path("")):
            for name in names:
                path = os.path.join(folder, name)
                if not name.endswith(".log") or "journal" in path:
                    continue
                data = open(path, "rb").read()
                for needle in (b"Umlaut needle", b"line 0030000 of"):
                    at = data.find(needle)
                    if at >= 0:
                        with open(path, "r+b") as f:
                            f.seek(at)
                            f.write(b"X")
                        hurt += 1
        equal(hurt, 2)
        house.start()
        c = connect(house)
        answer = c.no("FETCH 1:3 (UID ENVELOPE BODY.PEEK[])", "CORRUPTION")
        got = dict(answer.fetched())
        equal(octets(got[1]["BODY[]"]), PLAIN)
        equal(got[2]["BODY[]"], None)
        equal(got[2]["ENVELOPE"][9], "<encoded@x.example>")
        equal(octets(got[3]["BODY[]"]), MIXED)
        try:  # the long one is found out when most of it has been sent
            c.ok("FETCH 4 BODY.PEEK[]")
            raise AssertionError("a damaged message looked whole")
        except (EOFError, ConnectionError):
            pass
        c = connect(house)
        answer = c.no("FETCH 4 (UID BODY.PEEK[])", "CORRUPTION")
        equal(answer.fetched()[0][1]["BODY[]"], None)
        assert "event=damaged" in house.log(), "the log does not tell of it"


def test_pieces_of_large_messages():
    with Instance() as house, connect(house) as c:
        fill(c, [LARGE])
        c.ok("NOOP")
        whole, at = b"", 0
        while True:
            piece = octets(fetch(c, 1, f"BODY.PEEK[]<{at}.65536>")[f"BODY[]<{at}>"])
            if not piece:
                break
            whole += piece
            at += 65536
        equal(whole, LARGE)
        equal(octets(fetch(c, 1, "BODY.PEEK[] FLAGS BODY.PEEK[HEADER.FIELDS (Subject)]")["BODY[HEADER.FIELDS (Subject)]"]), b"Subject: large\r\n\r\n")


def test_expunged_by_another():
    with Instance() as house, connect(house) as c, connect(house) as other:
        fill(c, [PLAIN] * 5)
        c.ok("NOOP")
        other.ok("NOOP")
        other.ok("STORE 2,3 +FLAGS (\\Deleted)")
        other.ok("EXPUNGE")
        answer = c.command("FETCH 1:5 (FLAGS BODY.PEEK[])")
        assert answer.status == "OK" or answer.code == ("EXPUNGEISSUED",), (answer.status, answer.code)
        equal(answer.of("EXPUNGE"), [])
        got = [n for n, f in answer.fetched() if "BODY[]" in f]
        assert {1, 4, 5} <= set(got), got
        answer = c.ok("NOOP")
        equal(len([u for u in answer.untagged if u[1:] == ["EXPUNGE"]]), 2)


SLOW_SEARCH = "SEARCH " + " ".join(f"NOT BODY zq{i:03}" for i in range(600))


def slow_house():
    """16 MiB of text, which the search above reads hundreds of times."""
    return Instance(settings={"imap_progress_interval": "1s"})


def many_texts(c, count=1024):
    text = b"From: a@b.example\r\nSubject: text\r\n\r\n" + b"zz zq needle in a long text of no meaning\r\n" * 400
    c.append("INBOX", text)
    c.ok("SELECT INBOX")
    have = 1
    while have < count:
        c.ok(f"COPY 1:{have} INBOX")
        have *= 2
    c.ok("NOOP")


def test_progress_of_long_commands():
    """RFC 9585: at the interval, with the command's tag, and done never more than the goal."""
    with slow_house() as house, connect(house) as c:
        many_texts(c)
        for command in (SLOW_SEARCH, "FETCH 1:*,1:* BODY.PEEK[]"):
            begun = time.monotonic()
            tag = c.start(command)
            if command.startswith("FETCH"):
                time.sleep(1.2)  # the server waits for a client that does not read
            answer = c.finish(tag)
            took = time.monotonic() - begun
            equal(answer.status, "OK", command[:9])
            told = answer.codes("INPROGRESS")
            assert 1 <= len(told) <= took + 1, (command[:9], took, told)
            before = 0
            for _, (said, done, goal) in told:
                equal(said, tag, "tag")
                assert before <= int(done) <= int(goal) and int(goal) >= 256, told
                before = int(done)
        equal(c.ok("SEARCH BODY needle").codes("INPROGRESS"), [], "of a short command")


def cpu_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_a_long_command_is_cut_off():
    """Its client goes: the work ends at once. Meanwhile others were served."""
    with slow_house() as house, connect(house) as c, connect(house, user="bob") as other:
        many_texts(c)
        c.start(SLOW_SEARCH)
        c.response()  # it says that it works
        worst = 0
        for _ in range(10):
            begun = time.monotonic()
            other.ok("STATUS INBOX (MESSAGES)")
            worst = max(worst, time.monotonic() - begun)
        c.close()
        access = house.pids()["access"]
        time.sleep(0.2)
        before = cpu_of(access)
        time.sleep(0.5)
        assert cpu_of(access) - before < 0.1, "the search goes on"
        assert worst < 1, f"others waited {worst:.2f} s"


if __name__ == "__main__":
    harness.main()
