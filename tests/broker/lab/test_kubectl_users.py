"""Every kubectl here reads the lab as each of its users: what a role grants is shown whole, the rest is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.objects import timestamp
from broker.lab.seed_access import USERS
from tests.broker.lab.captures import Json

ON_MACHINE = shutil.which("kubectl")
PROGRAMS = ("current", *(("machine",) if ON_MACHINE else ()))
MAY_READ: dict[str, tuple[str, ...]] = {
    "admin": ("shop", "team-a", "team-b"),
    "alice": ("team-a",),
    "bob": ("team-b", "shop"),
    "carol": ("team-a", "shop"),
    "dana": ("shop",),
    "porter": (),
    "broker": (),
    "norights": (),
}
"""Namespaces in which a user may read VMs, instances, pods and events; admin reads everywhere."""
KINDS = {
    "virtualmachines.kubevirt.io": "VirtualMachine",
    "virtualmachineinstances.kubevirt.io": "VirtualMachineInstance",
    "pods": "Pod",
}
ASKED = "vm,vmi,pods"
FORMS = ((), ("-o", "wide"), ("-o", "yaml"))
AT_ONCE = 4
LIMIT_S = 30
VMS = "virtualmachines.kubevirt.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """One kubectl on one lab; the discovery cache is shared, as on one person's machine."""

    program: str
    cluster: Cluster
    home: Path
    turns: asyncio.Semaphore

    async def start(self, user: str, *words: str) -> asyncio.subprocess.Process:
        """Start a command as one of the lab's users."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig(user)), "HOME": str(self.home), "GOGC": "off"}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(self.program, *words, env=environment, stdout=pipe, stderr=pipe)

    async def run(self, user: str, *words: str) -> tuple[int, str, str]:
        """Run a command to its end: (exit status, stdout, stderr)."""
        async with self.turns:
            process = await self.start(user, *words)
            async with asyncio.timeout(LIMIT_S):
                out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def stored(self, namespace: str | None = None) -> list[Json]:
        """The VMs, instances and pods of a namespace or of all, in the order in which they are asked for."""
        return [obj for resource in KINDS for obj in self.cluster.objects.select(resource, namespace)]


@asynccontextmanager
async def _asking(program: str, home: Path, crds: Path | None = None) -> AsyncIterator[Asks]:
    """A seeded lab without guests but with an event in each namespace, and a kubectl for it."""
    async with Cluster.start(ClusterSettings(state_dir=home / "state", has_guests=False, crds=crds)) as cluster:
        for namespace in MAY_READ["admin"]:
            cluster.objects.put("events", _event(cluster, namespace))
        yield Asks(program=program, cluster=cluster, home=home, turns=asyncio.Semaphore(AT_ONCE))


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, kubectl: Path) -> str:
    """Each kubectl there is."""
    return ON_MACHINE if request.param == "machine" and ON_MACHINE else str(kubectl)


async def test_each_user_reads_what_their_roles_grant_and_nothing_else(program: str, shared: Path, tmp_path: Path) -> None:
    assert set(MAY_READ) == {person.name for person in USERS}
    checks = [check for user in MAY_READ for check in _checks(user)]
    assert len(checks) >= 85
    async with _asking(program, tmp_path, shared / "crds") as asks:
        found = await asyncio.gather(*(_troubles(asks, check) for check in checks))
    assert [trouble for troubles in found for trouble in troubles] == []


async def test_three_users_watch_what_they_may_and_see_it_change(program: str, tmp_path: Path) -> None:
    async with _asking(program, tmp_path) as asks:
        await _see_changes(asks)
        status, out, err = await asks.run("porter", "get", "vm", "-n", "shop", "-w")
    assert (status, out, 'User "porter" cannot list' in err) == (1, "", True)


async def _see_changes(asks: Asks) -> None:
    watching = {"admin": "shop", "bob": "team-b", "alice": "team-a"}
    processes = {
        user: await asks.start(user, "get", "vm", "-n", namespace, "-w", "--output-watch-events")
        for user, namespace in watching.items()
    }
    try:
        async with asyncio.timeout(LIMIT_S):
            while asks.cluster.objects.watchers(VMS) < len(watching):  # noqa: ASYNC110  (the other side is a process)
                await asyncio.sleep(0.01)
        for namespace in watching.values():
            vm = next(iter(asks.cluster.objects.select(VMS, namespace)))
            asks.cluster.objects.put(VMS, {**vm, "status": {**vm["status"], "printableStatus": "Migrating"}})
        for user, process in processes.items():
            seen = await _changed_line(process)
            vm = next(iter(asks.cluster.objects.select(VMS, watching[user])))
            assert (seen[1], seen[3]) == (vm["metadata"]["name"], "Migrating"), user
    finally:
        for process in processes.values():
            process.terminate()
            await process.communicate()


async def _changed_line(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        while line := (await process.stdout.readline()).decode().split():
            if line[0] == "MODIFIED":
                return line
    raise AssertionError("the watch ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One command of one user: `shows` names what of its output is compared, `refused` the resources refused instead."""

    user: str
    words: tuple[str, ...]
    namespace: str = ""
    shows: str = ""
    refused: tuple[str, ...] = ()


