"""The engine looks at what was asked for and at nothing else, and moves guests with their instances."""

from __future__ import annotations

import pytest

from broker.lab.machines.view import PODS, VMIS, VMS, Json, condition
from broker.lab.objects import Objects
from broker.lab.seed import plant
from tests.broker.lab.machines.stage import Stage, machine

NETWORK = "127.9.8"


def seeded(namespace: str, name: str) -> Stage:
    """A stage on the whole seed, for one of its VMs."""
    objects = Objects()
    plant(objects, network=NETWORK, keys=("ssh-ed25519 AAAA somebody",))
    return Stage(namespace=namespace, name=name, objects=objects)


def test_a_seed_stays_as_it_is() -> None:
    stage = seeded("shop", "web")
    before = stage.objects.resource_version
    stage.settle()
    # What was put is not taken for a wish either, as complete as it is.
    for resource in (VMS, VMIS, PODS):
        for obj in list(stage.objects.select(resource)):
            stage.objects.put(resource, obj)
    after = stage.objects.resource_version
    stage.settle()
    assert after > before and stage.objects.resource_version == after
    assert stage.steps == []


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("shop", "web"), ("shop", "paused"), ("shop", "dual"), ("shop", "lone"), ("infra", "quiet"), ("infra", "lan-first")],
)
def test_a_running_vm_of_the_seed_is_settled_when_looked_at(namespace: str, name: str) -> None:
    stage = seeded(namespace, name)
    stage.engine.look_at(stage.key)
    stage.settle()
    instance = [step for step in stage.steps if step[1] != "virt-controller/vm"]
    assert instance == []
    assert [step[2] for step in stage.steps if step[1] == "virt-controller/vm"] in ([], ["vm finalizer", "vm status"])


def test_the_starting_vm_of_the_seed_goes_on_starting() -> None:
    stage = seeded("team-a", "starting")
    stage.settle()
    assert stage.vmi()["status"]["phase"] == "Scheduling"


def test_start_and_stop_of_the_stopped_vm_move_its_guest() -> None:
    stage = seeded("shop", "stopped")
    assert stage.call("start") == 202
    stage.settle()
    vmi = stage.vmi()
    assert (vmi["status"]["phase"], stage.vm()["status"]["printableStatus"]) == ("Running", "Running")
    assert vmi["status"]["interfaces"][0]["ipAddress"] == "10.128.0.19"
    assert vmi["status"]["guestOSInfo"]["id"] == "fedora"
    assert stage.orders == ["start"]
    assert stage.call("stop") == 202
    stage.settle()
    assert stage.get(VMIS) is None
    assert "created" not in stage.vm()["status"] and "ready" not in stage.vm()["status"]
    assert stage.orders == ["start", "stop", "release"]


def test_a_restart_keeps_what_the_networks_told_and_takes_another_address() -> None:
    stage = seeded("infra", "docker")
    old = stage.vmi()
    assert stage.call("restart") == 202
    stage.settle()
    new = stage.vmi()
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert [nic["interfaceName"] for nic in new["status"]["interfaces"]] == ["eth0", "docker0"]
    assert [nic["ipAddress"] for nic in new["status"]["interfaces"]] == ["10.128.0.19", "172.17.0.1"]
    assert stage.orders == ["stop", "release", "start"]


def test_a_forced_stop_is_quicker_than_a_gentle_one() -> None:
    took = []
    for body in ({}, {"gracePeriod": 0}):
        stage = seeded("shop", "db")
        stage.call("stop", body)
        stage.settle()
        took.append(next(at_s for at_s, _, name in stage.steps if name == "guest ends"))
    assert took[1] < took[0]


def test_pause_resume_and_softreboot_reach_the_guest() -> None:
    stage = seeded("shop", "web")
    # The seed's nodes have virt-handlers.
    assert stage.call("pause") == 200
    stage.settle()
    assert stage.vm()["status"]["printableStatus"] == "Paused"
    assert (condition(stage.vmi(), "Ready") or {})["reason"] == "ReadinessGatesNotReady"
    assert stage.call("pause") == 409
    assert stage.call("unpause") == 200
    stage.settle()
    assert (condition(stage.vmi(), "Ready") or {})["status"] == "True"
    assert stage.call("softreboot") == 200
    stage.settle(limit_s=2)
    assert condition(stage.vmi(), "AgentConnected") is None
    stage.settle()
    assert condition(stage.vmi(), "AgentConnected") is not None
    assert stage.orders == ["pause", "resume", "reboot"]


