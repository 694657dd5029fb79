"""The first line of an SSH server, found in what it sends. **Pure.** (RFC 4253, 4.2)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from broker.clean import Clean, clean

LINE_BYTES: Final = 255
"""Bytes of one line at most, its end included (RFC 4253, 4.2)."""
LINES: Final = 50
"""Lines that may stand before the greeting; the RFC sets no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a port says of itself: an SSH server's version line, or what came instead; `text` is fit to show."""

    kind: Literal["ssh", "other"]
    text: Clean


class GreetingReader:
    """Bytes in, a greeting out; keeps one line at most."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines = 0
        self._first = Clean("")

    @property
    def heard(self) -> Clean:
        """The first line that was no greeting, or the part of one that came; empty where nothing did."""
        return self._first or clean(self._rest.decode("utf-8", "replace").strip(), LINE_BYTES)

    def feed(self, data: bytes) -> Greeting | None:
        """Take bytes as they come; a Greeting once it is decided, None while more is needed."""
        self._rest += data[: (LINE_BYTES + 1) * LINES]
        while True:
            line, end, rest = self._rest.partition(b"\n")
            if len(line) + len(end) > LINE_BYTES:
                return self._other(line[:LINE_BYTES])
            if not end:
                return None
            self._rest = rest
            if line.startswith(b"SSH-"):
                return Greeting(kind="ssh", text=clean(line.decode("utf-8", "replace").strip(), LINE_BYTES))
            self._lines += 1
            self._first = self._first or clean(line.decode("utf-8", "replace").strip(), LINE_BYTES)
            if self._lines > LINES:
                return self._other(line)

    def _other(self, line: bytes) -> Greeting:
        return Greeting(kind="other", text=self._first or clean(line.decode("utf-8", "replace").strip(), LINE_BYTES))
