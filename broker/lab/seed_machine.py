"""One VM of the seed as the objects that KubeVirt would have made of it: VM, VMI, launcher pod."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from broker.lab.machines.domain import SYSTEMS
from broker.lab.machines.view import GATE_MESSAGE, PAUSE_GATE

__all__ = ["MADE_AT", "Machine", "Nic", "machine_objects"]

Json = dict[str, Any]
MADE_AT = "2026-11-01T08:00:00Z"
_SPACE = uuid.UUID("6f0f6b5e-3a5b-4f57-9d1c-6f1d2a5f9b11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One interface: binding, its network (`pod` or a NAD), and what the status says of it.

    `addresses` may be empty; `in_status` and `in_spec` make pending and guest-only interfaces; `ports` is the masquerade list.
    `pod_address` is the pod's own one where the status tells another (a primary UDN, kubevirt#18760).
    """

    name: str
    binding: str = "masquerade"
    network: str = "pod"
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    pod_address: str = ""
    pod_interface: str = "eth0"
    guest_interface: str = "eth0"
    source: str = "domain, guest-agent"
    in_spec: bool = True
    in_status: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One VM: `state` is running, paused, stopped or starting; `has_vm` is false for a VMI on its own.

    `guest` is real, silent (no SSH server), filtered or none; only the first three have an address of the lab's own.
    `started_at` is when instance and pod were made, as objects write it.
    """

    namespace: str
    name: str
    nics: tuple[Nic, ...]
    state: str = "running"
    user: str = "fedora"
    system: str = "fedora"
    node: str = "node-1"
    guest: str = "none"
    has_agent: bool = True
    has_vm: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    user_data: str | None = None
    started_at: str = MADE_AT


def machine_objects(machine: Machine, *, keys: tuple[str, ...]) -> Iterable[tuple[str, Json]]:
    """Yield (resource, object) for one machine; `keys` are the public keys that its cloud-init authorises."""
    spec = _spec(machine, keys)
    if machine.has_vm:
        yield "virtualmachines.kubevirt.io", _vm(machine, spec)
    if machine.state == "stopped":
        return
    yield "virtualmachineinstances.kubevirt.io", _vmi(machine, spec)
    yield "pods", _pod(machine)


def uid_of(kind: str, namespace: str, name: str) -> str:
    """Return a stable uid, so that a lab that starts again knows its objects again."""
    return str(uuid.uuid5(_SPACE, f"{kind}/{namespace}/{name}"))


def _vm(machine: Machine, spec: Json) -> Json:
    labels = {"app": machine.name.split(".")[0][:63], **machine.labels}
    status: Json = {
        "printableStatus": {"stopped": "Stopped", "starting": "Starting", "paused": "Paused"}.get(machine.state, "Running")
    }
    if machine.state != "stopped":
        status = {"created": True, **status}
    if machine.state == "running":
        status["ready"] = True
    status["conditions"] = _conditions(machine)
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": _metadata("VirtualMachine", machine, labels, dict(machine.annotations)),
        "spec": {
            "runStrategy": "Halted" if machine.state == "stopped" else "Always",
            "template": {"metadata": {"labels": {"kubevirt.io/vm": machine.name[:63].rstrip("-."), **labels}}, "spec": spec},
        },
        "status": status,
    }


def _vmi(machine: Machine, spec: Json) -> Json:
    labels = {"app": machine.name.split(".")[0][:63], "kubevirt.io/vm": machine.name[:63].rstrip("-."), **machine.labels}
    status: Json = {"conditions": _conditions(machine), "phase": "Running", "nodeName": machine.node, "qosClass": "Burstable"}
    if machine.state == "starting":
        status = {"conditions": _conditions(machine), "phase": "Scheduling"}
    else:
        labels["kubevirt.io/nodeName"] = machine.node
        status["activePods"] = {uid_of("Pod", machine.namespace, machine.name): machine.node}
        # virt-controller puts the pod network in front and what only the agent knows at the end (kubevirt.md A4).
        reported = (nic for nic in machine.nics if nic.in_status)
        shown = sorted(reported, key=lambda nic: (not nic.in_spec, nic.network != "pod"))
        status["interfaces"] = [_nic_status(machine, nic) for nic in shown]
        if machine.has_agent:
            status["guestOSInfo"] = dict(SYSTEMS[machine.system])
    metadata = _metadata("VirtualMachineInstance", machine, labels, {} if machine.has_vm else dict(machine.annotations))
    if machine.has_vm:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "kubevirt.io/v1",
                "blockOwnerDeletion": True,
                "controller": True,
                "kind": "VirtualMachine",
                "name": machine.name,
                "uid": uid_of("VirtualMachine", machine.namespace, machine.name),
            }
        ]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def _pod(machine: Machine) -> Json:
    labels = {
        "kubevirt.io": "virt-launcher",
        "kubevirt.io/created-by": uid_of("VirtualMachineInstance", machine.namespace, machine.name),
        "vm.kubevirt.io/name": machine.name.split(".")[0][:63],
        "vmi.kubevirt.io/id": _identifier(machine.name),
        "app": machine.name.split(".")[0][:63],
    }
    metadata = {
        "name": f"virt-launcher-{machine.name[:40].rstrip('-.')}-{_digest(machine.namespace + machine.name)[:5]}",
        "namespace": machine.namespace,
        "uid": uid_of("Pod", machine.namespace, machine.name),
        "creationTimestamp": machine.started_at,
        "labels": labels,
        "annotations": {"kubevirt.io/domain": machine.name},
    }
    first = next((nic for nic in machine.nics if nic.network == "pod" and nic.addresses), None)
    is_up = machine.state in ("running", "paused")
    status: Json = {"phase": "Running" if is_up else "Pending", "qosClass": "Burstable"}
    if first is not None and is_up:
        addresses = (first.pod_address,) if first.pod_address else first.addresses
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
        status["containerStatuses"] = [
            {"name": "compute", "image": "virt-launcher", "imageID": "", "ready": True, "restartCount": 0}
        ]
    if machine.state == "paused":
        status["conditions"] = [
            _condition(PAUSE_GATE, "False", "Paused", "the virtual machine is paused"),
            _condition("Ready", "False", "ReadinessGatesNotReady", GATE_MESSAGE),
        ]
    spec: Json = {
        "containers": [{"name": "compute", "image": "virt-launcher"}],
        **({"nodeName": machine.node} if is_up else {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def _spec(machine: Machine, keys: tuple[str, ...]) -> Json:
    shown = [nic for nic in machine.nics if nic.in_spec]
    user_data = machine.user_data
    if user_data is None:
        account = {"name": machine.user, "shell": "/bin/bash", "ssh_authorized_keys": list(keys)}
        user_data = "#cloud-config\n" + yaml.safe_dump({"users": [account]}, sort_keys=False)
    return {
        "architecture": "amd64",
        "domain": {
            "cpu": {"cores": 1},
            "devices": {
                "disks": [{"disk": {"bus": "virtio"}, "name": "root"}, {"disk": {"bus": "virtio"}, "name": "cloudinit"}],
                "interfaces": [_nic_spec(nic) for nic in shown],
            },
            "machine": {"type": "q35"},
            "memory": {"guest": "1Gi"},
            "resources": {"requests": {"memory": "1Gi"}},
        },
        "networks": [_network(nic) for nic in shown],
        "volumes": [
            {"containerDisk": {"image": f"quay.io/containerdisks/{machine.system}"}, "name": "root"},
            {"cloudInitNoCloud": {"userData": user_data}, "name": "cloudinit"},
        ],
    }


def _nic_spec(nic: Nic) -> Json:
    found: Json = {"name": nic.name}
    if nic.binding.startswith("plugin "):
        found["binding"] = {"name": nic.binding.removeprefix("plugin ")}
    else:
        found[nic.binding] = {}
    if nic.ports:
        found["ports"] = [{"port": port, "protocol": "TCP"} for port in nic.ports]
    return found


def _network(nic: Nic) -> Json:
    return {"name": nic.name, "pod": {}} if nic.network == "pod" else {"multus": {"networkName": nic.network}, "name": nic.name}


def _nic_status(machine: Machine, nic: Nic) -> Json:
    mac = ":".join(["02", *[_digest(f"{machine.namespace}/{machine.name}/{nic.name}")[i : i + 2] for i in range(0, 10, 2)]])
    is_secondary = nic.in_spec and nic.network != "pod"
    source = f"{nic.source}, multus-status" if is_secondary else nic.source
    found: Json = {"infoSource": source, "interfaceName": nic.guest_interface}
    found["ipAddress"] = nic.addresses[0] if nic.addresses else ""
    if nic.addresses:
        found["ipAddresses"] = list(nic.addresses)
    found |= {"mac": mac, **({"name": nic.name} if nic.in_spec else {})}
    if nic.pod_interface:
        found["podInterfaceName"] = nic.pod_interface
    found["queueCount"] = 1 if nic.in_spec and nic.binding != "sriov" else 0
    return found


def _conditions(machine: Machine) -> list[Json]:
    if machine.state == "stopped":
        return [_condition("Ready", "False", "VMINotExists", "VMI does not exist")]
    if machine.state == "starting":
        why = "Guest VM is not reported as running"
        return [{**_condition("Ready", "False", "GuestNotRunning", why), "lastTransitionTime": machine.started_at}]
    found = [_condition("Ready", "True")]
    if machine.state == "paused":
        found = [
            _condition("Ready", "False", "ReadinessGatesNotReady", GATE_MESSAGE),
            _condition("Paused", "True", "PausedByUser", "VMI was paused by user"),
        ]
    found.append(_condition("LiveMigratable", "True"))
    return [*found, *([_condition("AgentConnected", "True")] if machine.has_agent else [])]


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    found: Json = {"lastProbeTime": None, "lastTransitionTime": MADE_AT}
    return {**found, **({"message": message, "reason": reason} if reason else {}), "status": status, "type": kind}


def _metadata(kind: str, machine: Machine, labels: Json, annotations: Json) -> Json:
    found: Json = {
        "name": machine.name,
        "namespace": machine.namespace,
        "uid": uid_of(kind, machine.namespace, machine.name),
        "creationTimestamp": machine.started_at if kind == "VirtualMachineInstance" else MADE_AT,
        "generation": 1,
        "labels": labels,
    }
    return {**found, **({"annotations": annotations} if annotations else {})}


def _identifier(name: str) -> str:
    """The pod label vmi.kubevirt.io/id (KubeVirt pkg/apimachinery CalculateVirtualMachineInstanceID)."""
    if len(name) <= 63:
        return name
    return f"{name[:54]}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
