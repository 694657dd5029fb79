"""The events of one open watch: lines cut out of its bytes, bounded, decoded one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from broker.errors import BrokerError, Failed
from broker.kube.pool import Flow
from broker.kube.status import READ_BYTES, Call, error_from_response
from broker.model.events import WatchEvent, decode_event

T = TypeVar("T")
LINE_BYTES: Final = 8 << 20
"""Bytes of one event at most; etcd holds objects of 1.5 MiB."""


class Lines:
    """Bytes in, whole lines out; no line is kept past `limit_bytes`."""

    def __init__(self, limit_bytes: int = LINE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now, without their ends, empty ones left out; Failed (`line-too-long`)."""
        if b"\n" not in data:
            self._rest += data
            self._check(len(self._rest))
            return []
        *lines, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest = bytearray(rest)
        self._check(max(map(len, [*lines, rest])))
        return [line for line in lines if line.strip()]

    def _check(self, size: int) -> None:
        if size > self._limit_bytes:
            raise Failed(
                "the API server sent a watch event that is too long",
                code="line-too-long",
                cause=f"it has more than {self._limit_bytes} bytes",
                next_step="see whether a proxy stands before the API server",
            )


class EventFlow(Generic[T]):
    """What comes out of a watch, event by event; valid inside the block that gave it."""

    def __init__(self, flow: Flow, decode_object: Callable[[bytes], T], call: Call) -> None:
        self._flow = flow
        self._decode_object = decode_object
        self._call = call
        self._lines = Lines()
        self._waiting: deque[bytes] = deque()

    async def next(self, limit_s: float) -> WatchEvent[T] | None:
        """Return the next event, None at the end of the watch; TimeoutError after `limit_s` seconds of silence.

        Raises Unreachable (as the session tells it) where the connection breaks, Failed for a line that is no event.
        """
        while not self._waiting:
            async with asyncio.timeout(limit_s):
                data = await self._flow.chunk()
            if not data:
                return None
            self._waiting.extend(self._lines.feed(data))
        return decode_event(self._waiting.popleft(), self._decode_object)

    @property
    def has_more(self) -> bool:
        """Say whether an event can be had without waiting."""
        return bool(self._waiting)

    def error_of(self, event: WatchEvent[T]) -> BrokerError | None:
        """Return what the Status of an ERROR event stands for; None for other events."""
        if event.type != "ERROR":
            return None
        return error_from_response(event.status_code, "application/json", event.status[:READ_BYTES], self._call)
