"""Which command lines each hostile text is tried with: every text with every command, every line with many texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from tests.hostile.corpus import TEXTS

Words = tuple[str, ...]

IS_FULL: Final = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
"""Every text with every command line (minutes), instead of with one or two of each command."""

_EVERY: Final = 4
_FILE: Final = ("--file", "HOME/.ssh/config")
_LAB: Final = ("--state-dir", "HOME/lab")

RUNS: Final[dict[str, tuple[Words, ...]]] = {
    "vms": (("-A",), ("-A", "-o", "wide"), ("-n", "shop", "-o", "name"), ("-l", "TEXT")),
    "show": (("TARGET",), ("TARGET", "-o", "name"), ("vm/none/shop",)),
    "wait": (
        ("TARGET", "--timeout", "0"),
        ("TARGET", "--for", "running", "--timeout", "0"),
        ("vm/none/shop", "--timeout", "0"),
        ("TARGET", "--for", "TEXT"),
    ),
    "doctor": (
        ("TARGET", "--budget", "3"),
        ("TARGET", "--budget", "3", "-o", "json"),
        ("TARGET", "--budget", "TEXT"),
        ("TARGET", "-p", "TEXT"),
        ("vm/none/shop", "--budget", "3"),
    ),
    "ssh": (("TARGET", "true"), ("TARGET", "-l", "TEXT"), ("vm/none/shop",)),
    "scp": (("a", "NAME.shop.vm:/x"), ("a", "none.shop.vm:/x"), ("TEXT", "a")),
    "sftp": (("TARGET",), ("none.shop.vm",)),
    "rsync-e": ((), ("--context", "TEXT")),
    "proxy": (("TARGET",), ("TARGET", "22"), ("vm/none/shop",)),
    "forward": (("TARGET", "0:22", "--exit-when-idle", "0.1"), ("TARGET", "TEXT"), ("vm/none/shop", "0:22")),
    "lab": (
        ("status", *_LAB),
        ("kubeconfig", "--user", "TEXT", *_LAB),
        ("fault", "set", "TEXT", *_LAB),
        ("fault", "clear", "TEXT", *_LAB),
        ("fault", "list", *_LAB),
        ("up", "--fault", "TEXT", *_LAB),
        ("up", "--crds", "TEXT", *_LAB),
        ("TEXT",),
    ),
    "demo": (("TEXT",),),
    "ssh-config": (
        ("install", "--per-vm", *_FILE),
        ("print",),
        ("check", *_FILE),
        ("print", "--per-vm", "--flat"),
        ("install", "--virtctl-aliases", *_FILE),
        ("remove", *_FILE),
        ("install", "--file", "HOME/TEXT"),
        ("TEXT",),
    ),
    "config": (("show", "--origin"), ("check",), ("path",), ("TEXT",)),
    "completion": (("bash",), ("TEXT",)),
    "version": (("--server",), ("TEXT",)),
    "help": (("TEXT",),),
    "ssh-for-rsync": (("NAME.shop.vm",), ("-l", "TEXT", "none.shop.vm"), ("none.shop.vm",)),
    "__complete": (("bash", "vmbroker ssh TEXT", ":@="), ("zsh", "ssh", ""), ("fish", "--context", "")),
    "__refresh": ((),),
}
"""Command lines of every command; TARGET, NAME (of a VM in `shop`), TEXT and HOME are put in."""


def lines(title: str) -> list[tuple[str, Words]]:
    """The (command, words) that a text is tried with: of each command one that reads its object, else any; at times both."""
    turn, chosen = list(TEXTS).index(title), list[tuple[str, Words]]()
    for index, (name, runs) in enumerate(RUNS.items()):
        aimed = [run for run in runs if reads_object(run)]
        others = [run for run in runs if not reads_object(run)]
        if IS_FULL:
            chosen += [(name, run) for run in runs]
            continue
        if aimed:
            chosen.append((name, aimed[turn % len(aimed)]))
        if others and (not aimed or (turn + index) % _EVERY == 0):
            chosen.append((name, others[(turn // _EVERY if aimed else turn) % len(others)]))
    return chosen


def reads_object(run: Words) -> bool:
    """Whether it comes as far as the VM that holds the text."""
    return any(word.startswith(("TARGET", "NAME")) for word in run) and "TEXT" not in run


def filled(words: Sequence[str], *, target: str, text: str, home: object) -> list[str]:
    """Put target, text and home into one command line; a word can hold neither NUL nor what UTF-8 cannot carry."""
    argument = "".join(char for char in text if char != "\0" and not "\ud800" <= char <= "\udfff")[:100_000]
    name = target.split("/")[1] if "/" in target else target
    return [
        word.replace("TARGET", target).replace("NAME", name).replace("HOME", str(home)).replace("TEXT", argument)
        for word in words
    ]
