"""The words for what `broker.paths.preflight` found in the way: cause and next step of each. **Pure.**"""

from __future__ import annotations

from broker.clean import Clean, clean
from broker.errors import BrokerError, GuestUnready
from broker.facts import commands
from broker.facts.ports import lists_port
from broker.facts.primary_network import Dialled, dialled
from broker.facts.run_state import NotRunning, not_running
from broker.model.machine import Interface
from broker.model.meta import condition, holds
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.refs import Kind


def obstacle(vm: VirtualMachine | None, vmi: VirtualMachineInstance | None, port: int) -> BrokerError | None:
    """Return the first thing in the way of a TCP port of this guest, None where nothing is; one of both is given."""
    meta = vm.metadata if vm is not None else vmi.metadata if vmi is not None else None
    if meta is None:
        return None
    kind: Kind = "vm" if vm is not None else "vmi"
    what = commands.called(kind, meta.name, meta.namespace)
    if vmi is not None and vm is not None and vm.metadata.uid and vmi.owner_uid != vm.metadata.uid:
        return _foreign(what, meta.name, meta.namespace)
    found = not_running(vm, vmi)
    if found is not None:
        return unready(what, found)
    if vmi is None:
        return None
    if holds(vmi.conditions, "Paused"):
        return _paused(what, kind, vmi)
    first = dialled(vmi)
    if first is None:
        return _no_interface(what, kind, vmi)
    if not first.address:
        # virt-api would dial ":22", its own pod, and report that pod's answer as the guest's.
        return _no_address(what, kind, vmi, first)
    if first.kind == "primary-udn":
        return primary_udn(what, meta.name, meta.namespace, port, _on_udn(vmi, first))
    interface = vmi.machine.interface(first.name)
    if interface is not None and not lists_port(interface, port):
        return not_listed(what, kind, vmi, interface, port)
    return None


def unready(what: str, found: NotRunning) -> GuestUnready:
    """Make the error for a machine that does not run; `what` names it."""
    return GuestUnready(f"{what} {found.says}", code=found.code, cause=found.cause[:400], next_step=found.next_step)


def primary_udn(what: str, name: str, namespace: str, port: int, cause: str) -> GuestUnready:
    """Make the error for a guest on a primary user-defined network; `cause` says by what that is known."""
    return GuestUnready(
        f"{what} is on a primary user-defined network, which port-forward through the API server cannot enter",
        code="primary-udn",
        cause=cause,
        next_step=f"reach it by a Service: {commands.expose(name, namespace, port)}; or by a jump host in that network",
    )


def label(first: Dialled) -> Clean:
    """Return the first interface's name, fit to show."""
    return clean(first.name or "without a name", 63)


def _foreign(what: str, name: str, namespace: str) -> GuestUnready:
    return GuestUnready(
        f"{what} does not own the instance of its name",
        code="vmi-foreign",
        cause="KubeVirt reaches a VM only through an instance that the VM owns; this one belongs to something else",
        next_step=f"name the instance itself: {commands.target_word('vmi', name, namespace)}",
    )


def _paused(what: str, kind: Kind, vmi: VirtualMachineInstance) -> GuestUnready:
    found = condition(vmi.conditions, "Paused")
    return GuestUnready(
        f"{what} is paused",
        code="vm-paused",
        cause=f"KubeVirt says: {clean(found.message, 200)}" if found and found.message else "its condition Paused is True",
        next_step=f"unpause it: {commands.virtctl('unpause', vmi.metadata.name, vmi.metadata.namespace, kind)}",
    )


def _no_interface(what: str, kind: Kind, vmi: VirtualMachineInstance) -> GuestUnready:
    name, namespace = vmi.metadata.name, vmi.metadata.namespace
    if not vmi.machine.interfaces:
        return GuestUnready(
            f"{what} has no network interface",
            code="no-interface",
            cause="neither its spec nor its status names one",
            next_step="add an interface and a network to its spec and restart it; until then its serial console: "
            + commands.virtctl("console", name, namespace),
        )
    return GuestUnready(
        f"{what} shows no network interface",
        code="no-interface",
        cause=f"its spec has {len(vmi.machine.interfaces)} and it runs, but its status names none",
        next_step=f"see what its launcher pod lacks: {commands.kubectl_events(kind, name, namespace)}",
    )


def _no_address(what: str, kind: Kind, vmi: VirtualMachineInstance, first: Dialled) -> GuestUnready:
    name, namespace = vmi.metadata.name, vmi.metadata.namespace
    has_agent = holds(vmi.conditions, "AgentConnected")
    needs_agent = first.kind in ("secondary-only", "secondary-first") and not has_agent
    wait = commands.wait(kind, name, namespace, "address")
    return GuestUnready(
        f"{what} has no address yet",
        code="no-address",
        cause=f"its first interface, {label(first)}, has none in the status, and KubeVirt dials no other"
        + ("; no guest agent is connected" if needs_agent else ""),
        next_step=f"install qemu-guest-agent in the guest, which reports addresses on this network, then: {wait}"
        if needs_agent
        else f"wait until it has one: {wait}",
    )


def _on_udn(vmi: VirtualMachineInstance, first: Dialled) -> str:
    pod_interface = clean(vmi.interfaces[0].pod_interface_name, 40)
    known_by = f"is {pod_interface} in its pod, not eth0" if pod_interface else f"has the binding {clean(first.binding, 40)}"
    return f"its interface {label(first)} {known_by}; virt-api has no way to its address {clean(first.address, 64)}"


def not_listed(
    what: str, kind: Kind, vmi: VirtualMachineInstance, interface: Interface, port: int, protocol: str = "TCP"
) -> GuestUnready:
    """Make the error for a TCP or UDP port that a masquerade interface's list leaves out; `what` names the guest."""
    listed = [f"{entry.port}/{clean(entry.protocol or 'TCP', 8)}" for entry in interface.ports or ()]
    listed += [
        f"{entry.start_port}-{entry.end_port}/{clean(entry.protocol or 'TCP', 8)}" for entry in interface.port_ranges or ()
    ]
    shown = ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
    restart = commands.virtctl("restart", vmi.metadata.name, vmi.metadata.namespace)
    added = f"{port}" if protocol == "TCP" else f"{port} with protocol {protocol}"
    return GuestUnready(
        f"{what} lets no {protocol} port {port} in",
        code="port-not-listed",
        cause=f"its masquerade interface {clean(interface.name, 63)} passes only the ports of its list: {shown}",
        next_step=f"add {added} to the interface's ports in the VM, then {restart}; or name a listed port"
        if kind == "vm"
        else f"make it anew with {added} in the interface's ports, or name a listed port",
    )
