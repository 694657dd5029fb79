"""Put our aliases into a user's ssh configuration and take them out again: proven by `ssh -G`, or not done at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.actions.locate_ssh_config import Places
from broker.actions.read_ssh_config import Effective, effective, read_config
from broker.actions.write_ssh_files import Folder, Snapshot, open_folder
from broker.clean import clean
from broker.errors import Failed, Refused, SettingsError
from broker.paths.openssh import alias_command
from broker.paths.ssh_blocks import Cluster, Layout, own_file, read_header, samples
from broker.paths.ssh_findings import winner
from broker.paths.ssh_include import install, remove
from broker.paths.ssh_reading import decode, read_line

BACKUP: Final = "before-vmbroker"
"""Ending of the one copy that is kept of a user's file as it was before us."""
EDITED: Final = "edited"
"""Ending of a copy of our own file that somebody had edited."""
_OTHERS_LIMIT: Final = 6
_INDENT: Final = 64
_CONTEXTS_LIMIT: Final = 64
_LIMIT_S: Final = 20.0


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
class Removed:
    """What removal did: `deleted` files, and `kept` ones with the reason."""

    places: Places
    is_changed: bool
    deleted: tuple[Path, ...] = ()
    kept: tuple[str, ...] = ()


def put_in(layout: Layout, places: Places, *, program: str) -> Installed:
    """Write our file and the one Include line, after `ssh -G` has shown on copies that both do what they should.

    Raises Refused for unsafe places, SettingsError where ssh itself refuses the user's file, Failed where the proof or a write
    fails; then every byte is as it was.
    """
    with _folders(places, makes=True) as (folder, beside):
        before, own_before = folder.read(places.real.name), beside.read(places.own.name)
        old = before.data or b""
        text = own_file(layout).encode("utf-8", "surrogateescape")
        _need_ours(places, own_before)
        saved = _save_edit(places, beside, own_before, text)
        others = _others(decode(old), layout)
        known = _baseline(folder, places, remove(old).data, others, program)
        if own_before.data != text:
            beside.replace(places.own.name, text, own_before, mode=0o600)
        own_now = beside.read(places.own.name)
        try:
            new = _proven(layout, places, folder, before, others, known, program)
            backup = _write(places, folder, before, new) if new != old or before.data is None else None
        except BaseException:
            _restore(places, beside, own_before, own_now)
            raise
        if layout.control_dir is not None:
            _make_control(places)
    return Installed(
        places=places,
        is_changed=new != old or before.data is None or own_before.data != text,
        proven=tuple(word for word, _ in _samples(layout)),
        compared=tuple(name for name in others if not known[name].error),
        uncompared=tuple(name for name in others if known[name].error),
        backup=backup,
        saved_edit=saved,
    )


def take_out(places: Places) -> Removed:
    """Take our line out of the user's file and delete our own; what the user has written since stays.

    Raises as `put_in` does.
    """
    deleted: list[Path] = []
    kept: list[str] = []
    if not places.real.parent.is_dir():
        return Removed(places=places, is_changed=False)
    with _folders(places, makes=False) as (folder, beside):
        before = folder.read(places.real.name)
        removal = remove(before.data or b"")
        rest = removal.data
        if before.data is not None and removal.count:
            if not rest and removal.was_made:
                folder.delete(places.real.name, before)
                deleted.append(places.real)
            else:
                folder.replace(places.real.name, rest, before)
        copy_name = f"{places.real.name}.{BACKUP}"
        copy = folder.read(copy_name)
        if copy.data is not None and removal.count and copy.data == rest:
            folder.delete(copy_name, copy)
            deleted.append(places.real.with_name(copy_name))
        elif copy.data is not None:
            kept.append(f"{clean(places.real.with_name(copy_name), 1024)} holds your file as it was before us")
        own = beside.read(places.own.name)
        header = read_header(decode(own.data)) if own.data is not None else None
        if own.data is not None and header is None:
            kept.append(f"{clean(places.own, 1024)} was not written by vmbroker")
        elif own.data is not None:
            saved = _save_edit(places, beside, own, b"")
            kept += [f"{clean(saved, 1024)} holds what somebody wrote into our file"] if saved else []
            beside.delete(places.own.name, own)
            deleted.append(places.own)
        kept += _remove_control(places)
    return Removed(places=places, is_changed=bool(removal.count or deleted), deleted=tuple(deleted), kept=tuple(kept))


@contextlib.contextmanager
def _folders(places: Places, *, makes: bool) -> Iterator[tuple[Folder, Folder]]:
    """The folder of the user's real file and that of ours, which is the same unless the user's file is a link."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_folder(places.real.parent, makes=makes))
        same = places.own.parent == places.real.parent
        yield folder, folder if same else stack.enter_context(open_folder(places.own.parent, makes=makes))


def _proven(
    layout: Layout,
    places: Places,
    folder: Folder,
    before: Snapshot,
    others: Sequence[str],
    known: dict[str, Effective],
    program: str,
) -> bytes:
    """The user's new bytes, tried on a copy; `%` in our path is doubled or not as this ssh reads it."""
    old = before.data or b""
    ways = (True, False) if "%" in str(places.own) else (True,)
    failure: Failed | None = None
    for doubles in ways:
        new = install(old, str(places.own), doubles_percent=doubles, makes=before.data is None)
        with _copy(folder, places, new) as copy:
            failure = _failure(layout, places, copy, others, known, program)
        if failure is None:
            return new
    raise failure or Failed("no way to write the Include was tried")


