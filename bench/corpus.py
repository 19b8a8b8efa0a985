"""The messages of a mailbox that is downloaded: always the same ones, of sizes as mailboxes have them."""
import base64
import random

WORDS = """the of to and a in is for on that with this it be as are by from or we will have not can at an if your all please week report
    order delivery schedule meeting answer before monday table number question project customer invoice between already because""".split()
HEADER = ("Received: from relay1.example.net (relay1.example.net [192.0.2.17])\r\n"
          "\tby mx1.example.com with ESMTPS id {n:08x};\r\n\tThu, 2 Jan 2020 03:04:05 +0000\r\n"
          "Date: Thu, 2 Jan 2020 03:04:03 +0000\r\nFrom: Grace Clarke <g.clarke@example.org>\r\n"
          "To: Ivan Walker <i.walker@example.com>\r\nSubject: Re: minutes of meeting {n}\r\n"
          "Message-ID: <{n:08x}.4711@client.example.org>\r\nMIME-Version: 1.0\r\n"
          "Content-Type: {kind}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n")


def _lines_of_text(pick, size):
    lines, n = [], 0
    while n < size:
        line = " ".join(pick.choices(WORDS, k=11))[:76]
        if pick.random() < .02:
            line = "." + line  # a dot that has to be doubled on its way
        lines.append(line + "\r\n")
        n += len(line) + 2
    return "".join(lines).encode()


