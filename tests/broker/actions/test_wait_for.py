"""Waiting against a lab in the test's own loop, whose objects and faults change while it is waited."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from broker.actions.context import open_broker
from broker.actions.readiness import Aim
from broker.actions.wait_for import wait_for
from broker.actions.wait_result import WaitResult
from broker.config.settings import built_in
from broker.errors import BrokerError, NotFound, NotPermitted, TimedOut, Unreachable
from broker.kube.endpoint import open_endpoint
from broker.lab.cluster import Cluster, ClusterSettings
from broker.refs import parse_target
from broker.tasks import Supervisor
from tests.broker.lab.plain_guest import plain_guest

VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"
LIMIT_S = 20.0
OVERTIME_S = 0.5


@dataclass(slots=True)
class Wait:
    """A wait that goes on: what it said so far, and its task."""

    said: list[str] = field(default_factory=list)
    task: asyncio.Task[WaitResult] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, line: str) -> None:
        self.said.append(line)
        self._news.set()

    async def until_said(self, words: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not any(words in line for line in self.said):
                self._news.clear()
                await self._news.wait()

    async def result(self) -> WaitResult:
        assert self.task is not None
        async with asyncio.timeout(LIMIT_S):
            return await self.task


@asynccontextmanager
async def lab(tmp_path: Path, *, has_seed: bool = False, has_guests: bool = False) -> AsyncIterator[Cluster]:
    settings = ClusterSettings(state_dir=tmp_path / "lab", has_seed=has_seed, has_guests=has_guests, guest_kind="asyncssh")
    async with Cluster.start(settings) as cluster:
        yield cluster


@asynccontextmanager
async def waiting(
    cluster: Cluster,
    aim: Aim,
    target: str = "web",
    *,
    timeout_s: float = LIMIT_S,
    user: str = "admin",
    port: int | None = None,
    api_s: float = 30.0,
) -> AsyncIterator[Wait]:
    endpoint = open_endpoint(kubeconfig=str(cluster.kubeconfig(user)), context=None, namespace="shop", as_user=None, environ={})
    settings = built_in()
    settings = replace(settings, api=replace(settings.api, timeout_s=api_s))
    wait = Wait()
    async with open_broker(endpoint, settings) as broker, Supervisor("test") as tasks:
        wait.task = tasks.start(
            wait_for(broker, parse_target(target), aim, timeout_s=timeout_s, port=port, say=wait.say), name="wait"
        )
        yield wait


async def outcome(cluster: Cluster, aim: Aim, target: str = "web", **options: Any) -> WaitResult | BrokerError:
    """Wait without anybody changing anything."""
    try:
        async with waiting(cluster, aim, target, **options) as wait:
            return await wait.result()
    except BrokerError as exc:
        return exc


def put_vm(cluster: Cluster, *, uid: str = "v1", status: str = "Starting", name: str = "web") -> None:
    metadata = {"name": name, "namespace": "shop", "uid": uid}
    cluster.objects.put(
        VMS,
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": metadata,
            "spec": {"runStrategy": "Always"},
            "status": {"printableStatus": status, "created": True},
        },
    )


def put_vmi(cluster: Cluster, phase: str, *, address: str = "", owner: str = "v1", **conditions: str) -> None:
    owners = [{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "web", "uid": owner}] if owner else []
    cluster.objects.put(
        VMIS,
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "web", "namespace": "shop", "ownerReferences": owners},
            "spec": {},
            "status": {
                "phase": phase,
                "nodeName": "node-1",
                "interfaces": [{"name": "default", "ipAddress": address}] if address else [],
                "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
            },
        },
    )


# ---- what is waited for ----


async def test_a_start_is_followed_step_by_step(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        async with waiting(cluster, "running") as wait:
            await wait.until_said("VM Starting, no VMI")
            put_vmi(cluster, "Scheduling")
            await wait.until_said("VMI phase Scheduling")
            put_vmi(cluster, "Running", Paused="True")
            await wait.until_said("VMI phase Running, paused")
            put_vmi(cluster, "Running")
            result = await wait.result()
    assert (result.target, result.aim, result.seen) == ("vm/web/shop", "running", "runs on node-1")
    assert wait.said[0] == "waiting for running of shop/web: nothing seen yet"


@pytest.mark.parametrize(
    ("aim", "before", "after", "seen"),
    [
        ("address", {"phase": "Running"}, {"phase": "Running", "address": "10.0.0.9"}, "has the address 10.0.0.9"),
        ("agent", {"phase": "Running"}, {"phase": "Running", "AgentConnected": "True"}, "its guest agent is connected"),
    ],
)
async def test_an_address_and_an_agent_are_waited_for(
    tmp_path: Path, aim: Aim, before: dict[str, str], after: dict[str, str], seen: str
) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        put_vmi(cluster, **before)
        async with waiting(cluster, aim) as wait:
            await wait.until_said("VMI phase Running")
            put_vmi(cluster, **after)
            assert (await wait.result()).seen == seen
            assert cluster.api is not None


async def test_nothing_is_asked_again_while_nothing_changes(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        cluster.faults.set("latency=0.001,path=/apis/kubevirt.io/*")
        found = await outcome(cluster, "running", timeout_s=1.2)
        assert isinstance(found, TimedOut)
        # Two lists and two watches, and no more until the time is over.
        assert cluster.faults.seen == {"latency": 4}


async def test_ssh_is_dialled_when_the_objects_say_so_and_not_before(tmp_path: Path) -> None:
    async with lab(tmp_path, has_seed=True, has_guests=True) as cluster:
        vmi = cluster.objects.get(VMIS, "shop", "web")
        assert vmi is not None
        interfaces = vmi["status"].pop("interfaces")
        cluster.objects.put(VMIS, vmi)
        async with waiting(cluster, "ssh") as wait:
            await wait.until_said("no interface")
            cluster.faults.set("guest-port=shop/web:closed")
            cluster.objects.put(VMIS, vmi | {"status": vmi["status"] | {"interfaces": interfaces}})
            await wait.until_said("refuses connections")
            cluster.faults.clear("guest-port")
            result = await wait.result()
            assert result.seen.startswith("ssh answers (SSH-2.0-")
        assert isinstance(await outcome(cluster, "ssh", "vmi/web/shop", timeout_s=0), WaitResult)
        await _check_obstacles(cluster)


OBSTACLES = {
    "vm/stopped/shop": ("VM Stopped, no VMI", "virtctl start stopped -n shop"),
    "vm/paused/shop": ("paused, address", "virtctl unpause"),
    "vm/nonics/team-a": ("VMI phase Running, no interface", "interface"),
    "vm/starting/team-a": ("VMI phase Scheduling, no address yet", "wait longer"),
    "vm/closed/team-a": ("port", "add 22 to the interface's ports"),
    "vm/silent/team-a": ("refuses connections", "vmbroker doctor"),
    "vm/tenant/team-b": ("primary user-defined network", "Service"),
    "vm/filtered/team-a": ("dialled, no answer yet", "wait longer"),
}


async def _check_obstacles(cluster: Cluster) -> None:
    """What is in the way of ssh is told with its own next step; all side by side, since a lab with guests is dear."""
    async with Supervisor("obstacles") as tasks:
        running = {target: tasks.start(outcome(cluster, "ssh", target, timeout_s=1.5), name=target) for target in OBSTACLES}
        found = {target: await task for target, task in running.items()}
    for target, (seen, step) in OBSTACLES.items():
        error = found[target]
        assert isinstance(error, TimedOut)
        assert seen in (error.cause or ""), target
        assert step in (error.next_step or ""), target


async def test_a_port_is_dialled_again_until_it_greets_as_ssh_does(tmp_path: Path) -> None:
    async with plain_guest() as guest, lab(tmp_path) as cluster:
        put_vm(cluster)
        put_vmi(cluster, "Running", address="127.0.0.1")
        async with waiting(cluster, "ssh", port=guest.port) as wait, asyncio.timeout(LIMIT_S):
            visit = await guest.visits.get()
            visit.writer.write(b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 300)
            await wait.until_said("answers, but not as an SSH server")
            visit = await guest.visits.get()
            visit.writer.close()
            await wait.until_said("was closed before a greeting")
            visit = await guest.visits.get()
            visit.writer.write(b"a word before\r\nSSH-2.0-")
            visit.writer.write(b"guest\x1b[31m\r\n")
            assert (await wait.result()).seen == "ssh answers (SSH-2.0-guest[31m)"
            assert await visit.reader.read() == b""


# ---- what ends it ----


@pytest.mark.parametrize(
    ("target", "code"),
    [("nope", "vm-not-found"), ("vmi/web", "vmi-not-found"), ("web.shop", "vm-not-found")],
)
async def test_what_is_not_there_is_told_at_once(tmp_path: Path, target: str, code: str) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        for name in ("shop", "web"):
            cluster.objects.put("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        found = await outcome(cluster, "running", target)
    assert isinstance(found, NotFound)
    assert found.code == code
    if target == "web.shop":
        assert found.next_step == "write it so: vmbroker wait web -n shop"


async def test_a_vm_by_its_kind_is_not_the_instance_of_that_name(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vmi(cluster, "Running", owner="")
        assert isinstance(await outcome(cluster, "running", "vm/web"), NotFound)
        assert isinstance(await outcome(cluster, "running", "vmi/web"), WaitResult)
        bare = await outcome(cluster, "running")
        assert isinstance(bare, WaitResult)
        assert bare.target == "vmi/web/shop"


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_vm_that_is_deleted_meanwhile_ends_it(tmp_path: Path, how: str) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        with pytest.raises(NotFound) as caught:
            async with waiting(cluster, "running") as wait:
                await wait.until_said("no VMI")
                cluster.objects.delete(VMS, "shop", "web")
                if how == "replaced":
                    put_vm(cluster, uid="v2")
                    put_vmi(cluster, "Running", owner="v2")
                await wait.result()
    assert caught.value.code == "vm-deleted"
    assert "was deleted while it was waited for" in caught.value.message


async def test_an_instance_that_ends_is_no_end_for_its_vm_but_for_itself(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        put_vmi(cluster, "Scheduling")
        with pytest.raises(NotFound) as caught:
            async with waiting(cluster, "running") as of_vm, waiting(cluster, "running", "vmi/web") as of_vmi:
                await of_vm.until_said("Scheduling")
                await of_vmi.until_said("Scheduling")
                cluster.objects.delete(VMIS, "shop", "web")
                await of_vm.until_said("VM Starting, no VMI")
                await of_vmi.result()
    assert caught.value.code == "vmi-deleted"


@pytest.mark.parametrize("aim", ["running", "ssh"])
async def test_a_missing_right_ends_it_at_once(tmp_path: Path, aim: Aim) -> None:
    async with lab(tmp_path, has_seed=True) as cluster:
        began = time.monotonic()
        found = await outcome(cluster, aim, user="norights")
        assert time.monotonic() - began < LIMIT_S / 2
        assert isinstance(found, NotPermitted)
        needed = {"running": "verb list on virtualmachineinstances", "ssh": "verb get on virtualmachines/portforward"}[aim]
        assert (found.cause or "").startswith("you are norights, and no role of yours holds " + needed)
        assert "ask for ClusterRole" in (found.next_step or "")
        # A group is named, and a ClusterRole by one who may list them.
        found = await outcome(cluster, aim, "vm/builder/team-b", user="alice")
        assert isinstance(found, NotPermitted)
        assert (found.cause or "").startswith("you are alice (groups: team-a-devs)")
        assert "in namespace team-b" in (found.next_step or "")


async def test_a_name_that_another_namespace_has_is_led_to_it(tmp_path: Path) -> None:
    async with lab(tmp_path, has_seed=True) as cluster:
        found = await outcome(cluster, "running", "vm/web/team-b")
    assert isinstance(found, NotFound)
    assert (found.code, found.next_step) == ("wrong-namespace", "name the namespace: vmbroker wait vm/web/shop")


async def test_the_time_that_is_over_is_told_with_what_was_seen_last(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        put_vmi(cluster, "Scheduling")
        began = time.monotonic()
        found = await outcome(cluster, "address", timeout_s=1)
        assert time.monotonic() - began < 1 + OVERTIME_S
    assert isinstance(found, TimedOut)
    assert found.code == "wait-timeout"
    assert found.message == "shop/web has no address on its first interface after 1 s of waiting"
    assert found.cause == "seen last: VMI phase Scheduling, no address yet"
    assert found.next_step == "wait longer (--timeout), or see what holds it: vmbroker doctor vm/web/shop"


async def test_no_time_means_one_look(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster, status="Stopped")
        found = await outcome(cluster, "running", timeout_s=0)
        assert isinstance(found, TimedOut)
        assert found.message == "shop/web does not run now"
        put_vmi(cluster, "Running")
        assert isinstance(await outcome(cluster, "running", timeout_s=0), WaitResult)
        cluster.faults.set("status=500")
        failed = await outcome(cluster, "running", timeout_s=0)
        assert isinstance(failed, BrokerError)
        assert failed.code == "server-error"


# ---- chaos ----

FAULTS = [
    ("api-restart=1",),
    ("watch-end",),
    ("watch-expire",),
    ("status=429,retry-after=0,next=4", "watch-end"),
    ("status=500,next=3", "watch-end"),
    ("status=503,retry-after=0,next=3", "watch-end"),
    ("drop=10,next=2", "watch-end"),
    ("latency=0.3,next=4", "watch-end"),
]


@pytest.mark.parametrize("faults", FAULTS, ids=lambda words: words[0])
async def test_trouble_on_the_way_delays_and_does_not_end_it(tmp_path: Path, faults: tuple[str, ...]) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        async with waiting(cluster, "running") as wait:
            await wait.until_said("no VMI")
            await _until(lambda: cluster.objects.watchers(VMS) == 1 == cluster.objects.watchers(VMIS))
            for word in faults:
                cluster.faults.set(word)
            put_vmi(cluster, "Running")
            assert (await wait.result()).seen == "runs on node-1"


@pytest.mark.parametrize(
    ("fault", "is_begun"),
    [
        ("status=429,retry-after=1", True),
        ("hang", True),
        ("api-restart=60", True),
        ("status=500", False),
        ("hang", False),
        ("api-silent", False),
    ],
)
async def test_trouble_that_stays_ends_with_the_time_and_not_later(tmp_path: Path, fault: str, is_begun: bool) -> None:
    timeout_s = 0.8
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        if not is_begun:
            cluster.faults.set(fault)
        began = time.monotonic()
        with pytest.raises(BrokerError) as caught:
            async with waiting(cluster, "running", timeout_s=timeout_s) as wait:
                if is_begun:
                    await wait.until_said("no VMI")
                    for word in (fault, "watch-end"):
                        cluster.faults.set(word)
                await wait.result()
        took_s = time.monotonic() - began
        cluster.faults.clear()
    assert took_s < timeout_s + OVERTIME_S
    assert isinstance(caught.value, TimedOut)
    assert caught.value.code == "wait-timeout"
    assert ("seen last: VM Starting, no VMI" if is_begun else "waited for running; ") in (caught.value.cause or "")


async def test_a_server_that_says_nothing_is_named_as_what_is_silent(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        cluster.faults.set("api-silent")
        found = await outcome(cluster, "running", timeout_s=0.5)
        cluster.faults.clear()
    assert isinstance(found, TimedOut)
    assert found.cause == f"waited for running; the API server {cluster.url.removeprefix('https://')} gave no answer"
    assert "see whether the API server runs" in (found.next_step or "")


async def test_what_was_seen_before_is_told_with_its_age(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        put_vmi(cluster, "Scheduling")
        with pytest.raises(TimedOut) as caught:
            async with waiting(cluster, "running", timeout_s=3) as wait:
                await wait.until_said("Scheduling")
                for word in ("hang", "watch-end"):
                    cluster.faults.set(word)
                await wait.until_said("Scheduling (as last seen: the API server has not answered since)")
                await wait.result()
        cluster.faults.clear()
    assert re.fullmatch(
        r"seen last: VMI phase Scheduling \(as last seen [23] s ago: the API server has not answered since\)",
        caught.value.cause or "",
    )


@pytest.mark.parametrize("size", [200, 400])
async def test_an_answer_that_breaks_off_is_told_in_our_words(tmp_path: Path, size: int) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        cluster.faults.set(f"drop={size}")
        found = await outcome(cluster, "running", timeout_s=0)
    assert isinstance(found, Unreachable)
    assert found.cause == "the connection was lost in the middle of the answer"


async def test_an_api_that_the_dial_does_not_find_is_virt_apis(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        put_vm(cluster)
        put_vmi(cluster, "Running", address="127.0.0.1")
        cluster.faults.set("status=404,path=*/portforward/*")
        found = await outcome(cluster, "ssh", timeout_s=0.5)
    assert isinstance(found, TimedOut)
    assert "the API server knows KubeVirt's objects, but not its virt-api" in (found.cause or "")
    assert "APIService v1.subresources.kubevirt.io" in (found.next_step or "")


async def test_a_restart_that_forgot_the_past_is_read_anew(tmp_path: Path) -> None:
    async with lab(tmp_path) as first:
        put_vm(first)
        async with waiting(first, "running") as wait:
            await wait.until_said("no VMI")
            first.faults.set("api-restart=60")
            await wait.until_said("as last seen")
            first.objects.compact()
            put_vmi(first, "Running")
            first.faults.clear()
            assert (await wait.result()).seen == "runs on node-1"


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # the lab has nothing that could set an event
            await asyncio.sleep(0.005)


async def test_a_server_that_is_not_there_is_told_after_a_few_tries(tmp_path: Path) -> None:
    async with lab(tmp_path) as cluster:
        cluster.faults.set("api-restart=60")
        began = time.monotonic()
        found = await outcome(cluster, "running")
        cluster.faults.clear()
    assert isinstance(found, Unreachable)
    assert time.monotonic() - began < 6
