"""start, stop, restart, pause, unpause and softreboot as virt-api decides them: a refusal, or what changes in VM and VMI.

Rules, order and texts: KubeVirt pkg/virt-api/rest/lifecycle.go and the captures `vm-*`, `vmi-*`, `reactions-vm-*`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["VERBS", "Accepted", "BadBody", "Options", "Refusal", "decide", "options_in"]

Json = dict[str, Any]
VERBS: Mapping[str, tuple[str, ...]] = {
    "virtualmachines": ("start", "stop", "restart"),
    "virtualmachineinstances": ("pause", "unpause", "softreboot"),
}
"""The verbs served, by the plural of the kind they belong to."""
_FINAL = ("Succeeded", "Failed")
_SHORTEST_RESTART_S = 1
_UNDERWAY = "unable to complete request: stop/start already underway"


class BadBody(ValueError):
    """The body of a request is none of virt-api's option objects; the text is the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the body asks for; `grace_s` is gracePeriod (stop) or gracePeriodSeconds (restart), None where it is not given."""

    is_dry_run: bool = False
    is_paused: bool = False
    grace_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error answer: `reason` as in a Status (Conflict, NotFound, BadRequest, Forbidden, InternalError), the cause in words.

    `kind` is the kind named in the answer, in lower case.
    """

    status: int
    reason: str
    cause: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A success: its HTTP status, and the objects to store in this order (None: unchanged); `asks` goes to virt-handler."""

    status: int
    vmi: Json | None = None
    vm: Json | None = None
    asks: str = ""


def options_in(body: bytes) -> Options:
    """Read a body (JSON, empty for none); BadBody with the cause."""
    if not body.strip():
        return Options()
    try:
        told = json.loads(body)
    except ValueError as exc:
        raise BadBody(f"error unmarshaling JSON: {exc}") from exc
    if told is None:
        return Options()
    if not isinstance(told, dict):
        raise BadBody(f"json: cannot unmarshal {_go_name(told)} into Go value of type v1.Options")
    dry_run, paused = told.get("dryRun") or [], told.get("paused") or False
    grace = told.get("gracePeriodSeconds", told.get("gracePeriod"))
    if not isinstance(dry_run, list) or not isinstance(paused, bool):
        raise BadBody("json: cannot unmarshal a field of the wrong type")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise BadBody(f"json: cannot unmarshal {_go_name(grace)} into Go struct field of type int64")
    return Options(is_dry_run="All" in dry_run, is_paused=paused, grace_s=grace)


def decide(verb: str, options: Options, *, name: str, vm: Json | None, vmi: Json | None) -> Accepted | Refusal:
    """Decide one call on the objects as they are now (fresh copies: they may come back changed)."""
    if verb in VERBS["virtualmachines"]:
        if verb == "restart" and options.grace_s:
            few = "For force restart, only gracePeriod=0 is supported for now"
            why = few if options.grace_s > 0 else "gracePeriod has to be greater or equal to 0"
            return Refusal(status=400, reason="BadRequest", cause=why, kind="virtualmachine")
        if vm is None:
            return _absent("virtualmachine", name)
        return {"start": _start, "stop": _stop, "restart": _restart}[verb](options, vm, vmi)
    if verb == "unpause" and vm is not None and (vm.get("status") or {}).get("snapshotInProgress"):
        return _conflict("VM snapshot is in progress")
    if vmi is None:
        return _absent("virtualmachineinstance", name)
    refusal = {"pause": _pause, "unpause": _unpause, "softreboot": _softreboot}[verb](vmi)
    return refusal or Accepted(status=200, asks=verb)


def _start(options: Options, vm: Json, vmi: Json | None) -> Accepted | Refusal:
    phase = _phase(vmi)
    if vmi is not None and phase not in (*_FINAL, "Unknown", ""):
        return _conflict("VM is already running")
    if _condition(vm, "ManualRecoveryRequired") == "True":
        return _conflict("VM recovery required")
    strategy = run_strategy(vm)
    start: Json = {"action": "Start", **({"data": {"paused": "true"}} if options.is_paused else {})}
    if strategy == "Halted":
        return _requested(vm, [start]) if options.is_paused else _flipped(vm, is_on=True)
    if strategy in ("RerunOnFailure", "Manual"):
        if vmi is not None and (phase == "Succeeded" or (strategy == "Manual" and phase == "Failed")):
            return _requested(vm, [_stop_request(vmi), start])
        if strategy == "RerunOnFailure" and phase == "Failed":
            return _conflict("RerunOnFailure does not support starting VM from failed state")
        return _requested(vm, [start])
    return _conflict(f"{strategy} does not support manual start requests")