def _checks(user: str) -> Iterator[Check]:
    """Everything that a user asks: of everyone's, of a namespace that is theirs to read, of one that is not."""
    for words, shows in (
        (("api-resources",), "resources"),
        (("api-versions",), "versions"),
        (("explain", "vm.spec.template.spec.domain.devices.interfaces"), "schema"),
    ):
        yield Check(user=user, words=words, shows=shows)
    if user != "admin":
        yield Check(user=user, words=("get", ASKED, "-A"), refused=tuple(KINDS))
    for form in FORMS if user == "admin" else ():
        yield Check(user=user, words=("get", ASKED, "-A", *form), shows=form[-1] if form else "table")
    for namespace in MAY_READ[user][:1]:
        for form in FORMS:
            words = ("get", ASKED, "-n", namespace, *form)
            yield Check(user=user, words=words, namespace=namespace, shows=form[-1] if form else "table")
        for kind in ("vm", "vmi"):
            name = {"shop": "web", "team-a": "web", "team-b": "tenant"}[namespace]
            yield Check(user=user, words=("describe", kind, name, "-n", namespace), namespace=namespace, shows="described")
        yield Check(user=user, words=("events", "-n", namespace), namespace=namespace, shows="event")
    for namespace in [one for one in MAY_READ["admin"] if one not in MAY_READ[user]][:1]:
        yield Check(user=user, words=("get", ASKED, "-n", namespace, "-o", "yaml"), namespace=namespace, refused=tuple(KINDS))
        for kind, resource in (("vm", VMS), ("vmi", "virtualmachineinstances.kubevirt.io")):
            yield Check(user=user, words=("describe", kind, "x", "-n", namespace), namespace=namespace, refused=(resource,))
        yield Check(user=user, words=("events", "-n", namespace), namespace=namespace, refused=("events",))


async def _troubles(asks: Asks, check: Check) -> list[str]:
    status, out, err = await asks.run(check.user, *check.words)
    where = f"{check.user}: {' '.join(check.words)}"
    if check.refused:
        refusals = [line for line in err.splitlines() if "Error from server (Forbidden): " in line]
        scope = f'in the namespace "{check.namespace}"' if check.namespace else "at the cluster scope"
        said = [_refusal(check, resource, scope) for resource in check.refused]
        is_right = len(refusals) == len(said) and all(text in line for text, line in zip(said, refusals, strict=True))
        # To a refused `-o yaml` kubectl prints an empty list.
        is_empty = not out or ("-o" in check.words and yaml.safe_load(out)["items"] == [])
        return [] if (status, is_right, is_empty) == (1, True, True) else [f"{where}: {status}: {out[:300]}{err}"]
    if (status, err) != (0, ""):
        return [f"{where}: {status}: {err}"]
    return [] if _shows(asks, check, out) else [f"{where}: {out[:600]}"]


def _refusal(check: Check, resource: str, scope: str) -> str:
    verb = "get" if check.words[0] == "describe" else "list"
    plural, _, group = resource.partition(".")
    return f'User "{check.user}" cannot {verb} resource "{plural}" in API group "{group}" {scope}'


def _shows(asks: Asks, check: Check, out: str) -> bool:
    lines = out.splitlines()
    stored = asks.stored(check.namespace or None)
    names = [
        f"{obj['kind'].lower()}{'.kubevirt.io' if obj['kind'] != 'Pod' else ''}/{obj['metadata']['name']}" for obj in stored
    ]
    column = 0 if check.namespace else 1
    words = [line.split() for line in lines if line]
    heads = [line for line in words if line[column] == "NAME"] if check.shows in ("table", "wide") else []
    if check.shows == "table":
        rows = [line[column].removeprefix("pod/") for line in words if line not in heads]
        return len(heads) == len(KINDS) and rows == [name.removeprefix("pod/") for name in names]
    if check.shows == "wide":
        return (
            len(heads) == len(KINDS)
            and "LIVE-MIGRATABLE" in heads[1]
            and heads[2][-4:] == ["NOMINATED", "NODE", "READINESS", "GATES"]
        )
    if check.shows == "yaml":
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return bool(yaml.load(out, loader)["items"] == stored)
    if check.shows == "described":
        name = check.words[2]
        return words[:2] == [["Name:", name], ["Namespace:", check.namespace]] and words[-1][0] in (
            "Events:",
            "Normal",
            "Warning",
        )
    if check.shows == "event":
        return words[0][:3] == ["LAST", "SEEN", "TYPE"] and lines[1].endswith(f"no room in {check.namespace}")
    wanted = {"resources": "virtualmachineinstances", "versions": "kubevirt.io/v1", "schema": "masquerade"}[check.shows]
    return any(wanted in line for line in words)


def _event(cluster: Cluster, namespace: str) -> Json:
    vm = next(iter(cluster.objects.select(VMS, namespace)))
    about = {"apiVersion": vm["apiVersion"], "kind": vm["kind"], "namespace": namespace, "name": vm["metadata"]["name"]}
    now = timestamp()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e-1", "namespace": namespace},
        "involvedObject": {**about, "uid": vm["metadata"]["uid"]},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": f"no room in {namespace}",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "virt-controller"},
    }
