"""Texts of somebody who means harm, and the judge of what may reach a terminal.

The judge knows nothing of `broker.clean`: it looks at the bytes that were written.
"""

from __future__ import annotations

import random
import re
import unicodedata
from typing import Final

MARK: Final = "HOSTILE"
"""Stands in every text: where it is shown, the text came that far."""

TEXTS: Final[dict[str, str]] = {
    "c0": "".join(map(chr, range(0x20))) + MARK,
    "csi": f"\x1b[2J\x1b[1;1H\x1b[31m{MARK}\x1b[0m\x1b[6n",
    "osc-52": f"\x1b]52;c;Y3VybCB4fHNo\x07{MARK}\x1b]52;c;?\x1b\\",
    "osc-8": f"\x1b]8;;http://evil.example\x1b\\{MARK}\x1b]8;;\x1b\\",
    "title": f"\x1b]0;{MARK}\x07\x1b]2;x\x9c",
    "c1": "".join(map(chr, range(0x80, 0xA0))) + MARK,
    "c1-csi": f"\x9b2J{MARK}\x9d52;c;eA==\x9c\x90q\x9c",
    "del": f"\x7f{MARK}\x7f\x7f",
    "return": f"{MARK}\rerror: all is well\r",
    "backspace": f"safe\b\b\b\b{MARK}\b",
    "lines": f"{MARK}\nerror: forged [forged]\r\nnext: run rm -rf /\n\n\x0b\x0c\u2028\u2029\x85",
    "tabs": f"\t{MARK}\t\t\t",
    "bidi": f"\u202e{MARK}\u202c\u2066x\u2069\u200e\u200f\u061c",
    "zero-width": f"\u200b{MARK}\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u115f\u3164\uffa0\u2800",
    "selectors": f"{MARK}\ufe0f\ufe00\U000e0041\U000e0100\U000e007f",
    "combining": f"{MARK}a" + "\u0301\u0316\u0488\u20dd" * 60,
    "wide": f"{MARK}" + "\uff37\u6f22\U0001f600" * 40,
    "private": f"\ue000{MARK}\U000f0000\U0010fffd\uffff\ufdd0",
    "markup": f"[red]{MARK}[/red][link=http://x]y[/] **b** `c` <script>",
    "formats": f"%s%n%d%h {{0}} {{x.__class__}} ${{HOME}} {MARK} %(x)s",
    "shell": f"$(touch canary)`touch canary`;touch canary|touch canary&touch canary\n#{MARK}'\"\\",
    "dashes": f"--{MARK}=-oProxyCommand=touch",
    "secret-shape": f'{{"data": "{MARK}"}} \x1b[8m',
    "long": MARK + "x" * (1 << 20),
    "long-escapes": MARK + "\x1b[31m" * 40_000,
    "long-lines": f"{MARK}\n" * 20_000,
    "empty-looking": "\u3000\u00a0\u2003" * 8 + MARK,
}
"""Texts that UTF-8 can carry."""

SURROGATES: Final = f"\ud800{MARK}\udc9b2J\udfff"
"""Lone surrogates: JSON can carry them as escapes, UTF-8 cannot."""

INVALID_UTF8: Final = b"\xff\xfe\x9b2J" + MARK.encode() + b"\xc0\xaf\xed\xa0\x80\xf5"
"""Bytes that are no UTF-8, an 8-bit CSI among them."""

_SGR: Final = re.compile(r"\x1b\[(?:0|1|2|31|32|33)m")
_PROGRESS: Final = re.compile(r"\r(?:[|/\\-] [^\r\n]*| +\r)")
_BLANKS: Final = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0\ufeff")
COMBINING_LIMIT: Final = 4
"""Marks over one another that a person's language may need; more is a flood."""
LINE_LIMIT: Final = 4096
"""Characters of one line of a message at most."""


