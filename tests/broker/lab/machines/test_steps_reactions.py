"""The lab's controllers do what virt-controller did: the captured users' steps are played again and the changes compared.

Compared are, for each kind, the values that each path took one after another (conditions with reason and message,
printableStatus, created, ready, finalizers, labels, requests), the order in which objects are made, marked and gone
together with the instance's phases, and the events said. Played by the lab itself, not compared: what the captures'
scheduler, kubelet and virt-handler did by hand. Looser, for all captures: LOOSE_PATHS; for single ones: LOOSER.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.lab.machines.view import VMS, Json
from tests.broker.lab.captures import FOLDER
from tests.broker.lab.machines.play import has_agent, play
from tests.broker.lab.machines.stage import Stage, machine
from tests.broker.lab.machines.told import by_path, captured_facts, milestones, said, store_facts

LOOSE_PATHS = {
    ("VirtualMachine", "status.conditions[Ready]"): "what virt-controller's cache shows it for a moment is a race",
    ("VirtualMachineInstance", "status.interfaces"): "where there is an agent, the captures' hand had it tell at once",
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
    "pod-deleted-running": {
        ("VirtualMachineInstance", "metadata.finalizers"): "without a pod either of the two finalizers may go first",
    },
    "pod-fails-running": {
        ("VirtualMachineInstance", "metadata.finalizers"): "without a pod either of the two finalizers may go first",
        ("VirtualMachineInstance", "status.conditions[Ready]"): "its pod was gone before the instance was looked at",
        ("VirtualMachine", "status.conditions[Ready]"): "as the instance's",
    },
}
"""Paths that a capture's one run shows in a way that does not repeat: not compared there (why)."""
NAMES = (
    "vm-halted-start-stop", "vm-always-create-run", "vm-manual-start-restart-stop", "vm-pause-unpause",
    "vm-always-restart", "vm-always-poweroff", "vm-rerunonfailure-fail-then-poweroff", "vm-delete-running",
    "vm-delete-stopped", "vm-runstrategy-edits", "vm-unschedulable", "vm-image-pull", "vm-crashloop", "vm-pvc-missing",
    "vm-evictionstrategy-livemigrate", "interfaces-no-network-status", "interfaces-pod-and-secondary", "interfaces-pod-only",
    "interfaces-primary-udn", "interfaces-secondary-first", "nad-missing-at-start", "quota-exceeded", "pod-deleted-running",
    "pod-fails-running", "pod-ports-and-networks",
)  # fmt: skip
_NO_MIGRATION = "migrations are not played"
_NO_PLUG = "an edit of a running VM's networks changes nothing in its instance: hot plug is not played"
LEFT_OUT = {
    "cpu-memory-live-update": "an edit of a running VM changes nothing in its instance",
    "creds-agent": "a guest agent that sets keys and passwords is not played",
    "creds-secret-names": "the pod's volumes are not made",
    "eviction-livemigrate": _NO_MIGRATION,
    "eviction-not-migratable": _NO_MIGRATION,
    "migration-by-subresource": _NO_MIGRATION,
    "migration-cancel-running": _NO_MIGRATION,
    "migration-dedicated-network": _NO_MIGRATION,
    "migration-fails-running": _NO_MIGRATION,
    "migration-limit-per-node": _NO_MIGRATION,
    "migration-policy": _NO_MIGRATION,
    "migration-second-refused": _NO_MIGRATION,
    "migration-succeeds": _NO_MIGRATION,
    "migration-target-unschedulable": _NO_MIGRATION,
    "names-dotted-and-long": "four VMs in one capture: compared by a test of their pods",
    "nic-absent-then-restart": _NO_PLUG,
    "nic-add-pod-network": _NO_PLUG,
    "nic-edit-stopped": "interfaces that a stopped VM calls absent are not dropped",
    "nic-link-down-up": _NO_PLUG,
    "nic-mac-change-restart": _NO_PLUG,
    "nic-network-swap": _NO_PLUG,
    "nic-network-swap-auto-migration": _NO_PLUG,
    "nic-plug-auto-migration": _NO_PLUG,
    "nic-plug-during-migration": _NO_PLUG,
    "nic-plug-entry-deleted": _NO_PLUG,
    "nic-plug-in-place": _NO_PLUG,
    "nic-plug-needs-migration": _NO_PLUG,
    "nic-plug-not-migratable": _NO_PLUG,
    "nic-unplug-in-place": _NO_PLUG,
    "nic-unplug-pod-link-stays": _NO_PLUG,
    "node-drain-taint": _NO_MIGRATION,
    "node-unresponsive": "the lab's nodes stay as they are",
    "restart-required-table": "RestartRequired is not told",
    "restart-required-then-reverted": "RestartRequired is not told",
    "service-labels": "services and their endpoints are not played",
    "vm-edit-while-starting": _NO_PLUG,
}
"""Captures that are not played, each with its reason."""
NEVER_MORE = (
    "status.conditions[", "status.phaseTransitionTimestamps[", "status.interfaces", "status.nodeName", "spec.containers",
)  # fmt: skip
"""Beginnings of paths that the lab may not touch where the capture does not."""


