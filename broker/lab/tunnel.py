"""One tunnel of the portforward subresource: a websocket towards the client, a socket towards the guest.

Measured on the real virt-api (shared/reference/kubevirt.md M), and so here: one writer towards the client in which the
ping waits behind the data; a ping that cannot be written within the pong deadline ends the tunnel; only a pong renews
the read deadline; no half-close; no Close frame of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from collections import deque
from dataclasses import dataclass
from typing import Self, cast

from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

__all__ = ["DatagramGuest", "Pace", "StreamGuest", "Tunnel", "cut_into_frames"]

MIB = 1024 * 1024
FRAME_BYTES = 10240
"""gorilla's write buffer in KubeVirt: a longer message goes out in fragments."""
UNBUFFERED_BYTES = 2 * (FRAME_BYTES + 14)
"""Past twice its buffer gorilla sends the whole message as one open fragment and closes it with an empty one."""
MESSAGE_BYTES = 32 * 1024
"""virt-api's copy loop: at most this much of the guest's stream in one message."""
READ_BYTES = 256 * 1024
STEP_BYTES = 784 * 1024
"""How much must drain from a full way to the client before it takes data again.

On the real way each hop's TCP window opens in steps; 0.75 MiB in one pong deadline was too little to see one, 1.5 MiB enough.
"""
KERNEL_BYTES = 64 * 1024
"""The send buffer towards the client; what lies ahead of the pings lies in the queue before it."""
CLOSE_LOOK_EVERY_S = 0.01
PIECE_BYTES = 32 * 1024
"""How much of the queue goes on at once, so that it drains evenly."""
PING = b"\x89\x0akeep alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The times of a tunnel: pings every `ping_every_s`, and the pong deadline, 60 s in the real virt-api.

    `ping_every_s` is scaled with a shortened deadline, so that it stays a sixtieth.
    """

    pong_deadline_s: float = 60.0

    @property
    def ping_every_s(self) -> float:
        """Seconds between pings: 1 with the real deadline."""
        return min(1.0, self.pong_deadline_s / 60)

    @property
    def ahead_bytes(self) -> int:
        """What the way to the client holds in front of the pings, beside the kernels' buffers (about 5 of 10 MiB)."""
        return max(int(5 * MIB * self.pong_deadline_s / 60), STEP_BYTES + 64 * 1024)


