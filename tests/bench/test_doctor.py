"""`doctor TARGET` on the lab with nothing hanging, and with everything hanging: the bars of issue 4."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.test_startup import once
from tests.broker.cli.hung_world import hung_world
from tests.conftest import ROOT, RunningLab

ROUNDS = 7
BUDGET_S = 2.0
EMPTY_S = 0.0063
"""`python -I -S -c pass` on the machine for which the bars were set."""


def scale() -> float:
    """How much slower than that machine this one is at the moment, never less than 1."""
    empty = statistics.median(once([sys.executable, "-I", "-S", "-c", "pass"]) for _ in range(15))
    return max(empty / EMPTY_S, 1.0)


def doctor(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "vmbroker"), *words]


def seconds(argv: list[str], statuses: tuple[int, ...]) -> float:
    """Wall seconds of one run that must end with one of these statuses."""
    import time

    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, cwd=ROOT, timeout=60, check=False)
    took = time.perf_counter() - began
    assert done.returncode in statuses, done.stderr
    assert len(json.loads(done.stdout)["checks"]) > 30
    return took


@pytest.mark.bench
def test_nothing_hangs(lab: RunningLab) -> None:
    argv = doctor("--kubeconfig", str(lab.kubeconfig()), "doctor", "vm/web/shop", "-o", "json")
    seconds(argv, (0, 1))
    factor = scale()
    taken = [seconds(argv, (0, 1)) for _ in range(ROUNDS)]
    print(f"\ndoctor TARGET, nothing hanging: {statistics.median(taken):.3f} s (bar {1.0 * factor:.2f}, scale {factor:.2f})")
    assert statistics.median(taken) <= 1.0 * factor


@pytest.mark.bench
def test_everything_hangs(tmp_path: Path) -> None:
    factor = scale()
    with hung_world(tmp_path) as world:
        ours = ["--kubeconfig", str(world.kubeconfig), "--set", f"ssh.program={world.ssh}", "doctor", "vm/web/shop"]
        taken = [seconds(doctor(*ours, "--budget", str(BUDGET_S), "-o", "json"), (0,)) for _ in range(3)]
        assert world.left_running() == []
    _judge("server, exec plugin and ssh hang", taken, factor)


@pytest.mark.bench
def test_a_filtered_guest_port(lab: RunningLab) -> None:
    factor = scale()
    ours = ["--kubeconfig", str(lab.kubeconfig()), "doctor", "vm/filtered/team-a", "--budget", str(BUDGET_S), "-o", "json"]
    _judge("a filtered guest port", [seconds(doctor(*ours), (1, 0)) for _ in range(3)], factor)


@pytest.mark.bench
def test_name_resolution_hangs(tmp_path: Path) -> None:
    factor = scale()
    with hung_world(tmp_path, host="cluster.hung.example") as world, silent_names(tmp_path) as within:
        ours = ["--kubeconfig", str(world.kubeconfig), "--set", f"ssh.program={world.ssh}", "doctor", "vm/web/shop"]
        argv = [*within, *doctor(*ours, "--budget", str(BUDGET_S), "-o", "json")]
        taken = [seconds(argv, (0,)) for _ in range(3)]
    _judge("the name server hangs too", taken, factor)


def _judge(what: str, taken: list[float], factor: float) -> None:
    bar_s = BUDGET_S + 0.2 * factor
    print(f"\ndoctor TARGET, {what}: {max(taken):.3f} s (bar {bar_s:.2f}: budget {BUDGET_S:g} + 0.2 × {factor:.2f})")
    assert max(taken) <= bar_s


@contextmanager
def silent_names(folder: Path) -> Iterator[list[str]]:
    """Give argv words before which a program's name server is one that never answers."""
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare (package util-linux)")
    configuration = folder / "resolv.conf"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.83.0.1", 53))
        configuration.write_text("nameserver 127.83.0.1\noptions timeout:30 attempts:3\n")
        yield ["unshare", "-m", "sh", "-c", f'mount --bind {configuration} /etc/resolv.conf && exec "$@"', "sh"]
