"""virt-controller's next change of an instance and its launcher pod, from Pending to gone."""

from __future__ import annotations

from collections.abc import Callable

from broker.lab.machines.launcher import LAUNCHER_IMAGE, new_pod
from broker.lab.machines.run_strategy import FINAL, phase_of
from broker.lab.machines.view import (
    FOREGROUND,
    PAUSE_GATE,
    PODS,
    VM_FINALIZER,
    VMIS,
    Delete,
    GuestOrder,
    Json,
    Put,
    Step,
    Tell,
    View,
    condition,
    is_marked,
    with_condition,
    without_condition,
)
from broker.lab.machines.vmi_status import (
    containers_are_ready,
    ready_from_pod,
    running_interfaces,
    scheduled_interfaces,
    synchronized_from_pod,
    with_phase,
)

__all__ = ["vmi_step"]

_POD_S = 0.08
"""Until a pod is made, or cannot be."""
_GATES = {
    True: ("False", "Paused", "the virtual machine is paused"),
    False: ("True", "NotPaused", "the virtual machine is not paused"),
}


def vmi_step(view: View) -> Step | None:
    """Return what happens to the instance next, None while nothing is to be done."""
    if view.vmi is None:
        return None
    for rule in _RULES:
        step = rule(view, view.vmi)
        if step is not None:
            return step
    return None


def _end(view: View, vmi: Json) -> Step | None:
    """The end of a marked instance: its pod, its finalizers, itself."""
    if not is_marked(vmi):
        return None
    phase, pod = phase_of(vmi), view.pod
    if pod is not None and not is_marked(pod):
        grace_s = 0 if (pod.get("status") or {}).get("phase") in FINAL else 60
        marks = {"deletionTimestamp": view.now, "deletionGracePeriodSeconds": grace_s}
        told = {**pod, "metadata": {**pod["metadata"], **marks}}
        name = pod["metadata"]["name"]
        event = _tell(vmi, "SuccessfulDelete", f"Deleted virtual machine pod {name}")
        return Step(name="pod marked", effects=(Put(resource=PODS, obj=told), event))
    if pod is None and phase not in FINAL and phase != "Running":
        return _put_vmi("vmi ends unborn", with_phase(vmi, "Failed", view.now))
    finalizers = list(vmi["metadata"].get("finalizers") or ())
    if phase in FINAL and VM_FINALIZER in finalizers:
        left = [one for one in finalizers if one != VM_FINALIZER]
        return _put_vmi("vmi finalizer", {**vmi, "metadata": {**vmi["metadata"], "finalizers": left}})
    if phase in FINAL and pod is None and finalizers in ([], [FOREGROUND]):
        gone = Delete(resource=VMIS, name=view.name)
        return Step(name="vmi gone", effects=(gone, GuestOrder(order="release")), after_s=0.05)
    return None


def _pod_lost(view: View, vmi: Json) -> Step | None:
    """The pod of an instance that ran is gone, or it failed before the guest ran."""
    phase, pod = phase_of(vmi), view.pod
    if phase == "Running" and pod is None and (vmi.get("status") or {}).get("activePods"):
        # Captured without a moment in phaseTransitionTimestamps.
        failed = {**vmi, "status": {**vmi["status"], "phase": "Failed", "activePods": {}}}
        ready = _ready("PodNotExists", "virt-launcher pod has not yet been scheduled", view.now)
        return Step(name="pod lost", effects=(Put(resource=VMIS, obj=with_condition(failed, ready)), GuestOrder(order="stop")))
    if phase in ("Scheduling", "Scheduled") and pod is not None and (pod.get("status") or {}).get("phase") in FINAL:
        failed = with_phase(vmi, "Failed", view.now)
        ready = _ready("PodTerminating", "virt-launcher pod is terminating", view.now)
        return _put_vmi("vmi failed", with_condition(failed, ready))
    return None


