"""Read a user's ssh configuration as ssh does: the file and, in place, what it includes."""

from __future__ import annotations

import glob
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.clean import clean
from broker.paths.ssh_findings import Entry
from broker.paths.ssh_include import names_path
from broker.paths.ssh_reading import Condition, Line, decode, placed, read_lines

SIZE_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Of one file; a larger one is not read."""
_DEPTH_LIMIT: Final = 16
_FILES_LIMIT: Final = 1000
_TOO_MANY: Final = f"more than {_FILES_LIMIT} files are included"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A file that could not be read, and why, one clean line."""

    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that ssh would read from a user's file on, in its order; `unread` are files that could not be read."""

    entries: tuple[Entry, ...]
    unread: tuple[Unread, ...] = ()


def user_file() -> Path:
    """Return ~/.ssh/config as ssh finds it: by the passwd entry, not by HOME."""
    return home() / ".ssh" / "config"


def read_bytes(path: Path) -> bytes | None:
    """Return a regular file's bytes; None where there is none. OSError where it cannot be read, or is too large or no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode) or state.st_size > SIZE_LIMIT_BYTES:
        os.close(fd)
        raise OSError(0, "it is no regular file" if not stat.S_ISREG(state.st_mode) else "it is larger than 16 MiB")
    with os.fdopen(fd, "rb") as file:
        return file.read(SIZE_LIMIT_BYTES)


def read_config(path: Path, own: Path) -> Contents:
    """Read a file and, in place, what it includes (16 deep, 1000 files); directives of `own` are marked as ours."""
    unread: list[Unread] = []
    budget = [_FILES_LIMIT]
    entries = tuple(_entries(path, own, (), 0, budget, unread))
    return Contents(entries=entries, unread=tuple(unread))


def home(uid: int | None = None) -> Path:
    """Return the home of a user (None: ours) by the passwd entry, as ssh takes it; HOME where there is no entry."""
    try:
        return Path(pwd.getpwuid(os.getuid() if uid is None else uid).pw_dir)
    except KeyError:  # a container's made-up uid: ssh itself refuses to run there
        return Path(os.environ.get("HOME") or "/")


def _entries(
    path: Path, own: Path, outer: tuple[Condition, ...], depth: int, budget: list[int], unread: list[Unread]
) -> Iterator[Entry]:
    budget[0] -= 1
    if budget[0] < 0:
        if not any(each.why == _TOO_MANY for each in unread):
            unread.append(Unread(file=str(path), why=_TOO_MANY))
        return
    if depth and path.is_dir():
        return  # an Include's glob takes folders along, and ssh reads nothing in them
    try:
        data = read_bytes(path)
    except OSError as exc:
        unread.append(Unread(file=str(path), why=clean(exc.strerror)))
        return
    is_own = _same(path, own)
    for each in placed(read_lines(decode(data or b""))):
        conditions = (*outer, each.condition) if each.condition.kind else outer
        line = each.line
        names = _included(line) if line.keyword == "include" else []
        # Where our file is gone, the word still says that this line is its Include.
        includes_own = any(_same(name, own) for name in names) or (
            line.keyword == "include" and any(names_path(word, str(own)) for word in line.words)
        )
        yield Entry(file=str(path), line=line, conditions=conditions, is_own=is_own, includes_own=includes_own)
        if depth < _DEPTH_LIMIT:
            for name in names:
                yield from _entries(name, own, conditions, depth + 1, budget, unread)


def _included(line: Line) -> list[Path]:
    place = home()
    found: list[Path] = []
    for word in line.words:
        pattern = str(place) + word[1:] if word == "~" or word.startswith("~/") else word
        pattern = pattern if pattern.startswith("/") else f"{glob.escape(str(place))}/.ssh/{pattern}"
        found += [Path(name) for name in _globbed(pattern)]
    return found


def _globbed(pattern: str) -> list[str]:
    """Expand as glob(3): a backslash makes the next character plain, and so does a doubled `%` of new clients."""
    plain = "".join(f"[{part[1]}]" if part[:1] == "\\" and len(part) > 1 else part for part in _parts(pattern))
    found = sorted(glob.iglob(plain))[:_FILES_LIMIT]  # noqa: PTH207  # a pattern of somebody else, absolute
    return found or sorted(glob.iglob(plain.replace("%%", "%")))[:_FILES_LIMIT]  # noqa: PTH207


def _parts(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        size = 2 if pattern[at] == "\\" and at + 1 < len(pattern) else 1
        yield pattern[at : at + size]
        at += size


def _same(path: Path, own: Path) -> bool:
    return path == own or os.path.realpath(path) == os.path.realpath(own)
