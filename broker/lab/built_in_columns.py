"""The columns of built-in kinds in a Table (kubernetes pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from broker.lab.ages import age_of, since

__all__ = ["BUILT_IN", "NAMELESS", "Cell"]

Cell = Callable[[Mapping[str, Any]], Any]


def _pod_ready(obj: Mapping[str, Any]) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    total = len((obj.get("spec") or {}).get("containers") or []) or len(statuses)
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{total}"


def _pod_status(obj: Mapping[str, Any]) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase") or "Unknown")


def _node_status(obj: Mapping[str, Any]) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or []
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    word = {"True": "Ready", "False": "NotReady"}.get(str(ready), "Unknown")
    return word + (",SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else "")


def _node_roles(obj: Mapping[str, Any]) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or "<none>"


def _service_ports(obj: Mapping[str, Any]) -> str:
    parts = []
    for port in (obj.get("spec") or {}).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        parts.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(parts) or "<none>"


def _external(obj: Mapping[str, Any]) -> str:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found = [str(i.get("ip") or i.get("hostname")) for i in (status.get("loadBalancer") or {}).get("ingress") or ()]
    found += spec.get("externalIPs") or []
    return ",".join(found) or ("<pending>" if spec.get("type") == "LoadBalancer" else "<none>")


def _at(*path: str, default: str = "<none>") -> Cell:
    def cell(obj: Mapping[str, Any]) -> Any:
        value: Any = obj
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return default if value is None else value

    return cell


def _node_address(kind: str) -> Cell:
    def cell(obj: Mapping[str, Any]) -> str:
        found = (obj.get("status") or {}).get("addresses") or ()
        return next((str(each.get("address")) for each in found if each.get("type") == kind), "<none>")

    return cell


def _node_info(key: str) -> Cell:
    def cell(obj: Mapping[str, Any]) -> str:
        return str(((obj.get("status") or {}).get("nodeInfo") or {}).get(key) or "<unknown>")

    return cell


def _restarts(obj: Mapping[str, Any]) -> str:
    return str(sum(int(s.get("restartCount", 0)) for s in (obj.get("status") or {}).get("containerStatuses") or ()))


def _labels_of(obj: Mapping[str, Any]) -> str:
    selector = (obj.get("spec") or {}).get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) or "<none>"


def _slice_ports(obj: Mapping[str, Any]) -> str:
    found = [str(port["port"]) for port in obj.get("ports") or () if port.get("port") is not None]
    return _first_three(found) or "<unset>"


def _slice_addresses(obj: Mapping[str, Any]) -> str:
    found = [str(address) for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return _first_three(found) or "<unset>"


def _first_three(words: list[str]) -> str:
    return ",".join(words[:3]) + (f" + {len(words) - 3} more..." if len(words) > 3 else "")


def _pod_selector(obj: Mapping[str, Any]) -> str:
    labels = ((obj.get("spec") or {}).get("podSelector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _seen(obj: Mapping[str, Any], *names: str) -> str:
    stamp = next((str(obj[name]) for name in names if obj.get(name)), "")
    return since(stamp) if stamp else "<unknown>"


def _event_object(obj: Mapping[str, Any]) -> str:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{str(about.get('kind') or '').lower()}/{about.get('name') or ''}"


def _event_source(obj: Mapping[str, Any]) -> str:
    source = obj.get("source") or {}
    parts = (source.get("component") or obj.get("reportingComponent"), source.get("host"))
    return ", ".join(str(part) for part in parts if part)


_EVENTS: tuple[tuple[str, str, int, Cell], ...] = (
    ("Last Seen", "string", 0, lambda obj: _seen(obj, "lastTimestamp", "eventTime", "firstTimestamp")),
    ("Type", "string", 0, _at("type", default="")),
    ("Reason", "string", 0, _at("reason", default="")),
    ("Object", "string", 0, _event_object),
    ("Subobject", "string", 1, _at("involvedObject", "fieldPath", default="")),
    ("Source", "string", 1, _event_source),
    ("Message", "string", 0, lambda obj: str(obj.get("message") or obj.get("note") or "").strip()),
    ("First Seen", "string", 1, lambda obj: _seen(obj, "firstTimestamp", "eventTime")),
    ("Count", "string", 1, lambda obj: str(obj.get("count") or 1)),
    ("Name", "string", 1, _at("metadata", "name")),
)
BUILT_IN: Mapping[str, tuple[tuple[str, str, int, Cell], ...]] = {
    "pods": (
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, _pod_status),
        ("Restarts", "string", 0, _restarts),
        ("Age", "string", 0, age_of),
        ("IP", "string", 1, _at("status", "podIP")),
        ("Node", "string", 1, _at("spec", "nodeName")),
        ("Nominated Node", "string", 1, _at("status", "nominatedNodeName")),
        ("Readiness Gates", "string", 1, lambda obj: "<none>"),
    ),
    "services": (
        ("Type", "string", 0, _at("spec", "type")),
        ("Cluster-IP", "string", 0, _at("spec", "clusterIP")),
        ("External-IP", "string", 0, _external),
        ("Port(s)", "string", 0, _service_ports),
        ("Age", "string", 0, age_of),
        ("Selector", "string", 1, _labels_of),
    ),
    "namespaces": (("Status", "string", 0, _at("status", "phase")), ("Age", "string", 0, age_of)),
    "nodes": (
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        ("Age", "string", 0, age_of),
        ("Version", "string", 0, _at("status", "nodeInfo", "kubeletVersion")),
        ("Internal-IP", "string", 1, _node_address("InternalIP")),
        ("External-IP", "string", 1, _node_address("ExternalIP")),
        ("OS-Image", "string", 1, _node_info("osImage")),
        ("Kernel-Version", "string", 1, _node_info("kernelVersion")),
        ("Container-Runtime", "string", 1, _node_info("containerRuntimeVersion")),
    ),
    "secrets": (
        ("Type", "string", 0, _at("type")),
        ("Data", "string", 0, lambda obj: str(len(obj.get("data") or {}))),
        ("Age", "string", 0, age_of),
    ),
    "configmaps": (("Data", "integer", 0, lambda obj: len(obj.get("data") or {})), ("Age", "string", 0, age_of)),
    "customresourcedefinitions.apiextensions.k8s.io": (("Created At", "date", 0, _at("metadata", "creationTimestamp")),),
    "endpointslices.discovery.k8s.io": (
        ("AddressType", "string", 0, _at("addressType")),
        ("Ports", "string", 0, _slice_ports),
        ("Endpoints", "string", 0, _slice_addresses),
        ("Age", "string", 0, age_of),
    ),
    "networkpolicies.networking.k8s.io": (("Pod-Selector", "string", 0, _pod_selector), ("Age", "string", 0, age_of)),
    "serviceaccounts": (("Age", "string", 0, age_of),),
    "events": _EVENTS,
    "events.events.k8s.io": _EVENTS,
}
NAMELESS = ("events", "events.events.k8s.io")
"""The kinds whose rows do not begin with the name."""
