"""What a command and a flag are, and the values that rows of the command table share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Reading = Literal["plain", "ssh", "copy", "raw"]
"""How the words after a command are read: as flags and operands; until the remote command begins; with the options of
scp or sftp between; or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: `metavar` None takes no value, `repeats` collects every value, `choices` limits them."""

    names: tuple[str, ...]
    dest: str
    help: str
    metavar: str | None = None
    repeats: bool = False
    choices: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: `module` under broker.cli has `run`; at least `least` and at most `most` operands (None: no bound).

    `formats` are the values of -o that it knows; commands without a table of their own take -o json for their errors.
    """

    name: str
    group: str
    summary: str
    module: str
    usage: str
    operands: tuple[tuple[str, str], ...] = ()
    least: int = 0
    most: int | None = 0
    flags: tuple[Flag, ...] = ()
    formats: tuple[str, ...] = ("table", "json")
    reading: Reading = "plain"
    foreign_plain: str = ""
    foreign_valued: str = ""
    statuses: tuple[int, ...] = (0, 2)
    text: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    hidden: bool = False


READING: Final = (0, 1, 2, 3, 4, 5, 6)
FORMATS: Final = ("table", "wide", "json", "yaml", "name")
USER: Final = Flag(
    names=("-l", "--user"), dest="user", metavar="USER", help="guest user; `USER@` before the target is the same"
)
PORT: Final = Flag(names=("-p", "--port"), dest="port", metavar="PORT", help="SSH port of the guest")
TARGET: Final = (
    "TARGET",
    "a VM: NAME, vm/NAME[/NAMESPACE], vmi/NAME[/NAMESPACE] or NAME.NAMESPACE.vm[.CONTEXT]",
)
