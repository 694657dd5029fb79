"""The blocking client: GETs and the upgrade on one TLS connection, with every refusal read whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.errors import BrokerError, CredentialError, GuestUnready, Unreachable
from broker.kube.cold import ColdClient
from broker.kube.tunnel import EndKind
from broker.paths.dial import dial_cold, portforward_path
from tests.broker.kube.sessions import BANNER, banner_then_hold, block, download, echo, silent
from tests.broker.kube.tunnelserver import Asked, TunnelServer, endpoint_of, reply

FORWARD = portforward_path("vmi", "shop", "web", 22)
VM = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/web"


def stopped(asked: Asked) -> bytes:
    return reply(409, b'{"kind":"Status","message":"VMI is not started' + b" " * 3000 + b'","reason":"Conflict"}')


def test_get_get_and_upgrade_share_one_connection_and_keep_the_prefix(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.answer = lambda asked: reply(200, b'{"kind":"VirtualMachine"}')
    tunnel_server.session = banner_then_hold
    with ColdClient(endpoint_of(tunnel_server, tmp_path, prefix="/k8s/clusters/c-m-abc12/")) as client:
        assert client.get(VM) == b'{"kind":"VirtualMachine"}'
        client.get(VM)
        stream = dial_cold(client, kind="vmi", namespace="shop", name="web", port=22)
        assert stream.read(timeout_s=5) == BANNER
        stream.close()
    assert tunnel_server.connections == 1
    assert tunnel_server.asked[-1].path == (
        "/k8s/clusters/c-m-abc12/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web/portforward/22/tcp"
    )
    asked = tunnel_server.asked[-1]
    assert (asked.header("Accept"), asked.header("Origin"), asked.header("Authorization")) == ("*/*", None, "Bearer t0ken")
    assert stream.ended is not None
    assert stream.ended.kind is EndKind.LOCAL
    assert tunnel_server.ended.acquire(timeout=5)
    assert tunnel_server.sessions[0].closes == 1


def test_a_connection_that_the_server_closed_is_opened_anew(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.answer = lambda asked: reply(200, b"{}", "application/json", "Connection: close")
    tunnel_server.session = banner_then_hold
    with ColdClient(endpoint_of(tunnel_server, tmp_path)) as client:
        client.get(VM)
        stream = client.upgrade(FORWARD)
        stream.close()
    assert tunnel_server.connections == 2


def test_a_refusal_is_read_whole_and_the_client_goes_on(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.refuse = stopped
    with ColdClient(endpoint_of(tunnel_server, tmp_path)) as client:
        for _ in range(2):
            with pytest.raises(GuestUnready) as caught:
                client.upgrade(FORWARD)
            assert caught.value.code == "vm-stopped"
        with pytest.raises(Unreachable) as lost:
            client.get("/apis/kubevirt.io/v1/namespaces/shop/virtualmachines")
        assert lost.value.code == "api-absent"


def test_a_stale_login_is_renewed_once(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    refusal = reply(401, b'{"kind":"Status","message":"Unauthorized","reason":"Unauthorized","code":401}')
    tunnel_server.answer = lambda asked: refusal if len(tunnel_server.asked) < 2 else reply(200, b"{}")
    with ColdClient(endpoint_of(tunnel_server, tmp_path)) as client:
        assert client.get(VM) == b"{}"
        tunnel_server.refuse = lambda asked: refusal
        with pytest.raises(CredentialError):
            client.upgrade(FORWARD)
    assert len(tunnel_server.asked) == 4


def test_silence_is_a_filtered_port(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.refuse = silent(tunnel_server.stop, 10)
    with ColdClient(endpoint_of(tunnel_server, tmp_path)) as client:
        started = time.monotonic()
        with pytest.raises(GuestUnready) as caught:
            client.upgrade(FORWARD, handshake_s=0.3)
        assert time.monotonic() - started < 5
    assert caught.value.code == "port-filtered"
    assert "unknown which" in (caught.value.cause or "")
    tunnel_server.stop.set()


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 500 X\r\n", b"garbage\r\n\r\n"])
def test_a_server_that_hangs_up_is_unreachable(tunnel_server: TunnelServer, tmp_path: Path, raw: bytes) -> None:
    tunnel_server.refuse = lambda asked: raw
    with ColdClient(endpoint_of(tunnel_server, tmp_path)) as client:
        with pytest.raises(BrokerError) as caught:
            client.upgrade(FORWARD)
    assert caught.value.code in {"connection-lost", "not-http"}


def test_bytes_go_both_ways_and_the_end_is_clean(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    data = block(300_000)
    tunnel_server.session = echo
    client = ColdClient(endpoint_of(tunnel_server, tmp_path))
    stream = client.upgrade(FORWARD)
    stream.write(data, timeout_s=10)
    got = b""
    while len(got) < len(data):
        got += stream.read(timeout_s=10)
    assert got == data
    stream.close()
    tunnel_server.session = download(data)
    stream = client.upgrade(FORWARD)
    got = b""
    while piece := stream.read(timeout_s=10):
        got += piece
    assert got == data
    assert stream.ended is not None
    assert stream.ended.kind is EndKind.PEER
    stream.close()
    client.close()


def test_opens_and_closes_leave_no_descriptor(tunnel_server: TunnelServer, tmp_path: Path) -> None:
    tunnel_server.session = banner_then_hold
    client = ColdClient(endpoint_of(tunnel_server, tmp_path))
    client.upgrade(FORWARD).close()
    assert tunnel_server.ended.acquire(timeout=5)
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        client.upgrade(FORWARD).close()
        assert tunnel_server.ended.acquire(timeout=5)
    assert len(os.listdir("/dev/fd")) <= before


def test_the_cold_way_loads_no_asyncio() -> None:
    code = (
        "import sys, broker.kube.cold, broker.paths.relay, broker.paths.dial;"
        "print(*sorted({'asyncio','aiohttp','kubernetes_asyncio','cryptography','textual','msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {os.getcwd()!r}); {code}"], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
