"""The command and settings reference as Markdown; `python -m broker.cli.reference [--write FILE | --check FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from broker.cli import exits, output
from broker.cli.command import Command, Flag
from broker.cli.commands import GLOBALS, GROUPS, SHOWN, STATUSES
from broker.config.keys import KEYS
from broker.config.values import show_value
from broker.errors import BrokerError, Failed, UsageError


def reference() -> str:
    """Return the whole page."""
    lines = ["# Command reference", "", "Written by `make docs` from the tables that the program itself uses.", ""]
    lines += ["## Flags of every command", "", "They stand before or after the command.", "", *_flags(GLOBALS), ""]
    for group in GROUPS:
        lines += [f"## {group}", ""]
        for command in SHOWN:
            if command.group == group:
                lines += _command(command)
    lines += ["## Exit statuses", "", "| status | meaning |", "|---|---|"]
    lines += [f"| {status} | {_cell(meaning)} |" for status, meaning in STATUSES.items()]
    lines += ["", "## Settings", ""]
    lines += ["Strength, weakest first: built in, `/etc/vmbroker/vmbroker.toml` (may lock keys), the user's `vmbroker.toml`,"]
    lines += ['`[contexts."NAME"]` of either file, the environment, `--set KEY=VALUE`.', ""]
    lines += ["| key | built in | environment | what |", "|---|---|---|---|"]
    for key in KEYS:
        lines.append(f"| `{key.name}` | {show_value(key, key.default)} | `{key.environment}` | {_cell(key.help)} |")
    lines += [
        "",
        '`[ssh.vms."NAME.NAMESPACE"]` sets `user` and `port` for the VMs that its globs match; the first match holds.',
    ]
    lines += ['`[contexts."NAME"]` takes `alias`, the label of `NAME.NAMESPACE.vm.LABEL`, and every section above.', ""]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Print the page, write it, or compare it with a file; returns an exit status."""
    try:
        match list(argv):
            case []:
                output.text(reference())
            case ["--write", path]:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text(reference(), encoding="utf-8")
            case ["--check", path]:
                if not Path(path).exists() or Path(path).read_text(encoding="utf-8") != reference():
                    raise Failed(f"{path} does not say what the program does", code="docs-old", next_step="run: make docs")
            case _:
                raise UsageError("reference takes nothing, --write FILE or --check FILE")
    except BrokerError as error:
        exits.report(error, as_json=False)
        return error.exit_status
    return 0


def _command(command: Command) -> list[str]:
    lines = [f"### vmbroker {command.name}", "", command.summary[:1].upper() + command.summary[1:] + ".", ""]
    lines += ["```text", *(f"vmbroker {usage}" for usage in command.usage.split(" | ssh ")[:1]), "```", ""]
    if " | ssh " in command.usage:
        usages = command.usage.split(" | ssh ")
        lines[-3:] = [f"vmbroker {usages[0]}", *(f"vmbroker ssh {usage}" for usage in usages[1:]), "```", ""]
    if command.text:
        lines += [command.text, ""]
    if command.operands:
        lines += ["| argument | what |", "|---|---|"]
        lines += [f"| `{_cell(name)}` | {_cell(what)} |" for name, what in command.operands] + [""]
    if command.flags:
        lines += [*_flags(command.flags), ""]
    if command.reading != "raw":
        lines += [f"Output (`-o`): {', '.join(command.formats)}.", ""]
    lines += [f"Exit statuses: {', '.join(str(status) for status in (*command.statuses, 130))}.", ""]
    if command.examples:
        lines.append("```sh")
        for example, what in command.examples:
            lines += [f"# {what}", example]
        lines += ["```", ""]
    return lines


def _flags(flags: Sequence[Flag]) -> list[str]:
    lines = ["| flag | what |", "|---|---|"]
    for flag in flags:
        if not flag.hidden:
            names = ", ".join(flag.names) + (f" {flag.metavar}" if flag.metavar else "")
            lines.append(f"| `{names}` | {_cell(flag.help)} |")
    return lines


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
