"""Bytes between a stream and a local socket: every end of it, and what each side sees."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidState

from broker.kube.stream import open_stream
from broker.kube.tunnel import End, EndKind, StallPolicy
from broker.paths.dial import portforward_path
from broker.paths.relay_socket import Traffic, relay_socket
from broker.tasks import Supervisor
from tests.broker.kube.sessions import banner_then_hold, block, download, echo
from tests.broker.kube.tunnelserver import Session, TunnelServer, endpoint_of, running

FORWARD = portforward_path("vmi", "shop", "web", 22)
SMALL = StallPolicy(free_bytes=262_144, trickle_bytes=65_536, trickle_every_s=0.05, limit_bytes=1_048_576)
LIMIT_S = 20.0


def endless(session: Session) -> None:
    """Send for ever until the client is gone, which may say so in the middle of a message."""
    with contextlib.suppress(InvalidState):
        while True:
            session.send(bytes(32_768))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TunnelServer]:
    with running(tmp_path) as found:
        yield found


@asynccontextmanager
async def relaying(
    server: TunnelServer, folder: Path, *, grace_s: float = 10.0, policy: StallPolicy | None = None
) -> AsyncIterator[tuple[socket.socket, asyncio.Task[End], Traffic]]:
    """A relay over one real TCP connection: the peer's socket, the relay's task, what it carried."""
    stream = await open_stream(endpoint_of(server, folder), FORWARD, policy=policy)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for each in (peer, ours):
        each.setblocking(False)
    traffic = Traffic()
    async with Supervisor("test") as tasks:
        try:
            yield peer, tasks.start(relay_socket(stream, ours, traffic, grace_s=grace_s, linger_s=1.0), name="relay"), traffic
        finally:
            peer.close()
    assert ours.fileno() == -1


async def received(peer: socket.socket, count: int | None = None) -> bytes:
    """The next `count` bytes, or all to the end."""
    loop, parts, left = asyncio.get_running_loop(), bytearray(), count
    async with asyncio.timeout(LIMIT_S):
        while left is None or left > 0:
            data = await loop.sock_recv(peer, 65_536 if left is None else min(left, 65_536))
            if not data:
                break
            parts += data
            left = None if left is None else left - len(data)
    return bytes(parts)


async def ended(task: asyncio.Task[End]) -> End:
    async with asyncio.timeout(LIMIT_S):
        return await task


async def test_every_byte_passes_both_ways_and_is_counted(server: TunnelServer, tmp_path: Path) -> None:
    data = block(5_000_000)
    server.session = echo
    async with relaying(server, tmp_path) as (peer, task, traffic), Supervisor("test") as tasks:
        tasks.start(asyncio.get_running_loop().sock_sendall(peer, data), name="send")
        assert await received(peer, len(data)) == data
        peer.shutdown(socket.SHUT_RDWR)
        peer.close()
        assert traffic == Traffic(to_guest_bytes=len(data), from_guest_bytes=len(data))
        task.cancel()


async def test_the_guests_end_is_an_orderly_end_after_its_last_byte(server: TunnelServer, tmp_path: Path) -> None:
    data = block(3_000_000)
    server.session = download(data)
    async with relaying(server, tmp_path) as (peer, task, _):
        assert await received(peer) == data
        peer.close()
        assert (await ended(task)).kind is EndKind.PEER


async def test_unread_input_at_the_guests_end_costs_the_peer_nothing(server: TunnelServer, tmp_path: Path) -> None:
    data = block(200_000)
    server.session = download(data)
    async with relaying(server, tmp_path) as (peer, task, _):
        await asyncio.get_running_loop().sock_sendall(peer, b"never read by the guest")
        assert await received(peer) == data
        peer.close()
        await ended(task)


async def test_after_the_peers_end_the_guest_is_read_until_it_was_silent(server: TunnelServer, tmp_path: Path) -> None:
    server.session = banner_then_hold
    async with relaying(server, tmp_path, grace_s=0.2) as (peer, task, _):
        peer.shutdown(socket.SHUT_WR)
        assert (await received(peer)).startswith(b"SSH-")
        assert (await ended(task)).kind is EndKind.LOCAL
        assert server.ended.acquire(timeout=5)
        assert server.sessions[0].closes == 1


async def test_a_broken_peer_ends_it_at_once(server: TunnelServer, tmp_path: Path) -> None:
    server.session = endless
    async with relaying(server, tmp_path) as (peer, task, _):
        await received(peer, 100_000)
        peer.close()
        assert (await ended(task)).kind is EndKind.LOCAL


async def test_a_lost_stream_resets_the_peer(server: TunnelServer, tmp_path: Path) -> None:
    server.session = endless
    async with relaying(server, tmp_path, policy=SMALL) as (peer, task, _):
        # Takes nothing: at its limit the stream ends as stalled.
        assert (await ended(task)).kind is EndKind.STALLED
        with pytest.raises(ConnectionResetError):
            await received(peer)


async def test_cancelling_says_goodbye_to_the_guest(server: TunnelServer, tmp_path: Path) -> None:
    server.session = banner_then_hold
    async with relaying(server, tmp_path) as (peer, task, _):
        await received(peer, 4)
        task.cancel()
        await asyncio.wait((task,))
        assert server.ended.acquire(timeout=5)
        assert server.sessions[0].closes == 1
        assert threading.active_count() < 50
