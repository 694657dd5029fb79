"""The launcher pod of an instance, as virt-controller makes it: name, labels, annotations, readiness gate."""

from __future__ import annotations

import hashlib
import json

from broker.lab.machines.instance import owner_of
from broker.lab.machines.view import PAUSE_GATE, Json

__all__ = ["LAUNCHER_IMAGE", "new_pod", "pod_interface", "secondary_networks"]

LAUNCHER_IMAGE = "quay.io/kubevirt/virt-launcher:v1.9.0-rc"
_NAME_LIMIT = 58
_LABEL_LIMIT = 63
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def new_pod(vmi: Json) -> Json:
    """Return the launcher pod; its name's end comes from the instance's uid, so that a lab repeats itself."""
    name, spec, uid = vmi["metadata"]["name"], vmi["spec"], vmi["metadata"]["uid"]
    prefix = f"virt-launcher-{name}-"
    hostname = (spec.get("hostname") or name).split(".")[0][:_LABEL_LIMIT].rstrip("-")
    labels = {
        **{k: v for k, v in (vmi["metadata"].get("labels") or {}).items() if k != "kubevirt.io/nodeName"},
        "kubevirt.io": "virt-launcher",
        "kubevirt.io/created-by": uid,
        "vm.kubevirt.io/name": hostname,
        "vmi.kubevirt.io/id": _identifier(name),
    }
    annotations = {**(vmi["metadata"].get("annotations") or {}), "kubevirt.io/domain": name, **_networks(vmi)}
    annotations["kubevirt.io/migrationTransportUnix"] = "true"
    annotations["kubectl.kubernetes.io/default-container"] = "compute"
    metadata = {
        "name": prefix[:_NAME_LIMIT] + _suffix(uid),
        "generateName": prefix,
        "namespace": vmi["metadata"]["namespace"],
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [owner_of(vmi)],
    }
    made: Json = {
        "containers": [{"name": "compute", "image": LAUNCHER_IMAGE, **_ports(spec)}],
        "nodeSelector": {"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true", **(spec.get("nodeSelector") or {})},
        "hostname": hostname,
        "readinessGates": [{"conditionType": PAUSE_GATE}],
        "terminationGracePeriodSeconds": 60,
    }
    if spec.get("subdomain"):
        made["subdomain"] = spec["subdomain"]
    status = {"phase": "Pending", "qosClass": "Burstable"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made, "status": status}


def secondary_networks(vmi: Json) -> list[tuple[str, str]]:
    """Return (network name, `namespace/name` of its NetworkAttachmentDefinition) of each secondary network."""
    found: list[tuple[str, str]] = []
    for network in vmi["spec"].get("networks") or ():
        nad = (network.get("multus") or {}).get("networkName")
        if nad and not (network.get("multus") or {}).get("default"):
            found.append((network["name"], nad if "/" in nad else f"{vmi['metadata']['namespace']}/{nad}"))
    return found


def pod_interface(network: str) -> str:
    """Name of a secondary network's interface in the pod (KubeVirt pkg/network/namescheme)."""
    return f"pod{hashlib.sha256(network.encode()).hexdigest()[:11]}"


def _ports(spec: Json) -> Json:
    """The ports that the interfaces declare, as the compute container's."""
    devices = (spec.get("domain") or {}).get("devices") or {}
    ports = [port for one in devices.get("interfaces") or () for port in one.get("ports") or ()]
    told = [{"containerPort": port["port"], "protocol": port.get("protocol") or "TCP"} for port in ports]
    named = [{"name": port["name"], **one} if port.get("name") else one for port, one in zip(ports, told, strict=True)]
    return {"ports": named} if named else {}


def _networks(vmi: Json) -> Json:
    devices = (vmi["spec"].get("domain") or {}).get("devices") or {}
    macs = {one.get("name"): one.get("macAddress") for one in devices.get("interfaces") or ()}
    wanted = []
    for network, nad in secondary_networks(vmi):
        namespace, _, name = nad.partition("/")
        mac = {"mac": macs[network]} if macs.get(network) else {}
        wanted.append({"name": name, "namespace": namespace, **mac, "interface": pod_interface(network)})
    return {"k8s.v1.cni.cncf.io/networks": json.dumps(wanted, separators=(",", ":"))} if wanted else {}


def _identifier(name: str) -> str:
    """The label vmi.kubevirt.io/id (KubeVirt pkg/apimachinery CalculateVirtualMachineInstanceID)."""
    if len(name) <= _LABEL_LIMIT:
        return name
    return f"{name[:54]}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"


def _suffix(uid: str) -> str:
    digest = hashlib.sha256(uid.encode()).digest()
    return "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in digest[:5])
