"""Blocking TCP to a name within a deadline: resolve beside the caller, race the addresses, pass a proxy.

Name look-ups run in a daemon thread, since a hung getaddrinfo can be neither stopped nor waited for; addresses are tried a
quarter of a second apart and the first that answers wins (RFC 8305).
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import sys
import threading
import time
from typing import Final

from broker.clean import clean
from broker.errors import BrokerError, TimedOut, Unreachable
from broker.kube.proxy import Proxy

_STAGGER_S: Final = 0.25
_HEAD_LIMIT_BYTES: Final = 16 * 1024
_ADDRESS_LIMIT: Final = 16
_KEEPALIVE_IDLE_S: Final = 30
_KEEPALIVE_INTERVAL_S: Final = 10
_KEEPALIVE_COUNT: Final = 6
_SOCKS_REPLIES: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}

_Found = tuple[int, tuple[object, ...]]


class Deadline:
    """A point in time after which a connection attempt gives up; `what` names the server in the error."""

    def __init__(self, timeout_s: float, what: str) -> None:
        self.timeout_s = timeout_s
        self.what = what
        self.doing = "connecting"
        self._end = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds left; TimedOut when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.timed_out()
        return left

    def timed_out(self) -> TimedOut:
        """Make the error that says what was being done when the time ran out."""
        return TimedOut(
            f"no answer from {self.what} within {self.timeout_s:g} s",
            code="connect-timeout",
            cause=f"it ran out while {self.doing}",
            next_step="check the network, VPN and firewall between here and the API server",
        )


def connect(host: str, port: int, *, deadline: Deadline) -> socket.socket:
    """Open a TCP connection with TCP_NODELAY and keepalive; Unreachable or TimedOut name the host and every address tried."""
    found = _resolve(host, port, deadline)
    deadline.doing = f"connecting to {clean(_shown(found))}"
    sock = _race(found, deadline)
    tune(sock)
    return sock


def addresses(host: str, port: int, *, deadline: Deadline) -> tuple[str, ...]:
    """Look a name up and return ADDRESS:PORT words, an address being its own; Unreachable (`name-unknown`) or TimedOut."""
    return tuple(_shown([found]) for found in _resolve(host, port, deadline))


def connect_through(proxy: Proxy, host: str, port: int, *, deadline: Deadline) -> socket.socket:
    """Open a tunnel to `host` through a proxy (CONNECT, or SOCKS5 of RFC 1928 and 1929); the proxy looks up the name."""
    inner = Deadline(deadline.left_s(), f"the proxy {proxy.shown}")
    inner.timeout_s = deadline.timeout_s
    try:
        sock = connect(proxy.host, proxy.port, deadline=inner)
    except Unreachable as exc:
        raise Unreachable(
            f"cannot reach the proxy {proxy.shown}",
            code="proxy-unreachable",
            cause=exc.cause,
            next_step="check proxy-url, HTTPS_PROXY and NO_PROXY",
        ) from exc
    deadline.doing = f"waiting for the proxy {proxy.shown}"
    try:
        if proxy.scheme == "https":
            sock = _encrypt(sock, proxy, deadline)
        if proxy.scheme.startswith("socks5"):
            _socks5(sock, proxy, host, port, deadline)
        else:
            _http_connect(sock, proxy, host, port, deadline)
    except TimeoutError as exc:
        sock.close()
        raise deadline.timed_out() from exc
    except OSError as exc:
        sock.close()
        raise _proxy_failed(proxy, clean(exc.strerror or exc)) from exc
    except BaseException:
        sock.close()
        raise
    sock.settimeout(None)
    return sock


def tune(sock: socket.socket) -> None:
    """Set TCP_NODELAY and keepalive (first probe after 30 s) where the system has them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, _KEEPALIVE_IDLE_S), ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S), ("TCP_KEEPCNT", _KEEPALIVE_COUNT)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _resolve(host: str, port: int, deadline: Deadline) -> list[_Found]:
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except OSError:
        pass
    deadline.doing = f"looking up the name {clean(host)}"
    answer: list[list[_Found] | OSError | UnicodeError] = []
    is_done = threading.Event()

    def look_up() -> None:
        try:
            answer.append(_look_up(host, port, 0))
        except (OSError, UnicodeError) as exc:
            answer.append(exc)
        is_done.set()

    threading.Thread(target=look_up, name="vmbroker-resolve", daemon=True).start()
    if not is_done.wait(deadline.left_s()):
        raise deadline.timed_out()
    found = answer[0]
    if isinstance(found, list):
        return found
    raise Unreachable(
        f"cannot reach {deadline.what}",
        code="name-unknown",
        cause=f"the name {clean(host)} cannot be looked up: {clean(getattr(found, 'strerror', None) or found)}",
        next_step="check the server's name in the kubeconfig, and DNS or VPN",
    ) from found


def _look_up(host: str, port: int, flags: int) -> list[_Found]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), tuple(address)) for family, _, _, _, address in rows][:_ADDRESS_LIMIT]


