"""Take our aliases out of a user's ssh configuration again; what the user has written since stays."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from broker.actions.install_ssh_config import folders, sweep
from broker.actions.keep_ssh_config import backup_name, save_edit
from broker.actions.locate_ssh_config import Places
from broker.actions.read_ssh_config import home
from broker.actions.write_ssh_files import Folder
from broker.clean import clean
from broker.paths.ssh_blocks import read_header
from broker.paths.ssh_include import Removal, remove
from broker.paths.ssh_reading import decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What removal did: `lines` of ours taken out, `deleted` files, and `kept` ones with the reason, one line each.

    `has_file` says that the user's file was there.
    """

    places: Places
    has_file: bool = False
    lines: int = 0
    deleted: tuple[Path, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Something was taken away."""
        return bool(self.lines or self.deleted)


def take_out(places: Places) -> Removed:
    """Take our line out of the user's file and delete our own; each file is whole whenever this ends.

    Raises Refused for unsafe places and Failed where a write fails.
    """
    if not places.real.parent.is_dir():
        return Removed(places=places)
    with folders(places, makes=False) as (folder, beside):
        sweep(places, folder, beside)
        try:
            before = folder.read(places.real.name)
            removal = remove(before.data or b"", own=str(places.own), home=str(home()))
            deleted: list[Path] = []
            kept = [
                f"{clean(places.file, 1024)}:{line} still names our file, beside others: take that word out yourself"
                for line in removal.left
            ]
            if before.data is not None and removal.count:
                if not removal.data and removal.was_made:
                    folder.delete(places.real.name, before)
                    deleted.append(places.real)
                else:
                    folder.replace(places.real.name, removal.data, before)
            _drop_backup(places, folder, removal, deleted, kept)
            _drop_own(places, beside, deleted, kept)
            kept += _drop_control(places)
        except BaseException:
            sweep(places, folder, beside)
            raise
    return Removed(
        places=places,
        has_file=before.data is not None,
        lines=removal.count if before.data is not None else 0,
        deleted=tuple(deleted),
        kept=tuple(kept),
    )


def _drop_backup(places: Places, folder: Folder, removal: Removal, deleted: list[Path], kept: list[str]) -> None:
    name = backup_name(places.real.name)
    copy = folder.read(name)
    if copy.data is None:
        return
    if removal.count and copy.data == removal.data:
        folder.delete(name, copy)
        deleted.append(places.real.with_name(name))
    else:
        kept.append(f"{clean(places.real.with_name(name), 1024)} holds your file as it was before us")


def _drop_own(places: Places, beside: Folder, deleted: list[Path], kept: list[str]) -> None:
    own = beside.read(places.own.name)
    if own.data is None:
        return
    if read_header(decode(own.data)) is None:
        kept.append(f"{clean(places.own, 1024)} was not written by vmbroker, or its first line was edited")
        return
    saved = save_edit(beside, places.own.name, own, b"")
    kept += [f"{clean(saved, 1024)} holds what somebody wrote into our file"] if saved else []
    beside.delete(places.own.name, own)
    deleted.append(places.own)


def _drop_control(places: Places) -> list[str]:
    try:
        places.control.rmdir()
    except FileNotFoundError:
        return []
    except OSError as exc:
        why = " (sockets of connections that are still open)" if exc.errno in (errno.ENOTEMPTY, errno.EEXIST) else ""
        return [f"{clean(places.control, 1024)} stays: {clean(exc.strerror)}{why}"]
    return []
