"""What virt-api decides about start, stop, restart, pause, unpause and softreboot, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from broker.lab.power import Accepted, BadBody, Options, Refusal, decide, options_in

Json = dict[str, Any]


def vm(strategy: str | None = "Always", **status: Any) -> Json:
    """A VM; without a strategy it uses the legacy `running`."""
    spec: Json = {"running": False} if strategy is None else {"runStrategy": strategy}
    return {"metadata": {"name": "a", "uid": "v"}, "spec": spec, "status": {"printableStatus": "x", **status}}


def vmi(phase: str = "Running", *conditions: str, **spec: Any) -> Json:
    """Its instance, with conditions that are True."""
    told = [{"type": kind, "status": "True"} for kind in conditions]
    return {"metadata": {"name": "a", "uid": "i"}, "spec": spec, "status": {"phase": phase, "conditions": told}}


REFUSED = [
    ("start", vm(), vmi(), {}, 409, "VM is already running"),
    ("start", vm(), vmi("Scheduling"), {}, 409, "VM is already running"),
    ("start", vm(), None, {}, 409, "Always does not support manual start requests"),
    ("start", vm("Once"), vmi("Succeeded"), {}, 409, "Once does not support manual start requests"),
    ("start", vm("RerunOnFailure"), vmi("Failed"), {}, 409, "RerunOnFailure does not support starting VM from failed state"),
    ("start", vm("Manual", stateChangeRequests=[{"action": "Start"}]), None, {}, 500,
     "unable to complete request: stop/start already underway"),
    ("start", None, None, {}, 404, 'virtualmachine.kubevirt.io "a" not found'),
    ("stop", vm("Halted"), None, {}, 409, "VM is not running"),
    ("stop", vm("Manual"), vmi("Succeeded"), {}, 409, "VM is not running"),
    ("stop", vm("Halted"), vmi(), {}, 409, "Halted only supports manual stop requests with a shorter graceperiod"),
    ("stop", vm("Halted"), vmi(terminationGracePeriodSeconds=30), {"grace_s": 30}, 409,
     "Halted only supports manual stop requests with a shorter graceperiod"),
    ("restart", vm("Halted"), None, {}, 409, "RunStategy Halted does not support manual restart requests"),
    ("restart", vm("Once"), vmi(), {}, 409, "RunStategy Once does not support manual restart requests"),
    ("restart", vm("Manual"), None, {}, 409, "VM is not running: Halted"),
    ("restart", vm(), vmi(), {"grace_s": 3}, 400, "For force restart, only gracePeriod=0 is supported for now"),
    ("restart", vm(), vmi(), {"grace_s": -1}, 400, "gracePeriod has to be greater or equal to 0"),
    ("restart", vm(stateChangeRequests=[{"action": "Stop"}]), vmi(), {}, 500,
     "unable to complete request: stop/start already underway"),
    ("pause", vm(), None, {}, 404, 'virtualmachineinstance.kubevirt.io "a" not found'),
    ("pause", vm(), vmi("Scheduled"), {}, 409, "VM is not running"),
    ("pause", vm(), vmi("Running", "Paused"), {}, 409, "VMI is already paused"),
    ("pause", vm(), vmi(livenessProbe={"tcpSocket": {}}), {}, 403,
     "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported"),
    ("unpause", vm(), vmi(), {}, 409, "VMI is not paused"),
    ("unpause", vm(), vmi("Scheduled"), {}, 409, "VMI is not running"),
    ("unpause", vm(snapshotInProgress="s"), vmi("Running", "Paused"), {}, 409, "VM snapshot is in progress"),
    ("softreboot", vm(), vmi("Succeeded"), {}, 409, "VM is not running"),
    ("softreboot", vm(), vmi("Running", "Paused"), {}, 409, "VMI is paused"),
    ("softreboot", vm(), vmi(domain={"features": {"acpi": {"enabled": False}}}), {}, 409,
     "VMI neither have the agent connected nor the ACPI feature enabled"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "machine", "instance", "options", "status", "cause"), REFUSED)
def test_refused(verb: str, machine: Json | None, instance: Json | None, options: Json, status: int, cause: str) -> None:
    decided = decide(verb, Options(**options), name="a", vm=machine, vmi=instance)
    assert isinstance(decided, Refusal)
    assert (decided.status, decided.cause) == (status, cause)


@pytest.mark.parametrize(
    ("verb", "machine", "instance", "strategy", "actions"),
    [
        ("start", vm("Halted"), None, "Always", []),
        ("start", vm("Halted"), vmi("Succeeded"), "Always", []),
        ("start", vm("Manual"), None, "Manual", ["Start"]),
        ("start", vm("Manual"), vmi("Failed"), "Manual", ["Stop", "Start"]),
        ("start", vm("RerunOnFailure"), vmi("Succeeded"), "RerunOnFailure", ["Stop", "Start"]),
        ("stop", vm(), vmi(), "Halted", []),
        ("stop", vm(), None, "Halted", []),
        ("stop", vm("Once"), vmi(), "Halted", []),
        ("stop", vm("Manual"), vmi(), "Manual", ["Stop"]),
        ("stop", vm("Manual", stateChangeRequests=[{"action": "Start"}]), vmi(), "Manual", ["Stop"]),
        ("restart", vm(), vmi(), "Always", ["Stop", "Start"]),
    ],
)
def test_accepted(verb: str, machine: Json, instance: Json | None, strategy: str, actions: list[str]) -> None:
    decided = decide(verb, Options(), name="a", vm=machine, vmi=instance)
    assert isinstance(decided, Accepted) and decided.vm is not None
    requests = decided.vm["status"].get("stateChangeRequests", [])
    assert (decided.status, decided.vm["spec"]["runStrategy"], [one["action"] for one in requests]) == (202, strategy, actions)
    assert all(one["uid"] == "i" for one in requests if one["action"] == "Stop")


def test_a_start_that_failed_is_forgotten_by_a_request() -> None:
    decided = decide("start", Options(), name="a", vm=vm("Manual", startFailure={"consecutiveFailCount": 2}), vmi=None)
    assert isinstance(decided, Accepted) and decided.vm is not None
    assert "startFailure" not in decided.vm["status"]


def test_the_legacy_field_is_flipped_where_it_is_used() -> None:
    decided = decide("start", Options(), name="a", vm=vm(None), vmi=None)
    assert isinstance(decided, Accepted) and decided.vm is not None
    assert decided.vm["spec"] == {"running": True}


def test_a_paused_start_is_a_request() -> None:
    decided = decide("start", Options(is_paused=True), name="a", vm=vm("Halted"), vmi=None)
    assert isinstance(decided, Accepted) and decided.vm is not None
    assert decided.vm["status"]["stateChangeRequests"] == [{"action": "Start", "data": {"paused": "true"}}]


@pytest.mark.parametrize(("verb", "options", "seconds"), [("restart", Options(grace_s=0), 1), ("stop", Options(grace_s=0), 0)])
def test_in_a_hurry_the_guest_gets_less_time(verb: str, options: Options, seconds: int) -> None:
    decided = decide(verb, options, name="a", vm=vm(), vmi=vmi())
    assert isinstance(decided, Accepted) and decided.vmi is not None
    assert decided.vmi["spec"]["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize(("verb", "instance"), [("pause", vmi()), ("unpause", vmi("Running", "Paused")), ("softreboot", vmi())])
def test_what_virt_handler_does_changes_no_object_here(verb: str, instance: Json) -> None:
    assert decide(verb, Options(), name="a", vm=None, vmi=instance) == Accepted(status=200, asks=verb)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b"", Options()),
        (b" null ", Options()),
        (b"{}", Options()),
        (b'{"dryRun":["All"],"paused":true}', Options(is_dry_run=True, is_paused=True)),
        (b'{"gracePeriod":0}', Options(grace_s=0)),
        (b'{"gracePeriodSeconds":5}', Options(grace_s=5)),
    ],
)
def test_bodies_are_read(body: bytes, options: Options) -> None:
    assert options_in(body) == options


@pytest.mark.parametrize("body", [b"no", b"[1]", b'"x"', b'{"dryRun":"All"}', b'{"gracePeriod":"0"}', b"\xff", b'{"paused":1}'])
def test_bodies_of_another_kind_are_not(body: bytes) -> None:
    with pytest.raises(BadBody):
        options_in(body)