def _race(found: list[_Found], deadline: Deadline) -> socket.socket:
    failures: list[str] = []
    waiting = list(found)
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting:
                    _start(selector, waiting.pop(0), failures)
                if not selector.get_map():
                    continue
                left_s = deadline.left_s()
                for key, _ in selector.select(min(_STAGGER_S, left_s) if waiting else left_s):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    selector.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        sock.settimeout(None)
                        return sock
                    sock.close()
                    failures.append(f"{key.data}: {os.strerror(code)}")
        finally:
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
    raise Unreachable(
        f"cannot reach {deadline.what}",
        cause=clean("; ".join(failures) or "the name has no address"),
        next_step="check that the cluster runs, and the network, VPN and firewall between here and it",
    )


def _start(selector: selectors.BaseSelector, found: _Found, failures: list[str]) -> None:
    family, address = found
    where = _shown([found])
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        failures.append(f"{where}: {exc.strerror}")
        return
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        selector.register(sock, selectors.EVENT_WRITE, where)
        return
    sock.close()
    failures.append(f"{where}: {os.strerror(code)}")


def _shown(found: list[_Found]) -> str:
    words = []
    for family, address in found:
        host = f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
        words.append(f"{host}:{address[1]}")
    return ", ".join(words)


def _encrypt(sock: socket.socket, proxy: Proxy, deadline: Deadline) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    sock.settimeout(deadline.left_s())
    try:
        return context.wrap_socket(sock, server_hostname=proxy.host)
    except ssl.SSLError as exc:
        raise _proxy_failed(proxy, f"TLS: {clean(getattr(exc, 'verify_message', None) or exc.reason or 'failed')}") from exc


def _http_connect(sock: socket.socket, proxy: Proxy, host: str, port: int, deadline: Deadline) -> None:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", "User-Agent: vmbroker"]
    if proxy.username is not None:
        import base64

        pair = f"{proxy.username}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode('ascii')}")
    sock.settimeout(deadline.left_s())
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8"))
    head = b""
    while b"\r\n\r\n" not in head:
        sock.settimeout(deadline.left_s())
        # One byte at a time: what follows the head belongs to the tunnel.
        byte = sock.recv(1)
        if not byte or len(head) > _HEAD_LIMIT_BYTES:
            raise _proxy_failed(proxy, "it answered no HTTP")
        head += byte
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    words = status.split(" ", 2)
    if not status.startswith("HTTP/1.") or len(words) < 2:
        raise _proxy_failed(proxy, "it answered no HTTP")
    if words[1] != "200":
        raise _proxy_failed(proxy, f"it answered {clean(' '.join(words[1:]))} to CONNECT {clean(where)}")


def _socks5(sock: socket.socket, proxy: Proxy, host: str, port: int, deadline: Deadline) -> None:
    methods = b"\x00" if proxy.username is None else b"\x00\x02"
    sock.settimeout(deadline.left_s())
    sock.sendall(b"\x05" + bytes([len(methods)]) + methods)
    version, method = _exactly(sock, 2, proxy, deadline)
    if version != 5 or method not in methods:
        raise _proxy_failed(proxy, "it wants a login" if version == 5 else "it speaks no SOCKS5")
    if method == 2:
        user, password = (proxy.username or "").encode(), (proxy.password or "").encode()
        if len(user) > 255 or len(password) > 255:
            raise _proxy_failed(proxy, "user or password is longer than 255 bytes")
        sock.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        if _exactly(sock, 2, proxy, deadline)[1] != 0:
            raise _proxy_failed(proxy, "it refused the user and password")
    sock.sendall(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    _, reply, _, kind = _exactly(sock, 4, proxy, deadline)
    if reply != 0:
        raise _proxy_failed(proxy, f"it answered: {_SOCKS_REPLIES.get(reply, f'code {reply}')} for {clean(host)}")
    length = {1: 4, 4: 16}.get(kind) or _exactly(sock, 1, proxy, deadline)[0]
    _exactly(sock, length + 2, proxy, deadline)


def _socks_address(host: str) -> bytes:
    for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        try:
            return kind + socket.inet_pton(family, host)
        except OSError:
            continue
    name = host.encode("idna") if not host.isascii() else host.encode("ascii")
    return b"\x03" + bytes([len(name)]) + name


def _exactly(sock: socket.socket, size: int, proxy: Proxy, deadline: Deadline) -> bytes:
    got = b""
    while len(got) < size:
        sock.settimeout(deadline.left_s())
        part = sock.recv(size - len(got))
        if not part:
            raise _proxy_failed(proxy, "it closed the connection")
        got += part
    return got


def _proxy_failed(proxy: Proxy, why: str) -> BrokerError:
    return Unreachable(
        f"the proxy {proxy.shown} does not let us through",
        code="proxy-failed",
        cause=why,
        next_step="check proxy-url, HTTPS_PROXY and NO_PROXY",
    )
