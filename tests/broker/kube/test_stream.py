"""The asyncio stream: both ways, stalled, cancelled at every await, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.errors import BrokerError, GuestUnready
from broker.kube.stream import Stream, in_thread, open_stream
from broker.kube.tunnel import EndKind, StallPolicy
from broker.paths.dial import dial, portforward_path
from broker.tasks import Supervisor
from tests.broker.kube.sessions import BANNER, banner_then_hold, block, deaf, download, echo, endless, silent
from tests.broker.kube.test_cold import stopped
from tests.broker.kube.tunnelserver import TunnelServer, endpoint_of

FORWARD = portforward_path("vmi", "shop", "web", 22)
SMALL = StallPolicy(free_bytes=262_144, trickle_bytes=65_536, trickle_every_s=0.05, limit_bytes=1_048_576)


async def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  (the other side is a thread)
            await asyncio.sleep(0.005)


async def read_all(stream: Stream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


def leftovers() -> tuple[int, int]:
    """Open descriptors and our threads."""
    return len(os.listdir("/dev/fd")), sum(thread.name == "broker-open" for thread in threading.enumerate())


async def test_bytes_go_both_ways(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    data = block(400_000)
    tunnel_server.session = echo
    stream = await dial(endpoint_of(tunnel_server, tmp_path), kind="vm", namespace="shop", name="web", port=2222)
    assert tunnel_server.asked[-1].path.endswith("/virtualmachines/web/portforward/2222/tcp")

    async def send() -> None:
        for start in range(0, len(data), 50_000):
            await stream.write(data[start : start + 50_000])
        await stream.drain()

    got = b""
    async with Supervisor("test") as tasks:
        tasks.start(send(), name="send")
        while len(got) < len(data):
            got += await stream.read()
    assert got == data
    await stream.aclose()
    assert stream.ended is not None
    assert stream.ended.kind is EndKind.LOCAL
    assert tunnel_server.ended.acquire(timeout=5)
    assert tunnel_server.sessions[0].closes == 1


async def test_an_end_without_close_is_clean_and_every_byte_arrives(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    data = block(3_000_000)
    tunnel_server.session = download(data)
    stream = await open_stream(endpoint_of(tunnel_server, tmp_path), FORWARD)
    assert await read_all(stream) == data
    assert stream.ended is not None
    assert stream.ended.error() is None
    with pytest.raises(BrokerError) as caught:
        await stream.write(b"late")
    assert caught.value.code == "stream-ended"
    await stream.aclose()


async def test_a_stalled_reader_is_buffered_for_then_gets_every_byte(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    data = block(900_000)
    tunnel_server.session = download(data)
    stream = await open_stream(endpoint_of(tunnel_server, tmp_path), FORWARD, policy=SMALL)
    await until(lambda: stream.pending_bytes >= 700_000)
    assert await read_all(stream) == data
    await stream.aclose()


async def test_an_endless_download_ends_at_the_limit_with_its_reason(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.session = endless
    stream = await open_stream(endpoint_of(tunnel_server, tmp_path), FORWARD, policy=SMALL)
    await until(lambda: stream.ended is not None)
    assert stream.ended is not None
    assert stream.ended.kind is EndKind.STALLED
    assert SMALL.limit_bytes - 65_536 <= stream.pending_bytes <= SMALL.limit_bytes
    await until(lambda: tunnel_server.sessions[0].pongs >= 10)
    stream.abort()
    assert len(await read_all(stream)) > 900_000


async def test_pings_are_answered_while_nobody_reads(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    def session(session: object) -> None:
        assert hasattr(session, "ping")
        for _ in range(20):
            session.ping()
        banner_then_hold(session)  # type: ignore[arg-type]

    tunnel_server.session = session
    stream = await open_stream(endpoint_of(tunnel_server, tmp_path), FORWARD)
    await until(lambda: bool(tunnel_server.sessions) and tunnel_server.sessions[0].pongs == 20)
    assert await stream.read() == BANNER
    await stream.aclose()


async def test_a_writer_waits_for_a_server_that_does_not_read(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.session = deaf(tunnel_server.stop, 20)
    stream = await open_stream(endpoint_of(tunnel_server, tmp_path), FORWARD)
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            while True:
                await stream.write(bytes(65_536))
                sent += 65_536
    assert stream._wire.tunnel.unsent_bytes < 1_300_000
    started = time.monotonic()
    await stream.aclose(linger_s=0.2)
    assert time.monotonic() - started < 3
    tunnel_server.stop.set()


async def test_refusal_and_silence_are_errors(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    endpoint = endpoint_of(tunnel_server, tmp_path)
    tunnel_server.refuse = stopped
    with pytest.raises(GuestUnready) as caught:
        await open_stream(endpoint, FORWARD)
    assert caught.value.code == "vm-stopped"
    tunnel_server.refuse = silent(tunnel_server.stop, 5)
    with pytest.raises(GuestUnready) as late:
        await open_stream(endpoint, FORWARD, handshake_s=0.2)
    assert late.value.code == "port-filtered"
    tunnel_server.stop.set()


async def cancelled(work: Awaitable[object], *, after: Callable[[], bool]) -> None:
    task = asyncio.ensure_future(work)
    await until(after)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_every_await_may_be_cancelled_once(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    endpoint = endpoint_of(tunnel_server, tmp_path)
    tunnel_server.session = banner_then_hold
    await (await open_stream(endpoint, FORWARD)).aclose()
    await until(lambda: leftovers()[1] == 0)
    before = leftovers()[0]

    # connecting (in the thread), and the handshake
    await cancelled(open_stream(endpoint, FORWARD), after=lambda: True)
    hold = threading.Event()
    tunnel_server.refuse = silent(hold, 10)
    asked = len(tunnel_server.asked)
    await cancelled(open_stream(endpoint, FORWARD), after=lambda: len(tunnel_server.asked) > asked)
    hold.set()
    tunnel_server.refuse = lambda asked: None

    # read, and a read after it loses nothing
    tunnel_server.session = echo
    stream = await open_stream(endpoint, FORWARD)
    await cancelled(stream.read(), after=lambda: True)
    await stream.write(b"still here")
    assert await stream.read() == b"still here"
    await stream.aclose()

    # write, drain and close against a server that reads nothing
    held = threading.Event()
    tunnel_server.session = deaf(held, 20)
    stream = await open_stream(endpoint, FORWARD)
    await cancelled(stream.write(bytes(20_000_000)), after=lambda: True)
    await cancelled(stream.drain(), after=lambda: True)
    await cancelled(stream.aclose(20), after=lambda: True)
    assert stream.ended is not None
    held.set()
    await until(lambda: leftovers()[1] == 0 and len(asyncio.all_tasks()) == 1)
    await until(lambda: leftovers()[0] <= before)


async def test_opens_and_closes_leave_nothing(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    endpoint = endpoint_of(tunnel_server, tmp_path)
    tunnel_server.session = banner_then_hold
    await (await open_stream(endpoint, FORWARD)).aclose()
    await until(lambda: leftovers()[1] == 0)
    before = leftovers()[0]
    for _ in range(20):
        stream = await open_stream(endpoint, FORWARD)
        await stream.aclose()
    await until(lambda: leftovers() <= (before, 0) and len(asyncio.all_tasks()) == 1)


async def test_a_late_result_of_a_cancelled_thread_is_given_back() -> None:
    gate = threading.Event()
    late: list[object] = []
    await cancelled(in_thread(lambda: gate.wait(5) and "socket", late=late.append), after=lambda: True)
    gate.set()
    await until(lambda: late == ["socket"])


async def test_a_result_of_the_same_turn_as_the_cancellation_is_given_back() -> None:
    gate, late, known = threading.Event(), list[object](), set(threading.enumerate())
    task = asyncio.get_running_loop().create_task(in_thread(lambda: gate.wait(5) and "socket", late=late.append))
    await asyncio.sleep(0)
    (thread,) = set(threading.enumerate()) - known
    gate.set()
    thread.join(5)  # its result waits in the loop, which this blocks; the cancellation comes right behind it
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert late == ["socket"]


async def test_a_stream_of_datagrams_keeps_each_message_whole(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.session = echo
    stream = await dial(endpoint_of(tunnel_server, tmp_path), kind="vm", namespace="shop", name="web", port=53, protocol="udp")
    assert tunnel_server.asked[-1].path.endswith("/portforward/53/udp")
    sent = [block(size) for size in (1, 10, 12_000, 30_000, 2)]
    for message in sent:
        assert stream.send_message(message)
    # The server echoes in fragments: whole messages come back all the same.
    assert [await stream.read_message() for _ in sent] == sent
    await stream.aclose()
    assert await stream.read_message() is None
    assert not stream.send_message(b"late")


async def test_a_stalled_end_is_told_to_who_waits_for_the_end_alone(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.session = download(block(4_000_000))
    stream = await open_stream(endpoint_of(tunnel_server, tmp_path), FORWARD, policy=SMALL)
    async with asyncio.timeout(10):
        assert (await stream.until_ended()).kind is EndKind.STALLED
    stream.abort()
