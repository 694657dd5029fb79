"""A forward from its start to its end: ready or not at all, guests that come and go, the API server too, and the counts."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from broker.errors import Failed, NotFound, NotPermitted
from tests.broker.actions.forwarding.served import (
    LIMIT_S,
    VMIS,
    VMS,
    client,
    descriptors,
    forwarding,
    is_reset,
    read_to_end,
    settings,
    until,
)
from tests.broker.lab.plain_guest import plain_guest
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import instance, machine


async def test_several_ports_lead_to_the_guest_and_the_counts_are_right(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as one, plain_guest() as two:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{one.port}", f"[::1]:0:{two.port}"]) as running:
            first, second = running.ready.listening
            assert (first.address, second.address) == ("127.0.0.1", "::1")
            async with client(first.port) as (reader, writer), client(second.port, "::1") as (other, _):
                writer.write(b"question")
                visit, other_visit = await one.visits.get(), await two.visits.get()
                assert await visit.reader.readexactly(8) == b"question"
                visit.writer.write(b"the answer")
                other_visit.writer.write(b"hello")
                assert await reader.readexactly(10) == b"the answer"
                assert await other.readexactly(5) == b"hello"
                tally = await running.end()
                assert (await read_to_end(reader))[0] == b""
                async with asyncio.timeout(LIMIT_S):
                    assert await visit.reader.read() == b""
        assert (tally.connections, tally.failed, tally.open) == (2, 0, 0)
        assert (tally.traffic.from_guest_bytes, tally.traffic.to_guest_bytes) == (15, 8)
        assert running.failures == []
        assert cluster.portforward is not None
        await until(lambda: cluster.portforward is not None and cluster.portforward.active == 0)


async def test_an_unknown_guest_is_told_before_anything_listens(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        with pytest.raises(NotFound):
            async with forwarding(cluster, "nobody", ["0:22"]):
                pass


@pytest.mark.parametrize("target", ["a", "vm/a", "vmi/a"])
async def test_want_of_the_right_is_told_before_anything_listens(tmp_path: Path, target: str) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMS, machine("a"))
        cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-1"))
        with pytest.raises(NotPermitted) as caught:
            async with forwarding(cluster, target, [f"0:{guest.port}"], user="norights"):
                pass
        resource = "virtualmachineinstances" if target == "vmi/a" else "virtualmachines"
        assert (caught.value.code, caught.value.exit_status) == ("forbidden", 4)
        assert f"you may not get {resource}/portforward of VM" in caught.value.message
        assert f"you are norights, and no role of yours holds verb get on {resource}/portforward" in (caught.value.cause or "")


async def test_where_nobody_tells_of_the_right_it_is_tried(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        cluster.faults.set("status=500,path=/apis/authorization*")
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            await served(running.port())


async def test_one_port_in_use_leaves_none_open(tmp_path: Path) -> None:
    before = descriptors()
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
            used, unused = taken.getsockname()[1], free.getsockname()[1]
            free.close()
            with pytest.raises(Failed) as caught:
                async with forwarding(cluster, "a", [f"{unused}:22", f"udp/{unused}:53", f"{used}:22"]):
                    pass
        assert caught.value.code == "port-in-use"
        assert f"'{used}:22'" in caught.value.message
        socket.create_server(("127.0.0.1", unused)).close()
    await until(lambda: descriptors() <= before)


async def test_a_stopped_guest_is_warned_of_and_served_once_it_runs(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        stopped = machine("a", created=False)
        stopped["spec"]["runStrategy"] = "Halted"
        stopped["status"]["printableStatus"] = "Stopped"
        cluster.objects.put(VMS, stopped)
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            assert [error.code for error in running.ready.obstacles] == ["vm-stopped"]
            assert await is_reset(running.port())
            await until(lambda: bool(running.failures))
            assert running.codes() == ["vm-stopped"]
            cluster.objects.put(VMS, machine("a"))
            cluster.objects.put(VMIS, instance("a", "127.0.0.1", owner="u-1"))
            await served(running.port())


async def served(port: int) -> None:
    """Come again until a client is not reset, as a program that retries does."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                async with client(port) as (reader, _), asyncio.timeout(0.3):
                    await reader.read(1)
            except TimeoutError:
                return  # held open: the guest has it
            except ConnectionResetError:
                continue


async def test_an_api_server_that_restarts_costs_clients_but_not_the_port(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            async with client(running.port()) as (reader, _):
                await guest.visits.get()
                cluster.faults.set("api-restart=0.5")
                assert (await read_to_end(reader))[0] == b""
            assert await is_reset(running.port())
            await until(lambda: bool(running.failures))
            assert {failure.error.exit_status for failure in running.failures} == {5}, running.failures
            await served(running.port())
            tally = await running.end()
        assert tally.connections >= 3
        assert tally.open == 0


@pytest.mark.parametrize(
    "fault", ["status=429,retry-after=30,path=/apis/subresources*", "status=503,path=/apis/subresources*", "drop"]
)
async def test_refusals_of_the_api_server_are_the_clients_reason(tmp_path: Path, fault: str) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            cluster.faults.set(fault)
            assert await is_reset(running.port())
            await until(lambda: bool(running.failures))
            assert running.failures[0].error.exit_status == 5
            cluster.faults.clear()
            await served(running.port())


async def test_an_api_server_that_hangs_costs_a_client_no_longer_than_its_limits(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        held = settings(handshake_s=0.2, request_s=0.2)
        async with forwarding(cluster, "a", [f"0:{guest.port}"], held=held) as running:
            cluster.faults.set("hang")
            async with asyncio.timeout(8):
                assert await is_reset(running.port())
            await until(lambda: bool(running.failures))
            assert running.failures[0].error.exit_status in (5, 6)
            cluster.faults.clear()
            await served(running.port())


async def test_a_client_waits_where_the_server_asks_for_patience(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            cluster.faults.set("status=429,retry-after=1,next=1,path=/apis/subresources*")
            async with client(running.port()) as (reader, _):
                async with asyncio.timeout(LIMIT_S):
                    visit = await guest.visits.get()
                visit.writer.write(b"late")
                assert await reader.readexactly(4) == b"late"
            assert running.failures == []


async def test_it_ends_by_itself_once_nobody_came_or_all_left(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"], exit_when_idle_s=0.1) as running:
            async with asyncio.timeout(LIMIT_S):
                assert (await running.task).connections == 0
        held = settings(grace_s=0.1)
        async with forwarding(cluster, "a", [f"0:{guest.port}"], exit_when_idle_s=0.3, held=held) as running:
            async with client(running.port()):
                await guest.visits.get()
                # Open for longer than the idle time: it must not count.
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.6):
                        await asyncio.shield(running.task)
            async with asyncio.timeout(LIMIT_S):
                assert (await running.task).connections == 1


async def test_nothing_is_left_open_by_clients_of_every_kind(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"], held=settings(grace_s=0.05)) as running:
            before = descriptors()
            for _ in range(5):
                async with client(running.port()) as (reader, writer):
                    visit = await guest.visits.get()
                    visit.writer.write(b"x" * 100_000)
                    visit.writer.close()
                    assert await read_to_end(reader) == (b"x" * 100_000, False)
                async with client(running.port()):
                    visit = await guest.visits.get()
                visit.writer.transport.abort()
                async with client(running.port()) as (reader, writer):
                    visit = await guest.visits.get()
                    writer.write_eof()
                    assert await read_to_end(reader) == (b"", False)
                visit.writer.transport.abort()
            await until(lambda: descriptors() <= before)
            assert running.failures == []
