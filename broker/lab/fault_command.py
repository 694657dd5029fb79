"""`vmbroker lab fault set|list|clear`: faults of the lab that runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from broker.errors import NotFound, UsageError
from broker.lab import console, control, process
from broker.lab.faults import FAULT_WORDS

__all__ = ["add_parser", "run"]

_EPILOG = (
    "faults:\n"
    + "\n".join(f"  {word}\n      {does}" for word, does in FAULT_WORDS)
    + "\n\nlatency, hang, drop and status meet every request, or those that their options name:\n"
    "  ,path=PATTERN  shell pattern on the path   ,verb=VERB  get, list, watch, create, …\n"
    "  ,user=NAME     who asks                    ,next=N     only the next N\n"
    "\nexamples:\n  vmbroker lab fault set latency=0.5\n"
    "  vmbroker lab fault set 'status=429,next=3' 'drop=2000,path=*/virtualmachines'\n"
    "  vmbroker lab fault set guest-port=shop/web:22:filtered\n  vmbroker lab fault set api-restart=5\n"
    "  vmbroker lab fault list\n  vmbroker lab fault clear status latency\n  vmbroker lab fault clear\n"
    "\nexit status: 0 done, 1 failed, 2 no such fault, guest, verb or user, 3 no lab runs"
)


Parser = TypeVar("Parser", bound=argparse.ArgumentParser)


def add_parser(commands: argparse._SubParsersAction[Parser], kind: type[Parser]) -> list[Parser]:
    """Add the command and return the parsers that take the lab's common options."""
    fault = commands.add_parser(
        "fault", help="let the running lab go wrong", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    fault.set_defaults(show=fault.format_help)
    actions = fault.add_subparsers(dest="action", metavar="set|list|clear", parser_class=kind)
    put = actions.add_parser(
        "set", help="put faults into force", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    put.add_argument("faults", nargs="+", metavar="NAME[=VALUE][,OPTION=VALUE]")
    listed = actions.add_parser("list", help="show the faults in force")
    clear = actions.add_parser("clear", help="take back the faults of these names, or all")
    clear.add_argument("names", nargs="*", metavar="NAME")
    return [put, listed, clear]


def run(given: argparse.Namespace, state_dir: Path) -> int:
    """Run one action; NotFound where no lab runs, UsageError for a fault that there is not."""
    if given.action == "clear" and "" in given.names:
        raise UsageError("an empty name is no fault", next_step="name faults, or leave the name out to clear all of them")
    if process.find(state_dir) is None:
        raise NotFound("no lab runs", code="no-lab", next_step="start one with `vmbroker lab up`")
    actions: dict[str, Callable[[], control.Told]] = {
        "set": lambda: control.ask(state_dir, set_words=given.faults),
        "list": lambda: control.ask(state_dir),
        "clear": lambda: control.ask(state_dir, clear=given.names),
    }
    told = actions[given.action]()
    if given.output == "json":
        found = {"faults": list(told.active), **({"cleared": told.cleared} if given.action == "clear" else {})}
        console.answer_json({"apiVersion": "vmbroker/v1", "kind": "LabFaults", **found})
    elif given.action == "clear":
        console.answer(f"{told.cleared} taken back" + (f", in force: {'  '.join(told.active)}" if told.active else ""))
    else:
        console.answer("\n".join(told.active) or "no fault is in force")
    return 0
