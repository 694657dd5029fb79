"""What VM and VMI decide of a doctor's checks, each failure being the error that ssh gives."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.actions.checkup.check import Check
from broker.actions.checkup.vm_facts import FACTS, after_dial, elsewhere, existing, from_guest, from_objects
from broker.actions.connect import obstacle
from broker.actions.guest_user import GuestLogin
from broker.actions.reading import Reading
from broker.errors import GuestUnready
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.refs import Kind, parse_target

FIRST = {"name": "default", "ipAddress": "10.128.0.9", "ipAddresses": ["10.128.0.9"], "podInterfaceName": "eth0"}
NOBODY = GuestLogin(user=None, user_origin="", port=22, port_origin="the default")


def vmi(**changes: Any) -> VirtualMachineInstance:
    interface = {"name": "default", "masquerade": {}, "ports": changes.get("ports", [])}
    body = {
        "metadata": {
            "name": changes.get("name", "web"),
            "namespace": "shop",
            "uid": "u-2",
            "ownerReferences": [{"kind": "VirtualMachine", "name": "web", "uid": "u-1"}],
        },
        "spec": {
            "domain": {"devices": {"interfaces": [interface]}},
            "networks": [{"name": "default", **changes.get("network", {"pod": {}})}],
        },
        "status": {
            "phase": changes.get("phase", "Running"),
            "nodeName": "node-1",
            "interfaces": changes.get("interfaces", [FIRST]),
            "conditions": [{"type": kind, "status": "True"} for kind in changes.get("conditions", ["AgentConnected"])],
        },
    }
    return msgspec.convert(body, VirtualMachineInstance)


def vm(name: str = "web", **status: Any) -> VirtualMachine:
    body = {
        "metadata": {"name": name, "namespace": "shop", "uid": "u-1"},
        "spec": {"runStrategy": status.pop("strategy", "Always"), "template": {"spec": {}}},
        "status": {"printableStatus": "Running", "created": True, **status},
    }
    return msgspec.convert(body, VirtualMachine)


def reading(of_vm: VirtualMachine | None, of_vmi: VirtualMachineInstance | None, *lacks: Kind) -> Reading:
    return Reading(target=parse_target("vm/web/shop"), namespace="shop", name="web", vm=of_vm, vmi=of_vmi, may_lack=lacks)


def facts(found: Reading, port: int = 22) -> dict[str, Check]:
    checks = list(from_objects(found, port))
    assert len({check.code for check in checks}) == len(checks)
    return {check.code: check for check in checks}


def test_a_machine_that_is_well_is_well_in_every_check() -> None:
    found = facts(reading(vm(), vmi()))
    assert list(found) == list(FACTS)
    assert {check.state for check in found.values()} == {"ok"}
    assert "10.128.0.9" in found["vm-address"].says


@pytest.mark.parametrize(
    ("of_vm", "of_vmi", "check"),
    [
        (vm(printableStatus="Stopped", created=False, strategy="Halted"), None, "vm-running"),
        (vm(printableStatus="Starting", created=True), None, "vm-running"),
        (vm(), vmi(phase="Scheduling"), "vm-running"),
        (vm(), vmi(conditions=["Paused"]), "vm-paused"),
        (vm(), vmi(interfaces=[]), "vm-interface"),
        (vm(), vmi(interfaces=[{**FIRST, "podInterfaceName": "ovn-udn1"}]), "vm-primary-network"),
        (vm(), vmi(interfaces=[{"name": "default"}]), "vm-address"),
        (vm(), vmi(ports=[{"port": 80}]), "vm-port-listed"),
    ],
    ids=["stopped", "starting", "scheduling", "paused", "no interface", "primary network", "no address", "port"],
)
def test_what_stands_in_the_way_fails_its_own_check_in_the_words_of_ssh(
    of_vm: VirtualMachine, of_vmi: VirtualMachineInstance | None, check: str
) -> None:
    given_reading = reading(of_vm, of_vmi)
    error = obstacle(given_reading, 22)
    assert error is not None
    found = facts(given_reading)
    failures = {code: each for code, each in found.items() if each.state == "failed"}
    assert list(failures) == [check]
    told = failures[check]
    assert (told.says, told.cause, told.next_step, told.error_code) == (
        error.message,
        error.cause,
        error.next_step,
        error.code,
    )
    behind = [each for code, each in found.items() if FACTS.index(code) > FACTS.index(check)]
    if check != "vm-paused":
        assert all(each.says.startswith("not looked at: ") for each in behind)


def test_behind_a_pause_the_other_facts_are_still_looked_at() -> None:
    well = facts(reading(vm(), vmi(conditions=["Paused"])))
    assert {code for code, each in well.items() if each.state == "ok"} == set(FACTS) - {"vm-paused"}
    twice = facts(reading(vm(), vmi(conditions=["Paused"], ports=[{"port": 80}])))
    assert {code for code, each in twice.items() if each.state == "failed"} == {"vm-paused", "vm-port-listed"}


def test_an_instance_that_may_not_be_read_leaves_every_fact_unknown() -> None:
    found = facts(reading(vm(), None, "vmi"))
    assert {(each.state, each.says) for each in found.values()} == {("unknown", "not looked at: you may not read the instance")}
    assert existing(reading(None, None, "vm", "vmi")).state == "unknown"
    assert existing(reading(vm(), None, "vmi")).says == "VM web in namespace shop"


def test_a_secondary_network_is_judged_by_the_dial() -> None:
    lan = reading(vm(), vmi(network={"multus": {"networkName": "lan"}}))
    assert "vm-pod-network" not in facts(lan)
    opened = {check.code: check for check in after_dial(lan, 22, None)}
    assert (opened["vm-pod-network"].state, opened["vm-port"].state) == ("ok", "ok")
    assert "virt-api reached it" in opened["vm-pod-network"].says
    error = GuestUnready("only secondary networks", code="secondary-only", next_step="go there yourself")
    refused = {check.code: check for check in reversed(list(after_dial(lan, 22, error)))}
    assert (refused["vm-pod-network"].state, refused["vm-pod-network"].says) == ("failed", error.message)
    assert refused["vm-port"].says == "port 22 did not open: see 'first is the pod network'"
    filtered = {check.code: check for check in after_dial(lan, 22, GuestUnready("no answer", code="port-filtered"))}
    assert (filtered["vm-port"].state, filtered["vm-pod-network"].state) == ("failed", "unknown")


def test_neither_agent_nor_user_is_needed_to_connect() -> None:
    found = {check.code: check for check in from_guest(reading(vm(), vmi(conditions=[])), NOBODY)}
    assert {check.state for check in found.values()} == {"unknown"}
    assert "USER@TARGET" in (found["vm-user"].next_step or "")
    login = GuestLogin(user="ops", user_origin="settings", port=2222, port_origin="settings")
    known = {check.code: check for check in from_guest(reading(vm(), vmi()), login)}
    assert {check.state for check in known.values()} == {"ok"}
    assert "ops" in known["vm-user"].says


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (None, None),
        ("start it: virtctl start web -n shop", "start it: virtctl start web -n shop"),
        ("admit it there; see every check: vmbroker doctor vm/web/shop", "admit it there"),
    ],
)
def test_nobody_who_runs_doctor_is_sent_to_doctor(step: str | None, left: str | None) -> None:
    assert elsewhere(step) == left
    assert "doctor" not in (elsewhere("see every check: vmbroker doctor vm/web/shop") or "doctor")


NAMES = st.text(alphabet="abcxyz-.", min_size=1, max_size=40) | st.sampled_from(
    ["paused", "not-found", "port-closed", "failed"]
)


@given(name=NAMES, phase=st.sampled_from(["Running", "Scheduling", "Failed", "Unknown", ""]), port=st.integers(1, 65_535))
def test_property_every_fact_is_told_once_whatever_the_names(name: str, phase: str, port: int) -> None:
    found = reading(vm(name), vmi(name=name, phase=phase))
    checks = [*from_objects(found, port), *after_dial(found, port, None)]
    assert set(FACTS) | {"vm-port"} == {check.code for check in checks}
    error = obstacle(found, port)
    first = next((check for check in checks if check.state == "failed"), None)
    assert (first.error_code if first else None) == (error.code if error else None)
