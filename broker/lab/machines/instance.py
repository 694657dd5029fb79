"""What virt-controller makes of a VM when it starts: the ControllerRevision and the instance."""

from __future__ import annotations

import copy

from broker.lab.machines.view import FOREGROUND, VM_FINALIZER, Json

__all__ = ["new_instance", "new_revision", "owner_of", "revision_name"]


def revision_name(vm: Json) -> str:
    """Name of the revision that a start of this VM belongs to."""
    return f"revision-start-vm-{vm['metadata']['uid']}-{vm['metadata'].get('generation', 1)}"


def new_revision(vm: Json) -> Json:
    """The ControllerRevision of a start: the VM's spec as it was."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision_name(vm),
            "namespace": vm["metadata"]["namespace"],
            "ownerReferences": [owner_of(vm)],
        },
        "data": {"spec": vm["spec"]},
        "revision": vm["metadata"].get("generation", 1),
    }


def new_instance(vm: Json, now: str) -> Json:
    """The instance of a VM that starts, phase Pending."""
    template = (vm.get("spec") or {}).get("template") or {}
    meta = template.get("metadata") or {}
    generation = str(vm["metadata"].get("generation", 1))
    spec = _defaulted(copy.deepcopy(template.get("spec") or {}))
    domain = spec["domain"]
    memory = (domain.get("memory") or {}).get("guest", "1Gi")
    cpu = {key: domain["cpu"].get(key, 1) for key in ("cores", "sockets", "threads")}
    metadata = {
        "annotations": {**(meta.get("annotations") or {}), "kubevirt.io/vm-generation": generation},
        "finalizers": [VM_FINALIZER, FOREGROUND],
        "labels": dict(meta.get("labels") or {}),
        "name": vm["metadata"]["name"],
        "namespace": vm["metadata"]["namespace"],
        "ownerReferences": [owner_of(vm)],
    }
    status = {
        "currentCPUTopology": cpu,
        "guestOSInfo": {},
        "memory": {"guestAtBoot": memory, "guestCurrent": memory, "guestRequested": memory},
        "phase": "Pending",
        "phaseTransitionTimestamps": [{"phase": "Pending", "phaseTransitionTimestamp": now}],
        "runtimeUser": 107,
        "virtualMachineRevisionName": revision_name(vm),
    }
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    return {**kind, "metadata": metadata, "spec": spec, "status": status}


def owner_of(obj: Json) -> Json:
    """The reference by which an object owns what it makes."""
    return {
        "apiVersion": obj["apiVersion"],
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
    }


def _defaulted(spec: Json) -> Json:
    """The defaults that KubeVirt's webhooks write into an instance's spec; no network means the pod's, by masquerade."""
    domain = spec.setdefault("domain", {})
    cpu = {"cores": 1, "maxSockets": 4, "model": "host-model", "sockets": 1, "threads": 1}
    domain["cpu"] = {**cpu, **(domain.get("cpu") or {})}
    domain.setdefault("features", {"acpi": {"enabled": True}})
    domain.setdefault("resources", {})
    devices = domain.setdefault("devices", {})
    if not devices.get("interfaces") and not spec.get("networks") and devices.get("autoattachPodInterface") is not False:
        devices["interfaces"] = [{"masquerade": {}, "name": "default"}]
        spec["networks"] = [{"name": "default", "pod": {}}]
    spec.setdefault("evictionStrategy", "None")
    for volume in spec.get("volumes") or ():
        if "containerDisk" in volume:
            volume["containerDisk"].setdefault("imagePullPolicy", "IfNotPresent")
    return spec
