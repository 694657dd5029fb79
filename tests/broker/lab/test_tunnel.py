"""The figures of kubevirt.md M for a client that hardly reads, with a scaled deadline; and frames as gorilla cuts them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from broker.lab.cluster import Cluster
from broker.lab.guest_ports import chargen_block
from broker.lab.tunnel import FRAME_BYTES, MESSAGE_BYTES, cut_into_frames
from tests.broker.lab.plain_guest import plain_guest
from tests.broker.lab.pretend import empty_cluster
from tests.broker.lab.tunnel_client import (
    PONG,
    asked,
    digest_of,
    forward,
    frames_of,
    head_of,
    instance,
    masked,
    payload_of,
    trust,
)

KIB = 1024
DEADLINE_S = 2.0
QUIET_S = 0.3
"""Without a move for so long, everything on the way stands still."""
SENT_BYTES = 48 * KIB * KIB
"""Well past what lies in buffers on the way and what the slow readers take meanwhile."""
CASES = {
    # bytes per third of a deadline, pongs, deadlines to stand, whether the tunnel lives (measured: kubevirt.md M)
    "512 KiB and pongs": (512 * KIB, True, 5, True),
    "1 MiB and pongs": (1024 * KIB, True, 5, True),
    "256 KiB and pongs": (256 * KIB, True, 5, False),
    "64 KiB and pongs": (64 * KIB, True, 3, False),
    "pongs alone": (0, True, 3, False),
    "nothing": (0, False, 3, False),
}


async def test_slow_readers_live_or_die_as_measured(tmp_path: Path) -> None:
    sent = b"".join(islice(cycle([chargen_block()]), SENT_BYTES // len(chargen_block())))
    loop = asyncio.get_running_loop()
    async with empty_cluster(tmp_path, pong_deadline_s=DEADLINE_S) as cluster, plain_guest() as guest:
        cluster.objects.put("virtualmachineinstances.kubevirt.io", instance("a", "127.0.0.1"))
        with ThreadPoolExecutor(len(CASES)) as pool:
            ways = {
                case: loop.run_in_executor(pool, slow_reader, cluster, forward("a", guest.port), *given[:3])
                for case, given in CASES.items()
            }
            async with asyncio.timeout(90), asyncio.TaskGroup() as group:
                for _ in CASES:
                    group.create_task(sends((await guest.visits.get()).writer, sent))
            got = {case: payload_of(await way) for case, way in ways.items()}
    assert {case: len(data) == len(sent) for case, data in got.items()} == {case: lives for case, (*_, lives) in CASES.items()}
    for data in got.values():
        assert digest_of(data) == digest_of(sent[: len(data)])


def slow_reader(cluster: Cluster, path: str, per_third: int, has_pongs: bool, deadlines: int) -> bytearray:
    """Read as slowly as told for some deadlines, then all the rest; return what came after the head of the answer.

    A blocking socket takes from the kernel just what it is asked for, and its buffer is of a known size.
    """
    raw = bytearray()
    plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 512 * KIB)
    plain.settimeout(60)
    plain.connect(("127.0.0.1", int(cluster.url.rsplit(":", 1)[1])))
    with trust(cluster).wrap_socket(plain, server_hostname="127.0.0.1") as link:

        def take(count: int) -> bool:
            until = len(raw) + count
            while len(raw) < until:
                try:
                    data = link.recv(min(16 * KIB, until - len(raw)))
                except (ConnectionError, ssl.SSLError):
                    return False
                if not data:
                    return False
                raw.extend(data)
            return True

        def pong() -> None:
            # The tunnel may have ended; what it left is read all the same.
            with suppress(ConnectionError, ssl.SSLError):
                link.sendall(masked(PONG, b""))

        link.sendall(head_of(cluster, path))
        while not raw.endswith(b"\r\n\r\n"):
            assert take(1)
        raw.clear()
        # A bulk download is under way when the reader slows down.
        take(8 * KIB * KIB)
        for _ in range(deadlines * 3):
            # The pace is what is tried: so many bytes for each third of a deadline.
            time.sleep(DEADLINE_S / 3)
            take(per_third)
            if has_pongs:
                pong()
        while take(256 * KIB):
            pong()
    return raw


async def test_what_stands_still_on_the_way_is_bounded(tmp_path: Path) -> None:
    """About 10 MiB in the real cluster, with what the kernels hold; the guest is not read beyond it."""
    async with empty_cluster(tmp_path) as cluster, plain_guest() as guest:
        cluster.objects.put("virtualmachineinstances.kubevirt.io", instance("a", "127.0.0.1"))
        async with asked(cluster, forward("a", guest.port)) as link, asyncio.timeout(30), asyncio.TaskGroup() as group:
            visit = await guest.visits.get()
            taken = [0]
            moved = asyncio.Event()

            async def feed() -> None:
                while True:
                    visit.writer.write(bytes(256 * KIB))
                    await visit.writer.drain()
                    taken[0] += 256 * KIB
                    moved.set()

            feeding = group.create_task(feed())
            # Until autotuning has given the client's socket the buffer that a bulk download has.
            await link.take(64 * KIB * KIB)
            with suppress(TimeoutError):
                while True:
                    moved.clear()
                    async with asyncio.timeout(QUIET_S):
                        await moved.wait()
            feeding.cancel()
        standing = taken[0] - len(link.raw)
        assert 5 * KIB * KIB < standing < 24 * KIB * KIB


async def sends(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write everything and close, as a guest's program does; its connection may end before."""
    try:
        for start in range(0, len(data), 256 * KIB):
            writer.write(data[start : start + 256 * KIB])
            await writer.drain()
    except ConnectionError:
        return
    writer.close()


@given(st.integers(1, MESSAGE_BYTES))
def test_a_message_is_cut_as_gorilla_cuts_it(size: int) -> None:
    data = bytes(index * 7 % 251 for index in range(size))
    frames = list(frames_of(b"".join(cut_into_frames(memoryview(data)))))
    assert b"".join(payload for _, payload in frames) == data
    assert [first & 0x0F for first, _ in frames] == [2] + [0] * (len(frames) - 1)
    assert [first >> 7 for first, _ in frames] == [0] * (len(frames) - 1) + [1]
    assert (len(frames) == 1) is (size <= FRAME_BYTES)
