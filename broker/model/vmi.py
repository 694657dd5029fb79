"""VirtualMachineInstance, as far as listing, showing and connecting read it. **Pure.** (KubeVirt core/v1 types.go)"""

from __future__ import annotations

import msgspec

from broker.model.machine import NO_MACHINE, MachineSpec
from broker.model.meta import Condition, Meta, Struct


class GuestOs(Struct, frozen=True):
    """`status.guestOSInfo`, from the guest agent: as true as the guest is honest."""

    id: str | None = None
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    kernel_release: str | None = None

    @property
    def title(self) -> str:
        """The name to show: prettyName, else name and version, else id."""
        named = " ".join(part for part in (self.name, self.version) if part)
        return self.pretty_name or named or self.id or ""


class InterfaceStatus(Struct, frozen=True):
    """`status.interfaces[]`; `name` is empty for an interface that only the guest knows."""

    name: str | None = None
    ip_address: str | None = None
    ip_addresses: list[str] | None = None
    mac: str | None = None
    interface_name: str | None = None
    pod_interface_name: str | None = None
    info_source: str | None = None
    link_state: str | None = None
    queue_count: int | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses in the server's order, the one that is dialled (`ipAddress`) first, none twice."""
        if self.ip_addresses and self.ip_address == self.ip_addresses[0] and len(self.ip_addresses) == 1 and self.ip_address:
            return (self.ip_address,)
        listed = [self.ip_address, *(self.ip_addresses or ())]
        return tuple(dict.fromkeys(address for address in listed if address))


class MigrationState(Struct, frozen=True):
    """`status.migrationState`, also of the last migration: it runs while it has a start and no end."""

    source_node: str | None = None
    target_node: str | None = None
    start_timestamp: str | None = None
    end_timestamp: str | None = None
    completed: bool | None = None
    failed: bool | None = None


class VmiStatus(Struct, frozen=True):
    """`status`; `phase` is empty, Pending, Scheduling, Scheduled, Running, Succeeded, Failed or Unknown."""

    phase: str | None = None
    node_name: str | None = None
    interfaces: list[InterfaceStatus] | None = None
    conditions: list[Condition] | None = None
    guest_os: GuestOs | None = msgspec.field(name="guestOSInfo", default=None)
    migration_state: MigrationState | None = None


class VirtualMachineInstance(Struct, frozen=True):
    """One VirtualMachineInstance of kubevirt.io/v1."""

    metadata: Meta = Meta()
    spec: MachineSpec | None = None
    status: VmiStatus | None = None

    @property
    def machine(self) -> MachineSpec:
        """Its spec, the empty one where there is none."""
        return self.spec or NO_MACHINE

    @property
    def phase(self) -> str:
        """`status.phase`, empty before the controller saw it."""
        return (self.status.phase if self.status else None) or ""

    @property
    def node(self) -> str:
        """The node it runs on, empty before it is scheduled."""
        return (self.status.node_name if self.status else None) or ""

    @property
    def interfaces(self) -> list[InterfaceStatus]:
        """`status.interfaces`; the first one is what virt-api dials (VA/rest/dialers.go)."""
        return (self.status.interfaces if self.status else None) or []

    @property
    def conditions(self) -> list[Condition]:
        """`status.conditions`."""
        return (self.status.conditions if self.status else None) or []

    @property
    def guest_os(self) -> GuestOs | None:
        """What the guest agent says of the system; None without an agent."""
        return self.status.guest_os if self.status else None

    @property
    def migration(self) -> MigrationState | None:
        """The live migration that is under way (started, not ended); None otherwise."""
        found = self.status.migration_state if self.status else None
        if found is None or not found.start_timestamp or found.end_timestamp or found.completed:
            return None
        return found

    @property
    def owner_uid(self) -> str:
        """The uid of the VirtualMachine that owns it; empty for a VMI on its own."""
        for owner in self.metadata.owner_references or ():
            if owner.kind == "VirtualMachine":
                return owner.uid
        return ""