class Tunnel(asyncio.Protocol):
    """Takes over a client's connection from the HTTP server and relays until one end is gone."""

    def __init__(self, guest: StreamGuest | DatagramGuest, pace: Pace) -> None:
        self._loop = asyncio.get_running_loop()
        self._guest = guest
        self._pace = pace
        self._client: asyncio.Transport | None = None
        self._http: asyncio.BaseProtocol | None = None
        self._wire = ServerProtocol(state=State.OPEN, max_size=None)
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._blocked_at_bytes = 0
        self._is_open = True
        self._is_writable = True
        self._is_reading = True
        self._missed_deadline = False
        self._in_text = False
        self._ping_since: float | None = None
        self._last_pong = self._loop.time()
        self._tick: asyncio.TimerHandle | None = None
        self.reason = ""

    def take_over(self, transport: asyncio.Transport, http: asyncio.BaseProtocol) -> None:
        """Become the protocol of the client's transport; `http` hears of the end of the connection."""
        self._client, self._http = transport, http
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=PIECE_BYTES, low=PIECE_BYTES // 2)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The kernel reports room only once a third of its buffer is free: a large one would be a step of its own.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)

    def start(self) -> None:
        """Begin to relay and to ping."""
        self._guest.relay_to(self)
        self._last_pong = self._loop.time()
        self._tick = self._loop.call_later(self._pace.ping_every_s, self._ticked)

    async def ended(self) -> None:
        """Return once the client's connection is gone."""
        await self._ended

    def abort(self) -> None:
        """Cut both ends, whatever is still on the way."""
        if self._client is not None:
            self._client.abort()
        self._guest.abort()

    # from the guest

    def guest_sent(self, data: memoryview) -> None:
        """Pass on what was read from the guest (at most READ_BYTES)."""
        if self._client is None or self._client.is_closing() or self.reason:
            return
        parts: list[bytes | memoryview] = []
        for start in range(0, len(data), MESSAGE_BYTES):
            parts += cut_into_frames(data[start : start + MESSAGE_BYTES])
        self._send(b"".join(parts))

    def guest_ended(self) -> None:
        """The guest's end is gone: what was read before still goes out, then the connection just ends."""
        self._finish("the guest closed")

    def guest_writable(self, is_writable: bool) -> None:
        """Stop or resume reading from the client, as the guest takes data."""
        self._is_reading = is_writable
        if self._client is None or self._client.is_closing():
            return
        if is_writable:
            self._client.resume_reading()
            if self._missed_deadline:
                self._finish("no pong in time")
        else:
            self._client.pause_reading()

    # from the client (asyncio.Protocol)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the websocket apart (RFC 6455)."""
        self._wire.receive_data(data)
        payloads: list[bytes] = []
        for frame in self._wire.events_received():
            opcode = getattr(frame, "opcode", None)
            if opcode is Opcode.PONG:
                self._last_pong = self._loop.time()
            elif opcode is Opcode.BINARY or (opcode is Opcode.CONT and not self._in_text):
                self._in_text = False
                payloads.append(bytes(frame.data))  # type: ignore[union-attr]
            elif opcode is Opcode.TEXT:
                self._in_text = True
        if payloads:
            self._guest.send(payloads)
        replies = self._wire.data_to_send()
        if replies and self._client is not None and not self._client.is_closing():
            self._send(b"".join(replies))
            if replies[-1] == b"":
                self._finish("the client closed")

    def eof_received(self) -> bool:
        """A half-closed client is a gone client: there is no half-close."""
        self._finish("the client closed")
        return False

    def pause_writing(self) -> None:
        """The kernel takes no more for now: what follows waits in the queue."""
        self._is_open = False

    def resume_writing(self) -> None:
        """The kernel takes data again; once the queue has drained by a step, a waiting ping goes first."""
        self._is_open = True
        while self._queue and self._is_open and self._client is not None:
            piece = self._queue.popleft()
            self._queued_bytes -= len(piece)
            self._client.write(piece)
        if self.reason:
            self._close_when_sent()
        elif not self._is_writable and self._queued_bytes <= self._blocked_at_bytes - STEP_BYTES:
            self._is_writable = True
            if self._ping_since is not None:
                self._ping_since = None
                self._ping()
            self._guest.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: so is the guest's socket, and the HTTP server may forget the connection."""
        if self._tick is not None:
            self._tick.cancel()
        self._guest.abort()
        if self._http is not None:
            self._http.connection_lost(exc)
        self._client = self._http = None
        if not self._ended.done():
            self._ended.set_result(None)

    def _ticked(self) -> None:
        now = self._loop.time()
        deadline = self._pace.pong_deadline_s
        if self._client is None or self._client.is_closing() or self.reason:
            return
        if self._ping_since is not None and now - self._ping_since > deadline:
            self._finish("a ping could not be written in time")
            return
        if now - self._last_pong > deadline:
            self._missed_deadline = True
            if self._is_reading:
                self._finish("no pong in time")
                return
        if self._is_writable:
            self._ping()
        elif self._ping_since is None:
            self._ping_since = now
        self._tick = self._loop.call_later(self._pace.ping_every_s, self._ticked)

    def _ping(self) -> None:
        if self._client is not None and not self._client.is_closing():
            self._send(PING)

    def _send(self, data: bytes) -> None:
        """Write behind all that was written before; past `ahead_bytes` of it the writer is blocked."""
        if self._is_open and not self._queue and self._client is not None:
            self._client.write(data)
            return
        view = memoryview(data)
        self._queue.extend(view[start : start + PIECE_BYTES] for start in range(0, len(view), PIECE_BYTES))
        self._queued_bytes += len(view)
        if self._is_writable and self._queued_bytes > self._pace.ahead_bytes:
            self._is_writable, self._blocked_at_bytes = False, self._queued_bytes
            self._guest.pause()

    def _finish(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
        self._guest.abort()
        self._close_when_sent()

    def _close_when_sent(self, *, was_empty: bool = False) -> None:
        """Close once the client's kernel has everything: asyncio's TLS drops what is left when a pong comes after its end."""
        client = self._client
        if self._queue or client is None or client.is_closing():
            return
        is_empty = _unsent_bytes(client) == 0
        if is_empty and was_empty:
            client.close()
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick = self._loop.call_later(0 if is_empty else CLOSE_LOOK_EVERY_S, self._look_again, is_empty)

    def _look_again(self, was_empty: bool) -> None:
        self._close_when_sent(was_empty=was_empty)


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """What the kernel has not handed over yet; 0 where it does not tell (not Linux)."""
    raw = transport.get_extra_info("socket")
    try:
        told = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, AttributeError):
        return 0
    return int.from_bytes(told, sys.byteorder)


