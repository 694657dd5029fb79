"""Events as virt-controller's recorder writes them: one object for each thing said, counting how often."""

from __future__ import annotations

import hashlib

from broker.lab.machines.view import Json, Tell

__all__ = ["event_name", "recorded"]

_API_VERSION = "kubevirt.io/v1"


def event_name(tell: Tell, namespace: str, name: str) -> str:
    """Name of the event that says this of that object."""
    said = "\0".join((namespace, name, tell.kind, tell.uid, tell.type, tell.reason, tell.message))
    return f"{name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def recorded(tell: Tell, namespace: str, name: str, before: Json | None, now: str) -> Json:
    """Return the event to store; `before` is the one that is there already."""
    if before is not None:
        return {**before, "count": int(before.get("count", 1)) + 1, "lastTimestamp": now}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event_name(tell, namespace, name), "namespace": namespace},
        "involvedObject": {
            "apiVersion": _API_VERSION,
            "kind": tell.kind,
            "name": name,
            "namespace": namespace,
            "uid": tell.uid,
        },
        "reason": tell.reason,
        "message": tell.message,
        "source": {"component": "virtualmachine-controller"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": tell.type,
        "eventTime": None,
        "reportingComponent": "virtualmachine-controller",
        "reportingInstance": "",
    }
