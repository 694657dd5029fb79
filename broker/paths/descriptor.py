"""Standard input and output as they are handed to us: pipe, socket, terminal or file, shared with other processes.

Nothing here changes their O_NONBLOCK flag, which belongs to every process that has them open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from collections.abc import Sequence
from typing import Final

READ_BYTES: Final = 65_536
"""Bytes taken from a source at once (a pipe's capacity on Linux)."""

PARTS: Final = 64
"""Chunks of one gathering write at most (IOV_MAX is 1024 or more)."""

WRITE_BYTES: Final = 262_144
"""Bytes offered to a sink at once."""


class Source:
    """A descriptor to read from after a poll said that it is ready."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_open = _is_open(fd)

    def read(self) -> bytes:
        """Return what is there; empty at the end (`is_open` turns False) or when it was not ready after all."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:  # a terminal that hung up says EIO
            data = b""
        if not data:
            self.is_open = False
        return data


class Sink:
    """A descriptor to write to without ever waiting in the write; `fd` is the one to poll.

    Sockets by MSG_DONTWAIT; pipes and terminals by a second open description where the system gives one, else in pieces of
    PIPE_BUF after a poll (POSIX: such a write does not wait); files as they are.
    """

    def __init__(self, fd: int) -> None:
        self.is_broken = not _is_open(fd)
        self.failure: OSError | None = None
        self.fd = fd
        self._sock: socket.socket | None = None
        self._own_fd: int | None = None
        self.needs_poll = False
        if self.is_broken:
            return
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._sock = socket.socket(fileno=os.dup(fd))
            self.fd = self._sock.fileno()
        elif not stat.S_ISREG(mode):
            self._reopen()

    def _reopen(self) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._own_fd = os.open(f"/proc/self/fd/{self.fd}", flags)
            self.fd = self._own_fd
        except OSError:
            self.needs_poll = True

    def write(self, chunks: Sequence[bytes | bytearray]) -> int:
        """Write what fits now and return its size; 0 when full, `is_broken` turns True when nobody reads any more.

        A full disk or a file's limit breaks it too, and is kept in `failure`: what was lost then must be told.
        """
        try:
            if self._sock is not None:
                return self._sock.sendmsg(chunks, [], socket.MSG_DONTWAIT)
            if self.needs_poll:
                return os.write(self.fd, chunks[0][: select.PIPE_BUF])
            return os.writev(self.fd, chunks)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as exc:
            self.is_broken = True
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self.failure = exc
            return 0

    def close(self) -> None:
        """Free what was opened here; the descriptor that was handed in stays open."""
        if self._sock is not None:
            self._sock.close()
        if self._own_fd is not None:
            os.close(self._own_fd)
            self._own_fd = None


def _is_open(fd: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(fd)
        return True
    return False
