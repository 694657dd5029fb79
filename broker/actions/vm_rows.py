"""The rows of `vmbroker vms`: VM and VMI folded into one small value each, and its table and JSON forms. **Pure.**

Values hold the cluster's text as it came; whoever shows it cleans it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal

import msgspec

from broker.actions.guest_user import GuestLogin
from broker.model.machine import MachineSpec
from broker.model.meta import seconds
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance

Object = Literal["VirtualMachine", "VirtualMachineInstance"]
_SHOWN_ADDRESSES: Final = 3


class Address(msgspec.Struct, frozen=True, gc=False):
    """One address of a guest: `network` is the interface's network name (empty: guest only), `origin` its infoSource."""

    text: str
    network: str
    origin: str

    @property
    def origin_word(self) -> str:
        """The origin in one word: agent, domain, multus, or pod where the status names none."""
        if "guest-agent" in self.origin:
            return "agent"
        if "domain" in self.origin:
            return "domain"
        return "multus" if "multus-status" in self.origin else "pod"


class Nic(msgspec.Struct, frozen=True, gc=False):
    """One interface of the spec: network name, binding word and network source word (see `broker.model.machine`)."""

    name: str
    binding: str
    source: str


class VmRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One VM, or one VMI that has no VM; empty text and None mean that the cluster does not say.

    `created_s` is in seconds since the epoch; `login` is None unless it was asked for.
    """

    object: Object
    namespace: str
    name: str
    status: str
    ready: bool | None
    node: str
    phase: str
    addresses: tuple[Address, ...]
    nics: tuple[Nic, ...]
    created_s: float | None
    guest_os: str
    is_agent_connected: bool
    uid: str
    vmi_uid: str
    login: GuestLogin | None = None

    @property
    def target(self) -> str:
        """The row as a target that every command takes: `vm/NAME/NAMESPACE` or `vmi/NAME/NAMESPACE`."""
        return f"{'vm' if self.object == 'VirtualMachine' else 'vmi'}/{self.name}/{self.namespace}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VmList:
    """What `find_vms` found, sorted by namespace and name; `namespace` None means all of them."""

    context: str
    namespace: str | None
    rows: tuple[VmRow, ...]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Stay short: asyncio's runner asks for the repr of its task's result when it puts SIGINT back (0.2 s for 10,000)."""
        return f"VmList({len(self.rows)} rows)"


class Instance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The part of a VMI that a row needs, so that no page has to be kept."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    node: str
    phase: str
    ready: bool | None
    is_paused: bool
    is_leaving: bool
    addresses: tuple[Address, ...]
    nics: tuple[Nic, ...]
    created: str | None
    guest_os: str
    guest_os_id: str
    is_agent_connected: bool
    login: GuestLogin | None


def row_of(vm: VirtualMachine, login: GuestLogin | None = None) -> VmRow:
    """Fold a VM into a row that knows no VMI yet."""
    meta = vm.metadata
    return VmRow(
        object="VirtualMachine",
        namespace=meta.namespace,
        name=meta.name,
        status=vm.printable_status or "Unknown",
        ready=vm.is_ready,
        node="",
        phase="",
        addresses=(),
        nics=nics_of(vm.machine),
        created_s=seconds(meta.creation_timestamp),
        guest_os="",
        is_agent_connected=False,
        uid=meta.uid,
        vmi_uid="",
        login=login,
    )


def instance_of(vmi: VirtualMachineInstance, login: GuestLogin | None = None) -> Instance:
    """Fold a VMI into what rows need of it."""
    meta = vmi.metadata
    states = {entry.type: entry.status for entry in vmi.conditions}
    system = vmi.guest_os
    return Instance(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        owner_uid=vmi.owner_uid,
        node=vmi.node,
        phase=vmi.phase,
        ready=states["Ready"] == "True" if "Ready" in states else None,
        is_paused=states.get("Paused") == "True",
        is_leaving=meta.deletion_timestamp is not None,
        addresses=addresses_of(vmi),
        nics=nics_of(vmi.machine),
        created=meta.creation_timestamp,
        guest_os=system.title if system else "",
        guest_os_id=(system.id if system else None) or "",
        is_agent_connected=states.get("AgentConnected") == "True",
        login=login,
    )


