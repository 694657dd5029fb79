"""What could stand at the end of a command line: words for a shell's completion. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from broker.cli.arguments import command_word
from broker.cli.command import Command, Flag
from broker.cli.commands import BY_NAME, GLOBALS, SHOWN
from broker.cli.snapshot import Names

_CHOICES = {
    "config": ("show", "check", "path"),
    "completion": ("bash", "zsh", "fish"),
    "ssh-config": ("install", "print", "check", "remove"),
}
_LAB = ("run", "up", "down", "status", "kubeconfig", "fault")
_TAKE_TARGETS = frozenset({"show", "ssh", "proxy", "scp", "sftp", "wait", "doctor", "forward"})
_LIMIT = 500


def candidates(words: Sequence[str], names: Names) -> list[str]:
    """Return the words that may take the place of the last of `words` (which may be empty), sorted, at most 500.

    `words` stand after the program's name; an empty answer leaves the word to the shell (file names).
    """
    *before, current = words or [""]
    name = command_word(before)
    command = BY_NAME.get(name) if name else None
    if "--" in before:
        return []
    flag = _awaiting(before, command)
    if flag is not None:
        found = _values(flag, command, names)
    elif current.startswith("-"):
        found = _flags(command)
    elif command is None:
        found = [each.name for each in SHOWN]
    else:
        found = _operands(command, before, current, names)
    return sorted({word for word in found if word.startswith(current)})[:_LIMIT]


def asked_options(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of global flags given so far, by `dest`; a flag without value has an empty list."""
    by_name = {name: flag for flag in GLOBALS for name in flag.names}
    said: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        flag = by_name.get(name if word.startswith("--") else word)
        if word == "--":
            break
        if flag is None:
            continue
        found = said.setdefault(flag.dest, [])
        if flag.metavar is not None and equals:
            found.append(value)
        elif flag.metavar is not None and rest:
            found.append(rest.pop(0))
    return said


def _awaiting(before: Sequence[str], command: Command | None) -> Flag | None:
    if not before or not before[-1].startswith("-"):
        return None
    for flag in (*(command.flags if command else ()), *GLOBALS):
        if before[-1] in flag.names and flag.metavar is not None:
            return flag
    return None


def _values(flag: Flag, command: Command | None, names: Names) -> list[str]:
    match flag.dest:
        case "context":
            return list(names.contexts)
        case "namespace":
            return list(names.namespaces)
        case "output":
            return list(command.formats if command else ("table", "wide", "json", "yaml", "name"))
        case "sets":
            from broker.config.keys import KEYS

            return [f"{key.name}=" for key in KEYS]
    return list(flag.choices)


def _flags(command: Command | None) -> list[str]:
    flags = (*(command.flags if command else ()), *GLOBALS)
    return [name for flag in flags if not flag.hidden for name in flag.names]


def _operands(command: Command, before: Sequence[str], current: str, names: Names) -> list[str]:
    if command.name in _CHOICES:
        return list(_CHOICES[command.name])
    if command.name == "lab":
        return list(_LAB) if before and before[-1] == "lab" else []
    if command.name == "help":
        return [each.name for each in SHOWN]
    if command.name not in _TAKE_TARGETS:
        return []
    chosen = asked_options(before).get("namespace", [])
    user, at, _ = current.rpartition("@")
    prefix = f"{user}@" if at else ""
    suffix = ":" if command.name == "scp" else ""
    if command.name == "scp" and (not current or "/" in current.partition(":")[0]):
        return []  # a local path is as likely: the shell offers files
    return [f"{prefix}{word}{suffix}" for word in _targets(current[len(prefix) :], chosen[-1] if chosen else None, names)]


def _targets(current: str, namespace: str | None, names: Names) -> list[str]:
    here = namespace or names.namespace
    found: list[str] = []
    for of_namespace, name, kind in names.vms:
        if "/" in current:
            found.append(f"{kind}/{name}/{of_namespace}")
        elif of_namespace == here:
            found.append(name)
        if "/" not in current and namespace is None and (of_namespace != here or "." in current):
            found.append(f"{name}.{of_namespace}.vm")
    return found
