"""Faults set on a running lab meet requests as a real server's failures do, and leave with their number or by word."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml

from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.faults import FAULT_NAMES, Faults
from tests.broker.lab.plain_guest import plain_guest
from tests.broker.lab.reader import Reader, reader
from tests.broker.lab.tunnel_client import asked, forward, instance

VMS = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines"
STORED = "virtualmachines.kubevirt.io"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A seeded lab without guests."""
    async with Cluster.start(ClusterSettings(state_dir=tmp_path, has_guests=False, unrouted_s=0.2)) as running:
        yield running


async def test_each_status_has_a_real_servers_words(cluster: Cluster) -> None:
    expected = {
        401: ("Unauthorized", "Unauthorized", None),
        403: (
            "Forbidden",
            'virtualmachines.kubevirt.io is forbidden: User "admin" cannot list resource "virtualmachines" in API group'
            ' "kubevirt.io" in the namespace "shop"',
            None,
        ),
        500: (None, "etcdserver: request timed out", None),
        503: (
            "ServiceUnavailable",
            "the request has been made before all known HTTP paths have been installed, please retry",
            "5",
        ),
    }
    async with reader(cluster) as client:
        for status, (reason, message, retry_after) in expected.items():
            cluster.faults.set(f"status={status},next=1")
            answer = await client.ask(VMS)
            assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)
            assert (answer.body["kind"], answer.body["code"]) == ("Status", status)
            assert (answer.body.get("reason"), answer.body["message"]) == (reason, message)
            assert (await client.ask(VMS)).status == 200
        cluster.faults.set("status=404,next=1")
        absent = await client.ask(VMS)
        assert (absent.status, absent.body) == (404, "404 page not found\n")
        cluster.faults.set("status=429,next=1")
        busy = await client.ask(VMS)
    assert (busy.status, busy.body) == (429, "Too many requests, please try again later.\n")
    assert (busy.headers["Retry-After"], busy.headers["Content-Type"]) == ("1", "text/plain; charset=utf-8")


async def test_a_status_meets_whom_and_what_it_names_as_often_as_it_says(cluster: Cluster) -> None:
    cluster.faults.set("status=429,user=bob,verb=list,path=*/virtualmachines,next=2,retry-after=7")
    async with reader(cluster, "bob") as bob, reader(cluster, "carol") as carol:
        assert (await carol.ask(VMS)).status == 200
        assert (await bob.ask(f"{VMS}/web")).status == 200
        assert (await bob.ask("/api/v1/namespaces/shop/pods")).status == 200
        first = await bob.ask(VMS)
        assert (first.status, first.headers["Retry-After"]) == (429, "7")
        assert cluster.faults.active() == ("status=429,path=*/virtualmachines,verb=list,user=bob,next=1,retry-after=7",)
        assert [(await bob.ask(VMS)).status for _ in range(2)] == [429, 200]
    assert cluster.faults.active() == ()
    assert cluster.faults.seen == {"status": 2}


