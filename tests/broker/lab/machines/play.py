"""Plays a capture `reactions-*` on a stage: its users' steps, and what was done by hand to guest, pod, multus and quota."""

from __future__ import annotations

from collections.abc import Callable

from broker.lab.machines.run_strategy import phase_of
from broker.lab.machines.view import PODS, VMIS, VMS, Json, condition, with_condition
from broker.lab.machines.vmi_status import NETWORK_STATUS
from tests.broker.lab.machines.stage import Stage, machine


def play(capture: Json) -> Stage:
    """Play a capture: its users' steps and what was done by hand to guest and pod. A capture of a VM that runs starts so."""
    steps = capture["steps"]
    name = next(step["object"]["name"] for step in steps if step.get("object", {}).get("kind", "").startswith("VirtualMachine"))
    is_brought_up = not any((step.get("request") or {}).get("method") == "POST" for step in steps)
    stage = Stage(name=name, has_agent=is_brought_up or has_agent(capture))
    if "ResourceQuota" in capture["note"]:
        stage.put("resourcequotas", _quota(stage.key[0]))
    if is_brought_up:
        _bring_up(stage, name, is_stopped="stopped" in capture["note"])
    for number, step in enumerate(steps):
        asked = step.get("request")
        if asked is not None:
            _act(stage, asked)
            if "network-status" in capture["note"]:
                # Multus says what it said there, nothing where it was silent.
                stage.settle(until=_is_placed)
                _attach(stage, next((one for one in steps if one["actor"] == "multus"), {"diff": {NETWORK_STATUS_PATH: "[]"}}))
        elif step["actor"] == "multus" and _is_later_word(step):
            _attach(stage, step)
        elif step["actor"].startswith("by hand") and step["change"] in _BY_HAND:
            _BY_HAND[step["change"]](stage)
        else:
            continue
        _settle(stage, step["change"], [later["change"] for later in steps[number + 1 :]])
    return stage


def _settle(stage: Stage, change: str, coming: list[str]) -> None:
    """Let the lab go on as far as the capture does before its next step by hand."""
    if change in ("scheduler: no node", "ErrImagePull", "ImagePullBackOff") and any(one in _BY_HAND for one in coming):
        stage.settle(limit_s=0.2)
        return
    if change in ("delete the pod", "create the PVC") or any(one in ("create the PVC", "quota removed") for one in coming):
        # Before virt-handler would end the guest; before the next attempt.
        stage.settle(limit_s=0.3 if change == "delete the pod" else 5)
        return
    if change == "pod fails":
        stage.settle(limit_s=5)
    if "pod fails" in coming:
        stage.settle(until=_is_placed, limit_s=90)
    elif "scheduler: no node" in coming or "ErrImagePull" in coming or not any("-> Scheduled" in one for one in coming):
        is_starting = any("-> Scheduling" in one for one in coming)
        stage.settle(until=_is_scheduling if is_starting else lambda _: False, limit_s=60)
    else:
        stage.settle(limit_s=60)


def _bring_up(stage: Stage, name: str, *, is_stopped: bool) -> None:
    stage.put(VMS, machine(name, "Always"))
    stage.settle()
    if is_stopped:
        stage.call("stop")
        stage.settle()
    stage.changes.clear()
    for event in stage.events():
        stage.objects.delete("events", stage.key[0], event["metadata"]["name"])


def _act(stage: Stage, asked: Json) -> None:
    method, body = asked["method"], asked.get("body") or {}
    resource = asked["path"].partition("?")[0].split("/namespaces/")[1].split("/")[1]
    if resource == "persistentvolumeclaims":
        claim = {**body, "metadata": {**body["metadata"], "namespace": stage.key[0]}, "status": {"phase": "Pending"}}
        stage.put(resource, claim)
    elif resource == "pods":
        pod = stage.pod()
        assert pod is not None
        marks = {"deletionTimestamp": "2027-01-15T08:00:00Z", "deletionGracePeriodSeconds": 60}
        stage.put(PODS, {**pod, "metadata": {**pod["metadata"], **marks}})
    elif method == "POST":
        stage.put(VMS, body)
    elif method == "PUT":
        verb = asked["path"].rpartition("/")[2]
        if verb != "pause":
            stage.call(verb, body)
    elif method == "PATCH":
        vm = stage.vm()
        stage.put(VMS, {**vm, "spec": {**vm["spec"], **body["spec"]}})
    else:
        vm = stage.vm()
        marks = {"deletionTimestamp": "2027-01-15T08:00:00Z", "deletionGracePeriodSeconds": 0}
        stage.put(VMS, {**vm, "metadata": {**vm["metadata"], **marks}})