def _birth(view: View, vmi: Json) -> Step | None:
    """Pending: the pod is made, then the instance is Scheduling."""
    if phase_of(vmi) not in ("", "Pending") or is_marked(vmi):
        return None
    if view.pod is None:
        if view.missing_claim:
            return _waits_for_claim(view, vmi)
        pod = new_pod(vmi)
        if view.quota:
            return _waits_for_room(view, vmi, f'pods "{pod["metadata"]["name"]}" is forbidden: {view.quota}')
        event = _tell(vmi, "SuccessfulCreate", f"Created virtual machine pod {pod['metadata']['name']}")
        return Step(name="pod made", effects=(Put(resource=PODS, obj=pod), event), after_s=_POD_S)
    if condition(view.pod, PAUSE_GATE) is None:
        return None
    scheduling = without_condition(with_phase(vmi, "Scheduling", view.now), "Synchronized")
    status = {**scheduling["status"], "launcherContainerImageVersion": LAUNCHER_IMAGE}
    status["memory"] = {**(status.get("memory") or {}), "memoryOverhead": _overhead(vmi)}
    ready = _ready("GuestNotRunning", "Guest VM is not reported as running", view.now)
    return _put_vmi("vmi scheduling", with_condition({**scheduling, "status": status}, ready))


def _overhead(vmi: Json) -> str:
    """The launcher's memory beside the guest's: devices passed through take 1 GiB more."""
    interfaces = (vmi["spec"]["domain"].get("devices") or {}).get("interfaces") or ()
    return "1312Mi" if any("sriov" in one for one in interfaces) else "288Mi"


def _waits_for_claim(view: View, vmi: Json) -> Step | None:
    message = f"PVC {view.namespace}/{view.missing_claim} does not exist, waiting for it to appear"
    if (condition(vmi, "Synchronized") or {}).get("message") == message:
        return Step(name="claim missing", effects=(), after_s=1.0, is_scaled=False)
    waiting = with_condition(vmi, _ready("PodNotExists", "virt-launcher pod has not yet been scheduled", view.now))
    told = {"lastProbeTime": None, "lastTransitionTime": None, "message": message, "status": "False"}
    waiting = with_condition(waiting, {**told, "reason": "Unschedulable", "type": "PodScheduled"})
    told["lastTransitionTime"] = view.now
    waiting = with_condition(waiting, {**told, "reason": "FailedPvcNotFound", "type": "Synchronized"})
    event = _tell(vmi, "FailedPvcNotFound", message)
    return Step(name="claim", effects=(Put(resource=VMIS, obj=waiting), event), after_s=_POD_S)


def _waits_for_room(view: View, vmi: Json, why: str) -> Step | None:
    message = f"failed to create virtual machine pod: {why}"
    if (condition(vmi, "Synchronized") or {}).get("message") == message:
        return Step(name="no room", effects=(), after_s=1.0, is_scaled=False)
    waiting = with_condition(vmi, _ready("PodNotExists", "virt-launcher pod has not yet been scheduled", view.now))
    told = {"lastProbeTime": None, "lastTransitionTime": view.now, "message": message, "status": "False"}
    waiting = with_condition(waiting, {**told, "reason": "FailedCreate", "type": "Synchronized"})
    event = _tell(vmi, "FailedCreate", f"Error creating pod: {why}", type="Warning")
    return Step(name="quota", effects=(Put(resource=VMIS, obj=waiting), event), after_s=_POD_S)


def _gate(view: View, vmi: Json) -> Step | None:
    """The pod's readiness gate follows the guest's pause; a running pod without the condition counts as not paused."""
    pod = view.pod
    if pod is None or is_marked(vmi):
        return None
    gate = condition(pod, PAUSE_GATE)
    is_paused = (condition(vmi, "Paused") or {}).get("status") == "True"
    status, reason, message = _GATES[is_paused]
    told = gate.get("status") if gate is not None else None
    if told == status or (told is None and (pod.get("status") or {}).get("phase") == "Running" and not is_paused):
        return None
    found: Json = {"status": status, "lastProbeTime": view.now, "lastTransitionTime": view.now, "reason": reason}
    changed = with_condition(pod, {**found, "message": message, "type": PAUSE_GATE})
    return Step(name="pod gate", effects=(Put(resource=PODS, obj=changed),))


