"""The real kubectl believes the lab: it reads, watches, asks as somebody else, and gets Kubernetes' own refusals."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.lab.cluster import Cluster, ClusterSettings

VMS = "virtualmachines.kubevirt.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """One kubectl on one lab; its discovery cache lives in the test's own home."""

    program: Path
    cluster: Cluster
    home: Path

    async def start(self, *words: str, user: str = "admin") -> asyncio.subprocess.Process:
        """Start a command as one of the lab's users."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig(user)), "HOME": str(self.home)}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(str(self.program), *words, env=environment, stdout=pipe, stderr=pipe)

    async def run(self, *words: str, user: str = "admin") -> tuple[int, str, str]:
        """Run a command to its end: (exit status, stdout, stderr)."""
        process = await self.start(*words, user=user)
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def read(self, *words: str, user: str = "admin") -> str:
        """Run a command that works, and return what it prints."""
        status, out, err = await self.run(*words, user=user)
        assert (status, err) == (0, ""), (words, err)
        return out


@pytest.fixture
async def on_lab(kubectl: Path, tmp_path: Path) -> AsyncIterator[Kubectl]:
    """A seeded lab without guests, and a kubectl for it."""
    settings = ClusterSettings(state_dir=tmp_path / "state", has_guests=False)
    async with Cluster.start(settings) as cluster:
        yield Kubectl(program=kubectl, cluster=cluster, home=tmp_path)


@asynccontextmanager
async def _running(kubectl: Kubectl, *words: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await kubectl.start(*words)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.terminate()
        await process.communicate()


async def _watched(kubectl: Kubectl) -> None:
    """Wait until kubectl watches: what changes between its first read and that, it may show as the first state."""
    async with asyncio.timeout(20):
        while not kubectl.cluster.objects.watchers(VMS):  # noqa: ASYNC110  (the other side is a process)
            await asyncio.sleep(0.01)


async def _line(stream: asyncio.StreamReader) -> list[str]:
    async with asyncio.timeout(20):
        return (await stream.readline()).decode().split()


async def test_lists_are_kubectls_tables(on_lab: Kubectl) -> None:
    lines = (await on_lab.read("get", "vms", "-A")).splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "AGE", "STATUS", "READY"]
    stored = [(vm["metadata"]["namespace"], vm["metadata"]["name"]) for vm in on_lab.cluster.objects.select(VMS)]
    assert [tuple(line.split()[:2]) for line in lines[1:]] == stored
    assert "stopped" in {line.split()[1] for line in lines if " Stopped " in line}
    wide = (await on_lab.read("get", "vmis", "-A", "-o", "wide")).splitlines()[0].split()
    assert wide == ["NAMESPACE", "NAME", "AGE", "PHASE", "IP", "NODENAME", "READY", "LIVE-MIGRATABLE", "PAUSED"]
    nodes = (await on_lab.read("get", "nodes", "-o", "wide")).splitlines()
    assert nodes[0].split() == [
        "NAME", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION",
        "CONTAINER-RUNTIME",
    ]  # fmt: skip
    assert nodes[1].split()[1] == "Ready"


async def test_json_is_what_the_store_holds(on_lab: Kubectl) -> None:
    shown = json.loads(await on_lab.read("get", "vms", "-A", "-o", "json"))
    assert shown["items"] == list(on_lab.cluster.objects.select(VMS))


async def test_chunked_lists_are_whole_and_selectors_select(on_lab: Kubectl) -> None:
    whole = await on_lab.read("get", "vms", "-A", "-o", "name")
    assert await on_lab.read("get", "vms", "-A", "-o", "name", "--chunk-size", "2") == whole
    by_label = await on_lab.read("get", "vms", "-A", "-l", "app in (web),app!=db", "-o", "name")
    assert set(by_label.split()) == {"virtualmachine.kubevirt.io/web", "virtualmachine.kubevirt.io/web.blue"}
    by_name = await on_lab.read("get", "vms", "-n", "shop", "--field-selector", "metadata.name=db", "-o", "name")
    assert by_name.split() == ["virtualmachine.kubevirt.io/db"]
    status, _, err = await on_lab.run("get", "vms", "-A", "--field-selector", "spec.running=true")
    assert status == 1
    assert "field label not supported: spec.running" in err


async def test_discovery_knows_short_names_kinds_and_groups(on_lab: Kubectl) -> None:
    found = await on_lab.read("api-resources", "--api-group=kubevirt.io", "--no-headers")
    rows = {line.split()[0]: line.split()[1:] for line in found.splitlines()}
    assert rows["virtualmachines"] == ["vm,vms", "kubevirt.io/v1", "true", "VirtualMachine"]
    assert "subresources.kubevirt.io/v1" in (await on_lab.read("api-versions")).split()
    assert await on_lab.read("get", "vmi", "web", "-n", "shop", "-o", "name") == "virtualmachineinstance.kubevirt.io/web\n"
    assert await on_lab.read("get", "vm", "web", "-n", "shop", "-o", "name") == "virtualmachine.kubevirt.io/web\n"


async def test_impersonation_takes_the_right_and_acts_with_the_other_ones_rights(on_lab: Kubectl) -> None:
    words = ("get", "vmi", "web", "-n", "shop")
    assert " Running " in await on_lab.read(*words, "--as", "bob")
    status, _, err = await on_lab.run(*words, "--as", "norights")
    refusal = 'virtualmachineinstances.kubevirt.io "web" is forbidden: User "norights" cannot get'
    assert (status, err.splitlines()[-1].startswith(f"Error from server (Forbidden): {refusal}")) == (1, True)
    # With --raw, since the refusal of discovery that comes first otherwise reads "unknown" in kubectl.
    status, _, err = await on_lab.run("get", "--raw", "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web",
                                      "--as", "bob", user="carol")  # fmt: skip
    assert status == 1
    assert 'User "carol" cannot impersonate-on:user-info:get resource "virtualmachineinstances"' in err


async def test_refusals_are_kubernetes_own(on_lab: Kubectl) -> None:
    status, _, err = await on_lab.run("get", "vm", "nope", "-n", "shop")
    assert (status, err) == (1, 'Error from server (NotFound): virtualmachines.kubevirt.io "nope" not found\n')
    status, _, err = await on_lab.run("get", "vms", "-A", user="norights")
    said = 'virtualmachines.kubevirt.io is forbidden: User "norights" cannot list resource "virtualmachines"'
    assert (status, err) == (
        1,
        f'Error from server (Forbidden): {said} in API group "kubevirt.io" at the cluster scope\n',
    )
    status, _, err = await on_lab.run("delete", "vm", "web", "-n", "shop")
    assert (status, err) == (
        1,
        "Error from server (MethodNotAllowed): the server does not allow this method on the requested resource\n",
    )
    # kubectl asks this one in protobuf, which the lab does not read.
    status, _, err = await on_lab.run("auth", "can-i", "--list")
    assert (status, err.startswith("Error from server (UnsupportedMediaType): ")) == (1, True)


async def test_watch_shows_each_change_as_a_row(on_lab: Kubectl) -> None:
    objects = on_lab.cluster.objects
    vm = objects.get(VMS, "shop", "stopped")
    assert vm is not None
    async with _running(on_lab, "get", "vm", "stopped", "-n", "shop", "-w", "--output-watch-events") as stream:
        assert await _line(stream) == ["EVENT", "NAME", "AGE", "STATUS", "READY"]
        assert (await _line(stream))[:2] == ["ADDED", "stopped"]
        await _watched(on_lab)
        vm["status"]["printableStatus"] = "Starting"
        objects.put(VMS, vm)
        changed = await _line(stream)
        assert (changed[0], changed[1], changed[3]) == ("MODIFIED", "stopped", "Starting")
        objects.put(VMS, {**vm, "metadata": {"name": "other", "namespace": "shop"}})
        objects.delete(VMS, "shop", "stopped")
        assert (await _line(stream))[:2] == ["DELETED", "stopped"]


async def test_wait_sees_a_condition_come(on_lab: Kubectl) -> None:
    words = ("wait", "vm/stopped", "-n", "shop", "--for=jsonpath={.status.printableStatus}=Running", "--timeout=20s")
    vm = on_lab.cluster.objects.get(VMS, "shop", "stopped")
    assert vm is not None
    vm["status"]["printableStatus"] = "Running"
    process = await on_lab.start(*words)
    await _watched(on_lab)
    on_lab.cluster.objects.put(VMS, vm)
    out, err = await process.communicate()
    assert (process.returncode, out.decode(), err.decode()) == (0, "virtualmachine.kubevirt.io/stopped condition met\n", "")
