"""How long the program takes to say its help, against a bare interpreter of the same venv."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROUNDS = 25


def once(argv: list[str], env: dict[str, str] | None = None) -> float:
    """Wall seconds of one whole process."""
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, env=env, check=True)
    return time.perf_counter() - began


@pytest.mark.bench
def test_help_costs_at_most_three_bare_starts() -> None:
    program = str(Path(sys.executable).parent / "vmbroker")
    ours, bare, empty = [], [], []
    for _ in range(ROUNDS):
        ours.append(once([program, "--help"]))
        bare.append(once([sys.executable, "-I", "-c", "import argparse"]))
        empty.append(once([sys.executable, "-I", "-S", "-c", "pass"]))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(
        f"\n--help {statistics.median(ours) * 1e3:.1f} ms, bare {statistics.median(bare) * 1e3:.1f} ms, ratio {ratio:.2f}"
        f" (bar 3); python -I -S -c pass {statistics.median(empty) * 1e3:.1f} ms"
    )
    assert ratio <= 3
