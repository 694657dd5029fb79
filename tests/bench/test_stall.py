"""A consumer that takes nothing for five pong deadlines keeps its stream, and every byte arrives afterwards.

Deadline and trickle are scaled alike (1.5 s for 60 s); `make soak` does the same at the real figures.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.lab.guest_ports import chargen_block
from tests.conftest import RunningLab, vmbroker
from tests.journeys.person import Person

DEADLINE_S = 1.5
SCALE = DEADLINE_S / 60
STALL_S = 5 * DEADLINE_S
MIB = 1 << 20


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """The administrator of a lab whose virt-api hangs up after a fortieth of the real time."""
    state = tmp_path / "state"
    started = vmbroker("lab", "up", "--pong-deadline", str(DEADLINE_S), "--state-dir", str(state))
    assert started.returncode == 0, started.stderr
    try:
        yield Person(lab=RunningLab(state_dir=state), home=tmp_path)
    finally:
        vmbroker("lab", "down", "--state-dir", str(state))


def proxy(person: Person, port: int) -> subprocess.Popen[bytes]:
    """Start `vmbroker proxy` to a plain port of the guest, its trickle scaled as the lab's deadline is."""
    words = ("--set", f"stream.trickle_every_s={20 * SCALE}", "proxy", "vm/web/shop", str(port))
    return subprocess.Popen(person.vmbroker_argv(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=person.environ)


def stall() -> None:
    """Take nothing for five deadlines: this pause is what is measured."""
    time.sleep(STALL_S)


@pytest.mark.bench
def test_two_mib_pending_survive_and_the_stream_goes_on(person: Person) -> None:
    sent = os.urandom(2 * MIB)
    process = proxy(person, 7)
    assert process.stdin is not None
    assert process.stdout is not None
    feeding = threading.Thread(target=lambda: (process.stdin.write(sent), process.stdin.flush()))  # type: ignore[union-attr]
    feeding.start()
    try:
        stall()
        assert process.poll() is None
        assert process.stdout.read(len(sent)) == sent
        feeding.join(30)
        process.stdin.write(b"still here")
        process.stdin.flush()
        assert process.stdout.read(10) == b"still here"
    finally:
        process.kill()
        process.communicate()
    print(f"\nstalled {STALL_S:g} s (5 deadlines) with 2 MiB pending: alive, every byte arrived")


@pytest.mark.bench
def test_an_endless_download_survives(person: Person) -> None:
    process = proxy(person, 19)
    assert process.stdout is not None
    count = 48 * MIB
    try:
        stall()
        assert process.poll() is None
        seen = process.stdout.read(count)
    finally:
        process.kill()
        process.communicate()
    block = chargen_block()
    assert seen == (block * (count // len(block) + 1))[:count]
    print(f"\nstalled {STALL_S:g} s (5 deadlines) in an endless download: alive, 48 MiB read afterwards, every byte right")
