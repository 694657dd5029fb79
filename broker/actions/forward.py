"""Forward local ports to ports of one guest until told to stop: every client has a stream of its own through the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.actions.forwarding.dial import GuestDialer
from broker.actions.forwarding.listen import Listener, client_limit, listen_all
from broker.actions.forwarding.obstacle import forward_obstacle
from broker.actions.forwarding.reports import ClientFailure, Complaints, Listening, Tally
from broker.actions.forwarding.tcp import TcpForward
from broker.actions.forwarding.udp import UdpForward
from broker.actions.reading import Reading
from broker.errors import BrokerError
from broker.paths.forward_spec import ForwardSpec
from broker.refs import Target
from broker.tasks import Supervisor

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All ports are open: what was read of the guest, where we listen, and what the objects say against each remote port."""

    reading: Reading
    listening: tuple[Listening, ...]
    obstacles: tuple[BrokerError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """What a front hands in: it is told when the ports are open and when a client failed, both in the loop and not to wait.

    `reopen` reads the kubeconfig anew (blocking, called in a thread); setting `stop` ends the forward.
    """

    on_ready: Callable[[Ready], None]
    on_failure: Callable[[ClientFailure], None]
    reopen: Callable[[], Endpoint]
    stop: asyncio.Event


async def forward(
    endpoint: Endpoint,
    settings: Settings,
    target: Target,
    specs: Sequence[ForwardSpec],
    fronts: Fronts,
    *,
    exit_when_idle_s: float | None = None,
) -> Tally:
    """Read the guest, open every port or none, serve until `stop` or until no client was open for `exit_when_idle_s` seconds.

    Raises NotFound and what else reading raises, NotPermitted where nothing may be forwarded, UsageError or Failed for a port
    that cannot be had; once the ports are open only a client's own stream can fail. Ends every stream with Close 1000; returns
    the counts.
    """
    dialer = GuestDialer(endpoint, settings, target, reopen=fronts.reopen)
    reading = await dialer.read()
    await dialer.check_right(reading, specs[0].remote_port)
    listeners = await listen_all(specs)
    loop = asyncio.get_running_loop()
    tally = Tally(empty_since=loop.time())
    tally.empty.set()
    complaints = Complaints(fronts.on_failure)
    with ExitStack() as undo:
        for listener in listeners:
            undo.callback(listener.socket.close)
        undo.callback(complaints.flush)
        async with Supervisor("forward") as tasks:
            service = _Service(dialer, settings, tally, complaints, tasks, client_limit())
            try:
                for listener in listeners:
                    await service.open(listener)
                fronts.on_ready(_ready(reading, listeners))
                waits = [tasks.start(_until(fronts.stop), name="stop")]
                if exit_when_idle_s is not None:
                    waits.append(tasks.start(_until_idle(tally, exit_when_idle_s), name="idle"))
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                service.close()
    return tally


class _Service:
    """What the ports of one forward share."""

    def __init__(
        self,
        dialer: GuestDialer,
        settings: Settings,
        tally: Tally,
        complaints: Complaints,
        tasks: Supervisor,
        limit: int,
    ) -> None:
        self._dialer = dialer
        self._settings = settings
        self._tally = tally
        self._complaints = complaints
        self._tasks = tasks
        self._limit = limit
        self._accepting: list[asyncio.Task[None]] = []
        self._datagrams: list[UdpForward] = []

    async def open(self, listener: Listener) -> None:
        """Begin to serve one port."""
        if listener.listening.protocol == "udp":
            served = UdpForward(
                listener,
                self._dialer,
                tally=self._tally,
                complaints=self._complaints,
                tasks=self._tasks,
                limit=self._limit,
                idle_s=self._settings.forward.udp_idle_s,
            )
            self._datagrams.append(served)
            await served.open()
            return
        clients = TcpForward(
            listener,
            self._dialer,
            tally=self._tally,
            complaints=self._complaints,
            tasks=self._tasks,
            limit=self._limit,
            grace_s=self._settings.stream.grace_s,
        )
        self._accepting.append(self._tasks.start(clients.serve(), name=f"accept {listener.listening.local}"))

    def close(self) -> None:
        """Take no more clients."""
        for task in self._accepting:
            task.cancel()
        for served in self._datagrams:
            served.close()


def _ready(reading: Reading, listeners: Sequence[Listener]) -> Ready:
    told: dict[str, BrokerError] = {}
    for each in listeners:
        error = forward_obstacle(reading, each.listening.remote_port, each.listening.protocol)
        if error is not None:
            told.setdefault(error.message, error)
    return Ready(reading=reading, listening=tuple(listener.listening for listener in listeners), obstacles=tuple(told.values()))


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _until_idle(tally: Tally, idle_s: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await tally.empty.wait()
        left_s = tally.empty_since + idle_s - loop.time()
        if left_s <= 0:
            return
        await asyncio.sleep(left_s)
