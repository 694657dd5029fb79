"""Say what defeats or endangers our ssh aliases on this machine; changes nothing."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker.actions.locate_ssh_config import Places, locate
from broker.actions.read_ssh_config import Contents, Effective, effective, read_bytes, read_config, user_file
from broker.actions.write_ssh_files import check_parents
from broker.clean import clean, escaped
from broker.errors import BrokerError
from broker.paths.ssh_blocks import read_header
from broker.paths.ssh_findings import SEVERITIES, Finding, Severity, aliases_named, find
from broker.paths.ssh_reading import decode

LIMIT_S: Final = 5.0
"""Seconds that all runs of `ssh -G` together may take."""
_SOCKET_LIMIT_BYTES: Final = 107
_ENDING_BYTES: Final = 17
"""What ssh puts behind the path while it makes a master's socket."""
_LONGEST: Final = f"{'a' * 63}.{'b' * 63}.vm"
_SAMPLES: Final = ("sample.sample.vm", "sample.sample.VM", "sample.sample.vm.", "vm/sample/sample", "vmi/sample/sample")
_INSTALL: Final = "run `vmbroker ssh-config install`"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshConfigCheck:
    """What was found: `file` is the user's, `own` ours; `unknown` names what could not be found out, one line each."""

    file: Path
    own: Path
    is_installed: bool
    findings: tuple[Finding, ...]
    unknown: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """No finding defeats or endangers an alias."""
        return all(finding.severity == "note" for finding in self.findings)


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
    `refs.context_labels` gives today, None where no kubeconfig can be read. Raises nothing: what fails stands in `unknown`.
    """
    path = file if file is not None else user_file()
    try:
        places = locate(path)
    except BrokerError as error:
        own = path.with_name("vmbroker.conf")
        unsafe = _finding("unsafe-path", "defeats", path, error.message, error.cause or "", error.next_step or "")
        return SshConfigCheck(file=path, own=own, is_installed=False, findings=(unsafe,))
    contents = read_config(places.file, places.own)
    is_installed = any(entry.includes_own for entry in contents.entries)
    tried = tuple(dict.fromkeys((*_SAMPLES, *names, *aliases_named(contents.entries))))
    asked = effective(program, (*tried, _LONGEST), file=None if file is None else places.file, limit_s=limit_s)
    broken = next((each.error for each in asked.values() if each.error), None)
    found = [
        *_safety(places),
        *_own_file(places, labels, is_installed=is_installed),
        *find(contents.entries, tried, lost=lambda name: _is_lost(contents, asked[name], name)),
    ]
    too_long = list(_sockets(places, asked[_LONGEST]))
    found = [*_measured(found, too_long), *too_long]
    found.sort(key=lambda each: SEVERITIES.index(each.severity))
    return SshConfigCheck(
        file=places.file,
        own=places.own,
        is_installed=is_installed,
        findings=tuple(found),
        unknown=(*contents.unread, *([f"what ssh makes of it: {broken}"] if broken else [])),
    )


def _is_lost(contents: Contents, got: Effective, name: str) -> bool | None:
    """Whether ssh takes another ProxyCommand than the one of our file; None where ssh gave no answer."""
    if got.error is not None:
        return None
    ours = [
        entry.line.rest
        for entry in contents.entries
        if entry.is_own and entry.line.keyword == "proxycommand" and entry.holds_for(name) is not False
    ]
    return got.options.get("proxycommand") not in ours


def _safety(places: Places) -> Iterator[Finding]:
    for path in dict.fromkeys((places.real, places.own)):
        try:
            state = os.lstat(path)
        except OSError:
            continue
        if state.st_mode & 0o022 and not stat.S_ISLNK(state.st_mode):
            yield _finding(
                "writable-by-others",
                "defeats",
                path,
                f"its mode is {stat.S_IMODE(state.st_mode):04o}",
                "ssh refuses a configuration that group or others may write (Bad owner or permissions)",
                f"chmod go-w {shlex.quote(str(path))}",
            )
    for folder in dict.fromkeys((places.file.parent, places.real.parent)):
        try:
            if folder.exists():
                check_parents(folder)
        except BrokerError as error:
            yield _finding("unsafe-folder", "danger", folder, error.message, error.cause or "", error.next_step or "")


def _own_file(places: Places, labels: Mapping[str, str] | None, *, is_installed: bool) -> Iterator[Finding]:
    try:
        data = read_bytes(places.own)
    except OSError as error:
        yield _finding("own-unreadable", "defeats", places.own, "our file cannot be read", error.strerror or "", _INSTALL)
        return
    if not is_installed:
        why = "no Include in it reads our file" if data is not None else "our file is not there, and no Include reads it"
        yield _finding("not-installed", "note", places.file, "the aliases are not installed", why, _INSTALL)
        return
    if data is None:
        yield _finding("own-missing", "defeats", places.own, "our file is not there", "ssh skips such an Include", _INSTALL)
        return
    header = read_header(decode(data))
    if header is None:
        why = "its first line is not ours, so nothing is known of its blocks"
        yield _finding("own-foreign", "danger", places.own, "the included file was not written by vmbroker", why, _INSTALL)
        return
    if not header.is_unedited:
        why = "the next install writes it anew (and keeps this text beside it)"
        instead = "put your own blocks into your own file, above the Include where they must win"
        yield _finding("own-edited", "note", places.own, "our file has been edited", why, instead)
    if labels is not None and dict(header.labels) != dict(labels):
        missing = sorted(set(labels) - set(header.labels)) or sorted(set(header.labels) - set(labels)) or sorted(labels)
        why = f"for instance {escaped(missing[0])}" if missing else ""
        yield _finding(
            "own-outdated",
            "danger",
            places.own,
            "the contexts of the kubeconfig are others than when it was written",
            why,
            _again(header.options),
        )
    yield from _programs(places, decode(data), header.options)


def _programs(places: Places, text: str, options: Sequence[str]) -> Iterator[Finding]:
    """Whether the program and the kubeconfig that our ProxyCommands name are still there."""
    missing: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword != "ProxyCommand":
            continue
        try:
            words = [word.replace("%%", "%") for word in shlex.split(rest)]
        except ValueError:
            continue
        if words and words[0].startswith("/") and not os.access(words[0], os.X_OK):
            missing.setdefault("program-missing", words[0])
        for word in words:
            name, _, value = word.partition("=")
            if name == "--kubeconfig" and not Path(value).exists():
                missing.setdefault("kubeconfig-gone", value)
    for code, path in missing.items():
        why = "our ProxyCommand names it"
        yield _finding(code, "defeats", places.own, f"{clean(path, 1024)} is not there any more", why, _again(options))


def _sockets(places: Places, got: Effective) -> Iterator[Finding]:
    """Case C-013: the socket's path for the longest legal alias."""
    path = got.options.get("controlpath", "none")
    size = len(path.encode("utf-8", "surrogateescape"))
    is_master = got.options.get("controlmaster", "false") not in ("false", "no")
    limit = _SOCKET_LIMIT_BYTES - (_ENDING_BYTES if is_master else 0)
    if got.error is None and path != "none" and size > limit:
        yield _finding(
            "controlpath-too-long",
            "danger",
            places.file,
            f"ControlPath has {size} bytes for the longest alias (63 + 63 characters)",
            f"ssh stops with `ControlPath too long` past {limit} (4 fewer on macOS), before our ProxyCommand starts",
            f"use %C instead of %h or %n; {_INSTALL}, whose blocks do",
        )


def _measured(found: Sequence[Finding], too_long: list[Finding]) -> list[Finding]:
    """Let the line that names a long ControlPath stand for the measurement, where there is one."""
    lines = [finding for finding in found if finding.code == "controlpath-long"]
    if not (lines and too_long):
        return list(found)
    why = too_long.pop().what
    return [replace(each, severity="danger", why=clean(f"{why}: {each.why}")) if each is lines[0] else each for each in found]


def _again(options: Sequence[str]) -> str:
    return f"run `vmbroker ssh-config install{''.join(f' {option}' for option in options if option.startswith('--'))}`"


def _finding(code: str, severity: Severity, path: Path, what: str, why: str, instead: str) -> Finding:
    return Finding(
        code=code, severity=severity, place=clean(path, 1024), what=clean(what), why=clean(why), instead=clean(instead)
    )
