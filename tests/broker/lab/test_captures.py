"""The lab answers what the real servers answered: every captured reading request is sent again and the answers compared."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.lab.captures import FOLDER, Capture, Json, read_capture, resource_of
from tests.broker.lab.replay import Answer, Credentials, World, at_version, replace_object, world_for
from tests.broker.lab.shapes import differences

READING = (
    "auth-*", "discovery-*", "endpointslice-*", "get-*", "guestosinfo-*", "impersonate-*", "kubevirt-version", "list-*",
    "openapi-v3-index", "portforward-*", "sar-*", "selfsubjectreview-*", "ssar-*", "ssrr-*", "tokenreview-*",
    "unauthorized", "userlist", "version", "watch-*",
)  # fmt: skip
LEFT_OUT: dict[str, str] = {}
"""Captures of these groups that are not replayed, each with its reason."""
EXPIRED = ("list-continue-expired", "list-exact-expired", "watch-resourceversion-expired")

NAMES = sorted({path.stem for pattern in READING for path in FOLDER.glob(f"{pattern}.json")} - set(LEFT_OUT))


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """One CA for all tests of this file, for making it takes time."""
    return Credentials.make(tmp_path_factory.mktemp("credentials"))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("watch-")] or ["version"])
async def test_answer_is_the_captured_one(name: str, shared: Path, credentials: Credentials) -> None:
    capture = read_capture(name)
    async with world_for(capture, credentials) as world:
        answer = await _replay(capture, world)
    assert (answer.status, answer.reason) == (capture.status, capture.reason)
    assert answer.headers.get("Content-Type") == capture.answer_headers.get("Content-Type")
    assert bool(answer.headers.get("Etag")) == bool(capture.answer_headers.get("Etag"))
    assert _compare(capture, answer.body) == []


async def test_watches_tell_the_captured_events(shared: Path, credentials: Credentials) -> None:
    # Side by side, each in a lab of its own: they last for seconds, and when bookmarks come depends on how long.
    names = [name for name in NAMES if name.startswith("watch-")]
    found = await asyncio.gather(*(_watch_differences(read_capture(name), credentials) for name in names))
    assert len(names) >= 12
    assert {name: said for name, said in zip(names, found, strict=True) if said} == {}


def test_no_reason_stands_for_a_capture_that_is_gone(shared: Path) -> None:
    assert [name for name in LEFT_OUT if not (FOLDER / f"{name}.json").exists()] == []


async def _watch_differences(capture: Capture, credentials: Credentials) -> list[str]:
    async with world_for(capture, credentials) as world:
        if capture.status >= 400:
            answer = await world.ask(capture.method, capture.path, headers=capture.headers)
            return differences([capture.status, capture.body], [answer.status, answer.body])
        seen = await _watch(capture, world)
    return differences(_without_repeats(capture.events), _without_repeats(seen))


async def _replay(capture: Capture, world: World) -> Answer:
    headers, path, user = dict(capture.headers), capture.path, capture.user
    if capture.name in EXPIRED:
        world.objects.compact()
    if capture.name == "unauthorized":
        user = "nobody-knows"
    if capture.name == "discovery-not-modified":
        whole = await world.ask("GET", path, headers={"Accept": headers["Accept"]})
        assert headers["If-None-Match"] != whole.headers["Etag"]
        headers["If-None-Match"] = whole.headers["Etag"]
    if capture.name == "list-vms-all-page2":
        version = world.objects.resource_version
        path = re.sub(r"continue=([^&]+)", lambda found: f"continue={_token_at(found[1], version)}", path)
    if capture.name == "impersonate-allowed":
        _copy_vm(world, "team-a", "web-1", "web-2")
    return await world.ask(capture.method, path, user=user, headers=headers, sent=capture.sent)


def _compare(capture: Capture, body: Any) -> list[str]:
    expected = capture.body
    if isinstance(expected, dict) and isinstance(body, str):
        # JSON under another content type, which the caller has compared.
        body = json.loads(body)
    if capture.name in ("version", "kubevirt-version"):
        return differences(expected, body, free=frozenset({"gitVersion", "gitCommit", "goVersion", "platform"}))
    if "cut" in capture.note:
        return differences(expected, _cut(expected, body))
    if capture.name.startswith("ssrr-"):
        return differences(_ordered_rules(expected), _ordered_rules(body))
    if "resources" in expected and capture.name.startswith("discovery-"):
        return differences(_by_name(expected), _by_name(body))
    return differences(expected, body)


def _cut(expected: Any, body: Any) -> Any:
    """Keep of our answer what a cut capture kept: entries of a discovery list by name, members of the OpenAPI index."""
    if isinstance(expected, dict) and isinstance(body, dict):
        if "paths" in expected:
            return {"paths": {path: body["paths"][path] for path in expected["paths"] if path in body["paths"]}}
        return {key: _cut(expected.get(key), value) for key, value in body.items()}
    if isinstance(expected, list) and isinstance(body, list) and expected and isinstance(expected[0], dict):
        ours = {_entry_name(entry): entry for entry in body}
        return [_cut(entry, ours[_entry_name(entry)]) for entry in expected if _entry_name(entry) in ours]
    return body


def _entry_name(entry: Json) -> str:
    metadata = entry.get("metadata") or {}
    return str(entry.get("resource") or entry.get("subresource") or entry.get("version") or metadata.get("name") or "")


def _by_name(listing: Json) -> Json:
    """A resource list in the order of names: for custom resources the real server's own order is that of a map."""
    return {**listing, "resources": sorted(listing["resources"], key=lambda entry: str(entry["name"]))}