def test_the_agent_tells_late_what_only_it_knows() -> None:
    stage = Stage(name="web")
    networks: list[Json] = [{"name": "default", "pod": {}}, {"name": "blue", "multus": {"networkName": "vlan100"}}]
    interfaces = [{"name": "default", "masquerade": {}}, {"name": "blue", "bridge": {}}]
    domain = {"devices": {"interfaces": interfaces}}
    stage.put(VMS, machine("web", "Always", networks=networks, domain=domain))
    stage.settle(until=lambda stage: "multus" in [name for *_, name in stage.steps])
    stage.settle(until=lambda stage: bool((stage.get(VMIS) or {})["status"].get("interfaces")))
    first = {"name": "default", "podInterfaceName": "eth0"}
    second = {"infoSource": "multus-status", "name": "blue", "podInterfaceName": "pod16477688c0e"}
    assert stage.vmi()["status"]["interfaces"] == [first, second]
    stage.settle(limit_s=5)
    pod, blue = stage.vmi()["status"]["interfaces"]
    assert (pod["ipAddress"], pod["infoSource"]) == ("10.128.0.19", "domain")
    assert "ipAddress" not in blue and blue["infoSource"] == "domain, multus-status"
    stage.settle()
    pod, blue = stage.vmi()["status"]["interfaces"]
    assert blue["ipAddress"].startswith("192.168.") and blue["infoSource"] == "domain, guest-agent, multus-status"
    came = {name: at_s for at_s, _, name in stage.steps}
    assert 17 < came["agent tells"] - came["guest runs"] < 19


def test_a_vm_that_no_node_fits_says_so() -> None:
    stage = Stage(name="web")
    stage.put(VMS, machine("web", "Always", nodeSelector={"disk": "fast"}))
    stage.settle()
    assert stage.vm()["status"]["printableStatus"] == "ErrorUnschedulable"
    assert stage.call("stop") == 202
    stage.settle()
    assert (stage.get(VMIS), stage.pod(), stage.vm()["status"]["printableStatus"]) == (None, None, "Stopped")


def test_a_missing_claim_keeps_the_pod_from_being_made() -> None:
    stage = Stage(name="web")
    volumes = [{"name": "root", "persistentVolumeClaim": {"claimName": "disk"}}]
    stage.put(VMS, machine("web", "Always", volumes=volumes))
    stage.settle(limit_s=10)
    assert (stage.pod(), stage.vm()["status"]["printableStatus"]) == (None, "ErrorPvcNotFound")
    claim = {"metadata": {"name": "disk", "namespace": "team-e"}, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    stage.put("persistentvolumeclaims", claim)
    stage.settle()
    assert stage.vm()["status"]["printableStatus"] == "Running"


def test_once_runs_once() -> None:
    stage = Stage(name="web")
    stage.put(VMS, machine("web", "Once"))
    stage.settle()
    stage.engine.guest_ends(stage.key, "Succeeded")
    stage.settle()
    assert (stage.vmi()["status"]["phase"], stage.vm()["status"]["printableStatus"]) == ("Succeeded", "Stopped")


def test_nothing_is_kept_of_a_vm_that_is_gone() -> None:
    stage = Stage(name="web")
    stage.put(VMS, machine("web", "Always"))
    stage.settle()
    vm = stage.vm()
    stage.put(VMS, {**vm, "metadata": {**vm["metadata"], "deletionTimestamp": "2027-01-15T08:00:00Z"}})
    stage.settle()
    assert [stage.get(VMS), stage.get(VMIS), stage.pod()] == [None, None, None]
    assert list(stage.objects.select("controllerrevisions.apps")) == []
    before = stage.objects.resource_version
    stage.settle()
    assert stage.objects.resource_version == before


def test_steps_of_nothing_are_none() -> None:
    stage = Stage(name="web")
    stage.engine.look_at(stage.key)
    stage.settle()
    assert stage.steps == []


@pytest.mark.parametrize("strategy", ["Halted", "Manual"])
def test_a_start_that_asks_for_it_ends_paused_and_the_next_one_does_not(strategy: str) -> None:
    stage = Stage(name="web")
    stage.put(VMS, machine("web", strategy))
    stage.settle()
    assert stage.call("start", {"paused": True}) == 202
    stage.settle()
    assert stage.vmi()["spec"]["startStrategy"] == "Paused"
    assert (condition(stage.vmi(), "Paused") or {})["reason"] == "PausedByUser"
    assert (condition(stage.vmi(), "Ready") or {})["reason"] == "ReadinessGatesNotReady"
    assert stage.vm()["status"]["printableStatus"] == "Paused"
    assert stage.orders == ["start", "pause"]
    assert stage.call("unpause") == 200
    stage.settle()
    assert (condition(stage.vmi(), "Paused"), stage.orders[2:]) == (None, ["resume"])
    assert stage.vm()["status"]["printableStatus"] == "Running"
    assert stage.call("restart") == 202
    stage.settle()
    assert "startStrategy" not in stage.vmi()["spec"]
    assert stage.vm()["status"]["printableStatus"] == "Running"
