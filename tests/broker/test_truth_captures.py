"""Each captured refusal of the real servers, with the captured objects beside it, is told as what it was."""

from __future__ import annotations

import copy
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from broker.errors import BrokerError
from broker.kube.answer import call_of
from broker.kube.status import error_from_response
from broker.model.pages import decode_vm, decode_vmi
from broker.model.surroundings import decode_namespace
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.diagnosis import DialFacts, diagnose
from broker.paths.preflight import preflight

Json = dict[str, Any]

RAW: list[tuple[str, str, int, tuple[str, ...]]] = [
    (
        "portforward-forbidden",
        "forbidden",
        4,
        ("you may not get virtualmachineinstances/portforward of VMI v6-1", "you are carol"),
    ),
    ("portforward-vm-notfound", "vm-not-found", 3, ("VM nope in namespace team-a is not there",)),
    ("portforward-vmi-notfound", "vmi-not-found", 3, ("VMI nope in namespace team-a is not there",)),
    ("portforward-vm-stopped", "vm-stopped", 5, ("VM stopped-1 in namespace team-a", "virtctl start stopped-1 -n team-a")),
    (
        "portforward-paused",
        "vm-paused",
        5,
        ("VMI paused-1 in namespace team-b is paused", "virtctl unpause vmi paused-1 -n team-b"),
    ),
    ("portforward-closed-port", "port-refused", 5, ("port 1 of VMI web-1", "127.0.0.11", "unknown which")),
    ("portforward-nothing-listens", "port-refused", 5, ("port 22 of VMI down-1", "127.0.0.99", "unknown which")),
    ("portforward-no-ip", "no-address", 5, ("VMI noip-1 in namespace team-c has no address yet", "own pod")),
    ("portforward-bad-port", "bad-port", 2, ("no such port", "99999")),
    ("portforward-bad-protocol", "bad-protocol", 2, ("tcp and udp only",)),
    ("portforward-not-websocket", "upgrade-stripped", 5, ("removed the websocket upgrade",)),
    ("portforward-accept-json", "not-acceptable", 1, ("format",)),
    ("auth-anonymous", "anonymous", 4, ("sees no credentials",)),
    ("auth-token-expired", "unauthorized", 4, ("does not accept your credential", "log in again")),
    ("unauthorized", "unauthorized", 4, ("does not accept your credential",)),
    ("impersonate-forbidden", "impersonation-forbidden", 4, ("may not act as",)),
    ("list-forbidden", "forbidden", 4, ("you may not list VMs in namespace team-a", "you are norights")),
    ("guestosinfo-forbidden", "forbidden", 4, ("virtualmachineinstances/guestosinfo", "you are broker")),
    ("guestosinfo-accept-json", "virt-handler-absent", 5, ("virt-handler",)),
    ("guestosinfo-agent-absent", "agent-absent", 5, ("no guest agent",)),
    ("get-vm-notfound", "vm-not-found", 3, ("VM nope in namespace team-a is not there",)),
    ("get-absent-crd", "api-absent", 5, ("does not know the API group metallb.io",)),
]


def read(shared: Path, name: str) -> Json:
    found: Json = json.loads((shared / "captures" / f"{name}.json").read_bytes())
    return found


def error_of(capture: Json) -> BrokerError:
    answer = capture["response"]
    body = answer["text"].encode() if "text" in answer else json.dumps(answer["json"]).encode()
    path = capture["request"]["path"]
    return error_from_response(answer["status"], answer["headers"]["Content-Type"], body, call_of(path))


def objects(shared: Path, name: str) -> tuple[VirtualMachine | None, VirtualMachineInstance | None]:
    """VM and VMI of this name from the captured lists of namespace team-a."""
    vms = read(shared, "list-vms-team-a")["response"]["json"]["items"]
    vmis = read(shared, "list-vmis-team-a")["response"]["json"]["items"]
    vm = [decode_vm(json.dumps(item).encode()) for item in vms if item["metadata"]["name"] == name]
    vmi = [decode_vmi(json.dumps(item).encode()) for item in vmis if item["metadata"]["name"] == name]
    return (vm[0] if vm else None), (vmi[0] if vmi else None)


def text_of(error: BrokerError) -> str:
    return "\n".join((error.message, error.cause or "", error.next_step or ""))


@pytest.mark.parametrize(("name", "code", "exit_status", "words"), RAW, ids=[row[0] for row in RAW])
def test_the_answer_alone(shared: Path, name: str, code: str, exit_status: int, words: tuple[str, ...]) -> None:
    error = error_of(read(shared, name))
    assert (error.code, error.exit_status) == (code, exit_status), text_of(error)
    for word in words:
        assert word in text_of(error)


def test_every_capture_of_a_refusal_is_in_the_table(shared: Path) -> None:
    groups = ("portforward-", "auth-", "unauthorized", "impersonate-", "guestosinfo-", "list-forbidden", "get-")
    found = {file.stem for file in (shared / "captures").glob("*.json") if file.stem.startswith(groups)}
    refusals = {name for name in found if read(shared, name)["response"]["status"] >= 300}
    assert refusals == {row[0] for row in RAW}


def facts(shared: Path, name: str, port: int) -> DialFacts:
    vm, vmi = objects(shared, name)
    return DialFacts(
        kind="vm", name=name, namespace="team-a", port=port, vm=vm, vmi=vmi, has_primary_udn=False, policies=(), lacks=()
    )


def test_a_closed_port_of_a_guest_whose_agent_answers(shared: Path) -> None:
    error = diagnose(facts(shared, "web-1", 1), error_of(read(shared, "portforward-closed-port")))
    assert error.code == "port-closed"
    assert "port 1 of VM web-1 in namespace team-a is closed" in error.message
    assert "127.0.0.11" in (error.cause or "")