def _ordered_rules(review: Json) -> Json:
    """A rules review in a fixed order: the real server's is that of the bindings in its cache, and changes."""
    status = review["status"]
    rules = [{**rule, "resources": sorted(rule["resources"])} for rule in status["resourceRules"]]
    urls = sorted(status["nonResourceRules"], key=json.dumps)
    return {**review, "status": {**status, "resourceRules": sorted(rules, key=json.dumps), "nonResourceRules": urls}}


def _token_at(token: str, version: int) -> str:
    body = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps({**body, "rv": version}).encode()).decode().rstrip("=")


def _copy_vm(world: World, namespace: str, name: str, copy: str) -> None:
    vm = world.objects.get("virtualmachines.kubevirt.io", namespace, name)
    assert vm is not None
    vm["metadata"] = {"name": copy, "namespace": namespace}
    world.objects.put("virtualmachines.kubevirt.io", vm)


async def _watch(capture: Capture, world: World) -> list[Json]:
    """Start the captured watch, make the changes that it saw, and return the events until the stream ends."""
    steps = list(_steps(capture))
    if "resourceVersion=" in capture.path and steps:
        _plant_before(capture, world, steps)
    if capture.name in EXPIRED:
        world.objects.compact()
    path = at_version(capture.path, world.objects.resource_version)
    async with asyncio.timeout(20), world.request(capture.method, path, headers=capture.headers) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, capture.answer_headers["Content-Type"])
        if "resourceVersion=" in capture.path:
            for kind, obj in steps:
                _make(capture, world, kind, obj)
        return [json.loads(line) async for line in response.content if line.strip()]


def _steps(capture: Capture) -> Iterator[tuple[str, Json]]:
    """The changes behind the events: (event type, object); of a Table event the object is its row's."""
    for event in capture.events:
        obj = event["object"]
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            continue
        if obj["kind"] == "Table":
            metadata = obj["rows"][0]["object"]["metadata"]
            obj = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": {}}
        yield event["type"], obj


def _plant_before(capture: Capture, world: World, steps: list[tuple[str, Json]]) -> None:
    """Make the object as it was before the first event, where that event is not its birth."""
    kind, obj = steps[0]
    if kind == "DELETED":
        replace_object(world.objects, resource_of(capture), obj)
    elif kind == "MODIFIED":
        labels = {key: value for key, value in obj["metadata"]["labels"].items() if key != "colour"}
        replace_object(world.objects, resource_of(capture), {**obj, "metadata": {**obj["metadata"], "labels": labels}})


def _make(capture: Capture, world: World, kind: str, obj: Json) -> None:
    resource, metadata = resource_of(capture), obj["metadata"]
    if kind == "DELETED" and "labelSelector" in capture.path:
        world.objects.put(resource, {**obj, "metadata": {**metadata, "labels": {"tier": "silver"}}})
    elif kind == "DELETED":
        world.objects.delete(resource, metadata["namespace"], metadata["name"])
    else:
        world.objects.put(resource, obj)
    if "fieldSelector" in capture.path:
        # A neighbour changes too, which the watch must not tell.
        neighbour = {"name": "f-2", "namespace": metadata["namespace"], "labels": {"seen": kind}}
        world.objects.put(resource, {**obj, "metadata": neighbour})


def _without_repeats(events: list[Json]) -> list[Json]:
    """Events with one bookmark for several in a row: their number hangs on the clock."""
    return [
        event
        for index, event in enumerate(events)
        if event["type"] != "BOOKMARK" or index == 0 or events[index - 1]["type"] != "BOOKMARK"
    ]
