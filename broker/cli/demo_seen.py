"""What a step of the demo saw: it worked, or StepFailed says what was there instead."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broker.cli.demo_bench import Bench

_END_WITHIN_S = 2.0


class StepFailed(Exception):
    """A step did not do what it should have; the text says what was seen instead."""


def ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Return a run that ended with 0; StepFailed shows its first line on stderr."""
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["nothing on stderr"]
        raise StepFailed(f"exit status {done.returncode}: {words[0]}")
    return done


def check(is_right: bool, seen: str) -> None:
    """Raise StepFailed with what was seen where a claim is not right."""
    if not is_right:
        raise StepFailed(f"seen: {seen.strip()[:200] or 'nothing'}")


@contextmanager
def background(bench: Bench, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run vmbroker beside the block, and end it after it."""
    process = subprocess.Popen(
        bench.argv(*words),
        env=dict(bench.environ),
        cwd=bench.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End an ssh: one that gets SIGTERM just before it polls sleeps on (OpenSSH 9.2), so it is killed in the end."""
    process.terminate()
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int, limit_s: float) -> socket.socket:
    """Connect to a local port as soon as somebody listens; StepFailed after the limit in seconds."""
    until = time.monotonic() + limit_s
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=limit_s)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise StepFailed(f"nothing listens on port {port}") from None
            time.sleep(0.02)


def banner_at(port: int, limit_s: float) -> str:
    """Return the SSH banner that a local port gives; StepFailed where it gives none."""
    with wait_for_port(port, limit_s) as link:
        link.settimeout(limit_s)
        try:
            seen = link.recv(255)
        except OSError as exc:
            raise StepFailed(f"the forwarded port broke: {exc}") from exc
    check(seen.startswith(b"SSH-2.0-"), repr(seen))
    return seen.decode("ascii", "replace").strip()


def wait_until(is_done: Callable[[], bool], limit_s: float, complaint: str) -> None:
    """Return once it is done; StepFailed with the complaint after the limit in seconds."""
    until = time.monotonic() + limit_s
    while not is_done():
        if time.monotonic() > until:
            raise StepFailed(complaint)
        time.sleep(0.02)