@pytest.mark.parametrize("name", NAMES)
def test_changes_come_as_virt_controller_made_them(name: str, shared: Path) -> None:
    capture = json.loads((FOLDER / f"reactions-{name}.json").read_text())
    stage = play(capture)
    expected, ours = list(captured_facts(capture["steps"])), list(store_facts(stage.changes))
    wanted, got = by_path(expected), by_path(ours)
    wrong = []
    for path, values in sorted(wanted.items()):
        if path in LOOSER.get(name, {}) or path[1] == "":
            continue
        here = got.get(path, [])
        is_loose = path in LOOSE_PATHS and not (path[1] == "status.interfaces" and not has_agent(capture))
        fits = _is_within(values, here) if is_loose else values == here
        if not fits:
            wrong.append(f"{path}:\n    captured {values}\n    ours     {here}")
    more = {path: values for path, values in got.items() if path not in wanted and path[1].startswith(NEVER_MORE)}
    wrong += [f"{path}: never captured\n    ours     {values}" for path, values in more.items()]
    assert not wrong, "\n".join(wrong)
    assert milestones(ours) == milestones(expected)
    assert _events_of(stage) == {_event(one) for one in capture.get("events") or ()}


def test_no_looseness_is_declared_for_nothing(shared: Path) -> None:
    assert set(LOOSER) <= set(NAMES)
    captured = [path.stem.removeprefix("reactions-") for path in FOLDER.glob("reactions-*.json")]
    assert sorted((*NAMES, *LEFT_OUT)) == sorted(captured)


def test_pods_are_named_and_labelled_as_virt_controller_did(shared: Path) -> None:
    steps = json.loads((FOLDER / "reactions-names-dotted-and-long.json").read_text())["steps"]
    pods = [step["state"] for step in steps if (step.get("object") or {}).get("kind") == "Pod" and "state" in step]
    assert len(pods) == 4
    for pod in pods:
        labels = pod["metadata"]["labels"]
        name = pod["metadata"]["generateName"].removeprefix("virt-launcher-").removesuffix("-")
        # The last of the four names its host itself.
        spec = {"hostname": "box", "subdomain": "lab"} if name == "host-a" else {}
        vm = machine(name, "Always", **spec)
        vm["spec"]["template"]["metadata"]["labels"] = {"app": labels["app"]}
        stage = Stage(name=name)
        stage.put(VMS, vm)
        stage.settle(until=lambda stage: stage.pod() is not None)
        made = stage.pod()
        assert made is not None
        found = {**made["metadata"]["labels"], "kubevirt.io/created-by": labels["kubevirt.io/created-by"]}
        assert found == labels
        assert made["metadata"]["name"][:-5] == pod["metadata"]["name"][:-5]
        assert {key: made["spec"].get(key) for key in pod["spec"]} == pod["spec"]


def _is_within(wanted: list[str], values: list[str]) -> bool:
    rest = iter(values)
    return all(any(value == one for one in rest) for value in wanted)


def _event(told: Json) -> tuple[str, str, str]:
    return (told["object"].partition("/")[0], told["reason"], said(told["message"]))


def _events_of(stage: Stage) -> set[tuple[str, str, str]]:
    return {(one["involvedObject"]["kind"], one["reason"], said(one["message"])) for one in stage.events()}
