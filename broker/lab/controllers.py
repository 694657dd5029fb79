"""The shell of `broker.lab.machines`: listens to the store, wakes the engine when something is due, and moves the guests.

One task carries changes out and one moves guests, however many VMs there are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from broker.lab.guest import Account, Guest
from broker.lab.guests import Guests
from broker.lab.machines.engine import WATCHED, Engine
from broker.lab.machines.view import Domain, Json
from broker.lab.objects import Objects
from broker.lab.places import Places
from broker.tasks import Supervisor

__all__ = ["Controllers"]

Key = tuple[str, str]
_log = logging.getLogger("broker.lab")


class Controllers:
    """virt-controller, scheduler, kubelets, virt-handlers and agents of one lab; made by `running`.

    `accounts` reads an instance's users from its spec; a guest keeps the kind (no SSH server, filtered) that it had before.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        places: Places,
        guests: Guests | None = None,
        accounts: Callable[[Json], Iterable[Account]] = lambda _: (),
        ssh_port: int = 22,
        nodes: tuple[str, ...] = ("node-1",),
        pace: float = 1.0,
        agent_scale: float = 1.0,
    ) -> None:
        self._objects = objects
        self._places = places
        self._guests = guests
        self._known = {} if guests is None else {guest.key: guest for guest in guests.guests}
        self._accounts = accounts
        self._ssh_port = ssh_port
        self._stirred = asyncio.Event()
        self._orders: asyncio.Queue[tuple[str, Key, Guest | None]] = asyncio.Queue()
        self.engine = Engine(
            objects, order=self._ordered, address=self._address, nodes=nodes, pace=pace, agent_scale=agent_scale
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Controllers]:
        """Work until the block is left."""
        async with Supervisor("controllers") as tasks:
            for resource in WATCHED:
                tasks.start(self._listen(resource), name=resource)
            tasks.start(self._work(), name="work")
            tasks.start(self._move_guests(), name="guests")
            # The listeners have subscribed once they had their first turn.
            await asyncio.sleep(0)
            yield self

    def ask(self, verb: str, namespace: str, name: str) -> None:
        """Take an order of virt-api's for virt-handler: pause, unpause, softreboot."""
        self.engine.ask(verb, (namespace, name))
        self._stirred.set()

    def guest_ends(self, namespace: str, name: str, phase: str) -> None:
        """Have a guest power off (Succeeded) or crash (Failed) by itself."""
        self.engine.guest_ends((namespace, name), phase)
        self._stirred.set()

    async def _listen(self, resource: str) -> None:
        subscription = self._objects.subscribe(resource, is_own=True)
        try:
            while True:
                await subscription.wait()
                for change in subscription.take():
                    self.engine.notice(change)
                if subscription.overflowed:
                    self._objects.unsubscribe(resource, subscription)
                    subscription = self._objects.subscribe(resource, is_own=True)
                self._stirred.set()
        finally:
            self._objects.unsubscribe(resource, subscription)

    async def _work(self) -> None:
        while True:
            self._stirred.clear()
            due_s = self.engine.run(time.time())
            try:
                async with asyncio.timeout(None if due_s is None else max(0.001, due_s - time.time())):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    def _address(self, key: Key, vmi: Json, before: Domain | None) -> tuple[str, ...]:
        if before is not None and not any(self._places.is_ours(address) for address in before.addresses):
            return before.addresses
        return (self._places.take(key),)

    def _ordered(self, order: str, key: Key, domain: Domain, vmi: Json | None) -> None:
        if order == "release":
            self._places.give_back(key)
        guest = None
        if order in ("start", "reboot") and vmi is not None:
            guest = self._guest(key, domain, vmi)
        self._orders.put_nowait((order, key, guest))

    def _guest(self, key: Key, domain: Domain, vmi: Json) -> Guest | None:
        """What has to run behind an instance: nothing where its pod address is not of the lab, or no interface has it."""
        address = next((one for one in domain.addresses if self._places.is_ours(one)), None)
        if address is None or not any(one.get("ipAddress") == address for one in domain.interfaces):
            return None
        namespace, name = key
        known = self._known.get(f"{namespace}/{name}")
        return Guest(
            namespace=namespace,
            name=name,
            address=address,
            ssh_port=self._ssh_port,
            accounts=tuple(self._accounts(vmi["spec"])),
            speaks_ssh=known is None or known.speaks_ssh,
            is_filtered=known is not None and known.is_filtered,
        )

    async def _move_guests(self) -> None:
        while True:
            order, (namespace, name), guest = await self._orders.get()
            if self._guests is None:
                continue
            try:
                await self._move(self._guests, order, f"{namespace}/{name}", guest)
            except (OSError, RuntimeError) as exc:
                _log.debug("guest %s/%s: %s: %s", namespace, name, order, type(exc).__name__)

    async def _move(self, guests: Guests, order: str, key: str, guest: Guest | None) -> None:
        if order == "stop":
            await guests.stop_one(key)
        elif order == "pause":
            await guests.pause(key)
        elif order == "resume":
            await guests.resume(key)
        elif guest is not None:
            await guests.start_one(guest)
