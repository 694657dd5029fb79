"""The lab's controllers do what virt-controller did: the captured users' steps are played again and the changes compared.

Compared are, for each kind, the values that each path took one after another (conditions with reason and message,
printableStatus, created, ready, finalizers, labels, requests), the order in which objects are made, marked and gone
together with the instance's phases, and the events said. Played by the lab itself, not compared: what the captures'
scheduler, kubelet and virt-handler did by hand. Looser, for all captures: LOOSE_PATHS; for single ones: LOOSER.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.lab.machines.run_strategy import phase_of
from broker.lab.machines.view import PODS, VMIS, VMS, Json, condition, with_condition
from tests.broker.lab.captures import FOLDER
from tests.broker.lab.machines.stage import Stage, machine
from tests.broker.lab.machines.told import by_path, captured_facts, milestones, said, store_facts

LOOSE_PATHS = {
    ("VirtualMachine", "status.conditions[Ready]"): "what virt-controller's cache shows it for a moment is a race",
}
"""Paths of which the captured values must all come, in their order, but others may come between (why)."""
LOOSER: dict[str, dict[tuple[str, str], str]] = {
    "vm-rerunonfailure-fail-then-poweroff": {
        ("VirtualMachineInstance", "status.conditions[Ready]"): "its pod was gone before the instance was looked at",
        ("VirtualMachineInstance", "metadata.finalizers"): "the two finalizers went in the other order, once",
        ("VirtualMachine", "status.conditions[Ready]"): "as the instance's",
    },
    "vm-crashloop": {
        ("VirtualMachineInstance", "metadata.finalizers"): "the two finalizers went in the other order, once",
    },
}
"""Paths that a capture's one run shows in a way that does not repeat: not compared there (why)."""
NAMES = (
    "vm-halted-start-stop", "vm-always-create-run", "vm-manual-start-restart-stop", "vm-pause-unpause",
    "vm-always-restart", "vm-always-poweroff", "vm-rerunonfailure-fail-then-poweroff", "vm-delete-running",
    "vm-delete-stopped", "vm-runstrategy-edits", "vm-unschedulable", "vm-image-pull", "vm-crashloop",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_changes_come_as_virt_controller_made_them(name: str, shared: Path) -> None:
    capture = json.loads((FOLDER / f"reactions-{name}.json").read_text())
    stage = _play(capture)
    expected, ours = list(captured_facts(capture["steps"])), list(store_facts(stage.changes))
    wanted, got = by_path(expected), by_path(ours)
    wrong = []
    for path, values in sorted(wanted.items()):
        if path in LOOSER.get(name, {}) or path[1] == "":
            continue
        here = got.get(path, [])
        fits = _is_within(values, here) if path in LOOSE_PATHS else values == here
        if not fits:
            wrong.append(f"{path}:\n    captured {values}\n    ours     {here}")
    assert not wrong, "\n".join(wrong)
    assert milestones(ours) == milestones(expected)
    assert _events_of(stage) == {_event(one) for one in capture.get("events") or ()}


def test_no_looseness_is_declared_for_nothing() -> None:
    assert set(LOOSER) <= set(NAMES)


def _is_within(wanted: list[str], values: list[str]) -> bool:
    rest = iter(values)
    return all(any(value == one for one in rest) for value in wanted)


def _event(told: Json) -> tuple[str, str, str]:
    return (told["object"].partition("/")[0], told["reason"], said(told["message"]))


def _events_of(stage: Stage) -> set[tuple[str, str, str]]:
    return {(one["involvedObject"]["kind"], one["reason"], said(one["message"])) for one in stage.events()}


def _play(capture: Json) -> Stage:
    """Play a capture: its users' steps and what was done by hand to guest and pod. A capture of a VM that runs starts so."""
    steps = capture["steps"]
    name = next(step["object"]["name"] for step in steps if step.get("object", {}).get("kind", "").startswith("VirtualMachine"))
    stage = Stage(name=name)
    if not any((step.get("request") or {}).get("method") == "POST" for step in steps):
        _bring_up(stage, name, is_stopped="stopped" in capture["note"])
    for number, step in enumerate(steps):
        asked = step.get("request")
        if asked is not None:
            _act(stage, asked)
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
    if method == "POST":
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


def _crash(stage: Stage) -> None:
    stage.engine.guest_ends(stage.key, "Failed")


_BY_HAND: dict[str, Callable[[Stage], None]] = {
    "the guest powers itself off": lambda stage: stage.engine.guest_ends(stage.key, "Succeeded"),
    "the guest powers itself off: VMI Succeeded": lambda stage: stage.engine.guest_ends(stage.key, "Succeeded"),
    "the guest crashes: pod Failed, virt-handler sets the VMI Failed": lambda stage: stage.engine.guest_ends(
        stage.key, "Failed"
    ),
    "virt-handler reports the guest paused": lambda stage: stage.engine.ask("pause", stage.key),
    "virt-handler reports the guest running again": lambda stage: stage.engine.ask("unpause", stage.key),
    "pod fails": _pod_fails,
    "scheduler: no node": _no_node,
    "ErrImagePull": _pod_waits("ErrImagePull", "rpc error: code = NotFound desc = failed to pull and unpack image"),
    "ImagePullBackOff": _pod_waits("ImagePullBackOff", 'Back-off pulling image "example.invalid/debian:12"'),
    "pulled": lambda stage: None,
}
