"""Queries, warnings and rows mean what they mean to a real API server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.lab.cluster import Cluster
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.reader import Answer, Reader, reader

Json = dict[str, Any]
LIST = "/apis/kubevirt.io/v1/namespaces/n/virtualmachines"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A lab with three VMs, `a` to `c`, labelled size=1 to 3 (c: size=large)."""
    async with empty_cluster(tmp_path) as running:
        for name, size in (("a", "1"), ("b", "2"), ("c", "large")):
            metadata = {"name": name, "namespace": "n", "labels": {"size": size}}
            vm = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": {}}
            running.objects.put("virtualmachines.kubevirt.io", vm)
        yield running


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Reader]:
    """An administrator."""
    async with reader(cluster) as found:
        yield found


def names(answer: Answer) -> list[str]:
    """The names in a list."""
    assert answer.status == 200, answer.body
    return [item["metadata"]["name"] for item in answer.body["items"]]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
        ("resourceVersionMatch=No&resourceVersion=7", 'Unsupported value: "No": supported values: "Exact", "NotOlderThan", ""'),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "is forbidden for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=false", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ("watch=1&sendInitialEvents=1&resourceVersionMatch=Exact", 'supported values: "NotOlderThan"'),
    ],
)
async def test_options_that_cannot_go_together_are_invalid(client: Reader, query: str, problem: str) -> None:
    answer = await client.ask(f"{LIST}?{query}")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.body["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
    assert any(problem in cause["message"] for cause in answer.body["details"]["causes"])


@pytest.mark.parametrize(
    ("flag", "is_watch"),
    [("", True), ("1", True), ("t", True), ("TRUE", True), ("yes", True), ("0", False), ("false", False), ("FALSE", False)],
)
async def test_a_flag_is_set_by_anything_but_0_and_false(client: Reader, flag: str, is_watch: bool) -> None:
    async with client.session.get(f"{client.url}{LIST}?watch={flag}&timeoutSeconds=1") as response:
        first = json.loads(await response.content.readline())
    assert (first.get("type") == "ADDED", first.get("kind") == "VirtualMachineList") == (is_watch, not is_watch)


async def test_a_watch_may_leave_out_what_is_there(client: Reader) -> None:
    query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    async with client.session.get(f"{client.url}{LIST}?{query}") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_labels_are_compared_as_numbers(client: Reader) -> None:
    assert names(await client.ask(f"{LIST}?labelSelector=size%3E1")) == ["b"]
    assert names(await client.ask(f"{LIST}?labelSelector=size%3C2,size")) == ["a"]
    assert names(await client.ask(f"{LIST}?labelSelector=size%3E0")) == ["a", "b"]
    refused = await client.ask(f"{LIST}?labelSelector=size%3Elarge")
    assert (refused.status, refused.body["reason"]) == (400, "BadRequest")
    assert "for 'Gt', 'Lt' operators, the value must be an integer" in refused.body["message"]


async def test_a_deprecated_version_warns_and_the_current_one_does_not(client: Reader) -> None:
    old = await client.ask("/apis/kubevirt.io/v1alpha3/namespaces/n/virtualmachines")
    assert names(old) == ["a", "b", "c"]
    assert old.headers["Warning"] == ('299 - "kubevirt.io/v1alpha3 is now deprecated and will be removed in a future release."')
    assert "Warning" not in (await client.ask(LIST)).headers
    assert "use discovery.k8s.io/v1 EndpointSlice" in (await client.ask("/api/v1/endpoints")).headers["Warning"]


async def test_the_root_lists_the_paths_to_those_who_may_see_them(cluster: Cluster, client: Reader) -> None:
    paths = (await client.ask("/")).body["paths"]
    assert {"/api/v1", "/apis/kubevirt.io/v1", "/openapi/v3", "/version"} <= set(paths)
    assert paths == sorted(paths)
    async with reader(cluster, "bob") as bob:
        refused = await bob.ask("/")
    assert (refused.status, refused.body["message"]) == (403, 'forbidden: User "bob" cannot get path "/"')


async def test_events_are_rows_of_what_happened_to_what(cluster: Cluster, client: Reader) -> None:
    about = {"kind": "VirtualMachine", "namespace": "n", "name": "a", "apiVersion": "kubevirt.io/v1"}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "a.17", "namespace": "n"},
        "involvedObject": about,
        "reason": "SuccessfulCreate",
        "message": "Started the virtual machine",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "virt-controller"},
    }
    cluster.objects.put("events", event)
    table = (await client.ask("/api/v1/namespaces/n/events", headers=TABLE)).body
    titles = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert titles == ["Last Seen", "Type", "Reason", "Object", "Message"]
    shown = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (shown["Object"], shown["Source"], shown["Name"]) == ("virtualmachine/a", "virt-controller", "a.17")
    selector = "involvedObject.apiVersion%3Dkubevirt.io%2Fv1%2CinvolvedObject.name%3Da"
    assert names(await client.ask(f"/api/v1/namespaces/n/events?fieldSelector={selector}")) == ["a.17"]
