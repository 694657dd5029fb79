"""What virt-controller wants of a VM: that an instance is made, that it ends, or nothing.

Rules: KubeVirt pkg/virt-controller/watch/vm and the captures `reactions-vm-*`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.lab.machines.view import Json, View, is_marked
from broker.lab.power import run_strategy

__all__ = ["FINAL", "Wish", "phase_of", "retry_in_s", "wish_of"]

FINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`verb` is start, stop or empty; `asks_start` notes that the instance that ends is to be followed by another."""

    verb: str = ""
    asks_start: bool = False


def wish_of(view: View) -> Wish:
    """Decide what a VM's run strategy and its pending requests ask for."""
    vm, vmi = view.vm, view.vmi
    assert vm is not None
    if is_marked(vm):
        return Wish(verb="stop") if vmi is not None and not is_marked(vmi) else Wish()
    status = vm.get("status") or {}
    requests = status.get("stateChangeRequests") or []
    strategy = run_strategy(vm)
    if vmi is None:
        is_asked = bool(requests) and requests[0]["action"] == "Start"
        is_new = status.get("runStrategy") != strategy
        wants = {"Always": True, "RerunOnFailure": is_asked or is_new, "Manual": is_asked, "Once": is_new, "Halted": is_asked}
        return Wish(verb="start") if wants.get(strategy, False) else Wish()
    if is_marked(vmi):
        return Wish()
    is_asked = bool(requests) and requests[0]["action"] == "Stop" and requests[0].get("uid") == vmi["metadata"]["uid"]
    is_final, has_failed = phase_of(vmi) in FINAL, phase_of(vmi) == "Failed"
    if strategy == "RerunOnFailure":
        return Wish(verb="stop", asks_start=has_failed) if is_asked or is_final else Wish()
    if is_asked or strategy == "Halted" or (strategy == "Always" and is_final):
        return Wish(verb="stop")
    return Wish()


def phase_of(vmi: Json | None) -> str:
    """Return an instance's phase, empty for none."""
    return str(((vmi or {}).get("status") or {}).get("phase") or "")


def retry_in_s(vm: Json, now_s: float) -> float:
    """Return how many seconds a start that failed before waits for its next attempt."""
    moment = ((vm.get("status") or {}).get("startFailure") or {}).get("retryAfterTimestamp")
    if not moment:
        return 0.0
    return max(0.0, datetime.fromisoformat(moment).timestamp() - now_s)
