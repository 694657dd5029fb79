"""What changed, as a captured step tells it and as the lab's store does, in one form: facts by object and path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from broker.lab.machines.view import Json
from broker.lab.objects import Change

_POD = re.compile(r"virt-launcher-[a-z0-9.-]+-[a-z0-9]{5}\b")
_UID = re.compile(r"<uid [A-Za-z]+ [^>]*>|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATHS = {
    "VirtualMachine": (
        "metadata.finalizers", "status.printableStatus", "status.created", "status.ready", "status.runStrategy",
        "status.stateChangeRequests", "status.desiredGeneration", "status.observedGeneration",
        "status.startFailure.consecutiveFailCount",
    ),
    "VirtualMachineInstance": (
        "metadata.finalizers", "status.phase", "status.migrationTransport", "status.memory.memoryOverhead",
        "status.qosClass", "spec.terminationGracePeriodSeconds", "status.interfaces", "status.nodeName",
    ),
    "Pod": ("metadata.generateName", "spec.hostname", "spec.subdomain", "spec.readinessGates"),
    "ControllerRevision": (),
}  # fmt: skip
_KEYS = {
    "VirtualMachine": ("metadata.annotations[kubevirt.io/vm-generation]",),
    "VirtualMachineInstance": ("metadata.annotations[kubevirt.io/vm-generation]", "metadata.labels[kubevirt.io/nodeName]"),
    "Pod": (
        "metadata.labels[kubevirt.io/nodeName]", "metadata.labels[kubevirt.io/created-by]", "metadata.labels[kubevirt.io]",
        "metadata.labels[vm.kubevirt.io/name]", "metadata.labels[vmi.kubevirt.io/id]", "metadata.labels[app]",
        "metadata.annotations[k8s.v1.cni.cncf.io/networks]", "metadata.annotations[kubevirt.io/domain]",
    ),
    "ControllerRevision": (),
}  # fmt: skip
_PHASES = "status.phaseTransitionTimestamps["
_PORTS = "spec.containers[compute].ports"
_POD_CONDITIONS = ("kubevirt.io/virtual-machine-unpaused",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One object's path took a value (JSON text; `-` where it is gone)."""

    kind: str
    path: str
    value: str


def captured_facts(steps: Iterable[Json]) -> Iterator[Fact]:
    """Yield the facts that captured steps tell."""
    marked: set[str] = set()
    for step in steps:
        obj = step.get("object")
        if not obj or obj["kind"] not in _PATHS:
            continue
        kind, name = obj["kind"], obj["name"]
        if "state" in step:
            yield Fact(kind=kind, path="", value="made")
            if kind != "VirtualMachine":
                yield from _of_object(kind, step["state"])
            continue
        if step["change"] == f"{kind} gone":
            marked.discard(f"{kind} {name}")
            yield Fact(kind=kind, path="", value="gone")
            continue
        if "marked deleted" in step["change"]:
            if f"{kind} {name}" not in marked:
                yield Fact(kind=kind, path="", value="marked")
            marked.add(f"{kind} {name}")
            continue
        for path, value in (step.get("diff") or {}).items():
            new = value["to"] if isinstance(value, dict) and set(value) == {"from", "to"} else value
            yield from _fact(kind, path, new)
        for path in step.get("removed") or ():
            yield from _fact(kind, path, None)


def store_facts(changes: Iterable[Change]) -> Iterator[Fact]:
    """Yield the same of the store's changes."""
    for change in changes:
        now = change.entry.decode()
        kind = now.get("kind") or ""
        if kind not in _PATHS:
            continue
        if change.type == "DELETED":
            yield Fact(kind=kind, path="", value="gone")
            continue
        before = {} if change.previous is None else change.previous.decode()
        if not before:
            yield Fact(kind=kind, path="", value="made")
            if kind != "VirtualMachine":
                yield from _of_object(kind, now)
            continue
        if now["metadata"].get("deletionTimestamp") and not before["metadata"].get("deletionTimestamp"):
            yield Fact(kind=kind, path="", value="marked")
        old, new = _flat(kind, before), _flat(kind, now)
        for path in sorted({*old, *new}):
            if old.get(path) != new.get(path):
                yield Fact(kind=kind, path=path, value=new.get(path, "-"))