def _stop(options: Options, vm: Json, vmi: Json | None) -> Accepted | Refusal:
    strategy = run_strategy(vm)
    is_up = vmi is not None and _phase(vmi) not in _FINAL
    old_s = (vmi or {}).get("spec", {}).get("terminationGracePeriodSeconds")
    hurried = _hurried(vmi, options.grace_s) if vmi is not None and is_up and options.grace_s is not None else None
    if strategy in ("Always", "Once"):
        flipped = _flipped(vm, is_on=False)
        return Accepted(status=202, vm=flipped.vm, vmi=hurried)
    if vmi is None or not is_up:
        return _conflict("VM is not running")
    if strategy == "Halted" and (options.grace_s is None or (old_s is not None and options.grace_s >= old_s)):
        return _conflict("Halted only supports manual stop requests with a shorter graceperiod")
    return _requested(vm, [_stop_request(vmi)], vmi=hurried)


def _restart(options: Options, vm: Json, vmi: Json | None) -> Accepted | Refusal:
    strategy = run_strategy(vm)
    if strategy in ("Halted", "Once"):
        # The text is the real one, with its missing letter.
        return _conflict(f"RunStategy {strategy} does not support manual restart requests")
    if vmi is None:
        return _conflict("VM is not running: Halted")
    hurried = _hurried(vmi, _SHORTEST_RESTART_S) if options.grace_s == 0 else None
    return _requested(vm, [_stop_request(vmi), {"action": "Start"}], vmi=hurried)


def _pause(vmi: Json) -> Refusal | None:
    if _phase(vmi) != "Running":
        return _instance_conflict("VM is not running")
    probe = vmi.get("spec", {}).get("livenessProbe")
    if probe is not None and probe.get("guestAgentPing") is None:
        why = "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported"
        return Refusal(status=403, reason="Forbidden", cause=why, kind="virtualmachineinstance")
    return _instance_conflict("VMI is already paused") if _condition(vmi, "Paused") is not None else None


def _unpause(vmi: Json) -> Refusal | None:
    if _phase(vmi) != "Running":
        return _instance_conflict("VMI is not running")
    return _instance_conflict("VMI is not paused") if _condition(vmi, "Paused") is None else None


def _softreboot(vmi: Json) -> Refusal | None:
    if _phase(vmi) != "Running":
        return _instance_conflict("VM is not running")
    if _condition(vmi, "Paused") == "True":
        return _instance_conflict("VMI is paused")
    features = vmi.get("spec", {}).get("domain", {}).get("features")
    has_acpi = features is None or (features.get("acpi") or {}).get("enabled") is not False
    if _condition(vmi, "AgentConnected") is None and not has_acpi:
        return _instance_conflict("VMI neither have the agent connected nor the ACPI feature enabled")
    return None


def run_strategy(vm: Json) -> str:
    """Return a VM's run strategy, the legacy `running` counted in."""
    spec = vm.get("spec") or {}
    if spec.get("runStrategy"):
        return str(spec["runStrategy"])
    return "Always" if spec.get("running") else "Halted"


def _requested(vm: Json, changes: list[Json], *, vmi: Json | None = None) -> Accepted | Refusal:
    status = dict(vm.get("status") or {})
    is_one_stop = len(changes) == 1 and changes[0]["action"] == "Stop"
    if status.get("stateChangeRequests") and not is_one_stop:
        return Refusal(status=500, reason="InternalError", cause=_UNDERWAY, kind="virtualmachine")
    status.pop("startFailure", None)
    return Accepted(status=202, vmi=vmi, vm={**vm, "status": {**status, "stateChangeRequests": changes}})


def _flipped(vm: Json, *, is_on: bool) -> Accepted:
    spec = dict(vm["spec"])
    if spec.get("runStrategy"):
        spec["runStrategy"] = "Always" if is_on else "Halted"
    else:
        spec["running"] = is_on
    return Accepted(status=202, vm={**vm, "spec": spec})


def _hurried(vmi: Json, grace_s: int | None) -> Json:
    return {**vmi, "spec": {**vmi["spec"], "terminationGracePeriodSeconds": grace_s}}


def _stop_request(vmi: Json) -> Json:
    return {"action": "Stop", "uid": vmi["metadata"]["uid"]}


def _phase(vmi: Json | None) -> str:
    return str(((vmi or {}).get("status") or {}).get("phase") or "")


def _condition(obj: Json, kind: str) -> str | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((str(c.get("status")) for c in conditions if c.get("type") == kind), None)


def _conflict(cause: str) -> Refusal:
    return Refusal(status=409, reason="Conflict", cause=cause, kind="virtualmachine")


def _instance_conflict(cause: str) -> Refusal:
    return Refusal(status=409, reason="Conflict", cause=cause, kind="virtualmachineinstance")


def _absent(kind: str, name: str) -> Refusal:
    return Refusal(status=404, reason="NotFound", cause=f'{kind}.kubevirt.io "{name}" not found', kind=kind)


def _go_name(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "number"
