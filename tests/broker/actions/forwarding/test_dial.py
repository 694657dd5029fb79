"""One dialer for many clients: one reading for all, the permitted route, credentials that change, reasons found once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from broker.actions.forwarding.dial import APART_S, GuestDialer
from broker.errors import CredentialError, GuestUnready, NotFound
from broker.lab.cluster import Cluster
from broker.refs import parse_target
from tests.broker.actions.forwarding.served import VMIS, VMS, endpoint_of, settings, until
from tests.broker.lab.plain_guest import plain_guest
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import instance, machine


def dialer_of(cluster: Cluster, target: str = "a", user: str = "admin") -> GuestDialer:
    return GuestDialer(endpoint_of(cluster, user), settings(), parse_target(target), reopen=lambda: endpoint_of(cluster, user))


def reads(cluster: Cluster) -> int:
    """How many requests for the VMI the lab has met (a fault that does nothing but count)."""
    return sum(count for name, count in cluster.faults.seen.items() if name.startswith("latency"))


COUNTED = "latency=0.05,path=/apis/kubevirt.io/v1/namespaces/n/virtualmachineinstances/a"


def stop(cluster: Cluster) -> None:
    """The guest as it is once it was stopped."""
    stopped = machine("a", created=False)
    stopped["spec"]["runStrategy"] = "Halted"
    stopped["status"]["printableStatus"] = "Stopped"
    cluster.objects.put(VMS, stopped)
    if cluster.objects.get(VMIS, "n", "a") is not None:
        cluster.objects.delete(VMIS, "n", "a")


def run_again(cluster: Cluster) -> None:
    cluster.objects.put(VMS, machine("a"))
    cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-1"))


async def test_a_guest_that_runs_again_is_dialled_at_once(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        stop(cluster)
        dialer = dialer_of(cluster)
        for _ in range(3):
            with pytest.raises(GuestUnready) as caught:
                await dialer.open(guest.port, "tcp")
            assert caught.value.code == "vm-stopped"
            run_again(cluster)
            await (await dialer.open(guest.port, "tcp")).aclose()
            stop(cluster)


async def test_those_who_are_turned_away_share_few_readings(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        stop(cluster)
        cluster.faults.set(COUNTED)
        dialer = dialer_of(cluster)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def come_again() -> int:
            refused = 0
            while loop.time() < began + 3 * APART_S:
                with pytest.raises(GuestUnready):
                    await dialer.open(22, "tcp")
                refused += 1
            return refused

        refused = await asyncio.gather(*(come_again() for _ in range(20)))
        assert sum(refused) >= 20
        assert reads(cluster) <= (loop.time() - began) / APART_S + 1


async def test_a_guest_that_stopped_meanwhile_is_told_in_the_words_of_ssh(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        run_again(cluster)
        dialer = dialer_of(cluster)
        await (await dialer.open(guest.port, "tcp")).aclose()
        stop(cluster)
        with pytest.raises(GuestUnready) as caught:
            await dialer.open(guest.port, "tcp")
        assert caught.value.message == "VM a in namespace n is stopped"
        assert caught.value.cause == "it has no instance and its run strategy is Halted"


async def test_a_guest_that_is_restarted_meanwhile_is_still_starting(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        run_again(cluster)
        dialer = dialer_of(cluster)
        await (await dialer.open(guest.port, "tcp")).aclose()
        starting = instance("a", "127.0.0.1", owner="u-1")
        starting["status"] = {"phase": "Scheduling"}
        cluster.objects.put(VMIS, starting)
        with pytest.raises(GuestUnready) as caught:
            await dialer.open(guest.port, "tcp")
        assert caught.value.code == "vm-starting"


async def test_a_refusal_that_is_out_of_date_when_it_is_looked_into_costs_a_second_dial(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        run_again(cluster)
        dialer = dialer_of(cluster)
        await (await dialer.open(guest.port, "tcp")).aclose()
        cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-1", conditions=("Paused",)))
        cluster.faults.set(COUNTED.replace("0.05", "0.5"))
        async with asyncio.TaskGroup() as group:
            dial = group.create_task(dialer.open(guest.port, "tcp"))
            await until(lambda: reads(cluster) == 1)
            run_again(cluster)
        await dial.result().aclose()


async def test_one_reading_serves_all_who_wait_for_it(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        cluster.faults.set(COUNTED)
        dialer = dialer_of(cluster)
        async with asyncio.TaskGroup() as group:
            dials = [group.create_task(dialer.open(guest.port, "tcp")) for _ in range(10)]
        assert reads(cluster) == 1
        for each in dials:
            await each.result().aclose()


async def test_one_failed_reading_serves_all_who_wait_for_it(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        cluster.faults.set(COUNTED)
        dialer = dialer_of(cluster)
        found = await asyncio.gather(*(dialer.open(22, "tcp") for _ in range(10)), return_exceptions=True)
        assert all(isinstance(each, NotFound) for each in found)
        assert reads(cluster) <= 2


async def test_a_guest_that_is_deleted_and_comes_again_is_found(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMS, machine("a", uid="u-1"))
        cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-1"))
        dialer = dialer_of(cluster)
        await (await dialer.open(guest.port, "tcp")).aclose()
        # Another VM of the same name, with another instance: nothing of the first one may stick.
        cluster.objects.put(VMS, machine("a", uid="u-2"))
        cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-2"))
        await (await dialer.open(guest.port, "tcp")).aclose()


async def test_a_login_that_is_renewed_in_the_kubeconfig_is_used(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        kubeconfig = cluster.kubeconfig("admin")
        good = kubeconfig.read_text()
        kubeconfig.write_text(_with_token(good, "expired"))
        dialer = dialer_of(cluster)
        with pytest.raises(CredentialError):
            await dialer.open(guest.port, "tcp")
        kubeconfig.write_text(good)
        await (await dialer.open(guest.port, "tcp")).aclose()


def _with_token(text: str, token: str) -> str:
    document = yaml.safe_load(text)
    document["users"][0]["user"] = {"token": token}
    return str(yaml.safe_dump(document))


async def test_the_same_failure_is_explained_once_for_many(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        cluster.faults.set("guest-port=n/a:closed")
        dialer = dialer_of(cluster)
        found = await asyncio.gather(*(dialer.open(4022, "tcp") for _ in range(10)), return_exceptions=True)
        assert len({id(each) for each in found}) == 1


async def test_the_route_that_is_permitted_is_found_and_kept(tmp_path: Path) -> None:
    rbac, who = "rbac.authorization.k8s.io", {"kind": "User", "name": "norights"}
    role = {"apiGroups": ["subresources.kubevirt.io"], "resources": ["virtualmachineinstances/portforward"], "verbs": ["get"]}
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMS, machine("a"))
        cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-1"))
        for resource, kind, rest in (
            ("roles", "Role", {"rules": [role]}),
            (
                "rolebindings",
                "RoleBinding",
                {"roleRef": {"kind": "Role", "name": "pf"}, "subjects": [{**who, "apiGroup": rbac}]},
            ),
        ):
            meta = {"name": "pf", "namespace": "n"}
            cluster.objects.put(f"{resource}.{rbac}", {"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": meta, **rest})
        dialer = dialer_of(cluster, "a", user="norights")
        await (await dialer.open(guest.port, "tcp")).aclose()
        cluster.faults.set("latency=0.01,path=/apis/subresources.kubevirt.io/v1/namespaces/n/virtualmachines/*")
        await (await dialer.open(guest.port, "tcp")).aclose()
        assert reads(cluster) == 0
