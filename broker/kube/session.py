"""HTTP to one cluster: kubernetes_asyncio's Configuration and ApiClient on a connection pool of ours, raw bytes out.

Its own RESTClientObject builds a TLS context from files alone and takes proxies from the environment; ours stands on the
endpoint's TLS context, proxy and credentials. Importing this module is cheap; `open_session` pays for the libraries.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from broker.clean import clean
from broker.errors import BrokerError, TrustError
from broker.kube.losses import late, lost, not_http, reason_of
from broker.kube.pool import USER_AGENT, Flow, Reply, api_client, in_thread
from broker.kube.sockets import Deadline

if TYPE_CHECKING:
    import aiohttp

    from broker.kube.endpoint import Endpoint

__all__ = ["USER_AGENT", "Flow", "Reply", "Session", "in_thread", "open_session"]

_AGAIN_S: Final = 3.0
_PROBE_S: Final = 1.0
_KEPT: Final = 1.25
"""What is kept for such a question beside its own limit: a thread must start."""
_log = logging.getLogger("broker.kube")


class Session:
    """Requests to one cluster as one person; made by `open_session`, used by `broker.kube.rest`."""

    def __init__(self, endpoint: Endpoint, client: Any, *, connect_s: float) -> None:
        self._endpoint = endpoint
        self._client = client
        self._connect_s = connect_s

    @property
    def endpoint(self) -> Endpoint:
        """The cluster and the person."""
        return self._endpoint

    async def exchange(self, method: str, path: str, *, accept: str, body: bytes | None = None, timeout_s: float) -> Reply:
        """Send one request and read the whole answer, whatever its status; `path` is relative to the server's prefix.

        Raises CredentialError, Unreachable, TrustError or TimedOut (after `timeout_s` seconds in all).
        """
        try:
            async with asyncio.timeout(timeout_s):
                headers = await in_thread(self._endpoint.request_headers)
                reply = await self._send(method, path, accept, body, headers)
                _log.debug("%s %s: %d, %d bytes", method, clean(path), reply.status, len(reply.body))
                return reply
        except TimeoutError as exc:
            raise late(self._where, timeout_s) from exc

    @asynccontextmanager
    async def flow(self, path: str, *, accept: str, open_s: float) -> AsyncIterator[Flow]:
        """Send a GET whose answer comes bit by bit, on a connection of its own that the end of the block closes.

        Raises as `exchange`; `open_s` bounds the seconds up to the answer's head. Trouble while reading is translated too.
        """

        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(open_s):
                    headers = await in_thread(self._endpoint.request_headers)
                    flow = await self._opened(stack, path, self._sent(accept, headers))
            except TimeoutError as exc:
                raise late(self._where, open_s) from exc
            _log.debug("GET %s: %d, streaming", clean(path), flow.head.status)
            try:
                yield flow
            except _transport_errors() as exc:
                raise await self._told(exc) from exc

    async def _opened(self, stack: AsyncExitStack, path: str, sent: list[tuple[str, str]]) -> Flow:

        try:
            flow: Flow = await stack.enter_async_context(self._client.rest_client.flow(path, sent))
            return flow
        except _transport_errors() as exc:
            raise await self._told(exc) from exc

    async def forget_credentials(self) -> None:
        """Drop cached credentials, after a 401 (as client-go does)."""
        await in_thread(self._endpoint.forget_credentials)

    @property
    def _where(self) -> str:
        return f"the API server {clean(self._endpoint.host_header)}"

    async def _send(
        self, method: str, path: str, accept: str, body: bytes | None, headers: tuple[tuple[str, str], ...]
    ) -> Reply:

        sent = self._sent(accept, headers)
        if body is not None:
            sent.append(("Content-Type", "application/json"))
        try:
            reply: Reply = await self._client.rest_client.exchange(method, path, sent, body)
            return reply
        except _transport_errors() as exc:
            raise await self._told(exc) from exc

    def _sent(self, accept: str, headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        return [("Host", self._endpoint.host_header), ("Accept", accept), ("User-Agent", USER_AGENT), *headers]

    async def _told(self, exc: Exception) -> BrokerError:
        """Return what a failure of the transport stands for; a limit of somebody's that ran out is not ours to tell."""
        import aiohttp

        if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return await self._trust(exc)
        if isinstance(exc, aiohttp.ServerTimeoutError):
            return await self._unconnected_in_time()
        if isinstance(exc, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, *_proxy_errors())):
            return await self._unconnected(exc)
        if isinstance(exc, TimeoutError):
            raise exc
        if isinstance(exc, aiohttp.ClientResponseError):
            return not_http(exc)
        return lost(exc)

    async def _unconnected(self, exc: Exception) -> BrokerError:
        """Return why no connection came about, in the words of the blocking way: it is tried once more by that."""
        limit_s = min(self._connect_s, _AGAIN_S)

        def again() -> None:
            self._endpoint.open_socket(timeout_s=limit_s).close()

        try:
            await in_thread(again)
        except BrokerError as told:
            return told
        return lost(exc)

    async def _unconnected_in_time(self) -> BrokerError:
        """Return what the time to connect ran out in (name, TCP, TLS): the blocking way, which knows, shows it once more."""
        limit_s = _probe_s(self._connect_s)

        def again() -> None:
            self._endpoint.open_socket(timeout_s=limit_s, told_s=self._connect_s).close()

        try:
            await in_thread(again)
        except BrokerError as told:
            return told
        return Deadline(self._connect_s, self._where).timed_out()

    async def _trust(self, error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> BrokerError:
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        if isinstance(inner, ssl.SSLError):
            told = await in_thread(lambda: self._endpoint.trust_error(inner))
            if isinstance(told, BrokerError):
                return told
        return TrustError(f"no trusted connection to {self._where}", cause=reason_of(inner or error))


@asynccontextmanager
async def open_session(endpoint: Endpoint, *, connect_s: float, receive_bytes: int | None = None) -> AsyncIterator[Session]:
    """Open a pool of connections to a cluster (none is dialled yet); `connect_s` bounds each dial, TLS included.

    `receive_bytes` (the system's where None) waits in each socket at most: little keeps the loop on time, much is quick.
    Raises SettingsError or CredentialError where the endpoint's TLS material cannot be had.
    """
    context = await in_thread(endpoint.tls_context)
    client = api_client(endpoint, context, connect_s - _KEPT * _probe_s(connect_s), receive_bytes=receive_bytes)
    try:
        yield Session(endpoint, client, connect_s=connect_s)
    finally:
        await client.close()


def _probe_s(connect_s: float) -> float:
    """Seconds of the time to connect that are kept to find out where it was spent."""
    return min(_PROBE_S, connect_s * 0.2)


def _transport_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, OSError, *_proxy_errors())


def _proxy_errors() -> tuple[type[Exception], ...]:
    from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

    return (ProxyError, ProxyTimeoutError, ProxyConnectionError)
