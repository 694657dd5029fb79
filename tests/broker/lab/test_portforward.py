"""The portforward subresource as kubevirt.md A and M describe it: order, errors, and how a tunnel lives and ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from broker.lab.cluster import Cluster
from broker.lab.faults import UNREACHABLE_TEXTS
from tests.broker.lab.plain_guest import plain_guest
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import (
    CLOSE,
    LIMIT_S,
    PONG,
    SUBRESOURCES,
    UPGRADE,
    asked,
    forward,
    frames_of,
    instance,
    machine,
    payload_of,
)

VMIS = "virtualmachineinstances.kubevirt.io"
VMS = "virtualmachines.kubevirt.io"


def closed_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def quiet(cluster: Cluster) -> None:
    """Wait until no tunnel relays any more."""
    assert cluster.portforward is not None
    while cluster.portforward.active:  # noqa: ASYNC110 - there is nothing to wait on in the real virt-api either
        await asyncio.sleep(0.005)


async def test_bytes_pass_both_ways_and_the_subprotocol_is_taken(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)) as link:
            assert (link.status, link.headers["sec-websocket-protocol"]) == (101, "plain.kubevirt.io")
            assert "sec-websocket-extensions" not in link.headers
            visit = await guest.visits.get()
            link.send(0x82, b"to the guest")
            assert await visit.reader.readexactly(12) == b"to the guest"
            visit.writer.write(b"to the client")
            await link.until_payload(b"to the client")


async def test_an_offer_without_the_subprotocol_gets_none(tmp_path: Path) -> None:
    headers = {name: value for name, value in UPGRADE.items() if name != "Sec-WebSocket-Protocol"}
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port), headers) as link:
            assert link.status == 101
            assert "sec-websocket-protocol" not in link.headers


async def test_the_guest_is_dialled_before_the_upgrade_is_judged(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port), {"Accept": "*/*"}) as link:
            assert link.status == 400
            body = await link.body()
        assert body.startswith(b"Bad Request")
        status = json.loads(body.partition(b"\n")[2])
        assert "the client is not using the websocket protocol" in status["message"]
        visit = await asyncio.wait_for(guest.visits.get(), LIMIT_S)
        assert await visit.reader.read() == b""


async def test_the_end_of_the_guest_is_a_bare_end_after_its_last_byte(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)) as link:
            visit = await guest.visits.get()
            visit.writer.write(b"x" * 300_000 + b"the last")
            visit.writer.close()
            async with asyncio.timeout(LIMIT_S):
                await link.take_all()
        assert payload_of(link.raw) == b"x" * 300_000 + b"the last"
        assert CLOSE not in [first for first, _ in frames_of(link.raw)]


async def test_a_close_frame_is_echoed_and_then_the_guest_is_left(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)) as link:
            visit = await guest.visits.get()
            link.send(0x82, b"before")
            link.send(CLOSE, (1000).to_bytes(2, "big"))
            async with asyncio.timeout(LIMIT_S):
                await link.take_all()
                assert await visit.reader.read() == b"before"
        assert (CLOSE, (1000).to_bytes(2, "big")) in list(frames_of(link.raw))


async def test_a_client_that_is_gone_takes_the_guests_socket_along(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)):
            visit = await guest.visits.get()
        async with asyncio.timeout(LIMIT_S):
            assert await visit.reader.read() == b""
            await quiet(cluster)


async def test_text_frames_are_ignored_and_fragments_joined(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)) as link:
            visit = await guest.visits.get()
            link.send(0x81, b"no bytes of mine")
            link.send(0x02, b"one ")
            link.send(0x00, b"two ")
            link.send(0x80, b"three")
            assert await visit.reader.readexactly(13) == b"one two three"


async def test_a_datagram_is_a_message(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setblocking(False)
    server.bind(("127.0.0.1", 0))
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", server.getsockname()[1], protocol="udp")) as link:
            assert link.status == 101
            link.send(0x82, b"question")
            data, source = await asyncio.wait_for(loop.sock_recvfrom(server, 100), LIMIT_S)
            assert data == b"question"
            await loop.sock_sendto(server, b"answer", source)
            await link.until_payload(b"answer")
    server.close()


async def test_pings_come_with_their_payload_and_a_silent_client_is_left(tmp_path: Path) -> None:
    """Only a pong renews the deadline, not data."""
    async with empty_cluster(tmp_path, pong_deadline_s=0.6) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)) as silent, asked(cluster, forward("a", guest.port)) as good:
            started = asyncio.get_running_loop().time()

            async def talk() -> None:
                while not silent.reader.at_eof():
                    silent.send(0x82, b".")
                    good.send(PONG, b"keep alive")
                    await asyncio.sleep(0.02)

            async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
                group.create_task(talk())
                group.create_task(silent.take_all(is_answering=False))
            assert 0.5 < asyncio.get_running_loop().time() - started < 3
            assert not good.reader.at_eof()
            good.send(CLOSE, b"")
        pings = [payload for first, payload in frames_of(silent.raw) if first == 0x89]
        assert len(pings) > 10
        assert set(pings) == {b"keep alive"}


CASES = {
    "no VM": ("virtualmachines", "absent", 404, "NotFound", 'virtualmachine.kubevirt.io "absent" not found'),
    "stopped": ("virtualmachines", "stopped", 409, "Conflict", "VMI is not started"),
    "no VMI of a VM": ("virtualmachines", "lost", 404, "NotFound", 'virtualmachineinstance.kubevirt.io "lost" not found'),
    "no VMI": ("virtualmachineinstances", "absent", 404, "NotFound", 'virtualmachineinstance.kubevirt.io "absent" not found'),
    "another's VMI": ("virtualmachines", "foreign", 500, "InternalError", "unable to retrieve vmi [foreign] for vm: <nil>"),
    "paused": ("virtualmachineinstances", "paused", 409, "Conflict", "VMI is paused"),
    "no interface": ("virtualmachineinstances", "bare", 400, "BadRequest", "no network interfaces are present"),
    "no address": ("virtualmachineinstances", "empty", 500, "InternalError", "dial tcp :22: connect: connection refused"),
    "no way": ("virtualmachineinstances", "far", 500, "InternalError", "dial tcp 10.0.0.9:22: connect: connection timed out"),
    "no way by IPv6": (
        "virtualmachineinstances",
        "far6",
        500,
        "InternalError",
        "dial tcp [fd00::9]:22: connect: connection timed",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_each_situation_has_its_answer(tmp_path: Path, case: str) -> None:
    kind, name, status, reason, message = CASES[case]
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMS, machine("stopped", created=False))
        cluster.objects.put(VMS, machine("lost"))
        cluster.objects.put(VMS, machine("foreign"))
        cluster.objects.put(VMIS, instance("foreign", "127.0.0.1", owner="another"))
        cluster.objects.put(VMIS, instance("paused", "127.0.0.1", conditions=("Paused",)))
        for each in (instance("bare"), instance("empty", ""), instance("far", "10.0.0.9"), instance("far6", "fd00::9")):
            cluster.objects.put(VMIS, each)
        async with asked(cluster, forward(name, 22, kind=kind)) as link:
            body = json.loads(await link.body())
        assert link.headers["content-type"] == "application/json"
        assert (link.status, body["code"], body["reason"]) == (status, status, reason)
        assert message in body["message"]


@pytest.mark.parametrize(
    ("port", "protocol", "message"),
    [
        ("99999", "tcp", "dial tcp: address 99999: invalid port"),
        ("nosuchservice", "tcp", "dial tcp: lookup tcp/nosuchservice: unknown port"),
        ("22", "sctp", "dial sctp: unknown network sctp"),
    ],
)
async def test_what_cannot_be_dialled_is_an_internal_error(tmp_path: Path, port: str, protocol: str, message: str) -> None:
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", port, protocol=protocol)) as link:
            assert link.status == 500
            assert message in json.loads(await link.body())["message"]


async def test_a_port_where_nothing_listens_is_refused_by_name(tmp_path: Path) -> None:
    port = closed_port()
    async with empty_cluster(tmp_path) as cluster:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", port)) as link:
            message = json.loads(await link.body())["message"]
        assert message == f"Internal error occurred: dialing VM: dial tcp 127.0.0.1:{port}: connect: connection refused"


async def test_a_client_that_asks_for_json_is_told_406_before_anything(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        async with asked(cluster, forward("absent", 22), {**UPGRADE, "Accept": "application/json"}) as link:
            assert link.status == 406
            assert (await link.body()).startswith(b"406: Not Acceptable")


async def test_rights_are_asked_for_by_kind_and_namespace(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        async with asked(cluster, forward("a", 22), user="carol") as link:
            body = json.loads(await link.body())
        assert (link.status, body["reason"]) == (403, "Forbidden")
        assert 'cannot get resource "virtualmachineinstances/portforward"' in body["message"]
        async with asked(cluster, forward("a", 22), user="broker") as link:
            assert link.status == 404


@pytest.mark.parametrize("kind", UNREACHABLE_TEXTS)
async def test_an_unreachable_virt_api_is_told_in_plain_text(tmp_path: Path, kind: str) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        cluster.faults.virt_api_unreachable = kind
        async with asked(cluster, forward("a", guest.port)) as link:
            assert link.headers["content-type"].startswith("text/plain")
            assert (link.status, (await link.body()).decode()) == UNREACHABLE_TEXTS[kind]
        cluster.faults.virt_api_unreachable = None
        async with asked(cluster, forward("a", guest.port)) as link:
            assert link.status == 101


async def test_a_front_that_strips_the_upgrade_makes_it_a_bad_request(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))
        cluster.faults.strip_upgrade = True
        async with asked(cluster, forward("a", guest.port)) as link:
            assert link.status == 400
            assert b"not using the websocket protocol" in await link.body()
        assert cluster.faults.seen == {"strip-upgrade": 1}


async def test_what_is_no_portforward_path_is_not_found(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster:
        async with asked(cluster, f"{SUBRESOURCES}/namespaces/n/virtualmachineinstances/a/portforward/22/tcp/more") as link:
            assert link.status == 404


async def test_many_tunnels_leave_no_descriptor_and_no_task(tmp_path: Path) -> None:
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put(VMIS, instance("a", "127.0.0.1"))

        async def once(number: int) -> None:
            async with asked(cluster, forward("a", guest.port)) as link:
                assert link.status == 101
                visit = await guest.visits.get()
                visit.writer.write(b"banner")
                await link.until_payload(b"banner")
                if number % 2:
                    visit.writer.close()
                    await link.take_all()
            visit.writer.transport.abort()

        async def settled() -> tuple[int, int]:
            await quiet(cluster)
            for _ in range(20):
                await asyncio.sleep(0)
            return len(os.listdir("/dev/fd")), len(asyncio.all_tasks())

        await once(0)
        before = await settled()
        for number in range(60):
            await once(number)
        async with asyncio.timeout(LIMIT_S):
            while await settled() != before:  # noqa: ASYNC110 - the kernel reports the last ends in its own time
                await asyncio.sleep(0.01)
