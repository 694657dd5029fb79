"""The blocking way to one cluster for a process that lives as long as one connection: a few GETs, then the upgrade.

Loads neither asyncio nor an HTTP library beyond http.client; a GET and the upgrade after it share one TLS connection.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import time
from types import TracebackType
from typing import Final, Self

from broker.clean import clean
from broker.errors import BrokerError, Failed, TimedOut
from broker.kube.answer import Call, call_of
from broker.kube.cold_stream import ColdStream
from broker.kube.endpoint import Endpoint, Headers
from broker.kube.status import READ_BYTES, error_from_response
from broker.kube.timed import TimedSocket
from broker.kube.tunnel import StallPolicy, Tunnel
from broker.kube.upgrade import USER_AGENT, Handshake, is_stale_login
from broker.kube.wire import Wire

__all__ = ["ColdClient", "ColdStream"]

_log = logging.getLogger("broker.kube")

GET_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one GET's body at most (etcd holds no object above 1.5 MiB)."""

_GOOD: Final = frozenset({200, 201})
_GONE: Final = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class ColdClient:
    """One person at one API server, one request at a time, over one kept connection.

    Paths start with `/api`; the endpoint's prefix is put before them. `connect_s` limits the connection with its TLS handshake,
    `request_s` one answer, both in seconds.
    """

    def __init__(self, endpoint: Endpoint, *, connect_s: float = 15.0, request_s: float = 30.0) -> None:
        self._endpoint = endpoint
        self._connect_s = connect_s
        self._request_s = request_s
        self._deadline: float | None = None
        self._idle: socket.socket | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The cluster and the person."""
        return self._endpoint

    def limited(self, budget_s: float, *, request_s: float) -> ColdClient:
        """Return a client of its own for the same cluster and person whose calls all end within `budget_s` seconds from now.

        `request_s` bounds each of them besides; a call past the end raises TimedOut. The caller closes it.
        """
        other = ColdClient(self._endpoint, connect_s=self._connect_s, request_s=request_s)
        other._deadline = time.monotonic() + budget_s
        return other

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
        return self._send(path, call_of(path), None)

    def post(self, path: str, body: bytes) -> bytes:
        """Return the answer of one POST of JSON bytes, of a review (it may be sent twice); otherwise as `get`."""
        path = self._endpoint.prefix + path
        return self._send(path, call_of(path, verb="create"), body)

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

    def _send(self, path: str, call: Call, body: bytes | None) -> bytes:
        headers = self._endpoint.request_headers()
        try:
            return self._ask(path, call, headers, body)
        except BrokerError as exc:
            if not is_stale_login(exc):
                raise
        return self._ask(path, call, self._fresh_headers(headers), body)

    def _within(self, limit_s: float, call: Call | None = None) -> float:
        """Seconds that the next step may take; TimedOut where the client's own end has come."""
        if self._deadline is None:
            return limit_s
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            about = f" about {call.what}" if call is not None else ""
            raise TimedOut(f"the time for further questions{about} is up", code="budget-spent", next_step="try again")
        return min(limit_s, left_s)

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
        return self._endpoint.open_socket(timeout_s=self._within(self._connect_s)), False

    def _ask(self, path: str, call: Call, headers: Headers, body: bytes | None) -> bytes:
        while True:
            sock, was_used = self._take_socket()
            kept = False
            try:
                answer, found, kept = self._exchange(sock, path, call, headers, body)
            except _GONE as exc:
                if was_used:
                    continue
                raise self._lost(exc) from exc
            except (OSError, http.client.HTTPException) as exc:
                raise self._failed(exc) from exc
            finally:
                if not kept:
                    sock.close()
            _log.debug("%s %s: %d, %d bytes", "GET" if body is None else "POST", clean(path), answer.status, len(found))
            if answer.status in _GOOD:
                return found
            content_type = answer.getheader("Content-Type") or ""
            raise error_from_response(answer.status, content_type, found, call, retry_after=answer.getheader("Retry-After"))

    def _exchange(
        self, sock: socket.socket, path: str, call: Call, headers: Headers, sent: bytes | None
    ) -> tuple[http.client.HTTPResponse, bytes, bool]:
        """One request and its answer; the flag says that the socket was kept for the next one."""
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        connection.sock = timed = TimedSocket(sock, self._within(self._request_s, call))
        connection.putrequest("GET" if sent is None else "POST", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self._endpoint.host_header)
        connection.putheader("User-Agent", USER_AGENT)
        connection.putheader("Accept", "*/*" if "/subresources.kubevirt.io/" in path else "application/json")
        for name, value in headers:
            connection.putheader(name, value.encode())
        if sent is not None:
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(sent)))
        connection.endheaders(sent)
        answer = _head(connection, timed)
        limit = GET_LIMIT_BYTES if answer.status in _GOOD else READ_BYTES
        body = self._body(sock, call, answer, limit + 1)
        if answer.status in _GOOD and answer.length and len(body) <= limit:
            raise http.client.IncompleteRead(b"", answer.length)
        if answer.status in _GOOD and len(body) > limit:
            raise Failed(
                f"the API server's answer about {call.what} is larger than {GET_LIMIT_BYTES >> 20} MiB",
                code="answer-too-large",
                next_step="see whether this is an API server, and what stands before it",
            )
        is_kept = not answer.will_close and answer.isclosed()
        if is_kept:
            self._idle = sock
        return answer, body, is_kept

    def _body(self, sock: socket.socket, call: Call, answer: http.client.HTTPResponse, limit: int) -> bytes:
        if self._deadline is None:
            return answer.read(limit)
        parts: list[bytes] = []
        size = 0
        while size < limit:
            sock.settimeout(self._within(self._request_s, call))
            part = answer.read1(min(limit - size, 65_536))
            if not part:
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts)

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
                raise self._failed(exc) from exc
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
        from broker.kube.losses import lost  # only when something went wrong

        return lost(error)

    def _failed(self, error: BaseException) -> BrokerError:
        if isinstance(error, TimeoutError):
            from broker.kube.losses import late

            return late(f"the API server {clean(self._endpoint.host_header)}", self._request_s)
        if isinstance(error, ssl.SSLError):
            found = self._endpoint.trust_error(error)
            return found if isinstance(found, BrokerError) else self._lost(error)
        if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.IncompleteRead):
            from broker.kube.losses import not_http

            return not_http(error)
        return self._lost(error)


def _head(connection: http.client.HTTPConnection, sock: TimedSocket) -> http.client.HTTPResponse:
    """Read an answer's head; RemoteDisconnected where it ends in the middle, which http.client takes for its end."""
    try:
        answer = connection.getresponse()
    except http.client.BadStatusLine as exc:
        if sock.is_at_end and "HTTP/1.1".startswith(str(exc)[:8]):
            raise http.client.RemoteDisconnected("") from exc
        raise
    if sock.is_at_end:
        answer.close()
        raise http.client.RemoteDisconnected("")
    return answer
