"""A running lab is told of faults by its own command, and is found where the file about it is damaged."""

from __future__ import annotations

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.lab import control, process
from broker.lab.faults import Faults
from tests.broker.lab.test_process import version_through
from tests.conftest import ROOT, vmbroker


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab of its own, in a directory whose path is longer than a unix socket's address may be."""
    folder = tmp_path_factory.mktemp("control") / ("a long name " * 8) / "state"
    started = vmbroker("lab", "up", "--guests", "asyncssh", "--state-dir", str(folder))
    assert started.returncode == 0, started.stderr
    process.hold(folder, str(os.getpid()))
    process.release(folder, process.FOR_GOOD)
    try:
        yield folder
    finally:
        vmbroker("lab", "down", "--state-dir", str(folder))


def lab(state: Path, *words: str) -> tuple[int, str, str]:
    """Run one `lab` command on it."""
    done = vmbroker("lab", *words, "--state-dir", str(state))
    return done.returncode, done.stdout, done.stderr


def test_faults_are_set_listed_shown_and_taken_back(state: Path) -> None:
    words = ("status=403,path=*/virtualmachines,verb=list,next=1", "guest-port=shop/web:22:filtered")
    assert lab(state, "fault", "set", *words) == (0, "\n".join(words) + "\n", "")
    kubeconfig = state / "kubeconfigs" / "admin.yaml"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        version_through(kubeconfig)
    version_through(kubeconfig)
    status, out, _ = lab(state, "status")
    assert (status, out.splitlines()[-1]) == (0, f"fault: {words[1]}")
    told = json.loads(lab(state, "status", "-o", "json")[1])
    assert told["faults"] == [words[1]]
    assert lab(state, "fault", "clear", "guest-port") == (0, "1 taken back\n", "")
    assert json.loads(lab(state, "fault", "list", "-o", "json")[1]) == {
        "apiVersion": "vmbroker/v1",
        "kind": "LabFaults",
        "faults": [],
    }


def test_words_are_set_together_or_not_at_all(state: Path) -> None:
    status, out, err = lab(state, "fault", "set", "latency=1", "nonsense")
    assert (status, out) == (2, "")
    assert "no such fault; there are latency=SECONDS" in err
    assert lab(state, "fault", "list") == (0, "no fault is in force\n", "")
    assert lab(state, "fault", "clear", "nonsense")[0] == 2
    assert lab(state, "fault", "set", "guest-port=shop/nope:22:closed")[0] == 2


def test_several_names_are_taken_back_together_and_an_empty_one_is_none(state: Path) -> None:
    assert lab(state, "fault", "set", "latency=0.01", "status=500,path=/none", "drop,path=/none")[0] == 0
    assert lab(state, "fault", "clear", "")[0] == 2
    assert lab(state, "fault", "clear", "latency", "nonsense")[0] == 2
    assert lab(state, "fault", "clear", "latency", "status") == (0, "2 taken back, in force: drop=0,path=/none\n", "")
    assert lab(state, "fault", "clear") == (0, "1 taken back\n", "")


def test_alone_the_command_prints_its_help_in_any_encoding() -> None:
    done = vmbroker("lab", "fault", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "vmbroker lab fault set latency=0.5" in done.stdout


def test_an_answer_that_nobody_can_read_is_no_success(state: Path) -> None:
    words = [sys.executable, "-m", "broker.main", "lab", "fault", "list", "--state-dir", str(state)]
    line = " ".join(map(shlex.quote, words)) + " >&-"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "standard output is closed" in done.stderr


def test_an_event_is_done_and_leaves_nothing_in_force(state: Path) -> None:
    assert lab(state, "fault", "set", "watch-end") == (0, "no fault is in force\n", "")


def test_an_api_that_was_taken_back_is_up_when_the_command_says_so(state: Path) -> None:
    for fault in ("api-silent", "api-restart=500"):
        assert lab(state, "fault", "set", fault) == (0, f"{fault}\n", "")
        assert lab(state, "fault", "clear", fault.partition("=")[0]) == (0, "1 taken back\n", "")
        version_through(state / "kubeconfigs" / "admin.yaml")


def test_without_a_lab_the_command_says_so(tmp_path: Path) -> None:
    status, out, err = lab(tmp_path / "none", "fault", "list")
    assert (status, out) == (3, "")
    assert "no lab runs" in err


def test_the_socket_is_the_owners_alone_and_bears_nonsense(state: Path) -> None:
    assert stat.S_IMODE((state / "control.sock").stat().st_mode) == 0o600
    for line in (b"nonsense\n", b"[]\n", b'{"set": 3}\n', b'{"clear": {"a": 1}}\n', b"x" * 100_000):
        with control._reachable(state) as path, socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(path)
            link.sendall(line)
            link.shutdown(socket.SHUT_WR)
            answer = link.makefile("rb").read()
        assert answer == b"" or "error" in json.loads(answer)
    assert control.ask(state).active == ()


def test_a_damaged_description_hides_no_running_lab(state: Path) -> None:
    whole = json.loads((state / "lab.json").read_text())
    for damage in ("", "{", "[]", '{"pid": "x"}', "\udcff"):
        (state / "lab.json").write_text(damage, errors="surrogateescape")
        found = process.find(state)
        assert found is not None
        assert (found.pid, found.url) == (whole["pid"], whole["url"])
        # It is whole again for the next one.
        assert json.loads((state / "lab.json").read_text()) == whole


async def test_a_lab_that_does_not_answer_is_still_found_and_a_dead_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text("{")
    assert process.find(tmp_path) is None
    with process.owned(tmp_path / "mine"):
        (tmp_path / "mine" / "lab.json").write_text("{")
        found = process.find(tmp_path / "mine")
        assert found is not None
        assert (found.pid, found.url) == (os.getpid(), "unknown")
        async with control.serving(tmp_path / "mine", Faults(), {"pid": 1}):
            pass
    assert process.find(tmp_path / "mine") is None


def test_folders_of_schemas_that_are_none_are_refused_before_a_lab_is_started(tmp_path: Path) -> None:
    state, empty = tmp_path / "state", tmp_path / "empty"
    empty.mkdir()
    status, _, err = lab(state, "up", "--crds", str(tmp_path / "absent"))
    assert (status, "a folder is needed" in err) == (2, True)
    for option, said in (("--crds", "holds no CustomResourceDefinition"), ("--openapi", "holds no OpenAPI document")):
        for command in ("run", "up"):
            status, _, err = lab(state, command, "--guests", "asyncssh", option, str(empty))
            assert (status, said in err) == (2, True), err
    assert not state.exists()
