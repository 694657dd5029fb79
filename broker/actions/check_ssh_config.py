"""Say what defeats or endangers our ssh aliases on this machine; changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker.actions.ask_ssh_config import Effective, effective, refusal
from broker.actions.check_own_ssh_config import INSTALL, own_findings
from broker.actions.guard_ssh_config import check_parents
from broker.actions.locate_ssh_config import Places, locate
from broker.actions.read_ssh_config import Contents, Unread, read_config, user_file
from broker.clean import Clean, clean
from broker.errors import BrokerError
from broker.paths.ssh_findings import SEVERITIES, Entry, Finding, aliases_named, find, finding_at, leads_to_us
from broker.paths.ssh_include import own_name

LIMIT_S: Final = 5.0
"""Seconds that all runs of `ssh -G` together may take."""
_SOCKET_LIMIT_BYTES: Final = 107
_ENDING_BYTES: Final = 17
"""What ssh puts behind the path while it makes a master's socket: with ControlMaster it ends with 255 past 90 (measured)."""
_LONGEST: Final = f"{'a' * 63}.{'b' * 63}.vm"
_SAMPLES: Final = ("sample.sample.vm", "sample.sample.VM", "sample.sample.vm.", "vm/sample/sample", "vmi/sample/sample")
_TROUBLES_LIMIT: Final = 3
_NO_FILE: Final = Path("none")
"""What ssh's -F takes for no file at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What `ssh -G` makes of an alias: `is_ours` None without an answer, `proxy` the line that it gives, "" for none."""

    alias: str
    is_ours: bool | None
    proxy: Clean


@dataclass(frozen=True, slots=True, kw_only=True)
class SshConfigCheck:
    """What was found: `file` is the user's, `own` ours; `unknown` names what could not be found out, one line each.

    Why it could not stands among the findings; `ways` are our samples and the names that the caller gave.
    """

    file: Path
    own: Path
    is_installed: bool
    findings: tuple[Finding, ...]
    unknown: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()

    @property
    def is_good(self) -> bool:
        """No finding defeats or endangers an alias, and everything could be looked at."""
        return not self.unknown and all(finding.severity == "note" for finding in self.findings)


def findings(
    file: Path | None = None,
    *,
    program: str = "ssh",
    names: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    limit_s: float = LIMIT_S,
) -> SshConfigCheck:
    """Check the user's file (None: ~/.ssh/config of the passwd entry, as ssh has it); blocks up to `limit_s` seconds.

    `program` is ssh.program of the settings, `names` aliases to try besides our samples (NAME.NAMESPACE.vm), `labels` what
    `refs.context_labels` gives today, None where no kubeconfig can be read. UsageError for a path that names no file.
    """
    path = file if file is not None else user_file()
    try:
        places = locate(path)
    except BrokerError as error:
        if error.exit_status == 2:
            raise
        unsafe = finding_at("unsafe-path", "defeats", path, error.message, error.cause or "", error.next_step or "")
        own = path.with_name(own_name(path.name))
        return SshConfigCheck(file=path, own=own, is_installed=False, findings=(unsafe,), unknown=(_what_ssh_makes(path),))
    contents = read_config(places.file, places.own)
    is_installed = any(entry.includes_own for entry in contents.entries)
    tried = tuple(dict.fromkeys((*_SAMPLES, *names, *aliases_named(contents.entries))))
    asked = _asked(program, (*tried, _LONGEST), places, contents, is_default=file is None, limit_s=limit_s)
    found = [
        *(_unread(each) for each in contents.unread),
        *_troubles(asked, places, contents.entries),
        *_safety(places),
        *own_findings(places, labels, is_installed=is_installed, has_masters=_has_masters(asked)),
        *find(contents.entries, tried, lost=lambda name: _is_lost(contents, asked.get(name), name)),
    ]
    too_long = list(_sockets(places, asked.get(_LONGEST)))
    found = [*_measured(found, too_long), *too_long]
    found.sort(key=lambda each: SEVERITIES.index(each.severity))
    is_answered = bool(asked) and not any(each.error for each in asked.values())
    return SshConfigCheck(
        file=places.file,
        own=places.own,
        is_installed=is_installed,
        findings=tuple(found),
        unknown=(
            *(f"what stands in {clean(each.file, 1024)}" for each in contents.unread),
            *([] if is_answered else [_what_ssh_makes(places.file)]),
        ),
        ways=tuple(_way(contents, asked.get(name), name) for name in dict.fromkeys((*_SAMPLES, *names))),
    )


def _what_ssh_makes(file: Path) -> str:
    return f"what ssh makes of {clean(file, 1024)}"


def _asked(
    program: str, names: Sequence[str], places: Places, contents: Contents, *, is_default: bool, limit_s: float
) -> dict[str, Effective]:
    """Every host word's answer; none where the user's own file is one that ssh would wait at (a pipe) or cannot open."""
    if not contents.entries and any(each.file == str(places.file) for each in contents.unread):
        return {}
    named = places.file if places.file.exists() else _NO_FILE
    return effective(program, names, file=None if is_default else named, limit_s=limit_s)


def _unread(each: Unread) -> Finding:
    why = "ssh may read there what we cannot see, or wait at it"
    return finding_at("config-unread", "defeats", each.file, each.why, why, "let it be a file that you may read")


