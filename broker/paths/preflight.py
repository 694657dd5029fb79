"""What the cluster's own objects say about dialling a guest's port through the API server, before anybody dials. **Pure.**

virt-api dials the first interface of the VMI's status and nothing else (KubeVirt VA/rest/dialers.go, kubevirt.md A3 and A4).
"""

from __future__ import annotations

from broker.clean import clean
from broker.errors import BrokerError, GuestUnready
from broker.model.machine import Interface
from broker.model.meta import condition, holds
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.refs import shown

_GUIDE_STOPPED = "start the VM (virtctl start {name} -n {namespace}), then try again"


def preflight(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None, port: int) -> BrokerError | None:
    """Return why a TCP port of this guest cannot answer, None where only dialling can tell; one of vm and vmi is given.

    GuestUnready with the code vm-stopped, vm-starting, vmi-foreign, vm-paused, no-interface, no-address or port-not-listed.
    """
    if vmi is None:
        return _no_instance(vm) if vm is not None else None
    name = shown(vmi.metadata.name, vmi.metadata.namespace)
    if vmi.phase in ("Succeeded", "Failed"):
        return _stopped(vm, vmi, f"its instance is {vmi.phase}")
    if vm is not None and vmi.owner_uid != vm.metadata.uid and vm.metadata.uid:
        return GuestUnready(
            f"the instance {name} does not belong to the VM of that name",
            code="vmi-foreign",
            cause="KubeVirt reaches a VM only through an instance that the VM owns",
            next_step=f"name the instance itself: vmi/{vmi.metadata.name}/{vmi.metadata.namespace}",
        )
    if holds(vmi.conditions, "Paused"):
        found = condition(vmi.conditions, "Paused")
        return GuestUnready(
            f"{name} is paused",
            code="vm-paused",
            cause=clean(found.message if found and found.message else "its condition Paused is True"),
            next_step=f"unpause it: virtctl unpause vmi {vmi.metadata.name} -n {vmi.metadata.namespace}",
        )
    return _unreachable_interface(vmi, name, port)


def lists_port(interface: Interface, port: int) -> bool:
    """Say whether TCP to this port passes the interface: a masquerade interface with a port list passes nothing else."""
    if interface.masquerade is None or not (interface.ports or interface.port_ranges):
        return True
    single = any(entry.port == port and _is_tcp(entry.protocol) for entry in interface.ports or ())
    ranged = any(
        entry.start_port <= port <= entry.end_port and _is_tcp(entry.protocol) for entry in interface.port_ranges or ()
    )
    return single or ranged


def _is_tcp(protocol: str | None) -> bool:
    return (protocol or "TCP").upper() == "TCP"


def _no_instance(vm: VirtualMachine) -> BrokerError:
    if vm.is_created:
        return GuestUnready(
            f"{shown(vm.metadata.name, vm.metadata.namespace)} has no instance at this moment",
            code="vm-starting",
            cause=clean(f"its status is {vm.printable_status or 'not known'}, but its VMI is not there"),
            next_step="wait until it runs, then try again",
        )
    return _stopped(vm, None, f"its status is {vm.printable_status or 'not known yet'}")


def _stopped(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None, cause: str) -> BrokerError:
    meta = vm.metadata if vm is not None else vmi.metadata if vmi is not None else None
    name = meta.name if meta else ""
    namespace = meta.namespace if meta else ""
    if vm is None:
        guide = "create the instance again: nothing restarts a VMI that has no VM"
    elif vm.printable_status in ("Starting", "Provisioning", "WaitingForVolumeBinding"):
        guide = "wait until it runs, then try again"
    elif vm.printable_status in ("", "Stopped", "Stopping"):
        guide = _GUIDE_STOPPED.format(name=name, namespace=namespace)
    else:
        guide = f"see what holds it: vmbroker show vm/{name}/{namespace}"
    return GuestUnready(f"{shown(name, namespace)} is not running", code="vm-stopped", cause=clean(cause), next_step=guide)


def _unreachable_interface(vmi: VirtualMachineInstance, name: str, port: int) -> BrokerError | None:
    if not vmi.interfaces:
        return GuestUnready(
            f"{name} has no network interface in its status",
            code="no-interface",
            cause=clean(f"the phase of the instance is {vmi.phase or 'not known yet'}"),
            next_step="wait until it runs"
            if vmi.phase != "Running"
            else "give the VM a network interface in its spec and restart it"
            if not vmi.machine.interfaces
            else "look at the launcher pod: the interfaces of its spec are not up",
        )
    first = vmi.interfaces[0]
    label = clean(first.name or first.interface_name or "without a name", 63)
    if not first.addresses:
        # virt-api would dial ":22", its own pod, and report that pod's answer as the guest's.
        return GuestUnready(
            f"{name} has no address on its first interface ({label})",
            code="no-address",
            cause="KubeVirt dials the first interface only, and its status names no address for it",
            next_step="wait for the guest to get an address; a secondary network also needs qemu-guest-agent in the guest",
        )
    interface = vmi.machine.interface(first.name or "")
    if interface is not None and not lists_port(interface, port):
        return GuestUnready(
            f"{name} lets no TCP port {port} through its interface {label}",
            code="port-not-listed",
            cause="the interface has a list of ports, a masquerade interface passes only those, and this one is not in it",
            next_step=f"add {port} to the interface's ports in the VM and restart it, or use a listed port with -p",
        )
    return None
