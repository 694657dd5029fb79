"""What a forward tells while it runs: where it listens, why a client failed, and how much passed. **Pure** but for the loop's
timer, which holds back a reason that repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from broker.errors import BrokerError
from broker.paths.forward_spec import Protocol, endpoint
from broker.paths.relay_socket import Traffic

EVERY_S: Final = 1.0
"""Seconds in which one reason is told once; the next time it is told with how often it came."""
_KEYS_LIMIT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """One local port that is open: `address` is numeric, `port` the real one where LOCAL was 0, `word` what asked for it."""

    word: str
    protocol: Protocol
    address: str
    port: int
    remote_port: int

    @property
    def local(self) -> str:
        """Address and port as one word."""
        return endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFailure:
    """Why `count` clients of one local port got no stream, or lost it, since this was told last.

    `error` is the newest of them; the first was `since_s` seconds before this is told: 0 for one that is told at once.
    """

    listening: Listening
    error: BrokerError
    count: int = 1
    since_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a forward did so far; a UDP peer counts as a connection. `empty` is set while none is open, since `empty_since`."""

    connections: int = 0
    failed: int = 0
    open: int = 0
    dropped_datagrams: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    empty_since: float = 0.0

    def opened(self) -> None:
        """Note a new client."""
        self.connections += 1
        self.open += 1
        self.empty.clear()

    def closed(self, now: float) -> None:
        """Note that a client is gone."""
        self.open -= 1
        if self.open == 0:
            self.empty_since = now
            self.empty.set()


@dataclass(slots=True, kw_only=True)
class _Held:
    listening: Listening
    error: BrokerError
    waiting: int = 0
    since: float = 0.0


class Complaints:
    """Tells each reason at once, and one that repeats at most every `EVERY_S`, with a count and since when.

    A reason is code and message; of several causes the newest is told. What is held of a port comes before a reason that is new
    to it. Made in a running loop.
    """

    def __init__(self, tell: Callable[[ClientFailure], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._held: dict[tuple[str, str, str], _Held] = {}

    def note(self, listening: Listening, error: BrokerError) -> None:
        """Take one reason."""
        key = (listening.protocol + listening.local, error.code, error.message)
        held = self._held.get(key)
        if held is not None:
            if not held.waiting:
                held.since = self._loop.time()
            held.waiting += 1
            held.error = error
            return
        if len(self._held) >= _KEYS_LIMIT:
            return
        for other in self._held.values():
            if other.listening == listening:
                self._say(other)
        self._held[key] = _Held(listening=listening, error=error)
        self._tell(ClientFailure(listening=listening, error=error))
        self._loop.call_later(EVERY_S, self._due, key)

    def flush(self) -> None:
        """Tell what is held back."""
        for key in tuple(self._held):
            self._say(self._held.pop(key))

    def _due(self, key: tuple[str, str, str]) -> None:
        held = self._held.get(key)
        if held is None:
            return
        if not held.waiting:
            del self._held[key]
            return
        self._say(held)
        self._loop.call_later(EVERY_S, self._due, key)

    def _say(self, held: _Held) -> None:
        if held.waiting:
            since_s = self._loop.time() - held.since
            self._tell(ClientFailure(listening=held.listening, error=held.error, count=held.waiting, since_s=since_s))
            held.waiting = 0
