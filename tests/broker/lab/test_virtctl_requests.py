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
NOT_SERVED = {
    "PUT …/virtualmachines/v-1/migrate": "migrations are not played",
    "DELETE …/virtualmachineinstancemigrations/kubevirt-migrate-vm-gzrl5": "the lab's API takes no writes",
    "POST …/services": "the lab's API takes no writes",
    "POST …/secrets": "the lab's API takes no writes",
    "PATCH …/virtualmachines/v-off": "the lab's API takes no writes",
    "PATCH …/virtualmachines/v-1": "the lab's API takes no writes",
    "PATCH …/secrets/v-off-ssh-key-qx48c": "the lab's API takes no writes",
    "PUT …/secrets/v-off-ssh-key-qx48c": "the lab's API takes no writes",
}
"""Requests that the lab is not asked, by method and the path after the namespace, each with its reason."""


def _commands() -> list[Json]:
    whole: list[Json] = json.loads((FOLDER / "virtctl-requests.json").read_text())["commands"]
    return whole


def _plant_named(objects: Objects) -> None:
    """v-1 runs (RerunOnFailure: a stop of it is a request) and v-off is stopped in team-d.

    v-off has a secret with a key from its first add-ssh-key on.
    """
    for name, is_running in (("v-1", True), ("v-off", False)):
        vm, vmi = objects.get(VM, "team-a", "web-1"), objects.get(VMI, "team-a", "web-1")
        assert vm is not None and vmi is not None
        vm["metadata"] = {"name": name, "namespace": "team-d"}
        vm["spec"] = {**vm["spec"], "runStrategy": "RerunOnFailure" if is_running else "Halted"}
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


def _name_of(request: Json) -> str:
    method, path = request["method"], request["path"].partition("?")[0]
    return f"{method} …/{path.partition('/namespaces/')[2].partition('/')[2] or path}"


def _tells_the_answer(command: Json) -> bool:
    """Whether what virtctl printed holds the server's message: of scp, ssh alone speaks."""
    return command["exit"] != 0 and not command["says"].startswith("exit status")


async def test_each_request_is_answered_as_captured(world: World) -> None:
    accepts: dict[str, Any] = json.loads((FOLDER / "virtctl-requests.json").read_text())["accept"]
    asked: list[str] = []
    wrong: list[str] = []
    for command in _commands():
        last = None
        for request in command["requests"]:
            if _name_of(request) in NOT_SERVED:
                continue
            headers = {} if request["accept"] is None else {"Accept": accepts[request["accept"]]}
            # A lifecycle call's body comes without a Content-Type.
            assert request.get("sends", "no Content-Type") == "no Content-Type", request
            last = await world.ask(request["method"], request["path"], headers=headers, sent=request.get("body"))
            found = (last.status, last.headers.get("Content-Type"))
            if found != (request["status"], request["content_type"]):
                wrong.append(f"{command['command']}: {_name_of(request)}: {found}")
            asked.append(request["method"])
        if last is not None and last.status >= 400 and _tells_the_answer(command):
            message = last.body["message"] if isinstance(last.body, dict) else last.body
            if message not in command["says"]:
                wrong.append(f"{command['command']}: {message}")
    assert wrong == []
    assert (asked.count("GET") >= 20, asked.count("PUT")) == (True, 5)


def test_no_reason_stands_for_a_request_that_is_gone(shared: Path) -> None:
    assert set(NOT_SERVED) <= {_name_of(request) for command in _commands() for request in command["requests"]}