def unclean(raw: bytes, *, has_progress: bool = False, is_bounded: bool = True) -> list[str]:
    """Return what in these bytes may not reach a terminal, one phrase each; empty where all is well.

    Allowed: shown characters, line ends, our own colours, and on stderr the progress line.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        return [f"no UTF-8 at byte {exc.start}: {raw[exc.start : exc.start + 8]!r}"]
    text = _SGR.sub("", text)
    if has_progress:
        text = _PROGRESS.sub("", text)
    found: list[str] = []
    marks = 0
    for at, char in enumerate(text):
        if char == "\n" or " " <= char <= "~":
            marks = 0
            continue
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if kind in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or char in _BLANKS or 0xFE00 <= ord(char) <= 0xFE0F:
            found.append(f"{char!r} ({kind}) in {text[max(at - 30, 0) : at + 30]!r}")
        elif marks > COMBINING_LIMIT:
            found.append(f"{marks} marks on one letter in {text[max(at - 30, 0) : at + 5]!r}")
        if len(found) > 5:
            break
    if is_bounded:
        found += [f"a line of {len(line)} characters" for line in text.split("\n") if len(line) > LINE_LIMIT][:3]
    return found


ODD: Final = (
    *"\x00\x01\x07\x08\t\n\r\x0b\x0c\x1b\x1f !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\x7f\x80\x85\x9b\xa0\xad",
    *"\u200b\u202e\u2028\ufeff\uff0e\u0130\u0131\u212a\ud800\udc80\U0001f600\u0301éßİ",
)
PIECES: Final = (
    "web", "shop", "db", "a", "0", "9", "x" * 63, "y" * 64, "vm", "vmi", "VM", ".vm", ".vm.", "vm/", "vmi/", "/", "//", "..",
    "../", "/etc/passwd", "-", "--", "-o", "-oProxyCommand=touch canary", "-F/dev/null", "--kubeconfig=x", "$(touch canary)",
    "`touch canary`", ";touch canary;", "|touch canary", "&touch canary&", "\ntouch canary\n", "${IFS}", "$HOME", "~", "~root",
    "%h", "%n", "%p", "%%", "%d", "%i", "%k", "%u", "*", "?", "[a]", "{a,b}", "!x", "'", '"', "\\", "\\'", '"\'"', "#", " #",
    "user@", "@", ":", ":22", "::1", "[::1]", "0x16", "22", "65535", "65536", "-1", "+22", "２２", "udp/", "Host *",
    "Match exec x",
    "\nHost *\nProxyCommand touch canary\n", "Include /x", "<(id)", "=ls", "KUBECONFIG=", "\\\n", "\x1b]52;c;eA==\x07",
)  # fmt: skip
"""Words that mean something to a shell, to ssh, to a path or to our own grammar."""


def word(random_: random.Random) -> str:
    """Return one generated text: odd characters, meaningful pieces, and now and then something almost well formed."""
    kind = random_.random()
    if kind < 0.25:
        return almost(random_)
    size = random_.choice((1, 1, 2, 3, 3, 4, 6))
    pool = PIECES if kind < 0.75 else (*ODD, *PIECES)
    return "".join(random_.choice(pool) for _ in range(size))


def almost(random_: random.Random) -> str:
    """Return a well-formed target, login or port, in one case of three with one odd character in it."""
    label = random_.choice(("web", "db-1", "a", "x" * 63, "0"))
    space = random_.choice(("shop", "kube-system", "n" * 63))
    text = random_.choice(
        (
            label,
            f"vm/{label}/{space}",
            f"vmi/{label}",
            f"{label}.{space}.vm",
            f"{label}.{space}.vm.prod",
            f"vm.{label}.{space}",
            f"ops@{label}.{space}.vm",
            f"a.b_c-d@vm/{label}/{space}",
            str(random_.randrange(70_000)),
            f"{random_.randrange(70_000)}:22",
        )
    )
    if random_.random() < 0.35:
        at = random_.randrange(len(text) + 1)
        text = text[:at] + random_.choice(ODD) + text[at:]
    return text
