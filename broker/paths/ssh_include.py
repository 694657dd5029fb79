"""The one line that makes a user's ssh_config read our file: put in and taken out again, byte for byte. **Pure.**"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.errors import Refused
from broker.paths.ssh_reading import decode, read_line

OWN_NAME: Final = "vmbroker.conf"
"""Name of our own file beside the user's `config`; beside a file of another name it is NAME.vmbroker.conf."""
_MARK: Final = b"# vmbroker: the next line is ours; `vmbroker ssh-config remove` takes both away"
_MADE: Final = b"# vmbroker: the file and the next line are ours; `vmbroker ssh-config remove` takes them away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A user's file without our lines: how many there were, and whether the whole file was made by us.

    `left` are the lines of `data`, from 1, that still name our file beside others.
    """

    data: bytes
    count: int
    was_made: bool
    left: tuple[int, ...] = ()


def own_name(file_name: str) -> str:
    """Return the name of our file beside a user's file of this name."""
    return OWN_NAME if file_name == "config" else f"{file_name}.{OWN_NAME}"


def include_line(path: str, *, doubles_percent: bool) -> str:
    """Return `Include "PATH"` with an absolute path as ssh's quotes and glob(3) read it literally.

    `doubles_percent` suits OpenSSH from 9.9 on, which expands tokens there (ssh_config(5), Include). Refused for a path that
    cannot be written so: a line end, a NUL, or `${`.
    """
    if not path.startswith("/"):
        raise Refused("our file's path is not absolute", next_step="name the user's file by an absolute path with --file")
    if any(char in path for char in "\n\r\0") or "${" in path:
        raise Refused(
            "the path of the ssh configuration holds a line end or '${', which no Include line can carry",
            code="ssh-config-path",
            next_step="name a file in another folder with --file",
        )
    globbed = "".join(f"\\{char}" if char in "*?[]\\" else char for char in path)
    quoted = globbed.replace("\\", "\\\\").replace('"', '\\"')
    return f'Include "{quoted.replace("%", "%%") if doubles_percent else quoted}"'


def names_path(word: str, path: str, *, home: str | None = None) -> bool:
    """Say whether an Include's word is a way of writing this path, with or without the signs of glob(3) escaped.

    With `home`, `~/` and a relative word are read as ssh does (ssh_config(5), Include: ~/.ssh).
    """
    if home is not None and not word.startswith("/"):
        word = f"{home}{word[1:]}" if word.startswith("~/") else f"{home}/.ssh/{word}"
    globbed = "".join(f"\\{char}" if char in "*?[]\\" else char for char in path)
    return word in (path, globbed, globbed.replace("%", "%%"))


def install(data: bytes, path: str, *, doubles_percent: bool, makes: bool = False) -> bytes:
    """Return the user's bytes with our two lines before everything else; the same bytes where they already stand right.

    Right is: once, with this path, and no directive before them. `makes` says that the file did not exist.
    """
    removal = remove(data)
    line = include_line(path, doubles_percent=doubles_percent)
    if removal.count == 1 and _is_first(data, line):
        return data
    mark = _MADE if makes or removal.was_made else _MARK
    end = b"\r\n" if removal.data.partition(b"\n")[0].endswith(b"\r") else b"\n"
    return mark + end + line.encode("utf-8", "surrogateescape") + end + removal.data


def remove(data: bytes, *, own: str | None = None, home: str | None = None) -> Removal:
    """Return the user's bytes without our lines, wherever they stand now; a marked line that is no Include of ours stays.

    With `own`, the path of our file, an Include without our mark that names it alone goes too; `home` as in `names_path`.
    """
    if own is None and _MARK not in data and _MADE not in data:
        return Removal(data=data, count=0, was_made=False)
    kept: list[bytes] = []
    left: list[int] = []
    count, was_made, is_marked = 0, False, False
    for raw in _lines(data):
        bare = raw.rstrip(b"\r\n")
        if bare in (_MARK, _MADE):
            count, was_made, is_marked = count + 1, was_made or bare == _MADE, True
            continue
        words = _included(bare)
        named = [own is not None and names_path(word, own, home=home) for word in words]
        if not (is_marked and len(words) == 1 and words[0].endswith(OWN_NAME)):
            if named == [True]:
                count += not is_marked
                continue
            kept.append(raw)
            left += [len(kept)] if any(named) else []
        is_marked = False
    return Removal(data=b"".join(kept), count=count, was_made=was_made, left=tuple(left))


def _lines(data: bytes) -> list[bytes]:
    """Lines as ssh has them: they end at a line feed only."""
    whole = data.split(b"\n")
    return [each + b"\n" for each in whole[:-1]] + whole[-1:]


def _included(raw: bytes) -> tuple[str, ...]:
    """The words of an Include line; none for any other line."""
    if b"nclude" not in raw.lower():
        return ()
    line = read_line(decode(raw))
    return line.words if line is not None and line.keyword == "include" else ()


def _is_first(data: bytes, line: str) -> bool:
    first = next((found for raw in _lines(data) if (found := read_line(decode(raw))) is not None), None)
    wanted = read_line(line)
    return first is not None and wanted is not None and (first.keyword, first.words) == (wanted.keyword, wanted.words)
