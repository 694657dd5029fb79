"""Bytes between a stream and what stands at our side: two descriptors (blocking) or an asyncio reader and writer.

KubeVirt's tunnel has no half-close (kubevirt.md A5): when our side has no more to send, the guest cannot learn it. So we keep
reading, and close after the guest was silent for a grace.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.paths.descriptor import PARTS, WRITE_BYTES, Sink, Source

if TYPE_CHECKING:
    import asyncio

    from broker.kube.cold import ColdStream
    from broker.kube.stream import Stream
    from broker.kube.tunnel import End

GRACE_S: Final = 10.0
"""Seconds of the guest's silence after the end of our input: more than a slow answer takes, less than a person waits."""

LINGER_S: Final = 2.0
"""Seconds to wait for the peer's Close after ours, so that bytes under way are not lost to a reset."""

_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """What one relay did: bytes each way, and how the stream ended (`end.error()` is None when nothing went wrong).

    `unwritten` is the error of an output that took no more although somebody wanted it: a full disk, a file's limit.
    """

    to_guest_bytes: int
    from_guest_bytes: int
    end: End
    unwritten: OSError | None = None


def relay_descriptors(
    stream: ColdStream, source_fd: int, sink_fd: int, *, grace_s: float = GRACE_S, linger_s: float = LINGER_S
) -> Relayed:
    """Copy both ways until the guest ends, our output breaks, or the guest is silent for `grace_s` after our input's end.

    Blocking, one thread, full duplex; a sink that takes nothing is buffered for by the stream's StallPolicy. Closes the stream
    in every case, leaves both descriptors as they were and raises no OSError of theirs.
    """
    source, sink = Source(source_fd), Sink(sink_fd)
    # A descriptor that was closed before we started may have become our own socket.
    own = stream.wire.fileno()
    source.is_open = source.is_open and source_fd != own
    sink.is_broken = sink.is_broken or sink_fd == own
    loop = _Loop(stream, source, sink, grace_s)
    try:
        loop.run()
    finally:
        sink.close()
        stream.close(linger_s if stream.ended is None else 0.0)
    assert stream.ended is not None
    return Relayed(
        to_guest_bytes=loop.to_guest_bytes,
        from_guest_bytes=loop.from_guest_bytes,
        end=stream.ended,
        unwritten=sink.failure,
    )


