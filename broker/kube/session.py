"""HTTP to one cluster: kubernetes_asyncio's Configuration and ApiClient on a connection pool of ours, raw bytes out.

Its own RESTClientObject builds a TLS context from files alone and takes proxies from the environment; ours stands on the
endpoint's TLS context, proxy and credentials. Importing this module is cheap; `open_session` pays for the libraries.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.clean import clean
from broker.errors import BrokerError, TimedOut, TrustError, Unreachable
from broker.kube.library import load_transport

if TYPE_CHECKING:
    import aiohttp

    from broker.kube.endpoint import Endpoint

T = TypeVar("T")
_log = logging.getLogger("broker.kube")
_READ_BUFFER_BYTES: Final = 1 << 21
_CONNECTIONS: Final = 8
USER_AGENT: Final = "vmbroker"
"""What we call ourselves to the API server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: HTTP status, content type, Retry-After as received, and the whole body."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes


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
            raise TimedOut(
                f"{self._where} gave no whole answer within {timeout_s:g} s",
                cause="the API server is slow or the network loses packets",
                next_step="try again, or raise api.timeout_s",
            ) from exc

    async def forget_credentials(self) -> None:
        """Drop cached credentials, after a 401 (as client-go does)."""
        await in_thread(self._endpoint.forget_credentials)

    @property
    def _where(self) -> str:
        return f"the API server {clean(self._endpoint.host_header)}"

    async def _send(
        self, method: str, path: str, accept: str, body: bytes | None, headers: tuple[tuple[str, str], ...]
    ) -> Reply:
        import aiohttp
        from python_socks import ProxyError, ProxyTimeoutError

        sent = [("Host", self._endpoint.host_header), ("Accept", accept), ("User-Agent", USER_AGENT), *headers]
        if body is not None:
            sent.append(("Content-Type", "application/json"))
        try:
            reply: Reply = await self._client.rest_client.exchange(method, path, sent, body)
            return reply
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as exc:
            raise await self._trust(exc) from exc
        except aiohttp.ServerTimeoutError as exc:
            raise TimedOut(
                f"{self._where} did not accept a connection within {self._connect_s:g} s",
                cause="the address is filtered, or the server or proxy is down",
                next_step="check the server URL in the kubeconfig, the network and the VPN",
            ) from exc
        except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError, ProxyError, ProxyTimeoutError) as exc:
            raise Unreachable(
                f"{self._where} cannot be reached through its proxy",
                code="proxy",
                cause=_reason(exc),
                next_step="check proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY",
            ) from exc
        except (aiohttp.ClientError, OSError) as exc:
            if isinstance(exc, TimeoutError):
                raise
            raise Unreachable(
                f"{self._where} cannot be reached",
                cause=_reason(exc),
                next_step="check the server URL in the kubeconfig, the network and the VPN",
            ) from exc

    async def _trust(self, error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> BrokerError:
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        if isinstance(inner, ssl.SSLError):
            told = await in_thread(lambda: self._endpoint.trust_error(inner))
            if isinstance(told, BrokerError):
                return told
        return TrustError(f"no trusted connection to {self._where}", cause=clean(inner or error))


@asynccontextmanager
async def open_session(endpoint: Endpoint, *, connect_s: float) -> AsyncIterator[Session]:
    """Open a pool of connections to a cluster (none is dialled yet); `connect_s` bounds each dial, TLS included.

    Raises SettingsError or CredentialError where the endpoint's TLS material cannot be had.
    """
    context = await in_thread(endpoint.tls_context)
    client = _api_client(endpoint, context, connect_s)
    try:
        yield Session(endpoint, client, connect_s=connect_s)
    finally:
        await client.close()


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a daemon thread of its own.

    Not in the loop's pool: a name look-up or plugin that hangs there would hold the process at its end.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value: T | None = None
        failure: BaseException | None = None
        try:
            value = function()
        except BaseException as exc:
            failure = exc
        try:
            loop.call_soon_threadsafe(settle, value, failure)
        except RuntimeError:
            return  # the loop closed meanwhile: nobody waits any more

    threading.Thread(target=work, name="broker.kube/blocking", daemon=True).start()
    return await done


def _reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, OSError) and not isinstance(inner, socket.gaierror) and inner.errno and inner.errno > 0:
        return os.strerror(inner.errno)
    return clean(getattr(inner, "strerror", None) or inner) or type(error).__name__


def _api_client(endpoint: Endpoint, context: ssl.SSLContext | None, connect_s: float) -> Any:
    new_configuration, transport_class, client_class = load_transport()

    class RestClient(transport_class):  # type: ignore[misc, valid-type]
        """kubernetes_asyncio's transport, on our pool."""

        def __init__(self, configuration: Any) -> None:
            self.configuration = configuration
            self.proxy = configuration.proxy
            self.pool_manager = _pool(endpoint, context, connect_s)

        async def exchange(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None) -> Reply:
            from yarl import URL

            url = URL(self.configuration.host + path, encoded=True)
            async with self.pool_manager.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                server_hostname=endpoint.server_hostname if context is not None else None,
                proxy=self.proxy,
            ) as answer:
                return Reply(
                    status=answer.status,
                    content_type=answer.headers.get("Content-Type", ""),
                    retry_after=answer.headers.get("Retry-After"),
                    body=await answer.read(),
                )

    class Client(client_class):  # type: ignore[misc, valid-type]
        """ApiClient without the TLS context and pool that its own constructor would make."""

        def __init__(self, configuration: Any) -> None:
            self.configuration = configuration
            self.pool_threads = 1
            self.rest_client = RestClient(configuration)
            self.default_headers: dict[str, str] = {}
            self.user_agent = USER_AGENT
            self.client_side_validation = configuration.client_side_validation

    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    configuration = new_configuration(host=f"{endpoint.scheme}://{host}:{endpoint.port}{endpoint.prefix}")
    is_socks = (endpoint.proxy_url or "").startswith("socks")
    if endpoint.proxy_url and not is_socks:
        configuration.proxy = endpoint.proxy_url
    return Client(configuration)


def _pool(endpoint: Endpoint, context: ssl.SSLContext | None, connect_s: float) -> aiohttp.ClientSession:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Resolver(AbstractResolver):
        """Name look-ups in daemon threads: a hung one does not hold the process."""

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            found = await in_thread(lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
            return [
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=int(address[1]),
                    family=kind,
                    proto=proto,
                    flags=int(socket.AI_NUMERICHOST | socket.AI_NUMERICSERV),
                )
                for kind, _, proto, _, address in found
            ]

        async def close(self) -> None:
            return None

    connector: aiohttp.BaseConnector
    proxy = endpoint.proxy_url or ""
    if proxy.startswith("socks"):
        from aiohttp_socks import ProxyConnector

        # As Go does it: the proxy resolves the name, whichever spelling of socks5 was written.
        connector = ProxyConnector.from_url(
            proxy.replace("socks5h://", "socks5://", 1), ssl=context or False, rdns=True, limit=_CONNECTIONS
        )
    else:
        connector = aiohttp.TCPConnector(ssl=context or False, resolver=Resolver(), limit=_CONNECTIONS, ttl_dns_cache=60)
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        read_bufsize=_READ_BUFFER_BYTES,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_s),
    )
