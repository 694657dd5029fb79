"""What stands behind the interface that virt-api dials, and whether a dial can get there. **Pure.**

virt-api dials the first entry of `vmi.status.interfaces` from the cluster's default network (KubeVirt VA/rest/dialers.go);
sources: kubevirt.md A4 and E6, okd-networking.md 3.6 and 15.5, captures reactions-interfaces-*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from broker.model.machine import Interface, Network
from broker.model.vmi import VirtualMachineInstance

PRIMARY_UDN_LABEL: Final = "k8s.ovn.org/primary-user-defined-network"
"""The label of a namespace that has a primary user-defined network (OVN-Kubernetes)."""

Kind = Literal["pod", "primary-udn", "maybe-udn", "inner-address", "secondary-only", "secondary-first", "unknown"]
"""pod: the cluster's own network (or passt, whose pod address answers); primary-udn: virt-api has no way there, known for
certain; maybe-udn: a binding made for such networks, on an ordinary pod interface; inner-address: the address is the one that
the guest sees behind its NAT (kubevirt#18760); secondary-*: not the default network, and whether there is one."""

_POD_INTERFACE: Final = "eth0"
_LAYER2_PLUGINS: Final = frozenset({"l2bridge", "managedtap"})
_INNER_NETWORK: Final = "10.0.2.0/24"
_INNER_NETWORK_V6: Final = "fd10:0:2::/120"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """The first interface: its name, its first address ("" where it has none), its network as written in the spec."""

    kind: Kind
    name: str
    address: str
    network: str
    binding: str

    @property
    def is_doubtful(self) -> bool:
        """Say whether a dial will most likely hang, so that a short limit is enough for it."""
        return self.kind in ("maybe-udn", "inner-address", "secondary-only", "secondary-first")


def dialled(vmi: VirtualMachineInstance) -> Dialled | None:
    """Judge the interface that virt-api would dial; None where the status names no interface."""
    if not vmi.interfaces:
        return None
    first = vmi.interfaces[0]
    name = first.name or ""
    interface = vmi.machine.interface(name) if name else None
    network = vmi.machine.network(name) if name else None
    address = first.ip_address or (first.addresses[0] if first.addresses else "")
    return Dialled(
        kind=_kind(vmi, interface, network, address),
        name=name or first.interface_name or "",
        address=address,
        network=network.source if network is not None else "",
        binding=interface.binding_name if interface is not None else "",
    )


def _kind(vmi: VirtualMachineInstance, interface: Interface | None, network: Network | None, address: str) -> Kind:
    networks = vmi.machine.networks or []
    if not networks:
        return "unknown"
    if network is None or not network.is_default:
        return "secondary-first" if any(each.is_default for each in networks) else "secondary-only"
    if interface is not None and _is_passt(interface):
        return "pod"
    pod_interface = vmi.interfaces[0].pod_interface_name or ""
    if pod_interface not in ("", _POD_INTERFACE):
        return "primary-udn"
    if interface is not None and interface.binding is not None and interface.binding.name.lower() in _LAYER2_PLUGINS:
        return "maybe-udn" if pod_interface else "primary-udn"
    if interface is not None and interface.masquerade is not None and _is_inner(address, network):
        return "inner-address"
    return "pod"


def _is_passt(interface: Interface) -> bool:
    is_plugin = interface.binding is not None and interface.binding.name.lower() == "passt"
    return is_plugin or interface.passt_binding is not None or interface.passt is not None


def _is_inner(address: str, network: Network) -> bool:
    """Say whether this is an address of the network that a masquerade interface shows to its guest."""
    pod = network.pod
    written = pod.vm_network_cidr if pod is not None else None
    written_v6 = pod.vm_ipv6_network_cidr if pod is not None else None
    if not written and not written_v6 and not address.startswith(("10.0.2.", "fd10:0:2:")):
        return False
    import ipaddress

    try:
        found = ipaddress.ip_address(address)
        shown = (written_v6 or _INNER_NETWORK_V6) if found.version == 6 else (written or _INNER_NETWORK)
        return found in ipaddress.ip_network(shown, strict=False)
    except ValueError:
        return False