def test_only_a_secondary_network_refuses_as_the_guest_does(shared: Path) -> None:
    # sec-1 has one bridge interface on a multus network: dialled in vain it is that, refused it is a closed port.
    assert preflight(*objects(shared, "sec-1"), 22) is None
    raw = error_from_response(
        504, "", b"", call_of("/apis/subresources.kubevirt.io/v1/namespaces/team-a/virtualmachines/sec-1/portforward/22/tcp")
    )
    assert raw.code == "virt-api-unreachable"
    silent = {**read(shared, "portforward-closed-port")}
    silent["response"]["json"]["message"] = (
        "Internal error occurred: dialing VM: dial tcp 127.0.0.16:22: connect: connection timed out"
    )
    assert diagnose(facts(shared, "sec-1", 22), error_of(silent)).code == "secondary-only"


def test_the_captured_stopped_vm_is_told_before_the_dial(shared: Path) -> None:
    error = preflight(*objects(shared, "stopped-1"), 22)
    assert error is not None
    assert (error.code, error.message) == ("vm-stopped", "VM stopped-1 in namespace team-a is stopped")


def test_the_captured_namespace_has_a_primary_network(shared: Path) -> None:
    from broker.facts.primary_network import PRIMARY_UDN_LABEL

    body = json.dumps(read(shared, "get-namespace-udn")["response"]["json"]).encode()
    assert PRIMARY_UDN_LABEL in (decode_namespace(body).metadata.labels or {})


def states(shared: Path, name: str) -> list[Json]:
    """The VM and VMI of a recorded reaction after each of its steps; one that is there before the first step runs."""
    seen: dict[str, Json] = {}
    found: list[Json] = []
    for step in read(shared, name)["steps"]:
        kind = (step.get("object") or {}).get("kind")
        if kind not in ("VirtualMachine", "VirtualMachineInstance"):
            continue
        if "state" in step:
            seen[kind] = {"status": {}, **copy.deepcopy(step["state"])}
        elif step["change"].endswith(" gone") and "diff" not in step:
            seen.pop(kind, None)
        elif kind not in seen:
            seen.update({each: copy.deepcopy(value) for each, value in RUNNING.items() if each not in seen})
        for path, value in (step.get("diff") or {}).items():
            put(seen[kind], path, value["to"] if isinstance(value, dict) and set(value) == {"from", "to"} else value)
        for path in step.get("removed") or ():
            put(seen[kind], path, None)
        for each in seen.values():
            each["metadata"] = {**each["metadata"], "namespace": "team-e"}
        found.append(copy.deepcopy(seen))
    return found


NICS = {
    "domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}},
    "networks": [{"name": "default", "pod": {}}],
}
RUNNING: Json = {
    "VirtualMachine": {
        "metadata": {"name": "x"},
        "spec": {"runStrategy": "Always"},
        "status": {"printableStatus": "Running", "created": True},
    },
    "VirtualMachineInstance": {
        "metadata": {"name": "x"},
        "spec": NICS,
        "status": {
            "phase": "Running",
            "interfaces": [{"name": "default", "ipAddress": "10.128.0.5", "podInterfaceName": "eth0"}],
        },
    },
}


def put(obj: Json, path: str, value: Any) -> None:
    """Apply one path of a recorded diff: dotted, a condition or another entry of a list by its type in brackets."""
    words = path.split(".", 2)
    if words[0] not in ("status", "metadata") or len(words) < 2:
        return
    key = words[1]
    if key.startswith("conditions["):
        kind = key[len("conditions[") : -1]
        rest = [each for each in obj["status"].get("conditions", []) if each["type"] != kind]
        obj["status"]["conditions"] = rest if value is None else [*rest, {**value, "type": kind}]
    elif len(words) == 3:
        obj[words[0]].setdefault(key, {})[words[2]] = value
    elif value is None:
        obj[words[0]].pop(key, None)
    else:
        obj[words[0]][key] = value


def told(state: Json) -> str:
    """The code that preflight gives for one recorded state; "" where the port would be dialled."""
    vm, vmi = state.get("VirtualMachine"), state.get("VirtualMachineInstance")
    error = preflight(
        decode_vm(json.dumps(vm).encode()) if vm else None, decode_vmi(json.dumps(vmi).encode()) if vmi else None, 22
    )
    return error.code if error is not None else ""


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("vm-crashloop", (*("vm-starting", "vm-crash-loop") * 3, "vm-starting")),
        ("vm-unschedulable", ("vm-starting", "vm-unschedulable", "vm-starting", "")),
        ("vm-image-pull", ("vm-starting", "vm-image-unavailable", "vm-starting", "")),
        # The claim is there, and the controller's word that it is not stays for a moment as Unschedulable.
        ("vm-pvc-missing", ("vm-starting", "vm-pvc-missing", "vm-unschedulable", "vm-waiting-for-volume")),
        ("vm-pause-unpause", ("vm-paused", "")),
        ("quota-exceeded", ("vm-starting", "vm-start-refused", "vm-starting")),
        # In the end neither is there, and that is for the API server to say.
        ("vm-delete-running", ("", "vm-deleting", "")),
        ("interfaces-primary-udn", ("vm-starting", "primary-udn")),
        (
            "vm-halted-start-stop",
            ("vm-stopped", "vm-starting", "", "vm-stopping", "vm-stopped", "vm-starting", "vm-stopped"),
        ),
    ],
)
def test_what_the_real_controller_wrote_is_told_step_by_step(shared: Path, name: str, codes: tuple[str, ...]) -> None:
    found = [code for code, _ in groupby(told(state) for state in states(shared, f"reactions-{name}"))]
    assert found == list(codes)
