"""What `vmbroker show` says of one VM: its VM and VMI joined, and the JSON form. **Pure.**

Interfaces are joined by name over the VM's template, the VMI's spec and the VMI's status (okd-networking.md 0.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.actions.guest_user import GuestLogin
from broker.actions.vm_rows import Object, instance_of, is_link_local, login_to_json, status_of, timestamp
from broker.errors import BrokerError
from broker.model.machine import NO_MACHINE, Interface, MachineSpec, Network, Port, PortRange
from broker.model.meta import Condition, seconds
from broker.model.vm import VirtualMachine
from broker.model.vmi import InterfaceStatus, VirtualMachineInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAddress:
    """One address of an interface: `origin` is the interface's infoSource; a link-local one leads in from nowhere else."""

    text: str
    origin: str
    is_link_local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownInterface:
    """One interface of a guest; empty text where nobody says.

    `badges`: dialled, guest only, pending, leaving, not in guest, no status, no address, link down. `ports` as `22/TCP ssh`;
    empty where every port passes. `source` and `binding` are the words of `broker.model.machine`.
    """

    name: str
    badges: tuple[str, ...]
    binding: str
    source: str
    model: str
    mac: str
    guest_name: str
    pod_name: str
    addresses: tuple[ShownAddress, ...]
    info_source: str
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCondition:
    """One condition that matters now, with what it means for the person who looks."""

    type: str
    status: str
    reason: str
    message: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VmDetails:
    """One VM, or one VMI without VM, as far as the caller may read it.

    Times are seconds since the epoch; `obstacle` is why its SSH port cannot be reached through the API server, None where only
    dialling can tell, and `doubt` why it then most likely cannot.
    """

    object: Object
    context: str
    namespace: str
    name: str
    uid: str
    vmi_uid: str
    status: str
    run_strategy: str
    ready: bool | None
    phase: str
    node: str
    created_s: float | None
    started_s: float | None
    conditions: tuple[ShownCondition, ...]
    interfaces: tuple[ShownInterface, ...]
    is_agent_connected: bool
    guest_os: str
    labels: Mapping[str, str]
    login: GuestLogin
    obstacle: BrokerError | None = None
    doubt: BrokerError | None = None
    warnings: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The VM as a target that every command takes: `vm/NAME/NAMESPACE` or `vmi/NAME/NAMESPACE`."""
        return f"{'vm' if self.object == 'VirtualMachine' else 'vmi'}/{self.name}/{self.namespace}"


_AT_TRUE: Final = {
    "Paused": "its processors stand still: no connection is answered until it is unpaused",
    "RestartRequired": "a change of the VM takes effect only after a restart",
    "MigrationRequired": "a network change waits for a live migration (or a restart)",
    "AgentVersionNotSupported": "the guest agent is too old for what KubeVirt wants of it (keys, passwords)",
    "EvictionRequested": "it is to leave its node: a live migration is due, and connections through the API server will end",
    "Failure": "the controller could not do what the VM asks for",
    "ManualRecoveryRequired": "the VM needs a person: its volumes do not match its spec",
    "SoftwareEmulation": "it runs without hardware virtualisation, slowly",
    "HotVCPUChange": "a change of processors is under way",
    "HotMemoryChange": "a change of memory is under way",
}
_AT_FALSE: Final = {
    "Ready": "it does not count as ready; Services leave it out",
    "Synchronized": "KubeVirt could not bring it to the wanted state",
    "AccessCredentialsSynchronized": "keys or passwords from Secrets did not reach the guest",
    "LiveMigratable": "it cannot move to another node without a stop",
    "PodScheduled": "no node takes its pod",
}
# What a stopped VM still carries of its last instance says nothing about it (kubevirt.md M3).
_COPIES: Final = frozenset(
    {"LiveMigratable", "StorageLiveMigratable", "AgentConnected", "RestartRequired", "AccessCredentialsSynchronized"}
)


def details_of(
    vm: VirtualMachine | None,
    vmi: VirtualMachineInstance | None,
    *,
    context: str,
    login: GuestLogin,
    obstacle: BrokerError | None = None,
    doubt: BrokerError | None = None,
    warnings: tuple[str, ...] = (),
) -> VmDetails:
    """Join a VM and its VMI; ValueError when both are None."""
    if vm is None and vmi is None:
        raise ValueError("neither VM nor VMI")
    meta = vm.metadata if vm is not None else vmi.metadata if vmi is not None else None
    assert meta is not None
    instance = instance_of(vmi) if vmi is not None else None
    ready = vm.is_ready if vm is not None else instance.ready if instance else None
    return VmDetails(
        object="VirtualMachine" if vm is not None else "VirtualMachineInstance",
        context=context,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        vmi_uid=instance.uid if instance else "",
        status=(vm.printable_status or "Unknown") if vm is not None else status_of(instance) if instance else "Unknown",
        run_strategy=vm.run_strategy if vm is not None else "",
        ready=ready,
        phase=instance.phase if instance else "",
        node=instance.node if instance else "",
        created_s=seconds(meta.creation_timestamp),
        started_s=seconds(instance.created) if instance else None,
        conditions=conditions_of(vm, vmi),
        interfaces=interfaces_of(vm, vmi),
        is_agent_connected=bool(instance and instance.is_agent_connected),
        guest_os=instance.guest_os if instance else "",
        labels=dict(meta.labels or {}),
        login=login,
        obstacle=obstacle,
        doubt=doubt,
        warnings=warnings,
    )


def conditions_of(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None) -> tuple[ShownCondition, ...]:
    """Return the conditions that matter: those that hold something back, the VMI's before the VM's copies of them."""
    found: dict[str, Condition] = {entry.type: entry for entry in (vmi.conditions if vmi is not None else ())}
    for entry in vm.conditions if vm is not None else ():
        if vmi is not None or entry.type not in _COPIES:
            found.setdefault(entry.type, entry)
    return tuple(shown for entry in found.values() if (shown := _shown_condition(entry)) is not None)


def interfaces_of(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None) -> tuple[ShownInterface, ...]:
    """Return one value an interface: in the order of the VMI's status (the first is dialled), then those without status."""
    wanted = _nics_of(vm.machine if vm is not None else NO_MACHINE)
    running = _nics_of(vmi.machine if vmi is not None else NO_MACHINE)
    shown = [
        _interface(status.name or "", status, wanted, running, is_first=position == 0, has_vmi=True)
        for position, status in enumerate(vmi.interfaces if vmi is not None else ())
    ]
    names = {status.name for status in (vmi.interfaces if vmi is not None else ())}
    for name in (*running.interfaces, *wanted.interfaces):
        if name not in names:
            names.add(name)
            shown.append(_interface(name, None, wanted, running, is_first=False, has_vmi=vmi is not None))
    return tuple(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nics:
    """A spec's interfaces and networks by name: an object may list thousands. Of two with one name the first counts."""

    interfaces: Mapping[str, Interface]
    networks: Mapping[str, Network]


def _nics_of(machine: MachineSpec) -> _Nics:
    interfaces: dict[str, Interface] = {}
    networks: dict[str, Network] = {}
    for interface in machine.interfaces:
        interfaces.setdefault(interface.name, interface)
    for network in machine.networks or ():
        networks.setdefault(network.name, network)
    return _Nics(interfaces=interfaces, networks=networks)


def details_to_json(details: VmDetails) -> dict[str, object]:
    """Return the value as `-o json` prints it (`kind: VirtualMachine` of vmbroker/v1); keys only ever grow."""
    return {
        "apiVersion": "vmbroker/v1",
        "kind": "VirtualMachine",
        "object": details.object,
        "context": details.context,
        "namespace": details.namespace,
        "name": details.name,
        "uid": details.uid or None,
        "vmiUid": details.vmi_uid or None,
        "status": details.status,
        "runStrategy": details.run_strategy or None,
        "ready": details.ready,
        "phase": details.phase or None,
        "node": details.node or None,
        "created": timestamp(details.created_s),
        "started": timestamp(details.started_s),
        "conditions": [
            {"type": c.type, "status": c.status, "reason": c.reason or None, "message": c.message or None, "meaning": c.meaning}
            for c in details.conditions
        ],
        "interfaces": [_interface_to_json(interface) for interface in details.interfaces],
        "agentConnected": details.is_agent_connected,
        "guestOs": details.guest_os or None,
        "labels": dict(details.labels),
        "login": login_to_json(details.login),
        "obstacle": _reason_to_json(details.obstacle),
        "doubt": _reason_to_json(details.doubt),
        "warnings": list(details.warnings),
    }


def _reason_to_json(error: BrokerError | None) -> dict[str, object] | None:
    if error is None:
        return None
    return {"code": error.code, "message": error.message, "cause": error.cause, "nextStep": error.next_step}


def _interface_to_json(shown: ShownInterface) -> dict[str, object]:
    return {
        "name": shown.name or None,
        "badges": list(shown.badges),
        "binding": shown.binding or None,
        "network": shown.source or None,
        "model": shown.model or None,
        "mac": shown.mac or None,
        "guestInterface": shown.guest_name or None,
        "podInterface": shown.pod_name or None,
        "infoSource": shown.info_source or None,
        "addresses": [{"address": a.text, "linkLocal": a.is_link_local} for a in shown.addresses],
        "ports": list(shown.ports),
    }


def _shown_condition(entry: Condition) -> ShownCondition | None:
    meaning = {"True": _AT_TRUE, "False": _AT_FALSE}.get(entry.status, {}).get(entry.type)
    # MigrationRequired False with a reason is a change that is still being tried in place.
    if entry.type == "MigrationRequired" and entry.status == "False" and entry.reason:
        meaning = "a network change is being tried without migration"
    if meaning is None:
        return None
    return ShownCondition(
        type=entry.type, status=entry.status, reason=entry.reason or "", message=entry.message or "", meaning=meaning
    )


def _interface(
    name: str,
    status: InterfaceStatus | None,
    wanted: _Nics,
    running: _Nics,
    *,
    is_first: bool,
    has_vmi: bool,
) -> ShownInterface:
    spec = (running.interfaces.get(name) or wanted.interfaces.get(name)) if name else None
    network = (running.networks.get(name) or wanted.networks.get(name)) if name else None
    origin = (status.info_source if status else None) or ""
    return ShownInterface(
        name=name,
        badges=_badges(name, status, wanted, running, is_first=is_first, has_vmi=has_vmi),
        binding=spec.binding_name if spec else "",
        source=network.source if network else "",
        model=(spec.model if spec else None) or "",
        mac=(status.mac if status else None) or (spec.mac_address if spec else None) or "",
        guest_name=(status.interface_name if status else None) or "",
        pod_name=(status.pod_interface_name if status else None) or "",
        addresses=tuple(
            ShownAddress(text=text, origin=origin, is_link_local=is_link_local(text))
            for text in (status.addresses if status else ())
        ),
        info_source=origin,
        ports=_ports(spec),
    )


def _badges(
    name: str,
    status: InterfaceStatus | None,
    wanted: _Nics,
    running: _Nics,
    *,
    is_first: bool,
    has_vmi: bool,
) -> tuple[str, ...]:
    in_wanted = wanted.interfaces.get(name) if name else None
    in_running = running.interfaces.get(name) if name else None
    states = {interface.state for interface in (in_wanted, in_running) if interface is not None}
    is_guest_only = in_wanted is None and in_running is None
    is_pending = has_vmi and in_running is None and in_wanted is not None and "absent" not in states
    told = (
        (is_first, "dialled"),
        (is_guest_only, "guest only"),
        (is_pending, "pending"),
        ("absent" in states, "leaving"),
        (has_vmi and status is None and in_running is not None, "no status"),
        (status is not None and (status.info_source or "") == "multus-status", "not in guest"),
        (status is not None and not status.addresses, "no address"),
        ("down" in states or (status is not None and status.link_state == "down"), "link down"),
    )
    return tuple(word for holds_true, word in told if holds_true)


def _ports(spec: Interface | None) -> tuple[str, ...]:
    if spec is None:
        return ()
    return (*(_port(port) for port in spec.ports or ()), *(_range(span) for span in spec.port_ranges or ()))


def _port(port: Port) -> str:
    return f"{port.port}/{(port.protocol or 'TCP').upper()}" + (f" {port.name}" if port.name else "")


def _range(span: PortRange) -> str:
    return f"{span.start_port}-{span.end_port}/{(span.protocol or 'TCP').upper()}"
