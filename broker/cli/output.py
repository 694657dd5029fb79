"""The only writer of stdout: tables, JSON, YAML, names and plain text."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.clean import Clean, clean

API_VERSION: Final = "vmbroker/v1"
"""`apiVersion` of every JSON and YAML document; such documents only ever grow."""

_GAP: Final = "   "
_CODES: Final[Mapping[str, str]] = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}
_LEAST: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: `shrinks` lets a narrow terminal cut it, `tint` gives a cell's colour by name or ''."""

    title: str
    shrinks: bool = False
    tint: Callable[[Clean], str] | None = None


def table(columns: Sequence[Column], rows: Sequence[Sequence[Clean]], *, color: str) -> None:
    """Write rows under their titles; cells are cut to the terminal's width, and never where stdout is no terminal.

    `color` is auto, always or never.
    """
    lines = lay_out(columns, rows, width=_width(), is_colored=is_colored(color))
    _write("\n".join(lines) + "\n")


def fields(pairs: Sequence[tuple[str, Clean]]) -> None:
    """Write `name: value` lines with the values under each other."""
    wide = max((len(name) for name, _ in pairs), default=0) + 1
    _write("".join(f"{name + ':':<{wide}} {value}".rstrip() + "\n" for name, value in pairs))


def json(document: Mapping[str, object]) -> None:
    """Write one JSON document, ASCII only, indented by two."""
    import json as encoder

    _write(encoder.dumps(document, ensure_ascii=True, indent=2) + "\n")


def json_line(document: Mapping[str, object]) -> None:
    """Write one JSON document on one line and flush it: for a program that goes on running and is read line by line."""
    import json as encoder

    _write(encoder.dumps(document, ensure_ascii=True) + "\n")
    if sys.stdout is not None:
        sys.stdout.flush()


def yaml(document: Mapping[str, object]) -> None:
    """Write one YAML document, ASCII only, keys in their given order."""
    import yaml as encoder

    _write(encoder.safe_dump(_plain(document), sort_keys=False, allow_unicode=False, default_flow_style=False))


def names(words: Sequence[Clean]) -> None:
    """Write one name a line."""
    _write("".join(f"{word}\n" for word in words))


def text(words: str) -> None:
    """Write text of our own: help, scripts, a word for rsync; names in it go out exactly, but on a terminal cleaned."""
    if not (words.isascii() and words.replace("\n", "").isprintable()) and _is_terminal():
        words = "\n".join(clean(line, len(line)) for line in words.split("\n"))
    _write(words if words.endswith("\n") else words + "\n")


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[Clean]], *, width: int | None, is_colored: bool = False
) -> list[str]:
    """Return a table's lines, titles first; `width` in terminal cells, None for unbounded. Every row has a cell a column."""
    is_plain = all(cell.isascii() for row in rows for cell in row)
    measure = len if is_plain else cells
    sizes = [
        max(len(column.title), max((measure(row[index]) for row in rows), default=0)) for index, column in enumerate(columns)
    ]
    wanted = sizes if width is None else _shrunk(columns, sizes, width)
    if is_plain and not is_colored and wanted == sizes:
        return _lay_out_plain(columns, rows, sizes)
    sizes = wanted
    last = len(columns) - 1
    heads = [_fit(column.title, size, pads=i < last) for i, (column, size) in enumerate(zip(columns, sizes, strict=True))]
    lines = [_tinted(_GAP.join(heads).rstrip(), "bold" if is_colored else "")]
    for row in rows:
        parts: list[str] = []
        for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
            part = _fit(cell or "-", sizes[index], pads=index < last)
            parts.append(_tinted(part, column.tint(cell)) if is_colored and column.tint else part)
        lines.append(_GAP.join(parts).rstrip())
    return lines


def _lay_out_plain(columns: Sequence[Column], rows: Sequence[Sequence[Clean]], sizes: Sequence[int]) -> list[str]:
    """Lay out ASCII cells that all fit: one format for every row, which matters at ten thousand of them."""
    line = _GAP.join(f"{{:<{size}}}" for size in sizes).format
    lines = [line(*(column.title for column in columns)).rstrip()]
    lines += [line(*[cell or "-" for cell in row]).rstrip() for row in rows]
    return lines


def cells(word: str) -> int:
    """Return how many terminal cells a clean text fills: two for East Asian wide and full-width, none for combining marks."""
    if word.isascii():
        return len(word)
    import unicodedata

    total = 0
    for char in word:
        if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
            continue
        total += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return total


def is_colored(color: str) -> bool:
    """Say whether stdout takes colour: as the setting says, by itself on a terminal that is not dumb."""
    if color != "auto":
        return color == "always"
    return _is_terminal() and os.environ.get("TERM", "dumb") != "dumb"


def prepared(lines: Iterable[str]) -> None:
    """Write lines whose words are clean and whose colours come from `tinted`, as they are."""
    _write("".join(f"{line}\n" for line in lines))


def width() -> int | None:
    """Return the terminal's width in cells; None where stdout is no terminal."""
    return _width()


def is_open() -> bool:
    """Say whether there is a stdout: a command whose only work is its output fails without one."""
    return sys.stdout is not None


def can_show(text: str) -> bool:
    """Say whether stdout's encoding has every character of a text."""
    try:
        text.encode((sys.stdout.encoding if sys.stdout is not None else None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def tinted(word: str, name: str) -> str:
    """Return a word in a colour by name; as it is for a name that stands for none."""
    return _tinted(word, name)


def _shrunk(columns: Sequence[Column], sizes: list[int], width: int) -> list[int]:
    """Take cells from the widest shrinking column until the row fits or nothing is left to take."""
    sizes = list(sizes)
    excess = sum(sizes) + len(_GAP) * (len(sizes) - 1) - width
    while excess > 0:
        open_to_cut = [
            index for index, column in enumerate(columns) if column.shrinks and sizes[index] > max(_LEAST, len(column.title))
        ]
        if not open_to_cut:
            break
        widest = max(open_to_cut, key=lambda index: sizes[index])
        sizes[widest] -= 1
        excess -= 1
    return sizes


def _fit(word: str, size: int, *, pads: bool) -> str:
    filled = cells(word)
    if filled > size:
        kept, filled = "", 0
        for char in word:
            wide = cells(char)
            if filled + wide > size - 1:
                break
            kept, filled = kept + char, filled + wide
        word, filled = kept + "…", filled + 1
    return word + " " * (size - filled) if pads else word


def _tinted(word: str, name: str) -> str:
    return f"\x1b[{_CODES[name]}m{word}\x1b[0m" if name in _CODES else word


def _plain(value: object) -> object:
    """PyYAML represents exact types only: a Clean is written as the str it is."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _width() -> int | None:
    if not _is_terminal():
        return None
    import shutil

    return shutil.get_terminal_size((0, 0)).columns or None


def _write(words: str) -> None:
    if sys.stdout is None:
        # Closed by who started us (`>&-`): what cannot be said is no success.
        raise OSError(errno.EBADF, "stdout is closed")
    try:
        sys.stdout.write(words)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(words.replace("…", "...").encode(encoding, "backslashreplace").decode(encoding))