class _Loop:
    """The state of one blocking relay."""

    def __init__(self, stream: ColdStream, source: Source, sink: Sink, grace_s: float) -> None:
        self._wire = stream.wire
        self._fd = stream.wire.fileno()
        self._tunnel = stream.wire.tunnel
        self._source = source
        self._sink = sink
        self._grace_s = grace_s
        self._poll = select.poll()
        self._masks: dict[int, int] = {}
        self._quiet_since: float | None = None
        self.to_guest_bytes = 0
        self.from_guest_bytes = 0

    def run(self) -> None:
        tunnel, wire, source, sink = self._tunnel, self._wire, self._source, self._sink
        while not sink.is_broken and (tunnel.ended is None or tunnel.has_payload):
            now = time.monotonic()
            takes = source.is_open and tunnel.may_send
            self._watch(source.fd, select.POLLIN if takes else 0)
            self._watch(sink.fd, select.POLLOUT if tunnel.has_payload else 0, always=True)
            is_open = tunnel.ended is None
            if not is_open:
                self._release()
            reads = is_open and wire.wants_read(now)
            self._watch(
                wire.fileno(), (select.POLLIN if reads else 0) | (select.POLLOUT if is_open and wire.wants_write else 0)
            )
            wait_s = self._wait_s(now)
            if wait_s == 0.0 and self._grace_is_over(now):
                return
            ready = dict(self._poll.poll(0 if wire.has_more(now) else None if wait_s is None else int(wait_s * 1000) + 1))
            if takes and source.fd in ready:
                self._take(source.read())
            self._pump(ready.get(self._fd, 0))
            self._deliver(ready.get(sink.fd, 0))

    def _release(self) -> None:
        """Free the socket of a stream that ended, while what is left still goes to the sink."""
        if self._wire.fileno() >= 0:
            self._watch(self._fd, 0)
            self._wire.close()

    def _watch(self, fd: int, mask: int, *, always: bool = False) -> None:
        """Register a descriptor for `mask`; one with nothing to wait for is left out, lest its hang-up wakes us forever."""
        wanted = mask if mask or always else -1
        if self._masks.get(fd, -1) == wanted:
            return
        self._masks[fd] = wanted
        if wanted >= 0:
            self._poll.register(fd, wanted)
        else:
            self._poll.unregister(fd)

    def _take(self, data: bytes) -> None:
        self._tunnel.send(data)
        self.to_guest_bytes += len(data)

    def _pump(self, found: int) -> None:
        now = time.monotonic()
        due = self._tunnel.next_due()
        if self._tunnel.ended is None and (
            found & ~select.POLLOUT
            or self._wire.has_unfinished_read
            or (due is not None and now >= due)
            or self._wire.has_more(now)
        ):
            before = self._tunnel.pending_bytes
            self._wire.pump_in(now)
            if self._tunnel.pending_bytes != before:
                self._quiet_since = None
        if self._tunnel.unsent_bytes and self._wire.fileno() >= 0:
            self._wire.pump_out()

    def _deliver(self, found: int) -> None:
        sink, tunnel = self._sink, self._tunnel
        if not tunnel.has_payload:
            if found & _GONE:
                sink.is_broken = True
            return
        if found or not sink.needs_poll:
            size = sink.write(tunnel.chunks(PARTS, WRITE_BYTES))
            if size:
                tunnel.taken(size)
                self.from_guest_bytes += size

    def _wait_s(self, now: float) -> float | None:
        """Seconds until something is due by itself: the next trickle, or the end of the grace."""
        dues = []
        due = self._tunnel.next_due()
        if due is not None:
            dues.append(due)
        if not self._source.is_open and self._tunnel.ended is None and not self._tunnel.unsent_bytes:
            if self._quiet_since is None or self._tunnel.has_payload:
                self._quiet_since = now
            dues.append(self._quiet_since + self._grace_s)
        return max(min(dues) - now, 0.0) if dues else None

    def _grace_is_over(self, now: float) -> bool:
        return (
            not self._source.is_open
            and self._quiet_since is not None
            and now >= self._quiet_since + self._grace_s
            and not self._tunnel.has_payload
            and not self._tunnel.unsent_bytes
        )


async def relay_stream(
    stream: Stream,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    grace_s: float = GRACE_S,
    linger_s: float = LINGER_S,
) -> Relayed:
    """Copy both ways between a stream and a local connection, with the same end rules as `relay_descriptors`.

    Bounded on both sides (`drain`, the stream's StallPolicy). Closes stream and writer in every case, also when cancelled.
    """
    import asyncio

    from broker.tasks import Supervisor

    counts = _Counts(heard_at=asyncio.get_running_loop().time())
    try:
        async with Supervisor("relay") as tasks:
            down = tasks.start(_down(stream, writer, counts), name="from-guest")
            up = tasks.start(_up(stream, reader, counts, grace_s), name="to-guest")
            await asyncio.wait((down, up), return_when=asyncio.FIRST_COMPLETED)
        await stream.aclose(linger_s)
    finally:
        stream.abort()
        writer.close()
    end = stream.ended
    assert end is not None
    return Relayed(to_guest_bytes=counts.to_guest_bytes, from_guest_bytes=counts.from_guest_bytes, end=end)


@dataclass(slots=True, kw_only=True)
class _Counts:
    heard_at: float
    to_guest_bytes: int = 0
    from_guest_bytes: int = 0


async def _down(stream: Stream, writer: asyncio.StreamWriter, counts: _Counts) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        while data := await stream.read():
            counts.heard_at = loop.time()
            writer.write(data)
            await writer.drain()
            counts.from_guest_bytes += len(data)
        await writer.drain()
    except OSError:
        return  # our side is gone: nobody reads


async def _up(stream: Stream, reader: asyncio.StreamReader, counts: _Counts, grace_s: float) -> None:
    import asyncio

    from broker.errors import BrokerError

    loop = asyncio.get_running_loop()
    try:
        while data := await reader.read(65_536):
            await stream.write(data)
            counts.to_guest_bytes += len(data)
        await stream.drain()
    except BrokerError:
        await asyncio.Event().wait()  # the stream ended: the other direction delivers what is left and ends
    except OSError:
        return
    quiet_since = loop.time()
    while True:
        heard_at = loop.time() if stream.pending_bytes else max(quiet_since, counts.heard_at)
        left_s = heard_at + grace_s - loop.time()
        if left_s <= 0:
            return
        await asyncio.sleep(left_s)
