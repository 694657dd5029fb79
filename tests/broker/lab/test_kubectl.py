"""The real kubectl believes the lab: it reads, watches, asks as somebody else, and gets Kubernetes' own refusals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from broker.lab.authn import AUTHENTICATED
from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.objects import timestamp
from broker.lab.rbac import Attributes
from broker.lab.seed_access import USERS

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


async def test_each_user_sees_what_their_roles_grant_and_is_refused_the_rest(on_lab: Kubectl) -> None:
    assert on_lab.cluster.api is not None
    may = on_lab.cluster.api.authoriser
    kinds = {"vms": ("kubevirt.io", "virtualmachines"), "nodes": ("", "nodes")}
    for person in USERS:
        user = replace(person.user, groups=(*person.user.groups, AUTHENTICATED))
        for word, (group, resource) in kinds.items():
            place = "" if word == "nodes" else "shop"
            asked = Attributes(verb="list", group=group, resource=resource, namespace=place)
            status, out, err = await on_lab.run(
                "get", word, *(("-n", place) if place else ()), "--no-headers", user=person.name
            )
            if may.allowed(user, asked).allowed:
                assert (status, err, bool(out)) == (0, "", True), person.name
            else:
                assert (status, out) == (1, "")
                assert err.startswith("Error from server (Forbidden): "), err
                assert f'User "{person.name}" cannot list resource "{resource}"' in err


async def test_every_kubectl_here_reads_lists_describes_and_explains(on_lab: Kubectl) -> None:
    on_machine = shutil.which("kubectl")
    programs = {on_lab.program, Path(on_machine)} if on_machine else {on_lab.program}
    for index, program in enumerate(sorted(programs)):
        other = replace(on_lab, program=program, home=on_lab.home / str(index))
        other.home.mkdir()
        for kind, name in (("vm", "web"), ("vmi", "web"), ("node", "node-1"), ("ns", "shop")):
            place = ("-n", "shop") if kind in ("vm", "vmi") else ()
            assert (await other.read("describe", kind, name, *place)).split()[:2] == ["Name:", name]
        pods = json.loads(await other.read("get", "pods", "-n", "shop", "-o", "json"))["items"]
        pod = next(each for each in pods if each["metadata"]["labels"]["vm.kubevirt.io/name"] == "web")
        described = await other.read("describe", "pod", pod["metadata"]["name"], "-n", "shop")
        assert f"IP:           {pod['status']['podIP']}" in described
        assert "virtualmachineinstance.kubevirt.io/web" in (await other.run("get", "all", "-n", "shop"))[1]
        assert "kubevirt.io/v1" in (await other.read("api-versions")).split()
        assert "networkattachmentdefinitions" not in await other.read("api-resources", "-o", "name")
        assert "/apis/kubevirt.io/v1" in json.loads(await other.read("get", "--raw", "/"))["paths"]
        assert "runStrategy" in await other.read("explain", "vm.spec")


async def test_yaml_and_json_are_the_stored_object(on_lab: Kubectl) -> None:
    stored = on_lab.cluster.objects.get(VMS, "shop", "web")
    assert json.loads(await on_lab.read("get", "vm", "web", "-n", "shop", "-o", "json")) == stored
    assert yaml.safe_load(await on_lab.read("get", "vm", "web", "-n", "shop", "-o", "yaml")) == stored


async def test_events_are_told_by_both_of_kubectls_commands(on_lab: Kubectl) -> None:
    vm = on_lab.cluster.objects.get(VMS, "shop", "web")
    assert vm is not None
    about = {
        "apiVersion": vm["apiVersion"],
        "kind": vm["kind"],
        "namespace": "shop",
        "name": "web",
        "uid": vm["metadata"]["uid"],
    }
    now = timestamp()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "shop"},
        "involvedObject": about,
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "no room",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "virt-controller"},
    }
    on_lab.cluster.objects.put("events", event)
    for words in (("get", "events"), ("events",), ("events", "--for", "vm/web")):
        head, line = (await on_lab.read(*words, "-n", "shop")).splitlines()
        assert head.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
        assert line.split()[1:3] == ["Warning", "FailedCreate"]
        assert line.endswith("no room")
    assert "FailedCreate" in await on_lab.read("describe", "vm", "web", "-n", "shop")
    assert "No events found" in (await on_lab.run("events", "-n", "shop", "--for", "vm/db"))[2]


async def test_whole_schemas_are_explained_where_definitions_are_given(kubectl: Path, tmp_path: Path, shared: Path) -> None:
    settings = ClusterSettings(state_dir=tmp_path / "state", has_guests=False, crds=shared / "crds", openapi=shared / "openapi")
    async with Cluster.start(settings) as cluster:
        on_lab = Kubectl(program=kubectl, cluster=cluster, home=tmp_path)
        for user in ("admin", "norights"):
            domain = await on_lab.read("explain", "vm.spec.template.spec.domain", user=user)
            assert re.search(r"FIELD: domain <Object>.*\n  devices\t<Object> -required-", domain, re.DOTALL)
        networks = await on_lab.read("explain", "vm.spec.template.spec.networks", "--recursive")
        assert "networkName\t<string> -required-" in networks
        assert "DESCRIPTION:" in await on_lab.read("explain", "nncp.spec.desiredState")
        assert "dnsPolicy" in await on_lab.read("explain", "pod.spec")
        status, _, err = await on_lab.run("explain", "vm.spec.nonsense")
        assert (status, 'field "nonsense" does not exist' in err) == (1, True)
        defined = (await on_lab.read("get", "crd", "-o", "name")).split()
        assert "customresourcedefinition.apiextensions.k8s.io/virtualmachines.kubevirt.io" in defined
        assert (await on_lab.read("get", "crd")).splitlines()[0].split() == ["NAME", "CREATED", "AT"]
        ready = ("wait", "--for=condition=Established", "crd/virtualmachines.kubevirt.io", "--timeout=5s")
        assert "condition met" in await on_lab.read(*ready)
