"""What the tunnel server does after the upgrade: echo, discard, download, silence."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable

from tests.broker.kube.tunnelserver import Asked, Session

BANNER = b"SSH-2.0-test\r\n"


def block(size: int) -> bytes:
    """Bytes that differ everywhere, the same in every run."""
    return hashlib.shake_128(b"vmbroker").digest(size)


def echo(session: Session) -> None:
    for data in session.messages():
        session.send(data)


def banner_then_hold(session: Session) -> None:
    session.send(BANNER)
    for _ in session.messages():
        pass


def download(data: bytes, piece: int = 32_768) -> Callable[[Session], None]:
    """Send `data` in messages of `piece` bytes with a ping before each 16th, then end without a Close frame."""

    def run(session: Session) -> None:
        for start in range(0, len(data), piece):
            if start % (piece * 16) == 0:
                session.ping()
            session.send(data[start : start + piece])
        session.sent.set()
        session.sock.shutdown(socket.SHUT_WR)
        for _ in session.messages():  # unread frames of the client would turn the end into a reset
            pass

    return run


def endless(session: Session) -> None:
    """Send for ever until the client is gone."""
    data = bytes(32_768)
    while True:
        session.send(data)


def silent(until: threading.Event, limit_s: float) -> Callable[[Asked], bytes]:
    """Answer an upgrade with nothing: hang up when `until` is set."""

    def run(asked: Asked) -> bytes:
        until.wait(limit_s)
        return b""

    return run


def deaf(until: threading.Event, limit_s: float) -> Callable[[Session], None]:
    """Read and send nothing until `until` is set."""

    def run(session: Session) -> None:
        until.wait(limit_s)

    return run
