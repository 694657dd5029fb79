"""Five hundred streams opened and closed leave no descriptor, task or thread, neither with us nor in the lab.

The lab runs in this process, so that what its side of a stream leaves behind is counted too.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.errors import GuestUnready
from broker.kube.endpoint import Endpoint, open_endpoint
from broker.kube.stream import Stream, open_stream
from broker.lab.cluster import Cluster
from tests.broker.lab.plain_guest import PlainGuest, plain_guest
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import forward, instance
from tests.journeys.person import free_port

AT_ONCE = 10
LIMIT_S = 20.0
FOLDER = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A lab with one guest `a` on loopback, its administrator's way in, and a port on which nothing listens."""

    cluster: Cluster
    guest: PlainGuest
    endpoint: Endpoint
    dead_port: int

    async def opened(self) -> Stream:
        """A stream to the guest."""
        return await open_stream(self.endpoint, forward("a", self.guest.port))

    @property
    def tunnels(self) -> int:
        """How many tunnels the lab holds."""
        assert self.cluster.portforward is not None
        return self.cluster.portforward.active


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What this process holds at one moment; names instead of counts, so that a failure tells what stayed."""

    descriptors: Counter[str]
    tasks: frozenset[str]
    threads: frozenset[str]

    @classmethod
    def now(cls) -> Held:
        """Look at it."""
        return cls(
            descriptors=Counter(_kind(name) for name in os.listdir(FOLDER)),
            tasks=frozenset(task.get_name() for task in asyncio.all_tasks()),
            threads=frozenset(f"{thread.name} {thread.ident}" for thread in threading.enumerate()),
        )

    def beyond(self, other: Held) -> list[str]:
        """What is here and was not there."""
        more = self.descriptors - other.descriptors
        return sorted([*more.elements(), *(self.tasks - other.tasks), *(self.threads - other.threads)])


def _kind(descriptor: str) -> str:
    """`socket`, `pipe`, or a file's path; a number of its own would hide that one of two equals stayed."""
    try:
        return os.readlink(f"{FOLDER}/{descriptor}").partition(":[")[0]
    except OSError:
        return "descriptor"


async def closes(world: World, turn: int) -> None:
    """The usual way: bytes both ways, then Close and its answer."""
    stream = await world.opened()
    # Several come at once, so this may be another one's connection: all do the same.
    visit = await world.guest.visits.get()
    visit.writer.write(b"SSH-2.0-test\r\n")
    await stream.write(b"hello")
    assert await stream.read()
    await stream.aclose()
    assert await visit.reader.read() == b"hello"
    visit.writer.close()


async def aborts(world: World, turn: int) -> None:
    """Without a word, with payload that nobody read."""
    stream = await world.opened()
    visit = await world.guest.visits.get()
    visit.writer.write(bytes(100_000))
    assert await stream.read(10)
    stream.abort()
    visit.writer.close()


async def hears_the_guest_end(world: World, turn: int) -> None:
    """The guest hangs up; we read to the end."""
    stream = await world.opened()
    (await world.guest.visits.get()).writer.close()
    assert await stream.read() == b""
    await stream.aclose()


async def is_refused(world: World, turn: int) -> None:
    """Nothing listens on the port: no stream at all."""
    with pytest.raises(GuestUnready):
        await open_stream(world.endpoint, forward("a", world.dead_port))


async def is_cancelled(world: World, turn: int) -> None:
    """Given up a little later each time: before the connection, in TLS, in the handshake, while it reads."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(turn % 50 * 0.001):
            stream = await world.opened()
            try:
                await stream.read()
            finally:
                stream.abort()


Way = Callable[[World, int], Coroutine[Any, Any, None]]
WAYS: dict[str, tuple[Way, int]] = {
    "close": (closes, 500),
    "abort": (aborts, 100),
    "guest": (hears_the_guest_end, 100),
    "refused": (is_refused, 100),
    "cancelled": (is_cancelled, 250),
}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collector: what only it would free counts as left behind."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def world_in(directory: Path) -> AsyncIterator[World]:
    """Lab and guest in this process, while the block runs."""
    async with empty_cluster(directory) as cluster, plain_guest() as guest:
        cluster.objects.put("virtualmachineinstances.kubevirt.io", instance("a", "127.0.0.1"))
        kubeconfig = str(cluster.kubeconfig())
        endpoint = open_endpoint(kubeconfig=kubeconfig, context=None, namespace=None, as_user=None, environ={})
        yield World(cluster=cluster, guest=guest, endpoint=endpoint, dead_port=free_port())


async def left_behind(world: World, before: Held) -> list[str]:
    """What is there beyond `before` once everything under way has ended, or at the limit."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + LIMIT_S
    while True:
        while not world.guest.visits.empty():
            world.guest.visits.get_nowait().writer.close()
        left = [*Held.now().beyond(before), *["tunnel"] * world.tunnels]
        if not left or loop.time() > limit:
            return left
        await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize("name", WAYS)
async def test_streams_leave_nothing(tmp_path: Path, uncollected: None, name: str) -> None:
    way, count = WAYS[name]
    async with world_in(tmp_path) as world:
        before = Held.now()
        for first in range(0, count, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for turn in range(first, first + AT_ONCE):
                    group.create_task(way(world, turn))
        assert await left_behind(world, before) == []


async def test_what_stays_open_is_seen(tmp_path: Path) -> None:
    """The judge of the tests above, on one stream that nobody closes."""
    async with world_in(tmp_path) as world:
        before = Held.now()
        stream = await world.opened()
        held = Held.now().beyond(before)
        assert held.count("socket") >= 2  # ours and, in the same process, the lab's
        assert world.tunnels == 1
        stream.abort()
        assert await left_behind(world, before) == []