def _failure(
    layout: Layout, places: Places, copy: Path, others: Sequence[str], known: dict[str, Effective], program: str
) -> Failed | None:
    wanted = dict(_samples(layout))
    found = effective(program, (*wanted, *others), file=copy, limit_s=_LIMIT_S)
    for word, cluster in wanted.items():
        got = found[word]
        if got.error is not None or got.options.get("proxycommand") != alias_command(cluster.origin):
            return _not_ours(places, copy, word, got)
    for name in others:
        if known[name].error is None and found[name].text != known[name].text:
            return Failed(
                f"ssh would treat the host {clean(name)} otherwise than before",
                code="ssh-config-proof",
                cause=found[name].error or _difference(known[name], found[name]),
                next_step="nothing was changed; report this with your ssh's version",
            )
    return None


def _not_ours(places: Places, copy: Path, word: str, got: Effective) -> Failed:
    by = winner(read_config(copy, places.own).entries, word)
    place = f"{clean(places.file, 1024)}:{by.line.number - 2}" if by and by.file == str(copy) else (by.place if by else None)
    said = got.options.get("proxycommand") or got.options.get("proxyjump")
    return Failed(
        f"ssh would not use our ProxyCommand for {clean(word)}",
        code="ssh-config-proof",
        cause=f"{place} wins" if place else (got.error or f"ssh -G says {clean(said)}" if said else "ssh -G shows none"),
        next_step="nothing was changed; `vmbroker ssh-config check` lists what is in the way",
    )


def _difference(old: Effective, new: Effective) -> str:
    changed = sorted(key for key in {*old.options, *new.options} if old.options.get(key) != new.options.get(key))
    return clean("changed: " + ", ".join(changed[:4])) if changed else "the order of its options changed"


def _baseline(folder: Folder, places: Places, data: bytes, others: Sequence[str], program: str) -> dict[str, Effective]:
    with _copy(folder, places, data) as copy:
        known = effective(program, others, file=copy, limit_s=_LIMIT_S)
    refused = next((each.error for each in known.values() if each.error and "onfiguration option" in each.error), None)
    if refused is not None:
        named = refused.replace(copy.name, places.real.name)
        raise SettingsError(
            f"ssh refuses {clean(places.file, 1024)} as it is",
            code="ssh-config-broken",
            cause=clean(named, 512),
            next_step="mend that line first; nothing was changed",
        )
    return known


def _others(text: str, layout: Layout) -> tuple[str, ...]:
    """A sample of hosts that are not ours: one that no line names, and some that the user's Host lines do."""
    words = [
        word.replace("*", "x").replace("?", "x").lower()
        for raw in text.split("\n")
        if "host" in raw[:_INDENT].lower() and (line := read_line(raw)) is not None and line.keyword == "host"
        for word in line.words
        if word[:1] != "!" and word != "*"
    ]
    plain = [word for word in dict.fromkeys(words) if _is_other(word, layout)]
    step = max(1, len(plain) // (_OTHERS_LIMIT - 1))
    return ("example.com", *plain[::step][: _OTHERS_LIMIT - 1])


def _is_other(word: str, layout: Layout) -> bool:
    labels = word.rstrip(".").split(".")
    is_ours = "vm" in (labels[-1], *labels[-2:-1]) or (layout.has_virtctl_aliases and labels[0] in ("vm", "vmi"))
    return not is_ours and word.isascii() and word[:1] != "-" and all(char.isalnum() or char in ".-_" for char in word)


def _samples(layout: Layout) -> tuple[tuple[str, Cluster], ...]:
    return samples(layout)[: _CONTEXTS_LIMIT + 8]


@contextlib.contextmanager
def _copy(folder: Folder, places: Places, data: bytes) -> Iterator[Path]:
    fresh = folder.write_beside(places.real.name, data, None, lasts=False)
    try:
        yield folder.path / fresh
    finally:
        folder.discard(fresh)


def _write(places: Places, folder: Folder, before: Snapshot, new: bytes) -> Path | None:
    name = places.real.name
    backup = f"{name}.{BACKUP}"
    saved = before.data is not None and folder.save_once(backup, remove(before.data).data)
    try:
        folder.replace(name, new, before)
    except BaseException:
        if saved:
            folder.discard(backup)
        raise
    return places.real.with_name(backup) if saved else None


def _need_ours(places: Places, own: Snapshot) -> None:
    if own.data is not None and read_header(decode(own.data)) is None:
        raise Refused(
            f"{clean(places.own, 1024)} is there and was not written by vmbroker",
            code="ssh-config-foreign",
            next_step="move it away, then run this again",
        )


def _save_edit(places: Places, beside: Folder, own: Snapshot, new: bytes) -> Path | None:
    """Keep a copy of our file where somebody has edited it."""
    header = read_header(decode(own.data)) if own.data is not None else None
    if own.data is None or header is None or header.is_unedited or own.data == new:
        return None
    name = f"{places.own.name}.{EDITED}"
    beside.replace(name, own.data, beside.read(name), mode=0o600)
    return places.own.with_name(name)


def _restore(places: Places, beside: Folder, before: Snapshot, now: Snapshot) -> None:
    if before.data == now.data:
        return
    if before.data is None:
        beside.delete(places.own.name, now)
    else:
        beside.replace(places.own.name, before.data, now)


def _make_control(places: Places) -> None:
    with open_folder(places.control, makes=True):
        pass


def _remove_control(places: Places) -> list[str]:
    try:
        places.control.rmdir()
    except FileNotFoundError:
        return []
    except OSError as exc:
        return [f"{clean(places.control, 1024)}: {clean(exc.strerror)} (sockets of connections that are still open)"]
    return []
