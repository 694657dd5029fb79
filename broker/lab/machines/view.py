"""What a step sees of one VM, and what it answers: effects on objects, events, the guest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FOREGROUND",
    "GATE_MESSAGE",
    "PAUSE_GATE",
    "PODS",
    "REVISIONS",
    "VMIS",
    "VMS",
    "VM_FINALIZER",
    "Delete",
    "Domain",
    "Effect",
    "GuestOrder",
    "Json",
    "Put",
    "Step",
    "Tell",
    "View",
    "condition",
    "is_marked",
    "with_condition",
    "without_condition",
]

Json = dict[str, Any]
VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"
PODS = "pods"
REVISIONS = "controllerrevisions.apps"
VM_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
FOREGROUND = "kubevirt.io/foregroundDeleteVirtualMachine"
PAUSE_GATE = "kubevirt.io/virtual-machine-unpaused"
GATE_MESSAGE = f'corresponding condition of pod readiness gate "{PAUSE_GATE}" is not "True".'
"""What pod, VMI and VM say of Ready False while the guest is paused; the reason is ReadinessGatesNotReady."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What node and guest know of one running instance: its place, its addresses, and how it fares.

    `interfaces` is what virt-handler reports once the agent has spoken; `ended` is the phase a guest that ended by itself
    leaves behind.
    """

    node: str
    addresses: tuple[str, ...] = ()
    interfaces: tuple[Json, ...] = ()
    has_agent: bool = True
    system: Json = field(default_factory=dict)
    is_pause_wanted: bool = False
    is_reboot_wanted: bool = False
    ended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One VM at one moment: its objects (fresh copies), its launcher pod, `now` as objects write it and in seconds.

    `missing_claim` names a volume's claim that is not there, `has_pending_claim` tells of one that is not bound; `quota` is
    the API server's word on a quota that has no room for the pod.
    """

    namespace: str
    name: str
    now: str
    now_s: float
    vm: Json | None = None
    vmi: Json | None = None
    pod: Json | None = None
    revisions: tuple[str, ...] = ()
    missing_claim: str = ""
    has_pending_claim: bool = False
    quota: str = ""
    domain: Domain | None = None
    agent_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Store an object."""

    resource: str
    obj: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove an object of the VM's namespace."""

    resource: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Record an event about the VM or its instance."""

    kind: str
    reason: str
    message: str
    uid: str
    type: str = "Normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOrder:
    """What happens to the guest: start, stop, pause, resume, reboot or release (its addresses are free again)."""

    order: str


Effect = Put | Delete | Tell | GuestOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next change of one actor, due `after_s` seconds after it became possible.

    Seconds are those of pace 1; with `is_scaled` false they are real ones.
    """

    name: str
    effects: tuple[Effect, ...]
    after_s: float = 0.02
    is_scaled: bool = True


def condition(obj: Json | None, kind: str) -> Json | None:
    """Return an object's condition of a type, or None."""
    conditions: Iterable[Json] = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), None)


def with_condition(obj: Json, new: Json) -> Json:
    """Return the object with one condition set, in the place it had, else at the end."""
    status = dict(obj.get("status") or {})
    conditions = list(status.get("conditions") or ())
    for index, old in enumerate(conditions):
        if old.get("type") == new["type"]:
            conditions[index] = new
            break
    else:
        conditions.append(new)
    return {**obj, "status": {**status, "conditions": conditions}}


def without_condition(obj: Json, kind: str) -> Json:
    """Return the object without conditions of a type."""
    status = dict(obj.get("status") or {})
    status["conditions"] = [c for c in status.get("conditions") or () if c.get("type") != kind]
    return {**obj, "status": status}


def is_marked(obj: Json | None) -> bool:
    """Whether an object is being deleted."""
    return obj is not None and bool(obj["metadata"].get("deletionTimestamp"))