def join(vms: Mapping[tuple[str, str], VmRow], instances: Iterable[Instance]) -> tuple[VmRow, ...]:
    """Join rows and instances by namespace and name and sort them; a VMI without VM becomes a row of its own.

    The owner's uid is not compared: the two lists may be of different moments, and a re-made VM keeps its name.
    """
    rows = dict(vms)
    for instance in instances:
        key = (instance.namespace, instance.name)
        vm = rows.get(key)
        rows[key] = _alone(instance) if vm is None else _joined(vm, instance)
    return tuple(rows[key] for key in sorted(rows))


def addresses_of(vmi: VirtualMachineInstance) -> tuple[Address, ...]:
    """Return the addresses worth a cell: of interfaces that the spec knows, link-local ones left out."""
    found: list[Address] = []
    for interface in vmi.interfaces:
        if interface.name:
            origin = interface.info_source or ""
            found += [Address(text, interface.name, origin) for text in interface.addresses if not is_link_local(text)]
    return tuple(found)


def is_link_local(address: str) -> bool:
    """Say whether an address is link-local (RFC 3927, RFC 4291 2.5.6): no way in from elsewhere."""
    if address.startswith("169.254."):
        return True
    return address[:3].lower() in ("fe8", "fe9", "fea", "feb") and ":" in address


def nics_of(machine: MachineSpec) -> tuple[Nic, ...]:
    """Return the spec's interfaces in its order, each with binding and source."""
    sources = {network.name: network.source for network in machine.networks or ()}
    return tuple([_nic(nic.name, nic.binding_name, sources.get(nic.name, "")) for nic in machine.interfaces])


# ---- table ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table; `is_wide` columns stand in `-o wide` only. `cell` takes a row and now in epoch seconds."""

    title: str
    cell: Callable[[VmRow, float], str]
    is_wide: bool = False


def age(created_s: float | None, now_s: float) -> str:
    """Return an age as kubectl writes it roughly: 45s, 12m, 3h20m, 5h, 3d, 2y; empty for None."""
    if created_s is None:
        return ""
    passed = max(int(now_s - created_s), 0)
    for limit, unit, word, small, small_word in (
        (120, 1, "s", 0, ""),
        (600, 60, "m", 1, "s"),
        (7200, 60, "m", 0, ""),
        (28800, 3600, "h", 60, "m"),
        (172800, 3600, "h", 0, ""),
        (691200, 86400, "d", 3600, "h"),
        (63072000, 86400, "d", 0, ""),
    ):
        if passed < limit:
            rest = (passed % unit) // small if small else 0
            return f"{passed // unit}{word}" + (f"{rest}{small_word}" if rest else "")
    return f"{passed // 31536000}y"


def addresses_text(addresses: Sequence[Address]) -> str:
    """Return addresses with their origin word, three at most: `10.0.0.5 (agent), 10.1.0.5 (multus) +2`."""
    shown = ", ".join([f"{address.text} ({address.origin_word})" for address in addresses[:_SHOWN_ADDRESSES]])
    left = len(addresses) - _SHOWN_ADDRESSES
    return f"{shown} +{left}" if left > 0 else shown


def nics_text(nics: Sequence[Nic]) -> str:
    """Return interfaces as `default:masquerade, lan:bridge(vlan100)`; the pod network needs no name."""
    return ", ".join([_nic_text(nic) for nic in nics])


@lru_cache(maxsize=4096)
def _nic_text(nic: Nic) -> str:
    return f"{nic.name}:{nic.binding or '?'}" + (f"({nic.source})" if nic.source not in ("", "pod") else "")


COLUMNS: Final[tuple[Column, ...]] = (
    Column(title="NAMESPACE", cell=lambda row, now_s: row.namespace),
    Column(title="NAME", cell=lambda row, now_s: row.name if row.object == "VirtualMachine" else f"vmi/{row.name}"),
    Column(title="STATUS", cell=lambda row, now_s: row.status),
    Column(title="AGE", cell=lambda row, now_s: age(row.created_s, now_s)),
    Column(title="NODE", cell=lambda row, now_s: row.node),
    Column(title="ADDRESSES", cell=lambda row, now_s: addresses_text(row.addresses)),
    Column(title="NETWORKS", cell=lambda row, now_s: nics_text(row.nics)),
    Column(title="GUEST OS", cell=lambda row, now_s: row.guest_os),
    Column(title="PHASE", cell=lambda row, now_s: row.phase, is_wide=True),
    Column(title="READY", cell=lambda row, now_s: "" if row.ready is None else str(row.ready), is_wide=True),
    Column(title="AGENT", cell=lambda row, now_s: "connected" if row.is_agent_connected else "", is_wide=True),
    Column(title="USER", cell=lambda row, now_s: (row.login.user if row.login else None) or "", is_wide=True),
    Column(title="USER FROM", cell=lambda row, now_s: row.login.user_origin if row.login else "", is_wide=True),
    Column(title="PORT", cell=lambda row, now_s: str(row.login.port) if row.login else "", is_wide=True),
    Column(title="UID", cell=lambda row, now_s: row.uid, is_wide=True),
)
"""The columns in order."""