def _is_placed(stage: Stage) -> bool:
    pod, vmi = stage.pod(), stage.get(VMIS)
    return (
        pod is not None
        and "nodeName" in pod["spec"]
        and "node-1" in ((vmi or {}).get("status") or {}).get("activePods", {}).values()
    )


def _is_scheduling(stage: Stage) -> bool:
    vmi = stage.get(VMIS)
    ready = (condition(stage.get(VMS), "Ready") or {}).get("reason")
    return phase_of(vmi) == "Scheduling" and "qosClass" in (vmi or {}).get("status", {}) and ready == "GuestNotRunning"


def _pod_waits(reason: str, message: str) -> Callable[[Stage], None]:
    def wait(stage: Stage) -> None:
        pod = stage.pod()
        assert pod is not None
        pod["spec"]["nodeName"] = "node-1"
        container = {"name": "compute", "state": {"waiting": {"reason": reason, "message": message}}, "ready": False}
        pod["status"]["containerStatuses"] = [container]
        stage.put(PODS, pod)

    return wait


def _no_node(stage: Stage) -> None:
    pod = stage.pod()
    assert pod is not None
    told = {"lastProbeTime": None, "message": "0/3 nodes are available: 3 Insufficient memory.", "reason": "Unschedulable"}
    stage.put(PODS, with_condition(pod, {**told, "status": "False", "type": "PodScheduled"}))


def _pod_fails(stage: Stage) -> None:
    pod = stage.pod()
    assert pod is not None
    stage.put(PODS, {**pod, "status": {**pod["status"], "phase": "Failed"}})


NETWORK_STATUS_PATH = f"metadata.annotations[{NETWORK_STATUS}]"


def _is_later_word(step: Json) -> bool:
    return isinstance(step["diff"][NETWORK_STATUS_PATH], dict)


def _attach(stage: Stage, step: Json) -> None:
    """Say of the pod's networks what multus said in the capture."""
    pod, told = stage.pod(), step["diff"][NETWORK_STATUS_PATH]
    assert pod is not None
    annotations = {**pod["metadata"]["annotations"], NETWORK_STATUS: told["to"] if isinstance(told, dict) else told}
    stage.put(PODS, {**pod, "metadata": {**pod["metadata"], "annotations": annotations}})


def _quota(namespace: str) -> Json:
    spec = {"hard": {"count/pods": "0"}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": namespace}, "spec": spec}


def _pod_failed(stage: Stage) -> None:
    _pod_fails(stage)
    pod = stage.pod()
    assert pod is not None
    completed = {"status": "False", "lastProbeTime": None, "lastTransitionTime": None, "reason": "PodCompleted"}
    stage.put(PODS, with_condition(pod, {**completed, "type": "Ready"}))


def _pod_gone(stage: Stage) -> None:
    pod = stage.pod()
    assert pod is not None
    stage.objects.delete(PODS, stage.key[0], pod["metadata"]["name"])


def _crash(stage: Stage) -> None:
    stage.engine.guest_ends(stage.key, "Failed")


_BY_HAND: dict[str, Callable[[Stage], None]] = {
    "the guest powers itself off": lambda stage: stage.engine.guest_ends(stage.key, "Succeeded"),
    "the guest powers itself off: VMI Succeeded": lambda stage: stage.engine.guest_ends(stage.key, "Succeeded"),
    "the guest crashes: pod Failed, virt-handler sets the VMI Failed": lambda stage: stage.engine.guest_ends(
        stage.key, "Failed"
    ),
    "kubelet: pod Failed": _pod_failed,
    "kubelet: pod gone": _pod_gone,
    "virt-handler: VMI Failed": _crash,
    "quota removed": lambda stage: stage.objects.delete("resourcequotas", stage.key[0], "small"),
    "virt-handler reports the guest paused": lambda stage: stage.engine.ask("pause", stage.key),
    "virt-handler reports the guest running again": lambda stage: stage.engine.ask("unpause", stage.key),
    "pod fails": _pod_fails,
    "scheduler: no node": _no_node,
    "ErrImagePull": _pod_waits("ErrImagePull", "rpc error: code = NotFound desc = failed to pull and unpack image"),
    "ImagePullBackOff": _pod_waits("ImagePullBackOff", 'Back-off pulling image "example.invalid/debian:12"'),
    "pulled": lambda stage: None,
}


def has_agent(capture: Json) -> bool:
    """Whether the capture's guest has an agent that speaks."""
    return any("AgentConnected" in step["change"] for step in capture["steps"])
