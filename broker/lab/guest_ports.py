"""Plain services of a guest: echo (7, TCP and UDP), discard (9) and chargen (19), and an address that answers nothing.

Chargen sends a fixed block for ever (`chargen_block`), so that a reader can tell whether every byte arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Self, cast

__all__ = ["STANDARD_PORTS", "Blackhole", "PlainPorts", "blackhole", "chargen_block"]

STANDARD_PORTS: Mapping[str, int] = MappingProxyType({"echo": 7, "discard": 9, "chargen": 19})
UNPRIVILEGED_OFFSET = 7000
"""Added to the standard number where ports below 1024 may not be bound: 7007, 7009, 7019."""
_BUFFER_BYTES = 256 * 1024


@cache
def chargen_block() -> bytes:
    """The block that chargen repeats: 1,048,573 bytes (a prime, so that a loss of whole buffers shows)."""
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(32768))[:1048573]


class _Echo(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=4 * _BUFFER_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.transport is not None:
            self.transport.write(bytes(self._view[:nbytes]))

    def pause_writing(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport is not None:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


class _Discard(_Echo):
    def buffer_updated(self, nbytes: int) -> None:
        """Forget it."""


class _Chargen(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=len(chargen_block()), low=_BUFFER_BYTES)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_open = False

    def resume_writing(self) -> None:
        self._is_open = True
        self._send()

    def _send(self) -> None:
        # One block at a time through the loop: a fast reader must not keep this callback for ever.
        if self._is_open and self._transport is not None and not self._transport.is_closing():
            self._transport.write(chargen_block())
            asyncio.get_running_loop().call_soon(self._send_more)

    def _send_more(self) -> None:
        if self._is_open:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


class _DatagramEcho(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)


_SERVICES: Mapping[str, Callable[[], asyncio.BaseProtocol]] = {"echo": _Echo, "discard": _Discard, "chargen": _Chargen}


@dataclass(slots=True)
class PlainPorts:
    """The plain services of one guest, listening; `numbers` has the port of each service."""

    address: str
    numbers: dict[str, int] = field(default_factory=dict)
    _servers: list[asyncio.Server | asyncio.DatagramTransport] = field(default_factory=list)

    @classmethod
    async def open(cls, address: str, listening_address: str) -> Self:
        """Listen for the guest `address` on `listening_address`, on standard ports where that may be; else OSError."""
        ports = cls(address)
        for service, standard in STANDARD_PORTS.items():
            tries = (standard, standard + UNPRIVILEGED_OFFSET) if address == listening_address else (0,)
            await ports._listen(service, listening_address, tries)
        # One number for both protocols, as /etc/services has it and as the translation of addresses needs it.
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            _DatagramEcho, local_addr=(listening_address, ports.numbers["echo"])
        )
        ports._servers.append(transport)
        return ports

    def standard(self) -> Iterator[tuple[int, int]]:
        """Yield each service's standard port with the port it really has."""
        for service, number in self.numbers.items():
            yield STANDARD_PORTS[service], number

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()

    async def _listen(self, service: str, address: str, tries: tuple[int, ...]) -> None:
        loop = asyncio.get_running_loop()
        for number in tries:
            try:
                server = await loop.create_server(_SERVICES[service], address, number)
            except OSError:
                if number == tries[-1]:
                    raise
                continue
            self._servers.append(server)
            self.numbers[service] = server.sockets[0].getsockname()[1]
            return


@dataclass(slots=True)
class Blackhole:
    """An address and port that swallow every attempt to connect."""

    port: int
    _sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Give the address back."""
        for one in self._sockets:
            one.close()


async def blackhole(address: str, port: int) -> Blackhole:
    """Make `address:port` (0: a free port) swallow connection attempts: its queue is full, so that SYNs are dropped."""
    loop = asyncio.get_running_loop()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    listener.listen(0)
    real = int(listener.getsockname()[1])
    sockets = [listener]
    for _ in range(4):
        filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        filler.setblocking(False)
        sockets.append(filler)
        try:
            await asyncio.wait_for(loop.sock_connect(filler, (address, real)), 0.05)
        except TimeoutError:
            break
    return Blackhole(real, tuple(sockets))
