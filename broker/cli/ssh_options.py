"""OpenSSH's own option words: where they end, and one of them taken out (getopt(3), ssh(1)). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_VALUED: Final = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
"""Options of ssh that take a value (ssh(1)); rsync itself passes -l only, users add others after our word."""


def leading_options(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide words into ssh's options, each with its value, and what stands after them (getopt(3), ssh(1))."""
    at = 0
    options: list[str] = []
    while at < len(words):
        each = words[at]
        if each == "--":
            return tuple(options), tuple(words[at + 1 :])
        if not each.startswith("-") or each == "-":
            break
        options.append(each)
        at += 1
        valued = next((index for index, letter in enumerate(each[1:], start=1) if letter in _VALUED), None)
        if valued == len(each) - 1 and at < len(words):
            options.append(words[at])
            at += 1
    return tuple(options), tuple(words[at:])


def taken(options: Sequence[str], letter: str) -> tuple[tuple[str, ...], str | None]:
    """Take the first value of one valued option out of options that `leading_options` divided; later ones go as well."""
    kept: list[str] = []
    value: str | None = None
    rest = list(options)
    while rest:
        each = rest.pop(0)
        if each.startswith("-" + letter):
            said = each[2:] or (rest.pop(0) if rest else "")
            value = said if value is None else value
        else:
            kept.append(each)
            if each[-1:] in _VALUED and each.startswith("-") and not any(c in _VALUED for c in each[1:-1]) and rest:
                kept.append(rest.pop(0))
    return tuple(kept), value
