"""The blocking way to one cluster for a process that lives as long as one connection: a few GETs, then the upgrade.

Loads neither asyncio nor an HTTP library beyond http.client; a GET and the upgrade after it share one TLS connection.
"""

from __future__ import annotations

import http.client
import logging
import select
import socket
import ssl
import time
from types import TracebackType
from typing import Final, Self

from broker.clean import clean
from broker.errors import BrokerError, TimedOut, Unreachable
from broker.kube.answer import Call, call_of
from broker.kube.endpoint import Endpoint, Headers
from broker.kube.status import READ_BYTES, error_from_response
from broker.kube.tunnel import End, StallPolicy, Tunnel
from broker.kube.upgrade import USER_AGENT, Handshake, is_stale_login
from broker.kube.wire import Wire

_log = logging.getLogger("broker.kube")

GET_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one GET's body at most (etcd holds no object above 1.5 MiB)."""

_GONE: Final = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class ColdStream:
    """One guest port as a blocking byte stream; `broker.paths.relay` drives its `wire` itself."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @property
    def ended(self) -> End | None:
        """Why the stream ended; None while it is open. Payload may wait after the end."""
        return self.wire.tunnel.ended

    def read(self, limit_bytes: int = 65_536, *, timeout_s: float | None = None) -> bytes:
        """Return up to `limit_bytes`, empty at the end; TimeoutError when nothing came in `timeout_s` seconds."""
        tunnel = self.wire.tunnel
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not tunnel.has_payload and tunnel.ended is None:
            self._step(deadline)
        return tunnel.take(limit_bytes)

    def write(self, data: bytes, *, timeout_s: float | None = None) -> None:
        """Send all of `data`; Unreachable when the stream has ended, TimeoutError when it takes longer than `timeout_s`."""
        tunnel = self.wire.tunnel
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        tunnel.send(data)
        self.wire.pump_out()
        while tunnel.unsent_bytes and tunnel.ended is None:
            self._step(deadline)
        if tunnel.ended is not None:
            raise tunnel.ended.error() or Unreachable("the stream has ended", code="stream-ended")

    def close(self, linger_s: float = 2.0) -> None:
        """Send a Close frame and wait up to `linger_s` for the peer's, so that what was sent before arrives; then close."""
        tunnel = self.wire.tunnel
        tunnel.discard()
        if tunnel.ended is None:
            tunnel.close()
            self.wire.pump_out()
        deadline = time.monotonic() + linger_s
        try:
            while tunnel.ended is None:
                self._step(deadline)
                tunnel.discard()
        except TimeoutError:
            tunnel.lost("")
        finally:
            self.wire.close()

    def _step(self, deadline: float | None) -> None:
        """Wait for the socket once and pump; TimeoutError past the deadline."""
        wire, now = self.wire, time.monotonic()
        if deadline is not None and now >= deadline:
            raise TimeoutError
        due = wire.tunnel.next_due()
        ends = [end for end in (deadline, due) if end is not None]
        mask = (select.POLLIN if wire.wants_read(now) else 0) | (select.POLLOUT if wire.wants_write else 0)
        poll = select.poll()
        if mask:
            poll.register(wire.fileno(), mask)
        wait_ms = None if not ends else max(0, int((min(ends) - now) * 1000) + 1)
        found = poll.poll(0 if wire.has_more(now) else wait_ms)
        if (found and found[0][1] & ~select.POLLOUT) or wire.has_unfinished_read or ends or wire.has_more(now):
            wire.pump_in(time.monotonic())
        wire.pump_out()


