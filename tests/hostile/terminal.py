"""Commands run on real terminals, stdout and stderr each on one of its own, and every byte that they wrote there."""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
Pair = tuple[int, int]
_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run wrote on its two terminals, byte for byte, and its exit status (negative: the signal that ended it).

    `peak_bytes` is the memory that it held at most, what it shares included.
    """

    status: int
    stdout: bytes
    stderr: bytes
    peak_bytes: int = 0
    took_s: float = 0.0

    @property
    def said(self) -> str:
        """Both as text, for messages of a failed test."""
        return f"status {self.status}\n{self.stdout[-3000:]!r}\n{self.stderr[-3000:]!r}"


def open_terminals() -> tuple[Pair, Pair]:
    """Open two terminals that change no byte on the way, 200 cells wide; each is (ours, the program's)."""
    pairs = (pty.openpty(), pty.openpty())
    for _, slave in pairs:
        tty.setraw(slave)
        termios.tcsetwinsize(slave, (50, 200))
    return pairs


def attach(terminals: tuple[Pair, Pair]) -> None:
    """Make them stdout and stderr of this process, the second also its stdin."""
    for fd, (_, slave) in ((1, terminals[0]), (2, terminals[1]), (0, terminals[1])):
        os.dup2(slave, fd)
    for master, slave in terminals:
        os.close(master)
        os.close(slave)


def collect(pid: int, terminals: tuple[Pair, Pair], limit_s: float) -> Seen:
    """Read both terminals until the process has ended; it is killed after `limit_s` seconds or 64 MiB."""
    for _, slave in terminals:
        os.close(slave)
    parts: dict[int, bytearray] = {master: bytearray() for master, _ in terminals}
    began = time.monotonic()
    open_ends, deadline = set(parts), began + limit_s
    while open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], max(deadline - time.monotonic(), 0))
        if not ready or sum(map(len, parts.values())) > _LIMIT_BYTES:
            os.kill(pid, signal.SIGKILL)
            break
        for end in ready:
            try:
                data = os.read(end, 65_536)
            except OSError:  # EIO: the last holder of the other side has gone
                data = b""
            if data:
                parts[end] += data
            else:
                open_ends.discard(end)
    _, status, used = os.wait4(pid, 0)
    took_s = time.monotonic() - began
    stdout, stderr = (bytes(parts[master]) for master, _ in terminals)
    for master, _ in terminals:
        os.close(master)
    peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Seen(status=os.waitstatus_to_exitcode(status), stdout=stdout, stderr=stderr, peak_bytes=peak_bytes, took_s=took_s)


def run_program(words: Sequence[str], env: Mapping[str, str], *, limit_s: float = 30) -> Seen:
    """Run any program on two terminals of its own, as a person's shell does."""
    terminals = open_terminals()
    (_, out), (_, err) = terminals
    process = subprocess.Popen(words, env=dict(env), stdin=err, stdout=out, stderr=err, start_new_session=True, cwd=ROOT)
    seen = collect(process.pid, terminals, limit_s)
    process.returncode = seen.status
    return seen


def run_vmbroker(words: Sequence[str], env: Mapping[str, str], *, limit_s: float = 30) -> Seen:
    """Run vmbroker in a process of its own."""
    return run_program([sys.executable, "-P", "-m", "broker.main", *words], env, limit_s=limit_s)


@dataclass(slots=True, kw_only=True)
class Zygote:
    """The forking process of `tests.hostile.zygote`."""

    stdin: IO[str]
    stdout: IO[str]

    def run(self, words: Sequence[str], env: Mapping[str, str], *, limit_s: float = 30) -> Seen:
        """Run vmbroker as a fork of what is loaded already."""
        self.stdin.write(json.dumps({"words": list(words), "env": dict(env), "limit_s": limit_s}) + "\n")
        self.stdin.flush()
        answer = json.loads(self.stdout.readline())
        stdout, stderr = (base64.b64decode(answer[name]) for name in ("stdout", "stderr"))
        return Seen(
            status=answer["status"],
            stdout=stdout,
            stderr=stderr,
            peak_bytes=answer["peak_bytes"],
            took_s=answer["took_s"],
        )


@contextmanager
def zygote() -> Iterator[Zygote]:
    """Start it, and end it with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield Zygote(stdin=process.stdin, stdout=process.stdout)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class Crew:
    """Several of them, for runs that do not touch one another."""

    def __init__(self, runners: Sequence[Zygote]) -> None:
        self._free: SimpleQueue[Zygote] = SimpleQueue()
        self._count = len(runners)
        for each in runners:
            self._free.put(each)

    def run_all(self, runs: Sequence[tuple[Sequence[str], Mapping[str, str]]], *, limit_s: float = 30) -> list[Seen]:
        """Run every (words, environment), as many at once as there are runners; the answers in the same order."""
        with ThreadPoolExecutor(self._count) as pool:
            return list(pool.map(lambda each: self._run(each[0], each[1], limit_s), runs))

    def _run(self, words: Sequence[str], env: Mapping[str, str], limit_s: float) -> Seen:
        runner = self._free.get()
        try:
            return runner.run(words, env, limit_s=limit_s)
        finally:
            self._free.put(runner)
