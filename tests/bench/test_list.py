"""`vmbroker vms -A` over 10,000 VMs and VMIs, whole process, against a bare aiohttp program and the same server."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

RATIO = 3.2
LIMIT_MIB = 180
ROUNDS = 7


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.list_server", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield tmp_path
        server.stdin.close()
        assert server.wait(10) == 0


def run(words: list[str]) -> tuple[float, float, int]:
    """Run a program; return wall seconds, peak memory in MiB, and the lines it printed."""
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = process.stdout.read().count(b"\n")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started
    assert process.returncode == 0
    return wall_s, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024), lines


@pytest.mark.bench
def test_ten_thousand_vms_are_listed_in_time_and_room(folder: Path) -> None:
    python = [sys.executable]
    ours_words = [*python, "-m", "broker.main", "--kubeconfig", str(folder / "kubeconfig"), "vms", "-A"]
    bare_words = [*python, "-m", "tests.bench.list_bare", str(folder)]
    run(ours_words), run(bare_words)
    ours, bare, peaks = [], [], []
    for _ in range(ROUNDS):
        bare.append(run(bare_words)[0])
        wall_s, peak_mib, lines = run(ours_words)
        assert lines == 10_001
        ours.append(wall_s)
        peaks.append(peak_mib)
    ours_s, bare_s, peak_mib = statistics.median(ours), statistics.median(bare), max(peaks)
    print(f"\nvms -A, 10,000 VMs: {ours_s:.2f} s, bare {bare_s:.2f} s, ratio {ours_s / bare_s:.2f} (bar {RATIO})")
    print(f"vms -A, 10,000 VMs: {peak_mib:.0f} MiB (bar {LIMIT_MIB})")
    assert ours_s <= RATIO * bare_s
    assert peak_mib <= LIMIT_MIB
