"""A consumer that takes nothing for five pong deadlines keeps its stream, and every byte arrives afterwards.

Deadline and trickle are scaled alike (3 s for 60 s); `make soak` does the same at the real figures. Beside each stream stands
one that leaves the ping unread for longer than a deadline, as a client without a trickle does: the lab must hang up on it, else
the other's survival would say nothing.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from broker.lab.guest_ports import UNPRIVILEGED_OFFSET, chargen_block
from tests.bench.proxy_rounds import Program
from tests.conftest import RunningLab, vmbroker
from tests.journeys.person import Person

DEADLINE_S = 3.0
STALL_S = 5 * DEADLINE_S
TRICKLE_S = 20 * DEADLINE_S / 60
NO_TRICKLE_S = 50.0
LIMIT_S = 30.0
MIB = 1 << 20
PENDING_BYTES = 2 * MIB
AFTER_BYTES = 48 * MIB
"""More than the stream may hold for a stalled consumer (32 MiB) and the way to it together: the guest must go on sending."""
PORT_OFFSET = 0 if os.geteuid() == 0 or sys.platform == "darwin" else UNPRIVILEGED_OFFSET


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """The administrator of a lab whose virt-api hangs up after a twentieth of the real time."""
    state = tmp_path / "state"
    started = vmbroker("lab", "up", "--pong-deadline", str(DEADLINE_S), "--state-dir", str(state))
    assert started.returncode == 0, started.stderr
    try:
        yield Person(lab=RunningLab(state_dir=state), home=tmp_path)
    finally:
        stopped = vmbroker("lab", "down", "--state-dir", str(state))
        assert stopped.returncode == 0, stopped.stderr


def proxy(person: Person, port: int, **stream: float) -> Program:
    """`vmbroker proxy` to a plain port of the guest `web`, with settings of its stream."""
    words = [word for name, value in stream.items() for word in ("--set", f"stream.{name}={value}")]
    return Program(argv=person.vmbroker_argv(*words, "proxy", "vm/web/shop", str(port + PORT_OFFSET)), environ=person.environ)


def right_bytes(stdout: IO[bytes], count: int, pattern: bytes, start: int = 0) -> int:
    """How many of the next `count` bytes come and are those of the repeated `pattern` from its byte `start` on.

    Stops at the first read with a wrong byte, at the end, and where nothing comes for `LIMIT_S`.
    """
    seen, doubled = 0, pattern * 2
    while seen < count and select.select([stdout], [], [], LIMIT_S)[0]:
        data = os.read(stdout.fileno(), min(1 << 18, len(pattern), count - seen))
        at = (start + seen) % len(pattern)
        if not data or data != doubled[at : at + len(data)]:
            break
        seen += len(data)
    return seen


def has_ended(stdout: IO[bytes]) -> bool:
    """Whether the next thing that comes is the end."""
    return bool(select.select([stdout], [], [], LIMIT_S)[0]) and os.read(stdout.fileno(), 1) == b""


def write_all(stdin: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(stdin.fileno(), view) :]


def stall() -> None:
    """Take nothing for five deadlines: this pause is what is measured."""
    time.sleep(STALL_S)


@pytest.mark.bench
@pytest.mark.timeout(180)
def test_two_mib_pending_survive_and_the_stream_goes_on(person: Person) -> None:
    sent = os.urandom(PENDING_BYTES)
    ours = proxy(person, 7, trickle_every_s=TRICKLE_S)
    deaf = proxy(person, 7, trickle_every_s=NO_TRICKLE_S, free_bytes=65_536)
    with ours.running() as (stdin, stdout, _), deaf.running() as (deaf_stdin, deaf_stdout, _):
        write_all(stdin, sent)
        write_all(deaf_stdin, sent)
        stall()
        assert right_bytes(stdout, len(sent), sent) == len(sent)
        word, until, rounds = os.urandom(4096), time.monotonic() + DEADLINE_S, 0
        while time.monotonic() < until:
            write_all(stdin, word)
            assert right_bytes(stdout, len(word), word) == len(word)
            rounds += 1
        # What the kernels held still arrives, but nobody answers any more.
        right_bytes(deaf_stdout, len(sent), sent)
        assert has_ended(deaf_stdout)
    print(
        f"\nstalled {STALL_S:g} s (5 deadlines) with 2 MiB pending: every byte arrived, then {rounds} round trips in one more "
        "deadline; a client that leaves the pings unread was hung up on"
    )


@pytest.mark.bench
@pytest.mark.timeout(180)
def test_an_endless_download_survives_and_goes_on(person: Person) -> None:
    block = chargen_block()
    ours = proxy(person, 19, trickle_every_s=TRICKLE_S)
    deaf = proxy(person, 19, trickle_every_s=NO_TRICKLE_S)
    with ours.running() as (_, stdout, _), deaf.running() as (_, deaf_stdout, _):
        # One byte of each shows that both downloads are under way.
        assert right_bytes(stdout, 1, block) == right_bytes(deaf_stdout, 1, block) == 1
        stall()
        seen = 1 + right_bytes(stdout, AFTER_BYTES, block, 1)
        assert seen == 1 + AFTER_BYTES
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            assert right_bytes(stdout, MIB, block, seen) == MIB
            seen += MIB
        lost_at = 1 + right_bytes(deaf_stdout, AFTER_BYTES, block, 1)
        assert lost_at <= AFTER_BYTES
        assert has_ended(deaf_stdout)
    print(
        f"\nstalled {STALL_S:g} s (5 deadlines) in an endless download: {seen / MIB:.0f} MiB read afterwards and in one more "
        f"deadline, every byte right; without the trickle it ends after {lost_at / MIB:.0f} MiB"
    )