async def test_latency_delays_and_hang_never_answers_until_it_is_taken_back(cluster: Cluster) -> None:
    async with reader(cluster) as client:
        cluster.faults.set("latency=0.3,next=1")
        began = time.monotonic()
        assert (await client.ask("/version")).status == 200
        assert time.monotonic() - began >= 0.3
        cluster.faults.set("hang,path=/apis/*")
        assert (await client.ask("/version")).status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.ask(VMS)
        waiting = asyncio.ensure_future(client.ask(VMS))
        while cluster.faults.seen["hang"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert cluster.faults.clear("hang") == 1
        assert (await waiting).status == 200


@pytest.mark.parametrize("after_bytes", [0, 60, 5000])
async def test_drop_cuts_an_answer_after_so_many_bytes(cluster: Cluster, after_bytes: int) -> None:
    async with reader(cluster) as client:
        # aiohttp asks once more by itself where not even a head came.
        cluster.faults.set(f"drop={after_bytes},path={VMS},next={1 if after_bytes > 1000 else 2}")
        with pytest.raises(aiohttp.ClientError):
            await client.ask(VMS)
        assert cluster.faults.active() == ()
        assert len((await client.ask(VMS)).body["items"]) > 3
        # An answer shorter than the fault passes whole, and so does the one behind it on the same connection.
        cluster.faults.set("drop=5000,path=/version,next=1")
        assert (await client.ask("/version")).body["major"] == "1"
        assert len((await client.ask(VMS)).body["items"]) > 3


async def test_drop_gives_the_bytes_before_the_cut(cluster: Cluster) -> None:
    cluster.faults.set(f"drop=5000,path={VMS}")
    context = ssl.create_default_context(cadata=cluster.authority.certificate_pem.decode())
    token = yaml.safe_load(cluster.kubeconfig("bob").read_text())["users"][0]["user"]["token"]
    stream, writer = await asyncio.open_connection("127.0.0.1", int(cluster.url.rpartition(":")[2]), ssl=context)
    writer.write(f"GET {VMS} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    got = b""
    async with asyncio.timeout(10):
        try:
            while part := await stream.read(4096):
                got += part
        except OSError:
            pass
    writer.close()
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(got) == 5000


async def test_drop_cuts_a_tunnel_after_so_many_bytes(cluster: Cluster) -> None:
    async with plain_guest() as guest:
        cluster.objects.put("virtualmachineinstances.kubevirt.io", instance("a", "127.0.0.1"))
        cluster.faults.set("drop=3000,path=*/virtualmachineinstances/a/portforward/*,next=1")
        async with asked(cluster, forward("a", guest.port)) as link:
            assert link.status == 101
            visit = await guest.visits.get()
            visit.writer.write(b"x" * 100_000)
            await link.take_all()
            # The head and the frames make 3000 bytes together.
            assert 2000 < len(link.raw) < 3000
        async with asked(cluster, forward("a", guest.port)) as link:
            visit = await guest.visits.get()
            visit.writer.write(b"x" * 100_000 + b"end")
            await link.until_payload(b"end")


async def _watching(client: Reader, query: str = "") -> aiohttp.ClientResponse:
    response = await client.session.get(f"{client.url}{VMS}?watch=true{query}")
    assert response.status == 200
    return response


async def test_watch_end_ends_every_watch_in_good_order(cluster: Cluster) -> None:
    assert cluster.api is not None
    async with reader(cluster) as client:
        streams = [await _watching(client) for _ in range(3)]
        await _open_watches(cluster, 3)
        cluster.faults.set("watch-end,path=/nowhere/*")
        assert len(cluster.api.watches) == 3
        cluster.faults.set("watch-end")
        for stream in streams:
            events = [json.loads(line)["type"] async for line in stream.content]
            assert set(events) == {"ADDED"}
        assert len(cluster.api.watches) == 0
        assert cluster.faults.active() == ()


async def test_watch_expire_tells_410_and_forgets_the_past(cluster: Cluster) -> None:
    async with reader(cluster) as client:
        before = cluster.objects.resource_version
        stream = await _watching(client, f"&resourceVersion={before}")
        vm = cluster.objects.get(STORED, "shop", "web")
        assert vm is not None
        cluster.objects.put(STORED, vm)
        events = [json.loads(await stream.content.readline())]
        await _open_watches(cluster, 1)
        cluster.faults.set("watch-expire")
        events += [json.loads(line) async for line in stream.content]
        assert [event["type"] for event in events] == ["MODIFIED", "ERROR"]
        assert (events[-1]["object"]["code"], events[-1]["object"]["reason"]) == (410, "Expired")
        again = await _watching(client, f"&resourceVersion={before}")
        assert [json.loads(line)["object"]["code"] async for line in again.content] == [410]


async def _open_watches(cluster: Cluster, count: int) -> None:
    assert cluster.api is not None
    async with asyncio.timeout(10):
        while len(cluster.api.watches) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_an_api_restart_cuts_refuses_and_comes_back_on_the_same_port(cluster: Cluster) -> None:
    async with plain_guest() as guest, reader(cluster) as client:
        cluster.objects.put("virtualmachineinstances.kubevirt.io", instance("a", "127.0.0.1"))
        stream = await _watching(client)
        async with asked(cluster, forward("a", guest.port)) as link:
            assert link.status == 101
            cluster.faults.set("api-restart=0.5")
            assert cluster.faults.active() == ("api-restart=0.5",)
            await link.take_all()
        with pytest.raises(aiohttp.ClientError):
            while await stream.content.readany():
                pass
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.ask("/version")
        async with asyncio.timeout(10):
            while cluster.faults.active():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await client.ask("/version")).status == 200
        cluster.faults.set("api-restart=600")
        cluster.faults.clear("api-restart")
        async with asyncio.timeout(10):
            while cluster.faults.active():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await client.ask("/version")).status == 200


async def test_a_silent_api_takes_connections_and_says_nothing(cluster: Cluster) -> None:
    async with reader(cluster) as client:
        cluster.faults.set("api-silent")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.ask("/version")
        port = int(cluster.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        cluster.faults.clear()
        async with asyncio.timeout(10):
            while cluster.faults.active():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await client.ask("/version")).status == 200


