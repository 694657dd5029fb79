"""Opening local ports: all or none, each refusal with its word and what to write instead."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys

import pytest

from broker.actions.forwarding.listen import CONNECTIONS, client_limit, listen_all
from broker.errors import Failed, UsageError
from broker.paths.forward_spec import parse_forward, parse_forwards
from tests.conftest import ROOT


def has_v6_localhost() -> bool:
    found = {entry[4][0] for entry in socket.getaddrinfo("localhost", 0)}
    return {"127.0.0.1", "::1"} <= found


async def test_a_free_port_is_one_number_on_every_address_of_a_name() -> None:
    found = await listen_all([parse_forward("localhost:0:22"), parse_forward("udp/localhost:0:53")])
    try:
        for protocol in ("tcp", "udp"):
            own = [each.listening for each in found if each.listening.protocol == protocol]
            assert len({each.port for each in own}) == 1
            assert own[0].port > 0
            assert {each.address for each in own} <= {"127.0.0.1", "::1"}
            assert len(own) == (2 if has_v6_localhost() else 1)
        for each in found:
            assert each.socket.getsockname()[:2] == (each.listening.address, each.listening.port)
            assert not each.socket.getblocking()
    finally:
        for each in found:
            each.socket.close()


async def test_every_ipv4_and_every_ipv6_address_may_share_a_port() -> None:
    found = await listen_all([parse_forward("[::]:0:22")])
    port = found[0].listening.port
    both = await listen_all([parse_forward(f"0.0.0.0:{port}:22")])
    for each in (*found, *both):
        each.socket.close()


async def test_a_port_in_use_names_its_word_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        used, free = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        with pytest.raises(Failed) as caught:
            await listen_all(parse_forwards([f"{free}:22", f"{used}:22"]))
        assert caught.value.code == "port-in-use"
        assert f"'{used}:22'" in caught.value.message
        assert caught.value.next_step is not None
        assert "0:22" in caught.value.next_step
        socket.create_server(("127.0.0.1", free)).close()


@pytest.mark.parametrize(("word", "code"), [("192.0.2.1:0:22", "address-absent"), ("nowhere.invalid:0:22", "address-unknown")])
async def test_an_address_that_cannot_be_had_is_told(word: str, code: str) -> None:
    with pytest.raises(Failed) as caught:
        await listen_all([parse_forward(word)])
    assert caught.value.code == code
    assert word in caught.value.message


async def test_a_name_and_its_address_collide_before_anything_listens() -> None:
    with pytest.raises(UsageError) as caught:
        await listen_all([parse_forward("localhost:18080:22"), parse_forward("127.0.0.1:18080:23")])
    assert caught.value.code == "port-twice"


DENIED = """
import asyncio, encodings.idna, os, sys
from broker.actions.forwarding.listen import listen_all
from broker.errors import BrokerError
from broker.paths.forward_spec import parse_forward
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    asyncio.run(listen_all([parse_forward("22")]))
except BrokerError as error:
    print(error.code, error.exit_status, error.next_step)
"""


def test_a_low_port_is_refused_to_an_ordinary_user_with_what_to_write() -> None:
    first_free = 1024
    if sys.platform == "linux":
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            first_free = int(file.read())
    if first_free <= 22 or sys.platform == "darwin":
        pytest.skip("this machine lets everybody listen on low ports")
    done = subprocess.run(
        [sys.executable, "-c", DENIED], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.startswith("port-denied 1 write a LOCAL port of 1024 or more, or 0:22"), done.stderr


def test_the_limit_of_clients_follows_the_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert 1 <= client_limit() <= CONNECTIONS
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raised == soft or raised <= 2 * CONNECTIONS + 128
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
