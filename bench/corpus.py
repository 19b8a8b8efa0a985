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
