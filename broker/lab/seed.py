"""The VMs of the seed: each situation of an SSH user once, and as many more as are asked for without guests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import yaml

from broker.lab.guests import SSH_PORT, Account, Guest
from broker.lab.objects import Objects
from broker.lab.seed_access import access_objects
from broker.lab.seed_machine import Machine, Nic, machine_objects
from broker.lab.seed_networks import NODES, cluster_objects, network_objects

__all__ = ["NAMESPACES", "guests_of", "machines", "plant"]

NAMESPACES = ("shop", "team-a", "team-b", "infra")
_FLEET = 10
_LONG = "a-very-long-machine-name-that-fills-a-whole-dns-label-of-63-abc"


def machines(network: str) -> tuple[Machine, ...]:
    """Return the seed's machines with addresses below `network` (`127.A.B`); the situations of kubevirt.md E6 and A3."""

    def pod(number: int, **more: Any) -> Nic:
        return Nic(name="default", addresses=(f"{network}.{number}",), **more)

    lan = Nic(name="lan", binding="bridge", network="vlan120", pod_interface="pod37a8eec1ce1", guest_interface="eth1")
    return (
        Machine(namespace="shop", name="web", nics=(pod(11), replace(lan, addresses=("192.168.120.11",))), guest="real"),
        Machine(namespace="shop", name="db", nics=(pod(12),), user="debian", system="debian", node="node-2", guest="real"),
        Machine(namespace="shop", name="web.blue", nics=(pod(13),), guest="real"),
        Machine(namespace="shop", name="stopped", nics=(Nic(name="default"),), state="stopped"),
        Machine(namespace="shop", name="paused", nics=(pod(14),), state="paused", guest="silent"),
        Machine(namespace="shop", name="dual", nics=(Nic(name="default", addresses=(f"{network}.15", "fd10:244::15")),), guest="real"),
        Machine(namespace="shop", name="lone", nics=(pod(16),), guest="real", has_vm=False, user="ops"),
        Machine(namespace="team-a", name="web", nics=(pod(21),), user="cloud-user", system="centos", guest="real"),
        Machine(namespace="team-a", name="closed", nics=(pod(22, ports=(80, 443)),), guest="silent"),
        Machine(namespace="team-a", name="silent", nics=(pod(23),), guest="silent"),
        Machine(namespace="team-a", name="filtered", nics=(pod(24),), guest="filtered"),
        Machine(namespace="team-a", name="noaddress", nics=(Nic(name="default", source="domain"),)),
        Machine(namespace="team-a", name="nonics", nics=()),
        Machine(namespace="team-a", name="starting", nics=(Nic(name="default"),), state="starting", has_agent=False),
        Machine(
            namespace="team-b",
            name="tenant",
            nics=(Nic(name="default", binding="plugin l2bridge", addresses=("10.200.0.7",), pod_interface="ovn-udn1"),),
        ),
        Machine(
            namespace="infra",
            name="lan-only",
            nics=(replace(lan, network="lan", addresses=("192.168.50.31",), guest_interface="eth0"),),
        ),
        Machine(
            namespace="infra",
            name="lan-first",
            nics=(
                replace(lan, network="lan", addresses=("192.168.50.32",), guest_interface="eth0"),
                Nic(name="overlay", binding="bridge", network="overlay", addresses=("10.99.0.32",), pod_interface="pod5b1e0f7a3c2"),
            ),
        ),
        Machine(namespace="infra", name="nat", nics=(Nic(name="default", addresses=("10.0.2.2",)),)),
        Machine(
            namespace="infra",
            name="fast",
            nics=(pod(33), Nic(name="fast", binding="sriov", network="fast", pod_interface="pod9f8c1d2e3b4", guest_interface="eth1")),
            guest="real",
            node="node-3",
        ),
        Machine(
            namespace="infra",
            name="docker",
            nics=(
                pod(34),
                Nic(name="docker0", addresses=("172.17.0.1",), in_spec=False, pod_interface="", guest_interface="docker0", source="guest-agent"),
            ),
            guest="real",
        ),
        Machine(namespace="infra", name="quiet", nics=(pod(35, source="domain"),), has_agent=False, guest="real"),
        Machine(namespace="infra", name=_LONG, nics=(pod(36),), guest="real"),
    )  # fmt: skip


def plant(objects: Objects, *, network: str, keys: tuple[str, ...], ssh_port: int = SSH_PORT, fleet: int = 0) -> None:
    """Put the whole seed into a store; `fleet` further VMs without guests, spread over ten namespaces."""
    fleets = tuple(f"fleet-{number}" for number in range(_FLEET)) if fleet else ()
    everything: list[Iterable[tuple[str, dict[str, Any]]]] = [
        cluster_objects((*NAMESPACES, *fleets)),
        network_objects(),
        access_objects(),
    ]
    for machine in machines(network):
        if ssh_port != SSH_PORT and machine.guest == "real":
            machine = replace(machine, annotations={**machine.annotations, "vmbroker.io/ssh-port": str(ssh_port)})
        everything.append(machine_objects(machine, keys=keys))
    for number in range(fleet):
        everything.append(machine_objects(_fleet_machine(number), keys=keys))
    for part in everything:
        for resource, obj in part:
            objects.put(resource, obj)


def guests_of(objects: Objects, *, network: str, ssh_port: int = SSH_PORT) -> Iterator[Guest]:
    """Yield what has to run behind the addresses: users and keys as the stored cloud-init data say."""
    for machine in machines(network):
        if machine.guest == "none":
            continue
        stored = objects.get("virtualmachineinstances.kubevirt.io", machine.namespace, machine.name)
        accounts = _accounts(stored["spec"]) if stored is not None else ()
        address = next(address for nic in machine.nics for address in nic.addresses if address.startswith(network))
        yield Guest(
            namespace=machine.namespace,
            name=machine.name,
            address=address,
            ssh_port=ssh_port,
            accounts=accounts,
            speaks_ssh=machine.guest == "real",
            is_filtered=machine.guest == "filtered",
        )


def _accounts(spec: dict[str, Any]) -> tuple[Account, ...]:
    found: list[Account] = []
    for volume in spec.get("volumes") or ():
        data = (volume.get("cloudInitNoCloud") or {}).get("userData") or ""
        if not data.startswith("#cloud-config\n"):
            continue
        for user in (yaml.safe_load(data) or {}).get("users") or ():
            if isinstance(user, dict):
                found.append(Account(name=str(user["name"]), keys=tuple(user.get("ssh_authorized_keys") or ())))
    return tuple(found)


def _fleet_machine(number: int) -> Machine:
    address = f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
    state = "stopped" if number % 20 == 19 else "running"
    return Machine(
        namespace=f"fleet-{number % _FLEET}",
        name=f"vm-{number:05d}",
        nics=(Nic(name="default", addresses=(address,)),),
        state=state,
        node=NODES[number % len(NODES)],
    )
