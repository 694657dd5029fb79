"""What is wrong with our own file beside a user's ssh configuration: missing, edited, outdated, naming what is gone."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from broker.actions.locate_ssh_config import Places
from broker.actions.read_ssh_config import read_bytes
from broker.actions.write_ssh_files import unsafe_folder
from broker.clean import clean, escaped
from broker.paths.ssh_blocks import Header, read_header
from broker.paths.ssh_findings import Finding, Severity, finding_at
from broker.paths.ssh_reading import Line, decode, read_lines

INSTALL: Final = "run `vmbroker ssh-config install`"


def own_findings(
    places: Places, labels: Mapping[str, str] | None, *, is_installed: bool, has_masters: bool
) -> Iterator[Finding]:
    """Judge our file: `labels` is what `refs.context_labels` gives today, None where no kubeconfig can be read.

    `has_masters` says that ssh makes ControlMaster sockets for our aliases.
    """
    own = places.own
    try:
        data = read_bytes(own)
    except OSError as error:
        yield finding_at("own-unreadable", "defeats", own, "our file cannot be read", error.strerror or "", INSTALL)
        return
    header = read_header(decode(data)) if data is not None else None
    if data is not None and header is None:
        why = "its first line is not ours, so nothing is known of its blocks, and install does not touch it"
        what = "this file was not written by vmbroker, or its first line was edited"
        yield finding_at("own-foreign", "danger", own, what, why, f"move it away, then {INSTALL}")
        return
    if not is_installed:
        why = "no Include in it reads our file" if data is not None else "our file is not there, and no Include reads it"
        yield finding_at("not-installed", "note", places.file, "the aliases are not installed", why, INSTALL)
    elif data is None or header is None:
        yield finding_at("own-missing", "defeats", own, "our file is not there", "ssh skips such an Include", INSTALL)
    else:
        yield from _contents(places, decode(data), header, labels, has_masters=has_masters)


def _contents(
    places: Places, text: str, header: Header, labels: Mapping[str, str] | None, *, has_masters: bool
) -> Iterator[Finding]:
    own = places.own
    if not header.is_unedited:
        why = "the next install writes it anew (and keeps this text beside it)"
        instead = "put your own blocks into your own file, and users and ports of VMs into [ssh.vms] of vmbroker.toml"
        yield finding_at("own-edited", "note", own, "our file has been edited", why, instead)
    if labels is not None and dict(header.labels) != dict(labels):
        missing = sorted(set(labels) - set(header.labels)) or sorted(set(header.labels) - set(labels)) or sorted(labels)
        why = f"for instance {escaped(missing[0])}" if missing else ""
        what = "the contexts of the kubeconfig are others than when it was written"
        yield finding_at("own-outdated", "danger", own, what, why, _again(header.options))
    lines = read_lines(text)
    yield from _programs(own, lines, header.options)
    if any(line.keyword == "controlpath" and line.value.lower() != "none" for line in lines):
        yield from _control(places, header.options, has_masters=has_masters)


def _programs(own: Path, lines: Sequence[Line], options: Sequence[str]) -> Iterator[Finding]:
    """Whether the program and the kubeconfigs that our ProxyCommands name are still there."""
    programs: set[str] = set()
    lists: set[tuple[str, ...]] = set()
    for command in {line.rest for line in lines if line.keyword == "proxycommand"}:
        try:
            words = [word.replace("%%", "%") for word in shlex.split(command)]
        except ValueError:
            continue
        if words[:1] == ["env"]:
            words.pop(0)
            while words and (value := words[0].removeprefix("KUBECONFIG=")) != words[0]:
                lists.add(tuple(filter(None, value.split(":"))))
                words.pop(0)
        programs |= set(words[:1])
        lists |= {(word.partition("=")[2],) for word in words if word.startswith("--kubeconfig=")}
    why, again = "our ProxyCommand names it", _again(options)
    for program in sorted(programs):
        if program.startswith("/") and not os.access(program, os.X_OK):
            yield finding_at("program-missing", "defeats", own, f"{clean(program, 1024)} is not there any more", why, again)
    for files in sorted(lists):
        gone = [file for file in files if not Path(file).exists()]
        for file in gone[:1]:
            severity: Severity = "defeats" if len(gone) == len(files) else "danger"
            yield finding_at("kubeconfig-gone", severity, own, f"{clean(file, 1024)} is not there any more", why, again)


def _control(places: Places, options: Sequence[str], *, has_masters: bool) -> Iterator[Finding]:
    """Whether the folder of our ControlPath is there, and nobody else's."""
    path = places.control
    try:
        state = os.lstat(path)
        owner = os.lstat(path.parent).st_uid
    except OSError:
        why = "with ControlMaster ssh ends after the login where it cannot make its socket; our ControlPath names this folder"
        severity: Severity = "defeats" if has_masters else "danger"
        yield finding_at("control-folder-gone", severity, path, "the folder of our sockets is not there", why, _again(options))
        return
    reason = unsafe_folder(state, owners={0, os.geteuid(), owner})
    if reason is not None:
        why = "another user, or another program's link, could put a socket there, and ssh would speak to it"
        is_open = stat.S_ISDIR(state.st_mode) and "written" in reason
        step = f"chmod go-w {shlex.quote(str(path))}" if is_open else f"take it away, then {_again(options)}"
        yield finding_at("control-folder-unsafe", "danger", path, f"the folder of our sockets {reason}", why, step)


def _again(options: Sequence[str]) -> str:
    return f"run `vmbroker ssh-config install{''.join(f' {option}' for option in options if option.startswith('--'))}`"
