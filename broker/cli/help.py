"""Help texts, from the table of commands alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.cli.command import Command, Flag
from broker.cli.commands import BY_NAME, GLOBALS, GROUPS, SHOWN, STATUSES

if TYPE_CHECKING:
    from broker.cli.invocation import Invocation

_WIDTH = 100


def overview(program: str) -> str:
    """Return the top-level help, under the name by which the program was called."""
    lines = [
        f"usage: {program} [FLAGS] COMMAND …",
        "",
        "Into the virtual machines of a KubeVirt or OKD Virtualization cluster, over SSH.",
    ]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {command.name:<12}{command.summary}" for command in SHOWN if command.group == group]
    lines += ["", "Flags, before or after the command:", *_flag_lines(GLOBALS)]
    lines += ["", "Start here:"]
    lines += [f"  {program} demo{'':<26}see it work, without a cluster"]
    lines += [f"  {program} vms -A{'':<24}your cluster's VMs"]
    lines += [f"  {program} ssh fedora@web -n shop{'':<8}a shell in one of them"]
    lines += ["", f"`{program} COMMAND --help` tells more, with examples and exit statuses.", ""]
    return "\n".join(lines)


def page(command: Command, program: str) -> str:
    """Return the help of one command."""
    usages = [f"{program} {usage.strip()}" for usage in command.usage.split(" | ssh ")]
    if len(usages) > 1:
        usages = [usages[0], *(f"{program} ssh {usage.removeprefix(program).strip()}" for usage in usages[1:])]
    lines = ["usage: " + "\n       ".join(usages), "", command.summary[:1].upper() + command.summary[1:] + "."]
    if command.text:
        lines += ["", *_wrapped(command.text)]
    if command.operands:
        lines += ["", "Arguments:", *_pairs(command.operands)]
    if command.flags:
        lines += ["", "Flags:", *_flag_lines(command.flags)]
    if command.examples:
        lines += ["", "Examples:"]
        for example, what in command.examples:
            lines += [f"  # {what}", "  " + example.replace("vmbroker", program)]
    lines += ["", "Exit statuses:", *_pairs([(str(status), STATUSES[status]) for status in (*command.statuses, 130)])]
    if command.reading != "raw":
        taken = {name for flag in command.flags for name in flag.names}
        lines += ["", "Flags of every command:", *_flag_lines([f for f in GLOBALS if not taken & set(f.names)])]
    return "\n".join([*lines, ""])


def run(invocation: Invocation) -> int:
    """Print the help of the command named, or the overview; UsageError for an unknown one."""
    from broker.cli import output
    from broker.cli.arguments import parse

    words = invocation.parsed.operands
    command = parse([words[0], "--help"]).command if words else None
    output.text(page(BY_NAME[command.name], invocation.program) if command else overview(invocation.program))
    return 0


def _flag_lines(flags: tuple[Flag, ...] | list[Flag]) -> list[str]:
    shown = [flag for flag in flags if not flag.hidden]
    return _pairs([(", ".join(f.names) + (f" {f.metavar}" if f.metavar else ""), f.help) for f in shown])


def _pairs(pairs: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> list[str]:
    wide = min(max((len(left) for left, _ in pairs), default=0), 24)
    lines: list[str] = []
    for left, right in pairs:
        first, *others = _wrapped(right, _WIDTH - wide - 4)
        if len(left) > wide:
            lines += [f"  {left}", f"  {'':<{wide}}  {first}"]
        else:
            lines.append(f"  {left:<{wide}}  {first}")
        lines += [f"  {'':<{wide}}  {other}" for other in others]
    return lines


def _wrapped(text: str, width: int = _WIDTH) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines
