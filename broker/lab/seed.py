"""The VMs of the seed: each situation of an SSH user once, and as many more as are asked for without guests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import yaml

from broker.lab.guest import SSH_PORT, Account, Guest
from broker.lab.objects import Objects, timestamp
from broker.lab.seed_access import access_objects
from broker.lab.seed_machine import Machine, Nic, machine_objects
from broker.lab.seed_networks import NODES, cluster_objects, network_objects

__all__ = ["NAMESPACES", "accounts_in", "guests_of", "machines", "plant"]

NAMESPACES = ("shop", "team-a", "team-b", "infra")
_FLEET = 10
_STARTING_S = 5.0
"""Seconds since the instance that is starting was made, at the start of the lab."""
_LONG = "a-very-long-machine-name-that-fills-a-whole-dns-label-of-63-abc"


def machines(network: str) -> tuple[Machine, ...]:
    """Return the seed's machines with addresses below `network` (`127.A.B`); the situations of kubevirt.md E6 and A3."""
    return (*_shop(network), *_team_a(network), *_team_b(), *_infra(network))


def _shop(network: str) -> Iterator[Machine]:
    web = (_pod(network, 11), _lan("vlan120", "192.168.120.11", guest_interface="eth1"))
    yield Machine(namespace="shop", name="web", nics=web, guest="real")
    db = (_pod(network, 12),)
    yield Machine(namespace="shop", name="db", nics=db, guest="real", user="debian", system="debian", node="node-2")
    yield Machine(namespace="shop", name="web.blue", nics=(_pod(network, 13),), guest="real")
    yield Machine(namespace="shop", name="stopped", nics=(_pod(network),), state="stopped")
    yield Machine(namespace="shop", name="paused", nics=(_pod(network, 14),), state="paused", guest="real")
    two = Nic(name="default", addresses=(f"{network}.15", "fd10:244::15"))
    yield Machine(namespace="shop", name="dual", nics=(two,), guest="real")
    yield Machine(namespace="shop", name="lone", nics=(_pod(network, 16),), guest="real", has_vm=False, user="ops")


def _team_a(network: str) -> Iterator[Machine]:
    web = (_pod(network, 21),)
    yield Machine(namespace="team-a", name="web", nics=web, guest="real", user="cloud-user", system="centos")
    yield Machine(namespace="team-a", name="closed", nics=(_pod(network, 22, ports=(80, 443)),), guest="silent")
    yield Machine(namespace="team-a", name="silent", nics=(_pod(network, 23),), guest="silent")
    yield Machine(namespace="team-a", name="filtered", nics=(_pod(network, 24),), guest="filtered")
    yield Machine(namespace="team-a", name="noaddress", nics=(_pod(network, source="domain"),))
    yield Machine(namespace="team-a", name="nonics", nics=())
    yield Machine(namespace="team-a", name="starting", nics=(_pod(network),), state="starting", has_agent=False)


def _team_b() -> Iterator[Machine]:
    tenant = Nic(
        name="default", binding="plugin l2bridge", addresses=("10.200.0.7",), pod_address="10.244.0.7", pod_interface="ovn-udn1"
    )
    yield Machine(namespace="team-b", name="tenant", nics=(tenant,))


def _infra(network: str) -> Iterator[Machine]:
    overlay = Nic(
        name="overlay", binding="bridge", network="overlay", addresses=("10.99.0.31",), pod_interface="pod5b1e0f7a3c2",
        guest_interface="eth1",
    )  # fmt: skip
    yield Machine(namespace="infra", name="lan-only", nics=(_lan("lan", "192.168.50.31"), overlay))
    # The spec names the secondary network first; the status has the pod network in front all the same.
    second = _pod(network, 32, guest_interface="eth1")
    yield Machine(namespace="infra", name="lan-first", nics=(_lan("lan", "192.168.50.32"), second), guest="real")
    yield Machine(
        namespace="infra", name="nat", nics=(Nic(name="default", addresses=("10.0.2.2",), pod_address="10.244.0.33"),)
    )
    fast = Nic(name="fast", binding="sriov", network="fast", pod_interface="pod9f8c1d2e3b4", guest_interface="eth1")
    yield Machine(namespace="infra", name="fast", nics=(_pod(network, 33), fast), guest="real", node="node-3")
    docker = Nic(
        name="docker0", addresses=("172.17.0.1",), in_spec=False, pod_interface="", guest_interface="docker0",
        source="guest-agent",
    )  # fmt: skip
    yield Machine(namespace="infra", name="docker", nics=(_pod(network, 34), docker), guest="real")
    yield Machine(namespace="infra", name="quiet", nics=(_pod(network, 35, source="domain"),), has_agent=False, guest="real")
    yield Machine(namespace="infra", name=_LONG, nics=(_pod(network, 36),), guest="real")


def _pod(network: str, number: int | None = None, **more: Any) -> Nic:
    return Nic(name="default", addresses=() if number is None else (f"{network}.{number}",), **more)


def _lan(network: str, address: str, guest_interface: str = "eth0") -> Nic:
    return Nic(
        name="lan", binding="bridge", network=network, addresses=(address,), pod_interface="pod37a8eec1ce1",
        guest_interface=guest_interface,
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
        if ssh_port != SSH_PORT and (machine.guest == "real" or machine.state == "stopped"):
            machine = replace(machine, annotations={**machine.annotations, "vmbroker.io/ssh-port": str(ssh_port)})
        if machine.state == "starting":
            machine = replace(machine, started_at=timestamp(time.time() - _STARTING_S))
        everything.append(machine_objects(machine, keys=keys))
    everything.extend(machine_objects(_fleet_machine(number), keys=keys) for number in range(fleet))
    for part in everything:
        for resource, obj in part:
            objects.put(resource, obj)


def guests_of(objects: Objects, *, network: str, ssh_port: int = SSH_PORT) -> Iterator[Guest]:
    """Yield what has to run behind the addresses: users and keys as the stored cloud-init data say."""
    for machine in machines(network):
        if machine.guest == "none":
            continue
        stored = objects.get("virtualmachineinstances.kubevirt.io", machine.namespace, machine.name)
        accounts = accounts_in(stored["spec"]) if stored is not None else ()
        address = next(address for nic in machine.nics for address in nic.addresses if address.startswith(f"{network}."))
        yield Guest(
            namespace=machine.namespace,
            name=machine.name,
            address=address,
            ssh_port=ssh_port,
            accounts=accounts,
            speaks_ssh=machine.guest == "real",
            is_filtered=machine.guest == "filtered",
            is_paused=machine.state == "paused",
        )


def accounts_in(spec: dict[str, Any]) -> tuple[Account, ...]:
    """Return the users that an instance's cloud-init makes, with their keys."""
    found: list[Account] = []
    for volume in spec.get("volumes") or ():
        data = (volume.get("cloudInitNoCloud") or {}).get("userData") or ""
        if not data.startswith("#cloud-config\n"):
            continue
        users = (yaml.safe_load(data) or {}).get("users") or ()
        found += [_account(user) for user in users if isinstance(user, dict)]
    return tuple(found)


def _account(user: dict[str, Any]) -> Account:
    return Account(name=str(user["name"]), keys=tuple(user.get("ssh_authorized_keys") or ()))


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