def by_path(facts: Iterable[Fact]) -> dict[tuple[str, str], list[str]]:
    """Return, for each kind and path, the values it took one after another."""
    found: dict[tuple[str, str], list[str]] = {}
    for fact in facts:
        values = found.setdefault((fact.kind, fact.path), [])
        if fact.path == "" or not values or values[-1] != fact.value:
            values.append(fact.value)
    return found


def milestones(facts: Iterable[Fact]) -> list[str]:
    """Return, across the objects, in which order they are made, marked and gone, and the instance's phases."""
    return [
        f"{fact.kind} {fact.value}"
        for fact in facts
        if fact.path == "" or (fact.kind == "VirtualMachineInstance" and fact.path == "status.phase")
    ]


def said(text: str) -> str:
    """A message with what is of one run (uids, ends of pod names) left out."""
    return _POD.sub("<pod>", _UID.sub("<uid>", text))


def _of_object(kind: str, obj: Json) -> Iterator[Fact]:
    for path, value in sorted(_flat(kind, obj).items()):
        yield Fact(kind=kind, path=path, value=value)


def _flat(kind: str, obj: Json) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in (*_PATHS[kind], *_KEYS[kind]):
        value = _at(obj, path)
        if value is not None:
            found[path] = _text(path, value)
    containers = (obj.get("spec") or {}).get("containers") or ()
    ports = next((one.get("ports") for one in containers if one["name"] == "compute"), None)
    if ports:
        found[_PORTS] = _text(_PORTS, ports)
    for one in (obj.get("status") or {}).get("phaseTransitionTimestamps") or ():
        found[f"{_PHASES}{one['phase']}]"] = "told"
    for one in (obj.get("status") or {}).get("conditions") or ():
        for fact in _fact(kind, f"status.conditions[{one['type']}]", one):
            found[fact.path] = fact.value
    return found


def _at(obj: Json, path: str) -> Any:
    value: Any = obj
    head, _, key = path.partition("[")
    for word in [*head.split("."), *([key.rstrip("]")] if key else [])]:
        value = value.get(word) if isinstance(value, dict) else None
    return value


def _fact(kind: str, path: str, value: Any) -> Iterator[Fact]:
    if path.startswith("status.conditions["):
        name = path.partition("[")[2].rstrip("]")
        if kind == "Pod" and name not in _POD_CONDITIONS:
            return
        words = [str((value or {}).get(key) or "") for key in ("status", "reason", "message")]
        told = "-" if value is None else said(" ".join(words).strip())
        yield Fact(kind=kind, path=path, value=told)
    elif path.startswith(_PHASES):
        yield Fact(kind=kind, path=path, value="told")
    elif path in _PATHS[kind] or path in _KEYS[kind]:
        yield Fact(kind=kind, path=path, value=_text(path, value))


def _pod_network_first(interfaces: list[Json]) -> list[Json]:
    """In the order of a real virt-handler (kubevirt.md A4); the captures' one, played by hand, kept to the spec's."""
    return sorted(interfaces, key=lambda one: not str(one.get("podInterfaceName")).startswith(("eth0", "ovn-udn1")))


def _interface(told: Json) -> Json:
    """One interface without what is of one run."""
    free = {"mac": "<mac>", "ipAddress": "<address>", "ipAddresses": ["<address>"]}
    return {**told, **{key: value for key, value in free.items() if key in told}}


def _text(path: str, value: Any) -> str:
    if value is None:
        return "-"
    if path == "status.stateChangeRequests":
        return " ".join(one["action"] for one in value)
    if path.endswith(("nodeName", "nodeName]")):
        return "<node>"
    if path == "status.interfaces":
        return json.dumps([_interface(one) for one in _pod_network_first(value)], sort_keys=True)
    return said(json.dumps(value, sort_keys=path == _PORTS))