def _troubles(asked: Mapping[str, Effective], places: Places, entries: Iterable[Entry]) -> Iterator[Finding]:
    """Why ssh gave no answer: each reason once, with the place that ssh names."""
    errors: dict[str, Effective] = {}
    for got in asked.values():
        if got.error is not None:
            errors.setdefault(got.error, got)
    for error, got in list(errors.items())[:_TROUBLES_LIMIT]:
        if got.trouble == "unusable":
            step = "install the package openssh-client, or set ssh.program (`vmbroker config show --origin`)"
            yield finding_at("ssh-unusable", "defeats", places.file, error, "no alias works without it", step)
        elif got.trouble == "late":
            waits = next((each for each in entries if each.line.keyword == "match" and "exec" in each.line.rest.lower()), None)
            step = "let that command end soon, or not run for our names: Match !originalhost *.vm exec …"
            place = places.file if waits is None else waits.place
            yield finding_at("ssh-silent", "defeats", place, error, "each ssh to an alias waits as long", step)
        else:
            told = refusal(error)
            step = "chmod go-w on it, and let it be yours" if "owner or permissions" in error else "mend that first"
            named = f"{told.file}:{told.line}" if told.file else places.file
            yield finding_at("ssh-refuses", "defeats", named, told.says, "ssh stops at it, before any alias", step)


def _is_lost(contents: Contents, got: Effective | None, name: str) -> bool | None:
    """Whether ssh takes another ProxyCommand than the one of our file; None where ssh gave no answer."""
    if got is None or got.error is not None:
        return None
    ours = [
        entry.line.rest
        for entry in contents.entries
        if entry.is_own and entry.line.keyword == "proxycommand" and entry.holds_for(name) is not False
    ]
    return got.options.get("proxycommand") not in ours


def _way(contents: Contents, got: Effective | None, name: str) -> Way:
    is_lost = _is_lost(contents, got, name)
    if got is None or is_lost is None:
        return Way(alias=name, is_ours=None, proxy=clean(""))
    key = next((key for key in ("proxyjump", "proxycommand") if got.options.get(key, "none") != "none"), None)
    proxy = f"{key} {got.options[key]}" if key is not None else ""
    return Way(alias=name, is_ours=not is_lost or leads_to_us(proxy), proxy=clean(proxy, 160))


def _safety(places: Places) -> Iterator[Finding]:
    for path in dict.fromkeys((places.real, places.own)):
        try:
            state = os.lstat(path)
        except OSError:
            continue
        if state.st_mode & 0o022 and stat.S_ISREG(state.st_mode):
            is_shared = _is_shared(state)
            yield finding_at(
                "writable-by-others",
                "danger" if is_shared else "note",
                path,
                f"its mode is {stat.S_IMODE(state.st_mode):04o}",
                "whoever may write it decides what your ssh runs; some ssh refuse it in ~/.ssh (Bad owner or permissions)"
                if is_shared
                else "its group has nobody else in it; some ssh refuse it in ~/.ssh all the same",
                f"chmod go-w {shlex.quote(str(path))}",
            )
    for folder in dict.fromkeys((places.file.parent, places.real.parent)):
        try:
            if folder.exists():
                check_parents(folder)
        except BrokerError as error:
            yield finding_at("unsafe-folder", "danger", folder, error.message, error.cause or "", error.next_step or "")


def _is_shared(state: os.stat_result) -> bool:
    """Whether somebody but the owner may write: everybody, or a group with another member (a group of one is Debian's way)."""
    if state.st_mode & 0o002:
        return True
    try:
        owner, group = pwd.getpwuid(state.st_uid), grp.getgrgid(state.st_gid)
    except KeyError:
        return True
    return set(group.gr_mem) - {owner.pw_name} != set() or (owner.pw_gid != group.gr_gid and not group.gr_mem)


def _has_masters(asked: Mapping[str, Effective]) -> bool:
    return any(_is_master(each) for each in asked.values())


def _is_master(got: Effective) -> bool:
    return got.options.get("controlmaster", "false") not in ("false", "no")


def _sockets(places: Places, got: Effective | None) -> Iterator[Finding]:
    """Case C-013: the socket's path for the longest legal alias."""
    if got is None or got.error is not None:
        return
    path = got.options.get("controlpath", "none")
    size = len(path.encode("utf-8", "surrogateescape"))
    limit = _SOCKET_LIMIT_BYTES - (_ENDING_BYTES if _is_master(got) else 0)
    if path != "none" and size > limit:
        yield finding_at(
            "controlpath-too-long",
            "danger",
            places.file,
            f"ControlPath has {size} bytes for the longest alias (63 + 63 characters)",
            f"ssh stops past {limit} (4 fewer on macOS): `ControlPath too long`, or 255 when it makes a master's socket",
            f"use %C instead of %h or %n; {INSTALL}, whose blocks do",
        )


def _measured(found: Sequence[Finding], too_long: list[Finding]) -> list[Finding]:
    """Let the line that names a long ControlPath stand for the measurement, where there is one."""
    lines = [finding for finding in found if finding.code == "controlpath-long"]
    if not (lines and too_long):
        return list(found)
    why = too_long.pop().what
    return [replace(each, severity="danger", why=clean(f"{why}: {each.why}")) if each is lines[0] else each for each in found]
