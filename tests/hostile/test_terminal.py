"""No foreign text reaches a terminal uncleaned: every command, on the bytes that it writes to a PTY."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Final

import pytest
import yaml

from broker.cli.commands import COMMANDS, STATUSES
from tests.hostile.conftest import Desk
from tests.hostile.corpus import MARK, TEXTS, unclean
from tests.hostile.poison import HostileLab
from tests.hostile.terminal import Seen, Zygote, run_vmbroker

RUNS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "vms": (("-A",), ("-A", "-o", "wide"), ("-n", "shop", "-o", "name"), ("-l", "TEXT")),
    "show": (("TARGET",), ("TARGET", "-o", "name"), ("vm/none/shop",)),
    "wait": (
        ("TARGET", "--timeout", "0"),
        ("TARGET", "--for", "running", "--timeout", "0"),
        ("vm/none/shop", "--timeout", "0"),
    ),
    "doctor": (("TARGET", "--budget", "3"), ("vm/none/shop", "--budget", "3")),
    "ssh": (("TARGET", "true"), ("vm/none/shop",), ("TARGET", "-l", "TEXT")),
    "scp": (("a", "all-csi.shop.vm:/x"), ("a", "none.shop.vm:/x"), ("TEXT", "a")),
    "sftp": (("TARGET",), ("none.shop.vm",)),
    "rsync-e": ((), ("--context", "TEXT")),
    "proxy": (("TARGET",), ("TARGET", "22"), ("vm/none/shop",)),
    "forward": (("TARGET", "0:22", "--exit-when-idle", "0.2"), ("TARGET", "TEXT"), ("vm/none/shop", "0:22")),
    "lab": (("status", "--state-dir", "HOME/lab"), ("TEXT",)),
    "demo": (("TEXT",),),
    "ssh-config": (("print",), ("print", "--per-vm", "--flat"), ("check",), ("TEXT",)),
    "config": (("show", "--origin"), ("check",), ("path",), ("TEXT",)),
    "completion": (("bash",), ("TEXT",)),
    "version": (("--server",), ("TEXT",)),
    "help": (("TEXT",),),
    "ssh-for-rsync": (("-l", "TEXT", "none.shop.vm"), ("none.shop.vm",)),
    "__complete": (("bash", "vmbroker ssh TEXT", ":@="), ("zsh", "ssh", ""), ("fish", "--context", "")),
    "__refresh": ((),),
}
"""Command lines of every command; TARGET, TEXT and HOME are put in."""


IS_FULL: Final = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
"""Every text with every command (minutes), instead of taking turns."""


def judge(seen: Seen, words: Sequence[str], *, is_bounded: bool = True) -> None:
    """Fail where a byte stands on a terminal that may not, or where the run ended in a way that nobody documents."""
    found = [*unclean(seen.stdout, is_bounded=False), *unclean(seen.stderr, has_progress=True, is_bounded=is_bounded)]
    found += [] if seen.status in STATUSES or seen.status == 42 else [f"status {seen.status}"]
    found += [word for word in ("Traceback", "[defect]") if word.encode() in seen.stderr]
    if found:
        pytest.fail(f"{found[:4]}\n{str(list(words))[:500]}\n{seen.said}", pytrace=False)


def filled(words: Sequence[str], *, target: str, text: str, desk: Desk) -> list[str]:
    """Put target, text and home into one command line."""
    argument = "".join(char for char in text if char != "\0" and not "\ud800" <= char <= "\udfff")[:100_000]
    return [word.replace("TARGET", target).replace("TEXT", argument).replace("HOME", str(desk.home)) for word in words]


def test_every_command_has_a_run() -> None:
    assert set(RUNS) == {command.name for command in COMMANDS}


@pytest.mark.parametrize("name", RUNS)
def test_a_command_in_a_process_of_its_own_writes_clean_bytes(name: str, hostile: HostileLab, desk: Desk) -> None:
    text = "".join(each[:24] for title, each in TEXTS.items() if title not in ("c0", "shell"))
    words = [name, *filled(RUNS[name][0], target=hostile.targets["csi"][0], text=text, desk=desk)]
    judge(run_vmbroker(words, desk.env), words)


@pytest.mark.parametrize("title", TEXTS)
def test_hostile_objects_leave_clean_bytes(title: str, hostile: HostileLab, desk: Desk, runner: Zygote) -> None:
    names = ("proxy", "wait", "doctor", "forward", "ssh", "sftp")
    turn = list(TEXTS).index(title)
    for step, target in enumerate(hostile.targets[title]):
        for name in ("show", *(names if IS_FULL else (names[(turn + step * 3) % len(names)],))):
            words = [name, *filled(RUNS[name][0], target=target, text="", desk=desk)]
            judge(runner.run(words, desk.env), words)
    assert not (desk.home / "canary").exists()


def test_hostile_text_does_come_that_far(hostile: HostileLab, desk: Desk, runner: Zygote) -> None:
    for words in (["vms", "-A"], ["vms", "-A", "-o", "wide"], ["show", hostile.targets["csi"][0]]):
        assert runner.run(words, desk.env).stdout.decode().count(MARK) > 10, words


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_json_and_yaml_carry_the_text_whole_and_escaped(form: str, hostile: HostileLab, desk: Desk, runner: Zygote) -> None:
    load = json.loads if form == "json" else yaml.safe_load
    for title in ("c0", "csi", "c1", "bidi", "formats", "lines", "markup", "shell", "selectors"):
        words = ["show", hostile.targets[title][0], "-o", form]
        seen = runner.run(words, desk.env)
        judge(seen, words)
        assert seen.stdout.isascii()
        assert load(seen.stdout)["node"] == TEXTS[title]
    words = ["vms", "-A", "-o", form]
    seen = runner.run(words, desk.env)
    judge(seen, words)
    nodes = {item["node"] for item in load(seen.stdout)["items"]}
    assert {text[:4096] for text in TEXTS.values()} <= nodes


_PLACES: Final[tuple[Callable[[str, str], list[str]], ...]] = (
    lambda name, text: [name, text],
    lambda name, text: [name, f"--{text}"],
    lambda name, text: [name, f"-{text}"],
    lambda name, text: [name, "-o", text, "x", "y"],
    lambda name, text: ["--context", text, name, "none.shop.vm", "22"],
    lambda name, text: ["--kubeconfig", text, name, "none.shop.vm", "22"],
    lambda name, text: ["--as", text, name, "none.shop.vm", "22"],
    lambda name, text: ["--set", f"ssh.user={text}", name, "none.shop.vm", "22"],
    lambda name, text: ["--set", text, name, "none.shop.vm"],
    lambda name, text: ["-n", text, name, "none", "22"],
    lambda name, text: [name, "none.shop.vm", text],
    lambda name, text: ["-o", "json", name, text],
    lambda name, text: ["--debug", "--context", text, name, "none.shop.vm", "22"],
)


@pytest.mark.parametrize("title", TEXTS)
def test_hostile_words_on_the_command_line_leave_clean_bytes(title: str, desk: Desk, runner: Zygote) -> None:
    names = [command.name for command in COMMANDS if command.name not in ("demo", "__refresh")]
    turn = list(TEXTS).index(title)
    for index, name in enumerate(names):
        if not IS_FULL and (index + turn) % 2:
            continue
        for step in range(len(_PLACES)) if IS_FULL else (0,):
            place = _PLACES[(index + step + turn) % len(_PLACES)]
            words = filled(place(name, TEXTS[title]), target="", text="", desk=desk)
            words = [word.replace("\0", "")[:100_000] for word in words]
            if name == "forward":
                words = [word if word != "22" else "x22" for word in words]  # a good port would be served for ever
            judge(runner.run(words, desk.env), words)
    assert not (desk.home / "canary").exists()
