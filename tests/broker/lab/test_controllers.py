"""The controllers of a running lab: they answer to calls and to the store, touch nothing else, and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.machines.view import PODS, VMIS, VMS
from broker.lab.places import Places
from tests.broker.lab.reader import reader
from tests.conftest import vmbroker

LIMIT_S = 20
CALLS = "/apis/subresources.kubevirt.io/v1/namespaces/shop"


async def changed(cluster: Cluster, is_done: Callable[[], bool]) -> None:
    """Wait until the store is as wanted."""
    subscription = cluster.objects.subscribe(VMS)
    try:
        async with asyncio.timeout(LIMIT_S):
            while not is_done():
                await subscription.wait()
                subscription.take()
    finally:
        cluster.objects.unsubscribe(VMS, subscription)


def printable(cluster: Cluster, name: str) -> str:
    """A VM's printableStatus."""
    vm = cluster.objects.get(VMS, "shop", name)
    assert vm is not None
    return str(vm["status"]["printableStatus"])


async def test_one_vm_starts_and_no_other_object_moves(tmp_path: Path) -> None:
    settings = ClusterSettings(state_dir=tmp_path, has_guests=False, fleet=200, pace=0.01, agent_scale=0.001)
    async with Cluster.start(settings) as cluster, reader(cluster, "admin") as client:
        before = {
            (resource, entry.key): entry.resource_version
            for resource in (VMS, VMIS, PODS)
            for entry in cluster.objects.entries(resource)
        }
        tasks = len(asyncio.all_tasks())
        answer = await client.ask(f"{CALLS}/virtualmachines/stopped/start", "PUT", sent={}, headers={"Accept": "*/*"})
        assert (answer.status, answer.body) == (202, "")
        await changed(cluster, lambda: printable(cluster, "stopped") == "Running")
        after = {
            (resource, entry.key): entry.resource_version
            for resource in (VMS, VMIS, PODS)
            for entry in cluster.objects.entries(resource)
        }
        moved = {key for key, version in after.items() if before.get(key) != version}
        assert {(resource, key.partition("-stopped-")[0]) for resource, key in moved} == {
            (VMS, "shop/stopped"), (VMIS, "shop/stopped"), (PODS, "shop/virt-launcher")
        }  # fmt: skip
        assert len(asyncio.all_tasks()) <= tasks + 1


async def test_a_flip_in_the_store_is_answered_too(tmp_path: Path) -> None:
    settings = ClusterSettings(state_dir=tmp_path, has_guests=False, pace=0.01)
    async with Cluster.start(settings) as cluster:
        vm = cluster.objects.get(VMS, "shop", "web")
        assert vm is not None
        cluster.objects.put(VMS, {**vm, "spec": {**vm["spec"], "runStrategy": "Halted"}})
        await changed(cluster, lambda: "created" not in (cluster.objects.get(VMS, "shop", "web") or {})["status"])
        assert cluster.objects.get(VMIS, "shop", "web") is None


async def test_an_editor_may_pause_and_a_viewer_may_not(tmp_path: Path) -> None:
    settings = ClusterSettings(state_dir=tmp_path, has_guests=False, pace=0.01)
    async with Cluster.start(settings) as cluster:
        path = f"{CALLS}/virtualmachineinstances/web/pause"
        async with reader(cluster, "carol") as carol:
            assert (await carol.ask(path, "PUT", sent={}, headers={"Accept": "*/*"})).status == 403
        async with reader(cluster, "admin") as admin:
            assert (await admin.ask(path, "PUT", sent={}, headers={"Accept": "*/*"})).status == 200
            await changed(cluster, lambda: printable(cluster, "web") == "Paused")
            assert cluster.controllers is not None
            cluster.controllers.guest_ends("shop", "db", "Failed")
            await changed(cluster, lambda: printable(cluster, "db") in ("Stopped", "Starting"))
            await changed(cluster, lambda: printable(cluster, "db") == "Running")


def test_addresses_change_from_start_to_start_and_come_back() -> None:
    places = Places(network="127.1.2")
    first, second = places.take(("n", "a")), places.take(("n", "b"))
    places.give_back(("n", "a"))
    third = places.take(("n", "a"))
    assert len({first, second, third}) == 3
    assert places.is_ours(first) and not places.is_ours("10.0.2.2")
    given = {places.take(("n", str(number))) for number in range(148)}
    assert first in given and len(given) == 148
    assert not places.is_ours(places.take(("n", "one too many")))
    assert not Places().is_ours(Places().take(("n", "a")))


@pytest.mark.parametrize("word", ["-1", "fast", "nan", "inf"])
def test_a_pace_that_is_none_is_refused(word: str, tmp_path: Path) -> None:
    done = vmbroker("lab", "run", "--state-dir", str(tmp_path), "--pace", word)
    assert (done.returncode, "a number from 0 to 100 is needed" in done.stderr) == (2, True)
