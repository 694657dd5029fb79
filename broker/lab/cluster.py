"""The pretend cluster in one piece: objects, API server over TLS, virt-api, guests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from broker.lab.addresses import AddressRange
from broker.lab.answers import absent_page
from broker.lab.api import ApiServer, SubresourceHandler
from broker.lab.authn import Identities, User
from broker.lab.certificates import Authority, server_context
from broker.lab.controllers import Controllers
from broker.lab.crd_files import CRDS, Definitions, read_definitions
from broker.lab.door import Door, listener_for
from broker.lab.fault_names import Inhabitants
from broker.lab.faults import Event, Faults
from broker.lab.guestinfo import GuestInformation
from broker.lab.guests import Guests, ssh_port_here
from broker.lab.kubeconfigs import kubeconfig_path, write_kubeconfigs
from broker.lab.lifecycle import Lifecycle
from broker.lab.objects import Objects
from broker.lab.openapi import read_documents
from broker.lab.paths import SubresourcePath
from broker.lab.places import Places
from broker.lab.portforward import PortForward
from broker.lab.seed import accounts_in, guests_of, plant
from broker.lab.seed_access import USERS
from broker.lab.seed_networks import NODES
from broker.lab.ssh_keys import ssh_key
from broker.lab.tunnel import Pace
from broker.lab.virtapi import NotAvailable, VirtApi
from broker.tasks import Supervisor

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
    crds: Path | Definitions | None = None
    """A folder of CustomResourceDefinitions to list, and whose schemas /openapi/v3 shows; or what was read from one."""
    openapi: Path | None = None
    """A folder of kube-apiserver's OpenAPI v3 documents to show in place of our small ones."""
    faults: Faults = field(default_factory=Faults)
    pace: float = 1.0
    """What the times between the controllers' steps are multiplied with; 1 is near the real ones, 0 is at once."""
    agent_scale: float = 1.0
    """The same for the delays of the guest agent, which are longer."""
    has_controllers: bool | None = None
    """Whether VMs start and stop as they are asked to; None: where there is a seed."""


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
        self.controllers: Controllers | None = None
        self.api: ApiServer | None = None
        self.door: Door | None = None
        self._definitions = Definitions()
        self._documents: Mapping[tuple[str, str], Path] = {}

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
        if settings.crds is not None:
            crds = settings.crds
            self._definitions = crds if isinstance(crds, Definitions) else await asyncio.to_thread(read_definitions, crds)
        if settings.openapi is not None:
            self._documents = read_documents(settings.openapi)
        if settings.has_seed:
            (settings.state_dir / "ssh").mkdir(mode=0o700, exist_ok=True)
            key = ssh_key(settings.state_dir / "ssh" / "id_ed25519", comment="vmbroker-lab")
            self.network = stack.enter_context(AddressRange(settings.state_dir)).network
            self.ssh_port = ssh_port_here((f"{self.network}.11",))
            plant(self.objects, network=self.network, keys=(key,), ssh_port=self.ssh_port, fleet=settings.fleet)
            self.faults.knows = Inhabitants(self.objects, tuple(person.name for person in USERS))
            stack.callback(setattr, self.faults, "knows", None)
            self.faults.check()
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
        listener = listener_for(settings.state_dir)
        port = listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.identities.audience = self.url
        self.api = ApiServer(
            self.objects,
            self.identities,
            prefix=PREFIX,
            bookmark_every_s=settings.bookmark_every_s,
            server_address=f"127.0.0.1:{port}",
            faults=self.faults,
            definitions=self._definitions,
            documents=self._documents,
        )
        for crd in self._definitions.decoded():
            self.objects.put(CRDS, crd)
        self.portforward = PortForward(
            self.objects,
            pace=Pace(pong_deadline_s=settings.pong_deadline_s),
            faults=self.faults,
            unrouted_s=settings.unrouted_s,
            translate=None if self.guests is None else self.guests.translate,
        )
        self.controllers = self._controllers()
        if settings.has_seed if settings.has_controllers is None else settings.has_controllers:
            await stack.enter_async_context(self.controllers.running())
        virt = VirtApi(
            allowed=self.api.authoriser.allowed,
            portforward=self.portforward.serve,
            information=GuestInformation(self.objects).answer,
            faults=self.faults,
            lifecycle=Lifecycle(self.objects, ask=self.controllers.ask).answer,
        )
        self.api.subresources = _handler(virt)
        names = ("127.0.0.1", "::1", "localhost", "kube.lab.example")
        context = server_context(self.authority, self.authority.server(names), settings.state_dir)
        runner = web.AppRunner(self.api.app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(self.portforward.abort)
        tasks = await stack.enter_async_context(Supervisor("lab"))
        self.door = Door(runner, context, tasks, cut_streams=self.portforward.abort)
        stack.push_async_callback(self.door.close)
        await self.door.open(listener)
        self.faults.happen = self._happen
        stack.callback(setattr, self.faults, "happen", None)

    def _controllers(self) -> Controllers:
        return Controllers(
            self.objects,
            places=Places(network=self.network if self.guests is not None else ""),
            guests=self.guests,
            accounts=accounts_in,
            ssh_port=self.ssh_port,
            nodes=NODES,
            pace=self.settings.pace,
            agent_scale=self.settings.agent_scale,
        )

    def _happen(self, event: Event) -> None:
        """Do what a fault set while the lab runs asks for."""
        assert self.api is not None and self.door is not None
        if event.name in ("watch-end", "watch-expire"):
            if event.name == "watch-expire":
                self.objects.compact()
            self.api.watches.end(path=event.path, expired=event.name == "watch-expire")
            return
        if event.name != "api-back":
            self.faults.down_s, self.faults.is_silent = event.seconds_s, event.name == "api-silent"
        if event.name == "api-restart":
            self.door.shut_for(event.seconds_s, reopened=self.faults.back)
        elif event.name == "api-silent":
            self.door.fall_silent()
        else:
            self.door.reopen(reopened=self.faults.back)


def _handler(virt: VirtApi) -> SubresourceHandler:
    async def answer(request: web.Request, user: User, path: SubresourcePath) -> web.StreamResponse:
        try:
            return await virt.answer(request, user, path.resource, path.namespace, path.name, path.subresource, path.rest)
        except NotAvailable:
            return absent_page()

    return answer
