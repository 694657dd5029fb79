"""The lab as a process: up, down, status, side by side, killed, and for one command only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.lab import process
from tests.conftest import ROOT, vmbroker
from tests.journeys.person import until


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def lab(*words: str, state: Path) -> subprocess.CompletedProcess[str]:
    return vmbroker("lab", *words, "--state-dir", str(state))


def test_up_names_a_running_one_and_down_ends_it(state: Path) -> None:
    first = lab("up", state=state)
    try:
        assert first.returncode == 0, first.stderr
        second = lab("up", state=state)
        assert (second.returncode, "runs already" in second.stdout) == (0, True)
        told = json.loads(lab("status", "-o", "json", state=state).stdout)
        assert (told["running"], told["vms"] >= 14) == (True, True)
        assert oct(state.stat().st_mode & 0o777) == "0o700"
        config = Path(lab("kubeconfig", "--path", state=state).stdout.strip())
        assert oct(config.stat().st_mode & 0o777) == "0o600"
    finally:
        assert lab("down", state=state).returncode == 0
    assert lab("status", state=state).returncode == 3
    assert process.process_identity(int(told["pid"])) is None
    again = lab("down", state=state)
    assert (again.returncode, again.stdout.strip()) == (0, "no lab runs")


def test_a_killed_lab_is_no_running_one_and_a_new_one_starts(state: Path) -> None:
    assert lab("up", state=state).returncode == 0
    found = process.find(state)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: process.find(state) is None, "the death of the lab")
    assert lab("status", state=state).returncode == 3
    try:
        assert lab("up", state=state).returncode == 0
        assert process.find(state) is not None
    finally:
        assert lab("down", state=state).returncode == 0


def test_two_labs_have_addresses_of_their_own(tmp_path: Path) -> None:
    states = (tmp_path / "one", tmp_path / "two")
    try:
        told = []
        for state in states:
            assert lab("up", state=state).returncode == 0
            told.append(json.loads(lab("status", "-o", "json", state=state).stdout))
        assert told[0]["network"] != told[1]["network"]
        assert told[0]["url"] != told[1]["url"]
    finally:
        for state in states:
            assert lab("down", state=state).returncode == 0


def test_a_lab_for_one_command_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    """Also after that process became another program, as `vmbroker --lab ssh` becomes ssh."""
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    state = process.default_state_dir(environ)
    script = (
        "import os, sys; from broker.lab import process; process.ensure(process.default_state_dir(os.environ));"
        "os.execv('/bin/cat', ['cat'])"
    )
    wanting = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    try:
        until(lambda: process.find(state) is not None, "the lab")
        found = process.find(state)
        assert found is not None
        assert wanting.stdin is not None
        assert wanting.stdout is not None
        until(lambda: b"cat" in Path(f"/proc/{wanting.pid}/cmdline").read_bytes(), "the exec")
        done = vmbroker("--lab", "vms", "-n", "shop", "-o", "name", env={"XDG_STATE_HOME": str(tmp_path)})
        assert "vm/web/shop" in done.stdout.split()
        assert process.find(state) == found
    finally:
        wanting.communicate()
    until(lambda: process.find(state) is None, "the end of a lab that nobody wants")
    until(lambda: process.process_identity(found.pid) is None, "the end of its process")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("nonsense",), 2),
        (("up", "--vms", "10001"), 2),
        (("up", "--vms", "-1"), 2),
        (("up", "--fault", "made-up"), 2),
        (("up", "--pong-deadline", "0"), 2),
        (("kubeconfig",), 3),
    ],
)
def test_wrong_input_is_told_without_a_traceback(words: tuple[str, ...], status: int, state: Path) -> None:
    done = lab(*words, state=state)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_an_unknown_user_is_told_the_known_ones(state: Path) -> None:
    try:
        assert lab("up", state=state).returncode == 0
        done = lab("kubeconfig", "--user", "nobody", state=state)
        assert done.returncode == 3
        assert "carol" in done.stderr
    finally:
        lab("down", state=state)
