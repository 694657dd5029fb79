"""Whether a machine runs, and what keeps it from running. **Pure.**

Sources: KubeVirt's printableStatus and conditions as virt-controller sets them (kubevirt.md M3, captures reactions-vm-*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.clean import clean
from broker.facts import commands
from broker.model.meta import Condition, condition
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.refs import Kind

ENDED: Final = frozenset({"Succeeded", "Failed"})
"""Phases of an instance that will never run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRunning:
    """Why a machine does not run: `code` for scripts, `says` continues "VM web …", then cause and next step."""

    code: str
    says: str
    cause: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    kind: Kind
    name: str
    namespace: str
    vm: VirtualMachine | None
    vmi: VirtualMachineInstance | None

    @property
    def status(self) -> str:
        return self.vm.printable_status if self.vm is not None else ""

    def told(self, kind: str) -> Condition | None:
        """The condition of this type that is False, of the instance or (a copy) of the VM while it has an instance."""
        found = condition(self.vmi.conditions, kind) if self.vmi is not None else None
        if found is None and self.vmi is None and self.vm is not None and self.vm.is_created:
            found = condition(self.vm.conditions, kind)
        return found if found is not None and found.status == "False" else None

    @property
    def is_kept_running(self) -> bool:
        """Say whether the controller makes a new instance when this one has ended."""
        if self.vm is None:
            return False
        has_failed = self.vmi is not None and self.vmi.phase == "Failed"
        return self.vm.run_strategy == "Always" or (self.vm.run_strategy == "RerunOnFailure" and has_failed)


def not_running(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None) -> NotRunning | None:
    """Say why this machine does not run; None where it runs, or where its phase says nothing (Unknown) and a dial may tell.

    One of the two is given. A running instance that is being deleted still runs: its guest may answer until it is off.
    """
    if vmi is not None and vmi.phase in ("Running", "Unknown"):
        return None
    meta = vm.metadata if vm is not None else vmi.metadata if vmi is not None else None
    if meta is None:
        return None
    kind: Kind = "vm" if vm is not None else "vmi"
    machine = _Machine(kind=kind, name=meta.name, namespace=meta.namespace, vm=vm, vmi=vmi)
    if meta.deletion_timestamp or machine.status == "Terminating":
        return _deleting(machine)
    return _blocked(machine) or _on_its_way(machine) or _stopped(machine)


def being_stopped(vm: VirtualMachine | None, vmi: VirtualMachineInstance) -> NotRunning | None:
    """Say that a running instance is about to end: it, its VM or its launcher pod is being deleted; None where none is."""
    kind: Kind = "vm" if vm is not None else "vmi"
    machine = _Machine(kind=kind, name=vmi.metadata.name, namespace=vmi.metadata.namespace, vm=vm, vmi=vmi)
    if vm is not None and (vm.metadata.deletion_timestamp or machine.status == "Terminating"):
        return _deleting(machine)
    ready = machine.told("Ready")
    if vmi.metadata.deletion_timestamp or (ready is not None and ready.reason == "PodTerminating"):
        return _stopping(machine)
    return None


def _deleting(machine: _Machine) -> NotRunning:
    finalizers = "" if machine.vmi is None else "; its instance is not gone yet"
    return NotRunning(
        code="vm-deleting",
        says="is being deleted",
        cause=f"somebody asked for its deletion{finalizers}",
        next_step=f"nothing brings it back; what holds it: {commands.show(machine.kind, machine.name, machine.namespace)}",
    )


def _stopping(machine: _Machine) -> NotRunning:
    next_step = "wait until it is off, then start it: " + commands.virtctl("start", machine.name, machine.namespace)
    if machine.vm is None:
        next_step = "wait until it is gone: nothing restarts a VMI that has no VM"
    elif machine.vm.run_strategy == "Always":
        next_step = "wait until it runs again: " + commands.wait(machine.kind, machine.name, machine.namespace, "ssh")
    return NotRunning(
        code="vm-stopping",
        says="is being shut down",
        cause="its instance or launcher pod is being deleted",
        next_step=next_step,
    )


