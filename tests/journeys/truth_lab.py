"""A lab in a thread of this process, in which each situation of the truth table is made of real objects."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.facts.primary_network import PRIMARY_UDN_LABEL
from broker.lab.cluster import Cluster, ClusterSettings
from tests.broker.truth_table import ADDRESS, CLOSED_BY, NO_ROUTE, REFUSED, ROWS, SILENCE, SOME_PEERS, TIMED_OUT, Place, Row
from tests.conftest import ROOT

Json = dict[str, Any]
UNROUTED_S = 3.0
"""Seconds until virt-api gives up a dial to nowhere: longer than a silent row waits, shorter than one that hears of it."""
PLACE, UDN_PLACE = "truth", "truth-udn"
WATCHER = "norights"
"""The user who may read VMs and forward in namespace truth, and nothing around them."""
_SUB = "subresources.kubevirt.io"
_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
"""The loop of each running lab, by the id of its cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one process said: its exit status, its words on stderr, and the same as JSON."""

    status: int
    text: str
    document: Json
    json_status: int


@contextmanager
def running(state_dir: Path, **settings: Any) -> Iterator[Cluster]:
    """Run a cluster of the seed without guests until the block ends."""
    ready = threading.Event()
    found: list[Cluster] = []
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        async with Cluster.start(ClusterSettings(state_dir=state_dir, has_guests=False, **settings)) as cluster:
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            found.append(cluster)
            _LOOPS[id(cluster)] = loop
            ends.append(lambda: loop.call_soon_threadsafe(done.set))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield found[0]
    finally:
        _LOOPS.pop(id(found[0]))
        ends[0]()
        thread.join(30)


@contextmanager
def afflicted(cluster: Cluster, *faults: str) -> Iterator[None]:
    """Put faults into force for the block, in the loop of the lab's thread."""

    async def change(faults: tuple[str, ...]) -> None:
        cluster.faults.clear()
        await cluster.faults.until_back()
        for fault in faults:
            cluster.faults.set(fault)

    loop = _LOOPS[id(cluster)]
    asyncio.run_coroutine_threadsafe(change(faults), loop).result(30)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(change(()), loop).result(30)


def rows_of_the_lab() -> list[Row]:
    """Return the rows that objects and a dial make: not those of a race, nor of texts that only virt-api's own view makes."""
    return [row for row in ROWS if row.make(Place()).later_json is None and is_made(row)]


def is_made(row: Row) -> bool:
    """Say whether a row needs nothing but objects, rights and a dial."""
    return not row.name.startswith("says:") and row.name != "virt-api away"


def plant_rows(cluster: Cluster) -> dict[str, Place]:
    """Put the objects of every row into the cluster; returns the place of each row."""
    put = cluster.objects.put
    for name, labels in ((PLACE, {}), (UDN_PLACE, {PRIMARY_UDN_LABEL: ""})):
        put("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for resource, obj in _rights():
        put(resource, obj)
    places: dict[str, Place] = {}
    for number, row in enumerate(rows_of_the_lab()):
        name = row.name.replace(" ", "-").replace(",", "").replace(":", "").lower()
        place = Place(name=name, namespace=UDN_PLACE if row.name == "primary network by label" else PLACE, node="node-1")
        places[row.name] = place
        _plant(cluster, row, place, f"{cluster.network}.{200 + number}")
    return places


def user_of(row: Row) -> str:
    """Return the lab's user who is in the row's position."""
    scene = row.make(Place())
    if scene.vm_json is None and scene.vmi_json is None:
        return "broker"
    return WATCHER if scene.facts and "lacks" in scene.facts else "admin"


def limit_of(row: Row) -> float:
    """Return the handshake's limit with which the row's dial ends as it should."""
    return 15.0 if row.make(Place()).dial == TIMED_OUT else 1.0


def ask(kubeconfig: Path | str, *words: str, limit_s: float = 1.0, cwd: Path = ROOT) -> Told:
    """Run one command twice, for people and for scripts."""
    text = run("--kubeconfig", str(kubeconfig), "--set", f"stream.handshake_s={limit_s:g}", *words, cwd=cwd)
    script = run("--kubeconfig", str(kubeconfig), "--set", f"stream.handshake_s={limit_s:g}", "-o", "json", *words, cwd=cwd)
    errors = [line for line in script.stderr.splitlines() if line.startswith("{")]
    return Told(
        status=text.returncode,
        text=text.stderr,
        document=json.loads(errors[-1]) if errors else {},
        json_status=script.returncode,
    )


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run vmbroker as a process."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "broker.main", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd=cwd,
    )  # fmt: skip


def lines_of(document: Json) -> str:
    """Write the JSON error as the text of the same error."""
    lines = [f"error: {document['message']} [{document['code']}]"]
    lines += [f"cause: {document['cause']}"] if document["cause"] else []
    lines += [f"next: {document['nextStep']}"] if document["nextStep"] else []
    return "".join(f"{line}\n" for line in lines)


def _plant(cluster: Cluster, row: Row, place: Place, own_address: str) -> None:
    scene = row.make(place)
    if row.name.endswith("VMI unread"):
        scene = next(each for each in ROWS if each.name == "port closed").make(place)
    vm, vmi = scene.vm_json, scene.vmi_json
    if vmi is not None and scene.dial == REFUSED:
        # Refused by this machine itself: an address of the lab on which nothing listens.
        vmi = json.loads(json.dumps(vmi).replace(f'"{ADDRESS}"', f'"{own_address}"'))
    for resource, obj in (("virtualmachines.kubevirt.io", vm), ("virtualmachineinstances.kubevirt.io", vmi)):
        if obj is not None:
            cluster.objects.put(resource, obj)
    guest = f"{place.namespace}/{place.name}"
    if scene.dial == NO_ROUTE:
        cluster.faults.set(f"guest-port={guest}:rejected")
    if scene.dial == REFUSED and row.code == "inner-address":
        cluster.faults.set(f"guest-port={guest}:closed")
    if scene.dial in (REFUSED, SILENCE, NO_ROUTE, TIMED_OUT) and vmi is not None:
        labels = {"app": place.name, "kubevirt.io/created-by": f"vmi-{place.name}"}
        cluster.objects.put("pods", _pod(place, labels))
    for policy in (CLOSED_BY, SOME_PEERS):
        if scene.facts and policy["metadata"]["name"] in " ".join(row.words):
            spec = {**policy["spec"], "podSelector": {"matchLabels": {"app": place.name}}}
            metadata = {**policy["metadata"], "namespace": place.namespace}
            obj = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
            cluster.objects.put("networkpolicies.networking.k8s.io", obj)


def _pod(place: Place, labels: dict[str, str]) -> Json:
    metadata = {"name": f"virt-launcher-{place.name}", "namespace": place.namespace, "labels": labels}
    status = {"phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": status}


def _rights() -> Iterator[tuple[str, Json]]:
    group = "rbac.authorization.k8s.io"
    rules = [
        {"verbs": ["get"], "apiGroups": ["kubevirt.io"], "resources": ["virtualmachines", "virtualmachineinstances"]},
        {
            "verbs": ["get"],
            "apiGroups": [_SUB],
            "resources": ["virtualmachines/portforward", "virtualmachineinstances/portforward"],
        },
    ]
    metadata = {"name": "watch-only", "namespace": PLACE}
    yield f"roles.{group}", {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    yield (
        f"rolebindings.{group}",
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "watch-only"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": WATCHER}],
        },
    )
