"""One TCP port of a forward: each client is dialled for and relayed by a task of its own, and its trouble is its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
from typing import Final

from broker.actions.forwarding.dial import GuestDialer
from broker.actions.forwarding.listen import Listener
from broker.actions.forwarding.reports import Complaints, Tally
from broker.clean import clean
from broker.errors import BrokerError, Failed, Refused
from broker.paths.relay_socket import relay_socket, reset
from broker.tasks import Supervisor

_PAUSE_S: Final = 0.2
"""Seconds without accepting after the machine refused a descriptor."""
_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TcpForward:
    """Serves one listener; at most `limit` clients of the whole forward are open at once, one more is reset at once."""

    def __init__(
        self,
        listener: Listener,
        dialer: GuestDialer,
        *,
        tally: Tally,
        complaints: Complaints,
        tasks: Supervisor,
        limit: int,
        grace_s: float,
    ) -> None:
        self._listener = listener
        self._dialer = dialer
        self._tally = tally
        self._complaints = complaints
        self._tasks = tasks
        self._limit = limit
        self._grace_s = grace_s
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Accept until cancelled."""
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._listener.socket)
            except OSError as exc:
                # Most are a client that left before it was accepted; without descriptors we wait for some.
                if exc.errno in _SHORTAGE:
                    self._complain(_short_of(exc))
                    await asyncio.sleep(_PAUSE_S)
                continue
            if self._tally.open >= self._limit:
                reset(sock)
                self._tally.connections += 1
                self._fail(_too_many(self._limit))
                continue
            self._tally.opened()
            task = self._tasks.start(self._client(sock), name=f"client of {self._listener.listening.local}")
            # Not in the task itself: one that is cancelled before its first step runs nothing.
            task.add_done_callback(functools.partial(self._gone, sock))

    async def _client(self, sock: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self._carry(sock)
        except BrokerError as exc:
            self._fail(exc)
        except Exception as exc:  # a defect in one client's relay must not end the others'
            self._fail(Failed(f"vmbroker met a defect of its own: {type(exc).__name__}", code="defect", cause=clean(exc)))

    def _gone(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        reset(sock)
        self._tally.closed(self._loop.time())

    async def _carry(self, sock: socket.socket) -> None:
        stream = await self._dialer.open(self._listener.listening.remote_port, "tcp")
        self._dialer.opened()
        try:
            end = await relay_socket(stream, sock, self._tally.traffic, grace_s=self._grace_s)
        finally:
            self._dialer.closed()
        error = end.error()
        if error is not None:
            raise error

    def _fail(self, error: BrokerError) -> None:
        self._tally.failed += 1
        self._complain(error)

    def _complain(self, error: BrokerError) -> None:
        self._complaints.note(self._listener.listening, error)


def _too_many(limit: int) -> Refused:
    return Refused(
        f"{limit} clients are open, and one more came",
        code="too-many-clients",
        cause="a forward serves that many at once",
        next_step="close some, or raise the limit of open files (ulimit -n) where it is lower than 2128",
    )


def _short_of(error: OSError) -> Failed:
    return Failed(
        "a client could not be accepted yet",
        code="no-descriptors",
        cause=clean(error.strerror or error),
        next_step="raise the limit of open files (ulimit -n)",
    )
