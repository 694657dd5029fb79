"""No foreign text reaches a terminal uncleaned: every command, on the bytes that it writes to a PTY."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

import pytest
import yaml

from broker.cli.commands import COMMANDS, STATUSES
from tests.hostile.conftest import Desk
from tests.hostile.corpus import MARK, TEXTS, unclean
from tests.hostile.plan import IS_FULL, RUNS, filled, lines, reads_object
from tests.hostile.poison import HostileLab
from tests.hostile.terminal import Crew, Seen, Zygote, run_vmbroker


def judge(seen: Seen, words: Sequence[str], *, is_bounded: bool = True) -> None:
    """Fail where a byte stands on a terminal that may not, or where the run ended in a way that nobody documents."""
    found = [*unclean(seen.stdout, is_bounded=False), *unclean(seen.stderr, has_progress=True, is_bounded=is_bounded)]
    found += [] if seen.status in STATUSES or seen.status == 42 else [f"status {seen.status}"]
    found += [word for word in ("Traceback", "[defect]") if word.encode() in seen.stderr]
    if found:
        pytest.fail(f"{found[:4]}\n{str(list(words))[:500]}\n{seen.said}", pytrace=False)


def test_every_command_has_a_run() -> None:
    assert set(RUNS) == {command.name for command in COMMANDS}


def test_every_text_meets_every_command_and_every_line() -> None:
    seen = [(title, name, run) for title in TEXTS for name, run in lines(title)]
    assert {(title, name) for title, name, _ in seen} == {(title, name) for title in TEXTS for name in RUNS}
    assert {(name, run) for _, name, run in seen} == {(name, run) for name, runs in RUNS.items() for run in runs}
    aimed = {name for name, runs in RUNS.items() if any(map(reads_object, runs))}
    assert aimed == {"show", "wait", "doctor", "ssh", "scp", "sftp", "proxy", "forward", "ssh-for-rsync"}
    assert {(title, name) for title, name, run in seen if reads_object(run)} == {(t, n) for t in TEXTS for n in aimed}


@pytest.mark.parametrize("name", RUNS)
def test_a_command_in_a_process_of_its_own_writes_clean_bytes(name: str, hostile: HostileLab, desk: Desk) -> None:
    text = "".join(each[:24] for title, each in TEXTS.items() if title not in ("c0", "shell"))
    words = [name, *filled(RUNS[name][0], target=hostile.targets["csi"][0], text=text, home=desk.home)]
    judge(run_vmbroker(words, env_of(name, desk)), words)


@pytest.mark.parametrize("title", TEXTS)
def test_every_command_leaves_clean_bytes_of_every_text(title: str, hostile: HostileLab, desk: Desk, crew: Crew) -> None:
    # Every string of the VM is hostile (0), or all but those that steer our code to a further step (1).
    turn, runs = list(TEXTS).index(title), list[tuple[list[str], dict[str, str]]]()
    (desk.home / ".ssh").mkdir(mode=0o700)
    for index, (name, run) in enumerate(lines(title)):
        for target in hostile.targets[title] if IS_FULL else (hostile.targets[title][(turn + index) % 2],):
            words = [name, *filled(run, target=target, text=TEXTS[title], home=desk.home)]
            runs.append((words, env_of(name, desk)))
    for (words, _), seen in zip(runs, crew.run_all(runs), strict=True):
        judge(seen, words)
    assert not (desk.home / "canary").exists()
    assert not (desk.home / "lab").exists()


def env_of(name: str, desk: Desk) -> dict[str, str]:
    """`ssh-config` needs the real ssh, which proves its work; elsewhere one stands in that only says that it ran."""
    return {**desk.env, "PATH": "/usr/bin:/bin"} if name == "ssh-config" else desk.env


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
def test_hostile_words_on_the_command_line_leave_clean_bytes(title: str, desk: Desk, crew: Crew) -> None:
    names = [command.name for command in COMMANDS if command.name not in ("demo", "__refresh")]
    turn, runs = list(TEXTS).index(title), list[tuple[list[str], dict[str, str]]]()
    for index, name in enumerate(names):
        if not IS_FULL and (index + turn) % 2:
            continue
        for step in range(len(_PLACES)) if IS_FULL else (0,):
            place = _PLACES[(index + step + turn) % len(_PLACES)]
            words = filled(place(name, TEXTS[title]), target="", text="", home=desk.home)
            words = [word.replace("\0", "")[:100_000] for word in words]
            if name == "forward":
                words = [word if word != "22" else "x22" for word in words]  # a good port would be served for ever
            runs.append((words, desk.env))
    for (words, _), seen in zip(runs, crew.run_all(runs), strict=True):
        judge(seen, words)
    assert not (desk.home / "canary").exists()
