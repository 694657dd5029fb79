"""Objects as the rows that `kubectl get` prints (meta.k8s.io/v1 Table), and as metadata alone."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from broker.lab.resources import Resource

__all__ = ["column_definitions", "human_duration", "metadata_only", "row"]

Json = dict[str, Any]
_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client"
    " to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and"
    " configuration definition. Cannot be updated. More info:"
    " https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be"
    " set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339"
    " form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info:"
    " https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_TOKEN = re.compile(
    r"\.(?P<key>(?:\\\.|[^.\[\]])+)|\[(?P<index>\d+|\*)\]|\[\?\(@\.(?P<field>\w+)==['\"](?P<value>[^'\"]*)['\"]\)\]"
)

Cell = Callable[[Mapping[str, Any]], Any]


def column_definitions(resource: Resource) -> list[Json]:
    """Return the columns of a resource: those of its CRD, of our table for built-in ones, else Name and Age."""
    found = [_definition("Name", "string", "name", _NAME_TEXT)]
    if resource.name in _BUILT_IN:
        return found + [_definition(title, kind, "", "", wide) for title, kind, wide, _ in _BUILT_IN[resource.name]]
    if resource.columns:
        for column in resource.columns:
            text = column.description or f"Custom resource definition column (in JSONPath format): {column.path}"
            found.append(_definition(column.name, column.type, column.format, text, column.priority))
        return found
    return [*found, _definition("Age", "date" if resource.is_custom else "string", "", _CREATED_TEXT)]


def row(resource: Resource, obj: Mapping[str, Any], include: str) -> Json:
    """Return one row; `include` is the query's includeObject: Metadata (default), Object or None."""
    cells: list[Any] = [obj["metadata"]["name"]]
    if resource.name in _BUILT_IN:
        cells += [cell(obj) for _, _, _, cell in _BUILT_IN[resource.name]]
    elif resource.columns:
        cells += [_cell(obj, column.path, column.type) for column in resource.columns]
    else:
        cells.append(_age(obj))
    if include == "Object":
        return {"cells": cells, "object": dict(obj)}
    if include == "None":
        return {"cells": cells, "object": None}
    return {"cells": cells, "object": metadata_only(obj)}


def metadata_only(obj: Mapping[str, Any]) -> Json:
    """Return an object's metadata as a PartialObjectMetadata."""
    order = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")
    metadata = obj["metadata"]
    first = {key: metadata[key] for key in order if key in metadata}
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {**first, **{key: value for key, value in metadata.items() if key not in first}},
    }


def human_duration(seconds: float) -> str:
    """Return an age as kubectl prints it (k8s.io/apimachinery/pkg/util/duration HumanDuration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{whole % 60}s" if whole % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y" + (f"{days % 365}d" if years < 8 and days % 365 else "")


def _definition(name: str, kind: str, form: str, text: str, priority: int = 0) -> Json:
    return {"name": name, "type": kind, "format": form, "description": text, "priority": priority}


def _cell(obj: Mapping[str, Any], path: str, kind: str) -> Any:
    found = list(_walk(obj, path))
    if not found:
        return None
    if kind == "date":
        return _since(str(found[0])) if isinstance(found[0], str) else None
    if kind == "string":
        return ",".join(_text(value) for value in found) if "*" in path else _text(found[0])
    return found[0]


def _walk(value: Any, path: str) -> list[Any]:
    """Follow the JSONPath forms that columns use: `.key`, `[0]`, `[*]`, `[?(@.field=="value")]`."""
    found = [value]
    for token in _TOKEN.finditer(path):
        following: list[Any] = []
        for each in found:
            if token["key"] is not None and isinstance(each, Mapping):
                key = token["key"].replace("\\.", ".")
                following += [each[key]] if key in each else []
            elif token["index"] is not None and isinstance(each, list):
                following += each if token["index"] == "*" else each[int(token["index"]) : int(token["index"]) + 1]
            elif token["field"] is not None and isinstance(each, list):
                following += [item for item in each if isinstance(item, Mapping) and item.get(token["field"]) == token["value"]]
        found = following
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _since(stamp: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(stamp)
    except ValueError:
        return "<invalid>"
    return human_duration(time.time() - moment.timestamp())


def _age(obj: Mapping[str, Any]) -> str:
    stamp = obj["metadata"].get("creationTimestamp")
    return _since(stamp) if stamp else "<unknown>"


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


_BUILT_IN: Mapping[str, tuple[tuple[str, str, int, Cell], ...]] = {
    "pods": (
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, _pod_status),
        ("Restarts", "string", 0, _restarts),
        ("Age", "string", 0, _age),
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
        ("Age", "string", 0, _age),
        ("Selector", "string", 1, _labels_of),
    ),
    "namespaces": (("Status", "string", 0, _at("status", "phase")), ("Age", "string", 0, _age)),
    "nodes": (
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        ("Age", "string", 0, _age),
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
        ("Age", "string", 0, _age),
    ),
}
