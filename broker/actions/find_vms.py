"""List the VMs of a namespace or of the whole cluster, each joined with its VMI."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from broker.actions.connect import login_for
from broker.actions.context import Broker
from broker.actions.guest_user import GuestLogin
from broker.actions.vm_rows import Instance, VmList, VmRow, instance_of, join, row_of
from broker.clean import escaped
from broker.errors import NotPermitted, Refused, UsageError
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES, Resource
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.tasks import Supervisor

T = TypeVar("T")
R = TypeVar("R", VmRow, Instance)


@dataclass(slots=True)
class _Folded(Generic[R]):
    """One list as small values by namespace and name, with what went wrong."""

    values: dict[tuple[str, str], R] = field(default_factory=dict)
    refusal: NotPermitted | None = None
    unreadable: int = 0


async def find_vms(broker: Broker, *, namespace: str | None, selector: str | None = None, with_logins: bool = False) -> VmList:
    """Return every VM, and every VMI without VM; `namespace` None means all, `selector` is a label selector of the VMs.

    Both lists are fetched side by side and pages folded at once; `with_logins` looks for guest users too (slower).
    One list that is forbidden is a warning; both, or the VMs' where a selector is given, NotPermitted; others as `Rest.get`.
    """

    def vm_row(vm: VirtualMachine) -> VmRow:
        return row_of(vm, _login(broker, vm, None) if with_logins else None)

    def instance(vmi: VirtualMachineInstance) -> Instance:
        return instance_of(vmi, _login(broker, None, vmi) if with_logins else None)

    vms, vmis = _Folded[VmRow](), _Folded[Instance]()
    with _little_collection():
        async with Supervisor("find-vms") as tasks:
            both = (
                tasks.start(_fold(broker, VIRTUAL_MACHINES, namespace, selector, vms, vm_row), name="vms"),
                tasks.start(_fold(broker, VIRTUAL_MACHINE_INSTANCES, namespace, None, vmis, instance), name="vmis"),
            )
            for task in both:
                await task
        if vms.refusal is not None and (vmis.refusal is not None or selector):
            raise vms.refusal
        # A VM's own labels are not on its VMI: where a selector was given, VMIs follow the VMs that it left.
        instances = [vmi for key, vmi in vmis.values.items() if not selector or key in vms.values]
        return VmList(
            context=broker.endpoint.context,
            namespace=namespace,
            rows=join(vms.values, instances),
            warnings=(
                *_warnings("VMs", vms.refusal, vms.unreadable, "only running instances are shown"),
                *_warnings("VMIs", vmis.refusal, vmis.unreadable, "nodes and addresses are missing"),
            ),
        )


async def _fold(
    broker: Broker,
    resource: Resource[T],
    namespace: str | None,
    selector: str | None,
    into: _Folded[R],
    fold: Callable[[T], R],
) -> None:
    try:
        async for page in broker.rest.list_pages(resource, namespace, selector=selector):
            if page.is_first:
                into.values.clear()
                into.unreadable = 0
            into.unreadable += page.unreadable
            for item in page.items:
                value = fold(item)
                into.values[(value.namespace, value.name)] = value
    except NotPermitted as exc:
        into.values.clear()
        into.refusal = exc
    except Refused as exc:
        if selector and exc.code == "invalid":
            raise UsageError(
                f"the label selector {escaped(selector)} is not one that the server can read",
                cause=exc.cause,
                next_step="write it as kubectl takes it: app=web,tier!=db or 'env in (a,b)'",
            ) from exc
        raise


def _login(broker: Broker, vm: VirtualMachine | None, vmi: VirtualMachineInstance | None) -> GuestLogin:
    meta = vm.metadata if vm is not None else vmi.metadata if vmi is not None else None
    return login_for(
        vm, vmi, name=meta.name if meta else "", namespace=meta.namespace if meta else "", settings=broker.settings
    )


def _warnings(what: str, refusal: NotPermitted | None, unreadable: int, effect: str) -> Iterator[str]:
    if refusal is not None:
        yield f"you may not list {what} here: {effect}"
    if unreadable:
        yield f"{unreadable} {what} left out: the API server's answer about them is not readable"


@contextmanager
def _little_collection() -> Iterator[None]:
    """Raise the garbage collector's threshold for a while: decoded objects hold no cycles and come by the thousand."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 50_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
