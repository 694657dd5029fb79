"""One VM and its instance, watched together: what each is now, whether it went, and how far that can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from broker.actions.context import Broker
from broker.clean import Clean
from broker.errors import BrokerError, Failed, NotPermitted
from broker.kube.objectmap import Named
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES, Resource, Scope
from broker.kube.watch import watch
from broker.kube.watchsteps import Freshness, Timing
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.refs import Kind, shown
from broker.tasks import Supervisor

T = TypeVar("T", bound=Named)
TIMING: Final = Timing(list_gap_s=1.0, backoff_s=0.5, backoff_most_s=5.0, poll_s=5.0, unsynced_tries=3)
"""One object is cheap to list, and somebody stands and waits."""


@dataclass(slots=True, kw_only=True)
class View(Generic[T]):
    """What one watch has told so far of its one object; `was_here`: it was seen once, `is_gone`: it, or one before it, went."""

    obj: T | None = None
    is_synced: bool = False
    was_here: bool = False
    is_gone: bool = False
    denied: NotPermitted | None = None
    freshness: Freshness | None = None
    changes: int = 0

    @property
    def is_decided(self) -> bool:
        """Say whether it is known if the object is there, or that it may not be known."""
        return self.is_synced or self.denied is not None

    @property
    def is_polled(self) -> bool:
        """Say whether it is listed again and again because watching is denied."""
        return self.freshness is not None and self.freshness.state == "polling"


class GuestWatch:
    """Both watches of one name; `stir` is called at all news. `kind` vmi leaves the VM out: it then counts as not there."""

    def __init__(self, broker: Broker, *, namespace: str, name: str, kind: Kind | None, stir: Callable[[], None]) -> None:
        self._broker = broker
        self._scope = Scope(namespace=namespace, name=name)
        self._kind = kind
        self._stir = stir
        self.vm = View[VirtualMachine](is_synced=kind == "vmi")
        self.vmi = View[VirtualMachineInstance]()

    def start(self, tasks: Supervisor) -> None:
        """Begin to watch; what nothing helps against ends the tasks' block, a denied list is kept as `denied`."""
        tasks.start(self._follow(VIRTUAL_MACHINE_INSTANCES, self.vmi), name="vmi")
        if self._kind != "vmi":
            tasks.start(self._follow(VIRTUAL_MACHINES, self.vm), name="vm")

    @property
    def is_decided(self) -> bool:
        """Say whether it is known of both if they are there."""
        return self.vm.is_decided and self.vmi.is_decided

    @property
    def changes(self) -> int:
        """How many changes came: a number that grows with each."""
        return self.vm.changes + self.vmi.changes

    @property
    def lacking(self) -> tuple[Kind, ...]:
        """The kinds that may not be read."""
        vm: tuple[Kind, ...] = ("vm",) if self.vm.denied else ()
        return (*vm, "vmi") if self.vmi.denied else vm

    @property
    def trouble(self) -> BrokerError | None:
        """What keeps us from seeing how it is now; None while both are seen."""
        for freshness in (self.vmi.freshness, self.vm.freshness):
            if freshness is not None and freshness.error is not None and freshness.state != "polling":
                return freshness.error
        return None

    @property
    def unseen_since_s(self) -> float | None:
        """Return when (loop time) it was last seen how it is, where that is not seen now; None while both are watched."""
        views = [each.freshness for each in (self.vmi, self.vm) if each.freshness is not None]
        return min((each.since_s for each in views if each.is_unseen), default=None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is seen less well than it could be for want of rights, a line each."""
        place = f"in namespace {self._scope.namespace}"
        views = (("VMs", self.vm.denied, self.vm.is_polled), ("VMIs", self.vmi.denied, self.vmi.is_polled))
        unread = [f"you may not read {kinds} {place}: what they tell is not known" for kinds, denied, _ in views if denied]
        every = f"they are listed every {TIMING.poll_s:g} s instead"
        return (*unread, *(f"you may not watch {kinds} {place}: {every}" for kinds, _, is_polled in views if is_polled))

    async def _follow(self, resource: Resource[T], view: View[T]) -> None:
        try:
            async with aclosing(watch(self._broker.rest, resource, self._scope, timing=TIMING)) as updates:
                async for update in updates:
                    view.obj = next(iter(update.objects.values()), None)
                    if update.unreadable and view.obj is None:
                        raise _unreadable(shown(self._scope.name, self._scope.namespace), resource.plural)
                    view.is_gone = view.is_gone or any(change.kind == "removed" for change in update.changes)
                    view.changes += len(update.changes)
                    view.is_synced, view.freshness = update.is_synced, update.freshness
                    view.was_here = view.was_here or view.obj is not None
                    self._stir()
        except NotPermitted as exc:
            view.denied = exc
            self._stir()


def _unreadable(name: Clean, plural: str) -> Failed:
    return Failed(
        f"what the API server says of {name} ({plural}) is not readable",
        code="unreadable-answer",
        next_step="see whether KubeVirt is newer than vmbroker knows, or whether that object is broken",
    )
