"""Datagrams: one stream a local peer, whole messages, silence that ends a stream, and what is dropped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.actions.forwarding.udp import DATAGRAM_LIMIT_BYTES, WAITING_LIMIT
from broker.lab.cluster import Cluster
from tests.broker.actions.forwarding.served import LIMIT_S, VMIS, forwarding, settings, until
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import instance


@dataclass(slots=True)
class EchoGuest(asyncio.DatagramProtocol):
    """Sends each datagram back with a prefix, and remembers who came."""

    port: int = 0
    sources: list[tuple[str, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.sources.append(addr)
        self.sizes.append(len(data))
        self.transport.sendto(b">" + data, addr)


@asynccontextmanager
async def echo_guest() -> AsyncIterator[EchoGuest]:
    transport, guest = await asyncio.get_running_loop().create_datagram_endpoint(EchoGuest, local_addr=("127.0.0.1", 0))
    try:
        yield guest
    finally:
        transport.close()


@contextmanager
def peer(port: int, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((address, port))
        yield sock


async def asked(sock: socket.socket, data: bytes) -> bytes:
    sock.send(data)
    return await answer(sock)


async def answer(sock: socket.socket) -> bytes:
    async with asyncio.timeout(LIMIT_S):
        return await asyncio.get_running_loop().sock_recv(sock, 70_000)


def active(cluster: Cluster) -> int:
    assert cluster.portforward is not None
    return cluster.portforward.active


async def test_each_peer_has_a_stream_of_its_own_and_datagrams_stay_whole(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}", f"udp/[::1]:0:{guest.port}"]) as running:
            with peer(running.port()) as one, peer(running.port()) as two, peer(running.port(1), "::1") as six:
                assert await asked(one, b"one") == b">one"
                assert await asked(two, b"two") == b">two"
                assert await asked(six, b"six") == b">six"
                assert await asked(one, b"x" * 20_000) == b">" + b"x" * 20_000
                for number in range(20):
                    one.send(b"%d" % number)
                assert sorted([await answer(one) for _ in range(20)]) == sorted(b">%d" % number for number in range(20))
                assert len(set(guest.sources)) == 3
                assert active(cluster) == 3
            tally = await running.end()
        assert (tally.connections, tally.failed, tally.dropped_datagrams) == (3, 0, 0)
        assert running.failures == []
        await until(lambda: active(cluster) == 0)


async def test_a_silent_peer_expires_and_may_come_again(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        held = settings(udp_idle_s=0.3)
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}"], held=held) as running:
            with peer(running.port()) as sock:
                assert await asked(sock, b"first") == b">first"
                await until(lambda: active(cluster) == 0)
                assert await asked(sock, b"again") == b">again"
                assert len(set(guest.sources)) == 2
            tally = await running.end()
        assert (tally.connections, tally.failed) == (2, 0)


async def test_a_peer_that_goes_on_does_not_expire(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        held = settings(udp_idle_s=0.3)
        loop = asyncio.get_running_loop()
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}"], held=held) as running:
            with peer(running.port()) as sock:
                ends_at = loop.time() + 0.9
                while loop.time() < ends_at:
                    assert await asked(sock, b"on") == b">on"
            assert len(set(guest.sources)) == 1
            assert (await running.end()).connections == 1


async def test_what_is_too_long_is_dropped_and_told(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}"]) as running:
            with peer(running.port()) as sock:
                sock.send(b"x" * (DATAGRAM_LIMIT_BYTES + 1))
                sock.send(b"y" * (DATAGRAM_LIMIT_BYTES - 1))
                assert await answer(sock) == b">" + b"y" * (DATAGRAM_LIMIT_BYTES - 1)
            assert running.codes() == ["datagram-too-long"]
            assert (await running.end()).dropped_datagrams == 1


async def test_an_empty_datagram_is_counted_as_dropped(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}"]) as running:
            with peer(running.port()) as sock:
                sock.send(b"")
                assert await asked(sock, b"on") == b">on"
            tally = await running.end()
        assert (tally.dropped_datagrams, tally.connections) == (1, 1)


async def test_a_port_where_nothing_listens_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"udp/0:{port}"]) as running:
            with peer(running.port()) as sock:
                sock.send(b"anybody?")
                await until(lambda: bool(running.failures))
                # Held back for a while: one stream a second at most, whatever the peer sends.
                sock.send(b"anybody at all?")
                await until(lambda: running.task.done() or active(cluster) == 0)
            assert running.codes() == ["udp-refused"]
            tally = await running.end()
            assert (tally.connections, tally.failed) == (1, 1)


async def test_datagrams_before_the_stream_is_there_wait_in_bounds(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}"]) as running:
            cluster.faults.set("latency=0.5,path=/apis/subresources*")
            with peer(running.port()) as sock:
                for number in range(WAITING_LIMIT + 10):
                    sock.send(b"%d" % number)
                # The oldest gave way.
                assert await answer(sock) == b">10"
                tally = await running.end()
            assert tally.dropped_datagrams == 10


@pytest.mark.parametrize("fault", ["status=503,path=/apis/subresources*", "drop"])
async def test_a_refused_stream_is_a_reason_and_the_port_stays(tmp_path: Path, fault: str) -> None:
    async with empty_cluster(tmp_path) as cluster, echo_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"udp/0:{guest.port}"]) as running:
            cluster.faults.set(fault)
            with peer(running.port()) as sock:
                sock.send(b"lost")
                await until(lambda: bool(running.failures))
                assert running.failures[0].error.exit_status == 5
                cluster.faults.clear()
            with peer(running.port()) as sock:
                assert await asked(sock, b"well") == b">well"
