"""The status that virt-controller gives a VM: printableStatus, the copied conditions, created and ready (absent, not false)."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.lab.machines.run_strategy import FINAL, phase_of
from broker.lab.machines.view import Json, View, condition, is_marked
from broker.lab.power import run_strategy

__all__ = ["BACK_OFF_S", "desired_status", "printable"]

BACK_OFF_S = (10.0, 40.0, 160.0, 300.0)
"""Seconds until a failed start is tried again, by the number of failures in a row; the last one stays."""
_PVC, _UNSCHEDULABLE = "FailedPvcNotFound", "Unschedulable"
_IMAGE = ("ErrImagePull", "ImagePullBackOff")


def desired_status(view: View) -> Json:
    """Return the status a VM should have; that of `view.vm` where nothing is to change.

    The first look after an instance was made does not see it yet, as virt-controller's cache does not.
    """
    vm, vmi = view.vm, view.vmi
    assert vm is not None
    old: Json = dict(vm.get("status") or {})
    is_new = vmi is not None and phase_of(vmi) in ("", "Pending") and condition(vmi, "Ready") is None
    is_unseen = is_new and old.get("printableStatus") != "Starting"
    seen = None if is_unseen else vmi
    status = {**old, "printableStatus": printable(view)}
    conditions = _conditions(old, seen, view)
    if conditions or old.get("conditions"):
        status["conditions"] = conditions
    _set(status, "created", True if seen is not None else None)
    _set(status, "ready", True if (condition(seen, "Ready") or {}).get("status") == "True" else None)
    if seen is not None:
        status["desiredGeneration"] = vm["metadata"].get("generation", 1)
        observed = (seen["metadata"].get("annotations") or {}).get("kubevirt.io/vm-generation")
        if observed:
            status["observedGeneration"] = int(observed)
    if seen is not None or "runStrategy" in old:
        status["runStrategy"] = run_strategy(vm)
    _set(status, "stateChangeRequests", _requests(old, view.vmi, is_unseen=is_unseen) or None)
    _set(status, "startFailure", _start_failure(old, view))
    return status


def printable(view: View) -> str:
    """Return printableStatus; the first that fits, in virt-controller's order."""
    vm, vmi = view.vm, view.vmi
    assert vm is not None
    phase = phase_of(vmi)
    synchronized = (condition(vmi, "Synchronized") or {}).get("reason")
    failure = (vm.get("status") or {}).get("startFailure") or _start_failure(dict(vm.get("status") or {}), view)
    ladder = (
        ("Terminating", is_marked(vm)),
        ("Stopping", is_marked(vmi) and phase not in FINAL),
        ("Paused", phase == "Running" and (condition(vmi, "Paused") or {}).get("status") == "True"),
        ("Running", phase == "Running"),
        ("ErrorPvcNotFound", synchronized == _PVC),
        ("ErrorUnschedulable", (condition(vmi, "PodScheduled") or {}).get("reason") == _UNSCHEDULABLE),
        (str(synchronized), synchronized in _IMAGE),
        ("WaitingForVolumeBinding", view.has_pending_claim and phase not in FINAL),
        ("Starting", vmi is not None and phase not in FINAL),
        ("CrashLoopBackOff", failure is not None and run_strategy(vm) != "Halted"),
    )
    return next((name for name, fits in ladder if fits), "Stopped")


def _conditions(old: Json, vmi: Json | None, view: View) -> list[Json]:
    """The VMI's conditions, Ready in front; without an instance those of before stay, but Ready."""
    own = [c for c in old.get("conditions") or () if c.get("type") in ("Failure", "RestartRequired")]
    if vmi is None:
        rest = [c for c in old.get("conditions") or () if c.get("type") != "Ready"]
        return [_ready(old, "VMINotExists", "VMI does not exist", view.now), *rest]
    ready = condition(vmi, "Ready") or _ready(old, "VMIConditionMissing", "VMI is missing the Ready condition", view.now)
    copied = [c for c in (vmi.get("status") or {}).get("conditions") or () if c.get("type") != "Ready"]
    return [ready, *copied, *own]


def _ready(old: Json, reason: str, message: str, now: str) -> Json:
    before: Json | None = next((c for c in old.get("conditions") or () if c.get("type") == "Ready"), None)
    if before is not None and before.get("reason") == reason:
        return before
    return {
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "message": message,
        "reason": reason,
        "status": "False",
        "type": "Ready",
    }


def _requests(old: Json, vmi: Json | None, *, is_unseen: bool) -> list[Json]:
    """What is left of the requests: a stop of an instance that is gone and a start that has happened are done."""
    left: list[Json] = []
    for request in old.get("stateChangeRequests") or ():
        if request["action"] == "Stop" and (vmi is None or request.get("uid") not in (None, _uid_of(vmi))):
            continue
        has_started = request["action"] == "Start" and vmi is not None and not is_unseen and not is_marked(vmi)
        if has_started and phase_of(vmi) not in FINAL and not left:
            continue
        left.append(request)
    return left


def _start_failure(old: Json, view: View) -> Json | None:
    """The note of starts that failed before the guest ran; gone once it runs or is stopped."""
    assert view.vm is not None
    before: Json | None = old.get("startFailure")
    if run_strategy(view.vm) == "Halted" and view.vmi is None:
        return None
    if view.vmi is None:
        return before
    passed = [str(one["phase"]) for one in (view.vmi.get("status") or {}).get("phaseTransitionTimestamps") or ()]
    if "Running" in passed or phase_of(view.vmi) == "Running":
        return None
    if phase_of(view.vmi) != "Failed" or (before or {}).get("lastFailedVMIUID") == _uid_of(view.vmi):
        return before
    count = int((before or {}).get("consecutiveFailCount", 0)) + 1
    wait_s = BACK_OFF_S[min(count, len(BACK_OFF_S)) - 1]
    return {
        "consecutiveFailCount": count,
        "lastFailedVMIUID": _uid_of(view.vmi),
        "retryAfterTimestamp": datetime.fromtimestamp(view.now_s + wait_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _uid_of(vmi: Json | None) -> str:
    return str((vmi or {}).get("metadata", {}).get("uid") or "")


def _set(status: Json, key: str, value: object) -> None:
    if value is None:
        status.pop(key, None)
    else:
        status[key] = value
