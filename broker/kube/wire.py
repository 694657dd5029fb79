"""One non-blocking socket, plain or TLS, with a tunnel on it: the steps that the blocking and the asyncio front share."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from typing import Final

from broker.kube.tunnel import Tunnel

BATCH_BYTES: Final = 262_144
"""Bytes read at most before the other side gets its turn."""

_SEND_PARTS: Final = 16


_of_thread: Final = threading.local()


def _batch() -> memoryview:
    """The one buffer that all wires of a thread read into: what is read is parsed before the next read."""
    view: memoryview | None = getattr(_of_thread, "view", None)
    if view is None:
        view = _of_thread.view = memoryview(bytearray(BATCH_BYTES))
    return view


class Wire:
    """A connected socket (made non-blocking, owned) and its tunnel; the pumps never wait and never raise OSError.

    After each pump look at `wants_read`, `wants_write` and the tunnel; TLS may hold bytes that no poll shows: `has_more`.
    """

    def __init__(self, sock: socket.socket, tunnel: Tunnel) -> None:
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self.tunnel = tunnel
        self._read_needs_write = False
        self._write_needs_read = False
        self._is_closed = False
        sock.setblocking(False)

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        return self._sock.fileno()

    def wants_read(self, now: float) -> bool:
        """Whether to wait for the socket to become readable."""
        return self._write_needs_read or self.tunnel.read_allowance(now) > 0

    @property
    def wants_write(self) -> bool:
        """Whether to wait for the socket to become writable."""
        return self._read_needs_write or (self.tunnel.unsent_bytes > 0 and not self._write_needs_read)

    @property
    def has_unfinished_read(self) -> bool:
        """Whether a TLS read waits for the socket to take bytes."""
        return self._read_needs_write

    def has_more(self, now: float) -> bool:
        """Whether TLS holds bytes that may be read at once."""
        return self._tls is not None and not self._is_closed and self._tls.pending() > 0 and self.tunnel.read_allowance(now) > 0

    def pump_in(self, now: float) -> None:
        """Read what is there, within the tunnel's allowance and `BATCH_BYTES`."""
        self._write_needs_read = False
        self._read_needs_write = False
        room = min(BATCH_BYTES, self.tunnel.read_allowance(now))
        filled, is_eof, failure, view = 0, False, None, _batch()
        while filled < room:
            try:
                count = self._sock.recv_into(view[filled:room])
            except (BlockingIOError, ssl.SSLWantReadError, InterruptedError):
                break
            except ssl.SSLWantWriteError:
                self._read_needs_write = True
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                is_eof = True
                break
            except OSError as exc:
                failure = exc
                break
            if count == 0:
                is_eof = True
                break
            filled += count
            if self._tls is None:
                break
        if filled:
            self.tunnel.feed(view[:filled])
        if failure is not None:
            self.tunnel.lost(failure.strerror or failure)
        elif is_eof:
            self.tunnel.feed_eof()

    def pump_out(self) -> None:
        """Send what waits, as much as the socket takes."""
        queue = self.tunnel.outgoing()
        while queue:
            try:
                if self._tls is not None:
                    size = self._tls.send(queue[0])
                else:
                    size = self._sock.sendmsg(list(itertools.islice(queue, _SEND_PARTS)))
            except (BlockingIOError, ssl.SSLWantWriteError, InterruptedError):
                return
            except ssl.SSLWantReadError:
                self._write_needs_read = True
                return
            except OSError as exc:
                self._refuse_to_send(exc)
                return
            self.tunnel.sent(size)

    def _refuse_to_send(self, error: OSError) -> None:
        """The peer takes no more; what it sent before stays readable, so only a dead read side ends the stream."""
        self.tunnel.sent(self.tunnel.unsent_bytes)
        for _ in range(64):
            before = self.tunnel.pending_bytes
            self.pump_in(0.0)
            if self.tunnel.ended is not None or self.tunnel.pending_bytes == before:
                break
        self.tunnel.lost(error.strerror or error)

    def close(self) -> None:
        """Close the socket; does nothing the second time."""
        self._is_closed = True
        self._sock.close()