def _blocked(machine: _Machine) -> NotRunning | None:
    """Name what keeps it from starting, where the controller reported that."""
    describe = commands.kubectl_describe("vmi" if machine.vmi is not None else machine.kind, machine.name, machine.namespace)
    events = commands.kubectl_events(machine.kind, machine.name, machine.namespace)
    status = machine.status
    has_ended = machine.vmi is not None and machine.vmi.phase in ENDED
    scheduled, synchronized = (None, None) if has_ended else (machine.told("PodScheduled"), machine.told("Synchronized"))
    reason = (synchronized.reason if synchronized else None) or ""
    if status == "CrashLoopBackOff":
        failures = machine.vm.failed_starts if machine.vm is not None else 0
        told = f"its instances failed {failures} times in a row" if failures > 1 else "its instance failed before it ran"
        cause = f"{told}; KubeVirt waits longer before each new try"
        return NotRunning(code="vm-crash-loop", says="fails each time it starts", cause=cause, next_step=f"see why: {events}")
    if status in ("ErrImagePull", "ImagePullBackOff") or reason in ("ErrImagePull", "ImagePullBackOff"):
        cause = _said("KubeVirt says", synchronized, f"its status is {clean(status or reason, 40)}")
        return NotRunning(
            code="vm-image-unavailable", says="waits for an image that cannot be pulled", cause=cause,
            next_step=f"correct the image's name or its pull secret: {describe}",
        )  # fmt: skip
    told_status = "ErrorPvcNotFound" if reason == "FailedPvcNotFound" else status
    if told_status in _STORAGE:
        says, cause, code = _STORAGE[told_status]
        return NotRunning(
            code=code, says=says, cause=_said("KubeVirt says", synchronized, cause),
            next_step=f"see its volumes and claims: {describe}; kubectl get pvc -n {_place(machine)}",
        )  # fmt: skip
    if status == "ErrorUnschedulable" or (scheduled is not None and scheduled.reason == "Unschedulable"):
        cause = _said("the scheduler says", scheduled, "its launcher pod is unschedulable")
        return NotRunning(
            code="vm-unschedulable", says="finds no node to run on", cause=cause,
            next_step=f"make room on a node, or let it ask for less: {describe}",
        )  # fmt: skip
    if synchronized is not None:
        return NotRunning(
            code="vm-start-refused", says="cannot be started", cause=_said("KubeVirt says", synchronized, "it gives no reason"),
            next_step=f"mend what it names: {describe}",
        )  # fmt: skip
    return None


_STORAGE: Final = {
    "ErrorPvcNotFound": (
        "needs a PersistentVolumeClaim that is not there", "its status is ErrorPvcNotFound", "vm-pvc-missing",
    ),
    "ErrorDataVolumeNotFound": (
        "needs a DataVolume that is not there", "its status is ErrorDataVolumeNotFound", "vm-data-volume-missing",
    ),
    "DataVolumeError": ("has a DataVolume that failed", "its status is DataVolumeError", "vm-data-volume-failed"),
    "Provisioning": ("waits for its disks to be filled", "its status is Provisioning", "vm-provisioning"),
    "WaitingForVolumeBinding": (
        "waits for a volume to be bound", "its status is WaitingForVolumeBinding", "vm-waiting-for-volume",
    ),
}  # fmt: skip


def _on_its_way(machine: _Machine) -> NotRunning | None:
    ready = machine.told("Ready")
    wait = commands.wait(machine.kind, machine.name, machine.namespace, "ssh")
    vmi, status = machine.vmi, machine.status
    if vmi is not None and vmi.phase not in ENDED:
        if vmi.metadata.deletion_timestamp or status == "Stopping":
            return _stopping(machine)
        cause = f"its instance is in phase {clean(vmi.phase or 'none yet', 40)}"
        cause += f" ({clean(ready.message, 120)})" if ready is not None and ready.message else ""
        return NotRunning(code="vm-starting", says="is still starting", cause=cause, next_step=f"wait until it runs: {wait}")
    if status == "Stopping":
        return _stopping(machine)
    if vmi is not None and machine.is_kept_running and machine.vm is not None:
        cause = f"its instance has ended ({vmi.phase}); its run strategy {machine.vm.run_strategy} makes a new one"
        return NotRunning(code="vm-starting", says="is being restarted", cause=cause, next_step=f"wait until it runs: {wait}")
    if vmi is not None or machine.vm is None:
        return None
    if status == "Starting" or machine.vm.is_created or (machine.vm.run_strategy == "Always" and status in ("", "Stopped")):
        cause = f"its status is {clean(status or 'not set yet', 40)} and its instance is not there yet"
        return NotRunning(code="vm-starting", says="is still starting", cause=cause, next_step=f"wait until it runs: {wait}")
    return None


def _stopped(machine: _Machine) -> NotRunning:
    vm, vmi = machine.vm, machine.vmi
    if vm is None:
        phase = vmi.phase if vmi is not None else ""
        next_step = "create it again: nothing restarts a VMI that has no VM"
        if vmi is not None and vmi.owner_uid:
            next_step = f"see whether its VM starts it again: {commands.show('vm', machine.name, machine.namespace)}"
        return NotRunning(code="vm-stopped", says="has ended", cause=f"its phase is {clean(phase, 40)}", next_step=next_step)
    if machine.status not in ("", "Stopped", "Running", "Paused", "Migrating"):
        return NotRunning(
            code="vm-not-running",
            says="is not running",
            cause=f"its status is {clean(machine.status, 60)}",
            next_step=f"see why: {commands.kubectl_describe('vm', machine.name, machine.namespace)}",
        )
    told = f"its instance has ended ({vmi.phase})" if vmi is not None else "it has no instance"
    strategy = f" and its run strategy is {clean(vm.run_strategy, 40)}" if vm.run_strategy else ""
    return NotRunning(
        code="vm-stopped",
        says="is stopped",
        cause=told + strategy,
        next_step=f"start it: {commands.virtctl('start', machine.name, machine.namespace)}",
    )


def _said(who: str, found: Condition | None, otherwise: str) -> str:
    return f"{who}: {clean(found.message, 200)}" if found is not None and found.message else otherwise


def _place(machine: _Machine) -> str:
    return commands.target_word("vm", machine.name, machine.namespace).rpartition("/")[2]
