"""A signal in the middle of `ssh-config`: everything is undone, nothing goes on running, the status says which one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker.actions.ssh_home import shot
from tests.conftest import ROOT, need

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: one}}]
"""
DEADLINE_S = 20.0


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_undoes_an_installation(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """`before` our file is written while ssh is asked about other hosts, `after` it while our aliases are tried."""
    need("ssh", "openssh-client")
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    home = tmp_path / ".ssh"
    home.mkdir(mode=0o700)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    started, file = tmp_path / "started", home / "config"
    hosts = "example.com" if moment == "before" else "vm/*"
    file.write_text(
        f'Match originalhost {hosts} exec "echo $$ > {started}.new; mv {started}.new {started}; sleep 60; true"\n  User x\n'
    )
    before = shot(home)
    process = subprocess.Popen(
        [sys.executable, "-m", "broker.main", "ssh-config", "install", "--file", str(file)],
        env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )
    try:
        ends = time.monotonic() + DEADLINE_S
        while not started.exists() and time.monotonic() < ends:
            assert process.poll() is None
            time.sleep(0.01)
        assert (home / "vmbroker.conf").exists() is (moment == "after")
        shell = int(started.read_text())
        assert lives(shell)
        process.send_signal(number)
        process.send_signal(number)
        said, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, b"Traceback" in said) == (128 + number, False), said
    assert shot(home) == before
    while lives(shell) and time.monotonic() < ends + DEADLINE_S:
        time.sleep(0.01)
    assert not lives(shell)
