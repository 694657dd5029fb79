"""The copies that we keep beside a user's ssh configuration: their file as it was before us, and what somebody wrote into ours.

Their names begin with a dot, since glob(3)'s `*` in an Include would make them live.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from broker.actions.write_ssh_files import Folder, Snapshot
from broker.clean import clean
from broker.errors import Refused
from broker.paths.ssh_blocks import read_header
from broker.paths.ssh_reading import decode

_EDITS_LIMIT: Final = 99


def backup_name(name: str) -> str:
    """Return the name of the one copy of a user's file as it was before us."""
    return f".{name}.before-vmbroker"


def edit_name(name: str, number: int = 1) -> str:
    """Return the name of a copy of our own file that somebody had edited; `number` counts from 1."""
    return f".{name}.edited" if number == 1 else f".{name}.edited-{number}"


def save_edit(folder: Folder, name: str, own: Snapshot, new: bytes) -> Path | None:
    """Keep our file where somebody has edited it and `new` would replace that; None where there is nothing to keep.

    Each edit has a copy of its own; Refused past 99 of them.
    """
    header = read_header(decode(own.data)) if own.data is not None else None
    if own.data is None or header is None or header.is_unedited or own.data == new:
        return None
    for number in range(1, _EDITS_LIMIT + 1):
        kept = edit_name(name, number)
        if folder.save_once(kept, own.data) or folder.read(kept).data == own.data:
            return folder.path / kept
    raise Refused(
        f"{clean(folder.path / name, 1024)} has been edited, and {_EDITS_LIMIT} earlier edits are kept beside it",
        code="ssh-config-edits",
        next_step=f"take away what you need no more: {clean(folder.path / edit_name(name), 1024)} and the like",
    )
