"""At the real servers' deadlines: six minutes without reading, and thousands of connections one after another."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

import pytest

from broker.lab.guest_ports import chargen_block
from tests.conftest import RunningLab
from tests.journeys.person import Person

STALL_S = 360.0
AFTER_BYTES = 64 * 1024 * 1024
ROUNDS = 2000


@pytest.mark.soak
def test_an_endless_download_survives_six_minutes_of_a_stalled_reader(lab: RunningLab, tmp_path: Path) -> None:
    """Nothing is scaled: the pong deadline is 60 s (kubevirt.md M). Every byte read afterwards is what the guest sent."""
    person = Person(lab=lab, home=tmp_path)
    process = subprocess.Popen(
        person.vmbroker_argv("proxy", "vm/web/shop", "19"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=person.environ,
        pipesize=4096 if os.name == "posix" else -1,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.read(1)
        time.sleep(STALL_S)  # the stall itself is what is tested
        assert process.poll() is None
        seen = first + process.stdout.read(AFTER_BYTES - 1)
    finally:
        process.kill()
        process.communicate()
    block = chargen_block()
    whole = block * (AFTER_BYTES // len(block) + 1)
    assert seen == whole[:AFTER_BYTES]


@pytest.mark.soak
def test_thousands_of_connections_leave_the_lab_as_it_was(lab: RunningLab, tmp_path: Path) -> None:
    person = Person(lab=lab, home=tmp_path)
    environ = person.environ
    argv = person.vmbroker_argv("proxy", "vm/web/shop")
    for _ in range(ROUNDS):
        done = subprocess.run(argv, input=b"\r\n", stdout=subprocess.PIPE, env=environ, timeout=60, check=False)
        assert done.stdout.startswith(b"SSH-2.0-")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 200 * 1024
