"""What a VM and its instance tell of how far it has come, from the objects of the real controllers too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.actions.readiness import AIMS, Aim, Sight, guide, lacks, reached, seen
from broker.errors import GuestUnready
from broker.model.pages import decode_vm, decode_vmi

VM: dict[str, Any] = {"metadata": {"name": "web", "namespace": "shop", "uid": "v1"}, "status": {"printableStatus": "Running"}}


def instance(phase: str = "Running", *, owner: str = "v1", address: str = "10.0.0.5", **conditions: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "shop", "ownerReferences": [{"kind": "VirtualMachine", "uid": owner}]},
        "status": {
            "phase": phase,
            "nodeName": "node-1",
            "interfaces": [{"name": "default", "ipAddress": address}],
            "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
        },
    }


def sight(vmi: dict[str, Any] | None, vm: dict[str, Any] | None = VM) -> Sight:
    return Sight(
        vm=decode_vm(json.dumps(vm).encode()) if vm else None, vmi=decode_vmi(json.dumps(vmi).encode()) if vmi else None
    )


@pytest.mark.parametrize(
    ("vmi", "expected"),
    [
        (None, set()),
        (instance("Scheduling", address=""), set()),
        (instance("Scheduled"), {"address"}),
        (instance("Running", address=""), {"running"}),
        (instance("Running", address="soon"), {"running"}),
        (instance("Running"), {"running", "address"}),
        (instance("Running", Paused="True"), {"address"}),
        (instance("Running", AgentConnected="True"), {"running", "address", "agent"}),
        (instance("Running", AgentConnected="False"), {"running", "address"}),
        (instance("Succeeded", AgentConnected="True"), set()),
        (instance("Failed"), set()),
        (instance("Running", owner="another"), set()),
        (instance("Running") | {"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, set()),
    ],
)
def test_which_aims_an_instance_reaches(vmi: dict[str, Any] | None, expected: set[str]) -> None:
    assert {aim for aim in AIMS if reached(aim, sight(vmi)) is not None} == expected


def test_the_vms_own_word_and_its_copied_conditions_count_for_nothing() -> None:
    stopped = VM | {"status": {"printableStatus": "Running", "conditions": [{"type": "AgentConnected", "status": "True"}]}}
    assert [reached(aim, sight(None, stopped)) for aim in AIMS] == [None] * 4


def test_an_instance_without_a_vm_is_its_own() -> None:
    assert reached("running", sight(instance(owner="any"), None)) == "runs on node-1"


@pytest.mark.parametrize(
    ("aim", "vmi", "words"),
    [
        ("ssh", None, "VM Running, no VMI"),
        ("address", instance("Scheduling", address=""), "VMI phase Scheduling, no address yet"),
        ("ssh", instance("Running", Paused="True"), "VMI phase Running, paused, address 10.0.0.5"),
        ("agent", instance(), "VMI phase Running, no guest agent yet"),
        ("running", instance("Running", owner="x"), "VMI phase Running, not of this VM"),
        ("ssh", {"status": {"phase": "Running"}} | {"metadata": {}}, "VMI phase Running, not of this VM, no interface"),
        ("running", {"metadata": instance()["metadata"]}, "VMI phase not set yet"),
    ],
)
def test_what_is_seen_is_told_in_one_line(aim: Aim, vmi: dict[str, Any] | None, words: str) -> None:
    assert seen(aim, sight(vmi)) == words


def test_what_holds_a_start_is_told_as_the_controllers_say_it(shared: Path) -> None:
    told = [seen("running", each) for each in _reactions(shared, "reactions-vm-unschedulable")]
    assert any("Unschedulable: " in words for words in told), told


@pytest.mark.parametrize("name", ["reactions-vm-always-create-run", "reactions-vm-halted-start-stop"])
def test_a_real_start_reaches_running_with_the_phase_and_not_before(shared: Path, name: str) -> None:
    sights = _reactions(shared, name)
    up = [each.vmi is not None and each.vmi.phase == "Running" for each in sights]
    assert any(up)
    assert not all(up)
    for each, is_up in zip(sights, up, strict=True):
        is_leaving = each.vmi is not None and each.vmi.metadata.deletion_timestamp is not None
        assert (reached("running", each) is not None) is (is_up and not is_leaving)


def _reactions(shared: Path, name: str) -> list[Sight]:
    """What is seen of the first VM of a capture after each step of the real controllers (phase, conditions, deletion)."""
    steps = json.loads((shared / "captures" / f"{name}.json").read_text())["steps"]
    objects: dict[str, dict[str, Any]] = {}
    found = []
    for step in steps:
        kind = step.get("object", {}).get("kind")
        if kind not in ("VirtualMachine", "VirtualMachineInstance"):
            continue
        if "state" in step:
            objects[kind] = json.loads(json.dumps(step["state"]))
        elif "diff" not in step and "removed" not in step:
            objects.pop(kind, None)
        elif kind in objects:
            _apply(objects[kind], step.get("diff", {}))
        found.append(Sight(vm=None, vmi=_vmi(objects.get("VirtualMachineInstance"))))
    assert found, f"nothing in {name}"
    return found


def _apply(obj: dict[str, Any], diff: dict[str, Any]) -> None:
    status = obj.setdefault("status", {})
    for path, value in diff.items():
        new = value["to"] if isinstance(value, dict) and "to" in value else value
        if path == "status.phase":
            status["phase"] = new
        elif path == "metadata.deletionTimestamp":
            obj["metadata"]["deletionTimestamp"] = new
        elif path.startswith("status.conditions["):
            kind = path[len("status.conditions[") : path.index("]")]
            kept = [each for each in status.get("conditions", []) if each["type"] != kind]
            old = next((each for each in status.get("conditions", []) if each["type"] == kind), {"type": kind})
            changed = {path.rpartition(".")[2]: new} if path.index("]") < len(path) - 1 else new
            status["conditions"] = [*kept, old | changed]


def _vmi(obj: dict[str, Any] | None) -> Any:
    if obj is None:
        return None
    status = {key: obj.get("status", {}).get(key) for key in ("phase", "conditions")}
    return decode_vmi(json.dumps({"metadata": obj["metadata"], "status": status}).encode())


def test_foreign_words_come_out_clean() -> None:
    bad = instance("Run\x1b[31mning", address="10.0.0.5\x07")
    assert seen("ssh", sight(bad)) == "VMI phase Run[31mning, address 10.0.0.5"


@pytest.mark.parametrize(
    ("aim", "code", "takes"),
    [
        ("running", "vm-stopped", True),
        ("running", "no-address", False),
        ("ssh", "no-address", False),
        ("address", "no-interface", True),
        ("running", "port-not-listed", False),
        ("ssh", "port-not-listed", True),
        ("ssh", "vm-starting", False),
    ],
)
def test_the_next_step_is_of_an_obstacle_only_where_it_is_in_the_way(aim: Aim, code: str, takes: bool) -> None:
    obstacle = GuestUnready("x", code=code, next_step="do this")
    assert (guide(aim, obstacle, "vm/web/shop") == "do this") is takes


def test_words_for_what_is_lacking_name_the_port_for_ssh_only() -> None:
    assert [lacks(aim, 2222) for aim in AIMS] == [
        "does not run",
        "has no address on its first interface",
        "has no guest agent connected",
        "does not answer ssh on port 2222",
    ]
