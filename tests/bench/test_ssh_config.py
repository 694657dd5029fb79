"""How long installation takes on a large file of a user's."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROUNDS = 7
LINES = 10_000
BAR_S = 0.5
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}, {name: two, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
"""


def cpu_s() -> float:
    """CPU seconds of all processes that ended below this one."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.bench
def test_installing_on_ten_thousand_lines_takes_half_a_second(tmp_path: Path) -> None:
    """Whole command with its proof by `ssh -G`, process start included; the bare start of the same interpreter beside it."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    file = tmp_path / "config"
    block = "Host h{0} h{0}.example.com\n  User u{0}\n  Port 22\n  IdentityFile ~/.ssh/id_{0}\n  # note\n"
    file.write_text("".join(block.format(number) for number in range(LINES // 5)))
    data = file.read_bytes()
    assert data.count(b"\n") == LINES
    words = [sys.executable, "-m", "broker.main", "--kubeconfig", str(tmp_path / "kubeconfig"), "ssh-config"]
    rounds: list[float] = []
    used = cpu_s()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([*words, "install", "--file", str(file)], stdout=subprocess.DEVNULL, cwd=ROOT, check=True)
        rounds.append(time.perf_counter() - began)
        subprocess.run([*words, "remove", "--file", str(file)], stdout=subprocess.DEVNULL, cwd=ROOT, check=True)
        assert file.read_bytes() == data
    used = (cpu_s() - used) / ROUNDS
    print(f"\nCPU of one install and one remove, ssh -G included: {used:.3f} s")
    print(f"ssh-config install, {LINES} lines: {statistics.median(rounds):.3f} s, worst {max(rounds):.3f} s (bar {BAR_S})")
    assert statistics.median(rounds) <= BAR_S
