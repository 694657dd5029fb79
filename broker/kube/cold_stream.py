"""One guest port as a blocking byte stream, on one polled socket: for a process that lives as long as one connection."""

from __future__ import annotations

import select
import time

from broker.errors import Unreachable
from broker.kube.tunnel import End
from broker.kube.wire import Wire


class ColdStream:
    """One guest port as a blocking byte stream; `broker.paths.relay` drives its `wire` itself."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @property
    def ended(self) -> End | None:
        """Why the stream ended; None while it is open. Payload may wait after the end."""
        return self.wire.tunnel.ended

    def read(self, limit_bytes: int = 65_536, *, timeout_s: float | None = None) -> bytes:
        """Return up to `limit_bytes`, empty at the end; TimeoutError when nothing came in `timeout_s` seconds."""
        tunnel = self.wire.tunnel
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not tunnel.has_payload and tunnel.ended is None:
            self._step(deadline)
        return tunnel.take(limit_bytes)

    def write(self, data: bytes, *, timeout_s: float | None = None) -> None:
        """Send all of `data`; Unreachable when the stream has ended, TimeoutError when it takes longer than `timeout_s`."""
        tunnel = self.wire.tunnel
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        tunnel.send(data)
        self.wire.pump_out()
        while tunnel.unsent_bytes and tunnel.ended is None:
            self._step(deadline)
        if tunnel.ended is not None:
            raise tunnel.ended.error() or Unreachable("the stream has ended", code="stream-ended")

    def close(self, linger_s: float = 2.0) -> None:
        """Send a Close frame and wait up to `linger_s` for the peer's, so that what was sent before arrives; then close."""
        tunnel = self.wire.tunnel
        tunnel.discard()
        if tunnel.ended is None:
            tunnel.close()
            self.wire.pump_out()
        deadline = time.monotonic() + linger_s
        try:
            while tunnel.ended is None:
                self._step(deadline)
                tunnel.discard()
        except TimeoutError:
            tunnel.lost("")
        finally:
            self.wire.close()

    def _step(self, deadline: float | None) -> None:
        """Wait for the socket once and pump; TimeoutError past the deadline."""
        wire, now = self.wire, time.monotonic()
        if deadline is not None and now >= deadline:
            raise TimeoutError
        due = wire.tunnel.next_due()
        ends = [end for end in (deadline, due) if end is not None]
        mask = (select.POLLIN if wire.wants_read(now) else 0) | (select.POLLOUT if wire.wants_write else 0)
        poll = select.poll()
        if mask:
            poll.register(wire.fileno(), mask)
        wait_ms = None if not ends else max(0, int((min(ends) - now) * 1000) + 1)
        found = poll.poll(0 if wire.has_more(now) else wait_ms)
        if (found and found[0][1] & ~select.POLLOUT) or wire.has_unfinished_read or ends or wire.has_more(now):
            wire.pump_in(time.monotonic())
        wire.pump_out()
