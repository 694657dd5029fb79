"""Clients of one TCP port: side by side, each with its own trouble, and bounded."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from broker.actions import forward as forward_module
from broker.actions.connect import open_guest, read_guest
from broker.errors import BrokerError
from broker.kube.cold import ColdClient
from broker.lab.cluster import Cluster
from broker.refs import parse_target
from tests.broker.actions.forwarding.served import (
    LIMIT_S,
    VMIS,
    client,
    endpoint_of,
    forwarding,
    is_reset,
    read_to_end,
    settings,
    until,
)
from tests.broker.lab.plain_guest import PlainGuest, plain_guest
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import instance


async def test_a_dial_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"], held=settings(handshake_s=1.0)) as running:
            cluster.faults.set(f"guest-port=n/a:{guest.port}:filtered")
            async with client(running.port()) as (first, _):
                await until(lambda: bool(cluster.faults.seen))
                cluster.faults.clear()
                async with client(running.port()) as (second, _):
                    visit = await guest.visits.get()
                    visit.writer.write(b"there")
                    assert await second.readexactly(5) == b"there"
                assert await read_to_end(first) == (b"", True)
            await until(lambda: bool(running.failures))
            assert running.codes() == ["port-filtered"]


async def test_a_closed_port_resets_its_client_with_the_reason_that_ssh_gives(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{port}"]) as running:
            assert await is_reset(running.port(), b"into the void")
            await until(lambda: bool(running.failures))
            error = running.failures[0].error
            of_ssh = await asyncio.to_thread(reason_of_ssh, cluster, port)
            assert error.as_json() == of_ssh.as_json()
            assert error.exit_status == 5
            assert str(port) in error.message


def reason_of_ssh(cluster: Cluster, port: int) -> BrokerError:
    """What the blocking way of `ssh` and `proxy` says of a port of the guest `a`."""
    with ColdClient(endpoint_of(cluster)) as cold:
        reading = read_guest(cold, parse_target("a"), default_namespace="n")
        with pytest.raises(BrokerError) as caught:
            open_guest(cold, reading, port, stream=settings().stream)
    return caught.value


async def test_many_clients_at_once_fail_with_one_line_and_a_count(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{port}"]) as running:

            async def refused() -> None:
                assert await is_reset(running.port())

            async with asyncio.TaskGroup() as group:
                for _ in range(30):
                    group.create_task(refused())
            tally = await running.end()
        assert (tally.connections, tally.failed) == (30, 30)
        assert sum(failure.count for failure in running.failures) == 30
        assert len(running.failures) <= 4


async def test_one_client_too_many_is_reset_and_a_place_that_gets_free_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_module, "client_limit", lambda: 1)
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            async with client(running.port()):
                visit = await guest.visits.get()
                assert await is_reset(running.port())
                assert running.codes() == ["too-many-clients"]
                visit.writer.close()
            async with asyncio.timeout(LIMIT_S):
                while guest.visits.empty():
                    try:
                        async with client(running.port()) as (reader, _), asyncio.timeout(0.2):
                            await reader.read(1)
                    except (TimeoutError, ConnectionResetError):
                        continue


async def test_a_reader_that_stalls_holds_up_nobody_else(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path, pong_deadline_s=0.7) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        data = bytes(range(256)) * 4096 * 4
        async with forwarding(cluster, "a", [f"0:{guest.port}"]) as running:
            async with client(running.port()) as (stalled, _), asyncio.timeout(LIMIT_S):
                visit = await guest.visits.get()
                visit.writer.write(data)
                await two_deadlines(running.port(), guest)
                visit.writer.close()
                assert await read_to_end(stalled) == (data, False)
            assert running.failures == []


async def two_deadlines(port: int, guest: PlainGuest) -> None:
    """Use another client for two pong deadlines."""
    loop = asyncio.get_running_loop()
    async with client(port) as (reader, writer):
        visit, ends_at = await guest.visits.get(), loop.time() + 1.4
        while loop.time() < ends_at:
            writer.write(b"ping")
            assert await visit.reader.readexactly(4) == b"ping"
            visit.writer.write(b"pong")
            assert await reader.readexactly(4) == b"pong"