async def test_a_guests_port_answers_as_it_is_told(cluster: Cluster) -> None:
    async with plain_guest() as guest:
        cluster.objects.put("virtualmachineinstances.kubevirt.io", instance("a", "127.0.0.1"))
        said = {
            "closed": f"dialing VM: dial tcp 127.0.0.1:{guest.port}: connect: connection refused",
            "filtered": f"dialing VM: dial tcp 127.0.0.1:{guest.port}: connect: connection timed out",
        }
        for state, words in said.items():
            cluster.faults.set(f"guest-port=n/a:{guest.port}:{state}")
            async with asked(cluster, forward("a", guest.port)) as link:
                assert (link.status, words in (await link.body()).decode()) == (500, True)
        cluster.faults.set(f"guest-port=n/a:{guest.port}:open")
        assert cluster.faults.active() == ()
        cluster.faults.set("guest-port=shop/web:closed")
        async with asked(cluster, forward("a", guest.port)) as link:
            assert link.status == 101


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonsense", "no such fault; there are latency=SECONDS"),
        ("latency", "latency takes seconds up to 600"),
        ("latency=nan", "latency takes seconds"),
        ("latency=-1", "latency takes seconds"),
        ("status=418", "status is one of 401, 403, 404, 429, 500, 503"),
        ("status=429,next=0", "next takes a whole number from 1"),
        ("status=429,verb", "an option is written KEY=VALUE"),
        ("status=429,next=1,next=2", "next is given twice"),
        ("latency=1,retry-after=3", "retry-after goes with status"),
        ("drop=x", "drop takes a whole number"),
        ("hang=3", "hang takes no value"),
        ("status=429,colour=red", "status has no option 'colour'"),
        ("latency=1,verb=banana", "there is no verb 'banana'; there are get, list, watch, create"),
        ("latency=1,path=banana", "no request's path is like 'banana'"),
        ("guest-port=web:closed", "guest-port is written"),
        ("guest-port=shop/web:0:closed", "guest-port is written"),
        ("guest-port=shop/web:ajar", "guest-port is written"),
        ("watch-end", "watch-end happens while a lab runs"),
        ("watch-end=3", "watch-end takes no value"),
        ("api-restart=601", "api-restart takes seconds up to 600"),
        ("virt-api-unreachable=weather", "no such fault"),
    ],
)
def test_a_word_that_cannot_be_is_refused_by_what_it_lacks(word: str, said: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="^" + said.replace(".", r"\.").replace("'", "'")):
        faults.set(word)
    assert faults.active() == ()


async def test_a_guest_or_user_that_the_lab_does_not_have_is_refused(tmp_path: Path) -> None:
    settings = ClusterSettings(state_dir=tmp_path, has_guests=False, has_controllers=False)
    async with Cluster.start(settings) as cluster:
        for word, said in (
            ("guest-port=shop/nope:22:closed", "the lab has no VM 'shop/nope'"),
            ("guest-port=SHOP/web:22:closed", "the lab has no VM 'SHOP/web'"),
            ("latency=1,user=alicia", "the lab has no user 'alicia'; is it alice?"),
            ("hang,user=zz", "its users: admin, alice"),
        ):
            with pytest.raises(ValueError, match=said):
                cluster.faults.set(word)
        for word in ("guest-port=shop/web:22:closed", "latency=1,user=alice", "drop,user=system:serviceaccount:shop:default"):
            cluster.faults.set(word)
    at_start = Faults()
    at_start.set("guest-port=shop/nope:closed")
    with pytest.raises(ValueError, match="the lab has no VM 'shop/nope'"):
        async with Cluster.start(ClusterSettings(state_dir=tmp_path, has_guests=False, faults=at_start)):
            pass


def test_active_faults_read_back_as_the_words_that_set_them() -> None:
    words = (
        "latency=0.25,path=/apis/*",
        "drop=100,user=bob",
        "hang,verb=watch",
        "guest-port=shop/web:22:filtered",
        "guest-port=shop/web:closed",
        "strip-upgrade",
        "virt-api-unreachable=no-route",
    )
    faults = Faults()
    for word in words:
        faults.set(word)
    again = Faults()
    for word in faults.active():
        again.set(word)
    assert set(again.active()) == set(faults.active()) == set(words)
    # The same once more replaces, another value for the same requests too.
    faults.set("latency=2,path=/apis/*")
    assert [word for word in faults.active() if word.startswith("latency")] == ["latency=2,path=/apis/*"]
    with pytest.raises(ValueError, match="no such fault as 'nonsense'"):
        faults.clear("latency", "nonsense")
    assert faults.clear("guest-port") == 2
    assert faults.clear("latency", "drop") == 2
    assert faults.clear() == 3
    with pytest.raises(ValueError, match="no such fault"):
        faults.clear("nonsense")
    assert len(FAULT_NAMES) == 11
