"""Objects with a hostile text in every string, put into a pretend cluster that runs in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.objects import Objects
from broker.lab.seed import plant
from broker.lab.seed_access import access_objects
from tests.hostile.corpus import TEXTS

Json = dict[str, Any]
VMS: Final = "virtualmachines.kubevirt.io"
VMIS: Final = "virtualmachineinstances.kubevirt.io"

_IDENTITY: Final = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})
_STEERING: Final = frozenset(
    {
        "phase",
        "type",
        "status",
        "printableStatus",
        "runStrategy",
        "uid",
        "kind",
        "creationTimestamp",
        "infoSource",
        "name",
        "podInterfaceName",
    }
)
_CUT: Final = 4096


def poisoned(value: Any, text: str, *, steers: bool, at: tuple[str, ...] = ()) -> Any:
    """Return a copy with `text` in every string, and as a key of labels and annotations.

    Only what names the object stays; `steers` false leaves also the words that decide which way our code takes.
    """
    if isinstance(value, dict):
        made = {key: poisoned(each, text, steers=steers, at=(*at, key)) for key, each in value.items()}
        if at and at[-1] in ("labels", "annotations", "matchLabels", "nodeSelector"):
            made[text] = text
        return made
    if isinstance(value, list):
        return [poisoned(each, text, steers=steers, at=at) for each in value]
    if not isinstance(value, str) or at in _IDENTITY or (not steers and at[-1] in _STEERING):
        return value
    return text


def enriched(obj: Json) -> Json:
    """Return an object with the fields that its kind may have and the seed does not fill."""
    metadata = {"labels": {}, **obj["metadata"]}
    annotations = {**(metadata.get("annotations") or {}), "vmbroker.io/ssh-user": "x", "vmbroker.io/ssh-port": "x"}
    status = dict(obj.get("status") or {})
    kinds = (
        "Ready",
        "Paused",
        "AgentConnected",
        "LiveMigratable",
        "RestartRequired",
        "Synchronized",
        "Failure",
        "PodScheduled",
    )
    known = {entry["type"] for entry in status.get("conditions", ())}
    status["conditions"] = [
        *({**entry, "message": "x", "reason": "x"} for entry in status.get("conditions", ())),
        *({"type": kind, "status": "False", "message": "x", "reason": "x"} for kind in kinds if kind not in known),
    ]
    if obj["kind"] == "VirtualMachineInstance":
        status["guestOSInfo"] = {"id": "x", "name": "x", "prettyName": "x", "version": "x", "kernelRelease": "x"}
        status["nodeName"] = "x"
        status["interfaces"] = [
            *(
                {**each, "interfaceName": "x", "podInterfaceName": "x", "mac": "x", "linkState": "x", "queueCount": 1}
                for each in status.get("interfaces", ())
            ),
            {"interfaceName": "x", "ipAddress": "x", "ipAddresses": ["x", "x"], "mac": "x", "infoSource": "guest-agent"},
        ]
    return {**obj, "metadata": {**metadata, "annotations": annotations}, "status": status}


@dataclass(slots=True, kw_only=True)
class HostileLab:
    """A running pretend cluster full of hostile objects; `targets` are `vm/NAME/NAMESPACE` by the name of their text."""

    cluster: Cluster
    kubeconfig: Path
    loop: asyncio.AbstractEventLoop
    targets: dict[str, list[str]]

    def do(self, action: Callable[[], object]) -> None:
        """Run something on the cluster's own thread."""
        done = threading.Event()

        def run() -> None:
            try:
                action()
            finally:
                done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(10)


def seeded() -> Objects:
    """The lab's own objects, to be poisoned."""
    objects = Objects()
    plant(objects, network="127.0.0", keys=("ssh-ed25519 AAAA lab",), ssh_port=22, fleet=0)
    return objects


def fill(cluster: Cluster) -> dict[str, list[str]]:
    """Put hostile VMs in, two a text (all strings; all but the steering words), and everything else of the seed poisoned."""
    objects, source = cluster.objects, seeded()
    for resource, obj in access_objects():
        objects.put(resource, obj)
    pairs = [
        (source.get(VMS, ns, name), source.get(VMIS, ns, name))
        for ns, name in (key.split("/") for key in _keys(source, VMIS))
        if source.get(VMS, ns, name)
    ]
    targets: dict[str, list[str]] = {}
    for index, (title, whole) in enumerate(TEXTS.items()):
        text = whole[:_CUT]
        for steers in (True, False):
            vm, vmi = pairs[index % len(pairs)]
            assert vm is not None and vmi is not None
            name = f"{'all' if steers else 'most'}-{title}"
            identity = {"name": name, "namespace": "shop"}
            for resource, obj in ((VMS, vm), (VMIS, vmi)):
                rich = enriched({**obj, "metadata": {**obj["metadata"], **identity}})
                objects.put(resource, poisoned(rich, text, steers=steers))
            targets.setdefault(title, []).append(f"vm/{name}/shop")
    mixed = "".join(text[:40] for text in TEXTS.values())
    for resource in _resources(source):
        if "authorization" in resource or resource in (VMS, VMIS, "namespaces"):
            continue
        for key in _keys(source, resource):
            namespace, _, name = key.rpartition("/")
            found = source.get(resource, namespace or None, name)
            if found is not None:
                objects.put(resource, poisoned(found, mixed, steers=False))
    return targets


def _keys(objects: Objects, resource: str) -> list[str]:
    return list(objects._shelves[resource].keys)


def _resources(objects: Objects) -> list[str]:
    return list(objects._shelves)


@contextmanager
def hostile_lab(folder: Path) -> Iterator[HostileLab]:
    """Run it in a thread until the block ends."""
    started, made = threading.Event(), list[HostileLab]()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        settings = ClusterSettings(state_dir=folder / "lab", has_seed=False, has_guests=False, unrouted_s=0.05)
        async with Cluster.start(settings) as cluster:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            stop.append(lambda: loop.call_soon_threadsafe(ended.set))
            targets = fill(cluster)
            made.append(HostileLab(cluster=cluster, kubeconfig=cluster.kubeconfig(), loop=loop, targets=targets))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="hostile-lab", daemon=True)
    thread.start()
    assert started.wait(30), "the pretend cluster did not start"
    try:
        yield made[0]
    finally:
        stop[0]()
        thread.join(10)
