"""What the cluster's own objects say about dialling a guest's port through the API server, before anybody dials. **Pure.**

virt-api dials the first interface of the VMI's status and nothing else (KubeVirt VA/rest/dialers.go, kubevirt.md A3 and A4).
Only what is certain stops a dial; what is likely to fail is `doubtful`, and `broker.paths.diagnosis` tells why it failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.facts.ports import lists_port
from broker.facts.primary_network import Dialled, dialled
from broker.model.meta import holds
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance

if TYPE_CHECKING:
    from broker.errors import BrokerError


def preflight(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None, port: int) -> BrokerError | None:
    """Return why a TCP port of this guest cannot answer, None where only dialling can tell; one of vm and vmi is given.

    GuestUnready with code vmi-foreign, vm-paused, no-interface, no-address, primary-udn, port-not-listed, or one of
    `broker.facts.run_state` (vm-stopped, vm-starting, vm-crash-loop, …).
    """
    if vmi is not None and vmi.phase == "Running" and _is_its_own(vm, vmi) and not holds(vmi.conditions, "Paused"):
        found = dialled(vmi)
        if found is not None and found.address and found.kind != "primary-udn" and _is_listed(vmi, found, port):
            return None
    if vm is None and vmi is None:
        return None
    from broker.paths.obstacle import obstacle

    return obstacle(vm, vmi, port)


def is_doubtful(vmi: VirtualMachineInstance | None) -> bool:
    """Say whether a dial of this instance will most likely hang, so that it gets a short limit of time."""
    found = dialled(vmi) if vmi is not None else None
    return found is not None and found.is_doubtful


def _is_its_own(vm: VirtualMachine | None, vmi: VirtualMachineInstance) -> bool:
    return vm is None or not vm.metadata.uid or vmi.owner_uid == vm.metadata.uid


def _is_listed(vmi: VirtualMachineInstance, first: Dialled, port: int) -> bool:
    interface = vmi.machine.interface(first.name)
    return interface is None or lists_port(interface, port)
