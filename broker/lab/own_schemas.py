"""The lab's own small schemas: the fields that it acts on, for kinds of which no CRD file or OpenAPI document is given."""

from __future__ import annotations

from typing import Any

__all__ = ["meta_schemas", "own_schema"]

Json = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_OPEN: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

# kind: lines of "path type text"; [] after a name makes it a list of such objects, {} a map of text
_FIELDS = {
    ("", "Pod"): """
spec object What runs, and where.
spec.nodeName string The node that the pod runs on.
spec.containers[] object The containers; a virt-launcher pod has one named compute.
spec.containers[].name string The container's name.
spec.containers[].image string The container's image.
status object What is known of the pod.
status.phase string Pending, Running, Succeeded, Failed or Unknown.
status.podIP string The pod's address in the cluster network.
""",
    ("", "Service"): """
spec object How the service is reached.
spec.type string ClusterIP, NodePort, LoadBalancer or ExternalName.
spec.clusterIP string The address inside the cluster.
spec.selector{} object The labels of the pods behind it.
spec.ports[] object The ports.
spec.ports[].name string The port's name.
spec.ports[].port integer The port of the service.
spec.ports[].protocol string TCP, UDP or SCTP.
status object The addresses outside the cluster.
""",
    ("", "Secret"): """
data{} object The content, each value in base64.
type string What the content is for.
""",
    ("", "Namespace"): """
spec object The namespace's finalizers.
status object Active or Terminating.
status.phase string Active or Terminating.
""",
    ("", "Node"): """
spec object Taints and whether pods may be put here.
spec.unschedulable boolean No new pods when true.
status object Addresses, conditions and what the node runs.
""",
    ("kubevirt.io", "VirtualMachine"): """
spec object What the virtual machine is to be.
spec.running boolean Whether it is to run; runStrategy is newer, and only one of the two may be set.
spec.runStrategy string When it is to run: Always, Halted, Manual, RerunOnFailure, Once or WaitAsReceiver.
spec.template object What each of its instances is made from.
spec.template.metadata object Labels and annotations of the instance.
spec.template.spec object The instance, as in VirtualMachineInstance.
spec.template.spec.domain object The virtual hardware.
spec.template.spec.domain.devices object Disks and network interfaces.
spec.template.spec.domain.devices.interfaces[] object The network interfaces, each with a network of the same name.
spec.template.spec.domain.devices.interfaces[].name string The name of its network.
spec.template.spec.domain.devices.interfaces[].macAddress string The interface's MAC address.
spec.template.spec.domain.devices.interfaces[].masquerade object Address translation: the pod network's usual binding.
spec.template.spec.domain.devices.interfaces[].bridge object A bridge into the network.
spec.template.spec.domain.devices.interfaces[].ports[] object The only ports that are let in by masquerade, where any are named.
spec.template.spec.domain.devices.interfaces[].ports[].port integer The port.
spec.template.spec.networks[] object The networks that the interfaces are put into.
spec.template.spec.networks[].name string The name that an interface has too.
spec.template.spec.networks[].pod object The cluster's pod network.
spec.template.spec.networks[].multus object A network of a NetworkAttachmentDefinition.
spec.template.spec.networks[].multus.networkName string The NetworkAttachmentDefinition, NAMESPACE/NAME or NAME.
spec.template.spec.accessCredentials[] object SSH keys and passwords that are put into the guest.
spec.template.spec.volumes[] object The volumes behind the disks, cloud-init among them.
status object What is known of the virtual machine.
status.created boolean Whether there is an instance of it.
status.ready boolean Whether the instance is ready.
status.printableStatus string The state in one word: Running, Stopped, Starting, Paused, …
status.conditions[] object Conditions such as Ready, Paused, RestartRequired.
status.conditions[].type string What the condition is about.
status.conditions[].status string True, False or Unknown.
status.conditions[].reason string Why, in one word.
status.conditions[].message string Why, in a sentence.
""",
    ("kubevirt.io", "VirtualMachineInstance"): """
spec object The running machine.
spec.domain object The virtual hardware.
spec.networks[] object The networks that the interfaces are put into.
spec.volumes[] object The volumes behind the disks.
spec.accessCredentials[] object SSH keys and passwords that are put into the guest.
status object What is known of the running machine.
status.phase string Pending, Scheduling, Scheduled, Running, Succeeded, Failed or Unknown.
status.nodeName string The node that it runs on.
status.interfaces[] object Its interfaces as the launcher pod and the guest agent see them.
status.interfaces[].name string The name of the network in the spec.
status.interfaces[].ipAddress string The first address.
status.interfaces[].ipAddresses[] string Every address.
status.interfaces[].mac string The MAC address.
status.interfaces[].infoSource string Who saw it: domain, guest-agent, multus-status.
status.conditions[] object Conditions such as Ready, AgentConnected, LiveMigratable, Paused.
status.conditions[].type string What the condition is about.
status.conditions[].status string True, False or Unknown.
""",
}

