"""Connecting: the first address that answers wins, and nothing outlasts its deadline."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from broker.errors import TimedOut, Unreachable
from broker.kube import sockets
from broker.kube.proxy import parse_proxy


def test_a_dead_address_does_not_hold_the_living_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: list[tuple[int, tuple[object, ...]]] = [
            (socket.AF_INET, ("127.0.0.1", 1)),
            (socket.AF_INET, server.getsockname()),
        ]
        with sockets._race(found, sockets.Deadline(5, "x")) as sock:
            assert sock.getpeername() == server.getsockname()


def test_unknown_name_is_named() -> None:
    with pytest.raises((Unreachable, TimedOut)) as caught:
        sockets.connect("no-such-host.invalid", 443, deadline=sockets.Deadline(10, "x"))
    assert "no-such-host.invalid" in str(caught.value.cause)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_silent_proxy_ends_at_the_deadline(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = parse_proxy(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", "x")
        started = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            sockets.connect_through(proxy, "h", 443, deadline=sockets.Deadline(0.5, "h:443"))
        assert "proxy" in str(caught.value.cause) and time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("scheme", "answer", "says"),
    [
        ("http", b"HTTP/1.1 407 Login first\r\n\r\n", "407 Login first"),
        ("http", b"SSH-2.0-x\r\n\r\n", "no HTTP"),
        ("socks5", b"\x05\xff", "wants a login"),
        ("socks5", b"\x05\x00\x05\x05\x00\x01", "connection refused"),
        ("socks5", b"", "closed"),
    ],
)
def test_a_refusing_proxy_says_why(scheme: str, answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(3 if scheme == "socks5" else 4096)
                sock.sendall(answer)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        proxy = parse_proxy(f"{scheme}://127.0.0.1:{server.getsockname()[1]}", "x")
        with pytest.raises(Unreachable) as caught:
            sockets.connect_through(proxy, "h", 443, deadline=sockets.Deadline(5, "h:443"))
        assert says in str(caught.value.cause)
        thread.join(5)