def _place(view: View, vmi: Json) -> Step | None:
    """Scheduling: which pod on which node, what keeps it, and Scheduled once its containers are ready."""
    pod = view.pod
    if pod is None or phase_of(vmi) != "Scheduling" or is_marked(vmi):
        return None
    status, uid = vmi.get("status") or {}, pod["metadata"]["uid"]
    node = (pod.get("spec") or {}).get("nodeName") or ""
    scheduled = condition(pod, "PodScheduled") or {}
    is_kept = not node and scheduled.get("status") == "False"
    if (status.get("activePods") or {}).get(uid) != node or "qosClass" not in status:
        placed = {**status, "activePods": {uid: node}, "qosClass": "Burstable"}
        changed = {**vmi, "status": placed}
        return _put_vmi("vmi pods", changed if is_kept else without_condition(changed, "PodScheduled"))
    if is_kept and condition(vmi, "PodScheduled") != scheduled:
        return _put_vmi("vmi unschedulable", with_condition(vmi, scheduled))
    synchronized = synchronized_from_pod(pod, view.now)
    if synchronized is not None and (condition(vmi, "Synchronized") or {}).get("reason") != synchronized["reason"]:
        return _put_vmi("vmi image", with_condition(vmi, synchronized))
    if not node or not containers_are_ready(pod):
        return None
    ready = without_condition(with_phase(vmi, "Scheduled", view.now), "Synchronized")
    labels = {**(vmi["metadata"].get("labels") or {}), "kubevirt.io/nodeName": node}
    told: Json = {
        "interfaces": scheduled_interfaces(vmi, pod),
        "migrationTransport": "Unix",
        "nodeName": node,
        "volumeStatus": [{"name": name, "target": ""} for name in sorted(v["name"] for v in vmi["spec"].get("volumes") or ())],
    }
    ready = {**ready, "metadata": {**vmi["metadata"], "labels": labels}, "status": {**ready["status"], **told}}
    return _put_vmi("vmi scheduled", ready)


def _pod_label(view: View, vmi: Json) -> Step | None:
    pod, node = view.pod, (vmi.get("status") or {}).get("nodeName")
    if pod is None or not node or phase_of(vmi) != "Scheduled":
        return None
    labels = pod["metadata"].get("labels") or {}
    if labels.get("kubevirt.io/nodeName") == node:
        return None
    labelled = {**pod, "metadata": {**pod["metadata"], "labels": {**labels, "kubevirt.io/nodeName": node}}}
    return Step(name="pod label", effects=(Put(resource=PODS, obj=labelled),))


def _networks(view: View, vmi: Json) -> Step | None:
    """Running: what multus tells of the pod's interfaces is told of the instance's, too."""
    if phase_of(vmi) != "Running" or view.pod is None or is_marked(vmi):
        return None
    told = (vmi.get("status") or {}).get("interfaces") or []
    wanted = running_interfaces(vmi, view.pod)
    if all(one in told for one in wanted):
        return None
    return _put_vmi("vmi networks", {**vmi, "status": {**vmi["status"], "interfaces": wanted}})


def _ready_copy(view: View, vmi: Json) -> Step | None:
    """Running: the instance is as ready as its pod."""
    if phase_of(vmi) != "Running" or view.pod is None:
        return None
    wanted = ready_from_pod(vmi, view.pod, view.now)
    return None if wanted is None else _put_vmi("vmi ready", with_condition(vmi, wanted))


_RULES: tuple[Callable[[View, Json], Step | None], ...] = (
    _end,
    _pod_lost,
    _gate,
    _birth,
    _place,
    _pod_label,
    _networks,
    _ready_copy,
)


def _put_vmi(name: str, vmi: Json) -> Step:
    return Step(name=name, effects=(Put(resource=VMIS, obj=vmi),))


def _tell(vmi: Json, reason: str, message: str, *, type: str = "Normal") -> Tell:
    return Tell(kind="VirtualMachineInstance", reason=reason, message=message, uid=vmi["metadata"]["uid"], type=type)


def _ready(reason: str, message: str, now: str) -> Json:
    times = {"lastProbeTime": now, "lastTransitionTime": now}
    return {**times, "message": message, "reason": reason, "status": "False", "type": "Ready"}
