"""One measurement each of a program that joins its stdin and stdout to a guest port."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """An argv and its environment."""

    argv: Sequence[str]
    environ: Mapping[str, str]

    @contextmanager
    def running(self) -> Iterator[tuple[IO[bytes], IO[bytes], IO[bytes]]]:
        """Stdin, stdout and stderr of the running program, which is killed at the end."""
        process = subprocess.Popen(
            list(self.argv),
            env=dict(self.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process.stdin, process.stdout, process.stderr
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()


def down_rate(program: Program, size_bytes: int) -> float:
    """Bytes a second read from a port that sends for ever, after the first byte."""
    with program.running() as (_, stdout, _):
        assert os.read(stdout.fileno(), 1)
        began, count = time.perf_counter(), 0
        while count < size_bytes:
            data = os.read(stdout.fileno(), 1 << 18)
            assert data, "the program ended early"
            count += len(data)
        return count / (time.perf_counter() - began)


def up_rate(program: Program, size_bytes: int) -> float:
    """Bytes a second written to a port that discards, after the first 8 MiB have filled what buffers there are."""
    data = memoryview(bytes(1 << 18))
    with program.running() as (stdin, _, _):
        began, count = 0.0, 0
        while count < size_bytes + (8 << 20):
            if count >= 8 << 20 and not began:
                began = time.perf_counter()
                count = 8 << 20
            count += os.write(stdin.fileno(), data)
        return (count - (8 << 20)) / (time.perf_counter() - began)


def round_trip_s(program: Program, rounds: int) -> float:
    """Median seconds of one byte to an echo port and back."""
    took = []
    with program.running() as (stdin, stdout, _):
        for _ in range(rounds):
            began = time.perf_counter()
            os.write(stdin.fileno(), b"x")
            assert os.read(stdout.fileno(), 1) == b"x"
            took.append(time.perf_counter() - began)
    return sorted(took[rounds // 10 :])[len(took[rounds // 10 :]) // 2]


def banner_s(program: Program) -> tuple[float, bytes]:
    """Seconds from the start of the process to the first byte, and the first words of stderr (the bare loop's own open)."""
    began = time.perf_counter()
    with program.running() as (_, stdout, stderr):
        assert os.read(stdout.fileno(), 4) == b"SSH-"
        took = time.perf_counter() - began
        os.set_blocking(stderr.fileno(), False)
        return took, stderr.read() or b""
