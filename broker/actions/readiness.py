"""How far a VM has come: what `wait` waits for, judged from the VM and its instance. **Pure.**

The instance tells, not the VM: `printableStatus` says Stopped while the instance still ends and Running while its pod dies, and
conditions copied to a VM outlive its instance (kubevirt.md M3).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from broker.clean import Clean, clean
from broker.errors import BrokerError
from broker.model.meta import condition, holds
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance

Aim = Literal["running", "address", "agent", "ssh"]
AIMS: Final[tuple[Aim, ...]] = get_args(Aim)
_LACKS: Final[dict[Aim, str]] = {
    "running": "does not run",
    "address": "has no address on its first interface",
    "agent": "has no guest agent connected",
    "ssh": "does not answer ssh",
}
_WAITABLE: Final = frozenset({"vm-starting", "no-address"})
"""Obstacles that go by waiting: whoever has waited in vain is told something else."""
_OF_ADDRESS: Final = frozenset({"no-interface", "no-address"})
_OF_PORT: Final = frozenset({"primary-udn", "port-not-listed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen of one target at one moment; None for what is not there or not for us to read."""

    vm: VirtualMachine | None
    vmi: VirtualMachineInstance | None

    @property
    def instance(self) -> VirtualMachineInstance | None:
        """The instance, where it is this VM's own and neither ended nor on its way out."""
        vmi = self.vmi
        if vmi is None or vmi.phase in ("Succeeded", "Failed") or vmi.metadata.deletion_timestamp is not None:
            return None
        return vmi if self.is_own else None

    @property
    def is_own(self) -> bool:
        """Say whether the instance is the VM's; a VM that is not known owns any."""
        if self.vm is None or self.vmi is None or not self.vm.metadata.uid:
            return True
        return self.vmi.owner_uid == self.vm.metadata.uid


def reached(aim: Aim, sight: Sight) -> Clean | None:
    """Say by what an aim is reached, None where it is not; `ssh` is never, only dialling can tell."""
    vmi = sight.instance
    if vmi is None:
        return None
    match aim:
        case "running":
            is_up = vmi.phase == "Running" and not holds(vmi.conditions, "Paused")
            return clean(f"runs on {vmi.node}" if vmi.node else "runs") if is_up else None
        case "address":
            addresses = _addresses(vmi)
            return clean(f"has the address {addresses[0]}") if addresses else None
        case "agent":
            return clean("its guest agent is connected") if holds(vmi.conditions, "AgentConnected") else None
        case "ssh":
            return None


def seen(aim: Aim, sight: Sight) -> Clean:
    """Say in one line how far it has come: `VMI phase Scheduling, no address yet`."""
    vm, vmi = sight.vm, sight.vmi
    if vmi is None:
        return clean(f"VM {vm.printable_status or 'without a status yet'}, no VMI" if vm is not None else "no VMI")
    words = [f"VMI phase {vmi.phase or 'not set yet'}"]
    if not sight.is_own:
        words.append("not of this VM")
    if vmi.metadata.deletion_timestamp is not None:
        words.append("being deleted")
    if holds(vmi.conditions, "Paused"):
        words.append("paused")
    if vmi.phase not in ("Running", "Succeeded", "Failed"):
        words += _held_by(vmi)
    if aim in ("address", "ssh"):
        addresses = vmi.interfaces[0].addresses if vmi.interfaces else ()
        is_bare = vmi.phase == "Running" and not vmi.interfaces
        words.append(f"address {addresses[0]}" if addresses else "no interface" if is_bare else "no address yet")
    if aim == "agent":
        words.append("guest agent connected" if holds(vmi.conditions, "AgentConnected") else "no guest agent yet")
    return clean(", ".join(words))


def lacks(aim: Aim, port: int | None) -> str:
    """Say that an aim is not reached, to stand behind the VM's name: `does not answer ssh on port 22`."""
    return _LACKS[aim] + (f" on port {port}" if aim == "ssh" and port is not None else "")


def bars(obstacle: BrokerError) -> bool:
    """Say whether an obstacle is of the port's way in, which the VM's state does not show."""
    return obstacle.code in _OF_PORT


def guide(aim: Aim, obstacle: BrokerError | None, target: str) -> str:
    """Return the next step after waiting in vain; `obstacle` is what `preflight` or the last dial says of the target."""
    if obstacle is not None and obstacle.next_step and _concerns(aim, obstacle.code):
        return obstacle.next_step
    if aim == "agent":
        return "see whether qemu-guest-agent is installed and runs in the guest, or wait longer (--timeout)"
    return f"wait longer (--timeout), or see what holds it: vmbroker doctor {target}"


def _concerns(aim: Aim, code: str) -> bool:
    if code in _WAITABLE:
        return False
    if code in _OF_PORT:
        return aim == "ssh"
    return aim in ("address", "ssh") if code in _OF_ADDRESS else True


def _addresses(vmi: VirtualMachineInstance) -> list[str]:
    """The IP addresses of the first interface; a guest may report any word there."""
    return [word for word in vmi.interfaces[0].addresses if _is_ip(word)] if vmi.interfaces else []


def _is_ip(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def _held_by(vmi: VirtualMachineInstance) -> list[str]:
    """Say what the controllers say holds a start, where they do (kubevirt.md M3: unschedulable, image errors, quota)."""
    for kind in ("Synchronized", "PodScheduled"):
        found = condition(vmi.conditions, kind)
        if found is not None and found.status == "False":
            return [f"{found.reason}: {clean(found.message, 120)}" if found.message else found.reason or kind]
    return []