class ColdClient:
    """One person at one API server, one request at a time, over one kept connection.

    Paths start with `/api`; the endpoint's prefix is put before them. `connect_s` limits the connection with its TLS handshake,
    `request_s` one answer, both in seconds.
    """

    def __init__(self, endpoint: Endpoint, *, connect_s: float = 15.0, request_s: float = 30.0) -> None:
        self._endpoint = endpoint
        self._connect_s = connect_s
        self._request_s = request_s
        self._idle: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connection."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def get(self, path: str) -> bytes:
        """Return the body of one GET, at most `GET_LIMIT_BYTES`; a stale login is renewed once.

        Raises the BrokerError of a refused answer (`broker.kube.status`), Unreachable, TrustError, TimedOut, CredentialError.
        """
        path = self._endpoint.prefix + path
        call = call_of(path)
        headers = self._endpoint.request_headers()
        try:
            return self._get(path, call, headers)
        except BrokerError as exc:
            if not is_stale_login(exc):
                raise
        return self._get(path, call, self._fresh_headers(headers))

    def upgrade(self, path: str, *, handshake_s: float = 15.0, policy: StallPolicy | None = None) -> ColdStream:
        """Turn the connection into a byte stream by a websocket subresource; the client may go on with a new connection.

        `handshake_s` limits the wait for the answer, in which virt-api dials the guest. Raises as `get` does, GuestUnready for
        the guest's faults, TimedOut with code `port-filtered` when no answer comes.
        """
        path = self._endpoint.prefix + path
        call = call_of(path)
        policy = policy or StallPolicy()
        headers = self._endpoint.request_headers()
        try:
            return self._upgrade(path, call, headers, handshake_s, policy)
        except BrokerError as exc:
            if not is_stale_login(exc):
                raise
        return self._upgrade(path, call, self._fresh_headers(headers), handshake_s, policy)

    def _fresh_headers(self, refused: Headers) -> Headers:
        """Credentials other than the refused ones, on a new connection (a client certificate belongs to its connection)."""
        self._endpoint.forget_credentials(refused)
        self.close()
        return self._endpoint.request_headers()

    def _take_socket(self) -> tuple[socket.socket, bool]:
        """The idle connection, or a new one; the flag says that it was used before (the server may have closed it)."""
        sock, self._idle = self._idle, None
        if sock is not None:
            return sock, True
        _log.debug("connecting to %s", clean(self._endpoint.host_header))
        return self._endpoint.open_socket(timeout_s=self._connect_s), False

    def _get(self, path: str, call: Call, headers: Headers) -> bytes:
        while True:
            sock, was_used = self._take_socket()
            kept = False
            try:
                answer, body, kept = self._exchange(sock, path, headers)
            except _GONE as exc:
                if was_used:
                    continue
                raise self._lost(exc) from exc
            except (OSError, http.client.HTTPException) as exc:
                raise self._failed(exc, call) from exc
            finally:
                if not kept:
                    sock.close()
            _log.debug("GET %s: %d, %d bytes", clean(path), answer.status, len(body))
            if answer.status == 200:
                return body
            content_type = answer.getheader("Content-Type") or ""
            raise error_from_response(answer.status, content_type, body, call, retry_after=answer.getheader("Retry-After"))

    def _exchange(self, sock: socket.socket, path: str, headers: Headers) -> tuple[http.client.HTTPResponse, bytes, bool]:
        """One request and its answer; the flag says that the socket was kept for the next one."""
        sock.settimeout(self._request_s)
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        connection.sock = sock
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self._endpoint.host_header)
        connection.putheader("User-Agent", USER_AGENT)
        connection.putheader("Accept", "*/*" if "/subresources.kubevirt.io/" in path else "application/json")
        for name, value in headers:
            connection.putheader(name, value.encode())
        connection.endheaders()
        answer = connection.getresponse()
        limit = GET_LIMIT_BYTES if answer.status == 200 else READ_BYTES
        body = answer.read(limit + 1)
        if answer.status == 200 and len(body) > limit:
            raise http.client.HTTPException("the answer is too long")
        is_kept = not answer.will_close and answer.isclosed()
        if is_kept:
            self._idle = sock
        return answer, body, is_kept

    def _upgrade(self, path: str, call: Call, headers: Headers, handshake_s: float, policy: StallPolicy) -> ColdStream:
        endpoint = self._endpoint
        while True:
            sock, was_used = self._take_socket()
            handshake = Handshake(path=path, host_header=endpoint.host_header, headers=headers, call=call, policy=policy)
            try:
                tunnel = self._shake(sock, handshake, handshake_s, retries_eof=was_used)
                if tunnel is not None:
                    _log.debug("upgrade %s: open", clean(path))
                    return ColdStream(Wire(sock, tunnel))
            except _GONE as exc:
                sock.close()
                if not was_used:
                    raise self._lost(exc) from exc
            except OSError as exc:
                sock.close()
                raise self._failed(exc, call) from exc
            except BaseException:
                sock.close()
                raise
            sock.close()

    def _shake(self, sock: socket.socket, handshake: Handshake, limit_s: float, *, retries_eof: bool) -> Tunnel | None:
        """Send the request and read until the tunnel is open; None when a used connection turned out to be closed."""
        deadline = time.monotonic() + limit_s
        sock.settimeout(limit_s)
        try:
            sock.sendall(handshake.request)
            seen = False
            while True:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                data = sock.recv(65_536)
                if not data:
                    if retries_eof and not seen:
                        return None
                    raise handshake.feed_eof()
                seen = True
                tunnel = handshake.feed(data)
                if tunnel is not None:
                    return tunnel
                if time.monotonic() >= deadline:
                    raise TimeoutError
        except TimeoutError as exc:
            raise handshake.timed_out(limit_s) from exc

    def _lost(self, error: BaseException) -> BrokerError:
        return Unreachable(
            "the connection to the API server was lost",
            code="connection-lost",
            cause=str(clean(error)) or None,
            next_step="try again; look at the network and the balancer before the API server",
        )

    def _failed(self, error: BaseException, call: Call) -> BrokerError:
        if isinstance(error, TimeoutError):
            return TimedOut(
                f"the API server did not answer about {call.what} within {self._request_s:g} s",
                code="api-timeout",
                next_step="try again; look at the network and the API server",
            )
        if isinstance(error, ssl.SSLError):
            found = self._endpoint.trust_error(error)
            return found if isinstance(found, BrokerError) else self._lost(error)
        if isinstance(error, http.client.HTTPException):
            return Unreachable(
                "what answers at the server's address does not speak HTTP as a Kubernetes API server does",
                code="not-http",
                cause=str(clean(f"{type(error).__name__}: {error}")),
                next_step="check the server URL in the kubeconfig",
            )
        return self._lost(error)
