"""The lab with 10,000 VMs stays small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import vmbroker

LIMIT_MIB = 400


def resident_mib(pid: int) -> float:
    """Resident memory of one process, in MiB (proc(5), VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} tells no VmRSS")


@pytest.mark.bench
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_thousand_vms_fit(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    started = vmbroker("lab", "up", "--vms", "10000", "--state-dir", state, timeout_s=120)
    assert started.returncode == 0, started.stderr
    try:
        status = json.loads(vmbroker("lab", "status", "-o", "json", "--state-dir", state).stdout)
        config = vmbroker("lab", "kubeconfig", "--path", "--state-dir", state).stdout.strip()
        listed = vmbroker("--kubeconfig", config, "vms", "-A", "-o", "name", timeout_s=120)
        assert len(listed.stdout.splitlines()) >= 10_000, listed.stderr
        used = resident_mib(int(status["pid"]))
    finally:
        vmbroker("lab", "down", "--state-dir", state)
    print(f"\nlab with 10,000 VMs: {used:.0f} MiB after a whole list (bar {LIMIT_MIB})")
    assert used <= LIMIT_MIB
