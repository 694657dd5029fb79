"""Where the API server listens: a TLS port that can be shut, opened again, or taken without a word."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

from aiohttp import web

from broker.tasks import Supervisor

__all__ = ["Door", "listener_for"]

_BACKLOG = 512


class Door:
    """The listener of the API server and its connections.

    `cut_streams` cuts the connections that left HTTP behind (tunnels). A port that is shut stays reserved, so that the
    server comes back where clients look for it.
    """

    def __init__(
        self, runner: web.AppRunner, context: ssl.SSLContext, tasks: Supervisor, *, cut_streams: Callable[[], None]
    ) -> None:
        self._runner = runner
        self._context = context
        self._tasks = tasks
        self._cut_streams = cut_streams
        self._server: asyncio.Server | None = None
        self._port = 0
        self._place: socket.socket | None = None
        self._silence: _Silence | None = None
        self._change: asyncio.Task[None] | None = None

    async def open(self, listener: socket.socket) -> None:
        """Serve on a bound socket; OSError where that cannot be."""
        self._port = listener.getsockname()[1]
        await self._serve(listener)

    async def close(self) -> None:
        """Shut for good; harmless when repeated."""
        if self._change is not None:
            self._change.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._change
        self._shut()
        if self._place is not None:
            self._place.close()
            self._place = None

    def shut_for(self, seconds: float, *, reopened: Callable[[], None]) -> None:
        """Cut every connection and refuse new ones for so long, then serve again; calls `reopened` then."""
        self._shut()
        self._keep_port()
        self._begin(self._reopen(seconds, reopened))

    def fall_silent(self) -> None:
        """Cut every connection, then take new ones and say nothing on them, not even TLS, until `reopen`."""
        self._shut()
        self._keep_port()
        listener = _bound(self._port)
        listener.listen(_BACKLOG)
        self._begin(self._listen_silently(listener))

    def reopen(self, *, reopened: Callable[[], None]) -> None:
        """Serve again now; harmless while it serves."""
        if self._place is not None:
            self._begin(self._reopen(0, reopened))

    def _keep_port(self) -> None:
        """Hold the port while nobody listens on it: one that is bound refuses connections and is nobody else's."""
        if self._place is None:
            self._place = _bound(self._port)

    def _begin(self, change: Coroutine[object, object, None]) -> None:
        if self._change is not None:
            self._change.cancel()
        self._change = self._tasks.start(change, name="api-port")

    async def _reopen(self, seconds: float, reopened: Callable[[], None]) -> None:
        await asyncio.sleep(seconds)
        self._shut()
        await self._serve(_bound(self._port))
        if self._place is not None:
            self._place.close()
            self._place = None
        reopened()

    async def _serve(self, listener: socket.socket) -> None:
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(server, sock=listener, ssl=self._context, backlog=_BACKLOG, start_serving=False)
        await self._server.start_serving()

    async def _listen_silently(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        silence = self._silence = _Silence()
        self._server = await loop.create_server(lambda: _Mute(silence), sock=listener, backlog=_BACKLOG, start_serving=False)
        await self._server.start_serving()

    def _shut(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._silence is not None:
            self._silence.end()
            self._silence = None
        web_server = self._runner.server
        for connection in () if web_server is None else tuple(web_server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        self._cut_streams()


class _Silence:
    """The connections on which nothing is said; once it has ended, one that was just taken is cut too."""

    def __init__(self) -> None:
        self.connections: set[asyncio.Transport] = set()
        self.is_over = False

    def end(self) -> None:
        """Cut them all."""
        self.is_over = True
        for transport in tuple(self.connections):
            transport.abort()


class _Mute(asyncio.Protocol):
    """A connection on which nothing is read or said."""

    def __init__(self, silence: _Silence) -> None:
        self._silence = silence
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._silence.connections.add(transport)
        if self._silence.is_over:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._silence.connections.discard(self._transport)


def listener_for(directory: Path) -> socket.socket:
    """Bind the port of last time, so that kubeconfigs keep their meaning, else a free one, and note it there."""
    memory = directory / "port"
    try:
        wanted = int(memory.read_text())
        listener = _bound(wanted)
    except (OSError, ValueError, OverflowError):
        listener = _bound(0)
    memory.write_text(str(listener.getsockname()[1]))
    return listener


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener
