"""Show one VM: VM and VMI read side by side and joined."""

from __future__ import annotations

from broker.actions.connect import login_of
from broker.actions.context import Broker
from broker.actions.reading import Reading, reading_of
from broker.actions.vm_details import VmDetails, details_of
from broker.errors import BrokerError, NotFound, NotPermitted
from broker.facts.commands import called
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.doubt import doubt
from broker.paths.preflight import preflight
from broker.refs import Kind, Target, dotted_reading
from broker.tasks import Supervisor


async def show_vm(broker: Broker, target: Target, *, flag_user: str | None = None, flag_port: int | None = None) -> VmDetails:
    """Return what the cluster says of a target; the flags are guest user and port as typed.

    Raises NotFound, NotPermitted where neither object may be read, and others as `Rest.get`.
    """
    namespace = target.namespace or broker.namespace
    reading = await _read(broker, target, namespace)
    if reading.vm is None and reading.vmi is None:
        raise _refusal(reading)
    login = login_of(reading, broker.settings, user=flag_user, port=flag_port)
    certain = preflight(reading.vm, reading.vmi, login.port) if "vmi" not in reading.may_lack else None
    return details_of(
        reading.vm,
        reading.vmi,
        context=broker.endpoint.context,
        login=login,
        obstacle=certain,
        doubt=doubt(reading.vm, reading.vmi, login.port) if certain is None else None,
        warnings=(*reading.warnings, *login.warnings),
    )


async def _read(broker: Broker, target: Target, namespace: str) -> Reading:
    async with Supervisor("show-vm") as tasks:
        of_vmi = tasks.start(_vmi(broker, namespace, target.name), name="vmi")
        of_vm = tasks.start(_vm(broker, namespace, target.name), name="vm")
        vmi, vm = await of_vmi, (await of_vm if target.kind != "vmi" else None)
    lacks: list[Kind] = []
    if isinstance(vm, NotPermitted):
        lacks.append("vm")
    if isinstance(vmi, NotPermitted):
        lacks.append("vmi")
    meant = dotted_reading(target) if target.namespace is None else None
    is_there = False
    if isinstance(vm, NotFound | None) and isinstance(vmi, NotFound) and meant is not None and meant.namespace:
        is_there = not isinstance(await _vm(broker, meant.namespace, meant.name), BrokerError)
    return reading_of(
        target,
        namespace,
        vm if isinstance(vm, VirtualMachine) else None,
        vmi if isinstance(vmi, VirtualMachineInstance) else None,
        lacks,
        meant=lambda: meant if is_there else None,
        verb="show",
    )


async def _vm(broker: Broker, namespace: str, name: str) -> VirtualMachine | NotFound | NotPermitted:
    try:
        return await broker.rest.read(VIRTUAL_MACHINES, namespace, name)
    except (NotFound, NotPermitted) as exc:
        return exc


async def _vmi(broker: Broker, namespace: str, name: str) -> VirtualMachineInstance | NotFound | NotPermitted:
    try:
        return await broker.rest.read(VIRTUAL_MACHINE_INSTANCES, namespace, name)
    except (NotFound, NotPermitted) as exc:
        return exc


def _refusal(reading: Reading) -> NotPermitted:
    return NotPermitted(
        f"you may not read {called(reading.kind, reading.name, reading.namespace)}",
        code="forbidden",
        cause="the cluster does not allow you its VMI"
        if reading.kind == "vmi"
        else "the cluster allows you neither its VM nor its VMI",
        next_step="ask for the role kubevirt.io:view in that namespace, or name another context or user",
    )
