"""Bytes between a stream and a connected local socket, in a process that holds many of them.

As `broker.paths.relay` there is no half-close towards the guest: after our side's end we read on until the guest was silent
for a grace. Uses the loop's own socket calls: a stream reader with `drain` at each chunk costs a third of the throughput.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.errors import BrokerError
from broker.kube.tunnel import End, EndKind
from broker.paths.relay import GRACE_S, LINGER_S
from broker.tasks import Supervisor

if TYPE_CHECKING:
    from broker.kube.stream import Stream

_READ_BYTES: Final = 262_144
_TURN_BYTES: Final = 1_048_576
"""Bytes after which one direction lets the rest of the loop run."""


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Bytes carried so far, of one relay or of many together."""

    to_guest_bytes: int = 0
    from_guest_bytes: int = 0


async def relay_socket(
    stream: Stream, sock: socket.socket, traffic: Traffic, *, grace_s: float = GRACE_S, linger_s: float = LINGER_S
) -> End:
    """Copy both ways until the guest ends, the local peer breaks, or the guest is silent for `grace_s` after the peer's end.

    `sock` is connected and non-blocking. Both are closed in every case, also when cancelled (Close 1000 to the guest, at most
    `linger_s` for the peer's); the local peer sees a reset where the stream ended by a failure. Returns how the stream ended.
    """
    link = _Link(stream, sock, traffic, grace_s)
    try:
        async with Supervisor("relay") as tasks:
            down = tasks.start(link.down(), name="from-guest")
            up = tasks.start(link.up(), name="to-guest")
            stalled = tasks.start(link.stalled(), name="stalled")
            await asyncio.wait((down, up, stalled), return_when=asyncio.FIRST_COMPLETED)
        end = stream.ended
        if end is None:
            link.close_local()
        elif end.is_clean:
            stream.abort()
            await _part(sock, linger_s)
        else:
            reset(sock)
    finally:
        link.close_local()
        await _leave(stream, linger_s)
    assert stream.ended is not None
    return stream.ended


def reset(sock: socket.socket) -> None:
    """Close a connection so that its peer sees a reset, which no protocol takes for an orderly end."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class _Link:
    """The state of one relay."""

    def __init__(self, stream: Stream, sock: socket.socket, traffic: Traffic, grace_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._sock = sock
        self._traffic = traffic
        self._grace_s = grace_s
        self._heard_at = self._loop.time()

    async def down(self) -> None:
        """Copy from the guest until it ends or the peer takes no more."""
        turn_bytes = 0
        with contextlib.suppress(OSError):
            while data := await self._stream.read(_READ_BYTES):
                self._heard_at = self._loop.time()
                await self._loop.sock_sendall(self._sock, data)
                self._traffic.from_guest_bytes += len(data)
                turn_bytes += len(data)
                if turn_bytes >= _TURN_BYTES:
                    turn_bytes = 0
                    await asyncio.sleep(0)

    async def up(self) -> None:
        """Copy to the guest; returns when the peer broke, or after the grace that follows its end."""
        turn_bytes = 0
        try:
            while data := await self._loop.sock_recv(self._sock, _READ_BYTES):
                await self._stream.write(data)
                self._traffic.to_guest_bytes += len(data)
                turn_bytes += len(data)
                if turn_bytes >= _TURN_BYTES:
                    turn_bytes = 0
                    await asyncio.sleep(0)
            await self._stream.drain()
        except BrokerError:
            await asyncio.Event().wait()  # the stream ended: the other direction delivers what is left and ends
        except OSError:
            return
        await self._until_silent()

    async def stalled(self) -> None:
        """Return once the stream ended because the peer takes nothing: then nobody delivers what is left."""
        end = await self._stream.until_ended()
        if end.kind is not EndKind.STALLED:
            await asyncio.Event().wait()

    async def _until_silent(self) -> None:
        quiet_since = self._loop.time()
        while True:
            now = self._loop.time()
            heard_at = now if self._stream.pending_bytes else max(quiet_since, self._heard_at)
            left_s = heard_at + self._grace_s - now
            if left_s <= 0:
                return
            await asyncio.sleep(left_s)

    def close_local(self) -> None:
        """Close the local socket; does nothing the second time."""
        self._sock.close()


async def _part(sock: socket.socket, linger_s: float) -> None:
    """End our side and wait for the peer's end: closing over unread input would reset what it has not read yet."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(linger_s):
            while await loop.sock_recv(sock, 65_536):
                pass


async def _leave(stream: Stream, linger_s: float) -> None:
    try:
        if stream.ended is None:
            await stream.aclose(linger_s)
    finally:
        stream.abort()
