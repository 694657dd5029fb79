"""Put our aliases into a user's ssh configuration: proven by `ssh -G`, or not done at all."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.actions.guard_ssh_config import check_readers
from broker.actions.keep_ssh_config import backup_name, edit_name, save_edit
from broker.actions.locate_ssh_config import Places
from broker.actions.prove_ssh_config import LIMIT_S, Proof, baseline
from broker.actions.write_ssh_files import Folder, Snapshot, open_folder
from broker.clean import clean
from broker.errors import BrokerError, Failed, Refused
from broker.paths.ssh_blocks import Layout, has_sockets, own_file, read_header
from broker.paths.ssh_include import install, remove
from broker.paths.ssh_reading import decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What installation did: `proven` host words lead to us by `ssh -G`, `compared` other hosts are as they were.

    `backup` is the copy of the user's file, None where one was not needed; `uncompared` hosts had no answer from ssh in time.
    """

    places: Places
    is_changed: bool
    proven: tuple[str, ...]
    compared: tuple[str, ...]
    uncompared: tuple[str, ...] = ()
    backup: Path | None = None
    saved_edit: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What stood there when we began, by which an installation that fails is undone."""

    user: Snapshot
    own: Snapshot
    names: frozenset[str]
    own_names: frozenset[str]


def put_in(layout: Layout, places: Places, *, program: str, limit_s: float = LIMIT_S) -> Installed:
    """Write our file and the one Include line, after `ssh -G` has shown on copies that both do what they should.

    All runs of `ssh -G` together take `limit_s` seconds at most.

    Raises Refused for unsafe places, SettingsError where ssh itself refuses the user's file, Failed where the proof or a write
    fails; then, and after any other exception, every byte is as it was.
    """
    check_readers(places.real)
    text = own_file(layout).encode("utf-8", "surrogateescape")
    with folders(places, makes=True) as (folder, beside):
        sweep(places, folder, beside)
        name = places.real.name
        before = _Before(
            user=folder.read(name),
            own=beside.read(places.own.name),
            names=folder.names(),
            own_names=beside.names(),
        )
        old = before.user.data or b""
        _need_ours(places, before.own)
        is_new = before.user.data is None
        new: bytes | None = None
        try:
            if has_sockets(layout):
                beside.make_folder(places.control.name)
            without = remove(old).data
            proof = baseline(layout, places, folder, without, decode(without), program=program, limit_s=limit_s)
            saved = save_edit(beside, places.own.name, before.own, text)
            if before.own.data != text:
                beside.replace(places.own.name, text, before.own, mode=0o600)
            new = _proven(proof, folder, old, is_new=is_new)
            backup = _write(places, folder, before.user, new) if new != old or is_new else None
        except BaseException:
            _undo(places, folder, beside, before, text, new)
            raise
    return Installed(
        places=places,
        is_changed=new != old or is_new or before.own.data != text,
        proven=proof.aliases,
        compared=proof.compared,
        uncompared=proof.uncompared,
        backup=backup,
        saved_edit=saved,
    )


@contextlib.contextmanager
def folders(places: Places, *, makes: bool) -> Iterator[tuple[Folder, Folder]]:
    """Open the folder of the user's real file and that of ours, which is the same unless the user's file is a link."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_folder(places.real.parent, makes=makes))
        same = places.own.parent == places.real.parent
        yield folder, folder if same else stack.enter_context(open_folder(places.own.parent, makes=makes))


def sweep(places: Places, folder: Folder, beside: Folder) -> None:
    """Take away what a run that was killed left half-written."""
    folder.sweep((places.real.name, backup_name(places.real.name)))
    beside.sweep((places.own.name,))


def _proven(proof: Proof, folder: Folder, old: bytes, *, is_new: bool) -> bytes:
    """The user's new bytes, tried on a copy; `%` in our path is doubled or not as this ssh reads it."""
    own = str(proof.places.own)
    failure: Failed | None = None
    for doubles in (True, False) if "%" in own else (True,):
        new = install(old, own, doubles_percent=doubles, makes=is_new)
        failure = proof.failure(folder, new)
        if failure is None:
            return new
    raise failure or Failed("no way to write the Include was tried")


def _write(places: Places, folder: Folder, before: Snapshot, new: bytes) -> Path | None:
    backup = backup_name(places.real.name)
    saved = before.data is not None and folder.save_once(backup, remove(before.data).data)
    folder.replace(places.real.name, new, before)
    return places.real.with_name(backup) if saved else None


def _need_ours(places: Places, own: Snapshot) -> None:
    if own.data is not None and read_header(decode(own.data)) is None:
        raise Refused(
            f"{clean(places.own, 1024)} is there and was not written by vmbroker, or its first line was edited",
            code="ssh-config-foreign",
            next_step="move it away, then run this again",
        )


def _undo(places: Places, folder: Folder, beside: Folder, before: _Before, text: bytes, new: bytes | None) -> None:
    """Put back what stood there, by what stands there now: an exception may have come between any two steps.

    Where the user's file has its new bytes already, everything is done, and stays.
    """
    sweep(places, folder, beside)
    if new is not None and new != before.user.data and _reads(folder, places.real.name) == new:
        return
    own = places.own.name
    now = beside.read(own)
    if now.data == text != before.own.data:
        if before.own.data is None or before.own.state is None:
            beside.delete(own, now)
        else:
            beside.replace(own, before.own.data, now, mode=stat.S_IMODE(before.own.state.st_mode))
    if (backup := backup_name(places.real.name)) not in before.names:
        folder.discard(backup)
    for name in beside.names() - before.own_names:
        if name.startswith(edit_name(own)):
            beside.discard(name)
    if places.control.name not in before.own_names:
        beside.discard_folder(places.control.name)


def _reads(folder: Folder, name: str) -> bytes | None:
    try:
        return folder.read(name).data
    except BrokerError:
        return None
