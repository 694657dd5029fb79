"""A blocking socket for http.client whose reads all end at one moment, however slowly or endlessly the other side talks."""

from __future__ import annotations

import io
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_BUFFER_BYTES = 65_536


class TimedSocket:
    """What http.client needs of a socket; closing it leaves the real one open, which its owner closes.

    `limit_s` seconds from now every read raises TimeoutError, whatever has come until then.
    """

    def __init__(self, sock: socket.socket, limit_s: float) -> None:
        self._sock = sock
        self._deadline = time.monotonic() + limit_s
        self.is_at_end = False
        """The other side has closed: nothing more comes."""

    def sendall(self, data: ReadableBuffer) -> None:
        """Send all of it within the time that is left."""
        self._sock.settimeout(self._left_s())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the reading side; `mode` is `rb`."""
        return io.BufferedReader(_Incoming(self), _BUFFER_BYTES)

    def close(self) -> None:
        """Do nothing."""

    def read_into(self, buffer: WriteableBuffer) -> int:
        """Receive once, as `socket.recv_into`; TimeoutError past the deadline."""
        self._sock.settimeout(self._left_s())
        size = self._sock.recv_into(buffer)
        self.is_at_end = self.is_at_end or not size
        return size

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        return left_s


class _Incoming(io.RawIOBase):
    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._timed.read_into(buffer)
