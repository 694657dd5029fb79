"""What in a user's ssh configuration defeats our blocks or is dangerous beside them, as findings. **Pure.**

First value wins: what stands before our blocks and holds for an alias takes their place, what stands after adds to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.clean import Clean, clean
from broker.paths.ssh_commands import runs_host_in_shell, targets_dotted_virtctl
from broker.paths.ssh_reading import Condition, Line, holds

Severity = Literal["defeats", "danger", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("defeats", "danger", "note")
"""From what keeps an alias from working, through what weakens it, to what is only good to know."""

_PROXIES: Final = ("proxycommand", "proxyjump")
_COMMANDS: Final = ("proxycommand", "localcommand", "knownhostscommand")
_PER_HOST: Final = re.compile(r"%[hn]")
_ALIAS: Final = re.compile(r"[A-Za-z0-9.-]+\.(?:vm|VM)(?:\.[A-Za-z0-9-]+)?\.?\Z|vmi?/[A-Za-z0-9./-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found: `place` is FILE:LINE or FILE, `what` names it, `why` its effect, `instead` what to write or run."""

    code: str
    severity: Severity
    place: Clean
    what: Clean
    why: Clean
    instead: Clean

    def as_json(self) -> dict[str, object]:
        """The finding as an item of `kind: SshConfigCheck`."""
        return {
            "code": self.code,
            "severity": self.severity,
            "place": self.place,
            "what": self.what,
            "why": self.why,
            "instead": self.instead,
        }


