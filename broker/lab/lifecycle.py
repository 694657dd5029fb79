"""The shell of start, stop, pause and their like: reads the objects, has the call decided, stores what changes, answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from broker.lab.objects import Objects
from broker.lab.power import Accepted, BadBody, Refusal, decide, options_in
from broker.lab.virtapi import conflict, internal_error, not_found, status_answer

__all__ = ["VMIS", "VMS", "Lifecycle", "has_handler"]

Json = dict[str, Any]
VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"


class Lifecycle:
    """Answers the lifecycle calls; `ask` is given what virt-handler has to do (verb, namespace, name)."""

    def __init__(self, objects: Objects, *, ask: Callable[[str, str, str], None] = lambda *_: None) -> None:
        self._objects = objects
        self._ask = ask

    def answer(self, verb: str, namespace: str, name: str, body: bytes) -> web.Response:
        """Decide one call and carry it out; a dry run changes nothing."""
        try:
            options = options_in(body)
        except BadBody as bad:
            return status_answer(400, "BadRequest", f"Can not unmarshal Request body to struct, error: {bad}")
        vm, vmi = self._objects.get(VMS, namespace, name), self._objects.get(VMIS, namespace, name)
        decided = decide(verb, options, name=name, vm=vm, vmi=vmi)
        if isinstance(decided, Refusal):
            return _refused(decided, name)
        node = ((vmi or {}).get("status") or {}).get("nodeName") or ""
        if decided.asks and not has_handler(self._objects, node):
            return status_answer(400, "BadRequest", f"No virt-handler on node {node} found")
        if not options.is_dry_run:
            self._carry_out(decided, namespace, name)
        return web.Response(status=decided.status)

    def _carry_out(self, decided: Accepted, namespace: str, name: str) -> None:
        if decided.vmi is not None:
            self._objects.put(VMIS, decided.vmi)
        if decided.vm is not None:
            self._objects.put(VMS, decided.vm)
        if decided.asks:
            self._ask(decided.asks, namespace, name)


def has_handler(objects: Objects, node: str) -> bool:
    """Whether a virt-handler pod is on a node."""
    return any(
        (pod["metadata"].get("labels") or {}).get("kubevirt.io") == "virt-handler" and pod["spec"].get("nodeName") == node
        for pod in objects.select("pods", "kubevirt")
    )


def _refused(refusal: Refusal, name: str) -> web.Response:
    if refusal.reason == "NotFound":
        return not_found(refusal.kind, name)
    if refusal.reason == "Conflict":
        return conflict(refusal.kind, name, refusal.cause)
    if refusal.reason == "InternalError":
        return internal_error(refusal.cause)
    if refusal.reason == "Forbidden":
        message = f'{refusal.kind}.kubevirt.io "{name}" is forbidden: {refusal.cause}'
        return status_answer(403, "Forbidden", message, kind=refusal.kind, name=name)
    return status_answer(refusal.status, refusal.reason, refusal.cause)
