"""Connections to one cluster: kubernetes_asyncio's transport on aiohttp pools of ours, whole answers and streams of bytes.

Loads aiohttp and kubernetes_asyncio when it is used, not when it is imported.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.errors import Failed
from broker.kube.answer import READ_BYTES
from broker.kube.library import load_transport

if TYPE_CHECKING:
    import aiohttp

    from broker.kube.endpoint import Endpoint

T = TypeVar("T")
_READ_BUFFER_BYTES: Final = 1 << 21
_CONNECTIONS: Final = 8
ANSWER_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one answer at most, unpacked: 10,000 large VMs in one page have about 200 MiB."""
USER_AGENT: Final = "vmbroker"
"""What we call ourselves to the API server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: HTTP status, content type, Retry-After as received, and the whole body."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes


class Flow:
    """An answer whose body is still coming; `head` has no body. Valid inside the block that gave it."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.head = _reply(answer, b"")

    async def chunk(self) -> bytes:
        """Return the next bytes as soon as some are there; empty at the end. Raises what aiohttp raises."""
        return await self._answer.content.readany()


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


def api_client(
    endpoint: Endpoint, context: ssl.SSLContext | None, connect_s: float, *, receive_bytes: int | None = None
) -> Any:
    """Return an ApiClient for a cluster, nothing dialled yet; `connect_s` bounds each dial, TLS included.

    `receive_bytes`: see `session.open_session`.
    """
    new_configuration, transport_class, client_class = load_transport()

    class RestClient(transport_class):  # type: ignore[misc, valid-type]
        """kubernetes_asyncio's transport, on our pool."""

        def __init__(self, configuration: Any) -> None:
            self.configuration = configuration
            self.proxy = configuration.proxy
            self.pool_manager = _pool(endpoint, context, connect_s, limit=_CONNECTIONS, receive_bytes=receive_bytes)
            self._flows: aiohttp.ClientSession | None = None

        async def exchange(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None) -> Reply:
            """Send one request and read the whole answer."""
            async with self._request(self.pool_manager, method, path, headers, body) as answer:
                try:
                    return _reply(answer, await _whole(answer))
                except BaseException:
                    _hang_up(answer)
                    raise

        @asynccontextmanager
        async def flow(self, path: str, headers: list[tuple[str, str]]) -> AsyncIterator[Flow]:
            """Send a GET on a connection of its own, closed when the block ends: a watch never waits for a list's."""
            if self._flows is None:
                self._flows = _pool(endpoint, context, connect_s, limit=0)
            async with self._request(self._flows, "GET", path, headers, None) as answer:
                try:
                    yield Flow(answer)
                finally:
                    _hang_up(answer)

        async def close(self) -> None:
            """Close every connection."""
            await self.pool_manager.close()
            if self._flows is not None:
                await self._flows.close()

        def _request(
            self, pool: aiohttp.ClientSession, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None
        ) -> Any:
            from yarl import URL

            return pool.request(
                method,
                URL(self.configuration.host + path, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                server_hostname=endpoint.server_hostname if context is not None else None,
                proxy=self.proxy,
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


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body: all of a good answer, Failed above `ANSWER_LIMIT_BYTES`; of a refusal the part that is looked at."""
    is_good = answer.status < 300
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > (ANSWER_LIMIT_BYTES if is_good else READ_BYTES):
            if not is_good:
                break
            raise Failed(
                f"the API server's answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB",
                code="answer-too-large",
                next_step="make the pages of lists smaller (api.page_size); see whether this is an API server",
            )
    return b"".join(parts)


def _hang_up(answer: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that is left in the middle: a farewell by TLS would read what is still poured in."""
    connection = answer.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    answer.close()


def _reply(answer: aiohttp.ClientResponse, body: bytes) -> Reply:
    return Reply(
        status=answer.status,
        content_type=answer.headers.get("Content-Type", ""),
        retry_after=answer.headers.get("Retry-After"),
        body=body,
    )


def _pool(
    endpoint: Endpoint, context: ssl.SSLContext | None, connect_s: float, *, limit: int, receive_bytes: int | None = None
) -> aiohttp.ClientSession:
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

    def made(found: tuple[Any, ...]) -> socket.socket:
        family, kind, number = found[:3]
        sock = socket.socket(family, kind, number)
        assert receive_bytes is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        return sock

    connector: aiohttp.BaseConnector
    proxy = endpoint.proxy_url or ""
    if proxy.startswith("socks"):
        from aiohttp_socks import ProxyConnector

        # As Go does it: the proxy resolves the name, whichever spelling of socks5 was written.
        connector = ProxyConnector.from_url(
            proxy.replace("socks5h://", "socks5://", 1), ssl=context or False, rdns=True, limit=limit
        )
    else:
        connector = aiohttp.TCPConnector(
            ssl=context or False,
            resolver=Resolver(),
            limit=limit,
            ttl_dns_cache=60,
            socket_factory=None if receive_bytes is None else made,
        )
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        read_bufsize=_READ_BUFFER_BYTES,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_s, ceil_threshold=float("inf")),
    )
