"""Bytes between descriptors and a stream: every kind of descriptor, every kind of end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from broker.kube.cold import ColdClient
from broker.kube.stream import open_stream
from broker.kube.tunnel import EndKind, StallPolicy
from broker.paths.descriptor import Sink
from broker.paths.dial import portforward_path
from broker.paths.relay import Relayed, relay_descriptors, relay_stream
from tests.broker.kube.sessions import banner_then_hold, block, download, echo, endless
from tests.broker.kube.tunnelserver import TunnelServer, endpoint_of, running

FORWARD = portforward_path("vmi", "shop", "web", 22)
SMALL = StallPolicy(free_bytes=262_144, trickle_bytes=65_536, trickle_every_s=0.05, limit_bytes=8_388_608)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TunnelServer]:
    with running(tmp_path) as found:
        yield found


def relaying(
    server: TunnelServer, folder: Path, source: int, sink: int, *, grace_s: float = 10.0, policy: StallPolicy | None = None
) -> Future[Relayed]:
    """Run a relay in a thread and return its outcome to come."""
    stream = ColdClient(endpoint_of(server, folder)).upgrade(FORWARD, policy=policy)
    outcome: Future[Relayed] = Future()

    def run() -> None:
        try:
            outcome.set_result(relay_descriptors(stream, source, sink, grace_s=grace_s))
        except BaseException as exc:
            outcome.set_exception(exc)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def read_to_end(fd: int) -> bytes:
    parts = []
    while data := os.read(fd, 65_536):
        parts.append(data)
    return b"".join(parts)


def test_echo_through_pipes_comes_back_whole(server: TunnelServer, tmp_path: Path) -> None:
    data = block(2_000_000)
    server.session = echo
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
    outcome = relaying(server, tmp_path, in_read, out_write)
    threading.Thread(target=lambda: _write_all(in_write, data), daemon=True).start()
    got = b""
    while len(got) < len(data):
        got += os.read(out_read, 65_536)
    assert got == data
    os.close(out_read)
    os.close(in_write)
    found = outcome.result(10)
    assert (found.to_guest_bytes, found.from_guest_bytes) == (len(data), len(data))
    assert found.end.kind is EndKind.LOCAL
    for fd in (in_read, out_write):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@pytest.mark.parametrize("kind", ["pipe", "socket", "file", "pipe in small pieces"])
def test_a_download_reaches_every_kind_of_sink(
    server: TunnelServer, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = block(1_500_000)
    server.session = download(data)
    source = os.open(os.devnull, os.O_RDONLY)
    if kind == "pipe in small pieces":  # as where /proc is not there
        monkeypatch.setattr(Sink, "_reopen", lambda self: setattr(self, "needs_poll", True))
    if kind == "file":
        target = tmp_path / "out"
        fd = os.open(target, os.O_WRONLY | os.O_CREAT)
        found = relaying(server, tmp_path, source, fd).result(20)
        got = target.read_bytes()
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        outcome = relaying(server, tmp_path, ours.fileno(), ours.fileno())
        got = b""
        while len(got) < len(data):
            got += theirs.recv(65_536)
        found = outcome.result(20)
        assert ours.getblocking()
        ours.close()
        theirs.close()
    else:
        read, write = os.pipe()
        outcome = relaying(server, tmp_path, source, write)
        outcome.add_done_callback(lambda _: os.close(write))
        got = read_to_end(read)
        found = outcome.result(20)
        os.close(read)
    assert got == data
    assert found.end.error() is None
    assert found.from_guest_bytes == len(data)
    os.close(source)


def test_a_terminal_is_a_sink_too(server: TunnelServer, tmp_path: Path) -> None:
    server.session = download(b"hello\r\n")
    leader, follower = os.openpty()
    found = relaying(server, tmp_path, os.open(os.devnull, os.O_RDONLY), follower).result(10)
    assert found.from_guest_bytes == 7
    assert b"hello" in os.read(leader, 100)
    os.close(leader)
    os.close(follower)


def test_after_our_input_ends_the_answer_still_comes(server: TunnelServer, tmp_path: Path) -> None:
    server.session = echo
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
    os.write(in_write, b"question")
    os.close(in_write)
    started = time.monotonic()
    found = relaying(server, tmp_path, in_read, out_write, grace_s=0.3).result(10)
    assert os.read(out_read, 100) == b"question"
    assert found.end.kind is EndKind.LOCAL
    assert 0.3 <= time.monotonic() - started < 5
    assert server.ended.acquire(timeout=5)
    assert server.sessions[0].closes == 1
    for fd in (in_read, out_read, out_write):
        os.close(fd)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_is_gone_ends_the_relay(server: TunnelServer, tmp_path: Path, kind: str) -> None:
    server.session = banner_then_hold
    if kind == "pipe":
        (in_read, _), (out_read, out_write) = os.pipe(), os.pipe()
        outcome = relaying(server, tmp_path, in_read, out_write)
        assert os.read(out_read, 100).startswith(b"SSH-")
        os.close(out_read)
    else:
        ours, theirs = socket.socketpair()
        outcome = relaying(server, tmp_path, ours.fileno(), ours.fileno())
        assert theirs.recv(100).startswith(b"SSH-")
        theirs.close()
    assert outcome.result(5).end.kind is EndKind.LOCAL


def test_a_stalled_sink_is_buffered_for_and_gets_every_byte(server: TunnelServer, tmp_path: Path) -> None:
    data = block(3_000_000)
    server.session = download(data)
    read, write = os.pipe()
    outcome = relaying(server, tmp_path, os.open(os.devnull, os.O_RDONLY), write, policy=SMALL)
    outcome.add_done_callback(lambda _: os.close(write))
    assert server.sessions[0].sent.wait(20), "the server could not send all while nobody read"
    assert not outcome.done()
    assert read_to_end(read) == data
    assert outcome.result(10).end.kind is EndKind.PEER
    os.close(read)


def test_an_endless_download_into_a_stalled_sink_ends_with_its_reason(server: TunnelServer, tmp_path: Path) -> None:
    server.session = endless
    read, write = os.pipe()
    policy = StallPolicy(free_bytes=262_144, trickle_bytes=131_072, trickle_every_s=0.03, limit_bytes=1_048_576)
    outcome = relaying(server, tmp_path, os.open(os.devnull, os.O_RDONLY), write, policy=policy)
    assert server.ended.acquire(timeout=15), "the stream outlived its limit"
    assert server.sessions[0].pongs >= 6
    outcome.add_done_callback(lambda _: os.close(write))
    assert len(read_to_end(read)) > 900_000
    end = outcome.result(10).end
    assert end.kind is EndKind.STALLED
    os.close(read)


def test_a_closed_standard_input_is_an_end_of_input(server: TunnelServer, tmp_path: Path) -> None:
    server.session = banner_then_hold
    read, write = os.pipe()
    gone = 987  # a number that no other thread of this process will be given meanwhile
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(gone)
    found = relaying(server, tmp_path, gone, write, grace_s=0.1).result(5)
    assert found.to_guest_bytes == 0
    assert os.read(read, 100).startswith(b"SSH-")


async def _pair() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    return reader, writer, theirs


async def test_the_asyncio_relay_copies_both_ways(server: TunnelServer, tmp_path: Path) -> None:
    data = block(500_000)
    server.session = echo
    reader, writer, theirs = await _pair()
    stream = await open_stream(endpoint_of(server, tmp_path), FORWARD)
    task = asyncio.ensure_future(relay_stream(stream, reader, writer, grace_s=0.3))
    loop = asyncio.get_running_loop()
    send = asyncio.ensure_future(loop.sock_sendall(theirs, data))
    got = b""
    while len(got) < len(data):
        got += await loop.sock_recv(theirs, 65_536)
    await send
    theirs.shutdown(socket.SHUT_WR)
    found = await asyncio.wait_for(task, 10)
    assert got == data
    assert (found.to_guest_bytes, found.from_guest_bytes, found.end.kind) == (len(data), len(data), EndKind.LOCAL)
    theirs.close()


async def test_the_asyncio_relay_delivers_the_rest_after_the_guests_end(server: TunnelServer, tmp_path: Path) -> None:
    data = block(900_000)
    server.session = download(data)
    reader, writer, theirs = await _pair()
    stream = await open_stream(endpoint_of(server, tmp_path), FORWARD)
    task = asyncio.ensure_future(relay_stream(stream, reader, writer))
    got = b""
    while part := await asyncio.get_running_loop().sock_recv(theirs, 65_536):
        got += part
    assert got == data
    assert (await task).end.kind is EndKind.PEER
    theirs.close()


async def test_a_cancelled_asyncio_relay_leaves_nothing(server: TunnelServer, tmp_path: Path) -> None:
    server.session = banner_then_hold
    reader, writer, theirs = await _pair()
    stream = await open_stream(endpoint_of(server, tmp_path), FORWARD)
    task = asyncio.ensure_future(relay_stream(stream, reader, writer))
    await asyncio.get_running_loop().sock_recv(theirs, 100)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.ended is not None
    assert len(asyncio.all_tasks()) == 1
    assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b""
    theirs.close()
