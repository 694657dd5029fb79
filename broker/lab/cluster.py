"""The pretend cluster in one piece: objects, API server over TLS, virt-api, guests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from broker.lab.addresses import AddressRange
from broker.lab.answers import absent_page
from broker.lab.api import ApiServer, SubresourceHandler
from broker.lab.authn import Identities, User
from broker.lab.certificates import Authority, server_context
from broker.lab.faults import Faults
from broker.lab.guestinfo import GuestInformation
from broker.lab.guests import Guests, ssh_port_here
from broker.lab.kubeconfigs import kubeconfig_path, write_kubeconfigs
from broker.lab.objects import Objects
from broker.lab.paths import SubresourcePath
from broker.lab.portforward import PortForward
from broker.lab.seed import guests_of, plant
from broker.lab.ssh_keys import ssh_key
from broker.lab.tunnel import Pace
from broker.lab.virtapi import NotAvailable, VirtApi

__all__ = ["Cluster", "ClusterSettings"]

PREFIX = "/k8s/clusters/c-m-abc12"
"""A path below which everything is served a second time, as a front end like Rancher's does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """How a lab is made: where its state lies, how many VMs without guests besides the seed, the pong deadline in seconds.

    `has_seed` false gives an empty cluster (tests put their own objects in); `guest_kind` forces sshd or asyncssh.
    """

    state_dir: Path
    fleet: int = 0
    pong_deadline_s: float = 60.0
    bookmark_every_s: float = 60.0
    unrouted_s: float = 127.0
    has_seed: bool = True
    has_guests: bool = True
    guest_kind: str | None = None
    faults: Faults = field(default_factory=Faults)


class Cluster:
    """A running lab; made by `Cluster.start`."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.objects = Objects()
        self.identities = Identities()
        self.faults = settings.faults
        self.authority = Authority.load_or_create(settings.state_dir)
        self.url = ""
        self.network = "127.0.0"
        self.guest_kind = "none"
        self.ssh_port = 22
        self.guests: Guests | None = None
        self.portforward: PortForward | None = None
        self.api: ApiServer | None = None

    @classmethod
    @asynccontextmanager
    async def start(cls, settings: ClusterSettings) -> AsyncIterator[Cluster]:
        """Start everything and leave nothing behind; OSError or RuntimeError where a part cannot start."""
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.state_dir.chmod(0o700)
        cluster = cls(settings)
        async with AsyncExitStack() as stack:
            await cluster._enter(stack)
            yield cluster

    def kubeconfig(self, user: str = "admin") -> Path:
        """Path of a user's kubeconfig; KeyError for somebody unknown."""
        return kubeconfig_path(self.settings.state_dir, user)

    async def _enter(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        if settings.has_seed:
            (settings.state_dir / "ssh").mkdir(mode=0o700, exist_ok=True)
            key = ssh_key(settings.state_dir / "ssh" / "id_ed25519", comment="vmbroker-lab")
            self.network = stack.enter_context(AddressRange(settings.state_dir)).network
            self.ssh_port = ssh_port_here((f"{self.network}.11",))
            plant(self.objects, network=self.network, keys=(key,), ssh_port=self.ssh_port, fleet=settings.fleet)
            if settings.has_guests:
                await self._start_guests(stack)
        await self._serve(stack)
        await asyncio.to_thread(write_kubeconfigs, settings.state_dir, self.url, self.authority, self.identities)

    async def _start_guests(self, stack: AsyncExitStack) -> None:
        found = tuple(guests_of(self.objects, network=self.network, ssh_port=self.ssh_port))
        guests = Guests(guests=found, directory=self.settings.state_dir / "guests", force=self.settings.guest_kind)
        self.guests = await stack.enter_async_context(guests)
        self.guest_kind = guests.kind

    async def _serve(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        listener = _listener(settings.state_dir)
        port = listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.api = ApiServer(
            self.objects,
            self.identities,
            prefix=PREFIX,
            bookmark_every_s=settings.bookmark_every_s,
            server_address=f"127.0.0.1:{port}",
        )
        self.portforward = PortForward(
            self.objects,
            pace=Pace(pong_deadline_s=settings.pong_deadline_s),
            faults=self.faults,
            unrouted_s=settings.unrouted_s,
            translate=None if self.guests is None else self.guests.translate,
        )
        virt = VirtApi(
            allowed=self.api.authoriser.allowed,
            portforward=self.portforward.serve,
            information=GuestInformation(self.objects).answer,
            faults=self.faults,
        )
        self.api.subresources = _handler(virt)
        names = ("127.0.0.1", "::1", "localhost", "kube.lab.example")
        context = server_context(self.authority, self.authority.server(names), settings.state_dir)
        runner = web.AppRunner(self.api.app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(self.portforward.abort)
        await web.SockSite(runner, listener, ssl_context=context, backlog=512).start()


def _handler(virt: VirtApi) -> SubresourceHandler:
    async def answer(request: web.Request, user: User, path: SubresourcePath) -> web.StreamResponse:
        try:
            return await virt.answer(request, user, path.resource, path.namespace, path.name, path.subresource, path.rest)
        except NotAvailable:
            return absent_page()

    return answer


def _listener(directory: Path) -> socket.socket:
    """Listen on the port of last time, so that kubeconfigs keep their meaning, else on a free one."""
    memory = directory / "port"
    try:
        wanted = int(memory.read_text())
    except (OSError, ValueError):
        wanted = 0
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", wanted))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    memory.write_text(str(listener.getsockname()[1]))
    return listener
