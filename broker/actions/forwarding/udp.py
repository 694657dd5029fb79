"""One UDP port of a forward: a stream for each local peer, which ends when the peer and the guest have long been silent.

A datagram is a message of the stream and a message a datagram (kubevirt.md A6). What cannot be carried is dropped, as UDP does,
and counted: an empty datagram too, since virt-api copies bytes and an empty message has none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from broker.actions.forwarding.dial import GuestDialer
from broker.actions.forwarding.listen import Listener
from broker.actions.forwarding.reports import Complaints, Tally
from broker.clean import clean
from broker.errors import BrokerError, Failed, GuestUnready, Refused
from broker.kube.stream import Stream
from broker.kube.tunnel import WRITE_BYTES
from broker.tasks import Supervisor

DATAGRAM_LIMIT_BYTES: Final = WRITE_BYTES
"""Payload of a datagram to the guest at most: virt-api copies no more at once."""
WAITING_LIMIT: Final = 64
"""Datagrams of one peer that wait for its stream; the oldest give way."""
WAITING_LIMIT_BYTES: Final = 262_144
HOLD_S: Final = 1.0
"""Seconds for which a peer whose stream failed gets no new one, whatever it sends."""

Address = tuple[str, int] | tuple[str, int, int, int]


class UdpForward(asyncio.DatagramProtocol):
    """Serves one socket; at most `limit` clients of the whole forward are open at once, peers past that get nothing."""

    def __init__(
        self,
        listener: Listener,
        dialer: GuestDialer,
        *,
        tally: Tally,
        complaints: Complaints,
        tasks: Supervisor,
        limit: int,
        idle_s: float,
    ) -> None:
        self.listening = listener.listening
        self._socket = listener.socket
        self.dialer = dialer
        self.tally = tally
        self.complaints = complaints
        self.idle_s = idle_s
        self._tasks = tasks
        self._limit = limit
        self._peers: dict[Address, _Peer] = {}
        self._transport: asyncio.BaseTransport | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Begin to serve the listener's socket, which is ours from now on."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=self._socket)

    def close(self) -> None:
        """Take no more datagrams; peers' tasks end with their supervisor."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Pass one datagram on to its peer's stream, which the first one opens."""
        if self._is_closed:
            return
        if not data:
            self.tally.dropped_datagrams += 1
            return
        if len(data) > DATAGRAM_LIMIT_BYTES:
            self.tally.dropped_datagrams += 1
            self.complaints.note(self.listening, _too_long())
            return
        peer = self._peers.get(addr)
        if peer is None:
            if self.tally.open >= self._limit:
                self.tally.dropped_datagrams += 1
                self.complaints.note(self.listening, _too_many(self._limit))
                return
            peer = self._peers[addr] = _Peer(self, addr)
            self.tally.opened()
            self._tasks.start(peer.run(), name=f"peer of {self.listening.local}")
        peer.take(data)

    def error_received(self, exc: Exception) -> None:
        """An answer that some earlier peer did not want is nobody's trouble."""

    def deliver(self, data: bytes, address: Address) -> None:
        """Send one datagram of the guest to its peer; dropped where the socket takes no more."""
        try:
            # Not by the transport, which buffers without bound and sends no empty datagram.
            self._socket.sendto(data, address)
        except OSError:
            self.tally.dropped_datagrams += 1
            return
        self.tally.traffic.from_guest_bytes += len(data)

    def forget(self, address: Address) -> None:
        """Let the next datagram of this peer open a stream."""
        self._peers.pop(address, None)


class _Peer:
    """One local address that sent datagrams."""

    def __init__(self, forward: UdpForward, address: Address) -> None:
        self._forward = forward
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._stream: Stream | None = None
        self._is_over = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._heard_at = self._loop.time()
        self._was_answered = False

    def take(self, data: bytes) -> None:
        """Send a datagram to the guest, or keep it until the stream is there."""
        self._heard_at = self._loop.time()
        tally = self._forward.tally
        if self._stream is not None and not self._is_over:
            if self._stream.send_message(data):
                tally.traffic.to_guest_bytes += len(data)
            else:
                tally.dropped_datagrams += 1
            return
        if self._is_over:
            tally.dropped_datagrams += 1
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        while len(self._waiting) > WAITING_LIMIT or self._waiting_bytes > WAITING_LIMIT_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft())
            tally.dropped_datagrams += 1

    async def run(self) -> None:
        """Open the stream, carry until both sides were silent for the idle time or the stream ended; raises nothing."""
        forward = self._forward
        try:
            await self._carry()
        except BrokerError as exc:
            self._fail(exc)
        except Exception as exc:  # a defect in one peer's relay must not end the others'
            self._fail(Failed(f"vmbroker met a defect of its own: {type(exc).__name__}", code="defect", cause=clean(exc)))
        finally:
            forward.tally.dropped_datagrams += len(self._waiting)
            self._waiting.clear()
            self._is_over, self._stream = True, None
            forward.tally.closed(self._loop.time())

    async def _carry(self) -> None:
        forward = self._forward
        stream = await forward.dialer.open(forward.listening.remote_port, "udp")
        forward.dialer.opened()
        try:
            self._stream = stream
            waiting, self._waiting = self._waiting, deque()
            for data in waiting:
                self.take(data)
            await self._receive(stream)
        finally:
            forward.dialer.closed()
            try:
                if stream.ended is None:
                    await stream.aclose()
            finally:
                stream.abort()
        forward.forget(self._address)

    async def _receive(self, stream: Stream) -> None:
        """Deliver what the guest sends; returns when idle or ended in order."""
        while True:
            try:
                async with asyncio.timeout_at(self._heard_at + self._forward.idle_s):
                    message = await stream.read_message()
            except TimeoutError:
                if self._loop.time() >= self._heard_at + self._forward.idle_s:
                    return
                continue
            if message is None:
                break
            self._heard_at = self._loop.time()
            self._was_answered = True
            self._forward.deliver(message, self._address)
        error = stream.ended.error() if stream.ended is not None else None
        if error is not None:
            raise error
        if not self._was_answered:
            raise _unanswered(self._forward.listening.remote_port)

    def _fail(self, error: BrokerError) -> None:
        forward = self._forward
        forward.tally.failed += 1
        forward.complaints.note(forward.listening, error)
        self._loop.call_later(HOLD_S, forward.forget, self._address)


def _unanswered(port: int) -> GuestUnready:
    return GuestUnready(
        f"the stream of UDP port {port} ended before the guest sent anything",
        code="udp-refused",
        cause="this is how it ends where nothing listens on that port",
        next_step="look whether the service runs in the guest, and on this port",
    )


def _too_long() -> Refused:
    return Refused(
        f"a datagram of more than {DATAGRAM_LIMIT_BYTES} bytes was dropped",
        code="datagram-too-long",
        cause="KubeVirt carries none that is longer",
        next_step="send smaller ones",
    )


def _too_many(limit: int) -> Refused:
    return Refused(
        f"{limit} clients are open, and a datagram of one more came",
        code="too-many-clients",
        cause="a forward serves that many at once",
        next_step="lower forward.udp_idle_s, so that silent peers make room sooner",
    )
