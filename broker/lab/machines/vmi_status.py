"""What an instance's status takes from its phase, its pod and multus."""

from __future__ import annotations

import json

from broker.lab.machines.launcher import pod_interface, secondary_networks
from broker.lab.machines.view import Json, condition, is_marked

__all__ = [
    "containers_are_ready",
    "network_status_of",
    "ready_from_pod",
    "running_interfaces",
    "scheduled_interfaces",
    "synchronized_from_pod",
    "with_phase",
    "with_source",
]

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
_WAITING = ("ErrImagePull", "ImagePullBackOff")


def with_phase(vmi: Json, phase: str, now: str) -> Json:
    """Return the instance in a phase, with the moment it came to it; one of the seed notes the phase it had, too."""
    status = dict(vmi.get("status") or {})
    before = {"phase": status.get("phase") or "Pending", "phaseTransitionTimestamp": vmi["metadata"].get("creationTimestamp")}
    passed = status.get("phaseTransitionTimestamps") or [before]
    passed = [*passed, {"phase": phase, "phaseTransitionTimestamp": now}]
    return {**vmi, "status": {**status, "phase": phase, "phaseTransitionTimestamps": passed}}


def containers_are_ready(pod: Json) -> bool:
    """Whether the pod runs with ready containers; it need not be Ready itself."""
    return (condition(pod, "ContainersReady") or {}).get("status") == "True"


def ready_from_pod(vmi: Json, pod: Json, now: str) -> Json | None:
    """Return the Ready condition that an instance should get from its pod, None where it has it.

    A pod of the seed tells of no conditions: then the container's own word counts.
    """
    told = condition(vmi, "Ready") or {}
    if is_marked(pod) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        if told.get("reason") == "PodTerminating":
            return None
        return _not_ready("PodTerminating", "virt-launcher pod is terminating", now, probed=now)
    of_pod = condition(pod, "Ready")
    if of_pod is None:
        return None
    if of_pod.get("status") == told.get("status") and of_pod.get("reason") == told.get("reason"):
        return None
    if of_pod.get("status") == "True":
        return {"lastProbeTime": None, "lastTransitionTime": now, "status": "True", "type": "Ready"}
    return _not_ready(str(of_pod.get("reason") or ""), str(of_pod.get("message") or ""), now)


def synchronized_from_pod(pod: Json, now: str) -> Json | None:
    """Return the Synchronized condition of a pod whose image cannot be pulled, else None."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _WAITING:
            found = {"lastProbeTime": None, "lastTransitionTime": now, "message": waiting.get("message", "")}
            return {**found, "reason": waiting["reason"], "status": "False", "type": "Synchronized"}
    return None


def network_status_of(pod: Json) -> list[Json]:
    """Return what multus says of the pod's interfaces; nothing where it says nothing, or nonsense."""
    try:
        told = json.loads((pod["metadata"].get("annotations") or {}).get(NETWORK_STATUS) or "[]")
    except ValueError:
        return []
    return [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []


def scheduled_interfaces(vmi: Json, pod: Json) -> list[Json]:
    """Return status.interfaces as virt-controller writes it before virt-handler: the pod network first, then spec order."""
    told = network_status_of(pod)
    found: list[Json] = []
    for network in vmi["spec"].get("networks") or ():
        if "pod" in network or (network.get("multus") or {}).get("default"):
            first = next((entry.get("interface") for entry in told if entry.get("default")), None)
            found.append({"name": network["name"], "podInterfaceName": first or "eth0"})
    for network_name, nad in secondary_networks(vmi):
        entry = next((entry for entry in told if entry.get("name") == nad), None)
        if entry is not None:
            found.append({"infoSource": "multus-status", "name": network_name, "podInterfaceName": entry.get("interface", "")})
    return found


def running_interfaces(vmi: Json, pod: Json) -> list[Json]:
    """Return status.interfaces with what multus says now: the pod network first, then spec order, then the guest's own.

    Without multus's word only names of pod interfaces that are missing are added.
    """
    told = (vmi.get("status") or {}).get("interfaces") or ()
    known = {one["name"]: one for one in told if one.get("name")}
    seen = {entry.get("name") for entry in network_status_of(pod)}
    secondary = dict(secondary_networks(vmi))
    found = [known[network["name"]] for network in _ordered(vmi, secondary) if network["name"] in known]
    is_told = NETWORK_STATUS in (pod["metadata"].get("annotations") or {})
    changed: list[Json] = []
    for one in found:
        nad = secondary.get(one["name"])
        if nad is not None:
            one = {**one, "podInterfaceName": one.get("podInterfaceName") or pod_interface(one["name"])}
        changed.append(with_source(one, "multus-status", nad in seen) if nad is not None and is_told else one)
    return [*changed, *(one for one in told if one not in found)]


def with_source(interface: Json, source: str, is_there: bool) -> Json:
    """Return an interface with one word in its infoSource, or without it; the others keep their places."""
    words = [word.strip() for word in str(interface.get("infoSource") or "").split(",") if word.strip()]
    if is_there == (source in words):
        return interface
    words = [*words, source] if is_there else [word for word in words if word != source]
    return {**interface, "infoSource": ", ".join(words)}


def _ordered(vmi: Json, secondary: dict[str, str]) -> list[Json]:
    """The networks of an instance, the pod's first."""
    return sorted(vmi["spec"].get("networks") or (), key=lambda network: network["name"] in secondary)


def _not_ready(reason: str, message: str, now: str, *, probed: str | None = None) -> Json:
    found: Json = {"lastProbeTime": probed, "lastTransitionTime": now, "message": message, "reason": reason}
    return {**found, "status": "False", "type": "Ready"}
