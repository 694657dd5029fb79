"""VirtualMachine, as far as listing, showing and connecting read it. **Pure.** (KubeVirt core/v1 types.go)"""

from __future__ import annotations

from broker.model.machine import NO_MACHINE, MachineSpec
from broker.model.meta import Condition, Meta, Struct


class Template(Struct, frozen=True):
    """`spec.template`: what the next VMI is made from."""

    metadata: Meta | None = None
    spec: MachineSpec | None = None


class VmSpec(Struct, frozen=True):
    """`spec`; `running` is the legacy form of `run_strategy`."""

    run_strategy: str | None = None
    running: bool | None = None
    template: Template | None = None


class StartFailure(Struct, frozen=True):
    """`status.startFailure`: how often in a row the VM's instances failed before they ran."""

    consecutive_fail_count: int | None = None


class VmStatus(Struct, frozen=True):
    """`status`; `created` and `ready` are absent, not false, on a VM that never ran."""

    printable_status: str | None = None
    created: bool | None = None
    ready: bool | None = None
    conditions: list[Condition] | None = None
    start_failure: StartFailure | None = None


class VirtualMachine(Struct, frozen=True):
    """One VirtualMachine of kubevirt.io/v1."""

    metadata: Meta = Meta()
    spec: VmSpec | None = None
    status: VmStatus | None = None

    @property
    def machine(self) -> MachineSpec:
        """The template's spec, the empty one where there is none."""
        if self.spec is None or self.spec.template is None:
            return NO_MACHINE
        return self.spec.template.spec or NO_MACHINE

    @property
    def annotations(self) -> dict[str, str]:
        """The VM's own annotations over those that its template gives to the VMI."""
        template = self.spec.template if self.spec else None
        of_template = template.metadata.annotations if template and template.metadata else None
        return {**(of_template or {}), **(self.metadata.annotations or {})}

    @property
    def printable_status(self) -> str:
        """`status.printableStatus`, empty before the controller saw the VM."""
        return (self.status.printable_status if self.status else None) or ""

    @property
    def is_created(self) -> bool:
        """Say whether a VMI exists for it (`status.created`)."""
        return bool(self.status and self.status.created)

    @property
    def is_ready(self) -> bool | None:
        """`status.ready`, None where the controller has not said."""
        return self.status.ready if self.status else None

    @property
    def conditions(self) -> list[Condition]:
        """`status.conditions`, those that KubeVirt copies from the VMI included."""
        return (self.status.conditions if self.status else None) or []

    @property
    def failed_starts(self) -> int:
        """How many instances in a row failed before they ran (`status.startFailure`)."""
        found = self.status.start_failure if self.status else None
        return (found.consecutive_fail_count if found is not None else None) or 0

    @property
    def run_strategy(self) -> str:
        """The run strategy; the legacy `running` reads as Always or Halted."""
        if self.spec is None:
            return ""
        if self.spec.run_strategy:
            return self.spec.run_strategy
        return "" if self.spec.running is None else ("Always" if self.spec.running else "Halted")