def columns(*, wide: bool) -> tuple[Column, ...]:
    """Return the columns of the narrow or the wide table."""
    return tuple(column for column in COLUMNS if wide or not column.is_wide)


# ---- JSON ----


def list_to_json(found: VmList) -> dict[str, object]:
    """Return the list as `-o json` prints it (`kind: VirtualMachineList`); keys only ever grow."""
    return {
        "apiVersion": "vmbroker/v1",
        "kind": "VirtualMachineList",
        "context": found.context,
        "namespace": found.namespace,
        "warnings": list(found.warnings),
        "items": [row_to_json(row) for row in found.rows],
    }


def row_to_json(row: VmRow) -> dict[str, object]:
    """Return one row as `-o json` prints it; what the cluster does not say is null."""
    return {
        "object": row.object,
        "namespace": row.namespace,
        "name": row.name,
        "uid": row.uid or None,
        "vmiUid": row.vmi_uid or None,
        "status": row.status,
        "phase": row.phase or None,
        "ready": row.ready,
        "node": row.node or None,
        "created": timestamp(row.created_s),
        "addresses": [{"address": a.text, "network": a.network, "infoSource": a.origin or None} for a in row.addresses],
        "interfaces": [{"name": n.name, "binding": n.binding or None, "network": n.source or None} for n in row.nics],
        "guestOs": row.guest_os or None,
        "agentConnected": row.is_agent_connected,
        "login": login_to_json(row.login),
    }


def login_to_json(login: GuestLogin | None) -> dict[str, object] | None:
    """Return user and port with their origins; None where they were not asked for."""
    if login is None:
        return None
    return {"user": login.user, "userOrigin": login.user_origin, "port": login.port, "portOrigin": login.port_origin}


def timestamp(moment_s: float | None) -> str | None:
    """Return epoch seconds as RFC 3339 text in UTC."""
    if moment_s is None:
        return None
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def _nic(name: str, binding: str, source: str) -> Nic:
    return Nic(name, binding, source)


def _joined(vm: VmRow, instance: Instance) -> VmRow:
    # The VMI tells what runs: a NIC that only the VM's template has waits for a restart, and `show` says so.
    return VmRow(
        object="VirtualMachine",
        namespace=vm.namespace,
        name=vm.name,
        status=vm.status,
        ready=vm.ready,
        node=instance.node,
        phase=instance.phase,
        addresses=instance.addresses,
        nics=instance.nics or vm.nics,
        created_s=vm.created_s,
        guest_os=instance.guest_os,
        is_agent_connected=instance.is_agent_connected,
        uid=vm.uid,
        vmi_uid=instance.uid,
        login=_merged(vm.login, instance.login),
    )


def _merged(of_vm: GuestLogin | None, of_instance: GuestLogin | None) -> GuestLogin | None:
    # What runs may know the user (its guest agent does) where the VM's own object is silent.
    if of_vm is None or of_instance is None or of_vm.user is not None:
        return of_vm or of_instance
    return replace(of_vm, user=of_instance.user, user_origin=of_instance.user_origin, is_guess=of_instance.is_guess)


def _alone(instance: Instance) -> VmRow:
    return VmRow(
        object="VirtualMachineInstance",
        namespace=instance.namespace,
        name=instance.name,
        status=status_of(instance),
        ready=instance.ready,
        node=instance.node,
        phase=instance.phase,
        addresses=instance.addresses,
        nics=instance.nics,
        created_s=seconds(instance.created),
        guest_os=instance.guest_os,
        is_agent_connected=instance.is_agent_connected,
        uid=instance.uid,
        vmi_uid=instance.uid,
        login=instance.login,
    )


def status_of(instance: Instance) -> str:
    """Return a status word for a VMI on its own, as near to printableStatus as its phase allows."""
    if instance.is_leaving:
        return "Terminating"
    if instance.is_paused:
        return "Paused"
    if instance.phase in ("Pending", "Scheduling", "Scheduled", ""):
        return "Starting"
    return instance.phase
