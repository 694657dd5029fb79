"""A guest for tests: a TCP server whose connections the test itself holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Visit:
    """One connection that came to the guest."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(slots=True)
class PlainGuest:
    """Listens on a free port of 127.0.0.1; each connection waits in `visits`."""

    port: int = 0
    visits: asyncio.Queue[Visit] = field(default_factory=asyncio.Queue)


@asynccontextmanager
async def plain_guest() -> AsyncIterator[PlainGuest]:
    """Run a guest while the block runs."""
    guest = PlainGuest()
    held: list[Visit] = []

    def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        held.append(visit)
        guest.visits.put_nowait(visit)

    server = await asyncio.start_server(came, "127.0.0.1", 0)
    guest.port = server.sockets[0].getsockname()[1]
    try:
        yield guest
    finally:
        for visit in held:
            visit.writer.transport.abort()
        server.close()
        await server.wait_closed()
