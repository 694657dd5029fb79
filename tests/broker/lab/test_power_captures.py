"""The lifecycle calls answered by the real virt-api are sent to the lab over TLS, and the answers compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.lab.lifecycle import VMIS, VMS
from tests.broker.lab.captures import FOLDER, Json, read_capture
from tests.broker.lab.replay import Credentials, World, world_for
from tests.broker.lab.shapes import differences

NAMES = sorted(
    path.stem
    for pattern in ("vm-*", "vmi-*", "userlist")
    for path in FOLDER.glob(f"{pattern}.json")
    if not path.stem.startswith("vm-migrate")
)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """One CA for all tests of this file, for making it takes time."""
    return Credentials.make(tmp_path_factory.mktemp("credentials"))


@pytest.mark.parametrize("name", NAMES or ["vm-start-running"])
async def test_a_lifecycle_call_gets_the_captured_answer(name: str, shared: Path, credentials: Credentials) -> None:
    capture = read_capture(name)
    async with world_for(capture, credentials) as world:
        _plant_stopped(world)
        before = world.objects.resource_version
        answer = await world.ask(capture.method, capture.path, headers=capture.headers, sent=capture.sent)
        changed = world.objects.resource_version != before
    assert (answer.status, answer.reason) == (capture.status, capture.reason)
    assert answer.headers.get("Content-Type") == capture.answer_headers.get("Content-Type")
    assert differences(capture.body, answer.body) == []
    assert not changed


def test_there_are_captures_to_judge_by(shared: Path) -> None:
    assert len(NAMES) >= 8


@pytest.mark.parametrize(
    ("path", "sent", "status", "said"),
    [
        ("virtualmachines/none/start", {}, 404, 'virtualmachine.kubevirt.io "none" not found'),
        ("virtualmachineinstances/none/pause", {}, 404, 'virtualmachineinstance.kubevirt.io "none" not found'),
        ("virtualmachines/web-1/start", ["x"], 400, "Can not unmarshal Request body to struct, error: "),
        ("virtualmachines/web-1/restart", {"gracePeriodSeconds": 5}, 400, "For force restart, only gracePeriod=0"),
        ("virtualmachineinstances/web-1/pause", {}, 400, "No virt-handler on node node-1 found"),
    ],
)
async def test_refusals_without_a_capture(path: str, sent: object, status: int, said: str, credentials: Credentials) -> None:
    async with world_for(read_capture("vm-start-running"), credentials) as world:
        answer = await world.ask("PUT", f"{_BASE}/team-a/{path}", sent=sent)
    assert answer.status == status
    assert said in answer.body["message"]


async def test_who_may_not_update_is_refused(credentials: Credentials) -> None:
    async with world_for(read_capture("vm-start-running"), credentials) as world:
        before = world.objects.resource_version
        refused = await world.ask("PUT", f"{_BASE}/team-a/virtualmachines/stopped-1/start", user="norights", sent={})
        absent = await world.ask("PUT", f"{_BASE}/team-a/virtualmachines/stopped-1/addinterface", sent={})
        assert world.objects.resource_version == before
    assert (refused.status, absent.status) == (403, 404)
    assert 'User "norights" cannot update resource "virtualmachines/start"' in refused.body["message"]


_BASE = "/apis/subresources.kubevirt.io/v1/namespaces"


async def test_start_and_stop_flip_the_run_strategy(credentials: Credentials) -> None:
    async with world_for(read_capture("vm-start-running"), credentials) as world:
        started = await world.ask("PUT", f"{_BASE}/team-a/virtualmachines/stopped-1/start", sent={})
        assert (started.status, started.body) == (202, "")
        assert _vm(world, "stopped-1")["spec"]["runStrategy"] == "Always"
        stopped = await world.ask("PUT", f"{_BASE}/team-a/virtualmachines/web-1/stop", sent={"gracePeriod": 0})
        assert stopped.status == 202
        assert _vm(world, "web-1")["spec"]["runStrategy"] == "Halted"
        vmi = world.objects.get(VMIS, "team-a", "web-1")
        assert vmi is not None and vmi["spec"]["terminationGracePeriodSeconds"] == 0


def _vm(world: World, name: str) -> Json:
    found = world.objects.get(VMS, "team-a", name)
    assert found is not None
    return found


def _plant_stopped(world: World) -> None:
    """The VMs of team-d that the captures name and no captured list holds."""
    for name, strategy, status in (
        ("l-halted", "Halted", {"printableStatus": "Stopped"}),
        ("l-manual", "Manual", {"printableStatus": "Starting", "stateChangeRequests": [{"action": "Start"}]}),
    ):
        metadata = {"name": name, "namespace": "team-d"}
        vm = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "status": status}
        world.objects.put(VMS, {**vm, "spec": {"runStrategy": strategy, "template": {"spec": {}}}})
