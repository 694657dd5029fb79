"""What a new instance's guest will be: its node, its addresses, and what its agent will tell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from broker.lab.machines.launcher import pod_interface, secondary_networks
from broker.lab.machines.view import Domain, Json, condition

__all__ = ["SYSTEMS", "known_domain", "new_domain"]

SYSTEMS: Mapping[str, Json] = {
    "fedora": {"id": "fedora", "name": "Fedora Linux", "prettyName": "Fedora Linux 42 (Cloud Edition)", "version": "42"},
    "debian": {"id": "debian", "name": "Debian GNU/Linux", "prettyName": "Debian GNU/Linux 12 (bookworm)", "version": "12"},
    "centos": {"id": "centos", "name": "CentOS Stream", "prettyName": "CentOS Stream 9", "version": "9"},
}
"""status.guestOSInfo by the system that a container disk is named after."""
_KNOWN_SELECTORS = ("kubernetes.io/arch", "kubernetes.io/os", "kubernetes.io/hostname", "kubevirt.io/schedulable")


def known_domain(vmi: Json) -> Domain:
    """Return the domain of an instance that runs already, as its status tells."""
    status = vmi.get("status") or {}
    interfaces = tuple(status.get("interfaces") or ())
    pod: Json = next((one for one in interfaces if one.get("podInterfaceName") in ("eth0", "ovn-udn1")), {})
    return Domain(
        node=status.get("nodeName") or "",
        addresses=tuple(pod.get("ipAddresses") or ()),
        interfaces=interfaces,
        has_agent=condition(vmi, "AgentConnected") is not None,
        system=dict(status.get("guestOSInfo") or {}),
        is_pause_wanted=condition(vmi, "Paused") is not None,
    )


def new_domain(vmi: Json, *, nodes: tuple[str, ...], addresses: tuple[str, ...], before: Domain | None) -> Domain:
    """Return the domain of an instance that starts; its networks are told as those of the run before, where there was one."""
    key = f"{vmi['metadata']['namespace']}/{vmi['metadata']['name']}"
    selector = vmi["spec"].get("nodeSelector") or {}
    node = selector.get("kubernetes.io/hostname") or nodes[int(_digest(key)[:6], 16) % len(nodes)]
    if any(label not in _KNOWN_SELECTORS for label in selector) or node not in nodes:
        node = ""
    found = Domain(node=node, addresses=addresses, is_pause_wanted=vmi["spec"].get("startStrategy") == "Paused")
    if before is not None:
        own = set(before.addresses)
        told = tuple(_moved(one, own, addresses) for one in before.interfaces)
        return replace(found, interfaces=told, has_agent=before.has_agent, system=before.system)
    return replace(found, interfaces=_interfaces(vmi, key, addresses), system=_system(vmi))


def _moved(interface: Json, own: set[str], addresses: tuple[str, ...]) -> Json:
    """An interface of the run before with the new pod addresses in place of the old."""
    if interface.get("ipAddress") not in own or not addresses:
        return dict(interface)
    return {**interface, "ipAddress": addresses[0], "ipAddresses": list(addresses)}


def _interfaces(vmi: Json, key: str, addresses: tuple[str, ...]) -> tuple[Json, ...]:
    secondary = dict(secondary_networks(vmi))
    found: list[Json] = []
    for number, network in enumerate(vmi["spec"].get("networks") or ()):
        name = network["name"]
        digest = _digest(f"{key}/{name}")
        one: Json = {"infoSource": "domain, guest-agent", "interfaceName": f"eth{number}", "linkState": "up", "name": name}
        one["mac"] = ":".join(["02", *[digest[i : i + 2] for i in range(0, 10, 2)]])
        one |= {"podInterfaceName": "eth0", "queueCount": 1}
        mine = addresses
        if name in secondary:
            mine = (f"192.168.{100 + int(digest[:2], 16) % 100}.{10 + int(digest[2:4], 16) % 200}",)
            one |= {"podInterfaceName": pod_interface(name), "infoSource": "domain, guest-agent, multus-status"}
        if mine:
            one |= {"ipAddress": mine[0], "ipAddresses": list(mine)}
        found.append(one)
    return tuple(sorted(found, key=lambda one: one["name"] in secondary))


def _system(vmi: Json) -> Json:
    images = [str((v.get("containerDisk") or {}).get("image") or "") for v in vmi["spec"].get("volumes") or ()]
    return dict(next((told for word, told in SYSTEMS.items() if any(word in image for image in images)), SYSTEMS["fedora"]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
