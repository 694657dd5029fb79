"""The lines of an ssh_config file as OpenSSH reads them: keyword, words, quotes, blocks and patterns. **Pure.**

Follows `process_config_line` and `argv_split` (OpenSSH readconf.c, misc.c) and ssh_config(5), PATTERNS.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LINE_LIMIT: Final = 200_000
"""Lines of one file that are read at most."""
_BLANK: Final = " \t"
_END: Final = " \t\r\n\f"
_RAW: Final = frozenset({"proxycommand", "localcommand", "remotecommand", "knownhostscommand"})
_KEYWORD: Final = re.compile(r"[^ \t=\r]*")
_UNARY: Final = frozenset({"all", "canonical", "final"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One directive: `number` from 1, `keyword` in lower case, `words` its arguments unquoted, `rest` them as written."""

    number: int
    keyword: str
    words: tuple[str, ...]
    rest: str

    @property
    def value(self) -> str:
        """The argument as ssh takes it: the whole rest for commands, the first word else; empty without one."""
        return self.rest if self.keyword in _RAW else (self.words[0] if self.words else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a directive hangs on: the words of its Host or Match line; `kind` "" stands before any of them."""

    kind: str = ""
    words: tuple[str, ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A directive with the block that it stands in."""

    line: Line
    condition: Condition


def decode(data: bytes) -> str:
    """Return a file's text as Python holds file names: bytes that are no UTF-8 become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def read_lines(text: str) -> tuple[Line, ...]:
    """Return the directives of a file in order; comments and empty lines are left out. Lines end at a line feed only."""
    found: list[Line] = []
    for number, raw in enumerate(text.split("\n")[:LINE_LIMIT], start=1):
        line = read_line(raw, number)
        if line is not None:
            found.append(line)
    return tuple(found)


def read_line(raw: str, number: int = 1) -> Line | None:
    """Read one line; None for a comment or nothing. What stands after a NUL is not seen (C strings)."""
    body = raw.partition("\0")[0].rstrip(_END).lstrip(_BLANK)
    if not body or body[0] == "#":
        return None
    if body[0] == '"':
        keyword, closing, rest = body[1:].partition('"')
        if not closing:
            return None
        rest = rest.lstrip(_BLANK)
    else:
        keyword = _KEYWORD.match(body)[0]  # type: ignore[index]  # it matches anything
        rest = body[len(keyword) :].lstrip(_BLANK)
        rest = rest[1:].lstrip(_BLANK) if rest.startswith("=") else rest
    if not keyword:
        return None
    return Line(number=number, keyword=keyword.lower(), words=split_words(rest), rest=rest)


def split_words(text: str) -> tuple[str, ...]:
    """Split arguments as `argv_split` does: both quotes, a backslash before quote, backslash or blank, `#` ends the line."""
    if not any(char in text for char in "\"'\\#"):
        return tuple(word for word in text.replace("\t", " ").split(" ") if word)
    words: list[str] = []
    at, size = 0, len(text)
    while at < size:
        if text[at] in _BLANK:
            at += 1
            continue
        if text[at] == "#":
            break
        word, quote = "", ""
        while at < size:
            char = text[at]
            following = text[at + 1] if at + 1 < size else ""
            if char == "\\" and (following in ("'", '"', "\\") or (not quote and following == " ")):
                word, at = word + following, at + 2
                continue
            if not quote and char in _BLANK:
                break
            if not quote and char in "\"'":
                quote = char
            elif quote and char == quote:
                quote = ""
            else:
                word += char
            at += 1
        words.append(word)
    return tuple(words)


def placed(lines: Sequence[Line], *, within: Condition | None = None) -> Iterator[Placed]:
    """Give each directive its block; Host and Match lines stand in themselves. `within` is where an Include stood."""
    condition = within or Condition()
    for line in lines:
        if line.keyword in ("host", "match"):
            condition = Condition(kind=line.keyword, words=line.words, number=line.number)
        yield Placed(line=line, condition=condition)


def host_holds(patterns: Sequence[str], name: str) -> bool:
    """Say whether a Host line's patterns take a name: any match and no negated match (ssh_config(5), PATTERNS)."""
    is_taken = False
    for pattern in patterns:
        is_negated = pattern.startswith("!")
        if pattern_matches(pattern[1:] if is_negated else pattern, name):
            if is_negated:
                return False
            is_taken = True
    return is_taken


def pattern_matches(pattern: str, name: str) -> bool:
    """Compare with `*` and `?` only, case as it stands; brackets mean themselves."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    return fnmatch.fnmatchcase(name, re.sub(r"\*+", "*", pattern).replace("[", "[[]"))


def holds(condition: Condition, name: str) -> bool | None:
    """Say whether a block holds for a host as typed; None where that hangs on more than the name (Match exec, user, …)."""
    if not condition.kind:
        return True
    if condition.kind == "host":
        return host_holds(condition.words, name)
    return _match_holds(condition.words, name)


def _match_holds(words: Sequence[str], name: str) -> bool | None:
    result: bool | None = True
    rest = list(words)
    while rest:
        criterion, equals, value = rest.pop(0).partition("=")
        is_negated = criterion.startswith("!")
        criterion = criterion.removeprefix("!").lower()
        if criterion in _UNARY:
            said = True if criterion == "all" else None
        else:
            value = value if equals else (rest.pop(0) if rest else "")
            # HostName may have changed what `host` compares; without it, it is the name as typed.
            said = host_holds(value.split(","), name) if criterion in ("host", "originalhost") else None
        if said is not None and is_negated:
            said = not said
        if said is False:
            return False
        result = None if said is None else result
    return result