_META_FIELDS = {
    "name": ("string", "The object's name, unique among its kind in a namespace."),
    "generateName": ("string", "The beginning of a name that the server completes."),
    "namespace": ("string", "The namespace that the object is in."),
    "uid": ("string", "The object's identity in time and space, set by the server."),
    "resourceVersion": ("string", "The version of the object, set by the server with every change."),
    "generation": ("integer", "Counts the changes of what is wanted, set by the server."),
    "creationTimestamp": ("string", "When the object was made, set by the server."),
    "deletionTimestamp": ("string", "When the object is to go, set by the server."),
    "labels": ("map", "Words to select objects by."),
    "annotations": ("map", "Words that tools leave on objects."),
    "finalizers": ("list", "What has to be done before the object goes."),
    "ownerReferences": ("objects", "The objects without which this one goes too."),
}


def meta_schemas() -> Json:
    """The schemas that every document needs: ObjectMeta and ListMeta."""
    shapes: dict[str, Json] = {
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "string"}},
        "objects": {"type": "array", "items": dict(_OPEN)},
    }
    properties = {
        name: {"description": text, **shapes.get(kind, {"type": kind})} for name, (kind, text) in _META_FIELDS.items()
    }
    listed = {key: properties[key] for key in ("resourceVersion",)} | {"continue": {"type": "string"}}
    return {
        f"{META}.ObjectMeta": {"description": "What every object has.", "type": "object", "properties": properties},
        f"{META}.ListMeta": {"description": "What every list has.", "type": "object", "properties": listed},
    }


def own_schema(group: str, kind: str) -> Json:
    """Our schema of one kind, without apiVersion, kind and metadata; open where we have none."""
    lines = _FIELDS.get((group, kind))
    if lines is None:
        return {"description": f"{kind}: the lab keeps any field of it.", **_OPEN}
    root: Json = {"description": f"{kind}: the fields that the lab acts on; it keeps any other one.", **_OPEN}
    for line in lines.split("\n"):
        if line:
            path, type_, text = line.split(" ", 2)
            _put(root, path.split("."), type_, text)
    return root


def _put(holder: Json, path: list[str], type_: str, text: str) -> None:
    name = path[0].removesuffix("[]").removesuffix("{}")
    properties: Json = holder.setdefault("properties", {})
    if len(path) > 1:
        found = properties[name]
        _put(found["items"] if path[0].endswith("[]") else found, path[1:], type_, text)
        return
    inner: Json = dict(_OPEN) if type_ == "object" else {"type": type_}
    if path[0].endswith("[]"):
        properties[name] = {"description": text, "type": "array", "items": inner}
    elif path[0].endswith("{}"):
        properties[name] = {"description": text, "type": "object", "additionalProperties": {"type": "string"}}
    else:
        properties[name] = {"description": text, **inner}