def cut_into_frames(data: memoryview) -> list[bytes | memoryview]:
    """Return one message as gorilla's messageWriter (conn.go) puts it on the wire: frame headers and payloads in turn."""
    size = len(data)
    if size <= FRAME_BYTES:
        return [_header(0x82, size), data]
    if size > UNBUFFERED_BYTES:
        return [_header(0x02, size), data, b"\x80\x00"]
    parts: list[bytes | memoryview] = [_header(0x02, FRAME_BYTES), data[:FRAME_BYTES]]
    for start in range(FRAME_BYTES, size, FRAME_BYTES):
        piece = data[start : start + FRAME_BYTES]
        parts += [_header(0x80 if start + FRAME_BYTES >= size else 0x00, len(piece)), piece]
    return parts


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    return bytes((first, 126)) + size.to_bytes(2, "big")


class StreamGuest(asyncio.BufferedProtocol):
    """The TCP connection to a guest."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._tunnel: Tunnel | None = None
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._is_lost = False

    @classmethod
    async def dial(cls, address: str, port: int) -> Self:
        """Connect without a limit of time of its own, as virt-api does; OSError as the kernel says."""
        loop = asyncio.get_running_loop()
        _, guest = await loop.create_connection(cls, address, port)
        return guest

    def relay_to(self, tunnel: Tunnel) -> None:
        """Start to read; the guest's bytes go to `tunnel`."""
        self._tunnel = tunnel
        if self._is_lost or self._transport is None:
            tunnel.guest_ended()
        else:
            self._transport.resume_reading()

    def send(self, payloads: list[bytes]) -> None:
        """Write to the guest."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(payloads[0] if len(payloads) == 1 else b"".join(payloads))

    def pause(self) -> None:
        """Stop reading from the guest."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the guest again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the guest's socket; what was written before still reaches the kernel."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold the guest's bytes back until the tunnel stands."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.pause_reading()
        transport.set_write_buffer_limits(high=READ_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> bytearray:
        """One buffer for all reads: what is read is passed on before the next one."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        if self._tunnel is not None:
            self._tunnel.guest_sent(self._view[:nbytes])

    def eof_received(self) -> bool:
        """There is no half-close: the end of the guest's output ends both directions."""
        return False

    def pause_writing(self) -> None:
        """The guest takes no more for now."""
        if self._tunnel is not None:
            self._tunnel.guest_writable(False)

    def resume_writing(self) -> None:
        """The guest takes data again."""
        if self._tunnel is not None:
            self._tunnel.guest_writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the tunnel."""
        self._is_lost, self._transport = True, None
        if self._tunnel is not None:
            self._tunnel.guest_ended()


class DatagramGuest(asyncio.DatagramProtocol):
    """A UDP socket connected to a guest: one websocket message is one datagram."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._tunnel: Tunnel | None = None
        self._is_paused = False

    @classmethod
    async def dial(cls, address: str, port: int) -> Self:
        """Make the socket; whether anything listens cannot be told."""
        loop = asyncio.get_running_loop()
        _, guest = await loop.create_datagram_endpoint(cls, remote_addr=(address, port))
        return guest

    def relay_to(self, tunnel: Tunnel) -> None:
        """Pass datagrams on to `tunnel` from now on."""
        self._tunnel = tunnel

    def send(self, payloads: list[bytes]) -> None:
        """Send each payload as a datagram."""
        for payload in payloads:
            if self._transport is not None:
                self._transport.sendto(payload)

    def pause(self) -> None:
        """Datagrams are dropped while the client takes nothing."""
        self._is_paused = True

    def resume(self) -> None:
        """Datagrams are passed on again."""
        self._is_paused = False

    def abort(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio's own is no subclass of the class it stands for)."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Pass one datagram on as one message."""
        if self._tunnel is not None and not self._is_paused:
            self._tunnel.guest_sent(memoryview(data))

    def error_received(self, exc: Exception) -> None:
        """An ICMP refusal ends the tunnel, since Go's next read fails."""
        if self._tunnel is not None:
            self._tunnel.guest_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the tunnel."""
        self._transport = None
        if self._tunnel is not None:
            self._tunnel.guest_ended()
