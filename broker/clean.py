"""Foreign text made safe to show.

Whatever a cluster or a guest says passes through here once before it reaches a screen, and the type says that it did.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LIMIT: Final = 256
"""Characters of one foreign string that are shown at most (code points)."""

MARKS_LIMIT: Final = 4
"""Combining marks over one letter that are shown at most: more than a language needs climbs over other lines."""

_INVISIBLE: Final = frozenset("\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\ufeff\uffa0\u2028\u2029")


class Clean(str):
    """Text that holds no control, bidirectional, zero-width or surrogate character and has a bounded length.

    Only `clean`, `literal` and `joined` make it; the output layer takes nothing else.
    """

    __slots__ = ()


def clean(text: object, limit: int = LIMIT) -> Clean:
    """Return `text` as one line that is safe on a terminal, at most `limit` characters long.

    Line ends and tabs become one space; C0, C1, DEL, bidirectional, zero-width, private and unassigned characters are
    dropped, and so are marks beyond `MARKS_LIMIT` on one letter; a cut is marked by `…` within the limit. `None` gives the
    empty text. (CVE-2021-25743; Unicode TR36, TR39.)
    """
    if text is None:
        return Clean("")
    raw = str(text)
    if len(raw) <= limit and raw.isascii() and raw.isprintable():
        return Clean(raw)  # most text by far: a list of 10,000 VMs has 80,000 cells
    shown = "".join(_kept(raw[: limit * 4 + 16]))
    if len(shown) > limit or len(raw) > limit * 4 + 16:
        shown = shown[: max(limit - 1, 0)] + "…"
    return Clean(shown)


def clean_lines(text: object, *, limit: int = LIMIT, lines: int = 8) -> tuple[Clean, ...]:
    """Return the non-empty lines of `text`, each cleaned, at most `lines` of them."""
    kept = (clean(line, limit).strip() for line in str(text or "")[: limit * lines * 4].splitlines())
    return tuple(Clean(line) for line in kept if line)[:lines]


def escaped(text: str, limit: int = 64) -> Clean:
    """Return bad input as it may be shown: quoted, every odd character as an ASCII escape, cut at `limit` characters."""
    body = "".join(_escape(c) for c in text[: limit + 1])
    return Clean(f"'{body[: limit - 3]}...'" if len(body) > limit else f"'{body}'")


def literal(text: str) -> Clean:
    """Mark text that stands in our own source as fit to show."""
    return Clean(text)


def joined(separator: str, parts: tuple[Clean, ...] | list[Clean]) -> Clean:
    """Join clean parts by a separator of ours."""
    return Clean(separator.join(parts))


def is_plain(text: str) -> bool:
    """Say whether `clean` would leave this text as it is."""
    return clean(text, len(text)) == text


def is_shown(char: str) -> bool:
    """Say whether a character may stand on a screen."""
    if char in _INVISIBLE or 0xFE00 <= ord(char) <= 0xFE0F or 0xE0000 <= ord(char) <= 0xE0FFF:
        return False
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _kept(raw: str) -> list[str]:
    kept: list[str] = []
    blank, marks = False, 0
    for char in raw:
        if " " < char <= "~":
            blank, marks = False, 0
            kept.append(char)
            continue
        if char in "\r\n\t\v\f\u0085\u2028\u2029":
            char = " "
            if blank:
                continue
        elif not is_shown(char):
            continue
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks > MARKS_LIMIT:
            continue
        blank = char == " "
        kept.append(char)
    return kept


def _escape(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isascii() and char.isprintable():
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