def messages(count):
    """Yields messages with CRLF: four fifths of 1 to 40 KB of text, the rest with 50 KB to 1 MB in base64; 50 KB on average."""
    pick = random.Random(20200102)
    text = _lines_of_text(pick, 1 << 18)
    starts = [0] + [at + 2 for at in range(len(text) - 2) if text[at:at + 2] == b"\r\n"]
    binary = base64.encodebytes(pick.randbytes(1 << 20)).replace(b"\n", b"\r\n")
    for n in range(count):
        attached = pick.random() < .2
        size = int(min(pick.lognormvariate(11.8, .8), 1 << 20) if attached else min(pick.lognormvariate(8.9, .8), 40_000))
        if attached:
            at = 78 * pick.randrange(1000)
            body = binary[at:at + size // 78 * 78 + 78]
        else:
            at = starts[pick.randrange(len(starts) // 2)]
            body = text[at:text.index(b"\r\n", at + size) + 2]
        kind, coding = ("application/octet-stream", "base64") if attached else ("text/plain; charset=us-ascii", "7bit")
        yield HEADER.format(n=n, kind=kind, coding=coding).encode() + body


NAMES = "Alice Smith|Bob Jones|Carol Taylor|David Brown|Grace Clarke|Heidi Hall|Ivan Walker|Judy Green|Olivia Wood|Trent Baker".split("|")
FOREIGN = ["réunion", "Grüße", "mañana", "żółw", "привет", "отчёт", "会議", "見積", "καλημέρα", "naïve"]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def _word(text):
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="


def _mailbox(pick):
    first, last = pick.choice(NAMES).split()
    shown = f"{_word(pick.choice(FOREIGN))} {last}" if pick.random() < .17 else f"{first} {last}"
    return f"{shown} <{first[0].lower()}.{last.lower()}@{pick.choice(('example.com', 'example.org', 'corp.example'))}>"


def _letter_header(pick, n):
    """A quarter answers one of the 50 before it. Every thousandth has `zyzzyva` in its subject."""
    lines = [f"Received: from relay{k}.example.net (relay{k}.example.net [192.0.2.{1 + pick.randrange(250)}])\r\n\tby mx{k}.example.com (Postfix) "
             f"with ESMTPS id {pick.getrandbits(40):010X}\r\n\tfor <user@example.com>; Thu, 2 Jan 2020 03:04:{k:02} +0000 (UTC)"
             for k in range(2 + pick.randrange(3))]
    if pick.random() < .5:
        signature = "\r\n\t ".join(base64.b64encode(pick.randbytes(51)).decode() for _ in range(5))
        lines.append("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=sel;\r\n\th=From:To:Subject:Date:Message-ID; "
                     f"bh={base64.b64encode(pick.randbytes(32)).decode()};\r\n\tb={signature}")
    parent = n - 1 - pick.randrange(min(n, 50)) if n and pick.random() < .25 else None
    about = random.Random(n if parent is None else parent)
    subject = "Re: " * (parent is not None) + "zyzzyva " * (n % 1000 == 500)
    subject += f"{_word(about.choice(FOREIGN))} " * (about.random() < .33) + " ".join(about.choices(WORDS, k=3 + about.randrange(5)))
    lines += [f"Date: {1 + n % 28} {MONTHS[n // 28 % 12]} {2015 + n // 336 % 10} {n % 24:02}:{n % 60:02}:{n % 59:02} +0000", f"From: {_mailbox(pick)}",
              "To: " + ",\r\n ".join(_mailbox(pick) for _ in range(1 + pick.randrange(4)))]
    if pick.random() < .33:
        lines.append(f"Cc: {_mailbox(pick)}")
    lines += [f"Subject: {subject}", f"Message-ID: <{n:08x}.{n}@host{n % 97}.example.com>"]
    if parent is not None:
        before = f"<{parent:08x}.{parent}@host{parent % 97}.example.com>"
        lines += [f"In-Reply-To: {before}", f"References: {before}"]
    return "\r\n".join([*lines, "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:102.0) Thunderbird/102.3", "MIME-Version: 1.0", ""]).encode()


def _part(kind, content, more=""):
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {'base64' if 'name=' in kind else '8bit'}\r\n{more}\r\n".encode() + content


def letters(count, attachments=True):
    """Yields messages with CRLF as mailboxes have them, 45 KB on average, half of them under 7 KB: 45 % text, 35 % text with HTML, 20 % with
    attachments of 30 to 600 KB (without attachments: text with HTML instead, 12 KB on average)."""
    pick = random.Random(20200103)
    text = _lines_of_text(pick, 1 << 18)
    text += "".join(f"{pick.choice(FOREIGN)} {line}\r\n" for line in text.decode().split("\r\n")[:2000]).encode()
    binary = base64.encodebytes(pick.randbytes(1 << 20)).replace(b"\n", b"\r\n")

    def some(size):
        at = text.index(b"\r\n", pick.randrange(len(text) - size - 200)) + 2
        return text[at:text.index(b"\r\n", at + size) + 2]
    for n in range(count):
        kind, header = pick.random(), _letter_header(pick, n)
        if kind < .45:
            yield header + _part("text/plain; charset=utf-8", some(1000 + pick.randrange(4000)))
            continue
        mark, attached = f"------------{pick.getrandbits(64):016X}", kind >= .8 and attachments
        start, end = f"\r\n--{mark}\r\n".encode(), f"\r\n--{mark}--\r\n".encode()
        size = 1500 if attached else 1500 + pick.randrange(9000)
        parts = [_part("text/plain; charset=utf-8; format=flowed", some(size))]
        if attached:
            for k in range(1 + (kind >= .94)):
                size = pick.randrange(30_000, 200_000) if kind < .94 else pick.randrange(100_000, 300_000)
                name, at = f"file{k}.{pick.choice(('pdf', 'jpg', 'zip'))}", 78 * pick.randrange(1000)
                parts.append(_part(f"application/octet-stream;\r\n name=\"{name}\"", binary[at:at + size // 78 * 78 + 78],
                                   f"Content-Disposition: attachment;\r\n filename=\"{name}\"\r\n"))
        else:
            html = b"<html><body>\r\n<p>" + some(size).replace(b"\r\n", b"</p>\r\n<p>") + b"</p></body></html>\r\n"
            parts.append(_part("text/html; charset=utf-8", html))
        top = f"Content-Type: multipart/{'mixed' if attached else 'alternative'};\r\n boundary=\"{mark}\"\r\n\r\nThis is a multi-part message.\r\n"
        yield header + top.encode() + b"".join(start + p for p in parts) + end
