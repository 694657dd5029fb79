"""What virtctl asks is answered by the lab with the captured status and content type, as far as the lab serves it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.lab.objects import Objects
from tests.broker.lab.captures import FOLDER, Json
from tests.broker.lab.replay import Credentials, World, planted_world, serving

VM, VMI = "virtualmachines.kubevirt.io", "virtualmachineinstances.kubevirt.io"
NOT_SERVED = ("POST", "PATCH", "DELETE", "PUT")
"""Writing is no part of this lab yet; lifecycle calls have tests of their own."""


def _commands() -> list[Json]:
    whole: list[Json] = json.loads((FOLDER / "virtctl-requests.json").read_text())["commands"]
    return whole


def _plant_named(objects: Objects) -> None:
    """v-1 runs and v-off is stopped in team-d; v-off has a secret with a key from its first add-ssh-key on."""
    for name, is_running in (("v-1", True), ("v-off", False)):
        vm, vmi = objects.get(VM, "team-a", "web-1"), objects.get(VMI, "team-a", "web-1")
        assert vm is not None and vmi is not None
        vm["metadata"] = {"name": name, "namespace": "team-d"}
        vm["status"] = (
            {"created": True, "ready": True, "printableStatus": "Running"} if is_running else {"printableStatus": "Stopped"}
        )
        stored = objects.put(VM, vm)
        if is_running:
            owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": name, "uid": stored["metadata"]["uid"]}
            vmi["metadata"] = {"name": name, "namespace": "team-d", "ownerReferences": [owner]}
            objects.put(VMI, vmi)
    metadata = {"name": "v-off-ssh-key-qx48c", "namespace": "team-d"}
    objects.put("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}})


@pytest.fixture
async def world(tmp_path: Path, shared: Path) -> AsyncIterator[World]:
    """The captured world with virtctl's two machines."""
    objects = planted_world()
    _plant_named(objects)
    async with serving(objects, Credentials.make(tmp_path)) as running:
        yield running


async def test_each_reading_request_is_answered_as_captured(world: World) -> None:
    accepts: dict[str, Any] = json.loads((FOLDER / "virtctl-requests.json").read_text())["accept"]
    asked = 0
    for command in _commands():
        for request in command["requests"]:
            if request["method"] in NOT_SERVED:
                continue
            headers = {} if request["accept"] is None else {"Accept": accepts[request["accept"]]}
            answer = await world.ask(request["method"], request["path"], headers=headers)
            found = (answer.status, answer.headers.get("Content-Type"))
            assert found == (request["status"], request["content_type"]), (command["command"], request["path"])
            if command.get("says") and answer.status == 500 and isinstance(answer.body, dict):
                assert answer.body["message"] in command["says"]
            asked += 1
    assert asked >= 20
