"""A forward in the test's own loop, in front of a pretend cluster that runs there too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from broker.actions.forward import Fronts, Ready, forward
from broker.actions.forwarding.reports import ClientFailure, Tally
from broker.config.settings import Settings, built_in
from broker.kube.endpoint import Endpoint, open_endpoint
from broker.lab.cluster import Cluster
from broker.paths.forward_spec import parse_forwards
from broker.refs import parse_target
from broker.tasks import Supervisor

LIMIT_S = 20.0
VMIS = "virtualmachineinstances.kubevirt.io"
VMS = "virtualmachines.kubevirt.io"


def endpoint_of(cluster: Cluster, user: str = "admin") -> Endpoint:
    """The cluster as one of its users reaches it."""
    return open_endpoint(
        kubeconfig=str(cluster.kubeconfig(user)), context=None, namespace="n", as_user=None, environ={}, stdin_is_ours=True
    )


def settings(
    *, udp_idle_s: float = 60.0, grace_s: float = 10.0, handshake_s: float = 15.0, request_s: float = 30.0
) -> Settings:
    """The built-in settings with the limits that tests turn."""
    found = built_in()
    return replace(
        found,
        api=replace(found.api, timeout_s=request_s),
        stream=replace(found.stream, grace_s=grace_s, handshake_s=handshake_s),
        forward=replace(found.forward, udp_idle_s=udp_idle_s),
    )


@dataclass(slots=True)
class Forward:
    """A running forward: what it told, and how it is ended."""

    ready: Ready
    stop: asyncio.Event
    failures: list[ClientFailure]
    task: asyncio.Task[Tally]
    tallies: list[Tally] = field(default_factory=list)

    def port(self, index: int = 0) -> int:
        """The local port of one word."""
        return self.ready.listening[index].port

    def codes(self) -> list[str]:
        """The reasons told so far."""
        return [failure.error.code for failure in self.failures]

    async def end(self) -> Tally:
        """End it and return its counts."""
        self.stop.set()
        async with asyncio.timeout(LIMIT_S):
            return await self.task


@asynccontextmanager
async def forwarding(
    cluster: Cluster,
    target: str,
    words: Sequence[str],
    *,
    held: Settings | None = None,
    user: str = "admin",
    exit_when_idle_s: float | None = None,
) -> AsyncIterator[Forward]:
    """Run a forward while the block runs, from the moment its ports are open; raises what it raised before that."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Ready] = loop.create_future()
    failures: list[ClientFailure] = []
    stop = asyncio.Event()
    endpoint = endpoint_of(cluster, user)
    fronts = Fronts(on_ready=ready.set_result, on_failure=failures.append, reopen=lambda: endpoint_of(cluster, user), stop=stop)
    async with Supervisor("test") as tasks:
        task = tasks.start(
            forward(
                endpoint,
                held or settings(),
                parse_target(target),
                parse_forwards(words),
                fronts,
                exit_when_idle_s=exit_when_idle_s,
            ),
            name="forward",
        )
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        running = Forward(ready=ready.result(), stop=stop, failures=failures, task=task)
        yield running
        stop.set()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait((task,))
        task.result()


@asynccontextmanager
async def client(port: int, address: str = "127.0.0.1") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A local TCP client."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def read_to_end(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """All that comes, and whether the end was a reset."""
    parts = []
    async with asyncio.timeout(LIMIT_S):
        try:
            while data := await reader.read(1 << 18):
                parts.append(data)
        except ConnectionResetError:
            return b"".join(parts), True
    return b"".join(parts), False


async def is_reset(port: int, sent: bytes = b"") -> bool:
    """Whether a client is reset without a byte; that may come before its own connect has returned."""
    try:
        async with client(port) as (reader, writer):
            writer.write(sent)
            return await read_to_end(reader) == (b"", True)
    except ConnectionResetError:
        return True


async def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for a condition of the loop's own objects."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  (plain values, nothing to wait on)
            await asyncio.sleep(0.005)


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))