def finding_at(code: str, severity: Severity, place: object, what: str, why: str, instead: str) -> Finding:
    """Make a finding about a place; every text is cleaned here."""
    return Finding(
        code=code, severity=severity, place=clean(place, 1024), what=clean(what), why=clean(why), instead=clean(instead, 1200)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One directive where ssh reads it: its file, the blocks it stands in (outer ones first), whether the file is ours.

    `includes_own` says that it is an Include that reads our file.
    """

    file: str
    line: Line
    conditions: tuple[Condition, ...] = ()
    is_own: bool = False
    includes_own: bool = False

    @property
    def place(self) -> Clean:
        """FILE:LINE."""
        return clean(f"{self.file}:{self.line.number}", 1024)

    def holds_for(self, name: str) -> bool | None:
        """Say whether it counts for a host word; None where that hangs on more than the word."""
        said = [holds(condition, name) for condition in self.conditions]
        return False if False in said else (None if None in said else True)


def aliases_named(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return host words of our forms that the user's own Host lines name or match, to try beside the samples."""
    words = {
        word.replace("*", "sample").replace("?", "x")
        for entry in entries
        if not entry.is_own and entry.line.keyword == "host"
        for word in entry.line.words
        if not word.startswith("!")
    }
    return tuple(sorted(word for word in words if _ALIAS.match(word)))[:64]


def find(entries: Sequence[Entry], names: Sequence[str], *, lost: Callable[[str], bool | None]) -> tuple[Finding, ...]:
    """Return what the lines themselves show for these host words, in the order of severity, then of the files.

    `lost` says of a host word whether ssh takes another ProxyCommand than ours; None where ssh could not be asked.
    """
    found = [
        *_includes(entries),
        *_winners(entries, names, lost),
        *_rewriting(entries, names),
        *_commands(entries),
        *_host_keys(entries, names),
    ]
    distinct = {(each.code, each.place): each for each in reversed(found)}
    ordered = [each for each in found if distinct[(each.code, each.place)] is each]
    return tuple(sorted(ordered, key=lambda each: SEVERITIES.index(each.severity)))


def winner(entries: Sequence[Entry], name: str) -> Entry | None:
    """Return the line before our block that ssh takes its proxy from for a host word; None where no line does."""
    for entry in entries:
        if entry.holds_for(name) is False:
            continue
        if entry.is_own and entry.line.keyword == "proxycommand":
            return None
        if entry.line.keyword in _PROXIES and not (entry.line.keyword == "proxyjump" and entry.line.value.lower() == "none"):
            return None if entry.is_own else entry
    return None


def leads_to_us(command: str) -> bool:
    """Say whether a ProxyCommand runs `vmbroker proxy`, written by us or by hand."""
    return re.search(r"(?:vmbroker|broker\.main)\b.*\bproxy\b", command) is not None


def _includes(entries: Sequence[Entry]) -> Iterator[Finding]:
    reading = [entry for entry in entries if entry.includes_own]
    is_read = False
    for entry in reading:
        block = next((each for each in entry.conditions if each.words not in (("*",), ("all",))), None)
        is_read = is_read or block is None
        if block is not None:
            yield _finding(
                "include-conditional",
                "note" if is_read else "defeats",
                entry,
                what=f"our file is included inside `{block.kind.title()} {' '.join(block.words)}` (line {block.number})",
                why="ssh reads it for those hosts only",
                instead="run `vmbroker ssh-config install`, which puts the Include before any Host or Match",
            )
    first = next((entry for entry in entries if not entry.is_own and not entry.includes_own), None)
    if reading and first is not None and entries.index(first) < entries.index(reading[0]):
        yield _finding(
            "include-not-first",
            "note",
            reading[0],
            what="our Include is not the first directive",
            why=f"what stands before it (from {first.place}) wins over our blocks",
            instead="run `vmbroker ssh-config install`, which moves it up",
        )


def _winners(entries: Sequence[Entry], names: Sequence[str], lost: Callable[[str], bool | None]) -> Iterator[Finding]:
    is_installed = any(entry.is_own for entry in entries)
    for name in names:
        by = winner(entries, name)
        is_lost = lost(name) if is_installed else None
        if by is None or _is_ours(by) or (is_installed and is_lost is False):
            continue
        yield _finding(
            "earlier-proxy",
            "defeats" if is_installed else "note",
            by,
            what=f"{_shown(by.line)} wins for {clean(name)}",
            why=(
                "ssh takes the first ProxyCommand or ProxyJump that it reads"
                if is_installed
                else "it would win over a block of ours that stood after it; `install` puts ours before it"
            ),
            instead="put our Include before it: `vmbroker ssh-config install`",
        )


def _rewriting(entries: Sequence[Entry], names: Sequence[str]) -> Iterator[Finding]:
    """What renames a host or its key: before our block it counts, after it only what our block leaves open."""
    is_installed = any(entry.is_own for entry in entries)
    for name in names:
        ours = next((at for at, e in enumerate(entries) if e.is_own and e.holds_for(name) is not False), len(entries))
        seen: set[str] = set()
        for at, entry in enumerate(entries):
            line = entry.line
            if entry.is_own or line.keyword in seen or entry.holds_for(name) is False:
                continue
            seen.add(line.keyword)
            yield from _rewritten(entry, is_before=is_installed and at < ours, is_after=is_installed and at > ours)


def _rewritten(entry: Entry, *, is_before: bool, is_after: bool) -> Iterator[Finding]:
    line, value = entry.line, entry.line.value
    if line.keyword == "hostname" and value not in ("%h", "%n"):
        yield _finding(
            "hostname-rewritten",
            "danger" if is_before else "note",
            entry,
            what=f"{_shown(line)} renames our aliases",
            why=(
                "the host key is kept under another name, and a ProxyCommand with %h would get that name"
                if is_before
                else "our blocks keep it away by `HostName %h`"
                if is_after
                else "without our blocks before it, an alias would go to DNS under that name"
            ),
            instead="put our Include before it, or leave our names out: Host * !*.vm !*.vm.* !vm/* !vmi/*",
        )
    elif line.keyword == "hostkeyalias" and any(_is_broad(condition) for condition in entry.conditions or (Condition(),)):
        yield _finding(
            "hostkeyalias-shared",
            "danger",
            entry,
            what=f"{_shown(line)} holds for many hosts",
            why="all VMs share one name in known_hosts (HostKeyAlias takes no tokens): the second one looks like an attack",
            instead="leave our names out: Host * !*.vm !*.vm.* !vm/* !vmi/*",
        )
    elif line.keyword == "controlpath" and not is_after and "%C" not in value and _PER_HOST.search(value):
        yield _finding(
            "controlpath-long",
            "danger" if is_before else "note",
            entry,
            what=f"{_shown(line)} grows with the VM's name",
            why="a socket's path has at most 107 bytes (103 on macOS), 90 with ControlMaster (86): past that ssh stops",
            instead="use %C: ControlPath ~/.ssh/%C",
        )
    elif line.keyword == "canonicalizehostname" and value.lower() in ("yes", "always") and not is_after:
        yield _finding(
            "canonicalized",
            "danger" if is_before else "note",
            entry,
            what=f"{_shown(line)} looks our aliases up in DNS",
            why="a name that DNS knows replaces the alias before our block is read again"
            if is_before
            else "our blocks turn it off",
            instead="put our Include before it",
        )
    elif line.keyword == "proxyusefdpass" and value.lower() == "yes" and not is_after:
        yield _finding(
            "fdpass",
            "defeats" if is_before else "note",
            entry,
            what="ProxyUseFdpass yes holds for our aliases",
            why="ssh then waits for a file descriptor, and our ProxyCommand copies bytes",
            instead="put our Include before it",
        )


def _commands(entries: Sequence[Entry]) -> Iterator[Finding]:
    for entry in entries:
        line = entry.line
        if entry.is_own or line.keyword not in (*_COMMANDS, "match"):
            continue
        command = _executed(line)
        if targets_dotted_virtctl(command, [word for each in entry.conditions for word in each.words]):
            yield _finding(
                "dotted-virtctl-target",
                "danger",
                entry,
                what="virtctl is given NAME.NAMESPACE",
                why="since 1.7 (kubevirt.io) virtctl takes the dot for a part of the name, and looks in the current namespace",
                instead="write vm/NAME/NAMESPACE, or use the alias NAME.NAMESPACE.vm",
            )
        if runs_host_in_shell(command):
            yield _finding(
                "shell-on-host-name",
                "danger",
                entry,
                what=f"{line.keyword} hands the host word to a shell",
                why="a host word with shell characters runs as a command (old ssh clients check no name, CVE-2023-51385)",
                instead="use the alias NAME.NAMESPACE.vm: vmbroker reads the word itself, without a shell",
            )


def _host_keys(entries: Sequence[Entry], names: Sequence[str]) -> Iterator[Finding]:
    blocks: set[tuple[str, int]] = set()
    for entry in entries:
        line = entry.line
        is_off = (line.keyword == "stricthostkeychecking" and line.value.lower() in ("no", "off")) or (
            line.keyword == "userknownhostsfile" and line.value.lower() in ("/dev/null", "none")
        )
        block = (entry.file, entry.conditions[-1].number if entry.conditions else 0)
        if entry.is_own or not is_off or block in blocks:
            continue
        blocks.add(block)
        meets_us = any(entry.holds_for(name) is not False for name in names)
        is_vm_way = any(
            other.conditions == entry.conditions and other.file == entry.file and _is_cluster_way(other.line)
            for other in entries
        )
        yield _finding(
            "host-keys-off",
            "danger" if meets_us or is_vm_way else "note",
            entry,
            what=f"{_shown(line)}: host keys are not checked" + ("" if meets_us else " for these hosts"),
            why="whoever stands between you and the VM can pose as it",
            instead="StrictHostKeyChecking accept-new, with a known_hosts file",
        )


def _finding(code: str, severity: Severity, entry: Entry, *, what: str, why: str, instead: str) -> Finding:
    return Finding(code=code, severity=severity, place=entry.place, what=clean(what), why=clean(why), instead=clean(instead))


def _shown(line: Line) -> Clean:
    return clean(f"`{line.keyword} {line.rest}`", 100)


def _executed(line: Line) -> str:
    """The command of a directive; for Match the one after `exec`."""
    if line.keyword != "match":
        return line.rest
    lower = [word.lower() for word in line.words]
    at = next((index for index, word in enumerate(lower) if word in ("exec", "!exec")), None)
    return line.words[at + 1] if at is not None and at + 1 < len(line.words) else ""


def _is_broad(condition: Condition) -> bool:
    return condition.kind != "host" or any("*" in word or "?" in word for word in condition.words if word[:1] != "!")


def _is_ours(entry: Entry) -> bool:
    """A block that the user wrote for vmbroker by hand."""
    return leads_to_us(entry.line.rest)


def _is_cluster_way(line: Line) -> bool:
    return line.keyword == "proxycommand" and ("virtctl" in line.rest or "vmbroker" in line.rest)
